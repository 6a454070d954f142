/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/queue.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/tool.h"

/* Real flows between real sockets: "traffic serve" answers, "traffic send" makes the flows and counts them.
 *
 * A UDP datagram, and the first octets of a TCP request, say what is wanted back: how many octets the request has
 * (TCP needs it to know where the request ends) and how many the answer shall have, zero for none. A datagram too
 * short to say so is echoed as it is.
 *
 * Flow n of a protocol takes the nth port of the range, and the addresses in turn; the second round over the ports
 * begins one address later. So as many flows as there are addresses times ports are each an entry of their own in a
 * connection tracking on the way, and within the first round a router that hides all addresses behind one keeps every
 * port. (In a second round it has to find free ones; the kernel then takes those of TCP entries in TIME_WAIT, which
 * it destroys for that.) What a flow sends depends on the seed and its number alone: a run repeats, whatever the
 * timing. */

struct request {
	uint32_t request_octets;    /* big-endian, this header included */
	uint32_t answer_octets;     /* big-endian */
};

enum {
	HEADER = sizeof(struct request),
	CHUNK = 65536,
	EVENTS = 256,
	MAX_SOURCES = 64,
	STARTS = 64,                /* flows started between two looks at the open ones, when there is no pace */
	DATAGRAMS = 64,             /* received by the server in one system call */
};

enum { UDP, TCP, PROTOCOLS };

static const int socket_types[PROTOCOLS] = { [UDP] = SOCK_DGRAM, [TCP] = SOCK_STREAM };

union endpoint {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

static char chunk[CHUNK];
static volatile sig_atomic_t ended;

static void
end(int signal)
{
	(void)signal;
	ended = 1;
}

static socklen_t
endpoint_size(const union endpoint *at)
{
	return at->any.sa_family == AF_INET6 ? sizeof at->v6 : sizeof at->v4;
}

static union endpoint
read_endpoint(const char *host, const char *port)
{
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_DGRAM };
	struct addrinfo *found;
	union endpoint result = { 0 };
	int status = getaddrinfo(host, port, &hints, &found);

	if (status)
		errx(EX_USAGE, "%s port %s: %s", host, port, gai_strerror(status));
	memcpy(&result, found->ai_addr, found->ai_addrlen);
	freeaddrinfo(found);
	return result;
}

static void
raise_file_limit(void)
{
	struct rlimit limit = { 1 << 20, 1 << 20 };

	if (setrlimit(RLIMIT_NOFILE, &limit) == 0 || getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

/* ---- the flows made ---- */

struct tally {
	uint64_t flows;
	uint64_t completed;
	uint64_t failed;
	uint64_t sent_packets;      /* datagrams; TCP has none at this level */
	uint64_t sent_octets;
	uint64_t received_packets;
	uint64_t received_octets;
};

struct sender_flow {
	TAILQ_ENTRY(sender_flow) order;
	uint64_t deadline;
	int fd;
	uint8_t protocol;
	bool sent;                  /* nothing is left to send */
	uint64_t to_send;           /* octets (TCP) */
	uint64_t to_receive;        /* octets (TCP) or datagrams (UDP) */
	uint64_t answer;            /* octets wanted back (TCP) */
	bool begun;                 /* the header went out (TCP) */
};

TAILQ_HEAD(flow_list, sender_flow);

struct sender {
	uint64_t wanted[PROTOCOLS];
	uint64_t rate;
	uint64_t max_open;
	uint64_t seconds;
	uint64_t timeout_ms;
	uint64_t seed;
	struct range ports;
	struct range datagrams;
	struct range answered;
	struct range size;
	struct range answer;
	struct range request;
	struct range response;
	bool reset;

	union endpoint server;
	union endpoint sources[MAX_SOURCES];
	size_t source_count;
	int epoll;
	uint64_t began;
	uint64_t started;
	uint64_t open;
	struct flow_list flows;     /* oldest first, and so the nearest deadline first */
	struct tally tallies[PROTOCOLS];
};

/* SplitMix64: one state word, so that each flow can have a generator of its own. */
static uint64_t
next_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static uint64_t
draw(const struct range *range, uint64_t *state)
{
	return range->low + next_random(state) % (range->high - range->low + 1);
}

/* UDP and TCP flows alternate in the proportion wanted, and both are exhausted together. */
static uint8_t
protocol_of_next(const struct sender *sender)
{
	uint64_t all = sender->wanted[UDP] + sender->wanted[TCP];
	uint64_t n = sender->started;

	return (n + 1) * sender->wanted[TCP] / all > n * sender->wanted[TCP] / all ? TCP : UDP;
}

static void
finish_flow(struct sender *sender, struct sender_flow *flow, const char *failure)
{
	struct tally *tally = &sender->tallies[flow->protocol];
	struct linger abort = { .l_onoff = 1 };

	if (failure && tally->failed++ == 0)
		warnx("first %s flow that failed: %s", flow->protocol == TCP ? "TCP" : "UDP", failure);
	if (!failure)
		tally->completed++;
	if (sender->reset && flow->protocol == TCP)
		setsockopt(flow->fd, SOL_SOCKET, SO_LINGER, &abort, sizeof abort);
	if (flow->fd >= 0)
		close(flow->fd);
	TAILQ_REMOVE(&sender->flows, flow, order);
	free(flow);
	sender->open--;
}

/* Returns NULL or why there is no socket. */
static const char *
connect_flow(const struct sender *sender, struct sender_flow *flow, uint64_t n)
{
	uint64_t ports = sender->ports.high - sender->ports.low + 1;
	union endpoint source = sender->sources[(n % ports + n / ports) % sender->source_count];
	int on = 1;

	flow->fd = socket(source.any.sa_family, socket_types[flow->protocol] | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (flow->fd < 0)
		return strerror(errno);
	source.v4.sin_port = htons((uint16_t)(sender->ports.low + n % ports));  /* at the same place in both families */
	setsockopt(flow->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (bind(flow->fd, &source.any, endpoint_size(&source)) < 0)
		return strerror(errno);
	if (connect(flow->fd, &sender->server.any, endpoint_size(&sender->server)) < 0 && errno != EINPROGRESS)
		return strerror(errno);
	return NULL;
}

static const char *
watch_flow(const struct sender *sender, struct sender_flow *flow, int operation, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = flow };

	return epoll_ctl(sender->epoll, operation, flow->fd, &event) < 0 ? strerror(errno) : NULL;
}

static const char *
send_datagram(struct sender *sender, int fd, uint64_t octets, uint64_t answer)
{
	struct request head = { htonl((uint32_t)octets), htonl((uint32_t)answer) };
	struct iovec parts[] = { { &head, HEADER }, { chunk, octets - HEADER } };
	struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 };

	if (sendmsg(fd, &message, 0) < 0)
		return strerror(errno);
	sender->tallies[UDP].sent_packets++;
	sender->tallies[UDP].sent_octets += octets;
	return NULL;
}

/* All datagrams leave at once; the first ones ask for answers. */
static const char *
begin_udp(struct sender *sender, struct sender_flow *flow, uint64_t *random)
{
	uint64_t datagrams = draw(&sender->datagrams, random);
	uint64_t answered = draw(&sender->answered, random);
	const char *failure = NULL;

	flow->sent = true;
	flow->to_receive = answered < datagrams ? answered : datagrams;
	for (uint64_t i = 0; i < datagrams && !failure; i++) {
		uint64_t octets = draw(&sender->size, random);
		uint64_t answer = draw(&sender->answer, random);
		failure = send_datagram(sender, flow->fd, octets, i < flow->to_receive ? answer : 0);
	}
	return failure || !flow->to_receive ? failure : watch_flow(sender, flow, EPOLL_CTL_ADD, EPOLLIN);
}

static const char *
begin_tcp(struct sender *sender, struct sender_flow *flow, uint64_t *random)
{
	flow->to_send = draw(&sender->request, random);
	flow->answer = flow->to_receive = draw(&sender->response, random);
	return watch_flow(sender, flow, EPOLL_CTL_ADD, EPOLLOUT);
}

static const char *
continue_udp(struct sender *sender, struct sender_flow *flow)
{
	while (flow->to_receive) {
		ssize_t octets = recv(flow->fd, chunk, sizeof chunk, 0);
		if (octets < 0)
			return errno == EAGAIN ? NULL : strerror(errno);
		sender->tallies[UDP].received_packets++;
		sender->tallies[UDP].received_octets += (uint64_t)octets;
		flow->to_receive--;
	}
	return NULL;
}

/* The first write on a connection always takes more than the header. */
static ssize_t
write_request(struct sender_flow *flow)
{
	struct request head = { htonl((uint32_t)flow->to_send), htonl((uint32_t)flow->answer) };
	size_t skipped = flow->begun ? 0 : HEADER;
	size_t rest = flow->to_send - skipped < CHUNK ? flow->to_send - skipped : CHUNK;
	struct iovec parts[] = { { &head, skipped }, { chunk, rest } };
	struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 };

	flow->begun = true;
	return sendmsg(flow->fd, &message, MSG_NOSIGNAL);
}

static const char *
continue_sending(struct sender *sender, struct sender_flow *flow)
{
	while (flow->to_send) {
		ssize_t octets = write_request(flow);
		if (octets < 0)
			return errno == EAGAIN ? NULL : strerror(errno);
		flow->to_send -= (uint64_t)octets;
		sender->tallies[TCP].sent_octets += (uint64_t)octets;
	}
	flow->sent = true;
	return flow->to_receive ? watch_flow(sender, flow, EPOLL_CTL_MOD, EPOLLIN) : NULL;
}

static const char *
continue_receiving(struct sender *sender, struct sender_flow *flow)
{
	while (flow->to_receive) {
		ssize_t octets = recv(flow->fd, chunk, sizeof chunk, 0);
		if (octets == 0)
			return "the server closed too early";
		if (octets < 0)
			return errno == EAGAIN ? NULL : strerror(errno);
		sender->tallies[TCP].received_octets += (uint64_t)octets;
		flow->to_receive -= (uint64_t)octets < flow->to_receive ? (uint64_t)octets : flow->to_receive;
	}
	return NULL;
}

static const char *
continue_tcp(struct sender *sender, struct sender_flow *flow)
{
	return flow->sent ? continue_receiving(sender, flow) : continue_sending(sender, flow);
}

/* What differs between the protocols: the first step after connect, and the step at each event. Both return NULL or
 * why the flow failed. */
static const struct {
	const char *(*begin)(struct sender *sender, struct sender_flow *flow, uint64_t *random);
	const char *(*proceed)(struct sender *sender, struct sender_flow *flow);
} steps[PROTOCOLS] = {
	[UDP] = { begin_udp, continue_udp },
	[TCP] = { begin_tcp, continue_tcp },
};

static void
settle_flow(struct sender *sender, struct sender_flow *flow, const char *failure)
{
	if (failure || (flow->sent && !flow->to_receive))
		finish_flow(sender, flow, failure);
}

static void
start_flow(struct sender *sender)
{
	struct sender_flow *flow = calloc(1, sizeof *flow);
	uint64_t random = sender->seed ^ sender->started << 20;

	if (!flow)
		err(EX_OSERR, "flow %" PRIu64, sender->started);
	flow->protocol = protocol_of_next(sender);
	flow->deadline = now_ns() + sender->timeout_ms * 1000000;
	sender->started++;
	sender->open++;
	TAILQ_INSERT_TAIL(&sender->flows, flow, order);
	const char *failure = connect_flow(sender, flow, sender->tallies[flow->protocol].flows++);
	settle_flow(sender, flow, failure ? failure : steps[flow->protocol].begin(sender, flow, &random));
}

static uint64_t
start_time(const struct sender *sender, uint64_t n)
{
	return sender->rate ? sender->began + (uint64_t)((double)n / (double)sender->rate * (double)SECOND) : 0;
}

static bool
may_start(const struct sender *sender)
{
	return sender->started < sender->wanted[UDP] + sender->wanted[TCP] && sender->open < sender->max_open;
}

static void
start_due_flows(struct sender *sender)
{
	for (int i = 0; i < STARTS && may_start(sender) && start_time(sender, sender->started) <= now_ns(); i++)
		start_flow(sender);
}

static void
fail_late_flows(struct sender *sender, uint64_t now)
{
	while (!TAILQ_EMPTY(&sender->flows) && TAILQ_FIRST(&sender->flows)->deadline <= now)
		finish_flow(sender, TAILQ_FIRST(&sender->flows), "no answer in time");
}

/* epoll_wait counts in milliseconds, too coarse for an even pace, so ppoll waits for it. */
static void
wait_for_events(struct sender *sender, uint64_t until)
{
	struct pollfd poll = { .fd = sender->epoll, .events = POLLIN };
	uint64_t now = now_ns();

	if (may_start(sender) && start_time(sender, sender->started) < until)
		until = start_time(sender, sender->started);
	if (!TAILQ_EMPTY(&sender->flows) && TAILQ_FIRST(&sender->flows)->deadline < until)
		until = TAILQ_FIRST(&sender->flows)->deadline;
	if (until <= now)
		return;
	struct timespec wait = { (time_t)((until - now) / SECOND), (long)((until - now) % SECOND) };
	ppoll(&poll, 1, &wait, NULL);
}

static void
run_sender(struct sender *sender)
{
	struct epoll_event events[EVENTS];
	uint64_t limit = sender->began + sender->seconds * SECOND;
	uint64_t all = sender->wanted[UDP] + sender->wanted[TCP];

	while ((sender->started < all || sender->open) && now_ns() < limit && !ended) {
		start_due_flows(sender);
		wait_for_events(sender, limit);
		int count = epoll_wait(sender->epoll, events, EVENTS, 0);
		for (int i = 0; i < count; i++) {
			struct sender_flow *flow = events[i].data.ptr;
			settle_flow(sender, flow, steps[flow->protocol].proceed(sender, flow));
		}
		fail_late_flows(sender, now_ns());
	}
	fail_late_flows(sender, UINT64_MAX);
}

static void
print_tally(const char *name, const struct tally *tally)
{
	printf("\"%s\": {\"flows\": %" PRIu64 ", \"completed\": %" PRIu64 ", \"failed\": %" PRIu64
	       ", \"sent_packets\": %" PRIu64 ", \"sent_octets\": %" PRIu64 ", \"received_packets\": %" PRIu64
	       ", \"received_octets\": %" PRIu64 "}, ", name, tally->flows, tally->completed, tally->failed,
	       tally->sent_packets, tally->sent_octets, tally->received_packets, tally->received_octets);
}

static int
print_sender(const struct sender *sender)
{
	const struct tally *udp = &sender->tallies[UDP], *tcp = &sender->tallies[TCP];
	double seconds = (double)(now_ns() - sender->began) / (double)SECOND;
	uint64_t completed = udp->completed + tcp->completed;

	printf("{");
	print_tally("udp", udp);
	print_tally("tcp", tcp);
	printf("\"flows\": %" PRIu64 ", \"completed\": %" PRIu64 ", \"failed\": %" PRIu64 ", \"sent_octets\": %" PRIu64
	       ", \"received_octets\": %" PRIu64 ", \"seconds\": %.3f}\n", udp->flows + tcp->flows, completed,
	       udp->failed + tcp->failed, udp->sent_octets + tcp->sent_octets,
	       udp->received_octets + tcp->received_octets, seconds);
	return completed == sender->wanted[UDP] + sender->wanted[TCP] ? EXIT_SUCCESS : EXIT_FAILURE;
}

static void
take_source(const struct tool_option *option, const char *text)
{
	struct sender *sender = option->target;

	if (sender->source_count == MAX_SOURCES)
		errx(EX_USAGE, "%s: at most %d addresses", option->name, MAX_SOURCES);
	sender->sources[sender->source_count++] = read_endpoint(text, NULL);
}

static void
check_sender(struct sender *sender)
{
	if (!sender->source_count) {
		sender->sources[0].any.sa_family = sender->server.any.sa_family;
		sender->source_count = 1;
	}
	for (size_t i = 0; i < sender->source_count; i++)
		if (sender->sources[i].any.sa_family != sender->server.any.sa_family)
			errx(EX_USAGE, "a source address is not of the server's family");
	if (sender->size.low < HEADER || sender->size.high > 65507 || sender->answer.high > 65507 || !sender->answer.low)
		errx(EX_USAGE, "--size is %d to 65507 and --answer 1 to 65507", HEADER);
	if (sender->request.low < HEADER || sender->request.high > UINT32_MAX || sender->response.high > UINT32_MAX)
		errx(EX_USAGE, "--request is at least %d, and both it and --response below 4 GiB", HEADER);
	if (!sender->ports.low || sender->ports.high > UINT16_MAX || !sender->datagrams.low || !sender->max_open)
		errx(EX_USAGE, "ports are 1 to 65535, and --datagrams and --open at least 1");
}

static int
send_flows(int argc, char **argv)
{
	static struct sender sender = {
		.max_open = 1000, .seconds = 60, .timeout_ms = 5000, .seed = 1, .ports = { 1024, 65535 },
		.datagrams = { 1, 1 }, .answered = { 1, 1 }, .size = { 64, 64 }, .answer = { 64, 64 },
		.request = { 100, 100 }, .response = { 1000, 1000 },
	};
	static const struct tool_option options[] = {
		{ "--udp", "N", take_number, &sender.wanted[UDP], "UDP flows" },
		{ "--tcp", "N", take_number, &sender.wanted[TCP], "TCP flows" },
		{ "--source", "ADDRESS", take_source, &sender, "source address; may be repeated" },
		{ "--ports", "RANGE", take_range, &sender.ports, "source ports (1024-65535)" },
		{ "--rate", "N", take_number, &sender.rate, "flows started a second, evenly; 0: as fast as possible (0)" },
		{ "--open", "N", take_number, &sender.max_open, "flows open at once, at most (1000)" },
		{ "--time", "SECONDS", take_number, &sender.seconds, "all flows not completed then have failed (60)" },
		{ "--timeout", "MS", take_number, &sender.timeout_ms, "a flow not completed then has failed (5000)" },
		{ "--seed", "N", take_number, &sender.seed, "of what is drawn from the ranges (1)" },
		{ "--datagrams", "RANGE", take_range, &sender.datagrams, "datagrams a UDP flow sends, all at once (1)" },
		{ "--answered", "RANGE", take_range, &sender.answered, "how many of them are answered (1)" },
		{ "--size", "RANGE", take_range, &sender.size, "octets of a datagram (64)" },
		{ "--answer", "RANGE", take_range, &sender.answer, "octets of an answering datagram (64)" },
		{ "--request", "RANGE", take_range, &sender.request, "octets a TCP flow sends (100)" },
		{ "--response", "RANGE", take_range, &sender.response, "octets it receives (1000)" },
		{ "--reset", NULL, take_flag, &sender.reset, "end TCP flows with RST instead of FIN" },
	};
	const char *usage = "traffic send [options] ADDRESS PORT";
	size_t count = sizeof options / sizeof *options;

	if (read_options(argc, argv, usage, options, count) != 2 || sender.wanted[UDP] + sender.wanted[TCP] == 0)
		show_usage(usage, options, count, EX_USAGE);
	sender.server = read_endpoint(argv[1], argv[2]);
	check_sender(&sender);
	TAILQ_INIT(&sender.flows);
	sender.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (sender.epoll < 0)
		err(EX_OSERR, "epoll");
	sender.began = now_ns();
	run_sender(&sender);
	return print_sender(&sender);
}

/* ---- the server ---- */

struct server {
	int epoll;
	uint64_t connections;
	uint64_t requests;
	uint64_t datagrams;
	uint64_t answers;
	uint64_t received_octets;
	uint64_t sent_octets;
};

/* What an epoll event points to; ready() may free it. */
struct watched {
	int fd;
	void (*ready)(struct server *server, struct watched *watched);
};

struct connection {
	struct watched watched;
	struct request head;
	size_t head_octets;         /* of head that are here */
	uint64_t to_receive;        /* octets of the request after its header */
	uint64_t to_send;
	bool blocked;               /* waits for room to send */
};

static void
watch(struct server *server, struct watched *watched, int operation, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = watched };

	if (epoll_ctl(server->epoll, operation, watched->fd, &event) < 0)
		err(EX_OSERR, "epoll");
}

static void
close_connection(struct connection *connection)
{
	close(connection->watched.fd);
	free(connection);
}

/* Returns whether the whole request is here; *gone says that no more will come. */
static bool
receive_request(struct server *server, struct connection *connection, bool *gone)
{
	while (connection->head_octets < HEADER || connection->to_receive) {
		bool heading = connection->head_octets < HEADER;
		char *at = heading ? (char *)&connection->head + connection->head_octets : chunk;
		size_t room = heading ? HEADER - connection->head_octets : CHUNK;
		if (!heading && connection->to_receive < room)
			room = connection->to_receive;
		ssize_t octets = recv(connection->watched.fd, at, room, 0);
		*gone = octets == 0 || (octets < 0 && errno != EAGAIN);
		if (octets <= 0)
			return false;
		server->received_octets += (uint64_t)octets;
		if (!heading)
			connection->to_receive -= (uint64_t)octets;
		else if ((connection->head_octets += (size_t)octets) == HEADER) {
			uint32_t whole = ntohl(connection->head.request_octets);
			connection->to_receive = whole > HEADER ? whole - HEADER : 0;
			connection->to_send = ntohl(connection->head.answer_octets);
		}
	}
	return true;
}

static bool
send_answer(struct server *server, struct connection *connection, bool *gone)
{
	while (connection->to_send) {
		size_t octets = connection->to_send < CHUNK ? connection->to_send : CHUNK;
		ssize_t sent = send(connection->watched.fd, chunk, octets, MSG_NOSIGNAL);
		*gone = sent < 0 && errno != EAGAIN;
		if (sent < 0)
			return false;
		connection->to_send -= (uint64_t)sent;
		server->sent_octets += (uint64_t)sent;
	}
	return true;
}

static void
serve_connection(struct server *server, struct watched *watched)
{
	struct connection *connection = (struct connection *)watched;
	bool gone = false;

	while (receive_request(server, connection, &gone) && send_answer(server, connection, &gone)) {
		connection->head_octets = 0;
		server->requests++;
	}
	if (gone) {
		close_connection(connection);
		return;
	}
	if (connection->blocked == (connection->to_send > 0 && connection->to_receive == 0))
		return;
	connection->blocked = !connection->blocked;
	watch(server, watched, EPOLL_CTL_MOD, connection->blocked ? EPOLLOUT : EPOLLIN);
}

static void
accept_connections(struct server *server, struct watched *watched)
{
	for (;;) {
		int fd = accept4(watched->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0)
			return;
		struct connection *connection = calloc(1, sizeof *connection);
		if (!connection)
			err(EX_OSERR, "connection");
		connection->watched = (struct watched){ fd, serve_connection };
		server->connections++;
		watch(server, &connection->watched, EPOLL_CTL_ADD, EPOLLIN);
		serve_connection(server, &connection->watched);
	}
}

static char datagrams[DATAGRAMS][CHUNK];

static size_t
answer_size(const char *datagram, size_t octets)
{
	struct request head;

	if (octets < HEADER)
		return octets;
	memcpy(&head, datagram, HEADER);
	uint32_t wanted = ntohl(head.answer_octets);
	return wanted < CHUNK ? wanted : CHUNK;
}

/* Turns the messages received into those to send, in place, and returns how many there are. */
static unsigned
make_answers(struct server *server, struct mmsghdr *messages, int count)
{
	unsigned answers = 0;

	for (int i = 0; i < count; i++) {
		struct iovec *part = messages[i].msg_hdr.msg_iov;
		server->datagrams++;
		server->received_octets += messages[i].msg_len;
		part->iov_len = answer_size(part->iov_base, messages[i].msg_len);
		if (part->iov_len)
			messages[answers++].msg_hdr = messages[i].msg_hdr;
	}
	return answers;
}

/* An answer the system refuses (a port unreachable came back, say) is skipped; its asker counts it as failed. */
static void
send_answers(struct server *server, int fd, struct mmsghdr *messages, unsigned count)
{
	for (unsigned at = 0; at < count;) {
		int sent = sendmmsg(fd, messages + at, count - at, 0);
		for (int i = 0; i < sent; i++)
			server->sent_octets += messages[at + (unsigned)i].msg_len;
		server->answers += sent > 0 ? (unsigned)sent : 0;
		at += sent > 0 ? (unsigned)sent : 1;
	}
}

static void
serve_datagrams(struct server *server, struct watched *watched)
{
	static union endpoint peers[DATAGRAMS];
	struct mmsghdr messages[DATAGRAMS] = { 0 };
	struct iovec parts[DATAGRAMS];
	int count;

	do {
		for (int i = 0; i < DATAGRAMS; i++) {
			parts[i] = (struct iovec){ datagrams[i], CHUNK };
			messages[i].msg_hdr = (struct msghdr){ .msg_name = &peers[i], .msg_namelen = sizeof peers[i],
			                                       .msg_iov = &parts[i], .msg_iovlen = 1 };
		}
		count = recvmmsg(watched->fd, messages, DATAGRAMS, MSG_DONTWAIT, NULL);
		if (count > 0)
			send_answers(server, watched->fd, messages, make_answers(server, messages, count));
	} while (count == DATAGRAMS);
}

static void
open_server(struct server *server, struct watched *watched, const union endpoint *at, int protocol)
{
	int on = 1, octets = 32 << 20;

	watched->fd = socket(at->any.sa_family, socket_types[protocol] | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (watched->fd < 0)
		err(EX_OSERR, "socket");
	setsockopt(watched->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (protocol == UDP)
		setsockopt(watched->fd, SOL_SOCKET, SO_RCVBUFFORCE, &octets, sizeof octets);
	if (bind(watched->fd, &at->any, endpoint_size(at)) < 0)
		err(EX_OSERR, "binding the %s port", protocol == TCP ? "TCP" : "UDP");
	if (protocol == TCP && listen(watched->fd, 4096) < 0)
		err(EX_OSERR, "listening");
	watched->ready = protocol == TCP ? accept_connections : serve_datagrams;
	watch(server, watched, EPOLL_CTL_ADD, EPOLLIN);
}

static void
run_server(struct server *server)
{
	struct epoll_event events[EVENTS];

	while (!ended) {
		int count = epoll_wait(server->epoll, events, EVENTS, 1000);
		for (int i = 0; i < count; i++) {
			struct watched *watched = events[i].data.ptr;
			watched->ready(server, watched);
		}
	}
}

static int
serve_flows(int argc, char **argv)
{
	static bool wanted[PROTOCOLS];
	static uint64_t seconds = 600;
	static const struct tool_option options[] = {
		{ "--udp", NULL, take_flag, &wanted[UDP], "serve UDP; neither given: both" },
		{ "--tcp", NULL, take_flag, &wanted[TCP], "serve TCP" },
		{ "--time", "SECONDS", take_number, &seconds, "ends by itself then, or on SIGTERM (600)" },
	};
	const char *usage = "traffic serve [options] ADDRESS PORT    (says \"ready\" when it is)";
	size_t count = sizeof options / sizeof *options;
	struct watched watched[PROTOCOLS];
	struct server server = { .epoll = epoll_create1(EPOLL_CLOEXEC) };

	if (read_options(argc, argv, usage, options, count) != 2)
		show_usage(usage, options, count, EX_USAGE);
	union endpoint here = read_endpoint(argv[1], argv[2]);
	for (int i = 0; i < PROTOCOLS; i++)
		if (wanted[i] || wanted[UDP] == wanted[TCP])
			open_server(&server, &watched[i], &here, i);
	alarm((unsigned)seconds);
	puts("ready");
	fflush(stdout);
	run_server(&server);
	printf("{\"connections\": %" PRIu64 ", \"requests\": %" PRIu64 ", \"datagrams\": %" PRIu64 ", \"answers\": %" PRIu64
	       ", \"received_octets\": %" PRIu64 ", \"sent_octets\": %" PRIu64 "}\n", server.connections, server.requests,
	       server.datagrams, server.answers, server.received_octets, server.sent_octets);
	return EXIT_SUCCESS;
}

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
} commands[] = {
	{ "serve", serve_flows },
	{ "send", send_flows },
};

int
main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = end };

	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGALRM, &action, NULL);
	prctl(PR_SET_TIMERSLACK, 1);
	raise_file_limit();
	for (size_t i = 0; argc > 1 && i < sizeof commands / sizeof *commands; i++)
		if (!strcmp(argv[1], commands[i].name))
			return commands[i].run(argc - 1, argv + 1);
	fprintf(stderr, "usage: traffic serve|send [options] ADDRESS PORT    (--help lists the options)\n");
	return EX_USAGE;
}
