/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_AUDIT_JOINS_H
#define PEERFLOW_AUDIT_JOINS_H

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

#include "audit/trace.h"

/* Which hop could come after which, and which of these pairs are taken. Hops are their indexes. */

enum { JOINS_NONE = -1 };

struct join {
	guint from;
	guint to;
	uint64_t apart;             /* ms between their beginnings, once the clocks agree */
	bool taken;
	bool firm;                  /* and no other would do as well */
	/* Where one router forgot the connection and began anew, and the other did not: which of the two is a part only. */
	enum {
		JOIN_WHOLE,
		JOIN_FROM_PART,
		JOIN_TO_PART,
	} part;
};

struct joins;

struct joins *joins_new(const struct hop *hops, size_t n_hops, const struct clocks *clocks, uint64_t slack);
void joins_free(struct joins *joins);

/* The hop firmly after or before this one, or JOINS_NONE. With next and previous also one that has this as a part. */
int64_t joins_after(const struct joins *joins, guint hop);
int64_t joins_before(const struct joins *joins, guint hop);
int64_t joins_next(const struct joins *joins, guint hop);
int64_t joins_previous(const struct joins *joins, guint hop);

/* Appends the hops that could be after, or before, a hop that has a taken join which is not firm; else none. */
void joins_candidates_after(const struct joins *joins, guint hop, GArray *out);
void joins_candidates_before(const struct joins *joins, guint hop, GArray *out);

/* What is measured between two routers, or nothing if it is more than slack. */
struct clock_difference joins_clock(const struct joins *joins, unsigned one, unsigned other);

#endif
