/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Lines that follow from one another, what tears or changes them, and the names of files. */

#include "archive/chain.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "error.h"
#include "suite.h"

static char folder[] = "/tmp/test_chain.XXXXXX";
static char *path;

static const char sum[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/* printf '%064d000042 flows-20261122T140000Z-000042.ipfix 1234 SUM ' 0 | sha256sum */
static const char first_chain[] = "47d806ba5a4c698860ae6082e3c79b003bfda8700d408ee3b0981b5643c94d08";

static struct chain_line
line_of(uint64_t number, enum chain_what what)
{
	struct chain_line line = { .name = { 1795356000000, number, FILE_PLAIN }, .what = what, .octets = 1234 };

	memcpy(line.sum, sum, sizeof sum);
	return line;
}

/* Counts lines, and remembers the last. */
struct seen {
	unsigned lines, none;
	struct chain_line last;
};

static void
see(const struct chain_line *line, uint64_t row, void *data)
{
	struct seen *seen = data;

	CU_ASSERT_EQUAL(row, ++seen->lines);
	seen->none += !line;
	if (line)
		seen->last = *line;
}

static struct chain *
open_it(struct seen *seen)
{
	g_autoptr(GError) error = NULL;

	*seen = (struct seen){ 0 };
	struct chain *chain = chain_open(folder, &error);
	if (!chain || !chain_recall(chain, see, seen, &error))
		CU_FAIL_FATAL(error->message);
	return chain;
}

static off_t
size_of_file(void)
{
	struct stat status;

	return stat(path, &status) == 0 ? status.st_size : -1;
}

static void
test_name(void)
{
	static const char *const good[] = {
		"flows-20261122T140000Z-000042.ipfix.part", "flows-20261122T140000Z-000042.ipfix",
		"flows-20261122T140000Z-000042.ipfix.columns", "flows-20261122T140000Z-000042.ipfix.zst",
		"flows-20261122T140000Z-000042.ipfix.packing",
		"flows-19700101T000000Z-1234567.ipfix",
	};
	static const char *const bad[] = {
		"", "chain", "flows-20261122T140000Z-42.ipfix", "flows-20261122T140000Z-000042.ipfix2",
		"flows-20261322T140000Z-000042.ipfix", "flows-20261122T140000Z-000042", "flows-20261122T140000Z- 00042.ipfix",
		"flows-20261122T140000Z-000042.ipfix.part.part", "flows-20261122T146000Z-000042.ipfix",
		"flows-20261122T140000Z--00042.ipfix", "xflows-20261122T140000Z-000042.ipfix",
	};
	char text[FILE_NAME_OCTETS];
	struct file_name name;

	for (unsigned i = 0; i < G_N_ELEMENTS(good); i++) {
		CU_ASSERT_TRUE(file_name_parse(good[i], &name));
		file_name_print(&name, text);
		CU_ASSERT_STRING_EQUAL(text, good[i]);
	}
	for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++)
		if (file_name_parse(bad[i], &name))
			CU_FAIL(bad[i]);
	CU_ASSERT_TRUE(file_name_parse(good[2], &name));
	CU_ASSERT_EQUAL(name.begin, 1795356000000);
	CU_ASSERT_EQUAL(name.number, 42);
	CU_ASSERT_EQUAL(name.kind, FILE_COLUMNS);
	CU_ASSERT_TRUE(file_is_packed(name.kind));
}

static void
test_line(void)
{
	struct chain_line line = line_of(42, CHAIN_FILE), again, expired = line_of(42, CHAIN_DISK);
	char text[CHAIN_LINE], next[CHAIN_LINE];

	size_t n = chain_print(&line, chain_origin, text);
	CU_ASSERT_EQUAL(n, strlen(text));
	g_autofree char *expected = g_strdup_printf("000042 flows-20261122T140000Z-000042.ipfix 1234 %s %s\n", sum, first_chain);
	CU_ASSERT_STRING_EQUAL(text, expected);
	CU_ASSERT_TRUE(chain_parse(text, n - 1, &again));
	CU_ASSERT_TRUE(chain_follows(&again, chain_origin));
	CU_ASSERT_FALSE(chain_follows(&again, sum));
	CU_ASSERT_EQUAL(again.octets, 1234);
	CU_ASSERT_STRING_EQUAL(again.sum, sum);
	n = chain_print(&expired, line.chain, next);
	CU_ASSERT_PTR_NOT_NULL(strstr(next, "000042 flows-20261122T140000Z-000042.ipfix expired disk "));
	CU_ASSERT_TRUE(chain_parse(next, n - 1, &again));
	CU_ASSERT_EQUAL(again.what, CHAIN_DISK);
	CU_ASSERT_TRUE(chain_follows(&again, line.chain));
}

/* Whatever octet of a line is another one, it is no line any more, or does not follow. */
static void
test_changed(void)
{
	struct chain_line line = line_of(42, CHAIN_FILE), again;
	char text[CHAIN_LINE];
	const size_t n = chain_print(&line, chain_origin, text);

	for (size_t i = 0; i < n - 1; i++)
		for (unsigned bit = 0; bit < 8; bit++) {
			text[i] ^= 1 << bit;
			CU_ASSERT_FALSE(chain_parse(text, n - 1, &again) && chain_follows(&again, chain_origin));
			text[i] ^= 1 << bit;
		}
	CU_ASSERT_FALSE(chain_parse(text, n, &again));
	CU_ASSERT_FALSE(chain_parse(text, n - 2, &again));
	CU_ASSERT_FALSE(chain_parse("", 0, &again));
}

static void
test_kept(void)
{
	struct seen seen;
	struct chain *chain = open_it(&seen);
	char head[FILE_SUM];

	CU_ASSERT_EQUAL(seen.lines, 0);
	CU_ASSERT_STRING_EQUAL(chain_head(chain), chain_origin);
	for (unsigned i = 0; i < 500; i++) {
		struct chain_line line = line_of(i, i % 2 ? CHAIN_AGE : CHAIN_FILE);
		CU_ASSERT_TRUE(chain_add(chain, &line));
		CU_ASSERT_STRING_EQUAL(chain_head(chain), line.chain);
	}
	CU_ASSERT_FALSE(chain_waits(chain));
	g_strlcpy(head, chain_head(chain), sizeof head);
	chain_close(chain);
	chain = open_it(&seen);
	CU_ASSERT_EQUAL(seen.lines, 500);
	CU_ASSERT_EQUAL(seen.none, 0);
	CU_ASSERT_EQUAL(seen.last.name.number, 499);
	CU_ASSERT_STRING_EQUAL(chain_head(chain), head);
	chain_close(chain);
}

/* A crash left part of a line; and somebody else wrote into the file. */
static void
test_torn(void)
{
	struct seen seen;
	const off_t whole = size_of_file();
	FILE *file = fopen(path, "a");

	fputs("000500 flows-2026", file);
	fclose(file);
	struct chain *chain = open_it(&seen);
	CU_ASSERT_EQUAL(seen.lines, 500);
	struct chain_line line = line_of(500, CHAIN_FILE);
	CU_ASSERT_TRUE(chain_add(chain, &line));
	chain_close(chain);
	CU_ASSERT_EQUAL(size_of_file(), whole + (off_t)strlen("000500 flows-20261122T140000Z-000500.ipfix 1234  \n") + 128);
	file = fopen(path, "a");
	for (unsigned i = 0; i < 1000; i++)
		fputc('x', file);
	fclose(file);
	chain = open_it(&seen);
	CU_ASSERT_EQUAL(seen.lines, 501);
	CU_ASSERT_STRING_EQUAL(chain_head(chain), line.chain);
	line = line_of(501, CHAIN_FILE);
	CU_ASSERT_TRUE(chain_add(chain, &line));
	chain_close(chain);
	chain = open_it(&seen);
	CU_ASSERT_EQUAL(seen.lines, 503);
	CU_ASSERT_EQUAL(seen.none, 1);
	CU_ASSERT_EQUAL(seen.last.name.number, 501);
	chain_close(chain);
}

static void
test_one_writer(void)
{
	g_autoptr(GError) error = NULL;
	struct seen seen;
	struct chain *chain = open_it(&seen);
	const off_t before = size_of_file();

	CU_ASSERT_PTR_NULL(chain_open(folder, &error));
	CU_ASSERT_PTR_NOT_NULL_FATAL(error);
	CU_ASSERT_EQUAL(error->code, EX_OSERR);
	CU_ASSERT_PTR_NOT_NULL(strstr(error->message, "another peerflowd"));
	CU_ASSERT_EQUAL(size_of_file(), before);
	chain_close(chain);
	CU_ASSERT_PTR_NULL(chain_open("/proc/nowhere", NULL));
}

/* What cannot be written waits, and comes in order. */
static void
test_waiting(void)
{
	struct seen seen;
	struct chain *chain = open_it(&seen);
	const unsigned before = seen.lines;

	const pid_t child = fork();
	if (!child) {
		/* Files of this process cannot grow: what fails here is the write alone. */
		struct chain_line first = line_of(600, CHAIN_FILE), second = line_of(601, CHAIN_AGE);
		signal(SIGXFSZ, SIG_IGN);
		const struct rlimit small = { size_of_file() + 10, RLIM_INFINITY }, large = { RLIM_INFINITY, RLIM_INFINITY };
		setrlimit(RLIMIT_FSIZE, &small);
		bool good = !chain_add(chain, &first) && !chain_add(chain, &second) && chain_waits(chain) && !chain_flush(chain);
		setrlimit(RLIMIT_FSIZE, &large);
		good = good && chain_flush(chain) && !chain_waits(chain) && strcmp(chain_head(chain), second.chain) == 0;
		_exit(!good);
	}
	int status;
	waitpid(child, &status, 0);
	CU_ASSERT_EQUAL(status, 0);
	const int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint64_t octets;
	seen = (struct seen){ 0 };
	CU_ASSERT_TRUE(chain_read(fd, see, &seen, &octets));
	close(fd);
	CU_ASSERT_EQUAL(seen.lines, before + 2);
	CU_ASSERT_EQUAL(seen.none, 1);
	CU_ASSERT_EQUAL(seen.last.what, CHAIN_AGE);
	chain_close(chain);
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "names of files", test_name },
		{ "a line and its sum", test_line },
		{ "a changed line", test_changed },
		{ "lines are found again", test_kept },
		{ "a torn line is cut, a strange one is not", test_torn },
		{ "one writer at a time", test_one_writer },
		{ "what cannot be written waits", test_waiting },
		CU_TEST_INFO_NULL,
	};
	if (!mkdtemp(folder))
		return EXIT_FAILURE;
	path = g_build_filename(folder, "chain", NULL);
	const int status = run_suite("chain", tests);
	unlink(path);
	rmdir(folder);
	g_free(path);
	return status;
}
