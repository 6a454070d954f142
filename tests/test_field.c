/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Every row of templates/fields.def against libfixbuf's copy of the IANA registry; rows that are not IANA's against the
 * rules they follow instead. */

#include "encode/field.h"

#include <fixbuf/public.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "encode/template.h"
#include "flow.h"
#include "suite.h"

enum { REVERSE_NUMBER = 29305 };

/* Every word there is, so that none is renamed or lost unnoticed: operators write them into template files. */
static const char *const words[] = {
	"sourceIPv4Address", "destinationIPv4Address", "sourceIPv6Address", "destinationIPv6Address", "sourceTransportPort",
	"destinationTransportPort", "protocolIdentifier", "icmpTypeCodeIPv4", "icmpTypeCodeIPv6", "icmpType",
	"postNATSourceIPv4Address", "postNATDestinationIPv4Address", "postNATSourceIPv6Address",
	"postNATDestinationIPv6Address", "postNAPTSourceTransportPort", "postNAPTDestinationTransportPort", "natType",
	"octetDeltaCount", "packetDeltaCount", "reverseOctetDeltaCount", "reversePacketDeltaCount", "postOctetDeltaCount",
	"postPacketDeltaCount", "flowStartMilliseconds", "flowEndMilliseconds", "flowStartSysUpTime", "flowEndSysUpTime",
	"ingressInterface", "egressInterface", "flowDirection", "flowEndReason", "flowId", "biflowDirection",
	"initiatorPropertiesId", "responderPropertiesId", "policyPropertiesId", "userName",
	"ciscoUserName", "sourcePeerName", "destinationPeerName", "sourcePeerId", "destinationPeerId", "sourceUserName",
	"destinationUserName", "sourceGroupNames", "destinationGroupNames", "sourceViaPeerName", "destinationViaPeerName",
	"conntrackMark", "conntrackZone", "conntrackStatus", "conntrackState", "conntrackLabels",
	"conntrackStopMilliseconds", "recordGaps", "sourceResourceName", "destinationResourceName", "sourceNetworkName",
	"destinationNetworkName", "sourceDomainName", "destinationDomainName", "policyName", "masqueraded",
	"icmpIdentifier", "postNATIcmpIdentifier",
};

static fbInfoModel_t *model;

static void
fail(const struct field *field, const char *what)
{
	printf("\n    %s: %s", field->name, what);
	CU_FAIL("a row of fields.def");
}

/* What the registry's type must be for a field of this kind: the octets say the rest. */
static bool
type_suits(const struct field *field, const fbInfoElement_t *element)
{
	switch (field->kind) {
	case KIND_NUMBER:
		return (element->type >= FB_UINT_8 && element->type <= FB_UINT_64)
		       || (element->type == FB_DT_MILSEC && field->octets == 8);
	case KIND_OCTETS:
		return element->type == (field->octets == 4 ? FB_IP4_ADDR : FB_IP6_ADDR);
	case KIND_NAME ... KIND_DOMAIN:
		return element->type == FB_STRING;
	default:
		return false;
	}
}

/* One element that stands in a record three times, in fewer octets than it has. */
static bool
is_reference(const struct field *field)
{
	return field->kind == KIND_REFERENCE;
}

static void
check_element(const struct field *field, const fbInfoElement_t *element)
{
	const uint8_t semantics = FB_IE_SEMANTIC(element->flags);

	if (strcmp(element->ref.name, field->name) != 0)
		fail(field, element->ref.name);
	if (element->num != field->element)
		fail(field, "another number");
	if (element->len != field->octets)
		fail(field, "another length");
	if (!type_suits(field, element))
		fail(field, "another type");
	if (semantics != field->semantics) {
		printf("\n    libfixbuf has semantics %u where fields.def has %u", semantics, field->semantics);
		fail(field, "other semantics");
	}
}

/* Both ways, so that neither a number nor a name is another element's. */
static void
test_registry(void)
{
	unsigned checked = 0;

	for (unsigned i = 0; i < n_fields; i++) {
		const struct field *field = &fields[i];
		const bool reverse = field->enterprise == ENTERPRISE_REVERSE;
		if ((field->enterprise != ENTERPRISE_IANA && !reverse) || is_reference(field))
			continue;
		const fbInfoElement_t *by_name = fbInfoModelGetElementByName(model, field->name);
		const fbInfoElement_t *by_id = fbInfoModelGetElementByID(model, field->element, reverse ? REVERSE_NUMBER : 0);
		if (!by_name || by_name != by_id) {
			fail(field, "no such element");
			continue;
		}
		CU_ASSERT_EQUAL(by_name->ent, reverse ? REVERSE_NUMBER : 0);
		check_element(field, by_name);
		checked++;
	}
	CU_ASSERT_TRUE(checked >= 31);
}

/* They are told apart by their order, so they stand in a row; RFC 7011 section 6.2 lets numbers have fewer octets. */
static void
test_references(void)
{
	const fbInfoElement_t *element = fbInfoModelGetElementByName(model, "commonPropertiesId");
	const struct field *first = field_find("initiatorPropertiesId");

	CU_ASSERT_PTR_NOT_NULL_FATAL(element);
	for (unsigned i = 0; i < 3; i++) {
		CU_ASSERT_EQUAL(first[i].kind, KIND_REFERENCE);
		CU_ASSERT_EQUAL(first[i].element, element->num);
		CU_ASSERT_EQUAL(first[i].semantics, FB_IE_SEMANTIC(element->flags));
		CU_ASSERT_EQUAL(first[i].offset[VIEW_ORIGINAL], offsetof(struct flow, properties[i]));
		CU_ASSERT_TRUE(first[i].octets < element->len);
	}
}

static void
test_reverse(void)
{
	for (unsigned i = 0; i < n_fields; i++) {
		if (fields[i].enterprise != ENTERPRISE_REVERSE)
			continue;
		/* RFC 5103 section 6.1: the forward element's number and size, and only in a record that has both. */
		g_autofree char *forward = g_strdup(fields[i].name + strlen("reverse"));
		forward[0] = g_ascii_tolower(forward[0]);
		const struct field *field = field_find(forward);
		CU_ASSERT_PTR_NOT_NULL_FATAL(field);
		CU_ASSERT_EQUAL(field->enterprise, ENTERPRISE_IANA);
		CU_ASSERT_EQUAL(field->element, fields[i].element);
		CU_ASSERT_EQUAL(field->octets, fields[i].octets);
		CU_ASSERT_TRUE(fields[i].only & TRAIT_BIFLOW);
		CU_ASSERT_EQUAL(field->offset[VIEW_MIRROR], fields[i].offset[VIEW_ORIGINAL]);
	}
}

/* Below 1001 lie numbers that careless readers take for IANA's, from 16384 on the reverse elements of some. */
static void
test_own(void)
{
	for (unsigned i = 0; i < n_fields; i++) {
		if (fields[i].enterprise != ENTERPRISE_OWN)
			continue;
		if (fields[i].element < 1001 || fields[i].element > 16383)
			fail(&fields[i], "not from 1001 to 16383");
		if (fbInfoModelGetElementByName(model, fields[i].name))
			fail(&fields[i], "the name is IANA's");
		/* RFC 5610 section 3.10: only numbers have semantics. */
		if (fields[i].kind != KIND_NUMBER && fields[i].semantics != SEMANTICS_DEFAULT)
			fail(&fields[i], "semantics of what is no number");
		if (fields[i].kind == KIND_NUMBER && fields[i].semantics == SEMANTICS_DEFAULT)
			fail(&fields[i], "a number without semantics");
		/* Type records of them must fit the space options.h reserves. */
		CU_ASSERT_TRUE(strlen(fields[i].name) < 64);
	}
}

static void
test_netflow9(void)
{
	static const struct {
		const char *name;
		uint16_t element, octets;
	} known[] = {
		{ "icmpType", 32, 2 }, { "flowStartSysUpTime", 22, 4 }, { "flowEndSysUpTime", 21, 4 }, { "ciscoUserName", 40000, 32 },
	};
	unsigned found = 0;

	for (unsigned i = 0; i < n_fields; i++)
		found += fields[i].enterprise == ENTERPRISE_NETFLOW9;
	CU_ASSERT_EQUAL(found, G_N_ELEMENTS(known));
	for (size_t i = 0; i < G_N_ELEMENTS(known); i++) {
		const struct field *field = field_find(known[i].name);
		CU_ASSERT_PTR_NOT_NULL_FATAL(field);
		CU_ASSERT_EQUAL(field->enterprise, ENTERPRISE_NETFLOW9);
		CU_ASSERT_EQUAL(field->element, known[i].element);
		CU_ASSERT_EQUAL(field->octets, known[i].octets);
	}
}

static void
test_words(void)
{
	CU_ASSERT_EQUAL_FATAL(n_fields, G_N_ELEMENTS(words));
	for (unsigned i = 0; i < n_fields; i++) {
		CU_ASSERT_STRING_EQUAL(fields[i].name, words[i]);
		CU_ASSERT_PTR_EQUAL(field_find(words[i]), &fields[i]);
	}
	CU_ASSERT_PTR_NULL(field_find(""));
	CU_ASSERT_PTR_NULL(field_find("SourceIPv4Address"));
	CU_ASSERT_PTR_NULL(field_find("sourceIPv4Addres"));
	/* Words of the template language itself could not be used as fields. */
	CU_ASSERT_PTR_NULL(field_find("template"));
	CU_ASSERT_PTR_NULL(field_find("protocol"));
}

static void
test_unique(void)
{
	for (unsigned i = 0; i < n_fields; i++)
		for (unsigned j = 0; j < i; j++) {
			if (strcmp(fields[i].name, fields[j].name) == 0)
				fail(&fields[i], "a name given twice");
			if (fields[i].enterprise == fields[j].enterprise && fields[i].element == fields[j].element
			    && !(is_reference(&fields[i]) && is_reference(&fields[j])))
				fail(&fields[i], fields[j].name);
		}
	/* So no template can list more fields than there is space for. */
	CU_ASSERT_TRUE(n_fields <= TEMPLATE_FIELDS);
}

/* A collector in use never ends with a record of no octets, and knows only these lengths. */
static void
test_lengths(void)
{
	for (unsigned i = 0; i < n_fields; i++) {
		const uint16_t octets = fields[i].octets;
		const bool number = fields[i].kind == KIND_NUMBER;
		if (number && octets != 1 && octets != 2 && octets != 4 && octets != 8)
			fail(&fields[i], "no length of a number");
		if (fields[i].kind == KIND_OCTETS && octets != 4 && octets != 16)
			fail(&fields[i], "no length of an address or of labels");
		if (octets == FIELD_VARIABLE && !field_is_string(&fields[i]))
			fail(&fields[i], "only names have a variable length");
		if (fields[i].kind == KIND_UPTIME && octets != 4)
			fail(&fields[i], "sysUpTime has four octets");
		for (unsigned view = 0; view < VIEWS; view++)
			if (fields[i].offset[view] >= sizeof(struct flow))
				fail(&fields[i], "outside of struct flow");
	}
}

/* What only some flows have must not stand in the templates of others: NAT fields are never zero-filled. */
static void
test_traits(void)
{
	for (unsigned i = 0; i < n_fields; i++) {
		const struct field *field = &fields[i];
		if (strstr(field->name, "IPv4Address") && !(field->only & TRAIT_V4))
			fail(field, "an IPv4 address in every template");
		if (strstr(field->name, "IPv6Address") && !(field->only & TRAIT_V6))
			fail(field, "an IPv6 address in every template");
		if (strstr(field->name, "TransportPort") && !(field->only & TRAIT_PORTS))
			fail(field, "a port in every template");
		if (strncmp(field->name, "icmp", 4) == 0 && !(field->only & TRAIT_ICMP))
			fail(field, "an ICMP type in every template");
		if ((strncmp(field->name, "postN", 5) == 0) != !!(field->only & TRAIT_NAT))
			fail(field, "translation in templates without, or the other way");
	}
}

static bool
same_views(const struct field *field)
{
	return field->offset[0] == field->offset[1] && field->offset[1] == field->offset[2];
}

/* What belongs to the flow and not to one of its directions is the same in all of its records. */
static void
test_views(void)
{
	static const char *const of_the_flow[] = {
		"protocolIdentifier", "natType", "flowStartMilliseconds", "flowEndMilliseconds", "flowStartSysUpTime",
		"flowEndSysUpTime", "flowEndReason", "flowId", "initiatorPropertiesId", "responderPropertiesId",
		"policyPropertiesId", "userName", "ciscoUserName",
		"conntrackMark", "conntrackZone",
		"conntrackStatus", "conntrackState", "conntrackLabels", "conntrackStopMilliseconds", "recordGaps", "policyName",
		"masqueraded",
	};
	unsigned same = 0;

	for (unsigned i = 0; i < n_fields; i++)
		same += same_views(&fields[i]);
	CU_ASSERT_EQUAL(same, G_N_ELEMENTS(of_the_flow));
	for (size_t i = 0; i < G_N_ELEMENTS(of_the_flow); i++)
		CU_ASSERT_TRUE(same_views(field_find(of_the_flow[i])));
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "IANA's elements are as in libfixbuf", test_registry },
		{ "one element three times", test_references },
		{ "reverse elements have their forward ones", test_reverse },
		{ "own elements keep to their rules", test_own },
		{ "words of NetFlow v9 only", test_netflow9 },
		{ "every word is found", test_words },
		{ "names and numbers are unique", test_unique },
		{ "lengths", test_lengths },
		{ "fields stand where they make sense", test_traits },
		{ "what is the flow's is in all its records", test_views },
		CU_TEST_INFO_NULL,
	};

	model = fbInfoModelAlloc();
	int status = run_suite("field", tests);
	fbInfoModelFree(model);
	return status;
}
