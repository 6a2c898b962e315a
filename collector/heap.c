/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdbool.h>
#include <stdlib.h>

#include "heap.h"

static bool
before(const struct heap_item *a, const struct heap_item *b)
{
	return a->time_ns != b->time_ns ? a->time_ns < b->time_ns : a->order < b->order;
}

static void
set(struct heap *heap, size_t place, struct heap_item *item)
{
	heap->item[place] = item;
	item->place = place;
}

static void
rise(struct heap *heap, size_t place, struct heap_item *item)
{
	size_t parent;

	for (; place > 0 && before(item, heap->item[parent = (place - 1) / 2]); place = parent)
		set(heap, place, heap->item[parent]);
	set(heap, place, item);
}

static void
sink(struct heap *heap, size_t place, struct heap_item *item)
{
	size_t child;

	for (; (child = 2 * place + 1) < heap->count; place = child) {
		if (child + 1 < heap->count && before(heap->item[child + 1], heap->item[child]))
			child++;
		if (!before(heap->item[child], item))
			break;
		set(heap, place, heap->item[child]);
	}
	set(heap, place, item);
}

int
heap_put(struct heap *heap, struct heap_item *item)
{
	size_t size = heap->size == 0 ? 64 : 2 * heap->size;
	struct heap_item **grown;

	if (heap->count == heap->size) {
		if ((grown = realloc(heap->item, size * sizeof(struct heap_item *))) == NULL)
			return -1;
		heap->item = grown;
		heap->size = size;
	}
	item->order = heap->orders++;
	rise(heap, heap->count++, item);
	return 0;
}

struct heap_item *
heap_first(const struct heap *heap)
{
	return heap->count > 0 ? heap->item[0] : NULL;
}

void
heap_remove(struct heap *heap, struct heap_item *item)
{
	size_t place = item->place;
	struct heap_item *last = heap->item[--heap->count];

	if (last == item)
		return;
	sink(heap, place, last);
	rise(heap, last->place, last);
}

void
heap_clear(struct heap *heap)
{
	free(heap->item);
	*heap = (struct heap){ NULL, 0, 0, 0 };
}
