/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <string.h>

#include "agent/rpcap_pack.h"
#include "common/buf.h"
#include "proto/pcapng.h"
#include "proto/rpcap.h"

#define BLOCK_MIN	12u	/* type, length, length */
#define EPB_MIN		32u	/* and interface, time, lengths */
#define EPB_DATA	28u

void
rpcap_pack_block(struct rpcap_pack *pack, const uint8_t *block, size_t len)
{
	pack->p = block;
	pack->left = len;
}

bool
rpcap_pack_done(const struct rpcap_pack *pack)
{
	return pack->left == 0;
}

/* The pcapng block at p, which is whole; 0: it is not. */
static uint32_t
block_len(const struct rpcap_pack *pack)
{
	uint32_t len;

	if (pack->left < BLOCK_MIN)
		return 0;
	len = cursor_little32(pack->p + 4);
	return len < BLOCK_MIN || len % 4 != 0 || len > pack->left ? 0 : len;
}

/* Up to the next packet. Its length; 0: there is no more. */
static uint32_t
find_packet(struct rpcap_pack *pack)
{
	uint32_t len;

	while ((len = block_len(pack)) != 0) {
		if (cursor_little32(pack->p) != PCAPNG_EPB) {
			pack->p += len;
			pack->left -= len;
			continue;
		}
		if (len >= EPB_MIN && cursor_little32(pack->p + 20) <= len - EPB_MIN)
			return len;
		break;
	}
	pack->left = 0;
	return 0;
}

static void
read_packet(const struct rpcap_pack *pack, struct rpcap_packet *packet)
{
	uint64_t time_ns = (uint64_t)cursor_little32(pack->p + 12) << 32 | cursor_little32(pack->p + 16);

	packet->seconds = (uint32_t)(time_ns / 1000000000);
	packet->microseconds = (uint32_t)(time_ns % 1000000000 / 1000);
	packet->captured_len = cursor_little32(pack->p + 20);
	if (packet->captured_len > pack->captured_max)
		packet->captured_len = pack->captured_max;
	packet->original_len = cursor_little32(pack->p + 24);
	packet->number = pack->number + 1;
}

size_t
rpcap_pack_some(struct rpcap_pack *pack, uint8_t *dst, size_t size, uint64_t *packets)
{
	struct rpcap_packet packet;
	size_t done = 0;
	uint32_t len;

	while ((len = find_packet(pack)) != 0) {
		read_packet(pack, &packet);
		if (size - done < RPCAP_PACKET_SIZE + packet.captured_len)
			break;
		rpcap_write_packet(dst + done, pack->version, &packet);
		memcpy(dst + done + RPCAP_PACKET_SIZE, pack->p + EPB_DATA, packet.captured_len);
		done += RPCAP_PACKET_SIZE + packet.captured_len;
		pack->number = packet.number;
		pack->p += len;
		pack->left -= len;
		(*packets)++;
	}
	return done;
}
