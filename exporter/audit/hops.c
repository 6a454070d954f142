/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "audit/hops.h"

#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <string.h>

#include "audit/tuple.h"
#include "error.h"

struct hops {
	GArray *hop;
	GStringChunk *text;
};

/* Addresses and ports of a side, which lie together at its beginning. */
enum { ENDS = offsetof(struct side, icmp) };

struct hops *
hops_new(void)
{
	struct hops *hops = g_new0(struct hops, 1);

	hops->hop = g_array_new(false, false, sizeof(struct hop));
	hops->text = g_string_chunk_new(4096);
	return hops;
}

void
hops_free(struct hops *hops)
{
	g_array_unref(hops->hop);
	g_string_chunk_free(hops->text);
	g_free(hops);
}

static const char *
take_name(struct hops *hops, const struct names *names, uint32_t index)
{
	if (!names || !index || index >= names->count)
		return NULL;
	return g_string_chunk_insert_const(hops->text, names->name[index].text);
}

/* What may be done to the ends of a record so that those of the other direction are the same. Each undoes itself. */
enum {
	WAY_SWAP = 1,               /* tuples of the answers' packets: the reply's ends are the original's */
	WAY_MIRROR = 2,             /* tuples of the questions' packets, sources for destinations */
	WAYS = 4,
};

struct ends {
	struct side original;       /* no more than addresses and ports */
	struct side reply;
};

static void
mirror(struct side *side)
{
	const struct side was = *side;

	side->source = was.destination;
	side->source_port = was.destination_port;
	side->destination = was.source;
	side->destination_port = was.source_port;
}

static struct ends
turned(const struct flow *flow, unsigned way)
{
	struct ends ends = { 0 };

	memcpy(way & WAY_SWAP ? &ends.reply : &ends.original, &flow->original, ENDS);
	memcpy(way & WAY_SWAP ? &ends.original : &ends.reply, &flow->reply, ENDS);
	if (way & WAY_MIRROR) {
		mirror(&ends.original);
		mirror(&ends.reply);
	}
	return ends;
}

static void
take_ends(struct flow *flow, const struct ends *ends)
{
	memcpy(&flow->original, &ends->original, ENDS);
	memcpy(&flow->reply, &ends->reply, ENDS);
}

/* All records of one flow have the same ends after this: the smallest that can be made of them. */
static void
turn_to_compare(struct hop *hop)
{
	struct ends best = turned(&hop->flow, 0);

	for (unsigned way = 1; way < WAYS; way++) {
		const struct ends ends = turned(&hop->flow, way);
		if (memcmp(&ends, &best, sizeof ends) >= 0)
			continue;
		best = ends;
		hop->way = way;
	}
	take_ends(&hop->flow, &best);
}

/* The ends of a record of the answers are named as the answers go. */
static void
take_names(struct hops *hops, const struct names *names, struct hop *hop)
{
	const bool back = hop->flow.original.biflow_direction == 2;
	const uint32_t initiator = back ? hop->flow.responder : hop->flow.initiator;
	const uint32_t responder = back ? hop->flow.initiator : hop->flow.responder;

	hop->initiator = take_name(hops, names, names_who(names, initiator));
	hop->initiator_user = take_name(hops, names, names_word(names, initiator, WORD_USER));
	hop->responder = take_name(hops, names, names_who(names, responder));
	hop->responder_via = take_name(hops, names, names_word(names, responder, WORD_VIA));
}

bool
hops_add(struct hops *hops, unsigned router, const struct flow *flow, const struct names *names, bool asked,
         GError **error)
{
	struct hop hop = {
		.flow = *flow, .router = router, .records = 1, .asked = asked, .foreign = !flow->flow_id,
	};

	if (hops->hop->len == HOPS_MOST) {
		g_set_error(error, PEERFLOW_ERROR, EX_DATAERR, "more than %u records belong to this question: ask for "
		            "less, or for less time (--from, --to)", HOPS_MOST);
		return false;
	}
	if (names)
		take_names(hops, names, &hop);
	turn_to_compare(&hop);
	g_array_append_val(hops->hop, hop);
	return true;
}

/* Which records are of one flow */

static int
compare_numbers(uint64_t one, uint64_t other)
{
	return (one > other) - (one < other);
}

static int
compare_keys(const struct hop *one, const struct hop *other)
{
	const int by[] = {
		compare_numbers(one->router, other->router),
		compare_numbers(one->flow.flow_id, other->flow.flow_id),
		compare_numbers(one->flow.zone, other->flow.zone),
		compare_numbers(one->flow.protocol, other->flow.protocol),
		compare_numbers(one->flow.family, other->flow.family),
		memcmp(&one->flow.original, &other->flow.original, ENDS),
		memcmp(&one->flow.reply, &other->flow.reply, ENDS),
	};

	for (unsigned i = 0; i < G_N_ELEMENTS(by); i++)
		if (by[i])
			return by[i];
	return 0;
}

static int
compare_hops(gconstpointer a, gconstpointer b)
{
	const struct hop *one = a, *other = b;
	const int by_key = compare_keys(one, other);

	return by_key ? by_key : compare_numbers(one->flow.start, other->flow.start);
}

static bool
belongs(const struct hop *first, const struct hop *record, uint64_t end)
{
	return compare_keys(first, record) == 0 && (!first->foreign || record->flow.start <= end + HOPS_IDLE);
}

static bool
is_request(const struct hop *record)
{
	const bool v6 = record->flow.family == 6;
	const unsigned type = record->flow.original.icmp >> 8;

	return record->flow.protocol == (v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP) &&
	       type == (v6 ? ICMP6_ECHO_REQUEST : ICMP_ECHO);
}

/* Whether the times of two records, or what they say, leave open who asked. */
static bool
is_open(const struct hop *record, const struct hop *other)
{
	return record->way != other->way && record->flow.start == other->flow.start && !is_request(record) &&
	       !is_request(other) && record->flow.original.biflow_direction == other->flow.original.biflow_direction;
}

/* Whether the record rather than the other has the direction of the questions: if neither says so, that of whoever
 * spoke first; of one moment, of whoever spoke to the smaller port, which mostly is the service's. */
static bool
asks(const struct hop *record, const struct hop *other)
{
	const struct ends ends = turned(&record->flow, record->way);

	if (record->flow.original.biflow_direction != other->flow.original.biflow_direction)
		return record->flow.original.biflow_direction == 1;
	if (record->flow.start != other->flow.start)
		return record->flow.start < other->flow.start;
	return is_request(record) || ends.original.destination_port < ends.original.source_port;
}

static void
add_side(struct side *sum, const struct side *side)
{
	sum->octets += side->octets;
	sum->packets += side->packets;
}

static void
add_names(struct hop *hop, const struct hop *record)
{
	hop->initiator = hop->initiator ? hop->initiator : record->initiator;
	hop->initiator_user = hop->initiator_user ? hop->initiator_user : record->initiator_user;
	hop->responder = hop->responder ? hop->responder : record->responder;
	hop->responder_via = hop->responder_via ? hop->responder_via : record->responder_via;
}

/* How it ended says the last record; where each direction has a state of its own, the later in the life of a flow. */
static void
add_end(struct hop *hop, const struct flow *flow)
{
	struct flow *sum = &hop->flow;
	const uint8_t state = MAX(sum->state, flow->state);

	if (flow->end >= sum->end) {
		sum->end = flow->end;
		sum->end_reason = flow->end_reason;
		sum->timeout = flow->timeout;
		sum->state = flow->state;
	}
	sum->state = hop->foreign ? state : sum->state;
	sum->stop = MAX(sum->stop, flow->stop);
	sum->status |= flow->status;
	sum->gaps |= flow->gaps;
}

static void
add_record(struct hop *hop, const struct hop *record)
{
	const bool there = record->way == hop->way;

	add_side(there ? &hop->flow.original : &hop->flow.reply, &record->flow.original);
	add_side(there ? &hop->flow.reply : &hop->flow.original, &record->flow.reply);
	add_end(hop, &record->flow);
	add_names(hop, record);
	hop->asked |= record->asked;
	hop->records++;
}

static void
clear_counts(struct side *side)
{
	side->octets = side->packets = 0;
}

/* Makes one hop of records, the oldest first, none of which asks sooner than asking. */
static struct hop
add_up(const struct hop *records, guint n, const struct hop *asking)
{
	struct hop hop = *asking;
	const struct ends ends = turned(&asking->flow, asking->way);

	hop.records = 0;
	hop.flow.start = hop.flow.born = records->flow.start;
	clear_counts(&hop.flow.original);
	clear_counts(&hop.flow.reply);
	for (guint i = 0; i < n; i++)
		add_record(&hop, &records[i]);
	take_ends(&hop.flow, &ends);
	if (hop.flow.original.biflow_direction == 2)    /* and nothing is there of the questions */
		tuple_turn(&hop.flow);
	return hop;
}

/* Linux takes the ports of those who ask from here on. */
enum { EPHEMERAL = 32768 };

static bool
is_clear(const struct side *original)
{
	return original->destination_port < EPHEMERAL && original->source_port >= EPHEMERAL;
}

/* The first record that leaves open whether it asked or the other did. */
static void
note_rival(struct hop *hop, const struct hop *records, guint n, const struct hop *asking)
{
	for (guint i = 0; i < n && !hop->doubt; i++)
		if (is_open(asking, &records[i])) {
			hop->doubt = is_clear(&hop->flow.original) ? 1 : 2;
			hop->other_way = records[i].way;
		}
}

/* What other routers say of who asked */

/* Hashes of tuples, by hops with less doubt: with which packets left routers, and with which they came. */
struct said {
	GHashTable *left;
	GHashTable *came;
};

static void
listen_to(struct said *said, const struct hop *all, guint n, uint8_t doubt)
{
	for (guint i = 0; i < n; i++) {
		const struct tuple before = tuple_before(&all[i].flow), after = tuple_after(&all[i].flow);
		if (all[i].doubt >= doubt)
			continue;
		g_hash_table_add(said->came, (gpointer)(uintptr_t)tuple_hash(&before));
		g_hash_table_add(said->left, (gpointer)(uintptr_t)tuple_hash(&after));
	}
}

static bool
is_known(const struct said *said, const struct flow *flow)
{
	const struct tuple before = tuple_before(flow), after = tuple_after(flow);

	return g_hash_table_contains(said->left, (gpointer)(uintptr_t)tuple_hash(&before)) ||
	       g_hash_table_contains(said->came, (gpointer)(uintptr_t)tuple_hash(&after));
}

static void
swap_counts(struct flow *flow)
{
	const struct side was = flow->original;

	flow->original.octets = flow->reply.octets;
	flow->original.packets = flow->reply.packets;
	flow->reply.octets = was.octets;
	flow->reply.packets = was.packets;
}

static struct flow
other_way_round(const struct hop *hop)
{
	struct flow flow = hop->flow;
	struct ends ends = turned(&flow, hop->way);     /* as it was to compare */

	take_ends(&flow, &ends);
	ends = turned(&flow, hop->other_way);
	take_ends(&flow, &ends);
	swap_counts(&flow);
	return flow;
}

/* Hops with at least so much doubt believe those with less. */
static void
believe_others(struct hop *all, guint n, uint8_t doubt)
{
	struct said said = {
		g_hash_table_new(g_direct_hash, g_direct_equal), g_hash_table_new(g_direct_hash, g_direct_equal),
	};

	listen_to(&said, all, n, doubt);
	for (guint i = 0; i < n; i++) {
		if (all[i].doubt < doubt)
			continue;
		const struct flow other = other_way_round(&all[i]);
		const bool turn = !is_known(&said, &all[i].flow) && is_known(&said, &other);
		all[i].flow = turn ? other : all[i].flow;
		all[i].doubt = turn ? 0 : all[i].doubt;
	}
	g_hash_table_unref(said.left);
	g_hash_table_unref(said.came);
}

void
hops_settle(struct hops *hops)
{
	struct hop *all = (struct hop *)(void *)hops->hop->data;
	guint kept = 0;
	uint8_t doubt = 0;

	g_array_sort(hops->hop, compare_hops);
	for (guint from = 0, to; from < hops->hop->len; from = to) {
		const struct hop *asking = &all[from];
		uint64_t end = all[from].flow.end;
		for (to = from + 1; to < hops->hop->len && belongs(&all[from], &all[to], end); to++) {
			asking = asks(asking, &all[to]) ? asking : &all[to];
			end = MAX(end, all[to].flow.end);
		}
		struct hop hop = add_up(&all[from], to - from, asking);
		note_rival(&hop, &all[from], to - from, asking);
		doubt = MAX(doubt, hop.doubt);
		all[kept++] = hop;
	}
	g_array_set_size(hops->hop, kept);
	for (uint8_t level = 1; level <= doubt; level++)
		believe_others(all, kept, level);
}

const struct hop *
hops_all(const struct hops *hops, size_t *count)
{
	*count = hops->hop->len;
	return (const struct hop *)(const void *)hops->hop->data;
}
