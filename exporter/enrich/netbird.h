/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ENRICH_NETBIRD_H
#define PEERFLOW_ENRICH_NETBIRD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>

#include "enrich/roster.h"

/* What a NetBird client says of its mesh, from octets to rosters. A reader takes answers as they come, in pieces, one
 * behind the other; each makes one struct news. Strict about JSON, tolerant about what it says: keys may be missing,
 * null or of another type, and unknown ones are passed over unread. */

enum netbird_answer {
	/* The client's whole state: Status and the frames of SubscribeStatus of the JSON gateway, and what "netbird status
	 * --json" prints. They share no key that means two things. */
	NETBIRD_STATUS,
	/* ListNetworks: which resources the prefixes and domains are that others route for this host. */
	NETBIRD_NETWORKS,
};

struct news {
	struct roster *roster;
	unsigned peers;             /* listed */
	unsigned connected;         /* of them */
	unsigned unreadable;        /* elements left out, because they are no JSON after all */
	uint64_t revision;          /* of the networks; changes when ListNetworks has something new to say */
};

void news_free(struct news *news);
typedef struct news news_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(news_t, news_free)

/* Gets each answer as soon as it is complete, and owns it. False with error ends the reading. */
typedef bool netbird_take(struct news *news, void *data, GError **error);

struct netbird;

struct netbird *netbird_new(enum netbird_answer answer, netbird_take *take, void *data);
void netbird_free(struct netbird *reader);
typedef struct netbird netbird_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(netbird_t, netbird_free)

/* The next octets. False with error, and the reader is of no more use: EX_DATAERR the octets are no such answer,
 * EX_UNAVAILABLE the client says that it has nothing to tell, in its own words. */
bool netbird_feed(struct netbird *reader, const char *octets, size_t length, GError **error);

/* Has an answer begun that is not complete? */
bool netbird_is_inside(const struct netbird *reader);

#endif
