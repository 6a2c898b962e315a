/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_AGENT_CAPTURE_SHARE_H
#define VMTAP_AGENT_CAPTURE_SHARE_H

#include <stddef.h>
#include <stdint.h>

struct agent_options;

#define CAPTURE_RING_KIB_STEP		256u	/* a block of TPACKET_V3, as libpcap makes them */
#define CAPTURE_RING_KIB_MIN		(2 * CAPTURE_RING_KIB_STEP)

/* Whose rings they are: none of these can take what is another's. */
enum capture_pool { POOL_COLLECTOR, POOL_OPERATORS, POOL_CLIENTS, CAPTURE_POOLS };
struct capture_held {
	uint64_t	bytes;
	unsigned	rings;
};

enum capture_pool capture_pool_of(uint8_t tap);
/*
 * How large a ring may be that is opened now, with so many yet to come in its tap, itself included; 0: nothing is left of what
 * --memory-limit allows. KiB. held: of each pool, what stays open. Of the collector and of an operator the interfaces share alike;
 * an RPCAP client, which has one, takes half of what the smallest rings of those who may come after it leave.
 */
uint64_t	capture_share_kib(const struct agent_options *, enum capture_pool, const struct capture_held held[CAPTURE_POOLS],
		    size_t interfaces);

#endif
