/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "source/links.h"

#include <errno.h>
#include <net/if.h>

#include <libnfnetlink/libnfnetlink.h>

#include "error.h"

/* The handle is the library's; this name keeps it at home. */
struct links {
	struct nlif_handle *handle;
};

struct links *
links_open(GError **error)
{
	struct nlif_handle *handle = nlif_open();

	if (handle && nlif_query(handle) >= 0) {
		struct links *links = g_new0(struct links, 1);
		links->handle = handle;
		return links;
	}
	g_set_error(error, PEERFLOW_ERROR, EX_OSERR, "cannot read the names of network interfaces: %s",
	            g_strerror(errno));
	if (handle)
		nlif_close(handle);
	return NULL;
}

void
links_close(struct links *links)
{
	if (!links)
		return;
	nlif_close(links->handle);
	g_free(links);
}

int
links_fd(const struct links *links)
{
	return nlif_fd(links->handle);
}

void
links_changed(struct links *links)
{
	/* After an overrun the library has missed changes and would never know: it asks for all interfaces again. */
	if (nlif_catch(links->handle) < 0)
		nlif_query(links->handle);
}

void
links_each(struct links *links, links_name *handle, void *data)
{
	struct if_nameindex *all = if_nameindex();
	char name[LINK_NAME_OCTETS];

	/* The library answers for an index but lists none. */
	for (const struct if_nameindex *one = all; one && one->if_index; one++)
		if (nlif_index2name(links->handle, one->if_index, name) > 0)
			handle(one->if_index, name, data);
	if (all)
		if_freenameindex(all);
}
