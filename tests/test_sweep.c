/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Walks over the table: how often, that they show everything, and that they make the kernel forget what expired. */

#include "source/sweep.h"

#include <libnetfilter_conntrack/libnetfilter_conntrack.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "source/entry.h"
#include "source/events.h"
#include "suite.h"

/* Cost in microseconds of processor time, the rest in seconds. */
static const struct {
	unsigned share, longest;
	uint64_t cost;
	double period;
} periods[] = {
	{ 1, 60, 0, 1 },
	{ 1, 60, 100, 1 },
	{ 1, 60, 10000, 1 },
	{ 1, 60, 20000, 2 },
	{ 1, 60, 140000, 14 },
	{ 1, 60, 1440000, 60 },
	{ 1, 3600, 1440000, 144 },
	{ 10, 60, 1440000, 14.4 },
	{ 100, 60, 1440000, 1.44 },
	{ 50, 60, 1000, 1 },
	{ 0, 60, 100, 60 },
	{ 0, 60, 100000000, 60 },
	{ 0, 1, 100, 1 },
	{ 1, 1, 1440000, 1 },
	{ 1, 0, 1440000, 1 },
	{ 0, 0, 0, 1 },
	{ 1, 86400, UINT64_MAX / 1000, 86400 },
};

static void
test_periods(void)
{
	for (size_t i = 0; i < G_N_ELEMENTS(periods); i++) {
		const struct sweep_options options = { periods[i].share, periods[i].longest };
		const uint64_t is = sweep_period(&options, periods[i].cost * 1000);
		const uint64_t should = periods[i].period * 1e6 + 0.5;
		CU_ASSERT_EQUAL(is, should);
		if (is != should)
			printf("\n    case %zu: %llu instead of %llu us", i, (unsigned long long)is, (unsigned long long)should);
	}
}

static bool isolated;

static struct {
	unsigned begun;
	unsigned entries;
	unsigned over;
	bool dying;                 /* what begin answers */
	bool again;                 /* another sweep, please */
	bool in_order;              /* begin, entries, over */
	uint64_t looked;
	struct sweep_report report;
} seen;

static bool
on_begin(void *data)
{
	(void)data;
	seen.in_order &= seen.begun == seen.over;
	seen.begun++;
	seen.entries = 0;
	return seen.dying;
}

static void
on_entry(const struct nlmsghdr *message, size_t available, uint64_t looked, void *data)
{
	struct entry_times times;
	struct flow flow;
	(void)data;

	seen.in_order &= seen.begun == seen.over + 1 && looked >= seen.looked;
	seen.looked = looked;
	seen.entries += entry_read(message, available, &flow, &times) == ENTRY_NEW;
}

static void
on_piece(void *data)
{
	(void)data;
	seen.in_order &= seen.begun == seen.over + 1;
}

static void
on_over(const struct sweep_report *report, void *data)
{
	struct sweep **sweep = data;

	seen.over++;
	seen.report = *report;
	if (seen.again)
		sweep_soon(*sweep);
	seen.again = false;
}

static const struct sweep_handler handler = { on_begin, on_entry, on_piece, on_over };
static const struct sweep_options often = { 100, 60 };

static gboolean
on_deadline(gpointer data)
{
	*(bool *)data = true;
	return G_SOURCE_CONTINUE;
}

static void
await_sweeps(unsigned n)
{
	bool late = false;
	guint deadline = g_timeout_add_seconds(20, on_deadline, &late);

	while (seen.over < n && !late)
		g_main_context_iteration(NULL, true);
	g_source_remove(deadline);
	CU_ASSERT_FALSE_FATAL(late);
}

static void
make_entries(unsigned n, unsigned lifetime)
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
		nfct_set_attr_u16(entry, ATTR_PORT_DST, htons(53 + lifetime));
		nfct_setobjopt(entry, NFCT_SOPT_SETUP_REPLY);
		nfct_set_attr_u32(entry, ATTR_TIMEOUT, lifetime);
		CU_ASSERT_EQUAL_FATAL(nfct_query(kernel, NFCT_Q_CREATE, entry), 0);
		nfct_destroy(entry);
	}
	nfct_close(kernel);
}

static struct sweep *
open_sweep(void)
{
	static struct sweep *sweep;

	memset(&seen, 0, sizeof seen);
	seen.in_order = true;
	sweep = sweep_new(&often, &handler, &sweep, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(sweep);
	return sweep;
}

/* Nothing in it, something, and more than one piece holds; each entry is shown once. */
static void
test_table(void)
{
	if (!isolated) {
		printf("SKIPPED (needs root: a network namespace) ");
		return;
	}
	struct sweep *sweep = open_sweep();
	await_sweeps(1);
	CU_ASSERT_TRUE(seen.report.complete && !seen.report.reason && !seen.report.dying);
	CU_ASSERT_EQUAL(seen.entries, 0);
	CU_ASSERT_EQUAL(seen.report.cost, 0);
	make_entries(300, 1000);
	sweep_soon(sweep);
	await_sweeps(2);
	CU_ASSERT_TRUE(seen.report.complete);
	CU_ASSERT_EQUAL(seen.entries, 300);
	CU_ASSERT_EQUAL(seen.report.entries, 300);
	CU_ASSERT_TRUE(seen.report.cost > 0 && seen.report.duration > 0 && seen.report.pause > 0);
	make_entries(3000, 2000);
	seen.dying = seen.again = true;
	sweep_soon(sweep);
	await_sweeps(3);
	CU_ASSERT_EQUAL(seen.entries, 3300);
	CU_ASSERT_FALSE(seen.report.dying);
	const int64_t asked = g_get_monotonic_time();
	await_sweeps(4);
	CU_ASSERT_TRUE(g_get_monotonic_time() - asked < 3 * G_USEC_PER_SEC);
	CU_ASSERT_EQUAL(seen.entries, 3300);
	CU_ASSERT_TRUE(seen.in_order);
	sweep_free(sweep);
}

static void
on_event(const struct nlmsghdr *message, size_t available, void *data)
{
	struct entry_times times;
	struct flow flow;

	*(unsigned *)data += entry_read(message, available, &flow, &times) == ENTRY_DELETED;
}

/* The kernel alone may take a minute to forget them. */
static void
test_reaping(void)
{
	static const struct events_handler counting = { .message = on_event };
	uint64_t received = 0, truncated = 0;
	unsigned ended = 0;

	if (!isolated) {
		printf("SKIPPED (needs root: a network namespace) ");
		return;
	}
	struct events *events = events_open(NFNLGRP_CONNTRACK_DESTROY, 1 << 20, NULL, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(events);
	struct sweep *sweep = open_sweep();
	await_sweeps(1);
	make_entries(200, 1);
	const int64_t until = g_get_monotonic_time() + 4000000;
	while (ended < 200 && g_get_monotonic_time() < until) {
		await_sweeps(seen.over + 1);
		events_drain(events, 1000, &counting, &ended, &received, &truncated);
	}
	CU_ASSERT_EQUAL(ended, 200);
	sweep_free(sweep);
	events_close(events);
}

/* Whatever it is doing just then. */
static void
test_free(void)
{
	if (!isolated) {
		printf("SKIPPED (needs root: a network namespace) ");
		return;
	}
	for (unsigned i = 0; i < 50; i++) {
		struct sweep *sweep = open_sweep();
		for (unsigned n = 0; n < i % 10; n++)
			g_main_context_iteration(NULL, false);
		g_usleep(i * 100);
		sweep_free(sweep);
	}
	sweep_free(NULL);
	CU_ASSERT_FALSE(g_main_context_pending(NULL));
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "how often", test_periods },
		{ "all there is, once", test_table },
		{ "what expired is forgotten", test_reaping },
		{ "given up at any time", test_free },
		CU_TEST_INFO_NULL,
	};

	isolated = unshare(CLONE_NEWNET) == 0;
	return run_suite("sweep", tests);
}
