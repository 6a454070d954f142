/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "audit/query.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "audit/value.h"
#include "error.h"

enum {
	DEPTH_MOST = 100,           /* of parentheses and "not"; each costs the stack a few calls */
	TESTS_MOST = 1000,
};

/* What a word of the language is about, so far as the words before it said. */
struct scope {
	bool source;                /* the initiator's end counts */
	bool destination;           /* the responder's end counts */
	bool translated;            /* only what a translation made of it */
	bool sent;                  /* counters of the initiator's packets count */
	bool received;
};

struct node {
	bool (*matches)(const struct node *node, const struct print_flow *flow);
	struct node *left;
	struct node *right;
	struct scope scope;
	/* What a test compares with. */
	union address address;
	uint8_t family;
	uint8_t prefix;
	bool invert;
	unsigned word;              /* enum identity_word */
	uint64_t low;               /* a number, or the least and the greatest of a range */
	uint64_t high;
	uint64_t mask;
	char *text;
	size_t octets;              /* of text; zero: a star in it stands for any number */
	bool dotted;                /* text has a dot */
};

struct query {
	struct node *root;          /* NULL: all flows */
};

/* Matching. */

static bool
matches_and(const struct node *node, const struct print_flow *flow)
{
	return node->left->matches(node->left, flow) && node->right->matches(node->right, flow);
}

static bool
matches_or(const struct node *node, const struct print_flow *flow)
{
	return node->left->matches(node->left, flow) || node->right->matches(node->right, flow);
}

static bool
matches_not(const struct node *node, const struct print_flow *flow)
{
	return !node->left->matches(node->left, flow);
}

static bool
is_between(const struct node *node, uint64_t number)
{
	return number >= node->low && number <= node->high;
}

static bool
in_range(const struct node *node, uint64_t number)
{
	return is_between(node, number) != node->invert;
}

static bool
has_prefix(const struct node *node, const struct flow *flow, const union address *address)
{
	const unsigned whole = node->prefix / 8, rest = node->prefix % 8;

	if (flow->family != node->family || memcmp(address->v6, node->address.v6, whole))
		return false;
	return !rest || (address->v6[whole] ^ node->address.v6[whole]) >> (8 - rest) == 0;
}

/* The two ends, each before and after translation. */
static bool
matches_address(const struct node *node, const struct print_flow *flow)
{
	const struct flow *f = flow->flow;
	const struct scope *scope = &node->scope;

	if (scope->source && !scope->translated && has_prefix(node, f, &f->original.source))
		return true;
	if (scope->destination && !scope->translated && has_prefix(node, f, &f->original.destination))
		return true;
	if (scope->source && f->translation & TRANSLATED_SOURCE && has_prefix(node, f, &f->reply.destination))
		return true;
	return scope->destination && f->translation & TRANSLATED_DESTINATION && has_prefix(node, f, &f->reply.source);
}

/* port != 80: none of the ports is. */
static bool
matches_port(const struct node *node, const struct print_flow *flow)
{
	const struct flow *f = flow->flow;
	const struct scope *scope = &node->scope;
	bool found = false;

	if (!value_has_ports(f))
		return false;
	if (!scope->translated)
		found = (scope->source && is_between(node, f->original.source_port))
		        || (scope->destination && is_between(node, f->original.destination_port));
	if (scope->source && f->translation & TRANSLATED_SOURCE)
		found |= is_between(node, f->reply.destination_port);
	if (scope->destination && f->translation & TRANSLATED_DESTINATION)
		found |= is_between(node, f->reply.source_port);
	return found != node->invert;
}

static inline bool
is_same_letter(char one, char other)
{
	return one == other || ((one ^ other) == 0x20 && g_ascii_isalpha(one));
}

/* Letters of ASCII alike; a * stands for anything. After a mismatch only the last * needs to be tried anew. */
static bool
is_like(const char *pattern, const char *text, const char *end)
{
	const char *star = NULL, *resume = NULL;

	while (text < end) {
		if (*pattern == '*') {
			star = ++pattern;
			resume = text;
		} else if (*pattern && is_same_letter(*pattern, *text)) {
			pattern++;
			text++;
		} else if (star) {
			pattern = star;
			text = ++resume;
		} else {
			return false;
		}
	}
	return !pattern[strspn(pattern, "*")];
}

/* A name without a dot also stands for the host of that name in whatever domain. */
static bool
is_name(const struct node *node, const char *text, size_t length)
{
	if ((!node->octets || node->octets == length) && is_like(node->text, text, text + length))
		return true;
	const char *dot = node->dotted ? NULL : memchr(text, '.', length);
	if (!dot || (node->octets && node->octets != (size_t)(dot - text)))
		return false;
	return is_like(node->text, text, dot);
}

static bool
is_one_of(const struct node *node, const char *list, size_t length)
{
	for (const char *end = list + length;;) {
		const char *comma = memchr(list, ',', end - list);
		if (is_name(node, list, (comma ? comma : end) - list))
			return true;
		if (!comma)
			return false;
		for (list = comma + 1; list < end && *list == ' '; list++)
			;
	}
}

static bool
has_word(const struct node *node, const struct names *names, uint32_t identity)
{
	const uint32_t index = node->word == WORD_PEER ? names_who(names, identity)
	                       : names_word(names, identity, node->word);

	if (!index || index >= names->count)
		return false;
	const struct name *name = &names->name[index];
	return node->word == WORD_GROUPS ? is_one_of(node, name->text, name->length)
	       : is_name(node, name->text, name->length);
}

static bool
matches_word(const struct node *node, const struct print_flow *flow)
{
	return (node->scope.source && has_word(node, flow->names, flow->flow->initiator))
	       || (node->scope.destination && has_word(node, flow->names, flow->flow->responder));
}

static bool
matches_protocol(const struct node *node, const struct print_flow *flow)
{
	return in_range(node, flow->flow->protocol);
}

static bool
matches_family(const struct node *node, const struct print_flow *flow)
{
	return in_range(node, flow->flow->family);
}

static bool
matches_octets(const struct node *node, const struct print_flow *flow)
{
	return in_range(node, (node->scope.sent ? flow->flow->original.octets : 0)
	                      + (node->scope.received ? flow->flow->reply.octets : 0));
}

static bool
matches_packets(const struct node *node, const struct print_flow *flow)
{
	return in_range(node, (node->scope.sent ? flow->flow->original.packets : 0)
	                      + (node->scope.received ? flow->flow->reply.packets : 0));
}

static bool
matches_duration(const struct node *node, const struct print_flow *flow)
{
	return in_range(node, flow->flow->end - flow->flow->start);
}

static bool
matches_mark(const struct node *node, const struct print_flow *flow)
{
	return in_range(node, flow->flow->mark & node->mask);
}

static bool
matches_zone(const struct node *node, const struct print_flow *flow)
{
	return in_range(node, flow->flow->zone);
}

static bool
matches_direction(const struct node *node, const struct print_flow *flow)
{
	return in_range(node, flow->flow->original.flow_direction);
}

static bool
matches_translation(const struct node *node, const struct print_flow *flow)
{
	return flow->flow->translation & node->mask;
}

static bool
matches_reason(const struct node *node, const struct print_flow *flow)
{
	const char *reason = value_end_reason(flow->flow);

	return reason && !g_ascii_strcasecmp(reason, node->text);
}

static bool
matches_state(const struct node *node, const struct print_flow *flow)
{
	const char *state = value_tcp_state(flow->flow);

	return state && !g_ascii_strcasecmp(state, node->text);
}

/* flags != S: SYN is not proved; of what is no TCP nothing is said. */
static bool
matches_flags(const struct node *node, const struct print_flow *flow)
{
	const uint8_t flags = value_tcp_flags(flow->flow);

	return flags && ((flags & node->mask) == node->mask) != node->invert;
}

static bool
matches_router(const struct node *node, const struct print_flow *flow)
{
	return flow->router && is_name(node, flow->router, strlen(flow->router));
}

static bool
matches_interface(const struct node *node, const struct print_flow *flow)
{
	return (node->scope.source && flow->ingress && !strcmp(flow->ingress, node->text))
	       || (node->scope.destination && flow->egress && !strcmp(flow->egress, node->text));
}

/* Reading. */

struct token {
	const char *at;
	size_t length;
	bool quoted;
};

struct reading {
	const char *text;
	const char *next;           /* where to look for more */
	struct token token;         /* the one to deal with now; at the end of the text its length is zero */
	unsigned depth;
	unsigned tests;
	bool failed;
	GError **error;
};

static void
advance(struct reading *reading)
{
	static const char single[] = "()!<>=";
	const char *at = reading->next + strspn(reading->next, " \t\r\n");
	size_t length = strcspn(at, " \t\r\n()!<>=\"");

	reading->token = (struct token){ at, length, false };
	if (*at == '"') {
		const char *end = strchr(at + 1, '"');
		reading->token = (struct token){ at + 1, end ? (size_t)(end - at - 1) : strlen(at + 1), true };
		reading->next = end ? end + 1 : at + strlen(at);
		return;
	}
	if (!length && *at && strchr(single, *at))
		reading->token.length = 1 + (strchr("!<>=", *at) && at[1] == '=');
	reading->next = at + reading->token.length;
}

static bool
at_end(const struct reading *reading)
{
	return !reading->token.length && !reading->token.quoted;
}

/* Of a long text what is around the place. A terminal's control characters are not sent back to it. */
static void
point(GString *out, const struct reading *reading)
{
	enum { AROUND = 60 };       /* characters */
	const struct token *token = &reading->token;
	const size_t before = g_utf8_strlen(reading->text, token->at - reading->text);
	const char *begin = g_utf8_offset_to_pointer(reading->text, before - MIN(before, AROUND));
	const size_t width = MAX(g_utf8_strlen(token->at, token->length), 1);
	const size_t shown = MIN(before, AROUND) + MIN(width + AROUND, (size_t)g_utf8_strlen(token->at, -1));
	g_autofree char *line = g_utf8_substring(begin, 0, MIN(shown, 4 * AROUND));

	g_strdelimit(line, "\t\r\n", ' ');
	g_string_append(out, "\n    ");
	value_visible(out, line, strlen(line));
	g_string_append_printf(out, "\n    %*s", (int)MIN(before, AROUND), "");
	for (size_t i = 0; i < MIN(width, AROUND); i++)
		g_string_append_c(out, '^');
}

G_GNUC_PRINTF(2, 3)
static void *
fail(struct reading *reading, const char *format, ...)
{
	g_autoptr(GString) message = g_string_new(NULL);
	va_list arguments;

	if (reading->failed)
		return NULL;
	va_start(arguments, format);
	g_string_vprintf(message, format, arguments);
	va_end(arguments);
	point(message, reading);
	g_set_error_literal(reading->error, PEERFLOW_ERROR, EX_USAGE, message->str);
	reading->failed = true;
	return NULL;
}

static bool
is(const struct reading *reading, const char *word)
{
	return !reading->token.quoted && reading->token.length == strlen(word)
	       && !g_ascii_strncasecmp(reading->token.at, word, reading->token.length);
}

static bool
skip(struct reading *reading, const char *word)
{
	if (!is(reading, word))
		return false;
	advance(reading);
	return true;
}

static void
free_node(struct node *node)
{
	if (!node)
		return;
	free_node(node->left);
	free_node(node->right);
	g_free(node->text);
	g_free(node);
}

static struct node *
new_node(bool (*matches)(const struct node *, const struct print_flow *), struct node *left, struct node *right)
{
	struct node *node = g_new0(struct node, 1);

	node->matches = matches;
	node->left = left;
	node->right = right;
	node->high = UINT64_MAX;
	return node;
}

/* Arguments. Each reads one piece of text and fills the node; false: it is not what the word takes. */

static bool
take_address(struct node *node, const char *text)
{
	node->family = strchr(text, ':') ? 6 : 4;
	node->prefix = node->family == 6 ? 128 : 32;
	return inet_pton(node->family == 6 ? AF_INET6 : AF_INET, text, &node->address) == 1;
}

static bool
take_number(const char *text, uint64_t most, uint64_t *number)
{
	const int base = g_str_has_prefix(text, "0x") ? 16 : 10;
	char *end;

	if (!g_ascii_isxdigit(text[0]))
		return false;
	*number = g_ascii_strtoull(text, &end, base);
	return !*end && *number <= most;
}

static bool
take_prefix(struct node *node, const char *text)
{
	g_auto(GStrv) parts = g_strsplit(text, "/", 2);
	uint64_t length;

	if (!parts[0] || !take_address(node, parts[0]))
		return false;
	if (!parts[1])
		return true;
	if (!take_number(parts[1], node->prefix, &length))
		return false;
	node->prefix = length;
	return true;
}

static bool
take_range(struct node *node, const char *text, uint64_t most)
{
	g_auto(GStrv) parts = g_strsplit(text, "-", 2);

	if (!parts[0] || !take_number(parts[0], most, &node->low))
		return false;
	node->high = node->low;
	return !parts[1] || (take_number(parts[1], most, &node->high) && node->low <= node->high);
}

static bool
take_port(struct node *node, const char *text)
{
	return take_range(node, text, UINT16_MAX);
}

static bool
take_zone(struct node *node, const char *text)
{
	return take_range(node, text, UINT16_MAX);
}

static bool
take_protocol(struct node *node, const char *text)
{
	struct flow flow = { 0 };

	for (unsigned number = 0; number <= UINT8_MAX; number++) {
		flow.protocol = number;
		const char *name = value_protocol(&flow);
		if (name && !g_ascii_strcasecmp(name, text)) {
			node->low = node->high = number;
			return true;
		}
	}
	return take_range(node, text, UINT8_MAX);
}

static bool
take_mark(struct node *node, const char *text)
{
	g_auto(GStrv) parts = g_strsplit(text, "/", 2);

	node->mask = UINT32_MAX;
	if (!parts[0] || !take_number(parts[0], UINT32_MAX, &node->low))
		return false;
	node->high = node->low;
	return !parts[1] || take_number(parts[1], UINT32_MAX, &node->mask);
}

struct unit {
	const char *name;
	double size;
};

/* A number with a unit right behind it: 1.5m, 200ms. */
static bool
take_amount(struct node *node, const char *text, const struct unit *units, size_t n)
{
	char *end;

	if (!g_ascii_isdigit(text[0]))
		return false;
	const double amount = g_ascii_strtod(text, &end);
	for (size_t i = 0; i < n; i++)
		if (!g_ascii_strcasecmp(end, units[i].name) && amount * units[i].size < 1e19) {
			node->low = node->high = (uint64_t)(amount * units[i].size + 0.5);
			return true;
		}
	return false;
}

static bool
take_count(struct node *node, const char *text)
{
	static const struct unit units[] = {
		{ "", 1 }, { "k", 1e3 }, { "m", 1e6 }, { "g", 1e9 }, { "t", 1e12 },
		{ "ki", 1024 }, { "mi", 1048576 }, { "gi", 1073741824 },
	};

	return take_amount(node, text, units, G_N_ELEMENTS(units));
}

static bool
take_duration(struct node *node, const char *text)
{
	static const struct unit units[] = {
		{ "ms", 1 }, { "s", 1e3 }, { "", 1e3 }, { "m", 6e4 }, { "min", 6e4 }, { "h", 36e5 }, { "d", 864e5 },
	};

	return take_amount(node, text, units, G_N_ELEMENTS(units));
}

static bool
take_direction(struct node *node, const char *text)
{
	static const char *const words[] = { "ingress", "egress" };

	for (node->low = 0; node->low < G_N_ELEMENTS(words); node->low++) {
		node->high = node->low;
		if (!g_ascii_strcasecmp(text, words[node->low]))
			return true;
	}
	return false;
}

static bool
take_text(struct node *node, const char *text)
{
	node->text = g_strdup(text);
	node->octets = strchr(text, '*') ? 0 : strlen(text);
	node->dotted = strchr(text, '.');
	return *text;
}

static bool
take_reason(struct node *node, const char *text)
{
	struct flow flow = { 0 };

	for (flow.end_reason = END_IDLE; flow.end_reason <= END_LACK_OF_RESOURCES; flow.end_reason++)
		if (!g_ascii_strcasecmp(value_end_reason(&flow), text))
			return take_text(node, text);
	return false;
}

static bool
take_state(struct node *node, const char *text)
{
	struct flow flow = { .protocol = IPPROTO_TCP };

	for (flow.state = 1; value_tcp_state(&flow); flow.state++)
		if (!g_ascii_strcasecmp(value_tcp_state(&flow), text))
			return take_text(node, text);
	return false;
}

/* The first letters of the flags' names, or their bits. */
static bool
take_flags(struct node *node, const char *text)
{
	static const char letters[] = "FSRPAUEC";

	if (g_ascii_isdigit(text[0]))
		return take_number(text, UINT8_MAX, &node->mask) && node->mask;
	for (const char *at = text; *at; at++) {
		const char *letter = strchr(letters, g_ascii_toupper(*at));
		if (!letter)
			return false;
		node->mask |= 1u << (letter - letters);
	}
	return node->mask;
}

/* What may stand before a word, and between it and its argument. */
enum takes {
	SIDE = 1,                   /* src, dst */
	NAT = 2,                    /* nat */
	WAY = 4,                    /* sent, received */
	COMPARED = 8,               /* <, <=, >, >=, =, != */
	EQUAL = 16,                 /* =, != */
};

static const struct word {
	const char *name;
	unsigned takes;
	bool (*take)(struct node *node, const char *text);      /* NULL: the word says it all */
	bool (*matches)(const struct node *node, const struct print_flow *flow);
	const char *argument;       /* for who gave another one */
	uint64_t number;            /* of words that say it all: what they stand for; of names: which */
} words[] = {
	{ "host",      SIDE | NAT,       take_address,   matches_address,     "an address", 0 },
	{ "ip",        SIDE | NAT,       take_address,   matches_address,     "an address", 0 },
	{ "net",       SIDE | NAT,       take_prefix,    matches_address,     "ADDRESS/LENGTH", 0 },
	{ "port",      SIDE | NAT | COMPARED, take_port, matches_port,        "a port or FIRST-LAST", 0 },
	{ "peer",      SIDE | EQUAL,     take_text,      matches_word,        "a name", WORD_PEER },
	{ "user",      SIDE | EQUAL,     take_text,      matches_word,        "a name", WORD_USER },
	{ "group",     SIDE | EQUAL,     take_text,      matches_word,        "a name", WORD_GROUPS },
	{ "via",       SIDE | EQUAL,     take_text,      matches_word,        "a name", WORD_VIA },
	{ "resource",  SIDE | EQUAL,     take_text,      matches_word,        "a name", WORD_RESOURCE },
	{ "network",   SIDE | EQUAL,     take_text,      matches_word,        "a name", WORD_NETWORK },
	{ "domain",    SIDE | EQUAL,     take_text,      matches_word,        "a name", WORD_DOMAIN },
	{ "proto",     EQUAL,            take_protocol,  matches_protocol,    "a protocol's name or number", 0 },
	{ "bytes",     WAY | COMPARED,   take_count,     matches_octets,      "a number, such as 1500, 20k or 1.5m", 0 },
	{ "octets",    WAY | COMPARED,   take_count,     matches_octets,      "a number, such as 1500, 20k or 1.5m", 0 },
	{ "packets",   WAY | COMPARED,   take_count,     matches_packets,     "a number, such as 10 or 20k", 0 },
	{ "duration",  COMPARED,         take_duration,  matches_duration,    "a time, such as 200ms, 10s, 5m or 2h", 0 },
	{ "direction", EQUAL,            take_direction, matches_direction,   "ingress or egress", 0 },
	{ "if",        SIDE | EQUAL,     take_text,      matches_interface,   "an interface's name", 0 },
	{ "reason",    EQUAL,            take_reason,    matches_reason,      "idle, active, ended, forced or evicted", 0 },
	{ "state",     EQUAL,            take_state,     matches_state,       "a state of TCP, such as TIME_WAIT", 0 },
	{ "flags",     EQUAL,            take_flags,     matches_flags,       "letters of FSRPAUEC, or a number", 0 },
	{ "router",    EQUAL,            take_text,      matches_router,      "a name", 0 },
	{ "mark",      EQUAL,            take_mark,      matches_mark,        "MARK or MARK/MASK", 0 },
	{ "zone",      COMPARED,         take_zone,      matches_zone,        "a number up to 65535", 0 },
	{ "nat",       0,                NULL,           matches_translation, NULL, TRANSLATED_SOURCE | TRANSLATED_DESTINATION },
	{ "snat",      0,                NULL,           matches_translation, NULL, TRANSLATED_SOURCE },
	{ "dnat",      0,                NULL,           matches_translation, NULL, TRANSLATED_DESTINATION },
	{ "ipv4",      0,                NULL,           matches_family,      NULL, 4 },
	{ "ipv6",      0,                NULL,           matches_family,      NULL, 6 },
};

static const struct word *
find_word(const struct reading *reading)
{
	for (size_t i = 0; i < G_N_ELEMENTS(words); i++)
		if (is(reading, words[i].name))
			return &words[i];
	return NULL;
}

/* Operators as ranges: what is above or below the number, and what is not it. */
static bool
read_operator(struct reading *reading, unsigned takes, char operator[3])
{
	static const char *const operators[] = { "<=", ">=", "!=", "==", "<", ">", "=" };

	operator[0] = '\0';
	for (size_t i = 0; i < G_N_ELEMENTS(operators); i++)
		if (is(reading, operators[i])) {
			if (!(takes & COMPARED) && !((takes & EQUAL) && strchr("=!", operators[i][0])))
				return fail(reading, "\"%s\" means nothing here", operators[i]) != NULL;
			g_strlcpy(operator, operators[i], 3);
			advance(reading);
			return true;
		}
	return true;
}

static void
apply_operator(struct node *node, const char *operator)
{
	const bool equal = operator[0] && operator[1] == '=';

	node->invert = operator[0] == '!';
	if (operator[0] == '<') {
		node->invert = !equal && node->low == 0;        /* nothing is below zero */
		node->high = equal ? node->high : node->low - !node->invert;
		node->low = 0;
		node->high = node->invert ? UINT64_MAX : node->high;
	} else if (operator[0] == '>') {
		node->low = equal ? node->low : node->high + 1;
		node->high = UINT64_MAX;
	}
}

static struct node *
read_one(struct reading *reading, const struct word *word, const struct scope *scope, const char *operator,
         const char *text)
{
	struct node *node = new_node(word->matches, NULL, NULL);

	node->scope = *scope;
	node->word = word->number;
	if (++reading->tests > TESTS_MOST || !word->take(node, text)) {
		free_node(node);
		return reading->tests > TESTS_MOST ? fail(reading, "that is too much for one query")
		       : fail(reading, "\"%s\" takes %s", word->name, word->argument);
	}
	apply_operator(node, operator);
	/* A text has no range that could be inverted. */
	return node->text && operator[0] == '!' ? new_node(matches_not, node, NULL) : node;
}

/* A list, such as 80,443, stands for any of them; with != for none of them. A name in quotes may hold commas. */
static struct node *
read_list(struct reading *reading, const struct word *word, const struct scope *scope, const char *operator)
{
	g_autofree char *text = g_strndup(reading->token.at, reading->token.length);
	g_auto(GStrv) parts = g_strsplit(text, reading->token.quoted ? "\"" : ",", -1);
	struct node *all = NULL;

	if (at_end(reading) || (!reading->token.quoted && strchr("()!<>=", text[0])))
		return fail(reading, "\"%s\" takes %s", word->name, word->argument);
	for (char **part = parts; *part; part++) {
		struct node *one = read_one(reading, word, scope, operator, *part);
		if (!one) {
			free_node(all);
			return NULL;
		}
		all = all ? new_node(operator[0] == '!' ? matches_and : matches_or, all, one) : one;
	}
	advance(reading);
	return all;
}

/* The words before a word that has an argument: "src", "nat", "sent". */
static unsigned
read_scope(struct reading *reading, struct scope *scope)
{
	static const struct {
		const char *name;
		unsigned takes;
		struct scope scope;
	} before[] = {
		{ "src",      SIDE, { .source = true } },
		{ "dst",      SIDE, { .destination = true } },
		{ "in",       SIDE, { .source = true } },
		{ "out",      SIDE, { .destination = true } },
		{ "sent",     WAY,  { .sent = true } },
		{ "received", WAY,  { .received = true } },
	};
	unsigned takes = 0;

	*scope = (struct scope){ true, true, false, true, true };
	for (size_t i = 0; i < G_N_ELEMENTS(before); i++)
		if (!takes && skip(reading, before[i].name)) {
			takes = before[i].takes;
			*scope = before[i].scope;
		}
	return takes;
}

/* "nat" is a word of its own, and before an address or a port it says which one. */
static unsigned
read_nat(struct reading *reading, struct scope *scope)
{
	const struct reading before = *reading;

	if (!skip(reading, "nat"))
		return 0;
	const struct word *word = find_word(reading);
	if (word && word->takes & NAT) {
		scope->translated = true;
		return NAT;
	}
	*reading = before;
	return 0;
}

/* tcp, 192.0.2.1 and 10.0.0.0/8 need no word before them. A bare number could be anything. */
static struct node *
read_bare(struct reading *reading, const struct scope *scope, bool narrowed)
{
	static const struct word address = { "net", SIDE | NAT, take_prefix, matches_address, "ADDRESS/LENGTH", 0 };
	static const struct word protocol = { "proto", 0, take_protocol, matches_protocol, "a protocol", 0 };
	g_autofree char *text = g_strndup(reading->token.at, reading->token.length);
	struct node probe = { 0 };

	text[strcspn(text, ",")] = '\0';
	if (take_prefix(&probe, text))
		return read_list(reading, &address, scope, "");
	if (!narrowed && g_ascii_isalpha(text[0]) && take_protocol(&probe, text))
		return read_list(reading, &protocol, scope, "");
	return NULL;
}

/* How many letters are in the way once both have lost what they begin and end with alike. */
static unsigned
distance(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	size_t left_a = strlen(a), left_b = strlen(b);
	while (left_a && left_b && a[left_a - 1] == b[left_b - 1])
		left_a--, left_b--;
	return MAX(left_a, left_b);
}

static struct node *
fail_word(struct reading *reading)
{
	g_autofree char *given = g_ascii_strdown(reading->token.at, reading->token.length);
	const struct word *best = NULL;

	if (at_end(reading))
		return fail(reading, "something is missing at the end");
	for (size_t i = 0; i < G_N_ELEMENTS(words); i++)
		if (distance(given, words[i].name) <= 2 && strlen(words[i].name) > 2
		    && (!best || distance(given, words[i].name) < distance(given, best->name)))
			best = &words[i];
	return best ? fail(reading, "no such word; is it \"%s\"?", best->name) : fail(reading, "no such word");
}

static struct node *
read_test(struct reading *reading)
{
	struct scope scope;
	char operator[3];
	unsigned before = read_scope(reading, &scope);
	before |= read_nat(reading, &scope);
	const struct word *word = find_word(reading);

	if (!word || reading->token.quoted) {
		struct node *bare = before & ~SIDE ? NULL : read_bare(reading, &scope, before);
		return bare ? bare : fail_word(reading);
	}
	if (before & ~word->takes)
		return fail(reading, "\"%s\" cannot be narrowed down by the word before it", word->name);
	advance(reading);
	if (word->take)
		return read_operator(reading, word->takes, operator) ? read_list(reading, word, &scope, operator) : NULL;
	struct node *node = new_node(word->matches, NULL, NULL);
	node->low = node->high = node->mask = word->number;
	return node;
}

static struct node *read_or(struct reading *reading);

static struct node *
read_factor(struct reading *reading)
{
	struct node *inner;

	if (reading->depth >= DEPTH_MOST)
		return fail(reading, "nested too deeply");
	reading->depth++;
	if (skip(reading, "not") || skip(reading, "!")) {
		inner = read_factor(reading);
		inner = inner ? new_node(matches_not, inner, NULL) : NULL;
	} else if (skip(reading, "(")) {
		inner = read_or(reading);
		if (inner && !skip(reading, ")")) {
			g_clear_pointer(&inner, free_node);
			fail(reading, at_end(reading) ? "a \")\" is missing"
			                              : "\"and\", \"or\" or \")\" is missing before this");
		}
	} else {
		inner = read_test(reading);
	}
	reading->depth--;
	return inner;
}

/* A chain of factors with one operator, or of chains with the other. */
static struct node *
read_chain(struct reading *reading, const char *operator, struct node *(*part)(struct reading *),
           bool (*matches)(const struct node *, const struct print_flow *))
{
	struct node *all = part(reading);

	while (all && skip(reading, operator)) {
		struct node *right = part(reading);
		if (!right) {
			free_node(all);
			return NULL;
		}
		all = new_node(matches, all, right);
	}
	return all;
}

static struct node *
read_and(struct reading *reading)
{
	return read_chain(reading, "and", read_factor, matches_and);
}

static struct node *
read_or(struct reading *reading)
{
	return read_chain(reading, "or", read_and, matches_or);
}

struct query *
query_parse(const char *text, GError **error)
{
	struct reading reading = { .text = text, .next = text, .error = error };
	g_autoptr(query_t) query = g_new0(struct query, 1);

	if (!g_utf8_validate(text, -1, NULL)) {
		g_set_error(error, PEERFLOW_ERROR, EX_USAGE, "the query is not in UTF-8");
		return NULL;
	}
	advance(&reading);
	if (at_end(&reading))
		return g_steal_pointer(&query);
	query->root = read_or(&reading);
	if (query->root && !at_end(&reading))
		fail(&reading, "\"and\" or \"or\" is missing before this");
	return reading.failed ? NULL : g_steal_pointer(&query);
}

void
query_free(struct query *query)
{
	if (!query)
		return;
	free_node(query->root);
	g_free(query);
}

bool
query_matches(const struct query *query, const struct print_flow *flow)
{
	return !query->root || query->root->matches(query->root, flow);
}

/* Of names nothing is known here, so a test of one may come out either way. */
static bool
is_about_names(const struct node *node)
{
	return node->matches == matches_word || node->matches == matches_interface || node->matches == matches_router;
}

/* Could the node's answer be this one? */
static bool
may_be(const struct node *node, const struct print_flow *flow, bool answer)
{
	if (node->matches == matches_not)
		return may_be(node->left, flow, !answer);
	if (node->matches == (answer ? matches_and : matches_or))
		return may_be(node->left, flow, answer) && may_be(node->right, flow, answer);
	if (node->matches == (answer ? matches_or : matches_and))
		return may_be(node->left, flow, answer) || may_be(node->right, flow, answer);
	return is_about_names(node) || node->matches(node, flow) == answer;
}

bool
query_may_match(const struct query *query, const struct flow *flow)
{
	const struct print_flow nameless = { .flow = flow };

	return !query->root || may_be(query->root, &nameless, true);
}

/* An address that was not translated is the same on both sides, so whoever does not ask about translation itself need not
 * know whether the other half of the tuple was. */
static unsigned
parts_of(const struct node *node)
{
	if (node->matches == matches_and || node->matches == matches_or || node->matches == matches_not)
		return parts_of(node->left) | (node->right ? parts_of(node->right) : 0);
	if (is_about_names(node))
		return FLOW_NAMES | (node->matches == matches_word ? FLOW_WHO : FLOW_REST);
	if (node->matches == matches_address)
		return node->scope.translated ? FLOW_TUPLE : FLOW_ADDRESSES;
	if (node->matches == matches_port)
		return node->scope.translated ? FLOW_TUPLE : FLOW_PORTS;
	if (node->matches == matches_translation)
		return FLOW_TUPLE;
	if (node->matches == matches_duration)
		return FLOW_TIMES;
	if (node->matches == matches_octets || node->matches == matches_packets)
		return FLOW_COUNTS;
	return node->matches == matches_protocol || node->matches == matches_family ? 0 : FLOW_REST;
}

unsigned
query_parts(const struct query *query)
{
	return query->root ? parts_of(query->root) : 0;
}

static bool collect_addresses(const struct node *node, GArray *addresses);

/* One list of the two is enough, and the shorter one is better. */
static bool
collect_either(const struct node *node, GArray *addresses)
{
	const guint start = addresses->len;
	const bool left = collect_addresses(node->left, addresses);
	const guint middle = addresses->len;
	const bool right = collect_addresses(node->right, addresses);

	if (left && right && addresses->len - middle < middle - start)
		g_array_remove_range(addresses, start, middle - start);
	else if (left)
		g_array_set_size(addresses, middle);
	return left || right;
}

/* False: nothing is known, and nothing was added. */
static bool
collect_addresses(const struct node *node, GArray *addresses)
{
	const guint start = addresses->len;

	if (node->matches == matches_and)
		return collect_either(node, addresses);
	if (node->matches == matches_or) {
		if (collect_addresses(node->left, addresses) && collect_addresses(node->right, addresses))
			return true;
		g_array_set_size(addresses, start);
		return false;
	}
	if (node->matches != matches_address || node->prefix != (node->family == 6 ? 128 : 32))
		return false;
	const struct query_address address = { node->address, node->family };
	g_array_append_val(addresses, address);
	return true;
}

size_t
query_addresses(const struct query *query, struct query_address **addresses)
{
	GArray *found = g_array_new(false, false, sizeof(struct query_address));

	if (query->root)
		collect_addresses(query->root, found);
	const size_t n = found->len;
	*addresses = (struct query_address *)(void *)g_array_free(found, false);
	return n;
}
