/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What is told beside flows, octet for octet. */

#include "encode/options.h"

#include <stdio.h>
#include <string.h>

#include "suite.h"

static struct batch batch;
static uint8_t batch_octets[BATCH_OCTETS];

enum { DOMAIN = 0x64400001, ENTERPRISE = 0x00abcdef };

static void
begin(enum wire_protocol protocol)
{
	memset(&batch, 0, sizeof batch);
	batch.protocol = protocol;
	batch.domain = DOMAIN;
	batch.limit = 1232;
	batch.octets = batch_octets;
	batch.capacity = sizeof batch_octets;
	batch_restart(&batch);
}

/* The octets of the only message behind its header. */
static void
expect(const char *what, const uint8_t *octets, size_t length)
{
	const size_t header = batch.protocol == WIRE_IPFIX ? 16 : 20;
	const struct message *message;

	CU_ASSERT_EQUAL_FATAL(batch_take(&batch, 0, true, &message), 1);
	CU_ASSERT_EQUAL(message->length, header + length);
	CU_ASSERT_EQUAL(message->flow_records, 0);
	CU_ASSERT_EQUAL(memcmp(message->octets + header - 4, "\0\0\0\0", 4), 0);   /* the domain */
	if (message->length == header + length && memcmp(message->octets + header, octets, length) == 0)
		return;
	CU_FAIL(what);
	printf("\n    %s:", what);
	for (unsigned i = header; i < message->length; i++)
		printf("%s%02x", i % 4 ? "" : " ", message->octets[i]);
}

#define EXPECT(what, ...) do { \
	const uint8_t expected_octets[] = { __VA_ARGS__ }; \
	expect(what, expected_octets, sizeof expected_octets); \
} while (0)

static const struct interface_name wireguard = { 0x01020304, "wt0" };
static const struct exporter_statistics statistics = { 0x1122334455667788, 2, 0xffffffffffffffff };

/* Their templates: two scopes and one, and the time twice (RFC 7011 sections 4.2 and 4.3). */
#define METERING \
	0, 3,  0, 38,  1, 0x1b,  0, 7,  0, 2,  0, 149,  0, 4,   0, 143, 0, 4,   0, 166, 0, 8,   0, 164, 0, 8, \
	                                         0, 165,  0, 8,   1, 0x43, 0, 8,  1, 0x43, 0, 8
#define EXPORTING \
	0, 3,  0, 34,  1, 0x1c,  0, 6,  0, 1,  0, 144,  0, 4,   0, 166, 0, 8,   0, 167, 0, 8,   0, 168, 0, 8, \
	                                         1, 0x43, 0, 8,  1, 0x43, 0, 8

/* 22 characters of three octets. */
#define EUROS "€€€€€€€€€€€"
static const struct name long_words[] = { { "-", 1 }, { EUROS EUROS, 66 } };
static const struct identity long_identities[] = { { { 0 } }, { { 1, 1, 1, 1, 1, 1, 1, 1 } } };
static const struct names long_names = {
	.name = long_words, .count = 2, .identity = long_identities, .n_identities = 2,
};
static const struct names_row row_v6 = { { .v6 = { 0xfd, 0x12 } }, 6, 64, 1 };

/* ---- tests ---- */

#define DOMAIN_TEMPLATE 0, 3,  0, 18,  1, 0x17,  0, 2,  0, 1,  0, 149,  0, 4,  1, 0x2c,  0, 64
#define OWN_STRING(element) 0x80 | (element) >> 8, (element) & 255, 255, 255,  0, 0xab, 0xcd, 0xef
#define WHO_TEMPLATE(id, prefix, octets, length) \
	0, 3,  0, 74,  1, id,  0, 10,  0, 2,  0, prefix,  0, octets,  0, length,  0, 1, \
	1, 0x5e, 255, 255,  1, 0x5d, 255, 255,  OWN_STRING(1041),  OWN_STRING(1042),  OWN_STRING(1043), \
	OWN_STRING(1044),  OWN_STRING(1045),  OWN_STRING(1046)

static void
test_templates_ipfix(void)
{
	begin(WIRE_IPFIX);
	options_add_templates(&batch, ENTERPRISE);
	/* Set 3, one a Set: id, fields, scopes, then element and length; scopes first. */
	EXPECT("options templates of IPFIX",
	       0, 3,  0, 22,  1, 0x18,  0, 3,  0, 1,  0, 149,  0, 4,   0, 10,  0, 4,   0, 83,  0, 32,
	       0, 3,  0, 26,  1, 0x19,  0, 4,  0, 1,  0, 144,  0, 4,   0, 40,  0, 8,   0, 41,  0, 8,   0, 42,  0, 8,
	       0, 3,  0, 30,  1, 0x1a,  0, 5,  0, 2,  1, 0x2f, 0, 2,   1, 0x5a, 0, 4,  1, 0x53, 0, 1,  1, 0x58, 0, 1,
	                                                1, 0x55, 0xff, 0xff,
	       METERING, EXPORTING,
	       0, 3,  0, 50,  1, 0x1d,  0, 8,  0, 2,  0, 149,  0, 4,   0x84, 7, 0, 1,  0, 0xab, 0xcd, 0xef,
	                                                0x84, 8, 0, 1,  0, 0xab, 0xcd, 0xef,
	                                                0, 166, 0, 8,   0, 167, 0, 8,  0, 168, 0, 8,
	                                                1, 0x43, 0, 8,  1, 0x43, 0, 8,
	       DOMAIN_TEMPLATE, WHO_TEMPLATE(0x1e, 44, 4, 9), WHO_TEMPLATE(0x1f, 170, 16, 29));
	options_add_templates(&batch, 0);
	EXPECT("without elements of the operator's",
	       0, 3,  0, 22,  1, 0x18,  0, 3,  0, 1,  0, 149,  0, 4,   0, 10,  0, 4,   0, 83,  0, 32,
	       0, 3,  0, 26,  1, 0x19,  0, 4,  0, 1,  0, 144,  0, 4,   0, 40,  0, 8,   0, 41,  0, 8,   0, 42,  0, 8,
	       METERING, EXPORTING, DOMAIN_TEMPLATE);
}

static void
test_templates_netflow9(void)
{
	begin(WIRE_NETFLOW9);
	options_add_templates(&batch, 0);
	/* FlowSet 1: id, octets of scopes, octets of options; the scope is System; padded to four. */
	EXPECT("options templates of NetFlow v9",
	       0, 1,  0, 24,  1, 0x18,  0, 4,  0, 8,   0, 1,  0, 4,   0, 10,  0, 4,   0, 83,  0, 32,  0, 0,
	       0, 1,  0, 28,  1, 0x19,  0, 4,  0, 12,  0, 1,  0, 4,   0, 40,  0, 8,   0, 41,  0, 8,   0, 42,  0, 8,  0, 0);
}

static void
test_interfaces(void)
{
	static const enum wire_protocol protocols[] = { WIRE_IPFIX, WIRE_NETFLOW9 };

	for (unsigned i = 0; i < 2; i++) {
		begin(protocols[i]);
		options_add_interface(&batch, &wireguard);
		options_add_interface(&batch, &wireguard);
		EXPECT("interfaces, scope the domain of the flows",
		       1, 0x18,  0, 84,
		       0x64, 0x40, 0, 1,  1, 2, 3, 4,
		       'w', 't', '0', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		       0x64, 0x40, 0, 1,  1, 2, 3, 4,
		       'w', 't', '0', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
	}
}

static void
test_statistics(void)
{
	static const enum wire_protocol protocols[] = { WIRE_IPFIX, WIRE_NETFLOW9 };

	for (unsigned i = 0; i < 2; i++) {
		begin(protocols[i]);
		options_add_statistics(&batch, &statistics);
		EXPECT("statistics",
		       1, 0x19,  0, 32,  0, 0, 0, 1,
		       0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88,
		       0, 0, 0, 0, 0, 0, 0, 2,
		       0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff);
	}
}

/* RFC 5610: element, enterprise, data type, semantics, name; once each, and only of what occurs. */
static void
test_types(void)
{
	struct template template[2] = {
		{ .id = 256, .n_fields = 3, .field = { field_find("conntrackMark"), field_find("flowId"),
		                                       field_find("sourcePeerName") } },
		{ .id = 257, .n_fields = 3, .field = { field_find("conntrackMark"), field_find("conntrackLabels"),
		                                       field_find("recordGaps") } },
	};

	begin(WIRE_IPFIX);
	options_add_types(&batch, template, 2, ENTERPRISE);
	EXPECT("types",
	       1, 0x1a,  0, 245,
	       3, 0xe9,  0, 0xab, 0xcd, 0xef,  13, 0, 14, 's', 'o', 'u', 'r', 'c', 'e', 'P', 'e', 'e', 'r', 'N', 'a', 'm', 'e',
	       3, 0xf3,  0, 0xab, 0xcd, 0xef,  3,  5,  13, 'c', 'o', 'n', 'n', 't', 'r', 'a', 'c', 'k', 'M', 'a', 'r', 'k',
	       3, 0xf7,  0, 0xab, 0xcd, 0xef,  0,  0, 15, 'c', 'o', 'n', 'n', 't', 'r', 'a', 'c', 'k', 'L', 'a', 'b', 'e', 'l',
	                                                    's',
	       3, 0xf9,  0, 0xab, 0xcd, 0xef,  1,  5,  10, 'r', 'e', 'c', 'o', 'r', 'd', 'G', 'a', 'p', 's',
	       4, 7,     0, 0xab, 0xcd, 0xef,  1,  4,  7, 'g', 'a', 'p', 'K', 'i', 'n', 'd',
	       4, 8,     0, 0xab, 0xcd, 0xef,  1,  5,  8, 'g', 'a', 'p', 'F', 'l', 'a', 'g', 's',
	       4, 0x11,  0, 0xab, 0xcd, 0xef,  13, 0,  12, 'p', 'e', 'e', 'r', 'U', 's', 'e', 'r', 'N', 'a', 'm', 'e',
	       4, 0x12,  0, 0xab, 0xcd, 0xef,  13, 0,  10, 'g', 'r', 'o', 'u', 'p', 'N', 'a', 'm', 'e', 's',
	       4, 0x13,  0, 0xab, 0xcd, 0xef,  13, 0,  11, 'v', 'i', 'a', 'P', 'e', 'e', 'r', 'N', 'a', 'm', 'e',
	       4, 0x14,  0, 0xab, 0xcd, 0xef,  13, 0,  12, 'r', 'e', 's', 'o', 'u', 'r', 'c', 'e', 'N', 'a', 'm', 'e',
	       4, 0x15,  0, 0xab, 0xcd, 0xef,  13, 0,  11, 'n', 'e', 't', 'w', 'o', 'r', 'k', 'N', 'a', 'm', 'e',
	       4, 0x16,  0, 0xab, 0xcd, 0xef,  13, 0,  10, 'd', 'o', 'm', 'a', 'i', 'n', 'N', 'a', 'm', 'e');
}

static const struct gap lost = {
	.kind = GAP_QUEUE,
	.first = 1700000899222,
	.last = 1700000899333,
	.flows = 0x1122334455667788,
	.packets = 2,
	.octets = 0xffffffffffffffff,
	.unknown = true,
};

#define LOST_NUMBERS \
	0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88,  0, 0, 0, 0, 0, 0, 0, 2, \
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, \
	0, 0, 1, 0x8b, 0xcf, 0xf3, 0x20, 0x96,  0, 0, 1, 0x8b, 0xcf, 0xf3, 0x21, 0x05

static void
test_gaps(void)
{
	struct gap certain = lost;

	begin(WIRE_IPFIX);
	options_add_metering_gaps(&batch, &lost);
	EXPECT("gaps of the metering process", 1, 0x1b,  0, 52,  0x64, 0x40, 0, 1,  0, 0, 0, 1,  LOST_NUMBERS);
	options_add_exporting_gaps(&batch, &lost);
	EXPECT("gaps of the exporting process", 1, 0x1c,  0, 48,  0, 0, 0, 1,  LOST_NUMBERS);
	options_add_gap(&batch, &lost);
	EXPECT("gaps of a kind", 1, 0x1d,  0, 50,  0x64, 0x40, 0, 1,  5,  1,  LOST_NUMBERS);
	certain.unknown = false;
	certain.kind = GAP_OVERRUN;
	options_add_gap(&batch, &certain);
	EXPECT("gaps of which no more are possible", 1, 0x1d,  0, 50,  0x64, 0x40, 0, 1,  1,  0,  LOST_NUMBERS);
}

/* Data types of all own elements, and that all of them fit what is reserved: in options.h and by the bounds. */
static void
test_all_types(void)
{
	struct template template = { .id = 256 };
	const struct message *message;
	size_t total = 0;

	for (unsigned i = 0; i < n_fields; i++)
		if (fields[i].enterprise == ENTERPRISE_OWN)
			template.field[template.n_fields++] = &fields[i];
	begin(WIRE_IPFIX);
	batch.limit = 16384;
	options_add_templates(&batch, ENTERPRISE);
	options_add_types(&batch, &template, 1, ENTERPRISE);
	CU_ASSERT_EQUAL_FATAL(batch_take(&batch, 0, true, &message), 1);
	CU_ASSERT_TRUE(message->length - 16u <= options_template_octets() + options_type_octets(&template, 1));
	const unsigned templates = 22 + 26 + 30 + 38 + 34 + 50 + 18 + 74 + 74;
	const unsigned ours = 8 * 9 + strlen("gapKind" "gapFlags" "peerUserName" "groupNames" "viaPeerName" "resourceName"
	                                     "networkName" "domainName");
	CU_ASSERT_EQUAL(message->length - 16u - templates, options_type_octets(&template, 1));
	const uint8_t *at = message->octets + 16 + templates + 4, *end = message->octets + message->length - ours;
	for (unsigned i = 0; i < template.n_fields; i++) {
		const struct field *field = template.field[i];
		const size_t name = strlen(field->name);
		static const uint8_t unsigned_of[] = { [1] = 1, [2] = 2, [4] = 3, [8] = 4 };
		const uint8_t type = field->kind == KIND_NUMBER ? unsigned_of[field->octets] : field_is_string(field) ? 13 : 0;
		CU_ASSERT_TRUE_FATAL(at + 9 + name <= end);
		CU_ASSERT_EQUAL(at[0] << 8 | at[1], field->element);
		CU_ASSERT_EQUAL(at[6], type);
		CU_ASSERT_EQUAL(at[7], field->semantics);
		CU_ASSERT_EQUAL(at[8], name);
		CU_ASSERT_EQUAL(memcmp(at + 9, field->name, name), 0);
		CU_ASSERT_TRUE(9 + name <= OPTIONS_ROOM);
		at += 9 + name;
		total++;
	}
	CU_ASSERT_PTR_EQUAL(at, end);
	CU_ASSERT_EQUAL(total, 27);
}

static void
test_domain(void)
{
	static const struct name name = { "b\xc3\xbcro", 5 };
	const struct message *message;

	begin(WIRE_IPFIX);
	options_add_domain(&batch, &name);
	EXPECT("what the domain is called",
	       1, 0x17,  0, 72,
	       0x64, 0x40, 0, 1,
	       'b', 0xc3, 0xbc, 'r', 'o', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	       0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
	/* 22 characters of three octets have to be 21. */
	options_add_domain(&batch, &long_words[1]);
	CU_ASSERT_EQUAL_FATAL(batch_take(&batch, 0, true, &message), 1);
	CU_ASSERT_EQUAL(memcmp(message->octets + 16 + 4 + 4, long_words[1].text, 63), 0);
	CU_ASSERT_EQUAL(message->octets[16 + 4 + 4 + 63], 0);
}

static const struct name some_words[] = { { "-", 1 }, { "alice", 5 }, { "a, b", 4 } };
static const struct identity some_identities[] = { { { 0 } }, { { [WORD_PEER] = 1, [WORD_GROUPS] = 2 } } };
static const struct names some_names = {
	.name = some_words, .count = 3, .identity = some_identities, .n_identities = 2,
};

/* Prefix, length, then peer, id, user, groups, via, resource, network, domain; what is not known is "-". */
static void
test_who(void)
{
	static const struct names_row v4 = { { .v4 = { 100, 90, 0, 7 } }, 4, 32, 1 };
	static const struct names_row v6 = { { .v6 = { 0xfd, 0x12 } }, 6, 64, 1 };

	begin(WIRE_IPFIX);
	options_add_who(&batch, &v4, &some_names, 1000);
	options_add_who(&batch, &v6, &some_names, 1000);
	EXPECT("whom prefixes stand for",
	       1, 0x1e,  0, 32,  100, 90, 0, 7,  32,
	       5, 'a', 'l', 'i', 'c', 'e',  1, '-',  1, '-',  4, 'a', ',', ' ', 'b',  1, '-',  1, '-',  1, '-',  1, '-',
	       1, 0x1f,  0, 44,  0xfd, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,  64,
	       5, 'a', 'l', 'i', 'c', 'e',  1, '-',  1, '-',  4, 'a', ',', ' ', 'b',  1, '-',  1, '-',  1, '-',  1, '-');
}

/* Whatever room there is, the record fits it, and no word is cut away or inside a character. */
static void
test_who_cut(void)
{
	const struct message *message;

	for (size_t room = OPTIONS_ROOM; room < 700; room++) {
		begin(WIRE_IPFIX);
		options_add_who(&batch, &row_v6, &long_names, room);
		CU_ASSERT_EQUAL_FATAL(batch_take(&batch, 0, true, &message), 1);
		const uint8_t *at = message->octets + 16 + SET_HEADER + 17, *end = message->octets + message->length;
		CU_ASSERT_TRUE((size_t)(end - message->octets) <= 16 + SET_HEADER + room);
		for (unsigned word = 0; word < WORDS; word++) {
			CU_ASSERT_TRUE(*at >= 3 && *at % 3 == 0);
			CU_ASSERT_EQUAL(memcmp(at + 1, long_words[1].text, *at), 0);
			at += 1 + *at;
		}
		CU_ASSERT_PTR_EQUAL(at, end);
	}
	CU_ASSERT_EQUAL(message->length, 16 + SET_HEADER + 17 + WORDS * (1 + 66));
}

/* In the smallest message there may be, OPTIONS_ROOM octets behind header and Set header, nothing is left out. */
static void
test_room(void)
{
	static const enum wire_protocol protocols[] = { WIRE_IPFIX, WIRE_NETFLOW9 };
	const struct message *message;

	for (unsigned i = 0; i < 2; i++) {
		unsigned records = 0;
		begin(protocols[i]);
		batch.limit = (i ? 20 + 6 : 16) + SET_HEADER + OPTIONS_ROOM;
		options_add_templates(&batch, i ? 0 : ENTERPRISE);
		for (unsigned n = 0; n < 5; n++) {
			options_add_interface(&batch, &wireguard);
			options_add_statistics(&batch, &statistics);
			options_add_metering_gaps(&batch, &lost);
			options_add_exporting_gaps(&batch, &lost);
			options_add_gap(&batch, &lost);
			options_add_domain(&batch, &long_words[1]);
			if (!i)
				options_add_who(&batch, &row_v6, &long_names, OPTIONS_ROOM);
		}
		batch_end_message(&batch);
		for (unsigned n = 0; n < batch.n_closed; n++)
			records += batch.slot[n].all_records;
		CU_ASSERT_EQUAL(records, i ? 30u + 2 : 35u + 9);
		for (size_t n = batch_take(&batch, 0, true, &message); n > 0; n--)
			CU_ASSERT_TRUE(message[n - 1].length <= batch.limit);
	}
}

static void
test_template_record(void)
{
	struct template template = { .id = 300, .n_fields = 3, .field = { field_find("octetDeltaCount"),
	                             field_find("reversePacketDeltaCount"), field_find("conntrackZone") } };
	const struct message *message;

	CU_ASSERT_EQUAL(template_record_octets(&template), 4 + 4 + 8 + 8);
	begin(WIRE_IPFIX);
	template_record_add(&batch, &template, ENTERPRISE);
	CU_ASSERT_EQUAL_FATAL(batch_take(&batch, 0, true, &message), 1);
	static const uint8_t octets[] = {
		0, 2,  0, 28,  1, 44,  0, 3,
		0, 1,  0, 8,
		0x80, 2,  0, 8,  0, 0, 0x72, 0x79,
		0x83, 0xf4,  0, 2,  0, 0xab, 0xcd, 0xef,
	};
	CU_ASSERT_EQUAL_FATAL(message->length, 16 + sizeof octets);
	CU_ASSERT_EQUAL(memcmp(message->octets + 16, octets, sizeof octets), 0);
	CU_ASSERT_EQUAL(memcmp(message->octets + 12, "\x64\x40\0\1", 4), 0);
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "options templates of IPFIX", test_templates_ipfix },
		{ "options templates of NetFlow v9", test_templates_netflow9 },
		{ "interface names", test_interfaces },
		{ "statistics", test_statistics },
		{ "gaps", test_gaps },
		{ "the name of the domain", test_domain },
		{ "whom prefixes stand for", test_who },
		{ "words that are cut", test_who_cut },
		{ "types of own elements", test_types },
		{ "types of all own elements", test_all_types },
		{ "the least room", test_room },
		{ "a template", test_template_record },
		CU_TEST_INFO_NULL,
	};

	return run_suite("options", tests);
}
