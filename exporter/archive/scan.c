/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "archive/scan.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "archive/block.h"
#include "archive/decode.h"
#include "archive/reader.h"
#include "error.h"

struct scan {
	struct scan_options options;
	struct block_reader *blocks;
	const struct block *block;  /* the one at hand */
	const uint8_t *at;          /* its next message */
	struct decoder *decoder;    /* of the file; NULL: it is a foreign one, and reader reads it */
	bool inside;                /* a message of the block */
	uint64_t passed;            /* flows of the block so far */
	bool timeless;              /* of the file's flows nobody asks when they were */
	FILE *in;
	struct reader *reader;
	struct scan_statistics statistics;
};

static void
tell_trouble(struct scan *scan, const char *text)
{
	scan->statistics.troubles++;
	if (scan->options.trouble)
		scan->options.trouble(text, scan->options.data);
}

static void
take_gap(const struct gap *gap, void *data)
{
	struct scan *scan = data;

	if (gap->last >= scan->options.first && gap->first <= scan->options.last)
		scan->options.gap(gap, scan->block->path, scan->options.data);
}

struct scan *
scan_open(const struct scan_options *options, GError **error)
{
	g_autoptr(scan_t) scan = g_new0(struct scan, 1);

	scan->options = *options;
	scan->options.addresses = g_memdup2(options->addresses, options->n_addresses * sizeof *options->addresses);
	scan->blocks = block_reader_new(&scan->options, error);
	return scan->blocks ? g_steal_pointer(&scan) : NULL;
}

static bool
has_address(const struct flow *flow, const struct scan_address *wanted)
{
	const union address *const all[] = { &flow->original.source, &flow->original.destination, &flow->reply.source,
	                                     &flow->reply.destination };
	const unsigned n = flow->translation ? G_N_ELEMENTS(all) : 2;

	for (unsigned i = 0; i < n; i++)
		if (flow->family == wanted->family && memcmp(all[i], &wanted->address, sizeof *all[i]) == 0)
			return true;
	return false;
}

/* Of flows that an index has told of already only their number is not known. */
static void
note(struct scan *scan, const struct flow *flow)
{
	struct scan_statistics *statistics = &scan->statistics;

	statistics->records++;
	if (scan->timeless)
		return;
	if (!statistics->earliest || flow->start < statistics->earliest)
		statistics->earliest = flow->start;
	statistics->latest = MAX(statistics->latest, MAX(flow->end, flow->stop));
}

static bool
is_wanted(struct scan *scan, const struct flow *flow)
{
	const struct scan_options *options = &scan->options;

	note(scan, flow);
	if (!scan->timeless && (MAX(flow->end, flow->stop) < options->first || flow->start > options->last))
		return false;
	bool found = !options->n_addresses;
	for (size_t i = 0; i < options->n_addresses && !found; i++)
		found = has_address(flow, &options->addresses[i]);
	return found && (!options->wanted || options->wanted(flow, options->data));
}

static void
close_file(struct scan *scan)
{
	scan->inside = false;
	g_clear_pointer(&scan->decoder, decoder_free);
	g_clear_pointer(&scan->reader, reader_free);
	g_clear_pointer(&scan->in, fclose);
}

/* Files of others. False: the file is over. */
static bool
next_foreign(struct scan *scan, struct scan_record *record)
{
	g_autoptr(GError) error = NULL;
	enum reader_result result;
	struct record from;

	while ((result = reader_next(scan->reader, &from, &error)) == READER_FLOW) {
		if (!is_wanted(scan, &from.flow))
			continue;
		*record = (struct scan_record){
			.flow = from.flow, .names = from.names, .path = scan->block->path,
			.ingress = reader_interface(scan->reader, from.flow.original.ingress),
			.egress = reader_interface(scan->reader, from.flow.original.egress),
		};
		if (!scan->options.sure || scan->options.sure(record, scan->options.data))
			return true;
	}
	if (result == READER_ERROR)
		tell_trouble(scan, error->message);
	close_file(scan);
	return false;
}

static void
open_foreign(struct scan *scan)
{
	const char *name = scan->block->text;

	close_file(scan);
	scan->timeless = false;
	scan->in = fopen(name, "re");
	if (scan->in) {
		scan->reader = reader_new(scan->in, name, scan->options.enterprise);
		return;
	}
	g_autofree char *text = g_strdup_printf("%s: %s", name, g_strerror(errno));
	tell_trouble(scan, text);
}

/* Behind something that makes no sense nobody knows which records of columns are whose: the rest of the block is lost,
 * so many flows. */
static uint64_t
leave_columns(struct scan *scan)
{
	const struct block *block = scan->block;

	if (!block->columns)
		return 0;
	scan->at = block->octets + block->n;
	return block->records > scan->passed ? block->records - scan->passed : 0;
}

static void
tell_block(struct scan *scan, const char *what)
{
	const struct block *block = scan->block;
	const uint64_t lost = leave_columns(scan);
	g_autoptr(GString) text = g_string_new(block->name);

	if (block->packed)
		g_string_append_printf(text, ": frame at octet %" G_GUINT64_FORMAT, block->frame);
	g_string_append_printf(text, ": %s", what);
	if (lost)
		g_string_append_printf(text, ": %" G_GUINT64_FORMAT " flows are lost", lost);
	tell_trouble(scan, text->str);
	decoder_forget(scan->decoder);
}

static void
tell_message(struct scan *scan, const uint8_t *message, const char *what)
{
	const struct block *block = scan->block;
	g_autofree char *text = g_strdup_printf("message at octet %" G_GUINT64_FORMAT ": %s",
	                                        block->offset + (message - block->octets), what);

	tell_block(scan, text);
}

/* The next message of the block; one that is not sound is told and left out. */
static bool
next_message(struct scan *scan)
{
	const struct block *block = scan->block;

	while (scan->at < block->octets + block->n) {
		g_autoptr(GError) error = NULL;
		const uint8_t *message = scan->at;
		const size_t octets = decoder_octets(message);
		scan->at += octets;
		if (decoder_message(scan->decoder, message, octets, &error))
			return true;
		tell_message(scan, message, error->message);
	}
	return false;
}

static void
end_message(struct scan *scan)
{
	g_autoptr(GError) error = NULL;

	if (!decoder_is_whole(scan->decoder, &error))
		tell_block(scan, error->message);
}

/* Fills in what is known beside the flow. */
static void
look_up(struct scan *scan, struct scan_record *record)
{
	const struct decoder *decoder = scan->decoder;

	record->names = decoder_names(scan->decoder, &record->flow);
	record->ingress = decoder_interface(decoder, record->flow.original.ingress);
	record->egress = decoder_interface(decoder, record->flow.original.egress);
	record->path = scan->block->path;
	record->domain = decoder_domain(decoder);
	record->domain_name = decoder_domain_name(decoder);
}

static void
leave_bare(struct scan *scan, struct scan_record *record, const struct flow *flow)
{
	static const struct name nothing = { "-", 1 };
	static const struct identity nobody;
	static const struct names none = { .name = &nothing, .count = 1, .identity = &nobody, .n_identities = 1 };

	record->flow = *flow;
	record->names = &none;
	record->ingress = record->egress = record->domain_name = NULL;
	record->path = scan->block->path;
	record->domain = decoder_domain(scan->decoder);
}

static bool
is_sure(struct scan *scan, struct scan_record *record, const struct flow *seen)
{
	if (!scan->options.sure)
		return true;
	record->flow = *seen;
	look_up(scan, record);
	return scan->options.sure(record, scan->options.data);
}

/* The rest of a flow that is wanted. False: it is damaged. */
static bool
complete(struct scan *scan, struct scan_record *record, const struct flow *seen)
{
	if (scan->options.bare) {
		leave_bare(scan, record, seen);
		return true;
	}
	if (!decoder_take(scan->decoder, &record->flow))
		return false;
	look_up(scan, record);
	return true;
}

/* The next flow of the block that is wanted. */
static bool
next_flow(struct scan *scan, struct scan_record *record)
{
	const struct flow *seen;

	for (;;) {
		while (scan->inside && (seen = decoder_glance(scan->decoder))) {
			scan->passed++;
			if (!is_wanted(scan, seen) || !is_sure(scan, record, seen))
				continue;
			if (complete(scan, record, seen))
				return true;
			scan->passed--;
		}
		if (scan->inside)
			end_message(scan);
		scan->inside = next_message(scan);
		if (!scan->inside)
			return false;
	}
}

/* Addresses and times are looked at here; where neither they nor anybody may say no, there is nothing to spare. */
static unsigned
spared(const struct scan *scan)
{
	const struct scan_options *options = &scan->options;
	const bool asked = options->wanted || options->sure;
	unsigned parts = asked ? options->spared : UINT_MAX;

	if (!asked && !options->n_addresses)
		return 0;
	if (options->n_addresses)
		parts &= ~FLOW_ADDRESSES;
	if (!scan->block->indexed || options->first || options->last != UINT64_MAX)
		parts &= ~FLOW_TIMES;
	return options->bare && !options->sure ? parts | FLOW_NAMES : parts & ~FLOW_NAMES;
}

static void
begin_block(struct scan *scan)
{
	const struct block *block = scan->block;

	scan->at = block->octets;
	scan->inside = false;
	scan->passed = 0;
	if (block->begins) {
		close_file(scan);
		scan->decoder = decoder_new(scan->options.enterprise);
		const unsigned parts = spared(scan);
		decoder_spare(scan->decoder, parts);
		scan->timeless = parts & FLOW_TIMES;
		if (scan->options.gap)
			decoder_on_gap(scan->decoder, take_gap, scan);
	}
	decoder_columns(scan->decoder, block->columns);
	if (block->behind_loss)
		decoder_forget(scan->decoder);
}

static void
take_statistics(struct scan *scan)
{
	const struct scan_statistics own = scan->statistics;

	scan->statistics = scan->block->so_far;
	scan->statistics.records = own.records;
	scan->statistics.troubles = own.troubles;
	if (own.earliest && (!scan->statistics.earliest || own.earliest < scan->statistics.earliest))
		scan->statistics.earliest = own.earliest;
	scan->statistics.latest = MAX(scan->statistics.latest, own.latest);
}

/* False: there are no more. */
static bool
next_block(struct scan *scan)
{
	scan->block = block_reader_next(scan->blocks);
	take_statistics(scan);
	switch (scan->block->kind) {
	case BLOCK_MESSAGES:
		begin_block(scan);
		break;
	case BLOCK_FOREIGN:
		open_foreign(scan);
		break;
	case BLOCK_TROUBLE:
		tell_trouble(scan, scan->block->text);
		break;
	case BLOCK_END:
		close_file(scan);
		return false;
	}
	return true;
}

bool
scan_next(struct scan *scan, struct scan_record *record)
{
	do {
		if (scan->reader && next_foreign(scan, record))
			return true;
		if (scan->block && scan->block->kind == BLOCK_MESSAGES && next_flow(scan, record))
			return true;
	} while (next_block(scan));
	return false;
}

const struct scan_statistics *
scan_statistics(const struct scan *scan)
{
	return &scan->statistics;
}

void
scan_free(struct scan *scan)
{
	if (!scan)
		return;
	close_file(scan);
	block_reader_free(scan->blocks);
	g_free((void *)scan->options.addresses);
	g_free(scan);
}
