/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/conf.h"
#include "common/conf_stage.h"

#define SHOWN_MAX	"80"	/* bytes of a bad value that an error quotes */
#define WORDS_SIZE	160

struct unit {
	const char	*suffix;
	uint64_t	 factor;
};

/* Smallest first; the empty suffix is only read, except where it is the unit itself. */
static const struct unit count_units[] = { { "", 1 }, { NULL, 0 } };
static const struct unit size_units[] = {
	{ "", 1 }, { "K", 1ull << 10 }, { "M", 1ull << 20 }, { "G", 1ull << 30 }, { "T", 1ull << 40 }, { NULL, 0 }
};
static const struct unit time_units[] = {
	{ "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 }, { "d", 86400000 }, { NULL, 0 }
};

static const struct unit *
units_of(enum conf_type type)
{
	if (type == CONF_SIZE)
		return size_units;
	return type == CONF_TIME ? time_units : count_units;
}

char *
conf_format_number(enum conf_type type, uint64_t number, char dst[CONF_NUMBER_SIZE])
{
	const struct unit *unit = units_of(type), *best = unit;

	for (; unit->suffix != NULL; unit++) {
		if (number % unit->factor == 0 && number != 0)
			best = unit;
	}
	snprintf(dst, CONF_NUMBER_SIZE, "%" PRIu64 "%s", number / best->factor, best->suffix);
	return dst;
}

void
conf_list_clear(struct conf_list *list)
{
	for (size_t i = 0; i < list->count; i++) {
		free(list->value[i]);
		free(list->origin[i]);
	}
	free(list->value);
	free(list->origin);
	*list = (struct conf_list){ 0 };
}

void
conf_value_clear(struct conf_value *value)
{
	free(value->string);
	conf_list_clear(&value->list);
	*value = (struct conf_value){ 0 };
}

/* 0 when the array has room for one more; it stays the list's in any case. */
static int
list_grow(char ***array, size_t count)
{
	char	**grown = realloc(*array, (count + 1) * sizeof(**array));

	if (grown == NULL)
		return -1;
	*array = grown;
	return 0;
}

static int
list_add(struct conf_list *list, const char *text, const char *origin)
{
	char	*value, *from;

	if (list_grow(&list->value, list->count) == -1 || list_grow(&list->origin, list->count) == -1)
		return -1;
	value = strdup(text);
	from = strdup(origin);
	if (value == NULL || from == NULL) {
		free(value);
		free(from);
		return -1;
	}
	list->value[list->count] = value;
	list->origin[list->count++] = from;
	return 0;
}

/* Digits, then a unit in either case; -1 if that is not it, or more than 64 bits hold. */
static int
parse_number(enum conf_type type, const char *text, uint64_t *number)
{
	const struct unit *unit;
	uint64_t	 n = 0;

	if (!isdigit((unsigned char)*text))
		return -1;
	for (; isdigit((unsigned char)*text); text++) {
		if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, (uint64_t)(*text - '0'), &n))
			return -1;
	}
	if (type == CONF_TIME && *text == '\0')
		text = "s";
	for (unit = units_of(type); unit->suffix != NULL; unit++) {
		if (strcasecmp(text, unit->suffix) == 0)
			return __builtin_mul_overflow(n, unit->factor, number) ? -1 : 0;
	}
	return -1;
}

static void
range_error(const struct conf_row *row, const char *text, const char *why, struct conf_error *error)
{
	char	 min[CONF_NUMBER_SIZE], max[CONF_NUMBER_SIZE];

	conf_format_number(row->type, row->min, min);
	conf_format_number(row->type, row->max, max);
	if (row->max != 0)
		conf_error_set(error, "%." SHOWN_MAX "s: %smust be from %s to %s", text, why, min, max);
	else
		conf_error_set(error, "%." SHOWN_MAX "s: %smust be at least %s", text, why, min);
}

static int
value_parse_number(const struct conf_row *row, struct conf_value *value, const char *text, struct conf_error *error)
{
	static const char *const not_one[] = {
		[CONF_UINT] = "not a number; ",
		[CONF_SIZE] = "not a size such as 16M; ",
		[CONF_TIME] = "not a time such as 250ms, 10s or 5m; ",
	};
	uint64_t	 number;

	if (parse_number(row->type, text, &number) == -1) {
		range_error(row, text, not_one[row->type], error);
		return -1;
	}
	if (number < row->min || (row->max != 0 && number > row->max)) {
		range_error(row, text, "", error);
		return -1;
	}
	value->number = number;
	return 0;
}

/* "inout|in|out" -> "inout, in or out" */
static void
words_for_people(const char *values, char *dst, size_t dst_size)
{
	const char	*last = strrchr(values, '|');
	size_t		 n = 0;

	for (const char *p = values; *p != '\0' && n + 5 < dst_size; p++) {
		if (*p == '|')
			n += (size_t)sprintf(dst + n, "%s", p == last ? " or " : ", ");
		else
			dst[n++] = *p;
	}
	dst[n] = '\0';
}

static int
value_parse_word(const struct conf_row *row, struct conf_value *value, const char *text, struct conf_error *error)
{
	size_t	 n = strlen(text);
	int	 word = 0;
	char	 words[WORDS_SIZE];

	for (const char *p = row->values;; p++, word++) {
		size_t	 len = strcspn(p, "|");

		if (len == n && memcmp(p, text, n) == 0) {
			value->word = word;
			return 0;
		}
		p += len;
		if (*p == '\0')
			break;
	}
	words_for_people(row->values, words, sizeof(words));
	conf_error_set(error, "%." SHOWN_MAX "s: must be %s", text, words);
	return -1;
}

static int
value_parse_flag(struct conf_value *value, const char *text, struct conf_error *error)
{
	if (text != NULL && strcmp(text, "yes") != 0 && strcmp(text, "no") != 0) {
		conf_error_set(error, "%." SHOWN_MAX "s: must be yes or no", text);
		return -1;
	}
	value->flag = text == NULL || strcmp(text, "yes") == 0;
	return 0;
}

static int
value_parse_string(struct conf_value *value, const char *text, struct conf_error *error)
{
	char	*copy = strdup(text);

	if (copy == NULL) {
		conf_error_set(error, "out of memory");
		return -1;
	}
	free(value->string);
	value->string = copy;
	return 0;
}

int
conf_value_parse(const struct conf_row *row, struct conf_value *value, const char *text, const char *origin,
    struct conf_error *error)
{
	value->set = true;
	switch (row->type) {
	case CONF_FLAG:
		return value_parse_flag(value, text, error);
	case CONF_STRING:
		return value_parse_string(value, text, error);
	case CONF_LIST:
		if (list_add(&value->list, text, origin) == 0)
			return 0;
		conf_error_set(error, "out of memory");
		return -1;
	case CONF_UINT:
	case CONF_SIZE:
	case CONF_TIME:
		return value_parse_number(row, value, text, error);
	case CONF_ENUM:
		return value_parse_word(row, value, text, error);
	}
	return -1;
}
