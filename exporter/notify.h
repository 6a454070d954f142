/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_NOTIFY_H
#define PEERFLOW_NOTIFY_H

/* Tells the service manager one thing by the sd_notify(3) protocol, such as "READY=1". Without $NOTIFY_SOCKET it does
 * nothing; it never fails and never blocks. */
void notify_service_manager(const char *state);

#endif
