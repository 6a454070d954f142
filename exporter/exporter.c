/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "exporter.h"

#include <glib-unix.h>
#include <inttypes.h>
#include <net/if.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "config.h"
#include "domain.h"
#include "encode/encoder.h"
#include "enrich/mode.h"
#include "enrich/peers.h"
#include "error.h"
#include "flows/flows.h"
#include "journal.h"
#include "keep.h"
#include "ledger.h"
#include "live.h"
#include "notify.h"
#include "output.h"
#include "plain.h"
#include "region.h"
#include "source/filter.h"
#include "source/links.h"
#include "source/routes.h"
#include "source/settings.h"
#include "source/source.h"
#include "status.h"
#include "who.h"

enum {
	FLUSH_WAIT = 250000,        /* microseconds a record may wait for company in its message */
	CLOSE_PATIENCE = 2000,      /* ms a collector gets to take what waits for it when the daemon ends */
	RELOAD_PATIENCE = 200,
	REFUSAL_QUIET = 60,         /* seconds between two lines about viewers that are refused */
	VIEWERS_MOST = 16,
	LINKS_SETTLE = 1000,        /* ms */
	GONE_MOST = 16,
	OPEN_PATIENCE = 1000,       /* ms a collector gets to answer before the flows come that waited for us */
	ARCHIVE_RETRY = 60,         /* seconds between two attempts to open the archive */
	HELD = JOURNAL_KEPT - 2 * JOURNAL_BATCH,    /* flows that wait for a session */
};

struct exporter {
	char *config_path;
	struct config *config;
	struct output_identity identity;
	GArray *interfaces;         /* struct interface_name */
	GPtrArray *outputs;         /* struct output, in the order of the configuration */
	GPtrArray *viewers;         /* struct output */
	GPtrArray *gone;            /* struct output, stopped by reloads: the ends of their own flows are still to come */
	struct who *who;
	struct links *links;
	struct routes *routes;
	guint links_watch;
	guint links_timer;
	guint routes_watch;
	struct live *live;
	struct live *status;        /* the socket that tells how things stand */
	uint64_t started;           /* ms since 1970 */
	int64_t started_at;         /* monotonic microseconds */
	uint64_t exported;          /* flows handed to the outputs, a flow that goes on each time */
	int64_t refusal_said;       /* monotonic microseconds; zero: never */
	struct source *source;
	int stored_fd;              /* of a former process's event socket; -1: none */
	GPtrArray *regions;         /* memory that survives this process */
	struct flows *flows;
	struct tally tally;
	guint gone_timer;           /* some flows left the table without a word, and are still to be told */
	size_t gone_at;
	struct flow gone_flow[FLOWS_BATCH];
	GSource *flush;             /* ready when a partly full message has waited long enough */
	struct ledger_memory *ledger_memory;    /* a region, or NULL */
	struct ledger *ledger;
	struct journal_memory *journal_memory;  /* the same */
	struct journal *journal;
	struct keep *keep;          /* the archive; NULL: there is none, or it could not be opened */
	struct keep_memory *keep_memory;        /* a region, or NULL */
	char *keep_trouble;         /* why it could not be opened */
	int64_t keep_tried;         /* monotonic microseconds */
	GSource *keep_moved;        /* ready when the archive takes flows again */
	guint second;               /* a timer */
};

static const char SOCKET_NAME[] = "conntrack";

/* The way of a flow. */

static bool
is_carried(const GPtrArray *outputs, const struct flow *flow)
{
	for (guint i = 0; i < outputs->len; i++)
		if (output_carries(outputs->pdata[i], flow))
			return true;
	return false;
}

/* Finds out what the kernel did not say of it. False if it is not to be told, above all what we send ourselves. */
static bool
complete(struct exporter *exporter, struct flow *flow)
{
	if (is_carried(exporter->outputs, flow) || is_carried(exporter->gone, flow))
		return false;
	routes_find(exporter->routes, flow);
	return who_find(exporter->who, flow);
}

static void
give(struct output *output, const struct flow *flow, const struct names *names, uint64_t number, bool wanted)
{
	if (!output_follows(output, number))
		return;
	if (wanted)
		output_flow(output, flow, names, number);
	else
		output_skip(output, number);
}

/* False if the archive does not take it now. */
static bool
keep_one(struct exporter *exporter, const struct flow *flow, uint64_t number, bool wanted)
{
	if (wanted)
		return keep_flow(exporter->keep, flow, who_names(exporter->who), number);
	keep_skip(exporter->keep, number);
	return true;
}

static void
export_flow(struct exporter *exporter, struct flow *flow, uint64_t number)
{
	const bool wanted = complete(exporter, flow);
	const struct names *names = who_names(exporter->who);

	exporter->exported += wanted;
	for (guint i = 0; i < exporter->outputs->len; i++)
		give(exporter->outputs->pdata[i], flow, names, number, wanted);
	for (guint i = 0; i < exporter->viewers->len; i++)
		give(exporter->viewers->pdata[i], flow, names, number, wanted);
	if (exporter->keep && keep_follows(exporter->keep, number))
		keep_one(exporter, flow, number, wanted);
}

/* Gives an output the flows up to last from the journal. Without a session it loses them. */
static void
feed_until(struct exporter *exporter, struct output *output, uint64_t last)
{
	uint64_t number = output_next(output, journal_first(exporter->journal));

	if (!number || number > last)
		return;
	for (; number <= last; number++) {
		struct flow flow = journal_flow(exporter->journal, number)->flow;
		if (complete(exporter, &flow))
			output_flow(output, &flow, who_names(exporter->who), number);
		else
			output_skip(output, number);
	}
	if (!output_is_open(output))
		output_flush(output, true);
}

/* An output gets what it has missed, be it that it had no session, be it that another process had not sent it. As long
 * as it has none, it only loses what the journal will not keep. */
static void
feed(struct exporter *exporter, struct output *output)
{
	const uint64_t head = journal_head(exporter->journal);

	feed_until(exporter, output, output_is_open(output) ? head : head - MIN(head, HELD));
}

/* The archive gets what it has missed. */
static void
feed_archive(struct exporter *exporter)
{
	const uint64_t head = journal_head(exporter->journal);
	bool taken = exporter->keep != NULL;

	while (taken && !keep_follows(exporter->keep, head + 1)) {
		const uint64_t number = keep_next(exporter->keep, journal_first(exporter->journal));
		struct flow flow = journal_flow(exporter->journal, number)->flow;
		taken = keep_one(exporter, &flow, number, complete(exporter, &flow));
	}
}

/* Milliseconds. */
static uint64_t
now_by(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return now.tv_sec * UINT64_C(1000) + now.tv_nsec / 1000000;
}

/* Writes the records of a step into the journal, to be committed. */
static void
write_down(struct exporter *exporter, const struct tally *tally)
{
	for (size_t i = 0; i < tally->n; i++) {
		struct journal_slot *slot = journal_place(exporter->journal, i);
		routes_prefetch(exporter->routes, &tally->flow[i]);
		who_prefetch(exporter->who, &tally->flow[i]);
		slot->flow = tally->flow[i];
		memcpy(slot->total, tally->total[i], sizeof slot->total);
		slot->what = tally->what;
	}
}

/* Exports the records of a step, which were committed just now. */
static void
tell(struct exporter *exporter, const struct tally *tally)
{
	const uint64_t head = journal_head(exporter->journal);

	flows_done(exporter->flows, tally, now_by(CLOCK_BOOTTIME));
	journal_applied(exporter->journal);
	for (size_t i = 0; i < tally->n; i++)
		export_flow(exporter, &tally->flow[i], head - tally->n + 1 + i);
	for (guint i = 0; i < exporter->outputs->len; i++)
		if (!output_follows(exporter->outputs->pdata[i], head + 1))
			feed(exporter, exporter->outputs->pdata[i]);
	feed_archive(exporter);
}

/* The same of records that did not come with a batch of events. */
static void
tell_more(struct exporter *exporter, const struct tally *tally)
{
	write_down(exporter, tally);
	journal_commit_more(exporter->journal, tally->n);
	tell(exporter, tally);
}

static void
redo(const struct journal_slot *slot, void *data)
{
	struct exporter *exporter = data;

	flows_redo(exporter->flows, slot->what, &slot->flow, slot->total, now_by(CLOCK_BOOTTIME));
}

static void
on_ended(struct flow *flow, size_t n, uint64_t batch, void *data)
{
	struct exporter *exporter = data;

	flows_ended(exporter->flows, flow, n, &exporter->tally);
	write_down(exporter, &exporter->tally);
	journal_commit(exporter->journal, exporter->tally.n, batch);
	tell(exporter, &exporter->tally);
}

/* What could not be sent is in the ledger at once: it must be there even if the next moment is the process's last. */
static bool
flush_output(struct exporter *exporter, struct output *output, bool partial)
{
	feed(exporter, output);
	const bool waiting = output_is_open(output) && output_flush(output, partial);

	output_account(output);
	return waiting;
}

static bool
flush_archive(struct exporter *exporter, bool partial)
{
	feed_archive(exporter);
	return exporter->keep && keep_flush(exporter->keep, partial);
}

/* Sends what is full, or everything; sees to it that the rest does not wait for ever. */
static void
flush(struct exporter *exporter, bool partial)
{
	bool waiting = false;

	for (guint i = 0; i < exporter->outputs->len; i++)
		waiting |= flush_output(exporter, exporter->outputs->pdata[i], partial);
	for (guint i = 0; i < exporter->viewers->len; i++)
		waiting |= output_flush(exporter->viewers->pdata[i], partial);
	waiting |= flush_archive(exporter, partial);
	if (!waiting)
		g_source_set_ready_time(exporter->flush, -1);
	else if (g_source_get_ready_time(exporter->flush) < 0)
		g_source_set_ready_time(exporter->flush, g_get_monotonic_time() + FLUSH_WAIT);
}

static void
on_drained(void *data)
{
	flush(data, false);
}

static void
on_present(struct flow *flow, size_t n, void *data)
{
	struct exporter *exporter = data;

	for (size_t at = 0; at < n; at += FLOWS_BATCH) {
		flows_present(exporter->flows, &flow[at], MIN(n - at, FLOWS_BATCH), now_by(CLOCK_BOOTTIME), &exporter->tally);
		if (exporter->tally.n)
			tell_more(exporter, &exporter->tally);
	}
	flush(exporter, false);
}

/* Some at a time: when much was lost they may be many, and events must not wait for that. */
static gboolean
on_gone(gpointer data)
{
	struct exporter *exporter = data;

	flows_gone(exporter->flows, &exporter->gone_at, exporter->gone_flow, &exporter->tally);
	tell_more(exporter, &exporter->tally);
	flush(exporter, false);
	if (exporter->tally.n)
		return G_SOURCE_CONTINUE;
	exporter->gone_timer = 0;
	return G_SOURCE_REMOVE;
}

static void
on_walked(bool complete, bool certain, void *data)
{
	struct exporter *exporter = data;

	exporter->gone_at = 0;
	if (flows_walked(exporter->flows, complete, certain) && !exporter->gone_timer)
		exporter->gone_timer = g_idle_add_full(G_PRIORITY_DEFAULT, on_gone, exporter, NULL);
}

static gboolean
on_flush(gpointer data)
{
	flush(data, true);
	return G_SOURCE_CONTINUE;
}

static gboolean
on_archive_moved(gpointer data)
{
	struct exporter *exporter = data;

	g_source_set_ready_time(exporter->keep_moved, -1);
	feed_archive(exporter);
	return G_SOURCE_CONTINUE;
}

static gboolean
ready_dispatch(GSource *source, GSourceFunc callback, gpointer data)
{
	(void)source;
	return callback(data);
}

/* Dispatched when its ready time has come. */
static GSource *
ready_new(struct exporter *exporter, GSourceFunc callback)
{
	static GSourceFuncs functions = { .dispatch = ready_dispatch };
	GSource *source = g_source_new(&functions, sizeof *source);

	g_source_set_callback(source, callback, exporter, NULL);
	g_source_attach(source, NULL);
	return source;
}

static void
add_interface(uint32_t index, const char *name, void *data)
{
	GArray *interfaces = data;
	struct interface_name one = { .index = index };

	plain_copy(one.name, sizeof one.name, name);
	g_array_append_val(interfaces, one);
}

static void
read_interfaces(struct exporter *exporter)
{
	g_array_set_size(exporter->interfaces, 0);
	links_each(exporter->links, add_interface, exporter->interfaces);
	exporter->identity.interface = (const struct interface_name *)(void *)exporter->interfaces->data;
	exporter->identity.n_interfaces = exporter->interfaces->len;
	if (exporter->keep)
		keep_refresh(exporter->keep);
}

/* Links come and go in swarms: what they are called is told once for all of them. */
static gboolean
on_links_settled(gpointer data)
{
	struct exporter *exporter = data;

	exporter->links_timer = 0;
	read_interfaces(exporter);
	for (guint i = 0; i < exporter->outputs->len; i++)
		output_refresh(exporter->outputs->pdata[i]);
	for (guint i = 0; i < exporter->viewers->len; i++)
		output_refresh(exporter->viewers->pdata[i]);
	return G_SOURCE_REMOVE;
}

static gboolean
on_links(gint fd, GIOCondition condition, gpointer data)
{
	struct exporter *exporter = data;
	(void)fd, (void)condition;

	links_changed(exporter->links);
	who_host_changed(exporter->who);
	if (!exporter->links_timer)
		exporter->links_timer = g_timeout_add(LINKS_SETTLE, on_links_settled, exporter);
	return G_SOURCE_CONTINUE;
}

static gboolean
on_routes(gint fd, GIOCondition condition, gpointer data)
{
	struct exporter *exporter = data;
	(void)fd, (void)condition;

	routes_changed(exporter->routes);
	who_host_changed(exporter->who);
	return G_SOURCE_CONTINUE;
}

/* Viewers. */

/* A viewer is not closed from inside its own call-back. */
static gboolean
on_close_viewer(gpointer data)
{
	output_close(data, 0);
	return G_SOURCE_REMOVE;
}

static void
on_viewer_gone(struct output *viewer, void *data)
{
	struct exporter *exporter = data;

	g_ptr_array_remove_fast(exporter->viewers, viewer);
	g_idle_add(on_close_viewer, viewer);
}

/* Whoever may connect must not be able to fill the log. */
static void
refuse_viewer(struct exporter *exporter, const char *reason)
{
	const int64_t now = g_get_monotonic_time();

	if (exporter->refusal_said && now - exporter->refusal_said < REFUSAL_QUIET * G_USEC_PER_SEC)
		return;
	g_warning("live-socket: a viewer is refused: %s", reason);
	exporter->refusal_said = now;
}

static void
on_viewer(int fd, void *data)
{
	struct exporter *exporter = data;
	g_autoptr(GError) error = NULL;

	if (exporter->viewers->len >= VIEWERS_MOST) {
		refuse_viewer(exporter, "as many as may be are there");
		close(fd);
		return;
	}
	struct output *viewer = output_adopt(fd, &exporter->identity, on_viewer_gone, exporter, &error);
	if (viewer)
		g_ptr_array_add(exporter->viewers, viewer);
	else
		refuse_viewer(exporter, error->message);
}

/* Status. */

static void
fill_archive(const struct exporter *exporter, struct status *status)
{
	const struct config_archive *config = &exporter->config->archive;
	const bool wanted = config->enabled && config->path;

	if (exporter->keep)
		keep_status(exporter->keep, &status->archive);
	status->archive_state = !wanted ? "off" : !exporter->keep ? "not-open" : status->archive.failing ? "failing"
	                        : "keeping";
	status->archive_path = wanted ? config->path : "";
	status->archive_trouble = exporter->keep_trouble ? exporter->keep_trouble : status->archive.error;
	status->archive_file = status->archive.open;
	status->archive_head = status->archive.head;
	status->archive_behind = exporter->keep ? keep_behind(exporter->keep, journal_head(exporter->journal)) : 0;
}

static void
fill_status(const struct exporter *exporter, struct status *status)
{
	static const char *const deliveries[] = {
		[SOURCE_PLAIN] = "plain", [SOURCE_RELIABLE] = "reliable", [SOURCE_FUSE_BLOWN] = "fuse-blown",
	};
	const struct flows_fill fill = flows_fill(exporter->flows);
	const struct outlook *outlook = who_outlook(exporter->who);
	const char *sentence = outlook_sentence(outlook);

	*status = (struct status){
		.version = PEERFLOW_VERSION,
		.configuration = exporter->config_path,
		.pid = getpid(),
		.started = exporter->started,
		.uptime = (g_get_monotonic_time() - exporter->started_at) / G_USEC_PER_SEC,
		.domain = exporter->identity.domain,
		.names = who_names(exporter->who)->count,
		.mesh = sentence ? mode_word(outlook_mode(outlook)) : "",
		.mesh_sentence = sentence ? sentence : "",
		.viewers = exporter->viewers->len,
		.exported = exporter->exported,
		.source = *source_counters(exporter->source),
		.flows = *flows_counters(exporter->flows),
		.long_flows = fill.long_flows,
		.max_long_flows = fill.limit,
		.pool_octets = fill.octets,
		.n_collectors = exporter->outputs->len,
		.ledger = exporter->ledger,
	};
	fill_archive(exporter, status);
	source_status(exporter->source, &status->kernel);
	status->delivery = deliveries[status->kernel.delivery];
}

/* What a source says of itself is good until the next one is asked: the text is copied. */
static void
add_source(const struct sources_state *state, void *data)
{
	const struct status_source source = {
		.name = state->name,
		.state = sources_condition_word(state->condition),
		.text = g_strdup(state->text),
		.since = state->since,
		.answered = state->answered,
		.answers = state->answers,
		.failures = state->failures,
		.entries = state->entries,
	};

	g_array_append_val((GArray *)data, source);
}

static void
clear_source(void *source)
{
	g_free((char *)((struct status_source *)source)->text);
}

static void
on_status(int fd, void *data)
{
	struct exporter *exporter = data;
	const guint n = exporter->outputs->len;
	g_autofree struct status_collector *collectors = g_new0(struct status_collector, n);
	g_autofree struct link_status *links = g_new0(struct link_status, n);
	g_autoptr(GArray) sources = g_array_new(false, true, sizeof(struct status_source));
	struct status status;

	g_array_set_clear_func(sources, clear_source);
	sources_each_state(who_sources(exporter->who), add_source, sources);
	fill_status(exporter, &status);
	status.names_from = (const struct status_source *)(void *)sources->data;
	status.n_names_from = sources->len;
	for (guint i = 0; i < n; i++)
		output_status(exporter->outputs->pdata[i], &links[i], &collectors[i]);
	status.collector = collectors;
	g_autofree char *text = status_json(&status);
	status_send(fd, text);
}

/* What is lost. */

static void
on_gap(const struct gap *gap, void *data)
{
	struct exporter *exporter = data;

	ledger_add(exporter->ledger, gap);
}

static void
note_alive(struct exporter *exporter)
{
	if (exporter->journal_memory)
		exporter->journal_memory->seen = now_by(CLOCK_REALTIME);
}

/* The archive */

static bool
wants_archive(const struct config *config)
{
	return config->archive.enabled && config->archive.path;
}

static bool
open_keep_memory(struct exporter *exporter, GError **error)
{
	const char *directory = exporter->config->runtime_directory;
	bool fresh;

	if (directory && !exporter->keep_memory)
		exporter->keep_memory = region_open(directory, "kept", sizeof *exporter->keep_memory, KEEP_LAYOUT, &fresh,
		                                    error);
	return !directory || exporter->keep_memory;
}

/* The next archive does not go on where one ended that was there before it was switched off. */
static void
forget_archive(struct exporter *exporter)
{
	const char *directory = exporter->config->runtime_directory;
	g_autofree char *path = directory ? g_build_filename(directory, "kept", NULL) : NULL;

	if (exporter->keep_memory)
		keep_forget(exporter->keep_memory);
	else if (path)
		(void)!unlink(path);
}

/* Without the archive the rest is worth having, so a failure is said, in the status too, and tried again. */
static void
open_archive(struct exporter *exporter)
{
	g_autoptr(GError) error = NULL;

	if (!wants_archive(exporter->config))
		forget_archive(exporter);
	if (exporter->keep || !wants_archive(exporter->config))
		return;
	exporter->keep_tried = g_get_monotonic_time();
	if (open_keep_memory(exporter, &error))
		exporter->keep = keep_open(&exporter->config->archive, &exporter->identity, exporter->keep_memory,
		                           journal_head(exporter->journal), exporter->keep_moved, &error);
	if (error && g_strcmp0(error->message, exporter->keep_trouble) != 0)
		g_warning("%s; flows are not kept", error->message);
	else if (exporter->keep_trouble && exporter->keep)
		g_message("[archive]: flows are kept again in %s", exporter->config->archive.path);
	g_free(exporter->keep_trouble);
	exporter->keep_trouble = error ? g_strdup(error->message) : NULL;
}

static void
reopen_archive(struct exporter *exporter)
{
	const struct config_archive *config = &exporter->config->archive;

	if (exporter->keep && wants_archive(exporter->config) && keep_same(exporter->keep, config, &exporter->identity))
		return;
	if (exporter->keep)
		flush_archive(exporter, true);
	keep_close(g_steal_pointer(&exporter->keep));
	g_clear_pointer(&exporter->keep_trouble, g_free);
	open_archive(exporter);
}

static void
tick_archive(struct exporter *exporter)
{
	const int64_t again = exporter->keep_tried + ARCHIVE_RETRY * G_USEC_PER_SEC;

	if (!exporter->keep && wants_archive(exporter->config) && g_get_monotonic_time() >= again)
		open_archive(exporter);
	feed_archive(exporter);
	if (exporter->keep)
		keep_tick(exporter->keep, now_by(CLOCK_REALTIME), journal_head(exporter->journal));
}

static gboolean
on_second(gpointer data)
{
	struct exporter *exporter = data;

	for (guint i = 0; i < exporter->outputs->len; i++)
		output_tick(exporter->outputs->pdata[i]);
	for (guint i = 0; i < exporter->viewers->len; i++)
		output_tick(exporter->viewers->pdata[i]);
	tick_archive(exporter);
	ledger_tick(exporter->ledger);
	note_alive(exporter);
	return G_SOURCE_CONTINUE;
}

static void
retire(struct exporter *exporter, struct output *output, unsigned patience)
{
	output_stop(output, patience);
	g_ptr_array_add(exporter->gone, output);
	if (exporter->gone->len > GONE_MOST)
		g_ptr_array_remove_index(exporter->gone, 0);
}

static void
free_gone(void *output)
{
	output_close(output, 0);
}

/* Memory that survives. */

static void *
open_region(const char *name, size_t octets, uint32_t layout, void *data, GError **error)
{
	struct exporter *exporter = data;
	bool fresh;
	void *region = region_open(exporter->config->runtime_directory, name, octets, layout, &fresh, error);

	if (region)
		g_ptr_array_add(exporter->regions, region);
	return region;
}

/* Configuration. */

static void
fill_source_options(struct source_options *options, const struct config *config)
{
	struct source_prefix *ignore = g_new0(struct source_prefix, config->n_ignore);
	struct source_mark *mark = g_new0(struct source_mark, config->n_mark);

	for (size_t i = 0; i < config->n_ignore; i++)
		ignore[i] = (struct source_prefix){ config->ignore[i].address, config->ignore[i].family,
		                                    config->ignore[i].length };
	for (size_t i = 0; i < config->n_mark; i++)
		mark[i] = (struct source_mark){ config->mark[i].value, config->mark[i].mask };
	*options = (struct source_options){
		.filter = { ignore, config->n_ignore, mark, config->n_mark, config->protocol, config->n_protocol },
		.receive_buffer = config->receive_buffer,
		.active_timeout = config->active_timeout,
		.reap_share = config->reap_share,
		.stored_fd = -1,
		.reliable = config->reliable,
		.fuse = config->fuse,
		.labels = config->labels,
	};
}

static void
clear_source_options(struct source_options *options)
{
	g_free((void *)options->filter.ignore);
	g_free((void *)options->filter.mark);
}

/* As configured, as the mesh calls this host, or as it calls itself. */
static void
name_domain(struct exporter *exporter)
{
	const char *own = who_own_name(exporter->who), *configured = exporter->config->domain_name;

	plain_copy(exporter->identity.domain_name, sizeof exporter->identity.domain_name,
	           configured ? configured : own ? own : g_get_host_name());
}

static void
on_names(void *data)
{
	struct exporter *exporter = data;

	exporter->identity.names = who_names(exporter->who);
	exporter->identity.names_version++;
	name_domain(exporter);
}

static void
set_identity(struct exporter *exporter, const struct config *config)
{
	exporter->identity.domain = config->has_domain_id ? config->domain_id : domain_of_host(config->interface);
	if (!config->has_domain_id && !if_nametoindex(config->interface))
		g_message("there is no interface %s: the Observation Domain id comes from another one; "
		          "observation-domain-id in [exporter] settles it", config->interface);
	name_domain(exporter);
	exporter->identity.enterprise = config->enterprise_number;
	exporter->identity.template_directory = config->template_directory;
	if (config->enterprise_number == DOCUMENTATION_ENTERPRISE)
		g_warning("enterprise-number 32473 is reserved for documentation: do not use it outside of a laboratory");
}

/* Everything about a configuration that can be wrong without trying it. peers is what its peers-file says, or NULL. */
static bool
check_config(const struct config *config, FILE *out, struct roster **peers, GError **error)
{
	const struct output_identity identity = {
		.domain = 1, .enterprise = config->enterprise_number, .template_directory = config->template_directory,
	};

	if (config->peers_file && !(*peers = peers_load(config->peers_file, error)))
		return false;
	for (size_t i = 0; i < config->n_collectors; i++)
		if (!output_check(&config->collector[i], &identity, out, error))
			return false;
	if (config->archive.enabled && config->archive.path && !keep_check(&config->archive, &identity, out, error))
		return false;
	return !config->live_socket || output_check_viewer(&identity, error);
}

bool
exporter_check(const char *config_path, FILE *out, GError **error)
{
	g_autoptr(config_t) config = config_load(config_path, error);
	g_autoptr(roster_t) peers = NULL;

	return config && check_config(config, out, &peers, error);
}

/* The running output that serves this collector too, taken out of the old ones; or a new one. */
static struct output *
keep_or_open(struct exporter *exporter, GPtrArray *old, const struct config_collector *collector, GError **error)
{
	for (guint i = 0; i < old->len; i++)
		if (output_keep(old->pdata[i], collector, &exporter->identity)) {
			journal_receipts(exporter->journal, collector->name);
			return g_ptr_array_steal_index_fast(old, i);
		}
	struct receipts *receipts = journal_receipts(exporter->journal, collector->name);
	if (!receipts)
		g_warning("collector %s: of more than %d collectors a crash may lose or repeat what is on its way",
		          collector->name, JOURNAL_COLLECTORS);
	return output_new(collector, &exporter->identity, receipts, error);
}

static bool
has_output(const struct exporter *exporter, const char *name)
{
	for (guint i = 0; i < exporter->outputs->len; i++)
		if (strcmp(output_name(exporter->outputs->pdata[i]), name) == 0)
			return true;
	return false;
}

/* An output that cannot be opened is left out and said: the others are worth having. */
static void
open_outputs(struct exporter *exporter)
{
	g_autoptr(GPtrArray) old = g_steal_pointer(&exporter->outputs);

	exporter->outputs = g_ptr_array_new();
	for (size_t i = 0; i < exporter->config->n_collectors; i++) {
		g_autoptr(GError) error = NULL;
		struct output *output = keep_or_open(exporter, old, &exporter->config->collector[i], &error);
		if (output)
			g_ptr_array_add(exporter->outputs, output);
		else
			g_warning("%s", error->message);
	}
	for (guint i = 0; i < old->len; i++) {
		/* Another one of the same name goes on where this one ends. */
		if (!has_output(exporter, output_name(old->pdata[i])))
			feed_until(exporter, old->pdata[i], journal_head(exporter->journal));
		retire(exporter, old->pdata[i], RELOAD_PATIENCE);
	}
	journal_forget_others(exporter->journal);
}

static bool
open_live(struct exporter *exporter, GError **error)
{
	if (!exporter->config->live_socket)
		return true;
	exporter->live = live_open("live-socket", exporter->config->live_socket, on_viewer, exporter, error);
	return exporter->live != NULL;
}

static bool
open_status(struct exporter *exporter, GError **error)
{
	if (!exporter->config->status_socket)
		return true;
	exporter->status = live_open("status-socket", exporter->config->status_socket, on_status, exporter, error);
	return exporter->status != NULL;
}

/* The local sockets are the one thing that is opened anew without need, and a viewer notices nothing. */
static void
reopen_sockets(struct exporter *exporter)
{
	g_autoptr(GError) no_live = NULL, no_status = NULL;

	live_close(g_steal_pointer(&exporter->live));
	live_close(g_steal_pointer(&exporter->status));
	if (!open_live(exporter, &no_live))
		g_warning("%s", no_live->message);
	if (!open_status(exporter, &no_status))
		g_warning("%s", no_status->message);
}

static bool
passes(const struct flow *flow, void *filter)
{
	return filter_passes(filter, flow);
}

/* What another filter leaves out the source will show no more: that must not look as if it were lost. */
static void
sift_flows(struct exporter *exporter, struct source_filter *filter)
{
	flows_sift(exporter->flows, passes, filter);
}

static bool
reconfigure_source(struct exporter *exporter, const struct config *config, GError **error)
{
	struct source_options options;

	fill_source_options(&options, config);
	bool good = source_reconfigure(exporter->source, &options, error);
	if (good)
		sift_flows(exporter, &options.filter);
	clear_source_options(&options);
	return good;
}

/* May it take up room? Only its copy is enriched. */
static bool
is_wanted(const struct flow *flow, void *data)
{
	struct exporter *exporter = data;
	struct flow copy = *flow;

	return complete(exporter, &copy);
}

static struct flows_options
flows_options(struct exporter *exporter, const struct config *config)
{
	uint32_t table = 0;

	settings_read("max", &table);
	return (struct flows_options){ table, config->max_long_flows, config->active_timeout, config->count_from_start,
	                               config->runtime_directory ? open_region : NULL, is_wanted, on_gap, exporter };
}

static void
reconfigure_flows(struct exporter *exporter, const struct config *config)
{
	const struct flows_options options = flows_options(exporter, config);

	flows_configure(exporter->flows, &options);
}

bool
exporter_reload(struct exporter *exporter, GError **error)
{
	g_autoptr(config_t) config = config_load(exporter->config_path, error);
	g_autoptr(roster_t) peers = NULL;

	if (!config || !check_config(config, NULL, &peers, error))
		return false;
	if (!reconfigure_source(exporter, config, error))
		return false;
	reconfigure_flows(exporter, config);
	flush(exporter, true);
	config_t *old = exporter->config;
	exporter->config = g_steal_pointer(&config);
	config = old;
	who_reload(exporter->who, exporter->config, g_steal_pointer(&peers));
	set_identity(exporter, exporter->config);
	read_interfaces(exporter);
	open_outputs(exporter);
	reopen_archive(exporter);
	reopen_sockets(exporter);
	return true;
}

/* Opening and closing. */

static bool
open_host(struct exporter *exporter, GError **error)
{
	exporter->links = links_open(error);
	exporter->routes = exporter->links ? routes_open(error) : NULL;
	if (!exporter->routes)
		return false;
	exporter->links_watch = g_unix_fd_add(links_fd(exporter->links), G_IO_IN, on_links, exporter);
	exporter->routes_watch = g_unix_fd_add(routes_fd(exporter->routes), G_IO_IN, on_routes, exporter);
	read_interfaces(exporter);
	return true;
}

static bool
open_ledger(struct exporter *exporter, GError **error)
{
	const char *directory = exporter->config->runtime_directory;
	bool fresh;

	if (directory)
		exporter->ledger_memory = region_open(directory, "ledger", sizeof *exporter->ledger_memory, LEDGER_LAYOUT, &fresh,
		                                      error);
	if (directory && !exporter->ledger_memory)
		return false;
	exporter->ledger = ledger_new(exporter->ledger_memory, NULL);
	exporter->identity.ledger = exporter->ledger;
	return true;
}

static bool
open_flows(struct exporter *exporter, GError **error)
{
	const struct flows_options options = flows_options(exporter, exporter->config);

	exporter->flows = flows_open(&options, now_by(CLOCK_REALTIME), error);
	if (!exporter->flows)
		return false;
	journal_redo(exporter->journal, redo, exporter);
	return true;
}

static bool
open_journal(struct exporter *exporter, GError **error)
{
	const char *directory = exporter->config->runtime_directory;
	bool fresh;

	if (directory)
		exporter->journal_memory = region_open(directory, "journal", sizeof *exporter->journal_memory, JOURNAL_LAYOUT,
		                                       &fresh, error);
	if (directory && !exporter->journal_memory)
		return false;
	if (exporter->journal_memory && !region_pin(exporter->journal_memory))
		g_message("%s/journal may be swapped out, for RLIMIT_MEMLOCK is too low", directory);
	exporter->journal = journal_open(exporter->journal_memory);
	return true;
}

static bool
all_are_open(const struct exporter *exporter)
{
	for (guint i = 0; i < exporter->outputs->len; i++)
		if (!output_is_open(exporter->outputs->pdata[i]))
			return false;
	return true;
}

static gboolean
on_patience_over(gpointer data)
{
	*(bool *)data = true;
	return G_SOURCE_CONTINUE;
}

/* More flows may wait for us than the journal keeps for a collector that has no session yet. */
static void
await_outputs(struct exporter *exporter)
{
	bool over = exporter->stored_fd < 0;
	const guint timer = g_timeout_add(OPEN_PATIENCE, on_patience_over, &over);

	while (!over && !all_are_open(exporter))
		g_main_context_iteration(NULL, true);
	g_source_remove(timer);
}

/* The last process of this boot and network namespace left its memory, but nobody its socket. */
static void
tell_away(struct exporter *exporter)
{
	struct journal_memory *memory = exporter->journal_memory;
	const uint64_t now = now_by(CLOCK_REALTIME);
	const struct gap gap = { .kind = GAP_AWAY, .first = memory ? MIN(memory->seen, now) : 0, .last = now, .unknown = true };

	if (gap.first && exporter->stored_fd < 0)
		ledger_add(exporter->ledger, &gap);
}

/* What comes while nobody is here then waits in it. */
static void
store_socket(struct exporter *exporter, bool already)
{
	if (!already)
		notify_unstore(SOCKET_NAME);
	source_note_stored(exporter->source, already || notify_store(SOCKET_NAME, source_fd(exporter->source)));
}

static bool
open_source(struct exporter *exporter, GError **error)
{
	static const struct source_handler handler = { on_ended, on_drained, on_gap, on_present, on_walked };
	struct source_options options;

	fill_source_options(&options, exporter->config);
	tell_away(exporter);
	sift_flows(exporter, &options.filter);
	options.memory = journal_events(exporter->journal);
	options.replay = journal_replay(exporter->journal);
	options.stored_fd = exporter->stored_fd;
	exporter->stored_fd = -1;
	exporter->source = source_open(&options, &handler, exporter, error);
	clear_source_options(&options);
	if (exporter->source)
		store_socket(exporter, options.stored_fd >= 0);
	return exporter->source != NULL;
}

static bool
open_stages(struct exporter *exporter, GError **error)
{
	g_autoptr(roster_t) peers = NULL;

	exporter->config = config_load(exporter->config_path, error);
	if (!exporter->config || !check_config(exporter->config, NULL, &peers, error))
		return false;
	exporter->who = who_open(exporter->config, g_steal_pointer(&peers), on_names, exporter);
	exporter->identity.names = who_names(exporter->who);
	set_identity(exporter, exporter->config);
	if (!open_ledger(exporter, error) || !open_journal(exporter, error))
		return false;
	if (!open_host(exporter, error) || !open_live(exporter, error))
		return false;
	if (!open_flows(exporter, error))
		return false;
	open_outputs(exporter);
	open_archive(exporter);
	await_outputs(exporter);
	return open_source(exporter, error) && open_status(exporter, error);
}

struct exporter *
exporter_open(const char *config_path, GError **error)
{
	struct exporter *exporter = g_new0(struct exporter, 1);

	exporter->config_path = g_strdup(config_path);
	exporter->stored_fd = notify_take(SOCKET_NAME, source_fits);
	exporter->started = g_get_real_time() / 1000;
	exporter->started_at = g_get_monotonic_time();
	exporter->interfaces = g_array_new(false, false, sizeof(struct interface_name));
	exporter->outputs = g_ptr_array_new();
	exporter->viewers = g_ptr_array_new();
	exporter->gone = g_ptr_array_new_with_free_func(free_gone);
	exporter->regions = g_ptr_array_new_with_free_func(region_close);
	exporter->flush = exporter->identity.opened = ready_new(exporter, on_flush);
	exporter->keep_moved = ready_new(exporter, on_archive_moved);
	if (!open_stages(exporter, error)) {
		exporter_close(exporter);
		return NULL;
	}
	note_alive(exporter);
	exporter->second = g_timeout_add_seconds(1, on_second, exporter);
	g_message("%zu collectors, Observation Domain %" PRIu32, exporter->config->n_collectors,
	          exporter->identity.domain);
	return exporter;
}

/* All viewers together get what one collector gets, for some may be stopped and never read on. */
static void
close_viewers(struct exporter *exporter)
{
	const int64_t deadline = g_get_monotonic_time() + CLOSE_PATIENCE * INT64_C(1000);

	for (guint i = 0; i < exporter->viewers->len; i++) {
		const int64_t left = (deadline - g_get_monotonic_time()) / 1000;
		output_close(exporter->viewers->pdata[i], MAX(left, 0));
	}
}

/* What it cannot send now the next process will, if it finds the journal. */
static void
close_output(struct exporter *exporter, struct output *output)
{
	if (journal_survives(exporter->journal))
		output_leave(output, journal_first(exporter->journal));
	else
		feed_until(exporter, output, journal_head(exporter->journal));
	retire(exporter, output, CLOSE_PATIENCE);
}

static void
close_outputs(struct exporter *exporter)
{
	if (exporter->journal)
		flush(exporter, true);
	for (guint i = 0; i < exporter->outputs->len; i++)
		close_output(exporter, exporter->outputs->pdata[i]);
	close_viewers(exporter);
	g_ptr_array_free(exporter->outputs, true);
	g_ptr_array_free(exporter->viewers, true);
	g_ptr_array_free(exporter->gone, true);
}

static void
remove_watch(guint watch)
{
	if (watch)
		g_source_remove(watch);
}

void
exporter_close(struct exporter *exporter)
{
	remove_watch(exporter->second);
	remove_watch(exporter->gone_timer);
	source_close(exporter->source);
	if (exporter->stored_fd >= 0)
		close(exporter->stored_fd);
	if (exporter->source)
		note_alive(exporter);
	close_outputs(exporter);
	keep_close(exporter->keep);
	live_close(exporter->live);
	live_close(exporter->status);
	remove_watch(exporter->links_watch);
	remove_watch(exporter->links_timer);
	remove_watch(exporter->routes_watch);
	routes_close(exporter->routes);
	links_close(exporter->links);
	who_close(exporter->who);
	g_source_destroy(exporter->flush);
	g_source_unref(exporter->flush);
	g_source_destroy(exporter->keep_moved);
	g_source_unref(exporter->keep_moved);
	journal_close(exporter->journal);
	region_close(exporter->journal_memory);
	ledger_free(exporter->ledger);
	flows_close(exporter->flows);
	g_ptr_array_free(exporter->regions, true);
	region_close(exporter->ledger_memory);
	region_close(exporter->keep_memory);
	g_array_free(exporter->interfaces, true);
	config_free(exporter->config);
	g_free(exporter->config_path);
	g_free(exporter->keep_trouble);
	g_free(exporter);
}
