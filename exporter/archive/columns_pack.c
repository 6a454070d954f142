/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "archive/columns.h"

#include <string.h>

#include <zstd.h>

#include "archive/check.h"
#include "archive/index.h"
#include "archive/octets.h"
#include "error.h"

enum {
	LEVEL = 1,                  /* of zstd: more takes twice the time for a fiftieth */
	SET_HEADER = 4,
	TEMPLATE_HEADER = 4,
	OPTIONS_HEADER = 6,         /* RFC 7011 section 3.4.2.2; a withdrawal has the other */
	SET_TEMPLATES = 2,
	SET_OPTIONS = 3,
	SET_DATA = 256,
	LEAST_ROW = COLUMNS_COUNT,  /* so no message grows */
	TILE = 256,                 /* rows that are taken apart at once, which a near cache holds */
};

/* A template of the block, and what its records have. */
struct layout {
	uint16_t id;
	uint16_t n_fields;
	uint16_t octets[COLUMNS_FIELDS];
	uint16_t row;               /* octets of a record */
	bool announced;
	bool unfit;                 /* its records stay where they are */
	uint32_t records;
	GByteArray *rows;
};

struct columns_packer {
	ZSTD_CCtx *zstd;
	GHashTable *layouts;        /* by template id */
	GPtrArray *order;           /* those with records in columns */
	GByteArray *skeleton;
	GByteArray *head;
	GByteArray *frames;
	GByteArray *column;
	uint32_t domain;
	struct layout *recent;
};

static void
free_layout(gpointer data)
{
	struct layout *layout = data;

	g_byte_array_unref(layout->rows);
	g_free(layout);
}

static struct layout *
find_layout(struct columns_packer *packer, uint16_t id)
{
	if (packer->recent && packer->recent->id == id)
		return packer->recent;
	struct layout *layout = g_hash_table_lookup(packer->layouts, GUINT_TO_POINTER(id));
	if (!layout) {
		layout = g_new0(struct layout, 1);
		layout->id = id;
		layout->rows = g_byte_array_new();
		g_hash_table_insert(packer->layouts, GUINT_TO_POINTER(id), layout);
	}
	return packer->recent = layout;
}

/* Which records can stand in columns. */

static bool
is_same(const struct layout *one, const struct layout *other)
{
	return one->n_fields == other->n_fields && memcmp(one->octets, other->octets, sizeof one->octets) == 0;
}

/* Octets of a Template Record, RFC 7011 section 3.4, with what it says; zero: it does not end in n octets. Of options,
 * which have much text, nothing stands in columns. */
static size_t
take_template(struct layout *said, const uint8_t *record, size_t n, bool options)
{
	said->id = get_net16(record);
	said->n_fields = get_net16(record + 2);
	said->unfit = options || !said->n_fields || said->n_fields > COLUMNS_FIELDS;
	size_t at = options && said->n_fields ? OPTIONS_HEADER : TEMPLATE_HEADER;
	for (unsigned i = 0; i < said->n_fields; i++) {
		if (n < at + 4)
			return 0;
		const bool enterprise = record[at] & 0x80;
		const uint16_t octets = get_net16(record + at + 2);
		at += 4 + 4 * enterprise;
		if (n < at)
			return 0;
		said->unfit |= !octets || octets > COLUMNS_OCTETS;
		if (said->unfit)
			continue;
		said->octets[i] = octets;
		said->row += octets;
	}
	said->unfit |= said->row < LEAST_ROW;
	return at;
}

static void
keep_template(struct columns_packer *packer, const struct layout *said)
{
	struct layout *layout = find_layout(packer, said->id);

	if (layout->announced && !is_same(layout, said))
		layout->unfit = true;
	if (!layout->announced) {
		memcpy(layout->octets, said->octets, sizeof layout->octets);
		layout->n_fields = said->n_fields;
		layout->row = said->row;
	}
	layout->announced = true;
	layout->unfit |= said->unfit;
}

static bool
take_templates(struct columns_packer *packer, const uint8_t *at, size_t n, bool options)
{
	while (n >= TEMPLATE_HEADER) {
		struct layout said = { 0 };
		const size_t octets = take_template(&said, at, n, options);
		if (!octets)
			return false;
		keep_template(packer, &said);
		at += octets;
		n -= octets;
	}
	return true;
}

static bool
survey_set(struct columns_packer *packer, uint16_t id, const uint8_t *at, size_t n)
{
	if (id == SET_TEMPLATES || id == SET_OPTIONS)
		return take_templates(packer, at, n, id == SET_OPTIONS);
	if (id < SET_DATA)
		return true;
	struct layout *layout = find_layout(packer, id);
	layout->unfit |= !layout->announced || n < layout->row;
	return true;
}

typedef bool take_set(struct columns_packer *packer, uint16_t id, const uint8_t *at, size_t n);

static bool
each_set(struct columns_packer *packer, const uint8_t *message, size_t octets, take_set *take)
{
	for (size_t at = MESSAGE_HEADER; at < octets;) {
		if (octets - at < SET_HEADER)
			return false;
		const size_t set = get_net16(message + at + 2);
		if (set < SET_HEADER || set > octets - at)
			return false;
		if (!take(packer, get_net16(message + at), message + at + SET_HEADER, set - SET_HEADER))
			return false;
		at += set;
	}
	return true;
}

/* False: these are not messages as they should be, and stay as they are. */
static bool
survey(struct columns_packer *packer, const uint8_t *messages, size_t octets)
{
	packer->domain = octets >= MESSAGE_HEADER ? get_net32(messages + 12) : 0;
	for (size_t at = 0, message; at < octets; at += message) {
		message = octets - at < MESSAGE_HEADER ? 0 : check_header(messages + at, NULL);
		if (!message || message > octets - at)
			return false;
		if (get_net32(messages + at + 12) == packer->domain && !each_set(packer, messages + at, message, survey_set))
			return false;
	}
	return true;
}

/* Into rows and the skeleton */

static bool
split_set(struct columns_packer *packer, uint16_t id, const uint8_t *at, size_t n)
{
	GByteArray *skeleton = packer->skeleton;
	struct layout *layout = id >= SET_DATA ? find_layout(packer, id) : NULL;

	if (layout && !layout->records)
		layout->unfit |= packer->order->len == COLUMNS_TABLES;
	if (!layout || layout->unfit) {
		g_byte_array_append(skeleton, at - SET_HEADER, n + SET_HEADER);
		return true;
	}
	const size_t records = n / layout->row, padding = n % layout->row;
	uint8_t header[SET_HEADER + COLUMNS_COUNT];
	set_net16(header, id);
	set_net16(header + 2, sizeof header + padding);
	set_net16(header + SET_HEADER, records);
	g_byte_array_append(skeleton, header, sizeof header);
	g_byte_array_append(skeleton, at + n - padding, padding);
	if (!layout->records)
		g_ptr_array_add(packer->order, layout);
	g_byte_array_append(layout->rows, at, n - padding);
	layout->records += records;
	return true;
}

static void
split(struct columns_packer *packer, const uint8_t *messages, size_t octets)
{
	GByteArray *skeleton = packer->skeleton;

	for (size_t at = 0, message; at < octets; at += message) {
		const guint begin = skeleton->len;
		message = get_net16(messages + at + 2);
		if (get_net32(messages + at + 12) != packer->domain) {
			g_byte_array_append(skeleton, messages + at, message);
			continue;
		}
		g_byte_array_append(skeleton, messages + at, MESSAGE_HEADER);
		each_set(packer, messages + at, message, split_set);
		set_net16(skeleton->data + begin + 2, skeleton->len - begin);
	}
}

/* Into columns */

/* Octets of the frame; zero: it failed, with error set. */
static uint32_t
add_frame(struct columns_packer *packer, const uint8_t *octets, size_t n, GError **error)
{
	GByteArray *frames = packer->frames;
	const guint before = frames->len;

	g_byte_array_set_size(frames, before + ZSTD_compressBound(n));
	const size_t packed = ZSTD_compress2(packer->zstd, frames->data + before, frames->len - before, octets, n);
	if (ZSTD_isError(packed)) {
		g_set_error(error, PEERFLOW_ERROR, EX_DATAERR, "octet 0: %s", ZSTD_getErrorName(packed));
		return 0;
	}
	g_byte_array_set_size(frames, before + packed);
	return packed;
}

/* Which octets of a row are not the same in all rows: changes[n] is not zero. */
static void
find_varying(const struct layout *layout, uint8_t *changes)
{
	const uint8_t *first = layout->rows->data;

	memset(changes, 0, layout->row);
	for (uint32_t i = 1; i < layout->records; i++) {
		const uint8_t *row = first + (size_t)i * layout->row;
		for (unsigned n = 0; n < layout->row; n++)
			changes[n] |= row[n] ^ first[n];
	}
}

/* The varying octets of one field, each of all rows. */
static void
gather(struct columns_packer *packer, const struct layout *layout, unsigned from, unsigned octets, const uint8_t *changes)
{
	const uint8_t *rows = layout->rows->data + from;
	unsigned n = 0;

	for (unsigned k = 0; k < octets; k++)
		n += changes[from + k] != 0;
	g_byte_array_set_size(packer->column, (size_t)n * layout->records);
	for (uint32_t tile = 0; tile < layout->records; tile += TILE) {
		const uint32_t end = MIN(tile + TILE, layout->records);
		uint8_t *to = packer->column->data;
		for (unsigned k = 0; k < octets; k++) {
			if (!changes[from + k])
				continue;
			for (uint32_t i = tile; i < end; i++)
				to[i] = rows[(size_t)i * layout->row + k];
			to += layout->records;
		}
	}
}

static bool
add_column(struct columns_packer *packer, const struct layout *layout, unsigned from, unsigned octets,
           const uint8_t *changes, GError **error)
{
	const uint8_t *first = layout->rows->data + from;
	uint16_t varying = 0;
	uint32_t frame = 0;

	for (unsigned k = 0; k < octets; k++)
		varying |= (changes[from + k] != 0) << k;
	gather(packer, layout, from, octets, changes);
	if (varying && !(frame = add_frame(packer, packer->column->data, packer->column->len, error)))
		return false;
	add_le16(packer->head, octets);
	add_le16(packer->head, varying);
	add_le32(packer->head, frame);
	for (unsigned k = 0; k < octets; k++)
		if (!(varying >> k & 1))
			g_byte_array_append(packer->head, first + k, 1);
	return true;
}

static bool
add_table(struct columns_packer *packer, const struct layout *layout, GError **error)
{
	uint8_t changes[COLUMNS_FIELDS * COLUMNS_OCTETS];
	unsigned from = 0;

	find_varying(layout, changes);
	add_le16(packer->head, layout->id);
	add_le16(packer->head, layout->n_fields);
	add_le32(packer->head, layout->records);
	for (unsigned i = 0; i < layout->n_fields; i++) {
		if (!add_column(packer, layout, from, layout->octets[i], changes, error))
			return false;
		from += layout->octets[i];
	}
	return true;
}

static bool
print(struct columns_packer *packer, size_t plain, GError **error)
{
	const GByteArray *skeleton = packer->skeleton;
	GByteArray *head = packer->head;

	g_byte_array_set_size(head, COLUMNS_HEAD);
	memcpy(head->data, COLUMNS_MAGIC, strlen(COLUMNS_MAGIC));
	const uint32_t frame = add_frame(packer, skeleton->data, skeleton->len, error);
	if (!frame)
		return false;
	for (guint i = 0; i < packer->order->len; i++)
		if (!add_table(packer, packer->order->pdata[i], error))
			return false;
	set_le32(head->data + 8, head->len);
	set_le32(head->data + 12, head->len + packer->frames->len);
	set_le32(head->data + 16, plain);
	set_le32(head->data + 20, packer->domain);
	set_le32(head->data + 24, skeleton->len);
	set_le32(head->data + 28, frame);
	set_le32(head->data + 32, packer->order->len);
	set_le32(head->data + 4, index_sum(head->data + COLUMNS_SUMMED, head->len - COLUMNS_SUMMED));
	return true;
}

static void
restart(struct columns_packer *packer)
{
	packer->recent = NULL;
	g_hash_table_remove_all(packer->layouts);
	g_ptr_array_set_size(packer->order, 0);
	g_byte_array_set_size(packer->skeleton, 0);
	g_byte_array_set_size(packer->head, 0);
	g_byte_array_set_size(packer->frames, 0);
}

bool
columns_pack(struct columns_packer *packer, const uint8_t *messages, size_t octets, GByteArray *out, GError **error)
{
	if (octets > COLUMNS_MOST) {
		g_set_error(error, PEERFLOW_ERROR, EX_DATAERR, "octet 0: a block of %zu octets", octets);
		return false;
	}
	restart(packer);
	if (survey(packer, messages, octets))
		split(packer, messages, octets);
	else
		g_byte_array_append(packer->skeleton, messages, octets);
	if (!print(packer, octets, error))
		return false;
	g_byte_array_append(out, packer->head->data, packer->head->len);
	g_byte_array_append(out, packer->frames->data, packer->frames->len);
	return true;
}

struct columns_packer *
columns_packer_new(void)
{
	struct columns_packer *packer = g_new0(struct columns_packer, 1);

	packer->zstd = ZSTD_createCCtx();
	ZSTD_CCtx_setParameter(packer->zstd, ZSTD_c_compressionLevel, LEVEL);
	ZSTD_CCtx_setParameter(packer->zstd, ZSTD_c_checksumFlag, 1);
	packer->layouts = g_hash_table_new_full(NULL, NULL, NULL, free_layout);
	packer->order = g_ptr_array_new();
	packer->skeleton = g_byte_array_new();
	packer->head = g_byte_array_new();
	packer->frames = g_byte_array_new();
	packer->column = g_byte_array_new();
	return packer;
}

void
columns_packer_free(struct columns_packer *packer)
{
	if (!packer)
		return;
	ZSTD_freeCCtx(packer->zstd);
	g_hash_table_unref(packer->layouts);
	g_ptr_array_unref(packer->order);
	g_byte_array_unref(packer->skeleton);
	g_byte_array_unref(packer->head);
	g_byte_array_unref(packer->frames);
	g_byte_array_unref(packer->column);
	g_free(packer);
}
