/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The command line. Each sub-command is a row of one table, from which its help and its call come; what it does is in
 * peerflow_NAME.c. */

#include "peerflow.h"

#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "error.h"

/* Set once, before the handler is. A signal may come between any look at a flag and the read that follows; a socket
 * that is shut down makes that read end, too. */
static int live_fd;
static volatile sig_atomic_t stopped;

static void
stop(int number G_GNUC_UNUSED)
{
	stopped = 1;
	shutdown(live_fd, SHUT_RDWR);
}

void
peerflow_handle_signals(int fd)
{
	struct sigaction action = { .sa_handler = stop, .sa_flags = SA_RESTART };

	live_fd = fd;
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	signal(SIGPIPE, SIG_IGN);       /* writing answers EPIPE instead */
}

/* Why there is nobody at the socket, and what to do about it. */
static const struct reason {
	int number;
	int code;
	const char *text;
} reasons[] = {
	{ ENOENT, EX_UNAVAILABLE, "no such socket: is peerflowd running, and set to listen at this path?" },
	{ ECONNREFUSED, EX_UNAVAILABLE, "nobody is listening: is peerflowd running?" },
	{ EACCES, EX_NOPERM, "permission denied: only root and the members of the socket's group may look" },
	{ EPERM, EX_NOPERM, "permission denied: only root and the members of the socket's group may look" },
};

static int
no_connection(const char *path, int number, GError **error)
{
	struct reason reason = { number, EX_UNAVAILABLE, g_strerror(number) };

	for (unsigned i = 0; i < G_N_ELEMENTS(reasons); i++)
		if (reasons[i].number == number)
			reason = reasons[i];
	g_set_error(error, PEERFLOW_ERROR, reason.code, "%s: %s", path, reason.text);
	return -1;
}

int
peerflow_connect(const char *path, GError **error)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	if (g_strlcpy(address.sun_path, path, sizeof address.sun_path) >= sizeof address.sun_path) {
		g_set_error(error, PEERFLOW_ERROR, EX_USAGE, "%s: longer than the path of a socket can be", path);
		return -1;
	}
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return no_connection(path, errno, error);
	if (!connect(fd, (const struct sockaddr *)&address, sizeof address))
		return fd;
	int number = errno;
	close(fd);
	return no_connection(path, number, error);
}

/* Everything goes out with each flow, so that what reads the other end of a pipe is never behind. */
bool
peerflow_put(const GString *text, GError **error)
{
	if (fwrite(text->str, 1, text->len, stdout) == text->len && !fflush(stdout))
		return true;
	/* Whoever read it had enough. */
	stopped |= errno == EPIPE;
	g_set_error(error, PEERFLOW_ERROR, EX_IOERR, "standard output: %s", g_strerror(errno));
	return false;
}

/* Parses, in place, the options of a sub-command, which takes nothing else. */
bool
peerflow_options(const char *summary, const GOptionEntry *entries, int argc, char **argv, GError **error)
{
	g_autoptr(GOptionContext) context = g_option_context_new(NULL);
	g_autoptr(GError) wrong = NULL;

	g_option_context_set_summary(context, summary);
	g_option_context_add_main_entries(context, entries, NULL);
	if (!g_option_context_parse(context, &argc, &argv, &wrong))
		g_set_error_literal(error, PEERFLOW_ERROR, EX_USAGE, wrong->message);
	else if (argc > 1)
		g_set_error(error, PEERFLOW_ERROR, EX_USAGE, "unexpected argument \"%s\"", argv[1]);
	return !*error;
}

/* Words of the command line that are no options, as one query. */
struct query *
peerflow_query(char **words, GError **error)
{
	g_autofree char *text = words ? g_strjoinv(" ", words) : g_strdup("");

	return query_parse(text, error);
}

static const struct command {
	const char *name;
	bool (*run)(int argc, char **argv, GError **error);
	const char *help;
} commands[] = {
	{ "who", peerflow_who, "Say who held an address and port at a time" },
	{ "live", peerflow_live, "Show flows as they end" },
	{ "flows", peerflow_flows, "Show archived flows" },
	{ "top", peerflow_top, "Show who or what was busiest" },
	{ "trace", peerflow_trace, "Follow connections through several routers" },
	{ "unpack", peerflow_unpack, "Give back the IPFIX file that an archived one was" },
	{ "status", peerflow_status, "Show how the daemon is, and what was lost" },
	{ "hints", peerflow_hints, "Print what a collector needs to show all there is" },
	{ "check", peerflow_check, "Say what is well on this host and what is not" },
};

static int
usage(FILE *out)
{
	fputs("Usage: peerflow COMMAND [OPTION...]\n\nCommands:\n", out);
	for (unsigned i = 0; i < G_N_ELEMENTS(commands); i++)
		fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].help);
	fputs("\npeerflow COMMAND --help has the options of a command; peerflow --version says which peerflow this is.\n",
	      out);
	return out == stdout ? EX_OK : EX_USAGE;
}

static const struct command *
find_command(const char *name)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(commands); i++)
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	return NULL;
}

static int
run_command(const struct command *command, int argc, char **argv)
{
	g_autoptr(GError) error = NULL;
	g_autofree char *program = g_strdup_printf("peerflow %s", command->name);

	g_set_prgname(program);         /* for --help */
	if (command->run(argc, argv, &error) || stopped)
		return EX_OK;
	if (*error->message)
		g_printerr("%s: %s\n", program, error->message);
	return error->code;
}

int
main(int argc, char **argv)
{
	setlocale(LC_ALL, "");
	if (argc < 2)
		return usage(stderr);
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help"))
		return usage(stdout);
	if (!strcmp(argv[1], "--version")) {
		puts("peerflow " PEERFLOW_VERSION);
		return EX_OK;
	}
	const struct command *command = find_command(argv[1]);
	if (command)
		return run_command(command, argc - 1, argv + 1);
	g_printerr("peerflow: unknown command \"%s\"\n\n", argv[1]);
	return usage(stderr);
}
