/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_SOURCE_FILTER_H
#define PEERFLOW_SOURCE_FILTER_H

#include <stdbool.h>

#include <glib.h>

#include "source/source.h"

/* Has the kernel drop what the filter leaves out before it reaches the socket (libnetfilter_conntrack's socket
 * filter). An empty filter takes an earlier one away. Fails with EX_OSERR if the kernel refuses the filter and with
 * EX_CONFIG if it is longer than the kernel takes. */
bool filter_attach(int fd, const struct source_filter *filter, GError **error);

/* The same rule for a flow in hand: of a dump, where a socket filter would cut the kernel's paging short. */
bool filter_passes(const struct source_filter *filter, const struct flow *flow);

#endif
