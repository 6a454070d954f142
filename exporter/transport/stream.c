/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>

#include <linux/sockios.h>

#include "queue.h"
#include "session.h"

/* TCP, and stream sockets that somebody else connected. A message goes straight from the encoder's memory to the kernel
 * while the kernel takes it; the rest waits in a bounded queue, whole messages or nothing, because a reader of a stream
 * never finds back into it after a torn message. */

#define LARGEST_PAYLOAD 16384       /* octets: a stream has no path limit, but a reader wants its messages in time */

/* A collector that takes nothing and says nothing for half a minute is gone, whether we were sending or not. */
#define SILENCE 30                  /* seconds */
#define PROBES 3

static void
set_option(const struct session *session, int level, int option, int value)
{
	(void)!setsockopt(session->fd, level, option, &value, sizeof value);
}

static int
tcp_connect(struct session *session, const union endpoint *source)
{
	int error = session_socket(session, SOCK_STREAM, source);

	if (error)
		return error;
	set_option(session, SOL_SOCKET, SO_KEEPALIVE, 1);
	set_option(session, IPPROTO_TCP, TCP_KEEPIDLE, SILENCE / PROBES);
	set_option(session, IPPROTO_TCP, TCP_KEEPINTVL, SILENCE / PROBES);
	set_option(session, IPPROTO_TCP, TCP_KEEPCNT, PROBES);
	set_option(session, IPPROTO_TCP, TCP_USER_TIMEOUT, SILENCE * 1000);
	return connect(session->fd, &session->remote.any, endpoint_length(&session->remote)) ? errno : 0;
}

static void
stream_begin(struct session *session)
{
	session->queue = queue_new(session->queue_size);
	session->payload = LARGEST_PAYLOAD;
	session_watch(session, G_IO_IN);
}

static void
lose(struct session *session, int error)
{
	session->counters.send_errors++;
	session_note(session, SESSION_LOST, error);
}

/* sendmsg, but in a way that a later process finds out how much was taken. The receipts are armed. */
static ssize_t
send_pieces(struct session *session, struct iovec *piece, size_t n)
{
	struct mmsghdr *header = &session->receipts->header[0];

	header->msg_hdr = (struct msghdr) { .msg_iov = piece, .msg_iovlen = n };
	return sendmmsg(session->fd, header, 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -1 : (ssize_t)header->msg_len;
}

/* Hands the kernel as much as it takes. Returns zero, also if something still waits, or errno. */
static int
flush(struct session *session)
{
	struct iovec piece[2];
	struct message message;

	while (!queue_is_empty(session->queue)) {
		int pieces = queue_peek(session->queue, piece, session->receipts);
		ssize_t n = send_pieces(session, piece, pieces);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : errno;
		queue_advance(session->queue, n);
		while (queue_take(session->queue, &message, false))
			session_sent(session, &message);
	}
	return 0;
}

/* After the kernel took these octets of the messages: counts those that are out, keeps the rest of a torn one. Returns
 * how many messages are dealt with. */
static size_t
settle(struct session *session, const struct message *messages, size_t octets)
{
	size_t i = 0;

	for (; octets && octets >= messages[i].length; i++) {
		octets -= messages[i].length;
		session_sent(session, &messages[i]);
	}
	if (octets)
		queue_put(session->queue, &messages[i++], octets);
	return i;
}

static void
expect(struct receipts *receipts, const struct message *messages, size_t n)
{
	uint64_t octets = 0;

	receipts_clear(receipts);
	for (size_t i = 0; i < n; i++) {
		octets += messages[i].length;
		receipts->expect[i].octets = octets;
		receipts->expect[i].mark = messages[i].mark;
	}
	receipts->header[0].msg_len = 0;
	receipts_arm(receipts, true, n);
}

/* Sends past the empty queue until the kernel has enough. Returns how many messages are dealt with. */
static size_t
send_through(struct session *session, const struct message *messages, size_t n)
{
	struct iovec octets[RECEIPTS_MOST];
	size_t done = 0;

	while (done < n && queue_is_empty(session->queue)) {
		size_t together = MIN(n - done, RECEIPTS_MOST);
		for (size_t i = 0; i < together; i++)
			octets[i] = (struct iovec) { (void *)messages[done + i].octets, messages[done + i].length };
		expect(session->receipts, messages + done, together);
		ssize_t sent = send_pieces(session, octets, together);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0 && errno != EAGAIN)
			lose(session, errno);
		if (sent <= 0)
			break;
		done += settle(session, messages + done, sent);
	}
	return done;
}

static void
stream_send(struct session *session, const struct message *messages, size_t n)
{
	size_t done = send_through(session, messages, n);

	for (; done < n; done++)
		if (!session->open || !queue_put(session->queue, messages + done, 0))
			session_dropped(session, session->open ? DROP_QUEUE_FULL : DROP_SESSION_LOST, messages + done, 1);
	if (!queue_is_empty(session->queue))
		session_watch(session, G_IO_IN | G_IO_OUT);
}

static void
stream_ready(struct session *session, GIOCondition condition)
{
	if (condition & (G_IO_IN | G_IO_HUP | G_IO_ERR) && !session_discard_input(session))
		return;
	int error = flush(session);
	if (error)
		lose(session, error);
	else if (queue_is_empty(session->queue))
		session_watch(session, G_IO_IN);
}

/* False when the time is over. */
static bool
wait_for(const struct session *session, short events, int64_t deadline)
{
	struct pollfd wait = { .fd = session->fd, .events = events };
	int64_t left = deadline - g_get_monotonic_time();

	return left > 0 && poll(&wait, 1, (int)(left / 1000 + 1)) > 0;
}

static void
stream_finish(struct session *session, int64_t deadline)
{
	int error = flush(session);

	while (!error && !queue_is_empty(session->queue) && wait_for(session, POLLOUT | POLLIN, deadline)) {
		/* What we left unread would make the kernel end the connection with a reset, over data still on its way. */
		if (!session_discard_input(session))
			return;
		error = flush(session);
	}
	if (error || shutdown(session->fd, SHUT_WR))
		return;
	while (session_discard_input(session) && wait_for(session, POLLIN, deadline))
		continue;
}

static void
stream_end(struct session *session)
{
	struct message message;
	int unconfirmed;

	/* What the kernel took is not there yet. After a broken connection it still tells how much of it never was. */
	if (session->queue && !ioctl(session->fd, SIOCOUTQ, &unconfirmed))
		session->counters.unconfirmed += unconfirmed;
	while (session->queue && queue_take(session->queue, &message, true))
		session_dropped(session, DROP_SESSION_LOST, &message, 1);
	g_clear_pointer(&session->queue, queue_free);
}

const struct carrier tcp_carrier = {
	.name = "TCP",
	.protocol = IPPROTO_TCP,
	.connect = tcp_connect,
	.begin = stream_begin,
	.send = stream_send,
	.ready = stream_ready,
	.finish = stream_finish,
	.end = stream_end,
};

const struct carrier adopted_carrier = {
	.name = "stream",
	.begin = stream_begin,
	.send = stream_send,
	.ready = stream_ready,
	.finish = stream_finish,
	.end = stream_end,
};
