/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Messages of the kernel: made by hand, octet for octet as linux/netfilter/nfnetlink_conntrack.h has them; made by
 * libnetfilter_conntrack, with which all values must agree; cut short anywhere; and garbled. */

#include "source/entry.h"

#include <arpa/inet.h>
#include <endian.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack_tcp.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "suite.h"

enum { NESTED = NLA_F_NESTED };

/* ---- messages by hand ---- */

struct builder {
	uint8_t octets[2048] __attribute__((aligned(4)));
	size_t size;
};

static void
begin(struct builder *to, unsigned type, uint8_t family)
{
	const struct nlmsghdr header = { .nlmsg_type = type };
	const struct nfgenmsg extra = { .nfgen_family = family };

	memset(to, 0, sizeof *to);
	memcpy(to->octets, &header, sizeof header);
	memcpy(to->octets + NLMSG_HDRLEN, &extra, sizeof extra);
	to->size = NLMSG_HDRLEN + sizeof extra;
}

static struct nlmsghdr *
finish(struct builder *to)
{
	struct nlmsghdr *header = (struct nlmsghdr *)to->octets;

	header->nlmsg_len = to->size;
	return header;
}

static void
put(struct builder *to, unsigned type, const void *value, size_t octets)
{
	const struct nlattr header = { sizeof header + octets, type };

	memcpy(to->octets + to->size, &header, sizeof header);
	memcpy(to->octets + to->size + sizeof header, value, octets);
	to->size += NLA_ALIGN(header.nla_len);
}

static void
put_number(struct builder *to, unsigned type, uint64_t value, size_t octets)
{
	value = htobe64(value << (64 - 8 * octets));
	put(to, type, &value, octets);
}

static size_t
nest(struct builder *to, unsigned type)
{
	put(to, type | NESTED, "", 0);
	return to->size - NLA_HDRLEN;
}

static void
end_nest(struct builder *to, size_t at)
{
	const uint16_t length = to->size - at;

	memcpy(to->octets + at, &length, sizeof length);
}

struct end {
	const char *source, *destination;
	uint16_t numbers[3];        /* ports; or ICMP id, type and code */
	int zone;                   /* -1: none of this direction */
};

static void
put_addresses(struct builder *to, const struct end *end)
{
	const bool v6 = strchr(end->source, ':');
	uint8_t address[16];
	const size_t at = nest(to, CTA_TUPLE_IP);

	inet_pton(v6 ? AF_INET6 : AF_INET, end->source, address);
	put(to, v6 ? CTA_IP_V6_SRC : CTA_IP_V4_SRC, address, v6 ? 16 : 4);
	inet_pton(v6 ? AF_INET6 : AF_INET, end->destination, address);
	put(to, v6 ? CTA_IP_V6_DST : CTA_IP_V4_DST, address, v6 ? 16 : 4);
	end_nest(to, at);
}

static void
put_protocol(struct builder *to, uint8_t protocol, const struct end *end)
{
	const size_t at = nest(to, CTA_TUPLE_PROTO);
	const bool v6 = protocol == IPPROTO_ICMPV6;

	put_number(to, CTA_PROTO_NUM, protocol, 1);
	if (protocol == IPPROTO_ICMP || v6) {
		put_number(to, v6 ? CTA_PROTO_ICMPV6_ID : CTA_PROTO_ICMP_ID, end->numbers[0], 2);
		put_number(to, v6 ? CTA_PROTO_ICMPV6_TYPE : CTA_PROTO_ICMP_TYPE, end->numbers[1], 1);
		put_number(to, v6 ? CTA_PROTO_ICMPV6_CODE : CTA_PROTO_ICMP_CODE, end->numbers[2], 1);
	} else if (protocol != IPPROTO_ESP) {
		put_number(to, CTA_PROTO_SRC_PORT, end->numbers[0], 2);
		put_number(to, CTA_PROTO_DST_PORT, end->numbers[1], 2);
	}
	end_nest(to, at);
}

static void
put_tuple(struct builder *to, unsigned type, uint8_t protocol, const struct end *end)
{
	const size_t at = nest(to, type);

	put_addresses(to, end);
	put_protocol(to, protocol, end);
	if (end->zone >= 0)
		put_number(to, CTA_TUPLE_ZONE, end->zone, 2);
	end_nest(to, at);
}

static void
put_counters(struct builder *to, unsigned type, uint64_t packets, uint64_t octets, bool narrow)
{
	const size_t at = nest(to, type);

	put_number(to, narrow ? CTA_COUNTERS32_PACKETS : CTA_COUNTERS_PACKETS, packets, narrow ? 4 : 8);
	put_number(to, narrow ? CTA_COUNTERS32_BYTES : CTA_COUNTERS_BYTES, octets, narrow ? 4 : 8);
	end_nest(to, at);
}

static void
put_times(struct builder *to, uint64_t start, uint64_t stop)
{
	const size_t at = nest(to, CTA_TIMESTAMP);

	put_number(to, CTA_TIMESTAMP_START, start, 8);
	if (stop)
		put_number(to, CTA_TIMESTAMP_STOP, stop, 8);
	end_nest(to, at);
}

static void
put_state(struct builder *to, unsigned protocol, uint8_t state)
{
	const size_t outer = nest(to, CTA_PROTOINFO), inner = nest(to, protocol);

	put_number(to, CTA_PROTOINFO_TCP_STATE, state, 1);
	put_number(to, CTA_PROTOINFO_TCP_WSCALE_ORIGINAL, 7, 1);
	put_number(to, CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, 0x2323, 2);
	end_nest(to, inner);
	end_nest(to, outer);
}

static const uint64_t start_time = 1753000000123456789, stop_time = 1753000009876543210;

static const struct end v4_original = { "100.90.0.7", "10.20.0.20", { 51820, 443, 0 }, -1 };
static const struct end v4_reply = { "10.20.0.20", "10.20.0.1", { 443, 51821, 0 }, -1 };
static const struct end v6_original = { "fd12:3456:789a:1::7", "fd20::20:5012", { 50012, 5012, 0 }, -1 };
static const struct end v6_reply = { "fd20::20:5012", "fd20::1", { 5012, 50012, 0 }, -1 };

/* A DESTROY message with all there is. */
static struct nlmsghdr *
build_whole(struct builder *to, uint8_t protocol, const struct end *original, const struct end *reply)
{
	static const uint8_t labels[16] = { 0x01, 0x80, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0xf0 };

	begin(to, NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE, strchr(original->source, ':') ? AF_INET6 : AF_INET);
	put_tuple(to, CTA_TUPLE_ORIG, protocol, original);
	put_tuple(to, CTA_TUPLE_REPLY, protocol, reply);
	put_number(to, CTA_STATUS, 0x18e, 4);
	put_number(to, CTA_TIMEOUT, 119, 4);
	put_number(to, CTA_MARK, 113936, 4);
	put_counters(to, CTA_COUNTERS_ORIG, 5, 0x1122334455667788, false);
	put_counters(to, CTA_COUNTERS_REPLY, 0xffffffff00, 5268, false);
	put_number(to, CTA_ID, 0xfedcba98, 4);
	put_number(to, CTA_ZONE, 0x1234, 2);
	put_number(to, CTA_USE, 1, 4);
	put_state(to, protocol == IPPROTO_SCTP ? CTA_PROTOINFO_SCTP : protocol == IPPROTO_DCCP ? CTA_PROTOINFO_DCCP
	              : CTA_PROTOINFO_TCP, 7);
	put_times(to, start_time, stop_time);
	put(to, CTA_LABELS, labels, sizeof labels);
	put_number(to, 27, 1, 8);       /* CTA_TIMESTAMP_EVENT of newer kernels */
	return finish(to);
}

/* Read from a buffer of the exact size, so that the sanitizer sees a read past its end. */
static enum entry_message
read_exactly(const void *octets, size_t available, struct flow *flow, struct entry_times *times)
{
	void *copy = malloc(available ? available : 1);

	memcpy(copy, octets, available);
	const enum entry_message what = entry_read(copy, available, flow, times);
	free(copy);
	return what;
}

static bool
is_address(const union address *address, const char *text)
{
	union address expected = { .half = { 0, 0 } };

	inet_pton(strchr(text, ':') ? AF_INET6 : AF_INET, text, &expected);
	return memcmp(address, &expected, sizeof expected) == 0;
}

static void
expect_side(const struct side *side, const struct end *end, uint8_t protocol)
{
	static const char with_ports[] = { IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE, IPPROTO_SCTP, IPPROTO_DCCP, 0 };
	const bool ports = memchr(with_ports, protocol, sizeof with_ports - 1);
	const bool icmp = protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6;

	CU_ASSERT_TRUE(is_address(&side->source, end->source));
	CU_ASSERT_TRUE(is_address(&side->destination, end->destination));
	CU_ASSERT_EQUAL(side->source_port, ports ? end->numbers[0] : 0);
	CU_ASSERT_EQUAL(side->destination_port, ports ? end->numbers[1] : 0);
	CU_ASSERT_EQUAL(side->icmp_id, icmp ? end->numbers[0] : 0);
	CU_ASSERT_EQUAL(side->icmp, icmp ? end->numbers[1] << 8 | end->numbers[2] : 0);
}

/* ---- tests ---- */

static void
test_whole(void)
{
	struct builder message;
	struct entry_times times;
	struct flow flow;

	memset(&flow, 0xaa, sizeof flow);
	build_whole(&message, IPPROTO_TCP, &v4_original, &v4_reply);
	CU_ASSERT_EQUAL(read_exactly(message.octets, message.size, &flow, &times), ENTRY_DELETED);
	expect_side(&flow.original, &v4_original, IPPROTO_TCP);
	expect_side(&flow.reply, &v4_reply, IPPROTO_TCP);
	CU_ASSERT_EQUAL(flow.family, 4);
	CU_ASSERT_EQUAL(flow.protocol, IPPROTO_TCP);
	CU_ASSERT_EQUAL(flow.status, 0x18e);
	CU_ASSERT_EQUAL(flow.timeout, 119);
	CU_ASSERT_EQUAL(flow.mark, 113936);
	CU_ASSERT_EQUAL(flow.id, 0xfedcba98);
	CU_ASSERT_EQUAL(flow.zone, 0x1234);
	CU_ASSERT_EQUAL(flow.state, 7);
	CU_ASSERT_EQUAL(flow.original.packets, 5);
	CU_ASSERT_EQUAL(flow.original.octets, 0x1122334455667788);
	CU_ASSERT_EQUAL(flow.reply.packets, 0xffffffff00);
	CU_ASSERT_EQUAL(flow.reply.octets, 5268);
	CU_ASSERT_EQUAL(times.start, start_time);
	CU_ASSERT_EQUAL(times.stop, stop_time);
	CU_ASSERT_EQUAL(flow.labels[0], 0x01);
	CU_ASSERT_EQUAL(flow.labels[1], 0x80);
	CU_ASSERT_EQUAL(flow.labels[15], 0xf0);
	CU_ASSERT_EQUAL(flow.gaps, 0);
	/* What is found out later is left at zero. */
	CU_ASSERT_TRUE(!flow.flow_id && !flow.start && !flow.end && !flow.stop && !flow.initiator && !flow.responder);
	CU_ASSERT_TRUE(!flow.nat_type && !flow.translation && !flow.end_reason && !flow.original.ingress);
}

static void
test_protocols(void)
{
	static const struct {
		uint8_t protocol;
		struct end original, reply;
	} cases[] = {
		{ IPPROTO_UDP, { "1.2.3.4", "5.6.7.8", { 53, 65535, 0 }, -1 }, { "5.6.7.8", "1.2.3.4", { 65535, 53, 0 }, -1 } },
		{ IPPROTO_UDPLITE, { "1.2.3.4", "5.6.7.8", { 1, 2, 0 }, -1 }, { "5.6.7.8", "1.2.3.4", { 2, 1, 0 }, -1 } },
		{ IPPROTO_SCTP, { "1.2.3.4", "5.6.7.8", { 1, 2, 0 }, -1 }, { "5.6.7.8", "1.2.3.4", { 2, 1, 0 }, -1 } },
		{ IPPROTO_DCCP, { "1.2.3.4", "5.6.7.8", { 1, 2, 0 }, -1 }, { "5.6.7.8", "1.2.3.4", { 2, 1, 0 }, -1 } },
		{ IPPROTO_GRE, { "1.2.3.4", "5.6.7.8", { 0, 77, 0 }, -1 }, { "5.6.7.8", "1.2.3.4", { 0, 78, 0 }, -1 } },
		{ IPPROTO_ESP, { "1.2.3.4", "5.6.7.8", { 0 }, -1 }, { "5.6.7.8", "1.2.3.4", { 0 }, -1 } },
		{ IPPROTO_ICMP, { "1.2.3.4", "5.6.7.8", { 4242, 8, 1 }, -1 }, { "5.6.7.8", "1.2.3.4", { 4242, 0, 2 }, -1 } },
		{ IPPROTO_ICMPV6, { "::1", "fe80::2", { 4242, 128, 3 }, -1 }, { "fe80::2", "::1", { 4242, 129, 4 }, -1 } },
		{ IPPROTO_TCP, { "ff00::1", "::ffff:1.2.3.4", { 1, 2, 0 }, -1 }, { "::", "ffff::", { 2, 1, 0 }, -1 } },
		{ IPPROTO_UDP, { "fd12::7", "fd20::20", { 9, 8, 0 }, -1 }, { "fd20::20", "fd20::1", { 8, 9, 0 }, -1 } },
	};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct builder message;
		struct entry_times times;
		struct flow flow;
		build_whole(&message, cases[i].protocol, &cases[i].original, &cases[i].reply);
		CU_ASSERT_EQUAL(read_exactly(message.octets, message.size, &flow, &times), ENTRY_DELETED);
		CU_ASSERT_EQUAL(flow.protocol, cases[i].protocol);
		CU_ASSERT_EQUAL(flow.family, strchr(cases[i].original.source, ':') ? 6 : 4);
		CU_ASSERT_EQUAL(flow.state, 7);
		expect_side(&flow.original, &cases[i].original, cases[i].protocol);
		expect_side(&flow.reply, &cases[i].reply, cases[i].protocol);
	}
}

/* The least the kernel sends: what is missing is told apart from zeros. */
static void
test_least(void)
{
	struct builder message;
	struct entry_times times;
	struct flow flow;

	begin(&message, NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW, AF_INET6);
	put_tuple(&message, CTA_TUPLE_ORIG, IPPROTO_UDP, &v6_original);
	put_tuple(&message, CTA_TUPLE_REPLY, IPPROTO_UDP, &v6_reply);
	finish(&message);
	CU_ASSERT_EQUAL(read_exactly(message.octets, message.size, &flow, &times), ENTRY_NEW);
	CU_ASSERT_EQUAL(flow.gaps, GAP_NO_COUNTERS | GAP_NO_START);
	CU_ASSERT_TRUE(!times.start && !times.stop && !flow.zone && !flow.mark && !flow.timeout && !flow.state);
	put_counters(&message, CTA_COUNTERS_ORIG, 0, 0, false);
	finish(&message);
	read_exactly(message.octets, message.size, &flow, &times);
	CU_ASSERT_EQUAL(flow.gaps, GAP_NO_START);
	put_times(&message, start_time, 0);
	finish(&message);
	read_exactly(message.octets, message.size, &flow, &times);
	CU_ASSERT_EQUAL(flow.gaps, 0);
	CU_ASSERT_EQUAL(times.start, start_time);
	CU_ASSERT_EQUAL(times.stop, 0);
}

static void
test_narrow_counters(void)
{
	struct builder message;
	struct entry_times times;
	struct flow flow;

	begin(&message, NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE, AF_INET);
	put_tuple(&message, CTA_TUPLE_ORIG, IPPROTO_UDP, &v4_original);
	put_tuple(&message, CTA_TUPLE_REPLY, IPPROTO_UDP, &v4_reply);
	put_counters(&message, CTA_COUNTERS_ORIG, 7, 0xfffffff0, true);
	put_counters(&message, CTA_COUNTERS_REPLY, 8, 9, true);
	finish(&message);
	CU_ASSERT_EQUAL(read_exactly(message.octets, message.size, &flow, &times), ENTRY_DELETED);
	CU_ASSERT_TRUE(flow.original.packets == 7 && flow.original.octets == 0xfffffff0);
	CU_ASSERT_TRUE(flow.reply.packets == 8 && flow.reply.octets == 9);
}

/* A zone of both directions stands by itself, one of a single direction in that direction's tuple. */
static void
test_zones(void)
{
	for (unsigned which = 0; which < 2; which++) {
		struct end original = v4_original, reply = v4_reply;
		struct builder message;
		struct entry_times times;
		struct flow flow;
		*(which ? &reply.zone : &original.zone) = 300 + which;
		begin(&message, NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE, AF_INET);
		put_tuple(&message, CTA_TUPLE_ORIG, IPPROTO_UDP, &original);
		put_tuple(&message, CTA_TUPLE_REPLY, IPPROTO_UDP, &reply);
		finish(&message);
		read_exactly(message.octets, message.size, &flow, &times);
		CU_ASSERT_EQUAL(flow.zone, 300 + which);
	}
}

static void
test_others(void)
{
	static const uint16_t types[] = {
		NLMSG_NOOP, NLMSG_ERROR, NLMSG_DONE, NFNL_SUBSYS_CTNETLINK_EXP << 8 | IPCTNL_MSG_EXP_NEW,
		NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET, NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET_STATS_CPU,
		10 << 8 /* nftables */, 0xffff,
	};
	struct builder message;
	struct entry_times times;
	struct flow flow;

	for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
		begin(&message, types[i], AF_INET);
		finish(&message);
		CU_ASSERT_EQUAL(read_exactly(message.octets, message.size, &flow, &times), ENTRY_OTHER);
	}
}

static void
test_malformed(void)
{
	static const uint8_t families[] = { AF_UNSPEC, AF_BRIDGE, 255 };
	struct builder message;
	struct entry_times times;
	struct flow flow;

	for (size_t i = 0; i < sizeof families; i++) {
		build_whole(&message, IPPROTO_TCP, &v4_original, &v4_reply);
		((struct nfgenmsg *)(message.octets + NLMSG_HDRLEN))->nfgen_family = families[i];
		CU_ASSERT_EQUAL(read_exactly(message.octets, message.size, &flow, &times), ENTRY_MALFORMED);
	}
	/* One tuple is no entry. */
	for (unsigned type = CTA_TUPLE_ORIG; type <= CTA_TUPLE_REPLY; type++) {
		begin(&message, NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE, AF_INET);
		put_tuple(&message, type, IPPROTO_TCP, &v4_original);
		finish(&message);
		CU_ASSERT_EQUAL(read_exactly(message.octets, message.size, &flow, &times), ENTRY_MALFORMED);
	}
	/* Lengths of the message itself. */
	build_whole(&message, IPPROTO_TCP, &v4_original, &v4_reply);
	struct nlmsghdr *header = (struct nlmsghdr *)message.octets;
	static const uint32_t lengths[] = { 0, 1, 15, 16, 19, 0x7fffffff, 0xffffffff };
	for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
		header->nlmsg_len = lengths[i];
		CU_ASSERT_EQUAL(read_exactly(message.octets, message.size, &flow, &times), ENTRY_MALFORMED);
	}
	header->nlmsg_len = message.size + 1;
	CU_ASSERT_EQUAL(read_exactly(message.octets, message.size, &flow, &times), ENTRY_MALFORMED);
}

/* Every message cut at every octet: by the datagram's end, and by the message's own length. Only where an attribute of
 * the outermost level ends is there still a message, of less. */
static void
test_truncated(void)
{
	static const uint8_t protocols[] = { IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP, IPPROTO_ICMP, IPPROTO_GRE, IPPROTO_ESP };
	unsigned taken = 0, refused = 0, wrong = 0;

	for (size_t i = 0; i < sizeof protocols; i++) {
		struct builder message;
		struct entry_times times;
		struct flow flow;
		struct nlmsghdr *header = build_whole(&message, protocols[i], &v4_original, &v4_reply);
		for (size_t size = 0; size < message.size; size++) {
			header->nlmsg_len = message.size;
			wrong += read_exactly(message.octets, size, &flow, &times) != ENTRY_MALFORMED;
			header->nlmsg_len = size;
			const enum entry_message what = read_exactly(message.octets, size, &flow, &times);
			wrong += what != ENTRY_MALFORMED && what != ENTRY_DELETED;
			taken += what == ENTRY_DELETED;
			refused += what == ENTRY_MALFORMED;
		}
	}
	CU_ASSERT_EQUAL(wrong, 0);
	/* Behind the tuples and behind eleven of the twelve other attributes, one of which has two octets of padding. */
	CU_ASSERT_EQUAL(taken, 14 * sizeof protocols);
	CU_ASSERT_TRUE(refused > 20 * taken);
}

/* Attributes of other sizes than they should have count as not given, or as far as they go; never as something else. */
static void
test_wrong_sizes(void)
{
	static const unsigned types[] = {
		CTA_STATUS, CTA_TIMEOUT, CTA_MARK, CTA_ID, CTA_ZONE, CTA_COUNTERS_ORIG, CTA_COUNTERS_REPLY, CTA_PROTOINFO,
		CTA_TIMESTAMP, CTA_LABELS,
	};
	uint8_t octets[64];

	memset(octets, 0, sizeof octets);
	for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
		for (size_t size = 0; size < sizeof octets; size++) {
			struct builder message;
			struct entry_times times;
			struct flow flow;
			begin(&message, NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE, AF_INET);
			put_tuple(&message, CTA_TUPLE_ORIG, IPPROTO_UDP, &v4_original);
			put_tuple(&message, CTA_TUPLE_REPLY, IPPROTO_UDP, &v4_reply);
			put(&message, types[i], octets, size);
			finish(&message);
			read_exactly(message.octets, message.size, &flow, &times);
			CU_ASSERT_TRUE(!flow.status && !flow.timeout && !flow.mark && !flow.id && !flow.zone && !flow.state);
			CU_ASSERT_TRUE(!flow.original.octets && !flow.reply.packets && !times.start && !times.stop);
		}
}

/* Any octet changed to any value, many at once: no crash, no read past the end, and no answer that is none. */
static void
test_garbled(void)
{
	unsigned random = 12345, malformed = 0, rounds = 40000;
	struct builder whole, message;

	build_whole(&whole, IPPROTO_TCP, &v6_original, &v6_reply);
	for (unsigned i = 0; i < rounds; i++) {
		struct entry_times times;
		struct flow flow;
		message = whole;
		for (unsigned n = 1 + i % 4; n > 0; n--) {
			random = random * 1103515245 + 12345;
			message.octets[NLMSG_HDRLEN + (random >> 8) % (message.size - NLMSG_HDRLEN)] = random >> 24;
		}
		const enum entry_message what = read_exactly(message.octets, message.size, &flow, &times);
		CU_ASSERT_TRUE(what == ENTRY_DELETED || what == ENTRY_MALFORMED);
		malformed += what == ENTRY_MALFORMED;
	}
	CU_ASSERT_TRUE(malformed > rounds / 20 && malformed < rounds);
}

/* ---- libnetfilter_conntrack as the oracle ---- */

struct oracle {
	uint8_t family, protocol;
	const char *original_source, *original_destination, *reply_source, *reply_destination;
};

static void
set_address(struct nf_conntrack *entry, uint8_t family, int v4, int v6, const char *text)
{
	uint8_t address[16];

	inet_pton(family == 6 ? AF_INET6 : AF_INET, text, address);
	nfct_set_attr(entry, family == 6 ? v6 : v4, address);
}

static void
set_numbers(struct nf_conntrack *entry, uint8_t protocol)
{
	if (protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6) {
		nfct_set_attr_u8(entry, ATTR_ICMP_TYPE, protocol == IPPROTO_ICMP ? 8 : 128);
		nfct_set_attr_u8(entry, ATTR_ICMP_CODE, 1);
		nfct_set_attr_u16(entry, ATTR_ICMP_ID, htons(4242));
	} else {
		nfct_set_attr_u16(entry, ATTR_ORIG_PORT_SRC, htons(51820));
		nfct_set_attr_u16(entry, ATTR_ORIG_PORT_DST, htons(443));
		nfct_set_attr_u16(entry, ATTR_REPL_PORT_SRC, htons(8443));
		nfct_set_attr_u16(entry, ATTR_REPL_PORT_DST, htons(61820));
	}
	if (protocol == IPPROTO_TCP)
		nfct_set_attr_u8(entry, ATTR_TCP_STATE, TCP_CONNTRACK_TIME_WAIT);
	if (protocol == IPPROTO_SCTP)
		nfct_set_attr_u8(entry, ATTR_SCTP_STATE, 4);
	if (protocol == IPPROTO_DCCP)
		nfct_set_attr_u8(entry, ATTR_DCCP_STATE, 4);
}

static struct nf_conntrack *
make_entry(const struct oracle *oracle)
{
	struct nf_conntrack *entry = nfct_new();
	const uint8_t family = oracle->family == 6 ? AF_INET6 : AF_INET;
	struct nfct_bitmask *labels = nfct_bitmask_new(127);

	nfct_set_attr_u8(entry, ATTR_ORIG_L3PROTO, family);
	nfct_set_attr_u8(entry, ATTR_REPL_L3PROTO, family);
	nfct_set_attr_u8(entry, ATTR_ORIG_L4PROTO, oracle->protocol);
	nfct_set_attr_u8(entry, ATTR_REPL_L4PROTO, oracle->protocol);
	set_address(entry, oracle->family, ATTR_ORIG_IPV4_SRC, ATTR_ORIG_IPV6_SRC, oracle->original_source);
	set_address(entry, oracle->family, ATTR_ORIG_IPV4_DST, ATTR_ORIG_IPV6_DST, oracle->original_destination);
	set_address(entry, oracle->family, ATTR_REPL_IPV4_SRC, ATTR_REPL_IPV6_SRC, oracle->reply_source);
	set_address(entry, oracle->family, ATTR_REPL_IPV4_DST, ATTR_REPL_IPV6_DST, oracle->reply_destination);
	set_numbers(entry, oracle->protocol);
	nfct_set_attr_u32(entry, ATTR_STATUS, 0x19e);
	nfct_set_attr_u32(entry, ATTR_TIMEOUT, 77);
	nfct_set_attr_u32(entry, ATTR_MARK, 0x1bd11);
	nfct_set_attr_u16(entry, ATTR_ZONE, 513);
	nfct_bitmask_set_bit(labels, 0);
	nfct_bitmask_set_bit(labels, 9);
	nfct_bitmask_set_bit(labels, 127);
	nfct_set_attr(entry, ATTR_CONNLABELS, labels);
	return entry;
}

static void
compare_address(const struct nf_conntrack *entry, uint8_t family, int v4, int v6, const union address *address)
{
	CU_ASSERT_EQUAL(memcmp(nfct_get_attr(entry, family == 6 ? v6 : v4), address, family == 6 ? 16 : 4), 0);
}

static void
compare(const struct nf_conntrack *entry, const struct flow *flow)
{
	compare_address(entry, flow->family, ATTR_ORIG_IPV4_SRC, ATTR_ORIG_IPV6_SRC, &flow->original.source);
	compare_address(entry, flow->family, ATTR_ORIG_IPV4_DST, ATTR_ORIG_IPV6_DST, &flow->original.destination);
	compare_address(entry, flow->family, ATTR_REPL_IPV4_SRC, ATTR_REPL_IPV6_SRC, &flow->reply.source);
	compare_address(entry, flow->family, ATTR_REPL_IPV4_DST, ATTR_REPL_IPV6_DST, &flow->reply.destination);
	CU_ASSERT_EQUAL(flow->protocol, nfct_get_attr_u8(entry, ATTR_ORIG_L4PROTO));
	CU_ASSERT_EQUAL(flow->status, nfct_get_attr_u32(entry, ATTR_STATUS));
	CU_ASSERT_EQUAL(flow->timeout, nfct_get_attr_u32(entry, ATTR_TIMEOUT));
	CU_ASSERT_EQUAL(flow->mark, nfct_get_attr_u32(entry, ATTR_MARK));
	CU_ASSERT_EQUAL(flow->zone, nfct_get_attr_u16(entry, ATTR_ZONE));
	CU_ASSERT_EQUAL(flow->labels[0], 1);
	CU_ASSERT_EQUAL(flow->labels[1], 2);
	CU_ASSERT_EQUAL(flow->labels[15], 128);
}

static void
compare_numbers(const struct nf_conntrack *entry, const struct flow *flow)
{
	if (flow->protocol == IPPROTO_ICMP || flow->protocol == IPPROTO_ICMPV6) {
		CU_ASSERT_EQUAL(flow->original.icmp >> 8, nfct_get_attr_u8(entry, ATTR_ICMP_TYPE));
		CU_ASSERT_EQUAL(flow->original.icmp & 255, nfct_get_attr_u8(entry, ATTR_ICMP_CODE));
		CU_ASSERT_EQUAL(flow->original.icmp_id, ntohs(nfct_get_attr_u16(entry, ATTR_ICMP_ID)));
		return;
	}
	CU_ASSERT_EQUAL(flow->original.source_port, ntohs(nfct_get_attr_u16(entry, ATTR_ORIG_PORT_SRC)));
	CU_ASSERT_EQUAL(flow->original.destination_port, ntohs(nfct_get_attr_u16(entry, ATTR_ORIG_PORT_DST)));
	CU_ASSERT_EQUAL(flow->reply.source_port, ntohs(nfct_get_attr_u16(entry, ATTR_REPL_PORT_SRC)));
	CU_ASSERT_EQUAL(flow->reply.destination_port, ntohs(nfct_get_attr_u16(entry, ATTR_REPL_PORT_DST)));
	if (flow->protocol == IPPROTO_TCP)
		CU_ASSERT_EQUAL(flow->state, nfct_get_attr_u8(entry, ATTR_TCP_STATE));
	if (flow->protocol == IPPROTO_SCTP)
		CU_ASSERT_EQUAL(flow->state, nfct_get_attr_u8(entry, ATTR_SCTP_STATE));
	if (flow->protocol == IPPROTO_DCCP)
		CU_ASSERT_EQUAL(flow->state, nfct_get_attr_u8(entry, ATTR_DCCP_STATE));
}

static void
test_oracle(void)
{
	static const struct oracle oracles[] = {
		{ 4, IPPROTO_TCP, "100.90.0.7", "198.51.100.1", "10.20.0.20", "10.20.0.1" },
		{ 4, IPPROTO_UDP, "100.90.0.7", "198.51.100.1", "10.20.0.20", "10.20.0.1" },
		{ 4, IPPROTO_UDPLITE, "1.1.1.1", "2.2.2.2", "3.3.3.3", "4.4.4.4" },
		{ 4, IPPROTO_SCTP, "255.255.255.255", "0.0.0.0", "127.0.0.1", "128.0.0.1" },
		{ 4, IPPROTO_DCCP, "1.1.1.1", "2.2.2.2", "3.3.3.3", "4.4.4.4" },
		{ 4, IPPROTO_ICMP, "1.1.1.1", "2.2.2.2", "3.3.3.3", "4.4.4.4" },
		{ 6, IPPROTO_TCP, "fd12:3456:789a:1::7", "fd20::20:5012", "fd20::20:5013", "fd20::1" },
		{ 6, IPPROTO_UDP, "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::ffff:1.2.3.4", "fe80::1" },
		{ 6, IPPROTO_ICMPV6, "fd12::7", "fd20::20", "fd20::20", "fd12::7" },
	};

	for (size_t i = 0; i < sizeof oracles / sizeof oracles[0]; i++) {
		struct nf_conntrack *entry = make_entry(&oracles[i]);
		struct builder message;
		struct entry_times times;
		struct flow flow;
		begin(&message, NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW, oracles[i].family == 6 ? AF_INET6 : AF_INET);
		struct nlmsghdr *header = finish(&message);
		CU_ASSERT_EQUAL_FATAL(nfct_nlmsg_build(header, entry), 0);
		CU_ASSERT_EQUAL(read_exactly(header, header->nlmsg_len, &flow, &times), ENTRY_NEW);
		CU_ASSERT_EQUAL(flow.family, oracles[i].family);
		compare(entry, &flow);
		compare_numbers(entry, &flow);
		nfct_destroy(entry);
	}
}

/* The same message read by both: counters, times and id, which the library reads but does not write. */
static void
test_oracle_reads(void)
{
	struct nf_conntrack *entry = nfct_new();
	struct builder message;
	struct entry_times times;
	struct flow flow;
	struct nlmsghdr *header = build_whole(&message, IPPROTO_TCP, &v4_original, &v4_reply);

	CU_ASSERT_EQUAL_FATAL(nfct_nlmsg_parse(header, entry), 0);
	CU_ASSERT_EQUAL(read_exactly(header, header->nlmsg_len, &flow, &times), ENTRY_DELETED);
	compare_address(entry, 4, ATTR_REPL_IPV4_DST, ATTR_REPL_IPV6_DST, &flow.reply.destination);
	compare_numbers(entry, &flow);
	CU_ASSERT_EQUAL(flow.original.octets, nfct_get_attr_u64(entry, ATTR_ORIG_COUNTER_BYTES));
	CU_ASSERT_EQUAL(flow.original.packets, nfct_get_attr_u64(entry, ATTR_ORIG_COUNTER_PACKETS));
	CU_ASSERT_EQUAL(flow.reply.octets, nfct_get_attr_u64(entry, ATTR_REPL_COUNTER_BYTES));
	CU_ASSERT_EQUAL(flow.reply.packets, nfct_get_attr_u64(entry, ATTR_REPL_COUNTER_PACKETS));
	CU_ASSERT_EQUAL(times.start, nfct_get_attr_u64(entry, ATTR_TIMESTAMP_START));
	CU_ASSERT_EQUAL(times.stop, nfct_get_attr_u64(entry, ATTR_TIMESTAMP_STOP));
	CU_ASSERT_EQUAL(flow.id, nfct_get_attr_u32(entry, ATTR_ID));
	CU_ASSERT_EQUAL(flow.zone, nfct_get_attr_u16(entry, ATTR_ZONE));
	CU_ASSERT_EQUAL(flow.mark, nfct_get_attr_u32(entry, ATTR_MARK));
	nfct_destroy(entry);
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "a message with all there is", test_whole },
		{ "protocols and families", test_protocols },
		{ "a message with the least there can be", test_least },
		{ "counters of 32 bits", test_narrow_counters },
		{ "zones of one direction", test_zones },
		{ "messages about something else", test_others },
		{ "messages that are none", test_malformed },
		{ "messages cut at every octet", test_truncated },
		{ "attributes of wrong sizes", test_wrong_sizes },
		{ "garbled messages", test_garbled },
		{ "as libnetfilter_conntrack writes them", test_oracle },
		{ "as libnetfilter_conntrack reads them", test_oracle_reads },
		CU_TEST_INFO_NULL,
	};

	return run_suite("entry", tests);
}
