/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_AUDIT_WHEN_H
#define PEERFLOW_AUDIT_WHEN_H

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

/* A time as people write it. What is left unsaid makes it a span: 14:03 is that minute, 14:03:22 that second,
 * 14:03:22.117 that millisecond. */
struct when {
	uint64_t first;             /* ms since 1970 */
	uint64_t last;              /* the last ms that belongs to it */
};

/* Reads "2026-11-20 14:03:22", "2026-11-20T14:03:22.117Z", "14:03" (of today, or of yesterday if that is still to
 * come), "2h ago", "now", s or ms since 1970. Times without a zone are local. now is in ms since 1970. Fails
 * (EX_USAGE) with a message that says what such a text can be. */
bool when_parse(const char *text, uint64_t now, struct when *when, GError **error);

#endif
