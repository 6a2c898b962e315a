/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/random.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/clock.h"
#include "proto/codec.h"
#include "proto/pcapng.h"

#include "agents_block.h"
#include "packets.h"

#define IMIX_BLOCKS	16
#define IMIX_PACKETS	16384	/* more than the blocks hold */
#define IMIX_SEED	1

static void
die(const char *what, const char *why)
{
	fprintf(stderr, "agents: %s: %s\n", what, why);
	exit(1);
}

static void
blocks_allocate(struct agents_blocks *blocks, size_t count)
{
	*blocks = (struct agents_blocks){ .block = calloc(count, sizeof(*blocks->block)), .unit = calloc(count, sizeof(*blocks->unit)),
	    .count = count };
	if (blocks->block == NULL || blocks->unit == NULL)
		die("blocks", strerror(errno));
}

/* Takes the raw bytes over. */
static void
block_encode(struct agents_blocks *blocks, size_t i, struct buf *raw, const struct codec *codec, int level)
{
	struct msg_block *block = &blocks->block[i];
	struct encoder *encoder = encoder_new(codec, level);
	size_t size = codec->bound(raw->len);
	uint8_t *unit = malloc(size);
	bool stored;

	if (encoder == NULL || unit == NULL)
		die("blocks", strerror(errno));
	block->codec = (uint8_t)codec->id;
	block->raw_len = (uint32_t)raw->len;
	block->data_len = (size_t)encoder_block(encoder, raw->data, raw->len, unit, size, &stored);
	block->data = blocks->unit[i] = unit;
	blocks->encoded += block->data_len;
	encoder_free(encoder);
	buf_clear(raw);
}

static void
block_put(struct msg_block *block, struct buf *raw, const uint8_t *data, uint32_t len)
{
	struct pcapng_packet packet = { .time_ns = clock_wall_ns(), .captured_len = len, .original_len = len, .data = data };

	if (pcapng_put_epb(raw, &packet) == -1)
		die("-b", "more packets than fit into a block");
	block->first_ns = block->packets++ == 0 ? packet.time_ns : block->first_ns;
	block->last_ns = packet.time_ns;
	block->bytes += len;
}

void
agents_blocks_random(struct agents_blocks *blocks, unsigned packets, uint32_t size)
{
	uint8_t *bytes = malloc(size);
	struct buf raw;

	blocks_allocate(blocks, 1);
	if (bytes == NULL || getrandom(bytes, size, 0) != (ssize_t)size)
		die("blocks", strerror(errno));
	buf_init(&raw, MSG_BLOCK_RAW_MAX);
	for (unsigned i = 0; i < packets; i++)
		block_put(&blocks->block[0], &raw, bytes, size);
	block_encode(blocks, 0, &raw, &codec_none, 0);
	free(bytes);
}

void
agents_blocks_imix(struct agents_blocks *blocks, const struct codec *codec, int level, const char *payload, size_t raw_max)
{
	static const uint8_t mac[6] = { 0x02, 0, 0, 0, 0, 2 };
	struct packets packets;
	size_t next = 0;

	if (packets_make(&packets, IMIX_PACKETS, "imix", payload, mac, IMIX_SEED) == -1)
		die(payload, strerror(errno));
	blocks_allocate(blocks, IMIX_BLOCKS);
	for (size_t i = 0; i < IMIX_BLOCKS; i++) {
		struct buf raw;

		buf_init(&raw, MSG_BLOCK_RAW_MAX);
		do {
			block_put(&blocks->block[i], &raw, packets.data[next], packets.len[next]);
			next = (next + 1) % packets.count;
		} while (raw.len + PCAPNG_EPB_MAX(packets.len[next]) <= raw_max);
		block_encode(blocks, i, &raw, codec, level);
	}
	packets_free(&packets);
}

void
agents_blocks_clear(struct agents_blocks *blocks)
{
	for (size_t i = 0; i < blocks->count; i++)
		free(blocks->unit[i]);
	free(blocks->unit);
	free(blocks->block);
}
