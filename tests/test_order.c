/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "suite.h"

#include <arpa/inet.h>
#include <string.h>

#include "audit/order.h"
#include "error.h"

static const struct name name[] = { { "-", 1 }, { "alice", 5 }, { "bob", 3 }, { "al", 2 } };
static const struct identity identity[] = {
	{ { 0 } }, { { [WORD_PEER] = 1 } }, { { [WORD_PEER] = 2 } }, { { [WORD_PEER] = 3 } },
};
static const struct names names = {
	.name = name, .count = G_N_ELEMENTS(name), .identity = identity, .n_identities = G_N_ELEMENTS(identity),
};

static struct order *
make_order(const char *by, uint64_t limit, size_t memory)
{
	g_autoptr(GError) error = NULL;
	struct order *order = order_new(&(struct order_options){ by, limit, memory }, &error);

	CU_ASSERT_PTR_NOT_NULL_FATAL(order);
	return order;
}

static void
add(struct order *order, const struct flow *flow)
{
	g_autoptr(GError) error = NULL;

	CU_ASSERT_TRUE_FATAL(order_add(order, &(struct print_flow){ .flow = flow, .names = &names }, &error));
}

/* A different one for each i below 2^16, in no order. */
static uint64_t
mixed(uint64_t i)
{
	return (i * 40503 + 12345) % 65536;
}

static void
check_numbers(const char *by, uint64_t n, uint64_t limit, size_t memory)
{
	const bool descending = strchr(by, ':');
	g_autoptr(order_t) order = make_order(by, limit, memory);
	g_autoptr(GError) error = NULL;
	struct copy_view view;
	uint64_t shown = 0, before = descending ? UINT64_MAX : 0;

	for (uint64_t i = 0; i < n; i++) {
		const struct flow flow = { .original.octets = mixed(i), .reply.octets = 1, .flow_id = i, .initiator = i % 4,
		                           .family = 4 };
		add(order, &flow);
	}
	while (order_next(order, &view, &error)) {
		const uint64_t octets = view.flow.flow->original.octets;
		CU_ASSERT_FATAL(descending ? octets < before : shown == 0 || octets > before);
		CU_ASSERT_EQUAL(octets, mixed(view.flow.flow->flow_id));
		CU_ASSERT_EQUAL(view.identity[1].word[WORD_PEER] != 0, view.flow.flow->flow_id % 4 != 0);
		before = octets;
		shown++;
	}
	CU_ASSERT_PTR_NULL(error);
	CU_ASSERT_EQUAL(shown, limit ? MIN(n, limit) : n);
	/* Of all there are the least ones were kept, or the greatest. */
	if (limit && n == 65536)
		CU_ASSERT_EQUAL(before, descending ? 65536 - shown : shown - 1);
}

static void
test_numbers(void)
{
	static const char *const orders[] = { "bytes", "bytes:desc" };

	for (unsigned i = 0; i < G_N_ELEMENTS(orders); i++) {
		check_numbers(orders[i], 1000, 0, 0);
		check_numbers(orders[i], 65536, 10, 0);
		check_numbers(orders[i], 65536, 1, 0);
		check_numbers(orders[i], 5, 10, 0);
		check_numbers(orders[i], 0, 10, 0);
		check_numbers(orders[i], 0, 0, 0);
	}
}

/* In some hundred pieces, of which none fits one look into the file. */
static void
test_file(void)
{
	check_numbers("octets_from_initiator", 65536, 0, 200000);
	check_numbers("sent:desc", 65536, 0, 20 << 20);
	check_numbers("bytes:desc", 65536, 200000, 1 << 20);
	check_numbers("bytes", 3, 0, 1);
}

static void
check_texts(const char *by, uint64_t limit, size_t memory, const char *expected)
{
	static const char *const addresses[] = { "10.0.0.10", "10.0.0.9", "9.255.0.1", "2001:db8::1", "::2", "10.0.0.9" };
	g_autoptr(order_t) order = make_order(by, limit, memory);
	g_autoptr(GString) found = g_string_new(NULL);
	g_autoptr(GError) error = NULL;
	struct copy_view view;

	for (unsigned i = 0; i < G_N_ELEMENTS(addresses); i++) {
		struct flow flow = { .family = strchr(addresses[i], ':') ? 6 : 4, .initiator = i % 4, .flow_id = i };
		inet_pton(flow.family == 6 ? AF_INET6 : AF_INET, addresses[i], &flow.original.source);
		add(order, &flow);
	}
	while (order_next(order, &view, &error))
		g_string_append_printf(found, "%u", (unsigned)view.flow.flow->flow_id);
	CU_ASSERT_STRING_EQUAL(found->str, expected);
}

/* Who has no such value comes last both ways, and who is alike stays as they came. */
static void
test_texts(void)
{
	for (unsigned limit = 0; limit <= 6; limit += 6)
		for (size_t memory = 0; memory <= 1; memory++) {
			check_texts("source", limit, memory, "215043");
			check_texts("source:desc", limit, memory, "340152");
			check_texts("initiator", limit, memory, "315204");
			check_texts("initiator:desc", limit, memory, "215304");
			check_texts("zone", limit, memory, "012345");
			check_texts("zone:desc", limit, memory, "012345");
		}
	check_texts("initiator", 3, 0, "315");
	check_texts("initiator:desc", 5, 0, "21530");
}

static void
test_unknown(void)
{
	g_autoptr(order_t) order = make_order("bytes:desc", 0, 0);
	g_autoptr(GError) error = NULL;
	const struct flow blind = { .gaps = GAP_NO_COUNTERS, .family = 4 }, small = { .flow_id = 1, .family = 4 };
	struct copy_view view;

	add(order, &blind);
	add(order, &small);
	CU_ASSERT_TRUE_FATAL(order_next(order, &view, &error));
	CU_ASSERT_EQUAL(view.flow.flow->flow_id, 1);
	CU_ASSERT_TRUE_FATAL(order_next(order, &view, &error));
	CU_ASSERT_EQUAL(view.flow.flow->flow_id, 0);
}

static void
test_errors(void)
{
	static const char *const wrong[] = { "", "colour", "bytes:up", "bytes:", ":desc", "bytes:desc:desc" };

	for (unsigned i = 0; i < G_N_ELEMENTS(wrong); i++) {
		g_autoptr(GError) error = NULL;
		g_autofree char *start = g_strdup_printf("no order \"%s\": bytes, ", wrong[i]);
		CU_ASSERT_PTR_NULL_FATAL(order_new(&(struct order_options){ wrong[i], 0, 0 }, &error));
		CU_ASSERT_EQUAL(error->code, EX_USAGE);
		CU_ASSERT(g_str_has_prefix(error->message, start));
	}
}

/* The folder for the file is not there. */
static void
test_no_folder(void)
{
	g_autoptr(GError) error = NULL;
	const struct flow flow = { .family = 4 };

	g_setenv("TMPDIR", "/nowhere", true);
	CU_ASSERT_STRING_EQUAL_FATAL(g_get_tmp_dir(), "/nowhere");
	g_autoptr(order_t) order = make_order("bytes", 0, 1);
	CU_ASSERT_FALSE_FATAL(order_add(order, &(struct print_flow){ .flow = &flow, .names = &names }, &error));
	CU_ASSERT_EQUAL(error->code, EX_IOERR);
	CU_ASSERT_PTR_NOT_NULL(strstr(error->message, "temporary file in /nowhere: cannot be made: No such file"));
}

static CU_TestInfo tests[] = {
	{ "numbers", test_numbers },
	{ "more than memory", test_file },
	{ "texts and addresses", test_texts },
	{ "no counters", test_unknown },
	{ "errors", test_errors },
	CU_TEST_INFO_NULL,
};

static CU_TestInfo folder[] = {
	{ "no folder for the file", test_no_folder },
	CU_TEST_INFO_NULL,
};

/* TMPDIR is looked up once in the life of a program. */
int
main(int argc, char **argv G_GNUC_UNUSED)
{
	return argc > 1 ? run_suite("order without a folder", folder) : run_suite("order", tests);
}
