/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_TRANSPORT_WAKEUP_H
#define PEERFLOW_TRANSPORT_WAKEUP_H

#include <stdint.h>

#include <glib.h>

/* A GSource that is made once and then switched on and off, by time, by a descriptor or by both, so that waiting for
 * something costs no allocation. All times are those of g_get_monotonic_time, in microseconds. */

#define WAKEUP_NOW 0
#define WAKEUP_NEVER (-1)

/* A source in the default main context, off. run gets data and returns G_SOURCE_CONTINUE. End it with
 * wakeup_clear. */
GSource *wakeup_new(GSourceFunc run, void *data);

/* Runs once at this time, if no other call moves it before. */
static inline void
wakeup_at(GSource *wakeup, int64_t when)
{
	g_source_set_ready_time(wakeup, when);
}

/* Takes the source out of the main context, frees it and sets the pointer to NULL. */
void wakeup_clear(GSource **wakeup);

#endif
