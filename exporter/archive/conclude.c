/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "archive/conclude.h"

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* What the reply's tuple is where the template has no word for it: that of packets nobody translated. */
static const struct {
	uint8_t unless[2];          /* enum word: if the template has neither */
	uint16_t from;
	uint16_t to;
	uint8_t octets;
} mirrors[] = {
#define MIRROR(one, other, to_, from_) \
	{ { WORD_##one, WORD_##other }, offsetof(struct flow, from_), offsetof(struct flow, to_), \
	  sizeof((struct flow *)0)->to_ }
	MIRROR(postNATSourceIPv4Address, postNATSourceIPv6Address, reply.destination, original.source),
	MIRROR(postNATDestinationIPv4Address, postNATDestinationIPv6Address, reply.source, original.destination),
	MIRROR(postNAPTSourceTransportPort, postNAPTSourceTransportPort, reply.destination_port, original.source_port),
	MIRROR(postNAPTDestinationTransportPort, postNAPTDestinationTransportPort, reply.source_port,
	       original.destination_port),
	MIRROR(postNATIcmpIdentifier, postNATIcmpIdentifier, reply.icmp_id, original.icmp_id),
};

static bool
is_v6(const struct words *words)
{
	return words_have_both(words, WORD_sourceIPv6Address, WORD_destinationIPv6Address);
}

bool
conclude_is_flow(const struct words *words)
{
	const bool v4 = words_have_both(words, WORD_sourceIPv4Address, WORD_destinationIPv4Address);

	return v4 != is_v6(words) && words_have(words, WORD_protocolIdentifier);
}

bool
conclude_heeds(const struct words *words, unsigned word)
{
	switch (word) {
	case WORD_sourceIPv4Address:
	case WORD_destinationIPv4Address:
	case WORD_postNATSourceIPv4Address:
	case WORD_postNATDestinationIPv4Address:
		return !is_v6(words);
	case WORD_sourceIPv6Address:
	case WORD_destinationIPv6Address:
	case WORD_postNATSourceIPv6Address:
	case WORD_postNATDestinationIPv6Address:
		return is_v6(words);
	default:
		return true;
	}
}

static bool
heeded(const struct words *words, unsigned word)
{
	return words_have(words, word) && conclude_heeds(words, word);
}

struct conclusion
conclusion_of(const struct words *words)
{
	struct conclusion conclusion = { .family = is_v6(words) ? 6 : 4, .nat_type = !words_have(words, WORD_natType) };

	for (unsigned i = 0; i < G_N_ELEMENTS(mirrors); i++)
		if (!heeded(words, mirrors[i].unless[0]) && !heeded(words, mirrors[i].unless[1]))
			conclusion.mirrors |= 1 << i;
	return conclusion;
}

bool
conclusion_is_plain(const struct conclusion *conclusion)
{
	return conclusion->mirrors == (1 << G_N_ELEMENTS(mirrors)) - 1;
}

static inline bool
differ(const union address *one, const union address *other)
{
	return (one->half[0] ^ other->half[0]) | (one->half[1] ^ other->half[1]);
}

static uint8_t
translation(const struct flow *flow)
{
	const struct side *there = &flow->original, *back = &flow->reply;
	const bool source = differ(&there->source, &back->destination) || there->source_port != back->destination_port;
	const bool destination = differ(&there->destination, &back->source) ||
	                         there->destination_port != back->source_port;

	return (source ? TRANSLATED_SOURCE : 0) | (destination ? TRANSLATED_DESTINATION : 0);
}

static uint8_t
nat_type(const struct flow *flow)
{
	if (flow->translation)
		return flow->family == 4 ? 1 : 5;
	return flow->family;
}

void
conclude(struct flow *flow, const struct conclusion *conclusion)
{
	flow->family = conclusion->family;
	for (unsigned i = 0; conclusion->mirrors >> i; i++)
		if (conclusion->mirrors >> i & 1)
			memcpy((uint8_t *)flow + mirrors[i].to, (uint8_t *)flow + mirrors[i].from, mirrors[i].octets);
	flow->translation = translation(flow);
	if (conclusion->nat_type)
		flow->nat_type = nat_type(flow);
	flow->id = flow->flow_id >> 32;
}
