/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "archive/columns.h"

#include <string.h>

#include <zstd.h>

#include "archive/check.h"
#include "archive/index.h"
#include "archive/octets.h"
#include "error.h"

enum {
	TABLE_HEAD = 8,
	FIELD_HEAD = 8,
	LANE = 8,
	SET_HEADER = 4,
	SET_DATA = 256,
	TILE = 256,
};

struct columns {
	ZSTD_DCtx *zstd;
	size_t plain;
	uint32_t domain;
	GArray *tables;             /* struct column_table */
	GArray *before;             /* of the block before: what was asked for */
	GByteArray *skeleton;
	GByteArray *room;           /* where columns are decompressed to */
	GByteArray *rows;           /* put together again */
};

struct cursor {
	const uint8_t *at;
	const uint8_t *end;
};

static size_t
left(const struct cursor *cursor)
{
	return cursor->end - cursor->at;
}

static uint16_t
take16(struct cursor *cursor)
{
	const uint16_t value = get_le16(cursor->at);

	cursor->at += 2;
	return value;
}

static uint32_t
take32(struct cursor *cursor)
{
	const uint32_t value = get_le32(cursor->at);

	cursor->at += 4;
	return value;
}

static bool
damaged(GError **error, const char *what)
{
	g_set_error(error, PEERFLOW_ERROR, EX_DATAERR, "%s", what);
	return false;
}

/* The head */

struct head {
	uint32_t sum;
	uint32_t octets;
	uint32_t packed;
	uint32_t plain;
	uint32_t domain;
	uint32_t skeleton;
	uint32_t skeleton_frame;
	uint32_t tables;
};

static bool
take_head(const uint8_t octets[static COLUMNS_HEAD], struct head *head)
{
	struct cursor cursor = { octets + strlen(COLUMNS_MAGIC), octets + COLUMNS_HEAD };

	head->sum = take32(&cursor);
	head->octets = take32(&cursor);
	head->packed = take32(&cursor);
	head->plain = take32(&cursor);
	head->domain = take32(&cursor);
	head->skeleton = take32(&cursor);
	head->skeleton_frame = take32(&cursor);
	head->tables = take32(&cursor);
	return memcmp(octets, COLUMNS_MAGIC, strlen(COLUMNS_MAGIC)) == 0 && head->octets >= COLUMNS_HEAD && head->octets <= head->packed &&
	       head->packed <= 2 * COLUMNS_MOST && head->plain <= COLUMNS_MOST && head->skeleton <= head->plain &&
	       head->tables <= COLUMNS_TABLES;
}

bool
columns_measure(const uint8_t octets[static COLUMNS_HEAD], struct columns_size *size)
{
	struct head head;

	if (!take_head(octets, &head))
		return false;
	*size = (struct columns_size){ head.packed, head.plain };
	return true;
}

/* Which octets of the value vary, and what the others are. */
static bool
take_constants(struct column *column, uint16_t varying, struct cursor *cursor)
{
	for (unsigned k = 0; k < column->octets; k++) {
		const unsigned behind = column->octets - 1 - k;
		struct column_lane *lane = behind < LANE ? &column->low : &column->high;
		const unsigned shift = 8 * (behind % LANE);
		if (varying >> k & 1) {
			lane->shift[lane->n_varying++] = shift;
			continue;
		}
		if (!left(cursor))
			return false;
		lane->constant |= (uint64_t)*cursor->at++ << shift;
	}
	return true;
}

static bool
take_column(struct column *column, uint32_t records, struct cursor *cursor, struct cursor *frames)
{
	if (left(cursor) < FIELD_HEAD)
		return false;
	*column = (struct column){ .octets = take16(cursor) };
	const uint16_t varying = take16(cursor);
	column->packed = take32(cursor);
	if (!column->octets || column->octets > COLUMNS_OCTETS || varying >> (column->octets - 1) > 1 ||
	    !take_constants(column, varying, cursor) || column->packed > left(frames) || !column->packed != !varying)
		return false;
	column->frame = frames->at;
	frames->at += column->packed;
	column->octets_varying = (size_t)(column->low.n_varying + column->high.n_varying) * records;
	return true;
}

/* *plain: octets that records may have still. */
static bool
take_table(struct column_table *table, struct cursor *cursor, struct cursor *frames, size_t *plain)
{
	size_t row = 0;

	if (left(cursor) < TABLE_HEAD)
		return false;
	table->id = take16(cursor);
	table->n_columns = take16(cursor);
	table->records = take32(cursor);
	if (table->id < SET_DATA || !table->n_columns || table->n_columns > COLUMNS_FIELDS || !table->records)
		return false;
	table->column = g_new0(struct column, table->n_columns);
	for (unsigned i = 0; i < table->n_columns; i++) {
		if (!take_column(&table->column[i], table->records, cursor, frames))
			return false;
		row += table->column[i].octets;
		if (!table->column[i].packed)
			table->ready |= UINT64_C(1) << i;
	}
	if (table->records > *plain / row)
		return false;
	*plain -= row * table->records;
	return true;
}

static bool
take_tables(struct columns *columns, const struct head *head, struct cursor *cursor, struct cursor *frames)
{
	size_t plain = head->plain;

	for (uint32_t i = 0; i < head->tables; i++) {
		struct column_table table = { 0 };
		const bool good = take_table(&table, cursor, frames, &plain) && !columns_table(columns, head->domain, table.id);
		g_array_append_val(columns->tables, table);
		if (!good)
			return false;
	}
	return true;
}

/* Reading */

static bool
decompress(struct columns *columns, uint8_t *to, size_t n, const uint8_t *frame, size_t packed, const char *what,
           GError **error)
{
	const size_t got = ZSTD_decompressDCtx(columns->zstd, to, n, frame, packed);

	if (got == n)
		return true;
	g_set_error(error, PEERFLOW_ERROR, EX_DATAERR, "%s: %s", what,
	            ZSTD_isError(got) ? ZSTD_getErrorName(got) : "its content has another length");
	return false;
}

/* Says where each column will be. */
static void
make_room(struct columns *columns)
{
	size_t octets = 0;

	for (guint i = 0; i < columns->tables->len; i++) {
		const struct column_table *table = &g_array_index(columns->tables, struct column_table, i);
		for (unsigned n = 0; n < table->n_columns; n++)
			octets += table->column[n].octets_varying;
	}
	if (!octets)                    /* then there may be no room at all, and no place in it */
		return;
	if (columns->room->len < octets)
		g_byte_array_set_size(columns->room, octets);
	uint8_t *at = columns->room->data;
	for (guint i = 0; i < columns->tables->len; i++) {
		const struct column_table *table = &g_array_index(columns->tables, struct column_table, i);
		for (unsigned n = 0; n < table->n_columns; n++) {
			table->column[n].room = at;
			at += table->column[n].octets_varying;
		}
	}
}

static uint64_t
all_columns(const struct column_table *table)
{
	return UINT64_MAX >> (COLUMNS_FIELDS - table->n_columns);
}

/* What is damaged is told when it is asked for. */
static void
ready_as_before(struct columns *columns, struct column_table *table)
{
	for (guint i = 0; i < columns->before->len; i++) {
		const struct column_table *before = &g_array_index(columns->before, struct column_table, i);
		if (before->id == table->id)
			columns_make_ready(columns, table, before->asked & all_columns(table), NULL);
	}
}

static bool
take_block(struct columns *columns, const uint8_t *packed, size_t n, GError **error)
{
	struct head head;

	if (n < COLUMNS_HEAD || !take_head(packed, &head) || head.packed != n)
		return damaged(error, "no block of columns begins here");
	if (index_sum(packed + COLUMNS_SUMMED, head.octets - COLUMNS_SUMMED) != head.sum)
		return damaged(error, "its head is damaged");
	struct cursor cursor = { packed + COLUMNS_HEAD, packed + head.octets };
	struct cursor frames = { packed + head.octets, packed + n };
	if (head.skeleton_frame > left(&frames))
		return damaged(error, "its head makes no sense");
	const uint8_t *frame = frames.at;
	frames.at += head.skeleton_frame;
	columns->domain = head.domain;
	if (!take_tables(columns, &head, &cursor, &frames) || left(&cursor) || left(&frames))
		return damaged(error, "its head makes no sense");
	columns->plain = head.plain;
	g_byte_array_set_size(columns->skeleton, head.skeleton);
	return decompress(columns, columns->skeleton->data, head.skeleton, frame, head.skeleton_frame, "the skeleton", error);
}

bool
columns_open(struct columns *columns, const uint8_t *packed, size_t n, GError **error)
{
	GArray *before = columns->before;

	columns->before = columns->tables;
	columns->tables = before;
	columns->plain = 0;
	g_array_set_size(columns->tables, 0);
	g_byte_array_set_size(columns->skeleton, 0);
	if (!take_block(columns, packed, n, error)) {
		g_array_set_size(columns->tables, 0);
		return false;
	}
	make_room(columns);
	for (guint i = 0; i < columns->tables->len; i++)
		ready_as_before(columns, &g_array_index(columns->tables, struct column_table, i));
	return true;
}

size_t
columns_plain(const struct columns *columns)
{
	return columns->plain;
}

const uint8_t *
columns_skeleton(const struct columns *columns, size_t *octets)
{
	*octets = columns->skeleton->len;
	return columns->skeleton->data;
}

struct column_table *
columns_table(struct columns *columns, uint32_t domain, uint16_t id)
{
	for (guint i = 0; i < columns->tables->len && domain == columns->domain; i++) {
		struct column_table *table = &g_array_index(columns->tables, struct column_table, i);
		if (table->id == id)
			return table;
	}
	return NULL;
}

static void
point(struct column_lane *lane, const uint8_t **at, uint32_t records)
{
	for (unsigned n = 0; n < lane->n_varying; n++, *at += records)
		lane->varying[n] = *at;
}

static bool
make_ready(struct columns *columns, struct column_table *table, unsigned n, GError **error)
{
	struct column *column = &table->column[n];
	const uint8_t *at = column->room;
	char what[64];

	g_snprintf(what, sizeof what, "field %u of template %u", n + 1, table->id);
	if (!decompress(columns, column->room, column->octets_varying, column->frame, column->packed, what, error))
		return false;
	/* The first octets of a value are the high ones. */
	point(&column->high, &at, table->records);
	point(&column->low, &at, table->records);
	table->ready |= UINT64_C(1) << n;
	return true;
}

bool
columns_make_ready(struct columns *columns, struct column_table *table, uint64_t wanted, GError **error)
{
	for (uint64_t left_over = wanted & ~table->ready; left_over; left_over &= left_over - 1)
		if (!make_ready(columns, table, __builtin_ctzll(left_over), error))
			return false;
	return true;
}

/* Together again */

/* A row with the octets that do not vary, and where those go that do. */
struct pattern {
	uint8_t row[COLUMNS_FIELDS * COLUMNS_OCTETS];
	unsigned octets;
	unsigned n_varying;
	struct {
		const uint8_t *from;
		unsigned to;
	} varying[COLUMNS_FIELDS * COLUMNS_OCTETS];
};

static void
add_field(struct pattern *pattern, const struct column *column)
{
	unsigned taken[2] = { 0 };

	for (unsigned k = 0; k < column->octets; k++) {
		const unsigned behind = column->octets - 1 - k, shift = 8 * (behind % LANE);
		const struct column_lane *lane = behind < LANE ? &column->low : &column->high;
		unsigned *next = &taken[behind < LANE];
		if (*next < lane->n_varying && lane->shift[*next] == shift) {
			pattern->varying[pattern->n_varying].from = lane->varying[(*next)++];
			pattern->varying[pattern->n_varying++].to = pattern->octets;
		}
		pattern->row[pattern->octets++] = lane->constant >> shift;
	}
}

/* Some rows at once, so that a near cache holds them. */
static void
put_rows(const struct column_table *table, const struct pattern *pattern, uint8_t *rows)
{
	for (uint32_t tile = 0; tile < table->records; tile += TILE) {
		const uint32_t end = MIN(tile + TILE, table->records);
		for (uint32_t i = tile; i < end; i++)
			memcpy(rows + (size_t)i * pattern->octets, pattern->row, pattern->octets);
		for (unsigned n = 0; n < pattern->n_varying; n++) {
			const uint8_t *from = pattern->varying[n].from;
			uint8_t *to = rows + pattern->varying[n].to;
			for (uint32_t i = tile; i < end; i++)
				to[(size_t)i * pattern->octets] = from[i];
		}
	}
}

/* All rows of one table, behind those of others. */
static bool
make_rows(struct columns *columns, struct column_table *table, GError **error)
{
	struct pattern pattern;
	const guint begin = columns->rows->len;

	pattern.octets = pattern.n_varying = 0;
	if (!columns_ready(columns, table, all_columns(table), error))
		return false;
	for (unsigned n = 0; n < table->n_columns; n++)
		add_field(&pattern, &table->column[n]);
	table->row = pattern.octets;
	table->next_row = begin;
	g_byte_array_set_size(columns->rows, begin + (size_t)pattern.octets * table->records);
	put_rows(table, &pattern, columns->rows->data + begin);
	return true;
}

/* Where messages are put together. */
struct joint {
	struct columns *columns;
	uint8_t *at;
	uint8_t *end;
};

static bool
append(struct joint *joint, const uint8_t *octets, size_t n)
{
	if ((size_t)(joint->end - joint->at) < n)
		return false;
	memcpy(joint->at, octets, n);
	joint->at += n;
	return true;
}

/* A Set whose records stand in columns: its header, their number, and what pads it. */
static bool
join_records(struct joint *joint, struct column_table *table, const uint8_t *set, size_t n)
{
	uint8_t *begin = joint->at;

	if (n < SET_HEADER + COLUMNS_COUNT)
		return false;
	const uint16_t records = get_net16(set + SET_HEADER);
	const uint8_t *rows = joint->columns->rows->data + table->next_row;
	if (records > table->records - table->given || !append(joint, set, SET_HEADER) ||
	    !append(joint, rows, (size_t)records * table->row) ||
	    !append(joint, set + SET_HEADER + COLUMNS_COUNT, n - SET_HEADER - COLUMNS_COUNT) || joint->at - begin > UINT16_MAX)
		return false;
	table->given += records;
	table->next_row += (size_t)records * table->row;
	set_net16(begin + 2, joint->at - begin);
	return true;
}

static bool
join_message(struct joint *joint, const uint8_t *message, size_t octets)
{
	uint8_t *begin = joint->at;
	const uint32_t domain = get_net32(message + 12);

	if (domain != joint->columns->domain)
		return append(joint, message, octets);
	if (!append(joint, message, MESSAGE_HEADER))
		return false;
	for (size_t at = MESSAGE_HEADER, set; at < octets; at += set) {
		set = octets - at < SET_HEADER ? 0 : get_net16(message + at + 2);
		if (set < SET_HEADER || set > octets - at)
			return false;
		struct column_table *table = columns_table(joint->columns, domain, get_net16(message + at));
		if (!(table ? join_records(joint, table, message + at, set) : append(joint, message + at, set)))
			return false;
	}
	set_net16(begin + 2, joint->at - begin);
	return joint->at - begin <= UINT16_MAX;
}

static bool
join(struct joint *joint)
{
	const GByteArray *skeleton = joint->columns->skeleton;

	/* Messages that make no sense stand there as they are, too. */
	if (!joint->columns->tables->len)
		return append(joint, skeleton->data, skeleton->len) && joint->at == joint->end;
	for (size_t at = 0, message; at < skeleton->len; at += message) {
		message = skeleton->len - at < MESSAGE_HEADER ? 0 : check_header(skeleton->data + at, NULL);
		if (!message || message > skeleton->len - at || !join_message(joint, skeleton->data + at, message))
			return false;
	}
	return joint->at == joint->end;
}

bool
columns_unpack(struct columns *columns, uint8_t *messages, GError **error)
{
	if (!columns->plain)            /* and nowhere to put it, perhaps */
		return true;
	struct joint joint = { columns, messages, messages + columns->plain };
	g_byte_array_set_size(columns->rows, 0);
	for (guint i = 0; i < columns->tables->len; i++) {
		struct column_table *table = &g_array_index(columns->tables, struct column_table, i);
		table->given = 0;
		if (!make_rows(columns, table, error))
			return false;
	}
	return join(&joint) || damaged(error, "its skeleton makes no sense");
}

static void
clear_table(gpointer table)
{
	g_free(((struct column_table *)table)->column);
}

static GArray *
new_tables(void)
{
	GArray *tables = g_array_new(false, false, sizeof(struct column_table));

	g_array_set_clear_func(tables, clear_table);
	return tables;
}

struct columns *
columns_new(void)
{
	struct columns *columns = g_new0(struct columns, 1);

	columns->zstd = ZSTD_createDCtx();
	columns->tables = new_tables();
	columns->before = new_tables();
	columns->skeleton = g_byte_array_new();
	columns->room = g_byte_array_new();
	columns->rows = g_byte_array_new();
	return columns;
}

void
columns_free(struct columns *columns)
{
	if (!columns)
		return;
	ZSTD_freeDCtx(columns->zstd);
	g_array_unref(columns->tables);
	g_array_unref(columns->before);
	g_byte_array_unref(columns->skeleton);
	g_byte_array_unref(columns->room);
	g_byte_array_unref(columns->rows);
	g_free(columns);
}
