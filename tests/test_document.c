/* SPDX-License-Identifier: GPL-3.0-or-later */
/* JSON of others: lists an element at a time however they come cut, what is refused, and what is tolerated. */

#include "enrich/document.h"

#include <string.h>

#include "error.h"
#include "suite.h"

enum { ELEMENT_MOST = 64 };

static bool
append(json_t *element, void *data, GError **error)
{
	char *text = json_dumps(element, JSON_COMPACT | JSON_ENCODE_ANY);

	g_string_append_printf(data, "%s;", text);
	free(text);
	if (strcmp(json_string_value(element) ? json_string_value(element) : "", "stop") != 0)
		return true;
	g_set_error(error, PEERFLOW_ERROR, EX_IOERR, "stopped");
	return false;
}

/* The elements, each with a semicolon behind it, or the error, of a list that comes in pieces of that size. */
static char *
elements(const char *text, size_t piece)
{
	g_autoptr(GString) found = g_string_new(NULL);
	g_autoptr(document_t) document = document_new(ELEMENT_MOST, append, found);
	g_autoptr(GError) error = NULL;
	const size_t length = strlen(text);
	bool good = true;

	for (size_t at = 0; at < length && good; at += piece)
		good = document_feed(document, text + at, MIN(piece, length - at), &error);
	if (good)
		good = document_end(document, &error);
	CU_ASSERT_EQUAL(good, !error);
	return g_strdup(good ? found->str : error->message);
}

static void
expect(const char *text, const char *expected)
{
	static const size_t pieces[] = { 1, 2, 3, 7, 1000 };

	for (size_t i = 0; i < G_N_ELEMENTS(pieces); i++) {
		g_autofree char *shown = elements(text, pieces[i]);
		CU_ASSERT_STRING_EQUAL(shown, expected);
		if (strcmp(shown, expected) != 0)
			printf("\n    %s: expected %s shown %s", text, expected, shown);
	}
}

/* ---- tests ---- */

static void
test_lists(void)
{
	expect("[]", "");
	expect(" null\n", "");
	expect("\r\n[ \t]\n", "");
	expect("[{}]", "{};");
	expect("[{\"a\":[1,{\"b\":null}]} , [], \"x,]\" ,true]", "{\"a\":[1.0,{\"b\":null}]};[];\"x,]\";true;");
	expect("[{\"a\\\"}]\":\"\\\\\"},{\"b\":\"[{\"}]", "{\"a\\\"}]\":\"\\\\\"};{\"b\":\"[{\"};");
}

static void
test_refused(void)
{
	static const struct {
		const char *text, *error;
	} cases[] = {
		{ "", "no list in JSON: its end is missing" },
		{ "[", "no list in JSON: its end is missing" },
		{ "[{}", "no list in JSON: its end is missing" },
		{ "nul", "no list in JSON: its end is missing" },
		{ "{\"message\":\"no\"}", "no list in JSON: something else stands there" },
		{ "n ull", "no list in JSON: something else stands there" },
		{ "<html>", "no list in JSON: something else stands there" },
		{ "[]]", "no list in JSON: something follows it" },
		{ "[,1]", "no list in JSON: an element is missing" },
		{ "[1,]", "no list in JSON: an element is missing" },
		{ "[1,,1]", "no list in JSON: an element is missing" },
		{ "[{},x\033]", "no JSON: invalid token" },
		{ "[}]", "no JSON: unexpected token" },
		{ "[\"\xff\"]", "no JSON: unable to decode byte 0xff" },
		{ "[1,\"stop\",2]", "stopped" },
		{ "[1,\"0123456789012345678901234567890123456789012345678901234567890123456789\"]",
		  "no list in JSON: an element is too long" },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
		expect(cases[i].text, cases[i].error);
}

/* As deep as a value may be, the stack holds; deeper is refused. */
static void
test_depth(void)
{
	for (size_t depth = 100; depth <= 1000000; depth *= 10) {
		g_autofree char *text = g_malloc(2 * depth);
		g_autoptr(GError) error = NULL;
		memset(text, '[', depth);
		memset(text + depth, ']', depth);
		g_autoptr(json_t) value = document_parse(text, 2 * depth, &error);
		CU_ASSERT_EQUAL(value != NULL, depth <= 1000);
		CU_ASSERT_EQUAL(error != NULL, depth > 1000);
	}
}

static void
test_keys(void)
{
	static const char text[] = "{\"text\":\"t\\u0000e\\u0000xt\",\"empty\":\"\",\"nul\":\"\\u0000\",\"null\":null,"
	                           "\"list\":[1],\"yes\":true,\"no\":false,\"n\":18446744073709551616,\"small\":7,"
	                           "\"string\":\"18446744073709551615\",\"minus\":-1,\"word\":\"12x\",\"port\":65535.0}";
	g_autoptr(json_t) object = document_parse(text, strlen(text), NULL);
	static const char *const nothing[] = { "empty", "nul", "null", "list", "yes", "n", "absent" };

	CU_ASSERT_PTR_NOT_NULL_FATAL(object);
	CU_ASSERT_STRING_EQUAL(document_text(object, "text"), "text");
	for (size_t i = 0; i < G_N_ELEMENTS(nothing); i++)
		CU_ASSERT_PTR_NULL(document_text(object, nothing[i]));
	CU_ASSERT_TRUE(document_truth(object, "yes", false) && document_truth(object, "absent", true));
	CU_ASSERT_FALSE(document_truth(object, "no", true) || document_truth(object, "text", false));
	CU_ASSERT_EQUAL(document_number(object, "string", UINT64_MAX, 1), UINT64_MAX);
	CU_ASSERT_EQUAL(document_number(object, "small", UINT64_MAX, 1), 7);
	CU_ASSERT_EQUAL(document_number(object, "n", UINT64_MAX, 1), 1);
	CU_ASSERT_EQUAL(document_number(object, "minus", UINT64_MAX, 1), 1);
	CU_ASSERT_EQUAL(document_number(object, "word", UINT64_MAX, 1), 1);
	CU_ASSERT_EQUAL(document_number(object, "port", UINT16_MAX, 1), UINT16_MAX);
	CU_ASSERT_EQUAL(document_number(object, "port", UINT16_MAX - 1, 1), 1);
	CU_ASSERT_EQUAL(document_number(object, "list", UINT64_MAX, 1), 1);
}

/* What is no object has no keys. */
static void
test_no_object(void)
{
	static const char *const texts[] = { "null", "[]", "\"text\"", "1" };

	for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
		g_autoptr(json_t) value = document_parse(texts[i], strlen(texts[i]), NULL);
		CU_ASSERT_PTR_NOT_NULL(value);
		CU_ASSERT_PTR_NULL(document_text(value, "key"));
		CU_ASSERT_TRUE(document_truth(value, "key", true));
		CU_ASSERT_EQUAL(document_number(value, "key", 9, 5), 5);
	}
	CU_ASSERT_PTR_NULL(document_text(NULL, "key"));
}

static CU_TestInfo tests[] = {
	{ "lists", test_lists },
	{ "refused", test_refused },
	{ "depth", test_depth },
	{ "keys", test_keys },
	{ "no object", test_no_object },
	CU_TEST_INFO_NULL,
};

int
main(void)
{
	return run_suite("document", tests);
}
