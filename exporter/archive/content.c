/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "archive/content.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zstd.h>

#include "archive/check.h"
#include "archive/index.h"
#include "archive/reader.h"
#include "error.h"

enum { PIECE = 128 << 10 };

struct reading {
	int fd;
	content_told *told;
	void *data;
	GChecksum *sum;
	struct check *check;
	struct index_maker *maker;  /* NULL: of a plain file */
	GByteArray *message;        /* the beginning of one that is not whole yet */
	uint64_t octets;
	uint64_t frame;             /* where it lies, if packed */
	bool packed;
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
		tell(reading, reading->frame, "in this frame, decompressed octet %" G_GUINT64_FORMAT ": %s", octet, what);
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

static void
take(struct reading *reading, const uint8_t *octets, size_t n)
{
	g_checksum_update(reading->sum, octets, n);
	reading->octets += n;
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
	reading->unsound = false;
}

static void
end_stretch(struct reading *reading)
{
	if (!reading->unsound && reading->message->len)
		tell_unsound(reading, reading->octets - reading->message->len, "ends inside a message");
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
new_reading(int fd, content_told *told, void *data)
{
	struct reading *reading = g_new0(struct reading, 1);

	reading->fd = fd;
	reading->told = told;
	reading->data = data;
	reading->sum = g_checksum_new(G_CHECKSUM_SHA256);
	reading->check = check_new(READER_LOCAL_ENTERPRISE);
	reading->message = g_byte_array_new();
	return reading;
}

static void
end_reading(struct reading *reading, struct content *content)
{
	content->octets = reading->octets;
	g_strlcpy(content->sum, g_checksum_get_string(reading->sum), sizeof content->sum);
	g_checksum_free(reading->sum);
	check_free(reading->check);
	g_byte_array_unref(reading->message);
	index_maker_free(reading->maker);
	g_free(reading);
}

void
content_read_plain(int fd, struct content *content, content_told *told, void *data)
{
	struct reading *reading = new_reading(fd, told, data);
	ssize_t n;

	while ((n = read_at(reading, PIECE, reading->octets)) > 0)
		take(reading, reading->in, n);
	if (n == 0)
		end_stretch(reading);
	end_reading(reading, content);
}

/* Packed. */

/* Feeds what was read to zstd; true if the frame ended, with what is left of the input; *left is zero else. */
static bool
unpack_piece(struct reading *reading, ZSTD_DCtx *context, ZSTD_inBuffer *in, size_t *result)
{
	do {
		ZSTD_outBuffer out = { reading->out, sizeof reading->out, 0 };
		*result = ZSTD_decompressStream(context, &out, in);
		if (ZSTD_isError(*result))
			return false;
		take(reading, reading->out, out.pos);
		if (*result == 0)
			return true;
		/* A full buffer may mean that there is more without any more input. */
		if (out.pos < out.size && in->pos == in->size)
			return false;
	} while (true);
}

/* Octets of the frame at at; zero: it is not whole, which is said. */
static uint64_t
unpack_frame(struct reading *reading, ZSTD_DCtx *context, uint64_t at, uint64_t end)
{
	uint64_t done = 0;
	size_t result = 0;
	ssize_t n = 0;

	ZSTD_DCtx_reset(context, ZSTD_reset_session_only);
	reading->frame = at;
	while (at + done < end && (n = read_at(reading, end - at - done, at + done)) > 0) {
		ZSTD_inBuffer in = { reading->in, n, 0 };
		const bool ended = unpack_piece(reading, context, &in, &result);
		done += in.pos;
		if (ended)
			return done;
		if (ZSTD_isError(result)) {
			tell(reading, at, "this frame is damaged: %s", ZSTD_getErrorName(result));
			return 0;
		}
	}
	if (n >= 0)
		tell(reading, at, "the file ends inside this frame");
	return 0;
}

/* Where to go on behind a damaged frame; end, if nobody knows. */
static uint64_t
next_frame(const struct index *index, uint64_t at, uint64_t end)
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

/* True if all of them are whole. */
static bool
unpack_frames(struct reading *reading, const struct index *index, uint64_t end)
{
	ZSTD_DCtx *context = ZSTD_createDCtx();
	bool good = true;
	uint64_t at = 0;

	while (at < end && !(!index && is_skippable(reading, at))) {
		const uint64_t before = reading->octets, packed = unpack_frame(reading, context, at, end);
		if (packed) {
			end_stretch(reading);
			index_end_block(reading->maker, at, packed, reading->octets - before);
		} else
			restart(reading);
		good &= packed > 0;
		at = packed ? at + packed : next_frame(index, at, end);
	}
	ZSTD_freeDCtx(context);
	return good;
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

void
content_read_packed(int fd, struct content *content, content_told *told, void *data)
{
	struct reading *reading = new_reading(fd, told, data);
	g_autoptr(GError) error = NULL;
	g_autoptr(index_t) index = index_read(fd, &error);
	struct stat status;

	reading->packed = true;
	reading->maker = index_maker_new();
	if (!index)
		told(error->message, data);
	const uint64_t size = fstat(fd, &status) == 0 ? status.st_size : 0;
	if (unpack_frames(reading, index, index ? index_offset(index) : size) && index)
		compare_index(reading, index);
	end_reading(reading, content);
}
