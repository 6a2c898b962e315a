/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include <sqlite3.h>

#include "collector/catalog.h"
#include "collector/collector.h"
#include "collector/ctl_internal.h"

/* --- VMs --- */

/* What the query finds that the client may see: how many, *vm the last of them; -1: SQL error. */
static int
ctl_find_rows(const struct ctl_client *client, const char *sql, const char *text, unsigned set, struct catalog_vm *vm)
{
	sqlite3_stmt *stmt = NULL;
	int n = 0, rc = SQLITE_ERROR;

	if (sqlite3_prepare_v2(client->ctl->collector->db, sql, -1, &stmt, NULL) == SQLITE_OK &&
	    sqlite3_bind_text(stmt, 1, text, -1, SQLITE_STATIC) == SQLITE_OK)
		while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
			const char *uuid = (const char *)sqlite3_column_text(stmt, 0), *tenant = (const char *)sqlite3_column_text(stmt, 1),
			    *name = (const char *)sqlite3_column_text(stmt, 2);

			if (uuid == NULL || tenant == NULL || name == NULL || !ctl_may(client, tenant, set))
				continue;
			snprintf(vm->uuid, sizeof(vm->uuid), "%s", uuid);
			snprintf(vm->tenant, sizeof(vm->tenant), "%s", tenant);
			snprintf(vm->name, sizeof(vm->name), "%s", name);
			n++;
		}
	sqlite3_finalize(stmt);
	return rc == SQLITE_DONE ? n : -1;
}

int
ctl_find_vm(const struct ctl_client *client, const char *text, unsigned set, struct catalog_vm *vm, char *error, size_t error_size)
{
	/* A UUID comes before names like it, and is found without a look at all VMs. */
	int n = ctl_find_rows(client, "SELECT uuid, tenant, name FROM vm WHERE uuid = lower(?1)", text, set, vm);

	if (n == 0)
		n = ctl_find_rows(client, "SELECT uuid, tenant, name FROM vm WHERE name = ?1", text, set, vm);
	if (n == 1)
		return 0;
	if (n == -1)
		snprintf(error, error_size, "catalog: %s", sqlite3_errmsg(client->ctl->collector->db));
	else if (n == 0)
		snprintf(error, error_size, "no VM is called \"%.100s\", nor has that UUID", text);
	else
		snprintf(error, error_size, "%d VMs are called \"%.100s\": its UUID, please", n, text);
	return -1;
}

/* --- commands --- */

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

/* right: of some tenant at least; of which one, each finds out by itself. */
static const struct {
	const char	*name;
	enum right	 right;
	void		(*run)(struct ctl_client *, const json_t *);
} ctl_commands[] = {
	{ "policy-set", RIGHT_POLICY, ctl_policy_set },
	{ "policy-clear", RIGHT_POLICY, ctl_policy_clear },
	{ "policy-show", RIGHT_POLICY, ctl_policy_show },
	{ "status", RIGHT_READ, ctl_status },
	{ "run", RIGHT_READ, ctl_run },
	{ "token-create", RIGHT_ENROL, ctl_token_create },
	{ "token-list", RIGHT_ENROL, ctl_token_list },
	{ "token-revoke", RIGHT_ENROL, ctl_token_revoke },
	{ "revoke", RIGHT_ADMIN, ctl_revoke },
};
#define CTL_NAMES	"policy-set, policy-clear, policy-show, status, run, token-create, token-list, token-revoke and revoke"
#define CTL_COMMANDS	(sizeof(ctl_commands) / sizeof(ctl_commands[0]))

static void
ctl_dispatch(struct ctl_client *client, const char *name, const json_t *question)
{
	char error[128];
	size_t i = 0;

	while (i < CTL_COMMANDS && strcmp(name, ctl_commands[i].name) != 0)
		i++;
	if (i == CTL_COMMANDS)
		ctl_error(client, "unknown command; there are " CTL_NAMES);
	else if (rights_have_some(&client->rights, ctl_commands[i].right))
		ctl_commands[i].run(client, question);
	else {
		snprintf(error, sizeof(error), "your certificate lacks the right \"%s\"", rights_name(ctl_commands[i].right));
		ctl_error(client, error);
	}
}

void
ctl_command(struct ctl_client *client, const char *line, size_t len)
{
	json_error_t error;
	json_t *question = json_loadb(line, len, 0, &error);
	const char *name = json_string_value(json_object_get(question, "command"));

	if (question == NULL)
		ctl_error(client, error.text);
	else if (name == NULL)
		ctl_error(client, "\"command\" is missing: " CTL_NAMES);
	else
		ctl_dispatch(client, name, question);
	json_decref(question);
}
