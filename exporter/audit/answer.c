/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "audit/answer.h"

#include <string.h>

#include "audit/value.h"

struct answers {
	enum print_format format;
	struct printer *printer;    /* of the columns of a flow */
	GString *columns;           /* the line that names them */
};

/* Parts of a text */

void
answer_put_end(GString *out, const struct holder_question *question)
{
	const struct flow flow = { .family = question->family, .protocol = question->protocol };
	const bool brackets = question->family == 6 && question->has_port;
	const char *name = value_protocol(&flow);

	g_string_append(out, brackets ? "[" : "");
	value_address(out, &flow, &question->address);
	g_string_append(out, brackets ? "]" : "");
	if (question->has_port)
		g_string_append_printf(out, ":%u", question->port);
	if (name)
		g_string_append_printf(out, " %s", name);
	else if (question->protocol)
		g_string_append_printf(out, " protocol %u", question->protocol);
}

void
answer_put_time(GString *out, uint64_t first, uint64_t last)
{
	const bool second = first % 1000 == 0 && last == first + 999;

	value_local_time(out, first);
	if (second)
		g_string_truncate(out, out->len - strlen(".000"));
	if (second || last == first)
		return;
	g_string_append(out, " to ");
	value_local_time(out, last);
}

static bool
put_word(GString *out, const struct holder *holder, uint32_t index, const char *before)
{
	const struct names *names = holder->names;

	if (!index || index >= names->count)
		return false;
	g_string_append(out, before);
	value_visible(out, names->name[index].text, names->name[index].length);
	return true;
}

/* An end as everybody writes it; that of an echo is its id. */
static void
put_endpoint(GString *out, const struct flow *flow, const union address *address, uint16_t port, uint16_t id)
{
	value_endpoint(out, flow, address, port);
	if (value_is_icmp(flow) && id)
		g_string_append_printf(out, " id %u", id);
}

/* The initiator's packets before translation, or after it, which the reply's tuple has the other way round. */
static void
put_tuple(GString *out, const struct flow *flow, bool translated)
{
	const struct side *original = &flow->original, *reply = &flow->reply;

	if (translated)
		put_endpoint(out, flow, &reply->destination, reply->destination_port, reply->icmp_id);
	else
		put_endpoint(out, flow, &original->source, original->source_port, original->icmp_id);
	g_string_append(out, " -> ");
	if (translated)
		put_endpoint(out, flow, &reply->source, reply->source_port, 0);
	else
		put_endpoint(out, flow, &original->destination, original->destination_port, 0);
}

/* For people */

/* Who was it? The initiator, whatever was asked for, but where the responder's address was. */
static void
put_who(GString *out, const struct holder_answer *answer)
{
	static const char *const texts[HOLDER_ROLES] = {
		[HOLDER_TRANSLATED_SOURCE] = "was translated to it",
		[HOLDER_TRANSLATED_DESTINATION] = "is what a translation led to",
		[HOLDER_SOURCE] = "had it",
		[HOLDER_DESTINATION] = "was called there",
	};
	const struct holder *holder = answer->holder;
	const struct flow *flow = &holder->flow;
	const bool source = answer->role == HOLDER_TRANSLATED_SOURCE || answer->role == HOLDER_SOURCE;
	const uint32_t identity = source ? flow->initiator : flow->responder;

	g_string_append(out, "  ");
	if (put_word(out, holder, names_who(holder->names, identity), ""))
		g_string_append_c(out, ' ');
	if (source)
		put_endpoint(out, flow, &flow->original.source, flow->original.source_port, flow->original.icmp_id);
	else
		put_endpoint(out, flow, &flow->reply.source, flow->reply.source_port, 0);
	g_string_append_printf(out, " %s\n", texts[answer->role]);
}

static void
put_words(GString *out, const struct holder *holder, const char *end, uint32_t identity)
{
	static const struct {
		enum identity_word word;
		const char *text;
	} words[] = {
		{ WORD_PEER, " peer " }, { WORD_USER, ", user " }, { WORD_GROUPS, ", groups " }, { WORD_VIA, ", behind " },
		{ WORD_RESOURCE, ", resource " }, { WORD_NETWORK, ", network " }, { WORD_DOMAIN, ", domain " },
	};
	g_autoptr(GString) line = g_string_new(NULL);

	for (unsigned i = 0; i < G_N_ELEMENTS(words); i++)
		put_word(line, holder, names_word(holder->names, identity, words[i].word), words[i].text);
	if (line->len)
		g_string_append_printf(out, "    %s:%s\n", end, line->str + (*line->str == ','));
}

static void
put_tuples(GString *out, const struct flow *flow)
{
	const char *protocol = value_protocol(flow);

	if (protocol)
		g_string_append_printf(out, "    %s ", protocol);
	else
		g_string_append_printf(out, "    protocol %u ", flow->protocol);
	put_tuple(out, flow, false);
	if (flow->translation) {
		g_string_append(out, ", translated to ");
		put_tuple(out, flow, true);
	}
	g_string_append_c(out, '\n');
}

static void
put_times(GString *out, const struct holder *holder)
{
	const struct flow *flow = &holder->flow;

	if (holder->from) {
		g_string_append(out, "    from ");
		value_local_time(out, holder->from);
	} else {
		g_string_append(out, "    since when is not known");
	}
	if (holder->open) {
		g_string_append(out, ", still open\n");
		return;
	}
	g_string_append(out, flow->end_reason == END_ACTIVE ? ", last told of " : ", last packet ");
	value_local_time(out, flow->end);
	if (flow->stop) {
		g_string_append(out, ", free again ");
		value_local_time(out, flow->stop);
	}
	g_string_append_c(out, '\n');
}

static void
put_counters(GString *out, const struct holder *holder)
{
	const struct flow *flow = &holder->flow;

	if (flow->gaps & GAP_NO_COUNTERS) {
		g_string_append(out, "    how much was sent was not counted\n");
		return;
	}
	g_string_append_printf(out, "    %ssent ", holder->whole ? "" : "at least ");
	value_human(out, flow->original.octets, "B");
	g_string_append(out, " in ");
	value_human(out, flow->original.packets, "");
	g_string_append(out, " packets, received ");
	value_human(out, flow->reply.octets, "B");
	g_string_append(out, " in ");
	value_human(out, flow->reply.packets, "");
	g_string_append_c(out, '\n');
}

static void
put_answer(GString *out, const struct holder_answer *answer)
{
	const struct holder *holder = answer->holder;
	const struct flow *flow = &holder->flow;

	put_who(out, answer);
	put_words(out, holder, "initiator", flow->initiator);
	put_words(out, holder, "responder", flow->responder);
	if (put_word(out, holder, flow->policy, "    policy "))
		g_string_append_c(out, '\n');
	put_tuples(out, flow);
	if (holder->router) {
		g_string_append(out, "    seen by ");
		value_visible(out, holder->router, strlen(holder->router));
		g_string_append_c(out, '\n');
	}
	put_times(out, holder);
	put_counters(out, holder);
}

static void
table_put(struct answers *answers G_GNUC_UNUSED, const struct answer_sheet *sheet, GString *out)
{
	answer_put_end(out, sheet->question);
	g_string_append(out, " at ");
	answer_put_time(out, sheet->question->first, sheet->question->last);
	g_string_append_c(out, '\n');
	for (size_t i = 0; i < sheet->n_answers; i++)
		put_answer(out, &sheet->answer[i]);
	if (!sheet->n_answers)
		g_string_append(out, "  nobody\n");
	for (size_t i = 0; sheet->doubts[i]; i++)
		g_string_append_printf(out, "  may be incomplete: %s\n", sheet->doubts[i]);
}

/* For programs */

static struct print_flow
print_of(const struct holder *holder)
{
	return (struct print_flow){
		.flow = &holder->flow, .names = holder->names, .ingress = holder->ingress, .egress = holder->egress,
		.router = holder->router,
	};
}

/* The line of a flow without its end. */
static void
put_flow(struct answers *answers, const struct holder *holder, GString *out)
{
	const struct print_flow print = print_of(holder);

	printer_flow(answers->printer, &print, out);
	g_string_truncate(out, out->len - 1);
}

static const char *
word_of(enum holder_role role)
{
	static const char *const words[HOLDER_ROLES] = {
		[HOLDER_TRANSLATED_SOURCE] = "translated_source",
		[HOLDER_TRANSLATED_DESTINATION] = "translated_destination",
		[HOLDER_SOURCE] = "source",
		[HOLDER_DESTINATION] = "destination",
	};

	return words[role];
}

static void
csv_header(struct answers *answers, GString *out)
{
	g_string_append(out, "asked_address,asked_port,asked_protocol,asked_from,asked_from_ms,asked_to_ms,role,open,whole,"
	                "incomplete,");
	g_string_append(out, answers->columns->str);
}

static void
csv_question(const struct answer_sheet *sheet, GString *out)
{
	const struct holder_question *question = sheet->question;
	const struct flow flow = { .family = question->family };

	value_address(out, &flow, &question->address);
	g_string_append_c(out, ',');
	if (question->has_port)
		g_string_append_printf(out, "%u", question->port);
	g_string_append_c(out, ',');
	if (question->protocol)
		g_string_append_printf(out, "%u", question->protocol);
	g_string_append_c(out, ',');
	value_utc_time(out, question->first);
	g_string_append_printf(out, ",%" G_GUINT64_FORMAT ",%" G_GUINT64_FORMAT ",", question->first, question->last);
}

static void
csv_nobody(struct answers *answers, const char *doubts, GString *out)
{
	g_string_append(out, "nobody,,,");
	print_csv_field(out, doubts, strlen(doubts));
	g_string_append_c(out, ',');
	for (const char *at = answers->columns->str; (at = strchr(at, ',')); at++)
		g_string_append_c(out, ',');
	g_string_append_c(out, '\n');
}

static void
csv_put(struct answers *answers, const struct answer_sheet *sheet, GString *out)
{
	g_autofree char *doubts = g_strjoinv("; ", (char **)sheet->doubts);

	for (size_t i = 0; i < sheet->n_answers; i++) {
		const struct holder_answer *answer = &sheet->answer[i];
		csv_question(sheet, out);
		g_string_append_printf(out, "%s,%d,%d,", word_of(answer->role), answer->holder->open, answer->holder->whole);
		print_csv_field(out, doubts, strlen(doubts));
		g_string_append_c(out, ',');
		put_flow(answers, answer->holder, out);
		g_string_append_c(out, '\n');
	}
	if (sheet->n_answers)
		return;
	csv_question(sheet, out);
	csv_nobody(answers, doubts, out);
}

static void
json_question(const struct holder_question *question, GString *out)
{
	const struct flow flow = { .family = question->family };

	g_string_append(out, "{\"address\":\"");
	value_address(out, &flow, &question->address);
	g_string_append_c(out, '"');
	if (question->has_port)
		g_string_append_printf(out, ",\"port\":%u", question->port);
	if (question->protocol)
		g_string_append_printf(out, ",\"protocol_number\":%u", question->protocol);
	g_string_append(out, ",\"from\":\"");
	value_utc_time(out, question->first);
	g_string_append_printf(out, "\",\"from_ms\":%" G_GUINT64_FORMAT ",\"to_ms\":%" G_GUINT64_FORMAT, question->first,
	                       question->last);
}

static const char *
truth(bool value)
{
	return value ? "true" : "false";
}

static void
json_put(struct answers *answers, const struct answer_sheet *sheet, GString *out)
{
	json_question(sheet->question, out);
	g_string_append(out, ",\"answers\":[");
	for (size_t i = 0; i < sheet->n_answers; i++) {
		const struct holder *holder = sheet->answer[i].holder;
		g_string_append_printf(out, "%s{\"role\":\"%s\",\"open\":%s,\"whole\":%s,\"flow\":", i ? "," : "",
		                       word_of(sheet->answer[i].role), truth(holder->open), truth(holder->whole));
		put_flow(answers, holder, out);
		g_string_append_c(out, '}');
	}
	g_string_append(out, "],\"incomplete\":[");
	for (size_t i = 0; sheet->doubts[i]; i++) {
		g_string_append(out, i ? "," : "");
		print_json_string(out, sheet->doubts[i], strlen(sheet->doubts[i]));
	}
	g_string_append(out, "]}\n");
}

/* Formats */

static void
no_header(struct answers *answers G_GNUC_UNUSED, GString *out G_GNUC_UNUSED)
{
}

static const struct format {
	void (*header)(struct answers *answers, GString *out);
	void (*put)(struct answers *answers, const struct answer_sheet *sheet, GString *out);
} formats[PRINT_FORMATS] = {
	[PRINT_TABLE] = { no_header, table_put },
	[PRINT_CSV] = { csv_header, csv_put },
	[PRINT_JSON] = { no_header, json_put },
};

void
answers_header(struct answers *answers, GString *out)
{
	formats[answers->format].header(answers, out);
}

void
answers_put(struct answers *answers, const struct answer_sheet *sheet, GString *out)
{
	formats[answers->format].put(answers, sheet, out);
}

struct answers *
answers_new(enum print_format format)
{
	struct answers *answers = g_new0(struct answers, 1);

	answers->format = format;
	answers->printer = printer_new(format);
	answers->columns = g_string_new(NULL);
	printer_header(answers->printer, answers->columns);
	return answers;
}

void
answers_free(struct answers *answers)
{
	if (!answers)
		return;
	printer_free(answers->printer);
	g_string_free(answers->columns, true);
	g_free(answers);
}
