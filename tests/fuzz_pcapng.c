/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdlib.h>

#include "proto/pcapng.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What a walk hands out lies inside of the bytes it was given. */
static void
walk_all(const uint8_t *data, size_t size)
{
	struct pcapng_packet packet;
	struct pcapng_walk walk;
	const uint8_t *block;
	size_t block_len, sum = 0;
	uint32_t type;
	int r;

	pcapng_walk_init(&walk, data, size);
	while ((r = pcapng_walk_any(&walk, &type, &packet, &block, &block_len)) == 1) {
		if (block != data + sum || block_len < 12 || (sum += block_len) > size || walk.offset != sum)
			abort();
		if (type == PCAPNG_EPB && (packet.data < block || packet.data + packet.captured_len > block + block_len))
			abort();
	}
	if ((r == 0) != (sum == size))
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct pcapng_interface interface;
	struct pcapng_summary summary;
	char error[128];

	walk_all(data, size);
	pcapng_check_block(data, size, 2, &summary, error, sizeof(error));
	pcapng_parse_idb(data, size, &interface);
	return 0;
}
