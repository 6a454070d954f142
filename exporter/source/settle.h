/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_SOURCE_SETTLE_H
#define PEERFLOW_SOURCE_SETTLE_H

#include <stdbool.h>
#include <stdint.h>

#include "flow.h"
#include "source/entry.h"

/* How long the kernel keeps an entry after its last packet, in seconds, by the sysctls nf_conntrack_*_timeout_*. */
struct timeouts {
	uint32_t tcp[16];           /* by state */
	uint32_t tcp_retransmitted;
	uint32_t tcp_unacknowledged;
	uint32_t sctp[16];
	uint32_t dccp[16];
	uint32_t udp[2];            /* [1]: of a stream, that is of an entry with the status bit ASSURED */
	uint32_t gre[2];
	uint32_t icmp;
	uint32_t icmpv6;
	uint32_t generic;
};

/* Reads them from the running kernel; what it does not know keeps the kernel's default. */
void timeouts_read(struct timeouts *timeouts);

/* Settles born, start, end, stop, flow id and end reason of an ended flow. now is ns since 1970, the time of receipt, used
 * where the kernel gave no time. early_drop says that the table was so full lately that the kernel threw entries out.
 *
 * The entry's stop time is when it expired: the last packet plus a timeout. So the end, which is what IPFIX wants, is
 * stop minus the timeout last armed, plus what of it was left if the entry was killed early. */
void flow_settle(struct flow *flow, const struct entry_times *times, const struct timeouts *timeouts, uint64_t now,
                 bool early_drop);

/* The same for a flow that goes on: it ended, so far, at looked, ns since 1970, when the kernel read its counters; stop
 * is zero. */
void flow_look(struct flow *flow, const struct entry_times *times, uint64_t looked);

#endif
