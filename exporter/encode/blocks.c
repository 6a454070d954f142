/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "encode/blocks.h"

/* How far the block is. */
enum stage {
	STAGE_NONE,                 /* it has not begun */
	STAGE_DOMAIN,               /* what is told next */
	STAGE_INTERFACES,
	STAGE_FLOWS,
};

struct blocks {
	struct encoder *encoder;
	size_t most;                /* octets of a block */
	blocks_sink *sink;
	void *data;
	char *domain_name;
	const struct interface_name *interface;
	size_t n_interfaces;
	enum stage stage;
	size_t next_interface;
	size_t octets;              /* of the block that the sink took */
	const struct message *pending;  /* which the sink has not taken, n_pending of them */
	size_t n_pending;
};

struct blocks *
blocks_new(const struct blocks_options *options, GError **error)
{
	const struct encoder_options encoder_options = {
		.records = TRAIT_BIFLOW,
		.reply = REPLY_MIRROR,
		.domain = options->domain,
		.enterprise = options->enterprise,
		.message_size = BLOCKS_MESSAGE,
		.properties = true,
	};
	struct encoder *encoder = encoder_new(options->file, &encoder_options, error);

	if (!encoder)
		return NULL;
	struct blocks *blocks = g_new0(struct blocks, 1);
	blocks->encoder = encoder;
	blocks->most = options->octets;
	blocks->sink = options->sink;
	blocks->data = options->data;
	blocks->domain_name = g_strdup("");
	return blocks;
}

void
blocks_free(struct blocks *blocks)
{
	if (!blocks)
		return;
	encoder_free(blocks->encoder);
	g_free(blocks->domain_name);
	g_free(blocks);
}

void
blocks_tell(struct blocks *blocks, const char *domain_name, const struct interface_name *interface, size_t n)
{
	g_free(blocks->domain_name);
	blocks->domain_name = g_strdup(domain_name);
	blocks->interface = interface;
	blocks->n_interfaces = n;
	blocks->next_interface = 0;
	blocks->stage = MIN(blocks->stage, STAGE_DOMAIN);
}

/* Whatever the sink has not taken yet. The encoder must not be touched before: the messages are its own. */
static bool
settle(struct blocks *blocks)
{
	if (!blocks->n_pending)
		return true;
	if (!blocks->sink(blocks->pending, blocks->n_pending, blocks->data))
		return false;
	for (size_t i = 0; i < blocks->n_pending; i++)
		blocks->octets += blocks->pending[i].length;
	blocks->n_pending = 0;
	return true;
}

static bool
send(struct blocks *blocks, bool partial)
{
	if (!settle(blocks))
		return false;
	blocks->n_pending = encoder_take(blocks->encoder, g_get_real_time() / 1000, partial, &blocks->pending);
	return settle(blocks);
}

static bool
tell_interfaces(struct blocks *blocks)
{
	while (blocks->next_interface < blocks->n_interfaces) {
		const struct interface_name *interface = &blocks->interface[blocks->next_interface];
		if (!encoder_add_interface(blocks->encoder, interface)) {
			if (!send(blocks, false))
				return false;
			continue;
		}
		blocks->next_interface++;
	}
	return true;
}

static bool
tell_domain(struct blocks *blocks)
{
	return encoder_add_domain_name(blocks->encoder, blocks->domain_name)
	       || (send(blocks, false) && encoder_add_domain_name(blocks->encoder, blocks->domain_name));
}

static bool
begin(struct blocks *blocks)
{
	if (!send(blocks, true) || !encoder_begin_block(blocks->encoder))
		return false;
	blocks->octets = blocks->next_interface = 0;
	return true;
}

/* Goes on with the beginning of a block, as far as the sink lets it. True: flows may come. */
static bool
prepare(struct blocks *blocks)
{
	static bool (*const step[])(struct blocks *) = {
		[STAGE_NONE] = begin, [STAGE_DOMAIN] = tell_domain, [STAGE_INTERFACES] = tell_interfaces,
	};

	if (!settle(blocks))
		return false;
	if (blocks->stage == STAGE_FLOWS && blocks->octets >= blocks->most)
		blocks->stage = STAGE_NONE;
	for (; blocks->stage < STAGE_FLOWS; blocks->stage++)
		if (!step[blocks->stage](blocks))
			return false;
	return true;
}

bool
blocks_flow(struct blocks *blocks, const struct flow *flow, const struct names *names, uint64_t mark)
{
	if (!prepare(blocks))
		return false;
	if (!encoder_add_flow(blocks->encoder, flow, names)
	    && (!send(blocks, false) || !encoder_add_flow(blocks->encoder, flow, names)))
		return false;
	encoder_mark(blocks->encoder, mark);
	return true;
}

void
blocks_skip(struct blocks *blocks, uint64_t mark)
{
	encoder_mark(blocks->encoder, mark);
}

void
blocks_forget_names(struct blocks *blocks)
{
	encoder_forget_names(blocks->encoder);
}

bool
blocks_gap(struct blocks *blocks, const struct gap *gap)
{
	if (!prepare(blocks))
		return false;
	return encoder_add_gap(blocks->encoder, gap)
	       || (send(blocks, false) && encoder_add_gap(blocks->encoder, gap));
}

bool
blocks_flush(struct blocks *blocks, bool partial)
{
	return send(blocks, partial);
}

bool
blocks_waiting(const struct blocks *blocks)
{
	return blocks->n_pending || encoder_waiting(blocks->encoder);
}

void
blocks_restart(struct blocks *blocks)
{
	encoder_restart(blocks->encoder);
	blocks->stage = STAGE_NONE;
	blocks->n_pending = 0;
	blocks->octets = 0;
}
