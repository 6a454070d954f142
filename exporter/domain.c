/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "domain.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

static bool
is_candidate(const struct ifaddrs *one, const char *interface)
{
	if (!one->ifa_addr || one->ifa_addr->sa_family != AF_INET || one->ifa_flags & IFF_LOOPBACK)
		return false;
	return !interface || strcmp(one->ifa_name, interface) == 0;
}

static uint32_t
first_address(const struct ifaddrs *all, const char *interface)
{
	for (const struct ifaddrs *one = all; one; one = one->ifa_next)
		if (is_candidate(one, interface))
			return ntohl(((const struct sockaddr_in *)(const void *)one->ifa_addr)->sin_addr.s_addr);
	return 0;
}

uint32_t
domain_of_host(const char *interface)
{
	struct ifaddrs *all = NULL;

	if (getifaddrs(&all) < 0)
		return 1;
	uint32_t domain = first_address(all, interface);
	if (!domain)
		domain = first_address(all, NULL);
	freeifaddrs(all);
	return domain ? domain : 1;
}
