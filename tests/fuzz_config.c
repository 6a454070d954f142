/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Whatever the file holds: either a configuration or one bounded line that says why not. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(bool good)
{
	if (!good)
		abort();
}

static void
check_config(const struct config *config)
{
	check(config->n_collectors || config->live_socket || (config->archive.enabled && config->archive.path));
	check(config->template_directory && config->interface);
	for (size_t i = 0; i < config->n_collectors; i++) {
		const struct config_collector *collector = &config->collector[i];
		check(collector->name && collector->host && collector->template_name && collector->port);
		for (size_t j = 0; j < config->n_collectors; j++)
			check(config_collector_equal(collector, &config->collector[j]) == (i == j));
	}
}

static void
check_error(const GError *error)
{
	check(g_str_has_prefix(error->message, "fuzz:") && !strpbrk(error->message, "\r\n\x1b"));
	check(g_utf8_validate(error->message, -1, NULL) && g_utf8_strlen(error->message, -1) < 600);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(config_t) config = config_parse("fuzz", (const char *)data, size, &error);

	check(!config == (error != NULL));
	if (config)
		check_config(config);
	else
		check_error(error);
	return 0;
}
