/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_AUDIT_VERDICT_H
#define PEERFLOW_AUDIT_VERDICT_H

#include "audit/trace.h"

/* What became of a connection, by what its hops counted. */

/* A path and what is known around it. */
struct outcome {
	const struct trace_path *path;
	const struct trace_router *router;
	int next;                   /* router that others to this destination went on to, though this did not; or -1 */
	bool next_incomplete;       /* that router's records of the time are missing, or may be */
};

/* The first of enum verdict that holds. words is the sentence, to be freed. */
enum verdict verdict_find(const struct outcome *outcome, char **words);

#endif
