/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Numbers for what flows have in common. */

#include "encode/properties.h"

#include <string.h>

#include "suite.h"

static uint64_t
find(struct properties *properties, enum properties_about about, uint32_t index, bool expected)
{
	const struct flow flow = { .initiator = about == PROPERTIES_INITIATOR ? index : 77,
	                           .responder = about == PROPERTIES_RESPONDER ? index : 77,
	                           .policy = about == PROPERTIES_POLICY ? index : 77 };
	bool fresh = !expected;
	const uint64_t number = properties_find(properties, &flow, about, &fresh);

	CU_ASSERT_EQUAL(fresh, expected);
	return number;
}

static void
test_numbers(void)
{
	struct properties *properties = properties_new();

	for (unsigned about = 0; about < PROPERTIES_KINDS; about++)
		CU_ASSERT_EQUAL(find(properties, about, 0, false), 0);
	CU_ASSERT_EQUAL(find(properties, PROPERTIES_INITIATOR, 1, true), 1);
	CU_ASSERT_EQUAL(find(properties, PROPERTIES_RESPONDER, 1, true), 2);
	CU_ASSERT_EQUAL(find(properties, PROPERTIES_POLICY, 1, true), 3);
	CU_ASSERT_EQUAL(find(properties, PROPERTIES_INITIATOR, 2, true), 4);
	CU_ASSERT_EQUAL(find(properties, PROPERTIES_INITIATOR, 1, false), 1);
	CU_ASSERT_EQUAL(find(properties, PROPERTIES_POLICY, 1, false), 3);
	properties_forget(properties);
	CU_ASSERT_EQUAL(find(properties, PROPERTIES_POLICY, 1, true), 5);
	CU_ASSERT_EQUAL(find(properties, PROPERTIES_INITIATOR, 1, true), 6);
	properties_restart(properties);
	CU_ASSERT_EQUAL(find(properties, PROPERTIES_INITIATOR, 1, true), 1);
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
			const struct flow flow = { .initiator = i };
			bool fresh;
			const uint64_t number = properties_find(properties, &flow, PROPERTIES_INITIATOR, &fresh);
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
	static const struct {
		uint16_t id, element, fields;
		const char *first;
	} rows[PROPERTIES_KINDS] = { { 275, 137, 10, "userName" }, { 276, 137, 9, "destinationPeerName" },
	                             { 277, 137, 2, "policyName" } };
	unsigned strings = 0;

	for (unsigned about = 0; about < PROPERTIES_KINDS; about++) {
		struct template template;
		properties_template(&template, about);
		CU_ASSERT_EQUAL(template.id, rows[about].id);
		CU_ASSERT_EQUAL(template.field[0]->element, rows[about].element);
		CU_ASSERT_EQUAL(template.n_fields, rows[about].fields);
		CU_ASSERT_STRING_EQUAL(template.field[1]->name, rows[about].first);
		for (unsigned i = 1; i < template.n_fields; i++)
			CU_ASSERT_EQUAL(template.field[i]->octets, FIELD_VARIABLE);
		strings += template.n_fields - 1;
	}
	for (unsigned i = 0; i < n_fields; i++)
		strings -= fields[i].octets == FIELD_VARIABLE;
	CU_ASSERT_EQUAL(strings, 0);
}

int
main(void)
{
	static CU_TestInfo tests[] = {
		{ "numbers", test_numbers },
		{ "more than there is room for", test_many },
		{ "the options templates", test_template },
		CU_TEST_INFO_NULL,
	};

	return run_suite("properties", tests);
}
