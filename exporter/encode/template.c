/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "encode/template.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"

enum { FILE_LIMIT = 256 * 1024 };   /* octets of a template file: far more than one can mean */

/* Where the parser stands, for error messages, and what it has so far. */
struct parser {
	const char *path;
	unsigned line;
	struct template_file *file;
	unsigned n_listed;
	const struct field *listed[TEMPLATE_FIELDS];
	unsigned listed_at[TEMPLATE_FIELDS];    /* line */
	unsigned template_at[TEMPLATE_KINDS];   /* line */
};

static const struct {
	const char *word;
	unsigned trait;
} trait_words[] = {
	{ "ipv4", TRAIT_V4 },
	{ "ipv6", TRAIT_V6 },
	{ "nat", TRAIT_NAT },
	{ "icmp", TRAIT_ICMP },
	{ "biflow", TRAIT_BIFLOW },
};

static const struct {
	const char *word;
	enum wire_protocol protocol;
} protocol_words[] = {
	{ "ipfix", WIRE_IPFIX },
	{ "netflow9", WIRE_NETFLOW9 },
};

unsigned
template_kind(unsigned traits)
{
	return (traits & TRAIT_V6 ? 1 : 0) | (traits & TRAIT_NAT ? 2 : 0) | (traits & TRAIT_ICMP ? 4 : 0)
	       | (traits & TRAIT_BIFLOW ? 8 : 0);
}

G_GNUC_PRINTF(4, 5) static bool
refuse(const struct parser *parser, unsigned line, GError **error, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	g_autofree char *text = g_strdup_vprintf(format, arguments);
	va_end(arguments);
	g_set_error(error, PEERFLOW_ERROR, EX_CONFIG, "%s:%u: %s", parser->path, line, text);
	return false;
}

static bool
parse_protocol(struct parser *parser, char *const *word, GError **error)
{
	if (parser->file->protocol)
		return refuse(parser, parser->line, error, "protocol is given a second time");
	if (!word[1] || word[2])
		return refuse(parser, parser->line, error, "protocol takes one word, ipfix or netflow9");
	for (size_t i = 0; i < G_N_ELEMENTS(protocol_words); i++)
		if (strcmp(word[1], protocol_words[i].word) == 0)
			parser->file->protocol = protocol_words[i].protocol;
	if (!parser->file->protocol)
		return refuse(parser, parser->line, error, "protocol `%s' is unknown; ipfix and netflow9 are known", word[1]);
	return true;
}

/* Reads the kind words of a template line into traits; absent words have a meaning too. */
static bool
parse_traits(struct parser *parser, char *const *word, unsigned *traits, GError **error)
{
	*traits = 0;
	for (; *word; word++) {
		unsigned trait = 0;
		for (size_t i = 0; i < G_N_ELEMENTS(trait_words); i++)
			if (strcmp(*word, trait_words[i].word) == 0)
				trait = trait_words[i].trait;
		if (!trait)
			return refuse(parser, parser->line, error,
			              "`%s' is no kind of template; ipv4, ipv6, nat, icmp and biflow are", *word);
		if (*traits & trait)
			return refuse(parser, parser->line, error, "`%s' is given twice", *word);
		*traits |= trait;
	}
	if (!(*traits & TRAIT_V4) == !(*traits & TRAIT_V6))
		return refuse(parser, parser->line, error, "a template is for ipv4 or for ipv6: one of them, not both");
	*traits |= *traits & TRAIT_ICMP ? 0 : TRAIT_PORTS;
	*traits |= *traits & TRAIT_BIFLOW ? 0 : TRAIT_UNIFLOW;
	return true;
}

static bool
parse_template(struct parser *parser, char *const *word, GError **error)
{
	char *rest = NULL;
	unsigned long id = word[1] && g_ascii_isdigit(word[1][0]) ? strtoul(word[1], &rest, 10) : 0;
	if (!rest || *rest || id < 256 || id > 65535)
		return refuse(parser, parser->line, error, "template id `%s' is not a number from 256 to 65535",
		              word[1] ? word[1] : "");
	/* The options templates are the program's own and have fixed ids. */
	if (id >= 272 && id <= 287)
		return refuse(parser, parser->line, error, "template ids 272 to 287 are taken by options templates");
	unsigned traits;
	if (!parse_traits(parser, word + 2, &traits, error))
		return false;
	for (unsigned kind = 0; kind < TEMPLATE_KINDS; kind++)
		if (parser->file->template[kind].id == id)
			return refuse(parser, parser->line, error, "template id %lu is already used in line %u", id,
			              parser->template_at[kind]);
	unsigned kind = template_kind(traits);
	struct template *template = &parser->file->template[kind];
	if (template->id)
		return refuse(parser, parser->line, error, "this kind of flow already has template %u in line %u",
		              template->id, parser->template_at[kind]);
	template->id = id;
	template->traits = traits;
	parser->template_at[kind] = parser->line;
	return true;
}

static bool
parse_field(struct parser *parser, char *const *word, GError **error)
{
	const struct field *field = field_find(word[0]);
	if (!field)
		return refuse(parser, parser->line, error, "field `%s' is unknown", word[0]);
	if (word[1])
		return refuse(parser, parser->line, error, "`%s' after the field %s: one field a line", word[1], word[0]);
	for (unsigned i = 0; i < parser->n_listed; i++)
		if (parser->listed[i] == field)
			return refuse(parser, parser->line, error, "field %s is already listed in line %u", word[0],
			              parser->listed_at[i]);
	if (parser->n_listed == TEMPLATE_FIELDS)
		return refuse(parser, parser->line, error, "more than %d fields", TEMPLATE_FIELDS);
	parser->listed[parser->n_listed] = field;
	parser->listed_at[parser->n_listed++] = parser->line;
	return true;
}

/* Words go into error messages, and these to terminals and logs. */
static bool
is_text(const char *text)
{
	if (!g_utf8_validate(text, -1, NULL))
		return false;
	for (; *text; text = g_utf8_next_char(text))
		if (g_unichar_iscntrl(g_utf8_get_char(text)) && !strchr("\t\r", *text))
			return false;
	return true;
}

static bool
parse_line(struct parser *parser, char *text, GError **error)
{
	text[strcspn(text, "#")] = '\0';
	if (!is_text(text))
		return refuse(parser, parser->line, error, "the line is not UTF-8 text");
	g_auto(GStrv) words = g_strsplit_set(text, " \t\r", -1);
	unsigned n = 0;
	for (char **word = words; *word; word++)
		if (**word)
			words[n++] = *word;
		else
			g_free(*word);
	words[n] = NULL;
	if (n == 0)
		return true;
	if (strcmp(words[0], "protocol") == 0)
		return parse_protocol(parser, words, error);
	if (strcmp(words[0], "template") == 0)
		return parse_template(parser, words, error);
	return parse_field(parser, words, error);
}

/* A field that suits the protocol, or the line that says why not. */
static bool
check_protocol(const struct parser *parser, unsigned i, GError **error)
{
	const struct field *field = parser->listed[i];
	bool netflow9 = parser->file->protocol == WIRE_NETFLOW9;

	if (netflow9 && field->octets == FIELD_VARIABLE)
		return refuse(parser, parser->listed_at[i], error,
		              "field %s has a variable length, which NetFlow v9 does not know", field->name);
	if (netflow9 && (field->enterprise == ENTERPRISE_OWN || field->enterprise == ENTERPRISE_REVERSE))
		return refuse(parser, parser->listed_at[i], error,
		              "field %s is an enterprise element, which NetFlow v9 does not know", field->name);
	if (!netflow9 && field->enterprise == ENTERPRISE_NETFLOW9)
		return refuse(parser, parser->listed_at[i], error, "field %s exists in NetFlow v9 only", field->name);
	return true;
}

/* Collectors find fixed fields by adding up lengths, and one in use loops for ever over a record of no fixed length:
 * fields of variable length stand last. */
static bool
check_order(const struct parser *parser, GError **error)
{
	const struct field *variable = NULL;
	for (unsigned i = 0; i < parser->n_listed; i++) {
		const struct field *field = parser->listed[i];
		if (!check_protocol(parser, i, error))
			return false;
		if (field->octets == FIELD_VARIABLE)
			variable = field;
		else if (variable)
			return refuse(parser, parser->listed_at[i], error,
			              "field %s stands after %s: fields of variable length come last", field->name,
			              variable->name);
	}
	return true;
}

/* Gives each template the listed fields that make sense for its kind. */
static bool
fill_template(const struct parser *parser, unsigned kind, GError **error)
{
	struct template *template = &parser->file->template[kind];
	bool fixed = false;
	if (!template->id)
		return true;
	for (unsigned i = 0; i < parser->n_listed; i++) {
		const struct field *field = parser->listed[i];
		if (field->only & ~template->traits)
			continue;
		template->field[template->n_fields++] = field;
		fixed = fixed || field->octets != FIELD_VARIABLE;
	}
	if (!fixed)
		return refuse(parser, parser->template_at[kind], error,
		              "template %u has no field of fixed length among those listed", template->id);
	return true;
}

/* What only the whole file can show. */
static bool
finish(struct parser *parser, GError **error)
{
	if (!parser->file->protocol)
		return refuse(parser, parser->line, error, "no line `protocol ipfix' or `protocol netflow9'");
	if (parser->n_listed == 0)
		return refuse(parser, parser->line, error, "no field is listed");
	if (!check_order(parser, error))
		return false;
	bool any = false;
	for (unsigned kind = 0; kind < TEMPLATE_KINDS; kind++) {
		any = any || parser->file->template[kind].id;
		if (!fill_template(parser, kind, error))
			return false;
	}
	return any || refuse(parser, parser->line, error, "no line `template ID ...'");
}

struct template_file *
template_file_parse(const char *name, const char *text, size_t length, GError **error)
{
	g_autoptr(template_file_t) file = g_new0(struct template_file, 1);
	struct parser parser = { .path = name, .file = file };

	file->path = g_strdup(name);
	for (const char *end = text + length; text < end;) {
		const char *stop = memchr(text, '\n', end - text);
		size_t size = (stop ? stop : end) - text;
		parser.line++;
		if (memchr(text, '\0', size)) {
			refuse(&parser, parser.line, error, "the line holds a NUL octet");
			return NULL;
		}
		g_autofree char *line = g_strndup(text, size);
		if (!parse_line(&parser, line, error))
			return NULL;
		text += size + 1;
	}
	if (parser.line == 0)
		parser.line = 1;
	return finish(&parser, error) ? g_steal_pointer(&file) : NULL;
}

struct template_file *
template_file_load(const char *path, GError **error)
{
	g_autofree char *text = NULL;
	size_t length;
	g_autoptr(GError) reason = NULL;

	if (!g_file_get_contents(path, &text, &length, &reason)) {
		g_set_error(error, PEERFLOW_ERROR, EX_CONFIG, "template file: %s", reason->message);
		return NULL;
	}
	if (length > FILE_LIMIT) {
		g_set_error(error, PEERFLOW_ERROR, EX_CONFIG, "%s: %zu octets are too many for a template file", path, length);
		return NULL;
	}
	return template_file_parse(path, text, length, error);
}

void
template_file_free(struct template_file *file)
{
	if (!file)
		return;
	g_free(file->path);
	g_free(file);
}

static void
print_field(const struct field *field, FILE *out)
{
	static const char *const enterprise[] = {
		[ENTERPRISE_IANA] = "",
		[ENTERPRISE_REVERSE] = "29305/",
		[ENTERPRISE_OWN] = "enterprise-number/",
		[ENTERPRISE_NETFLOW9] = "",
	};
	g_autofree char *number = g_strdup_printf("%s%u", enterprise[field->enterprise], field->element);

	if (field->octets == FIELD_VARIABLE)
		fprintf(out, "  %-34s %-24s variable\n", field->name, number);
	else
		fprintf(out, "  %-34s %-24s %u\n", field->name, number, field->octets);
}

void
template_file_print(const struct template_file *file, unsigned records, FILE *out)
{
	for (unsigned kind = 0; kind < TEMPLATE_KINDS; kind++) {
		const struct template *template = &file->template[kind];
		unsigned octets = 0, variable = 0;
		if (!template->id || !(template->traits & records))
			continue;
		for (unsigned i = 0; i < template->n_fields; i++)
			if (template->field[i]->octets == FIELD_VARIABLE)
				variable++;
			else
				octets += template->field[i]->octets;
		fprintf(out, "template %u: %s%s%s%s, %u fields, %u octets%s\n", template->id,
		        template->traits & TRAIT_V6 ? "IPv6" : "IPv4", template->traits & TRAIT_ICMP ? ", ICMP" : "",
		        template->traits & TRAIT_NAT ? ", translated" : "",
		        template->traits & TRAIT_BIFLOW ? ", both directions in one record" : "", template->n_fields, octets,
		        variable ? " and more" : "");
		for (unsigned i = 0; i < template->n_fields; i++)
			print_field(template->field[i], out);
	}
}
