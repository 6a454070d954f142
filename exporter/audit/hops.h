/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_AUDIT_HOPS_H
#define PEERFLOW_AUDIT_HOPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>

#include "flow.h"
#include "names.h"

/* A flow as one router knows it. The records of a flow add up to it; so do the uniflows of its two directions, also
 * those of exporters that do not number their flows: of these, records of one tuple with no more than HOPS_IDLE between
 * them are one flow, and whoever spoke first is the initiator; of one moment, whoever other routers know as that. A
 * uniflow of the answers may have the tuples of the answers, or those of the questions mirrored. */
struct hop {
	struct flow flow;           /* start and end are of the whole flow */
	const char *initiator;      /* names, owned by the hops; NULL: not known */
	const char *initiator_user;
	const char *responder;
	const char *responder_via;
	unsigned router;
	uint32_t records;
	bool asked;                 /* the question was about it */
	bool foreign;               /* its exporter says no more than addresses, counters and times */
	uint8_t doubt;              /* 1: nothing but ports told who asked; 2: and these tell little */
	uint8_t way;                /* how the ends were turned, to compare records */
	uint8_t other_way;          /* the same if the other end asked */
};

enum {
	HOPS_IDLE = 15000,          /* ms */
	HOPS_MOST = 2000000,        /* records that are kept */
};

struct hops;

struct hops *hops_new(void);
void hops_free(struct hops *hops);
typedef struct hops hops_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(hops_t, hops_free)

/* A record, copied. Fails (EX_DATAERR) if there are too many of them. */
bool hops_add(struct hops *hops, unsigned router, const struct flow *flow, const struct names *names, bool asked,
              GError **error);

/* After the last record: makes hops of them, in the order of their routers. */
void hops_settle(struct hops *hops);

/* Good until the hops are freed. */
const struct hop *hops_all(const struct hops *hops, size_t *count);

#endif
