/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ARCHIVE_PACK_H
#define PEERFLOW_ARCHIVE_PACK_H

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

/* Compresses a file of messages as index.h has it: from, a .ipfix that is read from its beginning, to to, which is
 * empty. A block ends before a message whose first Set is a Template Set if it has PACK_BLOCK_LEAST octets by then.
 *
 * Fails with EX_DATAERR (octet N: what) if from is not whole messages from end to end, EX_IOERR, and EX_TEMPFAIL if
 * *stop became true meanwhile; stop may be NULL. */
bool pack_file(int from, int to, const bool *stop, GError **error);

enum {
	PACK_LEVEL = 2,             /* of zstd: as small as 3 here, and read faster */
	PACK_BLOCK_LEAST = 1 << 20,
	PACK_BLOCK_MOST = 1 << 30,  /* more without such a message is an error */
};

#endif
