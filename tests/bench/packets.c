/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "packets.h"

#define FCS		4
#define HEADERS		42
#define PACKET_MIN	(HEADERS + 8)
#define PACKET_MAX	1514
#define FLOWS		1024

static uint64_t
next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static uint32_t
size_of(const char *size, uint64_t *random)
{
	unsigned draw;
	long bytes;

	if (strcmp(size, "imix") != 0) {
		bytes = strtol(size, NULL, 10) - FCS;
		return (uint32_t)(bytes < PACKET_MIN ? PACKET_MIN : bytes > PACKET_MAX ? PACKET_MAX : bytes);
	}
	draw = (unsigned)(next_random(random) >> 33) % 12;
	return draw < 7 ? 64 - FCS : draw < 11 ? 570 - FCS : 1518 - FCS;
}

static char *
read_corpus(const char *path, size_t *len)
{
	FILE *file = fopen(path, "rb");
	char *text = NULL;
	long size;

	if (file == NULL)
		return NULL;
	if (fseek(file, 0, SEEK_END) == 0 && (size = ftell(file)) > 2 * PACKET_MAX && fseek(file, 0, SEEK_SET) == 0 &&
	    (text = malloc((size_t)size)) != NULL && fread(text, 1, (size_t)size, file) != (size_t)size) {
		free(text);
		text = NULL;
	}
	if (text == NULL)
		errno = errno != 0 ? errno : EINVAL;
	else
		*len = (size_t)size;
	fclose(file);
	return text;
}

static void
put16(uint8_t *p, unsigned value)
{
	p[0] = (uint8_t)(value >> 8);
	p[1] = (uint8_t)value;
}

static void
put_headers(uint8_t *p, uint32_t len, const uint8_t mac[6], unsigned flow)
{
	static const uint8_t source_mac[6] = { 0x02, 0, 0, 0, 0, 1 };
	uint32_t sum = 0;
	int i;

	memcpy(p, mac, 6);
	memcpy(p + 6, source_mac, 6);
	put16(p + 12, 0x0800);
	memset(p + 14, 0, 20);
	p[14] = 0x45;
	put16(p + 16, len - 14);
	p[22] = 64;
	p[23] = 17;
	p[26] = 198;	/* 198.18.0.0/15: benchmarking, RFC 2544 */
	p[27] = 18;
	put16(p + 28, flow);
	p[30] = 198;
	p[31] = 19;
	put16(p + 32, flow);
	for (i = 14; i < 34; i += 2)
		sum += (uint32_t)(p[i] << 8 | p[i + 1]);
	sum = (sum & 0xffff) + (sum >> 16);
	put16(p + 24, ~(sum + (sum >> 16)) & 0xffff);
	put16(p + 34, 1024 + flow);
	put16(p + 36, 9);	/* discard */
	put16(p + 38, len - 34);
	put16(p + 40, 0);
}

static void
put_payload(uint8_t *p, size_t len, const char *corpus, size_t corpus_len, uint64_t *random)
{
	size_t i;

	if (corpus != NULL) {
		memcpy(p, corpus + next_random(random) % (corpus_len - len), len);
		return;
	}
	for (i = 0; i < len; i++)
		p[i] = (uint8_t)(next_random(random) >> 40);
}

int
packets_make(struct packets *packets, size_t count, const char *size, const char *payload, const uint8_t mac[6], unsigned seed)
{
	uint64_t random = 0x9e3779b97f4a7c15u ^ seed;
	size_t i, corpus_len = 0;
	char *corpus = NULL;

	memset(packets, 0, sizeof(*packets));
	errno = 0;
	if (strcmp(payload, "random") != 0 && (corpus = read_corpus(payload, &corpus_len)) == NULL)
		return -1;
	packets->memory = malloc(count * (PACKET_MAX + 2));
	packets->data = calloc(count, sizeof(*packets->data));
	packets->len = calloc(count, sizeof(*packets->len));
	if (packets->memory == NULL || packets->data == NULL || packets->len == NULL) {
		packets_free(packets);
		free(corpus);
		return -1;
	}
	for (i = 0; i < count; i++) {
		packets->data[i] = packets->memory + i * (PACKET_MAX + 2);
		packets->len[i] = size_of(size, &random);
		put_headers(packets->data[i], packets->len[i], mac, (unsigned)(next_random(&random) >> 20) % FLOWS);
		put_payload(packets->data[i] + HEADERS, packets->len[i] - HEADERS, corpus, corpus_len, &random);
	}
	packets->count = count;
	free(corpus);
	return 0;
}

void
packets_free(struct packets *packets)
{
	free(packets->memory);
	free(packets->data);
	free(packets->len);
	memset(packets, 0, sizeof(*packets));
}

void
packets_set_sequence(uint8_t *packet, uint64_t sequence)
{
	int i;

	for (i = 0; i < 8; i++)
		packet[PACKETS_SEQUENCE_OFFSET + i] = (uint8_t)(sequence >> (56 - 8 * i));
}
