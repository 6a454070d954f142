/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "source/netlink.h"

#include <errno.h>
#include <linux/netlink.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

int
netlink_open(int protocol, unsigned patience)
{
	const struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	const struct timeval limit = { .tv_sec = patience };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	if (bind(fd, (const struct sockaddr *)&kernel, sizeof kernel) == 0
	    && connect(fd, (const struct sockaddr *)&kernel, sizeof kernel) == 0)
		return fd;
	int reason = errno;
	close(fd);
	errno = reason;
	return -1;
}

static bool
is_option(int fd, int option, int wanted)
{
	int value = 0;
	socklen_t size = sizeof value;

	return getsockopt(fd, SOL_SOCKET, option, &value, &size) == 0 && value == wanted;
}

/* A kernel before 5.14 does not tell: 0. */
static uint64_t
network_of(int fd)
{
	uint64_t cookie = 0;
	socklen_t size = sizeof cookie;

	return getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size) == 0 ? cookie : 0;
}

bool
netlink_is_here(int fd, int protocol)
{
	int other = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
	const bool here = other >= 0 && is_option(fd, SO_DOMAIN, AF_NETLINK) && is_option(fd, SO_PROTOCOL, protocol)
	                  && network_of(fd) == network_of(other);

	if (other >= 0)
		close(other);
	return here;
}
