/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "endpoint.h"
#include "error.h"
#include "link.h"
#include "queue.h"
#include "resolve.h"
#include "session.h"
#include "wakeup.h"

/* The life of a link: look up the name, try its addresses one after the other, be open, and after a failure wait and
 * begin again. All of it happens in callbacks of the main loop; link_send only hands messages to the session, and the
 * session's notes bring back what went wrong with them. */

#define SECOND INT64_C(1000000)
#define CONNECT_LIMIT (10 * SECOND)
#define LONGEST_RETRY 16            /* times the first */
#define HANDLER_INTERVAL SECOND     /* between two calls of refused() */
#define YOUNG (5 * SECOND)          /* a session refused at this age never worked */
#define RECENT (5 * SECOND)         /* an error is no more than this old, or the trouble is over */

enum state {
	LOOKING,                    /* up the name */
	CONNECTING,
	OPEN,
	WAITING,                    /* for the next attempt */
	GONE,                       /* adopted, and the other end has left */
};

struct link {
	struct session session;
	char *name;
	char *host;
	uint16_t port;
	union endpoint literal;     /* host, if it is an address */
	union endpoint source;
	unsigned retry, resolve;    /* seconds */
	struct link_handler handler;
	void (*closed)(void *data);
	void *data;

	enum state state;
	GSource *timer;             /* what for: see on_timer */
	GSource *look;              /* at the name and the path, from time to time */
	int64_t look_at;
	struct lookup *lookup;      /* under way */
	struct answers answers;
	size_t tried;               /* of the answers */

	unsigned delay;             /* seconds before the last new attempt */
	int64_t opened_at;          /* zero: not since the last failure */
	char *said;                 /* the failure last logged */

	bool troubled;              /* messages fail to leave, or come back refused, and that is logged */
	int64_t troubled_at;
	uint64_t sent_before;       /* messages, when that was */
	int64_t refused_at;         /* last call of the handler */

	struct receipts *own;       /* if nobody gave any */
};

static void try_answers(struct link *link);

static void
look_within(struct link *link, unsigned seconds)
{
	int64_t when = g_get_monotonic_time() + seconds * SECOND;

	if (link->look_at && link->look_at <= when)
		return;
	link->look_at = when;
	wakeup_at(link->look, when);
}

static void
remember_trail(struct link *link)
{
	struct receipts *receipts = link->session.receipts;
	struct trail *trail = &receipts->trail[receipts->trails++ % TRAILS];
	socklen_t length = sizeof trail->local;

	*trail = (struct trail) { .remote = link->session.remote };
	if (getsockname(link->session.fd, &trail->local.any, &length))
		trail->local = (union endpoint) { 0 };
}

/* Seconds until the next attempt. A session that outlived its delay shows that the way is good again. */
static unsigned
next_delay(struct link *link)
{
	bool datagrams = link->session.carrier->datagrams;
	unsigned first = datagrams ? 1 : link->retry;
	unsigned longest = datagrams ? link->retry : link->retry * LONGEST_RETRY;
	int64_t lived = link->opened_at ? g_get_monotonic_time() - link->opened_at : 0;
	bool good = lived > link->delay * SECOND;

	link->delay = !link->delay || good ? first : MIN(link->delay * 2, longest);
	link->opened_at = 0;
	/* What ended a datagram session was a change of our own addresses or routes, and the next may be there already. */
	return datagrams && good ? 0 : link->delay;
}

/* Ends what there is of a session and waits. The same failure over and over is logged once. Takes reason. */
static void
fail(struct link *link, char *reason)
{
	unsigned delay = next_delay(link);

	session_end(&link->session);
	if (g_strcmp0(reason, link->said) && delay)
		g_warning("collector %s: %s; next try in %u s", link->name, reason, delay);
	else if (g_strcmp0(reason, link->said))
		g_warning("collector %s: %s; trying again", link->name, reason);
	g_free(link->said);
	link->said = reason;
	link->state = WAITING;
	link->troubled = false;
	link->look_at = 0;
	wakeup_at(link->look, WAKEUP_NEVER);
	/* Not all at once after a power cut, but never sooner than configured (RFC 7011 section 10.4.4). */
	wakeup_at(link->timer, g_get_monotonic_time() + (int64_t)(delay * SECOND * g_random_double_range(1.0, 1.1)));
}

static void
begin_session(struct link *link)
{
	struct session *session = &link->session;

	link->state = OPEN;
	link->opened_at = g_get_monotonic_time();
	wakeup_at(link->timer, link->troubled ? link->opened_at + RECENT : WAKEUP_NEVER);
	session->carrier->begin(session);
	session->open = true;
	session->counters.sessions++;
	g_clear_pointer(&link->said, g_free);
	/* While troubled one address after the other may be tried, which is no news. */
	if (!link->troubled)
		g_message("collector %s: sending to %s over %s", link->name, endpoint_text(&session->remote).text,
		          session->carrier->name);
	look_within(link, link->resolve);
	if (link->handler.opened)
		link->handler.opened(link->data, session->payload);
}

static char *
describe(const struct link *link, const char *what)
{
	return g_strdup_printf("%s: %s", endpoint_text(&link->session.remote).text, what);
}

/* This address was no good: the next one, or if none is left, later. */
static void
give_up_address(struct link *link, const char *why)
{
	if (link->tried < link->answers.n) {
		session_end(&link->session);
		try_answers(link);
	} else {
		fail(link, describe(link, why));
	}
}

static void
try_answers(struct link *link)
{
	struct session *session = &link->session;

	session->remote = link->answers.endpoint[link->tried++];
	int error = session->carrier->connect(session, &link->source);
	if (!error || error == EINPROGRESS)
		remember_trail(link);
	if (!error) {
		begin_session(link);
	} else if (error == EINPROGRESS) {
		link->state = CONNECTING;
		session_watch(session, G_IO_OUT);
		wakeup_at(link->timer, g_get_monotonic_time() + CONNECT_LIMIT);
	} else {
		give_up_address(link, g_strerror(error));
	}
}

static void
finish_connect(struct link *link)
{
	int error = 0;
	socklen_t length = sizeof error;

	if (getsockopt(link->session.fd, SOL_SOCKET, SO_ERROR, &error, &length))
		error = errno;
	if (error)
		give_up_address(link, g_strerror(error));
	else
		begin_session(link);
}

/* True if messages of this session came back lately, so that another address of the name may do better. */
static bool
is_refused(const struct link *link)
{
	bool recent = g_get_monotonic_time() - link->troubled_at < RECENT;

	return link->troubled && recent && link->troubled_at >= link->opened_at;
}

/* True if the session's address is still a good one. If it is merely still there but refuses, it goes to the end. */
static bool
keep_address(const struct link *link, struct answers *answers)
{
	for (size_t i = 0; i < answers->n; i++) {
		union endpoint *answer = &answers->endpoint[i];
		if (!endpoint_equal(answer, &link->session.remote))
			continue;
		if (answers->n == 1 || !is_refused(link))
			return true;
		memmove(answer, answer + 1, (answers->n - i - 1) * sizeof *answer);
		answers->endpoint[answers->n - 1] = link->session.remote;
		break;
	}
	return false;
}

static void
finish_session(struct session *session, int64_t deadline)
{
	if (session->open && session->carrier->finish)
		session->carrier->finish(session, deadline);
	session_end(session);
}

static void
use_answers(struct link *link, const struct answers *answers)
{
	struct answers found = *answers;

	/* An answer that comes after the session was lost must not cut the wait short. */
	if (link->state != OPEN && link->state != LOOKING)
		return;
	if (link->state == OPEN && keep_address(link, &found)) {
		if (link->session.carrier->check)
			link->session.carrier->check(&link->session);
		look_within(link, link->resolve);
		return;
	}
	finish_session(&link->session, 0);
	link->answers = found;
	link->tried = 0;
	try_answers(link);
}

static void
on_answers(void *data, const struct answers *answers, const GError *error)
{
	struct link *link = data;

	link->lookup = NULL;
	if (!error)
		use_answers(link, answers);
	else if (link->state == OPEN)
		look_within(link, link->resolve);       /* the name server's trouble is not the session's */
	else if (link->state == LOOKING)
		fail(link, g_strdup_printf("cannot resolve %s: %s", link->host, error->message));
}

static gboolean
on_look(gpointer data)
{
	struct link *link = data;
	struct answers literal = { { link->literal }, 1 };

	link->look_at = 0;
	if (link->literal.any.sa_family)
		use_answers(link, &literal);
	else if (!link->lookup)
		link->lookup = resolve_start(link->host, link->port, link->source.any.sa_family, on_answers, link);
	return G_SOURCE_CONTINUE;
}

/* Once nothing failed for a while although something was sent, the trouble is over. */
static void
check_trouble(struct link *link)
{
	int64_t calm_at = link->troubled_at + RECENT;
	bool sent = link->session.counters.messages_sent > link->sent_before;

	if (!link->troubled)
		return;
	if (g_get_monotonic_time() < calm_at || !sent) {
		wakeup_at(link->timer, MAX(calm_at, g_get_monotonic_time() + SECOND));
		return;
	}
	link->troubled = false;
	g_message("collector %s: %s takes messages again", link->name, endpoint_text(&link->session.remote).text);
}

static gboolean
on_timer(gpointer data)
{
	struct link *link = data;

	switch (link->state) {
	case CONNECTING:
		give_up_address(link, g_strerror(ETIMEDOUT));
		break;
	case OPEN:
		check_trouble(link);
		break;
	case WAITING:
		link->state = LOOKING;
		on_look(link);
		break;
	case LOOKING:
	case GONE:
		break;
	}
	return G_SOURCE_CONTINUE;
}

/* True if the session is still the same. */
static bool
note_trouble(struct link *link)
{
	int64_t now = g_get_monotonic_time();
	bool young = now - link->opened_at < YOUNG && link->tried < link->answers.n;

	if (!link->troubled)
		g_warning("collector %s: %s: %s", link->name, endpoint_text(&link->session.remote).text,
		          g_strerror(link->session.error));
	link->troubled = true;
	link->troubled_at = now;
	link->sent_before = link->session.counters.messages_sent;
	wakeup_at(link->timer, now + RECENT);
	/* Of "localhost" or a name with two families often only one address has a collector behind it. */
	if (young)
		give_up_address(link, g_strerror(link->session.error));
	else
		look_within(link, link->retry);
	return !young;
}

/* Calls refused() now or, if it was called less than a second ago, then. */
static void
call_refused(struct link *link)
{
	int64_t now = g_get_monotonic_time();
	int64_t next = link->refused_at ? link->refused_at + HANDLER_INTERVAL : now;

	if (now < next) {
		link->session.notes |= SESSION_TROUBLED;
		wakeup_at(link->session.notify, next);
		return;
	}
	link->refused_at = now;
	if (note_trouble(link) && link->handler.refused)
		link->handler.refused(link->data);
}

static void
lose_session(struct link *link)
{
	int error = link->session.error;

	if (link->host) {
		g_autofree char *why = describe(link, error ? g_strerror(error) : "closed by the other end");
		fail(link, g_strconcat("lost ", why, NULL));
		return;
	}
	session_end(&link->session);
	link->state = GONE;
	if (link->closed)
		link->closed(link->data);
}

static gboolean
on_notes(gpointer data)
{
	struct link *link = data;
	unsigned notes = link->session.notes;

	link->session.notes = 0;
	if (notes & SESSION_LOST) {
		lose_session(link);
		return G_SOURCE_CONTINUE;
	}
	if (notes & SESSION_RESIZED && link->handler.resized)
		link->handler.resized(link->data, link->session.payload);
	if (notes & SESSION_TROUBLED)
		call_refused(link);
	return G_SOURCE_CONTINUE;
}

static gboolean
on_ready(gpointer data)
{
	struct link *link = data;
	struct session *session = &link->session;
	GIOCondition condition = session->watched ? g_source_query_unix_fd(session->watch, session->watched) : 0;

	if (!condition)
		return G_SOURCE_CONTINUE;
	if (link->state == CONNECTING)
		finish_connect(link);
	else if (session->open)
		session->carrier->ready(session, condition);
	return G_SOURCE_CONTINUE;
}

static struct link *
link_new(const char *name, const struct carrier *carrier, struct receipts *receipts, void *data)
{
	struct link *link = g_new0(struct link, 1);

	link->name = g_strdup(name);
	link->data = data;
	link->timer = wakeup_new(on_timer, link);
	link->look = wakeup_new(on_look, link);
	link->own = receipts ? NULL : g_new0(struct receipts, 1);
	link->session = (struct session) {
		.carrier = carrier,
		.receipts = receipts ? receipts : link->own,
		.fd = -1,
		.watch = wakeup_new(on_ready, link),
		.notify = wakeup_new(on_notes, link),
	};
	return link;
}

static bool
read_addresses(const struct link_options *options, union endpoint *literal, union endpoint *source, GError **error)
{
	if (options->source_address && !endpoint_parse(source, options->source_address, 0)) {
		g_set_error(error, PEERFLOW_ERROR, EX_CONFIG, "collector %s: source address \"%s\" is not an address",
		            options->name, options->source_address);
		return false;
	}
	if (!endpoint_parse(literal, options->host, options->port) || !source->any.sa_family)
		return true;
	if (literal->any.sa_family == source->any.sa_family)
		return true;
	g_set_error(error, PEERFLOW_ERROR, EX_CONFIG, "collector %s: source address %s and host %s differ in family",
	            options->name, options->source_address, options->host);
	return false;
}

struct link *
link_open(const struct link_options *options, const struct link_handler *handler, void *data, GError **error)
{
	static const struct carrier *const carriers[] = { [LINK_UDP] = &udp_carrier, [LINK_TCP] = &tcp_carrier };
	union endpoint literal = { 0 }, source = { 0 };

	if (!read_addresses(options, &literal, &source, error))
		return NULL;
	struct link *link = link_new(options->name, carriers[options->transport], options->receipts, data);
	link->host = g_strdup(options->host);
	link->port = options->port;
	link->literal = literal;
	link->source = source;
	link->retry = MAX(options->retry, 1);
	link->resolve = MAX(options->resolve, 1);
	link->handler = *handler;
	link->session.mtu = options->mtu;
	link->session.queue_size = options->queue;
	wakeup_at(link->look, WAKEUP_NOW);
	return link;
}

struct link *
link_adopt(int fd, const char *name, size_t queue, void (*closed)(void *data), void *data)
{
	struct link *link = link_new(name, &adopted_carrier, NULL, data);

	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	link->closed = closed;
	link->state = OPEN;
	link->session.fd = fd;
	link->session.queue_size = queue;
	link->session.carrier->begin(&link->session);
	link->session.open = true;
	link->session.counters.sessions = 1;
	return link;
}

void
link_send(struct link *link, const struct message *messages, size_t n)
{
	if (link->session.open)
		link->session.carrier->send(&link->session, messages, n);
	else
		session_dropped(&link->session, DROP_NO_SESSION, messages, n);
}

uint64_t
link_mark(const struct link *link)
{
	return link->session.receipts->out;
}

void
link_keep(struct link *link)
{
	link->session.keep = true;
}

bool
link_is_open(const struct link *link)
{
	return link->session.open;
}

bool
link_is_settled(const struct link *link)
{
	return link->session.open || !link->session.queue;
}

static bool
trail_matches(const struct trail *trail, const struct flow *flow)
{
	const struct side *side = &flow->original;

	if (endpoint_matches(&trail->local, flow->family, &side->source, side->source_port))
		return endpoint_matches(&trail->remote, flow->family, &side->destination, side->destination_port);
	/* Connection tracking that meets a session midway may take the collector for its initiator. */
	return endpoint_matches(&trail->remote, flow->family, &side->source, side->source_port) &&
	       endpoint_matches(&trail->local, flow->family, &side->destination, side->destination_port);
}

bool
link_carries(const struct link *link, const struct flow *flow)
{
	if (flow->protocol != link->session.carrier->protocol)
		return false;
	const struct receipts *receipts = link->session.receipts;
	for (size_t i = 0; i < MIN(receipts->trails, TRAILS); i++)
		if (trail_matches(&receipts->trail[i], flow))
			return true;
	return false;
}

const struct link_counters *
link_counters(const struct link *link)
{
	return &link->session.counters;
}

void
link_status(const struct link *link, struct link_status *status)
{
	static const char *const states[] = {
		[LOOKING] = "resolving", [CONNECTING] = "connecting", [OPEN] = "sending", [WAITING] = "waiting",
		[GONE] = "gone",
	};
	const struct session *session = &link->session;
	const bool known = session->remote.any.sa_family != AF_UNSPEC;

	*status = (struct link_status){ .state = link->troubled ? "refused" : states[link->state], .trouble = "" };
	if (link->troubled)
		status->trouble = g_strerror(session->error);
	else if (link->said)
		status->trouble = link->said;
	if (known)
		g_strlcpy(status->address, endpoint_text(&session->remote).text, sizeof status->address);
	status->queue_size = session->carrier->datagrams ? 0 : session->queue_size;
	status->queue_filled = session->queue ? queue_filled(session->queue) : 0;
}

void
link_stop(struct link *link, unsigned patience)
{
	struct session *session = &link->session;

	finish_session(session, g_get_monotonic_time() + patience * INT64_C(1000));
	if (session->kept)
		g_message("collector %s: %" G_GUINT64_FORMAT " flow records were waiting and stay for the next start",
		          link->name, session->kept);
	session->kept = 0;
	/* The trails stay with this link, the receipts go on with another one. */
	if (!link->own)
		session->receipts = link->own = g_memdup2(session->receipts, sizeof *session->receipts);
	if (link->lookup)
		resolve_cancel(g_steal_pointer(&link->lookup));
	GSource **wakeups[] = { &link->timer, &link->look, &session->watch, &session->notify };
	for (size_t i = 0; i < G_N_ELEMENTS(wakeups); i++)
		wakeup_clear(wakeups[i]);
}

void
link_close(struct link *link, unsigned patience)
{
	link_stop(link, patience);
	g_free(link->name);
	g_free(link->host);
	g_free(link->said);
	g_free(link->own);
	g_free(link);
}
