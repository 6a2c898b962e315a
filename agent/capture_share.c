/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include "agent/agent.h"
#include "agent/capture_share.h"

#define QUARTERS	4

enum capture_pool
capture_pool_of(uint8_t tap)
{
	if (tap == 0)
		return POOL_COLLECTOR;
	return tap < IPC_TAP_RPCAP ? POOL_OPERATORS : POOL_CLIENTS;
}

/* Where RPCAP clients may come, they take from the collector's, and what is for those who cannot come. */
static unsigned
pool_quarters(const struct agent_options *options, enum capture_pool pool)
{
	static const unsigned quarters[][CAPTURE_POOLS] = { { 3, 1, 0 }, { 2, 1, 1 }, { 2, 0, 2 }, { 0, 0, QUARTERS } };
	size_t row = 0;

	if (options->rpcap_listens.count + options->rpcap_connects.count > 0)
		row = options->listens.count > 0 ? 1 : options->collectors.count > 0 || options->enroll != NULL ? 2 : 3;
	return quarters[row][pool];
}

/* A pool that grew when the options were read again may find that another still holds what is its. */
static uint64_t
pool_left_kib(const struct agent_options *options, enum capture_pool pool, const struct capture_held held[CAPTURE_POOLS])
{
	uint64_t all = agent_rings_memory(options), part = all / QUARTERS * pool_quarters(options, pool), taken = 0;
	uint64_t left = part > held[pool].bytes ? part - held[pool].bytes : 0;

	for (size_t i = 0; i < CAPTURE_POOLS; i++)
		taken += held[i].bytes;
	if (taken + left > all)
		left = all > taken ? all - taken : 0;
	return left / 1024;
}

static uint64_t
operator_kib(const struct agent_options *options, uint64_t left)
{
	uint64_t most = agent_rings_memory(options) / QUARTERS * pool_quarters(options, POOL_OPERATORS) / 1024 / IPC_TAPS_OPERATORS;

	return left < most ? left : most;
}

static uint64_t
client_kib(const struct agent_options *options, uint64_t left, unsigned rings)
{
	uint64_t later = options->rpcap_clients > rings + 1 ? options->rpcap_clients - rings - 1 : 0;
	uint64_t reserved = later * CAPTURE_RING_KIB_MIN, spare = left > reserved ? left - reserved : 0;

	return later > 0 ? spare / 2 : spare;
}

uint64_t
capture_share_kib(const struct agent_options *options, enum capture_pool pool, const struct capture_held held[CAPTURE_POOLS],
    size_t interfaces)
{
	uint64_t left = pool_left_kib(options, pool, held), share = left;

	if (left < CAPTURE_RING_KIB_MIN)
		return 0;
	if (pool == POOL_OPERATORS)
		share = operator_kib(options, left);
	else if (pool == POOL_CLIENTS)
		share = client_kib(options, left, held[pool].rings);
	share /= interfaces;
	share -= share % CAPTURE_RING_KIB_STEP;
	if (share < CAPTURE_RING_KIB_MIN)
		return CAPTURE_RING_KIB_MIN;
	return share < options->buffer_kib ? share : options->buffer_kib;
}
