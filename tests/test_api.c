/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The management server's calls: tokens, what is asked, and what is made of every kind of answer. */

#include "enrich/api.h"

#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "error.h"
#include "suite.h"

#define TOKEN "nbp_0123456789abcdef0123456789abcdef0123"
#define OK "HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=UTF-8\r\nContent-Length: "

/* A server of one path: anything else it answers with an empty list. */
struct answer {
	const char *path;
	const char *text;           /* NULL: it is silent */
};

static void
say(int fd, const char *text)
{
	if (send(fd, text, strlen(text), MSG_NOSIGNAL) < 0)
		return;
}

/* Whether the whole question is one that may be asked. */
static bool
is_proper(const char *question, const char *scheme)
{
	g_autofree char *header = g_strdup_printf("\r\nAuthorization: %s " TOKEN "\r\n", scheme);

	return g_str_has_prefix(question, "GET /api/") && strstr(question, scheme[0] ? header : "\r\nAuthorization: Bearer ey")
		&& strstr(question, "\r\nUser-Agent: peerflow/");
}

static void
serve(int fd, const struct answer *answer, const char *scheme)
{
	char question[4096];
	const ssize_t n = recv(fd, question, sizeof question - 1, 0);
	g_autofree char *wanted = g_strdup_printf("GET %s HTTP", answer->path);

	question[MAX(n, 0)] = '\0';
	if (!is_proper(question, scheme))
		say(fd, "HTTP/1.1 418 Improper\r\nContent-Length: 0\r\n\r\n");
	else if (!g_str_has_prefix(question, wanted))
		say(fd, OK "2\r\nConnection: close\r\n\r\n[]");
	else if (answer->text)
		say(fd, answer->text);
	else
		poll(NULL, 0, 5000);
	close(fd);
}

struct server {
	pid_t pid;
	char *url;
};

static struct server
start(const struct answer *answer, const char *scheme)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof address;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CU_ASSERT_EQUAL_FATAL(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
	CU_ASSERT_EQUAL_FATAL(listen(fd, 8), 0);
	getsockname(fd, (struct sockaddr *)&address, &length);
	struct server server = { .pid = fork(), .url = g_strdup_printf("http://127.0.0.1:%u/", ntohs(address.sin_port)) };
	if (server.pid == 0) {
		alarm(30);
		for (;;)
			serve(accept(fd, NULL, NULL), answer, scheme);
	}
	close(fd);
	return server;
}

static void
stop(struct server *server)
{
	kill(server->pid, SIGKILL);
	waitpid(server->pid, NULL, 0);
	g_free(server->url);
}

static char *
write_file(const char *text, mode_t mode)
{
	char *path = NULL;
	int fd = g_file_open_tmp("peerflow-XXXXXX", &path, NULL);

	CU_ASSERT_EQUAL_FATAL(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	fchmod(fd, mode);
	close(fd);
	return path;
}

/* What is loaded from a server that has one answer of interest. */
static struct roster *
load(const char *path, const char *text, char **said, unsigned *retry, GError **error)
{
	const struct answer answer = { path, text };
	g_autofree char *file = write_file(TOKEN "\n", 0600);
	struct server server = start(&answer, "Token");
	const struct api_options options = { server.url, file, 1 };
	struct roster *roster = api_load(&options, -1, said, retry, error);

	stop(&server);
	unlink(file);
	return roster;
}

/* ---- tests ---- */

static void
test_good(void)
{
	static const char list[] = "[{\"id\":\"d2laptop\",\"name\":\"alice-laptop\",\"ip\":\"100.90.0.7\","
	                           "\"user_id\":\"u1\",\"groups\":null},{\"name\":\"no id\"}]";
	g_autofree char *text = g_strdup_printf(OK "%zu\r\n\r\n%s", strlen(list), list);
	g_autofree char *said = NULL;
	unsigned retry = 1;
	g_autoptr(GError) error = NULL;
	g_autoptr(roster_t) roster = load("/api/peers", text, &said, &retry, &error);

	CU_ASSERT_PTR_NOT_NULL_FATAL(roster);
	CU_ASSERT_EQUAL(roster->entry->len, 1);
	CU_ASSERT_STRING_EQUAL(g_array_index(roster->entry, struct roster_entry, 0).word[WORD_USER], "u1");
	CU_ASSERT_TRUE(g_str_has_prefix(said, "1 peers, 0 resources, 0 policies from http://127.0.0.1:"));
	CU_ASSERT_STRING_EQUAL(roster->state, said);
	CU_ASSERT_TRUE(roster->has_policies);
	CU_ASSERT_EQUAL(retry, 0);
}

/* What is no answer, on the list that matters. */
static void
test_failures(void)
{
	static const struct {
		const char *text;
		int code;
		unsigned retry;
		const char *error;      /* ends with */
	} cases[] = {
		{ "HTTP/1.1 401 No\r\nContent-Length: 3\r\n\r\n{x}", EX_NOPERM, 0,
		  "HTTP 401: the token is not valid (any more)" },
		{ "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", EX_NOPERM, 0,
		  "/api/peers: HTTP 403: the token's user may not read this" },
		{ "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", EX_UNAVAILABLE, 0,
		  "HTTP 404: no management server of NetBird is there" },
		{ "HTTP/1.1 429 No\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n", EX_UNAVAILABLE, 7,
		  "HTTP 429: asked too often" },
		{ "HTTP/1.1 429 No\r\nRetry-After: 99999999999\r\nContent-Length: 0\r\n\r\n", EX_UNAVAILABLE, 3600,
		  "HTTP 429: asked too often" },
		{ "HTTP/1.1 429 No\r\nRetry-After: soon\r\nContent-Length: 0\r\n\r\n", EX_UNAVAILABLE, 0,
		  "HTTP 429: asked too often" },
		{ "HTTP/1.1 503 No\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n", EX_UNAVAILABLE, 5, "HTTP 503" },
		/* The token goes nowhere else. */
		{ "HTTP/1.1 302 Found\r\nLocation: /api/users\r\nContent-Length: 0\r\n\r\n", EX_UNAVAILABLE, 0, "HTTP 302" },
		{ "HTTP/1.1 204 None\r\n\r\n", EX_UNAVAILABLE, 0, "HTTP 204" },
		{ OK "2\r\n\r\n{}", EX_DATAERR, 0, "no list in JSON: something else stands there" },
		{ OK "3\r\n\r\n[{}", EX_DATAERR, 0, "no list in JSON: its end is missing" },
		{ OK "6\r\n\r\n<html>", EX_DATAERR, 0, "no list in JSON: something else stands there" },
		{ OK "4\r\n\r\n[\"\xff", EX_UNAVAILABLE, 0, "Transferred a partial file" },
		{ OK "100\r\n\r\n[{}]", EX_UNAVAILABLE, 0, "Transferred a partial file" },
		{ "", EX_UNAVAILABLE, 0, "Server returned nothing (no headers, no data)" },
		{ "SSH-2.0-x\r\n", EX_UNAVAILABLE, 0, "" },
		{ NULL, EX_UNAVAILABLE, 0, "Timeout was reached" },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *said = NULL;
		g_autoptr(GError) error = NULL;
		unsigned retry = 1;
		CU_ASSERT_PTR_NULL(load("/api/peers", cases[i].text, &said, &retry, &error));
		CU_ASSERT_PTR_NOT_NULL_FATAL(error);
		CU_ASSERT_PTR_NULL(said);
		CU_ASSERT_EQUAL(retry, cases[i].retry);
		CU_ASSERT_EQUAL(error->code, cases[i].code);
		CU_ASSERT_TRUE(g_str_has_suffix(error->message, cases[i].error));
		if (!g_str_has_suffix(error->message, cases[i].error))
			printf("\n    expected %s shown %s", cases[i].error, error->message);
		CU_ASSERT_PTR_NULL(strstr(error->message, TOKEN));
	}
}

/* A token may have fewer rights than all, and a server fewer lists. */
static void
test_left_out(void)
{
	static const struct {
		const char *path, *text, *said;
	} cases[] = {
		{ "/api/users", "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", "; users: HTTP 403" },
		{ "/api/networks/routers", "HTTP/1.1 404 No\r\nContent-Length: 1\r\n\r\nx", "; routers: HTTP 404" },
		{ "/api/policies", "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", "; policies: HTTP 403" },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *said = NULL;
		unsigned retry;
		g_autoptr(roster_t) roster = load(cases[i].path, cases[i].text, &said, &retry, NULL);
		CU_ASSERT_PTR_NOT_NULL_FATAL(roster);
		CU_ASSERT_TRUE(g_str_has_suffix(said, cases[i].said));
		CU_ASSERT_EQUAL(roster->has_policies, strcmp(cases[i].path, "/api/policies") != 0);
	}
}

static void
test_stop(void)
{
	const struct answer answer = { "/api/peers", NULL };
	g_autofree char *file = write_file(TOKEN, 0600);
	struct server server = start(&answer, "Token");
	const struct api_options options = { server.url, file, 30 };
	g_autofree char *said = NULL;
	g_autoptr(GError) error = NULL;
	unsigned retry;
	int ends[2];

	CU_ASSERT_EQUAL_FATAL(pipe(ends), 0);
	const pid_t child = fork();
	if (child == 0) {
		poll(NULL, 0, 300);
		_exit(write(ends[1], "", 1) != 1);
	}
	const int64_t began = g_get_monotonic_time();
	CU_ASSERT_PTR_NULL(api_load(&options, ends[0], &said, &retry, &error));
	const int64_t took = (g_get_monotonic_time() - began) / 1000;
	CU_ASSERT_TRUE(took >= 250 && took < 10000);
	CU_ASSERT_PTR_NOT_NULL(error);
	waitpid(child, NULL, 0);
	close(ends[0]);
	close(ends[1]);
	stop(&server);
	unlink(file);
}

/* Nobody there; and somebody who does not speak TLS. */
static void
test_unreachable(void)
{
	const struct answer answer = { "/api/peers", "" };
	g_autofree char *file = write_file(TOKEN, 0600);
	struct server server = start(&answer, "Token");
	g_autofree char *secure = g_strconcat("https", server.url + strlen("http"), NULL);
	g_autofree char *plain = g_strdup(server.url);
	const char *const urls[] = { secure, plain };

	for (size_t i = 0; i < G_N_ELEMENTS(urls); i++) {
		const struct api_options options = { urls[i], file, 2 };
		g_autofree char *said = NULL;
		g_autoptr(GError) error = NULL;
		unsigned retry;
		if (i == 1)
			stop(&server);
		CU_ASSERT_PTR_NULL(api_load(&options, -1, &said, &retry, &error));
		CU_ASSERT_TRUE(error && error->code == EX_UNAVAILABLE && g_str_has_prefix(error->message, urls[i]));
	}
	unlink(file);
}

/* Another token than NetBird's own is of its identity provider. */
static void
test_bearer(void)
{
	const struct answer answer = { "/none", "" };
	g_autofree char *file = write_file("  eyJhbGciOi.J9.x-_\n\n", 0640);
	struct server server = start(&answer, "");
	const struct api_options options = { server.url, file, 2 };
	g_autofree char *said = NULL;
	unsigned retry;
	g_autoptr(roster_t) roster = api_load(&options, -1, &said, &retry, NULL);

	CU_ASSERT_PTR_NOT_NULL(roster);
	stop(&server);
	unlink(file);
}

static void
test_token(void)
{
	g_autofree char *longest = g_strnfill(8192, 'x');
	const struct {
		const char *text;
		mode_t mode;
		const char *error;      /* NULL: it is good */
	} cases[] = {
		{ TOKEN, 0600, NULL }, { TOKEN "\r\n", 0400, NULL }, { TOKEN, 0640, NULL }, { TOKEN, 0440, NULL },
		{ TOKEN, 0644, "others may read or change it: chmod 600 and a new token would be right" },
		{ TOKEN, 0604, "others may read or change it: chmod 600 and a new token would be right" },
		{ TOKEN, 0602, "others may read or change it: chmod 600 and a new token would be right" },
		{ TOKEN, 0620, "others may read or change it: chmod 600 and a new token would be right" },
		{ "", 0600, "holds no token, which is one word" },
		{ "\n", 0600, "holds no token, which is one word" },
		{ "two words", 0600, "holds no token, which is one word" },
		{ "one\r\nX-Header: two", 0600, "holds no token, which is one word" },
		{ "na\xc3\xafve", 0600, "holds no token, which is one word" },
		{ longest, 0600, "holds no token, which is one word" },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *path = write_file(cases[i].text, cases[i].mode);
		g_autoptr(GError) error = NULL;
		char *token = api_token_read(path, &error);
		CU_ASSERT_EQUAL(token != NULL, !cases[i].error);
		if (token) {
			CU_ASSERT_STRING_EQUAL(token, TOKEN);
		} else {
			g_autofree char *expected = g_strdup_printf("api-token-file %s: %s", path, cases[i].error);
			CU_ASSERT_STRING_EQUAL(error->message, expected);
		}
		api_token_free(token);
		unlink(path);
	}
	g_autoptr(GError) absent = NULL, folder = NULL;
	CU_ASSERT_PTR_NULL(api_token_read("/nowhere/token", &absent));
	CU_ASSERT_STRING_EQUAL(absent->message, "api-token-file /nowhere/token: No such file or directory");
	CU_ASSERT_PTR_NULL(api_token_read("/", &folder));
	CU_ASSERT_STRING_EQUAL(folder->message, "api-token-file /: is no file");
}

static CU_TestInfo tests[] = {
	{ "good", test_good },
	{ "failures", test_failures },
	{ "left out", test_left_out },
	{ "stop", test_stop },
	{ "unreachable", test_unreachable },
	{ "bearer", test_bearer },
	{ "token", test_token },
	CU_TEST_INFO_NULL,
};

int
main(void)
{
	return run_suite("api", tests);
}
