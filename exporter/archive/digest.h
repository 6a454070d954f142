/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ARCHIVE_DIGEST_H
#define PEERFLOW_ARCHIVE_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#include <glib.h>

/* SHA-256, by libcrypto: five times as fast as GLib's, and every octet of an archive passes through it. */

enum { DIGEST_TEXT = 65 };      /* hexadecimal digits, with their end */

struct digest;

struct digest *digest_new(void);
void digest_free(struct digest *digest);
typedef struct digest digest_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(digest_t, digest_free)

/* Begins anew. */
void digest_restart(struct digest *digest);
void digest_add(struct digest *digest, const void *octets, size_t n);

/* Of all so far; more may be added. */
void digest_print(const struct digest *digest, char text[static DIGEST_TEXT]);

#endif
