/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_TESTS_DIRECTORIES_H
#define PEERFLOW_TESTS_DIRECTORIES_H

#include <arpa/inet.h>
#include <string.h>

#include "enrich/directory.h"
#include "enrich/peers.h"
#include "suite.h"

/* Small helpers of the tests that ask who it was. */

static inline struct roster_prefix
prefix_of(const char *text)
{
	struct roster_prefix prefix;

	CU_ASSERT_TRUE_FATAL(roster_prefix_parse(text, &prefix));
	return prefix;
}

static inline void
take_file(struct history *history, enum roster_source source, const char *text, uint64_t now)
{
	g_autoptr(roster_t) roster = peers_parse("file", text, strlen(text), NULL);

	CU_ASSERT_PTR_NOT_NULL_FATAL(roster);
	history_take(history, source, roster->entry, now);
}

/* The directory of a mesh of which only the peers-file is known. */
static inline struct directory *
directory_of(const char *text)
{
	g_autoptr(history_t) history = history_new(0);
	const struct directory_input input = { .history = history };

	take_file(history, ROSTER_FILE, text, 1000);
	return directory_new(&input);
}

static inline uint32_t
identity_of(const struct directory *directory, const char *address, uint64_t time)
{
	const struct roster_prefix prefix = prefix_of(address);

	return directory_find(directory, prefix.family, &prefix.address, time);
}

static inline const char *
word_of(const struct directory *directory, const char *address, uint64_t time, enum identity_word word)
{
	const struct names *names = directory_names(directory);

	return names->name[names_word(names, identity_of(directory, address, time), word)].text;
}

/* Whom a reader of one name sees. */
static inline const char *
who_of(const struct directory *directory, const char *address, uint64_t time)
{
	const struct names *names = directory_names(directory);

	return names->name[names_who(names, identity_of(directory, address, time))].text;
}

#endif
