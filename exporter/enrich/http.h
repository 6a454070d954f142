/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ENRICH_HTTP_H
#define PEERFLOW_ENRICH_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>

/* Octets of an answer, as they come. False with error ends the call. */
typedef bool octets_take(const char *octets, size_t length, void *data, GError **error);

struct http_call {
	const char *socket;         /* path of the UNIX socket */
	const char *path;           /* "/daemon.DaemonService/Status" */
	const char *body;           /* JSON */
	octets_take *take;          /* gets the body of an answer of status 200 */
	void *data;
	int64_t deadline;           /* monotonic microseconds, zero: none; take may move it */
	int64_t retry_after;        /* out: ms for which the server does not want to be asked; zero if it did not say */
};

/* POSTs over HTTP/1.1 and returns when the answer has ended. False with error (EX_UNAVAILABLE): nobody listens, the
 * answer is not 200 ("HTTP 403: what the server said"), it breaks off or does not end in time, take said so, or
 * stop became readable. */
bool http_post(int stop, struct http_call *call, GError **error);

#endif
