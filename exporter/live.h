/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_LIVE_H
#define PEERFLOW_LIVE_H

#include <glib.h>

/* A local socket on which programs of this host ask for something: the flows as they end (peerflow live), or how things
 * stand (peerflow status). */
struct live;

/* Called with the connected socket of a new viewer, which then belongs to the callee. */
typedef void live_viewer(int fd, void *data);

/* Listens at path, in place of a socket that a former run left there, but not of one that somebody listens at; makes
 * the last folder of the path if it is missing. Only the owner and the group may connect: who talks to whom is nobody
 * else's business. While viewers cannot be accepted (no descriptors are left) they wait, and once a second it is tried
 * again. option is what errors call it by. Fails with EX_OSERR. */
struct live *live_open(const char *option, const char *path, live_viewer *viewer, void *data, GError **error);

/* Stops listening and removes the socket, unless another has taken its place. */
void live_close(struct live *live);

#endif
