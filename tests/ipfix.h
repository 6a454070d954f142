/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_TESTS_IPFIX_H
#define PEERFLOW_TESTS_IPFIX_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <glib.h>

/* Messages as an archive has them, made by hand: a template and records of one kind. */

enum { IPFIX_TEMPLATE = 256, IPFIX_RECORD = 48 };

struct ipfix_record {
	uint64_t id;                /* flowId */
	uint64_t start, end, stop;
	uint32_t address[4];        /* source, destination, the same after translation */
};

static inline void
ipfix_put(GByteArray *out, uint64_t value, unsigned octets)
{
	while (octets--) {
		const uint8_t octet = value >> 8 * octets;
		g_byte_array_append(out, &octet, 1);
	}
}

/* Returns where the message begins. */
static inline guint
ipfix_begin(GByteArray *out, uint32_t sequence)
{
	const guint at = out->len;

	ipfix_put(out, 10, 2);
	ipfix_put(out, 0, 2);
	ipfix_put(out, 1700000000, 4);
	ipfix_put(out, sequence, 4);
	ipfix_put(out, 7, 4);
	return at;
}

/* Writes the length of what begins at at, a message or a Set, which is complete. */
static inline void
ipfix_end(GByteArray *out, guint at)
{
	out->data[at + 2] = (out->len - at) >> 8;
	out->data[at + 3] = out->len - at;
}

static inline guint
ipfix_set(GByteArray *out, uint16_t id)
{
	const guint at = out->len;

	ipfix_put(out, id, 2);
	ipfix_put(out, 0, 2);
	return at;
}

static inline void
ipfix_template(GByteArray *out)
{
	static const uint16_t fields[][2] = {
		{ 148, 8 }, { 152, 8 }, { 153, 8 }, { 8, 4 }, { 12, 4 }, { 225, 4 }, { 226, 4 },
	};
	const guint set = ipfix_set(out, 2);

	ipfix_put(out, IPFIX_TEMPLATE, 2);
	ipfix_put(out, G_N_ELEMENTS(fields) + 1, 2);
	for (unsigned i = 0; i < G_N_ELEMENTS(fields); i++) {
		ipfix_put(out, fields[i][0], 2);
		ipfix_put(out, fields[i][1], 2);
	}
	ipfix_put(out, 0x8000 | 1016, 2);
	ipfix_put(out, 8, 2);
	ipfix_put(out, 32473, 4);
	ipfix_end(out, set);
}

static inline void
ipfix_record(GByteArray *out, const struct ipfix_record *record)
{
	ipfix_put(out, record->id, 8);
	ipfix_put(out, record->start, 8);
	ipfix_put(out, record->end, 8);
	for (unsigned i = 0; i < 4; i++)
		ipfix_put(out, record->address[i], 4);
	ipfix_put(out, record->stop, 8);
}

/* A whole message with n records, and the template before them if asked for. */
static inline void
ipfix_message(GByteArray *out, bool template, uint32_t sequence, const struct ipfix_record *record, unsigned n)
{
	const guint message = ipfix_begin(out, sequence);

	if (template)
		ipfix_template(out);
	const guint set = ipfix_set(out, IPFIX_TEMPLATE);
	for (unsigned i = 0; i < n; i++)
		ipfix_record(out, &record[i]);
	ipfix_end(out, set);
	ipfix_end(out, message);
}

#endif
