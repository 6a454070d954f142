/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Whatever a file of names holds: what is made of it can be written, read again, pruned and asked. */

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "enrich/directory.h"
#include "enrich/history.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(bool good)
{
	if (!good)
		abort();
}

/* Newest first, and nothing in it that could not have been said. */
static void
check_line(const struct history_line *line, void *data)
{
	uint64_t before = UINT64_MAX;
	(void)data;

	check(line->newest);
	for (const struct history_span *span = line->newest; span; span = span->older) {
		check(span->from < before);
		before = span->from;
		for (unsigned i = 0; i < WORDS; i++)
			check(!span->word[i] || (*span->word[i] && roster_is_clean(span->word[i])));
	}
}

static void
check_directory(const struct history *history, const uint8_t *data, size_t size)
{
	const struct directory_input input = { .history = history };
	g_autoptr(directory_t) directory = directory_new(&input);
	const struct names *names = directory_names(directory);
	union address address = { .half = { 0, 0 } };

	for (size_t i = 0; i + 16 <= size && i < 1024; i++) {
		memcpy(&address, data + i, 16);
		check(directory_find(directory, 6, &address, i) < names->n_identities);
		address = (union address){ .v4 = { data[i], data[i + 1], data[i + 2], data[i + 3] } };
		check(directory_find(directory, 4, &address, UINT64_MAX - i) < names->n_identities);
	}
	for (uint32_t i = 0; i < names->n_rows; i++)
		check(directory_find(directory, names->row[i].family, &names->row[i].address, UINT64_MAX) < names->n_identities);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	g_autoptr(history_t) history = history_new(1000), again = history_new(1000);
	g_autoptr(GString) first = g_string_new(NULL);
	size_t whole;

	history_read(history, (const char *)data, size, &whole);
	check(whole <= size && (!whole || data[whole - 1] == '\n'));
	history_each(history, check_line, NULL);
	history_print(history, first);
	check(history_read(again, first->str, first->len, NULL) == 0);
	history_each(again, check_line, NULL);
	check_directory(again, data, size);
	history_prune(again, 1500);
	history_each(again, check_line, NULL);
	return 0;
}
