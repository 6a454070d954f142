/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_AUDIT_COPY_H
#define PEERFLOW_AUDIT_COPY_H

#include <stddef.h>
#include <stdint.h>

#include "audit/print.h"

/* A flow with all words about it in one piece without pointers, for who keeps flows, in memory or in a file,
 * longer than whoever read them does. */

enum copy_text {
	COPY_INITIATOR,             /* WORDS of them, in the order of enum identity_word */
	COPY_RESPONDER = COPY_INITIATOR + WORDS,
	COPY_POLICY = COPY_RESPONDER + WORDS,
	COPY_INGRESS,
	COPY_EGRESS,
	COPY_ROUTER,
	COPY_TEXTS,
};

struct copy {
	uint32_t octets;            /* of the whole, a multiple of 8 */
	uint16_t length[COPY_TEXTS];        /* zero: there is no such text */
	struct flow flow;
	char text[];                /* one behind the other, each with a NUL */
};

/* A copy in the form in which flows are printed; it points to itself and to the copy. */
struct copy_view {
	struct print_flow flow;
	struct flow plain;          /* the copy's, but for the indexes of its words */
	struct names names;
	struct identity identity[3];
	struct name name[1 + COPY_TEXTS];
};

/* Belongs to the caller: g_free. Texts longer than 65535 octets are cut. */
struct copy *copy_new(const struct print_flow *flow);

void copy_view(const struct copy *copy, struct copy_view *view);

#endif
