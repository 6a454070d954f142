/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "enrich/command.h"
#include "error.h"
#include "suite.h"

static char folder[] = "/tmp/peerflow-command-XXXXXX";

/* A program made of these lines of shell. */
static char *
program(const char *lines)
{
	static unsigned number;
	g_autofree char *path = g_strdup_printf("%s/program-%u", folder, number++);
	g_autofree char *text = g_strdup_printf("#!/bin/sh\n%s\n", lines);

	CU_ASSERT_TRUE_FATAL(g_file_set_contents_full(path, text, -1, G_FILE_SET_CONTENTS_NONE, 0700, NULL));
	return g_steal_pointer(&path);
}

static bool
take(const char *octets, size_t length, void *data, GError **error)
{
	GString *out = data;

	if (out->len + length > 1 << 20) {
		g_set_error_literal(error, PEERFLOW_ERROR, EX_DATAERR, "too much");
		return false;
	}
	g_string_append_len(out, octets, length);
	return true;
}

struct result {
	bool good;
	char *said;                 /* or the error */
	int code;
	double seconds;
};

static void
clear_result(struct result *result)
{
	g_free(result->said);
}

static struct result
run_path(int stop, const char *path, double patience)
{
	const char *const argv[] = { path, "status", "--json", NULL };
	g_autoptr(GString) out = g_string_new(NULL);
	g_autoptr(GError) error = NULL;
	const int64_t began = g_get_monotonic_time();
	struct result result = { .good = command_run(stop, argv, began + patience * 1e6, take, out, &error) };

	CU_ASSERT_EQUAL(result.good, !error);
	result.said = g_strdup(error ? error->message : out->str);
	result.code = error ? error->code : 0;
	result.seconds = (g_get_monotonic_time() - began) / 1e6;
	/* Nobody is left to be waited for. */
	CU_ASSERT_TRUE(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
	return result;
}

static struct result
run(const char *lines, double patience)
{
	g_autofree char *path = program(lines);
	const int stop = eventfd(0, EFD_CLOEXEC);
	struct result result = run_path(stop, path, patience);

	close(stop);
	return result;
}

static bool
ends_with(const struct result *result, const char *end)
{
	return g_str_has_suffix(result->said, end) || (printf("\n    got: %s\n", result->said), false);
}

static void
test_output(void)
{
	struct result plain = run("echo \"$0 $*\"; echo warned >&2; pwd; cat", 30);
	struct result large = run("head -c 1000000 /dev/zero | tr '\\0' x", 30);
	g_autofree char *expected = g_strnfill(1000000, 'x');

	CU_ASSERT_TRUE(plain.good && ends_with(&plain, " status --json\n/\n"));
	CU_ASSERT_TRUE(large.good && strcmp(large.said, expected) == 0);
	clear_result(&plain);
	clear_result(&large);
}

static void
test_failures(void)
{
	struct result status = run("echo '{}'; echo 'failed to connect' >&2; echo again >&2; exit 3", 30);
	struct result silent = run("exit 1", 30);
	struct result killed = run("kill -SEGV $$", 30);
	struct result wordy = run("head -c 100000 /dev/zero | tr '\\0' y >&2; exit 1", 30);

	CU_ASSERT_TRUE(!status.good && status.code == EX_UNAVAILABLE);
	CU_ASSERT_TRUE(ends_with(&status, ": status 3: failed to connect again"));
	CU_ASSERT_TRUE(ends_with(&silent, ": status 1"));
	CU_ASSERT_TRUE(ends_with(&killed, ": ended by signal 11"));
	CU_ASSERT_TRUE(strlen(wordy.said) < 400 && g_str_has_suffix(wordy.said, "yyyy"));
	clear_result(&status);
	clear_result(&silent);
	clear_result(&killed);
	clear_result(&wordy);
}

/* The number that a program wrote to a file of the folder. */
static pid_t
noted(const char *file)
{
	g_autofree char *path = g_strconcat(folder, "/", file, NULL);
	g_autofree char *text = NULL;

	return g_file_get_contents(path, &text, NULL, NULL) ? atoi(text) : 0;
}

/* Its parent, which is not us, may never notice. */
static bool
is_dead(pid_t pid)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/stat", pid);
	g_autofree char *text = NULL;

	return pid > 1 && (!g_file_get_contents(path, &text, NULL, NULL) || strstr(text, ") Z "));
}

static bool
is_gone(pid_t pid)
{
	for (unsigned i = 0; i < 500 && !is_dead(pid); i++)
		g_usleep(10000);
	return is_dead(pid);
}

/* One that hangs is killed, and so are its children, even if they hold the pipes and it has ended itself. */
static void
test_time(void)
{
	g_autofree char *hanging = g_strdup_printf("echo $$ >%s/self; sleep 1000 & echo $! >%s/child; wait", folder,
	                                           folder);
	g_autofree char *leaving = g_strdup_printf("sleep 1000 & echo $! >%s/other; echo done", folder);
	struct result hung = run(hanging, 0.5);
	struct result left = run(leaving, 30);

	CU_ASSERT_TRUE(!hung.good && ends_with(&hung, ": has not ended in time"));
	CU_ASSERT_TRUE(hung.seconds >= 0.5 && hung.seconds < 10);
	CU_ASSERT_TRUE(is_gone(noted("self")) && is_gone(noted("child")));
	CU_ASSERT_TRUE(left.good && strcmp(left.said, "done\n") == 0);
	CU_ASSERT_TRUE(left.seconds < 20 && is_gone(noted("other")));
	clear_result(&hung);
	clear_result(&left);
}

static void
test_endless(void)
{
	struct result wanted = run("exec cat /dev/zero", 30);
	struct result complaints = run("exec cat /dev/zero >&2", 0.5);
	struct result nothing = run("exec >&- 2>&-; sleep 1000", 0.5);

	CU_ASSERT_TRUE(!wanted.good && wanted.code == EX_DATAERR && strcmp(wanted.said, "too much") == 0);
	CU_ASSERT_TRUE(wanted.seconds < 20);
	CU_ASSERT_TRUE(ends_with(&complaints, ": has not ended in time"));
	CU_ASSERT_TRUE(ends_with(&nothing, ": has not ended in time"));
	clear_result(&wanted);
	clear_result(&complaints);
	clear_result(&nothing);
}

static gpointer
stop_later(gpointer data)
{
	g_usleep(200000);
	eventfd_write(GPOINTER_TO_INT(data), 1);
	return NULL;
}

static void
test_stop(void)
{
	g_autofree char *path = program("sleep 1000");
	const int stop = eventfd(0, EFD_CLOEXEC);
	GThread *thread = g_thread_new("stop", stop_later, GINT_TO_POINTER(stop));
	struct result result = run_path(stop, path, 1000);

	g_thread_join(thread);
	close(stop);
	CU_ASSERT_TRUE(!result.good && result.seconds < 20);
	clear_result(&result);
}

/* What others may write to is not run. */
static void
test_trust(void)
{
	g_autofree char *mark = g_strdup_printf("touch %s/was-run", folder);
	g_autofree char *path = program(mark), *marked = g_strconcat(folder, "/was-run", NULL);
	g_autofree char *link = g_strconcat(folder, "/link", NULL);
	const int stop = eventfd(0, EFD_CLOEXEC);
	static const mode_t modes[] = { 0720, 0702, 0777 };

	CU_ASSERT_EQUAL(symlink(path, link), 0);
	for (unsigned i = 0; i < G_N_ELEMENTS(modes); i++) {
		CU_ASSERT_EQUAL(chmod(path, modes[i]), 0);
		struct result result = run_path(stop, i ? path : link, 30);
		CU_ASSERT_TRUE(result.code == EX_NOPERM && ends_with(&result, ": is not run, because others may write to it"));
		clear_result(&result);
	}
	struct result directory = run_path(stop, folder, 30), missing = run_path(stop, "/nonexistent/netbird", 30);
	CU_ASSERT_TRUE(ends_with(&directory, ": is no program"));
	CU_ASSERT_TRUE(ends_with(&missing, "/nonexistent/netbird: No such file or directory"));
	CU_ASSERT_EQUAL(chmod(path, 0600), 0);
	struct result no_program = run_path(stop, path, 30);
	CU_ASSERT_TRUE(!no_program.good && no_program.code == EX_UNAVAILABLE);
	CU_ASSERT_FALSE(g_file_test(marked, G_FILE_TEST_EXISTS));
	clear_result(&directory);
	clear_result(&missing);
	clear_result(&no_program);
	close(stop);
}

static void
remove_folder(void)
{
	GDir *files = g_dir_open(folder, 0, NULL);

	for (const char *name; (name = g_dir_read_name(files));) {
		g_autofree char *path = g_strconcat(folder, "/", name, NULL);
		g_remove(path);
	}
	g_dir_close(files);
	g_rmdir(folder);
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "what it says", test_output },
		{ "failures in its own words", test_failures },
		{ "one that hangs, and children", test_time },
		{ "one that never stops talking", test_endless },
		{ "an end in the middle", test_stop },
		{ "only what is ours", test_trust },
		CU_TEST_INFO_NULL,
	};

	if (!g_mkdtemp(folder))
		return EXIT_FAILURE;
	const int status = run_suite("command", tests);
	remove_folder();
	return status;
}
