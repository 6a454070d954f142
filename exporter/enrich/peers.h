/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ENRICH_PEERS_H
#define PEERFLOW_ENRICH_PEERS_H

#include <stddef.h>

#include <glib.h>

#include "enrich/roster.h"

/* The operator's own source of names: a file of one "ADDRESS[/LENGTH] NAME [id=ID] [user=USER] [groups=GROUP,GROUP...]"
 * a line, # starts a comment. A value with a space or a # in it stands in quotes. The name of an address is that of a
 * peer; that of a prefix is the name of whatever lies behind it. */

/* NULL, with error set (EX_CONFIG) to "path:line: what is wrong", if any line is bad. The caller owns the result. */
struct roster *peers_load(const char *path, GError **error);

/* The same from octets already in memory; name stands for the path in errors. */
struct roster *peers_parse(const char *name, const char *text, size_t length, GError **error);

#endif
