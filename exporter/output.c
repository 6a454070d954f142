/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "output.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "encode/encoder.h"
#include "error.h"
#include "ledger.h"
#include "transport/link.h"
#include "transport/receipts.h"

enum {
	PAYLOAD_UNKNOWN = 1232,         /* fits a tunnel of the least IPv6 MTU, headers off */
	PAYLOAD_MOST = 16384,           /* what an encoder builds */
	QUEUE_VIEWER = 4 << 20,
	REFRESH_VIEWER = 60,
	WHO_A_SECOND = 256,             /* rows: some 30 kB, and 100 000 peers in six and a half minutes */
};

struct output {
	const struct config_collector *collector;   /* NULL: a viewer */
	const struct output_identity *identity;
	struct output_identity before;              /* copied from identity when the session's encoder was made */
	struct template_file *file;
	struct encoder *encoder;
	struct link *link;
	guint refresh_timer;
	void (*gone)(struct output *, void *);
	void *gone_data;
	struct receipts *receipts;      /* NULL: nobody goes on after us */
	uint64_t cursor;                /* number of the last flow the encoder took */
	uint64_t left_from;             /* see output_leave; zero: not */

	struct link_counters told;      /* what the ledger knows of */
	uint64_t told_at;               /* ms since 1970 */
	uint64_t refused;               /* when last looked at */
	struct drops sent[2];           /* a second before that, and two */
	struct drops suspected;         /* of what was sent, up to where the ledger holds it for lost, perhaps */
	struct gap metering, exporting; /* totals as last told to the collector */
	uint64_t names_version;         /* of the rows of names that are being told */
	uint32_t row;                   /* the next one */
	uint32_t rows_left;             /* to be told, from there around; may be more than there are */
};

/* Which gaps are told by which record. Those of others are not this collector's business. */
enum {
	EXPORTING = 1 << GAP_QUEUE | 1 << GAP_UNREACHABLE | 1 << GAP_JOURNAL,
	METERING = ((1 << GAP_KINDS) - 1) & ~EXPORTING & ~(1 << GAP_ARCHIVE),
	NEVER_SENT = 1 << GAP_OVERRUN | 1 << GAP_FUSE | 1 << GAP_AWAY,   /* of the rest there is a record, if not all of it */
};

static uint64_t
milliseconds(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return now.tv_sec * 1000ull + now.tv_nsec / 1000000;
}

static struct template_file *
load_template(const char *name, const struct output_identity *identity, GError **error)
{
	g_autofree char *path = strchr(name, '/') ? g_strdup(name)
	                        : g_strdup_printf("%s/%s.template", identity->template_directory, name);

	return template_file_load(path, error);
}

/* The payload an IP packet of mtu octets leaves, over the larger of the two headers. */
static unsigned
payload_of(unsigned mtu)
{
	return mtu ? MIN(mtu - 48, PAYLOAD_MOST) : PAYLOAD_UNKNOWN;
}

static bool
load(struct output *output, GError **error)
{
	const struct config_collector *collector = output->collector;
	g_autoptr(GError) reason = NULL;

	output->file = load_template(collector->template_name, output->identity, &reason);
	if (output->file) {
		const enum wire_protocol protocol = collector->protocol == CONFIG_IPFIX ? WIRE_IPFIX : WIRE_NETFLOW9;
		const struct encoder_options options = {
			.records = collector->records == CONFIG_BIFLOW ? TRAIT_BIFLOW : TRAIT_UNIFLOW,
			.reply = collector->reply_tuple == CONFIG_WIRE ? REPLY_WIRE : REPLY_MIRROR,
			.domain = output->identity->domain,
			.enterprise = output->identity->enterprise,
			.message_size = payload_of(collector->mtu),
			.boot = milliseconds(CLOCK_REALTIME) - milliseconds(CLOCK_BOOTTIME),
		};
		if (output->file->protocol != protocol)
			g_set_error(&reason, PEERFLOW_ERROR, EX_CONFIG, "%s is a template for %s, and protocol = %s",
			            output->file->path, output->file->protocol == WIRE_IPFIX ? "ipfix" : "netflow9",
			            protocol == WIRE_IPFIX ? "ipfix" : "netflow9");
		else
			output->encoder = encoder_new(output->file, &options, &reason);
	}
	if (!output->encoder)
		g_propagate_prefixed_error(error, g_steal_pointer(&reason), "collector %s: ", collector->name);
	return output->encoder != NULL;
}

static void
send_messages(struct output *output, bool partial)
{
	const struct message *messages;
	size_t n = encoder_take(output->encoder, milliseconds(CLOCK_REALTIME), partial, &messages);

	if (n)
		link_send(output->link, messages, n);
}

static void
tell(struct output *output, enum gap_kind kind, const struct drops *drops, bool unknown)
{
	const uint64_t now = milliseconds(CLOCK_REALTIME);
	struct gap gap = {
		.kind = kind,
		.first = MIN(output->told_at, now),
		.last = now,
		.flows = drops->flow_records,
		.packets = drops->packets,
		.octets = drops->octets,
		.unknown = unknown,
	};

	gap_set_collector(&gap, output->collector->name);
	ledger_add(output->identity->ledger, &gap);
}

bool
output_flush(struct output *output, bool partial)
{
	send_messages(output, partial);
	return encoder_waiting(output->encoder);
}

bool
output_is_open(const struct output *output)
{
	return link_is_open(output->link);
}

bool
output_follows(const struct output *output, uint64_t number)
{
	return !output->collector || (output->cursor + 1 == number && link_is_open(output->link));
}

/* Forgets what the encoder holds: it will come again. */
static void
rewind_cursor(struct output *output)
{
	encoder_restart(output->encoder);
	output->cursor = link_mark(output->link);
	encoder_mark(output->encoder, output->cursor);
}

/* A flow is a record at least. */
static void
tell_missed(struct output *output, uint64_t last, uint64_t first)
{
	tell(output, GAP_JOURNAL, &(struct drops){ .flow_records = first - 1 - last }, true);
}

uint64_t
output_next(struct output *output, uint64_t first)
{
	if (!link_is_settled(output->link))
		return 0;
	if (!link_is_open(output->link) && output->cursor != link_mark(output->link))
		rewind_cursor(output);
	if (output->cursor + 1 < first) {
		tell_missed(output, output->cursor, first);
		output_skip(output, first - 1);
	}
	return output->cursor + 1;
}

void
output_skip(struct output *output, uint64_t number)
{
	output->cursor = number;
	encoder_mark(output->encoder, number);
}

void
output_flow(struct output *output, const struct flow *flow, const struct names *names, uint64_t number)
{
	if (!encoder_add_flow(output->encoder, flow, names)) {
		send_messages(output, false);
		encoder_add_flow(output->encoder, flow, names);
	}
	output_skip(output, number);
}

static void
add_templates(struct output *output)
{
	if (encoder_add_templates(output->encoder))
		return;
	send_messages(output, true);
	encoder_add_templates(output->encoder);
}

static void
add_words(struct output *output)
{
	add_templates(output);
	if (encoder_add_types(output->encoder))
		return;
	send_messages(output, true);
	encoder_add_types(output->encoder);
}

/* What the collector is told of it */

static bool
metering_total(const struct output *output, struct gap *total)
{
	struct gap never_sent;

	if (!ledger_sum(output->identity->ledger, METERING, "", total))
		return false;
	ledger_sum(output->identity->ledger, NEVER_SENT, "", &never_sent);
	total->flows = never_sent.flows;
	return true;
}

static bool
exporting_total(const struct output *output, struct gap *total)
{
	return output->collector && ledger_sum(output->identity->ledger, EXPORTING, output->collector->name, total);
}

static void
add_total(struct output *output, bool (*add)(struct encoder *, const struct gap *), const struct gap *total)
{
	if (add(output->encoder, total))
		return;
	send_messages(output, true);
	add(output->encoder, total);
}

static void
add_kind(const struct gap *total, void *data)
{
	struct output *output = data;
	struct gap own = { 0 };

	gap_set_collector(&own, output->collector ? output->collector->name : "");
	if (!total->collector[0] || strcmp(total->collector, own.collector) == 0)
		add_total(output, encoder_add_gap, total);
}

static void
add_gaps(struct output *output)
{
	if (!output->identity->ledger)
		return;
	if (metering_total(output, &output->metering))
		add_total(output, encoder_add_metering_gaps, &output->metering);
	if (exporting_total(output, &output->exporting))
		add_total(output, encoder_add_exporting_gaps, &output->exporting);
	ledger_totals(output->identity->ledger, add_kind, output);
}

static bool
is_news(const struct gap *now, const struct gap *told)
{
	return now->first != told->first || now->last != told->last || now->flows != told->flows
	       || now->unknown != told->unknown;
}

/* Does the collector not know all of it yet? */
static bool
has_news(const struct output *output)
{
	struct gap metering, exporting;
	const bool news = metering_total(output, &metering) && is_news(&metering, &output->metering);

	return news || (exporting_total(output, &exporting) && is_news(&exporting, &output->exporting));
}

static void
add_domain_name(struct output *output)
{
	if (encoder_add_domain_name(output->encoder, output->identity->domain_name))
		return;
	send_messages(output, true);
	encoder_add_domain_name(output->encoder, output->identity->domain_name);
}

/* Whom prefixes stand for. A viewer is told with each flow and needs no table. */

static void
tell_all_names(struct output *output)
{
	output->rows_left = UINT32_MAX;
}

static void
add_row(struct output *output, const struct names *names, const struct names_row *row)
{
	if (encoder_add_who(output->encoder, row, names))
		return;
	send_messages(output, false);
	encoder_add_who(output->encoder, row, names);
}

/* A part of it; true if there was something to tell. */
static bool
tell_names(struct output *output)
{
	const struct names *names = output->identity->names;

	if (!output->collector || !encoder_tells_who(output->encoder) || !names || !names->n_rows)
		return false;
	if (output->names_version != output->identity->names_version)
		tell_all_names(output);
	output->names_version = output->identity->names_version;
	output->rows_left = MIN(output->rows_left, names->n_rows);
	if (!output->rows_left)
		return false;
	for (unsigned n = 0; n < WHO_A_SECOND && output->rows_left; n++, output->rows_left--) {
		output->row = output->row < names->n_rows ? output->row : 0;
		add_row(output, names, &names->row[output->row++]);
	}
	return true;
}

static void
add_tables(struct output *output)
{
	const struct link_counters *counters = link_counters(output->link);
	const struct exporter_statistics statistics = { counters->octets_sent, counters->messages_sent,
	                                                counters->flow_records_sent };

	add_domain_name(output);
	for (size_t i = 0; i < output->identity->n_interfaces; i++)
		if (!encoder_add_interface(output->encoder, &output->identity->interface[i])) {
			send_messages(output, true);
			encoder_add_interface(output->encoder, &output->identity->interface[i]);
		}
	if (!encoder_add_statistics(output->encoder, &statistics)) {
		send_messages(output, true);
		encoder_add_statistics(output->encoder, &statistics);
	}
	add_gaps(output);
}

/* What is lost */

static struct drops
difference(const struct drops *now, const struct drops *before)
{
	return (struct drops){ now->flow_records - before->flow_records, now->packets - before->packets,
	                       now->octets - before->octets };
}

static void
add_drops(struct drops *sum, const struct drops *drops)
{
	sum->flow_records += drops->flow_records;
	sum->packets += drops->packets;
	sum->octets += drops->octets;
}

static void
account_for_drops(struct output *output, const struct link_counters *counters)
{
	const bool unconfirmed = counters->unconfirmed > output->told.unconfirmed;
	struct drops unreachable = { 0 }, queue;

	queue = difference(&counters->dropped[DROP_QUEUE_FULL], &output->told.dropped[DROP_QUEUE_FULL]);
	for (unsigned reason = 0; reason < DROP_REASONS; reason++) {
		const struct drops drops = difference(&counters->dropped[reason], &output->told.dropped[reason]);
		if (reason != DROP_QUEUE_FULL)
			add_drops(&unreachable, &drops);
	}
	if (queue.flow_records)
		tell(output, GAP_QUEUE, &queue, false);
	if (unreachable.flow_records || unconfirmed)
		tell(output, GAP_UNREACHABLE, &unreachable, unconfirmed);
}

void
output_account(struct output *output)
{
	const struct link_counters *counters = link_counters(output->link);

	if (!output->collector || !output->identity->ledger)
		return;
	if (counters->flow_records_dropped != output->told.flow_records_dropped
	    || counters->unconfirmed != output->told.unconfirmed)
		account_for_drops(output, counters);
	output->told = *counters;
	output->told_at = milliseconds(CLOCK_REALTIME);
}

/* Nobody says which datagrams came back refused, and of many refusals hosts let only one a second out. So all that was
 * sent in the last two seconds may be lost. */
static void
account_for_refusals(struct output *output)
{
	const struct link_counters *counters = link_counters(output->link);
	const struct drops sent = { counters->flow_records_sent, counters->flow_packets_sent, counters->flow_octets_sent };
	const bool known = output->suspected.flow_records > output->sent[1].flow_records;
	const struct drops lost = difference(&sent, known ? &output->suspected : &output->sent[1]);

	if (counters->refused != output->refused && lost.flow_records) {
		tell(output, GAP_UNREACHABLE, &lost, true);
		output->suspected = sent;
	}
	output->refused = counters->refused;
	output->sent[1] = output->sent[0];
	output->sent[0] = sent;
}

static bool
is_stream(const struct output *output)
{
	return !output->collector || output->collector->transport == CONFIG_TCP;
}

void
output_refresh(struct output *output)
{
	if (!link_is_open(output->link))
		return;
	/* A stream loses nothing: what its words mean is said once (RFC 7011 section 8, RFC 5610 section 3). */
	if (!is_stream(output)) {
		add_words(output);
		tell_all_names(output);
	}
	add_tables(output);
	send_messages(output, true);
}

void
output_tick(struct output *output)
{
	if (output->collector && output->identity->ledger)
		account_for_refusals(output);
	output_account(output);
	if (!link_is_open(output->link))
		return;
	const bool news = output->identity->ledger && has_news(output);
	if (news)
		add_gaps(output);
	if (tell_names(output) || news)
		send_messages(output, true);
}

/* RFC 7011 section 8.4: over UDP several copies of the templates, in messages of their own, before the first data. */
static void
begin_session(struct output *output)
{
	tell_all_names(output);
	if (!is_stream(output))
		add_templates(output);
	add_words(output);
	add_tables(output);
	send_messages(output, true);
}

static void
resize(struct output *output, size_t payload)
{
	if (!encoder_set_message_size(output->encoder, MIN(payload, PAYLOAD_MOST)))
		g_warning("collector %s: its path takes %zu octets, less than a template needs; messages may be fragmented",
		          output_name(output), payload);
}

static void
on_opened(void *data, size_t payload)
{
	struct output *output = data;

	rewind_cursor(output);
	resize(output, payload);
	begin_session(output);
	if (output->identity->opened)
		g_source_set_ready_time(output->identity->opened, 0);
}

static void
on_resized(void *data, size_t payload)
{
	resize(data, payload);
}

static void
on_refused(void *data)
{
	output_refresh(data);
}

static gboolean
on_refresh(gpointer data)
{
	output_refresh(data);
	return G_SOURCE_CONTINUE;
}

static const struct link_handler handler = { on_opened, on_resized, on_refused };

static bool
open_link(struct output *output, GError **error)
{
	const struct config_collector *collector = output->collector;
	const struct link_options options = {
		.name = collector->name,
		.host = collector->host,
		.port = collector->port,
		.transport = collector->transport == CONFIG_TCP ? LINK_TCP : LINK_UDP,
		.source_address = collector->source_address,
		.mtu = collector->mtu,
		.retry = collector->retry,
		.resolve = collector->resolve,
		.queue = collector->queue,
		.receipts = output->receipts,
	};

	output->link = link_open(&options, &handler, output, error);
	return output->link != NULL;
}

static struct output *
output_alloc(const struct config_collector *collector, const struct output_identity *identity)
{
	struct output *output = g_new0(struct output, 1);

	output->collector = collector;
	output->identity = identity;
	output->before = *identity;
	output->told_at = milliseconds(CLOCK_REALTIME);
	return output;
}

struct output *
output_new(const struct config_collector *collector, const struct output_identity *identity, struct receipts *receipts,
           GError **error)
{
	struct output *output = output_alloc(collector, identity);

	output->receipts = receipts;
	if (!load(output, error) || !open_link(output, error)) {
		output_close(output, 0);
		return NULL;
	}
	output->refresh_timer = g_timeout_add_seconds(collector->template_refresh, on_refresh, output);
	return output;
}

bool
output_check_viewer(const struct output_identity *identity, GError **error)
{
	g_autoptr(template_file_t) file = load_template("full", identity, error);

	return file != NULL;
}

bool
output_check(const struct config_collector *collector, const struct output_identity *identity, FILE *out,
             GError **error)
{
	struct output *output = output_alloc(collector, identity);
	bool good = load(output, error);

	if (good && out) {
		fprintf(out, "collector %s: %s, %s, %s\n", collector->name,
		        collector->protocol == CONFIG_IPFIX ? "IPFIX" : "NetFlow v9",
		        collector->records == CONFIG_BIFLOW ? "biflow" : "uniflow", output->file->path);
		template_file_print(output->file, collector->records == CONFIG_BIFLOW ? TRAIT_BIFLOW : TRAIT_UNIFLOW, out);
	}
	output_close(output, 0);
	return good;
}

static void
on_viewer_closed(void *data)
{
	struct output *output = data;

	output->gone(output, output->gone_data);
}

struct output *
output_adopt(int fd, const struct output_identity *identity, void (*gone)(struct output *, void *), void *data,
             GError **error)
{
	struct output *output = output_alloc(NULL, identity);
	const struct encoder_options options = {
		.records = TRAIT_BIFLOW,
		.reply = REPLY_MIRROR,
		.domain = identity->domain,
		.enterprise = DOCUMENTATION_ENTERPRISE,
		.message_size = PAYLOAD_MOST,
	};

	output->gone = gone;
	output->gone_data = data;
	output->link = link_adopt(fd, "viewer", QUEUE_VIEWER, on_viewer_closed, output);
	output->file = load_template("full", identity, error);
	if (output->file)
		output->encoder = encoder_new(output->file, &options, error);
	if (!output->encoder) {
		output_close(output, 0);
		return NULL;
	}
	output->refresh_timer = g_timeout_add_seconds(REFRESH_VIEWER, on_refresh, output);
	begin_session(output);
	return output;
}

static bool
same_templates(const struct output *output, const char *name, const struct output_identity *identity)
{
	g_autoptr(template_file_t) file = load_template(name, identity, NULL);

	return file && file->protocol == output->file->protocol
	       && memcmp(file->template, output->file->template, sizeof file->template) == 0;
}

bool
output_keep(struct output *output, const struct config_collector *collector,
            const struct output_identity *identity)
{
	if (!config_collector_equal(output->collector, collector) || output->before.domain != identity->domain
	    || output->before.enterprise != identity->enterprise
	    || !same_templates(output, collector->template_name, identity))
		return false;
	output->collector = collector;
	output->identity = identity;
	return true;
}

bool
output_carries(const struct output *output, const struct flow *flow)
{
	return link_carries(output->link, flow);
}

const char *
output_name(const struct output *output)
{
	return output->collector ? output->collector->name : "viewer";
}

const struct link_counters *
output_counters(const struct output *output)
{
	return link_counters(output->link);
}

void
output_status(const struct output *output, struct link_status *link, struct status_collector *status)
{
	const struct config_collector *collector = output->collector;

	link_status(output->link, link);
	*status = (struct status_collector){
		.name = collector->name,
		.host = collector->host,
		.port = collector->port,
		.transport = collector->transport == CONFIG_TCP ? "tcp" : "udp",
		.protocol = collector->protocol == CONFIG_IPFIX ? "ipfix" : "netflow9",
		.template_name = collector->template_name,
		.state = link->state,
		.address = link->address,
		.trouble = link->trouble,
		.queue_filled = link->queue_filled,
		.queue_size = link->queue_size,
		.counters = *link_counters(output->link),
	};
}

void
output_leave(struct output *output, uint64_t first)
{
	output->left_from = first;
	link_keep(output->link);
}

/* The next process would tell it, if there is one. */
static void
account_for_left(struct output *output)
{
	const uint64_t out = output->receipts->out;

	if (out + 1 >= output->left_from)
		return;
	tell_missed(output, out, output->left_from);
	receipts_out(output->receipts, output->left_from - 1);
}

void
output_stop(struct output *output, unsigned patience)
{
	if (output->refresh_timer)
		g_source_remove(output->refresh_timer);
	output->refresh_timer = 0;
	if (output->link && output->encoder && link_is_open(output->link))
		send_messages(output, true);
	if (output->link)
		link_stop(output->link, patience);
	if (output->link && output->encoder)    /* else this was done before */
		output_account(output);
	if (output->receipts && output->left_from)
		account_for_left(output);
	output->left_from = 0;
	g_clear_pointer(&output->encoder, encoder_free);
	g_clear_pointer(&output->file, template_file_free);
}

void
output_close(struct output *output, unsigned patience)
{
	if (!output)
		return;
	output_stop(output, patience);
	if (output->link)
		link_close(output->link, 0);
	g_free(output);
}
