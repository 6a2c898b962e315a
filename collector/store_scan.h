/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_STORE_SCAN_H
#define VMTAP_COLLECTOR_STORE_SCAN_H

#include <stdint.h>

struct codec;
struct sqlite3;
struct store;

/* How many whole packets a file holds, be its tail torn or spoilt. */
struct store_scan {
	uint64_t	packets, bytes;
};
void	store_scan(int fd, const struct codec *, struct store_scan *);

/* Walks TENANT/VM/: hidden files that the catalog does not know are removed, others that it does not know are left alone, with a
 * line in the log each. 0, or -1: the catalog cannot be read. */
int	store_scan_strangers(const struct store *, struct sqlite3 *);

#endif
