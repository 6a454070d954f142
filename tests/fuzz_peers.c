/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Whatever a peers file holds: either one line that says why not, or names that may go on the wire. */

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "enrich/peers.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(bool good)
{
	if (!good)
		abort();
}

static bool
is_clean(const char *text)
{
	if (!g_utf8_validate(text, -1, NULL))
		return false;
	for (; *text; text = g_utf8_next_char(text))
		if (g_unichar_iscntrl(g_utf8_get_char(text)))
			return false;
	return true;
}

static void
check_names(const struct names *names)
{
	check(names->count >= 1 && strcmp(names->name[0].text, "-") == 0);
	for (uint32_t i = 0; i < names->count; i++) {
		check(names->name[i].length >= 1 && names->name[i].length <= 255);
		check(strlen(names->name[i].text) == names->name[i].length && is_clean(names->name[i].text));
	}
}

/* Addresses made of the file's own octets, so that some are found. */
static void
check_find(const struct peers *peers, const uint8_t *data, size_t size)
{
	union address address = { .half = { 0, 0 } };

	for (size_t i = 0; i + 16 <= size && i < 4096; i++) {
		memcpy(&address, data + i, 16);
		check(peers_find(peers, 6, &address) < peers_names(peers)->count);
		address = (union address){ .v4 = { data[i], data[i + 1], data[i + 2], data[i + 3] } };
		check(peers_find(peers, 4, &address) < peers_names(peers)->count);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(peers_t) peers = peers_parse("fuzz", (const char *)data, size, &error);

	check(!peers == !!error);
	if (peers) {
		check_names(peers_names(peers));
		check_find(peers, data, size);
		return 0;
	}
	check(strncmp(error->message, "fuzz:", 5) == 0 && is_clean(error->message));
	return 0;
}
