/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "enrich/document.h"

#include <string.h>

#include "error.h"

enum state {
	BEFORE,                     /* the list */
	BETWEEN,                    /* elements: one may begin, or the list may end */
	WANTED,                     /* after a comma: one must begin */
	INSIDE,                     /* an element */
	AFTER,                      /* the list */
};

struct document {
	document_element *element;
	void *data;
	GString *text;              /* of the element that has begun, or of what stands for the list */
	size_t most;
	unsigned depth;             /* below the element's own */
	enum state state;
	bool in_string;
	bool escaped;
};

/* The library's words end with a piece of the document, which is nothing for a log. */
static bool
refuse(GError **error, const json_error_t *wrong)
{
	const char *near = strstr(wrong->text, " near ");
	const int length = near ? near - wrong->text : (int)strlen(wrong->text);

	g_set_error(error, PEERFLOW_ERROR, EX_DATAERR, "no JSON: %.*s", length, wrong->text);
	return false;
}

static bool
complain(GError **error, const char *what)
{
	g_set_error(error, PEERFLOW_ERROR, EX_DATAERR, "no list in JSON: %s", what);
	return false;
}

json_t *
document_parse(const char *octets, size_t length, GError **error)
{
	/* An integer of more than 64 bits is not worth losing the rest for, nor is a NUL. */
	const size_t flags = JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL;
	json_error_t wrong;
	json_t *value = json_loadb(octets, length, flags, &wrong);

	if (!value)
		refuse(error, &wrong);
	return value;
}

struct document *
document_new(size_t most, document_element *element, void *data)
{
	struct document *document = g_new0(struct document, 1);

	document->element = element;
	document->data = data;
	document->most = most;
	document->text = g_string_new(NULL);
	return document;
}

void
document_free(struct document *document)
{
	if (!document)
		return;
	g_string_free(document->text, true);
	g_free(document);
}

static bool
is_space(char octet)
{
	return octet == ' ' || octet == '\t' || octet == '\n' || octet == '\r';
}

static bool
keep(struct document *document, char octet, GError **error)
{
	if (document->text->len >= document->most)
		return complain(error, "an element is too long");
	g_string_append_c(document->text, octet);
	return true;
}

static bool
finish(struct document *document, char octet, GError **error)
{
	g_autoptr(json_t) value = document_parse(document->text->str, document->text->len, error);

	if (!value || !document->element(value, document->data, error))
		return false;
	g_string_truncate(document->text, 0);
	document->state = octet == ']' ? AFTER : WANTED;
	return true;
}

/* Only as much of the grammar as shows where an element ends; whether it is one, the library says. */
static void
follow(struct document *document, char octet)
{
	if (document->in_string) {
		document->in_string = document->escaped || octet != '"';
		document->escaped = !document->escaped && octet == '\\';
		return;
	}
	document->in_string = octet == '"';
	document->depth += octet == '[' || octet == '{';
	document->depth -= document->depth && (octet == ']' || octet == '}');
}

static bool
take_inside(struct document *document, char octet, GError **error)
{
	if (!document->in_string && !document->depth && (octet == ',' || octet == ']'))
		return finish(document, octet, error);
	follow(document, octet);
	return keep(document, octet, error);
}

/* Only the first octets of "null", or a bracket. */
static bool
take_before(struct document *document, char octet, GError **error)
{
	static const char none[] = "null";

	if (octet == '[' && !document->text->len) {
		document->state = BETWEEN;
		return true;
	}
	if (octet != none[document->text->len])
		return complain(error, "something else stands there");
	g_string_append_c(document->text, octet);
	if (document->text->len == strlen(none))
		document->state = AFTER;
	return true;
}

static bool
take(struct document *document, char octet, GError **error)
{
	if (document->state == INSIDE)
		return take_inside(document, octet, error);
	if (is_space(octet) && !(document->state == BEFORE && document->text->len))
		return true;
	if (document->state == BEFORE)
		return take_before(document, octet, error);
	if (document->state == AFTER)
		return complain(error, "something follows it");
	if (octet == ']' && document->state == BETWEEN) {
		document->state = AFTER;
		return true;
	}
	if (octet == ',' || octet == ']')
		return complain(error, "an element is missing");
	document->state = INSIDE;
	return take_inside(document, octet, error);
}

bool
document_feed(struct document *document, const char *octets, size_t length, GError **error)
{
	for (size_t i = 0; i < length; i++)
		if (!take(document, octets[i], error))
			return false;
	return true;
}

bool
document_end(struct document *document, GError **error)
{
	return document->state == AFTER || complain(error, "its end is missing");
}

static void
remove_nuls(json_t *string, size_t length)
{
	g_autofree char *clean = g_malloc(length + 1);
	const char *text = json_string_value(string);
	size_t n = 0;

	for (size_t i = 0; i < length; i++)
		if (text[i])
			clean[n++] = text[i];
	json_string_setn(string, clean, n);
}

const char *
document_text(json_t *object, const char *key)
{
	json_t *value = json_object_get(object, key);
	const char *text = json_string_value(value);

	if (!text)
		return NULL;
	if (strlen(text) != json_string_length(value)) {
		remove_nuls(value, json_string_length(value));
		text = json_string_value(value);
	}
	return *text ? text : NULL;
}

bool
document_truth(json_t *object, const char *key, bool otherwise)
{
	const json_t *value = json_object_get(object, key);

	return json_is_boolean(value) ? json_is_true(value) : otherwise;
}

uint64_t
document_number(json_t *object, const char *key, uint64_t most, uint64_t otherwise)
{
	const json_t *value = json_object_get(object, key);
	const char *text = json_string_value(value);
	guint64 number;

	if (text)
		return g_ascii_string_to_unsigned(text, 10, 0, most, &number, NULL) ? number : otherwise;
	const double real = json_is_number(value) ? json_number_value(value) : -1;
	return real >= 0 && real <= (double)most && real < 0x1p64 ? (uint64_t)real : otherwise;
}
