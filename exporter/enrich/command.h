/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ENRICH_COMMAND_H
#define PEERFLOW_ENRICH_COMMAND_H

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

#include "enrich/http.h"

/* Runs a program, argv[0] being its absolute path, without a shell and with nothing to read, and gives its standard
 * output to take. Returns when it has ended with status 0. False with error otherwise, which quotes what it said on
 * standard error: EX_NOPERM it is not run, because others than root and we may write to it; EX_UNAVAILABLE it cannot be
 * started, failed, did not end by deadline (monotonic microseconds), take did not want more, or stop became readable.
 * Whatever happens, it and its children in its process group are gone when this returns. */
bool command_run(int stop, const char *const *argv, int64_t deadline, octets_take *take, void *data, GError **error);

#endif
