/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ERROR_H
#define PEERFLOW_ERROR_H

#include <glib.h>
#include <sysexits.h>

/* Errors of set-up, never of the hot path. The message names the object (file, line, key, address) and reads as one
 * whole line; the code is the exit status the program ends with if nothing better can be done (sysexits.h):
 * EX_USAGE command line, EX_CONFIG configuration or template, EX_NOPERM a capability is missing, EX_UNAVAILABLE the
 * kernel lacks a feature or the daemon does not run, EX_DATAERR a stream or file of records is damaged, EX_IOERR it
 * cannot be read or written, EX_NOINPUT it is not there, EX_CANTCREAT it cannot be made, EX_OSERR out of memory or
 * another failure of the system. */
#define PEERFLOW_ERROR (g_quark_from_static_string("peerflow"))

#endif
