/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_AUDIT_PRINT_H
#define PEERFLOW_AUDIT_PRINT_H

#include <stdbool.h>
#include <stddef.h>

#include <glib.h>

#include "flow.h"
#include "names.h"

/* Flows as text, a line each: a table for people, CSV (RFC 4180, but lines end in LF) and JSON (an object a line) for
 * programs. CSV and JSON have the same columns under the same names, which packaging/man/peerflow.1 lists; a value that
 * is not known is empty in CSV and absent in JSON. All text is UTF-8 whatever the locale. */

enum print_format {
	PRINT_TABLE,
	PRINT_CSV,
	PRINT_JSON,
	PRINT_FORMATS,
};

/* A flow and the words its numbers stand for. */
struct print_flow {
	const struct flow *flow;
	const struct names *names;
	const char *ingress;        /* names of original's interfaces, or NULL */
	const char *egress;
	const char *router;         /* what the router that saw it is called, or NULL */
};

struct printer;

struct printer *printer_new(enum print_format format);
void printer_free(struct printer *printer);
typedef struct printer printer_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(printer_t, printer_free)

/* For a terminal of so many columns: a table's line that would be longer has the translation on a line of its own. */
void printer_fold(struct printer *printer, unsigned columns);

/* From now on these columns alone, in that order: names of CSV's columns with commas between them. In a table
 * they replace what it has. Fails (EX_USAGE) if one of them is not there. */
bool printer_choose(struct printer *printer, const char *list, GError **error);

/* Appends the line that names the columns; nothing for JSON. */
void printer_header(struct printer *printer, GString *out);

/* Appends the flow's line. A table's columns become wider when something does not fit, and stay so. */
void printer_flow(struct printer *printer, const struct print_flow *flow, GString *out);

/* "table", "csv", "json": false if text is none of these. */
bool print_format_find(const char *text, enum print_format *format);

/* A column of CSV by its name, or NULL. */
struct print_column;
const struct print_column *print_column_find(const char *name);

/* Its value, which is a number or a text and always the same of them. print_text wants out empty. False: there is
 * none. */
bool print_column_is_number(const struct print_column *column);
bool print_number(const struct print_column *column, const struct print_flow *flow, uint64_t *number);
bool print_text(const struct print_column *column, const struct print_flow *flow, GString *out);

/* Appends text as a JSON string with its quotes (RFC 8259). Octets that are no UTF-8 become U+FFFD. */
void print_json_string(GString *out, const char *text, size_t length);

/* Appends text as a CSV field, quoted if it must be. Control characters become U+FFFD, so a field is in one line. */
void print_csv_field(GString *out, const char *text, size_t length);

#endif
