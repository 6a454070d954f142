/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "archive/plan.h"

#include <stddef.h>

#include <glib.h>

#include "archive/columns.h"
#include "archive/word.h"

_Static_assert(WORD_COUNT <= UINT8_MAX, "a word fits an octet");

/* Where a word's value goes in struct flow or struct told. */
enum like { LIKE_NO_VALUE, LIKE_A_NUMBER, LIKE_ALL_OCTETS, LIKE_A_TEXT };

struct place {
	uint16_t to;
	uint8_t wide;
	uint8_t like;
};

static const struct place flow_places[WORD_COUNT] = {
#define PLACE_NUMBER(wide, member) { offsetof(struct flow, member), wide, LIKE_A_NUMBER }
#define PLACE_OCTETS(wide, member) { offsetof(struct flow, member), wide, LIKE_ALL_OCTETS }
#define PLACE_NAME(wide, member) { 0, 0, LIKE_A_TEXT }
#define PLACE_REFERENCE(wide, member) PLACE_NUMBER(8, member)
#define PLACE_UPTIME(wide, member) { 0, 0, LIKE_NO_VALUE }
#define FIELD(name, element, enterprise, octets, kind, semantics, only, member, ...) \
	[WORD_##name] = JOIN(PLACE_, LIKE_##kind)(octets, member),
#include "fields.def"
#undef FIELD
};

#define TOLD(member) { offsetof(struct told, member), sizeof((struct told *)0)->member, LIKE_A_NUMBER }

static const struct place told_places[WORD_COUNT] = {
#define SAID_NUMBER
#define SAID_OCTETS
#define SAID_UPTIME
#define SAID_REFERENCE
#define SAID_NAME .like = LIKE_A_TEXT
#define FIELD(name, element, enterprise, octets, kind, ...) [WORD_##name] = { JOIN(SAID_, LIKE_##kind) },
#include "fields.def"
#undef FIELD
	[WORD_interfaceName] = { .like = LIKE_A_TEXT },
	[WORD_interfaceDescription] = { .like = LIKE_A_TEXT },
	[WORD_observationDomainName] = { .like = LIKE_A_TEXT },
	[WORD_observationDomainId] = TOLD(domain),
	[WORD_gapKind] = TOLD(gap_kind),
	[WORD_gapFlags] = TOLD(gap_flags),
	[WORD_gapFlows] = TOLD(gap.flows),
	[WORD_gapPackets] = TOLD(gap.packets),
	[WORD_gapOctets] = TOLD(gap.octets),
	[WORD_gapFirst] = TOLD(gap.first),
	[WORD_gapLast] = TOLD(gap.last),
};

/* The two of fields.def that options records have as well. */
static struct place
told_place(unsigned word)
{
	static const struct place interface = TOLD(interface), properties = TOLD(properties);

	if (word == WORD_initiatorPropertiesId)
		return properties;
	return word == WORD_ingressInterface ? interface : told_places[word];
}

static enum plan_kind
plan_kind(const struct shape *shape)
{
	const struct words *words = &shape->words;

	if (!shape->scopes)
		return conclude_is_flow(words) ? PLAN_FLOW : PLAN_OTHER;
	if (shape->scopes == 1 && shape->field[0].word == WORD_initiatorPropertiesId && !shape->misfit)
		return PLAN_PROPERTIES;
	if (words_have_both(words, WORD_gapKind, WORD_gapLast))
		return PLAN_GAP;
	if (words_have_both(words, WORD_observationDomainId, WORD_observationDomainName))
		return PLAN_DOMAIN;
	const bool interface = words_have(words, WORD_interfaceName) || words_have(words, WORD_interfaceDescription);
	return interface && words_have(words, WORD_ingressInterface) ? PLAN_INTERFACE : PLAN_OTHER;
}

static enum step_code
number_code(unsigned octets, unsigned wide)
{
	if (octets != wide)
		return octets == 4 && wide == 8 ? STEP_4_TO_8 : STEP_NARROW;
	return wide == 1 ? STEP_1 : wide == 2 ? STEP_2 : wide == 4 ? STEP_4 : STEP_8;
}

/* False: nothing is to be done for this field. */
static bool
step_init(struct step *step, const struct shape_field *field, enum plan_kind kind)
{
	static const struct place nowhere;
	const bool variable = field->octets == WORD_VARIABLE;
	const struct place place = field->word == WORD_COUNT ? nowhere :
	                           kind == PLAN_FLOW ? flow_places[field->word] : told_place(field->word);

	*step = (struct step){ .word = field->word, .wide = place.wide, .octets = field->octets, .to = place.to };
	if (variable) {
		step->code = place.like == LIKE_A_TEXT ? STEP_VARIABLE_TEXT : STEP_VARIABLE;
		return true;
	}
	if (place.like == LIKE_A_NUMBER)
		step->code = number_code(field->octets, place.wide);
	else if (place.like == LIKE_ALL_OCTETS)
		step->code = place.wide == 4 ? STEP_COPY_4 : STEP_COPY_16;
	else
		step->code = STEP_TEXT;
	return place.like != LIKE_NO_VALUE;
}

/* The part of a flow that a word is of; zero: every glance sees it. */
static unsigned
part_of(unsigned word)
{
	switch (word) {
	case WORD_protocolIdentifier:
		return 0;
	case WORD_sourceIPv4Address:
	case WORD_destinationIPv4Address:
	case WORD_sourceIPv6Address:
	case WORD_destinationIPv6Address:
	case WORD_postNATSourceIPv4Address:
	case WORD_postNATDestinationIPv4Address:
	case WORD_postNATSourceIPv6Address:
	case WORD_postNATDestinationIPv6Address:
		return FLOW_ADDRESSES;
	case WORD_sourceTransportPort:
	case WORD_destinationTransportPort:
	case WORD_postNAPTSourceTransportPort:
	case WORD_postNAPTDestinationTransportPort:
		return FLOW_PORTS;
	case WORD_flowStartMilliseconds:
	case WORD_flowEndMilliseconds:
	case WORD_conntrackStopMilliseconds:
		return FLOW_TIMES;
	case WORD_octetDeltaCount:
	case WORD_packetDeltaCount:
	case WORD_reverseOctetDeltaCount:
	case WORD_reversePacketDeltaCount:
	case WORD_postOctetDeltaCount:
	case WORD_postPacketDeltaCount:
		return FLOW_COUNTS;
	case WORD_initiatorPropertiesId:
	case WORD_responderPropertiesId:
	case WORD_policyPropertiesId:
	case WORD_biflowDirection:              /* says which of the two ends names in the record are about */
		return FLOW_WHO;
	default:
		return flow_places[word].like == LIKE_A_TEXT ? FLOW_WHO : FLOW_REST;
	}
}

static bool
is_first(unsigned word, unsigned spared)
{
	const unsigned part = part_of(word);

	return !part || !(part & spared);
}

static uint64_t
fields_of(const struct step *step, unsigned n)
{
	uint64_t fields = 0;

	for (unsigned i = 0; i < n; i++)
		if (step[i].field < COLUMNS_FIELDS)
			fields |= UINT64_C(1) << step[i].field;
	return fields;
}

/* The steps of a glance come first. */
static void
sort_steps(struct plan *plan, unsigned spared)
{
	g_autofree struct step *all = g_memdup2(plan->step, plan->n_steps * sizeof *all);
	unsigned n = 0;

	for (unsigned i = 0; i < plan->n_steps; i++)
		if (is_first(all[i].word, spared))
			plan->step[n++] = all[i];
	plan->n_first = n;
	for (unsigned i = 0; i < plan->n_steps; i++)
		if (!is_first(all[i].word, spared))
			plan->step[n++] = all[i];
}

struct plan *
plan_new(const struct shape *shape, unsigned spared)
{
	struct plan *plan = g_malloc0(sizeof *plan + shape->n_fields * sizeof *plan->step);
	uint16_t from = 0;

	plan->key = shape->key;
	plan->conclusion = conclusion_of(&shape->words);
	plan->seen.family = plan->conclusion.family;
	plan->kind = plan_kind(shape);
	plan->shortest = shape->shortest;
	for (unsigned i = 0; i < shape->n_fields; i++) {
		struct step *step = &plan->step[plan->n_steps];
		const bool heeded = plan->kind != PLAN_FLOW || conclude_heeds(&shape->words, shape->field[i].word);
		const bool needed = step_init(step, &shape->field[i], plan->kind) && heeded;
		step->field = i;
		step->from = from;
		from = shape->field[i].octets == WORD_VARIABLE ? 0 : from + shape->field[i].octets;
		plan->n_steps += needed;
		plan->named |= needed && (step->code == STEP_TEXT || step->code == STEP_VARIABLE_TEXT);
	}
	plan->tail = from;
	plan->n_first = plan->n_steps;
	plan->plain = conclusion_is_plain(&plan->conclusion);
	if (!shape->variable)
		sort_steps(plan, spared);
	plan->first_fields = fields_of(plan->step, plan->n_first);
	plan->all_fields = fields_of(plan->step, plan->n_steps);
	return plan;
}
