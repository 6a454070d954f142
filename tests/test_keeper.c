/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The thread that makes directories: what sources say together, when it says so, and that nobody waits for it. */

#include "enrich/keeper.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include <glib/gstdio.h>

#include "directories.h"

enum { PATIENCE = 20 };             /* seconds */

struct desk {
	struct keeper *keeper;
	struct directory *directory;
	unsigned deliveries;
};

static void
on_ready(struct directory *directory, void *data)
{
	struct desk *desk = data;

	keeper_discard(desk->keeper, desk->directory);
	desk->directory = directory;
	desk->deliveries++;
}

static void
open_desk(struct desk *desk, const char *state)
{
	*desk = (struct desk){ .keeper = NULL };
	desk->keeper = keeper_open(state, 3600 * 1000, on_ready, desk);
}

static void
close_desk(struct desk *desk)
{
	keeper_close(desk->keeper);
	directory_free(desk->directory);
}

static struct roster *
roster_of(const char *text)
{
	struct roster *roster = peers_parse("file", text, strlen(text), NULL);

	CU_ASSERT_PTR_NOT_NULL_FATAL(roster);
	return roster;
}

static gboolean
on_timeout(gpointer expired)
{
	*(bool *)expired = true;
	return G_SOURCE_REMOVE;
}

/* Runs the main loop until the address has that name now. */
static void
await(struct desk *desk, const char *address, const char *name)
{
	bool expired = false;
	const guint timer = g_timeout_add_seconds(PATIENCE, on_timeout, &expired);

	while (!expired && (!desk->directory || strcmp(who_of(desk->directory, address, UINT64_MAX), name) != 0))
		g_main_context_iteration(NULL, true);
	CU_ASSERT_FALSE_FATAL(expired);
	g_source_remove(timer);
}

/* ---- tests ---- */

static void
test_delivers(void)
{
	struct desk desk;

	open_desk(&desk, NULL);
	keeper_take(desk.keeper, ROSTER_FILE, roster_of("192.0.2.1 alice\n"));
	await(&desk, "192.0.2.1", "alice");
	keeper_take(desk.keeper, ROSTER_NETBIRD, roster_of("192.0.2.1 alice.netbird\n"));
	await(&desk, "192.0.2.1", "alice.netbird");
	keeper_take(desk.keeper, ROSTER_NETBIRD, NULL);
	await(&desk, "192.0.2.1", "alice");
	keeper_take(desk.keeper, ROSTER_FILE, NULL);
	await(&desk, "192.0.2.1", "-");
	close_desk(&desk);
	keeper_close(NULL);
}

/* Nothing new is no reason for a new directory. */
static void
test_settles(void)
{
	struct desk desk;

	open_desk(&desk, NULL);
	desk.directory = keeper_settle(desk.keeper, -1);
	CU_ASSERT_EQUAL(directory_names(desk.directory)->n_rows, 0);
	directory_free(desk.directory);
	keeper_take(desk.keeper, ROSTER_FILE, roster_of("192.0.2.1 alice\n"));
	desk.directory = keeper_settle(desk.keeper, -1);
	CU_ASSERT_STRING_EQUAL(who_of(desk.directory, "192.0.2.1", 0), "alice");
	const struct directory *first = desk.directory;
	for (unsigned i = 0; i < 5; i++)
		keeper_take(desk.keeper, ROSTER_FILE, roster_of("192.0.2.1 alice\n"));
	keeper_take(desk.keeper, ROSTER_API, NULL);
	CU_ASSERT_PTR_NULL(keeper_settle(desk.keeper, -1));
	while (g_main_context_iteration(NULL, false))
		;
	CU_ASSERT_PTR_EQUAL(desk.directory, first);
	CU_ASSERT_EQUAL(desk.deliveries, 0);
	close_desk(&desk);
}

/* Who cannot wait gets it later. */
static void
test_impatient(void)
{
	g_autoptr(GString) text = g_string_new("192.0.2.1 alice\n");
	struct desk desk;

	for (unsigned i = 0; i < 50000; i++)
		g_string_append_printf(text, "10.%u.%u.1 peer-%u\n", i / 256, i % 256, i);
	open_desk(&desk, NULL);
	desk.directory = keeper_settle(desk.keeper, -1);
	keeper_take(desk.keeper, ROSTER_FILE, roster_of(text->str));
	CU_ASSERT_PTR_NULL(keeper_settle(desk.keeper, 0));
	await(&desk, "192.0.2.1", "alice");
	close_desk(&desk);
}

/* This host, what it serves, who routes what, whose a domain is: what no entry says in so many words. */
static void
test_derived(void)
{
	struct desk desk;
	struct roster *netbird = roster_of("100.90.0.2 site-b\n"), *api = roster_new(), *wireguard = roster_new();
	const struct roster_prefix own = prefix_of("100.90.0.1/16"), served = prefix_of("10.20.0.0/24");
	const struct roster_prefix site = prefix_of("10.30.0.0/24"), all = prefix_of("0.0.0.0/0");
	const struct roster_prefix gateway = prefix_of("100.90.0.2"), stranger = prefix_of("100.90.0.3");
	const struct roster_prefix other = prefix_of("10.40.0.0/24"), crm = prefix_of("10.30.0.44");
	const struct roster_prefix sub = prefix_of("10.30.0.45"), near = prefix_of("10.30.0.46");
	const char *words[WORDS] = { [WORD_RESOURCE] = "crm", [WORD_NETWORK] = "site-b-net" };
	const char *wild[WORDS] = { [WORD_RESOURCE] = "wild" };

	roster_set_own_name(netbird, "router-a");
	roster_add_overlay(netbird, &own);
	roster_add_served(netbird, &served);
	roster_add_word(netbird, &all, WORD_VIA, "exit-node");
	roster_add_word(netbird, &crm, WORD_DOMAIN, "crm.example.com");
	roster_add_word(netbird, &sub, WORD_DOMAIN, "a.b.example.org");
	roster_add_word(netbird, &near, WORD_DOMAIN, "badexample.org");
	roster_add_domain(api, "CRM.example.com", words, NULL);
	roster_add_domain(api, "*.example.org", wild, NULL);
	roster_add_route(wireguard, &site, &gateway);
	roster_add_route(wireguard, &other, &stranger);
	open_desk(&desk, NULL);
	/* In an order in which each needs what comes later. */
	keeper_take(desk.keeper, ROSTER_WIREGUARD, wireguard);
	keeper_take(desk.keeper, ROSTER_API, api);
	keeper_take(desk.keeper, ROSTER_NETBIRD, netbird);
	desk.directory = keeper_settle(desk.keeper, -1);
	CU_ASSERT_STRING_EQUAL(word_of(desk.directory, "100.90.0.1", UINT64_MAX, WORD_PEER), "router-a");
	CU_ASSERT_STRING_EQUAL(word_of(desk.directory, "10.20.0.9", UINT64_MAX, WORD_VIA), "router-a");
	CU_ASSERT_STRING_EQUAL(word_of(desk.directory, "10.30.0.9", UINT64_MAX, WORD_VIA), "site-b");
	CU_ASSERT_STRING_EQUAL(word_of(desk.directory, "10.40.0.9", UINT64_MAX, WORD_VIA), "-");
	CU_ASSERT_STRING_EQUAL(word_of(desk.directory, "203.0.113.9", UINT64_MAX, WORD_VIA), "-");
	CU_ASSERT_STRING_EQUAL(word_of(desk.directory, "10.30.0.44", UINT64_MAX, WORD_RESOURCE), "crm");
	CU_ASSERT_STRING_EQUAL(word_of(desk.directory, "10.30.0.44", UINT64_MAX, WORD_NETWORK), "site-b-net");
	CU_ASSERT_STRING_EQUAL(word_of(desk.directory, "10.30.0.44", UINT64_MAX, WORD_VIA), "site-b");
	CU_ASSERT_STRING_EQUAL(word_of(desk.directory, "10.30.0.45", UINT64_MAX, WORD_RESOURCE), "wild");
	CU_ASSERT_STRING_EQUAL(word_of(desk.directory, "10.30.0.46", UINT64_MAX, WORD_RESOURCE), "-");
	CU_ASSERT_STRING_EQUAL(directory_own_name(desk.directory), "router-a");
	close_desk(&desk);
}

/* A source that has not answered yet after a restart is remembered; one that is not asked any more is not. */
static void
test_restart(void)
{
	g_autofree char *state = g_dir_make_tmp("peerflow-keeper-XXXXXX", NULL);
	struct desk desk;

	open_desk(&desk, state);
	keeper_take(desk.keeper, ROSTER_NETBIRD, roster_of("192.0.2.1 alice\n"));
	keeper_take(desk.keeper, ROSTER_FILE, roster_of("192.0.2.2 bob\n"));
	close_desk(&desk);
	open_desk(&desk, state);
	keeper_take(desk.keeper, ROSTER_FILE, NULL);
	desk.directory = keeper_settle(desk.keeper, -1);
	CU_ASSERT_STRING_EQUAL(who_of(desk.directory, "192.0.2.1", UINT64_MAX), "alice");
	CU_ASSERT_STRING_EQUAL(who_of(desk.directory, "192.0.2.2", UINT64_MAX), "-");
	CU_ASSERT_STRING_EQUAL(who_of(desk.directory, "192.0.2.2", 1000), "bob");
	close_desk(&desk);
	for (unsigned i = 0; i < 2; i++) {
		g_autofree char *path = g_build_filename(state, i ? "names" : "names.lock", NULL);
		CU_ASSERT_EQUAL(unlink(path), 0);
	}
	CU_ASSERT_EQUAL(rmdir(state), 0);
}

/* Of this thread: the machine may be busy with others. */
static double
cpu_ms(void)
{
	struct timespec time;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
	return time.tv_sec * 1e3 + time.tv_nsec / 1e6;
}

/* Handing over a large mesh again and again costs the main thread next to nothing. */
static void
test_no_stall(void)
{
	enum { PEERS = 100000 };
	g_autoptr(GString) text = g_string_new(NULL);
	struct roster *rosters[3];
	struct desk desk;
	const gint64 deadline = g_get_monotonic_time() + 3 * PATIENCE * G_TIME_SPAN_SECOND;
	double longest = 0;

	open_desk(&desk, NULL);
	for (unsigned n = 0; n < G_N_ELEMENTS(rosters); n++) {
		g_string_truncate(text, 0);
		for (unsigned i = 0; i < PEERS; i++)
			g_string_append_printf(text, "100.%u.%u.%u peer-%u-%u\n", 64 + i / 65536, i / 256 % 256, i % 256, i, n);
		rosters[n] = roster_of(text->str);
	}
	for (unsigned n = 0; n < G_N_ELEMENTS(rosters); n++) {
		keeper_take(desk.keeper, ROSTER_NETBIRD, rosters[n]);
		g_autofree char *last = g_strdup_printf("peer-99999-%u", n);
		while (!desk.directory || strcmp(who_of(desk.directory, "100.65.134.159", UINT64_MAX), last) != 0) {
			const double before = cpu_ms();
			g_main_context_iteration(NULL, false);
			longest = MAX(longest, cpu_ms() - before);
			g_usleep(1000);
			CU_ASSERT_FATAL(g_get_monotonic_time() < deadline);
		}
	}
	printf("longest turn of the main loop %.2f ms ", longest);
	CU_ASSERT_TRUE(longest < 20);
	CU_ASSERT_EQUAL(directory_names(desk.directory)->n_rows, PEERS);
	close_desk(&desk);
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "what a source says arrives", test_delivers },
		{ "nothing new", test_settles },
		{ "no time to wait", test_impatient },
		{ "what follows from what is said", test_derived },
		{ "a restart", test_restart },
		{ "a large mesh", test_no_stall },
		CU_TEST_INFO_NULL,
	};

	return run_suite("keeper", tests);
}
