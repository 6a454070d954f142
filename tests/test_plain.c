/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "plain.h"

#include <string.h>

#include <glib.h>

#include "suite.h"

static const struct {
	const char *text;
	size_t size;
	const char *plain;
} rows[] = {
	{ "wt0", 32, "wt0" },
	{ "", 32, "-" },
	{ "\n\x1b\x7f", 32, "-" },
	{ "a\x1b[31mb\r\n", 32, "a[31mb" },
	{ "caf\xc3\xa9", 32, "caf\xc3\xa9" },
	{ "c1 \xc2\x9b here", 32, "c1  here" },
	{ "\xff" "a\xc3", 32, "\xef\xbf\xbd" "a\xef\xbf\xbd" },
	{ "12345678", 9, "12345678" },
	{ "12345678", 8, "1234567" },
	{ "123456\xc3\xa9", 9, "123456\xc3\xa9" },
	{ "123456\xc3\xa9", 8, "123456" },
	{ "12345\xf0\x9f\x90\xa7", 9, "12345" },
	{ "\xf0\x9f\x90\xa7", 4, "-" },
};

static void
test_rows(void)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
		char to[40];
		memset(to, 'x', sizeof to);
		plain_copy(to, rows[i].size, rows[i].text);
		CU_ASSERT_STRING_EQUAL(to, rows[i].plain);
		for (size_t at = strlen(rows[i].plain); at < rows[i].size; at++)
			CU_ASSERT_EQUAL(to[at], 0);
		CU_ASSERT_EQUAL(to[rows[i].size], 'x');
	}
}

/* Whatever comes, what goes is text. */
static void
test_any_octets(void)
{
	g_autoptr(GRand) random = g_rand_new_with_seed(1);

	for (unsigned i = 0; i < 20000; i++) {
		char text[24] = { 0 }, to[16];
		for (unsigned at = 0; at < sizeof text - 1; at++)
			text[at] = g_rand_int_range(random, 0, i % 2 ? 256 : 40);
		plain_copy(to, sizeof to, text);
		CU_ASSERT_TRUE(g_utf8_validate(to, -1, NULL) && *to && !to[sizeof to - 1]);
		for (const char *at = to; *at; at = g_utf8_next_char(at))
			CU_ASSERT_FALSE(g_unichar_iscntrl(g_utf8_get_char(at)));
	}
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "what becomes of it", test_rows },
		{ "any octets", test_any_octets },
		CU_TEST_INFO_NULL,
	};

	return run_suite("plain", tests);
}
