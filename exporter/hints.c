/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "hints.h"

#include <string.h>

#include "encode/field.h"
#include "encode/options.h"
#include "error.h"

/* What a value is, as the collectors divide them. */
enum value_kind {
	VALUE_NUMBER,
	VALUE_STRING,
	VALUE_IPV4,
	VALUE_IPV6,
	VALUE_OCTETS,
};

static enum value_kind
value_kind(const struct field *field)
{
	if (field_is_string(field))
		return VALUE_STRING;
	if (field->kind != KIND_OCTETS)
		return VALUE_NUMBER;
	if (field->enterprise == ENTERPRISE_OWN)
		return VALUE_OCTETS;
	return field->octets == 4 ? VALUE_IPV4 : VALUE_IPV6;
}

static bool
is_own(const struct field *field)
{
	return field->enterprise == ENTERPRISE_OWN;
}

/* An element of the operator's enterprise, of flows or of options. */
struct element {
	const char *name;
	uint16_t number;
	uint16_t bits;              /* of a number */
	enum value_kind kind;
	uint8_t semantics;
};

/* Steps through all of them: i is zero at first. */
static bool
next_own(unsigned *i, struct element *element)
{
	while (*i < n_fields && !is_own(&fields[*i]))
		++*i;
	if (*i < n_fields) {
		const struct field *field = &fields[(*i)++];
		*element = (struct element){ field->name, field->element, field->octets * 8, value_kind(field), field->semantics };
		return true;
	}
	if (*i >= n_fields + n_own_elements)
		return false;
	const struct own_element *own = &own_elements[(*i)++ - n_fields];
	const bool string = own->type == 13;    /* RFC 5610 section 3.1; 1 to 4 are unsigned8 to 64 */
	*element = (struct element){ own->name, own->element, string ? 0 : 4 << own->type,
	                             string ? VALUE_STRING : VALUE_NUMBER, own->semantics };
	return true;
}

/* "IPv6" is one word and "NATS" is the end of one and the beginning of another. */
static bool
begins_word(const char *name, size_t i)
{
	if (i == 0 || !g_ascii_isupper(name[i]) || (name[i] == 'P' && name[i - 1] == 'I' && name[i + 1] == 'v'))
		return false;
	return !g_ascii_isupper(name[i - 1]) || g_ascii_islower(name[i + 1]);
}

char *
hints_snake_case(const char *name)
{
	g_autoptr(GString) out = g_string_new(NULL);

	for (size_t i = 0; name[i]; i++) {
		if (begins_word(name, i))
			g_string_append_c(out, '_');
		g_string_append_c(out, g_ascii_tolower(name[i]));
	}
	return g_string_free(g_steal_pointer(&out), FALSE);
}

/* Elements of IANA, and of NetFlow v9, that a collector does not show unless it is told to. */
static const char *const pmacct_ignores[] = {
	"icmpTypeCodeIPv4", "icmpTypeCodeIPv6", "postNATSourceIPv6Address", "postNATDestinationIPv6Address", "natType",
	"flowDirection", "flowEndReason", "flowId", "biflowDirection", "ciscoUserName", NULL,
};

static const char *const goflow2_ignores[] = {
	"postNATSourceIPv4Address", "postNATDestinationIPv4Address", "postNATSourceIPv6Address",
	"postNATDestinationIPv6Address", "postNAPTSourceTransportPort", "postNAPTDestinationTransportPort", "natType",
	"flowDirection", "flowEndReason", "flowId", "biflowDirection", "userName", "ciscoUserName", NULL,
};

static bool
is_told(const struct field *field, const char *const *ignored, uint32_t enterprise)
{
	return is_own(field) ? enterprise != 0 : g_strv_contains(ignored, field->name);
}

/* pmacct */

static void
pmacct(GString *out, uint32_t enterprise)
{
	static const char *const semantics[] = {
		[VALUE_NUMBER] = "u_int", [VALUE_STRING] = "str", [VALUE_IPV4] = "ip", [VALUE_IPV6] = "ip", [VALUE_OCTETS] = "raw",
	};

	g_string_append(out,
		"! /etc/pmacct/peerflow.primitives; in nfacctd.conf:\n"
		"!   aggregate_primitives: /etc/pmacct/peerflow.primitives\n"
		"!   aggregate: src_host, dst_host, src_port, dst_port, proto, ... and any name below\n"
		"! On the router, template = full for the names of both ends, protocol = netflow9 for cisco_user_name.\n");
	for (unsigned i = 0; i < n_fields; i++) {
		if (!is_told(&fields[i], pmacct_ignores, enterprise))
			continue;
		g_autofree char *name = hints_snake_case(fields[i].name);
		g_string_append_printf(out, "name=%s field_type=", name);
		if (is_own(&fields[i]))
			g_string_append_printf(out, "%u:", enterprise);
		g_string_append_printf(out, "%u len=", fields[i].element);
		if (fields[i].octets == FIELD_VARIABLE)
			g_string_append(out, "vlen");
		else
			g_string_append_printf(out, "%u", fields[i].octets);
		g_string_append_printf(out, " semantics=%s\n", semantics[value_kind(&fields[i])]);
	}
}

/* goflow2 */

/* With a mapping file goflow2 prints the fields this lists and no others. */
static const char *const goflow2_fields[] = {
	"type", "time_received_ns", "sequence_num", "sampler_address", "time_flow_start_ns", "time_flow_end_ns", "bytes",
	"packets", "src_addr", "dst_addr", "proto", "src_port", "dst_port", "in_if", "out_if",
};

enum { GOFLOW2_INDEX = 2000 };      /* protobuf numbers below are its own; those from 19000 to 19999 are reserved */

static void
goflow2_formats(GString *out, uint32_t enterprise)
{
	g_string_append(out, "  protobuf:\n");
	for (unsigned i = 0; i < n_fields; i++) {
		if (!is_told(&fields[i], goflow2_ignores, enterprise))
			continue;
		g_autofree char *name = hints_snake_case(fields[i].name);
		g_string_append_printf(out, "    - name: %s\n      index: %u\n      type: %s\n", name,
		                       GOFLOW2_INDEX + fields[i].element,
		                       value_kind(&fields[i]) == VALUE_NUMBER ? "varint" : "string");
	}
	g_string_append(out, "  render:\n");
	for (unsigned i = 0; i < n_fields; i++) {
		const enum value_kind kind = value_kind(&fields[i]);
		if (!is_told(&fields[i], goflow2_ignores, enterprise) || (kind != VALUE_IPV4 && kind != VALUE_IPV6))
			continue;
		g_autofree char *name = hints_snake_case(fields[i].name);
		g_string_append_printf(out, "    %s: ip\n", name);
	}
}

static void
goflow2_mappings(GString *out, uint32_t enterprise, bool netflow9)
{
	g_string_append_printf(out, "%s:\n  mapping:\n", netflow9 ? "netflowv9" : "ipfix");
	for (unsigned i = 0; i < n_fields; i++) {
		const bool only9 = fields[i].enterprise == ENTERPRISE_NETFLOW9;
		if (!is_told(&fields[i], goflow2_ignores, enterprise) || (netflow9 ? is_own(&fields[i]) : only9))
			continue;
		g_autofree char *name = hints_snake_case(fields[i].name);
		g_string_append_printf(out, "    - field: %u\n      destination: %s\n", fields[i].element, name);
		if (is_own(&fields[i]))
			g_string_append_printf(out, "      penprovided: true\n      pen: %u\n", enterprise);
	}
}

static void
goflow2(GString *out, uint32_t enterprise)
{
	g_string_append(out, "# mapping.yaml; goflow2 -mapping=mapping.yaml -format=json\nformatter:\n  fields:\n");
	for (unsigned i = 0; i < G_N_ELEMENTS(goflow2_fields); i++)
		g_string_append_printf(out, "    - %s\n", goflow2_fields[i]);
	for (unsigned i = 0; i < n_fields; i++) {
		g_autofree char *name = hints_snake_case(fields[i].name);
		if (is_told(&fields[i], goflow2_ignores, enterprise))
			g_string_append_printf(out, "    - %s\n", name);
	}
	goflow2_formats(out, enterprise);
	goflow2_mappings(out, enterprise, false);
	goflow2_mappings(out, enterprise, true);
}

/* Elastic filebeat and Logstash, whose files of definitions have the same format */

static void
elastic(GString *out, uint32_t enterprise)
{
	struct element element;

	g_string_append_printf(out, "%u:\n", enterprise);
	for (unsigned i = 0; next_own(&i, &element);) {
		g_string_append_printf(out, "  %u:\n  - :", element.number);
		if (element.kind == VALUE_NUMBER)
			g_string_append_printf(out, "uint%u", element.bits);
		else
			g_string_append(out, element.kind == VALUE_STRING ? "string" : "octetarray");
		g_string_append_printf(out, "\n  - :%s\n", element.name);
	}
}

static void
filebeat(GString *out, uint32_t enterprise)
{
	g_string_append(out,
		"# /etc/filebeat/peerflow.yml; in filebeat.yml, below \"- type: netflow\":\n"
		"#   custom_definitions:\n"
		"#   - /etc/filebeat/peerflow.yml\n"
		"# The fields are then found as netflow.source_peer_name and so on.\n");
	elastic(out, enterprise);
}

static void
logstash(GString *out, uint32_t enterprise)
{
	g_string_append(out,
		"# /etc/logstash/peerflow.yaml; the codec without it refuses template = full and so every flow:\n"
		"#   codec => netflow { versions => [10] ipfix_definitions => \"/etc/logstash/peerflow.yaml\" }\n");
	elastic(out, enterprise);
}

/* libfds, which ipfixcol2 reads its elements with */

static void
libfds(GString *out, uint32_t enterprise)
{
	static const char *const semantics[] = {
		"default", "quantity", "totalCounter", "deltaCounter", "identifier", "flags",
	};
	static const char *const type[] = { [VALUE_STRING] = "string", [VALUE_OCTETS] = "octetArray" };
	struct element element;

	g_string_append_printf(out,
		"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
		"<!-- /etc/libfds/user/elements/peerflow.xml -->\n"
		"<ipfix-elements>\n"
		"  <scope>\n    <pen>%u</pen>\n    <name>peerflow</name>\n    <biflow mode=\"none\"></biflow>\n  </scope>\n",
		enterprise);
	for (unsigned i = 0; next_own(&i, &element);) {
		g_autofree char *number = g_strdup_printf("unsigned%u", element.bits);
		g_string_append_printf(out, "  <element>\n    <id>%u</id>\n    <name>%s</name>\n    <dataType>%s</dataType>\n"
		                       "    <dataSemantics>%s</dataSemantics>\n    <status>current</status>\n  </element>\n",
		                       element.number, element.name,
		                       element.kind == VALUE_NUMBER ? number : type[element.kind],
		                       semantics[element.semantics]);
	}
	g_string_append(out, "</ipfix-elements>\n");
}

/* Wireshark and tshark, which show elements of enterprises they do not know in hexadecimal and without a name. A script
 * of theirs may add fields to a dissected packet, but is not told which field was which element, so it follows the
 * templates itself. */

static const char wireshark_before[] =
	"-- peerflow.lua: in Wireshark's folder of personal Lua plugins, or\n"
	"--   tshark -X lua_script:peerflow.lua -d udp.port==4739,cflow -V -r FILE\n"
	"--   tshark -X lua_script:peerflow.lua -r FILE -T fields -e peerflow.sourcePeerName\n"
	"local enterprise = %u\n"
	"local peerflow = Proto(\"peerflow\", \"peerflow\")\n"
	"local element = {\n";

static const char wireshark_after[] =
	"}\n"
	"for _, field in pairs(element) do\n"
	"\ttable.insert(peerflow.fields, field)\n"
	"end\n"
	"\n"
	"local message = Field.new(\"cflow\")\n"
	"local template = {}     -- by domain and id: lists of { element, enterprise, octets }\n"
	"\n"
	"local function learn(octets, at, stop, domain, options)\n"
	"\twhile stop - at >= 4 do\n"
	"\t\tlocal id, count, fields = octets(at, 2):uint(), octets(at + 2, 2):uint(), {}\n"
	"\t\tat = at + (options and 6 or 4)\n"
	"\t\tfor _ = 1, count do\n"
	"\t\t\tlocal number, length, own = octets(at, 2):uint(), octets(at + 2, 2):uint(), 0\n"
	"\t\t\tat = at + 4\n"
	"\t\t\tif number >= 0x8000 then\n"
	"\t\t\t\tnumber, own, at = number - 0x8000, octets(at, 4):uint(), at + 4\n"
	"\t\t\tend\n"
	"\t\t\ttable.insert(fields, { number, own, length })\n"
	"\t\tend\n"
	"\t\ttemplate[domain .. \"/\" .. id] = fields\n"
	"\tend\n"
	"end\n"
	"\n"
	"local function variable(octets, at)\n"
	"\tlocal length = octets(at, 1):uint()\n"
	"\tif length < 255 then\n"
	"\t\treturn length, at + 1\n"
	"\tend\n"
	"\treturn octets(at + 1, 2):uint(), at + 3\n"
	"end\n"
	"\n"
	"local function show(octets, at, stop, fields, tree)\n"
	"\twhile at < stop do\n"
	"\t\tlocal record, before = tree:add(peerflow, octets(at, stop - at)), at\n"
	"\t\tfor _, field in ipairs(fields) do\n"
	"\t\t\tlocal length, known = field[3], field[2] == enterprise and element[field[1]]\n"
	"\t\t\tif length == 65535 then\n"
	"\t\t\t\tlength, at = variable(octets, at)\n"
	"\t\t\t\tif known then\n"
	"\t\t\t\t\trecord:add_packet_field(known, octets(at, length), ENC_UTF_8)\n"
	"\t\t\t\tend\n"
	"\t\t\telseif known then\n"
	"\t\t\t\trecord:add(known, octets(at, length))\n"
	"\t\t\tend\n"
	"\t\t\tat = at + length\n"
	"\t\tend\n"
	"\t\tif at == before then\n"
	"\t\t\treturn\n"
	"\t\tend\n"
	"\t\trecord:set_len(at - before)\n"
	"\tend\n"
	"end\n"
	"\n"
	"local function has_own(fields)\n"
	"\tfor _, field in ipairs(fields or {}) do\n"
	"\t\tif field[2] == enterprise then\n"
	"\t\t\treturn true\n"
	"\t\tend\n"
	"\tend\n"
	"end\n"
	"\n"
	"function peerflow.dissector(_, _, tree)\n"
	"\tfor _, found in ipairs({ message() }) do\n"
	"\t\tlocal octets, at = found.range, 16\n"
	"\t\tlocal domain = octets(12, 4):uint()\n"
	"\t\twhile octets(0, 2):uint() == 10 and at + 4 <= octets:len() do\n"
	"\t\t\tlocal id, length = octets(at, 2):uint(), octets(at + 2, 2):uint()\n"
	"\t\t\tlocal fields = template[domain .. \"/\" .. id]\n"
	"\t\t\tif length < 4 then\n"
	"\t\t\t\treturn\n"
	"\t\t\telseif id == 2 or id == 3 then\n"
	"\t\t\t\tlearn(octets, at + 4, at + length, domain, id == 3)\n"
	"\t\t\telseif has_own(fields) then\n"
	"\t\t\t\tshow(octets, at + 4, at + length, fields, tree)\n"
	"\t\t\tend\n"
	"\t\t\tat = at + length\n"
	"\t\tend\n"
	"\tend\n"
	"end\n"
	"\n"
	"register_postdissector(peerflow)\n";

static void
wireshark(GString *out, uint32_t enterprise)
{
	static const char *const type[] = { [VALUE_STRING] = "string", [VALUE_OCTETS] = "bytes" };
	struct element element;

	g_string_append_printf(out, wireshark_before, enterprise);
	for (unsigned i = 0; next_own(&i, &element);) {
		g_autofree char *number = g_strdup_printf("uint%u", element.bits);
		g_string_append_printf(out, "\t[%u] = ProtoField.%s(\"peerflow.%s\", \"%s\"%s),\n", element.number,
		                       element.kind == VALUE_NUMBER ? number : type[element.kind], element.name, element.name,
		                       element.semantics == SEMANTICS_FLAGS ? ", base.HEX" : "");
	}
	g_string_append(out, wireshark_after);
}

/* nfdump */

/* What nfdump reads from NetFlow v9 and shows only if it is named. The first is the tag of 1.7. */
static const struct tag {
	const char *tag;
	const char *field;
} tags[] = {
	{ "%uname", "ciscoUserName" },
	{ "%nsap", "postNATSourceIPv4Address" },
	{ "%ndap", "postNATDestinationIPv4Address" },
	{ "%in", "ingressInterface" },
	{ "%out", "egressInterface" },
	{ "%dir", "flowDirection" },
};

static void
nfdump(GString *out, uint32_t enterprise G_GNUC_UNUSED)
{
	g_string_append(out,
		"# nfdump reads names from NetFlow v9 only; in exporter.conf, in the collector's group: protocol = netflow9\n"
		"nfdump -R DIRECTORY -o 'fmt:%ts %te %pr %sap -> %dap | %nsap -> %ndap | %pkt %byt %in %out %uname'\n");
	for (unsigned i = 0; i < G_N_ELEMENTS(tags); i++) {
		const struct field *field = field_find(tags[i].field);
		g_string_append_printf(out, "# %-6s is %s (%u)\n", tags[i].tag, field->name, field->element);
	}
}

/* The table */

static const struct hint {
	const char *collector;
	void (*print)(GString *out, uint32_t enterprise);
	bool own_only;              /* nothing to say without an enterprise number */
	const char *what;
} hints[] = {
	{ "filebeat", filebeat, true, "a file of custom_definitions" },
	{ "goflow2", goflow2, false, "mapping.yaml" },
	{ "libfds", libfds, true, "a file of elements for ipfixcol2 and whatever else reads with libfds" },
	{ "logstash", logstash, true, "a file of ipfix_definitions for the netflow codec" },
	{ "nfdump", nfdump, false, "an output format with the user's name" },
	{ "pmacct", pmacct, false, "a file of aggregate_primitives for nfacctd" },
	{ "tshark", wireshark, true, "a Lua script" },
	{ "wireshark", wireshark, true, "the same" },
};

void
hints_list(GString *out)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(hints); i++)
		g_string_append_printf(out, "%-10s %s\n", hints[i].collector, hints[i].what);
}

static const struct hint *
find_hint(const char *collector)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(hints); i++)
		if (strcmp(hints[i].collector, collector) == 0)
			return &hints[i];
	return NULL;
}

bool
hints_print(const char *collector, uint32_t enterprise, GString *out, GError **error)
{
	const struct hint *hint = find_hint(collector);

	if (!hint) {
		g_set_error(error, PEERFLOW_ERROR, EX_USAGE, "no hints for \"%s\"; without a name, those there are are listed",
		            collector);
		return false;
	}
	if (hint->own_only && !enterprise) {
		g_set_error(error, PEERFLOW_ERROR, EX_CONFIG, "%s needs to be told of your own elements only, and there is no "
		            "enterprise-number in the configuration; --enterprise gives one", collector);
		return false;
	}
	hint->print(out, enterprise);
	return true;
}
