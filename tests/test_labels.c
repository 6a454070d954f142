/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The table of labels against a simple one, and what the kernel announces of them. */

#include "source/labels.h"

#include <arpa/inet.h>
#include <glib.h>
#include <linux/netfilter/nfnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "source/entry.h"
#include "source/events.h"
#include "suite.h"

static struct flow
flow_of(uint32_t number)
{
	struct flow flow = { .id = number % 7, .family = 4, .protocol = IPPROTO_UDP };

	flow.original.source.word[0] = number;
	flow.original.source_port = number >> 16;
	return flow;
}

static bool
has(const struct flow *flow, uint64_t label)
{
	uint64_t half[2];

	memcpy(half, flow->labels, sizeof half);
	return half[0] == label && half[1] == label;
}

static void
keep(struct labels *labels, uint32_t number, uint64_t label)
{
	struct flow flow = flow_of(number);
	const uint64_t half[2] = { label, label };

	memcpy(flow.labels, half, sizeof half);
	labels_keep(labels, &flow);
}

static bool
take(struct labels *labels, uint32_t number, uint64_t label)
{
	struct flow flow = flow_of(number);

	labels_take(labels, &flow);
	return has(&flow, label);
}

static void
test_simple(void)
{
	struct labels *labels = labels_new(16);

	CU_ASSERT_TRUE(take(labels, 1, 0));
	keep(labels, 1, 5);
	keep(labels, 2, 6);
	keep(labels, 1, 7);             /* changed */
	CU_ASSERT_TRUE(take(labels, 1, 7));
	CU_ASSERT_TRUE(take(labels, 1, 0));
	CU_ASSERT_TRUE(take(labels, 2, 6));
	keep(labels, 3, 0);             /* none, so nothing is kept */
	keep(labels, 4, 9);
	keep(labels, 4, 0);             /* taken away again */
	CU_ASSERT_TRUE(take(labels, 4, 0));
	CU_ASSERT_EQUAL(labels_lost(labels), 0);
	labels_free(labels);
	labels_free(NULL);
}

/* Everything that tells two entries of the kernel apart does so here. */
static void
test_identity(void)
{
	struct flow flow[14];
	struct labels *labels = labels_new(64);

	for (unsigned i = 0; i < 14; i++)
		flow[i] = flow_of(1);
	flow[1].id++;
	flow[2].zone = 1;
	flow[3].family = 6;
	flow[4].protocol = IPPROTO_TCP;
	flow[5].original.source.v4[3]++;
	flow[6].original.source.v6[15]++;
	flow[7].original.destination.v4[0]++;
	flow[8].original.destination.v6[15]++;
	flow[9].original.source_port++;
	flow[10].original.destination_port++;
	flow[11].original.icmp++;
	flow[12].original.icmp_id++;
	flow[13].zone = 256;
	for (unsigned i = 0; i < 14; i++) {
		flow[i].labels[0] = i + 1;
		labels_keep(labels, &flow[i]);
	}
	for (unsigned i = 0; i < 14; i++) {
		flow[i].labels[0] = 0;
		/* What may change during a flow's life is no part of it. */
		flow[i].mark = flow[i].status = flow[i].original.packets = 77;
		labels_take(labels, &flow[i]);
		CU_ASSERT_EQUAL(flow[i].labels[0], i + 1);
	}
	labels_free(labels);
}

enum { NUMBERS = 600, STEPS = 200000 };

/* In a table that is often nearly full, where entries push each other about. */
static void
test_model(void)
{
	static uint64_t model[NUMBERS];
	struct labels *labels = labels_new(512);
	g_autoptr(GRand) random = g_rand_new_with_seed(1);
	unsigned used = 0, wrong = 0, most = 0;

	for (unsigned i = 1; i <= STEPS; i++) {
		const uint32_t number = g_rand_int_range(random, 0, NUMBERS);
		/* Fuller and emptier by turns. */
		if (used < 512 && g_rand_int_range(random, 0, 10) < (i / 5000 % 2 ? 8 : 3)) {
			used += !model[number];
			model[number] = i;
			keep(labels, number, i);
		} else {
			wrong += !take(labels, number, model[number]);
			used -= !!model[number];
			model[number] = 0;
		}
		most = used > most ? used : most;
	}
	for (uint32_t number = 0; number < NUMBERS; number++)
		wrong += !take(labels, number, model[number]);
	CU_ASSERT_EQUAL(wrong, 0);
	CU_ASSERT_EQUAL(labels_lost(labels), 0);
	CU_ASSERT_TRUE(most > 450);
	labels_free(labels);
}

/* How many flows the table holds before it loses one. */
static uint32_t
room_for(size_t capacity)
{
	struct labels *labels = labels_new(capacity);
	uint32_t n = 0;

	CU_ASSERT_PTR_NOT_NULL_FATAL(labels);
	while (labels_lost(labels) == 0)
		keep(labels, ++n, 1);
	labels_free(labels);
	return n - 1;
}

/* Of each size there is room for as many flows as was asked for; of more, the oldest go, and each is counted. */
static void
test_full(void)
{
	for (size_t capacity = 1; capacity <= 70; capacity++) {
		struct labels *labels = labels_new(capacity);
		const uint32_t room = room_for(capacity), n = room + 11;
		uint64_t wrong = 0;
		CU_ASSERT_PTR_NOT_NULL_FATAL(labels);
		CU_ASSERT_TRUE(room >= capacity);
		for (uint32_t i = 0; i < n; i++)
			keep(labels, i, i + 1);
		CU_ASSERT_EQUAL(labels_lost(labels), 11);
		keep(labels, n - 1, 1000);      /* one that is inside may change */
		CU_ASSERT_EQUAL(labels_lost(labels), 11);
		for (uint32_t i = 0; i < n; i++)
			wrong += !take(labels, i, i == n - 1 ? 1000 : i < 11 ? 0 : i + 1);
		CU_ASSERT_EQUAL(wrong, 0);
		labels_free(labels);
	}
}

/* Flows whose ends were lost do not keep others out. */
static void
test_never_taken(void)
{
	enum { NEVER_TAKEN = 100000, NEW = 100 };
	struct labels *labels = labels_new(NEW);
	const uint32_t room = room_for(NEW);
	unsigned wrong = 0;

	for (uint32_t i = 0; i < NEVER_TAKEN; i++)
		keep(labels, i, i + 1);
	CU_ASSERT_EQUAL(labels_lost(labels), NEVER_TAKEN - room);
	for (uint32_t i = NEVER_TAKEN; i < NEVER_TAKEN + NEW; i++)
		keep(labels, i, i + 1);
	for (uint32_t i = NEVER_TAKEN; i < NEVER_TAKEN + NEW; i++)
		wrong += !take(labels, i, i + 1);
	CU_ASSERT_EQUAL(wrong, 0);
	CU_ASSERT_EQUAL(labels_lost(labels), NEVER_TAKEN - room + NEW);
	labels_free(labels);
}

/* A flow that has its labels taken away needs no room, and is not lost. */
static void
test_none_left(void)
{
	struct labels *labels = labels_new(1);

	for (uint32_t i = 0; i < 1000; i++) {
		keep(labels, i, 5);
		keep(labels, i, 0);
	}
	CU_ASSERT_EQUAL(labels_lost(labels), 0);
	labels_free(labels);
}

static int
find_number(GArray *model, uint32_t number)
{
	for (unsigned i = 0; i < model->len; i++)
		if (g_array_index(model, uint64_t, i) >> 32 == number)
			return i;
	return -1;
}

/* In the model the oldest stands first. */
static uint64_t
model_keep(GArray *model, uint32_t room, uint32_t number, uint32_t label)
{
	const uint64_t entry = (uint64_t)number << 32 | label;
	const int at = find_number(model, number);
	const bool full = at < 0 && model->len == room;

	if (at >= 0 || full)
		g_array_remove_index(model, full ? 0 : at);
	g_array_append_val(model, entry);
	return full;
}

static uint32_t
model_take(GArray *model, uint32_t number)
{
	const int at = find_number(model, number);

	if (at < 0)
		return 0;
	const uint32_t label = g_array_index(model, uint64_t, at);
	g_array_remove_index(model, at);
	return label;
}

/* In a table that is too small most of the time. */
static void
test_overfull_model(void)
{
	const uint32_t room = room_for(40);
	struct labels *labels = labels_new(40);
	g_autoptr(GArray) model = g_array_new(false, false, sizeof(uint64_t));
	g_autoptr(GRand) random = g_rand_new_with_seed(2);
	uint64_t lost = 0;
	unsigned wrong = 0;

	for (unsigned i = 1; i <= STEPS; i++) {
		const uint32_t number = g_rand_int_range(random, 0, 3 * room);
		if (g_rand_int_range(random, 0, 10) < (i / 5000 % 2 ? 8 : 4)) {
			lost += model_keep(model, room, number, i);
			keep(labels, number, i);
		} else {
			wrong += !take(labels, number, model_take(model, number));
		}
	}
	for (uint32_t number = 0; number < 3 * room; number++)
		wrong += !take(labels, number, model_take(model, number));
	CU_ASSERT_EQUAL(wrong, 0);
	CU_ASSERT_EQUAL(labels_lost(labels), lost);
	CU_ASSERT_TRUE(lost > STEPS / 20);
	labels_free(labels);
}

/* ---- the kernel ---- */

static bool
run(const char *command)
{
	return system(command) == 0;
}

static bool
loopback_up(void)
{
	struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool up = fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &request) == 0;

	if (fd >= 0)
		close(fd);
	return up;
}

static void
send_datagram(uint16_t port)
{
	const struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port),
	                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	sendto(fd, "x", 1, 0, (const struct sockaddr *)&to, sizeof to);
	close(fd);
}

static struct {
	unsigned messages, with_labels;
	struct labels *labels;
	struct flow flow[16];
	unsigned n;
} seen;

static void
on_label_event(const struct nlmsghdr *message, size_t available, void *data)
{
	static const uint8_t none[16];
	struct entry_times times;
	struct flow flow;
	(void)data;

	CU_ASSERT_EQUAL(entry_read(message, available, &flow, &times), ENTRY_NEW);
	seen.messages++;
	seen.with_labels += memcmp(flow.labels, none, sizeof none) != 0;
	if (seen.labels)
		labels_keep(seen.labels, &flow);
}

static void
on_end(const struct nlmsghdr *message, size_t available, void *data)
{
	struct entry_times times;
	(void)data;

	CU_ASSERT_EQUAL_FATAL(entry_read(message, available, &seen.flow[seen.n], &times), ENTRY_DELETED);
	labels_take(seen.labels, &seen.flow[seen.n]);
	seen.n = (seen.n + 1) % 16;
}

static void
drain(struct events *events, void (*message)(const struct nlmsghdr *message, size_t available, void *data))
{
	const struct events_handler handler = { .message = message };
	uint64_t received = 0, truncated = 0;

	events_drain(events, 1000, &handler, NULL, &received, &truncated);
}

static const uint8_t *
labels_of_port(uint16_t port)
{
	for (unsigned i = 0; i < seen.n; i++)
		if (seen.flow[i].original.destination_port == port)
			return seen.flow[i].labels;
	return NULL;
}

/* Labels set by nft on the first packet and on a later one arrive with the end of the flow; of flows without any the
 * filtered socket hears nothing. */
static void
test_kernel(void)
{
	struct events *all, *some, *ends;

	if (unshare(CLONE_NEWNET) < 0) {
		printf("SKIPPED (needs root: a network namespace) ");
		return;
	}
	CU_ASSERT_TRUE_FATAL(loopback_up());
	if (!run("nft 'add table t; add chain t c { type filter hook output priority 0; };"
	         " add rule t c udp dport 5003 ct label set 3; add rule t c udp dport 5009 ct label set 127;"
	         " add rule t c udp dport 5010 ct mark set 1'")) {
		printf("SKIPPED (needs nft and connection labels in the kernel) ");
		return;
	}
	all = events_open(NFNLGRP_CONNTRACK_NEW, 1 << 20, NULL, NULL);
	some = events_open(NFNLGRP_CONNTRACK_NEW, 1 << 20, NULL, NULL);
	ends = events_open(NFNLGRP_CONNTRACK_DESTROY, 1 << 20, NULL, NULL);
	CU_ASSERT_FATAL(all && some && ends);
	CU_ASSERT_TRUE(events_join(all, NFNLGRP_CONNTRACK_UPDATE, NULL));
	CU_ASSERT_TRUE(events_join(some, NFNLGRP_CONNTRACK_UPDATE, NULL));
	CU_ASSERT_TRUE(labels_filter(events_fd(some)));
	seen.labels = labels_new(16);
	send_datagram(5001);
	send_datagram(5003);
	send_datagram(5009);
	send_datagram(5010);
	drain(some, on_label_event);
	CU_ASSERT_EQUAL(seen.messages, seen.with_labels);
	CU_ASSERT_TRUE(seen.messages >= 2);
	seen.messages = seen.with_labels = 0;
	drain(all, on_label_event);
	CU_ASSERT_TRUE(seen.messages > seen.with_labels && seen.with_labels >= 2);
	CU_ASSERT_TRUE(run("conntrack -F >/dev/null 2>&1"));
	drain(ends, on_end);
	CU_ASSERT_PTR_NOT_NULL_FATAL(labels_of_port(5001));
	CU_ASSERT_PTR_NOT_NULL_FATAL(labels_of_port(5003));
	CU_ASSERT_PTR_NOT_NULL_FATAL(labels_of_port(5009));
	CU_ASSERT_EQUAL(memcmp(labels_of_port(5001), "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16), 0);
	CU_ASSERT_EQUAL(memcmp(labels_of_port(5003), "\10\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16), 0);
	CU_ASSERT_EQUAL(memcmp(labels_of_port(5009), "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\200", 16), 0);
	labels_free(seen.labels);
	events_close(all);
	events_close(some);
	events_close(ends);
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "kept, changed, taken", test_simple },
		{ "what tells flows apart", test_identity },
		{ "at random against a simple table", test_model },
		{ "a full table", test_full },
		{ "flows that are never taken", test_never_taken },
		{ "flows that have none any more", test_none_left },
		{ "at random, and too many", test_overfull_model },
		{ "as the kernel announces them", test_kernel },
		CU_TEST_INFO_NULL,
	};

	return run_suite("labels", tests);
}
