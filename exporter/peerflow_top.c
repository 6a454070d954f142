/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "audit/query.h"
#include "audit/top.h"
#include "error.h"
#include "peerflow.h"
#include "peerflow_archive.h"

struct ask {
	struct peerflow_archive archive;
	char **words;
	char *by;
	char *format_name;
	enum print_format format;
	gint64 limit;
};

static void
ask_clear(struct ask *ask)
{
	peerflow_archive_clear(&ask->archive);
	g_strfreev(ask->words);
	g_free(ask->by);
	g_free(ask->format_name);
}
typedef struct ask ask_t;
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(ask_t, ask_clear)

static bool
ask_check(struct ask *ask, GError **error)
{
	ask->format = PRINT_TABLE;
	if (ask->format_name && !print_format_find(ask->format_name, &ask->format)) {
		g_set_error(error, PEERFLOW_ERROR, EX_USAGE, "unknown format \"%s\": table, csv or json", ask->format_name);
		return false;
	}
	if (ask->limit < 0) {
		g_set_error(error, PEERFLOW_ERROR, EX_USAGE, "a limit of %" G_GINT64_FORMAT, ask->limit);
		return false;
	}
	return peerflow_archive_prepare(&ask->archive, error);
}

static bool
top_run(const struct ask *ask, GError **error)
{
	const struct top_options options = { .kind = ask->words ? ask->words[0] : "", .by = ask->by };
	g_autoptr(top_t) top = top_new(&options, error);
	g_autoptr(query_t) query = top ? peerflow_query(ask->words + 1, error) : NULL;
	g_autoptr(scan_t) scan = query ? peerflow_archive_ask(&ask->archive, query, PEERFLOW_SHOWN, error) : NULL;
	g_autoptr(GString) text = g_string_new(NULL);
	struct scan_record record;

	if (!scan)
		return false;
	while (scan_next(scan, &record)) {
		const struct print_flow flow = peerflow_archive_flow(&record);
		top_add(top, &flow);
	}
	top_print(top, ask->format, (size_t)ask->limit, text);
	g_autofree char *warning = top_warning(top);
	if (!peerflow_put(text, error))
		return false;
	if (warning)
		g_printerr("%s: %s\n", g_get_prgname(), warning);
	return peerflow_archive_whole(scan, error);
}

bool
peerflow_top(int argc, char **argv, GError **error)
{
	g_auto(ask_t) ask = { .limit = 10 };
	const GOptionEntry entries[] = {
		PEERFLOW_ARCHIVE_OPTIONS(&ask.archive),
		PEERFLOW_ARCHIVE_PERIOD(&ask.archive),
		PEERFLOW_ARCHIVE_MOMENT(&ask.archive),
		{ "by", 'b', 0, G_OPTION_ARG_STRING, &ask.by, "bytes, packets or flows (bytes)", "MEASURE" },
		{ "limit", 'n', 0, G_OPTION_ARG_INT64, &ask.limit, "So many (10; 0: all)", "N" },
		{ "format", 'f', 0, G_OPTION_ARG_STRING, &ask.format_name, "table, csv or json (table)", "FORMAT" },
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_STRING_ARRAY, &ask.words, NULL, "peers|users|pairs|ports|... [QUERY]" },
		{ 0 },
	};

	return peerflow_options("Shows who or what was busiest, of the archived flows that answer the QUERY.", entries, argc,
	                        argv, error)
	       && ask_check(&ask, error) && top_run(&ask, error);
}
