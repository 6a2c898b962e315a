/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <sqlite3.h>

#include "common/clock.h"
#include "common/log.h"

#include "collector/catalog.h"
#include "collector/counts.h"
#include "collector/loss.h"
#include "collector/store.h"
#include "collector/store_retain.h"
#include "collector/tenant.h"

#define RETAIN_EVERY_S		60
#define RETAIN_AT_ONCE		256		/* files of one transaction */
#define RETAIN_STREAM_NS	(86400u * 1000000000ull)	/* an ended stream without files is remembered so long */

struct retain_file {
	int64_t	id;
	char	path[STORE_PATH_SIZE + 1];
};

/* One run over the store. */
struct retain {
	const struct store	*store;
	sqlite3			*db;
	char			 error[256];	/* what SQLite said */
};

/*
 * Each gives the oldest closed files that are too many by one limit, ?1 (?2: now). Sums run from the newest file to the oldest. One
 * that is still hidden is about to be renamed by a committer, and left to a later time. A guest's clock may be ahead of ours: then
 * it is the file's own time that counts.
 */
static const char retain_by_age[] =
    "SELECT id, path FROM file WHERE live + hidden = 0 AND CASE WHEN last_ns <= ?2 THEN last_ns ELSE created_ns END < ?2 - ?1"
    " ORDER BY created_ns, id";
static const char retain_by_size[] =
    "SELECT id, path FROM (SELECT id, path, live, hidden, created_ns, sum(length) OVER (ORDER BY live DESC, created_ns DESC,"
    " id DESC) AS total FROM file) WHERE live + hidden = 0 AND total > ?1 AND ?2 > 0 ORDER BY created_ns, id";
static const char retain_by_size_vm[] =
    "SELECT id, path FROM (SELECT id, path, live, hidden, created_ns, sum(length) OVER (PARTITION BY vm ORDER BY live DESC,"
    " created_ns DESC, id DESC) AS total FROM file) WHERE live + hidden = 0 AND total > ?1 AND ?2 > 0 ORDER BY created_ns, id";

static const char retain_by_size_tenant[] =
    "SELECT id, path FROM (SELECT id, path, live, hidden, created_ns, sum(length) OVER (ORDER BY live DESC, created_ns DESC,"
    " id DESC) AS total FROM file WHERE vm IN (SELECT uuid FROM vm WHERE tenant = ?3)) WHERE live + hidden = 0 AND total > ?1"
    " AND ?2 > 0 ORDER BY created_ns, id";

/* NOT IN makes one pass over the files, where EXISTS would make one for each stream, with all writers waiting. */
#define RETAIN_FORGOTTEN	"(SELECT id FROM stream WHERE ended AND started_ns < ?1 AND id NOT IN (SELECT stream FROM file)"	\
	" AND id NOT IN (SELECT stream FROM loss WHERE recorded_ns >= ?1)"							\
	" AND id NOT IN (SELECT stream FROM stat WHERE updated_ns >= ?1))"	/* clocks of guests may be anywhere */
static const char retain_any_forgotten[] = "SELECT EXISTS " RETAIN_FORGOTTEN;
static const char *const retain_forget[] = {
	"DELETE FROM interface WHERE stream IN " RETAIN_FORGOTTEN,
	"DELETE FROM stat WHERE stream IN " RETAIN_FORGOTTEN,
	"DELETE FROM loss WHERE stream IN " RETAIN_FORGOTTEN,
	"DELETE FROM event WHERE stream IN " RETAIN_FORGOTTEN,
	"DELETE FROM stream WHERE id IN " RETAIN_FORGOTTEN,
};

/* Of the clocks of a VM those before the oldest packet stored, but the last: it holds from there on. ?1: no packet is that late. */
#define RETAIN_OLD_CLOCKS	" FROM vm CROSS JOIN clock ON clock.vm = vm.uuid AND clock.at_ns < (SELECT max(at_ns) FROM clock"	\
	" WHERE vm = vm.uuid AND at_ns <= coalesce((SELECT min(first_ns) FROM file WHERE vm = vm.uuid), ?1))"
static const char retain_any_old_clock[] = "SELECT EXISTS (SELECT 1" RETAIN_OLD_CLOCKS ")";
static const char retain_forget_clocks[] = "DELETE FROM clock WHERE (vm, at_ns) IN (SELECT clock.vm, clock.at_ns" RETAIN_OLD_CLOCKS ")";

/* What was withheld for a peer of whose packets none is so old (?1: of which none is there at all). Clocks may be wrong by a day. */
#define RETAIN_OLDEST		"WITH oldest AS MATERIALIZED (SELECT vm, min(min(coalesce(first_ns, created_ns), created_ns)) AS ns"	\
	" FROM file GROUP BY vm) "
#define RETAIN_OLD_WITHHELD	" FROM withheld WHERE to_ns < ?1 - 86400000000000"						\
	" AND to_ns < coalesce((SELECT ns FROM oldest WHERE vm = withheld.peer), ?1) - 86400000000000"
static const char retain_any_old_withheld[] = RETAIN_OLDEST "SELECT EXISTS (SELECT 1" RETAIN_OLD_WITHHELD ")";
static const char retain_forget_withheld[] = RETAIN_OLDEST "DELETE" RETAIN_OLD_WITHHELD;

static int
retain_fail(struct retain *retain)
{
	snprintf(retain->error, sizeof(retain->error), "catalog: %s", sqlite3_errmsg(retain->db));
	return -1;
}

/* Up to RETAIN_AT_ONCE files; returns how many, -1 on an SQL error. */
static int
retain_select(struct retain *retain, const char *sql, uint64_t limit, const char *tenant, struct retain_file *file)
{
	sqlite3_stmt *stmt = NULL;
	int n = 0, rc = SQLITE_ERROR;

	if (sqlite3_prepare_v2(retain->db, sql, -1, &stmt, NULL) == SQLITE_OK &&
	    sqlite3_bind_int64(stmt, 1, limit > INT64_MAX ? INT64_MAX : (int64_t)limit) == SQLITE_OK &&
	    sqlite3_bind_int64(stmt, 2, (int64_t)clock_wall_ns()) == SQLITE_OK &&
	    (tenant == NULL || sqlite3_bind_text(stmt, 3, tenant, -1, SQLITE_STATIC) == SQLITE_OK))
		while (n < RETAIN_AT_ONCE && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
			const unsigned char *path = sqlite3_column_text(stmt, 1);

			file[n].id = sqlite3_column_int64(stmt, 0);
			snprintf(file[n].path, sizeof(file[n].path), "%s", path != NULL ? (const char *)path : "");
			n++;
		}
	sqlite3_finalize(stmt);
	return rc == SQLITE_DONE || rc == SQLITE_ROW ? n : retain_fail(retain);
}

static int
retain_exec(sqlite3 *db, const char *sql, int64_t value)
{
	sqlite3_stmt *stmt = NULL;
	int rc = SQLITE_ERROR;

	if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) == SQLITE_OK && sqlite3_bind_int64(stmt, 1, value) == SQLITE_OK)
		rc = sqlite3_step(stmt);
	sqlite3_finalize(stmt);
	return rc == SQLITE_DONE ? 0 : -1;
}

/* Others that left packets to the file's VM lack them now. */
static const char retain_peers[] = "SELECT vm, first_ns, last_ns FROM file WHERE id = ?1 AND first_ns IS NOT NULL AND EXISTS (SELECT 1"
    " FROM withheld WHERE peer = file.vm)";

static int
retain_bind_loss(sqlite3_stmt *loss, sqlite3_stmt *file)
{
	int errs = 0;

	for (int i = 0; i < 3; i++)
		errs += sqlite3_bind_value(loss, i + 1, sqlite3_column_value(file, i));
	errs += sqlite3_bind_int64(loss, 4, 0);
	errs += sqlite3_bind_int(loss, 5, LOSS_UNKNOWN);
	errs += sqlite3_bind_int64(loss, 6, (int64_t)clock_wall_ns());
	errs += sqlite3_bind_int(loss, 7, 0);
	return errs == 0 ? 0 : -1;
}

static int
retain_tell_peers(sqlite3 *db, int64_t id)
{
	sqlite3_stmt *file = NULL, *loss = NULL;
	int rc = SQLITE_ERROR;

	if (sqlite3_prepare_v2(db, retain_peers, -1, &file, NULL) == SQLITE_OK && sqlite3_bind_int64(file, 1, id) == SQLITE_OK)
		rc = sqlite3_step(file);
	if (rc == SQLITE_ROW) {
		rc = SQLITE_ERROR;
		if (sqlite3_prepare_v2(db, CATALOG_LOSS_OF_PEER, -1, &loss, NULL) == SQLITE_OK && retain_bind_loss(loss, file) == 0)
			rc = sqlite3_step(loss);
	}
	sqlite3_finalize(file);
	sqlite3_finalize(loss);
	return rc == SQLITE_DONE ? 0 : -1;
}

static int
retain_delete_rows(struct retain *retain, const struct retain_file *file, int count)
{
	sqlite3 *db = retain->db;
	bool good = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK;

	for (int i = 0; good && i < count; i++)
		good = retain_tell_peers(db, file[i].id) == 0 && retain_exec(db, "DELETE FROM point WHERE file = ?1", file[i].id) == 0 &&
		    retain_exec(db, "DELETE FROM file WHERE id = ?1", file[i].id) == 0;
	return catalog_end(db, good, retain->error, sizeof(retain->error));
}

/* From here on path is the name that the file has then. */
static void
retain_hide(const struct store *store, struct retain_file *file)
{
	char hidden[STORE_PATH_SIZE + 1];

	store_hidden_path(file->path, hidden);
	if (store_hide(store, file->path) == 0 || errno == ENOENT)
		memcpy(file->path, hidden, sizeof(hidden));
	else
		log_warn("%s/%s: cannot be hidden: %s", store->path, file->path, strerror(errno));
}

static int
retain_remove(struct retain *retain, struct retain_file *file, int count)
{
	const struct store *store = retain->store;

	for (int i = 0; i < count; i++)
		retain_hide(store, &file[i]);
	if (retain_delete_rows(retain, file, count) == -1)
		return -1;
	for (int i = 0; i < count; i++) {
		if (unlinkat(store->root_fd, file[i].path, 0) == -1 && errno != ENOENT)
			log_warn("%s/%s: cannot be removed: %s", store->path, file[i].path, strerror(errno));
		log_debug("%s/%s: removed by retention", store->path, file[i].path);
	}
	count_add(COUNT_FILES_REMOVED, (uint64_t)count);
	return 0;
}

static int
retain_limit(struct retain *retain, const char *sql, uint64_t limit, const char *tenant)
{
	struct retain_file *file;
	int n, total = 0;

	if (limit == 0)
		return 0;
	if ((file = calloc(RETAIN_AT_ONCE, sizeof(*file))) == NULL) {
		snprintf(retain->error, sizeof(retain->error), "out of memory");
		return -1;
	}
	while ((n = retain_select(retain, sql, limit, tenant, file)) > 0) {
		if (retain_remove(retain, file, n) == -1) {
			n = -1;
			break;
		}
		total += n;
	}
	free(file);
	return n == -1 ? -1 : total;
}

/* 0 or 1; -1 on an SQL error. */
static int
retain_any(sqlite3 *db, const char *sql, int64_t value)
{
	sqlite3_stmt *stmt = NULL;
	int any = -1;

	if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) == SQLITE_OK && sqlite3_bind_int64(stmt, 1, value) == SQLITE_OK &&
	    sqlite3_step(stmt) == SQLITE_ROW)
		any = sqlite3_column_int(stmt, 0) != 0;
	sqlite3_finalize(stmt);
	return any;
}

/* Writers wait only if there is something to forget; of a stream all goes or nothing. */
static int
retain_forget_streams(struct retain *retain)
{
	int64_t before = (int64_t)(clock_wall_ns() - RETAIN_STREAM_NS);
	int any = retain_any(retain->db, retain_any_forgotten, before);
	bool good;

	if (any == -1)
		return retain_fail(retain);
	if (any == 0)
		return 0;
	good = sqlite3_exec(retain->db, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK;
	for (size_t i = 0; good && i < sizeof(retain_forget) / sizeof(retain_forget[0]); i++)
		good = retain_exec(retain->db, retain_forget[i], before) == 0;
	return catalog_end(retain->db, good, retain->error, sizeof(retain->error));
}

/* Of all VMs in one statement. */
static int
retain_forget_old_clocks(struct retain *retain)
{
	int any = retain_any(retain->db, retain_any_old_clock, INT64_MAX);

	if (any == 0 || (any == 1 && retain_exec(retain->db, retain_forget_clocks, INT64_MAX) == 0))
		return 0;
	return retain_fail(retain);
}

static int
retain_forget_old_withheld(struct retain *retain)
{
	int64_t now = (int64_t)clock_wall_ns();
	int any = retain_any(retain->db, retain_any_old_withheld, now);

	if (any == 0 || (any == 1 && retain_exec(retain->db, retain_forget_withheld, now) == 0))
		return 0;
	return retain_fail(retain);
}

/* Of the tenants that may store only so much, in a list by itself: a disk is waited for. */
struct retain_tenants {
	struct {
		char	 name[IDENTITY_NAME_SIZE];
		uint64_t size;
	}	*tenant;
	size_t	 count;
	bool	 failed;
};

static void
retain_note_tenant(const char *name, struct tenant_use *use, void *arg)
{
	struct retain_tenants *list = arg;
	uint64_t size = atomic_load(&use->store);
	void *grown;

	if (size == 0 || list->failed)
		return;
	if ((grown = realloc(list->tenant, (list->count + 1) * sizeof(*list->tenant))) == NULL) {
		list->failed = true;
		return;
	}
	list->tenant = grown;
	list->tenant[list->count].size = size;
	snprintf(list->tenant[list->count++].name, IDENTITY_NAME_SIZE, "%s", name);
}

static int
retain_by_tenants(struct retain *retain, struct tenants *tenants)
{
	struct retain_tenants list = { 0 };
	int n, total = 0;

	if (tenants != NULL)
		tenants_each(tenants, retain_note_tenant, &list);
	if (list.failed) {
		snprintf(retain->error, sizeof(retain->error), "out of memory");
		total = -1;
	}
	for (size_t i = 0; i < list.count && total >= 0; i++) {
		n = retain_limit(retain, retain_by_size_tenant, list.tenant[i].size, list.tenant[i].name);
		total = n == -1 ? -1 : total + n;
	}
	free(list.tenant);
	return total;
}

static bool
retain_has_limits(const struct retain_limits *limits)
{
	struct retain_tenants list = { 0 };

	if (limits->tenants != NULL)
		tenants_each(limits->tenants, retain_note_tenant, &list);
	free(list.tenant);
	return limits->size != 0 || limits->size_vm != 0 || limits->age_ms != 0 || list.count > 0 || list.failed;
}

int
store_retain(const struct store *store, struct sqlite3 *db, const struct retain_limits *limits, char *error, size_t error_size)
{
	uint64_t age_ns = limits->age_ms > INT64_MAX / 1000000u ? INT64_MAX : limits->age_ms * 1000000u;
	struct retain retain = { .store = store, .db = db };
	int aged, sized, vm_sized, tenant_sized;

	if (!retain_has_limits(limits))
		return 0;
	if ((aged = retain_limit(&retain, retain_by_age, age_ns, NULL)) >= 0 &&
	    (vm_sized = retain_limit(&retain, retain_by_size_vm, limits->size_vm, NULL)) >= 0 &&
	    (tenant_sized = retain_by_tenants(&retain, limits->tenants)) >= 0 &&
	    (sized = retain_limit(&retain, retain_by_size, limits->size, NULL)) >= 0 &&
	    retain_forget_streams(&retain) == 0 && retain_forget_old_clocks(&retain) == 0 &&
	    retain_forget_old_withheld(&retain) == 0)
		return aged + vm_sized + tenant_sized + sized;
	snprintf(error, error_size, "%s: retention: %s", store->path, retain.error);
	return -1;
}

struct retainer {
	const struct store	*store;
	struct sqlite3		*db;
	pthread_t		 thread;
	pthread_mutex_t		 mutex;		/* guards what follows */
	pthread_cond_t		 cond;
	struct retain_limits	 limits;
	bool			 poked, stop;
};

/* Waits for the minute to pass or a poke; false: stop. */
static bool
retainer_wait(struct retainer *retainer, struct retain_limits *limits)
{
	struct timespec until;
	bool stop;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += RETAIN_EVERY_S;
	pthread_mutex_lock(&retainer->mutex);
	while (!retainer->stop && !retainer->poked &&
	    pthread_cond_timedwait(&retainer->cond, &retainer->mutex, &until) == 0)
		;
	retainer->poked = false;
	*limits = retainer->limits;
	stop = retainer->stop;
	pthread_mutex_unlock(&retainer->mutex);
	return !stop;
}

static void *
retainer_main(void *arg)
{
	struct retainer *retainer = arg;
	struct retain_limits limits;
	char error[512];
	int n;

	while (retainer_wait(retainer, &limits)) {
		n = store_retain(retainer->store, retainer->db, &limits, error, sizeof(error));
		if (n == -1)
			log_error("%s", error);
		else if (n > 0)
			log_info("%s: retention removed %d files", retainer->store->path, n);
	}
	return NULL;
}

struct retainer *
retainer_new(const struct store *store, const struct retain_limits *limits, char *error, size_t error_size)
{
	struct retainer *retainer = calloc(1, sizeof(*retainer));

	if (retainer == NULL) {
		snprintf(error, error_size, "out of memory");
		return NULL;
	}
	retainer->store = store;
	retainer->limits = *limits;
	retainer->poked = true;
	pthread_mutex_init(&retainer->mutex, NULL);
	pthread_cond_init(&retainer->cond, NULL);
	if ((retainer->db = catalog_open(store->path, error, error_size)) == NULL)
		goto fail;
	if ((errno = pthread_create(&retainer->thread, NULL, retainer_main, retainer)) == 0)
		return retainer;
	snprintf(error, error_size, "thread: %s", strerror(errno));
fail:
	sqlite3_close(retainer->db);
	free(retainer);
	return NULL;
}

static void
retainer_signal(struct retainer *retainer, const struct retain_limits *limits, bool stop)
{
	pthread_mutex_lock(&retainer->mutex);
	if (limits != NULL)
		retainer->limits = *limits;
	retainer->poked = true;
	retainer->stop = stop;
	pthread_cond_signal(&retainer->cond);
	pthread_mutex_unlock(&retainer->mutex);
}

void
retainer_set_limits(struct retainer *retainer, const struct retain_limits *limits)
{
	retainer_signal(retainer, limits, false);
}

void
retainer_poke(struct retainer *retainer)
{
	retainer_signal(retainer, NULL, false);
}

void
retainer_free(struct retainer *retainer)
{
	if (retainer == NULL)
		return;
	retainer_signal(retainer, NULL, true);
	pthread_join(retainer->thread, NULL);
	sqlite3_close(retainer->db);
	pthread_mutex_destroy(&retainer->mutex);
	pthread_cond_destroy(&retainer->cond);
	free(retainer);
}
