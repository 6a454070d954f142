/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ENRICH_HISTORY_H
#define PEERFLOW_ENRICH_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>

#include "enrich/roster.h"

/* What each source said of each prefix, and since when. A peer that is renamed or gone, an address that changed hands:
 * the past stays as it was, in memory and in a file that survives restarts. What a source said last holds until it says
 * something else, over a restart too.
 *
 * Not thread-safe; belongs to one thread at a time. Times are ms since 1970. */

/* What held from a time on, until the next newer one. */
struct history_span {
	uint64_t from;              /* zero: as long as anybody remembers */
	struct history_span *older; /* NULL: nobody knows */
	const char *word[WORDS];    /* NULL: not known; all NULL: the source had nothing to say of it any more */
	char text[];
};

struct history_line {
	struct roster_prefix prefix;
	enum roster_source source;
	uint32_t round;             /* of history_take, for its own use */
	uint32_t pending;
	uint64_t tags_since;
	char **tags;                /* what policies call it since tags_since, or NULL; not in the file */
	struct history_span *newest;    /* never NULL */
};

struct history;

/* Names that were given up longer than keep ms ago are forgotten. */
struct history *history_new(uint64_t keep);
void history_free(struct history *history);
typedef struct history history_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(history_t, history_free)

/* The source now says exactly these entries (struct roster_entry). What is new holds from now on, or from a little
 * earlier where the source is asked only now and then and nobody had the prefix until then; what the very first roster
 * of a source says has always been so. Returns how many prefixes changed. */
size_t history_take(struct history *history, enum roster_source source, const GArray *entries, uint64_t now);

/* A word about that very prefix as the best source that knows it says now, or NULL. */
const char *history_word(const struct history *history, const struct roster_prefix *prefix, enum identity_word word);

/* Calls handle for each prefix that a source ever spoke of, in no order. */
void history_each(const struct history *history, void (*handle)(const struct history_line *line, void *data),
                  void *data);

/* Forgets what is too old at that time. */
void history_prune(struct history *history, uint64_t now);

/* The text of the file. Reading takes any octets: a line that makes no sense is passed over, as is one without an end,
 * which a crash left. Returns how many lines were passed over; whole, unless NULL, is where the last line ends. */
size_t history_read(struct history *history, const char *text, size_t length, size_t *whole);
void history_print(const struct history *history, GString *out);

/* Reads the file "names" of the directory, which is made if need be, and from then on history_write appends to it. One
 * process at a time: the second one fails. Fails with EX_CANTCREAT or EX_IOERR; the history then lives in memory. */
bool history_open(struct history *history, const char *directory, GError **error);

/* Writes what changed since the last call; a file that has grown to twice what is in it is written anew. After a
 * failure, EX_IOERR, the next call writes everything. Does nothing without a file. */
bool history_write(struct history *history, uint64_t now, GError **error);

#endif
