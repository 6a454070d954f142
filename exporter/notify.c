/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "notify.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <glib.h>

enum { FIRST_LISTEN = 3 };          /* SD_LISTEN_FDS_START */

/* Zero if there is no service manager to be told. */
static socklen_t
read_address(struct sockaddr_un *address)
{
	const char *path = getenv("NOTIFY_SOCKET");
	size_t length = path ? strlen(path) : 0;

	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (!length || length > sizeof address->sun_path || (path[0] != '/' && path[0] != '@'))
		return 0;
	memcpy(address->sun_path, path, length);
	if (path[0] == '@')     /* an abstract socket, whose name starts with a zero octet and ends without one */
		address->sun_path[0] = '\0';
	return offsetof(struct sockaddr_un, sun_path) + length;
}

/* If nobody listens or the queue is full, the service manager's own timeout will say so. */
static bool
tell(const char *state, const int *stored)
{
	struct sockaddr_un address;
	const socklen_t size = read_address(&address);
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof *stored)];
	} control = { 0 };
	struct iovec text = { (void *)state, strlen(state) };
	struct msghdr message = { .msg_name = &address, .msg_namelen = size, .msg_iov = &text, .msg_iovlen = 1 };

	int fd = size ? socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0) : -1;
	if (fd < 0)
		return false;
	if (stored) {
		control.header = (struct cmsghdr){ CMSG_LEN(sizeof *stored), SOL_SOCKET, SCM_RIGHTS };
		memcpy(CMSG_DATA(&control.header), stored, sizeof *stored);
		message.msg_control = &control;
		message.msg_controllen = sizeof control;
	}
	const bool told = sendmsg(fd, &message, MSG_NOSIGNAL) >= 0;
	close(fd);
	return told;
}

void
notify_service_manager(const char *state)
{
	tell(state, NULL);
}

bool
notify_store(const char *name, int fd)
{
	g_autofree char *state = g_strdup_printf("FDSTORE=1\nFDNAME=%s\nFDPOLL=0", name);

	return tell(state, &fd);
}

void
notify_unstore(const char *name)
{
	g_autofree char *state = g_strdup_printf("FDSTOREREMOVE=1\nFDNAME=%s", name);

	tell(state, NULL);
}

/* How many descriptors were handed to this very process: the variables are inherited by its children. */
static int
count_listen(void)
{
	const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
	guint64 ours = 0, n = 0;

	if (!pid || !count || !g_ascii_string_to_unsigned(pid, 10, 1, G_MAXINT, &ours, NULL) || ours != (guint64)getpid())
		return 0;
	return g_ascii_string_to_unsigned(count, 10, 0, 1024, &n, NULL) ? (int)n : 0;
}

int
notify_take(const char *name, bool (*fits)(int fd))
{
	const char *text = getenv("LISTEN_FDNAMES");
	g_auto(GStrv) names = g_strsplit(text ? text : "", ":", -1);
	const int n = count_listen(), named = g_strv_length(names);
	int taken = -1;

	for (int i = 0; i < n; i++) {
		const int fd = FIRST_LISTEN + i;
		const char *its_name = i < named ? names[i] : "";
		if (taken < 0 && strcmp(its_name, name) == 0 && fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 && fits(fd)) {
			taken = fd;
			continue;
		}
		g_warning("the service manager handed over a descriptor `%s' that is of no use", its_name);
		close(fd);
	}
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	return taken;
}
