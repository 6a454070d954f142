/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "audit/join.h"

#include <string.h>

/* What all records of a flow have in common, without gaps between its members. */
struct key {
	uint64_t flow_id;
	uint64_t archive;
	union address source;
	union address destination;
	uint16_t ports[2];
	uint16_t icmp_id;
	uint16_t zone;
	uint32_t family;
	uint32_t protocol;
};

/* The key comes first: an entry is looked up by it. */
struct entry {
	struct key key;
	GList link;                 /* in the order of arrival */
	struct copy *copy;
};

struct join {
	GHashTable *open;
	GQueue order;
	struct copy *shown;         /* what the last view points to */
};

static guint
hash_key(gconstpointer at)
{
	const struct key *key = at;
	const uint64_t mixed = (key->flow_id ^ key->archive << 48 ^ (uint64_t)key->ports[0] << 16)
	                       * UINT64_C(0x9e3779b97f4a7c15);

	return mixed >> 32;
}

static gboolean
equal_keys(gconstpointer a, gconstpointer b)
{
	return !memcmp(a, b, sizeof(struct key));
}

static void
free_entry(gpointer at)
{
	struct entry *entry = at;

	g_free(entry->copy);
	g_free(entry);
}

struct join *
join_new(void)
{
	struct join *join = g_new0(struct join, 1);

	join->open = g_hash_table_new_full(hash_key, equal_keys, NULL, free_entry);
	return join;
}

void
join_free(struct join *join)
{
	if (!join)
		return;
	g_hash_table_unref(join->open);
	g_free(join->shown);
	g_free(join);
}

static struct key
key_of(const struct flow *flow, size_t archive)
{
	return (struct key){
		.flow_id = flow->flow_id, .archive = archive, .source = flow->original.source,
		.destination = flow->original.destination,
		.ports = { flow->original.source_port, flow->original.destination_port },
		.icmp_id = flow->original.icmp_id, .zone = flow->zone, .family = flow->family, .protocol = flow->protocol,
	};
}

static void
add_side(struct side *sum, const struct side *more)
{
	sum->octets += more->octets;
	sum->packets += more->packets;
}

/* Of the two the one that ends later says how things stood. */
static void
merge(struct flow *sum, const struct flow *more)
{
	const struct flow before = *sum;
	const struct flow *last = more->end >= sum->end ? more : &before;

	*sum = *last;
	sum->original = before.original;
	sum->reply = before.reply;
	add_side(&sum->original, &more->original);
	add_side(&sum->reply, &more->reply);
	sum->start = MIN(before.start, more->start);
	sum->born = MIN(before.born, more->born);
	sum->stop = MAX(before.stop, more->stop);
	sum->gaps = before.gaps | more->gaps;
	sum->translation = before.translation | more->translation;
}

static void
show(struct join *join, struct copy *copy, struct copy_view *view)
{
	g_free(join->shown);
	join->shown = copy;
	copy_view(copy, view);
}

/* The entry's copy, which leaves with it. */
static struct copy *
take(struct join *join, struct entry *entry)
{
	struct copy *copy = g_steal_pointer(&entry->copy);

	g_queue_unlink(&join->order, &entry->link);
	g_hash_table_remove(join->open, entry);
	return copy;
}

static void
keep(struct join *join, const struct key *key, struct copy *copy)
{
	struct entry *entry = g_new0(struct entry, 1);

	entry->key = *key;
	entry->copy = copy;
	entry->link.data = entry;
	g_queue_push_tail_link(&join->order, &entry->link);
	g_hash_table_add(join->open, entry);
}

bool
join_add(struct join *join, const struct print_flow *record, size_t archive, struct copy_view *view)
{
	const struct key key = key_of(record->flow, archive);
	struct entry *entry = g_hash_table_lookup(join->open, &key);
	const bool over = record->flow->end_reason != END_ACTIVE;

	if (entry)
		merge(&entry->copy->flow, record->flow);
	if (over)
		show(join, entry ? take(join, entry) : copy_new(record), view);
	else if (!entry)
		keep(join, &key, copy_new(record));
	return over;
}

bool
join_rest(struct join *join, struct copy_view *view)
{
	if (!join->order.head)
		return false;
	show(join, take(join, join->order.head->data), view);
	return true;
}
