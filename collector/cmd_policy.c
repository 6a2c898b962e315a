/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "common/buf.h"

#include "cmd.h"
#include "table.h"

/* vmtap policy: asks the running collector over its control socket, one JSON line each way. */

#define ANSWER_MAX	(1024u * 1024)
#define TEXT_MAX	(64u * 1024)
#define ANSWER_SECONDS	15

struct policy_options {
	char	*store, *ctl;
	bool	 json;
};
static const struct conf_row policy_rows[] = {
	{ .name = "store", .type = CONF_STRING, .initial = CMD_STORE, .argument = "DIR", .offset = offsetof(struct policy_options, store),
	  .help = "the collector's store" },
	{ .name = "ctl", .type = CONF_STRING, .argument = "PATH", .offset = offsetof(struct policy_options, ctl),
	  .help = "the collector's control socket (default: ctl.sock in the store)" },
	{ .name = "json", .type = CONF_FLAG, .offset = offsetof(struct policy_options, json), .help = "as JSON" },
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
connect_ctl(const char *path)
{
	struct timeval limit = { .tv_sec = ANSWER_SECONDS };
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd;

	if (strlen(path) >= sizeof(address.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	strcpy(address.sun_path, path);
	if ((fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) == -1)
		return -1;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) == 0)
		return fd;
	close(fd);
	return -1;
}

static int
exchange(int fd, const json_t *question, struct buf *answer)
{
	char *line = json_dumps(question, JSON_COMPACT);
	ssize_t got = -1;
	int rc = -1;

	if (line != NULL && dprintf(fd, "%s\n", line) > 0)
		while (buf_reserve(answer, 4096) == 0 && (got = read(fd, answer->data + answer->len, 4096)) > 0) {
			answer->len += (size_t)got;
			if (memchr(answer->data, '\n', answer->len) != NULL) {
				rc = 0;
				break;
			}
		}
	if (rc == -1 && got == 0)
		errno = ECONNRESET;
	free(line);
	return rc;
}

/* The collector's answer, or NULL after saying why. */
static json_t *
ask(const struct policy_options *options, const json_t *question)
{
	json_t *answer = NULL;
	json_error_t error;
	struct buf text;
	char path[512];
	int fd;

	if (options->ctl != NULL)
		snprintf(path, sizeof(path), "%s", options->ctl);
	else
		snprintf(path, sizeof(path), "%s/ctl.sock", options->store);
	if ((fd = connect_ctl(path)) == -1) {
		cmd_fail("policy", "%s: %s: is the collector running?", path, strerror(errno));
		return NULL;
	}
	buf_init(&text, ANSWER_MAX);
	if (exchange(fd, question, &text) == -1)
		cmd_fail("policy", "%s: no answer: %s", path, strerror(errno));
	else if ((answer = json_loadb((const char *)text.data, text.len, JSON_DISABLE_EOF_CHECK, &error)) == NULL)
		cmd_fail("policy", "%s: not an answer: %s", path, error.text);
	buf_clear(&text);
	close(fd);
	return answer;
}

static int
ask_and_print(const struct policy_options *options, json_t *question, const char *list, const struct table_column *columns)
{
	json_t *answer = ask(options, question), *rows, *row;
	const char *why;
	size_t i;
	int rc = 0;

	json_decref(question);
	if (answer == NULL)
		return 1;
	if (!json_is_true(json_object_get(answer, "ok"))) {
		why = json_string_value(json_object_get(answer, "error"));
		rc = cmd_fail("policy", "%s", why != NULL ? why : "the collector's answer makes no sense");
		json_decref(answer);
		return rc;
	}
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
