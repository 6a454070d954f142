/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_TESTS_BENCH_TOOL_H
#define PEERFLOW_TESTS_BENCH_TOOL_H

#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>

/* What the small programs that make and count flows share: options as a table, and the clock. They end with a
 * message and a status of sysexits.h where something is wrong, because a script is always waiting for them. */

#define SECOND UINT64_C(1000000000)

/* Both ends are included; "7" reads as 7-7. */
struct range {
	uint64_t low;
	uint64_t high;
};

/* One option "--name VALUE", or "--name" alone where value is NULL. take() stores text in target, or ends
 * the program. */
struct tool_option {
	const char *name;
	const char *value;
	void (*take)(const struct tool_option *option, const char *text);
	void *target;
	const char *help;
};

static inline uint64_t
now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

/* Reads a decimal number from text up to the first octet that is no digit, which end then points to. */
static inline uint64_t
read_number(const char *name, const char *text, const char **end)
{
	char *stop;

	errno = 0;
	uint64_t value = strtoull(text, &stop, 10);
	if (*text < '0' || *text > '9' || errno)
		errx(EX_USAGE, "%s: '%s' is not a number", name, text);
	*end = stop;
	return value;
}

static inline void
take_number(const struct tool_option *option, const char *text)
{
	const char *end;

	*(uint64_t *)option->target = read_number(option->name, text, &end);
	if (*end)
		errx(EX_USAGE, "%s: '%s' is not a number", option->name, text);
}

static inline void
take_range(const struct tool_option *option, const char *text)
{
	struct range *range = option->target;
	const char *end;

	range->low = range->high = read_number(option->name, text, &end);
	if (*end == '-')
		range->high = read_number(option->name, end + 1, &end);
	if (*end || range->high < range->low)
		errx(EX_USAGE, "%s: '%s' is neither a number nor LOW-HIGH", option->name, text);
}

static inline void
take_flag(const struct tool_option *option, const char *text)
{
	(void)text;
	*(bool *)option->target = true;
}

static inline _Noreturn void
show_usage(const char *usage, const struct tool_option *options, size_t count, int status)
{
	FILE *out = status ? stderr : stdout;

	fprintf(out, "usage: %s\n", usage);
	for (size_t i = 0; i < count; i++)
		fprintf(out, "  %-10s %-9s %s\n", options[i].name, options[i].value ? options[i].value : "",
		        options[i].help);
	exit(status);
}

static inline const struct tool_option *
find_option(const char *name, const struct tool_option *options, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!strcmp(name, options[i].name))
			return &options[i];
	return NULL;
}

/* Reads the options, which may stand anywhere, and moves all other arguments to argv[1] and following. Returns how
 * many those are. */
static inline int
read_options(int argc, char **argv, const char *usage, const struct tool_option *options, size_t count)
{
	int others = 0;

	for (int at = 1; at < argc; at++) {
		if (argv[at][0] != '-') {
			argv[++others] = argv[at];
			continue;
		}
		if (!strcmp(argv[at], "--help"))
			show_usage(usage, options, count, EX_OK);
		const struct tool_option *option = find_option(argv[at], options, count);
		if (!option || (option->value && at + 1 == argc))
			show_usage(usage, options, count, EX_USAGE);
		option->take(option, option->value ? argv[++at] : NULL);
	}
	return others;
}

#endif
