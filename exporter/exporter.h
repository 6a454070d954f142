/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_EXPORTER_H
#define PEERFLOW_EXPORTER_H

#include <stdbool.h>
#include <stdio.h>

#include <glib.h>

/* The whole of it: all stages, opened in the order a flow passes them, running in GLib's default main context. */
struct exporter;

/* Opens everything the configuration file asks for. On failure returns NULL and sets error, whose code is the exit
 * status to end with. */
struct exporter *exporter_open(const char *config_path, GError **error);

/* Reads the configuration file again and changes what changed; sessions with collectors that did not change go on. If
 * anything in the new configuration is wrong, nothing changes and error says what. */
bool exporter_reload(struct exporter *exporter, GError **error);

/* Takes what the kernel has announced so far, sends everything, and closes all stages in reverse. */
void exporter_close(struct exporter *exporter);

/* Is the configuration good? Touches neither kernel nor network. With out, prints the templates each collector gets. */
bool exporter_check(const char *config_path, FILE *out, GError **error);

#endif
