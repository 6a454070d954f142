/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What it costs to find out who it was: enrich() and the selection of the mesh's flows, with as many peers and prefixes
 * as asked for, any of which may be the next; policies too. One line of JSON. */

#include <glib.h>

#include "bench/tool.h"
#include "enrich/directory.h"
#include "enrich/enrich.h"
#include "enrich/networks.h"

enum { BATCH = 64, RULES = 200, GROUPS = 50, MESH = 7 };

struct figures {
	uint64_t peers;
	uint64_t prefixes;
	uint64_t flows;
};

static double
cpu_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
	return time.tv_sec * 1e9 + time.tv_nsec;
}

static union address
peer_address(uint64_t n)
{
	return (union address){ .v4 = { 100, 64 + n / 65536 % 64, n / 256 % 256, n % 256 } };
}

static union address
site_address(uint64_t n, uint8_t host)
{
	return (union address){ .v4 = { 10 + n / 65536 % 80, n / 256 % 256, n % 256, host } };
}

static void
add_peer(struct roster *roster, uint64_t n)
{
	struct roster_prefix prefix = { .family = 4, .length = 32 };
	g_autofree char *name = g_strdup_printf("peer-%" PRIu64, n), *user = g_strdup_printf("user-%" PRIu64, n / 3);
	g_autofree char *group = g_strdup_printf("group-%" PRIu64, n % GROUPS);
	const char *words[WORDS] = { [WORD_PEER] = name, [WORD_USER] = user, [WORD_GROUPS] = group };
	const char *tags[] = { group, NULL };

	prefix.address = peer_address(n);
	roster_add(roster, &prefix, words, tags);
}

static void
add_site(struct roster *roster, uint64_t n)
{
	struct roster_prefix prefix = { .family = 4, .length = 24 };
	g_autofree char *name = g_strdup_printf("router-%" PRIu64, n % 500), *site = g_strdup_printf("site-%" PRIu64, n);
	g_autofree char *tag = g_strdup_printf("resource-%" PRIu64, n % GROUPS);
	const char *words[WORDS] = { [WORD_VIA] = name, [WORD_RESOURCE] = site, [WORD_NETWORK] = site };
	const char *tags[] = { tag, NULL };

	prefix.address = site_address(n, 0);
	roster_add(roster, &prefix, words, tags);
}

static void
add_rule(struct roster *roster, unsigned n)
{
	g_autofree char *name = g_strdup_printf("policy-%u", n), *from = g_strdup_printf("group-%u", n % GROUPS);
	g_autofree char *to = g_strdup_printf("resource-%u", (n * 7 + n / GROUPS) % GROUPS);
	const char *sources[] = { from, NULL }, *destinations[] = { to, NULL };
	const struct roster_ports ports = { 443, 443 };
	const struct roster_policy policy = { .name = name, .sources = sources, .destinations = destinations,
	                                      .ports = &ports, .n_ports = 1, .protocol = 6 };

	roster_add_policy(roster, &policy);
}

static struct roster *
make_roster(const struct figures *figures)
{
	struct roster *roster = roster_new();

	for (uint64_t n = 0; n < figures->peers; n++)
		add_peer(roster, n);
	for (uint64_t n = 0; n < figures->prefixes; n++)
		add_site(roster, n);
	for (unsigned n = 0; n < RULES; n++)
		add_rule(roster, n);
	return roster;
}

static struct directory *
make_directory(const struct figures *figures, double *milliseconds)
{
	g_autoptr(history_t) history = history_new(0);
	g_autoptr(roster_t) roster = make_roster(figures);
	const struct directory_input input = { .history = history, .roster = { [ROSTER_API] = roster } };

	history_take(history, ROSTER_API, roster->entry, 1000);
	const double begin = cpu_ns();
	struct directory *directory = directory_new(&input);
	*milliseconds = (cpu_ns() - begin) / 1e6;
	return directory;
}

static struct networks *
make_networks(const struct directory *directory)
{
	struct own_address own[2];

	memset(own, 0, sizeof own);
	roster_prefix_parse("100.64.0.1/10", &own[0].prefix);
	own[0].interface = MESH;
	roster_prefix_parse("10.0.0.1/24", &own[1].prefix);
	own[1].interface = 2;
	return networks_new(MESH, own, 2, directory);
}

/* Peers that ask sites, half of them translated, half of them without a mark. */
static void
fill(struct flow *flow, const struct figures *figures, uint64_t n)
{
	const uint64_t peer = n * UINT64_C(2654435761) % figures->peers, site = n * UINT64_C(2246822519) % figures->prefixes;

	*flow = (struct flow){ .family = 4, .protocol = 6, .born = 5000, .mark = n % 2 ? 0x1bd10 : 0 };
	flow->original.source = peer_address(peer);
	flow->original.destination = flow->reply.source = site_address(site, n);
	flow->reply.destination = n / 2 % 2 ? site_address(0, 1) : flow->original.source;
	flow->original.destination_port = flow->reply.source_port = 443;
	flow->original.ingress = flow->reply.egress = MESH;
	flow->original.egress = flow->reply.ingress = 2;
}

static unsigned
enrich_batch(struct flow *flow, const struct networks *networks, const struct directory *directory)
{
	unsigned found = 0;

	for (unsigned i = 0; i < BATCH; i++)
		directory_prefetch(directory, &flow[i]);
	for (unsigned i = 0; i < BATCH; i++) {
		enrich(&flow[i], networks, directory);
		found += enrich_is_of_mesh(&flow[i], networks, directory) && flow[i].initiator && flow[i].responder;
	}
	return found;
}

static void
measure(const struct figures *figures)
{
	double built, spent = 0;
	g_autoptr(directory_t) directory = make_directory(figures, &built);
	g_autoptr(networks_t) networks = make_networks(directory);
	struct flow flow[BATCH];
	uint64_t found = 0, done = 0, allowed = 0;

	for (; done < figures->flows; done += BATCH) {
		for (unsigned i = 0; i < BATCH; i++)
			fill(&flow[i], figures, done + i);
		const double begin = cpu_ns();
		found += enrich_batch(flow, networks, directory);
		spent += cpu_ns() - begin;
		for (unsigned i = 0; i < BATCH; i++)
			allowed += flow[i].policy != 0;
	}
	if (found != done)
		errx(EX_SOFTWARE, "%" PRIu64 " of %" PRIu64 " flows found at both ends", found, done);
	printf("{\"peers\": %" PRIu64 ", \"prefixes\": %" PRIu64 ", \"flows\": %" PRIu64 ", \"with_policy\": %" PRIu64
	       ", \"ns_per_flow\": %.1f, \"build_ms\": %.0f}\n", figures->peers, figures->prefixes, done, allowed,
	       spent / done, built);
}

int
main(int argc, char **argv)
{
	static struct figures figures = { 100000, 10000, 1000000 };
	static const struct tool_option options[] = {
		{ "--peers", "N", take_number, &figures.peers, "peers with an address each (100000)" },
		{ "--prefixes", "N", take_number, &figures.prefixes, "prefixes behind some of them (10000)" },
		{ "--flows", "N", take_number, &figures.flows, "flows to find the ends of (1000000)" },
	};
	size_t count = sizeof options / sizeof *options;

	if (read_options(argc, argv, "who [options]", options, count))
		show_usage("who [options]", options, count, EX_USAGE);
	if (!figures.peers || figures.peers > 64 << 16 || !figures.prefixes || figures.prefixes > 80 << 16)
		errx(EX_USAGE, "--peers is 1 to %d, --prefixes 1 to %d", 64 << 16, 80 << 16);
	measure(&figures);
	return EXIT_SUCCESS;
}
