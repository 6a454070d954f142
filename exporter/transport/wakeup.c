/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "wakeup.h"

static gboolean
dispatch(GSource *source, GSourceFunc run, gpointer data)
{
	/* A ready time in the past would fire again in every iteration. */
	g_source_set_ready_time(source, WAKEUP_NEVER);
	return run(data);
}

GSource *
wakeup_new(GSourceFunc run, void *data)
{
	static GSourceFuncs functions = { .dispatch = dispatch };
	GSource *wakeup = g_source_new(&functions, sizeof *wakeup);

	g_source_set_callback(wakeup, run, data, NULL);
	g_source_attach(wakeup, NULL);
	return wakeup;
}

void
wakeup_clear(GSource **wakeup)
{
	if (!*wakeup)
		return;
	g_source_destroy(*wakeup);
	g_clear_pointer(wakeup, g_source_unref);
}
