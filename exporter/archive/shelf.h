/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ARCHIVE_SHELF_H
#define PEERFLOW_ARCHIVE_SHELF_H

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

#include "archive/file.h"
#include "archive/pack.h"
#include "archive/store.h"

/* The closed files of a directory, and what becomes of them: each goes into the chain when it comes, is compressed when
 * there is time, and is removed when its time has come. One thread closes and expires files, another may compress, and
 * any may ask for the totals. */
struct shelf;

struct shelf_totals {
	uint64_t files;
	uint64_t octets;
	uint64_t oldest;            /* ms since 1970, begin of the oldest; zero: there is none */
	int64_t oldest_closed;      /* s since 1970 */
};

/* Opens DIRECTORY, which is there, and brings to its end what a process that was killed left: see store.h. mark becomes
 * that of the memory, which may be NULL; cut the octets that were cut off. Fails as store_open does. */
struct shelf *shelf_open(const char *directory, const struct store_memory *memory, uint64_t *mark, uint64_t *cut,
                         GError **error);
void shelf_free(struct shelf *shelf);

/* Number for the next file. */
uint64_t shelf_number(const struct shelf *shelf);

/* The path of a file, to be freed. */
char *shelf_path(const struct shelf *shelf, const struct file_name *name);

/* Makes the empty FILE_PART of that name and opens it to be written at its end. -1, with errno set: it cannot be. */
int shelf_create(const struct shelf *shelf, const struct file_name *part);

/* The FILE_PART of that name, of so many octets with that sum, is complete and on the disk: closes it and puts it into
 * the chain. False, with errno set, if it could not be renamed; it may be tried again. */
bool shelf_add(struct shelf *shelf, const struct file_name *part, uint64_t octets, const char *sum);

/* Removes the oldest file. False: there is none. */
bool shelf_expire(struct shelf *shelf, enum store_expiry why);

/* Compresses the oldest file that is not. True if there was one and it was; what stands in the way is said once. *stop
 * becoming true interrupts it. */
bool shelf_pack(struct shelf *shelf, enum pack_how how, const bool *stop);

/* Writes lines of the chain that could not be written before; call it now and then. */
void shelf_flush(struct shelf *shelf);

/* Makes names on the disk what they are in memory. */
void shelf_sync(const struct shelf *shelf);

const char *shelf_head(const struct shelf *shelf);
void shelf_totals(struct shelf *shelf, struct shelf_totals *totals);

#endif
