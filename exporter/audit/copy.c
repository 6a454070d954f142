/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "audit/copy.h"

#include <string.h>

/* Pieces of text, in the order of enum copy_text. */
struct piece {
	const char *text;
	size_t length;
};

static struct piece
piece_at(const struct names *names, uint32_t index)
{
	if (!index || index >= names->count)
		return (struct piece){ NULL, 0 };
	return (struct piece){ names->name[index].text, names->name[index].length };
}

static struct piece
piece_of(const char *text)
{
	return (struct piece){ text, text ? MIN(strlen(text), UINT16_MAX) : 0 };
}

static void
collect(const struct print_flow *flow, struct piece pieces[COPY_TEXTS])
{
	for (unsigned word = 0; word < WORDS; word++) {
		pieces[COPY_INITIATOR + word] = piece_at(flow->names, names_word(flow->names, flow->flow->initiator, word));
		pieces[COPY_RESPONDER + word] = piece_at(flow->names, names_word(flow->names, flow->flow->responder, word));
	}
	pieces[COPY_POLICY] = piece_at(flow->names, flow->flow->policy);
	pieces[COPY_INGRESS] = piece_of(flow->ingress);
	pieces[COPY_EGRESS] = piece_of(flow->egress);
	pieces[COPY_ROUTER] = piece_of(flow->router);
}

struct copy *
copy_new(const struct print_flow *flow)
{
	struct piece pieces[COPY_TEXTS];
	size_t octets = sizeof(struct copy);

	collect(flow, pieces);
	for (unsigned i = 0; i < COPY_TEXTS; i++)
		octets += pieces[i].length ? pieces[i].length + 1 : 0;
	octets = (octets + 7) / 8 * 8;
	struct copy *copy = g_malloc0(octets);
	copy->octets = octets;
	copy->flow = *flow->flow;
	char *at = copy->text;
	for (unsigned i = 0; i < COPY_TEXTS; i++) {
		copy->length[i] = pieces[i].length;
		if (!pieces[i].length)
			continue;
		memcpy(at, pieces[i].text, pieces[i].length);
		at += pieces[i].length + 1;
	}
	return copy;
}

static const char *
text_or_null(const struct copy_view *view, enum copy_text which)
{
	return view->name[1 + which].length ? view->name[1 + which].text : NULL;
}

void
copy_view(const struct copy *copy, struct copy_view *view)
{
	const char *at = copy->text;

	memset(view->identity, 0, sizeof view->identity);
	view->name[0] = (struct name){ "-", 1 };
	for (unsigned i = 0; i < COPY_TEXTS; i++) {
		view->name[1 + i] = (struct name){ at, copy->length[i] };
		at += copy->length[i] ? copy->length[i] + 1 : 0;
	}
	for (unsigned word = 0; word < WORDS; word++) {
		view->identity[1].word[word] = copy->length[COPY_INITIATOR + word] ? 1 + COPY_INITIATOR + word : 0;
		view->identity[2].word[word] = copy->length[COPY_RESPONDER + word] ? 1 + COPY_RESPONDER + word : 0;
	}
	view->plain = copy->flow;
	view->plain.initiator = 1;
	view->plain.responder = 2;
	view->plain.policy = copy->length[COPY_POLICY] ? 1 + COPY_POLICY : 0;
	view->names = (struct names){
		.name = view->name, .count = G_N_ELEMENTS(view->name), .identity = view->identity,
		.n_identities = G_N_ELEMENTS(view->identity),
	};
	view->flow = (struct print_flow){
		.flow = &view->plain, .names = &view->names, .ingress = text_or_null(view, COPY_INGRESS),
		.egress = text_or_null(view, COPY_EGRESS), .router = text_or_null(view, COPY_ROUTER),
	};
}
