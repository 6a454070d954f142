/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "source/sweep.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "error.h"
#include "source/question.h"

enum {
	SHORTEST = 1000000,         /* microseconds from one sweep to the next */
	PIECE_LONG = 1000,          /* microseconds of reading before a pause */
	PIECE_MOST = 8,             /* datagrams */
	PAUSE = 10000,              /* microseconds between two pieces */
};

/* Whose turn it is. */
enum turn {
	RESTING,                    /* nobody's, until the next sweep is due */
	ASKING,                     /* the thread's: ask, and read the first piece */
	READING,                    /* the thread's: pause, and read another piece */
	HANDING,                    /* the main context's: hand the piece over */
	LEAVING,
};

struct piece {
	size_t n;
	bool dying;
	bool last;
	int reason;                 /* errno if the table could not be read on */
	uint64_t cost;              /* ns of the thread's processor time */
	ssize_t length[PIECE_MOST];
	uint64_t looked[PIECE_MOST];
	uint8_t octets[PIECE_MOST][WALK_DATAGRAM_MOST] __attribute__((aligned(8)));
};

struct sweep {
	struct sweep_options options;
	struct sweep_handler handler;
	void *data;

	GSource *source;            /* ready when a sweep is due or a piece is there */
	GThread *thread;
	GMutex mutex;               /* of turn, on which the rest of what both use depends */
	GCond changed;
	enum turn turn;
	bool ask_dying;
	struct walk *walk;          /* NULL: to be opened */
	bool broken;                /* to be opened anew */
	uint64_t filled;            /* ns since 1970, when the kernel filled the datagram that comes next */
	struct piece *piece;

	int count_fd;               /* nf_conntrack_count; -1: not there */
	int64_t began;              /* monotonic microseconds */
	bool soon;
	struct sweep_report report;

	uint64_t looked;            /* of the datagram that is handed over */
};

static uint64_t
nanoseconds(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

uint64_t
sweep_period(const struct sweep_options *options, uint64_t cost)
{
	const uint64_t longest = options->longest * UINT64_C(1000000);

	if (options->share == 0)
		return MAX(longest, SHORTEST);
	return CLAMP(cost / 1000 * 100 / options->share, SHORTEST, MAX(longest, SHORTEST));
}

/* The thread. */

/* True if any entry waits there, or nobody can say. */
static bool
are_there_dying(struct piece *piece)
{
	struct walk *walk = walk_open(NULL);
	bool none = false;

	if (walk && walk_begin(walk, WALK_DYING)) {
		const ssize_t n = walk_receive(walk, piece->octets[0]);
		/* With no entry in it the first datagram is the last and holds nothing else. */
		none = n >= 0 && walk_read(walk, piece->octets[0], n, NULL, NULL) == WALK_DONE
		       && ((const struct nlmsghdr *)(void *)piece->octets[0])->nlmsg_type == NLMSG_DONE;
	}
	walk_close(walk);
	return !none;
}

static bool
ask(struct sweep *sweep)
{
	sweep->piece->dying = sweep->ask_dying && are_there_dying(sweep->piece);
	if (sweep->broken)
		walk_close(g_steal_pointer(&sweep->walk));
	sweep->broken = false;
	if (!sweep->walk)
		sweep->walk = walk_open(NULL);
	if (!sweep->walk || !walk_begin(sweep->walk, WALK_LIVING))
		return false;
	sweep->filled = nanoseconds(CLOCK_REALTIME);
	return true;
}

static bool
receive(struct sweep *sweep, struct piece *piece)
{
	const size_t i = piece->n;

	piece->looked[i] = sweep->filled;
	piece->length[i] = walk_receive(sweep->walk, piece->octets[i]);
	if (piece->length[i] < 0)
		return false;
	sweep->filled = nanoseconds(CLOCK_REALTIME);
	piece->n++;
	piece->last = walk_read(sweep->walk, piece->octets[i], piece->length[i], NULL, NULL) != WALK_GOES_ON;
	return true;
}

static bool
read_piece(struct sweep *sweep, struct piece *piece, bool first)
{
	const int64_t began = g_get_monotonic_time();

	if (first && !ask(sweep))
		return false;
	do
		if (!receive(sweep, piece))
			return false;
	while (!piece->last && piece->n < PIECE_MOST && g_get_monotonic_time() - began < PIECE_LONG);
	return true;
}

static void
fill_piece(struct sweep *sweep, bool first)
{
	struct piece *piece = sweep->piece;
	const uint64_t before = nanoseconds(CLOCK_THREAD_CPUTIME_ID);

	piece->n = 0;
	piece->last = piece->dying = false;
	piece->reason = read_piece(sweep, piece, first) ? 0 : errno;
	sweep->broken = piece->reason != 0;
	piece->last |= sweep->broken;
	piece->cost = nanoseconds(CLOCK_THREAD_CPUTIME_ID) - before;
}

/* With the mutex held; false if the thread is to leave. */
static bool
wait_for_turn(struct sweep *sweep)
{
	while (sweep->turn == RESTING || sweep->turn == HANDING)
		g_cond_wait(&sweep->changed, &sweep->mutex);
	const int64_t until = g_get_monotonic_time() + PAUSE;
	while (sweep->turn == READING && g_cond_wait_until(&sweep->changed, &sweep->mutex, until))
		;
	return sweep->turn != LEAVING;
}

static gpointer
run(gpointer data)
{
	struct sweep *sweep = data;

	g_mutex_lock(&sweep->mutex);
	while (wait_for_turn(sweep)) {
		const bool first = sweep->turn == ASKING;
		g_mutex_unlock(&sweep->mutex);
		fill_piece(sweep, first);
		g_mutex_lock(&sweep->mutex);
		if (sweep->turn == LEAVING)
			break;
		sweep->turn = HANDING;
		g_source_set_ready_time(sweep->source, 0);
	}
	g_mutex_unlock(&sweep->mutex);
	return NULL;
}

/* The main context. */

static void
give_turn(struct sweep *sweep, enum turn turn)
{
	g_mutex_lock(&sweep->mutex);
	sweep->turn = turn;
	g_cond_signal(&sweep->changed);
	g_mutex_unlock(&sweep->mutex);
}

/* Of this network namespace, those that expired and those that wait to be told of again included. */
static bool
is_table_empty(const struct sweep *sweep)
{
	char text[32];

	return sweep->count_fd >= 0 && pread(sweep->count_fd, text, sizeof text, 0) == 2 && text[0] == '0';
}

static void
end(struct sweep *sweep)
{
	const int64_t now = g_get_monotonic_time();
	struct sweep_report *report = &sweep->report;
	const int64_t due = sweep->soon ? now : sweep->began + (int64_t)sweep_period(&sweep->options, report->cost);

	report->duration = now - sweep->began;
	report->pause = MAX(due - now, PAUSE);
	g_source_set_ready_time(sweep->source, now + report->pause);
	give_turn(sweep, RESTING);
	sweep->handler.over(report, sweep->data);
}

static void
begin(struct sweep *sweep)
{
	sweep->began = g_get_monotonic_time();
	sweep->report = (struct sweep_report){ .complete = true };
	sweep->soon = false;
	sweep->ask_dying = sweep->handler.begin(sweep->data);
	/* The kernel would look into each of its buckets to tell us so, and there may be a quarter of a million. */
	if (is_table_empty(sweep))
		end(sweep);
	else
		give_turn(sweep, ASKING);
}

static void
on_entry(const struct nlmsghdr *message, size_t available, void *data)
{
	struct sweep *sweep = data;

	sweep->report.entries++;
	sweep->handler.entry(message, available, sweep->looked, sweep->data);
}

static void
hand_over(struct sweep *sweep)
{
	const struct piece *piece = sweep->piece;
	struct sweep_report *report = &sweep->report;

	for (size_t i = 0; i < piece->n; i++) {
		sweep->looked = piece->looked[i];
		if (walk_read(sweep->walk, piece->octets[i], piece->length[i], on_entry, sweep) == WALK_FAILED)
			report->reason = errno;
	}
	if (piece->reason)
		report->reason = piece->reason;
	report->complete = !report->reason;
	report->dying |= piece->dying;
	sweep->handler.piece(sweep->data);
}

static void
take_piece(struct sweep *sweep)
{
	const int64_t began = g_get_monotonic_time();
	const uint64_t before = nanoseconds(CLOCK_THREAD_CPUTIME_ID);

	hand_over(sweep);
	sweep->report.cost += sweep->piece->cost + nanoseconds(CLOCK_THREAD_CPUTIME_ID) - before;
	sweep->report.stall = MAX(sweep->report.stall, (uint64_t)(g_get_monotonic_time() - began));
	if (sweep->piece->last)
		end(sweep);
	else
		give_turn(sweep, READING);
}

static gboolean
dispatch(GSource *source, GSourceFunc callback, gpointer data)
{
	struct sweep *sweep = data;
	(void)callback;

	g_source_set_ready_time(source, -1);
	g_mutex_lock(&sweep->mutex);
	const enum turn turn = sweep->turn;
	g_mutex_unlock(&sweep->mutex);
	if (turn == HANDING)
		take_piece(sweep);
	else if (turn == RESTING)
		begin(sweep);
	return G_SOURCE_CONTINUE;
}

/* GLib calls dispatch only with a callback set; this one is never reached. */
static gboolean
no_callback(gpointer data)
{
	(void)data;
	return G_SOURCE_CONTINUE;
}

static GSource *
source_new(struct sweep *sweep)
{
	static GSourceFuncs functions = { .dispatch = dispatch };
	GSource *source = g_source_new(&functions, sizeof *source);

	g_source_set_callback(source, no_callback, sweep, NULL);
	g_source_set_ready_time(source, 0);
	g_source_attach(source, NULL);
	return source;
}

/* Signals are for the main thread. */
static GThread *
thread_new(struct sweep *sweep, GError **error)
{
	sigset_t all, before;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	GThread *thread = g_thread_try_new("peerflow-sweep", run, sweep, error);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return thread;
}

struct sweep *
sweep_new(const struct sweep_options *options, const struct sweep_handler *handler, void *data, GError **error)
{
	struct sweep *sweep = g_new0(struct sweep, 1);
	g_autoptr(GError) reason = NULL;

	sweep->options = *options;
	sweep->handler = *handler;
	sweep->data = data;
	g_mutex_init(&sweep->mutex);
	g_cond_init(&sweep->changed);
	sweep->piece = g_new(struct piece, 1);
	sweep->count_fd = open("/proc/sys/net/netfilter/nf_conntrack_count", O_RDONLY | O_CLOEXEC);
	sweep->source = source_new(sweep);
	sweep->walk = walk_open(error);
	if (!sweep->walk) {
		sweep_free(sweep);
		return NULL;
	}
	sweep->thread = thread_new(sweep, &reason);
	if (sweep->thread)
		return sweep;
	g_set_error(error, PEERFLOW_ERROR, EX_OSERR, "no thread to read the connection tracking table: %s",
	            reason->message);
	sweep_free(sweep);
	return NULL;
}

void
sweep_free(struct sweep *sweep)
{
	if (!sweep)
		return;
	give_turn(sweep, LEAVING);
	if (sweep->thread)
		g_thread_join(sweep->thread);
	walk_close(sweep->walk);
	if (sweep->count_fd >= 0)
		close(sweep->count_fd);
	g_source_destroy(sweep->source);
	g_source_unref(sweep->source);
	g_mutex_clear(&sweep->mutex);
	g_cond_clear(&sweep->changed);
	g_free(sweep->piece);
	g_free(sweep);
}

void
sweep_change(struct sweep *sweep, const struct sweep_options *options)
{
	sweep->options = *options;
	sweep_soon(sweep);
}

void
sweep_soon(struct sweep *sweep)
{
	g_mutex_lock(&sweep->mutex);
	const bool resting = sweep->turn == RESTING;
	g_mutex_unlock(&sweep->mutex);
	sweep->soon = !resting;
	if (resting)
		g_source_set_ready_time(sweep->source, 0);
}
