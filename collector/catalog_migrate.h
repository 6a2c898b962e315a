/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_CATALOG_MIGRATE_H
#define VMTAP_COLLECTOR_CATALOG_MIGRATE_H

#include <stddef.h>
#include <stdint.h>

struct sqlite3;

/* From a version that was, 1 to below CATALOG_VERSION, to today's, in one transaction. 0, or -1 with a line for people and
 * everything as it was. */
int	catalog_migrate(struct sqlite3 *, int64_t version, char *error, size_t error_size);

#endif
