/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <netdb.h>
#include <stdio.h>
#include <string.h>

#include "endpoint.h"

bool
endpoint_parse(union endpoint *endpoint, const char *text, uint16_t port)
{
	const struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_DGRAM };
	struct addrinfo *found;
	char service[8];

	snprintf(service, sizeof service, "%u", port);
	if (getaddrinfo(text, service, &hints, &found))
		return false;
	*endpoint = (union endpoint) { 0 };
	memcpy(endpoint, found->ai_addr, found->ai_addrlen);
	freeaddrinfo(found);
	return true;
}

socklen_t
endpoint_length(const union endpoint *endpoint)
{
	return endpoint->any.sa_family == AF_INET6 ? sizeof endpoint->v6 : sizeof endpoint->v4;
}

bool
endpoint_equal(const union endpoint *a, const union endpoint *b)
{
	if (a->any.sa_family != b->any.sa_family)
		return false;
	if (a->any.sa_family == AF_INET)
		return a->v4.sin_port == b->v4.sin_port && a->v4.sin_addr.s_addr == b->v4.sin_addr.s_addr;
	return a->v6.sin6_port == b->v6.sin6_port && a->v6.sin6_scope_id == b->v6.sin6_scope_id &&
	       !memcmp(&a->v6.sin6_addr, &b->v6.sin6_addr, sizeof a->v6.sin6_addr);
}

bool
endpoint_matches(const union endpoint *endpoint, uint8_t family, const union address *address, uint16_t port)
{
	if (endpoint->any.sa_family == AF_INET)
		return family == 4 && port == ntohs(endpoint->v4.sin_port) &&
		       !memcmp(address->v4, &endpoint->v4.sin_addr, sizeof address->v4);
	return endpoint->any.sa_family == AF_INET6 && family == 6 && port == ntohs(endpoint->v6.sin6_port) &&
	       !memcmp(address->v6, &endpoint->v6.sin6_addr, sizeof address->v6);
}

struct endpoint_text
endpoint_text(const union endpoint *endpoint)
{
	struct endpoint_text result = { "nowhere" };
	char host[64], service[8];

	if (!getnameinfo(&endpoint->any, endpoint_length(endpoint), host, sizeof host, service, sizeof service,
	                 NI_NUMERICHOST | NI_NUMERICSERV))
		snprintf(result.text, sizeof result.text, "%s port %s", host, service);
	return result;
}
