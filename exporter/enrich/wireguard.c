/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "enrich/wireguard.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "enrich/feed.h"
#include "enrich/sources.h"
#include "error.h"

enum {
	LINE_MOST = 4096,           /* octets; the longest line there is has a tenth of it */
	PREFIXES_MOST = 1 << 20,
	PATIENCE = 5000,            /* ms */
};

/* An answer as it is read, a line at a time: it may be long, and is not to lie about in memory. */
struct answer {
	GArray *prefixes;
	uint8_t key[TUNNEL_KEY_OCTETS];
	bool has_key;
	bool has_verdict;
	bool done;
};

static bool
complain(GError **error, const char *what)
{
	g_set_error(error, PEERFLOW_ERROR, EX_DATAERR, "the answer %s", what);
	return false;
}

static bool
take_key(struct answer *answer, const char *value, GError **error)
{
	for (unsigned i = 0; i < TUNNEL_KEY_OCTETS; i++, value += 2) {
		const int high = g_ascii_xdigit_value(value[0]), low = high < 0 ? -1 : g_ascii_xdigit_value(value[1]);
		if (low < 0)
			return complain(error, "has a public_key that is none");
		answer->key[i] = high << 4 | low;
	}
	answer->has_key = true;
	return !*value || complain(error, "has a public_key that is none");
}

static bool
take_allowed(struct answer *answer, const char *value, GError **error)
{
	struct tunnel_prefix prefix = { .family = strchr(value, ':') ? 6 : 4 };
	g_auto(GStrv) part = g_strsplit(value, "/", 2);
	guint64 length;

	if (!answer->has_key)
		return complain(error, "has an allowed_ip before the peer's public_key");
	if (answer->prefixes->len >= PREFIXES_MOST)
		return complain(error, "has too many allowed_ip");
	if (!part[0] || inet_pton(prefix.family == 4 ? AF_INET : AF_INET6, part[0], &prefix.address) != 1 || !part[1]
	    || !g_ascii_string_to_unsigned(part[1], 10, 0, prefix.family == 4 ? 32 : 128, &length, NULL))
		return complain(error, "has an allowed_ip that is none");
	prefix.length = length;
	memcpy(prefix.key, answer->key, sizeof prefix.key);
	tunnel_prefix_cut(&prefix);
	g_array_append_val(answer->prefixes, prefix);
	return true;
}

static bool
take_verdict(struct answer *answer, const char *value, GError **error)
{
	answer->has_verdict = true;
	return strcmp(value, "0") == 0 || complain(error, "reports an error");
}

static const struct {
	const char *key;
	bool (*take)(struct answer *answer, const char *value, GError **error);
} lines[] = {
	{ "public_key=", take_key },
	{ "allowed_ip=", take_allowed },
	{ "errno=", take_verdict },
};

static bool
take_line(struct answer *answer, const char *line, GError **error)
{
	if (!*line) {
		answer->done = true;
		return answer->has_verdict || complain(error, "ends without errno");
	}
	for (unsigned i = 0; i < G_N_ELEMENTS(lines); i++)
		if (g_str_has_prefix(line, lines[i].key))
			return lines[i].take(answer, line + strlen(lines[i].key), error);
	return true;
}

/* Takes the whole lines, and moves the rest to the front. */
static bool
take_lines(struct answer *answer, char *text, size_t *length, GError **error)
{
	char *at = text, *end = text + *length, *stop;

	while (!answer->done && (stop = memchr(at, '\n', end - at))) {
		*stop = '\0';
		if (!take_line(answer, at, error))
			return false;
		at = stop + 1;
	}
	*length = end - at;
	memmove(text, at, *length);
	return *length < LINE_MOST || complain(error, "has a line that is too long");
}

bool
wireguard_parse(const char *text, size_t length, GArray *prefixes, GError **error)
{
	struct answer answer = { .prefixes = prefixes };
	char line[LINE_MOST];
	size_t kept = 0;
	bool good = true;

	while (good && !answer.done && length) {
		const size_t n = MIN(length, sizeof line - kept);
		memcpy(line + kept, text, n);
		text += n;
		length -= n;
		kept += n;
		good = take_lines(&answer, line, &kept, error);
	}
	explicit_bzero(line, sizeof line);
	return good && (answer.done || complain(error, "is cut short"));
}

/* What it means. */

static const struct tunnel_prefix *
at(const GArray *prefixes, guint i)
{
	return &g_array_index(prefixes, struct tunnel_prefix, i);
}

static struct roster_prefix
plain(const struct tunnel_prefix *prefix)
{
	return (struct roster_prefix){ prefix->address, prefix->family, prefix->length };
}

static bool
is_whole(const struct tunnel_prefix *prefix)
{
	return prefix->length == (prefix->family == 4 ? 32 : 128);
}

/* The routes of one peer, whose prefixes are those from first up to end. */
static void
add_routes(struct roster *roster, const GArray *prefixes, guint first, guint end)
{
	guint own = first;

	while (own < end && !is_whole(at(prefixes, own)))
		own++;
	if (own == end)
		return;
	const struct roster_prefix gateway = plain(at(prefixes, own));
	for (guint i = first; i < end; i++) {
		const struct roster_prefix prefix = plain(at(prefixes, i));
		if (i != own)
			roster_add_route(roster, &prefix, &gateway);
	}
}

struct roster *
wireguard_roster(const GArray *prefixes)
{
	struct roster *roster = roster_new();

	for (guint first = 0, end; first < prefixes->len; first = end) {
		for (end = first + 1; end < prefixes->len; end++)
			if (memcmp(at(prefixes, end)->key, at(prefixes, first)->key, TUNNEL_KEY_OCTETS) != 0)
				break;
		add_routes(roster, prefixes, first, end);
	}
	return roster;
}

/* The socket. */

static bool
fail(GError **error, int code, const char *path, const char *reason)
{
	g_set_error(error, PEERFLOW_ERROR, code, "%s: %s", path, reason);
	return false;
}

static int
open_socket(const char *path, GError **error)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd;

	if (g_strlcpy(address.sun_path, path, sizeof address.sun_path) >= sizeof address.sun_path) {
		fail(error, EX_UNAVAILABLE, path, g_strerror(ENAMETOOLONG));
		return -1;
	}
	if ((fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) < 0) {
		fail(error, EX_OSERR, path, g_strerror(errno));
		return -1;
	}
	if (!connect(fd, (const struct sockaddr *)&address, sizeof address))
		return fd;
	fail(error, errno == EACCES || errno == EPERM ? EX_NOPERM : EX_UNAVAILABLE, path, g_strerror(errno));
	close(fd);
	return -1;
}

/* More octets, or 0 at the end and on failure. */
static size_t
receive(int fd, const char *path, void *octets, size_t room, int64_t deadline, GError **error)
{
	struct pollfd ready = { .fd = fd, .events = POLLIN };
	const int64_t left = (deadline - g_get_monotonic_time()) / 1000;

	if (left <= 0 || poll(&ready, 1, left) == 0) {
		fail(error, EX_IOERR, path, "no whole answer in time");
		return 0;
	}
	const ssize_t n = recv(fd, octets, room, 0);
	if (n <= 0)
		fail(error, EX_IOERR, path, n < 0 ? g_strerror(errno) : "the answer is cut short");
	return MAX(n, 0);
}

static bool
converse(int fd, const char *path, unsigned patience, GArray *prefixes, GError **error)
{
	static const char question[] = "get=1\n\n";
	const int64_t deadline = g_get_monotonic_time() + patience * INT64_C(1000);
	struct answer answer = { .prefixes = prefixes };
	g_autoptr(GError) wrong = NULL;
	char text[LINE_MOST];
	size_t kept = 0, n = 1;

	if (send(fd, question, strlen(question), MSG_NOSIGNAL) != (ssize_t)strlen(question))
		return fail(error, EX_IOERR, path, g_strerror(errno));
	while (!answer.done && n && !wrong) {
		n = receive(fd, path, text + kept, sizeof text - kept, deadline, error);
		kept += n;
		if (n)
			take_lines(&answer, text, &kept, &wrong);
	}
	explicit_bzero(text, sizeof text);
	return wrong ? fail(error, wrong->code, path, wrong->message) : n != 0;
}

bool
wireguard_socket(const char *directory, const char *interface, unsigned patience, GArray *prefixes, GError **error)
{
	g_autofree char *path = g_strdup_printf("%s/%s.sock", directory, interface);
	int fd = open_socket(path, error);

	if (fd < 0)
		return false;
	const bool good = converse(fd, path, patience, prefixes, error);
	close(fd);
	return good;
}

/* The source. */

/* The socket of a program, or else the kernel. Neither being there is no failure: the mesh may be of another kind. */
static GArray *
ask(const struct sources_options *options, char **text, GError **error)
{
	g_autoptr(GArray) prefixes = g_array_new(false, true, sizeof(struct tunnel_prefix));
	g_autoptr(GError) wrong = NULL, kernel = NULL;
	const char *from = "WireGuard's socket of ";

	if (!wireguard_socket(WIREGUARD_SOCKETS, options->interface, PATIENCE, prefixes, &wrong)) {
		from = "the kernel's ";
		if (wrong->code == EX_UNAVAILABLE && options->tunnel
		    && options->tunnel(options->interface, prefixes, &kernel))
			g_clear_error(&wrong);
	}
	if (kernel && kernel->code != EX_UNAVAILABLE)
		g_propagate_error(error, g_steal_pointer(&kernel));
	else if (wrong && wrong->code != EX_UNAVAILABLE)
		g_propagate_error(error, g_steal_pointer(&wrong));
	else
		*text = wrong ? g_strdup_printf("%s; %s", wrong->message, kernel ? kernel->message : "the kernel is not asked")
		              : g_strdup_printf("%u prefixes from %s%s", prefixes->len, from, options->interface);
	return wrong || *error ? NULL : g_steal_pointer(&prefixes);
}

static struct roster *
load(struct feed *feed, const void *options, char **text, GError **error)
{
	g_autoptr(GArray) prefixes = ask(options, text, error);
	(void)feed;

	return prefixes ? wireguard_roster(prefixes) : NULL;
}

bool
wireguard_is_wanted(const struct sources_options *options)
{
	return options->interface != NULL;
}

void
wireguard_run(struct feed *feed, const struct sources_options *options)
{
	feed_poll(feed, load, options, options->refresh * INT64_C(1000));
}
