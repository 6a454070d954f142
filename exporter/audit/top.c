/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "audit/top.h"

#include <string.h>

#include "audit/tally.h"
#include "audit/value.h"
#include "error.h"

enum { MOST = 200000 };                 /* some 40 MB */

enum end { INITIATOR, RESPONDER };

/* One thing about flows. put appends it to out, which was empty; false: there is none. */
struct kind {
	const char *name;
	const char *one;            /* the column's name */
	bool (*put)(GString *out, const struct print_flow *flow, enum end end);
	bool ends;                  /* each end has its own; else put gets the initiator's */
};

struct top {
	const struct kind *kind;
	enum tally_by by;
	struct tally *tally;
	struct tally_sums total;
	size_t most;
	GString *text[2];
};

static bool
put_index(GString *out, const struct print_flow *flow, uint32_t index)
{
	if (!index || index >= flow->names->count)
		return false;
	g_string_append_len(out, flow->names->name[index].text, flow->names->name[index].length);
	return true;
}

static uint32_t
identity_of(const struct print_flow *flow, enum end end)
{
	return end == INITIATOR ? flow->flow->initiator : flow->flow->responder;
}

static bool
put_peer(GString *out, const struct print_flow *flow, enum end end)
{
	return put_index(out, flow, names_who(flow->names, identity_of(flow, end)));
}

#define WORD(name_, word_) \
	static bool put_##name_(GString *out, const struct print_flow *flow, enum end end) \
	{ \
		return put_index(out, flow, names_word(flow->names, identity_of(flow, end), word_)); \
	}

WORD(user, WORD_USER)
WORD(group, WORD_GROUPS)
WORD(resource, WORD_RESOURCE)
WORD(network, WORD_NETWORK)
WORD(domain, WORD_DOMAIN)

static bool
put_policy(GString *out, const struct print_flow *flow, enum end end G_GNUC_UNUSED)
{
	return put_index(out, flow, flow->flow->policy);
}

/* The hosts that talked in truth: the responder is who answered, whatever was called. */
static bool
put_host(GString *out, const struct print_flow *flow, enum end end)
{
	value_address(out, flow->flow, end == INITIATOR ? &flow->flow->original.source : &flow->flow->reply.source);
	return true;
}

static void
put_name_or_host(GString *out, const struct print_flow *flow, enum end end)
{
	if (!put_peer(out, flow, end))
		put_host(out, flow, end);
}

static bool
put_pair(GString *out, const struct print_flow *flow, enum end end G_GNUC_UNUSED)
{
	put_name_or_host(out, flow, INITIATOR);
	g_string_append(out, " -> ");
	put_name_or_host(out, flow, RESPONDER);
	return true;
}

static bool
put_source(GString *out, const struct print_flow *flow, enum end end G_GNUC_UNUSED)
{
	return put_host(out, flow, INITIATOR);
}

/* As it was called. */
static bool
put_destination(GString *out, const struct print_flow *flow, enum end end G_GNUC_UNUSED)
{
	value_address(out, flow->flow, &flow->flow->original.destination);
	return true;
}

static bool
put_protocol(GString *out, const struct print_flow *flow, enum end end G_GNUC_UNUSED)
{
	const char *name = value_protocol(flow->flow);

	if (name)
		g_string_append(out, name);
	else
		g_string_append_printf(out, "%u", flow->flow->protocol);
	return true;
}

/* The service that was called: "tcp/443", "icmp 8/0". */
static bool
put_port(GString *out, const struct print_flow *flow, enum end end)
{
	const struct side *original = &flow->flow->original;

	put_protocol(out, flow, end);
	if (value_has_ports(flow->flow))
		g_string_append_printf(out, "/%u", original->destination_port);
	else if (value_is_icmp(flow->flow))
		g_string_append_printf(out, " %u/%u", original->icmp >> 8, original->icmp & 0xff);
	return true;
}

static bool
put_interface(GString *out, const struct print_flow *flow, enum end end)
{
	const char *name = end == INITIATOR ? flow->ingress : flow->egress;

	g_string_append(out, name ? name : "");
	return name;
}

static bool
put_router(GString *out, const struct print_flow *flow, enum end end G_GNUC_UNUSED)
{
	g_string_append(out, flow->router ? flow->router : "");
	return flow->router;
}

static const struct kind kinds[] = {
	{ "peers", "peer", put_peer, true },
	{ "users", "user", put_user, true },
	{ "groups", "groups", put_group, true },
	{ "resources", "resource", put_resource, true },
	{ "networks", "network", put_network, true },
	{ "domains", "domain", put_domain, true },
	{ "policies", "policy", put_policy, false },
	{ "pairs", "pair", put_pair, false },
	{ "hosts", "host", put_host, true },
	{ "sources", "source", put_source, false },
	{ "destinations", "destination", put_destination, false },
	{ "ports", "port", put_port, false },
	{ "protocols", "protocol", put_protocol, false },
	{ "interfaces", "interface", put_interface, true },
	{ "routers", "router", put_router, false },
};

static const struct measure {
	const char *name;
	enum tally_by by;
} measures[] = {
	{ "bytes", TALLY_OCTETS }, { "octets", TALLY_OCTETS }, { "packets", TALLY_PACKETS }, { "flows", TALLY_FLOWS },
};

static bool
find_kind(struct top *top, const char *name, GError **error)
{
	g_autoptr(GString) all = g_string_new(NULL);

	for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
		if (!strcmp(kinds[i].name, name))
			top->kind = &kinds[i];
		g_string_append_printf(all, "%s%s", i ? ", " : "", kinds[i].name);
	}
	if (!top->kind)
		g_set_error(error, PEERFLOW_ERROR, EX_USAGE, "no top \"%s\": %s", name, all->str);
	return top->kind;
}

static bool
find_measure(struct top *top, const char *name, GError **error)
{
	for (size_t i = 0; i < G_N_ELEMENTS(measures); i++)
		if (!name || !strcmp(measures[i].name, name)) {
			top->by = measures[i].by;
			return true;
		}
	g_set_error(error, PEERFLOW_ERROR, EX_USAGE, "--by \"%s\": bytes, packets or flows", name);
	return false;
}

struct top *
top_new(const struct top_options *options, GError **error)
{
	g_autoptr(top_t) top = g_new0(struct top, 1);

	if (!find_kind(top, options->kind, error) || !find_measure(top, options->by, error))
		return NULL;
	top->most = options->most ? options->most : MOST;
	top->tally = tally_new(top->by, top->most);
	top->text[INITIATOR] = g_string_new(NULL);
	top->text[RESPONDER] = g_string_new(NULL);
	return g_steal_pointer(&top);
}

void
top_free(struct top *top)
{
	if (!top)
		return;
	tally_free(top->tally);
	for (unsigned end = 0; end < G_N_ELEMENTS(top->text); end++)
		if (top->text[end])
			g_string_free(top->text[end], true);
	g_free(top);
}

/* A flow is counted with the record of its end: one that goes on has many records. */
static struct tally_sums
sums_of(const struct flow *flow, enum end end)
{
	return (struct tally_sums){
		.measure = {
			[TALLY_OCTETS] = flow->original.octets + flow->reply.octets,
			[TALLY_PACKETS] = flow->original.packets + flow->reply.packets,
			[TALLY_FLOWS] = flow->end_reason != END_ACTIVE,
		},
		.sent = end == INITIATOR ? flow->original.octets : flow->reply.octets,
	};
}

static void
add_end(struct top *top, const struct print_flow *flow, enum end end)
{
	const struct tally_sums sums = sums_of(flow->flow, end);
	GString *text = top->text[end];

	g_string_truncate(text, 0);
	if (!top->kind->put(text, flow, end)) {
		g_string_truncate(text, 0);
		return;
	}
	/* Who talks to itself has talked once. */
	if (end == RESPONDER && g_string_equal(text, top->text[INITIATOR]))
		return;
	tally_add(top->tally, text->str, text->len, &sums);
}

void
top_add(struct top *top, const struct print_flow *flow)
{
	const struct tally_sums sums = sums_of(flow->flow, INITIATOR);

	for (unsigned i = 0; i < TALLY_MEASURES; i++)
		top->total.measure[i] += sums.measure[i];
	top->total.sent += sums.sent;
	add_end(top, flow, INITIATOR);
	if (top->kind->ends)
		add_end(top, flow, RESPONDER);
}

/* Printing. */

/* In characters, as far as a terminal has one column for each. */
static void
put_cell(GString *out, const char *text, unsigned width, bool right)
{
	const unsigned characters = g_utf8_strlen(text, -1);
	const int spaces = characters < width ? (int)(width - characters) : 0;

	g_string_append_printf(out, "%*s%s%*s", right ? spaces : 0, "", text, right ? 0 : spaces, "");
}

static void
put_share(GString *out, uint64_t part, uint64_t whole)
{
	g_string_append_printf(out, "  %5.1f %%", whole ? 100.0 * (double)part / (double)whole : 0.0);
}

static void
put_count(GString *out, uint64_t count, const char *unit, unsigned width)
{
	g_autoptr(GString) text = g_string_new(NULL);

	value_human(text, count, unit);
	g_string_append(out, "  ");
	put_cell(out, text->str, width, true);
}

static void
put_line(const struct top *top, const char *text, unsigned width, const struct tally_sums *sums, GString *out)
{
	put_cell(out, text, width, false);
	put_share(out, sums->measure[top->by], top->total.measure[top->by]);
	put_count(out, sums->measure[TALLY_OCTETS], "B", 8);
	put_count(out, sums->sent, "B", 8);
	put_count(out, sums->measure[TALLY_OCTETS] - sums->sent, "B", 8);
	put_count(out, sums->measure[TALLY_PACKETS], "", 7);
	put_count(out, sums->measure[TALLY_FLOWS], "", 7);
	g_string_append_c(out, '\n');
}

static void
print_table(const struct top *top, const GPtrArray *rows, guint n, GString *out)
{
	g_autofree char *heading = g_ascii_strup(top->kind->one, -1);
	g_autoptr(GPtrArray) texts = g_ptr_array_new_with_free_func(g_free);
	unsigned width = MAX(strlen(heading), strlen("all flows"));

	for (guint i = 0; i < n; i++) {
		const struct tally_row *row = rows->pdata[i];
		GString *visible = g_string_new(NULL);
		value_visible(visible, row->text, row->length);
		width = MAX(width, (unsigned)g_utf8_strlen(visible->str, -1));
		g_ptr_array_add(texts, g_string_free(visible, false));
	}
	put_cell(out, heading, width, false);
	g_string_append(out, "    SHARE     BYTES      SENT  RECEIVED  PACKETS    FLOWS\n");
	put_line(top, "all flows", width, &top->total, out);
	for (guint i = 0; i < n; i++)
		put_line(top, texts->pdata[i], width, &((struct tally_row *)rows->pdata[i])->sums, out);
}

/* What csv and json have beside the text. */

static uint64_t
octets_of(const struct tally_sums *sums)
{
	return sums->measure[TALLY_OCTETS];
}

static uint64_t
sent_of(const struct tally_sums *sums)
{
	return sums->sent;
}

static uint64_t
received_of(const struct tally_sums *sums)
{
	return sums->measure[TALLY_OCTETS] - sums->sent;
}

static uint64_t
packets_of(const struct tally_sums *sums)
{
	return sums->measure[TALLY_PACKETS];
}

static uint64_t
flows_of(const struct tally_sums *sums)
{
	return sums->measure[TALLY_FLOWS];
}

static const struct column {
	const char *name;
	uint64_t (*of)(const struct tally_sums *sums);
} columns[] = {
	{ "octets", octets_of }, { "octets_sent", sent_of }, { "octets_received", received_of }, { "packets", packets_of },
	{ "flows", flows_of },
};

static void
print_csv(const struct top *top, const GPtrArray *rows, guint n, GString *out)
{
	g_string_append(out, top->kind->one);
	for (size_t i = 0; i < G_N_ELEMENTS(columns); i++)
		g_string_append_printf(out, ",%s", columns[i].name);
	g_string_append_c(out, '\n');
	for (guint at = 0; at < n; at++) {
		const struct tally_row *row = rows->pdata[at];
		print_csv_field(out, row->text, row->length);
		for (size_t i = 0; i < G_N_ELEMENTS(columns); i++)
			g_string_append_printf(out, ",%" G_GUINT64_FORMAT, columns[i].of(&row->sums));
		g_string_append_c(out, '\n');
	}
}

static void
print_json(const struct top *top, const GPtrArray *rows, guint n, GString *out)
{
	for (guint at = 0; at < n; at++) {
		const struct tally_row *row = rows->pdata[at];
		g_string_append_printf(out, "{\"%s\":", top->kind->one);
		print_json_string(out, row->text, row->length);
		for (size_t i = 0; i < G_N_ELEMENTS(columns); i++)
			g_string_append_printf(out, ",\"%s\":%" G_GUINT64_FORMAT, columns[i].name, columns[i].of(&row->sums));
		g_string_append(out, "}\n");
	}
}

void
top_print(const struct top *top, enum print_format format, size_t limit, GString *out)
{
	static void (*const printers[PRINT_FORMATS])(const struct top *, const GPtrArray *, guint, GString *) = {
		[PRINT_TABLE] = print_table, [PRINT_CSV] = print_csv, [PRINT_JSON] = print_json,
	};
	g_autoptr(GPtrArray) rows = tally_rows(top->tally);

	printers[format](top, rows, limit ? (guint)MIN(limit, rows->len) : rows->len, out);
}

char *
top_warning(const struct top *top)
{
	static const char *const units[TALLY_MEASURES] = { "bytes", "packets", "flows" };
	const uint64_t forgotten = tally_forgotten(top->tally);

	if (!forgotten)
		return NULL;
	return g_strdup_printf("there are more than %zu different %s: sums may be too small by up to %" G_GUINT64_FORMAT " %s",
	                       top->most, top->kind->name, forgotten, units[top->by]);
}
