/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "suite.h"

#include <stdio.h>
#include <sysexits.h>
#include <unistd.h>
#include <zstd.h>

#include "archive/columns.h"
#include "archive/index.h"
#include "archive/pack.h"
#include "archive/scan.h"
#include "stream.h"

enum { FLOWS = 300, SEED = 11 };

/* A directory of its own for each test, as an archive. */
static char directory[64];

static void
make_directory(void)
{
	strcpy(directory, "/tmp/peerflow-test-XXXXXX");
	CU_ASSERT_PTR_NOT_NULL_FATAL(g_mkdtemp(directory));
}

static void
remove_directory(void)
{
	g_autoptr(GDir) dir = g_dir_open(directory, 0, NULL);
	const char *name;

	while ((name = g_dir_read_name(dir))) {
		g_autofree char *path = g_build_filename(directory, name, NULL);
		remove(path);
	}
	rmdir(directory);
}

static char *
path_of(const char *name)
{
	return g_build_filename(directory, name, NULL);
}

static void
write_file(const char *name, const void *octets, size_t n)
{
	g_autofree char *path = path_of(name);

	CU_ASSERT_TRUE_FATAL(g_file_set_contents(path, octets, n, NULL));
}

static bool
begins_block(const uint8_t *message)
{
	return message[16] == 0 && message[17] == 2;
}

static void
add_frame(GByteArray *out, const uint8_t *octets, size_t n)
{
	const size_t bound = ZSTD_compressBound(n), had = out->len;
	ZSTD_CCtx *zstd = ZSTD_createCCtx();

	ZSTD_CCtx_setParameter(zstd, ZSTD_c_checksumFlag, 1);
	g_byte_array_set_size(out, had + bound);
	g_byte_array_set_size(out, had + ZSTD_compress2(zstd, out->data + had, bound, octets, n));
	ZSTD_freeCCtx(zstd);
}

/* In which way files are packed; most tests are of either. */
static enum pack_how how;

static const char *
suffix(void)
{
	return how == PACK_COLUMNS ? ".columns" : ".zst";
}

static char *
packed_name(unsigned number)
{
	return g_strdup_printf("flows-20261122T140000Z-%06u.ipfix%s", number, suffix());
}

static void
add_columns(GByteArray *out, const uint8_t *octets, size_t n)
{
	g_autoptr(columns_packer_t) packer = columns_packer_new();

	CU_ASSERT_TRUE_FATAL(columns_pack(packer, octets, n, out, NULL));
}

static void
add_block(GByteArray *out, const uint8_t *octets, size_t n)
{
	if (how == PACK_COLUMNS)
		add_columns(out, octets, n);
	else
		add_frame(out, octets, n);
}

/* A frame or columns for each block, and an index. */
static GByteArray *
packed_octets(const GByteArray *octets)
{
	GByteArray *out = g_byte_array_new();
	g_autoptr(index_maker_t) maker = index_maker_new();
	size_t begin = 0, length;

	for (size_t at = 0; at < octets->len; at += length) {
		length = octets->data[at + 2] << 8 | octets->data[at + 3];
		index_add(maker, octets->data + at, length);
		const size_t next = at + length, had = out->len;
		if (next < octets->len && !begins_block(octets->data + next))
			continue;
		add_block(out, octets->data + begin, next - begin);
		index_end_block(maker, had, out->len - had, next - begin);
		begin = next;
	}
	index_print(maker, out->len, out);
	return out;
}

static void
write_packed(const char *name, const GByteArray *octets)
{
	g_autoptr(GByteArray) out = packed_octets(octets);

	write_file(name, out->data, out->len);
}

static void
write_numbered(unsigned number, const GByteArray *octets)
{
	g_autofree char *name = packed_name(number);

	write_packed(name, octets);
}

static void
both_ways(void (*test)(void))
{
	for (how = 0; how < PACK_HOWS; how++)
		test();
}

/* What a scan gave. */
struct result {
	unsigned flows;
	unsigned wrong;             /* flows, or names of theirs, that are not what was written */
	unsigned gaps;
	unsigned troubles;
	char trouble[256];          /* the last */
	unsigned lost;              /* flows that troubles speak of */
	struct scan_statistics statistics;
};

static void
take_trouble(const char *text, void *data)
{
	struct result *result = data;

	const char *end = strstr(text, " flows are lost"), *number = end;

	while (number && number > text && g_ascii_isdigit(number[-1]))
		number--;
	result->lost += number ? strtoul(number, NULL, 10) : 0;
	result->troubles++;
	g_strlcpy(result->trouble, text, sizeof result->trouble);
}

static void
take_gap(const struct gap *gap, size_t path, void *data)
{
	struct result *result = data;

	CU_ASSERT_EQUAL(path, 0);
	result->gaps += gap->kind == GAP_OVERRUN && gap->flows == 17;
}

static bool
same_word(const struct names *names, uint32_t one, uint32_t other)
{
	const struct names *all = stream_names();

	return strcmp(names->name[names_word(names, one, WORD_USER)].text,
	              all->name[names_word(all, other, WORD_USER)].text) == 0;
}

/* Flows are known by their start. */
static struct flow *
all_flows(void)
{
	static struct flow flows[5 * FLOWS];

	if (!flows[0].start) {
		g_autoptr(GRand) rand = g_rand_new_with_seed(SEED);
		for (unsigned i = 0; i < G_N_ELEMENTS(flows); i++)
			flows[i] = stream_flow(rand, i);
	}
	return flows;
}

/* But for what is counted anew by each reader, and what full.template has no word for. */
static bool
same_flow(struct flow flow, const struct flow *read)
{
	flow.initiator = read->initiator;
	flow.responder = read->responder;
	flow.policy = read->policy;
	memcpy(flow.properties, read->properties, sizeof flow.properties);
	flow.reply.biflow_direction = 0;
	if (!read->original.icmp_id)
		flow.original.icmp_id = flow.reply.icmp_id = 0;
	return memcmp(&flow, read, sizeof flow) == 0;
}

static const struct flow *
flow_of(const struct scan_record *record)
{
	const uint64_t n = (record->flow.start - stream_start) / 100;

	return &all_flows()[MIN(n, 5 * FLOWS - 1)];
}

static bool
is_right(const struct scan_record *record)
{
	const struct flow *flow = flow_of(record);

	return same_flow(*flow, &record->flow) && same_word(record->names, record->flow.initiator, flow->initiator) &&
	       same_word(record->names, record->flow.responder, flow->responder) &&
	       g_strcmp0(record->domain_name, "router-a") == 0 && g_strcmp0(record->egress, "wt0") == 0;
}

static struct result
scan_with(struct scan_options options, const char *path)
{
	struct result result = { 0 };
	g_autoptr(GError) error = NULL;
	struct scan_record record;
	char *paths[] = { path ? (char *)path : directory, NULL };

	options.paths = paths;
	options.enterprise = STREAM_ENTERPRISE;
	options.trouble = take_trouble;
	options.gap = take_gap;
	options.data = &result;
	struct scan *scan = scan_open(&options, &error);
	CU_ASSERT_PTR_NOT_NULL_FATAL(scan);
	for (; scan_next(scan, &record); result.flows++)
		result.wrong += !is_right(&record);
	result.statistics = *scan_statistics(scan);
	CU_ASSERT_EQUAL(result.statistics.troubles, result.troubles);
	scan_free(scan);
	return result;
}

static struct result
scan_all(const char *path)
{
	return scan_with((struct scan_options){ .last = UINT64_MAX }, path);
}

#define NAME(number) "flows-20261122T140000Z-00000" #number ".ipfix"

/* Files of all kinds, in the order of their numbers; the last is being written, and one is there twice. */
static void
test_directory(void)
{
	g_autoptr(GByteArray) one = stream_archive(4000, 0, FLOWS, SEED), two = stream_archive(4000, FLOWS, FLOWS, SEED),
	                      three = stream_archive(4000, 2 * FLOWS, 3 * FLOWS, SEED);
	g_autofree char *single = NULL;
	uint64_t last[2][8] = { { 0 } };            /* of each path, by kind */

	make_directory();
	single = path_of(NAME(2));
	write_numbered(1, one);
	how = PACK_HOWS - 1 - how;      /* both kinds may be in a directory */
	write_numbered(2, two);
	how = PACK_HOWS - 1 - how;
	write_file(NAME(2), two->data, two->len);
	write_file(NAME(2) ".zst.part", two->data, 100);
	write_file(NAME(2) ".columns.part", two->data, 100);
	write_file(NAME(3) ".part", three->data, three->len - 11);
	write_file("chain", "1\n", 2);
	const struct result all = scan_all(NULL);
	CU_ASSERT(all.flows >= 5 * FLOWS - 500 && all.flows < 5 * FLOWS);
	CU_ASSERT_EQUAL(all.wrong, 0);
	CU_ASSERT_EQUAL(all.troubles, 0);
	CU_ASSERT_EQUAL(all.statistics.files, 3);
	CU_ASSERT_EQUAL(all.statistics.records, all.flows);
	CU_ASSERT_EQUAL(all.statistics.earliest, stream_start);
	const struct result two_alone = scan_all(single);
	CU_ASSERT_EQUAL(two_alone.flows, FLOWS);
	CU_ASSERT_EQUAL(two_alone.wrong, 0);

	char *paths[] = { directory, single, NULL };
	const struct scan_options options = { .paths = paths, .last = UINT64_MAX, .enterprise = STREAM_ENTERPRISE };
	struct scan *scan = scan_open(&options, NULL);
	struct scan_record record;
	for (unsigned n = 0; scan_next(scan, &record); n++) {
		CU_ASSERT_EQUAL(record.path, n >= all.flows);
		CU_ASSERT(record.flow.start > last[record.path][stream_kind(&record.flow)]);
		last[record.path][stream_kind(&record.flow)] = record.flow.start;
	}
	scan_free(scan);
	remove_directory();
}

static bool
is_late(const struct flow *flow, void *data G_GNUC_UNUSED)
{
	CU_ASSERT_EQUAL(flow->initiator + flow->responder + flow->policy, 0);
	return flow->start >= stream_start + 20000;
}

/* Whoever can say no before names are looked up is asked. */
static void
test_wanted(void)
{
	g_autoptr(GByteArray) octets = stream_archive(4000, 0, FLOWS, SEED);

	make_directory();
	write_numbered(1, octets);
	const struct result late = scan_with((struct scan_options){ .last = UINT64_MAX, .wanted = is_late }, NULL);
	CU_ASSERT_EQUAL(late.flows, FLOWS - 200);
	const struct result counted = scan_with((struct scan_options){ .last = UINT64_MAX, .wanted = is_late, .bare = true,
	                                                               .spared = FLOW_TUPLE | FLOW_REST }, NULL);
	CU_ASSERT_EQUAL(counted.flows, late.flows);
	const struct result shown = scan_with((struct scan_options){ .last = UINT64_MAX, .wanted = is_late,
	                                                             .spared = FLOW_TUPLE | FLOW_REST }, NULL);
	CU_ASSERT_EQUAL(shown.flows, late.flows);
	CU_ASSERT_EQUAL(shown.wrong, late.wrong);
	CU_ASSERT_EQUAL(late.wrong, 0);
	CU_ASSERT_EQUAL(late.statistics.records, FLOWS);
	remove_directory();
}

/* What only the index can know: which blocks are not to be looked at. */
static void
test_index(void)
{
	const struct flow *flow = &all_flows()[2 * FLOWS + 5];
	const struct scan_address address = { flow->reply.destination, flow->family };

	make_directory();
	for (unsigned i = 0; i < 4; i++) {
		g_autoptr(GByteArray) file = stream_archive(1 << 20, i * FLOWS, FLOWS, SEED);
		write_numbered(i, file);
	}
	const struct result in_time = scan_with((struct scan_options){ .first = 0, .last = stream_start + 100 }, NULL);
	CU_ASSERT_EQUAL(in_time.flows, 2);
	CU_ASSERT_EQUAL(in_time.wrong, 0);
	CU_ASSERT_EQUAL(in_time.statistics.files, 1);
	CU_ASSERT_EQUAL(in_time.statistics.files_skipped, 3);
	CU_ASSERT_EQUAL(in_time.statistics.records, FLOWS);
	CU_ASSERT_EQUAL(in_time.statistics.earliest, stream_start);
	const struct result of_address = scan_with((struct scan_options){ .last = UINT64_MAX, .addresses = &address,
	                                                                  .n_addresses = 1 }, NULL);
	CU_ASSERT_EQUAL(of_address.flows, 1);
	CU_ASSERT(of_address.statistics.files <= 2);
	const struct result never = scan_with((struct scan_options){ .first = 5, .last = 6 }, NULL);
	CU_ASSERT_EQUAL(never.flows, 0);
	CU_ASSERT_EQUAL(never.statistics.blocks, 0);
	CU_ASSERT_EQUAL(never.statistics.blocks_skipped, 4);
	CU_ASSERT(never.statistics.octets == 0);
	remove_directory();
}

/* A gap record tells of any time, and of whoever is missing: a block that has one is read by who wants to know, though no
 * flow in it is asked for. */
static void
test_gaps(void)
{
	static const struct scan_address nobody = { { .v4 = { 192, 0, 2, 77 } }, 4 };
	g_autoptr(GByteArray) octets = stream_of("archive", TRAIT_BIFLOW, 8000, FLOWS, SEED);
	char *paths[] = { directory, NULL };
	const struct scan_options deaf = { .paths = paths, .last = UINT64_MAX, .addresses = &nobody, .n_addresses = 1,
	                                   .enterprise = STREAM_ENTERPRISE };
	struct scan_record record;

	make_directory();
	write_numbered(1, octets);
	const struct result wanted = scan_with(deaf, NULL);
	CU_ASSERT_EQUAL(wanted.gaps, 1);
	CU_ASSERT_EQUAL(wanted.flows, 0);
	CU_ASSERT_EQUAL(wanted.troubles, 0);
	const struct result later = scan_with((struct scan_options){ .first = stream_start + 5001, .last = UINT64_MAX,
	                                                             .addresses = &nobody, .n_addresses = 1 }, NULL);
	CU_ASSERT_EQUAL(later.gaps, 0);
	g_autoptr(scan_t) scan = scan_open(&deaf, NULL);
	CU_ASSERT_FALSE(scan_next(scan, &record));
	CU_ASSERT_EQUAL(scan_statistics(scan)->blocks, 0);
	CU_ASSERT_EQUAL(scan_statistics(scan)->records, 0);
	remove_directory();
}

/* Whatever octet of a plain file is damaged, flows of the other messages are shown, and none has another's name. */
static void
test_damaged_plain(void)
{
	enum { SOME = 12 };
	g_autoptr(GByteArray) octets = stream_of("archive", TRAIT_BIFLOW, 1400, SOME, SEED);
	g_autofree char *path = NULL;
	unsigned silent = 0;

	make_directory();
	path = path_of("file.ipfix");
	for (size_t i = 0; i < octets->len; i += 3) {
		octets->data[i] ^= 0x41;
		write_file("file.ipfix", octets->data, octets->len);
		const struct result result = scan_all(path);
		octets->data[i] ^= 0x41;
		CU_ASSERT(result.flows <= SOME);
		CU_ASSERT(result.flows >= 2 || result.troubles);
		silent += result.flows < SOME && !result.troubles;
		if (result.troubles)
			CU_ASSERT(g_str_has_prefix(result.trouble, path));
	}
	/* An octet of a template can make flows of it something else that is well formed, without a sign. */
	CU_ASSERT(silent < octets->len / 12);
	remove_directory();
}

/* The same of a compressed file: checksums tell, and only one block is lost. */
static void
test_damaged_packed(void)
{
	enum { BLOCKS = 3 };
	g_autoptr(GByteArray) all = g_byte_array_new();
	g_autofree char *name = packed_name(1), *path = NULL;
	unsigned intact = 0;

	make_directory();
	path = path_of(name);
	for (unsigned i = 0; i < BLOCKS; i++) {
		g_autoptr(GByteArray) block = stream_archive(8 << 20, i * FLOWS, FLOWS, SEED);
		add_block(all, block->data, block->len);
	}
	for (size_t i = 0; i < all->len; i += 1 + all->len / 400) {
		all->data[i] ^= 0x10;
		write_file(name, all->data, all->len);
		const struct result result = scan_all(path);
		all->data[i] ^= 0x10;
		CU_ASSERT_EQUAL(result.wrong, 0);
		CU_ASSERT(result.flows >= (BLOCKS - 1) * FLOWS);
		CU_ASSERT(result.troubles > 0);
		intact += result.flows == BLOCKS * FLOWS;
	}
	CU_ASSERT(intact < 20);
	remove_directory();
}

/* And with an index, which may be what is damaged. */
static void
test_damaged_index(void)
{
	g_autoptr(GByteArray) one = stream_archive(1 << 20, 0, FLOWS, SEED), packed = packed_octets(one);
	g_autofree char *name = packed_name(1), *path = NULL;
	const size_t n = packed->len;
	unsigned told = 0, tries = 0;

	make_directory();
	path = path_of(name);
	for (size_t i = 0; i < n; i += 1 + n / 300, tries++) {
		packed->data[i] ^= 0x10;
		write_file(name, packed->data, n);
		const struct result result = scan_all(path);
		packed->data[i] ^= 0x10;
		CU_ASSERT_EQUAL(result.wrong, 0);
		CU_ASSERT(result.flows == FLOWS || result.troubles);
		told += result.troubles > 0;
	}
	CU_ASSERT(told > tries / 2);
	/* Cut anywhere. */
	for (size_t i = 0; i < n; i += 1 + n / 60) {
		write_file(name, packed->data, i);
		const struct result result = scan_all(path);
		CU_ASSERT_EQUAL(result.wrong, 0);
		CU_ASSERT(result.troubles);
	}
	remove_directory();
}

/* Small files in columns */

enum { FEW = 24 };

/* In three blocks. */
static GByteArray *
few_flows(void)
{
	GByteArray *all = g_byte_array_new();

	for (unsigned i = 0; i < 3; i++) {
		g_autoptr(GByteArray) block = stream_archive(1 << 20, i * FEW / 3, FEW / 3, SEED);
		g_byte_array_append(all, block->data, block->len);
	}
	return all;
}

/* An octet is another one: each flow that is not given is told as lost. */
static void
test_any_octet(void)
{
	g_autoptr(GByteArray) plain = few_flows(), packed = NULL;
	g_autofree char *name = NULL, *path = NULL;
	unsigned wrong = 0, untold = 0, partly = 0;

	how = PACK_COLUMNS;
	packed = packed_octets(plain);
	name = packed_name(1);
	make_directory();
	path = path_of(name);
	write_file(name, packed->data, packed->len);
	const struct result whole = scan_all(path);
	CU_ASSERT(whole.flows == FEW && !whole.troubles && whole.statistics.blocks == 3);
	for (size_t i = 0; i < packed->len; i += 3) {
		packed->data[i] ^= 1 << i % 8;
		write_file(name, packed->data, packed->len);
		const struct result result = scan_all(path);
		packed->data[i] ^= 1 << i % 8;
		wrong += result.wrong;
		untold += result.flows + result.lost != FEW;
		partly += result.lost > 0 && result.flows > 0;
	}
	CU_ASSERT_EQUAL(wrong, 0);
	CU_ASSERT_EQUAL(untold, 0);
	CU_ASSERT(partly > packed->len / 12);
	remove_directory();
}

static void
test_cut_anywhere(void)
{
	g_autoptr(GByteArray) plain = few_flows(), packed = NULL;
	g_autofree char *name = NULL, *path = NULL;
	unsigned most = 0;

	how = PACK_COLUMNS;
	packed = packed_octets(plain);
	name = packed_name(1);
	make_directory();
	path = path_of(name);
	for (size_t n = 0; n < packed->len; n += 7) {
		write_file(name, packed->data, n);
		const struct result result = scan_all(path);
		CU_ASSERT(result.troubles > 0);
		CU_ASSERT_EQUAL(result.wrong, 0);
		CU_ASSERT(result.flows >= most);
		most = result.flows;
	}
	CU_ASSERT_EQUAL(most, FEW);
	remove_directory();
}

/* Where the packed octets of a block's field begin: the frames stand in the order of the fields. */
static size_t
frame_of(const uint8_t *block, uint16_t template, unsigned field)
{
	const uint8_t *at = block + COLUMNS_HEAD;
	size_t frame = (block[8] | block[9] << 8 | (size_t)block[10] << 16) +
	               (block[28] | block[29] << 8 | (size_t)block[30] << 16);

	for (unsigned tables = block[32]; tables--;) {
		const unsigned id = at[0] | at[1] << 8, n = at[2] | at[3] << 8;
		at += 8;
		for (unsigned i = 0; i < n; i++) {
			const unsigned octets = at[0] | at[1] << 8, varying = at[2] | at[3] << 8;
			if (id == template && i == field)
				return frame;
			frame += at[4] | at[5] << 8 | (size_t)at[6] << 16;
			at += 8 + octets - __builtin_popcount(varying);
		}
	}
	return 0;
}

static bool
has_no_port(const struct flow *flow, void *data G_GNUC_UNUSED)
{
	return !flow->original.source_port;
}

static bool
is_any(const struct flow *flow G_GNUC_UNUSED, void *data G_GNUC_UNUSED)
{
	return true;
}

/* A column that is damaged is trouble for whoever asks for it, and for nobody else. */
static void
test_damaged_column(void)
{
	g_autoptr(GByteArray) plain = stream_archive(1 << 20, 0, FLOWS, SEED), packed = NULL;
	g_autofree char *path = NULL, *name = NULL;
	const struct scan_options nobody_asks = { .last = UINT64_MAX, .wanted = is_any, .spared = ~0u, .bare = true };
	const struct scan_options ports = { .last = UINT64_MAX, .wanted = has_no_port, .spared = ~(unsigned)FLOW_PORTS,
	                                    .bare = true };

	how = PACK_COLUMNS;
	packed = packed_octets(plain);
	name = packed_name(1);
	make_directory();
	path = path_of(name);
	const size_t frame = frame_of(packed->data, 511, 0);
	CU_ASSERT_FATAL(frame > 0);
	packed->data[frame + 7] ^= 2;   /* of the first field, which says whose flows of that template are */
	write_file(name, packed->data, packed->len);
	const struct result whole = scan_all(path), counted = scan_with(nobody_asks, path), few = scan_with(ports, path);
	CU_ASSERT_EQUAL(whole.troubles, 1);
	CU_ASSERT_EQUAL(whole.wrong, 0);
	CU_ASSERT(whole.flows > 0 && whole.flows < FLOWS);
	CU_ASSERT_EQUAL(whole.flows + whole.lost, FLOWS);
	g_autofree char *begin = g_strdup_printf("%s: frame at octet 0: field 1 of template 511: ", path);
	CU_ASSERT_TRUE(g_str_has_prefix(whole.trouble, begin));
	CU_ASSERT_EQUAL(counted.flows, FLOWS);
	CU_ASSERT_EQUAL(counted.troubles, 0);
	CU_ASSERT(few.flows > 0 && few.flows < FLOWS);
	CU_ASSERT_EQUAL(few.troubles, 0);
	remove_directory();
}

/* A skeleton that cannot be read, a head that is damaged: the block is lost, and no other. */
static void
test_damaged_skeleton(void)
{
	g_autoptr(GByteArray) plain = g_byte_array_new(), packed = NULL;
	g_autofree char *path = NULL, *name = NULL;
	struct columns_size size;

	how = PACK_COLUMNS;
	for (unsigned i = 0; i < 3; i++) {
		g_autoptr(GByteArray) block = stream_archive(1 << 20, i * FLOWS, FLOWS, SEED);
		g_byte_array_append(plain, block->data, block->len);
	}
	packed = packed_octets(plain);
	CU_ASSERT_TRUE_FATAL(columns_measure(packed->data, &size));
	name = packed_name(1);
	make_directory();
	path = path_of(name);
	const uint8_t *second = packed->data + size.packed;
	const size_t skeleton = size.packed + (second[8] | second[9] << 8) + 20;
	const struct {
		size_t at;
		const char *what;
	} rows[] = {
		{ size.packed, "no block of columns begins here" }, { size.packed + 5, "its head is damaged" },
		{ size.packed + 40, "its head is damaged" }, { skeleton, "the skeleton: " },
	};
	for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
		packed->data[rows[i].at] ^= 0x40;
		write_file(name, packed->data, packed->len);
		const struct result result = scan_all(path);
		packed->data[rows[i].at] ^= 0x40;
		g_autofree char *begin = g_strdup_printf("%s: frame at octet %u: %s", path, size.packed, rows[i].what);
		CU_ASSERT_TRUE(g_str_has_prefix(result.trouble, begin));
		CU_ASSERT_TRUE(g_str_has_suffix(result.trouble, ": 300 flows are lost"));
		CU_ASSERT_EQUAL(result.troubles, 1);
		CU_ASSERT_EQUAL(result.flows, 2 * FLOWS);
		CU_ASSERT_EQUAL(result.wrong, 0);
	}
	remove_directory();
}

/* Where the index is damaged, blocks are walked one after the other. */
static void
test_walked(void)
{
	g_autoptr(GByteArray) plain = few_flows(), packed = packed_octets(plain);
	g_autofree char *name = packed_name(1), *path = NULL;

	make_directory();
	path = path_of(name);
	packed->data[packed->len - 1] ^= 1;
	write_file(name, packed->data, packed->len);
	const struct result result = scan_all(path);
	CU_ASSERT_EQUAL(result.flows, FEW);
	CU_ASSERT_EQUAL(result.wrong, 0);
	CU_ASSERT_EQUAL(result.troubles, 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(result.trouble, "this is not the end of an index"));
	CU_ASSERT_EQUAL(result.statistics.earliest, stream_start);
	remove_directory();
}

static bool
is_of_some(const struct scan_record *record, void *data G_GNUC_UNUSED)
{
	const struct names *names = record->names;

	return strchr(names->name[names_word(names, record->flow.initiator, WORD_USER)].text, '3') ||
	       strchr(names->name[names_word(names, record->flow.responder, WORD_GROUPS)].text, '1');
}

static unsigned
count_some(const char *path)
{
	char *paths[] = { (char *)path, NULL };
	const struct scan_options options = { .paths = paths, .last = UINT64_MAX, .enterprise = STREAM_ENTERPRISE };
	g_autoptr(scan_t) scan = scan_open(&options, NULL);
	struct scan_record record;
	unsigned n = 0;

	while (scan_next(scan, &record))
		n += is_of_some(&record, NULL);
	return n;
}

/* Whose flows they are is asked before the rest is read, with the same answer. */
static void
check_sure(const char *path, unsigned flows)
{
	const unsigned some = count_some(path);

	CU_ASSERT(some > flows / 20 && some < flows);
	for (unsigned i = 0; i < 8; i++) {
		const struct scan_options options = { .last = UINT64_MAX, .wanted = i & 1 ? is_any : NULL, .sure = is_of_some,
		                                      .spared = i & 2 ? ~(unsigned)(FLOW_WHO | FLOW_NAMES) : 0, .bare = i & 4 };
		const struct result result = scan_with(options, path);
		CU_ASSERT_EQUAL(result.flows, some);
		CU_ASSERT_EQUAL(result.statistics.records, flows);
		CU_ASSERT_EQUAL(result.troubles, 0);
	}
}

static void
test_sure(void)
{
	g_autoptr(GByteArray) plain = stream_archive(4000, 0, FLOWS, SEED),
	                      full = stream_of("full", TRAIT_UNIFLOW, 1400, FLOWS, SEED);
	struct scan_record some = { .flow = all_flows()[0], .names = stream_names() };
	g_autofree char *name = packed_name(1), *packed = NULL, *live = NULL;

	make_directory();
	packed = path_of(name);
	live = path_of("live.ipfix");
	write_packed(name, plain);
	write_file("live.ipfix", full->data, full->len);
	check_sure(packed, FLOWS);
	check_sure(live, 2 * FLOWS);
	for (unsigned i = 1; !is_of_some(&some, NULL); i++)
		some.flow = all_flows()[i];
	const struct scan_address address = { some.flow.original.source, some.flow.family };
	const struct scan_options options = { .last = UINT64_MAX, .addresses = &address, .n_addresses = 1 };
	struct scan_options asking = options;
	asking.sure = is_of_some;
	const struct result one = scan_with(options, packed), asked = scan_with(asking, packed);
	CU_ASSERT_EQUAL(one.flows, 1);
	CU_ASSERT_EQUAL(asked.flows, 1);
	CU_ASSERT_EQUAL(asked.wrong, 0);
	remove_directory();
}

/* When the first and the last were is known, whether anybody asked for times or not. */
static void
check_times(const char *path)
{
	const struct result whole = scan_all(path);

	for (unsigned spared = 0; spared < FLOW_NAMES * 2; spared++) {
		const struct result some = scan_with((struct scan_options){ .last = UINT64_MAX, .wanted = is_any,
		                                                            .spared = spared, .bare = true }, path);
		CU_ASSERT_EQUAL(some.flows, whole.flows);
		CU_ASSERT_EQUAL(some.statistics.earliest, whole.statistics.earliest);
		CU_ASSERT_EQUAL(some.statistics.latest, whole.statistics.latest);
		CU_ASSERT_EQUAL(some.statistics.records, whole.statistics.records);
	}
	CU_ASSERT(whole.statistics.earliest > 0 && whole.statistics.latest > whole.statistics.earliest);
}

static void
test_times(void)
{
	g_autoptr(GByteArray) plain = few_flows(), packed = packed_octets(plain), strange = g_byte_array_new();
	g_autofree char *name = packed_name(1), *path = NULL;
	static const uint8_t reserved[] = { 0, 5, 0, 4 };

	make_directory();
	path = path_of(name);
	write_file(name, packed->data, packed->len);
	check_times(path);
	packed->data[packed->len - 1] ^= 1;
	write_file(name, packed->data, packed->len);
	check_times(path);
	/* With a Set that nobody understands in a message of its own the index tells nothing. */
	g_byte_array_append(strange, plain->data, plain->len);
	g_byte_array_append(strange, plain->data, 16);
	uint8_t *last = strange->data + plain->len;
	last[2] = 0;
	last[3] = 16 + sizeof reserved;
	g_byte_array_append(strange, reserved, sizeof reserved);
	write_packed(name, strange);
	check_times(path);
	remove_directory();
}

static gpointer
count_flows(gpointer data)
{
	char *paths[] = { directory, directory, NULL };
	const struct scan_options options = { .paths = paths, .last = UINT64_MAX, .enterprise = STREAM_ENTERPRISE,
	                                      .wanted = data ? has_no_port : NULL, .spared = ~(unsigned)FLOW_PORTS };
	struct scan *scan = scan_open(&options, NULL);
	struct scan_record record;
	size_t n = 0;

	while (scan_next(scan, &record))
		n += same_flow(*flow_of(&record), &record.flow);
	scan_free(scan);
	return GSIZE_TO_POINTER(n);
}

static void
test_threads(void)
{
	GThread *threads[6];
	size_t n[2] = { 0 };

	all_flows();                    /* made before anybody else asks */
	make_directory();
	for (unsigned i = 0; i < 5; i++) {
		g_autoptr(GByteArray) file = stream_archive(i % 2 ? 3000 : 1 << 20, i * FLOWS, FLOWS, SEED);
		how = i % PACK_HOWS;
		write_numbered(i, file);
	}
	for (unsigned i = 0; i < 2; i++)
		n[i] = GPOINTER_TO_SIZE(count_flows(GUINT_TO_POINTER(i)));
	CU_ASSERT_EQUAL(n[0], 2 * 5 * FLOWS);
	CU_ASSERT(n[1] > 0 && n[1] < n[0] / 2);
	for (unsigned i = 0; i < G_N_ELEMENTS(threads); i++)
		threads[i] = g_thread_new("count", count_flows, GUINT_TO_POINTER(i % 2));
	for (unsigned i = 0; i < G_N_ELEMENTS(threads); i++)
		CU_ASSERT_EQUAL(GPOINTER_TO_SIZE(g_thread_join(threads[i])), n[i % 2]);
	remove_directory();
}

/* A single frame without an index, as zstd makes it, and larger than is held at once. */
static void
test_large_frame(void)
{
	g_autoptr(GByteArray) one = stream_archive(4 << 20, 0, 4 * FLOWS, SEED), all = g_byte_array_new();
	g_autofree char *path = NULL;
	unsigned times = 0;

	for (; all->len < 40 << 20; times++)
		g_byte_array_append(all, one->data, one->len);
	const size_t bound = ZSTD_compressBound(all->len);
	g_autofree uint8_t *packed = g_malloc(bound);
	const size_t n = ZSTD_compress(packed, bound, all->data, all->len, 1);
	make_directory();
	path = path_of("copied.ipfix.zst");
	write_file("copied.ipfix.zst", packed, n);
	const struct result result = scan_all(path);
	CU_ASSERT_EQUAL(result.flows, times * 4 * FLOWS);
	CU_ASSERT_EQUAL(result.wrong, 0);
	CU_ASSERT_EQUAL(result.troubles, 0);
	CU_ASSERT_EQUAL(result.statistics.octets, n);
	remove_directory();
}

/* A file whose end is cut: of one being written nothing is said. */
static void
test_cut(void)
{
	g_autoptr(GByteArray) octets = stream_of("archive", TRAIT_BIFLOW, 1400, 40, SEED);
	g_autofree char *closed = NULL, *part = NULL;

	make_directory();
	closed = path_of("a.ipfix");
	part = path_of("b.ipfix.part");
	for (size_t n = octets->len - 3000; n < octets->len; n += 7) {
		write_file("a.ipfix", octets->data, n);
		write_file("b.ipfix.part", octets->data, n);
		const struct result one = scan_all(closed), other = scan_all(part);
		CU_ASSERT_EQUAL(one.flows, other.flows);
		CU_ASSERT(one.flows > 10);
		CU_ASSERT_EQUAL(one.wrong + other.wrong, 0);
		CU_ASSERT(one.troubles <= 1);
		CU_ASSERT_EQUAL(other.troubles, 0);
	}
	remove_directory();
}

/* Files that were renamed or removed since they were listed. */
static void
test_rotated(void)
{
	g_autoptr(GByteArray) one = stream_archive(1 << 20, 0, FLOWS, SEED), two = stream_archive(1 << 20, FLOWS, FLOWS, SEED);
	const unsigned many = 40;
	struct scan_record record;
	unsigned flows = 0;

	make_directory();
	for (unsigned i = 0; i < many; i++) {
		g_autofree char *name = g_strdup_printf("flows-20261122T140000Z-%06u.ipfix", i);
		write_file(name, one->data, one->len);
	}
	char *paths[] = { directory, NULL };
	const struct scan_options options = { .paths = paths, .last = UINT64_MAX, .enterprise = STREAM_ENTERPRISE,
	                                      .trouble = take_trouble, .data = &(struct result){ 0 } };
	struct scan *scan = scan_open(&options, NULL);
	CU_ASSERT_TRUE(scan_next(scan, &record));
	flows++;
	write_numbered(30, two);
	g_autofree char *renamed = path_of("flows-20261122T140000Z-000030.ipfix"),
	                *removed = path_of("flows-20261122T140000Z-000031.ipfix");
	remove(renamed);
	remove(removed);
	while (scan_next(scan, &record))
		flows++;
	CU_ASSERT_EQUAL(flows, (many - 1) * FLOWS);
	CU_ASSERT_EQUAL(scan_statistics(scan)->troubles, 0);
	scan_free(scan);
	remove_directory();
}

/* A scan may be given up at any time. */
static void
test_given_up(void)
{
	g_autoptr(GByteArray) one = stream_archive(2000, 0, FLOWS, SEED);

	make_directory();
	write_numbered(1, one);
	for (unsigned n = 0; n < 60; n++) {
		char *paths[] = { directory, directory, directory, directory, directory, NULL };
		const struct scan_options options = { .paths = paths, .last = UINT64_MAX };
		struct scan *scan = scan_open(&options, NULL);
		struct scan_record record;
		for (unsigned i = 0; i < n * 10; i++)
			scan_next(scan, &record);
		scan_free(scan);
	}
	remove_directory();
}

/* What others wrote, and what we wrote with strings in each record. */
static void
test_single_files(void)
{
	g_autoptr(GByteArray) full = stream_of("full", TRAIT_BIFLOW, 1400, FLOWS, SEED),
	                      plain = stream_of("default", TRAIT_BIFLOW, 1400, FLOWS, SEED);
	g_autofree char *ours = NULL, *theirs = NULL;
	g_autoptr(GError) error = NULL;

	make_directory();
	ours = path_of("live.ipfix");
	theirs = path_of("foreign");
	write_file("live.ipfix", full->data, full->len);
	write_file("foreign", plain->data, plain->len);
	const struct result one = scan_all(ours), other = scan_all(theirs);
	CU_ASSERT_EQUAL(one.flows, FLOWS);
	CU_ASSERT_EQUAL(one.wrong, 0);
	CU_ASSERT_EQUAL(one.gaps, 1);
	CU_ASSERT_EQUAL(one.troubles, 0);
	CU_ASSERT_EQUAL(other.flows, FLOWS);
	CU_ASSERT_EQUAL(other.troubles, 0);
	const struct result later = scan_with((struct scan_options){ .first = stream_start + 90000, .last = UINT64_MAX },
	                                      ours);
	CU_ASSERT(later.flows < FLOWS / 2);
	CU_ASSERT_EQUAL(later.gaps, 0);

	char *nowhere[] = { "/nowhere/at/all", NULL };
	const struct scan_options options = { .paths = nowhere };
	CU_ASSERT_PTR_NULL(scan_open(&options, &error));
	CU_ASSERT_EQUAL(error->code, EX_NOINPUT);
	CU_ASSERT_STRING_EQUAL(error->message, "/nowhere/at/all: No such file or directory");
	remove_directory();
}

/* Each of these for files packed in either way. */

#define BOTH(test) \
	static void \
	test##_both(void) \
	{ \
		both_ways(test); \
	}

BOTH(test_directory)
BOTH(test_index)
BOTH(test_wanted)
BOTH(test_gaps)
BOTH(test_damaged_packed)
BOTH(test_damaged_index)
BOTH(test_rotated)
BOTH(test_given_up)
BOTH(test_walked)
BOTH(test_times)
BOTH(test_sure)

/* libfixbuf remarks on lengths of elements that nobody asked it for. */
static void
keep_silent(const char *domain G_GNUC_UNUSED, GLogLevelFlags level G_GNUC_UNUSED, const char *text G_GNUC_UNUSED,
            void *data G_GNUC_UNUSED)
{
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "a directory", test_directory_both },
		{ "what an index spares", test_index_both },
		{ "flows that nobody wants", test_wanted_both },
		{ "gaps that an index does not hide", test_gaps_both },
		{ "any octet damaged", test_damaged_plain },
		{ "the same of compressed octets", test_damaged_packed_both },
		{ "and of an index", test_damaged_index_both },
		{ "any octet of a small file", test_any_octet },
		{ "a small file cut anywhere", test_cut_anywhere },
		{ "a damaged column", test_damaged_column },
		{ "a damaged skeleton", test_damaged_skeleton },
		{ "blocks without an index", test_walked_both },
		{ "whose they are, before all else", test_sure_both },
		{ "the first and the last", test_times_both },
		{ "several scans at once", test_threads },
		{ "a frame that is too large to be held", test_large_frame },
		{ "a file that was cut", test_cut },
		{ "files that come and go", test_rotated_both },
		{ "a scan given up", test_given_up_both },
		{ "single files", test_single_files },
		CU_TEST_INFO_NULL,
	};

	g_log_set_handler(NULL, G_LOG_LEVEL_MESSAGE, keep_silent, NULL);
	return run_suite("scan", tests);
}
