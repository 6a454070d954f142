/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_SOURCE_SOURCE_H
#define PEERFLOW_SOURCE_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>

#include "counters.h"
#include "flow.h"

/* The kernel's connection tracking as a stream of ended flows. */

struct source_prefix {
	union address address;
	uint8_t family;             /* 4 or 6 */
	uint8_t length;
};

struct source_mark {
	uint32_t value;
	uint32_t mask;
};

/* Which flows the kernel hands over at all. */
struct source_filter {
	const struct source_prefix *ignore;     /* flows whose initiator is in one of these are left out */
	size_t n_ignore;
	const struct source_mark *mark;         /* flows that match one of these, or all if there is none */
	size_t n_mark;
	const uint8_t *protocol;                /* flows of these protocols, or all if there is none */
	size_t n_protocol;
};

struct source_options {
	struct source_filter filter;
	size_t receive_buffer;      /* octets asked of SO_RCVBUFFORCE */
	bool labels;                /* follow UPDATE events for connection labels */
};

/* Called with some flows that ended, in the order the kernel told. They are the source's and may be changed in place;
 * they are gone when the call returns. */
typedef void source_flows(struct flow *flow, size_t n, void *data);

struct source;

/* Starts listening, in GLib's default main context: sets the kernel's settings, subscribes, and walks once over the
 * flows there are, to say what cannot be known of them. All flows are handed over from the main loop, in batches;
 * drained is called after each batch. Fails with EX_NOPERM, EX_UNAVAILABLE or EX_OSERR. */
struct source *source_open(const struct source_options *options, source_flows *flows, void (*drained)(void *data),
                           void *data, GError **error);

/* Hands over what has already arrived and stops. */
void source_close(struct source *source);
typedef struct source source_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(source_t, source_close)

/* Other options from now on, without missing an event. On failure the old ones stay in force. Whether labels are
 * followed cannot change while running. */
bool source_reconfigure(struct source *source, const struct source_options *options, GError **error);

const struct source_counters *source_counters(const struct source *source);

#endif
