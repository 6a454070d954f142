/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "source/settings.h"

#include <errno.h>
#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <fcntl.h>

static const struct {
	const char *name;
	const char *loss;           /* what is missing while it is off */
} needed[SETTINGS] = {
	{ "acct", "octets and packets of flows that begin" },
	{ "timestamp", "start times of flows that begin" },
	{ "events", "the end of flows that begin" },
};

enum { EVENTS = 2 };

static int
open_setting(const char *name, int flags)
{
	char path[128];

	snprintf(path, sizeof path, "/proc/sys/net/netfilter/nf_conntrack_%s", name);
	return open(path, flags | O_CLOEXEC);
}

bool
settings_read(const char *name, uint32_t *value)
{
	char text[32];
	int fd = open_setting(name, O_RDONLY);

	if (fd < 0)
		return false;
	ssize_t n = read(fd, text, sizeof text - 1);
	close(fd);
	if (n <= 0)
		return false;
	text[n] = '\0';
	*value = strtoul(text, NULL, 10);
	return true;
}

static bool
write_one(const char *name)
{
	int fd = open_setting(name, O_WRONLY);
	if (fd < 0)
		return false;
	bool written = write(fd, "1\n", 2) == 2;
	int reason = errno;
	close(fd);
	errno = reason;
	return written;
}

/* Sets one setting to 1. True if that changed it. */
static bool
switch_on(struct settings *settings, unsigned i)
{
	uint32_t value;

	settings->missing[i] = !settings_read(needed[i].name, &value);
	if (settings->missing[i] || value == 1)
		return false;
	if (write_one(needed[i].name)) {
		settings->said[i] = false;
		return true;
	}
	if (!settings->said[i])
		g_warning("nf_conntrack_%s is %u and cannot be set to 1 (%s): peerflow misses %s until it is",
		          needed[i].name, value, g_strerror(errno), needed[i].loss);
	settings->said[i] = true;
	return false;
}

bool
settings_apply(struct settings *settings)
{
	unsigned missing = 0;

	for (unsigned i = 0; i < SETTINGS; i++) {
		if (!settings_read(needed[i].name, &settings->found[i]))
			settings->found[i] = 0;
		if (switch_on(settings, i))
			g_message("nf_conntrack_%s was %u, set to 1", needed[i].name, settings->found[i]);
		missing += settings->missing[i];
		if (settings->missing[i])
			g_warning("the kernel has no nf_conntrack_%s: peerflow misses %s", needed[i].name, needed[i].loss);
	}
	return missing < SETTINGS;
}

unsigned
settings_restore(struct settings *settings)
{
	unsigned restored = 0;

	for (unsigned i = 0; i < SETTINGS; i++)
		if (switch_on(settings, i)) {
			g_message("nf_conntrack_%s had been switched off, set to 1 again: until now peerflow missed %s",
			          needed[i].name, needed[i].loss);
			restored++;
		}
	return restored;
}

bool
settings_were_off(const struct settings *settings)
{
	for (unsigned i = 0; i < SETTINGS; i++)
		if (!settings->missing[i] && settings->found[i] != 1)
			return true;
	return false;
}

bool
settings_events_were_off(const struct settings *settings)
{
	return settings->found[EVENTS] != 1;
}
