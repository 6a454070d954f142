/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_TRANSPORT_RESOLVE_H
#define PEERFLOW_TRANSPORT_RESOLVE_H

#include <stddef.h>
#include <stdint.h>

#include <glib.h>

#include "endpoint.h"

/* The addresses of a name, in the order in which the system prefers them. */
struct answers {
	union endpoint endpoint[8];
	size_t n;
};

struct lookup;

/* Called once from the main loop, never from inside resolve_start. error is NULL if there is at least one answer. */
typedef void (*resolve_done)(void *data, const struct answers *answers, const GError *error);

/* Asks for the addresses of a name, away from the main loop. family: AF_INET, AF_INET6 or AF_UNSPEC for both. The
 * lookup frees itself after done was called, or after resolve_cancel, which keeps done from being called. */
struct lookup *resolve_start(const char *host, uint16_t port, int family, resolve_done done, void *data);
void resolve_cancel(struct lookup *lookup);

#endif
