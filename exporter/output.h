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
};

/* Loads the collector's template, builds the encoder and starts the link. Both arguments must outlive the output.
 * Fails with EX_CONFIG. */
struct output *output_new(const struct config_collector *collector, const struct output_identity *identity,
                          GError **error);

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

void output_flow(struct output *output, const struct flow *flow, const struct names *names);

/* Sends all full messages or, with partial, everything. True if something still waits. */
bool output_flush(struct output *output, bool partial);

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
