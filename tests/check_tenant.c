/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <check.h>
#include <sqlite3.h>

#include "collector/catalog.h"
#include "collector/tenant.h"

#define THREADS	8

static char store[64], error[512];
static struct tenants *tenants;

static void
setup(void)
{
	strcpy(store, "/tmp/check_tenant.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(store));
	ck_assert_msg((tenants = tenants_new(store, error, sizeof(error))) != NULL, "%s", error);
}

static void
teardown(void)
{
	char command[128];

	tenants_free(tenants);
	snprintf(command, sizeof(command), "rm -rf %s", store);
	ck_assert_int_eq(system(command), 0);
}

static void
run(const char *sql)
{
	struct sqlite3 *db = catalog_open(store, error, sizeof(error));

	ck_assert_msg(db != NULL, "%s", error);
	ck_assert_msg(sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK, "%s", sqlite3_errmsg(db));
	sqlite3_close(db);
}

static void
again(void)
{
	tenants_free(tenants);
	ck_assert_msg((tenants = tenants_new(store, error, sizeof(error))) != NULL, "%s", error);
}

START_TEST(the_second_vm_makes_peers_once)
{
	ck_assert(!tenants_has_peers(tenants, "acme"));
	ck_assert(!tenants_meet(tenants, "acme", "u1"));
	ck_assert(!tenants_meet(tenants, "acme", "u1"));
	ck_assert(!tenants_meet(tenants, "blue", "u2"));
	ck_assert(!tenants_has_peers(tenants, "acme"));
	ck_assert(tenants_meet(tenants, "acme", "u3"));
	ck_assert(!tenants_meet(tenants, "acme", "u4"));
	ck_assert(!tenants_meet(tenants, "acme", "u1"));
	ck_assert(tenants_has_peers(tenants, "acme"));
	ck_assert(!tenants_has_peers(tenants, "blue"));
}
END_TEST

START_TEST(vms_of_the_catalog_are_peers)
{
	run("INSERT INTO vm (uuid, tenant, name) VALUES ('u1', 'acme', 'a'), ('u2', 'acme', 'b'), ('u3', 'blue', 'c')");
	again();
	ck_assert(tenants_has_peers(tenants, "acme"));
	ck_assert(!tenants_meet(tenants, "blue", "u3"));
	ck_assert(tenants_meet(tenants, "blue", "u4"));
}
END_TEST

START_TEST(a_secret_is_made_once_and_kept)
{
	uint8_t one[DIGEST_SECRET_SIZE], two[DIGEST_SECRET_SIZE], none[DIGEST_SECRET_SIZE] = { 0 };

	ck_assert_int_eq(tenants_secret(tenants, "acme", one, error, sizeof(error)), 0);
	ck_assert_int_ne(memcmp(one, none, sizeof(one)), 0);
	ck_assert_int_eq(tenants_secret(tenants, "acme", two, error, sizeof(error)), 0);
	ck_assert_mem_eq(one, two, sizeof(one));
	ck_assert_int_eq(tenants_secret(tenants, "blue", two, error, sizeof(error)), 0);
	ck_assert_int_ne(memcmp(one, two, sizeof(one)), 0);
	again();
	ck_assert_int_eq(tenants_secret(tenants, "acme", two, error, sizeof(error)), 0);
	ck_assert_mem_eq(one, two, sizeof(one));
}
END_TEST

/* One of another length, which no collector has made, keys nothing. */
START_TEST(a_damaged_secret_is_made_anew)
{
	uint8_t one[DIGEST_SECRET_SIZE], two[DIGEST_SECRET_SIZE];

	run("INSERT INTO tenant (name, secret) VALUES ('acme', x'0011')");
	again();
	ck_assert_int_eq(tenants_secret(tenants, "acme", one, error, sizeof(error)), 0);
	again();
	ck_assert_int_eq(tenants_secret(tenants, "acme", two, error, sizeof(error)), 0);
	ck_assert_mem_eq(one, two, sizeof(one));
}
END_TEST

START_TEST(what_is_not_durable_is_not_given)
{
	uint8_t secret[DIGEST_SECRET_SIZE], none[DIGEST_SECRET_SIZE] = { 0 };

	run("CREATE TRIGGER full BEFORE INSERT ON tenant BEGIN SELECT RAISE(ABORT, 'full'); END");
	ck_assert_int_eq(tenants_secret(tenants, "acme", secret, error, sizeof(error)), -1);
	ck_assert_ptr_nonnull(strstr(error, "full"));
	ck_assert_mem_eq(secret, none, sizeof(secret));
	run("DROP TRIGGER full");
	ck_assert_int_eq(tenants_secret(tenants, "acme", secret, error, sizeof(error)), -1);	/* not at once */
	ck_assert_str_eq(error, "");
}
END_TEST

static void *
ask(void *arg)
{
	char why[512];

	ck_assert_int_eq(tenants_secret(tenants, "acme", arg, why, sizeof(why)), 0);
	return NULL;
}

START_TEST(all_threads_get_the_same)
{
	uint8_t secret[THREADS][DIGEST_SECRET_SIZE];
	pthread_t thread[THREADS];

	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&thread[i], NULL, ask, secret[i]), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	for (int i = 1; i < THREADS; i++)
		ck_assert_mem_eq(secret[0], secret[i], DIGEST_SECRET_SIZE);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("tenant");
	TCase *tcase = tcase_create("tenant");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, the_second_vm_makes_peers_once);
	tcase_add_test(tcase, vms_of_the_catalog_are_peers);
	tcase_add_test(tcase, a_secret_is_made_once_and_kept);
	tcase_add_test(tcase, a_damaged_secret_is_made_anew);
	tcase_add_test(tcase, what_is_not_durable_is_not_given);
	tcase_add_test(tcase, all_threads_get_the_same);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
