/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "enrich/networks.h"

#include <arpa/inet.h>
#include <string.h>

enum {
	NETWORKS_MOST = 32,         /* every flow is held against all of them */
	NETWORKS_SHOWN = 8,
};

struct network {
	union address address;
	union address mask;
	uint8_t family;
	uint8_t length;
};

/* A set of whole addresses. */
struct set {
	struct roster_prefix *slot; /* family zero: free */
	size_t mask;
};

struct networks {
	uint32_t interface;
	bool has_names;
	struct set own;
	struct set overlay;
	struct network network[NETWORKS_MOST];
	unsigned n_networks;
};

static size_t
find_slot(const struct set *set, unsigned family, const union address *address)
{
	uint64_t mixed = (address->half[0] ^ address->half[1] * 31) * 0x9e3779b97f4a7c15u;
	size_t i = mixed >> 32 & set->mask;

	for (; set->slot[i].family; i = (i + 1) & set->mask)
		if (set->slot[i].family == family && set->slot[i].address.half[0] == address->half[0]
		    && set->slot[i].address.half[1] == address->half[1])
			break;
	return i;
}

static void
set_init(struct set *set, size_t most)
{
	size_t slots = 2;

	while (slots < most * 2)
		slots *= 2;
	set->slot = g_new0(struct roster_prefix, slots);
	set->mask = slots - 1;
}

static void
set_add(struct set *set, const struct roster_prefix *prefix)
{
	set->slot[find_slot(set, prefix->family, &prefix->address)] = *prefix;
}

static inline bool
set_has(const struct set *set, unsigned family, const union address *address)
{
	return set->slot[find_slot(set, family, address)].family;
}

/* Every interface has addresses that mean something on its own link only. */
static bool
is_link_local(const struct roster_prefix *prefix)
{
	const uint8_t *octet = prefix->address.v6;

	if (prefix->family == 6)
		return octet[0] == 0xfe && (octet[1] & 0xc0) == 0x80;
	return octet[0] == 169 && octet[1] == 254;
}

static void
add_network(struct networks *networks, const struct roster_prefix *prefix)
{
	struct network one = { prefix->address, { .half = { UINT64_MAX, UINT64_MAX } }, prefix->family, prefix->length };

	roster_cut(&one.address, prefix->length);
	roster_cut(&one.mask, prefix->length);
	if (is_link_local(prefix) || networks->n_networks == NETWORKS_MOST)
		return;
	for (unsigned i = 0; i < networks->n_networks; i++)
		if (memcmp(&networks->network[i], &one, sizeof one) == 0)
			return;
	networks->network[networks->n_networks++] = one;
}

static void
add_overlay(struct networks *networks, const struct roster_prefix *address)
{
	set_add(&networks->overlay, address);
	add_network(networks, address);
}

struct networks *
networks_new(uint32_t interface, const struct own_address *own, size_t n_own, const struct directory *directory)
{
	struct networks *networks = g_new0(struct networks, 1);
	size_t n = 0;
	const struct roster_prefix *overlay = directory ? directory_overlay(directory, &n) : NULL;

	networks->interface = interface;
	networks->has_names = directory && directory_names(directory)->n_rows;
	set_init(&networks->own, n_own);
	set_init(&networks->overlay, n_own + n);
	for (size_t i = 0; i < n; i++)
		add_overlay(networks, &overlay[i]);
	for (size_t i = 0; i < n_own; i++) {
		set_add(&networks->own, &own[i].prefix);
		if (interface && own[i].interface == interface)
			add_overlay(networks, &own[i].prefix);
	}
	return networks;
}

void
networks_free(struct networks *networks)
{
	if (!networks)
		return;
	g_free(networks->own.slot);
	g_free(networks->overlay.slot);
	g_free(networks);
}

uint32_t
networks_interface(const struct networks *networks)
{
	return networks->interface;
}

bool
networks_is_own(const struct networks *networks, unsigned family, const union address *address)
{
	return set_has(&networks->own, family, address);
}

bool
networks_is_own_overlay(const struct networks *networks, unsigned family, const union address *address)
{
	return set_has(&networks->overlay, family, address);
}

bool
networks_holds(const struct networks *networks, unsigned family, const union address *address)
{
	for (unsigned i = 0; i < networks->n_networks; i++) {
		const struct network *network = &networks->network[i];
		if (network->family == family
		    && ((address->half[0] ^ network->address.half[0]) & network->mask.half[0]) == 0
		    && ((address->half[1] ^ network->address.half[1]) & network->mask.half[1]) == 0)
			return true;
	}
	return false;
}

bool
networks_have_mesh(const struct networks *networks)
{
	return networks->interface || networks->n_networks || networks->has_names;
}

static void
put_networks(GString *out, const struct networks *networks)
{
	for (unsigned i = 0; i < networks->n_networks && i < NETWORKS_SHOWN; i++) {
		const struct network *network = &networks->network[i];
		char text[INET6_ADDRSTRLEN];
		inet_ntop(network->family == 6 ? AF_INET6 : AF_INET, &network->address, text, sizeof text);
		g_string_append_printf(out, "%s%s/%u", i ? ", " : ", with an end in ", text, network->length);
	}
	if (networks->n_networks > NETWORKS_SHOWN)
		g_string_append_printf(out, " and %u more", networks->n_networks - NETWORKS_SHOWN);
}

char *
networks_sentence(const struct networks *networks, const char *interface)
{
	if (!networks_have_mesh(networks))
		return g_strdup_printf("flows = mesh finds no mesh yet (no interface %s, no NetBird, no peers): all flows are "
		                       "reported", interface);
	g_autoptr(GString) out = g_string_new("flows = mesh selects flows with a mark of NetBird's");
	if (networks->interface)
		g_string_append_printf(out, ", through %s", interface);
	put_networks(out, networks);
	if (networks->has_names)
		g_string_append(out, ", or with an end that is a known peer or lies behind one");
	return g_string_free(g_steal_pointer(&out), false);
}
