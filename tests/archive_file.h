/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_TESTS_ARCHIVE_FILE_H
#define PEERFLOW_TESTS_ARCHIVE_FILE_H

#include <stdio.h>
#include <stdlib.h>

#include "encode/blocks.h"

/* Writes files as the archive has them, by the real encoder: give the flows to blocks_flow, and then blocks_flush, with
 * partial. Any error ends the program. */

static inline bool
archive_file_sink(const struct message *messages, size_t n, void *file)
{
	for (size_t i = 0; i < n; i++)
		if (fwrite(messages[i].octets, messages[i].length, 1, file) != 1) {
			perror("an archive's file");
			exit(EXIT_FAILURE);
		}
	return true;
}

/* Blocks of so many octets go to file. */
static inline struct blocks *
archive_file_blocks(FILE *file, uint32_t domain, size_t octets)
{
	g_autoptr(template_file_t) template = template_file_load(SOURCE_DIR "/templates/archive.template", NULL);
	const struct blocks_options options = {
		.file = template, .domain = domain, .enterprise = 32473, .octets = octets, .sink = archive_file_sink,
		.data = file,
	};
	struct blocks *blocks = template ? blocks_new(&options, NULL) : NULL;

	if (!blocks) {
		fprintf(stderr, "no encoder for templates/archive.template\n");
		exit(EXIT_FAILURE);
	}
	return blocks;
}

#endif
