/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Whatever stands in a message about a link or a chain. */

#include <libmnl/libmnl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "source/signs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* The kernel's messages end on a word, and the library's walk counts on it. */
	size -= size % NLMSG_ALIGNTO;
	if (size < sizeof(struct nlmsghdr))
		return 0;
	/* Of the exact size, so that the sanitizer sees a read past its end. */
	struct nlmsghdr *message = malloc(size);
	memcpy(message, data, size);
	message->nlmsg_len = size;
	if (signs_link(message) > MESH_LINK_OTHER)
		abort();
	signs_chain(message);
	free(message);
	return 0;
}
