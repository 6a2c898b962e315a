/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "collector/collector.h"
#include "collector/ctl_internal.h"
#include "collector/policy.h"

#define CTL_COMMANDS	"policy-set, policy-clear, policy-show, status, token-create, token-list, token-revoke, revoke"

/* Stored first, then pushed: an agent that connects between the two gets it as well. */
static void
ctl_change_policy(struct ctl_client *client, const char *scope, const char *text)
{
	struct collector *collector = client->ctl->collector;
	char error[POLICY_ERROR_SIZE];
	struct policy_set *set = collector_make_policy(collector, scope, text, error, sizeof(error));

	if (set == NULL) {
		ctl_error(client, error);
		return;
	}
	if (collector_store_override(collector, scope, text != NULL ? set : NULL, error, sizeof(error)) == -1) {
		policy_set_unref(set);
		ctl_error(client, error);
		return;
	}
	log_info("policy of %s %s by command", scope, text != NULL ? "set" : "cleared");
	client->list = "results";
	ctl_wait(client);
	collector_use_policy(collector, set, client->token);
}

static const char *
ctl_scope(struct ctl_client *client, const json_t *question)
{
	const char *scope = json_string_value(json_object_get(question, "scope"));
	char error[POLICY_ERROR_SIZE];

	if (scope == NULL)
		snprintf(error, sizeof(error), "\"scope\" is missing: default, tenant NAME, label NAME or vm NAME-or-UUID");
	else if (policy_check_scope(scope, error, sizeof(error)) == 0)
		return scope;
	ctl_error(client, error);
	return NULL;
}

static void
ctl_policy_set(struct ctl_client *client, const json_t *question)
{
	const char *text = json_string_value(json_object_get(question, "text")), *scope = ctl_scope(client, question);

	if (scope == NULL)
		return;
	if (text == NULL)
		ctl_error(client, "\"text\" is missing: lines of key = value");
	else
		ctl_change_policy(client, scope, text);
}

static void
ctl_policy_clear(struct ctl_client *client, const json_t *question)
{
	const char *scope = ctl_scope(client, question);

	if (scope != NULL)
		ctl_change_policy(client, scope, NULL);
}

static void
ctl_add_section(const char *scope, const char *text, bool override, void *arg)
{
	json_array_append_new(arg, json_pack("{s:s, s:s, s:s}", "scope", scope, "origin", override ? "command" : "file", "text",
	    text));
}

static void
ctl_policy_show(struct ctl_client *client, const json_t *question)
{
	json_t *rows = json_array();

	(void)question;
	policy_set_each(client->ctl->collector->policy, ctl_add_section, rows);
	ctl_answer(client, json_pack("{s:b, s:o}", "ok", 1, "policies", rows));
}

static void
ctl_status(struct ctl_client *client, const json_t *question)
{
	struct note note = { .kind = NOTE_STATUS };

	(void)question;
	client->list = "workers";
	ctl_wait(client);
	note.token = client->token;
	workers_tell(&client->ctl->collector->workers, &note);
}

static const struct {
	const char	*name;
	void		(*run)(struct ctl_client *, const json_t *);
} ctl_commands[] = {
	{ "policy-set", ctl_policy_set },
	{ "policy-clear", ctl_policy_clear },
	{ "policy-show", ctl_policy_show },
	{ "status", ctl_status },
	{ "token-create", ctl_token_create },
	{ "token-list", ctl_token_list },
	{ "token-revoke", ctl_token_revoke },
	{ "revoke", ctl_revoke },
};

void
ctl_command(struct ctl_client *client, const char *line, size_t len)
{
	json_error_t error;
	json_t *question = json_loadb(line, len, 0, &error);
	const char *name = json_string_value(json_object_get(question, "command"));
	size_t i = 0;

	if (question == NULL)
		ctl_error(client, error.text);
	else if (name == NULL)
		ctl_error(client, "\"command\" is missing: " CTL_COMMANDS);
	else {
		while (i < sizeof(ctl_commands) / sizeof(ctl_commands[0]) && strcmp(name, ctl_commands[i].name) != 0)
			i++;
		if (i < sizeof(ctl_commands) / sizeof(ctl_commands[0]))
			ctl_commands[i].run(client, question);
		else
			ctl_error(client, "unknown command; there are: " CTL_COMMANDS);
	}
	json_decref(question);
}
