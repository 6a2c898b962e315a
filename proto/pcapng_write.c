/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include "common/buf.h"
#include "proto/pcapng.h"

/* pcapng: what is written, appended to a buffer or, for packets, straight into the block being filled. */

#define EPB_FIXED		32u	/* all but data, padding and options */

static inline uint8_t *
store_u32le(uint8_t *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, sizeof(v));
	return p + sizeof(v);
}

static inline uint8_t *
store_u64le(uint8_t *p, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, sizeof(v));
	return p + sizeof(v);
}

/* An option's code and length, which share one word. */
static inline uint8_t *
store_option(uint8_t *p, uint32_t code, uint32_t len)
{
	return store_u32le(p, code | len << 16);
}

/* Bytes and zeros up to the next multiple of four; p has room for one word more than that. */
static inline uint8_t *
store_padded(uint8_t *p, const void *data, size_t len)
{
	store_u32le(p + (len & ~(size_t)3), 0);
	memcpy(p, data, len);
	return p + ((len + 3) & ~(size_t)3);
}

/* A packet's bytes, and the zeroes in place of those that it was not captured with. */
static inline uint8_t *
store_data(uint8_t *p, const struct pcapng_packet *packet)
{
	size_t there = packet->captured_len - packet->zeroes, all = ((size_t)packet->captured_len + 3) & ~(size_t)3;

	if (packet->zeroes == 0)
		return store_padded(p, packet->data, there);
	memcpy(p, packet->data, there);
	memset(p + there, 0, all - there);
	return p + all;
}

static inline size_t
padded(size_t len)
{
	return (len + 3) & ~(size_t)3;
}

static inline size_t
epb_length(const struct pcapng_packet *packet, size_t comment_len)
{
	size_t options = (packet->flags != 0 ? 8u : 0u) + (packet->dropped != 0 ? 12u : 0u) + (packet->packetid != 0 ? 12u : 0u);

	if (comment_len != 0)
		options += 4 + padded(comment_len);
	return EPB_FIXED + padded(packet->captured_len) + options + (options != 0 ? 4u : 0u);
}

/* The room behind the last option takes the word that store_padded() may write too much. */
static inline void
epb_store(uint8_t *p, size_t length, const struct pcapng_packet *packet, size_t comment_len)
{
	uint8_t *options;

	p = store_u32le(p, PCAPNG_EPB);
	p = store_u32le(p, (uint32_t)length);
	p = store_u32le(p, packet->interface);
	p = store_u32le(p, (uint32_t)(packet->time_ns >> 32));
	p = store_u32le(p, (uint32_t)packet->time_ns);
	p = store_u32le(p, packet->captured_len);
	p = store_u32le(p, packet->original_len);
	p = options = store_data(p, packet);
	if (comment_len != 0)
		p = store_padded(store_option(p, PCAPNG_OPT_COMMENT, (uint32_t)comment_len), packet->comment, comment_len);
	if (packet->flags != 0)
		p = store_u32le(store_option(p, PCAPNG_EPB_FLAGS, 4), packet->flags);
	if (packet->dropped != 0)
		p = store_u64le(store_option(p, PCAPNG_EPB_DROPCOUNT, 8), packet->dropped);
	if (packet->packetid != 0)
		p = store_u64le(store_option(p, PCAPNG_EPB_PACKETID, 8), packet->packetid);
	if (p != options)
		p = store_option(p, PCAPNG_OPT_END, 0);
	store_u32le(p, (uint32_t)length);
}

size_t
pcapng_write_epb(uint8_t *p, const struct pcapng_packet *packet)
{
	size_t length = epb_length(packet, 0);

	epb_store(p, length, packet, 0);
	return length;
}

int
pcapng_put_epb(struct buf *b, const struct pcapng_packet *packet)
{
	size_t comment_len = packet->comment != NULL ? strlen(packet->comment) : 0, length;

	if (comment_len > UINT16_MAX) {
		errno = EMSGSIZE;
		return -1;
	}
	length = epb_length(packet, comment_len);
	if (buf_reserve(b, length) == -1)
		return -1;
	epb_store(b->data + b->len, length, packet, comment_len);
	b->len += length;
	return 0;
}

/* Blocks that are rare are put piece by piece: block_begin() leaves the length open, block_end() fills it in. */
static int
block_begin(struct buf *b, uint32_t type)
{
	return buf_put_u32le(b, type) + buf_put_u32le(b, 0);
}

/* Takes the whole block back if any piece of it did not fit. */
static int
block_end(struct buf *b, size_t start, int errs)
{
	uint32_t length = (uint32_t)(b->len - start + 4);

	errs += buf_put_u32le(b, length);
	if (errs != 0) {
		b->len = start;
		return -1;
	}
	store_u32le(b->data + start + 4, length);
	return 0;
}

static int
put_padding(struct buf *b, size_t len)
{
	static const uint8_t zero[3];

	return buf_put(b, zero, padded(len) - len);
}

static int
put_option(struct buf *b, uint16_t code, const void *value, size_t len)
{
	if (len > UINT16_MAX) {
		errno = EMSGSIZE;
		return -1;
	}
	return buf_put_u16le(b, code) + buf_put_u16le(b, (uint16_t)len) + buf_put(b, value, len) + put_padding(b, len);
}

static int
put_option_string(struct buf *b, uint16_t code, const char *s)
{
	return s == NULL || *s == '\0' ? 0 : put_option(b, code, s, strlen(s));
}

static int
put_option_u64(struct buf *b, uint16_t code, uint64_t value)
{
	return buf_put_u16le(b, code) + buf_put_u16le(b, 8) + buf_put_u64le(b, value);
}

/* Timestamps are two words, the high one first. */
static int
put_time(struct buf *b, uint64_t time_ns)
{
	return buf_put_u32le(b, (uint32_t)(time_ns >> 32)) + buf_put_u32le(b, (uint32_t)time_ns);
}

static int
put_option_time(struct buf *b, uint16_t code, uint64_t time_ns)
{
	return buf_put_u16le(b, code) + buf_put_u16le(b, 8) + put_time(b, time_ns);
}

/* if_filter is a byte that tells the kind (0: libpcap's language) and then the text. */
static int
put_option_filter(struct buf *b, const char *filter)
{
	size_t len = strlen(filter);

	if (len == 0)
		return 0;
	return buf_put_u16le(b, PCAPNG_IF_FILTER) + buf_put_u16le(b, (uint16_t)(len + 1)) + buf_put_u8(b, 0) +
	    buf_put(b, filter, len) + put_padding(b, len + 1);
}

int
pcapng_put_shb(struct buf *b, const char *hardware, const char *os, const char *application)
{
	return pcapng_put_shb_comment(b, hardware, os, application, NULL);
}

int
pcapng_put_shb_comment(struct buf *b, const char *hardware, const char *os, const char *application, const char *comment)
{
	size_t start = b->len;
	int errs = block_begin(b, PCAPNG_SHB);

	errs += buf_put_u32le(b, PCAPNG_MAGIC);
	errs += buf_put_u16le(b, 1) + buf_put_u16le(b, 0);	/* version 1.0 */
	errs += buf_put_u64le(b, UINT64_MAX);			/* the section's length is not told */
	errs += put_option_string(b, PCAPNG_OPT_COMMENT, comment);
	errs += put_option_string(b, PCAPNG_SHB_HARDWARE, hardware);
	errs += put_option_string(b, PCAPNG_SHB_OS, os);
	errs += put_option_string(b, PCAPNG_SHB_USERAPPL, application);
	errs += put_option(b, PCAPNG_OPT_END, "", 0);
	return block_end(b, start, errs);
}

int
pcapng_put_idb(struct buf *b, const struct pcapng_interface *interface)
{
	static const uint8_t nanoseconds = 9;
	size_t start = b->len;
	unsigned i;
	int errs = block_begin(b, PCAPNG_IDB);

	errs += buf_put_u16le(b, interface->linktype) + buf_put_u16le(b, 0) + buf_put_u32le(b, PCAPNG_SNAPLEN);
	errs += put_option_string(b, PCAPNG_IF_NAME, interface->name);
	errs += put_option_string(b, PCAPNG_IF_DESCRIPTION, interface->description);
	for (i = 0; i < interface->ipv4_count; i++)
		errs += put_option(b, PCAPNG_IF_IPV4, interface->ipv4[i], sizeof(interface->ipv4[i]));
	for (i = 0; i < interface->ipv6_count; i++)
		errs += put_option(b, PCAPNG_IF_IPV6, interface->ipv6[i], sizeof(interface->ipv6[i]));
	if (interface->has_mac)
		errs += put_option(b, PCAPNG_IF_MAC, interface->mac, sizeof(interface->mac));
	errs += put_option(b, PCAPNG_IF_TSRESOL, &nanoseconds, sizeof(nanoseconds));
	errs += put_option_filter(b, interface->filter);
	errs += put_option_string(b, PCAPNG_IF_OS, interface->os);
	errs += put_option(b, PCAPNG_OPT_END, "", 0);
	return block_end(b, start, errs);
}

int
pcapng_put_isb(struct buf *b, const struct pcapng_statistics *statistics)
{
	size_t start = b->len;
	int errs = block_begin(b, PCAPNG_ISB);

	errs += buf_put_u32le(b, statistics->interface) + put_time(b, statistics->time_ns);
	errs += put_option_time(b, PCAPNG_ISB_STARTTIME, statistics->start_ns);
	errs += put_option_time(b, PCAPNG_ISB_ENDTIME, statistics->time_ns);
	if (statistics->has_offered)
		errs += put_option_u64(b, PCAPNG_ISB_IFRECV, statistics->offered);
	errs += put_option_u64(b, PCAPNG_ISB_FILTERACCEPT, statistics->received);
	errs += put_option_u64(b, PCAPNG_ISB_OSDROP, statistics->dropped);
	errs += put_option_u64(b, PCAPNG_ISB_USRDELIV, statistics->delivered);
	errs += put_option(b, PCAPNG_OPT_END, "", 0);
	return block_end(b, start, errs);
}

/* An EPB with a comment in front of its options, or as its only one. */
static int
put_commented_epb(struct buf *b, const uint8_t *block, size_t block_len, const struct pcapng_packet *packet, const char *comment)
{
	size_t start = b->len, before = (size_t)(packet->data - block) + padded(packet->captured_len);
	size_t options = block_len - before - 4;
	int errs = block_begin(b, PCAPNG_EPB);

	errs += buf_put(b, block + 8, before - 8);
	errs += put_option(b, PCAPNG_OPT_COMMENT, comment, strlen(comment));
	if (options != 0)
		errs += buf_put(b, block + before, options);
	else
		errs += put_option(b, PCAPNG_OPT_END, "", 0);
	return block_end(b, start, errs);
}

int
pcapng_put_commented(struct buf *b, const uint8_t *data, size_t len, const char *comment)
{
	size_t start = b->len, block_len;
	struct pcapng_packet packet;
	struct pcapng_walk walk;
	const uint8_t *block;
	uint32_t type;
	int r;

	pcapng_walk_init(&walk, data, len);
	while ((r = pcapng_walk_next(&walk, &type, &packet, &block, &block_len)) == 1 && type != PCAPNG_EPB)
		;
	if (r != 1) {
		errno = EBADMSG;
		return -1;
	}
	if (buf_put(b, data, (size_t)(block - data)) == 0 && put_commented_epb(b, block, block_len, &packet, comment) == 0 &&
	    buf_put(b, walk.p, walk.left) == 0)
		return 0;
	b->len = start;
	return -1;
}
