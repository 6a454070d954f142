/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_SOURCE_LABELS_H
#define PEERFLOW_SOURCE_LABELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "flow.h"

/* Connection labels (nft `ct label set`). The kernel announces them when they change and leaves them out when the flow
 * ends, so whoever wants them in the record of an ended flow must have kept them: this table does, for flows that have
 * any. It never grows; labels that find no room are counted. */

struct labels;

/* NULL if memory for that many flows cannot be had. capacity is rounded up to a power of two. */
struct labels *labels_new(size_t capacity);
void labels_free(struct labels *labels);

/* Keeps the labels a message about this flow carried. */
void labels_keep(struct labels *labels, const struct flow *flow);

/* Gives the ended flow its labels and forgets them. */
void labels_take(struct labels *labels, struct flow *flow);

/* How many flows' labels found no room. */
uint64_t labels_lost(const struct labels *labels);

/* Lets only messages that carry labels through to the socket. False: the kernel does not take the filter (errno). */
bool labels_filter(int fd);

#endif
