/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <check.h>
#include <sqlite3.h>

#include "common/log.h"

#include "collector/catalog.h"
#include "collector/store.h"

static char dir[64], error[512];

static void
setup(void)
{
	log_init("check", LOG_LEVEL_ERROR);
	strcpy(dir, "/tmp/check_catalog.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	error[0] = '\0';
}

static void
teardown(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", dir);
	ck_assert_int_eq(system(command), 0);
}

static struct sqlite3 *
open_good(void)
{
	struct sqlite3 *db = catalog_open(dir, error, sizeof(error));

	ck_assert_msg(db != NULL, "%s", error);
	return db;
}

static void
run(struct sqlite3 *db, const char *sql)
{
	ck_assert_msg(sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK, "%s", sqlite3_errmsg(db));
}

static bool
exists(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return access(path, F_OK) == 0;
}

START_TEST(it_is_made_once)
{
	struct sqlite3 *db = open_good();

	run(db, "INSERT INTO vm (uuid, tenant, name) VALUES ('u', 't', 'n')");
	sqlite3_close(db);
	db = open_good();
	run(db, "UPDATE vm SET name = 'm' WHERE uuid = 'u'");
	ck_assert_int_eq(sqlite3_changes(db), 1);
	sqlite3_close(db);
}
END_TEST

START_TEST(a_newer_one_is_refused)
{
	struct sqlite3 *db = open_good();

	run(db, "PRAGMA user_version = 1000");
	sqlite3_close(db);
	ck_assert_ptr_null(catalog_open(dir, error, sizeof(error)));
	ck_assert_ptr_nonnull(strstr(error, "version 1000 is newer"));
	ck_assert_ptr_null(catalog_open_read_only(dir, error, sizeof(error)));
	ck_assert_ptr_nonnull(strstr(error, "version 1000 is newer"));
}
END_TEST

/* What version 1 had; a store of it must be taken over whole. */
static const char version_1[] =
    "CREATE TABLE vm (uuid TEXT PRIMARY KEY, tenant TEXT NOT NULL, name TEXT NOT NULL, software TEXT, os TEXT, hardware TEXT,"
    " address TEXT, connected INTEGER NOT NULL DEFAULT 0, since_ns INTEGER, seen_ns INTEGER, clock_offset_ns INTEGER,"
    " policy_version INTEGER, policy_state TEXT, policy_text TEXT, policy_reason TEXT);"
    "CREATE TABLE stream (id BLOB PRIMARY KEY, vm TEXT NOT NULL REFERENCES vm, started_ns INTEGER NOT NULL,"
    " last_block INTEGER NOT NULL DEFAULT 0, ended INTEGER NOT NULL DEFAULT 0);"
    "CREATE TABLE interface (stream BLOB NOT NULL REFERENCES stream, id INTEGER NOT NULL, name TEXT, mac TEXT,"
    " linktype INTEGER NOT NULL, filter TEXT, idb BLOB NOT NULL, PRIMARY KEY (stream, id));"
    "CREATE TABLE file (id INTEGER PRIMARY KEY, vm TEXT NOT NULL REFERENCES vm, stream BLOB NOT NULL REFERENCES stream,"
    " path TEXT NOT NULL UNIQUE, hidden INTEGER NOT NULL DEFAULT 1, codec TEXT NOT NULL, live INTEGER NOT NULL DEFAULT 1,"
    " created_ns INTEGER NOT NULL, length INTEGER NOT NULL, raw INTEGER NOT NULL DEFAULT 0, packets INTEGER NOT NULL DEFAULT 0,"
    " bytes INTEGER NOT NULL DEFAULT 0, first_block INTEGER, last_block INTEGER, first_ns INTEGER, last_ns INTEGER);"
    "CREATE INDEX file_vm_time ON file (vm, first_ns);"
    "CREATE TABLE point (file INTEGER NOT NULL REFERENCES file, block INTEGER NOT NULL, offset INTEGER NOT NULL,"
    " first_ns INTEGER NOT NULL, PRIMARY KEY (file, block)) WITHOUT ROWID;"
    "CREATE TABLE loss (id INTEGER PRIMARY KEY, vm TEXT NOT NULL REFERENCES vm, stream BLOB NOT NULL, place TEXT NOT NULL,"
    " first_block INTEGER, last_block INTEGER, packets INTEGER NOT NULL, bytes INTEGER NOT NULL, first_ns INTEGER,"
    " last_ns INTEGER, recorded_ns INTEGER NOT NULL, approximate INTEGER NOT NULL DEFAULT 0);"
    "CREATE INDEX loss_vm ON loss (vm);"
    "CREATE TABLE stat (vm TEXT NOT NULL REFERENCES vm, stream BLOB NOT NULL, interface INTEGER NOT NULL, counter TEXT NOT NULL,"
    " value INTEGER NOT NULL, updated_ns INTEGER NOT NULL, PRIMARY KEY (vm, stream, interface, counter)) WITHOUT ROWID;"
    "CREATE TABLE policy (scope TEXT PRIMARY KEY, text TEXT NOT NULL);"
    "INSERT INTO vm (uuid, tenant, name) VALUES ('u', 't', 'n');"
    "INSERT INTO stream VALUES (x'01', 'u', 1, 9, 0), (x'02', 'u', 2, 0, 0);"
    "INSERT INTO file (vm, stream, path, codec, created_ns, length, packets, bytes, last_block, first_ns, last_ns) VALUES"
    " ('u', x'01', 'a', 'none', 1, 1, 10, 100, 5, 20, 30), ('u', x'01', 'b', 'none', 1, 1, 5, 50, 9, 31, 40);"
    "INSERT INTO loss (vm, stream, place, packets, bytes, recorded_ns) VALUES ('u', x'01', 'store', 3, 30, 1),"
    " ('u', x'01', 'spool', 7, 70, 1);"
    "INSERT INTO stat VALUES ('u', x'01', 0, 'captured_packets', 25, 1);"
    "PRAGMA user_version = 1";

static void
make_version_1(const char *spoil)
{
	struct sqlite3 *db;
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, CATALOG_NAME);
	ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
	run(db, version_1);
	run(db, spoil);
	sqlite3_close(db);
}

/* As text: what the tables and indexes of a catalog are. */
static void
schema_of(struct sqlite3 *db, char *text, size_t text_size)
{
	sqlite3_stmt *stmt;

	ck_assert_int_eq(sqlite3_prepare_v2(db, "SELECT group_concat(x, ' ') FROM (SELECT m.name || '.' || coalesce(c.name, '') AS x"
	    " FROM sqlite_master AS m LEFT JOIN pragma_table_info(m.name) AS c WHERE m.name NOT LIKE 'sqlite%' ORDER BY x)", -1, &stmt,
	    NULL), SQLITE_OK);
	ck_assert_int_eq(sqlite3_step(stmt), SQLITE_ROW);
	snprintf(text, text_size, "%s", (const char *)sqlite3_column_text(stmt, 0));
	sqlite3_finalize(stmt);
}

static void
expect(struct sqlite3 *db, const char *condition)
{
	char sql[512];
	sqlite3_stmt *stmt;

	snprintf(sql, sizeof(sql), "SELECT %s", condition);
	ck_assert_msg(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) == SQLITE_OK, "%s", sqlite3_errmsg(db));
	ck_assert_int_eq(sqlite3_step(stmt), SQLITE_ROW);
	ck_assert_msg(sqlite3_column_int(stmt, 0) == 1, "not so: %s", condition);
	sqlite3_finalize(stmt);
}

START_TEST(an_older_one_is_migrated)
{
	char migrated[8192], made[8192], path[128];
	struct sqlite3 *db;

	make_version_1("");
	ck_assert_ptr_null(catalog_open_read_only(dir, error, sizeof(error)));
	ck_assert_ptr_nonnull(strstr(error, "the collector makes it new when it starts"));
	db = open_good();
	expect(db, "(SELECT packets = 18 AND bytes = 180 AND packets_block = 9 AND first_ns = 20 AND last_ns = 40 AND cut = 0"
	    " FROM stream WHERE id = x'01')");
	expect(db, "(SELECT packets = 0 AND first_ns IS NULL FROM stream WHERE id = x'02')");
	expect(db, "(SELECT value = 25 AND since_ns IS NULL FROM stat)");
	expect(db, "(SELECT count(*) = 2 FROM loss)");
	expect(db, "(SELECT labels = '' AND not_after_ns IS NULL FROM vm)");
	expect(db, "(SELECT count(*) = 0 FROM revoked)");
	schema_of(db, migrated, sizeof(migrated));
	sqlite3_close(db);
	db = open_good();		/* once */
	sqlite3_close(db);
	db = catalog_open_read_only(dir, error, sizeof(error));
	ck_assert_ptr_nonnull(db);
	sqlite3_close(db);
	snprintf(path, sizeof(path), "%s/%s", dir, CATALOG_NAME);
	ck_assert_int_eq(unlink(path), 0);
	db = open_good();
	schema_of(db, made, sizeof(made));
	ck_assert_str_eq(migrated, made);
	sqlite3_close(db);
}
END_TEST

/* Whole or not at all. */
START_TEST(a_migration_that_fails_changes_nothing)
{
	make_version_1("CREATE TABLE event (x)");
	ck_assert_ptr_null(catalog_open(dir, error, sizeof(error)));
	ck_assert_ptr_nonnull(strstr(error, "event"));
	ck_assert_ptr_null(catalog_open_read_only(dir, error, sizeof(error)));
	ck_assert_ptr_nonnull(strstr(error, "version 1 is older"));
}
END_TEST

START_TEST(what_is_none_is_refused)
{
	struct sqlite3 *db;
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", dir, CATALOG_NAME);
	ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
	run(db, "CREATE TABLE other (x)");
	sqlite3_close(db);
	ck_assert_ptr_null(catalog_open(dir, error, sizeof(error)));
	ck_assert_ptr_nonnull(strstr(error, "not a vmtap catalog"));
	ck_assert_ptr_null(catalog_open_read_only(dir, error, sizeof(error)));
	file = fopen(path, "w");
	for (int i = 0; i < 10000; i++)
		fprintf(file, "not a database ");
	fclose(file);
	ck_assert_ptr_null(catalog_open(dir, error, sizeof(error)));
	ck_assert_ptr_nonnull(strstr(error, path));
	ck_assert_ptr_null(catalog_open_read_only(dir, error, sizeof(error)));
}
END_TEST

START_TEST(readers_make_nothing)
{
	ck_assert_ptr_null(catalog_open_read_only(dir, error, sizeof(error)));
	ck_assert_ptr_nonnull(strstr(error, "no such catalog"));
	ck_assert(!exists(CATALOG_NAME));
	ck_assert_ptr_null(catalog_open_read_only("/dev/null", error, sizeof(error)));
}
END_TEST

static struct sqlite3 *
with_vms(void)
{
	struct sqlite3 *db = open_good();

	run(db, "INSERT INTO vm (uuid, tenant, name) VALUES"
	    " ('aaaaaaaa-0000-0000-0000-000000000001', 'acme', 'web1'), ('aaaaaaaa-0000-0000-0000-000000000002', 'acme', 'web12'),"
	    " ('bbbbbbbb-0000-0000-0000-000000000003', 'acme', 'db'), ('cccccccc-0000-0000-0000-000000000004', 'blue', 'db'),"
	    " ('dddddddd-0000-0000-0000-000000000005', 'blue', 'mail')");
	return db;
}

START_TEST(vms_are_found)
{
	static const struct { const char *text, *uuid_end, *error; } cases[] = {
		{ "web1", "1", NULL },		/* the whole name goes before a prefix */
		{ "web12", "2", NULL }, { "ma", "5", NULL }, { "bbbb", "3", NULL }, { "DDDDDDDD-0000", "5", NULL },
		{ "CCCCCCCC-0000-0000-0000-000000000004", "4", NULL },
		{ "web", NULL, "ambiguous" }, { "aaaaaaaa", NULL, "ambiguous" }, { "db", NULL, "tenant blue" },
		{ "nobody", NULL, "no VM" }, { "", NULL, "no VM" }, { "%", NULL, "no VM" }, { "_eb1", NULL, "no VM" },
		{ "' OR 1=1 --", NULL, "no VM" }, { "we\x1b[31m", NULL, "we?[31m" },
	};
	struct sqlite3 *db = with_vms();
	struct catalog_vm vm;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int rc = catalog_find_vm(db, cases[i].text, &vm, error, sizeof(error));

		ck_assert_msg(rc == (cases[i].error != NULL ? -1 : 0), "\"%s\"", cases[i].text);
		if (cases[i].error != NULL)
			ck_assert_msg(strstr(error, cases[i].error) != NULL, "\"%s\": %s", cases[i].text, error);
		else
			ck_assert_str_eq(vm.uuid + strlen(vm.uuid) - 1, cases[i].uuid_end);
	}
	sqlite3_close(db);
}
END_TEST

/* As somebody of the group who may write nothing: while the collector has it open, and when none runs. */
static int
read_as_group(gid_t gid)
{
	struct catalog_vm vm;
	struct sqlite3 *db;

	if (setgroups(0, NULL) == -1 || setgid(gid) == -1 || setuid(65534) == -1)
		return 2;
	if ((db = catalog_open_read_only(dir, error, sizeof(error))) == NULL)
		return 3;
	return catalog_find_vm(db, "web1", &vm, error, sizeof(error)) == 0 ? 0 : 4;
}

static int
status_of_reader(gid_t gid)
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(read_as_group(gid));
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return WEXITSTATUS(status);
}

/* Another process, once fd says so: looks into the catalog as sqlite3(1) does, and ends. */
static void __attribute__((noreturn))
look_and_leave(int fd, const char *path)
{
	struct sqlite3 *db;
	char byte;

	if (read(fd, &byte, 1) != 1 || sqlite3_open(path, &db) != SQLITE_OK ||
	    sqlite3_exec(db, "SELECT count(*) FROM policy", NULL, NULL, NULL) != SQLITE_OK || sqlite3_close(db) != SQLITE_OK)
		_exit(1);
	_exit(0);
}

/* The last process that closes a catalog deletes its log; while we have it open, that is never another one. */
START_TEST(stays_locked)
{
	struct sqlite3 *first, *second;
	struct stat before, after;
	char path[256], wal[256 + 4];
	int fds[2], status = 0;
	pid_t pid;

	snprintf(path, sizeof(path), "%s/%s", dir, CATALOG_NAME);
	snprintf(wal, sizeof(wal), "%s-wal", path);
	ck_assert_int_eq(pipe(fds), 0);
	if ((pid = fork()) == 0)	/* now, for SQLite's notes on its own locks would be inherited */
		look_and_leave(fds[0], path);
	first = catalog_open(dir, error, sizeof(error));
	second = catalog_open(dir, error, sizeof(error));
	ck_assert(first != NULL && second != NULL);
	ck_assert_int_eq(sqlite3_exec(first, "INSERT INTO policy VALUES ('default', 'x')", NULL, NULL, NULL), SQLITE_OK);
	ck_assert_int_eq(stat(wal, &before), 0);
	ck_assert_int_eq(write(fds[1], "", 1), 1);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(stat(wal, &after), 0);
	ck_assert_uint_eq(before.st_ino, after.st_ino);
	sqlite3_close(second);
	sqlite3_close(first);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

START_TEST(the_group_may_read)
{
	struct group *group = getgrnam("games");
	struct sqlite3 *db;
	struct store store;

	if (getuid() != 0 || group == NULL) {
		fprintf(stderr, "skipped: needs root and a group games\n");
		return;
	}
	ck_assert_msg(store_open(&store, dir, "games", error, sizeof(error)) == 0, "%s", error);
	ck_assert_int_eq(chmod(dir, 0750), 0);
	db = with_vms();
	ck_assert_int_eq(status_of_reader(group->gr_gid), 0);
	ck_assert_int_ne(status_of_reader(65533), 0);
	sqlite3_close(db);
	store_close(&store);
	ck_assert(exists(CATALOG_NAME "-wal"));
	ck_assert_int_eq(status_of_reader(group->gr_gid), 0);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("catalog");
	TCase *tcase = tcase_create("catalog");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, it_is_made_once);
	tcase_add_test(tcase, stays_locked);
	tcase_add_test(tcase, a_newer_one_is_refused);
	tcase_add_test(tcase, an_older_one_is_migrated);
	tcase_add_test(tcase, a_migration_that_fails_changes_nothing);
	tcase_add_test(tcase, what_is_none_is_refused);
	tcase_add_test(tcase, readers_make_nothing);
	tcase_add_test(tcase, vms_are_found);
	tcase_add_test(tcase, the_group_may_read);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
