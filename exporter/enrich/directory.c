/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Built in one pass over all prefixes in order of address, so that those around a prefix have been done before it.
 * What a prefix is at any time is a chain of steps, newest first, each with the identity from then on. Whole addresses,
 * which are nearly all, stand in a hash table for each family; of the shorter prefixes only the borders are kept, so
 * that the longest one around an address is found by a search for the last border before it, however many lengths
 * there are. */
#include "enrich/directory.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
	STEPS_MOST = 32,            /* of one prefix; what was before is not known any more */
	RULES_MOST = 1024,
	RIGHTS_MOST = UINT16_MAX,
	BUCKETS = 1 << 16,          /* by the first 16 bits of an IPv4 address */
	BUCKET_MANY = 4,            /* borders, from which on a bucket is divided by the next 8 bits */
	PARTS = 256,
	HUGE_PAGE = 2 << 20,
};

#define TAKEN (UINT32_C(1) << 31)   /* of a slot's identity */

/* A time and what rules say of whoever it was from then on, in one number: the line of the cache that says who it was
 * is then all that is needed. */
#define SINCE(from, rights) (MIN(from, UINT64_MAX >> 16) << 16 | (rights))
#define FROM(since) ((since) >> 16)
#define RIGHTS(since) ((uint16_t)(since))

struct step {
	uint64_t since;
	uint32_t identity;
	uint32_t older;             /* index; zero: none */
};

struct slot4 {
	uint32_t address;           /* network byte order */
	uint32_t identity;          /* of the newest step, with TAKEN */
	uint64_t since;
};

struct slot6 {
	union address address;
	uint64_t since;
	uint32_t identity;
	uint32_t older;
};

struct border {
	uint64_t high, low;         /* host byte order */
};

/* From a border to the next one. */
struct range4 {
	uint32_t border;            /* host byte order */
	uint32_t identity;          /* of the newest step */
	uint64_t since;
};

struct bucket {
	uint32_t first;             /* range whose border is not below it */
	uint32_t parts;             /* index into directory.part, or zero: not divided */
};

/* What an identity needs to know besides its words. */
struct trait {
	uint32_t sources;           /* index of a set of rules that begin here */
	uint32_t destinations;
	uint32_t behind_peer;
};

struct rights {
	uint32_t sources;
	uint32_t destinations;
};

enum kind {
	KIND_PEER = 1,
	KIND_BEHIND_PEER = 2,
};

struct rule {
	uint32_t name;
	uint32_t number;            /* both directions of a policy have the same */
	uint32_t first_port;        /* into directory.ports */
	uint32_t n_ports;
	uint8_t protocol;
};

struct directory {
	struct names names;
	struct name *name;
	GStringChunk *text;
	struct identity *identity;
	uint8_t *kind;              /* enum kind bits of each identity */
	struct rights *rights;
	struct names_row *row;
	struct step *step;

	struct slot4 *slot4;
	uint32_t *older4;           /* step before that in the slot, seldom needed */
	size_t mask4;
	unsigned shift4;            /* that leaves as many bits as mask4 has */
	struct slot6 *slot6;
	size_t mask6;

	struct range4 *range4;      /* the first begins at zero */
	uint32_t *range_older4;     /* step before that in the range, seldom needed */
	struct bucket *bucket4;     /* BUCKETS, and an end */
	uint32_t *part4;            /* first ranges as in a bucket, PARTS and an end each */
	struct border *border6;
	struct step *range6;
	size_t n_border6;

	struct rule *rule;
	struct roster_ports *ports;
	uint64_t *set;              /* sets of rules, set_words words each; set zero is empty */
	unsigned set_words;
	uint64_t policies_since;

	struct roster_prefix *overlay;
	size_t n_overlay;
	const char *own_name;
};

/* What a prefix is made of. */
struct node {
	struct roster_prefix prefix;
	const struct history_line *line[ROSTER_SOURCES];
	uint32_t around;            /* index of the next longer prefix that holds it; zero: none */
	uint32_t step;
};

/* An identity while it is looked for among those there are. */
struct draft {
	struct identity identity;
	struct trait trait;
};

struct builder {
	const struct directory_input *input;
	GStringChunk *text;
	GHashTable *text_index;     /* text -> index of the name */
	GArray *name;               /* struct name */
	GHashTable *draft_index;    /* struct draft -> index of the identity */
	GArray *draft;              /* struct draft */
	GArray *step;               /* struct step */
	GArray *node;               /* struct node; the first is none */
	GArray *rule;               /* struct rule */
	GArray *ports;              /* struct roster_ports */
	GHashTable *tag;            /* text -> struct tagged */
	GHashTable *set_index;      /* GBytes -> index */
	GArray *set;                /* uint64_t */
	unsigned set_words;
	GArray *times;              /* uint64_t, of the prefix at hand */
};

/* Names and identities, each once */

static uint32_t
text_index(struct builder *builder, const char *text)
{
	if (!text)
		return 0;
	const uint32_t known = GPOINTER_TO_UINT(g_hash_table_lookup(builder->text_index, text));
	if (known)
		return known;
	const struct name name = { g_string_chunk_insert(builder->text, text), strlen(text) };
	const uint32_t index = builder->name->len;
	g_array_append_val(builder->name, name);
	g_hash_table_insert(builder->text_index, (void *)name.text, GUINT_TO_POINTER(index));
	return index;
}

static guint
hash_draft(gconstpointer key)
{
	const uint32_t *word = key;
	uint64_t mixed = 0;

	for (size_t i = 0; i < sizeof(struct draft) / sizeof *word; i++)
		mixed = (mixed ^ word[i]) * 0x9e3779b97f4a7c15u ^ mixed >> 29;
	return mixed >> 32;
}

static gboolean
equal_drafts(gconstpointer a, gconstpointer b)
{
	return memcmp(a, b, sizeof(struct draft)) == 0;
}

static uint32_t
identity_index(struct builder *builder, const struct draft *draft)
{
	void *known;

	if (g_hash_table_lookup_extended(builder->draft_index, draft, NULL, &known))
		return GPOINTER_TO_UINT(known);
	const uint32_t index = builder->draft->len;
	g_array_append_vals(builder->draft, draft, 1);
	g_hash_table_insert(builder->draft_index, g_memdup2(draft, sizeof *draft), GUINT_TO_POINTER(index));
	return index;
}

/* Rules, and which of them begin or end at whom */

struct tagged {
	uint64_t sources[RULES_MOST / 64];
	uint64_t destinations[RULES_MOST / 64];
};

static void
tag_rule(struct builder *builder, const char *const *tags, unsigned rule, size_t offset)
{
	for (; tags && *tags; tags++) {
		struct tagged *tagged = g_hash_table_lookup(builder->tag, *tags);
		if (!tagged) {
			tagged = g_new0(struct tagged, 1);
			g_hash_table_insert(builder->tag, g_strdup(*tags), tagged);
		}
		uint64_t *set = (uint64_t *)(void *)((char *)tagged + offset);
		set[rule / 64] |= UINT64_C(1) << rule % 64;
	}
}

static void
add_rule(struct builder *builder, const struct roster_policy *policy, unsigned number, bool back)
{
	const unsigned bit = builder->rule->len;
	const struct rule rule = { text_index(builder, policy->name), number, builder->ports->len, policy->n_ports,
	                           policy->protocol };

	g_array_append_val(builder->rule, rule);
	g_array_append_vals(builder->ports, policy->ports, policy->n_ports);
	tag_rule(builder, back ? policy->destinations : policy->sources, bit, offsetof(struct tagged, sources));
	tag_rule(builder, back ? policy->sources : policy->destinations, bit, offsetof(struct tagged, destinations));
}

/* More rules than there is room for: none, since an answer is honest only if all were asked. */
static void
add_rules(struct builder *builder, const struct roster *roster)
{
	unsigned rules = 0;

	for (guint i = 0; roster && i < roster->policy->len; i++)
		rules += 1 + g_array_index(roster->policy, struct roster_policy, i).bidirectional;
	if (!rules || rules > RULES_MOST)
		return;
	for (guint i = 0; i < roster->policy->len; i++) {
		const struct roster_policy *policy = &g_array_index(roster->policy, struct roster_policy, i);
		add_rule(builder, policy, i, false);
		if (policy->bidirectional)
			add_rule(builder, policy, i, true);
	}
	builder->set_words = (rules + 63) / 64;
}

static uint32_t
set_index(struct builder *builder, const uint64_t *set)
{
	const size_t octets = builder->set_words * sizeof *set;
	g_autoptr(GBytes) key = g_bytes_new(set, octets);
	void *known;

	if (g_hash_table_lookup_extended(builder->set_index, key, NULL, &known))
		return GPOINTER_TO_UINT(known);
	const uint32_t index = g_hash_table_size(builder->set_index);
	g_array_append_vals(builder->set, set, builder->set_words);
	g_hash_table_insert(builder->set_index, g_steal_pointer(&key), GUINT_TO_POINTER(index));
	return index;
}

static uint32_t
unite(struct builder *builder, uint32_t around, char *const *tags, size_t offset)
{
	uint64_t set[RULES_MOST / 64] = { 0 };

	for (unsigned i = 0; i < builder->set_words; i++)
		set[i] = g_array_index(builder->set, uint64_t, around * builder->set_words + i);
	for (; *tags; tags++) {
		const struct tagged *tagged = g_hash_table_lookup(builder->tag, *tags);
		const uint64_t *more = tagged ? (const uint64_t *)(const void *)((const char *)tagged + offset) : NULL;
		for (unsigned i = 0; more && i < builder->set_words; i++)
			set[i] |= more[i];
	}
	return set_index(builder, set);
}

/* What a prefix is at a time */

static const struct history_span *
span_at(const struct history_line *line, uint64_t time)
{
	const struct history_span *span = line->newest;

	while (span && span->from > time)
		span = span->older;
	return span;
}

/* Of each word what the best source has. */
static void
take_words(struct builder *builder, const struct node *node, uint64_t time, struct identity *identity)
{
	for (unsigned source = 0; source < ROSTER_SOURCES; source++) {
		const struct history_span *span = node->line[source] ? span_at(node->line[source], time) : NULL;
		for (unsigned i = 0; span && i < WORDS; i++)
			if (!identity->word[i])
				identity->word[i] = text_index(builder, span->word[i]);
	}
}

static bool
holds_own_address(const struct directory_input *input, const struct roster_prefix *prefix)
{
	for (size_t i = 0; i < input->n_own; i++)
		if (roster_prefix_holds(prefix, input->own[i].family, &input->own[i].address))
			return true;
	return false;
}

static bool
is_own_name(const struct builder *builder, uint32_t name)
{
	const char *text = g_array_index(builder->name, struct name, name).text;

	for (unsigned source = 0; source < ROSTER_SOURCES; source++)
		if (builder->input->roster[source] && g_strcmp0(builder->input->roster[source]->own_name, text) == 0)
			return true;
	return false;
}

/* The whole internet is behind nobody, and this host's own networks are not behind another. */
static bool
is_behind_peer(const struct builder *builder, const struct roster_prefix *prefix, uint32_t via)
{
	return prefix->length && !is_own_name(builder, via) && !holds_own_address(builder->input, prefix);
}

static void
inherit(uint32_t *word, const struct identity *from, enum identity_word which)
{
	word[which] = from->word[which];
}

/* What an address is not by itself it has from the prefix around it; things that belong together stay together. */
static void
inherit_words(struct draft *draft, const struct draft *around)
{
	uint32_t *word = draft->identity.word;

	if (!word[WORD_GROUPS] && !word[WORD_RESOURCE])
		inherit(word, &around->identity, WORD_GROUPS);
	if (!word[WORD_VIA]) {
		inherit(word, &around->identity, WORD_VIA);
		inherit(word, &around->identity, WORD_PEER_ID);
		inherit(word, &around->identity, WORD_USER);
		draft->trait.behind_peer = around->trait.behind_peer;
	}
	if (!word[WORD_RESOURCE]) {
		inherit(word, &around->identity, WORD_RESOURCE);
		inherit(word, &around->identity, WORD_NETWORK);
	}
}

static void
take_rules(struct builder *builder, const struct node *node, uint64_t time, struct trait *trait)
{
	for (unsigned source = 0; builder->set_words && source < ROSTER_SOURCES; source++) {
		const struct history_line *line = node->line[source];
		if (!line || !line->tags || time < line->tags_since || time < line->newest->from)
			continue;
		trait->sources = unite(builder, trait->sources, line->tags, offsetof(struct tagged, sources));
		trait->destinations = unite(builder, trait->destinations, line->tags, offsetof(struct tagged, destinations));
	}
}

/* The newest step that had been made by then; step zero is nobody's. */
static inline const struct step *
step_at(const struct step *step, uint32_t index, uint64_t time)
{
	while (index && FROM(step[index].since) > time)
		index = step[index].older;
	return &step[index];
}

static const struct step *
steps_of(const struct builder *builder)
{
	return (const struct step *)(void *)builder->step->data;
}

static uint32_t
identity_at(struct builder *builder, const struct node *node, uint64_t time)
{
	struct draft draft = { .identity = { { 0 } } };
	const struct node *outer = &g_array_index(builder->node, struct node, node->around);
	const struct draft around =
		g_array_index(builder->draft, struct draft, step_at(steps_of(builder), outer->step, time)->identity);

	take_words(builder, node, time, &draft.identity);
	/* The tunnel knows a peer by one address; its others are not behind it, they are it. */
	if (draft.identity.word[WORD_VIA] == draft.identity.word[WORD_PEER])
		draft.identity.word[WORD_VIA] = 0;
	if (draft.identity.word[WORD_VIA])
		draft.trait.behind_peer = is_behind_peer(builder, &node->prefix, draft.identity.word[WORD_VIA]);
	if (!draft.identity.word[WORD_PEER]) {
		inherit_words(&draft, &around);
		draft.trait.sources = around.trait.sources;
		draft.trait.destinations = around.trait.destinations;
	}
	take_rules(builder, node, time, &draft.trait);
	return identity_index(builder, &draft);
}

/* When it may have changed, newest first */

static void
note_times(GArray *times, const struct history_line *line)
{
	for (const struct history_span *span = line->newest; span; span = span->older)
		g_array_append_val(times, span->from);
	if (line->tags)
		g_array_append_val(times, line->tags_since);
}

static int
later_first(const void *one, const void *other)
{
	const uint64_t a = *(const uint64_t *)one, b = *(const uint64_t *)other;

	return (a < b) - (a > b);
}

static void
find_times(struct builder *builder, const struct node *node)
{
	const uint64_t always = 0;
	const struct step *step = steps_of(builder);

	g_array_set_size(builder->times, 0);
	for (unsigned source = 0; source < ROSTER_SOURCES; source++)
		if (node->line[source])
			note_times(builder->times, node->line[source]);
	for (uint32_t i = g_array_index(builder->node, struct node, node->around).step; i; i = step[i].older) {
		const uint64_t from = FROM(step[i].since);
		g_array_append_val(builder->times, from);
	}
	g_array_append_val(builder->times, always);
	g_array_sort(builder->times, later_first);
}

/* A step that changes nothing is none: the later one reaches back. */
static void
add_step(struct builder *builder, struct node *node, uint64_t time, uint32_t identity, unsigned *n)
{
	struct step *last = &g_array_index(builder->step, struct step, builder->step->len - 1);

	if (*n && last->identity == identity) {
		last->since = SINCE(time, 0);
		return;
	}
	if (++*n > STEPS_MOST)
		return;
	const struct step step = { .since = SINCE(time, 0), .identity = identity };
	const uint32_t index = builder->step->len;
	if (*n == 1)
		node->step = index;
	else
		last->older = index;
	g_array_append_val(builder->step, step);
}

static void
add_steps(struct builder *builder, struct node *node)
{
	unsigned n = 0;

	find_times(builder, node);
	for (guint i = 0; i < builder->times->len && n <= STEPS_MOST; i++) {
		const uint64_t time = g_array_index(builder->times, uint64_t, i);
		if (i && time == g_array_index(builder->times, uint64_t, i - 1))
			continue;
		add_step(builder, node, time, identity_at(builder, node, time), &n);
	}
}

/* All prefixes, in order */

static int
compare_prefixes(const struct roster_prefix *a, const struct roster_prefix *b)
{
	if (a->family != b->family)
		return a->family - b->family;
	const int order = memcmp(&a->address, &b->address, sizeof a->address);
	return order ? order : a->length - b->length;
}

static int
compare_lines(const void *one, const void *other)
{
	const struct history_line *const *a = one, *const *b = other;

	return compare_prefixes(&(*a)->prefix, &(*b)->prefix);
}

static void
gather_line(const struct history_line *line, void *lines)
{
	g_ptr_array_add(lines, (void *)line);
}

static void
gather_nodes(struct builder *builder)
{
	g_autoptr(GPtrArray) lines = g_ptr_array_new();

	history_each(builder->input->history, gather_line, lines);
	g_ptr_array_sort(lines, compare_lines);
	g_array_set_size(builder->node, 1);
	for (guint i = 0; i < lines->len; i++) {
		const struct history_line *line = lines->pdata[i];
		struct node *last = &g_array_index(builder->node, struct node, builder->node->len - 1);
		if (builder->node->len == 1 || compare_prefixes(&last->prefix, &line->prefix) != 0) {
			g_array_set_size(builder->node, builder->node->len + 1);
			last = &g_array_index(builder->node, struct node, builder->node->len - 1);
			last->prefix = line->prefix;
		}
		last->line[line->source] = line;
	}
}

static void
resolve_nodes(struct builder *builder)
{
	uint32_t around = 0;

	for (guint i = 1; i < builder->node->len; i++) {
		struct node *node = &g_array_index(builder->node, struct node, i);
		while (around) {
			const struct node *outer = &g_array_index(builder->node, struct node, around);
			if (roster_prefix_holds(&outer->prefix, node->prefix.family, &node->prefix.address))
				break;
			around = outer->around;
		}
		node->around = around;
		add_steps(builder, node);
		around = i;
	}
}

/* The tables of the hot path */

static bool
is_whole(const struct roster_prefix *prefix)
{
	return prefix->length == (prefix->family == 6 ? 128 : 32);
}

/* By the golden ratio: addresses that follow one another, as those of a mesh do, never meet. */
static inline size_t
hash4(const struct directory *directory, uint32_t address)
{
	return ntohl(address) * UINT64_C(0x9e3779b97f4a7c15) >> directory->shift4;
}

static inline uint64_t
hash6(const union address *address)
{
	uint64_t mixed = (address->half[0] ^ address->half[1] >> 32) * 0x9e3779b97f4a7c15u;

	mixed = (mixed ^ mixed >> 32 ^ address->half[1]) * 0xff51afd7ed558ccdu;
	return mixed >> 24 ^ mixed >> 40;
}

static inline bool
same_address(const union address *a, const union address *b)
{
	return a->half[0] == b->half[0] && a->half[1] == b->half[1];
}

/* The slot of that address, or the free one where it would stand. */
static inline size_t
find_slot4(const struct directory *directory, uint32_t address)
{
	size_t i = hash4(directory, address);

	while (directory->slot4[i].identity & TAKEN && directory->slot4[i].address != address)
		i = (i + 1) & directory->mask4;
	return i;
}

static inline size_t
find_slot6(const struct directory *directory, const union address *address)
{
	size_t i = hash6(address) & directory->mask6;

	while (directory->slot6[i].identity & TAKEN && !same_address(&directory->slot6[i].address, address))
		i = (i + 1) & directory->mask6;
	return i;
}

static size_t
mask_for(size_t addresses)
{
	size_t slots = 2;

	while (slots < addresses * 2)
		slots *= 2;
	return slots - 1;
}

static void
fill_slot(struct directory *directory, const struct node *node)
{
	const struct step *step = &directory->step[node->step];

	if (node->prefix.family == 4) {
		const size_t i = find_slot4(directory, node->prefix.address.word[0]);
		directory->slot4[i] = (struct slot4){ node->prefix.address.word[0], step->identity | TAKEN, step->since };
		directory->older4[i] = step->older;
		return;
	}
	const size_t i = find_slot6(directory, &node->prefix.address);
	directory->slot6[i] = (struct slot6){ node->prefix.address, step->since, step->identity | TAKEN, step->older };
}

/* Any slot may be the next: with small pages finding the page costs more than the slot. */
static void *
new_slots(size_t n, size_t size)
{
	const size_t octets = (n * size + HUGE_PAGE - 1) & ~((size_t)HUGE_PAGE - 1);
	void *slots;

	if (n * size < HUGE_PAGE / 2 || posix_memalign(&slots, HUGE_PAGE, octets) != 0)
		return g_malloc0_n(n, size);
	madvise(slots, octets, MADV_HUGEPAGE);
	return memset(slots, 0, octets);
}

static void
fill_slots(struct directory *directory, const GArray *nodes)
{
	size_t n4 = 0, n6 = 0;

	for (guint i = 1; i < nodes->len; i++) {
		const struct node *node = &g_array_index(nodes, struct node, i);
		n4 += is_whole(&node->prefix) && node->prefix.family == 4;
		n6 += is_whole(&node->prefix) && node->prefix.family == 6;
	}
	directory->mask4 = mask_for(n4);
	directory->shift4 = __builtin_clzll(directory->mask4);
	directory->mask6 = mask_for(n6);
	directory->slot4 = new_slots(directory->mask4 + 1, sizeof *directory->slot4);
	directory->older4 = g_new0(uint32_t, directory->mask4 + 1);
	directory->slot6 = new_slots(directory->mask6 + 1, sizeof *directory->slot6);
	for (guint i = 1; i < nodes->len; i++)
		if (is_whole(&g_array_index(nodes, struct node, i).prefix))
			fill_slot(directory, &g_array_index(nodes, struct node, i));
}

/* Borders, made for both families as 128 bits: IPv4 in the upper 32. */

struct borders {
	GArray *at;                 /* struct border */
	GArray *step;               /* uint32_t */
};

static struct border
border_of(const union address *address)
{
	return (struct border){ GUINT64_FROM_BE(address->half[0]), GUINT64_FROM_BE(address->half[1]) };
}

static bool
is_before(const struct border *a, const struct border *b)
{
	return a->high < b->high || (a->high == b->high && a->low < b->low);
}

static void
set_border(struct borders *borders, struct border at, uint32_t step)
{
	const struct border *last = &g_array_index(borders->at, struct border, borders->at->len - 1);

	if (is_before(last, &at)) {
		g_array_append_val(borders->at, at);
		g_array_append_val(borders->step, step);
	} else {
		g_array_index(borders->step, uint32_t, borders->step->len - 1) = step;
	}
}

/* Where what follows the prefix begins; false if nothing does. */
static bool
border_behind(const struct roster_prefix *prefix, struct border *behind)
{
	const unsigned high = MIN(prefix->length, 64), low = prefix->length - high;
	const struct border at = border_of(&prefix->address);

	behind->low = low ? at.low + (UINT64_C(1) << (64 - low)) : 0;
	behind->high = at.high;
	if (!low)
		behind->high += high ? UINT64_C(1) << (64 - high) : 0;
	else if (!behind->low)
		behind->high++;
	return prefix->length && (behind->high || behind->low);
}

/* Leaves all prefixes that end in front of this one; inside of what is left the prefix around goes on. */
static uint32_t
leave(struct borders *borders, const GArray *nodes, uint32_t open, const struct node *next)
{
	while (open) {
		const struct node *node = &g_array_index(nodes, struct node, open);
		struct border behind;
		if (next && roster_prefix_holds(&node->prefix, next->prefix.family, &next->prefix.address))
			return open;
		if (border_behind(&node->prefix, &behind))
			set_border(borders, behind, g_array_index(nodes, struct node, node->around).step);
		open = node->around;
	}
	return 0;
}

static struct borders
find_borders(const GArray *nodes, unsigned family)
{
	struct borders borders = { g_array_new(false, true, sizeof(struct border)),
	                           g_array_new(false, true, sizeof(uint32_t)) };
	uint32_t open = 0;

	g_array_set_size(borders.at, 1);
	g_array_set_size(borders.step, 1);
	for (guint i = 1; i < nodes->len; i++) {
		const struct node *node = &g_array_index(nodes, struct node, i);
		if (node->prefix.family != family || is_whole(&node->prefix))
			continue;
		open = leave(&borders, nodes, open, node);
		set_border(&borders, border_of(&node->prefix.address), node->step);
		open = i;
	}
	leave(&borders, nodes, open, NULL);
	return borders;
}

/* The newest steps side by side: elsewhere they are far apart. */
static struct step *
copy_steps(const struct directory *directory, const GArray *indexes)
{
	struct step *steps = g_new(struct step, indexes->len);

	for (guint i = 0; i < indexes->len; i++)
		steps[i] = directory->step[g_array_index(indexes, uint32_t, i)];
	return steps;
}

static void
fill_borders6(struct directory *directory, const GArray *nodes)
{
	struct borders borders = find_borders(nodes, 6);

	directory->n_border6 = borders.at->len;
	directory->border6 = g_array_steal(borders.at, NULL);
	directory->range6 = copy_steps(directory, borders.step);
	g_array_free(borders.at, true);
	g_array_free(borders.step, true);
}

static void
fill_ranges4(struct directory *directory, const struct borders *borders)
{
	const uint32_t n = borders->at->len;

	directory->range4 = g_new(struct range4, n);
	directory->range_older4 = g_new(uint32_t, n);
	for (uint32_t i = 0; i < n; i++) {
		const struct step *step = &directory->step[g_array_index(borders->step, uint32_t, i)];
		const uint32_t border = g_array_index(borders->at, struct border, i).high >> 32;
		directory->range4[i] = (struct range4){ border, step->identity, step->since };
		directory->range_older4[i] = step->older;
	}
}

/* The first range from at on whose border is not below the limit. */
static uint32_t
first_range(const struct directory *directory, uint32_t at, uint32_t n, uint64_t limit)
{
	while (at < n && directory->range4[at].border < limit)
		at++;
	return at;
}

static void
divide(struct directory *directory, GArray *parts, uint32_t bucket, uint32_t n)
{
	uint32_t at = directory->bucket4[bucket].first;

	directory->bucket4[bucket].parts = parts->len;
	for (uint32_t part = 0; part <= PARTS; part++) {
		at = first_range(directory, at, n, ((uint64_t)bucket << 16) + (part << 8));
		g_array_append_val(parts, at);
	}
}

static void
fill_buckets4(struct directory *directory, uint32_t n)
{
	GArray *parts = g_array_new(false, true, sizeof(uint32_t));
	uint32_t at = 0;

	g_array_set_size(parts, PARTS + 1);     /* for those that are not divided */
	directory->bucket4 = g_new0(struct bucket, BUCKETS + 1);
	for (uint32_t bucket = 0; bucket <= BUCKETS; bucket++) {
		at = first_range(directory, at, n, (uint64_t)bucket << 16);
		directory->bucket4[bucket].first = at;
	}
	for (uint32_t bucket = 0; bucket < BUCKETS; bucket++)
		if (directory->bucket4[bucket + 1].first - directory->bucket4[bucket].first > BUCKET_MANY)
			divide(directory, parts, bucket, n);
	directory->part4 = g_array_steal(parts, NULL);
	g_array_free(parts, true);
}

static void
fill_borders4(struct directory *directory, const GArray *nodes)
{
	struct borders borders = find_borders(nodes, 4);

	fill_ranges4(directory, &borders);
	fill_buckets4(directory, borders.at->len);
	g_array_free(borders.at, true);
	g_array_free(borders.step, true);
}

static void
fill_identities(struct directory *directory, const GArray *drafts)
{
	directory->identity = g_new(struct identity, drafts->len);
	directory->kind = g_new(uint8_t, drafts->len);
	for (guint i = 0; i < drafts->len; i++) {
		const struct draft *draft = &g_array_index(drafts, struct draft, i);
		directory->identity[i] = draft->identity;
		directory->kind[i] = (draft->identity.word[WORD_PEER] ? KIND_PEER : 0)
		                     | (draft->trait.behind_peer ? KIND_BEHIND_PEER : 0);
	}
}

/* The few different pairs of sets there are; zero, and one too many, is no right at all. */
static uint16_t
find_rights(GHashTable *known, GArray *all, const struct trait *trait)
{
	const uint64_t pair = (uint64_t)trait->sources << 32 | trait->destinations;
	const struct rights rights = { trait->sources, trait->destinations };
	const uint64_t *key = &pair;

	if (!pair)
		return 0;
	const unsigned found = GPOINTER_TO_UINT(g_hash_table_lookup(known, key));
	if (found || all->len > RIGHTS_MOST)
		return found;
	g_hash_table_insert(known, g_memdup2(key, sizeof *key), GUINT_TO_POINTER(all->len));
	g_array_append_val(all, rights);
	return all->len - 1;
}

static void
fill_rights(struct directory *directory, const GArray *drafts, size_t n_steps)
{
	g_autoptr(GHashTable) known = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
	GArray *all = g_array_new(false, true, sizeof(struct rights));

	g_array_set_size(all, 1);
	for (size_t i = 1; i < n_steps; i++) {
		struct step *step = &directory->step[i];
		const struct trait *trait = &g_array_index(drafts, struct draft, step->identity).trait;
		step->since |= find_rights(known, all, trait);
	}
	directory->rights = (struct rights *)(void *)g_array_free(all, false);
}

static void
fill_rows(struct directory *directory, const GArray *nodes)
{
	g_autoptr(GArray) rows = g_array_new(false, false, sizeof(struct names_row));

	for (guint i = 1; i < nodes->len; i++) {
		const struct node *node = &g_array_index(nodes, struct node, i);
		const struct names_row row = { node->prefix.address, node->prefix.family, node->prefix.length,
		                               directory->step[node->step].identity };
		if (row.identity)
			g_array_append_val(rows, row);
	}
	directory->names.n_rows = rows->len;
	directory->row = g_array_steal(rows, NULL);
}

static void
fill_names(struct directory *directory, struct builder *builder)
{
	directory->text = g_steal_pointer(&builder->text);
	directory->names.count = builder->name->len;
	directory->names.n_identities = builder->draft->len;
	directory->name = g_array_steal(builder->name, NULL);
	directory->names.name = directory->name;
	directory->names.identity = directory->identity;
	directory->names.row = directory->row;
}

static void
fill_rules(struct directory *directory, const struct builder *builder)
{
	directory->rule = g_array_steal(builder->rule, NULL);
	directory->ports = g_array_steal(builder->ports, NULL);
	directory->set = g_array_steal(builder->set, NULL);
	directory->set_words = builder->set_words;
	directory->policies_since = builder->input->policies_since;
}

static bool
is_known(const GArray *overlay, const struct roster_prefix *one)
{
	for (guint i = 0; i < overlay->len; i++)
		if (compare_prefixes(&g_array_index(overlay, struct roster_prefix, i), one) == 0)
			return true;
	return false;
}

static void
fill_overlay(struct directory *directory, const struct directory_input *input)
{
	g_autoptr(GArray) all = g_array_new(false, false, sizeof(struct roster_prefix));

	for (unsigned source = 0; source < ROSTER_SOURCES; source++) {
		const struct roster *roster = input->roster[source];
		for (guint i = 0; roster && i < roster->overlay->len; i++)
			if (!is_known(all, &g_array_index(roster->overlay, struct roster_prefix, i)))
				g_array_append_vals(all, &g_array_index(roster->overlay, struct roster_prefix, i), 1);
		if (roster && roster->own_name && !directory->own_name)
			directory->own_name = g_string_chunk_insert(directory->text, roster->own_name);
	}
	directory->n_overlay = all->len;
	directory->overlay = g_array_steal(all, NULL);
}

/* Building */

static void
builder_init(struct builder *builder, const struct directory_input *input)
{
	const struct name unknown = { "-", 1 };
	static const struct draft nobody;

	*builder = (struct builder){
		.input = input,
		.text = g_string_chunk_new(1 << 16),
		.text_index = g_hash_table_new(g_str_hash, g_str_equal),
		.name = g_array_new(false, false, sizeof(struct name)),
		.draft_index = g_hash_table_new_full(hash_draft, equal_drafts, g_free, NULL),
		.draft = g_array_new(false, false, sizeof(struct draft)),
		.step = g_array_new(false, true, sizeof(struct step)),
		.node = g_array_new(false, true, sizeof(struct node)),
		.rule = g_array_new(false, false, sizeof(struct rule)),
		.ports = g_array_new(false, false, sizeof(struct roster_ports)),
		.tag = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free),
		.set_index = g_hash_table_new_full(g_bytes_hash, g_bytes_equal, (GDestroyNotify)g_bytes_unref, NULL),
		.set = g_array_new(false, true, sizeof(uint64_t)),
		.times = g_array_new(false, false, sizeof(uint64_t)),
	};
	g_array_append_val(builder->name, unknown);
	identity_index(builder, &nobody);
	g_array_set_size(builder->step, 1);
	add_rules(builder, input->roster[ROSTER_API]);
	if (builder->set_words)
		set_index(builder, (const uint64_t[RULES_MOST / 64]){ 0 });
}

static void
builder_clear(struct builder *builder)
{
	GArray *arrays[] = { builder->name, builder->draft, builder->step, builder->node, builder->rule, builder->ports,
	                     builder->set, builder->times };

	for (size_t i = 0; i < G_N_ELEMENTS(arrays); i++)
		g_array_free(arrays[i], true);
	g_hash_table_destroy(builder->text_index);
	g_hash_table_destroy(builder->draft_index);
	g_hash_table_destroy(builder->tag);
	g_hash_table_destroy(builder->set_index);
}

struct directory *
directory_new(const struct directory_input *input)
{
	struct directory *directory = g_new0(struct directory, 1);
	struct builder builder;

	builder_init(&builder, input);
	gather_nodes(&builder);
	resolve_nodes(&builder);
	gsize n_steps;
	directory->step = g_array_steal(builder.step, &n_steps);
	fill_rights(directory, builder.draft, n_steps);
	fill_slots(directory, builder.node);
	fill_borders4(directory, builder.node);
	fill_borders6(directory, builder.node);
	fill_identities(directory, builder.draft);
	fill_rows(directory, builder.node);
	fill_names(directory, &builder);
	fill_rules(directory, &builder);
	fill_overlay(directory, input);
	builder_clear(&builder);
	return directory;
}

void
directory_free(struct directory *directory)
{
	if (!directory)
		return;
	void *blocks[] = { directory->name, directory->identity, directory->kind, directory->rights, directory->row,
	                   directory->step, directory->slot4, directory->older4, directory->slot6, directory->range4,
	                   directory->range_older4, directory->bucket4, directory->part4, directory->border6,
	                   directory->range6, directory->rule, directory->ports, directory->set, directory->overlay,
	                   directory };

	g_string_chunk_free(directory->text);
	for (size_t i = 0; i < G_N_ELEMENTS(blocks); i++)
		g_free(blocks[i]);
}

/* The hot path */

/* Written so that no step of the search is a branch: which way it goes cannot be foreseen. */
static inline const struct range4 *
around4(const struct directory *directory, uint32_t address)
{
	const struct bucket *bucket = &directory->bucket4[address >> 16];
	const uint32_t *part = &directory->part4[bucket->parts + (address >> 8) % PARTS];
	const uint32_t first = bucket->parts ? part[0] : bucket[0].first, end = bucket->parts ? part[1] : bucket[1].first;
	const struct range4 *range = directory->range4 + first - (first > 0);

	for (uint32_t n = directory->range4 + end - range; n > 1;) {
		const uint32_t half = n / 2;
		range = range[half].border <= address ? range + half : range;
		n -= half;
	}
	return range;
}

static inline const struct step *
around6(const struct directory *directory, const union address *address)
{
	const struct border at = border_of(address);
	size_t low = 0, n = directory->n_border6;

	while (n > 1) {
		const size_t half = n / 2;
		low += is_before(&at, &directory->border6[low + half]) ? 0 : half;
		n -= half;
	}
	return &directory->range6[low];
}

static inline const struct step *
range_at(const struct directory *directory, const struct step *range, uint64_t time)
{
	return FROM(range->since) <= time ? range : step_at(directory->step, range->older, time);
}

struct found {
	uint32_t identity;
	uint16_t rights;
};

static inline struct found
found_in(const struct step *step)
{
	return (struct found){ step->identity, RIGHTS(step->since) };
}

static inline struct found
find_range4(const struct directory *directory, uint32_t address, uint64_t time)
{
	const struct range4 *range = around4(directory, address);

	if (FROM(range->since) > time)
		return found_in(step_at(directory->step, directory->range_older4[range - directory->range4], time));
	return (struct found){ range->identity, RIGHTS(range->since) };
}

static inline struct found
find4(const struct directory *directory, const union address *address, uint64_t time)
{
	const size_t i = find_slot4(directory, address->word[0]);
	const struct slot4 *slot = &directory->slot4[i];

	if (!(slot->identity & TAKEN))
		return find_range4(directory, ntohl(address->word[0]), time);
	if (FROM(slot->since) > time)
		return found_in(step_at(directory->step, directory->older4[i], time));
	return (struct found){ slot->identity & ~TAKEN, RIGHTS(slot->since) };
}

static inline struct found
find6(const struct directory *directory, const union address *address, uint64_t time)
{
	const struct slot6 *slot = &directory->slot6[find_slot6(directory, address)];

	if (!(slot->identity & TAKEN))
		return found_in(range_at(directory, around6(directory, address), time));
	if (FROM(slot->since) > time)
		return found_in(step_at(directory->step, slot->older, time));
	return (struct found){ slot->identity & ~TAKEN, RIGHTS(slot->since) };
}

static inline struct found
find(const struct directory *directory, unsigned family, const union address *address, uint64_t time)
{
	return family == 4 ? find4(directory, address, time) : find6(directory, address, time);
}

uint32_t
directory_find(const struct directory *directory, unsigned family, const union address *address, uint64_t time)
{
	return find(directory, family, address, time).identity;
}

static inline const void *
place_of(const struct directory *directory, unsigned family, const union address *address)
{
	if (family == 4)
		return &directory->slot4[hash4(directory, address->word[0])];
	return &directory->slot6[hash6(address) & directory->mask6];
}

/* GCC takes a function that does nothing but prefetch for one without effect, and leaves out what it can see of it:
 * hence not in an inline one. */
void
directory_prefetch(const struct directory *directory, const struct flow *flow)
{
	__builtin_prefetch(place_of(directory, flow->family, &flow->original.source));
	__builtin_prefetch(place_of(directory, flow->family, &flow->reply.source));
	if (flow->family != 4)
		return;
	__builtin_prefetch(&directory->bucket4[ntohl(flow->original.source.word[0]) >> 16]);
	__builtin_prefetch(&directory->bucket4[ntohl(flow->reply.source.word[0]) >> 16]);
}

const struct names *
directory_names(const struct directory *directory)
{
	return &directory->names;
}

static bool
is_icmp(unsigned protocol)
{
	return protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6;
}

static bool
rule_fits(const struct directory *directory, const struct rule *rule, const struct flow *flow)
{
	const struct roster_ports *ports = directory->ports + rule->first_port;
	const uint16_t port = flow->reply.source_port;

	if (rule->protocol && rule->protocol != flow->protocol && !(is_icmp(rule->protocol) && is_icmp(flow->protocol)))
		return false;
	for (uint32_t i = 0; i < rule->n_ports; i++)
		if (port >= ports[i].first && port <= ports[i].last)
			return true;
	return !rule->n_ports;
}

/* Rules are asked before a destination is translated, and about an end that is then not the one we know. */
static uint32_t
find_policy(const struct directory *directory, const struct flow *flow, const uint64_t *begin, const uint64_t *end)
{
	const struct rule *found = NULL;

	if (flow->born < directory->policies_since || flow->translation & TRANSLATED_DESTINATION)
		return 0;
	for (size_t i = 0; i < directory->set_words; i++) {
		for (uint64_t both = begin[i] & end[i]; both; both &= both - 1) {
			const struct rule *rule = &directory->rule[i * 64 + __builtin_ctzll(both)];
			if (!rule_fits(directory, rule, flow) || (found && found->number == rule->number))
				continue;
			if (found)
				return 0;
			found = rule;
		}
	}
	return found ? found->name : 0;
}

void
directory_find_ends(const struct directory *directory, struct flow *flow)
{
	const struct found initiator = find(directory, flow->family, &flow->original.source, flow->born);
	/* Behind a translated destination stands the true server. */
	const struct found responder = find(directory, flow->family, &flow->reply.source, flow->born);
	const size_t words = directory->set_words;

	flow->initiator = initiator.identity;
	flow->responder = responder.identity;
	flow->policy = 0;
	if (initiator.rights && responder.rights)
		flow->policy = find_policy(directory, flow, &directory->set[directory->rights[initiator.rights].sources * words],
		                           &directory->set[directory->rights[responder.rights].destinations * words]);
}

bool
directory_is_peer(const struct directory *directory, uint32_t identity)
{
	return directory->kind[identity] & KIND_PEER;
}

bool
directory_is_behind_peer(const struct directory *directory, uint32_t identity)
{
	return directory->kind[identity] & KIND_BEHIND_PEER;
}

const struct roster_prefix *
directory_overlay(const struct directory *directory, size_t *n)
{
	*n = directory->n_overlay;
	return directory->overlay;
}

const char *
directory_own_name(const struct directory *directory)
{
	return directory->own_name;
}
