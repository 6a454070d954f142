/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ARCHIVE_VERIFY_H
#define PEERFLOW_ARCHIVE_VERIFY_H

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

/* Is an archive what the daemon wrote, all of it and nothing else? Each line of the chain follows from the one before;
 * each file it names is there, unless retention removed it, and has the sum it had; each file can be read to its end,
 * and its index says what is in it. It may be asked while the daemon writes. */

struct verify_result {
	uint64_t files;             /* that the chain says are there */
	uint64_t expired;           /* that it says retention removed */
	uint64_t open;              /* files not in the chain yet: being written, or left by a crash */
	uint64_t octets;            /* of the messages in all of them */
	uint64_t wrong;             /* how often told was called */
	char head[65];              /* of the last line */
};

/* Called with each thing that is wrong: one line that names the file and, where there is one, the octet. */
typedef void verify_told(const char *text, void *data);

/* head is a CHAIN that was once the last, as the log has it, in hexadecimal; it must stand in the chain. NULL: any. Fails
 * (EX_NOINPUT, EX_IOERR, EX_NOPERM) if the directory or its chain cannot be read at all. */
bool verify_archive(const char *directory, const char *head, verify_told *told, void *data,
                    struct verify_result *result, GError **error);

#endif
