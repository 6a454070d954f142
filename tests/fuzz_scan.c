/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "archive/reader.h"
#include "archive/scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* libfixbuf remarks on lengths of elements that nobody asked it for. */
static void
keep_silent(const char *domain, GLogLevelFlags level, const char *text, void *data)
{
	(void)domain, (void)text, (void)data;
	if ((level & G_LOG_LEVEL_MASK) < G_LOG_LEVEL_MESSAGE)
		abort();
}

static void
take_trouble(const char *text, void *data)
{
	if (!strlen(text))
		abort();
	++*(uint64_t *)data;
}

static void
take_gap(const struct gap *gap, size_t path, void *data)
{
	(void)data;
	if (gap->kind >= GAP_KINDS || path)
		abort();
}

/* Whoever uses a name may use it as a string. */
static void
check_names(const struct scan_record *record)
{
	const struct names *names = record->names;
	const struct flow *flow = &record->flow;

	if (flow->initiator >= names->n_identities || flow->responder >= names->n_identities || flow->policy >= names->count)
		abort();
	for (unsigned word = 0; word < WORDS; word++)
		if (names_word(names, flow->initiator, word) >= names->count ||
		    names_word(names, flow->responder, word) >= names->count)
			abort();
	for (uint32_t i = 0; i < names->count; i++)
		if (strlen(names->name[i].text) < names->name[i].length || !names->name[i].length)
			abort();
}

/* A file may hold anything, plain or compressed; a scan comes to an end, and says what it could not read. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const int fd = memfd_create("fuzz", MFD_CLOEXEC);
	char path[32];
	char *paths[] = { path, NULL };
	uint64_t troubles = 0;
	const struct scan_options options = { .paths = paths, .last = UINT64_MAX, .enterprise = READER_LOCAL_ENTERPRISE,
	                                      .trouble = take_trouble, .gap = take_gap, .data = &troubles };
	struct scan_record record;

	g_log_set_default_handler(keep_silent, NULL);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	struct scan *scan = scan_open(&options, NULL);
	if (!scan)
		abort();
	while (scan_next(scan, &record))
		check_names(&record);
	if (scan_statistics(scan)->troubles != troubles)
		abort();
	scan_free(scan);
	close(fd);
	return 0;
}
