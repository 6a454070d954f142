/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "suite.h"

#include <stdlib.h>
#include <string.h>

#include "audit/copy.h"

static const struct name name[] = {
	{ "-", 1 }, { "alice", 5 }, { "crm-db", 6 }, { "all of them", 11 }, { "büro", 5 },
};
static const struct identity identity[] = {
	{ { 0 } }, { { [WORD_PEER] = 1, [WORD_USER] = 4, [WORD_DOMAIN] = 2 } }, { { [WORD_RESOURCE] = 2, [WORD_VIA] = 4 } },
};
static const struct names names = {
	.name = name, .count = G_N_ELEMENTS(name), .identity = identity, .n_identities = G_N_ELEMENTS(identity),
};

static void
print(const struct print_flow *flow, GString *out)
{
	g_autoptr(printer_t) csv = printer_new(PRINT_CSV);
	g_autoptr(printer_t) table = printer_new(PRINT_TABLE);

	printer_flow(csv, flow, out);
	printer_flow(table, flow, out);
}

/* The copy, moved to another place, says what the flow says. */
static void
check_copy(const struct print_flow *flow)
{
	struct copy *copy = copy_new(flow);
	g_autofree struct copy *moved = g_memdup2(copy, copy->octets);
	g_autoptr(GString) before = g_string_new(NULL), after = g_string_new(NULL);
	struct copy_view view;

	CU_ASSERT_EQUAL(copy->octets % 8, 0);
	memset(copy, 0xee, copy->octets);
	g_free(copy);
	copy_view(moved, &view);
	print(flow, before);
	print(&view.flow, after);
	CU_ASSERT_STRING_EQUAL(after->str, before->str);
}

static void
test_words(void)
{
	const struct flow flow = { .family = 4, .protocol = 6, .state = 7, .initiator = 1, .responder = 2, .policy = 3,
	                           .flow_id = 77, .original = { .octets = 5, .ingress = 2 } };

	check_copy(&(struct print_flow){ &flow, &names, "wt0", "eth0", "router-a" });
	check_copy(&(struct print_flow){ &flow, &names, NULL, NULL, NULL });
	check_copy(&(struct print_flow){ &flow, &names, NULL, "eth0", NULL });
}

static void
test_nobody(void)
{
	const struct flow nobody = { .family = 6, .protocol = 17 };
	const struct flow wrong = { .family = 4, .protocol = 6, .initiator = 99, .responder = UINT32_MAX, .policy = 77 };

	check_copy(&(struct print_flow){ &nobody, &names, NULL, NULL, NULL });
	check_copy(&(struct print_flow){ &wrong, &names, NULL, NULL, NULL });
}

static void
test_long(void)
{
	g_autofree char *text = g_strnfill(70000, 'x');
	const struct flow flow = { .family = 4 };
	g_autofree struct copy *copy = copy_new(&(struct print_flow){ &flow, &names, text, "", NULL });
	struct copy_view view;

	copy_view(copy, &view);
	CU_ASSERT_EQUAL(strlen(view.flow.ingress), 65535);
	CU_ASSERT_PTR_NULL(view.flow.egress);
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "words", test_words },
		{ "nobody", test_nobody },
		{ "long words", test_long },
		CU_TEST_INFO_NULL,
	};

	return run_suite("copy", tests);
}
