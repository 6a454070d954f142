/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ARCHIVE_STORE_H
#define PEERFLOW_ARCHIVE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>

#include "archive/pack.h"
#include "message.h"

/* Where messages become files, by threads of its own: whoever gives them never waits for a disk.
 *
 *     flows-20261122T140000Z-000042.ipfix.part      being written; the time (UTC) is that of its first message
 *     flows-20261122T140000Z-000042.ipfix           closed, and in the chain (chain.h)
 *     flows-20261122T140000Z-000042.ipfix.columns   compressed (columns.h), with an index (index.h)
 *     flows-20261122T140000Z-000042.ipfix.zst       or compressed so that zstd -d, too, gives back the .ipfix
 *
 * What is compressed in one way stays as it is when the other is asked for; both may be in a directory.
 *
 * The store looks at no message but for its length. Its caller sees to it that a file can be read alone: whatever comes
 * after store_rotate begins with templates.
 *
 * What a process that was killed had in the queue is lost with it, and is to be given again: store_mark says from where.
 * A file it left open is cut to its last whole message, closed and chained by the next.
 *
 * Where there is no room on the disk, the oldest files go. If that does not help, or the disk fails, the open file is
 * cut to its last whole message, and the write is tried again each second; meanwhile the queue fills. Nothing is ever
 * dropped between two messages of a file. */

enum store_sync {
	STORE_SYNC_FLOW,            /* on the disk before the mark moves */
	STORE_SYNC_SECOND,          /* the same, but all of a second together */
	STORE_SYNC_ROTATE,          /* on the disk when the file is closed; the mark moves when the kernel has it */
};

enum store_expiry {
	STORE_EXPIRED_AGE,
	STORE_EXPIRED_SIZE,
	STORE_EXPIRED_DISK,         /* there was no room on the disk */
	STORE_EXPIRIES,
};

enum {
	STORE_QUEUE = 16 << 20,     /* octets that may wait for the disk */
	STORE_PATH = 4096,
	STORE_NAME = 64,
	STORE_MEMORY_LAYOUT = 1,
};

/* What is written down before each write, so that the next process knows, from the size of the file, whether it was
 * done. All zero in the beginning. */
struct store_memory {
	uint32_t current;           /* which of the notes holds; it changes by a single store */
	uint32_t reserved;
	struct store_note {
		uint64_t offset;        /* of the file, before the write */
		uint64_t length;        /* of the write */
		uint64_t before;        /* the mark before it */
		uint64_t after;         /* and once it is done */
		char path[STORE_PATH];  /* the .part */
	} note[2];
};

struct store_options {
	const char *directory;
	uint64_t rotate;            /* s: files end at multiples of this on the clock; zero: not by time */
	uint64_t rotate_size;       /* octets; zero: not by size */
	uint64_t retain;            /* s since a file was closed; zero: no limit */
	uint64_t max_size;          /* octets of all files; zero: no limit */
	enum store_sync sync;
	enum pack_how pack;
	struct store_memory *memory;    /* survives a kill, outlives the store; NULL: none */
	GSource *moved;             /* made ready when the mark moved or there is room again; NULL: nothing is */
};

struct store_status {
	uint64_t files;             /* closed ones */
	uint64_t octets;            /* of all files, as they lie on the disk */
	uint64_t oldest;            /* ms since 1970: beginning of the oldest file; zero: there is none */
	char open[STORE_NAME];      /* name of the file that is being written, or "" */
	uint64_t open_octets;       /* in it so far */
	uint64_t written;           /* octets since the store was opened */
	uint64_t queued;            /* octets of STORE_QUEUE that wait */
	uint64_t expired[STORE_EXPIRIES];   /* files removed since the store was opened */
	uint64_t lost_files;        /* of these, those that there was no room for: before their time */
	uint64_t cut;               /* octets of torn messages that were cut off when the store was opened */
	uint64_t mark;
	bool failing;               /* the last write failed */
	char error[256];            /* the last thing that went wrong since the store was opened, or "" */
	char head[65];              /* of the chain: hexadecimal, of the last line */
};

struct store;

/* Makes the directory (mode 0750), cuts, closes and chains what an earlier process left, and starts the threads. Copies
 * the options. Fails with EX_OSERR (EX_NOPERM without the rights), also if another process writes to this directory. */
struct store *store_open(const struct store_options *options, GError **error);

/* Copies the messages into the queue, all or none. False: there is no room for them, nothing is taken; store_room says
 * how many octets can be taken now, so that nothing need be made that nobody takes. */
bool store_write(struct store *store, const struct message *messages, size_t n);
size_t store_room(const struct store *store);

/* What comes after this goes to a new file. Nothing happens if nothing came since the last time. */
void store_rotate(struct store *store);

/* True if the time (now: ms since 1970) or the size says that the file is to end. */
bool store_due(const struct store *store, uint64_t now);

/* Number (message.mark) of the last flow that is safe, as sync has it; before anything is written, what the memory says;
 * zero: nothing is known. Everything up to it is in files. */
uint64_t store_mark(const struct store *store);

void store_status(struct store *store, struct store_status *status);

/* Writes everything, as long as the disk takes it, and closes the file; it is compressed by the next store of this
 * directory. store_mark of the next one says what was written. NULL is fine. */
void store_close(struct store *store);

#endif
