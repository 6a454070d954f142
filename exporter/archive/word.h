/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ARCHIVE_WORD_H
#define PEERFLOW_ARCHIVE_WORD_H

#include <stdbool.h>
#include <stdint.h>

/* Every element the reader understands: a number for each row of templates/fields.def, the two an interface's name
 * comes in, and those of other options records. NetFlow v9's own rows have a number too, so that a bit is a row, but no
 * IPFIX template ever has them. */
enum word {
#define FIELD(name, ...) WORD_##name,
#include "fields.def"
#undef FIELD
	WORD_interfaceName,
	WORD_interfaceDescription,
	WORD_observationDomainId,
	WORD_observationDomainName,
	WORD_gapKind,
	WORD_gapFlags,
	WORD_gapFlows,
	WORD_gapPackets,
	WORD_gapOctets,
	WORD_gapFirst,              /* two of the same element, the earlier first */
	WORD_gapLast,
	WORD_COUNT
};

/* A set of them. */
struct words {
	uint64_t bits[(WORD_COUNT + 63) / 64];
};

static inline void
words_add(struct words *words, unsigned word)
{
	words->bits[word / 64] |= UINT64_C(1) << word % 64;
}

static inline bool
words_have(const struct words *words, unsigned word)
{
	return words->bits[word / 64] >> word % 64 & 1;
}

static inline bool
words_have_both(const struct words *words, unsigned one, unsigned other)
{
	return words_have(words, one) && words_have(words, other);
}

/* Whatever a string is about, it is read alike: a macro for each kind is JOIN(MACRO_, LIKE_##kind). */
#define LIKE_NUMBER NUMBER
#define LIKE_OCTETS OCTETS
#define LIKE_UPTIME UPTIME
#define LIKE_REFERENCE REFERENCE
#define LIKE_NAME NAME
#define LIKE_TEXT NAME
#define LIKE_PEER NAME
#define LIKE_PEER_ID NAME
#define LIKE_USER NAME
#define LIKE_GROUPS NAME
#define LIKE_VIA NAME
#define LIKE_RESOURCE NAME
#define LIKE_NETWORK NAME
#define LIKE_DOMAIN NAME
#define JOIN_WORDS(a, b) a##b
#define JOIN(a, b) JOIN_WORDS(a, b)

enum {
	WORD_REVERSE = 29305,       /* RFC 5103 */
	WORD_VARIABLE = 65535,      /* RFC 7011 section 7 */
};

#endif
