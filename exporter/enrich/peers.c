/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "enrich/peers.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <string.h>

#include "error.h"

enum {
	FILE_MOST = 64 * 1024 * 1024,
	NAME_MOST = 255,            /* octets: more is no name, and one octet then says the length on the wire */
};

struct prefix {
	union address address;      /* bits beyond length are zero */
	uint32_t name;              /* zero: the slot is free */
	uint8_t family;
	uint8_t length;
};

struct peers {
	struct names names;
	GArray *name;               /* struct name */
	GArray *identity;           /* of each name */
	GStringChunk *text;
	GArray *prefix;             /* as read, with names 1, 2, ... */
	GArray *line;               /* of the file, of each */
	struct prefix *slot;        /* the same, hashed by all but the name */
	size_t mask;
	/* Which lengths occur, longest first: as many look-ups as there are lengths, not as there are prefixes. */
	uint8_t length[2][129];
	unsigned n_lengths[2];
};

static void
cut(union address *address, unsigned length)
{
	for (unsigned i = 0; i < 2; i++) {
		const unsigned bits = length > 64 * i ? MIN(length - 64 * i, 64) : 0;
		address->half[i] &= bits ? GUINT64_TO_BE(UINT64_MAX << (64 - bits)) : 0;
	}
}

static uint64_t
hash(const union address *address, unsigned family, unsigned length)
{
	uint64_t mixed = address->half[0] ^ (family << 8 | length);

	mixed *= 0x9e3779b97f4a7c15u;
	mixed = (mixed ^ mixed >> 32 ^ address->half[1]) * 0xff51afd7ed558ccdu;
	return mixed ^ mixed >> 32;
}

/* The slot of that prefix, or the free one where it would stand. */
static struct prefix *
find_slot(const struct peers *peers, const union address *address, unsigned family, unsigned length)
{
	size_t i = hash(address, family, length) & peers->mask;

	for (; peers->slot[i].name; i = (i + 1) & peers->mask) {
		const struct prefix *prefix = &peers->slot[i];
		if (prefix->family == family && prefix->length == length && prefix->address.half[0] == address->half[0]
		    && prefix->address.half[1] == address->half[1])
			break;
	}
	return &peers->slot[i];
}

/* "ADDRESS[/LENGTH]" with nothing set beyond the length. */
static bool
read_prefix(const char *word, struct prefix *prefix)
{
	g_auto(GStrv) part = g_strsplit(word, "/", 2);
	guint64 length;

	prefix->family = strchr(part[0], ':') ? 6 : 4;
	const unsigned most = prefix->family == 6 ? 128 : 32;
	if (inet_pton(prefix->family == 6 ? AF_INET6 : AF_INET, part[0], &prefix->address) != 1)
		return false;
	length = most;
	if (part[1] && !g_ascii_string_to_unsigned(part[1], 10, 0, most, &length, NULL))
		return false;
	prefix->length = length;
	union address whole = prefix->address;
	cut(&whole, prefix->length);
	return memcmp(&whole, &prefix->address, sizeof whole) == 0;
}

static uint32_t
add_name(struct peers *peers, enum identity_word word, const char *text, size_t octets)
{
	const struct name name = { g_string_chunk_insert_const(peers->text, text), octets };
	struct identity identity = { { 0 } };

	identity.word[word] = peers->name->len;
	g_array_append_val(peers->name, name);
	g_array_append_val(peers->identity, identity);
	return peers->name->len - 1;
}

/* Names go to terminals and log lines; an escape sequence in one is no part of it. */
static bool
has_control(const char *text)
{
	for (; *text; text = g_utf8_next_char(text))
		if (g_unichar_iscntrl(g_utf8_get_char(text)))
			return true;
	return false;
}

static bool
refuse(GError **error, const char *path, unsigned line, const char *what, const char *word)
{
	g_set_error(error, PEERFLOW_ERROR, EX_CONFIG, "%s:%u: %s %s", path, line, word, what);
	return false;
}

static bool
parse_line(struct peers *peers, const char *path, unsigned line, char *text, size_t size, GError **error)
{
	struct prefix prefix = { 0 };

	if (strlen(text) != size)
		return refuse(error, path, line, "holds a NUL octet", "the line");
	text[strcspn(text, "#")] = '\0';
	g_strstrip(text);
	if (!*text)
		return true;
	if (!g_utf8_validate(text, -1, NULL))
		return refuse(error, path, line, "holds octets that are not UTF-8", "the line");
	char *name = text + strcspn(text, " \t");
	if (*name)
		*name++ = '\0';
	g_strstrip(name);
	if (has_control(text) || has_control(name))
		return refuse(error, path, line, "holds a control character", "the line");
	if (!read_prefix(text, &prefix))
		return refuse(error, path, line, "is no address or prefix (with nothing set beyond its length)", text);
	const size_t octets = strlen(name);
	if (octets == 0)
		return refuse(error, path, line, "has no name behind it", text);
	if (octets > NAME_MOST)
		return refuse(error, path, line, "has a name of more than 255 octets", text);
	const bool whole = prefix.length == (prefix.family == 6 ? 128 : 32);
	prefix.name = add_name(peers, whole ? WORD_PEER : WORD_VIA, name, octets);
	g_array_append_val(peers->prefix, prefix);
	g_array_append_val(peers->line, line);
	return true;
}

static void
note_length(struct peers *peers, const struct prefix *prefix)
{
	const unsigned family = prefix->family == 6;
	uint8_t *length = peers->length[family];
	unsigned at = 0;

	while (at < peers->n_lengths[family] && length[at] > prefix->length)
		at++;
	if (at < peers->n_lengths[family] && length[at] == prefix->length)
		return;
	memmove(length + at + 1, length + at, peers->n_lengths[family] - at);
	length[at] = prefix->length;
	peers->n_lengths[family]++;
}

/* A prefix given twice is an error: which name is right? */
static bool
refuse_twice(const struct peers *peers, const struct prefix *prefix, const struct prefix *first, const char *path,
             GError **error)
{
	const bool v6 = prefix->family == 6;
	char host[INET6_ADDRSTRLEN];

	inet_ntop(v6 ? AF_INET6 : AF_INET, &prefix->address, host, sizeof host);
	g_set_error(error, PEERFLOW_ERROR, EX_CONFIG, "%s:%u: %s/%u has a name already in line %u: %s", path,
	            g_array_index(peers->line, unsigned, prefix->name - 1), host, prefix->length,
	            g_array_index(peers->line, unsigned, first->name - 1),
	            g_array_index(peers->name, struct name, first->name).text);
	return false;
}

static bool
build(struct peers *peers, const char *path, GError **error)
{
	size_t slots = 2;

	while (slots < peers->prefix->len * 2)
		slots *= 2;
	peers->slot = g_new0(struct prefix, slots);
	peers->mask = slots - 1;
	for (guint i = 0; i < peers->prefix->len; i++) {
		const struct prefix *prefix = &g_array_index(peers->prefix, struct prefix, i);
		struct prefix *slot = find_slot(peers, &prefix->address, prefix->family, prefix->length);
		if (slot->name)
			return refuse_twice(peers, prefix, slot, path, error);
		*slot = *prefix;
		note_length(peers, prefix);
	}
	peers->names = (struct names){
		.name = (const struct name *)(void *)peers->name->data, .count = peers->name->len,
		.identity = (const struct identity *)(void *)peers->identity->data, .n_identities = peers->identity->len,
	};
	return true;
}

struct peers *
peers_parse(const char *name, const char *text, size_t length, GError **error)
{
	g_autoptr(peers_t) peers = g_new0(struct peers, 1);
	unsigned line = 0;

	peers->name = g_array_new(false, false, sizeof(struct name));
	peers->text = g_string_chunk_new(4096);
	peers->identity = g_array_new(false, false, sizeof(struct identity));
	peers->prefix = g_array_new(false, false, sizeof(struct prefix));
	peers->line = g_array_new(false, false, sizeof(unsigned));
	add_name(peers, WORD_PEER, "-", 1);
	for (const char *end = text + length; text < end;) {
		const char *stop = memchr(text, '\n', end - text);
		const size_t size = (stop ? stop : end) - text;
		g_autofree char *copy = g_strndup(text, size);
		line++;
		if (!parse_line(peers, name, line, copy, size, error))
			return NULL;
		text += size + 1;
	}
	return build(peers, name, error) ? g_steal_pointer(&peers) : NULL;
}

struct peers *
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

void
peers_free(struct peers *peers)
{
	if (!peers)
		return;
	g_array_free(peers->name, true);
	g_array_free(peers->identity, true);
	g_array_free(peers->prefix, true);
	g_array_free(peers->line, true);
	g_string_chunk_free(peers->text);
	g_free(peers->slot);
	g_free(peers);
}

uint32_t
peers_find(const struct peers *peers, unsigned family, const union address *address)
{
	union address shortened = *address;

	for (unsigned i = 0; i < peers->n_lengths[family == 6]; i++) {
		const unsigned length = peers->length[family == 6][i];
		cut(&shortened, length);
		const struct prefix *slot = find_slot(peers, &shortened, family, length);
		if (slot->name)
			return slot->name;
	}
	return 0;
}

const struct names *
peers_names(const struct peers *peers)
{
	return &peers->names;
}
