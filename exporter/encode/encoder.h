/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ENCODE_ENCODER_H
#define PEERFLOW_ENCODE_ENCODER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>

#include "encode/template.h"
#include "flow.h"
#include "gap.h"
#include "message.h"
#include "names.h"

/* Turns flows into export messages for one collector: IPFIX (RFC 7011) or NetFlow v9 (RFC 3954), from the same tables.
 *
 * Records collect in a batch of messages. When an add answers false the batch is full: take it, send it, add again.
 * Sequence numbers and export times are written when a batch is taken, so they are those of the moment it leaves, and
 * a message that is taken but lost on the way leaves a hole that a collector can see (RFC 7011 section 10.2.2).
 *
 * One encoder is one transport session. Not thread-safe; no allocation after encoder_new. */

enum reply_tuple {
	REPLY_MIRROR = VIEW_MIRROR,
	REPLY_WIRE = VIEW_WIRE,
};

struct encoder_options {
	unsigned records;           /* TRAIT_UNIFLOW or TRAIT_BIFLOW */
	enum reply_tuple reply;
	uint32_t domain;            /* Observation Domain or, in NetFlow v9, Source ID of flow records */
	uint32_t enterprise;        /* the operator's number for OWN elements, or zero: there is none */
	uint16_t message_size;      /* largest message in octets */
	uint64_t boot;              /* ms since 1970 from which NetFlow v9 counts sysUpTime */
	bool properties;            /* strings stand once in records of their own (RFC 5473): for files, where nothing is lost */
};

/* What the Exporting Process has done (IANA IEs 40 to 42), as sent in Observation Domain 0. */
struct exporter_statistics {
	uint64_t octets;
	uint64_t messages;
	uint64_t flow_records;
};

struct interface_name {
	uint32_t index;
	char name[32];              /* zero padded */
};

struct encoder;

/* The file is read only here and may be freed afterwards. Fails with EX_CONFIG if the options do not suit the file: no
 * template of that kind, OWN elements without an enterprise number, a template or record larger than a message, or
 * initiatorPropertiesId and its like where properties is not set or the other way round. */
struct encoder *encoder_new(const struct template_file *file, const struct encoder_options *options, GError **error);

void encoder_free(struct encoder *encoder);
typedef struct encoder encoder_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(encoder_t, encoder_free)

/* Begins a new transport session: sequences at zero, nothing in the batch (RFC 7011 section 10.3.2). The next thing to
 * add is the templates. */
void encoder_restart(struct encoder *encoder);

/* A smaller or larger path. Applies from the next message on; false if a template or record would not fit, and then
 * nothing changes. */
bool encoder_set_message_size(struct encoder *encoder, size_t octets);

/* Adds the records of one flow: a pair of uniflows or one biflow. The reply has one only if it had packets, and so has the
 * original while the flow goes on (END_ACTIVE). The pair stands in one message, unless one record alone takes more than
 * half of the largest. */
bool encoder_add_flow(struct encoder *encoder, const struct flow *flow, const struct names *names);

/* With properties, a flow has the numbers of records that stand before it in the same Observation Domain and say all
 * strings of fields.def about it: who was at either end, and the policy. Number zero has none: nothing is known.
 *
 * With them, too, each message of data has one Set of each id, in ascending order of id, and in it the records in
 * the order they were added: flows of one template stand together. A file whose flows have ids below those of the
 * properties (275 to 277) would then have a flow before what it refers to, so its messages have all in the order it
 * was added. */

/* Begins a part of a file that can be read alone: a message that begins with the templates, the types of OWN elements,
 * and from here on properties are told anew and numbered from one. */
bool encoder_begin_block(struct encoder *encoder);

/* Flows come with indexes of other names from now on. */
void encoder_forget_names(struct encoder *encoder);

/* Flows are counted by whoever adds them: mark is the number of the last one that was added, or left out. Each message
 * tells the last mark that was set while it, or one before it, was open. */
void encoder_mark(struct encoder *encoder, uint64_t mark);

/* Adds all Template Records, in messages of their own. */
bool encoder_add_templates(struct encoder *encoder);

/* Adds the type records (RFC 5610) of the OWN elements there are. They are data, so the templates come before them. */
bool encoder_add_types(struct encoder *encoder);

/* Adds one row of the table of interface names. */
bool encoder_add_interface(struct encoder *encoder, const struct interface_name *interface);

bool encoder_add_statistics(struct encoder *encoder, const struct exporter_statistics *statistics);

/* Adds what the Observation Domain is called (observationDomainName, IE 300), in 64 octets. Only IPFIX has such a
 * record; else nothing is added. */
bool encoder_add_domain_name(struct encoder *encoder, const char *name);

/* Does somebody there read of whom a prefix stands for? That takes OWN elements. */
bool encoder_tells_who(const struct encoder *encoder);

/* Adds one row of the table of peers and resources, with words cut where they do not fit a message. */
bool encoder_add_who(struct encoder *encoder, const struct names_row *row, const struct names *names);

/* Adds what was lost so far, in totals with the times of the first and the last loss (RFC 7011 sections 4.2 and 4.3):
 * by the Metering Process or on the way to this collector. Only IPFIX has such records; else nothing is added. */
bool encoder_add_metering_gaps(struct encoder *encoder, const struct gap *total);
bool encoder_add_exporting_gaps(struct encoder *encoder, const struct gap *total);

/* Adds the total of one kind of gap, if there are OWN elements to say the kind with. */
bool encoder_add_gap(struct encoder *encoder, const struct gap *total);

/* Hands out what can leave: all messages that are full or, with partial, also the one still open. now is ms since 1970.
 * The messages stay valid until the next call with this encoder. Returns how many there are. */
size_t encoder_take(struct encoder *encoder, uint64_t now, bool partial, const struct message **messages);

/* True if something waits that only a take with partial would hand out. */
bool encoder_waiting(const struct encoder *encoder);

#endif
