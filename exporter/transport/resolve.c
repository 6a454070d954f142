/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <gio/gio.h>

#include "resolve.h"

struct lookup {
	GCancellable *cancellable;
	resolve_done done;          /* NULL: cancelled */
	void *data;
	uint16_t port;
	int family;
};

static void
add_answer(struct answers *answers, GInetAddress *address, const struct lookup *lookup)
{
	g_autoptr(GSocketAddress) socket_address = g_inet_socket_address_new(address, lookup->port);
	union endpoint endpoint = { 0 };

	if (!g_socket_address_to_native(socket_address, &endpoint, sizeof endpoint, NULL))
		return;
	if (lookup->family != AF_UNSPEC && lookup->family != endpoint.any.sa_family)
		return;
	if (answers->n < G_N_ELEMENTS(answers->endpoint))
		answers->endpoint[answers->n++] = endpoint;
}

static void
on_answer(GObject *resolver, GAsyncResult *result, gpointer data)
{
	g_autofree struct lookup *lookup = data;
	g_autoptr(GError) error = NULL;
	struct answers answers = { 0 };
	GList *addresses = g_resolver_lookup_by_name_finish(G_RESOLVER(resolver), result, &error);

	for (GList *at = addresses; at; at = at->next)
		add_answer(&answers, at->data, lookup);
	g_resolver_free_addresses(addresses);
	if (!answers.n && !error)
		error = g_error_new(G_RESOLVER_ERROR, G_RESOLVER_ERROR_NOT_FOUND, "no address of the source address's family");
	if (lookup->done)
		lookup->done(lookup->data, &answers, error);
	g_object_unref(lookup->cancellable);
}

struct lookup *
resolve_start(const char *host, uint16_t port, int family, resolve_done done, void *data)
{
	g_autoptr(GResolver) resolver = g_resolver_get_default();
	struct lookup *lookup = g_new(struct lookup, 1);

	*lookup = (struct lookup) {
		.cancellable = g_cancellable_new(),
		.done = done,
		.data = data,
		.port = port,
		.family = family,
	};
	g_resolver_lookup_by_name_async(resolver, host, lookup->cancellable, on_answer, lookup);
	return lookup;
}

void
resolve_cancel(struct lookup *lookup)
{
	/* A resolver may answer from inside the cancellation, and then lookup is gone. */
	g_autoptr(GCancellable) cancellable = g_object_ref(lookup->cancellable);

	lookup->done = NULL;
	g_cancellable_cancel(cancellable);
}
