/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "archive/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "archive/backlog.h"
#include "archive/file.h"
#include "error.h"

struct store {
	struct store_options options;
	char *directory;
	/* The caller's own. */
	uint64_t begun;             /* ms since 1970: first message since the last store_rotate; zero: none came */
	uint64_t given;             /* octets since then */

	GMutex lock;                /* of what follows, up to the end of status */
	GCond work;
	struct backlog backlog;
	size_t in_hand;             /* octets of the chunk that is being written */
	bool stop;                  /* once everything is written */
	struct store_status status;

	uint64_t mark;              /* atomic */
	GThread *writer;
	/* The writer's own. */
	int fd;
	struct file_name name;      /* of the open file */
	uint64_t offset;
	uint64_t next_number;
};

static char *
path_of(const struct store *store, const struct file_name *name)
{
	char text[FILE_NAME_OCTETS];

	file_name_print(name, text);
	return g_build_filename(store->directory, text, NULL);
}

static bool
open_part(struct store *store)
{
	store->name = (struct file_name){ g_get_real_time() / 1000, store->next_number, FILE_PART };
	g_autofree char *path = path_of(store, &store->name);

	store->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0640);
	store->offset = 0;
	store->next_number += store->fd >= 0;
	return store->fd >= 0;
}

static void
finish_file(struct store *store)
{
	struct file_name closed = store->name;

	if (store->fd < 0)
		return;
	closed.kind = FILE_PLAIN;
	g_autofree char *from = path_of(store, &store->name), *to = path_of(store, &closed);
	fdatasync(store->fd);
	close(store->fd);
	store->fd = -1;
	rename(from, to);
}

static bool
write_chunk(struct store *store, const struct chunk *chunk)
{
	if (chunk->begins)
		finish_file(store);
	if (store->fd < 0 && !open_part(store))
		return false;
	if (!file_write(store->fd, chunk->octets, chunk->used)) {
		if (ftruncate(store->fd, store->offset) < 0)
			g_warning("%s: %s", store->directory, g_strerror(errno));
		return false;
	}
	store->offset += chunk->used;
	__atomic_store_n(&store->mark, chunk->mark, __ATOMIC_RELEASE);
	return true;
}

static void
work_off(struct store *store)
{
	struct chunk *chunk = backlog_take(&store->backlog);

	store->in_hand = chunk->used;
	g_mutex_unlock(&store->lock);
	while (!write_chunk(store, chunk))
		g_usleep(G_USEC_PER_SEC);
	g_mutex_lock(&store->lock);
	store->in_hand = 0;
	store->status.written += chunk->used;
	backlog_done(&store->backlog, chunk);
	if (store->options.moved)
		g_source_set_ready_time(store->options.moved, 0);
}

static gpointer
writer_run(gpointer data)
{
	struct store *store = data;

	g_mutex_lock(&store->lock);
	while (!store->stop || store->backlog.first)
		if (store->backlog.first)
			work_off(store);
		else
			g_cond_wait(&store->work, &store->lock);
	g_mutex_unlock(&store->lock);
	finish_file(store);
	return NULL;
}

struct store *
store_open(const struct store_options *options, GError **error)
{
	if (g_mkdir_with_parents(options->directory, 0750) < 0) {
		g_set_error(error, PEERFLOW_ERROR, errno == EACCES ? EX_NOPERM : EX_OSERR, "%s: %s", options->directory,
		            g_strerror(errno));
		return NULL;
	}
	struct store *store = g_new0(struct store, 1);
	store->options = *options;
	store->directory = g_strdup(options->directory);
	store->fd = -1;
	store->next_number = 1;
	g_mutex_init(&store->lock);
	g_cond_init(&store->work);
	store->writer = g_thread_new("store", writer_run, store);
	return store;
}

size_t
store_room(const struct store *store)
{
	/* The lock alone changes in a store that the caller may not change. */
	struct store *own = (struct store *)store;

	g_mutex_lock(&own->lock);
	const size_t used = own->backlog.octets + own->in_hand;
	g_mutex_unlock(&own->lock);
	return used < STORE_QUEUE ? STORE_QUEUE - used : 0;
}

bool
store_write(struct store *store, const struct message *messages, size_t n)
{
	size_t octets = 0;

	for (size_t i = 0; i < n; i++)
		octets += messages[i].length;
	if (!octets)
		return true;
	if (store_room(store) < octets)
		return false;
	if (!store->begun)
		store->begun = g_get_real_time() / 1000;
	store->given += octets;
	g_mutex_lock(&store->lock);
	backlog_put(&store->backlog, messages, n);
	g_cond_signal(&store->work);
	g_mutex_unlock(&store->lock);
	return true;
}

void
store_rotate(struct store *store)
{
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
	g_mutex_lock(&store->lock);
	*status = store->status;
	status->queued = store->backlog.octets + store->in_hand;
	g_mutex_unlock(&store->lock);
	status->mark = store_mark(store);
}

void
store_close(struct store *store)
{
	if (!store)
		return;
	g_mutex_lock(&store->lock);
	store->stop = true;
	g_cond_signal(&store->work);
	g_mutex_unlock(&store->lock);
	g_thread_join(store->writer);
	backlog_clear(&store->backlog);
	g_mutex_clear(&store->lock);
	g_cond_clear(&store->work);
	g_free(store->directory);
	g_free(store);
}
