/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "enrich/account.h"

#include <netinet/in.h>
#include <string.h>

enum { ANY_METRIC = 9999, PORTS_MOST = 64 };

/* One who routes for a network. */
struct router {
	const char *peer;           /* its name; NULL: not known, or several */
	unsigned metric;            /* the lowest is preferred */
};

struct network {
	const char *name;
	GPtrArray *routers;         /* ids */
};

struct resource {
	const char *id;
	const char *address;        /* prefix or domain */
	const char *name;
	char *groups;               /* "a, b" */
	char **tags;
};

struct account {
	struct roster *roster;
	GStringChunk *text;
	GHashTable *users;          /* id -> what a person is called */
	GHashTable *peers;          /* id -> name */
	GHashTable *members;        /* group id -> name of its only peer, or several */
	GHashTable *networks;       /* resource id -> struct network */
	GHashTable *routers;        /* id -> struct router */
	GPtrArray *network;         /* struct network, owned */
	GArray *resources;          /* struct resource */
	unsigned count[ACCOUNT_LISTS];
	bool policies_are_clear;    /* so far none had a rule that is not understood */
};

/* Of a group with more than one peer. */
static const char several[] = "";

static const char *
keep(struct account *account, const char *text)
{
	return text ? g_string_chunk_insert_const(account->text, text) : NULL;
}

/* The members of a list are objects with an id, or ids. */
static const char *
id_of(json_t *member)
{
	const char *id = json_string_value(member);

	return id && *id ? id : document_text(member, "id");
}

/* Users */

static bool
take_user(struct account *account, json_t *user)
{
	static const char *const keys[] = { "email", "name", "id" };
	const char *id = document_text(user, "id"), *called = NULL;

	for (unsigned i = 0; i < G_N_ELEMENTS(keys) && !called; i++)
		called = document_text(user, keys[i]);
	if (!id)
		return false;
	g_hash_table_insert(account->users, (void *)keep(account, id), (void *)keep(account, called));
	return true;
}

/* Peers */

/* The names of groups, "a, b". */
static char *
group_names(json_t *groups)
{
	GString *names = g_string_new(NULL);
	json_t *group;
	size_t i;

	json_array_foreach(groups, i, group) {
		const char *name = document_text(group, "name");
		if (name)
			g_string_append_printf(names, "%s%s", names->len ? ", " : "", name);
	}
	return g_string_free(names, false);
}

/* Their ids, and the element's own. */
static char **
tags_of(const char *id, json_t *groups)
{
	GPtrArray *tags = g_ptr_array_new();
	json_t *group;
	size_t i;

	if (id)
		g_ptr_array_add(tags, g_strdup(id));
	json_array_foreach(groups, i, group)
		if (id_of(group))
			g_ptr_array_add(tags, g_strdup(id_of(group)));
	g_ptr_array_add(tags, NULL);
	return (char **)g_ptr_array_free(tags, false);
}

static void
note_member(struct account *account, const char *group, const char *peer)
{
	if (group)
		g_hash_table_insert(account->members, (void *)keep(account, group),
		                    (void *)(g_hash_table_contains(account->members, group) ? several : peer));
}

static const char *
user_of(const struct account *account, const char *id)
{
	const char *called = id ? g_hash_table_lookup(account->users, id) : NULL;

	return called ? called : id;
}

static const char *
peer_name(json_t *peer)
{
	static const char *const keys[] = { "name", "hostname", "dns_label" };

	for (unsigned i = 0; i < G_N_ELEMENTS(keys); i++)
		if (document_text(peer, keys[i]))
			return document_text(peer, keys[i]);
	return NULL;
}

static bool
take_peer(struct account *account, json_t *peer)
{
	static const char *const keys[] = { "ip", "ipv6" };
	json_t *groups = json_object_get(peer, "groups"), *group;
	g_autofree char *names = group_names(groups);
	g_auto(GStrv) tags = tags_of(document_text(peer, "id"), groups);
	const char *const word[WORDS] = {
		[WORD_PEER] = keep(account, peer_name(peer)),
		[WORD_PEER_ID] = keep(account, document_text(peer, "id")),
		[WORD_USER] = user_of(account, document_text(peer, "user_id")),
		[WORD_GROUPS] = names,
	};
	struct roster_prefix prefix;
	size_t n;

	for (unsigned i = 0; i < G_N_ELEMENTS(keys); i++) {
		const char *address = document_text(peer, keys[i]);
		if (address && roster_prefix_parse(address, &prefix))
			roster_add(account->roster, &prefix, word, (const char *const *)tags);
	}
	if (!word[WORD_PEER] || !word[WORD_PEER_ID])
		return false;
	g_hash_table_insert(account->peers, (void *)word[WORD_PEER_ID], (void *)word[WORD_PEER]);
	json_array_foreach(groups, n, group)
		note_member(account, id_of(group), word[WORD_PEER]);
	return true;
}

/* Networks, their routers and resources */

static void
network_free(void *data)
{
	struct network *network = data;

	g_ptr_array_free(network->routers, true);
	g_free(network);
}

static struct network *
network_new(struct account *account, const char *name)
{
	struct network *network = g_new0(struct network, 1);

	network->name = keep(account, name);
	network->routers = g_ptr_array_new();
	g_ptr_array_add(account->network, network);
	return network;
}

static bool
take_network(struct account *account, json_t *element)
{
	struct network *network = network_new(account, document_text(element, "name"));
	json_t *id;
	size_t i;

	json_array_foreach(json_object_get(element, "routers"), i, id)
		if (id_of(id))
			g_ptr_array_add(network->routers, (void *)keep(account, id_of(id)));
	json_array_foreach(json_object_get(element, "resources"), i, id)
		if (id_of(id))
			g_hash_table_insert(account->networks, (void *)keep(account, id_of(id)), network);
	return network->name;
}

/* The name of the one peer that a router or route stands for; NULL if it is not one. */
static const char *
only_peer(const struct account *account, json_t *router)
{
	json_t *groups = json_object_get(router, "peer_groups");
	const char *peer = document_text(router, "peer");
	const char *group = json_array_size(groups) == 1 ? id_of(json_array_get(groups, 0)) : NULL;
	const char *name = peer ? g_hash_table_lookup(account->peers, peer)
	                 : group ? g_hash_table_lookup(account->members, group) : NULL;

	return name && *name ? name : NULL;
}

static bool
take_router(struct account *account, json_t *element)
{
	const char *id = document_text(element, "id");

	if (!id || !document_truth(element, "enabled", true))
		return false;
	struct router *router = g_new0(struct router, 1);
	router->peer = only_peer(account, element);
	router->metric = document_number(element, "metric", ANY_METRIC, ANY_METRIC);
	g_hash_table_replace(account->routers, (void *)keep(account, id), router);
	return true;
}

/* The peer behind which a network lies: the preferred router, if there is but one of these. */
static const char *
via_of(const struct account *account, const struct network *network)
{
	const struct router *best = NULL;
	bool alone = true;

	for (guint i = 0; network && i < network->routers->len; i++) {
		const struct router *router = g_hash_table_lookup(account->routers, network->routers->pdata[i]);
		if (!router || (best && router->metric > best->metric))
			continue;
		alone = !best || router->metric < best->metric || (router->peer && router->peer == best->peer);
		best = router;
	}
	return best && alone ? best->peer : NULL;
}

static bool
take_resource(struct account *account, json_t *element)
{
	json_t *groups = json_object_get(element, "groups");
	struct resource resource = {
		.id = keep(account, document_text(element, "id")),
		.address = keep(account, document_text(element, "address")),
		.name = keep(account, document_text(element, "name")),
	};

	if (!resource.id || !resource.address || !document_truth(element, "enabled", true))
		return false;
	resource.groups = group_names(groups);
	resource.tags = tags_of(resource.id, groups);
	g_array_append_val(account->resources, resource);
	return true;
}

static int
by_id(const void *a, const void *b)
{
	return strcmp(((const struct resource *)a)->id, ((const struct resource *)b)->id);
}

static void
add_resource(const struct account *account, const struct resource *resource)
{
	const struct network *network = g_hash_table_lookup(account->networks, resource->id);
	const char *const word[WORDS] = {
		[WORD_RESOURCE] = resource->name,
		[WORD_GROUPS] = resource->groups,
		[WORD_NETWORK] = network ? network->name : NULL,
		[WORD_VIA] = via_of(account, network),
	};
	const char *const *tags = (const char *const *)resource->tags;
	struct roster_prefix prefix;

	if (roster_prefix_parse(resource->address, &prefix))
		roster_add(account->roster, &prefix, word, tags);
	else
		roster_add_domain(account->roster, resource->address, word, tags);
}

/* Routes, which are what there was before networks: one is a resource and its router in one. Those of the same name are
 * ways to the same place. */

static struct network *
network_of_routes(struct account *account, const char *name)
{
	g_autofree char *key = g_strconcat("routes ", name, NULL);
	struct network *network = g_hash_table_lookup(account->networks, key);

	if (!network) {
		network = network_new(account, NULL);
		g_hash_table_insert(account->networks, (void *)keep(account, key), network);
	}
	return network;
}

static void
add_route_resource(struct account *account, json_t *route, const char *address)
{
	json_t *groups = json_object_get(route, "access_control_groups");
	struct resource resource = {
		.id = keep(account, document_text(route, "id")),
		.address = keep(account, address),
		.name = keep(account, document_text(route, "network_id")),
		.tags = tags_of(NULL, groups),
	};

	g_array_append_val(account->resources, resource);
}

static bool
take_route(struct account *account, json_t *element)
{
	const char *address = document_text(element, "network"), *id = keep(account, document_text(element, "id"));
	const char *name = document_text(element, "network_id");
	struct roster_prefix prefix;
	json_t *domain;
	size_t i;

	if (!name || !take_router(account, element))
		return false;
	struct network *network = network_of_routes(account, name);
	g_ptr_array_add(network->routers, (void *)id);
	g_hash_table_insert(account->networks, (void *)id, network);
	json_array_foreach(json_object_get(element, "domains"), i, domain)
		if (json_string_length(domain))
			add_route_resource(account, element, json_string_value(domain));
	/* Through an exit node there lies everything, and so nothing in particular. */
	if (address && roster_prefix_parse(address, &prefix) && prefix.length)
		add_route_resource(account, element, address);
	return true;
}

/* Policies */

static const struct protocol {
	const char *word;
	uint8_t number[2];          /* the second: zero, or another that the word also means */
	uint16_t port[2];           /* zero: those of the rule */
} protocols[] = {
	{ "all", { 0, 0 }, { 0, 0 } },
	{ "tcp", { IPPROTO_TCP, 0 }, { 0, 0 } },
	{ "udp", { IPPROTO_UDP, 0 }, { 0, 0 } },
	{ "icmp", { IPPROTO_ICMP, IPPROTO_ICMPV6 }, { 0, 0 } },
	{ "netbird-ssh", { IPPROTO_TCP, 0 }, { 22, 22022 } },
};

static const struct protocol *
find_protocol(const char *word)
{
	for (unsigned i = 0; word && i < G_N_ELEMENTS(protocols); i++)
		if (strcmp(protocols[i].word, word) == 0)
			return &protocols[i];
	return NULL;
}

static bool
add_ports(GArray *ports, uint64_t first, uint64_t last)
{
	const struct roster_ports range = { first, last };

	if (!first || first > last || last > UINT16_MAX || ports->len >= PORTS_MOST)
		return false;
	g_array_append_val(ports, range);
	return true;
}

/* A port may be a number or a text, "443". */
static bool
add_port(GArray *ports, json_t *port)
{
	const char *text = json_string_value(port);
	guint64 number = json_is_number(port) ? CLAMP(json_number_value(port), 0, UINT16_MAX + 1.) : 0;

	if (text)
		g_ascii_string_to_unsigned(text, 10, 1, UINT16_MAX, &number, NULL);
	return add_ports(ports, number, number);
}

/* False if there is a port that is none. */
static bool
read_ports(json_t *rule, const struct protocol *protocol, GArray *ports)
{
	json_t *one;
	bool good = true;
	size_t i;

	for (i = 0; i < G_N_ELEMENTS(protocol->port) && protocol->port[i]; i++)
		add_ports(ports, protocol->port[i], protocol->port[i]);
	json_array_foreach(json_object_get(rule, "ports"), i, one)
		good = good && add_port(ports, one);
	json_array_foreach(json_object_get(rule, "port_ranges"), i, one)
		good = good && add_ports(ports, document_number(one, "start", UINT16_MAX, 0),
		                         document_number(one, "end", UINT16_MAX, 0));
	return good;
}

/* The groups of one end of a rule, and the resource or peer that may stand in their place. */
static char **
end_of(json_t *rule, const char *groups, const char *resource)
{
	return tags_of(document_text(json_object_get(rule, resource), "id"), json_object_get(rule, groups));
}

/* False if the rule is not understood. */
static bool
take_rule(struct account *account, const char *name, json_t *rule)
{
	const struct protocol *protocol = find_protocol(document_text(rule, "protocol"));
	const char *action = document_text(rule, "action");
	g_autoptr(GArray) ports = g_array_new(false, true, sizeof(struct roster_ports));
	g_auto(GStrv) sources = end_of(rule, "sources", "sourceResource");
	g_auto(GStrv) destinations = end_of(rule, "destinations", "destinationResource");

	if (!document_truth(rule, "enabled", true) || g_strcmp0(action, "drop") == 0)
		return true;
	if (!protocol || g_strcmp0(action, "accept") != 0 || !read_ports(rule, protocol, ports))
		return false;
	struct roster_policy policy = {
		.name = name,
		.sources = (const char *const *)sources,
		.destinations = (const char *const *)destinations,
		.ports = (const struct roster_ports *)(void *)ports->data,
		.n_ports = ports->len,
		.bidirectional = document_truth(rule, "bidirectional", false),
	};
	for (unsigned i = 0; i < G_N_ELEMENTS(protocol->number) && (!i || protocol->number[i]); i++) {
		policy.protocol = protocol->number[i];
		roster_add_policy(account->roster, &policy);
	}
	return true;
}

static bool
take_policy(struct account *account, json_t *element)
{
	const char *name = document_text(element, "name");
	json_t *rule;
	size_t i;

	if (!document_truth(element, "enabled", true))
		return true;
	json_array_foreach(json_object_get(element, "rules"), i, rule)
		if (!take_rule(account, name ? name : document_text(rule, "name"), rule))
			account->policies_are_clear = false;
	return name;
}

/* The whole */

static const struct {
	const char *path;
	const char *word;
	bool (*take)(struct account *account, json_t *element);
} lists[ACCOUNT_LISTS] = {
	[ACCOUNT_USERS] = { "/api/users", "users", take_user },
	[ACCOUNT_PEERS] = { "/api/peers", "peers", take_peer },
	[ACCOUNT_NETWORKS] = { "/api/networks", "networks", take_network },
	[ACCOUNT_ROUTERS] = { "/api/networks/routers", "routers", take_router },
	[ACCOUNT_RESOURCES] = { "/api/networks/resources", "resources", take_resource },
	[ACCOUNT_ROUTES] = { "/api/routes", "routes", take_route },
	[ACCOUNT_POLICIES] = { "/api/policies", "policies", take_policy },
};

const char *
account_path(enum account_list list)
{
	return lists[list].path;
}

const char *
account_word(enum account_list list)
{
	return lists[list].word;
}

static void
resource_clear(void *data)
{
	struct resource *resource = data;

	g_free(resource->groups);
	g_strfreev(resource->tags);
}

struct account *
account_new(void)
{
	struct account *account = g_new0(struct account, 1);

	account->roster = roster_new();
	account->text = g_string_chunk_new(4096);
	account->users = g_hash_table_new(g_str_hash, g_str_equal);
	account->peers = g_hash_table_new(g_str_hash, g_str_equal);
	account->members = g_hash_table_new(g_str_hash, g_str_equal);
	account->networks = g_hash_table_new(g_str_hash, g_str_equal);
	account->routers = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, g_free);
	account->network = g_ptr_array_new_with_free_func(network_free);
	account->resources = g_array_new(false, true, sizeof(struct resource));
	g_array_set_clear_func(account->resources, resource_clear);
	account->policies_are_clear = true;
	return account;
}

void
account_free(struct account *account)
{
	if (!account)
		return;
	roster_free(account->roster);
	g_hash_table_destroy(account->users);
	g_hash_table_destroy(account->peers);
	g_hash_table_destroy(account->members);
	g_hash_table_destroy(account->networks);
	g_hash_table_destroy(account->routers);
	g_ptr_array_free(account->network, true);
	g_array_free(account->resources, true);
	g_string_chunk_free(account->text);
	g_free(account);
}

void
account_take(struct account *account, enum account_list list, json_t *element)
{
	account->count[list] += lists[list].take(account, element);
}

void
account_took(struct account *account, enum account_list list)
{
	if (list == ACCOUNT_POLICIES)
		account->roster->has_policies = account->policies_are_clear;
}

unsigned
account_count(const struct account *account, enum account_list list)
{
	return account->count[list];
}

struct roster *
account_roster(struct account *account)
{
	/* Of several that have the same address the lowest id wins, each time. */
	g_array_sort(account->resources, by_id);
	for (guint i = 0; i < account->resources->len; i++)
		add_resource(account, &g_array_index(account->resources, struct resource, i));
	return g_steal_pointer(&account->roster);
}
