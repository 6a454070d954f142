/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_COUNTERS_H
#define PEERFLOW_COUNTERS_H

#include <stdint.h>

/* Plain numbers that only grow. Each stage adds to its own; only a main reads them all. */

struct source_counters {
	uint64_t events;            /* DESTROY messages taken from the kernel */
	uint64_t flows;             /* of them, handed on as flows */
	uint64_t malformed;         /* messages that could not be read as a flow */
	uint64_t truncated;         /* messages longer than a receive buffer */
	uint64_t overruns;          /* times the kernel said ENOBUFS: events were lost */
	uint64_t without_counters;  /* flows with GAP_NO_COUNTERS */
	uint64_t without_start;     /* flows with GAP_NO_START */
	uint64_t settings_restored; /* times a kernel setting was found switched off and put back */
	uint64_t labels_lost;       /* flows whose labels had to make room */
	uint64_t present_at_start;  /* flows that were in the table when peerflow came */
};

/* Of one collector. "Sent" means the kernel took it; for UDP nobody can know more. */
struct link_counters {
	uint64_t messages_sent;
	uint64_t octets_sent;
	uint64_t flow_records_sent;
	uint64_t flow_records_dropped;  /* no session, queue full, or refused by the kernel */
	uint64_t send_errors;
	uint64_t refused;               /* ICMP port or host unreachable came back */
	uint64_t sessions;              /* times a transport session was opened */
};

#endif
