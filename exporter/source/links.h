/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_SOURCE_LINKS_H
#define PEERFLOW_SOURCE_LINKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>

/* The names of this host's network interfaces, kept up to date by libnfnetlink. */

enum { LINK_NAME_OCTETS = 16 };     /* IFNAMSIZ: terminating zero included */

struct links;

/* Fails with EX_OSERR without a routing netlink socket. */
struct links *links_open(GError **error);
void links_close(struct links *links);

/* Readable when interfaces came, went or were renamed; then call links_changed. */
int links_fd(const struct links *links);
void links_changed(struct links *links);

typedef void links_name(uint32_t index, const char *name, void *data);

/* Calls back for each interface there is now. */
void links_each(struct links *links, links_name *handle, void *data);

#endif
