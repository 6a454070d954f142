/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "archive/import.h"
#include "error.h"
#include "suite.h"

/* As nfdump 1.7.1 writes it, tabs and all. */
#define HEAD "\t\"type\" : \"FLOW\",\n\t\"sampled\" : 0,\n\t\"export_sysid\" : 1,\n"
#define TIMES "\t\"first\" : \"2026-11-22T03:37:02.909\",\n\t\"last\" : \"2026-11-22T03:37:04.100\",\n" \
              "\t\"received\" : \"2026-11-22T03:37:06.000\",\n"
#define COUNTS "\t\"in_packets\" : 12,\n\t\"in_bytes\" : 1908,\n"
#define TCP "\t\"proto\" : 6,\n\t\"tcp_flags\" : \"...AP.SF\",\n\t\"src_port\" : 40002,\n\t\"dst_port\" : 5432,\n" \
            "\t\"src_tos\" : 0,\n"
#define ADDRESSES "\t\"src4_addr\" : \"10.20.0.20\",\n\t\"dst4_addr\" : \"10.30.0.30\",\n"
#define TRANSLATED "\t\"src4_xlt_ip\" : \"100.90.0.1\",\n\t\"dst4_xlt_ip\" : \"10.30.0.30\",\n" \
                   "\t\"src_xlt_port\" : \"40777\",\n\t\"dst_xlt_port\" : \"5432\",\n"
#define TAIL "\t\"label\" : \"<none>\"\n"
#define REST COUNTS TCP ADDRESSES TAIL "}"
#define FLOW "{\n" HEAD TIMES COUNTS TCP ADDRESSES TRANSLATED TAIL "}\n"

#define FIRST UINT64_C(1795318622909)

struct file {
	char path[64];
	struct import *import;
};

static void
open_text(struct file *file, const char *text)
{
	g_autoptr(GError) error = NULL;

	snprintf(file->path, sizeof file->path, "/tmp/peerflow-test-import-%d.json", (int)getpid());
	CU_ASSERT_TRUE_FATAL(g_file_set_contents(file->path, text, -1, &error));
	file->import = import_open(file->path, &error);
	CU_ASSERT_PTR_NOT_NULL_FATAL(file->import);
}

static void
close_text(struct file *file)
{
	import_free(file->import);
	unlink(file->path);
}

static bool
is_address(const union address *address, const char *text)
{
	union address wanted = { 0 };

	return inet_pton(strchr(text, ':') ? AF_INET6 : AF_INET, text, &wanted) == 1 &&
	       memcmp(address, &wanted, sizeof wanted) == 0;
}

static void
test_flow(void)
{
	g_autoptr(GError) error = NULL;
	struct file file;
	struct flow flow;

	open_text(&file, "[\n" FLOW ",\n" FLOW "]\n");
	CU_ASSERT_TRUE(import_is_json(file.path));
	CU_ASSERT_TRUE_FATAL(import_next(file.import, &flow, &error));
	CU_ASSERT_EQUAL(flow.family, 4);
	CU_ASSERT_EQUAL(flow.protocol, IPPROTO_TCP);
	CU_ASSERT_EQUAL(flow.start, FIRST);
	CU_ASSERT_EQUAL(flow.end, FIRST + 1191);
	CU_ASSERT_TRUE(is_address(&flow.original.source, "10.20.0.20"));
	CU_ASSERT_TRUE(is_address(&flow.original.destination, "10.30.0.30"));
	CU_ASSERT_EQUAL(flow.original.source_port, 40002);
	CU_ASSERT_EQUAL(flow.original.destination_port, 5432);
	CU_ASSERT_TRUE(is_address(&flow.reply.destination, "100.90.0.1"));
	CU_ASSERT_TRUE(is_address(&flow.reply.source, "10.30.0.30"));
	CU_ASSERT_EQUAL(flow.reply.destination_port, 40777);
	CU_ASSERT_EQUAL(flow.reply.source_port, 5432);
	CU_ASSERT_EQUAL(flow.translation, TRANSLATED_SOURCE);
	CU_ASSERT_EQUAL(flow.original.packets, 12);
	CU_ASSERT_EQUAL(flow.original.octets, 1908);
	CU_ASSERT_EQUAL(flow.reply.packets, 0);
	CU_ASSERT_EQUAL(flow.flow_id, 0);
	CU_ASSERT_TRUE(import_next(file.import, &flow, &error));
	CU_ASSERT_FALSE(import_next(file.import, &flow, &error));
	CU_ASSERT_PTR_NULL(error);
	CU_ASSERT_EQUAL(import_skipped(file.import), 0);
	close_text(&file);
}

/* One line each: what is put into the flow's text, and what the flow says then. */
static void
test_variants(void)
{
	static const char *const texts[] = {
		"{" TIMES "\"proto\": 58, \"icmp_type\": 128, \"icmp_code\": 1, \"src6_addr\": \"fd20::20\", "
		"\"dst6_addr\": \"fd30::30\", \"in_packets\": 1, \"in_bytes\": 100, \"out_packets\": 2, "
		"\"out_bytes\": 300}",
		"{" TIMES COUNTS TCP ADDRESSES "\"src4_xlt_ip\": \"0.0.0.0\", \"src_xlt_port\": \"0\"}",
		"{\"first\": \"2026-11-22T03:37:02Z\", \"last\": \"2026-11-22T03:37:02.5Z\", " REST,
		"{\"first\": \"2026-11-22T03:37:02Z\", \"last\": \"2026-11-22T03:37:02.500Z\", " REST,
	};
	g_autofree char *all = g_strjoin("\n", texts[0], texts[1], texts[2], texts[3], NULL);
	g_autoptr(GError) error = NULL;
	struct file file;
	struct flow flow;

	open_text(&file, all);
	CU_ASSERT_TRUE_FATAL(import_next(file.import, &flow, &error));
	CU_ASSERT_EQUAL(flow.family, 6);
	CU_ASSERT_TRUE(is_address(&flow.reply.destination, "fd20::20"));
	CU_ASSERT_EQUAL(flow.original.icmp, 128 * 256 + 1);
	CU_ASSERT_EQUAL(flow.original.source_port, 0);
	CU_ASSERT_EQUAL(flow.reply.packets, 2);
	CU_ASSERT_EQUAL(flow.reply.octets, 300);
	CU_ASSERT_EQUAL(flow.translation, 0);
	CU_ASSERT_TRUE_FATAL(import_next(file.import, &flow, &error));
	CU_ASSERT_EQUAL(flow.translation, 0);
	CU_ASSERT_EQUAL(flow.reply.destination_port, 40002);
	CU_ASSERT_TRUE_FATAL(import_next(file.import, &flow, &error));
	CU_ASSERT_EQUAL(flow.end, FIRST - 409);
	CU_ASSERT_FALSE(import_next(file.import, &flow, &error));
	CU_ASSERT_PTR_NULL(error);
	CU_ASSERT_EQUAL(import_skipped(file.import), 1);
	close_text(&file);
}

static void
test_flags(void)
{
	static const struct { const char *flags; uint8_t state; bool assured; } rows[] = {
		{ "......S.", 1, false }, { "...A..S.", 3, true }, { "...AP.SF", 7, true }, { "...A.RS.", 8, true },
		{ ".....R..", 8, false }, { "...A....", 3, false }, { "........", 0, false },
	};

	for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
		g_autofree char *text = g_strdup_printf("{" TIMES COUNTS "\"proto\": 6, \"tcp_flags\": \"%s\", " ADDRESSES
		                                        TAIL "}", rows[i].flags);
		struct file file;
		struct flow flow = { 0 };
		open_text(&file, text);
		CU_ASSERT_TRUE(import_next(file.import, &flow, NULL));
		CU_ASSERT_EQUAL(flow.state, rows[i].state);
		CU_ASSERT_EQUAL(flow.status != 0, rows[i].assured);
		close_text(&file);
	}
}

/* What is no flow is counted; what is no JSON ends the reading, and what came before is good. */
static void
test_wrong(void)
{
	static const struct { const char *text; unsigned flows, skipped; bool error; } rows[] = {
		{ "", 0, 0, false }, { "[]", 0, 0, false }, { "[\n]\n", 0, 0, false },
		{ "[" FLOW ", {}, 7, \"x\", null]", 1, 4, false },
		{ "[" FLOW ",\n{\"first\": ", 1, 0, true },
		{ "[" FLOW ",\n{\"first\" x", 1, 0, true },
		{ "not json", 0, 0, true },
		{ "{" TIMES COUNTS TCP "\"src4_addr\": \"10.20.0.20\"}", 0, 1, false },
		{ "{" TIMES COUNTS TCP "\"src4_addr\": \"fd20::20\", \"dst4_addr\": \"10.30.0.30\"}", 0, 1, false },
		{ "{" TIMES COUNTS "\"proto\": 256, " ADDRESSES TAIL "}", 0, 1, false },
		{ "{" TIMES COUNTS "\"proto\": -1, " ADDRESSES TAIL "}", 0, 1, false },
		{ "{" COUNTS TCP ADDRESSES TAIL "}", 0, 1, false },
		{ "{\"first\": \"yesterday\", \"last\": 7, " COUNTS TCP ADDRESSES TAIL "}", 0, 1, false },
	};

	for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
		g_autoptr(GError) error = NULL;
		struct file file;
		struct flow flow;
		unsigned flows = 0;
		open_text(&file, rows[i].text);
		while (import_next(file.import, &flow, &error))
			flows++;
		CU_ASSERT_EQUAL(flows, rows[i].flows);
		CU_ASSERT_EQUAL(import_skipped(file.import), rows[i].skipped);
		CU_ASSERT_EQUAL(error != NULL, rows[i].error);
		CU_ASSERT_TRUE(!error || (error->code == EX_DATAERR && strstr(error->message, file.path)));
		close_text(&file);
	}
}

static void
test_is_json(void)
{
	struct file file;
	g_autoptr(GError) error = NULL;

	open_text(&file, "\001\n[");
	CU_ASSERT_FALSE(import_is_json(file.path));
	close_text(&file);
	CU_ASSERT_FALSE(import_is_json(file.path));
	CU_ASSERT_FALSE(import_is_json("/"));
	CU_ASSERT_PTR_NULL(import_open(file.path, &error));
	CU_ASSERT_TRUE(g_error_matches(error, PEERFLOW_ERROR, EX_NOINPUT));
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "a flow", test_flow },
		{ "IPv6, no translation, UTC", test_variants },
		{ "TCP flags", test_flags },
		{ "what is wrong", test_wrong },
		{ "what is JSON", test_is_json },
		CU_TEST_INFO_NULL,
	};

	g_setenv("TZ", "UTC", TRUE);
	return run_suite("import", tests);
}
