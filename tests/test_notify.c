/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "notify.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "suite.h"

/* Binds a datagram socket to the name that NOTIFY_SOCKET is to hold. */
static int
listen_at(const char *name)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	strcpy(address.sun_path, name);
	if (name[0] == '@')
		address.sun_path[0] = '\0';
	socklen_t size = offsetof(struct sockaddr_un, sun_path) + strlen(name);
	CU_ASSERT_EQUAL_FATAL(bind(fd, (struct sockaddr *)&address, size), 0);
	setenv("NOTIFY_SOCKET", name, 1);
	return fd;
}

static void
hear(int fd, const char *wanted)
{
	char heard[64] = "";
	ssize_t n = recv(fd, heard, sizeof heard - 1, 0);
	CU_ASSERT_EQUAL(n, (ssize_t)strlen(wanted));
	CU_ASSERT_STRING_EQUAL(heard, wanted);
}

static void
test_path(void)
{
	char folder[] = "/tmp/peerflow-notify-XXXXXX";
	char name[64];

	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
	snprintf(name, sizeof name, "%s/socket", folder);
	int fd = listen_at(name);
	notify_service_manager("READY=1");
	notify_service_manager("STOPPING=1");
	hear(fd, "READY=1");
	hear(fd, "STOPPING=1");
	close(fd);
	unlink(name);
	rmdir(folder);
}

static void
test_abstract(void)
{
	char name[64];

	snprintf(name, sizeof name, "@peerflow-notify-%d", (int)getpid());
	int fd = listen_at(name);
	notify_service_manager("READY=1");
	hear(fd, "READY=1");
	close(fd);
}

/* A manager that does not read must not stop the daemon. */
static void
test_full(void)
{
	char name[64];

	snprintf(name, sizeof name, "@peerflow-notify-full-%d", (int)getpid());
	int fd = listen_at(name);
	alarm(10);
	for (int i = 0; i < 10000; i++)
		notify_service_manager("WATCHDOG=1");
	alarm(0);
	hear(fd, "WATCHDOG=1");
	close(fd);
}

/* Nothing to assert but that the call returns and leaves no descriptor open. */
static void
test_nobody(void)
{
	static const char *const names[] = { "", "relative", "/nonexistent/socket", "@nobody-listens-here" };
	char longest[200] = "/";
	int before = dup(0);

	close(before);
	unsetenv("NOTIFY_SOCKET");
	notify_service_manager("READY=1");
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		setenv("NOTIFY_SOCKET", names[i], 1);
		notify_service_manager("READY=1");
	}
	memset(longest + 1, 'x', sizeof longest - 2);
	setenv("NOTIFY_SOCKET", longest, 1);
	notify_service_manager("READY=1");
	int after = dup(0);
	CU_ASSERT_EQUAL(before, after);
	close(after);
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "a socket with a path", test_path },
		{ "an abstract socket", test_abstract },
		{ "a full queue blocks nobody", test_full },
		{ "without a listener nothing happens", test_nobody },
		CU_TEST_INFO_NULL,
	};
	return run_suite("notify", tests);
}
