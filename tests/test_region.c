/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Memory that outlives its process: what is found again, what is not, and who may have it. */

#include "region.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "error.h"
#include "suite.h"

enum { SIZE = 10000, LAYOUT = 7 };

static char folder[] = "/tmp/test_region.XXXXXX";
static char *directory, *path;

static char *
open_it(size_t size, uint32_t layout, bool *fresh)
{
	g_autoptr(GError) error = NULL;
	char *region = region_open(directory, "it", size, layout, fresh, &error);

	if (!region)
		CU_FAIL(error->message);
	CU_ASSERT_PTR_NOT_NULL_FATAL(region);
	return region;
}

static void
expect_failure(const char *name, const char *text)
{
	g_autoptr(GError) error = NULL;
	bool fresh;

	CU_ASSERT_PTR_NULL(region_open(directory, name, SIZE, LAYOUT, &fresh, &error));
	CU_ASSERT_PTR_NOT_NULL_FATAL(error);
	CU_ASSERT_EQUAL(error->code, EX_OSERR);
	if (!strstr(error->message, text))
		CU_FAIL(error->message);
}

static void
test_found_again(void)
{
	bool fresh = false;
	char *region = open_it(SIZE, LAYOUT, &fresh);
	struct stat file;

	CU_ASSERT_TRUE(fresh);
	for (size_t i = 0; i < SIZE; i++)
		CU_ASSERT_EQUAL_FATAL(region[i], 0);
	CU_ASSERT_EQUAL((uintptr_t)region % 4096, 0);
	CU_ASSERT_EQUAL(stat(path, &file), 0);
	CU_ASSERT_EQUAL(file.st_mode & 0777, 0600);
	CU_ASSERT(file.st_blocks * 512 >= SIZE);
	CU_ASSERT_TRUE(region_pin(region));
	strcpy(region, "first");
	strcpy(region + SIZE - 5, "last");
	region_close(region);
	region = open_it(SIZE, LAYOUT, &fresh);
	CU_ASSERT_FALSE(fresh);
	CU_ASSERT_STRING_EQUAL(region, "first");
	CU_ASSERT_STRING_EQUAL(region + SIZE - 5, "last");
	region_close(region);
	region_close(NULL);
}

/* Another size or layout, a header that says another boot or namespace, a file cut short: all begin anew. */
static void
test_replaced(void)
{
	bool fresh;

	region_close(strcpy(open_it(SIZE, LAYOUT, &fresh), "old"));
	char *region = open_it(SIZE, LAYOUT + 1, &fresh);
	CU_ASSERT_TRUE(fresh);
	CU_ASSERT_EQUAL(region[0], 0);
	region_close(strcpy(region, "old"));
	region = open_it(SIZE + 1, LAYOUT + 1, &fresh);
	CU_ASSERT_TRUE(fresh);
	CU_ASSERT_EQUAL(region[0], 0);
	region_close(region);
	for (off_t at = 0; at < 64; at++) {
		region_close(strcpy(open_it(SIZE, LAYOUT, &fresh), "old"));
		int fd = open(path, O_RDWR | O_CLOEXEC);
		char octet;
		CU_ASSERT_EQUAL(pread(fd, &octet, 1, at), 1);
		octet ^= 1;
		CU_ASSERT_EQUAL(pwrite(fd, &octet, 1, at), 1);
		close(fd);
		region = open_it(SIZE, LAYOUT, &fresh);
		CU_ASSERT_TRUE(fresh);
		CU_ASSERT_EQUAL(region[0], 0);
		region_close(region);
	}
	CU_ASSERT_EQUAL(truncate(path, SIZE), 0);
	region_close(open_it(SIZE, LAYOUT, &fresh));
	CU_ASSERT_TRUE(fresh);
}

/* Runs until it is killed, with the region open; counts in it. */
static pid_t
start_counter(int *ready)
{
	int pipes[2];

	CU_ASSERT_EQUAL_FATAL(pipe(pipes), 0);
	pid_t child = fork();
	if (child) {
		close(pipes[1]);
		*ready = pipes[0];
		return child;
	}
	bool fresh;
	volatile uint64_t *count = region_open(directory, "it", SIZE, LAYOUT, &fresh, NULL);
	if (!count || write(pipes[1], "", 1) != 1)
		_exit(1);
	for (uint64_t i = 1;; i++) {
		count[0] = i;
		count[1] = i;
	}
}

static void
test_killed(void)
{
	bool fresh;
	uint64_t before = 0;

	unlink(path);
	for (int i = 0; i < 20; i++) {
		int ready;
		char octet;
		pid_t child = start_counter(&ready);
		CU_ASSERT_EQUAL(read(ready, &octet, 1), 1);
		g_usleep(1000 + i * 100);
		kill(child, SIGKILL);
		/* Not waited for yet: the lock may still be held for a moment. */
		uint64_t *count = (uint64_t *)(void *)open_it(SIZE, LAYOUT, &fresh);
		CU_ASSERT_FALSE(fresh);
		CU_ASSERT(count[0] == count[1] || count[0] == count[1] + 1);
		CU_ASSERT(count[0] > 0 || before == 0);
		before = count[0];
		region_close(count);
		waitpid(child, NULL, 0);
		close(ready);
	}
	CU_ASSERT(before > 0);
}

static void
test_one_owner(void)
{
	bool fresh;
	char *region = open_it(SIZE, LAYOUT, &fresh);
	time_t began = time(NULL);

	expect_failure("it", "another peerflowd");
	CU_ASSERT(time(NULL) - began >= 1);
	region_close(region);
	region_close(open_it(SIZE, LAYOUT, &fresh));
	CU_ASSERT_FALSE(fresh);
}

/* A child that closes its descriptors, as a guardian of the daemon does, is no owner. */
static void
test_child(void)
{
	bool fresh;
	int ready[2];
	char *region = open_it(SIZE, LAYOUT, &fresh), octet;

	CU_ASSERT_EQUAL_FATAL(pipe(ready), 0);
	pid_t child = fork();
	if (!child) {
		for (int fd = 3; fd < 1024; fd++)
			if (fd != ready[1])
				close(fd);
		if (write(ready[1], "", 1) != 1)
			_exit(1);
		pause();
	}
	CU_ASSERT_EQUAL(read(ready[0], &octet, 1), 1);
	region_close(region);
	region_close(open_it(SIZE, LAYOUT, &fresh));
	CU_ASSERT_FALSE(fresh);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	close(ready[0]);
	close(ready[1]);
}

static void
test_refused(void)
{
	g_autofree char *link = g_build_filename(directory, "link", NULL);
	g_autofree char *hard = g_build_filename(directory, "hard", NULL);
	g_autofree char *fifo = g_build_filename(directory, "fifo", NULL);
	g_autoptr(GError) error = NULL;
	bool fresh;

	region_close(open_it(SIZE, LAYOUT, &fresh));
	CU_ASSERT_EQUAL_FATAL(symlink(path, link), 0);
	CU_ASSERT_EQUAL_FATAL(mkfifo(fifo, 0600), 0);
	expect_failure("link", "cannot be opened");
	expect_failure("fifo", "not a file of our own");
	CU_ASSERT_EQUAL_FATAL(rename(path, hard), 0);
	CU_ASSERT_EQUAL_FATAL(unlink(link), 0);
	CU_ASSERT_EQUAL_FATAL(linkat(AT_FDCWD, hard, AT_FDCWD, link, 0), 0);
	expect_failure("link", "not a file of our own");
	CU_ASSERT_PTR_NULL(region_open("/proc/nowhere", "it", SIZE, LAYOUT, &fresh, &error));
	CU_ASSERT_STRING_EQUAL(error->message, "/proc/nowhere: the runtime-directory cannot be made: "
	                       "No such file or directory");
	unlink(link);
	unlink(hard);
	unlink(fifo);
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "what was written is found again", test_found_again },
		{ "what does not match is replaced", test_replaced },
		{ "memory of a killed process", test_killed },
		{ "one process at a time", test_one_owner },
		{ "a child is no owner", test_child },
		{ "what is not a file of our own is refused", test_refused },
		CU_TEST_INFO_NULL,
	};
	if (!mkdtemp(folder))
		return EXIT_FAILURE;
	directory = g_build_filename(folder, "run", NULL);
	path = g_build_filename(directory, "it", NULL);
	int status = run_suite("region", tests);
	unlink(path);
	rmdir(directory);
	rmdir(folder);
	g_free(path);
	g_free(directory);
	return status;
}
