/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ARCHIVE_PLAN_H
#define PEERFLOW_ARCHIVE_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "archive/check.h"
#include "archive/conclude.h"
#include "flow.h"
#include "gap.h"

/* What is to be done for each record of a template, worked out once: where its fields are, and where they go. */

enum step_code {
	STEP_1,                     /* a number, to as many octets in host byte order */
	STEP_2,
	STEP_4,
	STEP_8,
	STEP_4_TO_8,
	STEP_NARROW,                /* in fewer octets than it has here, RFC 7011 section 6.2 */
	STEP_COPY_4,
	STEP_COPY_16,
	STEP_TEXT,                  /* of fixed length */
	STEP_VARIABLE_TEXT,         /* this and the next end in other places in each record */
	STEP_VARIABLE,              /* nothing we know */
};

struct step {
	uint8_t code;
	uint8_t word;
	uint8_t wide;               /* octets it takes here */
	uint16_t octets;            /* and there */
	uint16_t field;             /* of the template */
	uint16_t from;              /* behind the last field of variable length */
	uint16_t to;
};

/* What a record is for us. */
enum plan_kind { PLAN_OTHER, PLAN_FLOW, PLAN_PROPERTIES, PLAN_INTERFACE, PLAN_DOMAIN, PLAN_GAP };

struct plan {
	int64_t key;                /* as a shape's */
	struct conclusion conclusion;
	uint8_t kind;
	bool named;                 /* it has strings of its own */
	bool plain;                 /* nobody translated its flows */
	uint64_t first_fields;      /* bit n: a glance looks at field n, if it stands in a column */
	uint64_t all_fields;
	uint16_t shortest;
	uint16_t tail;              /* octets behind the last field of variable length */
	struct flow seen;           /* last; all records set the same members, so that the others stay zero */
	unsigned n_first;           /* steps for a glance; if records differ in length all */
	unsigned n_steps;
	struct step step[];
};

/* What an options record says beside its strings: where the steps for such a record go. */
struct told {
	uint64_t properties;
	struct gap gap;
	uint32_t domain;
	uint32_t interface;
	uint8_t gap_kind;
	uint8_t gap_flags;
};

/* What is to be done for records of this shape. Of flows the steps for those parts (enum flow_part) that are not spared
 * come first. Freed by g_free. */
struct plan *plan_new(const struct shape *shape, unsigned spared);

#endif
