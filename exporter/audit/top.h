/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_AUDIT_TOP_H
#define PEERFLOW_AUDIT_TOP_H

#include <stddef.h>
#include <stdint.h>

#include "audit/print.h"

/* Who, or what, was busiest: flows added up by one thing about them. What is about an end of a flow is asked of
 * both, so a flow may count for two; sent is then what that end sent, and else what the initiator did. */

struct top_options {
	const char *kind;           /* "peers", "ports": a name of top_kinds */
	const char *by;             /* "bytes", "packets" or "flows"; NULL: bytes */
	size_t most;                /* different ones to tell apart, at least 2; zero: as many as is usual */
};

struct top;

/* Fails (EX_USAGE) with a list of what there is. */
struct top *top_new(const struct top_options *options, GError **error);
void top_free(struct top *top);
typedef struct top top_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(top_t, top_free)

void top_add(struct top *top, const struct print_flow *flow);

/* Appends the first so many (zero: all), in a table below a line for all flows together. */
void top_print(const struct top *top, enum print_format format, size_t limit, GString *out);

/* A sentence that says what may be missing because there were too many different ones; NULL: nothing is. The
 * caller's. */
char *top_warning(const struct top *top);

#endif
