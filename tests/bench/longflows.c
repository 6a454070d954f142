/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What long flows cost us, the kernel aside: how much memory each takes, and how much time a look at it, a record of
 * it, its end, and the end of a flow that was short. */

#include <netinet/in.h>

#include "flows/flows.h"
#include "tool.h"

enum { TIMEOUT = 60 };

#define WALL UINT64_C(1753000000000)

struct bench {
	uint64_t count;
	struct flows *flows;
	struct tally tally;
	uint32_t *order;            /* a walk meets the flows in another order than they came */
	uint64_t records;
};

static void
on_gap(const struct gap *gap, void *data)
{
	(void)data;
	errx(EX_SOFTWARE, "a gap of kind %u, which nothing here can be the reason of", gap->kind);
}

static struct flow
flow_of(uint32_t number, uint64_t at, uint64_t packets)
{
	struct flow flow = { .family = 4, .protocol = IPPROTO_UDP, .id = number * 2654435761u, .born = WALL, .start = WALL,
	                     .end = WALL + at };

	flow.original.source.word[0] = number;
	flow.original.destination.word[0] = number * 40503;
	flow.original.source_port = number >> 8;
	flow.original.packets = flow.reply.packets = packets;
	flow.original.octets = flow.reply.octets = packets * 100;
	return flow;
}

typedef void step(struct bench *bench, struct flow *flow, size_t n, uint64_t at);

static void
look(struct bench *bench, struct flow *flow, size_t n, uint64_t at)
{
	flows_present(bench->flows, flow, n, at, &bench->tally);
	flows_done(bench->flows, &bench->tally, at);
	bench->records += bench->tally.n;
}

static void
end(struct bench *bench, struct flow *flow, size_t n, uint64_t at)
{
	flows_ended(bench->flows, flow, n, &bench->tally);
	flows_done(bench->flows, &bench->tally, at);
	bench->records += bench->tally.n;
}

/* ns of processor time: others may use the machine, too. */
static uint64_t
worked_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

/* What a step seems to take that does nothing. */
static void
nothing(struct bench *bench, struct flow *flow, size_t n, uint64_t at)
{
	(void)bench, (void)flow, (void)n, (void)at;
}

/* All flows once, from the number base on. Returns ns a flow, without what it takes to make them up. */
static double
measure(struct bench *bench, step *take, uint32_t base, uint64_t at, uint64_t packets)
{
	struct flow flow[FLOWS_BATCH];
	uint64_t spent = 0;

	bench->records = 0;
	for (uint64_t i = 0; i < bench->count; i += FLOWS_BATCH) {
		size_t n = 0;
		for (; n < FLOWS_BATCH && i + n < bench->count; n++)
			flow[n] = flow_of(base + bench->order[i + n], at, packets);
		const uint64_t before = worked_ns();
		take(bench, flow, n, at);
		spent += worked_ns() - before;
	}
	return (double)spent / (double)bench->count;
}

static void
expect_records(const struct bench *bench, uint64_t records)
{
	if (bench->records != records)
		errx(EX_SOFTWARE, "%" PRIu64 " records instead of %" PRIu64, bench->records, records);
}

static void
shuffle(struct bench *bench)
{
	uint64_t state = 1;

	bench->order = malloc(bench->count * sizeof *bench->order);
	if (!bench->order)
		err(EX_OSERR, "%" PRIu64 " flows", bench->count);
	for (uint64_t i = 0; i < bench->count; i++) {
		state = state * 6364136223846793005 + 1442695040888963407;
		const uint64_t j = (state >> 33) % (i + 1);
		bench->order[i] = bench->order[j];
		bench->order[j] = i;
	}
}

static double
measure_walked(struct bench *bench)
{
	const uint64_t before = worked_ns();

	if (flows_walked(bench->flows, true, true))
		errx(EX_SOFTWARE, "flows are gone");
	return (double)(worked_ns() - before) / 1e6;
}

int
main(int argc, char **argv)
{
	static struct bench bench = { .count = 1000000 };
	static const struct tool_option options[] = {
		{ "--count", "N", take_number, &bench.count, "long flows (1000000)" },
	};
	const size_t count = sizeof options / sizeof *options;

	if (read_options(argc, argv, "longflows [options]", options, count) || bench.count < 1 || bench.count > POOL_MOST)
		show_usage("longflows [options]", options, count, EX_USAGE);
	const struct flows_options flows = { bench.count, bench.count, TIMEOUT, true, NULL, NULL, on_gap, NULL };
	bench.flows = flows_open(&flows, WALL, NULL);
	if (!bench.flows)
		errx(EX_OSERR, "no memory");
	shuffle(&bench);
	const double clock = measure(&bench, nothing, 0, 0, 0);
	const double first = measure(&bench, look, 0, 60000, 1) - clock;
	expect_records(&bench, bench.count);
	const double octets = (double)flows_fill(bench.flows).octets / (double)bench.count;
	const double quiet = measure(&bench, look, 0, 61000, 2) - clock;
	expect_records(&bench, 0);
	const double record = measure(&bench, look, 0, 121000, 3) - clock;
	expect_records(&bench, bench.count);
	const double walked = measure_walked(&bench);
	const double brief = measure(&bench, end, bench.count, 121000, 1) - clock;
	expect_records(&bench, bench.count);
	const double ended = measure(&bench, end, 0, 122000, 4) - clock;
	expect_records(&bench, bench.count);
	printf("{\"flows\": %" PRIu64 ", \"octets\": %.1f, \"first_ns\": %.1f, \"look_ns\": %.1f, \"record_ns\": %.1f, "
	       "\"walked_ms\": %.3f, \"short_end_ns\": %.1f, \"long_end_ns\": %.1f}\n", bench.count, octets, first, quiet,
	       record, walked, brief, ended);
	flows_close(bench.flows);
	free(bench.order);
	return EXIT_SUCCESS;
}
