/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "archive/check.h"

#include <string.h>

#include "archive/columns.h"
#include "archive/octets.h"
#include "error.h"

enum {
	SET_TEMPLATES = 2,
	SET_OPTIONS = 3,
	SET_DATA = 256,             /* and all above */
	MOST_FIELDS = 1024,         /* of a template: libfixbuf takes quadratic time over repeated elements */
	MOST_TEMPLATES = 8192,      /* of all domains */
	MOST_DOMAINS = 256,
	RECENT = 32,
};

struct domain {
	uint32_t expected;          /* sequence number of its next message */
	uint32_t counted;
};

struct check {
	GHashTable *shapes;         /* struct shape by its own key */
	GHashTable *domains;        /* struct domain by number */
	uint32_t enterprise;
	uint64_t announced;
	struct columns *columns;    /* of the messages; NULL: they are whole */
	const struct shape *recent[RECENT];     /* by id: records of a few templates take turns */
};

/* Reads on while there is enough; whoever takes more than room() says has a bug. */
struct cursor {
	const uint8_t *message;
	const uint8_t *at;
	const uint8_t *end;
};

static size_t
room(const struct cursor *cursor)
{
	return cursor->end - cursor->at;
}

static uint16_t
take16(struct cursor *cursor)
{
	uint16_t value = get_net16(cursor->at);

	cursor->at += 2;
	return value;
}

static uint32_t
take32(struct cursor *cursor)
{
	uint32_t value = get_net32(cursor->at);

	cursor->at += 4;
	return value;
}

G_GNUC_PRINTF(3, 4)
static bool
unsound(const struct cursor *cursor, GError **error, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	g_autofree char *what = g_strdup_vprintf(format, arguments);
	va_end(arguments);
	g_set_error(error, PEERFLOW_ERROR, EX_DATAERR, "octet %td: %s", cursor->at - cursor->message, what);
	return false;
}

static int64_t
shape_key(uint32_t domain, uint16_t id)
{
	return (int64_t)domain << 16 | id;
}

void
check_columns(struct check *check, struct columns *columns)
{
	check->columns = columns;
}

uint64_t
check_announced(const struct check *check)
{
	return check->announced;
}

const struct shape *
check_shape(const struct check *check, uint32_t domain, uint16_t id)
{
	int64_t key = shape_key(domain, id);

	return g_hash_table_lookup(check->shapes, &key);
}

/* Whose element a row of fields.def is, as its enterprise number; the OWN ones become the stream's. */
enum { OWN = -1, NEVER = -2 };
#define WHOSE_IANA 0
#define WHOSE_REVERSE WORD_REVERSE
#define WHOSE_OWN OWN
#define WHOSE_NETFLOW9 NEVER
#define VARIABLE WORD_VARIABLE

/* In how many octets it may come: integers also in fewer (RFC 7011 section 6.2). */
#define FIT_NUMBER(octets) 1, octets
#define FIT_OCTETS(octets) octets, octets
#define FIT_NAME(octets) octets, octets
#define FIT_UPTIME(octets) octets, octets
#define FIT_REFERENCE(octets) 1, 8

static const struct word_row {
	int64_t enterprise;
	uint16_t element;
	uint16_t least;
	uint16_t most;
} words[WORD_COUNT] = {
#define FIELD(name, element, enterprise, octets, kind, ...) \
	[WORD_##name] = { WHOSE_##enterprise, element, JOIN(FIT_, LIKE_##kind)(octets) },
#include "fields.def"
#undef FIELD
	[WORD_interfaceName] = { WHOSE_IANA, 82, 1, WORD_VARIABLE - 1 },
	[WORD_interfaceDescription] = { WHOSE_IANA, 83, 1, WORD_VARIABLE - 1 },
	[WORD_observationDomainId] = { WHOSE_IANA, 149, 1, 4 },
	[WORD_observationDomainName] = { WHOSE_IANA, 300, 1, WORD_VARIABLE },
	[WORD_gapKind] = { WHOSE_OWN, 1031, 1, 1 },
	[WORD_gapFlags] = { WHOSE_OWN, 1032, 1, 1 },
	[WORD_gapFlows] = { WHOSE_IANA, 166, 1, 8 },
	[WORD_gapPackets] = { WHOSE_IANA, 167, 1, 8 },
	[WORD_gapOctets] = { WHOSE_IANA, 168, 1, 8 },
	[WORD_gapFirst] = { WHOSE_IANA, 323, 1, 8 },
	[WORD_gapLast] = { NEVER, 0, 0, 0 },
};

static const struct word_row *
find_word(const struct check *check, uint32_t enterprise, uint16_t element)
{
	for (unsigned i = 0; i < WORD_COUNT; i++) {
		int64_t whose = words[i].enterprise == OWN ? check->enterprise : words[i].enterprise;
		if (words[i].element == element && whose == enterprise)
			return &words[i];
	}
	return NULL;
}

/* What of a template is said twice counts once, but a gap has two times, and a flow may refer to three records. */
static bool
is_repeated(unsigned word)
{
	return word == WORD_gapFirst || word == WORD_initiatorPropertiesId || word == WORD_responderPropertiesId;
}

static uint8_t
new_word(struct shape *shape, unsigned word)
{
	while (is_repeated(word) && words_have(&shape->words, word))
		word++;
	if (words_have(&shape->words, word))
		return WORD_COUNT;
	words_add(&shape->words, word);
	return word;
}

/* Remembers what word a field is. One in a length that libfixbuf could not read is no word in an options template,
 * where it may be anybody's, nor is an interface's name anywhere else; in a flow it would be a flow half read. */
static bool
take_word(const struct check *check, struct shape *shape, struct shape_field *field, uint32_t enterprise,
          uint16_t element)
{
	const struct word_row *word = find_word(check, enterprise, element);

	field->word = WORD_COUNT;
	if (!word)
		return true;
	bool fits = field->octets >= word->least && field->octets <= word->most;
	if (fits)
		field->word = new_word(shape, word - words);
	shape->misfit |= !fits;
	shape->own |= word->enterprise == OWN;
	return fits || shape->scopes || word >= &words[WORD_interfaceName];
}

/* Field specifiers, RFC 7011 section 3.2. */
static bool
take_fields(const struct check *check, struct shape *shape, struct cursor *cursor, GError **error)
{
	size_t shortest = 0;

	for (unsigned i = 0; i < shape->n_fields; i++) {
		if (room(cursor) < 4)
			return unsound(cursor, error, "the set ends inside a template");
		uint16_t element = take16(cursor);
		uint16_t octets = take16(cursor);
		uint32_t enterprise = 0;
		if (element & 0x8000) {
			if (room(cursor) < 4)
				return unsound(cursor, error, "the set ends inside a template");
			enterprise = take32(cursor);
		}
		shape->field[i].octets = octets;
		shape->variable |= octets == WORD_VARIABLE;
		element &= 0x7fff;
		if (!take_word(check, shape, &shape->field[i], enterprise, element))
			return unsound(cursor, error, "template %u has element %u in %u octets",
			               (unsigned)(shape->key & UINT16_MAX), element, octets);
		shortest += octets == WORD_VARIABLE ? 1 : octets;
	}
	if (!shortest || shortest > UINT16_MAX)
		return unsound(cursor, error, "a template's records would have %zu octets", shortest);
	shape->shortest = shortest;
	return true;
}

static bool
is_same(const struct shape *one, const struct shape *other)
{
	return one->n_fields == other->n_fields && one->scopes == other->scopes &&
	       memcmp(one->field, other->field, one->n_fields * sizeof *one->field) == 0;
}

/* Not insert: the key is inside the value, so both must be replaced. */
static void
keep_shape(struct check *check, struct soundness *soundness, struct shape *shape)
{
	const struct shape *old = g_hash_table_lookup(check->shapes, &shape->key);

	if (old && soundness->records && !is_same(old, shape))
		soundness->changed = true;
	g_hash_table_replace(check->shapes, &shape->key, shape);
}

static bool
take_template(struct check *check, struct soundness *soundness, uint16_t set, struct cursor *cursor, GError **error)
{
	uint16_t id = take16(cursor);
	uint16_t n = take16(cursor);
	int64_t key = shape_key(soundness->domain, id);

	check->announced++;
	memset(check->recent, 0, sizeof check->recent);
	if (id < SET_DATA)
		return unsound(cursor, error, "template id %u", id);
	if (!n) {                       /* a withdrawal, RFC 7011 section 8.1 */
		soundness->changed |= g_hash_table_remove(check->shapes, &key) && soundness->records;
		return true;
	}
	if (n > MOST_FIELDS || g_hash_table_size(check->shapes) >= MOST_TEMPLATES)
		return unsound(cursor, error, "template %u is one too many, or too long with %u fields", id, n);
	g_autofree struct shape *shape = g_malloc0(sizeof *shape + n * sizeof *shape->field);
	shape->key = key;
	shape->n_fields = n;
	if (set == SET_OPTIONS) {
		shape->scopes = room(cursor) < 2 ? 0 : take16(cursor);
		if (!shape->scopes || shape->scopes > n)
			return unsound(cursor, error, "options template %u with %u scope fields of %u", id, shape->scopes, n);
	}
	if (!take_fields(check, shape, cursor, error))
		return false;
	soundness->own |= shape->own;
	keep_shape(check, soundness, g_steal_pointer(&shape));
	return true;
}

static bool
take_templates(struct check *check, struct soundness *soundness, uint16_t set, struct cursor *cursor, GError **error)
{
	while (room(cursor) >= 4)
		if (!take_template(check, soundness, set, cursor, error))
			return false;
	return true;
}

static bool
take_field(struct cursor *cursor, uint16_t octets)
{
	size_t length = octets;

	if (octets == WORD_VARIABLE) {
		if (room(cursor) < 1)
			return false;
		length = *cursor->at++;
		if (length == 255) {
			if (room(cursor) < 2)
				return false;
			length = take16(cursor);
		}
	}
	if (room(cursor) < length)
		return false;
	cursor->at += length;
	return true;
}

static bool
take_record(const struct shape *shape, struct cursor *cursor, GError **error)
{
	for (unsigned i = 0; i < shape->n_fields; i++)
		if (!take_field(cursor, shape->field[i].octets))
			return unsound(cursor, error, "the set ends inside a record of template %u",
			               (unsigned)(shape->key & UINT16_MAX));
	return true;
}

static const struct shape *
find_shape(struct check *check, uint32_t domain, uint16_t id)
{
	const struct shape **recent = &check->recent[id % RECENT];

	if (!*recent || (*recent)->key != shape_key(domain, id))
		*recent = check_shape(check, domain, id);
	return *recent;
}

static bool
fits(const struct shape *shape, const struct column_table *table)
{
	if (shape->scopes || shape->n_fields != table->n_columns)
		return false;
	for (unsigned i = 0; i < shape->n_fields; i++)
		if (shape->field[i].octets != table->column[i].octets)
			return false;
	return true;
}

/* The number of records that stand in columns, and their padding. */
static bool
take_counted(struct check *check, struct soundness *soundness, const struct shape *shape, struct column_table *table,
             struct cursor *cursor, GError **error)
{
	if (room(cursor) < 2)
		return unsound(cursor, error, "the set ends before the number of its records");
	const uint16_t records = take16(cursor);
	if (table->fitting != check->announced && !fits(shape, table))
		return unsound(cursor, error, "template %u is not that of its columns", table->id);
	table->fitting = check->announced;
	if (records > table->records - table->counted)
		return unsound(cursor, error, "%u records of template %u, columns have %u more", records, table->id,
		               table->records - table->counted);
	table->counted += records;
	soundness->records += records;
	return true;
}

/* What is shorter than any record is padding, RFC 7011 section 3.3.1, but behind a record only: libfixbuf takes what is
 * no record for one that goes on in the next set. */
static bool
take_records(struct check *check, struct soundness *soundness, uint16_t set, struct cursor *cursor,
             GError **error)
{
	const struct shape *shape = find_shape(check, soundness->domain, set);

	if (!shape)
		return unsound(cursor, error, "records of template %u, which was not announced", set);
	struct column_table *table = check->columns ? columns_table(check->columns, soundness->domain, set) : NULL;
	if (table)
		return take_counted(check, soundness, shape, table, cursor, error);
	if (room(cursor) && room(cursor) < shape->shortest)
		return unsound(cursor, error, "no record of template %u in %zu octets", set, room(cursor));
	if (!shape->variable) {
		soundness->records += room(cursor) / shape->shortest;
		return true;
	}
	for (; room(cursor) >= shape->shortest; soundness->records++)
		if (!take_record(shape, cursor, error))
			return false;
	return true;
}

static bool
take_set(struct check *check, struct soundness *soundness, struct cursor *message, GError **error)
{
	if (room(message) < 4)
		return unsound(message, error, "the message ends inside a set header");
	uint16_t id = take16(message);
	uint16_t octets = take16(message);

	if (octets < 4 || (size_t)octets - 4 > room(message))
		return unsound(message, error, "set %u of %u octets, %zu are left", id, octets, room(message) + 4);
	struct cursor set = { message->message, message->at, message->at + octets - 4 };
	message->at = set.end;
	if (id >= SET_DATA)
		return take_records(check, soundness, id, &set, error);
	if (id == SET_TEMPLATES || id == SET_OPTIONS)
		return take_templates(check, soundness, id, &set, error);
	return unsound(&set, error, "set id %u", id);
}

static struct domain *
find_domain(struct check *check, uint32_t number, uint32_t sequence)
{
	struct domain *domain = g_hash_table_lookup(check->domains, GUINT_TO_POINTER(number));

	if (domain || g_hash_table_size(check->domains) == MOST_DOMAINS)
		return domain;
	domain = g_new0(struct domain, 1);
	domain->expected = sequence;
	g_hash_table_insert(check->domains, GUINT_TO_POINTER(number), domain);
	return domain;
}

size_t
check_header(const uint8_t *header, GError **error)
{
	struct cursor cursor = { header, header, header + MESSAGE_HEADER };
	uint16_t version = take16(&cursor);
	uint16_t octets = take16(&cursor);

	if (version == 10 && octets >= MESSAGE_HEADER)
		return octets;
	unsound(&cursor, error, "not an IPFIX message (version %u, %u octets)", version, octets);
	return 0;
}

bool
check_message(struct check *check, const uint8_t *message, size_t octets, struct soundness *soundness, GError **error)
{
	struct cursor cursor = { message, message + 8, message + octets };
	uint32_t sequence = take32(&cursor);

	*soundness = (struct soundness){ .domain = take32(&cursor) };
	struct domain *domain = find_domain(check, soundness->domain, sequence);
	if (!domain)
		return unsound(&cursor, error, "more than %d observation domains", MOST_DOMAINS);
	while (room(&cursor))
		if (!take_set(check, soundness, &cursor, error))
			return false;
	/* A sequence that steps back is another session in the same file, which lost nothing. */
	uint32_t ahead = sequence - domain->expected;
	soundness->lost = ahead > INT32_MAX ? 0 : ahead;
	soundness->counted = domain->counted;
	domain->counted += soundness->records;
	domain->expected = sequence + soundness->records;
	return true;
}

struct check *
check_new(uint32_t enterprise)
{
	struct check *check = g_new0(struct check, 1);

	check->enterprise = enterprise;
	check->shapes = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, g_free);
	check->domains = g_hash_table_new_full(g_direct_hash, g_direct_equal, NULL, g_free);
	return check;
}

void
check_free(struct check *check)
{
	g_hash_table_unref(check->shapes);
	g_hash_table_unref(check->domains);
	g_free(check);
}
