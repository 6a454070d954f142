/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "archive/digest.h"

#include <stdio.h>

#include <openssl/evp.h>

struct digest {
	EVP_MD_CTX *all;
	EVP_MD_CTX *ended;          /* a copy, which nothing can be added to any more */
};

/* These fail for want of memory alone, and then GLib ends the process, too. */
static void
demand(int good)
{
	if (!good)
		g_error("SHA-256: libcrypto refuses");
}

struct digest *
digest_new(void)
{
	struct digest *digest = g_new0(struct digest, 1);

	digest->all = EVP_MD_CTX_new();
	digest->ended = EVP_MD_CTX_new();
	demand(digest->all && digest->ended);
	digest_restart(digest);
	return digest;
}

void
digest_free(struct digest *digest)
{
	if (!digest)
		return;
	EVP_MD_CTX_free(digest->all);
	EVP_MD_CTX_free(digest->ended);
	g_free(digest);
}

void
digest_restart(struct digest *digest)
{
	demand(EVP_DigestInit_ex(digest->all, EVP_sha256(), NULL));
}

void
digest_add(struct digest *digest, const void *octets, size_t n)
{
	demand(EVP_DigestUpdate(digest->all, octets, n));
}

void
digest_print(const struct digest *digest, char text[static DIGEST_TEXT])
{
	uint8_t sum[EVP_MAX_MD_SIZE];
	unsigned octets;

	demand(EVP_MD_CTX_copy_ex(digest->ended, digest->all));
	demand(EVP_DigestFinal_ex(digest->ended, sum, &octets));
	for (unsigned i = 0; i < octets; i++)
		snprintf(text + 2 * i, 3, "%02x", sum[i]);
}
