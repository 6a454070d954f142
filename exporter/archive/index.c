/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "archive/index.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "archive/octets.h"
#include "error.h"

enum {
	FRAME_HEADER = 8,
	CONTENT_HEADER = 16,
	FOOTER = 8,
	FRAME_MAGIC = 0x184d2a50,
	FOOTER_MAGIC = 0x58494650,  /* "PFIX" */
	KEY_BITS = 10,
	KEY_HASHES = 7,
	MESSAGE_HEADER_OCTETS = 16,
	SET_TEMPLATES = 2,
	SET_OPTIONS = 3,
	SET_DATA = 256,
	LENGTH_VARIES = 65535,      /* RFC 7011 section 7 */
	LEAST_KEYS = 1024,          /* a power of two */
};

#define GAPS (UINT64_C(1) << 63)        /* of a row's records */

static const char content_magic[8] = "PFINDEX1";

/* Stafford's 13th mixer: each bit of the result depends on each of value. */
static uint64_t
mix(uint64_t value)
{
	value = (value ^ value >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	value = (value ^ value >> 27) * UINT64_C(0x94d049bb133111eb);
	return value ^ value >> 31;
}

uint32_t
index_sum(const uint8_t *octets, size_t n)
{
	uint64_t sum = mix(n + 1);
	uint8_t rest[8] = { 0 };

	for (; n >= sizeof rest; n -= sizeof rest, octets += sizeof rest)
		sum = mix(sum ^ get_le64(octets)) + 1;
	if (n)
		memcpy(rest, octets, n);
	return mix(sum ^ get_le64(rest));
}

static uint64_t
hash_address(uint8_t family, const union address *address)
{
	const uint64_t low = mix(get_le64(address->v6) + family);

	return mix(low ^ get_le64(address->v6 + 8)) | 1;
}

/* The bit of a filter of that many bits that stands for the ith hash of a key. */
static uint64_t
filter_bit(uint64_t hash, unsigned i, uint64_t bits)
{
	const uint64_t value = hash + i * (mix(hash) | 1);

	return (uint64_t)((unsigned __int128)value * bits >> 64);
}

static bool
filter_has(const uint8_t *filter, size_t octets, uint64_t hash)
{
	for (unsigned i = 0; i < KEY_HASHES; i++) {
		const uint64_t bit = filter_bit(hash, i, (uint64_t)octets * 8);
		if (!(filter[bit / 8] >> bit % 8 & 1))
			return false;
	}
	return true;
}

static void
filter_add(uint8_t *filter, size_t octets, uint64_t hash)
{
	for (unsigned i = 0; i < KEY_HASHES; i++) {
		const uint64_t bit = filter_bit(hash, i, (uint64_t)octets * 8);
		filter[bit / 8] |= 1 << bit % 8;
	}
}

/* Reading. */

struct filter {
	uint8_t *octets;            /* NULL: not read, or not readable */
	bool damaged;
};

struct index {
	int fd;
	uint64_t begin;             /* of the frame, in the file */
	size_t n;
	struct index_block *block;
	struct filter *filter;
};

G_GNUC_PRINTF(3, 4)
static bool
damaged(GError **error, uint64_t octet, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	g_autofree char *what = g_strdup_vprintf(format, arguments);
	va_end(arguments);
	g_set_error(error, PEERFLOW_ERROR, EX_DATAERR, "octet %" G_GUINT64_FORMAT ": %s", octet, what);
	return false;
}

static bool
read_at(int fd, uint8_t *octets, size_t n, uint64_t offset, GError **error)
{
	for (size_t done = 0; done < n;) {
		const ssize_t got = pread(fd, octets + done, n - done, offset + done);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0) {
			g_set_error(error, PEERFLOW_ERROR, EX_IOERR, "octet %" G_GUINT64_FORMAT ": %s", offset + done,
			            g_strerror(errno));
			return false;
		}
		if (!got)
			return damaged(error, offset + done, "the file ends");
		done += got;
	}
	return true;
}

/* The frame's content is found from the end. */
static bool
find_content(int fd, uint64_t *begin, uint32_t *length, GError **error)
{
	uint8_t footer[FOOTER], header[FRAME_HEADER];
	struct stat status;

	if (fstat(fd, &status) < 0 || status.st_size < FRAME_HEADER + CONTENT_HEADER + FOOTER)
		return damaged(error, 0, "too short for an index");
	const uint64_t end = status.st_size;
	if (!read_at(fd, footer, sizeof footer, end - FOOTER, error))
		return false;
	*length = get_le32(footer);
	if (get_le32(footer + 4) != FOOTER_MAGIC || *length < CONTENT_HEADER + FOOTER || *length > end - FRAME_HEADER)
		return damaged(error, end - FOOTER, "this is not the end of an index");
	*begin = end - *length;
	if (!read_at(fd, header, sizeof header, *begin - FRAME_HEADER, error))
		return false;
	if (get_le32(header) != FRAME_MAGIC || get_le32(header + 4) != *length)
		return damaged(error, *begin - FRAME_HEADER, "no index begins here");
	return true;
}

static void
take_row(struct index_block *block, const uint8_t *row)
{
	*block = (struct index_block){
		.offset = get_le64(row),
		.packed = get_le64(row + 8),
		.plain = get_le64(row + 16),
		.records = get_le64(row + 24) & ~GAPS,
		.gaps = get_le64(row + 24) & GAPS,
		.first = get_le64(row + 32),
		.last = get_le64(row + 40),
		.filter = get_le64(row + 48),
		.filter_octets = get_le32(row + 56),
		.filter_sum = get_le32(row + 60),
	};
}

/* Blocks lie one behind the other before the index, and filters in it. */
static bool
check_rows(const struct index *index, uint64_t content, uint32_t length, GError **error)
{
	const uint64_t filters = content + CONTENT_HEADER + index->n * INDEX_ROW, end = content + length - FOOTER;
	uint64_t at = 0;

	for (size_t i = 0; i < index->n; i++) {
		const struct index_block *block = &index->block[i];
		if (block->offset != at || block->packed > index->begin - at)
			return damaged(error, content + CONTENT_HEADER + i * INDEX_ROW, "the row of block %zu does not fit", i);
		at += block->packed;
		if (block->filter < filters || block->filter > end || block->filter_octets > end - block->filter)
			return damaged(error, content + CONTENT_HEADER + i * INDEX_ROW, "the filter of block %zu lies outside", i);
	}
	return at == index->begin || damaged(error, at, "%" G_GUINT64_FORMAT " octets of no block", index->begin - at);
}

static bool
read_rows(struct index *index, uint64_t content, uint32_t length, GError **error)
{
	uint8_t header[CONTENT_HEADER];

	if (!read_at(index->fd, header, sizeof header, content, error))
		return false;
	const uint32_t n = get_le32(header + 8);
	if (memcmp(header, content_magic, sizeof content_magic) != 0)
		return damaged(error, content, "an index of another kind");
	if (n > INDEX_BLOCKS_MOST || (uint64_t)n * INDEX_ROW > length - CONTENT_HEADER - FOOTER)
		return damaged(error, content + 8, "an index of %u blocks", n);
	g_autofree uint8_t *rows = g_malloc((size_t)n * INDEX_ROW + 1);
	if (!read_at(index->fd, rows, (size_t)n * INDEX_ROW, content + CONTENT_HEADER, error))
		return false;
	if (index_sum(rows, (size_t)n * INDEX_ROW) != get_le32(header + 12))
		return damaged(error, content + CONTENT_HEADER, "the index is damaged");
	index->n = n;
	index->block = g_new0(struct index_block, n + 1);
	index->filter = g_new0(struct filter, n + 1);
	for (uint32_t i = 0; i < n; i++)
		take_row(&index->block[i], rows + (size_t)i * INDEX_ROW);
	return check_rows(index, content, length, error);
}

struct index *
index_read(int fd, GError **error)
{
	g_autoptr(index_t) index = g_new0(struct index, 1);
	uint64_t content = 0;
	uint32_t length = 0;

	index->fd = fd;
	if (!find_content(fd, &content, &length, error))
		return NULL;
	index->begin = content - FRAME_HEADER;
	return read_rows(index, content, length, error) ? g_steal_pointer(&index) : NULL;
}

void
index_free(struct index *index)
{
	if (!index)
		return;
	for (size_t i = 0; i < index->n; i++)
		g_free(index->filter[i].octets);
	g_free(index->filter);
	g_free(index->block);
	g_free(index);
}

size_t
index_blocks(const struct index *index)
{
	return index->n;
}

const struct index_block *
index_block(const struct index *index, size_t i)
{
	return &index->block[i];
}

uint64_t
index_offset(const struct index *index)
{
	return index->begin;
}

bool
index_may_overlap(const struct index *index, size_t i, uint64_t first, uint64_t last)
{
	return index->block[i].first <= last && index->block[i].last >= first;
}

/* NULL if there is none to ask. */
static const uint8_t *
get_filter(struct index *index, size_t i)
{
	const struct index_block *block = &index->block[i];
	struct filter *filter = &index->filter[i];

	if (filter->octets || filter->damaged || !block->filter_octets)
		return filter->octets;
	g_autofree uint8_t *octets = g_malloc(block->filter_octets);
	filter->damaged = !read_at(index->fd, octets, block->filter_octets, block->filter, NULL)
	                  || index_sum(octets, block->filter_octets) != block->filter_sum;
	if (!filter->damaged)
		filter->octets = g_steal_pointer(&octets);
	return filter->octets;
}

bool
index_may_have(struct index *index, size_t i, uint8_t family, const union address *address)
{
	const uint8_t *filter = get_filter(index, i);

	return !filter || filter_has(filter, index->block[i].filter_octets, hash_address(family, address));
}

bool
index_filter_is_damaged(struct index *index, size_t i)
{
	get_filter(index, i);
	return index->filter[i].damaged;
}

/* Making. */

/* What the index wants of a record. */
enum wanted { NOTHING, ADDRESS4, ADDRESS6, START, END, GAP };

static const struct wanted_element {
	uint16_t element;
	uint16_t octets;
	uint8_t what;
	bool own;                   /* an enterprise's, whichever */
} wanted[] = {
	{ 8, 4, ADDRESS4, false },
	{ 12, 4, ADDRESS4, false },
	{ 225, 4, ADDRESS4, false },
	{ 226, 4, ADDRESS4, false },
	{ 27, 16, ADDRESS6, false },
	{ 28, 16, ADDRESS6, false },
	{ 281, 16, ADDRESS6, false },
	{ 282, 16, ADDRESS6, false },
	{ 152, 8, START, false },
	{ 153, 8, END, false },
	{ 1016, 8, END, true },     /* conntrackStopMilliseconds */
	{ 1031, 1, GAP, true },     /* gapKind */
};

struct layout {
	int64_t key;                /* Observation Domain and template id */
	bool options;
	bool gaps;                  /* options data that tell of gaps */
	bool known;                 /* it has a start and an end, and each address as we expect it */
	uint16_t shortest;          /* octets of the shortest record */
	uint16_t n;
	struct {
		uint16_t octets;
		uint8_t what;
	} field[];
};

struct index_maker {
	GHashTable *layouts;        /* struct layout by its own key, of this block */
	struct index_block now;     /* the block being filled */
	bool anything;              /* something in it was not understood */
	uint64_t *key;              /* hashes of its addresses, open addressing, zero: free */
	size_t n_keys, room;
	GArray *blocks;             /* struct index_block; filter is relative to the first */
	GByteArray *filters;
};

static void
begin_block(struct index_maker *maker)
{
	g_hash_table_remove_all(maker->layouts);
	maker->now = (struct index_block){ .first = UINT64_MAX };
	maker->anything = false;
	memset(maker->key, 0, maker->room * sizeof *maker->key);
	maker->n_keys = 0;
}

struct index_maker *
index_maker_new(void)
{
	struct index_maker *maker = g_new0(struct index_maker, 1);

	maker->layouts = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, g_free);
	maker->blocks = g_array_new(false, false, sizeof(struct index_block));
	maker->filters = g_byte_array_new();
	maker->room = LEAST_KEYS;
	maker->key = g_new0(uint64_t, maker->room);
	begin_block(maker);
	return maker;
}

void
index_maker_free(struct index_maker *maker)
{
	if (!maker)
		return;
	g_hash_table_unref(maker->layouts);
	g_array_unref(maker->blocks);
	g_byte_array_unref(maker->filters);
	g_free(maker->key);
	g_free(maker);
}

/* True if it was not there. */
static bool
put_key(uint64_t *table, size_t room, uint64_t hash)
{
	size_t at = hash >> 1 & (room - 1);

	while (table[at] && table[at] != hash)
		at = (at + 1) & (room - 1);
	const bool fresh = !table[at];
	table[at] = hash;
	return fresh;
}

static void
grow_keys(struct index_maker *maker)
{
	uint64_t *larger = g_new0(uint64_t, maker->room * 2);

	for (size_t i = 0; i < maker->room; i++)
		if (maker->key[i])
			put_key(larger, maker->room * 2, maker->key[i]);
	g_free(maker->key);
	maker->key = larger;
	maker->room *= 2;
}

static void
add_address(struct index_maker *maker, uint8_t family, const uint8_t *octets)
{
	union address address = { .half = { 0, 0 } };

	memcpy(address.v6, octets, family == 4 ? 4 : 16);
	maker->n_keys += put_key(maker->key, maker->room, hash_address(family, &address));
	if (maker->n_keys > maker->room / 2)
		grow_keys(maker);
}

static void
add_field(struct index_maker *maker, uint8_t what, const uint8_t *octets)
{
	uint64_t time;

	if (what == ADDRESS4 || what == ADDRESS6) {
		add_address(maker, what == ADDRESS4 ? 4 : 6, octets);
		return;
	}
	if (what != START && what != END)
		return;
	memcpy(&time, octets, sizeof time);
	time = GUINT64_FROM_BE(time);
	if (what == START)
		maker->now.first = MIN(maker->now.first, time);
	else
		maker->now.last = MAX(maker->now.last, time);
}

/* Octets between at and end, which a message never has more of than 65535. */
struct span {
	const uint8_t *at;
	const uint8_t *end;
};

static bool
has(const struct span *span, size_t octets)
{
	return (size_t)(span->end - span->at) >= octets;
}

static uint16_t
take16(struct span *span)
{
	const uint16_t value = get_net16(span->at);

	span->at += 2;
	return value;
}

static bool
take_length(struct span *span, size_t *octets)
{
	if (!has(span, 1))
		return false;
	*octets = *span->at++;
	if (*octets < 255)
		return true;
	if (!has(span, 2))
		return false;
	*octets = take16(span);
	return true;
}

static bool
add_record(struct index_maker *maker, const struct layout *layout, struct span *set)
{
	for (unsigned i = 0; i < layout->n; i++) {
		size_t octets = layout->field[i].octets;
		if (octets == LENGTH_VARIES && !take_length(set, &octets))
			return false;
		if (!has(set, octets))
			return false;
		if (layout->field[i].what)
			add_field(maker, layout->field[i].what, set->at);
		set->at += octets;
	}
	maker->now.records++;
	return true;
}

static bool
add_records(struct index_maker *maker, uint32_t domain, uint16_t id, struct span *set)
{
	const int64_t key = (int64_t)domain << 16 | id;
	const struct layout *layout = g_hash_table_lookup(maker->layouts, &key);

	if (!layout || (!layout->options && !layout->known))
		return false;
	maker->now.gaps |= layout->gaps;
	while (!layout->options && has(set, layout->shortest))
		if (!add_record(maker, layout, set))
			return false;
	return true;
}

static const struct wanted_element *
find_wanted(uint16_t element, bool own)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(wanted); i++)
		if (wanted[i].element == element && wanted[i].own == own)
			return &wanted[i];
	return NULL;
}

/* Field specifiers, RFC 7011 section 3.2. A time or an address in another length than ours is one we would miss. */
static bool
take_fields(struct layout *layout, struct span *set)
{
	unsigned starts = 0, ends = 0, shortest = 0;
	bool good = true;

	for (unsigned i = 0; i < layout->n; i++) {
		if (!has(set, 4))
			return false;
		const uint16_t element = take16(set), octets = take16(set);
		const bool own = element & 0x8000;
		if (own && !has(set, 4))
			return false;
		set->at += own ? 4 : 0;
		const struct wanted_element *found = find_wanted(element & 0x7fff, own);
		layout->field[i].octets = octets;
		layout->field[i].what = found ? found->what : NOTHING;
		good &= !found || found->octets == octets;
		layout->gaps |= layout->options && found && found->what == GAP;
		starts += found && found->what == START;
		ends += found && found->what == END;
		shortest += octets == LENGTH_VARIES ? 1 : octets;
	}
	layout->known = good && starts && ends;
	layout->shortest = MIN(shortest, UINT16_MAX);
	return shortest > 0;
}

static bool
take_template(struct index_maker *maker, uint32_t domain, uint16_t set_id, struct span *set)
{
	const uint16_t id = take16(set), n = take16(set);
	const bool options = set_id == SET_OPTIONS;

	if (!n || n > 1024 || (options && !has(set, 2)))
		return false;
	set->at += options ? 2 : 0;
	g_autofree struct layout *layout = g_malloc0(sizeof *layout + n * sizeof *layout->field);
	layout->key = (int64_t)domain << 16 | id;
	layout->options = options;
	layout->n = n;
	if (!take_fields(layout, set))
		return false;
	struct layout *kept = g_steal_pointer(&layout);
	g_hash_table_replace(maker->layouts, &kept->key, kept);
	return true;
}

static bool
take_set(struct index_maker *maker, uint32_t domain, struct span *message)
{
	if (!has(message, 4))
		return false;
	const uint16_t id = take16(message), octets = take16(message);
	if (octets < 4 || !has(message, octets - 4))
		return false;
	struct span set = { message->at, message->at + octets - 4 };
	message->at = set.end;
	if (id >= SET_DATA)
		return add_records(maker, domain, id, &set);
	while (has(&set, 4))
		if (!take_template(maker, domain, id, &set))
			return false;
	return true;
}

void
index_add(struct index_maker *maker, const uint8_t *message, size_t octets)
{
	struct span span = { message, message + octets };

	if (octets < MESSAGE_HEADER_OCTETS) {
		maker->anything = true;
		return;
	}
	span.at += 12;
	const uint32_t high = take16(&span), domain = high << 16 | take16(&span);
	while (has(&span, 1) && !maker->anything)
		maker->anything = !take_set(maker, domain, &span);
}

/* The filter's octets come behind those of the blocks before. */
static void
add_filter(struct index_maker *maker)
{
	struct index_block *block = &maker->now;
	const guint before = maker->filters->len;

	block->filter = before;
	if (!maker->n_keys)
		return;
	block->filter_octets = (maker->n_keys * KEY_BITS + 7) / 8;
	g_byte_array_set_size(maker->filters, before + block->filter_octets);
	uint8_t *filter = maker->filters->data + before;
	memset(filter, 0, block->filter_octets);
	for (size_t i = 0; i < maker->room; i++)
		if (maker->key[i])
			filter_add(filter, block->filter_octets, maker->key[i]);
	block->filter_sum = index_sum(filter, block->filter_octets);
}

void
index_end_block(struct index_maker *maker, uint64_t offset, uint64_t packed, uint64_t plain)
{
	struct index_block *block = &maker->now;

	block->offset = offset;
	block->packed = packed;
	block->plain = plain;
	if (maker->anything) {
		block->first = 0;
		block->last = UINT64_MAX;
		maker->n_keys = 0;
	}
	add_filter(maker);
	g_array_append_val(maker->blocks, *block);
	begin_block(maker);
}

static void
print_row(GByteArray *out, const struct index_block *block, uint64_t filters)
{
	const uint64_t numbers[] = { block->offset, block->packed, block->plain, block->records | (block->gaps ? GAPS : 0),
	                             block->first, block->last, filters + block->filter };

	for (unsigned i = 0; i < G_N_ELEMENTS(numbers); i++)
		add_le64(out, numbers[i]);
	add_le32(out, block->filter_octets);
	add_le32(out, block->filter_sum);
}

void
index_print(const struct index_maker *maker, uint64_t offset, GByteArray *out)
{
	const guint n = maker->blocks->len;
	const uint32_t length = CONTENT_HEADER + n * INDEX_ROW + maker->filters->len + FOOTER;
	g_autoptr(GByteArray) rows = g_byte_array_new();

	for (guint i = 0; i < n; i++)
		print_row(rows, &g_array_index(maker->blocks, struct index_block, i),
		          offset + FRAME_HEADER + CONTENT_HEADER + n * INDEX_ROW);
	add_le32(out, FRAME_MAGIC);
	add_le32(out, length);
	g_byte_array_append(out, (const guint8 *)content_magic, sizeof content_magic);
	add_le32(out, n);
	add_le32(out, index_sum(rows->data, rows->len));
	if (rows->len)
		g_byte_array_append(out, rows->data, rows->len);
	if (maker->filters->len)
		g_byte_array_append(out, maker->filters->data, maker->filters->len);
	add_le32(out, length);
	add_le32(out, FOOTER_MAGIC);
}
