/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The live socket: who may have its path, and what happens when viewers cannot be let in. */

#include "live.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "error.h"
#include "suite.h"

static char folder[] = "/tmp/test_live.XXXXXX";
static char *path;
static unsigned viewers;

static void
on_viewer(int fd, void *data)
{
	(void)data;
	viewers++;
	close(fd);
}

static struct live *
open_live(GError **error)
{
	return live_open("live-socket", path, on_viewer, NULL, error);
}

static struct sockaddr_un
address_of(const char *text)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	strcpy(address.sun_path, text);
	return address;
}

static int
bind_socket(int type)
{
	const struct sockaddr_un address = address_of(path);
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	CU_ASSERT_EQUAL_FATAL(bind(fd, (const struct sockaddr *)&address, sizeof address), 0);
	return fd;
}

/* The connected descriptor, or -1 with errno. */
static int
connect_viewer(void)
{
	const struct sockaddr_un address = address_of(path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (connect(fd, (const struct sockaddr *)&address, sizeof address) == 0)
		return fd;
	const int reason = errno;
	close(fd);
	errno = reason;
	return -1;
}

static gboolean
set_flag(gpointer data)
{
	*(bool *)data = true;
	return G_SOURCE_REMOVE;
}

/* How many turns the main loop took in that time. */
static unsigned
loop_for(unsigned milliseconds)
{
	bool over = false;
	unsigned turns = 0;

	g_timeout_add(milliseconds, set_flag, &over);
	while (!over) {
		g_main_context_iteration(NULL, true);
		turns++;
	}
	return turns;
}

static bool
lets_viewers_in(void)
{
	const unsigned before = viewers;
	int fd = connect_viewer();

	if (fd < 0)
		return false;
	loop_for(20);
	close(fd);
	return viewers == before + 1;
}

static bool
is_refused(const char *text)
{
	g_autoptr(GError) error = NULL;
	struct live *live = open_live(&error);
	g_autofree char *expected = g_strdup_printf("live-socket %s: %s", path, text);

	if (live)
		live_close(live);
	return !live && error && error->code == EX_OSERR && strcmp(error->message, expected) == 0;
}

static void
test_simple(void)
{
	struct stat status;
	struct live *live = open_live(NULL);

	CU_ASSERT_PTR_NOT_NULL_FATAL(live);
	CU_ASSERT_EQUAL(stat(path, &status), 0);
	CU_ASSERT_EQUAL(status.st_mode, S_IFSOCK | 0660);
	CU_ASSERT_TRUE(lets_viewers_in());
	CU_ASSERT_TRUE(lets_viewers_in());
	live_close(live);
	CU_ASSERT_EQUAL(access(path, F_OK), -1);
	live_close(NULL);
}

/* What a reload does, and what a run after a crash finds. */
static void
test_again(void)
{
	for (unsigned i = 0; i < 3; i++) {
		struct live *live = open_live(NULL);
		CU_ASSERT_PTR_NOT_NULL_FATAL(live);
		CU_ASSERT_TRUE(lets_viewers_in());
		live_close(live);
	}
	close(bind_socket(SOCK_STREAM));
	CU_ASSERT_EQUAL(access(path, F_OK), 0);
	struct live *live = open_live(NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(live);
	CU_ASSERT_TRUE(lets_viewers_in());
	live_close(live);
}

static void
test_in_use(void)
{
	struct live *first = open_live(NULL);

	CU_ASSERT_PTR_NOT_NULL_FATAL(first);
	CU_ASSERT_TRUE(is_refused("another peerflowd listens there"));
	loop_for(20);                   /* the one who only asked */
	CU_ASSERT_TRUE(lets_viewers_in());
	live_close(first);
	CU_ASSERT_EQUAL(access(path, F_OK), -1);
}

/* A daemon that is too busy to let anybody in is still there. */
static void
test_busy(void)
{
	int rival = bind_socket(SOCK_STREAM);
	int waiting[16], n = 0;

	CU_ASSERT_EQUAL(listen(rival, 2), 0);
	while (n < 16 && (waiting[n] = connect_viewer()) >= 0)
		n++;
	CU_ASSERT_TRUE(n < 16 && errno == EAGAIN);
	CU_ASSERT_TRUE(is_refused("another peerflowd listens there"));
	CU_ASSERT_EQUAL(access(path, F_OK), 0);
	while (n > 0)
		close(waiting[--n]);
	close(rival);
	unlink(path);
}

static void
test_not_ours(void)
{
	int rival = bind_socket(SOCK_DGRAM);

	CU_ASSERT_TRUE(is_refused("the socket that is there may be in use: Protocol wrong type for socket"));
	CU_ASSERT_EQUAL(access(path, F_OK), 0);
	close(rival);
	unlink(path);
	CU_ASSERT_TRUE(g_file_set_contents(path, "precious", -1, NULL));
	CU_ASSERT_TRUE(is_refused("cannot bind: Address already in use"));
	CU_ASSERT_EQUAL(access(path, F_OK), 0);
	unlink(path);
}

/* Somebody put a socket of his own there: it stays. */
static void
test_replaced(void)
{
	struct live *live = open_live(NULL);

	CU_ASSERT_PTR_NOT_NULL_FATAL(live);
	unlink(path);
	int rival = bind_socket(SOCK_STREAM);
	live_close(live);
	CU_ASSERT_EQUAL(access(path, F_OK), 0);
	close(rival);
	unlink(path);
}

/* So that no further descriptor can be opened. */
static struct rlimit
exhaust_descriptors(void)
{
	struct rlimit before, now;
	int next = open("/dev/null", O_RDONLY | O_CLOEXEC);

	CU_ASSERT_TRUE_FATAL(next >= 0);
	close(next);
	getrlimit(RLIMIT_NOFILE, &before);
	now = (struct rlimit){ next, before.rlim_max };
	CU_ASSERT_EQUAL_FATAL(setrlimit(RLIMIT_NOFILE, &now), 0);
	return before;
}

/* Viewers then wait, and the loop is at rest. */
static void
test_no_descriptors(void)
{
	struct live *live = open_live(NULL);
	const unsigned before = viewers;

	CU_ASSERT_PTR_NOT_NULL_FATAL(live);
	int fd = connect_viewer();
	CU_ASSERT_TRUE_FATAL(fd >= 0);
	const struct rlimit limit = exhaust_descriptors();
	CU_ASSERT_TRUE(loop_for(300) <= 4);
	CU_ASSERT_TRUE(loop_for(1000) <= 6);
	CU_ASSERT_EQUAL(viewers, before);
	setrlimit(RLIMIT_NOFILE, &limit);
	loop_for(1200);
	CU_ASSERT_EQUAL(viewers, before + 1);
	CU_ASSERT_TRUE(lets_viewers_in());
	close(fd);
	live_close(live);
}

/* Closed in a pause it leaves no timer behind that would use it. */
static void
test_closed_in_pause(void)
{
	struct live *live = open_live(NULL);

	CU_ASSERT_PTR_NOT_NULL_FATAL(live);
	int fd = connect_viewer();
	const struct rlimit limit = exhaust_descriptors();
	loop_for(20);
	live_close(live);
	setrlimit(RLIMIT_NOFILE, &limit);
	CU_ASSERT_TRUE(loop_for(1200) <= 2);
	close(fd);
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "a socket that lets viewers in", test_simple },
		{ "after a run before", test_again },
		{ "in use", test_in_use },
		{ "in use by somebody busy", test_busy },
		{ "never ours", test_not_ours },
		{ "no longer ours", test_replaced },
		{ "no descriptors left", test_no_descriptors },
		{ "closed while none were left", test_closed_in_pause },
		CU_TEST_INFO_NULL,
	};

	if (!mkdtemp(folder))
		return EXIT_FAILURE;
	path = g_build_filename(folder, "live", NULL);
	const int status = run_suite("live", tests);
	rmdir(folder);
	g_free(path);
	return status;
}
