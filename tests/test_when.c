/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "suite.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "audit/when.h"
#include "error.h"

#define BERLIN "CET-1CEST,M3.5.0,M10.5.0/3"
#define NOW    UINT64_C(1795442602117)          /* 2026-11-23 14:03:22.117 UTC, a Monday */
#define DAY    UINT64_C(86400000)

static void
set_zone(const char *zone)
{
	g_setenv("TZ", zone, true);
	tzset();
}

/* What is written, and which time it is, as seconds of UTC and ms. */
struct row {
	const char *text;
	const char *first;
	uint64_t span;
};

static uint64_t
ms_of(const char *utc)
{
	struct tm tm = { 0 };
	unsigned ms = 0;
	const char *rest = strptime(utc, "%Y-%m-%d %H:%M:%S", &tm);

	CU_ASSERT_PTR_NOT_NULL_FATAL(rest);
	if (*rest)
		sscanf(rest, ".%3u", &ms);
	return (uint64_t)timegm(&tm) * 1000 + ms;
}

static void
check_rows(const struct row *rows, size_t n, uint64_t now)
{
	for (size_t i = 0; i < n; i++) {
		g_autoptr(GError) error = NULL;
		struct when when = { 0 };
		bool right = when_parse(rows[i].text, now, &when, &error) && when.first == ms_of(rows[i].first)
		             && when.last == when.first + rows[i].span - 1;
		if (!right)
			printf("\"%s\": %s %" G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT "\n", rows[i].text,
			       error ? error->message : "", when.first, when.last);
		CU_ASSERT(right);
	}
}

static void
test_written(void)
{
	static const struct row rows[] = {
		{ "2026-11-20 14:03:22", "2026-11-20 14:03:22", 1000 },
		{ "2026-11-20 14:03:22.117", "2026-11-20 14:03:22.117", 1 },
		{ "2026-11-20 14:03:22.1", "2026-11-20 14:03:22.100", 100 },
		{ "2026-11-20 14:03:22.117999", "2026-11-20 14:03:22.117", 1 },
		{ "2026-11-20T14:03:22Z", "2026-11-20 14:03:22", 1000 },
		{ "2026-11-20t14:03:22.117z", "2026-11-20 14:03:22.117", 1 },
		{ "2026-11-20T14:03:22+01:00", "2026-11-20 13:03:22", 1000 },
		{ "2026-11-20 14:03 -0530", "2026-11-20 19:33:00", 60000 },
		{ "2026-11-20 14:03+01", "2026-11-20 13:03:00", 60000 },
		{ "2026-11-20 14:03 UTC", "2026-11-20 14:03:00", 60000 },
		{ "2026-11-20", "2026-11-20 00:00:00", DAY },
		{ "2028-02-29", "2028-02-29 00:00:00", DAY },
		{ "14:03", "2026-11-23 14:03:00", 60000 },
		{ "14:03:22", "2026-11-23 14:03:22", 1000 },
		{ "14:04", "2026-11-22 14:04:00", 60000 },
		{ "9:05", "2026-11-23 09:05:00", 60000 },
		{ "15:04+01:00", "2026-11-22 14:04:00", 60000 },
		{ "01:30+14:00", "2026-11-23 11:30:00", 60000 },
		{ "today", "2026-11-23 00:00:00", DAY },
		{ "today 23:00", "2026-11-23 23:00:00", 60000 },
		{ "yesterday", "2026-11-22 00:00:00", DAY },
		{ "Yesterday 14:03:22", "2026-11-22 14:03:22", 1000 },
		{ " now ", "2026-11-23 14:03:22.117", 1 },
		{ "2h ago", "2026-11-23 12:03:22", 1000 },
		{ "90s ago", "2026-11-23 14:01:52", 1000 },
		{ "1h 30m ago", "2026-11-23 12:33:22", 1000 },
		{ "1h30min ago", "2026-11-23 12:33:22", 1000 },
		{ "3 days ago", "2026-11-20 14:03:22", 1000 },
		{ "1w ago", "2026-11-16 14:03:22", 1000 },
		{ "17ms ago", "2026-11-23 14:03:22.100", 1 },
		{ "1795442602", "2026-11-23 14:03:22", 1000 },
		{ "1795442602.5", "2026-11-23 14:03:22.500", 100 },
		{ "1795442602117", "2026-11-23 14:03:22.117", 1 },
	};

	set_zone("UTC");
	check_rows(rows, G_N_ELEMENTS(rows), NOW);
}

static void
test_local(void)
{
	static const struct row rows[] = {
		{ "2026-11-20 14:03:22", "2026-11-20 13:03:22", 1000 },
		{ "2026-07-20 14:03", "2026-07-20 12:03:00", 60000 },
		{ "2026-07-20 14:03Z", "2026-07-20 14:03:00", 60000 },
		{ "15:03", "2026-11-23 14:03:00", 60000 },
		{ "15:04", "2026-11-22 14:04:00", 60000 },
		{ "today", "2026-11-22 23:00:00", DAY },
		{ "2026-10-25", "2026-10-24 22:00:00", DAY + 3600000 },
		{ "2026-03-29", "2026-03-28 23:00:00", DAY - 3600000 },
		{ "2026-10-25 02:30 +02:00", "2026-10-25 00:30:00", 60000 },
		{ "2026-10-25 02:30 +01:00", "2026-10-25 01:30:00", 60000 },
		{ "2026-10-25 03:00", "2026-10-25 02:00:00", 60000 },
		{ "2026-10-25 01:59:59", "2026-10-24 23:59:59", 1000 },
	};
	/* 00:30 on the first, when yesterday is in another month, and then in another year. */
	static const struct row first[] = {
		{ "14:03", "2026-10-31 13:03:00", 60000 },
		{ "yesterday 23:00", "2026-10-31 22:00:00", 60000 },
		{ "00:15", "2026-10-31 23:15:00", 60000 },
	};
	static const struct row year[] = { { "yesterday", "2026-12-30 23:00:00", DAY } };

	set_zone(BERLIN);
	check_rows(rows, G_N_ELEMENTS(rows), NOW);
	check_rows(first, G_N_ELEMENTS(first), ms_of("2026-10-31 23:30:00"));
	check_rows(year, G_N_ELEMENTS(year), ms_of("2026-12-31 23:30:00"));
}

/* What clocks show twice or never is nobody's to guess. */
static void
test_changes(void)
{
	static const struct {
		const char *text;
		const char *what;
	} rows[] = {
		{ "2026-10-25 02:30", "clocks showed this twice" },
		{ "2026-10-25 02:00:00", "clocks showed this twice" },
		{ "2026-03-29 02:30", "clocks never showed this" },
	};

	set_zone(BERLIN);
	for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
		g_autoptr(GError) error = NULL;
		struct when when;
		CU_ASSERT_FALSE_FATAL(when_parse(rows[i].text, NOW, &when, &error));
		CU_ASSERT_PTR_NOT_NULL(strstr(error->message, rows[i].what));
	}
}

/* Without a day it is the last one on which clocks showed it. */
static void
test_changed_today(void)
{
	static const struct row rows[] = { { "02:30", "2026-03-28 01:30:00", 60000 } };
	g_autoptr(GError) error = NULL;
	struct when when;

	set_zone(BERLIN);
	check_rows(rows, G_N_ELEMENTS(rows), ms_of("2026-03-29 12:00:00"));
	CU_ASSERT_FALSE_FATAL(when_parse("02:30", ms_of("2026-10-25 12:00:00"), &when, &error));
	CU_ASSERT_PTR_NOT_NULL(strstr(error->message, "twice"));
}

static void
test_errors(void)
{
	static const char *const texts[] = {
		"", "later", "14", "14:60", "24:00", "14:3", "14:03:60", "14:03:22.", "2026-13-01", "2026-02-29", "2026-1-1",
		"1969-12-31", "2026-11-20 14", "2026-11-20x14:03", "14:03 CET", "14:03+25:00", "14:03+1:00", "14:03Zx", "2h",
		"h ago", "2x ago", "2h agos", "100000w ago", "9999999999w ago", "12345678", "17954426021170000", "999999999999999",
		"1795442602.", "2026-11-20 14:03:22 14:03:22", "-2h ago", "ago", "1970-01-01 00:00+14:00", "14:03\xff",
	};

	set_zone("UTC");
	for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
		g_autoptr(GError) error = NULL;
		struct when when;
		bool refused = !when_parse(texts[i], NOW, &when, &error);
		if (!refused)
			printf("\"%s\" is %" G_GUINT64_FORMAT "\n", texts[i], when.first);
		CU_ASSERT_FATAL(refused);
		CU_ASSERT_EQUAL(error->code, EX_USAGE);
		CU_ASSERT_PTR_NOT_NULL(strstr(error->message, "no time: write 14:03"));
		CU_ASSERT(g_utf8_validate(error->message, -1, NULL));
	}
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "as people write it", test_written },
		{ "local", test_local },
		{ "clocks that are set", test_changes },
		{ "clocks that were set today", test_changed_today },
		{ "errors", test_errors },
		CU_TEST_INFO_NULL,
	};

	return run_suite("when", tests);
}
