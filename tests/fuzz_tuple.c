/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdlib.h>

#include "audit/tuple.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whatever the text is: a pattern that can be looked for, or an error and never both. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct flow flow = { .family = 4, .protocol = 6 };
	g_autofree char *text = g_strndup((const char *)data, size);
	g_autoptr(GError) error = NULL;
	struct tuple_pattern pattern;
	const bool good = tuple_parse(text, &pattern, &error);

	if (good != (error == NULL))
		abort();
	if (good && (pattern.port[0] > UINT16_MAX || pattern.port[1] > UINT16_MAX))
		abort();
	if (good)
		tuple_matches(&pattern, &flow);
	return 0;
}
