/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <pthread.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sqlite3.h>

#include "common/log.h"
#include "proto/identity.h"

#include "collector/revoked.h"

struct revoked {
	pthread_rwlock_t lock;
	void		*uuids;		/* tsearch(3) of char[IDENTITY_UUID_SIZE] */
	size_t		 count;
};

static int
revoked_compare(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* One that is not remembered would be let in: rather none is. */
static void
revoked_remember(struct revoked *revoked, const char *uuid)
{
	char *copy = strdup(uuid);
	void **found = NULL;

	pthread_rwlock_wrlock(&revoked->lock);
	if (copy == NULL || (found = tsearch(copy, &revoked->uuids, revoked_compare)) == NULL) {
		log_error("out of memory");
		abort();
	}
	if (*found == copy)
		revoked->count++;
	else
		free(copy);
	pthread_rwlock_unlock(&revoked->lock);
}

struct revoked *
revoked_new(struct sqlite3 *db, char *error, size_t error_size)
{
	struct revoked *revoked = calloc(1, sizeof(*revoked));
	sqlite3_stmt *stmt = NULL;
	int rc = SQLITE_ERROR;

	if (revoked == NULL) {
		snprintf(error, error_size, "out of memory");
		return NULL;
	}
	pthread_rwlock_init(&revoked->lock, NULL);
	if (sqlite3_prepare_v2(db, "SELECT uuid FROM revoked", -1, &stmt, NULL) == SQLITE_OK)
		while ((rc = sqlite3_step(stmt)) == SQLITE_ROW)
			revoked_remember(revoked, (const char *)sqlite3_column_text(stmt, 0));
	if (rc != SQLITE_DONE)
		snprintf(error, error_size, "catalog: %s", sqlite3_errmsg(db));
	sqlite3_finalize(stmt);
	if (rc == SQLITE_DONE)
		return revoked;
	revoked_free(revoked);
	return NULL;
}

void
revoked_free(struct revoked *revoked)
{
	if (revoked == NULL)
		return;
	tdestroy(revoked->uuids, free);
	pthread_rwlock_destroy(&revoked->lock);
	free(revoked);
}

bool
revoked_has(struct revoked *revoked, const char *uuid)
{
	bool has;

	pthread_rwlock_rdlock(&revoked->lock);
	has = tfind(uuid, &revoked->uuids, revoked_compare) != NULL;
	pthread_rwlock_unlock(&revoked->lock);
	return has;
}

size_t
revoked_count(struct revoked *revoked)
{
	size_t count;

	pthread_rwlock_rdlock(&revoked->lock);
	count = revoked->count;
	pthread_rwlock_unlock(&revoked->lock);
	return count;
}

int
revoked_add(struct revoked *revoked, struct sqlite3 *db, const char *uuid, uint64_t now_ns, char *error, size_t error_size)
{
	sqlite3_stmt *stmt = NULL;
	int rc = SQLITE_ERROR;

	if (sqlite3_prepare_v2(db, "INSERT OR IGNORE INTO revoked (uuid, at_ns) VALUES (?1, ?2)", -1, &stmt, NULL) == SQLITE_OK &&
	    sqlite3_bind_text(stmt, 1, uuid, -1, SQLITE_STATIC) == SQLITE_OK &&
	    sqlite3_bind_int64(stmt, 2, (int64_t)now_ns) == SQLITE_OK)
		rc = sqlite3_step(stmt);
	if (rc != SQLITE_DONE)
		snprintf(error, error_size, "catalog: %s", sqlite3_errmsg(db));
	sqlite3_finalize(stmt);
	if (rc != SQLITE_DONE)
		return -1;
	revoked_remember(revoked, uuid);
	return 0;
}
