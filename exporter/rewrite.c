/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "rewrite.h"

#include <string.h>

#include "encode/encoder.h"
#include "error.h"

enum { MESSAGE = 16384 };

struct rewrite {
	struct encoder *encoder;
	GHashTable *interfaces;     /* index to name, as last told */
	char *router;
	uint64_t last;              /* ms since 1970 of the latest record: the time of the messages */
};

static void
take(struct rewrite *rewrite, bool partial, GString *out)
{
	const struct message *messages;
	const size_t n = encoder_take(rewrite->encoder, rewrite->last, partial, &messages);

	for (size_t i = 0; i < n; i++)
		g_string_append_len(out, (const char *)messages[i].octets, messages[i].length);
}

struct rewrite *
rewrite_new(const struct rewrite_options *options, GString *out, GError **error)
{
	g_autofree char *path = g_strdup_printf("%s/full.template", options->template_directory);
	g_autoptr(template_file_t) file = template_file_load(path, error);
	const struct encoder_options encoding = {
		.records = TRAIT_BIFLOW, .domain = options->domain, .enterprise = options->enterprise, .message_size = MESSAGE,
	};

	if (!file)
		return NULL;
	struct encoder *encoder = encoder_new(file, &encoding, error);
	if (!encoder)
		return NULL;
	struct rewrite *rewrite = g_new0(struct rewrite, 1);
	rewrite->encoder = encoder;
	rewrite->interfaces = g_hash_table_new_full(NULL, NULL, NULL, g_free);
	encoder_restart(encoder);
	encoder_add_templates(encoder);
	take(rewrite, true, out);
	encoder_add_types(encoder);
	return rewrite;
}

void
rewrite_free(struct rewrite *rewrite)
{
	if (!rewrite)
		return;
	encoder_free(rewrite->encoder);
	g_hash_table_unref(rewrite->interfaces);
	g_free(rewrite->router);
	g_free(rewrite);
}

static void
tell_interface(struct rewrite *rewrite, uint32_t index, const char *name, GString *out)
{
	struct interface_name interface = { .index = index };
	const char *told = g_hash_table_lookup(rewrite->interfaces, GUINT_TO_POINTER(index));

	if (!name || (told && !strcmp(told, name)))
		return;
	g_hash_table_insert(rewrite->interfaces, GUINT_TO_POINTER(index), g_strdup(name));
	g_strlcpy(interface.name, name, sizeof interface.name);
	if (encoder_add_interface(rewrite->encoder, &interface))
		return;
	take(rewrite, true, out);
	encoder_add_interface(rewrite->encoder, &interface);
}

static bool
tell_router(struct rewrite *rewrite, const char *name, GString *out, GError **error)
{
	if (!name || !g_strcmp0(rewrite->router, name))
		return true;
	if (rewrite->router) {
		g_set_error(error, PEERFLOW_ERROR, EX_USAGE, "flows of %s and of %s cannot stand in one IPFIX stream: ask for one of "
		            "them, by its archive or with \"router %s\"", rewrite->router, name, rewrite->router);
		return false;
	}
	rewrite->router = g_strdup(name);
	if (encoder_add_domain_name(rewrite->encoder, name))
		return true;
	take(rewrite, true, out);
	encoder_add_domain_name(rewrite->encoder, name);
	return true;
}

bool
rewrite_flow(struct rewrite *rewrite, const struct print_flow *flow, GString *out, GError **error)
{
	const struct side *original = &flow->flow->original;

	rewrite->last = MAX(rewrite->last, flow->flow->end);
	if (!tell_router(rewrite, flow->router, out, error))
		return false;
	tell_interface(rewrite, original->ingress, flow->ingress, out);
	tell_interface(rewrite, original->egress, flow->egress, out);
	if (encoder_add_flow(rewrite->encoder, flow->flow, flow->names))
		return true;
	take(rewrite, false, out);
	encoder_add_flow(rewrite->encoder, flow->flow, flow->names);
	return true;
}

void
rewrite_end(struct rewrite *rewrite, GString *out)
{
	take(rewrite, true, out);
}
