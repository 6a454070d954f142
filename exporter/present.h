/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_PRESENT_H
#define PEERFLOW_PRESENT_H

#include <stdbool.h>

#include <glib.h>

#include "flow.h"
#include "names.h"

/* What the kernel's table of connections holds now, for whoever looks once. Whether the daemon runs does not matter;
 * names are those that it wrote down last. */

struct present_options {
	const char *interface;          /* the mesh's, or NULL */
	const char *state_directory;    /* the daemon's, or NULL: nobody has a name */
};

/* A flow that goes on: its end is the moment of the look. */
typedef void present_visitor(const struct flow *flow, const struct names *names, void *data);

/* Calls visitor for each of them, in no order, in this network namespace. Fails with EX_NOPERM without CAP_NET_ADMIN,
 * with EX_UNAVAILABLE if the kernel has no such table or does not answer, or with EX_OSERR. */
bool present_each(const struct present_options *options, present_visitor *visitor, void *data, GError **error);

#endif
