/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ENRICH_DIRECTORY_H
#define PEERFLOW_ENRICH_DIRECTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>

#include "enrich/history.h"
#include "enrich/roster.h"
#include "flow.h"
#include "names.h"

/* Who stood behind an address at a time: everything that all sources know, made ready for the hot path. Read-only;
 * built off the hot path, in any thread.
 *
 * An address that nothing is known of by itself belongs to the longest prefix around it; one of a host behind a peer has
 * that peer from the longest prefix that knows one, and so with resource and network. A peer's own address takes
 * nothing from the prefixes around it. */
struct directory;

struct directory_input {
	const struct history *history;
	const struct roster *roster[ROSTER_SOURCES];    /* the last good ones, or NULL */
	const struct roster_prefix *own;                /* this host's addresses, whole */
	size_t n_own;
	uint64_t policies_since;                        /* ms since 1970 from when on they are as they are */
};

/* Copies what it needs. */
struct directory *directory_new(const struct directory_input *input);
void directory_free(struct directory *directory);
typedef struct directory directory_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(directory_t, directory_free)

/* Index into directory_names of who had the address at time, in ms since 1970; zero is nobody. */
uint32_t directory_find(const struct directory *directory, unsigned family, const union address *address,
                        uint64_t time);

/* Sets who was at both ends of the flow when it was born, initiator and responder, and policy: the one that allows it, or
 * zero if none does or more than one, or if the policies were others then. Its translation must be known. */
void directory_find_ends(const struct directory *directory, struct flow *flow);

/* Has the processor fetch what finding both ends of this flow will need, if that is done some flows later. */
void directory_prefetch(const struct directory *directory, const struct flow *flow);

/* The strings and identities; they live as long as the directory. */
const struct names *directory_names(const struct directory *directory);

/* Is the identity a peer, or behind another peer than this host? */
bool directory_is_peer(const struct directory *directory, uint32_t identity);
bool directory_is_behind_peer(const struct directory *directory, uint32_t identity);

/* This host's addresses in the mesh, whole, with the length of the mesh's network, as the sources say. */
const struct roster_prefix *directory_overlay(const struct directory *directory, size_t *n);

/* What NetBird calls this host; NULL if nobody said. */
const char *directory_own_name(const struct directory *directory);

#endif
