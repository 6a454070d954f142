/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "archive/content.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zstd.h>
#include <zstd_errors.h>

#include "archive/check.h"
#include "archive/columns.h"
#include "archive/index.h"
#include "archive/pack.h"
#include "archive/reader.h"
#include "error.h"

enum {
	PIECE = 128 << 10,
	IPFIX_VERSION = 10,
};

struct reading {
	int fd;
	content_told *told;
	content_taken *taken;       /* or NULL */
	void *data;
	bool refused;               /* whoever takes it has enough */
	GByteArray *held;           /* not handed on yet */
	struct digest *digest;
	struct check *check;
	struct index_maker *maker;  /* NULL: of a plain file */
	GByteArray *message;        /* the beginning of one that is not whole yet */
	uint64_t octets;
	uint64_t block;             /* where it lies, if packed */
	bool packed;
	ZSTD_DCtx *context;         /* for packed ones */
	struct columns *columns;
	GByteArray *whole;          /* a block in columns, and its messages */
	GByteArray *plain;
	bool unsound;               /* said, and of this stretch no more is to be */
	uint8_t in[PIECE];
	uint8_t out[PIECE];
};

G_GNUC_PRINTF(3, 4)
static void
tell(const struct reading *reading, uint64_t octet, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	g_autofree char *what = g_strdup_vprintf(format, arguments);
	va_end(arguments);
	g_autofree char *text = g_strdup_printf("octet %" G_GUINT64_FORMAT ": %s", octet, what);
	reading->told(text, reading->data);
}

/* Where a message is to be found that begins at this octet of all. */
static void
tell_unsound(struct reading *reading, uint64_t octet, const char *what)
{
	reading->unsound = true;
	if (reading->packed)
		tell(reading, reading->block, "in this block, decompressed octet %" G_GUINT64_FORMAT ": %s", octet, what);
	else
		tell(reading, octet, "%s", what);
}

/* The octets of the message that begins at at; zero: there is none, or not all of it. */
static size_t
whole_message(struct reading *reading, size_t at, uint64_t octet)
{
	const size_t left = reading->message->len - at;

	if (left < MESSAGE_HEADER)
		return 0;
	const size_t octets = check_header(reading->message->data + at, NULL);
	if (!octets)
		tell_unsound(reading, octet, "not an IPFIX message");
	return octets <= left ? octets : 0;
}

static void
take_messages(struct reading *reading)
{
	GByteArray *message = reading->message;
	struct soundness soundness;
	size_t at = 0, octets;

	while (!reading->unsound) {
		const uint64_t octet = reading->octets - message->len + at;
		g_autoptr(GError) error = NULL;
		if (!(octets = whole_message(reading, at, octet)))
			break;
		if (reading->maker)
			index_add(reading->maker, message->data + at, octets);
		if (!check_message(reading->check, message->data + at, octets, &soundness, &error))
			tell_unsound(reading, octet, error->message);
		at += octets;
	}
	g_byte_array_remove_range(message, 0, at);
}

/* Octets of which it is known that they are right, or never will be. */
static void
hand_on(struct reading *reading)
{
	const GByteArray *held = reading->held;

	if (held->len && !reading->refused)
		reading->refused = !reading->taken(held->data, held->len, reading->data);
	g_byte_array_set_size(reading->held, 0);
}

static void
hold(struct reading *reading, const uint8_t *octets, size_t n)
{
	if (reading->held->len + n > PACK_BLOCK_MOST)
		hand_on(reading);
	g_byte_array_append(reading->held, octets, n);
}

static void
take(struct reading *reading, const uint8_t *octets, size_t n)
{
	digest_add(reading->digest, octets, n);
	reading->octets += n;
	if (reading->taken)
		hold(reading, octets, n);
	if (reading->unsound)
		return;
	g_byte_array_append(reading->message, octets, n);
	take_messages(reading);
}

/* Nothing of what came before is of use behind an octet that is wrong. */
static void
restart(struct reading *reading)
{
	g_byte_array_set_size(reading->message, 0);
	g_byte_array_set_size(reading->held, 0);
	reading->unsound = false;
}

static void
end_stretch(struct reading *reading)
{
	if (!reading->unsound && reading->message->len)
		tell_unsound(reading, reading->octets - reading->message->len, "ends inside a message");
	hand_on(reading);
	restart(reading);
}

static ssize_t
read_at(struct reading *reading, size_t n, uint64_t at)
{
	ssize_t got;

	do
		got = pread(reading->fd, reading->in, MIN(n, PIECE), at);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		tell(reading, at, "%s", g_strerror(errno));
	return got;
}

static struct reading *
new_reading(int fd, content_told *told, content_taken *taken, void *data)
{
	struct reading *reading = g_new0(struct reading, 1);

	reading->fd = fd;
	reading->told = told;
	reading->taken = taken;
	reading->data = data;
	reading->digest = digest_new();
	reading->check = check_new(READER_LOCAL_ENTERPRISE);
	reading->message = g_byte_array_new();
	reading->held = g_byte_array_new();
	return reading;
}

static void
end_reading(struct reading *reading, struct content *content)
{
	content->octets = reading->octets;
	digest_print(reading->digest, content->sum);
	digest_free(reading->digest);
	check_free(reading->check);
	g_byte_array_unref(reading->message);
	g_byte_array_unref(reading->held);
	index_maker_free(reading->maker);
	ZSTD_freeDCtx(reading->context);
	columns_free(reading->columns);
	g_clear_pointer(&reading->whole, g_byte_array_unref);
	g_clear_pointer(&reading->plain, g_byte_array_unref);
	g_free(reading);
}

static void
read_plain(struct reading *reading)
{
	ssize_t n = 0;

	while (!reading->refused && (n = read_at(reading, PIECE, reading->octets)) > 0) {
		take(reading, reading->in, n);
		hand_on(reading);
	}
	if (n == 0)
		end_stretch(reading);
}

/* Packed. */

/* Feeds what was read to zstd; true if the frame ended, with what is left of the input; *result is what zstd said. */
static bool
unpack_piece(struct reading *reading, ZSTD_inBuffer *in, size_t *result)
{
	do {
		ZSTD_outBuffer out = { reading->out, sizeof reading->out, 0 };
		*result = ZSTD_decompressStream(reading->context, &out, in);
		if (ZSTD_isError(*result))
			return false;
		take(reading, reading->out, out.pos);
		if (*result == 0)
			return true;
		/* A full buffer may mean that there is more without any more input. */
		if (reading->refused || (out.pos < out.size && in->pos == in->size))
			return false;
	} while (true);
}

static void
tell_damaged(struct reading *reading, const char *why)
{
	tell(reading, reading->block, "this block is damaged: %s", why);
}

static const char *
frame_error(size_t result)
{
	return ZSTD_getErrorCode(result) == ZSTD_error_prefix_unknown ? "it begins like none" : ZSTD_getErrorName(result);
}

/* Octets of the frame at at; zero: it is not whole, which is said. */
static uint64_t
unpack_frame(struct reading *reading, uint64_t at, uint64_t end)
{
	uint64_t done = 0;
	size_t result = 0;
	ssize_t n = 0;

	ZSTD_DCtx_reset(reading->context, ZSTD_reset_session_only);
	while (!reading->refused && at + done < end && (n = read_at(reading, end - at - done, at + done)) > 0) {
		ZSTD_inBuffer in = { reading->in, n, 0 };
		const bool ended = unpack_piece(reading, &in, &result);
		done += in.pos;
		if (ended)
			return done;
		if (ZSTD_isError(result)) {
			tell_damaged(reading, frame_error(result));
			return 0;
		}
	}
	if (n >= 0 && !reading->refused)
		tell(reading, at, "the file ends inside this block");
	return 0;
}

static bool
read_whole(struct reading *reading, uint64_t at, size_t octets)
{
	g_byte_array_set_size(reading->whole, octets);
	for (size_t had = 0; had < octets;) {
		const ssize_t n = read_at(reading, octets - had, at + had);
		if (n == 0)
			tell(reading, at, "the file ends inside this block");
		if (n <= 0)
			return false;
		memcpy(reading->whole->data + had, reading->in, n);
		had += n;
	}
	return true;
}

/* As unpack_frame does it. The sizes are none that there is no room for: columns_measure saw to that. */
static uint64_t
unpack_columns(struct reading *reading, const struct columns_size *size, uint64_t at, uint64_t end)
{
	g_autoptr(GError) error = NULL;

	if (size->packed > end - at) {
		tell(reading, at, "the file ends inside this block");
		return 0;
	}
	if (!read_whole(reading, at, size->packed))
		return 0;
	g_byte_array_set_size(reading->plain, size->plain);
	if (!columns_open(reading->columns, reading->whole->data, reading->whole->len, &error)
	    || !columns_unpack(reading->columns, reading->plain->data, &error)) {
		tell_damaged(reading, error->message);
		return 0;
	}
	take(reading, reading->plain->data, reading->plain->len);
	return size->packed;
}

static uint64_t
unpack_block(struct reading *reading, uint64_t at, uint64_t end)
{
	struct columns_size size;

	reading->block = at;
	if (read_at(reading, MIN(COLUMNS_HEAD, end - at), at) == COLUMNS_HEAD && columns_measure(reading->in, &size))
		return unpack_columns(reading, &size, at, end);
	return unpack_frame(reading, at, end);
}

/* Where to go on behind a damaged block; end, if nobody knows. */
static uint64_t
next_block(const struct index *index, uint64_t at, uint64_t end)
{
	for (size_t i = 0; index && i < index_blocks(index); i++)
		if (index_block(index, i)->offset > at)
			return index_block(index, i)->offset;
	return end;
}

static bool
is_skippable(struct reading *reading, uint64_t at)
{
	return read_at(reading, 4, at) == 4 && reading->in[1] == 0x2a && reading->in[2] == 0x4d && reading->in[3] == 0x18;
}

/* True if all of them were read and are whole. */
static bool
unpack_blocks(struct reading *reading, const struct index *index, uint64_t end)
{
	bool good = true;
	uint64_t at = 0;

	while (at < end && !reading->refused && !(!index && is_skippable(reading, at))) {
		const uint64_t before = reading->octets, packed = unpack_block(reading, at, end);
		if (packed) {
			end_stretch(reading);
			index_end_block(reading->maker, at, packed, reading->octets - before);
		} else
			restart(reading);
		good &= packed > 0;
		at = packed ? at + packed : next_block(index, at, end);
	}
	return good && !reading->refused;
}

/* It was made of what is in the blocks, and can be made again. */
static void
compare_index(struct reading *reading, const struct index *index)
{
	g_autoptr(GByteArray) again = g_byte_array_new();
	const uint64_t begin = index_offset(index);
	ssize_t n;

	index_print(reading->maker, begin, again);
	for (uint64_t at = 0; at < again->len; at += n) {
		n = read_at(reading, again->len - at, begin + at);
		if (n < 0)
			return;
		if (n == 0 || memcmp(reading->in, again->data + at, n) != 0) {
			tell(reading, begin, "the index does not say what is in the file");
			return;
		}
	}
}

static void
read_packed(struct reading *reading)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(index_t) index = index_read(reading->fd, &error);
	struct stat status;

	reading->packed = true;
	reading->maker = index_maker_new();
	reading->context = ZSTD_createDCtx();
	reading->columns = columns_new();
	reading->whole = g_byte_array_new();
	reading->plain = g_byte_array_new();
	if (!index)
		reading->told(error->message, reading->data);
	const uint64_t size = fstat(reading->fd, &status) == 0 ? status.st_size : 0;
	if (unpack_blocks(reading, index, index ? index_offset(index) : size) && index)
		compare_index(reading, index);
}

void
content_read_plain(int fd, struct content *content, content_told *told, void *data)
{
	struct reading *reading = new_reading(fd, told, NULL, data);

	read_plain(reading);
	end_reading(reading, content);
}

void
content_read_packed(int fd, struct content *content, content_told *told, void *data)
{
	struct reading *reading = new_reading(fd, told, NULL, data);

	read_packed(reading);
	end_reading(reading, content);
}

/* A file that is empty, or torn so early, is plain. */
static bool
begins_plain(struct reading *reading)
{
	const ssize_t n = read_at(reading, MESSAGE_HEADER, 0);

	return n == 0 || (n > 1 && reading->in[0] == 0 && reading->in[1] == IPFIX_VERSION);
}

void
content_unpack(int fd, struct content *content, content_told *told, content_taken *taken, void *data)
{
	struct reading *reading = new_reading(fd, told, taken, data);

	if (begins_plain(reading))
		read_plain(reading);
	else
		read_packed(reading);
	end_reading(reading, content);
}
