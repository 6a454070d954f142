/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Whatever somebody asks: either a query, or an error that points at a place in the text. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "audit/query.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct name name[] = { { "-", 1 }, { "alice.mesh", 10 }, { "a, b,", 5 } };
static const struct identity identity[] = { { { 0 } }, { { 1, 1, 1, 2, 1, 1, 1, 1 } } };
static const struct names names = {
	.name = name, .count = G_N_ELEMENTS(name), .identity = identity, .n_identities = G_N_ELEMENTS(identity),
};

static void
ask(const struct query *query)
{
	struct flow flow = { .family = 4, .protocol = 6, .state = 3, .translation = 3, .initiator = 1, .end_reason = 1 };
	g_autofree struct query_address *addresses = NULL;
	const struct print_flow print = { &flow, &names, "eth0", NULL, "router" };

	query_matches(query, &print);
	flow.family = 6;
	flow.protocol = 1;
	query_matches(query, &print);
	query_addresses(query, &addresses);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	g_autofree char *text = g_strndup((const char *)data, size);
	g_autoptr(GError) error = NULL;
	g_autoptr(query_t) query = query_parse(text, &error);

	if (query)
		ask(query);
	else if ((strchr(error->message, '^') != NULL) != g_utf8_validate(text, -1, NULL))
		abort();
	return 0;
}
