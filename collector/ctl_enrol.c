/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include <event2/event.h>

#include "collector/catalog.h"
#include "collector/collector.h"
#include "collector/ctl_internal.h"
#include "collector/enrol_desk.h"

/* Tokens and revocation: checked here, done by the desk. */

#define CTL_TTL_S	3600	/* of a token, unless it is said */

/* A text of the question; none is dflt. NULL, after an answer: not text, too long, or missing where dflt is NULL. */
static const char *
ctl_text(struct ctl_client *client, const json_t *question, const char *key, const char *dflt, size_t size)
{
	const json_t *value = json_object_get(question, key);
	const char *text = value != NULL ? json_string_value(value) : dflt;
	char error[128];

	if (text != NULL && strlen(text) < size)
		return text;
	snprintf(error, sizeof(error), "\"%s\" is %s", key, text != NULL ? "too long" : value != NULL ? "not a text" : "missing");
	ctl_error(client, error);
	return NULL;
}

static int
ctl_number(struct ctl_client *client, const json_t *question, const char *key, uint64_t dflt, uint64_t max, uint64_t *number)
{
	const json_t *value = json_object_get(question, key);
	json_int_t n = value == NULL ? (json_int_t)dflt : json_is_integer(value) ? json_integer_value(value) : 0;
	char error[128];

	*number = (uint64_t)n;
	if (n >= 1 && (uint64_t)n <= max)
		return 0;
	snprintf(error, sizeof(error), "\"%s\" is not a number from 1 to %llu", key, (unsigned long long)max);
	ctl_error(client, error);
	return -1;
}

static int
ctl_lacks(struct ctl_client *client, enum right right, const char *tenant)
{
	char error[192];

	snprintf(error, sizeof(error), "your certificate lacks the right \"%s\" for tenant %s", rights_name(right), tenant);
	ctl_error(client, error);
	return -1;
}

/* A token for agents that would be refused later is none. */
static int
ctl_check_tenant(struct ctl_client *client, const char *tenant)
{
	const struct conf_list *taken = &client->ctl->collector->options.tenants;
	bool found = taken->count == 0;
	char error[128];

	if (!identity_name_valid(tenant)) {
		ctl_error(client, "that cannot be a tenant: 1 to 64 of A-Z a-z 0-9 . _ - are, not starting with . or -");
		return -1;
	}
	if (!ctl_may(client, tenant, RIGHT_ENROL))
		return ctl_lacks(client, RIGHT_ENROL, tenant);
	for (size_t i = 0; i < taken->count; i++)
		found = found || strcmp(taken->value[i], tenant) == 0;
	if (found && store_tenant_fits(tenant))
		return 0;
	snprintf(error, sizeof(error), "this collector does not take agents of tenant %s", tenant);
	ctl_error(client, error);
	return -1;
}

/* Whose tokens are asked for; "": of all. Who has the right for one tenant alone need not say so. NULL: after an answer. */
static const char *
ctl_whose(struct ctl_client *client, const json_t *question)
{
	const char *tenant = ctl_text(client, question, "tenant", "", IDENTITY_NAME_SIZE);

	if (tenant == NULL || (tenant[0] == '\0' && ctl_may(client, RIGHTS_ALL_TENANTS, RIGHT_ENROL)))
		return tenant;
	if (tenant[0] == '\0' && client->rights.count == 1)
		tenant = client->rights.tenant[0].name;
	if (tenant[0] == '\0')
		ctl_error(client, "\"tenant\" is missing: your certificate is not for all");
	else if (!ctl_may(client, tenant, RIGHT_ENROL))
		ctl_lacks(client, RIGHT_ENROL, tenant);
	else
		return tenant;
	return NULL;
}

static int
ctl_fill_token(struct ctl_client *client, const json_t *question, struct token *token)
{
	const char *tenant, *name, *labels;
	char error[512];

	if ((tenant = ctl_text(client, question, "tenant", NULL, sizeof(token->tenant))) == NULL ||
	    ctl_check_tenant(client, tenant) == -1 ||
	    (name = ctl_text(client, question, "name", "", sizeof(token->name))) == NULL ||
	    (labels = ctl_text(client, question, "labels", "", sizeof(token->labels))) == NULL ||
	    ctl_number(client, question, "uses", 1, TOKEN_USES_MAX, &token->uses) == -1)
		return -1;
	if (name[0] != '\0' && !identity_name_valid(name)) {
		ctl_error(client, "that cannot be a name: 1 to 64 of A-Z a-z 0-9 . _ - are, not starting with . or -");
		return -1;
	}
	if (token_check_labels(labels, error, sizeof(error)) == -1) {
		ctl_error(client, error);
		return -1;
	}
	snprintf(token->tenant, sizeof(token->tenant), "%s", tenant);
	snprintf(token->name, sizeof(token->name), "%s", name);
	snprintf(token->labels, sizeof(token->labels), "%s", labels);
	return 0;
}

/* The desk has been asked, or has not. */
static void
ctl_asked(struct ctl_client *client, int rc)
{
	if (rc == 0)
		return;
	client->token = 0;
	event_del(client->timer);
	ctl_error(client, "too many such commands wait; try again");
}

void
ctl_token_create(struct ctl_client *client, const json_t *question)
{
	struct token token = { 0 };
	uint64_t ttl_s;

	if (ctl_fill_token(client, question, &token) == -1 ||
	    ctl_number(client, question, "ttl", CTL_TTL_S, TOKEN_TTL_MAX_S, &ttl_s) == -1)
		return;
	log_info("token of tenant %s is made by %s", token.tenant, client->who);
	ctl_wait_desk(client);
	ctl_asked(client, desk_create_token(client->ctl->collector->desk, client->token, &token, ttl_s));
}

void
ctl_token_list(struct ctl_client *client, const json_t *question)
{
	const char *tenant = ctl_whose(client, question);

	if (tenant == NULL)
		return;
	ctl_wait_desk(client);
	ctl_asked(client, desk_list_tokens(client->ctl->collector->desk, client->token, tenant[0] != '\0' ? tenant : NULL));
}

void
ctl_token_revoke(struct ctl_client *client, const json_t *question)
{
	const char *id = ctl_text(client, question, "id", NULL, MSG_NAME_SIZE), *tenant;

	if (id == NULL || (tenant = ctl_whose(client, question)) == NULL)
		return;
	log_info("token %.8s is to be revoked by %s", id, client->who);
	ctl_wait_desk(client);
	ctl_asked(client, desk_revoke_token(client->ctl->collector->desk, client->token, id, tenant[0] != '\0' ? tenant : NULL));
}

/* Who has the right for all may also revoke one that never was here. */
void
ctl_revoke(struct ctl_client *client, const json_t *question)
{
	bool all = ctl_may(client, RIGHTS_ALL_TENANTS, RIGHT_ADMIN);
	const char *what = ctl_text(client, question, "vm", NULL, MSG_NAME_SIZE);
	struct catalog_vm vm = { 0 };
	char error[512];

	if (what == NULL)
		return;
	if (!all && ctl_find_vm(client, what, RIGHT_ADMIN, &vm, error, sizeof(error)) == -1) {
		ctl_error(client, error);
		return;
	}
	log_info("VM %s is to be revoked by %s", what, client->who);
	ctl_wait_desk(client);
	ctl_asked(client, desk_revoke(client->ctl->collector->desk, client->token, all ? what : vm.uuid, all ? NULL : vm.tenant));
}
