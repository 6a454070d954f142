/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ARCHIVE_IMPORT_H
#define PEERFLOW_ARCHIVE_IMPORT_H

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

#include "flow.h"

/* Flows out of nfdump's JSON ("nfdump -o json": an array of objects; objects one after the other are read too). What
 * nfdump has two lines for, a uniflow each way, are two flows here, with what it counted in original; what it has no
 * word for is zero, flow_id among it. Its times have no zone and are local ones. TCP flags become the state of the
 * kernel's tracker that such flags lead to. Memory does not grow with the file. */
struct import;

/* Whether the file at that path is text that begins as JSON does. */
bool import_is_json(const char *path);

/* Fails (EX_NOINPUT) if it cannot be opened. */
struct import *import_open(const char *path, GError **error);
void import_free(struct import *import);
typedef struct import import_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(import_t, import_free)

/* False: there are no more; with error set (EX_DATAERR), to one line that names the file and the object, because the
 * rest cannot be read. */
bool import_next(struct import *import, struct flow *flow, GError **error);

/* Objects that were no flows. */
uint64_t import_skipped(const struct import *import);

#endif
