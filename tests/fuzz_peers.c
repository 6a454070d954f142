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

/* Every entry is somebody, and its prefix is whole. */
static void
check_entry(const struct roster_entry *entry)
{
	union address whole = entry->prefix.address;
	unsigned words = 0;

	roster_cut(&whole, entry->prefix.length);
	check(memcmp(&whole, &entry->prefix.address, sizeof whole) == 0);
	check(entry->prefix.family == 4 ? entry->prefix.length <= 32 : entry->prefix.length <= 128);
	for (unsigned i = 0; i < WORDS; i++) {
		if (!entry->word[i])
			continue;
		words++;
		check(*entry->word[i] && strlen(entry->word[i]) <= ROSTER_TEXT && is_clean(entry->word[i]));
	}
	check(words >= 1 && (entry->word[WORD_PEER] || entry->word[WORD_VIA]));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(roster_t) roster = peers_parse("fuzz", (const char *)data, size, &error);

	check(!roster == !!error);
	for (guint i = 0; roster && i < roster->entry->len; i++)
		check_entry(&g_array_index(roster->entry, struct roster_entry, i));
	check(roster || (strncmp(error->message, "fuzz:", 5) == 0 && is_clean(error->message)));
	return 0;
}
