/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "source/fuse.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "source/kick.h"
#include "source/meminfo.h"

enum {
	PAUSE_LEAST = 2000,         /* microseconds */
	PAUSE_MOST = 200000,
	PAUSE_WAITING = 10000,      /* at most, while ended flows wait: to see in time how fast the table grows */
	PENDING = 2000,             /* ms: the kernel tries again after a second at the latest */
	STUCK = 30000,              /* ms */
	FAREWELL = 30000,           /* ms a stored socket is watched after the daemon is gone */
	START_PATIENCE = 2000,      /* ms */
};

static const double GROWTH_SPAN = 0.2;      /* seconds */
static const double RELEASE = 50000;        /* dead entries a second that the kernel lets go of, whatever else it does */

/* The memory that daemon and guardian share. */
struct shared {
	uint32_t armed;
	uint32_t percent;
	uint32_t stored;
	uint32_t reads;
	struct fuse_word word;      /* to be read when armed is zero again */
};

struct fuse {
	struct shared *shared;
	pid_t guardian;
	int peer;                   /* a socket pair: a message says it has blown, the end of it that somebody died */
};

/* The policy. */

static void
note_growth(struct fuse_memory *memory, const struct fuse_look *look)
{
	const double seconds = (look->now - memory->now) / 1000.0;

	if (seconds <= 0)
		return;
	const double sample = look->count > memory->count ? (look->count - memory->count) / seconds : 0;
	memory->growth += (sample - memory->growth) * (seconds < GROWTH_SPAN ? seconds / GROWTH_SPAN : 1);
}

static void
note_waiting(struct fuse_memory *memory, const struct fuse_look *look)
{
	if (look->drops != memory->drops) {
		memory->pending = true;
		memory->dropped_at = look->now;
	}
	memory->pending = memory->pending && look->now - memory->dropped_at <= PENDING;
	if (!memory->pending || look->reads != memory->reads)
		memory->stuck = false;
	else if (!memory->stuck) {
		memory->stuck = true;
		memory->stuck_since = look->now;
	}
}

static bool
is_too_full(const struct fuse_memory *memory, const struct fuse_look *look, unsigned percent)
{
	const double filled = look->max ? (double)look->count / look->max : 0, limit = percent / 100.0;

	if (filled >= (1 + limit) / 2)
		return true;
	return memory->pending && (filled >= limit || filled * (1 + memory->growth / RELEASE) >= 1);
}

enum fuse_verdict
fuse_judge(struct fuse_memory *memory, const struct fuse_look *look, unsigned percent)
{
	if (memory->looked) {
		note_growth(memory, look);
		note_waiting(memory, look);
	}
	memory->looked = true;
	memory->now = look->now;
	memory->count = look->count;
	memory->drops = look->drops;
	memory->reads = look->reads;
	if (is_too_full(memory, look, percent))
		return FUSE_FULL;
	return memory->stuck && look->now - memory->stuck_since >= STUCK ? FUSE_STUCK : FUSE_HOLDS;
}

unsigned
fuse_pause(const struct fuse_look *look)
{
	const uint32_t room = look->max > look->count ? look->max - look->count : 0;

	if (!look->max || room / 2 > PAUSE_MOST)
		return PAUSE_MOST;
	return room / 2 < PAUSE_LEAST ? PAUSE_LEAST : room / 2;
}

bool
fuse_may_return(const struct fuse_look *look, unsigned percent)
{
	return !look->max || look->count * UINT64_C(400) < look->max * UINT64_C(3) * percent;
}

/* Looking. All of this is done by the guardian, too: a child of a process that may have threads, and so restricted to
 * what is safe in a signal handler. */

static const char count_path[] = "/proc/sys/net/netfilter/nf_conntrack_count";
static const char max_path[] = "/proc/sys/net/netfilter/nf_conntrack_max";

struct table {
	int count;
	int max;
};

static bool
read_number(int fd, uint32_t *number)
{
	char text[32];
	const ssize_t n = pread(fd, text, sizeof text, 0);

	*number = 0;
	for (ssize_t i = 0; i < n && text[i] >= '0' && text[i] <= '9'; i++)
		*number = *number * 10 + (text[i] - '0');
	return n > 0;
}

static bool
open_table(struct table *table)
{
	table->count = open(count_path, O_RDONLY | O_CLOEXEC);
	table->max = open(max_path, O_RDONLY | O_CLOEXEC);
	return table->count >= 0 && table->max >= 0;
}

static void
close_table(struct table *table)
{
	if (table->count >= 0)
		close(table->count);
	if (table->max >= 0)
		close(table->max);
}

static bool
look_at_table(const struct table *table, struct fuse_look *look)
{
	return read_number(table->count, &look->count) && read_number(table->max, &look->max);
}

bool
fuse_look_at_table(struct fuse_look *look)
{
	struct table table;
	const bool good = open_table(&table) && look_at_table(&table, look);

	close_table(&table);
	return good;
}

static uint64_t
milliseconds(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return now.tv_sec * UINT64_C(1000) + now.tv_nsec / 1000000;
}

/* The guardian. */

struct guardian {
	struct shared *shared;
	int socket;
	int peer;
	struct table table;
	int kick;
	bool kick_due;              /* it has blown, and the kernel shall let go at once */
	struct fuse_memory memory;
	bool orphan;
	uint64_t leave_at;          /* ms; of an orphan */
};

static volatile sig_atomic_t told_to_leave;

static void
on_terminate(int number)
{
	(void)number;
	told_to_leave = 1;
}

/* A signal to the whole group or service is meant for the daemon, which knows how to end. */
static void
set_signals(void)
{
	static const int ignored[] = { SIGHUP, SIGINT, SIGQUIT, SIGTSTP, SIGTTIN, SIGTTOU, SIGPIPE, SIGUSR1, SIGUSR2 };
	struct sigaction action = { .sa_handler = SIG_IGN };
	sigset_t none;

	for (size_t i = 0; i < sizeof ignored / sizeof ignored[0]; i++)
		sigaction(ignored[i], &action, NULL);
	action.sa_handler = on_terminate;
	sigaction(SIGTERM, &action, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Closes all descriptors but those from 3 on that are kept, after moving these there. */
static bool
keep_descriptors(struct guardian *guardian)
{
	int *kept[] = { &guardian->socket, &guardian->peer, &guardian->kick, &guardian->table.count,
	                &guardian->table.max };
	enum { N = sizeof kept / sizeof kept[0], HIGH = 64 };

	/* First out of the way, so that none is closed when another takes its place. */
	for (int i = 0; i < N; i++)
		if ((*kept[i] = fcntl(*kept[i], F_DUPFD_CLOEXEC, HIGH)) < 0)
			return false;
	for (int i = 0; i < N; i++)
		if (dup3(*kept[i], i, O_CLOEXEC) < 0)
			return false;
	for (int i = 0; i < N; i++)
		*kept[i] = i;
	return close_range(N, ~0U, 0) == 0;
}

static bool
is_replaced(const struct guardian *guardian)
{
	int owner = 0;
	socklen_t size = sizeof owner;

	return getsockopt(guardian->socket, SOL_SOCKET, SO_PRIORITY, &owner, &size) < 0 || owner != getpid();
}

static void
blow(struct guardian *guardian, enum fuse_verdict verdict, const struct fuse_look *look)
{
	struct fuse_word *word = &guardian->shared->word;
	const uint32_t before = meminfo_drops(guardian->socket);

	meminfo_set_reliable(guardian->socket, false);
	word->drops = meminfo_drops(guardian->socket);
	meminfo_set_counted(guardian->socket, word->drops);
	word->exact = word->drops == before;
	word->verdict = verdict;
	word->at = milliseconds(CLOCK_REALTIME);
	word->count = look->count;
	word->max = look->max;
	__atomic_store_n(&guardian->shared->armed, 0, __ATOMIC_RELEASE);
	guardian->kick_due = true;
	send(guardian->peer, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Returns the microseconds until the next look. */
static unsigned
watch(struct guardian *guardian)
{
	struct shared *shared = guardian->shared;
	struct meminfo meminfo;

	meminfo_read(guardian->socket, &meminfo);
	struct fuse_look look = {
		.now = milliseconds(CLOCK_MONOTONIC),
		.drops = meminfo.drops,
		.reads = __atomic_load_n(&shared->reads, __ATOMIC_RELAXED),
	};
	if (!__atomic_load_n(&shared->armed, __ATOMIC_ACQUIRE)) {
		guardian->memory = (struct fuse_memory){ 0 };
		return guardian->kick_due ? PAUSE_LEAST : PAUSE_MOST;
	}
	/* A guardian that cannot see must not let things run. */
	const enum fuse_verdict verdict = look_at_table(&guardian->table, &look)
		? fuse_judge(&guardian->memory, &look, __atomic_load_n(&shared->percent, __ATOMIC_RELAXED)) : FUSE_GONE;
	if (verdict != FUSE_HOLDS) {
		blow(guardian, verdict, &look);
		return 0;
	}
	/* There is room again, and some have waited for it. */
	guardian->kick_due = guardian->memory.pending && meminfo.filled == 0;
	const unsigned pause = fuse_pause(&look);
	return guardian->memory.pending && pause > PAUSE_WAITING ? PAUSE_WAITING : pause;
}

static void
kick_if_due(struct guardian *guardian)
{
	if (guardian->kick_due && kick(guardian->kick))
		guardian->kick_due = false;
}

/* Waits, and learns whether the daemon is there. */
static void
rest(struct guardian *guardian, unsigned microseconds)
{
	struct pollfd peer = { .fd = guardian->orphan ? -1 : guardian->peer, .events = POLLIN };
	const struct timespec pause = { .tv_nsec = microseconds * 1000L };

	if (ppoll(&peer, 1, &pause, NULL) <= 0)
		return;
	guardian->orphan = true;
	guardian->leave_at = milliseconds(CLOCK_MONOTONIC);
	if (__atomic_load_n(&guardian->shared->stored, __ATOMIC_RELAXED))
		guardian->leave_at += FAREWELL;
}

static bool
is_over(const struct guardian *guardian)
{
	return guardian->orphan && (told_to_leave || milliseconds(CLOCK_MONOTONIC) >= guardian->leave_at);
}

static void
guard(struct guardian *guardian)
{
	const struct sched_param first = { .sched_priority = 1 };
	const int me = getpid();

	prctl(PR_SET_NAME, "peerflow-fuse");
	set_signals();
	guardian->kick = kick_open();
	if (!open_table(&guardian->table) || guardian->kick < 0 || !keep_descriptors(guardian))
		_exit(errno & 127);
	/* It runs for microseconds, but in time however busy the machine is; where this is refused it may be late. */
	sched_setscheduler(0, SCHED_FIFO, &first);
	if (setsockopt(guardian->socket, SOL_SOCKET, SO_PRIORITY, &me, sizeof me) < 0
	    || send(guardian->peer, "", 1, MSG_NOSIGNAL) != 1)
		_exit(errno & 127);
	while (!is_replaced(guardian)) {
		const unsigned pause = watch(guardian);
		kick_if_due(guardian);
		rest(guardian, pause);
		if (!is_over(guardian))
			continue;
		if (__atomic_load_n(&guardian->shared->armed, __ATOMIC_ACQUIRE) && !is_replaced(guardian))
			blow(guardian, FUSE_GONE, &(struct fuse_look){ 0 });
		break;
	}
	_exit(0);
}

/* The daemon's side. */

static struct fuse *
give_up(struct fuse *fuse, int reason)
{
	fuse_stop(fuse);
	errno = reason;
	return NULL;
}

/* False if it died or does not answer. */
static bool
await_guardian(const struct fuse *fuse)
{
	struct pollfd peer = { .fd = fuse->peer, .events = POLLIN };
	int n;
	char octet;

	while ((n = poll(&peer, 1, START_PATIENCE)) < 0 && errno == EINTR)
		;
	return n > 0 && recv(fuse->peer, &octet, 1, MSG_DONTWAIT) == 1;
}

struct fuse *
fuse_start(int socket, unsigned percent)
{
	struct fuse *fuse = calloc(1, sizeof *fuse);
	int pair[2] = { -1, -1 };

	if (!fuse)
		return NULL;
	fuse->peer = -1;
	fuse->shared = mmap(NULL, sizeof *fuse->shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (fuse->shared == MAP_FAILED || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return give_up(fuse, errno);
	fuse->peer = pair[0];
	fuse->shared->percent = percent;
	struct guardian guardian = { .shared = fuse->shared, .socket = socket, .peer = pair[1] };
	fuse->guardian = fork();
	if (fuse->guardian == 0)
		guard(&guardian);
	const int reason = errno;
	close(pair[1]);
	if (fuse->guardian < 0)
		return give_up(fuse, reason);
	return await_guardian(fuse) ? fuse : give_up(fuse, ESRCH);
}

void
fuse_stop(struct fuse *fuse)
{
	if (!fuse)
		return;
	if (fuse->guardian > 0) {
		kill(fuse->guardian, SIGKILL);
		while (waitpid(fuse->guardian, NULL, 0) < 0 && errno == EINTR)
			;
	}
	if (fuse->peer >= 0)
		close(fuse->peer);
	if (fuse->shared && fuse->shared != MAP_FAILED)
		munmap(fuse->shared, sizeof *fuse->shared);
	free(fuse);
}

int
fuse_fd(const struct fuse *fuse)
{
	return fuse->peer;
}

void
fuse_arm(struct fuse *fuse, unsigned percent)
{
	__atomic_store_n(&fuse->shared->percent, percent, __ATOMIC_RELAXED);
	__atomic_store_n(&fuse->shared->armed, 1, __ATOMIC_RELEASE);
}

bool
fuse_read(struct fuse *fuse, struct fuse_word *word)
{
	char octet;
	const ssize_t n = recv(fuse->peer, &octet, 1, MSG_DONTWAIT);

	if (n < 0)
		return false;
	*word = (struct fuse_word){ .verdict = FUSE_GONE };
	if (n > 0)
		*word = fuse->shared->word;
	return true;
}

void
fuse_note_read(struct fuse *fuse)
{
	__atomic_store_n(&fuse->shared->reads, fuse->shared->reads + 1, __ATOMIC_RELAXED);
}

void
fuse_note_stored(struct fuse *fuse, bool stored)
{
	__atomic_store_n(&fuse->shared->stored, stored, __ATOMIC_RELAXED);
}
