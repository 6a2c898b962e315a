/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_CATALOG_BIND_H
#define VMTAP_COLLECTOR_CATALOG_BIND_H

#include <stdint.h>

#include <sqlite3.h>

/* Values of a statement of the catalog's, which are to live until it is stepped: SQLITE_OK, or what add up to no 0. */

static inline int
bind_u64(sqlite3_stmt *stmt, int place, uint64_t value)
{
	return sqlite3_bind_int64(stmt, place, value > INT64_MAX ? INT64_MAX : (int64_t)value);
}

static inline int
bind_text(sqlite3_stmt *stmt, int place, const char *text)
{
	return sqlite3_bind_text(stmt, place, text, -1, SQLITE_STATIC);
}

#endif
