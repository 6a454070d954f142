/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_HINTS_H
#define PEERFLOW_HINTS_H

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

/* What a collector must be told so that it shows what peerflow sends, as a file or lines for that collector, made from
 * the same table of fields as the records themselves. */

/* Appends the collectors there are hints for, one a line with what the hint is. */
void hints_list(GString *out);

/* Appends the hint for that collector with the operator's enterprise number, or, where it is zero, without the elements
 * that need one. False with error set (EX_USAGE: no such collector; EX_CONFIG: its hint is about those elements
 * only). */
bool hints_print(const char *collector, uint32_t enterprise, GString *out, GError **error);

/* "post_nat_source_ipv4_address" for "postNATSourceIPv4Address": for collectors that know no capitals. */
char *hints_snake_case(const char *name);

#endif
