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

/* Called for each ended flow. The flow is the source's and may be changed in place; it is gone when the call returns. */
typedef void source_flow(struct flow *flow, void *data);

struct source;

/* What the table held when the source was opened. */
struct source_census {
	uint64_t flows;
	uint64_t without_counters;
	uint64_t without_start;
};

struct source *source_open(const struct source_options *options, source_flow *flow, void *data, GError **error);
void source_close(struct source *source);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(struct source, source_close)

const struct source_counters *source_counters(const struct source *source);

#endif
