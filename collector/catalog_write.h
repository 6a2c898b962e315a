/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_CATALOG_WRITE_H
#define VMTAP_COLLECTOR_CATALOG_WRITE_H

#include <stddef.h>
#include <stdint.h>

struct batch;
struct catalog_writer;

/* A connection with prepared statements; of one thread at a time. NULL with a line for people. */
struct catalog_writer	*catalog_writer_new(const char *store, char *error, size_t error_size);
void			 catalog_writer_free(struct catalog_writer *);
/* One transaction: the batch, and the files (ids) that have their final names by now. 0, or -1 with nothing of it
 * written: EBUSY, another writer has the catalog and keeps it, or EIO. */
int			 catalog_writer_commit(struct catalog_writer *, const struct batch *, const uint64_t *revealed,
			    size_t revealed_count, char *error, size_t error_size);

#endif
