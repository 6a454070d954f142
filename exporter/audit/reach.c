/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "audit/reach.h"

#include <glib.h>
#include <stdbool.h>
#include <string.h>

enum { MOST_ROWS = 1 << 18 };

/* From a site to a host or a site. */
struct way {
	union address source;       /* bits beyond the site are zero */
	union address destination;
	uint32_t family;
	uint32_t whole;             /* 1: destination is a host */
};

struct reach {
	GHashTable *way;            /* bits of routers, by struct way: who gets it */
	GHashTable *owner;          /* by struct way with no destination: whose source it is, after translation */
};

static guint
way_hash(gconstpointer way)
{
	const uint32_t *word = way;
	guint sum = 0;

	for (unsigned i = 0; i < sizeof(struct way) / sizeof *word; i++)
		sum = (sum ^ word[i]) * 0x9e3779b1 + (sum >> 15);
	return sum;
}

static gboolean
way_equal(gconstpointer one, gconstpointer other)
{
	return memcmp(one, other, sizeof(struct way)) == 0;
}

struct reach *
reach_new(void)
{
	struct reach *reach = g_new0(struct reach, 1);

	reach->way = g_hash_table_new_full(way_hash, way_equal, g_free, g_free);
	reach->owner = g_hash_table_new_full(way_hash, way_equal, g_free, g_free);
	return reach;
}

void
reach_free(struct reach *reach)
{
	g_hash_table_unref(reach->way);
	g_hash_table_unref(reach->owner);
	g_free(reach);
}

static union address
site_of(const union address *address, uint8_t family)
{
	const unsigned octets = family == 6 ? 8 : 3;
	union address site = *address;

	memset(site.v6 + octets, 0, sizeof site - octets);
	return site;
}

static void
set_bit(GHashTable *table, const struct way *way, unsigned router)
{
	uint64_t *bits = g_hash_table_lookup(table, way);

	if (!bits && g_hash_table_size(table) >= MOST_ROWS)
		return;
	if (!bits) {
		bits = g_new0(uint64_t, 1);
		g_hash_table_insert(table, g_memdup2(way, sizeof *way), bits);
	}
	*bits |= UINT64_C(1) << router;
}

static struct way
way_of(const struct flow *flow, const union address *source, const union address *destination, bool whole)
{
	return (struct way){
		.source = site_of(source, flow->family), .family = flow->family, .whole = whole,
		.destination = whole ? *destination : site_of(destination, flow->family),
	};
}

static struct way
owner_of(const struct flow *flow, const union address *source)
{
	return (struct way){ .source = *source, .family = flow->family, .whole = 1 };
}

/* What leaves by the tunnel here has not come from it. A flow that ends at the router itself says nothing of its
 * neighbours; an exporter that knows no such thing is taken at its word. */
void
reach_add(struct reach *reach, unsigned router, const struct flow *flow)
{
	const struct side *original = &flow->original;

	if (flow->original.biflow_direction == 2)
		return;
	if (flow->translation & TRANSLATED_SOURCE) {
		const struct way owner = owner_of(flow, &flow->reply.destination);
		set_bit(reach->owner, &owner, router);
	}
	if (original->flow_direction == 1)
		return;
	for (unsigned whole = !original->egress && flow->flow_id; whole < 2; whole++) {
		const struct way way = way_of(flow, &original->source, &original->destination, whole);
		set_bit(reach->way, &way, router);
	}
}

/* Of several the first: no more is known of one than of another. */
static int
find_bit(GHashTable *table, const struct way *way, uint64_t not)
{
	const uint64_t *bits = g_hash_table_lookup(table, way);
	const uint64_t left = bits ? *bits & ~not : 0;

	return left ? __builtin_ctzll(left) : REACH_NOBODY;
}

int
reach_beyond(const struct reach *reach, const struct flow *flow, uint64_t not)
{
	int router = REACH_NOBODY;

	if (flow->flow_id && flow->original.flow_direction != 1)
		return REACH_NOBODY;
	for (unsigned whole = 2; whole-- && router == REACH_NOBODY;) {
		const struct way way = way_of(flow, &flow->reply.destination, &flow->reply.source, whole);
		router = find_bit(reach->way, &way, not);
	}
	return router;
}

int
reach_behind(const struct reach *reach, const struct flow *flow, uint64_t not)
{
	const struct way owner = owner_of(flow, &flow->original.source);

	return find_bit(reach->owner, &owner, not);
}
