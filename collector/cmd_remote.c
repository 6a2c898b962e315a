/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>

#include <jansson.h>

#include "cmd.h"
#include "cmd_remote.h"
#include "reach.h"

/* vms, files, stats and read with --connect. */

static int
put_number(json_t *argv, const struct conf_row *row, uint64_t value)
{
	if (value == 0)
		return 0;
	return json_array_append_new(argv, json_sprintf("--%s=%" PRIu64 "%s", row->name, value, row->type == CONF_TIME ? "ms" : ""));
}

static int
put_option(json_t *argv, const struct conf_row *row, const void *options)
{
	const void *value = (const char *)options + row->offset;
	const char *text;

	switch (row->type) {
	case CONF_FLAG:
		return *(const bool *)value ? json_array_append_new(argv, json_sprintf("--%s", row->name)) : 0;
	case CONF_STRING:
		text = *(const char *const *)value;
		return text != NULL ? json_array_append_new(argv, json_sprintf("--%s=%s", row->name, text)) : 0;
	case CONF_UINT:
	case CONF_SIZE:
	case CONF_TIME:
		return put_number(argv, row, *(const uint64_t *)value);
	case CONF_LIST:
	case CONF_ENUM:
		break;
	}
	return -1;
}

/* NULL: something is not UTF-8, or ENOMEM. */
static json_t *
make_argv(const struct remote_verb *verb)
{
	json_t *argv = json_array();
	int errs = json_array_append_new(argv, json_string(verb->verb));

	if (verb->operand != NULL)
		errs += json_array_append_new(argv, json_string(verb->operand));
	for (const struct conf_row *row = verb->rows; row->name != NULL; row++)
		if (cmd_is_harmless(row))
			errs += put_option(argv, row, verb->options);
	if (verb->rest != NULL) {
		errs += json_array_append_new(argv, json_string("--"));
		errs += json_array_append_new(argv, json_string(verb->rest));
	}
	if (errs == 0)
		return argv;
	json_decref(argv);
	return NULL;
}

int
cmd_remote(const struct remote_verb *verb, int out)
{
	json_t *argv = make_argv(verb);
	struct reach *reach = NULL;
	int rc = 1;

	if (argv == NULL)
		cmd_fail(verb->verb, "what is asked is not UTF-8, or there is no memory");
	else if ((reach = reach_open(verb->verb, verb->reach, NULL, NULL)) != NULL)
		rc = reach_run(reach, argv, out);
	else
		json_decref(argv);
	reach_close(reach);
	return rc;
}
