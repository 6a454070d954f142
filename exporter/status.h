/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_STATUS_H
#define PEERFLOW_STATUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>

#include "archive/store.h"
#include "counters.h"
#include "source/source.h"

/* How things stand: plain numbers, gathered when somebody asks, told as JSON by the daemon and shown as text by
 * peerflow status. The words are those of docs/status.md. */

struct ledger;

struct status_collector {
	const char *name;
	const char *host;
	const char *transport;
	const char *protocol;
	const char *template_name;
	const char *state;          /* a word for where the session is */
	const char *address;        /* of the collector, "" if it is not known */
	const char *trouble;        /* why the session failed last, "" if it did not */
	uint32_t port;
	uint64_t queue_filled;      /* octets */
	uint64_t queue_size;        /* zero: nothing waits here */
	struct link_counters counters;
};

/* One of those who know names. */
struct status_source {
	const char *name;
	const char *state;
	const char *text;
	uint64_t since;             /* ms since 1970, of this state */
	uint64_t answered;          /* the last good answer; zero: none yet */
	uint64_t answers;
	uint64_t failures;
	uint64_t entries;           /* addresses and prefixes */
};

struct status {
	const char *version;
	const char *configuration;  /* path */
	uint64_t pid;
	uint64_t started;           /* ms since 1970 */
	uint64_t uptime;            /* seconds */
	uint32_t domain;            /* Observation Domain id */
	const char *mesh;           /* a word for how it runs on this host, "" if nobody has looked yet */
	const char *mesh_sentence;  /* the same for people */
	uint64_t names;             /* that addresses can have */
	uint64_t viewers;
	uint64_t exported;          /* flows handed to collectors and viewers, a flow that goes on each time */
	struct source_counters source;
	struct flows_counters flows;
	uint64_t long_flows;        /* in the pool */
	uint64_t max_long_flows;
	uint64_t pool_octets;
	const char *delivery;       /* plain, reliable or fuse-blown */
	struct source_status kernel;
	const struct status_source *names_from;
	size_t n_names_from;
	const char *archive_state;  /* keeping, failing, not-open or off */
	const char *archive_path;
	const char *archive_trouble;    /* what went wrong last, "" if nothing did */
	const char *archive_file;   /* that is being written, or "" */
	const char *archive_head;   /* of the chain */
	uint64_t archive_behind;    /* flows that are not in a file yet */
	struct store_status archive;
	const struct status_collector *collector;
	size_t n_collectors;
	const struct ledger *ledger;
};

/* One JSON document and a line feed. The caller frees it. */
char *status_json(const struct status *status);

/* The same for people, from such a document; what is missing in it is left out, what is unknown is passed over. NULL,
 * with error set (EX_DATAERR), if it is no such document. The caller frees it. */
char *status_text(const char *json, size_t length, GError **error);

/* Writes text to a connected stream socket and closes it; if the other end does not take all of it at once it gets no
 * more. */
void status_send(int fd, const char *text);

#endif
