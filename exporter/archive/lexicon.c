/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "archive/lexicon.h"

#include <glib.h>
#include <string.h>

struct lexicon {
	GArray *names;              /* struct name */
	GArray *identities;
	GStringChunk *text;
	struct names view;
};

/* What a string is about and what it says of that. */
enum about { ABOUT_NOTHING, ABOUT_INITIATOR, ABOUT_RESPONDER, ABOUT_POLICY };

#define ABOUT_initiator ABOUT_INITIATOR
#define ABOUT_responder ABOUT_RESPONDER
#define ABOUT_policy ABOUT_POLICY

static const struct meaning {
	uint8_t about;
	uint8_t word;
} meanings[WORD_COUNT] = {
#define MEANING(name, member, word_) [WORD_##name] = { ABOUT_##member, word_ },
#define MEANING_NUMBER(...)
#define MEANING_OCTETS(...)
#define MEANING_UPTIME(...)
#define MEANING_REFERENCE(...)
#define MEANING_NAME(name, member) MEANING(name, member, WORD_PEER)
#define MEANING_TEXT(name, member) MEANING(name, member, 0)
#define MEANING_PEER(name, member) MEANING(name, member, WORD_PEER)
#define MEANING_PEER_ID(name, member) MEANING(name, member, WORD_PEER_ID)
#define MEANING_USER(name, member) MEANING(name, member, WORD_USER)
#define MEANING_GROUPS(name, member) MEANING(name, member, WORD_GROUPS)
#define MEANING_VIA(name, member) MEANING(name, member, WORD_VIA)
#define MEANING_RESOURCE(name, member) MEANING(name, member, WORD_RESOURCE)
#define MEANING_NETWORK(name, member) MEANING(name, member, WORD_NETWORK)
#define MEANING_DOMAIN(name, member) MEANING(name, member, WORD_DOMAIN)
#define FIELD(name, element, enterprise, octets, kind, semantics, only, member, ...) MEANING_##kind(name, member)
#include "fields.def"
#undef FIELD
};

static uint32_t
add_name(struct lexicon *lexicon, const uint8_t *octets, uint16_t n)
{
	const char *text = (const char *)octets;
	size_t length = n;
	g_autofree char *valid = NULL;

	if (!g_utf8_validate_len(text, n, NULL)) {      /* or a NUL is inside, which no name may have */
		text = valid = g_utf8_make_valid(text, n);
		length = strlen(valid);
	}
	const struct name name = { g_string_chunk_insert_len(lexicon->text, text, length), MIN(length, UINT16_MAX) };
	g_array_append_val(lexicon->names, name);
	return lexicon->names->len - 1;
}

void
lexicon_clear(struct lexicon *lexicon)
{
	const struct name nothing = { "-", 1 };

	g_array_set_size(lexicon->names, 0);
	g_array_append_val(lexicon->names, nothing);
	g_array_set_size(lexicon->identities, 0);
	g_array_set_size(lexicon->identities, 1);
	g_string_chunk_clear(lexicon->text);
}

/* The peer's name on the wire is that of the peer an address lies behind, if it is nobody's own. */
static void
part_from_via(const struct lexicon *lexicon, struct identity *identity)
{
	const struct name *names = (const struct name *)lexicon->names->data;
	const uint32_t peer = identity->word[WORD_PEER], via = identity->word[WORD_VIA];

	if (peer && via && strcmp(names[peer].text, names[via].text) == 0)
		identity->word[WORD_PEER] = 0;
}

static uint32_t
add_identity(struct lexicon *lexicon, struct identity *identity)
{
	static const struct identity nobody;

	part_from_via(lexicon, identity);
	g_array_append_vals(lexicon->identities, identity, 1);
	return memcmp(identity, &nobody, sizeof nobody) == 0 ? 0 : lexicon->identities->len - 1;
}

struct lexicon_entry
lexicon_add(struct lexicon *lexicon, const struct saying *said, unsigned n, bool answers)
{
	struct identity ends[2] = { 0 };
	struct lexicon_entry entry = { 0 };

	for (unsigned i = 0; i < n; i++) {
		const struct meaning *meaning = &meanings[said[i].word];
		if (!meaning->about || !saying_says(said[i].text, said[i].octets))
			continue;
		const uint32_t name = add_name(lexicon, said[i].text, said[i].octets);
		/* userName is whoever opened the connection, in the record of the answers too. */
		const bool opener = said[i].word == WORD_userName && answers;
		if (meaning->about == ABOUT_POLICY)
			entry.policy = name;
		else
			ends[opener || meaning->about == ABOUT_RESPONDER].word[meaning->word] = name;
	}
	entry.initiator = add_identity(lexicon, &ends[0]);
	entry.responder = add_identity(lexicon, &ends[1]);
	return entry;
}

const struct names *
lexicon_names(struct lexicon *lexicon)
{
	lexicon->view = (struct names){
		.name = (const struct name *)lexicon->names->data,
		.count = lexicon->names->len,
		.identity = (const struct identity *)lexicon->identities->data,
		.n_identities = lexicon->identities->len,
	};
	return &lexicon->view;
}

struct lexicon *
lexicon_new(void)
{
	struct lexicon *lexicon = g_new0(struct lexicon, 1);

	lexicon->names = g_array_new(false, true, sizeof(struct name));
	lexicon->identities = g_array_new(false, true, sizeof(struct identity));
	lexicon->text = g_string_chunk_new(4096);
	lexicon_clear(lexicon);
	return lexicon;
}

void
lexicon_free(struct lexicon *lexicon)
{
	g_array_unref(lexicon->names);
	g_array_unref(lexicon->identities);
	g_string_chunk_free(lexicon->text);
	g_free(lexicon);
}
