/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdlib.h>
#include <string.h>

#include "archive/import.h"
#include "archive/scan.h"
#include "audit/clocks.h"
#include "audit/hops.h"
#include "audit/path.h"
#include "audit/reach.h"
#include "audit/trace.h"
#include "audit/tuple.h"
#include "audit/value.h"
#include "error.h"
#include "peerflow.h"
#include "peerflow_archive.h"

enum {
	DEFAULT_SLACK = 5000,       /* ms */
	MOST_ROUNDS = 16,           /* a connection goes through as many routers at most */
	MOST_ADDRESSES = 64,        /* beyond so many a scan would not skip much */
};

/* What the command line asks for. */
struct request {
	struct peerflow_archive archive;
	char **words;
	char *tuple;
	char *slack;
	char *format;
	gint64 limit;
};

/* An archive, and the router its records are of. */
struct origin {
	char *path;
	char *label;                /* of the path, for a router that does not say its name */
	char *said;                 /* that it said, or NULL */
	uint32_t domain;
	unsigned router;
	bool json;
};

/* The archives are read more than once: first for what was asked about and what all flows tell of clocks and ways, then
 * for all that has a tuple of what was found, until there is nothing new. So memory is what the answer needs, however
 * large the archives are. */
struct tracing {
	const struct request *request;
	uint64_t slack;
	struct query *query;
	struct tuple_pattern pattern;
	path_writer *write;
	GArray *origins;            /* struct origin */
	GArray *routers;            /* struct trace_router */
	GArray *holes;              /* struct trace_hole */
	struct clocks *clocks;
	struct reach *reach;
	struct hops *hops;
	GHashTable *wanted;         /* hashes of tuples; NULL in the first round, in which all is told and learnt */
	uint64_t troubles;
	bool whole;                 /* all flows are asked for */
};

static void
request_clear(struct request *request)
{
	peerflow_archive_clear(&request->archive);
	g_strfreev(request->words);
	g_free(request->tuple);
	g_free(request->slack);
	g_free(request->format);
}
typedef struct request request_t;
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(request_t, request_clear)

static void
clear_router(gpointer router)
{
	g_free((char *)((struct trace_router *)router)->name);
}

static void
clear_origin(gpointer data)
{
	struct origin *origin = data;

	g_free(origin->path);
	g_free(origin->label);
	g_free(origin->said);
}

static void
tracing_clear(struct tracing *tracing)
{
	g_clear_pointer(&tracing->query, query_free);
	g_clear_pointer(&tracing->origins, g_array_unref);
	g_clear_pointer(&tracing->routers, g_array_unref);
	g_clear_pointer(&tracing->holes, g_array_unref);
	g_clear_pointer(&tracing->clocks, clocks_free);
	g_clear_pointer(&tracing->reach, reach_free);
	g_clear_pointer(&tracing->hops, hops_free);
	g_clear_pointer(&tracing->wanted, g_hash_table_unref);
}
typedef struct tracing tracing_t;
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(tracing_t, tracing_clear)

/* Routers */

static struct trace_router *
router_at(const struct tracing *tracing, unsigned i)
{
	return &g_array_index(tracing->routers, struct trace_router, i);
}

static struct origin *
origin_at(const struct tracing *tracing, size_t i)
{
	return &g_array_index(tracing->origins, struct origin, i);
}

/* The number of the router of that name. The name goes to terminals and into pictures, and may come out of a file.
 * Beyond the most there can be, all are the last. */
static unsigned
find_router(struct tracing *tracing, const char *name)
{
	g_autoptr(GString) visible = g_string_new(NULL);
	struct trace_router router = { .first = UINT64_MAX };

	value_visible(visible, name, strlen(name));
	for (unsigned i = 0; i < tracing->routers->len; i++)
		if (strcmp(router_at(tracing, i)->name, visible->str) == 0)
			return i;
	if (tracing->routers->len == CLOCKS_MOST_ROUTERS)
		return CLOCKS_MOST_ROUTERS - 1;
	router.name = g_string_free(g_steal_pointer(&visible), FALSE);
	g_array_append_val(tracing->routers, router);
	return tracing->routers->len - 1;
}

/* Two routers may call themselves the same, but have two Observation Domains. */
static unsigned
name_router(struct tracing *tracing, const char *name, uint32_t domain)
{
	for (size_t i = 0; i < tracing->origins->len; i++) {
		const struct origin *other = origin_at(tracing, i);
		if (!other->said || strcmp(other->said, name) != 0 || other->domain == domain)
			continue;
		g_autofree char *both = g_strdup_printf("%s (domain %" G_GUINT32_FORMAT ")", name, domain);
		return find_router(tracing, both);
	}
	return find_router(tracing, name);
}

/* The router that the record is of: who it says, or else who its archive is. */
static unsigned
router_of(struct tracing *tracing, struct origin *origin, const char *name, uint32_t domain)
{
	if (!name || !*name)
		return origin->said ? origin->router : (origin->router = find_router(tracing, origin->label));
	if (origin->said && origin->domain == domain && strcmp(origin->said, name) == 0)
		return origin->router;
	g_clear_pointer(&origin->said, g_free);
	origin->router = name_router(tracing, name, domain);
	origin->said = g_strdup(name);
	origin->domain = domain;
	return origin->router;
}

/* Archives */

static char *
label_of(const char *path)
{
	static const char *const endings[] = { ".columns", ".zst", ".part", ".ipfix", ".json" };
	char *label = g_path_get_basename(path);

	for (unsigned i = 0; i < G_N_ELEMENTS(endings); i++)
		if (g_str_has_suffix(label, endings[i]))
			label[strlen(label) - strlen(endings[i])] = '\0';
	return label;
}

/* site-a/archive and site-b/archive are two. */
static void
tell_apart(GArray *origins)
{
	for (guint i = 0; i < origins->len; i++) {
		struct origin *one = &g_array_index(origins, struct origin, i);
		bool twice = false;
		for (guint k = 0; k < origins->len; k++) {
			const struct origin *other = &g_array_index(origins, struct origin, k);
			g_autofree char *label = label_of(other->path);
			twice |= k != i && strcmp(label, one->label) == 0;
		}
		if (!twice)
			continue;
		g_free(one->label);
		one->label = g_strdup(one->path);
	}
}

static GArray *
list_origins(char *const *paths)
{
	GArray *origins = g_array_new(false, true, sizeof(struct origin));

	g_array_set_clear_func(origins, clear_origin);
	for (; *paths; paths++) {
		const struct origin origin = {
			.path = g_strdup(*paths), .label = label_of(*paths), .json = import_is_json(*paths),
		};
		g_array_append_val(origins, origin);
	}
	tell_apart(origins);
	return origins;
}

/* Records */

static bool
overlaps(const struct tracing *tracing, const struct flow *flow)
{
	const struct peerflow_archive *archive = &tracing->request->archive;

	return MAX(flow->end, flow->stop) >= archive->first && flow->start <= archive->last;
}

static bool
is_asked(const struct tracing *tracing, const struct print_flow *flow)
{
	if (!overlaps(tracing, flow->flow) || !query_matches(tracing->query, flow))
		return false;
	return !tracing->request->tuple || tuple_matches(&tracing->pattern, flow->flow);
}

static bool
is_wanted(const struct tracing *tracing, const struct flow *flow)
{
	const struct tuple before = tuple_before(flow), after = tuple_after(flow);

	if (!tracing->wanted)
		return false;
	return g_hash_table_contains(tracing->wanted, (gpointer)(uintptr_t)tuple_hash(&before)) ||
	       g_hash_table_contains(tracing->wanted, (gpointer)(uintptr_t)tuple_hash(&after));
}

static void
learn(struct tracing *tracing, unsigned router, const struct flow *flow)
{
	struct trace_router *row = router_at(tracing, router);

	row->first = MIN(row->first, flow->start);
	row->last = MAX(row->last, flow->end);
	clocks_add(tracing->clocks, router, flow);
	reach_add(tracing->reach, router, flow);
}

static bool
take_record(struct tracing *tracing, unsigned router, const struct print_flow *flow, GError **error)
{
	const bool asked = is_asked(tracing, flow);

	if (!tracing->wanted)
		learn(tracing, router, flow->flow);
	if (!asked && !is_wanted(tracing, flow->flow))
		return true;
	return hops_add(tracing->hops, router, flow->flow, flow->names, asked, error);
}

static void
tell_trouble(const char *text, void *data)
{
	struct tracing *tracing = data;

	if (tracing->wanted)            /* the first round has told it */
		return;
	tracing->troubles++;
	g_printerr("%s: %s\n", g_get_prgname(), text);
}

static bool
read_json(struct tracing *tracing, struct origin *origin, GError **error)
{
	const unsigned router = router_of(tracing, origin, NULL, 0);
	g_autoptr(GError) wrong = NULL;
	g_autoptr(import_t) import = import_open(origin->path, error);
	struct flow flow;

	if (!import)
		return false;
	while (import_next(import, &flow, &wrong)) {
		const struct print_flow shown = { .flow = &flow };
		if (!take_record(tracing, router, &shown, error))
			return false;
	}
	if (wrong)
		tell_trouble(wrong->message, tracing);
	if (import_skipped(import)) {
		g_autofree char *text = g_strdup_printf("%s: %" G_GUINT64_FORMAT " objects are no flows", origin->path,
		                                        import_skipped(import));
		tell_trouble(text, tracing);
	}
	return true;
}

/* Which gaps leave flows out of an archive; what a collector missed, or was told late, is in it. */
static const bool leaves_out[GAP_KINDS] = {
	[GAP_OVERRUN] = true, [GAP_FUSE] = true, [GAP_AWAY] = true, [GAP_ARCHIVE] = true,
};

/* Scans are of one archive each. */
static void
take_gap(const struct gap *gap, size_t path G_GNUC_UNUSED, void *data)
{
	struct tracing *tracing = data;
	const struct trace_hole hole = { .first = gap->first, .last = gap->last, .router = G_MAXUINT };

	if (!tracing->wanted && gap->kind < GAP_KINDS && leaves_out[gap->kind])
		g_array_append_val(tracing->holes, hole);
}

/* The gaps of an archive may come before its router is known. */
static void
own_holes(struct tracing *tracing, unsigned router)
{
	for (guint i = 0; i < tracing->holes->len; i++) {
		struct trace_hole *hole = &g_array_index(tracing->holes, struct trace_hole, i);
		if (hole->router == G_MAXUINT)
			hole->router = router;
	}
}

/* Rounds */

/* What the next round looks for. A scan may skip files by the addresses, as long as they are few. */
struct wants {
	GHashTable *tuples;
	struct scan_address address[MOST_ADDRESSES];
	size_t n_addresses;         /* more than MOST_ADDRESSES: too many */
};

static void
want_address(struct wants *wants, const union address *address, uint8_t family)
{
	for (size_t i = 0; i < MIN(wants->n_addresses, (size_t)MOST_ADDRESSES); i++)
		if (memcmp(&wants->address[i].address, address, sizeof *address) == 0)
			return;
	if (wants->n_addresses < MOST_ADDRESSES)
		wants->address[wants->n_addresses] = (struct scan_address){ *address, family };
	wants->n_addresses = MIN(wants->n_addresses + 1, (size_t)MOST_ADDRESSES + 1);
}

/* The tuple, and that of the answers: uniflows tell of either. */
static void
want_tuple(struct wants *wants, const struct tuple *tuple)
{
	const struct tuple back = tuple_inverse(tuple);

	g_hash_table_add(wants->tuples, (gpointer)(uintptr_t)tuple_hash(tuple));
	g_hash_table_add(wants->tuples, (gpointer)(uintptr_t)tuple_hash(&back));
	want_address(wants, &tuple->source, tuple->family);
}

static void
want_hops(struct wants *wants, const struct hops *hops)
{
	size_t n_hops;
	const struct hop *all = hops_all(hops, &n_hops);

	for (size_t i = 0; i < n_hops; i++) {
		const struct tuple before = tuple_before(&all[i].flow), after = tuple_after(&all[i].flow);
		want_tuple(wants, &before);
		want_tuple(wants, &after);
	}
}

static bool
read_archive(struct tracing *tracing, struct origin *origin, const struct wants *wants, GError **error)
{
	const struct peerflow_archive *archive = &tracing->request->archive;
	char *const paths[] = { origin->path, NULL };
	struct scan_options options = {
		.paths = paths, .enterprise = archive->enterprise,
		.trouble = tell_trouble, .gap = take_gap, .data = tracing,
		.first = archive->first > tracing->slack ? archive->first - tracing->slack : 0,
		.last = archive->last < UINT64_MAX - tracing->slack ? archive->last + tracing->slack : UINT64_MAX,
	};
	struct scan_record record;

	if (wants && wants->n_addresses <= MOST_ADDRESSES) {
		options.addresses = wants->address;
		options.n_addresses = wants->n_addresses;
	}
	g_autoptr(scan_t) scan = scan_open(&options, error);
	if (!scan)
		return false;
	while (scan_next(scan, &record)) {
		const struct print_flow flow = peerflow_archive_flow(&record);
		if (!take_record(tracing, router_of(tracing, origin, record.domain_name, record.domain), &flow, error))
			return false;
	}
	own_holes(tracing, router_of(tracing, origin, origin->said, origin->domain));
	return true;
}

static bool
read_all(struct tracing *tracing, const struct wants *wants, GError **error)
{
	g_clear_pointer(&tracing->hops, hops_free);
	tracing->hops = hops_new();
	for (guint i = 0; i < tracing->origins->len; i++) {
		struct origin *origin = origin_at(tracing, i);
		if (!(origin->json ? read_json(tracing, origin, error) : read_archive(tracing, origin, wants, error)))
			return false;
	}
	hops_settle(tracing->hops);
	return true;
}

/* Until what belongs to what was found is found, too. */
static bool
read_rounds(struct tracing *tracing, GError **error)
{
	guint known = 0;

	if (!read_all(tracing, NULL, error))
		return false;
	clocks_settle(tracing->clocks);
	tracing->wanted = g_hash_table_new(g_direct_hash, g_direct_equal);
	for (unsigned round = 0; !tracing->whole && round < MOST_ROUNDS; round++) {
		struct wants wants = { .tuples = tracing->wanted };
		want_hops(&wants, tracing->hops);
		if (g_hash_table_size(tracing->wanted) == known)
			break;
		known = g_hash_table_size(tracing->wanted);
		if (!read_all(tracing, &wants, error))
			return false;
	}
	return true;
}

/* The answer */

static void
tell_clocks(const struct tracing *tracing, unsigned one, unsigned other)
{
	const struct clock_difference clock = clocks_between(tracing->clocks, one, other);
	const uint64_t ms = (uint64_t)ABS(clock.ms);

	if (!clock.flows)
		return;
	g_printerr("%s: the clock of %s is %" G_GUINT64_FORMAT ".%03us %s that of %s, by %" G_GUINT32_FORMAT
	           " flows%s\n", g_get_prgname(), router_at(tracing, other)->name, ms / 1000, (unsigned)(ms % 1000),
	           clock.ms < 0 ? "behind" : "ahead of", router_at(tracing, one)->name, clock.flows,
	           ms > tracing->slack ? ": more than --slack allows, so they are not joined" : "");
}

static bool
put_paths(const struct tracing *tracing, const struct trace *trace, GError **error)
{
	enum { TOGETHER = 256 };        /* text that is put together before it is written; a picture is one */
	const gint64 limit = tracing->request->limit;
	const bool rows = tracing->write == path_table || tracing->write == path_json;
	const struct trace_router *routers = router_at(tracing, 0);
	size_t n_paths;
	const struct trace_path *paths = trace_paths(trace, &n_paths);
	g_autoptr(GString) text = g_string_new(NULL);

	n_paths = limit ? MIN(n_paths, (size_t)limit) : n_paths;
	for (size_t i = 0; i < n_paths; i += rows ? TOGETHER : n_paths) {
		g_string_assign(text, i && tracing->write == path_table ? "\n" : "");
		tracing->write(text, paths + i, rows ? MIN(n_paths - i, (size_t)TOGETHER) : n_paths, routers);
		if (!peerflow_put(text, error))
			return false;
	}
	if (n_paths)
		return true;
	g_set_error(error, PEERFLOW_ERROR, EXIT_FAILURE, "no archive has such a flow");
	return false;
}

static bool
answer(const struct tracing *tracing, GError **error)
{
	const struct trace_options options = {
		.slack = tracing->slack, .clocks = tracing->clocks, .reach = tracing->reach,
		.router = router_at(tracing, 0), .n_routers = tracing->routers->len,
		.hole = (const struct trace_hole *)(void *)tracing->holes->data, .n_holes = tracing->holes->len,
	};
	size_t n_hops;
	const struct hop *hops = hops_all(tracing->hops, &n_hops);
	g_autoptr(trace_t) trace = trace_new(hops, n_hops, &options);

	if (!put_paths(tracing, trace, error))
		return false;
	for (unsigned one = 0; one < tracing->routers->len; one++)
		for (unsigned other = one + 1; other < tracing->routers->len; other++)
			tell_clocks(tracing, one, other);
	if (!tracing->troubles)
		return true;
	g_set_error(error, PEERFLOW_ERROR, EX_DATAERR, "%" G_GUINT64_FORMAT " parts of the archives could not be read: "
	            "there may be more than this", tracing->troubles);
	return false;
}

/* The command line */

/* "500ms", "5s", "5", "2m". */
static bool
read_slack(const char *text, uint64_t *ms, GError **error)
{
	static const struct {
		const char *unit;
		unsigned ms;
	} units[] = { { "ms", 1 }, { "s", 1000 }, { "", 1000 }, { "m", 60000 } };
	char *unit;
	const guint64 number = g_ascii_strtoull(text, &unit, 10);

	for (unsigned i = 0; i < G_N_ELEMENTS(units) && g_ascii_isdigit(*text); i++)
		if (strcmp(unit, units[i].unit) == 0 && number <= 86400) {
			*ms = number * units[i].ms;
			return true;
		}
	g_set_error(error, PEERFLOW_ERROR, EX_USAGE, "--slack \"%s\": how far clocks may differ, such as 500ms, 5s or 2m",
	            text);
	return false;
}

static bool
prepare(struct tracing *tracing, struct request *request, GError **error)
{
	tracing->request = request;
	tracing->slack = DEFAULT_SLACK;
	tracing->write = request->format ? path_format(request->format) : path_table;
	if (!tracing->write) {
		g_set_error(error, PEERFLOW_ERROR, EX_USAGE, "unknown format \"%s\": table, json, dot or svg",
		            request->format);
		return false;
	}
	if (request->limit < 0) {
		g_set_error(error, PEERFLOW_ERROR, EX_USAGE, "a limit of %" G_GINT64_FORMAT " paths", request->limit);
		return false;
	}
	if ((request->slack && !read_slack(request->slack, &tracing->slack, error)) ||
	    (request->tuple && !tuple_parse(request->tuple, &tracing->pattern, error)))
		return false;
	if (request->archive.paths && g_strv_length(request->archive.paths) > CLOCKS_MOST_ROUTERS) {
		g_set_error(error, PEERFLOW_ERROR, EX_USAGE, "more than %u archives", CLOCKS_MOST_ROUTERS);
		return false;
	}
	tracing->query = peerflow_query(request->words, error);
	tracing->whole = !request->words && !request->tuple && !request->archive.from && !request->archive.to;
	return tracing->query && peerflow_archive_prepare(&request->archive, error);
}

static bool
trace_run(struct tracing *tracing, GError **error)
{
	tracing->origins = list_origins(tracing->request->archive.paths);
	tracing->routers = g_array_new(false, true, sizeof(struct trace_router));
	g_array_set_clear_func(tracing->routers, clear_router);
	tracing->holes = g_array_new(false, false, sizeof(struct trace_hole));
	tracing->clocks = clocks_new();
	tracing->reach = reach_new();
	return read_rounds(tracing, error) && answer(tracing, error);
}

bool
peerflow_trace(int argc, char **argv, GError **error)
{
	g_auto(request_t) request = { 0 };
	g_auto(tracing_t) tracing = { 0 };
	const GOptionEntry entries[] = {
		{ "tuple", 't', 0, G_OPTION_ARG_STRING, &request.tuple,
		  "Connections that had this tuple anywhere: \"10.20.0.20:40002 -> 10.30.0.30:5432\"", "TUPLE" },
		PEERFLOW_ARCHIVE_OPTIONS(&request.archive),
		PEERFLOW_ARCHIVE_PERIOD(&request.archive),
		{ "slack", 0, 0, G_OPTION_ARG_STRING, &request.slack, "How far clocks may differ (5s)", "TIME" },
		{ "format", 'f', 0, G_OPTION_ARG_STRING, &request.format, "table, json, dot or svg (table)", "FORMAT" },
		{ "limit", 'n', 0, G_OPTION_ARG_INT64, &request.limit, "No more than so many paths (0: all)", "N" },
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_STRING_ARRAY, &request.words, NULL, "[QUERY]" },
		{ 0 },
	};

	return peerflow_options("Follows connections through several routers, by the archive of each: those that answer "
	                        "QUERY at one of them, such as \"src host 10.20.0.20 and port 5432\". An archive is what "
	                        "peerflowd keeps, an IPFIX file, or what nfdump -o json prints.", entries, argc, argv, error)
	       && prepare(&tracing, &request, error) && trace_run(&tracing, error);
}
