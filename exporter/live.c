/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "live.h"

#include <errno.h>
#include <glib-unix.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "error.h"

enum {
	BACKLOG = 8,
	PAUSE = 1000,               /* milliseconds */
};

struct live {
	const char *option;
	char *path;
	int fd;
	struct stat bound;          /* the socket in the file system; mode zero: none yet */
	guint watch;                /* for viewers, or for the end of a pause */
	live_viewer *viewer;
	void *data;
};

static void watch_for_viewers(struct live *live);

static gboolean
on_pause_over(gpointer data)
{
	watch_for_viewers(data);
	return G_SOURCE_REMOVE;
}

/* A viewer that cannot be accepted, above all for want of descriptors, stays in the queue and would wake the loop again
 * and again: so nobody looks at the queue for a while. */
static gboolean
on_connect(gint fd, GIOCondition condition, gpointer data)
{
	struct live *live = data;
	int viewer = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	(void)condition;

	if (viewer < 0) {
		live->watch = g_timeout_add(PAUSE, on_pause_over, live);
		return G_SOURCE_REMOVE;
	}
	live->viewer(viewer, live->data);
	return G_SOURCE_CONTINUE;
}

static void
watch_for_viewers(struct live *live)
{
	live->watch = g_unix_fd_add(live->fd, G_IO_IN, on_connect, live);
}

static bool
fail(const struct live *live, const char *what, GError **error)
{
	g_set_error(error, PEERFLOW_ERROR, EX_OSERR, "%s %s: %s: %s", live->option, live->path, what,
	            g_strerror(errno));
	return false;
}

/* Connects to the socket that is there: zero if somebody answers, else the reason why not. */
static int
try_connect(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int reason = fd < 0 || connect(fd, (const struct sockaddr *)address, sizeof *address) < 0 ? errno : 0;

	if (fd >= 0)
		close(fd);
	/* Somebody listens, but too many wait for him already. */
	return reason == EAGAIN ? 0 : reason;
}

/* Never removes what is not a socket, the path may be a mistake, nor a socket in use. */
static bool
remove_left_behind(const struct live *live, const struct sockaddr_un *address, GError **error)
{
	struct stat there;

	if (lstat(live->path, &there) < 0 || !S_ISSOCK(there.st_mode))
		return true;
	errno = try_connect(address);
	if (errno == 0) {
		g_set_error(error, PEERFLOW_ERROR, EX_OSERR, "%s %s: another peerflowd listens there", live->option,
		            live->path);
		return false;
	}
	if (errno != ECONNREFUSED && errno != ENOENT)
		return fail(live, "the socket that is there may be in use", error);
	unlink(live->path);
	return true;
}

static bool
bind_to(struct live *live, const struct sockaddr_un *address, GError **error)
{
	live->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (live->fd < 0)
		return fail(live, "no socket", error);
	/* On the descriptor, before bind: the file then never has wider permissions, not even for a moment. But the umask
	 * narrows them, and to connect takes the right to write. */
	fchmod(live->fd, 0660);
	if (bind(live->fd, (const struct sockaddr *)address, sizeof *address) < 0)
		return fail(live, "cannot bind", error);
	if (lstat(live->path, &live->bound) < 0 || chmod(live->path, 0660) < 0)
		return fail(live, "its permissions cannot be set", error);
	return listen(live->fd, BACKLOG) == 0 || fail(live, "cannot listen", error);
}

static bool
listen_at(struct live *live, GError **error)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	g_autofree char *folder = g_path_get_dirname(live->path);

	if (strlen(live->path) >= sizeof address.sun_path) {
		errno = ENAMETOOLONG;
		return fail(live, "its path is too long", error);
	}
	strcpy(address.sun_path, live->path);
	if (mkdir(folder, 0755) < 0 && errno != EEXIST)
		return fail(live, "its folder cannot be made", error);
	return remove_left_behind(live, &address, error) && bind_to(live, &address, error);
}

struct live *
live_open(const char *option, const char *path, live_viewer *viewer, void *data, GError **error)
{
	struct live *live = g_new0(struct live, 1);

	live->option = option;
	live->path = g_strdup(path);
	live->fd = -1;
	live->viewer = viewer;
	live->data = data;
	if (!listen_at(live, error)) {
		live_close(live);
		return NULL;
	}
	watch_for_viewers(live);
	return live;
}

/* To be asked while the socket is open: after that its inode number may go to another. */
static bool
is_still_ours(const struct live *live)
{
	struct stat there;

	return live->bound.st_mode && lstat(live->path, &there) == 0 && there.st_dev == live->bound.st_dev
	       && there.st_ino == live->bound.st_ino;
}

void
live_close(struct live *live)
{
	if (!live)
		return;
	if (live->watch)
		g_source_remove(live->watch);
	if (is_still_ours(live))
		unlink(live->path);
	if (live->fd >= 0)
		close(live->fd);
	g_free(live->path);
	g_free(live);
}
