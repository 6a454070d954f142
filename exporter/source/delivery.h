/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_SOURCE_DELIVERY_H
#define PEERFLOW_SOURCE_DELIVERY_H

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

#include "gap.h"

/* How the kernel delivers the ends of flows: reliably, as long as that can do no harm (fuse.h), or plainly. What is
 * lost in plain delivery is counted to the flow and told. */
struct delivery;

enum delivery_mode {
	DELIVERY_PLAIN,             /* what does not fit into the socket is lost */
	DELIVERY_RELIABLE,          /* it is delivered later */
	DELIVERY_BLOWN,             /* plain for a while, because of the fuse */
};

struct delivery_options {
	bool reliable;
	unsigned fuse;              /* percent of nf_conntrack_max at which reliable delivery is given up */
};

struct delivery_handler {
	void (*gap)(const struct gap *gap, void *data);
	/* Ends were lost: the table may tell which. */
	void (*lost)(void *data);
};

struct delivery_status {
	enum delivery_mode mode;
	uint64_t since;             /* ms since 1970, when it became so */
	uint64_t lost;              /* ends of flows, as far as the kernel counted them */
	uint64_t postponed;         /* times that the socket was full, and ends were delivered later */
	uint64_t blown;             /* times that the fuse blew */
};

/* For the socket fd, which is not owned. *sound_until, ms since 1970, is kept up: until then nothing had been lost. A
 * stored socket was another process's before: what it lost meanwhile is told at once. */
struct delivery *delivery_open(int fd, bool stored, const struct delivery_options *options, uint64_t *sound_until,
                               const struct delivery_handler *handler, void *data);

void delivery_change(struct delivery *delivery, const struct delivery_options *options);

/* To be called after each reading: overrun, the kernel said that something did not fit; empty, all has been read. */
void delivery_note(struct delivery *delivery, bool overrun, bool empty);

/* The socket is stored elsewhere: see fuse_start. */
void delivery_note_stored(struct delivery *delivery, bool stored);

/* True if ended flows may wait in the table to be told of. */
bool delivery_is_pending(const struct delivery *delivery);

/* Leaves reliable delivery for good, before the last reading. */
void delivery_leave(struct delivery *delivery);

void delivery_read_status(const struct delivery *delivery, struct delivery_status *status);

void delivery_close(struct delivery *delivery);

#endif
