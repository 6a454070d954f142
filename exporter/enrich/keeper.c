/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "enrich/keeper.h"

#include <stdbool.h>
#include <string.h>

#include "enrich/history.h"

enum {
	REST = 10,                  /* times as long as building took is the least between two: a tenth of a processor */
	REST_MOST = 5000,           /* ms */
	PRUNE_EVERY = 3600,         /* seconds */
};

enum task {
	TASK_TAKE,
	TASK_OWN,
	TASK_DISCARD,
	TASK_SETTLE,
	TASK_END,
};

/* What the main thread has for the other one. */
struct order {
	enum task task;
	enum roster_source source;
	struct roster *roster;
	struct directory *directory;
	GArray *own;
};

struct keeper {
	keeper_ready *ready;
	void *data;
	GThread *thread;
	GAsyncQueue *orders;
	uint64_t asked;             /* to settle */
	GMutex lock;                /* of these three */
	GCond changed;
	uint64_t settled;           /* how often it was asked and done */
	struct directory *made;     /* not fetched yet; a newer one takes its place */

	/* From here on the thread's own. */
	struct history *history;
	struct roster *roster[ROSTER_SOURCES];
	GArray *own;                /* struct roster_prefix */
	uint64_t policies_since;
	bool stale;                 /* something changed since the last directory, or there is none yet */
	int64_t rested;             /* monotonic microseconds from which on the next may be built */
	int64_t prune_at;
	bool failed;                /* to write: said once until it works again */
	bool ended;
};

static uint64_t
now(void)
{
	return g_get_real_time() / 1000;
}

/* What a roster says in so many words, and what follows from it */

static void
add_entry(GArray *entries, const struct roster_prefix *prefix, enum identity_word word, const char *text)
{
	struct roster_entry entry = { .prefix = *prefix };

	entry.word[word] = text;
	g_array_append_val(entries, entry);
}

/* This host is a peer like others, and what it serves lies behind it. */
static void
add_own(GArray *entries, const struct roster *roster)
{
	if (!roster->own_name)
		return;
	for (guint i = 0; i < roster->overlay->len; i++) {
		struct roster_prefix own = g_array_index(roster->overlay, struct roster_prefix, i);
		own.length = own.family == 6 ? 128 : 32;
		add_entry(entries, &own, WORD_PEER, roster->own_name);
	}
	for (guint i = 0; i < roster->served->len; i++)
		add_entry(entries, &g_array_index(roster->served, struct roster_prefix, i), WORD_VIA, roster->own_name);
}

static void
add_routes(const struct keeper *keeper, GArray *entries, const struct roster *roster)
{
	for (guint i = 0; i < roster->route->len; i++) {
		const struct roster_route *route = &g_array_index(roster->route, struct roster_route, i);
		const char *peer = history_word(keeper->history, &route->gateway, WORD_PEER);
		if (peer)
			add_entry(entries, &route->prefix, WORD_VIA, peer);
	}
}

static bool
domain_fits(const char *pattern, const char *domain)
{
	if (g_str_has_prefix(pattern, "*."))
		return g_str_has_suffix(domain, pattern + 1);
	return g_ascii_strcasecmp(pattern, domain) == 0;
}

struct domains {
	const struct roster *roster;
	GArray *entries;
};

/* Who resolved an address does not know whose the domain is, and who knows that does not resolve it. */
static void
add_if_of_domain(const struct history_line *line, void *data)
{
	const struct domains *domains = data;
	const char *domain = line->newest->word[WORD_DOMAIN];

	for (guint i = 0; domain && i < domains->roster->domain->len; i++) {
		const struct roster_domain *one = &g_array_index(domains->roster->domain, struct roster_domain, i);
		struct roster_entry entry = { .prefix = line->prefix, .tags = one->tags };
		if (!domain_fits(one->domain, domain))
			continue;
		memcpy(entry.word, one->word, sizeof entry.word);
		g_array_append_val(domains->entries, entry);
		return;
	}
}

/* An exit node is a way, not a place: that everything can be reached by it says nothing of an address. Only the
 * operator's file may say so. */
static void
drop_exit_nodes(GArray *entries)
{
	for (guint i = 0; i < entries->len; i++) {
		struct roster_entry *entry = &g_array_index(entries, struct roster_entry, i);
		if (!entry->prefix.length)
			entry->word[WORD_VIA] = NULL;
	}
}

static GArray *
entries_of(const struct keeper *keeper, enum roster_source source)
{
	const struct roster *roster = keeper->roster[source];
	GArray *entries = g_array_new(false, true, sizeof(struct roster_entry));

	if (!roster)
		return entries;
	g_array_append_vals(entries, roster->entry->data, roster->entry->len);
	add_own(entries, roster);
	add_routes(keeper, entries, roster);
	if (roster->domain->len)
		history_each(keeper->history, add_if_of_domain, &(struct domains){ roster, entries });
	if (source != ROSTER_FILE)
		drop_exit_nodes(entries);
	return entries;
}

/* Taking */

static size_t
note(struct keeper *keeper, enum roster_source source, uint64_t time)
{
	g_autoptr(GArray) entries = entries_of(keeper, source);

	return history_take(keeper->history, source, entries, time);
}

/* What one source says of a gateway or a domain, another may need to know where a prefix lies. */
static size_t
note_dependents(struct keeper *keeper, enum roster_source source)
{
	size_t changes = 0;

	for (unsigned other = 0; other < ROSTER_SOURCES; other++) {
		const struct roster *roster = keeper->roster[other];
		if (other != source && roster && (roster->route->len || roster->domain->len))
			changes += note(keeper, other, now());
	}
	return changes;
}

static bool
same_list(const char *const *a, const char *const *b)
{
	return a && b ? g_strv_equal(a, b) : !a && !b;
}

static bool
same_policy(const struct roster_policy *a, const struct roster_policy *b)
{
	return g_strcmp0(a->name, b->name) == 0 && same_list(a->sources, b->sources)
	       && same_list(a->destinations, b->destinations) && a->n_ports == b->n_ports && a->protocol == b->protocol
	       && a->bidirectional == b->bidirectional
	       && (!a->n_ports || memcmp(a->ports, b->ports, a->n_ports * sizeof *a->ports) == 0);
}

static bool
same_policies(const struct roster *a, const struct roster *b)
{
	const guint n = a ? a->policy->len : 0;

	if (n != (b ? b->policy->len : 0))
		return false;
	for (guint i = 0; i < n; i++)
		if (!same_policy(&g_array_index(a->policy, struct roster_policy, i),
		                 &g_array_index(b->policy, struct roster_policy, i)))
			return false;
	return true;
}

static bool
same_overlay(const struct roster *a, const struct roster *b)
{
	const guint n = a ? a->overlay->len : 0;

	return n == (b ? b->overlay->len : 0) && (!a || !b || g_strcmp0(a->own_name, b->own_name) == 0)
	       && (!n || memcmp(a->overlay->data, b->overlay->data, n * sizeof(struct roster_prefix)) == 0);
}

static void
take(struct keeper *keeper, enum roster_source source, struct roster *roster)
{
	g_autoptr(roster_t) old = keeper->roster[source];
	const uint64_t time = roster ? roster->taken : now();

	keeper->roster[source] = roster;
	if (!same_policies(old, roster)) {
		keeper->policies_since = time;
		keeper->stale = true;
	}
	if (!same_overlay(old, roster))
		keeper->stale = true;
	if (note(keeper, source, time) + note_dependents(keeper, source))
		keeper->stale = true;
}

static void
take_own(struct keeper *keeper, GArray *own)
{
	if (own->len != keeper->own->len
	    || memcmp(own->data, keeper->own->data, own->len * sizeof(struct roster_prefix)) != 0)
		keeper->stale = true;
	g_array_free(keeper->own, true);
	keeper->own = own;
}

/* Making */

static struct directory *
make(struct keeper *keeper)
{
	struct directory_input input = {
		.history = keeper->history,
		.own = (const struct roster_prefix *)(void *)keeper->own->data,
		.n_own = keeper->own->len,
		.policies_since = keeper->policies_since,
	};

	for (unsigned i = 0; i < ROSTER_SOURCES; i++)
		input.roster[i] = keeper->roster[i];
	keeper->stale = false;
	return directory_new(&input);
}

static struct directory *
exchange_made(struct keeper *keeper, struct directory *directory)
{
	g_mutex_lock(&keeper->lock);
	struct directory *before = keeper->made;
	keeper->made = directory;
	g_mutex_unlock(&keeper->lock);
	return before;
}

static gboolean
on_made(gpointer data)
{
	struct keeper *keeper = data;
	struct directory *made = exchange_made(keeper, NULL);

	if (made)
		keeper->ready(made, keeper->data);
	return G_SOURCE_REMOVE;
}

static void
hand_over(struct keeper *keeper, struct directory *directory)
{
	struct directory *unfetched = exchange_made(keeper, directory);

	directory_free(unfetched);
	if (!unfetched)
		g_idle_add_full(G_PRIORITY_DEFAULT, on_made, keeper, NULL);
}

static void
write_down(struct keeper *keeper)
{
	g_autoptr(GError) error = NULL;
	const bool good = history_write(keeper->history, now(), &error);

	if (!good && !keeper->failed)
		g_warning("names are not kept over a restart: %s", error->message);
	if (good && keeper->failed)
		g_message("names are kept over a restart again");
	keeper->failed = !good;
}

static void
prune_if_due(struct keeper *keeper)
{
	const int64_t time = g_get_monotonic_time();

	if (time < keeper->prune_at)
		return;
	history_prune(keeper->history, now());
	keeper->prune_at = time + PRUNE_EVERY * G_TIME_SPAN_SECOND;
}

static void
make_and_rest(struct keeper *keeper)
{
	const int64_t begin = g_get_monotonic_time();

	prune_if_due(keeper);
	hand_over(keeper, make(keeper));
	write_down(keeper);
	const int64_t end = g_get_monotonic_time();
	keeper->rested = end + MIN((end - begin) * REST, REST_MOST * G_TIME_SPAN_MILLISECOND);
}

static void
settle(struct keeper *keeper)
{
	if (keeper->stale)
		make_and_rest(keeper);
	g_mutex_lock(&keeper->lock);
	keeper->settled++;
	g_cond_signal(&keeper->changed);
	g_mutex_unlock(&keeper->lock);
}

/* The thread */

static void
follow(struct keeper *keeper, const struct order *order)
{
	switch (order->task) {
	case TASK_TAKE:
		take(keeper, order->source, order->roster);
		break;
	case TASK_OWN:
		take_own(keeper, order->own);
		break;
	case TASK_DISCARD:
		directory_free(order->directory);
		break;
	case TASK_SETTLE:
		settle(keeper);
		break;
	case TASK_END:
		keeper->ended = true;
	}
}

/* Waits for an order, though not beyond the end of a rest if there is something to build. */
static struct order *
next_order(struct keeper *keeper)
{
	const int64_t left = keeper->rested - g_get_monotonic_time();

	if (!keeper->stale)
		return g_async_queue_pop(keeper->orders);
	return left > 0 ? g_async_queue_timeout_pop(keeper->orders, left) : g_async_queue_try_pop(keeper->orders);
}

static gpointer
work(gpointer data)
{
	struct keeper *keeper = data;

	while (!keeper->ended) {
		g_autofree struct order *order = next_order(keeper);
		if (order)
			follow(keeper, order);
		else if (keeper->stale && g_get_monotonic_time() >= keeper->rested)
			make_and_rest(keeper);
	}
	write_down(keeper);
	return NULL;
}

static void
send_order(struct keeper *keeper, struct order order)
{
	g_async_queue_push(keeper->orders, g_memdup2(&order, sizeof order));
}

struct keeper *
keeper_open(const char *state_directory, uint64_t keep, keeper_ready *ready, void *data)
{
	struct keeper *keeper = g_new0(struct keeper, 1);
	g_autoptr(GError) error = NULL;

	keeper->ready = ready;
	keeper->data = data;
	keeper->stale = true;
	keeper->orders = g_async_queue_new();
	g_mutex_init(&keeper->lock);
	g_cond_init(&keeper->changed);
	keeper->history = history_new(keep);
	keeper->own = g_array_new(false, true, sizeof(struct roster_prefix));
	if (state_directory && !history_open(keeper->history, state_directory, &error))
		g_warning("names are not kept over a restart: %s", error->message);
	keeper->thread = g_thread_new("names", work, keeper);
	return keeper;
}

void
keeper_close(struct keeper *keeper)
{
	if (!keeper)
		return;
	send_order(keeper, (struct order){ .task = TASK_END });
	g_thread_join(keeper->thread);
	while (g_idle_remove_by_data(keeper))
		;
	g_async_queue_unref(keeper->orders);
	directory_free(keeper->made);
	for (unsigned i = 0; i < ROSTER_SOURCES; i++)
		roster_free(keeper->roster[i]);
	history_free(keeper->history);
	g_array_free(keeper->own, true);
	g_mutex_clear(&keeper->lock);
	g_cond_clear(&keeper->changed);
	g_free(keeper);
}

void
keeper_take(struct keeper *keeper, enum roster_source source, struct roster *roster)
{
	send_order(keeper, (struct order){ .task = TASK_TAKE, .source = source, .roster = roster });
}

void
keeper_set_own(struct keeper *keeper, const struct roster_prefix *own, size_t n_own)
{
	GArray *copy = g_array_new(false, true, sizeof *own);

	g_array_append_vals(copy, own, n_own);
	send_order(keeper, (struct order){ .task = TASK_OWN, .own = copy });
}

struct directory *
keeper_settle(struct keeper *keeper, int64_t patience)
{
	const int64_t deadline = patience < 0 ? INT64_MAX : g_get_monotonic_time() + patience;
	bool waiting = true;

	keeper->asked++;
	send_order(keeper, (struct order){ .task = TASK_SETTLE });
	g_mutex_lock(&keeper->lock);
	while (waiting && keeper->settled < keeper->asked)
		waiting = g_cond_wait_until(&keeper->changed, &keeper->lock, deadline);
	struct directory *made = g_steal_pointer(&keeper->made);
	g_mutex_unlock(&keeper->lock);
	return made;
}

void
keeper_discard(struct keeper *keeper, struct directory *directory)
{
	if (directory)
		send_order(keeper, (struct order){ .task = TASK_DISCARD, .directory = directory });
}
