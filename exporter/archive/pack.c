/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "archive/pack.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <zstd.h>

#include "archive/check.h"
#include "archive/columns.h"
#include "archive/file.h"
#include "archive/index.h"
#include "error.h"

enum {
	PIECE = 256 << 10,
	SET_TEMPLATES = 2,
};

struct packer {
	int from, to;
	const bool *stop;
	ZSTD_CCtx *context;
	struct columns_packer *columns;     /* NULL: a frame of zstd's is a block */
	struct index_maker *index;
	GByteArray *input;          /* read, and in no block yet */
	uint64_t at;                /* offset of input in from */
	GByteArray *block;          /* the block that is being filled */
	GByteArray *packed;         /* room for its frame */
	uint64_t offset;            /* of the next frame */
};

static bool
fail_io(uint64_t octet, GError **error)
{
	g_set_error(error, PEERFLOW_ERROR, EX_IOERR, "octet %" G_GUINT64_FORMAT ": %s", octet, g_strerror(errno));
	return false;
}

static bool
fail_data(uint64_t octet, const char *what, GError **error)
{
	g_set_error(error, PEERFLOW_ERROR, EX_DATAERR, "octet %" G_GUINT64_FORMAT ": %s", octet, what);
	return false;
}

static bool
write_out(struct packer *packer, const uint8_t *octets, size_t n, GError **error)
{
	if (!file_write(packer->to, octets, n))
		return fail_io(packer->offset, error);
	packer->offset += n;
	return true;
}

static bool
pack_frame(struct packer *packer, GError **error)
{
	const GByteArray *block = packer->block;
	GByteArray *packed = packer->packed;

	g_byte_array_set_size(packed, ZSTD_compressBound(block->len));
	const size_t n = ZSTD_compress2(packer->context, packed->data, packed->len, block->data, block->len);
	if (ZSTD_isError(n))
		return fail_data(packer->at, ZSTD_getErrorName(n), error);
	g_byte_array_set_size(packed, n);
	return true;
}

static bool
pack_columns(struct packer *packer, GError **error)
{
	g_byte_array_set_size(packer->packed, 0);
	return columns_pack(packer->columns, packer->block->data, packer->block->len, packer->packed, error);
}

static bool
end_block(struct packer *packer, GError **error)
{
	GByteArray *block = packer->block, *packed = packer->packed;

	if (!block->len)
		return true;
	if (!(packer->columns ? pack_columns(packer, error) : pack_frame(packer, error)))
		return false;
	index_end_block(packer->index, packer->offset, packed->len, block->len);
	g_byte_array_set_size(block, 0);
	return write_out(packer, packed->data, packed->len, error);
}

/* A message may have no Set at all. */
static bool
begins_block(const uint8_t *message, size_t octets)
{
	return octets >= MESSAGE_HEADER + 2 && message[MESSAGE_HEADER] == 0 && message[MESSAGE_HEADER + 1] == SET_TEMPLATES;
}

static bool
take_message(struct packer *packer, const uint8_t *message, size_t octets, GError **error)
{
	if (packer->block->len >= PACK_BLOCK_LEAST && begins_block(message, octets) && !end_block(packer, error))
		return false;
	if (packer->block->len + octets > PACK_BLOCK_MOST)
		return fail_data(packer->at, "a block that does not end", error);
	index_add(packer->index, message, octets);
	g_byte_array_append(packer->block, message, octets);
	return true;
}

static bool
take_messages(struct packer *packer, GError **error)
{
	GByteArray *input = packer->input;
	size_t at = 0;

	while (input->len - at >= MESSAGE_HEADER) {
		const size_t octets = check_header(input->data + at, NULL);
		if (!octets)
			return fail_data(packer->at + at, "not an IPFIX message", error);
		if (octets > input->len - at)
			break;
		if (!take_message(packer, input->data + at, octets, error))
			return false;
		at += octets;
	}
	g_byte_array_remove_range(input, 0, at);
	packer->at += at;
	return true;
}

/* Octets that were added to the input; -1 with errno set. */
static ssize_t
read_more(struct packer *packer)
{
	GByteArray *input = packer->input;
	const guint before = input->len;
	ssize_t n;

	g_byte_array_set_size(input, before + PIECE);
	do
		n = pread(packer->from, input->data + before, PIECE, packer->at + before);
	while (n < 0 && errno == EINTR);
	g_byte_array_set_size(input, before + MAX(n, 0));
	return n;
}

static bool
write_index(struct packer *packer, GError **error)
{
	g_autoptr(GByteArray) frame = g_byte_array_new();

	index_print(packer->index, packer->offset, frame);
	return write_out(packer, frame->data, frame->len, error);
}

static bool
pack_all(struct packer *packer, GError **error)
{
	ssize_t n;

	while ((n = read_more(packer)) > 0) {
		if (!take_messages(packer, error))
			return false;
		if (packer->stop && __atomic_load_n(packer->stop, __ATOMIC_RELAXED)) {
			g_set_error_literal(error, PEERFLOW_ERROR, EX_TEMPFAIL, "interrupted");
			return false;
		}
	}
	if (n < 0)
		return fail_io(packer->at, error);
	if (packer->input->len)
		return fail_data(packer->at, "the file ends inside a message", error);
	return end_block(packer, error) && write_index(packer, error);
}

bool
pack_file(int from, int to, enum pack_how how, const bool *stop, GError **error)
{
	struct packer packer = {
		.from = from,
		.to = to,
		.stop = stop,
		.context = ZSTD_createCCtx(),
		.columns = how == PACK_COLUMNS ? columns_packer_new() : NULL,
		.index = index_maker_new(),
		.input = g_byte_array_new(),
		.block = g_byte_array_new(),
		.packed = g_byte_array_new(),
	};

	ZSTD_CCtx_setParameter(packer.context, ZSTD_c_compressionLevel, PACK_LEVEL);
	ZSTD_CCtx_setParameter(packer.context, ZSTD_c_checksumFlag, 1);
	const bool good = pack_all(&packer, error);
	ZSTD_freeCCtx(packer.context);
	columns_packer_free(packer.columns);
	index_maker_free(packer.index);
	g_byte_array_unref(packer.input);
	g_byte_array_unref(packer.block);
	g_byte_array_unref(packer.packed);
	return good;
}
