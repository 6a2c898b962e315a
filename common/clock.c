/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"

#define NS_PER_S	1000000000u

static uint64_t
read_clock(clockid_t id)
{
	struct timespec	 ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

uint64_t
clock_wall_ns(void)
{
	return read_clock(CLOCK_REALTIME);
}

uint64_t
clock_mono_ns(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

uint64_t
clock_boot_ns(void)
{
	return read_clock(CLOCK_BOOTTIME);
}

uint64_t
clock_cpu_us(void)
{
	return read_clock(CLOCK_PROCESS_CPUTIME_ID) / 1000;
}

uint64_t
clock_ns_of_s(int64_t wall_s)
{
	if (wall_s < 0)
		return 0;
	return wall_s > INT64_MAX / NS_PER_S ? INT64_MAX : (uint64_t)wall_s * NS_PER_S;
}

char *
clock_iso(uint64_t wall_ns, char *dst, size_t dst_size)
{
	time_t		 seconds = (time_t)(wall_ns / NS_PER_S);
	struct tm	 tm;

	gmtime_r(&seconds, &tm);	/* cannot fail: 64 bits of nanoseconds end in 2554 */
	strftime(dst, dst_size, "%Y-%m-%dT%H:%M:%SZ", &tm);
	return dst;
}

/* Digits at *p, which moves behind them; false when there are none or they are more than max. */
static bool
parse_digits(const char **p, uint64_t max, uint64_t *value)
{
	if (!isdigit((unsigned char)**p))
		return false;
	for (*value = 0; isdigit((unsigned char)**p); (*p)++) {
		uint64_t	 digit = (uint64_t)(**p - '0');

		if (digit > max || *value > (max - digit) / 10)
			return false;
		*value = *value * 10 + digit;
	}
	return true;
}

/* ".5" and up to nine digits, or nothing at all. */
static bool
parse_fraction(const char **p, uint64_t *ns)
{
	uint64_t	 scale = NS_PER_S / 10;

	*ns = 0;
	if (**p != '.')
		return true;
	(*p)++;
	if (!isdigit((unsigned char)**p))
		return false;
	for (; isdigit((unsigned char)**p); (*p)++, scale /= 10) {
		if (scale == 0)
			return false;
		*ns += (uint64_t)(**p - '0') * scale;
	}
	return true;
}

/* "@1700000000.25" without the '@'. */
static int
parse_epoch(const char *text, uint64_t *wall_ns)
{
	uint64_t	 seconds, ns;

	if (!parse_digits(&text, UINT64_MAX / NS_PER_S - 1, &seconds) || !parse_fraction(&text, &ns) || *text != '\0')
		return -1;
	*wall_ns = seconds * NS_PER_S + ns;
	return 0;
}

static uint64_t
unit_ns(const char *unit)
{
	static const struct {
		const char	*name;
		uint64_t	 ns;
	} units[] = {
		{ "", NS_PER_S }, { "ms", 1000000 }, { "s", NS_PER_S }, { "m", 60ull * NS_PER_S },
		{ "h", 3600ull * NS_PER_S }, { "d", 86400ull * NS_PER_S },
	};

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcmp(unit, units[i].name) == 0)
			return units[i].ns;
	}
	return 0;
}

/* "-10m" without the '-': so long before now. */
static int
parse_ago(const char *text, uint64_t now_ns, uint64_t *wall_ns)
{
	uint64_t	 n, unit;

	if (!parse_digits(&text, UINT64_MAX, &n))
		return -1;
	unit = unit_ns(text);
	if (unit == 0 || n > now_ns / unit)
		return -1;
	*wall_ns = now_ns - n * unit;
	return 0;
}

/* So many digits and one of the characters behind: strptime(3) would be too lenient. */
static bool
parse_field(const char **p, int digits, const char *behind, int *value)
{
	*value = 0;
	for (int i = 0; i < digits; i++, (*p)++) {
		if (!isdigit((unsigned char)**p))
			return false;
		*value = *value * 10 + (**p - '0');
	}
	if (*behind == '\0')
		return true;
	return **p != '\0' && strchr(behind, *(*p)++) != NULL;
}

/* mktime(3) moves what does not exist, as February 30th; the hour alone may move, where summer time skips it. */
static bool
is_same_time(const struct tm *asked, const struct tm *tm)
{
	return asked->tm_hour <= 23 && asked->tm_mon == tm->tm_mon && asked->tm_mday == tm->tm_mday &&
	    asked->tm_min == tm->tm_min && asked->tm_sec == tm->tm_sec;
}

/* "2026-11-23T01:06:39.5Z"; without the Z it is local time. */
static int
parse_date(const char *p, uint64_t *wall_ns)
{
	struct tm	 tm = { .tm_isdst = -1 }, asked;
	uint64_t	 ns;
	bool		 utc;
	time_t		 seconds;

	if (!parse_field(&p, 4, "-", &tm.tm_year) || !parse_field(&p, 2, "-", &tm.tm_mon) ||
	    !parse_field(&p, 2, "T ", &tm.tm_mday) || !parse_field(&p, 2, ":", &tm.tm_hour) ||
	    !parse_field(&p, 2, ":", &tm.tm_min) || !parse_field(&p, 2, "", &tm.tm_sec) || !parse_fraction(&p, &ns))
		return -1;
	utc = *p == 'Z';
	if (p[utc] != '\0')
		return -1;
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	asked = tm;
	seconds = utc ? timegm(&tm) : mktime(&tm);
	if (!is_same_time(&asked, &tm) || seconds < 0 || (uint64_t)seconds > UINT64_MAX / NS_PER_S - 1)
		return -1;
	*wall_ns = (uint64_t)seconds * NS_PER_S + ns;
	return 0;
}

int
clock_parse(const char *text, uint64_t now_ns, uint64_t *wall_ns)
{
	if (strcmp(text, "now") == 0) {
		*wall_ns = now_ns;
		return 0;
	}
	if (*text == '@')
		return parse_epoch(text + 1, wall_ns);
	if (*text == '-')
		return parse_ago(text + 1, now_ns, wall_ns);
	return parse_date(text, wall_ns);
}
