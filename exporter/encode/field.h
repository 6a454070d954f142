/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ENCODE_FIELD_H
#define PEERFLOW_ENCODE_FIELD_H

#include <stdbool.h>
#include <stdint.h>

/* templates/fields.def as a table. */

enum field_trait {
	TRAIT_V4 = 1 << 0,
	TRAIT_V6 = 1 << 1,
	TRAIT_NAT = 1 << 2,
	TRAIT_PORTS = 1 << 3,       /* every protocol but ICMP and ICMPv6 */
	TRAIT_ICMP = 1 << 4,
	TRAIT_UNIFLOW = 1 << 5,
	TRAIT_BIFLOW = 1 << 6,
};

enum field_kind {
	KIND_NUMBER,                /* 1, 2, 4 or 8 octets, host byte order in struct flow */
	KIND_OCTETS,                /* as they are */
	KIND_UPTIME,                /* uint64_t ms since 1970, sent as 4 octets relative to the header's sysUpTime */
	KIND_REFERENCE,             /* uint64_t, sent in 4 octets */
	KIND_NAME,                  /* uint32_t index of an identity in struct names: its peer, or else VIA */
	KIND_TEXT,                  /* uint32_t index of a name in struct names */
	KIND_PEER,                  /* from here on index of an identity: one word of it, in the order of names.h */
	KIND_PEER_ID,
	KIND_USER,
	KIND_GROUPS,
	KIND_VIA,
	KIND_RESOURCE,
	KIND_NETWORK,
	KIND_DOMAIN,
};

/* RFC 5610 section 3.6 numbers them so. */
enum field_semantics {
	SEMANTICS_DEFAULT = 0,
	SEMANTICS_QUANTITY = 1,
	SEMANTICS_TOTAL = 2,
	SEMANTICS_DELTA = 3,
	SEMANTICS_IDENTIFIER = 4,
	SEMANTICS_FLAGS = 5,
};

/* Whose number the element is. */
enum field_enterprise {
	ENTERPRISE_IANA,
	ENTERPRISE_REVERSE,         /* RFC 5103: 29305 */
	ENTERPRISE_OWN,             /* the operator's enterprise-number */
	ENTERPRISE_NETFLOW9,        /* NetFlow v9 only */
};

enum { FIELD_VARIABLE = 65535 };    /* RFC 7011 section 7 */

/* Which record of a flow is written: an index into field.offset. */
enum record_view {
	VIEW_ORIGINAL,
	VIEW_MIRROR,
	VIEW_WIRE,
	VIEWS,
};

struct field {
	const char *name;
	uint16_t element;
	uint16_t octets;            /* on the wire, or FIELD_VARIABLE */
	uint8_t enterprise;         /* enum field_enterprise */
	uint8_t kind;               /* enum field_kind */
	uint8_t semantics;          /* enum field_semantics */
	uint8_t only;               /* enum field_trait bits a template must have */
	uint16_t offset[VIEWS];     /* into struct flow */
};

/* The table and how many rows it has. */
extern const struct field fields[];
extern const unsigned n_fields;

/* Is it a string, which a NetFlow v9 record pads and an IPFIX record gives a length? */
static inline bool
field_is_string(const struct field *field)
{
	return field->kind >= KIND_NAME;
}

/* The field of that name, or NULL. */
const struct field *field_find(const char *name);

#endif
