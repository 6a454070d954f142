/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_SOURCE_NETLINK_H
#define PEERFLOW_SOURCE_NETLINK_H

#include <stdbool.h>

/* Opens a netlink socket of that protocol (NETLINK_*) that only the kernel can send to: anybody with the privilege may
 * send to a socket whose port he guesses, unless it is connected. Reads wait at most patience seconds (0: for ever); the kernel
 * answers at once or not at all and a defect there must not become a hang here. The caller closes it. -1 with errno if
 * there is none to be had. */
int netlink_open(int protocol, unsigned patience);

/* Is this a netlink socket of that protocol, in the network namespace that we are in? */
bool netlink_is_here(int fd, int protocol);

#endif
