/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "archive/content.h"
#include "archive/file.h"
#include "error.h"
#include "peerflow.h"

struct unpack {
	char **files;
	char *output;               /* NULL: standard output */
	gboolean force;
	int from;
	int to;                     /* -1: standard output */
	uint64_t written;
	unsigned wrong;
	GError *failure;            /* of writing */
};

static void
unpack_clear(struct unpack *unpack)
{
	g_strfreev(unpack->files);
	g_free(unpack->output);
	g_clear_error(&unpack->failure);
	if (unpack->from >= 0)
		close(unpack->from);
	if (unpack->to >= 0)
		close(unpack->to);
}

typedef struct unpack unpack_t;
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(unpack_t, unpack_clear)

static bool
fail(int code, const char *path, GError **error)
{
	g_set_error(error, PEERFLOW_ERROR, code, "%s: %s", path, g_strerror(errno));
	return false;
}

/* Reading */

static void
tell_wrong(const char *text, void *data)
{
	struct unpack *unpack = data;

	unpack->wrong++;
	g_printerr("%s: %s: %s\n", g_get_prgname(), unpack->files[0], text);
}

static bool
write_octets(const uint8_t *octets, size_t n, void *data)
{
	struct unpack *unpack = data;
	const GString text = { .str = (char *)octets, .len = n };

	unpack->written += n;
	if (unpack->to < 0)
		return peerflow_put(&text, &unpack->failure);
	return file_write(unpack->to, octets, n) || fail(EX_IOERR, unpack->output, &unpack->failure);
}

/* Of a file that is nothing of the kind nothing is written. */
static bool
unpack_content(struct unpack *unpack, GError **error)
{
	struct content content;

	content_unpack(unpack->from, &content, tell_wrong, write_octets, unpack);
	if (!unpack->failure && (unpack->written || !unpack->wrong))
		return true;
	if (unpack->failure)
		g_propagate_error(error, g_steal_pointer(&unpack->failure));
	else
		g_set_error(error, PEERFLOW_ERROR, EX_DATAERR, "%s: nothing of it can be unpacked", unpack->files[0]);
	return false;
}

/* Writing */

/* The file that is not whole yet, for the handler; set before that is. */
static const char *unfinished;

static void
stop(int number)
{
	unlink(unfinished);
	signal(number, SIG_DFL);
	raise(number);
}

static void
handle_signals(const char *path)
{
	static const int numbers[] = { SIGINT, SIGTERM, SIGHUP };

	unfinished = path;
	for (unsigned i = 0; i < G_N_ELEMENTS(numbers); i++)
		signal(numbers[i], path ? stop : SIG_DFL);
}

/* A device or a directory is not replaced, whoever asks for it. */
static bool
may_place(const struct unpack *unpack, GError **error)
{
	struct stat status;

	if (lstat(unpack->output, &status) < 0)
		return errno == ENOENT || fail(EX_CANTCREAT, unpack->output, error);
	if (unpack->force && S_ISREG(status.st_mode))
		return true;
	g_set_error(error, PEERFLOW_ERROR, EX_CANTCREAT, "%s: is there already%s", unpack->output,
	            S_ISREG(status.st_mode) ? "; --force replaces it" : ", and is no file");
	return false;
}

/* Somebody may have been quicker. Not every file system can look and rename in one. */
static bool
place(const struct unpack *unpack, const char *path, GError **error)
{
	if (fsync(unpack->to) < 0)
		return fail(EX_IOERR, unpack->output, error);
	if (!unpack->force && renameat2(AT_FDCWD, path, AT_FDCWD, unpack->output, RENAME_NOREPLACE) == 0)
		return true;
	if (!unpack->force && errno != EINVAL)
		return fail(EX_CANTCREAT, unpack->output, error);
	return may_place(unpack, error) && (rename(path, unpack->output) == 0 || fail(EX_CANTCREAT, unpack->output, error));
}

static bool
write_file(struct unpack *unpack, GError **error)
{
	g_autofree char *path = g_strdup_printf("%s.XXXXXX", unpack->output);

	if (!may_place(unpack, error))
		return false;
	/* As the archive's own files: whoever may read those may read this one. */
	unpack->to = g_mkstemp_full(path, O_WRONLY | O_CLOEXEC, 0640);
	if (unpack->to < 0)
		return fail(EX_CANTCREAT, unpack->output, error);
	handle_signals(path);
	const bool good = unpack_content(unpack, error) && place(unpack, path, error);
	if (!good)
		unlink(path);
	handle_signals(NULL);
	return good;
}

static bool
write_standard(struct unpack *unpack, GError **error)
{
	if (isatty(STDOUT_FILENO)) {
		g_set_error(error, PEERFLOW_ERROR, EX_USAGE, "IPFIX is nothing for a terminal: send it to a program, or to a file "
		            "with --output");
		return false;
	}
	signal(SIGPIPE, SIG_IGN);       /* writing answers EPIPE instead */
	return unpack_content(unpack, error);
}

static bool
open_file(struct unpack *unpack, GError **error)
{
	const char *path = unpack->files[0];
	struct stat status;

	unpack->from = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (unpack->from < 0 || fstat(unpack->from, &status) < 0)
		return fail(errno == EACCES ? EX_NOPERM : EX_NOINPUT, path, error);
	if (!S_ISREG(status.st_mode)) {
		g_set_error(error, PEERFLOW_ERROR, EX_NOINPUT, "%s: is no file", path);
		return false;
	}
	return true;
}

static bool
unpack_run(struct unpack *unpack, GError **error)
{
	if (!unpack->files || unpack->files[1]) {
		g_set_error_literal(error, PEERFLOW_ERROR, EX_USAGE, "one FILE of an archive is wanted");
		return false;
	}
	if (unpack->force && !unpack->output) {
		g_set_error_literal(error, PEERFLOW_ERROR, EX_USAGE, "--force goes with --output");
		return false;
	}
	if (!open_file(unpack, error) || !(unpack->output ? write_file : write_standard)(unpack, error))
		return false;
	if (unpack->wrong)
		g_set_error(error, PEERFLOW_ERROR, EX_DATAERR, "%s: not all of it is as it was; the rest was written",
		            unpack->files[0]);
	return !unpack->wrong;
}

bool
peerflow_unpack(int argc, char **argv, GError **error)
{
	g_auto(unpack_t) unpack = { .from = -1, .to = -1 };
	const GOptionEntry entries[] = {
		{ "output", 'o', 0, G_OPTION_ARG_FILENAME, &unpack.output, "Where to (standard output)", "PATH" },
		{ "force", 0, 0, G_OPTION_ARG_NONE, &unpack.force, "Also if there is such a file: it is replaced", NULL },
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &unpack.files, NULL, "FILE" },
		{ 0 },
	};

	return peerflow_options("Gives back the IPFIX file (RFC 5655) that a file of an archive was before it was compressed.",
	                        entries, argc, argv, error)
	       && unpack_run(&unpack, error);
}
