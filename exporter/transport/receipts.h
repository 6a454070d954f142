/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_TRANSPORT_RECEIPTS_H
#define PEERFLOW_TRANSPORT_RECEIPTS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sys/socket.h>

#include "endpoint.h"

/* What a link has sent, written by the kernel. sendmmsg() stores how much of each message it took in the headers that it
 * is given, before it returns to a process that may have been killed meanwhile. With the headers in memory that
 * survives the process (region.h), the next one knows exactly what is out, without a system call more than sending
 * takes.
 *
 * Each message carries a mark (message.h). out is that of the last message the kernel took, or that was given up. What a
 * call asks the kernel to send stands beside the headers until out tells of it:
 *
 *     expected = 0; fill in the headers, msg_len zero, and what each means; expected = n     receipts_clear, _expect, _arm
 *     sendmmsg()
 *     out = mark of the last message that left                                                receipts_out
 *
 * A kill before the call, or in it before a message left: its msg_len is zero. In the call after that: the kernel
 * finishes its own work first, and msg_len says it. Between the call and out: the same. Between out and expected = 0:
 * msg_len says once more what out says already. While headers are filled in: expected is zero, nothing is looked at. */

enum {
	RECEIPTS_MOST = 64,         /* messages a system call */
	TRAILS = 9,                 /* this session and eight earlier ones or attempts */
};

/* The two ends of a session: what the kernel's connection tracking will report of us, also after our end. */
struct trail {
	union endpoint local;
	union endpoint remote;
};

struct receipts {
	uint64_t out;
	uint32_t expected;          /* of those below; zero while they change */
	uint32_t stream;            /* one header for all; each is out if so many octets are */
	struct {
		uint64_t mark;
		uint64_t octets;        /* streams: up to the end of this message */
	} expect[RECEIPTS_MOST];
	struct mmsghdr header[RECEIPTS_MOST];
	uint64_t trails;            /* ever; the next one goes to this modulo TRAILS */
	struct trail trail[TRAILS];
};

/* To be called before anything else is done with receipts that another process left: the mark of the last message that
 * is out. Zeroed memory is good receipts, too. */
uint64_t receipts_recover(struct receipts *receipts);

/* Everything up to this mark is out, or given up. */
static inline void
receipts_out(struct receipts *receipts, uint64_t mark)
{
	if (mark > receipts->out)
		*(volatile uint64_t *)&receipts->out = mark;
}

/* A kill falls between two instructions: only the compiler must keep their order. */
static inline void
receipts_fence(void)
{
	atomic_signal_fence(memory_order_seq_cst);
}

/* Before the headers are changed. */
static inline void
receipts_clear(struct receipts *receipts)
{
	receipts_fence();
	*(volatile uint32_t *)&receipts->expected = 0;
	receipts_fence();
}

/* Before the call: so many are filled in. */
static inline void
receipts_arm(struct receipts *receipts, bool stream, size_t n)
{
	receipts->stream = stream;
	receipts_fence();
	*(volatile uint32_t *)&receipts->expected = n;
	receipts_fence();
}

#endif
