/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "source/source.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "error.h"
#include "source/delivery.h"
#include "source/entry.h"
#include "source/events.h"
#include "source/filter.h"
#include "source/fuse.h"
#include "source/kick.h"
#include "source/labels.h"
#include "source/netlink.h"
#include "source/meminfo.h"
#include "source/pressure.h"
#include "source/settings.h"
#include "source/settle.h"
#include "source/sweep.h"

/* Waking up costs more than everything done to a flow afterwards: the processor has forgotten both the kernel's code and
 * ours. So the first event only starts a nap, and what has gathered by its end is read in one go. The nap grows and
 * shrinks so that a thousand events or so make a batch, and is never long enough for anybody to notice, nor for the
 * fastest burst (half a million a second, 640 octets of the granted buffer each) to fill more than half of the buffer. */
enum {
	NAP_LEAST = 1000,           /* microseconds */
	NAP_MOST = 100000,
	BATCH_FEW = 512,            /* events; fewer: nap longer */
	BATCH_MANY = 4096,          /* more: nap shorter */
	OCTETS_A_MICROSECOND = 320,
	BUDGET = 16384,             /* events in one go, so that timers and collectors get their turn */
	SETTINGS_CHECK = 30,        /* seconds */
	LOOK_MOST = 64,             /* entries of the table handed over at a time */
	LAST_PATIENCE = 2500000,    /* microseconds that the kernel gets to tell what it could not tell before */
	LAST_PAUSE = 5000,
	LABELS_MOST = 65536,
};

/* A descriptor that is looked at after a nap. Made once; a wake-up allocates nothing. What to wait for is changed in
 * place, because GLib's own calls for that wake the loop they are called from, at several system calls each. */
struct napper {
	GSource base;
	GPollFD poll;
	int nap;                    /* microseconds */
	int nap_most;
	int64_t until;              /* monotonic microseconds; zero: awake, waiting for the first event */
};

struct source {
	struct source_options options;
	struct source_prefix *ignore;
	struct source_mark *mark;
	uint8_t *protocol;

	struct source_handler handler;
	void *data;

	struct events *events;
	bool replay;
	struct napper *napper;
	struct events *label_events;    /* NULL: labels are not followed */
	struct labels *labels;
	struct sweep *sweep;
	bool swept;                     /* the table was read to its end before */
	bool certain;                   /* when the sweep began, no end of a flow was outstanding */
	bool dying;                     /* in the sweep before, some were told of again */
	uint32_t drops;                 /* of the socket, when the sweep began */
	struct delivery *delivery;
	struct sweep_report sweep_report;
	bool sweep_certain;
	uint64_t swept_at;              /* ms since 1970 */
	bool resync;                    /* the next sweep is one after a loss */
	uint64_t resynced_at;           /* ms since 1970; zero: never */
	guint settings_timer;

	struct settings settings;
	struct timeouts timeouts;
	struct pressure pressure;
	uint64_t now;                   /* ns since 1970, of this batch */
	uint64_t ticks;                 /* the same by a clock that nobody sets */
	uint64_t old_without_counters;
	uint64_t old_without_start;
	struct source_counters counters;

	size_t n_ready;
	struct flow ready[EVENTS_BATCH];    /* few enough to stay in the fastest cache */
	size_t n_seen;
	struct flow seen[LOOK_MOST];
};

static uint64_t
nanoseconds(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

static void
keep_labels(struct source *source, const struct flow *flow)
{
	const uint64_t before = labels_lost(source->labels);

	labels_keep(source->labels, flow);
	source->counters.labels_lost += labels_lost(source->labels) - before;
}

static void
on_label_event(const struct nlmsghdr *message, size_t available, void *data)
{
	struct source *source = data;
	struct entry_times times;
	struct flow flow;

	if (entry_read(message, available, &flow, &times) == ENTRY_NEW && filter_passes(&source->options.filter, &flow))
		keep_labels(source, &flow);
}

static void
on_batch(uint64_t number, void *data)
{
	struct source *source = data;

	source->handler.ended(source->ready, source->n_ready, number, source->data);
	source->n_ready = 0;
}

/* Takes the flow that stands behind the ready ones among them. */
static void
take(struct source *source, struct flow *flow, const struct entry_times *times)
{
	const bool early_drop = flow->timeout && pressure_rising(&source->pressure, source->ticks);

	flow_settle(flow, times, &source->timeouts, source->now, early_drop);
	source->counters.flows++;
	source->counters.without_counters += !!(flow->gaps & GAP_NO_COUNTERS);
	source->counters.without_start += !!(flow->gaps & GAP_NO_START);
	source->n_ready++;
}

static void
on_event(const struct nlmsghdr *message, size_t available, void *data)
{
	struct source *source = data;
	struct entry_times times;
	struct flow *flow = &source->ready[source->n_ready];

	/* The kernel puts one message into a datagram. */
	if (source->n_ready == EVENTS_BATCH) {
		source->counters.malformed++;
		return;
	}
	const enum entry_message kind = entry_read(message, available, flow, &times);
	source->counters.malformed += kind == ENTRY_MALFORMED;
	if (kind != ENTRY_DELETED)
		return;
	if (source->labels)
		labels_take(source->labels, flow);
	/* The kernel's filter lets some pass that it should hold back: see filter.h. */
	if (filter_passes(&source->options.filter, flow) && !is_kick(flow))
		take(source, flow, &times);
}

/* Labels first, and all of them: what the kernel said of a flow's labels it said before the flow's end, and labels that
 * are read after it stay for ever. */
static void
drain_labels(struct source *source)
{
	static const struct events_handler handler = { .message = on_label_event };
	uint64_t received = 0;
	enum events_state state;

	if (!source->label_events)
		return;
	do {
		state = events_drain(source->label_events, BUDGET, &handler, source, &received,
		                     &source->counters.truncated);
		source->counters.labels_lost += state == EVENTS_OVERRUN;
	} while (state != EVENTS_EMPTY);
}

/* Settings were off for some time after the last look at them. */
static void
tell_accounting(struct source *source)
{
	const uint64_t now = nanoseconds(CLOCK_REALTIME) / 1000000, seen = events_memory(source->events)->settings_seen;
	const struct gap gap = { .kind = GAP_ACCOUNTING, .first = MIN(seen, now), .last = now, .unknown = true };

	if (source->handler.gap)
		source->handler.gap(&gap, source->data);
}

static enum events_state
drain(struct source *source)
{
	static const struct events_handler handler = { on_event, on_batch };
	enum events_state state;
	bool overrun = false;

	drain_labels(source);
	source->now = nanoseconds(CLOCK_REALTIME);
	source->ticks = nanoseconds(CLOCK_MONOTONIC);
	pressure_look(&source->pressure, source->ticks);
	if (source->replay)
		events_replay(source->events, &handler, source, &source->counters.events, &source->counters.truncated);
	source->replay = false;
	while ((state = events_drain(source->events, BUDGET, &handler, source, &source->counters.events,
	                             &source->counters.truncated)) == EVENTS_OVERRUN) {
		source->counters.overruns++;
		overrun = true;
	}
	delivery_note(source->delivery, overrun, state == EVENTS_EMPTY);
	source->handler.drained(source->data);
	return state;
}

static void
adapt_nap(struct napper *napper, uint64_t events)
{
	if (events > BATCH_MANY)
		napper->nap = MAX(napper->nap / 2, NAP_LEAST);
	else if (events < BATCH_FEW)
		napper->nap = MIN(napper->nap * 2, napper->nap_most);
}

static gboolean
napper_prepare(GSource *base, gint *timeout)
{
	const struct napper *napper = (const struct napper *)base;
	const int64_t left = napper->until - g_source_get_time(base);

	*timeout = -1;
	if (!napper->until)
		return false;
	*timeout = left > 0 ? (left + 999) / 1000 : 0;
	return left <= 0;
}

/* An error, which is an overrun, cuts the nap short: poll would report it again and again. */
static gboolean
napper_check(GSource *base)
{
	const struct napper *napper = (const struct napper *)base;

	return napper->poll.revents || (napper->until && napper->until <= g_source_get_time(base));
}

static void
fall_asleep(struct napper *napper)
{
	napper->until = g_source_get_time(&napper->base) + napper->nap;
	napper->poll.events = 0;
}

static void
wake_up(struct napper *napper)
{
	napper->until = 0;
	napper->poll.events = G_IO_IN;
}

static gboolean
napper_dispatch(GSource *base, GSourceFunc callback, gpointer data)
{
	struct napper *napper = (struct napper *)base;
	struct source *source = data;
	const uint64_t before = source->counters.events;
	(void)callback;

	if (!napper->until && !(napper->poll.revents & G_IO_ERR)) {
		fall_asleep(napper);
		return G_SOURCE_CONTINUE;
	}
	/* With the budget used up the nap is still over: the next turn goes on at once. */
	if (drain(source) == EVENTS_MORE)
		return G_SOURCE_CONTINUE;
	adapt_nap(napper, source->counters.events - before);
	wake_up(napper);
	return G_SOURCE_CONTINUE;
}

/* GLib calls dispatch only with a callback set; this one is never reached. */
static gboolean
no_callback(gpointer data)
{
	(void)data;
	return G_SOURCE_CONTINUE;
}

static void
set_longest_nap(struct napper *napper, size_t buffer)
{
	napper->nap_most = CLAMP(buffer / OCTETS_A_MICROSECOND / 2, NAP_LEAST, NAP_MOST);
	napper->nap = MIN(napper->nap, napper->nap_most);
}

static struct napper *
napper_new(int fd, struct source *source)
{
	static GSourceFuncs functions = { napper_prepare, napper_check, napper_dispatch, NULL, NULL, NULL };
	GSource *base = g_source_new(&functions, sizeof(struct napper));
	struct napper *napper = (struct napper *)base;

	napper->nap = NAP_MOST;
	set_longest_nap(napper, events_buffer(source->events));
	/* What a former process left behind, if anything, is taken at once. */
	napper->until = g_get_monotonic_time();
	napper->poll = (GPollFD){ .fd = fd, .events = G_IO_IN };
	g_source_add_poll(base, &napper->poll);
	/* It never does. But a source that must not is taken out of the loop while it runs, which costs four system calls. */
	g_source_set_can_recurse(base, true);
	g_source_set_callback(base, no_callback, source, NULL);
	g_source_attach(base, NULL);
	return napper;
}

/* Whoever ended before the table is read is known by now to have ended, and whoever ends meanwhile will be when all
 * events of that time have been read, unless the kernel could not put them into the socket: then they are lost, or told
 * of again some time. */
static bool
on_sweep_begin(void *data)
{
	struct source *source = data;

	source->certain = drain(source) == EVENTS_EMPTY;
	const uint32_t drops = meminfo_drops(events_fd(source->events));
	const bool dropped = drops != source->drops;
	source->drops = drops;
	return dropped || source->dying;
}

static void
show(struct source *source)
{
	if (source->n_seen && source->handler.present)
		source->handler.present(source->seen, source->n_seen, source->data);
	source->n_seen = 0;
}

static void
count_present(struct source *source, const struct flow *flow)
{
	source->counters.present_at_start++;
	source->old_without_counters += !!(flow->gaps & GAP_NO_COUNTERS);
	source->old_without_start += !!(flow->gaps & GAP_NO_START);
	if (source->labels)
		keep_labels(source, flow);
}

static void
on_table_entry(const struct nlmsghdr *message, size_t available, uint64_t looked, void *data)
{
	struct source *source = data;
	struct entry_times times;
	struct flow *flow = &source->seen[source->n_seen];

	if (source->swept && !source->handler.present)
		return;
	if (entry_read(message, available, flow, &times) != ENTRY_NEW || !filter_passes(&source->options.filter, flow))
		return;
	if (is_kick(flow))
		return;
	if (!source->swept)
		count_present(source, flow);
	flow_look(flow, &times, looked);
	if (++source->n_seen == LOOK_MOST)
		show(source);
}

static void
on_sweep_piece(void *data)
{
	show(data);
}

static void
report_table(const struct source *source)
{
	if (source->counters.present_at_start == 0)
		return;
	g_message("%" PRIu64 " flows were there already; of %" PRIu64 " the counters and of %" PRIu64
	          " the start cannot be known", source->counters.present_at_start, source->old_without_counters,
	          source->old_without_start);
	if (settings_events_were_off(&source->settings))
		g_warning("nf_conntrack_events was not 1 when they began: flows that began while nobody listened may end "
		          "without a record");
}

static void
on_sweep_over(const struct sweep_report *report, void *data)
{
	struct source *source = data;
	const bool known = drain(source) == EVENTS_EMPTY && meminfo_drops(events_fd(source->events)) == source->drops;

	source->sweep_report = *report;
	source->dying = report->dying;
	source->sweep_certain = source->certain && known && !report->dying;
	source->swept_at = nanoseconds(CLOCK_REALTIME) / 1000000;
	if (source->resync)
		source->resynced_at = source->swept_at;
	source->resync = false;
	source->counters.sweeps++;
	if (!report->complete)
		g_warning("the connection tracking table could not be read to its end: %s", g_strerror(report->reason));
	if (!source->swept)
		report_table(source);
	source->swept = true;
	if (source->handler.walked)
		source->handler.walked(report->complete, source->sweep_certain, source->data);
}

static gboolean
on_settings_check(gpointer data)
{
	struct source *source = data;
	const unsigned restored = settings_restore(&source->settings);

	if (restored)
		tell_accounting(source);
	source->counters.settings_restored += restored;
	events_memory(source->events)->settings_seen = nanoseconds(CLOCK_REALTIME) / 1000000;
	timeouts_read(&source->timeouts);
	return G_SOURCE_CONTINUE;
}

static void
copy_options(struct source *source, const struct source_options *options)
{
	const struct source_filter *filter = &options->filter;

	g_free(source->ignore);
	g_free(source->mark);
	g_free(source->protocol);
	source->ignore = g_memdup2(filter->ignore, filter->n_ignore * sizeof *filter->ignore);
	source->mark = g_memdup2(filter->mark, filter->n_mark * sizeof *filter->mark);
	source->protocol = g_memdup2(filter->protocol, filter->n_protocol * sizeof *filter->protocol);
	source->options = *options;
	source->options.filter.ignore = source->ignore;
	source->options.filter.mark = source->mark;
	source->options.filter.protocol = source->protocol;
}

static struct sweep_options
sweep_options(const struct source_options *options)
{
	return (struct sweep_options){ .share = options->reap_share, .longest = options->active_timeout };
}

static bool
open_labels(struct source *source, GError **error)
{
	const unsigned group = NFNLGRP_CONNTRACK_UPDATE;

	source->labels = labels_new(LABELS_MOST);
	if (!source->labels) {
		g_set_error(error, PEERFLOW_ERROR, EX_OSERR, "out of memory: connection labels of %d flows", LABELS_MOST);
		return false;
	}
	source->label_events = events_open(NFNLGRP_CONNTRACK_NEW, source->options.receive_buffer, NULL, error);
	if (!source->label_events)
		return false;
	if (!events_join(source->label_events, group, error))
		return false;
	if (labels_filter(events_fd(source->label_events)))
		return true;
	g_set_error(error, PEERFLOW_ERROR, EX_UNAVAILABLE, "the kernel does not take the filter for connection labels: %s",
	            g_strerror(errno));
	return false;
}

static bool
open_events(struct source *source, GError **error)
{
	const struct source_options *options = &source->options;
	const unsigned group = NFNLGRP_CONNTRACK_DESTROY;

	source->events = options->stored_fd < 0
		? events_open(group, options->receive_buffer, options->memory, error)
		: events_adopt(options->stored_fd, group, options->receive_buffer, options->memory, error);
	return source->events != NULL;
}

/* Whether somebody switched them off while no peerflow was there to see it, only the next one can tell. */
static void
look_at_settings(struct source *source)
{
	if (events_memory(source->events)->settings_seen && settings_were_off(&source->settings))
		tell_accounting(source);
	events_memory(source->events)->settings_seen = nanoseconds(CLOCK_REALTIME) / 1000000;
}

static void
on_lost(void *data)
{
	struct source *source = data;

	source->resync = true;
	if (source->sweep)
		sweep_soon(source->sweep);
}

static struct delivery_options
delivery_options(const struct source_options *options)
{
	return (struct delivery_options){ .reliable = options->reliable, .fuse = options->fuse };
}

static void
on_delivery_gap(const struct gap *gap, void *data)
{
	struct source *source = data;

	if (source->handler.gap)
		source->handler.gap(gap, source->data);
}

static void
open_delivery(struct source *source)
{
	static const struct delivery_handler handler = { on_delivery_gap, on_lost };
	const struct delivery_options options = delivery_options(&source->options);

	source->delivery = delivery_open(events_fd(source->events), source->options.stored_fd >= 0, &options,
	                                 &events_memory(source->events)->sound_until, &handler, source);
}

/* Subscribing loads the kernel's modules, and with them come the settings. */
static bool
open_all(struct source *source, GError **error)
{
	if (source->options.labels && !open_labels(source, error))
		return false;
	if (!open_events(source, error) || !filter_attach(events_fd(source->events), &source->options.filter, error))
		return false;
	if (!settings_apply(&source->settings)) {
		g_set_error(error, PEERFLOW_ERROR, EX_UNAVAILABLE,
		            "this kernel has no connection tracking (no /proc/sys/net/netfilter/nf_conntrack_*)");
		return false;
	}
	timeouts_read(&source->timeouts);
	pressure_open(&source->pressure);
	return true;
}

struct source *
source_open(const struct source_options *options, const struct source_handler *handler, void *data, GError **error)
{
	static const struct sweep_handler sweep_handler = { on_sweep_begin, on_table_entry, on_sweep_piece, on_sweep_over };
	g_autoptr(source_t) source = g_new0(struct source, 1);

	source->pressure.fd = -1;
	source->handler = *handler;
	source->replay = options->replay;
	source->data = data;
	copy_options(source, options);
	if (!open_all(source, error))
		return NULL;
	pressure_look(&source->pressure, nanoseconds(CLOCK_MONOTONIC));
	look_at_settings(source);
	open_delivery(source);
	source->napper = napper_new(events_fd(source->events), source);
	const struct sweep_options sweep = sweep_options(options);
	source->sweep = sweep_new(&sweep, &sweep_handler, source, error);
	if (!source->sweep)
		return NULL;
	source->settings_timer = g_timeout_add_seconds(SETTINGS_CHECK, on_settings_check, source);
	return g_steal_pointer(&source);
}

/* All there is, unless more comes than can be read in that time. */
static void
drain_until(struct source *source, int64_t until)
{
	while (drain(source) == EVENTS_MORE && g_get_monotonic_time() < until)
		;
}

/* What waits in the table comes within a second at most, as soon as there is room. */
static void
drain_for_good(struct source *source)
{
	const int64_t until = g_get_monotonic_time() + LAST_PATIENCE;

	drain_until(source, until);
	while (delivery_is_pending(source->delivery) && g_get_monotonic_time() < until) {
		g_usleep(LAST_PAUSE);
		drain_until(source, until);
	}
	delivery_leave(source->delivery);
	drain_until(source, until + LAST_PATIENCE);
}

void
source_close(struct source *source)
{
	if (!source)
		return;
	sweep_free(source->sweep);
	if (source->napper) {
		drain_for_good(source);
		g_source_destroy(&source->napper->base);
		g_source_unref(&source->napper->base);
	}
	if (source->settings_timer)
		g_source_remove(source->settings_timer);
	pressure_close(&source->pressure);
	delivery_close(source->delivery);
	events_close(source->events);
	events_close(source->label_events);
	labels_free(source->labels);
	g_free(source->ignore);
	g_free(source->mark);
	g_free(source->protocol);
	g_free(source);
}

bool
source_reconfigure(struct source *source, const struct source_options *options, GError **error)
{
	if (options->labels != source->options.labels) {
		g_set_error(error, PEERFLOW_ERROR, EX_CONFIG, "[conntrack] labels: takes effect with a restart only");
		return false;
	}
	if (!filter_attach(events_fd(source->events), &options->filter, error)) {
		filter_attach(events_fd(source->events), &source->options.filter, NULL);
		return false;
	}
	if (options->receive_buffer != source->options.receive_buffer) {
		events_set_buffer(source->events, options->receive_buffer);
		if (source->label_events)
			events_set_buffer(source->label_events, options->receive_buffer);
		set_longest_nap(source->napper, events_buffer(source->events));
	}
	const struct sweep_options sweep = sweep_options(options);
	sweep_change(source->sweep, &sweep);
	const struct delivery_options delivery = delivery_options(options);
	delivery_change(source->delivery, &delivery);
	copy_options(source, options);
	return true;
}

const struct source_counters *
source_counters(const struct source *source)
{
	return &source->counters;
}

int
source_fd(const struct source *source)
{
	return events_fd(source->events);
}

bool
source_fits(int fd)
{
	return netlink_is_here(fd, NETLINK_NETFILTER);
}

void
source_note_stored(struct source *source, bool stored)
{
	delivery_note_stored(source->delivery, stored);
}

static void
read_table_status(struct source_status *status)
{
	struct fuse_look look = { 0 };

	fuse_look_at_table(&look);
	status->table_entries = look.count;
	status->table_most = look.max;
	settings_read("buckets", &status->table_buckets);
	settings_read("acct", &status->accounting);
	settings_read("timestamp", &status->timestamps);
	settings_read("events", &status->events);
}

static void
read_sweep_status(const struct source *source, struct source_status *status)
{
	const struct sweep_report *report = &source->sweep_report;

	status->sweep_at = source->swept_at;
	status->sweep_complete = source->swept_at && report->complete;
	status->sweep_certain = source->sweep_certain;
	status->sweep_entries = report->entries;
	status->sweep_cost = report->cost;
	status->sweep_duration = report->duration;
	status->sweep_stall = report->stall;
	status->sweep_pause = report->pause;
	status->resync_at = source->resynced_at;
}

void
source_status(const struct source *source, struct source_status *status)
{
	static const enum source_delivery modes[] = {
		[DELIVERY_PLAIN] = SOURCE_PLAIN, [DELIVERY_RELIABLE] = SOURCE_RELIABLE, [DELIVERY_BLOWN] = SOURCE_FUSE_BLOWN,
	};
	struct delivery_status delivery;
	struct meminfo meminfo;

	memset(status, 0, sizeof *status);
	delivery_read_status(source->delivery, &delivery);
	status->delivery = modes[delivery.mode];
	status->delivery_since = delivery.since;
	status->lost = delivery.lost;
	status->postponed = delivery.postponed;
	status->fuse_blown = delivery.blown;
	meminfo_read(events_fd(source->events), &meminfo);
	status->buffer_filled = meminfo.filled;
	status->buffer = meminfo.buffer;
	read_table_status(status);
	read_sweep_status(source, status);
}
