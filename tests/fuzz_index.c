/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Whatever a file's end holds: what is read of it lies inside the file, and can be asked. And whatever a message holds,
 * it can be entered. */

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

#include "archive/content.h"
#include "archive/index.h"
#include "error.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(bool good)
{
	if (!good)
		abort();
}

static void
ask(struct index *index, size_t size)
{
	const union address address = { .v4 = { 10, 0, 0, 1 } };

	check(index_offset(index) <= size);
	for (size_t i = 0; i < index_blocks(index); i++) {
		const struct index_block *block = index_block(index, i);
		check(block->offset + block->packed <= index_offset(index));
		check(block->filter + block->filter_octets <= size);
		index_may_overlap(index, i, 1000, 2000);
		index_may_have(index, i, 4, &address);
		index_filter_is_damaged(index, i);
	}
}

/* What is made of any message can be read again. */
static void
make(const uint8_t *data, size_t size)
{
	g_autoptr(index_maker_t) maker = index_maker_new();
	g_autoptr(GByteArray) frame = g_byte_array_new();
	const int fd = memfd_create("made", MFD_CLOEXEC);

	index_add(maker, data, size);
	index_end_block(maker, 0, 0, size);
	index_print(maker, 0, frame);
	check(fd >= 0 && write(fd, frame->data, frame->len) == (ssize_t)frame->len);
	g_autoptr(index_t) index = index_read(fd, NULL);
	check(index && index_blocks(index) == 1);
	ask(index, frame->len);
	check(!index_filter_is_damaged(index, 0));
	close(fd);
}

static void
ignore(const char *text, void *data)
{
	(void)text, (void)data;
}

static bool
count(const uint8_t *octets, size_t n, void *data)
{
	check(octets && n);
	*(uint64_t *)data += n;
	return true;
}

/* No more comes out than was read, and of a plain file all. */
static void
unpack(int fd, const uint8_t *data, size_t size)
{
	struct content content;
	uint64_t octets = 0;

	content_unpack(fd, &content, ignore, count, &octets);
	check(octets <= content.octets);
	check(size < 2 || data[0] != 0 || data[1] != 10 || octets == size);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const int fd = memfd_create("index", MFD_CLOEXEC);
	g_autoptr(GError) error = NULL;
	struct content content;

	check(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	g_autoptr(index_t) index = index_read(fd, &error);
	check(!index == (error != NULL));
	if (index)
		ask(index, size);
	content_read_packed(fd, &content, ignore, NULL);
	content_read_plain(fd, &content, ignore, NULL);
	check(content.octets == size);
	unpack(fd, data, size);
	close(fd);
	if (size <= 65535)
		make(data, size);
	return 0;
}
