/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Numbers for what flows have in common. */

#include "encode/properties.h"

#include <string.h>

#include "encode/options.h"
#include "suite.h"

static uint64_t
find(struct properties *properties, uint32_t initiator, uint32_t responder, uint32_t policy, bool expected)
{
	const struct flow flow = { .initiator = initiator, .responder = responder, .policy = policy };
	bool fresh = !expected;
	const uint64_t number = properties_find(properties, &flow, &fresh);

	CU_ASSERT_EQUAL(fresh, expected);
	return number;
}

static void
test_numbers(void)
{
	struct properties *properties = properties_new();

	CU_ASSERT_EQUAL(find(properties, 0, 0, 0, false), 0);
	CU_ASSERT_EQUAL(find(properties, 1, 0, 0, true), 1);
	CU_ASSERT_EQUAL(find(properties, 0, 1, 0, true), 2);
	CU_ASSERT_EQUAL(find(properties, 0, 0, 1, true), 3);
	CU_ASSERT_EQUAL(find(properties, 1, 0, 0, false), 1);
	CU_ASSERT_EQUAL(find(properties, 0, 0, 1, false), 3);
	properties_forget(properties);
	CU_ASSERT_EQUAL(find(properties, 0, 0, 1, true), 4);
	CU_ASSERT_EQUAL(find(properties, 1, 0, 0, true), 5);
	properties_restart(properties);
	CU_ASSERT_EQUAL(find(properties, 1, 0, 0, true), 1);
	properties_free(properties);
}

/* More than the table holds: some are told again, none has the number of another. */
static void
test_many(void)
{
	struct properties *properties = properties_new();
	g_autoptr(GHashTable) seen = g_hash_table_new(g_direct_hash, g_direct_equal);
	const unsigned n = 200000;
	unsigned told = 0;

	for (unsigned pass = 0; pass < 2; pass++)
		for (unsigned i = 1; i <= n; i++) {
			const struct flow flow = { .initiator = i % 500, .responder = i / 500, .policy = 7 };
			bool fresh;
			const uint64_t number = properties_find(properties, &flow, &fresh);
			const gpointer known = g_hash_table_lookup(seen, GSIZE_TO_POINTER(number));
			if (fresh == !!known || (known && GPOINTER_TO_UINT(known) != i))
				CU_FAIL_FATAL("a number has two meanings");
			g_hash_table_insert(seen, GSIZE_TO_POINTER(number), GUINT_TO_POINTER(i));
			told += fresh;
		}
	CU_ASSERT_EQUAL(told, 2 * n);
	properties_free(properties);
}

static void
test_template(void)
{
	struct template template;
	unsigned strings = 0;

	properties_template(&template);
	CU_ASSERT_EQUAL(template.id, OPTIONS_PROPERTIES);
	CU_ASSERT_STRING_EQUAL(template.field[0]->name, "commonPropertiesId");
	for (unsigned i = 0; i < n_fields; i++)
		strings += fields[i].octets == FIELD_VARIABLE;
	CU_ASSERT_EQUAL(template.n_fields, 1 + strings);
	for (unsigned i = 1; i < template.n_fields; i++)
		CU_ASSERT_EQUAL(template.field[i]->octets, FIELD_VARIABLE);
}

int
main(void)
{
	static CU_TestInfo tests[] = {
		{ "numbers", test_numbers },
		{ "more than there is room for", test_many },
		{ "the options template", test_template },
		CU_TEST_INFO_NULL,
	};

	return run_suite("properties", tests);
}
