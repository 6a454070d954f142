/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_AUDIT_TUPLE_H
#define PEERFLOW_AUDIT_TUPLE_H

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

#include "flow.h"

/* Who speaks to whom, as the packets of one direction say it on one wire. All octets count: tuples compare and hash as
 * a whole. */
struct tuple {
	union address source;
	union address destination;
	uint16_t source_port;
	uint16_t destination_port;
	uint8_t protocol;
	uint8_t family;             /* 4 or 6 */
	uint8_t zero[2];
};

/* What the initiator's packets said when they came to the router, and when they left it. */
struct tuple tuple_before(const struct flow *flow);
struct tuple tuple_after(const struct flow *flow);

/* The same of the answers: that of a packet the other way. */
struct tuple tuple_inverse(const struct tuple *tuple);

bool tuple_equal(const struct tuple *one, const struct tuple *other);
uint64_t tuple_hash(const struct tuple *tuple);

/* A flow that only tells one direction, seen from the other end: what it calls its original is the reply. */
void tuple_turn(struct flow *flow);

/* A tuple as people write it, "10.20.0.20:40002 -> 10.30.0.30:5432" or "tcp [fd20::20]:40002 -> [fd30::30]:5432"; what
 * is left out, also by a *, can be anything. */
struct tuple_pattern {
	union address address[2];   /* source, destination */
	uint8_t family[2];          /* zero: any address */
	int32_t port[2];            /* negative: any */
	int protocol;               /* negative: any */
};

/* Fails (EX_USAGE) with a message that says what is wrong. */
bool tuple_parse(const char *text, struct tuple_pattern *pattern, GError **error);

/* Whether the flow's packets, or its answers, said this before or after translation. */
bool tuple_matches(const struct tuple_pattern *pattern, const struct flow *flow);

#endif
