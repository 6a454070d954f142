/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_ENRICH_ROSTER_H
#define PEERFLOW_ENRICH_ROSTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>

#include "flow.h"
#include "names.h"

/* What one source of names said at one time: built by its parser off the hot path, then read-only. It may be built in
 * one thread and used and freed in another. What a source does not know it leaves out: of several sources the best one
 * that knows a word about a prefix wins, word by word. */

/* Who said it, the best first. */
enum roster_source {
	ROSTER_NETBIRD,             /* the daemon on this host, by socket or command */
	ROSTER_NETWORKS,            /* the same, of the resources it reaches through others */
	ROSTER_API,                 /* the management server */
	ROSTER_FILE,                /* the operator's peers-file */
	ROSTER_WIREGUARD,           /* the tunnel itself */
	ROSTER_SOURCES,
};

struct roster_prefix {
	union address address;
	uint8_t family;             /* 4 or 6 */
	uint8_t length;
};

struct roster_entry {
	struct roster_prefix prefix;    /* bits beyond its length are zero */
	const char *word[WORDS];        /* NULL: this source does not know it */
	const char *const *tags;        /* NULL-terminated, or NULL: what policies call it, see struct roster_policy */
};

/* The peer behind which a prefix lies, where a source knows the peer by its address only. */
struct roster_route {
	struct roster_prefix prefix;
	struct roster_prefix gateway;   /* a whole address */
};

/* Words about every address that some source resolved from this domain. */
struct roster_domain {
	const char *domain;             /* "crm.example.com"; "*.example.com" for all below it */
	const char *word[WORDS];
	const char *const *tags;
};

struct roster_ports {
	uint16_t first;
	uint16_t last;
};

/* One rule that lets flows pass; rules that are disabled or that forbid have no place here. Ends are sets of tags: ids
 * of groups, peers and resources, whatever the source uses in its entries. */
struct roster_policy {
	const char *name;
	const char *const *sources;     /* NULL-terminated */
	const char *const *destinations;
	const struct roster_ports *ports;       /* of the destination; none: all */
	size_t n_ports;
	uint8_t protocol;               /* zero: all */
	bool bidirectional;
};

enum roster_kernel {
	ROSTER_KERNEL_UNKNOWN,
	ROSTER_KERNEL_YES,          /* the mesh's interface is the kernel's WireGuard */
	ROSTER_KERNEL_NO,
};

struct roster {
	GArray *entry;              /* struct roster_entry; a prefix may come more than once, the first then wins */
	GArray *route;              /* struct roster_route */
	GArray *domain;             /* struct roster_domain */
	GArray *policy;             /* struct roster_policy */
	bool has_policies;          /* the source was asked for policies and told them all */
	GArray *overlay;            /* struct roster_prefix: this host's addresses in the mesh, whole, with the length of
	                             * the mesh's network */
	GArray *served;             /* struct roster_prefix: what others reach through this host */
	const char *own_name;       /* NULL: not known */
	const char *state;          /* for people: "connected", "HTTP 403"; NULL: nothing to say */
	enum roster_kernel kernel;
	uint64_t taken;             /* ms since 1970, set by roster_new */
	GStringChunk *text;
	GPtrArray *blocks;
};

struct roster *roster_new(void);
void roster_free(struct roster *roster);
typedef struct roster roster_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(roster_t, roster_free)

/* All of these copy what they are given. Texts may hold anything: they are made valid UTF-8 without control
 * characters or space around them, and cut to ROSTER_TEXT octets in front of a character; what is then empty is NULL. */
enum { ROSTER_TEXT = 255 };

/* Would the text be kept as it is? An empty one is clean. */
bool roster_is_clean(const char *text);

/* Words about a prefix; bits beyond its length are cleared. tags may be NULL. */
void roster_add(struct roster *roster, const struct roster_prefix *prefix, const char *const word[WORDS],
                const char *const *tags);

/* The same for a single word. */
void roster_add_word(struct roster *roster, const struct roster_prefix *prefix, enum identity_word word,
                     const char *text);

void roster_add_route(struct roster *roster, const struct roster_prefix *prefix, const struct roster_prefix *gateway);
void roster_add_domain(struct roster *roster, const char *domain, const char *const word[WORDS],
                       const char *const *tags);
void roster_add_policy(struct roster *roster, const struct roster_policy *policy);
void roster_add_overlay(struct roster *roster, const struct roster_prefix *address);
void roster_add_served(struct roster *roster, const struct roster_prefix *prefix);
void roster_set_own_name(struct roster *roster, const char *name);
void roster_set_state(struct roster *roster, const char *state);

/* Reads "ADDRESS" or "ADDRESS/LENGTH"; bits beyond the length stay as they are. False if text is nothing of the kind. */
bool roster_prefix_parse(const char *text, struct roster_prefix *prefix);

/* Does the prefix hold that address? */
bool roster_prefix_holds(const struct roster_prefix *prefix, unsigned family, const union address *address);

/* The bits of the address beyond length become zero. */
void roster_cut(union address *address, unsigned length);

#endif
