/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ARCHIVE_CHAIN_H
#define PEERFLOW_ARCHIVE_CHAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>

#include "archive/file.h"

/* The file "chain" of an archive: a line for each file that was closed, and one for each that retention removed, the
 * words separated by one blank:
 *
 *     NUMBER NAME OCTETS SUM CHAIN
 *     NUMBER NAME expired age|size|disk CHAIN
 *
 * NAME is that of the .ipfix, OCTETS and SUM (SHA-256) are of what is in it, compressed or not. CHAIN is the SHA-256
 * over the CHAIN of the line before (64 zeros before the first) and this line up to CHAIN. Whoever changes a line has to
 * change all after it, and the last CHAIN is in the log of this host: a file that is absent without a line that says so
 * was removed by somebody, one with another sum was changed. */

enum chain_what {
	CHAIN_FILE,
	CHAIN_AGE,                  /* the three in the order of enum store_expiry */
	CHAIN_SIZE,
	CHAIN_DISK,
	CHAIN_WHATS,
};

enum { CHAIN_LINE = 320 };      /* octets of the longest line, with its end */

struct chain_line {
	struct file_name name;      /* of kind FILE_PLAIN */
	enum chain_what what;
	uint64_t octets;            /* of CHAIN_FILE, as is sum */
	char sum[FILE_SUM];
	char chain[FILE_SUM];
};

/* What stands before the first line. */
extern const char chain_origin[FILE_SUM];

/* Prints the line that follows a line with the CHAIN before, and fills in its own. Returns its octets. */
size_t chain_print(struct chain_line *line, const char *before, char text[static CHAIN_LINE]);

/* Takes a line of n octets, without its end, apart; false if it is none. Whether CHAIN is right is not asked. */
bool chain_parse(const char *text, size_t n, struct chain_line *line);

/* Does the line follow one with the CHAIN before? */
bool chain_follows(const struct chain_line *line, const char *before);

/* Calls each for each line of the file open as fd, in order; line is NULL where it is none. A last line without an end
 * is not told. Returns the octets of the others; false, with errno set, if the file cannot be read. */
typedef void chain_each(const struct chain_line *line, uint64_t row, void *data);
bool chain_read(int fd, chain_each *each, void *data, uint64_t *octets);

/* The chain of a directory that is written to. */
struct chain;

/* Opens DIRECTORY/chain, making it if it is not there. While it is open no other process has it: after two seconds' wait
 * for one this fails (EX_OSERR; EX_NOPERM without the rights). */
struct chain *chain_open(const char *directory, GError **error);
void chain_close(struct chain *chain);

/* Cuts a torn last line, and tells each line. To be called once, before anything is added. Fails with EX_OSERR. */
bool chain_recall(struct chain *chain, chain_each *each, void *data, GError **error);

/* Adds a line. False, with errno set, if it could not be written: it waits for chain_flush. */
bool chain_add(struct chain *chain, struct chain_line *line);
bool chain_flush(struct chain *chain);
bool chain_waits(const struct chain *chain);

/* CHAIN of the last line. */
const char *chain_head(const struct chain *chain);

#endif
