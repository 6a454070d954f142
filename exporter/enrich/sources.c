/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "enrich/sources.h"

#include <curl/curl.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "enrich/api.h"
#include "enrich/client.h"
#include "enrich/feed.h"
#include "enrich/stop.h"
#include "enrich/wireguard.h"

enum {
	SPACING = 1000000,          /* microseconds between two rosters of a source, as each costs a new directory */
	SAY_AGAIN = 60,             /* seconds a source that fails in changing ways waits between two lines of the log */
	NICE = 10,                  /* names can wait, flows cannot */
};

struct feed {
	struct sources *sources;
	enum roster_source source;
	GThread *thread;
	int stop;                   /* eventfd */
	int wake;                   /* eventfd */
	/* From here on under the lock. */
	struct roster *ready;       /* to be handed over */
	int64_t handed;             /* monotonic microseconds of the last one that was */
	char *digest;               /* of the last one delivered */
	struct sources_state state; /* without its texts */
	char *text;
	int64_t said;               /* monotonic microseconds; zero: never */
};

struct sources {
	struct sources_options options;
	sources_roster *on_roster;
	void *data;
	GMutex lock;
	GSource *hand_over;         /* in the default main context; ready when a roster is to be handed over */
	struct feed *feed[ROSTER_SOURCES];  /* NULL: not configured */
};

/* A source of names. */
struct kind {
	const char *name;           /* NULL: not one that is asked from here */
	bool (*is_wanted)(const struct sources_options *options);
	void (*run)(struct feed *feed, const struct sources_options *options);
};

static const struct kind kinds[ROSTER_SOURCES] = {
	[ROSTER_NETBIRD] = { "netbird", client_is_wanted, client_run },
	[ROSTER_NETWORKS] = { "networks", client_has_networks, client_run_networks },
	[ROSTER_API] = { "api", api_is_wanted, api_run },
	[ROSTER_WIREGUARD] = { "wireguard", wireguard_is_wanted, wireguard_run },
};

/* Options */

static void
copy_options(struct sources_options *to, const struct sources_options *from)
{
	*to = *from;
	to->socket = g_strdup(from->socket);
	to->command = g_strdup(from->command);
	to->api_url = g_strdup(from->api_url);
	to->api_token_file = g_strdup(from->api_token_file);
	to->interface = g_strdup(from->interface);
}

static void
clear_options(struct sources_options *options)
{
	g_free((char *)options->socket);
	g_free((char *)options->command);
	g_free((char *)options->api_url);
	g_free((char *)options->api_token_file);
	g_free((char *)options->interface);
}

static bool
equal_options(const struct sources_options *a, const struct sources_options *b)
{
	return a->status == b->status && a->refresh == b->refresh && g_strcmp0(a->socket, b->socket) == 0
	       && g_strcmp0(a->command, b->command) == 0 && g_strcmp0(a->api_url, b->api_url) == 0
	       && g_strcmp0(a->api_token_file, b->api_token_file) == 0 && a->api_refresh == b->api_refresh
	       && g_strcmp0(a->interface, b->interface) == 0 && a->tunnel == b->tunnel;
}

/* What a roster says, in few octets. */

static void
digest_number(GChecksum *digest, uint64_t number)
{
	g_checksum_update(digest, (const guchar *)&number, sizeof number);
}

static void
digest_text(GChecksum *digest, const char *text)
{
	const size_t length = text ? strlen(text) : 0;

	digest_number(digest, text ? length + 1 : 0);
	g_checksum_update(digest, (const guchar *)(text ? text : ""), length);
}

static void
digest_tags(GChecksum *digest, const char *const *tags)
{
	for (; tags && *tags; tags++)
		digest_text(digest, *tags);
	digest_text(digest, NULL);
}

static void
digest_words(GChecksum *digest, const char *const word[WORDS], const char *const *tags)
{
	for (unsigned i = 0; i < WORDS; i++)
		digest_text(digest, word[i]);
	digest_tags(digest, tags);
}

static void
digest_prefix(GChecksum *digest, const struct roster_prefix *prefix)
{
	g_checksum_update(digest, prefix->address.v6, sizeof prefix->address.v6);
	digest_number(digest, prefix->family << 8 | prefix->length);
}

static void
digest_prefixes(GChecksum *digest, const GArray *prefixes)
{
	digest_number(digest, prefixes->len);
	for (guint i = 0; i < prefixes->len; i++)
		digest_prefix(digest, &g_array_index(prefixes, struct roster_prefix, i));
}

static void
digest_policy(GChecksum *digest, const struct roster_policy *policy)
{
	digest_text(digest, policy->name);
	digest_tags(digest, policy->sources);
	digest_tags(digest, policy->destinations);
	digest_number(digest, policy->n_ports);
	for (size_t i = 0; i < policy->n_ports; i++)
		digest_number(digest, (uint32_t)policy->ports[i].first << 16 | policy->ports[i].last);
	digest_number(digest, policy->protocol << 1 | policy->bidirectional);
}

static void
digest_entries(GChecksum *digest, const struct roster *roster)
{
	digest_number(digest, roster->entry->len);
	for (guint i = 0; i < roster->entry->len; i++) {
		const struct roster_entry *entry = &g_array_index(roster->entry, struct roster_entry, i);
		digest_prefix(digest, &entry->prefix);
		digest_words(digest, entry->word, entry->tags);
	}
	digest_number(digest, roster->route->len);
	for (guint i = 0; i < roster->route->len; i++) {
		digest_prefix(digest, &g_array_index(roster->route, struct roster_route, i).prefix);
		digest_prefix(digest, &g_array_index(roster->route, struct roster_route, i).gateway);
	}
}

static char *
digest_roster(const struct roster *roster)
{
	g_autoptr(GChecksum) digest = g_checksum_new(G_CHECKSUM_SHA256);

	digest_entries(digest, roster);
	digest_number(digest, roster->domain->len);
	for (guint i = 0; i < roster->domain->len; i++) {
		const struct roster_domain *domain = &g_array_index(roster->domain, struct roster_domain, i);
		digest_text(digest, domain->domain);
		digest_words(digest, domain->word, domain->tags);
	}
	digest_number(digest, roster->policy->len << 1 | roster->has_policies);
	for (guint i = 0; i < roster->policy->len; i++)
		digest_policy(digest, &g_array_index(roster->policy, struct roster_policy, i));
	digest_prefixes(digest, roster->overlay);
	digest_prefixes(digest, roster->served);
	digest_text(digest, roster->own_name);
	digest_text(digest, roster->state);
	digest_number(digest, roster->kernel);
	return g_strdup(g_checksum_get_string(digest));
}

/* The running end */

static uint64_t
now_ms(void)
{
	return g_get_real_time() / 1000;
}

bool
feed_is_stopped(const struct feed *feed)
{
	return stop_is_set(feed->stop);
}

int
feed_stop_fd(const struct feed *feed)
{
	return feed->stop;
}

bool
feed_wait(struct feed *feed, int64_t milliseconds)
{
	const int64_t end = g_get_monotonic_time() / 1000 + milliseconds;
	struct pollfd wait[] = { { .fd = feed->stop, .events = POLLIN }, { .fd = feed->wake, .events = POLLIN } };
	int n;

	do {
		n = poll(wait, G_N_ELEMENTS(wait), CLAMP(end - g_get_monotonic_time() / 1000, 0, G_MAXINT));
	} while (n < 0 && errno == EINTR);
	eventfd_t ignored;
	if (wait[1].revents)
		eventfd_read(feed->wake, &ignored);
	return !wait[0].revents;
}

void
feed_wake(struct feed *feed, enum roster_source source)
{
	if (feed->sources->feed[source])
		eventfd_write(feed->sources->feed[source]->wake, 1);
}

int64_t
feed_back_off(unsigned failures, int64_t most)
{
	return MIN(INT64_C(1000) << MIN(failures ? failures - 1 : 0, 20), most);
}

/* "; what it said at 2026-11-22 05:41:00 stays in force" */
static char *
in_force(const struct feed *feed)
{
	if (!feed->state.answered)
		return g_strdup("");
	g_autoptr(GDateTime) when = g_date_time_new_from_unix_local(feed->state.answered / 1000);
	g_autofree char *text = g_date_time_format(when, "%F %T");
	return g_strdup_printf("; what it said at %s stays in force", text);
}

/* One line when things change, and now and then while they go on changing. */
static void
say(struct feed *feed, enum sources_condition before, const char *text)
{
	const char *name = feed->state.name;
	const int64_t now = g_get_monotonic_time();
	const bool changed = feed->state.condition != before;

	if (feed->state.condition == SOURCES_GOOD && changed)
		g_message("names from %s: %s", name, text);
	else if (feed->state.condition == SOURCES_ABSENT && changed && !feed->state.answered)
		g_info("names from %s: %s", name, text);
	else if (feed->state.condition == SOURCES_ABSENT ? changed : feed->state.condition == SOURCES_FAILING
	         && (changed || (g_strcmp0(text, feed->text) != 0 && now - feed->said > SAY_AGAIN * G_USEC_PER_SEC)))
		g_warning("names from %s: %s", name, text);
	else
		return;
	feed->said = now;
}

/* Others' words are in it, which are to stay one line and text. */
static char *
one_line(const char *text)
{
	char *line = g_utf8_make_valid(text, -1);

	for (char *at = line; *at; at = g_utf8_next_char(at))
		if (g_ascii_iscntrl(*at))
			*at = ' ';
	return line;
}

static void
set_state(struct feed *feed, enum sources_condition condition, const char *words)
{
	const enum sources_condition before = feed->state.condition;
	char *text = one_line(words);

	feed->state.condition = condition;
	if (condition != before)
		feed->state.since = now_ms();
	say(feed, before, text);
	g_free(feed->text);
	feed->text = text;
}

/* Whether the main thread has to hear of it; the others are as good as those in force. */
static bool
is_new(struct feed *feed, char *digest, const struct roster *roster)
{
	const bool same = g_strcmp0(digest, feed->digest) == 0;

	g_free(feed->digest);
	feed->digest = digest;
	feed->state.changes += !same;
	feed->state.entries = roster->entry->len;
	return !same;
}

void
feed_deliver(struct feed *feed, struct roster *roster, const char *text)
{
	struct sources *sources = feed->sources;
	char *digest = digest_roster(roster);

	g_mutex_lock(&sources->lock);
	set_state(feed, SOURCES_GOOD, text);
	feed->state.answers++;
	feed->state.answered = now_ms();
	if (is_new(feed, digest, roster)) {
		struct roster *old = feed->ready;
		feed->ready = roster;
		roster = old;
		g_source_set_ready_time(sources->hand_over, MAX(feed->handed + SPACING, 0));
	}
	g_mutex_unlock(&sources->lock);
	roster_free(roster);
}

void
feed_fail(struct feed *feed, const GError *error)
{
	g_mutex_lock(&feed->sources->lock);
	g_autofree char *rest = in_force(feed);
	g_autofree char *text = g_strconcat(error->message, rest, NULL);
	feed->state.failures++;
	set_state(feed, SOURCES_FAILING, text);
	g_mutex_unlock(&feed->sources->lock);
}

void
feed_absent(struct feed *feed, const char *text)
{
	g_mutex_lock(&feed->sources->lock);
	g_autofree char *rest = in_force(feed);
	g_autofree char *whole = g_strconcat(text, rest, NULL);
	set_state(feed, SOURCES_ABSENT, whole);
	g_mutex_unlock(&feed->sources->lock);
}

void
feed_poll(struct feed *feed, feed_load *load, const void *options, int64_t refresh)
{
	unsigned failures = 0;
	int64_t wait = 0;

	while (feed_wait(feed, wait)) {
		g_autofree char *text = NULL;
		g_autoptr(GError) error = NULL;
		struct roster *roster = load(feed, options, &text, &error);
		failures = error ? failures + 1 : 0;
		wait = error ? feed_back_off(failures, refresh) : refresh;
		if (feed_is_stopped(feed))
			roster_free(roster);
		else if (roster)
			feed_deliver(feed, roster, text);
		else if (error)
			feed_fail(feed, error);
		else
			feed_absent(feed, text);
	}
}

/* The main thread's end */

/* The next roster to hand over, if it is time; else *next is made the time of the earliest. */
static struct roster *
take_ready(struct feed *feed, int64_t now, int64_t *next)
{
	struct sources *sources = feed->sources;
	struct roster *roster = NULL;

	g_mutex_lock(&sources->lock);
	if (feed->ready && now >= feed->handed + SPACING) {
		roster = g_steal_pointer(&feed->ready);
		feed->handed = now;
	} else if (feed->ready) {
		*next = *next < 0 ? feed->handed + SPACING : MIN(*next, feed->handed + SPACING);
	}
	g_mutex_unlock(&sources->lock);
	return roster;
}

static gboolean
on_hand_over(gpointer data)
{
	struct sources *sources = data;
	const int64_t now = g_get_monotonic_time();
	int64_t next = -1;

	g_source_set_ready_time(sources->hand_over, -1);
	for (unsigned i = 0; i < ROSTER_SOURCES; i++) {
		struct roster *roster = sources->feed[i] ? take_ready(sources->feed[i], now, &next) : NULL;
		if (roster)
			sources->on_roster(i, roster, sources->data);
	}
	g_mutex_lock(&sources->lock);
	/* A thread may have set an earlier time in the meantime. */
	if (next >= 0 && g_source_get_ready_time(sources->hand_over) < 0)
		g_source_set_ready_time(sources->hand_over, next);
	g_mutex_unlock(&sources->lock);
	return G_SOURCE_CONTINUE;
}

static gboolean
dispatch(GSource *source, GSourceFunc callback, gpointer data)
{
	(void)source;
	return callback(data);
}

static GSource *
hand_over_new(struct sources *sources)
{
	static GSourceFuncs functions = { .dispatch = dispatch };
	GSource *source = g_source_new(&functions, sizeof *source);

	g_source_set_callback(source, on_hand_over, sources, NULL);
	g_source_attach(source, NULL);
	return source;
}

static gpointer
run_feed(gpointer data)
{
	struct feed *feed = data;

	/* On Linux this is the thread's own; not to be allowed it does no harm. */
	if (setpriority(PRIO_PROCESS, 0, NICE) < 0)
		g_debug("names from %s: no lower priority: %s", kinds[feed->source].name, g_strerror(errno));
	kinds[feed->source].run(feed, &feed->sources->options);
	return NULL;
}

static struct feed *
feed_new(struct sources *sources, enum roster_source source)
{
	struct feed *feed = g_new0(struct feed, 1);

	feed->sources = sources;
	feed->source = source;
	feed->handed = g_get_monotonic_time() - SPACING;
	feed->stop = eventfd(0, EFD_CLOEXEC);
	feed->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	feed->state = (struct sources_state){ .name = kinds[source].name, .since = now_ms() };
	feed->text = g_strdup("no answer yet");
	return feed;
}

static void
start_feed(struct feed *feed)
{
	g_autoptr(GError) error = NULL;

	if (feed->stop >= 0 && feed->wake >= 0)
		feed->thread = g_thread_try_new(kinds[feed->source].name, run_feed, feed, &error);
	else
		g_set_error_literal(&error, G_FILE_ERROR, G_FILE_ERROR_MFILE, "no descriptors are left");
	if (error)
		feed_fail(feed, error);
}

static void
feed_free(struct feed *feed)
{
	if (!feed)
		return;
	if (feed->stop >= 0)
		close(feed->stop);
	if (feed->wake >= 0)
		close(feed->wake);
	roster_free(feed->ready);
	g_free(feed->digest);
	g_free(feed->text);
	g_free(feed);
}

static void
stop_all(struct sources *sources)
{
	eventfd_t ignored;

	for (unsigned i = 0; i < ROSTER_SOURCES; i++)
		if (sources->feed[i] && sources->feed[i]->thread)
			eventfd_write(sources->feed[i]->stop, 1);
	for (unsigned i = 0; i < ROSTER_SOURCES; i++) {
		if (!sources->feed[i] || !sources->feed[i]->thread)
			continue;
		g_thread_join(g_steal_pointer(&sources->feed[i]->thread));
		eventfd_read(sources->feed[i]->stop, &ignored);
	}
}

/* All of them are there before the first one runs: they may wake each other. */
static void
start_all(struct sources *sources)
{
	for (unsigned i = 0; i < ROSTER_SOURCES; i++)
		if (kinds[i].name && kinds[i].is_wanted(&sources->options) && !sources->feed[i])
			sources->feed[i] = feed_new(sources, i);
	for (unsigned i = 0; i < ROSTER_SOURCES; i++)
		if (sources->feed[i])
			start_feed(sources->feed[i]);
}

struct sources *
sources_open(const struct sources_options *options, sources_roster *on_roster, void *data)
{
	struct sources *sources = g_new0(struct sources, 1);
	static gsize ready;

	if (g_once_init_enter(&ready)) {
		curl_global_init(CURL_GLOBAL_DEFAULT);
		g_once_init_leave(&ready, 1);
	}
	copy_options(&sources->options, options);
	sources->on_roster = on_roster;
	sources->data = data;
	g_mutex_init(&sources->lock);
	sources->hand_over = hand_over_new(sources);
	start_all(sources);
	return sources;
}

void
sources_reconfigure(struct sources *sources, const struct sources_options *options)
{
	if (equal_options(&sources->options, options))
		return;
	stop_all(sources);
	clear_options(&sources->options);
	copy_options(&sources->options, options);
	for (unsigned i = 0; i < ROSTER_SOURCES; i++) {
		if (!sources->feed[i] || kinds[i].is_wanted(options))
			continue;
		g_clear_pointer(&sources->feed[i], feed_free);
		sources->on_roster(i, NULL, sources->data);
	}
	start_all(sources);
}

void
sources_close(struct sources *sources)
{
	if (!sources)
		return;
	stop_all(sources);
	g_source_destroy(sources->hand_over);
	g_source_unref(sources->hand_over);
	for (unsigned i = 0; i < ROSTER_SOURCES; i++)
		feed_free(sources->feed[i]);
	g_mutex_clear(&sources->lock);
	clear_options(&sources->options);
	g_free(sources);
}

void
sources_each_state(struct sources *sources, void (*function)(const struct sources_state *state, void *data), void *data)
{
	for (unsigned i = 0; i < ROSTER_SOURCES; i++) {
		if (!sources->feed[i])
			continue;
		g_mutex_lock(&sources->lock);
		struct sources_state state = sources->feed[i]->state;
		g_autofree char *text = g_strdup(sources->feed[i]->text);
		g_mutex_unlock(&sources->lock);
		state.text = text;
		function(&state, data);
	}
}

const char *
sources_condition_word(enum sources_condition condition)
{
	static const char *const words[] = {
		[SOURCES_ASKING] = "asking",
		[SOURCES_GOOD] = "good",
		[SOURCES_FAILING] = "failing",
		[SOURCES_ABSENT] = "absent",
	};

	return words[condition];
}
