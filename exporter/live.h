/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_LIVE_H
#define PEERFLOW_LIVE_H

#include <glib.h>

/* The local socket on which viewers (peerflow live) ask for the flows as they end. */
struct live;

/* Called with the connected socket of a new viewer, which then belongs to the callee. */
typedef void live_viewer(int fd, void *data);

/* Listens at path, in place of whatever socket a former run left there; makes the last folder of the path if it is
 * missing. Only the owner and the group may connect: who talks to whom is nobody else's business. Fails with
 * EX_OSERR. */
struct live *live_open(const char *path, live_viewer *viewer, void *data, GError **error);

/* Stops listening and removes the socket. */
void live_close(struct live *live);

#endif
