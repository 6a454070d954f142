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
};

struct printer;

struct printer *printer_new(enum print_format format);
void printer_free(struct printer *printer);
typedef struct printer printer_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(printer_t, printer_free)

/* For a terminal of so many columns: a table's line that would be longer has the translation on a line of its own. */
void printer_fold(struct printer *printer, unsigned columns);

/* Appends the line that names the columns; nothing for JSON. */
void printer_header(struct printer *printer, GString *out);

/* Appends the flow's line. A table's columns become wider when something does not fit, and stay so. */
void printer_flow(struct printer *printer, const struct print_flow *flow, GString *out);

/* "table", "csv", "json": false if text is none of these. */
bool print_format_find(const char *text, enum print_format *format);

/* Appends text as a JSON string with its quotes (RFC 8259). Octets that are no UTF-8 become U+FFFD. */
void print_json_string(GString *out, const char *text, size_t length);

/* Appends text as a CSV field, quoted if it must be. Control characters become U+FFFD, so a field is in one line. */
void print_csv_field(GString *out, const char *text, size_t length);

#endif
