/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_AUDIT_HOLDER_H
#define PEERFLOW_AUDIT_HOLDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>

#include "audit/print.h"
#include "flow.h"
#include "names.h"

/* Who held an address, or an address and port, at a time? Many questions are asked at once, then everything that may
 * answer them is shown: entries of the kernel's table first, records of archives after that, in any order. Records of one
 * flow are joined. A flow holds its addresses and ports from its birth until the kernel forgets it (stop), or, where
 * that is not known, until its last packet. */

struct holder_question {
	union address address;
	uint64_t first;             /* ms since 1970: whoever held it at any moment from first to last */
	uint64_t last;
	uint16_t port;              /* or the id of an ICMP echo */
	uint8_t family;             /* 4 or 6 */
	uint8_t protocol;           /* zero: any */
	bool has_port;              /* false: any port, and protocols without */
};

/* What of a flow an address is, the most telling first. */
enum holder_role {
	HOLDER_TRANSLATED_SOURCE,       /* what the initiator's address was translated to */
	HOLDER_TRANSLATED_DESTINATION,  /* where the flow went in truth */
	HOLDER_SOURCE,
	HOLDER_DESTINATION,
	HOLDER_ROLES,
};

/* A flow with all that was shown of it. */
struct holder {
	struct flow flow;           /* of the last record, but start is the flow's and counters are sums */
	const struct names *names;
	char *ingress;              /* or NULL */
	char *egress;
	char *router;
	uint64_t from;              /* ms since 1970; zero: since when is not known */
	uint64_t to;                /* UINT64_MAX: it is in the kernel's table */
	size_t records;             /* of archives */
	bool open;                  /* in the kernel's table; the counters are the kernel's */
	bool whole;                 /* nothing is missing from its birth to its end; always true of one that is open */
};

struct holder_answer {
	const struct holder *holder;
	enum holder_role role;
};

/* Reads "198.51.100.1:41234", "198.51.100.1", "[2001:db8::1]:443", "2001:db8::1" into address, family, port and has_port;
 * and a protocol by name or number, NULL or "any" for any. Fails with EX_USAGE. */
bool holder_parse(const char *address, const char *protocol, struct holder_question *question, GError **error);

struct holders;

/* Copies the questions. */
struct holders *holders_new(const struct holder_question *question, size_t n);
void holders_free(struct holders *holders);
typedef struct holders holders_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(holders_t, holders_free)

/* An entry of the kernel's table now. */
void holders_take_entry(struct holders *holders, const struct print_flow *entry);

/* A record of an archive; one that was shown before is passed over. */
void holders_take_record(struct holders *holders, const struct print_flow *record);

/* Flows that go on for long have many records, and one is enough to be found by. Are there answers of which some may not
 * have been shown? */
bool holders_are_missing(const struct holders *holders);

/* If so: they lie between first and last, ms since 1970, and are of flows with one of these addresses, which are added to
 * the array. Whoever shows all of them, in any order and also again, gets them joined. */
struct holder_address {
	union address address;
	uint8_t family;
};
void holders_missing(const struct holders *holders, uint64_t *first, uint64_t *last, GArray *addresses);

/* The answers to the nth question, struct holder_answer, best first; good until more is shown. The caller's to unref. */
GArray *holders_answers(const struct holders *holders, size_t n);

/* "translated source", "destination" */
const char *holder_role_text(enum holder_role role);

#endif
