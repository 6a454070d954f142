/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ARCHIVE_CONTENT_H
#define PEERFLOW_ARCHIVE_CONTENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "archive/file.h"

/* Reads a file of messages from end to end, compressed or not, and looks at all of it: is each message sound, is each
 * block what was compressed, does the index say what is in the blocks? */

struct content {
	uint64_t octets;            /* of messages, as far as they could be read */
	char sum[FILE_SUM];         /* of these octets */
};

/* Called with what is wrong, "octet N: what": of a compressed file N is where the block begins. */
typedef void content_told(const char *text, void *data);

/* Packed is a file of frames of zstd's (index.h) or of blocks in columns (columns.h), told by what each begins with. */
void content_read_plain(int fd, struct content *content, content_told *told, void *data);
void content_read_packed(int fd, struct content *content, content_told *told, void *data);

/* Called with octets of the messages, one piece after the other; false ends the reading. */
typedef bool content_taken(const uint8_t *octets, size_t n, void *data);

/* Reads the file, plain or packed as it begins, and hands on what it was before it was compressed. A damaged block is left
 * out as a whole; but of a frame that is larger than a block can be, nothing is held back. */
void content_unpack(int fd, struct content *content, content_told *told, content_taken *taken, void *data);

#endif
