/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "encode/encoder.h"

#include <stdlib.h>
#include <string.h>

#include "encode/batch.h"
#include "encode/cursor.h"
#include "encode/options.h"
#include "encode/properties.h"
#include "encode/record.h"
#include "error.h"

enum {
	KINDS = TEMPLATE_KINDS / 2,     /* with uniflow or biflow settled */
	TEMPLATES = KINDS + PROPERTIES_KINDS,
};

struct encoder {
	struct encoder_options options;
	struct template template[TEMPLATES];    /* those of common properties, the last ones, may have no fields */
	struct recipe original[KINDS];
	struct recipe reply[KINDS];         /* unused for biflows */
	struct recipe common[PROPERTIES_KINDS];
	struct properties *properties;      /* NULL: without */
	bool has_own;                       /* some template holds OWN elements: type records are due */
	size_t template_octets;             /* of all Template Records, those of options too */
	size_t type_octets;                 /* of the type records */
	struct batch batch;
};

static unsigned
flow_kind(const struct flow *flow)
{
	const bool icmp = flow->protocol == 1 || flow->protocol == 58;

	return template_kind((flow->family == 6 ? TRAIT_V6 : TRAIT_V4) | (flow->translation ? TRAIT_NAT : 0)
	                     | (icmp ? TRAIT_ICMP : TRAIT_PORTS));
}

/* Largest record or template record a message of that size has room for. */
static size_t
room_of(const struct encoder *encoder, size_t message_size)
{
	const size_t overhead = (encoder->batch.protocol == WIRE_IPFIX ? 16 : 20 + 6) + SET_HEADER;

	return message_size > overhead ? message_size - overhead : 0;
}

/* Both records of a flow fit one message, or at least each of them does. */
static bool
fit_records(struct encoder *encoder, unsigned kind, size_t room)
{
	struct recipe *original = &encoder->original[kind], *reply = &encoder->reply[kind];

	if (encoder->options.records & TRAIT_UNIFLOW && recipe_fit(original, room / 2) && recipe_fit(reply, room / 2))
		return true;
	return recipe_fit(original, room) && recipe_fit(reply, room);
}

static bool
fit_common(struct encoder *encoder, size_t room)
{
	for (unsigned about = 0; about < PROPERTIES_KINDS; about++)
		if (2 + template_record_octets(&encoder->template[KINDS + about]) > room
		    || !recipe_fit(&encoder->common[about], room))
			return false;
	return true;
}

/* So many of the largest messages have room. With properties each flow may begin several, beside the open one. */
static size_t
messages_most(const struct encoder *encoder)
{
	return encoder->options.properties ? 8 : 4;
}

static bool
fit_all(struct encoder *encoder, size_t message_size)
{
	const size_t room = room_of(encoder, message_size);

	if (message_size > MIN(encoder->batch.capacity / messages_most(encoder), UINT16_MAX) || room < OPTIONS_ROOM)
		return false;
	if (encoder->properties && !fit_common(encoder, room))
		return false;
	for (unsigned kind = 0; kind < KINDS; kind++) {
		if (template_record_octets(&encoder->template[kind]) > room)
			return false;
		if (!fit_records(encoder, kind, room))
			return false;
	}
	return true;
}

static bool
has_own_elements(const struct template *template)
{
	for (unsigned i = 0; i < template->n_fields; i++)
		if (template->field[i]->enterprise == ENTERPRISE_OWN)
			return true;
	return false;
}

static bool
has_field(const struct template *template, const char *name)
{
	for (unsigned i = 0; i < template->n_fields; i++)
		if (strcmp(template->field[i]->name, name) == 0)
			return true;
	return false;
}

static bool
take_templates(struct encoder *encoder, const struct template_file *file, GError **error)
{
	const unsigned biflow = encoder->options.records & TRAIT_BIFLOW;

	for (unsigned kind = 0; kind < KINDS; kind++) {
		const struct template *template = &file->template[kind + (biflow ? KINDS : 0)];
		if (!template->id) {
			g_set_error(error, PEERFLOW_ERROR, EX_CONFIG, "%s: no template for %s%s%s flows with records = %s",
			            file->path, kind & template_kind(TRAIT_NAT) ? "translated " : "",
			            kind & template_kind(TRAIT_V6) ? "ipv6" : "ipv4",
			            kind & template_kind(TRAIT_ICMP) ? " icmp" : "", biflow ? "biflow" : "uniflow");
			return false;
		}
		encoder->template[kind] = *template;
		encoder->has_own = encoder->has_own || has_own_elements(template);
		encoder->template_octets += SET_HEADER + template_record_octets(template);
		recipe_init(&encoder->original[kind], template, VIEW_ORIGINAL);
		recipe_init(&encoder->reply[kind], template, (enum record_view)encoder->options.reply);
	}
	return true;
}

static const char *const references[PROPERTIES_KINDS] = {
	"initiatorPropertiesId", "responderPropertiesId", "policyPropertiesId",
};

/* How many of the three words the templates have: they suit any kind of flow, so one template tells for all. */
static unsigned
count_references(const struct encoder *encoder)
{
	unsigned n = 0;

	for (unsigned about = 0; about < PROPERTIES_KINDS; about++)
		n += has_field(&encoder->template[0], references[about]);
	return n;
}

/* A collector could lose the record that says what a number means, and would then have no names or wrong ones. */
static bool
take_properties(struct encoder *encoder, const struct template_file *file, GError **error)
{
	const bool wanted = encoder->options.properties;

	if (count_references(encoder) != (wanted ? PROPERTIES_KINDS : 0)) {
		g_set_error(error, PEERFLOW_ERROR, EX_CONFIG, wanted ?
		            "%s: an archive's template needs initiatorPropertiesId and the like of responder and policy" :
		            "%s: initiatorPropertiesId and its like are for the template of the archive alone", file->path);
		return false;
	}
	if (!wanted)
		return true;
	encoder->properties = properties_new();
	encoder->has_own = true;
	for (unsigned about = 0; about < PROPERTIES_KINDS; about++) {
		struct template *template = &encoder->template[KINDS + about];
		properties_template(template, about);
		recipe_init(&encoder->common[about], template, VIEW_ORIGINAL);
		encoder->template_octets += SET_HEADER + 2 + template_record_octets(template);
	}
	return true;
}

/* Large messages are those of files, where a block begins with several. Behind them is room to group one. */
static bool
make_room(struct encoder *encoder, size_t message_size, GError **error)
{
	const bool small = message_size <= BATCH_OCTETS / messages_most(encoder);
	const size_t capacity = small ? BATCH_OCTETS : 8 * message_size;
	const size_t octets = capacity + (encoder->options.properties ? capacity / messages_most(encoder) : 0);

	encoder->batch.capacity = capacity;
	encoder->batch.octets = malloc(octets);
	if (!encoder->batch.octets)
		g_set_error(error, PEERFLOW_ERROR, EX_OSERR, "out of memory: %zu octets for messages", octets);
	return encoder->batch.octets != NULL;
}

/* In ascending order of id a record of common properties must still stand before the flows that refer to it. */
static bool
may_group(const struct encoder *encoder)
{
	if (!encoder->properties || encoder->batch.protocol != WIRE_IPFIX)
		return false;
	for (unsigned kind = 0; kind < KINDS; kind++)
		for (unsigned about = 0; about < PROPERTIES_KINDS; about++)
			if (encoder->template[kind].id <= encoder->template[KINDS + about].id)
				return false;
	return true;
}

struct encoder *
encoder_new(const struct template_file *file, const struct encoder_options *options, GError **error)
{
	g_autoptr(encoder_t) encoder = calloc(1, sizeof *encoder);

	if (!encoder) {
		g_set_error(error, PEERFLOW_ERROR, EX_OSERR, "out of memory: %zu octets for an encoder", sizeof *encoder);
		return NULL;
	}
	encoder->options = *options;
	encoder->batch.protocol = file->protocol;
	encoder->batch.domain = options->domain;
	encoder->batch.boot = options->boot;
	if (!make_room(encoder, options->message_size, error) || !take_templates(encoder, file, error)
	    || !take_properties(encoder, file, error))
		return NULL;
	if (may_group(encoder))
		encoder->batch.scratch = encoder->batch.octets + encoder->batch.capacity;
	encoder->template_octets += options_template_octets();
	encoder->type_octets = options_type_octets(encoder->template, TEMPLATES);
	if (encoder->has_own && !options->enterprise) {
		g_set_error(error, PEERFLOW_ERROR, EX_CONFIG,
		            "%s: its enterprise elements need enterprise-number in [exporter]", file->path);
		return NULL;
	}
	if (!encoder_set_message_size(encoder, options->message_size)) {
		g_set_error(error, PEERFLOW_ERROR, EX_CONFIG,
		            "%s: a template or record does not fit a message of %u octets", file->path,
		            options->message_size);
		return NULL;
	}
	encoder_restart(encoder);
	return g_steal_pointer(&encoder);
}

void
encoder_free(struct encoder *encoder)
{
	if (!encoder)
		return;
	properties_free(encoder->properties);
	free(encoder->batch.octets);
	free(encoder);
}

void
encoder_restart(struct encoder *encoder)
{
	batch_restart(&encoder->batch);
	if (encoder->properties)
		properties_restart(encoder->properties);
}

bool
encoder_set_message_size(struct encoder *encoder, size_t octets)
{
	if (!fit_all(encoder, octets)) {
		if (encoder->batch.limit)
			fit_all(encoder, encoder->batch.limit);
		return false;
	}
	/* A message begun under the old limit must not grow beyond the new one. */
	if (octets < encoder->batch.limit)
		batch_end_message(&encoder->batch);
	encoder->batch.limit = octets;
	return true;
}

/* A record that is about to be written. */
struct measured {
	const struct recipe *recipe;
	size_t octets;
	struct piece piece[TEMPLATE_FIELDS];
};

static void
measure(struct measured *measured, const struct recipe *recipe, const struct flow *flow, const struct names *names)
{
	measured->recipe = recipe;
	measured->octets = recipe_measure(recipe, flow, names, measured->piece);
}

static void
add_record(struct encoder *encoder, const struct measured *measured, const struct flow *flow, const struct names *names)
{
	struct batch *batch = &encoder->batch;
	uint8_t *at = batch_room(batch, STREAM_FLOWS, measured->recipe->id, measured->octets);

	recipe_write(measured->recipe, flow, names, measured->piece, batch->boot, at);
	batch_commit(batch, measured->octets, RECORD_FLOW);
}

/* The initiator's side comes with each record but that of an interval in which it did not move. */
static bool
is_original_due(const struct flow *flow, bool uniflow)
{
	return !uniflow || flow->original.packets || flow->end_reason != END_ACTIVE;
}

static void
tell_properties(struct encoder *encoder, unsigned about, const struct flow *flow, const struct names *names)
{
	const struct recipe *recipe = &encoder->common[about];
	struct measured measured;

	measure(&measured, recipe, flow, names);
	uint8_t *at = batch_room(&encoder->batch, STREAM_FLOWS, recipe->id, measured.octets);
	recipe_write(recipe, flow, names, measured.piece, encoder->batch.boot, at);
	batch_commit(&encoder->batch, measured.octets, RECORD_OPTIONS);
}

/* Numbers what is known of the flow, and tells before what was not told yet. */
static void
add_properties(struct encoder *encoder, struct flow *flow, const struct names *names)
{
	bool fresh;

	for (unsigned about = 0; about < PROPERTIES_KINDS; about++) {
		flow->properties[about] = properties_find(encoder->properties, flow, about, &fresh);
		if (fresh)
			tell_properties(encoder, about, flow, names);
	}
}

static void
add_flow(struct encoder *encoder, const struct flow *flow, const struct names *names)
{
	const unsigned kind = flow_kind(flow);
	const bool uniflow = encoder->options.records & TRAIT_UNIFLOW;
	const bool first = is_original_due(flow, uniflow), second = uniflow && flow->reply.packets;
	struct measured original, reply;

	original.octets = reply.octets = 0;
	if (first)
		measure(&original, &encoder->original[kind], flow, names);
	if (second)
		measure(&reply, &encoder->reply[kind], flow, names);
	batch_gather(&encoder->batch, STREAM_FLOWS, encoder->original[kind].id, original.octets + reply.octets);
	if (first) {
		add_record(encoder, &original, flow, names);
		batch_count(&encoder->batch, flow->original.packets + (uniflow ? 0 : flow->reply.packets),
		            flow->original.octets + (uniflow ? 0 : flow->reply.octets));
	}
	if (second) {
		add_record(encoder, &reply, flow, names);
		batch_count(&encoder->batch, flow->reply.packets, flow->reply.octets);
	}
}

bool
encoder_add_flow(struct encoder *encoder, const struct flow *flow, const struct names *names)
{
	if (!batch_reserve(&encoder->batch, encoder->properties ? 2 + PROPERTIES_KINDS : 2))
		return false;
	if (!encoder->properties) {
		add_flow(encoder, flow, names);
		return true;
	}
	struct flow numbered = *flow;
	add_properties(encoder, &numbered, names);
	add_flow(encoder, &numbered, names);
	return true;
}

void
encoder_forget_names(struct encoder *encoder)
{
	if (encoder->properties)
		properties_forget(encoder->properties);
}

void
encoder_mark(struct encoder *encoder, uint64_t mark)
{
	batch_mark(&encoder->batch, mark);
}

/* How many messages so many octets of small records take at most: two in a row hold more than one could, and what the
 * process says of itself takes one of its own. For any limit and any file this is less than a batch has. */
static unsigned
messages_of(const struct encoder *encoder, size_t octets)
{
	return 2 + 2 * octets / room_of(encoder, encoder->batch.limit);
}

static void
add_templates(struct encoder *encoder)
{
	struct batch *batch = &encoder->batch;

	batch_end_message(batch);
	for (unsigned kind = 0; kind < KINDS; kind++)
		template_record_add(batch, &encoder->template[kind], encoder->options.enterprise);
	for (unsigned about = 0; encoder->properties && about < PROPERTIES_KINDS; about++)
		options_template_record_add(batch, &encoder->template[KINDS + about], encoder->options.enterprise);
	options_add_templates(batch, encoder->has_own ? encoder->options.enterprise : 0);
	batch_end_message(batch);
}

bool
encoder_add_templates(struct encoder *encoder)
{
	if (!batch_reserve(&encoder->batch, messages_of(encoder, encoder->template_octets)))
		return false;
	add_templates(encoder);
	return true;
}

bool
encoder_begin_block(struct encoder *encoder)
{
	struct batch *batch = &encoder->batch;

	if (!batch_reserve(batch, messages_of(encoder, encoder->template_octets)
	                          + messages_of(encoder, encoder->type_octets)))
		return false;
	add_templates(encoder);
	if (encoder->has_own)
		options_add_types(batch, encoder->template, TEMPLATES, encoder->options.enterprise);
	if (encoder->properties)
		properties_restart(encoder->properties);
	return true;
}

bool
encoder_add_types(struct encoder *encoder)
{
	struct batch *batch = &encoder->batch;

	if (!encoder->has_own)
		return true;
	if (!batch_reserve(batch, messages_of(encoder, encoder->type_octets)))
		return false;
	options_add_types(batch, encoder->template, TEMPLATES, encoder->options.enterprise);
	return true;
}

bool
encoder_add_interface(struct encoder *encoder, const struct interface_name *interface)
{
	if (!batch_reserve(&encoder->batch, 1))
		return false;
	options_add_interface(&encoder->batch, interface);
	return true;
}

bool
encoder_add_statistics(struct encoder *encoder, const struct exporter_statistics *statistics)
{
	struct batch *batch = &encoder->batch;

	if (!batch_reserve(batch, 1))
		return false;
	options_add_statistics(batch, statistics);
	return true;
}

static bool
add_gaps(struct encoder *encoder, bool wanted, void (*add)(struct batch *, const struct gap *), const struct gap *total)
{
	if (!wanted)
		return true;
	if (!batch_reserve(&encoder->batch, 1))
		return false;
	add(&encoder->batch, total);
	return true;
}

bool
encoder_add_metering_gaps(struct encoder *encoder, const struct gap *total)
{
	return add_gaps(encoder, encoder->batch.protocol == WIRE_IPFIX, options_add_metering_gaps, total);
}

bool
encoder_add_exporting_gaps(struct encoder *encoder, const struct gap *total)
{
	return add_gaps(encoder, encoder->batch.protocol == WIRE_IPFIX, options_add_exporting_gaps, total);
}

bool
encoder_add_gap(struct encoder *encoder, const struct gap *total)
{
	return add_gaps(encoder, encoder->has_own, options_add_gap, total);
}

bool
encoder_add_domain_name(struct encoder *encoder, const char *text)
{
	const struct name name = { text, strlen(text) };

	if (encoder->batch.protocol != WIRE_IPFIX || !name.length)
		return true;
	if (!batch_reserve(&encoder->batch, 1))
		return false;
	options_add_domain(&encoder->batch, &name);
	return true;
}

bool
encoder_tells_who(const struct encoder *encoder)
{
	return encoder->has_own;
}

bool
encoder_add_who(struct encoder *encoder, const struct names_row *row, const struct names *names)
{
	if (!encoder->has_own)
		return true;
	if (!batch_reserve(&encoder->batch, 1))
		return false;
	options_add_who(&encoder->batch, row, names, room_of(encoder, encoder->batch.limit));
	return true;
}

size_t
encoder_take(struct encoder *encoder, uint64_t now, bool partial, const struct message **messages)
{
	return batch_take(&encoder->batch, now, partial, messages);
}

bool
encoder_waiting(const struct encoder *encoder)
{
	return encoder->batch.open;
}
