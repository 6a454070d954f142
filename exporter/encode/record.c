/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "encode/record.h"

#include <endian.h>
#include <string.h>

enum operation_code {
	PUT_1,
	PUT_2,
	PUT_4,
	PUT_8,
	COPY_4,
	COPY_16,
	PUT_UPTIME,
	PUT_REFERENCE,
	PUT_NAME_FIXED,
	PUT_NAME_VARIABLE,
};

enum { NAME_LEAST = 16 };           /* octets below which cutting a name leaves nothing worth reading */

/* Written where a flow's own name does not exist: never empty, see names.h. */
static const struct name unknown = { "-", 1 };

static enum operation_code
operation_code(const struct field *field)
{
	if (field->kind == KIND_UPTIME)
		return PUT_UPTIME;
	if (field->kind == KIND_REFERENCE)
		return PUT_REFERENCE;
	if (field_is_string(field))
		return field->octets == FIELD_VARIABLE ? PUT_NAME_VARIABLE : PUT_NAME_FIXED;
	if (field->kind == KIND_OCTETS)
		return field->octets == 4 ? COPY_4 : COPY_16;
	return field->octets == 1 ? PUT_1 : field->octets == 2 ? PUT_2 : field->octets == 4 ? PUT_4 : PUT_8;
}

_Static_assert(KIND_DOMAIN - KIND_PEER == WORD_DOMAIN - WORD_PEER, "the kinds of words follow their order");

static struct operation
operation_of(const struct field *field, enum record_view view)
{
	struct operation operation = { operation_code(field), { WORDS, WORDS }, field->offset[view], field->octets };

	if (field->kind == KIND_NAME) {
		operation.word[0] = WORD_PEER;
		operation.word[1] = WORD_VIA;
	} else if (field->kind >= KIND_PEER) {
		operation.word[0] = operation.word[1] = field->kind - KIND_PEER;
	}
	return operation;
}

void
recipe_init(struct recipe *recipe, const struct template *template, enum record_view view)
{
	*recipe = (struct recipe){ .id = template->id, .n_operations = template->n_fields };
	for (unsigned i = 0; i < template->n_fields; i++) {
		const struct field *field = template->field[i];
		recipe->operation[i] = operation_of(field, view);
		if (recipe->operation[i].code == PUT_NAME_VARIABLE)
			recipe->n_names++;
		else
			recipe->fixed += field->octets;
	}
}

bool
recipe_fit(struct recipe *recipe, size_t room)
{
	const size_t prefix = 3;        /* RFC 7011 section 7: the longer length form */

	if (recipe->fixed + recipe->n_names * (NAME_LEAST + prefix) > room)
		return false;
	if (recipe->n_names) {
		size_t limit = (room - recipe->fixed) / recipe->n_names - prefix;
		recipe->name_limit = limit < UINT16_MAX ? limit : UINT16_MAX;
	}
	recipe->room = room;
	return true;
}

static const struct name *
name_of(const struct operation *operation, const struct flow *flow, const struct names *names)
{
	uint32_t id;

	memcpy(&id, (const uint8_t *)flow + operation->from, sizeof id);
	if (operation->word[0] < WORDS) {
		const uint32_t first = names_word(names, id, operation->word[0]);
		id = first ? first : names_word(names, id, operation->word[1]);
	}
	return id < names->count ? &names->name[id] : &unknown;
}

static size_t
length_octets(uint16_t octets)
{
	return octets < 255 ? 1 : 3;
}

/* Only a record that would not fit has its names cut, each to the same share of the room. */
static size_t
cut_names(const struct recipe *recipe, struct piece *piece)
{
	size_t octets = recipe->fixed;

	for (unsigned i = 0; i < recipe->n_names; i++) {
		const struct name name = { piece[i].text, piece[i].octets };
		piece[i].octets = name_octets(&name, recipe->name_limit);
		octets += length_octets(piece[i].octets) + piece[i].octets;
	}
	return octets;
}

size_t
recipe_measure(const struct recipe *recipe, const struct flow *flow, const struct names *names, struct piece *piece)
{
	size_t octets = recipe->fixed;
	const struct operation *operation = recipe->operation + recipe->n_operations - recipe->n_names;

	/* Names of variable length come last: the template loader sees to it. */
	for (unsigned i = 0; i < recipe->n_names; i++, operation++) {
		const struct name *name = name_of(operation, flow, names);
		piece[i] = (struct piece){ name->text, name->length };
		octets += length_octets(name->length) + name->length;
	}
	return octets <= recipe->room ? octets : cut_names(recipe, piece);
}

static inline uint8_t *
write_2(uint8_t *at, const uint8_t *from)
{
	uint16_t value;

	memcpy(&value, from, sizeof value);
	value = htobe16(value);
	memcpy(at, &value, sizeof value);
	return at + sizeof value;
}

static inline uint8_t *
write_4(uint8_t *at, const uint8_t *from)
{
	uint32_t value;

	memcpy(&value, from, sizeof value);
	value = htobe32(value);
	memcpy(at, &value, sizeof value);
	return at + sizeof value;
}

static inline uint8_t *
write_8(uint8_t *at, const uint8_t *from)
{
	uint64_t value;

	memcpy(&value, from, sizeof value);
	value = htobe64(value);
	memcpy(at, &value, sizeof value);
	return at + sizeof value;
}

/* A flow older than sysUpTime itself starts with it. */
static uint8_t *
write_uptime(uint8_t *at, const uint8_t *from, uint64_t boot)
{
	uint64_t time;

	memcpy(&time, from, sizeof time);
	uint32_t uptime = htobe32(time > boot ? time - boot : 0);
	memcpy(at, &uptime, sizeof uptime);
	return at + sizeof uptime;
}

/* The numbers begin again in each block. */
static uint8_t *
write_reference(uint8_t *at, const uint8_t *from)
{
	uint64_t number;

	memcpy(&number, from, sizeof number);
	const uint32_t sent = htobe32(number);
	memcpy(at, &sent, sizeof sent);
	return at + sizeof sent;
}

static uint8_t *
write_name_fixed(uint8_t *at, const struct name *name, uint16_t octets)
{
	uint16_t length = name_octets(name, octets);

	memcpy(at, name->text, length);
	memset(at + length, 0, octets - length);
	return at + octets;
}

static inline uint8_t *
write_piece(uint8_t *at, const struct piece *piece)
{
	if (piece->octets < 255) {
		*at++ = piece->octets;
	} else {
		uint16_t wide = htobe16(piece->octets);
		*at++ = 255;
		memcpy(at, &wide, sizeof wide);
		at += sizeof wide;
	}
	/* Most that can be said of an end is not known of it, and "-" is worth no call. */
	if (piece->octets == 1)
		*at = *piece->text;
	else
		memcpy(at, piece->text, piece->octets);
	return at + piece->octets;
}

void
recipe_write(const struct recipe *recipe, const struct flow *flow, const struct names *names,
             const struct piece *piece, uint64_t boot, uint8_t *at)
{
	const unsigned n_fixed = recipe->n_operations - recipe->n_names;

	for (unsigned i = 0; i < n_fixed; i++) {
		const struct operation *operation = &recipe->operation[i];
		const uint8_t *from = (const uint8_t *)flow + operation->from;

		switch (operation->code) {
		case PUT_1:
			*at++ = *from;
			break;
		case PUT_2:
			at = write_2(at, from);
			break;
		case PUT_4:
			at = write_4(at, from);
			break;
		case PUT_8:
			at = write_8(at, from);
			break;
		case COPY_4:
			memcpy(at, from, 4);
			at += 4;
			break;
		case COPY_16:
			memcpy(at, from, 16);
			at += 16;
			break;
		case PUT_UPTIME:
			at = write_uptime(at, from, boot);
			break;
		case PUT_REFERENCE:
			at = write_reference(at, from);
			break;
		case PUT_NAME_FIXED:
			at = write_name_fixed(at, name_of(operation, flow, names), operation->octets);
			break;
		}
	}
	for (unsigned i = 0; i < recipe->n_names; i++)
		at = write_piece(at, &piece[i]);
}
