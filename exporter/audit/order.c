/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "audit/order.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "error.h"

enum {
	MEMORY = 64 << 20,
	HEAP_MOST = 100000,         /* flows that are kept apart; above that it is cheaper to sort all */
	READ_OCTETS = 64 << 10,     /* of a run at a time */
	WRITE_OCTETS = 1 << 20,
};

/* What is compared. In the file the octets of a text and the copy follow. */
struct head {
	uint64_t number;
	uint64_t serial;
	uint32_t text_octets;       /* of a text; zero: it is a number */
	uint32_t absent;            /* there is no value: last, whichever way the order goes */
};

struct entry {
	struct head head;
	char *text;
	struct copy *copy;
	struct run *run;            /* that has the next one, or NULL */
};

/* A sorted piece of the file. */
struct run {
	uint64_t at;                /* of the octet to read next */
	uint64_t end;
	GByteArray *octets;         /* read already; the first so many were used */
	size_t used;
};

struct order {
	struct order_options options;
	const struct print_column *column;      /* or NULL, and a total */
	uint64_t (*total)(const struct flow *flow);
	bool is_address;
	bool descending;
	GString *value;
	GArray *entries;            /* of struct entry: as they came; a heap, the last on top; of runs, the first on top */
	size_t octets;              /* that they take */
	uint64_t added;
	uint64_t shown;
	bool finished;              /* all were added */
	int fd;                     /* -1: no file yet */
	uint64_t size;              /* of the file */
	GPtrArray *runs;
	struct copy *last;          /* what view points to */
};

/* What to order by. */

static uint64_t
total_octets(const struct flow *flow)
{
	return flow->original.octets + flow->reply.octets;
}

static uint64_t
total_packets(const struct flow *flow)
{
	return flow->original.packets + flow->reply.packets;
}

static const struct alias {
	const char *name;
	const char *column;         /* that it stands for; NULL: a total */
	uint64_t (*total)(const struct flow *flow);
} aliases[] = {
	{ "bytes", NULL, total_octets },
	{ "octets", NULL, total_octets },
	{ "packets", NULL, total_packets },
	{ "sent", "octets_from_initiator", NULL },
	{ "received", "octets_from_responder", NULL },
	{ "duration", "duration_ms", NULL },
	{ "start", "start_ms", NULL },
	{ "end", "end_ms", NULL },
	{ "source", "source_address", NULL },
	{ "destination", "destination_address", NULL },
	{ "port", "destination_port", NULL },
};

static bool
find_column(struct order *order, const char *name)
{
	for (size_t i = 0; i < G_N_ELEMENTS(aliases); i++)
		if (!strcmp(name, aliases[i].name)) {
			order->total = aliases[i].total;
			name = aliases[i].column;
			break;
		}
	order->column = name ? print_column_find(name) : NULL;
	order->is_address = name && g_str_has_suffix(name, "_address");
	return order->column || order->total;
}

static bool
fail_order(const char *what, GError **error)
{
	g_autoptr(GString) words = g_string_new(NULL);

	for (size_t i = 0; i < G_N_ELEMENTS(aliases); i++)
		g_string_append_printf(words, "%s, ", aliases[i].name);
	g_set_error(error, PEERFLOW_ERROR, EX_USAGE, "no order \"%s\": %sor a column of csv; with :asc or :desc", what,
	            words->str);
	return false;
}

static bool
find_order(struct order *order, const char *by, GError **error)
{
	const char *colon = strchr(by, ':');
	g_autofree char *name = g_strndup(by, colon ? (size_t)(colon - by) : strlen(by));

	order->descending = colon && !strcmp(colon, ":desc");
	if (!find_column(order, name) || (colon && !order->descending && strcmp(colon, ":asc")))
		return fail_order(by, error);
	return true;
}

static void
clear_entry(gpointer at)
{
	struct entry *entry = at;

	g_free(entry->text);
	g_free(entry->copy);
}

static void
free_run(gpointer at)
{
	struct run *run = at;

	g_byte_array_unref(run->octets);
	g_free(run);
}

struct order *
order_new(const struct order_options *options, GError **error)
{
	g_autoptr(order_t) order = g_new0(struct order, 1);

	order->options = *options;
	order->options.by = NULL;
	order->options.memory = options->memory ? options->memory : MEMORY;
	order->fd = -1;
	order->value = g_string_new(NULL);
	order->entries = g_array_new(false, false, sizeof(struct entry));
	g_array_set_clear_func(order->entries, clear_entry);
	order->runs = g_ptr_array_new_with_free_func(free_run);
	return find_order(order, options->by, error) ? g_steal_pointer(&order) : NULL;
}

void
order_free(struct order *order)
{
	if (!order)
		return;
	if (order->fd >= 0)
		close(order->fd);
	g_string_free(order->value, true);
	g_array_unref(order->entries);
	g_ptr_array_unref(order->runs);
	g_free(order->last);
	g_free(order);
}

/* Comparison. */

/* As text 10.0.0.9 would come after 10.0.0.10. */
static void
make_address(GString *value)
{
	const bool v6 = strchr(value->str, ':') != NULL;
	char octets[1 + 16] = { v6 ? 6 : 4 };

	inet_pton(v6 ? AF_INET6 : AF_INET, value->str, octets + 1);
	g_string_truncate(value, 0);
	g_string_append_len(value, octets, sizeof octets);
}

/* What of the flow is compared; a text stays in value. */
static struct head
head_of(struct order *order, const struct print_flow *flow)
{
	struct head head = { .serial = order->added++ };

	if (order->total) {
		head.number = order->total(flow->flow);
		head.absent = flow->flow->gaps & GAP_NO_COUNTERS;
	} else if (print_column_is_number(order->column)) {
		head.absent = !print_number(order->column, flow, &head.number);
	} else {
		head.absent = !print_text(order->column, flow, order->value);
		if (!head.absent && order->is_address)
			make_address(order->value);
		head.text_octets = head.absent ? 0 : order->value->len;
	}
	return head;
}

static int
compare_values(const struct head *a, const char *a_text, const struct head *b, const char *b_text)
{
	const uint32_t common = MIN(a->text_octets, b->text_octets);
	const int difference = common ? memcmp(a_text, b_text, common) : 0;

	if (difference)
		return difference;
	if (a->text_octets != b->text_octets)
		return a->text_octets < b->text_octets ? -1 : 1;
	return a->number < b->number ? -1 : a->number > b->number;
}

/* Below zero: a comes first. */
static int
compare(const struct order *order, const struct head *a, const char *a_text, const struct head *b, const char *b_text)
{
	if (!a->absent != !b->absent)
		return a->absent ? 1 : -1;
	const int difference = a->absent ? 0 : compare_values(a, a_text, b, b_text);
	if (difference)
		return order->descending ? -difference : difference;
	return a->serial < b->serial ? -1 : 1;
}

static int
compare_entries(gconstpointer a, gconstpointer b, gpointer order)
{
	const struct entry *left = a, *right = b;

	return compare(order, &left->head, left->text, &right->head, right->text);
}

static int
compare_reversed(gconstpointer a, gconstpointer b, gpointer order)
{
	return compare_entries(b, a, order);
}

/* A heap: sign 1 has the first on top, -1 the last. */
static void
sift(struct order *order, guint at, int sign)
{
	struct entry *heap = &g_array_index(order->entries, struct entry, 0);

	for (;;) {
		guint best = at;
		for (guint child = 2 * at + 1; child <= 2 * at + 2 && child < order->entries->len; child++)
			if (sign * compare_entries(&heap[child], &heap[best], order) < 0)
				best = child;
		if (best == at)
			return;
		const struct entry moved = heap[at];
		heap[at] = heap[best];
		heap[best] = moved;
		at = best;
	}
}

static void
make_heap(struct order *order, int sign)
{
	for (guint i = order->entries->len / 2; i-- > 0; )
		sift(order, i, sign);
}

/* The file. */

static bool
fail_file(const char *what, GError **error)
{
	g_set_error(error, PEERFLOW_ERROR, EX_IOERR, "temporary file in %s: %s: %s; with --limit up to %d there is none",
	            g_get_tmp_dir(), what, g_strerror(errno), HEAP_MOST);
	return false;
}

static bool
open_file(struct order *order, GError **error)
{
	g_autofree char *name = g_build_filename(g_get_tmp_dir(), "peerflow-XXXXXX", NULL);

	if (order->fd >= 0)
		return true;
	order->fd = g_mkstemp_full(name, O_RDWR | O_CLOEXEC, 0600);
	if (order->fd < 0)
		return fail_file("cannot be made", error);
	unlink(name);
	return true;
}

static bool
write_octets(struct order *order, GByteArray *octets, size_t full, GError **error)
{
	if (octets->len < full)
		return true;
	for (size_t done = 0; done < octets->len; ) {
		const ssize_t n = pwrite(order->fd, octets->data + done, octets->len - done, (off_t)order->size);
		if (n < 0 && errno != EINTR)
			return fail_file("cannot be written", error);
		done += n > 0 ? (size_t)n : 0;
		order->size += n > 0 ? (uint64_t)n : 0;
	}
	g_byte_array_set_size(octets, 0);
	return true;
}

/* All entries go to the file. */
static bool
spill(struct order *order, GError **error)
{
	g_autoptr(GByteArray) octets = g_byte_array_new();
	struct run *run = g_new0(struct run, 1);

	run->octets = g_byte_array_new();
	g_ptr_array_add(order->runs, run);
	if (!open_file(order, error))
		return false;
	run->at = order->size;
	g_array_sort_with_data(order->entries, compare_entries, order);
	for (guint i = 0; i < order->entries->len; i++) {
		const struct entry *entry = &g_array_index(order->entries, struct entry, i);
		g_byte_array_append(octets, (const uint8_t *)&entry->head, sizeof entry->head);
		g_byte_array_append(octets, (const uint8_t *)entry->text, entry->head.text_octets);
		g_byte_array_append(octets, (const uint8_t *)entry->copy, entry->copy->octets);
		if (!write_octets(order, octets, WRITE_OCTETS, error))
			return false;
	}
	if (!write_octets(order, octets, 0, error))
		return false;
	run->end = order->size;
	g_array_set_size(order->entries, 0);
	order->octets = 0;
	return true;
}

/* So many octets of the run, not yet used; NULL: they cannot be read. */
static const uint8_t *
look(struct order *order, struct run *run, size_t n, GError **error)
{
	while (run->octets->len - run->used < n) {
		g_byte_array_remove_range(run->octets, 0, run->used);
		run->used = 0;
		const size_t before = run->octets->len, wanted = MIN(MAX(n - before, READ_OCTETS), run->end - run->at);
		g_byte_array_set_size(run->octets, before + wanted);
		const ssize_t got = pread(order->fd, run->octets->data + before, wanted, (off_t)run->at);
		if (got <= 0 && errno != EINTR) {
			errno = got ? errno : EIO;
			fail_file("cannot be read", error);
			return NULL;
		}
		g_byte_array_set_size(run->octets, before + (got > 0 ? (size_t)got : 0));
		run->at += got > 0 ? (uint64_t)got : 0;
	}
	return run->octets->data + run->used;
}

/* False: the run is over, or error is set. */
static bool
read_entry(struct order *order, struct run *run, struct entry *entry, GError **error)
{
	const uint8_t *at;
	uint32_t octets;

	*entry = (struct entry){ .run = run };
	if (run->at == run->end && run->used == run->octets->len)
		return false;
	if (!(at = look(order, run, sizeof entry->head, error)))
		return false;
	memcpy(&entry->head, at, sizeof entry->head);
	run->used += sizeof entry->head;
	if (!(at = look(order, run, entry->head.text_octets + sizeof octets, error)))
		return false;
	entry->text = g_memdup2(at, entry->head.text_octets);
	run->used += entry->head.text_octets;
	memcpy(&octets, at + entry->head.text_octets, sizeof octets);
	if (!(at = look(order, run, octets, error))) {
		clear_entry(entry);
		return false;
	}
	entry->copy = g_memdup2(at, octets);
	run->used += octets;
	return true;
}

/* In and out. */

static struct entry
new_entry(struct order *order, const struct head *head, const struct print_flow *flow)
{
	return (struct entry){
		.head = *head, .text = g_memdup2(order->value->str, head->text_octets), .copy = copy_new(flow),
	};
}

static bool
is_heap(const struct order *order)
{
	return order->options.limit && order->options.limit <= HEAP_MOST;
}

/* The last of those that were kept makes room for one that comes before it. */
static void
replace_last(struct order *order, const struct head *head, const struct print_flow *flow)
{
	struct entry *last = &g_array_index(order->entries, struct entry, 0);

	if (compare(order, head, order->value->str, &last->head, last->text) > 0)
		return;
	clear_entry(last);
	*last = new_entry(order, head, flow);
	sift(order, 0, -1);
}

bool
order_add(struct order *order, const struct print_flow *flow, GError **error)
{
	const struct head head = head_of(order, flow);

	if (is_heap(order) && order->entries->len == order->options.limit) {
		replace_last(order, &head, flow);
		return true;
	}
	const struct entry entry = new_entry(order, &head, flow);
	g_array_append_val(order->entries, entry);
	if (is_heap(order)) {
		if (order->entries->len == order->options.limit)
			make_heap(order, -1);
		return true;
	}
	order->octets += sizeof entry + head.text_octets + entry.copy->octets;
	return order->octets < order->options.memory || spill(order, error);
}

/* Entries become the first of each run, or all there are in reverse, to be taken from the end. */
static bool
finish(struct order *order, GError **error)
{
	struct entry entry;
	g_autoptr(GError) wrong = NULL;

	order->finished = true;
	if (!order->runs->len) {
		g_array_sort_with_data(order->entries, compare_reversed, order);
		return true;
	}
	if (!spill(order, error))
		return false;
	for (guint i = 0; i < order->runs->len && !wrong; i++)
		if (read_entry(order, order->runs->pdata[i], &entry, &wrong))
			g_array_append_val(order->entries, entry);
	make_heap(order, 1);
	if (!wrong)
		return true;
	g_propagate_error(error, g_steal_pointer(&wrong));
	return false;
}

/* Its place on top of the heap goes to the next of its run. */
static struct copy *
take_merged(struct order *order, GError **error)
{
	struct entry *top = &g_array_index(order->entries, struct entry, 0);
	struct copy *copy = g_steal_pointer(&top->copy);
	struct entry next;

	if (read_entry(order, top->run, &next, error)) {
		clear_entry(top);
		*top = next;
	} else {
		g_array_remove_index_fast(order->entries, 0);
	}
	if (order->entries->len)
		sift(order, 0, 1);
	return copy;
}

static struct copy *
take_sorted(struct order *order)
{
	const guint last = order->entries->len - 1;
	struct copy *copy = g_steal_pointer(&g_array_index(order->entries, struct entry, last).copy);

	g_array_set_size(order->entries, last);
	return copy;
}

bool
order_next(struct order *order, struct copy_view *view, GError **error)
{
	g_autoptr(GError) wrong = NULL;

	if (!order->finished && !finish(order, error))
		return false;
	if (!order->entries->len || (order->options.limit && order->shown == order->options.limit))
		return false;
	g_free(order->last);
	order->last = order->runs->len ? take_merged(order, &wrong) : take_sorted(order);
	order->shown++;
	copy_view(order->last, view);
	if (!wrong)
		return true;
	g_propagate_error(error, g_steal_pointer(&wrong));
	return false;
}
