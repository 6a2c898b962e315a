/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sqlite3.h>

#include "collector/catalog.h"
#include "collector/collector.h"
#include "collector/ctl_internal.h"
#include "collector/policy.h"

/*
 * Policies by command. Sections of one tenant are for who has the right there; what may concern several tenants (default, labels, a
 * VM's name by itself) is for who has it everywhere. A tenant's operator names a VM, but what is kept is its UUID, since another
 * tenant may have one of that name.
 */

/* Without the scope's override; but quotas that were set for it stay, unless the client may set them. NULL with a line. */
static struct policy_set *
ctl_clear_scope(struct ctl_client *client, const char *scope, bool *kept, char *error, size_t error_size)
{
	struct collector *collector = client->ctl->collector;
	struct policy_set *set = collector_make_policy(collector, scope, NULL, error, error_size);
	char *quotas = policy_set_override_quotas(collector->policy, scope);

	*kept = quotas != NULL && quotas[0] != '\0' && !ctl_may(client, RIGHTS_ALL_TENANTS, RIGHT_ADMIN);
	if (set != NULL && (quotas == NULL || (*kept && policy_set_override(set, scope, quotas, error, error_size) == -1))) {
		if (quotas == NULL)
			snprintf(error, error_size, "out of memory");
		policy_set_unref(set);
		set = NULL;
	}
	free(quotas);
	return set;
}

/* Stored first, then pushed: an agent that connects between the two gets it as well. */
static void
ctl_change_policy(struct ctl_client *client, const char *scope, const char *text)
{
	struct collector *collector = client->ctl->collector;
	char error[POLICY_ERROR_SIZE];
	bool kept = text != NULL;
	struct policy_set *set = text != NULL ? collector_make_policy(collector, scope, text, error, sizeof(error)) :
	    ctl_clear_scope(client, scope, &kept, error, sizeof(error));

	if (set == NULL && !ctl_may(client, RIGHTS_ALL_TENANTS, RIGHT_POLICY)) {
		log_error("%s: %s", client->who, error);
		snprintf(error, sizeof(error), "the policies of this collector are at fault; its log says how");
	}
	if (set == NULL) {
		ctl_error(client, error);
		return;
	}
	if (collector_store_override(collector, scope, kept ? set : NULL, error, sizeof(error)) == -1) {
		policy_set_unref(set);
		ctl_error(client, error);
		return;
	}
	log_info("policy of %s %s by %s", scope, text != NULL ? "set" : "cleared", client->who);
	client->list = "results";
	ctl_wait(client);
	collector_use_policy(collector, set, client->token);
}

/* The scope as it is to be kept, of one who may set it; -1 with a line. */
static int
ctl_allowed_scope(const struct ctl_client *client, const char *asked, char scope[POLICY_SCOPE_SIZE], char *error, size_t error_size)
{
	struct catalog_vm vm;

	if (policy_check_scope(asked, error, error_size) == -1)
		return -1;
	snprintf(scope, POLICY_SCOPE_SIZE, "%s", asked);
	if (ctl_may(client, RIGHTS_ALL_TENANTS, RIGHT_POLICY))
		return 0;
	if (strncmp(asked, "tenant ", 7) == 0 && ctl_may(client, asked + 7, RIGHT_POLICY))
		return 0;
	if (strncmp(asked, "vm ", 3) == 0) {
		if (ctl_find_vm(client, asked + 3, RIGHT_POLICY, &vm, error, error_size) == -1)
			return -1;
		snprintf(scope, POLICY_SCOPE_SIZE, "vm %s", vm.uuid);
		return 0;
	}
	snprintf(error, error_size, "your certificate gives the right \"policy\" for its tenants and their VMs: vm NAME-or-UUID, tenant NAME");
	return -1;
}

/* Checked alone first, so that what is said is of this text and not of somebody else's. */
static int
ctl_check_text(const struct ctl_client *client, const char *scope, const char *text, char *error, size_t error_size)
{
	struct policy_set *set = policy_set_new();
	char *quotas = NULL;
	int rc = -1;

	if (set == NULL || (policy_set_override(set, scope, text, error, error_size) == 0 &&
	    (quotas = policy_set_override_quotas(set, scope)) == NULL))
		snprintf(error, error_size, "out of memory");
	else if (quotas != NULL && quotas[0] != '\0' && !ctl_may(client, RIGHTS_ALL_TENANTS, RIGHT_ADMIN))
		snprintf(error, error_size, "what a tenant may take is not for its operators to set: the right \"admin\" of all tenants is"
		    " needed");
	else
		rc = quotas != NULL ? 0 : -1;
	free(quotas);
	policy_set_unref(set);
	return rc;
}

/* Has the VM a policy by command, or may its tenant have one more? -1 with a line. */
static int
ctl_check_room(const struct ctl_client *client, const char *scope, char *error, size_t error_size)
{
	static const char sql[] = "SELECT EXISTS (SELECT 1 FROM policy WHERE scope = ?1) OR (SELECT count(*) FROM policy WHERE scope IN"
	    " (SELECT 'vm ' || uuid FROM vm WHERE tenant = (SELECT tenant FROM vm WHERE uuid = substr(?1, 4)))) < ?2";
	sqlite3 *db = client->ctl->collector->db;
	sqlite3_stmt *stmt = NULL;
	int room = -1;

	if (strncmp(scope, "vm ", 3) != 0 || ctl_may(client, RIGHTS_ALL_TENANTS, RIGHT_POLICY))
		return 0;
	if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) == SQLITE_OK &&
	    sqlite3_bind_text(stmt, 1, scope, -1, SQLITE_STATIC) == SQLITE_OK &&
	    sqlite3_bind_int(stmt, 2, (int)CTL_POLICIES_TENANT) == SQLITE_OK && sqlite3_step(stmt) == SQLITE_ROW)
		room = sqlite3_column_int(stmt, 0);
	if (room == -1)
		snprintf(error, error_size, "catalog: %s", sqlite3_errmsg(db));
	else if (room == 0)
		snprintf(error, error_size, "VMs of the tenant have %u policies of their own, which is all that there may be by its operators;"
		    " one of the tenant holds for all", CTL_POLICIES_TENANT);
	sqlite3_finalize(stmt);
	return room == 1 ? 0 : -1;
}

static void
ctl_ask_change(struct ctl_client *client, const json_t *question, const char *text)
{
	const char *asked = json_string_value(json_object_get(question, "scope"));
	char error[POLICY_ERROR_SIZE], scope[POLICY_SCOPE_SIZE];

	if (asked == NULL)
		ctl_error(client, "\"scope\" is missing: default, tenant NAME, label NAME or vm NAME-or-UUID");
	else if (ctl_allowed_scope(client, asked, scope, error, sizeof(error)) == -1 ||
	    (text != NULL && (ctl_check_text(client, scope, text, error, sizeof(error)) == -1 ||
	    ctl_check_room(client, scope, error, sizeof(error)) == -1)))
		ctl_error(client, error);
	else
		ctl_change_policy(client, scope, text);
}

void
ctl_policy_set(struct ctl_client *client, const json_t *question)
{
	const char *text = json_string_value(json_object_get(question, "text"));

	if (text == NULL)
		ctl_error(client, "\"text\" is missing: lines of key = value");
	else
		ctl_ask_change(client, question, text);
}

void
ctl_policy_clear(struct ctl_client *client, const json_t *question)
{
	ctl_ask_change(client, question, NULL);
}

/* What holds for all, holds for each tenant. */
static bool
ctl_sees_section(const struct ctl_client *client, const char *scope)
{
	struct catalog_vm vm;
	char error[POLICY_ERROR_SIZE];

	if (ctl_may(client, RIGHTS_ALL_TENANTS, RIGHT_POLICY) || strcmp(scope, "default") == 0)
		return true;
	if (strncmp(scope, "tenant ", 7) == 0)
		return ctl_may(client, scope + 7, RIGHT_POLICY);
	return strncmp(scope, "vm ", 3) == 0 && ctl_find_vm(client, scope + 3, RIGHT_POLICY, &vm, error, sizeof(error)) == 0;
}

struct ctl_sections {
	const struct ctl_client	*client;
	json_t			*rows;
};

static void
ctl_add_section(const char *scope, const char *text, bool override, void *arg)
{
	struct ctl_sections *sections = arg;

	if (ctl_sees_section(sections->client, scope))
		json_array_append_new(sections->rows, json_pack("{s:s, s:s, s:s}", "scope", scope, "origin", override ? "command" : "file",
		    "text", text));
}

void
ctl_policy_show(struct ctl_client *client, const json_t *question)
{
	struct ctl_sections sections = { .client = client, .rows = json_array() };

	(void)question;
	policy_set_each(client->ctl->collector->policy, ctl_add_section, &sections);
	ctl_answer(client, json_pack("{s:b, s:o}", "ok", 1, "policies", sections.rows));
}
