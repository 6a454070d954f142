/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "archive/chain.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"

enum {
	WORDS_OF_LINE = 5,
	PATIENCE = 2000,            /* ms for a process that was killed to be gone for good */
	PAUSE = 20,
	RESERVE = 64 << 10,         /* octets ahead: that a file was removed for want of room is to be said, too */
};

const char chain_origin[FILE_SUM] = "0000000000000000000000000000000000000000000000000000000000000000";

static const char *const reasons[CHAIN_WHATS] = {
	[CHAIN_AGE] = "age",
	[CHAIN_SIZE] = "size",
	[CHAIN_DISK] = "disk",
};

struct chain {
	int fd;
	char *path;
	bool recalled;              /* it may be changed: what is in it is known */
	uint64_t octets;            /* of whole lines in the file */
	GString *waiting;           /* lines that could not be written yet */
	char head[FILE_SUM];
};

static void
print_sum(const char *before, const char *text, size_t n, char sum[static FILE_SUM])
{
	g_autoptr(digest_t) digest = digest_new();

	digest_add(digest, before, FILE_SUM - 1);
	digest_add(digest, text, n);
	digest_print(digest, sum);
}

/* Up to CHAIN. */
static size_t
print_words(const struct chain_line *line, char text[static CHAIN_LINE])
{
	char name[FILE_NAME_OCTETS];

	file_name_print(&line->name, name);
	if (line->what == CHAIN_FILE)
		return snprintf(text, CHAIN_LINE, "%06" G_GUINT64_FORMAT " %s %" G_GUINT64_FORMAT " %s ", line->name.number, name,
		                line->octets, line->sum);
	return snprintf(text, CHAIN_LINE, "%06" G_GUINT64_FORMAT " %s expired %s ", line->name.number, name,
	                reasons[line->what]);
}

size_t
chain_print(struct chain_line *line, const char *before, char text[static CHAIN_LINE])
{
	const size_t n = print_words(line, text);

	print_sum(before, text, n, line->chain);
	return n + snprintf(text + n, CHAIN_LINE - n, "%s\n", line->chain);
}

bool
chain_follows(const struct chain_line *line, const char *before)
{
	char text[CHAIN_LINE], sum[FILE_SUM];

	print_sum(before, text, print_words(line, text), sum);
	return strcmp(sum, line->chain) == 0;
}

static bool
take_sum(const char *word, char sum[static FILE_SUM])
{
	if (strlen(word) != FILE_SUM - 1 || strspn(word, "0123456789abcdef") != FILE_SUM - 1)
		return false;
	memcpy(sum, word, FILE_SUM);
	return true;
}

static bool
take_reason(const char *word, enum chain_what *what)
{
	for (unsigned i = CHAIN_AGE; i < CHAIN_WHATS; i++) {
		*what = i;
		if (strcmp(word, reasons[i]) == 0)
			return true;
	}
	return false;
}

static bool
take_words(char *const *word, struct chain_line *line)
{
	if (!file_name_parse(word[1], &line->name) || line->name.kind != FILE_PLAIN || !take_sum(word[4], line->chain))
		return false;
	if (strcmp(word[2], "expired") == 0)
		return take_reason(word[3], &line->what);
	line->what = CHAIN_FILE;
	line->octets = g_ascii_strtoull(word[2], NULL, 10);
	return take_sum(word[3], line->sum);
}

/* Only what print_words prints is a line: its sum is over that. */
static bool
is_printed(const struct chain_line *line, const char *text, size_t n)
{
	char again[CHAIN_LINE];
	const size_t words = print_words(line, again);

	return words + FILE_SUM - 1 == n && memcmp(again, text, words) == 0;
}

bool
chain_parse(const char *text, size_t n, struct chain_line *line)
{
	if (n >= CHAIN_LINE || memchr(text, '\0', n))
		return false;
	g_autofree char *copy = g_strndup(text, n);
	g_auto(GStrv) word = g_strsplit(copy, " ", WORDS_OF_LINE);

	*line = (struct chain_line){ .what = CHAIN_FILE };
	return g_strv_length(word) == WORDS_OF_LINE && take_words(word, line) && is_printed(line, text, n);
}

/* What was read of the file, and how far it was taken apart. */
struct reading {
	chain_each *each;
	void *data;
	uint64_t row;
	uint64_t octets;
};

/* Tells all whole lines in text, and keeps the rest. A line longer than any is told as none, piece by piece. */
static void
tell_lines(struct reading *reading, GString *text)
{
	gsize at = 0;
	const char *end;

	while (at < text->len && (end = memchr(text->str + at, '\n', text->len - at))) {
		struct chain_line line;
		const size_t n = end - (text->str + at);
		const bool good = chain_parse(text->str + at, n, &line);
		reading->each(good ? &line : NULL, ++reading->row, reading->data);
		at += n + 1;
	}
	reading->octets += at;
	g_string_erase(text, 0, at);
}

bool
chain_read(int fd, chain_each *each, void *data, uint64_t *octets)
{
	g_autoptr(GString) text = g_string_new(NULL);
	struct reading reading = { .each = each, .data = data };
	char piece[16384];
	uint64_t at = 0;
	ssize_t n;

	while ((n = pread(fd, piece, sizeof piece, at)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		at += n;
		g_string_append_len(text, piece, n);
		tell_lines(&reading, text);
	}
	*octets = reading.octets;
	return true;
}

static struct chain *
fail(const char *path, const char *what, GError **error)
{
	const int code = errno == EACCES || errno == EPERM ? EX_NOPERM : EX_OSERR;

	g_set_error(error, PEERFLOW_ERROR, code, "%s: %s: %s", path, what, g_strerror(errno));
	return NULL;
}

/* A killed process lets go only when it is gone for good, and the next one may be there before. */
static bool
lock(int fd)
{
	int tries = PATIENCE / PAUSE;

	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK || !tries--)
			return false;
		g_usleep(PAUSE * 1000);
	}
	return true;
}

/* Hands each line on, and remembers the last. */
struct opening {
	struct chain *chain;
	chain_each *each;
	void *data;
};

static void
take_line(const struct chain_line *line, uint64_t row, void *data)
{
	struct opening *opening = data;

	if (line)
		memcpy(opening->chain->head, line->chain, sizeof line->chain);
	opening->each(line, row, opening->data);
}

/* Fails where the file system cannot; then lines may wait. */
static void
reserve(const struct chain *chain)
{
	(void)!fallocate(chain->fd, FALLOC_FL_KEEP_SIZE, chain->octets, RESERVE);
}

/* False if nothing could be read, or a line that a crash tore could not be cut. More than a line without an end is not
 * ours: it stays, for whoever checks the chain. */
static bool
read_and_cut(struct chain *chain, struct opening *opening)
{
	struct stat status;

	if (!chain_read(chain->fd, take_line, opening, &chain->octets) || fstat(chain->fd, &status) < 0)
		return false;
	const uint64_t rest = status.st_size - chain->octets;
	if (rest < CHAIN_LINE)
		return !rest || ftruncate(chain->fd, chain->octets) == 0;
	chain->octets = status.st_size;
	g_string_append_c(chain->waiting, '\n');
	return true;
}

bool
chain_recall(struct chain *chain, chain_each *each, void *data, GError **error)
{
	struct opening opening = { chain, each, data };

	if (!read_and_cut(chain, &opening)) {
		fail(chain->path, "cannot be read", error);
		return false;
	}
	chain->recalled = true;
	reserve(chain);
	return true;
}

struct chain *
chain_open(const char *directory, GError **error)
{
	g_autofree char *path = g_build_filename(directory, "chain", NULL);
	const int fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0640);

	if (fd < 0)
		return fail(path, "cannot be opened", error);
	if (!lock(fd)) {
		fail(path, "another peerflowd writes to this archive", error);
		close(fd);
		return NULL;
	}
	struct chain *chain = g_new0(struct chain, 1);
	chain->fd = fd;
	chain->path = g_steal_pointer(&path);
	chain->waiting = g_string_new(NULL);
	memcpy(chain->head, chain_origin, sizeof chain_origin);
	return chain;
}

void
chain_close(struct chain *chain)
{
	if (!chain)
		return;
	/* What was reserved and is not used goes back. */
	if (chain->recalled)
		(void)!ftruncate(chain->fd, chain->octets);
	g_string_free(chain->waiting, true);
	close(chain->fd);
	g_free(chain->path);
	g_free(chain);
}

bool
chain_flush(struct chain *chain)
{
	if (!chain->waiting->len)
		return true;
	if (!file_write(chain->fd, chain->waiting->str, chain->waiting->len) || fdatasync(chain->fd) < 0) {
		const int number = errno;
		(void)!ftruncate(chain->fd, chain->octets);
		errno = number;
		return false;
	}
	chain->octets += chain->waiting->len;
	g_string_truncate(chain->waiting, 0);
	reserve(chain);
	return true;
}

bool
chain_add(struct chain *chain, struct chain_line *line)
{
	char text[CHAIN_LINE];
	const size_t n = chain_print(line, chain->head, text);

	memcpy(chain->head, line->chain, sizeof chain->head);
	g_string_append_len(chain->waiting, text, n);
	return chain_flush(chain);
}

bool
chain_waits(const struct chain *chain)
{
	return chain->waiting->len > 0;
}

const char *
chain_head(const struct chain *chain)
{
	return chain->head;
}
