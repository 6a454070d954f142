/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_SOURCE_SIGNS_H
#define PEERFLOW_SOURCE_SIGNS_H

#include <stdbool.h>

#include "mesh_signs.h"

struct nlmsghdr;

/* What the kernel shows of the mesh, by questions alone: no program is run. */

/* Fills in what kind of link the interface is and whether NetBird's rules are there. The rules are found in nftables,
 * whose rules are iptables', too, on systems of today: the table "netbird" or chains called NETBIRD-*. Old iptables
 * keeps its chains where only its own tools look: where it is in use, or without CAP_NET_ADMIN, the answer is not NO
 * but UNKNOWN, and so it is for a table renamed by NB_NFTABLES_TABLE. Takes well under a millisecond on most hosts. */
void signs_read(const char *interface, struct mesh_signs *signs);

/* The first half of it alone. */
enum mesh_link signs_find_link(const char *interface);

/* One message about a link (RTM_NEWLINK): its kind. */
enum mesh_link signs_link(const struct nlmsghdr *message);

/* One message about a chain (NFT_MSG_NEWCHAIN): is it NetBird's? */
bool signs_chain(const struct nlmsghdr *message);

#endif
