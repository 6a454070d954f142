/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Whatever a block holds, out of columns comes what went in, octet for octet; out of damaged ones that or nothing. */

#include "archive/columns.h"

#include <stdio.h>
#include <string.h>

#include "archive/index.h"
#include "error.h"
#include "ipfix.h"
#include "stream.h"
#include "suite.h"

enum { DOMAIN = 7, SEED = 17, SET_TEMPLATES = 2, SET_OPTIONS = 3, VARIABLE = 65535 };

static GByteArray *
pack(const GByteArray *messages)
{
	g_autoptr(columns_packer_t) packer = columns_packer_new();
	g_autoptr(GError) error = NULL;
	GByteArray *packed = g_byte_array_new();

	if (!columns_pack(packer, messages->data, messages->len, packed, &error))
		CU_FAIL_FATAL(error->message);
	return packed;
}

/* Takes exactly these octets apart and puts them together again; NULL: they are damaged, with error set. */
static GByteArray *
unpack(struct columns *columns, const uint8_t *packed, size_t n, GError **error)
{
	g_autofree uint8_t *copy = g_memdup2(packed, n);

	if (!columns_open(columns, copy, n, error))
		return NULL;
	const size_t plain = columns_plain(columns);
	g_autofree uint8_t *messages = g_malloc(plain);
	if (!columns_unpack(columns, messages, error))
		return NULL;
	return g_byte_array_append(g_byte_array_new(), messages, plain);
}

static bool
is_same(const GByteArray *one, const GByteArray *other)
{
	return one->len == other->len && (!one->len || memcmp(one->data, other->data, one->len) == 0);
}

/* Packs and unpacks, and lets columns stand open. */
static void
check_round_trip(struct columns *columns, const GByteArray *messages, const char *name)
{
	g_autoptr(GByteArray) packed = pack(messages);
	g_autoptr(GError) error = NULL;
	struct columns_size size;
	size_t skeleton;

	CU_ASSERT_TRUE_FATAL(packed->len >= COLUMNS_HEAD && columns_measure(packed->data, &size));
	CU_ASSERT_EQUAL(size.packed, packed->len);
	CU_ASSERT_EQUAL(size.plain, messages->len);
	g_autoptr(GByteArray) again = unpack(columns, packed->data, packed->len, &error);
	if (!again || !is_same(messages, again))
		printf("\n    %s: %s\n", name, error ? error->message : "other octets");
	CU_ASSERT_FATAL(again && is_same(messages, again));
	columns_skeleton(columns, &skeleton);
	CU_ASSERT(skeleton <= messages->len);
}

/* Streams as they are made. */
static void
test_streams(void)
{
	static const struct {
		const char *template;
		unsigned records;
		uint16_t size;
	} rows[] = {
		{ "archive", TRAIT_BIFLOW, 1400 }, { "archive", TRAIT_BIFLOW, 65535 }, { "full", TRAIT_BIFLOW, 1400 },
		{ "full", TRAIT_UNIFLOW, 16000 }, { "default", TRAIT_BIFLOW, 9000 }, { "default", TRAIT_UNIFLOW, 1400 },
	};
	static const unsigned flows[] = { 0, 1, 2, 9, 700 };
	g_autoptr(columns_t) columns = columns_new();

	for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++)
		for (unsigned n = 0; n < G_N_ELEMENTS(flows); n++) {
			g_autoptr(GByteArray) messages = stream_of(rows[i].template, rows[i].records, rows[i].size, flows[n], i + n);
			check_round_trip(columns, messages, rows[i].template);
		}
	g_autoptr(GByteArray) archive = stream_archive(4000, 0, 700, SEED);
	check_round_trip(columns, archive, "several blocks of an archive in one");
}

/* What only the archive's template has stands in columns: flows of all kinds, and nothing else. */
static void
test_archive_in_columns(void)
{
	static const uint16_t flows[] = { 510, 511, 512, 513, 515, 516, 517, 518 };
	g_autoptr(GByteArray) messages = stream_of("archive", TRAIT_BIFLOW, 8000, 700, SEED), packed = pack(messages);
	g_autoptr(columns_t) columns = columns_new();
	uint32_t records = 0;
	size_t skeleton;

	CU_ASSERT_TRUE_FATAL(columns_open(columns, packed->data, packed->len, NULL));
	for (unsigned i = 0; i < G_N_ELEMENTS(flows); i++) {
		const struct column_table *table = columns_table(columns, STREAM_DOMAIN, flows[i]);
		CU_ASSERT_PTR_NULL(columns_table(columns, STREAM_DOMAIN + 1, flows[i]));
		records += table ? table->records : 0;
	}
	CU_ASSERT_EQUAL(records, 700);
	CU_ASSERT_PTR_NULL(columns_table(columns, STREAM_DOMAIN, 514));
	columns_skeleton(columns, &skeleton);
	CU_ASSERT(skeleton < messages->len / 4);
	CU_ASSERT(packed->len < messages->len);
}

/* Messages made by hand, of which each kind is one that could go wrong. */

static void
add_template(GByteArray *out, uint16_t set, uint16_t id, const uint16_t *octets, unsigned n)
{
	const guint begin = ipfix_set(out, set);

	ipfix_put(out, id, 2);
	ipfix_put(out, n, 2);
	if (set == SET_OPTIONS)
		ipfix_put(out, 1, 2);
	for (unsigned i = 0; i < n; i++) {
		ipfix_put(out, (i % 3 ? 0 : 0x8000) | (100 + i), 2);
		ipfix_put(out, octets[i], 2);
		if (i % 3 == 0)
			ipfix_put(out, 32473, 4);
	}
	ipfix_end(out, begin);
}

static void
add_random(GByteArray *out, unsigned octets)
{
	static GRand *rand;

	rand = rand ? rand : g_rand_new_with_seed(SEED);
	while (octets--)
		ipfix_put(out, g_rand_int(rand), 1);
}

/* A Set with so many octets of anything. */
static void
add_set(GByteArray *out, uint16_t id, unsigned octets)
{
	const guint begin = ipfix_set(out, id);

	add_random(out, octets);
	ipfix_end(out, begin);
}

static const uint16_t one_of_each[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 };

enum { EACH = 16 * 17 / 2 };

static void
make_each_length(GByteArray *out)
{
	const guint message = ipfix_begin(out, 0);

	add_template(out, SET_TEMPLATES, 256, one_of_each, 16);
	add_set(out, 256, 3 * EACH);
	add_set(out, 256, 70 * EACH);
	ipfix_end(out, message);
}

static void
make_padding(GByteArray *out)
{
	const guint message = ipfix_begin(out, 0);

	add_template(out, SET_TEMPLATES, 256, one_of_each, 16);
	for (unsigned i = 0; i < EACH; i++)
		add_set(out, 256, 2 * EACH + i);
	ipfix_end(out, message);
}

static void
make_empty_set(GByteArray *out)
{
	const guint message = ipfix_begin(out, 0);

	add_template(out, SET_TEMPLATES, 256, one_of_each, 4);
	add_template(out, SET_TEMPLATES, 257, one_of_each, 4);
	add_set(out, 256, 30);
	add_set(out, 256, 0);
	add_set(out, 257, 30);
	add_set(out, 257, 0);
	ipfix_end(out, message);
}

static void
make_less_than_a_record(GByteArray *out)
{
	const guint message = ipfix_begin(out, 0);

	add_template(out, SET_TEMPLATES, 256, one_of_each, 4);
	add_set(out, 256, 30);
	add_set(out, 256, 9);
	ipfix_end(out, message);
}

static void
make_set_before_template(GByteArray *out)
{
	const guint message = ipfix_begin(out, 0);

	add_set(out, 256, 30);
	add_template(out, SET_TEMPLATES, 256, one_of_each, 4);
	add_set(out, 256, 30);
	ipfix_end(out, message);
}

static void
make_template_that_changes(GByteArray *out)
{
	guint message = ipfix_begin(out, 0);

	add_template(out, SET_TEMPLATES, 256, one_of_each, 4);
	add_set(out, 256, 30);
	ipfix_end(out, message);
	message = ipfix_begin(out, 3);
	add_template(out, SET_TEMPLATES, 256, one_of_each + 1, 4);
	add_set(out, 256, 28);
	ipfix_end(out, message);
}

static void
make_template_again(GByteArray *out)
{
	for (unsigned i = 0; i < 3; i++) {
		const guint message = ipfix_begin(out, 0);
		add_template(out, SET_TEMPLATES, 256, one_of_each, 4);
		add_set(out, 256, 30);
		ipfix_end(out, message);
	}
}

/* RFC 7011 section 8.1: of one, and of all. */
static void
make_withdrawal(GByteArray *out)
{
	const guint message = ipfix_begin(out, 0);

	add_template(out, SET_TEMPLATES, 256, one_of_each, 4);
	add_set(out, 256, 30);
	add_template(out, SET_TEMPLATES, 256, NULL, 0);
	add_template(out, SET_TEMPLATES, 2, NULL, 0);
	ipfix_end(out, message);
}

static void
make_options_of_the_same_id(GByteArray *out)
{
	const guint message = ipfix_begin(out, 0);

	add_template(out, SET_TEMPLATES, 256, one_of_each, 4);
	add_set(out, 256, 30);
	add_template(out, SET_OPTIONS, 256, one_of_each, 4);
	add_set(out, 256, 30);
	ipfix_end(out, message);
}

static void
make_options(GByteArray *out)
{
	const guint message = ipfix_begin(out, 0);

	add_template(out, SET_OPTIONS, 256, one_of_each, 4);
	add_set(out, 256, 30);
	add_template(out, SET_OPTIONS, 256, NULL, 0);
	ipfix_end(out, message);
}

static void
make_fields(GByteArray *out, unsigned n, uint16_t octets, unsigned records)
{
	const guint message = ipfix_begin(out, 0);
	uint16_t lengths[100];

	for (unsigned i = 0; i < n; i++)
		lengths[i] = octets;
	add_template(out, SET_TEMPLATES, 256, lengths, n);
	add_set(out, 256, records * n * octets);
	ipfix_end(out, message);
}

static void
make_64_fields(GByteArray *out)
{
	make_fields(out, 64, 16, 60);
}

static void
make_65_fields(GByteArray *out)
{
	make_fields(out, 65, 1, 60);
}

static void
make_long_field(GByteArray *out)
{
	make_fields(out, 2, 17, 60);
}

static void
make_field_of_nothing(GByteArray *out)
{
	make_fields(out, 3, 0, 0);
}

static void
make_variable(GByteArray *out)
{
	static const uint16_t octets[] = { 4, VARIABLE, 2 };
	const guint message = ipfix_begin(out, 0);

	add_template(out, SET_TEMPLATES, 256, octets, 3);
	add_set(out, 256, 300);
	ipfix_end(out, message);
}

/* In the skeleton it would take more than it has. */
static void
make_row_of_one(GByteArray *out)
{
	make_fields(out, 1, 1, 1);
}

static void
make_row_of_two(GByteArray *out)
{
	make_fields(out, 1, 2, 32000);
}

static void
make_one_record(GByteArray *out)
{
	make_fields(out, 16, 5, 1);
}

static void
make_constant(GByteArray *out)
{
	const guint message = ipfix_begin(out, 0);

	add_template(out, SET_TEMPLATES, 256, one_of_each, 4);
	const guint set = ipfix_set(out, 256);
	for (unsigned i = 0; i < 50; i++)
		g_byte_array_append(out, (const guint8 *)"abcdefghij", 10);
	ipfix_end(out, set);
	ipfix_end(out, message);
}

/* Octet n of each of these varies, the others do not. */
static void
make_one_octet_varies(GByteArray *out)
{
	for (unsigned n = 0; n < 16; n++) {
		const guint message = ipfix_begin(out, 0);
		add_template(out, SET_TEMPLATES, 256 + n, &one_of_each[15], 1);
		const guint set = ipfix_set(out, 256 + n);
		for (unsigned i = 0; i < 50; i++)
			for (unsigned k = 0; k < 16; k++)
				ipfix_put(out, k == n ? i * 5 : 0x80 | k, 1);
		ipfix_end(out, set);
		ipfix_end(out, message);
	}
}

static void
set_domain(GByteArray *out, guint message, uint8_t domain)
{
	out->data[message + 15] = domain;
}

/* Those of the first one stand in columns; in another the same id is something else, and a message may be no good. */
static void
make_domains(GByteArray *out)
{
	for (unsigned i = 0; i < 6; i++) {
		const guint message = ipfix_begin(out, i);
		add_template(out, SET_TEMPLATES, 256, one_of_each + i % 2, 4);
		add_set(out, 256, i % 2 ? 28 : 30);
		if (i == 3)
			add_random(out, 3);
		ipfix_end(out, message);
		set_domain(out, message, DOMAIN + i % 2);
	}
}

static void
make_many_templates(GByteArray *out)
{
	for (unsigned i = 0; i < 300; i++) {
		const guint message = ipfix_begin(out, i);
		add_template(out, SET_TEMPLATES, 256 + i, one_of_each + i % 12, 4);
		add_set(out, 256 + i, 200);
		ipfix_end(out, message);
	}
	for (unsigned i = 300; i--;) {
		const guint message = ipfix_begin(out, i);
		add_set(out, 256 + i, 200);
		add_set(out, 256, 30);
		ipfix_end(out, message);
	}
}

static void
make_nothing(GByteArray *out G_GNUC_UNUSED)
{
}

static void
make_no_sets(GByteArray *out)
{
	for (unsigned i = 0; i < 3; i++)
		ipfix_end(out, ipfix_begin(out, i));
}

static void
make_random(GByteArray *out)
{
	add_random(out, 5000);
}

static void
make_three_octets(GByteArray *out)
{
	add_random(out, 3);
}

static void
make_cut(GByteArray *out)
{
	make_each_length(out);
	g_byte_array_set_size(out, out->len - 1);
}

static void
make_set_too_long(GByteArray *out)
{
	const guint message = ipfix_begin(out, 0);

	add_template(out, SET_TEMPLATES, 256, one_of_each, 4);
	const guint set = out->len;
	add_set(out, 256, 30);
	out->data[set + 3]++;
	ipfix_end(out, message);
}

static void
make_set_too_short(GByteArray *out)
{
	const guint message = ipfix_begin(out, 0);

	add_template(out, SET_TEMPLATES, 256, one_of_each, 4);
	add_set(out, 256, 30);
	const guint set = ipfix_set(out, 256);
	out->data[set + 3] = 3;
	ipfix_end(out, message);
}

static void
make_template_cut(GByteArray *out)
{
	const guint message = ipfix_begin(out, 0);

	add_template(out, SET_TEMPLATES, 256, one_of_each, 4);
	const guint set = ipfix_set(out, SET_TEMPLATES);
	ipfix_put(out, 257, 2);
	ipfix_put(out, 2, 2);
	ipfix_put(out, 0x8001, 2);
	ipfix_put(out, 4, 2);
	ipfix_put(out, 1, 2);
	ipfix_end(out, set);
	ipfix_end(out, message);
}

static void
make_unknown_sets(GByteArray *out)
{
	const guint message = ipfix_begin(out, 0);

	add_template(out, SET_TEMPLATES, 256, one_of_each, 4);
	add_set(out, 0, 30);
	add_set(out, 4, 31);
	add_set(out, 255, 1);
	add_set(out, 256, 30);
	ipfix_end(out, message);
}

static void
make_longest_message(GByteArray *out)
{
	guint message = ipfix_begin(out, 0);

	add_template(out, SET_TEMPLATES, 256, one_of_each, 4);
	ipfix_end(out, message);
	message = ipfix_begin(out, 0);
	add_set(out, 256, 65535 - 16 - 4);
	ipfix_end(out, message);
}

static const struct {
	const char *name;
	void (*make)(GByteArray *out);
	bool in_columns;            /* records of template 256 */
} kinds[] = {
	{ "fields of 1 to 16 octets", make_each_length, true },
	{ "padding", make_padding, true },
	{ "an empty set", make_empty_set, false },
	{ "less than a record", make_less_than_a_record, false },
	{ "a set before its template", make_set_before_template, false },
	{ "a template that changes", make_template_that_changes, false },
	{ "a template said again", make_template_again, true },
	{ "a withdrawal", make_withdrawal, false },
	{ "options of the same id", make_options_of_the_same_id, false },
	{ "options", make_options, false },
	{ "64 fields", make_64_fields, true },
	{ "65 fields", make_65_fields, false },
	{ "a field of 17 octets", make_long_field, false },
	{ "fields of no octets", make_field_of_nothing, false },
	{ "a field of variable length", make_variable, false },
	{ "records of one octet", make_row_of_one, false },
	{ "records of two octets", make_row_of_two, true },
	{ "one record", make_one_record, true },
	{ "constants", make_constant, true },
	{ "one octet that varies", make_one_octet_varies, true },
	{ "several domains", make_domains, true },
	{ "more templates than tables", make_many_templates, true },
	{ "nothing", make_nothing, false },
	{ "messages without sets", make_no_sets, false },
	{ "anything", make_random, false },
	{ "three octets", make_three_octets, false },
	{ "a message cut", make_cut, false },
	{ "a set too long", make_set_too_long, false },
	{ "a set too short", make_set_too_short, false },
	{ "a template cut", make_template_cut, false },
	{ "sets of unknown ids", make_unknown_sets, true },
	{ "the longest message", make_longest_message, true },
};

/* One packer and one reader for all: nothing of a block stays behind. */
static void
test_kinds(void)
{
	g_autoptr(columns_t) columns = columns_new();

	for (unsigned i = 0; i < G_N_ELEMENTS(kinds); i++) {
		g_autoptr(GByteArray) messages = g_byte_array_new();
		kinds[i].make(messages);
		check_round_trip(columns, messages, kinds[i].name);
		const bool in_columns = columns_table(columns, DOMAIN, 256);
		if (in_columns != kinds[i].in_columns)
			printf("\n    %s: in columns: %d\n", kinds[i].name, in_columns);
		CU_ASSERT_EQUAL(in_columns, kinds[i].in_columns);
	}
}

static void
test_packer_again(void)
{
	g_autoptr(columns_packer_t) packer = columns_packer_new();
	g_autoptr(GByteArray) all = g_byte_array_new();

	for (unsigned i = 0; i < G_N_ELEMENTS(kinds); i++) {
		g_autoptr(GByteArray) messages = g_byte_array_new();
		kinds[i].make(messages);
		const guint before = all->len;
		CU_ASSERT_TRUE(columns_pack(packer, messages->data, messages->len, all, NULL));
		g_autoptr(GByteArray) alone = pack(messages);
		CU_ASSERT_EQUAL_FATAL(all->len - before, alone->len);
		CU_ASSERT_FALSE(memcmp(all->data + before, alone->data, alone->len));
	}
}

/* Messages of anything, or with an octet that is another one. */
static void
test_random(void)
{
	g_autoptr(GRand) rand = g_rand_new_with_seed(SEED);
	g_autoptr(columns_t) columns = columns_new();

	for (unsigned i = 0; i < 40 * G_N_ELEMENTS(kinds); i++) {
		g_autoptr(GByteArray) messages = g_byte_array_new();
		kinds[i % G_N_ELEMENTS(kinds)].make(messages);
		for (unsigned n = 0; n < 3 && messages->len; n++)
			messages->data[g_rand_int(rand) % MIN(messages->len, 400)] ^= 1 << g_rand_int(rand) % 8;
		check_round_trip(columns, messages, kinds[i % G_N_ELEMENTS(kinds)].name);
	}
}

/* Only what is asked for is decompressed, and in the next block at once. */
static void
test_asked(void)
{
	g_autoptr(GByteArray) messages = g_byte_array_new(), packed = NULL, other = NULL, nothing = g_byte_array_new();
	g_autoptr(columns_t) columns = columns_new();

	make_each_length(messages);
	packed = pack(messages);
	CU_ASSERT_TRUE_FATAL(columns_open(columns, packed->data, packed->len, NULL));
	struct column_table *table = columns_table(columns, DOMAIN, 256);
	CU_ASSERT_EQUAL(table->n_columns, 16);
	CU_ASSERT_EQUAL(table->records, 73);
	CU_ASSERT_EQUAL(table->ready, 0);
	CU_ASSERT_TRUE(columns_ready(columns, table, 1 << 3 | 1 << 15, NULL));
	CU_ASSERT_EQUAL(table->ready, 1 << 3 | 1 << 15);

	CU_ASSERT_TRUE_FATAL(columns_open(columns, packed->data, packed->len, NULL));
	table = columns_table(columns, DOMAIN, 256);
	CU_ASSERT_EQUAL(table->ready, 1 << 3 | 1 << 15);
	CU_ASSERT_TRUE(columns_ready(columns, table, 1 << 3, NULL));

	/* What nobody asked for this time is forgotten, and bits of a table that has fewer columns are of no account. */
	CU_ASSERT_TRUE_FATAL(columns_open(columns, packed->data, packed->len, NULL));
	table = columns_table(columns, DOMAIN, 256);
	CU_ASSERT_EQUAL(table->ready, 1 << 3);
	CU_ASSERT_TRUE(columns_ready(columns, table, 1 << 15 | 1, NULL));
	make_domains(nothing);
	other = pack(nothing);
	CU_ASSERT_TRUE_FATAL(columns_open(columns, other->data, other->len, NULL));
	table = columns_table(columns, DOMAIN, 256);
	CU_ASSERT_EQUAL(table->n_columns, 4);
	CU_ASSERT_EQUAL(table->ready, 1);
}

/* The value of a field as it stands in the row. */
static uint64_t
number_at(const uint8_t *at, unsigned octets)
{
	uint64_t value = 0;

	while (octets--)
		value = value << 8 | *at++;
	return value;
}

static void
check_lanes(const struct column_table *table, const uint8_t *rows)
{
	for (uint32_t i = 0; i < table->records; i++)
		for (unsigned n = 0; n < table->n_columns; n++) {
			const struct column *column = &table->column[n];
			const unsigned low = MIN(column->octets, 8), high = column->octets - low;
			CU_ASSERT_EQUAL(column_lane_value(&column->high, i), number_at(rows, high));
			CU_ASSERT_EQUAL(column_lane_value(&column->low, i), number_at(rows + high, low));
			rows += column->octets;
		}
}

static void
test_lanes(void)
{
	g_autoptr(GByteArray) messages = g_byte_array_new(), packed = NULL;
	g_autoptr(columns_t) columns = columns_new();
	const guint message = ipfix_begin(messages, 0);

	add_template(messages, SET_TEMPLATES, 256, one_of_each, 16);
	const guint set = ipfix_set(messages, 256), rows = messages->len;
	add_random(messages, 100 * EACH);
	ipfix_end(messages, set);
	ipfix_end(messages, message);
	for (unsigned i = 0; i < 100; i++)      /* some octets of each field are constant */
		for (unsigned k = 0; k < EACH; k += 1 + k % 4)
			messages->data[rows + i * EACH + k] = k;
	packed = pack(messages);
	CU_ASSERT_TRUE_FATAL(columns_open(columns, packed->data, packed->len, NULL));
	struct column_table *table = columns_table(columns, DOMAIN, 256);
	CU_ASSERT_TRUE_FATAL(columns_ready(columns, table, 0xffff, NULL));
	check_lanes(table, messages->data + rows);
}

/* Damage */

static GByteArray *
small_block(void)
{
	g_autoptr(GByteArray) messages = stream_of("archive", TRAIT_BIFLOW, 1400, 24, SEED);

	return pack(messages);
}

/* False: it gave other octets. */
static bool
is_refused_or_same(const GByteArray *packed, const GByteArray *messages, unsigned *refused)
{
	g_autoptr(columns_t) columns = columns_new();
	g_autoptr(GError) error = NULL;
	g_autoptr(GByteArray) again = unpack(columns, packed->data, packed->len, &error);

	*refused += !again;
	if (!again)
		CU_ASSERT(error && error->code == EX_DATAERR && *error->message);
	return !again || is_same(again, messages);
}

static void
test_flipped(void)
{
	g_autoptr(GByteArray) packed = small_block(), messages = NULL;
	g_autoptr(columns_t) columns = columns_new();
	unsigned refused = 0, wrong = 0;

	messages = unpack(columns, packed->data, packed->len, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(messages);
	for (guint i = 0; i < packed->len; i++)
		for (unsigned bit = 0; bit < 8; bit++) {
			packed->data[i] ^= 1 << bit;
			wrong += !is_refused_or_same(packed, messages, &refused);
			packed->data[i] ^= 1 << bit;
		}
	CU_ASSERT_EQUAL(wrong, 0);
	/* zstd's header has a bit that means nothing. */
	CU_ASSERT(refused >= packed->len * 8 * 9 / 10);
}

static void
test_truncated(void)
{
	g_autoptr(GByteArray) packed = small_block();
	g_autoptr(columns_t) columns = columns_new();

	for (guint n = 0; n < packed->len; n++) {
		g_autoptr(GError) error = NULL;
		CU_ASSERT_PTR_NULL(unpack(columns, packed->data, n, &error));
		CU_ASSERT_EQUAL(error->code, EX_DATAERR);
		CU_ASSERT_EQUAL(columns_plain(columns), 0);
	}
	g_byte_array_append(packed, (const guint8 *)"", 1);
	CU_ASSERT_PTR_NULL(unpack(columns, packed->data, packed->len, NULL));
}

static uint32_t
get32(const uint8_t *at)
{
	return at[0] | at[1] << 8 | at[2] << 16 | (uint32_t)at[3] << 24;
}

static void
set32(uint8_t *at, uint32_t value)
{
	for (unsigned i = 0; i < 4; i++)
		at[i] = value >> 8 * i;
}

/* As if it had been written so. */
static void
sum_up(GByteArray *packed)
{
	const uint32_t head = MIN(get32(packed->data + 8), packed->len);

	set32(packed->data + 4, head > 8 ? index_sum(packed->data + 8, head - 8) : 0);
}

/* A head with a sum that is right and a size that is not. */
static void
test_lies(void)
{
	static const uint32_t far[] = { 0, 1, COLUMNS_HEAD, COLUMNS_MOST, COLUMNS_MOST + 1, INT32_MAX, UINT32_MAX };
	g_autoptr(GByteArray) packed = small_block(), messages = NULL;
	g_autoptr(columns_t) columns = columns_new();
	unsigned refused = 0, tries = 0;

	messages = unpack(columns, packed->data, packed->len, NULL);
	for (unsigned at = 8; at < COLUMNS_HEAD; at += 4) {
		const uint32_t right = get32(packed->data + at), near[] = { right - 1, right + 1, right * 2, right / 2 };
		for (unsigned i = 0; i < G_N_ELEMENTS(far) + G_N_ELEMENTS(near); i++, tries++) {
			set32(packed->data + at, i < G_N_ELEMENTS(far) ? far[i] : near[i - G_N_ELEMENTS(far)]);
			sum_up(packed);
			CU_ASSERT_TRUE(is_refused_or_same(packed, messages, &refused));
		}
		set32(packed->data + at, right);
	}
	CU_ASSERT_EQUAL(refused, tries);
}

/* The same of tables, where an octet that never varies may well be another: then so are the messages, of the same
 * length. */
static void
test_lying_tables(void)
{
	g_autoptr(GByteArray) packed = small_block();
	const uint32_t head = get32(packed->data + 8), plain = get32(packed->data + 16);
	static const uint8_t others[] = { 0, 1, 2, 16, 17, 64, 65, 0x7f, 0x80, 0xff };
	g_autoptr(columns_t) columns = columns_new();
	unsigned refused = 0;

	for (uint32_t at = COLUMNS_HEAD; at < head; at++) {
		const uint8_t right = packed->data[at];
		for (unsigned i = 0; i < G_N_ELEMENTS(others); i++) {
			packed->data[at] = others[i];
			sum_up(packed);
			g_autoptr(GByteArray) again = unpack(columns, packed->data, packed->len, NULL);
			CU_ASSERT(!again || again->len == plain);
			refused += !again;
		}
		packed->data[at] = right;
	}
	CU_ASSERT(refused > head);
}

static void
test_measure(void)
{
	g_autoptr(GByteArray) packed = small_block();
	struct columns_size size = { 0 };

	CU_ASSERT_TRUE(columns_measure(packed->data, &size));
	CU_ASSERT_EQUAL(size.packed, packed->len);
	packed->data[0] ^= 1;
	CU_ASSERT_FALSE(columns_measure(packed->data, &size));
	packed->data[0] ^= 1;
	set32(packed->data + 16, COLUMNS_MOST + 1);
	CU_ASSERT_FALSE(columns_measure(packed->data, &size));
}

/* A damaged column is one that is not there; the others are. */
static void
test_damaged_column(void)
{
	g_autoptr(GByteArray) messages = g_byte_array_new(), packed = NULL;
	g_autoptr(columns_t) columns = columns_new();
	g_autoptr(GError) error = NULL;
	size_t n;

	make_each_length(messages);
	packed = pack(messages);
	packed->data[packed->len - 20] ^= 4;        /* of the last one */
	CU_ASSERT_TRUE_FATAL(columns_open(columns, packed->data, packed->len, NULL));
	struct column_table *table = columns_table(columns, DOMAIN, 256);
	CU_ASSERT_PTR_NOT_NULL(columns_skeleton(columns, &n));
	CU_ASSERT_TRUE(columns_ready(columns, table, 0x7fff, &error));
	CU_ASSERT_FALSE(columns_ready(columns, table, 0xffff, &error));
	CU_ASSERT_EQUAL_FATAL(error->code, EX_DATAERR);
	CU_ASSERT_TRUE(g_str_has_prefix(error->message, "field 16 of template 256: "));
	CU_ASSERT_EQUAL(table->ready, 0x7fff);
	/* Asked for it was nevertheless, which is no reason to refuse the next block. */
	CU_ASSERT_TRUE(columns_open(columns, packed->data, packed->len, NULL));
	CU_ASSERT_EQUAL(columns_table(columns, DOMAIN, 256)->ready, 0x7fff);
}

static void
test_most(void)
{
	g_autofree uint8_t *octets = g_malloc0((size_t)COLUMNS_MOST + 1);
	g_autoptr(columns_packer_t) packer = columns_packer_new();
	g_autoptr(GByteArray) packed = g_byte_array_new();
	g_autoptr(columns_t) columns = columns_new();
	g_autoptr(GError) error = NULL;

	CU_ASSERT_FALSE(columns_pack(packer, octets, (size_t)COLUMNS_MOST + 1, packed, &error));
	CU_ASSERT_EQUAL(error->code, EX_DATAERR);
	CU_ASSERT_EQUAL(packed->len, 0);
	CU_ASSERT_TRUE_FATAL(columns_pack(packer, octets, COLUMNS_MOST, packed, NULL));
	CU_ASSERT_TRUE_FATAL(columns_open(columns, packed->data, packed->len, NULL));
	memset(octets, 1, COLUMNS_MOST);
	CU_ASSERT_TRUE(columns_unpack(columns, octets, NULL));
	CU_ASSERT(octets[0] == 0 && octets[COLUMNS_MOST - 1] == 0);
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "streams", test_streams },
		{ "an archive's flows stand in columns", test_archive_in_columns },
		{ "blocks of all kinds", test_kinds },
		{ "a packer used again", test_packer_again },
		{ "octets that are other ones", test_random },
		{ "what was asked for before", test_asked },
		{ "values", test_lanes },
		{ "any bit flipped", test_flipped },
		{ "cut anywhere", test_truncated },
		{ "a head that lies", test_lies },
		{ "tables that lie", test_lying_tables },
		{ "a block's size", test_measure },
		{ "a damaged column", test_damaged_column },
		{ "as much as there may be", test_most },
		CU_TEST_INFO_NULL,
	};

	return run_suite("columns", tests);
}
