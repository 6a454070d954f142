/* SPDX-License-Identifier: GPL-3.0-or-later */
/* peerflow unpack gives back each file of an archive as it was when it was closed, and of a damaged one the rest. */

#include <stdlib.h>
#include <sys/wait.h>

#include "archive/chain.h"
#include "archive/index.h"
#include "archives.h"
#include "error.h"

enum { BLOCKS = 3, BLOCK_MESSAGES = 600, MESSAGE_RECORDS = 50, FILES = PACK_HOWS + 1, PATIENCE = 30 };

static char folder[] = "/tmp/test_unpack.XXXXXX";
static char *directory;

/* More than a MiB each, so that the next begins another block. */
static void
give_blocks(struct store *store, unsigned blocks)
{
	struct ipfix_record record[MESSAGE_RECORDS];
	uint64_t id = 0;

	for (unsigned i = 0; i < blocks * BLOCK_MESSAGES; i++) {
		g_autoptr(GByteArray) octets = g_byte_array_new();
		const uint32_t sequence = id;
		for (unsigned j = 0; j < MESSAGE_RECORDS; j++, id++)
			record[j] = (struct ipfix_record){ .id = id, .start = id, .end = id + 5,
			                                   .address = { id % 1000, i / BLOCK_MESSAGES, 3, 4 } };
		ipfix_message(octets, i % BLOCK_MESSAGES == 0, sequence, record, MESSAGE_RECORDS);
		const struct message message = { .octets = octets->data, .length = octets->len, .mark = id };
		while (!store_write(store, &message, 1))
			g_usleep(1000);
	}
}

static void
wait_packed(unsigned n)
{
	for (unsigned i = 0; i < PATIENCE * 100; i++) {
		g_autoptr(GPtrArray) names = packed_names(directory);
		if (names->len == n)
			return;
		g_usleep(10000);
	}
	CU_FAIL_FATAL("a file is not compressed");
}

/* A file in each form, and then one that is not compressed. */
static void
make_archive(void)
{
	for (unsigned i = 0; i < FILES; i++) {
		const struct store_options options = { .directory = directory, .pack = i % PACK_HOWS };
		struct store *store = store_open(&options, NULL);
		CU_ASSERT_PTR_NOT_NULL_FATAL(store);
		give_blocks(store, i < PACK_HOWS ? BLOCKS : 1);
		if (i < PACK_HOWS) {
			store_rotate(store);
			wait_packed(i + 1);
		}
		store_close(store);
	}
}

/* Runs a command of the shell in the archive, where $peerflow is, and returns its exit status. */
G_GNUC_PRINTF(1, 2)
static int
run(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	g_autofree char *command = g_strdup_vprintf(format, arguments);
	va_end(arguments);
	g_autofree char *whole = g_strdup_printf("cd %s && peerflow='" PEERFLOW "' && { %s; }", directory, command);
	const int status = system(whole);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static GByteArray *
octets_of(const char *name)
{
	g_autofree char *path = g_build_filename(directory, name, NULL);
	char *text = NULL;
	gsize n = 0;

	if (!g_file_get_contents(path, &text, &n, NULL))
		return NULL;
	return g_byte_array_new_take((guint8 *)text, n);
}

static void
expect_sum(const char *name, const char *sum)
{
	g_autofree char *path = g_build_filename(directory, name, NULL);
	const int fd = open(path, O_RDONLY | O_CLOEXEC);
	char found[FILE_SUM] = "";

	CU_ASSERT_TRUE(file_sum(fd, lseek(fd, 0, SEEK_END), found));
	CU_ASSERT_STRING_EQUAL(found, sum);
	close(fd);
}

static void
expect_unpacked(const struct chain_line *line, uint64_t row, void *data)
{
	char name[FILE_NAME_OCTETS];
	unsigned *n = data;
	(void)row;

	CU_ASSERT_PTR_NOT_NULL_FATAL(line);
	file_name_print(&line->name, name);
	CU_ASSERT_EQUAL(run("rm -f out && $peerflow unpack %s* -o out 2>said", name), EX_OK);
	expect_sum("out", line->sum);
	CU_ASSERT_EQUAL(run("$peerflow unpack %s* >out 2>>said && test ! -s said", name), EX_OK);
	expect_sum("out", line->sum);
	++*n;
}

static void
test_whole(void)
{
	unsigned n = 0;
	uint64_t octets;

	make_archive();
	CU_ASSERT_EQUAL(run("test -e *-000001.ipfix.columns -a -e *-000002.ipfix.zst -a -e *-000003.ipfix"), 0);
	const int fd = openat(AT_FDCWD, directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const int chain = openat(fd, "chain", O_RDONLY | O_CLOEXEC);
	CU_ASSERT_TRUE(chain_read(chain, expect_unpacked, &n, &octets));
	CU_ASSERT_EQUAL(n, FILES);
	close(chain);
	close(fd);
	/* Whatever it is called. */
	CU_ASSERT_EQUAL(run("cp *-000001.ipfix.columns other.zst && $peerflow unpack *-000001.* >out"), 0);
	CU_ASSERT_EQUAL(run("$peerflow unpack other.zst | cmp - out && rm other.zst"), 0);
}

/* Without the second block, which said says is damaged. */
static void
expect_rest(const char *name, const struct index_block *first, const struct index_block *second)
{
	g_autoptr(GByteArray) plain = plain_octets(directory, name), out = octets_of("out"), said = octets_of("said");
	g_autofree char *expected = g_strdup_printf("peerflow unpack: broken: octet %" G_GUINT64_FORMAT ": this block is "
	                                            "damaged: ", second->offset);

	g_byte_array_remove_range(plain, first->plain, second->plain);
	CU_ASSERT_FATAL(out && said);
	CU_ASSERT_EQUAL_FATAL(out->len, plain->len);
	CU_ASSERT_EQUAL(memcmp(out->data, plain->data, plain->len), 0);
	g_byte_array_append(said, (guint8 *)"", 1);
	CU_ASSERT_TRUE(g_str_has_prefix((char *)said->data, expected));
}

/* In whichever part of its second block an octet is another one. */
static void
break_file(const char *name)
{
	g_autofree char *path = g_build_filename(directory, name, NULL);
	const int fd = open(path, O_RDONLY | O_CLOEXEC);
	g_autoptr(index_t) index = index_read(fd, NULL);

	CU_ASSERT_FATAL(index && index_blocks(index) == BLOCKS);
	const struct index_block *second = index_block(index, 1);
	for (unsigned part = 0; part <= 4; part++) {
		g_autoptr(GByteArray) octets = octets_of(name);
		g_autofree char *broken = g_build_filename(directory, "broken", NULL);
		octets->data[second->offset + (second->packed - 1) * part / 4] ^= 1;
		CU_ASSERT_TRUE(g_file_set_contents(broken, (char *)octets->data, octets->len, NULL));
		CU_ASSERT_EQUAL(run("$peerflow unpack broken --output out --force 2>said"), EX_DATAERR);
		expect_rest(name, index_block(index, 0), second);
		CU_ASSERT_EQUAL(run("$peerflow unpack broken 2>/dev/null | cmp - out"), 0);
	}
	close(fd);
}

static void
test_damaged(void)
{
	g_autoptr(GPtrArray) names = packed_names(directory);

	for (guint i = 0; i < names->len; i++)
		break_file(names->pdata[i]);
	CU_ASSERT_EQUAL(run("head -c -5 *-000003.ipfix >broken && $peerflow unpack broken 2>said >out"), EX_DATAERR);
	CU_ASSERT_EQUAL(run("cmp out broken && grep -q '^peerflow unpack: broken: octet .*: ends inside a message' said"), 0);
	CU_ASSERT_EQUAL(run("head -c -5 *-000001.ipfix.columns >broken && $peerflow unpack broken -o out --force 2>said"),
	                EX_DATAERR);
	CU_ASSERT_EQUAL(run("$peerflow unpack *-000001.ipfix.columns | cmp - out"), 0);
}

/* What is there stays what it is, and nothing is left behind. */
static void
test_output(void)
{
	CU_ASSERT_EQUAL(run("echo mine >out && rm -f broken"), 0);
	CU_ASSERT_EQUAL(run("$peerflow unpack *-000001.* -o out 2>said"), EX_CANTCREAT);
	CU_ASSERT_EQUAL(run("test \"$(cat out)\" = mine && grep -q 'out: is there already; --force replaces it' said"), 0);
	CU_ASSERT_EQUAL(run("echo nothing >broken && $peerflow unpack broken -o out --force 2>said"), EX_DATAERR);
	CU_ASSERT_EQUAL(run("test \"$(cat out)\" = mine && grep -q 'broken: nothing of it can be unpacked' said"), 0);
	CU_ASSERT_EQUAL(run("$peerflow unpack *-000001.* -o out --force"), EX_OK);
	CU_ASSERT_EQUAL(run("$peerflow unpack *-000001.* | cmp - out && test $(stat -c %%a out) = 640"), 0);
	CU_ASSERT_EQUAL(run("mkdir sub && $peerflow unpack *-000001.* -o sub --force 2>said"), EX_CANTCREAT);
	CU_ASSERT_EQUAL(run("rmdir sub && grep -q 'sub: is there already, and is no file' said"), 0);
	CU_ASSERT_EQUAL(run("$peerflow unpack *-000001.* -o nowhere/out 2>/dev/null"), EX_CANTCREAT);
	CU_ASSERT_EQUAL(run("rm -f out; (ulimit -f 100; trap '' XFSZ; $peerflow unpack *-000001.* -o out 2>said)"), EX_IOERR);
	CU_ASSERT_EQUAL(run("grep -q '^peerflow unpack: out: ' said && test ! -e out"), 0);
	CU_ASSERT_EQUAL(run("test -z \"$(ls | grep 'out[.]')\""), 0);
}

static void
test_ended(void)
{
	CU_ASSERT_EQUAL(run("for file in *-00000?.*; do { $peerflow unpack $file 2>said; echo $? >status; } | head -c 10 >out; "
	                    "test ! -s said -a $(cat status) = 0 || exit 1; done"), 0);
	CU_ASSERT_EQUAL(run("$peerflow unpack *-000001.* >/dev/full 2>said"), EX_IOERR);
	CU_ASSERT_EQUAL(run("grep -q 'standard output: ' said"), 0);
}

static void
test_usage(void)
{
	CU_ASSERT_EQUAL(run("$peerflow unpack 2>said"), EX_USAGE);
	CU_ASSERT_EQUAL(run("$peerflow unpack *-000001.* *-000002.* 2>said"), EX_USAGE);
	CU_ASSERT_EQUAL(run("$peerflow unpack --force *-000001.* 2>said >/dev/null"), EX_USAGE);
	CU_ASSERT_EQUAL(run("$peerflow unpack nowhere 2>said"), EX_NOINPUT);
	CU_ASSERT_EQUAL(run("$peerflow unpack . 2>said"), EX_NOINPUT);
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "files as they were", test_whole },
		{ "damaged files", test_damaged },
		{ "where it is written to", test_output },
		{ "whoever has enough, and a full device", test_ended },
		{ "what is refused", test_usage },
		CU_TEST_INFO_NULL,
	};
	if (!mkdtemp(folder))
		return EXIT_FAILURE;
	directory = g_build_filename(folder, "archive", NULL);
	g_log_set_default_handler(say_nothing, NULL);
	const int status = run_suite("unpack", tests);
	remove_directory(directory);
	rmdir(folder);
	g_free(directory);
	return status;
}
