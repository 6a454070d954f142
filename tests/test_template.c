/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Template files: what is refused and in which words, and what the shipped ones say, for ever. */

#include "encode/template.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "error.h"
#include "suite.h"

/* What each template of the shipped files holds: element/octets, r for reverse elements (29305), e for the operator's.
 * An id never changes its content, in any release: collectors keep templates and share them between exporters. To say
 * something else takes a new id and a new row here; a row is never edited. */
static const struct {
	const char *file;
	uint16_t id;
	const char *fields;
} pinned[] = {
	{ "default", 256,
	  "8/4 12/4 7/2 11/2 4/1 1/8 2/8 152/8 153/8 10/4 14/4 61/1 136/1 148/8 239/1 371/v" },
	{ "default", 257,
	  "8/4 12/4 7/2 11/2 4/1 1/8 2/8 152/8 153/8 10/4 14/4 61/1 136/1 148/8 239/1 225/4 226/4 227/2 228/2"
	  " 371/v" },
	{ "default", 258,
	  "27/16 28/16 7/2 11/2 4/1 1/8 2/8 152/8 153/8 10/4 14/4 61/1 136/1 148/8 239/1 371/v" },
	{ "default", 259,
	  "27/16 28/16 7/2 11/2 4/1 1/8 2/8 152/8 153/8 10/4 14/4 61/1 136/1 148/8 239/1 281/16 282/16 227/2"
	  " 228/2 371/v" },
	{ "default", 261,
	  "8/4 12/4 4/1 1/8 2/8 152/8 153/8 10/4 14/4 61/1 32/2 136/1 148/8 239/1 371/v" },
	{ "default", 262,
	  "8/4 12/4 4/1 1/8 2/8 152/8 153/8 10/4 14/4 61/1 32/2 136/1 148/8 239/1 225/4 226/4 371/v" },
	{ "default", 263,
	  "27/16 28/16 4/1 1/8 2/8 152/8 153/8 10/4 14/4 61/1 139/2 136/1 148/8 239/1 371/v" },
	{ "default", 264,
	  "27/16 28/16 4/1 1/8 2/8 152/8 153/8 10/4 14/4 61/1 139/2 136/1 148/8 239/1 281/16 282/16 371/v" },
	{ "default", 288,
	  "8/4 12/4 7/2 11/2 4/1 1/8 2/8 1r/8 2r/8 152/8 153/8 10/4 14/4 61/1 136/1 148/8 239/1 371/v" },
	{ "default", 289,
	  "8/4 12/4 7/2 11/2 4/1 1/8 2/8 1r/8 2r/8 152/8 153/8 10/4 14/4 61/1 136/1 148/8 239/1 225/4 226/4"
	  " 227/2 228/2 371/v" },
	{ "default", 290,
	  "27/16 28/16 7/2 11/2 4/1 1/8 2/8 1r/8 2r/8 152/8 153/8 10/4 14/4 61/1 136/1 148/8 239/1 371/v" },
	{ "default", 291,
	  "27/16 28/16 7/2 11/2 4/1 1/8 2/8 1r/8 2r/8 152/8 153/8 10/4 14/4 61/1 136/1 148/8 239/1 281/16"
	  " 282/16 227/2 228/2 371/v" },
	{ "default", 293,
	  "8/4 12/4 4/1 1/8 2/8 1r/8 2r/8 152/8 153/8 10/4 14/4 61/1 32/2 136/1 148/8 239/1 371/v" },
	{ "default", 294,
	  "8/4 12/4 4/1 1/8 2/8 1r/8 2r/8 152/8 153/8 10/4 14/4 61/1 32/2 136/1 148/8 239/1 225/4 226/4 371/v" },
	{ "default", 295,
	  "27/16 28/16 4/1 1/8 2/8 1r/8 2r/8 152/8 153/8 10/4 14/4 61/1 139/2 136/1 148/8 239/1 371/v" },
	{ "default", 296,
	  "27/16 28/16 4/1 1/8 2/8 1r/8 2r/8 152/8 153/8 10/4 14/4 61/1 139/2 136/1 148/8 239/1 281/16 282/16"
	  " 371/v" },
	{ "nfdump", 320,
	  "8/4 12/4 7/2 11/2 4/1 1/8 2/8 22/4 21/4 10/4 14/4 61/1 136/1 40000/32" },
	{ "nfdump", 321,
	  "8/4 12/4 7/2 11/2 4/1 1/8 2/8 22/4 21/4 10/4 14/4 61/1 136/1 225/4 226/4 227/2 228/2 40000/32" },
	{ "nfdump", 322,
	  "27/16 28/16 7/2 11/2 4/1 1/8 2/8 22/4 21/4 10/4 14/4 61/1 136/1 40000/32" },
	{ "nfdump", 323,
	  "27/16 28/16 7/2 11/2 4/1 1/8 2/8 22/4 21/4 10/4 14/4 61/1 136/1 281/16 282/16 227/2 228/2 40000/32" },
	{ "nfdump", 325,
	  "8/4 12/4 4/1 1/8 2/8 22/4 21/4 10/4 14/4 61/1 32/2 136/1 40000/32" },
	{ "nfdump", 326,
	  "8/4 12/4 4/1 1/8 2/8 22/4 21/4 10/4 14/4 61/1 32/2 136/1 225/4 226/4 40000/32" },
	{ "nfdump", 327,
	  "27/16 28/16 4/1 1/8 2/8 22/4 21/4 10/4 14/4 61/1 32/2 136/1 40000/32" },
	{ "nfdump", 328,
	  "27/16 28/16 4/1 1/8 2/8 22/4 21/4 10/4 14/4 61/1 32/2 136/1 281/16 282/16 40000/32" },
	{ "nfdump", 352,
	  "8/4 12/4 7/2 11/2 4/1 1/8 2/8 23/8 24/8 22/4 21/4 10/4 14/4 61/1 136/1 40000/32" },
	{ "nfdump", 353,
	  "8/4 12/4 7/2 11/2 4/1 1/8 2/8 23/8 24/8 22/4 21/4 10/4 14/4 61/1 136/1 225/4 226/4 227/2 228/2"
	  " 40000/32" },
	{ "nfdump", 354,
	  "27/16 28/16 7/2 11/2 4/1 1/8 2/8 23/8 24/8 22/4 21/4 10/4 14/4 61/1 136/1 40000/32" },
	{ "nfdump", 355,
	  "27/16 28/16 7/2 11/2 4/1 1/8 2/8 23/8 24/8 22/4 21/4 10/4 14/4 61/1 136/1 281/16 282/16 227/2 228/2"
	  " 40000/32" },
	{ "nfdump", 357,
	  "8/4 12/4 4/1 1/8 2/8 23/8 24/8 22/4 21/4 10/4 14/4 61/1 32/2 136/1 40000/32" },
	{ "nfdump", 358,
	  "8/4 12/4 4/1 1/8 2/8 23/8 24/8 22/4 21/4 10/4 14/4 61/1 32/2 136/1 225/4 226/4 40000/32" },
	{ "nfdump", 359,
	  "27/16 28/16 4/1 1/8 2/8 23/8 24/8 22/4 21/4 10/4 14/4 61/1 32/2 136/1 40000/32" },
	{ "nfdump", 360,
	  "27/16 28/16 4/1 1/8 2/8 23/8 24/8 22/4 21/4 10/4 14/4 61/1 32/2 136/1 281/16 282/16 40000/32" },
	{ "full", 448,
	  "8/4 12/4 7/2 11/2 4/1 1/8 2/8 152/8 153/8 10/4 14/4 61/1 136/1 148/8 239/1 297/1 1011e/4 1012e/2"
	  " 1013e/4 1014e/1 1015e/16 1016e/8 1017e/1 1028e/1 371/v 1001e/v 1002e/v 1003e/v 1004e/v 1005e/v"
	  " 1006e/v 1007e/v 1008e/v 1009e/v 1010e/v 1021e/v 1022e/v 1023e/v 1024e/v 1025e/v 1026e/v 1027e/v" },
	{ "full", 449,
	  "8/4 12/4 7/2 11/2 4/1 1/8 2/8 152/8 153/8 10/4 14/4 61/1 136/1 148/8 239/1 225/4 226/4 227/2 228/2"
	  " 297/1 1011e/4 1012e/2 1013e/4 1014e/1 1015e/16 1016e/8 1017e/1 1028e/1 371/v 1001e/v 1002e/v"
	  " 1003e/v 1004e/v 1005e/v 1006e/v 1007e/v 1008e/v 1009e/v 1010e/v 1021e/v 1022e/v 1023e/v 1024e/v"
	  " 1025e/v 1026e/v 1027e/v" },
	{ "full", 450,
	  "27/16 28/16 7/2 11/2 4/1 1/8 2/8 152/8 153/8 10/4 14/4 61/1 136/1 148/8 239/1 297/1 1011e/4 1012e/2"
	  " 1013e/4 1014e/1 1015e/16 1016e/8 1017e/1 1028e/1 371/v 1001e/v 1002e/v 1003e/v 1004e/v 1005e/v"
	  " 1006e/v 1007e/v 1008e/v 1009e/v 1010e/v 1021e/v 1022e/v 1023e/v 1024e/v 1025e/v 1026e/v 1027e/v" },
	{ "full", 451,
	  "27/16 28/16 7/2 11/2 4/1 1/8 2/8 152/8 153/8 10/4 14/4 61/1 136/1 148/8 239/1 281/16 282/16 227/2"
	  " 228/2 297/1 1011e/4 1012e/2 1013e/4 1014e/1 1015e/16 1016e/8 1017e/1 1028e/1 371/v 1001e/v 1002e/v"
	  " 1003e/v 1004e/v 1005e/v 1006e/v 1007e/v 1008e/v 1009e/v 1010e/v 1021e/v 1022e/v 1023e/v 1024e/v"
	  " 1025e/v 1026e/v 1027e/v" },
	{ "full", 453,
	  "8/4 12/4 4/1 1/8 2/8 152/8 153/8 10/4 14/4 61/1 32/2 136/1 148/8 239/1 297/1 1011e/4 1012e/2 1013e/4"
	  " 1014e/1 1015e/16 1016e/8 1017e/1 1028e/1 371/v 1001e/v 1002e/v 1003e/v 1004e/v 1005e/v 1006e/v"
	  " 1007e/v 1008e/v 1009e/v 1010e/v 1021e/v 1022e/v 1023e/v 1024e/v 1025e/v 1026e/v 1027e/v" },
	{ "full", 454,
	  "8/4 12/4 4/1 1/8 2/8 152/8 153/8 10/4 14/4 61/1 32/2 136/1 148/8 239/1 225/4 226/4 297/1 1011e/4"
	  " 1012e/2 1013e/4 1014e/1 1015e/16 1016e/8 1017e/1 1028e/1 371/v 1001e/v 1002e/v 1003e/v 1004e/v"
	  " 1005e/v 1006e/v 1007e/v 1008e/v 1009e/v 1010e/v 1021e/v 1022e/v 1023e/v 1024e/v 1025e/v 1026e/v"
	  " 1027e/v" },
	{ "full", 455,
	  "27/16 28/16 4/1 1/8 2/8 152/8 153/8 10/4 14/4 61/1 139/2 136/1 148/8 239/1 297/1 1011e/4 1012e/2"
	  " 1013e/4 1014e/1 1015e/16 1016e/8 1017e/1 1028e/1 371/v 1001e/v 1002e/v 1003e/v 1004e/v 1005e/v"
	  " 1006e/v 1007e/v 1008e/v 1009e/v 1010e/v 1021e/v 1022e/v 1023e/v 1024e/v 1025e/v 1026e/v 1027e/v" },
	{ "full", 456,
	  "27/16 28/16 4/1 1/8 2/8 152/8 153/8 10/4 14/4 61/1 139/2 136/1 148/8 239/1 281/16 282/16 297/1"
	  " 1011e/4 1012e/2 1013e/4 1014e/1 1015e/16 1016e/8 1017e/1 1028e/1 371/v 1001e/v 1002e/v 1003e/v"
	  " 1004e/v 1005e/v 1006e/v 1007e/v 1008e/v 1009e/v 1010e/v 1021e/v 1022e/v 1023e/v 1024e/v 1025e/v"
	  " 1026e/v 1027e/v" },
	{ "full", 480,
	  "8/4 12/4 7/2 11/2 4/1 1/8 2/8 1r/8 2r/8 152/8 153/8 10/4 14/4 61/1 136/1 148/8 239/1 297/1 1011e/4"
	  " 1012e/2 1013e/4 1014e/1 1015e/16 1016e/8 1017e/1 1028e/1 371/v 1001e/v 1002e/v 1003e/v 1004e/v"
	  " 1005e/v 1006e/v 1007e/v 1008e/v 1009e/v 1010e/v 1021e/v 1022e/v 1023e/v 1024e/v 1025e/v 1026e/v"
	  " 1027e/v" },
	{ "full", 481,
	  "8/4 12/4 7/2 11/2 4/1 1/8 2/8 1r/8 2r/8 152/8 153/8 10/4 14/4 61/1 136/1 148/8 239/1 225/4 226/4"
	  " 227/2 228/2 297/1 1011e/4 1012e/2 1013e/4 1014e/1 1015e/16 1016e/8 1017e/1 1028e/1 371/v 1001e/v"
	  " 1002e/v 1003e/v 1004e/v 1005e/v 1006e/v 1007e/v 1008e/v 1009e/v 1010e/v 1021e/v 1022e/v 1023e/v"
	  " 1024e/v 1025e/v 1026e/v 1027e/v" },
	{ "full", 482,
	  "27/16 28/16 7/2 11/2 4/1 1/8 2/8 1r/8 2r/8 152/8 153/8 10/4 14/4 61/1 136/1 148/8 239/1 297/1"
	  " 1011e/4 1012e/2 1013e/4 1014e/1 1015e/16 1016e/8 1017e/1 1028e/1 371/v 1001e/v 1002e/v 1003e/v"
	  " 1004e/v 1005e/v 1006e/v 1007e/v 1008e/v 1009e/v 1010e/v 1021e/v 1022e/v 1023e/v 1024e/v 1025e/v"
	  " 1026e/v 1027e/v" },
	{ "full", 483,
	  "27/16 28/16 7/2 11/2 4/1 1/8 2/8 1r/8 2r/8 152/8 153/8 10/4 14/4 61/1 136/1 148/8 239/1 281/16"
	  " 282/16 227/2 228/2 297/1 1011e/4 1012e/2 1013e/4 1014e/1 1015e/16 1016e/8 1017e/1 1028e/1 371/v"
	  " 1001e/v 1002e/v 1003e/v 1004e/v 1005e/v 1006e/v 1007e/v 1008e/v 1009e/v 1010e/v 1021e/v 1022e/v"
	  " 1023e/v 1024e/v 1025e/v 1026e/v 1027e/v" },
	{ "full", 485,
	  "8/4 12/4 4/1 1/8 2/8 1r/8 2r/8 152/8 153/8 10/4 14/4 61/1 32/2 136/1 148/8 239/1 297/1 1011e/4"
	  " 1012e/2 1013e/4 1014e/1 1015e/16 1016e/8 1017e/1 1028e/1 371/v 1001e/v 1002e/v 1003e/v 1004e/v"
	  " 1005e/v 1006e/v 1007e/v 1008e/v 1009e/v 1010e/v 1021e/v 1022e/v 1023e/v 1024e/v 1025e/v 1026e/v"
	  " 1027e/v" },
	{ "full", 486,
	  "8/4 12/4 4/1 1/8 2/8 1r/8 2r/8 152/8 153/8 10/4 14/4 61/1 32/2 136/1 148/8 239/1 225/4 226/4 297/1"
	  " 1011e/4 1012e/2 1013e/4 1014e/1 1015e/16 1016e/8 1017e/1 1028e/1 371/v 1001e/v 1002e/v 1003e/v"
	  " 1004e/v 1005e/v 1006e/v 1007e/v 1008e/v 1009e/v 1010e/v 1021e/v 1022e/v 1023e/v 1024e/v 1025e/v"
	  " 1026e/v 1027e/v" },
	{ "full", 487,
	  "27/16 28/16 4/1 1/8 2/8 1r/8 2r/8 152/8 153/8 10/4 14/4 61/1 139/2 136/1 148/8 239/1 297/1 1011e/4"
	  " 1012e/2 1013e/4 1014e/1 1015e/16 1016e/8 1017e/1 1028e/1 371/v 1001e/v 1002e/v 1003e/v 1004e/v"
	  " 1005e/v 1006e/v 1007e/v 1008e/v 1009e/v 1010e/v 1021e/v 1022e/v 1023e/v 1024e/v 1025e/v 1026e/v"
	  " 1027e/v" },
	{ "full", 488,
	  "27/16 28/16 4/1 1/8 2/8 1r/8 2r/8 152/8 153/8 10/4 14/4 61/1 139/2 136/1 148/8 239/1 281/16 282/16"
	  " 297/1 1011e/4 1012e/2 1013e/4 1014e/1 1015e/16 1016e/8 1017e/1 1028e/1 371/v 1001e/v 1002e/v"
	  " 1003e/v 1004e/v 1005e/v 1006e/v 1007e/v 1008e/v 1009e/v 1010e/v 1021e/v 1022e/v 1023e/v 1024e/v"
	  " 1025e/v 1026e/v 1027e/v" },
};

static struct template_file *
parse(const char *text, GError **error)
{
	return template_file_parse("file", text, strlen(text), error);
}

/* ---- what is refused ---- */

#define HEAD "protocol ipfix\ntemplate 256 ipv4\n"
#define HEAD9 "protocol netflow9\ntemplate 256 ipv4\n"

static const struct {
	const char *text;
	const char *error;
} refused[] = {
	/* fields */
	{ HEAD "octetDeltaCounts\n", "file:3: field `octetDeltaCounts' is unknown" },
	{ HEAD "OctetDeltaCount\n", "file:3: field `OctetDeltaCount' is unknown" },
	{ HEAD "octetDeltaCount 8\n", "file:3: `8' after the field octetDeltaCount: one field a line" },
	{ HEAD "octetDeltaCount\n\npacketDeltaCount\noctetDeltaCount\n",
	  "file:6: field octetDeltaCount is already listed in line 3" },
	{ HEAD, "file:2: no field is listed" },
	{ HEAD "userName\noctetDeltaCount\n",
	  "file:4: field octetDeltaCount stands after userName: fields of variable length come last" },
	{ HEAD "octetDeltaCount\nuserName\nsourcePeerName\nflowId\n",
	  "file:6: field flowId stands after sourcePeerName: fields of variable length come last" },
	{ HEAD "userName\n", "file:2: template 256 has no field of fixed length among those listed" },
	{ "protocol ipfix\ntemplate 256 ipv4\ntemplate 257 ipv6\nsourceIPv4Address\n",
	  "file:3: template 257 has no field of fixed length among those listed" },
	/* words of the other protocol */
	{ HEAD9 "octetDeltaCount\nuserName\n",
	  "file:4: field userName has a variable length, which NetFlow v9 does not know" },
	{ HEAD9 "conntrackMark\n", "file:3: field conntrackMark is an enterprise element, which NetFlow v9 does not know" },
	{ HEAD9 "reverseOctetDeltaCount\n",
	  "file:3: field reverseOctetDeltaCount is an enterprise element, which NetFlow v9 does not know" },
	{ HEAD "flowStartSysUpTime\n", "file:3: field flowStartSysUpTime exists in NetFlow v9 only" },
	{ HEAD "ciscoUserName\n", "file:3: field ciscoUserName exists in NetFlow v9 only" },
	{ HEAD "icmpType\n", "file:3: field icmpType exists in NetFlow v9 only" },
	{ "icmpType\ntemplate 256 ipv4\nprotocol ipfix\n", "file:1: field icmpType exists in NetFlow v9 only" },
	/* protocol */
	{ "template 256 ipv4\noctetDeltaCount\n", "file:2: no line `protocol ipfix' or `protocol netflow9'" },
	{ "protocol ipfix\nprotocol netflow9\n", "file:2: protocol is given a second time" },
	{ "protocol\n", "file:1: protocol takes one word, ipfix or netflow9" },
	{ "protocol ipfix netflow9\n", "file:1: protocol takes one word, ipfix or netflow9" },
	{ "protocol ipfix10\n", "file:1: protocol `ipfix10' is unknown; ipfix and netflow9 are known" },
	{ "protocol IPFIX\n", "file:1: protocol `IPFIX' is unknown; ipfix and netflow9 are known" },
	/* templates */
	{ "protocol ipfix\noctetDeltaCount\n", "file:2: no line `template ID ...'" },
	{ "template\n", "file:1: template id `' is not a number from 256 to 65535" },
	{ "template ipv4\n", "file:1: template id `ipv4' is not a number from 256 to 65535" },
	{ "template 0 ipv4\n", "file:1: template id `0' is not a number from 256 to 65535" },
	{ "template 255 ipv4\n", "file:1: template id `255' is not a number from 256 to 65535" },
	{ "template 65536 ipv4\n", "file:1: template id `65536' is not a number from 256 to 65535" },
	{ "template 4294967552 ipv4\n", "file:1: template id `4294967552' is not a number from 256 to 65535" },
	{ "template 18446744073709551872 ipv4\n",
	  "file:1: template id `18446744073709551872' is not a number from 256 to 65535" },
	{ "template -65280 ipv4\n", "file:1: template id `-65280' is not a number from 256 to 65535" },
	{ "template +256 ipv4\n", "file:1: template id `+256' is not a number from 256 to 65535" },
	{ "template 0x100 ipv4\n", "file:1: template id `0x100' is not a number from 256 to 65535" },
	{ "template 256ipv4\n", "file:1: template id `256ipv4' is not a number from 256 to 65535" },
	{ "template 272 ipv4\n", "file:1: template ids 272 to 287 are taken by options templates" },
	{ "template 287 ipv4\n", "file:1: template ids 272 to 287 are taken by options templates" },
	{ "template 256 ipv5\n", "file:1: `ipv5' is no kind of template; ipv4, ipv6, nat, icmp and biflow are" },
	{ "template 256 ipv4 nat nat\n", "file:1: `nat' is given twice" },
	{ "template 256\n", "file:1: a template is for ipv4 or for ipv6: one of them, not both" },
	{ "template 256 nat biflow\n", "file:1: a template is for ipv4 or for ipv6: one of them, not both" },
	{ "template 256 ipv4 ipv6\n", "file:1: a template is for ipv4 or for ipv6: one of them, not both" },
	{ "template 256 ipv4\ntemplate 256 ipv6\n", "file:2: template id 256 is already used in line 1" },
	{ "template 256 ipv4 nat\n# more\ntemplate 257 nat ipv4\n",
	  "file:3: this kind of flow already has template 256 in line 1" },
	/* the file as a whole */
	{ "", "file:1: no line `protocol ipfix' or `protocol netflow9'" },
	{ "\n\n# nothing\n", "file:3: no line `protocol ipfix' or `protocol netflow9'" },
	{ HEAD "octet\xff\n", "file:3: the line is not UTF-8 text" },
	{ HEAD "\x1b[31moctetDeltaCount\n", "file:3: the line is not UTF-8 text" },
	{ HEAD "octetDeltaCount \xc2\x9b\n", "file:3: the line is not UTF-8 text" },
	{ HEAD "\xc0\xafoctetDeltaCount\n", "file:3: the line is not UTF-8 text" },
};

static void
test_refused(void)
{
	for (size_t i = 0; i < G_N_ELEMENTS(refused); i++) {
		g_autoptr(GError) error = NULL;
		g_autoptr(template_file_t) file = parse(refused[i].text, &error);
		CU_ASSERT_PTR_NULL(file);
		CU_ASSERT_PTR_NOT_NULL_FATAL(error);
		CU_ASSERT_TRUE(g_error_matches(error, PEERFLOW_ERROR, EX_CONFIG));
		CU_ASSERT_STRING_EQUAL(error->message, refused[i].error);
		if (strcmp(error->message, refused[i].error) != 0)
			printf("\n    %s\n    %s", refused[i].error, error->message);
	}
}

static void
test_nul(void)
{
	static const char text[] = HEAD "octetDeltaCount\n# a\0b\n";
	g_autoptr(GError) error = NULL;

	CU_ASSERT_PTR_NULL(template_file_parse("file", text, sizeof text - 1, &error));
	CU_ASSERT_STRING_EQUAL(error->message, "file:4: the line holds a NUL octet");
}

/* ---- what is taken ---- */

/* Comments, blank lines, tabs, carriage returns, any order of lines and of kind words, no newline at the end. */
static void
test_free_form(void)
{
	static const char text[] = "# \xff in a comment\n\toctetDeltaCount\t# octets\r\n\r\ntemplate 300 nat  ipv6 icmp\r\n"
	                           "protocol\tipfix#\nicmpTypeCodeIPv4\nicmpTypeCodeIPv6\nsourceTransportPort\nuserName";
	g_autoptr(template_file_t) file = parse(text, NULL);

	CU_ASSERT_PTR_NOT_NULL_FATAL(file);
	CU_ASSERT_EQUAL(file->protocol, WIRE_IPFIX);
	CU_ASSERT_STRING_EQUAL(file->path, "file");
	const struct template *template = &file->template[template_kind(TRAIT_V6 | TRAIT_NAT | TRAIT_ICMP)];
	CU_ASSERT_EQUAL(template->id, 300);
	CU_ASSERT_EQUAL(template->traits, TRAIT_V6 | TRAIT_NAT | TRAIT_ICMP | TRAIT_UNIFLOW);
	CU_ASSERT_EQUAL_FATAL(template->n_fields, 3);
	CU_ASSERT_STRING_EQUAL(template->field[0]->name, "octetDeltaCount");
	CU_ASSERT_STRING_EQUAL(template->field[1]->name, "icmpTypeCodeIPv6");
	CU_ASSERT_STRING_EQUAL(template->field[2]->name, "userName");
	for (unsigned kind = 0; kind < TEMPLATE_KINDS; kind++)
		CU_ASSERT_TRUE(!file->template[kind].id || &file->template[kind] == template);
}

static void
test_kinds(void)
{
	unsigned seen = 0;

	for (unsigned bits = 0; bits < TEMPLATE_KINDS; bits++)
		seen |= 1u << template_kind((bits & 1 ? TRAIT_V6 : TRAIT_V4) | (bits & 2 ? TRAIT_NAT : 0)
		                            | (bits & 4 ? TRAIT_ICMP : TRAIT_PORTS)
		                            | (bits & 8 ? TRAIT_BIFLOW : TRAIT_UNIFLOW));
	CU_ASSERT_EQUAL(seen, (1u << TEMPLATE_KINDS) - 1);
}

/* Every word there is in one file. */
static void
test_all_fields(void)
{
	g_autoptr(GString) text = g_string_new("protocol ipfix\ntemplate 256 ipv4 nat icmp biflow\n");

	for (unsigned variable = 0; variable < 2; variable++)
		for (unsigned i = 0; i < n_fields; i++)
			if (fields[i].enterprise != ENTERPRISE_NETFLOW9 && (fields[i].octets == FIELD_VARIABLE) == variable)
				g_string_append_printf(text, "%s\n", fields[i].name);
	g_autoptr(template_file_t) file = parse(text->str, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(file);
	const struct template *template = &file->template[template_kind(TRAIT_V4 | TRAIT_NAT | TRAIT_ICMP | TRAIT_BIFLOW)];
	CU_ASSERT_TRUE(template->n_fields > 20);
	for (unsigned i = 0; i < template->n_fields; i++)
		CU_ASSERT_EQUAL(template->field[i]->only & (TRAIT_V6 | TRAIT_PORTS | TRAIT_UNIFLOW), 0);
}

/* ---- files ---- */

static struct template_file *
shipped(const char *name)
{
	g_autofree char *path = g_strdup_printf("%s/templates/%s.template", SOURCE_DIR, name);
	g_autoptr(GError) error = NULL;
	struct template_file *file = template_file_load(path, &error);

	if (!file)
		CU_FAIL(error->message);
	CU_ASSERT_PTR_NOT_NULL_FATAL(file);
	CU_ASSERT_STRING_EQUAL(file->path, path);
	return file;
}

static const struct template *
template_of(const struct template_file *file, uint16_t id)
{
	for (unsigned kind = 0; kind < TEMPLATE_KINDS; kind++)
		if (file->template[kind].id == id)
			return &file->template[kind];
	return NULL;
}

static char *
describe(const struct template *template)
{
	static const char *const mark[] = { [ENTERPRISE_REVERSE] = "r", [ENTERPRISE_OWN] = "e", [ENTERPRISE_NETFLOW9] = "" };
	GString *text = g_string_new(NULL);

	for (unsigned i = 0; i < template->n_fields; i++) {
		const struct field *field = template->field[i];
		g_string_append_printf(text, "%s%u%s/", i ? " " : "", field->element,
		                       mark[field->enterprise] ? mark[field->enterprise] : "");
		if (field->octets == FIELD_VARIABLE)
			g_string_append_c(text, 'v');
		else
			g_string_append_printf(text, "%u", field->octets);
	}
	return g_string_free(text, FALSE);
}

static void
test_pinned(void)
{
	for (size_t i = 0; i < G_N_ELEMENTS(pinned); i++) {
		g_autoptr(template_file_t) file = shipped(pinned[i].file);
		const struct template *template = template_of(file, pinned[i].id);
		CU_ASSERT_PTR_NOT_NULL_FATAL(template);
		g_autofree char *is = describe(template);
		CU_ASSERT_STRING_EQUAL(is, pinned[i].fields);
		if (strcmp(is, pinned[i].fields) != 0)
			printf("\n    template %u was %s\n    and is %s", pinned[i].id, pinned[i].fields, is);
	}
}

/* The kinds the ids stand for are pinned too, and every kind has one; no id is used by two files. */
static void
test_shipped_kinds(void)
{
	static const struct {
		const char *name;
		enum wire_protocol protocol;
		uint16_t first;
	} files[] = {
		{ "default", WIRE_IPFIX, 256 }, { "nfdump", WIRE_NETFLOW9, 320 }, { "full", WIRE_IPFIX, 448 },
	};
	/* At template_kind. */
	static const uint16_t after_first[TEMPLATE_KINDS] = { 0, 2, 1, 3, 5, 7, 6, 8, 32, 34, 33, 35, 37, 39, 38, 40 };

	for (size_t i = 0; i < G_N_ELEMENTS(files); i++) {
		g_autoptr(template_file_t) file = shipped(files[i].name);
		CU_ASSERT_EQUAL(file->protocol, files[i].protocol);
		for (unsigned kind = 0; kind < TEMPLATE_KINDS; kind++)
			CU_ASSERT_EQUAL(file->template[kind].id, files[i].first + after_first[kind]);
	}
}

static void
test_unreadable(void)
{
	g_autoptr(GError) missing = NULL, folder = NULL;

	CU_ASSERT_PTR_NULL(template_file_load("/nonexistent/x.template", &missing));
	CU_ASSERT_TRUE(g_error_matches(missing, PEERFLOW_ERROR, EX_CONFIG));
	CU_ASSERT_PTR_NOT_NULL(strstr(missing->message, "/nonexistent/x.template"));
	CU_ASSERT_PTR_NULL(template_file_load("/tmp", &folder));
	CU_ASSERT_TRUE(g_error_matches(folder, PEERFLOW_ERROR, EX_CONFIG));
}

static void
test_huge(void)
{
	char path[] = "/tmp/peerflow-template-XXXXXX";
	g_autofree char *text = g_strnfill(256 * 1024, '#');
	g_autoptr(GError) error = NULL;
	static const char head[] = HEAD "octetDeltaCount\n";
	const int fd = mkstemp(path);

	CU_ASSERT_FATAL(fd >= 0 && write(fd, head, sizeof head - 1) == sizeof head - 1);
	CU_ASSERT_EQUAL(write(fd, text, 256 * 1024), 256 * 1024);
	close(fd);
	CU_ASSERT_PTR_NULL(template_file_load(path, &error));
	unlink(path);
	g_autofree char *expected = g_strdup_printf("%s: 262193 octets are too many for a template file", path);
	CU_ASSERT_TRUE(g_error_matches(error, PEERFLOW_ERROR, EX_CONFIG));
	CU_ASSERT_STRING_EQUAL(error->message, expected);
}

static void
test_print(void)
{
	static const char text[] = "protocol ipfix\ntemplate 256 ipv4\ntemplate 257 ipv6 icmp nat biflow\noctetDeltaCount\n"
	                           "reversePacketDeltaCount\nconntrackMark\nuserName\n";
	g_autoptr(template_file_t) file = parse(text, NULL);
	g_autofree char *uniflow = NULL, *biflow = NULL;
	size_t size;
	FILE *out = open_memstream(&uniflow, &size);

	template_file_print(file, TRAIT_UNIFLOW, out);
	fclose(out);
	out = open_memstream(&biflow, &size);
	template_file_print(file, TRAIT_BIFLOW, out);
	fclose(out);
	CU_ASSERT_STRING_EQUAL(uniflow,
	                       "template 256: IPv4, 3 fields, 12 octets and more\n"
	                       "  octetDeltaCount                    1                        8\n"
	                       "  conntrackMark                      enterprise-number/1011   4\n"
	                       "  userName                           371                      variable\n");
	CU_ASSERT_STRING_EQUAL(biflow,
	                       "template 257: IPv6, ICMP, translated, both directions in one record, 4 fields, 20 octets and "
	                       "more\n"
	                       "  octetDeltaCount                    1                        8\n"
	                       "  reversePacketDeltaCount            29305/2                  8\n"
	                       "  conntrackMark                      enterprise-number/1011   4\n"
	                       "  userName                           371                      variable\n");
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "every refusal in its words", test_refused },
		{ "a NUL octet", test_nul },
		{ "free form", test_free_form },
		{ "each kind has its slot", test_kinds },
		{ "all words in one file", test_all_fields },
		{ "the shipped templates are what they were", test_pinned },
		{ "the shipped ids stand for the same kinds", test_shipped_kinds },
		{ "files that cannot be read", test_unreadable },
		{ "a huge file", test_huge },
		{ "templates for people", test_print },
		CU_TEST_INFO_NULL,
	};

	return run_suite("template", tests);
}
