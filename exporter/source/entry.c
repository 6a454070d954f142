/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "source/entry.h"

#include <endian.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <string.h>

/* The attribute walk is written out by hand: it runs once per flow, and a library's parse costs ten times as much as
 * all of it. */

struct span {
	const uint8_t *at;
	const uint8_t *end;
};

struct attribute {
	unsigned type;
	struct span value;
};

/* Takes the next attribute from the span. False at its end; a length that does not add up also empties the span and
 * sets bad. */
static inline bool
next(struct span *span, struct attribute *attribute, bool *bad)
{
	struct nlattr header;
	const size_t left = span->end - span->at;

	if (left < sizeof header) {
		*bad = *bad || left > 0;
		return false;
	}
	memcpy(&header, span->at, sizeof header);
	if (header.nla_len < sizeof header || header.nla_len > left) {
		*bad = true;
		return false;
	}
	attribute->type = header.nla_type & NLA_TYPE_MASK;
	attribute->value = (struct span){ span->at + sizeof header, span->at + header.nla_len };
	const size_t whole = NLA_ALIGN(header.nla_len);
	span->at += whole < left ? whole : left;
	return true;
}

/* The value as a big-endian number; zero if it has another size. */
static inline uint8_t
u8(struct span value)
{
	return value.end - value.at == 1 ? *value.at : 0;
}

static inline uint16_t
u16(struct span value)
{
	uint16_t number = 0;

	if (value.end - value.at == sizeof number)
		memcpy(&number, value.at, sizeof number);
	return be16toh(number);
}

static inline uint32_t
u32(struct span value)
{
	uint32_t number = 0;

	if (value.end - value.at == sizeof number)
		memcpy(&number, value.at, sizeof number);
	return be32toh(number);
}

static inline uint64_t
u64(struct span value)
{
	uint64_t number = 0;

	if (value.end - value.at == sizeof number)
		memcpy(&number, value.at, sizeof number);
	return be64toh(number);
}

static inline void
copy(void *to, size_t size, struct span value)
{
	const size_t given = value.end - value.at;

	memcpy(to, value.at, given < size ? given : size);
}

static void
read_addresses(struct span span, struct side *side, bool *bad)
{
	struct attribute a;

	while (next(&span, &a, bad))
		switch (a.type) {
		case CTA_IP_V4_SRC:
			copy(side->source.v4, sizeof side->source.v4, a.value);
			break;
		case CTA_IP_V4_DST:
			copy(side->destination.v4, sizeof side->destination.v4, a.value);
			break;
		case CTA_IP_V6_SRC:
			copy(side->source.v6, sizeof side->source.v6, a.value);
			break;
		case CTA_IP_V6_DST:
			copy(side->destination.v6, sizeof side->destination.v6, a.value);
			break;
		}
}

static void
read_protocol(struct span span, struct side *side, uint8_t *protocol, bool *bad)
{
	struct attribute a;

	while (next(&span, &a, bad))
		switch (a.type) {
		case CTA_PROTO_NUM:
			*protocol = u8(a.value);
			break;
		case CTA_PROTO_SRC_PORT:
			side->source_port = u16(a.value);
			break;
		case CTA_PROTO_DST_PORT:
			side->destination_port = u16(a.value);
			break;
		case CTA_PROTO_ICMP_ID:
		case CTA_PROTO_ICMPV6_ID:
			side->icmp_id = u16(a.value);
			break;
		case CTA_PROTO_ICMP_TYPE:
		case CTA_PROTO_ICMPV6_TYPE:
			side->icmp |= u8(a.value) << 8;
			break;
		case CTA_PROTO_ICMP_CODE:
		case CTA_PROTO_ICMPV6_CODE:
			side->icmp |= u8(a.value);
			break;
		}
}

static void
read_tuple(struct span span, struct side *side, struct flow *flow, bool *bad)
{
	struct attribute a;

	while (next(&span, &a, bad))
		switch (a.type) {
		case CTA_TUPLE_IP:
			read_addresses(a.value, side, bad);
			break;
		case CTA_TUPLE_PROTO:
			read_protocol(a.value, side, &flow->protocol, bad);
			break;
		case CTA_TUPLE_ZONE:
			/* A zone for one direction only stands here; it tells equal tuples apart as the other kind does. */
			flow->zone = u16(a.value);
			break;
		}
}

static void
read_counters(struct span span, struct side *side, bool *bad)
{
	struct attribute a;

	while (next(&span, &a, bad))
		switch (a.type) {
		case CTA_COUNTERS_PACKETS:
			side->packets = u64(a.value);
			break;
		case CTA_COUNTERS_BYTES:
			side->octets = u64(a.value);
			break;
		case CTA_COUNTERS32_PACKETS:
			side->packets = u32(a.value);
			break;
		case CTA_COUNTERS32_BYTES:
			side->octets = u32(a.value);
			break;
		}
}

static void
read_times(struct span span, struct entry_times *times, bool *bad)
{
	struct attribute a;

	while (next(&span, &a, bad))
		if (a.type == CTA_TIMESTAMP_START)
			times->start = u64(a.value);
		else if (a.type == CTA_TIMESTAMP_STOP)
			times->stop = u64(a.value);
}

/* TCP, SCTP and DCCP nest alike, and the state is the first attribute inside. */
static void
read_state(struct span span, struct flow *flow, bool *bad)
{
	struct attribute outer, inner;

	_Static_assert(CTA_PROTOINFO_TCP_STATE == 1 && CTA_PROTOINFO_SCTP_STATE == 1 && CTA_PROTOINFO_DCCP_STATE == 1,
	               "one number serves three protocols");
	while (next(&span, &outer, bad))
		while (next(&outer.value, &inner, bad))
			if (inner.type == CTA_PROTOINFO_TCP_STATE)
				flow->state = u8(inner.value);
}

/* The kernel's labels are an array of native longs, so bit n is found in the n/8th octet on little-endian machines
 * only; everywhere else they are turned to that order. */
static void
read_labels(struct span value, struct flow *flow)
{
	copy(flow->labels, sizeof flow->labels, value);
#if __BYTE_ORDER == __BIG_ENDIAN
	for (size_t i = 0; i < sizeof flow->labels; i += sizeof(uint32_t)) {
		uint32_t word;
		memcpy(&word, flow->labels + i, sizeof word);
		word = htole32(word);
		memcpy(flow->labels + i, &word, sizeof word);
	}
#endif
}

enum seen {
	SEEN_ORIGINAL = 1,
	SEEN_REPLY = 2,
	SEEN_TUPLES = 3,
	SEEN_COUNTERS = 4,
};

static void
read_attribute(const struct attribute *a, struct flow *flow, struct entry_times *times, unsigned *seen, bool *bad)
{
	switch (a->type) {
	case CTA_TUPLE_ORIG:
		read_tuple(a->value, &flow->original, flow, bad);
		*seen |= SEEN_ORIGINAL;
		break;
	case CTA_TUPLE_REPLY:
		read_tuple(a->value, &flow->reply, flow, bad);
		*seen |= SEEN_REPLY;
		break;
	case CTA_STATUS:
		flow->status = u32(a->value);
		break;
	case CTA_TIMEOUT:
		flow->timeout = u32(a->value);
		break;
	case CTA_MARK:
		flow->mark = u32(a->value);
		break;
	case CTA_COUNTERS_ORIG:
		read_counters(a->value, &flow->original, bad);
		*seen |= SEEN_COUNTERS;
		break;
	case CTA_COUNTERS_REPLY:
		read_counters(a->value, &flow->reply, bad);
		break;
	case CTA_ID:
		flow->id = u32(a->value);
		break;
	case CTA_ZONE:
		flow->zone = u16(a->value);
		break;
	case CTA_PROTOINFO:
		read_state(a->value, flow, bad);
		break;
	case CTA_TIMESTAMP:
		read_times(a->value, times, bad);
		break;
	case CTA_LABELS:
		read_labels(a->value, flow);
		break;
	}
}

/* Other protocols have octets where these have ports (GRE: call ids): they are no ports and not reported as such. */
static void
drop_false_ports(struct flow *flow)
{
	static const uint8_t with_ports[] = { IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE, IPPROTO_SCTP, IPPROTO_DCCP };

	for (size_t i = 0; i < sizeof with_ports; i++)
		if (flow->protocol == with_ports[i])
			return;
	flow->original.source_port = flow->original.destination_port = 0;
	flow->reply.source_port = flow->reply.destination_port = 0;
}

static enum entry_message
read_entry(struct span span, struct flow *flow, struct entry_times *times)
{
	struct attribute a;
	unsigned seen = 0;
	bool bad = false;

	while (next(&span, &a, &bad))
		read_attribute(&a, flow, times, &seen, &bad);
	if (bad || (seen & SEEN_TUPLES) != SEEN_TUPLES)
		return ENTRY_MALFORMED;
	drop_false_ports(flow);
	if (!(seen & SEEN_COUNTERS))
		flow->gaps |= GAP_NO_COUNTERS;
	if (!times->start)
		flow->gaps |= GAP_NO_START;
	return ENTRY_NEW;
}

enum entry_message
entry_read(const struct nlmsghdr *message, size_t available, struct flow *flow, struct entry_times *times)
{
	const size_t headers = NLMSG_HDRLEN + NLMSG_ALIGN(sizeof(struct nfgenmsg));
	struct nfgenmsg family;

	if (available < sizeof *message || message->nlmsg_len < sizeof *message || message->nlmsg_len > available)
		return ENTRY_MALFORMED;
	if (NFNL_SUBSYS_ID(message->nlmsg_type) != NFNL_SUBSYS_CTNETLINK)
		return ENTRY_OTHER;
	const unsigned type = NFNL_MSG_TYPE(message->nlmsg_type);
	if (type != IPCTNL_MSG_CT_NEW && type != IPCTNL_MSG_CT_DELETE)
		return ENTRY_OTHER;
	if (message->nlmsg_len < headers)
		return ENTRY_MALFORMED;

	memset(flow, 0, sizeof *flow);
	memset(times, 0, sizeof *times);
	memcpy(&family, (const uint8_t *)message + NLMSG_HDRLEN, sizeof family);
	if (family.nfgen_family != AF_INET && family.nfgen_family != AF_INET6)
		return ENTRY_MALFORMED;
	flow->family = family.nfgen_family == AF_INET ? 4 : 6;
	const struct span span = { (const uint8_t *)message + headers, (const uint8_t *)message + message->nlmsg_len };
	if (read_entry(span, flow, times) == ENTRY_MALFORMED)
		return ENTRY_MALFORMED;
	return type == IPCTNL_MSG_CT_DELETE ? ENTRY_DELETED : ENTRY_NEW;
}
