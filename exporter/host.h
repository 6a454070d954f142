/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_HOST_H
#define PEERFLOW_HOST_H

#include <glib.h>

/* This host's addresses now, struct own_address; none if the kernel does not tell. The caller's to unref. */
GArray *host_addresses(void);

#endif
