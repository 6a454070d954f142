/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_SOURCE_FUSE_H
#define PEERFLOW_SOURCE_FUSE_H

#include <stdbool.h>
#include <stdint.h>

/* Reliable delivery (NETLINK_BROADCAST_ERROR) makes the kernel keep each ended flow until its end has found room in our
 * socket. If nobody reads, these dead entries fill the connection tracking table until the router drops packets. So
 * there is a fuse; and because a daemon that is stopped or hangs cannot blow its own, it sits in a process of its own,
 * named peerflow-fuse, which does nothing but look at the table and switch reliable delivery off in time. The kernel
 * then lets go of all dead entries within tenths of a second, and what does not fit into the socket is lost and
 * counted. */

/* What the fuse sees at a look. */
struct fuse_look {
	uint64_t now;               /* ms by a clock that nobody sets */
	uint32_t count;             /* entries of the table, dead ones included */
	uint32_t max;               /* 0: no limit */
	uint32_t drops;             /* of the socket: each failed trial to deliver counts; wraps */
	uint32_t reads;             /* changes whenever the daemon reads; wraps */
};

/* What it remembers from one look to the next; all zero at first. */
struct fuse_memory {
	bool looked;
	uint64_t now;               /* of the last look, as is what follows */
	uint32_t count;
	uint32_t drops;
	uint32_t reads;
	double growth;              /* entries a second, over the last fifth of a second or so */
	uint64_t dropped_at;        /* ms, of the last look that saw a failed trial; valid if pending */
	bool pending;               /* ended flows wait in the table for room in the socket */
	uint64_t stuck_since;       /* ms; valid if stuck */
	bool stuck;                 /* they wait, and the daemon does not read */
};

enum fuse_verdict {
	FUSE_HOLDS,
	FUSE_FULL,                  /* the table comes near its maximum */
	FUSE_STUCK,                 /* nobody has read for half a minute, and all other listeners see duplicates */
	FUSE_GONE,                  /* the guardian itself died, or could not look; said by fuse_read */
};

/* Shall reliable delivery be given up? If ended flows wait in the table, yes when it is filled to percent of its maximum,
 * or sooner: when it grows so fast that it might be full before the kernel, which manages at least 50,000 a second on a
 * busy machine, has let go of all that could be dead. Yes in any case when it is filled half way from percent to the
 * maximum; and yes if ended flows wait and the daemon has not read for 30 seconds. */
enum fuse_verdict fuse_judge(struct fuse_memory *memory, const struct fuse_look *look, unsigned percent);

/* Microseconds until the next look. The fastest that entries can come is a million a second: at that pace, the next
 * look still finds half of the room that there is now. */
unsigned fuse_pause(const struct fuse_look *look);

/* Is there so much room again that reliable delivery may be taken up: a quarter less than percent of the maximum? */
bool fuse_may_return(const struct fuse_look *look, unsigned percent);

/* The guardian. */
struct fuse;

/* What it did. */
struct fuse_word {
	enum fuse_verdict verdict;
	uint64_t at;                /* ms since 1970 */
	uint32_t count;             /* entries of the table then */
	uint32_t max;
	uint32_t drops;             /* of the socket when it had been switched off: what it counts from then on is lost */
	bool exact;                 /* none came just before or after, so that this is true to the flow */
};

/* Starts it, for this socket. NULL if it cannot be had or cannot look at the table; errno says why. It leaves when
 * another guardian takes over the same socket (SO_PRIORITY says who has it), and when the daemon is gone: at once, or,
 * if somebody else has stored the socket, after 30 seconds or with SIGTERM, and then switches reliable delivery off. */
struct fuse *fuse_start(int socket, unsigned percent);

/* Ends the guardian; reliable delivery stays as it is. */
void fuse_stop(struct fuse *fuse);

/* Becomes readable when it has something to say. */
int fuse_fd(const struct fuse *fuse);

/* From now on it watches, until it has blown. */
void fuse_arm(struct fuse *fuse, unsigned percent);

/* True if it has blown since it was armed, or died. */
bool fuse_read(struct fuse *fuse, struct fuse_word *word);

/* The daemon has read from the socket. */
void fuse_note_read(struct fuse *fuse);

/* The socket is stored elsewhere, so that another daemon may take it over if this one dies. */
void fuse_note_stored(struct fuse *fuse, bool stored);

/* Looks by itself. False if the table's figures cannot be read. */
bool fuse_look_at_table(struct fuse_look *look);

#endif
