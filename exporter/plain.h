/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_PLAIN_H
#define PEERFLOW_PLAIN_H

#include <stddef.h>

/* Copies text, which may hold anything, into an array of size octets for the wire (RFC 7011 section 6.1.6): as valid
 * UTF-8 without control characters, cut in front of a character, filled up with zeros, of which there is at least one.
 * What is then empty becomes "-". */
void plain_copy(char *to, size_t size, const char *text);

#endif
