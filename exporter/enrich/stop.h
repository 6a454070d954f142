/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ENRICH_STOP_H
#define PEERFLOW_ENRICH_STOP_H

#include <poll.h>
#include <stdbool.h>

/* Whoever may block gets a descriptor that becomes readable when it is to give up at once, to be polled beside whatever
 * it waits for. */
static inline bool
stop_is_set(int stop)
{
	struct pollfd poll_stop = { .fd = stop, .events = POLLIN };

	return poll(&poll_stop, 1, 0) == 1;
}

#endif
