/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_PEERFLOW_H
#define PEERFLOW_PEERFLOW_H

#include <stdbool.h>

#include <glib.h>

#include "audit/query.h"

/* The command line: its sub-commands, and what they share. */

#define PEERFLOW_CONFIG "/etc/peerflow/exporter.conf"

/* A sub-command with its own argc and argv. False: it failed, error says why, and its code is the exit status; an
 * empty message is not shown, for output has said it. */
bool peerflow_flows(int argc, char **argv, GError **error);
bool peerflow_trace(int argc, char **argv, GError **error);
bool peerflow_unpack(int argc, char **argv, GError **error);
bool peerflow_live(int argc, char **argv, GError **error);
bool peerflow_top(int argc, char **argv, GError **error);
bool peerflow_status(int argc, char **argv, GError **error);
bool peerflow_hints(int argc, char **argv, GError **error);
bool peerflow_who(int argc, char **argv, GError **error);
bool peerflow_check(int argc, char **argv, GError **error);

/* Parses the options of a sub-command, which takes nothing that entries do not name. summary is for --help. */
bool peerflow_options(const char *summary, const GOptionEntry *entries, int argc, char **argv, GError **error);

/* Words of the command line that are no options, as one query; NULL is every flow. */
struct query *peerflow_query(char **words, GError **error);

/* Writes text to standard output at once, so that what reads the other end of a pipe is never behind. False too if
 * nobody reads it any more, which is no failure of the program: it ends with status 0. */
bool peerflow_put(const GString *text, GError **error);

/* A socket connected to the daemon's at path, or -1, with an error that says what to do. */
int peerflow_connect(const char *path, GError **error);

/* From now on SIGINT, SIGTERM and SIGHUP end reading from fd, and the program with status 0. */
void peerflow_handle_signals(int fd);

#endif
