/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "receipts.h"

#include <sys/param.h>

/* A header of a datagram, or of a run that the kernel cut into some, is taken whole or not at all. */
static bool
is_out(const struct receipts *receipts, uint32_t i)
{
	if (receipts->stream)
		return receipts->expect[i].octets <= receipts->header[0].msg_len;
	return receipts->header[i].msg_len > 0;
}

uint64_t
receipts_recover(struct receipts *receipts)
{
	const uint32_t expected = MIN(receipts->expected, RECEIPTS_MOST);

	for (uint32_t i = 0; i < expected && is_out(receipts, i); i++)
		receipts_out(receipts, receipts->expect[i].mark);
	receipts_clear(receipts);
	return receipts->out;
}
