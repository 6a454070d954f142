/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "enrich/mode.h"

#include <glib.h>

static enum mode
mode_of_tun(const struct mesh_signs *signs)
{
	if (signs->rules == MESH_YES || signs->marks)
		return MODE_TUN_FIREWALL;
	if (!signs->client)
		return MODE_TUN;
	return signs->rules == MESH_NO ? MODE_TUN_ROUTER : MODE_TUN_UNCLEAR;
}

static enum mode
mode_without_link(const struct mesh_signs *signs)
{
	if (!signs->client)
		return MODE_NO_MESH;
	/* Neither rules nor marks have a place in a stack of its own: both speak for another interface. */
	return signs->kernel == MESH_NO && signs->rules != MESH_YES && !signs->marks ? MODE_NETSTACK : MODE_WRONG_INTERFACE;
}

enum mode
mode_of(const struct mesh_signs *signs)
{
	switch (signs->link) {
	case MESH_LINK_NONE: return mode_without_link(signs);
	case MESH_LINK_WIREGUARD: return MODE_KERNEL;
	case MESH_LINK_TUN: return mode_of_tun(signs);
	case MESH_LINK_OTHER: break;
	}
	return MODE_LINK;
}

static const struct {
	const char *word;
	bool sees;
	const char *sentence;       /* %s: the interface */
} modes[MODES] = {
	[MODE_NO_MESH] = { "none", false,
		"There is no interface %s and no NetBird client answers: flows of a mesh cannot be told from others" },
	[MODE_WRONG_INTERFACE] = { "wrong-interface", false,
		"NetBird runs here, but not with the interface %s: flows of the mesh cannot be told from others until "
		"interface in [netbird] names its interface" },
	[MODE_KERNEL] = { "kernel", true, "The mesh's interface %s is the kernel's WireGuard: all of its flows are seen" },
	[MODE_TUN] = { "wireguard-go", true,
		"The mesh's interface %s belongs to a program such as wireguard-go: all of its flows are seen" },
	[MODE_TUN_FIREWALL] = { "wireguard-go-netbird", true,
		"The mesh's interface %s belongs to NetBird's wireguard-go with its rules in the kernel: all of its flows are "
		"seen" },
	[MODE_TUN_ROUTER] = { "userspace-router", false,
		"NetBird has no rules in this host's firewall and so routes inside its own process: flows through %s to other "
		"hosts cannot be seen as those of peers until nftables or iptables can be used and NB_FORCE_USERSPACE_FIREWALL "
		"is not set" },
	[MODE_TUN_UNCLEAR] = { "unclear", true,
		"The mesh's interface %s belongs to NetBird's wireguard-go, and whether its rules are in the kernel cannot be "
		"told: if they are not, flows to other hosts cannot be seen as those of peers" },
	[MODE_NETSTACK] = { "netstack", false,
		"NetBird runs without an interface (there is no %s): nothing of the mesh passes the kernel and none of its flows "
		"can be seen until NB_USE_NETSTACK_MODE is not set" },
	[MODE_LINK] = { "link", true, "The mesh's interface %s is an ordinary one: all of its flows are seen" },
};

const char *
mode_word(enum mode mode)
{
	return modes[mode].word;
}

bool
mode_sees(enum mode mode)
{
	return modes[mode].sees;
}

char *
mode_sentence(enum mode mode, const char *interface)
{
	g_auto(GStrv) part = g_strsplit(modes[mode].sentence, "%s", 2);

	return g_strconcat(part[0], interface, part[1], NULL);
}
