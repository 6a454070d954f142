/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_SOURCE_ENTRY_H
#define PEERFLOW_SOURCE_ENTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "flow.h"

struct nlmsghdr;

/* What kind of ctnetlink message it was. */
enum entry_message {
	ENTRY_MALFORMED,            /* lengths that do not add up, or no tuples: nothing in the flow is to be trusted */
	ENTRY_OTHER,                /* not about a connection tracking entry */
	ENTRY_NEW,                  /* also each message of a dump */
	ENTRY_DELETED,
};

/* Kernel times of an entry, in ns since 1970; zero: not given. */
struct entry_times {
	uint64_t start;
	uint64_t stop;
};

/* Reads one ctnetlink message of at most available octets straight into a flow: tuples, counters, state, marks, labels.
 * The flow's times, ids and everything that is found out later stay zero: flow_settle does the times. Every length is
 * checked; the octets may be anything. (linux/netfilter/nfnetlink_conntrack.h) */
enum entry_message entry_read(const struct nlmsghdr *message, size_t available, struct flow *flow,
                              struct entry_times *times);

#endif
