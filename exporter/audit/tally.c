/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "audit/tally.h"

#include <string.h>

struct tally {
	GHashTable *rows;           /* a set of struct tally_row */
	struct tally_row *wanted;   /* to look up with */
	size_t room;                /* octets of its text */
	enum tally_by by;
	size_t most;
	uint64_t forgotten;
};

static guint
hash_row(gconstpointer at)
{
	const struct tally_row *row = at;
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < row->length; i++)
		hash = (hash ^ (uint8_t)row->text[i]) * UINT64_C(0x100000001b3);
	return (guint)(hash ^ hash >> 32);
}

static gboolean
equal_rows(gconstpointer a, gconstpointer b)
{
	const struct tally_row *left = a, *right = b;

	return left->length == right->length && !memcmp(left->text, right->text, left->length);
}

struct tally *
tally_new(enum tally_by by, size_t most)
{
	struct tally *tally = g_new0(struct tally, 1);

	tally->rows = g_hash_table_new_full(hash_row, equal_rows, g_free, NULL);
	tally->by = by;
	tally->most = most;
	return tally;
}

void
tally_free(struct tally *tally)
{
	if (!tally)
		return;
	g_hash_table_unref(tally->rows);
	g_free(tally->wanted);
	g_free(tally);
}

static int
compare(gconstpointer a, gconstpointer b, gpointer by)
{
	const struct tally_row *left = *(struct tally_row *const *)a, *right = *(struct tally_row *const *)b;
	const uint64_t mine = left->sums.measure[*(enum tally_by *)by], other = right->sums.measure[*(enum tally_by *)by];

	return mine != other ? mine < other ? 1 : -1 : strcmp(left->text, right->text);
}

GPtrArray *
tally_rows(const struct tally *tally)
{
	GPtrArray *rows = g_ptr_array_new();
	enum tally_by by = tally->by;
	GHashTableIter iter;
	gpointer row;

	g_hash_table_iter_init(&iter, tally->rows);
	while (g_hash_table_iter_next(&iter, &row, NULL))
		g_ptr_array_add(rows, row);
	g_ptr_array_sort_with_data(rows, compare, &by);
	return rows;
}

/* A row that is forgotten and comes again may be forgotten again, so what is missing of it adds up. */
static void
forget(struct tally *tally)
{
	g_autoptr(GPtrArray) rows = tally_rows(tally);
	const guint kept = rows->len / 2;
	const struct tally_row *greatest = rows->pdata[kept];

	tally->forgotten += greatest->sums.measure[tally->by];
	for (guint i = kept; i < rows->len; i++)
		g_hash_table_remove(tally->rows, rows->pdata[i]);
}

/* The text as a row to look up with, which stays here. */
static const struct tally_row *
want(struct tally *tally, const char *text, size_t length)
{
	if (!tally->wanted || tally->room < length + 1) {
		tally->room = 2 * length + 64;
		tally->wanted = g_realloc(tally->wanted, sizeof *tally->wanted + tally->room);
		memset(tally->wanted, 0, sizeof *tally->wanted);
	}
	tally->wanted->length = length;
	memcpy(tally->wanted->text, text, length);
	tally->wanted->text[length] = '\0';
	return tally->wanted;
}

void
tally_add(struct tally *tally, const char *text, size_t length, const struct tally_sums *sums)
{
	const struct tally_row *wanted = want(tally, text, length);
	struct tally_row *row = g_hash_table_lookup(tally->rows, wanted);

	if (!row) {
		if (g_hash_table_size(tally->rows) >= tally->most)
			forget(tally);
		row = g_memdup2(wanted, sizeof *row + length + 1);
		g_hash_table_add(tally->rows, row);
	}
	for (unsigned i = 0; i < TALLY_MEASURES; i++)
		row->sums.measure[i] += sums->measure[i];
	row->sums.sent += sums->sent;
}

uint64_t
tally_forgotten(const struct tally *tally)
{
	return tally->forgotten;
}
