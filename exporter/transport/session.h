/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_TRANSPORT_SESSION_H
#define PEERFLOW_TRANSPORT_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>

#include "counters.h"
#include "endpoint.h"
#include "message.h"
#include "receipts.h"

/* One socket and what is known of it: what link.c, which gives it its life, shares with the carriers, which know how to
 * push octets through it. A carrier never closes the socket and never calls a handler. It notes what happened, and the
 * link acts on that from the main loop, so that nothing changes under the feet of a caller of link_send. */

enum session_note {
	SESSION_LOST = 1,           /* the socket is of no more use; error says why, zero: the other end closed it */
	SESSION_TROUBLED = 2,       /* a message could not be sent, or an ICMP error came back; error says which */
	SESSION_RESIZED = 4,        /* payload is another one now */
};

struct queue;

struct session {
	const struct carrier *carrier;
	union endpoint remote;
	int fd;                     /* -1: none */
	bool open;                  /* connected and of use */

	GSource *watch;             /* of fd */
	gpointer watched;
	GIOCondition condition;

	GSource *notify;            /* runs soon after a note */
	unsigned notes;             /* enum session_note bits */
	int error;                  /* errno of the last trouble, or of the loss */

	size_t mtu;                 /* UDP: octets of the largest packet by configuration, or zero */
	size_t payload;             /* octets of the largest message */
	bool segmentation;          /* UDP: the kernel cuts runs of messages into datagrams */
	size_t queue_size;          /* streams: octets that may wait */
	struct queue *queue;        /* streams: NULL while there is no session */
	struct receipts *receipts;
	bool keep;                  /* what is not sent is not dropped: another process will send it */
	uint64_t kept;              /* flow records */

	struct link_counters counters;
};

struct carrier {
	const char *name;
	uint8_t protocol;           /* as in struct flow */
	bool datagrams;

	/* Makes fd and starts to connect it. Returns 0, or EINPROGRESS, or why it cannot be. */
	int (*connect)(struct session *session, const union endpoint *source);
	/* The connection stands: makes the session ready to send, sets payload. */
	void (*begin)(struct session *session);
	void (*send)(struct session *session, const struct message *messages, size_t n);
	/* fd has something to say. */
	void (*ready)(struct session *session, GIOCondition condition);

	/* The others may be NULL. check: a look at what may have changed unheard. finish: sends what waits and ends the
	 * connection in order, before deadline. end: drops what waits; after this the socket is closed. */
	void (*check)(struct session *session);
	void (*finish)(struct session *session, int64_t deadline);
	void (*end)(struct session *session);
};

extern const struct carrier udp_carrier;
extern const struct carrier tcp_carrier;
extern const struct carrier adopted_carrier;

/* A socket that does not block, bound to source if it has a family, for a carrier to connect. Returns 0 or errno. */
int session_socket(struct session *session, int type, const union endpoint *source);

/* Waits for these conditions from now on; zero: only for errors. */
void session_watch(struct session *session, GIOCondition condition);

void session_note(struct session *session, unsigned note, int error);

/* Reads and throws away what the other end sends. False if it is gone; then the session is noted as lost. */
bool session_discard_input(struct session *session);

void session_end(struct session *session);

static inline void
session_sent(struct session *session, const struct message *message)
{
	session->counters.messages_sent++;
	session->counters.octets_sent += message->length;
	session->counters.flow_records_sent += message->flow_records;
	session->counters.flow_packets_sent += message->flow_packets;
	session->counters.flow_octets_sent += message->flow_octets;
	receipts_out(session->receipts, message->mark);
}

/* Counts messages that will not be sent; they are the oldest that are not, but for those in the queue. */
void session_dropped(struct session *session, enum drop_reason reason, const struct message *messages, size_t n);

#endif
