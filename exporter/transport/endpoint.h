/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_TRANSPORT_ENDPOINT_H
#define PEERFLOW_TRANSPORT_ENDPOINT_H

#include <stdbool.h>
#include <stdint.h>

#include <netinet/in.h>
#include <sys/socket.h>

#include "flow.h"

/* An address and a port, IPv4 or IPv6, as the system calls want them (network byte order). Family zero: none. */
union endpoint {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

/* Reads an address literal, with a %scope if it is link-local; never asks a name server. Port in host byte order. */
bool endpoint_parse(union endpoint *endpoint, const char *text, uint16_t port);

/* Octets of the kernel's struct for this family. */
socklen_t endpoint_length(const union endpoint *endpoint);

bool endpoint_equal(const union endpoint *a, const union endpoint *b);

/* True if address and port (host byte order) as they stand in a flow are those of the endpoint. */
bool endpoint_matches(const union endpoint *endpoint, uint8_t family, const union address *address, uint16_t port);

/* "192.0.2.1 port 4739". */
struct endpoint_text {
	char text[80];
};
struct endpoint_text endpoint_text(const union endpoint *endpoint);

#endif
