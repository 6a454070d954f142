/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Whatever somebody writes for a time: a span that does not end before it begins, or an error that can be shown.
 * The first octet chooses a zone. */

#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include "audit/when.h"

#define NOW UINT64_C(1795442602117)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const zones[] = { "UTC", "CET-1CEST,M3.5.0,M10.5.0/3", "<-03>3", "<+14>-14" };
	g_autoptr(GError) error = NULL;
	struct when when;

	if (!size)
		return 0;
	g_autofree char *text = g_strndup((const char *)data + 1, size - 1);
	g_setenv("TZ", zones[data[0] % G_N_ELEMENTS(zones)], true);
	tzset();
	if (when_parse(text, NOW, &when, &error)) {
		if (when.first > when.last || when.last > UINT64_C(253402387199999))
			abort();
	} else if (!g_utf8_validate(error->message, -1, NULL)) {
		abort();
	}
	return 0;
}
