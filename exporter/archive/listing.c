/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "archive/listing.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "archive/file.h"
#include "error.h"

static void
clear_listed(gpointer listed)
{
	g_free(((struct listed *)listed)->name);
}

/* By number, so that the clock plays no part. */
static int
compare_listed(gconstpointer a, gconstpointer b)
{
	const struct listed *one = a, *other = b;

	if (one->archived != other->archived)
		return one->archived - other->archived;
	if (one->number != other->number)
		return one->number < other->number ? -1 : 1;
	return strcmp(one->name, other->name);
}

static void
list_file(GArray *files, char *path, size_t archive)
{
	struct listed listed = { .name = path, .path = archive };
	g_autofree char *base = g_path_get_basename(path);
	struct file_name name;

	listed.archived = file_name_parse(base, &name);
	if (listed.archived)
		listed.number = name.number;
	g_array_append_val(files, listed);
}

static const char *const suffixes[] = { ".ipfix.part", ".ipfix", ".ipfix.columns", ".ipfix.zst" };

/* Octets of the name without its suffix; zero: it is no file of flows. */
static size_t
stem(const char *name)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(suffixes); i++)
		if (g_str_has_suffix(name, suffixes[i]))
			return strlen(name) - strlen(suffixes[i]);
	return 0;
}

/* While a file is compressed it is there twice, and the same in both places. */
static bool
is_twin(const struct listed *one, const struct listed *other)
{
	const size_t octets = stem(one->name);

	return octets && octets == stem(other->name) && strncmp(one->name, other->name, octets) == 0;
}

static void
take_files(GArray *all, const GArray *files)
{
	for (guint i = 0; i < files->len; i++) {
		struct listed *listed = &g_array_index(files, struct listed, i);
		if (i && is_twin(listed - 1, listed))
			g_free(g_steal_pointer(&listed[-1].name));
		if (i)
			g_array_append_val(all, listed[-1]);
		if (i + 1 == files->len)
			g_array_append_val(all, *listed);
	}
}

static bool
list_directory(GArray *all, const char *directory, size_t archive, GError **error)
{
	g_autoptr(GArray) files = g_array_new(false, false, sizeof(struct listed));
	g_autoptr(GError) why = NULL;
	g_autoptr(GDir) dir = g_dir_open(directory, 0, &why);
	const char *name;

	if (!dir) {
		g_set_error(error, PEERFLOW_ERROR, EX_NOINPUT, "%s", why->message);
		return false;
	}
	while ((name = g_dir_read_name(dir)))
		if (stem(name))
			list_file(files, g_build_filename(directory, name, NULL), archive);
	g_array_sort(files, compare_listed);
	take_files(all, files);
	return true;
}

bool
listing_add(GArray *listing, const char *name, size_t archive, GError **error)
{
	struct stat status;

	if (stat(name, &status) < 0 || access(name, R_OK) < 0) {
		g_set_error(error, PEERFLOW_ERROR, EX_NOINPUT, "%s: %s", name, g_strerror(errno));
		return false;
	}
	if (S_ISDIR(status.st_mode))
		return list_directory(listing, name, archive, error);
	list_file(listing, g_strdup(name), archive);
	return true;
}

GArray *
listing_new(void)
{
	GArray *listing = g_array_new(false, false, sizeof(struct listed));

	g_array_set_clear_func(listing, clear_listed);
	return listing;
}

int
listing_open(const struct listed *listed)
{
	const size_t octets = stem(listed->name);
	int fd = open(listed->name, O_RDONLY | O_CLOEXEC);

	for (unsigned i = 0; fd < 0 && errno == ENOENT && octets && i < G_N_ELEMENTS(suffixes); i++) {
		g_autofree char *name = g_strdup_printf("%.*s%s", (int)octets, listed->name, suffixes[i]);
		fd = open(name, O_RDONLY | O_CLOEXEC);
	}
	return fd;
}
