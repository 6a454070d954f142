/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ENRICH_MODE_H
#define PEERFLOW_ENRICH_MODE_H

#include <stdbool.h>

#include "mesh_signs.h"

/* Where the packets of the mesh pass on this host, and so what connection tracking can know of them. */
enum mode {
	MODE_NO_MESH,               /* no interface, and no sign of a client */
	MODE_WRONG_INTERFACE,       /* a client has an interface, but not the configured one */
	MODE_KERNEL,                /* the kernel's WireGuard */
	MODE_TUN,                   /* wireguard-go or its like, without NetBird */
	MODE_TUN_FIREWALL,          /* NetBird on wireguard-go, its rules in the kernel */
	MODE_TUN_ROUTER,            /* NetBird on wireguard-go, routing in its own process */
	MODE_TUN_UNCLEAR,           /* one of these two */
	MODE_NETSTACK,              /* NetBird without any interface */
	MODE_LINK,                  /* an interface of another kind */
	MODES,
};

enum mode mode_of(const struct mesh_signs *signs);

/* "kernel", "wireguard-go": a word for status and metrics. */
const char *mode_word(enum mode mode);

/* True if connection tracking sees the mesh's flows with the addresses of its peers. */
bool mode_sees(enum mode mode);

/* One plain sentence, without its full stop: how the mesh runs here; where flows cannot be seen, that, and what would
 * change it. The caller frees it. */
char *mode_sentence(enum mode mode, const char *interface);

#endif
