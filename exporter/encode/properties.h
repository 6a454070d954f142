/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ENCODE_PROPERTIES_H
#define PEERFLOW_ENCODE_PROPERTIES_H

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

#include "encode/template.h"
#include "flow.h"

/* What many flows have in common is said once (RFC 5473): all strings of fields.def about a flow follow from who was at
 * both ends and from the policy, and these three together get a number. */
struct properties;

struct properties *properties_new(void);
void properties_free(struct properties *properties);

/* Nothing was told, and the next number is one. */
void properties_restart(struct properties *properties);

/* Nothing was told, but the numbers go on: those that were used mean what they meant. */
void properties_forget(struct properties *properties);

/* The number of what is known of this flow; zero: nothing is. *fresh: it was not told yet, and is from now on. */
uint64_t properties_find(struct properties *properties, const struct flow *flow, bool *fresh);

/* Makes the options template: commonPropertiesId, which is its scope, and all strings of variable length. */
void properties_template(struct template *template);

#endif
