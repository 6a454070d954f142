/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_NAMES_H
#define PEERFLOW_NAMES_H

#include <stdint.h>

#include "flow.h"

/* The strings a flow's small ids stand for. Entry 0 is "-": a collector in use drops whole messages over an empty
 * string, so an unknown name is never one. Read-only once built; a newer snapshot replaces it whole. */
struct name {
	const char *text;           /* valid UTF-8, no NUL inside */
	uint16_t length;            /* octets, at least 1 */
};

/* The octets of a name that fit into so many, cut in front of a character, never inside one. */
static inline uint16_t
name_octets(const struct name *name, uint16_t limit)
{
	uint16_t octets = name->length;

	if (octets <= limit)
		return octets;
	for (octets = limit; octets > 0 && ((uint8_t)name->text[octets] & 0xc0) == 0x80; octets--)
		;
	return octets;
}

/* What there is to say of one end of a flow. */
enum identity_word {
	WORD_PEER,                  /* the peer that has this very address */
	WORD_PEER_ID,
	WORD_USER,                  /* whose peer it is */
	WORD_GROUPS,                /* of the peer or of the resource, "a, b" */
	WORD_VIA,                   /* the peer behind which the address lies */
	WORD_RESOURCE,
	WORD_NETWORK,
	WORD_DOMAIN,                /* that the address was resolved from */
	WORDS,
};

struct identity {
	uint32_t word[WORDS];       /* indexes into names.name; zero: not known */
};

/* Whom a prefix stands for at present. */
struct names_row {
	union address address;      /* bits beyond length are zero */
	uint8_t family;             /* 4 or 6 */
	uint8_t length;
	uint32_t identity;          /* never nobody */
};

/* A flow's initiator and responder are indexes into identity. Entry 0 of that is nobody. */
struct names {
	const struct name *name;
	uint32_t count;
	const struct identity *identity;
	uint32_t n_identities;
	const struct names_row *row;    /* by family, address, length; whoever lists them need not list all */
	uint32_t n_rows;
};

/* Index into names.name of one word about an identity; zero if there is nothing to say. */
static inline uint32_t
names_word(const struct names *names, uint32_t identity, enum identity_word word)
{
	return identity < names->n_identities ? names->identity[identity].word[word] : 0;
}

/* The same of the one name that a reader of few fields gets: the peer, or else the one behind which it lies. */
static inline uint32_t
names_who(const struct names *names, uint32_t identity)
{
	const uint32_t peer = names_word(names, identity, WORD_PEER);

	return peer ? peer : names_word(names, identity, WORD_VIA);
}

#endif
