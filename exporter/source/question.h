/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_SOURCE_QUESTION_H
#define PEERFLOW_SOURCE_QUESTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>

struct nlmsghdr;

/* Questions to the kernel and its answers, on sockets of their own so that a question never waits behind events nor
 * they behind it. */

/* One walk over the whole connection tracking table. It is read a datagram at a time (about a hundred entries) with
 * pauses in between: the kernel keeps the place, and neither the daemon nor the router stalls. */
struct walk;

/* Fails with EX_OSERR if no socket can be had or the kernel does not take the question. */
struct walk *walk_open(GError **error);
void walk_close(struct walk *walk);

typedef void walk_entry(const struct nlmsghdr *message, size_t available, void *data);

enum walk_state {
	WALK_GOES_ON,
	WALK_DONE,
	WALK_FAILED,                /* errno says why */
};

/* Reads one datagram of the answer. Waits for the kernel to fill it, which takes well under a millisecond. */
enum walk_state walk_step(struct walk *walk, walk_entry *entry, void *data);

#endif
