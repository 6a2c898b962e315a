/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_DEDUP_COVER_H
#define VMTAP_COLLECTOR_DEDUP_COVER_H

#include <stddef.h>
#include <stdint.h>

/* Which parts of a sender's copy each receiver had. Of one receiver there is mostly one range, which grows. */
#define COVER_MAX	4096	/* ranges; beyond, nobody is said to have had any more of it */

struct cover_range {
	uint32_t	receiver, from, to;
};
struct cover {
	struct cover_range *range;	/* first, or heap: by receiver, and of one in their order; none touches another of it */
	uint32_t	count, size;	/* size: on the heap */
	struct cover_range first;
};

void		cover_init(struct cover *);
void		cover_clear(struct cover *);
/* 0 / -1: ENOMEM, nothing was added. The range is free. */
int		cover_add(struct cover *, uint32_t receiver, uint32_t from, uint32_t to);
/* How many from there on the receiver did not have and may still get, up to limit; the first place from there on that it did not have. */
uint32_t	cover_free(const struct cover *, uint32_t receiver, uint32_t from, uint32_t limit);
uint32_t	cover_next_free(const struct cover *, uint32_t receiver, uint32_t from);

#endif
