/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_AUDIT_TRACE_H
#define PEERFLOW_AUDIT_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>

#include "audit/clocks.h"
#include "audit/hops.h"
#include "audit/reach.h"
#include "audit/tuple.h"

/* One connection across several routers. What a router translated a tuple to is what the next one met, so two hops
 * belong together if the one's tuple after is the other's tuple before, and they overlap in time, by clocks that may
 * differ. Ports are used again: of several that fit, the pair whose beginnings lie closest is taken first, each hop
 * belongs to one pair, and where another pair would do as well the trace says so and takes none. */

enum verdict {
	VERDICT_AMBIGUOUS,          /* several flows at the next router could be this one */
	VERDICT_ELSEWHERE,          /* answered, but not by way of the router it was expected at */
	VERDICT_NOT_RECORDED,       /* not at that router, whose records of the time are missing or may be incomplete */
	VERDICT_NOT_SEEN,           /* left, and never came to that router */
	VERDICT_LEFT,               /* left by the tunnel, no answer; what is behind is in none of the archives */
	VERDICT_NO_COUNTERS,
	VERDICT_REPLY_LOST,         /* the host answered, the answers were lost between two routers */
	VERDICT_NO_REPLY,
	VERDICT_REFUSED,
	VERDICT_HALF_OPEN,          /* the host accepted, the initiator never confirmed */
	VERDICT_RESET,
	VERDICT_CLOSED,
	VERDICT_GOES_ON,
	VERDICT_LEFT_OPEN,          /* answered, but never closed */
	VERDICT_ANSWERED,
	VERDICTS,
};

/* Between two hops of a path. */
struct trace_leg {
	struct clock_difference clock;
	int64_t lost[2];            /* packets counted before minus after it: the initiator's, the responder's */
	bool counted;               /* both sides counted all packets, and of the same flow */
	bool part;                  /* one of the hops is one of several that the other router has as one flow */
};

struct trace_path {
	const struct hop **hop;     /* from the initiator to the responder */
	size_t n_hops;              /* at least one */
	struct trace_leg *leg;      /* leg[i] is between hop[i] and hop[i + 1] */
	const struct hop **before;  /* hops that could be the one before the first, or after the last; none is taken */
	size_t n_before;
	const struct hop **after;
	size_t n_after;
	enum verdict verdict;
	char *words;                /* the verdict as a sentence */
	char *remark;               /* something more to know, or NULL */
};

/* An archive's router. */
struct trace_router {
	const char *name;
	uint64_t first;             /* ms since 1970: of its oldest and newest record, zero if there is none */
	uint64_t last;
};

/* A time whose records are incomplete at a router. */
struct trace_hole {
	uint64_t first;
	uint64_t last;
	unsigned router;
};

struct trace_options {
	uint64_t slack;             /* ms: how far apart clocks may be */
	const struct trace_router *router;
	unsigned n_routers;         /* at most CLOCKS_MOST_ROUTERS */
	const struct trace_hole *hole;
	size_t n_holes;
	const struct clocks *clocks;        /* may be NULL, as may reach: what all flows of the archives tell */
	const struct reach *reach;
};

struct trace;

/* Joins the hops, which must outlive the trace, as must all that options have. */
struct trace *trace_new(const struct hop *hops, size_t n_hops, const struct trace_options *options);
void trace_free(struct trace *trace);
typedef struct trace trace_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(trace_t, trace_free)

/* The paths that were asked for, in the order of their beginning; good as long as the trace. */
const struct trace_path *trace_paths(const struct trace *trace, size_t *count);

/* "no_reply": the verdict for programs. */
const char *trace_verdict(enum verdict verdict);

#endif
