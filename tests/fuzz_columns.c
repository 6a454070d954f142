/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What claims to be a block of columns is refused or read, and what claims to be messages comes back the same. */

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "archive/columns.h"
#include "archive/decode.h"
#include "archive/index.h"
#include "archive/reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(bool good)
{
	if (!good)
		abort();
}

/* What stands in columns can be asked for, in any order. */
static void
ask(struct columns *columns, uint32_t domain)
{
	uint64_t sum = 0;

	for (unsigned id = 256; id < 600; id++) {
		struct column_table *table = columns_table(columns, domain, id);
		for (unsigned n = table ? table->n_columns : 0; n--;) {
			const struct column *column = &table->column[n];
			if (!columns_ready(columns, table, UINT64_C(1) << n, NULL))
				continue;
			for (uint32_t i = 0; i < table->records; i += 1 + table->records / 7)
				sum += column_lane_value(&column->low, i) ^ column_lane_value(&column->high, i);
			sum += column_lane_value(&column->low, table->records - 1);
		}
	}
	static volatile uint64_t kept;
	kept = sum;
	(void)kept;
}

/* The flows of messages that lie one behind the other, up to the first that is not sound. */
struct reading {
	struct decoder *decoder;
	const uint8_t *at;
	const uint8_t *end;
	bool inside;
};

static bool
next_flow(struct reading *reading, struct flow *flow)
{
	for (;;) {
		if (reading->inside && decoder_next(reading->decoder, flow)) {
			decoder_names(reading->decoder, flow);
			return true;
		}
		const size_t left = reading->end - reading->at, octets = left < 16 ? 0 : decoder_octets(reading->at);
		reading->inside = octets && octets <= left && decoder_message(reading->decoder, reading->at, octets, NULL);
		if (!reading->inside)
			return false;
		reading->at += octets;
	}
}

static struct reading
begin_skeleton(struct columns *columns, unsigned spared)
{
	struct reading reading = { .decoder = decoder_new(READER_LOCAL_ENTERPRISE) };
	size_t n;

	decoder_spare(reading.decoder, spared);
	decoder_columns(reading.decoder, columns);
	reading.at = columns_skeleton(columns, &n);
	reading.end = n ? reading.at + n : reading.at;      /* of nothing there may be no pointer */
	return reading;
}

static void
read_skeleton(struct columns *columns, unsigned spared)
{
	struct reading reading = begin_skeleton(columns, spared);
	struct flow flow;

	while (next_flow(&reading, &flow))
		;
	decoder_free(reading.decoder);
}

static void
take_packed(const uint8_t *data, size_t size)
{
	g_autoptr(columns_t) columns = columns_new();
	g_autoptr(GError) error = NULL;

	if (!columns_open(columns, data, size, &error)) {
		check(error && *error->message);
		return;
	}
	read_skeleton(columns, FLOW_ADDRESSES | FLOW_REST);
	/* The columns of before are decompressed at once now. */
	check(columns_open(columns, data, size, NULL));
	read_skeleton(columns, 0);
	check(columns_open(columns, data, size, NULL));
	ask(columns, data[20] | data[21] << 8 | data[22] << 16 | (uint32_t)data[23] << 24);
	g_autofree uint8_t *messages = g_malloc(columns_plain(columns));
	columns_unpack(columns, messages, NULL);
}

/* Both give the same flows, as far as messages are sound. */
static void
compare_flows(const uint8_t *data, size_t size, struct columns *columns)
{
	struct reading whole = { decoder_new(READER_LOCAL_ENTERPRISE), data, data + size, false };
	struct reading skeleton = begin_skeleton(columns, 0);
	struct flow flow = { 0 }, other = { 0 };
	bool more;

	do {
		more = next_flow(&whole, &flow);
		check(next_flow(&skeleton, &other) == more);
		check(!more || memcmp(&flow, &other, sizeof flow) == 0);
	} while (more);
	check((whole.at == whole.end) == (skeleton.at == skeleton.end));
	decoder_free(whole.decoder);
	decoder_free(skeleton.decoder);
}

static void
take_messages(const uint8_t *data, size_t size)
{
	g_autoptr(columns_packer_t) packer = columns_packer_new();
	g_autoptr(columns_t) columns = columns_new();
	g_autoptr(GByteArray) packed = g_byte_array_new();
	g_autofree uint8_t *again = g_malloc(size);
	struct columns_size sizes;

	check(columns_pack(packer, data, size, packed, NULL));
	check(columns_measure(packed->data, &sizes) && sizes.packed == packed->len && sizes.plain == size);
	check(columns_open(columns, packed->data, packed->len, NULL));
	check(columns_plain(columns) == size);
	compare_flows(data, size, columns);
	check(columns_unpack(columns, again, NULL));
	check(!size || memcmp(again, data, size) == 0);
}

static void
put32(uint8_t *to, uint32_t value)
{
	for (unsigned i = 0; i < 4; i++)
		to[i] = value >> 8 * i;
}

/* No fuzzer finds the right sum of a head. */
static void
take_summed(const uint8_t *data, size_t size)
{
	g_autofree uint8_t *copy = g_memdup2(data, size);

	if (size < COLUMNS_HEAD)
		return;
	const uint32_t head = data[8] | data[9] << 8 | data[10] << 16 | (uint32_t)data[11] << 24;
	if (head < COLUMNS_HEAD || head > size)
		return;
	put32(copy + 12, size);
	put32(copy + 4, index_sum(copy + 8, head - 8));
	take_packed(copy, size);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	take_packed(data, size);
	take_summed(data, size);
	take_messages(data, size);
	return 0;
}
