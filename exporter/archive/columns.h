/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ARCHIVE_COLUMNS_H
#define PEERFLOW_ARCHIVE_COLUMNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>

/* A block of IPFIX messages taken apart: of all records of a template, what they have in one field stands together.
 * Like beside like takes less room than record beside record, and a question about ports reads ports alone. Put together
 * again it is what it was, octet for octet. All numbers little-endian:
 *
 *     "PFC1"              4
 *     sum                 4   index_sum of the head from here on
 *     head                4   octets of the head, up to the first frame
 *     packed              4   octets of everything
 *     plain               4   octets of the messages
 *     domain              4   Observation Domain of the records that stand in columns
 *     skeleton            4   octets of what stands in none
 *     skeleton's frame    4   octets
 *     tables              4
 *     tables                  for each template whose records stand in columns:
 *         template        2   its id
 *         fields          2
 *         records         4
 *         fields              for each, in the order of the template:
 *             octets      2   at most 16
 *             varying     2   bit n: octet n of the value is not the same in all records
 *             frame       4   octets; none if nothing varies
 *             constant        the octets that do not vary
 *     frames                  the skeleton's, then those of fields in the same order
 *
 * A frame is one of zstd's (RFC 8878), with a checksum. That of a field has the first varying octet of all records, then
 * the second of all, and so on. The skeleton has the messages with the length that is left of them, and in a Set of such
 * records, before what pads it, in the place of records their number (2 octets, in network byte order). A Set is of such
 * records if its message is of that domain and its id is one of a table's.
 *
 * A template is in columns if it stands in the block before its records, never changes in it, and has at most 64 fields,
 * all of fixed length; and at most 256 templates are. */

#define COLUMNS_MAGIC "PFC1"

enum {
	COLUMNS_HEAD = 36,          /* octets up to the tables: so many tell the size of the whole */
	COLUMNS_MOST = 64 << 20,    /* octets of a block's messages */
	COLUMNS_TABLES = 256,       /* of a block */
	COLUMNS_FIELDS = 64,        /* of a template */
	COLUMNS_OCTETS = 16,        /* of a field */
	COLUMNS_COUNT = 2,          /* of the number that stands for records */
	COLUMNS_SUMMED = 8,         /* the first octet of the head that is in its sum */
};

struct columns_size {
	uint32_t packed;            /* octets of the block in the file */
	uint32_t plain;             /* of its messages */
};

/* False: no such block begins with these octets. What is said to be larger than any block is none, so that whoever makes
 * room for it need not ask. */
bool columns_measure(const uint8_t head[static COLUMNS_HEAD], struct columns_size *size);

/* Packing. */

struct columns_packer;

struct columns_packer *columns_packer_new(void);
void columns_packer_free(struct columns_packer *packer);
typedef struct columns_packer columns_packer_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(columns_packer_t, columns_packer_free)

/* Appends the block of these whole messages to out. Fails with EX_DATAERR if they have more than COLUMNS_MOST octets, or
 * a Set does not fit its message. */
bool columns_pack(struct columns_packer *packer, const uint8_t *messages, size_t octets, GByteArray *out,
                  GError **error);

/* Reading. Errors (EX_DATAERR) say what is damaged. Not thread-safe, but may go from one thread to another. */

struct columns;

struct columns *columns_new(void);
void columns_free(struct columns *columns);
typedef struct columns columns_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(columns_t, columns_free)

/* Takes the block of n octets, which are to stay where they are until the next. Beside the skeleton only those columns
 * are decompressed that were asked for in the block before; the others are when they are. */
bool columns_open(struct columns *columns, const uint8_t *packed, size_t n, GError **error);

size_t columns_plain(const struct columns *columns);
const uint8_t *columns_skeleton(const struct columns *columns, size_t *octets);

/* Puts the messages together again, columns_plain octets. */
bool columns_unpack(struct columns *columns, uint8_t *messages, GError **error);

/* Eight octets of a value, or fewer: those that vary, and the others. */
struct column_lane {
	uint64_t constant;
	const uint8_t *varying[8];  /* one of each record */
	uint8_t shift[8];           /* of these octets */
	uint8_t n_varying;
};

struct column {
	uint16_t octets;            /* of a value */
	struct column_lane low;     /* the last eight octets of it, in network byte order */
	struct column_lane high;    /* those before */
	/* Its frame, and where it is decompressed to: columns.c's own. */
	const uint8_t *frame;
	uint32_t packed;
	uint8_t *room;
	size_t octets_varying;      /* of all records */
};

struct column_table {
	uint16_t id;
	uint16_t n_columns;
	uint32_t records;
	uint64_t ready;             /* bit n: column n is decompressed */
	uint64_t asked;             /* and was asked for in this block */
	/* For whoever reads the skeleton, all zero in the beginning. */
	uint64_t fitting;           /* check_announced when the template was seen to fit */
	uint32_t counted;           /* records in the Sets that were checked */
	uint32_t given;             /* and in those that were read */
	/* columns_unpack's own. */
	size_t row;                 /* octets of a record */
	size_t next_row;
	struct column *column;
};

/* The table of that template, or NULL if its records stand in Sets, as usual. */
struct column_table *columns_table(struct columns *columns, uint32_t domain, uint16_t id);

/* Has these columns (bit n: column n) decompressed; false if one is damaged. */
bool columns_make_ready(struct columns *columns, struct column_table *table, uint64_t wanted, GError **error);

static inline bool
columns_ready(struct columns *columns, struct column_table *table, uint64_t wanted, GError **error)
{
	table->asked |= wanted;
	return !(wanted & ~table->ready) || columns_make_ready(columns, table, wanted, error);
}

/* Of a column that is ready: the value of the ith record as a number. */
static inline uint64_t
column_lane_value(const struct column_lane *lane, size_t i)
{
	uint64_t value = lane->constant;

	for (unsigned n = 0; n < lane->n_varying; n++)
		value |= (uint64_t)lane->varying[n][i] << lane->shift[n];
	return value;
}

#endif
