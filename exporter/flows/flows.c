/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "flows/flows.h"

#include "error.h"
#include "flows/ended.h"

_Static_assert((int)FLOWS_BATCH <= (int)ENDED_BATCH, "a batch fits the set of ended flows");

struct flows {
	struct flows_options options;
	struct ended *ended;
	struct pool *pool;
	struct flows_counters counters;
	GError *error;              /* of the chunks that the pool needs from the start */
	bool shortage_said;
};

/* Opening. */

static void *
open_memory(struct flows *flows, const char *name, size_t octets, uint32_t layout, GError **error)
{
	return flows->options.memory ? flows->options.memory(name, octets, layout, flows->options.data, error) : NULL;
}

/* Without one more chunk there is less room, and that is all. */
static void *
open_chunk(unsigned number, size_t octets, void *data)
{
	struct flows *flows = data;
	g_autoptr(GError) error = NULL;
	g_autofree char *name = g_strdup_printf("flows.%u", number);
	void *chunk = open_memory(flows, name, octets, POOL_LAYOUT, &error);

	if (chunk)
		return chunk;
	if (!flows->pool)
		g_propagate_error(&flows->error, g_steal_pointer(&error));
	else if (!flows->shortage_said)
		g_warning("no room for more than %zu long flows: %s", pool_used(flows->pool), error->message);
	flows->shortage_said = flows->pool != NULL;
	return NULL;
}

static bool
open_ended(struct flows *flows, GError **error)
{
	const size_t capacity = ended_capacity(flows->options.table);
	void *memory = NULL;

	if (flows->options.memory && !(memory = open_memory(flows, "ended", ended_octets(capacity), ENDED_LAYOUT, error)))
		return false;
	flows->ended = ended_open(memory, capacity);
	if (!flows->ended)
		g_set_error(error, PEERFLOW_ERROR, EX_OSERR, "out of memory: the set of flows that ended lately");
	return flows->ended != NULL;
}

static bool
is_wanted(const struct flow *flow, void *data)
{
	const struct flows *flows = data;

	return flows->options.wanted(flow, flows->options.data);
}

static struct pool_options
pool_options(struct flows *flows)
{
	const struct flows_options *options = &flows->options;

	return (struct pool_options){
		.limit = options->long_flows,
		.active_timeout = options->active_timeout * 1000,
		.from_start = options->from_start,
		.memory = options->memory ? open_chunk : NULL,
		.wanted = options->wanted ? is_wanted : NULL,
		.data = flows,
		.key = ended_key(flows->ended),
		.counters = &flows->counters,
	};
}

static bool
open_pool(struct flows *flows, uint64_t wall, GError **error)
{
	const struct pool_options options = pool_options(flows);

	flows->pool = pool_open(&options, wall, error);
	if (flows->error) {
		g_clear_error(error);
		g_propagate_error(error, g_steal_pointer(&flows->error));
	}
	return flows->pool != NULL;
}

struct flows *
flows_open(const struct flows_options *options, uint64_t wall, GError **error)
{
	struct flows *flows = g_new0(struct flows, 1);

	flows->options = *options;
	if (open_ended(flows, error) && open_pool(flows, wall, error))
		return flows;
	flows_close(flows);
	return NULL;
}

void
flows_close(struct flows *flows)
{
	if (!flows)
		return;
	pool_close(flows->pool);
	ended_close(flows->ended);
	g_free(flows);
}

void
flows_configure(struct flows *flows, const struct flows_options *options)
{
	flows->options.long_flows = options->long_flows;
	flows->options.active_timeout = options->active_timeout;
	const struct pool_options changed = pool_options(flows);
	if (!pool_configure(flows->pool, &changed))
		g_warning("out of memory: max-long-flows stays as it was");
}

void
flows_sift(struct flows *flows, bool (*keep)(const struct flow *flow, void *data), void *data)
{
	pool_sift(flows->pool, keep, data);
}

const struct flows_counters *
flows_counters(const struct flows *flows)
{
	return &flows->counters;
}

struct flows_fill
flows_fill(const struct flows *flows)
{
	return (struct flows_fill){ pool_used(flows->pool), flows->options.long_flows, pool_octets(flows->pool) };
}

/* Steps. */

static uint64_t
hash_of(const struct flows *flows, const struct flow *flow)
{
	struct flow_identity identity;

	identity_of(flow, &identity);
	return identity_hash(&identity, ended_key(flows->ended));
}

/* Long before they are looked at, so that memory has the time to come. */
static void
hash_all(const struct flows *flows, const struct flow *flow, size_t n, uint64_t *hash)
{
	for (size_t i = 0; i < n; i++) {
		hash[i] = hash_of(flows, &flow[i]);
		ended_prefetch(flows->ended, hash[i]);
		pool_prefetch(flows->pool, hash[i]);
	}
}

static void
begin(struct tally *tally, enum flows_record what, struct flow *flow)
{
	tally->what = what;
	tally->flow = flow;
	tally->n = 0;
}

static void
tell_gap(const struct flows *flows, enum gap_kind kind, uint64_t count, uint64_t first, uint64_t last)
{
	const struct gap gap = { .kind = kind, .flows = count, .first = first, .last = last };

	if (count)
		flows->options.gap(&gap, flows->options.data);
}

/* The one that stands at from is the tally's next. */
static void
move_up(struct tally *tally, size_t from)
{
	if (tally->n != from) {
		tally->flow[tally->n] = tally->flow[from];
		tally->hash[tally->n] = tally->hash[from];
		tally->print[tally->n] = tally->print[from];
	}
}

void
flows_ended(struct flows *flows, struct flow *flow, size_t n, struct tally *tally)
{
	const uint64_t resets = flows->counters.resets, moment = n ? flow[n - 1].end : 0;

	begin(tally, RECORD_FINAL, flow);
	hash_all(flows, flow, n, tally->hash);
	for (size_t i = 0; i < n; i++)
		tally->print[i] = ended_print(&flow[i], tally->hash[i]);
	const uint64_t again = ended_again(flows->ended, tally->print, n);
	for (size_t i = 0; i < n; i++) {
		if (again >> i & 1)
			continue;
		move_up(tally, i);
		pool_settle(flows->pool, &flow[tally->n], tally->hash[tally->n], tally->total[tally->n]);
		tally->n++;
	}
	flows->counters.duplicates += n - tally->n;
	tell_gap(flows, GAP_RESET_COUNTERS, flows->counters.resets - resets, moment, moment);
}

void
flows_present(struct flows *flows, struct flow *flow, size_t n, uint64_t now, struct tally *tally)
{
	const struct flows_counters before = flows->counters;
	const uint64_t moment = n ? flow[n - 1].end : 0;

	begin(tally, RECORD_INTERVAL, flow);
	hash_all(flows, flow, n, tally->hash);
	const uint64_t late = ended_late(flows->ended, tally->hash, n);
	for (size_t i = 0; i < n; i++) {
		if (late >> i & 1)
			flows->counters.late++;
		else if (pool_look(flows->pool, &flow[i], tally->hash[i], now, tally->total[tally->n]) == POOL_TELL) {
			move_up(tally, i);
			tally->n++;
		}
	}
	flows->counters.intervals += tally->n;
	tell_gap(flows, GAP_RESET_COUNTERS, flows->counters.resets - before.resets, moment, moment);
	tell_gap(flows, GAP_POOL, flows->counters.no_room - before.no_room, moment, moment);
}

bool
flows_walked(struct flows *flows, bool complete, bool certain)
{
	return pool_walked(flows->pool, complete, certain);
}

void
flows_gone(struct flows *flows, size_t *at, struct flow *flow, struct tally *tally)
{
	struct gap gap = { .kind = GAP_GONE, .first = UINT64_MAX };

	begin(tally, RECORD_LOST, flow);
	while (tally->n < FLOWS_BATCH
	       && pool_gone(flows->pool, at, &flow[tally->n], &tally->hash[tally->n], tally->total[tally->n])) {
		const size_t i = tally->n++;
		tally->print[i] = ended_print(&flow[i], tally->hash[i]);
		gap.first = MIN(gap.first, flow[i].end);
		gap.last = MAX(gap.last, flow[i].end);
		gap.packets += tally->total[i][0] + tally->total[i][2];
		gap.octets += tally->total[i][1] + tally->total[i][3];
	}
	gap.flows = tally->n;
	if (gap.flows)
		flows->options.gap(&gap, flows->options.data);
}

static void
finish(struct flows *flows, enum flows_record what, const struct flow *flow, uint64_t hash, uint64_t print,
       const uint64_t total[POOL_COUNTERS], uint64_t now)
{
	if (what == RECORD_INTERVAL) {
		pool_told(flows->pool, flow, hash, now, total);
		return;
	}
	pool_forget(flows->pool, flow, hash);
	ended_add(flows->ended, print, hash);
}

void
flows_done(struct flows *flows, const struct tally *tally, uint64_t now)
{
	for (size_t i = 0; i < tally->n; i++)
		finish(flows, tally->what, &tally->flow[i], tally->hash[i], tally->print[i], tally->total[i], now);
}

void
flows_redo(struct flows *flows, enum flows_record what, const struct flow *flow,
           const uint64_t total[POOL_COUNTERS], uint64_t now)
{
	const uint64_t hash = hash_of(flows, flow);
	struct flow whole = *flow;

	whole.original.packets = total[0];
	whole.original.octets = total[1];
	whole.reply.packets = total[2];
	whole.reply.octets = total[3];
	finish(flows, what, flow, hash, ended_print(&whole, hash), total, now);
}
