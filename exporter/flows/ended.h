/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_FLOWS_ENDED_H
#define PEERFLOW_FLOWS_ENDED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "flow.h"
#include "flows/identity.h"

/* The flows that ended lately. The kernel may tell of an end twice: it does so to everybody as long as any one listener
 * that asked for reliable delivery has no room (NETLINK_BROADCAST_ERROR). And a datagram of a walk over the table is
 * filled one read ahead, so it shows entries whose end was read meanwhile.
 *
 * Two open tables of 64-bit fingerprints: when one has as many as it is good for, the other is emptied and takes its
 * place. So at least the last `capacity` flows are known, and twice as many at most; one that is told of again counts
 * as the latest. Two different flows are taken for one with a chance of one in 10^13 at a million flows. */

enum {
	ENDED_BATCH = 64,           /* flows in one call, at most */
	ENDED_LEAST = 65536,
	ENDED_MOST = 1048576,
	ENDED_LAYOUT = 1,           /* of the memory, for whoever keeps it */
};

struct ended;

/* A capacity that suits a table of so many entries: as many can be on their way to us at once. */
size_t ended_capacity(size_t table);

/* Octets of memory for a capacity that ended_capacity gave. */
size_t ended_octets(size_t capacity);

/* memory: all zero, or what an earlier process left; it must outlive the set and be aligned to 8. NULL: ordinary
 * memory. NULL is returned if there is none. */
struct ended *ended_open(void *memory, size_t capacity);
void ended_close(struct ended *ended);

/* The key that the hashes have to be made with. It stays the same as long as the memory does. */
const struct identity_key *ended_key(const struct ended *ended);

/* Has the processor fetch what the other two calls will need, if it is called some flows earlier. */
void ended_prefetch(const struct ended *ended, uint64_t hash);

/* What a flow that ended is told from others by; hash is its identity_hash and the counters are the kernel's totals.
 * Where the birth is not known, only flows that had counted the same are one flow. */
uint64_t ended_print(const struct flow *flow, uint64_t hash);

/* Which of n flows that just ended are told of again: bit i for flow i. Counts what stands earlier in the same batch,
 * too. */
uint64_t ended_again(const struct ended *ended, const uint64_t *print, size_t n);

/* Which of n entries of the table have already ended. */
uint64_t ended_late(const struct ended *ended, const uint64_t *hash, size_t n);

/* From now on this flow has ended. To say so twice does no harm. */
void ended_add(struct ended *ended, uint64_t print, uint64_t hash);

#endif
