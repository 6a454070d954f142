/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "audit/joins.h"

#include <string.h>

/* Joins are kept twice: sorted by the hop they come from, and as numbers of these sorted by the hop they go to. */
struct joins {
	const struct hop *hops;
	size_t n_hops;
	const struct clocks *clocks;
	uint64_t slack;
	GArray *join;
	guint *inward;
	guint *first_from;          /* of each hop, and one more: where its joins begin in join */
	guint *first_to;            /* the same of inward */
};

/* A tuple that packets had when they came to the hop. */
struct place {
	uint64_t hash;
	guint hop;
};

enum {
	LEAST_FAR = 1000,           /* ms: a first packet may have waited for a handshake of the tunnel */
	LEAST_NEAR = 5,
};

struct clock_difference
joins_clock(const struct joins *joins, unsigned one, unsigned other)
{
	const struct clock_difference none = { 0 };

	if (!joins->clocks)
		return none;
	const struct clock_difference found = clocks_between(joins->clocks, one, other);
	return (uint64_t)ABS(found.ms) <= joins->slack ? found : none;
}

/* How far the times of one flow may be apart at two routers; without a measure all that clocks may differ. */
static uint64_t
far_enough(const struct joins *joins, const struct clock_difference *clock)
{
	return clock->flows ? MIN(MAX(clock->spread * 8, LEAST_FAR), joins->slack) : joins->slack;
}

/* Two pairs that differ by less than this are equally good. */
static uint64_t
near_enough(const struct joins *joins, const struct clock_difference *clock)
{
	return clock->flows ? MIN(clock->spread * 4 + LEAST_NEAR, joins->slack) : joins->slack;
}

static uint64_t
distance(uint64_t one, uint64_t other)
{
	return one > other ? one - other : other - one;
}

static bool
is_unchanged(const struct flow *flow)
{
	const struct tuple before = tuple_before(flow), after = tuple_after(flow);

	return tuple_equal(&before, &after);
}

/* What leaves by the tunnel comes before what enters by it. */
static unsigned
rank(const struct hop *hop)
{
	enum { LEAVES, UNKNOWN, ENTERS };

	if (hop->foreign)
		return UNKNOWN;
	return hop->flow.original.flow_direction == 1 ? LEAVES : ENTERS;
}

/* Where neither router translates both meet the same tuple; if that does not tell who was first, the order in which the
 * archives were given does. An order it must be: in a circle no hop would be the first. */
static bool
precedes(const struct hop *one, const struct hop *other)
{
	if (!is_unchanged(&one->flow) || !is_unchanged(&other->flow))
		return true;
	if (rank(one) != rank(other))
		return rank(one) < rank(other);
	return one->router < other->router;
}

/* Whether both could be one flow, and how far apart they begin (or end, where a beginning is not known). */
static bool
fits(const struct joins *joins, const struct hop *one, const struct hop *other, uint64_t *apart)
{
	const struct clock_difference clock = joins_clock(joins, one->router, other->router);
	const uint64_t far = far_enough(joins, &clock);
	const uint64_t start = other->flow.start - (uint64_t)clock.ms, end = other->flow.end - (uint64_t)clock.ms;
	const bool started = !((one->flow.gaps | other->flow.gaps) & GAP_NO_START);

	*apart = started ? distance(one->flow.start, start) : distance(one->flow.end, end);
	return one->flow.start <= end + far && start <= one->flow.end + far;
}

/* All pairs */

static int
compare_places(gconstpointer a, gconstpointer b)
{
	const struct place *one = a, *other = b;

	if (one->hash != other->hash)
		return one->hash > other->hash ? 1 : -1;
	return one->hop > other->hop ? 1 : -1;
}

static GArray *
list_places(const struct joins *joins)
{
	GArray *places = g_array_sized_new(false, false, sizeof(struct place), joins->n_hops);

	for (guint i = 0; i < joins->n_hops; i++) {
		const struct tuple tuple = tuple_before(&joins->hops[i].flow);
		const struct place place = { tuple_hash(&tuple), i };
		g_array_append_val(places, place);
	}
	g_array_sort(places, compare_places);
	return places;
}

static guint
find_place(const GArray *places, uint64_t hash)
{
	guint low = 0, high = places->len;

	while (low < high) {
		const guint middle = low + (high - low) / 2;
		if (g_array_index(places, struct place, middle).hash < hash)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void
join_hop(struct joins *joins, const GArray *places, guint from)
{
	const struct hop *hop = &joins->hops[from];
	const struct tuple after = tuple_after(&hop->flow);
	const uint64_t hash = tuple_hash(&after);

	for (guint i = find_place(places, hash); i < places->len; i++) {
		const struct place *place = &g_array_index(places, struct place, i);
		if (place->hash != hash)
			break;
		const struct hop *other = &joins->hops[place->hop];
		const struct tuple before = tuple_before(&other->flow);
		struct join join = { .from = from, .to = place->hop };
		if (other->router != hop->router && tuple_equal(&after, &before) && precedes(hop, other) &&
		    fits(joins, hop, other, &join.apart))
			g_array_append_val(joins->join, join);
	}
}

static int
compare_apart(gconstpointer a, gconstpointer b)
{
	const struct join *one = a, *other = b;

	if (one->from != other->from)
		return one->from > other->from ? 1 : -1;
	if (one->apart != other->apart)
		return one->apart > other->apart ? 1 : -1;
	return one->to > other->to ? 1 : -1;
}

static int
compare_to(gconstpointer a, gconstpointer b, gpointer data)
{
	const struct join *join = data, *one = &join[*(const guint *)a], *other = &join[*(const guint *)b];

	if (one->to != other->to)
		return one->to > other->to ? 1 : -1;
	return *(const guint *)a > *(const guint *)b ? 1 : -1;
}

static struct join *
join_at(const struct joins *joins, guint i)
{
	return &g_array_index(joins->join, struct join, i);
}

/* Sorts the joins and notes where those of each hop begin. */
static void
index_joins(struct joins *joins)
{
	const guint n = joins->join->len;

	g_free(joins->inward);
	joins->inward = g_new(guint, n + 1);
	g_array_sort(joins->join, compare_apart);
	for (guint i = 0; i < n; i++)
		joins->inward[i] = i;
	g_qsort_with_data(joins->inward, (int)n, sizeof *joins->inward, compare_to, joins->join->data);
	for (guint hop = 0, from = 0, to = 0; hop <= joins->n_hops; hop++) {
		while (from < n && join_at(joins, from)->from < hop)
			from++;
		while (to < n && join_at(joins, joins->inward[to])->to < hop)
			to++;
		joins->first_from[hop] = from;
		joins->first_to[hop] = to;
	}
}

/* Past a router that does not translate */

static uint64_t
near_of(const struct joins *joins, const struct join *join)
{
	const struct clock_difference clock = joins_clock(joins, joins->hops[join->from].router,
	                                                  joins->hops[join->to].router);

	return near_enough(joins, &clock);
}

static const struct join *
find_join(const struct joins *joins, guint from, guint to)
{
	for (guint i = joins->first_from[from]; i < joins->first_from[from + 1]; i++)
		if (join_at(joins, i)->to == to)
			return join_at(joins, i);
	return NULL;
}

/* A hop in the middle changes nothing: the join past it says what those over it say better. */
static bool
is_past(const struct joins *joins, const struct join *join)
{
	for (guint i = joins->first_from[join->from]; i < joins->first_from[join->from + 1]; i++) {
		const struct join *first = join_at(joins, i);
		if (first->to == join->to || !is_unchanged(&joins->hops[first->to].flow))
			continue;
		const struct join *second = find_join(joins, first->to, join->to);
		if (second && MAX(first->apart, second->apart) <= join->apart + near_of(joins, join))
			return true;
	}
	return false;
}

static void
drop_past(struct joins *joins)
{
	g_autoptr(GArray) kept = g_array_new(false, false, sizeof(struct join));

	for (guint i = 0; i < joins->join->len; i++)
		if (!is_past(joins, join_at(joins, i)))
			g_array_append_val(kept, *join_at(joins, i));
	if (kept->len == joins->join->len)
		return;
	g_array_unref(joins->join);
	joins->join = g_steal_pointer(&kept);
	index_joins(joins);
}

/* Taking */

static int
compare_best(gconstpointer a, gconstpointer b, gpointer data)
{
	const struct join *join = data, *one = &join[*(const guint *)a], *other = &join[*(const guint *)b];

	if (one->apart != other->apart)
		return one->apart > other->apart ? 1 : -1;
	return *(const guint *)a > *(const guint *)b ? 1 : -1;
}

static void
take_best(struct joins *joins)
{
	g_autofree guint *order = g_new(guint, joins->join->len + 1);
	g_autofree bool *left = g_new0(bool, joins->n_hops + 1);
	g_autofree bool *reached = g_new0(bool, joins->n_hops + 1);

	for (guint i = 0; i < joins->join->len; i++)
		order[i] = i;
	g_qsort_with_data(order, (int)joins->join->len, sizeof *order, compare_best, joins->join->data);
	for (guint i = 0; i < joins->join->len; i++) {
		struct join *join = join_at(joins, order[i]);
		if (left[join->from] || reached[join->to])
			continue;
		join->taken = join->firm = true;
		left[join->from] = reached[join->to] = true;
	}
}

int64_t
joins_after(const struct joins *joins, guint hop)
{
	for (guint i = joins->first_from[hop]; i < joins->first_from[hop + 1]; i++)
		if (join_at(joins, i)->firm)
			return join_at(joins, i)->to;
	return JOINS_NONE;
}

int64_t
joins_before(const struct joins *joins, guint hop)
{
	for (guint i = joins->first_to[hop]; i < joins->first_to[hop + 1]; i++)
		if (join_at(joins, joins->inward[i])->firm)
			return join_at(joins, joins->inward[i])->from;
	return JOINS_NONE;
}

int64_t
joins_next(const struct joins *joins, guint hop)
{
	for (guint i = joins->first_from[hop]; i < joins->first_from[hop + 1]; i++)
		if (join_at(joins, i)->firm || join_at(joins, i)->part == JOIN_FROM_PART)
			return join_at(joins, i)->to;
	return JOINS_NONE;
}

int64_t
joins_previous(const struct joins *joins, guint hop)
{
	for (guint i = joins->first_to[hop]; i < joins->first_to[hop + 1]; i++) {
		const struct join *join = join_at(joins, joins->inward[i]);
		if (join->firm || join->part == JOIN_TO_PART)
			return join->from;
	}
	return JOINS_NONE;
}

/* Whether another pair with one of the two would do as well, and is not firmly spoken for. */
static bool
has_rival(const struct joins *joins, const struct join *join)
{
	const uint64_t most = join->apart + near_of(joins, join);

	for (guint i = joins->first_from[join->from]; i < joins->first_from[join->from + 1]; i++) {
		const struct join *other = join_at(joins, i);
		if (other != join && other->apart <= most && joins_before(joins, other->to) == JOINS_NONE)
			return true;
	}
	for (guint i = joins->first_to[join->to]; i < joins->first_to[join->to + 1]; i++) {
		const struct join *other = join_at(joins, joins->inward[i]);
		if (other != join && other->apart <= most && joins_after(joins, other->from) == JOINS_NONE)
			return true;
	}
	return false;
}

/* Whatever loses its firmness may be what another pair was spared by. */
static void
doubt(struct joins *joins)
{
	bool changed = true;

	while (changed) {
		changed = false;
		for (guint i = 0; i < joins->join->len; i++) {
			struct join *join = join_at(joins, i);
			if (!join->firm || !has_rival(joins, join))
				continue;
			join->firm = false;
			changed = true;
		}
	}
}

/* Parts */

/* Whether the one lies in the life of the whole, by clocks that may differ. A tuple is one connection's as long as that
 * lives, so nothing else can. */
static bool
lies_in(const struct joins *joins, const struct hop *part, const struct hop *whole)
{
	const struct clock_difference clock = joins_clock(joins, whole->router, part->router);
	const uint64_t start = part->flow.start - (uint64_t)clock.ms, end = part->flow.end - (uint64_t)clock.ms;
	const uint64_t margin = clock.flows ? 0 : joins->slack;

	return start >= whole->flow.start + margin && end + margin <= whole->flow.end + clock.spread;
}

static void
find_parts(struct joins *joins)
{
	for (guint i = 0; i < joins->join->len; i++) {
		struct join *join = join_at(joins, i);
		const struct hop *from = &joins->hops[join->from], *to = &joins->hops[join->to];
		const bool left = joins_after(joins, join->from) != JOINS_NONE;
		const bool reached = joins_before(joins, join->to) != JOINS_NONE;
		if (join->taken || left == reached)
			continue;
		if (reached && lies_in(joins, from, to))
			join->part = JOIN_FROM_PART;
		if (left && lies_in(joins, to, from))
			join->part = JOIN_TO_PART;
	}
}

struct joins *
joins_new(const struct hop *hops, size_t n_hops, const struct clocks *clocks, uint64_t slack)
{
	struct joins *joins = g_new0(struct joins, 1);

	*joins = (struct joins){
		.hops = hops, .n_hops = n_hops, .clocks = clocks, .slack = slack,
		.join = g_array_new(false, false, sizeof(struct join)),
		.first_from = g_new0(guint, n_hops + 2), .first_to = g_new0(guint, n_hops + 2),
	};
	g_autoptr(GArray) places = list_places(joins);
	for (guint i = 0; i < n_hops; i++)
		join_hop(joins, places, i);
	index_joins(joins);
	drop_past(joins);
	take_best(joins);
	doubt(joins);
	find_parts(joins);
	return joins;
}

void
joins_free(struct joins *joins)
{
	g_array_unref(joins->join);
	g_free(joins->inward);
	g_free(joins->first_from);
	g_free(joins->first_to);
	g_free(joins);
}

/* Not all that fit are candidates: what is firmly joined to another, or much farther than the best, is none. */
void
joins_candidates_after(const struct joins *joins, guint hop, GArray *out)
{
	const guint first = joins->first_from[hop], end = joins->first_from[hop + 1];
	uint64_t most = 0;

	if (joins_after(joins, hop) != JOINS_NONE)
		return;
	for (guint i = first; i < end; i++) {
		const struct join *join = join_at(joins, i);
		if (joins_before(joins, join->to) != JOINS_NONE)
			continue;
		most = most ? most : join->apart + near_of(joins, join) + 1;
		if (join->apart < most)
			g_array_append_val(out, join->to);
	}
}

void
joins_candidates_before(const struct joins *joins, guint hop, GArray *out)
{
	if (joins_before(joins, hop) != JOINS_NONE)
		return;
	for (guint i = joins->first_to[hop]; i < joins->first_to[hop + 1]; i++) {
		const struct join *join = join_at(joins, joins->inward[i]);
		if (joins_after(joins, join->from) == JOINS_NONE)
			g_array_append_val(out, join->from);
	}
}
