/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include "agent/link_backoff.h"

#define BACKOFF_MIN_MS	500

uint64_t
backoff_next_ms(unsigned *rounds)
{
	unsigned step = *rounds < BACKOFF_STEPS ? *rounds : BACKOFF_STEPS;
	uint64_t most_ms = (uint64_t)BACKOFF_MIN_MS << step;

	(*rounds)++;
	return most_ms < BACKOFF_MAX_MS ? most_ms : BACKOFF_MAX_MS;
}
