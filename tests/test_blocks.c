/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Flows in blocks: what a reader of any one of them finds. It shares nothing with the writer but the words. */

#include "encode/blocks.h"

#include <fixbuf/public.h>
#include <stdio.h>
#include <string.h>

#include "archive_file.h"
#include "encode/options.h"
#include "error.h"
#include "allocations.h"
#include "suite.h"

enum { DOMAIN = 0x64400001, ENTERPRISE = 32473, PEERS = 40 };
enum { COMMON = 137, FLOW_ID = 148, ABOUT = 3 };
enum { FIRST_TEMPLATE = 256, TEMPLATES = 300 };

/* Strings of a record about the initiator, the responder, the policy. */
static const unsigned strings_of[ABOUT] = { 9, 8, 1 };

/* ---- names ---- */

enum { NAMES = 1 + PEERS * (WORDS + 1) };

static char text[NAMES][64];
static struct name name_table[NAMES];
static struct identity identity_table[PEERS + 1];
static struct names names = { name_table, NAMES, identity_table, PEERS + 1, NULL, 0 };

/* Of each peer half of the words are known; each fourth has no name of its own and lies behind one. */
static void
make_names(const char *suffix)
{
	snprintf(text[0], sizeof text[0], "-");
	for (unsigned i = 1; i < NAMES; i++)
		snprintf(text[i], sizeof text[i], "n%u%s", i, suffix);
	for (unsigned i = 0; i < NAMES; i++)
		name_table[i] = (struct name){ text[i], strlen(text[i]) };
	for (unsigned peer = 1; peer <= PEERS; peer++)
		for (unsigned word = 0; word < WORDS; word++)
			identity_table[peer].word[word] = (peer + word) % 2 ? 1 + (peer - 1) * (WORDS + 1) + word : 0;
}

static uint32_t
policy_of(unsigned i)
{
	return i % 3 ? 1 + i % PEERS * (WORDS + 1) + WORDS : 0;
}

static struct flow
flow_of(unsigned i)
{
	struct flow flow = {
		.family = i % 5 ? 4 : 6, .protocol = i % 7 ? 6 : i % 5 ? 1 : 58, .flow_id = i, .initiator = i % (PEERS + 1),
		.responder = i / 3 % (PEERS + 1), .policy = policy_of(i), .translation = i % 2 ? TRANSLATED_SOURCE : 0,
		.original = { .packets = i + 1, .octets = 100 * i }, .reply = { .packets = 1, .octets = i },
	};

	flow.original.source.v4[3] = i;
	return flow;
}

/* ---- a reader ---- */

struct reader {
	unsigned blocks;
	unsigned in_block;          /* flows */
	unsigned largest_block;     /* octets */
	unsigned block_octets;
	unsigned largest_message;
	uint64_t flows;             /* all of them */
	uint64_t told[ABOUT];       /* properties */
	uint64_t last;              /* largest number that was told */
	bool templates;             /* the message before has some: those of a block may need several */
	bool ungrouped;             /* all records are to stand in the order they were added */
	unsigned unsorted;          /* Sets with an id not above that of the one before */
	uint64_t flows_before, last_before;     /* this message */
	uint64_t next;              /* above all flows so far */
	uint64_t properties_here;   /* in this message */
	unsigned interfaces, domains, types, gaps;
	uint32_t sequence[2];
	uint16_t length[TEMPLATES], common[TEMPLATES][ABOUT], flow_id[TEMPLATES];   /* octets, and where */
	uint64_t next_of[TEMPLATES];            /* the same as next, of one template */
	GHashTable *strings;        /* char **, by number */
	uint64_t mark;
};

static uint64_t
number(const uint8_t *at, unsigned octets)
{
	uint64_t value = 0;

	while (octets--)
		value = value << 8 | *at++;
	return value;
}

static const uint8_t *
read_template(struct reader *reader, const uint8_t *at)
{
	const unsigned id = number(at, 2), n = number(at + 2, 2), i = id - FIRST_TEMPLATE;
	unsigned length = 0, commons = 0;

	CU_ASSERT_FATAL(i < TEMPLATES);
	at += 4;
	for (unsigned field = 0; field < n; field++, at += 4) {
		if (number(at, 2) == COMMON)
			reader->common[i][commons++ % ABOUT] = length;
		if (number(at, 2) == FLOW_ID)
			reader->flow_id[i] = length;
		CU_ASSERT(number(at + 2, 2) != 65535);
		length += number(at + 2, 2);
		at += *at & 0x80 ? 4 : 0;
	}
	CU_ASSERT_EQUAL(commons, ABOUT);
	reader->length[i] = length;
	return at;
}

static const uint8_t *
read_properties(struct reader *reader, unsigned about, const uint8_t *at)
{
	char **strings = g_new0(char *, strings_of[about] + 1);
	const uint64_t id = number(at, 4);

	if (reader->ungrouped)
		CU_ASSERT_EQUAL(id, reader->last + 1);
	CU_ASSERT(id > reader->last_before && !g_hash_table_contains(reader->strings, GSIZE_TO_POINTER(id)));
	reader->last = MAX(reader->last, id);
	reader->properties_here++;
	at += 4;
	for (unsigned i = 0; i < strings_of[about]; i++) {
		const unsigned octets = *at < 255 ? *at : number(at + 1, 2);
		at += *at < 255 ? 1 : 3;
		strings[i] = g_strndup((const char *)at, octets);
		at += octets;
	}
	g_hash_table_insert(reader->strings, GSIZE_TO_POINTER(id), strings);
	reader->told[about]++;
	return at;
}

static const char *
word(uint32_t identity, enum identity_word which)
{
	return text[identity_table[identity].word[which]];
}

static void
check_strings(char *const *strings, const char *const *expected, unsigned n)
{
	for (unsigned k = 0; k < n; k++)
		if (strcmp(strings[k], expected[k]) != 0)
			CU_FAIL_FATAL("another string");
}

static void
check_words(char *const *strings, unsigned about, uint32_t which)
{
	const char *const policy[] = { text[which] };

	if (about == 2) {
		check_strings(strings, policy, 1);
		return;
	}
	const char *const expected[] = {
		text[names_who(&names, which)], text[names_who(&names, which)], word(which, WORD_PEER_ID),
		word(which, WORD_USER), word(which, WORD_GROUPS), word(which, WORD_VIA), word(which, WORD_RESOURCE),
		word(which, WORD_NETWORK), word(which, WORD_DOMAIN),
	};
	/* userName is the first, of the initiator alone. */
	check_strings(strings, expected + about, strings_of[about]);
}

static void
read_flow(struct reader *reader, unsigned template, const uint8_t *at)
{
	const uint64_t id = number(at + reader->flow_id[template], 8);
	const struct flow flow = flow_of(id);
	const uint32_t which[ABOUT] = { flow.initiator, flow.responder, flow.policy };

	/* Of one template they come in the order they were added: see end_message. */
	CU_ASSERT_FATAL(id >= reader->flows_before && id >= reader->next_of[template]);
	if (reader->ungrouped)
		CU_ASSERT_EQUAL_FATAL(id, reader->flows);
	reader->next_of[template] = id + 1;
	reader->next = MAX(reader->next, id + 1);
	reader->flows++;
	reader->in_block++;
	for (unsigned about = 0; about < ABOUT; about++) {
		const uint64_t common = number(at + reader->common[template][about], 4);
		char *const *strings = g_hash_table_lookup(reader->strings, GSIZE_TO_POINTER(common));
		CU_ASSERT_EQUAL(common == 0, which[about] == 0);
		CU_ASSERT_FATAL(!common == !strings);
		if (strings)
			check_words(strings, about, which[about]);
	}
}

static void
begin_block(struct reader *reader)
{
	reader->blocks++;
	reader->last = reader->in_block = reader->block_octets = 0;
	reader->interfaces = reader->domains = reader->types = 0;
	memset(reader->length, 0, sizeof reader->length);
	g_hash_table_remove_all(reader->strings);
}

static unsigned
read_set(struct reader *reader, const uint8_t *at, unsigned records)
{
	const unsigned id = number(at, 2);
	const uint8_t *end = at + number(at + 2, 2);

	at += 4;
	for (; at < end; records++)
		if (id == 2) {
			CU_ASSERT_PTR_EQUAL(read_template(reader, at), end);
			return records;
		} else if (id == 3) {
			return records;
		} else if (id >= OPTIONS_INITIATOR && id <= OPTIONS_POLICY) {
			at = read_properties(reader, id - OPTIONS_INITIATOR, at);
		} else if (id < OPTIONS_INITIATOR || id > OPTIONS_WHO_V6) {
			CU_ASSERT_FATAL(id >= FIRST_TEMPLATE && reader->length[id - FIRST_TEMPLATE] > 0);
			CU_ASSERT(reader->interfaces && reader->domains && reader->types);
			read_flow(reader, id - FIRST_TEMPLATE, at);
			at += reader->length[id - FIRST_TEMPLATE];
		} else if (id == OPTIONS_INTERFACES) {
			reader->interfaces++;
			at += 40;
		} else if (id == OPTIONS_DOMAIN) {
			reader->domains++;
			at += 68;
		} else if (id == OPTIONS_GAP) {
			reader->gaps++;
			at += 46;
		} else {
			CU_ASSERT_EQUAL_FATAL(id, OPTIONS_TYPES);
			reader->types++;
			at += 9 + at[8];
		}
	CU_ASSERT_PTR_EQUAL(at, end);
	return records;
}

static void
begin_message(struct reader *reader)
{
	reader->flows_before = reader->flows;
	reader->last_before = reader->last;
	reader->properties_here = 0;
}

/* As many as there are numbers, and none twice: exactly those that were next. */
static void
end_message(const struct reader *reader)
{
	CU_ASSERT_EQUAL(reader->next, reader->flows);
	CU_ASSERT_EQUAL(reader->last, reader->last_before + reader->properties_here);
}

static void
read_message(struct reader *reader, const uint8_t *octets, size_t length)
{
	uint32_t *sequence = &reader->sequence[number(octets + 12, 4) == DOMAIN];
	unsigned records = 0, last = 0;

	CU_ASSERT_EQUAL(number(octets, 2), 10);
	CU_ASSERT_EQUAL(number(octets + 2, 2), length);
	CU_ASSERT_EQUAL(number(octets + 8, 4), *sequence);
	if (number(octets + 16, 2) == 2 && !reader->templates)
		begin_block(reader);
	reader->templates = number(octets + 16, 2) == 2;
	reader->block_octets += length;
	reader->largest_block = MAX(reader->largest_block, reader->block_octets);
	reader->largest_message = MAX(reader->largest_message, length);
	begin_message(reader);
	for (size_t at = 16; at < length; at += number(octets + at + 2, 2)) {
		records = read_set(reader, octets + at, records);
		reader->unsorted += last >= FIRST_TEMPLATE && number(octets + at, 2) <= last;
		last = number(octets + at, 2);
	}
	end_message(reader);
	if (!reader->ungrouped)
		CU_ASSERT_EQUAL(reader->unsorted, 0);
	*sequence += records;
}

static bool
sink(const struct message *messages, size_t n, void *data)
{
	struct reader *reader = data;

	for (size_t i = 0; i < n; i++) {
		read_message(reader, messages[i].octets, messages[i].length);
		CU_ASSERT_TRUE(messages[i].mark <= reader->flows);
		reader->mark = messages[i].mark;
	}
	return true;
}

static void
free_strings(void *strings)
{
	g_strfreev(strings);
}

static struct reader *
reader_new(void)
{
	struct reader *reader = g_new0(struct reader, 1);

	reader->strings = g_hash_table_new_full(g_direct_hash, g_direct_equal, NULL, free_strings);
	return reader;
}

static void
reader_free(struct reader *reader)
{
	g_hash_table_unref(reader->strings);
	g_free(reader);
}

/* ---- writers ---- */

static const struct interface_name interfaces[] = { { 1, "lo" }, { 2, "wt0" }, { 3, "eth0" } };

static struct blocks *
blocks_of(size_t octets, blocks_sink *take, void *data)
{
	g_autoptr(template_file_t) file = template_file_load(SOURCE_DIR "/templates/archive.template", NULL);
	const struct blocks_options options = {
		.file = file, .domain = DOMAIN, .enterprise = ENTERPRISE, .octets = octets, .sink = take, .data = data,
	};
	struct blocks *blocks;

	CU_ASSERT_PTR_NOT_NULL_FATAL(file);
	blocks = blocks_new(&options, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(blocks);
	blocks_tell(blocks, "router-a", interfaces, G_N_ELEMENTS(interfaces));
	return blocks;
}

/* ---- tests ---- */

/* Each block has all that its flows need, and all flows come. */
static void
test_blocks(void)
{
	static const size_t sizes[] = { 1, 20000, 200000, 1 << 20 };

	for (size_t s = 0; s < G_N_ELEMENTS(sizes); s++) {
		struct reader *reader = reader_new();
		g_autoptr(blocks_t) blocks = blocks_of(sizes[s], sink, reader);
		CU_ASSERT_TRUE(blocks_flush(blocks, true));
		CU_ASSERT_EQUAL(reader->blocks, 0);
		for (unsigned i = 0; i < 30000; i++) {
			const struct flow flow = flow_of(i);
			CU_ASSERT_TRUE_FATAL(blocks_flow(blocks, &flow, &names, i + 1));
			if (i % 5000 == 0)
				CU_ASSERT_TRUE(blocks_flush(blocks, true));
		}
		CU_ASSERT_TRUE(blocks_flush(blocks, true));
		CU_ASSERT_EQUAL(reader->flows, 30000);
		CU_ASSERT_EQUAL(reader->mark, 30000);
		CU_ASSERT_TRUE(reader->blocks > 3);
		CU_ASSERT_TRUE(reader->largest_block < sizes[s] + 9 * 65536);
		CU_ASSERT_TRUE(reader->largest_message > 60000);
		/* Each at least once, and however many pairs of ends there are, none twice in a block. */
		for (unsigned about = 0; about < ABOUT; about++) {
			CU_ASSERT_TRUE(reader->told[about] >= (about == 2 ? 26 : PEERS));
			CU_ASSERT_TRUE(reader->told[about] <= PEERS * reader->blocks);
		}
		reader_free(reader);
	}
}

/* Other names: what was told is told again, under new numbers. */
static void
test_other_names(void)
{
	struct reader *reader = reader_new();
	g_autoptr(blocks_t) blocks = blocks_of(1 << 22, sink, reader);

	for (unsigned i = 0; i < 3000; i++) {
		const struct flow flow = flow_of(i);
		if (i % 1000 == 500) {
			g_autofree char *suffix = g_strdup_printf("-%u", i);
			blocks_flush(blocks, true);
			make_names(suffix);
			blocks_forget_names(blocks);
		}
		CU_ASSERT_TRUE_FATAL(blocks_flow(blocks, &flow, &names, i + 1));
	}
	CU_ASSERT_TRUE(blocks_flush(blocks, true));
	CU_ASSERT_EQUAL(reader->flows, 3000);
	CU_ASSERT_EQUAL(reader->blocks, 1);
	make_names("");
	reader_free(reader);
}

struct tap {
	struct reader *reader;
	unsigned calls;
	unsigned open;              /* every so many calls takes */
};

static bool
drip(const struct message *messages, size_t n, void *data)
{
	struct tap *tap = data;

	return ++tap->calls % tap->open == 0 && sink(messages, n, tap->reader);
}

/* A sink that is often full, and tables of any length meanwhile: everything comes once and in order. */
static void
test_full(void)
{
	static struct interface_name many[20000];

	for (unsigned i = 0; i < G_N_ELEMENTS(many); i++) {
		many[i].index = i + 1;
		snprintf(many[i].name, sizeof many[i].name, "veth%u", i);
	}
	for (unsigned open = 1; open < 6; open++) {
		struct reader *reader = reader_new();
		struct tap tap = { reader, 0, open };
		g_autoptr(blocks_t) blocks = blocks_of(1 << 20, drip, &tap);
		unsigned refused = 0;
		blocks_tell(blocks, "router-b", many, G_N_ELEMENTS(many));
		for (unsigned i = 0; i < 20000;) {
			const struct flow flow = flow_of(i);
			if (blocks_flow(blocks, &flow, &names, i + 1))
				i++;
			else
				refused++;
			if (i == 7000)
				blocks_tell(blocks, "router-c", many, 5);
			if (i % 3000 == 0)
				blocks_flush(blocks, true);
		}
		while (!blocks_flush(blocks, true))
			refused++;
		CU_ASSERT_EQUAL(refused == 0, open == 1);
		CU_ASSERT_EQUAL(reader->flows, 20000);
		CU_ASSERT_EQUAL(reader->mark, 20000);
		reader_free(reader);
	}
}

/* A new file: numbers of everything begin again. */
static void
test_restart(void)
{
	struct reader *reader = reader_new();
	g_autoptr(blocks_t) blocks = blocks_of(1 << 22, sink, reader);
	const struct gap gap = { .kind = GAP_OVERRUN, .first = 1, .last = 2, .flows = 3 };
	struct flow flow = flow_of(0);

	CU_ASSERT_TRUE(blocks_gap(blocks, &gap));
	CU_ASSERT_TRUE(blocks_flow(blocks, &flow, &names, 1));
	CU_ASSERT_TRUE(blocks_flush(blocks, true));
	CU_ASSERT_EQUAL(reader->gaps, 1);
	reader->sequence[0] = reader->sequence[1] = 0;
	blocks_restart(blocks);
	flow = flow_of(1);
	CU_ASSERT_TRUE(blocks_flow(blocks, &flow, &names, 2));
	CU_ASSERT_TRUE(blocks_flush(blocks, true));
	CU_ASSERT_EQUAL(reader->blocks, 2);
	CU_ASSERT_EQUAL(reader->flows, 2);
	CU_ASSERT_EQUAL(reader->mark, 2);
	reader_free(reader);
}

static bool
pass(const struct message *messages, size_t n, void *data)
{
	for (size_t i = 0; i < n; i++)
		*(uint64_t *)data += messages[i].length;
	return true;
}

static void
test_no_allocation(void)
{
	uint64_t octets = 0;
	g_autoptr(blocks_t) blocks = blocks_of(1 << 18, pass, &octets);

	allocations = 0;
	counting = true;
	void *volatile one = malloc(1);         /* a pair that does nothing is otherwise optimised away */
	free(one);
	for (unsigned i = 0; i < 20000; i++) {
		const struct flow flow = flow_of(i);
		blocks_flow(blocks, &flow, &names, i + 1);
	}
	blocks_flush(blocks, true);
	counting = false;
	CU_ASSERT_EQUAL(allocations, 1);
	CU_ASSERT_TRUE(octets > 20000 * 100);
}

/* ---- libfixbuf ---- */

enum { FIXBUF_FLOWS = 2000 };

struct __attribute__((packed)) fixbuf_common {
	uint64_t commonPropertiesId;
	fbVarfield_t userName;
};

struct __attribute__((packed)) fixbuf_flow {
	uint64_t flowId;
	uint64_t commonPropertiesId;        /* the first of them */
};

static void
add_internal(fbSession_t *session, fbInfoModel_t *model, uint16_t id, fbInfoElementSpec_t *spec)
{
	fbTemplate_t *template = fbTemplateAlloc(model);
	GError *error = NULL;       /* libfixbuf does not do without */

	CU_ASSERT_TRUE_FATAL(fbTemplateAppendSpecArray(template, spec, UINT32_MAX, &error));
	CU_ASSERT_EQUAL_FATAL(fbSessionAddTemplate(session, TRUE, id, template, &error), id);
}

static void
check_common(fBuf_t *buffer, GHashTable *users)
{
	struct fixbuf_common common = { 0 };
	size_t length = sizeof common;
	GError *error = NULL;

	CU_ASSERT_TRUE_FATAL(fBufSetInternalTemplate(buffer, 900, &error));
	CU_ASSERT_TRUE_FATAL(fBufNext(buffer, (uint8_t *)&common, &length, &error));
	g_hash_table_insert(users, GSIZE_TO_POINTER(common.commonPropertiesId),
	                    g_strndup((const char *)common.userName.buf, common.userName.len));
}

static void
check_flow(fBuf_t *buffer, GHashTable *users, bool *seen)
{
	struct fixbuf_flow flow = { 0 };
	size_t length = sizeof flow;
	GError *error = NULL;

	CU_ASSERT_TRUE_FATAL(fBufSetInternalTemplate(buffer, 901, &error));
	CU_ASSERT_TRUE_FATAL(fBufNext(buffer, (uint8_t *)&flow, &length, &error));
	CU_ASSERT_FATAL(flow.flowId < FIXBUF_FLOWS && !seen[flow.flowId]);
	seen[flow.flowId] = true;
	const struct flow sent = flow_of(flow.flowId);
	CU_ASSERT_EQUAL(flow.commonPropertiesId == 0, sent.initiator == 0);
	if (!flow.commonPropertiesId)
		return;
	const char *user = g_hash_table_lookup(users, GSIZE_TO_POINTER(flow.commonPropertiesId));
	CU_ASSERT_PTR_NOT_NULL_FATAL(user);
	CU_ASSERT_STRING_EQUAL(user, text[names_who(&names, sent.initiator)]);
}

static void
skip_record(fBuf_t *buffer)
{
	struct fixbuf_flow nothing;
	size_t length = sizeof nothing;
	GError *error = NULL;

	CU_ASSERT_TRUE_FATAL(fBufSetInternalTemplate(buffer, 901, &error));
	CU_ASSERT_TRUE_FATAL(fBufNext(buffer, (uint8_t *)&nothing, &length, &error));
}

/* Somebody else's library finds the same words in a file, options record by options record. */
static void
test_fixbuf(void)
{
	static fbInfoElementSpec_t of_common[] = {
		{ (char *)"commonPropertiesId", 8, 0 }, { (char *)"userName", FB_IE_VARLEN, 0 }, FB_IESPEC_NULL,
	};
	static fbInfoElementSpec_t of_flow[] = {
		{ (char *)"flowId", 8, 0 }, { (char *)"commonPropertiesId", 8, 0 }, FB_IESPEC_NULL,
	};
	g_autoptr(GHashTable) users = g_hash_table_new_full(g_direct_hash, g_direct_equal, NULL, g_free);
	FILE *file = tmpfile();
	struct blocks *blocks = archive_file_blocks(file, DOMAIN, 50000);
	bool seen[FIXBUF_FLOWS] = { false };
	GError *error = NULL;
	uint64_t n = 0;

	blocks_tell(blocks, "router-a", interfaces, G_N_ELEMENTS(interfaces));
	for (unsigned i = 0; i < FIXBUF_FLOWS; i++) {
		const struct flow flow = flow_of(i);
		blocks_flow(blocks, &flow, &names, 0);
	}
	blocks_flush(blocks, true);
	blocks_free(blocks);
	rewind(file);
	fbInfoModel_t *model = fbInfoModelAlloc();
	fbSession_t *session = fbSessionAlloc(model);
	add_internal(session, model, 900, of_common);
	add_internal(session, model, 901, of_flow);
	fBuf_t *buffer = fBufAllocForCollection(session, fbCollectorAllocFP(NULL, file));
	CU_ASSERT_TRUE_FATAL(fBufSetInternalTemplate(buffer, 900, &error));
	fBufSetAutomaticMode(buffer, FALSE);
	while (fBufNextMessage(buffer, &error)) {
		for (uint16_t id; fBufNextCollectionTemplate(buffer, &id, &error);)
			if (id > OPTIONS_WHO_V6) {
				check_flow(buffer, users, seen);
				n++;
			} else if (id == OPTIONS_INITIATOR) {
				check_common(buffer, users);
			} else {
				skip_record(buffer);
			}
		g_clear_error(&error);
	}
	CU_ASSERT_TRUE(g_error_matches(error, FB_ERROR_DOMAIN, FB_ERROR_EOF));
	g_clear_error(&error);
	CU_ASSERT_EQUAL(n, FIXBUF_FLOWS);
	fBufFree(buffer);
	fbInfoModelFree(model);
	fclose(file);
}

/* ---- set-up ---- */

static struct encoder *
encoder_of(const struct template_file *file, unsigned size)
{
	const struct encoder_options options = { .records = TRAIT_BIFLOW, .enterprise = ENTERPRISE, .domain = DOMAIN,
	                                         .message_size = size, .properties = true };
	struct encoder *encoder = encoder_new(file, &options, NULL);

	CU_ASSERT_PTR_NOT_NULL_FATAL(encoder);
	CU_ASSERT_TRUE(encoder_begin_block(encoder));
	CU_ASSERT_TRUE(encoder_add_domain_name(encoder, "router-a"));
	CU_ASSERT_TRUE(encoder_add_interface(encoder, &interfaces[0]));
	return encoder;
}

static void
read_encoded(struct encoder *encoder, struct reader *reader, unsigned flows)
{
	const struct message *messages;

	for (unsigned i = 0; i < flows; i++) {
		const struct flow flow = flow_of(i);
		while (!encoder_add_flow(encoder, &flow, &names)) {
			const size_t n = encoder_take(encoder, 1, false, &messages);
			CU_ASSERT_FATAL(n > 0);
			sink(messages, n, reader);
		}
	}
	const size_t n = encoder_take(encoder, 1, true, &messages);
	sink(messages, n, reader);
	CU_ASSERT_EQUAL(reader->flows, flows);
}

/* Whatever the size of messages, one that refuses a flow has some to be taken. */
static void
test_any_size(void)
{
	g_autoptr(template_file_t) file = template_file_load(SOURCE_DIR "/templates/archive.template", NULL);

	for (unsigned size = 1000; size <= 33000; size += 200) {
		struct reader *reader = reader_new();
		g_autoptr(encoder_t) encoder = encoder_of(file, size);
		read_encoded(encoder, reader, 1000);
		CU_ASSERT_TRUE(reader->largest_message <= size);
		reader_free(reader);
	}
}

/* Flows with an id below those of what they refer to: whatever it is, that stands before them. */
static void
test_low_ids(void)
{
	static const struct {
		const char *from, *to;
		bool ungrouped;
	} rows[] = {
		{ "template 51", "template 26", true }, { "template 518", "template 271", true },
		{ "template 510", "template 256", true }, { "template 510", "template 288", false },
	};
	g_autofree char *archive = NULL;

	CU_ASSERT_TRUE_FATAL(g_file_get_contents(SOURCE_DIR "/templates/archive.template", &archive, NULL, NULL));
	for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
		g_auto(GStrv) parts = g_strsplit(archive, rows[i].from, -1);
		g_autofree char *other = g_strjoinv(rows[i].to, parts);
		g_autoptr(template_file_t) file = template_file_parse("other", other, strlen(other), NULL);
		CU_ASSERT_PTR_NOT_NULL_FATAL(file);
		struct reader *reader = reader_new();
		reader->ungrouped = rows[i].ungrouped;
		g_autoptr(encoder_t) encoder = encoder_of(file, 20000);
		read_encoded(encoder, reader, 5000);
		CU_ASSERT_EQUAL(reader->unsorted > 1000, rows[i].ungrouped);
		reader_free(reader);
	}
}

static void
test_refused(void)
{
	static const struct {
		const char *template;
		bool properties;
		const char *message;
	} rows[] = {
		{ "full", true, "an archive's template needs initiatorPropertiesId and the like of responder and policy" },
		{ "archive", false, "initiatorPropertiesId and its like are for the template of the archive alone" },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
		g_autofree char *path = g_strdup_printf("%s/templates/%s.template", SOURCE_DIR, rows[i].template);
		g_autoptr(template_file_t) file = template_file_load(path, NULL);
		const struct encoder_options options = { .records = TRAIT_BIFLOW, .enterprise = ENTERPRISE, .message_size = 1400,
		                                         .properties = rows[i].properties };
		g_autoptr(GError) error = NULL;
		CU_ASSERT_PTR_NULL(encoder_new(file, &options, &error));
		CU_ASSERT_TRUE(g_error_matches(error, PEERFLOW_ERROR, EX_CONFIG));
		CU_ASSERT_TRUE(g_str_has_suffix(error->message, rows[i].message));
	}
}

int
main(void)
{
	static CU_TestInfo tests[] = {
		{ "each block can be read alone", test_blocks },
		{ "other names", test_other_names },
		{ "a sink that is full", test_full },
		{ "a new file", test_restart },
		{ "no allocation", test_no_allocation },
		{ "libfixbuf reads them", test_fixbuf },
		{ "messages of any size", test_any_size },
		{ "ids below those of properties", test_low_ids },
		{ "templates that do not fit", test_refused },
		CU_TEST_INFO_NULL,
	};

	watch_allocations();
	make_names("");
	return run_suite("blocks", tests);
}
