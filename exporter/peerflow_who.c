/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "archive/file.h"
#include "archive/index.h"
#include "audit/answer.h"
#include "audit/holder.h"
#include "audit/when.h"
#include "error.h"
#include "ledger.h"
#include "peerflow.h"
#include "peerflow_archive.h"
#include "present.h"

enum {
	ADDRESSES_MOST = 256,           /* with more of them every record is looked at */
	PUT_OCTETS = 64 << 10,
};

/* A gap of the archive. */
struct hole {
	struct gap gap;
	size_t path;                    /* index of its archive */
};

struct who {
	struct peerflow_archive archive;
	char **words;
	char *protocol;
	char *format_name;
	gboolean batch;
	gboolean live;
	enum print_format format;
	GArray *questions;              /* struct holder_question */
	struct holders *holders;
	GArray *holes;                  /* struct hole */
	GPtrArray *doubts;              /* sentences that concern every answer */
	GArray *begins;                 /* uint64_t, of each archive: ms since 1970, or zero: not known */
	uint64_t earliest;              /* of all records, ms since 1970; zero: there are none */
	uint64_t latest;
	uint64_t troubles;
};

static void
who_clear(struct who *who)
{
	peerflow_archive_clear(&who->archive);
	g_strfreev(who->words);
	g_free(who->protocol);
	g_free(who->format_name);
	g_clear_pointer(&who->questions, g_array_unref);
	g_clear_pointer(&who->holes, g_array_unref);
	g_clear_pointer(&who->begins, g_array_unref);
	g_clear_pointer(&who->doubts, g_ptr_array_unref);
	holders_free(who->holders);
}
typedef struct who who_t;
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(who_t, who_clear)

/* Questions */

static bool
add_question(struct who *who, const char *address, const char *protocol, const struct when *at, GError **error)
{
	struct holder_question question;

	if (!holder_parse(address, protocol, &question, error))
		return false;
	if (at->first > who->archive.now) {
		g_set_error(error, PEERFLOW_ERROR, EX_USAGE, "nobody knows yet who will have %s at a time that is still to come",
		            address);
		return false;
	}
	question.first = at->first;
	question.last = MIN(at->last, who->archive.now);
	g_array_append_val(who->questions, question);
	return true;
}

/* ADDRESS[:PORT] PROTOCOL [TIME]; a time may have spaces in it. */
static bool
read_line(struct who *who, char *line, GError **error)
{
	struct when at = { who->archive.now, who->archive.now };
	g_auto(GStrv) words = NULL;

	g_strdelimit(line, "\t", ' ');
	g_strstrip(line);
	if (!*line || *line == '#')
		return true;
	words = g_strsplit(line, " ", 2);
	char *rest = words[1] ? g_strchug(words[1]) : NULL;
	char *time = rest ? strchr(rest, ' ') : NULL;
	if (time)
		*time++ = '\0';
	if (time && !when_parse(g_strchug(time), who->archive.now, &at, error))
		return false;
	return add_question(who, words[0], g_strcmp0(rest, "-") ? rest : NULL, &at, error);
}

static bool
read_batch(struct who *who, GError **error)
{
	g_autofree char *line = NULL;
	size_t size = 0;

	for (unsigned number = 1; getline(&line, &size, stdin) >= 0; number++)
		if (!read_line(who, line, error)) {
			g_prefix_error(error, "standard input, line %u: ", number);
			return false;
		}
	if (!ferror(stdin))
		return true;
	g_set_error(error, PEERFLOW_ERROR, EX_IOERR, "standard input cannot be read");
	return false;
}

static bool
read_questions(struct who *who, GError **error)
{
	struct when at = { who->archive.first, who->archive.last };

	who->questions = g_array_new(false, false, sizeof(struct holder_question));
	if (!who->archive.at)
		at.first = at.last = who->archive.now;
	if (who->batch && (who->words || who->protocol || who->archive.at))
		g_set_error(error, PEERFLOW_ERROR, EX_USAGE, "--batch reads addresses, protocols and times from standard input: "
		            "none of them may be given here");
	else if (who->batch)
		return read_batch(who, error);
	else if (!who->words || who->words[1])
		g_set_error(error, PEERFLOW_ERROR, EX_USAGE, "%s: who had ADDRESS[:PORT]?",
		            who->words ? "more than one address" : "no address");
	else
		return add_question(who, who->words[0], who->protocol, &at, error);
	return false;
}

/* Looking */

static void
on_present(const struct flow *flow, const struct names *names, void *data)
{
	const struct print_flow entry = { .flow = flow, .names = names };

	holders_take_entry(data, &entry);
}

/* Before the archive: a flow that ends meanwhile is in both, and none is missed. */
static void
look_at_table(struct who *who)
{
	const struct present_options options = { who->archive.interface, who->archive.state_directory };
	g_autoptr(GError) error = NULL;

	if (!who->archive.own && !who->live)
		return;
	if (!present_each(&options, on_present, who->holders, &error))
		g_ptr_array_add(who->doubts, g_strdup(error->message));
}

/* Is it about what an archive has? What a collector missed is not, nor what was only told later or counted wrongly. */
static bool
is_hole(const struct gap *gap)
{
	return !gap->collector[0] && gap->kind != GAP_POOL && gap->kind != GAP_RESET_COUNTERS;
}

/* Of a gap that grows the archive has each piece. */
static bool
grow(struct hole *hole, const struct hole *piece)
{
	struct gap *gap = &hole->gap;

	if (hole->path != piece->path || gap->kind != piece->gap.kind || piece->gap.first > gap->last
	    || piece->gap.last < gap->first)
		return false;
	gap->first = MIN(gap->first, piece->gap.first);
	gap->last = MAX(gap->last, piece->gap.last);
	gap->flows += piece->gap.flows;
	gap->packets += piece->gap.packets;
	gap->octets += piece->gap.octets;
	gap->unknown |= piece->gap.unknown;
	return true;
}

static void
on_gap(const struct gap *gap, size_t path, void *data)
{
	struct who *who = data;
	const struct hole piece = { *gap, path };

	if (!is_hole(gap))
		return;
	for (guint i = who->holes->len; i; i--)
		if (grow(&g_array_index(who->holes, struct hole, i - 1), &piece))
			return;
	g_array_append_val(who->holes, piece);
}

static gint
compare_addresses(gconstpointer a, gconstpointer b)
{
	const struct holder_address *one = a, *other = b;

	return one->family != other->family ? one->family - other->family
	       : memcmp(&one->address, &other->address, sizeof one->address);
}

/* Each once. */
static void
sort_addresses(GArray *addresses)
{
	guint kept = 0;

	g_array_sort(addresses, compare_addresses);
	for (guint i = 0; i < addresses->len; i++) {
		const struct holder_address *one = &g_array_index(addresses, struct holder_address, i);
		if (!kept || compare_addresses(one, &g_array_index(addresses, struct holder_address, kept - 1)))
			g_array_index(addresses, struct holder_address, kept++) = *one;
	}
	g_array_set_size(addresses, kept);
}

static struct scan *
open_scan(struct who *who, uint64_t first, uint64_t last, GArray *addresses, bool gaps, GError **error)
{
	g_autoptr(GArray) wanted = g_array_new(false, true, sizeof(struct scan_address));
	struct scan_options options = { .gap = gaps ? on_gap : NULL, .data = who };

	sort_addresses(addresses);
	for (guint i = 0; i < addresses->len && addresses->len <= ADDRESSES_MOST; i++) {
		const struct holder_address *one = &g_array_index(addresses, struct holder_address, i);
		const struct scan_address address = { one->address, one->family };
		g_array_append_val(wanted, address);
	}
	options.addresses = (const struct scan_address *)(void *)wanted->data;
	options.n_addresses = wanted->len;
	who->archive.first = first;
	who->archive.last = last;
	return peerflow_archive_scan(&who->archive, &options, error);
}

static void
take_statistics(struct who *who, const struct scan *scan)
{
	const struct scan_statistics *statistics = scan_statistics(scan);

	who->earliest = statistics->earliest;
	who->latest = statistics->latest;
	who->troubles += statistics->troubles;
}

/* A flow whose end was lost had been told of a moment before, if it was not younger than that: what was lost later may
 * have been there at the time in question. */
static uint64_t
reach(const struct who *who, uint64_t last)
{
	const uint64_t further = who->archive.active_timeout * UINT64_C(1000);

	return last < UINT64_MAX - further ? last + further : UINT64_MAX;
}

static bool
look_for_holders(struct who *who, GError **error)
{
	g_autoptr(GArray) addresses = g_array_new(false, true, sizeof(struct holder_address));
	uint64_t first = UINT64_MAX, last = 0;
	struct scan_record record;

	for (guint i = 0; i < who->questions->len; i++) {
		const struct holder_question *question = &g_array_index(who->questions, struct holder_question, i);
		const struct holder_address address = { question->address, question->family };
		g_array_append_val(addresses, address);
		first = MIN(first, question->first);
		last = MAX(last, question->last);
	}
	g_autoptr(scan_t) scan = open_scan(who, first, reach(who, last), addresses, true, error);
	while (scan && scan_next(scan, &record)) {
		const struct print_flow flow = peerflow_archive_flow(&record);
		holders_take_record(who->holders, &flow);
	}
	if (scan)
		take_statistics(who, scan);
	return scan;
}

/* Of those that were found, what was told before and after the time in question. */
static bool
look_for_rest(struct who *who, GError **error)
{
	g_autoptr(GArray) addresses = g_array_new(false, true, sizeof(struct holder_address));
	struct scan_record record;
	uint64_t first, last;

	holders_missing(who->holders, &first, &last, addresses);
	g_autoptr(scan_t) scan = open_scan(who, first, last, addresses, false, error);
	while (scan && holders_are_missing(who->holders) && scan_next(scan, &record)) {
		const struct print_flow flow = peerflow_archive_flow(&record);
		holders_take_record(who->holders, &flow);
	}
	return scan;
}

/* When the flows that a compressed file has first were over, at the latest: whoever wrote it knew of flows by then.
 * Zero: that is not known. */
static uint64_t
first_ends(const char *path)
{
	const int fd = open(path, O_RDONLY | O_CLOEXEC);
	g_autoptr(index_t) index = fd < 0 ? NULL : index_read(fd, NULL);
	uint64_t least = UINT64_MAX;

	for (size_t i = 0; index && i < index_blocks(index); i++) {
		const struct index_block *block = index_block(index, i);
		if (block->records)
			least = MIN(least, block->last);
	}
	if (fd >= 0)
		close(fd);
	return least == UINT64_MAX ? 0 : least;
}

/* When the oldest file began; before that, flows may have ended of which nothing is kept. Starts of records do not tell:
 * a flow in the oldest file may have lasted for days. But what is in it may be older than the file. */
static uint64_t
begin_of(const char *path)
{
	g_autoptr(GDir) directory = g_dir_open(path, 0, NULL);
	g_autofree char *base = g_path_get_basename(path);
	struct file_name oldest = { .number = UINT64_MAX }, name;

	for (const char *text = base; text; text = directory ? g_dir_read_name(directory) : NULL)
		if (file_name_parse(text, &name) && name.number < oldest.number)
			oldest = name;
	if (!file_is_packed(oldest.kind) || !oldest.begin)
		return oldest.begin;
	char called[FILE_NAME_OCTETS];
	file_name_print(&oldest, called);
	g_autofree char *full = directory ? g_build_filename(path, called, NULL) : g_strdup(path);
	const uint64_t ends = first_ends(full);
	return ends ? MIN(oldest.begin, ends) : oldest.begin;
}

static void
find_begins(struct who *who)
{
	who->begins = g_array_new(false, false, sizeof(uint64_t));
	for (char *const *path = who->archive.paths; *path; path++) {
		const uint64_t begin = begin_of(*path);
		g_array_append_val(who->begins, begin);
	}
}

static bool
look_into_archive(struct who *who, GError **error)
{
	find_begins(who);
	if (who->archive.own && !g_file_test(who->archive.paths[0], G_FILE_TEST_EXISTS)) {
		g_ptr_array_add(who->doubts, g_strdup_printf("there is no archive %s: only flows that are not over yet are known",
		                                             who->archive.paths[0]));
		return true;
	}
	if (!look_for_holders(who, error))
		return false;
	if (!who->earliest)
		g_ptr_array_add(who->doubts, g_strdup("there is nothing in the archive"));
	if (who->troubles)
		g_ptr_array_add(who->doubts, g_strdup("a part of the archive could not be read"));
	return !holders_are_missing(who->holders) || look_for_rest(who, error);
}

/* Answers */

static void
doubt(GPtrArray *doubts, const char *text, uint64_t first, uint64_t last)
{
	GString *sentence = g_string_new(text);

	g_string_append(sentence, " (");
	answer_put_time(sentence, first, last);
	g_string_append_c(sentence, ')');
	g_ptr_array_add(doubts, g_string_free(sentence, false));
}

static void
doubt_period(const struct who *who, const struct holder_question *question, GPtrArray *doubts)
{
	bool known = false;

	for (guint i = 0; i < who->begins->len; i++) {
		const uint64_t begin = g_array_index(who->begins, uint64_t, i);
		g_autofree char *text = g_strdup_printf("%s does not reach back so far; it begins", who->archive.paths[i]);
		known |= begin;
		if (question->first < begin)
			doubt(doubts, text, begin, begin);
	}
	if (!known && who->earliest && question->last < who->earliest)
		doubt(doubts, "the archive has nothing of so early a time; it begins", who->earliest, who->earliest);
	if (who->latest && !who->archive.own && question->last > who->latest)
		doubt(doubts, "the archive has nothing of so late a time; it ends", who->latest, who->latest);
}

static GPtrArray *
doubts_about(const struct who *who, const struct holder_question *question)
{
	GPtrArray *doubts = g_ptr_array_new_with_free_func(g_free);

	for (guint i = 0; i < who->doubts->len; i++)
		g_ptr_array_add(doubts, g_strdup(who->doubts->pdata[i]));
	doubt_period(who, question, doubts);
	for (guint i = 0; i < who->holes->len; i++) {
		const struct gap *gap = &g_array_index(who->holes, struct hole, i).gap;
		g_autofree char *text = gap_text(gap);
		if (gap->last >= question->first && gap->first <= reach(who, question->last))
			doubt(doubts, text, gap->first, gap->last);
	}
	g_ptr_array_add(doubts, NULL);
	return doubts;
}

static guint
put_answers(const struct who *who, guint n, struct answers *answers, GString *out)
{
	const struct holder_question *question = &g_array_index(who->questions, struct holder_question, n);
	g_autoptr(GArray) found = holders_answers(who->holders, n);
	g_autoptr(GPtrArray) doubts = doubts_about(who, question);
	const struct answer_sheet sheet = {
		.question = question,
		.answer = (const struct holder_answer *)(void *)found->data,
		.n_answers = found->len,
		.doubts = (char *const *)doubts->pdata,
	};

	answers_put(answers, &sheet, out);
	return found->len;
}

static bool
print_answers(const struct who *who, GError **error)
{
	g_autoptr(answers_t) answers = answers_new(who->format);
	g_autoptr(GString) out = g_string_new(NULL);
	guint found = 0;

	answers_header(answers, out);
	for (guint i = 0; i < who->questions->len; i++) {
		found += put_answers(who, i, answers, out);
		if (out->len < PUT_OCTETS && i + 1 < who->questions->len)
			continue;
		if (!peerflow_put(out, error))
			return false;
		g_string_truncate(out, 0);
	}
	if (who->troubles)
		g_set_error(error, PEERFLOW_ERROR, EX_DATAERR, "a part of the archive could not be read");
	else if (!found)
		g_set_error_literal(error, PEERFLOW_ERROR, EXIT_FAILURE, "");
	return found && !who->troubles;
}

static bool
who_run(struct who *who, GError **error)
{
	if (who->format_name && !print_format_find(who->format_name, &who->format)) {
		g_set_error(error, PEERFLOW_ERROR, EX_USAGE, "unknown format \"%s\": table, csv or json", who->format_name);
		return false;
	}
	if (!peerflow_archive_prepare(&who->archive, error) || !read_questions(who, error))
		return false;
	who->holders = holders_new((const struct holder_question *)(void *)who->questions->data, who->questions->len);
	who->holes = g_array_new(false, false, sizeof(struct hole));
	who->doubts = g_ptr_array_new_with_free_func(g_free);
	look_at_table(who);
	return look_into_archive(who, error) && print_answers(who, error);
}

bool
peerflow_who(int argc, char **argv, GError **error)
{
	g_auto(who_t) who = { 0 };
	const GOptionEntry entries[] = {
		{ "at", 't', 0, G_OPTION_ARG_STRING, &who.archive.at, "When, such as \"2026-11-20 14:03:22\" (now)", "TIME" },
		{ "protocol", 'p', 0, G_OPTION_ARG_STRING, &who.protocol, "tcp, udp, icmp or another (any)", "PROTOCOL" },
		{ "batch", 'b', 0, G_OPTION_ARG_NONE, &who.batch,
		  "Read many questions from standard input, a line ADDRESS[:PORT] PROTOCOL [TIME] each", NULL },
		{ "live", 'l', 0, G_OPTION_ARG_NONE, &who.live, "Ask the kernel, too, though --archive is given", NULL },
		{ "format", 'f', 0, G_OPTION_ARG_STRING, &who.format_name, "table, csv or json (table)", "FORMAT" },
		PEERFLOW_ARCHIVE_OPTIONS(&who.archive),
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_STRING_ARRAY, &who.words, NULL, "ADDRESS[:PORT]" },
		{ 0 },
	};

	return peerflow_options("Says which connection held an address, or an address and port, at a time: before translation "
	                        "or after it.", entries, argc, argv, error) && who_run(&who, error);
}
