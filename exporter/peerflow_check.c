/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdio.h>
#include <stdlib.h>

#include "error.h"
#include "inspect.h"
#include "peerflow.h"

bool
peerflow_check(int argc, char **argv, GError **error)
{
	g_autofree char *path = NULL;
	const GOptionEntry entries[] = {
		{ "config", 'c', 0, G_OPTION_ARG_FILENAME, &path, "The daemon's configuration (" PEERFLOW_CONFIG ")", "FILE" },
		{ 0 },
	};

	if (!peerflow_options("Looks at this host and says what is well for peerflowd and what is not.", entries, argc, argv,
	                      error))
		return false;
	const unsigned wrong = inspect_host(path ? path : PEERFLOW_CONFIG, stdout);
	if (wrong)
		g_set_error(error, PEERFLOW_ERROR, EXIT_FAILURE, "%u %s wrong", wrong, wrong == 1 ? "thing is" : "things are");
	return !wrong;
}
