/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <string.h>

#include "enrich/cutter.h"
#include "error.h"
#include "suite.h"

static const char *const paths[] = { "a/[]", "b/c", "d", NULL };

static bool
on_value(unsigned path, const char *octets, size_t length, void *data, GError **error)
{
	(void)error;
	g_string_append_printf(data, "%s=%.*s|", paths[path], (int)length, octets);
	return true;
}

static bool
on_frame(void *data, GError **error)
{
	(void)error;
	g_string_append(data, ";");
	return true;
}

/* All that is cut out of text that comes in pieces of that many octets, or the error. */
static char *
cut(const char *text, size_t size, size_t piece, const struct cutter_limits *limits)
{
	g_autoptr(GString) said = g_string_new(NULL);
	g_autoptr(cutter_t) cutter = cutter_new(paths, limits, on_value, on_frame, said);
	g_autoptr(GError) error = NULL;

	for (size_t at = 0; at < size; at += piece) {
		/* A copy of the exact size, so that the sanitizer sees a read past its end. */
		const size_t n = MIN(piece, size - at);
		g_autofree char *copy = g_memdup2(text + at, n);
		if (!cutter_feed(cutter, copy, n, &error))
			break;
	}
	CU_ASSERT_TRUE(!error || g_error_matches(error, PEERFLOW_ERROR, EX_DATAERR));
	if (error)
		g_string_append(said, error->message);
	else if (cutter_is_inside(cutter))
		g_string_append(said, "...");
	return g_strdup(said->str);
}

static const struct cutter_limits wide = { 1 << 20, 1 << 20 };

struct example {
	const char *text;
	const char *expected;
};

static const struct example examples[] = {
	{ "{\"a\":[1,\"x\",{\"y\":[2]},null]}", "a/[]=1|a/[]=\"x\"|a/[]={\"y\":[2]}|a/[]=null|;" },
	{ " { \"b\" : { \"x\" : 1 , \"c\" : [ 1 , 2 ] } } \n", "b/c=[ 1 , 2 ]|;" },
	{ "{\"d\":\"]}\\\"\\\\\"}", "d=\"]}\\\"\\\\\"|;" },
	{ "{\"d\":-1.5e+9}", "d=-1.5e+9|;" },
	{ "{\"d\":\"\\u00e4\\/\xc3\xa4\"}", "d=\"\\u00e4\\/\xc3\xa4\"|;" },
	/* frames, one behind the other, with anything between them and nothing */
	{ "{\"d\":1}{\"d\":2}\n\n{\"d\":3}", "d=1|;d=2|;d=3|;" },
	{ "[]{}[{}]", ";;;" },
	{ "\"text\"{\"d\":1}", ";d=1|;" },
	{ "null {\"d\":1}", ";d=1|;" },
	/* what is not wanted */
	{ "{\"x\":{\"a\":[1]},\"b\":[{\"c\":1}],\"c\":1,\"a\":{\"c\":1}}", ";" },
	{ "{\"a\":5,\"b\":\"c\",\"d\":{\"d\":1}}", "d={\"d\":1}|;" },
	{ "{\"d\":[[{\"a\":[1]}]],\"a\":[[1]]}", "d=[[{\"a\":[1]}]]|a/[]=[1]|;" },
	{ "[{\"d\":1}]", ";" },
	{ "{\"D\":1,\"dd\":1,\"\":1,\"d\\n\":1}", ";" },
	{ "{\"ddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd\":1,\"d\":2}", "d=2|;" },
	/* nothing at all */
	{ "", "" },
	{ "{}", ";" },
	{ "{\"a\":[]}", ";" },
	/* no end */
	{ "{", "..." },
	{ "{\"d\":1", "..." },
	{ "{\"a\":[1,2", "a/[]=1|..." },
	{ "{\"a\":[\"x", "..." },
	{ "tru", "..." },
	/* no JSON */
	{ "<html>", "no JSON: a value is missing" },
	{ "{\"d\":}", "no JSON: a value is missing" },
	{ "{\"a\":[1,]}", "a/[]=1|no JSON: a value is missing" },
	{ "{\"a\":[,1]}", "no JSON: a value is missing" },
	{ "{,}", "no JSON: a key is missing" },
	{ "{\"d\":1,}", "d=1|no JSON: a key is missing" },
	{ "{d:1}", "no JSON: a key is missing" },
	{ "{\"d\" 1}", "no JSON: a colon is missing" },
	{ "{\"d\":1 \"a\":2}", "d=1|no JSON: a comma is missing" },
	{ "{\"d\":\"x\"\"y\"}", "d=\"x\"|no JSON: a comma is missing" },
	{ "{\"x\":[}", "no JSON: a value is missing" },
	{ "{\"x\":[1}", "no JSON: brackets that do not match" },
	{ "{\"x\":{]", "no JSON: a key is missing" },
	{ "{\"x\":\"a\nb\"}", "no JSON: a control character in a string" },
	{ "}", "no JSON: a value is missing" },
	{ "\x80", "no JSON: a value is missing" },
};

static void
test_examples(void)
{
	for (size_t i = 0; i < G_N_ELEMENTS(examples); i++) {
		const struct example *example = &examples[i];
		for (size_t piece = 1; piece <= strlen(example->text) + 1; piece++) {
			g_autofree char *said = cut(example->text, strlen(example->text), piece, &wide);
			CU_ASSERT_STRING_EQUAL(said, example->expected);
			if (strcmp(said, example->expected) != 0)
				printf("\n    %s in pieces of %zu: %s\n", example->text, piece, said);
		}
	}
}

static void
test_nul(void)
{
	g_autofree char *between = cut("{\"d\":1}\0", 8, 3, &wide), *within = cut("{\"d\":\"\0\"}", 9, 3, &wide);

	CU_ASSERT_STRING_EQUAL(between, "d=1|;no JSON: a value is missing");
	CU_ASSERT_STRING_EQUAL(within, "no JSON: a control character in a string");
}

/* Brackets are counted, not called. */
static void
test_depth(void)
{
	g_autoptr(GString) text = g_string_new(NULL);

	for (unsigned i = 0; i < 64; i++)
		g_string_append_c(text, '[');
	g_autofree char *most = cut(text->str, text->len, 1000, &wide);
	CU_ASSERT_STRING_EQUAL(most, "...");
	for (unsigned i = 0; i < 1 << 20; i++)
		g_string_append_c(text, '[');
	g_autofree char *endless = cut(text->str, text->len, 1000, &wide);
	CU_ASSERT_STRING_EQUAL(endless, "no JSON: brackets in brackets without end");
}

static void
test_limits(void)
{
	static const struct cutter_limits narrow = { 8, 40 };
	static const struct example cases[] = {
		{ "{\"d\":\"123456\"}", "d=\"123456\"|;" },
		{ "{\"d\":\"1234567\"}", "no JSON: a value is too long" },
		{ "{\"d\":\"12345678901234567", "no JSON: a value is too long" },
		{ "{\"x\":\"1234567890123456789012345678901\"}", ";" },
		{ "{\"x\":\"123456789012345678901234567890123456\"}", "no JSON: it is too long" },
		{ "{\"x\":1}                               {\"d\":1}", ";d=1|;" },
		{ "{\"x\":1}                                                     ", ";no JSON: it is too long" },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		for (size_t piece = 1; piece < 80; piece += 13) {
			g_autofree char *said = cut(cases[i].text, strlen(cases[i].text), piece, &narrow);
			CU_ASSERT_STRING_EQUAL(said, cases[i].expected);
		}
	}
}

static bool
refuse_value(unsigned path, const char *octets, size_t length, void *data, GError **error)
{
	(void)path, (void)octets, (void)length, (void)data;
	g_set_error_literal(error, PEERFLOW_ERROR, EX_UNAVAILABLE, "not this one");
	return false;
}

static void
test_refusal(void)
{
	g_autoptr(GString) said = g_string_new(NULL);
	g_autoptr(cutter_t) cutter = cutter_new(paths, &wide, refuse_value, on_frame, said);
	g_autoptr(GError) error = NULL;

	CU_ASSERT_FALSE(cutter_feed(cutter, "{\"d\":1}", 7, &error));
	CU_ASSERT_TRUE(g_error_matches(error, PEERFLOW_ERROR, EX_UNAVAILABLE));
	CU_ASSERT_STRING_EQUAL(said->str, "");
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "what is cut, however it comes", test_examples },
		{ "a NUL octet", test_nul },
		{ "depth", test_depth },
		{ "limits", test_limits },
		{ "a value nobody wants", test_refusal },
		CU_TEST_INFO_NULL,
	};

	return run_suite("cutter", tests);
}
