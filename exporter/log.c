/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "log.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include <glib.h>

/* Nothing here allocates: the one line that matters most is said when there is no memory. (GLib itself takes some
 * hundred octets to format it. If not even they are left, it calls itself until the stack ends, and the service manager
 * sees SIGSEGV instead of EX_OSERR.) The line goes out in one write, so that lines of several writers do not mix. */

static struct {
	const char *program;
	bool journal;
} output;

/* One line of fixed size; what does not fit is cut off. */
struct line {
	char text[4096];
	size_t length;
};

static void
append(struct line *line, const char *text, size_t length)
{
	for (size_t i = 0; i < length && line->length < sizeof line->text - 1; i++)
		line->text[line->length++] = g_ascii_iscntrl(text[i]) ? ' ' : text[i];
}

static void
append_text(struct line *line, const char *text)
{
	append(line, text, strlen(text));
}

static const GLogField *
find_field(const GLogField *fields, size_t n, const char *key)
{
	for (size_t i = 0; i < n; i++) {
		if (strcmp(fields[i].key, key) == 0 && fields[i].value)
			return &fields[i];
	}
	return NULL;
}

static const char *
field_text(const GLogField *fields, size_t n, const char *key)
{
	const GLogField *field = find_field(fields, n, key);
	return field ? field->value : NULL;
}

/* GLib numbers its levels by bit, from 2 for an error to 7 for debugging: exactly the priorities of syslog(3) from
 * critical to debug. */
static void
append_start(struct line *line, GLogLevelFlags level)
{
	if (output.journal) {
		char priority = '0' + g_bit_nth_lsf(level & G_LOG_LEVEL_MASK, -1);
		append(line, (char[]){ '<', priority, '>' }, 3);
	} else {
		append_text(line, output.program);
		append_text(line, ": ");
	}
}

/* GLib reports a failed allocation as a fatal message of its own domain, "gmem.c:136: failed to allocate 80 bytes"; the
 * place in its source helps nobody. */
static void
append_fatal(struct line *line, const char *domain, const char *text)
{
	const char *what = strstr(text, "failed to allocate");
	if (what && g_strcmp0(domain, "GLib") == 0) {
		append_text(line, "out of memory: ");
		text = what;
	}
	append_text(line, text);
}

static void
write_line(struct line *line)
{
	line->text[line->length++] = '\n';
	/* Nobody is left to be told that this failed. */
	if (write(STDERR_FILENO, line->text, line->length) < 0)
		return;
}

static GLogWriterOutput
write_message(GLogLevelFlags level, const GLogField *fields, gsize n, gpointer data)
{
	const char *domain = field_text(fields, n, "GLIB_DOMAIN");
	const GLogField *message = find_field(fields, n, "MESSAGE");
	struct line line = { .length = 0 };
	(void)data;

	if (g_log_writer_default_would_drop(level, domain))
		return G_LOG_WRITER_HANDLED;
	append_start(&line, level);
	if (level & G_LOG_LEVEL_ERROR)
		append_fatal(&line, domain, message ? message->value : "out of memory");
	else if (message)
		append(&line, message->value, message->length < 0 ? strlen(message->value) : (size_t)message->length);
	write_line(&line);
	if (level & G_LOG_LEVEL_ERROR)
		_exit(EX_OSERR);
	return G_LOG_WRITER_HANDLED;
}

/* The variable is inherited by programs whose standard error went elsewhere, so its device and inode must be ours. */
static bool
is_journal(const char *stream)
{
	struct stat status;
	uintmax_t device, inode;

	return stream && sscanf(stream, "%ju:%ju", &device, &inode) == 2 && fstat(STDERR_FILENO, &status) == 0
	       && status.st_dev == device && status.st_ino == inode;
}

void
log_open(const char *program)
{
	output.program = program;
	output.journal = is_journal(getenv("JOURNAL_STREAM"));
	g_log_set_writer_func(write_message, NULL, NULL);
}
