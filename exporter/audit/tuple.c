/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "audit/tuple.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <string.h>

#include "audit/value.h"
#include "error.h"

struct tuple
tuple_before(const struct flow *flow)
{
	const struct side *original = &flow->original;

	return (struct tuple){
		.source = original->source, .source_port = original->source_port,
		.destination = original->destination, .destination_port = original->destination_port,
		.protocol = flow->protocol, .family = flow->family,
	};
}

struct tuple
tuple_after(const struct flow *flow)
{
	const struct side *reply = &flow->reply;

	return (struct tuple){
		.source = reply->destination, .source_port = reply->destination_port,
		.destination = reply->source, .destination_port = reply->source_port,
		.protocol = flow->protocol, .family = flow->family,
	};
}

struct tuple
tuple_inverse(const struct tuple *tuple)
{
	return (struct tuple){
		.source = tuple->destination, .source_port = tuple->destination_port,
		.destination = tuple->source, .destination_port = tuple->source_port,
		.protocol = tuple->protocol, .family = tuple->family,
	};
}

bool
tuple_equal(const struct tuple *one, const struct tuple *other)
{
	return memcmp(one, other, sizeof *one) == 0;
}

static uint64_t
mix(uint64_t sum)
{
	sum ^= sum >> 32;
	sum *= 0xd6e8feb86659fd93;
	return sum ^ sum >> 32;
}

uint64_t
tuple_hash(const struct tuple *tuple)
{
	uint64_t half[sizeof *tuple / sizeof(uint64_t)], sum = 0;

	memcpy(half, tuple, sizeof half);
	for (unsigned i = 0; i < G_N_ELEMENTS(half); i++)
		sum = mix(sum ^ half[i]) + 0x9e3779b97f4a7c15;
	return mix(sum);
}

void
tuple_turn(struct flow *flow)
{
	const struct side original = flow->original;
	const uint32_t initiator = flow->initiator;

	flow->original = flow->reply;
	flow->reply = original;
	flow->initiator = flow->responder;
	flow->responder = initiator;
	flow->original.biflow_direction = 1;
	flow->reply.biflow_direction = 2;
	if (flow->translation == TRANSLATED_SOURCE || flow->translation == TRANSLATED_DESTINATION)
		flow->translation ^= TRANSLATED_SOURCE | TRANSLATED_DESTINATION;
}

/* Text */

G_GNUC_PRINTF(3, 4)
static bool
refuse(GError **error, const char *text, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	g_autofree char *what = g_strdup_vprintf(format, arguments);
	va_end(arguments);
	g_set_error(error, PEERFLOW_ERROR, EX_USAGE, "tuple \"%s\": %s; such as \"10.20.0.20:40002 -> "
	            "10.30.0.30:5432\" or \"tcp * -> [fd30::30]:443\"", text, what);
	return false;
}

static bool
parse_port(const char *text, int32_t *port)
{
	guint64 number;

	*port = -1;
	if (strcmp(text, "*") == 0)
		return true;
	if (!g_ascii_string_to_unsigned(text, 10, 0, UINT16_MAX, &number, NULL))
		return false;
	*port = (int32_t)number;
	return true;
}

static bool
parse_address(const char *text, struct tuple_pattern *pattern, unsigned end)
{
	if (!*text || strcmp(text, "*") == 0)
		return true;
	pattern->family[end] = strchr(text, ':') ? 6 : 4;
	return inet_pton(pattern->family[end] == 6 ? AF_INET6 : AF_INET, text, &pattern->address[end]) == 1;
}

/* "ADDRESS", "ADDRESS:PORT", "[ADDRESS]:PORT": an IPv6 address without brackets has no port. */
static bool
parse_end(const char *text, struct tuple_pattern *pattern, unsigned end)
{
	g_autofree char *address = g_strstrip(g_strdup(text));
	char *from = address, *port = strrchr(address, ':');

	pattern->port[end] = -1;
	if (*address == '[') {
		char *close = strchr(address, ']');
		if (!close || (close[1] && close[1] != ':'))
			return false;
		port = close[1] ? close + 1 : NULL;
		*close = '\0';
		from++;
	} else if (port && strchr(address, ':') != port) {
		port = NULL;
	}
	if (port) {
		*port++ = '\0';
		if (!parse_port(port, &pattern->port[end]))
			return false;
	}
	return parse_address(from, pattern, end);
}

/* The word before the first end, if there is one. Returns what comes behind it, or NULL if it is no protocol. */
static const char *
parse_protocol(const char *text, struct tuple_pattern *pattern)
{
	const size_t length = strcspn(text, " \t");
	const char *rest = text + length + strspn(text + length, " \t");
	g_autofree char *word = g_strndup(text, length);
	uint8_t number;

	pattern->protocol = -1;
	if (!*rest)
		return text;
	if (!value_find_protocol(word, &number))
		return NULL;
	pattern->protocol = number;
	return rest;
}

bool
tuple_parse(const char *text, struct tuple_pattern *pattern, GError **error)
{
	g_auto(GStrv) ends = g_strsplit(text, "->", -1);

	memset(pattern, 0, sizeof *pattern);
	if (g_strv_length(ends) != 2)
		return refuse(error, text, "two ends with one -> between them are wanted");
	g_autofree char *first = g_strstrip(g_strdup(ends[0]));
	const char *source = parse_protocol(first, pattern);
	if (!source)
		return refuse(error, text, "\"%s\" is not a protocol and an end", first);
	if (!parse_end(source, pattern, 0))
		return refuse(error, text, "\"%s\" is no address and port", source);
	if (!parse_end(ends[1], pattern, 1))
		return refuse(error, text, "\"%s\" is no address and port", g_strstrip(ends[1]));
	if (pattern->family[0] && pattern->family[1] && pattern->family[0] != pattern->family[1])
		return refuse(error, text, "one end is IPv4, the other IPv6");
	return true;
}

static bool
end_matches(const struct tuple_pattern *pattern, unsigned end, uint8_t family, const union address *address,
            uint16_t port)
{
	if (pattern->family[end] && (pattern->family[end] != family ||
	                             memcmp(&pattern->address[end], address, sizeof *address) != 0))
		return false;
	return pattern->port[end] < 0 || pattern->port[end] == port;
}

static bool
matches(const struct tuple_pattern *pattern, const struct tuple *tuple)
{
	return end_matches(pattern, 0, tuple->family, &tuple->source, tuple->source_port) &&
	       end_matches(pattern, 1, tuple->family, &tuple->destination, tuple->destination_port);
}

bool
tuple_matches(const struct tuple_pattern *pattern, const struct flow *flow)
{
	const struct tuple before = tuple_before(flow), after = tuple_after(flow);
	const struct tuple back = tuple_inverse(&after), last = tuple_inverse(&before);

	if (pattern->protocol >= 0 && pattern->protocol != flow->protocol)
		return false;
	return matches(pattern, &before) || matches(pattern, &after) || matches(pattern, &back) ||
	       matches(pattern, &last);
}
