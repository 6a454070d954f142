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
	uint64_t asked_at;          /* ns, any clock that only goes forward; zero: never */
	bool rising;
};

void pressure_open(struct pressure *pressure);
void pressure_close(struct pressure *pressure);

/* True if the kernel threw out entries within about the last fifth of a second. now is ns by that clock. Looks at most
 * five times a second, so it can be asked for every flow. */
bool pressure_rising(struct pressure *pressure, uint64_t now);

/* The column NAME of such a table, summed over its lines: a line of names, then a line of hexadecimal numbers for each
 * processor. False if there is no such column. */
bool pressure_sum_column(const char *table, const char *name, uint64_t *sum);

#endif
