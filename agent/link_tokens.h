/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_AGENT_LINK_TOKENS_H
#define VMTAP_AGENT_LINK_TOKENS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The rate limit of one connection: a bucket of bytes. Zeroed: no limit. */
struct tokens {
	uint64_t	bits;		/* a second; 0: no limit */
	uint64_t	burst;		/* bytes that may gather; 0: those of a quarter of a second */
	int64_t		left;		/* bytes that may go now; below 0: a debt */
	uint64_t	filled_ns;	/* when left was brought up to date */
};

void		tokens_limit(struct tokens *, uint64_t bits, uint64_t burst, uint64_t now_ns);
void		tokens_fill(struct tokens *, uint64_t now_ns);
/* How much of len may go now: whole records of TLS or all that is left, so that a small limit makes no small writes. */
size_t		tokens_allow(const struct tokens *, size_t len);
void		tokens_spend(struct tokens *, size_t len);
bool		tokens_gone(const struct tokens *);	/* nothing more is to be begun */
uint64_t	tokens_wait_ns(const struct tokens *);	/* until half a usual burst is there: a late timer then loses nothing */

#endif
