/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_MESH_SIGNS_H
#define PEERFLOW_MESH_SIGNS_H

#include <stdbool.h>

/* What can be seen of how this host is part of a mesh. */

enum mesh_answer { MESH_UNKNOWN, MESH_NO, MESH_YES };

/* What kind of interface the mesh's is. */
enum mesh_link {
	MESH_LINK_NONE,             /* there is none of that name */
	MESH_LINK_WIREGUARD,        /* the kernel's WireGuard */
	MESH_LINK_TUN,              /* a program's, such as wireguard-go */
	MESH_LINK_OTHER,
};

struct mesh_signs {
	enum mesh_link link;
	enum mesh_answer rules;     /* NetBird's, in the kernel's firewall */
	bool client;                /* a NetBird client answers on this host, and is connected */
	enum mesh_answer kernel;    /* it says that it uses the kernel's interface */
	bool marks;                 /* flows with its marks have been seen */
};

#endif
