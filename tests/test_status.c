/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the daemon tells of itself, and what people see of it. */

#include "status.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <jansson.h>

#include "error.h"
#include "ledger.h"
#include "suite.h"

/* Two collectors, one of which is in trouble, and two gaps. */
static char *
example(struct ledger *ledger)
{
	static const struct status_collector collectors[] = {
		{ .name = "nfdump", .host = "192.0.2.20", .transport = "udp", .protocol = "netflow9", .template_name = "nfdump",
		  .state = "sending", .address = "192.0.2.20 port 9995", .trouble = "", .port = 9995,
		  .counters = { .messages_sent = 71, .octets_sent = 123456, .flow_records_sent = 1234, .sessions = 1 } },
		{ .name = "far", .host = "flows.example.org", .transport = "tcp", .protocol = "ipfix",
		  .template_name = "default", .state = "waiting", .address = "", .trouble = "lost it: Connection reset",
		  .port = 4739, .queue_filled = 2 << 20, .queue_size = 4 << 20,
		  .counters = { .flow_records_dropped = 12, .dropped = { [DROP_QUEUE_FULL] = { .flow_records = 12 } } } },
	};
	static const struct status_source source = { "netbird", "good", "3 peers", 1700000000000, 1700000002000, 5, 1, 4 };
	const struct status status = {
		.version = "0.1.0", .configuration = "/etc/peerflow/exporter.conf", .pid = 4711, .started = 1700000000000,
		.uptime = 93784, .domain = 1681915905, .names = 3, .viewers = 1, .exported = 1234,
		.source = { .events = 1300, .flows = 1240 },
		.mesh = "kernel", .mesh_sentence = "All is seen", .delivery = "reliable",
		.kernel = { .delivery_since = 1700000001000, .sweep_complete = true, .buffer = 64 << 20 },
		.names_from = &source, .n_names_from = 1, .collector = collectors, .n_collectors = 2, .ledger = ledger,
	};

	return status_json(&status);
}

static struct ledger *
ledger_with_gaps(void)
{
	struct ledger *ledger = ledger_new(NULL, NULL);
	struct gap gap = { .kind = GAP_OVERRUN, .first = 1700000001000, .last = 1700000002500, .flows = 5, .packets = 6,
	                   .octets = 7, .unknown = true };

	ledger_add(ledger, &gap);
	gap = (struct gap){ .kind = GAP_QUEUE, .first = 1700000003000, .last = 1700000003000, .flows = 12,
	                    .collector = "far" };
	ledger_add(ledger, &gap);
	return ledger;
}

static json_int_t
number(json_t *root, const char *group, const char *key)
{
	json_t *value = json_object_get(json_object_get(root, group), key);

	CU_ASSERT_TRUE(json_is_integer(value));
	return json_integer_value(value);
}

static GLogWriterOutput
no_log(GLogLevelFlags level, const GLogField *fields, gsize n, gpointer data)
{
	(void)level, (void)fields, (void)n, (void)data;
	return G_LOG_WRITER_HANDLED;
}

/* ---- tests ---- */

static void
test_json(void)
{
	struct ledger *ledger = ledger_with_gaps();
	g_autofree char *text = example(ledger);
	json_t *root = json_loads(text, 0, NULL);

	CU_ASSERT_PTR_NOT_NULL_FATAL(root);
	CU_ASSERT_EQUAL(text[strlen(text) - 1], '\n');
	CU_ASSERT_EQUAL(number(root, "daemon", "pid"), 4711);
	CU_ASSERT_EQUAL(number(root, "daemon", "started_ms"), 1700000000000);
	CU_ASSERT_EQUAL(number(root, "daemon", "uptime_s"), 93784);
	CU_ASSERT_EQUAL(number(root, "daemon", "observation_domain"), 1681915905);
	CU_ASSERT_EQUAL(number(root, "kernel", "events_received"), 1300);
	CU_ASSERT_EQUAL(number(root, "flows", "ended"), 1240);
	CU_ASSERT_EQUAL(number(root, "flows", "exported"), 1234);
	json_t *collector = json_array_get(json_object_get(root, "collectors"), 1);
	CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(collector, "name")), "far");
	CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(collector, "trouble")), "lost it: Connection reset");
	CU_ASSERT_EQUAL(json_integer_value(json_object_get(collector, "dropped_queue_full")), 12);
	CU_ASSERT_EQUAL(json_integer_value(json_object_get(collector, "port")), 4739);
	json_t *gaps = json_object_get(json_object_get(root, "gaps"), "totals"), *gap = json_array_get(gaps, 0);
	CU_ASSERT_EQUAL(json_array_size(gaps), 2);
	CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(gap, "kind")), "overrun");
	CU_ASSERT_EQUAL(json_integer_value(json_object_get(gap, "last_ms")), 1700000002500);
	CU_ASSERT_EQUAL(json_integer_value(json_object_get(gap, "octets")), 7);
	CU_ASSERT_TRUE(json_is_true(json_object_get(gap, "unknown")));
	CU_ASSERT_EQUAL(json_array_size(json_object_get(json_object_get(root, "gaps"), "last")), 2);
	json_decref(root);
	ledger_free(ledger);
}

static void
expect_in(const char *text, const char *wanted)
{
	CU_ASSERT_PTR_NOT_NULL(strstr(text, wanted));
	if (!strstr(text, wanted))
		printf("\n    no '%s' in\n%s", wanted, text);
}

static void
test_text(void)
{
	struct ledger *ledger = ledger_with_gaps();
	g_autofree char *json = example(ledger);
	g_autofree char *text = status_text(json, strlen(json), NULL);

	CU_ASSERT_PTR_NOT_NULL_FATAL(text);
	expect_in(text, "daemon\n  version                       0.1.0\n");
	expect_in(text, "  running since                 2023-11-14 22:13:20\n");
	expect_in(text, "  up for                        1 d 2 h 3 min\n");
	expect_in(text, "  mesh                          kernel\n  that is                       All is seen\n");
	expect_in(text, "\n\nkernel\n  ends of flows received        1300\n");
	expect_in(text, "  delivery                      reliable\n  since                         2023-11-14 22:13:21\n");
	expect_in(text, "  buffer: size                  64 Mi\n");
	expect_in(text, "  to its end                    yes\n  nothing outstanding or lost   no\n");
	expect_in(text,
	          "names from\n"
	          "  NAME     STATE  ENTRIES  LAST ANSWER          SAYS\n"
	          "  netbird  good         4  2023-11-14 22:13:22  3 peers\n");
	expect_in(text,
	          "collectors\n"
	          "  NAME    STATE    TO                           RECORDS  MESSAGES  OCTETS  LOST  QUEUE\n"
	          "  nfdump  sending  192.0.2.20 port 9995            1234        71  121 Ki     0  -\n"
	          "  far     waiting  flows.example.org port 4739        0         0       0    12  2.0 Mi of 4.0 Mi\n"
	          "  far: lost it: Connection reset\n"
	          "  far: queue full: 12\n");
	expect_in(text,
	          "gaps\n"
	          "  KIND     COLLECTOR       FLOWS  FIRST                LAST\n"
	          "  overrun  -          at least 5  2023-11-14 22:13:21  2023-11-14 22:13:22\n"
	          "  queue    far                12  2023-11-14 22:13:23  2023-11-14 22:13:23\n");
	expect_in(text, "\nlast gaps\n  2023-11-14 22:13:22  the kernel dropped at least 5 flow ends");
	ledger_free(ledger);
}

static void
test_nothing(void)
{
	struct ledger *ledger = ledger_new(NULL, NULL);
	const struct status status = { .version = "0.1.0", .configuration = "/c", .delivery = "plain", .mesh = "none",
	                               .mesh_sentence = "", .ledger = ledger };
	g_autofree char *json = status_json(&status);
	g_autofree char *text = status_text(json, strlen(json), NULL);

	expect_in(text, "  running since                 never\n  up for                        0 min 0 s\n");
	expect_in(text, "collectors\n  none\n\ngaps\n  none: nothing was lost\n");
	ledger_free(ledger);
}

/* What comes from another version, or from somebody else. */
static void
test_foreign(void)
{
	static const struct {
		const char *json;
		const char *result;     /* the error, or the text */
	} samples[] = {
		{ "", "what came from the socket is no whole JSON document" },
		{ "{\"daemon\":{\"pid\":1}", "what came from the socket is no whole JSON document" },
		{ "[]", "what came from the socket is not the status of a peerflowd" },
		{ "{\"daemon\":7}", "what came from the socket is not the status of a peerflowd" },
		{ "{\"daemon\":{}}", "\ncollectors\n  none\n\ngaps\n  none: nothing was lost\n" },
		{ "{\"daemon\":{\"pid\":\"x\",\"version\":7,\"new\":1},\"kernel\":[],\"collectors\":{},\"gaps\":[1]}",
		  "daemon\n  version                       \n  process                       0\n"
		  "\ncollectors\n  none\n\ngaps\n  none: nothing was lost\n" },
		{ "{\"daemon\":{},\"collectors\":[7],\"gaps\":{\"totals\":[\"a\"],\"last\":null}}",
		  "\ncollectors\n"
		  "  NAME  STATE  TO       RECORDS  MESSAGES  OCTETS  LOST  QUEUE\n"
		  "                port 0        0         0       0     0  -\n"
		  "\ngaps\n  KIND  COLLECTOR  FLOWS  FIRST  LAST\n        -              0  never  never\n\nlast gaps\n" },
	};

	for (unsigned i = 0; i < G_N_ELEMENTS(samples); i++) {
		g_autoptr(GError) error = NULL;
		g_autofree char *text = status_text(samples[i].json, strlen(samples[i].json), &error);
		const char *result = error ? error->message : text;
		CU_ASSERT_TRUE(!error || error->code == EX_DATAERR);
		CU_ASSERT_STRING_EQUAL(result, samples[i].result);
		if (strcmp(result, samples[i].result) != 0)
			printf("\n    %s:\n%s", samples[i].json, result);
	}
}

static char *
read_source(const char *path)
{
	g_autofree char *whole = g_strdup_printf(SOURCE_DIR "/%s", path);
	char *text = NULL;

	CU_ASSERT_TRUE_FATAL(g_file_get_contents(whole, &text, NULL, NULL));
	return text;
}

static void
expect_documented(json_t *object, const char *page, const char *manual)
{
	const char *key;
	json_t *value;

	json_object_foreach(object, key, value) {
		g_autofree char *in_page = g_strdup_printf("`%s`", key);
		if (!strstr(page, in_page) || !strstr(manual, key)) {
			CU_FAIL("a key that is not documented");
			printf("\n    %s", key);
		}
		if (json_is_object(value))
			expect_documented(value, page, manual);
		if (json_is_array(value))
			expect_documented(json_array_get(value, 0), page, manual);
	}
}

static void
test_documented(void)
{
	g_autofree char *page = read_source("docs/status.md"), *manual = read_source("packaging/man/peerflow.1");
	struct ledger *ledger = ledger_with_gaps();
	g_autofree char *text = example(ledger);
	json_t *root = json_loads(text, 0, NULL);

	expect_documented(root, page, manual);
	json_decref(root);
	ledger_free(ledger);
}

static void
test_send(void)
{
	g_autofree char *text = g_strnfill(1 << 20, 'x'), *got = g_malloc(2 << 20);
	size_t length = 0;
	ssize_t n;
	int ends[2];

	CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	status_send(ends[0], "{}\n");
	CU_ASSERT_EQUAL(read(ends[1], got, 100), 3);
	CU_ASSERT_EQUAL(read(ends[1], got, 100), 0);
	close(ends[1]);
	/* Nobody waits for who does not read. */
	CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	status_send(ends[0], text);
	while ((n = read(ends[1], got + length, (2 << 20) - length)) > 0)
		length += n;
	CU_ASSERT_TRUE(length > 65536);
	close(ends[1]);
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "JSON", test_json },
		{ "text", test_text },
		{ "text of nothing", test_nothing },
		{ "foreign documents", test_foreign },
		{ "every key is documented", test_documented },
		{ "sending", test_send },
		CU_TEST_INFO_NULL,
	};

	setenv("TZ", "UTC", 1);
	g_log_set_writer_func(no_log, NULL, NULL);
	return run_suite("status", tests);
}
