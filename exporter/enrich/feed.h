/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ENRICH_FEED_H
#define PEERFLOW_ENRICH_FEED_H

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

#include "enrich/roster.h"

/* The running end of a source of names. Each has a thread of its own, so that one that hangs delays no other, and may
 * block as long as it likes if it does so by feed_wait or watches feed_stop_fd. The other end is sources.h. */
struct feed;

/* What to call with what a source has found out; all may be called from its thread only. */

/* A roster, which is taken over; if it says anything new, it replaces the one before. text tells people where it comes
 * from: "12 peers from the stream of /var/run/netbird-http.sock". */
void feed_deliver(struct feed *feed, struct roster *roster, const char *text);

/* It did not work; the last roster stays in force. */
void feed_fail(struct feed *feed, const GError *error);

/* There is nothing here that could be asked, which is no failure: text says what is missing. */
void feed_absent(struct feed *feed, const char *text);

/* Sleeps, until the time is over or another source says by feed_wake that it is worth while to ask. False: the source
 * is to end, now. */
bool feed_wait(struct feed *feed, int64_t milliseconds);

/* Ends the wait of the source of that rank, if it is configured. */
void feed_wake(struct feed *feed, enum roster_source source);

/* Is the source to end? */
bool feed_is_stopped(const struct feed *feed);

/* Readable as soon as the source is to end; for poll(2) with whatever else the source waits for. */
int feed_stop_fd(const struct feed *feed);

/* How long to wait after this many failures in a row: a second, then twice as long each time up to most. */
int64_t feed_back_off(unsigned failures, int64_t most);

/* The whole life of a source that can be asked again and again. load returns a roster and, in *text, what feed_deliver
 * is to be told; or NULL with error; or NULL without one, and *text is for feed_absent. *text is freed by the caller.
 * refresh is in milliseconds. */
typedef struct roster *feed_load(struct feed *feed, const void *options, char **text, GError **error);
void feed_poll(struct feed *feed, feed_load *load, const void *options, int64_t refresh);

#endif
