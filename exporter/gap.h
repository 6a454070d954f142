/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_GAP_H
#define PEERFLOW_GAP_H

#include <stdbool.h>
#include <stdint.h>

/* Something was lost, or may have been. Whoever notices it fills in one of these and hands it on; the ledger merges,
 * logs and remembers them, and the collectors get to know them as options data. Like a flow it holds no pointers. */

/* The order is part of the layout of the ledger's memory: new kinds go to the end. */
enum gap_kind {
	GAP_OVERRUN,                /* the kernel dropped ends of flows, our socket was full */
	GAP_FUSE,                   /* reliable delivery was given up for a while; flows: dropped meanwhile */
	GAP_GONE,                   /* flows left the table without a word; they were reported from the last look */
	GAP_AWAY,                   /* peerflow did not run, and nobody kept its socket */
	GAP_QUEUE,                  /* the queue of a collector was full */
	GAP_UNREACHABLE,            /* a collector refused or could not be reached, or there was no session */
	GAP_POOL,                   /* no room for the counters of a long flow: reported whole at its end, nothing is lost */
	GAP_ACCOUNTING,             /* accounting, time stamps or events were found off */
	GAP_RESET_COUNTERS,         /* somebody zeroed the kernel's counters (conntrack -Z) */
	GAP_JOURNAL,                /* a collector was further behind than the journal remembers */
	GAP_ARCHIVE,                /* the archive was: its disk was full, failing or slow, or it was off */
	GAP_KINDS,
};

struct gap {
	uint64_t first;             /* ms since 1970 of the first and the last loss, or of when it began and was over */
	uint64_t last;
	uint64_t flows;             /* how many are concerned, as far as known; of GAP_QUEUE, GAP_UNREACHABLE and
	                             * GAP_JOURNAL how many flow records */
	uint64_t packets;           /* what these flows had counted, as far as known */
	uint64_t octets;
	uint8_t kind;               /* enum gap_kind */
	bool unknown;               /* there may be more than flows says */
	char collector[32];         /* its name in the configuration, cut if need be; "": not one collector's */
};

#endif
