/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_SOURCE_LABELS_H
#define PEERFLOW_SOURCE_LABELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "flow.h"

/* Connection labels (nft `ct label set`). The kernel announces them when they change and leaves them out when the flow
 * ends, so whoever wants them in the record of an ended flow must have kept them: this table does, for flows that have
 * any. It never grows: when it is full, the labels heard of longest ago make room, and are counted as lost. */

struct labels;

/* Room for at least that many flows; NULL if there is no memory for it. */
struct labels *labels_new(size_t capacity);
void labels_free(struct labels *labels);

/* Keeps the labels a message about this flow carried, in place of its former ones. */
void labels_keep(struct labels *labels, const struct flow *flow);

/* Gives the ended flow its labels and forgets them. */
void labels_take(struct labels *labels, struct flow *flow);

/* How many flows' labels had to make room. A flow whose labels are heard of again after that, and have to make room
 * again, counts twice; one whose end was lost counts, too. */
uint64_t labels_lost(const struct labels *labels);

/* Lets only messages that carry labels through to the socket. False: the kernel does not take the filter (errno). */
bool labels_filter(int fd);

#endif
