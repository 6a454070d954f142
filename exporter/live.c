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

enum { BACKLOG = 8 };

struct live {
	char *path;
	int fd;
	guint watch;
	live_viewer *viewer;
	void *data;
};

static gboolean
on_connect(gint fd, GIOCondition condition, gpointer data)
{
	struct live *live = data;
	int viewer = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	(void)condition;

	if (viewer >= 0)
		live->viewer(viewer, live->data);
	return G_SOURCE_CONTINUE;
}

static bool
fail(const struct live *live, const char *what, GError **error)
{
	g_set_error(error, PEERFLOW_ERROR, EX_OSERR, "live-socket %s: %s: %s", live->path, what, g_strerror(errno));
	return false;
}

static bool
listen_at(struct live *live, GError **error)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	g_autofree char *folder = g_path_get_dirname(live->path);
	struct stat there;

	if (strlen(live->path) >= sizeof address.sun_path) {
		errno = ENAMETOOLONG;
		return fail(live, "its path is too long", error);
	}
	strcpy(address.sun_path, live->path);
	if (mkdir(folder, 0755) < 0 && errno != EEXIST)
		return fail(live, "its folder cannot be made", error);
	/* Never remove what is not a socket: the path may be a mistake. */
	if (lstat(live->path, &there) == 0 && S_ISSOCK(there.st_mode))
		unlink(live->path);
	live->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (live->fd < 0)
		return fail(live, "no socket", error);
	/* On the descriptor, before bind: the file then never has wider permissions, not even for a moment. But the umask
	 * narrows them, and to connect takes the right to write. */
	fchmod(live->fd, 0660);
	if (bind(live->fd, (const struct sockaddr *)&address, sizeof address) < 0)
		return fail(live, "cannot bind", error);
	if (chmod(live->path, 0660) < 0)
		return fail(live, "its permissions cannot be set", error);
	return listen(live->fd, BACKLOG) == 0 || fail(live, "cannot listen", error);
}

struct live *
live_open(const char *path, live_viewer *viewer, void *data, GError **error)
{
	struct live *live = g_new0(struct live, 1);

	live->path = g_strdup(path);
	live->fd = -1;
	live->viewer = viewer;
	live->data = data;
	if (!listen_at(live, error)) {
		if (live->fd >= 0)
			close(live->fd);
		g_free(live->path);
		g_free(live);
		return NULL;
	}
	live->watch = g_unix_fd_add(live->fd, G_IO_IN, on_connect, live);
	return live;
}

void
live_close(struct live *live)
{
	if (!live)
		return;
	g_source_remove(live->watch);
	close(live->fd);
	unlink(live->path);
	g_free(live->path);
	g_free(live);
}
