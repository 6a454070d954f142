/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What becomes of gaps: entries, totals, and lines in the log. */

#include "ledger.h"

#include <glib.h>
#include <stdio.h>
#include <string.h>

#include "suite.h"

static int64_t now;                 /* microseconds */
static GPtrArray *lines;            /* of the log */

static int64_t
clock_of_test(void)
{
	return now;
}

static GLogWriterOutput
take_line(GLogLevelFlags level, const GLogField *fields, gsize n, gpointer data)
{
	(void)level, (void)data;
	for (gsize i = 0; i < n; i++)
		if (strcmp(fields[i].key, "MESSAGE") == 0)
			g_ptr_array_add(lines, g_strdup(fields[i].value));
	return G_LOG_WRITER_HANDLED;
}

static struct ledger *
begin(struct ledger_memory *memory)
{
	now = 1000000;
	g_ptr_array_set_size(lines, 0);
	return ledger_new(memory, clock_of_test);
}

static struct gap
gap_of(enum gap_kind kind, const char *collector, uint64_t first, uint64_t last, uint64_t flows)
{
	struct gap gap = { .kind = kind, .first = first, .last = last, .flows = flows };

	g_strlcpy(gap.collector, collector, sizeof gap.collector);
	return gap;
}

static void
add(struct ledger *ledger, enum gap_kind kind, const char *collector, uint64_t first, uint64_t last, uint64_t flows)
{
	const struct gap gap = gap_of(kind, collector, first, last, flows);

	ledger_add(ledger, &gap);
}

static void
print(const struct gap *gap, void *data)
{
	g_string_append_printf(data, "%s%s%s %u-%u %u;", gap_name(gap->kind), gap->collector[0] ? " " : "", gap->collector,
	                       (unsigned)gap->first, (unsigned)gap->last, (unsigned)gap->flows);
}

#define EXPECT_LIST(visit, ledger, expected) do { \
	g_autoptr(GString) found = g_string_new(NULL); \
	visit(ledger, print, found); \
	CU_ASSERT_STRING_EQUAL(found->str, expected); \
	if (strcmp(found->str, expected) != 0) \
		printf("\n    %s", found->str); \
} while (0)

#define EXPECT_LINE(i, expected) do { \
	CU_ASSERT_FATAL(lines->len > (i)); \
	CU_ASSERT_STRING_EQUAL(lines->pdata[i], expected); \
	if (strcmp(lines->pdata[i], expected) != 0) \
		printf("\n    %s", (char *)lines->pdata[i]); \
} while (0)

/* ---- tests ---- */

static void
test_merge(void)
{
	struct ledger *ledger = begin(NULL);

	EXPECT_LIST(ledger_each, ledger, "");
	add(ledger, GAP_OVERRUN, "", 1000, 1200, 5);
	add(ledger, GAP_OVERRUN, "", 1300, 2000, 7);
	add(ledger, GAP_QUEUE, "a", 1500, 1500, 1);
	add(ledger, GAP_QUEUE, "b", 1500, 1600, 2);
	add(ledger, GAP_UNREACHABLE, "a", 1500, 1700, 3);
	add(ledger, GAP_QUEUE, "a", 1400, 1450, 4);
	EXPECT_LIST(ledger_each, ledger,
	            "overrun 1000-2000 12;queue a 1400-1500 5;queue b 1500-1600 2;unreachable a 1500-1700 3;");
	/* A minute is near, more is another gap; and a clock that was set back makes another, too. */
	add(ledger, GAP_OVERRUN, "", 62000, 62001, 1);
	add(ledger, GAP_OVERRUN, "", 122002, 122002, 2);
	add(ledger, GAP_OVERRUN, "", 100, 200, 3);
	add(ledger, GAP_OVERRUN, "", 122002, 122003, 4);
	EXPECT_LIST(ledger_each, ledger, "overrun 1000-62001 13;queue a 1400-1500 5;queue b 1500-1600 2;"
	            "unreachable a 1500-1700 3;overrun 122002-122002 2;overrun 100-200 3;overrun 122002-122003 4;");
	EXPECT_LIST(ledger_totals, ledger,
	            "overrun 100-122003 22;queue a 1400-1500 5;queue b 1500-1600 2;unreachable a 1500-1700 3;");
	CU_ASSERT_EQUAL(ledger_changes(ledger), 10);
	ledger_free(ledger);
}

static void
test_sum(void)
{
	struct ledger *ledger = begin(NULL);
	struct gap gap = gap_of(GAP_GONE, "", 50, 60, 2), sum;

	CU_ASSERT_FALSE(ledger_sum(ledger, ~0u, "", &sum));
	CU_ASSERT_EQUAL(sum.last, 0);
	gap.packets = 10;
	gap.octets = 1000;
	ledger_add(ledger, &gap);
	gap = gap_of(GAP_AWAY, "", 20, 30, 0);
	gap.unknown = true;
	ledger_add(ledger, &gap);
	add(ledger, GAP_POOL, "", 1, 99, 9);
	add(ledger, GAP_QUEUE, "a", 5, 6, 7);
	CU_ASSERT_TRUE(ledger_sum(ledger, 1 << GAP_GONE | 1 << GAP_OVERRUN, "", &sum));
	CU_ASSERT_FALSE(sum.unknown);
	CU_ASSERT_TRUE(ledger_sum(ledger, 1 << GAP_GONE | 1 << GAP_AWAY, "", &sum));
	CU_ASSERT_EQUAL(sum.first, 20);
	CU_ASSERT_EQUAL(sum.last, 60);
	CU_ASSERT_EQUAL(sum.flows, 2);
	CU_ASSERT_EQUAL(sum.packets, 10);
	CU_ASSERT_EQUAL(sum.octets, 1000);
	CU_ASSERT_TRUE(sum.unknown);
	CU_ASSERT_FALSE(ledger_sum(ledger, 1 << GAP_OVERRUN | 1 << GAP_QUEUE, "", &sum));
	CU_ASSERT_FALSE(ledger_sum(ledger, ~0u, "b", &sum));
	CU_ASSERT_TRUE(ledger_sum(ledger, 1 << GAP_QUEUE, "a", &sum));
	CU_ASSERT_EQUAL(sum.flows, 7);
	ledger_free(ledger);
}

/* The oldest entries go; a gap that goes on while others come and go stays one as long as it is remembered. */
static void
test_many(void)
{
	struct ledger *ledger = begin(NULL);
	g_autoptr(GString) expected = g_string_new(NULL);

	for (unsigned i = 0; i < 100; i++) {
		g_autofree char *name = g_strdup_printf("c%u", i);
		add(ledger, GAP_QUEUE, name, i, i, i);
		if (i >= 100 - LEDGER_LAST)
			g_string_append_printf(expected, "queue c%u %u-%u %u;", i, i, i, i);
	}
	EXPECT_LIST(ledger_each, ledger, expected->str);
	ledger_free(ledger);
}

/* With no room for another total the collector that was quiet longest goes, never what is not one collector's. */
static void
test_many_totals(void)
{
	struct ledger *ledger = begin(NULL);
	struct gap sum;

	add(ledger, GAP_OVERRUN, "", 1, 1, 1);
	for (unsigned i = 0; i < LEDGER_TOTALS; i++) {
		g_autofree char *name = g_strdup_printf("c%u", i);
		add(ledger, GAP_QUEUE, name, 1000 - i, 2000 - i, i);
	}
	CU_ASSERT_TRUE(ledger_sum(ledger, 1 << GAP_OVERRUN, "", &sum));
	CU_ASSERT_FALSE(ledger_sum(ledger, 1 << GAP_QUEUE, "c254", &sum));
	CU_ASSERT_TRUE(ledger_sum(ledger, 1 << GAP_QUEUE, "c253", &sum));
	CU_ASSERT_TRUE(ledger_sum(ledger, 1 << GAP_QUEUE, "c255", &sum));
	CU_ASSERT_EQUAL(sum.flows, 255);
	ledger_free(ledger);
}

static void
test_log(void)
{
	struct ledger *ledger = begin(NULL);

	add(ledger, GAP_QUEUE, "a", 10, 20, 1);
	EXPECT_LINE(0, "collector a: its queue was full; lost 1 flow record");
	for (unsigned i = 0; i < 100; i++) {
		now += 500000;
		add(ledger, GAP_QUEUE, "a", 30, 40, 3);
		ledger_tick(ledger);
	}
	CU_ASSERT_EQUAL(lines->len, 1);
	/* Another collector is another matter. */
	add(ledger, GAP_QUEUE, "b", 30, 40, 3);
	CU_ASSERT_EQUAL(lines->len, 2);
	now = 61000000 - 1;
	ledger_tick(ledger);
	CU_ASSERT_EQUAL(lines->len, 2);
	now++;
	ledger_tick(ledger);
	EXPECT_LINE(2, "collector a: its queue was full; lost 300 flow records");
	ledger_tick(ledger);
	CU_ASSERT_EQUAL(lines->len, 3);
	add(ledger, GAP_QUEUE, "a", 50, 50, 2);
	CU_ASSERT_EQUAL(lines->len, 3);
	ledger_free(ledger);
	EXPECT_LINE(3, "collector a: its queue was full; lost 2 flow records");
	CU_ASSERT_EQUAL(lines->len, 4);
}

static void
test_text(void)
{
	struct gap gap = gap_of(GAP_OVERRUN, "", 0, 0, 12);

	for (unsigned kind = 0; kind < GAP_KINDS; kind++) {
		gap.kind = kind;
		g_autofree char *text = gap_text(&gap);
		CU_ASSERT_PTR_NOT_NULL(strstr(text, "12 flow"));
		CU_ASSERT_STRING_NOT_EQUAL(gap_name(kind), "?");
	}
	gap.kind = GAP_FUSE;
	gap.unknown = true;
	g_autofree char *least = gap_text(&gap);
	CU_ASSERT_PTR_NOT_NULL(strstr(least, "at least 12 flow ends"));
	gap.flows = 0;
	g_autofree char *unknown = gap_text(&gap);
	CU_ASSERT_PTR_NOT_NULL(strstr(unknown, "an unknown number of flow ends"));
	CU_ASSERT_STRING_EQUAL(gap_name(GAP_KINDS), "?");
}

/* A name that is too long is cut, and found again. */
static void
test_names(void)
{
	struct ledger *ledger = begin(NULL);
	struct gap gap = gap_of(GAP_QUEUE, "", 1, 2, 3);

	gap_set_collector(&gap, "0123456789012345678901234567890123456789");
	ledger_add(ledger, &gap);
	gap_set_collector(&gap, "012345678901234567890123456789\u00e4\u00e4");
	ledger_add(ledger, &gap);
	EXPECT_LIST(ledger_each, ledger,
	            "queue 0123456789012345678901234567890 1-2 3;queue 012345678901234567890123456789 1-2 3;");
	CU_ASSERT_TRUE(ledger_sum(ledger, 1 << GAP_QUEUE, "0123456789012345678901234567890123456789", &gap));
	CU_ASSERT_TRUE(ledger_sum(ledger, 1 << GAP_QUEUE, "012345678901234567890123456789\u00e4", &gap));
	CU_ASSERT_FALSE(ledger_sum(ledger, 1 << GAP_QUEUE, "01234567890123456789012345678", &gap));
	ledger_free(ledger);
}

/* Entries and totals go on in the same memory; what the log has said does not. */
static void
test_survive(void)
{
	g_autofree struct ledger_memory *memory = g_new0(struct ledger_memory, 1);
	struct ledger *ledger = begin(memory);

	add(ledger, GAP_FUSE, "", 1000, 2000, 5);
	add(ledger, GAP_QUEUE, "a", 1000, 2000, 6);
	ledger_free(ledger);
	ledger = begin(memory);
	CU_ASSERT_EQUAL(ledger_changes(ledger), 0);
	add(ledger, GAP_FUSE, "", 3000, 4000, 1);
	CU_ASSERT_EQUAL(lines->len, 1);
	EXPECT_LIST(ledger_each, ledger, "fuse 1000-4000 6;queue a 1000-2000 6;");
	EXPECT_LIST(ledger_totals, ledger, "fuse 1000-4000 6;queue a 1000-2000 6;");
	ledger_free(ledger);
}

/* Memory in which somebody has written makes no sense and is begun anew. */
static void
test_damaged(void)
{
	for (unsigned i = 0; i < 5; i++) {
		g_autofree struct ledger_memory *memory = g_new0(struct ledger_memory, 1);
		struct ledger *ledger = begin(memory);
		add(ledger, GAP_QUEUE, "a", 1, 2, 3);
		ledger_free(ledger);
		if (i == 0)
			memory->totals = LEDGER_TOTALS + 1;
		else if (i == 1)
			memory->total[0].kind = GAP_KINDS;
		else if (i == 2)
			memset(memory->total[0].collector, 'x', sizeof memory->total[0].collector);
		else if (i == 3)
			memory->entry[0].kind = 0xff;
		else
			strcpy(memory->entry[0].collector, "\xff");
		ledger = begin(memory);
		EXPECT_LIST(ledger_each, ledger, "");
		EXPECT_LIST(ledger_totals, ledger, "");
		add(ledger, GAP_QUEUE, "a", 1, 2, 3);
		EXPECT_LIST(ledger_each, ledger, "queue a 1-2 3;");
		ledger_free(ledger);
	}
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "gaps that are one", test_merge },
		{ "sums", test_sum },
		{ "many entries", test_many },
		{ "many totals", test_many_totals },
		{ "lines in the log", test_log },
		{ "sentences", test_text },
		{ "long names", test_names },
		{ "memory that survives", test_survive },
		{ "memory that is damaged", test_damaged },
		CU_TEST_INFO_NULL,
	};

	lines = g_ptr_array_new_with_free_func(g_free);
	g_log_set_writer_func(take_line, NULL, NULL);
	return run_suite("ledger", tests);
}
