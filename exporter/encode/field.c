/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "encode/field.h"

#include <stddef.h>
#include <string.h>

#include "flow.h"

#define MEMBER_SIZE(member) sizeof(((struct flow *)0)->member)

/* What a row's member must measure in struct flow, by kind and octets. */
#define MEASURE_NUMBER(octets) (octets)
#define MEASURE_OCTETS(octets) (octets)
#define MEASURE_UPTIME(octets) 8
#define MEASURE_REFERENCE(octets) ((octets) == 4 ? 8 : 0)
#define MEASURE_NAME(octets) 4
#define MEASURE_TEXT(octets) 4
#define MEASURE_PEER(octets) 4
#define MEASURE_PEER_ID(octets) 4
#define MEASURE_USER(octets) 4
#define MEASURE_GROUPS(octets) 4
#define MEASURE_VIA(octets) 4
#define MEASURE_RESOURCE(octets) 4
#define MEASURE_NETWORK(octets) 4
#define MEASURE_DOMAIN(octets) 4
#define VARIABLE FIELD_VARIABLE

#define FIELD(name, element, enterprise, octets, kind, semantics, only, original, mirror, wire) \
	_Static_assert(MEMBER_SIZE(original) == MEASURE_##kind(octets) \
	               && MEMBER_SIZE(mirror) == MEASURE_##kind(octets) \
	               && MEMBER_SIZE(wire) == MEASURE_##kind(octets), \
	               #name ": its row in fields.def and its member of struct flow differ in size");
#include "fields.def"
#undef FIELD

enum {
	ANY = 0,
	V4 = TRAIT_V4,
	V6 = TRAIT_V6,
	NAT = TRAIT_NAT,
	PORTS = TRAIT_PORTS,
	ICMP = TRAIT_ICMP,
	BIFLOW = TRAIT_BIFLOW,
};

#define FIELD(name, element, enterprise, octets, kind, semantics, only, original, mirror, wire) \
	{ #name, element, octets, ENTERPRISE_##enterprise, KIND_##kind, SEMANTICS_##semantics, only, \
	  { offsetof(struct flow, original), offsetof(struct flow, mirror), offsetof(struct flow, wire) } },

const struct field fields[] = {
#include "fields.def"
};
#undef FIELD

const unsigned n_fields = sizeof fields / sizeof fields[0];

const struct field *
field_find(const char *name)
{
	for (unsigned i = 0; i < n_fields; i++)
		if (strcmp(fields[i].name, name) == 0)
			return &fields[i];
	return NULL;
}
