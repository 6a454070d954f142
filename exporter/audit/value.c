/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "audit/value.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <time.h>

static const struct protocol {
	uint8_t number;
	bool ports;
	const char *name;
} protocols[] = {
	{ IPPROTO_ICMP, false, "icmp" },
	{ IPPROTO_IGMP, false, "igmp" },
	{ IPPROTO_IPIP, false, "ipip" },
	{ IPPROTO_TCP, true, "tcp" },
	{ IPPROTO_UDP, true, "udp" },
	{ IPPROTO_DCCP, true, "dccp" },
	{ IPPROTO_IPV6, false, "ipv6" },
	{ IPPROTO_GRE, false, "gre" },
	{ IPPROTO_ESP, false, "esp" },
	{ IPPROTO_AH, false, "ah" },
	{ IPPROTO_ICMPV6, false, "icmpv6" },
	{ IPPROTO_SCTP, true, "sctp" },
	{ IPPROTO_UDPLITE, true, "udplite" },
};

static const struct protocol *
find_protocol(uint8_t number)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(protocols); i++)
		if (protocols[i].number == number)
			return &protocols[i];
	return NULL;
}

const char *
value_protocol(const struct flow *flow)
{
	const struct protocol *protocol = find_protocol(flow->protocol);

	return protocol ? protocol->name : NULL;
}

bool
value_find_protocol(const char *text, uint8_t *number)
{
	uint64_t given;

	for (unsigned i = 0; i < G_N_ELEMENTS(protocols); i++)
		if (!g_ascii_strcasecmp(protocols[i].name, text)) {
			*number = protocols[i].number;
			return true;
		}
	if (!g_ascii_string_to_unsigned(text, 10, 0, UINT8_MAX, &given, NULL))
		return false;
	*number = given;
	return true;
}

bool
value_has_ports(const struct flow *flow)
{
	const struct protocol *protocol = find_protocol(flow->protocol);

	return (protocol && protocol->ports) || flow->original.source_port || flow->original.destination_port;
}

bool
value_is_icmp(const struct flow *flow)
{
	return flow->protocol == IPPROTO_ICMP || flow->protocol == IPPROTO_ICMPV6;
}

static const char *
word_of(const char *const *words, size_t n, unsigned number)
{
	return number < n ? words[number] : NULL;
}

const char *
value_end_reason(const struct flow *flow)
{
	static const char *const words[] = {
		[END_IDLE] = "idle",
		[END_ACTIVE] = "active",
		[END_DETECTED] = "ended",
		[END_FORCED] = "forced",
		[END_LACK_OF_RESOURCES] = "evicted",
	};

	return word_of(words, G_N_ELEMENTS(words), flow->end_reason);
}

const char *
value_tcp_state(const struct flow *flow)
{
	/* enum tcp_conntrack of the kernel, as conntrack(8) spells it. */
	static const char *const words[] = {
		NULL, "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE",
		"SYN_SENT2",
	};

	return flow->protocol == IPPROTO_TCP ? word_of(words, G_N_ELEMENTS(words), flow->state) : NULL;
}

uint8_t
value_tcp_flags(const struct flow *flow)
{
	enum { SEEN_ACK = VALUE_SYN | VALUE_ACK, SEEN_FIN = SEEN_ACK | VALUE_FIN, ASSURED = 4 };
	/* In the order of the states. The kernel comes to CLOSE by an RST alone, at any time. */
	static const uint8_t proved[] = {
		0, VALUE_SYN, SEEN_ACK, SEEN_ACK, SEEN_FIN, SEEN_FIN, SEEN_FIN, SEEN_FIN, VALUE_SYN | VALUE_RST, VALUE_SYN,
	};

	if (flow->protocol != IPPROTO_TCP || flow->state >= G_N_ELEMENTS(proved) || !flow->state)
		return 0;
	/* An entry is assured once an ACK went both ways. */
	return proved[flow->state] | (flow->status & ASSURED ? VALUE_ACK : 0);
}

void
value_address(GString *out, const struct flow *flow, const union address *address)
{
	char text[INET6_ADDRSTRLEN];

	g_string_append(out, inet_ntop(flow->family == 6 ? AF_INET6 : AF_INET, address, text, sizeof text));
}

void
value_endpoint(GString *out, const struct flow *flow, const union address *address, uint16_t port)
{
	bool bracket = flow->family == 6 && value_has_ports(flow);

	g_string_append(out, bracket ? "[" : "");
	value_address(out, flow, address);
	g_string_append(out, bracket ? "]" : "");
	if (value_has_ports(flow))
		g_string_append_printf(out, ":%u", port);
}

/* With zeros in front up to so many; nothing in a time is below zero but a year that is none. */
static void
put_digits(GString *out, long long number, unsigned digits)
{
	const uint64_t positive = number < 0 ? 0 : (uint64_t)number;

	for (uint64_t bound = 10; digits > 1; digits--, bound *= 10)
		if (positive < bound) {
			g_string_append_len(out, "000", digits - 1);
			break;
		}
	value_number(out, positive);
}

static void
put_time(GString *out, uint64_t ms, struct tm *(*split)(const time_t *, struct tm *), char between, const char *zone)
{
	time_t seconds = ms / 1000;
	struct tm tm = { 0 };

	/* Fails over a year beyond int: octets that are wrong, but no reason to stop. */
	split(&seconds, &tm);
	const struct {
		long long number;
		unsigned digits;
		char behind;
	} parts[] = {
		{ tm.tm_year + 1900LL, 4, '-' }, { tm.tm_mon + 1, 2, '-' }, { tm.tm_mday, 2, between }, { tm.tm_hour, 2, ':' },
		{ tm.tm_min, 2, ':' }, { tm.tm_sec, 2, '.' }, { (long long)(ms % 1000), 3, '\0' },
	};
	for (unsigned i = 0; i < G_N_ELEMENTS(parts); i++) {
		put_digits(out, parts[i].number, parts[i].digits);
		if (parts[i].behind)
			g_string_append_c(out, parts[i].behind);
	}
	g_string_append(out, zone);
}

void
value_local_time(GString *out, uint64_t ms)
{
	put_time(out, ms, localtime_r, ' ', "");
}

void
value_utc_time(GString *out, uint64_t ms)
{
	put_time(out, ms, gmtime_r, 'T', "Z");
}

void
value_duration(GString *out, uint64_t ms)
{
	static const struct {
		uint64_t below;         /* seconds */
		uint64_t large;
		uint64_t small;
		char units[2];
	} scales[] = {
		{ 3600, 60, 1, "ms" },
		{ 86400, 3600, 60, "hm" },
		{ UINT64_MAX, 86400, 3600, "dh" },
	};
	uint64_t seconds = ms / 1000;
	unsigned i = 0;

	if (seconds < 60) {
		g_string_append_printf(out, "%u.%03us", (unsigned)seconds, (unsigned)(ms % 1000));
		return;
	}
	while (seconds >= scales[i].below)
		i++;
	g_string_append_printf(out, "%" G_GUINT64_FORMAT "%c%02u%c", seconds / scales[i].large, scales[i].units[0],
	                       (unsigned)(seconds % scales[i].large / scales[i].small), scales[i].units[1]);
}

void
value_human(GString *out, uint64_t count, const char *unit)
{
	const char *prefix = "kMGTPE";
	double scaled = count / 1000.0;
	const char *space = *unit ? " " : "";

	if (count < 10000) {
		g_string_append_printf(out, "%u%s%s", (unsigned)count, space, unit);
		return;
	}
	for (; scaled >= 999.5; scaled /= 1000)
		prefix++;
	int digits = scaled < 9.995 ? 2 : scaled < 99.95 ? 1 : 0;
	g_string_append_printf(out, "%.*f%s%c%s", digits, scaled, space, *prefix, unit);
}

void
value_number(GString *out, uint64_t number)
{
	char digits[20];
	size_t n = 0;

	do
		digits[sizeof digits - ++n] = (char)('0' + number % 10);
	while (number /= 10);
	g_string_append_len(out, digits + sizeof digits - n, (gssize)n);
}

bool
value_is_plain(const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (text[i] < ' ' || text[i] > '~')
			return false;
	return true;
}

static bool
is_visible(gunichar character)
{
	switch (g_unichar_type(character)) {
	case G_UNICODE_CONTROL:
	case G_UNICODE_FORMAT:
	case G_UNICODE_SURROGATE:
	case G_UNICODE_LINE_SEPARATOR:
	case G_UNICODE_PARAGRAPH_SEPARATOR:
		return false;
	default:
		return true;
	}
}

void
value_visible(GString *out, const char *text, size_t length)
{
	if (value_is_plain(text, length)) {
		g_string_append_len(out, text, (gssize)length);
		return;
	}
	g_autofree char *valid = g_utf8_make_valid(text, length);
	for (const char *at = valid; *at; at = g_utf8_next_char(at)) {
		gunichar character = g_utf8_get_char(at);
		g_string_append_unichar(out, is_visible(character) ? character : 0xfffd);
	}
}
