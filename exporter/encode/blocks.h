/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ENCODE_BLOCKS_H
#define PEERFLOW_ENCODE_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>

#include "encode/encoder.h"

/* Flows as octets of a file (RFC 5655): messages in blocks, each of which can be read alone. A block begins with the
 * templates, then says what OWN elements and interfaces are called and what the Observation Domain is; names of peers
 * and policies come when the first flow needs them. A block begins with its first flow, so that there is none without.
 * In a message flows stand by template, and those of one in the order they were added: see encoder_add_flow.
 *
 * Where the octets go may be full: then nothing is taken, and what was not taken is to be given again. Nothing is
 * allocated after blocks_new. */
struct blocks;

enum { BLOCKS_MESSAGE = 65535 };    /* octets of the largest message there can be */

/* Takes whole messages, all of them or, with false, none. */
typedef bool blocks_sink(const struct message *messages, size_t n, void *data);

struct blocks_options {
	const struct template_file *file;   /* read only in blocks_new */
	uint32_t domain;            /* Observation Domain of the flows */
	uint32_t enterprise;
	size_t octets;              /* after which a block ends */
	blocks_sink *sink;
	void *data;
};

/* Fails with EX_CONFIG if the file is no template for archives: see encoder_new. */
struct blocks *blocks_new(const struct blocks_options *options, GError **error);

void blocks_free(struct blocks *blocks);
typedef struct blocks blocks_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(blocks_t, blocks_free)

/* What is told at the beginning of a block, and now if one has begun. domain_name is copied, interfaces are not: they
 * must stay as they are until this is called again. */
void blocks_tell(struct blocks *blocks, const char *domain_name, const struct interface_name *interface, size_t n);

/* Adds a flow, whose indexes are those of names; with mark see encoder_mark. False: not taken. */
bool blocks_flow(struct blocks *blocks, const struct flow *flow, const struct names *names, uint64_t mark);

/* There are flows up to that one that are not for the archive. */
void blocks_skip(struct blocks *blocks, uint64_t mark);

/* See encoder_forget_names. */
void blocks_forget_names(struct blocks *blocks);

/* Adds one gap. False: not taken. */
bool blocks_gap(struct blocks *blocks, const struct gap *gap);

/* Hands all full messages or, with partial, all there is to the sink. False: it did not take them. */
bool blocks_flush(struct blocks *blocks, bool partial);

/* True if something waits that only blocks_flush will hand out. */
bool blocks_waiting(const struct blocks *blocks);

/* What follows begins a file: sequence numbers at zero, a block. What was not flushed is gone. */
void blocks_restart(struct blocks *blocks);

#endif
