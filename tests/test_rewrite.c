/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "suite.h"
#include "stream.h"

#include <stdio.h>
#include <string.h>

#include "archive/reader.h"
#include "audit/print.h"
#include "error.h"
#include "rewrite.h"

enum { FLOWS = 2000 };

static const struct rewrite_options options = {
	.template_directory = SOURCE_DIR "/templates", .enterprise = STREAM_ENTERPRISE, .domain = 5,
};

/* Each flow of a stream as a line of CSV; if there is a rewrite, it gets them as well. */
static void
read_flows(const char *octets, size_t length, GPtrArray *lines, struct rewrite *rewrite, GString *out)
{
	FILE *in = fmemopen((void *)(uintptr_t)octets, length, "r");
	g_autoptr(reader_t) reader = reader_new(in, "stream", STREAM_ENTERPRISE);
	g_autoptr(printer_t) printer = printer_new(PRINT_CSV);
	g_autoptr(GError) error = NULL;
	enum reader_result result;
	struct record record;

	while ((result = reader_next(reader, &record, &error)) == READER_FLOW) {
		const struct print_flow flow = {
			.flow = &record.flow, .names = record.names,
			.ingress = reader_interface(reader, record.flow.original.ingress),
			.egress = reader_interface(reader, record.flow.original.egress),
		};
		g_autoptr(GString) line = g_string_new(NULL);
		printer_flow(printer, &flow, line);
		g_ptr_array_add(lines, g_strdup(line->str));
		if (rewrite)
			CU_ASSERT_TRUE_FATAL(rewrite_flow(rewrite, &flow, out, &error));
	}
	CU_ASSERT_EQUAL(result, READER_END);
	CU_ASSERT_EQUAL(reader_lost(reader), 0);
	fclose(in);
}

static void
check_same(const char *template)
{
	g_autoptr(GByteArray) stream = stream_of(template, TRAIT_BIFLOW, 8000, FLOWS, 7);
	g_autoptr(GPtrArray) before = g_ptr_array_new_with_free_func(g_free);
	g_autoptr(GPtrArray) after = g_ptr_array_new_with_free_func(g_free);
	g_autoptr(GString) out = g_string_new(NULL);
	g_autoptr(GError) error = NULL;
	g_autoptr(rewrite_t) rewrite = rewrite_new(&options, out, &error);

	CU_ASSERT_PTR_NOT_NULL_FATAL(rewrite);
	read_flows((const char *)stream->data, stream->len, before, rewrite, out);
	rewrite_end(rewrite, out);
	read_flows(out->str, out->len, after, NULL, NULL);
	CU_ASSERT_EQUAL(before->len, FLOWS);
	CU_ASSERT_EQUAL_FATAL(after->len, FLOWS);
	for (guint i = 0; i < FLOWS; i++)
		CU_ASSERT_STRING_EQUAL(after->pdata[i], before->pdata[i]);
}

static void
test_same(void)
{
	check_same("full");
	check_same("archive");
}

/* The name of a router stands in the stream, and a second one does not. */
static void
test_routers(void)
{
	const struct flow flow = { .family = 4, .protocol = 6, .original.packets = 1, .end_reason = END_IDLE };
	g_autoptr(GString) out = g_string_new(NULL);
	g_autoptr(GError) error = NULL;
	g_autoptr(rewrite_t) rewrite = rewrite_new(&options, out, &error);
	struct print_flow print = { .flow = &flow, .names = stream_names(), .router = "router-a" };

	CU_ASSERT_PTR_NOT_NULL_FATAL(rewrite);
	CU_ASSERT_TRUE_FATAL(rewrite_flow(rewrite, &print, out, &error));
	CU_ASSERT_TRUE_FATAL(rewrite_flow(rewrite, &print, out, &error));
	print.router = NULL;
	CU_ASSERT_TRUE_FATAL(rewrite_flow(rewrite, &print, out, &error));
	print.router = "router-b";
	CU_ASSERT_FALSE_FATAL(rewrite_flow(rewrite, &print, out, &error));
	CU_ASSERT_EQUAL(error->code, EX_USAGE);
	CU_ASSERT_PTR_NOT_NULL(strstr(error->message, "flows of router-a and of router-b cannot stand"));
	rewrite_end(rewrite, out);
	CU_ASSERT_PTR_NOT_NULL(memmem(out->str, out->len, "router-a", 8));
	CU_ASSERT_PTR_NULL(memmem(out->str, out->len, "router-b", 8));
}

static void
test_no_template(void)
{
	const struct rewrite_options nowhere = { .template_directory = "/nowhere", .enterprise = 1, .domain = 1 };
	g_autoptr(GString) out = g_string_new(NULL);
	g_autoptr(GError) error = NULL;

	CU_ASSERT_PTR_NULL_FATAL(rewrite_new(&nowhere, out, &error));
	CU_ASSERT_EQUAL(error->code, EX_CONFIG);
	CU_ASSERT_PTR_NOT_NULL(strstr(error->message, "/nowhere/full.template"));
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "the same flows again", test_same },
		{ "routers", test_routers },
		{ "no template", test_no_template },
		CU_TEST_INFO_NULL,
	};

	return run_suite("rewrite", tests);
}
