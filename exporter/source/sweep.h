/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_SOURCE_SWEEP_H
#define PEERFLOW_SOURCE_SWEEP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>

struct nlmsghdr;

/* Walks over the connection tracking table, one after the other. On a router where little happens the kernel forgets an
 * expired entry, and says so, only after most of a minute; but whoever reads the table makes it do so at once. So the
 * table is read every second, or less often the more there is in it: what may be spent on that is a share of one
 * processor.
 *
 * The kernel is asked from a thread, because a question may wait for a second behind somebody who flushes the table,
 * and because in a table with few entries and many buckets the kernel does not come back before it has seen them all. All
 * else happens in GLib's default main context, a piece at a time with pauses in between. */
struct sweep;

struct sweep_options {
	unsigned share;             /* percent of one processor that may be spent; 0: sweep only as often as must be */
	unsigned longest;           /* seconds from one sweep to the next at most */
};

struct sweep_report {
	bool complete;              /* all entries were shown; if not, reason is an errno */
	int reason;
	bool dying;                 /* ended flows wait to be told of again: see sweep_handler.begin */
	uint64_t entries;           /* messages handed over */
	uint64_t cost;              /* ns of processor time, that of the call-backs included */
	uint64_t duration;          /* microseconds */
	uint64_t stall;             /* microseconds that the longest piece kept the main context from other work */
	uint64_t pause;             /* microseconds until the next sweep begins */
};

struct sweep_handler {
	/* A sweep is about to begin. True if it is worth a question whether ended flows wait to be told of again. */
	bool (*begin)(void *data);
	/* An entry, or whatever stands in its place; at most available octets. looked is when the kernel read it, ns since
	 * 1970. */
	void (*entry)(const struct nlmsghdr *message, size_t available, uint64_t looked, void *data);
	/* A piece is over: other work has its turn now. */
	void (*piece)(void *data);
	void (*over)(const struct sweep_report *report, void *data);
};

/* The first sweep begins with the main loop. Fails with EX_OSERR. */
struct sweep *sweep_new(const struct sweep_options *options, const struct sweep_handler *handler, void *data,
                        GError **error);
void sweep_free(struct sweep *sweep);

/* Other options from now on; the next sweep begins at once. */
void sweep_change(struct sweep *sweep, const struct sweep_options *options);

/* The next sweep begins at once, or as soon as the one that runs is over. */
void sweep_soon(struct sweep *sweep);

/* Microseconds from the begin of a sweep that cost so many ns to that of the next. */
uint64_t sweep_period(const struct sweep_options *options, uint64_t cost);

#endif
