/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "enrich/cutter.h"

#include <stdint.h>
#include <string.h>

#include "error.h"

enum {
	PATHS_MOST = 32,
	STEPS_MOST = 8,
	DEPTH_MOST = 64,            /* of brackets */
	KEY_MOST = 64,              /* octets; a longer key is none that is wanted */
	NONE = PATHS_MOST,
};

enum state {
	FRAME,                      /* a frame may begin */
	VALUE,                      /* a value must begin */
	ELEMENT_OR_END,             /* after [ */
	KEY_OR_END,                 /* after { */
	KEY,                        /* after a comma in an object */
	COLON,
	MORE,                       /* after a value: comma or bracket */
	STRING,
	ESCAPE,                     /* after \ in a string */
	SCALAR,                     /* number, true, false, null */
	STATES,
};

struct path {
	char **step;
	unsigned steps;
};

struct cutter {
	struct path path[PATHS_MOST];
	unsigned paths;
	struct cutter_limits limits;
	cutter_value *value;
	cutter_frame *frame;
	void *data;
	enum state state;
	bool in_key;                /* the string is a key */
	unsigned depth;
	bool is_object[DEPTH_MOST + 1];     /* by depth, from 1 */
	uint32_t match[DEPTH_MOST + 1];     /* paths that lead into the value open at that depth */
	uint32_t next;              /* paths that lead to the value that comes next */
	char key[KEY_MOST + 1];
	size_t key_length;          /* may be larger than what is kept */
	size_t frame_octets;        /* with the space in front of it, which may go on for ever, too */
	unsigned wanted;            /* the path of the value being kept, or NONE */
	unsigned wanted_depth;
	GString *kept;
	const char *from;           /* what is to be kept of the octets at hand begins here */
};

static bool
refuse(GError **error, const char *what)
{
	g_set_error(error, PEERFLOW_ERROR, EX_DATAERR, "no JSON: %s", what);
	return false;
}

struct cutter *
cutter_new(const char *const *paths, const struct cutter_limits *limits, cutter_value *value, cutter_frame *frame,
           void *data)
{
	struct cutter *cutter = g_new0(struct cutter, 1);

	g_assert(paths[0]);
	for (; paths[cutter->paths]; cutter->paths++) {
		g_assert(cutter->paths < PATHS_MOST);
		struct path *path = &cutter->path[cutter->paths];
		path->step = g_strsplit(paths[cutter->paths], "/", -1);
		path->steps = g_strv_length(path->step);
		g_assert(path->steps <= STEPS_MOST);
	}
	cutter->limits = *limits;
	cutter->value = value;
	cutter->frame = frame;
	cutter->data = data;
	cutter->wanted = NONE;
	cutter->kept = g_string_new(NULL);
	cutter->match[0] = UINT32_MAX >> (PATHS_MOST - cutter->paths);
	return cutter;
}

void
cutter_free(struct cutter *cutter)
{
	if (!cutter)
		return;
	for (unsigned i = 0; i < cutter->paths; i++)
		g_strfreev(cutter->path[i].step);
	g_string_free(cutter->kept, true);
	g_free(cutter);
}

bool
cutter_is_inside(const struct cutter *cutter)
{
	return cutter->state != FRAME;
}

/* Which of the paths into the value that is open go on with this step. */
static uint32_t
narrow(const struct cutter *cutter, const char *step)
{
	uint32_t match = cutter->match[cutter->depth], narrowed = 0;

	for (; match; match &= match - 1) {
		const unsigned i = __builtin_ctz(match);
		const struct path *path = &cutter->path[i];
		if (path->steps >= cutter->depth && strcmp(path->step[cutter->depth - 1], step) == 0)
			narrowed |= 1u << i;
	}
	return narrowed;
}

static void
want(struct cutter *cutter, const char *at)
{
	for (uint32_t match = cutter->next; match; match &= match - 1) {
		const unsigned i = __builtin_ctz(match);
		if (cutter->path[i].steps != cutter->depth)
			continue;
		cutter->wanted = i;
		cutter->wanted_depth = cutter->depth;
		cutter->from = at;
		return;
	}
}

static bool
keep(struct cutter *cutter, const char *end, GError **error)
{
	g_string_append_len(cutter->kept, cutter->from, end - cutter->from);
	cutter->from = end;
	return cutter->kept->len <= cutter->limits.value || refuse(error, "a value is too long");
}

static bool
finish_frame(struct cutter *cutter, GError **error)
{
	cutter->state = FRAME;
	cutter->frame_octets = 0;
	return cutter->frame(cutter->data, error);
}

/* The value that ends in front of end. */
static bool
finish_value(struct cutter *cutter, const char *end, GError **error)
{
	if (cutter->wanted != NONE && cutter->wanted_depth == cutter->depth) {
		const unsigned path = cutter->wanted;
		cutter->wanted = NONE;
		if (!keep(cutter, end, error))
			return false;
		if (!cutter->value(path, cutter->kept->str, cutter->kept->len, cutter->data, error))
			return false;
		g_string_truncate(cutter->kept, 0);
	}
	cutter->state = MORE;
	return cutter->depth || finish_frame(cutter, error);
}

static bool
open_bracket(struct cutter *cutter, bool is_object, GError **error)
{
	if (cutter->depth == DEPTH_MOST)
		return refuse(error, "brackets in brackets without end");
	cutter->depth++;
	cutter->is_object[cutter->depth] = is_object;
	cutter->match[cutter->depth] = cutter->wanted == NONE ? cutter->next : 0;
	if (!is_object)
		cutter->next = narrow(cutter, "[]");
	cutter->state = is_object ? KEY_OR_END : ELEMENT_OR_END;
	return true;
}

static bool
close_bracket(struct cutter *cutter, const char *at, GError **error)
{
	if (cutter->is_object[cutter->depth] != (*at == '}'))
		return refuse(error, "brackets that do not match");
	cutter->depth--;
	return finish_value(cutter, at + 1, error);
}

static bool
is_scalar(char octet)
{
	return g_ascii_isalnum(octet) || octet == '-' || octet == '+' || octet == '.';
}

static bool
begin_value(struct cutter *cutter, const char *at, GError **error)
{
	if (cutter->wanted == NONE && cutter->next)
		want(cutter, at);
	if (*at == '{' || *at == '[')
		return open_bracket(cutter, *at == '{', error);
	if (!*at || !strchr("\"-0123456789tfn", *at))
		return refuse(error, "a value is missing");
	cutter->state = *at == '"' ? STRING : SCALAR;
	cutter->in_key = false;
	return true;
}

static bool
is_space(char octet)
{
	return octet == ' ' || octet == '\n' || octet == '\t' || octet == '\r';
}

/* A function for each state takes the octet at its pointer. */

static bool
take_frame(struct cutter *cutter, const char *at, GError **error)
{
	if (is_space(*at))
		return true;
	cutter->next = cutter->match[0];
	return begin_value(cutter, at, error);
}

static bool
take_value(struct cutter *cutter, const char *at, GError **error)
{
	return is_space(*at) || begin_value(cutter, at, error);
}

static bool
take_element(struct cutter *cutter, const char *at, GError **error)
{
	return *at == ']' ? close_bracket(cutter, at, error) : take_value(cutter, at, error);
}

static bool
take_key(struct cutter *cutter, const char *at, GError **error)
{
	if (is_space(*at))
		return true;
	if (*at != '"')
		return refuse(error, "a key is missing");
	cutter->state = STRING;
	cutter->in_key = true;
	cutter->key_length = 0;
	return true;
}

static bool
take_first_key(struct cutter *cutter, const char *at, GError **error)
{
	return *at == '}' ? close_bracket(cutter, at, error) : take_key(cutter, at, error);
}

static bool
take_colon(struct cutter *cutter, const char *at, GError **error)
{
	if (is_space(*at))
		return true;
	if (*at != ':')
		return refuse(error, "a colon is missing");
	cutter->key[MIN(cutter->key_length, KEY_MOST)] = '\0';
	cutter->next = cutter->key_length <= KEY_MOST ? narrow(cutter, cutter->key) : 0;
	cutter->state = VALUE;
	return true;
}

static bool
take_more(struct cutter *cutter, const char *at, GError **error)
{
	if (is_space(*at))
		return true;
	if (*at == '}' || *at == ']')
		return close_bracket(cutter, at, error);
	if (*at != ',')
		return refuse(error, "a comma is missing");
	if (!cutter->is_object[cutter->depth])
		cutter->next = narrow(cutter, "[]");
	cutter->state = cutter->is_object[cutter->depth] ? KEY : VALUE;
	return true;
}

static void
keep_key(struct cutter *cutter, char octet)
{
	if (cutter->in_key && cutter->key_length < KEY_MOST)
		cutter->key[cutter->key_length] = octet;
	cutter->key_length++;
}

static bool
take_string(struct cutter *cutter, const char *at, GError **error)
{
	if ((unsigned char)*at < ' ')
		return refuse(error, "a control character in a string");
	if (*at == '\\')
		cutter->state = ESCAPE;
	if (*at != '"') {
		keep_key(cutter, *at);
		return true;
	}
	cutter->state = COLON;
	return cutter->in_key || finish_value(cutter, at + 1, error);
}

static bool
take_escape(struct cutter *cutter, const char *at, GError **error)
{
	(void)error;
	keep_key(cutter, *at);
	cutter->state = STRING;
	return true;
}

static bool
take_scalar(struct cutter *cutter, const char *at, GError **error)
{
	if (is_scalar(*at))
		return true;
	if (!finish_value(cutter, at, error))
		return false;
	return cutter->state == FRAME ? take_frame(cutter, at, error) : take_more(cutter, at, error);
}

static bool (*const take[STATES])(struct cutter *cutter, const char *at, GError **error) = {
	[FRAME] = take_frame,
	[VALUE] = take_value,
	[ELEMENT_OR_END] = take_element,
	[KEY_OR_END] = take_first_key,
	[KEY] = take_key,
	[COLON] = take_colon,
	[MORE] = take_more,
	[STRING] = take_string,
	[ESCAPE] = take_escape,
	[SCALAR] = take_scalar,
};

/* Most octets are the inside of strings, where nothing can happen. */
static const char *
skip_string(struct cutter *cutter, const char *at, const char *end)
{
	if (cutter->state != STRING || cutter->in_key)
		return at;
	const char *begin = at;
	while (at < end && *at != '"' && *at != '\\' && (unsigned char)*at >= ' ')
		at++;
	cutter->frame_octets += at - begin;
	return at;
}

bool
cutter_feed(struct cutter *cutter, const char *octets, size_t length, GError **error)
{
	const char *const end = octets + length;

	cutter->from = octets;
	for (const char *at = octets; (at = skip_string(cutter, at, end)) < end; at++) {
		cutter->frame_octets++;
		if (!take[cutter->state](cutter, at, error))
			return false;
		if (cutter->frame_octets > cutter->limits.frame)
			return refuse(error, "it is too long");
	}
	if (cutter->frame_octets > cutter->limits.frame)
		return refuse(error, "it is too long");
	return cutter->wanted == NONE || keep(cutter, end, error);
}
