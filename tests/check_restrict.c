/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/wait.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <check.h>
#include <sqlite3.h>

#include "common/buf.h"
#include "proto/rights.h"

#include "collector/catalog.h"
#include "collector/catalog_restrict.h"
#include "collector/run.h"

/*
 * A catalog in which each table has a row of acme and one of globex, every text of the latter beginning with "globex": whoever may read
 * acme must not see any of them, by whatever table or command.
 */
#define ACME	"aaaaaaaa-2222-3333-4444-555555555555"
#define GLOBEX	"bbbbbbbb-2222-3333-4444-555555555555"

static char	 dir[64];
static sqlite3	*writer;

static void
sql(const char *text)
{
	ck_assert_msg(sqlite3_exec(writer, text, NULL, NULL, NULL) == SQLITE_OK, "%s: %s", text, sqlite3_errmsg(writer));
}

/* %1$s: tenant, %2$s: UUID, %3$d: a number of its own. */
static const char *const rows[] = {
	"INSERT INTO vm (uuid, tenant, name, software, os, hardware, address, policy_state, policy_text, policy_reason)"
	    " VALUES ('%2$s', '%1$s', '%1$s-web1', '%1$s-s', '%1$s-o', '%1$s-h', '%1$s-a', 'refused', '%1$s-t', '%1$s-r')",
	"INSERT INTO stream (id, vm, started_ns, last_block) VALUES (x'0%3$d', '%2$s', %3$d, 1)",
	"INSERT INTO interface (stream, id, name, mac, linktype, filter, idb, network)"
	    " VALUES (x'0%3$d', 0, '%1$s-eth0', '%1$s-m', 1, '%1$s-f', x'00', '%1$s-n')",
	"INSERT INTO file (id, vm, stream, path, hidden, codec, live, created_ns, length)"
	    " VALUES (%3$d, '%2$s', x'0%3$d', '%1$s/file', 0, 'none', 0, 1, 1)",
	"INSERT INTO point (file, block, offset, first_ns) VALUES (%3$d, 1, 1, 1)",
	"INSERT INTO loss (vm, stream, place, packets, bytes, recorded_ns) VALUES ('%2$s', x'0%3$d', '%1$s-place', 1, 1, 1)",
	"INSERT INTO stat (vm, stream, interface, counter, value, updated_ns) VALUES ('%2$s', x'0%3$d', 0, '%1$s-c', 1, 1)",
	"INSERT INTO event (vm, stream, block, at_ns, text) VALUES ('%2$s', x'0%3$d', 1, 1, '%1$s-event')",
	"INSERT INTO clock (vm, at_ns, offset_ns, rtt_ns) VALUES ('%2$s', 1, 1, 1)",
	"INSERT INTO withheld (vm, peer, address, own, network, balanced, from_ns)"
	    " VALUES ('%2$s', '%2$s', '%1$s-a', '%1$s-b', '%1$s-n', 0, 1)",
	"INSERT INTO tenant (name, secret) VALUES ('%1$s', 'globex-secret')",
	"INSERT INTO token (id, hash, tenant, name, labels, uses, created_ns, expires_ns)"
	    " VALUES ('globex-%3$d', x'0%3$d', '%1$s', '', '', 1, 1, 1)",
	"INSERT INTO enrolled (token, key, uuid, at_ns, certificate) VALUES ('globex-%3$d', x'0%3$d', '%2$s', 1, x'00')",
	"INSERT INTO revoked (uuid, at_ns) VALUES ('%2$s', 1)",
	"INSERT INTO policy (scope, text) VALUES ('tenant %1$s', 'globex-policy')",
};

static void
add_tenant(const char *tenant, const char *uuid, int number)
{
	char text[1024];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		snprintf(text, sizeof(text), rows[i], tenant, uuid, number);
#pragma GCC diagnostic pop
		sql(text);
	}
}

static void
set_up(void)
{
	char error[512] = "";

	strcpy(dir, "/tmp/check_restrict.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	writer = catalog_open(dir, error, sizeof(error));
	ck_assert_msg(writer != NULL, "%s", error);
	add_tenant("acme", ACME, 1);
	add_tenant("globex", GLOBEX, 2);
	/* What another VM of acme's left to a peer of globex' would be, were it possible. */
	sql("INSERT INTO withheld (vm, peer, address, own, network, balanced, from_ns) VALUES ('" ACME "', '" GLOBEX "', 'globex-x', '', '',"
	    " 0, 1)");
}

static void
tear_down(void)
{
	char command[128];

	sqlite3_close(writer);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	ck_assert_int_eq(system(command), 0);
}

static sqlite3 *
open_for(const char *tenant)
{
	struct rights rights = { 0 };
	char error[512] = "";
	sqlite3 *db = catalog_open_read_only(dir, error, sizeof(error));

	ck_assert_ptr_nonnull(db);
	if (tenant != NULL)
		ck_assert_int_eq(rights_add(&rights, tenant, RIGHT_READ), 0);
	ck_assert_msg(catalog_restrict(db, &rights, error, sizeof(error)) == 0, "%s", error);
	return db;
}

/* Rows of the query; -1: it is not allowed. No text or blob of them is globex'. */
static int
count_rows(sqlite3 *db, const char *query, bool globex)
{
	sqlite3_stmt *stmt = NULL;
	int n = 0;

	if (sqlite3_prepare_v2(db, query, -1, &stmt, NULL) != SQLITE_OK)
		return -1;
	for (; sqlite3_step(stmt) == SQLITE_ROW; n++)
		for (int i = 0; i < sqlite3_column_count(stmt); i++) {
			const char *text = (const char *)sqlite3_column_text(stmt, i);

			if (text != NULL && !globex)
				ck_assert_msg(strstr(text, "globex") == NULL && strcmp(text, GLOBEX) != 0, "%s: %s", query, text);
		}
	sqlite3_finalize(stmt);
	return n;
}

/* Every table that there is, those of later versions too, is either not there or shows one tenant. */
START_TEST(test_tables)
{
	static const char *const hidden[] = { "tenant", "policy", "token", "enrolled" };
	sqlite3 *db = open_for("acme"), *none = open_for(NULL), *all = open_for("*");
	sqlite3_stmt *stmt;
	char query[128];
	int tables = 0;

	ck_assert_int_eq(sqlite3_prepare_v2(writer, "SELECT name FROM sqlite_master WHERE type = 'table'", -1, &stmt, NULL), SQLITE_OK);
	while (sqlite3_step(stmt) == SQLITE_ROW) {
		const char *table = (const char *)sqlite3_column_text(stmt, 0);
		int expected = 1;

		for (size_t i = 0; i < sizeof(hidden) / sizeof(hidden[0]); i++)
			if (strcmp(table, hidden[i]) == 0)
				expected = -1;
		snprintf(query, sizeof(query), "SELECT * FROM %s", table);
		ck_assert_msg(count_rows(db, query, false) == expected, "%s", table);
		ck_assert_msg(count_rows(none, query, false) == (expected == 1 ? 0 : -1), "%s", table);
		ck_assert_msg(count_rows(all, query, true) == (expected == -1 ? -1 : strcmp(table, "withheld") == 0 ? 3 : 2), "%s", table);
		snprintf(query, sizeof(query), "SELECT * FROM main.%s", table);
		ck_assert_msg(count_rows(all, query, true) == -1, "%s", table);
		tables++;
	}
	sqlite3_finalize(stmt);
	ck_assert_int_ge(tables, 12);
	sqlite3_close(db);
	sqlite3_close(none);
	sqlite3_close(all);
}
END_TEST

/* Ways round. */
START_TEST(test_ways_round)
{
	static const char *const bad[] = { "SELECT * FROM temp.visible", "INSERT INTO temp.visible VALUES ('globex')",
	    "DROP VIEW temp.vm", "CREATE TEMP VIEW v AS SELECT * FROM main.vm", "ATTACH 'x' AS y", "PRAGMA writable_schema = 1",
	    "PRAGMA temp_store", "SELECT (SELECT count(*) FROM main.vm)", "SELECT 1 FROM vm JOIN main.vm AS m", "DELETE FROM main.vm",
	    "WITH m AS (SELECT * FROM main.vm) SELECT * FROM m" };
	sqlite3 *db = open_for("acme");

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(count_rows(db, bad[i], false) == -1, "%s", bad[i]);
	ck_assert_int_eq(count_rows(db, "SELECT count(*) FROM vm HAVING count(*) = 1", false), 1);
	ck_assert_int_eq(count_rows(db, "SELECT rowid FROM stream", false), 1);
	sqlite3_close(db);
}
END_TEST

/* The command's output, both streams, and its status. */
static int
run(const char *tenants, const char *const *words, struct buf *output)
{
	char *argv[16] = { "vmtap", (char *)RUN_WORD, dir, (char *)tenants };
	int fd[2], argc = 4, status;
	ssize_t n = 0;
	pid_t pid;

	for (; words[argc - 4] != NULL; argc++)
		argv[argc] = (char *)words[argc - 4];
	ck_assert_int_eq(pipe(fd), 0);
	fflush(NULL);
	if ((pid = fork()) == 0) {
		dup2(fd[1], STDOUT_FILENO);
		dup2(fd[1], STDERR_FILENO);
		execv("/proc/self/exe", argv);
		_exit(99);
	}
	close(fd[1]);
	output->len = 0;
	while (buf_reserve(output, 4096) == 0 && (n = read(fd[0], output->data + output->len, 4095)) > 0)
		output->len += (size_t)n;
	output->data[output->len] = '\0';
	close(fd[0]);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	return WEXITSTATUS(status);
}

#define VISIBLE		0x1	/* something of acme's is there */
#define REFUSED		0x2	/* as usage */
#define NOT_THERE	0x4
static const struct {
	const char	*words[8];
	int		 expected;
} cases[] = {
	{ { "vms" }, VISIBLE },
	{ { "vms", "--json" }, VISIBLE },
	{ { "files", "acme-web1" }, VISIBLE },
	{ { "files", "--json", ACME }, VISIBLE },
	{ { "files", "a" }, VISIBLE },
	{ { "stats", "acme-web1" }, VISIBLE },
	{ { "stats", "acme-web1", "--json" }, VISIBLE },
	{ { "files", "globex-web1" }, NOT_THERE },
	{ { "files", GLOBEX }, NOT_THERE },
	{ { "files", "b" }, NOT_THERE },
	{ { "stats", "g" }, NOT_THERE },
	{ { "stats", GLOBEX, "--json" }, NOT_THERE },
	{ { "read", "globex-web1" }, NOT_THERE },
	{ { "read", GLOBEX, "--as-captured" }, NOT_THERE },
	{ { "read", "--merged", "--tenant", "globex" }, NOT_THERE },
	{ { "read", "--merged", "--tenant", "g" }, NOT_THERE },
	{ { "vms", "--store", "/" }, REFUSED },
	{ { "vms", "--store=/" }, REFUSED },
	{ { "vms", "--connect", "localhost" }, REFUSED },
	{ { "files", "acme-web1", "--ca", "/etc/passwd" }, REFUSED },
	{ { "read", "acme-web1", "-w", "/tmp/check_restrict.must-not-be" }, REFUSED },
	{ { "read", "acme-web1", "--write=/tmp/check_restrict.must-not-be" }, REFUSED },
	{ { "read", "--wri", "/tmp/check_restrict.must-not-be", "acme-web1" }, REFUSED },
	{ { "read", "acme-web1", "--dedup-memory", "8G" }, REFUSED },
	{ { "policy", "show" }, REFUSED },
	{ { "pki", "init", "/tmp/check_restrict.must-not-be" }, REFUSED },
};

START_TEST(test_commands)
{
	struct buf output;
	int status, expected = cases[_i].expected;

	buf_init(&output, 1024 * 1024);
	status = run("acme", cases[_i].words, &output);
	/* What was asked for by name may be in the answer that says no. */
	if (expected == VISIBLE) {
		ck_assert_int_eq(status, 0);
		ck_assert_ptr_nonnull(strstr((char *)output.data, "acme"));
		ck_assert_msg(strstr((char *)output.data, "globex") == NULL, "%s", output.data);
		ck_assert_msg(strstr((char *)output.data, GLOBEX) == NULL, "%s", output.data);
	} else
		ck_assert_msg(status == (expected == REFUSED ? 2 : 1), "%d: %s", status, output.data);
	if (expected == NOT_THERE)
		ck_assert_msg(strncmp((char *)output.data, "vmtap ", 6) == 0 && (strstr((char *)output.data, ": no VM is called") != NULL ||
		    strstr((char *)output.data, ": no tenant is called") != NULL), "%s", output.data);
	ck_assert_int_eq(access("/tmp/check_restrict.must-not-be", F_OK), -1);
	buf_clear(&output);
}
END_TEST

/* Who may read several, or all. */
START_TEST(test_several)
{
	static const char *const vms[] = { "vms", NULL }, *const files[] = { "files", "globex-web1", NULL };
	struct buf output;

	buf_init(&output, 1024 * 1024);
	ck_assert_int_eq(run("acme,globex", vms, &output), 0);
	ck_assert(strstr((char *)output.data, "acme-web1") != NULL && strstr((char *)output.data, "globex-web1") != NULL);
	ck_assert_int_eq(run("*", files, &output), 0);
	ck_assert_int_eq(run("", vms, &output), 0);
	ck_assert_ptr_null(strstr((char *)output.data, "web1"));
	ck_assert_int_eq(run("acme,../x", vms, &output), 2);
	buf_clear(&output);
}
END_TEST

static int
run_suite(void)
{
	Suite *suite = suite_create("restrict");
	TCase *tcase = tcase_create("restrict");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_add_test(tcase, test_tables);
	tcase_add_test(tcase, test_ways_round);
	tcase_add_loop_test(tcase, test_commands, 0, sizeof(cases) / sizeof(cases[0]));
	tcase_add_test(tcase, test_several);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* It is also the program that a command is run by. */
int
main(int argc, char **argv)
{
	return argc > 1 && strcmp(argv[1], RUN_WORD) == 0 ? run_main(argc - 1, argv + 1) : run_suite();
}
