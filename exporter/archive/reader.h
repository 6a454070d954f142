/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ARCHIVE_READER_H
#define PEERFLOW_ARCHIVE_READER_H

#include <stdint.h>
#include <stdio.h>

#include <glib.h>

#include "flow.h"
#include "names.h"

/* An IPFIX stream (a socket, a pipe, an RFC 5655 file) read back into flows.
 *
 * A biflow fills the flow whole, as far as templates/fields.def has words for it: the reply's interfaces and ICMP type
 * and the entry's timeout are not on the wire and stay zero. The reply tuple of a flow that was not translated is the
 * mirror of the original one. A uniflow fills original alone, whichever direction it describes (see
 * original.biflow_direction); reply then has addresses and ports but counters of zero. What a template does not have
 * is zero. Strings told once for many flows, by commonPropertiesId (RFC 5473), are the flow's as if it had them itself.
 * Elements that peerflow has no word for and records that are no flows are skipped; tables of interface names are
 * remembered. */

/* One flow, with the strings its initiator and responder stand for. Entry 0 of names is "-", as everywhere. */
struct record {
	struct flow flow;
	const struct names *names;  /* of the reader; good until its next record */
};

enum reader_result {
	READER_ERROR = -1,
	READER_END = 0,             /* the stream ended, and between two messages */
	READER_FLOW = 1,
};

/* The OWN elements of a stream that never leaves the host have this enterprise number (RFC 5612, documentation). */
enum { READER_LOCAL_ENTERPRISE = 32473 };

struct reader;

/* Reads in, which stays the caller's and is not to be read by anyone else meanwhile; name is what errors call it.
 * enterprise is the number of the OWN elements. Blocks only in reader_next. */
struct reader *reader_new(FILE *in, const char *name, uint32_t enterprise);
void reader_free(struct reader *reader);
typedef struct reader reader_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(reader_t, reader_free)

/* Waits for the next flow. READER_ERROR sets error (EX_DATAERR: the octets are wrong or end inside a message; EX_IOERR:
 * they cannot be read) to one line that names the stream and the octet; a reader that failed stays failed. */
enum reader_result reader_next(struct reader *reader, struct record *record, GError **error);

/* The name of the interface with that index, as the stream last said, or NULL. Good until the next record. */
const char *reader_interface(const struct reader *reader, uint32_t index);

/* Records that were sent and never came, by the sequence numbers of the messages so far. */
uint64_t reader_lost(const struct reader *reader);

#endif
