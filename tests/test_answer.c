/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "suite.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "audit/answer.h"

#define BORN UINT64_C(1787400202117)    /* 2026-08-22 12:03:22.117 UTC, two hours later on the clock of the wall */
#define ZONE "TZ=<+02>-2"

static const struct name name[] = { { "-", 1 }, { "alice", 5 }, { "al\"ice@example.org", 18 }, { "si\033te", 5 } };
static const struct identity identity[] = {
	{ { 0 } }, { { [WORD_PEER] = 1, [WORD_USER] = 2 } }, { { [WORD_VIA] = 3 } },
};
static const struct names names = { name, G_N_ELEMENTS(name), identity, G_N_ELEMENTS(identity), NULL, 0 };

static struct holder
sample(void)
{
	struct holder holder = {
		.flow = {
			.original = { .source_port = 40002, .destination_port = 443, .octets = 1234, .packets = 12 },
			.reply = { .source_port = 443, .destination_port = 41234, .octets = 123456, .packets = 90 },
			.start = BORN, .end = BORN + 1204, .stop = BORN + 121204, .family = 4, .protocol = IPPROTO_TCP,
			.translation = TRANSLATED_SOURCE, .end_reason = END_DETECTED, .initiator = 1, .responder = 2,
		},
		.names = &names, .from = BORN, .to = BORN + 121204, .records = 1, .whole = true,
	};

	inet_pton(AF_INET, "100.90.0.7", &holder.flow.original.source);
	inet_pton(AF_INET, "203.0.113.9", &holder.flow.original.destination);
	inet_pton(AF_INET, "203.0.113.9", &holder.flow.reply.source);
	inet_pton(AF_INET, "198.51.100.1", &holder.flow.reply.destination);
	return holder;
}

static struct holder_question
question(uint64_t first, uint64_t last)
{
	struct holder_question question = { .first = first, .last = last };

	CU_ASSERT_FATAL(holder_parse("198.51.100.1:41234", "tcp", &question, NULL));
	return question;
}

static char *
text_of(enum print_format format, const struct answer_sheet *sheet)
{
	g_autoptr(answers_t) answers = answers_new(format);
	GString *out = g_string_new(NULL);

	answers_put(answers, sheet, out);
	return g_string_free(out, false);
}

static void
check(const char *text, const char *expected)
{
	CU_ASSERT_STRING_EQUAL(text, expected);
	if (strcmp(text, expected))
		printf("\n    %s\n    %s", text, expected);
}

static void
check_table(const struct holder *holder, enum holder_role role, const char *expected)
{
	static char *const none[] = { NULL };
	const struct holder_question asked = question(BORN - 117, BORN + 882);
	const struct holder_answer answer = { holder, role };
	const struct answer_sheet sheet = { &asked, &answer, 1, none };
	g_autofree char *text = text_of(PRINT_TABLE, &sheet);

	check(text, expected);
}

#define QUESTION "198.51.100.1:41234 tcp at 2026-08-22 14:03:22\n"
#define WORDS_   "    initiator: peer alice, user al\"ice@example.org\n    responder: behind si\xef\xbf\xbdte\n"
#define TUPLES   "    tcp 100.90.0.7:40002 -> 203.0.113.9:443, translated to 198.51.100.1:41234 -> 203.0.113.9:443\n"
#define TIMES    "    from 2026-08-22 14:03:22.117, last packet 2026-08-22 14:03:23.321, free again 2026-08-22 14:05:23.321\n"
#define COUNTERS "sent 1234 B in 12 packets, received 123 kB in 90\n"

static void
test_table(void)
{
	struct holder holder = sample();

	check_table(&holder, HOLDER_TRANSLATED_SOURCE, QUESTION "  alice 100.90.0.7:40002 was translated to it\n" WORDS_ TUPLES
	            TIMES "    " COUNTERS);
	check_table(&holder, HOLDER_DESTINATION, QUESTION "  si\xef\xbf\xbdte 203.0.113.9:443 was called there\n" WORDS_ TUPLES
	            TIMES "    " COUNTERS);
	holder.whole = false;
	holder.from = holder.flow.stop = 0;
	holder.flow.end_reason = END_ACTIVE;
	holder.flow.initiator = holder.flow.responder = 0;
	check_table(&holder, HOLDER_SOURCE, QUESTION "  100.90.0.7:40002 had it\n" TUPLES
	            "    since when is not known, last told of 2026-08-22 14:03:23.321\n    at least " COUNTERS);
	holder.open = true;
	holder.router = (char *)"router-a";
	holder.from = BORN;
	holder.flow.gaps = GAP_NO_COUNTERS;
	holder.flow.protocol = IPPROTO_ICMP;
	holder.flow.original = (struct side){ .source = holder.flow.original.source, .icmp_id = 7,
	                                      .destination = holder.flow.original.destination };
	holder.flow.reply = (struct side){ .source = holder.flow.original.destination, .icmp_id = 8,
	                                   .destination = holder.flow.reply.destination };
	check_table(&holder, HOLDER_TRANSLATED_SOURCE, QUESTION "  100.90.0.7 id 7 was translated to it\n    icmp "
	            "100.90.0.7 id 7 -> 203.0.113.9, translated to 198.51.100.1 id 8 -> 203.0.113.9\n    seen by router-a\n"
	            "    from 2026-08-22 14:03:22.117, still open\n    how much was sent was not counted\n");
}

static void
test_nobody(void)
{
	char *doubts[] = { (char *)"it is, \"late\"", (char *)"and dark", NULL };
	const struct holder_question asked = question(BORN, BORN + 5000);
	const struct answer_sheet sheet = { &asked, NULL, 0, doubts };
	g_autofree char *table = text_of(PRINT_TABLE, &sheet), *json = text_of(PRINT_JSON, &sheet);
	g_autofree char *csv = text_of(PRINT_CSV, &sheet);

	check(table, "198.51.100.1:41234 tcp at 2026-08-22 14:03:22.117 to 2026-08-22 14:03:27.117\n  nobody\n"
	      "  may be incomplete: it is, \"late\"\n  may be incomplete: and dark\n");
	check(json, "{\"address\":\"198.51.100.1\",\"port\":41234,\"protocol_number\":6,\"from\":\"2026-08-22T12:03:22.117Z\","
	      "\"from_ms\":1787400202117,\"to_ms\":1787400207117,\"answers\":[],\"incomplete\":[\"it is, \\\"late\\\"\","
	      "\"and dark\"]}\n");
	CU_ASSERT_TRUE(g_str_has_prefix(csv, "198.51.100.1,41234,6,2026-08-22T12:03:22.117Z,1787400202117,1787400207117,nobody,,,"
	                                     "\"it is, \"\"late\"\"; and dark\",,"));
}

static unsigned
commas(const char *text)
{
	unsigned n = 0;

	for (; *text; text++)
		n += *text == ',';
	return n;
}

/* A line an answer, and each with as many fields as the first line names. */
static void
test_csv(void)
{
	static char *const none[] = { NULL };
	const struct holder one = sample(), other = sample();
	const struct holder_question asked = question(BORN, BORN);
	const struct holder_answer found[] = { { &one, HOLDER_TRANSLATED_SOURCE }, { &other, HOLDER_SOURCE } };
	const struct answer_sheet sheet = { &asked, found, 2, none }, nobody = { &asked, NULL, 0, none };
	g_autoptr(answers_t) answers = answers_new(PRINT_CSV);
	g_autoptr(GString) out = g_string_new(NULL);

	answers_header(answers, out);
	answers_put(answers, &sheet, out);
	answers_put(answers, &nobody, out);
	g_auto(GStrv) lines = g_strsplit(out->str, "\n", -1);
	CU_ASSERT_EQUAL_FATAL(g_strv_length(lines), 5);
	CU_ASSERT_TRUE(g_str_has_prefix(lines[0], "asked_address,asked_port,asked_protocol,asked_from,asked_from_ms,asked_to_ms,"
	                                          "role,open,whole,incomplete,start,"));
	for (unsigned i = 1; i < 4; i++)
		CU_ASSERT_EQUAL(commas(lines[i]), commas(lines[0]));
	CU_ASSERT_PTR_NOT_NULL(strstr(lines[1], ",translated_source,0,1,,"));
	CU_ASSERT_PTR_NOT_NULL(strstr(lines[2], ",source,0,1,,"));
	CU_ASSERT_PTR_NOT_NULL(strstr(lines[3], ",nobody,,,,"));
}

static void
test_json(void)
{
	char *doubts[] = { (char *)"x", NULL };
	const struct holder one = sample(), other = sample();
	const struct holder_question asked = question(BORN, BORN);
	const struct holder_answer found[] = { { &one, HOLDER_TRANSLATED_SOURCE }, { &other, HOLDER_DESTINATION } };
	const struct answer_sheet sheet = { &asked, found, 2, doubts };
	g_autofree char *text = text_of(PRINT_JSON, &sheet);

	CU_ASSERT_PTR_NOT_NULL(strstr(text, "\"answers\":[{\"role\":\"translated_source\",\"open\":false,\"whole\":true,"
	                                    "\"flow\":{\"start\":"));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "}},{\"role\":\"destination\","));
	CU_ASSERT_TRUE(g_str_has_suffix(text, "}}],\"incomplete\":[\"x\"]}\n"));
	CU_ASSERT_PTR_EQUAL(strchr(text, '\n'), text + strlen(text) - 1);
}

static CU_TestInfo tests[] = {
	{ "for people", test_table },
	{ "nobody, and why there may be somebody", test_nobody },
	{ "for spreadsheets", test_csv },
	{ "for programs", test_json },
	CU_TEST_INFO_NULL,
};

int
main(void)
{
	putenv((char *)ZONE);
	tzset();
	return run_suite("answer", tests);
}
