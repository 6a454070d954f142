/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_PEERFLOW_ARCHIVE_H
#define PEERFLOW_PEERFLOW_ARCHIVE_H

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

#include "archive/scan.h"
#include "audit/print.h"
#include "audit/query.h"

/* Which archives a command looks into and which time of them: what all commands that do have in common. */

#define PEERFLOW_ARCHIVE "/var/lib/peerflow/archive"

struct peerflow_archive {
	/* As on the command line; NULL or zero: not given. Of --from, --to and --at a command may offer what it likes. */
	char **paths;
	char *config;
	gint64 number;
	char *from;
	char *to;
	char *at;
	/* By peerflow_archive_prepare. */
	uint64_t now;               /* ms since 1970 */
	uint64_t first;             /* the period asked for: all there is, unless the command line says otherwise */
	uint64_t last;
	uint32_t enterprise;
	char *template_directory;
	bool own;                   /* nobody named one: it is the daemon's of this host */
	char *state_directory;      /* the daemon's, or NULL */
	char *interface;            /* the mesh's */
	unsigned active_timeout;    /* seconds: so often the daemon tells of a flow that goes on */
};

/* Rows of a table of options. */
#define PEERFLOW_ARCHIVE_OPTIONS(it) \
	{ "archive", 'a', 0, G_OPTION_ARG_FILENAME_ARRAY, &(it)->paths, \
	  "A directory of archived flows or one file; may be given again (the daemon's)", "PATH" }, \
	{ "config", 'c', 0, G_OPTION_ARG_FILENAME, &(it)->config, "The daemon's configuration (" PEERFLOW_CONFIG ")", \
	  "FILE" }, \
	{ "enterprise", 'e', 0, G_OPTION_ARG_INT64, &(it)->number, \
	  "Enterprise number in the archive (the configured one, else 32473)", "N" }
#define PEERFLOW_ARCHIVE_PERIOD(it) \
	{ "from", 0, 0, G_OPTION_ARG_STRING, &(it)->from, "Flows of this time and later, such as \"14:03\" or \"2h ago\"", \
	  "TIME" }, \
	{ "to", 0, 0, G_OPTION_ARG_STRING, &(it)->to, "Flows up to this time", "TIME" }
#define PEERFLOW_ARCHIVE_MOMENT(it) \
	{ "at", 0, 0, G_OPTION_ARG_STRING, &(it)->at, "Flows of this time, such as \"2026-11-20 14:03:22\"", "TIME" }

/* Reads the texts, looks into the configuration for what they leave out, and has what reads the program's output
 * go away without a signal. Fails with EX_USAGE, or with EX_CONFIG if the configuration is needed and wrong. */
bool peerflow_archive_prepare(struct peerflow_archive *archive, GError **error);

/* A scan over them: rest has the addresses, gap and data that are wanted, or is NULL. What cannot be read is told on
 * standard error as it is met. */
struct scan *peerflow_archive_scan(const struct peerflow_archive *archive, const struct scan_options *rest,
                                   GError **error);

/* The same for whoever asks a query: the addresses it names are looked up in the index, and of flows that do not match
 * no more is read than shows it. The query must outlive the scan. */
enum peerflow_use {
	PEERFLOW_SHOWN,             /* those that match, all of them */
	PEERFLOW_JOINED,            /* the query is asked of the records of a flow together: one alone need not answer it */
	PEERFLOW_COUNTED,           /* those that match, and of them nothing is looked at */
};

struct scan *peerflow_archive_ask(const struct peerflow_archive *archive, const struct query *query,
                                  enum peerflow_use use, GError **error);

/* For the end of a command: false, with error set (EX_DATAERR), if something could not be read. */
bool peerflow_archive_whole(const struct scan *scan, GError **error);

/* What printers and queries take, pointing into the record. */
struct print_flow peerflow_archive_flow(const struct scan_record *record);

void peerflow_archive_clear(struct peerflow_archive *archive);
typedef struct peerflow_archive peerflow_archive_t;
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(peerflow_archive_t, peerflow_archive_clear)

#endif
