/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "enrich/netbird.h"

#include <string.h>

#include "enrich/cutter.h"
#include "enrich/document.h"
#include "error.h"

enum {
	VALUE_MOST = 4 << 20,       /* octets of one peer, with all its networks */
	FRAME_MOST = 512 << 20,     /* a hundred thousand peers are 70 MiB */
	FOUND_MOST = 1 << 20,       /* addresses and prefixes of one answer */
};

/* An address or prefix of a peer, whose name is known only when the mesh's domain is. */
struct found {
	struct roster_prefix prefix;
	enum identity_word word;
	const char *fqdn;
};

struct netbird {
	enum netbird_answer answer;
	struct cutter *cutter;
	netbird_take *take;
	void *data;
	struct news *news;          /* of the answer that has begun */
	GArray *found;              /* struct found */
	GStringChunk *text;         /* of them */
	char *own_fqdn;
	char *word;                 /* "Connected", "NeedsLogin" */
	char *complaint;
	bool meaningful;            /* something in it was what we expected */
};

/* How a piece of an answer is read; the piece belongs to the caller. */
typedef bool reader(struct netbird *netbird, json_t *piece, GError **error);

static void
begin(struct netbird *netbird)
{
	netbird->news = g_new0(struct news, 1);
	netbird->news->roster = roster_new();
	g_array_set_size(netbird->found, 0);
	g_string_chunk_clear(netbird->text);
	g_clear_pointer(&netbird->own_fqdn, g_free);
	g_clear_pointer(&netbird->word, g_free);
	g_clear_pointer(&netbird->complaint, g_free);
	netbird->meaningful = netbird->answer == NETBIRD_NETWORKS;  /* an empty list has nothing to know it by */
}

void
news_free(struct news *news)
{
	if (!news)
		return;
	roster_free(news->roster);
	g_free(news);
}

/* The first of the keys that has text: the two formats name the same things differently. */
static const char *
text_of(json_t *object, const char *key, const char *other)
{
	const char *text = document_text(object, key);

	return text ? text : document_text(object, other);
}

static bool
add_found(struct netbird *netbird, const char *text, enum identity_word word, const char *fqdn, GError **error)
{
	struct found found = { .word = word, .fqdn = fqdn };

	if (!text || !roster_prefix_parse(text, &found.prefix))
		return true;
	if (netbird->found->len == FOUND_MOST) {
		g_set_error(error, PEERFLOW_ERROR, EX_DATAERR, "more than %d addresses and networks", FOUND_MOST);
		return false;
	}
	g_array_append_val(netbird->found, found);
	return true;
}

/* A network is a prefix, two of them ("0.0.0.0/0, ::/0") or a list of domains, which says nothing about addresses. */
static bool
add_networks(struct netbird *netbird, json_t *networks, const char *fqdn, GError **error)
{
	json_t *network;
	size_t i;

	json_array_foreach(networks, i, network) {
		g_auto(GStrv) part = g_strsplit_set(json_is_string(network) ? json_string_value(network) : "", ", ", -1);
		for (char **at = part; *at; at++)
			if (!add_found(netbird, *at, WORD_VIA, fqdn, error))
				return false;
	}
	return true;
}

static bool
read_peer(struct netbird *netbird, json_t *peer, GError **error)
{
	const char *fqdn = document_text(peer, "fqdn"), *status = text_of(peer, "connStatus", "status");

	if (!json_is_object(peer))
		return true;
	netbird->meaningful = true;
	netbird->news->peers++;
	netbird->news->connected += g_strcmp0(status, "Connected") == 0;
	if (!fqdn)
		return true;
	fqdn = g_string_chunk_insert(netbird->text, fqdn);
	return add_found(netbird, text_of(peer, "IP", "netbirdIp"), WORD_PEER, fqdn, error)
	       && add_found(netbird, text_of(peer, "ipv6", "netbirdIpv6"), WORD_PEER, fqdn, error)
	       && add_networks(netbird, json_object_get(peer, "networks"), fqdn, error)
	       && add_networks(netbird, json_object_get(peer, "routes"), fqdn, error);
}

static bool
read_own_address(struct netbird *netbird, json_t *address, GError **error)
{
	const char *text = json_string_value(address);
	struct roster_prefix prefix;
	(void)error;

	netbird->meaningful = true;
	if (text && roster_prefix_parse(text, &prefix))
		roster_add_overlay(netbird->news->roster, &prefix);
	return true;
}

static bool
read_own_name(struct netbird *netbird, json_t *name, GError **error)
{
	const char *text = json_string_value(name);
	(void)error;

	if (!netbird->own_fqdn && text && *text)
		netbird->own_fqdn = g_strdup(text);
	return true;
}

static bool
read_served(struct netbird *netbird, json_t *networks, GError **error)
{
	json_t *network;
	size_t i;
	(void)error;

	json_array_foreach(networks, i, network) {
		g_auto(GStrv) part = g_strsplit_set(json_is_string(network) ? json_string_value(network) : "", ", ", -1);
		struct roster_prefix prefix;
		for (char **at = part; *at; at++)
			if (roster_prefix_parse(*at, &prefix))
				roster_add_served(netbird->news->roster, &prefix);
	}
	return true;
}

static bool
read_kernel(struct netbird *netbird, json_t *kernel, GError **error)
{
	(void)error;
	if (json_is_boolean(kernel))
		netbird->news->roster->kernel = json_is_true(kernel) ? ROSTER_KERNEL_YES : ROSTER_KERNEL_NO;
	return true;
}

static bool
read_local(struct netbird *netbird, json_t *local, GError **error)
{
	if (!json_is_object(local))
		return true;
	netbird->meaningful = true;
	return read_own_address(netbird, json_object_get(local, "IP"), error)
	       && read_own_address(netbird, json_object_get(local, "ipv6"), error)
	       && read_own_name(netbird, json_object_get(local, "fqdn"), error)
	       && read_kernel(netbird, json_object_get(local, "kernelInterface"), error)
	       && read_served(netbird, json_object_get(local, "networks"), error);
}

static bool
read_revision(struct netbird *netbird, json_t *revision, GError **error)
{
	g_autoptr(json_t) object = json_pack("{s:O}", "revision", revision);
	(void)error;

	netbird->news->revision = document_number(object, "revision", UINT64_MAX, 0);
	return true;
}

static bool
read_word(struct netbird *netbird, json_t *word, GError **error)
{
	const char *text = json_string_value(word);
	(void)error;

	if (!text || netbird->word)
		return true;
	netbird->meaningful = true;
	netbird->word = g_strdup(text);
	return true;
}

static bool
read_complaint(struct netbird *netbird, json_t *complaint, GError **error)
{
	const char *text = json_is_string(complaint) ? json_string_value(complaint) : document_text(complaint, "message");
	(void)error;

	if (!json_is_null(complaint) && !netbird->complaint)
		netbird->complaint = g_strdup(text && *text ? text : "without a word");
	return true;
}

/* Networks */

static void
add_resolved(struct roster *roster, const char *name, const char *domain, json_t *resolved)
{
	const char *words[WORDS] = { [WORD_RESOURCE] = name, [WORD_DOMAIN] = domain };
	json_t *ips = json_object_get(resolved, "ips"), *ip;
	size_t i;

	json_array_foreach(ips, i, ip) {
		const char *text = json_string_value(ip);
		struct roster_prefix prefix;
		if (text && roster_prefix_parse(text, &prefix))
			roster_add(roster, &prefix, words, NULL);
	}
}

static void
add_domains(struct roster *roster, const char *name, json_t *domains, json_t *resolved)
{
	const char *words[WORDS] = { [WORD_RESOURCE] = name };
	json_t *value;
	const char *domain;
	size_t i;

	json_array_foreach(domains, i, value)
		if (json_is_string(value))
			roster_add_domain(roster, json_string_value(value), words, NULL);
	json_object_foreach(resolved, domain, value)
		add_resolved(roster, name, domain, value);
}

/* A range stands beside domains, too, but then it is a mere placeholder, the same for all. What is not selected is not
 * reached through the mesh: the same addresses may be somebody else's here. */
static bool
read_network(struct netbird *netbird, json_t *network, GError **error)
{
	const char *name = document_text(network, "ID"), *range = document_text(network, "range");
	json_t *domains = json_object_get(network, "domains");
	struct roster *roster = netbird->news->roster;
	struct roster_prefix prefix;

	netbird->news->peers++;
	if (roster->entry->len > FOUND_MOST) {
		g_set_error(error, PEERFLOW_ERROR, EX_DATAERR, "more than %d addresses and networks", FOUND_MOST);
		return false;
	}
	if (!name || !document_truth(network, "selected", false))
		return true;
	netbird->news->connected++;
	if (json_array_size(domains)) {
		add_domains(roster, name, domains, json_object_get(network, "resolvedIPs"));
		return true;
	}
	g_auto(GStrv) part = g_strsplit_set(range ? range : "", ", ", -1);
	for (char **at = part; *at; at++)
		if (roster_prefix_parse(*at, &prefix))
			roster_add_word(roster, &prefix, WORD_RESOURCE, name);
	return true;
}

/* Where everything stands, by kind of answer. Frames of a stream wrap the answer in "result". */

static const char *const status_paths[] = {
	"fullStatus/peers/[]", "fullStatus/localPeerState", "fullStatus/networksRevision", "status", "error",
	"result/fullStatus/peers/[]", "result/fullStatus/localPeerState", "result/fullStatus/networksRevision",
	"result/status",
	"peers/details/[]", "netbirdIp", "netbirdIpv6", "fqdn", "usesKernelInterface", "networks", "routes",
	"daemonStatus", NULL,
};

static reader *const status_readers[] = {
	read_peer, read_local, read_revision, read_word, read_complaint,
	read_peer, read_local, read_revision,
	read_word,
	read_peer, read_own_address, read_own_address, read_own_name, read_kernel, read_served, read_served,
	read_word,
};

static const char *const networks_paths[] = { "routes/[]", "error", NULL };

static reader *const networks_readers[] = { read_network, read_complaint };

G_STATIC_ASSERT(G_N_ELEMENTS(status_paths) == G_N_ELEMENTS(status_readers) + 1);
G_STATIC_ASSERT(G_N_ELEMENTS(networks_paths) == G_N_ELEMENTS(networks_readers) + 1);

/* One value that cannot be read is left out: the others are worth having. */
static bool
on_value(unsigned path, const char *octets, size_t length, void *data, GError **error)
{
	struct netbird *netbird = data;
	reader *const *readers = netbird->answer == NETBIRD_STATUS ? status_readers : networks_readers;
	g_autofree char *valid = g_utf8_validate_len(octets, length, NULL) ? NULL : g_utf8_make_valid(octets, length);
	g_autoptr(json_t) piece = document_parse(valid ? valid : octets, valid ? strlen(valid) : length, NULL);

	if (!piece) {
		netbird->news->unreadable++;
		return true;
	}
	return readers[path](netbird, piece, error);
}

/* The end of an answer */

static const char *
own_domain(const struct netbird *netbird)
{
	const char *dot = netbird->own_fqdn ? strchr(netbird->own_fqdn, '.') : NULL;

	return dot && dot[1] ? dot : NULL;
}

/* "alice-laptop" of "alice-laptop.netbird.selfhosted": what people call it, if it is of the mesh's own domain. */
static char *
short_name(const char *fqdn, const char *domain)
{
	g_autofree char *name = g_strdup(fqdn);

	if (g_str_has_suffix(name, "."))
		name[strlen(name) - 1] = '\0';
	if (domain && g_str_has_suffix(name, domain) && strlen(name) > strlen(domain))
		name[strlen(name) - strlen(domain)] = '\0';
	return g_steal_pointer(&name);
}

static void
add_names(struct netbird *netbird)
{
	const char *domain = own_domain(netbird);

	for (guint i = 0; i < netbird->found->len; i++) {
		const struct found *found = &g_array_index(netbird->found, struct found, i);
		g_autofree char *name = short_name(found->fqdn, domain);
		roster_add_word(netbird->news->roster, &found->prefix, found->word, name);
	}
}

/* This host is a peer as well. */
static void
add_own_name(struct netbird *netbird)
{
	struct roster *roster = netbird->news->roster;

	if (!netbird->own_fqdn)
		return;
	g_autofree char *name = short_name(netbird->own_fqdn, own_domain(netbird));
	roster_set_own_name(roster, name);
	for (guint i = 0; i < roster->overlay->len; i++) {
		struct roster_prefix own = g_array_index(roster->overlay, struct roster_prefix, i);
		own.length = own.family == 6 ? 128 : 32;
		roster_add_word(roster, &own, WORD_PEER, name);
	}
}

/* What a client says while it is down is no news about its peers. */
static bool
check_answer(const struct netbird *netbird, GError **error)
{
	if (netbird->complaint)
		g_set_error(error, PEERFLOW_ERROR, EX_UNAVAILABLE, "NetBird refuses: %.200s", netbird->complaint);
	else if (!netbird->meaningful)
		g_set_error(error, PEERFLOW_ERROR, EX_DATAERR, "JSON, but no answer of NetBird");
	else if (netbird->answer == NETBIRD_STATUS && !netbird->news->peers && !netbird->news->roster->overlay->len)
		g_set_error(error, PEERFLOW_ERROR, EX_UNAVAILABLE, "NetBird is not connected: it says %.60s",
		            netbird->word ? netbird->word : "nothing");
	else
		return true;
	return false;
}

static bool
on_frame(void *data, GError **error)
{
	struct netbird *netbird = data;

	if (!check_answer(netbird, error))
		return false;
	add_names(netbird);
	add_own_name(netbird);
	if (netbird->word)
		roster_set_state(netbird->news->roster, netbird->word);
	struct news *news = g_steal_pointer(&netbird->news);
	begin(netbird);
	return netbird->take(news, netbird->data, error);
}

struct netbird *
netbird_new(enum netbird_answer answer, netbird_take *take, void *data)
{
	static const struct cutter_limits limits = { VALUE_MOST, FRAME_MOST };
	struct netbird *netbird = g_new0(struct netbird, 1);

	netbird->answer = answer;
	netbird->take = take;
	netbird->data = data;
	netbird->found = g_array_new(false, false, sizeof(struct found));
	netbird->text = g_string_chunk_new(4096);
	netbird->cutter = cutter_new(answer == NETBIRD_STATUS ? status_paths : networks_paths, &limits, on_value, on_frame,
	                             netbird);
	begin(netbird);
	return netbird;
}

void
netbird_free(struct netbird *netbird)
{
	if (!netbird)
		return;
	cutter_free(netbird->cutter);
	news_free(netbird->news);
	g_array_free(netbird->found, true);
	g_string_chunk_free(netbird->text);
	g_free(netbird->own_fqdn);
	g_free(netbird->word);
	g_free(netbird->complaint);
	g_free(netbird);
}

bool
netbird_feed(struct netbird *netbird, const char *octets, size_t length, GError **error)
{
	return cutter_feed(netbird->cutter, octets, length, error);
}

bool
netbird_is_inside(const struct netbird *netbird)
{
	return cutter_is_inside(netbird->cutter);
}
