/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_FLOW_H
#define PEERFLOW_FLOW_H

#include <stdint.h>

/* The one struct in the middle. A flow is what the kernel's connection tracking knows of a connection, plus what was
 * found out about it on the way. It holds no pointers and no library types, so every stage can take it, copy it,
 * compare it and write it to a file. Numbers are in host byte order, addresses in network byte order. */

/* An IPv4 address fills the first four octets; the others are zero, so that addresses compare as a whole. */
union address {
	uint8_t v4[4];
	uint8_t v6[16];
	uint32_t word[4];
	uint64_t half[2];
};

/* What is true for the packets of one direction. Addresses and ports are those of the packets before translation in
 * that direction, as the kernel's tuples are: the reply's destination is the initiator as the responder sees it. */
struct side {
	union address source;
	union address destination;
	uint16_t source_port;       /* zero where the protocol has none */
	uint16_t destination_port;
	uint16_t icmp;              /* type * 256 + code (IANA IE 32, 139) */
	uint16_t icmp_id;
	uint64_t octets;            /* of whole IP packets, header included */
	uint64_t packets;
	uint32_t ingress;           /* ifIndex by route look-up; zero: this host */
	uint32_t egress;
	uint8_t flow_direction;     /* IANA IE 61: 0 ingress, 1 egress */
	uint8_t biflow_direction;   /* IANA IE 239: 1 the source is the initiator, 2 the destination is */
};

/* Which address of the initiator's packets the router rewrote, by comparison of the two tuples. */
enum translation {
	TRANSLATED_SOURCE = 1,
	TRANSLATED_DESTINATION = 2,
};

/* IANA IE 136, flowEndReason. */
enum flow_end_reason {
	END_IDLE = 1,
	END_ACTIVE = 2,
	END_DETECTED = 3,
	END_FORCED = 4,
	END_LACK_OF_RESOURCES = 5,
};

/* What could not be known of this flow, so that a zero is never mistaken for a measurement. */
enum flow_gap {
	GAP_NO_COUNTERS = 1,        /* accounting was off when the kernel made the entry */
	GAP_NO_START = 2,           /* time stamps were off then; start is the end */
	GAP_LOST_END = 4,           /* nobody told of its end: counters and end are those of the last look */
	GAP_RESET = 8,              /* somebody zeroed its counters: what they had counted since the last look is missing */
	GAP_PARTIAL = 16,           /* it was there before peerflow: counted from the first look only */
};

/* What of a flow somebody looks at, beside its family and its protocol. Translation is known of what is looked at. */
enum flow_part {
	FLOW_ADDRESSES = 1,         /* before and after translation */
	FLOW_PORTS = 2,             /* the same */
	FLOW_TIMES = 4,             /* start, end, stop */
	FLOW_COUNTS = 8,            /* packets and octets */
	FLOW_WHO = 16,              /* properties, biflow_direction, and names that stand in the record itself */
	FLOW_REST = 32,             /* all else in struct flow */
	FLOW_NAMES = 64,            /* what the ids in it stand for */
	FLOW_TUPLE = FLOW_ADDRESSES | FLOW_PORTS,
};

struct flow {
	struct side original;
	struct side reply;
	uint64_t flow_id;           /* conntrack id << 32 ^ low 32 bits of born: same in all records of the flow */
	uint64_t born;              /* ms since 1970, first packet of the flow */
	uint64_t start;             /* the same of this record: the end of the one before it, if there was one */
	uint64_t end;               /* ms since 1970, last packet; of a flow that goes on, the moment of the look */
	uint64_t stop;              /* ms since 1970, when the kernel's entry, and so a translated port, became free; or zero */
	uint32_t id;                /* CTA_ID: a 32-bit hash, no key by itself */
	uint32_t mark;
	uint32_t status;            /* IPS_* bits */
	uint32_t timeout;           /* seconds the entry still had; zero if it expired */
	uint32_t born_ns;           /* of born, the ns within its ms: two flows of one tuple may begin in the same ms */
	uint8_t labels[16];         /* bit n of the kernel's labels is bit n % 8 of octet n / 8 */
	uint32_t initiator;         /* index of an identity in struct names: who it was when the flow began */
	uint32_t responder;
	uint32_t policy;            /* index of a name in struct names: what allowed it; zero: not known */
	uint64_t properties[3];     /* under which numbers an archive says what these three stand for; zero: unknown */
	uint16_t zone;
	uint8_t family;             /* 4 or 6 */
	uint8_t protocol;
	uint8_t state;              /* TCP, SCTP or DCCP state of the kernel's tracker; zero for others */
	uint8_t nat_type;           /* IANA IE 297: 1 NAT44, 5 NAT66, 4 IPv4 as it is, 6 IPv6 as it is */
	uint8_t translation;        /* enum translation bits */
	uint8_t masqueraded;        /* 1: the translated source is an address of this host */
	uint8_t end_reason;         /* enum flow_end_reason */
	uint8_t gaps;               /* enum flow_gap bits */
};

#endif
