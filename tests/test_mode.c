/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Which mode follows from which signs: every way NetBird can run, and what is seen of it. */

#include "enrich/mode.h"

#include <glib.h>
#include <stdio.h>
#include <string.h>

#include "suite.h"

static const struct row {
	struct mesh_signs signs;    /* link, rules, client, kernel, marks */
	enum mode mode;
} rows[] = {
	/* Kernel mode, with and without a client that says so, with rules switched off, and without any NetBird. */
	{ { MESH_LINK_WIREGUARD, MESH_YES, true, MESH_YES, true }, MODE_KERNEL },
	{ { MESH_LINK_WIREGUARD, MESH_NO, true, MESH_YES, false }, MODE_KERNEL },
	{ { MESH_LINK_WIREGUARD, MESH_UNKNOWN, false, MESH_UNKNOWN, false }, MODE_KERNEL },
	/* wireguard-go with NetBird's rules in the kernel. */
	{ { MESH_LINK_TUN, MESH_YES, true, MESH_NO, true }, MODE_TUN_FIREWALL },
	{ { MESH_LINK_TUN, MESH_YES, true, MESH_NO, false }, MODE_TUN_FIREWALL },
	{ { MESH_LINK_TUN, MESH_YES, false, MESH_UNKNOWN, false }, MODE_TUN_FIREWALL },
	/* Rules in a firewall that cannot be read leave their marks. */
	{ { MESH_LINK_TUN, MESH_UNKNOWN, true, MESH_NO, true }, MODE_TUN_FIREWALL },
	{ { MESH_LINK_TUN, MESH_NO, true, MESH_NO, true }, MODE_TUN_FIREWALL },
	{ { MESH_LINK_TUN, MESH_UNKNOWN, true, MESH_NO, false }, MODE_TUN_UNCLEAR },
	/* A router in its own process. */
	{ { MESH_LINK_TUN, MESH_NO, true, MESH_NO, false }, MODE_TUN_ROUTER },
	/* A mesh that is not NetBird's. */
	{ { MESH_LINK_TUN, MESH_NO, false, MESH_UNKNOWN, false }, MODE_TUN },
	{ { MESH_LINK_TUN, MESH_UNKNOWN, false, MESH_UNKNOWN, false }, MODE_TUN },
	{ { MESH_LINK_OTHER, MESH_NO, false, MESH_UNKNOWN, false }, MODE_LINK },
	{ { MESH_LINK_OTHER, MESH_YES, true, MESH_YES, true }, MODE_LINK },
	/* Without an interface. */
	{ { MESH_LINK_NONE, MESH_NO, true, MESH_NO, false }, MODE_NETSTACK },
	{ { MESH_LINK_NONE, MESH_UNKNOWN, true, MESH_NO, false }, MODE_NETSTACK },
	{ { MESH_LINK_NONE, MESH_NO, false, MESH_UNKNOWN, false }, MODE_NO_MESH },
	{ { MESH_LINK_NONE, MESH_YES, false, MESH_UNKNOWN, false }, MODE_NO_MESH },
	/* NetBird under another interface's name. */
	{ { MESH_LINK_NONE, MESH_YES, true, MESH_YES, true }, MODE_WRONG_INTERFACE },
	{ { MESH_LINK_NONE, MESH_YES, true, MESH_NO, false }, MODE_WRONG_INTERFACE },
	{ { MESH_LINK_NONE, MESH_NO, true, MESH_NO, true }, MODE_WRONG_INTERFACE },
	{ { MESH_LINK_NONE, MESH_NO, true, MESH_YES, false }, MODE_WRONG_INTERFACE },
	{ { MESH_LINK_NONE, MESH_NO, true, MESH_UNKNOWN, false }, MODE_WRONG_INTERFACE },
};

/* ---- tests ---- */

static void
test_rows(void)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
		const enum mode shown = mode_of(&rows[i].signs);
		CU_ASSERT_EQUAL(shown, rows[i].mode);
		if (shown != rows[i].mode)
			printf("\n    row %u: expected %s shown %s", i, mode_word(rows[i].mode), mode_word(shown));
	}
}

/* Every sign together with every other has some mode, and each mode is met. */
static void
test_all(void)
{
	bool met[MODES] = { false };

	for (unsigned i = 0; i < 4 * 3 * 2 * 3 * 2; i++) {
		const struct mesh_signs signs = { i % 4, i / 4 % 3, i / 12 % 2, i / 24 % 3, i / 72 };
		const enum mode mode = mode_of(&signs);
		CU_ASSERT_TRUE_FATAL(mode < MODES);
		met[mode] = true;
	}
	for (unsigned mode = 0; mode < MODES; mode++)
		CU_ASSERT_TRUE(met[mode]);
}

static void
test_sentences(void)
{
	static const enum mode blind[] = { MODE_NO_MESH, MODE_WRONG_INTERFACE, MODE_TUN_ROUTER, MODE_NETSTACK };

	for (unsigned mode = 0; mode < MODES; mode++) {
		g_autofree char *sentence = mode_sentence(mode, "wt%d");
		bool expected = true;
		for (unsigned i = 0; i < G_N_ELEMENTS(blind); i++)
			expected &= blind[i] != mode;
		CU_ASSERT_EQUAL(mode_sees(mode), expected);
		CU_ASSERT_PTR_NOT_NULL(strstr(sentence, "wt%d"));
		CU_ASSERT_EQUAL(strstr(sentence, "cannot") != NULL || strstr(sentence, "can be seen") != NULL,
		                !expected || mode == MODE_TUN_UNCLEAR);
		for (unsigned other = 0; other < mode; other++)
			CU_ASSERT_STRING_NOT_EQUAL(mode_word(mode), mode_word(other));
	}
}

static CU_TestInfo tests[] = {
	{ "rows", test_rows },
	{ "all", test_all },
	{ "sentences", test_sentences },
	CU_TEST_INFO_NULL,
};

int
main(void)
{
	return run_suite("mode", tests);
}
