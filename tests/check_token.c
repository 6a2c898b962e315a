/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>
#include <sqlite3.h>

#include "common/log.h"

#include "collector/enrol_limit.h"
#include "collector/revoked.h"
#include "collector/token.h"

#define SECOND	UINT64_C(1000000000)
#define NOW	(UINT64_C(1700000000) * SECOND)
#define HOUR	(3600 * SECOND)
#define UUID	"11111111-2222-3333-4444-555555555555"
#define OTHER	"11111111-2222-3333-4444-666666666666"

static char dir[64], error[512];
static struct sqlite3 *db;

static void
setup(void)
{
	log_init("check", LOG_LEVEL_ERROR);
	strcpy(dir, "/tmp/check_token.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	ck_assert_ptr_nonnull(db = catalog_open(dir, error, sizeof(error)));
}

static void
teardown(void)
{
	char command[128];

	sqlite3_close(db);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	ck_assert_int_eq(system(command), 0);
}

static struct token
create(const char *tenant, uint64_t uses, char text[TOKEN_TEXT_SIZE])
{
	struct token token = { .uses = uses, .expires_ns = NOW + HOUR };

	snprintf(token.tenant, sizeof(token.tenant), "%s", tenant);
	snprintf(token.labels, sizeof(token.labels), "role=web");
	ck_assert_msg(token_create(db, &token, NOW, text, error, sizeof(error)) == 0, "%s", error);
	return token;
}

/* Of key number n. */
static struct token_use
use_of(const char *text, uint8_t n)
{
	struct token_use use = { .key = { n } };

	token_hash(text, use.hash);
	return use;
}

static enum token_verdict
look(const char *text, uint8_t key, uint64_t now_ns)
{
	struct token_use use = use_of(text, key);
	enum token_verdict verdict = token_look(db, &use, now_ns, error, sizeof(error));

	token_use_clear(&use);
	return verdict;
}

static enum token_verdict
bind(const char *text, uint8_t key, const char *uuid, const char *name, bool *taken)
{
	struct token_use use = use_of(text, key);
	struct token_vm vm = { .certificate = (const uint8_t *)name, .certificate_len = strlen(name), .not_after_ns = 7 };
	enum token_verdict verdict;

	snprintf(vm.uuid, sizeof(vm.uuid), "%s", uuid);
	snprintf(vm.name, sizeof(vm.name), "%s", name);
	verdict = token_bind(db, &use, &vm, NOW, taken, error, sizeof(error));
	token_use_clear(&use);
	return verdict;
}

static int64_t
number(const char *sql)
{
	sqlite3_stmt *stmt;
	int64_t n;

	ck_assert_msg(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) == SQLITE_OK, "%s", sqlite3_errmsg(db));
	ck_assert_int_eq(sqlite3_step(stmt), SQLITE_ROW);
	n = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	return n;
}

START_TEST(the_text_is_nowhere_but_in_the_answer)
{
	char text[TOKEN_TEXT_SIZE], other[TOKEN_TEXT_SIZE], sql[256];

	create("acme", 1, text);
	create("acme", 1, other);
	ck_assert_uint_eq(strlen(text), 50);
	ck_assert_int_eq(token_text_valid(text), 1);
	ck_assert_str_ne(text, other);
	snprintf(sql, sizeof(sql), "SELECT count(*) FROM token WHERE instr(CAST(hash AS TEXT) || id || name || labels, '%s') > 0",
	    text + 7);
	ck_assert_int_eq(number(sql), 0);
	ck_assert_int_eq(number("SELECT count(*) FROM token WHERE length(hash) = 32 AND length(id) = 8"), 2);
}
END_TEST

START_TEST(what_is_no_token)
{
	char text[TOKEN_TEXT_SIZE];

	create("acme", 1, text);
	ck_assert_int_eq(token_text_valid(""), 0);
	ck_assert_int_eq(token_text_valid("vmtap1-"), 0);
	text[20] = '+';
	ck_assert_int_eq(token_text_valid(text), 0);
	text[20] = 'a';
	ck_assert_int_eq(token_text_valid(text), 1);
	text[0] = 'V';
	ck_assert_int_eq(token_text_valid(text), 0);
}
END_TEST

START_TEST(labels)
{
	static const char *const good[] = { "", "web", "role=web", "role=web,edge,zone=eu-1" };
	static const char *const bad[] = { ",", "web,", ",web", "=web", "role=", "role=a=b", "ro le=web", "a,a", "a=1,a=2", "a=1,a", "-a",
	    "x\x1b[31m", "role=../etc", "a,,b" };
	char long_one[CATALOG_LABELS_SIZE + 1];

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		ck_assert_msg(token_check_labels(good[i], error, sizeof(error)) == 0, "%s: %s", good[i], error);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(token_check_labels(bad[i], error, sizeof(error)) == -1, "%s", bad[i]);
	memset(long_one, 'a', sizeof(long_one));
	long_one[CATALOG_LABELS_SIZE] = '\0';
	ck_assert_int_eq(token_check_labels(long_one, error, sizeof(error)), -1);
}
END_TEST

START_TEST(the_first_key_has_it)
{
	struct token_use use;
	char text[TOKEN_TEXT_SIZE];
	bool taken;

	create("acme", 1, text);
	ck_assert_int_eq(look(text, 1, NOW), TOKEN_GOOD);
	ck_assert_int_eq(look(text, 2, NOW), TOKEN_GOOD);	/* looking uses nothing */
	ck_assert_int_eq(bind(text, 1, UUID, "web", &taken), TOKEN_GOOD);
	ck_assert(!taken);
	ck_assert_int_eq(look(text, 2, NOW), TOKEN_USED_UP);
	use = use_of(text, 1);
	ck_assert_int_eq(token_look(db, &use, NOW, error, sizeof(error)), TOKEN_AGAIN);
	ck_assert_str_eq(use.uuid, UUID);
	ck_assert_mem_eq(use.certificate, "web", 3);
	token_use_clear(&use);
	ck_assert_int_eq(bind(text, 1, OTHER, "web9", &taken), TOKEN_AGAIN);	/* two signers at a time: the first one's counts */
	ck_assert_int_eq(bind(text, 2, OTHER, "web9", &taken), TOKEN_USED_UP);
	ck_assert_int_eq(number("SELECT count(*) FROM vm WHERE labels = 'role=web' AND not_after_ns = 7 AND tenant = 'acme'"), 1);
	ck_assert_int_eq(number("SELECT count(*) FROM vm"), 1);
}
END_TEST

START_TEST(as_many_keys_as_uses)
{
	char text[TOKEN_TEXT_SIZE];
	bool taken;

	create("acme", 2, text);
	ck_assert_int_eq(bind(text, 1, UUID, "a", &taken), TOKEN_GOOD);
	ck_assert_int_eq(look(text, 2, NOW), TOKEN_GOOD);
	ck_assert_int_eq(bind(text, 2, OTHER, "b", &taken), TOKEN_GOOD);
	ck_assert_int_eq(look(text, 3, NOW), TOKEN_USED_UP);
	ck_assert_int_eq(look(text, 1, NOW), TOKEN_AGAIN);
	ck_assert_int_eq(look(text, 2, NOW), TOKEN_AGAIN);
}
END_TEST

START_TEST(it_ends)
{
	struct revoked *revoked;
	struct token token, revoked_token;
	char text[TOKEN_TEXT_SIZE], other[TOKEN_TEXT_SIZE];
	bool taken;

	token = create("acme", 1, text);
	create("acme", 1, other);
	ck_assert_int_eq(bind(text, 1, UUID, "a", &taken), TOKEN_GOOD);
	ck_assert_int_eq(look(text, 1, NOW + HOUR - 1), TOKEN_AGAIN);
	ck_assert_int_eq(look(text, 1, NOW + HOUR), TOKEN_EXPIRED);
	ck_assert_int_eq(look(other, 2, NOW + HOUR), TOKEN_EXPIRED);
	ck_assert_int_eq(token_revoke(db, token.id, NULL, NOW, &revoked_token, error, sizeof(error)), 0);
	ck_assert_str_eq(revoked_token.id, token.id);
	ck_assert_mem_eq(revoked_token.hash, token.hash, TOKEN_HASH_SIZE);
	ck_assert(revoked_token.revoked);
	ck_assert_int_eq(look(text, 1, NOW), TOKEN_REVOKED);
	ck_assert_int_eq(look(other, 1, NOW), TOKEN_GOOD);
	ck_assert_ptr_nonnull(revoked = revoked_new(db, error, sizeof(error)));
	ck_assert(!revoked_has(revoked, UUID));
	ck_assert_int_eq(revoked_add(revoked, db, UUID, NOW, error, sizeof(error)), 0);
	ck_assert_int_eq(revoked_add(revoked, db, UUID, NOW, error, sizeof(error)), 0);
	ck_assert(revoked_has(revoked, UUID) && !revoked_has(revoked, OTHER));
	ck_assert_uint_eq(revoked_count(revoked), 1);
	ck_assert_int_eq(look(text, 1, NOW), TOKEN_VM_REVOKED);
	revoked_free(revoked);
	ck_assert_ptr_nonnull(revoked = revoked_new(db, error, sizeof(error)));
	ck_assert(revoked_has(revoked, UUID));
	revoked_free(revoked);
}
END_TEST

START_TEST(of_another_tenant_it_is_not_there)
{
	struct token token, found;
	char text[TOKEN_TEXT_SIZE];

	token = create("acme", 1, text);
	ck_assert_int_eq(token_revoke(db, token.id, "blue", NOW, &found, error, sizeof(error)), -1);
	ck_assert_int_eq(token_revoke(db, "00000000", NULL, NOW, &found, error, sizeof(error)), -1);
	ck_assert_ptr_nonnull(strstr(error, "no token of this id"));
	ck_assert_int_eq(look(text, 1, NOW), TOKEN_GOOD);
	ck_assert_int_eq(token_revoke(db, token.id, "acme", NOW, &found, error, sizeof(error)), 0);
	ck_assert_int_eq(look(text, 1, NOW), TOKEN_REVOKED);
}
END_TEST

static void
count_token(const struct token *token, void *arg)
{
	ck_assert_str_eq(token->labels, "role=web");
	(*(unsigned *)arg)++;
}

START_TEST(old_ones_are_forgotten)
{
	struct token late = { .tenant = "acme", .uses = 1, .labels = "role=web" };
	char text[TOKEN_TEXT_SIZE], other[TOKEN_TEXT_SIZE];
	unsigned all = 0, acme = 0;
	bool taken;

	create("acme", 1, text);
	create("blue", 1, other);
	ck_assert_int_eq(bind(text, 1, UUID, "a", &taken), TOKEN_GOOD);
	ck_assert_int_eq(token_each(db, NULL, count_token, &all, error, sizeof(error)), 0);
	ck_assert_int_eq(token_each(db, "acme", count_token, &acme, error, sizeof(error)), 0);
	ck_assert_uint_eq(all, 2);
	ck_assert_uint_eq(acme, 1);
	late.expires_ns = NOW + HOUR + TOKEN_KEEP_S * SECOND + 2 * HOUR;
	ck_assert_int_eq(token_create(db, &late, NOW + HOUR + TOKEN_KEEP_S * SECOND, other, error, sizeof(error)), 0);
	ck_assert_int_eq(number("SELECT count(*) FROM token"), 3);
	ck_assert_int_eq(token_create(db, &late, NOW + HOUR + TOKEN_KEEP_S * SECOND + 1, other, error, sizeof(error)), 0);
	ck_assert_int_eq(number("SELECT count(*) FROM token"), 2);
	ck_assert_int_eq(number("SELECT count(*) FROM enrolled"), 0);
	ck_assert_int_eq(look(text, 1, NOW), TOKEN_UNKNOWN);
}
END_TEST

START_TEST(names_are_each_ones_own)
{
	struct token token;
	char text[TOKEN_TEXT_SIZE], name[IDENTITY_NAME_SIZE], sql[256], long_name[IDENTITY_NAME_SIZE];
	bool taken;

	token = create("acme", 9, text);
	ck_assert_int_eq(token_name(db, &token, "web", UUID, name, error, sizeof(error)), 0);
	ck_assert_str_eq(name, "web");
	ck_assert_int_eq(token_name(db, &token, "../x", UUID, name, error, sizeof(error)), 0);
	ck_assert_str_eq(name, "vm-11111111");
	ck_assert_int_eq(bind(text, 1, UUID, "web", &taken), TOKEN_GOOD);
	ck_assert_int_eq(token_name(db, &token, "web", OTHER, name, error, sizeof(error)), 0);
	ck_assert_str_eq(name, "web-2");
	ck_assert_int_eq(bind(text, 2, OTHER, "web", &taken), TOKEN_GOOD);
	ck_assert(taken);
	ck_assert_int_eq(number("SELECT count(*) FROM vm"), 1);
	ck_assert_int_eq(number("SELECT count(*) FROM enrolled"), 1);
	ck_assert_int_eq(bind(text, 2, OTHER, "web-41", &taken), TOKEN_GOOD);
	ck_assert_int_eq(token_name(db, &token, "web", UUID, name, error, sizeof(error)), 0);
	ck_assert_str_eq(name, "web-42");
	snprintf(token.tenant, sizeof(token.tenant), "blue");	/* others' names are no matter */
	ck_assert_int_eq(token_name(db, &token, "web", UUID, name, error, sizeof(error)), 0);
	ck_assert_str_eq(name, "web");
	snprintf(token.name, sizeof(token.name), "fixed");
	ck_assert_int_eq(token_name(db, &token, "web", UUID, name, error, sizeof(error)), 0);
	ck_assert_str_eq(name, "fixed");
	token.name[0] = '\0';
	memset(long_name, 'x', 64);
	long_name[64] = '\0';
	snprintf(sql, sizeof(sql), "INSERT INTO vm (uuid, tenant, name) VALUES ('q', 'blue', '%s')", long_name);
	ck_assert_int_eq(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	ck_assert_int_eq(token_name(db, &token, long_name, UUID, name, error, sizeof(error)), 0);
	ck_assert_int_eq(identity_name_valid(name), 1);
	ck_assert_str_ne(name, long_name);
}
END_TEST

START_TEST(a_tenant_has_so_many)
{
	char text[TOKEN_TEXT_SIZE];
	struct token token = { .tenant = "acme", .uses = 1, .expires_ns = NOW + HOUR };

	ck_assert_int_eq(sqlite3_exec(db, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)"
	    " INSERT INTO token (id, hash, tenant, name, labels, uses, created_ns, expires_ns)"
	    " SELECT i, i, 'acme', '', '', 1, 1, 9e18 FROM n", NULL, NULL, NULL), SQLITE_OK);
	ck_assert_int_eq(token_create(db, &token, NOW, text, error, sizeof(error)), -1);
	ck_assert_ptr_nonnull(strstr(error, "10000 tokens in force"));
	snprintf(token.tenant, sizeof(token.tenant), "blue");
	ck_assert_int_eq(token_create(db, &token, NOW, text, error, sizeof(error)), 0);
	ck_assert_int_eq(sqlite3_exec(db, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)"
	    " INSERT INTO token (id, hash, tenant, name, labels, uses, created_ns, expires_ns, revoked_ns)"
	    " SELECT 'g' || i, 'g' || i, 'green', '', '', 1, 1, 9e18, 1 FROM n", NULL, NULL, NULL), SQLITE_OK);
	snprintf(token.tenant, sizeof(token.tenant), "green");
	ck_assert_int_eq(token_create(db, &token, NOW, text, error, sizeof(error)), -1);
}
END_TEST

START_TEST(a_tenant_has_so_many_vms)
{
	char text[TOKEN_TEXT_SIZE], other[TOKEN_TEXT_SIZE];
	bool taken;

	create("acme", 2, text);
	create("blue", 1, other);
	ck_assert_int_eq(sqlite3_exec(db, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 99999)"
	    " INSERT INTO vm (uuid, tenant, name) SELECT i, 'acme', i FROM n", NULL, NULL, NULL), SQLITE_OK);
	ck_assert_int_eq(bind(text, 1, "11111111-2222-3333-4444-555555555555", "last", &taken), TOKEN_GOOD);
	ck_assert_int_eq(bind(text, 2, "21111111-2222-3333-4444-555555555555", "more", &taken), TOKEN_TENANT_FULL);
	ck_assert(!taken);
	ck_assert_int_eq(number("SELECT count(*) FROM vm"), TOKEN_VMS_MAX);
	ck_assert_int_eq(bind(text, 1, "31111111-2222-3333-4444-555555555555", "again", &taken), TOKEN_AGAIN);
	ck_assert_int_eq(bind(other, 1, "41111111-2222-3333-4444-555555555555", "first", &taken), TOKEN_GOOD);
}
END_TEST

/* --- who is looked at --- */

static enum enrol_limit_verdict
try(struct enrol_limit *limit, const uint8_t *hash, const char *address, uint64_t now_ns)
{
	char tenant[IDENTITY_NAME_SIZE], id[TOKEN_ID_SIZE];

	return enrol_limit_take(limit, hash, address, now_ns, tenant, id);
}

START_TEST(strangers_are_few)
{
	const uint8_t unknown[TOKEN_HASH_SIZE] = { 1 };
	struct enrol_limit *limit = enrol_limit_new(db, error, sizeof(error));
	unsigned looked = 0;
	char address[64];

	ck_assert_ptr_nonnull(limit);
	for (int i = 0; i < 100; i++)
		looked += try(limit, unknown, "192.0.2.1:1", NOW) == ENROL_LOOK;
	ck_assert_uint_eq(looked, ENROL_ADDRESS_BURST);
	for (int i = 0; i < 100; i++) {	/* another port is the same source, and another host of an IPv6 network */
		snprintf(address, sizeof(address), "192.0.2.1:%d", i + 2);
		ck_assert_int_eq(try(limit, unknown, address, NOW), ENROL_STRANGER);
	}
	looked = 0;
	for (int i = 0; i < 100; i++) {
		snprintf(address, sizeof(address), "[2001:db8::%x]:7", i + 1);
		looked += try(limit, unknown, address, NOW) == ENROL_LOOK;
	}
	ck_assert_uint_eq(looked, ENROL_ADDRESS_BURST);
	looked = 0;
	for (int i = 0; i < 1000; i++) {
		snprintf(address, sizeof(address), "10.0.%d.%d:7", i / 200, i % 200);
		looked += try(limit, unknown, address, NOW) == ENROL_LOOK;
	}
	ck_assert_uint_le(looked, ENROL_ALL_BURST);
	enrol_limit_free(limit);
}
END_TEST

START_TEST(whoever_has_a_token_is_not_held_up)
{
	const uint8_t unknown[TOKEN_HASH_SIZE] = { 1 };
	char text[TOKEN_TEXT_SIZE], later[TOKEN_TEXT_SIZE];
	struct token token = create("acme", 100, text), made;
	struct enrol_limit *limit;
	unsigned looked = 0;

	ck_assert_ptr_nonnull(limit = enrol_limit_new(db, error, sizeof(error)));
	for (int i = 0; i < 300; i++)
		try(limit, unknown, "192.0.2.1:1", NOW);
	ck_assert_int_eq(try(limit, unknown, "192.0.2.1:1", NOW), ENROL_STRANGER);
	ck_assert_int_eq(try(limit, token.hash, "192.0.2.1:1", NOW), ENROL_STRANGER);	/* by the clock it had expired when we began */
	enrol_limit_add(limit, &token);
	for (int i = 0; i < 300; i++)
		looked += try(limit, token.hash, "192.0.2.1:1", NOW) == ENROL_LOOK;
	ck_assert_uint_ge(looked, 2 * 100 + ENROL_TOKEN_SPARE);
	ck_assert_uint_lt(looked, 300);
	ck_assert_int_eq(try(limit, token.hash, "192.0.2.1:1", NOW), ENROL_AGAIN_LATER);
	made = create("acme", 1, later);
	enrol_limit_add(limit, &made);
	ck_assert_int_eq(try(limit, made.hash, "192.0.2.1:1", NOW), ENROL_LOOK);
	ck_assert_int_eq(try(limit, made.hash, "192.0.2.1:1", NOW + HOUR), ENROL_STRANGER);
	enrol_limit_remove(limit, made.hash);
	ck_assert_int_eq(try(limit, made.hash, "192.0.2.1:1", NOW), ENROL_STRANGER);
	enrol_limit_free(limit);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("token");
	TCase *tc = tcase_create("token");
	SRunner *runner = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, the_text_is_nowhere_but_in_the_answer);
	tcase_add_test(tc, what_is_no_token);
	tcase_add_test(tc, labels);
	tcase_add_test(tc, the_first_key_has_it);
	tcase_add_test(tc, as_many_keys_as_uses);
	tcase_add_test(tc, it_ends);
	tcase_add_test(tc, of_another_tenant_it_is_not_there);
	tcase_add_test(tc, old_ones_are_forgotten);
	tcase_add_test(tc, names_are_each_ones_own);
	tcase_add_test(tc, a_tenant_has_so_many);
	tcase_add_test(tc, a_tenant_has_so_many_vms);
	tcase_add_test(tc, strangers_are_few);
	tcase_add_test(tc, whoever_has_a_token_is_not_held_up);
	suite_add_tcase(s, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
