/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_SOURCE_SOURCE_H
#define PEERFLOW_SOURCE_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>

#include "counters.h"
#include "flow.h"
#include "gap.h"

/* The kernel's connection tracking as a stream of ended flows. */

struct source_prefix {
	union address address;
	uint8_t family;             /* 4 or 6 */
	uint8_t length;
};

struct source_mark {
	uint32_t value;
	uint32_t mask;
};

/* Which flows the kernel hands over at all. */
struct source_filter {
	const struct source_prefix *ignore;     /* flows whose initiator is in one of these are left out */
	size_t n_ignore;
	const struct source_mark *mark;         /* flows that match one of these, or all if there is none */
	size_t n_mark;
	const uint8_t *protocol;                /* flows of these protocols, or all if there is none */
	size_t n_protocol;
};

struct source_options {
	struct source_filter filter;
	size_t receive_buffer;      /* octets asked of SO_RCVBUFFORCE */
	unsigned active_timeout;    /* seconds from one walk over the table to the next, at most */
	unsigned reap_share;        /* percent of one processor that walks may cost; 0: as few walks as possible */
	bool labels;                /* follow UPDATE events for connection labels */
	struct source_memory *memory;   /* where events are received, see events.h; NULL: nobody shall find them later */
	int stored_fd;              /* the socket of a former process, which takes its end with the source; -1: none */
	bool reliable;              /* have the kernel keep ended flows until their end fits into the socket */
	unsigned fuse;              /* percent of nf_conntrack_max filled, at which that is given up */
	bool replay;                /* the memory holds a batch that another process received and did not finish */
};

/* What the source has to tell. Flows are its own and may be changed in place; they are gone when the call returns. All
 * of this comes from the main loop; ended, drained and gap also from source_close. */
struct source_handler {
	/* Flows that ended, in the order the kernel told; counters are the kernel's totals. Called once for each batch that
	 * was received, also with no flow at all if nothing in it was of use; n is at most 64. batch numbers them; after a
	 * restart with the same memory it goes on, and the batch that is replayed has the number it had. */
	void (*ended)(struct flow *flow, size_t n, uint64_t batch, void *data);
	/* For now there are no more. */
	void (*drained)(void *data);
	/* Something was lost, or may have been. From source_open, too, if that was before. */
	void (*gap)(const struct gap *gap, void *data);
	/* Entries of the table as a walk finds them: counters are totals so far, end is the moment of the look, timeout
	 * the seconds left. */
	void (*present)(struct flow *flow, size_t n, void *data);
	/* A walk is over. complete: all entries were shown. certain: when it began, no event was outstanding or lost, nor
	 * was any until now, so that a flow that two certain walks did not show is gone. */
	void (*walked)(bool complete, bool certain, void *data);
};

struct source;

/* Starts listening, in GLib's default main context: sets the kernel's settings, subscribes, and walks once over the
 * flows there are, to say what cannot be known of them. Of the call-backs, gap, present and
 * walked may be NULL. Fails with EX_NOPERM, EX_UNAVAILABLE or EX_OSERR. */
struct source *source_open(const struct source_options *options, const struct source_handler *handler, void *data,
                           GError **error);

/* Hands over what has already arrived and stops. */
void source_close(struct source *source);
typedef struct source source_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(source_t, source_close)

/* Other options from now on, without missing an event. On failure the old ones stay in force. Whether labels are
 * followed cannot change while running. */
bool source_reconfigure(struct source *source, const struct source_options *options, GError **error);

const struct source_counters *source_counters(const struct source *source);

/* The socket on which the ends of flows arrive, to be stored where it outlives the process: what comes meanwhile then
 * waits in it. It stays the source's. */
int source_fd(const struct source *source);

/* Is this such a socket, of the network namespace that we are in? */
bool source_fits(int fd);

/* It has been stored, or is so no longer. While it is, reliable delivery is watched over for half a minute after the
 * process is gone; otherwise it ends with the process. */
void source_note_stored(struct source *source, bool stored);

enum source_delivery {
	SOURCE_PLAIN,               /* by configuration */
	SOURCE_RELIABLE,
	SOURCE_FUSE_BLOWN,          /* plain until the table has room again */
};

/* How things stand. Moments are ms since 1970, zero: never. */
struct source_status {
	enum source_delivery delivery;
	uint64_t delivery_since;
	uint64_t lost;              /* ends of flows that did not fit into the socket and never came */
	uint64_t postponed;         /* times that some did not fit and came later */
	uint64_t fuse_blown;        /* times */
	uint32_t buffer_filled;     /* octets of the socket's buffer, as the kernel counts them: 1280 for each end */
	uint32_t buffer;
	uint32_t table_entries;     /* of this network namespace, ended flows that wait to be told of included */
	uint32_t table_most;        /* nf_conntrack_max; 0: no limit */
	uint32_t table_buckets;
	uint32_t accounting;        /* the values of nf_conntrack_acct, _timestamp and _events */
	uint32_t timestamps;
	uint32_t events;
	uint64_t sweep_at;          /* end of the last walk over the table */
	bool sweep_complete;
	bool sweep_certain;
	uint64_t sweep_entries;
	uint64_t sweep_cost;        /* ns of processor time */
	uint64_t sweep_duration;    /* microseconds */
	uint64_t sweep_stall;       /* microseconds: for so long nothing else was done */
	uint64_t sweep_pause;       /* microseconds from its end to the next one's begin */
	uint64_t resync_at;         /* end of the last walk that followed a loss */
};

void source_status(const struct source *source, struct source_status *status);

#endif
