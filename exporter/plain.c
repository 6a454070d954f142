/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "plain.h"

#include <string.h>

#include <glib.h>

void
plain_copy(char *to, size_t size, const char *text)
{
	g_autofree char *valid = g_utf8_make_valid(text, -1);
	size_t length = 0;

	memset(to, 0, size);
	for (const char *at = valid, *next; *at; at = next) {
		next = g_utf8_next_char(at);
		if (g_unichar_iscntrl(g_utf8_get_char(at)))
			continue;
		if (length + (next - at) >= size)
			break;
		memcpy(to + length, at, next - at);
		length += next - at;
	}
	if (!length && size > 1)
		to[0] = '-';
}
