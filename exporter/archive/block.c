/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "archive/block.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#include "archive/check.h"
#include "archive/columns.h"
#include "archive/index.h"
#include "archive/listing.h"
#include "archive/reader.h"
#include "error.h"

enum {
	JOBS_MOST = 8,              /* frames that are decompressed at once */
	BLOCKS = JOBS_MOST + 3,     /* besides them one being looked at, two waiting */
	CHUNK = 4 << 20,            /* of a plain file, at once */
	WHOLE = 16 << 20,           /* a frame with more is given out piece by piece, before its checksum is known */
	INPUT = 1 << 17,
	MESSAGE_MOST = UINT16_MAX,
	SET_HEADER = 4,
	MAGIC_OCTETS = 4,
};

/* A packed block whose place and size are known. */
struct job {
	struct index_block row;
	bool columns;
	ZSTD_DCtx *zstd;
	struct block *block;
	GError *error;
	bool done;
};

struct block_reader {
	const struct scan_options *options;
	GArray *files;              /* struct listed */
	GThread *thread;
	GAsyncQueue *full;
	GAsyncQueue *empty;
	struct block *shown;        /* by block_reader_next last */
	struct block block[BLOCKS];
	gint stop;

	/* The thread's own. */
	struct scan_statistics statistics;
	ZSTD_DCtx *zstd;            /* of frames one after the other */
	GThreadPool *pool;
	GMutex lock;                /* for done alone */
	GCond changed;
	struct job job[JOBS_MOST];  /* a ring, of the order in which blocks are given out */
	unsigned jobs_most;
	unsigned first_job;
	unsigned n_jobs;
	const struct listed *file;
	int fd;
	bool part;                  /* it is being written, and may end anywhere */
	bool packed;
	bool columns;               /* packed in columns */
	bool indexed;
	bool begun;                 /* a block of this file was given out */
	bool lossy;                 /* what comes next stands behind something that was lost */
	uint64_t frame;
	GByteArray *pending;        /* octets that are no whole messages yet */
	uint64_t pending_at;        /* of the first of them: in the file, or in the frame's content */
	uint64_t lost;              /* octet where sense ended; UINT64_MAX: it did not */
};

/* Handing on */

static bool
is_stopped(struct block_reader *reader)
{
	return g_atomic_int_get(&reader->stop);
}

static struct block *
take_empty(struct block_reader *reader)
{
	struct block *block = g_async_queue_pop(reader->empty);

	block->n = 0;
	block->records = 0;
	block->columns = NULL;
	g_clear_pointer(&block->text, g_free);
	return block;
}

static void
give(struct block_reader *reader, struct block *block, enum block_kind kind)
{
	block->kind = kind;
	block->name = reader->file ? reader->file->name : NULL;
	block->path = reader->file ? reader->file->path : 0;
	block->packed = reader->packed;
	block->indexed = reader->indexed;
	block->frame = reader->frame;
	block->so_far = reader->statistics;
	if (kind == BLOCK_MESSAGES) {
		block->begins = !reader->begun;
		block->behind_loss = reader->lossy;
		reader->begun = true;
		reader->lossy = false;
	}
	/* Once nobody takes blocks any more, none must be left but those that go round. */
	g_async_queue_push(is_stopped(reader) ? reader->empty : reader->full, block);
}

static void
block_reserve(struct block *block, size_t octets)
{
	if (block->room_octets < octets) {
		g_free(block->room);
		block->room = g_malloc(octets);
		block->room_octets = octets;
	}
	block->octets = block->room;
}

G_GNUC_PRINTF(2, 3)
static void
tell_trouble(struct block_reader *reader, const char *format, ...)
{
	struct block *block = take_empty(reader);
	va_list arguments;

	va_start(arguments, format);
	g_autofree char *what = g_strdup_vprintf(format, arguments);
	va_end(arguments);
	block->text = g_strdup_printf("%s: %s", reader->file->name, what);
	reader->lossy = true;
	give(reader, block, BLOCK_TROUBLE);
}

/* Octets into messages */

/* Octets of the whole messages these begin with; *last: where the last of them begins; *bad: what follows them is no
 * message, rather than less than one. */
static size_t
measure(const uint8_t *octets, size_t n, size_t *last, bool *bad)
{
	size_t at = 0, message = 1;

	*last = 0;
	while (n - at >= MESSAGE_HEADER && (message = check_header(octets + at, NULL)) && message <= n - at) {
		*last = at;
		at += message;
	}
	*bad = n - at >= MESSAGE_HEADER && !message;
	return at;
}

/* Does another message follow, as far as there is any of it? */
static bool
goes_on(const uint8_t *at, size_t n, bool end)
{
	static const uint8_t version[] = { 0, 10 };

	if (n >= MESSAGE_HEADER)
		return check_header(at, NULL);
	return end && memcmp(at, version, MIN(n, sizeof version)) == 0;
}

/* Could a message begin here? One that could is followed by another or by the end. */
static bool
is_plausible(const uint8_t *at, size_t n, bool end)
{
	const size_t message = n >= MESSAGE_HEADER + SET_HEADER ? check_header(at, NULL) : 0;

	if (message < MESSAGE_HEADER + SET_HEADER || message > n)
		return false;
	const uint8_t *set = at + MESSAGE_HEADER;
	const unsigned id = set[0] << 8 | set[1], octets = set[2] << 8 | set[3];
	if ((id < 256 && id != 2 && id != 3) || octets < SET_HEADER || octets > message - MESSAGE_HEADER)
		return false;
	return goes_on(at + message, n - message, end);
}

/* Where sense could begin again; n: nowhere up to there. */
static size_t
find_message(const uint8_t *octets, size_t n, size_t from, bool end)
{
	for (size_t at = from; at < n; at++) {
		const uint8_t *zero = memchr(octets + at, 0, n - at);
		if (!zero)
			return n;
		at = zero - octets;
		if (is_plausible(zero, n - at, end))
			return at;
	}
	return n;
}

static void
drop_pending(struct block_reader *reader, size_t octets)
{
	g_byte_array_remove_range(reader->pending, 0, octets);
	reader->pending_at += octets;
}

static void
give_messages(struct block_reader *reader, size_t octets)
{
	struct block *block = take_empty(reader);

	block_reserve(block, octets);
	memcpy(block->room, reader->pending->data, octets);
	block->n = octets;
	block->offset = reader->pending_at;
	give(reader, block, BLOCK_MESSAGES);
}

static void
tell_loss(struct block_reader *reader, uint64_t from, const char *what)
{
	g_autofree char *frame = reader->packed ? g_strdup_printf("frame at octet %" G_GUINT64_FORMAT ": ", reader->frame)
	                                        : g_strdup("");

	tell_trouble(reader, "%soctet %" G_GUINT64_FORMAT ": %s", frame, from, what);
}

/* Leaves out octets that are no messages. A length that is wrong leads past messages that are right, so the search
 * begins inside the last one that fitted. False: more octets are needed first. */
static bool
skip_damage(struct block_reader *reader, size_t from, bool end)
{
	const size_t n = reader->pending->len, most = end ? n : n - MIN(n, MESSAGE_MOST + MESSAGE_HEADER);
	const size_t found = MIN(find_message(reader->pending->data, n, from, end), end ? n : MAX(most, from));
	const bool again = found < n && is_plausible(reader->pending->data + found, n - found, end);

	drop_pending(reader, found);
	if (!again && !end)
		return false;
	if (again) {
		g_autofree char *text = g_strdup_printf("no message; the next begins at octet %" G_GUINT64_FORMAT,
		                                        reader->pending_at);
		tell_loss(reader, reader->lost, text);
	} else {
		tell_loss(reader, reader->lost, "no whole message from here to the end");
	}
	reader->lost = UINT64_MAX;
	return true;
}

/* Gives out what is whole; at the end nothing stays. */
static void
split(struct block_reader *reader, bool end)
{
	size_t last;
	bool bad;

	while (reader->pending->len && !is_stopped(reader)) {
		if (reader->lost != UINT64_MAX && !skip_damage(reader, 0, end))
			return;
		const size_t n = reader->pending->len, whole = measure(reader->pending->data, n, &last, &bad);
		const uint64_t at = reader->pending_at + whole;
		if (whole)
			give_messages(reader, whole);
		if (whole == n || (!bad && !end)) {
			drop_pending(reader, whole);
			return;
		}
		/* What is being written may end inside a message. */
		if (!bad && reader->part && find_message(reader->pending->data, n, whole + 1, true) == n) {
			drop_pending(reader, n);
			return;
		}
		reader->lost = at;
		if (!skip_damage(reader, whole ? last + 1 : 1, end))
			return;
	}
}

/* Plain files */

/* Octets that came; zero: the end, or an error, which is told. */
static size_t
read_more(struct block_reader *reader, uint8_t *to, size_t n, off_t offset)
{
	ssize_t got;

	do
		got = pread(reader->fd, to, n, offset);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		tell_trouble(reader, "octet %jd: %s", (intmax_t)offset, g_strerror(errno));
	else
		reader->statistics.octets += got;
	return MAX(got, 0);
}

static void
read_plain(struct block_reader *reader)
{
	GByteArray *pending = reader->pending;
	off_t offset = 0;
	size_t got;

	do {
		const guint had = pending->len;
		g_byte_array_set_size(pending, had + CHUNK);
		got = read_more(reader, pending->data + had, CHUNK, offset);
		g_byte_array_set_size(pending, had + got);
		offset += got;
		split(reader, !got);
	} while (got && !is_stopped(reader));
}

/* Packed files */

/* A block that has all of a frame's content, which is almost always whole messages: not to be copied once more. */
static void
give_frame(struct block_reader *reader, struct block *block)
{
	size_t last;
	bool bad;

	reader->statistics.blocks++;
	if (block->columns || measure(block->octets, block->n, &last, &bad) == block->n) {
		block->offset = 0;
		if (block->n)
			give(reader, block, BLOCK_MESSAGES);
		else
			g_async_queue_push(reader->empty, block);
		return;
	}
	g_byte_array_append(reader->pending, block->octets, block->n);
	g_async_queue_push(reader->empty, block);
	split(reader, true);
	g_byte_array_set_size(reader->pending, 0);
}

static void
open_frame(struct job *job)
{
	const struct index_block *row = &job->row;
	struct block *block = job->block;

	block_reserve(block, row->plain);
	block->n = ZSTD_decompressDCtx(job->zstd, block->room, row->plain, block->frame_room, row->packed);
	if (block->n != row->plain)
		g_set_error_literal(&job->error, PEERFLOW_ERROR, EX_DATAERR,
		                    ZSTD_isError(block->n) ? ZSTD_getErrorName(block->n) : "its content has another length");
}

static void
open_columns(struct job *job)
{
	struct block *block = job->block;
	size_t last;
	bool bad;

	if (!columns_open(block->opened, block->frame_room, job->row.packed, &job->error))
		return;
	block->columns = block->opened;
	block->octets = columns_skeleton(block->columns, &block->n);
	if (measure(block->octets, block->n, &last, &bad) != block->n)
		g_set_error_literal(&job->error, PEERFLOW_ERROR, EX_DATAERR, "its skeleton is not one of messages");
}

static void
work(gpointer data, gpointer user)
{
	struct block_reader *reader = user;
	struct job *job = data;

	if (job->columns)
		open_columns(job);
	else
		open_frame(job);
	g_mutex_lock(&reader->lock);
	job->done = true;
	g_cond_signal(&reader->changed);
	g_mutex_unlock(&reader->lock);
}

static void
tell_lost_block(struct block_reader *reader, const struct index_block *row, const char *why)
{
	if (row->records)
		tell_trouble(reader, "frame at octet %" G_GUINT64_FORMAT ": %s: %" G_GUINT64_FORMAT " flows are lost", row->offset, why,
		             row->records);
	else
		tell_trouble(reader, "frame at octet %" G_GUINT64_FORMAT ": %s", row->offset, why);
}

/* Gives out what the oldest job decompressed; false if it is not what it should be, which is told. */
static bool
finish_job(struct block_reader *reader)
{
	struct job *job = &reader->job[reader->first_job];
	g_autoptr(GError) error = NULL;

	g_mutex_lock(&reader->lock);
	while (!job->done)
		g_cond_wait(&reader->changed, &reader->lock);
	g_mutex_unlock(&reader->lock);
	reader->first_job = (reader->first_job + 1) % reader->jobs_most;
	reader->n_jobs--;
	reader->frame = job->row.offset;
	reader->pending_at = 0;
	error = g_steal_pointer(&job->error);
	if (!error) {
		job->block->records = job->row.records;
		give_frame(reader, job->block);
		return true;
	}
	g_async_queue_push(reader->empty, job->block);
	tell_lost_block(reader, &job->row, error->message);
	return false;
}

static void
finish_jobs(struct block_reader *reader)
{
	while (reader->n_jobs)
		finish_job(reader);
}

static bool
is_likely(const struct job *job)
{
	if (job->columns)
		return job->row.packed <= 2 * (uint64_t)COLUMNS_MOST && job->row.plain <= COLUMNS_MOST;
	return job->row.packed <= ZSTD_compressBound(job->row.plain);
}

static bool
read_row(struct block_reader *reader, const struct job *job)
{
	struct block *block = job->block;
	const struct index_block *row = &job->row;

	if (!is_likely(job))
		return false;
	if (block->frame_octets < row->packed) {
		g_free(block->frame_room);
		block->frame_room = g_malloc(row->packed);
		block->frame_octets = row->packed;
	}
	return read_more(reader, block->frame_room, row->packed, row->offset) == row->packed;
}

/* Has the block decompressed, and what is before it given out, if it is time. */
static void
begin_job(struct block_reader *reader, const struct index_block *row)
{
	if (reader->n_jobs == reader->jobs_most)
		finish_job(reader);
	struct job *job = &reader->job[(reader->first_job + reader->n_jobs) % reader->jobs_most];
	job->row = *row;
	job->columns = reader->columns;
	job->block = take_empty(reader);
	if (read_row(reader, job)) {
		job->done = false;
		reader->n_jobs++;
		g_thread_pool_push(reader->pool, job, NULL);
		return;
	}
	g_async_queue_push(reader->empty, job->block);
	finish_jobs(reader);
	tell_trouble(reader, "frame at octet %" G_GUINT64_FORMAT ": its %" G_GUINT64_FORMAT " octets cannot be read",
	             row->offset, row->packed);
}

/* Frames one after the other as they come: of a file without an index, or of one too large to be held whole. */
struct frames {
	uint8_t input[INPUT];
	ZSTD_inBuffer in;
	off_t offset;               /* of the file, behind what is in input */
	bool end;
};

static bool
frames_fill(struct block_reader *reader, struct frames *frames)
{
	if (frames->in.pos < frames->in.size || frames->end)
		return !frames->end;
	const size_t got = read_more(reader, frames->input, INPUT, frames->offset);
	frames->in = (ZSTD_inBuffer){ frames->input, got, 0 };
	frames->offset += got;
	frames->end = !got;
	return got;
}

static uint64_t
frames_at(const struct frames *frames)
{
	return frames->offset - (frames->in.size - frames->in.pos);
}

static const uint8_t frame_magic[MAGIC_OCTETS] = { 0x28, 0xb5, 0x2f, 0xfd };     /* RFC 8878 section 3.1.1 */
static const uint8_t *const columns_magic = (const uint8_t *)COLUMNS_MAGIC;

/* Looks for the beginning of another frame or block behind that of a damaged one. */
static bool
frames_resume(struct block_reader *reader, struct frames *frames, const uint8_t magic[static MAGIC_OCTETS])
{
	unsigned matched = 0;

	frames->offset = reader->frame + 1;
	frames->end = false;
	frames->in = (ZSTD_inBuffer){ frames->input, 0, 0 };
	while (frames_fill(reader, frames)) {
		const uint8_t octet = frames->input[frames->in.pos++];
		matched = octet == magic[matched] ? matched + 1 : octet == magic[0];
		if (matched < MAGIC_OCTETS)
			continue;
		frames->offset = frames_at(frames) - MAGIC_OCTETS;
		frames->in = (ZSTD_inBuffer){ frames->input, 0, 0 };
		return true;
	}
	return false;
}

/* Decompresses one frame. False: it is damaged, or the file ends in it. */
static bool
unpack_next(struct block_reader *reader, struct frames *frames, struct block *block)
{
	size_t left = 1;

	ZSTD_DCtx_reset(reader->zstd, ZSTD_reset_session_only);
	reader->frame = frames_at(frames);
	reader->pending_at = 0;
	while (left) {
		if (!frames_fill(reader, frames))
			break;
		if (block->n == WHOLE) {
			g_byte_array_append(reader->pending, block->octets, block->n);
			split(reader, false);
			block->n = 0;
		}
		ZSTD_outBuffer out = { block->room, WHOLE, block->n };
		left = ZSTD_decompressStream(reader->zstd, &out, &frames->in);
		block->n = out.pos;
		if (ZSTD_isError(left) || is_stopped(reader))
			break;
	}
	if (!left)
		return true;
	tell_trouble(reader, "frame at octet %" G_GUINT64_FORMAT ": %s", reader->frame,
	             ZSTD_isError(left) ? ZSTD_getErrorName(left) : "the file ends in it");
	return false;
}

/* What a frame gave, of which some may have been given out already. */
static struct block *
give_unpacked(struct block_reader *reader, struct block *block)
{
	if (!reader->pending_at && !reader->pending->len) {
		give_frame(reader, block);
		return NULL;
	}
	g_byte_array_append(reader->pending, block->octets, block->n);
	split(reader, true);
	g_byte_array_set_size(reader->pending, 0);
	reader->statistics.blocks++;
	return block;
}

static void
unpack_frames(struct block_reader *reader, uint64_t from, bool only_one)
{
	g_autofree struct frames *frames = g_malloc0(sizeof *frames);
	struct block *block = NULL;

	frames->offset = from;
	while (!is_stopped(reader) && frames_fill(reader, frames)) {
		block = block ? block : take_empty(reader);
		block->n = 0;
		block_reserve(block, WHOLE);
		if (unpack_next(reader, frames, block)) {
			block = give_unpacked(reader, block);
		} else {
			g_byte_array_set_size(reader->pending, 0);
			if (only_one || !frames_resume(reader, frames, frame_magic))
				break;
		}
		if (only_one)
			break;
	}
	if (block)
		g_async_queue_push(reader->empty, block);
}

/* The block at this octet, of which no index tells. False: there is none, or it is damaged, which is told. */
static bool
open_next(struct block_reader *reader, struct index_block *row)
{
	uint8_t head[COLUMNS_HEAD];
	struct columns_size size;

	reader->frame = row->offset;
	const size_t got = read_more(reader, head, sizeof head, row->offset);
	if (got == sizeof head && columns_measure(head, &size)) {
		row->packed = size.packed;
		row->plain = size.plain;
		begin_job(reader, row);
		return reader->n_jobs && finish_job(reader);
	}
	tell_trouble(reader, "frame at octet %" G_GUINT64_FORMAT ": no block of columns begins here", row->offset);
	return false;
}

static bool
is_end(struct block_reader *reader, uint64_t offset)
{
	uint8_t magic[MAGIC_OCTETS];
	const size_t got = read_more(reader, magic, sizeof magic, offset);

	return !got || (got == sizeof magic && magic[1] == 0x2a && magic[2] == 0x4d && magic[3] == 0x18);
}

static void
walk_columns(struct block_reader *reader)
{
	g_autofree struct frames *frames = g_malloc0(sizeof *frames);
	struct index_block row = { 0 };

	while (!is_stopped(reader) && !is_end(reader, row.offset)) {
		if (open_next(reader, &row)) {
			row.offset += row.packed;
			continue;
		}
		reader->frame = row.offset;
		if (!frames_resume(reader, frames, columns_magic))
			return;
		row.offset = frames->offset;
	}
}

static bool
may_matter(const struct block_reader *reader, struct index *index, size_t i)
{
	const struct scan_options *options = reader->options;
	const struct index_block *row = index_block(index, i);

	if (row->gaps && options->gap)
		return row->plain;
	if (!row->plain || !index_may_overlap(index, i, options->first, options->last))
		return false;
	for (size_t n = 0; n < options->n_addresses; n++)
		if (index_may_have(index, i, options->addresses[n].family, &options->addresses[n].address))
			return true;
	return !options->n_addresses;
}

/* Also what is not read is known to be there. A block that may have anything says nothing of when. */
static void
note_times(struct block_reader *reader, const struct index_block *row)
{
	struct scan_statistics *statistics = &reader->statistics;

	if (!row->records || !row->first || row->last == UINT64_MAX)
		return;
	if (!statistics->earliest || row->first < statistics->earliest)
		statistics->earliest = row->first;
	statistics->latest = MAX(statistics->latest, row->last);
}

static void
read_indexed(struct block_reader *reader, struct index *index)
{
	size_t taken = 0;

	for (size_t i = 0; i < index_blocks(index) && !is_stopped(reader); i++) {
		const struct index_block *row = index_block(index, i);
		note_times(reader, row);
		if (!may_matter(reader, index, i)) {
			reader->statistics.blocks_skipped++;
			continue;
		}
		taken++;
		if (reader->columns || row->plain <= WHOLE) {
			begin_job(reader, row);
			continue;
		}
		finish_jobs(reader);
		reader->frame = row->offset;
		reader->pending_at = 0;
		unpack_frames(reader, row->offset, true);
	}
	finish_jobs(reader);
	if (taken)
		reader->statistics.files++;
	else
		reader->statistics.files_skipped++;
}

/* Does it know of the times of all flows? */
static bool
tells_times(const struct index *index)
{
	for (size_t i = 0; i < index_blocks(index); i++)
		if (!index_block(index, i)->first || index_block(index, i)->last == UINT64_MAX)
			return false;
	return true;
}

static void
read_packed(struct block_reader *reader)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(index_t) index = index_read(reader->fd, &error);

	if (index) {
		reader->indexed = tells_times(index);
		read_indexed(reader, index);
		return;
	}
	/* zstd alone makes files without one, which are none of an archive. */
	if (reader->file->archived || reader->columns)
		tell_trouble(reader, "%s", error->message);
	reader->statistics.files++;
	if (reader->columns)
		walk_columns(reader);
	else
		unpack_frames(reader, 0, false);
}

/* Files */

static bool
has_columns(const uint8_t head[static MAGIC_OCTETS], const char *name)
{
	return memcmp(head, columns_magic, MAGIC_OCTETS) == 0 || g_str_has_suffix(name, ".columns");
}

static bool
is_packed(const uint8_t head[static MAGIC_OCTETS], const char *name)
{
	const uint32_t magic = head[0] | head[1] << 8 | head[2] << 16 | (uint32_t)head[3] << 24;

	return magic == ZSTD_MAGICNUMBER || (magic & ZSTD_MAGIC_SKIPPABLE_MASK) == ZSTD_MAGIC_SKIPPABLE_START ||
	       g_str_has_suffix(name, ".zst");
}

/* Files of other exporters are left to libfixbuf: those that begin with a message in which no template has an element of
 * ours. */
static bool
is_foreign(const struct block_reader *reader)
{
	uint8_t message[MESSAGE_MOST];
	const ssize_t got = pread(reader->fd, message, sizeof message, 0);
	const size_t octets = got >= MESSAGE_HEADER ? check_header(message, NULL) : 0;
	struct soundness soundness = { 0 };

	if (reader->file->archived || !octets || (size_t)got < octets)
		return false;
	struct check *check = check_new(reader->options->enterprise);
	const bool sound = check_message(check, message, octets, &soundness, NULL);
	check_free(check);
	return sound && !soundness.own;
}

static void
read_file(struct block_reader *reader)
{
	uint8_t head[MAGIC_OCTETS] = { 0 };

	reader->part = g_str_has_suffix(reader->file->name, ".part");
	reader->begun = reader->lossy = reader->indexed = false;
	reader->lost = UINT64_MAX;
	reader->frame = reader->pending_at = 0;
	g_byte_array_set_size(reader->pending, 0);
	const bool readable = pread(reader->fd, head, sizeof head, 0) >= 0;
	reader->columns = readable && has_columns(head, reader->file->name);
	reader->packed = reader->columns || (readable && is_packed(head, reader->file->name));
	if (reader->packed) {
		read_packed(reader);
		return;
	}
	reader->statistics.files++;
	if (!is_foreign(reader)) {
		read_plain(reader);
		return;
	}
	struct block *block = take_empty(reader);
	block->text = g_strdup(reader->file->name);
	give(reader, block, BLOCK_FOREIGN);
}

static gpointer
read_all(gpointer data)
{
	struct block_reader *reader = data;

	for (guint i = 0; i < reader->files->len && !is_stopped(reader); i++) {
		reader->file = &g_array_index(reader->files, struct listed, i);
		if (!reader->file->name)
			continue;
		reader->fd = listing_open(reader->file);
		if (reader->fd >= 0) {
			read_file(reader);
			close(reader->fd);
		} else if (errno != ENOENT) {       /* what retention removes meanwhile is nobody's trouble */
			tell_trouble(reader, "%s", g_strerror(errno));
		}
	}
	if (!is_stopped(reader))
		give(reader, take_empty(reader), BLOCK_END);
	return NULL;
}

/* The other thread's side */

const struct block *
block_reader_next(struct block_reader *reader)
{
	if (reader->shown && reader->shown->kind == BLOCK_END)
		return reader->shown;
	if (reader->shown)
		g_async_queue_push(reader->empty, reader->shown);
	return reader->shown = g_async_queue_pop(reader->full);
}

static void
begin_jobs(struct block_reader *reader)
{
	reader->jobs_most = CLAMP(g_get_num_processors(), 1, JOBS_MOST);
	for (unsigned i = 0; i < reader->jobs_most + BLOCKS - JOBS_MOST; i++) {
		reader->block[i].opened = columns_new();
		g_async_queue_push(reader->empty, &reader->block[i]);
	}
	for (unsigned i = 0; i < reader->jobs_most; i++)
		reader->job[i].zstd = ZSTD_createDCtx();
	g_mutex_init(&reader->lock);
	g_cond_init(&reader->changed);
	reader->pool = g_thread_pool_new(work, reader, reader->jobs_most, false, NULL);
}

static void
end_jobs(struct block_reader *reader)
{
	g_thread_pool_free(reader->pool, false, true);
	g_mutex_clear(&reader->lock);
	g_cond_clear(&reader->changed);
	for (unsigned i = 0; i < reader->jobs_most; i++) {
		ZSTD_freeDCtx(reader->job[i].zstd);
		g_clear_error(&reader->job[i].error);
	}
}

struct block_reader *
block_reader_new(const struct scan_options *options, GError **error)
{
	struct block_reader *reader = g_new0(struct block_reader, 1);

	reader->options = options;
	reader->files = listing_new();
	reader->full = g_async_queue_new();
	reader->empty = g_async_queue_new();
	reader->pending = g_byte_array_new();
	reader->zstd = ZSTD_createDCtx();
	begin_jobs(reader);
	for (size_t i = 0; options->paths[i]; i++)
		if (!listing_add(reader->files, options->paths[i], i, error)) {
			block_reader_free(reader);
			return NULL;
		}
	reader->thread = g_thread_new("blocks", read_all, reader);
	return reader;
}

/* The thread waits for empty blocks alone, and gets them until it has seen that it is to stop. */
static void
stop_thread(struct block_reader *reader)
{
	gpointer block;

	g_atomic_int_set(&reader->stop, 1);
	if (reader->shown)
		g_async_queue_push(reader->empty, reader->shown);
	while ((block = g_async_queue_try_pop(reader->full)))
		g_async_queue_push(reader->empty, block);
	g_thread_join(reader->thread);
}

void
block_reader_free(struct block_reader *reader)
{
	if (!reader)
		return;
	if (reader->thread)
		stop_thread(reader);
	end_jobs(reader);
	for (unsigned i = 0; i < BLOCKS; i++) {
		columns_free(reader->block[i].opened);
		g_free(reader->block[i].room);
		g_free(reader->block[i].frame_room);
		g_free(reader->block[i].text);
	}
	ZSTD_freeDCtx(reader->zstd);
	g_async_queue_unref(reader->full);
	g_async_queue_unref(reader->empty);
	g_byte_array_unref(reader->pending);
	g_array_unref(reader->files);
	g_free(reader);
}
