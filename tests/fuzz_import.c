/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "archive/import.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whatever is in the file: flows of a family, and then an end that stays one. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	g_autoptr(GError) error = NULL;
	g_autofree char *path = NULL;
	struct flow flow;
	int fd = memfd_create("import", MFD_CLOEXEC);

	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	path = g_strdup_printf("/proc/self/fd/%d", fd);
	import_is_json(path);
	struct import *import = import_open(path, &error);
	if (!import)
		abort();
	while (import_next(import, &flow, &error))
		if (error || (flow.family != 4 && flow.family != 6) || flow.flow_id)
			abort();
	if (import_next(import, &flow, NULL))
		abort();
	import_free(import);
	close(fd);
	return 0;
}
