/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_DEDUP_INDEX_H
#define VMTAP_COLLECTOR_DEDUP_INDEX_H

#include <stddef.h>
#include <stdint.h>

/* Chains by a number that is well mixed already: what has the same key stands in the order in which it was put in. The nodes are
 * part of what they index. */
struct dedup_node {
	uint64_t	   base, key;	/* base: the caller's, of which it makes keys */
	struct dedup_node *bucket;	/* of a chain's first: the next chain in the bucket */
	struct dedup_node *next, *prev;	/* the chain is a ring */
	void		  *owner;
};
struct dedup_index {
	struct dedup_node **bucket;
	size_t		  size, chains;	/* size: a power of two */
};

int	dedup_index_init(struct dedup_index *);			/* 0 / -1: ENOMEM */
void	dedup_index_clear(struct dedup_index *);
struct dedup_node *dedup_index_first(const struct dedup_index *, uint64_t key);	/* NULL: none */
/* The one behind it in the chain that begins with first, or NULL. */
static inline struct dedup_node *
dedup_index_next(const struct dedup_node *first, const struct dedup_node *node)
{
	return node->next == first ? NULL : node->next;
}
void	dedup_index_put(struct dedup_index *, struct dedup_node *, uint64_t key);
void	dedup_index_remove(struct dedup_index *, struct dedup_node *);

#endif
