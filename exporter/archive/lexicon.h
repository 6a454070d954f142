/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ARCHIVE_LEXICON_H
#define PEERFLOW_ARCHIVE_LEXICON_H

#include <stdbool.h>
#include <stdint.h>

#include "archive/word.h"
#include "names.h"

/* Gathers the strings that records tell of the two ends of flows into a struct names. */

/* A string as it stands in a record. */
struct saying {
	const uint8_t *text;
	uint16_t octets;
	uint8_t word;               /* WORD_userName and others */
};

/* What a flow refers to them by. */
struct lexicon_entry {
	uint32_t initiator;
	uint32_t responder;
	uint32_t policy;
};

struct lexicon;

struct lexicon *lexicon_new(void);
void lexicon_free(struct lexicon *lexicon);

/* Forgets all it holds. */
void lexicon_clear(struct lexicon *lexicon);

/* Adds what was said of one flow's ends; broken UTF-8 is mended. answers: the record is that of the reply direction,
 * and its userName is that of the destination. */
struct lexicon_entry lexicon_add(struct lexicon *lexicon, const struct saying *said, unsigned n, bool answers);

/* Good until the next call; entry 0 of both tables is nobody. */
const struct names *lexicon_names(struct lexicon *lexicon);

/* Neither empty nor the "-" that stands for nothing? */
static inline bool
saying_says(const uint8_t *text, uint16_t octets)
{
	return octets > 1 || (octets && *text != '-');
}

#endif
