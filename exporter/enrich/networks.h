/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ENRICH_NETWORKS_H
#define PEERFLOW_ENRICH_NETWORKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>

#include "enrich/directory.h"
#include "enrich/roster.h"

/* Which addresses are this host's and which networks are the mesh's: read-only, made anew when either changes. */
struct networks;

struct own_address {
	struct roster_prefix prefix;    /* a whole address of this host, with the length of the network it is in */
	uint32_t interface;             /* ifIndex */
};

/* interface is the ifIndex of the mesh's interface, or zero: there is none. The mesh's networks are those that the
 * directory's sources tell, and those of the interface's addresses. directory may be NULL; it is not kept. */
struct networks *networks_new(uint32_t interface, const struct own_address *own, size_t n_own,
                      const struct directory *directory);
void networks_free(struct networks *networks);
typedef struct networks networks_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(networks_t, networks_free)

/* ifIndex or zero. */
uint32_t networks_interface(const struct networks *networks);

/* Is it an address of this host? And is it one in the mesh? */
bool networks_is_own(const struct networks *networks, unsigned family, const union address *address);
bool networks_is_own_overlay(const struct networks *networks, unsigned family, const union address *address);

/* Is it in one of the mesh's networks? */
bool networks_holds(const struct networks *networks, unsigned family, const union address *address);

/* Is there a mesh at all: an interface, a network or somebody with a name? */
bool networks_have_mesh(const struct networks *networks);

/* What flows = mesh selects, in one sentence for the log; interface is the name of the mesh's. Free with g_free. */
char *networks_sentence(const struct networks *networks, const char *interface);

#endif
