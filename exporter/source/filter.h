/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_SOURCE_FILTER_H
#define PEERFLOW_SOURCE_FILTER_H

#include <stdbool.h>

#include <glib.h>

#include "source/source.h"

/* Has the kernel drop what the filter leaves out before it reaches the socket (libnetfilter_conntrack's socket
 * filter). An empty filter takes an earlier one away; on failure the earlier one stays. Fails with EX_OSERR if the
 * kernel refuses the filter and with EX_CONFIG if it is longer than the kernel takes.
 *
 * What filter_passes lets pass always comes through, but not only that: what already waits in the socket does, and of
 * several IPv6 prefixes the library's program overlooks those behind one whose first 96 bits do not match. So whoever
 * reads from the socket asks filter_passes again. */
bool filter_attach(int fd, const struct source_filter *filter, GError **error);

/* The rule for a flow in hand; for a dump it is the only one, since a socket filter would cut the kernel's paging
 * short. */
bool filter_passes(const struct source_filter *filter, const struct flow *flow);

#endif
