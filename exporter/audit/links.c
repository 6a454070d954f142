/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "audit/links.h"

#include <string.h>

/* Joins are kept twice: sorted by the hop they come from, and as numbers of these sorted by the hop they go to. */
struct links {
	const struct hop *hops;
	size_t n_hops;
	const struct clocks *clocks;
	uint64_t slack;
	GArray *link;
	guint *inward;
	guint *first_from;          /* of each hop, and one more: where its links begin in link */
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
links_clock(const struct links *links, unsigned one, unsigned other)
{
	const struct clock_difference none = { 0 };

	if (!links->clocks)
		return none;
	const struct clock_difference found = clocks_between(links->clocks, one, other);
	return (uint64_t)ABS(found.ms) <= links->slack ? found : none;
}

/* How far the times of one flow may be apart at two routers; without a measure all that clocks may differ. */
static uint64_t
far_enough(const struct links *links, const struct clock_difference *clock)
{
	return clock->flows ? MIN(MAX(clock->spread * 8, LEAST_FAR), links->slack) : links->slack;
}

/* Two pairs that differ by less than this are equally good. */
static uint64_t
near_enough(const struct links *links, const struct clock_difference *clock)
{
	return clock->flows ? MIN(clock->spread * 4 + LEAST_NEAR, links->slack) : links->slack;
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
fits(const struct links *links, const struct hop *one, const struct hop *other, uint64_t *apart)
{
	const struct clock_difference clock = links_clock(links, one->router, other->router);
	const uint64_t far = far_enough(links, &clock);
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
list_places(const struct links *links)
{
	GArray *places = g_array_sized_new(false, false, sizeof(struct place), links->n_hops);

	for (guint i = 0; i < links->n_hops; i++) {
		const struct tuple tuple = tuple_before(&links->hops[i].flow);
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
link_hop(struct links *links, const GArray *places, guint from)
{
	const struct hop *hop = &links->hops[from];
	const struct tuple after = tuple_after(&hop->flow);
	const uint64_t hash = tuple_hash(&after);

	for (guint i = find_place(places, hash); i < places->len; i++) {
		const struct place *place = &g_array_index(places, struct place, i);
		if (place->hash != hash)
			break;
		const struct hop *other = &links->hops[place->hop];
		const struct tuple before = tuple_before(&other->flow);
		struct link link = { .from = from, .to = place->hop };
		if (other->router != hop->router && tuple_equal(&after, &before) && precedes(hop, other) &&
		    fits(links, hop, other, &link.apart))
			g_array_append_val(links->link, link);
	}
}

static int
compare_apart(gconstpointer a, gconstpointer b)
{
	const struct link *one = a, *other = b;

	if (one->from != other->from)
		return one->from > other->from ? 1 : -1;
	if (one->apart != other->apart)
		return one->apart > other->apart ? 1 : -1;
	return one->to > other->to ? 1 : -1;
}

static int
compare_to(gconstpointer a, gconstpointer b, gpointer data)
{
	const struct link *link = data, *one = &link[*(const guint *)a], *other = &link[*(const guint *)b];

	if (one->to != other->to)
		return one->to > other->to ? 1 : -1;
	return *(const guint *)a > *(const guint *)b ? 1 : -1;
}

static struct link *
link_at(const struct links *links, guint i)
{
	return &g_array_index(links->link, struct link, i);
}

/* Sorts the links and notes where those of each hop begin. */
static void
index_links(struct links *links)
{
	const guint n = links->link->len;

	g_free(links->inward);
	links->inward = g_new(guint, n + 1);
	g_array_sort(links->link, compare_apart);
	for (guint i = 0; i < n; i++)
		links->inward[i] = i;
	g_qsort_with_data(links->inward, (int)n, sizeof *links->inward, compare_to, links->link->data);
	for (guint hop = 0, from = 0, to = 0; hop <= links->n_hops; hop++) {
		while (from < n && link_at(links, from)->from < hop)
			from++;
		while (to < n && link_at(links, links->inward[to])->to < hop)
			to++;
		links->first_from[hop] = from;
		links->first_to[hop] = to;
	}
}

/* Past a router that does not translate */

static uint64_t
near_of(const struct links *links, const struct link *link)
{
	const struct clock_difference clock = links_clock(links, links->hops[link->from].router,
	                                                  links->hops[link->to].router);

	return near_enough(links, &clock);
}

static const struct link *
find_link(const struct links *links, guint from, guint to)
{
	for (guint i = links->first_from[from]; i < links->first_from[from + 1]; i++)
		if (link_at(links, i)->to == to)
			return link_at(links, i);
	return NULL;
}

/* A hop in the middle changes nothing: the link past it says what those over it say better. */
static bool
is_past(const struct links *links, const struct link *link)
{
	for (guint i = links->first_from[link->from]; i < links->first_from[link->from + 1]; i++) {
		const struct link *first = link_at(links, i);
		if (first->to == link->to || !is_unchanged(&links->hops[first->to].flow))
			continue;
		const struct link *second = find_link(links, first->to, link->to);
		if (second && MAX(first->apart, second->apart) <= link->apart + near_of(links, link))
			return true;
	}
	return false;
}

static void
drop_past(struct links *links)
{
	g_autoptr(GArray) kept = g_array_new(false, false, sizeof(struct link));

	for (guint i = 0; i < links->link->len; i++)
		if (!is_past(links, link_at(links, i)))
			g_array_append_val(kept, *link_at(links, i));
	if (kept->len == links->link->len)
		return;
	g_array_unref(links->link);
	links->link = g_steal_pointer(&kept);
	index_links(links);
}

/* Taking */

static int
compare_best(gconstpointer a, gconstpointer b, gpointer data)
{
	const struct link *link = data, *one = &link[*(const guint *)a], *other = &link[*(const guint *)b];

	if (one->apart != other->apart)
		return one->apart > other->apart ? 1 : -1;
	return *(const guint *)a > *(const guint *)b ? 1 : -1;
}

static void
take_best(struct links *links)
{
	g_autofree guint *order = g_new(guint, links->link->len + 1);
	g_autofree bool *left = g_new0(bool, links->n_hops + 1);
	g_autofree bool *reached = g_new0(bool, links->n_hops + 1);

	for (guint i = 0; i < links->link->len; i++)
		order[i] = i;
	g_qsort_with_data(order, (int)links->link->len, sizeof *order, compare_best, links->link->data);
	for (guint i = 0; i < links->link->len; i++) {
		struct link *link = link_at(links, order[i]);
		if (left[link->from] || reached[link->to])
			continue;
		link->taken = link->firm = true;
		left[link->from] = reached[link->to] = true;
	}
}

int64_t
links_after(const struct links *links, guint hop)
{
	for (guint i = links->first_from[hop]; i < links->first_from[hop + 1]; i++)
		if (link_at(links, i)->firm)
			return link_at(links, i)->to;
	return LINKS_NONE;
}

int64_t
links_before(const struct links *links, guint hop)
{
	for (guint i = links->first_to[hop]; i < links->first_to[hop + 1]; i++)
		if (link_at(links, links->inward[i])->firm)
			return link_at(links, links->inward[i])->from;
	return LINKS_NONE;
}

int64_t
links_next(const struct links *links, guint hop)
{
	for (guint i = links->first_from[hop]; i < links->first_from[hop + 1]; i++)
		if (link_at(links, i)->firm || link_at(links, i)->part == LINK_FROM_PART)
			return link_at(links, i)->to;
	return LINKS_NONE;
}

int64_t
links_previous(const struct links *links, guint hop)
{
	for (guint i = links->first_to[hop]; i < links->first_to[hop + 1]; i++) {
		const struct link *link = link_at(links, links->inward[i]);
		if (link->firm || link->part == LINK_TO_PART)
			return link->from;
	}
	return LINKS_NONE;
}

/* Whether another pair with one of the two would do as well, and is not firmly spoken for. */
static bool
has_rival(const struct links *links, const struct link *link)
{
	const uint64_t most = link->apart + near_of(links, link);

	for (guint i = links->first_from[link->from]; i < links->first_from[link->from + 1]; i++) {
		const struct link *other = link_at(links, i);
		if (other != link && other->apart <= most && links_before(links, other->to) == LINKS_NONE)
			return true;
	}
	for (guint i = links->first_to[link->to]; i < links->first_to[link->to + 1]; i++) {
		const struct link *other = link_at(links, links->inward[i]);
		if (other != link && other->apart <= most && links_after(links, other->from) == LINKS_NONE)
			return true;
	}
	return false;
}

/* Whatever loses its firmness may be what another pair was spared by. */
static void
doubt(struct links *links)
{
	bool changed = true;

	while (changed) {
		changed = false;
		for (guint i = 0; i < links->link->len; i++) {
			struct link *link = link_at(links, i);
			if (!link->firm || !has_rival(links, link))
				continue;
			link->firm = false;
			changed = true;
		}
	}
}

/* Parts */

/* Whether the one lies in the life of the whole, by clocks that may differ. A tuple is one connection's as long as that
 * lives, so nothing else can. */
static bool
lies_in(const struct links *links, const struct hop *part, const struct hop *whole)
{
	const struct clock_difference clock = links_clock(links, whole->router, part->router);
	const uint64_t start = part->flow.start - (uint64_t)clock.ms, end = part->flow.end - (uint64_t)clock.ms;
	const uint64_t margin = clock.flows ? 0 : links->slack;

	return start >= whole->flow.start + margin && end + margin <= whole->flow.end + clock.spread;
}

static void
find_parts(struct links *links)
{
	for (guint i = 0; i < links->link->len; i++) {
		struct link *link = link_at(links, i);
		const struct hop *from = &links->hops[link->from], *to = &links->hops[link->to];
		const bool left = links_after(links, link->from) != LINKS_NONE;
		const bool reached = links_before(links, link->to) != LINKS_NONE;
		if (link->taken || left == reached)
			continue;
		if (reached && lies_in(links, from, to))
			link->part = LINK_FROM_PART;
		if (left && lies_in(links, to, from))
			link->part = LINK_TO_PART;
	}
}

struct links *
links_new(const struct hop *hops, size_t n_hops, const struct clocks *clocks, uint64_t slack)
{
	struct links *links = g_new0(struct links, 1);

	*links = (struct links){
		.hops = hops, .n_hops = n_hops, .clocks = clocks, .slack = slack,
		.link = g_array_new(false, false, sizeof(struct link)),
		.first_from = g_new0(guint, n_hops + 2), .first_to = g_new0(guint, n_hops + 2),
	};
	g_autoptr(GArray) places = list_places(links);
	for (guint i = 0; i < n_hops; i++)
		link_hop(links, places, i);
	index_links(links);
	drop_past(links);
	take_best(links);
	doubt(links);
	find_parts(links);
	return links;
}

void
links_free(struct links *links)
{
	g_array_unref(links->link);
	g_free(links->inward);
	g_free(links->first_from);
	g_free(links->first_to);
	g_free(links);
}

/* Not all that fit are candidates: what is firmly linked to another, or much farther than the best, is none. */
void
links_candidates_after(const struct links *links, guint hop, GArray *out)
{
	const guint first = links->first_from[hop], end = links->first_from[hop + 1];
	uint64_t most = 0;

	if (links_after(links, hop) != LINKS_NONE)
		return;
	for (guint i = first; i < end; i++) {
		const struct link *link = link_at(links, i);
		if (links_before(links, link->to) != LINKS_NONE)
			continue;
		most = most ? most : link->apart + near_of(links, link) + 1;
		if (link->apart < most)
			g_array_append_val(out, link->to);
	}
}

void
links_candidates_before(const struct links *links, guint hop, GArray *out)
{
	if (links_before(links, hop) != LINKS_NONE)
		return;
	for (guint i = links->first_to[hop]; i < links->first_to[hop + 1]; i++) {
		const struct link *link = link_at(links, links->inward[i]);
		if (links_after(links, link->from) == LINKS_NONE)
			g_array_append_val(out, link->from);
	}
}
