/* SPDX-License-Identifier: GPL-3.0-or-later */
/* When reliable delivery is given up, and the guardian that does it. */

#include "source/fuse.h"

#include <glib.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <poll.h>
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

/* A course of looks: ms, entries, drops, reads, and what is to be said. */
struct look {
	uint64_t now;
	uint32_t count, drops, reads;
	enum fuse_verdict verdict;
};

static void
judge(const char *what, uint32_t max, unsigned percent, const struct look *looks, size_t n)
{
	struct fuse_memory memory = { 0 };

	for (size_t i = 0; i < n; i++) {
		const struct fuse_look look = { looks[i].now, looks[i].count, max, looks[i].drops, looks[i].reads };
		const enum fuse_verdict is = fuse_judge(&memory, &look, percent);
		CU_ASSERT_EQUAL(is, looks[i].verdict);
		if (is != looks[i].verdict)
			printf("\n    %s, look %zu: %d instead of %d", what, i, is, looks[i].verdict);
	}
}

#define JUDGE(what, max, percent, ...) do { \
	static const struct look looks[] = { __VA_ARGS__ }; \
	judge(what, max, percent, looks, G_N_ELEMENTS(looks)); \
} while (0)

static void
test_full(void)
{
	JUDGE("living flows only, up to the hard limit", 1000, 80,
	      { 0, 0, 7, 1, FUSE_HOLDS }, { 10, 800, 7, 1, FUSE_HOLDS }, { 20, 899, 7, 2, FUSE_HOLDS },
	      { 30, 900, 7, 2, FUSE_FULL });
	JUDGE("some wait", 1000, 80,
	      { 0, 0, 7, 1, FUSE_HOLDS }, { 10, 500, 8, 1, FUSE_HOLDS }, { 20, 799, 9, 1, FUSE_HOLDS },
	      { 30, 800, 9, 1, FUSE_FULL });
	JUDGE("in a table that was full already", 1000, 80,
	      { 0, 850, 7, 1, FUSE_HOLDS }, { 10, 850, 7, 1, FUSE_HOLDS }, { 20, 850, 8, 1, FUSE_FULL });
	JUDGE("they waited, and were told", 1000, 80,
	      { 0, 100, 7, 1, FUSE_HOLDS }, { 10, 500, 8, 1, FUSE_HOLDS }, { 2010, 799, 8, 2, FUSE_HOLDS },
	      { 2011, 850, 8, 2, FUSE_HOLDS });
	JUDGE("the count of trials wraps", 1000, 80,
	      { 0, 900 - 1, UINT32_MAX, 1, FUSE_HOLDS }, { 10, 800, 0, 1, FUSE_FULL });
	JUDGE("old losses are not of interest", 1000, 80, { 0, 890, 12345, 1, FUSE_HOLDS });
	JUDGE("another limit", 262144, 50,
	      { 0, 131071, 0, 0, FUSE_HOLDS }, { 1, 131071, 1, 0, FUSE_HOLDS }, { 2, 131072, 1, 0, FUSE_FULL });
	JUDGE("another hard limit", 262144, 50, { 0, 196607, 0, 0, FUSE_HOLDS }, { 1, 196608, 0, 0, FUSE_FULL });
	JUDGE("the largest table", UINT32_MAX, 95,
	      { 0, UINT32_MAX / 2, 0, 0, FUSE_HOLDS }, { 1, UINT32_MAX, 0, 0, FUSE_FULL });
	JUDGE("beyond it", 1000, 95, { 0, UINT32_MAX, 0, 0, FUSE_FULL });
	/* More than 100,000 a second: full before 60,000 dead entries are gone. */
	JUDGE("it grows fast, and some wait", 100000, 80,
	      { 0, 40000, 7, 1, FUSE_HOLDS }, { 1, 40000, 8, 1, FUSE_HOLDS }, { 100, 48000, 9, 1, FUSE_HOLDS },
	      { 200, 60000, 10, 1, FUSE_FULL });
	JUDGE("it grows as fast, and none wait", 100000, 80,
	      { 0, 40000, 7, 1, FUSE_HOLDS }, { 100, 50000, 7, 1, FUSE_HOLDS }, { 200, 60000, 7, 1, FUSE_HOLDS },
	      { 300, 70000, 7, 1, FUSE_HOLDS });
	JUDGE("it grows slowly", 100000, 80,
	      { 0, 60000, 7, 1, FUSE_HOLDS }, { 100, 60000, 8, 1, FUSE_HOLDS }, { 200, 61000, 9, 1, FUSE_HOLDS },
	      { 1200, 71000, 10, 1, FUSE_HOLDS }, { 2200, 79999, 11, 1, FUSE_HOLDS }, { 2201, 80000, 12, 1, FUSE_FULL });
	JUDGE("it shrinks", 100000, 80,
	      { 0, 79000, 7, 1, FUSE_HOLDS }, { 100, 59000, 8, 1, FUSE_HOLDS }, { 200, 39000, 9, 1, FUSE_HOLDS });
	JUDGE("two looks at the same time", 100000, 80,
	      { 0, 1000, 7, 1, FUSE_HOLDS }, { 0, 70000, 8, 1, FUSE_HOLDS });
	JUDGE("no limit", 0, 80, { 0, 5000, 0, 0, FUSE_HOLDS }, { 1, UINT32_MAX, 5, 0, FUSE_HOLDS });
}

static void
test_stuck(void)
{
	JUDGE("nobody reads, and nothing waits", 1000, 80,
	      { 0, 10, 7, 1, FUSE_HOLDS }, { 60000, 10, 7, 1, FUSE_HOLDS }, { 120000, 10, 7, 1, FUSE_HOLDS });
	JUDGE("nobody reads, and some wait", 1000, 80,
	      { 0, 10, 7, 1, FUSE_HOLDS }, { 1000, 10, 8, 1, FUSE_HOLDS }, { 2000, 10, 9, 1, FUSE_HOLDS },
	      { 4000, 10, 10, 1, FUSE_HOLDS }, { 30000, 10, 11, 1, FUSE_HOLDS }, { 31000, 10, 12, 1, FUSE_STUCK });
	JUDGE("one read in between", 1000, 80,
	      { 0, 10, 7, 1, FUSE_HOLDS }, { 1000, 10, 8, 1, FUSE_HOLDS }, { 20000, 10, 9, 2, FUSE_HOLDS },
	      { 31000, 10, 12, 2, FUSE_HOLDS }, { 60999, 10, 14, 2, FUSE_HOLDS }, { 61000, 10, 15, 2, FUSE_STUCK });
	JUDGE("nothing waits for a while", 1000, 80,
	      { 0, 10, 7, 1, FUSE_HOLDS }, { 1000, 10, 8, 1, FUSE_HOLDS }, { 20000, 10, 8, 1, FUSE_HOLDS },
	      { 31000, 10, 9, 1, FUSE_HOLDS }, { 60000, 10, 10, 1, FUSE_HOLDS });
	JUDGE("it reads, however slowly", 1000, 80,
	      { 0, 10, 7, 1, FUSE_HOLDS }, { 25000, 10, 8, 2, FUSE_HOLDS }, { 50000, 10, 9, 3, FUSE_HOLDS },
	      { 75000, 10, 10, 4, FUSE_HOLDS }, { 100000, 10, 11, 5, FUSE_HOLDS });
}

/* At a million entries a second, the table is never full at the next look. */
static void
test_pause(void)
{
	unsigned wrong = 0;

	for (uint32_t max = 4096; max && max < 1u << 31; max *= 2)
		for (uint32_t count = 0; count <= max; count += max / 256) {
			const unsigned pause = fuse_pause(&(struct fuse_look){ .count = count, .max = max });
			wrong += pause < 2000 || pause > 200000 || (max - count > 4000 && pause > (max - count) / 2);
		}
	CU_ASSERT_EQUAL(wrong, 0);
	CU_ASSERT_EQUAL(fuse_pause(&(struct fuse_look){ .count = 9, .max = 0 }), 200000);
	CU_ASSERT_EQUAL(fuse_pause(&(struct fuse_look){ .count = 9, .max = 8 }), 2000);
	CU_ASSERT_EQUAL(fuse_pause(&(struct fuse_look){ .count = 0, .max = 262144 }), 131072);
}

static void
test_return(void)
{
	CU_ASSERT_TRUE(fuse_may_return(&(struct fuse_look){ .count = 599, .max = 1000 }, 80));
	CU_ASSERT_FALSE(fuse_may_return(&(struct fuse_look){ .count = 600, .max = 1000 }, 80));
	CU_ASSERT_TRUE(fuse_may_return(&(struct fuse_look){ .count = 74, .max = 1000 }, 10));
	CU_ASSERT_FALSE(fuse_may_return(&(struct fuse_look){ .count = 75, .max = 1000 }, 10));
	CU_ASSERT_TRUE(fuse_may_return(&(struct fuse_look){ .count = UINT32_MAX, .max = 0 }, 80));
	CU_ASSERT_FALSE(fuse_may_return(&(struct fuse_look){ .count = UINT32_MAX, .max = UINT32_MAX }, 95));
}

/* From here on, in a network namespace of our own. */

static bool isolated;

static int
open_socket(void)
{
	struct events *events = events_open(NFNLGRP_CONNTRACK_DESTROY, 1 << 17, NULL, NULL);

	CU_ASSERT_PTR_NOT_NULL_FATAL(events);
	int fd = dup(events_fd(events));
	events_close(events);
	CU_ASSERT_TRUE_FATAL(fd >= 0);
	return fd;
}

static int
owner_of(int fd)
{
	int owner = 0;
	socklen_t size = sizeof owner;

	getsockopt(fd, SOL_SOCKET, SO_PRIORITY, &owner, &size);
	return owner;
}

static bool
is_alive(pid_t pid)
{
	return kill(pid, 0) == 0;
}

/* Waits up to five seconds. */
#define AWAIT(condition) do { \
	for (int tries_ = 500; !(condition) && tries_; tries_--) \
		g_usleep(10000); \
	CU_ASSERT_TRUE(condition); \
} while (0)

static bool
is_readable(const struct fuse *fuse)
{
	struct pollfd waiting = { .fd = fuse_fd(fuse), .events = POLLIN };

	return poll(&waiting, 1, 0) == 1;
}

/* Far from any limit nothing happens; a limit of nothing is reached by one entry, as soon as it is armed. */
static void
test_guardian(void)
{
	struct fuse_word word;

	if (!isolated) {
		printf("SKIPPED (needs root: a network namespace) ");
		return;
	}
	int fd = open_socket();
	struct fuse *fuse = fuse_start(fd, 80);
	CU_ASSERT_PTR_NOT_NULL_FATAL(fuse);
	const pid_t guardian = owner_of(fd);
	CU_ASSERT_TRUE(guardian > 1 && is_alive(guardian));
	CU_ASSERT_FALSE(fuse_read(fuse, &word));
	CU_ASSERT_TRUE(meminfo_set_reliable(fd, true));
	fuse_arm(fuse, 80);
	fuse_note_read(fuse);
	g_usleep(300000);
	CU_ASSERT_FALSE(fuse_read(fuse, &word));
	CU_ASSERT_TRUE(meminfo_is_reliable(fd));
	/* Orders for the daemon are none for its guardian. */
	kill(guardian, SIGTERM);
	kill(guardian, SIGINT);
	kill(guardian, SIGHUP);
	g_usleep(300000);
	CU_ASSERT_TRUE(is_alive(guardian));
	CU_ASSERT_FALSE(is_readable(fuse));
	kill(guardian, SIGKILL);
	AWAIT(is_readable(fuse));
	CU_ASSERT_TRUE(fuse_read(fuse, &word));
	CU_ASSERT_EQUAL(word.verdict, FUSE_GONE);
	fuse_stop(fuse);
	CU_ASSERT_FALSE(is_alive(guardian));
	fuse_stop(NULL);
	close(fd);
}

/* Two guardians of one socket: the later one has it, and the earlier one leaves without a word. */
static void
test_replaced(void)
{
	if (!isolated) {
		printf("SKIPPED (needs root: a network namespace) ");
		return;
	}
	int fd = open_socket();
	struct fuse *one = fuse_start(fd, 80);
	CU_ASSERT_PTR_NOT_NULL_FATAL(one);
	meminfo_set_reliable(fd, true);
	fuse_arm(one, 80);
	struct fuse *other = fuse_start(fd, 80);
	CU_ASSERT_PTR_NOT_NULL_FATAL(other);
	AWAIT(is_readable(one));
	CU_ASSERT_TRUE(meminfo_is_reliable(fd));
	CU_ASSERT_FALSE(is_readable(other));
	fuse_stop(one);
	fuse_stop(other);
	CU_ASSERT_TRUE(meminfo_is_reliable(fd));
	close(fd);
}

/* A daemon that is killed, as a process of its own. Returns the guardian. */
static pid_t
run_daemon(int fd, bool stored)
{
	pid_t daemon = fork();

	CU_ASSERT_TRUE_FATAL(daemon >= 0);
	if (daemon == 0) {
		struct fuse *fuse = fuse_start(fd, 80);
		if (!fuse || !meminfo_set_reliable(fd, true))
			_exit(1);
		fuse_arm(fuse, 80);
		fuse_note_stored(fuse, stored);
		_exit(0);
	}
	int status = -1;
	waitpid(daemon, &status, 0);
	CU_ASSERT_EQUAL_FATAL(status, 0);
	return owner_of(fd);
}

static void
test_orphan(void)
{
	if (!isolated) {
		printf("SKIPPED (needs root: a network namespace) ");
		return;
	}
	int fd = open_socket();
	run_daemon(fd, false);
	AWAIT(!meminfo_is_reliable(fd));
	const pid_t guardian = run_daemon(fd, true);
	g_usleep(500000);
	CU_ASSERT_TRUE(meminfo_is_reliable(fd));
	kill(guardian, SIGTERM);
	AWAIT(!meminfo_is_reliable(fd));
	/* Another daemon takes over. */
	run_daemon(fd, true);
	CU_ASSERT_TRUE(meminfo_is_reliable(fd));
	struct fuse *fuse = fuse_start(fd, 80);
	CU_ASSERT_PTR_NOT_NULL_FATAL(fuse);
	g_usleep(500000);
	CU_ASSERT_TRUE(meminfo_is_reliable(fd));
	fuse_stop(fuse);
	close(fd);
}

static void
on_message(const struct nlmsghdr *message, size_t available, void *data)
{
	struct entry_times times;
	struct flow flow;

	*(unsigned *)data += entry_read(message, available, &flow, &times) == ENTRY_DELETED && is_kick(&flow);
}

/* The flow that nobody has is gone at once, and known for what it is. */
static void
test_kick(void)
{
	static const struct events_handler handler = { .message = on_message };
	uint64_t received = 0, truncated = 0;
	unsigned kicks = 0;
	struct fuse_look look = { .max = 1 };

	if (!isolated) {
		printf("SKIPPED (needs root: a network namespace) ");
		return;
	}
	struct events *events = events_open(NFNLGRP_CONNTRACK_DESTROY, 1 << 17, NULL, NULL);
	int fd = kick_open();
	CU_ASSERT_TRUE_FATAL(events && fd >= 0);
	CU_ASSERT_TRUE(kick(fd));
	CU_ASSERT_TRUE(kick(fd));
	CU_ASSERT_TRUE(fuse_look_at_table(&look));
	CU_ASSERT_EQUAL(look.count, 0);
	events_drain(events, 1000, &handler, &kicks, &received, &truncated);
	CU_ASSERT_EQUAL(received, 2);
	CU_ASSERT_EQUAL(kicks, 2);
	close(fd);
	events_close(events);
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "a table that fills", test_full },
		{ "nobody reads", test_stuck },
		{ "how often to look", test_pause },
		{ "room again", test_return },
		{ "the guardian", test_guardian },
		{ "the next guardian", test_replaced },
		{ "a guardian without a daemon", test_orphan },
		{ "having the kernel try again", test_kick },
		CU_TEST_INFO_NULL,
	};

	isolated = unshare(CLONE_NEWNET) == 0;
	/* Guardians that outlive their daemons become ours, and end before we do. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	int status = run_suite("fuse", tests);
	while (wait(NULL) > 0)
		;
	return status;
}
