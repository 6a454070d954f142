/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_CONFIG_H
#define PEERFLOW_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>

#include "flow.h"

/* exporter.conf as a struct: read whole, checked whole, then never changed. A newer one replaces it. */

enum config_transport { CONFIG_UDP, CONFIG_TCP };
enum config_protocol { CONFIG_IPFIX, CONFIG_NETFLOW9 };
enum config_records { CONFIG_UNIFLOW, CONFIG_BIFLOW };
enum config_flows { CONFIG_MESH_FLOWS, CONFIG_ALL_FLOWS };
enum config_reply_tuple { CONFIG_MIRROR, CONFIG_WIRE };

enum config_sync { CONFIG_SYNC_FLOW, CONFIG_SYNC_SECOND, CONFIG_SYNC_ROTATE };

enum config_compress { CONFIG_COMPRESS_COLUMNS, CONFIG_COMPRESS_ZSTD };

enum config_status { CONFIG_STATUS_AUTO, CONFIG_STATUS_SOCKET, CONFIG_STATUS_COMMAND, CONFIG_STATUS_OFF };

struct config_prefix {
	union address address;      /* bits beyond length are zero */
	uint8_t family;             /* 4 or 6 */
	uint8_t length;
};

struct config_mark {
	uint32_t value;             /* bits outside mask are zero */
	uint32_t mask;
};

struct config_collector {
	char *name;                 /* of the group [collector NAME] */
	char *host;                 /* required: address or DNS name */
	uint16_t port;
	enum config_transport transport;
	enum config_protocol protocol;
	char *template_name;        /* a name in the template directory, or a path if it has a slash */
	enum config_records records;
	enum config_reply_tuple reply_tuple;
	unsigned template_refresh;  /* seconds */
	unsigned mtu;               /* octets of an IP packet; 0: from the path */
	char *source_address;       /* NULL: the kernel chooses */
	unsigned retry;             /* seconds */
	unsigned resolve;           /* seconds */
	size_t queue;               /* octets */
};

struct config_archive {
	bool enabled;
	char *path;                 /* of the directory; NULL: none can be kept */
	unsigned rotate;            /* seconds */
	uint64_t rotate_size;       /* octets */
	unsigned retain;            /* seconds; 0: no limit */
	uint64_t max_size;          /* octets; 0: no limit */
	enum config_sync sync;
	enum config_compress compress;
};

struct config {
	char *path;

	/* [exporter] */
	bool has_domain_id;
	uint32_t domain_id;
	char *domain_name;          /* NULL: the mesh's name for this host, or the host's own */
	uint32_t enterprise_number; /* 0: none configured */
	char *template_directory;
	char *runtime_directory;    /* of what survives a crash; NULL: nothing does */
	char *state_directory;      /* of what survives a restart; NULL: nothing does */
	char *live_socket;          /* NULL: none */
	char *status_socket;        /* NULL: none */

	/* [conntrack] */
	size_t receive_buffer;      /* octets */
	unsigned active_timeout;    /* seconds */
	size_t max_long_flows;      /* 0: flows are reported at their end only */
	bool count_from_start;      /* of flows that were there before us; false: from our first look */
	unsigned reap_share;        /* percent of one processor; 0: no reaping */
	enum config_flows flows;
	bool reliable;
	unsigned fuse;              /* percent of nf_conntrack_max */
	bool labels;
	struct config_prefix *ignore;
	size_t n_ignore;
	struct config_mark *mark;
	size_t n_mark;
	uint8_t *protocol;
	size_t n_protocol;

	/* [netbird] */
	char *interface;            /* the mesh's interface, "wt0" */
	enum config_status status;  /* how the NetBird client is asked for its peers */
	char *netbird_socket;
	char *netbird_command;
	unsigned refresh;           /* seconds */
	char *peers_file;           /* NULL: none */
	char *api_url;              /* NULL: none; else there is an api_token_file */
	char *api_token_file;
	unsigned api_refresh;       /* seconds */
	bool wireguard;             /* ask the tunnel who is behind it */
	unsigned history;           /* seconds for which names that were given up are remembered */

	struct config_archive archive;  /* [archive] */

	/* [collector NAME], in the order of the file */
	struct config_collector *collector;
	size_t n_collectors;
};

/* Reads and checks the file. On failure returns NULL and sets error (EX_CONFIG) to one line that names file, line, key
 * and value. The caller owns the result: config_free. */
struct config *config_load(const char *path, GError **error);

/* The same from octets already in memory; name stands for the path in errors. The text may hold anything. */
struct config *config_parse(const char *name, const char *text, size_t length, GError **error);

void config_free(struct config *config);
typedef struct config config_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(config_t, config_free)

/* True if both describe the same session with the same collector, so that a reload may keep it. */
bool config_collector_equal(const struct config_collector *a, const struct config_collector *b);

/* One of the options there are, as the manual lists them. */
struct config_option {
	const char *group;          /* "collector" for [collector NAME] */
	const char *key;
	const char *fallback;       /* the default as it could stand in the file; NULL: the option is required */
};

/* The nth option, from zero; false beyond the last. */
bool config_option(size_t n, struct config_option *option);

#endif
