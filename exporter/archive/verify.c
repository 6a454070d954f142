/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "archive/verify.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "archive/chain.h"
#include "archive/check.h"
#include "archive/content.h"
#include "archive/file.h"
#include "error.h"

struct verify {
	const char *directory;
	const char *head;
	bool head_found;
	verify_told *told;
	void *data;
	struct verify_result *result;
	GHashTable *files;          /* struct chain_line by number, of files that are to be there */
	uint64_t last;              /* number of the last file of the chain */
};

G_GNUC_PRINTF(2, 3)
static void
tell(struct verify *verify, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	g_autofree char *text = g_strdup_vprintf(format, arguments);
	va_end(arguments);
	verify->result->wrong++;
	verify->told(text, verify->data);
}

/* The chain. */

static void
take_line(const struct chain_line *line, uint64_t row, void *data)
{
	struct verify *verify = data;
	struct verify_result *result = verify->result;

	if (!line) {
		tell(verify, "chain: line %" G_GUINT64_FORMAT " is none", row);
		return;
	}
	if (!chain_follows(line, result->head))
		tell(verify, "chain: line %" G_GUINT64_FORMAT " does not follow from the one before: one of the two was changed, "
		     "or lines between them were removed", row);
	memcpy(result->head, line->chain, sizeof result->head);
	verify->head_found |= verify->head && g_ascii_strcasecmp(line->chain, verify->head) == 0;
	const gpointer number = GSIZE_TO_POINTER(line->name.number);
	if (line->what == CHAIN_FILE) {
		verify->last = MAX(verify->last, line->name.number);
		g_hash_table_insert(verify->files, number, g_memdup2(line, sizeof *line));
	} else {
		g_hash_table_remove(verify->files, number);
		result->expired++;
	}
}

static int
open_chain(const struct verify *verify, GError **error)
{
	g_autofree char *path = g_build_filename(verify->directory, "chain", NULL);
	const int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		g_set_error(error, PEERFLOW_ERROR, errno == ENOENT ? EX_NOINPUT : errno == EACCES ? EX_NOPERM : EX_IOERR, "%s: %s",
		            path, g_strerror(errno));
	return fd;
}

static bool
read_chain(struct verify *verify, chain_each *each, GError **error)
{
	const int fd = open_chain(verify, error);
	uint64_t octets;

	if (fd < 0)
		return false;
	const bool good = chain_read(fd, each, verify, &octets);
	if (!good)
		g_set_error(error, PEERFLOW_ERROR, EX_IOERR, "%s/chain: %s", verify->directory, g_strerror(errno));
	close(fd);
	return good;
}

/* One file. */

static int
open_file(const struct verify *verify, const struct file_name *name, enum file_kind kind, char text[static FILE_NAME_OCTETS])
{
	const struct file_name one = { name->begin, name->number, kind };

	file_name_print(&one, text);
	g_autofree char *path = g_build_filename(verify->directory, text, NULL);
	return open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
}

/* It may be compressed while we look for it: then it is under another name as soon as not under the plain one. */
static int
find_file(const struct verify *verify, const struct file_name *name, enum file_kind *kind,
          char text[static FILE_NAME_OCTETS])
{
	static const enum file_kind order[] = { FILE_COLUMNS, FILE_ZSTD, FILE_PLAIN, FILE_COLUMNS, FILE_ZSTD };
	int fd = -1;

	for (unsigned i = 0; i < G_N_ELEMENTS(order) && fd < 0; i++) {
		*kind = order[i];
		fd = open_file(verify, name, *kind, text);
		if (fd < 0 && errno != ENOENT)
			break;
	}
	return fd;
}

struct telling {
	struct verify *verify;
	const char *name;
};

static void
tell_content(const char *text, void *data)
{
	const struct telling *telling = data;

	tell(telling->verify, "%s: %s", telling->name, text);
}

static void
verify_content(struct verify *verify, const struct chain_line *line, int fd, enum file_kind kind, const char *name)
{
	struct telling telling = { verify, name };
	struct content content;

	const uint64_t before = verify->result->wrong;
	if (file_is_packed(kind))
		content_read_packed(fd, &content, tell_content, &telling);
	else
		content_read_plain(fd, &content, tell_content, &telling);
	verify->result->octets += content.octets;
	/* Of what cannot be read that much was said. */
	if (file_is_packed(kind) && verify->result->wrong != before)
		return;
	if (content.octets != line->octets)
		tell(verify, "%s: has %" G_GUINT64_FORMAT " octets, and had %" G_GUINT64_FORMAT " when it was closed", name,
		     content.octets, line->octets);
	else if (strcmp(content.sum, line->sum) != 0)
		tell(verify, "%s: was changed: its sum is not the one it had when it was closed", name);
}

/* False if it is not there. */
static bool
verify_file(struct verify *verify, const struct chain_line *line)
{
	char name[FILE_NAME_OCTETS];
	enum file_kind kind;

	const int fd = find_file(verify, &line->name, &kind, name);
	if (fd < 0 && errno == ENOENT)
		return false;
	if (fd < 0) {
		tell(verify, "%s: %s", name, g_strerror(errno));
		return true;
	}
	verify_content(verify, line, fd, kind, name);
	close(fd);
	return true;
}

static int
compare_lines(gconstpointer a, gconstpointer b)
{
	const struct chain_line *one = a, *other = b;

	return one->name.number < other->name.number ? -1 : one->name.number > other->name.number;
}

static void
verify_files(struct verify *verify)
{
	g_autoptr(GList) lines = g_list_sort(g_hash_table_get_values(verify->files), compare_lines);

	for (GList *at = lines; at; at = at->next) {
		const struct chain_line *line = at->data;
		if (verify_file(verify, line))
			g_hash_table_remove(verify->files, GSIZE_TO_POINTER(line->name.number));
	}
}

/* Retention may have removed a file since the chain was read; then there is a line by now. */
static void
forget_expired(const struct chain_line *line, uint64_t row, void *data)
{
	struct verify *verify = data;
	(void)row;

	if (line && line->what != CHAIN_FILE && g_hash_table_remove(verify->files, GSIZE_TO_POINTER(line->name.number)))
		verify->result->expired++;
}

static void
tell_missing(struct verify *verify)
{
	g_autoptr(GList) lines = g_list_sort(g_hash_table_get_values(verify->files), compare_lines);
	char text[FILE_NAME_OCTETS];

	for (GList *at = lines; at; at = at->next) {
		const struct chain_line *line = at->data;
		file_name_print(&line->name, text);
		tell(verify, "%s: is not there: somebody removed it", text);
	}
}

/* Files that the chain does not have. */

static void
know_number(const struct chain_line *line, uint64_t row, void *data)
{
	GHashTable *known = data;
	(void)row;

	if (line)
		g_hash_table_add(known, GSIZE_TO_POINTER(line->name.number));
}

/* The one being written may be in the middle of a message. One that was closed a moment ago has no line yet. */
static void
verify_stranger(struct verify *verify, const struct file_name *name, const char *text)
{
	if (name->kind == FILE_PACKING)
		return;
	if (file_is_packed(name->kind) || name->number <= verify->last) {
		tell(verify, "%s: is not in the chain", text);
		return;
	}
	verify->result->open++;
}

static bool
verify_strangers(struct verify *verify, GError **error)
{
	g_autoptr(GHashTable) known = g_hash_table_new(NULL, NULL);
	g_autoptr(GDir) dir = g_dir_open(verify->directory, 0, NULL);
	const int fd = open_chain(verify, error);
	struct file_name name;
	const char *text;
	uint64_t octets;

	if (fd < 0)
		return false;
	const bool good = chain_read(fd, know_number, known, &octets);
	close(fd);
	while (good && dir && (text = g_dir_read_name(dir)))
		if (file_name_parse(text, &name) && !g_hash_table_contains(known, GSIZE_TO_POINTER(name.number)))
			verify_stranger(verify, &name, text);
	return true;
}

static bool
verify_all(struct verify *verify, GError **error)
{
	struct verify_result *result = verify->result;

	if (!read_chain(verify, take_line, error))
		return false;
	if (verify->head && !verify->head_found)
		tell(verify, "chain: %s is not in it: what led to it was removed or changed", verify->head);
	result->files = g_hash_table_size(verify->files);
	verify_files(verify);
	if (!read_chain(verify, forget_expired, error))
		return false;
	tell_missing(verify);
	return verify_strangers(verify, error);
}

bool
verify_archive(const char *directory, const char *head, verify_told *told, void *data, struct verify_result *result,
               GError **error)
{
	struct verify verify = {
		.directory = directory,
		.head = head,
		.head_found = head && strcmp(head, chain_origin) == 0,
		.told = told,
		.data = data,
		.result = result,
		.files = g_hash_table_new_full(NULL, NULL, NULL, g_free),
	};

	*result = (struct verify_result){ 0 };
	memcpy(result->head, chain_origin, sizeof result->head);
	const bool good = verify_all(&verify, error);
	g_hash_table_unref(verify.files);
	return good;
}
