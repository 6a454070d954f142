/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_MESSAGE_H
#define PEERFLOW_MESSAGE_H

#include <stddef.h>
#include <stdint.h>

/* One export message ready for the wire: what encode/ makes and transport/ carries. The octets belong to the encoder
 * and stay valid until it is given the next record. */
struct message {
	const uint8_t *octets;
	uint16_t length;
	uint16_t flow_records;      /* Data Records of flows in it: what is lost if the message is */
	uint64_t flow_packets;      /* that these records count */
	uint64_t flow_octets;
	uint64_t mark;              /* number of the last flow all of whose records are in this or earlier messages */
};

#endif
