/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_SOURCE_EVENTS_H
#define PEERFLOW_SOURCE_EVENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>
#include <linux/netlink.h>
#include <sys/socket.h>

/* A socket on which the kernel announces changes of the connection tracking table, read in batches: one system call
 * fetches up to 64 messages, since a call each would cost ten times what everything else does. */

enum {
	EVENTS_BATCH = 64,
	EVENTS_MESSAGE_MOST = 1024,     /* a conntrack message has 128 to 600 octets */
};

/* Where a batch is received. The kernel itself writes there how long each message is, and does so before a signal can
 * end the process; so if this memory outlives the process, the next one finds what was taken from the socket and not
 * finished. batch is the number of the batch that is being received or was received last; what it held before is
 * finished as soon as the number changes. */
struct source_memory {
	uint64_t batch;
	/* ms since 1970, zero: never. Until when no loss of an end is known; when all settings were on. */
	uint64_t sound_until;
	uint64_t settings_seen;
	struct mmsghdr header[EVENTS_BATCH];    /* msg_len: zero where nothing was received */
	struct iovec vector[EVENTS_BATCH];
	uint8_t octets[EVENTS_BATCH][EVENTS_MESSAGE_MOST] __attribute__((aligned(NLMSG_ALIGNTO)));
};

struct events_handler {
	/* Called for each message; available is how many octets may be looked at. */
	void (*message)(const struct nlmsghdr *message, size_t available, void *data);
	/* Called after the last message of each batch, unless it is NULL. */
	void (*batch)(uint64_t number, void *data);
};

struct events;

/* Subscribes to one group (NFNLGRP_CONNTRACK_*). buffer is asked of SO_RCVBUFFORCE; if only less is granted, says so
 * and goes on. memory may be NULL, and is the caller's otherwise. Fails with EX_NOPERM without CAP_NET_ADMIN,
 * EX_UNAVAILABLE without ctnetlink in the kernel. */
struct events *events_open(unsigned group, size_t buffer, struct source_memory *memory, GError **error);

/* The same with a socket that another process made and subscribed, whose queue is kept. Takes it, also on failure. */
struct events *events_adopt(int fd, unsigned group, size_t buffer, struct source_memory *memory, GError **error);

void events_close(struct events *events);

/* Subscribes the same socket to one more group. */
bool events_join(struct events *events, unsigned group, GError **error);

int events_fd(const struct events *events);

enum events_state {
	EVENTS_EMPTY,               /* nothing is left to read */
	EVENTS_MORE,                /* the budget was used up */
	EVENTS_OVERRUN,             /* the kernel dropped messages before this point; read on */
};

/* Hands over what has arrived, at most budget messages, without waiting. Adds to *received, and to *truncated what was
 * longer than a buffer. */
enum events_state events_drain(struct events *events, size_t budget, const struct events_handler *handler, void *data,
                               uint64_t *received, uint64_t *truncated);

/* Hands over, once more, the batch that the memory holds. To be called before events_drain. */
void events_replay(struct events *events, const struct events_handler *handler, void *data, uint64_t *received,
                   uint64_t *truncated);

/* Its memory, or that which it was given. */
struct source_memory *events_memory(const struct events *events);

/* Grows or shrinks the receive buffer. */
void events_set_buffer(struct events *events, size_t octets);

/* Octets of the receive buffer as they are asked for: those granted, which may be fewer. */
size_t events_buffer(const struct events *events);

#endif
