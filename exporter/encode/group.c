/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "encode/group.h"

#include <endian.h>
#include <stdbool.h>
#include <string.h>

#include "encode/batch.h"
#include "encode/cursor.h"

/* Records of one id. A counting sort: ids are few, however many Sets there are. */
struct group {
	uint16_t id;
	uint32_t octets;            /* of the records, without a Set header */
	uint8_t *to;                /* where the next of them goes */
};

enum { TEMPLATE_MIN = 256 };        /* RFC 7011 section 3.3.2: below are Sets of templates */

struct groups {
	unsigned n;
	bool grouped;               /* by themselves: there is nothing to join or to move */
	struct group group[GROUP_IDS];
};

struct set {
	uint16_t id;
	uint16_t octets;            /* header included */
};

static struct set
set_at(const uint8_t *at)
{
	struct set set;

	memcpy(&set, at, sizeof set);
	return (struct set){ be16toh(set.id), be16toh(set.octets) };
}

/* The group of that id, in ascending order; NULL if there is none and no room for one. */
static struct group *
group_of(struct groups *groups, uint16_t id)
{
	struct group *group = groups->group, *end = group + groups->n;

	while (group < end && group->id < id)
		group++;
	if (group < end && group->id == id)
		return group;
	if (groups->n == GROUP_IDS)
		return NULL;
	memmove(group + 1, group, (end - group) * sizeof *group);
	*group = (struct group){ .id = id };
	groups->n++;
	return group;
}

/* False: the message is to stay as it is. */
static bool
measure(struct groups *groups, const uint8_t *at, const uint8_t *end)
{
	unsigned last = 0;

	groups->n = 0;
	groups->grouped = true;
	while (at < end) {
		const struct set set = set_at(at);
		struct group *group = set.id < TEMPLATE_MIN ? NULL : group_of(groups, set.id);
		if (!group)
			return false;
		group->octets += set.octets - SET_HEADER;
		groups->grouped = groups->grouped && set.id > last;
		last = set.id;
		at += set.octets;
	}
	return true;
}

/* One Set of each id, which is all header yet. Returns where they end. */
static uint8_t *
lay_out(struct groups *groups, uint8_t *at)
{
	for (struct group *group = groups->group; group < groups->group + groups->n; group++) {
		struct cursor header = { at, at + SET_HEADER, false };
		put_u16(&header, group->id);
		put_u16(&header, SET_HEADER + group->octets);
		group->to = header.at;
		at = header.at + group->octets;
	}
	return at;
}

static void
fill(struct groups *groups, const uint8_t *at, const uint8_t *end)
{
	while (at < end) {
		const struct set set = set_at(at);
		struct group *group = group_of(groups, set.id);
		memcpy(group->to, at + SET_HEADER, set.octets - SET_HEADER);
		group->to += set.octets - SET_HEADER;
		at += set.octets;
	}
}

size_t
group_sets(uint8_t *message, size_t octets, uint8_t *scratch)
{
	uint8_t *sets = message + HEADER_IPFIX;
	struct groups groups;

	if (!measure(&groups, sets, message + octets) || groups.grouped)
		return octets;
	const size_t joined = lay_out(&groups, scratch) - scratch;
	fill(&groups, sets, message + octets);
	memcpy(sets, scratch, joined);
	return HEADER_IPFIX + joined;
}
