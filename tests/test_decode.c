/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdio.h>

#include "archive/decode.h"
#include "archive/reader.h"
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

/* And what they give is what was put in. */
static void
check_encoded(const char *template)
{
	g_autoptr(GByteArray) octets = stream_of(template, TRAIT_BIFLOW, 8000, FLOWS, 4);
	g_autoptr(GRand) rand = g_rand_new_with_seed(4);
	g_autoptr(decoder_t) decoder = decoder_new(STREAM_ENTERPRISE);
	struct stream stream = { decoder, octets->data, octets->data + octets->len, false };
	struct flow flow;
	unsigned n;

	for (n = 0; stream_next(&stream, &flow); n++) {
		struct flow expected = stream_flow(rand, n);
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
		if (strcmp(template, "archive") != 0)       /* which alone has ids of echoes */
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

/* Whatever was spared, what is not is there at once, and all is when it is taken. */
static void
check_glance(const char *template, unsigned spared)
{
	g_autoptr(GByteArray) octets = stream_of(template, TRAIT_BIFLOW, 8000, FLOWS, 4);
	g_autoptr(decoder_t) whole = decoder_new(STREAM_ENTERPRISE), sparing = decoder_new(STREAM_ENTERPRISE);
	struct flow expected, taken;
	unsigned n = 0;

	decoder_spare(sparing, spared);
	for (size_t at = 0; at < octets->len; at += decoder_octets(octets->data + at)) {
		const uint8_t *message = octets->data + at;
		CU_ASSERT_TRUE_FATAL(decoder_message(whole, message, decoder_octets(message), NULL));
		CU_ASSERT_TRUE_FATAL(decoder_message(sparing, message, decoder_octets(message), NULL));
		for (; decoder_next(whole, &expected); n++) {
			const struct flow *seen = decoder_glance(sparing);
			CU_ASSERT_PTR_NOT_NULL_FATAL(seen);
			CU_ASSERT(seen->family == expected.family && seen->protocol == expected.protocol);
			CU_ASSERT(seen->start == expected.start && seen->end == expected.end && seen->stop == expected.stop);
			if (!(spared & FLOW_TUPLE)) {
				CU_ASSERT_FALSE(memcmp(&seen->original.source, &expected.original.source, sizeof(union address)));
				CU_ASSERT_EQUAL(seen->original.destination_port, expected.original.destination_port);
				CU_ASSERT_EQUAL(seen->translation, expected.translation);
			}
			if (!(spared & FLOW_REST))
				CU_ASSERT(seen->reply.octets == expected.reply.octets && seen->mark == expected.mark);
			decoder_take(sparing, &taken);
			CU_ASSERT_FALSE(memcmp(&taken, &expected, sizeof taken));
		}
		CU_ASSERT_PTR_NULL(decoder_glance(sparing));
	}
	CU_ASSERT_EQUAL(n, FLOWS);
}

static void
test_glance(void)
{
	for (unsigned spared = 0; spared <= (FLOW_TUPLE | FLOW_REST); spared++) {
		check_glance("full", spared);
		check_glance("archive", spared);
	}
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
		{ "any octet flipped", test_flipped },
		{ "gaps and what the domain is called", test_gap },
		{ "odd templates", test_odd_templates },
		{ "common properties of others", test_properties_of_others },
		CU_TEST_INFO_NULL,
	};

	return run_suite("decode", tests);
}
