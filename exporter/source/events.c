/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "source/events.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "error.h"
#include "source/netlink.h"

struct events {
	int fd;
	size_t buffer;
	struct source_memory *memory;
	bool own_memory;
	unsigned filled;            /* how many messages of the memory may have a length */
};

/* Points into memory that may lie elsewhere than in the process that used it before, and leaves what it received. */
static void
prepare_batch(struct source_memory *memory)
{
	for (unsigned i = 0; i < EVENTS_BATCH; i++) {
		memory->vector[i] = (struct iovec){ memory->octets[i], EVENTS_MESSAGE_MOST };
		memory->header[i].msg_hdr = (struct msghdr){ .msg_iov = &memory->vector[i], .msg_iovlen = 1,
		                                             .msg_flags = memory->header[i].msg_hdr.msg_flags };
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
take_over(struct events *events, int fd, unsigned group, GError **error)
{
	const int flags = fcntl(fd, F_GETFD);

	events->fd = fd;
	if (flags < 0 || fcntl(fd, F_SETFD, flags | FD_CLOEXEC) < 0)
		return fail(error, EX_OSERR, "the stored socket cannot be used");
	return events_join(events, group, error);
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

static struct events *
events_new(struct source_memory *memory, GError **error)
{
	struct events *events = g_new0(struct events, 1);

	events->fd = -1;
	events->own_memory = !memory;
	events->memory = memory ? memory : calloc(1, sizeof *memory);
	if (!events->memory) {
		g_set_error(error, PEERFLOW_ERROR, EX_OSERR, "out of memory: %zu octets to receive events", sizeof *memory);
		events_close(events);
		return NULL;
	}
	prepare_batch(events->memory);
	events->filled = EVENTS_BATCH;
	return events;
}

struct events *
events_open(unsigned group, size_t buffer, struct source_memory *memory, GError **error)
{
	struct events *events = events_new(memory, error);

	if (!events || !subscribe(events, group, error)) {
		events_close(events);
		return NULL;
	}
	events_set_buffer(events, buffer);
	return events;
}

struct events *
events_adopt(int fd, unsigned group, size_t buffer, struct source_memory *memory, GError **error)
{
	struct events *events = events_new(memory, error);

	if (!events)
		close(fd);
	if (!events || !take_over(events, fd, group, error)) {
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
	if (events->own_memory)
		free(events->memory);
	g_free(events);
}

struct source_memory *
events_memory(const struct events *events)
{
	return events->memory;
}

int
events_fd(const struct events *events)
{
	return events->fd;
}

static void
handle_datagram(const struct source_memory *memory, unsigned i, const struct events_handler *handler, void *data,
                uint64_t *truncated)
{
	const struct mmsghdr *header = &memory->header[i];
	size_t left = MIN(header->msg_len, EVENTS_MESSAGE_MOST);
	const uint8_t *at = memory->octets[i];

	if (header->msg_hdr.msg_flags & MSG_TRUNC) {
		++*truncated;
		return;
	}
	while (left >= sizeof(struct nlmsghdr)) {
		const struct nlmsghdr *message = (const struct nlmsghdr *)at;
		handler->message(message, left, data);
		/* Before it is rounded up, which turns the largest lengths into nothing. */
		if (message->nlmsg_len < sizeof *message || message->nlmsg_len >= left)
			break;
		const size_t whole = MIN(NLMSG_ALIGN(message->nlmsg_len), left);
		at += whole;
		left -= whole;
	}
}

static void
handle_batch(struct events *events, unsigned n, const struct events_handler *handler, void *data, uint64_t *truncated)
{
	for (unsigned i = 0; i < n; i++)
		handle_datagram(events->memory, i, handler, data, truncated);
	if (handler->batch)
		handler->batch(events->memory->batch, data);
}

/* The number changes after the old lengths are gone and before new ones come: whoever finds the memory never takes one
 * batch for another. A batch that did not come about leaves its number to the next. */
static int
receive_batch(struct events *events)
{
	struct source_memory *memory = events->memory;

	for (unsigned i = 0; i < events->filled; i++)
		memory->header[i].msg_len = 0;
	__atomic_store_n(&memory->batch, memory->batch + 1, __ATOMIC_RELEASE);
	int n = recvmmsg(events->fd, memory->header, EVENTS_BATCH, MSG_DONTWAIT, NULL);
	events->filled = MAX(n, 0);
	if (n <= 0)
		__atomic_store_n(&memory->batch, memory->batch - 1, __ATOMIC_RELEASE);
	return n;
}

enum events_state
events_drain(struct events *events, size_t budget, const struct events_handler *handler, void *data, uint64_t *received,
             uint64_t *truncated)
{
	for (size_t done = 0; done < budget;) {
		int n = receive_batch(events);
		if (n < 0 && errno == ENOBUFS)
			return EVENTS_OVERRUN;
		if (n <= 0)
			return EVENTS_EMPTY;
		*received += n;
		done += n;
		handle_batch(events, n, handler, data, truncated);
		/* A short batch means an empty queue: another call would only be told so. */
		if (n < EVENTS_BATCH)
			return EVENTS_EMPTY;
	}
	return EVENTS_MORE;
}

void
events_replay(struct events *events, const struct events_handler *handler, void *data, uint64_t *received,
              uint64_t *truncated)
{
	unsigned n = 0;

	while (n < EVENTS_BATCH && events->memory->header[n].msg_len)
		n++;
	*received += n;
	handle_batch(events, n, handler, data, truncated);
}
