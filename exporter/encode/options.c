/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "encode/options.h"

#include <string.h>

#include "encode/cursor.h"

enum {
	ENTERPRISE_BIT = 0x8000,        /* RFC 7011 section 3.2 */
	REVERSE_NUMBER = 29305,         /* RFC 5103 section 6.1 */
	SCOPE_SYSTEM = 1,               /* RFC 3954 section 6.1 */
	EXPORTING_PROCESS = 1,          /* exportingProcessId: there is one */
	METERING_PROCESS = 1,           /* meteringProcessId: connection tracking and what reads it */
	GAP_FLAG_UNKNOWN = 1,           /* gapFlags: there may be more than the numbers say */
	GAP_KIND_FIRST = 1,             /* gapKind of the first kind: zero is no kind */
};

enum audience {                     /* from the largest to the smallest */
	ALL,
	IPFIX_ONLY,                     /* no collector of NetFlow v9 is known to look at it */
	OWN_ONLY,                       /* IPFIX with OWN elements */
};

/* An options template as data: scope fields first. NetFlow v9 has no elements as scope; there it is the system. */
struct options_field {
	uint16_t element;               /* with the enterprise bit: OWN */
	uint16_t octets;
};

/* virtualStationName and virtualStationUUID for the peer; in the order of enum identity_word. */
#define OWN_STRING(element) { ENTERPRISE_BIT | element, FIELD_VARIABLE }
#define WORDS_OF_A_PREFIX \
	{ 350, FIELD_VARIABLE }, { 349, FIELD_VARIABLE }, OWN_STRING(1041), OWN_STRING(1042), OWN_STRING(1043), \
	OWN_STRING(1044), OWN_STRING(1045), OWN_STRING(1046)

static const struct options_template {
	uint16_t id;
	enum audience audience;
	uint8_t n_scopes;
	uint8_t n_fields;               /* scopes included */
	struct options_field field[10];
} options_templates[] = {
	/* One consumer finds interface names only in exactly this shape: ingressInterface 10, interfaceDescription 83. */
	{ OPTIONS_INTERFACES, ALL, 1, 3, { { 149, 4 }, { 10, 4 }, { 83, 32 } } },
	{ OPTIONS_STATISTICS, ALL, 1, 4, { { 144, 4 }, { 40, 8 }, { 41, 8 }, { 42, 8 } } },
	{ OPTIONS_TYPES, OWN_ONLY, 2, 5, { { 303, 2 }, { 346, 4 }, { 339, 1 }, { 344, 1 },
	                                   { 341, FIELD_VARIABLE } } },
	/* RFC 7011 sections 4.2 and 4.3: two times of which the order says nothing; the earlier one is that of the first
	 * loss. Flows that the Metering Process lost are told as the other one's are, for there is no element of its own. */
	{ OPTIONS_METERING_GAPS, IPFIX_ONLY, 2, 7, { { 149, 4 }, { 143, 4 }, { 166, 8 }, { 164, 8 },
	                                             { 165, 8 }, { 323, 8 }, { 323, 8 } } },
	{ OPTIONS_EXPORTING_GAPS, IPFIX_ONLY, 1, 6, { { 144, 4 }, { 166, 8 }, { 167, 8 }, { 168, 8 },
	                                              { 323, 8 }, { 323, 8 } } },
	/* The same kind by kind. */
	{ OPTIONS_GAP, OWN_ONLY, 2, 8, { { 149, 4 }, { ENTERPRISE_BIT | 1031, 1 }, { ENTERPRISE_BIT | 1032, 1 }, { 166, 8 },
	                                 { 167, 8 }, { 168, 8 }, { 323, 8 }, { 323, 8 } } },
	{ OPTIONS_DOMAIN, IPFIX_ONLY, 1, 2, { { 149, 4 }, { 300, DOMAIN_NAME } } },
	/* Whom a prefix stands for, in whichever role an address of it appears (RFC 7013 section 4.2). */
	{ OPTIONS_WHO_V4, OWN_ONLY, 2, 10, { { 44, 4 }, { 9, 1 }, WORDS_OF_A_PREFIX } },
	{ OPTIONS_WHO_V6, OWN_ONLY, 2, 10, { { 170, 16 }, { 29, 1 }, WORDS_OF_A_PREFIX } },
};

const struct own_element own_elements[] = {
	{ 1031, 1, SEMANTICS_IDENTIFIER, "gapKind" },
	{ 1032, 1, SEMANTICS_FLAGS, "gapFlags" },
	{ 1041, 13, SEMANTICS_DEFAULT, "peerUserName" },
	{ 1042, 13, SEMANTICS_DEFAULT, "groupNames" },
	{ 1043, 13, SEMANTICS_DEFAULT, "viaPeerName" },
	{ 1044, 13, SEMANTICS_DEFAULT, "resourceName" },
	{ 1045, 13, SEMANTICS_DEFAULT, "networkName" },
	{ 1046, 13, SEMANTICS_DEFAULT, "domainName" },
};

const unsigned n_own_elements = G_N_ELEMENTS(own_elements);

static uint16_t
set_of_templates(const struct batch *batch, bool options)
{
	if (batch->protocol == WIRE_IPFIX)
		return options ? SET_OPTIONS_TEMPLATES_IPFIX : SET_TEMPLATES_IPFIX;
	return options ? SET_OPTIONS_TEMPLATES_NETFLOW9 : SET_TEMPLATES_NETFLOW9;
}

/* Adds a finished record. */
static void
add_record(struct batch *batch, enum stream stream, uint16_t set, const uint8_t *record, const struct cursor *end,
           enum record_class what)
{
	const size_t octets = end->at - record;
	uint8_t *at = end->failed ? NULL : batch_room(batch, stream, set, octets);

	if (!at)
		return;
	memcpy(at, record, octets);
	batch_commit(batch, octets, what);
}

size_t
template_record_octets(const struct template *template)
{
	size_t octets = 4;

	for (unsigned i = 0; i < template->n_fields; i++) {
		const uint8_t enterprise = template->field[i]->enterprise;
		octets += enterprise == ENTERPRISE_OWN || enterprise == ENTERPRISE_REVERSE ? 8 : 4;
	}
	return octets;
}

static void
put_field_specifier(struct cursor *at, const struct field *field, uint32_t enterprise)
{
	const bool own = field->enterprise == ENTERPRISE_OWN, reverse = field->enterprise == ENTERPRISE_REVERSE;

	put_u16(at, field->element | (own || reverse ? ENTERPRISE_BIT : 0));
	put_u16(at, field->octets);
	if (own || reverse)
		put_u32(at, own ? enterprise : REVERSE_NUMBER);
}

void
template_record_add(struct batch *batch, const struct template *template, uint32_t enterprise)
{
	uint8_t record[4 + 8 * TEMPLATE_FIELDS];
	struct cursor at = { record, record + sizeof record, false };

	put_u16(&at, template->id);
	put_u16(&at, template->n_fields);
	for (unsigned i = 0; i < template->n_fields; i++)
		put_field_specifier(&at, template->field[i], enterprise);
	add_record(batch, STREAM_FLOWS, set_of_templates(batch, false), record, &at, RECORD_TEMPLATE);
	/* One template a Set: there is a reader that sees only the first. */
	batch_end_set(batch);
}

void
options_template_record_add(struct batch *batch, const struct template *template, uint32_t enterprise)
{
	uint8_t record[6 + 8 * TEMPLATE_FIELDS];
	struct cursor at = { record, record + sizeof record, false };

	put_u16(&at, template->id);
	put_u16(&at, template->n_fields);
	put_u16(&at, 1);
	for (unsigned i = 0; i < template->n_fields; i++)
		put_field_specifier(&at, template->field[i], enterprise);
	add_record(batch, STREAM_FLOWS, set_of_templates(batch, true), record, &at, RECORD_TEMPLATE);
	batch_end_set(batch);
}

size_t
options_template_octets(void)
{
	return G_N_ELEMENTS(options_templates) * OPTIONS_ROOM;
}

static void
put_options_header_ipfix(struct cursor *at, const struct options_template *template, uint32_t enterprise)
{
	put_u16(at, template->id);
	put_u16(at, template->n_fields);
	put_u16(at, template->n_scopes);
	for (unsigned i = 0; i < template->n_fields; i++) {
		const struct options_field *field = &template->field[i];
		put_u16(at, field->element);
		put_u16(at, field->octets);
		if (field->element & ENTERPRISE_BIT)
			put_u32(at, enterprise);
	}
}

/* RFC 3954 section 6.1: lengths in octets, not counts, and scopes of its own. */
static void
put_options_header_netflow9(struct cursor *at, const struct options_template *template)
{
	put_u16(at, template->id);
	put_u16(at, 4);
	put_u16(at, 4 * (template->n_fields - template->n_scopes));
	put_u16(at, SCOPE_SYSTEM);
	put_u16(at, 4);
	for (unsigned i = template->n_scopes; i < template->n_fields; i++) {
		put_u16(at, template->field[i].element);
		put_u16(at, template->field[i].octets);
	}
}

static void
add_options_template(struct batch *batch, const struct options_template *template, uint32_t enterprise)
{
	uint8_t record[OPTIONS_ROOM];
	struct cursor at = { record, record + sizeof record, false };

	if (batch->protocol == WIRE_IPFIX)
		put_options_header_ipfix(&at, template, enterprise);
	else
		put_options_header_netflow9(&at, template);
	add_record(batch, STREAM_PROCESS, set_of_templates(batch, true), record, &at, RECORD_TEMPLATE);
	batch_end_set(batch);
}

void
options_add_templates(struct batch *batch, uint32_t enterprise)
{
	const enum audience most = enterprise ? OWN_ONLY : batch->protocol == WIRE_IPFIX ? IPFIX_ONLY : ALL;

	for (size_t i = 0; i < G_N_ELEMENTS(options_templates); i++)
		if (options_templates[i].audience <= most)
			add_options_template(batch, &options_templates[i], enterprise);
}

void
options_add_interface(struct batch *batch, const struct interface_name *interface)
{
	uint8_t record[OPTIONS_ROOM];
	struct cursor at = { record, record + sizeof record, false };

	put_u32(&at, batch->domain);
	put_u32(&at, interface->index);
	put_octets(&at, interface->name, sizeof interface->name);
	add_record(batch, STREAM_PROCESS, OPTIONS_INTERFACES, record, &at, RECORD_OPTIONS);
}

void
options_add_statistics(struct batch *batch, const struct exporter_statistics *statistics)
{
	uint8_t record[OPTIONS_ROOM];
	struct cursor at = { record, record + sizeof record, false };

	put_u32(&at, EXPORTING_PROCESS);
	put_u64(&at, statistics->octets);
	put_u64(&at, statistics->messages);
	put_u64(&at, statistics->flow_records);
	add_record(batch, STREAM_PROCESS, OPTIONS_STATISTICS, record, &at, RECORD_OPTIONS);
}

/* Abstract data types as RFC 5610 section 3.1 (and the IANA registry) numbers them. */
static uint8_t
data_type(const struct field *field)
{
	if (field_is_string(field))
		return 13;              /* string */
	if (field->kind == KIND_OCTETS)
		return 0;               /* octetArray */
	return field->octets == 1 ? 1 : field->octets == 2 ? 2 : field->octets == 4 ? 3 : 4;    /* unsigned8..64 */
}

static void
add_type(struct batch *batch, const struct own_element *element, uint32_t enterprise)
{
	uint8_t record[OPTIONS_ROOM];
	struct cursor at = { record, record + sizeof record, false };

	put_u16(&at, element->element);
	put_u32(&at, enterprise);
	put_u8(&at, element->type);
	put_u8(&at, element->semantics);
	put_variable(&at, element->name, strlen(element->name));
	add_record(batch, STREAM_PROCESS, OPTIONS_TYPES, record, &at, RECORD_OPTIONS);
}

static bool
occurs(const struct field *field, const struct template *template, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		for (unsigned j = 0; j < template[i].n_fields; j++)
			if (template[i].field[j] == field)
				return true;
	return false;
}

size_t
options_type_octets(const struct template *template, unsigned n)
{
	const size_t fixed = 9;         /* up to and with the length of the name */
	size_t octets = SET_HEADER;

	for (unsigned i = 0; i < n_fields; i++)
		if (fields[i].enterprise == ENTERPRISE_OWN && occurs(&fields[i], template, n))
			octets += fixed + strlen(fields[i].name);
	for (size_t i = 0; i < G_N_ELEMENTS(own_elements); i++)
		octets += fixed + strlen(own_elements[i].name);
	return octets;
}

void
options_add_types(struct batch *batch, const struct template *template, unsigned n, uint32_t enterprise)
{
	for (unsigned i = 0; i < n_fields; i++) {
		const struct field *field = &fields[i];
		const struct own_element element = { field->element, data_type(field), field->semantics, field->name };
		if (field->enterprise == ENTERPRISE_OWN && occurs(field, template, n))
			add_type(batch, &element, enterprise);
	}
	for (size_t i = 0; i < G_N_ELEMENTS(own_elements); i++)
		add_type(batch, &own_elements[i], enterprise);
}

/* The numbers that stand last in all three. */
static void
add_gap(struct batch *batch, uint16_t set, const uint8_t *record, struct cursor *at, const struct gap *total)
{
	put_u64(at, total->flows);
	put_u64(at, total->packets);
	put_u64(at, total->octets);
	put_u64(at, total->first);
	put_u64(at, total->last);
	add_record(batch, STREAM_PROCESS, set, record, at, RECORD_OPTIONS);
}

void
options_add_metering_gaps(struct batch *batch, const struct gap *total)
{
	uint8_t record[OPTIONS_ROOM];
	struct cursor at = { record, record + sizeof record, false };

	put_u32(&at, batch->domain);
	put_u32(&at, METERING_PROCESS);
	add_gap(batch, OPTIONS_METERING_GAPS, record, &at, total);
}

void
options_add_exporting_gaps(struct batch *batch, const struct gap *total)
{
	uint8_t record[OPTIONS_ROOM];
	struct cursor at = { record, record + sizeof record, false };

	put_u32(&at, EXPORTING_PROCESS);
	add_gap(batch, OPTIONS_EXPORTING_GAPS, record, &at, total);
}

void
options_add_gap(struct batch *batch, const struct gap *total)
{
	uint8_t record[OPTIONS_ROOM];
	struct cursor at = { record, record + sizeof record, false };

	put_u32(&at, batch->domain);
	put_u8(&at, total->kind + GAP_KIND_FIRST);
	put_u8(&at, total->unknown ? GAP_FLAG_UNKNOWN : 0);
	add_gap(batch, OPTIONS_GAP, record, &at, total);
}

void
options_add_domain(struct batch *batch, const struct name *name)
{
	static const uint8_t zeros[DOMAIN_NAME];
	const uint16_t octets = name_octets(name, DOMAIN_NAME);
	uint8_t record[OPTIONS_ROOM];
	struct cursor at = { record, record + sizeof record, false };

	put_u32(&at, batch->domain);
	put_octets(&at, name->text, octets);
	put_octets(&at, zeros, DOMAIN_NAME - octets);
	add_record(batch, STREAM_PROCESS, OPTIONS_DOMAIN, record, &at, RECORD_OPTIONS);
}

static const struct name *
word_of(const struct names *names, uint32_t identity, enum identity_word word)
{
	return &names->name[names_word(names, identity, word)];
}

/* How long each word may be so that all of them fit. */
static uint16_t
word_limit(const struct names *names, uint32_t identity, size_t room)
{
	const size_t prefix = 3;        /* RFC 7011 section 7: the longer length form */
	size_t octets = 0;

	for (unsigned word = 0; word < WORDS; word++)
		octets += prefix + word_of(names, identity, word)->length;
	return octets <= room ? UINT16_MAX : room / WORDS - prefix;
}

void
options_add_who(struct batch *batch, const struct names_row *row, const struct names *names, size_t room)
{
	const size_t address = row->family == 4 ? 4 : 16;
	uint8_t record[BATCH_OCTETS / 4];
	const uint16_t limit = word_limit(names, row->identity, MIN(room, sizeof record) - address - 1);
	struct cursor at = { record, record + sizeof record, false };

	put_octets(&at, &row->address, address);
	put_u8(&at, row->length);
	for (unsigned word = 0; word < WORDS; word++) {
		const struct name *name = word_of(names, row->identity, word);
		put_variable(&at, name->text, name_octets(name, limit));
	}
	add_record(batch, STREAM_PROCESS, row->family == 4 ? OPTIONS_WHO_V4 : OPTIONS_WHO_V6, record, &at, RECORD_OPTIONS);
}
