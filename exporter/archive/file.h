/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ARCHIVE_FILE_H
#define PEERFLOW_ARCHIVE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>

#include "archive/digest.h"

/* The files of an archive: how they are called, and what is whole in them. */

enum file_kind {
	FILE_PART,                  /* .ipfix.part: being written */
	FILE_PLAIN,                 /* .ipfix */
	FILE_COLUMNS,               /* .ipfix.columns: compressed, columns.h */
	FILE_ZSTD,                  /* .ipfix.zst: compressed, index.h */
	FILE_PACKING,               /* .ipfix.packing: what compressing left, worth nothing */
	FILE_KINDS,
};

enum {
	FILE_NAME_OCTETS = 64,
	FILE_SUM = DIGEST_TEXT,
};

struct file_name {
	uint64_t begin;             /* ms since 1970, of whole seconds */
	uint64_t number;
	enum file_kind kind;
};

static inline bool
file_is_packed(enum file_kind kind)
{
	return kind == FILE_COLUMNS || kind == FILE_ZSTD;
}

void file_name_print(const struct file_name *name, char text[static FILE_NAME_OCTETS]);

/* False if this is not the name of such a file: only what file_name_print prints is. */
bool file_name_parse(const char *text, struct file_name *name);

/* Octets of the whole messages the file open as fd begins with, up to limit. */
uint64_t file_whole(int fd, uint64_t limit);

/* SHA-256 over the first octets of the file; false, with errno set, if they cannot be read. */
bool file_sum(int fd, uint64_t octets, char sum[static FILE_SUM]);

/* Writes everything or fails with errno set, as write does. */
bool file_write(int fd, const void *octets, size_t n);

#endif
