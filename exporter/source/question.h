/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_SOURCE_QUESTION_H
#define PEERFLOW_SOURCE_QUESTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <glib.h>

struct nlmsghdr;

/* Questions to the kernel and its answers, on sockets of their own so that a question never waits behind events nor
 * they behind it. */

enum { WALK_DATAGRAM_MOST = 32768 };    /* octets; the kernel fills no more than this at a time */

/* Walks over a whole table of connection tracking. One is read a datagram at a time (about a hundred entries): the
 * kernel keeps the place, and fills a datagram when the one before is received, the first when it is asked. */
struct walk;

enum walk_table {
	WALK_LIVING,                /* the entries there are; it is asking for them that ends those that expired */
	WALK_DYING,                 /* those that ended, and wait until all reliable listeners have heard of it */
};

/* Fails with EX_OSERR if no socket can be had. */
struct walk *walk_open(GError **error);
void walk_close(struct walk *walk);

/* Asks for a table. Takes as long as the kernel needs to fill a datagram, and to finish what others have asked of it:
 * behind a flush, as much as a second. False if the kernel does not take the question; errno says why. A walk that was
 * not read to its end has to be closed. */
bool walk_begin(struct walk *walk, enum walk_table table);

/* Receives the next datagram into WALK_DATAGRAM_MOST octets, aligned to four. Returns its length, or -1 with errno. */
ssize_t walk_receive(struct walk *walk, void *octets);

typedef void walk_entry(const struct nlmsghdr *message, size_t available, void *data);

enum walk_state {
	WALK_GOES_ON,
	WALK_DONE,
	WALK_FAILED,                /* errno says why */
};

/* Hands over the entries of a datagram, which may hold anything, and says whether it is the last. entry may be NULL. */
enum walk_state walk_read(const struct walk *walk, const void *octets, size_t length, walk_entry *entry, void *data);

#endif
