/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ENRICH_PEERS_H
#define PEERFLOW_ENRICH_PEERS_H

#include <stddef.h>
#include <stdint.h>

#include <glib.h>

#include "flow.h"
#include "names.h"

/* Who stands behind which address: a finished, read-only snapshot. Longest prefix wins. */
struct peers;

/* Reads a peers file: one "ADDRESS[/LENGTH] NAME" a line, # starts a comment. NULL, with error set (EX_CONFIG) to
 * "path:line: what is wrong", if any line is bad. The caller owns the result. */
struct peers *peers_load(const char *path, GError **error);

/* The same from octets already in memory; name stands for the path in errors. */
struct peers *peers_parse(const char *name, const char *text, size_t length, GError **error);

void peers_free(struct peers *peers);
typedef struct peers peers_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(peers_t, peers_free)

/* Index into peers_names of the name for the address; zero, which is "-", if it has none. */
uint32_t peers_find(const struct peers *peers, unsigned family, const union address *address);

/* The strings; they live as long as the snapshot. */
const struct names *peers_names(const struct peers *peers);

#endif
