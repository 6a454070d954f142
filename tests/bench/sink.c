/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stddef.h>
#include <sys/socket.h>

#include "bench/tool.h"

/* An IPFIX collector over UDP that keeps nothing and counts: messages, records, flows, and what the sequence numbers
 * say was lost. It learns only the lengths of the templates' fields. Two records that follow each other with the same
 * flowId are one flow, told in both directions; a template without flowId has a record a flow. */

enum {
	BATCH = 64,
	MESSAGE = 65536,
	MAX_TEMPLATES = 256,
	MAX_FIELDS = 128,
	MAX_DOMAINS = 16,
	IPFIX = 10,
	MESSAGE_HEADER = 16,
	SET_HEADER = 4,
	SET_TEMPLATE = 2,
	SET_OPTIONS_TEMPLATE = 3,
	SET_DATA = 256,             /* and above */
	FLOW_ID = 148,
	ENTERPRISE = 0x8000,
	VARIABLE = 65535,
};

struct template {
	uint32_t domain;
	uint16_t id;
	bool options;
	uint16_t fields;
	uint16_t lengths[MAX_FIELDS];
	int flow_id;                /* index of the field; negative: none */
	uint64_t last_flow_id;
	bool seen;                  /* last_flow_id is of a record */
};

struct domain {
	uint32_t id;
	uint32_t next;              /* sequence number expected */
};

struct sink {
	uint64_t datagrams;
	uint64_t octets;
	uint64_t records;           /* of flows, sequence numbers count these and the options */
	uint64_t flows;
	uint64_t options;
	uint64_t lost;              /* by sequence numbers */
	uint64_t malformed;
	uint64_t unknown;           /* sets without a template */
	struct template templates[MAX_TEMPLATES];
	size_t template_count;
	struct domain domains[MAX_DOMAINS];
	size_t domain_count;
};

static volatile sig_atomic_t ended;

static void
end(int signal)
{
	(void)signal;
	ended = 1;
}

static uint16_t
read16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static uint32_t
read32(const uint8_t *at)
{
	return (uint32_t)read16(at) << 16 | read16(at + 2);
}

static struct template *
find_template(struct sink *sink, uint32_t domain, uint16_t id)
{
	for (size_t i = 0; i < sink->template_count; i++)
		if (sink->templates[i].domain == domain && sink->templates[i].id == id)
			return &sink->templates[i];
	return NULL;
}

/* Returns NULL if there are too many. */
static struct template *
add_template(struct sink *sink, uint32_t domain, uint16_t id)
{
	struct template *known = find_template(sink, domain, id);

	if (known || sink->template_count == MAX_TEMPLATES)
		return known;
	known = &sink->templates[sink->template_count++];
	*known = (struct template){ .domain = domain, .id = id };
	return known;
}

/* Returns the octets of the field specifiers, zero if they are cut short. */
static size_t
read_fields(struct template *template, uint16_t count, const uint8_t *at, size_t octets)
{
	const uint8_t *field = at, *stop = at + octets;

	template->flow_id = -1;
	template->fields = 0;
	for (uint16_t i = 0; i < count; i++) {
		size_t size = stop - field >= 4 && read16(field) & ENTERPRISE ? 8 : 4;
		if (stop - field < (ptrdiff_t)size || i == MAX_FIELDS)
			return 0;
		if (read16(field) == FLOW_ID)
			template->flow_id = i;
		template->lengths[template->fields++] = read16(field + 2);
		field += size;
	}
	return (size_t)(field - at);
}

static bool
read_templates(struct sink *sink, uint32_t domain, bool options, const uint8_t *at, size_t octets)
{
	size_t header = options ? 6 : 4;

	while (octets >= header && read16(at) >= SET_DATA) {
		struct template *template = add_template(sink, domain, read16(at));
		size_t fields = template ? read_fields(template, read16(at + 2), at + header, octets - header) : 0;
		if (!fields)
			return false;
		template->options = options;
		at += header + fields;
		octets -= header + fields;
	}
	return true;
}

static void
count_flow(struct sink *sink, struct template *template, const uint8_t *flow_id, size_t octets)
{
	uint64_t id = 0;

	for (size_t i = 0; i < octets; i++)
		id = id << 8 | flow_id[i];
	if (!template->seen || id != template->last_flow_id)
		sink->flows++;
	template->seen = true;
	template->last_flow_id = id;
}

/* Returns the octets of one record, zero if it is cut short. */
static size_t
read_record(struct sink *sink, struct template *template, const uint8_t *at, size_t octets)
{
	size_t used = 0;

	for (int i = 0; i < template->fields; i++) {
		size_t length = template->lengths[i];
		if (length == VARIABLE) {
			if (octets - used < 1 || (at[used] == 255 && octets - used < 3))
				return 0;
			length = at[used] < 255 ? at[used] : read16(at + used + 1);
			used += at[used] < 255 ? 1 : 3;
		}
		if (length > octets - used)
			return 0;
		if (i == template->flow_id)
			count_flow(sink, template, at + used, length);
		used += length;
	}
	return used;
}

static uint32_t
read_data(struct sink *sink, struct template *template, const uint8_t *at, size_t octets)
{
	uint32_t records = 0;

	for (size_t used; (used = read_record(sink, template, at, octets)) > 0; records++) {
		at += used;
		octets -= used;
	}
	*(template->options ? &sink->options : &sink->records) += records;
	if (!template->options && template->flow_id < 0)
		sink->flows += records;
	return records;
}

static bool
check_sequence(struct sink *sink, uint32_t domain, uint32_t sequence, uint32_t records)
{
	struct domain *known = sink->domains;

	while (known < sink->domains + sink->domain_count && known->id != domain)
		known++;
	if (known == sink->domains + MAX_DOMAINS)
		return false;
	if (known == sink->domains + sink->domain_count) {
		*known = (struct domain){ domain, sequence };
		sink->domain_count++;
	}
	uint32_t gap = sequence - known->next;
	if (gap < UINT32_MAX / 2)
		sink->lost += gap;
	known->next = sequence + records;
	return true;
}

static bool
read_message(struct sink *sink, const uint8_t *at, size_t octets)
{
	uint32_t records = 0;

	if (octets < MESSAGE_HEADER || read16(at) != IPFIX || read16(at + 2) != octets)
		return false;
	uint32_t sequence = read32(at + 8), domain = read32(at + 12);
	const uint8_t *set = at + MESSAGE_HEADER, *stop = at + octets;
	for (size_t size; stop - set >= SET_HEADER; set += size) {
		uint16_t id = read16(set);
		size = read16(set + 2);
		if (size < SET_HEADER || size > (size_t)(stop - set))
			return false;
		if ((id == SET_TEMPLATE || id == SET_OPTIONS_TEMPLATE) &&
		    !read_templates(sink, domain, id == SET_OPTIONS_TEMPLATE, set + SET_HEADER, size - SET_HEADER))
			return false;
		struct template *template = id >= SET_DATA ? find_template(sink, domain, id) : NULL;
		if (template)
			records += read_data(sink, template, set + SET_HEADER, size - SET_HEADER);
		else if (id >= SET_DATA)
			sink->unknown++;
	}
	return check_sequence(sink, domain, sequence, records);
}

static int
open_sink(const char *address, const char *port)
{
	struct sockaddr_in here = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)) };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int octets = 64 << 20;

	if (inet_pton(AF_INET, address, &here.sin_addr) != 1)
		errx(EX_USAGE, "'%s' is no IPv4 address", address);
	if (fd < 0 || bind(fd, (struct sockaddr *)&here, sizeof here) < 0)
		err(EX_OSERR, "%s port %s", address, port);
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &octets, sizeof octets) < 0)
		err(EX_NOPERM, "receive buffer of %d octets", octets);
	return fd;
}

static int
receive(struct sink *sink, int fd, int flags)
{
	static uint8_t octets[BATCH][MESSAGE];
	struct iovec parts[BATCH];
	struct mmsghdr messages[BATCH] = { 0 };

	for (int i = 0; i < BATCH; i++) {
		parts[i] = (struct iovec){ octets[i], MESSAGE };
		messages[i].msg_hdr.msg_iov = &parts[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	int count = recvmmsg(fd, messages, BATCH, flags, NULL);
	for (int i = 0; i < count; i++) {
		sink->datagrams++;
		sink->octets += messages[i].msg_len;
		sink->malformed += !read_message(sink, octets[i], messages[i].msg_len);
	}
	return count;
}

int
main(int argc, char **argv)
{
	static struct sink sink;
	struct sigaction action = { .sa_handler = end };     /* no SA_RESTART: the wait ends too */

	if (argc != 3)
		errx(EX_USAGE, "usage: sink ADDRESS PORT    (prints its counts on SIGTERM)");
	int fd = open_sink(argv[1], argv[2]);
	/* A time limit on the wait, so that a signal just before it is not slept over. */
	struct timeval limit = { .tv_usec = 200000 };
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	puts("ready");
	fflush(stdout);
	while (!ended)
		receive(&sink, fd, MSG_WAITFORONE);
	while (receive(&sink, fd, MSG_DONTWAIT) > 0)
		;
	printf("{\"flows\": %" PRIu64 ", \"records\": %" PRIu64 ", \"options\": %" PRIu64 ", \"datagrams\": %" PRIu64
	       ", \"octets\": %" PRIu64 ", \"lost\": %" PRIu64 ", \"malformed\": %" PRIu64 ", \"unknown\": %" PRIu64 "}\n",
	       sink.flows, sink.records, sink.options, sink.datagrams, sink.octets, sink.lost, sink.malformed,
	       sink.unknown);
	return EXIT_SUCCESS;
}
