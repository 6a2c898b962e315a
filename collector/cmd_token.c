/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "common/clock.h"
#include "common/log.h"

#include "cmd.h"
#include "reach.h"
#include "table.h"
#include "token.h"

/* vmtap token and vmtap revoke: who may become a VM here, and who may not be one any more. */

#define SHOWN_SIZE	256

struct token_options {
	char		*store, *ctl;
	bool		 json;
	char		*tenant, *labels, *name;
	uint64_t	 ttl_ms, uses;
	struct reach_options reach;
};
#define OFFSET(field)	offsetof(struct token_options, field)
#define ROWS_COLLECTOR \
	{ .name = "store", .type = CONF_STRING, .initial = CMD_STORE, .argument = "DIR", .offset = OFFSET(store), \
	  .help = "the collector's store" }, \
	{ .name = "ctl", .type = CONF_STRING, .argument = "PATH", .offset = OFFSET(ctl), \
	  .help = "the collector's control socket (default: ctl.sock in the store)" }, \
	{ .name = "json", .type = CONF_FLAG, .offset = OFFSET(json), .help = "as JSON" }, \
	REACH_ROWS(struct token_options)

static const struct conf_row token_rows[] = {
	{ .name = "tenant", .type = CONF_STRING, .argument = "TENANT", .offset = OFFSET(tenant), .help = "whose VMs" },
	{ .name = "ttl", .type = CONF_TIME, .min = 1000, .max = TOKEN_TTL_MAX_S * UINT64_C(1000), .initial = "1h", .argument = "TIME",
	  .offset = OFFSET(ttl_ms), .help = "create: until it expires" },
	{ .name = "uses", .type = CONF_UINT, .min = 1, .max = TOKEN_USES_MAX, .initial = "1", .argument = "N", .offset = OFFSET(uses),
	  .help = "create: for so many VMs" },
	{ .name = "labels", .type = CONF_STRING, .argument = "K=V,...", .offset = OFFSET(labels),
	  .help = "create: that they have, policies of which are theirs" },
	{ .name = "name", .type = CONF_STRING, .argument = "NAME", .offset = OFFSET(name),
	  .help = "create: what they are called, whatever they wish" },
	ROWS_COLLECTOR,
	{ 0 }
};
static const struct conf_row revoke_rows[] = { ROWS_COLLECTOR, { 0 } };

static const char usage[] = "create --tenant TENANT [OPTION...] | list [--tenant TENANT] | revoke ID [--tenant TENANT]";

static const struct table_column list_columns[] = {
	{ "id", "ID", TABLE_TEXT }, { "tenant", "TENANT", TABLE_TEXT }, { "state", "STATE", TABLE_TEXT }, { "used", "USED", TABLE_COUNT },
	{ "uses", "OF", TABLE_COUNT }, { "created", "CREATED", TABLE_TEXT }, { "expires", "EXPIRES", TABLE_TEXT },
	{ "name", "NAME", TABLE_TEXT }, { "labels", "LABELS", TABLE_TEXT }, { NULL, NULL, TABLE_TEXT }
};

static void
add_time(json_t *row, const char *from, const char *to)
{
	char iso[CLOCK_ISO_SIZE];

	json_object_set_new(row, to, json_string(clock_iso((uint64_t)json_integer_value(json_object_get(row, from)), iso, sizeof(iso))));
	json_object_del(row, from);
}

static const char *
state_of(const json_t *row)
{
	if (json_is_true(json_object_get(row, "revoked")))
		return "revoked";
	if ((uint64_t)json_integer_value(json_object_get(row, "expires_ns")) <= clock_wall_ns())
		return "expired";
	return json_integer_value(json_object_get(row, "used")) < json_integer_value(json_object_get(row, "uses")) ? "good" : "used";
}

static int
list(const struct token_options *options)
{
	json_t *question = json_pack("{s:s}", "command", "token-list"), *answer, *row;
	size_t i;

	if (options->tenant != NULL)
		json_object_set_new(question, "tenant", json_string(options->tenant));
	if ((answer = reach_ask_once("token", &options->reach, options->store, options->ctl, question)) == NULL)
		return 1;
	json_array_foreach(json_object_get(answer, "tokens"), i, row) {
		json_object_set_new(row, "state", json_string(state_of(row)));
		json_object_del(row, "revoked");
		add_time(row, "created_ns", "created");
		add_time(row, "expires_ns", "expires");
	}
	table_print(list_columns, json_object_get(answer, "tokens"), options->json);
	json_decref(answer);
	return 0;
}

/* What a collector answers reaches no terminal as it is. */
static const char *
shown(json_t *answer, const char *key, char text[SHOWN_SIZE])
{
	const char *value = json_string_value(json_object_get(answer, key));

	log_escape(text, SHOWN_SIZE, value != NULL ? value : "?");
	return text;
}

/* The token alone on standard output, so that a script has it in $(...). */
static void
print_token(json_t *answer, bool json)
{
	char token[SHOWN_SIZE], id[SHOWN_SIZE], expires[SHOWN_SIZE], fingerprint[SHOWN_SIZE];

	json_object_del(answer, "ok");
	add_time(answer, "expires_ns", "expires");
	if (json) {
		json_dumpf(answer, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII);
		fputc('\n', stdout);
		return;
	}
	printf("%s\n", shown(answer, "token", token));
	fflush(stdout);
	fprintf(stderr, "id %s, until %s; agents need --ca-fingerprint %s\n", shown(answer, "id", id), shown(answer, "expires", expires),
	    shown(answer, "fingerprint", fingerprint));
}

static int
create(const struct token_options *options)
{
	json_t *question, *answer;

	if (options->tenant == NULL)
		cmd_bad_usage("token", "create: --tenant is missing: whose VMs?");
	question = json_pack("{s:s, s:s, s:I, s:I}", "command", "token-create", "tenant", options->tenant, "ttl",
	    (json_int_t)(options->ttl_ms / 1000), "uses", (json_int_t)options->uses);
	if (options->labels != NULL)
		json_object_set_new(question, "labels", json_string(options->labels));
	if (options->name != NULL)
		json_object_set_new(question, "name", json_string(options->name));
	if (question == NULL)
		cmd_bad_usage("token", "create: names must be UTF-8");
	if ((answer = reach_ask_once("token", &options->reach, options->store, options->ctl, question)) == NULL)
		return 1;
	print_token(answer, options->json);
	json_decref(answer);
	return 0;
}

static int
revoke_token(const struct token_options *options, const char *id)
{
	json_t *question = json_pack("{s:s, s:s}", "command", "token-revoke", "id", id), *answer;
	char gone[SHOWN_SIZE], tenant[SHOWN_SIZE];

	if (question == NULL)
		cmd_bad_usage("token", "revoke: an id is 8 hex digits");
	if (options->tenant != NULL)
		json_object_set_new(question, "tenant", json_string(options->tenant));
	if ((answer = reach_ask_once("token", &options->reach, options->store, options->ctl, question)) == NULL)
		return 1;
	printf("token %s of tenant %s is revoked\n", shown(answer, "id", gone), shown(answer, "tenant", tenant));
	json_decref(answer);
	return 0;
}

int
cmd_token(int argc, char **argv)
{
	struct token_options options = { 0 };
	const char *verb;
	int rest, rc;

	cmd_options_operand(token_rows, &options, argc, argv, usage, &verb, &rest);
	if (verb == NULL)
		cmd_bad_usage("token", "create, list or revoke?");
	if (strcmp(verb, "create") == 0 && rest == argc)
		rc = create(&options);
	else if (strcmp(verb, "list") == 0 && rest == argc)
		rc = list(&options);
	else if (strcmp(verb, "revoke") == 0 && rest + 1 == argc)
		rc = revoke_token(&options, argv[rest]);
	else if (strcmp(verb, "revoke") == 0)
		cmd_bad_usage("token", "revoke: which ID? one, please");
	else
		cmd_bad_usage("token", "\"%s\" is none of create, list, revoke%s", rest < argc ? argv[rest] : verb,
		    rest < argc ? ", or behind one of them" : "");
	conf_free(token_rows, &options);
	return rc;
}

/* Names came from certificates: of a few letters, but an answer is an answer. */
static void
print_revoked(const json_t *answer)
{
	const char *name = json_string_value(json_object_get(answer, "name")), *vm = json_string_value(json_object_get(answer, "vm")),
	    *tenant = json_string_value(json_object_get(answer, "tenant"));
	long long closed = json_integer_value(json_object_get(answer, "closed"));

	if (name != NULL && identity_name_valid(name) && tenant != NULL && identity_name_valid(tenant))
		printf("VM %s of tenant %s (%s)", name, tenant, vm != NULL && identity_uuid_valid(vm) ? vm : "?");
	else
		printf("VM %s, which never was here,", vm != NULL && identity_uuid_valid(vm) ? vm : "?");
	printf(" is revoked; sessions ended: %lld\n", closed);
}

int
cmd_revoke(int argc, char **argv)
{
	struct token_options options = { 0 };
	json_t *question, *answer;
	const char *vm;
	int rest;

	cmd_options_operand(revoke_rows, &options, argc, argv, "VM [OPTION...]", &vm, &rest);
	if (vm == NULL || rest != argc)
		cmd_bad_usage("revoke", "%s", vm == NULL ? "which VM?" : "one VM, please");
	if ((question = json_pack("{s:s, s:s}", "command", "revoke", "vm", vm)) == NULL)
		cmd_bad_usage("revoke", "names are UTF-8");
	if ((answer = reach_ask_once("revoke", &options.reach, options.store, options.ctl, question)) != NULL && options.json) {
		json_object_del(answer, "ok");
		json_dumpf(answer, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII);
		fputc('\n', stdout);
	} else if (answer != NULL)
		print_revoked(answer);
	conf_free(revoke_rows, &options);
	json_decref(answer);
	return answer == NULL;
}
