/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The kernel's count of early drops, and when a rise of it counts. */

#include "source/pressure.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "suite.h"

static const uint64_t millisecond = 1000000;
static const uint64_t second = 1000000000;

/* Puts a table like the kernel's, of two processors, in the place of the one before. */
static void
set_table(const struct pressure *pressure, uint32_t first, uint32_t other)
{
	char table[512];
	int length = snprintf(table, sizeof table, "entries  clashres drop early_drop icmp_error  expect_new\n"
	                      "00000011  00000000 00000005 %08x 00000007  00000000\n"
	                      "00000011  00000000 00000006 %08x 00000008  00000000\n", first, other);

	CU_ASSERT_EQUAL(ftruncate(pressure->fd, 0), 0);
	CU_ASSERT_EQUAL(pwrite(pressure->fd, table, length, 0), length);
}

static struct pressure
open_table(uint32_t first, uint32_t other)
{
	struct pressure pressure = { .fd = memfd_create("table", MFD_CLOEXEC) };

	CU_ASSERT_TRUE_FATAL(pressure.fd >= 0);
	set_table(&pressure, first, other);
	return pressure;
}

static void
test_column(void)
{
	const char *table = "drop early_drop  last\n00000001 0000000a  00000100\n00000002 ffffffff  00000200\n";
	uint64_t sum;

	CU_ASSERT_TRUE(pressure_sum_column(table, "early_drop", &sum));
	CU_ASSERT_EQUAL(sum, 0x100000009);
	CU_ASSERT_TRUE(pressure_sum_column(table, "drop", &sum));
	CU_ASSERT_EQUAL(sum, 3);
	CU_ASSERT_TRUE(pressure_sum_column(table, "last", &sum));
	CU_ASSERT_EQUAL(sum, 0x300);
	CU_ASSERT_FALSE(pressure_sum_column(table, "early", &sum));
	CU_ASSERT_EQUAL(sum, 0);
	CU_ASSERT_FALSE(pressure_sum_column("", "drop", &sum));
	CU_ASSERT_TRUE(pressure_sum_column("drop", "drop", &sum));
	CU_ASSERT_EQUAL(sum, 0);
}

/* Batches come all the time: a rise counts for a second, and no longer. */
static void
test_watched(void)
{
	struct pressure pressure = open_table(3, 4);
	uint64_t now = 5 * second;

	CU_ASSERT_FALSE(pressure_rising(&pressure, now));
	for (unsigned i = 0; i < 20; i++)
		CU_ASSERT_FALSE(pressure_rising(&pressure, now += 100 * millisecond));
	set_table(&pressure, 3, 5);
	now += 200 * millisecond;
	pressure_look(&pressure, now);
	const uint64_t seen = now;
	CU_ASSERT_TRUE(pressure_rising(&pressure, now));
	for (; now < seen + 700 * millisecond; pressure_look(&pressure, now += 100 * millisecond))
		CU_ASSERT_TRUE(pressure_rising(&pressure, now));
	CU_ASSERT_FALSE(pressure_rising(&pressure, seen + 1001 * millisecond));
	set_table(&pressure, 4, 5);
	CU_ASSERT_TRUE(pressure_rising(&pressure, seen + 1301 * millisecond));
	pressure_close(&pressure);
}

/* A drop at 2 s says nothing of a flow that ends an hour later. */
static void
test_long_ago(void)
{
	struct pressure pressure = open_table(0, 0);

	pressure_look(&pressure, 1 * second);
	set_table(&pressure, 1, 0);
	CU_ASSERT_FALSE(pressure_rising(&pressure, 3601 * second));
	CU_ASSERT_FALSE(pressure_rising(&pressure, 3601 * second + 300 * millisecond));
	/* But the kernel may just have begun. */
	set_table(&pressure, 2, 0);
	CU_ASSERT_FALSE(pressure_rising(&pressure, 7200 * second));
	set_table(&pressure, 3, 0);
	CU_ASSERT_FALSE(pressure_rising(&pressure, 7200 * second + 199 * millisecond));
	CU_ASSERT_TRUE(pressure_rising(&pressure, 7200 * second + 200 * millisecond));
	pressure_close(&pressure);
}

/* However often it is asked. */
static void
test_looks(void)
{
	struct pressure pressure = open_table(1, 1);
	uint64_t last = 0;
	unsigned looks = 0;

	for (uint64_t now = second; now < 11 * second; now += millisecond) {
		set_table(&pressure, now / millisecond, 1);
		pressure_rising(&pressure, now);
		looks += pressure.early_drops != last;
		last = pressure.early_drops;
	}
	CU_ASSERT_EQUAL(looks, 50);
	pressure_close(&pressure);
}

static void
test_wrapped(void)
{
	struct pressure pressure = open_table(0xffffffff, 7);

	pressure_look(&pressure, 1 * second);
	set_table(&pressure, 0, 7);
	CU_ASSERT_TRUE(pressure_rising(&pressure, 1 * second + 300 * millisecond));
	pressure_close(&pressure);
}

/* A look that fails is none: it neither starts from zero nor makes the look before it younger. */
static void
test_failed(void)
{
	struct pressure pressure = open_table(9, 9);

	CU_ASSERT_EQUAL(ftruncate(pressure.fd, 0), 0);
	CU_ASSERT_FALSE(pressure_rising(&pressure, 1 * second));
	set_table(&pressure, 9, 9);
	CU_ASSERT_FALSE(pressure_rising(&pressure, 2 * second));
	CU_ASSERT_EQUAL(ftruncate(pressure.fd, 0), 0);
	CU_ASSERT_FALSE(pressure_rising(&pressure, 3 * second));
	set_table(&pressure, 9, 10);
	CU_ASSERT_FALSE(pressure_rising(&pressure, 3 * second + 300 * millisecond));
	pressure_close(&pressure);
	CU_ASSERT_EQUAL(pressure.fd, -1);
	CU_ASSERT_FALSE(pressure_rising(&pressure, 4 * second));
}

static void
test_kernel(void)
{
	struct pressure pressure;

	pressure_open(&pressure);
	if (pressure.fd < 0) {
		printf("SKIPPED (needs connection tracking and the right to look at it) ");
		return;
	}
	pressure_look(&pressure, 1 * second);
	CU_ASSERT_EQUAL(pressure.counted_at, 1 * second);
	pressure_close(&pressure);
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "a column's sum", test_column },
		{ "a rise counts for a second", test_watched },
		{ "a rise of long ago does not", test_long_ago },
		{ "five looks a second", test_looks },
		{ "a count that wraps", test_wrapped },
		{ "a look that fails", test_failed },
		{ "the kernel's own table", test_kernel },
		CU_TEST_INFO_NULL,
	};

	return run_suite("pressure", tests);
}
