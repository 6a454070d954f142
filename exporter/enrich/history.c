/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The file is text, one line for each change, fields apart by a tab: since when, which source, which prefix, the words
 * that then held; none of them: nobody. A line without a prefix says that the source was heard at that time.
 *
 *	1763776800000	netbird	100.90.0.7/32	peer=alice-laptop	user=alice@example.org
 */
#include "enrich/history.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"

enum {
	SPANS_MOST = 64,            /* of one prefix at one source */
	LINES_MOST = 1 << 20,
	HEARD_EVERY = 3600 * 1000,  /* ms between two notes that a source was heard */
	SLACK = 1 << 20,            /* octets a file may grow by before it is written anew */
	MINUTE = 60 * 1000,
};

static const char heading[] = "# peerflow: names and since when (exporter.conf(5), state-directory)\n";

static const char *const source_words[ROSTER_SOURCES] = {
	[ROSTER_NETBIRD] = "netbird",
	[ROSTER_NETWORKS] = "networks",
	[ROSTER_API] = "api",
	[ROSTER_FILE] = "file",
	[ROSTER_WIREGUARD] = "wireguard",
};

_Static_assert(ROSTER_SOURCES == 5, "every source has a word for the file, which must never change");

/* How long before it was told something may have come true. The file is true from the moment it is read. */
static const uint64_t delays[ROSTER_SOURCES] = {
	[ROSTER_NETBIRD] = 2 * MINUTE,
	[ROSTER_NETWORKS] = 2 * MINUTE,
	[ROSTER_API] = 10 * MINUTE,
	[ROSTER_WIREGUARD] = 2 * MINUTE,
};

static const char *const word_keys[WORDS] = {
	[WORD_PEER] = "peer", [WORD_PEER_ID] = "id", [WORD_USER] = "user", [WORD_GROUPS] = "groups",
	[WORD_VIA] = "via", [WORD_RESOURCE] = "resource", [WORD_NETWORK] = "network", [WORD_DOMAIN] = "domain",
};

struct history {
	uint64_t keep;
	GHashTable *lines;          /* set of struct history_line by prefix and source */
	bool full_said;
	uint32_t round;
	uint64_t heard[ROSTER_SOURCES];         /* zero: never */
	uint64_t heard_written[ROSTER_SOURCES];
	GString *journal;           /* what is to be appended */
	char *directory;            /* NULL: no file */
	int lock;
	int file;                   /* -1: to be written anew */
	size_t size;                /* of the file */
	size_t compact;             /* of the file when it was last written anew */
};

/* Lines */

static guint
hash_line(gconstpointer key)
{
	const struct history_line *line = key;
	uint64_t mixed = line->prefix.address.half[0] ^ (line->prefix.family << 16 | line->prefix.length << 8 | line->source);

	mixed = (mixed ^ mixed >> 32 ^ line->prefix.address.half[1]) * 0x9e3779b97f4a7c15u;
	return mixed >> 32;
}

static bool
same_prefix(const struct roster_prefix *a, const struct roster_prefix *b)
{
	return a->family == b->family && a->length == b->length && a->address.half[0] == b->address.half[0]
	       && a->address.half[1] == b->address.half[1];
}

static gboolean
equal_lines(gconstpointer one, gconstpointer other)
{
	const struct history_line *a = one, *b = other;

	return a->source == b->source && same_prefix(&a->prefix, &b->prefix);
}

static void
free_spans(struct history_span *span)
{
	while (span) {
		struct history_span *older = span->older;
		g_free(span);
		span = older;
	}
}

static void
free_line(void *data)
{
	struct history_line *line = data;

	free_spans(line->newest);
	g_strfreev(line->tags);
	g_free(line);
}

static struct history_line *
find_line(const struct history *history, const struct roster_prefix *prefix, enum roster_source source)
{
	const struct history_line key = { .prefix = *prefix, .source = source };

	return g_hash_table_lookup(history->lines, &key);
}

/* A mesh that does not end must not take all memory. */
static bool
has_room(struct history *history)
{
	if (g_hash_table_size(history->lines) < LINES_MOST)
		return true;
	if (!history->full_said)
		g_warning("names: no more than %d prefixes are kept", LINES_MOST);
	history->full_said = true;
	return false;
}

static struct history_line *
find_or_add_line(struct history *history, const struct roster_prefix *prefix, enum roster_source source)
{
	struct history_line *line = find_line(history, prefix, source);

	if (line || !has_room(history))
		return line;
	line = g_new0(struct history_line, 1);
	line->prefix = *prefix;
	line->source = source;
	g_hash_table_add(history->lines, line);
	return line;
}

struct history *
history_new(uint64_t keep)
{
	struct history *history = g_new0(struct history, 1);

	history->keep = keep;
	history->lines = g_hash_table_new_full(hash_line, equal_lines, free_line, NULL);
	history->journal = g_string_new(NULL);
	history->file = history->lock = -1;
	return history;
}

void
history_free(struct history *history)
{
	if (!history)
		return;
	g_hash_table_destroy(history->lines);
	g_string_free(history->journal, true);
	if (history->file >= 0)
		close(history->file);
	if (history->lock >= 0)
		close(history->lock);
	g_free(history->directory);
	g_free(history);
}

/* Spans */

static struct history_span *
span_new(uint64_t from, const char *const word[WORDS])
{
	size_t octets = 0;

	for (unsigned i = 0; i < WORDS; i++)
		octets += word[i] ? strlen(word[i]) + 1 : 0;
	struct history_span *span = g_malloc0(sizeof *span + octets);
	char *at = span->text;
	span->from = from;
	for (unsigned i = 0; i < WORDS; i++) {
		if (!word[i])
			continue;
		span->word[i] = at;
		at = stpcpy(at, word[i]) + 1;
	}
	return span;
}

static bool
is_somebody(const char *const word[WORDS])
{
	for (unsigned i = 0; i < WORDS; i++)
		if (word[i])
			return true;
	return false;
}

static bool
same_words(const char *const a[WORDS], const char *const b[WORDS])
{
	for (unsigned i = 0; i < WORDS; i++)
		if (g_strcmp0(a[i], b[i]) != 0)
			return false;
	return true;
}

static void
forget_most(struct history_line *line)
{
	struct history_span *span = line->newest;

	for (unsigned i = 1; i < SPANS_MOST && span; i++)
		span = span->older;
	if (!span)
		return;
	free_spans(span->older);
	span->older = NULL;
}

/* What was noted for later than this was noted by a clock that has since been set back. */
static void
begin_span(struct history_line *line, uint64_t from, const char *const word[WORDS])
{
	while (line->newest && line->newest->from >= from) {
		struct history_span *older = line->newest->older;
		g_free(line->newest);
		line->newest = older;
	}
	struct history_span *span = span_new(from, word);
	span->older = line->newest;
	line->newest = span;
	forget_most(line);
}

static void
print_span(const struct history_line *line, const struct history_span *span, GString *out)
{
	char host[INET6_ADDRSTRLEN];

	inet_ntop(line->prefix.family == 6 ? AF_INET6 : AF_INET, &line->prefix.address, host, sizeof host);
	g_string_append_printf(out, "%" PRIu64 "\t%s\t%s/%u", span->from, source_words[line->source], host,
	                       line->prefix.length);
	for (unsigned i = 0; i < WORDS; i++)
		if (span->word[i])
			g_string_append_printf(out, "\t%s=%s", word_keys[i], span->word[i]);
	g_string_append_c(out, '\n');
}

/* Taking */

struct pending {
	struct history_line *line;
	const char *word[WORDS];
};

/* Several entries of a prefix make one: of each word the first that is there. */
static void
merge(struct pending *pending, const struct roster_entry *entry)
{
	for (unsigned i = 0; i < WORDS; i++)
		if (!pending->word[i])
			pending->word[i] = entry->word[i];
}

static bool
same_tags(char **a, const char *const *b)
{
	return a && b ? g_strv_equal((const char *const *)a, b) : !a && !b;
}

static void
take_tags(struct history_line *line, const char *const *tags, uint64_t now)
{
	if (same_tags(line->tags, tags))
		return;
	g_strfreev(line->tags);
	line->tags = g_strdupv((char **)tags);
	line->tags_since = now;
}

static GArray *
gather(struct history *history, enum roster_source source, const GArray *entries, uint64_t now)
{
	GArray *all = g_array_new(false, true, sizeof(struct pending));

	history->round++;
	for (guint i = 0; i < entries->len; i++) {
		const struct roster_entry *entry = &g_array_index(entries, struct roster_entry, i);
		struct history_line *line = find_or_add_line(history, &entry->prefix, source);
		if (!line)
			continue;
		if (line->round != history->round) {
			line->round = history->round;
			line->pending = all->len;
			g_array_set_size(all, all->len + 1);
			g_array_index(all, struct pending, line->pending).line = line;
			take_tags(line, entry->tags, now);
		}
		merge(&g_array_index(all, struct pending, line->pending), entry);
	}
	return all;
}

static uint64_t
time_of_change(const struct history *history, const struct history_line *line, uint64_t now)
{
	const uint64_t heard = MIN(history->heard[line->source], now);
	const uint64_t delay = delays[line->source];
	uint64_t from = now;

	if (!heard && !line->newest)
		return 0;
	if (!line->newest || !is_somebody(line->newest->word))
		from = MAX(heard, now > delay ? now - delay : 0);
	return line->newest ? MAX(from, MIN(line->newest->from, now)) : from;
}

static bool
change(struct history *history, struct history_line *line, const char *const word[WORDS], uint64_t now)
{
	if (line->newest && same_words(line->newest->word, word))
		return false;
	begin_span(line, time_of_change(history, line, now), word);
	print_span(line, line->newest, history->journal);
	return true;
}

static size_t
close_unsaid(struct history *history, enum roster_source source, uint64_t now)
{
	static const char *const nobody[WORDS];
	GHashTableIter each;
	void *key;
	size_t changes = 0;

	g_hash_table_iter_init(&each, history->lines);
	while (g_hash_table_iter_next(&each, &key, NULL)) {
		struct history_line *line = key;
		if (line->source != source || line->round == history->round)
			continue;
		take_tags(line, NULL, now);
		changes += change(history, line, nobody, now);
	}
	return changes;
}

static void
note_heard(struct history *history, enum roster_source source, uint64_t now)
{
	history->heard[source] = now;
	if (now < history->heard_written[source] + HEARD_EVERY)
		return;
	history->heard_written[source] = now;
	g_string_append_printf(history->journal, "%" PRIu64 "\t%s\n", now, source_words[source]);
}

size_t
history_take(struct history *history, enum roster_source source, const GArray *entries, uint64_t now)
{
	size_t changes = 0;

	if (!entries->len && !history->heard[source])
		return 0;
	g_autoptr(GArray) all = gather(history, source, entries, now);
	for (guint i = 0; i < all->len; i++) {
		const struct pending *pending = &g_array_index(all, struct pending, i);
		changes += change(history, pending->line, pending->word, now);
	}
	changes += close_unsaid(history, source, now);
	note_heard(history, source, now);
	return changes;
}

const char *
history_word(const struct history *history, const struct roster_prefix *prefix, enum identity_word word)
{
	for (unsigned source = 0; source < ROSTER_SOURCES; source++) {
		const struct history_line *line = find_line(history, prefix, source);
		if (line && line->newest->word[word])
			return line->newest->word[word];
	}
	return NULL;
}

void
history_each(const struct history *history, void (*handle)(const struct history_line *line, void *data), void *data)
{
	GHashTableIter each;
	void *key;

	g_hash_table_iter_init(&each, history->lines);
	while (g_hash_table_iter_next(&each, &key, NULL))
		handle(key, data);
}

/* Whatever ended before the horizon goes; a prefix goes when nothing but "nobody" is left of it. */
static gboolean
is_forgotten(void *key, void *value, void *data)
{
	struct history_line *line = key;
	const uint64_t horizon = *(const uint64_t *)data;
	struct history_span *span = line->newest;
	(void)value;

	while (span->older && span->from > horizon)
		span = span->older;
	free_spans(span->older);
	span->older = NULL;
	return !line->tags && !is_somebody(line->newest->word) && (!line->newest->older || line->newest->from <= horizon);
}

void
history_prune(struct history *history, uint64_t now)
{
	uint64_t horizon = now > history->keep ? now - history->keep : 0;

	g_hash_table_foreach_remove(history->lines, is_forgotten, &horizon);
}

/* The text */

static int
find_word(const char *const *words, unsigned n, const char *text, size_t length)
{
	for (unsigned i = 0; i < n; i++)
		if (strlen(words[i]) == length && memcmp(words[i], text, length) == 0)
			return i;
	return -1;
}

/* "key=value"; a key of a later version is no mistake. */
static bool
read_word(const char *text, const char **words)
{
	const size_t length = strcspn(text, "=");
	const int word = find_word(word_keys, WORDS, text, length);

	if (!text[length] || !text[length + 1] || !roster_is_clean(text + length + 1))
		return false;
	if (word >= 0)
		words[word] = text + length + 1;
	return true;
}

static bool
read_span(struct history *history, uint64_t from, enum roster_source source, char **field)
{
	const char *words[WORDS] = { NULL };
	struct roster_prefix prefix, whole;

	if (!roster_prefix_parse(*field, &prefix))
		return false;
	whole = prefix;
	roster_cut(&whole.address, whole.length);
	if (!same_prefix(&prefix, &whole))
		return false;
	for (field++; *field; field++)
		if (!read_word(*field, words))
			return false;
	struct history_line *line = find_or_add_line(history, &prefix, source);
	if (line)
		begin_span(line, from, words);
	return true;
}

static bool
read_line(struct history *history, char *text)
{
	g_auto(GStrv) field = g_strsplit(text, "\t", WORDS + 16);
	guint64 from;

	if (!field[0] || *field[0] == '#')
		return true;
	if (!g_ascii_string_to_unsigned(field[0], 10, 0, UINT64_MAX / 2, &from, NULL) || !field[1])
		return false;
	const int source = find_word(source_words, ROSTER_SOURCES, field[1], strlen(field[1]));
	if (source < 0)
		return false;
	if (field[2] && !read_span(history, from, source, field + 2))
		return false;
	history->heard[source] = MAX(history->heard[source], MAX(from, 1));
	if (!field[2])
		history->heard_written[source] = from;
	return true;
}

size_t
history_read(struct history *history, const char *text, size_t length, size_t *whole)
{
	const char *begin = text, *stop;
	size_t bad = 0;

	for (; (stop = memchr(text, '\n', length)); length -= stop + 1 - text, text = stop + 1) {
		g_autofree char *line = g_strndup(text, stop - text);
		bad += strlen(line) != (size_t)(stop - text) || !read_line(history, line);
	}
	if (whole)
		*whole = text - begin;
	return bad + (length > 0);
}

static void
print_oldest_first(const struct history_line *line, const struct history_span *span, GString *out)
{
	const struct history_span *spans[SPANS_MOST];
	unsigned n = 0;

	for (; span && n < SPANS_MOST; span = span->older)
		spans[n++] = span;
	while (n)
		print_span(line, spans[--n], out);
}

static void
print_line(const struct history_line *line, void *out)
{
	print_oldest_first(line, line->newest, out);
}

void
history_print(const struct history *history, GString *out)
{
	g_string_append(out, heading);
	for (unsigned i = 0; i < ROSTER_SOURCES; i++)
		if (history->heard[i])
			g_string_append_printf(out, "%" PRIu64 "\t%s\n", history->heard[i], source_words[i]);
	history_each(history, print_line, out);
}

/* The file */

static bool
fail(GError **error, int code, const char *directory, const char *file, const char *what)
{
	g_set_error(error, PEERFLOW_ERROR, code, "%s/%s: %s: %s", directory, file, what, g_strerror(errno));
	return false;
}

static bool
take_lock(struct history *history, const char *directory, GError **error)
{
	g_autofree char *path = g_build_filename(directory, "names.lock", NULL);

	if (g_mkdir_with_parents(directory, 0700) < 0)
		return fail(error, EX_CANTCREAT, directory, "", "cannot be made");
	history->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (history->lock < 0)
		return fail(error, EX_CANTCREAT, directory, "names.lock", "cannot be opened");
	if (flock(history->lock, LOCK_EX | LOCK_NB) == 0)
		return true;
	if (errno != EWOULDBLOCK)
		return fail(error, EX_IOERR, directory, "names.lock", "cannot be locked");
	g_set_error(error, PEERFLOW_ERROR, EX_CANTCREAT, "%s/names: another process keeps its names there", directory);
	return false;
}

static bool
read_file(struct history *history, const char *path, GError **error)
{
	g_autoptr(GError) reason = NULL;
	g_autoptr(GMappedFile) mapped = g_mapped_file_new(path, false, &reason);

	if (!mapped && g_error_matches(reason, G_FILE_ERROR, G_FILE_ERROR_NOENT))
		return true;
	if (!mapped) {
		g_set_error(error, PEERFLOW_ERROR, EX_IOERR, "%s", reason->message);
		return false;
	}
	const size_t length = g_mapped_file_get_length(mapped);
	const size_t bad = length ? history_read(history, g_mapped_file_get_contents(mapped), length, NULL) : 0;
	if (bad)
		g_warning("%s: %zu lines make no sense and are passed over", path, bad);
	return true;
}

/* What was read is written anew with the first change: without torn lines, and without what is too old. */
bool
history_open(struct history *history, const char *directory, GError **error)
{
	g_autofree char *path = g_build_filename(directory, "names", NULL);

	if (!take_lock(history, directory, error) || !read_file(history, path, error))
		return false;
	history->directory = g_strdup(directory);
	return true;
}

static bool
write_all(int fd, const char *text, size_t length)
{
	while (length) {
		const ssize_t n = write(fd, text, length);
		if (n < 0 && errno != EINTR)
			return false;
		text += MAX(n, 0);
		length -= MAX(n, 0);
	}
	return true;
}

static void
give_up_file(struct history *history)
{
	if (history->file >= 0)
		close(history->file);
	history->file = -1;
}

static void
sync_directory(const char *directory)
{
	const int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return;
	fsync(fd);
	close(fd);
}

/* Whole or not at all, whenever the machine stops. */
static bool
write_anew(struct history *history, GError **error)
{
	g_autofree char *path = g_build_filename(history->directory, "names", NULL);
	g_autofree char *fresh = g_build_filename(history->directory, "names.new", NULL);
	g_autoptr(GString) text = g_string_new(NULL);

	give_up_file(history);
	history_print(history, text);
	unlink(fresh);
	history->file = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (history->file < 0 || !write_all(history->file, text->str, text->len) || fsync(history->file) < 0
	    || rename(fresh, path) < 0) {
		fail(error, EX_IOERR, history->directory, "names", "cannot be written");
		give_up_file(history);
		unlink(fresh);
		return false;
	}
	sync_directory(history->directory);
	history->size = history->compact = text->len;
	return true;
}

bool
history_write(struct history *history, uint64_t now, GError **error)
{
	const size_t length = history->journal->len;

	if (!history->directory || !length) {
		g_string_truncate(history->journal, 0);
		return true;
	}
	const bool grown = history->size + length > 2 * history->compact + SLACK;
	if (history->file < 0 || grown) {
		history_prune(history, now);
		g_string_truncate(history->journal, 0);
		return write_anew(history, error);
	}
	const bool good = write_all(history->file, history->journal->str, length);
	g_string_truncate(history->journal, 0);
	history->size += length;
	if (good)
		return true;
	fail(error, EX_IOERR, history->directory, "names", "cannot be written");
	give_up_file(history);
	return false;
}
