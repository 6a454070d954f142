/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "archive/reader.h"
#include "audit/print.h"
#include "audit/query.h"
#include "error.h"
#include "peerflow.h"

#define LIVE_SOCKET "/run/peerflow/live"

static void
tell_lost(const struct reader *reader, uint64_t *told)
{
	uint64_t lost = reader_lost(reader);

	if (lost == *told)
		return;
	g_printerr("peerflow: %" G_GUINT64_FORMAT " records are missing here: this viewer was too slow for them\n",
	           lost - *told);
	*told = lost;
}

/* Prints until count flows are printed (never, if it is negative), the stream ends or something fails. */
static bool
live_print(struct reader *reader, struct printer *printer, const struct query *query, int64_t count, GError **error)
{
	g_autoptr(GString) line = g_string_new(NULL);
	enum reader_result result = READER_FLOW;
	struct record record;
	uint64_t told = 0;

	printer_header(printer, line);
	while (peerflow_put(line, error) && count && (result = reader_next(reader, &record, error)) == READER_FLOW) {
		struct print_flow flow = {
			.flow = &record.flow,
			.names = record.names,
			.ingress = reader_interface(reader, record.flow.original.ingress),
			.egress = reader_interface(reader, record.flow.original.egress),
		};
		tell_lost(reader, &told);
		g_string_truncate(line, 0);
		if (!query_matches(query, &flow))
			continue;
		printer_flow(printer, &flow, line);
		count -= count > 0;
	}
	if (result == READER_END)
		g_set_error(error, PEERFLOW_ERROR, EX_UNAVAILABLE, "peerflowd closed the connection");
	return !*error;
}

/* Zero if the output is no terminal. */
static unsigned
terminal_columns(void)
{
	struct winsize size;

	return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

static bool
live_run(const char *path, struct printer *printer, const struct query *query, int64_t count, GError **error)
{
	int fd = peerflow_connect(path, error);
	if (fd < 0)
		return false;
	FILE *stream = fdopen(fd, "r");
	if (!stream) {
		close(fd);
		g_set_error(error, PEERFLOW_ERROR, EX_OSERR, "%s: %s", path, g_strerror(errno));
		return false;
	}
	peerflow_handle_signals(fd);
	struct reader *reader = reader_new(stream, path, READER_LOCAL_ENTERPRISE);
	bool good = live_print(reader, printer, query, count, error);
	reader_free(reader);
	fclose(stream);
	return good;
}

bool
peerflow_live(int argc, char **argv, GError **error)
{
	g_auto(GStrv) words = NULL;
	g_autofree char *path = NULL;
	g_autofree char *format_name = NULL;
	g_autofree char *fields = NULL;
	enum print_format format = PRINT_TABLE;
	gint64 count = 0;
	const GOptionEntry entries[] = {
		{ "socket", 's', 0, G_OPTION_ARG_FILENAME, &path, "Where peerflowd shows its flows (" LIVE_SOCKET ")",
		  "PATH" },
		{ "format", 'f', 0, G_OPTION_ARG_STRING, &format_name, "table, csv or json (table)", "FORMAT" },
		{ "fields", 'F', 0, G_OPTION_ARG_STRING, &fields, "Only these columns, by the names of csv's", "A,B,..." },
		{ "count", 'n', 0, G_OPTION_ARG_INT64, &count, "End after so many flows that were shown (0: do not)", "N" },
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_STRING_ARRAY, &words, NULL, "[QUERY]" },
		{ 0 },
	};

	if (!peerflow_options("Shows flows as they end, until interrupted; with a QUERY those that answer it, such as "
	                      "\"src peer alice and port 443\".", entries, argc, argv, error))
		return false;
	if (format_name && !print_format_find(format_name, &format)) {
		g_set_error(error, PEERFLOW_ERROR, EX_USAGE, "unknown format \"%s\": table, csv or json", format_name);
		return false;
	}
	if (count < 0) {
		g_set_error(error, PEERFLOW_ERROR, EX_USAGE, "a count of %" G_GINT64_FORMAT " flows", count);
		return false;
	}
	g_autoptr(query_t) query = peerflow_query(words, error);
	if (!query)
		return false;
	g_autoptr(printer_t) printer = printer_new(format);
	if (fields && !printer_choose(printer, fields, error))
		return false;
	printer_fold(printer, terminal_columns());
	return live_run(path ? path : LIVE_SOCKET, printer, query, count ? count : -1, error);
}
