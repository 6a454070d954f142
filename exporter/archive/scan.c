/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "archive/scan.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "archive/reader.h"
#include "error.h"

struct file {
	char *name;
	size_t path;                /* index of its archive */
};

struct scan {
	struct scan_options options;
	struct scan_address *addresses;
	GArray *files;
	guint at;                   /* the file after the one that is open */
	FILE *in;
	struct reader *reader;
	struct scan_statistics statistics;
};

static void
clear_file(gpointer file)
{
	g_free(((struct file *)file)->name);
}

static int
compare_names(gconstpointer a, gconstpointer b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void
add_file(struct scan *scan, char *name, size_t path)
{
	const struct file file = { name, path };

	g_array_append_val(scan->files, file);
}

static bool
add_directory(struct scan *scan, size_t path, GError **error)
{
	const char *directory = scan->options.paths[path], *name;
	g_autoptr(GDir) dir = g_dir_open(directory, 0, error);
	g_autoptr(GPtrArray) names = g_ptr_array_new();

	if (!dir)
		return false;
	while ((name = g_dir_read_name(dir)))
		if (g_str_has_suffix(name, ".ipfix") || g_str_has_suffix(name, ".ipfix.part"))
			g_ptr_array_add(names, g_build_filename(directory, name, NULL));
	g_ptr_array_sort(names, compare_names);
	for (guint i = 0; i < names->len; i++)
		add_file(scan, names->pdata[i], path);
	return true;
}

static bool
add_path(struct scan *scan, size_t path, GError **error)
{
	const char *name = scan->options.paths[path];
	struct stat status;

	if (stat(name, &status) < 0) {
		g_set_error(error, PEERFLOW_ERROR, EX_NOINPUT, "%s: %s", name, g_strerror(errno));
		return false;
	}
	if (S_ISDIR(status.st_mode))
		return add_directory(scan, path, error);
	add_file(scan, g_strdup(name), path);
	return true;
}

struct scan *
scan_open(const struct scan_options *options, GError **error)
{
	g_autoptr(scan_t) scan = g_new0(struct scan, 1);

	scan->options = *options;
	scan->files = g_array_new(false, false, sizeof(struct file));
	g_array_set_clear_func(scan->files, clear_file);
	scan->addresses = g_memdup2(options->addresses, options->n_addresses * sizeof *options->addresses);
	for (size_t i = 0; options->paths[i]; i++)
		if (!add_path(scan, i, error))
			return NULL;
	return g_steal_pointer(&scan);
}

static void
close_file(struct scan *scan)
{
	g_clear_pointer(&scan->reader, reader_free);
	g_clear_pointer(&scan->in, fclose);
}

static void
tell_trouble(struct scan *scan, const char *text)
{
	scan->statistics.troubles++;
	if (scan->options.trouble)
		scan->options.trouble(text, scan->options.data);
}

/* False: there are no more. */
static bool
open_file(struct scan *scan)
{
	while (scan->at < scan->files->len) {
		const char *name = g_array_index(scan->files, struct file, scan->at++).name;
		scan->in = fopen(name, "re");
		if (scan->in) {
			scan->reader = reader_new(scan->in, name, scan->options.enterprise);
			scan->statistics.files++;
			return true;
		}
		g_autofree char *text = g_strdup_printf("%s: %s", name, g_strerror(errno));
		tell_trouble(scan, text);
	}
	return false;
}

static bool
has_address(const struct flow *flow, const struct scan_address *wanted)
{
	const union address *const all[] = { &flow->original.source, &flow->original.destination, &flow->reply.source,
	                                     &flow->reply.destination };

	for (unsigned i = 0; i < G_N_ELEMENTS(all); i++)
		if (flow->family == wanted->family && memcmp(all[i], &wanted->address, sizeof *all[i]) == 0)
			return true;
	return false;
}

static bool
is_wanted(const struct scan *scan, const struct flow *flow)
{
	if (MAX(flow->end, flow->stop) < scan->options.first || flow->start > scan->options.last)
		return false;
	for (size_t i = 0; i < scan->options.n_addresses; i++)
		if (has_address(flow, &scan->addresses[i]))
			return true;
	return !scan->options.n_addresses;
}

static void
note(struct scan_statistics *statistics, const struct flow *flow)
{
	statistics->records++;
	if (!statistics->earliest || flow->start < statistics->earliest)
		statistics->earliest = flow->start;
	statistics->latest = MAX(statistics->latest, MAX(flow->end, flow->stop));
}

static void
fill(struct scan *scan, const struct record *from, struct scan_record *record)
{
	record->flow = from->flow;
	record->names = from->names;
	record->ingress = reader_interface(scan->reader, from->flow.original.ingress);
	record->egress = reader_interface(scan->reader, from->flow.original.egress);
	record->path = g_array_index(scan->files, struct file, scan->at - 1).path;
	record->domain = 0;
	record->domain_name = NULL;
}

bool
scan_next(struct scan *scan, struct scan_record *record)
{
	g_autoptr(GError) error = NULL;
	struct record from;

	while (scan->reader || open_file(scan)) {
		const enum reader_result result = reader_next(scan->reader, &from, &error);
		if (result == READER_FLOW) {
			note(&scan->statistics, &from.flow);
			if (!is_wanted(scan, &from.flow))
				continue;
			fill(scan, &from, record);
			return true;
		}
		if (result == READER_ERROR)
			tell_trouble(scan, error->message);
		g_clear_error(&error);
		close_file(scan);
	}
	return false;
}

const struct scan_statistics *
scan_statistics(const struct scan *scan)
{
	return &scan->statistics;
}

void
scan_free(struct scan *scan)
{
	if (!scan)
		return;
	close_file(scan);
	g_array_unref(scan->files);
	g_free(scan->addresses);
	g_free(scan);
}
