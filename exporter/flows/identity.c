/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "flows/identity.h"

#include <netinet/in.h>
#include <stdbool.h>

void
identity_of(const struct flow *flow, struct flow_identity *identity)
{
	const struct side *side = &flow->original;
	const bool icmp = flow->protocol == IPPROTO_ICMP || flow->protocol == IPPROTO_ICMPV6;

	identity->source = side->source;
	identity->destination = side->destination;
	identity->born = flow->gaps & GAP_NO_START ? 0 : flow->born * 1000000 + flow->born_ns;
	identity->id = flow->id;
	identity->port[0] = icmp ? side->icmp_id : side->source_port;
	identity->port[1] = icmp ? side->icmp : side->destination_port;
	identity->kind = (uint32_t)flow->zone << 16 | flow->family << 8 | flow->protocol;
}

static inline uint64_t
turn(uint64_t word, unsigned bits)
{
	return word << bits | word >> (64 - bits);
}

static inline void
mix(uint64_t v[4])
{
	v[0] += v[1];
	v[2] += v[3];
	v[1] = turn(v[1], 13) ^ v[0];
	v[3] = turn(v[3], 16) ^ v[2];
	v[0] = turn(v[0], 32) + v[3];
	v[2] += v[1];
	v[1] = turn(v[1], 17) ^ v[2];
	v[3] = turn(v[3], 21) ^ v[0];
	v[2] = turn(v[2], 32);
}

static inline void
absorb(uint64_t v[4], uint64_t word)
{
	v[3] ^= word;
	mix(v);
	v[0] ^= word;
}

/* What is zero in all IPv4 addresses need not be hashed. Returns how many words it was. */
static inline unsigned
absorb_addresses(uint64_t v[4], const struct flow_identity *identity)
{
	if ((identity->kind >> 8 & 0xff) == 4) {
		absorb(v, (uint64_t)identity->source.word[0] << 32 | identity->destination.word[0]);
		return 1;
	}
	absorb(v, identity->source.half[0]);
	absorb(v, identity->source.half[1]);
	absorb(v, identity->destination.half[0]);
	absorb(v, identity->destination.half[1]);
	return 4;
}

uint64_t
identity_hash(const struct flow_identity *identity, const struct identity_key *key)
{
	uint64_t v[4] = { key->half[0] ^ 0x736f6d6570736575, key->half[1] ^ 0x646f72616e646f6d,
	                  key->half[0] ^ 0x6c7967656e657261, key->half[1] ^ 0x7465646279746573 };

	absorb(v, (uint64_t)identity->id << 32 | (uint32_t)identity->port[0] << 16 | identity->port[1]);
	absorb(v, identity->born);
	absorb(v, identity->kind);
	const unsigned words = 3 + absorb_addresses(v, identity);
	absorb(v, (uint64_t)words * 8 << 56);
	v[2] ^= 0xff;
	mix(v);
	mix(v);
	mix(v);
	const uint64_t hash = v[0] ^ v[1] ^ v[2] ^ v[3];
	return hash ? hash : 1;
}
