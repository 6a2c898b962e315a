/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_REVOKED_H
#define VMTAP_COLLECTOR_REVOKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sqlite3;

/* The VMs whose certificates are not accepted any more, whatever they say: in the catalog, and all of it in memory. Any thread. */
struct revoked;

/* With all that the catalog knows. NULL with a line for people. */
struct revoked	*revoked_new(struct sqlite3 *, char *error, size_t error_size);
void		 revoked_free(struct revoked *);	/* NULL is fine */
bool		 revoked_has(struct revoked *, const char *uuid);
size_t		 revoked_count(struct revoked *);
/* For good: durable, and only then said by revoked_has(). 0, or -1 with a line. */
int		 revoked_add(struct revoked *, struct sqlite3 *, const char *uuid, uint64_t now_ns, char *error, size_t error_size);

#endif
