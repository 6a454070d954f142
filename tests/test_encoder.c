/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Flows in, octets out. Small messages are written out octet for octet; large mixtures are read back by a parser that
 * knows nothing of the encoder's tables, and IPFIX by libfixbuf too. */

#include "encode/encoder.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <fixbuf/public.h>
#include <stdio.h>
#include <string.h>

#include "encode/options.h"
#include "error.h"
#include "allocations.h"
#include "expect.h"
#include "suite.h"

enum { DOMAIN = 0x64400001, ENTERPRISE = 32473, REVERSE_NUMBER = 29305 };

static const uint64_t boot = 1700000000123, now = 1700000900456;

/* ---- names and flows ---- */

enum { NAMES = 14 };

static char name_text[NAMES][2048];
static struct name name_table[NAMES];
static struct identity identity_table[NAMES];
static const struct names names = { .name = name_table, .count = NAMES, .identity = identity_table, .n_identities = NAMES };

static void
set_name(unsigned i, const char *character, size_t octets)
{
	const size_t size = strlen(character);

	for (size_t at = 0; at + size <= octets; at += size)
		memcpy(name_text[i] + at, character, size);
	name_table[i] = (struct name){ name_text[i], octets / size * size };
	for (unsigned word = 0; i > 0 && word < WORDS; word++)
		identity_table[i].word[word] = word == WORD_PEER || word == WORD_VIA ? 0 : (i + word) % NAMES;
	identity_table[i].word[i % 2 ? WORD_PEER : WORD_VIA] = i;
}

/* Each length at which something changes, in characters of one to four octets. */
static void
make_names(void)
{
	set_name(0, "-", 1);
	set_name(1, "a", 1);
	set_name(2, "b", 31);
	set_name(3, "c", 32);
	set_name(4, "d", 33);
	set_name(5, "e", 254);
	set_name(6, "f", 255);
	set_name(7, "g", 300);
	set_name(8, "\xc3\xbc", 254);
	set_name(9, "\xe2\x82\xac", 300);
	set_name(10, "\xf0\x9f\x90\xa7", 36);
	set_name(11, "\xf0\x9f\x90\xa7", 2000);
	set_name(12, "h", 2000);
	set_name(13, "\xe2\x82\xac", 33);
}

static bool
is_icmp(const struct flow *flow)
{
	return flow->protocol == IPPROTO_ICMP || flow->protocol == IPPROTO_ICMPV6;
}

/* "10.0.0.1:80" or "[fd00::1]:80", into address and port. */
static void
read_end(const char *text, uint8_t *family, union address *address, uint16_t *port)
{
	char host[64];
	const char *colon = strrchr(text, ':');

	*family = *text == '[' ? 6 : 4;
	snprintf(host, sizeof host, "%.*s", (int)(colon - text) - (*family == 6 ? 2 : 0), text + (*family == 6));
	CU_ASSERT_FATAL(inet_pton(*family == 6 ? AF_INET6 : AF_INET, host, address) == 1);
	*port = atoi(colon + 1);
}

static void
find_translation(struct flow *flow)
{
	const struct side *o = &flow->original, *r = &flow->reply;

	flow->translation = (memcmp(&o->source, &r->destination, 16) || o->source_port != r->destination_port)
	                    | (memcmp(&o->destination, &r->source, 16) || o->destination_port != r->source_port) << 1;
	flow->nat_type = flow->family == 4 ? (flow->translation ? 1 : 4) : flow->translation ? 5 : 6;
}

static struct flow
flow_of(uint8_t protocol, const char *original_source, const char *original_destination, const char *reply_source,
        const char *reply_destination)
{
	struct flow flow = {
		.protocol = protocol, .flow_id = 0x0123456789abcdef, .start = now - 5000, .end = now - 1234, .stop = now,
		.mark = 0x1bd10, .status = 0x18e, .zone = 7, .state = 3, .initiator = 1, .responder = 3, .end_reason = 3,
		.gaps = GAP_NO_COUNTERS,
		.original = { .octets = 1000, .packets = 10, .ingress = 5, .egress = 2, .flow_direction = 0,
		              .biflow_direction = 1 },
		.reply = { .octets = 2000, .packets = 20, .ingress = 2, .egress = 5, .flow_direction = 1,
		           .biflow_direction = 2 },
	};

	read_end(original_source, &flow.family, &flow.original.source, &flow.original.source_port);
	read_end(original_destination, &flow.family, &flow.original.destination, &flow.original.destination_port);
	read_end(reply_source, &flow.family, &flow.reply.source, &flow.reply.source_port);
	read_end(reply_destination, &flow.family, &flow.reply.destination, &flow.reply.destination_port);
	memset(flow.labels, 0xa5, sizeof flow.labels);
	find_translation(&flow);
	return flow;
}

/* ---- files and encoders ---- */

static struct template_file *
shipped(const char *name)
{
	g_autofree char *path = g_strdup_printf("%s/templates/%s.template", SOURCE_DIR, name);
	struct template_file *file = template_file_load(path, NULL);

	CU_ASSERT_PTR_NOT_NULL_FATAL(file);
	return file;
}

/* All kinds of uniflow or biflow templates, ids from 300 on, with these fields. */
static struct template_file *
file_of(const char *protocol, const char *fields_wanted, const char *kind)
{
	g_autofree char *text = g_strdup_printf(
		"protocol %s\n" "template 300 ipv4 %s\n" "template 301 ipv6 %s\n" "template 302 ipv4 nat %s\n"
		"template 303 ipv6 nat %s\n" "template 304 ipv4 icmp %s\n" "template 305 ipv6 icmp %s\n"
		"template 306 ipv4 nat icmp %s\n" "template 307 ipv6 nat icmp %s\n%s\n",
		protocol, kind, kind, kind, kind, kind, kind, kind, kind, fields_wanted);
	g_autoptr(GError) error = NULL;
	struct template_file *file = template_file_parse("test", text, strlen(text), &error);

	if (!file)
		CU_FAIL(error->message);
	CU_ASSERT_PTR_NOT_NULL_FATAL(file);
	return file;
}

static struct encoder_options
options_of(unsigned records, enum reply_tuple reply, size_t size)
{
	return (struct encoder_options){ .records = records, .reply = reply, .domain = DOMAIN, .enterprise = ENTERPRISE,
	                                 .message_size = size, .boot = boot };
}

static struct encoder *
encoder_of(const struct template_file *file, unsigned records, enum reply_tuple reply, size_t size)
{
	const struct encoder_options options = options_of(records, reply, size);
	g_autoptr(GError) error = NULL;
	struct encoder *encoder = encoder_new(file, &options, &error);

	if (!encoder)
		CU_FAIL(error->message);
	CU_ASSERT_PTR_NOT_NULL_FATAL(encoder);
	return encoder;
}

/* ---- a reader of export messages that shares nothing with their writer ---- */

struct value {
	uint32_t enterprise;
	uint16_t element;
	uint16_t length;
	const uint8_t *octets;
};

struct record {
	uint32_t domain;
	uint32_t seconds;           /* of the header */
	uint32_t uptime;
	uint16_t template;
	bool options;
	unsigned n;
	struct value value[80];
};

struct known_template {
	uint16_t id;
	bool options;
	unsigned n;
	struct value value[80];     /* length of the specifier; 65535 is variable */
};

struct reader {
	unsigned version;
	struct {
		struct known_template known[32];
		unsigned n;
		uint32_t sequence;
	} domain[2];                /* 0 and DOMAIN */
	void (*handle)(const struct record *record, void *data);
	void *data;
	unsigned wrong;
	/* of the message being read */
	unsigned records, data_records, flow_records, template_records;
};

static void
wrong(struct reader *reader, const char *what)
{
	if (reader->wrong++ < 3)
		printf("\n    %s", what);
}

static uint32_t
number(const uint8_t *at, unsigned octets)
{
	uint32_t value = 0;

	while (octets--)
		value = value << 8 | *at++;
	return value;
}

static uint64_t
number64(const uint8_t *at, unsigned octets)
{
	return octets <= 4 ? number(at, octets) : (uint64_t)number(at, octets - 4) << 32 | number(at + octets - 4, 4);
}

static void
know(struct reader *reader, unsigned domain, const struct known_template *template)
{
	for (unsigned i = 0; i < reader->domain[domain].n; i++)
		if (reader->domain[domain].known[i].id == template->id) {
			if (memcmp(&reader->domain[domain].known[i], template, sizeof *template) != 0)
				wrong(reader, "a template changed");
			return;
		}
	CU_ASSERT_FATAL(reader->domain[domain].n < 32);
	reader->domain[domain].known[reader->domain[domain].n++] = *template;
}

/* One Template Record that fills its Set: one a Set. */
static void
read_template(struct reader *reader, unsigned domain, const uint8_t *at, const uint8_t *end, bool options)
{
	struct known_template template;
	unsigned scopes = 1;

	memset(&template, 0, sizeof template);
	template.options = options;
	template.id = number(at, 2);
	template.n = number(at + 2, 2);
	at += 4;
	if (options && reader->version == 9) {
		scopes = template.n / 4;
		template.n = (template.n + number(at, 2)) / 4;
		at += 2;
	} else if (options) {
		scopes = number(at, 2);
		at += 2;
	}
	if (template.id < 256 || !template.n || !scopes || template.n > 80)
		wrong(reader, "no template");
	for (unsigned i = 0; i < template.n && at + 4 <= end; i++, at += 4) {
		template.value[i].element = number(at, 2);
		template.value[i].length = number(at + 2, 2);
		if (reader->version == 10 && template.value[i].element & 0x8000) {
			template.value[i].element &= 0x7fff;
			template.value[i].enterprise = number(at + 4, 4);
			at += 4;
		}
	}
	for (; reader->version == 9 && at < end; at++)
		if (*at)
			wrong(reader, "padding that is not zero");
	if (at != end)
		wrong(reader, "a template does not fill its Set");
	know(reader, domain, &template);
	reader->records++;
	reader->template_records++;
}

static const uint8_t *
read_record(struct reader *reader, const struct known_template *template, struct record *record, const uint8_t *at,
            const uint8_t *end)
{
	record->template = template->id;
	record->options = template->options;
	record->n = template->n;
	for (unsigned i = 0; i < template->n; i++) {
		record->value[i] = template->value[i];
		if (template->value[i].length == 65535) {
			record->value[i].length = *at++;
			if (record->value[i].length == 255) {
				record->value[i].length = number(at, 2);
				at += 2;
				if (record->value[i].length < 255)
					wrong(reader, "the long form of a short length");
			}
			if (!record->value[i].length)
				wrong(reader, "an empty string");
		}
		record->value[i].octets = at;
		at += record->value[i].length;
		if (at > end) {
			wrong(reader, "a record beyond its Set");
			return end;
		}
	}
	reader->records++;
	reader->data_records++;
	reader->flow_records += !template->options;
	if (reader->handle)
		reader->handle(record, reader->data);
	return at;
}

static void
read_data(struct reader *reader, unsigned domain, struct record *record, uint16_t id, const uint8_t *at,
          const uint8_t *end)
{
	const struct known_template *template = NULL;

	for (unsigned i = 0; i < reader->domain[domain].n; i++)
		if (reader->domain[domain].known[i].id == id)
			template = &reader->domain[domain].known[i];
	if (!template) {
		wrong(reader, "data without a template");
		return;
	}
	do
		at = read_record(reader, template, record, at, end);
	while (reader->version == 10 ? at < end : end - at > 3);
	for (; at < end; at++)
		if (*at)
			wrong(reader, "padding that is not zero");
}

static void
read_header(struct reader *reader, const struct message *message, struct record *record)
{
	const uint8_t *at = message->octets;
	const bool ipfix = reader->version == 10;

	if (number(at, 2) != reader->version || message->length < (ipfix ? 16 : 20))
		wrong(reader, "no header");
	if (ipfix && number(at + 2, 2) != message->length)
		wrong(reader, "another length in the header");
	record->uptime = ipfix ? 0 : number(at + 4, 4);
	record->seconds = number(at + (ipfix ? 4 : 8), 4);
	record->domain = number(at + (ipfix ? 12 : 16), 4);
	if (record->domain != 0 && record->domain != DOMAIN)
		wrong(reader, "another domain");
}

static void
read_sets(struct reader *reader, const struct message *message, struct record *record)
{
	const unsigned domain = record->domain != 0, templates = reader->version == 10 ? 2 : 0;
	const uint8_t *at = message->octets + (reader->version == 10 ? 16 : 20), *end = message->octets + message->length;

	if (at == end)
		wrong(reader, "an empty message");
	while (end - at >= 4) {
		const uint16_t id = number(at, 2), length = number(at + 2, 2);
		if (length <= 4 || length > end - at || (reader->version == 9 && length % 4)) {
			wrong(reader, "no Set");
			return;
		}
		if (id == templates || id == templates + 1)
			read_template(reader, domain, at + 4, at + length, id != templates);
		else if (id >= 256)
			read_data(reader, domain, record, id, at + 4, at + length);
		else
			wrong(reader, "no such Set");
		at += length;
	}
	if (at != end)
		wrong(reader, "octets behind the last Set");
}

static void
read_message(struct reader *reader, const struct message *message)
{
	struct record record = { 0 };
	const uint32_t sequence = number(message->octets + (reader->version == 10 ? 8 : 12), 4);

	reader->records = reader->data_records = reader->flow_records = reader->template_records = 0;
	read_header(reader, message, &record);
	read_sets(reader, message, &record);
	uint32_t *expected = &reader->domain[record.domain != 0].sequence;
	if (sequence != *expected)
		wrong(reader, "a Sequence Number that does not follow");
	*expected += reader->version == 10 ? reader->data_records : 1;
	if (reader->version == 9 && number(message->octets + 2, 2) != reader->records)
		wrong(reader, "another count in the header");
	if (message->flow_records != reader->flow_records)
		wrong(reader, "another count of flow records");
	if (reader->flow_records && (record.domain != DOMAIN || reader->template_records))
		wrong(reader, "flows beside templates or in domain 0");
	if (reader->flow_records && reader->flow_records != reader->data_records)
		wrong(reader, "flows beside options data");
}

static const struct value *
value_of(const struct record *record, uint32_t enterprise, uint16_t element)
{
	for (unsigned i = 0; i < record->n; i++)
		if (record->value[i].enterprise == enterprise && record->value[i].element == element)
			return &record->value[i];
	return NULL;
}

/* ---- what a record should say, by the words of the standard ---- */

struct ends {
	const union address *source, *destination, *post_source, *post_destination;
	uint16_t source_port, destination_port, post_source_port, post_destination_port;
};

/* The reply's post-translation ends are the original's ends before it, in the reply's own direction. */
static struct ends
ends_of(const struct flow *flow, bool reply, enum reply_tuple form)
{
	const struct side *o = &flow->original, *r = &flow->reply;

	if (!reply)
		return (struct ends){ &o->source, &o->destination, &r->destination, &r->source,
		                      o->source_port, o->destination_port, r->destination_port, r->source_port };
	if (form == REPLY_MIRROR)
		return (struct ends){ &o->destination, &o->source, &r->source, &r->destination,
		                      o->destination_port, o->source_port, r->source_port, r->destination_port };
	return (struct ends){ &r->source, &r->destination, &o->destination, &o->source,
	                      r->source_port, r->destination_port, o->destination_port, o->source_port };
}

static bool
is_address(const struct value *value, unsigned length, const union address *address)
{
	return value->length == length && memcmp(value->octets, address, length) == 0;
}

/* A name whole, or as much of it as is whole characters: of the longest that there was room for. */
static bool
is_name(const struct value *value, uint32_t id)
{
	const struct name *name = id < names.count ? &names.name[id] : &names.name[0];
	unsigned length = value->length;

	if (value->element == 40000)
		while (length && !value->octets[length - 1])
			length--;
	if (length < name->length && (value->element == 40000 ? length < 29 : length < 13))
		return false;
	return length && length <= name->length && memcmp(value->octets, name->text, length) == 0
	       && g_utf8_validate((const char *)value->octets, length, NULL);
}

/* Elements about the two ends come in pairs, that of the source first. */
static uint32_t
end_of(const struct value *value, const struct flow *flow, bool reply)
{
	return value->element % 2 != reply ? flow->initiator : flow->responder;
}

static bool
is_word(const struct value *value, uint32_t identity)
{
	static const enum identity_word words[] = {
		[1003 / 2] = WORD_PEER_ID, [1005 / 2] = WORD_USER, [1007 / 2] = WORD_GROUPS, [1009 / 2] = WORD_VIA,
		[1021 / 2] = WORD_RESOURCE, [1023 / 2] = WORD_NETWORK, [1025 / 2] = WORD_DOMAIN,
	};

	return is_name(value, names_word(&names, identity, words[(value->element - 1) / 2]));
}

static bool
is_uptime(const struct record *record, const struct value *value, uint64_t time)
{
	return value->length == 4 && record->seconds * 1000ull - record->uptime + number(value->octets, 4) == time;
}

static bool
value_right(const struct record *record, const struct value *value, const struct flow *flow, bool reply,
            enum reply_tuple form)
{
	const struct ends ends = ends_of(flow, reply, form);
	const struct side *side = reply ? &flow->reply : &flow->original, *other = reply ? &flow->original : &flow->reply;
	const uint64_t given = value->length <= 8 ? number64(value->octets, value->length) : 0;

	switch (value->enterprise << 16 | value->element) {
	case 8: return is_address(value, 4, ends.source);
	case 12: return is_address(value, 4, ends.destination);
	case 27: return is_address(value, 16, ends.source);
	case 28: return is_address(value, 16, ends.destination);
	case 225: return is_address(value, 4, ends.post_source);
	case 226: return is_address(value, 4, ends.post_destination);
	case 281: return is_address(value, 16, ends.post_source);
	case 282: return is_address(value, 16, ends.post_destination);
	case 7: return given == ends.source_port;
	case 11: return given == ends.destination_port;
	case 227: return given == ends.post_source_port;
	case 228: return given == ends.post_destination_port;
	case 4: return given == flow->protocol;
	case 1: return given == side->octets;
	case 2: return given == side->packets;
	case 23: case REVERSE_NUMBER << 16 | 1: return given == other->octets;
	case 24: case REVERSE_NUMBER << 16 | 2: return given == other->packets;
	case 152: return given == flow->start;
	case 153: return given == flow->end;
	case 22: return is_uptime(record, value, flow->start);
	case 21: return is_uptime(record, value, flow->end);
	case 10: return given == side->ingress;
	case 14: return given == side->egress;
	case 61: return given == side->flow_direction;
	case 32: return given == side->icmp && (flow->family == 4 || record->uptime);
	case 139: return given == side->icmp && flow->family == 6;
	case 136: return given == flow->end_reason;
	case 148: return given == flow->flow_id;
	case 239: return given == (reply ? 2 : 1);
	case 297: return given == flow->nat_type;
	case 371: case 40000: return is_name(value, flow->initiator);
	case ENTERPRISE << 16 | 1001: case ENTERPRISE << 16 | 1002: return is_name(value, end_of(value, flow, reply));
	case ENTERPRISE << 16 | 1003 ... ENTERPRISE << 16 | 1010:
	case ENTERPRISE << 16 | 1021 ... ENTERPRISE << 16 | 1026: return is_word(value, end_of(value, flow, reply));
	case ENTERPRISE << 16 | 1027: return is_name(value, flow->policy);
	case ENTERPRISE << 16 | 1028: return given == flow->masqueraded;
	case ENTERPRISE << 16 | 1029: return given == side->icmp_id;
	case ENTERPRISE << 16 | 1030: return given == other->icmp_id;
	case ENTERPRISE << 16 | 1011: return given == flow->mark;
	case ENTERPRISE << 16 | 1012: return given == flow->zone;
	case ENTERPRISE << 16 | 1013: return given == flow->status;
	case ENTERPRISE << 16 | 1014: return given == flow->state;
	case ENTERPRISE << 16 | 1015: return value->length == 16 && memcmp(value->octets, flow->labels, 16) == 0;
	case ENTERPRISE << 16 | 1016: return given == flow->stop;
	case ENTERPRISE << 16 | 1017: return given == flow->gaps;
	default: return false;
	}
}

/* The kind of template a flow belongs in, as the place of the id among those of its file. */
static unsigned
place_of(const struct flow *flow)
{
	return (is_icmp(flow) ? 5 : 0) + (flow->family == 6 ? 2 : 0) + (flow->translation ? 1 : 0);
}

/* ---- octet for octet ---- */

#define SMALL "sourceIPv4Address\ndestinationIPv4Address\nsourceTransportPort\ndestinationTransportPort\n" \
              "protocolIdentifier\noctetDeltaCount\n"

static void
test_ipfix_octets(void)
{
	g_autoptr(template_file_t) file = file_of("ipfix", SMALL "flowEndMilliseconds\nuserName", "");
	g_autoptr(encoder_t) encoder = encoder_of(file, TRAIT_UNIFLOW, REPLY_MIRROR, 1232);
	const struct flow flow = flow_of(6, "100.64.0.5:51000", "10.1.2.3:443", "10.1.2.3:443", "100.64.0.5:51000");
	const struct message *message;

	CU_ASSERT_TRUE(encoder_add_flow(encoder, &flow, &names));
	CU_ASSERT_TRUE(encoder_waiting(encoder));
	CU_ASSERT_EQUAL(encoder_take(encoder, now, false, &message), 0);
	CU_ASSERT_EQUAL_FATAL(encoder_take(encoder, now, true, &message), 1);
	CU_ASSERT_FALSE(encoder_waiting(encoder));
	EXPECT(&message[0], "a pair of uniflows",
	       /* version  length   export time             sequence     domain */
	       0, 10,      0, 82,   0x65, 0x53, 0xf4, 0x84, 0, 0, 0, 0,  0x64, 0x40, 0, 1,
	       1, 44,      0, 66,                                       /* Set 300 */
	       100, 64, 0, 5,       10, 1, 2, 3,         0xc7, 0x38,    1, 0xbb,        6,
	       0, 0, 0, 0, 0, 0, 3, 0xe8,                               /* 1000 octets */
	       0, 0, 1, 0x8b, 0xcf, 0xf3, 0x20, 0x96,                   /* 1700000899222 */
	       1, 'a',
	       10, 1, 2, 3,         100, 64, 0, 5,       1, 0xbb,       0xc7, 0x38,     6,
	       0, 0, 0, 0, 0, 0, 7, 0xd0,
	       0, 0, 1, 0x8b, 0xcf, 0xf3, 0x20, 0x96,
	       1, 'a');
	CU_ASSERT_EQUAL(message[0].flow_records, 2);
	CU_ASSERT_EQUAL(message[0].flow_octets, 1000 + 2000);
	CU_ASSERT_EQUAL(message[0].flow_packets, flow.original.packets + flow.reply.packets);
}

static void
test_netflow9_octets(void)
{
	g_autoptr(template_file_t) file = file_of("netflow9", SMALL "flowEndSysUpTime\nciscoUserName", "");
	g_autoptr(encoder_t) encoder = encoder_of(file, TRAIT_UNIFLOW, REPLY_MIRROR, 1232);
	struct flow flow = flow_of(17, "100.64.0.5:51000", "10.1.2.3:443", "10.1.2.3:443", "100.64.0.5:51000");
	const struct message *message;

	flow.reply.packets = 0;
	CU_ASSERT_TRUE(encoder_add_flow(encoder, &flow, &names));
	CU_ASSERT_EQUAL_FATAL(encoder_take(encoder, now, true, &message), 1);
	EXPECT(&message[0], "a uniflow of NetFlow v9",
	       /* version  count    sysUpTime            seconds                 sequence     Source ID */
	       0, 9,       0, 1,    0, 13, 0xbf, 0x0d,   0x65, 0x53, 0xf4, 0x85, 0, 0, 0, 0,  0x64, 0x40, 0, 1,
	       1, 44,      0, 64,
	       100, 64, 0, 5,       10, 1, 2, 3,         0xc7, 0x38,    1, 0xbb,        17,
	       0, 0, 0, 0, 0, 0, 3, 0xe8,
	       0, 13, 0xb8, 0x1b,                                       /* 899099 ms after boot */
	       'a', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	       0, 0, 0);                                                /* padding */
}

#define OWN_STRING(element) 0x80 | (element) >> 8, (element) & 255, 255, 255,  0, 0, 0x7e, 0xd9
#define WHO_TEMPLATE(id, prefix, octets, length) \
	0, 3,  0, 74,  1, id,  0, 10,  0, 2,  0, prefix,  0, octets,  0, length,  0, 1, \
	1, 0x5e, 255, 255,  1, 0x5d, 255, 255,  OWN_STRING(1041),  OWN_STRING(1042),  OWN_STRING(1043), \
	OWN_STRING(1044),  OWN_STRING(1045),  OWN_STRING(1046)

/* Templates: a message of their own, each in a Set of its own; reverse and own elements with their enterprise. */
static void
test_template_octets(void)
{
	g_autoptr(template_file_t) file = file_of("ipfix", "octetDeltaCount\nreverseOctetDeltaCount\nuserName\n"
	                                          "sourcePeerName", "biflow");
	g_autoptr(encoder_t) encoder = encoder_of(file, TRAIT_BIFLOW, REPLY_MIRROR, 1232);
	const struct message *message;

	CU_ASSERT_TRUE(encoder_add_templates(encoder));
	CU_ASSERT_FALSE(encoder_waiting(encoder));
	CU_ASSERT_EQUAL_FATAL(encoder_take(encoder, now, false, &message), 2);
	CU_ASSERT_EQUAL(message[0].length, 16 + 8 * 32);
	CU_ASSERT_EQUAL(message[0].flow_records, 0);
	const struct message first = { .octets = message[0].octets, .length = 48 };
	EXPECT(&first, "the first of eight templates",
	       0, 10,  1, 16,  0x65, 0x53, 0xf4, 0x84, 0, 0, 0, 0,  0x64, 0x40, 0, 1,
	       0, 2,   0, 32,
	       1, 44,  0, 4,
	       0, 1,   0, 8,
	       0x80, 1,  0, 8,  0, 0, 0x72, 0x79,
	       1, 0x73,  0xff, 0xff,
	       0x83, 0xe9,  0xff, 0xff,  0, 0, 0x7e, 0xd9);
	/* Options templates are in domain 0. */
	EXPECT(&message[1], "options templates",
	       0, 10,  1, 126, 0x65, 0x53, 0xf4, 0x84, 0, 0, 0, 0,  0, 0, 0, 0,
	       0, 3,   0, 22,  1, 0x18,  0, 3,  0, 1,  0, 149, 0, 4,  0, 10, 0, 4,  0, 83, 0, 32,
	       0, 3,   0, 26,  1, 0x19,  0, 4,  0, 1,  0, 144, 0, 4,  0, 40, 0, 8,  0, 41, 0, 8,  0, 42, 0, 8,
	       0, 3,   0, 30,  1, 0x1a,  0, 5,  0, 2,  1, 0x2f, 0, 2, 1, 0x5a, 0, 4, 1, 0x53, 0, 1, 1, 0x58, 0, 1,
	                                               1, 0x55, 0xff, 0xff,
	       0, 3,   0, 38,  1, 0x1b,  0, 7,  0, 2,  0, 149, 0, 4,  0, 143, 0, 4, 0, 166, 0, 8, 0, 164, 0, 8,
	                                               0, 165, 0, 8,  1, 0x43, 0, 8, 1, 0x43, 0, 8,
	       0, 3,   0, 34,  1, 0x1c,  0, 6,  0, 1,  0, 144, 0, 4,  0, 166, 0, 8, 0, 167, 0, 8, 0, 168, 0, 8,
	                                               1, 0x43, 0, 8, 1, 0x43, 0, 8,
	       0, 3,   0, 50,  1, 0x1d,  0, 8,  0, 2,  0, 149, 0, 4,  0x84, 7, 0, 1, 0, 0, 0x7e, 0xd9,
	                                               0x84, 8, 0, 1, 0, 0, 0x7e, 0xd9, 0, 166, 0, 8, 0, 167, 0, 8,
	                                               0, 168, 0, 8,  1, 0x43, 0, 8, 1, 0x43, 0, 8,
	       0, 3,   0, 18,  1, 0x17,  0, 2,  0, 1,  0, 149, 0, 4,  1, 0x2c, 0, 64,
	       WHO_TEMPLATE(0x1e, 44, 4, 9), WHO_TEMPLATE(0x1f, 170, 16, 29));
	CU_ASSERT_TRUE(encoder_add_types(encoder));
	CU_ASSERT_EQUAL_FATAL(encoder_take(encoder, now, true, &message), 1);
	EXPECT(&message[0], "the type of sourcePeerName, and those of options",
	       0, 10,  0, 196,  0x65, 0x53, 0xf4, 0x84, 0, 0, 0, 0,  0, 0, 0, 0,
	       1, 0x1a, 0, 180, 3, 0xe9,  0, 0, 0x7e, 0xd9,  13,  0,
	                       14, 's', 'o', 'u', 'r', 'c', 'e', 'P', 'e', 'e', 'r', 'N', 'a', 'm', 'e',
	                4, 7,  0, 0, 0x7e, 0xd9,  1,  4,
	                       7, 'g', 'a', 'p', 'K', 'i', 'n', 'd',
	                4, 8,  0, 0, 0x7e, 0xd9,  1,  5,
	                       8, 'g', 'a', 'p', 'F', 'l', 'a', 'g', 's',
	                4, 0x11,  0, 0, 0x7e, 0xd9,  13,  0,
	                       12, 'p', 'e', 'e', 'r', 'U', 's', 'e', 'r', 'N', 'a', 'm', 'e',
	                4, 0x12,  0, 0, 0x7e, 0xd9,  13,  0,
	                       10, 'g', 'r', 'o', 'u', 'p', 'N', 'a', 'm', 'e', 's',
	                4, 0x13,  0, 0, 0x7e, 0xd9,  13,  0,
	                       11, 'v', 'i', 'a', 'P', 'e', 'e', 'r', 'N', 'a', 'm', 'e',
	                4, 0x14,  0, 0, 0x7e, 0xd9,  13,  0,
	                       12, 'r', 'e', 's', 'o', 'u', 'r', 'c', 'e', 'N', 'a', 'm', 'e',
	                4, 0x15,  0, 0, 0x7e, 0xd9,  13,  0,
	                       11, 'n', 'e', 't', 'w', 'o', 'r', 'k', 'N', 'a', 'm', 'e',
	                4, 0x16,  0, 0, 0x7e, 0xd9,  13,  0,
	                       10, 'd', 'o', 'm', 'a', 'i', 'n', 'N', 'a', 'm', 'e');
}

/* ---- what flows become ---- */

struct collected {
	unsigned n;
	struct record record[4];
	uint8_t octets[4][2048];    /* values live on */
	char text[4][256];
};

static void
append_end(char *text, const struct record *record, uint16_t v4, uint16_t v6, uint16_t port)
{
	const struct value *address = value_of(record, 0, v4), *at = value_of(record, 0, port);
	char host[64];

	if (!address)
		address = value_of(record, 0, v6);
	inet_ntop(address->length == 4 ? AF_INET : AF_INET6, address->octets, host, sizeof host);
	sprintf(text + strlen(text), "%s", host);
	if (at)
		sprintf(text + strlen(text), " %u", number(at->octets, 2));
}

/* "10.0.0.1 1000 > 10.0.0.2 80 | 10.0.0.9 1000 > 10.0.0.2 80", or with " icmp 8.0" for ports. */
static void
describe(const struct record *record, char *text)
{
	const struct value *icmp = value_of(record, 0, 32) ? value_of(record, 0, 32) : value_of(record, 0, 139);

	append_end(text, record, 8, 27, 7);
	strcat(text, " > ");
	append_end(text, record, 12, 28, 11);
	if (value_of(record, 0, 225) || value_of(record, 0, 281)) {
		strcat(text, " | ");
		append_end(text, record, 225, 281, 227);
		strcat(text, " > ");
		append_end(text, record, 226, 282, 228);
	}
	if (icmp)
		sprintf(text + strlen(text), " icmp %u.%u", icmp->octets[0], icmp->octets[1]);
}

static void
collect(const struct record *record, void *data)
{
	struct collected *collected = data;

	if (record->options || collected->n == 4)
		return;
	const unsigned i = collected->n++;
	uint8_t *at = collected->octets[i];
	collected->record[i] = *record;
	for (unsigned v = 0; v < record->n; v++) {
		memcpy(at, record->value[v].octets, record->value[v].length);
		collected->record[i].value[v].octets = at;
		at += record->value[v].length;
	}
	describe(record, collected->text[i]);
}

/* Sends templates and one flow through an encoder and a reader. */
static void
encode_one(const char *template, unsigned records, enum reply_tuple reply, const struct flow *flow,
           struct collected *collected)
{
	g_autoptr(template_file_t) file = shipped(template);
	g_autoptr(encoder_t) encoder = encoder_of(file, records, reply, 1232);
	g_autofree struct reader *reader = g_new0(struct reader, 1);
	const struct message *message;

	memset(collected, 0, sizeof *collected);
	reader->version = file->protocol;
	reader->handle = collect;
	reader->data = collected;
	CU_ASSERT_TRUE(encoder_add_templates(encoder));
	CU_ASSERT_TRUE(encoder_add_flow(encoder, flow, &names));
	const size_t n = encoder_take(encoder, now, true, &message);
	for (size_t i = 0; i < n; i++)
		read_message(reader, &message[i]);
	CU_ASSERT_EQUAL(reader->wrong, 0);
}

static const struct {
	const char *what;
	uint8_t protocol;
	const char *original[2], *reply[2];
	uint16_t icmp[2];
	unsigned place;             /* of the template id behind the file's first */
	const char *forward, *mirror, *wire;
} cases[] = {
	{ "none", 6, { "100.64.0.5:51000", "10.1.2.3:443" }, { "10.1.2.3:443", "100.64.0.5:51000" }, { 0, 0 }, 0,
	  "100.64.0.5 51000 > 10.1.2.3 443",
	  "10.1.2.3 443 > 100.64.0.5 51000",
	  "10.1.2.3 443 > 100.64.0.5 51000" },
	{ "SNAT", 6, { "100.64.0.5:51001", "10.1.2.3:443" }, { "10.1.2.3:443", "10.1.2.1:51001" }, { 0, 0 }, 1,
	  "100.64.0.5 51001 > 10.1.2.3 443 | 10.1.2.1 51001 > 10.1.2.3 443",
	  "10.1.2.3 443 > 100.64.0.5 51001 | 10.1.2.3 443 > 10.1.2.1 51001",
	  "10.1.2.3 443 > 10.1.2.1 51001 | 10.1.2.3 443 > 100.64.0.5 51001" },
	{ "SNAT of the port too", 6, { "100.90.0.8:50000", "10.20.0.20:5000" }, { "10.20.0.20:5000", "10.20.0.1:40744" },
	  { 0, 0 }, 1,
	  "100.90.0.8 50000 > 10.20.0.20 5000 | 10.20.0.1 40744 > 10.20.0.20 5000",
	  "10.20.0.20 5000 > 100.90.0.8 50000 | 10.20.0.20 5000 > 10.20.0.1 40744",
	  "10.20.0.20 5000 > 10.20.0.1 40744 | 10.20.0.20 5000 > 100.90.0.8 50000" },
	{ "DNAT", 17, { "100.64.0.9:40000", "100.64.0.1:80" }, { "10.1.2.3:8080", "100.64.0.9:40000" }, { 0, 0 }, 1,
	  "100.64.0.9 40000 > 100.64.0.1 80 | 100.64.0.9 40000 > 10.1.2.3 8080",
	  "100.64.0.1 80 > 100.64.0.9 40000 | 10.1.2.3 8080 > 100.64.0.9 40000",
	  "10.1.2.3 8080 > 100.64.0.9 40000 | 100.64.0.1 80 > 100.64.0.9 40000" },
	{ "both", 6, { "100.64.0.9:40001", "100.64.0.1:80" }, { "10.1.2.3:8080", "10.1.2.1:40001" }, { 0, 0 }, 1,
	  "100.64.0.9 40001 > 100.64.0.1 80 | 10.1.2.1 40001 > 10.1.2.3 8080",
	  "100.64.0.1 80 > 100.64.0.9 40001 | 10.1.2.3 8080 > 10.1.2.1 40001",
	  "10.1.2.3 8080 > 10.1.2.1 40001 | 100.64.0.1 80 > 100.64.0.9 40001" },
	{ "hairpin", 6, { "10.1.2.50:6000", "203.0.113.1:80" }, { "10.1.2.3:8080", "10.1.2.1:6000" }, { 0, 0 }, 1,
	  "10.1.2.50 6000 > 203.0.113.1 80 | 10.1.2.1 6000 > 10.1.2.3 8080",
	  "203.0.113.1 80 > 10.1.2.50 6000 | 10.1.2.3 8080 > 10.1.2.1 6000",
	  "10.1.2.3 8080 > 10.1.2.1 6000 | 203.0.113.1 80 > 10.1.2.50 6000" },
	{ "port redirect", 6, { "100.90.0.7:51823", "100.90.0.1:22" }, { "100.90.0.1:22022", "100.90.0.7:51823" },
	  { 0, 0 }, 1,
	  "100.90.0.7 51823 > 100.90.0.1 22 | 100.90.0.7 51823 > 100.90.0.1 22022",
	  "100.90.0.1 22 > 100.90.0.7 51823 | 100.90.0.1 22022 > 100.90.0.7 51823",
	  "100.90.0.1 22022 > 100.90.0.7 51823 | 100.90.0.1 22 > 100.90.0.7 51823" },
	{ "IPv6", 132, { "[fd12::7]:50012", "[fd20::20]:5012" }, { "[fd20::20]:5012", "[fd12::7]:50012" }, { 0, 0 }, 2,
	  "fd12::7 50012 > fd20::20 5012",
	  "fd20::20 5012 > fd12::7 50012",
	  "fd20::20 5012 > fd12::7 50012" },
	{ "NAT66", 17, { "[fd12::7]:50012", "[fd20::20]:5012" }, { "[fd20::20]:5012", "[fd20::1]:50012" }, { 0, 0 }, 3,
	  "fd12::7 50012 > fd20::20 5012 | fd20::1 50012 > fd20::20 5012",
	  "fd20::20 5012 > fd12::7 50012 | fd20::20 5012 > fd20::1 50012",
	  "fd20::20 5012 > fd20::1 50012 | fd20::20 5012 > fd12::7 50012" },
	{ "GRE", 47, { "100.64.0.5:0", "10.1.2.3:0" }, { "10.1.2.3:0", "10.1.2.1:0" }, { 0, 0 }, 1,
	  "100.64.0.5 0 > 10.1.2.3 0 | 10.1.2.1 0 > 10.1.2.3 0",
	  "10.1.2.3 0 > 100.64.0.5 0 | 10.1.2.3 0 > 10.1.2.1 0",
	  "10.1.2.3 0 > 10.1.2.1 0 | 10.1.2.3 0 > 100.64.0.5 0" },
	{ "ICMP", 1, { "100.90.0.7:0", "10.20.0.20:0" }, { "10.20.0.20:0", "100.90.0.7:0" }, { 0x0800, 0x0000 }, 5,
	  "100.90.0.7 > 10.20.0.20 icmp 8.0",
	  "10.20.0.20 > 100.90.0.7 icmp 0.0",
	  "10.20.0.20 > 100.90.0.7 icmp 0.0" },
	{ "ICMP, SNAT", 1, { "100.90.0.7:0", "10.20.0.20:0" }, { "10.20.0.20:0", "10.20.0.1:0" }, { 0x0d01, 0x0e02 }, 6,
	  "100.90.0.7 > 10.20.0.20 | 10.20.0.1 > 10.20.0.20 icmp 13.1",
	  "10.20.0.20 > 100.90.0.7 | 10.20.0.20 > 10.20.0.1 icmp 14.2",
	  "10.20.0.20 > 10.20.0.1 | 10.20.0.20 > 100.90.0.7 icmp 14.2" },
	{ "ICMPv6", 58, { "[fd12::7]:0", "[fd20::20]:0" }, { "[fd20::20]:0", "[fd12::7]:0" }, { 0x8000, 0x8100 }, 7,
	  "fd12::7 > fd20::20 icmp 128.0",
	  "fd20::20 > fd12::7 icmp 129.0",
	  "fd20::20 > fd12::7 icmp 129.0" },
	{ "ICMPv6, NAT66", 58, { "[fd12::7]:0", "[fd20::20]:0" }, { "[fd20::20]:0", "[fd20::1]:0" }, { 0x8000, 0x8100 }, 8,
	  "fd12::7 > fd20::20 | fd20::1 > fd20::20 icmp 128.0",
	  "fd20::20 > fd12::7 | fd20::20 > fd20::1 icmp 129.0",
	  "fd20::20 > fd20::1 | fd20::20 > fd12::7 icmp 129.0" },
};

static void
expect_text(const char *what, const char *is, const char *should)
{
	CU_ASSERT_STRING_EQUAL(is, should);
	if (strcmp(is, should) != 0)
		printf("\n    %s: %s\n    instead of %s", what, is, should);
}

static void
expect_values(const struct record *record, const struct flow *flow, bool reply, enum reply_tuple form)
{
	for (unsigned i = 0; i < record->n; i++)
		if (!value_right(record, &record->value[i], flow, reply, form)) {
			printf("\n    element %u/%u of template %u", record->value[i].enterprise, record->value[i].element,
			       record->template);
			CU_FAIL("a value");
		}
}

static struct flow
flow_of_case(size_t i)
{
	struct flow flow = flow_of(cases[i].protocol, cases[i].original[0], cases[i].original[1], cases[i].reply[0],
	                           cases[i].reply[1]);

	flow.original.icmp = cases[i].icmp[0];
	flow.reply.icmp = cases[i].icmp[1];
	return flow;
}

static const struct {
	const char *name;
	uint16_t first;
} files[] = { { "default", 256 }, { "nfdump", 320 }, { "full", 448 } };

/* Every case by every file, mirrored and as on the wire. */
static void
test_pairs(void)
{
	static struct collected collected;

	for (size_t i = 0; i < G_N_ELEMENTS(cases) * G_N_ELEMENTS(files) * 2; i++) {
		const size_t at = i / 2 / G_N_ELEMENTS(files), f = i / 2 % G_N_ELEMENTS(files);
		const enum reply_tuple form = i % 2 ? REPLY_WIRE : REPLY_MIRROR;
		const struct flow flow = flow_of_case(at);
		encode_one(files[f].name, TRAIT_UNIFLOW, form, &flow, &collected);
		CU_ASSERT_EQUAL_FATAL(collected.n, 2);
		expect_text(cases[at].what, collected.text[0], cases[at].forward);
		expect_text(cases[at].what, collected.text[1], i % 2 ? cases[at].wire : cases[at].mirror);
		expect_values(&collected.record[0], &flow, false, form);
		expect_values(&collected.record[1], &flow, true, form);
		CU_ASSERT_EQUAL(cases[at].place, place_of(&flow));
		CU_ASSERT_EQUAL(collected.record[0].template, files[f].first + cases[at].place);
		CU_ASSERT_EQUAL(collected.record[1].template, files[f].first + cases[at].place);
	}
}

/* One record a flow: reverse counters in 29305's elements, or in 23 and 24 where there are no enterprises. */
static void
test_biflows(void)
{
	static struct collected collected;

	for (size_t i = 0; i < G_N_ELEMENTS(cases) * G_N_ELEMENTS(files); i++) {
		const size_t at = i / G_N_ELEMENTS(files), f = i % G_N_ELEMENTS(files);
		const bool v9 = f == 1;
		const struct flow flow = flow_of_case(at);
		encode_one(files[f].name, TRAIT_BIFLOW, REPLY_MIRROR, &flow, &collected);
		CU_ASSERT_EQUAL_FATAL(collected.n, 1);
		expect_text(cases[at].what, collected.text[0], cases[at].forward);
		expect_values(&collected.record[0], &flow, false, REPLY_MIRROR);
		CU_ASSERT_EQUAL(collected.record[0].template, files[f].first + 32 + cases[at].place);
		CU_ASSERT_PTR_NOT_NULL(value_of(&collected.record[0], v9 ? 0 : REVERSE_NUMBER, v9 ? 23 : 1));
		CU_ASSERT_PTR_NOT_NULL(value_of(&collected.record[0], v9 ? 0 : REVERSE_NUMBER, v9 ? 24 : 2));
	}
}

/* What each shipped template must and must not say. */
static void
test_presence(void)
{
	static struct collected collected;
	static const uint16_t never[] = { 6, 60, 160, 230, 231, 232, 233, 283, 29305 };
	static const uint16_t never_v9[] = { 139, 148, 152, 153, 239, 371 };

	for (size_t i = 0; i < G_N_ELEMENTS(cases) * G_N_ELEMENTS(files); i++) {
		const bool v9 = i % G_N_ELEMENTS(files) == 1;
		const struct flow flow = flow_of_case(i / G_N_ELEMENTS(files));
		encode_one(files[i % G_N_ELEMENTS(files)].name, TRAIT_UNIFLOW, REPLY_MIRROR, &flow, &collected);
		for (size_t j = 0; j < G_N_ELEMENTS(never); j++)
			CU_ASSERT_PTR_NULL(value_of(&collected.record[0], 0, never[j]));
		for (size_t j = 0; j < G_N_ELEMENTS(never_v9); j++)
			CU_ASSERT_TRUE(!v9 || !value_of(&collected.record[0], 0, never_v9[j]));
		CU_ASSERT_PTR_NULL(value_of(&collected.record[0], REVERSE_NUMBER, 1));
		/* The name is last, or with others at the end. */
		CU_ASSERT_PTR_NOT_NULL(value_of(&collected.record[0], 0, v9 ? 40000 : 371));
		CU_ASSERT_EQUAL(!!value_of(&collected.record[0], 0, 7), !is_icmp(&flow));
		CU_ASSERT_EQUAL(!!value_of(&collected.record[0], 0, 32), is_icmp(&flow) && (v9 || flow.family == 4));
	}
}

static void
test_no_reply(void)
{
	static struct collected collected;
	struct flow flow = flow_of_case(1);

	flow.reply.packets = flow.reply.octets = 0;
	encode_one("default", TRAIT_UNIFLOW, REPLY_MIRROR, &flow, &collected);
	CU_ASSERT_EQUAL(collected.n, 1);
	CU_ASSERT_EQUAL(value_of(&collected.record[0], 0, 239)->octets[0], 1);
	encode_one("default", TRAIT_BIFLOW, REPLY_MIRROR, &flow, &collected);
	CU_ASSERT_EQUAL(collected.n, 1);
	expect_values(&collected.record[0], &flow, false, REPLY_MIRROR);
}

/* In an interval a side that did not move has no record; at the end the initiator's has. */
static void
test_interval(void)
{
	static struct collected collected;
	struct flow flow = flow_of_case(1);

	flow.original.packets = flow.original.octets = 0;
	flow.end_reason = END_ACTIVE;
	encode_one("default", TRAIT_UNIFLOW, REPLY_MIRROR, &flow, &collected);
	CU_ASSERT_EQUAL(collected.n, 1);
	expect_values(&collected.record[0], &flow, true, REPLY_MIRROR);
	encode_one("default", TRAIT_BIFLOW, REPLY_MIRROR, &flow, &collected);
	CU_ASSERT_EQUAL(collected.n, 1);
	expect_values(&collected.record[0], &flow, false, REPLY_MIRROR);
	flow.end_reason = END_IDLE;
	encode_one("default", TRAIT_UNIFLOW, REPLY_MIRROR, &flow, &collected);
	CU_ASSERT_EQUAL(collected.n, 2);
	flow.reply.packets = flow.reply.octets = 0;
	encode_one("default", TRAIT_UNIFLOW, REPLY_MIRROR, &flow, &collected);
	CU_ASSERT_EQUAL(collected.n, 1);
	expect_values(&collected.record[0], &flow, false, REPLY_MIRROR);
}

/* ---- names ---- */

static void
test_names(void)
{
	static const struct {
		uint32_t id;
		uint16_t variable, fixed;   /* octets that arrive */
	} expected[] = {
		{ 0, 1, 1 },    { 1, 1, 1 },    { 2, 31, 31 },  { 3, 32, 32 }, { 4, 33, 32 }, { 5, 254, 32 }, { 6, 255, 32 },
		{ 7, 300, 32 }, { 8, 254, 32 }, { 9, 300, 30 }, { 10, 36, 32 }, { 13, 33, 30 },
		{ NAMES, 1, 1 }, { UINT32_MAX, 1, 1 },
	};
	static struct collected collected;
	struct flow flow = flow_of_case(0);

	for (size_t i = 0; i < G_N_ELEMENTS(expected); i++) {
		flow.initiator = expected[i].id;
		const struct name *name = &names.name[expected[i].id < NAMES ? expected[i].id : 0];
		encode_one("default", TRAIT_UNIFLOW, REPLY_MIRROR, &flow, &collected);
		const struct value *value = value_of(&collected.record[0], 0, 371);
		CU_ASSERT_EQUAL(value->length, expected[i].variable);
		CU_ASSERT_EQUAL(memcmp(value->octets, name->text, expected[i].variable), 0);
		encode_one("nfdump", TRAIT_UNIFLOW, REPLY_MIRROR, &flow, &collected);
		value = value_of(&collected.record[0], 0, 40000);
		CU_ASSERT_EQUAL_FATAL(value->length, 32);
		CU_ASSERT_EQUAL(strnlen((const char *)value->octets, 32), expected[i].fixed);
		CU_ASSERT_EQUAL(memcmp(value->octets, name->text, expected[i].fixed), 0);
	}
}

static const struct value last_name;
static struct value seen_name;
static uint8_t seen_octets[2048];

static void
see_name(const struct record *record, void *data)
{
	const uint16_t *element = data;
	const struct value *value = value_of(record, *element >= 1001 ? ENTERPRISE : 0, *element);

	if (record->options || !value)
		return;
	memcpy(seen_octets, value->octets, value->length);
	seen_name = *value;
	seen_name.octets = seen_octets;
}

/* In a message that is too short for a name it is cut, in front of a character, and the record always fits. */
static void
test_names_cut(void)
{
	static const char *const which[] = { "default", "full" };
	static const uint16_t elements[] = { 371, 1001, 1002 };
	g_autofree struct reader *reader = g_new0(struct reader, 1);
	const struct message *message;
	unsigned cut = 0, bad = 0;

	for (size_t limit = 200; limit < 2600; limit += 1 + limit / 100) {
		for (unsigned f = 0; f < 2; f++) {
			g_autoptr(template_file_t) file = shipped(which[f]);
			const struct encoder_options options = options_of(TRAIT_UNIFLOW, REPLY_MIRROR, limit);
			g_autoptr(encoder_t) encoder = encoder_new(file, &options, NULL);
			struct flow flow = flow_of_case(8);
			for (uint32_t id = 0; encoder && id < NAMES; id++) {
				uint16_t element = elements[id % (f ? 3 : 1)];
				memset(reader, 0, sizeof *reader);
				reader->version = 10;
				reader->handle = see_name;
				reader->data = &element;
				flow.initiator = flow.responder = id;
				seen_name = last_name;
				encoder_restart(encoder);
				encoder_add_templates(encoder);
				encoder_add_flow(encoder, &flow, &names);
				for (size_t n = encoder_take(encoder, now, true, &message), i = 0; i < n; i++) {
					read_message(reader, &message[i]);
					bad += message[i].length > limit;
				}
				bad += reader->wrong;
				/* What is cut was cut no earlier than it had to be: names of 18 octets always have room. */
				bad += !seen_name.octets || !is_name(&seen_name, id);
				cut += seen_name.length < names.name[id].length;
			}
		}
	}
	CU_ASSERT_EQUAL(bad, 0);
	CU_ASSERT_TRUE(cut > 100);
}

/* ---- times ---- */

static uint32_t
uptime_of(const struct message *message, unsigned record)
{
	return number(message->octets + 24 + 4 * record, 4);
}

/* Milliseconds are exact whatever part of a second it is when a message leaves; the zero of sysUpTime moves before it
 * wraps, and what is older than it begins with it. */
static void
test_netflow9_times(void)
{
	g_autoptr(template_file_t) file = file_of("netflow9", "flowStartSysUpTime", "");
	g_autoptr(encoder_t) encoder = encoder_of(file, TRAIT_UNIFLOW, REPLY_MIRROR, 1232);
	struct flow flow = flow_of_case(0);
	const struct message *message;
	const uint64_t day = 86400000;
	unsigned bad = 0;

	flow.reply.packets = 0;
	for (uint64_t at = now; at < now + 200 * day; at += 3 * 3600000 + 12345) {
		flow.start = at - 7777;
		encoder_add_flow(encoder, &flow, &names);
		CU_ASSERT_EQUAL_FATAL(encoder_take(encoder, at, true, &message), 1);
		const uint64_t zero = number(message->octets + 8, 4) * 1000ull - number(message->octets + 4, 4);
		bad += zero + uptime_of(message, 0) != flow.start;
		bad += number(message->octets + 4, 4) > (1ull << 32) - day + 4 * 3600000;
	}
	CU_ASSERT_EQUAL(bad, 0);
	/* 60 days old: older than the zero. */
	flow.start -= 60 * day;
	encoder_add_flow(encoder, &flow, &names);
	encoder_take(encoder, now + 200 * day, true, &message);
	CU_ASSERT_EQUAL(uptime_of(message, 0), 0);
}

/* A host up for a hundred days: after the templates, which come first, all times are right. */
static void
test_old_host(void)
{
	g_autoptr(template_file_t) file = file_of("netflow9", "flowStartSysUpTime", "");
	struct encoder_options options = options_of(TRAIT_UNIFLOW, REPLY_MIRROR, 1232);
	struct flow flow = flow_of_case(0);
	const struct message *message;

	options.boot = now - 100 * 86400000ull;
	g_autoptr(encoder_t) encoder = encoder_new(file, &options, NULL);
	CU_ASSERT_TRUE(encoder_add_templates(encoder));
	CU_ASSERT_EQUAL(encoder_take(encoder, now, true, &message), 2);
	flow.start = now - 3 * 86400000;
	encoder_add_flow(encoder, &flow, &names);
	CU_ASSERT_EQUAL(encoder_take(encoder, now, true, &message), 1);
	const uint64_t zero = number(message->octets + 8, 4) * 1000ull - number(message->octets + 4, 4);
	CU_ASSERT_EQUAL(zero + uptime_of(message, 0), flow.start);
}

/* The time of the header is that of the take, not of the first record. */
static void
test_export_time(void)
{
	g_autoptr(template_file_t) file = shipped("default");
	g_autoptr(encoder_t) encoder = encoder_of(file, TRAIT_UNIFLOW, REPLY_MIRROR, 1232);
	const struct flow flow = flow_of_case(0);
	const struct message *message;

	encoder_add_flow(encoder, &flow, &names);
	CU_ASSERT_EQUAL(encoder_take(encoder, now, false, &message), 0);
	CU_ASSERT_EQUAL(encoder_take(encoder, now + 3000, true, &message), 1);
	CU_ASSERT_EQUAL(number(message->octets + 4, 4), (now + 3000) / 1000);
}

/* ---- marks: what is out when a message is ---- */

struct marks {
	uint64_t flows;             /* all of whose records were read */
	uint64_t id;                /* of the flow whose second record is to come, or zero */
	unsigned records;           /* a flow has */
	unsigned torn;              /* flows whose records stand in two messages */
};

static void
count_flow(const struct record *record, void *data)
{
	struct marks *marks = data;

	if (record->options)
		return;
	const uint64_t id = number64(value_of(record, 0, 148)->octets, 8);
	if (marks->id && marks->id != id)
		CU_FAIL("the records of two flows are mixed up");
	marks->id = marks->id || marks->records == 1 ? 0 : id;
	marks->flows += !marks->id;
}

/* Takes what there is and answers the mark of the last message. */
static uint64_t
check_marks(struct reader *reader, struct encoder *encoder, bool partial, uint64_t skipped)
{
	struct marks *marks = reader->data;
	const struct message *message;
	const size_t n = encoder_take(encoder, now, partial, &message);

	for (size_t i = 0; i < n; i++) {
		read_message(reader, &message[i]);
		marks->torn += marks->id != 0;
		if (message[i].mark != marks->flows && message[i].mark != marks->flows + skipped)
			CU_ASSERT_EQUAL(message[i].mark, marks->flows);
	}
	return n ? message[n - 1].mark : 0;
}

/* Flows 1 to 2000 with options data and templates in between, and the last ones left out. */
static unsigned
run_marks(const char *template, unsigned records, size_t size, unsigned name)
{
	g_autoptr(template_file_t) file = shipped(template);
	g_autoptr(encoder_t) encoder = encoder_of(file, records, REPLY_MIRROR, size);
	g_autofree struct reader *reader = g_new0(struct reader, 1);
	struct marks marks = { .records = records == TRAIT_UNIFLOW ? 2 : 1 };
	struct flow flow = flow_of_case(0);

	reader->version = file->protocol;
	reader->handle = count_flow;
	reader->data = &marks;
	encoder_add_templates(encoder);
	for (uint64_t number = 1; number <= 2000; number++) {
		flow.flow_id = number;
		flow.initiator = name + number % 3;
		if (!encoder_add_flow(encoder, &flow, &names)) {
			check_marks(reader, encoder, number % 2, 0);
			CU_ASSERT_TRUE(encoder_add_flow(encoder, &flow, &names));
		}
		encoder_mark(encoder, number);
		if (number % 100 == 0)
			encoder_add_statistics(encoder, &(struct exporter_statistics){ 1, 2, 3 });
	}
	check_marks(reader, encoder, false, 0);
	encoder_mark(encoder, 2005);
	check_marks(reader, encoder, true, 5);
	encoder_add_statistics(encoder, &(struct exporter_statistics){ 1, 2, 3 });
	CU_ASSERT_EQUAL(check_marks(reader, encoder, true, 5), 2005);
	CU_ASSERT_EQUAL(marks.flows, 2000);
	CU_ASSERT_EQUAL(reader->wrong, 0);
	return marks.torn;
}

static void
test_marks(void)
{
	CU_ASSERT_EQUAL(run_marks("default", TRAIT_UNIFLOW, 1232, 0), 0);
	CU_ASSERT_EQUAL(run_marks("default", TRAIT_UNIFLOW, 1232, 11), 0);
	CU_ASSERT_EQUAL(run_marks("default", TRAIT_UNIFLOW, 484, 11), 0);
	CU_ASSERT_EQUAL(run_marks("default", TRAIT_BIFLOW, 1232, 4), 0);
	CU_ASSERT_EQUAL(run_marks("full", TRAIT_UNIFLOW, 16384, 11), 0);
	CU_ASSERT_EQUAL(run_marks("full", TRAIT_UNIFLOW, 1232, 5), 0);
	/* A message that has no room for both: the mark then waits for the second. */
	CU_ASSERT_TRUE(run_marks("default", TRAIT_UNIFLOW, 176, 5) > 1900);
}

/* ---- set-up ---- */

static void
expect_refusal(const char *text, const struct encoder_options *options, const char *message)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(template_file_t) file = template_file_parse("test", text, strlen(text), NULL);

	CU_ASSERT_PTR_NOT_NULL_FATAL(file);
	CU_ASSERT_PTR_NULL(encoder_new(file, options, &error));
	CU_ASSERT_PTR_NOT_NULL_FATAL(error);
	CU_ASSERT_TRUE(g_error_matches(error, PEERFLOW_ERROR, EX_CONFIG));
	expect_text("refusal", error->message, message);
}

static void
test_refused(void)
{
	struct encoder_options options = options_of(TRAIT_UNIFLOW, REPLY_MIRROR, 1232);
	g_autoptr(template_file_t) full = shipped("full"), small = shipped("default");
	g_autoptr(GError) error = NULL, too_small = NULL;

	expect_refusal("protocol ipfix\ntemplate 256 ipv6\nflowId\n", &options,
	               "test: no template for ipv4 flows with records = uniflow");
	expect_refusal("protocol ipfix\ntemplate 256 ipv4\nflowId\n", &options,
	               "test: no template for ipv6 flows with records = uniflow");
	expect_refusal("protocol ipfix\ntemplate 256 ipv4\ntemplate 257 ipv6\nflowId\n", &options,
	               "test: no template for translated ipv4 flows with records = uniflow");
	expect_refusal("protocol ipfix\ntemplate 256 ipv4\ntemplate 257 ipv6\ntemplate 258 ipv4 nat\ntemplate 259 ipv6 nat\n"
	               "template 260 ipv4 icmp\ntemplate 261 ipv6 icmp\ntemplate 262 ipv4 nat icmp\nflowId\n", &options,
	               "test: no template for translated ipv6 icmp flows with records = uniflow");
	options.records = TRAIT_BIFLOW;
	expect_refusal("protocol ipfix\ntemplate 256 ipv4\nflowId\n", &options,
	               "test: no template for ipv4 flows with records = biflow");
	options = options_of(TRAIT_UNIFLOW, REPLY_MIRROR, 1232);
	options.enterprise = 0;
	CU_ASSERT_PTR_NULL(encoder_new(full, &options, &error));
	CU_ASSERT_TRUE(g_error_matches(error, PEERFLOW_ERROR, EX_CONFIG));
	CU_ASSERT_TRUE(g_str_has_suffix(error->message,
	                                "full.template: its enterprise elements need enterprise-number in [exporter]"));
	options.message_size = 100;
	CU_ASSERT_PTR_NULL(encoder_new(small, &options, &too_small));
	CU_ASSERT_TRUE(g_error_matches(too_small, PEERFLOW_ERROR, EX_CONFIG));
	CU_ASSERT_TRUE(g_str_has_suffix(too_small->message,
	                                "default.template: a template or record does not fit a message of 100 octets"));
}

/* A size that is refused changes nothing, also not what was cut before. */
static void
test_sizes(void)
{
	g_autoptr(template_file_t) file = shipped("default");
	g_autoptr(encoder_t) encoder = encoder_of(file, TRAIT_UNIFLOW, REPLY_MIRROR, 1232);
	struct flow flow = flow_of_case(0);
	const struct message *message;
	uint16_t before;

	flow.initiator = 12;
	encoder_add_flow(encoder, &flow, &names);
	CU_ASSERT_EQUAL_FATAL(encoder_take(encoder, now, true, &message), 1);
	before = message[0].length;
	CU_ASSERT_EQUAL(before, 1232);
	CU_ASSERT_FALSE(encoder_set_message_size(encoder, 0));
	CU_ASSERT_FALSE(encoder_set_message_size(encoder, 60));
	CU_ASSERT_FALSE(encoder_set_message_size(encoder, 140));
	CU_ASSERT_FALSE(encoder_set_message_size(encoder, 16385));
	CU_ASSERT_FALSE(encoder_set_message_size(encoder, 65536 + 1232));
	encoder_add_flow(encoder, &flow, &names);
	CU_ASSERT_EQUAL_FATAL(encoder_take(encoder, now, true, &message), 1);
	CU_ASSERT_EQUAL(message[0].length, before);
	CU_ASSERT_TRUE(encoder_set_message_size(encoder, 16384));
	CU_ASSERT_TRUE(encoder_set_message_size(encoder, 512));
	encoder_add_flow(encoder, &flow, &names);
	CU_ASSERT_EQUAL_FATAL(encoder_take(encoder, now, true, &message), 1);
	CU_ASSERT_EQUAL(message[0].length, 508);
}

/* A smaller path between a take and the next record: what is open is closed, and goes out as it is. */
static void
test_shrink_while_open(void)
{
	g_autoptr(template_file_t) file = file_of("ipfix", "flowId", "");
	g_autoptr(encoder_t) encoder = encoder_of(file, TRAIT_UNIFLOW, REPLY_MIRROR, 400);
	struct flow flow = flow_of_case(0);
	const struct message *message;
	uint64_t expected = 0;

	flow.reply.packets = 0;
	for (unsigned i = 0; i < 48; i++, flow.flow_id++)
		encoder_add_flow(encoder, &flow, &names);
	CU_ASSERT_EQUAL_FATAL(encoder_take(encoder, now, false, &message), 1);
	CU_ASSERT_EQUAL(number(message[0].octets + 8, 4), 0);
	expected += message[0].flow_records;
	CU_ASSERT_TRUE(encoder_set_message_size(encoder, 200));
	CU_ASSERT_FALSE(encoder_waiting(encoder));
	encoder_add_flow(encoder, &flow, &names);
	CU_ASSERT_EQUAL_FATAL(encoder_take(encoder, now, true, &message), 2);
	CU_ASSERT_EQUAL(number(message[0].octets + 8, 4), expected);
	CU_ASSERT_EQUAL(number64(message[0].octets + 20, 8), 0x0123456789abcdef + expected);
	CU_ASSERT_EQUAL(number64(message[1].octets + 20, 8), 0x0123456789abcdef + 48);
}

/* ---- any mixture ---- */

enum { FLOWS = 4096 };

struct mixture {
	GRand *random;
	struct encoder *encoder;
	struct reader reader;
	struct encoder_options options;
	uint16_t first;             /* template id */
	size_t limit, largest;
	/* What went in and has not come out. */
	struct flow flow[FLOWS];
	size_t flow_limit[FLOWS];
	unsigned in, out;
	bool reply;                 /* the reply's record of flow[out] is next */
	size_t least_limit;         /* over the flows of the message being read */
	unsigned n_templates, n_options, interfaces, statistics;
	GByteArray *session;        /* all octets, for libfixbuf */
	unsigned session_records;
};

static void
check_flow_record(const struct record *record, struct mixture *mixture)
{
	const struct flow *flow = &mixture->flow[mixture->out % FLOWS];
	const bool biflow = mixture->options.records == TRAIT_BIFLOW;

	if (mixture->out == mixture->in) {
		wrong(&mixture->reader, "a record that nobody added");
		return;
	}
	for (unsigned i = 0; i < record->n; i++)
		if (!value_right(record, &record->value[i], flow, mixture->reply, mixture->options.reply))
			wrong(&mixture->reader, "a value");
	if (record->template != mixture->first + (biflow ? 32 : 0) + place_of(flow))
		wrong(&mixture->reader, "another template");
	mixture->least_limit = mixture->flow_limit[mixture->out % FLOWS];
	mixture->reply = !biflow && !mixture->reply && flow->reply.packets;
	mixture->out += !mixture->reply;
	mixture->session_records++;
}

static void
check_record(const struct record *record, void *data)
{
	struct mixture *mixture = data;

	if (!record->options)
		check_flow_record(record, mixture);
	else if (record->template == OPTIONS_INTERFACES)
		mixture->interfaces--;
	else if (record->template == OPTIONS_STATISTICS)
		mixture->statistics--;
}

static size_t
take(struct mixture *mixture, bool partial)
{
	const struct message *message;
	const size_t n = encoder_take(mixture->encoder, now, partial, &message);

	for (size_t i = 0; i < n; i++) {
		mixture->least_limit = mixture->largest;
		read_message(&mixture->reader, &message[i]);
		/* The limit in force when its last record came. */
		if (message[i].length > mixture->least_limit)
			wrong(&mixture->reader, "a message beyond the limit");
		g_byte_array_append(mixture->session, message[i].octets, message[i].length);
	}
	if (partial)
		mixture->largest = mixture->limit;
	return n;
}

static uint32_t
any(struct mixture *mixture, uint32_t n)
{
	return g_rand_int_range(mixture->random, 0, n);
}

static struct flow
any_flow(struct mixture *mixture)
{
	struct flow flow = flow_of_case(any(mixture, G_N_ELEMENTS(cases)));

	flow.initiator = any(mixture, NAMES + 1);
	flow.responder = any(mixture, NAMES + 1);
	flow.flow_id = (uint64_t)g_rand_int(mixture->random) << 32 | g_rand_int(mixture->random);
	flow.start = boot + any(mixture, 900000);
	flow.end = flow.start + any(mixture, 1000);
	flow.reply.packets = any(mixture, 4) ? g_rand_int(mixture->random) : 0;
	flow.reply.octets = flow.reply.packets * 40ull;
	flow.original.octets = (uint64_t)g_rand_int(mixture->random) << 20;
	return flow;
}

static void
add_flow(struct mixture *mixture)
{
	const struct flow flow = any_flow(mixture);

	mixture->flow[mixture->in % FLOWS] = flow;
	mixture->flow_limit[mixture->in % FLOWS] = mixture->limit;
	mixture->in++;
	if (encoder_add_flow(mixture->encoder, &flow, &names))
		return;
	/* The batch was full: nothing of the flow is inside yet. */
	mixture->in--;
	if (take(mixture, false) == 0)
		wrong(&mixture->reader, "full of nothing");
	if (!encoder_add_flow(mixture->encoder, &flow, &names))
		wrong(&mixture->reader, "still full");
	mixture->in++;
}

static void
add_templates(struct mixture *mixture)
{
	bool (*const steps[])(struct encoder *) = { encoder_add_templates, encoder_add_types };

	for (unsigned i = 0; i < G_N_ELEMENTS(steps); i++) {
		if (steps[i](mixture->encoder))
			continue;
		take(mixture, true);
		if (!steps[i](mixture->encoder))
			wrong(&mixture->reader, "no room for templates or types in an empty batch");
	}
}

static void
add_options(struct mixture *mixture)
{
	const struct interface_name interface = { 3, "eth0" };
	const struct exporter_statistics statistics = { 1, 2, 3 };
	const bool names_too = any(mixture, 2);

	for (unsigned tries = 0; tries < 2; tries++) {
		if (names_too ? encoder_add_interface(mixture->encoder, &interface)
		              : encoder_add_statistics(mixture->encoder, &statistics))
			break;
		if (tries)
			wrong(&mixture->reader, "no room for options in an empty batch");
		take(mixture, true);
	}
	mixture->interfaces += names_too;
	mixture->statistics += !names_too;
}

static void
change_size(struct mixture *mixture)
{
	const size_t size = 120 + any(mixture, any(mixture, 4) ? 1400 : 17000);
	const bool changed = encoder_set_message_size(mixture->encoder, size);

	if (!changed)
		return;
	mixture->limit = size;
	mixture->largest = MAX(mixture->largest, size);
}

/* libfixbuf reads the whole session, and says so if a sequence number does not follow. */
static unsigned warnings;

static void
on_log(const char *domain, GLogLevelFlags level, const char *message, void *data)
{
	(void)domain, (void)level, (void)data;
	if (warnings++ < 3)
		printf("\n    libfixbuf: %s", message);
}

static fbInfoElementSpec_t wanted[] = {
	{ (char *)"octetDeltaCount", 8, 0 }, { (char *)"packetDeltaCount", 8, 0 }, { (char *)"flowId", 8, 0 }, FB_IESPEC_NULL,
};

static unsigned
read_with_fixbuf(const GByteArray *session)
{
	fbInfoModel_t *model = fbInfoModelAlloc();
	fbSession_t *state = fbSessionAlloc(model);
	fbTemplate_t *template = fbTemplateAlloc(model), *found;
	GError *error = NULL;
	uint64_t values[3];
	uint16_t id = 0;
	unsigned n = 0;

	CU_ASSERT_TRUE(fbTemplateAppendSpecArray(template, wanted, UINT32_MAX, &error));
	const uint16_t internal = fbSessionAddTemplate(state, TRUE, FB_TID_AUTO, template, &error);
	fBuf_t *buffer = fBufAllocForCollection(state, NULL);
	fBufSetInternalTemplate(buffer, internal, &error);
	fBufSetAutomaticMode(buffer, FALSE);
	for (size_t at = 0; at < session->len;) {
		const size_t length = number(session->data + at + 2, 2);
		fBufSetBuffer(buffer, session->data + at, length);
		at += length;
		while ((found = fBufNextCollectionTemplate(buffer, &id, &error))) {
			const bool options = fbTemplateGetOptionsScope(found) > 0;
			size_t size = sizeof values;
			if (!fBufNext(buffer, (uint8_t *)values, &size, &error))
				break;
			n += !options;
		}
		if (error && !g_error_matches(error, FB_ERROR_DOMAIN, FB_ERROR_BUFSZ)
		    && !g_error_matches(error, FB_ERROR_DOMAIN, FB_ERROR_EOM)) {
			CU_FAIL(error->message);
			printf("\n    libfixbuf: %s", error->message);
		}
		g_clear_error(&error);
	}
	fBufFree(buffer);
	fbInfoModelFree(model);
	return n;
}

static void
end_session(struct mixture *mixture)
{
	take(mixture, true);
	if (mixture->in != mixture->out || mixture->interfaces || mixture->statistics)
		wrong(&mixture->reader, "records were lost");
	if (mixture->reader.version == 10)
		CU_ASSERT_EQUAL(read_with_fixbuf(mixture->session), mixture->session_records);
	g_byte_array_set_size(mixture->session, 0);
	mixture->session_records = 0;
	memset(mixture->reader.domain, 0, sizeof mixture->reader.domain);
}

static void
mix(struct mixture *mixture, unsigned steps)
{
	add_templates(mixture);
	for (unsigned i = 0; i < steps; i++) {
		const unsigned what = any(mixture, 100);
		if (what < 85)
			add_flow(mixture);
		else if (what < 88)
			add_templates(mixture);
		else if (what < 93)
			add_options(mixture);
		else if (what < 95)
			take(mixture, true);
		else if (what < 97)
			take(mixture, false);
		else
			change_size(mixture);
		if (any(mixture, 1000) == 0) {
			end_session(mixture);
			encoder_restart(mixture->encoder);
			add_templates(mixture);
		}
	}
	end_session(mixture);
}

static void
test_mixtures(void)
{
	g_autofree struct mixture *mixture = g_new(struct mixture, 1);
	unsigned flows = 0;

	warnings = 0;
	for (unsigned seed = 1; seed <= 60; seed++) {
		const unsigned f = seed % 3;
		g_autoptr(template_file_t) file = shipped(files[f].name);
		memset(mixture, 0, sizeof *mixture);
		mixture->random = g_rand_new_with_seed(seed);
		mixture->session = g_byte_array_new();
		mixture->options = options_of(any(mixture, 2) ? TRAIT_UNIFLOW : TRAIT_BIFLOW,
		                              any(mixture, 2) ? REPLY_WIRE : REPLY_MIRROR, 400 + any(mixture, 15000));
		mixture->encoder = encoder_new(file, &mixture->options, NULL);
		CU_ASSERT_PTR_NOT_NULL_FATAL(mixture->encoder);
		mixture->first = files[f].first;
		mixture->limit = mixture->largest = mixture->options.message_size;
		mixture->reader.version = file->protocol;
		mixture->reader.handle = check_record;
		mixture->reader.data = mixture;
		mix(mixture, 1000);
		CU_ASSERT_EQUAL(mixture->reader.wrong, 0);
		if (mixture->reader.wrong)
			printf("\n    with seed %u", seed);
		flows += mixture->out;
		encoder_free(mixture->encoder);
		g_rand_free(mixture->random);
		g_byte_array_free(mixture->session, TRUE);
	}
	CU_ASSERT_EQUAL(warnings, 0);
	CU_ASSERT_TRUE(flows > 40000);
}

/* The smallest message each file allows, and all others a while upwards: templates, the longest records and the
 * largest options always find room. */
static void
test_smallest(void)
{
	const struct interface_name interface = { 1, "a-name-of-thirty-one-characters" };
	const struct exporter_statistics statistics = { UINT64_MAX, UINT64_MAX, UINT64_MAX };
	const struct gap gap = { .kind = GAP_JOURNAL, .first = UINT64_MAX, .last = UINT64_MAX, .flows = UINT64_MAX };
	const struct names_row who = { { .v6 = { 0xfd } }, 6, 64, 11 };
	const unsigned options_templates[] = { 5, 2, 9 };
	g_autofree struct mixture *mixture = g_new(struct mixture, 1);

	for (unsigned i = 0; i < 6; i++) {
		g_autoptr(template_file_t) file = shipped(files[i / 2].name);
		unsigned sizes = 0;
		for (size_t size = 60; sizes < 100; size++) {
			const struct encoder_options options = options_of(i % 2 ? TRAIT_BIFLOW : TRAIT_UNIFLOW, REPLY_MIRROR, size);
			g_autoptr(encoder_t) encoder = encoder_new(file, &options, NULL);
			const struct message *message;
			unsigned flow_records = 0;
			if (!encoder)
				continue;
			sizes++;
			memset(mixture, 0, sizeof *mixture);
			mixture->reader.version = file->protocol;
			CU_ASSERT_TRUE(encoder_add_templates(encoder));
			CU_ASSERT_TRUE(encoder_add_types(encoder));
			CU_ASSERT_TRUE(encoder_add_interface(encoder, &interface));
			CU_ASSERT_TRUE(encoder_add_statistics(encoder, &statistics));
			CU_ASSERT_TRUE(encoder_add_metering_gaps(encoder, &gap));
			CU_ASSERT_TRUE(encoder_add_exporting_gaps(encoder, &gap));
			CU_ASSERT_TRUE(encoder_add_gap(encoder, &gap));
			CU_ASSERT_TRUE(encoder_add_domain_name(encoder, name_text[11]));
			CU_ASSERT_TRUE(encoder_add_who(encoder, &who, &names));
			for (size_t at = 0; at < G_N_ELEMENTS(cases); at++) {
				struct flow flow = flow_of_case(at);
				flow.initiator = flow.responder = 11 + at % 2;
				flow.reply.packets = 0;
				CU_ASSERT_TRUE(encoder_add_flow(encoder, &flow, &names));
			}
			const size_t n = encoder_take(encoder, now, true, &message);
			for (size_t m = 0; m < n; m++) {
				read_message(&mixture->reader, &message[m]);
				flow_records += message[m].flow_records;
				CU_ASSERT_TRUE(message[m].length <= size);
			}
			CU_ASSERT_EQUAL(mixture->reader.wrong, 0);
			CU_ASSERT_EQUAL(flow_records, G_N_ELEMENTS(cases));
			CU_ASSERT_EQUAL(mixture->reader.domain[1].n, 8);
			CU_ASSERT_EQUAL(mixture->reader.domain[0].n, options_templates[i / 2]);
		}
	}
}

/* Type records are much for a small message, but what takes several messages finds them in an empty batch. */
static void
test_small_with_types(void)
{
	g_autoptr(template_file_t) file = file_of("ipfix", "conntrackZone\nconntrackStatus\nconntrackState\nconntrackLabels\n"
	                                          "conntrackStopMilliseconds\nrecordGaps\nconntrackMark\nuserName\n"
	                                          "sourcePeerName\ndestinationPeerName", "");
	const struct message *message;
	unsigned sizes = 0;

	for (size_t size = 60; size < 1300; size++) {
		const struct encoder_options options = options_of(TRAIT_UNIFLOW, REPLY_MIRROR, size);
		g_autoptr(encoder_t) encoder = encoder_new(file, &options, NULL);
		g_autofree struct reader *reader = g_new0(struct reader, 1);
		if (!encoder)
			continue;
		reader->version = 10;
		CU_ASSERT_TRUE(encoder_add_templates(encoder));
		CU_ASSERT_TRUE(encoder_take(encoder, now, false, &message) > 0);
		read_message(reader, &message[0]);
		CU_ASSERT_TRUE(encoder_add_types(encoder));
		CU_ASSERT_TRUE(encoder_take(encoder, now, true, &message) > 0);
		CU_ASSERT_EQUAL(reader->wrong, 0);
		sizes++;
	}
	CU_ASSERT_TRUE(sizes > 1000);
}

static void
test_full(void)
{
	g_autoptr(template_file_t) file = shipped("default");
	g_autoptr(encoder_t) encoder = encoder_of(file, TRAIT_UNIFLOW, REPLY_MIRROR, 1232);
	const struct flow flow = flow_of_case(1);
	const struct message *message;
	unsigned added = 0, records = 0;

	while (encoder_add_flow(encoder, &flow, &names))
		added++;
	CU_ASSERT_FALSE(encoder_add_flow(encoder, &flow, &names));
	for (size_t n = encoder_take(encoder, now, false, &message), i = 0; i < n; i++)
		records += message[i].flow_records;
	CU_ASSERT_TRUE(encoder_waiting(encoder));
	CU_ASSERT_TRUE(encoder_add_flow(encoder, &flow, &names));
	added++;
	for (size_t n = encoder_take(encoder, now, true, &message), i = 0; i < n; i++)
		records += message[i].flow_records;
	CU_ASSERT_EQUAL(records, 2 * added);
	CU_ASSERT_TRUE(added > 100);
}

static void
test_restart(void)
{
	g_autoptr(template_file_t) file = shipped("default");
	g_autoptr(encoder_t) encoder = encoder_of(file, TRAIT_UNIFLOW, REPLY_MIRROR, 1232);
	const struct exporter_statistics statistics = { 1, 2, 3 };
	const struct flow flow = flow_of_case(1);
	const struct message *message;

	encoder_add_flow(encoder, &flow, &names);
	encoder_add_statistics(encoder, &statistics);
	CU_ASSERT_EQUAL(encoder_take(encoder, now, true, &message), 2);
	encoder_add_flow(encoder, &flow, &names);
	encoder_restart(encoder);
	CU_ASSERT_FALSE(encoder_waiting(encoder));
	CU_ASSERT_EQUAL(encoder_take(encoder, now, true, &message), 0);
	encoder_add_statistics(encoder, &statistics);
	encoder_add_flow(encoder, &flow, &names);
	CU_ASSERT_EQUAL_FATAL(encoder_take(encoder, now, true, &message), 2);
	CU_ASSERT_EQUAL(number(message[0].octets + 8, 4), 0);
	CU_ASSERT_EQUAL(number(message[1].octets + 8, 4), 0);
}

static void
test_no_allocation(void)
{
	const struct interface_name interface = { 1, "wt0" };
	const struct exporter_statistics statistics = { 1, 2, 3 };
	const struct message *message;

	for (unsigned f = 0; f < G_N_ELEMENTS(files); f++) {
		g_autoptr(template_file_t) file = shipped(files[f].name);
		g_autoptr(encoder_t) encoder = encoder_of(file, TRAIT_UNIFLOW, REPLY_MIRROR, 1232);
		struct flow flow[G_N_ELEMENTS(cases)];
		for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
			flow[i] = flow_of_case(i);
		allocations = 0;
		counting = true;
		void *volatile one = malloc(1);         /* a pair that does nothing is otherwise optimised away */
		free(one);
		for (unsigned i = 0; i < 5000; i++) {
			if (!encoder_add_flow(encoder, &flow[i % G_N_ELEMENTS(cases)], &names))
				encoder_take(encoder, now, false, &message);
			if (i % 500 == 0) {
				encoder_add_templates(encoder);
				encoder_add_types(encoder);
				encoder_add_interface(encoder, &interface);
				encoder_add_statistics(encoder, &statistics);
				encoder_take(encoder, now, true, &message);
				encoder_set_message_size(encoder, 1000 + i / 10);
			}
		}
		encoder_restart(encoder);
		counting = false;
		CU_ASSERT_EQUAL(allocations, 1);        /* the one that shows that counting works */
	}
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "IPFIX octet for octet", test_ipfix_octets },
		{ "NetFlow v9 octet for octet", test_netflow9_octets },
		{ "templates octet for octet", test_template_octets },
		{ "pairs of uniflows", test_pairs },
		{ "biflows", test_biflows },
		{ "what templates say and do not say", test_presence },
		{ "no record of a reply that was none", test_no_reply },
		{ "intervals", test_interval },
		{ "names", test_names },
		{ "names that are cut", test_names_cut },
		{ "times of NetFlow v9", test_netflow9_times },
		{ "a host that is up for long", test_old_host },
		{ "the time of a message", test_export_time },
		{ "options that do not suit the file", test_refused },
		{ "marks", test_marks },
		{ "message sizes", test_sizes },
		{ "a path that becomes smaller", test_shrink_while_open },
		{ "any mixture", test_mixtures },
		{ "the smallest messages", test_smallest },
		{ "small messages with types", test_small_with_types },
		{ "a full batch", test_full },
		{ "a new session", test_restart },
		{ "no allocation", test_no_allocation },
		CU_TEST_INFO_NULL,
	};

	watch_allocations();
	make_names();
	g_log_set_default_handler(on_log, NULL);
	return run_suite("encoder", tests);
}
