/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Whatever comes from NetBird's socket or command: rosters that are fit for use, the same ones however the octets come
 * cut, or one reason why not. */

#include <stdlib.h>
#include <string.h>

#include "enrich/netbird.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(bool good)
{
	if (!good)
		abort();
}

static void
note_entry(GString *out, const struct roster_entry *entry)
{
	struct roster_prefix cut = entry->prefix;

	roster_cut(&cut.address, cut.length);
	check(memcmp(&cut.address, &entry->prefix.address, sizeof cut.address) == 0);
	check(entry->prefix.length <= (entry->prefix.family == 6 ? 128 : 32));
	g_string_append_len(out, (const char *)entry->prefix.address.v6, 16);
	for (unsigned i = 0; i < WORDS; i++) {
		const char *word = entry->word[i] ? entry->word[i] : "-";
		check(*word && strlen(word) <= ROSTER_TEXT && g_utf8_validate(word, -1, NULL));
		g_string_append_printf(out, " %s", word);
	}
}

static bool
note_news(struct news *news, void *data, GError **error)
{
	(void)error;
	for (guint i = 0; i < news->roster->entry->len; i++)
		note_entry(data, &g_array_index(news->roster->entry, struct roster_entry, i));
	g_string_append_printf(data, "%u %u %u %s\n", news->peers, news->connected, news->unreadable,
	                       news->roster->own_name ? news->roster->own_name : "-");
	news_free(news);
	return true;
}

static GString *
read_pieces(enum netbird_answer answer, const uint8_t *data, size_t size, size_t piece)
{
	GString *out = g_string_new(NULL);
	g_autoptr(netbird_t) reader = netbird_new(answer, note_news, out);
	g_autoptr(GError) error = NULL;
	bool good = true;

	for (size_t at = 0; at < size && good; at += piece)
		good = netbird_feed(reader, (const char *)data + at, MIN(piece, size - at), &error);
	check(good == !error);
	g_string_append(out, error ? error->message : netbird_is_inside(reader) ? "inside" : "between");
	return out;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	for (enum netbird_answer answer = NETBIRD_STATUS; answer <= NETBIRD_NETWORKS; answer++) {
		GString *whole = read_pieces(answer, data, size, size ? size : 1);
		GString *cut = read_pieces(answer, data, size, size ? 1 + data[0] % 16 : 1);
		check(g_string_equal(whole, cut));
		g_string_free(whole, true);
		g_string_free(cut, true);
	}
	return 0;
}
