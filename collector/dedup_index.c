/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdlib.h>

#include "dedup_index.h"

#define SIZE_FIRST	1024

int
dedup_index_init(struct dedup_index *index)
{
	index->chains = 0;
	index->size = SIZE_FIRST;
	return (index->bucket = calloc(SIZE_FIRST, sizeof(struct dedup_node *))) != NULL ? 0 : -1;
}

void
dedup_index_clear(struct dedup_index *index)
{
	free(index->bucket);
	*index = (struct dedup_index){ NULL, 0, 0 };
}

/* Where the pointer to a chain's first is, or would be. */
static struct dedup_node **
place_of(const struct dedup_index *index, uint64_t key)
{
	struct dedup_node **place = &index->bucket[key & (index->size - 1)];

	while (*place != NULL && (*place)->key != key)
		place = &(*place)->bucket;
	return place;
}

struct dedup_node *
dedup_index_first(const struct dedup_index *index, uint64_t key)
{
	return *place_of(index, key);
}

/* Without memory for it chains stay in fewer buckets. */
static void
grow(struct dedup_index *index)
{
	struct dedup_index grown = { .size = 2 * index->size, .chains = index->chains };
	struct dedup_node *node, *next, **place;

	if ((grown.bucket = calloc(grown.size, sizeof(struct dedup_node *))) == NULL)
		return;
	for (size_t i = 0; i < index->size; i++)
		for (node = index->bucket[i]; node != NULL; node = next) {
			next = node->bucket;
			place = &grown.bucket[node->key & (grown.size - 1)];
			node->bucket = *place;
			*place = node;
		}
	free(index->bucket);
	*index = grown;
}

void
dedup_index_put(struct dedup_index *index, struct dedup_node *node, uint64_t key)
{
	struct dedup_node **place = place_of(index, key), *first = *place;

	node->key = key;
	node->bucket = NULL;
	if (first != NULL) {
		node->next = first;
		node->prev = first->prev;
		first->prev->next = node;
		first->prev = node;
		return;
	}
	node->next = node->prev = node;
	*place = node;
	if (++index->chains > index->size)
		grow(index);
}

void
dedup_index_remove(struct dedup_index *index, struct dedup_node *node)
{
	struct dedup_node **place;

	if (*(place = place_of(index, node->key)) == node) {
		if (node->next == node) {
			*place = node->bucket;
			index->chains--;
		} else {
			*place = node->next;
			node->next->bucket = node->bucket;
		}
	}
	node->prev->next = node->next;
	node->next->prev = node->prev;
}
