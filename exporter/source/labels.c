/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "source/labels.h"

#include <linux/filter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* Entries stand in an open hash table and, at the same time, in a ring by age: the ends of some flows never come, for
 * the kernel may drop the message, and without the ring such entries would fill the table for good. */
struct kept {
	uint64_t key;               /* zero: free */
	uint8_t labels[16];
	uint32_t older, newer;      /* slots */
};

struct labels {
	size_t mask;                /* slots less one; right behind them stands where the ring begins and ends */
	size_t used;
	uint64_t lost;
	struct kept slot[];
};

/* A third stays free, so that looking for a flow without labels ends soon. */
static size_t
room_in(size_t slots)
{
	return slots / 3 * 2;
}

struct labels *
labels_new(size_t capacity)
{
	size_t slots = 1;

	while (room_in(slots) < capacity)
		slots *= 2;
	struct labels *labels = calloc(1, sizeof *labels + (slots + 1) * sizeof labels->slot[0]);
	if (!labels)
		return NULL;
	labels->mask = slots - 1;
	labels->slot[slots].older = labels->slot[slots].newer = slots;
	return labels;
}

void
labels_free(struct labels *labels)
{
	free(labels);
}

static uint64_t
mix(uint64_t key, uint64_t value)
{
	key = (key ^ value) * 0xff51afd7ed558ccdu;
	return key ^ key >> 32;
}

/* What identifies the entry: the kernel's id alone collides. 64 bits of hash do not, at table sizes of this world. */
static uint64_t
key_of(const struct flow *flow)
{
	const struct side *side = &flow->original;
	uint64_t key = mix(flow->id, (uint64_t)flow->zone << 32 | flow->family << 8 | flow->protocol);

	key = mix(mix(key, side->source.half[0]), side->source.half[1]);
	key = mix(mix(key, side->destination.half[0]), side->destination.half[1]);
	key = mix(key, (uint64_t)side->source_port << 48 | (uint64_t)side->destination_port << 32
	               | (uint32_t)side->icmp << 16 | side->icmp_id);
	return key ? key : 1;
}

/* The slot that holds the key, or the free one where it would stand. */
static struct kept *
find(struct labels *labels, uint64_t key)
{
	size_t i = key & labels->mask;

	while (labels->slot[i].key && labels->slot[i].key != key)
		i = (i + 1) & labels->mask;
	return &labels->slot[i];
}

static bool
has_labels(const struct flow *flow)
{
	static const uint8_t none[sizeof flow->labels];

	return memcmp(flow->labels, none, sizeof none) != 0;
}

static void
leave_ring(struct labels *labels, const struct kept *kept)
{
	labels->slot[kept->older].newer = kept->newer;
	labels->slot[kept->newer].older = kept->older;
}

static void
enter_ring(struct labels *labels, struct kept *kept)
{
	const size_t end = labels->mask + 1;

	kept->newer = end;
	kept->older = labels->slot[end].older;
	labels->slot[kept->older].newer = labels->slot[end].older = kept - labels->slot;
}

static void
move(struct labels *labels, size_t from, size_t to)
{
	struct kept *kept = &labels->slot[to];

	*kept = labels->slot[from];
	labels->slot[kept->older].newer = labels->slot[kept->newer].older = to;
}

/* Closes the hole at i: whatever was pushed past it moves back. */
static void
close_hole(struct labels *labels, size_t i)
{
	for (size_t j = (i + 1) & labels->mask; labels->slot[j].key; j = (j + 1) & labels->mask) {
		const size_t home = labels->slot[j].key & labels->mask;
		if (((j - home) & labels->mask) >= ((j - i) & labels->mask)) {
			move(labels, j, i);
			i = j;
		}
	}
	labels->slot[i].key = 0;
}

static void
forget(struct labels *labels, struct kept *kept)
{
	leave_ring(labels, kept);
	labels->used--;
	close_hole(labels, kept - labels->slot);
}

/* Where a new entry may stand. To throw out the oldest moves others, so its place has to be looked for after that. */
static struct kept *
make_room(struct labels *labels, uint64_t key)
{
	if (labels->used >= room_in(labels->mask + 1)) {
		labels->lost++;
		forget(labels, &labels->slot[labels->slot[labels->mask + 1].newer]);
	}
	labels->used++;
	return find(labels, key);
}

/* A change makes an entry young again: its flow lives. */
void
labels_keep(struct labels *labels, const struct flow *flow)
{
	const uint64_t key = key_of(flow);
	struct kept *kept = find(labels, key);

	if (!has_labels(flow)) {
		if (kept->key)
			forget(labels, kept);
		return;
	}
	if (kept->key)
		leave_ring(labels, kept);
	else
		kept = make_room(labels, key);
	kept->key = key;
	memcpy(kept->labels, flow->labels, sizeof kept->labels);
	enter_ring(labels, kept);
}

void
labels_take(struct labels *labels, struct flow *flow)
{
	struct kept *kept = find(labels, key_of(flow));

	if (!kept->key)
		return;
	memcpy(flow->labels, kept->labels, sizeof flow->labels);
	forget(labels, kept);
}

uint64_t
labels_lost(const struct labels *labels)
{
	return labels->lost;
}

bool
labels_filter(int fd)
{
	/* SKF_AD_NLATTR looks for attribute X from offset A on and answers its offset, or zero. */
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_IMM, NLMSG_HDRLEN + sizeof(struct nfgenmsg)),
		BPF_STMT(BPF_LDX | BPF_IMM, CTA_LABELS),
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, SKF_AD_OFF + SKF_AD_NLATTR),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, 0),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
	};
	const struct sock_fprog program = { sizeof code / sizeof code[0], code };

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0;
}
