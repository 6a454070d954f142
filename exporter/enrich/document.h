/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ENRICH_DOCUMENT_H
#define PEERFLOW_ENRICH_DOCUMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>
#include <jansson.h>

/* JSON that somebody else wrote, by jansson: it bounds how deep values may nest, seeds its hash tables at random and
 * refuses what is not UTF-8. Strict about JSON itself, tolerant about what it says: a key may be missing, null or of
 * another type, and then nothing is known. */

G_DEFINE_AUTOPTR_CLEANUP_FUNC(json_t, json_decref)

/* One value, whole. NULL with error (EX_DATAERR) if the octets are no JSON. The caller owns the result. */
json_t *document_parse(const char *octets, size_t length, GError **error);

/* A list, or null, which is an empty one, read an element at a time: a list may be of any length and never has to be in
 * memory whole. */
struct document;

/* Called with each element, which belongs to the caller. False with error ends the reading. */
typedef bool document_element(json_t *element, void *data, GError **error);

/* No element may have more than most octets. */
struct document *document_new(size_t most, document_element *element, void *data);
void document_free(struct document *document);
typedef struct document document_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(document_t, document_free)

/* The next octets, as they come. False with error (EX_DATAERR, or the callee's) if there is no sense in going on. */
bool document_feed(struct document *document, const char *octets, size_t length, GError **error);

/* No more octets come. False with error if the list is not at its end. */
bool document_end(struct document *document, GError **error);

/* The text of a key, without NULs; NULL if it has none or an empty one. It lives as long as the object. */
const char *document_text(json_t *object, const char *key);

/* True or false of a key; otherwise if it has neither. */
bool document_truth(json_t *object, const char *key, bool otherwise);

/* The number of a key, which may be written as a string; otherwise if it is none from 0 to most. */
uint64_t document_number(json_t *object, const char *key, uint64_t most, uint64_t otherwise);

#endif
