/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_FLOWS_IDENTITY_H
#define PEERFLOW_FLOWS_IDENTITY_H

#include <stdint.h>

#include "flow.h"

/* What tells one entry of the kernel's table from every other that is or was there: its id, which alone is a hash and
 * collides, the original tuple, the zone, and the birth to the nanosecond. Without time stamps the birth is missing,
 * and what then looks the same may not be. */
struct flow_identity {
	union address source;
	union address destination;
	uint64_t born;              /* ns since 1970; zero: not known */
	uint32_t id;
	uint16_t port[2];           /* of source and destination; ICMP: its id, then type and code */
	uint32_t kind;              /* zone << 16 | family << 8 | protocol: never zero */
} __attribute__((packed, aligned(4)));

void identity_of(const struct flow *flow, struct flow_identity *identity);

/* The key keeps others from making flows whose hashes are the same: one of them would be taken for the other. */
struct identity_key {
	uint64_t half[2];
};

/* SipHash-1-3 of all members; of IPv4 addresses, the octets they fill. Never zero. */
uint64_t identity_hash(const struct flow_identity *identity, const struct identity_key *key);

#endif
