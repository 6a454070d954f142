/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "audit/when.h"

#include <string.h>
#include <time.h>

#include "error.h"

#define SECOND UINT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)
#define LATEST UINT64_C(253402300799999)        /* the end of the year 9999 */

enum outcome {
	OTHER,                      /* it is written another way */
	GOOD,
	TWICE,                      /* the clocks were set back over it */
	NEVER,                      /* and forward */
};

static bool
skip(const char **at, const char *word)
{
	if (!g_str_has_prefix(*at, word))
		return false;
	*at += strlen(word);
	return true;
}

static void
skip_spaces(const char **at)
{
	*at += strspn(*at, " ");
}

/* Between least and most digits; false: there are fewer, or more. */
static bool
take_digits(const char **at, size_t least, size_t most, uint64_t *number)
{
	const size_t digits = strspn(*at, "0123456789");

	if (digits < least || digits > most)
		return false;
	*number = 0;
	for (const char *end = *at + digits; *at < end; ++*at)
		*number = *number * 10 + (**at - '0');
	return true;
}

static enum outcome
read_now(const char *text, uint64_t now, struct when *when)
{
	*when = (struct when){ now, now };
	return strcmp(text, "now") ? OTHER : GOOD;
}

/* What a fraction of a second says in ms, and how many ms share its digits. More than three digits say no more. */
static bool
take_fraction(const char **at, uint64_t *ms, uint64_t *span)
{
	if (!g_ascii_isdigit(**at))
		return false;
	for (*ms = 0, *span = SECOND; g_ascii_isdigit(**at); ++*at)
		if (*span > 1) {
			*span /= 10;
			*ms += (**at - '0') * *span;
		}
	return true;
}

/* Up to 11 digits are s, which is the year 5138, and more are ms, which is 1973. */
static enum outcome
read_epoch(const char *text, uint64_t now G_GNUC_UNUSED, struct when *when)
{
	const size_t digits = strspn(text, "0123456789");
	uint64_t number, fraction = 0, span = digits > 11 ? 1 : SECOND;

	if (!take_digits(&text, 9, 15, &number))
		return OTHER;
	if (digits <= 11 && skip(&text, ".") && !take_fraction(&text, &fraction, &span))
		return OTHER;
	when->first = (digits > 11 ? number : number * SECOND) + fraction;
	when->last = when->first + span - 1;
	return *text || when->last > LATEST ? OTHER : GOOD;
}

/* Units of what is written without spaces, "h", and of what is not, "hours". */
static bool
take_unit(const char **at, uint64_t *ms)
{
	static const struct {
		const char *word;
		uint64_t ms;
	} units[] = {
		{ "ms", 1 }, { "s", SECOND }, { "sec", SECOND }, { "second", SECOND }, { "seconds", SECOND },
		{ "m", MINUTE }, { "min", MINUTE }, { "minute", MINUTE }, { "minutes", MINUTE },
		{ "h", HOUR }, { "hour", HOUR }, { "hours", HOUR }, { "d", DAY }, { "day", DAY }, { "days", DAY },
		{ "w", 7 * DAY }, { "week", 7 * DAY }, { "weeks", 7 * DAY },
	};
	const size_t length = strspn(*at, "abcdefghijklmnopqrstuvwxyz");

	for (size_t i = 0; i < G_N_ELEMENTS(units); i++)
		if (strlen(units[i].word) == length && !strncmp(*at, units[i].word, length)) {
			*ms = units[i].ms;
			*at += length;
			return true;
		}
	return false;
}

/* "2h ago", "1h 30m ago": that second, for nobody means the ms; unless ms are said. */
static enum outcome
read_ago(const char *text, uint64_t now, struct when *when)
{
	uint64_t back = 0, least = UINT64_MAX, number, unit;

	if (!g_ascii_isdigit(*text))
		return OTHER;
	while (!skip(&text, "ago")) {
		if (!take_digits(&text, 1, 9, &number))
			return OTHER;
		skip_spaces(&text);
		if (!take_unit(&text, &unit))
			return OTHER;
		skip_spaces(&text);
		back += number * unit;
		least = MIN(least, unit);
		if (back > now)
			return OTHER;
	}
	const uint64_t span = least == 1 ? 1 : SECOND;
	when->first = (now - back) / span * span;
	when->last = when->first + span - 1;
	return *text ? OTHER : GOOD;
}

/* A day, and a time of it. */
struct clock {
	struct tm tm;
	bool has_day;               /* else it is the last one that had this time */
	bool has_time;
	bool has_zone;
	int64_t east;               /* seconds that the zone is ahead of UTC */
	uint64_t ms;
	uint64_t span;              /* ms */
};

/* The time as a clock in that zone shows it. */
static struct tm
split(const struct clock *clock, uint64_t ms)
{
	const time_t seconds = (time_t)(ms / SECOND) + clock->east;
	struct tm tm;

	return clock->has_zone ? *gmtime_r(&seconds, &tm) : *localtime_r(&seconds, &tm);
}

static bool
take_date(const char **at, struct tm *tm)
{
	uint64_t year, month, day;

	if (!take_digits(at, 4, 4, &year) || !skip(at, "-") || !take_digits(at, 2, 2, &month) || !skip(at, "-")
	    || !take_digits(at, 2, 2, &day) || year < 1970 || !g_date_valid_dmy(day, month, year))
		return false;
	tm->tm_year = (int)year - 1900;
	tm->tm_mon = (int)month - 1;
	tm->tm_mday = (int)day;
	return true;
}

static bool
take_time(const char **at, struct clock *clock)
{
	uint64_t hour, minute, second = 0;

	if (!take_digits(at, 1, 2, &hour) || !skip(at, ":") || !take_digits(at, 2, 2, &minute) || hour > 23 || minute > 59)
		return false;
	clock->span = MINUTE;
	if (skip(at, ":")) {
		clock->span = SECOND;
		if (!take_digits(at, 2, 2, &second) || second > 59)
			return false;
		if (skip(at, ".") && !take_fraction(at, &clock->ms, &clock->span))
			return false;
	}
	clock->tm.tm_hour = (int)hour;
	clock->tm.tm_min = (int)minute;
	clock->tm.tm_sec = (int)second;
	return true;
}

/* "z", "utc", "+01", "+0100", "+01:00". */
static bool
take_zone(const char **at, struct clock *clock)
{
	uint64_t hours, minutes = 0;
	const char sign = **at;

	clock->has_zone = true;
	if (skip(at, "z") || skip(at, "utc"))
		return true;
	if ((sign != '+' && sign != '-') || strspn(++*at, "0123456789:") < 2)
		return false;
	hours = (uint64_t)g_ascii_digit_value((*at)[0]) * 10 + (uint64_t)g_ascii_digit_value((*at)[1]);
	if (!g_ascii_isdigit((*at)[0]) || !g_ascii_isdigit((*at)[1]) || hours > 14)
		return false;
	*at += 2;
	if ((skip(at, ":") || **at) && (!take_digits(at, 2, 2, &minutes) || minutes > 59))
		return false;
	clock->east = (int64_t)(hours * 3600 + minutes * 60) * (sign == '-' ? -1 : 1);
	return true;
}

/* The days that are words. */
static bool
take_day_word(const char **at, int *days_back)
{
	static const char *const words[] = { "today", "yesterday" };

	for (*days_back = 0; *days_back < (int)G_N_ELEMENTS(words); ++*days_back)
		if (skip(at, words[*days_back]))
			return true;
	*days_back = 0;
	return false;
}

/* The date of so many days before the one at ms, noon of which no clock skips. */
static void
set_date(struct clock *clock, uint64_t ms, int days_back)
{
	struct tm day = split(clock, ms);

	day.tm_mday -= days_back;
	day.tm_hour = 12;
	day.tm_isdst = -1;
	timegm(&day);
	clock->tm.tm_year = day.tm_year;
	clock->tm.tm_mon = day.tm_mon;
	clock->tm.tm_mday = day.tm_mday;
}

static bool
same_clock(const struct tm *a, const struct tm *b)
{
	return a->tm_year == b->tm_year && a->tm_mon == b->tm_mon && a->tm_mday == b->tm_mday && a->tm_hour == b->tm_hour
	       && a->tm_min == b->tm_min && a->tm_sec == b->tm_sec;
}

/* Which second a local clock shows this. mktime() takes what is no time, and one of two, without a word; asked
 * for summer and for winter time it shows all there are. */
static enum outcome
find_local(const struct tm *wanted, time_t *seconds)
{
	enum outcome outcome = NEVER;

	for (int summer = -1; summer <= 1; summer++) {
		struct tm tm = *wanted;
		tm.tm_isdst = summer;
		const time_t found = mktime(&tm);
		if (!same_clock(&tm, wanted))
			continue;
		if (outcome == GOOD && found != *seconds)
			return TWICE;
		*seconds = found;
		outcome = GOOD;
	}
	return outcome;
}

static enum outcome
find_second(const struct clock *clock, uint64_t *ms)
{
	struct tm tm = clock->tm;
	time_t seconds = 0;
	enum outcome outcome = GOOD;

	tm.tm_isdst = -1;
	if (clock->has_zone)
		seconds = timegm(&tm) - clock->east;
	else if (clock->has_time)
		outcome = find_local(&tm, &seconds);
	else
		seconds = mktime(&tm);  /* a day begins when it begins */
	if (outcome == GOOD && seconds < 0)
		return OTHER;
	*ms = (uint64_t)seconds * SECOND + clock->ms;
	return outcome;
}

static enum outcome
find_span(struct clock *clock, struct when *when)
{
	const enum outcome outcome = find_second(clock, &when->first);

	if (outcome != GOOD)
		return outcome;
	if (clock->has_time) {
		when->last = when->first + clock->span - 1;
		return GOOD;
	}
	clock->tm.tm_mday++;        /* not every day has 24 hours */
	find_second(clock, &when->last);
	when->last--;
	return GOOD;
}

static bool
take_clock(const char *text, struct clock *clock, int *days_back)
{
	const bool word = take_day_word(&text, days_back);

	clock->has_day = word || strspn(text, "0123456789") == 4;
	if (clock->has_day && !word && !take_date(&text, &clock->tm))
		return false;
	if (clock->has_day && !*text)
		return true;
	if (clock->has_day && !skip(&text, "t") && *text != ' ')
		return false;
	skip_spaces(&text);
	clock->has_time = take_time(&text, clock);
	skip_spaces(&text);
	return clock->has_time && (!*text || take_zone(&text, clock)) && !*text;
}

static enum outcome
read_clock(const char *text, uint64_t now, struct when *when)
{
	struct clock clock = { 0 };
	int days_back;

	if (!take_clock(text, &clock, &days_back))
		return OTHER;
	if (!clock.has_day || !clock.tm.tm_mday)
		set_date(&clock, now, days_back);
	enum outcome outcome = find_span(&clock, when);
	if (clock.has_day || outcome == TWICE || (outcome == GOOD && when->first <= now))
		return outcome;
	set_date(&clock, now, 1);
	return find_span(&clock, when);
}

static enum outcome
read_any(const char *text, uint64_t now, struct when *when)
{
	static enum outcome (*const ways[])(const char *, uint64_t, struct when *) = {
		read_now, read_epoch, read_ago, read_clock,
	};
	enum outcome outcome = OTHER;

	for (size_t i = 0; i < G_N_ELEMENTS(ways) && outcome == OTHER; i++)
		outcome = ways[i](text, now, when);
	return outcome;
}

bool
when_parse(const char *text, uint64_t now, struct when *when, GError **error)
{
	static const char *const why[] = {
		[OTHER] = "no time: write 14:03, 14:03:22.117, 2026-11-20 14:03, 2026-11-20T14:03:22Z, yesterday 14:03, 2h ago, "
		          "now, or seconds or milliseconds since 1970",
		[TWICE] = "clocks showed this twice, as they were set back: add which it is, such as +01:00",
		[NEVER] = "clocks never showed this, as they were set forward over it",
	};
	g_autofree char *valid = g_utf8_make_valid(text, -1);
	g_autofree char *plain = g_ascii_strdown(g_strstrip(valid), -1);
	const enum outcome outcome = read_any(plain, MIN(now, LATEST), when);

	if (outcome == GOOD)
		return true;
	g_set_error(error, PEERFLOW_ERROR, EX_USAGE, "\"%s\": %s", valid, why[outcome]);
	return false;
}
