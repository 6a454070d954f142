/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The command line. Each sub-command is a row of one table, from which its help and its call come. */

#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <glib.h>

#include "archive/reader.h"
#include "audit/print.h"
#include "audit/query.h"
#include "config.h"
#include "error.h"
#include "hints.h"
#include "inspect.h"
#include "status.h"

#define LIVE_SOCKET "/run/peerflow/live"
#define STATUS_SOCKET "/run/peerflow/status"
#define CONFIG_FILE "/etc/peerflow/exporter.conf"

enum {
	REVERSE_ENTERPRISE = 29305, /* RFC 5103: nobody's own */
	STATUS_PATIENCE = 10,       /* seconds */
	STATUS_MOST = 64 << 20,     /* octets */
};

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

static void
handle_signals(int fd)
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

static int
connect_to(const char *path, GError **error)
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
static bool
put(const GString *text, GError **error)
{
	fwrite(text->str, 1, text->len, stdout);
	if (!fflush(stdout))
		return true;
	/* Whoever read it had enough. */
	stopped |= errno == EPIPE;
	g_set_error(error, PEERFLOW_ERROR, EX_IOERR, "standard output: %s", g_strerror(errno));
	return false;
}

static void
tell_lost(const struct reader *reader, uint64_t *told)
{
	uint64_t lost = reader_lost(reader);

	if (lost == *told)
		return;
	g_printerr("peerflow: %" G_GUINT64_FORMAT " records are missing here: this viewer was too slow for them\n",
	           lost - *told);
	*told = lost;
}

/* Prints until count flows are printed (never, if it is negative), the stream ends or something fails. */
static bool
live_print(struct reader *reader, struct printer *printer, const struct query *query, int64_t count, GError **error)
{
	g_autoptr(GString) line = g_string_new(NULL);
	enum reader_result result = READER_FLOW;
	struct record record;
	uint64_t told = 0;

	printer_header(printer, line);
	while (put(line, error) && count && (result = reader_next(reader, &record, error)) == READER_FLOW) {
		struct print_flow flow = {
			.flow = &record.flow,
			.names = record.names,
			.ingress = reader_interface(reader, record.flow.original.ingress),
			.egress = reader_interface(reader, record.flow.original.egress),
		};
		tell_lost(reader, &told);
		g_string_truncate(line, 0);
		if (!query_matches(query, &flow))
			continue;
		printer_flow(printer, &flow, line);
		count -= count > 0;
	}
	if (result == READER_END)
		g_set_error(error, PEERFLOW_ERROR, EX_UNAVAILABLE, "peerflowd closed the connection");
	return !*error;
}

/* Zero if the output is no terminal. */
static unsigned
terminal_columns(void)
{
	struct winsize size;

	return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

static bool
live_run(const char *path, enum print_format format, const struct query *query, int64_t count, GError **error)
{
	int fd = connect_to(path, error);
	if (fd < 0)
		return false;
	FILE *stream = fdopen(fd, "r");
	if (!stream) {
		close(fd);
		g_set_error(error, PEERFLOW_ERROR, EX_OSERR, "%s: %s", path, g_strerror(errno));
		return false;
	}
	handle_signals(fd);
	struct reader *reader = reader_new(stream, path, READER_LOCAL_ENTERPRISE);
	struct printer *printer = printer_new(format);
	printer_fold(printer, terminal_columns());
	bool good = live_print(reader, printer, query, count, error);
	printer_free(printer);
	reader_free(reader);
	fclose(stream);
	return good;
}

/* Parses, in place, the options of a sub-command, which takes nothing else. */
static bool
parse_options(const char *summary, const GOptionEntry *entries, int argc, char **argv, GError **error)
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
static struct query *
parse_query(char **words, GError **error)
{
	g_autofree char *text = words ? g_strjoinv(" ", words) : g_strdup("");

	return query_parse(text, error);
}

static bool
live(int argc, char **argv, GError **error)
{
	g_auto(GStrv) words = NULL;
	g_autofree char *path = NULL;
	g_autofree char *format_name = NULL;
	enum print_format format = PRINT_TABLE;
	gint64 count = 0;
	const GOptionEntry entries[] = {
		{ "socket", 's', 0, G_OPTION_ARG_FILENAME, &path, "Where peerflowd shows its flows (" LIVE_SOCKET ")",
		  "PATH" },
		{ "format", 'f', 0, G_OPTION_ARG_STRING, &format_name, "table, csv or json (table)", "FORMAT" },
		{ "count", 'n', 0, G_OPTION_ARG_INT64, &count, "End after so many flows that were shown (0: do not)", "N" },
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_STRING_ARRAY, &words, NULL, "[QUERY]" },
		{ 0 },
	};

	if (!parse_options("Shows flows as they end, until interrupted; with a QUERY those that answer it, such as "
	                   "\"src peer alice and port 443\".", entries, argc, argv, error))
		return false;
	if (format_name && !print_format_find(format_name, &format)) {
		g_set_error(error, PEERFLOW_ERROR, EX_USAGE, "unknown format \"%s\": table, csv or json", format_name);
		return false;
	}
	if (count < 0) {
		g_set_error(error, PEERFLOW_ERROR, EX_USAGE, "a count of %" G_GINT64_FORMAT " flows", count);
		return false;
	}
	g_autoptr(query_t) query = parse_query(words, error);
	if (!query)
		return false;
	return live_run(path ? path : LIVE_SOCKET, format, query, count ? count : -1, error);
}

/* The operator's enterprise number, or zero: there is none. Hints can be had where no daemon is configured, too. */
static bool
read_enterprise(const char *path, uint32_t *enterprise, GError **error)
{
	if (!path && access(CONFIG_FILE, F_OK) != 0)
		return true;
	g_autoptr(config_t) config = config_load(path ? path : CONFIG_FILE, error);
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
	return !*error && put(text, error);
}

static bool
hints(int argc, char **argv, GError **error)
{
	g_auto(GStrv) collector = NULL;
	g_autofree char *path = NULL;
	gint64 number = 0;
	const GOptionEntry entries[] = {
		{ "config", 'c', 0, G_OPTION_ARG_FILENAME, &path, "Whose enterprise-number is meant (" CONFIG_FILE ")", "FILE" },
		{ "enterprise", 'e', 0, G_OPTION_ARG_INT64, &number, "This number instead", "N" },
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_STRING_ARRAY, &collector, NULL, "[COLLECTOR]" },
		{ 0 },
	};

	if (!parse_options("Prints what a collector must be told to show what peerflow sends; without a COLLECTOR, which there "
	                   "are.", entries, argc, argv, error))
		return false;
	if (number < 0 || number > UINT32_MAX || number == REVERSE_ENTERPRISE) {
		g_set_error(error, PEERFLOW_ERROR, EX_USAGE, "%" G_GINT64_FORMAT " is not the number of an enterprise", number);
		return false;
	}
	return hints_run(collector, path, number, error);
}

static bool
check(int argc, char **argv, GError **error)
{
	g_autofree char *path = NULL;
	const GOptionEntry entries[] = {
		{ "config", 'c', 0, G_OPTION_ARG_FILENAME, &path, "The daemon's configuration (" CONFIG_FILE ")", "FILE" },
		{ 0 },
	};

	if (!parse_options("Looks at this host and says what is well for peerflowd and what is not.", entries, argc, argv, error))
		return false;
	const unsigned wrong = inspect_host(path ? path : CONFIG_FILE, stdout);
	if (wrong)
		g_set_error(error, PEERFLOW_ERROR, EXIT_FAILURE, "%u %s wrong", wrong, wrong == 1 ? "thing is" : "things are");
	return !wrong;
}

/* All that comes until the other end closes. */
static bool
read_all(int fd, const char *path, GString *text, GError **error)
{
	const struct timeval patience = { .tv_sec = STATUS_PATIENCE };
	char piece[16384];
	ssize_t n;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	while (text->len < STATUS_MOST && (n = read(fd, piece, sizeof piece)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			g_set_error(error, PEERFLOW_ERROR, errno == EAGAIN ? EX_UNAVAILABLE : EX_IOERR, "%s: %s", path,
			            errno == EAGAIN ? "peerflowd does not answer" : g_strerror(errno));
			return false;
		}
		g_string_append_len(text, piece, n);
	}
	return true;
}

static bool
status_run(const char *path, bool json, GError **error)
{
	g_autoptr(GString) text = g_string_new(NULL);
	int fd = connect_to(path, error);

	if (fd < 0)
		return false;
	const bool whole = read_all(fd, path, text, error);
	close(fd);
	/* Also for --json: what is handed on is a whole document. */
	g_autofree char *shown = whole ? status_text(text->str, text->len, error) : NULL;
	if (!shown)
		return false;
	if (!json)
		g_string_assign(text, shown);
	return put(text, error);
}

static bool
status(int argc, char **argv, GError **error)
{
	g_autofree char *path = NULL;
	gboolean json = false;
	const GOptionEntry entries[] = {
		{ "socket", 's', 0, G_OPTION_ARG_FILENAME, &path, "Where peerflowd tells how it is (" STATUS_SOCKET ")", "PATH" },
		{ "json", 'j', 0, G_OPTION_ARG_NONE, &json, "Print the document as it comes, for programs", NULL },
		{ 0 },
	};

	return parse_options("Shows how the daemon and its collectors are, and what was lost.", entries, argc, argv, error)
	       && status_run(path ? path : STATUS_SOCKET, json, error);
}

static const struct command {
	const char *name;
	bool (*run)(int argc, char **argv, GError **error);
	const char *help;
} commands[] = {
	{ "live", live, "Show flows as they end" },
	{ "status", status, "Show how the daemon is, and what was lost" },
	{ "hints", hints, "Print what a collector needs to show all there is" },
	{ "check", check, "Say what is well on this host and what is not" },
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
