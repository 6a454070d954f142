/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <netinet/udp.h>
#include <string.h>
#include <time.h>                   /* which linux/errqueue.h uses and does not name */

#include <linux/errqueue.h>

#include "session.h"

/* UDP. The socket is connected, so that the kernel says what became of earlier messages: an ICMP error waits in the
 * socket and is handed to the next system call *instead of* doing that call's work. Hence every failed send is tried a
 * second time before it is believed.
 *
 * Messages leave with the don't-fragment bit. One that proves too long for the path goes out once more in fragments,
 * because it holds records that exist nowhere else any more; the encoder hears of the new size. */

#define SEGMENTS_LEAST 8            /* fewer leave one by one */
#define SEGMENTS 64                 /* datagrams the kernel cuts from one send, UDP_MAX_SEGMENTS of Linux 4.18 */
#define LARGEST_SEND 65507          /* octets: the largest UDP payload in an IPv4 packet */
#define LARGEST_PACKET 1500         /* octets: what a path is trusted with unless configured; loopback offers 65536 */
#define UNKNOWN_PATH 1232           /* octets of payload: IPv6's least MTU, 1280, less headers */
#define SMALLEST_PAYLOAD 484        /* octets: a 512-octet packet (RFC 7011 section 10.3.3) */
#define SEND_BUFFER (4 << 20)       /* octets: a few hundred milliseconds of a busy router */

/* What differs between the two families. */
static const struct family {
	int level, discover, mtu, receive_errors;
	size_t headers;             /* octets of IP and UDP headers */
} ipv4 = { IPPROTO_IP, IP_MTU_DISCOVER, IP_MTU, IP_RECVERR, 28 },
  ipv6 = { IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_MTU, IPV6_RECVERR, 48 };

/* The messages of one send: a run of equal length of which the last may be shorter. */
struct run {
	const struct message *messages;
	size_t n;
};

#define BATCH RECEIPTS_MOST         /* messages a system call */

/* Room for the control message that has one send cut into datagrams. */
union segmentation {
	char space[CMSG_SPACE(sizeof(uint16_t))];
	struct cmsghdr align;
};

struct batch {
	struct run run[BATCH];
	size_t runs;
	struct iovec octets[BATCH];
	union segmentation control[BATCH];
};

static const struct family *
family_of(const struct session *session)
{
	return session->remote.any.sa_family == AF_INET6 ? &ipv6 : &ipv4;
}

static void
set_option(const struct session *session, int level, int option, int value)
{
	/* Options only better the session; what the kernel refuses it goes without. */
	(void)!setsockopt(session->fd, level, option, &value, sizeof value);
}

static size_t
measure_payload(const struct session *session)
{
	const struct family *family = family_of(session);
	size_t largest = session->mtu ? session->mtu : LARGEST_PACKET;
	int path = 0;
	socklen_t length = sizeof path;

	if (!getsockopt(session->fd, family->level, family->mtu, &path, &length) && path > 0)
		largest = MIN(largest, (size_t)path);
	else if (!session->mtu)
		largest = UNKNOWN_PATH + family->headers;
	return MAX(largest, SMALLEST_PAYLOAD + family->headers) - family->headers;
}

static void
check_path(struct session *session)
{
	size_t payload = measure_payload(session);

	if (payload == session->payload)
		return;
	session->payload = payload;
	session_note(session, SESSION_RESIZED, 0);
}

static int
udp_connect(struct session *session, const union endpoint *source)
{
	const struct family *family = family_of(session);
	int size = SEND_BUFFER;
	int error = session_socket(session, SOCK_DGRAM, source);

	if (error)
		return error;
	set_option(session, family->level, family->discover, IP_PMTUDISC_DO);
	set_option(session, family->level, family->receive_errors, 1);
	if (setsockopt(session->fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size))
		set_option(session, SOL_SOCKET, SO_SNDBUF, size);
	return connect(session->fd, &session->remote.any, endpoint_length(&session->remote)) ? errno : 0;
}

static void
udp_begin(struct session *session)
{
	int none = 0;

	/* A kernel without it would ignore the control message and send the whole run as one datagram. */
	session->segmentation = !setsockopt(session->fd, SOL_UDP, UDP_SEGMENT, &none, sizeof none);
	session->payload = measure_payload(session);
	session_watch(session, G_IO_IN | G_IO_ERR);
}

static void
count_error(struct session *session, const struct sock_extended_err *error)
{
	if (error->ee_errno == EMSGSIZE) {
		check_path(session);
		return;
	}
	if (error->ee_origin != SO_EE_ORIGIN_ICMP && error->ee_origin != SO_EE_ORIGIN_ICMP6)
		return;
	session->counters.refused++;
	session_note(session, SESSION_TROUBLED, (int)error->ee_errno);
}

/* Empties the error queue, which also clears the socket's pending error: else the main loop would spin on it. */
static void
read_errors(struct session *session)
{
	union {
		struct cmsghdr align;
		char space[512];
	} control;
	struct msghdr header = { .msg_control = &control };

	for (int i = 0; i < 1024; i++) {
		header.msg_controllen = sizeof control;
		if (recvmsg(session->fd, &header, MSG_ERRQUEUE | MSG_DONTWAIT) < 0)
			return;
		struct cmsghdr *message = CMSG_FIRSTHDR(&header);
		const struct family *family = family_of(session);
		for (; message; message = CMSG_NXTHDR(&header, message))
			if (message->cmsg_level == family->level && message->cmsg_type == family->receive_errors)
				count_error(session, (const struct sock_extended_err *)CMSG_DATA(message));
	}
}

static void
udp_ready(struct session *session, GIOCondition condition)
{
	int error;
	socklen_t length = sizeof error;

	if (condition & G_IO_ERR) {
		read_errors(session);
		/* An error for which the queue had no room is pending all the same. */
		(void)!getsockopt(session->fd, SOL_SOCKET, SO_ERROR, &error, &length);
	}
	if (condition & G_IO_IN)
		session_discard_input(session);
}

/* How many of the messages can leave as one send. A capture on an interface that segments late (loopback, a tunnel)
 * shows such a send as one broken datagram, so it is kept for where it pays: nobody who looks for his first flows with a
 * sniffer meets it. */
static size_t
measure_run(const struct message *messages, size_t n, bool segmentation)
{
	size_t octets = messages[0].length, length = 1;

	if (n < SEGMENTS_LEAST)
		return 1;
	while (segmentation && length < MIN(n, SEGMENTS) && messages[length].length <= messages[0].length) {
		octets += messages[length].length;
		if (octets > LARGEST_SEND)
			break;
		if (messages[length++].length < messages[0].length)
			break;
	}
	return length < SEGMENTS_LEAST ? 1 : length;
}

static void
ask_segmentation(struct msghdr *header, union segmentation *control, uint16_t length)
{
	*control = (union segmentation) { 0 };
	header->msg_control = control;
	header->msg_controllen = sizeof *control;
	struct cmsghdr *message = CMSG_FIRSTHDR(header);
	message->cmsg_level = SOL_UDP;
	message->cmsg_type = UDP_SEGMENT;
	message->cmsg_len = CMSG_LEN(sizeof length);
	memcpy(CMSG_DATA(message), &length, sizeof length);
}

/* The headers are the receipts. */
static void
fill_batch(struct batch *batch, struct receipts *receipts, const struct message *messages, size_t n, bool segmentation)
{
	batch->runs = 0;
	receipts_clear(receipts);
	for (size_t i = 0; i < n; i++)
		batch->octets[i] = (struct iovec) { (void *)messages[i].octets, messages[i].length };
	for (size_t i = 0; i < n; ) {
		struct run *run = &batch->run[batch->runs];
		struct mmsghdr *header = &receipts->header[batch->runs];
		*run = (struct run) { messages + i, measure_run(messages + i, n - i, segmentation) };
		*header = (struct mmsghdr) { .msg_hdr = { .msg_iov = batch->octets + i, .msg_iovlen = run->n } };
		if (run->n > 1)
			ask_segmentation(&header->msg_hdr, &batch->control[batch->runs], messages[i].length);
		i += run->n;
		receipts->expect[batch->runs++].mark = messages[i - 1].mark;
	}
	receipts_arm(receipts, false, batch->runs);
}

static void
count_sent(struct session *session, const struct run *run)
{
	for (size_t i = 0; i < run->n; i++)
		session_sent(session, &run->messages[i]);
}

static int
send_fragmented(struct session *session, const struct message *message)
{
	const struct family *family = family_of(session);
	struct batch batch;

	fill_batch(&batch, session->receipts, message, 1, false);
	set_option(session, family->level, family->discover, IP_PMTUDISC_DONT);
	int error = sendmmsg(session->fd, session->receipts->header, 1, MSG_NOSIGNAL) < 0 ? errno : 0;
	set_option(session, family->level, family->discover, IP_PMTUDISC_DO);
	return error;
}

/* Errors after which only a new socket helps. The kernel chose the address we send from when it connected the socket,
 * and keeps to it: once that address is gone there is no route any more, whatever other addresses and routes come. An
 * error that an ICMP message left behind is not repeated, so this is one of our own host. */
static bool
is_fatal(int error)
{
	static const int fatal[] = { ENETUNREACH, EHOSTUNREACH, EINVAL, EADDRNOTAVAIL, ENODEV, ENETDOWN, ENOTCONN };

	for (size_t i = 0; i < G_N_ELEMENTS(fatal); i++)
		if (error == fatal[i])
			return true;
	return false;
}

/* True if this error speaks of the sending buffer, which is as full a moment later. */
static bool
is_full(int error)
{
	return error == EAGAIN || error == ENOBUFS || error == ENOMEM;
}

/* One message that failed twice. Returns zero if it has left all the same. */
static int
settle_message(struct session *session, const struct run *run, int error)
{
	if (error == EMSGSIZE) {
		check_path(session);
		error = send_fragmented(session, run->messages);
	}
	if (!error) {
		count_sent(session, run);
		return 0;
	}
	session->counters.send_errors++;
	session_dropped(session, is_full(error) ? DROP_QUEUE_FULL : DROP_SEND_FAILED, run->messages, run->n);
	session_note(session, is_fatal(error) ? SESSION_LOST : SESSION_TROUBLED, error);
	return error;
}

static bool send_batch(struct session *session, const struct message *messages, size_t n, bool segmentation);

/* A run that the kernel would not cut: the same messages one by one. If that goes well without a word about their
 * size, it is the cutting that this path cannot do, and it is not asked for again in this session. */
static void
settle_run(struct session *session, const struct run *run, int error)
{
	size_t payload = session->payload;

	if (send_batch(session, run->messages, run->n, false) && error != EMSGSIZE && session->payload == payload)
		session->segmentation = false;
}

/* Sends at most BATCH messages. True if every one of them left at the first or second attempt. */
static bool
send_batch(struct session *session, const struct message *messages, size_t n, bool segmentation)
{
	struct batch batch;
	bool smooth = true, again = false;

	for (size_t at = 0; at < n; ) {
		fill_batch(&batch, session->receipts, messages + at, n - at, segmentation);
		int sent = sendmmsg(session->fd, session->receipts->header, batch.runs, MSG_NOSIGNAL);
		int error = sent < 0 ? errno : 0;
		for (int i = 0; i < sent; at += batch.run[i++].n)
			count_sent(session, &batch.run[i]);
		if (!error || error == EINTR) {
			again = false;
			continue;
		}
		again = !again && !is_full(error);
		if (again) {
			read_errors(session);
			continue;
		}
		smooth = false;
		at += batch.run[0].n;
		if (batch.run[0].n > 1 && !is_full(error))
			settle_run(session, &batch.run[0], error);
		else
			settle_message(session, &batch.run[0], error);
	}
	return smooth;
}

static void
udp_send(struct session *session, const struct message *messages, size_t n)
{
	for (size_t i = 0; i < n; i += BATCH)
		send_batch(session, messages + i, MIN(n - i, BATCH), session->segmentation);
}

const struct carrier udp_carrier = {
	.name = "UDP",
	.protocol = IPPROTO_UDP,
	.datagrams = true,
	.connect = udp_connect,
	.begin = udp_begin,
	.send = udp_send,
	.ready = udp_ready,
	.check = check_path,
};
