/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "who.h"

#include <net/if.h>
#include <string.h>

#include "enrich/directory.h"
#include "enrich/enrich.h"
#include "enrich/keeper.h"
#include "enrich/networks.h"
#include "host.h"
#include "source/wireguard.h"

enum {
	HOST_SETTLE = 1000,         /* ms */
	RELOAD_PATIENCE = 100000,   /* microseconds that flows may wait for the names of a new configuration */
	LOOK_AGAIN = 300,           /* seconds: nobody tells of rules in the firewall */
};

struct who {
	void (*changed)(void *data);
	void *data;
	struct sources *sources;
	struct keeper *keeper;
	struct directory *directory;
	struct networks *networks;
	char *interface;            /* name of the mesh's */
	bool all;                   /* flows = all */
	GArray *own;                /* struct own_address */
	guint host_timer;
	guint look_timer;
	struct outlook *outlook;
	bool marks;                 /* flows with NetBird's have been seen */
	char *said;                 /* about what is selected */
};

/* This host */

static void
tell_keeper(const struct who *who)
{
	g_autoptr(GArray) own = g_array_new(false, false, sizeof(struct roster_prefix));

	for (guint i = 0; i < who->own->len; i++)
		g_array_append_val(own, g_array_index(who->own, struct own_address, i).prefix);
	keeper_set_own(who->keeper, (const struct roster_prefix *)(void *)own->data, own->len);
}

static void
read_host(struct who *who)
{
	g_clear_pointer(&who->own, g_array_unref);
	who->own = host_addresses();
	tell_keeper(who);
}

/* The snapshots */

static void
say_selection(struct who *who)
{
	g_autofree char *sentence = who->all ? NULL : networks_sentence(who->networks, who->interface);

	if (sentence && g_strcmp0(sentence, who->said) != 0)
		g_message("%s", sentence);
	g_free(who->said);
	who->said = g_steal_pointer(&sentence);
}

static void
make_networks(struct who *who)
{
	networks_free(who->networks);
	who->networks = networks_new(if_nametoindex(who->interface), (const struct own_address *)(void *)who->own->data,
	                             who->own->len, who->directory);
	say_selection(who);
}

static void
on_directory(struct directory *directory, void *data)
{
	struct who *who = data;
	struct directory *old = who->directory;

	who->directory = directory;
	make_networks(who);
	who->changed(who->data);
	keeper_discard(who->keeper, old);
}

/* How the mesh runs */

static void
look(struct who *who)
{
	if (who->marks)
		outlook_set_marks(who->outlook);
	outlook_look(who->outlook, who->interface);
}

static gboolean
on_look(gpointer data)
{
	look(data);
	return G_SOURCE_CONTINUE;
}

static gboolean
on_host_settled(gpointer data)
{
	struct who *who = data;

	who->host_timer = 0;
	read_host(who);
	make_networks(who);
	look(who);
	return G_SOURCE_REMOVE;
}

void
who_host_changed(struct who *who)
{
	if (!who->host_timer)
		who->host_timer = g_timeout_add(HOST_SETTLE, on_host_settled, who);
}

/* Opening and closing */

static void
on_roster(enum roster_source source, struct roster *roster, void *data)
{
	struct who *who = data;

	if (source == ROSTER_NETBIRD) {
		outlook_set_client(who->outlook, roster);
		who_host_changed(who);
	}
	keeper_take(who->keeper, source, roster);
}

static const enum sources_status statuses[] = {
	[CONFIG_STATUS_AUTO] = SOURCES_AUTO,
	[CONFIG_STATUS_SOCKET] = SOURCES_SOCKET,
	[CONFIG_STATUS_COMMAND] = SOURCES_COMMAND,
	[CONFIG_STATUS_OFF] = SOURCES_OFF,
};

static struct sources_options
options_of(const struct config *config)
{
	return (struct sources_options){
		.status = statuses[config->status],
		.socket = config->netbird_socket,
		.command = config->netbird_command,
		.refresh = config->refresh,
		.api_url = config->api_url,
		.api_token_file = config->api_token_file,
		.api_refresh = config->api_refresh,
		.interface = config->wireguard ? config->interface : NULL,
		.tunnel = wireguard_allowed,
	};
}

/* What the history has of a source that is not asked any more ends here. */
static void
drop_unasked(struct who *who, const struct config *config)
{
	const struct { enum roster_source source; bool asked; } sources[] = {
		{ ROSTER_NETBIRD, config->status != CONFIG_STATUS_OFF },
		{ ROSTER_NETWORKS, config->status != CONFIG_STATUS_OFF },
		{ ROSTER_API, config->api_url != NULL },
		{ ROSTER_WIREGUARD, config->wireguard },
	};

	for (size_t i = 0; i < sizeof sources / sizeof sources[0]; i++)
		if (!sources[i].asked)
			keeper_take(who->keeper, sources[i].source, NULL);
}

static void
take_config(struct who *who, const struct config *config, struct roster *peers)
{
	g_free(who->interface);
	who->interface = g_strdup(config->interface);
	who->all = config->flows == CONFIG_ALL_FLOWS;
	keeper_take(who->keeper, ROSTER_FILE, peers);
}

struct who *
who_open(const struct config *config, struct roster *peers, void (*changed)(void *data), void *data)
{
	const struct sources_options options = options_of(config);
	struct who *who = g_new0(struct who, 1);

	who->changed = changed;
	who->data = data;
	who->keeper = keeper_open(config->state_directory, config->history * UINT64_C(1000), on_directory, who);
	take_config(who, config, peers);
	drop_unasked(who, config);
	read_host(who);
	who->directory = keeper_settle(who->keeper, -1);
	make_networks(who);
	who->outlook = outlook_new();
	who->sources = sources_open(&options, on_roster, who);
	/* The client, if there is one, mostly answers before this; what is said too early would be said again. */
	who_host_changed(who);
	who->look_timer = g_timeout_add_seconds(LOOK_AGAIN, on_look, who);
	return who;
}

/* With a small mesh the first flow after a reload has the new names already. */
void
who_reload(struct who *who, const struct config *config, struct roster *peers)
{
	const struct sources_options options = options_of(config);

	sources_reconfigure(who->sources, &options);
	take_config(who, config, peers);
	read_host(who);
	struct directory *directory = keeper_settle(who->keeper, RELOAD_PATIENCE);
	if (directory)
		on_directory(directory, who);
	else
		make_networks(who);
	who_host_changed(who);
}

void
who_close(struct who *who)
{
	if (!who)
		return;
	if (who->host_timer)
		g_source_remove(who->host_timer);
	g_source_remove(who->look_timer);
	sources_close(who->sources);
	keeper_close(who->keeper);
	outlook_free(who->outlook);
	networks_free(who->networks);
	directory_free(who->directory);
	g_array_unref(who->own);
	g_free(who->interface);
	g_free(who->said);
	g_free(who);
}

/* The hot path */

void
who_prefetch(const struct who *who, const struct flow *flow)
{
	directory_prefetch(who->directory, flow);
}

bool
who_find(struct who *who, struct flow *flow)
{
	if (enrich_is_marked(flow) && !who->marks)
		who->marks = true;
	enrich(flow, who->networks, who->directory);
	return who->all || enrich_is_of_mesh(flow, who->networks, who->directory);
}

const struct names *
who_names(const struct who *who)
{
	return directory_names(who->directory);
}

const struct outlook *
who_outlook(const struct who *who)
{
	return who->outlook;
}

struct sources *
who_sources(struct who *who)
{
	return who->sources;
}

const char *
who_own_name(const struct who *who)
{
	return directory_own_name(who->directory);
}
