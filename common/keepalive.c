/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdbool.h>

#include "common/keepalive.h"

void
keepalive_start(struct keepalive *k, uint64_t time_ns, uint64_t ask_ns, uint64_t now_ns)
{
	k->time_ns = time_ns;
	k->ask_ns = ask_ns;
	keepalive_heard(k, now_ns);
}

void
keepalive_heard(struct keepalive *k, uint64_t now_ns)
{
	k->heard_ns = now_ns;
	k->due_ns = now_ns + k->ask_ns;
	k->dead_ns = 0;
}

/* However late it is asked, a third of the time is left for the answer. */
static uint64_t
ask_until(const struct keepalive *k, bool late, uint64_t now_ns)
{
	uint64_t end_ns = k->heard_ns + k->time_ns;

	return late || end_ns < now_ns + k->time_ns / 3 ? now_ns + k->time_ns / 3 : end_ns;
}

enum keepalive_verdict
keepalive_check(struct keepalive *k, uint64_t now_ns)
{
	bool late = now_ns >= k->due_ns + k->time_ns / 3;

	if (now_ns < k->due_ns)
		return KEEPALIVE_ALIVE;
	if (k->dead_ns != 0 && !late)
		return KEEPALIVE_DEAD;
	k->due_ns = k->dead_ns = ask_until(k, late, now_ns);
	return KEEPALIVE_ASK;
}

uint64_t
keepalive_wait_ns(const struct keepalive *k, uint64_t now_ns)
{
	return k->due_ns > now_ns ? k->due_ns - now_ns : 0;
}
