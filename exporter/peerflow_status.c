/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "error.h"
#include "peerflow.h"
#include "status.h"

#define STATUS_SOCKET "/run/peerflow/status"

enum {
	STATUS_PATIENCE = 10,       /* seconds */
	STATUS_MOST = 64 << 20,     /* octets */
};

/* All that comes until the other end closes. */
static bool
read_all(int fd, const char *path, GString *text, GError **error)
{
	const struct timeval patience = { .tv_sec = STATUS_PATIENCE };
	char piece[16384];
	ssize_t n;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	while (text->len < STATUS_MOST && (n = read(fd, piece, sizeof piece)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			g_set_error(error, PEERFLOW_ERROR, errno == EAGAIN ? EX_UNAVAILABLE : EX_IOERR, "%s: %s", path,
			            errno == EAGAIN ? "peerflowd does not answer" : g_strerror(errno));
			return false;
		}
		g_string_append_len(text, piece, n);
	}
	return true;
}

static bool
status_run(const char *path, bool json, GError **error)
{
	g_autoptr(GString) text = g_string_new(NULL);
	int fd = peerflow_connect(path, error);

	if (fd < 0)
		return false;
	const bool whole = read_all(fd, path, text, error);
	close(fd);
	/* Also for --json: what is handed on is a whole document. */
	g_autofree char *shown = whole ? status_text(text->str, text->len, error) : NULL;
	if (!shown)
		return false;
	if (!json)
		g_string_assign(text, shown);
	return peerflow_put(text, error);
}

bool
peerflow_status(int argc, char **argv, GError **error)
{
	g_autofree char *path = NULL;
	gboolean json = false;
	const GOptionEntry entries[] = {
		{ "socket", 's', 0, G_OPTION_ARG_FILENAME, &path, "Where peerflowd tells how it is (" STATUS_SOCKET ")", "PATH" },
		{ "json", 'j', 0, G_OPTION_ARG_NONE, &json, "Print the document as it comes, for programs", NULL },
		{ 0 },
	};

	return peerflow_options("Shows how the daemon and its collectors are, and what was lost.", entries, argc, argv, error)
	       && status_run(path ? path : STATUS_SOCKET, json, error);
}
