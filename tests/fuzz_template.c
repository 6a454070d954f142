/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Whatever a template file holds: either one line that says why not, or templates that an encoder can use. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "encode/encoder.h"
#include "encode/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(bool good)
{
	if (!good)
		abort();
}

static void
check_template(const struct template_file *file, const struct template *template)
{
	bool variable = false;

	check(template->id >= 256 && (template->id < 280 || template->id > 287) && template->n_fields > 0);
	for (unsigned i = 0; i < template->n_fields; i++) {
		const struct field *field = template->field[i];
		check(!(field->only & ~template->traits));
		check(!variable || field->octets == FIELD_VARIABLE);
		check(file->protocol == WIRE_IPFIX ? field->enterprise != ENTERPRISE_NETFLOW9 : field->octets != FIELD_VARIABLE);
		variable = field->octets == FIELD_VARIABLE;
	}
	check(template->field[0]->octets != FIELD_VARIABLE);
}

/* Any flows, through any message size the templates allow. */
static void
encode(const struct template_file *file, unsigned records, uint16_t size, bool properties)
{
	const struct encoder_options options = { .records = records, .reply = REPLY_WIRE, .domain = 1, .enterprise = 32473,
	                                         .message_size = size, .boot = 1000, .properties = properties };
	g_autoptr(encoder_t) encoder = encoder_new(file, &options, NULL);
	static const struct name name[] = { { "-", 1 }, { "\xe2\x82\xac uro", 7 } };
	static const struct identity identity[] = { { { 0 } }, { { 1, 1, 1, 1, 1, 1, 1, 1 } }, { { [WORD_USER] = 9 } } };
	const struct names names = { .name = name, .count = 2, .identity = identity, .n_identities = 3 };
	struct flow flow = { .reply.packets = 1, .initiator = 1, .responder = 7, .policy = 1, .start = 500, .end = 5000 };
	const struct message *message;

	if (!encoder)
		return;
	check(encoder_add_templates(encoder));
	for (unsigned i = 0; i < 24; i++) {
		flow.family = i & 1 ? 4 : 6;
		flow.translation = i >> 1 & 1;
		flow.protocol = i >> 2;
		while (!encoder_add_flow(encoder, &flow, &names))
			check(encoder_take(encoder, 10000, false, &message) > 0);
	}
	for (size_t n = encoder_take(encoder, 10000, true, &message); n > 0; n--)
		check(message[n - 1].length <= size);
}

static void
check_error(const GError *error)
{
	check(error->domain && strncmp(error->message, "fuzz:", 5) == 0);
	check(g_utf8_validate(error->message, -1, NULL) && !strpbrk(error->message, "\n\x1b"));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(template_file_t) file = template_file_parse("fuzz", (const char *)data, size, &error);
	g_autofree char *text = NULL;
	size_t length = 0;

	check(!file == !!error);
	if (!file) {
		check_error(error);
		return 0;
	}
	for (unsigned kind = 0; kind < TEMPLATE_KINDS; kind++)
		if (file->template[kind].id)
			check_template(file, &file->template[kind]);
	FILE *out = open_memstream(&text, &length);
	template_file_print(file, TRAIT_UNIFLOW, out);
	template_file_print(file, TRAIT_BIFLOW, out);
	fclose(out);
	check(length > 0);
	encode(file, TRAIT_UNIFLOW, 130 + 7 * size % 1400, false);
	encode(file, TRAIT_BIFLOW, 130 + 11 * size % 1400, false);
	encode(file, TRAIT_BIFLOW, 400 + 17 * size % 65000, true);
	return 0;
}
