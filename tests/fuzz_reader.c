/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "archive/reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* libfixbuf remarks on lengths of elements that nobody asked it for; more than a remark is something the reader should
 * have kept from it. */
static void
refuse_warnings(const char *domain, GLogLevelFlags level, const char *text, void *data)
{
	(void)domain, (void)text, (void)data;
	if ((level & G_LOG_LEVEL_MASK) < G_LOG_LEVEL_MESSAGE)
		abort();
}

/* The stream is a socket or a file; whatever is in it, the reader comes to an end and says which. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	FILE *in = size ? fmemopen((void *)data, size, "r") : NULL;
	g_autoptr(GError) error = NULL;
	enum reader_result result;
	struct record record;

	g_log_set_default_handler(refuse_warnings, NULL);
	if (!in)
		return 0;
	struct reader *reader = reader_new(in, "fuzz", READER_LOCAL_ENTERPRISE);
	while ((result = reader_next(reader, &record, &error)) == READER_FLOW)
		if (record.flow.initiator >= record.names->count || record.flow.responder >= record.names->count)
			abort();
	if ((result == READER_ERROR) != (error != NULL))
		abort();
	reader_interface(reader, 2);
	reader_free(reader);
	fclose(in);
	return 0;
}
