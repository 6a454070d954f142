/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "source/signs.h"

#include <errno.h>
#include <glib.h>
#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "source/netlink.h"

enum {
	DATAGRAM_MOST = 32768,
	PATIENCE = 1,               /* seconds */
};

/* Reading. */

static bool
is_text(const struct nlattr *attribute, const char *text)
{
	return mnl_attr_validate(attribute, MNL_TYPE_NUL_STRING) == 0 && strcmp(mnl_attr_get_str(attribute), text) == 0;
}

static bool
begins_with(const struct nlattr *attribute, const char *text)
{
	return mnl_attr_validate(attribute, MNL_TYPE_NUL_STRING) == 0
		&& strncmp(mnl_attr_get_str(attribute), text, strlen(text)) == 0;
}

static enum mesh_link
kind_of(const struct nlattr *info)
{
	const struct nlattr *one;

	mnl_attr_for_each_nested(one, info) {
		if (mnl_attr_get_type(one) != IFLA_INFO_KIND)
			continue;
		if (is_text(one, "wireguard"))
			return MESH_LINK_WIREGUARD;
		if (is_text(one, "tun"))
			return MESH_LINK_TUN;
	}
	return MESH_LINK_OTHER;
}

enum mesh_link
signs_link(const struct nlmsghdr *message)
{
	const struct nlattr *attribute;

	if (mnl_nlmsg_get_payload_len(message) < sizeof(struct ifinfomsg))
		return MESH_LINK_OTHER;
	mnl_attr_for_each(attribute, message, sizeof(struct ifinfomsg))
		if (mnl_attr_get_type(attribute) == IFLA_LINKINFO)
			return kind_of(attribute);
	return MESH_LINK_OTHER;
}

bool
signs_chain(const struct nlmsghdr *message)
{
	const struct nlattr *attribute;

	if (mnl_nlmsg_get_payload_len(message) < sizeof(struct nfgenmsg))
		return false;
	mnl_attr_for_each(attribute, message, sizeof(struct nfgenmsg)) {
		const unsigned type = mnl_attr_get_type(attribute);
		if (type == NFTA_CHAIN_TABLE && is_text(attribute, "netbird"))
			return true;
		if (type == NFTA_CHAIN_NAME && begins_with(attribute, "NETBIRD-"))
			return true;
	}
	return false;
}

/* Asking. */

static int
on_link(const struct nlmsghdr *message, void *data)
{
	*(enum mesh_link *)data = signs_link(message);
	return MNL_CB_STOP;
}

static int
on_chain(const struct nlmsghdr *message, void *data)
{
	*(bool *)data |= signs_chain(message);
	return MNL_CB_OK;
}

/* Sends the question and takes the whole answer. False with errno. */
static bool
ask(int protocol, struct nlmsghdr *question, mnl_cb_t answer, void *data)
{
	uint8_t octets[DATAGRAM_MOST] __attribute__((aligned(NLMSG_ALIGNTO)));
	int fd = netlink_open(protocol, PATIENCE), more = MNL_CB_ERROR;

	if (fd < 0)
		return false;
	question->nlmsg_seq = 1;
	if (send(fd, question, question->nlmsg_len, 0) >= 0) {
		do {
			const ssize_t n = recv(fd, octets, sizeof octets, 0);
			more = n < 0 ? MNL_CB_ERROR : mnl_cb_run(octets, n, 1, 0, answer, data);
		} while (more == MNL_CB_OK);
	}
	const int number = errno;
	close(fd);
	errno = number;
	return more == MNL_CB_STOP;
}

enum mesh_link
signs_find_link(const char *interface)
{
	uint8_t octets[256] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct nlmsghdr *message = mnl_nlmsg_put_header(octets);
	enum mesh_link link = MESH_LINK_NONE;

	message->nlmsg_type = RTM_GETLINK;
	message->nlmsg_flags = NLM_F_REQUEST;
	mnl_nlmsg_put_extra_header(message, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(message, IFLA_IFNAME, interface);
	ask(NETLINK_ROUTE, message, on_link, &link);
	return link;
}

/* The tables of old iptables that are in use; asking for their chains would load the others. */
static bool
has_old_iptables(void)
{
	static const char *const paths[] = { "/proc/net/ip_tables_names", "/proc/net/ip6_tables_names" };
	bool found = false;

	for (unsigned i = 0; i < G_N_ELEMENTS(paths); i++) {
		g_autofree char *tables = NULL;
		found |= g_file_get_contents(paths[i], &tables, NULL, NULL) && strstr(tables, "mangle");
	}
	return found;
}

static enum mesh_answer
find_rules(void)
{
	uint8_t octets[256] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct nlmsghdr *message = mnl_nlmsg_put_header(octets);
	struct nfgenmsg *header = mnl_nlmsg_put_extra_header(message, sizeof *header);
	bool found = false;

	message->nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETCHAIN;
	message->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	header->nfgen_family = AF_UNSPEC;
	if (ask(NETLINK_NETFILTER, message, on_chain, &found))
		return found ? MESH_YES : has_old_iptables() ? MESH_UNKNOWN : MESH_NO;
	/* EINVAL: nobody has used nftables since the kernel was started, or it has none. EINTR: chains changed meanwhile. */
	if (errno == EINVAL || errno == EOPNOTSUPP)
		return has_old_iptables() ? MESH_UNKNOWN : MESH_NO;
	return found ? MESH_YES : MESH_UNKNOWN;
}

void
signs_read(const char *interface, struct mesh_signs *signs)
{
	signs->link = signs_find_link(interface);
	signs->rules = find_rules();
}
