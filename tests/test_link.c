/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Links against real sockets on loopback, in a network namespace of this program's own if it may have one. */

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/udp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gio/gio.h>

#include "error.h"
#include "allocations.h"
#include "suite.h"
#include "transport/link.h"

static bool isolated;               /* in a namespace: loopback's MTU is ours to change */

/* ---- what the library did: allocations, send calls, log lines ---- */

/* A kernel that may refuse: refusal with segmentation, or every send, or only the next ones. */
static struct {
	unsigned calls, segmented, datagrams;
	int segmented_error, error;
	unsigned error_times;
} kernel;

int
sendmmsg(int fd, struct mmsghdr *header, unsigned n, int flags)
{
	kernel.calls++;
	if (kernel.error_times && kernel.error_times--) {
		errno = kernel.error;
		return -1;
	}
	for (unsigned i = 0; i < n; i++)
		if (header[i].msg_hdr.msg_controllen && kernel.segmented_error) {
			n = i;
			break;
		}
	if (!n) {
		errno = kernel.segmented_error;
		return -1;
	}
	int sent = (int)syscall(SYS_sendmmsg, fd, header, n, flags);
	for (int i = 0; i < sent; i++) {
		kernel.segmented += header[i].msg_hdr.msg_controllen > 0;
		kernel.datagrams += header[i].msg_hdr.msg_iovlen;
	}
	return sent;
}

static GString *lines;
static unsigned foreign_lines;

static void
on_line(const char *domain, GLogLevelFlags level, const char *text, void *data)
{
	(void)domain, (void)level, (void)data;
	foreign_lines += !g_str_has_prefix(text, "collector ");
	g_string_append_printf(lines, "%s\n", text);
}

static unsigned
count_lines(const char *part)
{
	unsigned n = 0;

	for (const char *at = lines->str; (at = strstr(at, part)); at++)
		n++;
	return n;
}

/* ---- a resolver that says what the test wants ---- */

static struct {
	const char *answer[3];      /* none: the name does not exist */
	unsigned asked;
	bool slow;                  /* the answer waits for give_answer */
	GTask *waiting;
} names;

typedef GResolver test_resolver;
typedef GResolverClass test_resolverClass;
static GType test_resolver_get_type(void);
G_DEFINE_TYPE(test_resolver, test_resolver, G_TYPE_RESOLVER)

static void
free_addresses(void *addresses)
{
	g_resolver_free_addresses(addresses);
}

static void
give_answer(GTask *task)
{
	GList *addresses = NULL;

	for (size_t i = 0; i < G_N_ELEMENTS(names.answer) && names.answer[i]; i++)
		addresses = g_list_append(addresses, g_inet_address_new_from_string(names.answer[i]));
	if (addresses)
		g_task_return_pointer(task, addresses, free_addresses);
	else
		g_task_return_new_error(task, G_RESOLVER_ERROR, G_RESOLVER_ERROR_NOT_FOUND, "no such name");
	g_object_unref(task);
}

static void
lookup_async(GResolver *resolver, const char *host, GCancellable *cancellable, GAsyncReadyCallback done, void *data)
{
	GTask *task = g_task_new(resolver, cancellable, done, data);

	(void)host;
	names.asked++;
	if (names.slow)
		names.waiting = task;
	else
		give_answer(task);
}

static GList *
lookup_finish(GResolver *resolver, GAsyncResult *result, GError **error)
{
	(void)resolver;
	return g_task_propagate_pointer(G_TASK(result), error);
}

static void
test_resolver_init(test_resolver *resolver)
{
	(void)resolver;
}

static void
test_resolver_class_init(test_resolverClass *class)
{
	class->lookup_by_name_async = lookup_async;
	class->lookup_by_name_finish = lookup_finish;
}

static GResolver *
use_test_resolver(const char *answer)
{
	GResolver *before = g_resolver_get_default();
	g_autoptr(GResolver) resolver = g_object_new(test_resolver_get_type(), NULL);

	memset(&names, 0, sizeof names);
	names.answer[0] = answer;
	g_resolver_set_default(resolver);
	return before;
}

static void
restore_resolver(GResolver *before)
{
	g_resolver_set_default(before);
	g_object_unref(before);
}

/* ---- links, sinks and messages ---- */

struct seen {
	unsigned opened, resized, refused;
	size_t payload;
	int64_t opened_at, refused_at, closest_refusals;
	struct link *greet;         /* opened() sends a message through this one */
};

static uint8_t pattern[1 << 17];    /* octets of all messages; long without a period */

static struct message
message_of(size_t offset, size_t length)
{
	return (struct message) { .octets = pattern + offset, .length = length, .flow_records = 1 };
}

static void
on_opened(void *data, size_t payload)
{
	struct seen *seen = data;
	struct message message = message_of(0, 40);

	seen->opened++;
	seen->payload = payload;
	seen->opened_at = g_get_monotonic_time();
	if (seen->greet)
		link_send(seen->greet, &message, 1);
}

static void
on_resized(void *data, size_t payload)
{
	struct seen *seen = data;

	seen->resized++;
	seen->payload = payload;
}

static void
on_refused(void *data)
{
	struct seen *seen = data;
	int64_t now = g_get_monotonic_time();

	if (seen->refused++)
		seen->closest_refusals = MIN(seen->closest_refusals, now - seen->refused_at);
	else
		seen->closest_refusals = INT64_MAX;
	seen->refused_at = now;
}

static const struct link_handler handler = { on_opened, on_resized, on_refused };

static struct link *
open_link(struct seen *seen, enum link_transport transport, const char *host, uint16_t port)
{
	const struct link_options options = {
		.name = "test", .host = host, .port = port, .transport = transport, .retry = 1, .resolve = 1, .queue = 65535,
	};

	*seen = (struct seen) { 0 };
	g_string_truncate(lines, 0);
	struct link *link = link_open(&options, &handler, seen, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(link);
	return link;
}

/* Turns the main loop until the condition holds or the time is over; the value is that of the condition. */
#define SPIN(milliseconds, condition) __extension__ ({ \
	int64_t spin_end = g_get_monotonic_time() + (milliseconds) * INT64_C(1000); \
	bool spin_held; \
	while (!(spin_held = (condition)) && g_get_monotonic_time() < spin_end) \
		if (!g_main_context_iteration(NULL, FALSE)) \
			g_usleep(1000); \
	spin_held; \
})

static void
spin_for(int milliseconds)
{
	(void)SPIN(milliseconds, false);
}

static int
make_socket(int type, const char *address, uint16_t *port)
{
	struct sockaddr_storage name = { .ss_family = strchr(address, ':') ? AF_INET6 : AF_INET };
	struct sockaddr_in *v4 = (struct sockaddr_in *)&name;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&name;
	socklen_t length = sizeof name;
	int on = 1, size = 4 << 20;
	int fd = socket(name.ss_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	inet_pton(name.ss_family, address, name.ss_family == AF_INET6 ? (void *)&v6->sin6_addr : (void *)&v4->sin_addr);
	v4->sin_port = htons(*port);    /* at the same place in both */
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (type == SOCK_DGRAM)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
	CU_ASSERT_EQUAL_FATAL(bind(fd, (struct sockaddr *)&name, sizeof name), 0);
	CU_ASSERT_EQUAL_FATAL(getsockname(fd, (struct sockaddr *)&name, &length), 0);
	*port = ntohs(v4->sin_port);
	return fd;
}

static int
listen_on(const char *address, uint16_t *port)
{
	int fd = make_socket(SOCK_STREAM, address, port);

	CU_ASSERT_EQUAL_FATAL(listen(fd, 8), 0);
	return fd;
}

static uint16_t
unused_port(int type)
{
	uint16_t port = 0;

	close(make_socket(type, "127.0.0.1", &port));
	return port;
}

/* One datagram within a second. Its length, or -1. */
static ssize_t
receive(int fd, uint8_t *octets, size_t size)
{
	ssize_t n = -1;

	(void)SPIN(1000, (n = recv(fd, octets, size, MSG_DONTWAIT)) >= 0);
	return n;
}

/* True if exactly these messages come out of the socket, each as a datagram of its own. */
static bool
arrives(int fd, const struct message *messages, size_t n)
{
	static uint8_t octets[65536];

	for (size_t i = 0; i < n; i++)
		if (receive(fd, octets, sizeof octets) != messages[i].length ||
		    memcmp(octets, messages[i].octets, messages[i].length))
			return false;
	return recv(fd, octets, sizeof octets, MSG_DONTWAIT) < 0;
}

static int
accept_from(int listener)
{
	int fd = -1;

	(void)SPIN(5000, (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0);
	return fd;
}

/* Closes with a reset, as a collector that crashes does. */
static void
reset(int fd)
{
	struct linger now = { 1, 0 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
	close(fd);
}

/* ---- UDP ---- */

static void
send_over_udp(const char *host, const char *address)
{
	struct seen seen;
	uint16_t port = 0;
	int sink = make_socket(SOCK_DGRAM, address, &port);
	struct link *link = open_link(&seen, LINK_UDP, host, port);
	struct message messages[] = { message_of(1, 100), message_of(7, 300) };

	CU_ASSERT_EQUAL(seen.opened, 0);
	CU_ASSERT_FALSE(link_is_open(link));
	CU_ASSERT_TRUE(SPIN(3000, seen.opened));
	CU_ASSERT_TRUE(link_is_open(link));
	link_send(link, messages, 2);
	CU_ASSERT_TRUE(arrives(sink, messages, 2));
	CU_ASSERT_EQUAL(link_counters(link)->messages_sent, 2);
	CU_ASSERT_EQUAL(link_counters(link)->octets_sent, 400);
	CU_ASSERT_EQUAL(link_counters(link)->flow_records_sent, 2);
	CU_ASSERT_EQUAL(link_counters(link)->sessions, 1);
	CU_ASSERT_EQUAL(count_lines("sending to"), 1);
	link_close(link, 0);
	close(sink);
}

static void
test_udp_literals(void)
{
	send_over_udp("127.0.0.1", "127.0.0.1");
	send_over_udp("::1", "::1");
}

static void
test_udp_name(void)
{
	send_over_udp("localhost", "::");      /* takes both families */
}

static void
test_payload(void)
{
	const struct { const char *host; unsigned mtu; size_t payload; } cases[] = {
		{ "127.0.0.1", 0, 1472 },
		{ "127.0.0.1", 1280, 1252 },
		{ "127.0.0.1", 9000, 8972 },
		{ "127.0.0.1", 100, 484 },
		{ "::1", 0, 1452 },
		{ "::1", 1280, 1232 },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		struct seen seen = { 0 };
		struct link_options options = {
			.name = "test", .host = cases[i].host, .port = 9, .mtu = cases[i].mtu, .retry = 1, .resolve = 1,
		};
		struct link *link = link_open(&options, &handler, &seen, NULL);
		CU_ASSERT_TRUE(SPIN(1000, seen.opened));
		CU_ASSERT_EQUAL(seen.payload, cases[i].payload);
		link_close(link, 0);
	}
}

static void
test_source_address(void)
{
	struct seen seen = { 0 };
	uint16_t port = 0;
	int sink = make_socket(SOCK_DGRAM, "127.0.0.1", &port);
	struct link_options options = {
		.name = "test", .host = "127.0.0.1", .port = port, .source_address = "127.0.0.5", .retry = 1, .resolve = 1,
	};
	struct message message = message_of(0, 40);
	struct sockaddr_in from = { 0 };
	socklen_t length = sizeof from;
	g_autoptr(GError) error = NULL;

	struct link *link = link_open(&options, &handler, &seen, NULL);
	CU_ASSERT_TRUE(SPIN(1000, seen.opened));
	link_send(link, &message, 1);
	CU_ASSERT_EQUAL(recvfrom(sink, pattern + 65536, 100, 0, (struct sockaddr *)&from, &length), 40);
	CU_ASSERT_STRING_EQUAL(inet_ntoa(from.sin_addr), "127.0.0.5");
	link_close(link, 0);
	close(sink);

	options.source_address = "wt0";
	CU_ASSERT_PTR_NULL(link_open(&options, &handler, &seen, &error));
	CU_ASSERT_TRUE(g_error_matches(error, PEERFLOW_ERROR, EX_CONFIG));
	CU_ASSERT_STRING_EQUAL(error->message, "collector test: source address \"wt0\" is not an address");
	g_clear_error(&error);
	options.source_address = "::1";
	CU_ASSERT_PTR_NULL(link_open(&options, &handler, &seen, &error));
	CU_ASSERT_TRUE(g_error_matches(error, PEERFLOW_ERROR, EX_CONFIG));

	/* Of a name with both families, the one that suits the source address. */
	GResolver *before = use_test_resolver("::1");
	names.answer[1] = "127.0.0.1";
	options.host = "x";
	options.source_address = "127.0.0.5";
	seen = (struct seen) { 0 };
	link = link_open(&options, &handler, &seen, NULL);
	CU_ASSERT_TRUE(SPIN(1000, seen.opened));
	CU_ASSERT_EQUAL(seen.payload, 1472);
	link_close(link, 0);
	names.answer[1] = NULL;
	g_string_truncate(lines, 0);
	link = link_open(&options, &handler, &seen, NULL);
	CU_ASSERT_TRUE(SPIN(1000, count_lines("cannot resolve x: no address of the source address's family") == 1));
	link_close(link, 0);
	restore_resolver(before);
}

static void
test_segmentation(void)
{
	struct seen seen;
	uint16_t port = 0;
	int sink = make_socket(SOCK_DGRAM, "127.0.0.1", &port);
	struct link *link = open_link(&seen, LINK_UDP, "127.0.0.1", port);
	struct message messages[400];

	CU_ASSERT_TRUE(SPIN(1000, seen.opened));
	kernel.calls = kernel.segmented = kernel.datagrams = 0;
	for (size_t i = 0; i < 100; i++)
		messages[i] = message_of(i * 7, i == 99 ? 90 : 1000);
	link_send(link, messages, 100);
	CU_ASSERT_TRUE(arrives(sink, messages, 100));
	/* 64 a system call, and of those 64, one send of 64 * 1000 octets: twice. */
	CU_ASSERT_EQUAL(kernel.calls, 2);
	CU_ASSERT_EQUAL(kernel.segmented, 2);
	CU_ASSERT_EQUAL(kernel.datagrams, 100);

	/* Longer than one send may be: 65507 octets. */
	for (size_t i = 0; i < 64; i++)
		messages[i] = message_of(i * 11, 1472);
	kernel.segmented = 0;
	link_send(link, messages, 64);
	CU_ASSERT_TRUE(arrives(sink, messages, 64));
	CU_ASSERT_EQUAL(kernel.segmented, 2);

	g_autoptr(GRand) random = g_rand_new_with_seed(7);
	for (size_t i = 0; i < 400; i++) {
		bool like_the_last = i && g_rand_int_range(random, 0, 3);
		size_t length = like_the_last ? messages[i - 1].length : (size_t)g_rand_int_range(random, 20, 1472);
		messages[i] = message_of((size_t)g_rand_int_range(random, 0, 60000), length);
	}
	for (size_t i = 0; i < 400; i += 100) {
		link_send(link, messages + i, 100);
		CU_ASSERT_TRUE(arrives(sink, messages + i, 100));
	}
	CU_ASSERT_EQUAL(link_counters(link)->messages_sent, 564);
	CU_ASSERT_EQUAL(link_counters(link)->flow_records_dropped, 0);
	link_close(link, 0);
	close(sink);
}

static void
test_segmentation_refused(void)
{
	struct seen seen;
	uint16_t port = 0;
	int sink = make_socket(SOCK_DGRAM, "127.0.0.1", &port);
	struct link *link = open_link(&seen, LINK_UDP, "127.0.0.1", port);
	struct message messages[20];

	CU_ASSERT_TRUE(SPIN(1000, seen.opened));
	for (size_t i = 0; i < 20; i++)
		messages[i] = message_of(i * 7, i == 3 ? 1100 : 1000);
	kernel.segmented_error = EIO;
	link_send(link, messages, 20);
	CU_ASSERT_TRUE(arrives(sink, messages, 20));
	/* Not asked for again in this session, so that no call fails now. */
	kernel.calls = 0;
	link_send(link, messages, 20);
	CU_ASSERT_TRUE(arrives(sink, messages, 20));
	CU_ASSERT_EQUAL(kernel.calls, 1);
	kernel.segmented_error = 0;
	CU_ASSERT_EQUAL(link_counters(link)->flow_records_sent, 40);
	CU_ASSERT_EQUAL(link_counters(link)->flow_records_dropped, 0);
	CU_ASSERT_EQUAL(link_counters(link)->send_errors, 0);
	link_close(link, 0);
	close(sink);
}

static void
test_send_errors(void)
{
	struct seen seen;
	uint16_t port = 0;
	int sink = make_socket(SOCK_DGRAM, "127.0.0.1", &port);
	struct link *link = open_link(&seen, LINK_UDP, "127.0.0.1", port);
	struct message messages[] = { message_of(0, 50), message_of(1, 60), message_of(2, 70) };

	CU_ASSERT_TRUE(SPIN(1000, seen.opened));
	/* An error of an earlier message: nothing is lost. */
	kernel.error = ECONNREFUSED;
	kernel.error_times = 1;
	link_send(link, messages, 3);
	CU_ASSERT_TRUE(arrives(sink, messages, 3));
	CU_ASSERT_EQUAL(link_counters(link)->send_errors, 0);

	/* A full buffer: one message is lost, the others follow. */
	kernel.error = EAGAIN;
	kernel.error_times = 1;
	link_send(link, messages, 3);
	CU_ASSERT_TRUE(arrives(sink, messages + 1, 2));
	CU_ASSERT_EQUAL(link_counters(link)->send_errors, 1);
	CU_ASSERT_EQUAL(link_counters(link)->flow_records_dropped, 1);
	CU_ASSERT_TRUE(SPIN(100, seen.refused == 1));

	/* The address we send from is gone: a new socket, and the messages meanwhile are counted. */
	kernel.error = EINVAL;
	kernel.error_times = 6;
	link_send(link, messages, 3);
	CU_ASSERT_EQUAL(seen.opened, 1);
	CU_ASSERT_FALSE(link_is_open(link));
	link_send(link, messages, 3);
	CU_ASSERT_EQUAL(link_counters(link)->flow_records_dropped, 7);
	CU_ASSERT_TRUE(SPIN(1000, seen.opened == 2));
	link_send(link, messages, 3);
	CU_ASSERT_TRUE(arrives(sink, messages, 3));
	CU_ASSERT_EQUAL(link_counters(link)->flow_records_sent, 8);
	CU_ASSERT_EQUAL(count_lines("lost 127.0.0.1"), 1);
	link_close(link, 0);
	close(sink);
}

static void
test_udp_refused(void)
{
	struct seen seen;
	uint16_t port = unused_port(SOCK_DGRAM);
	struct link *link = open_link(&seen, LINK_UDP, "127.0.0.1", port);
	struct message message = message_of(0, 50), messages[80];
	int64_t begin = g_get_monotonic_time();
	unsigned sent = 1;

	CU_ASSERT_TRUE(SPIN(1000, seen.opened));
	link_send(link, &message, 1);
	/* Noticed without another send. */
	CU_ASSERT_TRUE(SPIN(500, link_counters(link)->refused == 1 && seen.refused == 1));
	for (; g_get_monotonic_time() < begin + 2500000; sent++) {
		link_send(link, &message, 1);
		spin_for(10);
	}
	CU_ASSERT_EQUAL(link_counters(link)->refused, sent);
	CU_ASSERT_TRUE(seen.refused >= 2 && seen.refused <= 3);
	CU_ASSERT_TRUE(seen.closest_refusals >= 950000);
	for (size_t i = 0; i < 80; i++)
		messages[i] = message_of(i, 60 + i % 2);
	link_send(link, messages, 80);
	CU_ASSERT_EQUAL(link_counters(link)->flow_records_dropped, 0);

	/* No busy loop: nothing to do once the errors are read. */
	spin_for(1100);
	unsigned turns = 0;
	for (int i = 0; i < 100; i++)
		turns += g_main_context_iteration(NULL, FALSE);
	CU_ASSERT_TRUE(turns <= 2);

	int sink = make_socket(SOCK_DGRAM, "127.0.0.1", &port);
	link_send(link, messages, 80);
	CU_ASSERT_TRUE(arrives(sink, messages, 80));
	CU_ASSERT_EQUAL(seen.opened, 1);
	CU_ASSERT_EQUAL(link_counters(link)->flow_records_sent, sent + 160);
	CU_ASSERT_EQUAL(count_lines("Connection refused"), 1);
	CU_ASSERT_EQUAL(count_lines("takes messages again"), 0);
	CU_ASSERT_TRUE(SPIN(7000, count_lines("takes messages again") == 1));
	link_close(link, 0);
	close(sink);
}

static bool
set_loopback_mtu(int mtu)
{
	struct ifreq request = { .ifr_name = "lo", .ifr_mtu = mtu };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool done = isolated && !ioctl(fd, SIOCSIFMTU, &request);

	close(fd);
	return done;
}

static void
shrink_path(const char *address, size_t before, size_t after)
{
	struct seen seen;
	uint16_t port = 0;
	int sink = make_socket(SOCK_DGRAM, address, &port);
	struct link *link = open_link(&seen, LINK_UDP, address, port);
	struct message messages[50];

	for (size_t i = 0; i < 50; i++)
		messages[i] = message_of(i * 7, i == 20 ? 200 : 1400);
	CU_ASSERT_TRUE(SPIN(1000, seen.opened));
	CU_ASSERT_EQUAL(seen.payload, before);
	CU_ASSERT_TRUE(set_loopback_mtu(1300));
	link_send(link, messages, 50);
	CU_ASSERT_TRUE(arrives(sink, messages, 50));
	CU_ASSERT_TRUE(SPIN(100, seen.resized == 1));
	CU_ASSERT_EQUAL(seen.payload, after);
	CU_ASSERT_EQUAL(link_counters(link)->flow_records_sent, 50);
	CU_ASSERT_EQUAL(link_counters(link)->flow_records_dropped, 0);
	CU_ASSERT_EQUAL(link_counters(link)->send_errors, 0);
	CU_ASSERT_EQUAL(seen.refused, 0);

	/* Cutting goes on, with messages of the new size. */
	for (size_t i = 0; i < 50; i++)
		messages[i].length = (uint16_t)after;
	kernel.segmented = 0;
	link_send(link, messages, 50);
	CU_ASSERT_TRUE(arrives(sink, messages, 50));
	CU_ASSERT_EQUAL(kernel.segmented, 1);

	/* A path that grows is found when it is looked at. */
	CU_ASSERT_TRUE(set_loopback_mtu(65536));
	CU_ASSERT_TRUE(SPIN(2500, seen.resized == 2));
	CU_ASSERT_EQUAL(seen.payload, before);
	CU_ASSERT_EQUAL(seen.opened, 1);
	link_close(link, 0);
	close(sink);
}

static void
test_path_mtu(void)
{
	if (!isolated) {
		printf("(skipped: no network namespace) ");
		return;
	}
	shrink_path("127.0.0.1", 1472, 1272);
	shrink_path("::1", 1452, 1252);
}

/* Gives loopback this address as its second one, or with "0.0.0.0" takes it away again. */
static void
set_second_address(const char *address)
{
	struct ifreq request = { .ifr_name = "lo:0" };
	struct sockaddr_in *name = (struct sockaddr_in *)&request.ifr_addr;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	name->sin_family = AF_INET;
	inet_pton(AF_INET, address, &name->sin_addr);
	CU_ASSERT_EQUAL(ioctl(fd, SIOCSIFADDR, &request), 0);
	close(fd);
}

static void
test_network_comes_and_goes(void)
{
	struct seen seen;
	uint16_t port = 0;
	struct message message = message_of(0, 50);

	if (!isolated) {
		printf("(skipped: no network namespace) ");
		return;
	}
	int sink = make_socket(SOCK_DGRAM, "0.0.0.0", &port);
	struct link *link = open_link(&seen, LINK_UDP, "192.0.2.1", port);
	/* Datagrams do not back off: a try every second. */
	CU_ASSERT_TRUE(SPIN(1000, count_lines("Network is unreachable; next try in 1 s") == 1));
	spin_for(2500);
	CU_ASSERT_EQUAL(seen.opened, 0);
	set_second_address("192.0.2.1");
	CU_ASSERT_TRUE(SPIN(1200, seen.opened == 1));
	CU_ASSERT_EQUAL(count_lines("Network is unreachable"), 1);
	link_send(link, &message, 1);
	CU_ASSERT_TRUE(arrives(sink, &message, 1));

	set_second_address("0.0.0.0");
	link_send(link, &message, 1);
	CU_ASSERT_FALSE(link_is_open(link));
	CU_ASSERT_TRUE(SPIN(500, count_lines("lost 192.0.2.1") == 1));
	CU_ASSERT_EQUAL(link_counters(link)->flow_records_dropped, 1);
	set_second_address("192.0.2.1");
	CU_ASSERT_TRUE(SPIN(1500, seen.opened == 2));
	link_send(link, &message, 1);
	CU_ASSERT_TRUE(arrives(sink, &message, 1));
	set_second_address("0.0.0.0");
	link_close(link, 0);
	close(sink);
}

/* ---- names ---- */

static void
test_unresolvable(void)
{
	struct seen seen;
	struct message message = message_of(0, 50);
	struct link *link = open_link(&seen, LINK_UDP, "no-such-name.invalid", 9);

	CU_ASSERT_TRUE(SPIN(20000, count_lines("cannot resolve no-such-name.invalid")));
	link_send(link, &message, 1);
	CU_ASSERT_FALSE(link_is_open(link));
	CU_ASSERT_EQUAL(link_counters(link)->flow_records_dropped, 1);
	link_close(link, 0);

	/* One that exists only at the third try; and one line about the two before. */
	GResolver *before = use_test_resolver(NULL);
	link = open_link(&seen, LINK_UDP, "collector.example", 9);
	CU_ASSERT_TRUE(SPIN(1800, names.asked == 2));
	names.answer[0] = "127.0.0.1";
	CU_ASSERT_TRUE(SPIN(1800, seen.opened));
	CU_ASSERT_EQUAL(names.asked, 3);
	CU_ASSERT_EQUAL(count_lines("cannot resolve"), 1);
	CU_ASSERT_EQUAL(count_lines("next try in 1 s"), 1);
	link_close(link, 0);
	restore_resolver(before);
}

static void
test_name_moves(void)
{
	struct seen seen;
	uint16_t port = 0;
	int sink = make_socket(SOCK_DGRAM, "127.0.0.2", &port);
	GResolver *before = use_test_resolver("127.0.0.1");
	struct link *link = open_link(&seen, LINK_UDP, "collector.example", port);
	struct message message = message_of(0, 50);

	CU_ASSERT_TRUE(SPIN(1000, seen.opened));
	/* Still among the answers, if not the first, or no answer at all: the session stays. */
	names.answer[0] = "127.0.0.9";
	names.answer[1] = "127.0.0.1";
	CU_ASSERT_TRUE(SPIN(1500, names.asked == 2));
	names.answer[0] = NULL;
	CU_ASSERT_TRUE(SPIN(1500, names.asked == 3));
	CU_ASSERT_EQUAL(seen.opened, 1);
	CU_ASSERT_TRUE(link_is_open(link));
	names.answer[0] = "127.0.0.2";
	names.answer[1] = NULL;
	CU_ASSERT_TRUE(SPIN(1500, seen.opened == 2));
	link_send(link, &message, 1);
	CU_ASSERT_TRUE(arrives(sink, &message, 1));
	CU_ASSERT_EQUAL(link_counters(link)->sessions, 2);
	CU_ASSERT_EQUAL(count_lines("sending to 127.0.0.2"), 1);
	link_close(link, 0);
	restore_resolver(before);
	close(sink);
}

/* "localhost" with a collector on IPv4 alone. */
static void
test_second_answer(void)
{
	struct seen seen;
	uint16_t port = 0;
	int sink = make_socket(SOCK_DGRAM, "127.0.0.1", &port);
	GResolver *before = use_test_resolver("::1");
	names.answer[1] = "127.0.0.1";
	struct link *link = open_link(&seen, LINK_UDP, "collector.example", port);
	struct message message = message_of(0, 50);

	CU_ASSERT_TRUE(SPIN(1000, seen.opened));
	link_send(link, &message, 1);
	CU_ASSERT_TRUE(SPIN(1000, seen.opened == 2));
	link_send(link, &message, 1);
	CU_ASSERT_TRUE(arrives(sink, &message, 1));
	spin_for(1500);
	CU_ASSERT_EQUAL(seen.opened, 2);
	link_close(link, 0);

	int listener = listen_on("127.0.0.1", &port);
	link = open_link(&seen, LINK_TCP, "collector.example", port);
	CU_ASSERT_TRUE(SPIN(500, seen.opened == 1));
	CU_ASSERT_EQUAL(count_lines("next try"), 0);
	link_close(link, 0);
	restore_resolver(before);
	close(listener);
	close(sink);
}

static void
test_close_while_resolving(void)
{
	struct seen seen;
	struct link *link = open_link(&seen, LINK_UDP, "no-such-name.invalid", 9);

	g_main_context_iteration(NULL, FALSE);
	link_close(link, 1000);
	spin_for(100);
	CU_ASSERT_EQUAL(seen.opened, 0);
	CU_ASSERT_EQUAL(lines->len, 0);
}

/* ---- TCP ---- */

/* Numbered messages of many lengths, each with its own number of flow records. */
#define NUMBERED 24                 /* octets in front of the pattern: number and length */

static struct message
numbered(uint8_t *octets, uint32_t number)
{
	uint32_t head[2] = { number, NUMBERED + number * 37 % 1400 };

	memcpy(octets, head, sizeof head);
	memcpy(octets + sizeof head, pattern + number % 5000, head[1] - sizeof head);
	return (struct message) { .octets = octets, .length = head[1], .flow_records = number % 7,
	                          .flow_packets = number % 7 * 2, .flow_octets = number % 7 * 3 };
}

/* Reads such a stream and checks that it holds whole messages in order. */
struct reader {
	uint8_t octets[1 << 16];
	size_t held;
	uint64_t messages, records, total;
	int64_t last;
	bool torn;
};

static bool
take_message(struct reader *reader)
{
	uint32_t head[2];
	uint8_t expected[2048];

	if (reader->held < sizeof head)
		return false;
	memcpy(head, reader->octets, sizeof head);
	struct message message = numbered(expected, head[0]);
	if (head[1] != message.length || head[0] <= reader->last)
		reader->torn = true;
	if (reader->torn || reader->held < message.length)
		return false;
	reader->torn = memcmp(expected, reader->octets, message.length) != 0;
	reader->last = head[0];
	reader->messages++;
	reader->records += message.flow_records;
	memmove(reader->octets, reader->octets + message.length, reader->held -= message.length);
	return true;
}

/* False at the end of the stream. */
static bool
read_some(struct reader *reader, int fd, size_t most)
{
	size_t room = MIN(most, sizeof reader->octets - reader->held);
	ssize_t n = recv(fd, reader->octets + reader->held, room, MSG_DONTWAIT);

	if (n > 0) {
		reader->held += (size_t)n;
		reader->total += (size_t)n;
	}
	while (take_message(reader))
		continue;
	return n > 0 || (n < 0 && errno == EAGAIN);
}

static struct reader *
new_reader(void)
{
	struct reader *reader = g_new0(struct reader, 1);

	reader->last = -1;
	return reader;
}

static uint64_t
send_numbered(struct link *link, uint32_t first, uint32_t n)
{
	uint8_t octets[10][2048];
	struct message messages[10];
	uint64_t records = 0;

	for (uint32_t i = 0; i < n; i += 10) {
		for (uint32_t k = 0; k < 10; k++) {
			messages[k] = numbered(octets[k], first + i + k);
			records += messages[k].flow_records;
		}
		link_send(link, messages, 10);
	}
	return records;
}

static void
test_tcp(void)
{
	struct seen seen;
	uint16_t port = 0;
	g_autofree struct reader *reader = new_reader();
	int listener = listen_on("::1", &port);
	struct link *link = open_link(&seen, LINK_TCP, "::1", port);

	seen.greet = NULL;
	int fd = accept_from(listener);
	CU_ASSERT_TRUE(SPIN(1000, seen.opened));
	CU_ASSERT_EQUAL(seen.payload, 16384);
	uint64_t records = send_numbered(link, 0, 100);
	CU_ASSERT_TRUE(SPIN(1000, (read_some(reader, fd, 65536), reader->messages == 100)));
	CU_ASSERT_EQUAL(reader->records, records);
	CU_ASSERT_EQUAL(link_counters(link)->messages_sent, 100);
	CU_ASSERT_EQUAL(link_counters(link)->octets_sent, reader->total);
	/* What a collector says is read and thrown away. */
	CU_ASSERT_EQUAL(send(fd, pattern, 50000, MSG_DONTWAIT | MSG_NOSIGNAL), 50000);
	spin_for(50);
	CU_ASSERT_TRUE(link_is_open(link));

	/* Noticed while idle. */
	close(fd);
	CU_ASSERT_TRUE(SPIN(200, !link_is_open(link)));
	send_numbered(link, 0, 10);
	CU_ASSERT_EQUAL(link_counters(link)->flow_records_dropped, 0 + 1 + 2 + 3 + 4 + 5 + 6 + 0 + 1 + 2);
	CU_ASSERT_TRUE(SPIN(100, count_lines("closed by the other end; next try in 1 s") == 1));
	link_close(link, 0);
	close(listener);
}

static void
slow_reading(struct link *link, int fd)
{
	g_autofree struct reader *reader = new_reader();
	const struct link_counters *counters = link_counters(link);
	uint64_t given = 0;

	/* Much more than fits, then a reader that takes little steps while more comes. */
	for (uint32_t i = 0; i < 20000; i += 10) {
		given += send_numbered(link, i, 10);
		g_main_context_iteration(NULL, FALSE);
		if (i > 10000)
			read_some(reader, fd, 3001);
	}
	CU_ASSERT_TRUE(counters->flow_records_dropped > 0);
	CU_ASSERT_EQUAL(counters->flow_records_dropped, counters->dropped[DROP_QUEUE_FULL].flow_records);
	CU_ASSERT_TRUE(SPIN(5000, (read_some(reader, fd, 4099), counters->flow_records_sent == reader->records &&
	                           counters->flow_records_sent + counters->flow_records_dropped == given)));
	CU_ASSERT_EQUAL(counters->flow_packets_sent, counters->flow_records_sent * 2);
	CU_ASSERT_EQUAL(counters->flow_octets_sent, counters->flow_records_sent * 3);
	CU_ASSERT_EQUAL(counters->dropped[DROP_QUEUE_FULL].packets, counters->flow_records_dropped * 2);
	CU_ASSERT_EQUAL(counters->dropped[DROP_QUEUE_FULL].octets, counters->flow_records_dropped * 3);
	CU_ASSERT_FALSE(reader->torn);
	CU_ASSERT_EQUAL(reader->held, 0);
	CU_ASSERT_EQUAL(reader->messages, counters->messages_sent);
	CU_ASSERT_EQUAL(reader->total, counters->octets_sent);
	CU_ASSERT_TRUE(link_is_open(link));
}

static void
test_tcp_slow_reader(void)
{
	struct seen seen;
	uint16_t port = 0;
	int size = 20000;
	int listener = make_socket(SOCK_STREAM, "127.0.0.1", &port);
	setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
	CU_ASSERT_EQUAL_FATAL(listen(listener, 1), 0);
	struct link *link = open_link(&seen, LINK_TCP, "127.0.0.1", port);
	int fd = accept_from(listener);

	CU_ASSERT_TRUE(SPIN(1000, seen.opened));
	slow_reading(link, fd);
	link_close(link, 0);
	close(fd);
	close(listener);
}

static void
test_tcp_reset(void)
{
	struct seen seen;
	uint16_t port = 0;
	int listener = listen_on("127.0.0.1", &port);
	struct link *link = open_link(&seen, LINK_TCP, "127.0.0.1", port);
	const struct link_counters *counters = link_counters(link);

	seen.greet = link;
	int fd = accept_from(listener);
	CU_ASSERT_TRUE(SPIN(1000, seen.opened));
	uint64_t given = send_numbered(link, 0, 10000) + 1;
	reset(fd);
	given += send_numbered(link, 10000, 100);
	CU_ASSERT_TRUE(SPIN(200, !link_is_open(link)));
	int64_t lost_at = g_get_monotonic_time();
	/* Nothing is unaccounted for, the queue least of all. */
	CU_ASSERT_TRUE(SPIN(100, counters->flow_records_sent + counters->flow_records_dropped == given));
	CU_ASSERT_TRUE(counters->dropped[DROP_SESSION_LOST].flow_records > 0);
	CU_ASSERT_EQUAL(counters->flow_records_dropped, counters->dropped[DROP_SESSION_LOST].flow_records
	                + counters->dropped[DROP_QUEUE_FULL].flow_records + counters->dropped[DROP_NO_SESSION].flow_records);
	CU_ASSERT_TRUE(counters->unconfirmed > 0);
	CU_ASSERT_EQUAL(count_lines("lost 127.0.0.1"), 1);

	fd = accept_from(listener);
	CU_ASSERT_TRUE(SPIN(1000, seen.opened == 2));
	CU_ASSERT_TRUE(seen.opened_at - lost_at >= 950000 && seen.opened_at - lost_at < 1600000);
	CU_ASSERT_EQUAL(counters->sessions, 2);
	/* The new stream begins with what opened() sent, not with the rest of the old one. */
	uint8_t octets[100];
	ssize_t n = -1;
	CU_ASSERT_TRUE(SPIN(1000, (n = recv(fd, octets, sizeof octets, MSG_DONTWAIT)) > 0));
	CU_ASSERT_EQUAL(n, 40);
	CU_ASSERT_EQUAL(memcmp(octets, pattern, 40), 0);
	link_close(link, 0);
	close(fd);
	close(listener);
}

static void
test_tcp_back_off(void)
{
	struct seen seen;
	uint16_t port = unused_port(SOCK_STREAM);
	struct link *link = open_link(&seen, LINK_TCP, "127.0.0.1", port);
	int64_t begin = g_get_monotonic_time();

	spin_for(1500);
	CU_ASSERT_EQUAL(count_lines("Connection refused; next try in 1 s"), 1);
	CU_ASSERT_EQUAL(count_lines("Connection refused"), 1);
	/* Attempts at 0, 1 and 3 seconds, each up to a tenth later. */
	int listener = listen_on("127.0.0.1", &port);
	CU_ASSERT_TRUE(SPIN(3000, seen.opened));
	CU_ASSERT_TRUE(seen.opened_at - begin >= 2950000 && seen.opened_at - begin < 3500000);
	link_close(link, 0);
	close(listener);
}

/* True if a thread that does this never gives up the processor by itself: it never waits for anything. */
#define NEVER_WAITS(statement) __extension__ ({ \
	struct rusage before, after; \
	getrusage(RUSAGE_THREAD, &before); \
	statement; \
	getrusage(RUSAGE_THREAD, &after); \
	after.ru_nvcsw == before.ru_nvcsw; \
})

static void
test_tcp_black_hole(void)
{
	struct seen seen;
	uint16_t port = 0;
	int full[4];
	int listener = make_socket(SOCK_STREAM, "127.0.0.1", &port);
	CU_ASSERT_EQUAL_FATAL(listen(listener, 0), 0);
	/* A listener that accepts nobody and whose backlog is full answers no SYN. */
	struct sockaddr_in address = { AF_INET, htons(port), { htonl(INADDR_LOOPBACK) }, { 0 } };
	for (size_t i = 0; i < G_N_ELEMENTS(full); i++) {
		full[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		(void)!connect(full[i], (struct sockaddr *)&address, sizeof address);
	}
	struct link *link = open_link(&seen, LINK_TCP, "127.0.0.1", port);
	unsigned waits = 0;
	int64_t end = g_get_monotonic_time() + 11000000;
	uint64_t given = 0;
	for (unsigned i = 0; g_get_monotonic_time() < end; i++) {
		waits += !NEVER_WAITS(given += send_numbered(link, i * 10, 10));
		waits += !NEVER_WAITS(g_main_context_iteration(NULL, FALSE));
		g_usleep(1000);
		if (count_lines("timed out"))
			break;
	}
	CU_ASSERT_EQUAL(waits, 0);
	CU_ASSERT_EQUAL(seen.opened, 0);
	CU_ASSERT_EQUAL(link_counters(link)->flow_records_dropped, given);
	CU_ASSERT_EQUAL(count_lines("Connection timed out; next try in 1 s"), 1);
	for (size_t i = 0; i < G_N_ELEMENTS(full); i++)
		close(full[i]);
	link_close(link, 5000);
	close(listener);
}

/* An answer that was asked for while all was well, and comes while the link waits, must not cut the wait short. */
static void
test_late_answer(void)
{
	struct seen seen;
	uint16_t port = 0;
	int listener = listen_on("127.0.0.1", &port);
	GResolver *before = use_test_resolver("127.0.0.1");
	struct link *link = open_link(&seen, LINK_TCP, "collector.example", port);
	int fd = accept_from(listener);

	CU_ASSERT_TRUE(SPIN(1000, seen.opened == 1));
	names.slow = true;
	CU_ASSERT_TRUE(SPIN(1500, names.waiting));
	reset(fd);
	CU_ASSERT_TRUE(SPIN(200, !link_is_open(link)));
	int64_t lost_at = g_get_monotonic_time();
	spin_for(100);
	names.slow = false;
	give_answer(names.waiting);
	CU_ASSERT_TRUE(SPIN(2000, seen.opened == 2));
	CU_ASSERT_TRUE(seen.opened_at - lost_at >= 950000);

	/* And one that comes after the link is gone. */
	names.slow = true;
	names.waiting = NULL;
	CU_ASSERT_TRUE(SPIN(1500, names.waiting));
	link_close(link, 0);
	give_answer(names.waiting);
	spin_for(50);
	CU_ASSERT_EQUAL(seen.opened, 2);
	restore_resolver(before);
	close(listener);
}

/* ---- the end ---- */

/* A collector in a process of its own that begins to read late. Exits with zero if it got n whole messages. */
static pid_t
late_reader(int listener, unsigned delay, uint64_t n)
{
	pid_t child = fork();

	if (child)
		return child;
	struct reader *reader = new_reader();
	int fd = -1;
	while ((fd = accept(listener, NULL, NULL)) < 0)
		g_usleep(1000);
	g_usleep(delay * 1000);
	while (read_some(reader, fd, 65536))
		g_usleep(100);
	bool whole = !reader->torn && reader->messages == n;
	g_free(reader);
	_exit(!whole);
}

static void
test_close(void)
{
	struct seen seen;
	uint16_t port = 0;
	int size = 20000, status = -1;
	int listener = make_socket(SOCK_STREAM, "127.0.0.1", &port);
	setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
	CU_ASSERT_EQUAL_FATAL(listen(listener, 1), 0);
	struct link_options options = {
		.name = "test", .host = "127.0.0.1", .port = port, .transport = LINK_TCP,
		.retry = 1, .resolve = 1, .queue = 16 << 20,
	};
	g_string_truncate(lines, 0);

	/* What waits is delivered, if the patience is there. */
	seen = (struct seen) { 0 };
	struct link *link = link_open(&options, &handler, &seen, NULL);
	pid_t child = late_reader(listener, 300, 10000);
	CU_ASSERT_TRUE(SPIN(1000, seen.opened));
	send_numbered(link, 0, 10000);
	CU_ASSERT_TRUE(link_counters(link)->messages_sent < 10000);
	link_close(link, 20000);
	CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
	CU_ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);

	/* If not, it is counted. */
	seen = (struct seen) { 0 };
	link = link_open(&options, &handler, &seen, NULL);
	CU_ASSERT_TRUE(SPIN(1000, seen.opened));
	send_numbered(link, 0, 10000);
	int64_t begin = g_get_monotonic_time();
	link_stop(link, 100);
	int64_t took = g_get_monotonic_time() - begin;
	CU_ASSERT_TRUE(took >= 100000 && took < 1000000);
	CU_ASSERT_TRUE(link_counters(link)->dropped[DROP_SESSION_LOST].flow_records > 0);
	CU_ASSERT_TRUE(link_counters(link)->unconfirmed > 0);
	link_close(link, 0);
	close(listener);
}

/* ---- viewers ---- */

static void
on_closed(void *data)
{
	++*(unsigned *)data;
}

static void
test_adopted(void)
{
	int pair[2];
	unsigned closed = 0;
	struct flow flow = { .family = 4, .protocol = IPPROTO_TCP };

	CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	struct link *link = link_adopt(pair[0], "viewer", 0, on_closed, &closed);
	CU_ASSERT_TRUE(link_is_open(link));
	CU_ASSERT_FALSE(link_carries(link, &flow));
	slow_reading(link, pair[1]);
	CU_ASSERT_EQUAL(closed, 0);
	close(pair[1]);
	/* Never from inside a send. */
	send_numbered(link, 0, 10);
	CU_ASSERT_FALSE(link_is_open(link));
	CU_ASSERT_EQUAL(closed, 0);
	CU_ASSERT_TRUE(SPIN(200, closed));
	send_numbered(link, 0, 10);
	spin_for(50);
	CU_ASSERT_EQUAL(closed, 1);
	link_close(link, 100);
}

static void
test_adopted_idle(void)
{
	int pair[2];
	unsigned closed = 0;

	CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	struct link *link = link_adopt(pair[0], "viewer", 0, on_closed, &closed);
	spin_for(20);
	close(pair[1]);
	CU_ASSERT_TRUE(SPIN(200, closed == 1));
	CU_ASSERT_FALSE(link_is_open(link));
	link_close(link, 0);
}

/* ---- own traffic ---- */

static struct flow
flow_of(uint8_t protocol, const struct sockaddr_storage *from, const struct sockaddr_storage *to)
{
	struct flow flow = { .protocol = protocol, .family = from->ss_family == AF_INET ? 4 : 6 };
	bool v4 = flow.family == 4;
	size_t offset = v4 ? offsetof(struct sockaddr_in, sin_addr) : offsetof(struct sockaddr_in6, sin6_addr);
	size_t size = v4 ? 4 : 16;

	memcpy(&flow.original.source, (const char *)from + offset, size);
	memcpy(&flow.original.destination, (const char *)to + offset, size);
	flow.original.source_port = ntohs(((const struct sockaddr_in *)from)->sin_port);
	flow.original.destination_port = ntohs(((const struct sockaddr_in *)to)->sin_port);
	return flow;
}

static void
check_carries(const struct link *link, uint8_t protocol, struct sockaddr_storage *from, struct sockaddr_storage *to)
{
	struct flow flow = flow_of(protocol, from, to);

	CU_ASSERT_TRUE(link_carries(link, &flow));
	flow.original.source_port++;
	CU_ASSERT_FALSE(link_carries(link, &flow));
	flow.original.source_port--;
	flow.original.destination_port++;
	CU_ASSERT_FALSE(link_carries(link, &flow));
	flow.original.destination_port--;
	flow.original.destination.v4[3] ^= 1;
	CU_ASSERT_FALSE(link_carries(link, &flow));
	flow.original.destination.v4[3] ^= 1;
	flow.protocol ^= IPPROTO_UDP ^ IPPROTO_TCP;
	CU_ASSERT_FALSE(link_carries(link, &flow));
	flow = flow_of(protocol, to, from);
	CU_ASSERT_TRUE(link_carries(link, &flow));
}

static void
carry_over_udp(const char *host)
{
	struct seen seen;
	uint16_t port = 0;
	int sink = make_socket(SOCK_DGRAM, host, &port);
	struct link *link = open_link(&seen, LINK_UDP, host, port);
	struct message message = message_of(0, 50);
	struct sockaddr_storage from = { 0 }, to = { 0 };
	socklen_t length = sizeof from, to_length = sizeof to;
	uint8_t octets[100];

	CU_ASSERT_TRUE(SPIN(1000, seen.opened));
	link_send(link, &message, 1);
	CU_ASSERT_EQUAL(recvfrom(sink, octets, sizeof octets, 0, (struct sockaddr *)&from, &length), 50);
	getsockname(sink, (struct sockaddr *)&to, &to_length);
	check_carries(link, IPPROTO_UDP, &from, &to);
	link_close(link, 0);
	close(sink);
}

static void
test_carries(void)
{
	struct seen seen;
	uint16_t port = 0;
	int listener = listen_on("127.0.0.1", &port);
	struct link *link = open_link(&seen, LINK_TCP, "127.0.0.1", port);
	struct sockaddr_storage from[2] = { 0 }, to[2] = { 0 };

	carry_over_udp("127.0.0.1");
	carry_over_udp("::1");
	for (size_t i = 0; i < 2; i++) {
		socklen_t length = sizeof from[i], to_length = sizeof to[i];
		int fd = accept_from(listener);
		CU_ASSERT_TRUE(SPIN(1000, link_is_open(link)));
		getpeername(fd, (struct sockaddr *)&from[i], &length);
		getsockname(fd, (struct sockaddr *)&to[i], &to_length);
		reset(fd);
		CU_ASSERT_TRUE(SPIN(1000, !link_is_open(link)));
	}
	check_carries(link, IPPROTO_TCP, &from[0], &to[0]);
	check_carries(link, IPPROTO_TCP, &from[1], &to[1]);
	link_close(link, 0);
	close(listener);
}

/* ---- cost ---- */

static void
allocate_nothing(struct link *link, int fd)
{
	static uint8_t octets[65536];
	struct message messages[50];

	for (size_t i = 0; i < 50; i++)
		messages[i] = message_of(i, 1000 + i % 3 * 100);
	/* The main loop's own arrays grow in its first turns. */
	for (int round = 0; round < 400; round++) {
		if (round == 10)
			allocations = 0;
		counting = round >= 10;
		link_send(link, messages, 50);
		g_main_context_iteration(NULL, FALSE);
		counting = false;
		for (int i = 0; round % 10 == 9 && i < 5000 && recv(fd, octets, sizeof octets, MSG_DONTWAIT) > 0; i++)
			g_main_context_iteration(NULL, FALSE);
	}
	CU_ASSERT_EQUAL(allocations, 0);
}

static void
test_no_allocation(void)
{
	struct seen seen;
	uint16_t port = 0;
	int sink = make_socket(SOCK_DGRAM, "127.0.0.1", &port);
	struct link *link = open_link(&seen, LINK_UDP, "127.0.0.1", port);

	/* The counter counts. */
	counting = true;
	g_free(g_malloc(10));
	counting = false;
	CU_ASSERT_EQUAL(allocations, 1);

	CU_ASSERT_TRUE(SPIN(1000, seen.opened));
	allocate_nothing(link, sink);
	CU_ASSERT_EQUAL(link_counters(link)->flow_records_sent, 20000);
	link_close(link, 0);
	close(sink);

	int listener = listen_on("127.0.0.1", &port);
	link = open_link(&seen, LINK_TCP, "127.0.0.1", port);
	int fd = accept_from(listener);
	CU_ASSERT_TRUE(SPIN(1000, seen.opened));
	allocate_nothing(link, fd);
	CU_ASSERT_TRUE(link_counters(link)->flow_records_sent > 5000);
	link_close(link, 0);
	close(fd);
	close(listener);
}

static void
test_lines(void)
{
	CU_ASSERT_EQUAL(foreign_lines, 0);
}

static bool
isolate(void)
{
	struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };

	if (unshare(CLONE_NEWNET) && unshare(CLONE_NEWUSER | CLONE_NEWNET))
		return false;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool up = !ioctl(fd, SIOCSIFFLAGS, &request);
	close(fd);
	return up;
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "UDP to address literals", test_udp_literals },
		{ "UDP to a name", test_udp_name },
		{ "payload from MTU and path", test_payload },
		{ "source address", test_source_address },
		{ "runs of messages leave as one send", test_segmentation },
		{ "a kernel that refuses to cut runs", test_segmentation_refused },
		{ "send errors", test_send_errors },
		{ "UDP refused, survived, taken again", test_udp_refused },
		{ "a path that shrinks and grows", test_path_mtu },
		{ "a network that comes and goes", test_network_comes_and_goes },
		{ "names that do not resolve", test_unresolvable },
		{ "a name that moves", test_name_moves },
		{ "a second answer when the first refuses", test_second_answer },
		{ "close while resolving", test_close_while_resolving },
		{ "TCP", test_tcp },
		{ "TCP to a slow reader", test_tcp_slow_reader },
		{ "TCP reset and come back", test_tcp_reset },
		{ "TCP backs off", test_tcp_back_off },
		{ "TCP into a black hole", test_tcp_black_hole },
		{ "an answer that comes late", test_late_answer },
		{ "close with patience and without", test_close },
		{ "adopted socket", test_adopted },
		{ "adopted socket, idle", test_adopted_idle },
		{ "own traffic", test_carries },
		{ "no allocation in steady state", test_no_allocation },
		{ "log lines name the collector", test_lines },
		CU_TEST_INFO_NULL,
	};

	isolated = isolate();
	lines = g_string_new(NULL);
	g_log_set_default_handler(on_line, NULL);
	watch_allocations();
	signal(SIGPIPE, SIG_DFL);       /* a write without MSG_NOSIGNAL ends this program */
	g_autoptr(GRand) random = g_rand_new_with_seed(1);
	for (size_t i = 0; i < sizeof pattern; i++)
		pattern[i] = (uint8_t)g_rand_int(random);
	int verdict = run_suite("link", tests);
	g_string_free(lines, TRUE);
	return verdict;
}
