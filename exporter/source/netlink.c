/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "source/netlink.h"

#include <errno.h>
#include <linux/netlink.h>
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
