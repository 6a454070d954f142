/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Whatever somebody does to an archive, whoever checks it says what was done and to which file. */

#include "archive/verify.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "archives.h"
#include "error.h"

enum { FILES = 5, FLOWS = 40 };

static char folder[] = "/tmp/test_verify.XXXXXX";
static char *directory;
static GString *said;

static void
note(const char *text, void *data)
{
	(void)data;
	g_string_append_printf(said, "%s\n", text);
}

/* So many files, all but the last of them compressed: those with even numbers in columns, the others by zstd. */
static void
make_archive(void)
{
	struct store_options options = { .directory = directory };
	struct store *store;
	uint64_t id = 0;

	for (unsigned i = 0; i < FILES; i++) {
		uint32_t sequence = 0;
		options.pack = i % 2 ? PACK_ZSTD : PACK_COLUMNS;
		store = store_open(&options, NULL);
		CU_ASSERT_PTR_NOT_NULL_FATAL(store);
		for (unsigned j = 0; j < FLOWS; j++)
			CU_ASSERT_TRUE(give_flow(store, ++id, &sequence));
		for (unsigned j = 0; j < 3000; j++) {
			g_autoptr(GPtrArray) names = packed_names(directory);
			if (names->len == i)
				break;
			g_usleep(10000);
		}
		store_close(store);
	}
}

/* Runs a command in the archive. */
G_GNUC_PRINTF(1, 2)
static void
run(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	g_autofree char *command = g_strdup_vprintf(format, arguments);
	va_end(arguments);
	g_autofree char *whole = g_strdup_printf("cd %s && { %s; }", directory, command);
	CU_ASSERT_EQUAL(system(whole), 0);
}

static struct verify_result
verify_it(const char *head)
{
	g_autoptr(GError) error = NULL;
	struct verify_result result;

	g_string_truncate(said, 0);
	if (!verify_archive(directory, head, note, NULL, &result, &error))
		CU_FAIL_FATAL(error->message);
	return result;
}

static void
expect(const char *command, const char *expected)
{
	run("rm -rf ../kept && cp -a . ../kept");
	run("%s", command);
	const struct verify_result result = verify_it(NULL);
	if (!result.wrong || !strstr(said->str, expected)) {
		printf("after: %s\nexpected: %s\nsaid: %s\n", command, expected, said->str);
		CU_FAIL("somebody's deed is not said");
	}
	run("cd .. && rm -rf archive && mv kept archive");
}

static void
test_sound(void)
{
	make_archive();
	const struct verify_result result = verify_it(NULL);
	CU_ASSERT_STRING_EQUAL(said->str, "");
	CU_ASSERT_EQUAL(result.wrong, 0);
	CU_ASSERT_EQUAL(result.files, FILES);
	CU_ASSERT_EQUAL(result.expired, 0);
	CU_ASSERT_EQUAL(result.open, 0);
	CU_ASSERT(result.octets > FILES * FLOWS * IPFIX_RECORD);
	CU_ASSERT_EQUAL(strlen(result.head), 64);
}

static void
test_deeds(void)
{
	expect("rm *-000002.*", "-000002.ipfix: is not there: somebody removed it\n");
	expect("mv *-000003.ipfix.zst flows-20200101T000000Z-000003.ipfix.zst", "-000003.ipfix: is not there");
	expect("cp *-000001.ipfix.zst x && mv x flows-20200101T000000Z-000000.ipfix.zst", "-000000.ipfix.zst: is not in the chain\n");
	expect("f=$(echo *-000003.ipfix.zst) && zstd -qd --rm $f && printf x >>${f%.zst}", "octets, and had ");
	expect("f=$(echo *-000005.ipfix) && truncate -s -10 $f", "-000005.ipfix: octet ");
	expect("f=$(echo *-000005.ipfix) && printf '\\377' | dd of=$f bs=1 seek=200 conv=notrunc 2>/dev/null",
	       "-000005.ipfix: was changed: its sum is not the one it had when it was closed\n");
	expect("f=$(echo *-000003.ipfix.zst) && printf '\\377' | dd of=$f bs=1 seek=100 conv=notrunc 2>/dev/null",
	       "-000003.ipfix.zst: octet 0: this block is damaged: ");
	expect("f=$(echo *-000003.ipfix.zst) && truncate -s -4 $f", "this is not the end of an index\n");
	expect("cp *-000001.ipfix.zst $(echo *-000003.ipfix.zst)", "-000003.ipfix.zst: was changed");
	expect("cp *-000002.ipfix.columns $(echo *-000003.ipfix.zst)", "-000003.ipfix.zst: was changed");
	expect("mv *-000002.ipfix.columns flows-20200101T000000Z-000002.ipfix.columns", "-000002.ipfix: is not there");
	expect("cp *-000002.ipfix.columns x && mv x flows-20200101T000000Z-000000.ipfix.columns",
	       "-000000.ipfix.columns: is not in the chain\n");
	expect("f=$(echo *-000002.ipfix.columns) && printf '\\377' | dd of=$f bs=1 seek=100 conv=notrunc 2>/dev/null",
	       "-000002.ipfix.columns: octet 0: this block is damaged: ");
	expect("f=$(echo *-000002.ipfix.columns) && printf 'PFC2' | dd of=$f bs=1 conv=notrunc 2>/dev/null",
	       "-000002.ipfix.columns: octet 0: this block is damaged: it begins like none\n");
	expect("f=$(echo *-000002.ipfix.columns) && truncate -s -4 $f", "this is not the end of an index\n");
	expect("f=$(echo *-000002.ipfix.columns) && truncate -s 100 $f", "octet 0: the file ends inside this block\n");
	expect("cp *-000004.ipfix.columns $(echo *-000002.ipfix.columns)", "-000002.ipfix.columns: was changed");
	expect("sed -i 2d chain", "chain: line 2 does not follow from the one before");
	expect("sed -i '3s/00/01/' chain", "chain: line 3 ");
	expect("sed -i '1s/./x/' chain", "chain: line 1 is none\n");
	expect("sed -i '2{h;d};3{G}' chain", "chain: line 2 does not follow");
}

/* The last lines, and their files, are gone: only a head from the log can say so. */
static void
test_head(void)
{
	const struct verify_result before = verify_it(NULL);

	CU_ASSERT_EQUAL(verify_it(before.head).wrong, 0);
	run("rm -rf ../kept && cp -a . ../kept && sed -i '$d' chain && rm *-000005.*");
	CU_ASSERT_EQUAL(verify_it(NULL).wrong, 0);
	CU_ASSERT_EQUAL(verify_it(before.head).wrong, 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(said->str, "is not in it: what led to it was removed or changed\n"));
	run("cd .. && rm -rf archive && mv kept archive");
	g_autofree char *path = g_build_filename(directory, "chain", NULL);
	g_autofree char *text = NULL;
	CU_ASSERT_TRUE_FATAL(g_file_get_contents(path, &text, NULL, NULL));
	g_auto(GStrv) line = g_strsplit(text, "\n", 0);
	for (unsigned i = 0; line[i] && *line[i]; i++)
		CU_ASSERT_EQUAL(verify_it(strrchr(line[i], ' ') + 1).wrong, 0);
}

/* Files that retention removed are no deed of anybody; what it did not remove yet is no stranger. */
static void
test_expired(void)
{
	const struct store_options options = { .directory = directory, .max_size = 1 };

	run("rm -rf ../kept && cp -a . ../kept");
	struct store *store = store_open(&options, NULL);
	struct store_status status;
	CU_ASSERT_PTR_NOT_NULL_FATAL(store);
	for (unsigned i = 0; i < 3000; i++) {
		store_status(store, &status);
		if (!status.files)
			break;
		g_usleep(10000);
	}
	store_close(store);
	struct verify_result result = verify_it(NULL);
	CU_ASSERT_STRING_EQUAL(said->str, "");
	CU_ASSERT_EQUAL(result.files, 0);
	CU_ASSERT_EQUAL(result.expired, FILES);
	run("cp ../kept/*-000003* .");
	CU_ASSERT_EQUAL(verify_it(NULL).wrong, 0);
	/* The next store ends what a crash left. */
	store_close(store_open(&options, NULL));
	g_autoptr(GPtrArray) names = names_in(directory, "");
	CU_ASSERT_EQUAL(names->len, 0);
	run("cd .. && rm -rf archive && mv kept archive");
}

/* No such directory, and one that is no archive. */
static void
test_refused(void)
{
	g_autoptr(GError) error = NULL;
	struct verify_result result;

	CU_ASSERT_FALSE(verify_archive("/nowhere", NULL, note, NULL, &result, &error));
	CU_ASSERT(error && error->code == EX_NOINPUT && g_str_has_prefix(error->message, "/nowhere/chain: "));
	g_clear_error(&error);
	CU_ASSERT_FALSE(verify_archive(folder, NULL, note, NULL, &result, &error));
	CU_ASSERT(error && error->code == EX_NOINPUT);
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "an archive as it was written", test_sound },
		{ "deeds of others", test_deeds },
		{ "a head of the log", test_head },
		{ "what retention removed", test_expired },
		{ "what is no archive", test_refused },
		CU_TEST_INFO_NULL,
	};
	if (!mkdtemp(folder))
		return EXIT_FAILURE;
	directory = g_build_filename(folder, "archive", NULL);
	said = g_string_new(NULL);
	g_log_set_default_handler(say_nothing, NULL);
	const int status = run_suite("verify", tests);
	remove_directory(directory);
	rmdir(folder);
	g_free(directory);
	g_string_free(said, true);
	return status;
}
