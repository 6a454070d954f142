/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_SOURCE_EVENTS_H
#define PEERFLOW_SOURCE_EVENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>

struct nlmsghdr;

/* A socket on which the kernel announces changes of the connection tracking table, read in batches: one system call
 * fetches up to 64 messages, since a call each would cost ten times what everything else does. */

/* Called for each message; available is how many octets may be looked at. */
typedef void events_message(const struct nlmsghdr *message, size_t available, void *data);

struct events;

/* Subscribes to one group (NFNLGRP_CONNTRACK_*). buffer is asked of SO_RCVBUFFORCE; if only less is granted, says so
 * and goes on. Fails with EX_NOPERM without CAP_NET_ADMIN, EX_UNAVAILABLE without ctnetlink in the kernel. */
struct events *events_open(unsigned group, size_t buffer, GError **error);
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
enum events_state events_drain(struct events *events, size_t budget, events_message *handle, void *data,
                               uint64_t *received, uint64_t *truncated);

/* Grows or shrinks the receive buffer. */
void events_set_buffer(struct events *events, size_t octets);

/* Octets of the receive buffer as they are asked for: those granted, which may be fewer. */
size_t events_buffer(const struct events *events);

#endif
