/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

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

/* Takes in the ranges that touch this one, so that there is one again where a hole was filled. */
static void
join(struct cover *cover, struct cover_range *range)
{
	for (uint32_t i = 0; i < cover->count; i++) {
		struct cover_range *other = &cover->range[i];

		if (other == range || other->receiver != range->receiver || (other->to != range->from && other->from != range->to))
			continue;
		if (other->from < range->from)
			range->from = other->from;
		if (other->to > range->to)
			range->to = other->to;
		*other = cover->range[--cover->count];
		if (range == &cover->range[cover->count])
			range = other;
		i = UINT32_MAX;		/* from the beginning */
	}
}

int
cover_add(struct cover *cover, uint32_t receiver, uint32_t from, uint32_t to)
{
	for (uint32_t i = 0; i < cover->count; i++)
		if (cover->range[i].receiver == receiver && cover->range[i].to == from) {
			cover->range[i].to = to;
			join(cover, &cover->range[i]);
			return 0;
		}
	if (make_room(cover) == -1)
		return -1;
	cover->range[cover->count] = (struct cover_range){ .receiver = receiver, .from = from, .to = to };
	join(cover, &cover->range[cover->count++]);
	return 0;
}

uint32_t
cover_free(const struct cover *cover, uint32_t receiver, uint32_t from, uint32_t limit)
{
	for (uint32_t i = 0; i < cover->count; i++) {
		const struct cover_range *range = &cover->range[i];

		if (range->receiver != receiver || range->to <= from)
			continue;
		if (range->from <= from)
			return 0;
		if (range->from < limit)
			limit = range->from;
	}
	return limit > from ? limit - from : 0;
}

uint32_t
cover_next_free(const struct cover *cover, uint32_t receiver, uint32_t from)
{
	for (uint32_t i = 0; i < cover->count; i++) {
		const struct cover_range *range = &cover->range[i];

		if (range->receiver == receiver && range->from <= from && range->to > from)
			return range->to;	/* ranges do not touch each other */
	}
	return from;
}
