/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_AUDIT_ORDER_H
#define PEERFLOW_AUDIT_ORDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "audit/copy.h"

/* Flows in an order: of which only the first so many are kept, or all of them. All is sorted in pieces in a file
 * that has no name, in TMPDIR, once it is more than what memory is for; it is as large as the flows are. */

struct order_options {
	const char *by;             /* "bytes", "start:desc": a column of CSV or a word of aliases[] */
	uint64_t limit;             /* zero: all of them */
	size_t memory;              /* octets; zero: as many as is usual */
};

struct order;

/* Fails with EX_USAGE if there is no such column. */
struct order *order_new(const struct order_options *options, GError **error);
void order_free(struct order *order);
typedef struct order order_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(order_t, order_free)

/* False: the file cannot be written. */
bool order_add(struct order *order, const struct print_flow *flow, GError **error);

/* Once all were added: the next of them, in view until the call after that. Flows that are alike come as they
 * were added, and those without such a value last. False: there are no more, or error is set. */
bool order_next(struct order *order, struct copy_view *view, GError **error);

#endif
