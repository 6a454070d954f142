/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The whole source on the kernel's own table, in a network namespace: what it tells, in which order, and what of it the
 * next process finds. */

#include "source/source.h"

#include <fcntl.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "source/events.h"
#include "suite.h"

static bool isolated;

static struct {
	struct source *source;
	struct source_memory memory;
	struct source_memory then;  /* as it was when flows ended last */
	unsigned ended, batches, drained, gaps;
	bool in_order;              /* batches are numbered without holes */
	uint64_t batch;             /* the last number; zero: none yet */
	struct flow flow;           /* the last one that ended */
	unsigned present;           /* in the walk that goes on */
	struct flow looked;
	unsigned walks, shown;      /* shown: by the last walk that is over */
	bool complete, certain;
	struct gap gap;
} seen;

static void
on_ended(struct flow *flow, size_t n, uint64_t batch, void *data)
{
	(void)data;
	seen.in_order &= n <= EVENTS_BATCH && (!seen.batch || batch == seen.batch + 1);
	seen.batch = batch;
	seen.batches++;
	seen.ended += n;
	if (!n)
		return;
	seen.flow = flow[n - 1];
	seen.then = seen.memory;
}

static void
on_drained(void *data)
{
	(void)data;
	seen.drained++;
}

static void
on_gap(const struct gap *gap, void *data)
{
	(void)data;
	seen.gaps++;
	seen.gap = *gap;
}

static void
on_present(struct flow *flow, size_t n, void *data)
{
	(void)data;
	seen.present += n;
	seen.looked = flow[n - 1];
}

static void
on_walked(bool complete, bool certain, void *data)
{
	(void)data;
	seen.walks++;
	seen.shown = seen.present;
	seen.present = 0;
	seen.complete = complete;
	seen.certain = certain;
}

static const struct source_handler handler = { on_ended, on_drained, on_gap, on_present, on_walked };

static void
open_source(bool reliable, bool replay)
{
	const struct source_options options = {
		.receive_buffer = 1 << 20, .active_timeout = 60, .reap_share = 100, .stored_fd = -1,
		.reliable = reliable, .fuse = 80, .memory = &seen.memory, .replay = replay,
	};

	seen.source = source_open(&options, &handler, NULL, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(seen.source);
}

static void
start(bool reliable)
{
	memset(&seen, 0, sizeof seen);
	seen.in_order = true;
	open_source(reliable, false);
}

static void
set_entries(unsigned first, unsigned n, enum nf_conntrack_query query)
{
	struct nfct_handle *kernel = nfct_open(CONNTRACK, 0);

	CU_ASSERT_PTR_NOT_NULL_FATAL(kernel);
	for (unsigned i = first; i < first + n; i++) {
		struct nf_conntrack *entry = nfct_new();
		nfct_set_attr_u8(entry, ATTR_L3PROTO, AF_INET);
		nfct_set_attr_u32(entry, ATTR_IPV4_SRC, htonl(0xc6336401));
		nfct_set_attr_u32(entry, ATTR_IPV4_DST, htonl(0xc6120001));
		nfct_set_attr_u8(entry, ATTR_L4PROTO, IPPROTO_UDP);
		nfct_set_attr_u16(entry, ATTR_PORT_SRC, htons(1024 + i));
		nfct_set_attr_u16(entry, ATTR_PORT_DST, htons(53));
		nfct_setobjopt(entry, NFCT_SOPT_SETUP_REPLY);
		nfct_set_attr_u32(entry, ATTR_TIMEOUT, 1000);
		CU_ASSERT_EQUAL_FATAL(nfct_query(kernel, query, entry), 0);
		nfct_destroy(entry);
	}
	nfct_close(kernel);
}

#define AWAIT(condition) do { \
	const int64_t until_ = g_get_monotonic_time() + 10 * G_USEC_PER_SEC; \
	while (!(condition) && g_get_monotonic_time() < until_) { \
		g_main_context_iteration(NULL, false); \
		g_usleep(1000); \
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
test_flows(void)
{
	struct source_status status;

	if (skip())
		return;
	for (unsigned reliable = 0; reliable < 2; reliable++) {
		start(reliable);
		set_entries(0, 300, NFCT_Q_CREATE);
		AWAIT(seen.walks >= 2 && seen.shown == 300);
		CU_ASSERT_TRUE(seen.complete && seen.certain && seen.ended == 0);
		CU_ASSERT_TRUE(seen.looked.born && seen.looked.start == seen.looked.born && !seen.looked.stop);
		CU_ASSERT_TRUE(seen.looked.timeout > 900 && seen.looked.end_reason == END_ACTIVE && !seen.looked.gaps);
		const struct flow looked = seen.looked;
		set_entries(looked.original.source_port - 1024, 1, NFCT_Q_DESTROY);
		AWAIT(seen.ended == 1);
		CU_ASSERT_TRUE(seen.flow.id == looked.id && seen.flow.born == looked.born && seen.flow.flow_id == looked.flow_id);
		CU_ASSERT_TRUE(seen.flow.stop >= looked.end && seen.flow.end_reason == END_FORCED);
		AWAIT(seen.shown == 299);
		source_status(seen.source, &status);
		CU_ASSERT_EQUAL(status.delivery, reliable ? SOURCE_RELIABLE : SOURCE_PLAIN);
		CU_ASSERT_TRUE(status.table_entries == 299 && status.table_most && status.table_buckets);
		CU_ASSERT_TRUE(status.accounting == 1 && status.timestamps == 1 && status.events == 1);
		CU_ASSERT_TRUE(status.sweep_at && status.sweep_complete && status.sweep_certain && status.sweep_entries == 299);
		CU_ASSERT_TRUE(status.buffer >= 1 << 20 && !status.lost && !status.fuse_blown && !status.resync_at);
		const int left = looked.original.source_port - 1024;
		set_entries(0, left, NFCT_Q_DESTROY);
		set_entries(left + 1, 299 - left, NFCT_Q_DESTROY);
		source_close(seen.source);
		CU_ASSERT_EQUAL(seen.ended, 300);
		CU_ASSERT_TRUE(seen.in_order && seen.gaps == 0 && seen.drained > 0);
	}
}

/* The batch that was received last, as if the process had been killed before it finished it. */
static void
test_replay(void)
{
	if (skip())
		return;
	start(true);
	set_entries(0, 50, NFCT_Q_CREATE);
	set_entries(0, 50, NFCT_Q_DESTROY);
	AWAIT(seen.ended == 50);
	source_close(seen.source);
	const struct flow last = seen.flow;
	const uint64_t batch = seen.batch;
	CU_ASSERT_EQUAL(seen.memory.batch, batch);
	seen.memory = seen.then;
	unsigned n = 0;
	while (n < EVENTS_BATCH && seen.memory.header[n].msg_len)
		n++;
	CU_ASSERT_TRUE(n > 0 && n <= 50);
	seen.ended = seen.batches = seen.batch = 0;
	open_source(true, true);
	AWAIT(seen.batches == 1);
	CU_ASSERT_EQUAL(seen.ended, n);
	CU_ASSERT_EQUAL(seen.batch, batch);
	CU_ASSERT_EQUAL(seen.flow.flow_id, last.flow_id);
	set_entries(0, 1, NFCT_Q_CREATE);
	set_entries(0, 1, NFCT_Q_DESTROY);
	AWAIT(seen.ended == n + 1);
	CU_ASSERT_EQUAL(seen.batch, batch + 1);
	source_close(seen.source);
	/* Without replay nothing comes twice. */
	seen.ended = seen.batches = 0;
	open_source(true, false);
	AWAIT(seen.walks > 0);
	source_close(seen.source);
	CU_ASSERT_EQUAL(seen.ended, 0);
}

/* What another process may have left in the memory: anything. */
static void
test_replay_anything(void)
{
	if (skip())
		return;
	for (unsigned value = 0; value < 256; value += 51) {
		start(false);
		source_close(seen.source);
		memset(&seen.memory, value, sizeof seen.memory);
		seen.batch = 0;
		open_source(false, true);
		AWAIT(seen.batches == 1);
		CU_ASSERT_EQUAL(seen.ended, 0);
		source_close(seen.source);
	}
}

static bool
write_setting(const char *name, const char *value)
{
	char path[128];

	snprintf(path, sizeof path, "/proc/sys/net/netfilter/nf_conntrack_%s", name);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool written = fd >= 0 && write(fd, value, strlen(value)) == (ssize_t)strlen(value);
	if (fd >= 0)
		close(fd);
	return written;
}

/* Settings that were switched off between two processes: the second one knows since when that may be. */
static void
test_settings(void)
{
	if (skip())
		return;
	CU_ASSERT_TRUE(write_setting("acct", "0"));
	start(false);
	CU_ASSERT_EQUAL(seen.gaps, 0);
	const uint64_t looked = seen.memory.settings_seen;
	CU_ASSERT_TRUE(looked > 0);
	source_close(seen.source);
	open_source(false, false);
	CU_ASSERT_EQUAL(seen.gaps, 0);
	const uint64_t again = seen.memory.settings_seen;
	CU_ASSERT_TRUE(again >= looked);
	source_close(seen.source);
	CU_ASSERT_TRUE(write_setting("acct", "0"));
	open_source(false, false);
	CU_ASSERT_TRUE(seen.gaps == 1 && seen.gap.kind == GAP_ACCOUNTING && seen.gap.unknown);
	CU_ASSERT_TRUE(seen.gap.first == again && seen.gap.last >= again);
	source_close(seen.source);
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "flows that go on, and that end", test_flows },
		{ "a batch that was not finished", test_replay },
		{ "anything in its place", test_replay_anything },
		{ "settings that were off", test_settings },
		CU_TEST_INFO_NULL,
	};

	isolated = unshare(CLONE_NEWNET) == 0;
	return run_suite("source", tests);
}
