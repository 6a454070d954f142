/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_AUDIT_VALUE_H
#define PEERFLOW_AUDIT_VALUE_H

#include <stdbool.h>

#include "audit/print.h"

/* What the numbers of a flow are in words: the parts of which print.c makes its columns. All append to out. */

const char *value_protocol(const struct flow *flow);    /* NULL: it has a number only */

/* The number of a protocol, by its name or as a number. */
bool value_find_protocol(const char *text, uint8_t *number);

const char *value_end_reason(const struct flow *flow);
const char *value_tcp_state(const struct flow *flow);   /* NULL: not TCP, or not known */

/* Bits of the TCP header's flags. */
enum value_tcp_flag { VALUE_FIN = 1, VALUE_SYN = 2, VALUE_RST = 4, VALUE_ACK = 16 };

/* Connection tracking does not tell which flags it saw, but the state it ended in proves some: to get to TIME_WAIT it
 * takes SYN, ACK and FIN. Zero: not TCP, or its state is not known. A connection whose beginning the kernel missed counts as
 * begun by a SYN. */
uint8_t value_tcp_flags(const struct flow *flow);

/* TCP, UDP and the others, and whatever else the kernel gave ports. */
bool value_has_ports(const struct flow *flow);
bool value_is_icmp(const struct flow *flow);

void value_address(GString *out, const struct flow *flow, const union address *address);

/* "192.0.2.1:80", "[2001:db8::1]:80", or the address alone where there are no ports. */
void value_endpoint(GString *out, const struct flow *flow, const union address *address, uint16_t port);

/* ms since 1970 as "2026-08-22 14:03:22.117" in local time, and as RFC 3339 in UTC. */
void value_local_time(GString *out, uint64_t ms);
void value_utc_time(GString *out, uint64_t ms);

/* "1.204s", "12m03s", "3h07m", "2d04h". */
void value_duration(GString *out, uint64_t ms);

/* As it is up to 9999, then three digits and k, M, G (thousands). unit may be "". */
void value_human(GString *out, uint64_t count, const char *unit);

/* Decimal digits. */
void value_number(GString *out, uint64_t number);

/* Is all of it printable ASCII, as nearly all text is? Then it needs no second look at what it could do. */
bool value_is_plain(const char *text, size_t length);

/* The text without what a terminal would obey or hide: control and format characters and broken UTF-8 are U+FFFD. */
void value_visible(GString *out, const char *text, size_t length);

#endif
