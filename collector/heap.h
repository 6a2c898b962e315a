/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_HEAP_H
#define VMTAP_COLLECTOR_HEAP_H

#include <stddef.h>
#include <stdint.h>

/*
 * What is earliest, of things that hold a heap_item as their first member; of the same time what was put in first. Each node has
 * four children, and what is compared stands in the array: among many packets most of the cost is memory that is not in the cache.
 */
struct heap_item {
	uint64_t	time_ns;	/* not to be changed while it is in */
	size_t		place;		/* in the array */
};
struct heap_slot {
	uint64_t	time_ns, order;
	struct heap_item *item;
};
struct heap {
	struct heap_slot *slot;
	size_t		  count, size;
	uint64_t	  orders;
};

int	heap_put(struct heap *, struct heap_item *);	/* 0 / -1: ENOMEM */
struct heap_item *heap_first(const struct heap *);	/* NULL: empty */
void	heap_remove(struct heap *, struct heap_item *);
void	heap_clear(struct heap *);			/* the items are the caller's */

#endif
