/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/conf.h"
#include "common/conf_stage.h"

#define LONG_BASE	256	/* getopt_long() returns this + row for a long option, the letter for a short one */

/* The table in getopt_long(3)'s terms. */
struct getopt_table {
	struct option	*options;
	struct buf	 letters;
};

static void
table_clear(struct getopt_table *table)
{
	free(table->options);
	buf_clear(&table->letters);
}

/* '+': options end at the first operand; ':': a missing value is told from an unknown option. */
static int
table_make(struct getopt_table *table, const struct conf_stage *stage)
{
	int	 errs = 0;

	buf_init(&table->letters, SIZE_MAX);
	table->options = calloc(stage->count + 1, sizeof(*table->options));
	errs += buf_printf(&table->letters, "+:");
	for (size_t i = 0; table->options != NULL && i < stage->count; i++) {
		const struct conf_row *row = &stage->rows[i];

		table->options[i].name = row->name;
		table->options[i].has_arg = row->type == CONF_FLAG ? optional_argument : required_argument;
		table->options[i].val = LONG_BASE + (int)i;
		if (row->letter != 0)
			errs += buf_printf(&table->letters, "%c%s", row->letter, row->type == CONF_FLAG ? "" : ":");
	}
	errs += buf_put_u8(&table->letters, '\0');
	if (table->options != NULL && errs == 0)
		return 0;
	table_clear(table);
	return -1;
}

static const struct conf_row *
row_of(const struct conf_stage *stage, int option)
{
	if (option >= LONG_BASE)
		return &stage->rows[option - LONG_BASE];
	for (size_t i = 0; i < stage->count; i++) {
		if (stage->rows[i].letter == option)
			return &stage->rows[i];
	}
	return NULL;
}

/* "--co" may be several: name two of them. */
static bool
is_ambiguous(const struct conf_row *rows, const char *name, size_t n, struct conf_error *error)
{
	const struct conf_row *first = NULL;

	for (const struct conf_row *row = rows; row->name != NULL; row++) {
		if ((row->flags & CONF_HIDDEN) != 0 || strncmp(row->name, name, n) != 0)
			continue;
		if (first != NULL) {
			conf_error_set(error, "option \"--%.*s\" may be \"--%s\" or \"--%s\"", (int)n, name, first->name,
			    row->name);
			return true;
		}
		first = row;
	}
	return false;
}

static void
unknown_option(const struct conf_row *rows, const char *argument, struct conf_error *error)
{
	const char	*name = argument + 2, *nearest;
	size_t		 n = strcspn(name, "=");

	if (n > 80)
		n = 80;
	if (is_ambiguous(rows, name, n, error))
		return;
	nearest = conf_nearest(rows, name, n, CONF_HIDDEN);
	if (nearest != NULL)
		conf_error_set(error, "unknown option \"--%.*s\"; did you mean \"--%s\"?", (int)n, name, nearest);
	else
		conf_error_set(error, "unknown option \"--%.*s\"", (int)n, name);
}

/* What getopt_long() returned ':' or '?' for; argument is the last one it looked at. */
static void
option_error(const struct conf_stage *stage, int result, const char *argument, struct conf_error *error)
{
	const struct conf_row *row;

	if (result == ':') {
		row = row_of(stage, optopt);
		conf_error_set(error, "--%s: missing value", row->name);
	} else if (optopt != 0)
		conf_error_set(error, "unknown option \"-%c\"", optopt);
	else
		unknown_option(stage->rows, argument, error);
}

static int
stage_option(struct conf_stage *stage, int option, struct conf_error *error)
{
	const struct conf_row *row = row_of(stage, option);
	struct conf_value *value = &stage->value[row - stage->rows];

	if (conf_value_parse(row, value, optarg, CONF_COMMAND_LINE, error) == -1) {
		conf_error_place(error, CONF_COMMAND_LINE, row->name);
		return -1;
	}
	return 0;
}

int
conf_stage_args(struct conf_stage *stage, int argc, char **argv, int *rest, struct conf_error *error)
{
	struct getopt_table	 table;
	int			 option, status = 0;

	if (table_make(&table, stage) == -1) {
		conf_error_set(error, "out of memory");
		return -1;
	}
	optind = 0;	/* starts getopt_long() anew */
	opterr = 0;
	while (status == 0 && (option = getopt_long(argc, argv, (char *)table.letters.data, table.options, NULL)) != -1) {
		if (option == ':' || option == '?') {
			option_error(stage, option, argv[optind - 1], error);
			status = -1;
		} else
			status = stage_option(stage, option, error);
	}
	if (status == 0)
		*rest = optind;
	table_clear(&table);
	return status;
}
