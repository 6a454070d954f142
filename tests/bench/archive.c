/* SPDX-License-Identifier: GPL-3.0-or-later */
/* An archive of a large mesh, made by the encoder and the store of the daemon, and the same flows for a collector of
 * NetFlow v9 on this host. Then, with --scan, what a question about an address costs. One line of JSON. */

#include <arpa/inet.h>
#include <glib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "archive/reader.h"
#include "archive/scan.h"
#include "archive/store.h"
#include "bench/tool.h"
#include "encode/blocks.h"

enum {
	PEERS = 2000,
	POLICIES = 200,
	FAVOURITES = 50,            /* services a peer uses */
	RATE = 2000,                /* flows that begin in a second */
	ACTIVE = 60000,             /* ms after which a flow that goes on is told of, as the daemon does */
	SLOT = 100,                 /* ms */
	SLOTS = 1024,               /* more than ACTIVE and what the kernel remembers a flow for */
	BLOCK = 4 << 20,
	FILE_OCTETS = 64 << 20,
	DOMAIN = 1,
	MESSAGE = 8900,
	WAITING_MOST = 1 << 20,     /* octets in the collector's socket before it is given time */
};

/* 2026-11-20, 00:00 UTC. */
static const uint64_t begin = UINT64_C(1795132800000);

struct arguments {
	uint64_t records;
	uint64_t addresses;
	uint64_t port;              /* of a collector on 127.0.0.1; zero: none */
	char *directory;
	char *address;
	uint64_t at;
	bool zstd;
	bool scan;
};

/* A flow that is not all told, and what is. */
struct going {
	struct going *next;
	struct flow whole;
	uint64_t told;              /* ms since 1970, up to here */
	uint64_t looked;            /* the same, for the last time */
};

struct bench {
	const struct arguments *arguments;
	uint64_t state;             /* of the random numbers */
	struct name name[5 * PEERS + POLICIES + 2];
	struct identity identity[2 * PEERS + 1];
	struct names names;
	struct store *store;
	struct blocks *blocks;
	struct encoder *encoder;    /* for the collector */
	int socket;
	unsigned since;             /* messages sent since its queue was looked at */
	uint64_t octets;            /* into the store */
	struct flow sample;
	struct going *going[SLOTS]; /* by when they are told of next */
	uint64_t told;              /* records */
};

static void
take_text(const struct tool_option *option, const char *text)
{
	*(char **)option->target = g_strdup(text);
}

/* xorshift64*: the same flows everywhere. */
static uint64_t
draw(struct bench *bench)
{
	bench->state ^= bench->state >> 12;
	bench->state ^= bench->state << 25;
	bench->state ^= bench->state >> 27;
	return bench->state * UINT64_C(0x2545f4914f6cdd1d);
}

static uint64_t
below(struct bench *bench, uint64_t most)
{
	return (draw(bench) >> 32) * most >> 32;
}

/* A few have much, most have little. */
static uint64_t
skewed(struct bench *bench, uint64_t most)
{
	const uint64_t a = below(bench, most), b = below(bench, most);

	return a * b / most;
}

static uint32_t
add_name(struct bench *bench, const char *before, unsigned n, const char *behind)
{
	char *text = g_strdup_printf("%s%04u%s", before, n, behind);

	bench->name[bench->names.count] = (struct name){ text, strlen(text) };
	return bench->names.count++;
}

/* Peers with their users, and as many services behind some of them. */
static void
make_names(struct bench *bench)
{
	bench->names = (struct names){ .name = bench->name, .identity = bench->identity, .n_identities = 2 * PEERS + 1 };
	bench->name[bench->names.count++] = (struct name){ "-", 1 };
	for (unsigned n = 0; n < PEERS; n++) {
		struct identity *peer = &bench->identity[1 + n], *host = &bench->identity[1 + PEERS + n];
		peer->word[WORD_PEER] = add_name(bench, "laptop-", n, ".netbird.cloud");
		peer->word[WORD_USER] = add_name(bench, "user", n / 2, "@example.org");
		peer->word[WORD_GROUPS] = add_name(bench, "All, Group ", n % 40, "");
		host->word[WORD_VIA] = bench->identity[1 + n % 50].word[WORD_PEER];
		host->word[WORD_RESOURCE] = add_name(bench, "service-", n, "");
		host->word[WORD_NETWORK] = add_name(bench, "site-", n % 50, "");
	}
	for (unsigned n = 0; n < POLICIES; n++)
		add_name(bench, "policy ", n, "");
}

/* What people do all day. */
static const struct kind {
	uint8_t percent;
	uint8_t protocol;
	uint16_t port;
	uint32_t packets;           /* in the middle */
	uint32_t milliseconds;
} kinds[] = {
	{ 40, 17, 53, 2, 60 }, { 35, 6, 443, 60, 20000 }, { 8, 6, 5432, 400, 60000 }, { 6, 6, 80, 20, 2000 },
	{ 4, 6, 22, 3000, 300000 }, { 4, 1, 0, 8, 5000 }, { 3, 17, 51820, 9000, 180000 },
};

static const struct kind *
draw_kind(struct bench *bench)
{
	const struct kind *kind = kinds;

	for (unsigned left = below(bench, 100); left >= kind->percent; kind++)
		left -= kind->percent;
	return kind;
}

/* A peer asks one resolver, and of all services it uses a few, one more than the other. */
static uint32_t
draw_host(struct bench *bench, uint32_t peer, const struct kind *kind)
{
	const uint64_t choice = skewed(bench, FAVOURITES) * skewed(bench, FAVOURITES) / FAVOURITES;

	if (kind->port == 53)
		return peer % 4;
	return (peer * UINT64_C(2654435761) + choice * UINT64_C(40503)) % bench->arguments->addresses;
}

static void
draw_ends(struct bench *bench, struct flow *flow, const struct kind *kind)
{
	const uint32_t peer = skewed(bench, PEERS), host = draw_host(bench, peer, kind);
	struct side *there = &flow->original, *back = &flow->reply;

	there->source.word[0] = htonl(0x64400000 + peer);
	there->destination.word[0] = htonl(0x0a000000 + host);
	back->source = there->destination;
	back->destination = there->source;
	flow->initiator = 1 + peer;
	flow->responder = 1 + PEERS + host % PEERS;
	flow->policy = bench->names.count - POLICIES + host % POLICIES;
	flow->family = flow->nat_type = 4;
	if (below(bench, 10) >= 7)
		return;
	/* Most leave the mesh, under an address of the router's. */
	back->destination.word[0] = htonl(0xc0000201 + host % 8);
	flow->translation = TRANSLATED_SOURCE;
	flow->nat_type = flow->masqueraded = 1;
}

static void
draw_ports(struct bench *bench, struct flow *flow, const struct kind *kind)
{
	flow->protocol = kind->protocol;
	if (!kind->port) {
		flow->original.icmp = 0x0800;
		return;
	}
	flow->original.source_port = flow->reply.destination_port = 32768 + below(bench, 28232);
	flow->original.destination_port = flow->reply.source_port = kind->port;
	if (flow->translation)
		flow->reply.destination_port = 1024 + below(bench, 64512);
}

static void
draw_counts(struct bench *bench, struct flow *flow, const struct kind *kind)
{
	const uint64_t packets = 1 + skewed(bench, 4 * kind->packets);

	flow->original.packets = packets;
	flow->original.octets = packets * (60 + below(bench, 200));
	flow->reply.packets = packets;
	flow->reply.octets = packets * (60 + below(bench, 1400));
	flow->end = flow->born + skewed(bench, 4 * kind->milliseconds);
	flow->stop = flow->end + (kind->protocol == 6 ? 10000 : 30000);
	flow->state = kind->protocol == 6 ? 7 : 0;
}

static struct flow
draw_flow(struct bench *bench, uint64_t born)
{
	struct flow flow = { .born = born, .end_reason = END_DETECTED, .status = 0x1be, .mark = 0x1bd20 };
	const struct kind *kind = draw_kind(bench);

	draw_ends(bench, &flow, kind);
	draw_ports(bench, &flow, kind);
	draw_counts(bench, &flow, kind);
	flow.original.ingress = 5;
	flow.original.egress = 2;
	flow.original.biflow_direction = 1;
	/* As the kernel's id and the birth make it: by the birth it is known that this is all of the flow. */
	flow.id = draw(bench);
	flow.flow_id = (uint64_t)flow.id << 32 ^ (flow.born & UINT32_MAX);
	return flow;
}

/* The archive */

static bool
into_store(const struct message *messages, size_t n, void *data)
{
	struct bench *bench = data;

	while (!store_write(bench->store, messages, n))
		usleep(2000);
	for (size_t i = 0; i < n; i++)
		bench->octets += messages[i].length;
	return true;
}

static void
rotate_if_due(struct bench *bench)
{
	if (!store_due(bench->store, begin))
		return;
	blocks_flush(bench->blocks, true);
	blocks_restart(bench->blocks);
	store_rotate(bench->store);
}

static struct store *
open_store(const struct bench *bench)
{
	g_autoptr(GError) error = NULL;
	const struct store_options options = { .directory = bench->arguments->directory, .rotate_size = FILE_OCTETS,
	                                       .sync = STORE_SYNC_ROTATE,
	                                       .pack = bench->arguments->zstd ? PACK_ZSTD : PACK_COLUMNS };
	struct store *store = store_open(&options, &error);

	if (!store)
		errx(error->code, "%s", error->message);
	return store;
}

/* Files that wait for being compressed; *packed: octets of those that are. */
static unsigned
count_plain(const char *directory, uint64_t *packed)
{
	g_autoptr(GDir) dir = g_dir_open(directory, 0, NULL);
	const char *name;
	unsigned n = 0;

	*packed = 0;
	while ((name = g_dir_read_name(dir))) {
		g_autofree char *path = g_build_filename(directory, name, NULL);
		struct stat status;
		n += g_str_has_suffix(name, ".ipfix") || g_str_has_suffix(name, ".part");
		if ((g_str_has_suffix(name, ".columns") || g_str_has_suffix(name, ".zst")) && stat(path, &status) == 0)
			*packed += status.st_size;
	}
	return n;
}

/* What is closed last is compressed when the store is opened again. */
static uint64_t
finish_store(struct bench *bench)
{
	uint64_t packed;

	blocks_flush(bench->blocks, true);
	store_close(bench->store);
	bench->store = open_store(bench);
	while (count_plain(bench->arguments->directory, &packed))
		usleep(20000);
	store_close(bench->store);
	return packed;
}

static void
open_blocks(struct bench *bench)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(template_file_t) file = template_file_load(SOURCE_DIR "/templates/archive.template", &error);
	const struct blocks_options options = { .file = file, .domain = DOMAIN, .enterprise = READER_LOCAL_ENTERPRISE,
	                                        .octets = BLOCK, .sink = into_store, .data = bench };

	bench->blocks = file ? blocks_new(&options, &error) : NULL;
	if (!bench->blocks)
		errx(error->code, "%s", error->message);
	blocks_tell(bench->blocks, "router", NULL, 0);
}

/* The collector */

/* Octets that wait in the socket bound to that port: a collector that is given more than it takes loses flows. */
static uint64_t
waiting(uint16_t port)
{
	unsigned local, transmit, receive;
	uint64_t sum = 0;
	char line[256];
	FILE *file = fopen("/proc/net/udp", "re");

	while (file && fgets(line, sizeof line, file))
		if (sscanf(line, "%*d: %*x:%x %*x:%*x %*x %x:%x", &local, &transmit, &receive) == 3 && local == port)
			sum += receive;
	if (file)
		fclose(file);
	return sum;
}

static void
send_messages(struct bench *bench, uint64_t now, bool partial)
{
	const struct message *messages;
	const size_t n = encoder_take(bench->encoder, now, partial, &messages);

	for (size_t i = 0; i < n; i++) {
		if (send(bench->socket, messages[i].octets, messages[i].length, 0) < 0)
			err(EX_OSERR, "to the collector");
		if (++bench->since % 16 == 0)
			while (waiting(bench->arguments->port) > WAITING_MOST)
				usleep(500);
	}
}

static void
open_collector(struct bench *bench)
{
	const struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(bench->arguments->port),
	                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	const struct encoder_options options = { .records = TRAIT_BIFLOW, .reply = REPLY_MIRROR, .domain = DOMAIN,
	                                         .message_size = MESSAGE, .boot = begin - 86400000 };
	g_autoptr(GError) error = NULL;
	g_autoptr(template_file_t) file = template_file_load(SOURCE_DIR "/templates/nfdump.template", &error);

	bench->encoder = file ? encoder_new(file, &options, &error) : NULL;
	if (!bench->encoder)
		errx(error->code, "%s", error->message);
	bench->socket = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (bench->socket < 0 || connect(bench->socket, (const struct sockaddr *)&to, sizeof to) < 0)
		err(EX_OSERR, "to the collector");
	encoder_add_templates(bench->encoder);
	send_messages(bench, begin, true);
}

/* Both get the same records, one after the other. */
static void
tell(struct bench *bench, const struct flow *flow)
{
	const bool late = bench->told >= bench->arguments->records / 2;

	while (!blocks_flow(bench->blocks, flow, &bench->names, bench->told + 1))
		usleep(1000);
	while (bench->encoder && !encoder_add_flow(bench->encoder, flow, &bench->names))
		send_messages(bench, flow->end, false);
	if (late && !bench->sample.start && flow->translation && flow->protocol == 6 && flow->stop)
		bench->sample = *flow;
	if (bench->told++ % 1024 == 0)
		rotate_if_due(bench);
}

/* What of a counter falls into a part of the flow's time. */
static uint64_t
share(uint64_t count, const struct flow *whole, uint64_t from, uint64_t to)
{
	const uint64_t all = whole->end - whole->born;

	return all ? count * (to - whole->born) / all - count * (from - whole->born) / all : count;
}

static struct flow
part_of(const struct going *going, uint64_t end)
{
	struct flow part = going->whole;

	part.start = going->told;
	part.end = end;
	for (unsigned i = 0; i < 2; i++) {
		struct side *side = i ? &part.reply : &part.original;
		side->packets = share(side->packets, &going->whole, part.start, end);
		side->octets = share(side->octets, &going->whole, part.start, end);
	}
	return part;
}

static void
await(struct bench *bench, struct going *going)
{
	const uint64_t look = going->looked + ACTIVE, due = going->whole.end > look ? look : going->whole.stop;
	struct going **slot = &bench->going[due / SLOT % SLOTS];

	going->next = *slot;
	*slot = going;
}

/* A flow that goes on has a record of what came since the last one, if anything did. */
static void
tell_due(struct bench *bench, struct going *going)
{
	const bool goes_on = going->whole.end > going->looked + ACTIVE;
	struct flow part;

	going->looked += ACTIVE;
	part = part_of(going, goes_on ? going->looked : going->whole.end);
	if (!goes_on) {
		tell(bench, &part);
		g_free(going);
		return;
	}
	part.end_reason = END_ACTIVE;
	part.stop = 0;
	if (part.original.packets) {
		going->told = part.end;
		tell(bench, &part);
	}
	await(bench, going);
}

static void
begin_flow(struct bench *bench, uint64_t born)
{
	struct going *going = g_new0(struct going, 1);

	going->whole = draw_flow(bench, born);
	going->told = going->looked = born;
	await(bench, going);
}

static void
make_flows(struct bench *bench)
{
	uint64_t now;

	for (now = begin; bench->told < bench->arguments->records; now += SLOT) {
		struct going *due = bench->going[now / SLOT % SLOTS], *next;
		bench->going[now / SLOT % SLOTS] = NULL;
		for (; due; due = next) {
			next = due->next;
			if (bench->told < bench->arguments->records)
				tell_due(bench, due);
			else
				g_free(due);
		}
		for (unsigned i = 0; i < RATE * SLOT / 1000; i++)
			begin_flow(bench, now + SLOT + i * 1000 / RATE);
	}
	if (bench->encoder)
		send_messages(bench, now, true);
}

static int
make(const struct arguments *arguments)
{
	struct bench *bench = g_new0(struct bench, 1);
	const struct flow *sample = &bench->sample;
	char address[INET_ADDRSTRLEN], host[INET_ADDRSTRLEN];

	bench->arguments = arguments;
	bench->state = UINT64_C(88172645463325252);
	make_names(bench);
	if (arguments->port)
		open_collector(bench);
	bench->store = open_store(bench);
	open_blocks(bench);
	make_flows(bench);
	const uint64_t packed = finish_store(bench);
	inet_ntop(AF_INET, &sample->reply.destination, address, sizeof address);
	inet_ntop(AF_INET, &sample->reply.source, host, sizeof host);
	printf("{\"records\": %" PRIu64 ", \"plain\": %" PRIu64 ", \"packed\": %" PRIu64 ", \"address\": \"%s\", "
	       "\"port\": %u, \"host\": \"%s\", \"at\": %" PRIu64 "}\n", arguments->records, bench->octets, packed, address,
	       sample->reply.destination_port, host, sample->end);
	return EX_OK;
}

/* What a scan touches */

static void
take_trouble(const char *text, void *data)
{
	(void)data;
	errx(EX_DATAERR, "%s", text);
}

static int
look(const struct arguments *arguments)
{
	char *paths[] = { arguments->directory, NULL };
	struct scan_address address = { .family = 4 };
	struct scan_options options = { .paths = paths, .last = UINT64_MAX, .enterprise = READER_LOCAL_ENTERPRISE,
	                                .trouble = take_trouble, .addresses = &address };
	g_autoptr(GError) error = NULL;
	struct scan_record record;
	struct rusage usage;
	uint64_t flows = 0;

	options.n_addresses = arguments->address && inet_pton(AF_INET, arguments->address, &address.address) == 1;
	if (arguments->at)
		options.first = options.last = arguments->at;
	const uint64_t before = now_ns();
	struct scan *scan = scan_open(&options, &error);
	if (!scan)
		errx(error->code, "%s", error->message);
	while (scan_next(scan, &record))
		flows++;
	const struct scan_statistics *done = scan_statistics(scan);
	const double seconds = (double)(now_ns() - before) / SECOND;
	getrusage(RUSAGE_SELF, &usage);
	printf("{\"flows\": %" PRIu64 ", \"seconds\": %.6f, \"cpu\": %.6f, \"rss\": %ld, \"files\": %" PRIu64
	       ", \"files_skipped\": %" PRIu64 ", \"blocks\": %" PRIu64 ", \"blocks_skipped\": %" PRIu64
	       ", \"records\": %" PRIu64 ", \"octets\": %" PRIu64 "}\n", flows, seconds,
	       usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6,
	       usage.ru_maxrss, done->files, done->files_skipped, done->blocks, done->blocks_skipped, done->records,
	       done->octets);
	scan_free(scan);
	return EX_OK;
}

int
main(int argc, char **argv)
{
	static const char usage[] = "archive --directory PATH [OPTION]...";
	struct arguments arguments = { .records = 100000, .addresses = 100000 };
	const struct tool_option options[] = {
		{ "--directory", "PATH", take_text, &arguments.directory, "the archive" },
		{ "--records", "N", take_number, &arguments.records, "flows to make" },
		{ "--addresses", "N", take_number, &arguments.addresses, "hosts there are" },
		{ "--collector", "PORT", take_number, &arguments.port, "on 127.0.0.1, gets the same flows" },
		{ "--zstd", NULL, take_flag, &arguments.zstd, "compress by zstd alone, not in columns" },
		{ "--scan", NULL, take_flag, &arguments.scan, "make nothing, scan the archive" },
		{ "--address", "A", take_text, &arguments.address, "for flows with this address" },
		{ "--at", "MS", take_number, &arguments.at, "and this time" },
	};

	if (read_options(argc, argv, usage, options, G_N_ELEMENTS(options)) || !arguments.directory)
		show_usage(usage, options, G_N_ELEMENTS(options), EX_USAGE);
	return arguments.scan ? look(&arguments) : make(&arguments);
}
