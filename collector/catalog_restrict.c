/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <sqlite3.h>

#include "proto/rights.h"

#include "collector/catalog_restrict.h"

/* Whose rows may be read. A table of its own, since a view takes no parameters. */
static const char visible_sql[] = "PRAGMA temp_store = MEMORY; CREATE TEMP TABLE visible (tenant TEXT PRIMARY KEY) WITHOUT ROWID";
#define VISIBLE_TENANT	"tenant IN (SELECT tenant FROM temp.visible)"
#define VISIBLE_VM	"(SELECT uuid FROM main.vm WHERE " VISIBLE_TENANT ")"

/* A view has no rowid of its own, and that of a stream tells their order. */
static const struct {
	const char	*table, *columns, *where;
} views[] = {
	{ "vm", "*", VISIBLE_TENANT },
	{ "stream", "rowid, *", "vm IN " VISIBLE_VM },
	{ "interface", "*", "stream IN (SELECT id FROM main.stream WHERE vm IN " VISIBLE_VM ")" },
	{ "file", "*", "vm IN " VISIBLE_VM },
	{ "point", "*", "file IN (SELECT id FROM main.file WHERE vm IN " VISIBLE_VM ")" },
	{ "loss", "*", "vm IN " VISIBLE_VM },
	{ "stat", "*", "vm IN " VISIBLE_VM },
	{ "event", "*", "vm IN " VISIBLE_VM },
	{ "revoked", "*", "uuid IN " VISIBLE_VM },
	{ "clock", "*", "vm IN " VISIBLE_VM },
	{ "withheld", "*", "vm IN " VISIBLE_VM " AND peer IN " VISIBLE_VM },
};

static int
add_visible(sqlite3 *db, const char *sql, const char *tenant)
{
	sqlite3_stmt *stmt = NULL;
	int rc = SQLITE_ERROR;

	if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) == SQLITE_OK &&
	    (tenant == NULL || sqlite3_bind_text(stmt, 1, tenant, -1, SQLITE_STATIC) == SQLITE_OK))
		rc = sqlite3_step(stmt);
	sqlite3_finalize(stmt);
	return rc == SQLITE_DONE ? 0 : -1;
}

/* Of all tenants means those that there are now. */
static int
make_visible(sqlite3 *db, const struct rights *rights)
{
	if (sqlite3_exec(db, visible_sql, NULL, NULL, NULL) != SQLITE_OK)
		return -1;
	if (rights_have(rights, RIGHTS_ALL_TENANTS, RIGHT_READ))
		return add_visible(db, "INSERT INTO temp.visible SELECT DISTINCT tenant FROM main.vm", NULL);
	for (size_t i = 0; i < rights->count; i++)
		if (rights_have(rights, rights->tenant[i].name, RIGHT_READ) &&
		    add_visible(db, "INSERT INTO temp.visible VALUES (?1)", rights->tenant[i].name) == -1)
			return -1;
	return 0;
}

static int
make_views(sqlite3 *db)
{
	char sql[512];

	for (size_t i = 0; i < sizeof(views) / sizeof(views[0]); i++) {
		snprintf(sql, sizeof(sql), "CREATE TEMP VIEW %s AS SELECT %s FROM main.%s WHERE %s", views[i].table, views[i].columns,
		    views[i].table, views[i].where);
		if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
			return -1;
	}
	return 0;
}

static bool
is_view(const char *name)
{
	for (size_t i = 0; name != NULL && i < sizeof(views) / sizeof(views[0]); i++)
		if (strcmp(views[i].table, name) == 0)
			return true;
	return false;
}

/* The catalog is read through the views alone; so is the list of who is visible. */
static bool
may_read(const char *table, const char *database, const char *through)
{
	if (is_view(through))
		return true;
	return (database == NULL || strcmp(database, "main") != 0) && (table == NULL || strcmp(table, "visible") != 0);
}

/* what: a table's name, or a pragma's; through: the view, or common table expression, that asks. */
static int
authorize(void *arg, int action, const char *what, const char *detail, const char *database, const char *through)
{
	bool good = false;

	(void)arg;
	(void)detail;
	switch (action) {
	case SQLITE_SELECT:
	case SQLITE_FUNCTION:
	case SQLITE_RECURSIVE:
	case SQLITE_TRANSACTION:
	case SQLITE_SAVEPOINT:
		good = true;
		break;
	case SQLITE_READ:
		good = may_read(what, database, through);
		break;
	case SQLITE_PRAGMA:
		good = what != NULL && strcmp(what, "data_version") == 0;
		break;
	}
	return good ? SQLITE_OK : SQLITE_DENY;
}

int
catalog_restrict(struct sqlite3 *db, const struct rights *rights, char *error, size_t error_size)
{
	if (make_visible(db, rights) == 0 && make_views(db) == 0 && sqlite3_set_authorizer(db, authorize, NULL) == SQLITE_OK)
		return 0;
	snprintf(error, error_size, "catalog: %s", sqlite3_errmsg(db));
	return -1;
}
