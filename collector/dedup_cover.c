/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "dedup_cover.h"

void
cover_init(struct cover *cover)
{
	cover->range = &cover->first;
	cover->count = cover->size = 0;
}

void
cover_clear(struct cover *cover)
{
	if (cover->range != &cover->first)
		free(cover->range);
	cover_init(cover);
}

static int
make_room(struct cover *cover)
{
	uint32_t size = cover->size == 0 ? 4 : 2 * cover->size;
	struct cover_range *grown;

	if (cover->count < (cover->size == 0 ? 1 : cover->size))
		return 0;
	if ((grown = realloc(cover->size == 0 ? NULL : cover->range, size * sizeof(*grown))) == NULL)
		return -1;
	if (cover->size == 0)
		grown[0] = cover->first;
	cover->range = grown;
	cover->size = size;
	return 0;
}

/* The receiver's first range that ends behind at, or where it would stand. */
static uint32_t
place_of(const struct cover *cover, uint32_t receiver, uint32_t at)
{
	uint32_t low = 0, high = cover->count, middle;

	while (low < high) {
		const struct cover_range *range = &cover->range[middle = low + (high - low) / 2];

		if (range->receiver < receiver || (range->receiver == receiver && range->to <= at))
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static int
insert(struct cover *cover, uint32_t place, struct cover_range range)
{
	if (make_room(cover) == -1)
		return -1;
	memmove(cover->range + place + 1, cover->range + place, (cover->count - place) * sizeof(range));
	cover->range[place] = range;
	cover->count++;
	return 0;
}

static void
join_next(struct cover *cover, uint32_t place)
{
	cover->range[place].to = cover->range[place + 1].to;
	cover->count--;
	memmove(cover->range + place + 1, cover->range + place + 2, (cover->count - place - 1) * sizeof(*cover->range));
}

int
cover_add(struct cover *cover, uint32_t receiver, uint32_t from, uint32_t to)
{
	uint32_t place = place_of(cover, receiver, from);
	struct cover_range *range = cover->range + place;
	bool before = place > 0 && range[-1].receiver == receiver && range[-1].to == from;
	bool behind = place < cover->count && range->receiver == receiver && range->from == to;

	if (before && behind)
		join_next(cover, place - 1);
	else if (before)
		range[-1].to = to;
	else if (behind)
		range->from = from;
	else
		return insert(cover, place, (struct cover_range){ .receiver = receiver, .from = from, .to = to });
	return 0;
}

uint32_t
cover_free(const struct cover *cover, uint32_t receiver, uint32_t from, uint32_t limit)
{
	uint32_t place = place_of(cover, receiver, from);
	const struct cover_range *range = cover->range + place;

	if (cover->count >= COVER_MAX)
		return 0;
	if (place < cover->count && range->receiver == receiver && range->from < limit)
		limit = range->from;
	return limit > from ? limit - from : 0;
}

uint32_t
cover_next_free(const struct cover *cover, uint32_t receiver, uint32_t from)
{
	uint32_t place = place_of(cover, receiver, from);
	const struct cover_range *range = cover->range + place;

	return place < cover->count && range->receiver == receiver && range->from <= from ? range->to : from;
}
