/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ARCHIVE_DECODE_H
#define PEERFLOW_ARCHIVE_DECODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>

#include "flow.h"
#include "gap.h"
#include "names.h"

/* Flows out of IPFIX messages in memory, for archives: the same flows that reader.h gets by way of libfixbuf, in a
 * twentieth of the time. Each template becomes, once, a plan of copies into struct flow; a record costs no more than to
 * follow it. Not thread-safe; no allocation per flow, but for names.
 *
 * The strings about a flow stand in its record or, once for many flows, in a record of common properties (RFC 5473) to
 * which flows refer by number. A message that begins with templates begins the numbers anew. */

struct decoder;

/* enterprise is the number of the OWN elements in this stream. */
struct decoder *decoder_new(uint32_t enterprise);
void decoder_free(struct decoder *decoder);
typedef struct decoder decoder_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(decoder_t, decoder_free)

/* The octets of the whole message that this header (16 octets) announces; zero: it is no IPFIX header. */
size_t decoder_octets(const uint8_t *header);

/* Begins with a whole message, whose octets are to stay where they are until the next. False, with error set ("octet N:
 * what", EX_DATAERR): it is not sound, and then it has no flows. What it tells besides flows is taken when the flows
 * before it have been. */
bool decoder_message(struct decoder *decoder, const uint8_t *message, size_t octets, GError **error);

struct columns;

/* The messages from now on are the skeleton of these, which are to stay until there are others; NULL: they are whole. */
void decoder_columns(struct decoder *decoder, struct columns *columns);

/* The next flow of the message, all but whose it was: initiator, responder and policy are zero. False: no more. */
bool decoder_next(struct decoder *decoder, struct flow *flow);

/* The same in two steps, for whoever can tell by a part of a flow that the rest is of no use: these parts (enum
 * flow_part) need not be in what decoder_glance gives, whose reply is nothing if there was no translation. Of what it
 * gave last decoder_take makes the whole flow; false if that is damaged. decoder_spare comes before the first message.
 * If names are spared, nobody is anybody. */
void decoder_spare(struct decoder *decoder, unsigned parts);
const struct flow *decoder_glance(struct decoder *decoder);
bool decoder_take(struct decoder *decoder, struct flow *flow);

/* Once there are no more: false, with error set (EX_DATAERR), if that is because columns are damaged. Then no further
 * message of the same columns makes sense. */
bool decoder_is_whole(struct decoder *decoder, GError **error);

/* Fills in initiator, responder and policy of the flow that decoder_next gave last. Good until the next flow. */
const struct names *decoder_names(struct decoder *decoder, struct flow *flow);

/* Of the message: its Observation Domain, and what that is called (RFC 7011 section 3.1, IE 300), or NULL. */
uint32_t decoder_domain(const struct decoder *decoder);
const char *decoder_domain_name(const struct decoder *decoder);

/* The name of the interface with that index, as last said, or NULL. */
const char *decoder_interface(const struct decoder *decoder, uint32_t index);

/* Hands on each gap record that decoder_next passes. */
void decoder_on_gap(struct decoder *decoder, void (*gap)(const struct gap *gap, void *data), void *data);

/* Octets are missing here: what flows behind them refer to may have been told anew, so nobody is better than a wrong
 * name. */
void decoder_forget(struct decoder *decoder);

#endif
