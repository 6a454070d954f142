/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ARCHIVE_CHECK_H
#define PEERFLOW_ARCHIVE_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>

#include "archive/word.h"

/* Takes a message apart just far enough to know that libfixbuf can be trusted with it. On octets that are wrong
 * libfixbuf does one of four things: it aborts (a template id below 256), it never ends (a template whose records have
 * no octets), it takes the rest of the message for its end (a record or set that is too long), or it logs and goes on.
 * Here each of these is an error that says where. */

struct shape_field {
	uint16_t octets;            /* or WORD_VARIABLE */
	uint8_t word;               /* WORD_COUNT: none, or one that an earlier field is already */
};

/* A template as it was announced. */
struct shape {
	int64_t key;                /* Observation Domain and template id */
	struct words words;         /* what is in it */
	uint16_t scopes;            /* above zero: an options template */
	uint16_t shortest;          /* octets of the shortest record */
	uint16_t n_fields;
	bool own;                   /* it has an element of the enterprise's that we know */
	bool misfit;                /* a known element is in a length that is none of its: only in options templates */
	bool variable;              /* some field is of variable length: records differ in theirs */
	struct shape_field field[];
};

enum { MESSAGE_HEADER = 16 };

/* What is left of a message to say once it is known to be sound. */
struct soundness {
	uint32_t domain;
	uint32_t records;           /* Data Records, those of options too */
	uint32_t counted;           /* Data Records of this domain in the messages before */
	uint32_t lost;              /* Data Records that its sequence number says were sent and never came */
	bool own;                   /* one of its templates has an element of the enterprise's that we know */
	bool changed;               /* a template became another behind some records, which may have had the older one */
};

struct check;

/* enterprise is the number of the OWN elements in this stream. */
struct check *check_new(uint32_t enterprise);
void check_free(struct check *check);

/* The octets of the whole message its header announces, at least MESSAGE_HEADER; zero, with error set, if this is no
 * IPFIX header. */
size_t check_header(const uint8_t *header, GError **error);

/* Checks one whole message of that many octets and remembers its templates. Errors (EX_DATAERR) read "octet N:
 * what". */
bool check_message(struct check *check, const uint8_t *message, size_t octets, struct soundness *soundness,
                   GError **error);

struct columns;

/* The messages from now on are the skeleton of these columns (columns.h); NULL: they are whole. A Set says then how many
 * records there are of what stands in columns, and it is an error if it has no such columns, or not so many records. */
void check_columns(struct check *check, struct columns *columns);

/* How many templates were announced or withdrawn so far: while it stands still, every shape stays. */
uint64_t check_announced(const struct check *check);

/* The template with that id, or NULL. It stays until the next message is checked. */
const struct shape *check_shape(const struct check *check, uint32_t domain, uint16_t id);

#endif
