/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_AUDIT_TALLY_H
#define PEERFLOW_AUDIT_TALLY_H

#include <stddef.h>
#include <stdint.h>

#include <glib.h>

/* Sums by a text, of which there may be more than memory should hold. Up to a number of texts all is exact; when
 * there are more, the lower half is forgotten, and how much may be missing since is known. */

enum tally_by { TALLY_OCTETS, TALLY_PACKETS, TALLY_FLOWS, TALLY_MEASURES };

struct tally_sums {
	uint64_t measure[TALLY_MEASURES];
	uint64_t sent;              /* of the octets, those it sent */
};

struct tally_row {
	struct tally_sums sums;
	size_t length;
	char text[];                /* with a NUL */
};

struct tally;

/* by says what the greatest are. most: texts, at least 2. */
struct tally *tally_new(enum tally_by by, size_t most);
void tally_free(struct tally *tally);
typedef struct tally tally_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(tally_t, tally_free)

void tally_add(struct tally *tally, const char *text, size_t length, const struct tally_sums *sums);

/* The rows, the greatest first, alike ones by their text; an array of pointers into the tally. Freed by
 * g_ptr_array_unref. */
GPtrArray *tally_rows(const struct tally *tally);

/* By so much any row may be too small, in what the order is by, and a row may be missing whose sum is not
 * greater. Zero: nothing was forgotten. */
uint64_t tally_forgotten(const struct tally *tally);

#endif
