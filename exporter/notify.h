/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_NOTIFY_H
#define PEERFLOW_NOTIFY_H

#include <stdbool.h>

/* Tells the service manager one thing by the sd_notify(3) protocol, such as "READY=1". Without $NOTIFY_SOCKET it does
 * nothing; it never fails and never blocks. */
void notify_service_manager(const char *state);

/* Asks the service manager to keep a descriptor under this name when we are gone, and to hand it to the next of us. True
 * if there is one to ask; it does not answer. It must not close the descriptor for a pending error (FDPOLL=0), which
 * in a netlink socket only says that something did not fit. */
bool notify_store(const char *name, int fd);

/* It need not keep it any longer. */
void notify_unstore(const char *name);

/* The descriptor that the service manager kept under this name and that fits, or -1 (sd_listen_fds(3)). Whatever else it
 * handed over is closed, with a warning. To be called once, before anything else opens descriptors or starts a
 * process. */
int notify_take(const char *name, bool (*fits)(int fd));

#endif
