/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <unistd.h>

#include "queue.h"
#include "session.h"
#include "wakeup.h"

int
session_socket(struct session *session, int type, const union endpoint *source)
{
	session->fd = socket(session->remote.any.sa_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (session->fd < 0)
		return errno;
	if (source->any.sa_family && bind(session->fd, &source->any, endpoint_length(source)))
		return errno;
	return 0;
}

void
session_watch(struct session *session, GIOCondition condition)
{
	if (!session->watched)
		session->watched = g_source_add_unix_fd(session->watch, session->fd, condition);
	else if (condition != session->condition)       /* a change costs a turn of the main loop */
		g_source_modify_unix_fd(session->watch, session->watched, condition);
	session->condition = condition;
}

void
session_note(struct session *session, unsigned note, int error)
{
	/* The first cause of a loss counts; what fails after it is only its echo. */
	if (note & (SESSION_LOST | SESSION_TROUBLED) && !(session->notes & SESSION_LOST))
		session->error = error;
	if (note & SESSION_LOST)
		session->open = false;
	session->notes |= note;
	wakeup_at(session->notify, WAKEUP_NOW);
}

static void
drop(struct session *session, enum drop_reason reason, const struct message *message)
{
	struct drops *dropped = &session->counters.dropped[reason];

	session->counters.flow_records_dropped += message->flow_records;
	dropped->flow_records += message->flow_records;
	dropped->packets += message->flow_packets;
	dropped->octets += message->flow_octets;
	/* What waits before it must not be taken for sent. */
	if (session->queue && !queue_is_empty(session->queue))
		queue_mark(session->queue, message->mark);
	else
		receipts_out(session->receipts, message->mark);
}

void
session_dropped(struct session *session, enum drop_reason reason, const struct message *messages, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (session->keep)
			session->kept += messages[i].flow_records;
		else
			drop(session, reason, &messages[i]);
}

bool
session_discard_input(struct session *session)
{
	char octets[4096];

	/* Bounded, so that a talkative other end cannot keep the loop from its work. */
	for (int i = 0; i < 16; i++) {
		ssize_t n = recv(session->fd, octets, sizeof octets, MSG_DONTWAIT);
		if (n > 0 || (n < 0 && errno == EINTR))
			continue;
		if (n < 0 && errno == EAGAIN)
			return true;
		if (session->carrier->datagrams)
			continue;       /* an empty datagram, or an ICMP error that the error queue tells better */
		session_note(session, SESSION_LOST, n ? errno : 0);
		return false;
	}
	return true;
}

void
session_end(struct session *session)
{
	if (session->fd < 0)
		return;
	if (session->carrier->end)
		session->carrier->end(session);
	if (session->watched)
		g_source_remove_unix_fd(session->watch, session->watched);
	close(session->fd);
	session->watched = NULL;
	session->fd = -1;
	session->open = false;
	session->notes = 0;
}
