/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ARCHIVE_INDEX_H
#define PEERFLOW_ARCHIVE_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>

#include "flow.h"

/* What is in a compressed file, so that a question opens only those that can answer it, and of these only the blocks.
 *
 * A file is one zstd frame for each block, with a content checksum and the content's size in its header, and then one
 * skippable frame (RFC 8878 section 3.1.2), which zstd -d passes over: the index. A block is plain IPFIX messages that
 * can be read alone: it begins with a message whose first Set is a Template Set (id 2). All numbers little-endian:
 *
 *     184D2A50            4   magic of a skippable frame
 *     length              4   of its content, all that follows
 *     "PFINDEX1"          8
 *     blocks              4
 *     sum                 4   of the rows
 *     rows                    for each block struct index_block in the order of its members, INDEX_ROW octets
 *     filters                 for each block: a Bloom filter over the addresses of its records
 *     length              4   as above: so that it is found from the end of the file
 *     "PFIX"              4
 *
 * Filters have ten bits for each different address and seven of them set for each: bit n of a filter is bit n % 8 of
 * its octet n / 8. A record's addresses are all it has, before and after translation. */

enum {
	INDEX_ROW = 64,
	INDEX_BLOCKS_MOST = 1 << 20,
};

struct index_block {
	uint64_t offset;            /* of its frame in the file */
	uint64_t packed;            /* octets of its frame */
	uint64_t plain;             /* octets of its messages */
	uint64_t records;           /* of flows */
	uint64_t first;             /* ms since 1970: least start of its records; of no records: UINT64_MAX */
	uint64_t last;              /* greatest end or stop; of no records: zero */
	uint64_t filter;            /* offset of its filter in the file */
	uint32_t filter_octets;     /* zero: there is none, and any address may be in it */
	uint32_t filter_sum;        /* index_sum of it */
	bool gaps;                  /* gap records are in it, which tell of any time; in the file bit 63 of records */
};

/* A block of which not everything could be understood has a first of zero, a last of UINT64_MAX and no filter. */

uint32_t index_sum(const uint8_t *octets, size_t n);

struct index;

/* Reads the index of the compressed file open as fd, by pread; the filters are read when they are asked for, so fd must
 * stay open as long as the index. Fails with EX_DATAERR, a text that gives the octet, if there is none or it is damaged;
 * EX_IOERR if it cannot be read. */
struct index *index_read(int fd, GError **error);
void index_free(struct index *index);
typedef struct index index_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(index_t, index_free)

size_t index_blocks(const struct index *index);
const struct index_block *index_block(const struct index *index, size_t i);

/* Where the index itself begins: the end of the last block's frame. */
uint64_t index_offset(const struct index *index);

/* May a record of the ith block overlap first to last (ms since 1970)? */
bool index_may_overlap(const struct index *index, size_t i, uint64_t first, uint64_t last);

/* May a record of the ith block have this address? A filter that cannot be read, or is damaged, says yes. */
bool index_may_have(struct index *index, size_t i, uint8_t family, const union address *address);

/* Is there a filter that cannot be read or is damaged? */
bool index_filter_is_damaged(struct index *index, size_t i);

/* The other direction. A maker is given the messages of a file, block by block. */
struct index_maker;

struct index_maker *index_maker_new(void);
void index_maker_free(struct index_maker *maker);
typedef struct index_maker index_maker_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(index_maker_t, index_maker_free)

/* One whole message of the block. What is not understood makes the block one that may have anything. */
void index_add(struct index_maker *maker, const uint8_t *message, size_t octets);

/* The block is complete, and its frame lies at offset. */
void index_end_block(struct index_maker *maker, uint64_t offset, uint64_t packed, uint64_t plain);

/* Appends the skippable frame, which is to stand at offset of the file. */
void index_print(const struct index_maker *maker, uint64_t offset, GByteArray *out);

#endif
