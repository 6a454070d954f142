/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_TESTS_STREAM_H
#define PEERFLOW_TESTS_STREAM_H

#include <glib.h>
#include <string.h>

#include "encode/blocks.h"
#include "encode/encoder.h"
#include "flow.h"
#include "names.h"

/* Streams of flows, made by the encoder itself, for those that read them back. */

enum { STREAM_DOMAIN = 7, STREAM_ENTERPRISE = 32473, STREAM_NAMES = 40, STREAM_IDENTITIES = 9 };

static const uint64_t stream_start = UINT64_C(1787400200000);

static inline struct encoder *
stream_encoder(const char *template, unsigned records, uint16_t message_size)
{
	g_autofree char *path = g_strdup_printf("%s/templates/%s.template", SOURCE_DIR, template);
	const struct encoder_options options = { .records = records, .reply = REPLY_MIRROR, .domain = STREAM_DOMAIN,
	                                         .enterprise = STREAM_ENTERPRISE, .message_size = message_size,
	                                         .properties = strcmp(template, "archive") == 0 };
	g_autoptr(GError) error = NULL;
	g_autoptr(template_file_t) file = template_file_load(path, &error);
	struct encoder *encoder = file ? encoder_new(file, &options, &error) : NULL;

	if (!encoder)
		g_error("%s", error->message);
	return encoder;
}

/* Eight identities, of which some lack words, and some text is long or not ASCII. */
static inline const struct names *
stream_names(void)
{
	static char text[STREAM_NAMES][300];
	static struct name name[STREAM_NAMES];
	static struct identity identity[STREAM_IDENTITIES];
	static struct names names = { name, STREAM_NAMES, identity, STREAM_IDENTITIES, NULL, 0 };

	for (unsigned i = 0; i < STREAM_NAMES; i++) {
		if (i)
			snprintf(text[i], sizeof text[i], "n\xc3\xa4me-%u", i);
		else
			strcpy(text[i], "-");
		if (i == 17)
			memset(text[i], 'x', sizeof text[i] - 1);
		name[i] = (struct name){ text[i], strlen(text[i]) };
	}
	for (unsigned i = 1; i < STREAM_IDENTITIES; i++)
		for (unsigned word = 0; word < WORDS; word++)
			identity[i].word[word] = (i + word) % 3 ? 1 + (i * 5 + word) % (STREAM_NAMES - 1) : 0;
	return &names;
}

static inline void
stream_address(union address *address, GRand *rand, uint8_t family)
{
	*address = (union address){ .word = { g_rand_int(rand) } };
	for (unsigned i = 1; i < 4 && family == 6; i++)
		address->word[i] = g_rand_int(rand);
}

/* In an archive, flows of one kind alone are in the order they were added: a number below eight. */
static inline unsigned
stream_kind(const struct flow *flow)
{
	return (flow->family == 6) << 2 | (flow->protocol == 1 || flow->protocol == 58) << 1 | (flow->translation != 0);
}

/* The nth flow of a row in time; every kind of flow there is a template for. */
static inline struct flow
stream_flow(GRand *rand, unsigned n)
{
	static const uint8_t protocols[] = { 6, 17, 6, 17, 6, 17, 132, 47 };
	struct flow flow = { .family = n % 5 ? 4 : 6, .protocol = protocols[n % 8], .start = stream_start + n * 100 };
	const bool icmp = n % 7 == 3;

	if (icmp)
		flow.protocol = flow.family == 4 ? 1 : 58;
	stream_address(&flow.original.source, rand, flow.family);
	stream_address(&flow.original.destination, rand, flow.family);
	flow.reply.source = flow.original.destination;
	flow.reply.destination = flow.original.source;
	if (icmp) {
		flow.original.icmp = 0x0800;
		flow.original.icmp_id = flow.reply.icmp_id = 1000 + n;
	} else {
		flow.original.source_port = flow.reply.destination_port = g_rand_int(rand);
		flow.original.destination_port = flow.reply.source_port = g_rand_int(rand);
	}
	flow.nat_type = flow.family;
	if (n % 3) {
		stream_address(&flow.reply.destination, rand, flow.family);
		flow.reply.icmp_id += icmp;
		flow.translation = TRANSLATED_SOURCE;
		flow.nat_type = flow.family == 4 ? 1 : 5;
	}
	flow.original.octets = (uint64_t)g_rand_int(rand) << 12;
	flow.original.packets = 1 + g_rand_int(rand) % 5000;
	flow.reply.octets = g_rand_int(rand);
	flow.reply.packets = 1 + g_rand_int(rand) % 5000;
	flow.original.ingress = 1 + n % 3;
	flow.original.egress = 2;
	flow.original.flow_direction = n % 2;
	flow.original.biflow_direction = 1;
	flow.reply.biflow_direction = 2;
	flow.flow_id = (uint64_t)g_rand_int(rand) << 32 | g_rand_int(rand);
	flow.id = flow.flow_id >> 32;
	flow.end = flow.start + g_rand_int(rand) % 50000;
	flow.stop = n % 4 ? flow.end + 30000 : 0;
	flow.mark = g_rand_int(rand);
	flow.status = g_rand_int(rand);
	flow.labels[n % 16] = n;
	flow.zone = n % 9;
	flow.state = flow.protocol == 6 ? 7 : 0;
	flow.end_reason = END_DETECTED;
	flow.gaps = n % 31 ? 0 : GAP_NO_START;
	flow.masqueraded = n % 3 == 2;
	flow.initiator = n % STREAM_IDENTITIES;
	flow.responder = n / 3 % STREAM_IDENTITIES;
	flow.policy = n % 4;
	return flow;
}

static inline void
stream_drain(struct encoder *encoder, GByteArray *out, bool partial)
{
	const struct message *messages;
	const size_t n = encoder_take(encoder, stream_start, partial, &messages);

	for (size_t i = 0; i < n; i++)
		g_byte_array_append(out, messages[i].octets, messages[i].length);
}

#define STREAM_ADD(encoder, out, add) \
	do { \
		while (!(add)) \
			stream_drain(encoder, out, false); \
	} while (0)

/* So many flows, each as stream_flow makes it with a GRand of that seed. */
static inline GByteArray *
stream_of(const char *template, unsigned records, uint16_t message_size, unsigned n, uint32_t seed)
{
	g_autoptr(GRand) rand = g_rand_new_with_seed(seed);
	g_autoptr(encoder_t) encoder = stream_encoder(template, records, message_size);
	const struct interface_name interface = { 2, "wt0" };
	const struct gap gap = { stream_start, stream_start + 5000, 17, 34, 999, GAP_OVERRUN, true, "" };
	GByteArray *out = g_byte_array_new();

	if (strcmp(template, "archive") == 0) {
		STREAM_ADD(encoder, out, encoder_begin_block(encoder));
	} else {
		STREAM_ADD(encoder, out, encoder_add_templates(encoder));
		STREAM_ADD(encoder, out, encoder_add_types(encoder));
	}
	STREAM_ADD(encoder, out, encoder_add_interface(encoder, &interface));
	STREAM_ADD(encoder, out, encoder_add_domain_name(encoder, "router-a"));
	for (unsigned i = 0; i < n; i++) {
		const struct flow flow = stream_flow(rand, i);
		STREAM_ADD(encoder, out, encoder_add_flow(encoder, &flow, stream_names()));
	}
	STREAM_ADD(encoder, out, encoder_add_gap(encoder, &gap));
	stream_drain(encoder, out, true);
	return out;
}


static inline bool
stream_sink(const struct message *messages, size_t n, void *data)
{
	for (size_t i = 0; i < n; i++)
		g_byte_array_append(data, messages[i].octets, messages[i].length);
	return true;
}

/* The same flows from the nth on as a file of an archive, in blocks of so many octets. */
static inline GByteArray *
stream_archive(size_t block, unsigned from, unsigned n, uint32_t seed)
{
	g_autoptr(template_file_t) file = template_file_load(SOURCE_DIR "/templates/archive.template", NULL);
	g_autoptr(GRand) rand = g_rand_new_with_seed(seed);
	const struct interface_name interface = { 2, "wt0" };
	GByteArray *out = g_byte_array_new();
	const struct blocks_options options = { .file = file, .domain = STREAM_DOMAIN, .enterprise = STREAM_ENTERPRISE,
	                                        .octets = block, .sink = stream_sink, .data = out };
	struct blocks *blocks = blocks_new(&options, NULL);

	blocks_tell(blocks, "router-a", &interface, 1);
	for (unsigned i = 0; i < from + n; i++) {
		const struct flow flow = stream_flow(rand, i);
		if (i >= from && !blocks_flow(blocks, &flow, stream_names(), i))
			g_error("flow %u was not taken", i);
	}
	blocks_flush(blocks, true);
	blocks_free(blocks);
	return out;
}

#endif
