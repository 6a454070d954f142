/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "encode/properties.h"

#include <string.h>

#include "encode/options.h"

enum {
	PLACES = 1 << 16,           /* twice what 4 MiB of flows can refer to */
	MOST = PLACES / 4 * 3,      /* beyond that a search takes long */
};

struct place {
	uint32_t initiator;
	uint32_t responder;
	uint32_t policy;
	uint32_t age;               /* of the table when it was told; another one: free */
	uint64_t number;
};

struct properties {
	uint64_t last;              /* number given */
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

/* Small numbers in a row, mostly: multiplied by odd constants their upper bits differ. */
static uint32_t
first_place(const struct flow *flow)
{
	const uint64_t mixed = flow->initiator * UINT64_C(0x9e3779b97f4a7c15)
	                       ^ flow->responder * UINT64_C(0xc2b2ae3d27d4eb4f)
	                       ^ flow->policy * UINT64_C(0x165667b19e3779f9);

	return mixed >> 48;
}

static bool
is_told(const struct place *place, const struct flow *flow)
{
	return place->initiator == flow->initiator && place->responder == flow->responder
	       && place->policy == flow->policy;
}

uint64_t
properties_find(struct properties *properties, const struct flow *flow, bool *fresh)
{
	*fresh = false;
	if (!flow->initiator && !flow->responder && !flow->policy)
		return 0;
	if (properties->used == MOST)
		properties_forget(properties);
	uint32_t i = first_place(flow);
	for (; properties->place[i].age == properties->age; i = (i + 1) % PLACES)
		if (is_told(&properties->place[i], flow))
			return properties->place[i].number;
	properties->used++;
	*fresh = true;
	properties->place[i] = (struct place){ flow->initiator, flow->responder, flow->policy, properties->age,
	                                       ++properties->last };
	return properties->last;
}

void
properties_template(struct template *template)
{
	*template = (struct template){ .id = OPTIONS_PROPERTIES };
	template->field[template->n_fields++] = field_find("commonPropertiesId");
	for (unsigned i = 0; i < n_fields; i++)
		if (fields[i].octets == FIELD_VARIABLE)
			template->field[template->n_fields++] = &fields[i];
}
