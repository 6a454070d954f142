/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Every end of a flow is delivered or counted as lost, with the kernel's own table in a network namespace. */

#include "source/delivery.h"

#include <libnetfilter_conntrack/libnetfilter_conntrack.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "source/entry.h"
#include "source/events.h"
#include "source/kick.h"
#include "source/meminfo.h"
#include "suite.h"

enum { SMALL = 1 << 17, MANY = 1000 };  /* the buffer holds some 200 ends */

static bool isolated;

static struct {
	struct events *events;
	struct delivery *delivery;
	uint64_t ends;
	unsigned gaps;
	unsigned lost;              /* calls */
	struct gap gap;             /* the last one */
	uint64_t flows;             /* of all of them */
} seen;

static void
on_gap(const struct gap *gap, void *data)
{
	(void)data;
	seen.gaps++;
	seen.gap = *gap;
	seen.flows += gap->flows;
}

static void
on_lost(void *data)
{
	(void)data;
	seen.lost++;
}

static void
on_end(const struct nlmsghdr *message, size_t available, void *data)
{
	struct entry_times times;
	struct flow flow;
	(void)data;

	seen.ends += entry_read(message, available, &flow, &times) == ENTRY_DELETED && !is_kick(&flow);
}

static void
drain(void)
{
	static const struct events_handler handler = { .message = on_end };
	uint64_t received = 0, truncated = 0;
	enum events_state state;
	bool overrun = false;

	while ((state = events_drain(seen.events, 100000, &handler, NULL, &received, &truncated)) == EVENTS_OVERRUN)
		overrun = true;
	CU_ASSERT_EQUAL(truncated, 0);
	delivery_note(seen.delivery, overrun, state == EVENTS_EMPTY);
}

/* Begins and ends flows in the kernel's table. */
static void
end_flows(unsigned n)
{
	struct nfct_handle *kernel = nfct_open(CONNTRACK, 0);

	CU_ASSERT_PTR_NOT_NULL_FATAL(kernel);
	for (unsigned i = 0; i < n; i++) {
		struct nf_conntrack *entry = nfct_new();
		nfct_set_attr_u8(entry, ATTR_L3PROTO, AF_INET);
		nfct_set_attr_u32(entry, ATTR_IPV4_SRC, htonl(0xc6336401));
		nfct_set_attr_u32(entry, ATTR_IPV4_DST, htonl(0xc6120000 + i / 1000));
		nfct_set_attr_u8(entry, ATTR_L4PROTO, IPPROTO_UDP);
		nfct_set_attr_u16(entry, ATTR_PORT_SRC, htons(1024 + i % 1000));
		nfct_set_attr_u16(entry, ATTR_PORT_DST, htons(53));
		nfct_setobjopt(entry, NFCT_SOPT_SETUP_REPLY);
		nfct_set_attr_u32(entry, ATTR_TIMEOUT, 1000);
		CU_ASSERT_EQUAL_FATAL(nfct_query(kernel, NFCT_Q_CREATE, entry), 0);
		CU_ASSERT_EQUAL_FATAL(nfct_query(kernel, NFCT_Q_DESTROY, entry), 0);
		nfct_destroy(entry);
	}
	nfct_close(kernel);
}

static void
open_delivery(bool reliable, bool stored)
{
	static const struct delivery_handler handler = { on_gap, on_lost };
	const struct delivery_options options = { reliable, 80 };

	seen.delivery = delivery_open(events_fd(seen.events), stored, &options, &events_memory(seen.events)->sound_until,
	                              &handler, NULL);
}

static void
open_all(bool reliable)
{
	memset(&seen, 0, sizeof seen);
	seen.events = events_open(NFNLGRP_CONNTRACK_DESTROY, SMALL, NULL, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(seen.events);
	open_delivery(reliable, false);
}

static void
close_all(void)
{
	delivery_close(seen.delivery);
	events_close(seen.events);
}

static enum delivery_mode
mode(void)
{
	struct delivery_status status;

	delivery_read_status(seen.delivery, &status);
	return status.mode;
}

/* Runs the main loop, and reads, until the condition holds, but no longer than that. */
#define AWAIT(condition, seconds) do { \
	const int64_t until_ = g_get_monotonic_time() + (seconds) * G_USEC_PER_SEC; \
	while (!(condition) && g_get_monotonic_time() < until_) { \
		g_main_context_iteration(NULL, false); \
		drain(); \
		g_usleep(5000); \
	} \
	CU_ASSERT_TRUE(condition); \
} while (0)

static bool
skip(void)
{
	if (!isolated)
		printf("SKIPPED (needs root: a network namespace) ");
	return !isolated;
}

static void
test_plain(void)
{
	struct delivery_status status;

	if (skip())
		return;
	open_all(false);
	const uint64_t before = g_get_real_time() / 1000;
	end_flows(100);
	drain();
	CU_ASSERT_TRUE(seen.ends == 100 && seen.gaps == 0 && seen.lost == 0);
	for (unsigned round = 1; round <= 2; round++) {
		end_flows(MANY);
		drain();
		CU_ASSERT_EQUAL(seen.ends + seen.flows, 100 + MANY * round);
		CU_ASSERT_TRUE(seen.gaps == round && seen.lost == round && seen.gap.flows > 0);
		CU_ASSERT_TRUE(seen.gap.kind == GAP_OVERRUN && !seen.gap.unknown);
		CU_ASSERT_TRUE(seen.gap.first >= before && seen.gap.last >= seen.gap.first);
	}
	delivery_read_status(seen.delivery, &status);
	CU_ASSERT_TRUE(status.mode == DELIVERY_PLAIN && status.lost == seen.flows && !status.postponed && !status.blown);
	CU_ASSERT_FALSE(delivery_is_pending(seen.delivery));
	close_all();
}

static void
test_reliable(void)
{
	struct delivery_status status;

	if (skip())
		return;
	open_all(true);
	CU_ASSERT_EQUAL_FATAL(mode(), DELIVERY_RELIABLE);
	CU_ASSERT_TRUE(meminfo_is_reliable(events_fd(seen.events)));
	end_flows(MANY);
	CU_ASSERT_TRUE(seen.ends == 0);
	drain();
	CU_ASSERT_TRUE(seen.ends > 0 && seen.ends < MANY);
	CU_ASSERT_TRUE(delivery_is_pending(seen.delivery));
	AWAIT(seen.ends == MANY, 10);
	delivery_read_status(seen.delivery, &status);
	CU_ASSERT_TRUE(status.postponed > 0 && !status.lost && !status.blown);
	CU_ASSERT_TRUE(seen.gaps == 0 && seen.lost == 0);
	AWAIT(!delivery_is_pending(seen.delivery), 5);
	CU_ASSERT_EQUAL(seen.ends, MANY);
	delivery_leave(seen.delivery);
	CU_ASSERT_TRUE(mode() == DELIVERY_PLAIN && !meminfo_is_reliable(events_fd(seen.events)));
	close_all();
}

/* The guardian is killed: no reliable delivery without one, until there is another. */
static void
test_guardian(void)
{
	int owner = 0;
	socklen_t size = sizeof owner;

	if (skip())
		return;
	open_all(true);
	CU_ASSERT_EQUAL_FATAL(mode(), DELIVERY_RELIABLE);
	getsockopt(events_fd(seen.events), SOL_SOCKET, SO_PRIORITY, &owner, &size);
	CU_ASSERT_TRUE_FATAL(owner > 1);
	kill(owner, SIGKILL);
	AWAIT(mode() == DELIVERY_BLOWN, 5);
	CU_ASSERT_FALSE(meminfo_is_reliable(events_fd(seen.events)));
	CU_ASSERT_TRUE(seen.gaps == 1 && seen.gap.kind == GAP_FUSE && seen.gap.flows == 0);
	end_flows(MANY);
	drain();
	CU_ASSERT_EQUAL(seen.ends + seen.flows, MANY);
	CU_ASSERT_TRUE(seen.gap.kind == GAP_FUSE && seen.gap.flows > 0 && !seen.gap.unknown);
	AWAIT(mode() == DELIVERY_RELIABLE, 20);
	CU_ASSERT_TRUE(meminfo_is_reliable(events_fd(seen.events)));
	const unsigned gaps = seen.gaps;
	end_flows(MANY);
	AWAIT(seen.ends + seen.flows == 2 * MANY, 10);
	CU_ASSERT_EQUAL(seen.gaps, gaps);
	close_all();
}

/* From one process to the next with the socket: what was lost in between is told by the next. */
static void
test_stored(void)
{
	if (skip())
		return;
	for (unsigned reliable = 0; reliable < 2; reliable++) {
		open_all(reliable);
		end_flows(MANY);
		drain();
		AWAIT(seen.ends + seen.flows == MANY, 10);
		delivery_close(seen.delivery);
		end_flows(MANY);
		const uint64_t ends = seen.ends;
		open_delivery(reliable, true);
		CU_ASSERT_TRUE(seen.gap.kind == GAP_OVERRUN && seen.gap.flows > 0 && !seen.gap.unknown);
		drain();
		CU_ASSERT_TRUE(seen.ends > ends);
		CU_ASSERT_EQUAL(seen.ends + seen.flows, 2 * MANY);
		close_all();
	}
}

/* The same if the first is killed in reliable mode: nothing is lost, and its guardian lets go. */
static void
test_killed(void)
{
	if (skip())
		return;
	memset(&seen, 0, sizeof seen);
	seen.events = events_open(NFNLGRP_CONNTRACK_DESTROY, SMALL, NULL, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(seen.events);
	pid_t first = fork();
	CU_ASSERT_TRUE_FATAL(first >= 0);
	if (first == 0) {
		open_delivery(true, false);
		delivery_note_stored(seen.delivery, true);
		_exit(mode() != DELIVERY_RELIABLE);
	}
	int status = -1;
	waitpid(first, &status, 0);
	CU_ASSERT_EQUAL_FATAL(status, 0);
	end_flows(MANY);
	CU_ASSERT_TRUE(meminfo_is_reliable(events_fd(seen.events)));
	open_delivery(true, true);
	AWAIT(seen.ends == MANY, 10);
	/* The former guardian is ours now, and gone; if it had switched anything off, then by now. */
	CU_ASSERT_TRUE(wait(&status) > 0);
	CU_ASSERT_EQUAL(status, 0);
	CU_ASSERT_TRUE(mode() == DELIVERY_RELIABLE && meminfo_is_reliable(events_fd(seen.events)));
	CU_ASSERT_EQUAL(seen.gaps, 0);
	close_all();
}

static void
test_change(void)
{
	if (skip())
		return;
	open_all(false);
	delivery_change(seen.delivery, &(struct delivery_options){ true, 80 });
	CU_ASSERT_EQUAL(mode(), DELIVERY_RELIABLE);
	delivery_change(seen.delivery, &(struct delivery_options){ true, 50 });
	CU_ASSERT_EQUAL(mode(), DELIVERY_RELIABLE);
	delivery_change(seen.delivery, &(struct delivery_options){ false, 50 });
	CU_ASSERT_EQUAL(mode(), DELIVERY_PLAIN);
	CU_ASSERT_FALSE(meminfo_is_reliable(events_fd(seen.events)));
	delivery_change(seen.delivery, &(struct delivery_options){ false, 80 });
	end_flows(MANY);
	drain();
	CU_ASSERT_EQUAL(seen.ends + seen.flows, MANY);
	CU_ASSERT_EQUAL(seen.gap.kind, GAP_OVERRUN);
	close_all();
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "plain", test_plain },
		{ "reliable", test_reliable },
		{ "the guardian is killed", test_guardian },
		{ "from one process to the next", test_stored },
		{ "after a kill", test_killed },
		{ "other options", test_change },
		CU_TEST_INFO_NULL,
	};

	isolated = unshare(CLONE_NEWNET) == 0;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	return run_suite("delivery", tests);
}
