/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include "agent/link_tokens.h"

#define RECORD_SIZE	16384	/* of TLS */
#define TOKENS_MAX	(INT64_C(1) << 40)
#define TOKENS_STEP	1024	/* bytes: finer steps would only lose fractions */
#define BURST_MS	250	/* tokens usually gather for no longer; timers may be 50 ms late */

static int64_t
in_bounds(uint64_t bytes)
{
	if (bytes > TOKENS_MAX)
		return TOKENS_MAX;
	return bytes > 2 * RECORD_SIZE ? (int64_t)bytes : 2 * RECORD_SIZE;
}

static int64_t
burst_usual(const struct tokens *t)
{
	return in_bounds(t->bits / 8 * BURST_MS / 1000);
}

static int64_t
burst_of(const struct tokens *t)
{
	return t->burst > 0 ? in_bounds(t->burst) : burst_usual(t);
}

void
tokens_limit(struct tokens *t, uint64_t bits, uint64_t burst, uint64_t now_ns)
{
	t->bits = bits;
	t->burst = burst;
	if (bits == 0)
		t->left = 0;
	else if (t->left > burst_of(t))
		t->left = burst_of(t);
	t->filled_ns = now_ns;
}

void
tokens_fill(struct tokens *t, uint64_t now_ns)
{
	double fresh = (double)(now_ns - t->filled_ns) * (double)t->bits / 8e9;
	int64_t burst = burst_of(t);

	if (t->bits == 0 || fresh < TOKENS_STEP)
		return;
	t->filled_ns = now_ns;
	t->left = fresh >= (double)(burst - t->left) ? burst : t->left + (int64_t)fresh;
}

size_t
tokens_allow(const struct tokens *t, size_t len)
{
	if (t->bits == 0 || (int64_t)len <= t->left)
		return len;
	return t->left >= RECORD_SIZE ? (size_t)t->left / RECORD_SIZE * RECORD_SIZE : 0;
}

void
tokens_spend(struct tokens *t, size_t len)
{
	if (t->bits != 0)
		t->left -= (int64_t)len;
}

bool
tokens_gone(const struct tokens *t)
{
	return t->bits != 0 && t->left <= 0;
}

uint64_t
tokens_wait_ns(const struct tokens *t)
{
	int64_t burst = burst_of(t), usual = burst_usual(t), wanted = (burst < usual ? burst : usual) / 2;

	return t->left >= wanted ? 0 : (uint64_t)((double)(wanted - t->left) * 8e9 / (double)t->bits) + 1;
}
