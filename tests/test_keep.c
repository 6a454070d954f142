/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The archive among those that take the journal's flows: which flow is the next, what is told of those it missed, and
 * which gaps it tells. */

#include "keep.h"

#include <glib/gstdio.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "archive/scan.h"
#include "encode/encoder.h"
#include "error.h"
#include "suite.h"

static const struct name name_table[] = { { "-", 1 }, { "alice", 5 }, { "bob", 3 } };
static const struct identity identity_table[] = { { { 0 } }, { { [WORD_PEER] = 1 } }, { { [WORD_PEER] = 2 } } };
static const struct names names = { name_table, 3, identity_table, 3, NULL, 0 };
static const struct interface_name interfaces[] = { { 1, "lo" }, { 2, "wt0" } };

struct bench {
	char *directory;
	struct keep_memory *memory;
	struct ledger *ledger;
	struct output_identity identity;
	struct config_archive config;
};

static void
begin(struct bench *bench)
{
	*bench = (struct bench){
		.directory = g_dir_make_tmp("test_keep-XXXXXX", NULL),
		.memory = g_new0(struct keep_memory, 1),
		.ledger = ledger_new(NULL, NULL),
	};
	bench->identity = (struct output_identity){
		.domain = 77, .template_directory = SOURCE_DIR "/templates", .interface = interfaces,
		.n_interfaces = G_N_ELEMENTS(interfaces), .ledger = bench->ledger, .domain_name = "router-a",
	};
	bench->config = (struct config_archive){
		.enabled = true, .path = bench->directory, .rotate = 3600, .rotate_size = 64 << 20, .sync = CONFIG_SYNC_ROTATE,
	};
}

static void
end(struct bench *bench)
{
	g_autoptr(GDir) directory = g_dir_open(bench->directory, 0, NULL);

	for (const char *name; (name = g_dir_read_name(directory));) {
		g_autofree char *path = g_build_filename(bench->directory, name, NULL);
		CU_ASSERT_EQUAL(g_unlink(path), 0);
	}
	CU_ASSERT_EQUAL(g_rmdir(bench->directory), 0);
	ledger_free(bench->ledger);
	g_free(bench->memory);
	g_free(bench->directory);
}

static struct keep *
open_at(struct bench *bench, uint64_t head)
{
	g_autoptr(GError) error = NULL;
	struct keep *keep = keep_open(&bench->config, &bench->identity, bench->memory, head, NULL, &error);

	if (!keep)
		CU_FAIL(error->message);
	CU_ASSERT_PTR_NOT_NULL_FATAL(keep);
	return keep;
}

static void
take(struct keep *keep, uint64_t first, uint64_t last)
{
	struct flow flow = { .family = 4, .protocol = 6, .original.packets = 1, .reply.packets = 1 };

	for (uint64_t number = first; number <= last; number++) {
		flow.flow_id = number;
		flow.initiator = 1 + number % 2;
		flow.start = flow.end = 1700000000000 + number;
		CU_ASSERT_TRUE_FATAL(keep_follows(keep, number));
		CU_ASSERT_TRUE_FATAL(keep_flow(keep, &flow, &names, number));
	}
}

static void
await_mark(const struct keep *keep, uint64_t head)
{
	for (unsigned i = 0; i < 1000 && keep_behind(keep, head); i++)
		g_usleep(10000);
	CU_ASSERT_EQUAL(keep_behind(keep, head), 0);
}

/* What the archive says: "1 2 3" for flows, "kind:flows:first-last" for gaps. */

static void
on_gap(const struct gap *gap, size_t path, void *data)
{
	(void)path;
	g_string_append_printf(data, "%s:%" PRIu64 ":%" PRIu64 "-%" PRIu64 " ", gap_name(gap->kind), gap->flows, gap->first,
	                       gap->last);
}

static void
on_trouble(const char *text, void *data)
{
	(void)data;
	CU_FAIL("trouble");
	printf("\n    %s", text);
}

static char *
contents(const struct bench *bench, bool gaps)
{
	char *paths[] = { bench->directory, NULL };
	g_autoptr(GString) text = g_string_new("");
	const struct scan_options options = { .paths = paths, .last = UINT64_MAX, .enterprise = DOCUMENTATION_ENTERPRISE,
	                                      .trouble = on_trouble, .gap = gaps ? on_gap : NULL, .data = text };
	g_autoptr(scan_t) scan = scan_open(&options, NULL);
	struct scan_record record;

	CU_ASSERT_PTR_NOT_NULL_FATAL(scan);
	while (scan_next(scan, &record)) {
		const char *peer = record.names->name[names_word(record.names, record.flow.initiator, WORD_PEER)].text;
		CU_ASSERT_STRING_EQUAL(peer, record.flow.flow_id % 2 ? "bob" : "alice");
		if (!gaps)
			g_string_append_printf(text, "%" PRIu64 " ", record.flow.flow_id);
	}
	return g_string_free(g_steal_pointer(&text), false);
}

static void
expect(const struct bench *bench, bool gaps, const char *wanted)
{
	g_autofree char *text = contents(bench, gaps);

	CU_ASSERT_STRING_EQUAL(text, wanted);
	if (strcmp(text, wanted) != 0)
		printf("\n    %s", text);
}

/* ---- tests ---- */

/* A new archive begins behind the head, the next process where this one ended. */
static void
test_cursor(void)
{
	struct bench bench;

	begin(&bench);
	struct keep *keep = open_at(&bench, 10);
	CU_ASSERT_TRUE(keep_follows(keep, 11));
	CU_ASSERT_FALSE(keep_follows(keep, 12));
	CU_ASSERT_EQUAL(keep_next(keep, 3), 11);
	take(keep, 11, 13);
	keep_skip(keep, 14);
	take(keep, 15, 15);
	keep_close(keep);
	keep = open_at(&bench, 20);
	CU_ASSERT_TRUE(keep_follows(keep, 16));
	take(keep, 16, 16);
	keep_flush(keep, true);
	await_mark(keep, 16);
	keep_skip(keep, 17);
	CU_ASSERT_EQUAL(keep_behind(keep, 17), 0);
	CU_ASSERT_EQUAL(keep_behind(keep, 19), 2);
	keep_close(keep);
	/* A journal that was begun anew. */
	keep = open_at(&bench, 5);
	CU_ASSERT_TRUE(keep_follows(keep, 6));
	keep_close(keep);
	/* One that was off meanwhile. */
	keep_forget(bench.memory);
	keep = open_at(&bench, 30);
	CU_ASSERT_TRUE(keep_follows(keep, 31));
	keep_close(keep);
	expect(&bench, false, "11 12 13 15 16 ");
	end(&bench);
}

static void
test_missed(void)
{
	struct bench bench;
	struct gap sum;

	begin(&bench);
	struct keep *keep = open_at(&bench, 0);
	take(keep, 1, 2);
	keep_flush(keep, true);
	CU_ASSERT_EQUAL(keep_next(keep, 3), 3);
	CU_ASSERT_FALSE(ledger_sum(bench.ledger, 1 << GAP_ARCHIVE, "", &sum));
	CU_ASSERT_EQUAL(keep_next(keep, 100), 100);
	CU_ASSERT_TRUE(ledger_sum(bench.ledger, 1 << GAP_ARCHIVE, "", &sum));
	CU_ASSERT_EQUAL(sum.flows, 97);
	CU_ASSERT_TRUE(sum.unknown);
	CU_ASSERT_TRUE(sum.first && sum.first <= sum.last);
	keep_close(keep);
	/* What was told is not told again by the next, whose mark knows nothing of it. */
	keep = open_at(&bench, 200);
	CU_ASSERT_EQUAL(keep_next(keep, 50), 50);
	CU_ASSERT_TRUE(ledger_sum(bench.ledger, 1 << GAP_ARCHIVE, "", &sum));
	CU_ASSERT_EQUAL(sum.flows, 97);
	CU_ASSERT_EQUAL(keep_next(keep, 110), 110);
	ledger_sum(bench.ledger, 1 << GAP_ARCHIVE, "", &sum);
	CU_ASSERT_EQUAL(sum.flows, 107);
	take(keep, 110, 111);
	CU_ASSERT_EQUAL(keep_next(keep, 120), 120);
	ledger_sum(bench.ledger, 1 << GAP_ARCHIVE, "", &sum);
	CU_ASSERT_EQUAL(sum.flows, 115);
	take(keep, 120, 120);
	keep_close(keep);
	expect(&bench, false, "1 2 110 111 120 ");
	end(&bench);
}

static void
lose(struct bench *bench, unsigned kind, uint64_t flows, uint64_t first, uint64_t last, const char *collector)
{
	struct gap gap = { .kind = kind, .flows = flows, .first = first, .last = last };

	gap_set_collector(&gap, collector);
	ledger_add(bench->ledger, &gap);
}

/* Each is told once, one that grows as what it grew by; those of collectors are not, nor are those of before. */
static void
test_gaps(void)
{
	struct bench bench;

	begin(&bench);
	lose(&bench, GAP_AWAY, 7, 1000, 2000, "");
	struct keep *keep = open_at(&bench, 0);
	keep_tick(keep, 1700000000000, 0);
	lose(&bench, GAP_OVERRUN, 1, 5000, 6000, "");
	lose(&bench, GAP_QUEUE, 9, 5000, 6000, "nfdump");
	keep_tick(keep, 1700000001000, 0);
	lose(&bench, GAP_OVERRUN, 2, 7000, 8000, "");
	keep_tick(keep, 1700000002000, 0);
	keep_tick(keep, 1700000003000, 0);
	keep_close(keep);
	keep = open_at(&bench, 0);
	keep_tick(keep, 1700000004000, 0);
	lose(&bench, GAP_OVERRUN, 4, 900000, 900001, "");
	lose(&bench, GAP_FUSE, 8, 3, 4, "");
	keep_tick(keep, 1700000005000, 0);
	keep_close(keep);
	expect(&bench, true, "overrun:1:5000-6000 overrun:2:6000-8000 overrun:4:900000-900001 fuse:8:3-4 ");
	end(&bench);
}

/* Files that end by their size can each be read, and nothing is lost or comes twice between them. */
static void
test_rotation(void)
{
	struct bench bench;
	unsigned flows = 0;

	begin(&bench);
	bench.config.rotate_size = 64 << 10;
	struct keep *keep = open_at(&bench, 0);
	take(keep, 1, 10000);
	keep_close(keep);
	g_autofree char *text = contents(&bench, false);
	g_auto(GStrv) ids = g_strsplit(g_strchomp(text), " ", -1);
	for (char **id = ids; *id; id++)
		CU_ASSERT_EQUAL(g_ascii_strtoull(*id, NULL, 10), ++flows);
	CU_ASSERT_EQUAL(flows, 10000);
	struct store_status status;
	keep = open_at(&bench, 10000);
	keep_status(keep, &status);
	CU_ASSERT_TRUE(status.files > 3);
	keep_close(keep);
	end(&bench);
}

/* With other names the same numbers mean others. */
static void
test_names(void)
{
	const struct identity others[] = { { { 0 } }, { { [WORD_PEER] = 2 } }, { { [WORD_PEER] = 1 } } };
	const struct names changed = { name_table, 3, others, 3, NULL, 0 };
	struct flow flow = { .family = 4, .protocol = 17, .flow_id = 2, .initiator = 2 };
	struct bench bench;

	begin(&bench);
	struct keep *keep = open_at(&bench, 0);
	take(keep, 1, 1);
	bench.identity.names_version++;
	CU_ASSERT_TRUE(keep_flow(keep, &flow, &changed, 2));
	keep_close(keep);
	expect(&bench, false, "1 2 ");
	end(&bench);
}

static void
test_same(void)
{
	struct bench bench;

	begin(&bench);
	struct keep *keep = open_at(&bench, 0);
	const struct config_archive config = bench.config;
	const struct output_identity identity = bench.identity;
	CU_ASSERT_TRUE(keep_same(keep, &bench.config, &bench.identity));
#define DIFFERS(member, value) do { \
	bench.member = value; \
	CU_ASSERT_FALSE(keep_same(keep, &bench.config, &bench.identity)); \
	bench.config = config; \
	bench.identity = identity; \
} while (0)
	DIFFERS(config.path, (char *)"/elsewhere");
	DIFFERS(config.rotate, 1);
	DIFFERS(config.rotate_size, 1);
	DIFFERS(config.retain, 1);
	DIFFERS(config.max_size, 1);
	DIFFERS(config.sync, CONFIG_SYNC_FLOW);
	DIFFERS(identity.domain, 1);
	DIFFERS(identity.enterprise, 64512);
	DIFFERS(identity.template_directory, "/nowhere");
	keep_close(keep);
	end(&bench);
}

static void
test_refused(void)
{
	struct bench bench;
	g_autoptr(GError) no_template = NULL, no_directory = NULL;

	begin(&bench);
	bench.identity.template_directory = "/nowhere";
	CU_ASSERT_FALSE(keep_check(&bench.config, &bench.identity, NULL, &no_template));
	CU_ASSERT_PTR_NOT_NULL_FATAL(no_template);
	CU_ASSERT_EQUAL(no_template->code, EX_CONFIG);
	CU_ASSERT_TRUE(g_str_has_prefix(no_template->message, "[archive]: template file: "));
	bench.identity.template_directory = SOURCE_DIR "/templates";
	CU_ASSERT_TRUE(keep_check(&bench.config, &bench.identity, NULL, NULL));
	bench.config.path = (char *)"/proc/nowhere";
	CU_ASSERT_PTR_NULL(keep_open(&bench.config, &bench.identity, bench.memory, 0, NULL, &no_directory));
	CU_ASSERT_PTR_NOT_NULL_FATAL(no_directory);
	CU_ASSERT_TRUE(g_str_has_prefix(no_directory->message, "[archive]: /proc/nowhere"));
	end(&bench);
}

static GLogWriterOutput
no_log(GLogLevelFlags level, const GLogField *field, gsize n, gpointer data)
{
	(void)level, (void)field, (void)n, (void)data;
	return G_LOG_WRITER_HANDLED;
}

int
main(void)
{
	static CU_TestInfo tests[] = {
		{ "which flow is the next", test_cursor },
		{ "flows that were missed", test_missed },
		{ "gaps", test_gaps },
		{ "rotation by size", test_rotation },
		{ "other names", test_names },
		{ "what a reload changes", test_same },
		{ "what cannot be", test_refused },
		CU_TEST_INFO_NULL,
	};

	g_log_set_writer_func(no_log, NULL, NULL);
	return run_suite("keep", tests);
}
