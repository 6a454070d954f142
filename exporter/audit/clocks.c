/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "audit/clocks.h"

#include <glib.h>
#include <string.h>

#include "audit/tuple.h"

enum {
	MOST_SAMPLES = 1 << 19,
	MOST_USES = 64,             /* of a tuple at one router: beyond, it says nothing about clocks */
	FEWEST_FLOWS = 3,           /* that must agree */
	WINDOW = 100,               /* ms, within which they agree */
	FARTHEST = 86400000,        /* ms: clocks farther apart are another matter */
};

struct sample {
	uint64_t key;               /* hash of the tuple */
	uint64_t flow;
	uint64_t start;
	uint8_t router;
	bool leaving;               /* the tuple after translation, not before */
};

/* Of one tuple and two routers: the one's flow, if it is that, began so much later. */
struct observation {
	int64_t ms;
	bool sure;                  /* the tuple was used once at each */
};

struct clocks {
	GArray *samples;
	uint64_t mask;              /* samples have none of these bits in their key */
	struct clock_difference between[CLOCKS_MOST_ROUTERS][CLOCKS_MOST_ROUTERS];
};

struct clocks *
clocks_new(void)
{
	struct clocks *clocks = g_new0(struct clocks, 1);

	clocks->samples = g_array_new(false, false, sizeof(struct sample));
	return clocks;
}

void
clocks_free(struct clocks *clocks)
{
	g_array_unref(clocks->samples);
	g_free(clocks);
}

static int
compare(uint64_t one, uint64_t other)
{
	return (one > other) - (one < other);
}

static int
compare_samples(gconstpointer a, gconstpointer b)
{
	const struct sample *one = a, *other = b;
	const int by[] = {
		compare(one->key, other->key), compare(one->router, other->router),
		compare(one->leaving, other->leaving), compare(one->flow, other->flow), compare(one->start, other->start),
	};

	for (unsigned i = 0; i < G_N_ELEMENTS(by); i++)
		if (by[i])
			return by[i];
	return 0;
}

/* Of several records of a flow the first begins with it. Flows of exporters that do not number them have one each. */
static void
keep_beginnings(GArray *samples)
{
	struct sample *all = (struct sample *)(void *)samples->data;
	guint kept = 0;

	g_array_sort(samples, compare_samples);
	for (guint i = 0; i < samples->len; i++) {
		const struct sample *last = kept ? &all[kept - 1] : NULL;
		if (last && all[i].flow && last->flow == all[i].flow && last->key == all[i].key &&
		    last->router == all[i].router && last->leaving == all[i].leaving)
			continue;
		all[kept++] = all[i];
	}
	g_array_set_size(samples, kept);
}

static void
thin(struct clocks *clocks)
{
	struct sample *all = (struct sample *)(void *)clocks->samples->data;
	guint kept = 0;

	clocks->mask = clocks->mask << 1 | 1;
	for (guint i = 0; i < clocks->samples->len; i++)
		if (!(all[i].key & clocks->mask))
			all[kept++] = all[i];
	g_array_set_size(clocks->samples, kept);
}

static void
add(struct clocks *clocks, const struct tuple *tuple, struct sample sample)
{
	sample.key = tuple_hash(tuple);
	if (clocks->samples->len == MOST_SAMPLES) {
		keep_beginnings(clocks->samples);
		while (clocks->samples->len > MOST_SAMPLES / 2)
			thin(clocks);
	}
	if (!(sample.key & clocks->mask))
		g_array_append_val(clocks->samples, sample);
}

void
clocks_add(struct clocks *clocks, unsigned router, const struct flow *flow)
{
	const struct tuple before = tuple_before(flow), after = tuple_after(flow);
	struct sample sample = { .flow = flow->flow_id, .start = flow->start, .router = router };

	if (flow->gaps & GAP_NO_START)
		return;
	add(clocks, &before, sample);
	sample.leaving = true;
	add(clocks, &after, sample);
}

/* Measuring */

/* Where the uses of a tuple at the next router begin. */
static guint
group_end(const struct sample *all, guint from, guint end)
{
	guint to = from;

	while (to < end && all[to].key == all[from].key && all[to].router == all[from].router &&
	       all[to].leaving == all[from].leaving)
		to++;
	return to;
}

static void
observe(GArray **observed, const struct sample *out, guint n_out, const struct sample *in, guint n_in)
{
	const bool turned = out->router > in->router;
	const unsigned pair = turned ? in->router * CLOCKS_MOST_ROUTERS + out->router
	                             : out->router * CLOCKS_MOST_ROUTERS + in->router;
	const bool sure = n_out == 1 && n_in == 1;

	if (n_out > MOST_USES || n_in > MOST_USES)
		return;
	if (!observed[pair])
		observed[pair] = g_array_new(false, false, sizeof(struct observation));
	for (guint o = 0; o < n_out; o++)
		for (guint i = 0; i < n_in; i++) {
			const int64_t ms = (int64_t)(in[i].start - out[o].start);
			const struct observation row = { turned ? -ms : ms, sure };
			if (ms > -FARTHEST && ms < FARTHEST)
				g_array_append_val(observed[pair], row);
		}
}

/* All uses of one tuple: what left one router and came to another. */
static void
observe_key(GArray **observed, const struct sample *all, guint from, guint end)
{
	for (guint out = from, out_end; out < end; out = out_end) {
		out_end = group_end(all, out, end);
		for (guint in = from, in_end; in < end; in = in_end) {
			in_end = group_end(all, in, end);
			if (all[out].leaving && !all[in].leaving && all[out].router != all[in].router)
				observe(observed, &all[out], out_end - out, &all[in], in_end - in);
		}
	}
}

static int
compare_ms(gconstpointer a, gconstpointer b)
{
	const int64_t one = *(const int64_t *)a, other = *(const int64_t *)b;

	return (one > other) - (one < other);
}

/* The differences to go by: the sure ones, or all if there are too few of those. */
static GArray *
pick(const GArray *observations)
{
	GArray *picked = g_array_new(false, false, sizeof(int64_t));

	for (unsigned sure = 2; sure-- && picked->len < FEWEST_FLOWS;) {
		g_array_set_size(picked, 0);
		for (guint i = 0; i < observations->len; i++) {
			const struct observation *row = &g_array_index(observations, struct observation, i);
			if (row->sure || !sure)
				g_array_append_val(picked, row->ms);
		}
	}
	g_array_sort(picked, compare_ms);
	return picked;
}

struct crowd {
	guint first;
	guint count;
};

/* The window with most differences in it, not counting those that overlap not. */
static struct crowd
find_crowd(const GArray *sorted, const struct crowd *not)
{
	const int64_t *ms = (const int64_t *)(const void *)sorted->data;
	struct crowd best = { 0, 0 };

	for (guint first = 0, end = 0; first < sorted->len; first++) {
		while (end < sorted->len && ms[end] - ms[first] <= WINDOW)
			end++;
		if (not && first < not->first + not->count && end > not->first)
			continue;
		if (end - first > best.count)
			best = (struct crowd){ first, end - first };
	}
	return best;
}

/* Nothing, unless one difference is far more common than any other: tuples that come again each second would else give
 * one that is wrong by a second. */
static struct clock_difference
measure(const GArray *observations)
{
	g_autoptr(GArray) sorted = pick(observations);
	const struct crowd best = find_crowd(sorted, NULL), second = find_crowd(sorted, &best);
	g_autoptr(GArray) distances = g_array_new(false, false, sizeof(int64_t));

	if (best.count < FEWEST_FLOWS || second.count * 2 > best.count)
		return (struct clock_difference){ 0 };
	const int64_t *ms = (const int64_t *)(const void *)sorted->data + best.first;
	const int64_t median = ms[best.count / 2];
	for (guint i = 0; i < best.count; i++) {
		const int64_t distance = ms[i] > median ? ms[i] - median : median - ms[i];
		g_array_append_val(distances, distance);
	}
	g_array_sort(distances, compare_ms);
	return (struct clock_difference){
		.ms = median, .flows = best.count,
		.spread = (uint64_t)g_array_index(distances, int64_t, (best.count - 1) * 19 / 20),
	};
}

void
clocks_settle(struct clocks *clocks)
{
	g_autofree GArray **observed = g_new0(GArray *, CLOCKS_MOST_ROUTERS * CLOCKS_MOST_ROUTERS);
	const struct sample *all;

	keep_beginnings(clocks->samples);
	all = (const struct sample *)(const void *)clocks->samples->data;
	for (guint from = 0, to; from < clocks->samples->len; from = to) {
		for (to = from; to < clocks->samples->len && all[to].key == all[from].key; to++)
			;
		observe_key(observed, all, from, to);
	}
	for (unsigned pair = 0; pair < CLOCKS_MOST_ROUTERS * CLOCKS_MOST_ROUTERS; pair++) {
		const unsigned one = pair / CLOCKS_MOST_ROUTERS, other = pair % CLOCKS_MOST_ROUTERS;
		if (!observed[pair])
			continue;
		clocks->between[one][other] = clocks->between[other][one] = measure(observed[pair]);
		clocks->between[other][one].ms = -clocks->between[one][other].ms;
		g_array_unref(observed[pair]);
	}
}

struct clock_difference
clocks_between(const struct clocks *clocks, unsigned one, unsigned other)
{
	return clocks->between[one][other];
}
