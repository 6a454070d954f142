/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "host.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>

#include "enrich/networks.h"

static uint8_t
prefix_length(const struct sockaddr *mask, unsigned family)
{
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)mask;
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)mask;
	unsigned length = 0;

	if (!mask)
		return family == 6 ? 128 : 32;
	if (family == 4)
		return __builtin_popcount(v4->sin_addr.s_addr);
	for (unsigned i = 0; i < sizeof v6->sin6_addr; i++)
		length += __builtin_popcount(v6->sin6_addr.s6_addr[i]);
	return length;
}

static void
add_address(GArray *own, const struct ifaddrs *one)
{
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)one->ifa_addr;
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)one->ifa_addr;
	struct own_address address;

	if (!one->ifa_addr || (v4->sin_family != AF_INET && v4->sin_family != AF_INET6))
		return;
	memset(&address, 0, sizeof address);
	address.interface = if_nametoindex(one->ifa_name);
	address.prefix.family = v4->sin_family == AF_INET6 ? 6 : 4;
	address.prefix.length = prefix_length(one->ifa_netmask, address.prefix.family);
	if (address.prefix.family == 6)
		memcpy(address.prefix.address.v6, &v6->sin6_addr, sizeof v6->sin6_addr);
	else
		memcpy(address.prefix.address.v4, &v4->sin_addr, sizeof v4->sin_addr);
	g_array_append_val(own, address);
}

GArray *
host_addresses(void)
{
	GArray *own = g_array_new(false, false, sizeof(struct own_address));
	struct ifaddrs *all = NULL;

	if (getifaddrs(&all) < 0)
		return own;
	for (const struct ifaddrs *one = all; one; one = one->ifa_next)
		add_address(own, one);
	freeifaddrs(all);
	return own;
}
