/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ENRICH_CLIENT_H
#define PEERFLOW_ENRICH_CLIENT_H

#include "enrich/feed.h"
#include "enrich/sources.h"

/* The NetBird client on this host as a source of names. It is asked for its peers in the best way that works: by the
 * stream of changes of its JSON socket, by single questions at that socket, by its command. Only calls that read are
 * ever made; the socket would take others. */

bool client_is_wanted(const struct sources_options *options);
void client_run(struct feed *feed, const struct sources_options *options);

/* The resources that this host reaches through others, which only the socket tells. */
bool client_has_networks(const struct sources_options *options);
void client_run_networks(struct feed *feed, const struct sources_options *options);

#endif
