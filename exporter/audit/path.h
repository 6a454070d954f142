/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_AUDIT_PATH_H
#define PEERFLOW_AUDIT_PATH_H

#include <stddef.h>

#include <glib.h>

#include "audit/trace.h"

/* Paths as text: a few lines each for people, an object a line for programs (packaging/man/peerflow.1 has its members),
 * and pictures (picture.h). All is UTF-8 without what a terminal would obey. */

/* Appends all of them. */
typedef void path_writer(GString *out, const struct trace_path *paths, size_t n_paths,
                         const struct trace_router *routers);

path_writer path_table;
path_writer path_json;

/* "table", "json", "dot", "svg"; NULL: text is none of these. */
path_writer *path_format(const char *text);

/* What both ends are called, or "host". */
const char *path_initiator(const struct trace_path *path);
const char *path_responder(const struct trace_path *path);

/* "10.20.0.20:40002 -> 10.30.0.30:5432" */
void path_tuple(GString *out, const struct flow *flow, const struct tuple *tuple);

/* "2 packets lost on the way there, 1 packet lost on the way back"; nothing if nothing was, or it cannot be told. */
void path_leg(GString *out, const struct trace_leg *leg);

#endif
