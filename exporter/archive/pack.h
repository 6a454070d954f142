/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ARCHIVE_PACK_H
#define PEERFLOW_ARCHIVE_PACK_H

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

enum pack_how {
	PACK_COLUMNS,               /* columns.h: the smallest, and what is searched fastest */
	PACK_ZSTD,                  /* a frame of zstd's for each block: zstd -d gives back the file */
	PACK_HOWS,
};

/* Compresses a file of messages: from, a .ipfix that is read from its beginning, to to, which is empty. There come its
 * blocks, and behind them what is in them, as index.h has it. A block ends before a message whose first Set is a Template
 * Set if it has PACK_BLOCK_LEAST octets by then.
 *
 * Fails with EX_DATAERR (octet N: what) if from is not whole messages from end to end, EX_IOERR, and EX_TEMPFAIL if
 * *stop became true meanwhile; stop may be NULL. */
bool pack_file(int from, int to, enum pack_how how, const bool *stop, GError **error);

enum {
	PACK_LEVEL = 2,             /* of zstd: as small as 3 here, and read faster */
	PACK_BLOCK_LEAST = 1 << 20,
	PACK_BLOCK_MOST = 64 << 20, /* more without such a message is an error */
};

#endif
