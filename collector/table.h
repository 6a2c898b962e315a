/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_TABLE_H
#define VMTAP_COLLECTOR_TABLE_H

#include <stdbool.h>
#include <stdint.h>

struct json_t;
struct sqlite3;

/* What a verb shows: rows are JSON objects (jansson), so that --json and the table say the same. */
enum table_kind { TABLE_TEXT, TABLE_COUNT, TABLE_BYTES, TABLE_TIME, TABLE_DATE };
	/* TIME: key in nanoseconds, shown as clock_iso(); DATE: likewise, but of the table its day alone */

struct table_column {
	const char	*key;		/* of the row's object; also the name in --json */
	const char	*heading;	/* NULL: only in --json */
	enum table_kind	 kind;
};

/* Rows of a query, its columns by their SQL names; integers of TIME and DATE columns become ISO strings in JSON. NULL after an SQL error,
 * which is told on stderr under the verb's name. Binds text (may be NULL) to ?1. */
struct json_t	*table_query(struct sqlite3 *, const char *verb, const struct table_column *, const char *sql, const char *text);
/* As aligned columns (numbers to the right, control bytes escaped), or as one JSON array. */
void		 table_print(const struct table_column *, const struct json_t *rows, bool json);

#endif
