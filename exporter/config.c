/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The reader of exporter.conf. The syntax is that of key files, but GKeyFile will not do: it knows no line numbers,
 * lets the last of two equal keys win, and has nothing to say about keys it does not know. Here a mistake of any kind
 * refuses the whole file, with one line that names the place.
 *
 * Every option is a row of options[]. Its default is text as it could stand in the file and goes through the same
 * parser, so that a default can be shown, tested and written down like any other value. */

#include "config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "error.h"

enum {
	FILE_MOST = 1 << 20,        /* octets */
	LINE_MOST = 4096,
	LIST_MOST = 64,             /* items of one value; the kernel's filters end not far above */
	NAME_MOST = 64,             /* octets of a collector's name, which every line of the log repeats */
	SHOWN_MOST = 80,            /* characters of the file's text that an error repeats */
	COMPLAINT_MOST = 240,       /* the same of what is wrong with it */
};

enum group { EXPORTER, CONNTRACK, NETBIRD, ARCHIVE, COLLECTOR, GROUPS };

static const char *const group_names[GROUPS] = { "exporter", "conntrack", "netbird", "archive", "collector" };

/* Units of a quantity, the largest first, so that a limit is printed as a person would write it. */
struct scale {
	const char *noun;
	struct { char suffix; uint64_t factor; } unit[5];
};

struct option {
	enum group group;
	const char *key;
	const char *fallback;       /* NULL: none that holds for every file */
	/* Writes the value to its place in target. Returns NULL or, for the caller to free, what is wrong with it. */
	char *(*parse)(const struct option *option, const char *value, void *target);
	size_t offset;              /* into struct config or struct config_collector */
	size_t size;
	bool owned;                 /* the place holds a pointer to free */
	const char *absent;         /* word for "nothing configured": all octets stay zero */
	uint64_t min, max;          /* of quantities; max also of the octets of a path */
	const struct scale *scale;
	const char *const *words;   /* of choices: a word's position is its value */
	const struct list *list;
};

struct list {
	const char *noun;
	char *(*parse)(const char *text, void *item);   /* as in struct option; item is zero before */
	size_t size;                /* of an item */
	size_t count;               /* offset of the number of items */
};

struct reader {
	const char *name;
	GError **error;
	struct config *config;
	GArray *collectors;         /* struct config_collector; the last is the current one in its group */
	GHashTable *groups;         /* title -> line of each group so far */
	char *title;                /* of the current group, "[collector nfdump]" */
	enum group group;           /* the current one; GROUPS before the first */
	unsigned line;
	unsigned *set_at;           /* line of each option, zero if not set; a new [collector] begins anew with its own */
};

static char *
wanted(const struct option *option, const char *format, ...) G_GNUC_PRINTF(2, 3);

static char *
wanted(const struct option *option, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	g_autofree char *what = g_strdup_vprintf(format, arguments);
	va_end(arguments);
	if (option->absent)
		return g_strdup_printf("not %s or %s", what, option->absent);
	return g_strdup_printf("not %s", what);
}

/* Values */

static void *
place(const struct option *option, void *target)
{
	return (char *)target + option->offset;
}

static void
store_number(const struct option *option, void *target, uint64_t number)
{
	uint8_t one = number;
	uint16_t two = number;
	uint32_t four = number;
	const void *octets[] = { [1] = &one, [2] = &two, [4] = &four, [8] = &number };

	memcpy(place(option, target), octets[option->size], option->size);
}

static char *
store_text(const struct option *option, void *target, const char *text)
{
	*(char **)place(option, target) = g_strdup(text);
	return NULL;
}

static char *
print_quantity(const struct scale *scale, uint64_t quantity)
{
	unsigned i = 0;
	while (scale->unit[i].suffix && quantity % scale->unit[i].factor)
		i++;
	return g_strdup_printf("%" G_GUINT64_FORMAT "%.1s", quantity / scale->unit[i].factor, &scale->unit[i].suffix);
}

/* Takes the unit off the end of digits; zero if there is no such unit. */
static uint64_t
take_unit(const struct scale *scale, char *digits)
{
	char *last = digits + strlen(digits) - 1;
	char suffix = g_ascii_isdigit(*last) ? '\0' : *last;

	for (unsigned i = 0; i < G_N_ELEMENTS(scale->unit); i++) {
		if (g_ascii_toupper(scale->unit[i].suffix) != g_ascii_toupper(suffix))
			continue;
		if (suffix)
			*last = '\0';
		return scale->unit[i].factor;
	}
	return 0;
}

static char *
parse_quantity(const struct option *option, const char *value, void *target)
{
	g_autofree char *digits = g_strdup(value);
	uint64_t factor = take_unit(option->scale, digits);
	guint64 number = 0;

	if (factor && g_ascii_string_to_unsigned(digits, 10, 0, option->max / factor, &number, NULL)
	    && number * factor >= option->min) {
		store_number(option, target, number * factor);
		return NULL;
	}
	g_autofree char *least = print_quantity(option->scale, option->min);
	g_autofree char *most = print_quantity(option->scale, option->max);
	return wanted(option, "%s from %s to %s", option->scale->noun, least, most);
}

static char *
parse_choice(const struct option *option, const char *value, void *target)
{
	for (unsigned i = 0; option->words[i]; i++) {
		if (strcmp(option->words[i], value) == 0) {
			store_number(option, target, i);
			return NULL;
		}
	}
	g_autofree char *words = g_strjoinv(" or ", (char **)option->words);
	return wanted(option, "%s", words);
}

/* Returns the family, 4 or 6, or zero if text is no address. */
static uint8_t
read_address(const char *text, union address *address)
{
	memset(address, 0, sizeof *address);
	if (inet_pton(AF_INET, text, address->v4) == 1)
		return 4;
	return inet_pton(AF_INET6, text, address->v6) == 1 ? 6 : 0;
}

static uint8_t
address_family(const char *text)
{
	union address ignored;
	return read_address(text, &ignored);
}

static char *
parse_domain(const struct option *option, const char *value, void *target)
{
	struct config *config = target;
	union address address;
	guint64 number = 0;

	if (read_address(value, &address) == 4)
		number = ntohl(address.word[0]);
	else
		g_ascii_string_to_unsigned(value, 10, 0, UINT32_MAX, &number, NULL);
	if (!number)
		return wanted(option, "a number from 1 to 4294967295, an IPv4 address");
	config->domain_id = number;
	config->has_domain_id = true;
	return NULL;
}

static char *
parse_enterprise(const struct option *option, const char *value, void *target)
{
	guint64 number = 0;

	g_ascii_string_to_unsigned(value, 10, 0, UINT32_MAX, &number, NULL);
	if (!number)
		return wanted(option, "an enterprise number that IANA assigned, from 1 to 4294967295,");
	if (number == 29305)
		return g_strdup("means the reverse direction (RFC 5103); write the number that IANA assigned to you or none");
	store_number(option, target, number);
	return NULL;
}

static char *
parse_name(const struct option *option, const char *value, void *target)
{
	if (strlen(value) > option->max)
		return wanted(option, "a name of at most %" G_GUINT64_FORMAT " octets", option->max);
	return store_text(option, target, value);
}

static char *
parse_path(const struct option *option, const char *value, void *target)
{
	if (value[0] != '/')
		return wanted(option, "an absolute path");
	if (strlen(value) > option->max)
		return g_strdup_printf("too long; a path of at most %" G_GUINT64_FORMAT " octets would be right",
		                       option->max);
	return store_text(option, target, value);
}

/* "auto" depends on another option and is settled when all are known. */
static char *
parse_path_or_auto(const struct option *option, const char *value, void *target)
{
	if (strcmp(value, "auto") == 0)
		return store_text(option, target, value);
	if (value[0] != '/')
		return wanted(option, "an absolute path or auto");
	return parse_path(option, value, target);
}

/* The folder depends on where the build installs to, the shipped file does not: hence a word for it. */
static char *
parse_template_directory(const struct option *option, const char *value, void *target)
{
	if (strcmp(value, "built-in") == 0)
		return store_text(option, target, PEERFLOW_TEMPLATES);
	if (value[0] != '/')
		return wanted(option, "an absolute path or built-in");
	return parse_path(option, value, target);
}

static bool
is_made_of(const char *text, const char *others)
{
	for (; *text; text++) {
		if (!g_ascii_isalnum(*text) && !strchr(others, *text))
			return false;
	}
	return true;
}

static char *
parse_template(const struct option *option, const char *value, void *target)
{
	bool is_name = is_made_of(value, "._-") && value[0] != '.';

	if (!is_name && value[0] != '/')
		return wanted(option, "the name of a template (letters, digits, . _ -), an absolute path");
	return store_text(option, target, value);
}

/* The kernel's own rule, dev_valid_name(). */
static char *
parse_interface(const struct option *option, const char *value, void *target)
{
	if (strlen(value) >= IFNAMSIZ || strpbrk(value, "/: \t") || strcmp(value, ".") == 0 || strcmp(value, "..") == 0)
		return wanted(option, "the name of an interface (at most %d octets, none of them / : or a space)",
		              IFNAMSIZ - 1);
	return store_text(option, target, value);
}

static bool
is_dns_name(const char *text)
{
	g_auto(GStrv) label = g_strsplit(text, ".", -1);
	unsigned n = g_strv_length(label);

	if (n > 1 && !*label[n - 1])    /* the dot of the root */
		n--;
	for (unsigned i = 0; i < n; i++) {
		size_t length = strlen(label[i]);
		if (!length || length > 63 || label[i][0] == '-' || !is_made_of(label[i], "-_"))
			return false;
	}
	/* No top level domain is a number: what ends in one is an address gone wrong. */
	return n && strlen(text) <= 253 && strspn(label[n - 1], "0123456789") < strlen(label[n - 1]);
}

static char *
parse_host(const struct option *option, const char *value, void *target)
{
	if (!address_family(value) && !is_dns_name(value))
		return wanted(option, "an address or DNS name (the port has a key of its own)");
	return store_text(option, target, value);
}

static char *
parse_source_address(const struct option *option, const char *value, void *target)
{
	if (!address_family(value))
		return wanted(option, "an IPv4 or IPv6 address");
	return store_text(option, target, value);
}

/* A token goes with every question: in clear it may only stay on this host. */
static bool
is_safe_url(const char *url)
{
	static const char *const clear[] = { "http://127.0.0.1", "http://[::1]", "http://localhost" };

	if (g_str_has_prefix(url, "https://"))
		return !strchr("/:", url[strlen("https://")]);
	for (unsigned i = 0; i < G_N_ELEMENTS(clear); i++)
		if (g_str_has_prefix(url, clear[i]))
			return strchr("/:", url[strlen(clear[i])]);     /* or the end */
	return false;
}

static char *
parse_url(const struct option *option, const char *value, void *target)
{
	if (!is_safe_url(value) || strpbrk(value, " \t?#@"))
		return wanted(option, "the URL of a server, https://NAME[:PORT][/PATH] (http:// only to this host itself),");
	return store_text(option, target, value);
}

/* Lists */

static char *
parse_list(const struct option *option, const char *value, void *target)
{
	const struct list *list = option->list;
	g_autoptr(GArray) items = g_array_new(false, true, list->size);
	g_auto(GStrv) word = g_strsplit_set(value, ", \t", -1);

	for (unsigned i = 0; word[i]; i++) {
		if (!*word[i])
			continue;
		if (items->len == LIST_MOST)
			return g_strdup_printf("too long a list; at most %d items would be right", LIST_MOST);
		g_array_set_size(items, items->len + 1);
		char *item = items->data + (items->len - 1) * list->size;
		char *complaint = list->parse(word[i], item);
		if (complaint)
			return complaint;
		for (const char *other = items->data; other < item; other += list->size) {
			if (memcmp(other, item, list->size) == 0)
				return g_strdup_printf("%s stands twice; once would be right", word[i]);
		}
	}
	if (!items->len)
		return wanted(option, "a list of %s", list->noun);
	*(size_t *)((char *)target + list->count) = items->len;
	*(void **)place(option, target) = g_array_steal(items, NULL);
	return NULL;
}

static void
clear_host_bits(struct config_prefix *prefix)
{
	for (unsigned octet = 0; octet < sizeof prefix->address; octet++) {
		unsigned kept = CLAMP((int)prefix->length - (int)octet * 8, 0, 8);
		prefix->address.v6[octet] &= 0xff00 >> kept;
	}
}

static char *
parse_prefix(const char *text, void *item)
{
	struct config_prefix *prefix = item;
	g_auto(GStrv) part = g_strsplit(text, "/", 2);
	uint8_t family = read_address(part[0], &prefix->address);
	guint64 length = family == 4 ? 32 : 128;

	if (!family || (part[1] && !g_ascii_string_to_unsigned(part[1], 10, 0, length, &length, NULL)))
		return g_strdup_printf("%s is not a prefix such as 10.0.0.0/8 or fd00::/8", text);
	prefix->family = family;
	prefix->length = length;
	union address whole = prefix->address;
	clear_host_bits(prefix);
	if (memcmp(&whole, &prefix->address, sizeof whole) == 0)
		return NULL;
	char right[INET6_ADDRSTRLEN];
	inet_ntop(family == 4 ? AF_INET : AF_INET6, &prefix->address, right, sizeof right);
	return g_strdup_printf("%s has bits beyond its length; %s/%u would be right", text, right, prefix->length);
}

static bool
read_mark(const char *text, uint32_t *mark)
{
	bool is_hex = g_ascii_strncasecmp(text, "0x", 2) == 0;
	guint64 number = 0;

	if (!g_ascii_string_to_unsigned(text + (is_hex ? 2 : 0), is_hex ? 16 : 10, 0, UINT32_MAX, &number, NULL))
		return false;
	*mark = number;
	return true;
}

static char *
parse_mark(const char *text, void *item)
{
	struct config_mark *mark = item;
	g_auto(GStrv) part = g_strsplit(text, "/", 2);

	mark->mask = UINT32_MAX;
	if (!read_mark(part[0], &mark->value) || (part[1] && !read_mark(part[1], &mark->mask)))
		return g_strdup_printf("%s is not value or value/mask, in decimal or 0x and hexadecimal", text);
	if (!mark->mask)
		return g_strdup_printf("%s is true of every mark; the word all would be right", text);
	if (mark->value & ~mark->mask)
		return g_strdup_printf("%s has bits outside its mask and is true of no mark; 0x%x/0x%x would be right", text,
		                       mark->value & mark->mask, mark->mask);
	return NULL;
}

static char *
parse_protocol(const char *text, void *item)
{
	static const struct { const char *name; uint8_t number; } known[] = {
		{ "icmp", 1 }, { "tcp", 6 }, { "udp", 17 }, { "dccp", 33 }, { "gre", 47 }, { "esp", 50 }, { "ah", 51 },
		{ "icmpv6", 58 }, { "sctp", 132 }, { "udplite", 136 },
	};
	uint8_t *protocol = item;
	guint64 number;

	for (unsigned i = 0; i < G_N_ELEMENTS(known); i++) {
		if (strcmp(known[i].name, text) == 0) {
			*protocol = known[i].number;
			return NULL;
		}
	}
	if (!g_ascii_string_to_unsigned(text, 10, 0, UINT8_MAX, &number, NULL))
		return g_strdup_printf("%s is not one of tcp udp udplite sctp dccp icmp icmpv6 gre esp ah, nor a number from 0 "
		                       "to 255", text);
	*protocol = number;
	return NULL;
}

/* The table */

static const char *const flow_choices[] = { [CONFIG_MESH_FLOWS] = "mesh", [CONFIG_ALL_FLOWS] = "all", NULL };
static const char *const no_yes[] = { "no", "yes", NULL };
static const char *const off_auto[] = { "off", "auto", NULL };
static const char *const beginnings[] = { "first-look", "start", NULL };
static const char *const transports[] = { [CONFIG_UDP] = "udp", [CONFIG_TCP] = "tcp", NULL };
static const char *const protocols[] = { [CONFIG_IPFIX] = "ipfix", [CONFIG_NETFLOW9] = "netflow9", NULL };
static const char *const records[] = { [CONFIG_UNIFLOW] = "uniflow", [CONFIG_BIFLOW] = "biflow", NULL };
static const char *const statuses[] = {
	[CONFIG_STATUS_AUTO] = "auto", [CONFIG_STATUS_SOCKET] = "socket", [CONFIG_STATUS_COMMAND] = "command",
	[CONFIG_STATUS_OFF] = "off", NULL,
};
static const char *const syncs[] = {
	[CONFIG_SYNC_FLOW] = "flow", [CONFIG_SYNC_SECOND] = "second", [CONFIG_SYNC_ROTATE] = "rotate", NULL,
};
static const char *const compressions[] = { [CONFIG_COMPRESS_COLUMNS] = "columns", [CONFIG_COMPRESS_ZSTD] = "zstd", NULL };
static const char *const reply_tuples[] = { [CONFIG_MIRROR] = "mirror", [CONFIG_WIRE] = "wire", NULL };

enum { KIB = 1 << 10, MIB = 1 << 20, GIB = 1 << 30, MINUTE = 60, HOUR = 60 * MINUTE, DAY = 24 * HOUR };

static const struct scale plain = { "a number", { { '\0', 1 } } };
static const struct scale percent = { "a number of percent", { { '%', 1 }, { '\0', 1 } } };
static const struct scale octets = {
	"a number of octets (units K M G)", { { 'G', GIB }, { 'M', MIB }, { 'K', KIB }, { '\0', 1 } },
};
static const struct scale seconds = {
	"a time in seconds (units s m h d)", { { 'd', DAY }, { 'h', HOUR }, { 'm', MINUTE }, { 's', 1 }, { '\0', 1 } },
};

static const struct list prefixes = {
	"prefixes", parse_prefix, sizeof (struct config_prefix), offsetof(struct config, n_ignore),
};
static const struct list marks = {
	"marks", parse_mark, sizeof (struct config_mark), offsetof(struct config, n_mark),
};
static const struct list protocol_numbers = {
	"protocols", parse_protocol, sizeof (uint8_t), offsetof(struct config, n_protocol),
};

#define IN(type, member) .offset = offsetof(struct type, member), .size = sizeof ((struct type *)NULL)->member

static const struct option options[] = {
	{ EXPORTER, "observation-domain-id", "auto", parse_domain, IN(config, domain_id), .absent = "auto" },
	{ EXPORTER, "observation-domain-name", "auto", parse_name, IN(config, domain_name), .owned = true,
	  .absent = "auto", .max = 64 },
	{ EXPORTER, "enterprise-number", "none", parse_enterprise, IN(config, enterprise_number), .absent = "none" },
	{ EXPORTER, "template-directory", "built-in", parse_template_directory, IN(config, template_directory),
	  .owned = true, .max = PATH_MAX - 1 },
	{ EXPORTER, "runtime-directory", "/run/peerflow", parse_path, IN(config, runtime_directory), .owned = true,
	  .absent = "off", .max = PATH_MAX - 64 },
	{ EXPORTER, "state-directory", "/var/lib/peerflow", parse_path, IN(config, state_directory), .owned = true,
	  .absent = "off", .max = PATH_MAX - 64 },
	{ EXPORTER, "live-socket", "/run/peerflow/live", parse_path, IN(config, live_socket), .owned = true,
	  .absent = "off", .max = sizeof ((struct sockaddr_un *)NULL)->sun_path - 1 },
	{ EXPORTER, "status-socket", "auto", parse_path_or_auto, IN(config, status_socket), .owned = true,
	  .absent = "off", .max = sizeof ((struct sockaddr_un *)NULL)->sun_path - 1 },

	{ CONNTRACK, "receive-buffer", "64M", parse_quantity, IN(config, receive_buffer), .scale = &octets,
	  .min = 128 * KIB, .max = GIB },
	{ CONNTRACK, "active-timeout", "60s", parse_quantity, IN(config, active_timeout), .scale = &seconds,
	  .min = 1, .max = DAY },
	{ CONNTRACK, "max-long-flows", "65536", parse_quantity, IN(config, max_long_flows), .scale = &plain,
	  .min = 0, .max = 4 << 20 },
	{ CONNTRACK, "count-from", "first-look", parse_choice, IN(config, count_from_start), .words = beginnings },
	{ CONNTRACK, "reap-share", "2%", parse_quantity, IN(config, reap_share), .scale = &percent, .min = 0, .max = 100 },
	{ CONNTRACK, "flows", "mesh", parse_choice, IN(config, flows), .words = flow_choices },
	{ CONNTRACK, "reliable", "yes", parse_choice, IN(config, reliable), .words = no_yes },
	{ CONNTRACK, "fuse", "80%", parse_quantity, IN(config, fuse), .scale = &percent, .min = 10, .max = 95 },
	{ CONNTRACK, "labels", "no", parse_choice, IN(config, labels), .words = no_yes },
	{ CONNTRACK, "ignore", "127.0.0.0/8, ::1/128", parse_list, IN(config, ignore), .owned = true, .absent = "none",
	  .list = &prefixes },
	{ CONNTRACK, "marks", "all", parse_list, IN(config, mark), .owned = true, .absent = "all", .list = &marks },
	{ CONNTRACK, "protocols", "all", parse_list, IN(config, protocol), .owned = true, .absent = "all",
	  .list = &protocol_numbers },

	{ NETBIRD, "interface", "wt0", parse_interface, IN(config, interface), .owned = true },
	{ NETBIRD, "status", "auto", parse_choice, IN(config, status), .words = statuses },
	{ NETBIRD, "socket", "/var/run/netbird-http.sock", parse_path, IN(config, netbird_socket), .owned = true,
	  .max = sizeof ((struct sockaddr_un *)NULL)->sun_path - 1 },
	{ NETBIRD, "command", "/usr/bin/netbird", parse_path, IN(config, netbird_command), .owned = true,
	  .max = PATH_MAX - 1 },
	{ NETBIRD, "refresh", "60s", parse_quantity, IN(config, refresh), .scale = &seconds, .min = 1, .max = HOUR },
	{ NETBIRD, "peers-file", "none", parse_path, IN(config, peers_file), .owned = true, .absent = "none",
	  .max = PATH_MAX - 1 },
	{ NETBIRD, "api-url", "none", parse_url, IN(config, api_url), .owned = true, .absent = "none" },
	{ NETBIRD, "api-token-file", "/etc/peerflow/api-token", parse_path, IN(config, api_token_file), .owned = true,
	  .max = PATH_MAX - 1 },
	{ NETBIRD, "api-refresh", "5m", parse_quantity, IN(config, api_refresh), .scale = &seconds, .min = 10, .max = DAY },
	{ NETBIRD, "wireguard", "auto", parse_choice, IN(config, wireguard), .words = off_auto },
	{ NETBIRD, "history", "90d", parse_quantity, IN(config, history), .scale = &seconds, .min = HOUR, .max = 3650 * DAY },

	{ ARCHIVE, "enabled", "yes", parse_choice, IN(config, archive.enabled), .words = no_yes },
	{ ARCHIVE, "path", "auto", parse_path_or_auto, IN(config, archive.path), .owned = true, .max = PATH_MAX - 128 },
	{ ARCHIVE, "rotate", "5m", parse_quantity, IN(config, archive.rotate), .scale = &seconds, .min = 1, .max = DAY },
	{ ARCHIVE, "rotate-size", "64M", parse_quantity, IN(config, archive.rotate_size), .scale = &octets,
	  .min = 64 * KIB, .max = UINT64_C(64) * GIB },
	{ ARCHIVE, "retain", "48h", parse_quantity, IN(config, archive.retain), .scale = &seconds, .absent = "forever",
	  .min = 1, .max = 3650 * DAY },
	{ ARCHIVE, "max-size", "8G", parse_quantity, IN(config, archive.max_size), .scale = &octets, .absent = "none",
	  .min = MIB, .max = UINT64_C(1) << 50 },
	{ ARCHIVE, "sync", "second", parse_choice, IN(config, archive.sync), .words = syncs },
	{ ARCHIVE, "compress", "columns", parse_choice, IN(config, archive.compress), .words = compressions },

	{ COLLECTOR, "host", NULL, parse_host, IN(config_collector, host), .owned = true },
	{ COLLECTOR, "port", "4739", parse_quantity, IN(config_collector, port), .scale = &plain,
	  .min = 1, .max = UINT16_MAX },
	{ COLLECTOR, "transport", "udp", parse_choice, IN(config_collector, transport), .words = transports },
	{ COLLECTOR, "protocol", "ipfix", parse_choice, IN(config_collector, protocol), .words = protocols },
	{ COLLECTOR, "template", "auto", parse_template, IN(config_collector, template_name), .owned = true,
	  .absent = "auto" },
	{ COLLECTOR, "records", "uniflow", parse_choice, IN(config_collector, records), .words = records },
	{ COLLECTOR, "reply-tuple", "mirror", parse_choice, IN(config_collector, reply_tuple), .words = reply_tuples },
	{ COLLECTOR, "template-refresh", "60s", parse_quantity, IN(config_collector, template_refresh), .scale = &seconds,
	  .min = 1, .max = DAY },
	{ COLLECTOR, "mtu", "auto", parse_quantity, IN(config_collector, mtu), .scale = &plain, .absent = "auto",
	  .min = 512, .max = UINT16_MAX },
	{ COLLECTOR, "source-address", "auto", parse_source_address, IN(config_collector, source_address), .owned = true,
	  .absent = "auto" },
	{ COLLECTOR, "retry", "60s", parse_quantity, IN(config_collector, retry), .scale = &seconds,
	  .min = 1, .max = HOUR },
	{ COLLECTOR, "resolve", "5m", parse_quantity, IN(config_collector, resolve), .scale = &seconds,
	  .min = 10, .max = DAY },
	{ COLLECTOR, "queue", "4M", parse_quantity, IN(config_collector, queue), .scale = &octets,
	  .min = 64 * KIB, .max = GIB },
};

static const struct option *
find_option(enum group group, const char *key)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(options); i++) {
		if (options[i].group == group && strcmp(options[i].key, key) == 0)
			return &options[i];
	}
	return NULL;
}

static void
free_values(bool of_collector, void *target)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(options); i++) {
		if (options[i].owned && (options[i].group == COLLECTOR) == of_collector)
			g_free(*(void **)place(&options[i], target));
	}
}

/* Errors */

static char *
shown(const char *text, long most)
{
	if (g_utf8_strlen(text, -1) <= most)
		return g_strdup(text);
	g_autofree char *start = g_utf8_substring(text, 0, most);
	return g_strconcat(start, "…", NULL);
}

static bool
fail(const struct reader *reader, unsigned line, const char *format, ...) G_GNUC_PRINTF(3, 4);

static bool
fail(const struct reader *reader, unsigned line, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	g_autofree char *text = g_strdup_vprintf(format, arguments);
	va_end(arguments);
	g_set_error(reader->error, PEERFLOW_ERROR, EX_CONFIG, "%s:%u: %s", reader->name, line, text);
	return false;
}

static bool
fail_setting(const struct reader *reader, unsigned line, const char *key, const char *value, const char *complaint)
{
	g_autofree char *shown_key = shown(key, SHOWN_MOST);
	g_autofree char *shown_value = shown(value, SHOWN_MOST);
	g_autofree char *shown_complaint = shown(complaint, COMPLAINT_MOST);
	return fail(reader, line, "%s %s = %s: %s", reader->title, shown_key, shown_value, shown_complaint);
}

/* Edits (insert, delete, replace) from one word to the other; more than two are never counted exactly. */
static size_t
distance(const char *a, const char *b)
{
	enum { WORD_MOST = 32 };
	size_t width = strlen(b), row[WORD_MOST + 1];

	if (width > WORD_MOST || strlen(a) > width + 2 || width > strlen(a) + 2)
		return SIZE_MAX;
	for (size_t j = 0; j <= width; j++)
		row[j] = j;
	for (size_t i = 0; a[i]; i++) {
		size_t diagonal = row[0];
		row[0] = i + 1;
		for (size_t j = 0; j < width; j++) {
			size_t replaced = diagonal + (a[i] != b[j]);
			diagonal = row[j + 1];
			row[j + 1] = MIN(replaced, MIN(row[j], row[j + 1]) + 1);
		}
	}
	return row[width];
}

/* Keeps the nearest word seen so far that is at most two edits away, but not made of edits alone. */
static void
consider(const char *word, const char *candidate, const char **nearest, size_t *edits)
{
	size_t needed = distance(word, candidate);
	if (needed <= 2 && needed < strlen(candidate) && (!*nearest || needed < *edits)) {
		*nearest = candidate;
		*edits = needed;
	}
}

static bool
fail_unknown_key(const struct reader *reader, const char *key, const char *value)
{
	const char *nearest = NULL, *home = NULL;
	size_t edits = 0;

	for (unsigned i = 0; i < G_N_ELEMENTS(options); i++) {
		if (options[i].group == reader->group)
			consider(key, options[i].key, &nearest, &edits);
		else if (strcmp(key, options[i].key) == 0)
			home = group_names[options[i].group];
	}
	g_autofree char *complaint =
		home ? g_strdup_printf("unknown key here; it belongs to [%s%s]", home,
		                       home == group_names[COLLECTOR] ? " NAME" : "") :
		nearest ? g_strdup_printf("unknown key; %s would be right", nearest) :
		g_strdup("unknown key; exporter.conf(5) lists those there are");
	return fail_setting(reader, reader->line, key, value, complaint);
}

static bool
fail_unknown_group(const struct reader *reader, const char *text, const char *kind)
{
	const char *nearest = NULL;
	size_t edits = 0;

	for (unsigned i = 0; i < GROUPS; i++)
		consider(kind, group_names[i], &nearest, &edits);
	if (nearest)
		return fail(reader, reader->line, "%s: unknown group; %s would be right", text, nearest);
	return fail(reader, reader->line, "%s: unknown group; exporter, conntrack, netbird, archive or collector NAME "
	            "would be right", text);
}

/* Groups */

static struct config_collector *
current_collector(const struct reader *reader)
{
	return &g_array_index(reader->collectors, struct config_collector, reader->collectors->len - 1);
}

static void *
current_target(const struct reader *reader)
{
	return reader->group == COLLECTOR ? (void *)current_collector(reader) : reader->config;
}

static char *
apply(const struct option *option, const char *value, void *target)
{
	if (option->absent && strcmp(option->absent, value) == 0)
		return NULL;
	return option->parse(option, value, target);
}

static void
apply_defaults(const struct reader *reader, bool of_collector, void *target)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(options); i++) {
		if ((options[i].group == COLLECTOR) != of_collector || reader->set_at[i] || !options[i].fallback)
			continue;
		g_autofree char *complaint = apply(&options[i], options[i].fallback, target);
		if (complaint)
			g_error("default of %s: %s", options[i].key, complaint);
	}
}

static unsigned
line_of(const struct reader *reader, enum group group, const char *key)
{
	return reader->set_at[find_option(group, key) - options];
}

/* What no option can know of itself. */
static bool
check_collector(const struct reader *reader, struct config_collector *collector)
{
	if (!collector->host)
		return fail(reader, GPOINTER_TO_UINT(g_hash_table_lookup(reader->groups, reader->title)),
		            "%s: no host; host = an address or DNS name would be right", reader->title);
	if (collector->protocol == CONFIG_NETFLOW9 && collector->transport == CONFIG_TCP)
		return fail_setting(reader, line_of(reader, COLLECTOR, "transport"), "transport", "tcp",
		                    "no collector reads NetFlow v9 over TCP; udp, or protocol = ipfix, would be right");
	uint8_t family = address_family(collector->host);
	if (family && collector->source_address && address_family(collector->source_address) != family)
		return fail_setting(reader, line_of(reader, COLLECTOR, "source-address"), "source-address",
		                    collector->source_address, family == 4 ? "the host is IPv4; an IPv4 address would be right"
		                    : "the host is IPv6; an IPv6 address would be right");
	if (!collector->template_name)
		collector->template_name = g_strdup(collector->protocol == CONFIG_NETFLOW9 ? "nfdump" : "default");
	return true;
}

static bool
end_group(struct reader *reader)
{
	if (reader->group != COLLECTOR)
		return true;
	struct config_collector *collector = current_collector(reader);
	apply_defaults(reader, true, collector);
	return check_collector(reader, collector);
}

static void
begin_group(struct reader *reader, enum group group, const char *name)
{
	reader->group = group;
	if (group != COLLECTOR)
		return;
	g_array_set_size(reader->collectors, reader->collectors->len + 1);
	current_collector(reader)->name = g_strdup(name);
	for (unsigned i = 0; i < G_N_ELEMENTS(options); i++) {
		if (options[i].group == COLLECTOR)
			reader->set_at[i] = 0;
	}
}

/* Takes the title for the group that begins, if it is new in this file. */
static bool
take_title(struct reader *reader, const char *title)
{
	gpointer before = g_hash_table_lookup(reader->groups, title);
	if (before)
		return fail(reader, reader->line, "%s: stands twice, first in line %u; one group would be right", title,
		            GPOINTER_TO_UINT(before));
	g_hash_table_insert(reader->groups, g_strdup(title), GUINT_TO_POINTER(reader->line));
	g_free(reader->title);
	reader->title = g_strdup(title);
	return true;
}

static bool
read_group(struct reader *reader, const char *line)
{
	g_autofree char *text = shown(line, SHOWN_MOST);
	if (!g_str_has_suffix(line, "]"))
		return fail(reader, reader->line, "%s: no ] at the end; [group] on a line of its own would be right", text);
	g_autofree char *kind = g_strstrip(g_strndup(line + 1, strlen(line) - 2));
	char *name = kind + strcspn(kind, " \t");
	if (*name) {
		*name = '\0';
		name = g_strchug(name + 1);
	}
	unsigned group = 0;
	while (group < GROUPS && strcmp(group_names[group], kind) != 0)
		group++;
	if (group == GROUPS)
		return fail_unknown_group(reader, text, kind);
	if (group != COLLECTOR && *name)
		return fail(reader, reader->line, "%s: a group without a name; [%s] would be right", text, kind);
	if (group == COLLECTOR && (!*name || !is_made_of(name, "._-") || strlen(name) > NAME_MOST))
		return fail(reader, reader->line, "%s: [collector NAME] with a NAME of at most %d letters, digits, . _ - would "
		            "be right", text, NAME_MOST);
	g_autofree char *title = g_strdup_printf("[%s%s%s]", kind, *name ? " " : "", name);
	if (!end_group(reader) || !take_title(reader, title))
		return false;
	begin_group(reader, group, name);
	return true;
}

/* Settings */

/* Key files have comments on lines of their own only, so that a value may hold any character; but whoever writes one
 * behind a value means a comment. */
static bool
has_comment(const char *value)
{
	for (const char *mark = value; (mark = strpbrk(mark, "#;")); mark++) {
		if (mark == value || g_ascii_isspace(mark[-1]))
			return true;
	}
	return false;
}

static bool
read_option(struct reader *reader, const char *key, const char *value)
{
	const struct option *option = find_option(reader->group, key);
	if (!option)
		return fail_unknown_key(reader, key, value);
	unsigned *set_at = &reader->set_at[option - options];
	g_autofree char *complaint =
		*set_at ? g_strdup_printf("stands twice, first in line %u; once would be right", *set_at) :
		!*value ? g_strdup("no value; one would be right, or no such line") :
		has_comment(value) ? g_strdup("a comment behind the value; on a line of its own it would be right") :
		apply(option, value, current_target(reader));
	*set_at = reader->line;
	return !complaint || fail_setting(reader, reader->line, key, value, complaint);
}

static bool
read_setting(struct reader *reader, char *line)
{
	char *equals = strchr(line, '=');
	g_autofree char *text = shown(line, SHOWN_MOST);

	if (!equals)
		return fail(reader, reader->line, "%s: no =; key = value, [group] or # comment would be right", text);
	if (reader->group == GROUPS)
		return fail(reader, reader->line, "%s: stands before the first [group]; below one would be right", text);
	*equals = '\0';
	g_strchomp(line);
	if (!*line)
		return fail(reader, reader->line, "%s: no key; key = value would be right", text);
	return read_option(reader, line, g_strchug(equals + 1));
}

static bool
is_printable(const char *text)
{
	for (; *text; text = g_utf8_next_char(text)) {
		if (*text != '\t' && !g_unichar_isprint(g_utf8_get_char(text)))
			return false;
	}
	return true;
}

static bool
read_line(struct reader *reader, const char *text, size_t length)
{
	const char *bad;

	if (length > LINE_MOST)
		return fail(reader, reader->line, "a line of %zu octets; at most %d would be right", length, LINE_MOST);
	if (!g_utf8_validate_len(text, length, &bad))
		return fail(reader, reader->line, "octet %zu of the line, 0x%02x, is not UTF-8 text", (size_t)(bad - text) + 1,
		            (uint8_t)*bad);
	g_autofree char *line = g_strstrip(g_strndup(text, length));     /* a carriage return counts as space */
	if (!*line || *line == '#' || *line == ';')
		return true;
	if (!is_printable(line))
		return fail(reader, reader->line, "a character that cannot be seen; text without it would be right");
	return *line == '[' ? read_group(reader, line) : read_setting(reader, line);
}

static bool
read_lines(struct reader *reader, const char *text, size_t length)
{
	static const char mark[] = "\xef\xbb\xbf";      /* that some editors put before UTF-8 */

	if (length >= strlen(mark) && memcmp(text, mark, strlen(mark)) == 0) {
		text += strlen(mark);
		length -= strlen(mark);
	}
	while (length) {
		const char *end = memchr(text, '\n', length);
		size_t here = end ? (size_t)(end - text) : length;
		reader->line++;
		if (!read_line(reader, text, here))
			return false;
		here += end != NULL;
		text += here;
		length -= here;
	}
	return true;
}

static void
settle_status_socket(struct config *config)
{
	const char *directory = config->runtime_directory;

	if (g_strcmp0(config->status_socket, "auto") != 0)
		return;
	g_free(config->status_socket);
	config->status_socket = directory ? g_strdup_printf("%s/status", directory) : NULL;
}

static void
settle_archive(struct config *config)
{
	const char *directory = config->state_directory;

	if (strcmp(config->archive.path, "auto") != 0)
		return;
	g_free(config->archive.path);
	config->archive.path = directory ? g_strdup_printf("%s/archive", directory) : NULL;
}

static bool
is_seen(const struct config *config)
{
	return config->live_socket || (config->archive.enabled && config->archive.path);
}

static bool
read_config(struct reader *reader, const char *text, size_t length)
{
	if (!read_lines(reader, text, length) || !end_group(reader))
		return false;
	apply_defaults(reader, false, reader->config);
	settle_status_socket(reader->config);
	settle_archive(reader->config);
	if (!reader->collectors->len && !is_seen(reader->config))
		return fail(reader, line_of(reader, EXPORTER, "live-socket"), "[exporter] live-socket = off: nobody would see "
		            "a flow; a [collector NAME], a live-socket or an archive would be right");
	gsize n;
	reader->config->collector = g_array_steal(reader->collectors, &n);
	reader->config->n_collectors = n;
	return true;
}

/* The promise of config.h */

static void
clear_collector(void *collector)
{
	g_free(((struct config_collector *)collector)->name);
	free_values(true, collector);
}

struct config *
config_parse(const char *name, const char *text, size_t length, GError **error)
{
	g_autoptr(config_t) config = g_new0(struct config, 1);
	g_autoptr(GArray) collectors = g_array_new(false, true, sizeof (struct config_collector));
	g_autoptr(GHashTable) groups = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	unsigned set_at[G_N_ELEMENTS(options)] = { 0 };
	struct reader reader = {
		.name = name, .error = error, .config = config, .collectors = collectors, .groups = groups, .group = GROUPS,
		.set_at = set_at,
	};

	g_array_set_clear_func(collectors, clear_collector);
	config->path = g_strdup(name);
	bool good = read_config(&reader, text, length);
	g_free(reader.title);
	return good ? g_steal_pointer(&config) : NULL;
}

/* Reads until the end or until size octets are there; negative with errno on failure. */
static ssize_t
read_all(int fd, char *text, size_t size)
{
	size_t length = 0;
	ssize_t n = 1;

	while (n && length < size) {
		n = read(fd, text + length, size - length);
		if (n < 0 && errno != EINTR)
			return -1;
		length += n > 0 ? n : 0;
	}
	return length;
}

struct config *
config_load(const char *path, GError **error)
{
	g_autofree char *text = g_malloc(FILE_MOST + 1);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length = fd < 0 ? -1 : read_all(fd, text, FILE_MOST + 1);
	int reason = errno;

	if (fd >= 0)
		close(fd);
	if (length < 0) {
		g_set_error(error, PEERFLOW_ERROR, EX_CONFIG, "%s: %s", path, g_strerror(reason));
		return NULL;
	}
	if (length > FILE_MOST) {
		g_set_error(error, PEERFLOW_ERROR, EX_CONFIG, "%s: more than %d octets; no configuration", path, FILE_MOST);
		return NULL;
	}
	return config_parse(path, text, length, error);
}

void
config_free(struct config *config)
{
	if (!config)
		return;
	for (size_t i = 0; i < config->n_collectors; i++)
		clear_collector(&config->collector[i]);
	g_free(config->collector);
	free_values(false, config);
	g_free(config->path);
	g_free(config);
}

bool
config_collector_equal(const struct config_collector *a, const struct config_collector *b)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(options); i++) {
		if (options[i].group != COLLECTOR)
			continue;
		const void *of_a = (const char *)a + options[i].offset;
		const void *of_b = (const char *)b + options[i].offset;
		if (options[i].owned ? g_strcmp0(*(char *const *)of_a, *(char *const *)of_b) != 0
		                     : memcmp(of_a, of_b, options[i].size) != 0)
			return false;
	}
	return strcmp(a->name, b->name) == 0;
}

bool
config_option(size_t n, struct config_option *option)
{
	if (n >= G_N_ELEMENTS(options))
		return false;
	*option = (struct config_option){ group_names[options[n].group], options[n].key, options[n].fallback };
	return true;
}
