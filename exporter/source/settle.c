/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "source/settle.h"

#include <netinet/in.h>     /* before the kernel's headers, which then leave out what it defines */

#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_conntrack_sctp.h>
#include <linux/netfilter/nf_conntrack_tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "source/settings.h"

static const uint64_t second = 1000000000, millisecond = 1000000;

/* linux/netfilter/nf_conntrack_dccp.h is gone from newer kernels; the numbers are not. */
enum { DCCP_REQUEST = 1, DCCP_RESPOND, DCCP_PARTOPEN, DCCP_OPEN, DCCP_CLOSEREQ, DCCP_CLOSING, DCCP_TIMEWAIT };

#define TIMEOUT(member) offsetof(struct timeouts, member)

static const struct {
	const char *sysctl;         /* below net.netfilter.nf_conntrack_ */
	size_t member;
	uint32_t standard;          /* seconds, as in the kernel's source */
} timeout_table[] = {
	{ "tcp_timeout_syn_sent",           TIMEOUT(tcp[TCP_CONNTRACK_SYN_SENT]),       120 },
	{ "tcp_timeout_syn_sent",           TIMEOUT(tcp[TCP_CONNTRACK_SYN_SENT2]),      120 },
	{ "tcp_timeout_syn_recv",           TIMEOUT(tcp[TCP_CONNTRACK_SYN_RECV]),       60 },
	{ "tcp_timeout_established",        TIMEOUT(tcp[TCP_CONNTRACK_ESTABLISHED]),    432000 },
	{ "tcp_timeout_fin_wait",           TIMEOUT(tcp[TCP_CONNTRACK_FIN_WAIT]),       120 },
	{ "tcp_timeout_close_wait",         TIMEOUT(tcp[TCP_CONNTRACK_CLOSE_WAIT]),     60 },
	{ "tcp_timeout_last_ack",           TIMEOUT(tcp[TCP_CONNTRACK_LAST_ACK]),       30 },
	{ "tcp_timeout_time_wait",          TIMEOUT(tcp[TCP_CONNTRACK_TIME_WAIT]),      120 },
	{ "tcp_timeout_close",              TIMEOUT(tcp[TCP_CONNTRACK_CLOSE]),          10 },
	{ "tcp_timeout_max_retrans",        TIMEOUT(tcp_retransmitted),                 300 },
	{ "tcp_timeout_unacknowledged",     TIMEOUT(tcp_unacknowledged),                300 },
	{ "sctp_timeout_closed",            TIMEOUT(sctp[SCTP_CONNTRACK_CLOSED]),       10 },
	{ "sctp_timeout_cookie_wait",       TIMEOUT(sctp[SCTP_CONNTRACK_COOKIE_WAIT]),  3 },
	{ "sctp_timeout_cookie_echoed",     TIMEOUT(sctp[SCTP_CONNTRACK_COOKIE_ECHOED]), 3 },
	{ "sctp_timeout_established",       TIMEOUT(sctp[SCTP_CONNTRACK_ESTABLISHED]),  210 },
	{ "sctp_timeout_shutdown_sent",     TIMEOUT(sctp[SCTP_CONNTRACK_SHUTDOWN_SENT]), 3 },
	{ "sctp_timeout_shutdown_recd",     TIMEOUT(sctp[SCTP_CONNTRACK_SHUTDOWN_RECD]), 3 },
	{ "sctp_timeout_shutdown_ack_sent", TIMEOUT(sctp[SCTP_CONNTRACK_SHUTDOWN_ACK_SENT]), 3 },
	{ "sctp_timeout_heartbeat_sent",    TIMEOUT(sctp[SCTP_CONNTRACK_HEARTBEAT_SENT]), 30 },
	{ "dccp_timeout_request",           TIMEOUT(dccp[DCCP_REQUEST]),                240 },
	{ "dccp_timeout_respond",           TIMEOUT(dccp[DCCP_RESPOND]),                480 },
	{ "dccp_timeout_partopen",          TIMEOUT(dccp[DCCP_PARTOPEN]),               480 },
	{ "dccp_timeout_open",              TIMEOUT(dccp[DCCP_OPEN]),                   43200 },
	{ "dccp_timeout_closereq",          TIMEOUT(dccp[DCCP_CLOSEREQ]),               64 },
	{ "dccp_timeout_closing",           TIMEOUT(dccp[DCCP_CLOSING]),                64 },
	{ "dccp_timeout_timewait",          TIMEOUT(dccp[DCCP_TIMEWAIT]),               240 },
	{ "udp_timeout",                    TIMEOUT(udp[0]),                            30 },
	{ "udp_timeout_stream",             TIMEOUT(udp[1]),                            120 },
	{ "gre_timeout",                    TIMEOUT(gre[0]),                            30 },
	{ "gre_timeout_stream",             TIMEOUT(gre[1]),                            180 },
	{ "icmp_timeout",                   TIMEOUT(icmp),                              30 },
	{ "icmpv6_timeout",                 TIMEOUT(icmpv6),                            30 },
	{ "generic_timeout",                TIMEOUT(generic),                           600 },
};

void
timeouts_read(struct timeouts *timeouts)
{
	for (size_t i = 0; i < sizeof timeout_table / sizeof timeout_table[0]; i++) {
		uint32_t *member = (uint32_t *)((uint8_t *)timeouts + timeout_table[i].member);
		if (!settings_read(timeout_table[i].sysctl, member))
			*member = timeout_table[i].standard;
	}
}

/* The timeout the flow's last packet armed. A TCP entry whose data nobody acknowledges has a shorter one than its
 * state says, and a DESTROY does not tell; but an entry cannot have lived less long than its timeout. */
static uint64_t
tcp_armed(const struct flow *flow, const struct timeouts *timeouts, uint64_t lifetime)
{
	const uint64_t by_state = timeouts->tcp[flow->state % 16] * second;

	if (flow->timeout || by_state <= lifetime)
		return by_state;
	const uint64_t longer = timeouts->tcp_unacknowledged * second, shorter = timeouts->tcp_retransmitted * second;
	return longer <= lifetime && longer >= shorter ? longer : shorter < by_state ? shorter : by_state;
}

/* In ns. lifetime is stop minus start. */
static uint64_t
armed(const struct flow *flow, const struct timeouts *timeouts, uint64_t lifetime)
{
	const unsigned stream = !!(flow->status & IPS_ASSURED);

	switch (flow->protocol) {
	case IPPROTO_TCP:
		return tcp_armed(flow, timeouts, lifetime);
	case IPPROTO_UDP:
	case IPPROTO_UDPLITE:
		return timeouts->udp[stream] * second;
	case IPPROTO_ICMP:
		return timeouts->icmp * second;
	case IPPROTO_ICMPV6:
		return timeouts->icmpv6 * second;
	case IPPROTO_GRE:
		return timeouts->gre[stream] * second;
	case IPPROTO_SCTP:
		return timeouts->sctp[flow->state % 16] * second;
	case IPPROTO_DCCP:
		/* Without a state this kernel does not track DCCP but takes it for any protocol. */
		return (flow->state ? timeouts->dccp[flow->state % 16] : timeouts->generic) * second;
	default:
		return timeouts->generic * second;
	}
}

static uint64_t
last_packet(const struct flow *flow, const struct timeouts *timeouts, uint64_t start, uint64_t stop)
{
	const uint64_t whole = armed(flow, timeouts, stop - start), left = flow->timeout * second;

	/* More left than the state's timeout allows: the packet that brought this state killed the entry. */
	if (left > whole)
		return stop;
	const uint64_t idle = whole - left;
	return idle < stop - start ? stop - idle : start;
}

/* The protocol itself ended the conversation. */
static bool
ended_in_order(const struct flow *flow)
{
	switch (flow->protocol) {
	case IPPROTO_TCP:
		return flow->state >= TCP_CONNTRACK_FIN_WAIT && flow->state <= TCP_CONNTRACK_CLOSE;
	case IPPROTO_SCTP:
		/* SHUTDOWN COMPLETE and ABORT both leave CLOSED behind. */
		return flow->state == SCTP_CONNTRACK_CLOSED
		       || (flow->state >= SCTP_CONNTRACK_SHUTDOWN_SENT && flow->state <= SCTP_CONNTRACK_SHUTDOWN_ACK_SENT);
	case IPPROTO_DCCP:
		return flow->state >= DCCP_CLOSEREQ && flow->state <= DCCP_TIMEWAIT;
	default:
		return false;
	}
}

static enum flow_end_reason
end_reason(const struct flow *flow, bool early_drop)
{
	if (ended_in_order(flow))
		return END_DETECTED;
	if (flow->timeout == 0)
		return END_IDLE;
	return early_drop ? END_LACK_OF_RESOURCES : END_FORCED;
}

/* The birth is what the kernel says, whatever became of the clock: it tells the flow from others. */
static void
name_flow(struct flow *flow, const struct entry_times *times)
{
	flow->born = times->start ? times->start / millisecond : flow->start;
	flow->born_ns = times->start % millisecond;
	flow->flow_id = (uint64_t)flow->id << 32 ^ (flow->born & UINT32_MAX);
	flow->original.biflow_direction = 1;
	flow->reply.biflow_direction = 2;
}

void
flow_settle(struct flow *flow, const struct entry_times *times, const struct timeouts *timeouts, uint64_t now,
            bool early_drop)
{
	const uint64_t stop = times->stop ? times->stop : now;
	/* A clock that was set back while the flow lived must not make it end before it began. */
	const uint64_t start = times->start && times->start < stop ? times->start : stop;
	const uint64_t end = last_packet(flow, timeouts, flow->gaps & GAP_NO_START ? 0 : start, stop);

	flow->stop = stop / millisecond;
	flow->end = end / millisecond;
	flow->start = flow->gaps & GAP_NO_START ? flow->end : start / millisecond;
	flow->end_reason = end_reason(flow, early_drop);
	name_flow(flow, times);
}

void
flow_look(struct flow *flow, const struct entry_times *times, uint64_t looked)
{
	const uint64_t start = times->start && times->start < looked ? times->start : looked;

	flow->stop = 0;
	flow->end = looked / millisecond;
	flow->start = start / millisecond;
	flow->end_reason = END_ACTIVE;
	name_flow(flow, times);
}
