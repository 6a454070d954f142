/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ARCHIVE_CONCLUDE_H
#define PEERFLOW_ARCHIVE_CONCLUDE_H

#include <stdbool.h>
#include <stdint.h>

#include "archive/word.h"
#include "flow.h"

/* What follows from the words a flow's template has, once for all its records. */
struct conclusion {
	uint8_t family;
	uint8_t mirrors;            /* parts of the reply's tuple that no word says */
	bool nat_type;              /* neither is that said */
};

/* Are the records of such a template flows: addresses of one family, and a protocol? Those of options never are. */
bool conclude_is_flow(const struct words *words);

struct conclusion conclusion_of(const struct words *words);

/* Does the reply's tuple follow from the original one alone? */
bool conclusion_is_plain(const struct conclusion *conclusion);

/* Fills in what follows from what was said, and is no word itself: the family, the reply's tuple of a flow that was not
 * translated, what was translated, the kernel's id. */
void conclude(struct flow *flow, const struct conclusion *conclusion);

/* Does this word of its template say something of the flow? Not so an address that is not of its family. */
bool conclude_heeds(const struct words *words, unsigned word);

#endif
