/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_TESTS_EXPECT_H
#define PEERFLOW_TESTS_EXPECT_H

#include <CUnit/CUnit.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "message.h"

/* The message has exactly these octets; if not, they are shown. */
static inline void
expect(const struct message *message, const char *what, const uint8_t *octets, size_t length)
{
	CU_ASSERT_EQUAL(message->length, length);
	if (message->length == length && memcmp(message->octets, octets, length) == 0)
		return;
	CU_FAIL(what);
	printf("\n    %s:", what);
	for (unsigned i = 0; i < message->length; i++)
		printf("%s%02x", i % 4 ? "" : " ", message->octets[i]);
}

#define EXPECT(message, what, ...) do { \
	const uint8_t expected_octets[] = { __VA_ARGS__ }; \
	expect(message, what, expected_octets, sizeof expected_octets); \
} while (0)

#endif
