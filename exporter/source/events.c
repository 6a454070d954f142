/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "source/events.h"

#include <errno.h>
#include <linux/netlink.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "error.h"
#include "source/netlink.h"

enum {
	BATCH = 64,
	MESSAGE_MOST = 1024,        /* a conntrack message has 128 to 600 octets */
};

struct events {
	int fd;
	size_t buffer;
	struct mmsghdr header[BATCH];
	struct iovec vector[BATCH];
	uint8_t octets[BATCH][MESSAGE_MOST] __attribute__((aligned(NLMSG_ALIGNTO)));
};

static void
prepare_batch(struct events *events)
{
	for (unsigned i = 0; i < BATCH; i++) {
		events->vector[i] = (struct iovec){ events->octets[i], MESSAGE_MOST };
		events->header[i].msg_hdr = (struct msghdr){ .msg_iov = &events->vector[i], .msg_iovlen = 1 };
	}
}

void
events_set_buffer(struct events *events, size_t octets)
{
	int asked = octets, granted = 0;
	socklen_t size = sizeof granted;

	if (setsockopt(events->fd, SOL_SOCKET, SO_RCVBUFFORCE, &asked, sizeof asked) < 0)
		setsockopt(events->fd, SOL_SOCKET, SO_RCVBUF, &asked, sizeof asked);
	getsockopt(events->fd, SOL_SOCKET, SO_RCVBUF, &granted, &size);
	/* The kernel doubles what it is asked for, to have room for its own book-keeping. */
	events->buffer = MIN(granted / 2, asked);
	if (granted / 2 < asked)
		g_warning("the kernel grants a receive buffer of %d octets where %d were asked for: bursts of more than %d "
		          "flow ends will be lost", granted / 2, asked, granted / 1280);
}

size_t
events_buffer(const struct events *events)
{
	return events->buffer;
}

static bool
fail(GError **error, int code, const char *what)
{
	g_set_error(error, PEERFLOW_ERROR, code, "%s: %s", what, g_strerror(errno));
	return false;
}

bool
events_join(struct events *events, unsigned group, GError **error)
{
	if (setsockopt(events->fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group) == 0)
		return true;
	if (errno == EPERM)
		return fail(error, EX_NOPERM, "listening to connection tracking needs the capability CAP_NET_ADMIN");
	return fail(error, EX_UNAVAILABLE, "this kernel announces no connection tracking events (nf_conntrack_netlink)");
}

static bool
subscribe(struct events *events, unsigned group, GError **error)
{
	events->fd = netlink_open(NETLINK_NETFILTER, 0);
	if (events->fd < 0)
		return fail(error, errno == EPERM || errno == EACCES ? EX_NOPERM : EX_UNAVAILABLE,
		            "this kernel offers no netfilter netlink socket");
	return events_join(events, group, error);
}

struct events *
events_open(unsigned group, size_t buffer, GError **error)
{
	struct events *events = calloc(1, sizeof *events);

	if (!events) {
		g_set_error(error, PEERFLOW_ERROR, EX_OSERR, "out of memory: %zu octets to receive events", sizeof *events);
		return NULL;
	}
	prepare_batch(events);
	if (!subscribe(events, group, error)) {
		events_close(events);
		return NULL;
	}
	events_set_buffer(events, buffer);
	return events;
}

void
events_close(struct events *events)
{
	if (!events)
		return;
	if (events->fd >= 0)
		close(events->fd);
	free(events);
}

int
events_fd(const struct events *events)
{
	return events->fd;
}

static void
handle_datagram(struct events *events, unsigned i, events_message *handle, void *data, uint64_t *truncated)
{
	const struct mmsghdr *header = &events->header[i];
	size_t left = header->msg_len;
	const uint8_t *at = events->octets[i];

	if (header->msg_hdr.msg_flags & MSG_TRUNC) {
		++*truncated;
		return;
	}
	while (left >= sizeof(struct nlmsghdr)) {
		const struct nlmsghdr *message = (const struct nlmsghdr *)at;
		handle(message, left, data);
		/* Before it is rounded up, which turns the largest lengths into nothing. */
		if (message->nlmsg_len < sizeof *message || message->nlmsg_len >= left)
			break;
		const size_t whole = MIN(NLMSG_ALIGN(message->nlmsg_len), left);
		at += whole;
		left -= whole;
	}
}

enum events_state
events_drain(struct events *events, size_t budget, events_message *handle, void *data, uint64_t *received,
             uint64_t *truncated)
{
	for (size_t done = 0; done < budget;) {
		int n = recvmmsg(events->fd, events->header, BATCH, MSG_DONTWAIT, NULL);
		if (n < 0 && errno == ENOBUFS)
			return EVENTS_OVERRUN;
		if (n <= 0)
			return EVENTS_EMPTY;
		for (int i = 0; i < n; i++)
			handle_datagram(events, i, handle, data, truncated);
		done += n;
		*received += n;
		/* A short batch means an empty queue: another call would only be told so. */
		if (n < BATCH)
			return EVENTS_EMPTY;
	}
	return EVENTS_MORE;
}
