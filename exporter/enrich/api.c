/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "enrich/api.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "enrich/account.h"
#include "enrich/document.h"
#include "enrich/feed.h"
#include "enrich/sources.h"
#include "error.h"

enum {
	TOKEN_MOST = 8192,          /* octets of the file; a JWT has one or two thousand */
	ELEMENT_MOST = 16 << 20,    /* octets of one element of a list: a group's worth of them */
	LIST_MOST = 512 << 20,      /* octets of one list */
	WHOLE_MOST = 600,           /* seconds for one list */
	RETRY_MOST = 3600,          /* seconds: who asks for more is asked again after this */
	PATIENCE = 30,              /* seconds */
	FAILURES_AHEAD = 4,         /* a server is left alone for longer than a socket of this host */
};

/* The token. */

static void *
refuse(GError **error, int code, const char *path, const char *what)
{
	g_set_error(error, PEERFLOW_ERROR, code, "api-token-file %s: %s", path, what);
	return NULL;
}

static char *
read_file(int fd, const char *path, GError **error)
{
	char text[TOKEN_MOST + 1];
	ssize_t length = 0, n;

	while (length < TOKEN_MOST && (n = read(fd, text + length, TOKEN_MOST - length)) > 0)
		length += n;
	text[length] = '\0';
	char *token = g_strstrip(g_strdup(text));
	explicit_bzero(text, sizeof text);
	const char *at = token;
	/* It becomes part of a header: nothing in it may end the line. */
	while (g_ascii_isgraph(*at))
		at++;
	if (*token && !*at && length < TOKEN_MOST)
		return token;
	api_token_free(token);
	return refuse(error, EX_CONFIG, path, "holds no token, which is one word");
}

char *
api_token_read(const char *path, GError **error)
{
	struct stat status;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char *token = NULL;

	if (fd < 0)
		return refuse(error, EX_NOPERM, path, g_strerror(errno));
	if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode))
		refuse(error, EX_CONFIG, path, "is no file");
	else if (status.st_mode & (S_IWGRP | S_IRWXO))
		refuse(error, EX_NOPERM, path, "others may read or change it: chmod 600 and a new token would be right");
	else
		token = read_file(fd, path, error);
	close(fd);
	return token;
}

void
api_token_free(char *token)
{
	if (token)
		explicit_bzero(token, strlen(token));
	g_free(token);
}

/* One list. */

struct reading {
	struct account *account;
	enum account_list list;
	struct document *document;
	CURL *curl;
	size_t octets;
	GError *error;              /* why the octets were refused */
};

static bool
take_element(json_t *element, void *data, GError **error)
{
	struct reading *reading = data;
	(void)error;

	account_take(reading->account, reading->list, element);
	return true;
}

static long
status_of(CURL *curl)
{
	long status = 0;

	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	return status;
}

/* What comes with another status than 200 is for people, and long. */
static size_t
take_octets(char *octets, size_t size, size_t n, void *data)
{
	struct reading *reading = data;

	reading->octets += size * n;
	if (reading->octets > LIST_MOST) {
		g_set_error(&reading->error, PEERFLOW_ERROR, EX_DATAERR, "the answer is too long");
		return 0;
	}
	if (status_of(reading->curl) == 200 && !document_feed(reading->document, octets, size * n, &reading->error))
		return 0;
	return size * n;
}

static void
set_options(CURL *curl, const struct api_options *options, const char *url, struct curl_slist *headers,
            struct reading *reading)
{
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(curl, CURLOPT_USERAGENT, "peerflow/" PEERFLOW_VERSION);
	curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 1L);
	curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 2L);
	curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	/* A token must not follow to wherever an answer points. */
	curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(curl, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, (long)options->patience);
	curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
	curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long)options->patience);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT, (long)WHOLE_MOST);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_QUICK_EXIT, 1L);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_octets);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, reading);
}

/* One account, asked list by list over one connection. */
struct call {
	const struct api_options *options;
	CURLM *multi;
	CURL *curl;
	struct curl_slist *headers;
	int stop;
	unsigned retry_after;
	GString *left_out;          /* "; users: HTTP 403" */
};

/* Until the transfer ends. CURLE_ABORTED_BY_CALLBACK if it is to stop. */
static CURLcode
transfer(struct call *call)
{
	struct curl_waitfd stop = { .fd = call->stop, .events = CURL_WAIT_POLLIN };
	int running = 1, messages;
	CURLcode result = CURLE_ABORTED_BY_CALLBACK;

	curl_multi_add_handle(call->multi, call->curl);
	while (!stop.revents && curl_multi_perform(call->multi, &running) == CURLM_OK && running)
		if (curl_multi_poll(call->multi, &stop, call->stop >= 0, 1000, NULL) != CURLM_OK)
			break;
	const CURLMsg *message = running ? NULL : curl_multi_info_read(call->multi, &messages);
	if (message && message->msg == CURLMSG_DONE)
		result = message->data.result;
	curl_multi_remove_handle(call->multi, call->curl);
	return result;
}

static unsigned
retry_after(CURL *curl)
{
	curl_off_t seconds = 0;

	curl_easy_getinfo(curl, CURLINFO_RETRY_AFTER, &seconds);
	return CLAMP(seconds, 0, RETRY_MOST);
}

static const char *
meaning(long status)
{
	static const struct {
		long status;
		const char *text;
	} known[] = {
		{ 401, ": the token is not valid (any more)" },
		{ 403, ": the token's user may not read this" },
		{ 404, ": no management server of NetBird is there" },
		{ 429, ": asked too often" },
	};

	for (unsigned i = 0; i < G_N_ELEMENTS(known); i++)
		if (known[i].status == status)
			return known[i].text;
	return "";
}

/* A list that may be missing, for want of rights or because the server is old. */
static bool
is_left_out(struct call *call, enum account_list list, long status)
{
	if (list == ACCOUNT_PEERS || (status != 403 && status != 404))
		return false;
	g_string_append_printf(call->left_out, "; %s: HTTP %ld", account_word(list), status);
	return true;
}

static bool
judge(struct call *call, struct reading *reading, CURLcode result, const char *url, GError **error)
{
	const long status = status_of(call->curl);

	if (reading->error)
		g_propagate_prefixed_error(error, g_steal_pointer(&reading->error), "%s: ", url);
	else if (result != CURLE_OK)
		g_set_error(error, PEERFLOW_ERROR, EX_UNAVAILABLE, "%s: %s", url, curl_easy_strerror(result));
	else if (status == 200) {
		if (document_end(reading->document, error)) {
			account_took(reading->account, reading->list);
			return true;
		}
		g_prefix_error(error, "%s: ", url);
	} else if (is_left_out(call, reading->list, status))
		return true;
	else
		g_set_error(error, PEERFLOW_ERROR, status == 401 || status == 403 ? EX_NOPERM : EX_UNAVAILABLE, "%s: HTTP %ld%s",
		            url, status, meaning(status));
	call->retry_after = retry_after(call->curl);
	return false;
}

static bool
read_list(struct call *call, struct account *account, enum account_list list, GError **error)
{
	const size_t base = strlen(call->options->url);
	const size_t slashes = base && call->options->url[base - 1] == '/';
	g_autofree char *url = g_strdup_printf("%.*s%s", (int)(base - slashes), call->options->url, account_path(list));
	struct reading reading = { .account = account, .list = list, .curl = call->curl };
	g_autoptr(document_t) document = document_new(ELEMENT_MOST, take_element, &reading);

	reading.document = document;
	set_options(call->curl, call->options, url, call->headers, &reading);
	const CURLcode result = transfer(call);
	const bool good = judge(call, &reading, result, url, error);
	g_clear_error(&reading.error);
	return good;
}

/* A personal access token is told from one of the identity provider's by how it begins. */
static struct curl_slist *
make_headers(const char *token)
{
	char *header = g_strdup_printf("Authorization: %s %s", g_str_has_prefix(token, "nbp_") ? "Token" : "Bearer", token);
	struct curl_slist *headers = curl_slist_append(curl_slist_append(NULL, header), "Accept: application/json");

	api_token_free(header);
	return headers;
}

static void
call_close(struct call *call)
{
	curl_easy_cleanup(call->curl);
	curl_multi_cleanup(call->multi);
	for (struct curl_slist *header = call->headers; header; header = header->next)
		explicit_bzero(header->data, strlen(header->data));
	curl_slist_free_all(call->headers);
	g_string_free(call->left_out, true);
}

static bool
call_open(struct call *call, GError **error)
{
	static gsize initialized;

	call->left_out = g_string_new(NULL);
	char *token = api_token_read(call->options->token_file, error);
	if (!token)
		return false;
	if (g_once_init_enter(&initialized)) {
		curl_global_init(CURL_GLOBAL_DEFAULT);
		g_once_init_leave(&initialized, 1);
	}
	call->headers = make_headers(token);
	api_token_free(token);
	call->multi = curl_multi_init();
	call->curl = curl_easy_init();
	if (call->headers && call->multi && call->curl)
		return true;
	g_set_error_literal(error, PEERFLOW_ERROR, EX_OSERR, "libcurl: out of memory");
	return false;
}

static struct roster *
read_account(struct call *call, char **text, GError **error)
{
	g_autoptr(account_t) account = account_new();

	for (unsigned list = 0; list < ACCOUNT_LISTS; list++)
		if (!read_list(call, account, list, error))
			return NULL;
	*text = g_strdup_printf("%u peers, %u resources, %u policies from %s%s", account_count(account, ACCOUNT_PEERS),
	                        account_count(account, ACCOUNT_RESOURCES), account_count(account, ACCOUNT_POLICIES),
	                        call->options->url, call->left_out->str);
	struct roster *roster = account_roster(account);
	roster_set_state(roster, *text);
	return roster;
}

struct roster *
api_load(const struct api_options *options, int stop, char **text, unsigned *retry, GError **error)
{
	struct call call = { .options = options, .stop = stop };
	struct roster *roster = call_open(&call, error) ? read_account(&call, text, error) : NULL;

	*retry = call.retry_after;
	call_close(&call);
	return roster;
}

/* The source. */

bool
api_is_wanted(const struct sources_options *options)
{
	return options->api_url != NULL;
}

void
api_run(struct feed *feed, const struct sources_options *options)
{
	const struct api_options api = { options->api_url, options->api_token_file, PATIENCE };
	const int64_t refresh = options->api_refresh * INT64_C(1000);
	unsigned failures = 0, retry = 0;
	int64_t wait = 0;

	while (feed_wait(feed, wait)) {
		g_autofree char *text = NULL;
		g_autoptr(GError) error = NULL;
		struct roster *roster = api_load(&api, feed_stop_fd(feed), &text, &retry, &error);
		failures = roster ? 0 : failures + 1;
		wait = roster ? refresh : MAX(feed_back_off(failures + FAILURES_AHEAD, refresh), retry * INT64_C(1000));
		if (roster)
			feed_deliver(feed, roster, text);
		else if (!feed_is_stopped(feed))
			feed_fail(feed, error);
	}
}
