/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_OUTLOOK_H
#define PEERFLOW_OUTLOOK_H

#include <stdbool.h>

#include "enrich/mode.h"
#include "enrich/roster.h"

/* How the mesh runs on this host and whether its flows can be seen; looked at again when something changes, and said
 * once each time. */
struct outlook;

struct outlook *outlook_new(void);
void outlook_free(struct outlook *outlook);

/* What the NetBird client of this host says; NULL: there is none any more. Copies what it needs. */
void outlook_set_client(struct outlook *outlook, const struct roster *client);

/* A flow with one of NetBird's marks has been seen. */
void outlook_set_marks(struct outlook *outlook);

/* Asks the kernel, which takes well under a millisecond on most hosts, and says the mode if it is another one. */
void outlook_look(struct outlook *outlook, const char *interface);

/* The mode found last, and its sentence; NULL: nobody has looked yet. The sentence is good until somebody does. */
enum mode outlook_mode(const struct outlook *outlook);
const char *outlook_sentence(const struct outlook *outlook);

#endif
