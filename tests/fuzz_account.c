/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Whatever a management server answers: lists one after another in the order they are asked for, a NUL between them. */

#include <stdlib.h>
#include <string.h>

#include "enrich/account.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(bool good)
{
	if (!good)
		abort();
}

struct goal {
	struct account *account;
	enum account_list list;
};

static bool
hand_over(json_t *element, void *data, GError **error)
{
	const struct goal *goal = data;
	(void)error;

	account_take(goal->account, goal->list, element);
	return true;
}

static void
check_words(const char *const *word, size_t n)
{
	for (size_t i = 0; i < n; i++)
		check(!word[i] || (*word[i] && strlen(word[i]) <= ROSTER_TEXT && g_utf8_validate(word[i], -1, NULL)));
}

static void
check_roster(const struct roster *roster)
{
	for (guint i = 0; i < roster->entry->len; i++) {
		const struct roster_entry *entry = &g_array_index(roster->entry, struct roster_entry, i);
		check(entry->prefix.length <= (entry->prefix.family == 4 ? 32 : 128));
		check_words(entry->word, WORDS);
		check_words(entry->tags, entry->tags ? g_strv_length((char **)entry->tags) : 0);
	}
	for (guint i = 0; i < roster->domain->len; i++)
		check_words(g_array_index(roster->domain, struct roster_domain, i).word, WORDS);
	for (guint i = 0; i < roster->policy->len; i++) {
		const struct roster_policy *policy = &g_array_index(roster->policy, struct roster_policy, i);
		for (size_t n = 0; n < policy->n_ports; n++)
			check(policy->ports[n].first && policy->ports[n].first <= policy->ports[n].last);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	g_autoptr(account_t) account = account_new();
	const char *at = (const char *)data, *end = at + size;

	for (unsigned i = 0; i < ACCOUNT_LISTS && at < end; i++) {
		struct goal goal = { account, i };
		g_autoptr(document_t) document = document_new(1 << 20, hand_over, &goal);
		const char *stop = memchr(at, '\0', end - at);
		if (document_feed(document, at, (stop ? stop : end) - at, NULL) && document_end(document, NULL))
			account_took(account, i);
		at = stop ? stop + 1 : end;
	}
	g_autoptr(roster_t) roster = account_roster(account);
	check_roster(roster);
	return 0;
}
