/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A sender is killed, at random moments and at every instruction, thousands of times; each time another one goes on
 * where the receipts say. Whatever it was that killed it, the receiver gets every message once, and in order. */

#include "transport/receipts.h"

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
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <glib.h>

#include "steps.h"
#include "suite.h"
#include "transport/link.h"

enum {
	WINDOW = 96,                /* messages under way: more than the receiver's buffer holds would be lost */
	LONGEST = 600,              /* octets of a message */
	ROUNDS = 250,               /* senders that are killed at random moments; PEERFLOW_KILLS sets another number */
};

/* What the senders leave. */
static struct memory {
	struct receipts receipts;
	atomic_uint_fast64_t received;  /* so far, as the receiver tells them */
} *memory;

static struct {
	int listener, fd;           /* TCP: fd is the session, or -1 */
	bool stream;
	uint16_t port;
	uint64_t last;              /* number of the last message */
	unsigned wrong;             /* messages that did not come next */
	uint8_t part[LONGEST + 4];  /* TCP: of a message */
	size_t have;
} receiver;

/* ---- the receiver ---- */

static void
open_receiver(bool stream)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof address;
	int octets = 1 << 20;
	int fd = socket(AF_INET, (stream ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	memset(&receiver, 0, sizeof receiver);
	receiver.stream = stream;
	receiver.listener = stream ? fd : -1;
	receiver.fd = stream ? -1 : fd;
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &octets, sizeof octets);
	CU_ASSERT_EQUAL_FATAL(bind(fd, (struct sockaddr *)&address, length), 0);
	CU_ASSERT_EQUAL_FATAL(getsockname(fd, (struct sockaddr *)&address, &length), 0);
	receiver.port = ntohs(address.sin_port);
	if (stream)
		CU_ASSERT_EQUAL_FATAL(listen(fd, 16), 0);
}

static void
close_receiver(void)
{
	if (receiver.listener >= 0)
		close(receiver.listener);
	if (receiver.fd >= 0)
		close(receiver.fd);
}

/* A message: 16 bits of length, 32 of number, and padding. */
static void
take_message(const uint8_t *octets)
{
	uint32_t number;

	memcpy(&number, octets + 2, sizeof number);
	receiver.wrong += number != receiver.last + 1;
	receiver.last = number;
}

static void
take_stream(const uint8_t *octets, size_t n)
{
	uint16_t length;

	while (n) {
		receiver.part[receiver.have++] = *octets++;
		n--;
		memcpy(&length, receiver.part, sizeof length);
		if (receiver.have < sizeof length || receiver.have < length)
			continue;
		take_message(receiver.part);
		receiver.have = 0;
	}
}

/* A torn message at the end of a session is none. */
static void
next_session(void)
{
	if (receiver.fd >= 0)
		close(receiver.fd);
	receiver.fd = accept4(receiver.listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	receiver.have = 0;
}

/* Takes what is there. True if there was something. */
static bool
take(void)
{
	uint8_t octets[65536];

	if (receiver.fd < 0)
		next_session();
	ssize_t n = receiver.fd < 0 ? -1 : recv(receiver.fd, octets, sizeof octets, 0);
	if (n == 0)
		next_session();
	if (n < 0)
		return false;
	if (receiver.stream)
		take_stream(octets, n);
	else
		take_message(octets);
	atomic_store(&memory->received, receiver.last);
	return true;
}

/* ---- the sender ---- */

static uint8_t pool[RECEIPTS_MOST][LONGEST];

/* Some runs of equal length, some not, as an encoder makes them. */
static size_t
make_messages(GRand *random, uint64_t first, struct message *messages)
{
	size_t n = g_rand_int_range(random, 1, RECEIPTS_MOST + 1), equal = g_rand_int_range(random, 6, LONGEST);

	for (size_t i = 0; i < n; i++) {
		uint16_t length = g_rand_int_range(random, 0, 8) ? equal : (size_t)g_rand_int_range(random, 6, LONGEST);
		uint32_t number = first + i;
		memcpy(pool[i], &length, sizeof length);
		memcpy(pool[i] + 2, &number, sizeof number);
		messages[i] = (struct message){ .octets = pool[i], .length = length, .flow_records = 1, .mark = number };
	}
	return n;
}

static struct link *
open_link_to_receiver(void)
{
	const struct link_options options = {
		.name = "test", .host = "127.0.0.1", .port = receiver.port, .transport = receiver.stream ? LINK_TCP : LINK_UDP,
		.retry = 1, .resolve = 60, .queue = 1 << 20, .receipts = &memory->receipts,
	};
	struct link *link = link_open(&options, &(struct link_handler){ 0 }, NULL, NULL);

	while (!link_is_open(link))
		g_main_context_iteration(NULL, true);
	return link;
}

static void
await_window(uint64_t number, size_t n)
{
	while (number + n > atomic_load(&memory->received) + WINDOW)
		g_main_context_iteration(NULL, false);
}

/* Sends until it is killed. With once, stops itself before it sends one batch, and ends after it. */
static void
send_for_ever(uint32_t seed, bool once)
{
	struct message messages[RECEIPTS_MOST];
	GRand *random = g_rand_new_with_seed(seed);
	uint64_t number = receipts_recover(&memory->receipts) + 1;
	struct link *link = open_link_to_receiver();

	do {
		size_t n = make_messages(random, number, messages);
		await_window(number, n);
		if (once)
			raise(SIGSTOP);
		link_send(link, messages, n);
		number += n;
	} while (!once);
	raise(SIGSTOP);
	_exit(0);
}

static pid_t
start_sender(uint32_t seed, bool once)
{
	pid_t child = fork();

	if (child)
		return child;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (once)
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	send_for_ever(seed, once);
	_exit(1);
}

static void
wait_for(int milliseconds)
{
	struct pollfd any = { .fd = receiver.fd >= 0 ? receiver.fd : receiver.listener, .events = POLLIN };

	poll(&any, 1, milliseconds);
}

static unsigned
end_sender(pid_t child)
{
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	while (take())
		continue;
	const uint64_t out = receipts_recover(&memory->receipts);
	if (out != receiver.last)
		printf("\n    receipts say %lu, the receiver got %lu", (unsigned long)out, (unsigned long)receiver.last);
	return out != receiver.last;
}

/* ---- tests ---- */

static void
begin(bool stream)
{
	memset(memory, 0, sizeof *memory);
	open_receiver(stream);
}

static void
run_at_random(bool stream)
{
	const char *wanted = g_getenv("PEERFLOW_KILLS");
	const unsigned rounds = wanted ? atoi(wanted) : ROUNDS;
	unsigned wrong = 0, idle = 0;

	begin(stream);
	for (unsigned round = 0; round < rounds && wrong < 3; round++) {
		const uint64_t before = receiver.last;
		pid_t child = start_sender(round, false);
		while (receiver.last == before)         /* for it takes a while until it begins */
			if (!take())
				wait_for(1);
		const int64_t until = g_get_monotonic_time() + g_random_int_range(0, 1500);
		while (g_get_monotonic_time() < until)
			take();
		wrong += end_sender(child);
		idle += receiver.last == before;
	}
	CU_ASSERT_EQUAL(wrong, 0);
	CU_ASSERT_EQUAL(receiver.wrong, 0);
	CU_ASSERT_EQUAL(idle, 0);
	printf("%u kills, %lu messages ", rounds, (unsigned long)receiver.last);
	close_receiver();
}

static void
run_by_instruction(bool stream)
{
	struct steps steps;
	unsigned wrong = 0;
	int status;

	begin(stream);
	for (steps_begin(&steps); steps_more(&steps) && wrong < 3;) {
		pid_t child = start_sender(4, true);
		waitpid(child, &status, 0);
		CU_ASSERT_FATAL(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
		steps_run(&steps, child);
		wrong += end_sender(child);
	}
	CU_ASSERT_EQUAL(wrong, 0);
	CU_ASSERT_EQUAL(receiver.wrong, 0);
	CU_ASSERT(receiver.last > 0);
	printf("%u kills in %u instructions, %lu messages ", steps.kills, steps.way, (unsigned long)receiver.last);
	close_receiver();
}

static void
test_udp_at_random(void)
{
	run_at_random(false);
}

static void
test_tcp_at_random(void)
{
	run_at_random(true);
}

static void
test_udp_by_instruction(void)
{
	run_by_instruction(false);
}

static void
test_tcp_by_instruction(void)
{
	run_by_instruction(true);
}

/* Messages that wait in a queue, and those that it has no room for, are out only when all before them are. */
static void
test_queue_full(void)
{
	struct message messages[RECEIPTS_MOST];
	GRand *random = g_rand_new_with_seed(1);
	uint64_t number = 1;

	begin(true);
	struct link *link = open_link_to_receiver();
	while (link_counters(link)->flow_records_dropped == 0) {
		size_t n = make_messages(random, number, messages);
		link_send(link, messages, n);
		number += n;
	}
	CU_ASSERT(link_mark(link) > 0);
	CU_ASSERT(link_mark(link) < number - 1);
	while (link_mark(link) < number - 1) {
		take();
		g_main_context_iteration(NULL, false);
	}
	CU_ASSERT_EQUAL(link_mark(link), number - 1);
	CU_ASSERT_EQUAL(link_counters(link)->flow_records_sent + link_counters(link)->flow_records_dropped, number - 1);
	link_close(link, 0);
	g_rand_free(random);
	close_receiver();
}

/* An orderly stop that leaves something for the next process, and one that does not. */
static void
test_keep(void)
{
	for (int keep = 0; keep < 2; keep++) {
		struct message messages[RECEIPTS_MOST];
		GRand *random = g_rand_new_with_seed(1);
		uint64_t number = 1;

		begin(true);
		struct link *link = open_link_to_receiver();
		while (link_counters(link)->flow_records_sent == number - 1) {
			size_t n = make_messages(random, number, messages);
			link_send(link, messages, n);
			number += n;
		}
		if (keep)
			link_keep(link);
		link_stop(link, 0);
		do
			if (!take())
				wait_for(100);
		while (receiver.fd >= 0);
		CU_ASSERT_EQUAL(receipts_recover(&memory->receipts), keep ? receiver.last : number - 1);
		CU_ASSERT_EQUAL(link_counters(link)->flow_records_dropped > 0, !keep);
		CU_ASSERT(receiver.last < number - 1);
		link_close(link, 0);
		g_rand_free(random);
		close_receiver();
	}
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
		{ "UDP, killed at random", test_udp_at_random },
		{ "TCP, killed at random", test_tcp_at_random },
		{ "UDP, killed by instruction", test_udp_by_instruction },
		{ "TCP, killed by instruction", test_tcp_by_instruction },
		{ "a full queue", test_queue_full },
		{ "what is kept for later", test_keep },
		CU_TEST_INFO_NULL,
	};
	memory = mmap(NULL, sizeof *memory, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return EXIT_FAILURE;
	g_log_set_default_handler(on_line, NULL);
	setvbuf(stdout, NULL, _IONBF, 0);
	return run_suite("receipts", tests);
}
