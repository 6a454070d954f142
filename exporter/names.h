/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_NAMES_H
#define PEERFLOW_NAMES_H

#include <stdint.h>

/* The strings a flow's small ids stand for. Entry 0 is "-": a collector in use drops whole messages over an empty
 * string, so an unknown name is never one. Read-only once built; a newer snapshot replaces it whole. */
struct name {
	const char *text;           /* valid UTF-8, no NUL inside */
	uint16_t length;            /* octets, at least 1 */
};

struct names {
	const struct name *name;
	uint32_t count;
};

#endif
