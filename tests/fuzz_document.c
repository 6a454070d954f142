/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Whatever stands where a list in JSON should: the elements are the same however the octets come cut, and a list that is
 * read element by element is one that the library reads whole. */

#include <stdlib.h>
#include <string.h>

#include "enrich/document.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(bool good)
{
	if (!good)
		abort();
}

static bool
append(json_t *element, void *data, GError **error)
{
	(void)error;
	return json_array_append(data, element) == 0;
}

/* The elements as an array, or NULL. */
static json_t *
read_list(const char *octets, size_t size, size_t piece)
{
	g_autoptr(json_t) list = json_array();
	g_autoptr(document_t) document = document_new(1 << 20, append, list);
	g_autoptr(GError) error = NULL;
	bool good = true;

	for (size_t at = 0; at < size && good; at += piece)
		good = document_feed(document, octets + at, MIN(piece, size - at), &error);
	good = good && document_end(document, &error);
	check(good == !error);
	check(!error || g_utf8_validate(error->message, -1, NULL));
	return good ? g_steal_pointer(&list) : NULL;
}

static void
use(json_t *element)
{
	static const char *const keys[] = { "id", "a", "name" };

	for (size_t i = 0; i < G_N_ELEMENTS(keys); i++) {
		const char *text = document_text(element, keys[i]);
		check(!text || (*text && g_utf8_validate(text, -1, NULL)));
		check(document_number(element, keys[i], 1000, 2000) <= 2000);
		document_truth(element, keys[i], true);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *octets = (const char *)data;
	g_autoptr(json_t) list = read_list(octets, size, size ? size : 1);
	g_autoptr(json_t) cut = read_list(octets, size, 1);
	g_autoptr(json_t) whole = document_parse(octets, size, NULL);
	json_t *element;
	size_t i;

	check(!list == !cut && (!list || json_equal(list, cut)));
	check(!json_is_array(whole) || (list && json_equal(list, whole)));
	json_array_foreach(list, i, element)
		use(element);
	return 0;
}
