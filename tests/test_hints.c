/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What collectors are told. That the tools themselves take it is tested in collector-test/. */

#include "hints.h"

#include <stdio.h>
#include <string.h>

#include "encode/field.h"
#include "encode/options.h"
#include "error.h"
#include "suite.h"

enum { ENTERPRISE = 4711 };

static char *
hint_of(const char *collector, uint32_t enterprise)
{
	g_autoptr(GString) out = g_string_new(NULL);
	g_autoptr(GError) error = NULL;

	CU_ASSERT(hints_print(collector, enterprise, out, &error));
	CU_ASSERT_PTR_NULL(error);
	return g_string_free(g_steal_pointer(&out), FALSE);
}

/* Lines of text that are line, spaces before it not counted. */
static unsigned
count_lines(const char *text, const char *line)
{
	g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
	unsigned n = 0;

	for (char **at = lines; *at; at++)
		n += strcmp(g_strstrip(*at), line) == 0;
	return n;
}

static void
expect_line(const char *text, unsigned times, char *line)
{
	const unsigned found = count_lines(text, line);

	CU_ASSERT_EQUAL(found, times);
	if (found != times)
		printf("\n    %u times instead of %u: %s", found, times, line);
	g_free(line);
}

/* ---- tests ---- */

static void
test_snake_case(void)
{
	static const char *const rows[][2] = {
		{ "flowId", "flow_id" },
		{ "sourceIPv4Address", "source_ipv4_address" },
		{ "icmpTypeCodeIPv6", "icmp_type_code_ipv6" },
		{ "postNATSourceIPv6Address", "post_nat_source_ipv6_address" },
		{ "postNAPTSourceTransportPort", "post_napt_source_transport_port" },
		{ "sourcePeerName", "source_peer_name" },
		{ "userName", "user_name" },
	};

	for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
		g_autofree char *snake = hints_snake_case(rows[i][0]);
		CU_ASSERT_STRING_EQUAL(snake, rows[i][1]);
	}
}

/* Every element of our own in every hint about them, once, under its number. */
static void
test_own_elements(void)
{
	g_autofree char *pmacct = hint_of("pmacct", ENTERPRISE), *goflow2 = hint_of("goflow2", ENTERPRISE);
	g_autofree char *logstash = hint_of("logstash", ENTERPRISE), *filebeat = hint_of("filebeat", ENTERPRISE);
	g_autofree char *libfds = hint_of("libfds", ENTERPRISE), *tshark = hint_of("tshark", ENTERPRISE);

	for (unsigned i = 0; i < n_fields; i++) {
		const struct field *field = &fields[i];
		const unsigned times = field->enterprise == ENTERPRISE_OWN;
		g_autofree char *snake = hints_snake_case(field->name);
		g_autofree char *primitive = g_strdup_printf("name=%s field_type=%u:%u ", snake, ENTERPRISE, field->element);
		g_autofree char *lua = g_strdup_printf("\t[%u] = ProtoField.", field->element);
		CU_ASSERT_EQUAL(strstr(pmacct, primitive) != NULL, times);
		CU_ASSERT_EQUAL(strstr(tshark, lua) != NULL, times);
		expect_line(logstash, times, g_strdup_printf("- :%s", field->name));
		expect_line(filebeat, times, g_strdup_printf("- :%s", field->name));
		expect_line(libfds, times, g_strdup_printf("<name>%s</name>", field->name));
		if (!times)
			continue;
		expect_line(logstash, 1, g_strdup_printf("%u:", field->element));
		expect_line(libfds, 1, g_strdup_printf("<id>%u</id>", field->element));
		/* Listed, given a format, and mapped. */
		expect_line(goflow2, 1, g_strdup_printf("- %s", snake));
		expect_line(goflow2, 1, g_strdup_printf("- name: %s", snake));
		expect_line(goflow2, 1, g_strdup_printf("- field: %u", field->element));
		expect_line(goflow2, 1, g_strdup_printf("destination: %s", snake));
	}
	expect_line(goflow2, count_lines(goflow2, "penprovided: true"), g_strdup_printf("pen: %u", ENTERPRISE));
}

/* And those of options data, where that is shown. */
static void
test_options_elements(void)
{
	g_autofree char *logstash = hint_of("logstash", ENTERPRISE), *libfds = hint_of("libfds", ENTERPRISE);
	g_autofree char *tshark = hint_of("tshark", ENTERPRISE);

	CU_ASSERT(n_own_elements >= 8);
	for (unsigned i = 0; i < n_own_elements; i++) {
		g_autofree char *lua = g_strdup_printf("\t[%u] = ProtoField.", own_elements[i].element);
		expect_line(logstash, 1, g_strdup_printf("- :%s", own_elements[i].name));
		expect_line(libfds, 1, g_strdup_printf("<name>%s</name>", own_elements[i].name));
		CU_ASSERT_PTR_NOT_NULL(strstr(tshark, lua));
	}
	CU_ASSERT_PTR_NOT_NULL(strstr(logstash, "  1031:\n  - :uint8\n  - :gapKind\n"));
	CU_ASSERT_PTR_NOT_NULL(strstr(logstash, "  1043:\n  - :string\n  - :viaPeerName\n"));
	CU_ASSERT_PTR_NOT_NULL(strstr(tshark, "ProtoField.uint8(\"peerflow.gapFlags\", \"gapFlags\", base.HEX)"));
}

static void
test_types(void)
{
	g_autofree char *pmacct = hint_of("pmacct", ENTERPRISE), *logstash = hint_of("logstash", ENTERPRISE);
	g_autofree char *tshark = hint_of("tshark", ENTERPRISE), *libfds = hint_of("libfds", ENTERPRISE);
	g_autofree char *goflow2 = hint_of("goflow2", ENTERPRISE);

	expect_line(pmacct, 1, g_strdup("name=source_peer_name field_type=4711:1001 len=vlen semantics=str"));
	expect_line(pmacct, 1, g_strdup("name=conntrack_mark field_type=4711:1011 len=4 semantics=u_int"));
	expect_line(pmacct, 1, g_strdup("name=conntrack_labels field_type=4711:1015 len=16 semantics=raw"));
	expect_line(pmacct, 1, g_strdup("name=post_nat_source_ipv6_address field_type=281 len=16 semantics=ip"));
	expect_line(pmacct, 1, g_strdup("name=cisco_user_name field_type=40000 len=32 semantics=str"));
	CU_ASSERT_PTR_NOT_NULL(strstr(logstash, "  1011:\n  - :uint32\n  - :conntrackMark\n"));
	CU_ASSERT_PTR_NOT_NULL(strstr(logstash, "  1015:\n  - :octetarray\n  - :conntrackLabels\n"));
	CU_ASSERT_PTR_NOT_NULL(strstr(libfds, "<name>conntrackMark</name>\n    <dataType>unsigned32</dataType>\n"
	                                      "    <dataSemantics>flags</dataSemantics>\n"));
	CU_ASSERT_PTR_NOT_NULL(strstr(tshark, "ProtoField.uint32(\"peerflow.conntrackMark\", \"conntrackMark\", base.HEX)"));
	CU_ASSERT_PTR_NOT_NULL(strstr(tshark, "ProtoField.bytes(\"peerflow.conntrackLabels\", \"conntrackLabels\")"));
	expect_line(goflow2, 1, g_strdup("post_nat_source_ipv4_address: ip"));
	/* NetFlow v9 has the user's name elsewhere, and nothing of our own. */
	const char *netflow9 = strstr(goflow2, "\nnetflowv9:\n");
	CU_ASSERT_PTR_NOT_NULL_FATAL(netflow9);
	CU_ASSERT_PTR_NOT_NULL(strstr(netflow9, "- field: 40000\n"));
	CU_ASSERT_PTR_NULL(strstr(netflow9, "pen:"));
}

/* What there is to say without a number, and what is nothing then. */
static void
test_without_enterprise(void)
{
	static const char *const without[] = { "pmacct", "goflow2", "nfdump" };
	static const char *const needs[] = { "filebeat", "libfds", "logstash", "tshark", "wireshark" };

	for (unsigned i = 0; i < G_N_ELEMENTS(without); i++) {
		g_autofree char *text = hint_of(without[i], 0);
		CU_ASSERT(*text);
		CU_ASSERT_PTR_NULL(strstr(text, "1001"));
	}
	for (unsigned i = 0; i < G_N_ELEMENTS(needs); i++) {
		g_autoptr(GString) out = g_string_new(NULL);
		g_autoptr(GError) error = NULL;
		CU_ASSERT_FALSE(hints_print(needs[i], 0, out, &error));
		CU_ASSERT(g_error_matches(error, PEERFLOW_ERROR, EX_CONFIG));
		CU_ASSERT_EQUAL(out->len, 0);
	}
}

/* The list names what can be asked for, and nothing else can be. */
static void
test_list(void)
{
	g_autoptr(GString) list = g_string_new(NULL);
	g_autoptr(GString) out = g_string_new(NULL);
	g_autoptr(GError) error = NULL;

	hints_list(list);
	g_auto(GStrv) lines = g_strsplit(list->str, "\n", -1);
	CU_ASSERT_EQUAL(g_strv_length(lines), 8 + 1);
	for (char **line = lines; **line; line++) {
		*strchr(*line, ' ') = '\0';
		g_autofree char *text = hint_of(*line, ENTERPRISE);
		CU_ASSERT(g_str_has_suffix(text, "\n"));
	}
	CU_ASSERT_FALSE(hints_print("ntop", ENTERPRISE, out, &error));
	CU_ASSERT(g_error_matches(error, PEERFLOW_ERROR, EX_USAGE));
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "snake case", test_snake_case },
		{ "own elements", test_own_elements },
		{ "elements of options", test_options_elements },
		{ "types", test_types },
		{ "without a number", test_without_enterprise },
		{ "list", test_list },
		CU_TEST_INFO_NULL,
	};

	return run_suite("hints", tests);
}
