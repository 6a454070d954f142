/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "inspect.h"

#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <poll.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <linux/capability.h>

#include "config.h"
#include "enrich/sources.h"
#include "error.h"
#include "exporter.h"
#include "outlook.h"
#include "source/settings.h"
#include "source/wireguard.h"
#include "transport/endpoint.h"

enum {
	SOURCES_PATIENCE = 45,      /* seconds: a management server that is silent is given up before */
	CONNECT_PATIENCE = 5000,    /* ms */
	REFUSAL_PATIENCE = 300,     /* ms in which a host that does not want a datagram says so */
	TABLE_FULL = 90,            /* percent */
};

enum verdict { WELL, NOTE, WRONG };

struct inspection {
	FILE *out;
	const struct config *config;    /* NULL: it cannot be read */
	unsigned wrong;
	bool runs;                  /* the daemon */
	GMainLoop *loop;
	struct sources *sources;
	struct roster *netbird;     /* what the client of this host says, or NULL */
};

static void
tell(struct inspection *inspection, enum verdict verdict, const char *subject, const char *format, ...)
	G_GNUC_PRINTF(4, 5);

static void
tell(struct inspection *inspection, enum verdict verdict, const char *subject, const char *format, ...)
{
	static const char *const words[] = { [WELL] = "ok", [NOTE] = "note", [WRONG] = "WRONG" };
	va_list arguments;

	va_start(arguments, format);
	g_autofree char *text = g_strdup_vprintf(format, arguments);
	va_end(arguments);
	fprintf(inspection->out, "%-5s  %-24s  %s\n", words[verdict], subject, text);
	fflush(inspection->out);
	inspection->wrong += verdict == WRONG;
}

/* The daemon, of which its sockets tell. */

static bool
is_listening(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	g_strlcpy(address.sun_path, path, sizeof address.sun_path);
	const bool good = fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof address) == 0;
	const int number = errno;
	if (fd >= 0)
		close(fd);
	errno = number;
	return good;
}

static void
inspect_daemon(struct inspection *inspection)
{
	const struct config *config = inspection->config;
	const char *path = config->status_socket ? config->status_socket : config->live_socket;

	if (!path) {
		tell(inspection, NOTE, "peerflowd", "cannot be told without a status-socket or live-socket");
		return;
	}
	inspection->runs = is_listening(path);
	if (inspection->runs)
		tell(inspection, WELL, "peerflowd", "runs and listens at %s", path);
	else
		tell(inspection, WRONG, "peerflowd", "does not run, or not with this configuration: %s: %s", path,
		     g_strerror(errno));
}

/* Rights and connection tracking. */

static void
inspect_rights(struct inspection *inspection)
{
	g_autofree char *status = NULL;
	const char *line = g_file_get_contents("/proc/self/status", &status, NULL, NULL) ? strstr(status, "CapEff:") : NULL;
	const uint64_t effective = line ? g_ascii_strtoull(line + strlen("CapEff:"), NULL, 16) : 0;

	if (effective >> CAP_NET_ADMIN & 1)
		tell(inspection, WELL, "rights", "CAP_NET_ADMIN, without which flows cannot be seen");
	else
		tell(inspection, WRONG, "rights", "no CAP_NET_ADMIN, without which nobody sees flows: ask again as root");
}

static void
inspect_table(struct inspection *inspection)
{
	uint32_t count, most;

	if (!settings_read("count", &count) || !settings_read("max", &most)) {
		tell(inspection, WRONG, "connection tracking", "the kernel has none here: modprobe nf_conntrack would load it");
		return;
	}
	const bool full = most && count >= (uint64_t)most * TABLE_FULL / 100;
	tell(inspection, full ? WRONG : WELL, "connection tracking", "%" PRIu32 " of at most %" PRIu32 " entries%s", count,
	     most, full ? ": new connections will be dropped soon; nf_conntrack_max says how many there may be" : "");
}

static void
inspect_settings(struct inspection *inspection)
{
	static const char *const names[] = { "acct", "timestamp", "events" };

	for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
		g_autofree char *subject = g_strconcat("nf_conntrack_", names[i], NULL);
		uint32_t value;
		if (!settings_read(names[i], &value))
			tell(inspection, WRONG, subject, "the kernel has no such setting");
		else if (value == 1)
			tell(inspection, WELL, subject, "is 1");
		else
			tell(inspection, inspection->runs ? WRONG : NOTE, subject, "is %" PRIu32 "%s", value, inspection->runs
			     ? ", though peerflowd runs: it could not set it to 1" : "; peerflowd sets it to 1 when it starts");
	}
}

/* Names, by the very sources that the daemon asks. */

static void
on_roster(enum roster_source source, struct roster *roster, void *data)
{
	struct inspection *inspection = data;

	if (source != ROSTER_NETBIRD) {
		roster_free(roster);
		return;
	}
	roster_free(inspection->netbird);
	inspection->netbird = roster;
}

static void
count_asking(const struct sources_state *state, void *data)
{
	*(unsigned *)data += state->condition == SOURCES_ASKING;
}

static gboolean
on_look(gpointer data)
{
	struct inspection *inspection = data;
	unsigned asking = 0;

	sources_each_state(inspection->sources, count_asking, &asking);
	if (!asking)
		g_main_loop_quit(inspection->loop);
	return G_SOURCE_CONTINUE;
}

static gboolean
on_patience_over(gpointer data)
{
	struct inspection *inspection = data;

	g_main_loop_quit(inspection->loop);
	return G_SOURCE_CONTINUE;
}

static void
tell_source(const struct sources_state *state, void *data)
{
	static const enum verdict verdicts[] = {
		[SOURCES_ASKING] = WRONG, [SOURCES_GOOD] = WELL, [SOURCES_FAILING] = WRONG, [SOURCES_ABSENT] = NOTE,
	};
	g_autofree char *subject = g_strconcat("names from ", state->name, NULL);

	tell(data, verdicts[state->condition], subject, "%s", state->text);
}

static void
inspect_sources(struct inspection *inspection)
{
	const struct config *config = inspection->config;
	const struct sources_options options = {
		.status = (enum sources_status)config->status,
		.socket = config->netbird_socket,
		.command = config->netbird_command,
		.refresh = config->refresh,
		.api_url = config->api_url,
		.api_token_file = config->api_token_file,
		.api_refresh = config->api_refresh,
		.interface = config->wireguard ? config->interface : NULL,
		.tunnel = wireguard_allowed,
	};

	inspection->loop = g_main_loop_new(NULL, false);
	inspection->sources = sources_open(&options, on_roster, inspection);
	const guint look = g_timeout_add(50, on_look, inspection);
	const guint over = g_timeout_add_seconds(SOURCES_PATIENCE, on_patience_over, inspection);
	g_main_loop_run(inspection->loop);
	g_source_remove(look);
	g_source_remove(over);
	/* What was delivered together with the last word on its state. */
	while (g_main_context_iteration(NULL, false))
		;
	sources_each_state(inspection->sources, tell_source, inspection);
	sources_close(inspection->sources);
	g_main_loop_unref(inspection->loop);
}

static void
inspect_mode(struct inspection *inspection)
{
	struct outlook *outlook = outlook_new();

	outlook_set_client(outlook, inspection->netbird);
	outlook_look(outlook, inspection->config->interface);
	tell(inspection, mode_sees(outlook_mode(outlook)) ? WELL : WRONG, "mesh", "%s", outlook_sentence(outlook));
	outlook_free(outlook);
}

/* Collectors. */

/* True if nobody refused. */
static bool
greet_udp(int fd)
{
	struct pollfd refusal = { .fd = fd, .events = POLLIN };

	return send(fd, "", 0, 0) == 0 && (poll(&refusal, 1, REFUSAL_PATIENCE) == 0 || recv(fd, NULL, 0, 0) >= 0);
}

static bool
await_tcp(int fd)
{
	struct pollfd ready = { .fd = fd, .events = POLLOUT };
	socklen_t length = sizeof errno;
	int number = ETIMEDOUT;

	if (poll(&ready, 1, CONNECT_PATIENCE) == 1)
		getsockopt(fd, SOL_SOCKET, SO_ERROR, &number, &length);
	errno = number;
	return !number;
}

/* False with errno. */
static bool
greet(const struct config_collector *collector, const union endpoint *endpoint)
{
	const bool tcp = collector->transport == CONFIG_TCP;
	int fd = socket(endpoint->any.sa_family, (tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	union endpoint source;

	if (fd < 0)
		return false;
	bool good = !collector->source_address || (endpoint_parse(&source, collector->source_address, 0)
	                                           && bind(fd, &source.any, endpoint_length(&source)) == 0);
	good = good && (connect(fd, &endpoint->any, endpoint_length(endpoint)) == 0 || errno == EINPROGRESS);
	good = good && (tcp ? await_tcp(fd) : greet_udp(fd));
	const int number = errno;
	close(fd);
	errno = number;
	return good;
}

/* The address that a name's owner, or the text itself, says first. False with why. */
static bool
resolve(const struct config_collector *collector, union endpoint *endpoint, const char **why)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_DGRAM, .ai_flags = AI_ADDRCONFIG };
	struct addrinfo *found = NULL;

	if (endpoint_parse(endpoint, collector->host, collector->port))
		return true;
	const int status = getaddrinfo(collector->host, NULL, &hints, &found);
	if (status) {
		*why = status == EAI_SYSTEM ? g_strerror(errno) : gai_strerror(status);
		return false;
	}
	memcpy(endpoint, found->ai_addr, MIN(found->ai_addrlen, sizeof *endpoint));
	if (found->ai_family == AF_INET6)
		endpoint->v6.sin6_port = htons(collector->port);
	else
		endpoint->v4.sin_port = htons(collector->port);
	freeaddrinfo(found);
	return true;
}

static void
inspect_collector(struct inspection *inspection, const struct config_collector *collector)
{
	g_autofree char *subject = g_strconcat("collector ", collector->name, NULL);
	union endpoint endpoint;
	const char *why = NULL;

	if (!resolve(collector, &endpoint, &why)) {
		tell(inspection, WRONG, subject, "%s: %s", collector->host, why);
		return;
	}
	const bool good = greet(collector, &endpoint);
	const int number = errno;
	const struct endpoint_text text = endpoint_text(&endpoint);
	if (good)
		tell(inspection, WELL, subject, "%s %s", text.text, collector->transport == CONFIG_TCP ? "takes connections"
		     : "does not refuse, which is all that can be told of UDP");
	else
		tell(inspection, WRONG, subject, "%s: %s", text.text, g_strerror(number));
}

static void
inspect_collectors(struct inspection *inspection)
{
	for (size_t i = 0; i < inspection->config->n_collectors; i++)
		inspect_collector(inspection, &inspection->config->collector[i]);
	if (!inspection->config->n_collectors)
		tell(inspection, NOTE, "collectors", "none is configured: flows can only be watched");
}

/* Directories. */

/* The folder itself or, since the daemon makes it, the nearest above it that is there. */
static void
inspect_directory(struct inspection *inspection, const char *key, const char *path)
{
	g_autofree char *there = g_strdup(path);

	if (!path) {
		tell(inspection, NOTE, key, "none");
		return;
	}
	while (strcmp(there, "/") != 0 && access(there, F_OK) != 0 && errno == ENOENT) {
		char *above = g_path_get_dirname(there);
		g_free(there);
		there = above;
	}
	if (!g_file_test(there, G_FILE_TEST_IS_DIR))
		tell(inspection, WRONG, key, "%s: %s is no directory", path, there);
	else if (access(there, W_OK | X_OK) != 0)
		tell(inspection, WRONG, key, "%s: %s: %s", path, there, g_strerror(errno));
	else
		tell(inspection, WELL, key, "%s %s", path, strcmp(there, path) == 0 ? "can be written" : "will be made");
}

/* What can be read is looked at, even if something that it names is wrong. */
static void
inspect_config(struct inspection *inspection, const char *path, struct config **config)
{
	g_autoptr(GError) error = NULL;

	*config = config_load(path, &error);
	inspection->config = *config;
	if (*config && exporter_check(path, NULL, &error))
		tell(inspection, WELL, "configuration", "%s is good", path);
	else
		tell(inspection, WRONG, "configuration", "%s", error->message);
}

/* Only the lines are wanted here, not what the parts say to the log. */
static GLogWriterOutput
write_nothing(GLogLevelFlags level, const GLogField *fields, gsize n_fields, gpointer data)
{
	(void)level, (void)fields, (void)n_fields, (void)data;
	return G_LOG_WRITER_HANDLED;
}

unsigned
inspect_host(const char *config_path, FILE *out)
{
	struct inspection inspection = { .out = out };
	g_autoptr(config_t) config = NULL;

	g_log_set_writer_func(write_nothing, NULL, NULL);
	inspect_config(&inspection, config_path, &config);
	if (config)
		inspect_daemon(&inspection);
	inspect_rights(&inspection);
	inspect_table(&inspection);
	inspect_settings(&inspection);
	if (!config)
		return inspection.wrong;
	inspect_sources(&inspection);
	inspect_mode(&inspection);
	inspect_collectors(&inspection);
	inspect_directory(&inspection, "runtime-directory", config->runtime_directory);
	inspect_directory(&inspection, "state-directory", config->state_directory);
	inspect_directory(&inspection, "archive", config->archive.enabled ? config->archive.path : NULL);
	roster_free(inspection.netbird);
	return inspection.wrong;
}
