/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "audit/print.h"
#include "audit/query.h"
#include "error.h"
#include "peerflow.h"
#include "peerflow_archive.h"

enum { PUT_OCTETS = 64 << 10 };         /* that wait before they are written */

struct flows {
	struct peerflow_archive archive;
	char **words;
	char *format_name;
	enum print_format format;
	gint64 limit;
	gboolean count;
};

static void
flows_clear(struct flows *flows)
{
	peerflow_archive_clear(&flows->archive);
	g_strfreev(flows->words);
	g_free(flows->format_name);
}
typedef struct flows flows_t;
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(flows_t, flows_clear)

/* Zero if the output is no terminal. */
static unsigned
terminal_columns(void)
{
	struct winsize size;

	return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

static bool
put_full(GString *text, size_t full, GError **error)
{
	if (text->len < full || !text->len)
		return true;
	const bool good = peerflow_put(text, error);
	g_string_truncate(text, 0);
	return good;
}

static bool
print_flows(const struct flows *flows, struct scan *scan, const struct query *query, GError **error)
{
	g_autoptr(printer_t) printer = printer_new(flows->format);
	g_autoptr(GString) text = g_string_new(NULL);
	struct scan_record record;
	gint64 left = flows->limit ? flows->limit : -1;

	printer_fold(printer, terminal_columns());
	printer_header(printer, text);
	while (left && scan_next(scan, &record)) {
		const struct print_flow flow = peerflow_archive_flow(&record);
		if (!query_matches(query, &flow))
			continue;
		printer_flow(printer, &flow, text);
		if (!put_full(text, PUT_OCTETS, error))
			return false;
		left -= left > 0;
	}
	return put_full(text, 0, error);
}

static bool
count_flows(struct scan *scan, const struct query *query, GError **error)
{
	g_autoptr(GString) text = g_string_new(NULL);
	struct scan_record record;
	uint64_t count = 0;

	while (scan_next(scan, &record)) {
		const struct print_flow flow = peerflow_archive_flow(&record);
		count += query_matches(query, &flow);
	}
	g_string_printf(text, "%" G_GUINT64_FORMAT "\n", count);
	return peerflow_put(text, error);
}

static bool
flows_run(const struct flows *flows, GError **error)
{
	g_autoptr(query_t) query = peerflow_query(flows->words, error);

	if (!query)
		return false;
	g_autoptr(scan_t) scan = peerflow_archive_scan(&flows->archive, NULL, error);
	if (!scan)
		return false;
	const bool good = flows->count ? count_flows(scan, query, error) : print_flows(flows, scan, query, error);
	return good && peerflow_archive_whole(scan, error);
}

static bool
flows_check(struct flows *flows, GError **error)
{
	if (flows->format_name && !print_format_find(flows->format_name, &flows->format)) {
		g_set_error(error, PEERFLOW_ERROR, EX_USAGE, "unknown format \"%s\": table, csv or json", flows->format_name);
		return false;
	}
	if (flows->limit < 0) {
		g_set_error(error, PEERFLOW_ERROR, EX_USAGE, "a limit of %" G_GINT64_FORMAT " flows", flows->limit);
		return false;
	}
	return peerflow_archive_prepare(&flows->archive, error);
}

bool
peerflow_flows(int argc, char **argv, GError **error)
{
	g_auto(flows_t) flows = { 0 };
	const GOptionEntry entries[] = {
		PEERFLOW_ARCHIVE_OPTIONS(&flows.archive),
		PEERFLOW_ARCHIVE_PERIOD(&flows.archive),
		PEERFLOW_ARCHIVE_MOMENT(&flows.archive),
		{ "format", 'f', 0, G_OPTION_ARG_STRING, &flows.format_name, "table, csv or json (table)", "FORMAT" },
		{ "limit", 'n', 0, G_OPTION_ARG_INT64, &flows.limit, "End after so many flows (0: do not)", "N" },
		{ "count", 0, 0, G_OPTION_ARG_NONE, &flows.count, "Print how many there are, not what they are", NULL },
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_STRING_ARRAY, &flows.words, NULL, "[QUERY]" },
		{ 0 },
	};

	return peerflow_options("Shows archived flows; with a QUERY those that answer it, such as \"src peer alice and port "
	                        "443\".", entries, argc, argv, error)
	       && flows_check(&flows, error) && flows_run(&flows, error);
}
