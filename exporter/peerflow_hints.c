/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <unistd.h>

#include "config.h"
#include "error.h"
#include "hints.h"
#include "peerflow.h"

enum { REVERSE_ENTERPRISE = 29305 };    /* RFC 5103: nobody's own */

/* The operator's enterprise number, or zero: there is none. Hints can be had where no daemon is configured, too. */
static bool
read_enterprise(const char *path, uint32_t *enterprise, GError **error)
{
	if (!path && access(PEERFLOW_CONFIG, F_OK) != 0)
		return true;
	g_autoptr(config_t) config = config_load(path ? path : PEERFLOW_CONFIG, error);
	*enterprise = config ? config->enterprise_number : 0;
	return config;
}

static bool
hints_run(char *const *collector, const char *path, int64_t number, GError **error)
{
	g_autoptr(GString) text = g_string_new(NULL);
	uint32_t enterprise = number;

	if (!collector || !*collector)
		hints_list(text);
	else if (collector[1])
		g_set_error(error, PEERFLOW_ERROR, EX_USAGE, "unexpected argument \"%s\"", collector[1]);
	else if (number || read_enterprise(path, &enterprise, error))
		hints_print(*collector, enterprise, text, error);
	return !*error && peerflow_put(text, error);
}

bool
peerflow_hints(int argc, char **argv, GError **error)
{
	g_auto(GStrv) collector = NULL;
	g_autofree char *path = NULL;
	gint64 number = 0;
	const GOptionEntry entries[] = {
		{ "config", 'c', 0, G_OPTION_ARG_FILENAME, &path, "Whose enterprise-number is meant (" PEERFLOW_CONFIG ")", "FILE" },
		{ "enterprise", 'e', 0, G_OPTION_ARG_INT64, &number, "This number instead", "N" },
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_STRING_ARRAY, &collector, NULL, "[COLLECTOR]" },
		{ 0 },
	};

	if (!peerflow_options("Prints what a collector must be told to show what peerflow sends; without a COLLECTOR, which "
	                      "there are.", entries, argc, argv, error))
		return false;
	if (number < 0 || number > UINT32_MAX || number == REVERSE_ENTERPRISE) {
		g_set_error(error, PEERFLOW_ERROR, EX_USAGE, "%" G_GINT64_FORMAT " is not the number of an enterprise", number);
		return false;
	}
	return hints_run(collector, path, number, error);
}
