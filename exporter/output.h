/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_OUTPUT_H
#define PEERFLOW_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <glib.h>

#include "config.h"
#include "counters.h"
#include "flow.h"
#include "names.h"
#include "status.h"
#include "transport/link.h"

/* RFC 5612: for examples. Viewers on this host are told by it; it should not leave the host. */
enum { DOCUMENTATION_ENTERPRISE = 32473 };

/* One collector: an encoder and the link its messages leave by, paired. */
struct output;
struct receipts;

/* What all outputs tell about this exporter. It must outlive them. */
struct output_identity {
	uint32_t domain;            /* Observation Domain id */
	uint32_t enterprise;        /* zero: none */
	const char *template_directory;
	const struct interface_name *interface;
	size_t n_interfaces;
	struct ledger *ledger;      /* where outputs enter what they lost; NULL: nowhere */
	char domain_name[65];       /* what the Observation Domain is called; "": nothing to say */
	const struct names *names;  /* whose rows say whom each prefix stands for, good during output_tick; or NULL */
	uint64_t names_version;     /* another one for other rows */
	GSource *opened;            /* made ready when an output has a session and can take flows; NULL: nothing is */
};

/* Loads the collector's template, builds the encoder and starts the link. All arguments must outlive the output;
 * receipts tell which flows are out already, NULL: none. Fails with EX_CONFIG. */
struct output *output_new(const struct config_collector *collector, const struct output_identity *identity,
                          struct receipts *receipts, GError **error);

/* The first half of output_new: is the configuration of this collector usable? With out, also prints its templates. */
bool output_check(const struct config_collector *collector, const struct output_identity *identity, FILE *out,
                  GError **error);

/* Is there what viewers are told by? */
bool output_check_viewer(const struct output_identity *identity, GError **error);

/* An output to a viewer on the other end of a connected stream socket, which now belongs to the output: every field
 * there is, one record a flow. gone is called from the main loop when the viewer left. */
struct output *output_adopt(int fd, const struct output_identity *identity, void (*gone)(struct output *, void *),
                            void *data, GError **error);

/* True if the output already does what this configuration asks for, so that its session can go on; from then on it
 * refers to the new collector and identity. */
bool output_keep(struct output *output, const struct config_collector *collector,
                 const struct output_identity *identity);

/* Flows have numbers, and an output takes them in order. Without a session it takes none: what it had taken and not sent
 * is to be given again when it has one. A viewer takes any flow at any time. */

/* True if it is open and this is the next one. */
bool output_follows(const struct output *output, uint64_t number);

/* Number of the next flow; zero: ask again in a moment. first is the oldest that can be had: if the next would be one
 * before, those between are lost, and told. */
uint64_t output_next(struct output *output, uint64_t first);

bool output_is_open(const struct output *output);

/* Takes the next flow. Not being open it will lose it, and count it as dropped, with output_flush. */
void output_flow(struct output *output, const struct flow *flow, const struct names *names, uint64_t number);

/* The next flow is not for collectors. */
void output_skip(struct output *output, uint64_t number);

/* Sends all full messages or, with partial, everything. True if something still waits. */
bool output_flush(struct output *output, bool partial);

/* What cannot be sent until output_stop ends is not lost: the next process will, by the same receipts, if the flow is not
 * older than first. */
void output_leave(struct output *output, uint64_t first);

/* Enters what could not be sent since the last time into the ledger. */
void output_account(struct output *output);

/* To be called every second. Accounts, also for what was sent and came back refused, and tells the collector what is lost
 * if it does not know, and whom prefixes stand for: a few rows each time, so that a large mesh delays nothing. */
void output_tick(struct output *output);

/* Sends interface names and statistics again, and over UDP the templates before them. */
void output_refresh(struct output *output);

bool output_carries(const struct output *output, const struct flow *flow);
const char *output_name(const struct output *output);
const struct link_counters *output_counters(const struct output *output);

/* How the output to a collector stands; link is where the texts of status are. */
void output_status(const struct output *output, struct link_status *link, struct status_collector *status);

/* Sends what waits, for at most patience ms, closes the session and accounts for what is lost by that. From then on
 * only output_carries and output_close may be called; neither the collector nor the identity are used any more. */
void output_stop(struct output *output, unsigned patience);

/* Stops the output, if it was not, and frees it. */
void output_close(struct output *output, unsigned patience);

#endif
