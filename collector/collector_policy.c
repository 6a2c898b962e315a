/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sqlite3.h>

#include "collector/collector.h"
#include "collector/policy.h"
#include "collector/store_retain.h"
#include "collector/tenant.h"

static int
policy_load_overrides(struct collector *collector, struct policy_set *set, const char *without, char *error, size_t error_size)
{
	char reason[POLICY_ERROR_SIZE];
	sqlite3_stmt *stmt = NULL;
	int rc = SQLITE_ERROR;

	if (sqlite3_prepare_v2(collector->db, "SELECT scope, text FROM policy ORDER BY scope", -1, &stmt, NULL) == SQLITE_OK)
		while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
			const char *scope = (const char *)sqlite3_column_text(stmt, 0),
			    *text = (const char *)sqlite3_column_text(stmt, 1);

			if (scope == NULL || text == NULL || (without != NULL && strcmp(scope, without) == 0))
				continue;
			if (policy_set_override(set, scope, text, reason, sizeof(reason)) == -1)
				log_warn("policy in the catalog: %s", reason);
		}
	if (rc != SQLITE_DONE)
		snprintf(error, error_size, "catalog: %s", sqlite3_errmsg(collector->db));
	sqlite3_finalize(stmt);
	return rc == SQLITE_DONE ? 0 : -1;
}

struct policy_set *
collector_make_policy(struct collector *collector, const char *scope, const char *text, char *error, size_t error_size)
{
	struct policy_set *set = policy_set_new();

	if (set == NULL) {
		snprintf(error, error_size, "out of memory");
		return NULL;
	}
	if (collector->options.policy != NULL && policy_set_load_file(set, collector->options.policy, error, error_size) == -1)
		goto fail;
	if (policy_load_overrides(collector, set, text == NULL ? scope : NULL, error, error_size) == -1)
		goto fail;
	if (text == NULL || policy_set_override(set, scope, text, error, error_size) == 0)
		return set;
fail:
	policy_set_unref(set);
	return NULL;
}

int
collector_store_override(struct collector *collector, const char *scope, const struct policy_set *set, char *error,
    size_t error_size)
{
	char *text = set != NULL ? policy_set_override_text(set, scope) : NULL;
	const char *sql = text != NULL ? "INSERT OR REPLACE INTO policy (scope, text) VALUES (?1, ?2)"
	    : "DELETE FROM policy WHERE scope = ?1";
	sqlite3_stmt *stmt = NULL;
	int rc = SQLITE_ERROR;

	if (sqlite3_prepare_v2(collector->db, sql, -1, &stmt, NULL) == SQLITE_OK &&
	    sqlite3_bind_text(stmt, 1, scope, -1, SQLITE_STATIC) == SQLITE_OK &&
	    (text == NULL || sqlite3_bind_text(stmt, 2, text, -1, SQLITE_STATIC) == SQLITE_OK))
		rc = sqlite3_step(stmt);
	if (rc != SQLITE_DONE)
		snprintf(error, error_size, "catalog: %s", sqlite3_errmsg(collector->db));
	sqlite3_finalize(stmt);
	free(text);
	return rc == SQLITE_DONE ? 0 : -1;
}

static void
collector_set_quota(const char *name, struct tenant_use *use, void *arg)
{
	const struct policy_set *set = arg;
	struct tenant_quota quota;

	policy_set_quota(set, name, &quota);
	tenant_use_set(use, &quota);
}

void
collector_set_quotas(struct collector *collector)
{
	tenants_each(collector->known, collector_set_quota, collector->policy);
}

void
collector_use_policy(struct collector *collector, struct policy_set *set, uint64_t token)
{
	const struct note note = { .kind = NOTE_POLICY, .policy = set, .token = token };

	policy_set_unref(collector->policy);
	collector->policy = set;
	if (collector->known != NULL)
		collector_set_quotas(collector);
	if (collector->retainer != NULL)
		retainer_poke(collector->retainer);
	workers_tell(&collector->workers, &note);
}
