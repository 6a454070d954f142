/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "archive/reader.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fixbuf/public.h>
#include <stdbool.h>
#include <string.h>

#include "archive/check.h"
#include "archive/conclude.h"
#include "archive/word.h"
#include "error.h"

/* libfixbuf takes the octets from memory, a message at a time, and not from the file itself: of a file it cannot tell
 * an end between two messages from one inside a message, and nothing it says has an offset. check.h has what else it
 * is kept from. What libfixbuf does here is all of the decoding: which octets are which element, in whatever order and
 * length a template has them. */

/* What libfixbuf fills: a packed struct per kind of record and an internal template of the same order. */
typedef struct {
	uint8_t octet[16];
} octets_16;
#define TYPE_NUMBER_1 uint8_t
#define TYPE_NUMBER_2 uint16_t
#define TYPE_NUMBER_4 uint32_t
#define TYPE_NUMBER_8 uint64_t
#define TYPE_OCTETS_4 uint32_t          /* libfixbuf has IPv4 addresses in host byte order */
#define TYPE_OCTETS_16 octets_16
#define TYPE_REFERENCE_4 uint64_t
#define TYPE_NAME_VARIABLE fbVarfield_t

/* IPFIX has no words of NetFlow v9. */
#define IPFIX_IANA(...) __VA_ARGS__
#define IPFIX_REVERSE(...) __VA_ARGS__
#define IPFIX_OWN(...) __VA_ARGS__
#define IPFIX_NETFLOW9(...)

struct __attribute__((packed)) wire_flow {
#define FIELD(name, element, enterprise, octets, kind, ...) \
	IPFIX_##enterprise(JOIN(JOIN(TYPE_, LIKE_##kind), _##octets) name;)
#include "fields.def"
#undef FIELD
};

enum { INTERFACE_NAME = 32 };

struct __attribute__((packed)) wire_interface {
	uint32_t ingressInterface;
	char interfaceName[INTERFACE_NAME];
	char interfaceDescription[INTERFACE_NAME];
};

struct __attribute__((packed)) wire_other {
	uint8_t nothing;
};

union wire {
	struct wire_flow flow;
	struct wire_interface interface;
	struct wire_other other;
};

/* An element no stream has, because an internal template must have one: all else of the record is then skipped. */
enum { ELEMENT_NOTHING = 0x3fff };

#define ENTERPRISE_IANA 0
#define ENTERPRISE_REVERSE WORD_REVERSE
#define ENTERPRISE_OWN reader->enterprise
#define VARIABLE FB_IE_VARLEN

/* Octets of the element that libfixbuf fills in. */
#define WHOLE_NUMBER(octets_) octets_
#define WHOLE_OCTETS(octets_) octets_
#define WHOLE_NAME(octets_) octets_
#define WHOLE_REFERENCE(octets_) 8

#define TYPE_OF_NUMBER(octets_) \
	((octets_) == 1 ? FB_UINT_8 : (octets_) == 2 ? FB_UINT_16 : (octets_) == 4 ? FB_UINT_32 : FB_UINT_64)
#define MODEL_NUMBER(octets_) TYPE_OF_NUMBER(octets_), FB_IE_F_ENDIAN
#define MODEL_OCTETS(octets_) FB_OCTET_ARRAY, 0
#define MODEL_NAME(octets_) FB_STRING, 0

enum kind {
	KIND_OTHER,
	KIND_INTERFACE,
	KIND_PROPERTIES,
	KIND_FLOW,
	KINDS,
};

/* Where the strings of a record are kept: "-", one for each word about each end, the policy's. */
enum {
	SLOT_INITIATOR = 1,
	SLOT_RESPONDER = SLOT_INITIATOR + WORDS,
	SLOT_POLICY = SLOT_RESPONDER + WORDS,
	SLOTS,
};

enum { TEMPLATE_FIRST = 256 };          /* of the internal ones, which have their own ids */

struct reader {
	FILE *in;
	char *name;
	uint32_t enterprise;
	struct check *check;
	fbInfoModel_t *model;
	fBuf_t *buffer;             /* owns the session */
	GHashTable *interfaces;     /* names by ifIndex */
	GHashTable *properties;     /* struct properties by its own key */
	struct names names;
	struct name name_of[SLOTS];
	struct identity identity[3];    /* nobody, the initiator, the responder */
	GString *text[SLOTS];
	uint64_t offset;            /* of the message after this one */
	uint64_t message;           /* of this one */
	struct soundness soundness; /* of this one */
	uint32_t taken;             /* records of this one that libfixbuf gave */
	bool inside;                /* libfixbuf has not come to the end of this one */
	bool failed;
	uint64_t lost;
	uint8_t octets[UINT16_MAX + 4];     /* libfixbuf looks at an octet beyond the end */
};

G_GNUC_PRINTF(4, 5)
static enum reader_result
fail(struct reader *reader, GError **error, int code, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	g_autofree char *what = g_strdup_vprintf(format, arguments);
	va_end(arguments);
	g_set_error(error, PEERFLOW_ERROR, code, "%s: message at octet %" G_GUINT64_FORMAT ": %s", reader->name,
	            reader->message, what);
	reader->failed = true;
	return READER_ERROR;
}

/* Information model and internal templates */

static void
model_add(struct reader *reader, const char *name, uint16_t element, uint16_t octets, uint8_t type, uint32_t flags)
{
	fbInfoElement_t row = FB_IE_INIT_FULL(name, reader->enterprise, element, octets, flags, 0, 0, type, NULL);

	fbInfoModelAddElement(reader->model, &row);
}

static void
model_fill(struct reader *reader)
{
#define MODEL_IANA(...)
#define MODEL_REVERSE(...)
#define MODEL_NETFLOW9(...)
#define MODEL_OWN(...) model_add(reader, __VA_ARGS__);
#define FIELD(name, element, enterprise, octets, kind, ...) \
	MODEL_##enterprise(#name, element, octets, JOIN(MODEL_, LIKE_##kind)(octets))
#include "fields.def"
#undef FIELD
	model_add(reader, "peerflowNothing", ELEMENT_NOTHING, 1, FB_UINT_8, FB_IE_F_ENDIAN);
}

static void
append(fbTemplate_t *template, uint32_t enterprise, uint16_t element, uint16_t octets)
{
	fbInfoElement_t field = { .ent = enterprise, .num = element, .len = octets };
	g_autoptr(GError) error = NULL;

	/* Fails over lengths that do not suit the element's type; those of fields.def are tested. */
	if (!fbTemplateAppend(template, &field, &error))
		g_error("element %u of %u octets: %s", element, octets, error->message);
}

static void
append_flow(struct reader *reader, fbTemplate_t *template)
{
#define FIELD(name, element, enterprise, octets, kind, ...) \
	IPFIX_##enterprise(append(template, ENTERPRISE_##enterprise, element, JOIN(WHOLE_, LIKE_##kind)(octets));)
#include "fields.def"
#undef FIELD
}

static void
append_interface(struct reader *reader G_GNUC_UNUSED, fbTemplate_t *template)
{
	append(template, 0, 10, sizeof(uint32_t));
	append(template, 0, 82, INTERFACE_NAME);
	append(template, 0, 83, INTERFACE_NAME);
}

static void
append_other(struct reader *reader, fbTemplate_t *template)
{
	append(template, reader->enterprise, ELEMENT_NOTHING, 1);
}

/* What a record means */

/* Where the value of a word stands in libfixbuf's struct and in the flow. */
static const struct place {
	uint16_t from;
	uint16_t to;
	uint8_t octets;             /* zero: nothing to copy */
	bool swapped;
} places[WORD_COUNT] = {
#define PLACE_NUMBER(name, octets_, member) \
	.from = offsetof(struct wire_flow, name), .to = offsetof(struct flow, member), .octets = octets_
#define PLACE_OCTETS(name, octets_, member) PLACE_NUMBER(name, octets_, member), .swapped = octets_ == 4
#define PLACE_REFERENCE(name, octets_, member) PLACE_NUMBER(name, 8, member)
#define PLACE_NAME(...) .octets = 0
#define FIELD(name, element, enterprise, octets_, kind, semantics, only, member, ...) \
	[WORD_##name] = { IPFIX_##enterprise(JOIN(PLACE_, LIKE_##kind)(name, octets_, member)) },
#include "fields.def"
#undef FIELD
};

static void
take_word(struct flow *flow, const struct place *place, const union wire *wire)
{
	const uint8_t *from = (const uint8_t *)wire + place->from;
	uint8_t *to = (uint8_t *)flow + place->to;
	uint32_t word;

	memcpy(to, from, place->octets);
	if (!place->swapped)
		return;
	memcpy(&word, from, sizeof word);
	word = htonl(word);
	memcpy(to, &word, sizeof word);
}

/* Where a string stands in libfixbuf's struct, what it is about and what it says of that. */
static const struct phrase {
	uint16_t from;
	uint16_t member;            /* of struct flow */
	uint8_t word;
} phrases[] = {
#define PHRASE(name, member, word) { offsetof(struct wire_flow, name), offsetof(struct flow, member), word },
#define PHRASE_NUMBER(...)
#define PHRASE_OCTETS(...)
#define PHRASE_REFERENCE(...)
#define PHRASE_NAME(name, member) PHRASE(name, member, WORD_PEER)
#define PHRASE_TEXT(name, member) PHRASE(name, member, 0)
#define PHRASE_PEER(name, member) PHRASE(name, member, WORD_PEER)
#define PHRASE_PEER_ID(name, member) PHRASE(name, member, WORD_PEER_ID)
#define PHRASE_USER(name, member) PHRASE(name, member, WORD_USER)
#define PHRASE_GROUPS(name, member) PHRASE(name, member, WORD_GROUPS)
#define PHRASE_VIA(name, member) PHRASE(name, member, WORD_VIA)
#define PHRASE_RESOURCE(name, member) PHRASE(name, member, WORD_RESOURCE)
#define PHRASE_NETWORK(name, member) PHRASE(name, member, WORD_NETWORK)
#define PHRASE_DOMAIN(name, member) PHRASE(name, member, WORD_DOMAIN)
#define FIELD(name, element, enterprise, octets_, kind, semantics, only, member, ...) \
	IPFIX_##enterprise(PHRASE_##kind(name, member))
#include "fields.def"
#undef FIELD
};

static bool
is_said(const fbVarfield_t *field)
{
	return field->len && !(field->len == 1 && *field->buf == '-');
}

static void
take_name(struct reader *reader, unsigned slot, const fbVarfield_t *field)
{
	GString *text = reader->text[slot];

	g_string_truncate(text, 0);
	if (g_utf8_validate((const char *)field->buf, field->len, NULL)) {
		g_string_append_len(text, (const char *)field->buf, field->len);
	} else {                        /* or a NUL is inside, which no name may have */
		g_autofree char *valid = g_utf8_make_valid((const char *)field->buf, field->len);
		g_string_append(text, valid);
	}
	reader->name_of[slot] = (struct name){ text->str, MIN(text->len, UINT16_MAX) };
}

/* userName is whoever opened the connection, in the record of the answers too. */
static bool
is_of_responder(const struct phrase *phrase, const struct flow *flow)
{
	if (phrase->from == offsetof(struct wire_flow, userName))
		return flow->original.biflow_direction == 2;
	return phrase->member == offsetof(struct flow, responder);
}

static void
take_phrase(struct reader *reader, const struct phrase *phrase, const fbVarfield_t *field, struct flow *flow)
{
	if (!is_said(field))
		return;
	if (phrase->member == offsetof(struct flow, policy)) {
		take_name(reader, flow->policy = SLOT_POLICY, field);
		return;
	}
	const bool responder = is_of_responder(phrase, flow);
	const uint32_t slot = (responder ? SLOT_RESPONDER : SLOT_INITIATOR) + phrase->word;
	take_name(reader, slot, field);
	reader->identity[responder ? 2 : 1].word[phrase->word] = slot;
	*(responder ? &flow->responder : &flow->initiator) = responder ? 2 : 1;
}

/* The peer's name on the wire is that of the peer an address lies behind, if it is nobody's own. */
static void
part_from_via(struct reader *reader, struct identity *identity)
{
	const uint32_t peer = identity->word[WORD_PEER], via = identity->word[WORD_VIA];

	if (peer && via && strcmp(reader->name_of[peer].text, reader->name_of[via].text) == 0)
		identity->word[WORD_PEER] = 0;
}

/* What many flows have in common, told once (RFC 5473): the strings of a record, one after the other. */
struct properties {
	struct properties_key {
		uint64_t number;
		uint64_t domain;
	} key;
	fbVarfield_t field[G_N_ELEMENTS(phrases)];
	uint8_t octets[];
};

static guint
properties_hash(gconstpointer data)
{
	const struct properties_key *key = data;

	return g_int64_hash(&key->number) ^ g_int64_hash(&key->domain) * 31;
}

static gboolean
properties_equal(gconstpointer a, gconstpointer b)
{
	return memcmp(a, b, sizeof(struct properties_key)) == 0;
}

static fbVarfield_t
field_of(const struct phrase *phrase, const union wire *wire)
{
	fbVarfield_t field;

	memcpy(&field, (const uint8_t *)wire + phrase->from, sizeof field);
	return field;
}

static bool
take_properties(struct reader *reader, const struct words *words G_GNUC_UNUSED, const union wire *wire,
                struct record *record G_GNUC_UNUSED)
{
	enum { MOST_PROPERTIES = 1 << 20 };
	size_t octets = 0;

	if (g_hash_table_size(reader->properties) >= MOST_PROPERTIES)
		return false;
	for (unsigned i = 0; i < G_N_ELEMENTS(phrases); i++)
		octets += field_of(&phrases[i], wire).len;
	struct properties *properties = g_malloc0(sizeof *properties + octets);
	uint8_t *at = properties->octets;
	properties->key = (struct properties_key){ wire->flow.initiatorPropertiesId, reader->soundness.domain };
	for (unsigned i = 0; i < G_N_ELEMENTS(phrases); i++) {
		const fbVarfield_t from = field_of(&phrases[i], wire);
		properties->field[i] = (fbVarfield_t){ .len = from.len, .buf = at };
		if (from.len)
			at = (uint8_t *)memcpy(at, from.buf, from.len) + from.len;
	}
	g_hash_table_replace(reader->properties, &properties->key, properties);
	return false;
}

/* The first of these that says anything about this end of a flow, or about its policy; NULL: none does. */
static const struct properties *
properties_about(const struct properties *const *common, size_t n, uint16_t member)
{
	for (size_t k = 0; k < n; k++)
		for (unsigned i = 0; common[k] && i < G_N_ELEMENTS(phrases); i++)
			if (phrases[i].member == member && is_said(&common[k]->field[i]))
				return common[k];
	return NULL;
}

static void
take_phrases(struct reader *reader, const union wire *wire, struct flow *flow)
{
	const struct properties *common[G_N_ELEMENTS(flow->properties)];

	for (unsigned i = 0; i < G_N_ELEMENTS(common); i++) {
		const struct properties_key key = { flow->properties[i], reader->soundness.domain };
		common[i] = key.number ? g_hash_table_lookup(reader->properties, &key) : NULL;
	}
	for (unsigned i = 0; i < G_N_ELEMENTS(phrases); i++) {
		const fbVarfield_t field = field_of(&phrases[i], wire);
		const struct properties *other = is_said(&field) ? NULL :
		                                 properties_about(common, G_N_ELEMENTS(common), phrases[i].member);
		take_phrase(reader, &phrases[i], other ? &other->field[i] : &field, flow);
	}
}

static bool
take_flow(struct reader *reader, const struct words *words, const union wire *wire, struct record *record)
{
	struct flow *flow = &record->flow;

	memset(flow, 0, sizeof *flow);
	memset(reader->identity, 0, sizeof reader->identity);
	for (unsigned i = 0; i < WORD_COUNT; i++)
		if (places[i].octets && words_have(words, i) && conclude_heeds(words, i))
			take_word(flow, &places[i], wire);
	const struct conclusion conclusion = conclusion_of(words);
	conclude(flow, &conclusion);
	take_phrases(reader, wire, flow);
	part_from_via(reader, &reader->identity[1]);
	part_from_via(reader, &reader->identity[2]);
	record->names = &reader->names;
	return true;
}

/* libfixbuf puts a short string at the end of a longer one. */
static char *
interface_text(const char *field)
{
	const char *start = field, *end = field + INTERFACE_NAME;

	while (start < end && !*start)
		start++;
	g_autofree char *text = g_strndup(start, end - start);
	return g_utf8_make_valid(text, -1);
}

static bool
take_interface(struct reader *reader, const struct words *words G_GNUC_UNUSED, const union wire *wire,
               struct record *record G_GNUC_UNUSED)
{
	enum { MOST_INTERFACES = 65536 };
	const struct wire_interface *row = &wire->interface;
	g_autofree char *first = interface_text(row->interfaceName);
	g_autofree char *name = *first ? g_steal_pointer(&first) : interface_text(row->interfaceDescription);

	if (*name && g_hash_table_size(reader->interfaces) < MOST_INTERFACES)
		g_hash_table_replace(reader->interfaces, GUINT_TO_POINTER(row->ingressInterface), g_steal_pointer(&name));
	return false;
}

static bool
take_other(struct reader *reader G_GNUC_UNUSED, const struct words *words G_GNUC_UNUSED,
           const union wire *wire G_GNUC_UNUSED, struct record *record G_GNUC_UNUSED)
{
	return false;
}

static const struct {
	void (*append)(struct reader *reader, fbTemplate_t *template);
	bool (*take)(struct reader *reader, const struct words *words, const union wire *wire, struct record *record);
	size_t octets;
} kinds[KINDS] = {
	[KIND_OTHER] = { append_other, take_other, sizeof(struct wire_other) },
	[KIND_INTERFACE] = { append_interface, take_interface, sizeof(struct wire_interface) },
	[KIND_PROPERTIES] = { append_flow, take_properties, sizeof(struct wire_flow) },
	[KIND_FLOW] = { append_flow, take_flow, sizeof(struct wire_flow) },
};

static enum kind
shape_kind(const struct shape *shape)
{
	const struct words *words = &shape->words;
	bool interface = words_have(words, WORD_interfaceName) || words_have(words, WORD_interfaceDescription);

	if (shape->scopes == 1 && shape->field[0].word == WORD_initiatorPropertiesId && !shape->misfit)
		return KIND_PROPERTIES;
	if (shape->scopes)
		return interface && words_have(words, WORD_ingressInterface) ? KIND_INTERFACE : KIND_OTHER;
	return conclude_is_flow(words) ? KIND_FLOW : KIND_OTHER;
}

/* The stream */

/* Octets of the message that came, 0 at the end of the stream, or READER_ERROR. */
static ssize_t
read_octets(struct reader *reader, uint8_t *to, size_t have, size_t want, GError **error)
{
	size_t got = fread(to + have, 1, want - have, reader->in) + have;

	if (got == want || (!got && !ferror(reader->in)))
		return got;
	if (ferror(reader->in))
		return fail(reader, error, EX_IOERR, "%s", g_strerror(errno));
	return fail(reader, error, EX_DATAERR, "the stream ends inside it, after %zu octets", got);
}

static void
put32(uint8_t *to, uint32_t value)
{
	value = htonl(value);
	memcpy(to, &value, sizeof value);
}

/* Takes the next message whole and hands it to libfixbuf. */
static enum reader_result
read_message(struct reader *reader, GError **error)
{
	g_autoptr(GError) unsound = NULL;
	uint8_t *octets = reader->octets;

	reader->message = reader->offset;
	ssize_t got = read_octets(reader, octets, 0, MESSAGE_HEADER, error);
	if (got <= 0)
		return got;
	size_t whole = check_header(octets, &unsound);
	if (!whole)
		return fail(reader, error, EX_DATAERR, "%s", unsound->message);
	if (read_octets(reader, octets, MESSAGE_HEADER, whole, error) < 0)
		return READER_ERROR;
	if (!check_message(reader->check, octets, whole, &reader->soundness, &unsound))
		return fail(reader, error, EX_DATAERR, "%s", unsound->message);
	/* libfixbuf writes to standard error of every hole in the sequence. Ours is to count them. */
	put32(octets + 8, reader->soundness.counted);
	reader->lost += reader->soundness.lost;
	reader->offset += whole;
	reader->taken = 0;
	reader->inside = true;
	fBufSetBuffer(reader->buffer, octets, whole);
	return READER_FLOW;
}

/* libfixbuf says in the same words that a message is over and that it lost its way in it; the count knows. */
static enum reader_result
end_message(struct reader *reader, const GError *why, GError **error)
{
	reader->inside = false;
	if (g_error_matches(why, FB_ERROR_DOMAIN, FB_ERROR_EOM) && reader->taken == reader->soundness.records)
		return READER_END;
	return fail(reader, error, EX_DATAERR, "record %u of %u: %s", reader->taken + 1, reader->soundness.records,
	            why->message);
}

/* READER_END is the end of the message here, or of a record that is no flow. */
static enum reader_result
read_record(struct reader *reader, struct record *record, GError **error)
{
	g_autoptr(GError) why = NULL;
	union wire wire;
	uint16_t id;

	if (!fBufNextCollectionTemplate(reader->buffer, &id, &why))
		return end_message(reader, why, error);
	const struct shape *shape = check_shape(reader->check, reader->soundness.domain, id);
	enum kind kind = shape_kind(shape);
	size_t octets = kinds[kind].octets;
	if (!fBufSetInternalTemplate(reader->buffer, TEMPLATE_FIRST + kind, &why) ||
	    !fBufNext(reader->buffer, (uint8_t *)&wire, &octets, &why))
		return end_message(reader, why, error);
	reader->taken++;
	return kinds[kind].take(reader, &shape->words, &wire, record) ? READER_FLOW : READER_END;
}

enum reader_result
reader_next(struct reader *reader, struct record *record, GError **error)
{
	enum reader_result result = READER_END;

	if (reader->failed)
		return fail(reader, error, EX_DATAERR, "an earlier error ended the reading");
	while (result == READER_END) {
		if (!reader->inside) {
			result = read_message(reader, error);
			if (result != READER_FLOW)
				return result;
		}
		result = read_record(reader, record, error);
	}
	return result;
}

const char *
reader_interface(const struct reader *reader, uint32_t index)
{
	return g_hash_table_lookup(reader->interfaces, GUINT_TO_POINTER(index));
}

uint64_t
reader_lost(const struct reader *reader)
{
	return reader->lost;
}

static void
add_templates(struct reader *reader, fbSession_t *session)
{
	for (unsigned kind = 0; kind < KINDS; kind++) {
		g_autoptr(GError) error = NULL;
		fbTemplate_t *template = fbTemplateAlloc(reader->model);
		kinds[kind].append(reader, template);
		if (!fbSessionAddTemplate(session, TRUE, TEMPLATE_FIRST + kind, template, &error))
			g_error("internal template %u: %s", kind, error->message);
	}
}

struct reader *
reader_new(FILE *in, const char *name, uint32_t enterprise)
{
	struct reader *reader = g_new0(struct reader, 1);

	reader->in = in;
	reader->name = g_strdup(name);
	reader->enterprise = enterprise;
	reader->check = check_new(enterprise);
	reader->interfaces = g_hash_table_new_full(g_direct_hash, g_direct_equal, NULL, g_free);
	reader->properties = g_hash_table_new_full(properties_hash, properties_equal, NULL, g_free);
	for (unsigned i = 0; i < G_N_ELEMENTS(reader->text); i++) {
		reader->text[i] = g_string_new("-");
		reader->name_of[i] = (struct name){ reader->text[i]->str, 1 };
	}
	reader->names = (struct names){
		.name = reader->name_of, .count = G_N_ELEMENTS(reader->name_of),
		.identity = reader->identity, .n_identities = G_N_ELEMENTS(reader->identity),
	};
	reader->model = fbInfoModelAlloc();
	model_fill(reader);
	fbSession_t *session = fbSessionAlloc(reader->model);
	add_templates(reader, session);
	reader->buffer = fBufAllocForCollection(session, NULL);
	fBufSetAutomaticMode(reader->buffer, FALSE);
	return reader;
}

void
reader_free(struct reader *reader)
{
	fBufFree(reader->buffer);
	fbInfoModelFree(reader->model);
	check_free(reader->check);
	g_hash_table_unref(reader->interfaces);
	g_hash_table_unref(reader->properties);
	for (unsigned i = 0; i < G_N_ELEMENTS(reader->text); i++)
		g_string_free(reader->text[i], TRUE);
	g_free(reader->name);
	g_free(reader);
}
