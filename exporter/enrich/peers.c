/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "enrich/peers.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <string.h>

#include "error.h"

enum { FILE_MOST = 64 * 1024 * 1024 };

struct reader {
	const char *path;
	unsigned line;
	struct roster *roster;
	GArray *line_of;            /* of each entry of the roster */
	GError **error;
};

static bool
refuse(const struct reader *reader, const char *word, const char *what)
{
	g_set_error(reader->error, PEERFLOW_ERROR, EX_CONFIG, "%s:%u: %s %s", reader->path, reader->line, word, what);
	return false;
}

/* Besides those of spaces. */
static bool
has_control(const char *text, const char *spaces)
{
	for (; *text; text = g_utf8_next_char(text))
		if (g_unichar_iscntrl(g_utf8_get_char(text)) && !strchr(spaces, *text))
			return true;
	return false;
}

/* "ADDRESS[/LENGTH]" with nothing set beyond the length. */
static bool
read_prefix(const char *word, struct roster_prefix *prefix)
{
	if (!roster_prefix_parse(word, prefix))
		return false;
	union address whole = prefix->address;
	roster_cut(&whole, prefix->length);
	return memcmp(&whole, &prefix->address, sizeof whole) == 0;
}

/* Words behind the name */

static const struct key {
	const char *text;
	enum identity_word word;
} keys[] = {
	{ "id=", WORD_PEER_ID },
	{ "user=", WORD_USER },
	{ "groups=", WORD_GROUPS },
};

static const struct key *
find_key(const char *text)
{
	for (size_t i = 0; i < G_N_ELEMENTS(keys); i++)
		if (g_str_has_prefix(text, keys[i].text))
			return &keys[i];
	return NULL;
}

/* Where the first key=value begins, behind a space: names may hold anything else. */
static char *
find_first_key(char *text)
{
	for (char *at = text; *at; at++)
		if ((at == text || strchr(" \t", at[-1])) && find_key(at))
			return at;
	return text + strlen(text);
}

/* Takes a value, quoted or not, off the text and ends it; NULL if a quote does not end where it should. */
static char *
take_value(char **text)
{
	const bool quoted = **text == '"';
	char *value = *text + quoted;
	char *end = value + strcspn(value, quoted ? "\"" : " \t");

	if (quoted && (!*end || (end[1] && !strchr(" \t", end[1]))))
		return NULL;
	*text = end + (*end != '\0');
	*end = '\0';
	return value;
}

/* "a,b" becomes "a, b", as every source tells groups. */
static char *
spread(const char *value)
{
	g_auto(GStrv) group = g_strsplit(value, ",", -1);
	g_autoptr(GString) out = g_string_new(NULL);

	for (unsigned i = 0; group[i]; i++) {
		g_strstrip(group[i]);
		if (*group[i])
			g_string_append_printf(out, "%s%s", out->len ? ", " : "", group[i]);
	}
	return g_string_free(g_steal_pointer(&out), false);
}

static bool
take_key(const struct reader *reader, char **text, char *owned[WORDS])
{
	const struct key *key = find_key(*text);

	if (!key) {
		(*text)[strcspn(*text, " \t")] = '\0';
		return refuse(reader, *text, "stands behind key=value and is none of id= user= groups=");
	}
	*text += strlen(key->text);
	const char *value = take_value(text);
	if (!value)
		return refuse(reader, key->text, "has a quote that does not end");
	if (owned[key->word])
		return refuse(reader, key->text, "stands twice");
	owned[key->word] = key->word == WORD_GROUPS ? spread(value) : g_strdup(value);
	if (!*owned[key->word])
		return refuse(reader, key->text, "has nothing behind it");
	if (has_control(owned[key->word], ""))
		return refuse(reader, "the line", "holds a control character");
	if (strlen(owned[key->word]) > ROSTER_TEXT)
		return refuse(reader, key->text, "has more than 255 octets behind it");
	return true;
}

static bool
take_keys(const struct reader *reader, char *text, char *owned[WORDS])
{
	for (g_strchug(text); *text; g_strchug(text))
		if (!take_key(reader, &text, owned))
			return false;
	return true;
}

/* Lines */

static bool
take_entry(const struct reader *reader, const char *word, char *name)
{
	struct roster_prefix prefix;
	char *owned[WORDS] = { NULL };

	char *rest = find_first_key(name);
	g_autofree char *words = g_strdup(rest);
	*rest = '\0';
	g_strstrip(name);
	if (has_control(name, "") || has_control(words, "\t"))
		return refuse(reader, "the line", "holds a control character");
	if (!read_prefix(word, &prefix))
		return refuse(reader, word, "is no address or prefix (with nothing set beyond its length)");
	if (!*name)
		return refuse(reader, word, "has no name behind it");
	if (strlen(name) > ROSTER_TEXT)
		return refuse(reader, word, "has a name of more than 255 octets");
	bool good = take_keys(reader, words, owned);
	owned[prefix.length == (prefix.family == 6 ? 128 : 32) ? WORD_PEER : WORD_VIA] = g_strdup(name);
	if (good)
		roster_add(reader->roster, &prefix, (const char *const *)owned, NULL);
	for (unsigned i = 0; i < WORDS; i++)
		g_free(owned[i]);
	return good;
}

/* A comment begins at a # outside of quotes; a name has no quotes, so only those behind an = count. */
static void
cut_comment(char *text)
{
	bool quoted = false;

	for (char *at = text; *at; at++) {
		if (*at == '"' && (quoted || (at > text && at[-1] == '=')))
			quoted = !quoted;
		if (*at != '#' || quoted)
			continue;
		*at = '\0';
		return;
	}
}

static bool
parse_line(const struct reader *reader, char *text, size_t size)
{
	if (strlen(text) != size)
		return refuse(reader, "the line", "holds a NUL octet");
	cut_comment(text);
	g_strstrip(text);
	if (!*text)
		return true;
	if (!g_utf8_validate(text, -1, NULL))
		return refuse(reader, "the line", "holds octets that are not UTF-8");
	char *name = text + strcspn(text, " \t");
	if (*name)
		*name++ = '\0';
	if (has_control(text, ""))
		return refuse(reader, "the line", "holds a control character");
	return take_entry(reader, text, name);
}

/* The whole file */

static guint
hash_entry(gconstpointer key)
{
	const struct roster_prefix *prefix = &((const struct roster_entry *)key)->prefix;

	return (prefix->address.half[0] ^ prefix->address.half[1] * 31 ^ prefix->length) * 0x9e3779b97f4a7c15u >> 32;
}

static gboolean
equal_entries(gconstpointer one, gconstpointer other)
{
	const struct roster_prefix *a = &((const struct roster_entry *)one)->prefix;
	const struct roster_prefix *b = &((const struct roster_entry *)other)->prefix;

	return a->family == b->family && a->length == b->length && memcmp(&a->address, &b->address, sizeof a->address) == 0;
}

static const char *
name_of(const struct roster_entry *entry)
{
	return entry->word[WORD_PEER] ? entry->word[WORD_PEER] : entry->word[WORD_VIA];
}

/* A prefix given twice is an error: which name is right? */
static bool
refuse_twice(const struct reader *reader, const struct roster_entry *entry, const struct roster_entry *first)
{
	const struct roster_entry *entries = (const struct roster_entry *)(void *)reader->roster->entry->data;
	char host[INET6_ADDRSTRLEN];

	inet_ntop(entry->prefix.family == 6 ? AF_INET6 : AF_INET, &entry->prefix.address, host, sizeof host);
	g_set_error(reader->error, PEERFLOW_ERROR, EX_CONFIG, "%s:%u: %s/%u has a name already in line %u: %s", reader->path,
	            g_array_index(reader->line_of, unsigned, entry - entries), host, entry->prefix.length,
	            g_array_index(reader->line_of, unsigned, first - entries), name_of(first));
	return false;
}

static bool
check_once(const struct reader *reader)
{
	g_autoptr(GHashTable) seen = g_hash_table_new(hash_entry, equal_entries);
	const GArray *entries = reader->roster->entry;

	for (guint i = 0; i < entries->len; i++) {
		struct roster_entry *entry = &g_array_index(entries, struct roster_entry, i);
		const struct roster_entry *first = g_hash_table_lookup(seen, entry);
		if (first)
			return refuse_twice(reader, entry, first);
		g_hash_table_add(seen, entry);
	}
	return true;
}

struct roster *
peers_parse(const char *name, const char *text, size_t length, GError **error)
{
	g_autoptr(roster_t) roster = roster_new();
	g_autoptr(GArray) line_of = g_array_new(false, false, sizeof(unsigned));
	struct reader reader = { .path = name, .roster = roster, .line_of = line_of, .error = error };

	for (const char *end = text + length; text < end;) {
		const char *stop = memchr(text, '\n', end - text);
		const size_t size = (stop ? stop : end) - text;
		g_autofree char *copy = g_strndup(text, size);
		reader.line++;
		if (!parse_line(&reader, copy, size))
			return NULL;
		if (roster->entry->len > line_of->len)
			g_array_append_val(line_of, reader.line);
		text += size + 1;
	}
	return check_once(&reader) ? g_steal_pointer(&roster) : NULL;
}

struct roster *
peers_load(const char *path, GError **error)
{
	g_autofree char *text = NULL;
	g_autoptr(GError) reason = NULL;
	gsize length;

	if (!g_file_get_contents(path, &text, &length, &reason)) {
		g_set_error(error, PEERFLOW_ERROR, EX_CONFIG, "peers-file: %s", reason->message);
		return NULL;
	}
	if (length > FILE_MOST) {
		g_set_error(error, PEERFLOW_ERROR, EX_CONFIG, "peers-file: %s has more than %d octets", path, FILE_MOST);
		return NULL;
	}
	return peers_parse(path, text, length, error);
}
