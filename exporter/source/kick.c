/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "source/kick.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "source/netlink.h"

enum { PATIENCE = 1 };      /* seconds; behind a flush it takes as long, and a flush does what a kick does */

int
kick_open(void)
{
	return netlink_open(NETLINK_NETFILTER, PATIENCE);
}

static void
put_tuple(struct nlmsghdr *message, uint16_t type, const uint8_t from[4], const uint8_t to[4])
{
	struct nlattr *tuple = mnl_attr_nest_start(message, type);
	struct nlattr *addresses = mnl_attr_nest_start(message, CTA_TUPLE_IP);

	mnl_attr_put(message, CTA_IP_V4_SRC, 4, from);
	mnl_attr_put(message, CTA_IP_V4_DST, 4, to);
	mnl_attr_nest_end(message, addresses);
	struct nlattr *protocol = mnl_attr_nest_start(message, CTA_TUPLE_PROTO);
	mnl_attr_put_u8(message, CTA_PROTO_NUM, KICK_PROTOCOL);
	mnl_attr_nest_end(message, protocol);
	mnl_attr_nest_end(message, tuple);
}

/* The kernel's verdict; an error if it says nothing. */
static int
await_verdict(int fd, uint32_t sequence)
{
	char octets[1024] __attribute__((aligned(NLMSG_ALIGNTO)));
	ssize_t n;

	while ((n = recv(fd, octets, sizeof octets, 0)) > 0 || (n < 0 && errno == EINTR)) {
		const struct nlmsghdr *message = (const struct nlmsghdr *)octets;
		const struct nlmsgerr *verdict = mnl_nlmsg_get_payload(message);
		if (n >= (ssize_t)(NLMSG_HDRLEN + sizeof *verdict) && message->nlmsg_type == NLMSG_ERROR
		    && message->nlmsg_seq == sequence)
			return verdict->error;
	}
	return -EAGAIN;
}

static int
ask(int fd, unsigned what, unsigned flags, uint32_t sequence)
{
	char octets[512] __attribute__((aligned(NLMSG_ALIGNTO))) = { 0 };
	struct nlmsghdr *message = mnl_nlmsg_put_header(octets);

	message->nlmsg_type = NFNL_SUBSYS_CTNETLINK << 8 | what;
	message->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
	message->nlmsg_seq = sequence;
	struct nfgenmsg *family = mnl_nlmsg_put_extra_header(message, sizeof *family);
	family->nfgen_family = AF_INET;
	put_tuple(message, CTA_TUPLE_ORIG, kick_source, kick_destination);
	if (what == IPCTNL_MSG_CT_NEW) {
		put_tuple(message, CTA_TUPLE_REPLY, kick_destination, kick_source);
		mnl_attr_put_u32(message, CTA_TIMEOUT, htonl(1));
		mnl_attr_put_u32(message, CTA_STATUS, htonl(IPS_CONFIRMED));
	}
	if (send(fd, message, message->nlmsg_len, 0) != (ssize_t)message->nlmsg_len)
		return -errno;
	return await_verdict(fd, sequence);
}

bool
kick(int fd)
{
	static uint32_t sequence;
	const int made = ask(fd, IPCTNL_MSG_CT_NEW, NLM_F_CREATE | NLM_F_EXCL, ++sequence);

	return (made == 0 || made == -EEXIST) && ask(fd, IPCTNL_MSG_CT_DELETE, 0, ++sequence) == 0;
}
