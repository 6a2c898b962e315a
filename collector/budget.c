/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include "common/clock.h"

#include "collector/budget.h"

bool
budget_take(struct budget *budget, const struct budget_rate *rate, uint64_t pieces)
{
	uint64_t now = clock_mono_ns(), cost_ns = pieces * rate->piece_ns, spent_ns;

	spent_ns = budget->spent_ns > now ? budget->spent_ns - now : 0;
	if (spent_ns + cost_ns > rate->burst * rate->piece_ns)
		return false;
	budget->spent_ns = now + spent_ns + cost_ns;
	return true;
}

void
budget_spend(struct budget *budget, const struct budget_rate *rate, uint64_t pieces)
{
	uint64_t now = clock_mono_ns();

	if (budget->spent_ns < now)
		budget->spent_ns = now;
	budget->spent_ns += pieces * rate->piece_ns;
}
