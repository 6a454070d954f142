/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ENRICH_ACCOUNT_H
#define PEERFLOW_ENRICH_ACCOUNT_H

#include <stdbool.h>

#include <glib.h>

#include "enrich/document.h"
#include "enrich/roster.h"

/* What NetBird's management server tells of an account, list by list, and the roster that follows from it. Groups need
 * no list of their own: peers and resources name theirs. */

/* In the order in which they are to be read, for each refers to those before it. Any may be left out; then what only it
 * knows is missing. */
enum account_list {
	ACCOUNT_USERS,
	ACCOUNT_PEERS,
	ACCOUNT_NETWORKS,
	ACCOUNT_ROUTERS,
	ACCOUNT_RESOURCES,
	ACCOUNT_ROUTES,
	ACCOUNT_POLICIES,
	ACCOUNT_LISTS,
};

/* Where the server has it, "/api/users", and what people call it, "users". */
const char *account_path(enum account_list list);
const char *account_word(enum account_list list);

struct account;

struct account *account_new(void);
void account_free(struct account *account);
typedef struct account account_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(account_t, account_free)

/* The next element of a list. What makes no sense is left out. */
void account_take(struct account *account, enum account_list list, json_t *element);

/* This list has been read to its end. */
void account_took(struct account *account, enum account_list list);

/* How many elements of a list were taken and made sense. */
unsigned account_count(const struct account *account, enum account_list list);

/* What is known after all lists; the caller owns it. To be called once. */
struct roster *account_roster(struct account *account);

#endif
