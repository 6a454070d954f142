/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ARCHIVE_BLOCK_H
#define PEERFLOW_ARCHIVE_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "archive/scan.h"

/* The octets of archives, block after block, read ahead by a thread and decompressed by as many as there are
 * processors. Of a file with an index only the blocks that can matter are. */

enum block_kind {
	BLOCK_MESSAGES,             /* whole messages, one behind the other, each with a header that fits */
	BLOCK_FOREIGN,              /* a file to be read by other means: its name is in text */
	BLOCK_TROUBLE,              /* text says what cannot be read */
	BLOCK_END,
};

struct block {
	enum block_kind kind;
	size_t path;                /* index of its archive */
	bool begins;                /* the file's first */
	bool behind_loss;           /* octets before it could not be read */
	const char *name;           /* of the file; as long as the reader */
	bool packed;
	uint64_t frame;             /* of packed ones: where it is in the file, of which offset counts */
	uint64_t offset;            /* of its first octet */
	struct columns *columns;    /* the messages are the skeleton of these; NULL: they are whole */
	bool indexed;               /* so_far knows of the times of all flows of the file */
	uint64_t records;           /* flows it is said to have; zero: nobody says */
	const uint8_t *octets;
	size_t n;
	char *text;
	struct scan_statistics so_far;  /* all but records and troubles */

	/* What all this is kept in. */
	struct columns *opened;
	uint8_t *room;
	size_t room_octets;
	uint8_t *frame_room;
	size_t frame_octets;
};

struct block_reader;

/* Takes what scan_open takes; the options are to stay where they are. */
struct block_reader *block_reader_new(const struct scan_options *options, GError **error);
void block_reader_free(struct block_reader *reader);

/* The next one, good until the next call; after BLOCK_END there is only that. */
const struct block *block_reader_next(struct block_reader *reader);

#endif
