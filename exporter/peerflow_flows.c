/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "audit/join.h"
#include "audit/order.h"
#include "audit/print.h"
#include "audit/query.h"
#include "error.h"
#include "peerflow.h"
#include "peerflow_archive.h"
#include "rewrite.h"

enum { PUT_OCTETS = 64 << 10 };         /* that wait before they are written */

/* What was asked for. */
struct flows {
	struct peerflow_archive archive;
	char **words;
	char *format;
	char *fields;
	char *by;
	gint64 limit;
	gboolean join;
	gboolean count;
};

static void
flows_clear(struct flows *flows)
{
	peerflow_archive_clear(&flows->archive);
	g_strfreev(flows->words);
	g_free(flows->format);
	g_free(flows->fields);
	g_free(flows->by);
}
typedef struct flows flows_t;
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(flows_t, flows_clear)

/* Where flows come from, what they become, and what waits to be written. */
struct run {
	const struct flows *flows;
	struct query *query;
	struct scan *scan;
	struct join *join;          /* or NULL */
	struct order *order;        /* or NULL */
	struct printer *printer;    /* one of the two, or neither: flows are counted */
	struct rewrite *rewrite;
	GString *text;
	uint64_t shown;
	struct scan_record record;
	struct copy_view view;
};

static void
run_clear(struct run *run)
{
	scan_free(run->scan);
	query_free(run->query);
	join_free(run->join);
	order_free(run->order);
	g_clear_pointer(&run->printer, printer_free);
	rewrite_free(run->rewrite);
	g_string_free(run->text, true);
}
typedef struct run run_t;
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(run_t, run_clear)

/* Writes what waits, if it is that much. */
static bool
put_full(struct run *run, size_t full, GError **error)
{
	if (run->text->len < full || !run->text->len)
		return true;
	const bool good = peerflow_put(run->text, error);
	g_string_truncate(run->text, 0);
	return good;
}

static bool
show(struct run *run, const struct print_flow *flow, GError **error)
{
	run->shown++;
	if (run->printer)
		printer_flow(run->printer, flow, run->text);
	else if (run->rewrite && !rewrite_flow(run->rewrite, flow, run->text, error))
		return false;
	return put_full(run, PUT_OCTETS, error);
}

static bool
show_end(struct run *run, GError **error)
{
	if (run->rewrite)
		rewrite_end(run->rewrite, run->text);
	else if (!run->printer)
		g_string_append_printf(run->text, "%" G_GUINT64_FORMAT "\n", run->shown);
	return put_full(run, 0, error);
}

/* The next record or, joined, the next flow that is complete; in the end also those that are not. */
static bool
next_any(struct run *run, struct print_flow *flow)
{
	while (scan_next(run->scan, &run->record)) {
		*flow = peerflow_archive_flow(&run->record);
		if (!run->join)
			return true;
		if (!join_add(run->join, flow, run->record.path, &run->view))
			continue;
		*flow = run->view.flow;
		return true;
	}
	if (!run->join || !join_rest(run->join, &run->view))
		return false;
	*flow = run->view.flow;
	return true;
}

static bool
next_match(struct run *run, struct print_flow *flow)
{
	while (next_any(run, flow))
		if (!run->join || query_matches(run->query, flow))
			return true;
	return false;
}

static bool
enough(const struct run *run)
{
	return run->flows->limit && run->shown == (uint64_t)run->flows->limit;
}

static bool
stream(struct run *run, GError **error)
{
	struct print_flow flow;

	while (!enough(run) && next_match(run, &flow))
		if (!show(run, &flow, error))
			return false;
	return show_end(run, error);
}

static bool
stream_ordered(struct run *run, GError **error)
{
	g_autoptr(GError) wrong = NULL;
	struct print_flow flow;
	struct copy_view view;

	while (next_match(run, &flow))
		if (!order_add(run->order, &flow, error))
			return false;
	while (order_next(run->order, &view, &wrong))
		if (!show(run, &view.flow, error))
			return false;
	if (!wrong)
		return show_end(run, error);
	g_propagate_error(error, g_steal_pointer(&wrong));
	return false;
}

/* Zero if the output is no terminal. */
static unsigned
terminal_columns(void)
{
	struct winsize size;

	return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

static bool
begin_printer(struct run *run, GError **error)
{
	const struct flows *flows = run->flows;
	enum print_format format = PRINT_TABLE;

	if (flows->format && !print_format_find(flows->format, &format)) {
		g_set_error(error, PEERFLOW_ERROR, EX_USAGE, "unknown format \"%s\": table, csv, json or ipfix", flows->format);
		return false;
	}
	run->printer = printer_new(format);
	if (flows->fields && !printer_choose(run->printer, flows->fields, error))
		return false;
	printer_fold(run->printer, terminal_columns());
	printer_header(run->printer, run->text);
	return true;
}

static bool
begin_rewrite(struct run *run, GError **error)
{
	const struct peerflow_archive *archive = &run->flows->archive;
	const struct rewrite_options options = {
		.template_directory = archive->template_directory, .enterprise = archive->enterprise, .domain = 1,
	};

	if (run->flows->fields) {
		g_set_error(error, PEERFLOW_ERROR, EX_USAGE, "--fields: IPFIX has all there are");
		return false;
	}
	if (isatty(STDOUT_FILENO)) {
		g_set_error(error, PEERFLOW_ERROR, EX_USAGE, "IPFIX is nothing for a terminal: send it to a file or a program");
		return false;
	}
	run->rewrite = rewrite_new(&options, run->text, error);
	return run->rewrite;
}

static bool
begin_output(struct run *run, GError **error)
{
	if (run->flows->count)
		return true;
	return !g_strcmp0(run->flows->format, "ipfix") ? begin_rewrite(run, error) : begin_printer(run, error);
}

static bool
begin_order(struct run *run, GError **error)
{
	if (!run->flows->by)
		return true;
	run->order = order_new(&(struct order_options){ .by = run->flows->by, .limit = (uint64_t)run->flows->limit }, error);
	return run->order;
}

/* An order has them by members that no query asked for. */
static enum peerflow_use
use_of(const struct flows *flows)
{
	if (flows->join)
		return PEERFLOW_JOINED;
	return flows->count && !flows->by ? PEERFLOW_COUNTED : PEERFLOW_SHOWN;
}

static bool
flows_run(const struct flows *flows, GError **error)
{
	g_auto(run_t) run = { .flows = flows, .text = g_string_new(NULL), .join = flows->join ? join_new() : NULL };

	if (!(run.query = peerflow_query(flows->words, error)) || !begin_order(&run, error)
	    || !(run.scan = peerflow_archive_ask(&flows->archive, run.query, use_of(flows), error))
	    || !begin_output(&run, error))
		return false;
	return (run.order ? stream_ordered(&run, error) : stream(&run, error)) && peerflow_archive_whole(run.scan, error);
}

static bool
flows_check(struct flows *flows, GError **error)
{
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
		{ "order", 'o', 0, G_OPTION_ARG_STRING, &flows.by, "bytes, start, duration, ..., or a column; :desc turns it round",
		  "FIELD[:desc]" },
		{ "limit", 'n', 0, G_OPTION_ARG_INT64, &flows.limit, "End after so many flows (0: do not)", "N" },
		{ "format", 'f', 0, G_OPTION_ARG_STRING, &flows.format, "table, csv, json or ipfix (table)", "FORMAT" },
		{ "fields", 'F', 0, G_OPTION_ARG_STRING, &flows.fields, "Only these columns, by the names of csv's", "A,B,..." },
		{ "join", 'j', 0, G_OPTION_ARG_NONE, &flows.join, "All records of a flow as one", NULL },
		{ "count", 0, 0, G_OPTION_ARG_NONE, &flows.count, "Print how many there are, not what they are", NULL },
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_STRING_ARRAY, &flows.words, NULL, "[QUERY]" },
		{ 0 },
	};

	return peerflow_options("Shows archived flows; with a QUERY those that answer it, such as \"src peer alice and port "
	                        "443\".", entries, argc, argv, error)
	       && flows_check(&flows, error) && flows_run(&flows, error);
}
