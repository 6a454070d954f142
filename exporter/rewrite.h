/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_REWRITE_H
#define PEERFLOW_REWRITE_H

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

#include "audit/print.h"

/* Flows as IPFIX (RFC 5655) again: one biflow record each by full.template, whatever they were read from. */
struct rewrite;

struct rewrite_options {
	const char *template_directory;
	uint32_t enterprise;        /* of the OWN elements */
	uint32_t domain;            /* Observation Domain */
};

/* Appends what a file begins with to out. Fails with EX_CONFIG if there is no such template. */
struct rewrite *rewrite_new(const struct rewrite_options *options, GString *out, GError **error);
void rewrite_free(struct rewrite *rewrite);
typedef struct rewrite rewrite_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(rewrite_t, rewrite_free)

/* Appends messages to out as they become full. Fails (EX_USAGE) if the flow was seen by another router than those
 * before: they cannot stand in one Observation Domain. */
bool rewrite_flow(struct rewrite *rewrite, const struct print_flow *flow, GString *out, GError **error);

/* After the last one: appends what is left. */
void rewrite_end(struct rewrite *rewrite, GString *out);

#endif
