/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "status.h"

#include <inttypes.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <jansson.h>

#include "error.h"
#include "ledger.h"

enum kind {
	NUMBER,
	OCTETS,
	FLAG,
	TEXT,                       /* const char * */
	MOMENT,                     /* ms since 1970, zero: never */
	SPAN,                       /* seconds */
};

/* A number in a struct, its word in the document, and what people call it. Both directions go by these tables, so that
 * no number is told and not shown. */
struct row {
	const char *group;
	const char *key;
	const char *label;
	enum kind kind;
	size_t offset;
	size_t size;
};

#define IN(type, member) offsetof(struct type, member), sizeof ((struct type *)NULL)->member

static const struct row rows[] = {
	{ "daemon", "version", "version", TEXT, IN(status, version) },
	{ "daemon", "configuration", "configuration", TEXT, IN(status, configuration) },
	{ "daemon", "pid", "process", NUMBER, IN(status, pid) },
	{ "daemon", "started_ms", "running since", MOMENT, IN(status, started) },
	{ "daemon", "uptime_s", "up for", SPAN, IN(status, uptime) },
	{ "daemon", "observation_domain", "Observation Domain", NUMBER, IN(status, domain) },
	{ "daemon", "mesh", "mesh", TEXT, IN(status, mesh) },
	{ "daemon", "mesh_sentence", "that is", TEXT, IN(status, mesh_sentence) },
	{ "daemon", "names", "names of peers", NUMBER, IN(status, names) },
	{ "daemon", "viewers", "viewers", NUMBER, IN(status, viewers) },

	{ "kernel", "events_received", "ends of flows received", NUMBER, IN(status, source.events) },
	{ "kernel", "events_malformed", "that could not be read", NUMBER, IN(status, source.malformed) },
	{ "kernel", "events_truncated", "that were cut", NUMBER, IN(status, source.truncated) },
	{ "kernel", "delivery", "delivery", TEXT, IN(status, delivery) },
	{ "kernel", "delivery_since_ms", "since", MOMENT, IN(status, kernel.delivery_since) },
	{ "kernel", "fuse_blown", "times the fuse has blown", NUMBER, IN(status, kernel.fuse_blown) },
	{ "kernel", "events_lost", "ends lost", NUMBER, IN(status, kernel.lost) },
	{ "kernel", "postponed", "times some came later", NUMBER, IN(status, kernel.postponed) },
	{ "kernel", "overruns", "times the buffer overran", NUMBER, IN(status, source.overruns) },
	{ "kernel", "buffer_filled", "buffer: filled", OCTETS, IN(status, kernel.buffer_filled) },
	{ "kernel", "buffer_size", "buffer: size", OCTETS, IN(status, kernel.buffer) },
	{ "kernel", "table_entries", "table: entries", NUMBER, IN(status, kernel.table_entries) },
	{ "kernel", "table_most", "table: most (0: no limit)", NUMBER, IN(status, kernel.table_most) },
	{ "kernel", "table_buckets", "table: buckets", NUMBER, IN(status, kernel.table_buckets) },
	{ "kernel", "accounting", "nf_conntrack_acct", NUMBER, IN(status, kernel.accounting) },
	{ "kernel", "timestamps", "nf_conntrack_timestamp", NUMBER, IN(status, kernel.timestamps) },
	{ "kernel", "events", "nf_conntrack_events", NUMBER, IN(status, kernel.events) },
	{ "kernel", "settings_restored", "settings put back", NUMBER, IN(status, source.settings_restored) },

	{ "sweeps", "count", "walks over the table", NUMBER, IN(status, source.sweeps) },
	{ "sweeps", "last_ms", "the last one", MOMENT, IN(status, kernel.sweep_at) },
	{ "sweeps", "complete", "to its end", FLAG, IN(status, kernel.sweep_complete) },
	{ "sweeps", "certain", "nothing outstanding or lost", FLAG, IN(status, kernel.sweep_certain) },
	{ "sweeps", "entries", "entries", NUMBER, IN(status, kernel.sweep_entries) },
	{ "sweeps", "processor_ns", "processor time, ns", NUMBER, IN(status, kernel.sweep_cost) },
	{ "sweeps", "duration_us", "duration, us", NUMBER, IN(status, kernel.sweep_duration) },
	{ "sweeps", "stall_us", "longest stall, us", NUMBER, IN(status, kernel.sweep_stall) },
	{ "sweeps", "pause_us", "pause before the next, us", NUMBER, IN(status, kernel.sweep_pause) },
	{ "sweeps", "resync_ms", "last one after a loss", MOMENT, IN(status, kernel.resync_at) },

	{ "flows", "ended", "ended", NUMBER, IN(status, source.flows) },
	{ "flows", "exported", "exported", NUMBER, IN(status, exported) },
	{ "flows", "without_counters", "without counters", NUMBER, IN(status, source.without_counters) },
	{ "flows", "without_start", "without a start", NUMBER, IN(status, source.without_start) },
	{ "flows", "present_at_start", "that were there before", NUMBER, IN(status, source.present_at_start) },
	{ "flows", "labels_lost", "that lost their labels", NUMBER, IN(status, source.labels_lost) },
	{ "flows", "duplicates", "ends told twice, dropped", NUMBER, IN(status, flows.duplicates) },
	{ "flows", "late", "shown after their end, ignored", NUMBER, IN(status, flows.late) },

	{ "long_flows", "known", "known", NUMBER, IN(status, long_flows) },
	{ "long_flows", "most", "that there may be", NUMBER, IN(status, max_long_flows) },
	{ "long_flows", "octets", "memory", OCTETS, IN(status, pool_octets) },
	{ "long_flows", "interval_records", "interval records", NUMBER, IN(status, flows.intervals) },
	{ "long_flows", "partial", "counted from the first look", NUMBER, IN(status, flows.partial) },
	{ "long_flows", "no_room", "reported at their end only", NUMBER, IN(status, flows.no_room) },
	{ "long_flows", "gone", "gone without a word", NUMBER, IN(status, flows.gone) },
	{ "long_flows", "counter_resets", "whose counters were zeroed", NUMBER, IN(status, flows.resets) },

	{ "archive", "state", "state", TEXT, IN(status, archive_state) },
	{ "archive", "path", "path", TEXT, IN(status, archive_path) },
	{ "archive", "trouble", "what went wrong last", TEXT, IN(status, archive_trouble) },
	{ "archive", "files", "files", NUMBER, IN(status, archive.files) },
	{ "archive", "octets", "all files", OCTETS, IN(status, archive.octets) },
	{ "archive", "oldest_ms", "the oldest began", MOMENT, IN(status, archive.oldest) },
	{ "archive", "file", "being written", TEXT, IN(status, archive_file) },
	{ "archive", "file_octets", "in it so far", OCTETS, IN(status, archive.open_octets) },
	{ "archive", "octets_written", "written", OCTETS, IN(status, archive.written) },
	{ "archive", "octets_waiting", "waiting for the disk", OCTETS, IN(status, archive.queued) },
	{ "archive", "flows_waiting", "flows not in a file yet", NUMBER, IN(status, archive_behind) },
	{ "archive", "expired_age", "files removed: too old", NUMBER, IN(status, archive.expired[STORE_EXPIRED_AGE]) },
	{ "archive", "expired_size", "files removed: too many", NUMBER, IN(status, archive.expired[STORE_EXPIRED_SIZE]) },
	{ "archive", "expired_disk", "files removed: disk full", NUMBER, IN(status, archive.expired[STORE_EXPIRED_DISK]) },
	{ "archive", "octets_cut", "torn octets cut off", OCTETS, IN(status, archive.cut) },
	{ "archive", "chain", "head of the chain", TEXT, IN(status, archive_head) },
};

#define DROPPED(reason, member) counters.dropped[reason].member

/* Of a collector. Those without a label stand in the table's columns, or are shown only if they are not zero. */
static const struct row collector_rows[] = {
	{ NULL, "name", NULL, TEXT, IN(status_collector, name) },
	{ NULL, "host", NULL, TEXT, IN(status_collector, host) },
	{ NULL, "port", NULL, NUMBER, IN(status_collector, port) },
	{ NULL, "transport", NULL, TEXT, IN(status_collector, transport) },
	{ NULL, "protocol", NULL, TEXT, IN(status_collector, protocol) },
	{ NULL, "template", NULL, TEXT, IN(status_collector, template_name) },
	{ NULL, "state", NULL, TEXT, IN(status_collector, state) },
	{ NULL, "address", NULL, TEXT, IN(status_collector, address) },
	{ NULL, "trouble", NULL, TEXT, IN(status_collector, trouble) },
	{ NULL, "sessions", NULL, NUMBER, IN(status_collector, counters.sessions) },
	{ NULL, "records_sent", NULL, NUMBER, IN(status_collector, counters.flow_records_sent) },
	{ NULL, "messages_sent", NULL, NUMBER, IN(status_collector, counters.messages_sent) },
	{ NULL, "octets_sent", NULL, OCTETS, IN(status_collector, counters.octets_sent) },
	{ NULL, "records_dropped", NULL, NUMBER, IN(status_collector, counters.flow_records_dropped) },
	{ NULL, "dropped_no_session", "no session", NUMBER, IN(status_collector, DROPPED(DROP_NO_SESSION, flow_records)) },
	{ NULL, "dropped_queue_full", "queue full", NUMBER, IN(status_collector, DROPPED(DROP_QUEUE_FULL, flow_records)) },
	{ NULL, "dropped_session_lost", "session lost", NUMBER,
	  IN(status_collector, DROPPED(DROP_SESSION_LOST, flow_records)) },
	{ NULL, "dropped_send_failed", "not taken by the kernel", NUMBER,
	  IN(status_collector, DROPPED(DROP_SEND_FAILED, flow_records)) },
	{ NULL, "refused", "messages came back", NUMBER, IN(status_collector, counters.refused) },
	{ NULL, "unconfirmed_octets", "octets on the way when a session broke", NUMBER,
	  IN(status_collector, counters.unconfirmed) },
	{ NULL, "queue_filled", NULL, OCTETS, IN(status_collector, queue_filled) },
	{ NULL, "queue_size", NULL, OCTETS, IN(status_collector, queue_size) },
};

/* Of one who knows names. */
static const struct row source_rows[] = {
	{ NULL, "name", NULL, TEXT, IN(status_source, name) },
	{ NULL, "state", NULL, TEXT, IN(status_source, state) },
	{ NULL, "since_ms", NULL, MOMENT, IN(status_source, since) },
	{ NULL, "answered_ms", NULL, MOMENT, IN(status_source, answered) },
	{ NULL, "answers", NULL, NUMBER, IN(status_source, answers) },
	{ NULL, "failures", NULL, NUMBER, IN(status_source, failures) },
	{ NULL, "entries", NULL, NUMBER, IN(status_source, entries) },
	{ NULL, "text", NULL, TEXT, IN(status_source, text) },
};

/* To JSON */

static uint64_t
number_of(const struct row *row, const void *from)
{
	const char *at = (const char *)from + row->offset;
	uint64_t eight = 0;
	uint32_t four = 0;

	if (row->size == 1)
		return *(const bool *)at;
	memcpy(row->size == 8 ? (void *)&eight : &four, at, row->size);
	return row->size == 8 ? eight : four;
}

static void
add_row(json_t *object, const struct row *row, const void *from)
{
	const char *at = (const char *)from + row->offset;
	const char *text;

	if (row->kind == TEXT) {
		memcpy(&text, at, sizeof text);
		json_object_set_new(object, row->key, json_string(text));
	} else if (row->kind == FLAG) {
		json_object_set_new(object, row->key, json_boolean(number_of(row, from)));
	} else {
		json_object_set_new(object, row->key, json_integer(number_of(row, from)));
	}
}

static void
add_groups(json_t *root, const struct status *status)
{
	for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
		if (!json_object_get(root, rows[i].group))
			json_object_set_new(root, rows[i].group, json_object());
		add_row(json_object_get(root, rows[i].group), &rows[i], status);
	}
}

static json_t *
object_of(const struct row *row, size_t n, const void *from)
{
	json_t *object = json_object();

	for (size_t i = 0; i < n; i++)
		add_row(object, &row[i], from);
	return object;
}

static void
add_collectors(json_t *root, const struct status *status)
{
	json_t *collectors = json_array();

	for (size_t i = 0; i < status->n_collectors; i++)
		json_array_append_new(collectors, object_of(collector_rows, G_N_ELEMENTS(collector_rows),
		                                            &status->collector[i]));
	json_object_set_new(root, "collectors", collectors);
}

static void
add_sources(json_t *root, const struct status *status)
{
	json_t *sources = json_array();

	for (size_t i = 0; i < status->n_names_from; i++)
		json_array_append_new(sources, object_of(source_rows, G_N_ELEMENTS(source_rows), &status->names_from[i]));
	json_object_set_new(root, "names_from", sources);
}

static void
add_gap(const struct gap *gap, void *data)
{
	g_autofree char *text = gap_text(gap);

	json_array_append_new(data, json_pack("{ss ss sI sI sI sI sI sb ss}", "kind", gap_name(gap->kind),
	                                      "collector", gap->collector, "first_ms", (json_int_t)gap->first,
	                                      "last_ms", (json_int_t)gap->last, "flows", (json_int_t)gap->flows,
	                                      "packets", (json_int_t)gap->packets, "octets", (json_int_t)gap->octets,
	                                      "unknown", gap->unknown, "text", text));
}

static void
add_gaps(json_t *root, const struct ledger *ledger)
{
	json_t *totals = json_array(), *last = json_array();

	ledger_totals(ledger, add_gap, totals);
	ledger_each(ledger, add_gap, last);
	json_object_set_new(root, "gaps", json_pack("{so so}", "totals", totals, "last", last));
}

char *
status_json(const struct status *status)
{
	json_t *root = json_object();

	add_groups(root, status);
	add_sources(root, status);
	add_collectors(root, status);
	add_gaps(root, status->ledger);
	/* jansson's memory is not GLib's. */
	char *text = json_dumps(root, JSON_INDENT(2));
	char *copy = g_strconcat(text, "\n", NULL);
	free(text);
	json_decref(root);
	return copy;
}

void
status_send(int fd, const char *text)
{
	const size_t length = strlen(text);
	int room = length * 4;      /* with what the kernel adds to each piece */

	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room))
		(void)!setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
	(void)!send(fd, text, length, MSG_DONTWAIT | MSG_NOSIGNAL);
	close(fd);
}

/* To text. The document comes from outside; jansson's getters take any kind of value, also none, and then answer NULL
 * or zero. */

static const char *
text_at(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

static uint64_t
number_at(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

static char *
moment_text(uint64_t ms)
{
	g_autoptr(GDateTime) moment = ms ? g_date_time_new_from_unix_local(ms / 1000) : NULL;

	return moment ? g_date_time_format(moment, "%Y-%m-%d %H:%M:%S") : g_strdup("never");
}

static char *
span_text(uint64_t seconds)
{
	const unsigned minutes = seconds / 60 % 60, hours = seconds / 3600 % 24;

	if (seconds >= 86400)
		return g_strdup_printf("%" PRIu64 " d %u h %u min", seconds / 86400, hours, minutes);
	if (seconds >= 3600)
		return g_strdup_printf("%u h %u min", hours, minutes);
	return g_strdup_printf("%u min %u s", minutes, (unsigned)(seconds % 60));
}

static char *
octets_text(uint64_t octets)
{
	static const char units[] = " KMGTPE";
	double size = octets;
	unsigned unit = 0;

	if (octets < 10000)
		return g_strdup_printf("%" PRIu64, octets);
	while (size >= 1000) {
		size /= 1024;
		unit++;
	}
	return g_strdup_printf("%.*f %ci", size < 10 ? 1 : 0, size, units[unit]);
}

static char *
value_text(const json_t *object, const struct row *row)
{
	switch (row->kind) {
	case TEXT:
		return g_strdup(text_at(object, row->key));
	case FLAG:
		return g_strdup(json_is_true(json_object_get(object, row->key)) ? "yes" : "no");
	case MOMENT:
		return moment_text(number_at(object, row->key));
	case SPAN:
		return span_text(number_at(object, row->key));
	case OCTETS:
		return octets_text(number_at(object, row->key));
	case NUMBER:
		break;
	}
	return g_strdup_printf("%" PRIu64, number_at(object, row->key));
}

static void
print_groups(const json_t *root, GString *out)
{
	const char *group = "";

	for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
		const json_t *object = json_object_get(root, rows[i].group);
		if (!json_object_get(object, rows[i].key))
			continue;
		if (strcmp(group, rows[i].group) != 0)
			g_string_append_printf(out, "%s%s\n", *group ? "\n" : "", rows[i].group);
		group = rows[i].group;
		g_autofree char *value = value_text(object, &rows[i]);
		g_string_append_printf(out, "  %-28s  %s\n", rows[i].label, value);
	}
}

/* A table whose columns are as wide as what is in them. */
struct table {
	unsigned columns;
	unsigned right;             /* bit n: column n is aligned to the right */
	GPtrArray *cells;           /* char *, row by row */
};

static void
print_table(const struct table *table, GString *out)
{
	const unsigned rows_used = table->cells->len / table->columns;
	int width[16] = { 0 };

	for (unsigned i = 0; i < table->cells->len; i++)
		width[i % table->columns] = MAX(width[i % table->columns], g_utf8_strlen(table->cells->pdata[i], -1));
	for (unsigned i = 0; i < rows_used * table->columns; i++) {
		const unsigned column = i % table->columns;
		const char *cell = table->cells->pdata[i];
		const int space = width[column] - g_utf8_strlen(cell, -1);
		const bool last = column == table->columns - 1, right = table->right & 1u << column;
		g_string_append_printf(out, "  %*s%s%*s", right ? space : 0, "", cell, right || last ? 0 : space, "");
		if (last)
			g_string_append_c(out, '\n');
	}
}

static void
add_cells(const struct table *table, const char *const *cells)
{
	for (unsigned i = 0; i < table->columns; i++)
		g_ptr_array_add(table->cells, g_strdup(cells[i]));
}

static void
add_source_cells(const struct table *table, const json_t *source)
{
	g_autofree char *entries = g_strdup_printf("%" PRIu64, number_at(source, "entries"));
	g_autofree char *answered = moment_text(number_at(source, "answered_ms"));
	const char *cells[] = { text_at(source, "name"), text_at(source, "state"), entries, answered,
	                        text_at(source, "text") };

	add_cells(table, cells);
}

static void
print_sources(const json_t *sources, GString *out)
{
	static const char *const titles[] = { "NAME", "STATE", "ENTRIES", "LAST ANSWER", "SAYS" };
	g_autoptr(GPtrArray) cells = g_ptr_array_new_with_free_func(g_free);
	const struct table table = { G_N_ELEMENTS(titles), 0x4, cells };

	if (!json_array_size(sources))
		return;
	g_string_append(out, "\nnames from\n");
	add_cells(&table, titles);
	for (unsigned i = 0; i < json_array_size(sources); i++)
		add_source_cells(&table, json_array_get(sources, i));
	print_table(&table, out);
}

static char *
destination_text(const json_t *collector)
{
	const char *address = text_at(collector, "address");

	return *address ? g_strdup(address) : g_strdup_printf("%s port %" PRIu64, text_at(collector, "host"),
	                                                      number_at(collector, "port"));
}

static char *
queue_text(const json_t *collector)
{
	g_autofree char *filled = octets_text(number_at(collector, "queue_filled"));
	g_autofree char *size = octets_text(number_at(collector, "queue_size"));

	return number_at(collector, "queue_size") ? g_strdup_printf("%s of %s", filled, size) : g_strdup("-");
}

static void
add_collector_cells(const struct table *table, const json_t *collector)
{
	g_autofree char *to = destination_text(collector);
	g_autofree char *records = g_strdup_printf("%" PRIu64, number_at(collector, "records_sent"));
	g_autofree char *messages = g_strdup_printf("%" PRIu64, number_at(collector, "messages_sent"));
	g_autofree char *octets = octets_text(number_at(collector, "octets_sent"));
	g_autofree char *lost = g_strdup_printf("%" PRIu64, number_at(collector, "records_dropped"));
	g_autofree char *queue = queue_text(collector);
	const char *cells[] = { text_at(collector, "name"), text_at(collector, "state"), to, records, messages, octets, lost,
	                        queue };

	add_cells(table, cells);
}

/* What there is to say of a collector that is not all well. */
static void
print_trouble(const json_t *collector, GString *out)
{
	const char *trouble = text_at(collector, "trouble");

	if (*trouble)
		g_string_append_printf(out, "  %s: %s\n", text_at(collector, "name"), trouble);
	for (size_t i = 0; i < G_N_ELEMENTS(collector_rows); i++) {
		const uint64_t number = collector_rows[i].label ? number_at(collector, collector_rows[i].key) : 0;
		if (number)
			g_string_append_printf(out, "  %s: %s: %" PRIu64 "\n", text_at(collector, "name"), collector_rows[i].label,
			                       number);
	}
}

static void
print_collectors(const json_t *collectors, GString *out)
{
	static const char *const titles[] = { "NAME", "STATE", "TO", "RECORDS", "MESSAGES", "OCTETS", "LOST", "QUEUE" };
	g_autoptr(GPtrArray) cells = g_ptr_array_new_with_free_func(g_free);
	const struct table table = { G_N_ELEMENTS(titles), 0x78, cells };

	g_string_append(out, "\ncollectors\n");
	if (!json_array_size(collectors)) {
		g_string_append(out, "  none\n");
		return;
	}
	add_cells(&table, titles);
	for (unsigned i = 0; i < json_array_size(collectors); i++)
		add_collector_cells(&table, json_array_get(collectors, i));
	print_table(&table, out);
	for (unsigned i = 0; i < json_array_size(collectors); i++)
		print_trouble(json_array_get(collectors, i), out);
}

static void
add_gap_cells(const struct table *table, const json_t *gap)
{
	const char *collector = text_at(gap, "collector");
	g_autofree char *first = moment_text(number_at(gap, "first_ms"));
	g_autofree char *last = moment_text(number_at(gap, "last_ms"));
	g_autofree char *flows = g_strdup_printf("%s%" PRIu64, json_is_true(json_object_get(gap, "unknown")) ? "at least " : "",
	                                         number_at(gap, "flows"));
	const char *cells[] = { text_at(gap, "kind"), *collector ? collector : "-", flows, first, last };

	add_cells(table, cells);
}

static void
print_gap(const json_t *gap, GString *out)
{
	g_autofree char *last = moment_text(number_at(gap, "last_ms"));

	g_string_append_printf(out, "  %s  %s\n", last, text_at(gap, "text"));
}

static void
print_gaps(const json_t *gaps, GString *out)
{
	static const char *const titles[] = { "KIND", "COLLECTOR", "FLOWS", "FIRST", "LAST" };
	g_autoptr(GPtrArray) cells = g_ptr_array_new_with_free_func(g_free);
	const struct table table = { G_N_ELEMENTS(titles), 0x4, cells };
	const json_t *totals = json_object_get(gaps, "totals"), *last = json_object_get(gaps, "last");

	g_string_append(out, "\ngaps\n");
	if (!json_array_size(totals)) {
		g_string_append(out, "  none: nothing was lost\n");
		return;
	}
	add_cells(&table, titles);
	for (unsigned i = 0; i < json_array_size(totals); i++)
		add_gap_cells(&table, json_array_get(totals, i));
	print_table(&table, out);
	g_string_append(out, "\nlast gaps\n");
	for (unsigned i = 0; i < json_array_size(last); i++)
		print_gap(json_array_get(last, i), out);
}

char *
status_text(const char *json, size_t length, GError **error)
{
	json_t *root = json_loadb(json, length, 0, NULL);
	const bool good = json_is_object(json_object_get(root, "daemon"));
	GString *out = g_string_new(NULL);

	if (good) {
		print_groups(root, out);
		print_sources(json_object_get(root, "names_from"), out);
		print_collectors(json_object_get(root, "collectors"), out);
		print_gaps(json_object_get(root, "gaps"), out);
	} else {
		g_set_error(error, PEERFLOW_ERROR, EX_DATAERR, root ? "what came from the socket is not the status of a peerflowd"
		            : "what came from the socket is no whole JSON document");
	}
	json_decref(root);
	return g_string_free(out, !good);
}
