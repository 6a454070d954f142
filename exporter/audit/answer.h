/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_AUDIT_ANSWER_H
#define PEERFLOW_AUDIT_ANSWER_H

#include <stddef.h>

#include <glib.h>

#include "audit/holder.h"
#include "audit/print.h"

/* Questions and their answers as text: a paragraph a question for people, a line an answer in CSV, an object a question
 * in JSON. packaging/man/peerflow.1 lists what is in them. */

struct answer_sheet {
	const struct holder_question *question;
	const struct holder_answer *answer;     /* best first; none: nobody held it */
	size_t n_answers;
	char *const *doubts;        /* sentences that say why there may be more, NULL after the last */
};

struct answers;

struct answers *answers_new(enum print_format format);
void answers_free(struct answers *answers);
typedef struct answers answers_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(answers_t, answers_free)

/* Appends the line that names the columns; nothing for a table and JSON. */
void answers_header(struct answers *answers, GString *out);
void answers_put(struct answers *answers, const struct answer_sheet *sheet, GString *out);

/* "198.51.100.1:41234 tcp", "2001:db8::1" */
void answer_put_end(GString *out, const struct holder_question *question);

/* "2026-11-20 14:03:22", "2026-11-20 14:03:22.117 to 2026-11-20 14:04:00.000": local time; a whole second is one. */
void answer_put_time(GString *out, uint64_t first, uint64_t last);

#endif
