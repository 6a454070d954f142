/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_AUDIT_LINKS_H
#define PEERFLOW_AUDIT_LINKS_H

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

#include "audit/trace.h"

/* Which hop could come after which, and which of these pairs are taken. Hops are their indexes. */

enum { LINKS_NONE = -1 };

struct link {
	guint from;
	guint to;
	uint64_t apart;             /* ms between their beginnings, once the clocks agree */
	bool taken;
	bool firm;                  /* and no other would do as well */
	/* Where one router forgot the connection and began anew, and the other did not: which of the two is a part only. */
	enum {
		LINK_WHOLE,
		LINK_FROM_PART,
		LINK_TO_PART,
	} part;
};

struct links;

struct links *links_new(const struct hop *hops, size_t n_hops, const struct clocks *clocks, uint64_t slack);
void links_free(struct links *links);

/* The hop firmly after or before this one, or LINKS_NONE. With next and previous also one that has this as a part. */
int64_t links_after(const struct links *links, guint hop);
int64_t links_before(const struct links *links, guint hop);
int64_t links_next(const struct links *links, guint hop);
int64_t links_previous(const struct links *links, guint hop);

/* Appends the hops that could be after, or before, a hop that has a taken link which is not firm; else none. */
void links_candidates_after(const struct links *links, guint hop, GArray *out);
void links_candidates_before(const struct links *links, guint hop, GArray *out);

/* What is measured between two routers, or nothing if it is more than slack. */
struct clock_difference links_clock(const struct links *links, unsigned one, unsigned other);

#endif
