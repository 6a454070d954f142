/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ENCODE_BATCH_H
#define PEERFLOW_ENCODE_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "encode/template.h"
#include "message.h"

/* Messages under construction: headers, Sets and Sequence Numbers, and nothing of what the records mean. Closed
 * messages lie one behind the other in one buffer, so that a run of equal lengths can leave as one segmented send.
 *
 * Flow records travel in the configured Observation Domain. Everything else, options data that is, travels in domain 0
 * (RFC 7011 section 3.1), with Templates and Sequence Numbers of its own: a collector in use counts only flow records
 * and takes options data among them for lost flows.
 *
 * Records stand in the order in which they came, a Set for each run of one id. Where that is asked for (scratch; IPFIX
 * alone), a message of data that ends has one Set of each id instead, see encode/group.h: ids then decide what comes
 * first. */

enum stream {
	STREAM_FLOWS,
	STREAM_PROCESS,
	STREAMS,
};

enum {
	BATCH_MESSAGES = 64,        /* as many segments as one UDP_SEGMENT send takes */
	BATCH_OCTETS = 65536,       /* as large as one such send, for messages of a quarter of it at most */
	HEADER_IPFIX = 16,
	SET_HEADER = 4,
	SET_TEMPLATES_IPFIX = 2,
	SET_OPTIONS_TEMPLATES_IPFIX = 3,
	SET_TEMPLATES_NETFLOW9 = 0,
	SET_OPTIONS_TEMPLATES_NETFLOW9 = 1,
	NO_SET = 4,                 /* never on the wire: RFC 7011 section 3.3.2 */
};

struct batch {
	enum wire_protocol protocol;
	uint32_t domain;
	uint64_t boot;              /* ms since 1970 at which NetFlow v9's sysUpTime is zero */
	size_t limit;               /* largest message */
	size_t capacity;            /* of octets */
	uint32_t sequence[STREAMS];

	struct {
		uint32_t start;
		uint16_t length;
		uint16_t records;       /* of data, options included: what an IPFIX sequence counts */
		uint16_t flow_records;
		uint16_t all_records;   /* templates too: NetFlow v9's header count */
		uint8_t stream;
		uint64_t packets;       /* counted by the flow records */
		uint64_t octets;
		uint64_t mark;
	} slot[BATCH_MESSAGES];
	unsigned n_closed;          /* slot[n_closed] is the open message, if open */
	unsigned n_taken;
	bool open;
	uint32_t at;                /* next octet to write */
	uint32_t set_start;
	uint16_t set;               /* id of the open Set or NO_SET */
	uint64_t mark;              /* see encoder_mark */

	struct message message[BATCH_MESSAGES];
	uint8_t *octets;            /* the owner's */
	uint8_t *scratch;           /* the owner's, limit octets: a message that ends has its Sets joined; or NULL */
};

/* Begins a session: nothing inside, sequences at zero. */
void batch_restart(struct batch *batch);

/* Room for so many whole messages beside the open one? Also forgets what was taken. */
bool batch_reserve(struct batch *batch, unsigned messages);

/* Records of so many octets together are to stand in one message: ends the open one if it has no room for them. */
void batch_gather(struct batch *batch, enum stream stream, uint16_t set, size_t octets);

/* Where to write a record of so many octets in a Set of that id, in a message of that stream, opening and closing
 * both as needed; NULL if it fits no message. What was reserved must not have been used up. */
uint8_t *batch_room(struct batch *batch, enum stream stream, uint16_t set, size_t octets);

enum record_class { RECORD_TEMPLATE, RECORD_OPTIONS, RECORD_FLOW };

/* The record batch_room made room for was written. */
void batch_commit(struct batch *batch, size_t octets, enum record_class what);

/* What the flow record that was just committed counts. */
void batch_count(struct batch *batch, uint64_t packets, uint64_t octets);

/* All of the flow of that number is inside. */
void batch_mark(struct batch *batch, uint64_t mark);

/* The next record starts a Set, or a message, of its own. */
void batch_end_set(struct batch *batch);
void batch_end_message(struct batch *batch);

/* See encoder_take. */
size_t batch_take(struct batch *batch, uint64_t now, bool partial, const struct message **messages);

#endif
