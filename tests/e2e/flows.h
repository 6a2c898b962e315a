/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_TESTS_E2E_FLOWS_H
#define VMTAP_TESTS_E2E_FLOWS_H

#include <stddef.h>
#include <stdint.h>

/*
 * What each direction of each flow carried, whatever packets it came in: offloads part and join them. Shares nothing with the
 * programs that are tested. Ethernet only.
 */
struct flows;

struct flows *flows_new(void);
void	flows_free(struct flows *);
/* -1: more flows than there is room for. */
int	flows_add(struct flows *, const uint8_t *, size_t);
/*
 * A line for each, in no order: what it is, source, destination, packets (of those that are never parted), bytes, a hash. Of TCP and
 * UDP it is of all in their order, of sequence numbers too, data of TCP and packets without any told apart; of others of a multiset.
 */
void	flows_print(const struct flows *);

#define FLOWS_HASH_BEGIN	UINT64_C(0xcbf29ce484222325)
uint64_t flows_hash(uint64_t, const void *, size_t);	/* FNV-1a */

#endif
