/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The daemon: command line, signals, exit status. */

#include <glib-unix.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "error.h"
#include "exporter.h"
#include "log.h"
#include "notify.h"

struct arguments {
	char *config;
	gboolean check;
	gboolean print_templates;
	gboolean version;
};

static bool
parse_arguments(int *argc, char ***argv, struct arguments *arguments, GError **error)
{
	const GOptionEntry entries[] = {
		{ "config", 'c', 0, G_OPTION_ARG_FILENAME, &arguments->config,
		  "Configuration file (default /etc/peerflow/exporter.conf)", "FILE" },
		{ "check", 0, 0, G_OPTION_ARG_NONE, &arguments->check, "Only say whether the configuration is good", NULL },
		{ "print-templates", 0, 0, G_OPTION_ARG_NONE, &arguments->print_templates,
		  "Only show what each collector will be told", NULL },
		{ "version", 0, 0, G_OPTION_ARG_NONE, &arguments->version, "Only show the version", NULL },
		G_OPTION_ENTRY_NULL,
	};
	g_autoptr(GOptionContext) context = g_option_context_new("- export the flows of this router");

	g_option_context_add_main_entries(context, entries, NULL);
	if (!g_option_context_parse(context, argc, argv, error))
		return false;
	if (*argc > 1)
		g_set_error(error, PEERFLOW_ERROR, EX_USAGE, "`%s' is no option", (*argv)[1]);
	return *argc == 1;
}

static int
fail(int status, const GError *error)
{
	g_critical("%s", error->message);
	return status;
}

static gboolean
on_stop(gpointer data)
{
	g_main_loop_quit(data);
	return G_SOURCE_CONTINUE;
}

static gboolean
on_reload(gpointer data)
{
	g_autoptr(GError) error = NULL;

	notify_service_manager("RELOADING=1");
	if (exporter_reload(data, &error))
		g_message("configuration read again");
	else
		g_warning("configuration stays as it was: %s", error->message);
	notify_service_manager("READY=1");
	return G_SOURCE_CONTINUE;
}

static int
run(const char *config)
{
	g_autoptr(GMainLoop) loop = g_main_loop_new(NULL, false);
	g_autoptr(GError) error = NULL;
	struct exporter *exporter = exporter_open(config, &error);

	if (!exporter)
		return fail(error->code, error);
	const guint signals[] = {
		g_unix_signal_add(SIGTERM, on_stop, loop),
		g_unix_signal_add(SIGINT, on_stop, loop),
		g_unix_signal_add(SIGHUP, on_reload, exporter),
	};
	notify_service_manager("READY=1");
	g_main_loop_run(loop);
	notify_service_manager("STOPPING=1");
	for (size_t i = 0; i < G_N_ELEMENTS(signals); i++)
		g_source_remove(signals[i]);
	exporter_close(exporter);
	return EXIT_SUCCESS;
}

static int
check(const struct arguments *arguments, const char *config)
{
	g_autoptr(GError) error = NULL;

	if (!exporter_check(config, arguments->print_templates ? stdout : NULL, &error))
		return fail(error->code, error);
	if (!arguments->print_templates)
		printf("%s is good\n", config);
	return EXIT_SUCCESS;
}

int
main(int argc, char **argv)
{
	struct arguments arguments = { 0 };
	g_autoptr(GError) error = NULL;

	signal(SIGPIPE, SIG_IGN);
	log_open("peerflowd");
	if (!parse_arguments(&argc, &argv, &arguments, &error))
		return fail(EX_USAGE, error);
	g_autofree char *config = arguments.config ? arguments.config : g_strdup("/etc/peerflow/exporter.conf");
	if (arguments.version) {
		printf("peerflowd %s\n", PEERFLOW_VERSION);
		return EXIT_SUCCESS;
	}
	if (arguments.check || arguments.print_templates)
		return check(&arguments, config);
	return run(config);
}
