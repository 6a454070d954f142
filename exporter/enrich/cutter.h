/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ENRICH_CUTTER_H
#define PEERFLOW_ENRICH_CUTTER_H

#include <stdbool.h>
#include <stddef.h>

#include <glib.h>

/* Cuts the values one wants out of JSON that comes in pieces: frames of a stream, one behind the other, or a document
 * of any length. Nothing but the wanted value that is just coming is ever in memory, whatever else the other side
 * sends and however much of it. It follows the grammar as far as strings, brackets, colons and commas go; what a value
 * is worth, whoever gets it finds out. */
struct cutter;

struct cutter_limits {
	size_t value;               /* octets of a wanted value */
	size_t frame;               /* octets of a frame, wanted or not */
};

/* A wanted value: its octets, and the position of its path among those asked for. False with error ends the cutting. */
typedef bool cutter_value(unsigned path, const char *octets, size_t length, void *data, GError **error);

/* A frame has ended. */
typedef bool cutter_frame(void *data, GError **error);

/* paths ends with NULL and has at most 32 entries of at most 8 steps, such as "fullStatus/peers/[]": keys of objects,
 * or [] for each element of an array. It must outlive the cutter. Neither function may be NULL. */
struct cutter *cutter_new(const char *const *paths, const struct cutter_limits *limits, cutter_value *value,
                          cutter_frame *frame, void *data);
void cutter_free(struct cutter *cutter);
typedef struct cutter cutter_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(cutter_t, cutter_free)

/* The next octets, as they come. False with error (EX_DATAERR, or the callee's): the cutter is of no more use. */
bool cutter_feed(struct cutter *cutter, const char *octets, size_t length, GError **error);

/* Has a frame begun that has not ended? */
bool cutter_is_inside(const struct cutter *cutter);

#endif
