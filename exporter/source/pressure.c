/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "source/pressure.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TABLE_MOST = 65536 };        /* octets: some hundreds of processors */

static const uint64_t second = 1000000000;
static const uint64_t fifth_of_second = 200000000;

void
pressure_open(struct pressure *pressure)
{
	*pressure = (struct pressure){ .fd = open("/proc/net/stat/nf_conntrack", O_RDONLY | O_CLOEXEC) };
}

void
pressure_close(struct pressure *pressure)
{
	if (pressure->fd >= 0)
		close(pressure->fd);
	pressure->fd = -1;
}

static const char *
next_word(const char *at)
{
	at += strspn(at, " ");
	return *at == '\0' || *at == '\n' ? NULL : at;
}

/* Which word of the first line it is, from zero; -1: none. */
static int
find_column(const char *table, const char *name)
{
	int column = 0;

	for (const char *word = next_word(table); word; column++) {
		const size_t length = strcspn(word, " \n");
		if (length == strlen(name) && memcmp(word, name, length) == 0)
			return column;
		word = next_word(word + length);
	}
	return -1;
}

bool
pressure_sum_column(const char *table, const char *name, uint64_t *sum)
{
	const int column = find_column(table, name);

	*sum = 0;
	if (column < 0)
		return false;
	for (const char *line = strchr(table, '\n'); line && line[1]; line = strchr(line + 1, '\n')) {
		const char *word = next_word(line + 1);
		for (int i = 0; word && i < column; i++)
			word = next_word(word + strcspn(word, " \n"));
		if (word)
			*sum += strtoull(word, NULL, 16);
	}
	return true;
}

static bool
read_early_drops(const struct pressure *pressure, uint64_t *drops)
{
	static char table[TABLE_MOST];
	size_t length = 0;
	ssize_t n;

	if (pressure->fd < 0)
		return false;
	while (length < sizeof table - 1 && (n = pread(pressure->fd, table + length, sizeof table - 1 - length, length)) > 0)
		length += n;
	table[length] = '\0';
	return pressure_sum_column(table, "early_drop", drops);
}

void
pressure_look(struct pressure *pressure, uint64_t now)
{
	uint64_t drops;

	if (pressure->looked_at && now - pressure->looked_at < fifth_of_second)
		return;
	pressure->looked_at = now;
	if (!read_early_drops(pressure, &drops))
		return;
	/* The first answer only says where the count stands. Each processor's count has 32 bits, so the sum may fall. */
	if (pressure->counted_at && drops != pressure->early_drops)
		pressure->risen_since = pressure->counted_at;
	pressure->early_drops = drops;
	pressure->counted_at = now;
}

bool
pressure_rising(struct pressure *pressure, uint64_t now)
{
	pressure_look(pressure, now);
	return pressure->risen_since && now - pressure->risen_since <= second;
}
