/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Whatever a netlink socket delivers: the walk over a datagram of events and over one of a dump, the reading of each
 * message, and what is made of a flow. The kernel's part is played below. */

#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "source/entry.h"
#include "source/events.h"
#include "source/filter.h"
#include "source/labels.h"
#include "source/question.h"
#include "source/settle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct {
	const uint8_t *octets;
	size_t size;
	bool given;
} datagram;

int
recvmmsg(int fd, struct mmsghdr *header, unsigned n, int flags, struct timespec *timeout)
{
	const struct iovec *vector = header->msg_hdr.msg_iov;
	const size_t size = datagram.size < vector->iov_len ? datagram.size : vector->iov_len;
	(void)fd, (void)n, (void)flags, (void)timeout;

	if (datagram.given) {
		errno = EAGAIN;
		return -1;
	}
	datagram.given = true;
	memcpy(vector->iov_base, datagram.octets, size);
	header->msg_len = size;
	header->msg_hdr.msg_flags = datagram.size > vector->iov_len ? MSG_TRUNC : 0;
	return 1;
}

ssize_t
recv(int fd, void *octets, size_t room, int flags)
{
	const size_t size = datagram.size < room ? datagram.size : room;
	(void)fd, (void)flags;

	memcpy(octets, datagram.octets, size);
	return size;
}

ssize_t
send(int fd, const void *octets, size_t size, int flags)
{
	(void)fd, (void)octets, (void)flags;
	return size;
}

int
setsockopt(int fd, int level, int option, const void *value, socklen_t size)
{
	(void)fd, (void)level, (void)option, (void)value, (void)size;
	return 0;
}

static struct {
	struct events *events;
	struct walk *walk;
	struct labels *labels;
	struct timeouts timeouts;
} fuzzed;

static void
check(bool good)
{
	if (!good)
		abort();
}

static void
open_all(void)
{
	if (fuzzed.labels)
		return;
	fuzzed.events = events_open(NFNLGRP_CONNTRACK_DESTROY, 0, NULL, NULL);
	fuzzed.walk = walk_open(NULL);
	check(fuzzed.walk && walk_begin(fuzzed.walk, WALK_LIVING));
	fuzzed.labels = labels_new(64);
	timeouts_read(&fuzzed.timeouts);
	check(fuzzed.events && fuzzed.walk && fuzzed.labels);
}

/* All that a flow can be asked for, of octets nobody vouches for. */
static void
use(struct flow *flow, const struct entry_times *times, bool ended)
{
	static const struct source_prefix ignore[] = { { .family = 4, .length = 9 }, { .family = 6, .length = 65 } };
	static const struct source_mark mark[] = { { 1, 3 } };
	const struct source_filter filter = { .ignore = ignore, .n_ignore = 2, .mark = mark, .n_mark = 1 };

	check(flow->family == 4 || flow->family == 6);
	check(!times->start == !!(flow->gaps & GAP_NO_START));
	filter_passes(&filter, flow);
	if (!ended) {
		labels_keep(fuzzed.labels, flow);
		flow_look(flow, times, 1753000000000000000);
		check(flow->start <= flow->end && !flow->stop);
		return;
	}
	flow_settle(flow, times, &fuzzed.timeouts, 1753000000000000000, flow->mark & 1);
	labels_take(fuzzed.labels, flow);
	check(flow->start <= flow->end && flow->end <= flow->stop && flow->end_reason);
}

static void
handle(const struct nlmsghdr *message, size_t available, void *data)
{
	/* Of the exact size, so that the sanitizer sees a read past its end. */
	struct nlmsghdr *copy = malloc(available);
	struct entry_times times;
	struct flow flow;
	unsigned *messages = data;

	memcpy(copy, message, available);
	const enum entry_message what = entry_read(copy, available, &flow, &times);
	if (what == ENTRY_NEW || what == ENTRY_DELETED)
		use(&flow, &times, what == ENTRY_DELETED);
	free(copy);
	++*messages;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct events_handler handler = { .message = handle };
	static uint32_t walked[WALK_DATAGRAM_MOST / sizeof(uint32_t)];
	uint64_t received = 0, truncated = 0;
	unsigned messages = 0;

	open_all();
	datagram.octets = data;
	datagram.size = size;
	datagram.given = false;
	events_drain(fuzzed.events, 64, &handler, &messages, &received, &truncated);
	check(received == 1 && truncated <= 1);
	events_replay(fuzzed.events, &handler, &messages, &received, &truncated);
	walk_read(fuzzed.walk, walked, walk_receive(fuzzed.walk, walked), handle, &messages);
	/* Each message has a header at least. */
	check(messages <= 3 * (size / sizeof(struct nlmsghdr)));
	return 0;
}
