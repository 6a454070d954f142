/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "enrich/roster.h"

#include <arpa/inet.h>
#include <string.h>

struct roster *
roster_new(void)
{
	struct roster *roster = g_new0(struct roster, 1);

	roster->entry = g_array_new(false, true, sizeof(struct roster_entry));
	roster->route = g_array_new(false, true, sizeof(struct roster_route));
	roster->domain = g_array_new(false, true, sizeof(struct roster_domain));
	roster->policy = g_array_new(false, true, sizeof(struct roster_policy));
	roster->overlay = g_array_new(false, true, sizeof(struct roster_prefix));
	roster->served = g_array_new(false, true, sizeof(struct roster_prefix));
	roster->taken = g_get_real_time() / 1000;
	roster->text = g_string_chunk_new(4096);
	roster->blocks = g_ptr_array_new_with_free_func(g_free);
	return roster;
}

void
roster_free(struct roster *roster)
{
	if (!roster)
		return;
	g_array_free(roster->entry, true);
	g_array_free(roster->route, true);
	g_array_free(roster->domain, true);
	g_array_free(roster->policy, true);
	g_array_free(roster->overlay, true);
	g_array_free(roster->served, true);
	g_string_chunk_free(roster->text);
	g_ptr_array_free(roster->blocks, true);
	g_free(roster);
}

/* Texts */

bool
roster_is_clean(const char *text)
{
	if (!g_utf8_validate(text, -1, NULL) || strlen(text) > ROSTER_TEXT)
		return false;
	if (g_ascii_isspace(text[0]) || (text[0] && g_ascii_isspace(text[strlen(text) - 1])))
		return false;
	for (; *text; text = g_utf8_next_char(text))
		if (g_unichar_iscntrl(g_utf8_get_char(text)))
			return false;
	return true;
}

/* Names go to terminals and log lines; an escape sequence in one is no part of it. */
static char *
clean(const char *text)
{
	g_autofree char *valid = g_utf8_make_valid(text, -1);
	GString *out = g_string_new(NULL);

	for (const char *at = valid; *at; at = g_utf8_next_char(at)) {
		const gunichar character = g_utf8_get_char(at);
		if (out->len + g_unichar_to_utf8(character, NULL) > ROSTER_TEXT)
			break;
		if (!g_unichar_iscntrl(character))
			g_string_append_unichar(out, character);
	}
	return g_strstrip(g_string_free(out, false));
}

static const char *
keep(struct roster *roster, const char *text)
{
	if (!text || roster_is_clean(text))
		return text && *text ? g_string_chunk_insert_const(roster->text, text) : NULL;
	g_autofree char *cleaned = clean(text);
	return *cleaned ? g_string_chunk_insert_const(roster->text, cleaned) : NULL;
}

static void *
keep_block(struct roster *roster, const void *octets, size_t size)
{
	void *block = g_memdup2(octets, size);

	g_ptr_array_add(roster->blocks, block);
	return block;
}

static const char *const *
keep_list(struct roster *roster, const char *const *list)
{
	g_autoptr(GPtrArray) kept = g_ptr_array_new();

	for (; list && *list; list++) {
		const char *text = keep(roster, *list);
		if (text)
			g_ptr_array_add(kept, (void *)text);
	}
	if (!kept->len)
		return NULL;
	g_ptr_array_add(kept, NULL);
	return keep_block(roster, kept->pdata, kept->len * sizeof *kept->pdata);
}

static void
keep_words(struct roster *roster, const char **to, const char *const *from)
{
	for (unsigned i = 0; i < WORDS; i++)
		to[i] = keep(roster, from[i]);
}

/* Prefixes */

void
roster_cut(union address *address, unsigned length)
{
	for (unsigned i = 0; i < 2; i++) {
		const unsigned bits = length > 64 * i ? MIN(length - 64 * i, 64) : 0;
		address->half[i] &= bits ? GUINT64_TO_BE(UINT64_MAX << (64 - bits)) : 0;
	}
}

static struct roster_prefix
whole_prefix(const struct roster_prefix *prefix)
{
	struct roster_prefix whole = { .family = prefix->family, .length = prefix->length };

	whole.address = prefix->address;
	roster_cut(&whole.address, prefix->length);
	return whole;
}

bool
roster_prefix_parse(const char *text, struct roster_prefix *prefix)
{
	const size_t octets = strcspn(text, "/");
	char host[INET6_ADDRSTRLEN];
	guint64 length;

	memset(prefix, 0, sizeof *prefix);
	if (octets >= sizeof host)
		return false;
	memcpy(host, text, octets);
	host[octets] = '\0';
	prefix->family = strchr(host, ':') ? 6 : 4;
	length = prefix->family == 6 ? 128 : 32;
	if (inet_pton(prefix->family == 6 ? AF_INET6 : AF_INET, host, &prefix->address) != 1)
		return false;
	if (text[octets] && !g_ascii_string_to_unsigned(text + octets + 1, 10, 0, length, &length, NULL))
		return false;
	prefix->length = length;
	return true;
}

bool
roster_prefix_holds(const struct roster_prefix *prefix, unsigned family, const union address *address)
{
	union address cut = *address, own = prefix->address;

	if (family != prefix->family)
		return false;
	roster_cut(&cut, prefix->length);
	roster_cut(&own, prefix->length);
	return cut.half[0] == own.half[0] && cut.half[1] == own.half[1];
}

/* Adding */

void
roster_add(struct roster *roster, const struct roster_prefix *prefix, const char *const word[WORDS],
           const char *const *tags)
{
	struct roster_entry entry = { .prefix = whole_prefix(prefix), .tags = keep_list(roster, tags) };

	keep_words(roster, entry.word, word);
	g_array_append_val(roster->entry, entry);
}

void
roster_add_word(struct roster *roster, const struct roster_prefix *prefix, enum identity_word word, const char *text)
{
	const char *words[WORDS] = { NULL };

	words[word] = text;
	roster_add(roster, prefix, words, NULL);
}

void
roster_add_route(struct roster *roster, const struct roster_prefix *prefix, const struct roster_prefix *gateway)
{
	struct roster_route route = { whole_prefix(prefix), whole_prefix(gateway) };

	g_array_append_val(roster->route, route);
}

void
roster_add_domain(struct roster *roster, const char *domain, const char *const word[WORDS], const char *const *tags)
{
	struct roster_domain one = { .domain = keep(roster, domain), .tags = keep_list(roster, tags) };

	if (!one.domain)
		return;
	keep_words(roster, one.word, word);
	g_array_append_val(roster->domain, one);
}

void
roster_add_policy(struct roster *roster, const struct roster_policy *policy)
{
	struct roster_policy kept = *policy;

	kept.name = keep(roster, policy->name);
	kept.sources = keep_list(roster, policy->sources);
	kept.destinations = keep_list(roster, policy->destinations);
	if (kept.n_ports)
		kept.ports = keep_block(roster, policy->ports, policy->n_ports * sizeof *policy->ports);
	g_array_append_val(roster->policy, kept);
}

void
roster_add_overlay(struct roster *roster, const struct roster_prefix *address)
{
	g_array_append_vals(roster->overlay, address, 1);
}

void
roster_add_served(struct roster *roster, const struct roster_prefix *prefix)
{
	const struct roster_prefix whole = whole_prefix(prefix);

	g_array_append_val(roster->served, whole);
}

void
roster_set_own_name(struct roster *roster, const char *name)
{
	roster->own_name = keep(roster, name);
}

void
roster_set_state(struct roster *roster, const char *state)
{
	roster->state = keep(roster, state);
}
