/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "encode/properties.h"

#include <stddef.h>
#include <string.h>

#include "encode/options.h"

enum {
	PLACES = 1 << 17,           /* twice what 4 MiB of flows can refer to */
	MOST = PLACES / 4 * 3,      /* beyond that a search takes long */
};

/* In the order of enum properties_about. */
static const struct kind {
	uint16_t template;
	uint16_t member;            /* of struct flow: the index that it follows from */
	const char *scope;
} kinds[PROPERTIES_KINDS] = {
	{ OPTIONS_INITIATOR, offsetof(struct flow, initiator), "initiatorPropertiesId" },
	{ OPTIONS_RESPONDER, offsetof(struct flow, responder), "responderPropertiesId" },
	{ OPTIONS_POLICY, offsetof(struct flow, policy), "policyPropertiesId" },
};

struct place {
	uint32_t index;
	uint32_t about;
	uint32_t age;               /* of the table when it was told; another one: free */
	uint32_t number;
};

struct properties {
	uint32_t last;              /* number given */
	uint32_t age;
	uint32_t used;              /* places of this age */
	struct place place[PLACES];
};

struct properties *
properties_new(void)
{
	struct properties *properties = g_new0(struct properties, 1);

	properties->age = 1;
	return properties;
}

void
properties_free(struct properties *properties)
{
	g_free(properties);
}

void
properties_forget(struct properties *properties)
{
	properties->used = 0;
	if (++properties->age)
		return;
	memset(properties->place, 0, sizeof properties->place);
	properties->age = 1;
}

void
properties_restart(struct properties *properties)
{
	properties_forget(properties);
	properties->last = 0;
}

/* Small numbers in a row, mostly: multiplied by an odd constant their upper bits differ. */
static uint32_t
first_place(uint32_t index, enum properties_about about)
{
	return (((uint64_t)index * PROPERTIES_KINDS + about) * UINT64_C(0x9e3779b97f4a7c15)) >> (64 - 17);
}

_Static_assert(PLACES == 1 << 17, "as many places as first_place can give");

uint64_t
properties_find(struct properties *properties, const struct flow *flow, enum properties_about about, bool *fresh)
{
	uint32_t index;

	*fresh = false;
	memcpy(&index, (const uint8_t *)flow + kinds[about].member, sizeof index);
	if (!index)
		return 0;
	if (properties->used == MOST)
		properties_forget(properties);
	uint32_t i = first_place(index, about);
	for (; properties->place[i].age == properties->age; i = (i + 1) % PLACES)
		if (properties->place[i].index == index && properties->place[i].about == about)
			return properties->place[i].number;
	properties->used++;
	*fresh = true;
	properties->place[i] = (struct place){ index, about, properties->age, ++properties->last };
	return properties->last;
}

void
properties_template(struct template *template, enum properties_about about)
{
	*template = (struct template){ .id = kinds[about].template };
	template->field[template->n_fields++] = field_find(kinds[about].scope);
	for (unsigned i = 0; i < n_fields; i++)
		if (fields[i].octets == FIELD_VARIABLE && fields[i].offset[VIEW_ORIGINAL] == kinds[about].member)
			template->field[template->n_fields++] = &fields[i];
}
