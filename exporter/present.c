/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "present.h"

#include <errno.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <stdint.h>

#include "enrich/directory.h"
#include "enrich/enrich.h"
#include "enrich/history.h"
#include "enrich/networks.h"
#include "error.h"
#include "host.h"
#include "source/entry.h"
#include "source/kick.h"
#include "source/question.h"
#include "source/settle.h"

struct look {
	present_visitor *visitor;
	void *data;
	struct directory *directory;
	struct networks *networks;
	uint64_t looked;            /* ns since 1970, when the kernel filled the datagram at hand, or a little earlier */
	uint8_t octets[WALK_DATAGRAM_MOST] __attribute__((aligned(8)));
};

/* The daemon appends to the file meanwhile, which does no harm: what has no end yet is passed over. */
static struct directory *
read_directory(const char *state_directory, const GArray *own)
{
	g_autoptr(history_t) history = history_new(UINT64_MAX);
	g_autoptr(GArray) prefixes = g_array_new(false, true, sizeof(struct roster_prefix));
	g_autofree char *path = state_directory ? g_build_filename(state_directory, "names", NULL) : NULL;
	g_autofree char *text = NULL;
	size_t length;

	if (path && g_file_get_contents(path, &text, &length, NULL))
		history_read(history, text, length, NULL);
	for (guint i = 0; i < own->len; i++)
		g_array_append_val(prefixes, g_array_index(own, struct own_address, i).prefix);
	return directory_new(&(struct directory_input){
		.history = history,
		.own = (const struct roster_prefix *)(void *)prefixes->data,
		.n_own = prefixes->len,
	});
}

static void
on_entry(const struct nlmsghdr *message, size_t available, void *data)
{
	struct look *look = data;
	struct entry_times times;
	struct flow flow;

	if (entry_read(message, available, &flow, &times) != ENTRY_NEW || is_kick(&flow))
		return;
	flow_look(&flow, &times, look->looked);
	enrich(&flow, look->networks, look->directory);
	look->visitor(&flow, directory_names(look->directory), look->data);
}

static bool
fail(int number, GError **error)
{
	if (number == EPERM || number == EACCES)
		g_set_error(error, PEERFLOW_ERROR, EX_NOPERM, "the kernel's table of connections is shown to root only");
	else
		g_set_error(error, PEERFLOW_ERROR, EX_UNAVAILABLE, "the kernel's table of connections cannot be read: %s",
		            g_strerror(number));
	return false;
}

static bool
walk(struct walk *walk, struct look *look, GError **error)
{
	enum walk_state state = WALK_GOES_ON;

	if (!walk_begin(walk, WALK_LIVING))
		return fail(errno, error);
	while (state == WALK_GOES_ON) {
		look->looked = g_get_real_time() * UINT64_C(1000);
		const ssize_t n = walk_receive(walk, look->octets);
		if (n < 0)
			return fail(errno, error);
		state = walk_read(walk, look->octets, n, on_entry, look);
	}
	return state == WALK_DONE || fail(errno, error);
}

bool
present_each(const struct present_options *options, present_visitor *visitor, void *data, GError **error)
{
	g_autoptr(GArray) own = host_addresses();
	struct walk *table = walk_open(error);
	if (!table)
		return false;
	g_autofree struct look *look = g_new0(struct look, 1);
	look->visitor = visitor;
	look->data = data;
	look->directory = read_directory(options->state_directory, own);
	look->networks = networks_new(options->interface ? if_nametoindex(options->interface) : 0,
	                              (const struct own_address *)(void *)own->data, own->len, look->directory);
	const bool good = walk(table, look, error);
	networks_free(look->networks);
	directory_free(look->directory);
	walk_close(table);
	return good;
}
