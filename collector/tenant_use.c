/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include "common/clock.h"

#include "collector/tenant_use.h"

void
tenant_use_set(struct tenant_use *use, const struct tenant_quota *quota)
{
	atomic_store(&use->store, quota->store);
	atomic_store(&use->sessions_max, quota->sessions);
	/* What is owed at a rate of a bit a second would be owed for years after it was raised. */
	if (atomic_exchange(&use->rate, quota->rate) != quota->rate)
		atomic_store(&use->spent_ns, 0);
}

bool
tenant_use_take_session(struct tenant_use *use)
{
	uint64_t max = atomic_load(&use->sessions_max);
	unsigned now = atomic_load(&use->sessions);

	while (max == 0 || now < max)
		if (atomic_compare_exchange_weak(&use->sessions, &now, now + 1))
			return true;
	return false;
}

void
tenant_use_give_session(struct tenant_use *use)
{
	atomic_fetch_sub(&use->sessions, 1);
}

/* In floating point: bytes by a rate of any size are less than a day of nanoseconds. */
void
tenant_use_receive(struct tenant_use *use, uint64_t bytes)
{
	uint64_t rate = atomic_load(&use->rate), now, spent, from, cost;

	atomic_fetch_add_explicit(&use->received, bytes, memory_order_relaxed);
	if (rate == 0)
		return;
	cost = (uint64_t)((double)bytes * 8e9 / (double)rate);
	now = clock_mono_ns();
	spent = atomic_load(&use->spent_ns);
	do
		from = spent > now ? spent : now;
	while (!atomic_compare_exchange_weak(&use->spent_ns, &spent, from + cost));
}

bool
tenant_use_may_receive(struct tenant_use *use)
{
	return atomic_load(&use->rate) == 0 || atomic_load(&use->spent_ns) <= clock_mono_ns() + TENANT_BURST_NS;
}

uint64_t
tenant_use_rotate_size(const struct tenant_use *use, uint64_t rotate_size)
{
	uint64_t store = atomic_load(&use->store), sessions = atomic_load(&use->sessions), share;

	if (store == 0)
		return rotate_size;
	share = store / 2 / (sessions > 0 ? sessions : 1);
	if (share < TENANT_ROTATE_MIN)
		share = TENANT_ROTATE_MIN;
	return share < rotate_size ? share : rotate_size;
}
