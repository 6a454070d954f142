/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_AUDIT_QUERY_H
#define PEERFLOW_AUDIT_QUERY_H

#include <stdbool.h>

#include <glib.h>

#include "audit/print.h"

/* Which flows somebody asks for, in the manner of nfdump and tcpdump:
 *
 *     src peer alice and dst net 10.20.0.0/24 and port 443 and bytes > 1m
 *
 * packaging/man/peerflow.1 has the whole language. src is the initiator's end and dst the responder's. An address or
 * port is looked for before and after translation; with nat, after it only. */
struct query;

/* NULL, with error set (EX_USAGE), if text is no query: what is wrong, the text, and a line that points at the place.
 * An empty text is a query that every flow answers. */
struct query *query_parse(const char *text, GError **error);
void query_free(struct query *query);
typedef struct query query_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(query_t, query_free)

/* An address that somebody asks for. */
struct query_address {
	union address address;
	uint8_t family;             /* 4 or 6 */
};

/* Addresses of which every flow that matches has one, before or after translation: an archive's index can be asked for
 * them. Returns how many; zero: there is no such list. Freed by g_free. */
size_t query_addresses(const struct query *query, struct query_address **addresses);

/* No allocation. */
bool query_matches(const struct query *query, const struct print_flow *flow);

/* Which parts of a flow (enum flow_part) its answer depends on, beside its family and its protocol. */
unsigned query_parts(const struct query *query);

/* False: whatever its names are, query_matches will say no. For whoever would have to look the names up first. */
bool query_may_match(const struct query *query, const struct flow *flow);

#endif
