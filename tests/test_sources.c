/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <glib/gstdio.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "enrich/feed.h"
#include "enrich/sources.h"
#include "suite.h"

/* A server such as NetBird's JSON gateway, which answers by a script: the first row of the path that has not been used
 * up answers, and the last one for ever. */

#define STREAM "/daemon.DaemonService/SubscribeStatus"
#define STATUS "/daemon.DaemonService/Status"
#define NETWORKS "/daemon.DaemonService/ListNetworks"
#define PEERS(list) "{\"status\":\"Connected\",\"fullStatus\":{\"peers\":[" list "]}}"
#define PEER(address, name) "{\"IP\":\"" address "\",\"fqdn\":\"" name "\"}"
#define FRAME(list) "{\"result\":" PEERS(list) "}\n"
#define ROUTES(name) "{\"routes\":[{\"ID\":\"" name "\",\"range\":\"10.0.0.0/8\",\"selected\":true}]}"
#define UNKNOWN "501 Not Implemented"

struct reply {
	const char *path;
	const char *head;           /* status, with more lines behind it */
	const char *piece[6];       /* a chunk each */
	enum { CLOSE, BREAK, HOLD } end;    /* in order, in the middle of it, or not at all */
};

struct server {
	char *path;
	int fd;
	int stop;                   /* eventfd */
	int cut;                    /* eventfd: ends what is held */
	GThread *thread;
	GMutex lock;
	const struct reply *script; /* ends without a path */
	GHashTable *asked;          /* path -> how often */
	unsigned used[16];
};

static char folder[] = "/tmp/peerflow-sources-XXXXXX";

static const struct reply *
find_reply(struct server *server, const char *path)
{
	const struct reply *found = NULL;

	g_mutex_lock(&server->lock);
	const unsigned asked = GPOINTER_TO_UINT(g_hash_table_lookup(server->asked, path));
	g_hash_table_insert(server->asked, g_strdup(path), GUINT_TO_POINTER(asked + 1));
	for (unsigned i = 0; server->script[i].path; i++) {
		if (strcmp(server->script[i].path, path) != 0)
			continue;
		found = &server->script[i];
		if (!server->used[i]++)
			break;
	}
	g_mutex_unlock(&server->lock);
	return found;
}

static unsigned
asked(struct server *server, const char *path)
{
	g_mutex_lock(&server->lock);
	const unsigned times = GPOINTER_TO_UINT(g_hash_table_lookup(server->asked, path));
	g_mutex_unlock(&server->lock);
	return times;
}

static bool
say(int fd, const char *text)
{
	return send(fd, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text);
}

static void
answer(struct server *server, int fd, const struct reply *reply)
{
	g_autofree char *head = g_strdup_printf("HTTP/1.1 %s\r\nTransfer-Encoding: chunked\r\n\r\n", reply->head);

	say(fd, head);
	for (unsigned i = 0; i < G_N_ELEMENTS(reply->piece) && reply->piece[i]; i++) {
		g_autofree char *chunk = g_strdup_printf("%zx\r\n%s\r\n", strlen(reply->piece[i]), reply->piece[i]);
		g_usleep(5000);
		say(fd, chunk);
	}
	struct pollfd wait[] = { { server->stop, POLLIN, 0 }, { server->cut, POLLIN, 0 }, { fd, POLLIN, 0 } };
	if (reply->end == HOLD)
		poll(wait, G_N_ELEMENTS(wait), -1);
	if (reply->end == CLOSE)
		say(fd, "0\r\n\r\n");
}

struct connection {
	struct server *server;
	int fd;
};

static gpointer
serve(gpointer data)
{
	g_autofree struct connection *connection = data;
	char request[4096] = "";
	size_t length = 0;

	while (!strstr(request, "\r\n\r\n") && length < sizeof request - 1) {
		const ssize_t n = read(connection->fd, request + length, sizeof request - 1 - length);
		if (n <= 0)
			break;
		length += n;
	}
	g_auto(GStrv) word = g_strsplit(request, " ", 3);
	const bool is_post = g_strv_length(word) == 3 && strcmp(word[0], "POST") == 0;
	const struct reply *reply = is_post ? find_reply(connection->server, word[1]) : NULL;
	static const struct reply none = { .head = "404 Not Found" };
	answer(connection->server, connection->fd, reply ? reply : &none);
	close(connection->fd);
	return NULL;
}

static gpointer
accept_all(gpointer data)
{
	struct server *server = data;
	struct pollfd wait[] = { { server->fd, POLLIN, 0 }, { server->stop, POLLIN, 0 } };
	g_autoptr(GPtrArray) threads = g_ptr_array_new();

	while (poll(wait, 2, -1) > 0 && !wait[1].revents) {
		struct connection *connection = g_new(struct connection, 1);
		*connection = (struct connection){ server, accept(server->fd, NULL, NULL) };
		g_ptr_array_add(threads, g_thread_new("serve", serve, connection));
	}
	for (guint i = 0; i < threads->len; i++)
		g_thread_join(threads->pdata[i]);
	return NULL;
}

static void
use_script(struct server *server, const struct reply *script)
{
	g_mutex_lock(&server->lock);
	server->script = script;
	memset(server->used, 0, sizeof server->used);
	g_hash_table_remove_all(server->asked);
	g_mutex_unlock(&server->lock);
}

static struct server *
server_new(const struct reply *script)
{
	static unsigned number;
	struct server *server = g_new0(struct server, 1);
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	server->path = g_strdup_printf("%s/socket-%u", folder, number++);
	g_strlcpy(address.sun_path, server->path, sizeof address.sun_path);
	server->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	server->stop = eventfd(0, EFD_CLOEXEC);
	server->cut = eventfd(0, EFD_CLOEXEC);
	server->asked = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	use_script(server, script);
	CU_ASSERT_FATAL(bind(server->fd, (struct sockaddr *)(void *)&address, sizeof address) == 0
	                && listen(server->fd, 8) == 0);
	server->thread = g_thread_new("server", accept_all, server);
	return server;
}

static void
server_free(struct server *server)
{
	eventfd_write(server->stop, 1);
	g_thread_join(server->thread);
	unlink(server->path);
	close(server->fd);
	close(server->stop);
	close(server->cut);
	g_hash_table_destroy(server->asked);
	g_free(server->path);
	g_free(server);
}

/* The other end: what arrives in the main loop. */

struct heard {
	char *text[ROSTER_SOURCES]; /* "100.90.0.2=alice ", or "none" if it is not asked any more */
	unsigned times[ROSTER_SOURCES];
	GThread *thread;
};

static void
on_roster(enum roster_source source, struct roster *roster, void *data)
{
	struct heard *heard = data;
	GString *text = g_string_new(roster ? "" : "none");

	CU_ASSERT_PTR_EQUAL(g_thread_self(), heard->thread);
	for (guint i = 0; roster && i < roster->entry->len; i++) {
		const struct roster_entry *entry = &g_array_index(roster->entry, struct roster_entry, i);
		for (unsigned word = 0; word < WORDS; word++)
			if (entry->word[word])
				g_string_append_printf(text, "%s%s", text->len ? " " : "", entry->word[word]);
	}
	g_free(heard->text[source]);
	heard->text[source] = g_string_free(text, false);
	heard->times[source]++;
	roster_free(roster);
}

struct stand {
	struct server *server;
	struct sources *sources;
	struct heard heard;
};

/* A state with its text kept. */
static void
keep_state(const struct sources_state *state, void *data)
{
	struct sources_state *kept = data;

	if (strcmp(state->name, kept->name) != 0)
		return;
	g_free((char *)kept->text);
	*kept = *state;
	kept->text = g_strdup(state->text);
}

static struct sources_state
state_of(struct stand *stand, const char *name)
{
	struct sources_state state = { .name = name };

	sources_each_state(stand->sources, keep_state, &state);
	return state;
}

static bool
has_state(struct stand *stand, enum sources_condition condition, const char *text)
{
	const struct sources_state state = state_of(stand, "netbird");
	const bool good = state.text && state.condition == condition && strstr(state.text, text);

	g_free((char *)state.text);
	return good;
}

/* Runs the main loop until this is true, or for long enough. */
#define UNTIL(condition) do { \
	const int64_t until = g_get_monotonic_time() + 30 * G_USEC_PER_SEC; \
	while (!(condition) && g_get_monotonic_time() < until) { \
		g_main_context_iteration(NULL, false); \
		g_usleep(2000); \
	} \
	CU_ASSERT_TRUE(condition); \
} while (0)

#define SAYS(source, expected) (g_strcmp0(stand.heard.text[source], expected) == 0)

static void
open_stand(struct stand *stand, const struct reply *script, struct sources_options *options)
{
	memset(stand, 0, sizeof *stand);
	stand->server = script ? server_new(script) : NULL;
	if (script)
		options->socket = stand->server->path;
	stand->heard.thread = g_thread_self();
	stand->sources = sources_open(options, on_roster, &stand->heard);
}

/* However it stands with the other side, this takes no time. */
static void
close_stand(struct stand *stand)
{
	const int64_t began = g_get_monotonic_time();

	sources_close(stand->sources);
	CU_ASSERT_TRUE(g_get_monotonic_time() - began < 5 * G_USEC_PER_SEC);
	if (stand->server)
		server_free(stand->server);
	for (unsigned i = 0; i < ROSTER_SOURCES; i++)
		g_free(stand->heard.text[i]);
}

static char *
command(const char *lines)
{
	static unsigned number;
	g_autofree char *path = g_strdup_printf("%s/netbird-%u", folder, number++);
	g_autofree char *text = g_strdup_printf("#!/bin/sh\n[ \"$*\" = 'status --json' ] || exit 64\n%s\n", lines);

	CU_ASSERT_TRUE_FATAL(g_file_set_contents_full(path, text, -1, G_FILE_SET_CONTENTS_NONE, 0700, NULL));
	return g_steal_pointer(&path);
}

static const struct sources_options defaults = {
	.status = SOURCES_AUTO, .socket = "/nonexistent/socket", .command = "/nonexistent/netbird", .refresh = 1,
};

/* Frames in pieces; the second one follows at once, and comes a second later at the soonest. */
static void
test_stream(void)
{
	static const struct reply script[] = {
		{ STREAM, "200 OK", {
			"{\"result\":{\"status\":\"Conn", "ected\",\"fullStatus\":{\"peers\":[{\"IP\":\"100.90.0.2\",",
			"\"fqdn\":\"alice\"}]}}}\n", FRAME(PEER("100.90.0.2", "bob")),
			"{\"result\":{\"fullStatus\":{\"peers\":[{\"IP\":",
		}, HOLD },
		{ NETWORKS, "200 OK", { "{\"routes\":[]}" }, CLOSE },
		{ .path = NULL },
	};
	struct sources_options options = defaults;
	struct stand stand;

	options.refresh = 3600;
	open_stand(&stand, script, &options);
	UNTIL(SAYS(ROSTER_NETBIRD, "alice") || SAYS(ROSTER_NETBIRD, "bob"));
	UNTIL(SAYS(ROSTER_NETBIRD, "bob"));
	UNTIL(SAYS(ROSTER_NETWORKS, ""));
	CU_ASSERT_TRUE(has_state(&stand, SOURCES_GOOD, "1 peers, 0 connected, from the stream of /tmp/"));
	CU_ASSERT_EQUAL(asked(stand.server, STREAM), 1);
	CU_ASSERT_EQUAL(asked(stand.server, STATUS), 0);
	close_stand(&stand);
}

/* What says nothing new is counted, and no more. */
static void
test_unchanged(void)
{
	static const struct reply script[] = {
		{ STREAM, UNKNOWN, { "{\"code\":12,\"message\":\"unknown method\"}" }, CLOSE },
		{ STATUS, "200 OK", { PEERS(PEER("100.90.0.2", "alice")) }, CLOSE },
		{ NETWORKS, "200 OK", { ROUTES("crm") }, CLOSE },
		{ .path = NULL },
	};
	struct sources_options options = defaults;
	struct stand stand;
	struct sources_state state;

	open_stand(&stand, script, &options);
	UNTIL(asked(stand.server, STATUS) >= 3);
	UNTIL(SAYS(ROSTER_NETBIRD, "alice"));
	UNTIL(SAYS(ROSTER_NETWORKS, "crm"));
	UNTIL(asked(stand.server, STATUS) >= 4);
	state = state_of(&stand, "netbird");
	CU_ASSERT_TRUE(state.answers >= 3 && state.changes == 1 && state.entries == 1 && state.answered >= state.since);
	CU_ASSERT_EQUAL(stand.heard.times[ROSTER_NETBIRD], 1);
	CU_ASSERT_EQUAL(stand.heard.times[ROSTER_NETWORKS], 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(state.text, "from questions at "));
	CU_ASSERT_PTR_NOT_NULL(strstr(state.text, "(stream: HTTP 501: unknown method)"));
	g_free((char *)state.text);
	close_stand(&stand);
}

static void
test_refusals(void)
{
	static const struct reply script[] = {
		{ STREAM, "403 Forbidden", { "{\"code\":7,\"message\":\"PRIVILEGE_REQUIRED\\u001b[1m\"}" }, CLOSE },
		{ STATUS, "403 Forbidden", { "<html>" }, CLOSE },
		{ .path = NULL },
	};
	struct sources_options options = defaults;
	struct stand stand;

	options.status = SOURCES_SOCKET;
	open_stand(&stand, script, &options);
	UNTIL(has_state(&stand, SOURCES_FAILING, "stream: HTTP 403: PRIVILEGE_REQUIRED [1m; status: HTTP 403"));
	UNTIL(asked(stand.server, STATUS) >= 2);
	CU_ASSERT_EQUAL(stand.heard.times[ROSTER_NETBIRD], 0);
	/* and from there back to well */
	static const struct reply well[] = {
		{ STREAM, "200 OK", { FRAME(PEER("100.90.0.2", "carol")) }, HOLD },
		{ .path = NULL },
	};
	use_script(stand.server, well);
	UNTIL(SAYS(ROSTER_NETBIRD, "carol"));
	CU_ASSERT_TRUE(has_state(&stand, SOURCES_GOOD, "from the stream"));
	close_stand(&stand);
}

/* A server that wants to be left alone is. */
static void
test_too_many(void)
{
	static const struct reply script[] = {
		{ STREAM, "429 Too Many Requests\r\nRetry-After: 1000", { "{}" }, CLOSE },
		{ STATUS, "429 Too Many Requests\r\nRetry-After: 1000", { "{}" }, CLOSE },
		{ .path = NULL },
	};
	g_autofree char *path = command("echo '" PEERS(PEER("100.90.0.2", "dave")) "'; echo x >>$0.times");
	g_autofree char *times = g_strconcat(path, ".times", NULL);
	struct sources_options options = defaults;
	struct stand stand;
	GStatBuf runs;

	options.command = path;
	open_stand(&stand, script, &options);
	UNTIL(SAYS(ROSTER_NETBIRD, "dave"));
	CU_ASSERT_TRUE(has_state(&stand, SOURCES_GOOD, "from the command /tmp/"));
	CU_ASSERT_TRUE(has_state(&stand, SOURCES_GOOD, "(stream: HTTP 429; status: HTTP 429)"));
	UNTIL(g_stat(times, &runs) == 0 && runs.st_size >= 6);
	CU_ASSERT_EQUAL(asked(stand.server, STREAM), 1);
	CU_ASSERT_EQUAL(asked(stand.server, STATUS), 1);
	close_stand(&stand);
}

/* A server that takes the question and says nothing, or half of it: the next best way is tried. */
static void
test_hanging(void)
{
	static const struct reply script[] = {
		{ STREAM, "200 OK", { "{\"result\":" }, HOLD },
		{ STATUS, "200 OK", { NULL }, HOLD },
		{ .path = NULL },
	};
	g_autofree char *path = command("echo '" PEERS(PEER("100.90.0.2", "erin")) "'");
	struct sources_options options = defaults;
	struct stand stand;

	options.command = path;
	open_stand(&stand, script, &options);
	UNTIL(SAYS(ROSTER_NETBIRD, "erin"));
	CU_ASSERT_TRUE(has_state(&stand, SOURCES_GOOD, "(stream: no whole answer in time; status: no whole answer in "
	                                               "time)"));
	close_stand(&stand);
}

/* A restart: what was said last stays in force, and the state says so. */
static void
test_restart(void)
{
	static const struct reply script[] = {
		{ STREAM, "200 OK", { FRAME(PEER("100.90.0.2", "frank")), "{\"result\":{\"fullStatus\":{\"peers\":[" }, HOLD },
		{ .path = NULL },
	};
	static const struct reply down[] = {
		{ STREAM, "200 OK", { "{\"result\":{\"fullStatus\":{\"peers\":[" PEER("100.90.0.2", "nobody") }, BREAK },
		{ STATUS, "200 OK", { "{\"status\":\"Idle\",\"fullStatus\":{\"peers\":[]}}" }, CLOSE },
		{ .path = NULL },
	};
	struct sources_options options = defaults;
	struct stand stand;

	options.refresh = 2;
	open_stand(&stand, script, &options);
	UNTIL(SAYS(ROSTER_NETBIRD, "frank"));
	use_script(stand.server, down);
	eventfd_write(stand.server->cut, 1);
	UNTIL(has_state(&stand, SOURCES_FAILING, "status: NetBird is not connected: it says Idle; what it said at 20"));
	CU_ASSERT_TRUE(has_state(&stand, SOURCES_FAILING, " stays in force"));
	CU_ASSERT_TRUE(SAYS(ROSTER_NETBIRD, "frank") && stand.heard.times[ROSTER_NETBIRD] == 1);
	static const struct reply up[] = {
		{ STREAM, "200 OK", { FRAME(PEER("100.90.0.2", "grace")) }, BREAK },
		{ .path = NULL },
	};
	use_script(stand.server, up);
	UNTIL(SAYS(ROSTER_NETBIRD, "grace"));
	close_stand(&stand);
}

/* A stream that breaks off after every first frame is opened less and less often. */
static void
test_brief(void)
{
	static const struct reply script[] = {
		{ STREAM, "200 OK", { FRAME(PEER("100.90.0.2", "heidi")) }, CLOSE },
		{ .path = NULL },
	};
	struct sources_options options = defaults;
	struct stand stand;
	const int64_t end = g_get_monotonic_time() + 4 * G_USEC_PER_SEC;

	options.refresh = 3600;
	open_stand(&stand, script, &options);
	UNTIL(g_get_monotonic_time() > end);
	CU_ASSERT_TRUE(asked(stand.server, STREAM) >= 2 && asked(stand.server, STREAM) <= 3);
	CU_ASSERT_TRUE(SAYS(ROSTER_NETBIRD, "heidi"));
	close_stand(&stand);
}

static void
test_command(void)
{
	g_autofree char *good = command("echo '{\"peers\":{\"details\":[{\"netbirdIp\":\"100.90.0.2\","
	                                "\"fqdn\":\"ivan\"}]}}'");
	g_autofree char *bad = command("echo 'failed to connect to daemon' >&2; exit 1");
	g_autofree char *odd = command("echo Daemon status: NeedsLogin");
	struct sources_options options = defaults;
	struct stand stand;

	options.status = SOURCES_COMMAND;
	options.command = good;
	open_stand(&stand, NULL, &options);
	UNTIL(SAYS(ROSTER_NETBIRD, "ivan"));
	options.command = bad;
	sources_reconfigure(stand.sources, &options);
	UNTIL(has_state(&stand, SOURCES_FAILING, ": status 1: failed to connect to daemon; what it said at 20"));
	options.command = odd;
	sources_reconfigure(stand.sources, &options);
	UNTIL(has_state(&stand, SOURCES_FAILING, "command: no JSON: a value is missing; what"));
	options.command = "/nonexistent/netbird";
	sources_reconfigure(stand.sources, &options);
	UNTIL(has_state(&stand, SOURCES_FAILING, "/nonexistent/netbird does not exist; what"));
	CU_ASSERT_EQUAL(stand.heard.times[ROSTER_NETBIRD], 1);
	close_stand(&stand);
}

/* Nothing there is no failure where nobody asked for it, and is looked for again. */
static void
test_absent(void)
{
	static const struct reply script[] = {
		{ STREAM, "200 OK", { FRAME(PEER("100.90.0.2", "judy")) }, HOLD },
		{ .path = NULL },
	};
	struct server *server = server_new(script);
	g_autofree char *hidden = g_strconcat(server->path, "-hidden", NULL);
	struct sources_options options = defaults;
	struct stand stand;

	CU_ASSERT_EQUAL(g_rename(server->path, hidden), 0);
	options.socket = server->path;
	open_stand(&stand, NULL, &options);
	UNTIL(has_state(&stand, SOURCES_ABSENT, " nor /nonexistent/netbird exists"));
	CU_ASSERT_EQUAL(g_rename(hidden, server->path), 0);
	UNTIL(SAYS(ROSTER_NETBIRD, "judy"));
	close_stand(&stand);
	server_free(server);
}

static void
count_state(const struct sources_state *state, void *data)
{
	CU_ASSERT_PTR_NOT_NULL(sources_condition_word(state->condition));
	CU_ASSERT_PTR_NOT_NULL(state->text);
	++*(unsigned *)data;
}

static void
test_reconfigure(void)
{
	static const struct reply script[] = {
		{ STREAM, "200 OK", { FRAME(PEER("100.90.0.2", "kim")) }, HOLD },
		{ NETWORKS, "200 OK", { "{\"routes\":[]}" }, CLOSE },
		{ .path = NULL },
	};
	struct sources_options options = defaults;
	struct stand stand;
	unsigned states = 0;

	options.refresh = 3600;
	open_stand(&stand, script, &options);
	UNTIL(SAYS(ROSTER_NETBIRD, "kim") && SAYS(ROSTER_NETWORKS, ""));
	sources_reconfigure(stand.sources, &options);
	g_usleep(100000);
	CU_ASSERT_EQUAL(asked(stand.server, STREAM), 1);
	options.refresh = 60;
	sources_reconfigure(stand.sources, &options);
	UNTIL(asked(stand.server, STREAM) == 2);
	sources_each_state(stand.sources, count_state, &states);
	CU_ASSERT_EQUAL(states, 2);
	options.status = SOURCES_OFF;
	sources_reconfigure(stand.sources, &options);
	CU_ASSERT_TRUE(SAYS(ROSTER_NETBIRD, "none") && SAYS(ROSTER_NETWORKS, "none"));
	states = 0;
	sources_each_state(stand.sources, count_state, &states);
	CU_ASSERT_EQUAL(states, 0);
	options.status = SOURCES_SOCKET;
	sources_reconfigure(stand.sources, &options);
	UNTIL(SAYS(ROSTER_NETBIRD, "kim"));
	close_stand(&stand);
}

/* Networks are asked for at once when the stream says that they changed. */
static void
test_revision(void)
{
	static const struct reply script[] = {
		{ NETWORKS, "200 OK", { ROUTES("first") }, CLOSE },
		{ NETWORKS, "200 OK", { ROUTES("second") }, CLOSE },
		{ STREAM, "200 OK", { "{\"result\":{\"fullStatus\":{\"peers\":[{}],\"networksRevision\":\"7\"}}}\n" }, HOLD },
		{ .path = NULL },
	};
	struct sources_options options = defaults;
	struct stand stand;

	options.refresh = 3600;
	open_stand(&stand, script, &options);
	UNTIL(SAYS(ROSTER_NETWORKS, "second"));
	close_stand(&stand);
}

static void
test_back_off(void)
{
	CU_ASSERT_EQUAL(feed_back_off(1, 60000), 1000);
	CU_ASSERT_EQUAL(feed_back_off(2, 60000), 2000);
	CU_ASSERT_EQUAL(feed_back_off(6, 60000), 32000);
	CU_ASSERT_EQUAL(feed_back_off(7, 60000), 60000);
	CU_ASSERT_EQUAL(feed_back_off(4000000000, 60000), 60000);
}

static void
remove_folder(void)
{
	GDir *files = g_dir_open(folder, 0, NULL);

	for (const char *name; (name = g_dir_read_name(files));) {
		g_autofree char *path = g_strconcat(folder, "/", name, NULL);
		g_remove(path);
	}
	g_dir_close(files);
	g_rmdir(folder);
}

/* What is said about failures is looked at in the states. */
static GLogWriterOutput
say_nothing(GLogLevelFlags level, const GLogField *fields, gsize n, gpointer data)
{
	(void)level, (void)fields, (void)n, (void)data;
	return G_LOG_WRITER_HANDLED;
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "the stream", test_stream },
		{ "single questions, and nothing new", test_unchanged },
		{ "refusals", test_refusals },
		{ "too many questions", test_too_many },
		{ "a server that hangs", test_hanging },
		{ "a restart", test_restart },
		{ "a stream that breaks off", test_brief },
		{ "the command", test_command },
		{ "nothing there", test_absent },
		{ "another configuration", test_reconfigure },
		{ "networks that changed", test_revision },
		{ "the wait after failures", test_back_off },
		CU_TEST_INFO_NULL,
	};

	if (!g_mkdtemp(folder))
		return EXIT_FAILURE;
	g_log_set_writer_func(say_nothing, NULL, NULL);
	const int status = run_suite("sources", tests);
	remove_folder();
	return status;
}
