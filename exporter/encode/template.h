/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ENCODE_TEMPLATE_H
#define PEERFLOW_ENCODE_TEMPLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <glib.h>

#include "encode/field.h"

/* A template file says, in the words of templates/fields.def, what a collector is told. It names the protocol, gives
 * each kind of flow a template id, and lists the fields in order; every template takes the fields that make sense for
 * its kind. README.md of templates/ has the format for people. */

enum wire_protocol {
	WIRE_NETFLOW9 = 9,          /* RFC 3954; the values are the version numbers on the wire */
	WIRE_IPFIX = 10,            /* RFC 7011 */
};

enum {
	TEMPLATE_FIELDS = 72,       /* most fields of one template */
	TEMPLATE_KINDS = 16,        /* family, NAT, ICMP and biflow: two of each */
};

struct template {
	uint16_t id;                /* 256 to 65535, or zero: the file has no template of this kind */
	unsigned traits;            /* enum field_trait bits: the kind */
	unsigned n_fields;
	const struct field *field[TEMPLATE_FIELDS];
};

struct template_file {
	char *path;
	enum wire_protocol protocol;
	struct template template[TEMPLATE_KINDS];   /* at template_kind(traits) */
};

/* Reads the template file at path. On failure returns NULL and sets error (EX_CONFIG) to "path:line: what is wrong
 * with which word". The caller owns the result: template_file_free. */
struct template_file *template_file_load(const char *path, GError **error);

/* The same from octets already in memory; name stands for the path in errors. */
struct template_file *template_file_parse(const char *name, const char *text, size_t length, GError **error);

void template_file_free(struct template_file *file);
typedef struct template_file template_file_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(template_file_t, template_file_free)

/* The slot of a kind of flow in template_file.template. */
unsigned template_kind(unsigned traits);

/* Prints, for people, every template of the file that a collector with these records (TRAIT_UNIFLOW or TRAIT_BIFLOW)
 * would get: ids, fields, elements, octets. */
void template_file_print(const struct template_file *file, unsigned records, FILE *out);

#endif
