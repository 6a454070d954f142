/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ENCODE_GROUP_H
#define PEERFLOW_ENCODE_GROUP_H

#include <stddef.h>
#include <stdint.h>

enum { GROUP_IDS = 32 };            /* that a message may have; ours are those of options, and eight of flows */

/* Joins the Sets of one id of a whole IPFIX message, whose Sets are not padded: afterwards it has each id once, in
 * ascending order of id, and of each id the records in the order they had. A message of more than GROUP_IDS ids stays
 * as it is, and so does one with templates, for there is a reader that sees only the first of a Set. scratch has room
 * for as many octets. Returns how many the message has now; its header is the caller's. */
size_t group_sets(uint8_t *message, size_t octets, uint8_t *scratch);

#endif
