/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/tool.h"

/* What the kernel itself says of every IPv4 flow that ends, as a judge of what an exporter says: "truth FILE" writes a
 * row for each DESTROY message, and at the end, which is SIGTERM, a line of figures. It shares nothing with the exporter
 * but the kernel, and has a buffer that nothing fills. */

struct row {
	uint64_t start;             /* ns since 1970 */
	uint64_t packets;
	uint64_t octets;
	uint64_t reply_packets;
	uint64_t reply_octets;
	uint32_t id;
	uint32_t source;            /* of the original direction, host byte order like all the rest */
	uint32_t destination;
	uint16_t source_port;
	uint16_t destination_port;
	uint32_t protocol;
};

enum { BATCH = 64, MESSAGE = 1024 };

static volatile sig_atomic_t ended;

static void
end(int signal)
{
	(void)signal;
	ended = 1;
}

static int
subscribe(uint64_t buffer)
{
	struct sockaddr_nl self = { .nl_family = AF_NETLINK };
	int group = NFNLGRP_CONNTRACK_DESTROY, octets = (int)buffer;
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);

	if (fd < 0 || bind(fd, (struct sockaddr *)&self, sizeof self) < 0)
		err(EX_OSERR, "netfilter netlink socket");
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &octets, sizeof octets) < 0)
		err(EX_NOPERM, "receive buffer of %d octets", octets);
	if (setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group) < 0)
		err(EX_NOPERM, "group of DESTROY events");
	return fd;
}

static uint64_t
number(const struct nlattr *attribute)
{
	return be64toh(mnl_attr_get_u64(attribute));
}

static void
read_protocol(struct row *row, const struct nlattr *nest)
{
	const struct nlattr *attribute;

	mnl_attr_for_each_nested(attribute, nest)
		switch (mnl_attr_get_type(attribute)) {
		case CTA_PROTO_NUM: row->protocol = mnl_attr_get_u8(attribute); break;
		case CTA_PROTO_SRC_PORT: row->source_port = ntohs(mnl_attr_get_u16(attribute)); break;
		case CTA_PROTO_DST_PORT: row->destination_port = ntohs(mnl_attr_get_u16(attribute)); break;
		}
}

static void
read_addresses(struct row *row, const struct nlattr *nest)
{
	const struct nlattr *attribute;

	mnl_attr_for_each_nested(attribute, nest)
		switch (mnl_attr_get_type(attribute)) {
		case CTA_IP_V4_SRC: row->source = ntohl(mnl_attr_get_u32(attribute)); break;
		case CTA_IP_V4_DST: row->destination = ntohl(mnl_attr_get_u32(attribute)); break;
		}
}

static void
read_tuple(struct row *row, const struct nlattr *nest)
{
	const struct nlattr *attribute;

	mnl_attr_for_each_nested(attribute, nest)
		switch (mnl_attr_get_type(attribute)) {
		case CTA_TUPLE_IP: read_addresses(row, attribute); break;
		case CTA_TUPLE_PROTO: read_protocol(row, attribute); break;
		}
}

static void
read_counters(uint64_t *packets, uint64_t *octets, const struct nlattr *nest)
{
	const struct nlattr *attribute;

	mnl_attr_for_each_nested(attribute, nest)
		switch (mnl_attr_get_type(attribute)) {
		case CTA_COUNTERS_PACKETS: *packets = number(attribute); break;
		case CTA_COUNTERS_BYTES: *octets = number(attribute); break;
		}
}

static uint64_t
read_start(const struct nlattr *nest)
{
	const struct nlattr *attribute;

	mnl_attr_for_each_nested(attribute, nest)
		if (mnl_attr_get_type(attribute) == CTA_TIMESTAMP_START)
			return number(attribute);
	return 0;
}

static struct row
read_row(const struct nlmsghdr *message)
{
	const struct nlattr *attribute;
	struct row row = { 0 };

	mnl_attr_for_each(attribute, message, sizeof(struct nfgenmsg))
		switch (mnl_attr_get_type(attribute)) {
		case CTA_ID: row.id = ntohl(mnl_attr_get_u32(attribute)); break;
		case CTA_TUPLE_ORIG: read_tuple(&row, attribute); break;
		case CTA_COUNTERS_ORIG: read_counters(&row.packets, &row.octets, attribute); break;
		case CTA_COUNTERS_REPLY: read_counters(&row.reply_packets, &row.reply_octets, attribute); break;
		case CTA_TIMESTAMP: row.start = read_start(attribute); break;
		}
	return row;
}

/* Writes a row for each message that is there. Returns how many there were. */
static uint64_t
drain(int fd, FILE *file, uint64_t *overruns)
{
	static char octets[MESSAGE] __attribute__((aligned(NLMSG_ALIGNTO)));
	uint64_t rows = 0;
	ssize_t n;

	while ((n = recv(fd, octets, sizeof octets, MSG_DONTWAIT)) > 0 || errno == ENOBUFS || errno == EINTR) {
		if (n < 0) {
			*overruns += errno == ENOBUFS;
			continue;
		}
		const struct nlmsghdr *message = (const struct nlmsghdr *)octets;
		if ((message->nlmsg_type & 0xff) != IPCTNL_MSG_CT_DELETE)
			continue;
		const struct row row = read_row(message);
		if (fwrite(&row, sizeof row, 1, file) != 1)
			err(EX_IOERR, "row");
		rows++;
	}
	return rows;
}

static sigset_t
catch_ends(void)
{
	struct sigaction action = { .sa_handler = end };
	sigset_t ends, before;

	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigprocmask(SIG_BLOCK, &ends, &before);
	sigaction(SIGTERM, &action, NULL);
	return before;
}

int
main(int argc, char **argv)
{
	static uint64_t buffer = 1 << 30;
	static const struct tool_option options[] = {
		{ "--buffer", "OCTETS", take_number, &buffer, "receive buffer asked for (1 GiB)" },
	};
	uint64_t rows = 0, overruns = 0;

	if (read_options(argc, argv, "truth FILE [options]", options, 1) != 1)
		show_usage("truth FILE [options]", options, 1, EX_USAGE);
	FILE *file = fopen(argv[1], "w");
	if (!file)
		err(EX_CANTCREAT, "%s", argv[1]);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	sigset_t while_waiting = catch_ends();
	struct pollfd poll = { .fd = subscribe(buffer), .events = POLLIN };
	puts("ready");
	fflush(stdout);
	while (!ended) {
		if (ppoll(&poll, 1, NULL, &while_waiting) > 0 && usleep(20000) == 0)
			rows += drain(poll.fd, file, &overruns);
	}
	rows += drain(poll.fd, file, &overruns);
	printf("{\"rows\": %" PRIu64 ", \"overruns\": %" PRIu64 "}\n", rows, overruns);
	return fclose(file) ? EX_IOERR : EXIT_SUCCESS;
}
