/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "peerflow_archive.h"

#include <signal.h>
#include <unistd.h>

#include "archive/reader.h"
#include "audit/when.h"
#include "config.h"
#include "error.h"
#include "peerflow.h"

static bool
read_time(const char *option, const char *text, uint64_t now, struct when *when, GError **error)
{
	if (when_parse(text, now, when, error))
		return true;
	g_prefix_error(error, "--%s ", option);
	return false;
}

static bool
read_period(struct peerflow_archive *archive, GError **error)
{
	struct when from = { 0, 0 }, to = { UINT64_MAX, UINT64_MAX };

	if (archive->at && (archive->from || archive->to)) {
		g_set_error(error, PEERFLOW_ERROR, EX_USAGE, "--at is one time, --from and --to are a period: not both");
		return false;
	}
	if (archive->at) {
		if (!read_time("at", archive->at, archive->now, &from, error))
			return false;
		to = from;
	}
	if ((archive->from && !read_time("from", archive->from, archive->now, &from, error))
	    || (archive->to && !read_time("to", archive->to, archive->now, &to, error)))
		return false;
	archive->first = from.first;
	archive->last = to.last;
	if (archive->first <= archive->last)
		return true;
	g_set_error(error, PEERFLOW_ERROR, EX_USAGE, "--from \"%s\" is later than --to \"%s\"", archive->from, archive->to);
	return false;
}

/* The configuration of a host that has none is the default one. */
static struct config *
load_config(const char *path, GError **error)
{
	if (!path && access(PEERFLOW_CONFIG, F_OK) < 0)
		return config_parse(PEERFLOW_CONFIG, "", 0, error);
	return config_load(path ? path : PEERFLOW_CONFIG, error);
}

/* Whoever looks into archives of other hosts may not be able to read the configuration of this one. */
static struct config *
find_config(const struct peerflow_archive *archive, GError **error)
{
	g_autoptr(GError) wrong = NULL;
	struct config *config = load_config(archive->config, &wrong);

	if (config)
		return config;
	if (archive->paths && !archive->config)
		return config_parse(PEERFLOW_CONFIG, "", 0, error);
	g_propagate_error(error, g_steal_pointer(&wrong));
	return NULL;
}

static bool
read_enterprise(struct peerflow_archive *archive, const struct config *config, GError **error)
{
	if (archive->number < 0 || archive->number > UINT32_MAX) {
		g_set_error(error, PEERFLOW_ERROR, EX_USAGE, "--enterprise %" G_GINT64_FORMAT ": no enterprise number",
		            archive->number);
		return false;
	}
	archive->enterprise = archive->number ? (uint32_t)archive->number : config->enterprise_number;
	if (!archive->enterprise)
		archive->enterprise = READER_LOCAL_ENTERPRISE;
	return true;
}

bool
peerflow_archive_prepare(struct peerflow_archive *archive, GError **error)
{
	signal(SIGPIPE, SIG_IGN);       /* writing answers EPIPE instead */
	archive->now = (uint64_t)g_get_real_time() / 1000;
	if (!read_period(archive, error))
		return false;
	g_autoptr(config_t) config = find_config(archive, error);
	if (!config || !read_enterprise(archive, config, error))
		return false;
	archive->template_directory = g_strdup(config->template_directory);
	archive->state_directory = g_strdup(config->state_directory);
	archive->interface = g_strdup(config->interface);
	archive->active_timeout = config->active_timeout;
	archive->own = !archive->paths;
	if (!archive->paths)
		archive->paths = g_strdupv((char *[]){ config->archive.path ? config->archive.path : (char *)PEERFLOW_ARCHIVE,
		                                       NULL });
	return true;
}

static void
tell_trouble(const char *text, void *data G_GNUC_UNUSED)
{
	g_printerr("%s: %s\n", g_get_prgname(), text);
}

struct scan *
peerflow_archive_scan(const struct peerflow_archive *archive, const struct scan_options *rest, GError **error)
{
	struct scan_options options = rest ? *rest : (struct scan_options){ 0 };

	options.paths = archive->paths;
	options.first = archive->first;
	options.last = archive->last;
	options.enterprise = archive->enterprise;
	options.trouble = tell_trouble;
	return scan_open(&options, error);
}

static bool
may_match(const struct flow *flow, void *query)
{
	return query_may_match(query, flow);
}

static bool
matches(const struct scan_record *record, void *query)
{
	const struct print_flow flow = peerflow_archive_flow(record);

	return query_matches(query, &flow);
}

struct scan *
peerflow_archive_ask(const struct peerflow_archive *archive, const struct query *query, enum peerflow_use use,
                     GError **error)
{
	g_autofree struct query_address *wanted = NULL;
	const size_t n = query_addresses(query, &wanted);
	g_autofree struct scan_address *addresses = g_new0(struct scan_address, n + 1);
	const unsigned parts = query_parts(query);
	const bool asked = use != PEERFLOW_JOINED;

	for (size_t i = 0; i < n; i++)
		addresses[i] = (struct scan_address){ wanted[i].address, wanted[i].family };
	return peerflow_archive_scan(archive, &(struct scan_options){
		.addresses = addresses, .n_addresses = n, .wanted = asked ? may_match : NULL,
		.sure = asked && parts & FLOW_NAMES ? matches : NULL, .spared = asked ? ~parts : 0,
		.bare = use == PEERFLOW_COUNTED,
		.data = (void *)query,
	}, error);
}

bool
peerflow_archive_whole(const struct scan *scan, GError **error)
{
	const uint64_t troubles = scan_statistics(scan)->troubles;

	if (!troubles)
		return true;
	g_set_error(error, PEERFLOW_ERROR, EX_DATAERR, "%" G_GUINT64_FORMAT " %s of the archive could not be read: there may "
	            "be more than this", troubles, troubles == 1 ? "part" : "parts");
	return false;
}

struct print_flow
peerflow_archive_flow(const struct scan_record *record)
{
	return (struct print_flow){
		.flow = &record->flow, .names = record->names, .ingress = record->ingress, .egress = record->egress,
		.router = record->domain_name,
	};
}

void
peerflow_archive_clear(struct peerflow_archive *archive)
{
	g_strfreev(archive->paths);
	g_free(archive->config);
	g_free(archive->from);
	g_free(archive->to);
	g_free(archive->at);
	g_free(archive->template_directory);
	g_free(archive->state_directory);
	g_free(archive->interface);
}
