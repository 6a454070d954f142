/* SPDX-License-Identifier: GPL-3.0-or-later */
/* When a flow began and ended and why, from what was measured of the kernel: in seconds here, ns in the kernel's
 * words. */

#include "source/settle.h"

#include <fcntl.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "suite.h"

/* The kernel's standard values, of the states that occur below. */
static const struct timeouts standard = {
	.tcp = { [1] = 120, [2] = 60, [3] = 432000, [4] = 120, [5] = 60, [6] = 30, [7] = 120, [8] = 10, [9] = 120 },
	.tcp_retransmitted = 300,
	.tcp_unacknowledged = 300,
	.sctp = { [1] = 10, [2] = 3, [3] = 3, [4] = 210, [5] = 3, [6] = 3, [7] = 3, [8] = 30 },
	.dccp = { [1] = 240, [2] = 480, [3] = 480, [4] = 43200, [5] = 64, [6] = 64, [7] = 240 },
	.udp = { 30, 120 },
	.gre = { 30, 180 },
	.icmp = 30,
	.icmpv6 = 31,
	.generic = 600,
};

/* So short that lifetimes of seconds make sense: as in the measurements. */
static const struct timeouts brief = {
	.tcp = { [1] = 120, [2] = 60, [3] = 400, [4] = 120, [5] = 60, [6] = 30, [7] = 3, [8] = 10 },
	.tcp_retransmitted = 30, .tcp_unacknowledged = 50,
	.udp = { 2, 5 },
};

enum { SYN_SENT = 1, SYN_RECV, ESTABLISHED, FIN_WAIT, CLOSE_WAIT, LAST_ACK, TIME_WAIT, CLOSE };

/* Everything in seconds; stop zero: the kernel gave none; now 1000 s. */
static const struct {
	const char *what;
	const struct timeouts *timeouts;
	uint8_t protocol, state;
	uint32_t status, left;
	double start, stop;
	bool early_drop;
	double expected_start, expected_end, expected_stop;
	uint8_t reason;
} cases[] = {
	/* Measured: last packet 186.066, TIME_WAIT of 3 s, stop 189.065. */
	{ "TCP in TIME_WAIT", &brief, 6, TIME_WAIT, IPS_ASSURED, 0, 180, 189.065, false, 180, 186.065, 189.065, END_DETECTED },
	{ "UDP with no answer", &brief, 17, 0, 0, 0, 186, 188.065, false, 186, 186.065, 188.065, END_IDLE },
	{ "UDP answered, no stream yet", &standard, 17, 0, IPS_SEEN_REPLY, 0, 100, 140, false, 100, 110, 140, END_IDLE },
	{ "UDP stream", &standard, 17, 0, IPS_SEEN_REPLY | IPS_ASSURED, 0, 100, 300, false, 100, 180, 300, END_IDLE },
	{ "UDPLite stream", &standard, 136, 0, IPS_ASSURED, 0, 100, 300, false, 100, 180, 300, END_IDLE },
	/* Measured: conntrack -D with 29 of 30 s left. */
	{ "UDP deleted", &standard, 17, 0, 0, 29, 100, 150, false, 100, 149, 150, END_FORCED },
	{ "UDP stream deleted", &standard, 17, 0, IPS_ASSURED, 100, 100, 150, false, 100, 130, 150, END_FORCED },
	{ "deleted with its last packet", &standard, 17, 0, 0, 30, 100, 150, false, 100, 150, 150, END_FORCED },
	{ "deleted in a full table", &standard, 17, 0, 0, 10, 100, 150, true, 100, 130, 150, END_LACK_OF_RESOURCES },
	{ "expired in a full table", &standard, 17, 0, 0, 0, 100, 150, true, 100, 120, 150, END_IDLE },
	/* Measured: the RST brought CLOSE, 120 s were left of SYN_SENT, and stop is the moment itself. */
	{ "RST on SYN", &standard, 6, CLOSE, 0, 120, 100, 100.5, false, 100, 100.5, 100.5, END_DETECTED },
	{ "RST on SYN in a full table", &standard, 6, CLOSE, 0, 119, 100, 101, true, 100, 101, 101, END_DETECTED },
	{ "RST later", &standard, 6, CLOSE, IPS_ASSURED, 0, 100, 160, false, 100, 150, 160, END_DETECTED },
	{ "SYN with no answer", &standard, 6, SYN_SENT, 0, 0, 100, 220, false, 100, 100, 220, END_IDLE },
	{ "SYN with no answer, sent again", &standard, 6, SYN_SENT, 0, 0, 100, 227, false, 100, 107, 227, END_IDLE },
	{ "FIN_WAIT", &standard, 6, FIN_WAIT, IPS_ASSURED, 0, 100, 400, false, 100, 280, 400, END_DETECTED },
	{ "CLOSE_WAIT", &standard, 6, CLOSE_WAIT, IPS_ASSURED, 0, 100, 400, false, 100, 340, 400, END_DETECTED },
	{ "LAST_ACK", &standard, 6, LAST_ACK, IPS_ASSURED, 0, 100, 400, false, 100, 370, 400, END_DETECTED },
	{ "SYN_RECV", &standard, 6, SYN_RECV, 0, 0, 100, 400, false, 100, 340, 400, END_IDLE },
	{ "ESTABLISHED deleted", &standard, 6, ESTABLISHED, IPS_ASSURED, 431000, 100, 1900.25, false, 100, 900.25, 1900.25,
	  END_FORCED },
	{ "TIME_WAIT deleted", &standard, 6, TIME_WAIT, IPS_ASSURED, 100, 100, 200, false, 100, 180, 200, END_DETECTED },
	/* Expired before its state's timeout could be over: one of the shorter ones was armed. */
	{ "ESTABLISHED, nothing acknowledged", &standard, 6, ESTABLISHED, 0, 0, 100, 500, false, 100, 200, 500, END_IDLE },
	{ "nothing acknowledged for 50 s", &brief, 6, ESTABLISHED, 0, 0, 100, 160, false, 100, 110, 160, END_IDLE },
	{ "sent again for 30 s", &brief, 6, ESTABLISHED, 0, 0, 100, 140, false, 100, 110, 140, END_IDLE },
	{ "dead sooner than anything allows", &brief, 6, ESTABLISHED, 0, 0, 100, 105, false, 100, 100, 105, END_IDLE },
	{ "ESTABLISHED and idle", &brief, 6, ESTABLISHED, IPS_ASSURED, 0, 100, 600, false, 100, 200, 600, END_IDLE },
	{ "SCTP", &standard, 132, 4, IPS_ASSURED, 0, 100, 400, false, 100, 190, 400, END_IDLE },
	{ "SCTP shut down", &standard, 132, 7, IPS_ASSURED, 0, 100, 400, false, 100, 397, 400, END_DETECTED },
	{ "SCTP heartbeat", &standard, 132, 8, 0, 0, 100, 400, false, 100, 370, 400, END_IDLE },
	{ "DCCP", &standard, 33, 4, IPS_ASSURED, 0, 100, 50000, false, 100, 6800, 50000, END_IDLE },
	{ "DCCP closed", &standard, 33, 7, IPS_ASSURED, 0, 100, 400, false, 100, 160, 400, END_DETECTED },
	{ "DCCP that is not tracked", &standard, 33, 0, 0, 0, 100, 800, false, 100, 200, 800, END_IDLE },
	{ "ICMP", &standard, 1, 0, 0, 0, 100, 140, false, 100, 110, 140, END_IDLE },
	{ "ICMPv6", &standard, 58, 0, 0, 0, 100, 140, false, 100, 109, 140, END_IDLE },
	{ "GRE with no answer", &standard, 47, 0, 0, 0, 100, 300, false, 100, 270, 300, END_IDLE },
	{ "GRE", &standard, 47, 0, IPS_ASSURED, 0, 100, 300, false, 100, 120, 300, END_IDLE },
	{ "ESP", &standard, 50, 0, 0, 0, 100, 900, false, 100, 300, 900, END_IDLE },
	/* Clocks. */
	{ "the end before the start", &standard, 17, 0, 0, 0, 500, 400, false, 400, 400, 400, END_IDLE },
	{ "the end before the start, deleted", &standard, 17, 0, 0, 10, 500, 400, false, 400, 400, 400, END_FORCED },
	{ "the timeout is longer than the life", &standard, 17, 0, 0, 0, 395, 400, false, 395, 395, 400, END_IDLE },
	{ "no stop", &standard, 17, 0, 0, 0, 900, 0, false, 900, 970, 1000, END_IDLE },
	/* No start: it is the end. */
	{ "no times", &standard, 17, 0, 0, 0, 0, 0, false, 970, 970, 1000, END_IDLE },
	{ "no times, TCP", &standard, 6, TIME_WAIT, 0, 0, 0, 0, false, 880, 880, 1000, END_DETECTED },
	{ "no times, deleted", &standard, 17, 0, 0, 29, 0, 0, false, 999, 999, 1000, END_FORCED },
	/* States the table does not know. */
	{ "a state beyond the last", &standard, 6, 255, 0, 0, 100, 200, false, 100, 200, 200, END_IDLE },
	{ "more left than can be", &standard, 17, 0, 0, UINT32_MAX, 100, 200, false, 100, 200, 200, END_FORCED },
};

static uint64_t
ns(double seconds)
{
	return (uint64_t)(seconds * 1000 + 0.5) * 1000000;
}

static uint64_t
ms(double seconds)
{
	return seconds * 1000 + 0.5;
}

static void
expect(const char *what, const char *which, uint64_t is, uint64_t should)
{
	CU_ASSERT_EQUAL(is, should);
	if (is != should)
		printf("\n    %s: %s %llu instead of %llu", what, which, (unsigned long long)is, (unsigned long long)should);
}

static void
test_cases(void)
{
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		const struct entry_times times = { ns(cases[i].start), ns(cases[i].stop) };
		struct flow flow = { .family = 4, .protocol = cases[i].protocol, .state = cases[i].state,
		                     .status = cases[i].status, .timeout = cases[i].left, .id = 0xfedcba98,
		                     .gaps = times.start ? 0 : GAP_NO_START };
		flow_settle(&flow, &times, cases[i].timeouts, ns(1000), cases[i].early_drop);
		expect(cases[i].what, "start", flow.start, ms(cases[i].expected_start));
		expect(cases[i].what, "born", flow.born, times.start ? times.start / 1000000 : flow.start);
		expect(cases[i].what, "end", flow.end, ms(cases[i].expected_end));
		expect(cases[i].what, "stop", flow.stop, ms(cases[i].expected_stop));
		expect(cases[i].what, "reason", flow.end_reason, cases[i].reason);
		expect(cases[i].what, "flowId", flow.flow_id, 0xfedcba98ull << 32 ^ flow.born);
		CU_ASSERT_EQUAL(flow.original.biflow_direction, 1);
		CU_ASSERT_EQUAL(flow.reply.biflow_direction, 2);
	}
}

/* Times of today: the id keeps the low 32 bits of the start, in ms. */
static void
test_flow_id(void)
{
	const struct entry_times times = { 1753000000123999999, 1753000100000000000 };
	struct flow flow = { .protocol = IPPROTO_UDP, .id = 0x00000001 };

	flow_settle(&flow, &times, &standard, 0, false);
	CU_ASSERT_EQUAL(flow.start, 1753000000123);
	CU_ASSERT_EQUAL(flow.born, 1753000000123);
	CU_ASSERT_EQUAL(flow.born_ns, 999999);
	CU_ASSERT_EQUAL(flow.flow_id, 0x100000000 | (1753000000123 & 0xffffffff));
	CU_ASSERT_EQUAL(flow.end, 1753000070000);
	CU_ASSERT_EQUAL(flow.stop, 1753000100000);
}

/* Whatever the kernel or a clock says, a flow does not end before it starts nor after it stops. */
static void
test_order(void)
{
	static const uint64_t moments[] = { 0, 1, 999999, 1000000, 1000000000, 60000000000, 1753000000000000000, UINT64_MAX };
	static const uint32_t lefts[] = { 0, 1, 30, 31, 432000, UINT32_MAX };
	const size_t n = sizeof moments / sizeof moments[0];
	unsigned wrong = 0;

	for (unsigned protocol = 0; protocol < 256; protocol++)
		for (size_t i = 0; i < n * n * n * 6; i++) {
			const struct entry_times times = { moments[i / 6 % n], moments[i / 6 / n % n] };
			struct flow flow = { .protocol = protocol, .state = i % 12, .timeout = lefts[i % 6],
			                     .gaps = times.start ? 0 : GAP_NO_START };
			flow_settle(&flow, &times, &standard, moments[i / 6 / n / n], i & 1);
			wrong += flow.start > flow.end || flow.end > flow.stop || !flow.end_reason;
		}
	CU_ASSERT_EQUAL(wrong, 0);
}

/* A flow as the walks see it, and at its end, while the clock is set back and forth by an hour: no duration is negative,
 * and it stays the same flow. */
static void
test_clock(void)
{
	enum { HOUR = 3600 };
	static const double born = 10000, looks[] = { 10000, 10060, 10060 - HOUR, 10120 - HOUR, 10180 + HOUR, 10240 };
	unsigned wrong = 0;

	for (size_t i = 0; i < sizeof looks / sizeof looks[0]; i++)
		for (size_t j = 0; j < 256; j++) {
			const struct entry_times alive = { ns(born), 0 }, ended = { ns(born), j % 2 ? ns(looks[i]) : 0 };
			struct flow seen = { .protocol = j, .id = 7, .timeout = 30 }, last = { .protocol = j, .id = 7 };
			flow_look(&seen, &alive, ns(looks[i]));
			flow_settle(&last, &ended, &standard, ns(looks[i]), false);
			wrong += seen.start > seen.end || last.start > last.end || last.end > last.stop;
			wrong += seen.born != ms(born) || last.born != ms(born) || seen.flow_id != last.flow_id;
			wrong += seen.end != ms(looks[i]) || last.stop != ms(looks[i]) || seen.stop;
		}
	CU_ASSERT_EQUAL(wrong, 0);
}

static void
test_look(void)
{
	const struct entry_times times = { 1753000000123456789, 0 }, none = { 0 };
	struct flow flow = { .protocol = IPPROTO_TCP, .state = ESTABLISHED, .timeout = 431990, .id = 0xfedcba98 };

	flow_look(&flow, &times, 1753000060999999999);
	CU_ASSERT_TRUE(flow.born == 1753000000123 && flow.born_ns == 456789 && flow.start == flow.born);
	CU_ASSERT_TRUE(flow.end == 1753000060999 && flow.stop == 0 && flow.end_reason == END_ACTIVE);
	CU_ASSERT_EQUAL(flow.flow_id, 0xfedcba98ull << 32 ^ (flow.born & UINT32_MAX));
	CU_ASSERT_TRUE(flow.timeout == 431990 && flow.original.biflow_direction == 1 && flow.reply.biflow_direction == 2);
	flow.gaps = GAP_NO_START;
	flow_look(&flow, &none, 1753000060999999999);
	CU_ASSERT_TRUE(flow.start == 1753000060999 && flow.end == flow.start && flow.born == flow.start);
}

static bool
write_setting(const char *name, const char *value)
{
	char path[128];

	snprintf(path, sizeof path, "/proc/sys/net/netfilter/nf_conntrack_%s", name);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool written = fd >= 0 && write(fd, value, strlen(value)) == (ssize_t)strlen(value);
	if (fd >= 0)
		close(fd);
	return written;
}

/* What the kernel says replaces the standard values; what it does not know keeps them. */
static void
test_read(void)
{
	struct timeouts timeouts;

	memset(&timeouts, 0, sizeof timeouts);
	timeouts_read(&timeouts);
	CU_ASSERT_TRUE(timeouts.tcp[ESTABLISHED] && timeouts.udp[0] && timeouts.dccp[1] && timeouts.generic);
	if (unshare(CLONE_NEWNET) < 0 || !write_setting("udp_timeout", "17")) {
		printf("SKIPPED in part (needs root: a network namespace) ");
		return;
	}
	timeouts_read(&timeouts);
	CU_ASSERT_EQUAL(memcmp(timeouts.tcp, standard.tcp, sizeof timeouts.tcp), 0);
	CU_ASSERT_EQUAL(timeouts.udp[0], 17);
	CU_ASSERT_EQUAL(timeouts.udp[1], 120);
	CU_ASSERT_EQUAL(timeouts.icmp, 30);
	CU_ASSERT_TRUE(write_setting("udp_timeout_stream", "18") && write_setting("tcp_timeout_time_wait", "19"));
	CU_ASSERT_TRUE(write_setting("tcp_timeout_unacknowledged", "20") && write_setting("generic_timeout", "21"));
	CU_ASSERT_TRUE(write_setting("tcp_timeout_max_retrans", "22") && write_setting("icmpv6_timeout", "23"));
	timeouts_read(&timeouts);
	CU_ASSERT_EQUAL(timeouts.udp[1], 18);
	CU_ASSERT_EQUAL(timeouts.tcp[TIME_WAIT], 19);
	CU_ASSERT_EQUAL(timeouts.tcp_unacknowledged, 20);
	CU_ASSERT_EQUAL(timeouts.generic, 21);
	CU_ASSERT_EQUAL(timeouts.tcp_retransmitted, 22);
	CU_ASSERT_EQUAL(timeouts.icmpv6, 23);
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "measured cases", test_cases },
		{ "the id of a flow", test_flow_id },
		{ "start, end and stop in order", test_order },
		{ "a flow that goes on", test_look },
		{ "a clock that is set", test_clock },
		{ "the kernel's timeouts", test_read },
		CU_TEST_INFO_NULL,
	};

	return run_suite("settle", tests);
}
