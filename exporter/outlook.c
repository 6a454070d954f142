/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "outlook.h"

#include <glib.h>

#include "source/signs.h"

struct outlook {
	struct mesh_signs signs;
	enum mode mode;
	char *sentence;
};

static const enum mesh_answer answers[] = {
	[ROSTER_KERNEL_UNKNOWN] = MESH_UNKNOWN,
	[ROSTER_KERNEL_YES] = MESH_YES,
	[ROSTER_KERNEL_NO] = MESH_NO,
};

struct outlook *
outlook_new(void)
{
	return g_new0(struct outlook, 1);
}

void
outlook_free(struct outlook *outlook)
{
	if (!outlook)
		return;
	g_free(outlook->sentence);
	g_free(outlook);
}

void
outlook_set_client(struct outlook *outlook, const struct roster *client)
{
	/* One that is not logged in has no address, and no mesh either. */
	outlook->signs.client = client && client->overlay->len;
	outlook->signs.kernel = client ? answers[client->kernel] : MESH_UNKNOWN;
}

void
outlook_set_marks(struct outlook *outlook)
{
	outlook->signs.marks = true;
}

void
outlook_look(struct outlook *outlook, const char *interface)
{
	signs_read(interface, &outlook->signs);
	outlook->mode = mode_of(&outlook->signs);
	g_autofree char *sentence = mode_sentence(outlook->mode, interface);
	if (g_strcmp0(sentence, outlook->sentence) == 0)
		return;
	g_log(G_LOG_DOMAIN, mode_sees(outlook->mode) ? G_LOG_LEVEL_MESSAGE : G_LOG_LEVEL_WARNING, "%s", sentence);
	g_free(outlook->sentence);
	outlook->sentence = g_steal_pointer(&sentence);
}

enum mode
outlook_mode(const struct outlook *outlook)
{
	return outlook->mode;
}

const char *
outlook_sentence(const struct outlook *outlook)
{
	return outlook->sentence;
}
