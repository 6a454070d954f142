/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_SOURCE_SETTINGS_H
#define PEERFLOW_SOURCE_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

/* The kernel's settings of connection tracking, /proc/sys/net/netfilter/nf_conntrack_*, of this network namespace. */

/* Reads nf_conntrack_NAME. False if there is no such setting. */
bool settings_read(const char *name, uint32_t *value);

/* What peerflow needs: accounting, time stamps and events, all 1. They act when the kernel makes an entry, so an
 * entry older than them has no counters, no start, or ends without an event. */
enum { SETTINGS = 3 };

struct settings {
	uint32_t found[SETTINGS];   /* value found when first looked at */
	bool said[SETTINGS];        /* that it cannot be set: said once, not each half minute */
	bool missing[SETTINGS];
};

/* Switches on what is off, at start. Says what was changed. False if connection tracking has no settings here: the
 * kernel's module is not loaded. */
bool settings_apply(struct settings *settings);

/* Looks again. Other programs switch accounting off when they stop; puts it back, says so, and returns how many
 * settings were put back. */
unsigned settings_restore(struct settings *settings);

/* True if any was not 1 when it was first looked at. */
bool settings_were_off(const struct settings *settings);

/* True if entries made before settings_apply may end without an event. */
bool settings_events_were_off(const struct settings *settings);

#endif
