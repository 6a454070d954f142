/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "audit/trace.h"

#include <string.h>

#include "audit/links.h"
#include "audit/value.h"
#include "audit/verdict.h"

struct trace {
	const struct hop *hops;
	struct trace_options options;
	struct links *links;
	GArray *path;
};

/* "router-b" is the router that calls itself router-b.example.org. */
static bool
is_called(const char *router, const char *name)
{
	const size_t length = strcspn(router, ".");

	return strcmp(router, name) == 0 || (strlen(name) == length && strncmp(router, name, length) == 0);
}

static int
router_called(const struct trace *trace, const char *name)
{
	for (unsigned i = 0; name && i < trace->options.n_routers; i++)
		if (is_called(trace->options.router[i].name, name))
			return (int)i;
	return -1;
}

/* A bit for each router of the path: none is met twice. */
static uint64_t
routers_of(const struct trace_path *path)
{
	uint64_t bits = 0;

	for (size_t i = 0; i < path->n_hops; i++)
		bits |= UINT64_C(1) << path->hop[i]->router;
	return bits;
}

/* The router at which the path was to go on, or -1. */
static int
expected_router(const struct trace *trace, const struct trace_path *path)
{
	const struct hop *last = path->hop[path->n_hops - 1];
	const uint64_t met = routers_of(path);
	int router = trace->options.reach ? reach_beyond(trace->options.reach, &last->flow, met) : REACH_NOBODY;

	if (router == REACH_NOBODY)
		router = router_called(trace, last->responder_via);
	return router >= 0 && met >> router & 1 ? REACH_NOBODY : router;
}

/* Whether that router's archive might lack a flow that began then. */
static bool
is_incomplete(const struct trace *trace, unsigned router, const struct flow *flow)
{
	const struct trace_router *row = &trace->options.router[router];
	const uint64_t slack = trace->options.slack;

	if (flow->start + slack < row->first || flow->start > row->last + slack)
		return true;
	for (size_t i = 0; i < trace->options.n_holes; i++) {
		const struct trace_hole *hole = &trace->options.hole[i];
		if (hole->router == router && flow->start <= hole->last + slack && hole->first <= flow->end + slack)
			return true;
	}
	return false;
}

/* Paths */

static struct trace_leg
make_leg(const struct trace *trace, const struct hop *from, const struct hop *to)
{
	const uint8_t not_counted = GAP_NO_COUNTERS | GAP_LOST_END | GAP_RESET | GAP_PARTIAL;
	const bool part = links_after(trace->links, (guint)(from - trace->hops)) != to - trace->hops;

	return (struct trace_leg){
		.clock = links_clock(trace->links, from->router, to->router),
		.lost = { (int64_t)(from->flow.original.packets - to->flow.original.packets),
		          (int64_t)(to->flow.reply.packets - from->flow.reply.packets) },
		.counted = !part && !((from->flow.gaps | to->flow.gaps) & not_counted), .part = part,
	};
}

static void
append_hop(GPtrArray *hops, const struct hop *hop)
{
	g_ptr_array_add(hops, (gpointer)hop);
}

/* Takes the hops out of list, which is left empty. */
static const struct hop **
take_hops(GPtrArray *list, size_t *count)
{
	*count = list->len;
	return (const struct hop **)g_ptr_array_steal(list, NULL);
}

static const struct hop **
take_candidates(const struct trace *trace, const struct hop *hop, size_t *count,
                void (*find)(const struct links *links, guint hop, GArray *out))
{
	g_autoptr(GArray) found = g_array_new(false, false, sizeof(guint));
	g_autoptr(GPtrArray) list = g_ptr_array_new();

	find(trace->links, (guint)(hop - trace->hops), found);
	for (guint i = 0; i < found->len; i++)
		append_hop(list, &trace->hops[g_array_index(found, guint, i)]);
	return take_hops(list, count);
}

/* The router whose address the first hop's source is, though it is not on the path, or -1. */
static int
find_owner(const struct trace *trace, const struct trace_path *path)
{
	const struct reach *reach = trace->options.reach;

	return reach ? reach_behind(reach, &path->hop[0]->flow, routers_of(path)) : REACH_NOBODY;
}

/* A path that begins where another router's ends: that one should have known it. */
static char *
make_remark(const struct trace *trace, const struct trace_path *path)
{
	const struct trace_router *routers = trace->options.router;
	const struct hop *first = path->hop[0];
	const int owner = find_owner(trace, path);
	g_autoptr(GString) source = g_string_new(NULL);

	if (path->n_before)
		return g_strdup_printf("which flow it was before %s is ambiguous", routers[first->router].name);
	if (owner == REACH_NOBODY)
		return NULL;
	value_address(source, &first->flow, &first->flow.original.source);
	return g_strdup_printf("%s is an address of %s, %s", source->str, routers[owner].name,
	                       is_incomplete(trace, (unsigned)owner, &first->flow)
	                       ? "whose records are incomplete for that time" : "which has no such flow");
}

static void
judge(const struct trace *trace, struct trace_path *path)
{
	const struct flow *last = &path->hop[path->n_hops - 1]->flow;
	const int next = expected_router(trace, path);
	const struct outcome outcome = {
		.path = path, .router = trace->options.router, .next = next,
		.next_incomplete = next >= 0 && is_incomplete(trace, (unsigned)next, last),
	};

	path->verdict = verdict_find(&outcome, &path->words);
	path->remark = make_remark(trace, path);
}

static void
reverse(GPtrArray *hops)
{
	for (guint i = 0, k = hops->len; i + 1 < k; i++) {
		gpointer last = hops->pdata[--k];
		hops->pdata[k] = hops->pdata[i];
		hops->pdata[i] = last;
	}
}

/* via, and the hops before it and behind it: no more than there are routers. True if one of them was asked for. */
static bool
list_hops(const struct trace *trace, guint via, GPtrArray *hops)
{
	const guint most = trace->options.n_routers;
	bool asked = false;
	int64_t at;

	for (at = via; at != LINKS_NONE && hops->len < most; at = links_previous(trace->links, (guint)at))
		append_hop(hops, &trace->hops[at]);
	reverse(hops);
	for (at = links_next(trace->links, via); at != LINKS_NONE && hops->len < most;
	     at = links_next(trace->links, (guint)at))
		append_hop(hops, &trace->hops[at]);
	for (guint i = 0; i < hops->len; i++)
		asked |= ((const struct hop *)hops->pdata[i])->asked;
	return asked;
}

/* The path of a hop that none is firmly before, if it was asked for. It has no more hops than there are routers. */
static void
follow(struct trace *trace, guint via)
{
	g_autoptr(GPtrArray) hops = g_ptr_array_new();
	struct trace_path path = { 0 };

	if (!list_hops(trace, via, hops))
		return;
	path.hop = take_hops(hops, &path.n_hops);
	path.leg = g_new0(struct trace_leg, path.n_hops);
	for (size_t i = 0; i + 1 < path.n_hops; i++)
		path.leg[i] = make_leg(trace, path.hop[i], path.hop[i + 1]);
	path.before = take_candidates(trace, path.hop[0], &path.n_before, links_candidates_before);
	path.after = take_candidates(trace, path.hop[path.n_hops - 1], &path.n_after, links_candidates_after);
	judge(trace, &path);
	g_array_append_val(trace->path, path);
}

static int
compare_paths(gconstpointer a, gconstpointer b)
{
	const struct hop *one = ((const struct trace_path *)a)->hop[0], *other = ((const struct trace_path *)b)->hop[0];

	if (one->flow.start != other->flow.start)
		return one->flow.start > other->flow.start ? 1 : -1;
	return one > other ? 1 : -1;
}

static void
clear_path(gpointer data)
{
	struct trace_path *path = data;

	g_free(path->hop);
	g_free(path->leg);
	g_free(path->before);
	g_free(path->after);
	g_free(path->words);
	g_free(path->remark);
}

struct trace *
trace_new(const struct hop *hops, size_t n_hops, const struct trace_options *options)
{
	struct trace *trace = g_new0(struct trace, 1);

	trace->hops = hops;
	trace->options = *options;
	trace->links = links_new(hops, n_hops, options->clocks, options->slack);
	trace->path = g_array_new(false, false, sizeof(struct trace_path));
	g_array_set_clear_func(trace->path, clear_path);
	for (guint i = 0; i < n_hops; i++)
		if (links_before(trace->links, i) == LINKS_NONE)
			follow(trace, i);
	g_array_sort(trace->path, compare_paths);
	return trace;
}

void
trace_free(struct trace *trace)
{
	links_free(trace->links);
	g_array_unref(trace->path);
	g_free(trace);
}

const struct trace_path *
trace_paths(const struct trace *trace, size_t *count)
{
	*count = trace->path->len;
	return (const struct trace_path *)(const void *)trace->path->data;
}
