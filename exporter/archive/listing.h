/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ARCHIVE_LISTING_H
#define PEERFLOW_ARCHIVE_LISTING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>

/* The files of archives that a scan reads, in their order. */

struct listed {
	char *name;                 /* with its path; NULL: the next one has the same in it */
	size_t path;                /* index of its archive */
	uint64_t number;
	bool archived;              /* its name is one of an archive's files */
};

/* Of struct listed; freed by g_array_unref. */
GArray *listing_new(void);

/* Adds a file, or all files of flows in a directory by their number. Fails (EX_NOINPUT, a text that names it) if it is
 * not there or cannot be read. */
bool listing_add(GArray *listing, const char *name, size_t archive, GError **error);

/* Opens the file, or what has become of it: it is renamed when it is closed, and again when it is compressed. -1, with
 * errno set, if there is none of it. */
int listing_open(const struct listed *listed);

#endif
