/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_TESTS_BENCH_AGENTS_BLOCK_H
#define VMTAP_TESTS_BENCH_AGENTS_BLOCK_H

#include <stddef.h>
#include <stdint.h>

#include "proto/msg.h"

struct codec;

/* Blocks made once, to be sent again and again by all agents: without stream and number. */
struct agents_blocks {
	struct msg_block	*block;
	uint8_t			**unit;		/* their data */
	size_t			 count;
	uint64_t		 encoded;	/* bytes of all */
};

/* Each exits with a line on stderr where it fails. */
/* One block of packets of size random bytes, not compressed. */
void	agents_blocks_random(struct agents_blocks *, unsigned packets, uint32_t size);
/* A few of packets by the IMIX, payload: a file or "random" (packets.h), of raw_max bytes at most before they are encoded. */
void	agents_blocks_imix(struct agents_blocks *, const struct codec *, int level, const char *payload, size_t raw_max);
void	agents_blocks_clear(struct agents_blocks *);

#endif
