/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_INSPECT_H
#define PEERFLOW_INSPECT_H

#include <stdio.h>

/* Looks at this host: is what peerflowd needs there, and do the places it asks and sends to answer? Writes one line for
 * each thing to out: whether it is well, what it is, and why. Nothing is changed, but collectors are greeted: a TCP
 * session that ends at once, an empty UDP datagram. Returns how many things are wrong. */
unsigned inspect_host(const char *config_path, FILE *out);

#endif
