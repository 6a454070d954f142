/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "archive/file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
	MESSAGE_HEADER_OCTETS = 16,
	IPFIX_VERSION = 10,
	PIECE = 128 << 10,
};

static const char *const suffixes[FILE_KINDS] = {
	[FILE_PART] = ".ipfix.part",
	[FILE_PLAIN] = ".ipfix",
	[FILE_COLUMNS] = ".ipfix.columns",
	[FILE_ZSTD] = ".ipfix.zst",
	[FILE_PACKING] = ".ipfix.packing",
};

void
file_name_print(const struct file_name *name, char text[static FILE_NAME_OCTETS])
{
	const time_t seconds = name->begin / 1000;
	struct tm time;
	char when[32];

	gmtime_r(&seconds, &time);
	strftime(when, sizeof when, "%Y%m%dT%H%M%SZ", &time);
	snprintf(text, FILE_NAME_OCTETS, "flows-%s-%06" G_GUINT64_FORMAT "%s", when, name->number, suffixes[name->kind]);
}

static bool
parse_suffix(const char *text, enum file_kind *kind)
{
	for (unsigned i = 0; i < FILE_KINDS; i++) {
		*kind = i;
		if (strcmp(text, suffixes[i]) == 0)
			return true;
	}
	return false;
}

bool
file_name_parse(const char *text, struct file_name *name)
{
	char again[FILE_NAME_OCTETS];
	struct tm time = { 0 };
	int end = 0;

	if (sscanf(text, "flows-%4d%2d%2dT%2d%2d%2dZ-%19" G_GINT64_MODIFIER "u%n", &time.tm_year, &time.tm_mon, &time.tm_mday,
	           &time.tm_hour, &time.tm_min, &time.tm_sec, &name->number, &end) != 7 || !end)
		return false;
	time.tm_year -= 1900;
	time.tm_mon--;
	if (!parse_suffix(text + end, &name->kind))
		return false;
	const time_t seconds = timegm(&time);
	if (seconds < 0)
		return false;
	name->begin = (uint64_t)seconds * 1000;
	file_name_print(name, again);
	return strcmp(text, again) == 0;
}

uint64_t
file_whole(int fd, uint64_t limit)
{
	uint8_t header[MESSAGE_HEADER_OCTETS];
	uint64_t at = 0;

	while (limit - at >= sizeof header && pread(fd, header, sizeof header, at) == sizeof header) {
		const unsigned version = header[0] << 8 | header[1], octets = header[2] << 8 | header[3];
		if (version != IPFIX_VERSION || octets < sizeof header || octets > limit - at)
			break;
		at += octets;
	}
	return at;
}

bool
file_sum(int fd, uint64_t octets, char sum[static FILE_SUM])
{
	g_autoptr(digest_t) digest = digest_new();
	g_autofree uint8_t *piece = g_malloc(PIECE);

	for (uint64_t at = 0; at < octets;) {
		const ssize_t n = pread(fd, piece, MIN(octets - at, PIECE), at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			errno = n ? errno : ENODATA;
			return false;
		}
		digest_add(digest, piece, n);
		at += n;
	}
	digest_print(digest, sum);
	return true;
}

bool
file_write(int fd, const void *octets, size_t n)
{
	const char *at = octets;

	while (n) {
		const ssize_t done = write(fd, at, n);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return false;
		at += done;
		n -= done;
	}
	return true;
}
