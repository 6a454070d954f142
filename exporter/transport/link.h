/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_TRANSPORT_LINK_H
#define PEERFLOW_TRANSPORT_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>

#include "counters.h"
#include "flow.h"
#include "message.h"

/* The way to one collector. A link resolves the collector's name, connects, sends, and comes back after every failure
 * by itself; it runs in the default GMainContext and nothing in it ever blocks. What it cannot send is dropped and
 * counted, so that a slow or dead collector never delays the others nor the reading of the kernel. */

enum link_transport {
	LINK_UDP,
	LINK_TCP,
};

struct link_options {
	const char *name;           /* of the collector, for log lines */
	const char *host;           /* address or DNS name */
	uint16_t port;
	enum link_transport transport;
	const char *source_address; /* address to send from, or NULL */
	unsigned mtu;               /* largest IP packet in octets, or zero: from the path */
	unsigned retry;             /* seconds; TCP: before the first new attempt, doubles up to 16 times that;
	                             * UDP: the most, after 1, 2, 4 ..., for these attempts bother nobody */
	unsigned resolve;           /* seconds between looks at the DNS name */
	size_t queue;               /* TCP: octets that may wait for a slow collector */
	struct receipts *receipts;  /* what has been sent, in memory that outlives the link; NULL: nobody asks later */
};

/* Called from the main loop, never from inside link_send; they may call link_send but not link_close. Any may be
 * NULL. */
struct link_handler {
	/* A new transport session: sequences start anew, templates come first (RFC 7011 sections 8.4, 10.4). payload is the
	 * largest message in octets. */
	void (*opened)(void *data, size_t payload);
	/* UDP: the path takes larger or smaller messages from now on. */
	void (*resized)(void *data, size_t payload);
	/* UDP: a send failed or the collector refused it; it may have restarted, so it needs the templates again. Not
	 * called more than once a second. */
	void (*refused)(void *data);
};

struct link;
struct receipts;

/* Starts a link; name resolution and connection happen later, off this call. The options' strings are copied. Fails
 * only over options that can never work: a source address that is none. */
struct link *link_open(const struct link_options *options, const struct link_handler *handler, void *data,
                       GError **error);

/* Adopts a connected stream socket (a viewer on the local socket): no name, no retry. closed is called once, from the
 * main loop, when the other end is gone; the link then waits to be freed. handler->opened is not called. */
struct link *link_adopt(int fd, const char *name, size_t queue, void (*closed)(void *data), void *data);

/* Sends or queues whole messages, in order; drops and counts what it cannot. Without a session all is dropped. No
 * allocation, no blocking. */
void link_send(struct link *link, const struct message *messages, size_t n);

/* The mark of the last message that is out or was dropped, with all that came before it. */
uint64_t link_mark(const struct link *link);

/* From now on what cannot be sent is neither counted as dropped nor given up: its mark stays behind, so that the process
 * that goes on with the same receipts sends it. */
void link_keep(struct link *link);

/* True while there is a session to send to. */
bool link_is_open(const struct link *link);

/* False for a moment after a session was lost, when what waited in it is not dropped yet. */
bool link_is_settled(const struct link *link);

/* True if this flow is the link's own traffic, now or in one of its last sessions, which must not be reported. */
bool link_carries(const struct link *link, const struct flow *flow);

const struct link_counters *link_counters(const struct link *link);

/* How a link stands. The texts are good until the main loop runs again. */
struct link_status {
	const char *state;          /* resolving, connecting, sending, refused, waiting; gone: a viewer that left */
	char address[80];           /* the collector's, as far as it is known */
	const char *trouble;        /* why it does not go well, or "" */
	size_t queue_filled;        /* octets that wait here for a stream's other end */
	size_t queue_size;          /* and how many may; zero: none, these are datagrams */
};

void link_status(const struct link *link, struct link_status *status);

/* Sends what is queued, for at most patience ms, and closes the session in order. From then on the link only knows
 * which flows were its own, for the kernel reports their ends late; the receipts are not used any more. */
void link_stop(struct link *link, unsigned patience);

/* Stops the link, if it was not, and frees it. */
void link_close(struct link *link, unsigned patience);

#endif
