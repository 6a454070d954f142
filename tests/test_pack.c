/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A file that is compressed: zstd gives it back, its blocks are what the index says, and whoever checks it finds any octet
 * that is another one. */

#include "archive/pack.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <zstd.h>

#include "archive/content.h"
#include "archive/index.h"
#include "error.h"
#include "ipfix.h"
#include "suite.h"

enum { BLOCK_MESSAGES = 600, MESSAGE_RECORDS = 50 };

static enum pack_how how;       /* of all that is compressed */

/* A file of so many blocks. */
static GByteArray *
plain_of(unsigned blocks)
{
	GByteArray *plain = g_byte_array_new();
	struct ipfix_record record[MESSAGE_RECORDS];
	uint64_t id = 0;

	for (unsigned i = 0; i < blocks * BLOCK_MESSAGES; i++) {
		const uint32_t sequence = id;
		for (unsigned j = 0; j < MESSAGE_RECORDS; j++) {
			id++;
			record[j] = (struct ipfix_record){ .id = id, .start = id, .end = id + 5,
			                                   .address = { id % 1000, i / BLOCK_MESSAGES, 5, id % 77 } };
		}
		ipfix_message(plain, i % BLOCK_MESSAGES == 0, sequence, record, MESSAGE_RECORDS);
	}
	return plain;
}

static FILE *
file_of(const uint8_t *octets, size_t n)
{
	FILE *file = tmpfile();

	if (n)                          /* of nothing there may be no pointer */
		fwrite(octets, 1, n, file);
	fflush(file);
	return file;
}

static GByteArray *
octets_of(FILE *file)
{
	GByteArray *octets = g_byte_array_new();
	uint8_t piece[4096];
	ssize_t n;

	while ((n = pread(fileno(file), piece, sizeof piece, octets->len)) > 0)
		g_byte_array_append(octets, piece, n);
	return octets;
}

static FILE *
pack_it(const GByteArray *plain)
{
	g_autoptr(GError) error = NULL;
	FILE *from = file_of(plain->data, plain->len), *to = tmpfile();

	if (!pack_file(fileno(from), fileno(to), how, NULL, &error))
		CU_FAIL_FATAL(error->message);
	fclose(from);
	return to;
}

static void
test_blocks(void)
{
	g_autoptr(GByteArray) plain = plain_of(3);
	FILE *file = pack_it(plain);
	g_autoptr(GByteArray) packed = octets_of(file);
	g_autoptr(index_t) index = index_read(fileno(file), NULL);
	size_t at = 0;

	CU_ASSERT_PTR_NOT_NULL_FATAL(index);
	CU_ASSERT_EQUAL_FATAL(index_blocks(index), 3);
	CU_ASSERT(packed->len < plain->len / 2);
	for (unsigned i = 0; i < 3; i++) {
		const struct index_block *block = index_block(index, i);
		const uint8_t *frame = packed->data + block->offset;
		g_autofree uint8_t *out = g_malloc(block->plain);
		CU_ASSERT_EQUAL(ZSTD_getFrameContentSize(frame, block->packed), block->plain);
		CU_ASSERT_EQUAL(ZSTD_findFrameCompressedSize(frame, packed->len - block->offset), block->packed);
		CU_ASSERT_EQUAL_FATAL(ZSTD_decompress(out, block->plain, frame, block->packed), block->plain);
		CU_ASSERT_EQUAL(memcmp(out, plain->data + at, block->plain), 0);
		CU_ASSERT_EQUAL(block->records, BLOCK_MESSAGES * MESSAGE_RECORDS);
		CU_ASSERT_EQUAL(block->first, (uint64_t)i * BLOCK_MESSAGES * MESSAGE_RECORDS + 1);
		at += block->plain;
	}
	CU_ASSERT_EQUAL(at, plain->len);
	fclose(file);
}

/* All frames, and what is to be passed over, as zstd -d does it. */
static void
test_given_back(void)
{
	g_autoptr(GByteArray) plain = plain_of(2);
	FILE *file = pack_it(plain);
	g_autoptr(GByteArray) packed = octets_of(file);
	g_autofree uint8_t *out = g_malloc(plain->len);

	CU_ASSERT_EQUAL(ZSTD_decompress(out, plain->len, packed->data, packed->len), plain->len);
	CU_ASSERT_EQUAL(memcmp(out, plain->data, plain->len), 0);
	fclose(file);
}

/* These with each way of compressing. */

static void
refused(void)
{
	g_autoptr(GByteArray) plain = plain_of(1);
	const bool stop = true;
	g_autoptr(GError) error = NULL;
	FILE *to = tmpfile(), *cut = file_of(plain->data, plain->len - 1), *whole = file_of(plain->data, plain->len);

	CU_ASSERT_FALSE(pack_file(fileno(cut), fileno(to), how, NULL, &error));
	CU_ASSERT_EQUAL(error->code, EX_DATAERR);
	CU_ASSERT_PTR_NOT_NULL(strstr(error->message, "the file ends inside a message"));
	g_clear_error(&error);
	CU_ASSERT_FALSE(pack_file(fileno(whole), fileno(to), how, &stop, &error));
	CU_ASSERT_EQUAL(error->code, EX_TEMPFAIL);
	g_clear_error(&error);
	const uint16_t octets = plain->data[2] << 8 | plain->data[3];
	CU_ASSERT_EQUAL(pwrite(fileno(whole), "\0\x09", 2, octets), 2);
	CU_ASSERT_FALSE(pack_file(fileno(whole), fileno(to), how, NULL, &error));
	g_autofree char *expected = g_strdup_printf("octet %u: not an IPFIX message", octets);
	CU_ASSERT_STRING_EQUAL(error->message, expected);
	g_clear_error(&error);
	CU_ASSERT_FALSE(pack_file(fileno(cut), -1, how, NULL, &error));
	fclose(to);
	fclose(cut);
	fclose(whole);
}

static void
empty(void)
{
	g_autoptr(GByteArray) plain = g_byte_array_new();
	FILE *file = pack_it(plain);
	g_autoptr(index_t) index = index_read(fileno(file), NULL);

	CU_ASSERT_PTR_NOT_NULL_FATAL(index);
	CU_ASSERT_EQUAL(index_blocks(index), 0);
	fclose(file);
}

struct trouble {
	unsigned n;
	char *first;
};

static void
note_trouble(const char *text, void *data)
{
	struct trouble *trouble = data;

	if (!trouble->n++)
		trouble->first = g_strdup(text);
}

static void
content(void)
{
	g_autoptr(GByteArray) plain = plain_of(2);
	FILE *packed = pack_it(plain), *unpacked = file_of(plain->data, plain->len);
	g_autofree char *sum = g_compute_checksum_for_data(G_CHECKSUM_SHA256, plain->data, plain->len);
	struct trouble trouble = { 0 };
	struct content content;

	content_read_packed(fileno(packed), &content, note_trouble, &trouble);
	CU_ASSERT_EQUAL(content.octets, plain->len);
	CU_ASSERT_STRING_EQUAL(content.sum, sum);
	content_read_plain(fileno(unpacked), &content, note_trouble, &trouble);
	CU_ASSERT_EQUAL(content.octets, plain->len);
	CU_ASSERT_STRING_EQUAL(content.sum, sum);
	CU_ASSERT_EQUAL(trouble.n, 0);
	fclose(packed);
	fclose(unpacked);
}

/* Looks at the file with another octet in this place, and puts the old one back. */
static struct trouble
flip(FILE *file, const GByteArray *packed, guint i, struct content *content)
{
	struct trouble trouble = { 0 };
	const uint8_t octet = packed->data[i] ^ 1 << i % 8;

	CU_ASSERT_EQUAL(pwrite(fileno(file), &octet, 1, i), 1);
	content_read_packed(fileno(file), content, note_trouble, &trouble);
	CU_ASSERT_EQUAL(pwrite(fileno(file), &packed->data[i], 1, i), 1);
	return trouble;
}

/* Any octet of a small file. A bit may mean nothing; then nothing is lost. */
static void
flipped(void)
{
	g_autoptr(GByteArray) plain = g_byte_array_new();
	const struct ipfix_record record[] = { { .id = 1, .address = { 1, 2, 3, 4 } }, { .id = 2 } };

	ipfix_message(plain, true, 0, record, 2);
	ipfix_message(plain, false, 2, record, 2);
	g_autofree char *sum = g_compute_checksum_for_data(G_CHECKSUM_SHA256, plain->data, plain->len);
	FILE *file = pack_it(plain);
	g_autoptr(GByteArray) packed = octets_of(file);
	struct content content;

	for (guint i = 0; i < packed->len; i++) {
		const struct trouble trouble = flip(file, packed, i, &content);
		CU_ASSERT(trouble.n > 0 || strcmp(content.sum, sum) == 0);
		g_free(trouble.first);
	}
	fclose(file);
}

/* Where the first frame is damaged, the second is read nevertheless. */
static void
damaged(void)
{
	g_autoptr(GByteArray) plain = plain_of(2);
	FILE *file = pack_it(plain);
	g_autoptr(GByteArray) packed = octets_of(file);
	g_autoptr(index_t) index = index_read(fileno(file), NULL);
	const uint64_t second = index_block(index, 1)->offset, least = index_block(index, 1)->plain;
	struct content content;

	for (guint i = 100; i < second; i += second / 7) {
		const struct trouble trouble = flip(file, packed, i, &content);
		CU_ASSERT_FATAL(trouble.n > 0);
		CU_ASSERT(g_str_has_prefix(trouble.first, "octet 0: "));
		CU_ASSERT(content.octets >= least);
		g_free(trouble.first);
	}
	fclose(file);
}

static void
both(void (*test)(void))
{
	for (how = 0; how < PACK_HOWS; how++)
		test();
	how = PACK_ZSTD;
}

#define BOTH(name) static void test_##name(void) { both(name); }
BOTH(refused)
BOTH(empty)
BOTH(content)
BOTH(flipped)
BOTH(damaged)

int
main(void)
{
	how = PACK_ZSTD;
	CU_TestInfo tests[] = {
		{ "blocks are frames", test_blocks },
		{ "zstd gives the file back", test_given_back },
		{ "what is no file of messages is refused", test_refused },
		{ "a file with nothing in it", test_empty },
		{ "what was compressed is sound", test_content },
		{ "an octet that is another one", test_flipped },
		{ "a damaged frame", test_damaged },
		CU_TEST_INFO_NULL,
	};
	return run_suite("pack", tests);
}
