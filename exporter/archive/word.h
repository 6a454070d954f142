/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ARCHIVE_WORD_H
#define PEERFLOW_ARCHIVE_WORD_H

#include <stdint.h>

/* Every element the reader understands: a number for each row of templates/fields.def, and the two an interface's name
 * comes in. NetFlow v9's own rows have a number too, so that a bit is a row, but no IPFIX template ever has them. */
enum word {
#define FIELD(name, ...) WORD_##name,
#include "fields.def"
#undef FIELD
	WORD_interfaceName,
	WORD_interfaceDescription,
	WORDS
};

_Static_assert(WORDS <= 64, "a template's words are bits of 64");

#define HAS_WORD(name) (UINT64_C(1) << WORD_##name)

enum {
	WORD_REVERSE = 29305,       /* RFC 5103 */
	WORD_VARIABLE = 65535,      /* RFC 7011 section 7 */
};

#endif
