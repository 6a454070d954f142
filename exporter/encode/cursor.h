/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ENCODE_CURSOR_H
#define PEERFLOW_ENCODE_CURSOR_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A place in a buffer to write big-endian values at. The first write that does not fit sets failed and it and all
 * later ones do nothing, so that a caller checks once, at the end. */
struct cursor {
	uint8_t *at;
	uint8_t *end;
	bool failed;
};

static inline void
put_octets(struct cursor *cursor, const void *octets, size_t n)
{
	if (cursor->failed || (size_t)(cursor->end - cursor->at) < n) {
		cursor->failed = true;
		return;
	}
	memcpy(cursor->at, octets, n);
	cursor->at += n;
}

static inline void
put_u8(struct cursor *cursor, uint8_t value)
{
	put_octets(cursor, &value, sizeof value);
}

static inline void
put_u16(struct cursor *cursor, uint16_t value)
{
	value = htobe16(value);
	put_octets(cursor, &value, sizeof value);
}

static inline void
put_u32(struct cursor *cursor, uint32_t value)
{
	value = htobe32(value);
	put_octets(cursor, &value, sizeof value);
}

static inline void
put_u64(struct cursor *cursor, uint64_t value)
{
	value = htobe64(value);
	put_octets(cursor, &value, sizeof value);
}

/* A string of variable length (RFC 7011 section 7). */
static inline void
put_variable(struct cursor *cursor, const void *octets, uint16_t n)
{
	if (n < 255) {
		put_u8(cursor, n);
	} else {
		put_u8(cursor, 255);
		put_u16(cursor, n);
	}
	put_octets(cursor, octets, n);
}

#endif
