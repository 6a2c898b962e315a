/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "common/buf.h"

#include "cmd.h"
#include "reach.h"
#include "table.h"

/* vmtap policy: asks the running collector, one JSON line each way. */

#define TEXT_MAX	(64u * 1024)

struct policy_options {
	char	*store, *ctl;
	bool	 json;
	struct reach_options reach;
};
static const struct conf_row policy_rows[] = {
	{ .name = "store", .type = CONF_STRING, .initial = CMD_STORE, .argument = "DIR", .offset = offsetof(struct policy_options, store),
	  .help = "the collector's store" },
	{ .name = "ctl", .type = CONF_STRING, .argument = "PATH", .offset = offsetof(struct policy_options, ctl),
	  .help = "the collector's control socket (default: ctl.sock in the store)" },
	{ .name = "json", .type = CONF_FLAG, .offset = offsetof(struct policy_options, json), .help = "as JSON" },
	REACH_ROWS(struct policy_options),
	{ 0 }
};
static const char usage[] = "show | set SCOPE KEY=VALUE... | clear SCOPE\n"
    "       SCOPE is a VM (name or UUID), tenant:NAME, label:NAME or default;\n"
    "       KEY is interfaces, filter, snaplen, direction, compress, rate-limit, slice, mask, dedup, network,\n"
    "       withhold-share or, of a VM, labels";

static const struct table_column show_columns[] = {
	{ "scope", "SCOPE", TABLE_TEXT }, { "origin", "FROM", TABLE_TEXT }, { "text", "POLICY", TABLE_TEXT }, { NULL, NULL, TABLE_TEXT }
};
static const struct table_column result_columns[] = {
	{ "vm", "VM", TABLE_TEXT }, { "name", "NAME", TABLE_TEXT }, { "accepted", "ACCEPTED", TABLE_TEXT },
	{ "reason", "REASON", TABLE_TEXT }, { NULL, NULL, TABLE_TEXT }
};

static int
ask_and_print(const struct policy_options *options, json_t *question, const char *list, const struct table_column *columns)
{
	json_t *answer = reach_ask_once("policy", &options->reach, options->store, options->ctl, question), *rows, *row;
	size_t i;
	int rc = 0;

	if (answer == NULL)
		return 1;
	rows = json_object_get(answer, list);
	table_print(columns, rows, options->json);
	json_array_foreach(rows, i, row)
		if (json_is_false(json_object_get(row, "accepted")))
			rc = 1;
	json_decref(answer);
	return rc;
}

/* "tenant:acme" -> "tenant acme", "web1" -> "vm web1". */
static char *
scope_of(const char *operand)
{
	static const char *const kinds[] = { "tenant", "label", "vm" };
	char *scope = NULL;
	size_t i, len;

	if (strcmp(operand, "default") == 0)
		return strdup(operand);
	for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		len = strlen(kinds[i]);
		if (strncmp(operand, kinds[i], len) == 0 && operand[len] == ':')
			return asprintf(&scope, "%s %s", kinds[i], operand + len + 1) == -1 ? NULL : scope;
	}
	return asprintf(&scope, "vm %s", operand) == -1 ? NULL : scope;
}

static int
set_policy(const struct policy_options *options, int argc, char **argv)
{
	struct buf text;
	json_t *question;
	char *scope, *equals;
	int i;

	if (argc < 2)
		cmd_bad_usage("policy", "set: which SCOPE and KEY=VALUE?");
	buf_init(&text, TEXT_MAX);
	for (i = 1; i < argc; i++) {
		if ((equals = strchr(argv[i], '=')) == NULL || strchr(argv[i], '\n') != NULL)
			cmd_bad_usage("policy", "set: \"%s\" is not KEY=VALUE", argv[i]);
		if (buf_printf(&text, "%.*s = %s\n", (int)(equals - argv[i]), argv[i], equals + 1) == -1)
			cmd_bad_usage("policy", "set: too long");
	}
	scope = scope_of(argv[0]);
	question = json_pack("{s:s,s:s,s:s%}", "command", "policy-set", "scope", scope, "text", text.data, text.len);
	free(scope);
	buf_clear(&text);
	if (question == NULL)
		cmd_bad_usage("policy", "set: names and values must be UTF-8");
	return ask_and_print(options, question, "results", result_columns);
}

static int
clear_policy(const struct policy_options *options, int argc, char **argv)
{
	json_t *question;
	char *scope;

	if (argc != 1)
		cmd_bad_usage("policy", "clear: which SCOPE?");
	scope = scope_of(argv[0]);
	question = json_pack("{s:s,s:s}", "command", "policy-clear", "scope", scope);
	free(scope);
	if (question == NULL)
		cmd_bad_usage("policy", "clear: names must be UTF-8");
	return ask_and_print(options, question, "results", result_columns);
}

int
cmd_policy(int argc, char **argv)
{
	struct policy_options options = { 0 };
	const char *verb;
	int rest, rc;

	cmd_options_operand(policy_rows, &options, argc, argv, usage, &verb, &rest);
	if (verb == NULL)
		cmd_bad_usage("policy", "show, set or clear?");
	if (strcmp(verb, "show") == 0 && rest == argc)
		rc = ask_and_print(&options, json_pack("{s:s}", "command", "policy-show"), "policies", show_columns);
	else if (strcmp(verb, "set") == 0)
		rc = set_policy(&options, argc - rest, argv + rest);
	else if (strcmp(verb, "clear") == 0)
		rc = clear_policy(&options, argc - rest, argv + rest);
	else
		cmd_bad_usage("policy", "\"%s\" is none of show, set, clear", verb);
	conf_free(policy_rows, &options);
	return rc;
}
