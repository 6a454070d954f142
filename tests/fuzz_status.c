/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What comes from the status socket, whoever wrote it: a text or an error, and the text is UTF-8. */

#include <stdlib.h>

#include "status.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	g_autoptr(GError) error = NULL;
	g_autofree char *text = status_text((const char *)data, size, &error);

	if (!text == !error || (text && !g_utf8_validate(text, -1, NULL)))
		abort();
	return 0;
}
