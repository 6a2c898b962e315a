/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/random.h>
#include <errno.h>
#include <pthread.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sqlite3.h>

#include "common/clock.h"
#include "proto/identity.h"

#include "collector/catalog.h"
#include "collector/quota.h"
#include "collector/tenant.h"

#define TENANT_BUSY_MS	2000	/* a worker waits in person */

struct tenant {
	char	name[IDENTITY_NAME_SIZE];
	char	uuid[IDENTITY_UUID_SIZE];	/* of one VM; "": none is known */
	bool	has_peers, has_secret;
	uint8_t	secret[DIGEST_SECRET_SIZE];
	struct tenant_use use;
};

struct tenants {
	pthread_mutex_t	 making;	/* one secret at a time; guards db and failed_ns, and is taken first */
	struct sqlite3	*db;
	uint64_t	 failed_ns;	/* monotonic; 0: it has not */
	pthread_mutex_t	 mutex;		/* guards by_name and count, and is never held while a disk is waited for */
	void		*by_name;	/* tsearch(3) */
	size_t		 count;		/* of them */
};

static int
tenant_compare(const void *a, const void *b)
{
	return strcmp(((const struct tenant *)a)->name, ((const struct tenant *)b)->name);
}

/* Made if it is not there. NULL: ENOMEM. */
static struct tenant *
tenant_get(struct tenants *tenants, const char *name)
{
	struct tenant *tenant = calloc(1, sizeof(*tenant)), **found;

	if (tenant == NULL)
		return NULL;
	snprintf(tenant->name, sizeof(tenant->name), "%s", name);
	if ((found = tsearch(tenant, &tenants->by_name, tenant_compare)) == NULL || *found != tenant)
		free(tenant);
	else if (++tenants->count > 1)
		quota_several_tenants();
	return found != NULL ? *found : NULL;
}

static bool
tenant_add_vm(struct tenant *tenant, const char *uuid)
{
	if (tenant->uuid[0] == '\0')
		snprintf(tenant->uuid, sizeof(tenant->uuid), "%s", uuid);
	if (tenant->has_peers || strcmp(tenant->uuid, uuid) == 0)
		return false;
	tenant->has_peers = true;
	return true;
}

static void
tenant_set_secret(struct tenant *tenant, const void *secret)
{
	memcpy(tenant->secret, secret, DIGEST_SECRET_SIZE);
	tenant->has_secret = true;
}

static void
tenant_load_vms(struct tenant *tenant, sqlite3_stmt *stmt)
{
	for (int i = 1; i <= 2; i++) {
		const unsigned char *uuid = sqlite3_column_text(stmt, i);

		if (uuid != NULL)
			tenant_add_vm(tenant, (const char *)uuid);
	}
}

static void
tenant_load_secret(struct tenant *tenant, sqlite3_stmt *stmt)
{
	const void *secret = sqlite3_column_blob(stmt, 1);

	if (secret != NULL && sqlite3_column_bytes(stmt, 1) == DIGEST_SECRET_SIZE)
		tenant_set_secret(tenant, secret);
}

/* Of each row the first column names the tenant. */
static int
tenants_load(struct tenants *tenants, const char *sql, void (*load)(struct tenant *, sqlite3_stmt *))
{
	sqlite3_stmt *stmt = NULL;
	struct tenant *tenant;
	int rc = SQLITE_ERROR;

	if (sqlite3_prepare_v2(tenants->db, sql, -1, &stmt, NULL) == SQLITE_OK)
		while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
			const unsigned char *name = sqlite3_column_text(stmt, 0);

			if (name != NULL && (tenant = tenant_get(tenants, (const char *)name)) != NULL)
				load(tenant, stmt);
		}
	sqlite3_finalize(stmt);
	return rc == SQLITE_DONE ? 0 : -1;
}

struct tenants *
tenants_new(const char *store, char *error, size_t error_size)
{
	struct tenants *tenants = calloc(1, sizeof(*tenants));

	if (tenants == NULL) {
		snprintf(error, error_size, "out of memory");
		return NULL;
	}
	pthread_mutex_init(&tenants->making, NULL);
	pthread_mutex_init(&tenants->mutex, NULL);
	if ((tenants->db = catalog_open(store, error, error_size)) == NULL)
		goto fail;
	sqlite3_busy_timeout(tenants->db, TENANT_BUSY_MS);
	if (tenants_load(tenants, "SELECT tenant, min(uuid), max(uuid) FROM vm GROUP BY tenant", tenant_load_vms) == 0 &&
	    tenants_load(tenants, "SELECT name, secret FROM tenant", tenant_load_secret) == 0)
		return tenants;
	snprintf(error, error_size, "catalog: %s", sqlite3_errmsg(tenants->db));
fail:
	tenants_free(tenants);
	return NULL;
}

void
tenants_free(struct tenants *tenants)
{
	struct tenant *tenant;

	if (tenants == NULL)
		return;
	while (tenants->by_name != NULL) {
		tenant = *(struct tenant **)tenants->by_name;
		tdelete(tenant, &tenants->by_name, tenant_compare);
		explicit_bzero(tenant->secret, sizeof(tenant->secret));
		free(tenant);
	}
	sqlite3_close(tenants->db);
	pthread_mutex_destroy(&tenants->making);
	pthread_mutex_destroy(&tenants->mutex);
	free(tenants);
}

bool
tenants_meet(struct tenants *tenants, const char *name, const char *uuid)
{
	struct tenant *tenant;
	bool second;

	pthread_mutex_lock(&tenants->mutex);
	tenant = tenant_get(tenants, name);
	second = tenant != NULL && tenant_add_vm(tenant, uuid);
	pthread_mutex_unlock(&tenants->mutex);
	return second;
}

bool
tenants_has_peers(struct tenants *tenants, const char *name)
{
	struct tenant *tenant;
	bool has;

	pthread_mutex_lock(&tenants->mutex);
	tenant = tenant_get(tenants, name);
	has = tenant != NULL && tenant->has_peers;
	pthread_mutex_unlock(&tenants->mutex);
	return has;
}

struct tenant_use *
tenants_use(struct tenants *tenants, const char *name)
{
	struct tenant *tenant;

	pthread_mutex_lock(&tenants->mutex);
	tenant = tenant_get(tenants, name);
	pthread_mutex_unlock(&tenants->mutex);
	return tenant != NULL ? &tenant->use : NULL;
}

struct tenants_visit {
	void	(*each)(const char *, struct tenant_use *, void *);
	void	*arg;
};

static void
tenants_visit(const void *node, VISIT visit, void *arg)
{
	const struct tenants_visit *to = arg;
	struct tenant *tenant = *(struct tenant *const *)node;

	if (visit == postorder || visit == leaf)
		to->each(tenant->name, &tenant->use, to->arg);
}

void
tenants_each(struct tenants *tenants, void (*each)(const char *, struct tenant_use *, void *), void *arg)
{
	struct tenants_visit to = { .each = each, .arg = arg };

	pthread_mutex_lock(&tenants->mutex);
	twalk_r(tenants->by_name, tenants_visit, &to);
	pthread_mutex_unlock(&tenants->mutex);
}

static bool
tenants_known_secret(struct tenants *tenants, const char *name, uint8_t *secret)
{
	struct tenant *tenant;
	bool known;

	pthread_mutex_lock(&tenants->mutex);
	tenant = tenant_get(tenants, name);
	if ((known = tenant != NULL && tenant->has_secret))
		memcpy(secret, tenant->secret, DIGEST_SECRET_SIZE);
	pthread_mutex_unlock(&tenants->mutex);
	return known;
}

/* A commit of its own, so that it is on disk before an agent has it. */
static int
tenants_store_secret(struct tenants *tenants, const char *name, const uint8_t *secret, char *error, size_t error_size)
{
	sqlite3_stmt *stmt = NULL;
	int rc = SQLITE_ERROR;

	if (sqlite3_prepare_v2(tenants->db, "INSERT OR REPLACE INTO tenant (name, secret) VALUES (?1, ?2)", -1, &stmt,
	    NULL) == SQLITE_OK && sqlite3_bind_text(stmt, 1, name, -1, SQLITE_STATIC) == SQLITE_OK &&
	    sqlite3_bind_blob(stmt, 2, secret, DIGEST_SECRET_SIZE, SQLITE_STATIC) == SQLITE_OK)
		rc = sqlite3_step(stmt);
	if (rc != SQLITE_DONE)
		snprintf(error, error_size, "catalog: %s", sqlite3_errmsg(tenants->db));
	sqlite3_finalize(stmt);
	return rc == SQLITE_DONE ? 0 : -1;
}

/* With the mutex "making". */
static int
tenants_make_secret(struct tenants *tenants, const char *name, uint8_t *secret, char *error, size_t error_size)
{
	struct tenant *tenant;

	error[0] = '\0';
	if (tenants->failed_ns != 0 && clock_mono_ns() - tenants->failed_ns < TENANT_RETRY_NS)
		return -1;
	tenants->failed_ns = clock_mono_ns();
	if (getrandom(secret, DIGEST_SECRET_SIZE, 0) != DIGEST_SECRET_SIZE) {
		snprintf(error, error_size, "getrandom: %s", strerror(errno));
		return -1;
	}
	if (tenants_store_secret(tenants, name, secret, error, error_size) == -1)
		return -1;
	tenants->failed_ns = 0;
	pthread_mutex_lock(&tenants->mutex);
	if ((tenant = tenant_get(tenants, name)) != NULL)
		tenant_set_secret(tenant, secret);
	pthread_mutex_unlock(&tenants->mutex);
	return tenant != NULL ? 0 : -1;
}

int
tenants_secret(struct tenants *tenants, const char *name, uint8_t secret[DIGEST_SECRET_SIZE], char *error, size_t error_size)
{
	int rc = 0;

	if (tenants_known_secret(tenants, name, secret))
		return 0;
	pthread_mutex_lock(&tenants->making);
	if (!tenants_known_secret(tenants, name, secret))
		rc = tenants_make_secret(tenants, name, secret, error, error_size);
	pthread_mutex_unlock(&tenants->making);
	if (rc == -1)
		memset(secret, 0, DIGEST_SECRET_SIZE);
	return rc;
}
