/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "notify.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <glib.h>

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

/* One message with a descriptor, which the listener gets too. */
static int
hear_descriptor(int fd, const char *wanted)
{
	char heard[64] = "", control[CMSG_SPACE(sizeof fd)];
	struct iovec text = { heard, sizeof heard - 1 };
	struct msghdr message = { .msg_iov = &text, .msg_iovlen = 1, .msg_control = control,
	                          .msg_controllen = sizeof control };
	int stored = -1;

	CU_ASSERT_EQUAL(recvmsg(fd, &message, MSG_CMSG_CLOEXEC), (ssize_t)strlen(wanted));
	CU_ASSERT_STRING_EQUAL(heard, wanted);
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	CU_ASSERT_PTR_NOT_NULL_FATAL(header);
	CU_ASSERT_EQUAL(header->cmsg_type, SCM_RIGHTS);
	memcpy(&stored, CMSG_DATA(header), sizeof stored);
	return stored;
}

static void
test_store(void)
{
	char name[64], octet = 0;
	int pipes[2];

	snprintf(name, sizeof name, "@peerflow-notify-store-%d", (int)getpid());
	int fd = listen_at(name);
	CU_ASSERT_EQUAL_FATAL(pipe2(pipes, O_CLOEXEC), 0);
	CU_ASSERT_TRUE(notify_store("socket", pipes[1]));
	close(pipes[1]);
	int stored = hear_descriptor(fd, "FDSTORE=1\nFDNAME=socket\nFDPOLL=0");
	CU_ASSERT_EQUAL(write(stored, "x", 1), 1);
	CU_ASSERT_EQUAL(read(pipes[0], &octet, 1), 1);
	CU_ASSERT_EQUAL(octet, 'x');
	notify_unstore("socket");
	hear(fd, "FDSTOREREMOVE=1\nFDNAME=socket");
	close(stored);
	close(pipes[0]);
	close(fd);
	CU_ASSERT_FALSE(notify_store("socket", 0));
	unsetenv("NOTIFY_SOCKET");
	CU_ASSERT_FALSE(notify_store("socket", 0));
}

static bool
is_pipe(int fd)
{
	struct stat file;

	return fstat(fd, &file) == 0 && S_ISFIFO(file.st_mode);
}

/* Runs in a child, which has nothing but descriptors 0 to 2 and these: '|' a pipe, '0' the null device. */
static void
take_in_child(const char *kinds, const char *names, long pid, int wanted)
{
	char text[32];

	closefrom(3);
	for (const char *kind = kinds; *kind; kind++) {
		int pipes[2] = { -1, -1 };
		if (*kind == '0')
			open("/dev/null", O_RDWR);
		else if (pipe(pipes) == 0)
			close(pipes[1]);
	}
	snprintf(text, sizeof text, "%ld", pid ? pid : (long)getpid());
	setenv("LISTEN_PID", text, 1);
	snprintf(text, sizeof text, "%zu", strlen(kinds));
	setenv("LISTEN_FDS", text, 1);
	if (names)
		setenv("LISTEN_FDNAMES", names, 1);
	const int taken = notify_take("socket", is_pipe);
	bool good = taken == wanted && !getenv("LISTEN_PID") && !getenv("LISTEN_FDS") && !getenv("LISTEN_FDNAMES");
	good = good && (taken < 0 || fcntl(taken, F_GETFD) == FD_CLOEXEC) && notify_take("socket", is_pipe) == -1;
	/* Nothing else is left open. */
	for (int fd = 3; fd < 16 && !pid; fd++)
		good = good && (fcntl(fd, F_GETFD) >= 0) == (fd == wanted);
	_exit(good ? 0 : 1);
}

static void
test_take(void)
{
	static const struct {
		const char *kinds, *names;
		long pid;
		int wanted;
	} samples[] = {
		{ "|", "socket", 0, 3 },
		{ "0|0", "other:socket:", 0, 4 },
		{ "||", "socket:socket", 0, 3 },
		{ "0|", "socket:socket", 0, 4 },
		{ "0", "socket", 0, -1 },
		{ "|", "other", 0, -1 },
		{ "|", NULL, 0, -1 },
		{ "|||", "a:b", 0, -1 },
		{ "", "socket", 0, -1 },
		{ "|", "socket", 1, -1 },       /* handed to another process */
	};

	for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
		int status = -1;
		pid_t child = fork();
		if (!child)
			take_in_child(samples[i].kinds, samples[i].names, samples[i].pid, samples[i].wanted);
		waitpid(child, &status, 0);
		CU_ASSERT_EQUAL(status, 0);
	}
	setenv("LISTEN_PID", "x", 1);
	setenv("LISTEN_FDS", "99999999999999999999", 1);
	CU_ASSERT_EQUAL(notify_take("socket", is_pipe), -1);
	CU_ASSERT_EQUAL(notify_take("socket", is_pipe), -1);
}

static void
on_line(const char *domain, GLogLevelFlags level, const char *text, void *data)
{
	(void)domain, (void)level, (void)text, (void)data;
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "a socket with a path", test_path },
		{ "an abstract socket", test_abstract },
		{ "a full queue blocks nobody", test_full },
		{ "without a listener nothing happens", test_nobody },
		{ "a descriptor is stored", test_store },
		{ "a descriptor is taken back", test_take },
		CU_TEST_INFO_NULL,
	};
	g_log_set_default_handler(on_line, NULL);
	return run_suite("notify", tests);
}
