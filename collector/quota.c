/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "common/clock.h"

#include "collector/quota.h"

static uint64_t quota_limit;
static unsigned vms_max = UINT_MAX, connections_max = UINT_MAX;	/* set before there are threads */
static atomic_uint vms, connections, tenants_here;
static atomic_bool several;	/* tenants are known */
static _Atomic uint64_t turned_away_ns;	/* monotonic: the last time; 0: never */

void
quota_init(uint64_t descriptors, unsigned workers)
{
	uint64_t reserve = QUOTA_RESERVE + (uint64_t)QUOTA_RESERVE_WORKER * workers, rest, spare, places;

	quota_limit = descriptors;
	rest = descriptors > reserve ? descriptors - reserve : 0;
	spare = rest / 8 > QUOTA_SPARE_MIN ? rest / 8 : QUOTA_SPARE_MIN;
	places = rest > spare + QUOTA_PER_VM ? (rest - spare) / QUOTA_PER_VM : 1;
	vms_max = places < UINT_MAX / 4 ? (unsigned)places : UINT_MAX / 4;
	connections_max = vms_max + (spare < UINT_MAX / 4 ? (unsigned)spare : UINT_MAX / 4);
}

void
quota_several_tenants(void)
{
	atomic_store(&several, true);
}

static bool
take(atomic_uint *taken, unsigned count, unsigned max)
{
	unsigned now = atomic_load(taken);

	while (max >= count && now <= max - count)
		if (atomic_compare_exchange_weak(taken, &now, now + count))
			return true;
	return false;
}

bool
quota_take_connections(unsigned count)
{
	return take(&connections, count, connections_max);
}

void
quota_give_connections(unsigned count)
{
	atomic_fetch_sub(&connections, count);
}

bool
quota_take_connection(void)
{
	return quota_take_connections(1);
}

void
quota_give_connection(void)
{
	quota_give_connections(1);
}

/* Others take theirs at the same time: a place more or less does no harm. */
static bool
is_fair(unsigned mine)
{
	unsigned taken = atomic_load(&vms), tenants = atomic_load(&tenants_here);

	if (!atomic_load(&several))
		return true;
	if (mine > 0 && taken >= vms_max - vms_max / QUOTA_FIRST_PART)
		return false;
	return taken < vms_max - vms_max / QUOTA_SHARED_PART || mine < vms_max / (tenants > 0 ? tenants : 1);
}

bool
quota_take_vm(atomic_uint *mine)
{
	if (is_fair(atomic_load(mine)) && take(&vms, 1, vms_max)) {
		if (atomic_fetch_add(mine, 1) == 0)
			atomic_fetch_add(&tenants_here, 1);
		return true;
	}
	atomic_store(&turned_away_ns, clock_mono_ns());
	return false;
}

void
quota_give_vm(atomic_uint *mine)
{
	atomic_fetch_sub(&vms, 1);
	if (atomic_fetch_sub(mine, 1) == 1)
		atomic_fetch_sub(&tenants_here, 1);
}

bool
quota_take_waiting(atomic_uint *mine)
{
	bool is_short = atomic_load(&several) && atomic_load(&connections) >= connections_max - connections_max / QUOTA_WAITING_PART;

	return take(mine, 1, is_short ? (connections_max - vms_max) / QUOTA_WAITING_PART + 1 : UINT_MAX);
}

bool
quota_short(void)
{
	uint64_t last = atomic_load(&turned_away_ns);

	return last != 0 && clock_mono_ns() - last < QUOTA_SHORT_NS;
}

unsigned
quota_vms_taken(void)
{
	return atomic_load(&vms);
}

unsigned
quota_vms_max(void)
{
	return vms_max;
}

uint64_t
quota_descriptors(void)
{
	return quota_limit;
}
