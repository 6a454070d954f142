/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdio.h>

#include "archive/columns.h"
#include "archive/decode.h"
#include "archive/reader.h"
#include "error.h"
#include "ipfix.h"
#include "stream.h"
#include "suite.h"

enum { FLOWS = 500 };

/* The decoder over a stream in memory, stopping as the reader does. */
struct stream {
	struct decoder *decoder;
	const uint8_t *at;
	const uint8_t *end;
	bool inside;
};

static bool
stream_next(struct stream *stream, struct flow *flow)
{
	for (;;) {
		if (stream->inside && decoder_next(stream->decoder, flow))
			return true;
		const size_t left = stream->end - stream->at;
		const size_t octets = left < 16 ? 0 : decoder_octets(stream->at);
		stream->inside = octets && octets <= left && decoder_message(stream->decoder, stream->at, octets, NULL);
		if (!stream->inside)
			return false;
		stream->at += octets;
	}
}

static bool
same_words(const struct names *a, uint32_t one, const struct names *b, uint32_t other)
{
	for (unsigned word = 0; word < WORDS; word++)
		if (strcmp(a->name[names_word(a, one, word)].text, b->name[names_word(b, other, word)].text) != 0)
			return false;
	return true;
}

/* The same flow, and the same names behind whatever numbers. */
static bool
is_same(struct flow flow, const struct names *names, const struct record *record)
{
	const struct flow *other = &record->flow;
	const bool same = same_words(names, flow.initiator, record->names, other->initiator) &&
	                  same_words(names, flow.responder, record->names, other->responder) &&
	                  strcmp(names->name[flow.policy].text, record->names->name[other->policy].text) == 0;

	flow.initiator = other->initiator;
	flow.responder = other->responder;
	flow.policy = other->policy;
	return same && memcmp(&flow, other, sizeof flow) == 0;
}

/* How many flows the two readers agree on; stops at the first that they do not. */
static unsigned
compare(const uint8_t *octets, size_t n, bool *agree)
{
	FILE *in = fmemopen((void *)octets, n, "r");
	struct reader *reader = reader_new(in, "stream", STREAM_ENTERPRISE);
	struct stream stream = { decoder_new(STREAM_ENTERPRISE), octets, octets + n, false };
	struct record record;
	struct flow flow;
	unsigned same = 0;

	for (*agree = true; *agree; same += *agree) {
		g_autoptr(GError) error = NULL;
		const bool more = stream_next(&stream, &flow);
		*agree = more == (reader_next(reader, &record, &error) == READER_FLOW);
		if (!more || !*agree)
			break;
		const struct names *names = decoder_names(stream.decoder, &flow);
		*agree = is_same(flow, names, &record);
	}
	decoder_free(stream.decoder);
	reader_free(reader);
	fclose(in);
	return same;
}

static void
test_same_as_libfixbuf(void)
{
	static const struct {
		const char *template;
		unsigned records;
		uint16_t size;
	} rows[] = {
		{ "full", TRAIT_BIFLOW, 1400 }, { "full", TRAIT_BIFLOW, 16000 }, { "full", TRAIT_UNIFLOW, 1400 },
		{ "archive", TRAIT_BIFLOW, 1400 }, { "archive", TRAIT_BIFLOW, 65535 },
		{ "default", TRAIT_BIFLOW, 1400 }, { "default", TRAIT_UNIFLOW, 9000 },
	};

	for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
		g_autoptr(GByteArray) octets = stream_of(rows[i].template, rows[i].records, rows[i].size, FLOWS, i);
		bool agree;
		const unsigned flows = compare(octets->data, octets->len, &agree);
		CU_ASSERT_TRUE(agree);
		CU_ASSERT_EQUAL(flows, rows[i].records == TRAIT_UNIFLOW ? 2 * FLOWS : FLOWS);
	}
}

static struct flow *
flows_of(unsigned seed)
{
	g_autoptr(GRand) rand = g_rand_new_with_seed(seed);
	struct flow *flows = g_new(struct flow, FLOWS);

	for (unsigned i = 0; i < FLOWS; i++)
		flows[i] = stream_flow(rand, i);
	return flows;
}

/* And what they give is what was put in, each flow once: those of one template in order. */
static void
check_encoded(const char *template)
{
	const bool archive = strcmp(template, "archive") == 0;
	g_autoptr(GByteArray) octets = stream_of(template, TRAIT_BIFLOW, 8000, FLOWS, 4);
	g_autofree struct flow *all_flows = flows_of(4);
	g_autoptr(decoder_t) decoder = decoder_new(STREAM_ENTERPRISE);
	unsigned next[8] = { 0 };
	struct stream stream = { decoder, octets->data, octets->data + octets->len, false };
	struct flow flow;
	unsigned n;

	for (n = 0; stream_next(&stream, &flow); n++) {
		const unsigned i = (flow.start - stream_start) / 100;
		CU_ASSERT_FATAL(i < FLOWS && (archive ? i >= next[stream_kind(&flow)] : i == n));
		next[stream_kind(&flow)] = i + 1;
		struct flow expected = all_flows[i];
		const struct names *names = decoder_names(decoder, &flow);
		const struct names *all = stream_names();
		for (unsigned word = WORD_PEER_ID; word < WORDS; word++)
			if (word != WORD_VIA)
				CU_ASSERT_STRING_EQUAL(names->name[names_word(names, flow.initiator, word)].text,
				                       all->name[names_word(all, expected.initiator, word)].text);
		CU_ASSERT_STRING_EQUAL(names->name[names_who(names, flow.responder)].text,
		                       all->name[names_who(all, expected.responder)].text);
		expected.initiator = flow.initiator;
		expected.responder = flow.responder;
		expected.policy = flow.policy;
		memcpy(expected.properties, flow.properties, sizeof flow.properties);
		expected.reply.biflow_direction = 0;
		if (!archive)       /* which alone has ids of echoes */
			expected.original.icmp_id = expected.reply.icmp_id = 0;
		CU_ASSERT_FALSE(memcmp(&flow, &expected, sizeof flow));
	}
	CU_ASSERT_EQUAL(n, FLOWS);
	CU_ASSERT_EQUAL(decoder_domain(decoder), 0);    /* of the last message: the gap's */
	CU_ASSERT_STRING_EQUAL(decoder_interface(decoder, 2), "wt0");
	CU_ASSERT_PTR_NULL(decoder_interface(decoder, 3));
}

static void
test_same_as_encoded(void)
{
	check_encoded("full");
	check_encoded("archive");
}

/* What is said of a part that was not spared. Whether there was translation may depend on what was; where there was
 * none the reply's tuple is of no account. */
static bool
sees_same(const struct flow *seen, const struct flow *whole, unsigned parts)
{
	const struct side *one = &seen->original, *other = &whole->original;
	const struct side *back = &seen->reply, *other_back = &whole->reply;
	const bool translated = (parts & FLOW_TUPLE) == FLOW_TUPLE && whole->translation;
	bool same = seen->family == whole->family && seen->protocol == whole->protocol;

	if (parts & FLOW_ADDRESSES)
		same &= memcmp(&one->source, &other->source, 2 * sizeof one->source) == 0;
	if (parts & FLOW_PORTS)
		same &= one->source_port == other->source_port && one->destination_port == other->destination_port;
	if ((parts & FLOW_TUPLE) == FLOW_TUPLE)
		same &= seen->translation == whole->translation;
	if (translated)
		same &= memcmp(&back->source, &other_back->source, 2 * sizeof back->source) == 0 &&
		        back->source_port == other_back->source_port && back->destination_port == other_back->destination_port;
	if (parts & FLOW_TIMES)
		same &= seen->start == whole->start && seen->end == whole->end && seen->stop == whole->stop;
	if (parts & FLOW_COUNTS)
		same &= one->octets == other->octets && one->packets == other->packets && back->octets == other_back->octets &&
		        back->packets == other_back->packets;
	if (parts & FLOW_WHO)
		same &= memcmp(seen->properties, whole->properties, sizeof seen->properties) == 0 &&
		        one->biflow_direction == other->biflow_direction;
	return same;
}

static bool
sees_rest(const struct flow *seen, const struct flow *whole)
{
	const struct side *one = &seen->original, *other = &whole->original;

	return one->icmp == other->icmp && one->icmp_id == other->icmp_id && one->ingress == other->ingress &&
	       one->egress == other->egress && one->flow_direction == other->flow_direction &&
	       seen->flow_id == whole->flow_id &&
	       seen->mark == whole->mark && seen->status == whole->status && seen->zone == whole->zone &&
	       memcmp(seen->labels, whole->labels, sizeof seen->labels) == 0 && seen->state == whole->state &&
	       seen->masqueraded == whole->masqueraded && seen->end_reason == whole->end_reason && seen->gaps == whole->gaps;
}

/* The same messages read twice: one whole, the other as a glance, of the skeleton if there are columns. */
struct twins {
	const uint8_t *at, *other;
	struct decoder *whole, *sparing;
	unsigned parts;             /* that are not spared */
	unsigned flows;
	unsigned wrong;
};

static bool
same_names(struct twins *twins, struct flow *expected, struct flow *found)
{
	const struct names *names = decoder_names(twins->whole, expected), *others = decoder_names(twins->sparing, found);

	return same_words(names, expected->initiator, others, found->initiator) &&
	       same_words(names, expected->responder, others, found->responder) &&
	       strcmp(names->name[expected->policy].text, others->name[found->policy].text) == 0;
}

static void
take_twin(struct twins *twins, struct flow *expected)
{
	const struct flow *seen = decoder_glance(twins->sparing);
	struct flow taken;

	CU_ASSERT_PTR_NOT_NULL_FATAL(seen);
	twins->wrong += !sees_same(seen, expected, twins->parts);
	twins->wrong += twins->parts & FLOW_REST && !sees_rest(seen, expected);
	taken = *seen;
	struct flow known = *expected;
	if (twins->parts & FLOW_WHO && twins->parts & FLOW_NAMES)
		twins->wrong += !same_names(twins, &known, &taken);
	CU_ASSERT_TRUE_FATAL(decoder_take(twins->sparing, &taken));
	twins->wrong += memcmp(&taken, expected, sizeof taken) != 0;
	twins->flows++;
	if (twins->parts & FLOW_NAMES)
		twins->wrong += !same_names(twins, expected, &taken);
}

/* False: that message is not sound, for neither of the two. */
static bool
take_twin_message(struct twins *twins)
{
	g_autoptr(GError) error = NULL, other_error = NULL;
	const size_t octets = decoder_octets(twins->at), other_octets = decoder_octets(twins->other);
	struct flow expected;

	const bool sound = decoder_message(twins->whole, twins->at, octets, &error);
	CU_ASSERT_EQUAL_FATAL(decoder_message(twins->sparing, twins->other, other_octets, &other_error), sound);
	twins->at += octets;
	twins->other += other_octets;
	while (sound && decoder_next(twins->whole, &expected))
		take_twin(twins, &expected);
	CU_ASSERT_PTR_NULL(decoder_glance(twins->sparing));
	CU_ASSERT_TRUE(decoder_is_whole(twins->sparing, NULL));
	CU_ASSERT_EQUAL(decoder_domain(twins->whole), decoder_domain(twins->sparing));
	return sound;
}

static GByteArray *
pack(const GByteArray *messages)
{
	g_autoptr(columns_packer_t) packer = columns_packer_new();
	GByteArray *packed = g_byte_array_new();

	CU_ASSERT_TRUE_FATAL(columns_pack(packer, messages->data, messages->len, packed, NULL));
	return packed;
}

/* How many flows; packed is the same messages in columns, or NULL. */
static unsigned
check_twins(const GByteArray *messages, const GByteArray *packed, unsigned spared)
{
	static struct columns *columns;         /* for all: to make one takes longer than to read a few flows */
	g_autoptr(decoder_t) whole = decoder_new(STREAM_ENTERPRISE), sparing = decoder_new(STREAM_ENTERPRISE);
	struct twins twins = { messages->data, messages->data, whole, sparing, ~spared, 0, 0 };
	size_t skeleton = messages->len;

	columns = columns ? columns : columns_new();
	decoder_spare(sparing, spared);
	if (packed) {
		CU_ASSERT_TRUE_FATAL(columns_open(columns, packed->data, packed->len, NULL));
		twins.other = columns_skeleton(columns, &skeleton);
		decoder_columns(sparing, columns);
	}
	const uint8_t *end = twins.other + skeleton;
	while (twins.at < messages->data + messages->len && take_twin_message(&twins))
		;
	CU_ASSERT_PTR_EQUAL(twins.other, end);
	for (unsigned i = 0; i < 4; i++)
		CU_ASSERT_EQUAL(g_strcmp0(decoder_interface(whole, i), decoder_interface(sparing, i)), 0);
	CU_ASSERT_EQUAL(g_strcmp0(decoder_domain_name(whole), decoder_domain_name(sparing)), 0);
	if (twins.wrong)
		printf("\n    spared %#x, %s: %u of %u\n", spared, packed ? "columns" : "whole", twins.wrong, twins.flows);
	CU_ASSERT_EQUAL(twins.wrong, 0);
	return twins.flows;
}

enum { ALL_PARTS = FLOW_NAMES * 2 - 1 };

/* Whatever was spared, what is not is there at once, and all is when it is taken. */
static void
check_all_twins(const GByteArray *messages, unsigned flows)
{
	g_autoptr(GByteArray) packed = pack(messages);

	for (unsigned spared = 0; spared <= ALL_PARTS; spared++) {
		CU_ASSERT_EQUAL(check_twins(messages, NULL, spared), flows);
		CU_ASSERT_EQUAL(check_twins(messages, packed, spared), flows);
	}
}

/* Of messages with a single word more or less one part at a time is enough. */
static void
check_few_twins(const GByteArray *messages, unsigned flows)
{
	g_autoptr(GByteArray) packed = pack(messages);

	for (unsigned part = 1; part <= FLOW_NAMES; part *= 2) {
		CU_ASSERT_EQUAL(check_twins(messages, packed, part), flows);
		CU_ASSERT_EQUAL(check_twins(messages, packed, ALL_PARTS & ~part), flows);
		CU_ASSERT_EQUAL(check_twins(messages, NULL, ALL_PARTS & ~part), flows);
	}
}

static void
test_glance(void)
{
	static const char *const templates[] = { "full", "archive", "default" };

	for (unsigned i = 0; i < G_N_ELEMENTS(templates); i++) {
		g_autoptr(GByteArray) octets = stream_of(templates[i], TRAIT_BIFLOW, 8000, FLOWS / 2, 4);
		check_all_twins(octets, FLOWS / 2);
	}
	g_autoptr(GByteArray) blocks = stream_archive(9000, 0, FLOWS / 2, 4);
	check_all_twins(blocks, FLOWS / 2);
}

/* Every word in every length it may have. */

enum { VARIABLE = 65535, WHOSE_IANA = 0, WHOSE_REVERSE = 29305, WHOSE_OWN = STREAM_ENTERPRISE, WHOSE_NETFLOW9 = -1 };
enum { AS_NUMBER, AS_OCTETS, AS_REFERENCE, AS_TEXT, AS_NOTHING };

#define AS_UPTIME AS_NOTHING
#define AS_NAME AS_TEXT
#define AS_PEER_ID AS_TEXT
#define AS_USER AS_TEXT
#define AS_GROUPS AS_TEXT
#define AS_VIA AS_TEXT
#define AS_RESOURCE AS_TEXT
#define AS_NETWORK AS_TEXT
#define AS_DOMAIN AS_TEXT

struct word {
	uint16_t number;
	int enterprise;
	uint16_t octets;
	int as;
};

static const struct word all_words[] = {
#define FIELD(name, element, enterprise, octets, kind, ...) { element, WHOSE_##enterprise, octets, AS_##kind },
#include "fields.def"
#undef FIELD
};

static const struct word tuple4[] = { { 8, 0, 4, 0 }, { 12, 0, 4, 0 }, { 4, 0, 1, 0 } },
                          tuple6[] = { { 27, 0, 16, 0 }, { 28, 0, 16, 0 }, { 4, 0, 1, 0 } };

static void
put_field(GByteArray *out, const struct word *word, uint16_t octets)
{
	ipfix_put(out, (word->enterprise ? 0x8000 : 0) | word->number, 2);
	ipfix_put(out, octets, 2);
	if (word->enterprise)
		ipfix_put(out, word->enterprise, 4);
}

/* Octets of one word; text is some letters, and then perhaps nothing. */
static void
put_value(GByteArray *out, const struct word *word, uint16_t octets, GRand *rand)
{
	const unsigned n = octets == VARIABLE ? g_rand_int(rand) % 20 : octets, letters = g_rand_int(rand) % 20;

	if (octets == VARIABLE)
		ipfix_put(out, n, 1);
	for (unsigned i = 0; i < n; i++)
		ipfix_put(out, word->as != AS_TEXT ? g_rand_int(rand) % 256 : i < letters ? 'a' + g_rand_int(rand) % 3 : 0, 1);
}

/* A message of 20 flows of one template: these words, of those octets. */
static GByteArray *
message_of(const struct word *const *chosen, const uint16_t *octets, unsigned n, GRand *rand)
{
	GByteArray *out = g_byte_array_new();
	const guint message = ipfix_begin(out, 0), templates = ipfix_set(out, 2);

	ipfix_put(out, 300, 2);
	ipfix_put(out, n, 2);
	for (unsigned i = 0; i < n; i++)
		put_field(out, chosen[i], octets[i]);
	ipfix_end(out, templates);
	const guint set = ipfix_set(out, 300);
	for (unsigned record = 0; record < 20; record++)
		for (unsigned i = 0; i < n; i++)
			put_value(out, chosen[i], octets[i], rand);
	ipfix_end(out, set);
	ipfix_end(out, message);
	return out;
}

static bool
may_have(const struct word *word, uint16_t octets)
{
	switch (word->as) {
	case AS_NUMBER:
		return octets <= word->octets;
	case AS_OCTETS:
		return octets == word->octets;
	case AS_REFERENCE:
		return octets <= 8;
	default:
		return word->as == AS_TEXT;
	}
}

static void
check_words(const struct word *tuple)
{
	static const uint16_t lengths[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, VARIABLE };
	g_autoptr(GRand) rand = g_rand_new_with_seed(9);

	for (unsigned i = 0; i < G_N_ELEMENTS(all_words); i++)
		for (unsigned n = 0; n < G_N_ELEMENTS(lengths); n++) {
			const struct word *const chosen[] = { &tuple[0], &tuple[1], &all_words[i], &tuple[2] };
			const uint16_t octets[] = { tuple[0].octets, tuple[1].octets, lengths[n], 1 };
			if (all_words[i].enterprise == WHOSE_NETFLOW9 || !may_have(&all_words[i], lengths[n]))
				continue;
			g_autoptr(GByteArray) messages = message_of(chosen, octets, 4, rand);
			/* What is a string everywhere else is none of fixed length, and such a message is not read at all. */
			check_few_twins(messages, all_words[i].as == AS_TEXT && lengths[n] != VARIABLE ? 0 : 20);
		}
}

static void
test_words(void)
{
	check_words(tuple4);
	check_words(tuple6);
}

/* Many of them at once, each in some length, in any order. */
static void
test_many_words(void)
{
	g_autoptr(GRand) rand = g_rand_new_with_seed(10);

	for (unsigned round = 0; round < 150; round++) {
		const struct word *const tuple = round % 2 ? tuple4 : tuple6, *chosen[60] = { &tuple[0], &tuple[1], &tuple[2] };
		uint16_t octets[60] = { tuple[0].octets, tuple[1].octets, 1 };
		unsigned n = 3;
		for (unsigned tries = 0; tries < 200 && n < 10 + round % 50; tries++) {
			const struct word *word = &all_words[g_rand_int(rand) % G_N_ELEMENTS(all_words)];
			const uint16_t length = 1 + g_rand_int(rand) % 16;
			if (word->enterprise == WHOSE_NETFLOW9 || !may_have(word, length) || (round % 3 && word->as == AS_TEXT))
				continue;
			chosen[n] = word;
			octets[n++] = word->as == AS_TEXT ? VARIABLE : length;
		}
		g_autoptr(GByteArray) messages = message_of(chosen, octets, n, rand), packed = pack(messages);
		const unsigned spared = g_rand_int(rand) & ALL_PARTS, flows = check_twins(messages, packed, 0);
		CU_ASSERT(flows == 20 || flows == 0);   /* with addresses of both families it is none */
		CU_ASSERT_EQUAL(check_twins(messages, packed, spared), flows);
		CU_ASSERT_EQUAL(check_twins(messages, NULL, spared), flows);
	}
}

/* A skeleton that is none of its columns. */
static void
test_skeleton(void)
{
	enum { SET_HEADER_AT = 16 + 4 + 4 + 4 * 4, COUNT_AT = SET_HEADER_AT + 4 };
	static const struct word count = { 1, 0, 8, AS_NUMBER };
	const struct word *const chosen[] = { &count, &tuple4[0], &tuple4[1], &tuple4[2] };
	static const uint16_t octets[] = { 8, 4, 4, 1 };
	static const struct {
		unsigned at;
		uint8_t octet;
		const char *error;      /* NULL: nothing is wrong */
	} rows[] = {
		{ COUNT_AT + 1, 20, NULL },
		{ COUNT_AT + 1, 19, NULL },
		{ COUNT_AT + 1, 0, NULL },
		{ COUNT_AT + 1, 21, "octet 46: 21 records of template 300, columns have 20 more" },
		{ COUNT_AT, 1, "octet 46: 276 records of template 300, columns have 20 more" },
		{ 27, 7, "octet 46: template 300 is not that of its columns" },
		{ 2 + SET_HEADER_AT + 1, 5, "octet 44: the set ends before the number of its records" },
		{ 2 + SET_HEADER_AT + 1, 7, "octet 44: set 300 of 7 octets, 6 are left" },
		{ SET_HEADER_AT + 1, 45, "octet 44: records of template 301, which was not announced" },
	};
	g_autoptr(GRand) rand = g_rand_new_with_seed(3);
	g_autoptr(GByteArray) messages = message_of(chosen, octets, 4, rand), packed = pack(messages);

	for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
		g_autoptr(columns_t) columns = columns_new();
		g_autoptr(decoder_t) decoder = decoder_new(STREAM_ENTERPRISE);
		g_autoptr(GError) error = NULL;
		struct flow flow;
		unsigned flows = 0;
		size_t n;
		CU_ASSERT_TRUE_FATAL(columns_open(columns, packed->data, packed->len, NULL));
		const uint8_t *whole = columns_skeleton(columns, &n);
		g_autofree uint8_t *skeleton = g_memdup2(whole, n);
		CU_ASSERT_EQUAL_FATAL(n, COUNT_AT + 2);
		skeleton[rows[i].at] = rows[i].octet;
		decoder_columns(decoder, columns);
		CU_ASSERT_EQUAL(decoder_message(decoder, skeleton, n, &error), !rows[i].error);
		while (decoder_next(decoder, &flow))
			flows++;
		CU_ASSERT_EQUAL(flows, rows[i].error ? 0 : rows[i].octet);
		if (error && g_strcmp0(error->message, rows[i].error) != 0)
			printf("\n    %s\n", error->message);
		CU_ASSERT_EQUAL(g_strcmp0(error ? error->message : NULL, rows[i].error), 0);
	}
}

/* Flows before a damaged column is asked for are given, and then it is said. */
static void
test_damaged_column(void)
{
	const struct word *const chosen[] = { &tuple4[2], &tuple4[0], &tuple4[1] };
	static const uint16_t octets[] = { 1, 4, 4 };
	g_autoptr(GRand) rand = g_rand_new_with_seed(3);
	g_autoptr(GByteArray) messages = message_of(chosen, octets, 3, rand), packed = pack(messages);
	g_autoptr(columns_t) columns = columns_new();
	g_autoptr(decoder_t) decoder = decoder_new(STREAM_ENTERPRISE);
	g_autoptr(GError) error = NULL;
	struct flow flow;
	size_t n;

	packed->data[packed->len - 10] ^= 1;        /* the destinations */
	CU_ASSERT_TRUE_FATAL(columns_open(columns, packed->data, packed->len, NULL));
	decoder_spare(decoder, FLOW_ADDRESSES);
	decoder_columns(decoder, columns);
	const uint8_t *skeleton = columns_skeleton(columns, &n);
	CU_ASSERT_TRUE_FATAL(decoder_message(decoder, skeleton, n, NULL));
	for (unsigned i = 0; i < 20; i++)
		CU_ASSERT_PTR_NOT_NULL(decoder_glance(decoder));
	CU_ASSERT_TRUE(decoder_is_whole(decoder, NULL));
	CU_ASSERT_FALSE(decoder_take(decoder, &flow));
	CU_ASSERT_PTR_NULL(decoder_glance(decoder));
	CU_ASSERT_FALSE(decoder_is_whole(decoder, &error));
	CU_ASSERT_EQUAL_FATAL(error->code, EX_DATAERR);
	CU_ASSERT_TRUE(g_str_has_prefix(error->message, "field 3 of template 300: "));

	CU_ASSERT_TRUE_FATAL(columns_open(columns, packed->data, packed->len, NULL));
	g_autoptr(decoder_t) asking = decoder_new(STREAM_ENTERPRISE);
	decoder_columns(asking, columns);
	skeleton = columns_skeleton(columns, &n);
	CU_ASSERT_TRUE_FATAL(decoder_message(asking, skeleton, n, NULL));
	CU_ASSERT_FALSE(decoder_next(asking, &flow));
	CU_ASSERT_FALSE(decoder_is_whole(asking, NULL));
}

/* Whatever octet is another, both read the same flows and stop at the same message. */
static unsigned
count_differences(GByteArray *stream)
{
	unsigned differ = 0;

	for (size_t i = 0; i < stream->len; i++) {
		bool agree;
		stream->data[i] ^= 1 << i % 8;
		compare(stream->data, stream->len, &agree);
		differ += !agree;
		if (!agree) {
			printf("\n    octet %zu:", i);
			for (size_t j = i - 12; j < i + 12; j++)
				printf(" %s%02x", j == i ? ">" : "", stream->data[j]);
		}
		stream->data[i] ^= 1 << i % 8;
	}
	return differ;
}

static void
test_flipped(void)
{
	g_autoptr(GByteArray) full = stream_of("full", TRAIT_BIFLOW, 1400, 6, 5);
	g_autoptr(GByteArray) archive = stream_of("archive", TRAIT_BIFLOW, 1400, 6, 5);

	CU_ASSERT_EQUAL(count_differences(full), 0);
	CU_ASSERT_EQUAL(count_differences(archive), 0);
}

static void
keep_gap(const struct gap *gap, void *data)
{
	*(struct gap *)data = *gap;
}

static void
test_gap(void)
{
	g_autoptr(GByteArray) octets = stream_of("full", TRAIT_BIFLOW, 1400, 3, 6);
	g_autoptr(decoder_t) decoder = decoder_new(STREAM_ENTERPRISE);
	struct stream stream = { decoder, octets->data, octets->data + octets->len, false };
	struct gap gap = { 0 };
	struct flow flow;

	decoder_on_gap(decoder, keep_gap, &gap);
	CU_ASSERT_TRUE(stream_next(&stream, &flow));
	CU_ASSERT_STRING_EQUAL(decoder_domain_name(decoder), "router-a");
	while (stream_next(&stream, &flow))
		;
	CU_ASSERT_EQUAL(gap.kind, GAP_OVERRUN);
	CU_ASSERT_TRUE(gap.unknown);
	CU_ASSERT_EQUAL(gap.flows, 17);
	CU_ASSERT_EQUAL(gap.packets, 34);
	CU_ASSERT_EQUAL(gap.octets, 999);
	CU_ASSERT_EQUAL(gap.first, stream_start);
	CU_ASSERT_EQUAL(gap.last, stream_start + 5000);
}

#define U16(n) ((n) >> 8 & 0xff), ((n) & 0xff)
#define U32(n) U16((n) >> 16), U16(n)

/* Integers may come in fewer octets (RFC 7011 section 6.2), a word twice, and a template may change. */
static void
test_odd_templates(void)
{
	static const uint8_t narrow[] = {
		U16(10), U16(77), U32(1u), U32(0u), U32(1u),
		U16(2), U16(36), U16(256), U16(7), U16(8), U16(4), U16(12), U16(4), U16(4), U16(1), U16(1), U16(3),
		U16(7), U16(1), U16(7), U16(2), U16(2), U16(5),
		U16(256), U16(25), 10, 0, 0, 1, 10, 0, 0, 2, 6, 1, 2, 3, 80, 9, 9, 1, 2, 3, 4, 5, 0,
	};
	static const uint8_t changing[] = {
		U16(10), U16(62), U32(1u), U32(1u), U32(1u),
		U16(256), U16(13), 10, 0, 0, 5, 10, 0, 0, 6, 47,
		U16(2), U16(20), U16(256), U16(3), U16(4), U16(1), U16(12), U16(4), U16(8), U16(4),
		U16(256), U16(13), 47, 10, 0, 0, 7, 10, 0, 0, 8,
	};
	static const uint8_t before[] = {
		U16(10), U16(49), U32(1u), U32(0u), U32(1u),
		U16(2), U16(20), U16(256), U16(3), U16(8), U16(4), U16(12), U16(4), U16(4), U16(1),
		U16(256), U16(13), 10, 0, 0, 1, 10, 0, 0, 2, 47,
	};
	g_autoptr(decoder_t) decoder = decoder_new(STREAM_ENTERPRISE);
	g_autoptr(GError) error = NULL;
	struct flow flow;
	bool agree;

	CU_ASSERT_EQUAL(compare(narrow, sizeof narrow, &agree), 1);
	CU_ASSERT_TRUE(agree);
	CU_ASSERT_TRUE(decoder_message(decoder, narrow, sizeof narrow, &error));
	CU_ASSERT_TRUE(decoder_next(decoder, &flow));
	CU_ASSERT_EQUAL(flow.original.octets, 0x010203);
	CU_ASSERT_EQUAL(flow.original.packets, 0x0102030405);
	CU_ASSERT_EQUAL(flow.original.source_port, 80);
	CU_ASSERT_FALSE(decoder_next(decoder, &flow));
	CU_ASSERT_TRUE(decoder_message(decoder, before, sizeof before, &error));
	CU_ASSERT_FALSE(decoder_message(decoder, changing, sizeof changing, &error));
	CU_ASSERT_FALSE(decoder_next(decoder, &flow));
	CU_ASSERT_STRING_EQUAL(error->message, "octet 16: a template changes behind records");
}

/* Somebody else's common properties: numbers of eight octets, and one record about all there is to say. */
static void
test_properties_of_others(void)
{
	static const uint8_t one[] = {
		U16(10), U16(106), U32(1u), U32(0u), U32(1u),
		U16(2), U16(24), U16(256), U16(4), U16(8), U16(4), U16(12), U16(4), U16(4), U16(1), U16(137), U16(8),
		U16(3), U16(26), U16(300), U16(3), U16(1), U16(137), U16(8), U16(371), U16(65535),
		U16(0x8000 | 1002), U16(65535), U32(STREAM_ENTERPRISE + 0u),
		U16(300), U16(19), U32(0u), U32(7u), 3, 'a', 'n', 'n', 2, 'd', 'b',
		U16(256), U16(21), 10, 0, 0, 1, 10, 0, 0, 2, 6, U32(0u), U32(7u),
	};
	g_autoptr(decoder_t) decoder = decoder_new(STREAM_ENTERPRISE);
	struct stream stream = { decoder, one, one + sizeof one, false };
	struct flow flow;
	bool agree;

	CU_ASSERT_EQUAL(compare(one, sizeof one, &agree), 1);
	CU_ASSERT_TRUE(agree);
	CU_ASSERT_TRUE_FATAL(stream_next(&stream, &flow));
	CU_ASSERT_EQUAL(flow.properties[0], 7);
	CU_ASSERT_EQUAL(flow.properties[1], 0);
	const struct names *names = decoder_names(decoder, &flow);
	CU_ASSERT_STRING_EQUAL(names->name[names_who(names, flow.initiator)].text, "ann");
	CU_ASSERT_STRING_EQUAL(names->name[names_who(names, flow.responder)].text, "db");
}

/* libfixbuf remarks on lengths of elements that nobody asked it for. */
static void
keep_silent(const char *domain G_GNUC_UNUSED, GLogLevelFlags level G_GNUC_UNUSED, const char *text G_GNUC_UNUSED,
            void *data G_GNUC_UNUSED)
{
}

int
main(void)
{
	g_log_set_handler(NULL, G_LOG_LEVEL_MESSAGE, keep_silent, NULL);
	CU_TestInfo tests[] = {
		{ "the same as libfixbuf", test_same_as_libfixbuf },
		{ "the same as was encoded", test_same_as_encoded },
		{ "a part first", test_glance },
		{ "each word in each length", test_words },
		{ "many words at once", test_many_words },
		{ "a skeleton of other columns", test_skeleton },
		{ "a damaged column", test_damaged_column },
		{ "any octet flipped", test_flipped },
		{ "gaps and what the domain is called", test_gap },
		{ "odd templates", test_odd_templates },
		{ "common properties of others", test_properties_of_others },
		CU_TEST_INFO_NULL,
	};

	return run_suite("decode", tests);
}
