/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "keep.h"

#include <string.h>
#include <time.h>

#include "encode/blocks.h"
#include "error.h"

enum {
	BLOCK = 4 << 20,            /* octets: what a reader that looks for one flow has to decompress */
	CLOSE_PATIENCE = 2000,      /* ms in which the store may take the rest */
	CLOSE_PAUSE = 10,
};

struct keep {
	struct config_archive config;   /* its path is our own copy */
	const struct output_identity *identity;
	uint32_t domain, enterprise;    /* of identity when it was opened */
	struct template_file *file;
	struct keep_memory *memory;
	struct keep_memory *own;        /* if none was given */
	struct blocks *blocks;
	struct store *store;
	uint64_t cursor;                /* number of the last flow the encoder took */
	uint64_t taken;                 /* number of the last one that was not left out */
	uint64_t followed;              /* ms since 1970 when it was last at the head */
	uint64_t names_version;         /* of the identity, that flows have come with */
	uint64_t changes;               /* of the ledger, that were looked at; the ledger counts from zero */
	bool looked;
	bool due;                       /* the file is to end before the next flow */
	bool untold;                    /* the store was full when a gap was to be told */
	char domain_name[sizeof ((struct output_identity *)NULL)->domain_name];
	struct gap entry[LEDGER_LAST];  /* of the ledger, while it is looked at */
	uint64_t n_entries;
};

static bool
sink(const struct message *messages, size_t n, void *data)
{
	struct keep *keep = data;

	if (!store_write(keep->store, messages, n))
		return false;
	keep->due = store_due(keep->store, g_get_real_time() / 1000);
	return true;
}

/* A number must stand before the words that no standard has; files stay on this host. */
static uint32_t
enterprise_of(const struct output_identity *identity)
{
	return identity->enterprise ? identity->enterprise : DOCUMENTATION_ENTERPRISE;
}

static bool
make_blocks(struct keep *keep, GError **error)
{
	g_autofree char *path = g_strdup_printf("%s/archive.template", keep->identity->template_directory);
	g_autoptr(GError) reason = NULL;

	keep->file = template_file_load(path, &reason);
	if (keep->file && keep->file->protocol != WIRE_IPFIX)
		g_set_error(&reason, PEERFLOW_ERROR, EX_CONFIG, "%s is no template for ipfix, which files are", path);
	if (!reason) {
		const struct blocks_options options = {
			.file = keep->file, .domain = keep->domain, .enterprise = keep->enterprise, .octets = BLOCK, .sink = sink,
			.data = keep,
		};
		keep->blocks = blocks_new(&options, &reason);
	}
	if (!keep->blocks)
		g_propagate_prefixed_error(error, g_steal_pointer(&reason), "[archive]: ");
	return keep->blocks != NULL;
}

static bool
make_store(struct keep *keep, GSource *moved, GError **error)
{
	static const enum store_sync syncs[] = {
		[CONFIG_SYNC_FLOW] = STORE_SYNC_FLOW,
		[CONFIG_SYNC_SECOND] = STORE_SYNC_SECOND,
		[CONFIG_SYNC_ROTATE] = STORE_SYNC_ROTATE,
	};
	static const enum pack_how hows[] = {
		[CONFIG_COMPRESS_COLUMNS] = PACK_COLUMNS,
		[CONFIG_COMPRESS_ZSTD] = PACK_ZSTD,
	};
	const struct store_options options = {
		.directory = keep->config.path,
		.rotate = keep->config.rotate,
		.rotate_size = keep->config.rotate_size,
		.retain = keep->config.retain,
		.max_size = keep->config.max_size,
		.sync = syncs[keep->config.sync],
		.pack = hows[keep->config.compress],
		.memory = &keep->memory->store,
		.moved = moved,
	};
	g_autoptr(GError) reason = NULL;

	keep->store = store_open(&options, &reason);
	if (!keep->store)
		g_propagate_prefixed_error(error, g_steal_pointer(&reason), "[archive]: ");
	return keep->store != NULL;
}

static struct keep *
keep_alloc(const struct config_archive *config, const struct output_identity *identity)
{
	struct keep *keep = g_new0(struct keep, 1);

	keep->config = *config;
	keep->config.path = g_strdup(config->path);
	keep->identity = identity;
	keep->domain = identity->domain;
	keep->enterprise = enterprise_of(identity);
	return keep;
}

bool
keep_check(const struct config_archive *config, const struct output_identity *identity, FILE *out, GError **error)
{
	struct keep *keep = keep_alloc(config, identity);
	const bool good = make_blocks(keep, error);

	if (good && out) {
		fprintf(out, "archive %s: IPFIX, biflow, %s\n", config->path, keep->file->path);
		template_file_print(keep->file, TRAIT_BIFLOW, out);
	}
	keep_close(keep);
	return good;
}

static void
take_entry(const struct gap *gap, void *data)
{
	struct keep *keep = data;

	keep->entry[keep->n_entries++] = *gap;
}

/* What a collector lost the archive may have. */
static bool
concerns_us(const struct gap *gap)
{
	return !gap->collector[0];
}

/* Gaps that are older than the archive are not told in it. */
static void
begin(struct keep *keep, uint64_t head)
{
	struct keep_memory *memory = keep->memory;

	ledger_each(keep->identity->ledger, take_entry, keep);
	memcpy(memory->told, keep->entry, sizeof memory->told);
	memory->n_told = keep->n_entries;
	memory->missed_first = memory->missed_last = 0;
	memory->start = head;
	memory->begun = 1;
}

/* A store may know of flows that this journal never had: of one that was begun anew since. */
static uint64_t
first_cursor(const struct keep *keep, uint64_t head)
{
	const uint64_t mark = store_mark(keep->store);

	return MIN(MAX(mark <= head ? mark : 0, keep->memory->start), head);
}

struct keep *
keep_open(const struct config_archive *config, const struct output_identity *identity, struct keep_memory *memory,
          uint64_t head, GSource *moved, GError **error)
{
	struct keep *keep = keep_alloc(config, identity);

	keep->own = memory ? NULL : g_new0(struct keep_memory, 1);
	keep->memory = memory ? memory : keep->own;
	if (!keep->memory->begun || keep->memory->n_told > LEDGER_LAST)
		begin(keep, head);
	if (!make_blocks(keep, error) || !make_store(keep, moved, error)) {
		keep_close(keep);
		return NULL;
	}
	keep->cursor = first_cursor(keep, head);
	keep->followed = g_get_real_time() / 1000;
	keep->names_version = identity->names_version;
	blocks_skip(keep->blocks, keep->cursor);
	keep_refresh(keep);
	return keep;
}

void
keep_forget(struct keep_memory *memory)
{
	memory->begun = 0;
}

bool
keep_same(const struct keep *keep, const struct config_archive *config, const struct output_identity *identity)
{
	const struct config_archive *old = &keep->config;
	g_autofree char *path = g_strdup_printf("%s/archive.template", identity->template_directory);
	g_autoptr(template_file_t) file = template_file_load(path, NULL);

	return strcmp(old->path, config->path) == 0 && old->rotate == config->rotate
	       && old->rotate_size == config->rotate_size && old->retain == config->retain
	       && old->max_size == config->max_size && old->sync == config->sync && old->compress == config->compress
	       && keep->domain == identity->domain && keep->enterprise == enterprise_of(identity) && file
	       && memcmp(file->template, keep->file->template, sizeof file->template) == 0;
}

bool
keep_follows(const struct keep *keep, uint64_t number)
{
	return keep->cursor + 1 == number;
}

/* How many of these flows were not told as missing yet, be it by an earlier process; now they are. */
static uint64_t
note_missed(struct keep_memory *memory, uint64_t first, uint64_t last)
{
	const uint64_t from = MAX(first, memory->missed_first), to = MIN(last, memory->missed_last);
	const uint64_t known = from <= to ? to - from + 1 : 0;

	if (first < memory->missed_first || first > memory->missed_last + 1)
		memory->missed_first = first;
	memory->missed_last = known ? MAX(last, memory->missed_last) : last;
	return last - first + 1 - known;
}

static void
tell_missed(struct keep *keep, uint64_t first)
{
	const uint64_t now = g_get_real_time() / 1000;
	const struct gap gap = {
		.kind = GAP_ARCHIVE,
		.first = MIN(keep->followed, now),
		.last = now,
		.flows = note_missed(keep->memory, keep->cursor + 1, first - 1),
		.unknown = true,            /* some of them would not have been told */
	};

	if (gap.flows)
		ledger_add(keep->identity->ledger, &gap);
}

uint64_t
keep_next(struct keep *keep, uint64_t first)
{
	if (keep->cursor + 1 < first) {
		tell_missed(keep, first);
		keep_skip(keep, first - 1);
	}
	return keep->cursor + 1;
}

/* A file ends between two messages, and the next one begins with all that is needed to read it. */
static void
rotate(struct keep *keep)
{
	if (!blocks_flush(keep->blocks, true))
		return;
	keep->due = false;
	store_rotate(keep->store);
	blocks_restart(keep->blocks);
}

bool
keep_flow(struct keep *keep, const struct flow *flow, const struct names *names, uint64_t number)
{
	if (keep->names_version != keep->identity->names_version)
		blocks_forget_names(keep->blocks);
	keep->names_version = keep->identity->names_version;
	if (keep->due)
		rotate(keep);
	if (!blocks_flow(keep->blocks, flow, names, number))
		return false;
	keep->cursor = keep->taken = number;
	return true;
}

void
keep_skip(struct keep *keep, uint64_t number)
{
	keep->cursor = number;
	blocks_skip(keep->blocks, number);
}

bool
keep_flush(struct keep *keep, bool partial)
{
	return !blocks_flush(keep->blocks, partial) || blocks_waiting(keep->blocks);
}

void
keep_refresh(struct keep *keep)
{
	g_strlcpy(keep->domain_name, keep->identity->domain_name, sizeof keep->domain_name);
	blocks_tell(keep->blocks, keep->domain_name, keep->identity->interface, keep->identity->n_interfaces);
}

/* What is lost */

/* The same entry of the ledger as the archive knows it: entries only grow. */
static const struct gap *
told_of(const struct keep *keep, const struct gap *gap)
{
	for (uint64_t i = 0; i < keep->memory->n_told; i++) {
		const struct gap *told = &keep->memory->told[i];
		if (told->kind == gap->kind && strcmp(told->collector, gap->collector) == 0 && told->first >= gap->first
		    && told->last <= gap->last && told->flows <= gap->flows)
			return told;
	}
	return NULL;
}

/* What has come since it was told: records in files are of one loss each, and can be added up. */
static struct gap
growth(const struct gap *gap, const struct gap *told)
{
	struct gap more = *gap;

	if (!told)
		return more;
	more.first = told->last < gap->last && told->first == gap->first ? told->last : gap->first;
	more.flows -= told->flows;
	more.packets -= told->packets;
	more.octets -= told->octets;
	return more;
}

/* Tells an entry. If that cannot be, it stands in the book as it was. */
static void
tell_entry(struct keep *keep, struct gap *gap)
{
	const struct gap *told = told_of(keep, gap);
	const struct gap more = growth(gap, told);

	if (!concerns_us(gap) || (told && memcmp(told, gap, sizeof *gap) == 0))
		return;
	if (blocks_gap(keep->blocks, &more))
		return;
	keep->untold = true;
	*gap = told ? *told : (struct gap){ .kind = GAP_KINDS };
}

static void
tell_gaps(struct keep *keep)
{
	const uint64_t changes = ledger_changes(keep->identity->ledger);

	if (keep->looked && !keep->untold && keep->changes == changes)
		return;
	keep->looked = true;
	keep->untold = false;
	keep->changes = changes;
	keep->n_entries = 0;
	ledger_each(keep->identity->ledger, take_entry, keep);
	for (uint64_t i = 0; i < keep->n_entries; i++)
		tell_entry(keep, &keep->entry[i]);
	memcpy(keep->memory->told, keep->entry, sizeof keep->memory->told);
	keep->memory->n_told = keep->n_entries;
}

void
keep_tick(struct keep *keep, uint64_t now, uint64_t head)
{
	if (keep->cursor == head)
		keep->followed = now;
	if (strcmp(keep->domain_name, keep->identity->domain_name) != 0)
		keep_refresh(keep);
	tell_gaps(keep);
	blocks_flush(keep->blocks, true);
	if (store_due(keep->store, now))
		rotate(keep);
}

void
keep_status(struct keep *keep, struct store_status *status)
{
	store_status(keep->store, status);
}

/* The mark moves with flows only, not with those that are left out. */
uint64_t
keep_behind(const struct keep *keep, uint64_t head)
{
	const uint64_t mark = store_mark(keep->store);

	return head - (mark < keep->taken ? mark : keep->cursor);
}

void
keep_close(struct keep *keep)
{
	if (!keep)
		return;
	for (unsigned waited = 0; keep->store && !blocks_flush(keep->blocks, true) && waited < CLOSE_PATIENCE;
	     waited += CLOSE_PAUSE)
		g_usleep(CLOSE_PAUSE * 1000);
	store_close(keep->store);
	blocks_free(keep->blocks);
	template_file_free(keep->file);
	g_free(keep->config.path);
	g_free(keep->own);
	g_free(keep);
}
