/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ARCHIVE_OCTETS_H
#define PEERFLOW_ARCHIVE_OCTETS_H

#include <stdint.h>
#include <string.h>

#include <glib.h>

/* Numbers in octets: of messages in network byte order, of what we put around them (index.h, columns.h) little-endian. */

static inline uint16_t
get_net16(const uint8_t *at)
{
	return at[0] << 8 | at[1];
}

static inline uint32_t
get_net32(const uint8_t *at)
{
	return (uint32_t)get_net16(at) << 16 | get_net16(at + 2);
}

static inline void
set_net16(uint8_t *at, uint16_t value)
{
	at[0] = value >> 8;
	at[1] = value & 0xff;
}

static inline uint16_t
get_le16(const uint8_t *at)
{
	return at[0] | at[1] << 8;
}

static inline uint32_t
get_le32(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof value);
	return GUINT32_FROM_LE(value);
}

static inline uint64_t
get_le64(const uint8_t *at)
{
	uint64_t value;

	memcpy(&value, at, sizeof value);
	return GUINT64_FROM_LE(value);
}

static inline void
set_le32(uint8_t *at, uint32_t value)
{
	value = GUINT32_TO_LE(value);
	memcpy(at, &value, sizeof value);
}

static inline void
add_le16(GByteArray *out, uint16_t value)
{
	value = GUINT16_TO_LE(value);
	g_byte_array_append(out, (const guint8 *)&value, sizeof value);
}

static inline void
add_le32(GByteArray *out, uint32_t value)
{
	value = GUINT32_TO_LE(value);
	g_byte_array_append(out, (const guint8 *)&value, sizeof value);
}

static inline void
add_le64(GByteArray *out, uint64_t value)
{
	value = GUINT64_TO_LE(value);
	g_byte_array_append(out, (const guint8 *)&value, sizeof value);
}

#endif
