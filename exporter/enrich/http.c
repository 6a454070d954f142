/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "enrich/http.h"

#include <curl/curl.h>
#include <string.h>

#include "enrich/document.h"
#include "enrich/stop.h"
#include "error.h"

enum {
	REFUSAL_MOST = 4096,        /* octets kept of an answer that is not 200 */
	CONNECT_PATIENCE = 5000,    /* ms */
	LOOK_AGAIN = 60000,         /* ms, at the latest */
};

struct exchange {
	int stop;
	struct http_call *call;
	CURL *easy;
	CURLM *multi;
	struct curl_slist *headers;
	GString *refusal;
	GError *error;
	char reason[CURL_ERROR_SIZE];
};

static long
status_of(const struct exchange *exchange)
{
	long status = 0;

	curl_easy_getinfo(exchange->easy, CURLINFO_RESPONSE_CODE, &status);
	return status;
}

/* Zero ends the transfer. */
static size_t
on_octets(char *octets, size_t one, size_t length, void *data)
{
	struct exchange *exchange = data;
	(void)one;

	if (stop_is_set(exchange->stop))
		return 0;
	if (status_of(exchange) == 200)
		return exchange->call->take(octets, length, exchange->call->data, &exchange->error) ? length : 0;
	g_string_append_len(exchange->refusal, octets, MIN(length, REFUSAL_MOST));
	return exchange->refusal->len < REFUSAL_MOST ? length : 0;
}

/* Never by a proxy, never elsewhere, never in another protocol: it is this socket or nothing. */
static bool
prepare(struct exchange *exchange)
{
	CURL *easy = exchange->easy;
	g_autofree char *url = g_strconcat("http://localhost", exchange->call->path, NULL);

	exchange->headers = curl_slist_append(curl_slist_append(NULL, "Content-Type: application/json"), "Expect:");
	return exchange->headers
	       && !curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, exchange->call->socket)
	       && !curl_easy_setopt(easy, CURLOPT_URL, url)
	       && !curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http")
	       && !curl_easy_setopt(easy, CURLOPT_PROXY, "")
	       && !curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1)
	       && !curl_easy_setopt(easy, CURLOPT_USERAGENT, "peerflow/" PEERFLOW_VERSION)
	       && !curl_easy_setopt(easy, CURLOPT_POSTFIELDS, exchange->call->body)
	       && !curl_easy_setopt(easy, CURLOPT_HTTPHEADER, exchange->headers)
	       && !curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L)
	       && !curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_PATIENCE)
	       && !curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, exchange->reason)
	       && !curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_octets)
	       && !curl_easy_setopt(easy, CURLOPT_WRITEDATA, exchange)
	       && !curl_multi_add_handle(exchange->multi, easy);
}

/* Milliseconds until the deadline. */
static int64_t
time_left(const struct http_call *call)
{
	if (!call->deadline)
		return LOOK_AGAIN;
	return MIN((call->deadline - g_get_monotonic_time() + 999) / 1000, LOOK_AGAIN);
}

/* True if the transfer has ended by itself, well or not. */
static bool
transfer(struct exchange *exchange)
{
	struct curl_waitfd watch = { .fd = exchange->stop, .events = CURL_WAIT_POLLIN };
	int running = 1;

	while (!curl_multi_perform(exchange->multi, &running) && running) {
		const int64_t left = time_left(exchange->call);
		if (left <= 0 || stop_is_set(exchange->stop))
			return false;
		curl_multi_poll(exchange->multi, &watch, 1, left, NULL);
	}
	return true;
}

static bool
fail(GError **error, const char *what)
{
	g_set_error(error, PEERFLOW_ERROR, EX_UNAVAILABLE, "%s", what);
	return false;
}

/* "HTTP 403: PRIVILEGE_REQUIRED" */
static bool
fail_refused(const struct exchange *exchange, long status, GError **error)
{
	g_autoptr(json_t) refusal = document_parse(exchange->refusal->str, exchange->refusal->len, NULL);
	const char *message = refusal ? document_text(refusal, "message") : NULL;

	if (message)
		g_set_error(error, PEERFLOW_ERROR, EX_UNAVAILABLE, "HTTP %ld: %.200s", status, message);
	else
		g_set_error(error, PEERFLOW_ERROR, EX_UNAVAILABLE, "HTTP %ld", status);
	return false;
}

static bool
fail_system(const struct exchange *exchange, CURLcode code, GError **error)
{
	long reason = 0;

	curl_easy_getinfo(exchange->easy, CURLINFO_OS_ERRNO, &reason);
	if (code == CURLE_COULDNT_CONNECT && reason)
		return fail(error, g_strerror(reason));
	return fail(error, *exchange->reason ? exchange->reason : curl_easy_strerror(code));
}

static CURLcode
result_of(const struct exchange *exchange)
{
	int left;
	const CURLMsg *message = curl_multi_info_read(exchange->multi, &left);

	return message ? message->data.result : CURLE_OPERATION_TIMEDOUT;
}

static bool
conclude(struct exchange *exchange, bool ended, GError **error)
{
	const CURLcode result = result_of(exchange);
	const long status = status_of(exchange);
	curl_off_t retry_after = 0;

	curl_easy_getinfo(exchange->easy, CURLINFO_RETRY_AFTER, &retry_after);
	exchange->call->retry_after = CLAMP(retry_after, 0, 3600) * 1000;
	if (exchange->error) {
		g_propagate_error(error, g_steal_pointer(&exchange->error));
		return false;
	}
	if (stop_is_set(exchange->stop))
		return fail(error, "it is to end");
	if (!ended)
		return fail(error, "no whole answer in time");
	if (status && status != 200)
		return fail_refused(exchange, status, error);
	return !result || fail_system(exchange, result, error);
}

bool
http_post(int stop, struct http_call *call, GError **error)
{
	struct exchange exchange = { .stop = stop, .call = call, .easy = curl_easy_init(), .multi = curl_multi_init() };
	bool good = false;

	exchange.refusal = g_string_new(NULL);
	if (exchange.easy && exchange.multi && prepare(&exchange))
		good = conclude(&exchange, transfer(&exchange), error);
	else
		fail(error, "out of memory");
	curl_multi_remove_handle(exchange.multi, exchange.easy);
	curl_easy_cleanup(exchange.easy);
	curl_multi_cleanup(exchange.multi);
	curl_slist_free_all(exchange.headers);
	g_string_free(exchange.refusal, true);
	g_clear_error(&exchange.error);
	return good;
}
