/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ARCHIVE_CONCLUDE_H
#define PEERFLOW_ARCHIVE_CONCLUDE_H

#include "archive/word.h"
#include "flow.h"

/* Fills in what follows from the words a flow's template had, and is no word itself: the family, the reply's tuple of a
 * flow that was not translated, what was translated, the kernel's id. */
void conclude(struct flow *flow, const struct words *words);

/* Does this word of its template say something of the flow? Not so an address that is not of its family. */
bool conclude_heeds(const struct words *words, unsigned word);

#endif
