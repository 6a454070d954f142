/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_TESTS_ARCHIVES_H
#define PEERFLOW_TESTS_ARCHIVES_H

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <zstd.h>

#include "archive/content.h"
#include "archive/file.h"
#include "archive/store.h"
#include "ipfix.h"
#include "suite.h"

/* Archives of flows that have numbers: the flowId of each is its mark. */

/* Gives the flow of that number, alone in its message, to a file that has so many already. False: no room. */
static inline bool
give_flow(struct store *store, uint64_t id, uint32_t *sequence)
{
	const struct ipfix_record record = { .id = id, .start = id, .end = id + 1, .address = { id, 2, 3, 4 } };
	g_autoptr(GByteArray) octets = g_byte_array_new();

	ipfix_message(octets, *sequence == 0, *sequence, &record, 1);
	const struct message message = { .octets = octets->data, .length = octets->len, .flow_records = 1, .mark = id };
	if (!store_write(store, &message, 1))
		return false;
	++*sequence;
	return true;
}

/* A log handler: what is to be said is in the log of the store, which nobody reads here. */
static inline void
say_nothing(const char *domain, GLogLevelFlags level, const char *text, void *data)
{
	(void)domain, (void)level, (void)text, (void)data;
}

static inline int
compare_numbers(gconstpointer a, gconstpointer b)
{
	return strcmp(strrchr(*(char *const *)a, '-'), strrchr(*(char *const *)b, '-'));
}

/* The names of the files of a directory that end so, in the order of their numbers. */
static inline GPtrArray *
names_in(const char *directory, const char *suffix)
{
	GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
	g_autoptr(GDir) dir = g_dir_open(directory, 0, NULL);
	const char *name;

	while (dir && (name = g_dir_read_name(dir)))
		if (g_str_has_prefix(name, "flows-") && g_str_has_suffix(name, suffix))
			g_ptr_array_add(names, g_strdup(name));
	g_ptr_array_sort(names, compare_numbers);
	return names;
}

static inline GPtrArray *
packed_names(const char *directory)
{
	GPtrArray *names = names_in(directory, ".columns"), *others = names_in(directory, ".zst");

	g_ptr_array_extend_and_steal(names, others);
	g_ptr_array_sort(names, compare_numbers);
	return names;
}

/* What zstd -d makes of it. */
static inline GByteArray *
unpack_zstd(const GByteArray *packed)
{
	GByteArray *plain = g_byte_array_new();
	ZSTD_DCtx *context = ZSTD_createDCtx();
	ZSTD_inBuffer in = { packed->data, packed->len, 0 };
	uint8_t piece[65536];

	while (in.pos < in.size) {
		ZSTD_outBuffer out = { piece, sizeof piece, 0 };
		const size_t result = ZSTD_decompressStream(context, &out, &in);
		CU_ASSERT_FALSE_FATAL(ZSTD_isError(result));
		g_byte_array_append(plain, piece, out.pos);
	}
	ZSTD_freeDCtx(context);
	return plain;
}

static inline void
fail_unpacking(const char *text, void *data)
{
	(void)data;
	puts(text);
	CU_FAIL_FATAL("cannot be unpacked");
}

static inline bool
append_octets(const uint8_t *octets, size_t n, void *data)
{
	g_byte_array_append(data, octets, n);
	return true;
}

/* What peerflow unpack makes of it. */
static inline GByteArray *
unpack_columns(const char *path)
{
	GByteArray *plain = g_byte_array_new();
	const int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct content content;

	content_unpack(fd, &content, fail_unpacking, append_octets, plain);
	close(fd);
	return plain;
}

static inline GByteArray *
plain_octets(const char *directory, const char *name)
{
	g_autofree char *path = g_build_filename(directory, name, NULL);
	char *text = NULL;
	gsize n = 0;

	CU_ASSERT_TRUE_FATAL(g_file_get_contents(path, &text, &n, NULL));
	GByteArray *octets = g_byte_array_new_take((guint8 *)text, n);
	if (!g_str_has_suffix(name, ".zst") && !g_str_has_suffix(name, ".columns"))
		return octets;
	GByteArray *plain = g_str_has_suffix(name, ".zst") ? unpack_zstd(octets) : unpack_columns(path);
	g_byte_array_unref(octets);
	return plain;
}

/* Appends the flowIds of a file that is whole messages to its end. */
static inline void
ids_of(const GByteArray *plain, GArray *ids)
{
	guint at = 0;

	while (at < plain->len) {
		const uint8_t *message = plain->data + at;
		CU_ASSERT_FATAL(plain->len - at >= 16 && message[1] == 10);
		const guint octets = message[2] << 8 | message[3];
		CU_ASSERT_FATAL(octets >= 16 && octets <= plain->len - at);
		for (guint set = 16; set < octets; set += message[set + 2] << 8 | message[set + 3])
			if (message[set] == IPFIX_TEMPLATE >> 8) {
				uint64_t id;
				memcpy(&id, message + set + 4, sizeof id);
				id = GUINT64_FROM_BE(id);
				g_array_append_val(ids, id);
			}
		at += octets;
	}
}

/* The flowIds of all closed files. */
static inline GArray *
all_ids(const char *directory)
{
	GArray *ids = g_array_new(false, false, sizeof(uint64_t));
	g_autoptr(GPtrArray) names = names_in(directory, "");

	for (guint i = 0; i < names->len; i++) {
		if (g_str_has_suffix(names->pdata[i], ".part"))
			continue;
		GByteArray *plain = plain_octets(directory, names->pdata[i]);
		ids_of(plain, ids);
		g_byte_array_unref(plain);
	}
	return ids;
}

/* Are they first, first + 1 and so on? */
static inline bool
are_in_order(const GArray *ids, uint64_t first)
{
	for (guint i = 0; i < ids->len; i++)
		if (g_array_index(ids, uint64_t, i) != first + i)
			return false;
	return true;
}

static inline void
remove_directory(const char *directory)
{
	g_autoptr(GDir) dir = g_dir_open(directory, 0, NULL);
	const char *name;

	while (dir && (name = g_dir_read_name(dir))) {
		g_autofree char *path = g_build_filename(directory, name, NULL);
		unlink(path);
	}
	rmdir(directory);
}

#endif
