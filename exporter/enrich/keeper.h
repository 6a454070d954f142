/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ENRICH_KEEPER_H
#define PEERFLOW_ENRICH_KEEPER_H

#include <stddef.h>
#include <stdint.h>

#include <glib.h>

#include "enrich/directory.h"
#include "enrich/roster.h"

/* A thread that makes directories: it has the history and the last roster of each source, writes down what changes, and
 * when something did, builds a new directory from all of it. The hot path only ever swaps one pointer. */
struct keeper;

/* Called in GLib's default main context with a new directory, which now belongs to the callee; the one before is to be
 * given back with keeper_discard. */
typedef void keeper_ready(struct directory *directory, void *data);

/* Reads the history kept in state_directory, or keeps it in memory if that is NULL or fails, which is logged; names are
 * remembered for keep ms. Never fails. */
struct keeper *keeper_open(const char *state_directory, uint64_t keep, keeper_ready *ready, void *data);

/* Writes what is still to be written. No ready is called any more. */
void keeper_close(struct keeper *keeper);

/* What a source says now; NULL: it is not asked any more, and what it said is over. Takes ownership. */
void keeper_take(struct keeper *keeper, enum roster_source source, struct roster *roster);

/* This host's addresses, whole, for telling its own networks from others'. Copies them. */
void keeper_set_own(struct keeper *keeper, const struct roster_prefix *own, size_t n_own);

/* Waits until all that was handed over so far is built, for patience microseconds or, if that is negative, as long as it
 * takes. Returns the new directory, which the caller then owns as if it had come by ready; NULL if there is nothing new or
 * it takes too long, and then ready is called in time. The first one is never NULL, given time. */
struct directory *keeper_settle(struct keeper *keeper, int64_t patience);

/* Frees a directory that is not used any more, in the thread: a large one takes its time. */
void keeper_discard(struct keeper *keeper, struct directory *directory);

#endif
