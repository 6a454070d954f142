/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_conntrack_tcp.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "bench/tool.h"

/* Writes entries into the kernel's connection tracking and deletes them again, many a system call and without asking
 * for an answer, so that DESTROY events come faster than packets could ever make them. A window of entries is made
 * first; from then on each batch deletes the oldest ones, at the pace asked for, and makes as many new ones half a step
 * later, since flows begin and end independently of each other. A window as large as the count thus gives a flood of
 * nothing but DESTROY; a window of one batch gives a small table.
 *
 * Flow n is SOURCE_NET + low bits of n, port 1024 + n % 32768 to TARGET_NET + n / 32768, port 53: no two flows share
 * translated tuples, so the kernel keeps each port and never searches for a free one.
 *
 * The kernel stamps events of these entries with this program's port id; a listener that looks up the process for
 * each event (conntrack -E does, in /proc) shows that cost here, and not with packets. */

enum { PORTS = 32768, MESSAGE = 512, MAX_BATCH = 1024 };

struct generator {
	uint64_t count;
	uint64_t rate;              /* flows deleted a second, zero for no pace */
	uint64_t batch;
	uint64_t window;
	uint64_t timeout;           /* seconds an entry would live if nobody deleted it */
	uint8_t protocol;
	bool tcp;
	bool ipv6;
	bool source_nat;
	bool target_nat;
	bool keep;
	bool flush;

	int fd;
	char *buffer;               /* batch * MESSAGE octets */
	uint64_t failed[2];         /* of making, of deleting */
};

enum { MAKING, DELETING };

struct tuple {
	struct in6_addr source;     /* an IPv4 address is in the first word */
	struct in6_addr target;
	uint16_t source_port;
	uint16_t target_port;
};

static struct in6_addr
address(const struct generator *gen, uint32_t ipv4, uint64_t host)
{
	struct in6_addr result = { 0 };
	uint32_t last = htonl((gen->ipv6 ? 1 : ipv4) + (uint32_t)host);

	if (!gen->ipv6) {
		memcpy(&result, &last, sizeof last);
		return result;
	}
	/* The ULA prefix carries the IPv4 network's number, so that the two families read alike in a listing. */
	uint32_t net = htonl(ipv4);
	result.s6_addr[0] = 0xfd;
	memcpy(&result.s6_addr[4], &net, sizeof net);
	memcpy(&result.s6_addr[12], &last, sizeof last);
	return result;
}

static struct tuple
flow_tuple(const struct generator *gen, uint64_t n)
{
	return (struct tuple){
		.source = address(gen, 0x0a800001, n % 1000),              /* 10.128.0.1 and following */
		.target = address(gen, 0xc6120001, n / PORTS),             /* 198.18.0.1 and following */
		.source_port = (uint16_t)(1024 + n % PORTS),
		.target_port = 53,
	};
}

static void
put_address(struct nlmsghdr *message, const struct generator *gen, uint16_t attribute, const struct in6_addr *octets)
{
	mnl_attr_put(message, attribute, gen->ipv6 ? sizeof *octets : sizeof(struct in_addr), octets);
}

static void
put_tuple(struct nlmsghdr *message, const struct generator *gen, uint16_t attribute, const struct tuple *tuple)
{
	struct nlattr *outer = mnl_attr_nest_start(message, attribute);
	struct nlattr *inner = mnl_attr_nest_start(message, CTA_TUPLE_IP);

	put_address(message, gen, gen->ipv6 ? CTA_IP_V6_SRC : CTA_IP_V4_SRC, &tuple->source);
	put_address(message, gen, gen->ipv6 ? CTA_IP_V6_DST : CTA_IP_V4_DST, &tuple->target);
	mnl_attr_nest_end(message, inner);
	inner = mnl_attr_nest_start(message, CTA_TUPLE_PROTO);
	mnl_attr_put_u8(message, CTA_PROTO_NUM, gen->protocol);
	mnl_attr_put_u16(message, CTA_PROTO_SRC_PORT, htons(tuple->source_port));
	mnl_attr_put_u16(message, CTA_PROTO_DST_PORT, htons(tuple->target_port));
	mnl_attr_nest_end(message, inner);
	mnl_attr_nest_end(message, outer);
}

static void
put_translation(struct nlmsghdr *message, const struct generator *gen, uint16_t attribute, struct in6_addr to,
                uint16_t port)
{
	struct nlattr *outer = mnl_attr_nest_start(message, attribute);

	put_address(message, gen, gen->ipv6 ? CTA_NAT_V6_MINIP : CTA_NAT_V4_MINIP, &to);
	struct nlattr *inner = mnl_attr_nest_start(message, CTA_NAT_PROTO);
	mnl_attr_put_u16(message, CTA_PROTONAT_PORT_MIN, htons(port));
	mnl_attr_nest_end(message, inner);
	mnl_attr_nest_end(message, outer);
}

static void
put_tcp_state(struct nlmsghdr *message)
{
	struct nlattr *outer = mnl_attr_nest_start(message, CTA_PROTOINFO);
	struct nlattr *inner = mnl_attr_nest_start(message, CTA_PROTOINFO_TCP);

	mnl_attr_put_u8(message, CTA_PROTOINFO_TCP_STATE, TCP_CONNTRACK_ESTABLISHED);
	mnl_attr_nest_end(message, inner);
	mnl_attr_nest_end(message, outer);
}

static struct nlmsghdr *
start_message(const struct generator *gen, char *at, uint16_t type, uint16_t flags)
{
	struct nlmsghdr *message = mnl_nlmsg_put_header(at);

	message->nlmsg_type = NFNL_SUBSYS_CTNETLINK << 8 | type;
	message->nlmsg_flags = NLM_F_REQUEST | flags;
	struct nfgenmsg *family = mnl_nlmsg_put_extra_header(message, sizeof *family);
	family->nfgen_family = gen->ipv6 ? AF_INET6 : AF_INET;
	family->version = NFNETLINK_V0;
	return message;
}

static size_t
write_making(const struct generator *gen, uint64_t n, char *at)
{
	struct nlmsghdr *message = start_message(gen, at, IPCTNL_MSG_CT_NEW, NLM_F_CREATE | NLM_F_EXCL);
	struct tuple original = flow_tuple(gen, n);
	struct tuple reply = { original.target, original.source, original.target_port, original.source_port };

	put_tuple(message, gen, CTA_TUPLE_ORIG, &original);
	put_tuple(message, gen, CTA_TUPLE_REPLY, &reply);
	mnl_attr_put_u32(message, CTA_STATUS, htonl(IPS_CONFIRMED | IPS_SEEN_REPLY | IPS_ASSURED));
	mnl_attr_put_u32(message, CTA_TIMEOUT, htonl((uint32_t)gen->timeout));
	if (gen->tcp)
		put_tcp_state(message);
	if (gen->source_nat)                                               /* 203.0.113.1, the same port */
		put_translation(message, gen, CTA_NAT_SRC, address(gen, 0xcb007101, 0), original.source_port);
	if (gen->target_nat)                                               /* 10.200.0.1 and following */
		put_translation(message, gen, CTA_NAT_DST, address(gen, 0x0ac80001, n / PORTS), 5353);
	return MNL_ALIGN(message->nlmsg_len);
}

static size_t
write_deleting(const struct generator *gen, uint64_t n, char *at)
{
	struct nlmsghdr *message = start_message(gen, at, IPCTNL_MSG_CT_DELETE, 0);
	struct tuple original = flow_tuple(gen, n);

	put_tuple(message, gen, CTA_TUPLE_ORIG, &original);
	return MNL_ALIGN(message->nlmsg_len);
}

/* Only failures are answered, because no message asks for an acknowledgement. */
static void
count_failures(struct generator *gen)
{
	char answer[8192];

	for (;;) {
		ssize_t octets = recv(gen->fd, answer, sizeof answer, MSG_DONTWAIT);
		if (octets < 0 && errno == ENOBUFS)
			errx(EX_SOFTWARE, "more failures than could be counted");
		if (octets < 0)
			return;
		const struct nlmsghdr *message = (const struct nlmsghdr *)answer;
		const struct nlmsgerr *failure = mnl_nlmsg_get_payload(message);
		if (!mnl_nlmsg_ok(message, (int)octets) || message->nlmsg_type != NLMSG_ERROR)
			continue;
		if (!gen->failed[MAKING] && !gen->failed[DELETING])
			warnx("first failure: %s", strerror(-failure->error));
		gen->failed[(failure->msg.nlmsg_type & 0xff) == IPCTNL_MSG_CT_DELETE ? DELETING : MAKING]++;
	}
}

static void
send_batch(struct generator *gen, uint64_t first, uint64_t end,
           size_t (*write)(const struct generator *, uint64_t, char *))
{
	size_t octets = 0;

	for (uint64_t n = first; n < end; n++)
		octets += write(gen, n, gen->buffer + octets);
	if (octets && send(gen->fd, gen->buffer, octets, 0) < 0)
		err(EX_OSERR, "sending %zu octets of entries", octets);
	count_failures(gen);
}

static void
wait_for_turn(const struct generator *gen, uint64_t began, double n)
{
	if (!gen->rate)
		return;
	uint64_t due = began + (uint64_t)(n / (double)gen->rate * (double)SECOND);
	struct timespec until = { (time_t)(due / SECOND), (long)(due % SECOND) };
	if (due > now_ns())
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

static uint64_t
least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* One request without a tuple deletes all entries of the family, as fast as the kernel can. */
static void
flush_entries(struct generator *gen)
{
	struct nlmsghdr *message = start_message(gen, gen->buffer, IPCTNL_MSG_CT_DELETE, 0);

	if (send(gen->fd, message, message->nlmsg_len, 0) < 0)
		err(EX_OSERR, "flushing all entries");
	count_failures(gen);
}

/* Returns the number of entries made. */
static uint64_t
fill_window(struct generator *gen)
{
	uint64_t made = 0, goal = least(gen->window, gen->count);

	for (uint64_t end; made < goal; made = end) {
		end = least(made + gen->batch, goal);
		send_batch(gen, made, end, write_making);
	}
	return made;
}

static void
replace_window(struct generator *gen, uint64_t made)
{
	uint64_t began = now_ns();

	for (uint64_t n = 0, end; n < gen->count; n = end) {
		end = least(n + gen->batch, gen->count);
		wait_for_turn(gen, began, (double)n);
		send_batch(gen, n, end, write_deleting);
		uint64_t goal = least(end + gen->window, gen->count);
		if (goal == made)
			continue;
		wait_for_turn(gen, began, (double)(n + end) / 2);
		send_batch(gen, made, goal, write_making);
		made = goal;
	}
}

/* Returns the nanoseconds from the first deletion to the last. */
static uint64_t
generate(struct generator *gen)
{
	uint64_t made = fill_window(gen);
	uint64_t began = now_ns();

	if (gen->flush)
		flush_entries(gen);
	else if (!gen->keep)
		replace_window(gen, made);
	return now_ns() - began;
}

static void
open_generator(struct generator *gen)
{
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	int octets = 16 << 20;

	gen->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
	if (gen->fd < 0 || connect(gen->fd, (struct sockaddr *)&kernel, sizeof kernel) < 0)
		err(EX_OSERR, "netfilter netlink socket");
	if (setsockopt(gen->fd, SOL_SOCKET, SO_SNDBUFFORCE, &octets, sizeof octets) < 0 ||
	    setsockopt(gen->fd, SOL_SOCKET, SO_RCVBUFFORCE, &octets, sizeof octets) < 0)
		err(EX_NOPERM, "buffers of %d octets", octets);
	gen->buffer = malloc(gen->batch * MESSAGE);
	if (!gen->buffer)
		err(EX_OSERR, "a batch of %" PRIu64 " messages", gen->batch);
}

static void
check_generator(struct generator *gen)
{
	if (gen->batch < 1 || gen->batch > MAX_BATCH)
		errx(EX_USAGE, "--batch is 1 to %d", MAX_BATCH);
	if (gen->count > UINT64_C(65000) * PORTS)
		errx(EX_USAGE, "--count is at most %" PRIu64, UINT64_C(65000) * PORTS);
	if (gen->keep || gen->flush)
		gen->window = gen->count;
	if (gen->window < gen->batch)
		gen->window = gen->batch;
	gen->protocol = gen->tcp ? IPPROTO_TCP : IPPROTO_UDP;
}

int
main(int argc, char **argv)
{
	static struct generator gen = { .count = 100000, .batch = 64, .timeout = 600 };
	static const struct tool_option options[] = {
		{ "--count", "N", take_number, &gen.count, "flows (100000)" },
		{ "--rate", "N", take_number, &gen.rate, "flows deleted a second, evenly; 0: as fast as possible (0)" },
		{ "--batch", "N", take_number, &gen.batch, "messages a system call (64)" },
		{ "--window", "N", take_number, &gen.window, "entries kept alive between making and deleting (one batch)" },
		{ "--timeout", "SECONDS", take_number, &gen.timeout, "life of an entry that is not deleted (600)" },
		{ "--tcp", NULL, take_flag, &gen.tcp, "TCP entries, established (UDP)" },
		{ "--ipv6", NULL, take_flag, &gen.ipv6, "IPv6 entries (IPv4)" },
		{ "--snat", NULL, take_flag, &gen.source_nat, "translate the source" },
		{ "--dnat", NULL, take_flag, &gen.target_nat, "translate the destination" },
		{ "--keep", NULL, take_flag, &gen.keep, "make the entries and leave them" },
		{ "--flush", NULL, take_flag, &gen.flush, "make the entries, then delete all there are at once" },
	};
	size_t count = sizeof options / sizeof *options;

	if (read_options(argc, argv, "ctgen [options]", options, count))
		show_usage("ctgen [options]", options, count, EX_USAGE);
	check_generator(&gen);
	prctl(PR_SET_TIMERSLACK, 1);
	open_generator(&gen);
	double seconds = (double)generate(&gen) / (double)SECOND;
	uint64_t made = gen.count - gen.failed[MAKING];
	uint64_t deleted = gen.keep ? 0 : gen.count - gen.failed[DELETING];
	printf("{\"made\": %" PRIu64 ", \"deleted\": %" PRIu64 ", \"seconds\": %.3f, \"rate\": %.0f}\n", made, deleted,
	       seconds, seconds > 0 ? (double)deleted / seconds : 0);
	return made == gen.count ? EXIT_SUCCESS : EXIT_FAILURE;
}
