/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "archive/store.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "archive/backlog.h"
#include "archive/file.h"
#include "archive/shelf.h"
#include "error.h"

enum {
	SECOND = G_USEC_PER_SEC,
	MINUTE = 60 * G_USEC_PER_SEC,
	PACKER_NICE = 10,           /* writing comes first */
	PACKER_PAUSE = 15,          /* s, unless a file is closed: a disk may have room again */
};

struct store {
	struct store_options options;
	char *directory;
	struct shelf *shelf;
	/* The caller's own. */
	uint64_t begun;             /* ms since 1970: first message since the last store_rotate; zero: none came */
	uint64_t given;             /* octets since then */

	GMutex lock;                /* of what follows, up to status */
	GCond work;                 /* for the writer */
	GCond closed;               /* a file, for the packer */
	struct backlog backlog;
	size_t in_hand;             /* octets of the chunk that is being written */
	bool stop;                  /* once everything is written */
	struct store_status status;

	bool stop_packing;          /* atomic, as is the mark */
	uint64_t mark;
	GThread *writer, *packer;

	/* The writer's own. */
	struct store_memory own_memory; /* if the options have none */
	struct store_memory *memory;
	int fd;                     /* of the open file, or -1 */
	char *path;                 /* of the open file, so that a write allocates nothing; NULL: none was open yet */
	struct file_name name;
	uint64_t offset;
	struct digest *digest;      /* of the open file */
	uint64_t written_mark;      /* what the mark will be when it is safe */
	int64_t tick;               /* monotonic time of the next round of what is done every second */
	unsigned untold;            /* files that had to go since it was said; and when it may be said again */
	int64_t tell;
};

/* What is done every second, at most; it need not be told twice. */
static void
fail(struct store *store, const char *what)
{
	g_autofree char *text = g_strdup_printf("%s: %s: %s", store->directory, what, g_strerror(errno));

	g_mutex_lock(&store->lock);
	const bool told = store->status.failing && strcmp(store->status.error, text) == 0;
	store->status.failing = true;
	g_strlcpy(store->status.error, text, sizeof store->status.error);
	g_mutex_unlock(&store->lock);
	if (!told)
		g_warning("%s; it is tried again each second", text);
}

static void
recover(struct store *store)
{
	g_mutex_lock(&store->lock);
	const bool failed = store->status.failing;
	store->status.failing = false;
	g_mutex_unlock(&store->lock);
	if (failed)
		g_message("%s: can be written again", store->directory);
}

static void
move_mark(struct store *store)
{
	if (store->mark == store->written_mark)
		return;
	__atomic_store_n(&store->mark, store->written_mark, __ATOMIC_RELEASE);
	if (store->options.moved)
		g_source_set_ready_time(store->options.moved, 0);
}

/* From here on it is this note that the next process believes: all of it is there before it becomes the current one. */
static void
write_note(struct store *store, const char *path, uint64_t length, uint64_t after)
{
	struct store_memory *memory = store->memory;
	const uint32_t other = !(memory->current & 1);
	struct store_note *note = &memory->note[other];

	note->offset = store->offset;
	note->length = length;
	note->before = store->written_mark;
	note->after = after;
	g_strlcpy(note->path, path, sizeof note->path);
	__atomic_store_n(&memory->current, other, __ATOMIC_RELEASE);
}

/* What the caller may see of the writer's things. */
static void
publish(struct store *store)
{
	struct store_status *status = &store->status;

	g_mutex_lock(&store->lock);
	status->open[0] = '\0';
	if (store->fd >= 0)
		file_name_print(&store->name, status->open);
	status->open_octets = store->fd >= 0 ? store->offset : 0;
	g_strlcpy(status->head, shelf_head(store->shelf), sizeof status->head);
	g_mutex_unlock(&store->lock);
}

static bool
open_part(struct store *store)
{
	store->name = (struct file_name){ g_get_real_time() / SECOND * 1000, shelf_number(store->shelf), FILE_PART };
	g_free(store->path);
	store->path = shelf_path(store->shelf, &store->name);
	store->fd = shelf_create(store->shelf, &store->name);
	if (store->fd < 0)
		return false;
	store->offset = 0;
	digest_restart(store->digest);
	publish(store);
	return true;
}

/* True if there is none, or it is closed now. */
static bool
finish_file(struct store *store)
{
	if (store->fd < 0)
		return true;
	if (fdatasync(store->fd) < 0) {
		fail(store, "cannot be written");
		return false;
	}
	char sum[FILE_SUM];
	digest_print(store->digest, sum);
	if (!shelf_add(store->shelf, &store->name, store->offset, sum)) {
		fail(store, "a file cannot be closed");
		return false;
	}
	close(store->fd);
	store->fd = -1;
	write_note(store, "", 0, store->written_mark);
	move_mark(store);
	publish(store);
	g_mutex_lock(&store->lock);
	g_cond_signal(&store->closed);
	g_mutex_unlock(&store->lock);
	return true;
}

static bool
expire(struct store *store, enum store_expiry why)
{
	if (!shelf_expire(store->shelf, why))
		return false;
	g_mutex_lock(&store->lock);
	store->status.expired[why]++;
	g_mutex_unlock(&store->lock);
	return true;
}

static bool
has_room(const struct store *store, size_t octets)
{
	struct statvfs disk;

	return statvfs(store->directory, &disk) == 0 && (uint64_t)disk.f_bavail * disk.f_frsize >= octets;
}

/* On a small disk this goes on for ever: it is said once a minute. */
static void
tell_room(struct store *store, unsigned removed)
{
	store->untold += removed;
	if (!store->untold || g_get_monotonic_time() < store->tell)
		return;
	g_warning("%s: no room on the disk: %u of the oldest files were removed before their time", store->directory,
	          store->untold);
	store->untold = 0;
	store->tell = g_get_monotonic_time() + MINUTE;
}

/* The oldest files go until there is room for the write that failed; true if any did. */
static bool
make_room(struct store *store, size_t octets)
{
	unsigned removed = 0;

	while ((!removed || !has_room(store, octets)) && expire(store, STORE_EXPIRED_DISK))
		removed++;
	tell_room(store, removed);
	return removed;
}

/* What is there of a write that failed is no whole message. */
static bool
write_octets(struct store *store, const struct chunk *chunk)
{
	if (file_write(store->fd, chunk->octets, chunk->used))
		return true;
	const int number = errno;
	if (ftruncate(store->fd, store->offset) < 0)
		g_warning("%s: %s", store->directory, g_strerror(errno));
	errno = number;
	return false;
}

static bool
write_open(struct store *store, const struct chunk *chunk)
{
	if (store->fd < 0 && !open_part(store))
		return false;
	write_note(store, store->path, chunk->used, chunk->mark);
	return write_octets(store, chunk);
}

/* False: it is to be tried again in a second. */
static bool
write_chunk(struct store *store, const struct chunk *chunk)
{
	if (!write_open(store, chunk)) {
		const bool full = errno == ENOSPC || errno == EDQUOT;
		if (!full || !make_room(store, chunk->used) || !write_open(store, chunk)) {
			fail(store, "cannot be written");
			return false;
		}
	}
	digest_add(store->digest, chunk->octets, chunk->used);
	store->offset += chunk->used;
	store->written_mark = chunk->mark;
	if (store->options.sync == STORE_SYNC_FLOW && fdatasync(store->fd) < 0)
		fail(store, "cannot be written");
	else if (store->options.sync != STORE_SYNC_SECOND)
		move_mark(store);
	publish(store);
	return true;
}

static void
sync_second(struct store *store)
{
	if (store->mark == store->written_mark || store->options.sync == STORE_SYNC_ROTATE)
		return;
	if (store->fd >= 0 && fdatasync(store->fd) < 0)
		fail(store, "cannot be written");
	else
		move_mark(store);
}

/* Files whose time has come, and those that are too many. */
static void
retire(struct store *store)
{
	const int64_t now = g_get_real_time() / SECOND;
	const struct store_options *options = &store->options;
	struct shelf_totals totals;

	for (;;) {
		shelf_totals(store->shelf, &totals);
		if (!totals.files)
			return;
		if (options->retain && totals.oldest_closed + (int64_t)options->retain < now)
			expire(store, STORE_EXPIRED_AGE);
		else if (options->max_size && totals.octets + (store->fd >= 0 ? store->offset : 0) > options->max_size)
			expire(store, STORE_EXPIRED_SIZE);
		else
			return;
	}
}

static void
tick(struct store *store)
{
	if (g_get_monotonic_time() < store->tick)
		return;
	store->tick = g_get_monotonic_time() + SECOND;
	sync_second(store);
	shelf_flush(store->shelf);
	retire(store);
	tell_room(store, 0);
	publish(store);
}

/* With the lock, which others may have meanwhile; for so many seconds at most. */
static void
wait_for(struct store *store, GCond *condition, unsigned seconds)
{
	if (!store->stop)
		g_cond_wait_until(condition, &store->lock, g_get_monotonic_time() + seconds * SECOND);
}

/* Writes a chunk, which was taken from the backlog; false if it had to be given up because the store is to end. */
static bool
work_off(struct store *store, struct chunk *chunk)
{
	bool begun = !chunk->begins, written = false;

	for (;;) {
		begun = begun || finish_file(store);
		written = begun && write_chunk(store, chunk);
		tick(store);
		if (written)
			break;
		g_mutex_lock(&store->lock);
		wait_for(store, &store->work, 1);
		const bool stop = store->stop;
		g_mutex_unlock(&store->lock);
		if (stop)
			return false;
	}
	recover(store);
	return true;
}

/* False: there is none, and no more will come. */
static bool
take_chunk(struct store *store, struct chunk **chunk)
{
	g_mutex_lock(&store->lock);
	*chunk = backlog_take(&store->backlog);
	store->in_hand = *chunk ? (*chunk)->used : 0;
	const bool go_on = *chunk || !store->stop;
	const bool rotate = !*chunk && store->backlog.rotate && store->fd >= 0;
	g_mutex_unlock(&store->lock);
	/* Nothing came after store_rotate yet; the file need not wait for it. */
	if (*chunk || (rotate && finish_file(store)))
		return go_on;
	g_mutex_lock(&store->lock);
	if (!store->backlog.first)
		wait_for(store, &store->work, 1);
	g_mutex_unlock(&store->lock);
	return go_on;
}

static void
give_back(struct store *store, struct chunk *chunk, bool written)
{
	g_mutex_lock(&store->lock);
	store->in_hand = 0;
	store->status.written += written ? chunk->used : 0;
	backlog_done(&store->backlog, chunk);
	g_mutex_unlock(&store->lock);
	/* There may have been none. */
	if (store->options.moved)
		g_source_set_ready_time(store->options.moved, 0);
}

static gpointer
writer_run(gpointer data)
{
	struct store *store = data;
	struct chunk *chunk;
	bool good = true;

	while (good && take_chunk(store, &chunk)) {
		if (chunk) {
			good = work_off(store, chunk);
			give_back(store, chunk, good);
		} else
			tick(store);
	}
	finish_file(store);
	shelf_flush(store->shelf);
	return NULL;
}

static gpointer
packer_run(gpointer data)
{
	struct store *store = data;

	(void)setpriority(PRIO_PROCESS, syscall(SYS_gettid), PACKER_NICE);
	while (!__atomic_load_n(&store->stop_packing, __ATOMIC_RELAXED))
		if (!shelf_pack(store->shelf, store->options.pack, &store->stop_packing)) {
			g_mutex_lock(&store->lock);
			wait_for(store, &store->closed, PACKER_PAUSE);
			g_mutex_unlock(&store->lock);
		}
	return NULL;
}

static struct store *
new_store(const struct store_options *options, struct shelf *shelf, uint64_t mark, uint64_t cut)
{
	struct store *store = g_new0(struct store, 1);

	store->options = *options;
	store->directory = g_strdup(options->directory);
	store->options.directory = store->directory;
	if (options->moved)
		g_source_ref(options->moved);
	store->shelf = shelf;
	store->mark = store->written_mark = mark;
	store->status.cut = cut;
	store->memory = options->memory ? options->memory : &store->own_memory;
	store->fd = -1;
	store->digest = digest_new();
	g_mutex_init(&store->lock);
	g_cond_init(&store->work);
	g_cond_init(&store->closed);
	/* What the last process left is settled; it is not to be settled again when there is more in the file. */
	write_note(store, "", 0, mark);
	publish(store);
	return store;
}

struct store *
store_open(const struct store_options *options, GError **error)
{
	uint64_t mark, cut;

	if (g_mkdir_with_parents(options->directory, 0750) < 0) {
		g_set_error(error, PEERFLOW_ERROR, errno == EACCES || errno == EPERM ? EX_NOPERM : EX_OSERR,
		            "%s: cannot be made: %s", options->directory, g_strerror(errno));
		return NULL;
	}
	struct shelf *shelf = shelf_open(options->directory, options->memory, &mark, &cut, error);
	if (!shelf)
		return NULL;
	struct store *store = new_store(options, shelf, mark, cut);
	store->writer = g_thread_new("store", writer_run, store);
	store->packer = g_thread_new("pack", packer_run, store);
	return store;
}

/* The lock alone changes in a store that the caller may not change. */
static struct store *
lock(const struct store *store)
{
	struct store *own = (struct store *)store;

	g_mutex_lock(&own->lock);
	return own;
}

static size_t
room(const struct store *store)
{
	const size_t used = store->backlog.octets + store->in_hand;

	return used < STORE_QUEUE ? STORE_QUEUE - used : 0;
}

size_t
store_room(const struct store *store)
{
	struct store *own = lock(store);
	const size_t octets = room(own);

	g_mutex_unlock(&own->lock);
	return octets;
}

bool
store_write(struct store *store, const struct message *messages, size_t n)
{
	size_t octets = 0;

	for (size_t i = 0; i < n; i++)
		octets += messages[i].length;
	g_mutex_lock(&store->lock);
	const bool fits = room(store) >= octets;
	if (fits) {
		backlog_put(&store->backlog, messages, n);
		g_cond_signal(&store->work);
	}
	g_mutex_unlock(&store->lock);
	if (!fits || !octets)
		return fits;
	if (!store->begun)
		store->begun = g_get_real_time() / 1000;
	store->given += octets;
	return true;
}

void
store_rotate(struct store *store)
{
	if (!store->begun)
		return;
	g_mutex_lock(&store->lock);
	backlog_rotate(&store->backlog);
	g_cond_signal(&store->work);
	g_mutex_unlock(&store->lock);
	store->begun = store->given = 0;
}

bool
store_due(const struct store *store, uint64_t now)
{
	const uint64_t rotate = store->options.rotate * 1000;

	if (!store->begun)
		return false;
	return (store->options.rotate_size && store->given >= store->options.rotate_size)
	       || (rotate && now / rotate != store->begun / rotate);
}

uint64_t
store_mark(const struct store *store)
{
	return __atomic_load_n(&store->mark, __ATOMIC_ACQUIRE);
}

void
store_status(struct store *store, struct store_status *status)
{
	struct shelf_totals totals;

	shelf_totals(store->shelf, &totals);
	g_mutex_lock(&store->lock);
	*status = store->status;
	status->queued = store->backlog.octets + store->in_hand;
	g_mutex_unlock(&store->lock);
	status->files = totals.files;
	status->octets = totals.octets + status->open_octets;
	status->oldest = totals.oldest;
	status->lost_files = status->expired[STORE_EXPIRED_DISK];
	status->mark = store_mark(store);
}

void
store_close(struct store *store)
{
	if (!store)
		return;
	g_mutex_lock(&store->lock);
	store->stop = true;
	__atomic_store_n(&store->stop_packing, true, __ATOMIC_RELAXED);
	g_cond_signal(&store->work);
	g_cond_signal(&store->closed);
	g_mutex_unlock(&store->lock);
	g_thread_join(store->packer);
	g_thread_join(store->writer);
	if (store->fd >= 0)
		close(store->fd);
	shelf_free(store->shelf);
	backlog_clear(&store->backlog);
	digest_free(store->digest);
	g_clear_pointer(&store->options.moved, g_source_unref);
	g_mutex_clear(&store->lock);
	g_cond_clear(&store->work);
	g_cond_clear(&store->closed);
	g_free(store->directory);
	g_free(store->path);
	g_free(store);
}
