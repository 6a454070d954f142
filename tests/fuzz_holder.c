/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "audit/answer.h"
#include "audit/holder.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Any text as an address and a protocol, with a space between them: what is taken for a question is printed as one that
 * means the same. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	g_autofree char *text = g_strndup((const char *)data, size);
	g_auto(GStrv) words = g_strsplit(text, " ", 2);
	struct holder_question question = { .protocol = 0 }, again = { .protocol = 0 };
	g_autoptr(GString) out = g_string_new(NULL);
	g_autoptr(GError) error = NULL;

	if (!words[0] || !holder_parse(words[0], words[1], &question, &error))
		return 0;
	question.protocol = 0;
	answer_put_end(out, &question);
	if (!holder_parse(out->str, NULL, &again, NULL) || again.family != question.family || again.port != question.port
	    || again.has_port != question.has_port || again.address.half[0] != question.address.half[0]
	    || again.address.half[1] != question.address.half[1])
		abort();
	return 0;
}
