/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "audit/print.h"

#include <string.h>

#include "audit/value.h"
#include "error.h"

/* Names. Entry 0 says that there is none. */

static bool
put_index(GString *out, const struct names *names, uint32_t index)
{
	if (!index || index >= names->count)
		return false;
	g_string_append_len(out, names->name[index].text, names->name[index].length);
	return true;
}

static bool
put_name(GString *out, const struct names *names, uint32_t identity)
{
	return put_index(out, names, names_who(names, identity));
}

/* For people: who has no name may still be something. */
static bool
put_best(GString *out, const struct names *names, uint32_t identity)
{
	return put_name(out, names, identity) || put_index(out, names, names_word(names, identity, WORD_DOMAIN))
	       || put_index(out, names, names_word(names, identity, WORD_RESOURCE));
}

static bool
put_text(GString *out, const char *text)
{
	if (text)
		g_string_append(out, text);
	return text;
}

/* Conditions of columns */

static bool
has_start(const struct flow *flow)
{
	return !(flow->gaps & GAP_NO_START);
}

static bool
has_counters(const struct flow *flow)
{
	return !(flow->gaps & GAP_NO_COUNTERS);
}

static bool
has_translated_ports(const struct flow *flow)
{
	return flow->translation && value_has_ports(flow);
}

/* Columns for programs */

struct print_column {
	const char *name;
	/* Appends a text and answers true, or false if there is none. NULL: a number at offset. */
	bool (*put)(GString *out, const struct print_flow *flow);
	bool (*present)(const struct flow *flow);       /* NULL: always */
	uint16_t offset;
	uint8_t octets;
	bool unless_zero;
	int8_t word;                /* of the identity at offset, from 1: one after enum identity_word */
};

#define TEXT(name_) static bool text_##name_(GString *out, const struct print_flow *it)

TEXT(start)
{
	value_utc_time(out, it->flow->start);
	return has_start(it->flow);
}

TEXT(end)
{
	value_utc_time(out, it->flow->end);
	return true;
}

TEXT(stop)
{
	value_utc_time(out, it->flow->stop);
	return it->flow->stop;
}

TEXT(protocol)
{
	return put_text(out, value_protocol(it->flow));
}

TEXT(initiator)
{
	return put_name(out, it->names, it->flow->initiator);
}

TEXT(responder)
{
	return put_name(out, it->names, it->flow->responder);
}

TEXT(policy)
{
	return put_index(out, it->names, it->flow->policy);
}

TEXT(source)
{
	value_address(out, it->flow, &it->flow->original.source);
	return true;
}

TEXT(destination)
{
	value_address(out, it->flow, &it->flow->original.destination);
	return true;
}

TEXT(translated_source)
{
	value_address(out, it->flow, &it->flow->reply.destination);
	return it->flow->translation;
}

TEXT(translated_destination)
{
	value_address(out, it->flow, &it->flow->reply.source);
	return it->flow->translation;
}

TEXT(translation)
{
	static const char *const words[] = {
		[TRANSLATED_SOURCE] = "snat",
		[TRANSLATED_DESTINATION] = "dnat",
		[TRANSLATED_SOURCE | TRANSLATED_DESTINATION] = "snat+dnat",
	};

	return put_text(out, words[it->flow->translation % G_N_ELEMENTS(words)]);
}

TEXT(duration)
{
	uint64_t ms = it->flow->end > it->flow->start ? it->flow->end - it->flow->start : 0;

	g_string_append_printf(out, "%" G_GUINT64_FORMAT, ms);
	return has_start(it->flow);
}

TEXT(icmp_type)
{
	g_string_append_printf(out, "%u", it->flow->original.icmp >> 8);
	return value_is_icmp(it->flow);
}

TEXT(icmp_code)
{
	g_string_append_printf(out, "%u", it->flow->original.icmp & 0xff);
	return value_is_icmp(it->flow);
}

TEXT(ingress)
{
	return put_text(out, it->ingress);
}

TEXT(egress)
{
	return put_text(out, it->egress);
}

TEXT(direction)
{
	return put_text(out, it->flow->original.flow_direction ? "egress" : "ingress");
}

TEXT(tcp_state)
{
	return put_text(out, value_tcp_state(it->flow));
}

/* With none to tell of there is no value. */
TEXT(tcp_flags)
{
	const uint8_t flags = value_tcp_flags(it->flow);

	g_string_append_printf(out, "0x%02x", flags);
	return flags;
}

TEXT(router)
{
	return put_text(out, it->router);
}

TEXT(end_reason)
{
	return put_text(out, value_end_reason(it->flow));
}

TEXT(flow_id)
{
	g_string_append_printf(out, "%016" G_GINT64_MODIFIER "x", it->flow->flow_id);
	return true;
}

/* The bits as one number, bit 0 last, as connlabel and the kernel's own dumps count them. */
TEXT(labels)
{
	static const uint8_t none[sizeof it->flow->labels];

	if (!memcmp(it->flow->labels, none, sizeof none))
		return false;
	for (unsigned i = sizeof it->flow->labels; i--; )
		g_string_append_printf(out, "%02x", it->flow->labels[i]);
	return true;
}

TEXT(gaps)
{
	static const struct {
		enum flow_gap bit;
		const char *word;
	} words[] = {
		{ GAP_NO_COUNTERS, "no_counters" }, { GAP_NO_START, "no_start" }, { GAP_LOST_END, "lost_end" },
		{ GAP_RESET, "reset" }, { GAP_PARTIAL, "partial" },
	};
	const size_t before = out->len;

	for (unsigned i = 0; i < G_N_ELEMENTS(words); i++)
		if (it->flow->gaps & words[i].bit)
			g_string_append_printf(out, "%s%s", out->len > before ? " " : "", words[i].word);
	return it->flow->gaps;
}

#define AT(member) .offset = offsetof(struct flow, member), .octets = sizeof((struct flow *)0)->member
#define DIGITS(function) .put = function, .octets = 1

#define ABOUT(end, about) .offset = offsetof(struct flow, end), .word = about + 1

/* A row with .put and no octets is a text, one with octets a number; the others are words about an end. */
static const struct print_column values[] = {
	{ "start", .put = text_start },
	{ "start_ms", AT(start), .present = has_start },
	{ "end", .put = text_end },
	{ "end_ms", AT(end) },
	{ "duration_ms", DIGITS(text_duration) },
	{ "protocol", .put = text_protocol },
	{ "protocol_number", AT(protocol) },
	{ "initiator", .put = text_initiator },
	{ "responder", .put = text_responder },
	{ "initiator_id", ABOUT(initiator, WORD_PEER_ID) },
	{ "initiator_user", ABOUT(initiator, WORD_USER) },
	{ "initiator_groups", ABOUT(initiator, WORD_GROUPS) },
	{ "initiator_via", ABOUT(initiator, WORD_VIA) },
	{ "initiator_resource", ABOUT(initiator, WORD_RESOURCE) },
	{ "initiator_network", ABOUT(initiator, WORD_NETWORK) },
	{ "initiator_domain", ABOUT(initiator, WORD_DOMAIN) },
	{ "responder_id", ABOUT(responder, WORD_PEER_ID) },
	{ "responder_user", ABOUT(responder, WORD_USER) },
	{ "responder_groups", ABOUT(responder, WORD_GROUPS) },
	{ "responder_via", ABOUT(responder, WORD_VIA) },
	{ "responder_resource", ABOUT(responder, WORD_RESOURCE) },
	{ "responder_network", ABOUT(responder, WORD_NETWORK) },
	{ "responder_domain", ABOUT(responder, WORD_DOMAIN) },
	{ "policy", .put = text_policy },
	{ "source_address", .put = text_source },
	{ "source_port", AT(original.source_port), .present = value_has_ports },
	{ "destination_address", .put = text_destination },
	{ "destination_port", AT(original.destination_port), .present = value_has_ports },
	{ "translation", .put = text_translation },
	{ "translated_source_address", .put = text_translated_source },
	{ "translated_source_port", AT(reply.destination_port), .present = has_translated_ports },
	{ "translated_destination_address", .put = text_translated_destination },
	{ "translated_destination_port", AT(reply.source_port), .present = has_translated_ports },
	{ "masqueraded", AT(masqueraded), .unless_zero = true },
	{ "icmp_type", DIGITS(text_icmp_type) },
	{ "icmp_code", DIGITS(text_icmp_code) },
	{ "octets_from_initiator", AT(original.octets), .present = has_counters },
	{ "packets_from_initiator", AT(original.packets), .present = has_counters },
	{ "octets_from_responder", AT(reply.octets), .present = has_counters },
	{ "packets_from_responder", AT(reply.packets), .present = has_counters },
	{ "ingress_interface", .put = text_ingress },
	{ "ingress_index", AT(original.ingress), .unless_zero = true },
	{ "egress_interface", .put = text_egress },
	{ "egress_index", AT(original.egress), .unless_zero = true },
	{ "direction", .put = text_direction },
	{ "mark", AT(mark) },
	{ "zone", AT(zone) },
	{ "labels", .put = text_labels },
	{ "status", AT(status) },
	{ "state", AT(state) },
	{ "tcp_state", .put = text_tcp_state },
	{ "tcp_flags", .put = text_tcp_flags },
	{ "end_reason", .put = text_end_reason },
	{ "stop", .put = text_stop },
	{ "stop_ms", AT(stop), .unless_zero = true },
	{ "flow_id", .put = text_flow_id },
	{ "gaps", .put = text_gaps },
	{ "router", .put = text_router },
};

static uint64_t
number_at(const struct flow *flow, const struct print_column *value)
{
	const uint8_t *at = (const uint8_t *)flow + value->offset;

	switch (value->octets) {
	case 1:
		return *at;
	case 2:
		return *(const uint16_t *)at;
	case 4:
		return *(const uint32_t *)at;
	default:
		return *(const uint64_t *)at;
	}
}

static bool
put_word(GString *out, const struct print_column *value, const struct print_flow *flow)
{
	const uint32_t identity = *(const uint32_t *)(const void *)((const uint8_t *)flow->flow + value->offset);

	return put_index(out, flow->names, names_word(flow->names, identity, value->word - 1));
}

/* The value as it is, in out, which was empty. */
static bool
take_value(GString *out, const struct print_column *value, const struct print_flow *flow)
{
	g_string_truncate(out, 0);
	if (value->put)
		return value->put(out, flow);
	if (value->word)
		return put_word(out, value, flow);
	if (value->present && !value->present(flow->flow))
		return false;
	uint64_t number = number_at(flow->flow, value);
	value_number(out, number);
	return number || !value->unless_zero;
}

const struct print_column *
print_column_find(const char *name)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(values); i++)
		if (!strcmp(values[i].name, name))
			return &values[i];
	return NULL;
}

bool
print_column_is_number(const struct print_column *column)
{
	return column->octets;
}

bool
print_number(const struct print_column *column, const struct print_flow *flow, uint64_t *number)
{
	if (column->put) {
		g_autoptr(GString) digits = g_string_new(NULL);
		const bool known = column->put(digits, flow);
		*number = g_ascii_strtoull(digits->str, NULL, 10);
		return known;
	}
	*number = number_at(flow->flow, column);
	return column->present ? column->present(flow->flow) : *number || !column->unless_zero;
}

bool
print_text(const struct print_column *column, const struct print_flow *flow, GString *out)
{
	return take_value(out, column, flow);
}

static bool
needs_quotes(const char *text)
{
	return strpbrk(text, "\",") || g_str_has_prefix(text, " ") || g_str_has_suffix(text, " ");
}

/* Nothing has to be done about it, as about nearly all fields. */
static bool
is_bare(const char *text, size_t length)
{
	return length && text[0] != ' ' && text[length - 1] != ' ' && value_is_plain(text, length)
	       && !memchr(text, '"', length) && !memchr(text, ',', length);
}

void
print_csv_field(GString *out, const char *text, size_t length)
{
	if (is_bare(text, length)) {
		g_string_append_len(out, text, (gssize)length);
		return;
	}
	g_autoptr(GString) visible = g_string_new(NULL);
	value_visible(visible, text, length);
	if (!needs_quotes(visible->str)) {
		g_string_append(out, visible->str);
		return;
	}
	g_string_replace(visible, "\"", "\"\"", 0);
	g_string_append_printf(out, "\"%s\"", visible->str);
}

static void
put_json_character(GString *out, gunichar character)
{
	if (character == '"' || character == '\\')
		g_string_append_printf(out, "\\%c", (char)character);
	else if (character < ' ' || (character >= 0x7f && character < 0xa0))    /* a terminal obeys these */
		g_string_append_printf(out, "\\u%04x", character);
	else
		g_string_append_unichar(out, character);
}

void
print_json_string(GString *out, const char *text, size_t length)
{
	if (value_is_plain(text, length) && !memchr(text, '"', length) && !memchr(text, '\\', length)) {
		g_string_append_c(out, '"');
		g_string_append_len(out, text, (gssize)length);
		g_string_append_c(out, '"');
		return;
	}
	g_autofree char *valid = g_utf8_make_valid(text, length);
	g_string_append_c(out, '"');
	for (const char *at = valid; *at; at = g_utf8_next_char(at))
		put_json_character(out, g_utf8_get_char(at));
	g_string_append_c(out, '"');
}

/* Columns for people */

#define CELL(name_) static void cell_##name_(GString *out, const struct print_flow *it)

CELL(end)
{
	value_local_time(out, it->flow->end);
}

CELL(duration)
{
	if (!has_start(it->flow))
		g_string_append_c(out, '?');
	else
		value_duration(out, it->flow->end > it->flow->start ? it->flow->end - it->flow->start : 0);
}

CELL(protocol)
{
	if (!put_text(out, value_protocol(it->flow)))
		g_string_append_printf(out, "%u", it->flow->protocol);
	if (value_is_icmp(it->flow))
		g_string_append_printf(out, " %u/%u", it->flow->original.icmp >> 8, it->flow->original.icmp & 0xff);
}

static void
put_end(GString *out, const struct print_flow *it, uint32_t identity, const union address *address, uint16_t port)
{
	g_autoptr(GString) text = g_string_new(NULL);

	if (put_best(text, it->names, identity)) {
		value_visible(out, text->str, text->len);
		g_string_append_c(out, ' ');
	}
	value_endpoint(out, it->flow, address, port);
}

CELL(initiator)
{
	put_end(out, it, it->flow->initiator, &it->flow->original.source, it->flow->original.source_port);
}

CELL(arrow)
{
	(void)it;
	g_string_append(out, "->");
}

/* A name stands with the address that is its own: behind a translated destination the responder is the one behind. */
CELL(responder)
{
	bool own = !(it->flow->translation & TRANSLATED_DESTINATION);

	put_end(out, it, own ? it->flow->responder : 0, &it->flow->original.destination,
	        it->flow->original.destination_port);
}

CELL(translation)
{
	const struct side *reply = &it->flow->reply;

	if (it->flow->translation & TRANSLATED_SOURCE) {
		g_string_append(out, "SNAT ");
		put_end(out, it, 0, &reply->destination, reply->destination_port);
	}
	if (it->flow->translation & TRANSLATED_DESTINATION) {
		g_string_append(out, out->len ? " DNAT " : "DNAT ");
		put_end(out, it, it->flow->responder, &reply->source, reply->source_port);
	}
}

static void
put_count(GString *out, const struct flow *flow, uint64_t count, const char *unit)
{
	if (has_counters(flow))
		value_human(out, count, unit);
	else
		g_string_append_c(out, '?');
}

CELL(sent)
{
	put_count(out, it->flow, it->flow->original.octets, "B");
}

CELL(sent_packets)
{
	put_count(out, it->flow, it->flow->original.packets, "");
}

CELL(received)
{
	put_count(out, it->flow, it->flow->reply.octets, "B");
}

CELL(received_packets)
{
	put_count(out, it->flow, it->flow->reply.packets, "");
}

CELL(end_reason)
{
	if (!put_text(out, value_end_reason(it->flow)))
		g_string_append_printf(out, "%u", it->flow->end_reason);
}

static const struct cell {
	const char *name;
	void (*put)(GString *out, const struct print_flow *flow);
	unsigned width;             /* at first, in characters */
	bool right;
} cells[] = {
	{ "END (LOCAL TIME)", cell_end, 23, false },
	{ "DURATION", cell_duration, 8, true },
	{ "PROTO", cell_protocol, 8, false },
	{ "INITIATOR", cell_initiator, 21, false },
	{ "", cell_arrow, 2, false },
	{ "RESPONDER", cell_responder, 21, false },
	{ "SENT", cell_sent, 7, true },
	{ "PKTS", cell_sent_packets, 4, true },
	{ "RECEIVED", cell_received, 8, true },
	{ "PKTS", cell_received_packets, 4, true },
	{ "REASON", cell_end_reason, 6, false },
	{ "TRANSLATED TO", cell_translation, 0, false },
};

enum {
	CELL_INITIATOR = 3,
	CELL_TRANSLATION = G_N_ELEMENTS(cells) - 1,
};

/* Formats */

struct printer {
	const struct format *format;
	GString *value;             /* for all that is put together before it is appended */
	unsigned width[G_N_ELEMENTS(cells)];
	unsigned columns;           /* of the terminal; zero: lines may be as long as they are */
	const struct print_column **chosen;
	unsigned *chosen_width;
	unsigned n_chosen;
};

static void
put_spaces(GString *out, unsigned n)
{
	while (n--)
		g_string_append_c(out, ' ');
}

static void
put_cell(struct printer *printer, unsigned column, const char *text, GString *out)
{
	unsigned characters = g_utf8_strlen(text, -1);
	unsigned width = printer->width[column] = MAX(printer->width[column], characters);

	put_spaces(out, cells[column].right ? width - characters : 0);
	g_string_append(out, text);
	put_spaces(out, cells[column].right ? 0 : width - characters);
	g_string_append(out, "  ");
}

static void
end_row(GString *out)
{
	while (out->len && out->str[out->len - 1] == ' ')
		g_string_truncate(out, out->len - 1);
	g_string_append_c(out, '\n');
}

/* Where the column begins. */
static unsigned
column_start(const struct printer *printer, unsigned column)
{
	unsigned start = 0;

	for (unsigned i = 0; i < column; i++)
		start += printer->width[i] + 2;
	return start;
}

/* What a flow was translated to is what people look for: it must not wrap around or fall off. */
static void
put_translation(struct printer *printer, const char *text, GString *out)
{
	const unsigned start = column_start(printer, CELL_TRANSLATION);

	if (printer->columns && *text && start + g_utf8_strlen(text, -1) > printer->columns) {
		end_row(out);
		put_spaces(out, column_start(printer, CELL_INITIATOR));
	}
	g_string_append(out, text);
}

static void
table_header(struct printer *printer, GString *out)
{
	for (unsigned i = 0; i < CELL_TRANSLATION; i++)
		put_cell(printer, i, cells[i].name, out);
	put_translation(printer, cells[CELL_TRANSLATION].name, out);
	end_row(out);
}

static void
table_flow(struct printer *printer, const struct print_flow *flow, GString *out)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(cells); i++) {
		g_string_truncate(printer->value, 0);
		cells[i].put(printer->value, flow);
		if (i == CELL_TRANSLATION)
			put_translation(printer, printer->value->str, out);
		else
			put_cell(printer, i, printer->value->str, out);
	}
	end_row(out);
}

static void
csv_header(struct printer *printer, GString *out)
{
	for (unsigned i = 0; i < printer->n_chosen; i++)
		g_string_append_printf(out, "%s%s", i ? "," : "", printer->chosen[i]->name);
	g_string_append_c(out, '\n');
}

static void
csv_flow(struct printer *printer, const struct print_flow *flow, GString *out)
{
	for (unsigned i = 0; i < printer->n_chosen; i++) {
		g_string_append(out, i ? "," : "");
		if (!take_value(printer->value, printer->chosen[i], flow))
			continue;
		if (printer->chosen[i]->octets)
			g_string_append_len(out, printer->value->str, (gssize)printer->value->len);
		else
			print_csv_field(out, printer->value->str, printer->value->len);
	}
	g_string_append_c(out, '\n');
}

static void
json_header(struct printer *printer G_GNUC_UNUSED, GString *out G_GNUC_UNUSED)
{
}

static void
json_flow(struct printer *printer, const struct print_flow *flow, GString *out)
{
	g_string_append_c(out, '{');
	for (unsigned i = 0, n = 0; i < printer->n_chosen; i++) {
		if (!take_value(printer->value, printer->chosen[i], flow))
			continue;
		g_string_append_printf(out, "%s\"%s\":", n++ ? "," : "", printer->chosen[i]->name);
		if (printer->chosen[i]->octets)
			g_string_append(out, printer->value->str);
		else
			print_json_string(out, printer->value->str, printer->value->len);
	}
	g_string_append(out, "}\n");
}

/* A table of values as CSV has them. */

static void
put_padded(struct printer *printer, unsigned column, const char *text, GString *out)
{
	const unsigned characters = g_utf8_strlen(text, -1);
	const unsigned width = printer->chosen_width[column] = MAX(printer->chosen_width[column], characters);
	const bool right = printer->chosen[column]->octets;

	put_spaces(out, right ? width - characters : 0);
	g_string_append(out, text);
	put_spaces(out, right ? 2 : width - characters + 2);
}

static void
values_header(struct printer *printer, GString *out)
{
	for (unsigned i = 0; i < printer->n_chosen; i++)
		put_padded(printer, i, printer->chosen[i]->name, out);
	end_row(out);
}

static void
values_flow(struct printer *printer, const struct print_flow *flow, GString *out)
{
	g_autoptr(GString) visible = g_string_new(NULL);

	for (unsigned i = 0; i < printer->n_chosen; i++) {
		const bool known = take_value(printer->value, printer->chosen[i], flow);
		g_string_truncate(visible, 0);
		if (known)
			value_visible(visible, printer->value->str, printer->value->len);
		put_padded(printer, i, known ? visible->str : "-", out);
	}
	end_row(out);
}

static const struct format {
	const char *name;
	void (*header)(struct printer *printer, GString *out);
	void (*flow)(struct printer *printer, const struct print_flow *flow, GString *out);
} formats[PRINT_FORMATS] = {
	[PRINT_TABLE] = { "table", table_header, table_flow },
	[PRINT_CSV] = { "csv", csv_header, csv_flow },
	[PRINT_JSON] = { "json", json_header, json_flow },
};

static const struct format values_table = { "table", values_header, values_flow };

bool
print_format_find(const char *text, enum print_format *format)
{
	for (unsigned i = 0; i < PRINT_FORMATS; i++) {
		*format = i;
		if (!strcmp(text, formats[i].name))
			return true;
	}
	return false;
}

void
printer_header(struct printer *printer, GString *out)
{
	printer->format->header(printer, out);
}

void
printer_flow(struct printer *printer, const struct print_flow *flow, GString *out)
{
	printer->format->flow(printer, flow, out);
}

struct printer *
printer_new(enum print_format format)
{
	struct printer *printer = g_new0(struct printer, 1);

	printer->format = &formats[format];
	printer->value = g_string_new(NULL);
	printer->n_chosen = G_N_ELEMENTS(values);
	printer->chosen = g_new(const struct print_column *, printer->n_chosen);
	for (unsigned i = 0; i < printer->n_chosen; i++)
		printer->chosen[i] = &values[i];
	for (unsigned i = 0; i < G_N_ELEMENTS(cells); i++)
		printer->width[i] = cells[i].width;
	return printer;
}

void
printer_fold(struct printer *printer, unsigned columns)
{
	printer->columns = columns;
}

bool
printer_choose(struct printer *printer, const char *list, GError **error)
{
	g_auto(GStrv) names = g_strsplit(list, ",", -1);
	const unsigned n = g_strv_length(names);

	printer->chosen = g_renew(const struct print_column *, printer->chosen, MAX(n, printer->n_chosen));
	for (unsigned i = 0; i < n; i++) {
		printer->chosen[i] = print_column_find(g_strstrip(names[i]));
		if (!printer->chosen[i]) {
			printer->n_chosen = i;
			g_set_error(error, PEERFLOW_ERROR, EX_USAGE, "no column is called \"%s\": peerflow(1) lists them", names[i]);
			return false;
		}
	}
	printer->n_chosen = n;
	printer->chosen_width = g_renew(unsigned, printer->chosen_width, n);
	memset(printer->chosen_width, 0, n * sizeof *printer->chosen_width);
	if (printer->format == &formats[PRINT_TABLE])
		printer->format = &values_table;
	return true;
}

void
printer_free(struct printer *printer)
{
	g_string_free(printer->value, TRUE);
	g_free(printer->chosen);
	g_free(printer->chosen_width);
	g_free(printer);
}
