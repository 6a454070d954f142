/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ARCHIVE_CONTENT_H
#define PEERFLOW_ARCHIVE_CONTENT_H

#include <stdbool.h>
#include <stdint.h>

#include "archive/file.h"

/* Reads a file of messages from end to end, compressed or not, and looks at all of it: is each message sound, is each
 * frame what was compressed, does the index say what is in the blocks? */

struct content {
	uint64_t octets;            /* of messages, as far as they could be read */
	char sum[FILE_SUM];         /* of these octets */
};

/* Called with what is wrong, "octet N: what": of a compressed file N is where the frame begins. */
typedef void content_told(const char *text, void *data);

void content_read_plain(int fd, struct content *content, content_told *told, void *data);
void content_read_packed(int fd, struct content *content, content_told *told, void *data);

#endif
