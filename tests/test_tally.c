/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "suite.h"

#include <stdio.h>
#include <string.h>

#include "audit/tally.h"

static void
add(struct tally *tally, const char *text, uint64_t octets, uint64_t flows)
{
	tally_add(tally, text, strlen(text),
	          &(struct tally_sums){ .measure = { [TALLY_OCTETS] = octets, [TALLY_PACKETS] = 1, [TALLY_FLOWS] = flows },
	                                .sent = octets / 2 });
}

static void
check(const struct tally *tally, const char *expected)
{
	g_autoptr(GPtrArray) rows = tally_rows(tally);
	g_autoptr(GString) found = g_string_new(NULL);

	for (guint i = 0; i < rows->len; i++) {
		const struct tally_row *row = rows->pdata[i];
		CU_ASSERT_EQUAL(strlen(row->text), row->length);
		g_string_append_printf(found, "%s %u %u %u %u;", row->text, (unsigned)row->sums.measure[TALLY_OCTETS],
		                       (unsigned)row->sums.sent, (unsigned)row->sums.measure[TALLY_PACKETS],
		                       (unsigned)row->sums.measure[TALLY_FLOWS]);
	}
	CU_ASSERT_STRING_EQUAL(found->str, expected);
}

static void
fill(struct tally *tally)
{
	add(tally, "b", 10, 1);
	add(tally, "a", 10, 1);
	add(tally, "", 2, 5);
	add(tally, "b", 20, 1);
}

static void
test_sums(void)
{
	g_autoptr(tally_t) octets = tally_new(TALLY_OCTETS, 10);
	g_autoptr(tally_t) packets = tally_new(TALLY_PACKETS, 10);
	g_autoptr(tally_t) flows = tally_new(TALLY_FLOWS, 10);

	check(octets, "");
	fill(octets);
	fill(packets);
	fill(flows);
	check(octets, "b 30 15 2 2;a 10 5 1 1; 2 1 1 5;");
	check(packets, "b 30 15 2 2; 2 1 1 5;a 10 5 1 1;");
	check(flows, " 2 1 1 5;b 30 15 2 2;a 10 5 1 1;");
	CU_ASSERT_EQUAL(tally_forgotten(octets), 0);
}

/* A text of any length has a row of its own. */
static void
test_long(void)
{
	g_autoptr(tally_t) tally = tally_new(TALLY_OCTETS, 10);
	g_autofree char *text = g_strnfill(5000, 'x');
	g_autoptr(GPtrArray) rows = NULL;

	add(tally, "x", 1, 1);
	add(tally, text, 2, 1);
	text[4999] = 'y';
	add(tally, text, 3, 1);
	rows = tally_rows(tally);
	CU_ASSERT_EQUAL(rows->len, 3);
}

/* Of a million texts a few stand out; what is said of them is not wrong by more than is said. */
static void
test_forgotten(void)
{
	enum { MOST = 1000, RARE = 100000 };
	g_autoptr(tally_t) tally = tally_new(TALLY_OCTETS, MOST);
	char text[32];

	for (unsigned i = 0; i < RARE; i++) {
		snprintf(text, sizeof text, "rare %u", i);
		add(tally, text, 10, 1);
		snprintf(text, sizeof text, "often %u", i % 5);
		add(tally, text, 100 + i % 5, 1);
	}
	g_autoptr(GPtrArray) rows = tally_rows(tally);
	CU_ASSERT(rows->len <= MOST);
	CU_ASSERT(tally_forgotten(tally) > 0);
	for (unsigned i = 0; i < 5; i++) {
		const struct tally_row *row = rows->pdata[i];
		snprintf(text, sizeof text, "often %u", 4 - i);
		CU_ASSERT_STRING_EQUAL(row->text, text);
		const uint64_t truth = (uint64_t)RARE / 5 * (104 - i), told = row->sums.measure[TALLY_OCTETS];
		CU_ASSERT(told <= truth && told + tally_forgotten(tally) >= truth);
	}
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "sums", test_sums },
		{ "long texts", test_long },
		{ "more than there is room for", test_forgotten },
		CU_TEST_INFO_NULL,
	};

	return run_suite("tally", tests);
}
