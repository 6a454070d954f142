/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "source/wireguard.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/genetlink.h>
#include <linux/wireguard.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "error.h"
#include "source/netlink.h"
#include "source/signs.h"

enum {
	DATAGRAM_MOST = 32768,
	PATIENCE = 2,               /* seconds */
};

/* One question and what is made of its answer. */
struct question {
	int fd;
	uint32_t sequence;
	uint16_t family;            /* of WireGuard's messages; zero: not known */
	GArray *prefixes;
	uint8_t octets[DATAGRAM_MOST] __attribute__((aligned(NLMSG_ALIGNTO)));
};

/* Reading. */

static bool
has_size(const struct nlattr *attribute, size_t size)
{
	return mnl_attr_get_payload_len(attribute) == size;
}

static void
read_allowed(const struct nlattr *allowed, const uint8_t *key, GArray *prefixes)
{
	const struct nlattr *address = NULL, *length = NULL, *one;
	struct tunnel_prefix prefix = { .family = 4 };

	mnl_attr_for_each_nested(one, allowed) {
		if (mnl_attr_get_type(one) == WGALLOWEDIP_A_IPADDR)
			address = one;
		if (mnl_attr_get_type(one) == WGALLOWEDIP_A_CIDR_MASK && has_size(one, 1))
			length = one;
	}
	if (!address || !length || !(has_size(address, 4) || has_size(address, 16)))
		return;
	prefix.family = has_size(address, 4) ? 4 : 6;
	prefix.length = mnl_attr_get_u8(length);
	if (prefix.length > (prefix.family == 4 ? 32 : 128))
		return;
	memcpy(&prefix.address, mnl_attr_get_payload(address), mnl_attr_get_payload_len(address));
	memcpy(prefix.key, key, sizeof prefix.key);
	tunnel_prefix_cut(&prefix);
	g_array_append_val(prefixes, prefix);
}

/* A peer with more addresses than one message holds goes on in the next, where its key stands again. */
static void
read_peer(const struct nlattr *peer, GArray *prefixes)
{
	const struct nlattr *all = NULL, *one;
	const uint8_t *key = NULL;

	mnl_attr_for_each_nested(one, peer) {
		if (mnl_attr_get_type(one) == WGPEER_A_PUBLIC_KEY && has_size(one, TUNNEL_KEY_OCTETS))
			key = mnl_attr_get_payload(one);
		if (mnl_attr_get_type(one) == WGPEER_A_ALLOWEDIPS)
			all = one;
	}
	if (!key || !all)
		return;
	mnl_attr_for_each_nested(one, all)
		read_allowed(one, key, prefixes);
}

void
wireguard_read(const struct nlmsghdr *message, GArray *prefixes)
{
	const struct nlattr *attribute, *peer;

	if (mnl_nlmsg_get_payload_len(message) < sizeof(struct genlmsghdr))
		return;
	mnl_attr_for_each(attribute, message, sizeof(struct genlmsghdr)) {
		if (mnl_attr_get_type(attribute) != WGDEVICE_A_PEERS)
			continue;
		mnl_attr_for_each_nested(peer, attribute)
			read_peer(peer, prefixes);
	}
}

/* Asking. */

static int
on_family(const struct nlmsghdr *message, void *data)
{
	struct question *question = data;
	const struct nlattr *attribute;

	mnl_attr_for_each(attribute, message, sizeof(struct genlmsghdr))
		if (mnl_attr_get_type(attribute) == CTRL_ATTR_FAMILY_ID && has_size(attribute, 2))
			question->family = mnl_attr_get_u16(attribute);
	return MNL_CB_OK;
}

static int
on_device(const struct nlmsghdr *message, void *data)
{
	struct question *question = data;

	wireguard_read(message, question->prefixes);
	return MNL_CB_OK;
}

/* Sends a message with one text and takes the whole answer. False with errno. */
static bool
ask(struct question *question, uint16_t type, uint16_t flags, uint8_t command, uint16_t attribute, const char *text,
    mnl_cb_t answer)
{
	struct nlmsghdr *message = mnl_nlmsg_put_header(question->octets);
	struct genlmsghdr *header = mnl_nlmsg_put_extra_header(message, sizeof *header);
	int more = MNL_CB_OK;

	message->nlmsg_type = type;
	message->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
	message->nlmsg_seq = ++question->sequence;
	header->cmd = command;
	header->version = 1;
	mnl_attr_put_strz(message, attribute, text);
	if (send(question->fd, message, message->nlmsg_len, 0) < 0)
		return false;
	while (more == MNL_CB_OK) {
		const ssize_t n = recv(question->fd, question->octets, sizeof question->octets, 0);
		if (n < 0)
			return false;
		more = mnl_cb_run(question->octets, n, question->sequence, 0, answer, question);
	}
	return more == MNL_CB_STOP;
}

static bool
find_family(struct question *question)
{
	return ask(question, GENL_ID_CTRL, 0, CTRL_CMD_GETFAMILY, CTRL_ATTR_FAMILY_NAME, WG_GENL_NAME, on_family);
}

static int
code_of(int number)
{
	const bool absent = number == ENOENT || number == ENODEV || number == EOPNOTSUPP;

	return absent ? EX_UNAVAILABLE : number == EPERM ? EX_NOPERM : EX_OSERR;
}

bool
wireguard_allowed(const char *interface, GArray *prefixes, GError **error)
{
	struct question question = { .fd = -1, .prefixes = prefixes };

	/* To ask a kernel that has no WireGuard would make it load the module. */
	if (signs_find_link(interface) != MESH_LINK_WIREGUARD) {
		g_set_error(error, PEERFLOW_ERROR, EX_UNAVAILABLE, "%s is not the kernel's WireGuard", interface);
		return false;
	}
	question.fd = netlink_open(NETLINK_GENERIC, PATIENCE);
	const bool good = question.fd >= 0 && find_family(&question)
		&& ask(&question, question.family, NLM_F_DUMP, WG_CMD_GET_DEVICE, WGDEVICE_A_IFNAME, interface, on_device);
	const int number = errno;
	if (question.fd >= 0)
		close(question.fd);
	/* The private key was in there. */
	explicit_bzero(question.octets, sizeof question.octets);
	if (!good)
		g_set_error(error, PEERFLOW_ERROR, code_of(number), "WireGuard of the kernel, interface %s: %s", interface,
		            g_strerror(number));
	return good;
}
