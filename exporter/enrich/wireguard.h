/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ENRICH_WIREGUARD_H
#define PEERFLOW_ENRICH_WIREGUARD_H

#include <stdbool.h>
#include <stddef.h>

#include <glib.h>

#include "enrich/roster.h"
#include "tunnel.h"

struct feed;
struct sources_options;

/* WireGuard outside of the kernel (wireguard-go and its like), by its configuration socket: a text protocol that
 * wg(8) speaks, too. Only the question is asked; the answer holds the private key, which is not kept. */

/* Asks at DIRECTORY/INTERFACE.sock, for at most patience ms, and appends the allowed addresses to prefixes (struct
 * tunnel_prefix). False with error: EX_UNAVAILABLE if nobody is there, EX_NOPERM, EX_DATAERR, EX_IOERR. */
bool wireguard_socket(const char *directory, const char *interface, unsigned patience, GArray *prefixes, GError **error);

/* The same from the octets of an answer, whatever it holds: up to the empty line at its end. False with error
 * (EX_DATAERR) if it is cut, makes no sense or reports an error. */
bool wireguard_parse(const char *text, size_t length, GArray *prefixes, GError **error);

/* What they say about who is behind which prefix: a peer is known by the first whole address of its own, as NetBird and
 * wg-quick configure them; a peer without one tells nothing. The prefixes of a peer stand together. The caller owns the
 * result. */
struct roster *wireguard_roster(const GArray *prefixes);

/* The life of this source of names, see sources.h. */
bool wireguard_is_wanted(const struct sources_options *options);
void wireguard_run(struct feed *feed, const struct sources_options *options);

/* Where the sockets are. */
#define WIREGUARD_SOCKETS "/var/run/wireguard"

#endif
