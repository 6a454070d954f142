/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What was true when, over renames, silence, restarts, torn files and clocks that are set. */

#include "enrich/history.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <glib/gstdio.h>

#include "error.h"
#include "directories.h"

static const uint64_t minute = 60 * 1000, hour = 60 * 60 * 1000, day = 24 * 60 * 60 * 1000;

/* Whom a whole address stood for, as one source had it. */
static const char *
name_at(const struct history *history, const char *address, uint64_t time)
{
	const struct directory_input input = { .history = history };
	g_autoptr(directory_t) directory = directory_new(&input);
	static char name[300];

	g_strlcpy(name, who_of(directory, address, time), sizeof name);
	return name;
}

static size_t
take(struct history *history, enum roster_source source, const char *text, uint64_t now)
{
	g_autoptr(roster_t) roster = peers_parse("file", text, strlen(text), NULL);

	CU_ASSERT_PTR_NOT_NULL_FATAL(roster);
	return history_take(history, source, roster->entry, now);
}

static char *
print(const struct history *history)
{
	GString *text = g_string_new(NULL);

	history_print(history, text);
	return g_string_free(text, false);
}

static void
count_line(const struct history_line *line, void *data)
{
	(void)line;
	++*(unsigned *)data;
}

static unsigned
count(const struct history *history)
{
	unsigned n = 0;

	history_each(history, count_line, &n);
	return n;
}

/* ---- taking ---- */

static void
test_changes(void)
{
	g_autoptr(history_t) history = history_new(day);

	CU_ASSERT_EQUAL(take(history, ROSTER_FILE, "", 500), 0);
	CU_ASSERT_EQUAL(take(history, ROSTER_FILE, "192.0.2.1 a\n192.0.2.2 b\n", 1000), 2);
	CU_ASSERT_EQUAL(take(history, ROSTER_FILE, "192.0.2.2 b\n192.0.2.1 a\n", 2000), 0);
	CU_ASSERT_EQUAL(take(history, ROSTER_FILE, "192.0.2.1 a user=x\n192.0.2.2 b\n", 3000), 1);
	CU_ASSERT_EQUAL(take(history, ROSTER_FILE, "192.0.2.2 b\n", 4000), 1);
	CU_ASSERT_EQUAL(take(history, ROSTER_FILE, "192.0.2.2 b\n", 5000), 0);
	CU_ASSERT_STRING_EQUAL(name_at(history, "192.0.2.1", 3999), "a");
	CU_ASSERT_STRING_EQUAL(name_at(history, "192.0.2.1", 4000), "-");
	const struct roster_prefix one = prefix_of("192.0.2.1"), two = prefix_of("192.0.2.2"), three = prefix_of("192.0.2.3");
	CU_ASSERT_PTR_NULL(history_word(history, &one, WORD_PEER));
	CU_ASSERT_PTR_NULL(history_word(history, &three, WORD_PEER));
	CU_ASSERT_STRING_EQUAL(history_word(history, &two, WORD_PEER), "b");
	history_free(NULL);
}

/* Of one prefix told twice the first word of each kind counts. */
static void
test_merge(void)
{
	g_autoptr(history_t) history = history_new(day);
	g_autoptr(roster_t) roster = roster_new();
	const struct roster_prefix prefix = prefix_of("10.0.0.0/8");

	roster_add_word(roster, &prefix, WORD_VIA, "a");
	roster_add_word(roster, &prefix, WORD_RESOURCE, "r");
	roster_add_word(roster, &prefix, WORD_VIA, "b");
	CU_ASSERT_EQUAL(history_take(history, ROSTER_API, roster->entry, 1000), 1);
	CU_ASSERT_STRING_EQUAL(history_word(history, &prefix, WORD_VIA), "a");
	CU_ASSERT_STRING_EQUAL(history_word(history, &prefix, WORD_RESOURCE), "r");
}

/* Since when: the first roster has always been so; what is new since it was said, or for a source that is asked now and
 * then since a little before, but never since before it was last asked, nor into somebody else's time. */
static void
test_since(void)
{
	g_autoptr(history_t) history = history_new(day);

	take(history, ROSTER_FILE, "192.0.2.1 first\n", hour);
	take(history, ROSTER_FILE, "192.0.2.1 first\n192.0.2.2 second\n", 2 * hour);
	CU_ASSERT_STRING_EQUAL(name_at(history, "192.0.2.1", 0), "first");
	CU_ASSERT_STRING_EQUAL(name_at(history, "192.0.2.2", 2 * hour - 1), "-");
	CU_ASSERT_STRING_EQUAL(name_at(history, "192.0.2.2", 2 * hour), "second");

	take(history, ROSTER_NETBIRD, "192.0.2.11 a\n", hour);
	take(history, ROSTER_NETBIRD, "192.0.2.11 a\n192.0.2.12 b\n", hour + minute);
	CU_ASSERT_STRING_EQUAL(name_at(history, "192.0.2.12", hour - 1), "-");
	CU_ASSERT_STRING_EQUAL(name_at(history, "192.0.2.12", hour), "b");
	take(history, ROSTER_NETBIRD, "192.0.2.12 c\n", 2 * hour);
	CU_ASSERT_STRING_EQUAL(name_at(history, "192.0.2.12", 2 * hour - 1), "b");
	CU_ASSERT_STRING_EQUAL(name_at(history, "192.0.2.12", 2 * hour), "c");
	take(history, ROSTER_NETBIRD, "192.0.2.12 c\n192.0.2.11 d\n", 3 * hour);
	CU_ASSERT_STRING_EQUAL(name_at(history, "192.0.2.11", 2 * hour - 1), "a");
	CU_ASSERT_STRING_EQUAL(name_at(history, "192.0.2.11", 2 * hour), "-");
	CU_ASSERT_STRING_EQUAL(name_at(history, "192.0.2.11", 3 * hour - 2 * minute - 1), "-");
	CU_ASSERT_STRING_EQUAL(name_at(history, "192.0.2.11", 3 * hour - 2 * minute), "d");
}

/* A clock that was wrong and is set back: what it noted for later has not happened. */
static void
test_clock(void)
{
	g_autoptr(history_t) history = history_new(day);

	take(history, ROSTER_FILE, "192.0.2.1 a\n", 1000);
	take(history, ROSTER_FILE, "192.0.2.1 b\n", 9000);
	take(history, ROSTER_FILE, "192.0.2.1 c\n192.0.2.2 new\n", 5000);
	CU_ASSERT_STRING_EQUAL(name_at(history, "192.0.2.1", 4999), "a");
	CU_ASSERT_STRING_EQUAL(name_at(history, "192.0.2.1", 5000), "c");
	CU_ASSERT_STRING_EQUAL(name_at(history, "192.0.2.1", 9500), "c");
	CU_ASSERT_STRING_EQUAL(name_at(history, "192.0.2.2", 5000), "new");
}

static void
test_prune(void)
{
	g_autoptr(history_t) history = history_new(day);

	take(history, ROSTER_FILE, "192.0.2.1 a\n192.0.2.2 stays\n", 1000);
	take(history, ROSTER_FILE, "192.0.2.1 b\n192.0.2.2 stays\n", 2000);
	take(history, ROSTER_FILE, "192.0.2.2 stays\n", 3000);
	history_prune(history, day);
	CU_ASSERT_STRING_EQUAL(name_at(history, "192.0.2.1", 1500), "a");
	history_prune(history, day + 2000);
	CU_ASSERT_STRING_EQUAL(name_at(history, "192.0.2.1", 1500), "-");
	CU_ASSERT_STRING_EQUAL(name_at(history, "192.0.2.1", 2500), "b");
	history_prune(history, day + 3000);
	CU_ASSERT_EQUAL(count(history), 1);
	history_prune(history, 100 * day);
	CU_ASSERT_STRING_EQUAL(name_at(history, "192.0.2.2", 0), "stays");
}

/* ---- the text ---- */

static const char whole[] =
	"1763776800000\tnetbird\n"
	"0\tnetbird\t100.90.0.7/32\tpeer=alice=1 x\tuser=a@x\n"
	"1763776800001\tnetbird\t100.90.0.7/32\n"
	"1763776800002\tnetbird\t100.90.0.7/32\tpeer=bob\tlater=word\n"
	"5\tapi\tfd12::/64\tresource=r\tnetwork=n\tgroups=g, h\tid=i\tvia=v\tdomain=d\n";

static void
test_text(void)
{
	g_autoptr(history_t) history = history_new(UINT64_MAX), again = history_new(UINT64_MAX);
	size_t octets;

	CU_ASSERT_EQUAL(history_read(history, whole, strlen(whole), &octets), 0);
	CU_ASSERT_EQUAL(octets, strlen(whole));
	CU_ASSERT_STRING_EQUAL(name_at(history, "100.90.0.7", 1763776800000), "alice=1 x");
	CU_ASSERT_STRING_EQUAL(name_at(history, "100.90.0.7", 1763776800001), "-");
	CU_ASSERT_STRING_EQUAL(name_at(history, "100.90.0.7", 1763776800002), "bob");
	const struct roster_prefix site = prefix_of("fd12::/64");
	CU_ASSERT_STRING_EQUAL(history_word(history, &site, WORD_GROUPS), "g, h");
	CU_ASSERT_STRING_EQUAL(history_word(history, &site, WORD_PEER_ID), "i");
	g_autofree char *first = print(history);
	CU_ASSERT_EQUAL(history_read(again, first, strlen(first), NULL), 0);
	for (uint64_t time = 1763776800000; time < 1763776800004; time++)
		CU_ASSERT_EQUAL(strcmp(name_at(history, "100.90.0.7", time), name_at(again, "100.90.0.7", time)), 0);
	CU_ASSERT_EQUAL(count(again), 2);
}

/* The end of a file whose writer was cut short, at every octet. */
static void
test_torn(void)
{
	const char *last = strstr(whole, "5\tapi");
	size_t octets;

	for (size_t length = 0; length < strlen(whole); length++) {
		g_autoptr(history_t) history = history_new(UINT64_MAX);
		const bool at_end = !length || whole[length - 1] == '\n';
		CU_ASSERT_EQUAL(history_read(history, whole, length, &octets), !at_end);
		CU_ASSERT_TRUE(octets <= length && (!octets || whole[octets - 1] == '\n'));
		CU_ASSERT_TRUE(at_end == (octets == length));
		if (length >= (size_t)(last - whole))
			CU_ASSERT_STRING_EQUAL(name_at(history, "100.90.0.7", 1763776800002), "bob");
	}
}

static void
test_bad_lines(void)
{
	static const char *const bad[] = {
		"x\n", "\tapi\n", "1\n", "1\tnobody\n", "-1\tapi\n", "99999999999999999999\tapi\n", "1\tapi\t\n",
		"1\tapi\t10.0.0.0\tpeer=\n", "1\tapi\t10.0.0.1/8\tpeer=a\n", "1\tapi\t10.0.0.0/8\tpeer\n",
		"1\tapi\t10.0.0.0/8\tpeer=\x1b[2J\n", "1\tapi\t10.0.0.0/8\tpeer=\xff\n", "1\tapi\t10.0.0.0/33\tpeer=a\n",
		"1\tapi\t10.0.0.0/8\t\n",
	};

	for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
		g_autoptr(history_t) history = history_new(UINT64_MAX);
		g_autofree char *text = g_strconcat(whole, bad[i], "7\tapi\t10.9.0.0/16\tvia=good\n", NULL);
		CU_ASSERT_EQUAL(history_read(history, text, strlen(text), NULL), 1);
		CU_ASSERT_EQUAL(count(history), 3);
	}
	static const char nul[] = "1\tapi\t10.0.0.0/8\tvia=a\0b\n1\tapi\t10.0.0.0/8\tvia=c\n";
	g_autoptr(history_t) history = history_new(UINT64_MAX);
	CU_ASSERT_EQUAL(history_read(history, nul, sizeof nul - 1, NULL), 1);
	CU_ASSERT_STRING_EQUAL(name_at(history, "10.0.0.1", 1), "c");
}

/* ---- the file ---- */

struct place {
	char *directory, *file;
};

static struct place
place_new(void)
{
	g_autofree char *top = g_dir_make_tmp("peerflow-history-XXXXXX", NULL);
	char *directory = g_build_filename(top, "state", NULL);

	return (struct place){ directory, g_build_filename(directory, "names", NULL) };
}

static void
place_free(struct place *place)
{
	g_autofree char *top = g_path_get_dirname(place->directory);
	g_autofree char *lock = g_build_filename(place->directory, "names.lock", NULL);

	unlink(place->file);
	unlink(lock);
	rmdir(place->directory);
	CU_ASSERT_EQUAL(rmdir(top), 0);
	g_free(place->directory);
	g_free(place->file);
}

static struct history *
reopen(struct history *old, const struct place *place)
{
	struct history *history = history_new(90 * day);
	g_autoptr(GError) error = NULL;

	history_free(old);
	CU_ASSERT_TRUE(history_open(history, place->directory, &error));
	return history;
}

static off_t
size_of(const struct place *place)
{
	GStatBuf status;

	return g_stat(place->file, &status) == 0 ? status.st_size : -1;
}

/* Names survive a restart, and so does the knowledge of who had them before. */
static void
test_restart(void)
{
	struct place place = place_new();
	struct history *history = reopen(NULL, &place);
	GStatBuf status;

	CU_ASSERT_TRUE(history_write(history, hour, NULL));
	CU_ASSERT_EQUAL(size_of(&place), -1);
	take(history, ROSTER_FILE, "192.0.2.1 alice\n192.0.2.2 bob\n", hour);
	CU_ASSERT_TRUE(history_write(history, hour, NULL));
	CU_ASSERT_EQUAL(g_stat(place.file, &status), 0);
	CU_ASSERT_EQUAL(status.st_mode & 0777, 0600);
	take(history, ROSTER_FILE, "192.0.2.1 carol\n192.0.2.2 bob\n", hour + minute);
	const off_t before = size_of(&place);
	CU_ASSERT_TRUE(history_write(history, hour + minute, NULL));
	CU_ASSERT_TRUE(size_of(&place) > before && size_of(&place) < before + 100);
	history = reopen(history, &place);
	CU_ASSERT_STRING_EQUAL(name_at(history, "192.0.2.1", hour), "alice");
	CU_ASSERT_STRING_EQUAL(name_at(history, "192.0.2.1", hour + minute), "carol");
	/* It is not the first roster of that source: what is new is new. */
	CU_ASSERT_EQUAL(take(history, ROSTER_FILE, "192.0.2.1 carol\n192.0.2.3 dave\n", 2 * hour), 2);
	CU_ASSERT_TRUE(history_write(history, 2 * hour, NULL));
	history = reopen(history, &place);
	CU_ASSERT_STRING_EQUAL(name_at(history, "192.0.2.3", 2 * hour - 1), "-");
	CU_ASSERT_STRING_EQUAL(name_at(history, "192.0.2.3", 2 * hour), "dave");
	CU_ASSERT_STRING_EQUAL(name_at(history, "192.0.2.2", 2 * hour - 1), "bob");
	CU_ASSERT_STRING_EQUAL(name_at(history, "192.0.2.2", 2 * hour), "-");
	history_free(history);
	place_free(&place);
}

static void
silence(const char *domain, GLogLevelFlags level, const char *message, void *data)
{
	(void)domain, (void)level;
	++*(unsigned *)data;
	CU_ASSERT_PTR_NOT_NULL(strstr(message, "make no sense"));
}

static void
test_torn_file(void)
{
	struct place place = place_new();
	struct history *history = reopen(NULL, &place);
	unsigned warnings = 0;

	take(history, ROSTER_FILE, "192.0.2.1 alice\n192.0.2.2 bob\n", hour);
	CU_ASSERT_TRUE(history_write(history, hour, NULL));
	CU_ASSERT_EQUAL(truncate(place.file, size_of(&place) - 3), 0);
	GLogFunc old = g_log_set_default_handler(silence, &warnings);
	history = reopen(history, &place);
	g_log_set_default_handler(old, NULL);
	CU_ASSERT_EQUAL(warnings, 1);
	CU_ASSERT_EQUAL(count(history), 1);
	/* Nothing is appended to half a line. */
	take(history, ROSTER_FILE, "192.0.2.1 alice\n192.0.2.2 bob\n", 2 * hour);
	CU_ASSERT_TRUE(history_write(history, 2 * hour, NULL));
	history = reopen(history, &place);
	CU_ASSERT_EQUAL(count(history), 2);
	history_free(history);
	place_free(&place);
}

/* A mesh whose names change all the time: the file keeps what is remembered, not all there ever was. */
static void
test_compact(void)
{
	enum { PEERS = 2000, ROUNDS = 100 };
	struct place place = place_new();
	struct history *history = reopen(NULL, &place);
	off_t most = 0;

	for (unsigned round = 0; round < ROUNDS; round++) {
		g_autoptr(GString) text = g_string_new(NULL);
		for (unsigned i = 0; i < PEERS; i++)
			g_string_append_printf(text, "10.0.%u.%u peer-%u-in-round-%u\n", i / 256, i % 256, i, round);
		take(history, ROSTER_FILE, text->str, (100 + 30 * round) * day);
		CU_ASSERT_TRUE(history_write(history, (100 + 30 * round) * day, NULL));
		most = MAX(most, size_of(&place));
	}
	CU_ASSERT_TRUE(most < 4 << 20);
	history = reopen(history, &place);
	CU_ASSERT_STRING_EQUAL(name_at(history, "10.0.1.2", (100 + 30 * (ROUNDS - 1)) * day), "peer-258-in-round-99");
	CU_ASSERT_STRING_EQUAL(name_at(history, "10.0.1.2", (100 + 30 * (ROUNDS - 2)) * day), "peer-258-in-round-98");
	history_free(history);
	place_free(&place);
}

static void
test_refused(void)
{
	struct place place = place_new();
	struct history *first = reopen(NULL, &place);
	g_autoptr(history_t) second = history_new(day), third = history_new(day);
	g_autoptr(GError) taken = NULL, nowhere = NULL, gone = NULL;

	CU_ASSERT_FALSE(history_open(second, place.directory, &taken));
	CU_ASSERT_TRUE(g_error_matches(taken, PEERFLOW_ERROR, EX_CANTCREAT));
	CU_ASSERT_PTR_NOT_NULL(strstr(taken->message, "another process"));
	take(second, ROSTER_FILE, "192.0.2.1 alice\n", hour);
	CU_ASSERT_TRUE(history_write(second, hour, NULL));
	CU_ASSERT_STRING_EQUAL(name_at(second, "192.0.2.1", hour), "alice");
	CU_ASSERT_FALSE(history_open(third, "/proc/none/such", &nowhere));
	CU_ASSERT_TRUE(g_error_matches(nowhere, PEERFLOW_ERROR, EX_CANTCREAT));

	/* A folder that goes away is a failure that passes. */
	g_autofree char *aside = g_strconcat(place.directory, ".aside", NULL);
	CU_ASSERT_EQUAL(g_rename(place.directory, aside), 0);
	take(first, ROSTER_FILE, "192.0.2.1 alice\n", hour);
	CU_ASSERT_FALSE(history_write(first, hour, &gone));
	CU_ASSERT_TRUE(g_error_matches(gone, PEERFLOW_ERROR, EX_IOERR));
	CU_ASSERT_EQUAL(g_rename(aside, place.directory), 0);
	take(first, ROSTER_FILE, "192.0.2.1 alice\n192.0.2.2 bob\n", 2 * hour);
	CU_ASSERT_TRUE(history_write(first, 2 * hour, NULL));
	first = reopen(first, &place);
	CU_ASSERT_EQUAL(count(first), 2);
	history_free(first);
	place_free(&place);
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "changes", test_changes },
		{ "a prefix told twice", test_merge },
		{ "since when", test_since },
		{ "a clock that is set back", test_clock },
		{ "what is too old", test_prune },
		{ "the text", test_text },
		{ "a torn text", test_torn },
		{ "lines that make no sense", test_bad_lines },
		{ "a restart", test_restart },
		{ "a torn file", test_torn_file },
		{ "a file that does not grow", test_compact },
		{ "what is refused", test_refused },
		CU_TEST_INFO_NULL,
	};

	return run_suite("history", tests);
}
