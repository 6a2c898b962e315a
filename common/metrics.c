/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/metrics.h"

#define NUMBER_SIZE	32

static const char *const type_names[] = {
	[METRICS_COUNTER] = "counter", [METRICS_GAUGE] = "gauge", [METRICS_HISTOGRAM] = "histogram"
};

void
metrics_init(struct metrics *metrics, struct buf *buf)
{
	memset(metrics, 0, sizeof(*metrics));
	metrics->buf = buf;
}

static void
fail(struct metrics *metrics, int error)
{
	if (metrics->error == 0)
		metrics->error = error;
}

static void
put(struct metrics *metrics, const void *bytes, size_t len)
{
	if (metrics->error == 0 && buf_put(metrics->buf, bytes, len) == -1)
		fail(metrics, errno);
}

static void
put_text(struct metrics *metrics, const char *text)
{
	put(metrics, text, strlen(text));
}

/* --- names --- */

static bool
name_valid(const char *name, const char *also)
{
	if (!isalpha((unsigned char)*name) && (*name == '\0' || strchr(also, *name) == NULL))
		return false;
	for (; *name != '\0'; name++)
		if (!isalnum((unsigned char)*name) && strchr(also, *name) == NULL)
			return false;
	return true;
}

/* FNV-1a, 64 bits: of some hundred names, two alike are not to be expected. */
static uint64_t
name_hash(const char *name)
{
	uint64_t hash = UINT64_C(14695981039346656037);

	for (; *name != '\0'; name++)
		hash = (hash ^ (uint8_t)*name) * UINT64_C(1099511628211);
	return hash;
}

static void
remember_family(struct metrics *metrics)
{
	uint64_t hash = name_hash(metrics->name);

	for (size_t i = 0; i < metrics->seen_count; i++)
		if (metrics->seen[i] == hash)
			fail(metrics, EINVAL);
	if (metrics->seen_count == METRICS_FAMILIES_MAX)
		fail(metrics, E2BIG);
	else
		metrics->seen[metrics->seen_count++] = hash;
}

void
metrics_family(struct metrics *metrics, enum metrics_type type, const char *help, const char *name, ...)
{
	va_list ap;
	int len;

	va_start(ap, name);
	len = vsnprintf(metrics->name, sizeof(metrics->name), name, ap);
	va_end(ap);
	metrics->type = type;
	metrics->help = help;
	if (len < 0 || (size_t)len >= sizeof(metrics->name) || !name_valid(metrics->name, "_:"))
		fail(metrics, EINVAL);
	else
		remember_family(metrics);
}

/* --- values of labels, texts of HELP --- */

/* How many bytes the character at p has, 0 if it is none (RFC 3629, section 4). */
static size_t
utf8_length(const unsigned char *p)
{
	size_t n = *p < 0x80 ? 1 : *p >= 0xc2 && *p < 0xe0 ? 2 : (*p & 0xf0) == 0xe0 ? 3 : *p >= 0xf0 && *p < 0xf5 ? 4 : 0;

	for (size_t i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] > 0x9f) || (*p == 0xf0 && p[1] < 0x90) || (*p == 0xf4 && p[1] > 0x8f))
		return 0;
	return n;
}

/* How many bytes from p on are fine as they are, one by one. */
static size_t
plain_length(const unsigned char *p)
{
	size_t n = 0;

	while (p[n] >= ' ' && p[n] < 0x7f && p[n] != '\\' && p[n] != '"')
		n++;
	return n;
}

static void
put_escaped(struct metrics *metrics, const char *text, bool quoted)
{
	const unsigned char *p = (const unsigned char *)text;
	char hex[8];
	size_t n;

	for (; *p != '\0'; p += n > 0 ? n : 1) {
		if ((n = plain_length(p)) > 0) {
			put(metrics, p, n);
			continue;
		}
		n = utf8_length(p);
		if (n == 0) {
			snprintf(hex, sizeof(hex), "\\\\x%02x", *p);
			put_text(metrics, hex);
		} else if (*p == '\\')
			put_text(metrics, "\\\\");
		else if (*p == '\n')
			put_text(metrics, "\\n");
		else if (*p == '"' && quoted)
			put_text(metrics, "\\\"");
		else
			put(metrics, p, n);
	}
}

static void
put_label(struct metrics *metrics, const char *before, const char *name, const char *value)
{
	put_text(metrics, before);
	put_text(metrics, name);
	put_text(metrics, "=\"");
	put_escaped(metrics, value, true);
	put_text(metrics, "\"");
}

/* --- samples --- */

static void
put_header(struct metrics *metrics)
{
	if (metrics->help == NULL)
		return;
	put_text(metrics, "# HELP ");
	put_text(metrics, metrics->name);
	put_text(metrics, " ");
	put_escaped(metrics, metrics->help, false);
	put_text(metrics, "\n# TYPE ");
	put_text(metrics, metrics->name);
	put_text(metrics, " ");
	put_text(metrics, type_names[metrics->type]);
	put_text(metrics, "\n");
	metrics->help = NULL;
}

/* le: the bound of a histogram's bucket, or NULL. */
static void
put_sample(struct metrics *metrics, const char *suffix, const struct metrics_label *label, const char *le, const char *value)
{
	bool first = true;

	if (metrics->name[0] == '\0')
		fail(metrics, EINVAL);
	put_header(metrics);
	put_text(metrics, metrics->name);
	put_text(metrics, suffix);
	for (; label != NULL && label->name != NULL; label++, first = false) {
		if (!name_valid(label->name, "_"))
			fail(metrics, EINVAL);
		put_label(metrics, first ? "{" : ",", label->name, label->value);
	}
	if (le != NULL)
		put_label(metrics, first ? "{" : ",", "le", le);
	put_text(metrics, first && le == NULL ? " " : "} ");
	put_text(metrics, value);
	put_text(metrics, "\n");
}

/* As short as it is exact. */
static const char *
format_double(char text[NUMBER_SIZE], double value)
{
	if (isnan(value))
		return "NaN";
	if (isinf(value))
		return value > 0 ? "+Inf" : "-Inf";
	snprintf(text, NUMBER_SIZE, "%.15g", value);
	if (strtod(text, NULL) < value || strtod(text, NULL) > value)
		snprintf(text, NUMBER_SIZE, "%.17g", value);
	return text;
}

static const char *
format_u64(char text[NUMBER_SIZE], uint64_t value)
{
	snprintf(text, NUMBER_SIZE, "%" PRIu64, value);
	return text;
}

void
metrics_u64(struct metrics *metrics, const struct metrics_label *label, uint64_t value)
{
	char text[NUMBER_SIZE];

	put_sample(metrics, "", label, NULL, format_u64(text, value));
}

void
metrics_i64(struct metrics *metrics, const struct metrics_label *label, int64_t value)
{
	char text[NUMBER_SIZE];

	snprintf(text, sizeof(text), "%" PRId64, value);
	put_sample(metrics, "", label, NULL, text);
}

void
metrics_double(struct metrics *metrics, const struct metrics_label *label, double value)
{
	char text[NUMBER_SIZE];

	put_sample(metrics, "", label, NULL, format_double(text, value));
}

void
metrics_histogram(struct metrics *metrics, const struct metrics_label *label, const double *bounds, const uint64_t *counts, size_t count,
    double sum)
{
	char le[NUMBER_SIZE], text[NUMBER_SIZE];
	uint64_t total = 0;

	for (size_t i = 0; i < count; i++) {
		total += counts[i];
		put_sample(metrics, "_bucket", label, format_double(le, bounds[i]), format_u64(text, total));
	}
	total += counts[count];
	put_sample(metrics, "_bucket", label, "+Inf", format_u64(text, total));
	put_sample(metrics, "_sum", label, NULL, format_double(le, sum));
	put_sample(metrics, "_count", label, NULL, format_u64(text, total));
}

bool
metrics_take_back(struct metrics *metrics, size_t len)
{
	if (metrics->error != ENOBUFS)
		return false;
	metrics->error = 0;
	metrics->name[0] = '\0';
	metrics->buf->len = len;
	return true;
}

int
metrics_end(struct metrics *metrics)
{
	if (metrics->error == 0)
		return 0;
	errno = metrics->error;
	return -1;
}
