/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ARCHIVE_SCAN_H
#define PEERFLOW_ARCHIVE_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>

#include "flow.h"
#include "gap.h"
#include "names.h"

/* Flows out of archives: directories as the daemon keeps them, and single files, also of other exporters (IPFIX, RFC
 * 5655). One archive after the other, in each file after file in the order they were written. */

struct scan_address {
	union address address;
	uint8_t family;             /* 4 or 6 */
};

struct scan_record;

struct scan_options {
	char *const *paths;         /* the archives, NULL after the last; must outlive the scan */
	uint64_t first;             /* ms since 1970: only flows that overlap first to last; a flow goes on to its stop */
	uint64_t last;              /* UINT64_MAX: no end */
	const struct scan_address *addresses;   /* only flows with one of these, before or after translation; copied */
	size_t n_addresses;         /* zero: any flow */
	uint32_t enterprise;        /* of the OWN elements in files */
	/* False: this flow is not wanted. Asked before its names are looked up, which takes longer than all else: initiator,
	 * responder and policy are zero, or are to be ignored. May be NULL. */
	bool (*wanted)(const struct flow *flow, void *data);
	/* The same of what is wanted, with names. May be NULL. */
	bool (*sure)(const struct scan_record *record, void *data);
	unsigned spared;            /* enum flow_part bits: what neither of these looks at */
	bool bare;                  /* nobody looks at that in records either, nor at names: they need not be there */
	/* A file or a part of it cannot be read: text names it, and the octet. The scan goes on behind it. May be NULL. */
	void (*trouble)(const char *text, void *data);
	/* A gap record that overlaps first to last; path is the index of its archive. May be NULL. */
	void (*gap)(const struct gap *gap, size_t path, void *data);
	void *data;
};

/* A flow, and where it was found. Everything is good until the next. */
struct scan_record {
	struct flow flow;
	const struct names *names;
	const char *ingress;        /* names of original's interfaces, or NULL */
	const char *egress;
	size_t path;                /* index of its archive */
	uint32_t domain;            /* Observation Domain id */
	const char *domain_name;    /* what that is called, or NULL */
};

struct scan_statistics {
	uint64_t files;             /* looked into */
	uint64_t files_skipped;     /* because of the time or the addresses, by their index */
	uint64_t blocks;            /* decompressed, and how many were not */
	uint64_t blocks_skipped;
	uint64_t records;           /* decoded */
	uint64_t octets;            /* read, as they lie on disk */
	uint64_t troubles;
	uint64_t earliest;          /* ms since 1970: start of the oldest record known of; zero: none */
	uint64_t latest;            /* the same of the newest end (or stop) */
};

struct scan;

/* Fails (EX_NOINPUT) if one of the paths is not there or cannot be read at all. */
struct scan *scan_open(const struct scan_options *options, GError **error);

/* False: there are no more. */
bool scan_next(struct scan *scan, struct scan_record *record);

const struct scan_statistics *scan_statistics(const struct scan *scan);
void scan_free(struct scan *scan);
typedef struct scan scan_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(scan_t, scan_free)

#endif
