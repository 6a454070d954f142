/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_LOG_H
#define PEERFLOW_LOG_H

/* Sends everything said through g_message, g_warning and g_error to standard error, one line each, "peerflowd: text".
 * Under the journal (JOURNAL_STREAM names our standard error) the line starts with its priority instead, "<4>text", as
 * sd-daemon(3) has it. g_info and g_debug are silent unless G_MESSAGES_DEBUG asks for them. A fatal message, which is
 * GLib's way of saying that memory ran out, ends the program with EX_OSERR. program is kept, not copied. */
void log_open(const char *program);

#endif
