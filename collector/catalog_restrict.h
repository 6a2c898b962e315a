/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_CATALOG_RESTRICT_H
#define VMTAP_COLLECTOR_CATALOG_RESTRICT_H

#include <stddef.h>

struct rights;
struct sqlite3;

/*
 * From now on the connection, opened read-only, sees only the rows of tenants that may be read: temporary views stand in front of the
 * catalog's tables, under their names, and what has none of them (secrets, tokens, tables to come) cannot be read at all, nor can a
 * table behind its view ("main.vm"). Whoever asks need not know of it. 0, or -1 with a line; the connection is then to be closed.
 */
int	catalog_restrict(struct sqlite3 *, const struct rights *, char *error, size_t error_size);

#endif
