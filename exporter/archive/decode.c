/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "archive/decode.h"

#include <endian.h>
#include <string.h>

#include "archive/check.h"
#include "archive/columns.h"
#include "archive/conclude.h"
#include "archive/lexicon.h"
#include "archive/octets.h"
#include "archive/plan.h"
#include "archive/word.h"
#include "error.h"

/* check.h has looked at each octet of a message before anything here does, so nothing here looks for an end but that of
 * a Set. */

enum {
	SET_HEADER = 4,
	SET_TEMPLATES = 2,
	SET_DATA = 256,
	MOST_SAID = 64,             /* strings of one record; a template has each word once */
	MOST_PROPERTIES = 1 << 19,  /* numbers above are of nobody's: a block has fewer octets than that many take */
	MOST_ROWS = 65536,          /* of interfaces and of domains */
	RECENT = 64,
};

/* Common properties of a number: what was said, as it lies in decoder.told, until some flow asks for it. */
struct properties {
	uint32_t domain;
	uint32_t at;
	uint16_t n;                 /* sayings; zero: never told */
	bool known;
	struct lexicon_entry entry;
};

struct decoder {
	struct check *check;
	uint64_t announced;         /* state of check that the plans are of */
	GHashTable *plans;
	struct plan *recent[RECENT];
	GHashTable *interfaces;     /* names by ifIndex */
	GHashTable *domains;        /* names by number */
	GArray *properties;         /* struct properties by number */
	GByteArray *told;
	struct lexicon *common;
	struct lexicon *own;        /* of a record with strings of its own */
	void (*gap)(const struct gap *gap, void *data);
	void *data;

	uint32_t domain;            /* of this message */
	const uint8_t *at;          /* of this Set */
	const uint8_t *set_end;
	const uint8_t *end;
	struct plan *plan;
	struct columns *columns;    /* of the message; NULL: it is whole */
	struct column_table *table; /* of this Set; NULL: its records stand in it */
	uint32_t row;               /* its next record in that */
	uint32_t rows_left;
	GError *damage;             /* of columns: there are no more flows */
	unsigned spared;            /* enum flow_part bits */
	const uint8_t *record;      /* that was seen last */
	unsigned n_said;            /* of the flow given last, or the options record at hand */
	struct saying said[MOST_SAID];
};

/* Plans */

static struct plan *
find_plan(struct decoder *decoder, uint16_t id)
{
	struct plan **recent = &decoder->recent[id % RECENT];
	const int64_t key = (int64_t)decoder->domain << 16 | id;

	if (*recent && (*recent)->key == key)
		return *recent;
	struct plan *plan = g_hash_table_lookup(decoder->plans, &key);
	if (!plan) {
		plan = plan_new(check_shape(decoder->check, decoder->domain, id), decoder->spared);
		g_hash_table_insert(decoder->plans, &plan->key, plan);
	}
	return *recent = plan;
}

static void
forget_plans(struct decoder *decoder)
{
	decoder->announced = check_announced(decoder->check);
	memset(decoder->recent, 0, sizeof decoder->recent);
	g_hash_table_remove_all(decoder->plans);
}

/* Records */

static void
put_narrow(uint8_t *to, uint64_t value, unsigned wide)
{
	value = htole64(value);
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
	value = le64toh(value) << (64 - 8 * wide);
#endif
	memcpy(to, &value, wide);
}

static void
take_narrow(uint8_t *to, const uint8_t *from, const struct step *step)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < step->octets; i++)
		value = value << 8 | from[i];
	put_narrow(to, value, step->wide);
}

static void
take_text(struct decoder *decoder, uint8_t word, const uint8_t *text, uint16_t octets)
{
	if (saying_says(text, octets) && decoder->n_said < MOST_SAID)
		decoder->said[decoder->n_said++] = (struct saying){ text, octets, word };
}

/* The text itself; what follows it is at text + *octets. RFC 7011 section 7. */
static const uint8_t *
open_variable(const uint8_t *field, uint16_t *octets)
{
	*octets = *field;
	if (*octets < 255)
		return field + 1;
	*octets = field[1] << 8 | field[2];
	return field + 3;
}

/* Follows steps into target; returns the octet from which the fields behind them count. */
static const uint8_t *
follow(struct decoder *decoder, const struct step *step, const struct step *last, const uint8_t *record, void *target)
{
	uint16_t two, octets;
	uint32_t four;
	uint64_t eight;

	for (; step < last; step++) {
		const uint8_t *from = record + step->from;
		uint8_t *to = (uint8_t *)target + step->to;
		switch (step->code) {
		case STEP_1:
			*to = *from;
			break;
		case STEP_2:
			memcpy(&two, from, 2);
			two = be16toh(two);
			memcpy(to, &two, 2);
			break;
		case STEP_4:
			memcpy(&four, from, 4);
			four = be32toh(four);
			memcpy(to, &four, 4);
			break;
		case STEP_8:
			memcpy(&eight, from, 8);
			eight = be64toh(eight);
			memcpy(to, &eight, 8);
			break;
		case STEP_4_TO_8:
			memcpy(&four, from, 4);
			eight = be32toh(four);
			memcpy(to, &eight, 8);
			break;
		case STEP_NARROW:
			take_narrow(to, from, step);
			break;
		case STEP_COPY_4:
			memcpy(to, from, 4);
			break;
		case STEP_COPY_16:
			memcpy(to, from, 16);
			break;
		case STEP_TEXT:
			take_text(decoder, step->word, from, strnlen((const char *)from, step->octets));
			break;
		case STEP_VARIABLE_TEXT:
			from = open_variable(from, &octets);
			take_text(decoder, step->word, from, octets);
			record = from + octets;
			break;
		case STEP_VARIABLE:
			from = open_variable(from, &octets);
			record = from + octets;
			break;
		}
	}
	return record;
}

/* The same for a record in columns, all of which are ready. Text is in none: check.h lets no flow have it in a fixed
 * length. */
static void
follow_columns(struct decoder *decoder, const struct step *step, const struct step *last, uint32_t row, void *target)
{
	for (; step < last; step++) {
		const struct column *column = &decoder->table->column[step->field];
		uint64_t value = column_lane_value(&column->low, row), high;
		uint8_t *to = (uint8_t *)target + step->to;
		uint16_t two;
		uint32_t four;
		switch (step->code) {
		case STEP_1:
			*to = value;
			break;
		case STEP_2:
			two = value;
			memcpy(to, &two, 2);
			break;
		case STEP_4:
			four = value;
			memcpy(to, &four, 4);
			break;
		case STEP_8:
		case STEP_4_TO_8:
			memcpy(to, &value, 8);
			break;
		case STEP_NARROW:
			put_narrow(to, value, step->wide);
			break;
		case STEP_COPY_4:
			four = htobe32(value);
			memcpy(to, &four, 4);
			break;
		case STEP_COPY_16:
			high = htobe64(column_lane_value(&column->high, row));
			value = htobe64(value);
			memcpy(to, &high, 8);
			memcpy(to + 8, &value, 8);
			break;
		}
	}
}

/* Follows the whole plan; returns the octet behind the record. */
static const uint8_t *
take_record(struct decoder *decoder, const struct plan *plan, const uint8_t *record, void *target)
{
	decoder->n_said = 0;
	return follow(decoder, plan->step, plan->step + plan->n_steps, record, target) + plan->tail;
}

/* Options */

static void
set_row(GHashTable *table, uint32_t key, const struct saying *said)
{
	g_autofree char *text = g_utf8_make_valid((const char *)said->text, said->octets);

	if (*text && g_hash_table_size(table) < MOST_ROWS)
		g_hash_table_replace(table, GUINT_TO_POINTER(key), g_steal_pointer(&text));
}

static void
take_interface(struct decoder *decoder, struct told *told)
{
	const struct saying *name = decoder->said;

	for (unsigned i = 0; i < decoder->n_said; i++)
		if (decoder->said[i].word == WORD_interfaceName)
			name = &decoder->said[i];
	if (decoder->n_said)
		set_row(decoder->interfaces, told->interface, name);
}

static void
take_domain(struct decoder *decoder, struct told *told)
{
	if (decoder->n_said)
		set_row(decoder->domains, told->domain, decoder->said);
}

static void
take_gap(struct decoder *decoder, struct told *told)
{
	enum { KIND_FIRST = 1, FLAG_UNKNOWN = 1 };

	if (!decoder->gap || told->gap_kind < KIND_FIRST || told->gap_kind - KIND_FIRST >= GAP_KINDS)
		return;
	told->gap.kind = told->gap_kind - KIND_FIRST;
	told->gap.unknown = told->gap_flags & FLAG_UNKNOWN;
	decoder->gap(&told->gap, decoder->data);
}

enum { SAYING_HEADER = 3 };

/* What was said, one after the other: word, length, text. */
static void
fold(struct decoder *decoder)
{
	GByteArray *told = decoder->told;
	size_t octets = 0, had = told->len;

	for (unsigned i = 0; i < decoder->n_said; i++)
		octets += SAYING_HEADER + decoder->said[i].octets;
	if (!octets)                    /* and told may have no data yet */
		return;
	g_byte_array_set_size(told, had + octets);
	uint8_t *at = told->data + had;
	for (unsigned i = 0; i < decoder->n_said; i++) {
		const struct saying *said = &decoder->said[i];
		*at++ = said->word;
		*at++ = said->octets >> 8;
		*at++ = said->octets & 0xff;
		memcpy(at, said->text, said->octets);
		at += said->octets;
	}
}

static void
unfold(struct saying *said, unsigned n, const uint8_t *at)
{
	for (unsigned i = 0; i < n; i++) {
		said[i] = (struct saying){ at + SAYING_HEADER, at[1] << 8 | at[2], at[0] };
		at += SAYING_HEADER + said[i].octets;
	}
}

/* Keeps what was said; whose it is will matter only if a flow is shown that refers to it. */
static void
take_properties(struct decoder *decoder, struct told *told)
{
	struct properties properties = { .domain = decoder->domain, .at = decoder->told->len, .n = decoder->n_said };
	GArray *all = decoder->properties;

	if (!told->properties || told->properties >= MOST_PROPERTIES)
		return;
	fold(decoder);
	if (all->len <= told->properties)
		g_array_set_size(all, told->properties + 1);
	g_array_index(all, struct properties, told->properties) = properties;
}

static void
take_other(struct decoder *decoder G_GNUC_UNUSED, struct told *told G_GNUC_UNUSED)
{
}

static void (*const take_options[])(struct decoder *decoder, struct told *told) = {
	[PLAN_OTHER] = take_other,
	[PLAN_FLOW] = take_other,
	[PLAN_PROPERTIES] = take_properties,
	[PLAN_INTERFACE] = take_interface,
	[PLAN_DOMAIN] = take_domain,
	[PLAN_GAP] = take_gap,
};

static void
take_options_set(struct decoder *decoder)
{
	const struct plan *plan = decoder->plan;
	const bool spared = plan->kind == PLAN_OTHER || (plan->kind == PLAN_PROPERTIES && decoder->spared & FLOW_NAMES);

	while (!spared && (size_t)(decoder->set_end - decoder->at) >= plan->shortest) {
		struct told told = { 0 };
		decoder->at = take_record(decoder, plan, decoder->at, &told);
		take_options[plan->kind](decoder, &told);
	}
	decoder->at = decoder->set_end;
}

/* Names */

static struct lexicon_entry
find_properties(struct decoder *decoder, uint64_t number)
{
	static const struct lexicon_entry nobody;
	struct saying said[MOST_SAID];

	if (number >= decoder->properties->len)
		return nobody;
	struct properties *properties = &g_array_index(decoder->properties, struct properties, number);
	if (!properties->n || properties->domain != decoder->domain)
		return nobody;
	if (!properties->known) {
		unfold(said, properties->n, decoder->told->data + properties->at);
		properties->entry = lexicon_add(decoder->common, said, properties->n, false);
		properties->known = true;
	}
	return properties->entry;
}

/* What one record does not say another may. */
static struct lexicon_entry
find_all_properties(struct decoder *decoder, const struct flow *flow)
{
	struct lexicon_entry all = { 0 };

	for (unsigned i = 0; i < G_N_ELEMENTS(flow->properties); i++) {
		const struct lexicon_entry one = find_properties(decoder, flow->properties[i]);
		all.initiator = all.initiator ? all.initiator : one.initiator;
		all.responder = all.responder ? all.responder : one.responder;
		all.policy = all.policy ? all.policy : one.policy;
	}
	return all;
}

const struct names *
decoder_names(struct decoder *decoder, struct flow *flow)
{
	const bool own = decoder->plan->named;
	struct lexicon_entry entry;

	if (own) {
		lexicon_clear(decoder->own);
		entry = lexicon_add(decoder->own, decoder->said, decoder->n_said, flow->original.biflow_direction == 2);
	} else {
		entry = find_all_properties(decoder, flow);
	}
	flow->initiator = entry.initiator;
	flow->responder = entry.responder;
	flow->policy = entry.policy;
	return lexicon_names(own ? decoder->own : decoder->common);
}

void
decoder_forget(struct decoder *decoder)
{
	g_array_set_size(decoder->properties, 0);
	g_byte_array_set_size(decoder->told, 0);
	lexicon_clear(decoder->common);
}

/* Messages */

size_t
decoder_octets(const uint8_t *header)
{
	return check_header(header, NULL);
}

void
decoder_columns(struct decoder *decoder, struct columns *columns)
{
	decoder->columns = columns;
	check_columns(decoder->check, columns);
}

bool
decoder_message(struct decoder *decoder, const uint8_t *message, size_t octets, GError **error)
{
	struct soundness soundness;

	decoder->at = decoder->set_end = decoder->end = message + octets;
	decoder->table = NULL;
	g_clear_error(&decoder->damage);
	if (!check_message(decoder->check, message, octets, &soundness, error))
		return false;
	if (soundness.changed) {
		g_set_error(error, PEERFLOW_ERROR, EX_DATAERR, "octet %d: a template changes behind records", MESSAGE_HEADER);
		return false;
	}
	if (check_announced(decoder->check) != decoder->announced)
		forget_plans(decoder);
	decoder->at = decoder->set_end = message + MESSAGE_HEADER;
	decoder->domain = soundness.domain;
	if (octets > MESSAGE_HEADER && get_net16(decoder->at) == SET_TEMPLATES)
		decoder_forget(decoder);
	return true;
}

/* Has the columns of these fields decompressed; if one is damaged, the message has no more flows. */
static bool
ready(struct decoder *decoder, uint64_t fields)
{
	if (columns_ready(decoder->columns, decoder->table, fields, &decoder->damage))
		return true;
	decoder->table = NULL;
	decoder->at = decoder->set_end = decoder->end;
	return false;
}

/* The records of this Set stand in columns: here is their number. */
static bool
begin_rows(struct decoder *decoder)
{
	const struct plan *plan = decoder->plan;
	const unsigned rows = get_net16(decoder->at);

	decoder->row = decoder->table->given;
	decoder->rows_left = plan->kind == PLAN_FLOW ? rows : 0;
	decoder->table->given += rows;
	decoder->at = decoder->set_end;
	return !decoder->rows_left || ready(decoder, plan->first_fields);
}

/* The next Set of records; false: there is none. */
static bool
next_set(struct decoder *decoder)
{
	while (decoder->set_end < decoder->end) {
		const uint8_t *set = decoder->set_end;
		const uint16_t id = get_net16(set);
		decoder->at = set + SET_HEADER;
		decoder->set_end = set + get_net16(set + 2);
		if (id < SET_DATA)
			continue;
		decoder->plan = find_plan(decoder, id);
		decoder->table = decoder->columns ? columns_table(decoder->columns, decoder->domain, id) : NULL;
		return !decoder->table || begin_rows(decoder);
	}
	return false;
}

static bool
has_record(const struct decoder *decoder)
{
	if (decoder->table)
		return decoder->rows_left;
	return decoder->set_end != decoder->at && (size_t)(decoder->set_end - decoder->at) >= decoder->plan->shortest;
}

/* The next record is one of a flow; false: there is none. */
static bool
find_flow(struct decoder *decoder)
{
	while (!has_record(decoder)) {
		if (!next_set(decoder))
			return false;
		if (decoder->plan->kind != PLAN_FLOW)
			take_options_set(decoder);
	}
	return true;
}

static void
glance(struct decoder *decoder, struct plan *plan)
{
	const struct step *last = plan->step + plan->n_first;

	decoder->n_said = 0;
	if (decoder->table) {
		follow_columns(decoder, plan->step, last, decoder->row++, &plan->seen);
		decoder->rows_left--;
		return;
	}
	decoder->record = decoder->at;
	decoder->at = follow(decoder, plan->step, last, decoder->at, &plan->seen) + plan->tail;
}

const struct flow *
decoder_glance(struct decoder *decoder)
{
	if (!find_flow(decoder))
		return NULL;
	struct plan *plan = decoder->plan;
	glance(decoder, plan);
	if (!decoder->spared || !(plan->plain || (decoder->spared & FLOW_TUPLE) == FLOW_TUPLE))
		conclude(&plan->seen, &plan->conclusion);
	return &plan->seen;
}

/* All but what was seen of the record that was seen last. */
static bool
take_rest(struct decoder *decoder, struct flow *flow)
{
	const struct plan *plan = decoder->plan;
	const struct step *first = plan->step + plan->n_first, *last = plan->step + plan->n_steps;

	if (!decoder->table) {
		follow(decoder, first, last, decoder->record, flow);
		return true;
	}
	if (!ready(decoder, plan->all_fields))
		return false;
	follow_columns(decoder, first, last, decoder->row - 1, flow);
	return true;
}

bool
decoder_take(struct decoder *decoder, struct flow *flow)
{
	*flow = decoder->plan->seen;
	if (!decoder->spared)
		return true;
	if (!take_rest(decoder, flow))
		return false;
	conclude(flow, &decoder->plan->conclusion);
	return true;
}

bool
decoder_next(struct decoder *decoder, struct flow *flow)
{
	return decoder_glance(decoder) && decoder_take(decoder, flow);
}

bool
decoder_is_whole(struct decoder *decoder, GError **error)
{
	if (!decoder->damage)
		return true;
	g_propagate_error(error, g_steal_pointer(&decoder->damage));
	return false;
}

void
decoder_spare(struct decoder *decoder, unsigned parts)
{
	decoder->spared = parts;
	forget_plans(decoder);
}

uint32_t
decoder_domain(const struct decoder *decoder)
{
	return decoder->domain;
}

const char *
decoder_domain_name(const struct decoder *decoder)
{
	return g_hash_table_lookup(decoder->domains, GUINT_TO_POINTER(decoder->domain));
}

const char *
decoder_interface(const struct decoder *decoder, uint32_t index)
{
	return g_hash_table_lookup(decoder->interfaces, GUINT_TO_POINTER(index));
}

void
decoder_on_gap(struct decoder *decoder, void (*gap)(const struct gap *gap, void *data), void *data)
{
	decoder->gap = gap;
	decoder->data = data;
}

struct decoder *
decoder_new(uint32_t enterprise)
{
	struct decoder *decoder = g_new0(struct decoder, 1);

	decoder->check = check_new(enterprise);
	decoder->plans = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, g_free);
	decoder->interfaces = g_hash_table_new_full(g_direct_hash, g_direct_equal, NULL, g_free);
	decoder->domains = g_hash_table_new_full(g_direct_hash, g_direct_equal, NULL, g_free);
	decoder->properties = g_array_new(false, true, sizeof(struct properties));
	decoder->told = g_byte_array_new();
	decoder->common = lexicon_new();
	decoder->own = lexicon_new();
	return decoder;
}

void
decoder_free(struct decoder *decoder)
{
	if (!decoder)
		return;
	check_free(decoder->check);
	g_clear_error(&decoder->damage);
	g_hash_table_unref(decoder->plans);
	g_hash_table_unref(decoder->interfaces);
	g_hash_table_unref(decoder->domains);
	g_array_unref(decoder->properties);
	g_byte_array_unref(decoder->told);
	lexicon_free(decoder->common);
	lexicon_free(decoder->own);
	g_free(decoder);
}
