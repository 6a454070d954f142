/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_SOURCE_WIREGUARD_H
#define PEERFLOW_SOURCE_WIREGUARD_H

#include <stdbool.h>

#include <glib.h>

#include "tunnel.h"

struct nlmsghdr;

/* The kernel's WireGuard, by generic netlink. Only questions are asked. */

/* Appends the allowed addresses of an interface to prefixes (struct tunnel_prefix). Takes a few milliseconds, or two
 * seconds if the kernel does not answer; needs CAP_NET_ADMIN. False with error: EX_UNAVAILABLE if the kernel has no
 * WireGuard or it has no such interface, EX_NOPERM, EX_OSERR. */
bool wireguard_allowed(const char *interface, GArray *prefixes, GError **error);

/* The same from one message of the answer (WG_CMD_GET_DEVICE), whatever it holds. */
void wireguard_read(const struct nlmsghdr *message, GArray *prefixes);

#endif
