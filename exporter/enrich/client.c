/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "enrich/client.h"

#include <time.h>
#include <unistd.h>

#include "enrich/command.h"
#include "enrich/http.h"
#include "enrich/netbird.h"
#include "error.h"

enum {
	REST = 4,                   /* for each second spent on an answer of the stream, so many without reading on */
	ABSENT_MOST = 5000,         /* ms until something that was not there is looked for again */
};

enum { STREAM, STATUS, COMMAND, WAYS };

struct client {
	struct feed *feed;
	const struct sources_options *options;
	int64_t refresh;            /* ms */
	unsigned way;               /* the one that is being tried */
	struct http_call call;
	struct netbird *reader;
	int64_t spent;              /* CPU time of the thread at the end of the last answer, nanoseconds */
	bool answered;              /* in this way, this time */
	uint64_t revision;
	unsigned failures[WAYS];    /* in a row */
	int64_t not_before[WAYS];   /* monotonic microseconds */
	GString *trouble;           /* what went wrong in better ways, this time */
};

/* What one way is called where it works, and how it is tried; false with error if it ended other than well. */
struct way {
	const char *origin;         /* with the path behind it */
	const char *name;
	bool (*ask)(struct client *client, GError **error);
};

static int64_t
cpu_time(void)
{
	struct timespec time;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
	return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

static int64_t
deadline_of(const struct client *client)
{
	return g_get_monotonic_time() + client->refresh * 1000;
}

static const char *
path_of(const struct client *client, unsigned way)
{
	return way == COMMAND ? client->options->command : client->options->socket;
}

static bool ask_stream(struct client *client, GError **error);
static bool ask_status(struct client *client, GError **error);
static bool ask_command(struct client *client, GError **error);

static const struct way ways[WAYS] = {
	[STREAM] = { "the stream of", "stream", ask_stream },
	[STATUS] = { "questions at", "status", ask_status },
	[COMMAND] = { "the command", "command", ask_command },
};

/* "12 peers, 7 connected, from the stream of /var/run/netbird-http.sock" */
static char *
describe(const struct client *client, const struct news *news)
{
	g_autofree char *unreadable = news->unreadable ? g_strdup_printf(", %u unreadable ones left out", news->unreadable)
	                                               : NULL;

	return g_strdup_printf("%u peers, %u connected, from %s %s%s%s%s%s", news->peers, news->connected,
	                       ways[client->way].origin, path_of(client, client->way), unreadable ? unreadable : "",
	                       client->trouble->len ? " (" : "", client->trouble->str, client->trouble->len ? ")" : "");
}

/* Whatever the mesh does, names take no more than a fifth of a processor: meanwhile the client, which merges changes
 * that nobody has read yet, has to wait. */
static bool
rest(struct client *client)
{
	const int64_t now = cpu_time(), spent = now - client->spent;

	client->spent = now;
	return client->way != STREAM || feed_wait(client->feed, spent / 1000000 * REST);
}

static bool
on_news(struct news *news, void *data, GError **error)
{
	struct client *client = data;
	g_autofree char *text = describe(client, news);
	(void)error;

	client->answered = true;
	feed_deliver(client->feed, g_steal_pointer(&news->roster), text);
	if (news->revision != client->revision)
		feed_wake(client->feed, ROSTER_NETWORKS);
	client->revision = news->revision;
	news_free(news);
	const bool go_on = rest(client);
	client->call.deadline = deadline_of(client);
	return go_on;
}

/* A stream may be silent for days between two answers, but not within one. */
static bool
take_stream(const char *octets, size_t length, void *data, GError **error)
{
	struct client *client = data;

	if (!netbird_is_inside(client->reader))
		client->call.deadline = deadline_of(client);
	if (!netbird_feed(client->reader, octets, length, error))
		return false;
	if (!netbird_is_inside(client->reader))
		client->call.deadline = 0;
	return true;
}

static bool
take_answer(const char *octets, size_t length, void *data, GError **error)
{
	return netbird_feed(data, octets, length, error);
}

static bool
check_whole(const struct netbird *reader, bool answered, GError **error)
{
	if (answered && !netbird_is_inside(reader))
		return true;
	g_set_error_literal(error, PEERFLOW_ERROR, EX_DATAERR, netbird_is_inside(reader) ? "the answer breaks off"
	                                                                                 : "no answer");
	return false;
}

static bool
ask_stream(struct client *client, GError **error)
{
	g_autoptr(netbird_t) reader = netbird_new(NETBIRD_STATUS, on_news, client);

	client->reader = reader;
	client->call = (struct http_call){
		.socket = client->options->socket,
		.path = "/daemon.DaemonService/SubscribeStatus",
		.body = "{\"getFullPeerStatus\":true}",
		.take = take_stream,
		.data = client,
		.deadline = deadline_of(client),
	};
	return http_post(feed_stop_fd(client->feed), &client->call, error) && check_whole(reader, client->answered, error);
}

static bool
ask_status(struct client *client, GError **error)
{
	g_autoptr(netbird_t) reader = netbird_new(NETBIRD_STATUS, on_news, client);

	client->call = (struct http_call){
		.socket = client->options->socket,
		.path = "/daemon.DaemonService/Status",
		.body = "{\"getFullPeerStatus\":true}",
		.take = take_answer,
		.data = reader,
		.deadline = deadline_of(client),
	};
	return http_post(feed_stop_fd(client->feed), &client->call, error) && check_whole(reader, client->answered, error);
}

static bool
ask_command(struct client *client, GError **error)
{
	const char *const argv[] = { client->options->command, "status", "--json", NULL };
	g_autoptr(netbird_t) reader = netbird_new(NETBIRD_STATUS, on_news, client);

	return command_run(feed_stop_fd(client->feed), argv, deadline_of(client), take_answer, reader, error)
	       && check_whole(reader, client->answered, error);
}

/* Which way */

static bool
is_allowed(const struct client *client, unsigned way)
{
	const enum sources_status status = client->options->status;

	return way == COMMAND ? status != SOURCES_SOCKET : status != SOURCES_COMMAND;
}

static void
note_failure(struct client *client, unsigned way, const GError *error)
{
	const int64_t back_off = feed_back_off(++client->failures[way], client->refresh);

	client->not_before[way] = g_get_monotonic_time() + MAX(back_off, client->call.retry_after) * 1000;
	g_string_append_printf(client->trouble, "%s%s: %s", client->trouble->len ? "; " : "", ways[way].name,
	                       error->message);
}

/* True if there was an answer; *wait is then when to ask again, in ms. A stream that breaks off after its first answer
 * every time must not be opened again at once every time. */
static bool
try_way(struct client *client, unsigned way, int64_t *wait)
{
	const int64_t until = deadline_of(client);
	g_autoptr(GError) error = NULL;

	client->way = way;
	client->answered = false;
	client->call.retry_after = 0;
	client->spent = cpu_time();
	ways[way].ask(client, &error);
	if (!client->answered) {
		note_failure(client, way, error);
		return false;
	}
	const bool brief = way == STREAM && g_get_monotonic_time() < until;
	client->failures[way] = brief ? client->failures[way] + 1 : 0;
	*wait = way == STREAM ? feed_back_off(client->failures[way], client->refresh) : client->refresh;
	return true;
}

/* "neither /var/run/netbird-http.sock nor /usr/bin/netbird exists" */
static char *
describe_absence(const struct client *client)
{
	if (client->options->status == SOURCES_AUTO)
		return g_strdup_printf("neither %s nor %s exists", client->options->socket, client->options->command);
	return g_strdup_printf("%s does not exist", path_of(client, client->options->status == SOURCES_COMMAND ? COMMAND
	                                                                                                        : STATUS));
}

/* Without an answer. Whoever names a way wants to know that it leads nowhere. Returns ms until it is worth trying
 * again. */
static int64_t
say_trouble(struct client *client, int64_t wait)
{
	g_autofree char *absence = describe_absence(client);
	g_autoptr(GError) error = g_error_new_literal(PEERFLOW_ERROR, EX_UNAVAILABLE,
	                                              client->trouble->len ? client->trouble->str : absence);

	if (!client->trouble->len && client->options->status == SOURCES_AUTO)
		feed_absent(client->feed, absence);
	else
		feed_fail(client->feed, error);
	return client->trouble->len ? wait : MIN(wait, ABSENT_MOST);
}

/* The best way that works. Returns ms until the next time. */
static int64_t
ask(struct client *client)
{
	int64_t wait = client->refresh;
	bool waiting = false;

	g_string_truncate(client->trouble, 0);
	for (unsigned way = 0; way < WAYS; way++) {
		const int64_t now = g_get_monotonic_time();
		if (!is_allowed(client, way) || access(path_of(client, way), F_OK) < 0)
			continue;
		if (client->not_before[way] <= now && try_way(client, way, &wait))
			return wait;
		if (feed_is_stopped(client->feed))
			return 0;
		waiting |= client->not_before[way] > now;
		wait = MIN(wait, MAX(client->not_before[way] - now, 0) / 1000 + 1);
	}
	return waiting && !client->trouble->len ? wait : say_trouble(client, wait);
}

bool
client_is_wanted(const struct sources_options *options)
{
	return options->status != SOURCES_OFF;
}

void
client_run(struct feed *feed, const struct sources_options *options)
{
	struct client client = {
		.feed = feed,
		.options = options,
		.refresh = options->refresh * INT64_C(1000),
		.trouble = g_string_new(NULL),
	};

	while (feed_wait(feed, ask(&client)))
		;
	g_string_free(client.trouble, true);
}

/* Networks */

static bool
on_networks(struct news *news, void *data, GError **error)
{
	struct news **last = data;
	(void)error;

	news_free(*last);
	*last = news;
	return true;
}

static struct roster *
load_networks(struct feed *feed, const void *data, char **text, GError **error)
{
	const struct sources_options *options = data;
	g_autoptr(news_t) news = NULL;
	g_autoptr(netbird_t) reader = netbird_new(NETBIRD_NETWORKS, on_networks, &news);
	struct http_call call = {
		.socket = options->socket,
		.path = "/daemon.DaemonService/ListNetworks",
		.body = "{}",
		.take = take_answer,
		.data = reader,
		.deadline = g_get_monotonic_time() + options->refresh * G_USEC_PER_SEC,
	};

	if (access(options->socket, F_OK) < 0) {
		*text = g_strdup_printf("%s does not exist", options->socket);
		return NULL;
	}
	if (!http_post(feed_stop_fd(feed), &call, error) || !check_whole(reader, news, error))
		return NULL;
	*text = g_strdup_printf("%u networks, %u selected, from %s", news->peers, news->connected, options->socket);
	return g_steal_pointer(&news->roster);
}

bool
client_has_networks(const struct sources_options *options)
{
	return options->status == SOURCES_AUTO || options->status == SOURCES_SOCKET;
}

void
client_run_networks(struct feed *feed, const struct sources_options *options)
{
	feed_poll(feed, load_networks, options, options->refresh * INT64_C(1000));
}
