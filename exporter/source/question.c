/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "source/question.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "error.h"
#include "source/netlink.h"

enum {
	DATAGRAM_MOST = 32768,      /* the kernel fills no more than this at a time */
	PATIENCE = 2,               /* seconds */
};

struct walk {
	int fd;
	uint32_t sequence;
	uint8_t octets[DATAGRAM_MOST] __attribute__((aligned(NLMSG_ALIGNTO)));
};

/* Sends a dump request of the ctnetlink subsystem. */
static bool
ask(int fd, unsigned question, uint32_t sequence)
{
	char octets[NLMSG_HDRLEN + NLMSG_ALIGN(sizeof(struct nfgenmsg))] = { 0 };
	struct nlmsghdr *message = mnl_nlmsg_put_header(octets);

	message->nlmsg_type = NFNL_SUBSYS_CTNETLINK << 8 | question;
	message->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	message->nlmsg_seq = sequence;
	mnl_nlmsg_put_extra_header(message, sizeof(struct nfgenmsg));
	return send(fd, message, message->nlmsg_len, 0) == (ssize_t)message->nlmsg_len;
}

struct walk *
walk_open(GError **error)
{
	struct walk *walk = calloc(1, sizeof *walk);

	if (walk) {
		walk->fd = netlink_open(NETLINK_NETFILTER, PATIENCE);
		walk->sequence = 1;
		if (walk->fd >= 0 && ask(walk->fd, IPCTNL_MSG_CT_GET, walk->sequence))
			return walk;
	}
	g_set_error(error, PEERFLOW_ERROR, EX_OSERR, "cannot ask the kernel for its connection tracking table: %s",
	            g_strerror(errno));
	walk_close(walk);
	return NULL;
}

void
walk_close(struct walk *walk)
{
	if (!walk)
		return;
	if (walk->fd >= 0)
		close(walk->fd);
	free(walk);
}

/* The verdict of an NLMSG_DONE or NLMSG_ERROR message. */
static enum walk_state
last_word(const struct nlmsghdr *message, size_t left)
{
	int verdict = 0;

	if (left >= NLMSG_HDRLEN + sizeof verdict)
		memcpy(&verdict, (const uint8_t *)message + NLMSG_HDRLEN, sizeof verdict);
	/* The least of all numbers has no positive counterpart. */
	errno = verdict < 0 ? -(verdict + 1) + 1u : 0;
	return verdict < 0 ? WALK_FAILED : WALK_DONE;
}

enum walk_state
walk_step(struct walk *walk, walk_entry *entry, void *data)
{
	ssize_t n = recv(walk->fd, walk->octets, sizeof walk->octets, 0);
	size_t left = n;

	if (n < 0)
		return errno == EINTR ? WALK_GOES_ON : WALK_FAILED;
	for (const uint8_t *at = walk->octets; left >= sizeof(struct nlmsghdr);) {
		const struct nlmsghdr *message = (const struct nlmsghdr *)at;
		if (message->nlmsg_type == NLMSG_DONE || message->nlmsg_type == NLMSG_ERROR)
			return last_word(message, left);
		if (message->nlmsg_seq == walk->sequence)
			entry(message, left, data);
		/* Before it is rounded up, which turns the largest lengths into nothing. */
		if (message->nlmsg_len < sizeof *message || message->nlmsg_len >= left)
			break;
		const size_t whole = MIN(NLMSG_ALIGN(message->nlmsg_len), left);
		at += whole;
		left -= whole;
	}
	return WALK_GOES_ON;
}
