/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "audit/verdict.h"

#include <netinet/in.h>

/* Of the kernel's IPS_* bits. */
enum { STATUS_ASSURED = 1 << 2 };

/* enum tcp_conntrack of the kernel. */
enum {
	TCP_SYN_RECV = 2,
	TCP_FIN_WAIT = 4,
	TCP_TIME_WAIT = 7,
	TCP_CLOSE = 8,
};

static const struct hop *
last_hop(const struct outcome *outcome)
{
	return outcome->path->hop[outcome->path->n_hops - 1];
}

static bool
is_counted(const struct hop *hop)
{
	return !(hop->flow.gaps & GAP_NO_COUNTERS);
}

static bool
is_answered(const struct hop *hop)
{
	return hop->flow.reply.packets > 0;
}

static uint8_t
tcp_state(const struct outcome *outcome)
{
	const struct flow *flow = &last_hop(outcome)->flow;

	return flow->protocol == IPPROTO_TCP ? flow->state : 0;
}

static bool
is_ambiguous(const struct outcome *outcome)
{
	return outcome->path->n_after > 0;
}

static bool
is_elsewhere(const struct outcome *outcome)
{
	return outcome->next >= 0 && !outcome->next_incomplete && is_answered(last_hop(outcome));
}

static bool
is_not_recorded(const struct outcome *outcome)
{
	return outcome->next >= 0 && outcome->next_incomplete;
}

static bool
is_not_seen(const struct outcome *outcome)
{
	return outcome->next >= 0 && is_counted(last_hop(outcome));
}

/* What leaves by the mesh's interface has another router or a peer before it. */
static bool
is_left(const struct outcome *outcome)
{
	const struct hop *last = last_hop(outcome);

	return !last->foreign && last->flow.original.flow_direction == 1 && is_counted(last) && !is_answered(last);
}

static bool
has_no_counters(const struct outcome *outcome)
{
	return !is_counted(last_hop(outcome));
}

/* The hop that has no answers though the one behind it has, or -1. */
static int
reply_end(const struct outcome *outcome)
{
	for (size_t i = outcome->path->n_hops - 1; i > 0; i--)
		if (is_answered(outcome->path->hop[i]) && is_counted(outcome->path->hop[i - 1]) &&
		    !is_answered(outcome->path->hop[i - 1]))
			return (int)i - 1;
	return -1;
}

static bool
is_reply_lost(const struct outcome *outcome)
{
	return reply_end(outcome) >= 0;
}

static bool
has_no_reply(const struct outcome *outcome)
{
	return !is_answered(last_hop(outcome));
}

/* A reset that answers every packet there was: after a reset by the initiator it has sent one more. */
static bool
is_refused(const struct outcome *outcome)
{
	const struct flow *flow = &last_hop(outcome)->flow;

	return tcp_state(outcome) == TCP_CLOSE && !(flow->status & STATUS_ASSURED) &&
	       flow->original.packets <= flow->reply.packets;
}

static bool
is_half_open(const struct outcome *outcome)
{
	return tcp_state(outcome) == TCP_SYN_RECV;
}

static bool
is_reset(const struct outcome *outcome)
{
	return tcp_state(outcome) == TCP_CLOSE;
}

static bool
is_closed(const struct outcome *outcome)
{
	return tcp_state(outcome) >= TCP_FIN_WAIT && tcp_state(outcome) <= TCP_TIME_WAIT;
}

static bool
goes_on(const struct outcome *outcome)
{
	return last_hop(outcome)->flow.end_reason == END_ACTIVE;
}

static bool
is_left_open(const struct outcome *outcome)
{
	return tcp_state(outcome) != 0;
}

static bool
is_answered_at_all(const struct outcome *outcome G_GNUC_UNUSED)
{
	return true;
}

/* The first row that holds. %L is the last router, %N the one that was expected, %R and %S those between which the
 * answers were lost. */
static const struct {
	const char *id;
	bool (*holds)(const struct outcome *outcome);
	const char *words;
} verdicts[VERDICTS] = {
	[VERDICT_AMBIGUOUS] = { "ambiguous", is_ambiguous, "left %L; which flow it is behind that is ambiguous" },
	[VERDICT_ELSEWHERE] = { "elsewhere", is_elsewhere, "left %L and was answered, but never seen at %N" },
	[VERDICT_NOT_RECORDED] = { "not_recorded", is_not_recorded,
	                           "left %L; the records of %N are incomplete for that time" },
	[VERDICT_NOT_SEEN] = { "not_seen", is_not_seen, "left %L, never seen at %N" },
	[VERDICT_LEFT] = { "left", is_left, "left %L by the tunnel, no reply; no archive has what is behind it" },
	[VERDICT_NO_COUNTERS] = { "no_counters", has_no_counters, "reached %L, which did not count packets" },
	[VERDICT_REPLY_LOST] = { "reply_lost", is_reply_lost,
	                         "answered by the host, the answers left %S and never came back to %R" },
	[VERDICT_NO_REPLY] = { "no_reply", has_no_reply, "reached %L, no reply from the host" },
	[VERDICT_REFUSED] = { "refused", is_refused, "reached %L, refused by the host (RST)" },
	[VERDICT_HALF_OPEN] = { "half_open", is_half_open, "reached %L, accepted by the host, never confirmed by the "
	                        "initiator" },
	[VERDICT_RESET] = { "reset", is_reset, "answered, then reset (RST)" },
	[VERDICT_CLOSED] = { "closed", is_closed, "answered and closed in order" },
	[VERDICT_GOES_ON] = { "goes_on", goes_on, "answered, still going on at its last record" },
	[VERDICT_LEFT_OPEN] = { "left_open", is_left_open, "answered, never closed: it fell silent" },
	[VERDICT_ANSWERED] = { "answered", is_answered_at_all, "answered" },
};

static const char *
router_word(const struct outcome *outcome, char letter)
{
	const int lost = reply_end(outcome);
	const struct { char letter; unsigned router; } words[] = {
		{ 'L', last_hop(outcome)->router },
		{ 'N', outcome->next >= 0 ? (unsigned)outcome->next : 0 },
		{ 'R', outcome->path->hop[lost >= 0 ? lost : 0]->router },
		{ 'S', outcome->path->hop[lost >= 0 ? lost + 1 : 0]->router },
	};
	unsigned i = 0;

	while (words[i].letter != letter)
		i++;
	return outcome->router[words[i].router].name;
}

enum verdict
verdict_find(const struct outcome *outcome, char **words)
{
	GString *sentence = g_string_new(NULL);
	enum verdict verdict = 0;

	while (!verdicts[verdict].holds(outcome))
		verdict++;
	for (const char *at = verdicts[verdict].words; *at; at++) {
		if (*at == '%')
			g_string_append(sentence, router_word(outcome, *++at));
		else
			g_string_append_c(sentence, *at);
	}
	*words = g_string_free(sentence, FALSE);
	return verdict;
}

const char *
trace_verdict(enum verdict verdict)
{
	return verdicts[verdict].id;
}
