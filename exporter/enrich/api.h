/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ENRICH_API_H
#define PEERFLOW_ENRICH_API_H

#include <stdbool.h>

#include <glib.h>

#include "enrich/roster.h"

struct feed;
struct sources_options;

/* NetBird's management server, asked over HTTPS for what only it knows: users, groups, networks, resources, policies.
 * Reading calls only. */

struct api_options {
	const char *url;            /* "https://netbird.example.com" */
	const char *token_file;     /* holds a personal access token, or another bearer token, in one line */
	unsigned patience;          /* seconds to connect in, or without an octet, before it is given up */
};

/* Asks for all lists, which may take minutes, and returns the roster; *text then says what it is made of, for people,
 * and is for the caller to free. Lists that this token may not see, or that this server does not have, are left out
 * and named there. NULL with error if it failed: EX_NOPERM if the token is missing, refused or open to others,
 * EX_UNAVAILABLE for everything that may pass, EX_DATAERR for an answer that makes no sense. *retry_after then says how many
 * seconds the server wants to be left alone, zero if it said nothing. stop becomes readable when it is to end at once
 * (-1: never); then, too, it fails. */
struct roster *api_load(const struct api_options *options, int stop, char **text, unsigned *retry_after,
                        GError **error);

/* The life of this source of names, see sources.h. */
bool api_is_wanted(const struct sources_options *options);
void api_run(struct feed *feed, const struct sources_options *options);

/* Reads a token file: NULL with error (EX_NOPERM, EX_CONFIG) if it is absent, open to others or holds no token. The caller
 * frees the result with api_token_free. */
char *api_token_read(const char *path, GError **error);
void api_token_free(char *token);

#endif
