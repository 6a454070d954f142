/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "archive/shelf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "archive/chain.h"
#include "error.h"

enum { PACK_AGAIN = 60 };       /* s, after the disk did not take it */

struct shelf_file {
	struct file_name name;      /* of kind FILE_PLAIN, or packed */
	uint64_t octets;
	int64_t closed;             /* s since 1970 */
	int64_t wait;               /* s since 1970: not to be compressed before; INT64_MAX: never */
	bool told;                  /* why it is not compressed */
};

struct shelf {
	char *directory;
	int fd;                     /* of the directory */
	struct chain *chain;
	uint64_t number;            /* of the next file */
	GMutex lock;                /* of what follows */
	bool chained;               /* no line of the chain waits: what is compressed is never seen outside of it */
	GArray *files;              /* struct shelf_file by number */
};

char *
shelf_path(const struct shelf *shelf, const struct file_name *name)
{
	char text[FILE_NAME_OCTETS];

	file_name_print(name, text);
	return g_build_filename(shelf->directory, text, NULL);
}

static bool
remove_file(const struct shelf *shelf, const struct file_name *name)
{
	char text[FILE_NAME_OCTETS];

	file_name_print(name, text);
	return unlinkat(shelf->fd, text, 0) == 0;
}

static bool
rename_file(const struct shelf *shelf, const struct file_name *from, const struct file_name *to)
{
	char old[FILE_NAME_OCTETS], new[FILE_NAME_OCTETS];

	file_name_print(from, old);
	file_name_print(to, new);
	return renameat(shelf->fd, old, shelf->fd, new) == 0;
}

static bool
look_at(const struct shelf *shelf, const struct file_name *name, struct stat *status)
{
	char text[FILE_NAME_OCTETS];

	file_name_print(name, text);
	return fstatat(shelf->fd, text, status, AT_SYMLINK_NOFOLLOW) == 0;
}

static bool
is_there(const struct shelf *shelf, const struct file_name *name)
{
	struct stat status;

	return look_at(shelf, name, &status);
}

static struct file_name
with_kind(const struct file_name *name, enum file_kind kind)
{
	return (struct file_name){ name->begin, name->number, kind };
}

void
shelf_sync(const struct shelf *shelf)
{
	(void)!fsync(shelf->fd);
}

/* Anything of that name is ours, and empty: a file that is written to has a number of its own. */
int
shelf_create(const struct shelf *shelf, const struct file_name *part)
{
	char text[FILE_NAME_OCTETS];

	file_name_print(part, text);
	const int fd = openat(shelf->fd, text, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0640);
	if (fd >= 0)
		shelf_sync(shelf);
	return fd;
}

/* Takes a file that is there into the list. */
static void
list_file(struct shelf *shelf, const struct file_name *name)
{
	struct stat status;

	if (!look_at(shelf, name, &status))
		return;
	const struct shelf_file file = { .name = *name, .octets = status.st_size, .closed = status.st_mtim.tv_sec };
	g_mutex_lock(&shelf->lock);
	g_array_append_val(shelf->files, file);
	g_mutex_unlock(&shelf->lock);
}

static bool
add_line(struct shelf *shelf, struct chain_line *line)
{
	const bool good = chain_add(shelf->chain, line);

	g_mutex_lock(&shelf->lock);
	shelf->chained = good;
	g_mutex_unlock(&shelf->lock);
	return good;
}

static void
chain_file(struct shelf *shelf, const struct file_name *plain, uint64_t octets, const char *sum)
{
	struct chain_line line = { .name = *plain, .what = CHAIN_FILE, .octets = octets };
	char text[FILE_NAME_OCTETS];

	g_strlcpy(line.sum, sum, sizeof line.sum);
	file_name_print(plain, text);
	if (!add_line(shelf, &line))
		g_warning("%s/chain: %s", shelf->directory, g_strerror(errno));
	/* Whoever keeps the log can prove with it what the chain was. */
	g_message("archive: %s is closed, head of the chain %s", text, line.chain);
}

bool
shelf_add(struct shelf *shelf, const struct file_name *part, uint64_t octets, const char *sum)
{
	const struct file_name plain = with_kind(part, FILE_PLAIN);

	if (!rename_file(shelf, part, &plain) && errno != ENOENT)
		return false;
	shelf_sync(shelf);
	shelf->number = MAX(shelf->number, part->number + 1);
	/* Of one that somebody took away, too: it was there. */
	chain_file(shelf, &plain, octets, sum);
	list_file(shelf, &plain);
	return true;
}

/* What a process that was killed left. */

struct finding {
	GArray *found;              /* struct file_name, by number */
	GHashTable *numbers;        /* those of found */
	GHashTable *chained;        /* numbers of files that the chain says are there */
	GHashTable *expired;        /* numbers of found that it says are gone */
	uint64_t last;              /* number of the chain's last line */
	uint64_t cut;
	const char *own_path;       /* of the .part whose last write is known to be done or was undone; or NULL */
};

static int
compare_files(gconstpointer a, gconstpointer b)
{
	const struct file_name *one = a, *other = b;

	if (one->number != other->number)
		return one->number < other->number ? -1 : 1;
	return (int)one->kind - (int)other->kind;
}

static bool
find_files(struct finding *finding, const char *directory, GError **error)
{
	g_autoptr(GDir) dir = g_dir_open(directory, 0, NULL);
	const char *text;

	if (!dir) {
		g_set_error(error, PEERFLOW_ERROR, errno == EACCES ? EX_NOPERM : EX_OSERR, "%s: %s", directory, g_strerror(errno));
		return false;
	}
	while ((text = g_dir_read_name(dir))) {
		struct file_name name;
		if (!file_name_parse(text, &name))
			continue;
		g_array_append_val(finding->found, name);
		g_hash_table_add(finding->numbers, GSIZE_TO_POINTER(name.number));
	}
	g_array_sort(finding->found, compare_files);
	return true;
}

static void
take_line(const struct chain_line *line, uint64_t row, void *data)
{
	struct finding *finding = data;
	(void)row;

	if (!line)
		return;
	const gpointer number = GSIZE_TO_POINTER(line->name.number);
	finding->last = MAX(finding->last, line->name.number);
	if (line->what == CHAIN_FILE)
		g_hash_table_add(finding->chained, number);
	else if (g_hash_table_remove(finding->chained, number) && g_hash_table_contains(finding->numbers, number))
		g_hash_table_add(finding->expired, number);
}

/* To the last whole message, unless the memory knows how much was written. */
static bool
cut_part(const struct shelf *shelf, struct finding *finding, int fd, const struct file_name *name, uint64_t *octets)
{
	g_autofree char *path = shelf_path(shelf, name);
	struct stat status;

	if (fstat(fd, &status) < 0)
		return false;
	const uint64_t size = status.st_size;
	*octets = g_strcmp0(path, finding->own_path) == 0 ? size : file_whole(fd, size);
	if (*octets == size)
		return true;
	finding->cut += size - *octets;
	g_message("%s: cut %" G_GUINT64_FORMAT " octets of a message that was not written whole", path, size - *octets);
	return ftruncate(fd, *octets) == 0;
}

static bool
end_part(struct shelf *shelf, struct finding *finding, int fd, const struct file_name *name)
{
	char sum[FILE_SUM];
	uint64_t octets;

	if (!cut_part(shelf, finding, fd, name, &octets))
		return false;
	if (!octets)
		return remove_file(shelf, name);
	return fdatasync(fd) == 0 && file_sum(fd, octets, sum) && shelf_add(shelf, name, octets, sum);
}

static bool
finish_part(struct shelf *shelf, struct finding *finding, const struct file_name *name)
{
	char text[FILE_NAME_OCTETS];

	file_name_print(name, text);
	const int fd = openat(shelf->fd, text, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	const bool good = fd >= 0 && end_part(shelf, finding, fd, name);
	if (!good)
		g_warning("%s/%s: %s", shelf->directory, text, g_strerror(errno));
	if (fd >= 0)
		close(fd);
	return good;
}

/* It was renamed, and the line did not come to be. */
static void
finish_plain(struct shelf *shelf, const struct file_name *name)
{
	char text[FILE_NAME_OCTETS], sum[FILE_SUM];
	struct stat status;

	file_name_print(name, text);
	const int fd = openat(shelf->fd, text, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd >= 0 && fstat(fd, &status) == 0 && file_sum(fd, status.st_size, sum))
		chain_file(shelf, name, status.st_size, sum);
	else
		g_warning("%s/%s: %s", shelf->directory, text, g_strerror(errno));
	if (fd >= 0)
		close(fd);
}

static bool
is_packed_too(const struct finding *finding, guint i)
{
	const struct file_name *name = &g_array_index(finding->found, struct file_name, i);

	return i + 1 < finding->found->len && name[1].number == name->number && file_is_packed(name[1].kind);
}

/* A file that is neither in the chain nor newer than it was put there by somebody. It is no business of ours. */
static void
finish_file(struct shelf *shelf, struct finding *finding, guint i)
{
	const struct file_name *name = &g_array_index(finding->found, struct file_name, i);
	const gpointer number = GSIZE_TO_POINTER(name->number);

	if (name->kind == FILE_PACKING || g_hash_table_contains(finding->expired, number)
	    || (name->kind == FILE_PLAIN && is_packed_too(finding, i))) {
		remove_file(shelf, name);
		return;
	}
	if (name->kind == FILE_PART) {
		finish_part(shelf, finding, name);
		return;
	}
	if (!g_hash_table_remove(finding->chained, number)) {
		if (file_is_packed(name->kind) || name->number <= finding->last)
			g_warning("%s: a file with the number %" G_GUINT64_FORMAT " is not in the chain", shelf->directory, name->number);
		else
			finish_plain(shelf, name);
	}
	list_file(shelf, name);
}

static void
tell_missing(const struct shelf *shelf, const struct finding *finding)
{
	const guint n = g_hash_table_size(finding->chained);

	if (n)
		g_warning("%s: %u files that the chain has are not there: peerflow check --archive says which", shelf->directory, n);
}

static bool
finish_all(struct shelf *shelf, struct finding *finding, GError **error)
{
	/* A process that was killed may do something still until the lock of the chain is ours. */
	shelf->chain = chain_open(shelf->directory, error);
	if (!shelf->chain || !find_files(finding, shelf->directory, error)
	    || !chain_recall(shelf->chain, take_line, finding, error))
		return false;
	shelf->chained = true;
	shelf->number = finding->last + 1;
	for (guint i = 0; i < finding->found->len; i++) {
		const struct file_name *name = &g_array_index(finding->found, struct file_name, i);
		finish_file(shelf, finding, i);
		if (is_there(shelf, name))
			shelf->number = MAX(shelf->number, name->number + 1);
	}
	shelf_sync(shelf);
	tell_missing(shelf, finding);
	return true;
}

/* Was the last write done? If it was not, what is there of it goes: the flows in it are told again. */
static uint64_t
settle_note(const struct store_note *note, struct finding *finding)
{
	struct stat status;
	const uint64_t end = note->offset + note->length;

	if (!*note->path || stat(note->path, &status) < 0)
		return note->after;
	const bool done = (uint64_t)status.st_size >= end;
	const uint64_t octets = done ? end : MIN((uint64_t)status.st_size, note->offset);
	if (octets != (uint64_t)status.st_size) {
		finding->cut += status.st_size - octets;
		if (truncate(note->path, octets) < 0)
			g_warning("%s: %s", note->path, g_strerror(errno));
	}
	finding->own_path = note->path;
	return done ? note->after : note->before;
}

struct shelf *
shelf_open(const char *directory, const struct store_memory *memory, uint64_t *mark, uint64_t *cut, GError **error)
{
	struct shelf *shelf = g_new0(struct shelf, 1);
	struct finding finding = {
		.found = g_array_new(false, false, sizeof(struct file_name)),
		.numbers = g_hash_table_new(NULL, NULL),
		.chained = g_hash_table_new(NULL, NULL),
		.expired = g_hash_table_new(NULL, NULL),
	};

	shelf->directory = g_strdup(directory);
	shelf->files = g_array_new(false, false, sizeof(struct shelf_file));
	g_mutex_init(&shelf->lock);
	shelf->fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	*mark = memory ? settle_note(&memory->note[memory->current & 1], &finding) : 0;
	const bool good = finish_all(shelf, &finding, error);
	*cut = finding.cut;
	g_array_unref(finding.found);
	g_hash_table_unref(finding.numbers);
	g_hash_table_unref(finding.chained);
	g_hash_table_unref(finding.expired);
	if (good)
		return shelf;
	shelf_free(shelf);
	return NULL;
}

void
shelf_free(struct shelf *shelf)
{
	if (!shelf)
		return;
	chain_close(shelf->chain);
	g_array_unref(shelf->files);
	g_mutex_clear(&shelf->lock);
	if (shelf->fd >= 0)
		close(shelf->fd);
	g_free(shelf->directory);
	g_free(shelf);
}

uint64_t
shelf_number(const struct shelf *shelf)
{
	return shelf->number;
}

const char *
shelf_head(const struct shelf *shelf)
{
	return chain_head(shelf->chain);
}

void
shelf_flush(struct shelf *shelf)
{
	if (!chain_waits(shelf->chain))
		return;
	const bool good = chain_flush(shelf->chain);
	g_mutex_lock(&shelf->lock);
	shelf->chained = good;
	g_mutex_unlock(&shelf->lock);
}

void
shelf_totals(struct shelf *shelf, struct shelf_totals *totals)
{
	*totals = (struct shelf_totals){ 0 };
	g_mutex_lock(&shelf->lock);
	totals->files = shelf->files->len;
	for (guint i = 0; i < shelf->files->len; i++)
		totals->octets += g_array_index(shelf->files, struct shelf_file, i).octets;
	if (shelf->files->len) {
		const struct shelf_file *oldest = &g_array_index(shelf->files, struct shelf_file, 0);
		totals->oldest = oldest->name.begin;
		totals->oldest_closed = oldest->closed;
	}
	g_mutex_unlock(&shelf->lock);
}

/* Takes the oldest out of the list, so that nobody begins to compress it. */
static bool
take_oldest(struct shelf *shelf, struct file_name *name)
{
	g_mutex_lock(&shelf->lock);
	const bool any = shelf->files->len > 0;
	if (any) {
		*name = g_array_index(shelf->files, struct shelf_file, 0).name;
		g_array_remove_index(shelf->files, 0);
	}
	g_mutex_unlock(&shelf->lock);
	return any;
}

/* The line first: of one that is there, and was to go, a next start knows that it is to go. No line for what somebody
 * else removed. */
bool
shelf_expire(struct shelf *shelf, enum store_expiry why)
{
	struct file_name name;

	if (!take_oldest(shelf, &name))
		return false;
	struct chain_line line = { .name = with_kind(&name, FILE_PLAIN), .what = CHAIN_AGE + why };
	if (is_there(shelf, &name))
		add_line(shelf, &line);
	else
		g_warning("%s: the file with the number %" G_GUINT64_FORMAT " was removed by somebody", shelf->directory, name.number);
	for (unsigned kind = 0; kind < FILE_KINDS; kind++) {
		const struct file_name one = with_kind(&name, kind);
		remove_file(shelf, &one);
	}
	return true;
}

/* Compressing. */

static bool
find_plain(struct shelf *shelf, struct file_name *name)
{
	const int64_t now = time(NULL);
	bool found = false;

	g_mutex_lock(&shelf->lock);
	for (guint i = 0; i < shelf->files->len && !found && shelf->chained; i++) {
		const struct shelf_file *file = &g_array_index(shelf->files, struct shelf_file, i);
		found = file->name.kind == FILE_PLAIN && file->wait <= now;
		*name = file->name;
	}
	g_mutex_unlock(&shelf->lock);
	return found;
}

static struct shelf_file *
find_number(struct shelf *shelf, uint64_t number)
{
	for (guint i = 0; i < shelf->files->len; i++) {
		struct shelf_file *file = &g_array_index(shelf->files, struct shelf_file, i);
		if (file->name.number == number)
			return file;
	}
	return NULL;
}

/* Retention may have been quicker. Under the lock, so that it is not between these two. */
static bool
take_place(struct shelf *shelf, const struct file_name *packed, uint64_t octets)
{
	const struct file_name packing = with_kind(packed, FILE_PACKING), plain = with_kind(packed, FILE_PLAIN);

	g_mutex_lock(&shelf->lock);
	struct shelf_file *file = find_number(shelf, packed->number);
	const bool good = file && rename_file(shelf, &packing, packed);
	if (good) {
		file->name = *packed;
		file->octets = octets;
		remove_file(shelf, &plain);
	}
	g_mutex_unlock(&shelf->lock);
	return good;
}

/* With the time of the original: its age is counted from that. */
static bool
finish_packed(struct shelf *shelf, int from, int to, const struct file_name *packed)
{
	struct stat before, after;

	if (fstat(from, &before) < 0)
		return false;
	const struct timespec times[] = { before.st_atim, before.st_mtim };
	if (futimens(to, times) < 0 || fsync(to) < 0 || fstat(to, &after) < 0)
		return false;
	return take_place(shelf, packed, after.st_size);
}

/* A disk may have room again; a file that is no file of messages stays one. */
static void
give_up(struct shelf *shelf, const struct file_name *plain, bool for_ever, const char *why)
{
	char text[FILE_NAME_OCTETS];
	bool tell = false;

	g_mutex_lock(&shelf->lock);
	struct shelf_file *file = find_number(shelf, plain->number);
	if (file) {
		file->wait = for_ever ? INT64_MAX : time(NULL) + PACK_AGAIN;
		tell = !file->told;
		file->told = true;
	}
	g_mutex_unlock(&shelf->lock);
	file_name_print(plain, text);
	if (tell)
		g_warning("%s/%s: is not compressed: %s", shelf->directory, text, why);
}

static bool
pack_one(struct shelf *shelf, const struct file_name *plain, int from, int to, enum pack_how how, const bool *stop)
{
	static const enum file_kind kinds[PACK_HOWS] = { [PACK_COLUMNS] = FILE_COLUMNS, [PACK_ZSTD] = FILE_ZSTD };
	const struct file_name packing = with_kind(plain, FILE_PACKING), packed = with_kind(plain, kinds[how]);
	g_autoptr(GError) error = NULL;

	if (pack_file(from, to, how, stop, &error) && finish_packed(shelf, from, to, &packed)) {
		shelf_sync(shelf);
		return true;
	}
	const int number = errno;
	remove_file(shelf, &packing);
	if (!error || error->code != EX_TEMPFAIL)
		give_up(shelf, plain, error && error->code == EX_DATAERR, error ? error->message : g_strerror(number));
	return false;
}

bool
shelf_pack(struct shelf *shelf, enum pack_how how, const bool *stop)
{
	struct file_name plain;
	char text[FILE_NAME_OCTETS];

	if (!find_plain(shelf, &plain))
		return false;
	const struct file_name packing = with_kind(&plain, FILE_PACKING);
	file_name_print(&plain, text);
	const int from = openat(shelf->fd, text, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	file_name_print(&packing, text);
	const int to = openat(shelf->fd, text, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0640);
	const bool good = from >= 0 && to >= 0 && pack_one(shelf, &plain, from, to, how, stop);
	if (from < 0 || to < 0)
		give_up(shelf, &plain, false, g_strerror(errno));
	if (from >= 0)
		close(from);
	if (to >= 0)
		close(to);
	return good;
}
