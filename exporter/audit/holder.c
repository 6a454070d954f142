/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Questions lie in a table by address and port, those of one address and port in order of time. So a record costs a
 * look for each of its ends, however many questions there are. */
#include "audit/holder.h"

#include <arpa/inet.h>
#include <string.h>

#include "audit/value.h"
#include "error.h"

#define DAY UINT64_C(86400000)          /* ms */
#define TURN (UINT64_C(1) << 32)        /* ms after which the low half of a birth comes again: seven weeks */

/* An end that is asked for. All octets count. */
struct key {
	union address address;
	uint32_t has_port;
	uint16_t port;
	uint16_t family;
};

/* What tells a flow from others. All octets count. */
struct flow_key {
	union address source;
	union address destination;
	uint64_t flow_id;
	uint64_t start;             /* of a record that cannot be joined to others; else zero */
	uint16_t port[2];
	uint16_t zone;
	uint8_t protocol;
	uint8_t family;
};

struct span {
	uint64_t start;
	uint64_t end;
};

struct slot {
	GArray *question;           /* index, by time */
	uint64_t longest;           /* ms from first to last */
};

struct kept {
	struct holder holder;
	struct flow_key key;
	struct names names;
	struct name *name;
	struct identity *identity;
	GArray *spans;              /* struct span of each record, by start */
	uint64_t born;              /* zero: not known */
	bool partial;               /* counted from a first look */
	bool final;                 /* its last record is there */
	bool interim;               /* there was one that said that it goes on */
};

struct holders {
	struct holder_question *question;
	size_t n;
	bool bare;                  /* there are questions for an address with any port */
	GHashTable *slots;          /* struct key -> struct slot */
	GHashTable *flows;          /* struct flow_key -> struct kept */
	size_t missing;             /* flows that are not whole */
	GArray **answers;           /* of each question, struct holder_answer; NULL: none */
};

const char *
holder_role_text(enum holder_role role)
{
	static const char *const texts[HOLDER_ROLES] = {
		[HOLDER_TRANSLATED_SOURCE] = "translated source",
		[HOLDER_TRANSLATED_DESTINATION] = "translated destination",
		[HOLDER_SOURCE] = "source",
		[HOLDER_DESTINATION] = "destination",
	};

	return texts[role];
}

/* Reading questions */

static bool
parse_port(const char *text, struct holder_question *question)
{
	uint64_t port;

	question->has_port = true;
	if (!g_ascii_string_to_unsigned(text, 10, 0, UINT16_MAX, &port, NULL))
		return false;
	question->port = port;
	return true;
}

static bool
parse_v6(const char *text, struct holder_question *question)
{
	const char *end = *text == '[' ? strchr(text, ']') : NULL;
	g_autofree char *inner = end ? g_strndup(text + 1, end - text - 1) : g_strdup(text);

	question->family = 6;
	if (inet_pton(AF_INET6, inner, &question->address) != 1)
		return false;
	return !end || !end[1] || (end[1] == ':' && parse_port(end + 2, question));
}

static bool
parse_v4(const char *text, struct holder_question *question)
{
	const char *colon = strchr(text, ':');
	g_autofree char *address = colon ? g_strndup(text, colon - text) : g_strdup(text);

	question->family = 4;
	return inet_pton(AF_INET, address, &question->address) == 1 && (!colon || parse_port(colon + 1, question));
}

static bool
parse_end(const char *text, struct holder_question *question)
{
	const char *colon = strchr(text, ':');

	memset(&question->address, 0, sizeof question->address);
	question->has_port = false;
	question->port = 0;
	return *text == '[' || (colon && strchr(colon + 1, ':')) ? parse_v6(text, question) : parse_v4(text, question);
}

bool
holder_parse(const char *address, const char *protocol, struct holder_question *question, GError **error)
{
	question->protocol = 0;
	if (!parse_end(address, question))
		g_set_error(error, PEERFLOW_ERROR, EX_USAGE, "\"%s\" is no address: 198.51.100.1, 198.51.100.1:41234, 2001:db8::1 "
		            "and [2001:db8::1]:443 are", address);
	else if (protocol && g_ascii_strcasecmp(protocol, "any") && !value_find_protocol(protocol, &question->protocol))
		g_set_error(error, PEERFLOW_ERROR, EX_USAGE, "\"%s\" is no protocol: tcp, udp, icmp or a number is", protocol);
	else
		return true;
	return false;
}

/* The table of questions */

static guint
hash_octets(const void *octets, size_t n)
{
	const uint8_t *at = octets;
	uint64_t mixed = 0;

	for (size_t i = 0; i < n; i += sizeof(uint32_t)) {
		uint32_t word;
		memcpy(&word, at + i, sizeof word);
		mixed = (mixed ^ word) * 0x9e3779b97f4a7c15u;
		mixed ^= mixed >> 29;
	}
	return mixed >> 32;
}

static guint
hash_key(gconstpointer key)
{
	return hash_octets(key, sizeof(struct key));
}

static gboolean
equal_keys(gconstpointer a, gconstpointer b)
{
	return memcmp(a, b, sizeof(struct key)) == 0;
}

static guint
hash_flow_key(gconstpointer key)
{
	return hash_octets(key, sizeof(struct flow_key));
}

static gboolean
equal_flow_keys(gconstpointer a, gconstpointer b)
{
	return memcmp(a, b, sizeof(struct flow_key)) == 0;
}

static void
free_slot(gpointer data)
{
	struct slot *slot = data;

	g_array_unref(slot->question);
	g_free(slot);
}

static void
add_question(struct holders *holders, size_t n)
{
	const struct holder_question *question = &holders->question[n];
	struct key key = { .address = question->address, .family = question->family, .port = question->port,
	                   .has_port = question->has_port };
	struct slot *slot = g_hash_table_lookup(holders->slots, &key);

	if (!slot) {
		slot = g_new0(struct slot, 1);
		slot->question = g_array_new(false, false, sizeof(size_t));
		g_hash_table_insert(holders->slots, g_memdup2(&key, sizeof key), slot);
	}
	g_array_append_val(slot->question, n);
	slot->longest = MAX(slot->longest, question->last - question->first);
	holders->bare |= !question->has_port;
}

static gint
compare_times(gconstpointer a, gconstpointer b, gpointer data)
{
	const struct holders *holders = data;
	const uint64_t one = holders->question[*(const size_t *)a].first, other = holders->question[*(const size_t *)b].first;

	return one < other ? -1 : one > other;
}

static void
sort_slot(gpointer key G_GNUC_UNUSED, gpointer slot, gpointer holders)
{
	g_array_sort_with_data(((struct slot *)slot)->question, compare_times, holders);
}

/* What is kept of a flow */

static void
free_kept(gpointer data)
{
	struct kept *kept = data;

	for (uint32_t i = 0; i < kept->names.count; i++)
		g_free((char *)kept->name[i].text);
	g_free(kept->name);
	g_free(kept->identity);
	g_free(kept->holder.ingress);
	g_free(kept->holder.egress);
	g_free(kept->holder.router);
	g_array_unref(kept->spans);
	g_free(kept);
}

static uint32_t
keep_name(struct kept *kept, const struct names *names, uint32_t index)
{
	if (!index || index >= names->count)
		return 0;
	const struct name *name = &names->name[index];
	kept->name[kept->names.count] = (struct name){ g_strndup(name->text, name->length), name->length };
	return kept->names.count++;
}

static uint32_t
keep_identity(struct kept *kept, const struct names *names, uint32_t identity, uint32_t place)
{
	if (!identity)
		return 0;
	for (unsigned word = 0; word < WORDS; word++)
		kept->identity[place].word[word] = keep_name(kept, names, names_word(names, identity, word));
	return place;
}

/* Names belong to whoever shows the flow, and only as long as that takes. */
static void
keep_names(struct kept *kept, const struct print_flow *shown)
{
	struct flow *flow = &kept->holder.flow;

	kept->name = g_new0(struct name, 2 + 2 * WORDS);
	kept->name[0] = (struct name){ g_strdup("-"), 1 };
	kept->identity = g_new0(struct identity, 3);
	kept->names = (struct names){ .name = kept->name, .count = 1, .identity = kept->identity, .n_identities = 3 };
	kept->holder.names = &kept->names;
	flow->initiator = keep_identity(kept, shown->names, shown->flow->initiator, 1);
	flow->responder = keep_identity(kept, shown->names, shown->flow->responder, 2);
	flow->policy = keep_name(kept, shown->names, shown->flow->policy);
}

/* Does its id hold the birth? Only our own, which have the bits of the kernel's entry, too. */
static bool
is_ours(const struct flow *flow)
{
	return flow->status && flow->flow_id;
}

/* The id has the low half of the birth. A clock that was set back may have made the start earlier than that. */
static uint64_t
birth_of(const struct flow *flow)
{
	uint64_t born = (flow->start & ~(TURN - 1)) | (flow->flow_id & (TURN - 1));

	if (flow->gaps & GAP_NO_START)
		return 0;
	if (!is_ours(flow))
		return flow->start;
	if (born > flow->start)
		born = born < TURN || born - flow->start < DAY ? flow->start : born - TURN;
	return born;
}

static struct flow_key
flow_key_of(const struct flow *flow)
{
	struct flow_key key;

	memset(&key, 0, sizeof key);
	key.source = flow->original.source;
	key.destination = flow->original.destination;
	key.port[0] = flow->original.source_port;
	key.port[1] = flow->original.destination_port;
	key.flow_id = flow->flow_id;
	key.start = is_ours(flow) ? 0 : flow->start;
	key.zone = flow->zone;
	key.protocol = flow->protocol;
	key.family = flow->family;
	return key;
}

static void
forget_counters(struct flow *flow)
{
	flow->original.octets = flow->original.packets = 0;
	flow->reply.octets = flow->reply.packets = 0;
	flow->end = 0;
}

static void
add_counters(struct flow *flow, const struct flow *record)
{
	flow->original.octets += record->original.octets;
	flow->original.packets += record->original.packets;
	flow->reply.octets += record->reply.octets;
	flow->reply.packets += record->reply.packets;
}

static struct kept *
keep(struct holders *holders, const struct print_flow *shown, const struct flow_key *key)
{
	struct kept *kept = g_new0(struct kept, 1);

	kept->key = *key;
	kept->holder.flow = *shown->flow;
	forget_counters(&kept->holder.flow);
	kept->holder.ingress = g_strdup(shown->ingress);
	kept->holder.egress = g_strdup(shown->egress);
	kept->holder.router = g_strdup(shown->router);
	kept->spans = g_array_new(false, false, sizeof(struct span));
	kept->born = birth_of(shown->flow);
	holders->missing++;
	keep_names(kept, shown);
	g_hash_table_insert(holders->flows, &kept->key, kept);
	return kept;
}

/* Looking for questions */

static bool
is_asked(const struct holder_question *question, const struct flow *flow, uint64_t from, uint64_t to)
{
	return question->last >= from && question->first <= to && (!question->protocol || question->protocol == flow->protocol);
}

static void
answer(struct holders *holders, size_t n, const struct kept *kept, enum holder_role role)
{
	const struct holder_answer fresh = { &kept->holder, role };

	if (!holders->answers[n])
		holders->answers[n] = g_array_new(false, false, sizeof fresh);
	for (guint i = 0; i < holders->answers[n]->len; i++) {
		struct holder_answer *before = &g_array_index(holders->answers[n], struct holder_answer, i);
		if (before->holder != fresh.holder)
			continue;
		before->role = MIN(before->role, role);
		return;
	}
	g_array_append_val(holders->answers[n], fresh);
}

/* A flow that is shown, and how long it held what it held. */
struct shown {
	struct holders *holders;
	const struct print_flow *print;
	struct flow_key key;
	struct kept *kept;          /* NULL: not yet */
	uint64_t from;
	uint64_t to;
};

static guint
first_not_before(const struct holders *holders, const GArray *questions, uint64_t time)
{
	guint low = 0, high = questions->len;

	while (low < high) {
		const guint middle = low + (high - low) / 2;
		if (holders->question[g_array_index(questions, size_t, middle)].first < time)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void
look_up(struct shown *shown, const struct key *key, enum holder_role role)
{
	struct holders *holders = shown->holders;
	const struct slot *slot = g_hash_table_lookup(holders->slots, key);
	const uint64_t earliest = slot && shown->from > slot->longest ? shown->from - slot->longest : 0;

	if (!slot)
		return;
	for (guint i = first_not_before(holders, slot->question, earliest); i < slot->question->len; i++) {
		const size_t n = g_array_index(slot->question, size_t, i);
		if (holders->question[n].first > shown->to)
			return;
		if (!is_asked(&holders->question[n], shown->print->flow, shown->from, shown->to))
			continue;
		if (!shown->kept)
			shown->kept = keep(holders, shown->print, &shown->key);
		answer(holders, n, shown->kept, role);
	}
}

static void
look_up_end(struct shown *shown, const union address *address, uint16_t port, bool has_port, enum holder_role role)
{
	struct key key = { .address = *address, .family = shown->print->flow->family };

	if (shown->holders->bare)
		look_up(shown, &key, role);
	key.port = port;
	key.has_port = true;
	if (has_port)
		look_up(shown, &key, role);
}

static void
look_up_ends(struct shown *shown)
{
	const struct flow *flow = shown->print->flow;
	const struct side *original = &flow->original, *reply = &flow->reply;
	const bool icmp = value_is_icmp(flow), ports = value_has_ports(flow);

	/* The id of an echo is the initiator's, as a source port is; the responder has none of its own. */
	look_up_end(shown, &original->source, icmp ? original->icmp_id : original->source_port, icmp || ports, HOLDER_SOURCE);
	look_up_end(shown, &original->destination, original->destination_port, ports, HOLDER_DESTINATION);
	if (flow->translation & TRANSLATED_SOURCE)
		look_up_end(shown, &reply->destination, icmp ? reply->icmp_id : reply->destination_port, icmp || ports,
		            HOLDER_TRANSLATED_SOURCE);
	if (flow->translation & TRANSLATED_DESTINATION)
		look_up_end(shown, &reply->source, reply->source_port, ports, HOLDER_TRANSLATED_DESTINATION);
}

static struct shown
show(struct holders *holders, const struct print_flow *print)
{
	struct shown shown = { .holders = holders, .print = print, .key = flow_key_of(print->flow) };

	shown.kept = g_hash_table_lookup(holders->flows, &shown.key);
	return shown;
}

/* Joining */

static void
set_whole(struct holders *holders, struct holder *holder, bool whole)
{
	holders->missing += holder->whole;
	holders->missing -= whole;
	holder->whole = whole;
}

static void
set_open(struct kept *kept, const struct flow *entry)
{
	struct holder *holder = &kept->holder;

	holder->open = true;
	holder->from = kept->born;
	holder->to = UINT64_MAX;
	holder->flow.start = kept->born ? kept->born : entry->start;
	holder->flow.end = entry->end;
	add_counters(&holder->flow, entry);
}

void
holders_take_entry(struct holders *holders, const struct print_flow *entry)
{
	struct shown shown = show(holders, entry);

	if (shown.kept)
		return;
	shown.from = birth_of(entry->flow);
	shown.to = UINT64_MAX;
	look_up_ends(&shown);
	if (!shown.kept)
		return;
	set_open(shown.kept, entry->flow);
	set_whole(holders, &shown.kept->holder, true);
}

/* It ended between the look at the table and that into the archive: from now on the archive has it. */
static void
close_open(struct holder *holder)
{
	holder->open = false;
	forget_counters(&holder->flow);
}

/* Where the record belongs among those there are, or false: it is there already. */
static bool
insert_span(struct kept *kept, const struct flow *record)
{
	const struct span span = { record->start, record->end };
	guint i = kept->spans->len;

	for (; i; i--) {
		const struct span *before = &g_array_index(kept->spans, struct span, i - 1);
		if (before->start == span.start && before->end == span.end)
			return false;
		if (before->start < span.start || (before->start == span.start && before->end < span.end))
			break;
	}
	g_array_insert_val(kept->spans, i, span);
	return true;
}

static bool
is_whole(const struct kept *kept)
{
	uint64_t reached = kept->born;

	if (!kept->interim && !is_ours(&kept->holder.flow))
		return true;
	if (!kept->final)
		return false;
	if (kept->partial || !kept->born)
		reached = UINT64_MAX;
	for (guint i = 0; i < kept->spans->len; i++) {
		const struct span *span = &g_array_index(kept->spans, struct span, i);
		if (span->start > reached)
			return false;
		reached = MAX(reached, span->end);
	}
	return true;
}

/* What is true of the flow now is what its last record says; but names are those it was kept with. */
static void
take_last(struct holder *holder, const struct flow *record)
{
	struct flow *flow = &holder->flow;

	flow->end = record->end;
	flow->stop = record->stop;
	flow->state = record->state;
	flow->status = record->status;
	flow->mark = record->mark;
	flow->end_reason = record->end_reason;
	memcpy(flow->labels, record->labels, sizeof flow->labels);
	holder->to = MAX(record->end, record->stop);
}

static void
join(struct holders *holders, struct kept *kept, const struct flow *record)
{
	struct holder *holder = &kept->holder;
	const bool final = record->end_reason != END_ACTIVE;

	if (holder->open && !final)
		return;
	if (holder->open)
		close_open(holder);
	if (!insert_span(kept, record))
		return;
	holder->records++;
	add_counters(&holder->flow, record);
	kept->interim |= !final;
	kept->partial |= record->gaps & GAP_PARTIAL;
	holder->flow.gaps |= record->gaps;
	holder->flow.start = kept->born ? kept->born : MIN(holder->flow.start, record->start);
	holder->from = kept->born;
	/* The end is the last packet, which may be older than the last look at a flow that went on. */
	if (final || (!kept->final && record->end >= holder->flow.end))
		take_last(holder, record);
	kept->final |= final;
	set_whole(holders, holder, is_whole(kept));
}

void
holders_take_record(struct holders *holders, const struct print_flow *record)
{
	struct shown shown = show(holders, record);

	shown.from = birth_of(record->flow);
	shown.to = MAX(record->flow->end, record->flow->stop);
	look_up_ends(&shown);
	if (shown.kept)
		join(holders, shown.kept, record->flow);
}

/* The outcome */

bool
holders_are_missing(const struct holders *holders)
{
	return holders->missing;
}

void
holders_missing(const struct holders *holders, uint64_t *first, uint64_t *last, GArray *addresses)
{
	GHashTableIter iter;
	gpointer value;

	*first = UINT64_MAX;
	*last = 0;
	g_hash_table_iter_init(&iter, holders->flows);
	while (g_hash_table_iter_next(&iter, NULL, &value)) {
		const struct kept *kept = value;
		const struct holder_address address = { kept->key.source, kept->key.family };
		if (kept->holder.whole)
			continue;
		*first = MIN(*first, kept->holder.flow.start);
		*last = MAX(*last, kept->final ? kept->holder.to : UINT64_MAX);
		g_array_append_val(addresses, address);
	}
}

static gint
compare_answers(gconstpointer a, gconstpointer b)
{
	const struct holder_answer *one = a, *other = b;
	const struct holder *left = one->holder, *right = other->holder;

	/* Of one that may not have been there yet nobody can be sure. */
	if (!left->from != !right->from)
		return !left->from - !right->from;
	if (one->role != other->role)
		return one->role < other->role ? -1 : 1;
	if (left->flow.start != right->flow.start)
		return left->flow.start < right->flow.start ? -1 : 1;
	return left->flow.flow_id < right->flow.flow_id ? -1 : left->flow.flow_id > right->flow.flow_id;
}

GArray *
holders_answers(const struct holders *holders, size_t n)
{
	GArray *answers = holders->answers[n];

	if (!answers)
		return g_array_new(false, false, sizeof(struct holder_answer));
	g_array_sort(answers, compare_answers);
	return g_array_ref(answers);
}

struct holders *
holders_new(const struct holder_question *question, size_t n)
{
	struct holders *holders = g_new0(struct holders, 1);

	holders->question = g_memdup2(question, n * sizeof *question);
	holders->n = n;
	holders->answers = g_new0(GArray *, n);
	holders->slots = g_hash_table_new_full(hash_key, equal_keys, g_free, free_slot);
	holders->flows = g_hash_table_new_full(hash_flow_key, equal_flow_keys, NULL, free_kept);
	for (size_t i = 0; i < n; i++)
		add_question(holders, i);
	g_hash_table_foreach(holders->slots, sort_slot, holders);
	return holders;
}

void
holders_free(struct holders *holders)
{
	if (!holders)
		return;
	for (size_t i = 0; i < holders->n; i++)
		g_clear_pointer(&holders->answers[i], g_array_unref);
	g_hash_table_unref(holders->flows);
	g_hash_table_unref(holders->slots);
	g_free(holders->answers);
	g_free(holders->question);
	g_free(holders);
}
