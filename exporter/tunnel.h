/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_TUNNEL_H
#define PEERFLOW_TUNNEL_H

#include <stdint.h>

#include "flow.h"

enum { TUNNEL_KEY_OCTETS = 32 };

/* One of WireGuard's allowed addresses: packets to this prefix leave by the tunnel to the peer with this key. */
struct tunnel_prefix {
	union address address;      /* bits beyond length are zero */
	uint8_t key[TUNNEL_KEY_OCTETS];
	uint8_t family;             /* 4 or 6 */
	uint8_t length;
};

/* Clears what stands beyond the length. */
static inline void
tunnel_prefix_cut(struct tunnel_prefix *prefix)
{
	for (int octet = 0; octet < 16; octet++) {
		const int kept = prefix->length - octet * 8;
		if (kept < 8)
			prefix->address.v6[octet] &= kept > 0 ? 0xff00 >> kept : 0;
	}
}

#endif
