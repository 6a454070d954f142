/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_SOURCE_MEMINFO_H
#define PEERFLOW_SOURCE_MEMINFO_H

#include <stdbool.h>
#include <stdint.h>

/* What a netlink socket itself knows of its losses. All of it is safe in a child of a process with threads. */

struct meminfo {
	uint32_t filled;            /* octets of the receive buffer in use, as the kernel counts them */
	uint32_t buffer;            /* octets of the receive buffer */
	uint32_t drops;             /* messages that did not fit since the socket was made; wraps */
};

void meminfo_read(int fd, struct meminfo *meminfo);

uint32_t meminfo_drops(int fd);

/* How many of the drops are accounted for. It is kept in the socket, as its mark, which means nothing to a socket that
 * only listens: so it is still there when another process takes the socket over. */
uint32_t meminfo_counted(int fd);
void meminfo_set_counted(int fd, uint32_t drops);

/* Reliable delivery: the kernel tries again to deliver what did not fit. False if the kernel refuses. */
bool meminfo_set_reliable(int fd, bool reliable);
bool meminfo_is_reliable(int fd);

#endif
