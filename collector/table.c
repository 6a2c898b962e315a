/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <sqlite3.h>

#include "common/clock.h"

#include "cmd.h"
#include "table.h"

#define CELL_SIZE	160
#define COLUMNS_MAX	24

static const struct table_column *
column_of(const struct table_column *columns, const char *key)
{
	for (; columns->key != NULL; columns++)
		if (strcmp(columns->key, key) == 0)
			return columns;
	return NULL;
}

/* Guests may send what is no UTF-8, and JSON knows nothing else: then bytes above 0x7f become '?'. */
static json_t *
text_value(const char *text)
{
	json_t *value = json_string(text);
	char *copy, *p;

	if (value != NULL || text == NULL || (copy = strdup(text)) == NULL)
		return value;
	for (p = copy; *p != '\0'; p++)
		if ((*p & 0x80) != 0)
			*p = '?';
	value = json_string(copy);
	free(copy);
	return value;
}

static json_t *
value_of(sqlite3_stmt *statement, int i, const struct table_column *column)
{
	char iso[CLOCK_ISO_SIZE];

	switch (sqlite3_column_type(statement, i)) {
	case SQLITE_NULL:
		return json_null();
	case SQLITE_INTEGER:
		if (column != NULL && (column->kind == TABLE_TIME || column->kind == TABLE_DATE))
			return json_string(clock_iso((uint64_t)sqlite3_column_int64(statement, i), iso, sizeof(iso)));
		return json_integer(sqlite3_column_int64(statement, i));
	case SQLITE_FLOAT:
		return json_real(sqlite3_column_double(statement, i));
	default:
		return text_value((const char *)sqlite3_column_text(statement, i));
	}
}

json_t *
table_query(sqlite3 *db, const char *verb, const struct table_column *columns, const char *sql, const char *text)
{
	sqlite3_stmt *statement = NULL;
	json_t *rows = json_array(), *row;
	const char *key;
	int i, rc;

	rc = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);
	if (rc == SQLITE_OK && text != NULL)
		rc = sqlite3_bind_text(statement, 1, text, -1, SQLITE_STATIC);
	while (rc == SQLITE_OK || rc == SQLITE_ROW) {
		if ((rc = sqlite3_step(statement)) != SQLITE_ROW)
			break;
		row = json_object();
		for (i = 0; i < sqlite3_column_count(statement); i++) {
			key = sqlite3_column_name(statement, i);
			json_object_set_new(row, key, value_of(statement, i, column_of(columns, key)));
		}
		json_array_append_new(rows, row);
	}
	sqlite3_finalize(statement);
	if (rc == SQLITE_DONE)
		return rows;
	cmd_fail(verb, "catalog: %s", sqlite3_errmsg(db));
	json_decref(rows);
	return NULL;
}

/* 1536000 -> "1.5M": three digits, binary units. */
static void
format_bytes(long long bytes, char *cell)
{
	static const char units[] = "BKMGTPE";
	double value = (double)bytes;
	size_t unit = 0;

	while (value >= 1000 && units[unit + 1] != '\0') {
		value /= 1024;
		unit++;
	}
	if (unit == 0)
		snprintf(cell, CELL_SIZE, "%lld", bytes);
	else
		snprintf(cell, CELL_SIZE, value < 9.95 ? "%.1f%c" : "%.0f%c", value, units[unit]);
}

/* Names came from certificates and guests: nothing of them reaches the terminal unescaped. */
static void
format_text(const char *text, char *cell)
{
	size_t len = 0;

	for (; *text != '\0' && len + 5 < CELL_SIZE; text++) {
		if (iscntrl((unsigned char)*text) || (*text & 0x80))
			len += (size_t)snprintf(cell + len, CELL_SIZE - len, "\\x%02x", (unsigned char)*text);
		else
			cell[len++] = *text;
	}
	cell[len] = '\0';
}

static void
format_cell(const struct table_column *column, const json_t *row, char *cell)
{
	const json_t *value = json_object_get(row, column->key);

	if (json_is_integer(value) && column->kind == TABLE_BYTES)
		format_bytes(json_integer_value(value), cell);
	else if (json_is_integer(value))
		snprintf(cell, CELL_SIZE, "%lld", (long long)json_integer_value(value));
	else if (json_is_real(value))
		snprintf(cell, CELL_SIZE, "%.2f", json_real_value(value));
	else if (json_is_string(value) && column->kind == TABLE_DATE)
		snprintf(cell, CELL_SIZE, "%.10s", json_string_value(value));
	else if (json_is_string(value))
		format_text(json_string_value(value), cell);
	else if (json_is_boolean(value))
		snprintf(cell, CELL_SIZE, "%s", json_is_true(value) ? "yes" : "no");
	else
		snprintf(cell, CELL_SIZE, "-");
}

static void
print_cell(const struct table_column *column, const char *cell, int width, bool last)
{
	bool right = column->kind == TABLE_COUNT || column->kind == TABLE_BYTES;

	if (right)
		printf("%*s", width, cell);
	else
		printf("%-*s", last ? 0 : width, cell);
	fputs(last ? "\n" : "  ", stdout);
}

static void
print_columns(const struct table_column *columns, const json_t *rows)
{
	const struct table_column *shown[COLUMNS_MAX];
	int width[COLUMNS_MAX];
	char cell[CELL_SIZE];
	size_t i, n = 0, r;

	for (; columns->key != NULL && n < COLUMNS_MAX; columns++)
		if (columns->heading != NULL)
			shown[n++] = columns;
	for (i = 0; i < n; i++) {
		width[i] = (int)strlen(shown[i]->heading);
		for (r = 0; r < json_array_size(rows); r++) {
			format_cell(shown[i], json_array_get(rows, r), cell);
			if ((int)strlen(cell) > width[i])
				width[i] = (int)strlen(cell);
		}
	}
	for (i = 0; i < n; i++)
		print_cell(shown[i], shown[i]->heading, width[i], i + 1 == n);
	for (r = 0; r < json_array_size(rows); r++)
		for (i = 0; i < n; i++) {
			format_cell(shown[i], json_array_get(rows, r), cell);
			print_cell(shown[i], cell, width[i], i + 1 == n);
		}
}

void
table_print(const struct table_column *columns, const json_t *rows, bool json)
{
	if (!json) {
		print_columns(columns, rows);
		return;
	}
	json_dumpf(rows, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII);
	fputc('\n', stdout);
}
