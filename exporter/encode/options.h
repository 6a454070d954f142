/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ENCODE_OPTIONS_H
#define PEERFLOW_ENCODE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "encode/batch.h"
#include "encode/encoder.h"

/* Everything that is not a flow: Template Records, and what the Exporting Process tells of itself and its words.
 * All of it assumes that the batch has room. */

/* Ids of the options templates, the same in every release. */
enum {
	OPTIONS_INITIATOR = 275,    /* common properties; 278 was another's */
	OPTIONS_RESPONDER = 276,
	OPTIONS_POLICY = 277,
	OPTIONS_DOMAIN = 279,
	OPTIONS_INTERFACES = 280,
	OPTIONS_STATISTICS = 281,
	OPTIONS_TYPES = 282,
	OPTIONS_METERING_GAPS = 283,
	OPTIONS_EXPORTING_GAPS = 284,
	OPTIONS_GAP = 285,
	OPTIONS_WHO_V4 = 286,
	OPTIONS_WHO_V6 = 287,
};

enum {
	OPTIONS_ROOM = 96,          /* the largest record below fits in so many octets, or is cut to: a test proves it */
	DOMAIN_NAME = 64,           /* octets, zero padded: of fixed length, as in all that every collector gets */
};

/* The OWN elements of options templates, as type records tell them; those of flows are in fields[]. */
struct own_element {
	uint16_t element;
	uint8_t type;               /* RFC 5610 section 3.1 */
	uint8_t semantics;
	const char *name;
};

extern const struct own_element own_elements[];
extern const unsigned n_own_elements;

size_t template_record_octets(const struct template *template);
void template_record_add(struct batch *batch, const struct template *template, uint32_t enterprise);

/* The same of an options template whose first field is its scope, in the flows' domain. */
void options_template_record_add(struct batch *batch, const struct template *template, uint32_t enterprise);

/* Upper bounds of what options_add_templates and options_add_types write, Set headers included. */
size_t options_template_octets(void);
size_t options_type_octets(const struct template *template, unsigned n);

/* enterprise: the operator's number if templates of flows hold OWN elements, else zero. */
void options_add_templates(struct batch *batch, uint32_t enterprise);

/* Type records (RFC 5610) of the OWN elements that occur in these templates or in those above, one each. */
void options_add_types(struct batch *batch, const struct template *template, unsigned n, uint32_t enterprise);

void options_add_interface(struct batch *batch, const struct interface_name *interface);
void options_add_statistics(struct batch *batch, const struct exporter_statistics *statistics);

/* See encoder_add_gaps and encoder_add_gap. */
void options_add_metering_gaps(struct batch *batch, const struct gap *total);
void options_add_exporting_gaps(struct batch *batch, const struct gap *total);
void options_add_gap(struct batch *batch, const struct gap *total);

/* What the Observation Domain of the flows is called; cut to DOMAIN_NAME octets. */
void options_add_domain(struct batch *batch, const struct name *name);

/* Whom a prefix stands for, in room octets at most. */
void options_add_who(struct batch *batch, const struct names_row *row, const struct names *names, size_t room);

#endif
