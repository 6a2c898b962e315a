/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdbool.h>
#include <stdlib.h>

#include "heap.h"

#define CHILDREN	4

static bool
before(const struct heap_slot *a, const struct heap_slot *b)
{
	return a->time_ns != b->time_ns ? a->time_ns < b->time_ns : a->order < b->order;
}

static void
set(struct heap *heap, size_t place, struct heap_slot slot)
{
	heap->slot[place] = slot;
	slot.item->place = place;
}

/* Puts it there or higher up. */
static void
rise(struct heap *heap, size_t place, struct heap_slot slot)
{
	size_t parent;

	for (; place > 0 && before(&slot, &heap->slot[parent = (place - 1) / CHILDREN]); place = parent)
		set(heap, place, heap->slot[parent]);
	set(heap, place, slot);
}

/* The earliest child, which must be there. */
static size_t
first_child(const struct heap *heap, size_t place)
{
	size_t first = CHILDREN * place + 1, end = first + CHILDREN < heap->count ? first + CHILDREN : heap->count, child = first;

	for (size_t i = first + 1; i < end; i++)
		if (before(&heap->slot[i], &heap->slot[child]))
			child = i;
	return child;
}

/* Puts it there or further down. */
static void
sink(struct heap *heap, size_t place, struct heap_slot slot)
{
	size_t child;

	for (; CHILDREN * place + 1 < heap->count && before(&heap->slot[child = first_child(heap, place)], &slot); place = child)
		set(heap, place, heap->slot[child]);
	set(heap, place, slot);
}

int
heap_put(struct heap *heap, struct heap_item *item)
{
	size_t size = heap->size == 0 ? 64 : 2 * heap->size;
	struct heap_slot *grown;

	if (heap->count == heap->size) {
		if ((grown = realloc(heap->slot, size * sizeof(*grown))) == NULL)
			return -1;
		heap->slot = grown;
		heap->size = size;
	}
	rise(heap, heap->count++, (struct heap_slot){ .time_ns = item->time_ns, .order = heap->orders++, .item = item });
	return 0;
}

struct heap_item *
heap_first(const struct heap *heap)
{
	return heap->count > 0 ? heap->slot[0].item : NULL;
}

void
heap_remove(struct heap *heap, struct heap_item *item)
{
	size_t place = item->place;
	struct heap_slot last = heap->slot[--heap->count];

	if (last.item == item)
		return;
	sink(heap, place, last);
	rise(heap, last.item->place, last);
}

void
heap_clear(struct heap *heap)
{
	free(heap->slot);
	*heap = (struct heap){ NULL, 0, 0, 0 };
}
