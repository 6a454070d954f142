/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "log.h"

#include <errno.h>
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "suite.h"

/* The sanitizer's allocator ends the program by itself unless told to fail as the C library's does. It also cannot live
 * with a limit on its address space; there, a request beyond its own limit has to do. */
const char *__asan_default_options(void);
void __asan_init(void) __attribute__((weak));

const char *
__asan_default_options(void)
{
	return "allocator_may_return_null=1";
}

/* What a child that did this wrote to its standard error, and how it ended. */
struct outcome {
	char text[16384];
	int status;
};

static void
read_outcome(int fd, pid_t child, struct outcome *outcome)
{
	size_t length = 0;
	ssize_t n;

	while ((n = read(fd, outcome->text + length, sizeof outcome->text - 1 - length)) > 0 || (n < 0 && errno == EINTR))
		length += n > 0 ? n : 0;
	outcome->text[length] = '\0';
	CU_ASSERT_EQUAL(waitpid(child, &outcome->status, 0), child);
	close(fd);
}

static const struct outcome *
run(void (*speak)(void))
{
	static struct outcome outcome;
	int ends[2];

	CU_ASSERT_FATAL(pipe(ends) == 0);
	fflush(NULL);
	pid_t child = fork();
	CU_ASSERT_FATAL(child >= 0);
	if (child == 0) {
		dup2(ends[1], STDERR_FILENO);
		close(ends[0]);
		close(ends[1]);
		unsetenv("JOURNAL_STREAM");
		unsetenv("G_MESSAGES_DEBUG");
		unsetenv("G_DEBUG");
		speak();
		_exit(0);
	}
	close(ends[1]);
	read_outcome(ends[0], child, &outcome);
	return &outcome;
}

static void
open_under_journal(void)
{
	struct stat status;
	g_autofree char *stream = NULL;

	fstat(STDERR_FILENO, &status);
	stream = g_strdup_printf("%ju:%ju", (uintmax_t)status.st_dev, (uintmax_t)status.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	log_open("peerflowd");
}

static void
speak_plainly(void)
{
	log_open("peerflowd");
	g_message("listening to %d groups", 2);
	g_warning("collector \"%s\": refused", "a");
	g_critical("lost");
	g_info("never seen");
	g_debug("never seen");
}

static void
speak_to_journal(void)
{
	open_under_journal();
	g_message("listening");
	g_warning("refused");
	g_critical("lost");
	g_error("gone");
}

static void
speak_beside_journal(void)
{
	setenv("JOURNAL_STREAM", "0:1", 1);
	log_open("peerflowd");
	g_message("listening");
}

static void
speak_for_debugging(void)
{
	setenv("G_MESSAGES_DEBUG", "all", 1);
	log_open("peerflowd");
	g_info("seen");
	g_debug("seen too");
}

static void
speak_badly(void)
{
	log_open("peerflowd");
	g_message("two\nlines\r\n\x1b[1m");
}

static void
speak_at_length(void)
{
	g_autofree char *text = g_strnfill(9000, 'x');
	log_open("peerflowd");
	g_message("%s", text);
	g_message("after");
}

static void
speak_structured(void)
{
	log_open("peerflowd");
	GLogField fields[] = { { "PRIORITY", "4", -1 }, { "MESSAGE", "only this, not that", 9 } };
	g_log_structured_array(G_LOG_LEVEL_WARNING, fields, G_N_ELEMENTS(fields));
}

static void
end_by_error(void)
{
	log_open("peerflowd");
	g_error("the clock runs backwards");
}

static size_t
too_much(void)
{
	return (size_t)1 << (__asan_init ? 46 : 30);
}

static void
end_by_memory(void)
{
	struct rlimit limit = { 512 << 20, 512 << 20 };
	log_open("peerflowd");
	if (!__asan_init)
		setrlimit(RLIMIT_AS, &limit);
	g_free(g_malloc(too_much()));
}

static void
test_plain(void)
{
	const struct outcome *outcome = run(speak_plainly);
	CU_ASSERT_STRING_EQUAL(outcome->text, "peerflowd: listening to 2 groups\npeerflowd: collector \"a\": refused\n"
	                       "peerflowd: lost\n");
	CU_ASSERT_EQUAL(outcome->status, 0);
}

static void
test_journal(void)
{
	const struct outcome *outcome = run(speak_to_journal);
	CU_ASSERT_STRING_EQUAL(outcome->text, "<5>listening\n<4>refused\n<3>lost\n<2>gone\n");
}

static void
test_beside_journal(void)
{
	CU_ASSERT_STRING_EQUAL(run(speak_beside_journal)->text, "peerflowd: listening\n");
}

static void
test_debugging(void)
{
	CU_ASSERT_STRING_EQUAL(run(speak_for_debugging)->text, "peerflowd: seen\npeerflowd: seen too\n");
}

static void
test_one_line(void)
{
	CU_ASSERT_STRING_EQUAL(run(speak_badly)->text, "peerflowd: two lines   [1m\n");
}

static void
test_length(void)
{
	const struct outcome *outcome = run(speak_at_length);
	const char *end = strchr(outcome->text, '\n');
	CU_ASSERT_PTR_NOT_NULL_FATAL(end);
	CU_ASSERT_EQUAL(end - outcome->text, 4095);
	CU_ASSERT_STRING_EQUAL(end, "\npeerflowd: after\n");
}

static void
test_structured(void)
{
	CU_ASSERT_STRING_EQUAL(run(speak_structured)->text, "peerflowd: only this\n");
}

static void
test_error(void)
{
	const struct outcome *outcome = run(end_by_error);
	CU_ASSERT_STRING_EQUAL(outcome->text, "peerflowd: the clock runs backwards\n");
	CU_ASSERT(WIFEXITED(outcome->status) && WEXITSTATUS(outcome->status) == EX_OSERR);
}

/* A sanitizer adds lines of its own before ours. */
static void
test_memory(void)
{
	const struct outcome *outcome = run(end_by_memory);
	const char *ours = strstr(outcome->text, "peerflowd: ");
	g_autofree char *wanted = g_strdup_printf("peerflowd: out of memory: failed to allocate %zu bytes\n", too_much());
	CU_ASSERT_PTR_NOT_NULL_FATAL(ours);
	CU_ASSERT_STRING_EQUAL(ours, wanted);
	CU_ASSERT(WIFEXITED(outcome->status) && WEXITSTATUS(outcome->status) == EX_OSERR);
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "messages are lines with the program's name", test_plain },
		{ "under the journal they have priorities", test_journal },
		{ "a journal that is not ours is none", test_beside_journal },
		{ "G_MESSAGES_DEBUG opens the mouth", test_debugging },
		{ "control characters do not break a line", test_one_line },
		{ "a long message is cut", test_length },
		{ "a message with a length is no longer than that", test_structured },
		{ "a fatal message ends with EX_OSERR", test_error },
		{ "out of memory is said and ends with EX_OSERR", test_memory },
		CU_TEST_INFO_NULL,
	};
	return run_suite("log", tests);
}
