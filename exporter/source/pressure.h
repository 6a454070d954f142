/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_SOURCE_PRESSURE_H
#define PEERFLOW_SOURCE_PRESSURE_H

#include <stdbool.h>
#include <stdint.h>

/* Whether the connection tracking table is under pressure: the kernel counts the entries it threw out early to make
 * room (/proc/net/stat/nf_conntrack). It also tells that over netlink, but there a question waits, for as long as a
 * second, behind whoever flushes the table, and just then flow ends come fastest. */
struct pressure {
	int fd;                     /* -1: this kernel does not show the count, and nothing counts as pressure */
	uint64_t early_drops;
	/* ns, any clock that only goes forward; zero: never */
	uint64_t looked_at;
	uint64_t counted_at;        /* the same, unless the count could not be read */
	uint64_t risen_since;       /* the start of the latest time between two looks in which the count rose */
};

void pressure_open(struct pressure *pressure);
void pressure_close(struct pressure *pressure);

/* Notes where the count stands, at most five times a second. To be called for each batch of flow ends. now is ns by that
 * clock. */
void pressure_look(struct pressure *pressure, uint64_t now);

/* Looks, too, so that it can be asked for every flow. True if the kernel threw out entries within the last second. What
 * it threw out cannot be dated better than by the looks around it: where the one before is older than a second, the
 * answer is false, and only what is thrown out from then on counts. */
bool pressure_rising(struct pressure *pressure, uint64_t now);

/* The column NAME of such a table, summed over its lines: a line of names, then a line of hexadecimal numbers for each
 * processor. False if there is no such column. */
bool pressure_sum_column(const char *table, const char *name, uint64_t *sum);

#endif
