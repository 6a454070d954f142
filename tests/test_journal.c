/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The whole way of a flow in small: datagrams of a socket instead of the kernel's events, numbers instead of flows, and
 * a real link. The process on this way is killed at every few instructions and at random; each number arrives once. */

#include "journal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <glib.h>

#include "steps.h"
#include "suite.h"
#include "transport/link.h"

enum {
	A_MESSAGE = 3,              /* numbers in a message, at most */
	KILLS = 150,                /* at random; PEERFLOW_KILLS sets another number */
};

/* What survives; here as long as the test. */
static struct memory {
	struct journal_memory journal;
	uint64_t applied[4];        /* applied[i]: the last number that is i modulo 4, as something a journal is for */
} *memory;

static int events[2];               /* [0]: where numbers come from */
static int collector;
static uint16_t port;
static uint64_t made, got;
static unsigned wrong;

/* ---- the way ---- */

static void
apply(const struct journal_slot *slot, void *data)
{
	(void)data;
	memory->applied[slot->total[0] % 4] = slot->total[0];
}

static void
take_batch(struct journal *journal, const struct source_memory *batch)
{
	unsigned n = 0;

	for (unsigned i = 0; i < EVENTS_BATCH && batch->header[i].msg_len; i++, n++) {
		struct journal_slot *slot = journal_place(journal, n);
		memcpy(&slot->flow.flow_id, batch->octets[i], sizeof slot->flow.flow_id);
		slot->total[0] = slot->flow.flow_id;
	}
	const uint64_t first = journal_head(journal) + 1;
	journal_commit(journal, n, batch->batch);
	for (uint64_t number = first; number < first + n; number++)
		apply(journal_flow(journal, number), NULL);
	journal_applied(journal);
}

/* As source/events.c does. */
static bool
receive_batch(struct journal *journal)
{
	struct source_memory *batch = journal_events(journal);

	for (unsigned i = 0; i < EVENTS_BATCH; i++) {
		batch->vector[i] = (struct iovec){ batch->octets[i], EVENTS_MESSAGE_MOST };
		batch->header[i] = (struct mmsghdr){ .msg_hdr = { .msg_iov = &batch->vector[i], .msg_iovlen = 1 } };
	}
	__atomic_store_n(&batch->batch, batch->batch + 1, __ATOMIC_RELEASE);
	int n = recvmmsg(events[0], batch->header, EVENTS_BATCH, MSG_DONTWAIT, NULL);
	take_batch(journal, batch);
	return n > 0;
}

/* Messages of some numbers each. */
static void
send_all(struct journal *journal, struct link *link)
{
	uint64_t octets[RECEIPTS_MOST][A_MESSAGE], number = link_mark(link) + 1;
	struct message messages[RECEIPTS_MOST];
	size_t n = 0;

	while (number <= journal_head(journal) && n < RECEIPTS_MOST) {
		size_t in = 1 + number % A_MESSAGE, i = 0;
		for (; i < in && number <= journal_head(journal); i++)
			octets[n][i] = journal_flow(journal, number++)->flow.flow_id;
		messages[n] = (struct message){ .octets = (uint8_t *)octets[n], .length = i * sizeof octets[n][0],
		                                .flow_records = i, .mark = number - 1 };
		n++;
	}
	if (n)
		link_send(link, messages, n);
}

static struct link *
open_link_to_collector(struct receipts *receipts)
{
	const struct link_options options = { .name = "test", .host = "127.0.0.1", .port = port, .transport = LINK_UDP,
	                                      .retry = 1, .resolve = 60, .receipts = receipts };
	struct link *link = link_open(&options, &(struct link_handler){ 0 }, NULL, NULL);

	while (!link_is_open(link))
		g_main_context_iteration(NULL, true);
	return link;
}

/* The daemon in small. With stop, stops itself before all this and after it. */
static void
run(bool stop)
{
	struct journal *journal = journal_open(&memory->journal);
	struct link *link = open_link_to_collector(journal_receipts(journal, "one"));

	journal_forget_others(journal);
	if (stop)
		raise(SIGSTOP);
	journal_redo(journal, apply, NULL);
	if (journal_replay(journal))
		take_batch(journal, journal_events(journal));
	do {
		while (link_mark(link) < journal_head(journal))
			send_all(journal, link);
	} while (receive_batch(journal));
	raise(SIGSTOP);
	_exit(0);
}

/* ---- the world around it ---- */

/* As many as there is room for: processes that are killed early take none. */
static void
make(unsigned n)
{
	for (uint64_t next = made + 1; n && send(events[1], &next, sizeof next, MSG_DONTWAIT) > 0; n--)
		made = next++;
}

static void
collect(void)
{
	uint64_t numbers[A_MESSAGE];
	ssize_t n;

	while ((n = recv(collector, numbers, sizeof numbers, MSG_DONTWAIT)) > 0)
		for (size_t i = 0; i < n / sizeof numbers[0]; i++) {
			wrong += numbers[i] != got + 1;
			got = numbers[i];
		}
}

static void
begin(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof address;
	int octets = 1 << 20;

	memset(memory, 0, sizeof *memory);
	made = got = wrong = 0;
	CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, events), 0);
	setsockopt(events[1], SOL_SOCKET, SO_SNDBUF, &octets, sizeof octets);
	collector = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	setsockopt(collector, SOL_SOCKET, SO_RCVBUF, &octets, sizeof octets);
	CU_ASSERT_EQUAL_FATAL(bind(collector, (struct sockaddr *)&address, length), 0);
	CU_ASSERT_EQUAL_FATAL(getsockname(collector, (struct sockaddr *)&address, &length), 0);
	port = ntohs(address.sin_port);
}

/* All that was made has arrived once, and everything that follows from it was done. */
static void
end(void)
{
	int status;
	pid_t child = fork();

	if (!child)
		run(false);
	waitpid(child, &status, WUNTRACED);
	CU_ASSERT_TRUE(WIFSTOPPED(status));
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	collect();
	CU_ASSERT_EQUAL(wrong, 0);
	CU_ASSERT_EQUAL(got, made);
	for (uint64_t i = 0; i < 4; i++)
		CU_ASSERT_EQUAL(memory->applied[(made - i) % 4], made - i);
	close(events[0]);
	close(events[1]);
	close(collector);
}

/* ---- tests ---- */

/* One killed on its way leaves something, the next one is killed while it clears up. */
static void
test_by_instruction(void)
{
	struct steps steps;
	int status;

	begin();
	for (steps_begin(&steps); steps_more(&steps);) {
		make(69 - steps.kills % 70);
		pid_t child = fork();
		if (!child) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			ptrace(PTRACE_TRACEME, 0, NULL, NULL);
			run(true);
		}
		waitpid(child, &status, 0);
		steps_run(&steps, child);
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
		collect();
	}
	CU_ASSERT(made > steps.kills);
	printf("%u kills in %u instructions, %lu numbers ", steps.kills, steps.way, (unsigned long)made);
	end();
}

static void
test_at_random(void)
{
	const char *wanted = g_getenv("PEERFLOW_KILLS");
	const unsigned kills = wanted ? atoi(wanted) : KILLS;

	begin();
	for (unsigned i = 0; i < kills; i++) {
		make(g_random_int_range(0, 100));
		pid_t child = fork();
		if (!child) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			run(false);
		}
		g_usleep(g_random_int_range(0, 3000));
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
		collect();
	}
	printf("%u kills, %lu numbers ", kills, (unsigned long)made);
	end();
}

static void
test_ring(void)
{
	struct journal *journal = journal_open(NULL);

	CU_ASSERT_FALSE(journal_survives(journal));
	CU_ASSERT_EQUAL(journal_head(journal), 0);
	CU_ASSERT_EQUAL(journal_first(journal), 1);
	CU_ASSERT_FALSE(journal_replay(journal));
	for (uint64_t number = 1; number <= 3 * JOURNAL_SLOTS; number++) {
		journal_place(journal, 0)->flow.flow_id = number;
		if (number % 2)
			journal_commit(journal, 1, number);
		else
			journal_commit_more(journal, 1);
	}
	CU_ASSERT_EQUAL(journal_head(journal), 3 * JOURNAL_SLOTS);
	CU_ASSERT_EQUAL(journal_first(journal), 3 * JOURNAL_SLOTS - JOURNAL_KEPT + 1);
	for (unsigned i = 0; i < JOURNAL_BATCH; i++)
		journal_place(journal, i)->flow.flow_id = 0;
	for (uint64_t number = journal_first(journal); number <= journal_head(journal); number++)
		CU_ASSERT_EQUAL(journal_flow(journal, number)->flow.flow_id, number);
	CU_ASSERT_TRUE(journal_replay(journal));
	journal_events(journal)->batch = 3 * JOURNAL_SLOTS - 1;
	CU_ASSERT_FALSE(journal_replay(journal));
	journal_close(journal);
	journal_close(NULL);
}

/* The number of a batch wraps in the commit word, and leaves the head alone. */
static void
test_batch_wraps(void)
{
	struct journal *journal = journal_open(&memory->journal);

	memset(memory, 0, sizeof *memory);
	for (uint64_t batch = 1; batch < 200000; batch++) {
		journal_events(journal)->batch = batch;
		CU_ASSERT_TRUE_FATAL(journal_replay(journal));
		journal_commit(journal, batch % 3, batch);
		CU_ASSERT_FALSE_FATAL(journal_replay(journal));
	}
	CU_ASSERT_EQUAL(journal_head(journal), 199999);
	journal_close(journal);
}

static void
test_collectors(void)
{
	struct journal *journal = journal_open(&memory->journal);
	struct receipts *receipts;

	memset(memory, 0, sizeof *memory);
	journal_commit(journal, 10, 1);
	receipts = journal_receipts(journal, "a");
	CU_ASSERT_EQUAL(receipts->out, 10);
	journal_commit(journal, 10, 2);
	CU_ASSERT_PTR_EQUAL(journal_receipts(journal, "a"), receipts);
	CU_ASSERT_EQUAL(receipts->out, 10);
	CU_ASSERT_EQUAL(journal_receipts(journal, "b")->out, 20);
	journal_forget_others(journal);
	CU_ASSERT_PTR_EQUAL(journal_receipts(journal, "a"), receipts);
	journal_forget_others(journal);         /* b */
	journal_commit(journal, 10, 3);
	journal_close(journal);
	/* Receipts that a killed process left are recovered once. */
	receipts->expect[0].mark = 15;
	receipts->header[0].msg_len = 1;
	receipts->expected = 2;
	journal = journal_open(&memory->journal);
	CU_ASSERT_PTR_EQUAL(journal_receipts(journal, "a"), receipts);
	CU_ASSERT_EQUAL(receipts->out, 15);
	CU_ASSERT_EQUAL(receipts->expected, 0);
	receipts->expected = 1;
	receipts->expect[0].mark = 16;
	CU_ASSERT_EQUAL(journal_receipts(journal, "a")->out, 15);
	CU_ASSERT_EQUAL(journal_receipts(journal, "b")->out, 30);
	for (unsigned i = 2; i < JOURNAL_COLLECTORS; i++) {
		char name[8];
		snprintf(name, sizeof name, "%u", i);
		CU_ASSERT_PTR_NOT_NULL(journal_receipts(journal, name));
	}
	CU_ASSERT_PTR_NULL(journal_receipts(journal, "one too many"));
	journal_close(journal);
}

static void
on_line(const char *domain, GLogLevelFlags level, const char *text, void *data)
{
	(void)domain, (void)level, (void)text, (void)data;
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "a ring of flows", test_ring },
		{ "batches without end", test_batch_wraps },
		{ "receipts by name", test_collectors },
		{ "killed by instruction", test_by_instruction },
		{ "killed at random", test_at_random },
		CU_TEST_INFO_NULL,
	};
	memory = mmap(NULL, sizeof *memory, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return EXIT_FAILURE;
	g_log_set_default_handler(on_line, NULL);
	setvbuf(stdout, NULL, _IONBF, 0);
	return run_suite("journal", tests);
}
