/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdio.h>
#include <stdlib.h>

#include "archive/verify.h"
#include "error.h"
#include "inspect.h"
#include "peerflow.h"

static void
print_wrong(const char *text, void *data)
{
	(void)data;
	printf("wrong  %s\n", text);
}

static bool
check_archive(const char *directory, const char *head, GError **error)
{
	struct verify_result result;

	if (!verify_archive(directory, head, print_wrong, NULL, &result, error))
		return false;
	printf("%-6s %s: %" G_GUINT64_FORMAT " files with %" G_GUINT64_FORMAT " octets of messages, %" G_GUINT64_FORMAT
	       " more expired, %" G_GUINT64_FORMAT " open\n       head of the chain %s\n", result.wrong ? "" : "ok", directory,
	       result.files, result.octets, result.expired, result.open, result.head);
	if (result.wrong)
		g_set_error(error, PEERFLOW_ERROR, EX_DATAERR, "%" G_GUINT64_FORMAT " %s wrong", result.wrong,
		            result.wrong == 1 ? "thing is" : "things are");
	return !result.wrong;
}

static bool
check_host(const char *path, GError **error)
{
	const unsigned wrong = inspect_host(path, stdout);

	if (wrong)
		g_set_error(error, PEERFLOW_ERROR, EXIT_FAILURE, "%u %s wrong", wrong, wrong == 1 ? "thing is" : "things are");
	return !wrong;
}

bool
peerflow_check(int argc, char **argv, GError **error)
{
	g_autofree char *path = NULL;
	g_autofree char *archive = NULL;
	g_autofree char *head = NULL;
	const GOptionEntry entries[] = {
		{ "config", 'c', 0, G_OPTION_ARG_FILENAME, &path, "The daemon's configuration (" PEERFLOW_CONFIG ")", "FILE" },
		{ "archive", 'a', 0, G_OPTION_ARG_FILENAME, &archive, "Look at this archive instead: is it all there, and as it "
		  "was written?", "DIRECTORY" },
		{ "head", 0, 0, G_OPTION_ARG_STRING, &head, "A head its chain once had, from the daemon's log", "CHAIN" },
		{ 0 },
	};

	if (!peerflow_options("Looks at this host and says what is well for peerflowd and what is not.", entries, argc, argv,
	                      error))
		return false;
	if (head && !archive) {
		g_set_error_literal(error, PEERFLOW_ERROR, EX_USAGE, "--head goes with --archive");
		return false;
	}
	return archive ? check_archive(archive, head, error) : check_host(path ? path : PEERFLOW_CONFIG, error);
}
