/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ledger.h"

#include <inttypes.h>
#include <string.h>

#include <glib.h>

enum {
	MERGE = 60000,              /* ms between two losses that are one gap still */
	QUIET = 60,                 /* seconds between two lines of the log about the same */
};

/* What the log has not said yet of one total. */
struct unsaid {
	int64_t said_at;            /* microseconds of the clock; zero: never */
	bool waiting;
	struct gap gap;
};

struct ledger {
	struct ledger_memory *memory;
	struct ledger_memory *own;  /* to free, or NULL */
	int64_t (*clock)(void);
	uint64_t changes;
	struct unsaid unsaid[LEDGER_TOTALS];    /* of the total at the same place */
};

static const struct kind {
	const char *name;
	const char *one, *many;     /* of what */
	const char *text;           /* %s: how many of them */
} kinds[GAP_KINDS] = {
	[GAP_OVERRUN] = { "overrun", "flow end", "flow ends",
	                  "the kernel dropped %s that came faster than they could be read; raise receive-buffer in "
	                  "[conntrack]" },
	[GAP_FUSE] = { "fuse", "flow end", "flow ends",
	               "reliable delivery was given up for a while, lest connection tracking run out of room; meanwhile the "
	               "kernel dropped %s" },
	[GAP_GONE] = { "gone", "flow", "flows",
	               "the kernel forgot %s without a word; what came after the last look at them is missing" },
	[GAP_AWAY] = { "away", "flow", "flows", "peerflow did not run and nobody kept its socket; the ends of %s are missing" },
	[GAP_QUEUE] = { "queue", "flow record", "flow records", "its queue was full; lost %s" },
	[GAP_UNREACHABLE] = { "unreachable", "flow record", "flow records", "it could not be reached; lost %s" },
	[GAP_POOL] = { "pool", "flow", "flows",
	               "there is no room for the counters of %s; they are reported whole, but only at their end" },
	[GAP_ACCOUNTING] = { "accounting", "flow", "flows",
	                     "accounting, time stamps or events of connection tracking were off; counters, start or end of "
	                     "%s are missing" },
	[GAP_RESET_COUNTERS] = { "reset-counters", "flow", "flows",
	                         "somebody zeroed the kernel's counters of %s; what they counted just before is missing" },
	[GAP_JOURNAL] = { "journal", "flow record", "flow records",
	                  "it was further behind than the journal remembers; lost %s" },
	[GAP_ARCHIVE] = { "archive", "flow", "flows",
	                  "the archive did not take %s in time: its disk is full, failing or slow, or it was off" },
};

const char *
gap_name(unsigned kind)
{
	return kind < GAP_KINDS ? kinds[kind].name : "?";
}

void
gap_set_collector(struct gap *gap, const char *name)
{
	const char *end;

	g_strlcpy(gap->collector, name, sizeof gap->collector);
	/* A character that was cut through goes as a whole. */
	if (!g_utf8_validate(gap->collector, -1, &end))
		gap->collector[end - gap->collector] = '\0';
}

static char *
quantity_text(const struct gap *gap)
{
	const struct kind *kind = &kinds[gap->kind];

	if (gap->unknown && !gap->flows)
		return g_strdup_printf("an unknown number of %s", kind->many);
	return g_strdup_printf("%s%" PRIu64 " %s", gap->unknown ? "at least " : "", gap->flows,
	                       gap->flows == 1 ? kind->one : kind->many);
}

/* The table's formats hold one %s each; the compiler cannot see it. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
char *
gap_text(const struct gap *gap)
{
	g_autofree char *quantity = quantity_text(gap);
	g_autofree char *text = g_strdup_printf(kinds[gap->kind].text, quantity);

	return gap->collector[0] ? g_strdup_printf("collector %s: %s", gap->collector, text) : g_steal_pointer(&text);
}
#pragma GCC diagnostic pop

static bool
is_sound(const struct gap *gap)
{
	return gap->kind < GAP_KINDS && memchr(gap->collector, '\0', sizeof gap->collector)
	       && g_utf8_validate(gap->collector, -1, NULL);
}

/* A process that was killed may have left anything, another version even more. */
static bool
makes_sense(const struct ledger_memory *memory)
{
	if (memory->totals > LEDGER_TOTALS)
		return false;
	for (unsigned i = 0; i < memory->totals; i++)
		if (!is_sound(&memory->total[i]))
			return false;
	for (unsigned i = 0; i < MIN(memory->entries, LEDGER_LAST); i++)
		if (!is_sound(&memory->entry[i]))
			return false;
	return true;
}

struct ledger *
ledger_new(struct ledger_memory *memory, int64_t (*clock)(void))
{
	struct ledger *ledger = g_new0(struct ledger, 1);

	ledger->own = memory ? NULL : g_new0(struct ledger_memory, 1);
	ledger->memory = memory ? memory : ledger->own;
	ledger->clock = clock ? clock : g_get_monotonic_time;
	if (!makes_sense(ledger->memory))
		memset(ledger->memory, 0, sizeof *ledger->memory);
	return ledger;
}

static bool
is_alike(const struct gap *a, const struct gap *b)
{
	return a->kind == b->kind && strcmp(a->collector, b->collector) == 0;
}

static void
merge(struct gap *into, const struct gap *gap)
{
	into->first = MIN(into->first, gap->first);
	into->last = MAX(into->last, gap->last);
	into->flows += gap->flows;
	into->packets += gap->packets;
	into->octets += gap->octets;
	into->unknown |= gap->unknown;
}

/* The clock may have been set, so near means near in both directions. */
static bool
is_near(const struct gap *a, const struct gap *b)
{
	return a->first <= b->last + MERGE && b->first <= a->last + MERGE;
}

/* Only the last entry of its kind and collector can go on. */
static struct gap *
find_entry(struct ledger_memory *memory, const struct gap *gap)
{
	for (unsigned i = 1; i <= MIN(memory->entries, LEDGER_LAST); i++) {
		struct gap *entry = &memory->entry[(memory->entries - i) % LEDGER_LAST];
		if (is_alike(entry, gap))
			return is_near(entry, gap) ? entry : NULL;
	}
	return NULL;
}

static void
keep_entry(struct ledger_memory *memory, const struct gap *gap)
{
	struct gap *entry = find_entry(memory, gap);

	if (entry)
		merge(entry, gap);
	else
		memory->entry[memory->entries++ % LEDGER_LAST] = *gap;
}

static void
say(struct unsaid *unsaid, int64_t now)
{
	g_autofree char *text = gap_text(&unsaid->gap);

	g_warning("%s", text);
	unsaid->said_at = now;
	unsaid->waiting = false;
}

/* The place of a total to give up for a new one: of the collector that had no gap for the longest time. */
static unsigned
oldest_total(const struct ledger_memory *memory)
{
	unsigned oldest = 0;

	for (unsigned i = 1; i < LEDGER_TOTALS; i++) {
		const struct gap *gap = &memory->total[i], *before = &memory->total[oldest];
		if (gap->collector[0] && (!before->collector[0] || gap->last < before->last))
			oldest = i;
	}
	return oldest;
}

static unsigned
find_total(struct ledger *ledger, const struct gap *gap)
{
	struct ledger_memory *memory = ledger->memory;
	unsigned i = 0;

	while (i < memory->totals && !is_alike(&memory->total[i], gap))
		i++;
	if (i < memory->totals) {
		merge(&memory->total[i], gap);
		return i;
	}
	if (i == LEDGER_TOTALS) {
		i = oldest_total(memory);
		if (ledger->unsaid[i].waiting)
			say(&ledger->unsaid[i], 0);
		ledger->unsaid[i] = (struct unsaid){ 0 };
	}
	memory->total[i] = *gap;
	memory->totals = MAX(memory->totals, i + 1);
	return i;
}

static void
note(struct unsaid *unsaid, const struct gap *gap)
{
	if (unsaid->waiting)
		merge(&unsaid->gap, gap);
	else
		unsaid->gap = *gap;
	unsaid->waiting = true;
}

static bool
is_due(const struct unsaid *unsaid, int64_t now)
{
	return unsaid->waiting && (!unsaid->said_at || now - unsaid->said_at >= QUIET * INT64_C(1000000));
}

void
ledger_add(struct ledger *ledger, const struct gap *gap)
{
	const int64_t now = ledger->clock();

	g_return_if_fail(is_sound(gap));
	keep_entry(ledger->memory, gap);
	struct unsaid *unsaid = &ledger->unsaid[find_total(ledger, gap)];
	note(unsaid, gap);
	if (is_due(unsaid, now))
		say(unsaid, now);
	ledger->changes++;
}

void
ledger_tick(struct ledger *ledger)
{
	const int64_t now = ledger->clock();

	for (unsigned i = 0; i < ledger->memory->totals; i++)
		if (is_due(&ledger->unsaid[i], now))
			say(&ledger->unsaid[i], now);
}

void
ledger_free(struct ledger *ledger)
{
	if (!ledger)
		return;
	for (unsigned i = 0; i < ledger->memory->totals; i++)
		if (ledger->unsaid[i].waiting)
			say(&ledger->unsaid[i], 0);
	g_free(ledger->own);
	g_free(ledger);
}

uint64_t
ledger_changes(const struct ledger *ledger)
{
	return ledger->changes;
}

void
ledger_each(const struct ledger *ledger, ledger_visitor *visitor, void *data)
{
	const struct ledger_memory *memory = ledger->memory;
	const uint64_t n = MIN(memory->entries, LEDGER_LAST);

	for (uint64_t i = memory->entries - n; i < memory->entries; i++)
		visitor(&memory->entry[i % LEDGER_LAST], data);
}

void
ledger_totals(const struct ledger *ledger, ledger_visitor *visitor, void *data)
{
	for (unsigned i = 0; i < ledger->memory->totals; i++)
		visitor(&ledger->memory->total[i], data);
}

bool
ledger_sum(const struct ledger *ledger, unsigned mask, const char *collector, struct gap *sum)
{
	const struct ledger_memory *memory = ledger->memory;
	struct gap wanted;
	bool any = false;

	gap_set_collector(&wanted, collector);
	*sum = (struct gap){ 0 };
	for (unsigned i = 0; i < memory->totals; i++) {
		const struct gap *gap = &memory->total[i];
		if (!(mask & 1u << gap->kind) || strcmp(gap->collector, wanted.collector) != 0)
			continue;
		if (any)
			merge(sum, gap);
		else
			*sum = *gap;
		any = true;
	}
	return any;
}
