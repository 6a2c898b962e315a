/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "common/conf.h"
#include "common/conf_stage.h"

static void *
row_slot(const struct conf_row *row, void *options)
{
	return (char *)options + row->offset;
}

static const void *
row_value(const struct conf_row *row, const void *options)
{
	return (const char *)options + row->offset;
}

int
conf_stage_init(struct conf_stage *stage, const struct conf_row *rows, struct conf_error *error)
{
	*stage = (struct conf_stage){ .rows = rows };
	while (rows[stage->count].name != NULL)
		stage->count++;
	stage->value = calloc(stage->count + 1, sizeof(*stage->value));
	if (stage->value == NULL) {
		conf_error_set(error, "out of memory");
		return -1;
	}
	return 0;
}

void
conf_stage_clear(struct conf_stage *stage)
{
	for (size_t i = 0; stage->value != NULL && i < stage->count; i++)
		conf_value_clear(&stage->value[i]);
	free(stage->value);
	stage->value = NULL;
}

void
conf_stage_merge(struct conf_stage *stage, struct conf_stage *over)
{
	for (size_t i = 0; i < stage->count; i++) {
		if (!over->value[i].set)
			continue;
		conf_value_clear(&stage->value[i]);
		stage->value[i] = over->value[i];
		over->value[i] = (struct conf_value){ 0 };
	}
}

/* Rows without a default become no, 0, NULL or empty. */
static int
stage_defaults(struct conf_stage *stage, struct conf_error *error)
{
	for (size_t i = 0; i < stage->count; i++) {
		const struct conf_row *row = &stage->rows[i];

		stage->value[i].set = true;
		if (row->initial == NULL)
			continue;
		if (conf_value_parse(row, &stage->value[i], row->initial, "default", error) == -1) {
			conf_error_place(error, "default", row->name);
			return -1;
		}
	}
	return 0;
}

static void
commit_value(const struct conf_row *row, struct conf_value *value, void *slot)
{
	switch (row->type) {
	case CONF_FLAG:
		*(bool *)slot = value->flag;
		break;
	case CONF_STRING:
		free(*(char **)slot);
		*(char **)slot = value->string;
		value->string = NULL;
		break;
	case CONF_LIST:
		conf_list_clear(slot);
		*(struct conf_list *)slot = value->list;
		value->list = (struct conf_list){ 0 };
		break;
	case CONF_UINT:
	case CONF_SIZE:
	case CONF_TIME:
		*(uint64_t *)slot = value->number;
		break;
	case CONF_ENUM:
		*(int *)slot = value->word;
		break;
	}
}

/* The end of every call: all or nothing goes to the options. Returns status. */
static int
stage_finish(struct conf_stage *stage, int status, void *options)
{
	for (size_t i = 0; status == 0 && i < stage->count; i++) {
		if (stage->value[i].set)
			commit_value(&stage->rows[i], &stage->value[i], row_slot(&stage->rows[i], options));
	}
	conf_stage_clear(stage);
	return status;
}

int
conf_defaults(const struct conf_row *rows, void *options, struct conf_error *error)
{
	struct conf_stage	 stage;

	if (conf_stage_init(&stage, rows, error) == -1)
		return -1;
	return stage_finish(&stage, stage_defaults(&stage, error), options);
}

int
conf_parse_text(const struct conf_row *rows, void *options, const char *origin, const char *text, struct conf_error *error)
{
	struct conf_stage	 stage;

	if (conf_stage_init(&stage, rows, error) == -1)
		return -1;
	return stage_finish(&stage, conf_stage_text(&stage, origin, text, error), options);
}

int
conf_parse_args(const struct conf_row *rows, void *options, int argc, char **argv, int *rest, struct conf_error *error)
{
	struct conf_stage	 stage;

	if (conf_stage_init(&stage, rows, error) == -1)
		return -1;
	return stage_finish(&stage, conf_stage_args(&stage, argc, argv, rest, error), options);
}

static bool
is_flag_set(const struct conf_stage *stage, const char *name)
{
	int	 i = conf_find(stage->rows, name, strlen(name));

	return i != -1 && stage->rows[i].type == CONF_FLAG && stage->value[i].flag;
}

/* The file that the command line, or else the program, names. */
static int
load_file(struct conf_stage *file, const struct conf_stage *args, const char *default_path, size_t config_offset,
    struct conf_error *error)
{
	const char	*named = NULL;

	if (is_flag_set(args, "help") || is_flag_set(args, "version"))
		return 0;
	for (size_t i = 0; i < args->count; i++) {
		if (args->rows[i].type == CONF_STRING && args->rows[i].offset == config_offset)
			named = args->value[i].string;
	}
	if (named != NULL)
		return conf_stage_file(file, named, false, error);
	return default_path == NULL ? 0 : conf_stage_file(file, default_path, true, error);
}

int
conf_load(const struct conf_row *rows, void *options, int argc, char **argv, const char *default_path, size_t config_offset,
    int *rest, struct conf_error *error)
{
	struct conf_stage	 stage = { 0 }, file = { 0 }, args = { 0 };
	int			 status = -1;

	if (conf_stage_init(&stage, rows, error) == -1 || conf_stage_init(&file, rows, error) == -1 ||
	    conf_stage_init(&args, rows, error) == -1)
		goto out;
	if (conf_stage_args(&args, argc, argv, rest, error) == -1 || stage_defaults(&stage, error) == -1 ||
	    load_file(&file, &args, default_path, config_offset, error) == -1)
		goto out;
	conf_stage_merge(&stage, &file);
	conf_stage_merge(&stage, &args);
	status = 0;
out:
	conf_stage_clear(&file);
	conf_stage_clear(&args);
	return stage_finish(&stage, status, options);
}

void
conf_free(const struct conf_row *rows, void *options)
{
	for (const struct conf_row *row = rows; row->name != NULL; row++) {
		void	*slot = row_slot(row, options);

		if (row->type == CONF_STRING) {
			free(*(char **)slot);
			*(char **)slot = NULL;
		} else if (row->type == CONF_LIST)
			conf_list_clear(slot);
	}
}

static bool
is_same_string(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool
is_same_list(const struct conf_list *a, const struct conf_list *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++) {
		if (strcmp(a->value[i], b->value[i]) != 0)
			return false;
	}
	return true;
}

static bool
is_same_value(const struct conf_row *row, const void *a, const void *b)
{
	switch (row->type) {
	case CONF_FLAG:
		return *(const bool *)a == *(const bool *)b;
	case CONF_STRING:
		return is_same_string(*(char *const *)a, *(char *const *)b);
	case CONF_LIST:
		return is_same_list(a, b);
	case CONF_UINT:
	case CONF_SIZE:
	case CONF_TIME:
		return *(const uint64_t *)a == *(const uint64_t *)b;
	case CONF_ENUM:
		return *(const int *)a == *(const int *)b;
	}
	return true;
}

const char *
conf_needs_restart(const struct conf_row *rows, const void *old, const void *fresh)
{
	for (const struct conf_row *row = rows; row->name != NULL; row++) {
		if ((row->flags & CONF_RELOAD) == 0 && !is_same_value(row, row_value(row, old), row_value(row, fresh)))
			return row->name;
	}
	return NULL;
}

/* One line, whatever bytes somebody's file or command line brought into it. */
void
conf_error_set(struct conf_error *error, const char *format, ...)
{
	va_list	 ap;

	va_start(ap, format);
	vsnprintf(error->text, sizeof(error->text), format, ap);
	va_end(ap);
	for (char *p = error->text; *p != '\0'; p++) {
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
	}
}

void
conf_error_place(struct conf_error *error, const char *origin, const char *name)
{
	struct conf_error	 inner = *error;

	if (origin == NULL || strcmp(origin, CONF_COMMAND_LINE) == 0)
		conf_error_set(error, "--%s %s", name, inner.text);
	else
		conf_error_set(error, "%s: %s %s", origin, name, inner.text);
}

void
conf_usage(const char *program, const struct conf_error *error)
{
	fprintf(stderr, "%s: %s\n", program, error->text);
	exit(2);
}
