/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/random.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"

#include "collector/counts.h"
#include "collector/hint_hub.h"

struct hint_hub {
	pthread_mutex_t	 mutex;
	struct hints	*hints;
	unsigned	 workers;
	hint_hub_wake	*wake;
	void		*arg;
	bool		*woken;		/* by worker: it has not taken anything since */
	struct hint_totals counted;
};

struct hint_hub *
hint_hub_new(uint64_t lease_ns, unsigned workers, hint_hub_wake *wake, void *arg)
{
	struct hint_settings settings = { .lease_ns = lease_ns, .groups = workers };
	struct hint_hub *hub = calloc(1, sizeof(*hub));

	if (getrandom(&settings.seed, sizeof(settings.seed), 0) != sizeof(settings.seed))
		settings.seed = clock_mono_ns();
	if (hub == NULL || (hub->hints = hints_new(&settings)) == NULL || (hub->woken = calloc(workers, sizeof(*hub->woken))) == NULL) {
		if (hub != NULL)
			hints_free(hub->hints);
		free(hub);
		return NULL;
	}
	pthread_mutex_init(&hub->mutex, NULL);
	hub->workers = workers;
	hub->wake = wake;
	hub->arg = arg;
	return hub;
}

void
hint_hub_free(struct hint_hub *hub)
{
	if (hub == NULL)
		return;
	hints_free(hub->hints);
	pthread_mutex_destroy(&hub->mutex);
	free(hub->woken);
	free(hub);
}

struct hints *
hint_hub_lock(struct hint_hub *hub, struct hint_time *now)
{
	pthread_mutex_lock(&hub->mutex);
	*now = (struct hint_time){ .mono_ns = clock_mono_ns(), .wall_ns = clock_wall_ns() };
	return hub->hints;
}

static void
hint_hub_count(struct hint_hub *hub)
{
	const struct hint_totals *now = hint_totals(hub->hints), *before = &hub->counted;

	count_add(COUNT_HINTS_GIVEN, now->given - before->given);
	count_add(COUNT_HINTS_WITHDRAWN, now->withdrawn - before->withdrawn);
	count_add(COUNT_HINTS_MISMATCHES, now->mismatches - before->mismatches);
	count_add(COUNT_HINTS_BARRED, now->barred - before->barred);
	count_add(COUNT_HINTS_CONFLICTS, now->conflicts - before->conflicts);
	count_add(COUNT_HINTS_SENT, now->messages - before->messages);
	count_add(COUNT_HINTS_SENT_WHOLE, now->whole - before->whole);
	hub->counted = *now;
}

void
hint_hub_unlock(struct hint_hub *hub)
{
	hint_hub_count(hub);
	for (unsigned i = 0; i < hub->workers; i++)
		if (!hub->woken[i] && hint_waiting(hub->hints, i)) {
			hub->woken[i] = true;
			hub->wake(i, hub->arg);
		}
	pthread_mutex_unlock(&hub->mutex);
}

enum hint_hub_next
hint_hub_take(struct hint_hub *hub, unsigned index, struct msg_hints *msg, char uuid[IDENTITY_UUID_SIZE], struct hint_record *record)
{
	enum hint_hub_next next = HINT_NOTHING;
	struct hint_time now;
	struct hint_vm *vm;

	hint_hub_lock(hub, &now);
	if (hint_take_record(hub->hints, index, record))
		next = HINT_RECORD;
	else if (hint_take(hub->hints, index, msg, &vm, &now)) {
		memcpy(uuid, hint_uuid(vm), IDENTITY_UUID_SIZE);
		next = HINT_MESSAGE;
	}
	hub->woken[index] = next != HINT_NOTHING;	/* as long as it takes it is awake */
	hint_hub_unlock(hub);
	return next;
}

uint64_t
hint_hub_pairs(struct hint_hub *hub)
{
	struct hint_time now;
	uint64_t pairs = hints_pairs(hint_hub_lock(hub, &now));

	hint_hub_unlock(hub);
	return pairs;
}
