/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ENCODE_RECORD_H
#define PEERFLOW_ENCODE_RECORD_H

#include <stddef.h>
#include <stdint.h>

#include "encode/template.h"
#include "flow.h"
#include "names.h"

/* A template made ready for the hot path: one operation a field, in the order of the wire. */

struct operation {
	uint8_t code;
	uint8_t word[2];            /* of an identity, the first that it has; WORDS: the member is a name itself */
	uint16_t from;              /* offset into struct flow */
	uint16_t octets;
};

struct recipe {
	uint16_t id;                /* of the template; zero: none */
	uint16_t fixed;             /* octets of the fields of fixed length */
	uint8_t n_operations;
	uint8_t n_names;            /* strings of variable length among them */
	uint16_t name_limit;        /* most octets of one such string where they do not all fit whole */
	uint16_t room;              /* most octets of the record */
	struct operation operation[TEMPLATE_FIELDS];
};

/* Prepares the records of a template in that view. */
void recipe_init(struct recipe *recipe, const struct template *template, enum record_view view);

/* A string of variable length as it will be written. */
struct piece {
	const char *text;
	uint16_t octets;
};

/* Sees to it that every record fits room octets, with names cut where they must; false if not even short ones leave
 * it. */
bool recipe_fit(struct recipe *recipe, size_t room);

/* Octets of the record of this flow, and its strings of variable length, n_names of them, for recipe_write. */
size_t recipe_measure(const struct recipe *recipe, const struct flow *flow, const struct names *names,
                      struct piece *piece);

/* Writes that record; at has room for it. boot is what UPTIME fields count from, in ms since 1970. */
void recipe_write(const struct recipe *recipe, const struct flow *flow, const struct names *names,
                  const struct piece *piece, uint64_t boot, uint8_t *at);

#endif
