/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "source/meminfo.h"

#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <sys/socket.h>

void
meminfo_read(int fd, struct meminfo *meminfo)
{
	uint32_t numbers[SK_MEMINFO_VARS] = { 0 };
	socklen_t size = sizeof numbers;

	getsockopt(fd, SOL_SOCKET, SO_MEMINFO, numbers, &size);
	*meminfo = (struct meminfo){
		.filled = numbers[SK_MEMINFO_RMEM_ALLOC],
		.buffer = numbers[SK_MEMINFO_RCVBUF],
		.drops = numbers[SK_MEMINFO_DROPS],
	};
}

uint32_t
meminfo_drops(int fd)
{
	struct meminfo meminfo;

	meminfo_read(fd, &meminfo);
	return meminfo.drops;
}

uint32_t
meminfo_counted(int fd)
{
	uint32_t mark = 0;
	socklen_t size = sizeof mark;

	getsockopt(fd, SOL_SOCKET, SO_MARK, &mark, &size);
	return mark;
}

void
meminfo_set_counted(int fd, uint32_t drops)
{
	setsockopt(fd, SOL_SOCKET, SO_MARK, &drops, sizeof drops);
}

bool
meminfo_set_reliable(int fd, bool reliable)
{
	const int on = reliable;

	return setsockopt(fd, SOL_NETLINK, NETLINK_BROADCAST_ERROR, &on, sizeof on) == 0;
}

bool
meminfo_is_reliable(int fd)
{
	int on = 0;
	socklen_t size = sizeof on;

	getsockopt(fd, SOL_NETLINK, NETLINK_BROADCAST_ERROR, &on, &size);
	return on;
}
