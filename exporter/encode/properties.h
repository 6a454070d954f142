/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ENCODE_PROPERTIES_H
#define PEERFLOW_ENCODE_PROPERTIES_H

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

#include "encode/template.h"
#include "flow.h"

/* What many flows have in common is said once (RFC 5473): all strings of fields.def about a flow follow from who was at
 * either end and from the policy. Each of the three has a number of its own, for in a mesh there are many more pairs of
 * ends than ends. */
struct properties;

/* What a record of common properties is about: an index into flow.properties. */
enum properties_about {
	PROPERTIES_INITIATOR,
	PROPERTIES_RESPONDER,
	PROPERTIES_POLICY,
	PROPERTIES_KINDS,
};

struct properties *properties_new(void);
void properties_free(struct properties *properties);

/* Nothing was told, and the next number is one. */
void properties_restart(struct properties *properties);

/* Nothing was told, but the numbers go on: those that were used mean what they meant. */
void properties_forget(struct properties *properties);

/* The number of what is known of one of the three in this flow; zero: nothing is. No two things have the same, whatever
 * they are about. *fresh: it was not told yet, and is from now on. */
uint64_t properties_find(struct properties *properties, const struct flow *flow, enum properties_about about,
                         bool *fresh);

/* Makes the options template: its number, which is its scope, and all strings of variable length about it. */
void properties_template(struct template *template, enum properties_about about);

#endif
