/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Whatever WireGuard, in the kernel (first octet even) or outside of it (odd), answers. */

#include <libmnl/libmnl.h>
#include <stdlib.h>
#include <string.h>

#include "enrich/wireguard.h"
#include "source/wireguard.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(bool good)
{
	if (!good)
		abort();
}

/* Each is a prefix that its family allows, with nothing set beyond its length. */
static void
check_prefixes(const GArray *prefixes)
{
	for (guint i = 0; i < prefixes->len; i++) {
		const struct tunnel_prefix *prefix = &g_array_index(prefixes, struct tunnel_prefix, i);
		struct tunnel_prefix cut = *prefix;
		check(prefix->family == 4 || prefix->family == 6);
		check(prefix->length <= (prefix->family == 4 ? 32 : 128));
		tunnel_prefix_cut(&cut);
		check(memcmp(&cut, prefix, sizeof cut) == 0);
	}
	g_autoptr(roster_t) roster = wireguard_roster(prefixes);
	check(roster->route->len <= prefixes->len);
}

static void
read_messages(const uint8_t *data, size_t size, GArray *prefixes)
{
	/* The kernel's messages end on a word, and the library's walk counts on it. */
	size -= size % NLMSG_ALIGNTO;
	/* Aligned and of the exact size. The library's way from message to message believes the largest lengths. */
	uint8_t *copy = malloc(size ? size : 1);
	memcpy(copy, data, size);
	for (size_t at = 0; size - at >= sizeof(struct nlmsghdr);) {
		const struct nlmsghdr *message = (const struct nlmsghdr *)(void *)(copy + at);
		if (message->nlmsg_len < sizeof *message || message->nlmsg_len > size - at
		    || message->nlmsg_len % NLMSG_ALIGNTO)
			break;
		wireguard_read(message, prefixes);
		at += message->nlmsg_len;
	}
	free(copy);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	g_autoptr(GArray) prefixes = g_array_new(false, true, sizeof(struct tunnel_prefix));
	g_autoptr(GError) error = NULL;

	if (!size)
		return 0;
	if (data[0] & 1)
		check(wireguard_parse((const char *)data + 1, size - 1, prefixes, &error) == !error);
	else
		read_messages(data + 1, size - 1, prefixes);
	check_prefixes(prefixes);
	return 0;
}
