/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include <check.h>
#include <jansson.h>
#include <sqlite3.h>

#include "collector/table.h"

/* What the verbs of vmtap show of a catalog. */

static const struct table_column columns[] = {
	{ "name", "NAME", TABLE_TEXT }, { "when", "WHEN", TABLE_TIME }, { "n", "N", TABLE_COUNT }, { NULL, NULL, TABLE_TEXT }
};

static json_t *
query(const char *sql, const char *text)
{
	sqlite3	*db;
	json_t	*rows;

	ck_assert_int_eq(sqlite3_open(":memory:", &db), SQLITE_OK);
	rows = table_query(db, "check", columns, sql, text);
	sqlite3_close(db);
	return rows;
}

/* The text that --json prints, or NULL if it could not. */
static char *
printed(json_t *rows)
{
	char	*text = json_dumps(rows, JSON_ENSURE_ASCII | JSON_COMPACT);

	json_decref(rows);
	return text;
}

START_TEST(values)
{
	char	*text = printed(query("SELECT ?1 AS name, 1700000000000000000 AS \"when\", NULL AS n", "caf\xc3\xa9"));

	ck_assert_str_eq(text, "[{\"name\":\"caf\\u00E9\",\"when\":\"2023-11-14T22:13:20Z\",\"n\":null}]");
	free(text);
}
END_TEST

/* What a guest calls itself need not be UTF-8; the list of VMs must come out whole nevertheless. */
START_TEST(no_utf8)
{
	char	*text = printed(query("SELECT ?1 AS name, 5 AS n", "a\xff\x1b\xc3"));

	ck_assert_ptr_nonnull(text);
	ck_assert_str_eq(text, "[{\"name\":\"a?\\u001B?\",\"n\":5}]");
	free(text);
}
END_TEST

START_TEST(bad_sql)
{
	ck_assert_ptr_null(query("SELECT nothing FROM nowhere", NULL));
}
END_TEST

int
main(void)
{
	Suite	*suite = suite_create("table");
	TCase	*tc = tcase_create("table");
	SRunner	*runner = srunner_create(suite);
	int	 failed;

	tcase_add_test(tc, values);
	tcase_add_test(tc, no_utf8);
	tcase_add_test(tc, bad_sql);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
