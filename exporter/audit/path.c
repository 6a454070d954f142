/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "audit/path.h"

#include <string.h>

#include "audit/picture.h"
#include "audit/print.h"
#include "audit/value.h"

const char *
path_initiator(const struct trace_path *path)
{
	return path->hop[0]->initiator ? path->hop[0]->initiator : "host";
}

const char *
path_responder(const struct trace_path *path)
{
	for (size_t i = path->n_hops; i--;)
		if (path->hop[i]->responder)
			return path->hop[i]->responder;
	return "host";
}

void
path_tuple(GString *out, const struct flow *flow, const struct tuple *tuple)
{
	value_endpoint(out, flow, &tuple->source, tuple->source_port);
	g_string_append(out, " -> ");
	value_endpoint(out, flow, &tuple->destination, tuple->destination_port);
}

static const char *
plural(int64_t n)
{
	return n == 1 || n == -1 ? "" : "s";
}

void
path_leg(GString *out, const struct trace_leg *leg)
{
	static const char *const ways[] = { "there", "back" };
	const char *separator = "";

	if (leg->part)
		g_string_append(out, "one flow here is several there");
	for (unsigned i = 0; leg->counted && i < G_N_ELEMENTS(ways); i++) {
		const int64_t lost = leg->lost[i];
		if (!lost)
			continue;
		g_string_append_printf(out, "%s%" G_GINT64_FORMAT " packet%s %s on the way %s", separator, ABS(lost),
		                       plural(lost), lost > 0 ? "lost" : "more", ways[i]);
		separator = ", ";
	}
}

/* Table */

static void
put_protocol(GString *out, const struct flow *flow)
{
	const char *name = value_protocol(flow);

	if (name)
		g_string_append(out, name);
	else
		g_string_append_printf(out, "protocol %u", flow->protocol);
}

static void
put_head(GString *out, const struct trace_path *path)
{
	const struct flow *flow = &path->hop[0]->flow;
	const struct tuple before = tuple_before(flow);

	value_local_time(out, flow->start);
	g_string_append_c(out, ' ');
	put_protocol(out, flow);
	g_string_append_c(out, ' ');
	path_tuple(out, flow, &before);
	if (!(flow->gaps & GAP_NO_START)) {
		g_string_append(out, ", ");
		value_duration(out, flow->end > flow->start ? flow->end - flow->start : 0);
	}
	g_string_append_printf(out, ": %s\n", path->words);
}

/* A row: who, padded, and what. */
static void
put_row(GString *out, glong width, const char *who, const char *what)
{
	g_autoptr(GString) visible = g_string_new(NULL);

	value_visible(visible, who, strlen(who));
	const glong pad = MAX(width - g_utf8_strlen(visible->str, -1), 0);
	g_string_append_printf(out, "  %s%*s  %s\n", visible->str, (int)pad, "", what);
}

static void
put_counts(GString *out, const struct flow *flow)
{
	if (flow->gaps & GAP_NO_COUNTERS) {
		g_string_append(out, "not counted");
		return;
	}
	g_string_append(out, "sent ");
	value_human(out, flow->original.octets, "B");
	g_string_append_printf(out, " in %" G_GUINT64_FORMAT ", received ", flow->original.packets);
	value_human(out, flow->reply.octets, "B");
	g_string_append_printf(out, " in %" G_GUINT64_FORMAT, flow->reply.packets);
}

static void
put_hop(GString *out, glong width, const struct hop *hop, const struct trace_router *routers)
{
	const struct tuple before = tuple_before(&hop->flow), after = tuple_after(&hop->flow);
	g_autoptr(GString) text = g_string_new(NULL);

	path_tuple(text, &hop->flow, &before);
	g_string_append(text, "   ");
	put_counts(text, &hop->flow);
	put_row(out, width, routers[hop->router].name, text->str);
	if (tuple_equal(&before, &after))
		return;
	g_string_truncate(text, 0);
	path_tuple(text, &hop->flow, &after);
	put_row(out, width, "  after", text->str);
}

static void
put_end(GString *out, glong width, const struct flow *flow, const char *name, const union address *address,
        uint16_t port)
{
	g_autoptr(GString) text = g_string_new(NULL);

	value_endpoint(text, flow, address, port);
	put_row(out, width, name, text->str);
}

static void
put_candidates(GString *out, glong width, const struct hop **hops, size_t n_hops, const struct trace_router *routers,
               const char *label)
{
	for (size_t i = 0; i < n_hops; i++) {
		const struct tuple before = tuple_before(&hops[i]->flow), after = tuple_after(&hops[i]->flow);
		g_autoptr(GString) text = g_string_new(routers[hops[i]->router].name);
		g_string_append_c(text, ' ');
		value_local_time(text, hops[i]->flow.start);
		g_string_append_c(text, ' ');
		path_tuple(text, &hops[i]->flow, &before);
		if (!tuple_equal(&before, &after)) {
			g_string_append(text, ", after ");
			path_tuple(text, &hops[i]->flow, &after);
		}
		put_row(out, width, label, text->str);
	}
}

static glong
name_width(const struct trace_path *path, const struct trace_router *routers)
{
	glong width = strlen("could be");

	width = MAX(width, g_utf8_strlen(path_initiator(path), -1));
	width = MAX(width, g_utf8_strlen(path_responder(path), -1));
	for (size_t i = 0; i < path->n_hops; i++)
		width = MAX(width, g_utf8_strlen(routers[path->hop[i]->router].name, -1));
	return width;
}

/* A leg is worth a row if something happened on it. */
static void
put_leg(GString *out, glong width, const struct trace_leg *leg)
{
	g_autoptr(GString) text = g_string_new(NULL);

	path_leg(text, leg);
	put_row(out, width, "  tunnel", text->len ? text->str : leg->counted ? "nothing lost" : "not wholly counted");
}

static void
put_path(GString *out, const struct trace_path *path, const struct trace_router *routers)
{
	const glong width = name_width(path, routers);
	const struct flow *first = &path->hop[0]->flow, *last = &path->hop[path->n_hops - 1]->flow;

	put_head(out, path);
	put_candidates(out, width, path->before, path->n_before, routers, "could be");
	if (!path->n_before)
		put_end(out, width, first, path_initiator(path), &first->original.source, first->original.source_port);
	for (size_t i = 0; i < path->n_hops; i++) {
		put_hop(out, width, path->hop[i], routers);
		if (i + 1 < path->n_hops)
			put_leg(out, width, &path->leg[i]);
	}
	put_candidates(out, width, path->after, path->n_after, routers, "could be");
	if (!path->n_after)
		put_end(out, width, last, path_responder(path), &last->reply.source, last->reply.source_port);
	if (path->remark)
		put_row(out, width, "note", path->remark);
}

void
path_table(GString *out, const struct trace_path *paths, size_t n_paths, const struct trace_router *routers)
{
	for (size_t i = 0; i < n_paths; i++) {
		g_string_append(out, i ? "\n" : "");
		put_path(out, &paths[i], routers);
	}
}

/* JSON */

static void
json_text(GString *out, const char *name, const char *text)
{
	if (!text)
		return;
	g_string_append_printf(out, "\"%s\":", name);
	print_json_string(out, text, strlen(text));
	g_string_append_c(out, ',');
}

static void
json_number(GString *out, const char *name, uint64_t number)
{
	g_string_append_printf(out, "\"%s\":%" G_GUINT64_FORMAT ",", name, number);
}

/* In place of the comma behind the last member. */
static void
json_close(GString *out, char with)
{
	if (out->str[out->len - 1] == ',')
		g_string_truncate(out, out->len - 1);
	g_string_append_c(out, with);
}

static void
json_address(GString *out, const char *name, const struct flow *flow, const union address *address)
{
	g_autoptr(GString) text = g_string_new(NULL);

	value_address(text, flow, address);
	json_text(out, name, text->str);
}

static void
json_tuple(GString *out, const char *name, const struct flow *flow, const struct tuple *tuple)
{
	g_string_append_printf(out, "\"%s\":{", name);
	json_address(out, "source_address", flow, &tuple->source);
	if (value_has_ports(flow))
		json_number(out, "source_port", tuple->source_port);
	json_address(out, "destination_address", flow, &tuple->destination);
	if (value_has_ports(flow))
		json_number(out, "destination_port", tuple->destination_port);
	json_close(out, '}');
	g_string_append_c(out, ',');
}

static void
json_counts(GString *out, const struct flow *flow)
{
	if (flow->gaps & GAP_NO_COUNTERS)
		return;
	json_number(out, "octets_from_initiator", flow->original.octets);
	json_number(out, "packets_from_initiator", flow->original.packets);
	json_number(out, "octets_from_responder", flow->reply.octets);
	json_number(out, "packets_from_responder", flow->reply.packets);
}

static void
json_hop(GString *out, const struct hop *hop, const struct trace_router *routers)
{
	const struct flow *flow = &hop->flow;
	const struct tuple before = tuple_before(flow), after = tuple_after(flow);

	g_string_append_c(out, '{');
	json_text(out, "router", routers[hop->router].name);
	json_tuple(out, "before", flow, &before);
	json_tuple(out, "after", flow, &after);
	if (!(flow->gaps & GAP_NO_START))
		json_number(out, "start_ms", flow->start);
	json_number(out, "end_ms", flow->end);
	json_counts(out, flow);
	json_text(out, "tcp_state", value_tcp_state(flow));
	json_text(out, "initiator", hop->initiator);
	json_text(out, "initiator_user", hop->initiator_user);
	json_text(out, "responder", hop->responder);
	if (!hop->foreign)
		g_string_append_printf(out, "\"flow_id\":\"%016" G_GINT64_MODIFIER "x\",", flow->flow_id);
	json_close(out, '}');
}

static void
json_hops(GString *out, const char *name, const struct hop **hops, size_t n_hops, const struct trace_router *routers)
{
	if (!n_hops)
		return;
	g_string_append_printf(out, "\"%s\":[", name);
	for (size_t i = 0; i < n_hops; i++) {
		json_hop(out, hops[i], routers);
		g_string_append_c(out, ',');
	}
	json_close(out, ']');
	g_string_append_c(out, ',');
}

static void
json_leg(GString *out, const struct trace_leg *leg)
{
	g_string_append_c(out, '{');
	if (leg->clock.flows) {
		g_string_append_printf(out, "\"clock_ms\":%" G_GINT64_FORMAT ",", leg->clock.ms);
		json_number(out, "clock_spread_ms", leg->clock.spread);
		json_number(out, "clock_flows", leg->clock.flows);
	}
	if (leg->part)
		g_string_append(out, "\"part\":true,");
	if (leg->counted)
		g_string_append_printf(out, "\"packets_lost_there\":%" G_GINT64_FORMAT ",\"packets_lost_back\":%"
		                       G_GINT64_FORMAT ",", leg->lost[0], leg->lost[1]);
	json_close(out, '}');
	g_string_append_c(out, ',');
}

static void
json_path(GString *out, const struct trace_path *path, const struct trace_router *routers)
{
	g_string_append_c(out, '{');
	json_text(out, "verdict", trace_verdict(path->verdict));
	json_text(out, "words", path->words);
	json_text(out, "remark", path->remark);
	json_text(out, "protocol", value_protocol(&path->hop[0]->flow));
	json_number(out, "protocol_number", path->hop[0]->flow.protocol);
	json_hops(out, "hops", path->hop, path->n_hops, routers);
	g_string_append(out, "\"legs\":[");
	for (size_t i = 0; i + 1 < path->n_hops; i++)
		json_leg(out, &path->leg[i]);
	json_close(out, ']');
	g_string_append_c(out, ',');
	json_hops(out, "candidates_before", path->before, path->n_before, routers);
	json_hops(out, "candidates_after", path->after, path->n_after, routers);
	json_close(out, '}');
	g_string_append_c(out, '\n');
}

void
path_json(GString *out, const struct trace_path *paths, size_t n_paths, const struct trace_router *routers)
{
	for (size_t i = 0; i < n_paths; i++)
		json_path(out, &paths[i], routers);
}

path_writer *
path_format(const char *text)
{
	static const struct {
		const char *name;
		path_writer *write;
	} formats[] = {
		{ "table", path_table }, { "json", path_json }, { "dot", picture_dot }, { "svg", picture_svg },
	};

	for (unsigned i = 0; i < G_N_ELEMENTS(formats); i++)
		if (strcmp(text, formats[i].name) == 0)
			return formats[i].write;
	return NULL;
}
