/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_STORE_RETAIN_H
#define VMTAP_COLLECTOR_STORE_RETAIN_H

#include <stddef.h>
#include <stdint.h>

struct sqlite3;
struct store;
struct tenants;

struct retain_limits {		/* 0: none */
	uint64_t	size;		/* bytes of all files */
	uint64_t	size_vm;	/* of one VM's */
	uint64_t	age_ms;		/* since a file's last packet */
	struct tenants	*tenants;	/* of each, what it may store (tenant_use.h); NULL: none */
};

/*
 * Removes closed files, oldest first, until the limits hold; live ones count but stay. A file is hidden, then its row is deleted,
 * then it is unlinked: wherever this is cut short, the next start finds either a row with its file or a hidden file without a row.
 * Then it forgets streams that are over and have no file, also those that never had one, a day after they began, and after
 * anything was last told of them. Without any limit
 * all is kept.
 * Returns how many were removed, -1 with a line for people.
 */
int	store_retain(const struct store *, struct sqlite3 *, const struct retain_limits *, char *error, size_t error_size);

/* The same in a thread of its own: once a minute, and when poked. */
struct retainer;
struct retainer	*retainer_new(const struct store *, const struct retain_limits *, char *error, size_t error_size);
void		 retainer_set_limits(struct retainer *, const struct retain_limits *);	/* runs at once */
void		 retainer_poke(struct retainer *);
void		 retainer_free(struct retainer *);

#endif
