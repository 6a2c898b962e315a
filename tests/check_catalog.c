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

	run(db, "PRAGMA user_version = 3");
	sqlite3_close(db);
	ck_assert_ptr_null(catalog_open(dir, error, sizeof(error)));
	ck_assert_ptr_nonnull(strstr(error, "version 3 is newer"));
	ck_assert_ptr_null(catalog_open_read_only(dir, error, sizeof(error)));
	ck_assert_ptr_nonnull(strstr(error, "version 3 is newer"));
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
