/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_WHO_H
#define PEERFLOW_WHO_H

#include <stdbool.h>

#include <glib.h>

#include "config.h"
#include "enrich/roster.h"
#include "enrich/sources.h"
#include "flow.h"
#include "names.h"
#include "outlook.h"

/* Who it was: all sources of names, what they said together, and which flows are wanted. For the hot path it is two
 * read-only snapshots that are swapped whole in GLib's default main context. */
struct who;

/* Starts all sources the configuration asks for; peers is what its peers-file says, or NULL, and now belongs to this.
 * Returns when what the file and the history know is ready; what others say later is told to changed, which is called in
 * the main loop before who_names is no longer what it was. */
struct who *who_open(const struct config *config, struct roster *peers, void (*changed)(void *data), void *data);

/* The same for a newer configuration. */
void who_reload(struct who *who, const struct config *config, struct roster *peers);
void who_close(struct who *who);

/* Interfaces, addresses or routes of this host changed: looked at again a moment later, for they change in swarms. */
void who_host_changed(struct who *who);

/* Has the processor fetch what who_find will need for this flow, if it is called some flows earlier. */
void who_prefetch(const struct who *who, const struct flow *flow);

/* How the mesh runs on this host. */
const struct outlook *who_outlook(const struct who *who);

/* Enriches the flow. False if it is none of those that [conntrack] flows selects. */
bool who_find(struct who *who, struct flow *flow);

/* What initiator, responder and policy of a flow refer to, until the main loop runs again. */
const struct names *who_names(const struct who *who);

/* What NetBird calls this host, or NULL; until the main loop runs again. */
const char *who_own_name(const struct who *who);

/* For their states. */
struct sources *who_sources(struct who *who);

#endif
