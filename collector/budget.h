/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_BUDGET_H
#define VMTAP_COLLECTOR_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

/*
 * What a VM may cause over time: each piece costs the time in which the next one is earned, and so many may be had at once. Zeroed:
 * nothing is spent.
 */
struct budget {
	uint64_t	spent_ns;	/* monotonic: when all of it will be earned back */
};
struct budget_rate {
	uint64_t	piece_ns;
	uint64_t	burst;		/* pieces */
};

/* False: not so many are left, and nothing is spent. */
bool	budget_take(struct budget *, const struct budget_rate *, uint64_t pieces);
/* What was had and is known only afterwards, also beyond what is left. */
void	budget_spend(struct budget *, const struct budget_rate *, uint64_t pieces);

#endif
