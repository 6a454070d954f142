/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_KEEP_H
#define PEERFLOW_KEEP_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <glib.h>

#include "archive/store.h"
#include "config.h"
#include "flow.h"
#include "gap.h"
#include "ledger.h"
#include "names.h"
#include "output.h"

/* The archive as one more that takes the flows of the journal: an encoder of its own and the store its messages go to,
 * paired. Like collectors it gets each flow once, whenever the process is killed: what the store's mark does not cover
 * is read from the journal again.
 *
 * While the store is full, for its disk is slow or has no room, nothing is taken: the flows wait in the journal, and what
 * the journal could not keep is told as GAP_ARCHIVE. */
struct keep;

enum { KEEP_LAYOUT = 2 };       /* number of the layout of struct keep_memory, for whoever keeps it */

/* What survives the process. All zero in the beginning. */
struct keep_memory {
	uint64_t begun;             /* not zero: the rest means something */
	uint64_t start;             /* number of the last flow that is not for the archive, being older */
	uint64_t missed_first;      /* numbers of the flows that were told as missing last, zero: none were */
	uint64_t missed_last;
	uint64_t n_told;            /* gaps of the ledger as the archive has them */
	struct gap told[LEDGER_LAST];
	struct store_memory store;
};

/* Could flows be kept by this configuration? With out, also prints the templates. Fails with EX_CONFIG. */
bool keep_check(const struct config_archive *config, const struct output_identity *identity, FILE *out,
                GError **error);

/* Opens the archive's directory, see store_open. config is copied, identity and memory must outlive the archive; memory
 * NULL: nothing survives. head is the number of the last flow: of flows before it an archive that is new gets none.
 * moved is made ready when flows can be taken again. Fails as store_open does and with EX_CONFIG. */
struct keep *keep_open(const struct config_archive *config, const struct output_identity *identity,
                       struct keep_memory *memory, uint64_t head, GSource *moved, GError **error);

/* There is no archive: one that is opened later gets none of the flows from before. */
void keep_forget(struct keep_memory *memory);

/* True if the archive already does what this configuration asks for. */
bool keep_same(const struct keep *keep, const struct config_archive *config, const struct output_identity *identity);

/* Flows have numbers, and the archive takes them in order. True if this is the next one. */
bool keep_follows(const struct keep *keep, uint64_t number);

/* Number of the next flow. first is the oldest that can be had: those in between are lost, and told. */
uint64_t keep_next(struct keep *keep, uint64_t first);

/* Takes the next flow, whose indexes are those of names. False: not now, it is to be given again. */
bool keep_flow(struct keep *keep, const struct flow *flow, const struct names *names, uint64_t number);

/* The next flow is not for the archive. */
void keep_skip(struct keep *keep, uint64_t number);

/* Gives the store all full messages or, with partial, everything. True if something still waits. */
bool keep_flush(struct keep *keep, bool partial);

/* To be called every second: tells gaps, ends files. now is ms since 1970; head as above. */
void keep_tick(struct keep *keep, uint64_t now, uint64_t head);

/* Interfaces of the identity are others: they are told again. Must be called before the next flow. */
void keep_refresh(struct keep *keep);

void keep_status(struct keep *keep, struct store_status *status);

/* How many of the flows up to head are not in files. */
uint64_t keep_behind(const struct keep *keep, uint64_t head);

/* Writes what was taken, as far as the disk takes it, and closes. NULL is fine. */
void keep_close(struct keep *keep);

#endif
