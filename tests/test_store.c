/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Messages become files: rotated, compressed, chained and removed again; and nothing is missing or there twice when the
 * process is killed or the disk is full. PEERFLOW_KILLS: how often it is killed (25). */

#include "archive/store.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "archive/verify.h"
#include "archives.h"
#include "error.h"

enum { PATIENCE = 30 };         /* s */

static char folder[] = "/tmp/test_store.XXXXXX";
static char *directory;

static struct store *
open_it(const struct store_options *options)
{
	g_autoptr(GError) error = NULL;
	struct store *store = store_open(options, &error);

	if (!store)
		CU_FAIL_FATAL(error->message);
	return store;
}

/* Also rotates, as the options say. */
static void
give_flows(struct store *store, uint64_t first, uint64_t last, uint32_t *sequence)
{
	for (uint64_t id = first; id <= last; id++) {
		if (store_due(store, 1000)) {
			store_rotate(store);
			*sequence = 0;
		}
		while (!give_flow(store, id, sequence))
			g_usleep(1000);
	}
}

static bool
wait_until(struct store *store, bool (*reached)(const struct store_status *status, uint64_t value), uint64_t value)
{
	struct store_status status;

	for (int i = 0; i < PATIENCE * 100; i++) {
		store_status(store, &status);
		if (reached(&status, value))
			return true;
		g_usleep(10000);
	}
	return false;
}

static bool
mark_is(const struct store_status *status, uint64_t value)
{
	return status->mark == value;
}

static bool
has_files(const struct store_status *status, uint64_t value)
{
	return status->files == value;
}

static bool
all_packed(const struct store_status *status, uint64_t value)
{
	g_autoptr(GPtrArray) names = packed_names(directory);

	return names->len == value && status->files == value;
}

static void
fail_test(const char *text, void *data)
{
	(void)data;
	CU_FAIL(text);
	puts(text);
}

static void
expect_sound(const char *where, uint64_t files)
{
	struct verify_result result;

	CU_ASSERT_TRUE(verify_archive(where, NULL, fail_test, NULL, &result, NULL));
	CU_ASSERT_EQUAL(result.files, files);
}

static void
test_rotated(void)
{
	const struct store_options options = { .directory = directory, .rotate_size = 10000, .sync = STORE_SYNC_FLOW };
	struct store *store = open_it(&options);
	struct store_status status;
	uint32_t sequence = 0;
	struct stat file;

	CU_ASSERT_EQUAL(stat(directory, &file), 0);
	CU_ASSERT_EQUAL(file.st_mode & 0777, 0750);
	CU_ASSERT_EQUAL(store_mark(store), 0);
	CU_ASSERT_FALSE(store_due(store, 1000));
	give_flows(store, 1, 1000, &sequence);
	CU_ASSERT_TRUE(wait_until(store, mark_is, 1000));
	/* 68 octets of a message and, of the first, the template's. */
	CU_ASSERT_TRUE(wait_until(store, all_packed, 6));
	store_status(store, &status);
	CU_ASSERT_EQUAL(status.files, 6);
	CU_ASSERT_EQUAL(status.queued, 0);
	CU_ASSERT_EQUAL(status.cut, 0);
	CU_ASSERT_FALSE(status.failing);
	CU_ASSERT_STRING_EQUAL(status.error, "");
	CU_ASSERT_TRUE(g_str_has_suffix(status.open, "-000007.ipfix.part"));
	CU_ASSERT(status.open_octets > 0 && status.open_octets < 10000);
	CU_ASSERT(status.written > 68000 && status.octets < status.written);
	CU_ASSERT(status.oldest / 1000 <= (uint64_t)time(NULL) && status.oldest / 1000 > (uint64_t)time(NULL) - PATIENCE);
	CU_ASSERT_EQUAL(strlen(status.head), 64);
	store_rotate(store);
	CU_ASSERT_TRUE(wait_until(store, has_files, 7));
	store_close(store);
	g_autoptr(GArray) ids = all_ids(directory);
	CU_ASSERT_EQUAL(ids->len, 1000);
	CU_ASSERT_TRUE(are_in_order(ids, 1));
	expect_sound(directory, 7);
}

/* What was there is compressed, and numbers go on. */
static void
test_gone_on(void)
{
	const struct store_options options = { .directory = directory, .rotate_size = 10000, .sync = STORE_SYNC_SECOND };
	struct store *store = open_it(&options);
	uint32_t sequence = 0;

	give_flows(store, 1001, 1100, &sequence);
	CU_ASSERT_TRUE(wait_until(store, mark_is, 1100));
	CU_ASSERT_TRUE(wait_until(store, all_packed, 7));
	store_close(store);
	store_close(NULL);
	g_autoptr(GArray) ids = all_ids(directory);
	CU_ASSERT_EQUAL(ids->len, 1100);
	CU_ASSERT_TRUE(are_in_order(ids, 1));
	expect_sound(directory, 8);
	remove_directory(directory);
}

static unsigned
count_names(const char *suffix)
{
	g_autoptr(GPtrArray) names = names_in(directory, suffix);

	return names->len;
}

/* Puts the file that it was beside a compressed one, as a process does that is killed before it removes it. */
static void
put_twin(const char *name)
{
	g_autoptr(GByteArray) plain = plain_octets(directory, name);
	g_autofree char *path = g_build_filename(directory, name, NULL);

	*strrchr(path, '.') = '\0';
	CU_ASSERT_TRUE(g_file_set_contents(path, (char *)plain->data, plain->len, NULL));
}

/* What is compressed one way stays as it is when the other is asked for, and serves as well. */
static void
test_both_ways(void)
{
	struct store_options options = { .directory = directory, .rotate_size = 10000 };
	uint32_t sequence = 0;

	for (enum pack_how how = 0; how < PACK_HOWS; how++) {
		options.pack = how;
		struct store *store = open_it(&options);
		give_flows(store, 1 + how * 200, 200 + how * 200, &sequence);
		store_rotate(store);
		sequence = 0;
		CU_ASSERT_TRUE(wait_until(store, all_packed, 2 + how * 2));
		store_close(store);
	}
	CU_ASSERT_EQUAL(count_names(".ipfix.columns"), 2);
	CU_ASSERT_EQUAL(count_names(".ipfix.zst"), 2);
	g_autoptr(GPtrArray) names = packed_names(directory);
	for (guint i = 0; i < names->len; i++)
		put_twin(names->pdata[i]);
	CU_ASSERT_EQUAL(count_names(".ipfix"), 4);
	store_close(open_it(&options));
	CU_ASSERT_EQUAL(count_names(".ipfix"), 0);
	CU_ASSERT_EQUAL(count_names(".ipfix.columns"), 2);
	g_autoptr(GArray) ids = all_ids(directory);
	CU_ASSERT_EQUAL(ids->len, 400);
	CU_ASSERT_TRUE(are_in_order(ids, 1));
	expect_sound(directory, 4);
	remove_directory(directory);
}

static void
test_due(void)
{
	const struct store_options options = { .directory = directory, .rotate = 300 };
	struct store *store = open_it(&options);
	uint32_t sequence = 0;

	CU_ASSERT_FALSE(store_due(store, 0));
	CU_ASSERT_TRUE(give_flow(store, 1, &sequence));
	const uint64_t now = g_get_real_time() / 1000, begin = now / 300000 * 300000;
	CU_ASSERT_FALSE(store_due(store, begin));
	CU_ASSERT_FALSE(store_due(store, begin + 299999));
	CU_ASSERT_TRUE(store_due(store, begin + 300000));
	CU_ASSERT_TRUE(store_due(store, begin - 1));
	store_rotate(store);
	CU_ASSERT_FALSE(store_due(store, begin + 300000));
	store_close(store);
	remove_directory(directory);
}

static void
test_refused(void)
{
	const struct store_options nowhere = { .directory = "/proc/nowhere" }, options = { .directory = directory };
	g_autoptr(GError) error = NULL;
	g_autoptr(GError) other = NULL;

	CU_ASSERT_PTR_NULL(store_open(&nowhere, &error));
	CU_ASSERT(error && g_str_has_prefix(error->message, "/proc/nowhere: cannot be made: "));
	struct store *store = open_it(&options);
	CU_ASSERT_PTR_NULL(store_open(&options, &other));
	CU_ASSERT(other && strstr(other->message, "another peerflowd writes to this archive"));
	store_close(store);
	remove_directory(directory);
}

/* Too many octets: the oldest go, but never the one that is written. Then, too old: all go. */
static void
test_retained(void)
{
	struct store_options options = { .directory = directory, .rotate_size = 5000, .max_size = 20000 };
	struct store *store = open_it(&options);
	struct store_status status;
	uint32_t sequence = 0;

	give_flows(store, 1, 2000, &sequence);
	store_rotate(store);
	CU_ASSERT_TRUE(wait_until(store, mark_is, 2000));
	for (int i = 0; i < PATIENCE * 100; i++) {
		store_status(store, &status);
		if (status.octets <= 20000)
			break;
		g_usleep(10000);
	}
	CU_ASSERT(status.octets <= 20000);
	CU_ASSERT(status.expired[STORE_EXPIRED_SIZE] > 0);
	CU_ASSERT_EQUAL(status.expired[STORE_EXPIRED_AGE], 0);
	store_close(store);
	g_autoptr(GArray) ids = all_ids(directory);
	CU_ASSERT_FATAL(ids->len > 0);
	CU_ASSERT_TRUE(are_in_order(ids, 2001 - ids->len));
	options.retain = 1;
	store = open_it(&options);
	CU_ASSERT_TRUE(wait_until(store, has_files, 0));
	store_status(store, &status);
	CU_ASSERT(status.expired[STORE_EXPIRED_AGE] > 0);
	CU_ASSERT_EQUAL(status.octets, 0);
	CU_ASSERT_EQUAL(status.oldest, 0);
	store_close(store);
	expect_sound(directory, 0);
	remove_directory(directory);
}

/* A store without memory, as after a power cut: what is torn is cut, the rest is kept. */
static void
test_torn(void)
{
	const struct store_options options = { .directory = directory };
	g_autofree char *path = g_build_filename(directory, "flows-20261122T140000Z-000003.ipfix.part", NULL);
	g_autofree char *empty = g_build_filename(directory, "flows-20261122T140000Z-000004.ipfix.part", NULL);
	g_autofree char *packing = g_build_filename(directory, "flows-20261122T130000Z-000001.ipfix.packing", NULL);
	g_autofree char *plain = g_build_filename(directory, "flows-20261122T130000Z-000002.ipfix", NULL);
	g_autoptr(GByteArray) octets = g_byte_array_new();
	const struct ipfix_record record[] = { { .id = 1 }, { .id = 2 } };
	struct store_status status;
	uint32_t sequence = 0;

	CU_ASSERT_EQUAL_FATAL(mkdir(directory, 0700), 0);
	ipfix_message(octets, true, 0, &record[0], 1);
	CU_ASSERT_TRUE(g_file_set_contents(plain, (char *)octets->data, octets->len, NULL));
	octets->data[octets->len - IPFIX_RECORD + 7] = 2;
	ipfix_message(octets, false, 1, &record[1], 1);
	CU_ASSERT_TRUE(g_file_set_contents(path, (char *)octets->data, octets->len - 11, NULL));
	CU_ASSERT_TRUE(g_file_set_contents(empty, "\0\12\0", 3, NULL));
	CU_ASSERT_TRUE(g_file_set_contents(packing, "junk", 4, NULL));
	struct store *store = open_it(&options);
	store_status(store, &status);
	CU_ASSERT_EQUAL(status.cut, 16 + 4 + IPFIX_RECORD - 11 + 3);
	CU_ASSERT_EQUAL(status.files, 2);
	CU_ASSERT_EQUAL(store_mark(store), 0);
	CU_ASSERT_TRUE(give_flow(store, 3, &sequence));
	CU_ASSERT_TRUE(wait_until(store, all_packed, 2));
	store_close(store);
	g_autoptr(GArray) ids = all_ids(directory);
	CU_ASSERT_EQUAL(ids->len, 3);
	CU_ASSERT_TRUE(are_in_order(ids, 1));
	CU_ASSERT_NOT_EQUAL(access(empty, F_OK), 0);
	CU_ASSERT_NOT_EQUAL(access(packing, F_OK), 0);
	g_autoptr(GPtrArray) names = names_in(directory, "-000004.ipfix");
	CU_ASSERT_EQUAL(names->len, 1);
	expect_sound(directory, 3);
	remove_directory(directory);
}

/* The last write of a process that is gone was done, or was not, or was done in part; in each case the next one knows. */
static void
test_noted(void)
{
	g_autofree char *path = g_build_filename(directory, "flows-20261122T140000Z-000001.ipfix.part", NULL);
	struct store_memory *memory = g_new0(struct store_memory, 1);
	const struct store_options options = { .directory = directory, .memory = memory };
	g_autoptr(GByteArray) octets = g_byte_array_new();
	const struct ipfix_record record[] = { { .id = 1 }, { .id = 2 } };

	ipfix_message(octets, true, 0, &record[0], 1);
	const guint first = octets->len;
	ipfix_message(octets, false, 1, &record[1], 1);
	for (guint size = 0; size <= octets->len; size++) {
		CU_ASSERT_EQUAL_FATAL(mkdir(directory, 0700), 0);
		CU_ASSERT_TRUE(g_file_set_contents(path, (char *)octets->data, size, NULL));
		memory->current = size & 1;
		struct store_note *note = &memory->note[memory->current];
		*note = (struct store_note){ .offset = size < first ? 0 : first, .before = size < first ? 0 : 1 };
		note->length = size < first ? first : octets->len - first;
		note->after = note->before + 1;
		g_strlcpy(note->path, path, sizeof note->path);
		struct store *store = open_it(&options);
		const uint64_t expected = (size >= first) + (size == octets->len);
		CU_ASSERT_EQUAL(store_mark(store), expected);
		store_close(store);
		g_autoptr(GArray) ids = all_ids(directory);
		CU_ASSERT_EQUAL(ids->len, expected);
		CU_ASSERT_TRUE(are_in_order(ids, 1));
		/* And it stays so. */
		store = open_it(&options);
		CU_ASSERT_EQUAL(store_mark(store), expected);
		store_close(store);
		remove_directory(directory);
	}
	g_free(memory);
}

/* Writes until it is killed, from where the one before it came to. */
static void
write_for_ever(struct store_memory *memory, enum store_sync sync, enum pack_how pack, uint64_t max_size)
{
	const struct store_options options = { .directory = directory, .rotate_size = 60000, .sync = sync, .pack = pack,
	                                       .memory = memory, .max_size = max_size };
	struct store *store = store_open(&options, NULL);
	uint32_t sequence = 0;

	if (!store)
		_exit(1);
	for (uint64_t id = store_mark(store) + 1;; id++) {
		if (store_due(store, 1000)) {
			store_rotate(store);
			sequence = 0;
		}
		while (!give_flow(store, id, &sequence))
			g_usleep(100);
		if (id % 100 == 0)
			g_usleep(100);
	}
}

/* Of max_size octets the newest flows are there; zero: all. */
static void
kill_writers(uint64_t max_size)
{
	const char *many = g_getenv("PEERFLOW_KILLS");
	const int kills = many ? atoi(many) : 25;
	struct store_memory *memory = mmap(NULL, sizeof *memory, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	const struct store_options options = { .directory = directory, .memory = memory };

	for (int i = 0; i < kills; i++) {
		const pid_t child = fork();
		if (!child)
			write_for_ever(memory, i % 3, i % PACK_HOWS, max_size);
		g_usleep(g_random_int_range(100, 150000));
		kill(child, SIGKILL);
		int status;
		CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
		CU_ASSERT_TRUE(WIFSIGNALED(status));
	}
	struct store *store = open_it(&options);
	const uint64_t mark = store_mark(store);
	struct store_status status;
	store_status(store, &status);
	CU_ASSERT_STRING_EQUAL(status.open, "");
	store_close(store);
	g_autoptr(GArray) ids = all_ids(directory);
	CU_ASSERT(mark > 0);
	CU_ASSERT(max_size ? ids->len > 0 : ids->len == mark);
	CU_ASSERT_TRUE(are_in_order(ids, mark + 1 - ids->len));
	expect_sound(directory, status.files);
	remove_directory(directory);
	munmap(memory, sizeof *memory);
}

static void
test_killed(void)
{
	kill_writers(0);
}

static void
test_killed_removing(void)
{
	kill_writers(50000);
}

static bool
is_failing(const struct store_status *status, uint64_t value)
{
	return status->failing == value;
}

/* Runs a test in a process of its own, which may change what it is allowed. It fails by ending otherwise than with 0. */
static void
run_apart(bool (*test)(void))
{
	fflush(stdout);
	const pid_t child = fork();
	if (!child) {
		signal(SIGXFSZ, SIG_IGN);
		alarm(4 * PATIENCE);
		_exit(test() ? EXIT_SUCCESS : EXIT_FAILURE);
	}
	int status;
	waitpid(child, &status, 0);
	CU_ASSERT_EQUAL(status, 0);
}

/* As long as nothing can be written the queue fills, and then takes nothing more. Nothing of it is lost. */
static bool
fill_queue(void)
{
	const struct rlimit small = { 100, RLIM_INFINITY }, large = { RLIM_INFINITY, RLIM_INFINITY };
	const struct store_options options = { .directory = directory };
	struct store *store = open_it(&options);
	struct store_status status;
	uint32_t sequence = 0;
	uint64_t id = 0;

	setrlimit(RLIMIT_FSIZE, &small);
	while (give_flow(store, id + 1, &sequence))
		id++;
	bool good = store_room(store) < 1000 && wait_until(store, is_failing, true);
	store_status(store, &status);
	good = good && status.queued > STORE_QUEUE - 1000 && status.mark == 0 && *status.error;
	setrlimit(RLIMIT_FSIZE, &large);
	good = good && wait_until(store, mark_is, id) && wait_until(store, is_failing, false) && store_room(store) == STORE_QUEUE;
	good = good && give_flow(store, id + 1, &sequence);
	store_close(store);
	g_autoptr(GArray) ids = all_ids(directory);
	return good && ids->len == id + 1 && are_in_order(ids, 1);
}

static void
test_queue(void)
{
	run_apart(fill_queue);
	expect_sound(directory, 1);
	remove_directory(directory);
}

/* Somebody removes all of it, and the directory too: that is said, and the next store begins anew behind the last flow. */
static void
test_removed(void)
{
	struct store_memory *memory = g_new0(struct store_memory, 1);
	const struct store_options options = { .directory = directory, .memory = memory };
	struct store *store = open_it(&options);
	struct store_status status;
	uint32_t sequence = 0;

	CU_ASSERT_TRUE(give_flow(store, 1, &sequence));
	CU_ASSERT_TRUE(wait_until(store, mark_is, 1));
	remove_directory(directory);
	store_rotate(store);
	sequence = 0;
	CU_ASSERT_TRUE(give_flow(store, 2, &sequence));
	CU_ASSERT_TRUE(wait_until(store, is_failing, true));
	store_status(store, &status);
	CU_ASSERT_PTR_NOT_NULL(strstr(status.error, "No such file or directory"));
	store_close(store);
	store = open_it(&options);
	CU_ASSERT_EQUAL(store_mark(store), 1);
	sequence = 0;
	CU_ASSERT_TRUE(give_flow(store, 2, &sequence));
	store_close(store);
	g_autoptr(GArray) ids = all_ids(directory);
	CU_ASSERT_EQUAL(ids->len, 1);
	CU_ASSERT_TRUE(are_in_order(ids, 2));
	expect_sound(directory, 1);
	remove_directory(directory);
	g_free(memory);
}

/* The store ends although nothing can be written: what is in the file stays whole, and the mark says what is. */
static bool
end_failing(void)
{
	const struct rlimit small = { 1000, RLIM_INFINITY }, large = { RLIM_INFINITY, RLIM_INFINITY };
	struct store_memory *memory = g_new0(struct store_memory, 1);
	const struct store_options options = { .directory = directory, .memory = memory };
	struct store *store = open_it(&options);
	uint32_t sequence = 0;

	for (uint64_t id = 1; id <= 10; id++)
		give_flow(store, id, &sequence);
	bool good = wait_until(store, mark_is, 10);
	setrlimit(RLIMIT_FSIZE, &small);
	for (uint64_t id = 11; id <= 100; id++)
		give_flow(store, id, &sequence);
	good = good && wait_until(store, is_failing, true);
	store_close(store);
	setrlimit(RLIMIT_FSIZE, &large);
	store = open_it(&options);
	const uint64_t mark = store_mark(store);
	store_close(store);
	g_free(memory);
	g_autoptr(GArray) ids = all_ids(directory);
	/* Some of the later ones may have found room below the limit. */
	return good && mark >= 10 && mark < 100 && ids->len == mark && are_in_order(ids, 1);
}

static void
test_end(void)
{
	run_apart(end_failing);
	expect_sound(directory, 1);
	remove_directory(directory);
}

/* A disk of a megabyte: there are always the newest flows on it. Then somebody else fills it, and goes away again. */
static bool
fill_disk(void)
{
	enum { ENOUGH = 200000 };   /* flows, compressed too */
	const struct store_options options = { .directory = directory, .rotate_size = 50000, .sync = STORE_SYNC_FLOW };
	g_autofree char *other = g_build_filename(directory, "other", NULL);
	struct store *store = open_it(&options);
	struct store_status status;
	uint32_t sequence = 0;

	give_flows(store, 1, ENOUGH, &sequence);
	bool good = wait_until(store, mark_is, ENOUGH);
	store_status(store, &status);
	good = good && status.expired[STORE_EXPIRED_DISK] > 0 && status.lost_files == status.expired[STORE_EXPIRED_DISK];
	const int fd = open(other, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	static const char zeros[65536];
	for (int i = 0; i < 5000 && store_room(store) > STORE_QUEUE / 2; i++) {
		while (write(fd, zeros, sizeof zeros) > 0)
			;
		give_flows(store, ENOUGH + 1 + i * 100, ENOUGH + 100 + i * 100, &sequence);
	}
	good = good && wait_until(store, is_failing, true);
	store_status(store, &status);
	good = good && status.files == 0;
	close(fd);
	unlink(other);
	good = good && wait_until(store, is_failing, false);
	store_close(store);
	g_autoptr(GArray) ids = all_ids(directory);
	if (!good || !ids->len || !are_in_order(ids, g_array_index(ids, uint64_t, 0)))
		return false;
	struct verify_result result;
	return verify_archive(directory, NULL, fail_test, NULL, &result, NULL) && !result.wrong;
}

static bool
mount_disk(void)
{
	if (unshare(CLONE_NEWNS) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
		return false;
	return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0
	       && mount("disk", directory, "tmpfs", 0, "size=1m,mode=0700") == 0;
}

static bool
fill_own_disk(void)
{
	if (!mount_disk()) {
		puts("(no file system of its own may be mounted: not run)");
		return true;
	}
	return fill_disk();
}

static void
test_disk_full(void)
{
	CU_ASSERT_EQUAL_FATAL(mkdir(directory, 0700), 0);
	run_apart(fill_own_disk);
	rmdir(directory);
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "files are rotated, compressed and chained", test_rotated },
		{ "the next store goes on", test_gone_on },
		{ "files in columns and of zstd", test_both_ways },
		{ "when a file is to end", test_due },
		{ "what is refused", test_refused },
		{ "what is removed, and when", test_retained },
		{ "torn files", test_torn },
		{ "what the memory says of the last write", test_noted },
		{ "killed again and again", test_killed },
		{ "killed while files are removed", test_killed_removing },
		{ "a full queue", test_queue },
		{ "somebody removes the directory", test_removed },
		{ "an end while nothing can be written", test_end },
		{ "a full disk", test_disk_full },
		CU_TEST_INFO_NULL,
	};
	if (!mkdtemp(folder))
		return EXIT_FAILURE;
	directory = g_build_filename(folder, "archive", NULL);
	g_log_set_default_handler(say_nothing, NULL);
	const int status = run_suite("store", tests);
	rmdir(folder);
	g_free(directory);
	return status;
}
