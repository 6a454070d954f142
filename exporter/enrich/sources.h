/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ENRICH_SOURCES_H
#define PEERFLOW_ENRICH_SOURCES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>

#include "enrich/roster.h"

/* The sources of names that have to be asked, which may take time: each in a thread of its own, away from the flows. */

enum sources_status { SOURCES_AUTO, SOURCES_SOCKET, SOURCES_COMMAND, SOURCES_OFF };

/* Appends what a tunnel of the kernel sends to whom (struct tunnel_prefix) to prefixes, or fails. Called in a
 * thread. */
typedef bool sources_tunnel(const char *interface, GArray *prefixes, GError **error);

/* Texts belong to the caller and are copied. */
struct sources_options {
	enum sources_status status; /* which ways to ask the NetBird client there are */
	const char *socket;         /* of its JSON gateway */
	const char *command;        /* absolute path of netbird(1) */
	unsigned refresh;           /* seconds between two questions; also how long an answer may take */
	const char *api_url;        /* of the management server; NULL: it is not asked */
	const char *api_token_file;
	unsigned api_refresh;       /* seconds */
	const char *interface;      /* of the mesh, whose tunnel is asked who is behind it; NULL: it is not */
	sources_tunnel *tunnel;     /* for the kernel's WireGuard */
};

struct sources;

/* Gets each new roster in the default main context, and owns it; NULL: the source is no longer asked, and what it said
 * no longer in force. */
typedef void sources_roster(enum roster_source source, struct roster *roster, void *data);

/* Never fails: what does not work is said in the log and tried again. */
struct sources *sources_open(const struct sources_options *options, sources_roster *on_roster, void *data);

/* Sources whose options have not changed go on undisturbed. */
void sources_reconfigure(struct sources *sources, const struct sources_options *options);

/* Ends all threads, which takes no time worth mentioning, and calls nobody any more. */
void sources_close(struct sources *sources);

enum sources_condition {
	SOURCES_ASKING,             /* no answer yet */
	SOURCES_GOOD,
	SOURCES_FAILING,            /* what it said last stays in force */
	SOURCES_ABSENT,             /* there is nothing on this host that could be asked */
};

struct sources_state {
	const char *name;           /* "netbird", "networks" */
	enum sources_condition condition;
	const char *text;           /* for people, one line without the name */
	uint64_t since;             /* ms since 1970, of this condition */
	uint64_t answered;          /* ms since 1970, last good answer; zero: none yet */
	uint64_t answers;           /* good ones */
	uint64_t failures;
	uint64_t changes;           /* answers that said something new */
	uint32_t entries;           /* addresses and prefixes in force */
};

/* Every source that is configured. The state and its texts are good until function returns. */
void sources_each_state(struct sources *sources, void (*function)(const struct sources_state *state, void *data),
                        void *data);

/* "good", "failing" and so on. */
const char *sources_condition_word(enum sources_condition condition);

#endif
