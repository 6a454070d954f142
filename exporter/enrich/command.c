/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "enrich/command.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "error.h"

enum {
	CHUNK = 64 * 1024,
	COMPLAINT_MOST = 1024,      /* octets of what it says on standard error */
};

enum { OUT, ERR, ENDED, STOP, WATCHED };

struct run {
	const char *program;
	pid_t pid;
	struct pollfd watch[WATCHED];
	octets_take *take;
	void *data;
	GString *complaint;
	GError *error;
};

static bool
fail(GError **error, int code, const char *program, const char *what)
{
	g_set_error(error, PEERFLOW_ERROR, code, "%s: %s", program, what);
	return false;
}

/* We run it with all the rights we have. */
static bool
is_trusted(const char *program, GError **error)
{
	struct stat status;

	if (stat(program, &status) < 0)
		return fail(error, EX_UNAVAILABLE, program, g_strerror(errno));
	if (!S_ISREG(status.st_mode))
		return fail(error, EX_UNAVAILABLE, program, "is no program");
	if ((status.st_uid != 0 && status.st_uid != geteuid()) || status.st_mode & (S_IWGRP | S_IWOTH))
		return fail(error, EX_NOPERM, program, "is not run, because others may write to it");
	return true;
}

/* Between fork and exec. Its children can then be ended with it, and it does not outlive us. */
static void
prepare_child(gpointer data)
{
	(void)data;
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
}

static bool
start(struct run *run, const char *const *argv, GError **error)
{
	g_autoptr(GError) reason = NULL;
	g_auto(GStrv) environment = g_environ_unsetenv(g_get_environ(), "NOTIFY_SOCKET");

	if (!g_spawn_async_with_pipes("/", (char **)argv, environment, G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_CLOEXEC_PIPES,
	                              prepare_child, NULL, &run->pid, NULL, &run->watch[OUT].fd, &run->watch[ERR].fd,
	                              &reason))
		return fail(error, EX_UNAVAILABLE, run->program, reason->message);
	run->watch[ENDED].fd = pidfd_open(run->pid, 0);
	fcntl(run->watch[OUT].fd, F_SETFL, O_NONBLOCK);
	fcntl(run->watch[ERR].fd, F_SETFL, O_NONBLOCK);
	return true;
}

static bool
take_output(struct run *run, const char *octets, size_t length)
{
	return run->take(octets, length, run->data, &run->error);
}

static bool
take_complaint(struct run *run, const char *octets, size_t length)
{
	g_string_append_len(run->complaint, octets, MIN(length, COMPLAINT_MOST - run->complaint->len));
	return true;
}

enum chunk { CHUNK_TAKEN, CHUNK_NONE, CHUNK_REFUSED };

/* One at a time, however many there are: time and our own end are looked at in between. A pipe at its end is watched no
 * longer. */
static enum chunk
take_chunk(struct run *run, unsigned pipe, bool (*take)(struct run *run, const char *octets, size_t length))
{
	char octets[CHUNK];
	struct pollfd *watch = &run->watch[pipe];
	const ssize_t n = watch->fd < 0 ? 0 : read(watch->fd, octets, sizeof octets);

	if (n > 0)
		return take(run, octets, n) ? CHUNK_TAKEN : CHUNK_REFUSED;
	if (n < 0 && errno == EINTR)
		return CHUNK_TAKEN;
	if (n < 0 && errno == EAGAIN)
		return CHUNK_NONE;
	if (watch->fd >= 0)
		close(watch->fd);
	watch->fd = -1;
	return CHUNK_NONE;
}

/* True when it has ended and all it said has been read. */
static bool
follow(struct run *run, int64_t deadline, GError **error)
{
	enum chunk out = CHUNK_NONE;

	while (!run->watch[ENDED].revents || out == CHUNK_TAKEN) {
		const int64_t left = (deadline - g_get_monotonic_time() + 999) / 1000;
		if (left <= 0)
			return fail(error, EX_UNAVAILABLE, run->program, "has not ended in time");
		poll(run->watch, WATCHED, MIN(left, G_MAXINT));
		if (run->watch[STOP].revents)
			return fail(error, EX_UNAVAILABLE, run->program, "is to end");
		out = take_chunk(run, OUT, take_output);
		take_chunk(run, ERR, take_complaint);
		if (out == CHUNK_REFUSED) {
			g_propagate_error(error, g_steal_pointer(&run->error));
			return false;
		}
	}
	return true;
}

/* Before it is reaped, as its number is its group's and may be somebody else's afterwards. */
static int
finish(struct run *run)
{
	int status = 0;

	kill(-run->pid, SIGKILL);
	while (waitpid(run->pid, &status, 0) < 0 && errno == EINTR)
		;
	for (unsigned i = OUT; i <= ENDED; i++)
		if (run->watch[i].fd >= 0)
			close(run->watch[i].fd);
	return status;
}

static bool
check_status(struct run *run, int status, GError **error)
{
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return true;
	g_strdelimit(g_strchomp(run->complaint->str), "\n", ' ');
	if (WIFSIGNALED(status))
		g_set_error(error, PEERFLOW_ERROR, EX_UNAVAILABLE, "%s: ended by signal %d", run->program, WTERMSIG(status));
	else
		g_set_error(error, PEERFLOW_ERROR, EX_UNAVAILABLE, "%s: status %d%s%.200s", run->program, WEXITSTATUS(status),
		            *run->complaint->str ? ": " : "", run->complaint->str);
	return false;
}

bool
command_run(int stop, const char *const *argv, int64_t deadline, octets_take *take, void *data, GError **error)
{
	struct run run = { .program = argv[0], .take = take, .data = data };

	for (unsigned i = 0; i < WATCHED; i++)
		run.watch[i] = (struct pollfd){ .fd = -1, .events = POLLIN };
	run.watch[STOP].fd = stop;
	if (!is_trusted(run.program, error) || !start(&run, argv, error))
		return false;
	run.complaint = g_string_new(NULL);
	const bool good = run.watch[ENDED].fd >= 0 ? follow(&run, deadline, error)
	                                           : fail(error, EX_UNAVAILABLE, run.program, g_strerror(errno));
	const int status = finish(&run);
	const bool well = good && check_status(&run, status, error);
	g_string_free(run.complaint, true);
	return well;
}
