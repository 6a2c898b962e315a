/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "proto/pcapng.h"

#include "tests/dedup_lab.h"

#define LINK	14u
#define IP	20u
#define TCP	20u
#define UDP	8u
#define EPB_DATA	28u

static void
put16(uint8_t *p, uint32_t value)
{
	p[0] = (uint8_t)(value >> 8);
	p[1] = (uint8_t)value;
}

static void
put32(uint8_t *p, uint32_t value)
{
	put16(p, value >> 16);
	put16(p + 2, value);
}

static void
fill_payload(uint8_t *p, const struct lab_packet *packet)
{
	for (uint32_t i = 0; i < packet->len; i++) {
		uint32_t word = (packet->seq + i) * 2654435761u;

		word = (word ^ word >> 15) * 2246822519u;
		p[i] = (uint8_t)((word >> 24) + packet->salt + (i + 1 == packet->flip));
	}
}

/* Returns how long the header is. */
static uint32_t
fill_transport(uint8_t *p, const struct lab_packet *packet)
{
	if (packet->protocol == 6) {
		put16(p, 1000);
		put16(p + 2, 80);
		put32(p + 4, packet->seq);
		p[12] = TCP / 4 << 4;
		p[13] = (uint8_t)packet->flags;
		put16(p + 16, (uint32_t)packet->direction);	/* a checksum, which differs between the two */
		put16(p + 18, packet->urgent);
		return TCP;
	}
	if (packet->protocol == 17) {
		put16(p, 1000);
		put16(p + 2, 53);
		put16(p + 4, packet->len + UDP);
		return UDP;
	}
	return 0;
}

static uint32_t
fill_ip(uint8_t *p, const struct lab_packet *packet)
{
	uint32_t header = fill_transport(p + IP, packet);

	p[0] = 0x45;
	put16(p + 2, IP + header + packet->len);
	put16(p + 4, packet->id);
	put16(p + 6, packet->fragment);
	p[8] = packet->hops != 0 ? packet->hops : 64;
	p[9] = packet->protocol;
	put32(p + 12, 0x0a000000u + packet->src);
	put32(p + 16, packet->dst == 255 ? UINT32_MAX : 0x0a000000u + packet->dst);
	fill_payload(p + IP + header, packet);
	return IP + header + packet->len;
}

static uint32_t
fill_arp(uint8_t *p, const struct lab_packet *packet)
{
	static const uint8_t begin[8] = { 0, 1, 8, 0, 6, 4, 0, 1 };

	memcpy(p, begin, sizeof(begin));
	p[17] = packet->src;
	p[27] = packet->dst;
	return 28;
}

size_t
lab_make(struct buf *block, const struct lab_packet *packet)
{
	uint8_t *frame = calloc(1, LINK + IP + TCP + packet->len + 28);
	struct pcapng_packet epb = { .data = frame, .time_ns = LAB_START + packet->at };

	if (frame == NULL)
		abort();
	if (packet->direction != DEDUP_NO_DIRECTION)
		epb.flags = packet->direction == DEDUP_IN ? PCAPNG_EPB_IN : PCAPNG_EPB_OUT;
	frame[0] = packet->dst == 255 ? 0xff : 2;
	put16(frame + 12, packet->protocol != 0 ? 0x0800 : 0x0806);
	epb.original_len = LINK + (packet->protocol != 0 ? fill_ip(frame + LINK, packet) : fill_arp(frame + LINK, packet));
	epb.captured_len = epb.original_len - packet->cut;
	block->len = 0;
	if (pcapng_put_epb(block, &epb) == -1)
		abort();
	free(frame);
	return EPB_DATA;
}

struct dedup_packet
lab_packet_of(const struct buf *block, const struct lab_packet *packet, size_t data_at)
{
	struct pcapng_packet epb;
	struct pcapng_walk walk;
	const uint8_t *whole;
	size_t whole_len;
	uint32_t type;

	pcapng_walk_init(&walk, block->data, block->len);
	if (pcapng_walk_next(&walk, &type, &epb, &whole, &whole_len) != 1)
		abort();
	return (struct dedup_packet){ .source = packet->source, .time_ns = epb.time_ns, .direction = packet->direction,
	    .block = block->data, .block_len = block->len, .data_at = data_at, .captured = epb.captured_len,
	    .original = epb.original_len };
}
