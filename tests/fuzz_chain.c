/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Whatever the file "chain" holds, and whatever a file is called: what is a line is printed as it was read. */

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

#include "archive/chain.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(bool good)
{
	if (!good)
		abort();
}

static void
check_line(const struct chain_line *line, uint64_t row, void *data)
{
	uint64_t *rows = data;
	char text[CHAIN_LINE];

	check(row == ++*rows);
	if (!line)
		return;
	struct chain_line again, copy = *line;
	const size_t n = chain_print(&copy, chain_origin, text);
	check(chain_parse(text, n - 1, &again) && chain_follows(&again, chain_origin));
	check(chain_follows(line, chain_origin) == (strcmp(line->chain, copy.chain) == 0));
}

static void
check_name(const uint8_t *data, size_t size)
{
	g_autofree char *text = g_strndup((const char *)data, size);
	char again[FILE_NAME_OCTETS];
	struct file_name name;

	if (!file_name_parse(text, &name))
		return;
	file_name_print(&name, again);
	check(strcmp(text, again) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const int fd = memfd_create("chain", MFD_CLOEXEC);
	uint64_t rows = 0, octets;

	check(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	check(chain_read(fd, check_line, &rows, &octets));
	check(octets <= size && (!octets || data[octets - 1] == '\n'));
	check(file_whole(fd, size) <= size);
	close(fd);
	check_name(data, size);
	return 0;
}
