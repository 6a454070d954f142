/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "archive/import.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "error.h"

struct import {
	FILE *in;
	char *name;
	uint64_t objects;
	uint64_t skipped;
	bool over;
};

/* The next octet that is no space and stands between no two objects, left in the file; EOF if there is none. */
static int
peek(FILE *in)
{
	int octet;

	do
		octet = getc(in);
	while (octet != EOF && (isspace(octet) || octet == '[' || octet == ']' || octet == ','));
	return octet == EOF ? EOF : ungetc(octet, in);
}

bool
import_is_json(const char *path)
{
	FILE *in = fopen(path, "re");
	int octet = EOF;

	if (!in)
		return false;
	do
		octet = getc(in);
	while (octet != EOF && isspace(octet));
	fclose(in);
	return octet == '[' || octet == '{';
}

struct import *
import_open(const char *path, GError **error)
{
	FILE *in = fopen(path, "re");

	if (!in) {
		g_set_error(error, PEERFLOW_ERROR, EX_NOINPUT, "%s: %s", path, g_strerror(errno));
		return NULL;
	}
	struct import *import = g_new0(struct import, 1);
	import->in = in;
	import->name = g_strdup(path);
	return import;
}

void
import_free(struct import *import)
{
	fclose(import->in);
	g_free(import->name);
	g_free(import);
}

uint64_t
import_skipped(const struct import *import)
{
	return import->skipped;
}

/* What an object says. Numbers may be numbers or, as some of nfdump's are, digits in quotes. */

static bool
find_number(const json_t *object, const char *key, uint64_t most, uint64_t *number)
{
	const json_t *value = json_object_get(object, key);

	if (json_is_string(value))
		return g_ascii_string_to_unsigned(json_string_value(value), 10, 0, most, number, NULL);
	if (!json_is_integer(value) || json_integer_value(value) < 0 || (uint64_t)json_integer_value(value) > most)
		return false;
	*number = (uint64_t)json_integer_value(value);
	return true;
}

static uint64_t
number_of(const json_t *object, const char *key, uint64_t most)
{
	uint64_t number = 0;

	return find_number(object, key, most, &number) ? number : 0;
}

/* "2026-11-22T03:37:02.909", of this host's zone unless a Z says else. */
static bool
find_time(const json_t *object, const char *key, uint64_t *ms)
{
	const char *text = json_string_value(json_object_get(object, key));
	struct tm tm = { .tm_isdst = -1 };
	const char *rest = text ? strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;
	unsigned fraction = 0;

	if (!rest || (rest[0] == '.' && strspn(rest + 1, "0123456789") != 3))
		return false;
	if (rest[0] == '.') {
		fraction = (unsigned)g_ascii_strtoull(rest + 1, NULL, 10);
		rest += 4;
	}
	const time_t seconds = *rest == 'Z' ? timegm(&tm) : mktime(&tm);
	if (seconds < 0)
		return false;
	*ms = (uint64_t)seconds * 1000 + fraction;
	return true;
}

/* Nothing but zeros is no address: nfdump writes them for what was not there. */
static bool
find_address(const json_t *object, const char *key, uint8_t family, union address *address)
{
	static const union address none;
	const char *text = json_string_value(json_object_get(object, key));
	union address found = { 0 };

	if (!text || inet_pton(family == 6 ? AF_INET6 : AF_INET, text, &found) != 1 ||
	    memcmp(&found, &none, sizeof found) == 0)
		return false;
	*address = found;
	return true;
}

/* Before translation, and after it as the reply has it. */
static const struct keys {
	uint8_t family;
	const char *source;
	const char *destination;
	const char *translated_source;
	const char *translated_destination;
} keys[] = {
	{ 4, "src4_addr", "dst4_addr", "src4_xlt_ip", "dst4_xlt_ip" },
	{ 6, "src6_addr", "dst6_addr", "src6_xlt_ip", "dst6_xlt_ip" },
};

static bool
take_addresses(const json_t *object, struct flow *flow)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(keys); i++) {
		const struct keys *row = &keys[i];
		if (!find_address(object, row->source, row->family, &flow->original.source) ||
		    !find_address(object, row->destination, row->family, &flow->original.destination))
			continue;
		flow->family = row->family;
		flow->reply.source = flow->original.destination;
		flow->reply.destination = flow->original.source;
		find_address(object, row->translated_source, row->family, &flow->reply.destination);
		find_address(object, row->translated_destination, row->family, &flow->reply.source);
		return true;
	}
	return false;
}

static uint16_t
translated_port(const json_t *object, const char *key, uint16_t port)
{
	const uint64_t found = number_of(object, key, UINT16_MAX);

	return found ? (uint16_t)found : port;
}

static void
take_ports(const json_t *object, struct flow *flow)
{
	struct side *original = &flow->original, *reply = &flow->reply;

	if (flow->protocol == IPPROTO_ICMP || flow->protocol == IPPROTO_ICMPV6) {
		original->icmp = number_of(object, "icmp_type", UINT8_MAX) * 256 +
		                 number_of(object, "icmp_code", UINT8_MAX);
		return;
	}
	original->source_port = number_of(object, "src_port", UINT16_MAX);
	original->destination_port = number_of(object, "dst_port", UINT16_MAX);
	reply->destination_port = translated_port(object, "src_xlt_port", original->source_port);
	reply->source_port = translated_port(object, "dst_xlt_port", original->destination_port);
}

static uint8_t
find_translation(const struct flow *flow)
{
	const struct side *there = &flow->original, *back = &flow->reply;
	const bool source = memcmp(&there->source, &back->destination, sizeof there->source) != 0 ||
	                    there->source_port != back->destination_port;
	const bool destination = memcmp(&there->destination, &back->source, sizeof there->destination) != 0 ||
	                         there->destination_port != back->source_port;

	return (source ? TRANSLATED_SOURCE : 0) | (destination ? TRANSLATED_DESTINATION : 0);
}

/* "...AP.SF": which flags the packets of this direction had. A SYN, and more packets that confirm what came, is a
 * connection that stood. */
static void
take_flags(const json_t *object, struct flow *flow)
{
	enum { SYN_SENT = 1, ESTABLISHED = 3, TIME_WAIT = 7, CLOSE = 8, ASSURED = 1 << 2 };
	const char *flags = json_string_value(json_object_get(object, "tcp_flags"));

	if (flow->protocol != IPPROTO_TCP || !flags)
		return;
	const bool syn = strchr(flags, 'S'), ack = strchr(flags, 'A');
	if (strchr(flags, 'R'))
		flow->state = CLOSE;
	else if (strchr(flags, 'F'))
		flow->state = TIME_WAIT;
	else
		flow->state = ack ? ESTABLISHED : syn ? SYN_SENT : 0;
	if (syn && ack && flow->original.packets > 1)
		flow->status = ASSURED;
}

static bool
take_flow(const json_t *object, struct flow *flow)
{
	uint64_t protocol;

	memset(flow, 0, sizeof *flow);
	if (!json_is_object(object) || !take_addresses(object, flow) ||
	    !find_number(object, "proto", UINT8_MAX, &protocol) || !find_time(object, "first", &flow->start) ||
	    !find_time(object, "last", &flow->end))
		return false;
	flow->protocol = protocol;
	flow->born = flow->start;
	take_ports(object, flow);
	flow->translation = find_translation(flow);
	flow->original.octets = number_of(object, "in_bytes", INT64_MAX);
	flow->original.packets = number_of(object, "in_packets", INT64_MAX);
	flow->reply.octets = number_of(object, "out_bytes", INT64_MAX);
	flow->reply.packets = number_of(object, "out_packets", INT64_MAX);
	take_flags(object, flow);
	return true;
}

static bool
fail(struct import *import, GError **error, const char *what)
{
	g_set_error(error, PEERFLOW_ERROR, EX_DATAERR, "%s: object %" G_GUINT64_FORMAT ", up to octet %ld: %s",
	            import->name, import->objects + 1, ftell(import->in), what);
	import->over = true;
	return false;
}

bool
import_next(struct import *import, struct flow *flow, GError **error)
{
	json_error_t wrong;

	while (!import->over && peek(import->in) != EOF) {
		json_t *object = json_loadf(import->in, JSON_DISABLE_EOF_CHECK | JSON_DECODE_ANY, &wrong);
		if (!object)
			return fail(import, error, wrong.text);
		const bool good = take_flow(object, flow);
		json_decref(object);
		import->objects++;
		if (good)
			return true;
		import->skipped++;
	}
	if (ferror(import->in) && !import->over)
		return fail(import, error, g_strerror(errno));
	return false;
}
