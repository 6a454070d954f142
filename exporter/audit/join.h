/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_AUDIT_JOIN_H
#define PEERFLOW_AUDIT_JOIN_H

#include <stdbool.h>
#include <stddef.h>

#include "audit/copy.h"

/* The records of a flow as one: a flow that goes on is told of every minute with what came since, and the last record
 * says how it ended. Counters are added up; what the entry had is that of the last record. A flow is complete once its
 * end has come; until then it is kept here, so memory is that of the flows that are open at one time. */
struct join;

struct join *join_new(void);
void join_free(struct join *join);
typedef struct join join_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(join_t, join_free)

/* Takes a record of the archive with that number: flows of two routers are not one. True if it completes a flow,
 * which is in view until the next call. */
bool join_add(struct join *join, const struct print_flow *record, size_t archive, struct copy_view *view);

/* After the last record: the flows whose end did not come, in the order in which they were first met. False: no
 * more. */
bool join_rest(struct join *join, struct copy_view *view);

#endif
