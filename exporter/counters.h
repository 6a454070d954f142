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
	uint64_t sweeps;            /* times the table was read, also if not to its end */
};

/* Of what is remembered between two records. */
struct flows_counters {
	uint64_t duplicates;        /* ends that the kernel told again, and that were dropped */
	uint64_t late;              /* entries that a walk showed although their end had been read */
	uint64_t partial;           /* flows that were there before us and are counted from the first look */
	uint64_t intervals;         /* records of flows that went on */
	uint64_t no_room;           /* long flows that the pool had no room for, and so are reported at their end only */
	uint64_t gone;              /* long flows that left the table without a word */
	uint64_t resets;            /* long flows whose counters somebody zeroed, each time */
};

/* Why a message could not be sent. */
enum drop_reason {
	DROP_NO_SESSION,            /* the collector was not connected */
	DROP_QUEUE_FULL,            /* it takes less than there is to send */
	DROP_SESSION_LOST,          /* waited when the session was lost */
	DROP_SEND_FAILED,           /* the kernel did not take it */
	DROP_REASONS,
};

struct drops {
	uint64_t flow_records;
	uint64_t packets;           /* that these records count */
	uint64_t octets;
};

/* Of one collector. "Sent" means the kernel took it; for UDP nobody can know more. */
struct link_counters {
	uint64_t messages_sent;
	uint64_t octets_sent;
	uint64_t flow_records_sent;
	uint64_t flow_packets_sent;         /* that these records count */
	uint64_t flow_octets_sent;
	uint64_t flow_records_dropped;  /* for all reasons */
	struct drops dropped[DROP_REASONS];
	uint64_t unconfirmed;           /* octets that a collector had not confirmed when its stream broke off */
	uint64_t send_errors;
	uint64_t refused;               /* ICMP port or host unreachable came back */
	uint64_t sessions;              /* times a transport session was opened */
};

#endif
