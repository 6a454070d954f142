/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The filter twice: as the rule for a flow in hand, and as the kernel applies it to events. Both must say the same of
 * every flow; the kernel's half needs a network namespace of its own, so it needs root. */

#include "source/filter.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack_tcp.h>
#include <linux/netfilter/nfnetlink.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "error.h"
#include "source/entry.h"
#include "source/events.h"
#include "suite.h"

static bool isolated;

/* ---- the flows: every source beside every protocol and mark ---- */

static const char *const sources[] = {
	"10.0.0.1",         "10.0.0.2",         "10.0.0.3",    "10.127.255.255",        "10.128.0.1",
	"11.0.0.1",         "128.0.0.1",        "172.16.5.4",  "192.0.2.254",           "223.255.255.254",
	"2001:db8::1",      "2001:db8::2",      "2001:db8::3", "2001:db8:0:0:1::1",     "2001:db8:0:1::1",
	"2001:db8:8000::1", "2001:db9::1",      "a001:db8::1", "fd00:1234:5678:9abc::", "fd00:1234:5678:9abc:8000::1",
};

static const struct {
	uint8_t protocol;
	uint32_t mark;
} kinds[] = {
	{ IPPROTO_TCP, 0 },       { IPPROTO_UDP, 0 },       { IPPROTO_UDP, 0x1bd10 },  { IPPROTO_TCP, 0x1bd11 },
	{ IPPROTO_ICMP, 0x1bd10 }, { IPPROTO_GRE, 1 },      { IPPROTO_UDP, 0xffffffff }, { IPPROTO_UDP, 0x80000000 },
	{ IPPROTO_SCTP, 0x1bd20 }, { IPPROTO_UDPLITE, 0 },
};

enum { FLOWS = G_N_ELEMENTS(sources) * G_N_ELEMENTS(kinds) };

static struct flow flow[FLOWS];         /* as the kernel announced them */
static bool announced[FLOWS], passed[FLOWS];

static uint8_t
protocol_of(unsigned i)
{
	const bool v6 = strchr(sources[i / G_N_ELEMENTS(kinds)], ':');
	const uint8_t protocol = kinds[i % G_N_ELEMENTS(kinds)].protocol;

	return v6 && protocol == IPPROTO_ICMP ? IPPROTO_ICMPV6 : protocol;
}

/* The number of the flow stands in its destination address. */
static void
set_addresses(struct nf_conntrack *entry, const char *source, unsigned i)
{
	const bool v6 = strchr(source, ':');
	struct in6_addr address;
	char destination[64];

	snprintf(destination, sizeof destination, v6 ? "2001:db8:ffff::%x" : "198.51.%u.%u", v6 ? i : i / 256, i % 256);
	nfct_set_attr_u8(entry, ATTR_L3PROTO, v6 ? AF_INET6 : AF_INET);
	CU_ASSERT_FATAL(inet_pton(v6 ? AF_INET6 : AF_INET, source, &address) == 1);
	nfct_set_attr(entry, v6 ? ATTR_IPV6_SRC : ATTR_IPV4_SRC, &address);
	CU_ASSERT_FATAL(inet_pton(v6 ? AF_INET6 : AF_INET, destination, &address) == 1);
	nfct_set_attr(entry, v6 ? ATTR_IPV6_DST : ATTR_IPV4_DST, &address);
}

static void
set_protocol(struct nf_conntrack *entry, uint8_t protocol)
{
	nfct_set_attr_u8(entry, ATTR_L4PROTO, protocol);
	if (protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6) {
		nfct_set_attr_u8(entry, ATTR_ICMP_TYPE, protocol == IPPROTO_ICMP ? 8 : 128);
		nfct_set_attr_u8(entry, ATTR_ICMP_CODE, 0);
		nfct_set_attr_u16(entry, ATTR_ICMP_ID, htons(77));
		return;
	}
	nfct_set_attr_u16(entry, ATTR_PORT_SRC, htons(40000));
	nfct_set_attr_u16(entry, ATTR_PORT_DST, htons(443));
	if (protocol == IPPROTO_TCP)
		nfct_set_attr_u8(entry, ATTR_TCP_STATE, TCP_CONNTRACK_ESTABLISHED);
}

/* Begins and ends a flow in the kernel's table. */
static void
make_flow(struct nfct_handle *handle, unsigned i)
{
	struct nf_conntrack *entry = nfct_new();

	set_addresses(entry, sources[i / G_N_ELEMENTS(kinds)], i);
	set_protocol(entry, protocol_of(i));
	nfct_setobjopt(entry, NFCT_SOPT_SETUP_REPLY);
	nfct_set_attr_u32(entry, ATTR_TIMEOUT, 100);
	if (kinds[i % G_N_ELEMENTS(kinds)].mark)
		nfct_set_attr_u32(entry, ATTR_MARK, kinds[i % G_N_ELEMENTS(kinds)].mark);
	CU_ASSERT_FATAL(nfct_query(handle, NFCT_Q_CREATE, entry) == 0);
	CU_ASSERT_FATAL(nfct_query(handle, NFCT_Q_DESTROY, entry) == 0);
	nfct_destroy(entry);
}

static unsigned
number_of(const struct flow *of)
{
	const uint8_t *address = of->original.destination.v6;

	return of->family == 6 ? address[14] << 8 | address[15] : address[2] << 8 | address[3];
}

static void
on_unfiltered(const struct nlmsghdr *message, size_t available, void *data)
{
	struct entry_times times;
	struct flow one;
	(void)data;

	CU_ASSERT_FATAL(entry_read(message, available, &one, &times) == ENTRY_DELETED);
	CU_ASSERT_FATAL(number_of(&one) < FLOWS);
	flow[number_of(&one)] = one;
	announced[number_of(&one)] = true;
}

static void
on_filtered(const struct nlmsghdr *message, size_t available, void *data)
{
	struct entry_times times;
	struct flow one;
	(void)data;

	CU_ASSERT_FATAL(entry_read(message, available, &one, &times) == ENTRY_DELETED);
	CU_ASSERT_FATAL(number_of(&one) < FLOWS);
	passed[number_of(&one)] = true;
}

static void
read_events(struct events *events, void (*message)(const struct nlmsghdr *message, size_t available, void *data))
{
	const struct events_handler handler = { .message = message };
	uint64_t received = 0, truncated = 0;

	while (events_drain(events, 1000, &handler, NULL, &received, &truncated) == EVENTS_MORE)
		;
	CU_ASSERT_EQUAL(truncated, 0);
}

static struct {
	struct events *all;
	struct events *some;
	struct nfct_handle *handle;
} kernel;

static void
make_all_flows(void)
{
	read_events(kernel.some, on_filtered);
	memset(announced, 0, sizeof announced);
	memset(passed, 0, sizeof passed);
	for (unsigned i = 0; i < FLOWS; i++)
		make_flow(kernel.handle, i);
	read_events(kernel.all, on_unfiltered);
}

/* Compares, one by one, what came through with what the rule says. Returns how many should have passed. */
static unsigned
compare(const char *what, const struct source_filter *filter, bool exact)
{
	unsigned differ = 0, n = 0;

	for (unsigned i = 0; i < FLOWS; i++) {
		CU_ASSERT_TRUE_FATAL(announced[i]);
		CU_ASSERT_EQUAL(flow[i].protocol, protocol_of(i));
		const bool wanted = filter_passes(filter, &flow[i]);
		n += wanted;
		if (wanted == passed[i] || (!wanted && !exact))
			continue;
		if (differ++ < 3)
			printf("\n    %s: %s protocol %u mark %#x: the rule says %d, the kernel %d", what,
			       sources[i / G_N_ELEMENTS(kinds)], flow[i].protocol, flow[i].mark, wanted, passed[i]);
	}
	CU_ASSERT_EQUAL(differ, 0);
	return n;
}

static void
on_ended(struct flow *ended, size_t n, uint64_t batch, void *data)
{
	(void)batch, (void)data;
	for (size_t i = 0; i < n; i++)
		passed[number_of(&ended[i])] = true;
}

static void
on_drained(void *data)
{
	(void)data;
}

/* What the whole source hands over, which is exact whatever the library's program makes of the filter. */
static void
agree_source(const char *what, const struct source_filter *filter)
{
	const struct source_options options = { .filter = *filter, .receive_buffer = 1 << 20, .stored_fd = -1 };
	const struct source_handler handler = { .ended = on_ended, .drained = on_drained };
	struct source *source = source_open(&options, &handler, NULL, NULL);

	CU_ASSERT_PTR_NOT_NULL_FATAL(source);
	make_all_flows();
	source_close(source);
	compare(what, filter, true);
}

static unsigned
count_v6(const struct source_filter *filter)
{
	unsigned n = 0;

	for (size_t i = 0; i < filter->n_ignore; i++)
		n += filter->ignore[i].family == 6;
	return n;
}

/* Attaches the filter and makes all flows. Exactly those come through that the rule lets pass; with several IPv6
 * prefixes at least those. */
static unsigned
agree(const char *what, const struct source_filter *filter)
{
	g_autoptr(GError) error = NULL;

	if (!filter_attach(events_fd(kernel.some), filter, &error)) {
		CU_FAIL(error->message);
		return 0;
	}
	make_all_flows();
	read_events(kernel.some, on_filtered);
	return compare(what, filter, count_v6(filter) < 2);
}

static struct source_prefix
prefix_of(const char *text, unsigned length)
{
	struct source_prefix prefix = { .family = strchr(text, ':') ? 6 : 4, .length = length };

	CU_ASSERT_FATAL(inet_pton(prefix.family == 6 ? AF_INET6 : AF_INET, text, &prefix.address) == 1);
	return prefix;
}

static bool
skip(void)
{
	if (!isolated)
		printf("SKIPPED (needs root: a network namespace) ");
	return !isolated;
}

/* ---- tests ---- */

static void
test_nothing(void)
{
	const struct source_filter none = { 0 };

	if (!skip())
		CU_ASSERT_EQUAL(agree("no filter", &none), FLOWS);
}

static void
test_protocols(void)
{
	static const uint8_t tcp[] = { IPPROTO_TCP }, three[] = { IPPROTO_TCP, IPPROTO_ICMPV6, IPPROTO_GRE };
	static const uint8_t absent[] = { IPPROTO_AH }, high[] = { IPPROTO_UDPLITE, 255 };

	if (skip())
		return;
	agree("tcp", &(struct source_filter){ .protocol = tcp, .n_protocol = 1 });
	agree("tcp, icmpv6, gre", &(struct source_filter){ .protocol = three, .n_protocol = 3 });
	CU_ASSERT_EQUAL(agree("ah", &(struct source_filter){ .protocol = absent, .n_protocol = 1 }), 0);
	agree("udplite, 255", &(struct source_filter){ .protocol = high, .n_protocol = 2 });
}

static void
test_marks(void)
{
	static const struct source_mark netbird[] = { { 0x1bd10, 0xffffffff }, { 0x1bd11, 0xffffffff } };
	static const struct source_mark none[] = { { 0, 0xffffffff } };
	static const struct source_mark low_clear[] = { { 0, 0xff } };
	static const struct source_mark any[] = { { 0, 0 } };
	static const struct source_mark bits[] = { { 0x10, 0x10 }, { 0x80000000, 0xc0000000 } };
	static const struct source_mark mixed[] = { { 0, 0xffffffff }, { 1, 0xffffffff } };

	if (skip())
		return;
	agree("netbird's marks", &(struct source_filter){ .mark = netbird, .n_mark = 2 });
	agree("without a mark", &(struct source_filter){ .mark = none, .n_mark = 1 });
	agree("low octet clear", &(struct source_filter){ .mark = low_clear, .n_mark = 1 });
	CU_ASSERT_EQUAL(agree("any mark", &(struct source_filter){ .mark = any, .n_mark = 1 }), FLOWS);
	agree("bits of a mark", &(struct source_filter){ .mark = bits, .n_mark = 2 });
	agree("no mark, or 1", &(struct source_filter){ .mark = mixed, .n_mark = 2 });
}

static void
test_prefixes_v4(void)
{
	static const struct {
		const char *text;
		unsigned length;
	} cases[] = {
		{ "0.0.0.0", 0 },  { "128.0.0.0", 1 }, { "0.0.0.0", 1 },       { "10.0.0.0", 8 },  { "10.0.0.0", 9 },
		{ "10.0.0.0", 31 }, { "10.0.0.2", 31 }, { "10.0.0.2", 32 },      { "192.0.2.254", 32 }, { "172.16.4.0", 23 },
	};

	if (skip())
		return;
	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		const struct source_prefix prefix = prefix_of(cases[i].text, cases[i].length);
		g_autofree char *what = g_strdup_printf("ignore %s/%u", cases[i].text, cases[i].length);
		agree(what, &(struct source_filter){ .ignore = &prefix, .n_ignore = 1 });
	}
}

static void
test_prefixes_v6(void)
{
	static const struct {
		const char *text;
		unsigned length;
	} cases[] = {
		{ "::", 0 },           { "8000::", 1 },        { "2001:db8::", 31 },  { "2001:db8::", 32 },
		{ "2001:db8::", 33 },  { "2001:db8:8000::", 33 }, { "2001:db8::", 64 }, { "2001:db8::", 63 },
		{ "2001:db8::", 65 },  { "2001:db8::", 79 },   { "2001:db8::", 96 },  { "fd00:1234:5678:9abc:8000::", 65 },
		{ "2001:db8::2", 127 }, { "2001:db8::2", 128 }, { "fd00:1234:5678:9abc::", 128 },
	};

	if (skip())
		return;
	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		const struct source_prefix prefix = prefix_of(cases[i].text, cases[i].length);
		g_autofree char *what = g_strdup_printf("ignore %s/%u", cases[i].text, cases[i].length);
		agree(what, &(struct source_filter){ .ignore = &prefix, .n_ignore = 1 });
	}
}

static void
test_prefixes_together(void)
{
	const struct source_prefix several[] = {
		prefix_of("10.0.0.0", 8), prefix_of("192.0.2.254", 32), prefix_of("2001:db8::", 64),
		prefix_of("fd00:1234:5678:9abc::", 64), prefix_of("223.255.255.0", 24),
	};
	const struct source_prefix everything[] = { prefix_of("0.0.0.0", 0), prefix_of("::", 0) };

	if (skip())
		return;
	for (size_t n = 1; n <= G_N_ELEMENTS(several); n++)
		agree("several prefixes", &(struct source_filter){ .ignore = several, .n_ignore = n });
	agree_source("several prefixes", &(struct source_filter){ .ignore = several, .n_ignore = G_N_ELEMENTS(several) });
	CU_ASSERT_EQUAL(agree("all prefixes", &(struct source_filter){ .ignore = everything, .n_ignore = 2 }), 0);
}

static void
test_all_together(void)
{
	const struct source_prefix ignore[] = { prefix_of("10.0.0.0", 31), prefix_of("2001:db8::", 48) };
	static const struct source_mark mark[] = { { 0x1bd10, 0xfffffff0 }, { 0, 0xffffffff } };
	static const uint8_t protocol[] = { IPPROTO_TCP, IPPROTO_UDP };
	const struct source_filter all = { ignore, 2, mark, 2, protocol, 2 };

	if (skip())
		return;
	CU_ASSERT_TRUE(agree("all three", &all) > 0);
	agree_source("all three", &all);
	agree("ignore and mark", &(struct source_filter){ .ignore = ignore, .n_ignore = 2, .mark = mark, .n_mark = 2 });
	agree("ignore and protocol",
	      &(struct source_filter){ .ignore = ignore, .n_ignore = 2, .protocol = protocol, .n_protocol = 2 });
	agree("mark and protocol",
	      &(struct source_filter){ .mark = mark, .n_mark = 2, .protocol = protocol, .n_protocol = 2 });
	agree("one ignored v4", &(struct source_filter){ ignore, 1, mark, 1, protocol, 1 });
	agree("one ignored v6", &(struct source_filter){ ignore + 1, 1, mark + 1, 1, protocol + 1, 1 });
}

enum { PROTOCOLS = 32, MARKS = 32, PREFIXES = 16 };

/* As much as is allowed of everything, with what matters last; and one more of each is refused. */
static void
test_longest(void)
{
	struct source_prefix ignore[PREFIXES + 1];
	struct source_mark mark[MARKS + 1];
	uint8_t protocol[PROTOCOLS + 1];
	g_autoptr(GError) error = NULL;

	for (unsigned i = 0; i <= PREFIXES; i++) {
		ignore[i] = prefix_of(i % 2 ? "2001:db8::" : "10.0.0.0", i % 2 ? 128 : 32);
		ignore[i].address.v6[i % 2 ? 15 : 3] = i / 2 + (i % 2 ? 1 : 4);
	}
	for (unsigned i = 0; i <= MARKS; i++)
		mark[i] = (struct source_mark){ 0x1bd11 + MARKS - 1 - i, 0xffffffff };
	for (unsigned i = 0; i <= PROTOCOLS; i++)
		protocol[i] = IPPROTO_UDP + PROTOCOLS - 1 - i;
	struct source_filter filter = { ignore, PREFIXES, mark, MARKS, protocol, PROTOCOLS };
	if (!skip()) {
		agree("as long as can be", &filter);
		agree("many prefixes", &(struct source_filter){ .ignore = ignore, .n_ignore = PREFIXES });
		agree("many marks", &(struct source_filter){ .mark = mark, .n_mark = MARKS });
		agree("many protocols", &(struct source_filter){ .protocol = protocol, .n_protocol = PROTOCOLS });
	}
	filter.n_mark = MARKS + 1;
	CU_ASSERT_FALSE(filter_attach(-1, &filter, &error));
	CU_ASSERT_TRUE(g_error_matches(error, PEERFLOW_ERROR, EX_CONFIG));
	CU_ASSERT_STRING_EQUAL(error->message, "[conntrack]: at most 32 protocols, 32 marks and 16 prefixes to ignore fit "
	                       "the kernel's filter");
}

static void
test_only_v6_prefixes_many(void)
{
	struct source_prefix ignore[PREFIXES];

	for (unsigned i = 0; i < PREFIXES; i++) {
		ignore[i] = prefix_of("2001:db8::", 128);
		ignore[i].address.v6[15] = PREFIXES - i;
	}
	if (!skip())
		agree("sixteen IPv6 addresses", &(struct source_filter){ .ignore = ignore, .n_ignore = PREFIXES });
}

/* What waits in the socket when the filter changes is the old filter's; a filter that is refused changes nothing. */
static void
test_changes(void)
{
	static const uint8_t tcp[] = { IPPROTO_TCP }, many[PROTOCOLS + 1];
	const struct source_filter only_tcp = { .protocol = tcp, .n_protocol = 1 };

	if (skip())
		return;
	CU_ASSERT_TRUE(filter_attach(events_fd(kernel.some), &(struct source_filter){ 0 }, NULL));
	make_all_flows();
	CU_ASSERT_TRUE(filter_attach(events_fd(kernel.some), &only_tcp, NULL));
	read_events(kernel.some, on_filtered);
	compare("before the change", &(struct source_filter){ 0 }, true);
	make_all_flows();
	CU_ASSERT_FALSE(filter_attach(events_fd(kernel.some),
	                              &(struct source_filter){ .protocol = many, .n_protocol = PROTOCOLS + 1 }, NULL));
	make_all_flows();
	read_events(kernel.some, on_filtered);
	compare("refused", &only_tcp, true);
}

static void
test_no_socket(void)
{
	static const uint8_t protocol[] = { IPPROTO_TCP };
	const struct source_filter filter = { .protocol = protocol, .n_protocol = 1 };
	g_autoptr(GError) error = NULL;

	CU_ASSERT_FALSE(filter_attach(-1, &filter, &error));
	CU_ASSERT_TRUE(g_error_matches(error, PEERFLOW_ERROR, EX_OSERR));
	CU_ASSERT_STRING_EQUAL(error->message, "[conntrack]: the kernel does not take the filter: Bad file descriptor");
}

/* The rule alone, for who may not have a namespace. */
static void
test_rule(void)
{
	const struct source_prefix ignore = prefix_of("100.64.0.0", 10);
	static const struct source_mark mark[] = { { 0x1bd10, 0xffffffff } };
	static const uint8_t protocol[] = { IPPROTO_TCP };
	struct flow tested = { .family = 4, .protocol = IPPROTO_TCP, .mark = 0x1bd10,
	                       .original.source.v4 = { 100, 63, 0, 1 } };
	const struct source_filter filter = { &ignore, 1, mark, 1, protocol, 1 };

	CU_ASSERT_TRUE(filter_passes(&filter, &tested));
	tested.protocol = IPPROTO_UDP;
	CU_ASSERT_FALSE(filter_passes(&filter, &tested));
	tested.protocol = IPPROTO_TCP;
	tested.mark = 0;
	CU_ASSERT_FALSE(filter_passes(&filter, &tested));
	tested.mark = 0x1bd10;
	tested.original.source.v4[1] = 127;
	CU_ASSERT_FALSE(filter_passes(&filter, &tested));
	tested.family = 6;      /* 647f::, which only looks like it */
	CU_ASSERT_TRUE(filter_passes(&filter, &tested));
	CU_ASSERT_TRUE(filter_passes(&(struct source_filter){ 0 }, &tested));
}

/* Bit by bit, for every length there is: kernel and rule agree above, but might both be wrong. */
static void
test_rule_prefixes(void)
{
	unsigned wrong = 0;

	for (unsigned family = 4; family <= 6; family += 2)
		for (unsigned length = 0; length <= (family == 4 ? 32 : 128); length++)
			for (unsigned bit = 0; bit < (family == 4 ? 32 : 128); bit++) {
				struct source_prefix prefix = { .family = family, .length = length };
				struct flow tested = { .family = family, .protocol = IPPROTO_TCP };
				for (unsigned i = 0; i < length; i++)
					prefix.address.v6[i / 8] |= i % 3 ? 0x80 >> i % 8 : 0;
				tested.original.source = prefix.address;
				tested.original.source.v6[bit / 8] ^= 0x80 >> bit % 8;
				const struct source_filter filter = { .ignore = &prefix, .n_ignore = 1 };
				wrong += filter_passes(&filter, &tested) != (bit < length);
			}
	CU_ASSERT_EQUAL(wrong, 0);
}

static bool
prepare(void)
{
	if (unshare(CLONE_NEWNET) < 0)
		return false;
	kernel.all = events_open(NFNLGRP_CONNTRACK_DESTROY, 1 << 20, NULL, NULL);
	kernel.some = events_open(NFNLGRP_CONNTRACK_DESTROY, 1 << 20, NULL, NULL);
	kernel.handle = nfct_open(CONNTRACK, 0);
	return kernel.all && kernel.some && kernel.handle;
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "the rule for a flow in hand", test_rule },
		{ "every length of a prefix", test_rule_prefixes },
		{ "no filter lets all flows pass", test_nothing },
		{ "protocols", test_protocols },
		{ "marks, and flows without one", test_marks },
		{ "ignored IPv4 prefixes", test_prefixes_v4 },
		{ "ignored IPv6 prefixes", test_prefixes_v6 },
		{ "prefixes together", test_prefixes_together },
		{ "protocols, marks and prefixes together", test_all_together },
		{ "the longest filter there can be", test_longest },
		{ "sixteen IPv6 addresses", test_only_v6_prefixes_many },
		{ "a filter that changes", test_changes },
		{ "a socket that is none", test_no_socket },
		CU_TEST_INFO_NULL,
	};

	isolated = prepare();
	int status = run_suite("filter", tests);
	events_close(kernel.all);
	events_close(kernel.some);
	if (kernel.handle)
		nfct_close(kernel.handle);
	return status;
}
