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

enum { PATIENCE = 2 };      /* seconds */

struct walk {
	int fd;
	uint32_t sequence;
};

struct walk *
walk_open(GError **error)
{
	struct walk *walk = g_new0(struct walk, 1);

	walk->fd = netlink_open(NETLINK_NETFILTER, PATIENCE);
	if (walk->fd >= 0)
		return walk;
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
	g_free(walk);
}

/* What is left of a walk that was given up would be mistaken for nothing, having another sequence number; but the
 * kernel takes no new question before the old one's answer has been read. */
bool
walk_begin(struct walk *walk, enum walk_table table)
{
	static const unsigned questions[] = { [WALK_LIVING] = IPCTNL_MSG_CT_GET, [WALK_DYING] = IPCTNL_MSG_CT_GET_DYING };
	char octets[NLMSG_HDRLEN + NLMSG_ALIGN(sizeof(struct nfgenmsg))] = { 0 };
	struct nlmsghdr *message = mnl_nlmsg_put_header(octets);

	message->nlmsg_type = NFNL_SUBSYS_CTNETLINK << 8 | questions[table];
	message->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	message->nlmsg_seq = ++walk->sequence;
	mnl_nlmsg_put_extra_header(message, sizeof(struct nfgenmsg));
	return send(walk->fd, message, message->nlmsg_len, 0) == (ssize_t)message->nlmsg_len;
}

ssize_t
walk_receive(struct walk *walk, void *octets)
{
	ssize_t n;

	do
		n = recv(walk->fd, octets, WALK_DATAGRAM_MOST, 0);
	while (n < 0 && errno == EINTR);
	return n;
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
walk_read(const struct walk *walk, const void *octets, size_t length, walk_entry *entry, void *data)
{
	size_t left = length;

	for (const uint8_t *at = octets; left >= sizeof(struct nlmsghdr);) {
		const struct nlmsghdr *message = (const struct nlmsghdr *)at;
		if (message->nlmsg_type == NLMSG_DONE || message->nlmsg_type == NLMSG_ERROR)
			return last_word(message, left);
		if (entry && message->nlmsg_seq == walk->sequence)
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
