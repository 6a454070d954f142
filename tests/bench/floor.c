/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/tool.h"

/* The least a program can pay for the end of each flow: it subscribes to DESTROY, sleeps a few milliseconds after
 * the first message, takes all that came meanwhile, sixty-four at a time, and looks at none of them. Whatever an
 * exporter costs above this is its own. The kernel sends each event as one datagram, so datagrams are flows. */

enum { BATCH = 64, MESSAGE = 1024 };

struct listener {
	int fd;
	uint64_t received;
	uint64_t overruns;          /* times the kernel said ENOBUFS */
};

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
	int group = NFNLGRP_CONNTRACK_DESTROY;
	int octets = (int)buffer;
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);

	if (fd < 0 || bind(fd, (struct sockaddr *)&self, sizeof self) < 0)
		err(EX_OSERR, "netfilter netlink socket");
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &octets, sizeof octets) < 0)
		err(EX_NOPERM, "receive buffer of %d octets", octets);
	if (setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group) < 0)
		err(EX_NOPERM, "group of DESTROY events");
	return fd;
}

static void
drain(struct listener *listener)
{
	static char octets[BATCH][MESSAGE];
	struct iovec parts[BATCH];
	struct mmsghdr messages[BATCH] = { 0 };

	for (int i = 0; i < BATCH; i++) {
		parts[i] = (struct iovec){ octets[i], MESSAGE };
		messages[i].msg_hdr.msg_iov = &parts[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	for (;;) {
		int count = recvmmsg(listener->fd, messages, BATCH, MSG_DONTWAIT, NULL);
		if (count > 0)
			listener->received += (uint64_t)count;
		else if (count < 0 && errno == ENOBUFS)
			listener->overruns++;
		else if (count == 0 || errno != EINTR)
			return;
	}
}

static void
listen_until_ended(struct listener *listener, uint64_t nap_us, const sigset_t *while_waiting)
{
	struct pollfd poll = { .fd = listener->fd, .events = POLLIN };

	while (!ended) {
		if (ppoll(&poll, 1, NULL, while_waiting) < 0)
			continue;
		if (nap_us)
			usleep((useconds_t)nap_us);
		drain(listener);
	}
}

static uint32_t
drops(int fd)
{
	uint32_t info[SK_MEMINFO_VARS] = { 0 };
	socklen_t size = sizeof info;

	if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &size) < 0)
		err(EX_OSERR, "drops of the socket");
	return info[SK_MEMINFO_DROPS];
}

/* Signals are let in only while waiting, so that none is missed between the look at ended and the wait. */
static sigset_t
catch_ends(void)
{
	struct sigaction action = { .sa_handler = end };
	sigset_t ends, before;

	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGINT);
	sigprocmask(SIG_BLOCK, &ends, &before);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	return before;
}

int
main(int argc, char **argv)
{
	static uint64_t nap_us = 5000, buffer = 64 << 20;
	static const struct tool_option options[] = {
		{ "--nap", "US", take_number, &nap_us, "microseconds slept after the first message (5000)" },
		{ "--buffer", "OCTETS", take_number, &buffer, "receive buffer asked for (64 MiB)" },
	};
	size_t count = sizeof options / sizeof *options;

	if (read_options(argc, argv, "floor [options]", options, count))
		show_usage("floor [options]", options, count, EX_USAGE);
	if (buffer > INT32_MAX || nap_us >= 1000000)
		errx(EX_USAGE, "a nap is below a second and a buffer below 2 GiB");
	prctl(PR_SET_TIMERSLACK, 1);
	sigset_t while_waiting = catch_ends();
	struct listener listener = { .fd = subscribe(buffer) };
	puts("ready");
	fflush(stdout);
	listen_until_ended(&listener, nap_us, &while_waiting);
	drain(&listener);
	printf("{\"received\": %" PRIu64 ", \"overruns\": %" PRIu64 ", \"drops\": %u}\n", listener.received,
	       listener.overruns, drops(listener.fd));
	return EXIT_SUCCESS;
}
