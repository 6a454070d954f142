/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "suite.h"

#include <arpa/inet.h>
#include <fixbuf/public.h>
#include <glib.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "archive/reader.h"
#include "archive/word.h"

/* Octets as they go over the wire: numbers in network byte order, and the three ways to name an element. */
#define U16(n) ((n) >> 8 & 0xff), ((n) & 0xff)
#define U32(n) U16((n) >> 16), U16(n)
#define U64(n) U32((n) >> 32), U32(n)
#define IANA(element, octets)    U16(element), U16(octets)
#define REVERSE(element, octets) U16(0x8000 | (element)), U16(octets), U32(29305)
#define OWN(element, octets)     U16(0x8000 | (element)), U16(octets), U32(32473)
#define VARLEN 65535

#define DOMAIN 0x645a0001u
#define TIME   1787400202u
#define START  1787400200913ull
#define END    1787400202117ull
#define STOP   1787400322117ull

/* A viewer's session: the template of translated IPv4 biflows and that of interface names; two such names; somebody's
 * statistics, in another domain, of which the reader knows nothing; and one flow, which translation changed wherever
 * it could. */
static const uint8_t golden[] = {
	/* version, length,   export time,      sequence,   domain */
	U16(10),    U16(230), U32(TIME),        U32(0u),    U32(DOMAIN),
	U16(2),     U16(192),
	U16(417),   U16(34),
	IANA(8, 4),           IANA(12, 4),      IANA(7, 2),       IANA(11, 2),      IANA(4, 1),
	IANA(1, 8),           IANA(2, 8),       REVERSE(1, 8),    REVERSE(2, 8),
	IANA(152, 8),         IANA(153, 8),     IANA(10, 4),      IANA(14, 4),      IANA(61, 1),
	IANA(136, 1),         IANA(148, 8),     IANA(239, 1),
	IANA(225, 4),         IANA(226, 4),     IANA(227, 2),     IANA(228, 2),     IANA(297, 1),
	OWN(1011, 4),         OWN(1012, 2),     OWN(1013, 4),     OWN(1014, 1),     OWN(1015, 16),
	OWN(1016, 8),         OWN(1017, 1),
	IANA(371, VARLEN),    OWN(1001, VARLEN), OWN(1002, VARLEN),
	IANA(95, 4),          U16(0x8007), U16(2), U32(6871u),                      /* two that nobody here knows */
	U16(3),     U16(22),
	U16(280),   U16(3),   U16(1),
	IANA(149, 4),         IANA(10, 4),      IANA(83, 16),

	U16(10),    U16(68),  U32(TIME),        U32(0u),    U32(DOMAIN),
	U16(280),   U16(52),
	U32(DOMAIN),          U32(3u),          'w', 't', '0', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	U32(DOMAIN),          U32(2u),          'e', 't', 'h', '0', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,

	U16(10),    U16(50),  U32(TIME),        U32(0u),    U32(0u),
	U16(3),     U16(18),
	U16(281),   U16(2),   U16(1),
	IANA(149, 4),         IANA(41, 8),
	U16(281),   U16(16),
	U32(DOMAIN),          U64(4711ull),

	U16(10),    U16(176), U32(TIME),        U32(2u),    U32(DOMAIN),
	U16(417),   U16(160),
	203, 0, 113, 9,       198, 51, 100, 1,  U16(40004),       U16(8080),        6,
	U64(273ull),          U64(5ull),        U64(5268ull),     U64(6ull),
	U64(START),           U64(END),         U32(2u),          U32(3u),          1,
	3,                    U64(0x0d6fd7d1a3b4c5d6ull),         1,
	100, 90, 0, 1,        100, 90, 0, 7,    U16(40005),       U16(80),          1,
	U32(113937u),         U16(7),           U32(0x1beu),      7,
	1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
	U64(STOP),            1,
	5, 'u', 's', 'e', 'r', '1',             5, 'a', 'l', 'i', 'c', 'e',         5, 'b', 0xc3, 0xbc, 'r', 'o',
	U32(9u),              U16(8),
	0, 0, 0,                                                                    /* padding */
};

static const struct flow golden_flow = {
	.original = {
		.source.v4 = { 203, 0, 113, 9 }, .destination.v4 = { 198, 51, 100, 1 },
		.source_port = 40004, .destination_port = 8080, .octets = 273, .packets = 5,
		.ingress = 2, .egress = 3, .flow_direction = 1, .biflow_direction = 1,
	},
	.reply = {
		.source.v4 = { 100, 90, 0, 7 }, .destination.v4 = { 100, 90, 0, 1 },
		.source_port = 80, .destination_port = 40005, .octets = 5268, .packets = 6,
	},
	.flow_id = 0x0d6fd7d1a3b4c5d6, .id = 0x0d6fd7d1,
	.start = START, .end = END, .stop = STOP,
	.mark = 113937, .status = 0x1be, .labels = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 },
	.initiator = 1, .responder = 2, .zone = 7, .family = 4, .protocol = 6, .state = 7, .nat_type = 1,
	.translation = TRANSLATED_SOURCE | TRANSLATED_DESTINATION, .end_reason = END_DETECTED, .gaps = GAP_NO_COUNTERS,
};

/* A reader over octets in memory. */
struct stream {
	FILE *file;
	struct reader *reader;
};

static struct stream
stream_open(const uint8_t *octets, size_t n)
{
	/* fmemopen takes no empty buffer. */
	FILE *file = n ? fmemopen((void *)octets, n, "r") : fopen("/dev/null", "r");

	return (struct stream){ file, reader_new(file, "stream", READER_LOCAL_ENTERPRISE) };
}

static void
stream_close(struct stream *stream)
{
	reader_free(stream->reader);
	fclose(stream->file);
}

/* Reads all there is; the last flow is in record, and text, if there is one, becomes the error's. */
static enum reader_result
read_all(const uint8_t *octets, size_t n, unsigned *flows, char **text)
{
	struct stream stream = stream_open(octets, n);
	g_autoptr(GError) error = NULL;
	struct record record;
	enum reader_result result;

	for (*flows = 0; (result = reader_next(stream.reader, &record, &error)) == READER_FLOW; )
		++*flows;
	CU_ASSERT_EQUAL(result == READER_ERROR, error != NULL);
	if (text)
		*text = g_strdup(error ? error->message : "");
	stream_close(&stream);
	return result;
}

static const char *
word_of(const struct record *record, uint32_t identity, enum identity_word word)
{
	return record->names->name[names_word(record->names, identity, word)].text;
}

static void
test_golden(void)
{
	struct stream stream = stream_open(golden, sizeof golden);
	g_autoptr(GError) error = NULL;
	struct record record;

	CU_ASSERT_EQUAL_FATAL(reader_next(stream.reader, &record, &error), READER_FLOW);
	CU_ASSERT_FALSE(memcmp(&record.flow, &golden_flow, sizeof golden_flow));
	CU_ASSERT_EQUAL(record.names->n_identities, 3);
	CU_ASSERT_STRING_EQUAL(record.names->name[0].text, "-");
	CU_ASSERT_STRING_EQUAL(word_of(&record, 1, WORD_PEER), "alice");
	CU_ASSERT_EQUAL(record.names->name[names_who(record.names, 1)].length, 5);
	CU_ASSERT_STRING_EQUAL(word_of(&record, 2, WORD_PEER), "büro");
	CU_ASSERT_STRING_EQUAL(word_of(&record, 2, WORD_VIA), "-");
	CU_ASSERT_STRING_EQUAL(reader_interface(stream.reader, 2), "eth0");
	CU_ASSERT_STRING_EQUAL(reader_interface(stream.reader, 3), "wt0");
	CU_ASSERT_PTR_NULL(reader_interface(stream.reader, 4));
	CU_ASSERT_EQUAL(reader_next(stream.reader, &record, &error), READER_END);
	CU_ASSERT_EQUAL(reader_next(stream.reader, &record, &error), READER_END);
	CU_ASSERT_EQUAL(reader_lost(stream.reader), 0);
	CU_ASSERT_PTR_NULL(error);
	stream_close(&stream);
}

/* Between two messages an end is an end, and nowhere else. */
static void
test_truncated(void)
{
	static const size_t ends[] = { 0, 230, 298, 348, sizeof golden };

	for (size_t n = 0, whole = 0; n <= sizeof golden; n++) {
		g_autofree char *text = NULL;
		unsigned flows;
		enum reader_result result = read_all(golden, n, &flows, &text);
		if (whole < G_N_ELEMENTS(ends) && n == ends[whole]) {
			whole++;
			CU_ASSERT_EQUAL(result, READER_END);
		} else {
			g_autofree char *expected = g_strdup_printf("stream: message at octet %zu: the stream ends inside it, "
			                                            "after %zu octets", ends[whole - 1], n - ends[whole - 1]);
			CU_ASSERT_EQUAL(result, READER_ERROR);
			CU_ASSERT_STRING_EQUAL(text, expected);
		}
		CU_ASSERT_EQUAL(flows, n == sizeof golden);
	}
}

static void
test_garbage(void)
{
	g_autofree uint8_t *octets = g_memdup2(golden, sizeof golden);
	g_autofree char *text = NULL;
	unsigned flows;

	for (size_t n = 0; n < sizeof golden; n++)
		for (unsigned bit = 0; bit < 8; bit++) {
			octets[n] ^= 1 << bit;
			CU_ASSERT(read_all(octets, sizeof golden, &flows, NULL) != READER_FLOW);
			CU_ASSERT(flows <= 2);
			octets[n] ^= 1 << bit;
		}
	memset(octets, 0x47, sizeof golden);
	CU_ASSERT_EQUAL(read_all(octets, sizeof golden, &flows, &text), READER_ERROR);
	CU_ASSERT_STRING_EQUAL(text, "stream: message at octet 0: octet 4: not an IPFIX message (version 18247, "
	                             "18247 octets)");
}

/* What libfixbuf cannot bear: it would abort, never end, or leave flows out without a word. */
#define MESSAGE(octets, ...) \
	{ U16(10), U16(octets), U32(TIME), U32(0u), U32(DOMAIN), __VA_ARGS__ }

static const uint8_t low_id[]      = MESSAGE(28, U16(2), U16(12), U16(2), U16(1), IANA(8, 4));
static const uint8_t all_gone[]    = MESSAGE(24, U16(2), U16(8), U16(2), U16(0));
static const uint8_t no_octets[]   = MESSAGE(28, U16(2), U16(12), U16(256), U16(1), IANA(82, 0));
static const uint8_t too_long[]    = MESSAGE(32, U16(2), U16(16), U16(256), U16(2), IANA(82, 65000), IANA(83, 600));
static const uint8_t many_fields[] = MESSAGE(24, U16(2), U16(8), U16(256), U16(1025));
static const uint8_t short_set[]   = MESSAGE(20, U16(2), U16(3));
static const uint8_t long_set[]    = MESSAGE(28, U16(2), U16(13), U16(256), U16(1), IANA(8, 4));
static const uint8_t half_set[]    = MESSAGE(18, U16(2));
static const uint8_t set_id[]      = MESSAGE(20, U16(4), U16(4));
static const uint8_t half_field[]  = MESSAGE(26, U16(2), U16(10), U16(256), U16(1), U16(8));
static const uint8_t half_own[]    = MESSAGE(28, U16(2), U16(12), U16(256), U16(1), U16(0x8001), U16(4));
static const uint8_t no_scope[]    = MESSAGE(30, U16(3), U16(14), U16(256), U16(1), U16(0), IANA(8, 4));
static const uint8_t more_scope[]  = MESSAGE(30, U16(3), U16(14), U16(256), U16(1), U16(2), IANA(8, 4));
static const uint8_t half_scope[]  = MESSAGE(24, U16(3), U16(8), U16(256), U16(1));
static const uint8_t unannounced[] = MESSAGE(24, U16(256), U16(8), U32(0u));
static const uint8_t withdrawn[]   = MESSAGE(44, U16(2), U16(12), U16(256), U16(1), IANA(8, 4),
                                             U16(2), U16(8), U16(256), U16(0), U16(256), U16(8), U32(0u));
static const uint8_t half_name[]   = MESSAGE(37, U16(2), U16(12), U16(256), U16(1), IANA(82, VARLEN),
                                             U16(256), U16(9), 5, 'a', 'b', 'c', 'd');
static const uint8_t wide[]        = MESSAGE(28, U16(2), U16(12), U16(256), U16(1), IANA(4, 2));
static const uint8_t narrow[]      = MESSAGE(28, U16(2), U16(12), U16(256), U16(1), IANA(12, 3));
static const uint8_t fixed_name[]  = MESSAGE(28, U16(2), U16(12), U16(256), U16(1), IANA(371, 16));
static const uint8_t half_length[] = MESSAGE(34, U16(2), U16(12), U16(256), U16(1), IANA(82, VARLEN),
                                             U16(256), U16(6), 255, 1);

static void
test_traps(void)
{
	static const struct {
		const uint8_t *octets;
		size_t n;
		const char *text;
	} rows[] = {
#define ROW(octets, text) { octets, sizeof octets, text }
		ROW(low_id, "octet 24: template id 2"),
		ROW(all_gone, "octet 24: template id 2"),
		ROW(no_octets, "octet 28: a template's records would have 0 octets"),
		ROW(too_long, "octet 32: a template's records would have 65600 octets"),
		ROW(many_fields, "octet 24: template 256 is one too many, or too long with 1025 fields"),
		ROW(short_set, "octet 20: set 2 of 3 octets, 4 are left"),
		ROW(long_set, "octet 20: set 2 of 13 octets, 12 are left"),
		ROW(half_set, "octet 16: the message ends inside a set header"),
		ROW(set_id, "octet 20: set id 4"),
		ROW(half_field, "octet 24: the set ends inside a template"),
		ROW(half_own, "octet 28: the set ends inside a template"),
		ROW(no_scope, "octet 26: options template 256 with 0 scope fields of 1"),
		ROW(more_scope, "octet 26: options template 256 with 2 scope fields of 1"),
		ROW(half_scope, "octet 24: options template 256 with 0 scope fields of 1"),
		ROW(unannounced, "octet 20: records of template 256, which was not announced"),
		ROW(withdrawn, "octet 40: records of template 256, which was not announced"),
		ROW(half_name, "octet 33: the set ends inside a record of template 256"),
		ROW(wide, "octet 28: template 256 has element 4 in 2 octets"),
		ROW(narrow, "octet 28: template 256 has element 12 in 3 octets"),
		ROW(fixed_name, "octet 28: template 256 has element 371 in 16 octets"),
		ROW(half_length, "octet 33: the set ends inside a record of template 256"),
	};

	for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
		g_autofree char *expected = g_strconcat("stream: message at octet 0: ", rows[i].text, NULL);
		g_autofree char *text = NULL;
		unsigned flows;
		CU_ASSERT_EQUAL(read_all(rows[i].octets, rows[i].n, &flows, &text), READER_ERROR);
		CU_ASSERT_STRING_EQUAL(text, expected);
		if (g_strcmp0(text, expected))
			printf("\n    %s\n    %s", text, expected);
	}
}

static void
test_failed_stays_failed(void)
{
	struct stream stream = stream_open(short_set, sizeof short_set);
	g_autoptr(GError) error = NULL;
	struct record record;

	CU_ASSERT_EQUAL(reader_next(stream.reader, &record, &error), READER_ERROR);
	CU_ASSERT_EQUAL(error->code, EX_DATAERR);
	g_clear_error(&error);
	CU_ASSERT_EQUAL(reader_next(stream.reader, &record, &error), READER_ERROR);
	stream_close(&stream);
}

/* Field lists of templates/full.template by kind, from the same table: a libfixbuf exporter writes the flows. */

enum {
	V4 = 1, V6 = 2, NAT = 4, PORTS = 8, ICMP = 16, UNIFLOW = 32, BIFLOW = 64, ANY = 0,
};

typedef struct {
	uint8_t octet[16];
} octets_16;
#define TYPE_NUMBER_1 uint8_t
#define TYPE_NUMBER_2 uint16_t
#define TYPE_NUMBER_4 uint32_t
#define TYPE_NUMBER_8 uint64_t
#define TYPE_REFERENCE_4 uint32_t
#define TYPE_OCTETS_4 uint32_t
#define TYPE_OCTETS_16 octets_16
#define TYPE_NAME_VARIABLE fbVarfield_t
#define VARIABLE FB_IE_VARLEN
#define IPFIX_IANA(...) __VA_ARGS__
#define IPFIX_REVERSE(...) __VA_ARGS__
#define IPFIX_OWN(...) __VA_ARGS__
#define IPFIX_NETFLOW9(...)
#define NUMBER_OF_IANA 0
#define NUMBER_OF_REVERSE 29305
#define NUMBER_OF_OWN READER_LOCAL_ENTERPRISE

struct __attribute__((packed)) wire {
#define FIELD(name, element, enterprise, octets, kind, ...) \
	IPFIX_##enterprise(JOIN(JOIN(TYPE_, LIKE_##kind), _##octets) name;)
#include "../templates/fields.def"
#undef FIELD
};

static void
append(fbTemplate_t *template, unsigned traits, unsigned only, uint32_t enterprise, uint16_t element, uint16_t octets)
{
	fbInfoElement_t field = { .ent = enterprise, .num = element, .len = octets };
	g_autoptr(GError) error = NULL;

	if ((only & traits) == only)
		CU_ASSERT_TRUE_FATAL(fbTemplateAppend(template, &field, &error));
}

static fbTemplate_t *
make_template(fbInfoModel_t *model, unsigned traits)
{
	fbTemplate_t *template = fbTemplateAlloc(model);

#define FIELD(name, element, enterprise, octets, kind, semantics, only, ...) \
	IPFIX_##enterprise(append(template, traits, only, NUMBER_OF_##enterprise, element, octets);)
#include "../templates/fields.def"
#undef FIELD
	return template;
}

static void
make_own(fbInfoModel_t *model)
{
	static fbInfoElement_t rows[] = {
#define ROW_IANA(...)
#define ROW_REVERSE(...)
#define ROW_NETFLOW9(...)
#define ROW_OWN(name, element, octets, type, flags) \
		FB_IE_INIT_FULL(name, READER_LOCAL_ENTERPRISE, element, octets, flags, 0, 0, type, NULL),
#define ROW_NUMBER(octets) \
	octets == 1 ? FB_UINT_8 : octets == 2 ? FB_UINT_16 : octets == 4 ? FB_UINT_32 : FB_UINT_64, FB_IE_F_ENDIAN
#define ROW_OCTETS(octets) FB_OCTET_ARRAY, 0
#define ROW_NAME(octets) FB_STRING, 0
#define ROW_EXPAND(macro, ...) macro(__VA_ARGS__)
#define FIELD(name, element, enterprise, octets, kind, ...) \
		ROW_EXPAND(ROW_##enterprise, #name, element, octets, JOIN(ROW_, LIKE_##kind)(octets))
#include "../templates/fields.def"
#undef FIELD
		FB_IE_NULL
	};

	fbInfoModelAddElementArray(model, rows);
}

#define PUT_NUMBER(to, from, element) to = from
#define PUT_REFERENCE(to, from, element) to = from
#define PUT_OCTETS(to, from, element) put_octets(&to, sizeof to, (const uint8_t *)from)
#define PUT_NAME(to, from, element) put_name(&name, from, element), to = name

/* libfixbuf wants IPv4 addresses as numbers. */
static void
put_octets(void *to, size_t n, const uint8_t *from)
{
	uint32_t number;

	memcpy(to, from, n);
	memcpy(&number, from, sizeof number);
	number = ntohl(number);
	if (n == sizeof number)
		memcpy(to, &number, sizeof number);
}

static void
put_name(fbVarfield_t *to, uint32_t index, unsigned element)
{
	static char longest[300], text[32][16];
	char *name = element == 371 || element <= 1002 ? "alice-laptop" : text[element % 32];

	memset(longest, 'x', sizeof longest - 1);
	if (name == text[element % 32])
		snprintf(name, sizeof text[0], "word %u", element);
	if (index == 2 && element == 1002)
		name = longest;
	*to = (fbVarfield_t){ .len = strlen(name), .buf = (uint8_t *)name };
}

static void
fill(struct wire *wire, const struct flow *flow)
{
	fbVarfield_t name;

#define FIELD(name_, element, enterprise, octets, kind, semantics, only, member, ...) \
	IPFIX_##enterprise(JOIN(PUT_, LIKE_##kind)(wire->name_, flow->member, element);)
#include "../templates/fields.def"
#undef FIELD
}

/* Octets of a stream with the template of this kind and the flow twice, as libfixbuf's own exporter writes it. */
static GByteArray *
export(const struct flow *flow, unsigned traits)
{
	fbInfoModel_t *model = fbInfoModelAlloc();
	GByteArray *stream = g_byte_array_new();
	g_autoptr(GError) error = NULL;
	struct wire wire;
	char path[] = "/tmp/peerflow-test-XXXXXX";
	int fd = mkstemp(path);
	FILE *file = fdopen(fd, "w+");

	make_own(model);
	fill(&wire, flow);
	fbSession_t *session = fbSessionAlloc(model);
	fBuf_t *buffer = fBufAllocForExport(session, fbExporterAllocFP(file));
	fbSessionSetDomain(session, DOMAIN);
	fbSessionAddTemplate(session, TRUE, 999, make_template(model, ~0u), &error);
	fbSessionAddTemplate(session, FALSE, 400, make_template(model, traits), &error);
	CU_ASSERT_TRUE_FATAL(fbSessionExportTemplates(session, &error));
	CU_ASSERT_TRUE_FATAL(fBufSetInternalTemplate(buffer, 999, &error));
	CU_ASSERT_TRUE_FATAL(fBufSetExportTemplate(buffer, 400, &error));
	for (unsigned i = 0; i < 2; i++)
		CU_ASSERT_TRUE_FATAL(fBufAppend(buffer, (uint8_t *)&wire, sizeof wire, &error));
	CU_ASSERT_TRUE_FATAL(fBufEmit(buffer, &error));
	fflush(file);
	rewind(file);
	for (int octet; (octet = fgetc(file)) != EOF; )
		g_byte_array_append(stream, &(uint8_t){ octet }, 1);
	fBufFree(buffer);
	fbInfoModelFree(model);
	fclose(file);
	remove(path);
	return stream;
}

/* What of the flow a record of this kind can say. */
static struct flow
heard(struct flow flow, unsigned traits)
{
	flow.family = traits & V6 ? 6 : 4;
	flow.policy = 2 * WORDS + 1;
	if (traits & V4)
		for (unsigned i = 0; i < 4; i++) {
			struct side *side = i & 1 ? &flow.original : &flow.reply;
			union address *address = i & 2 ? &side->source : &side->destination;
			*address = (union address){ .word = { address->word[0] } };
		}
	if (!(traits & PORTS))
		flow.original.source_port = flow.original.destination_port = 0;
	if (!(traits & PORTS))
		flow.reply.source_port = flow.reply.destination_port = 0;
	if (!(traits & ICMP))
		flow.original.icmp = 0;
	if (!(traits & BIFLOW))
		flow.reply.octets = flow.reply.packets = 0;
	if (traits & NAT)
		return flow;
	flow.reply.source = flow.original.destination;
	flow.reply.destination = flow.original.source;
	flow.reply.source_port = flow.original.destination_port;
	flow.reply.destination_port = flow.original.source_port;
	flow.translation = 0;
	return flow;
}

static const struct flow any_flow = {
	.original = {
		.source.word = { 0x11223344, 5, 6, 7 }, .destination.word = { 0x55667788, 8, 9, 10 },
		.source_port = 51820, .destination_port = 443, .icmp = 0x0800, .octets = UINT64_C(1) << 40, .packets = 1 << 30,
		.ingress = 70000, .egress = 3, .flow_direction = 1, .biflow_direction = 1,
	},
	.reply = {
		.source.word = { 0x15263748, 11, 12, 13 }, .destination.word = { 0x59607182, 14, 15, 16 },
		.source_port = 8443, .destination_port = 40744, .octets = 7, .packets = 8,
	},
	.flow_id = 0xfedcba9876543210, .id = 0xfedcba98, .start = START, .end = END, .stop = STOP, .mark = 0x1bd10,
	.status = 0xdeadbeef, .labels = { 1, 2, 4, [15] = 128 }, .initiator = 1, .responder = 2, .policy = 1,
	.zone = 65535, .masqueraded = 1, .protocol = 17, .state = 9, .nat_type = 1,
	.translation = TRANSLATED_SOURCE | TRANSLATED_DESTINATION,
	.end_reason = END_IDLE, .gaps = GAP_NO_START,
};

/* Each word about an end came back as that word about that end. */
static void
check_words(const struct record *record)
{
	static const unsigned elements[WORDS] = { 0, 1003, 1005, 1007, 1009, 1021, 1023, 1025 };

	for (unsigned word = WORD_PEER_ID; word < WORDS; word++)
		for (unsigned end = 0; end < 2; end++) {
			g_autofree char *wanted = g_strdup_printf("word %u", elements[word] + end);
			CU_ASSERT_STRING_EQUAL(word_of(record, 1 + end, word), wanted);
		}
	CU_ASSERT_STRING_EQUAL(record->names->name[record->flow.policy].text, "word 1027");
}

static void
test_kinds(void)
{
	static const unsigned kinds[] = {
		V4 | PORTS | BIFLOW, V4 | NAT | PORTS | BIFLOW, V6 | PORTS | BIFLOW, V6 | NAT | PORTS | BIFLOW,
		V4 | ICMP | BIFLOW, V4 | ICMP | NAT | BIFLOW, V6 | ICMP | BIFLOW, V6 | ICMP | NAT | BIFLOW,
		V4 | PORTS | UNIFLOW, V6 | NAT | PORTS | UNIFLOW,
	};

	for (unsigned i = 0; i < G_N_ELEMENTS(kinds); i++) {
		g_autoptr(GByteArray) octets = export(&any_flow, kinds[i]);
		struct stream stream = stream_open(octets->data, octets->len);
		struct flow expected = heard(any_flow, kinds[i]);
		g_autoptr(GError) error = NULL;
		struct record record;
		for (unsigned n = 0; n < 2; n++) {
			CU_ASSERT_EQUAL_FATAL(reader_next(stream.reader, &record, &error), READER_FLOW);
			CU_ASSERT_FALSE(memcmp(&record.flow, &expected, sizeof expected));
			CU_ASSERT_STRING_EQUAL(word_of(&record, 1, WORD_PEER), "alice-laptop");
			CU_ASSERT_EQUAL(strlen(word_of(&record, 2, WORD_PEER)), 299);
			check_words(&record);
		}
		CU_ASSERT_EQUAL(reader_next(stream.reader, &record, &error), READER_END);
		CU_ASSERT_EQUAL(reader_lost(stream.reader), 0);
		stream_close(&stream);
	}
}

/* A small template of names and a record with each pair of them. */
#define NAMED(octets, set, ...) \
	MESSAGE(octets, \
		U16(2), U16(40), U16(256), U16(6), IANA(8, 4), IANA(12, 4), IANA(4, 1), \
		IANA(371, VARLEN), OWN(1001, VARLEN), OWN(1002, VARLEN), \
		U16(256), U16(set), 10, 0, 0, 1, 10, 0, 0, 2, 47, __VA_ARGS__)

static const uint8_t no_names[]   = NAMED(72, 16, 0, 0, 0);
static const uint8_t dashes[]     = NAMED(75, 19, 1, '-', 1, '-', 1, '-');
static const uint8_t user_only[]  = NAMED(74, 18, 1, 'u', 0, 1, 'd');
static const uint8_t user_dash[]  = NAMED(74, 18, 1, 'u', 1, '-', 0);
static const uint8_t bad_utf8[]   = NAMED(77, 21, 0, 3, 'a', 0xff, 'b', 2, 0xc3, 0xbc);
static const uint8_t nul_inside[] = NAMED(75, 19, 0, 3, 'a', 0, 'b', 0);

/* A record with who is behind each end: its peer, or the peer it lies behind, and that one; and with userName in a
 * record of the answers. */
#define LAID(octets, set, direction, ...) \
	MESSAGE(octets, \
		U16(2), U16(52), U16(256), U16(8), IANA(8, 4), IANA(12, 4), IANA(4, 1), IANA(239, 1), \
		IANA(371, VARLEN), OWN(1001, VARLEN), OWN(1002, VARLEN), OWN(1009, VARLEN), \
		U16(256), U16(set), 10, 0, 0, 1, 10, 0, 0, 2, 47, direction, __VA_ARGS__)

static const uint8_t lies_behind[] = LAID(90, 22, 1, 1, 'v', 1, 'v', 1, 'd', 1, 'v');
static const uint8_t is_peer[]     = LAID(90, 22, 1, 1, 'p', 1, 'p', 1, 'd', 1, 'v');
static const uint8_t answers[]     = LAID(90, 22, 2, 1, 'u', 1, '-', 1, '-', 1, '-');

static void
test_who(void)
{
	static const struct {
		const uint8_t *octets;
		size_t n;
		const char *word[3];    /* the source's peer, what it lies behind, the destination's peer */
	} rows[] = {
		{ lies_behind, sizeof lies_behind, { "-", "v", "d" } },
		{ is_peer, sizeof is_peer, { "p", "v", "d" } },
		{ answers, sizeof answers, { "-", "-", "u" } },
	};

	for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
		struct stream stream = stream_open(rows[i].octets, rows[i].n);
		g_autoptr(GError) error = NULL;
		struct record record;
		CU_ASSERT_EQUAL_FATAL(reader_next(stream.reader, &record, &error), READER_FLOW);
		CU_ASSERT_STRING_EQUAL(word_of(&record, 1, WORD_PEER), rows[i].word[0]);
		CU_ASSERT_STRING_EQUAL(word_of(&record, 1, WORD_VIA), rows[i].word[1]);
		CU_ASSERT_STRING_EQUAL(word_of(&record, 2, WORD_PEER), rows[i].word[2]);
		stream_close(&stream);
	}
}

static void
test_names(void)
{
	static const struct {
		const uint8_t *octets;
		size_t n;
		const char *initiator;      /* NULL: none */
		const char *responder;
	} rows[] = {
#define NAMES(octets, initiator, responder) { octets, sizeof octets, initiator, responder }
		NAMES(no_names, NULL, NULL),
		NAMES(dashes, NULL, NULL),
		NAMES(user_only, "u", "d"),
		NAMES(user_dash, "u", NULL),
		NAMES(bad_utf8, "a\xef\xbf\xbd" "b", "ü"),
		NAMES(nul_inside, "a\xef\xbf\xbd" "b", NULL),
	};

	for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
		struct stream stream = stream_open(rows[i].octets, rows[i].n);
		g_autoptr(GError) error = NULL;
		struct record record;
		CU_ASSERT_EQUAL_FATAL(reader_next(stream.reader, &record, &error), READER_FLOW);
		CU_ASSERT_EQUAL(record.flow.initiator, rows[i].initiator ? 1 : 0);
		CU_ASSERT_EQUAL(record.flow.responder, rows[i].responder ? 2 : 0);
		if (rows[i].initiator)
			CU_ASSERT_STRING_EQUAL(word_of(&record, 1, WORD_PEER), rows[i].initiator);
		if (rows[i].responder)
			CU_ASSERT_STRING_EQUAL(word_of(&record, 2, WORD_PEER), rows[i].responder);
		CU_ASSERT_EQUAL(record.flow.nat_type, 4);
		stream_close(&stream);
	}
}

/* Each message has one record: 20, which was expected to be 1, and 3, which cannot be the same session. */
static void
test_lost(void)
{
	static const uint8_t octets[] = {
		U16(10), U16(40), U32(TIME), U32(0u), U32(1u),
		U16(2), U16(20), U16(256), U16(3), IANA(8, 4), IANA(12, 4), IANA(4, 1), U16(256), U16(4),
		U16(10), U16(29), U32(TIME), U32(0u), U32(1u),  U16(256), U16(13), 10, 0, 0, 1, 10, 0, 0, 2, 47,
		U16(10), U16(29), U32(TIME), U32(20u), U32(1u), U16(256), U16(13), 10, 0, 0, 1, 10, 0, 0, 2, 47,
		U16(10), U16(29), U32(TIME), U32(21u), U32(1u), U16(256), U16(13), 10, 0, 0, 1, 10, 0, 0, 2, 47,
		U16(10), U16(29), U32(TIME), U32(3u), U32(1u),  U16(256), U16(13), 10, 0, 0, 1, 10, 0, 0, 2, 47,
		U16(10), U16(29), U32(TIME), U32(5u), U32(1u),  U16(256), U16(13), 10, 0, 0, 1, 10, 0, 0, 2, 47,
	};
	static const uint64_t lost[] = { 0, 19, 19, 19, 20 };
	struct stream stream = stream_open(octets, sizeof octets);
	g_autoptr(GError) error = NULL;
	struct record record;

	for (unsigned i = 0; i < G_N_ELEMENTS(lost); i++) {
		CU_ASSERT_EQUAL_FATAL(reader_next(stream.reader, &record, &error), READER_FLOW);
		CU_ASSERT_EQUAL(reader_lost(stream.reader), lost[i]);
	}
	CU_ASSERT_EQUAL(reader_next(stream.reader, &record, &error), READER_END);
	stream_close(&stream);
}

/* A template that comes again with other content is another from then on, in its own domain only. */
static void
test_redefined(void)
{
	static const uint8_t octets[] = {
		U16(10), U16(49), U32(TIME), U32(0u), U32(1u),
		U16(2), U16(20), U16(256), U16(3), IANA(8, 4), IANA(12, 4), IANA(4, 1),
		U16(256), U16(13), 10, 0, 0, 1, 10, 0, 0, 2, 47,
		U16(10), U16(49), U32(TIME), U32(0u), U32(2u),
		U16(2), U16(20), U16(256), U16(3), IANA(12, 4), IANA(8, 4), IANA(4, 1),
		U16(256), U16(13), 10, 0, 0, 3, 10, 0, 0, 4, 47,
		U16(10), U16(62), U32(TIME), U32(1u), U32(1u),
		U16(256), U16(13), 10, 0, 0, 5, 10, 0, 0, 6, 47,
		U16(2), U16(20), U16(256), U16(3), IANA(4, 1), IANA(12, 4), IANA(8, 4),
		U16(256), U16(13), 47, 10, 0, 0, 7, 10, 0, 0, 8,
	};
	static const uint8_t sources[] = { 1, 4, 5, 8 };
	struct stream stream = stream_open(octets, sizeof octets);
	g_autoptr(GError) error = NULL;
	struct record record;

	for (unsigned i = 0; i < G_N_ELEMENTS(sources); i++) {
		CU_ASSERT_EQUAL_FATAL(reader_next(stream.reader, &record, &error), READER_FLOW);
		CU_ASSERT_EQUAL(record.flow.original.source.v4[3], sources[i]);
		CU_ASSERT_EQUAL(record.flow.protocol, 47);
	}
	CU_ASSERT_EQUAL(reader_next(stream.reader, &record, &error), READER_END);
	stream_close(&stream);
}

/* libfixbuf remarks on lengths of elements that nobody asked it for; more than a remark is something the reader should
 * have kept from it. */
static void
refuse_warnings(const char *domain, GLogLevelFlags level, const char *text, void *data)
{
	(void)domain, (void)data;
	if ((level & G_LOG_LEVEL_MASK) >= G_LOG_LEVEL_MESSAGE)
		return;
	printf("\n    %s", text);
	CU_FAIL("libfixbuf complained");
}

int
main(void)
{
	g_log_set_default_handler(refuse_warnings, NULL);
	CU_TestInfo tests[] = {
		{ "a viewer's session, octet by octet", test_golden },
		{ "an end at every octet", test_truncated },
		{ "every bit turned over", test_garbage },
		{ "what libfixbuf cannot bear", test_traps },
		{ "a reader that failed stays failed", test_failed_stays_failed },
		{ "every kind of template, by libfixbuf's exporter", test_kinds },
		{ "names", test_names },
		{ "who is behind an end", test_who },
		{ "lost records", test_lost },
		{ "templates that change", test_redefined },
		CU_TEST_INFO_NULL,
	};

	return run_suite("reader", tests);
}
