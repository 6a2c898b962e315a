/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <zstd.h>

#include "common/buf.h"
#include "proto/codec.h"

/* zstd: a unit is one frame (RFC 8878) that tells its content's size, without checksum. */

#define ZSTD_BLOCK_RAW_MAX	(128u * 1024)
#define ZSTD_WINDOW_LOG_MAX	20	/* more than any level takes for a block: other frames are not ours */
/*
 * Level 1 and those below 0 with tables that leave room in a processor's first-level cache for the packets: 32 and 16 KiB in place of
 * 64 and 32. Of real traffic level 1 takes 13 % less time so, and the result is 0.4 % longer (of text, 9 % and 4 %); level -1 is
 * faster than libzstd's -5 and compresses better. (Level 0 is libzstd's usual one, 3.)
 */
#define FAST_HASH_LOG		13
#define FAST_MIN_MATCH		6
#define FASTEST_HASH_LOG	12
#define FASTEST_MIN_MATCH	7
#define FRAME_HEADER		9	/* of store(): magic, descriptor, size */
#define BLOCK_HEADER		3
/* Frame header descriptor (RFC 8878, 3.1.1.1.1) */
#define FHD_SINGLE_SEGMENT	0x20
#define FHD_SIZE_4_BYTES	0x80
#define FHD_DICTIONARY		0x03
#define FHD_RESERVED		0x08

static void
zstd_state_free(void *state)
{
	ZSTD_freeCCtx(state);
}

static bool
set_parameters(ZSTD_CCtx *state, int level, int hash_log, int min_match)
{
	return !ZSTD_isError(ZSTD_CCtx_setParameter(state, ZSTD_c_compressionLevel, level)) &&
	    !ZSTD_isError(ZSTD_CCtx_setParameter(state, ZSTD_c_hashLog, hash_log)) &&
	    !ZSTD_isError(ZSTD_CCtx_setParameter(state, ZSTD_c_minMatch, min_match));
}

static int
zstd_state_set_level(void *state, int level)
{
	int hash_log = level < 0 ? FASTEST_HASH_LOG : level == 1 ? FAST_HASH_LOG : 0;	/* 0: as the level has it */
	int min_match = level < 0 ? FASTEST_MIN_MATCH : level == 1 ? FAST_MIN_MATCH : 0;

	ZSTD_CCtx_reset(state, ZSTD_reset_session_only);	/* a frame that found too little room may still be open */
	if (set_parameters(state, level, hash_log, min_match))
		return 0;
	errno = ENOMEM;
	return -1;
}

static void *
zstd_state_new(int level)
{
	ZSTD_CCtx *state = ZSTD_createCCtx();

	if (state == NULL || zstd_state_set_level(state, level) == -1) {
		ZSTD_freeCCtx(state);
		errno = ENOMEM;
		return NULL;
	}
	return state;
}

static size_t
zstd_bound(size_t raw_len)
{
	return ZSTD_compressBound(raw_len);	/* at least 64 bytes more than a small block, which is enough for store() too */
}

static ssize_t
zstd_encode(void *state, const uint8_t *raw, size_t raw_len, uint8_t *out, size_t out_size)
{
	size_t n = ZSTD_compress2(state, out, out_size, raw, raw_len);

	return ZSTD_isError(n) ? -1 : (ssize_t)n;
}

static uint8_t *
put_le(uint8_t *p, uint32_t v, unsigned bytes)
{
	for (; bytes > 0; bytes--, v >>= 8)
		*p++ = (uint8_t)v;
	return p;
}

/* Raw blocks (RFC 8878, 3.1.1.2): last or not, type 0, size. */
static ssize_t
zstd_store(const uint8_t *raw, size_t raw_len, uint8_t *out, size_t out_size)
{
	size_t blocks = raw_len == 0 ? 1 : (raw_len + ZSTD_BLOCK_RAW_MAX - 1) / ZSTD_BLOCK_RAW_MAX, done, i, n;
	uint8_t *p = out;

	if (raw_len > UINT32_MAX || out_size < FRAME_HEADER + BLOCK_HEADER * blocks + raw_len)
		return -1;
	p = put_le(p, ZSTD_MAGICNUMBER, 4);
	p = put_le(p, FHD_SINGLE_SEGMENT | FHD_SIZE_4_BYTES, 1);
	p = put_le(p, (uint32_t)raw_len, 4);
	for (i = 0, done = 0; i < blocks; i++, done += n) {
		n = raw_len - done < ZSTD_BLOCK_RAW_MAX ? raw_len - done : ZSTD_BLOCK_RAW_MAX;
		p = put_le(p, (uint32_t)n << 3 | (i == blocks - 1), BLOCK_HEADER);
		if (n > 0)
			memcpy(p, raw + done, n);
		p += n;
	}
	return p - out;
}

/* What stock tools would not read, or only with more memory: windows above ours are refused, dictionaries too. */
static int
check_frame_header(const uint8_t *in, size_t in_len)
{
	struct cursor c;
	uint32_t magic;
	uint8_t descriptor, window = 0;

	cursor_init(&c, in, in_len);
	if (cursor_u32le(&c, &magic) == -1 || magic != ZSTD_MAGICNUMBER || cursor_u8(&c, &descriptor) == -1)
		return -1;
	if ((descriptor & (FHD_DICTIONARY | FHD_RESERVED)) != 0)
		return -1;
	if ((descriptor & FHD_SINGLE_SEGMENT) == 0 && cursor_u8(&c, &window) == -1)
		return -1;
	return window <= (ZSTD_WINDOW_LOG_MAX - 10) << 3 ? 0 : -1;	/* exponent from 10, mantissa below it */
}

static int
zstd_decode(const uint8_t *in, size_t in_len, uint8_t *raw, size_t raw_len)
{
	if (check_frame_header(in, in_len) == -1 || ZSTD_getFrameContentSize(in, in_len) != raw_len ||
	    ZSTD_findFrameCompressedSize(in, in_len) != in_len)
		return -1;
	return ZSTD_decompress(raw, raw_len, in, in_len) == raw_len ? 0 : -1;
}

static size_t
zstd_edge(uint8_t *out, size_t out_size)
{
	(void)out;
	(void)out_size;
	return 0;
}

static void
zstd_reader_free(void *reader)
{
	ZSTD_freeDCtx(reader);
}

static void *
zstd_reader_new(bool at_file_begin)
{
	ZSTD_DCtx *reader = ZSTD_createDCtx();

	(void)at_file_begin;
	if (reader == NULL || ZSTD_isError(ZSTD_DCtx_setParameter(reader, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG_MAX))) {
		ZSTD_freeDCtx(reader);
		errno = ENOMEM;
		return NULL;
	}
	return reader;
}

static int
zstd_reader_decode(void *reader, const uint8_t **in, size_t *in_left, struct buf *out)
{
	ZSTD_inBuffer from = {.src = *in, .size = *in_left};
	ZSTD_outBuffer to = {.dst = NULL};
	size_t r;

	do {
		if ((to.size = codec_reader_room(out)) == 0)
			return -1;
		to.dst = out->data + out->len;
		r = ZSTD_decompressStream(reader, &to, &from);
		if (ZSTD_isError(r)) {
			errno = EBADMSG;
			return -1;
		}
	} while (to.pos == 0 && from.pos < from.size);
	*in += from.pos;
	*in_left -= from.pos;
	out->len += to.pos;
	return to.pos > 0 ? 1 : 0;
}

const struct codec codec_zstd = {
	.id = CODEC_ZSTD,
	.name = "zstd",
	.suffix = ".zst",
	.level_min = -7,
	.level_max = 19,
	.level_initial = 1,
	.level_quick = -3,
	.bound = zstd_bound,
	.state_new = zstd_state_new,
	.state_free = zstd_state_free,
	.state_set_level = zstd_state_set_level,
	.encode = zstd_encode,
	.store = zstd_store,
	.decode = zstd_decode,
	.file_begin = zstd_edge,
	.file_end = zstd_edge,
	.reader_new = zstd_reader_new,
	.reader_free = zstd_reader_free,
	.reader_decode = zstd_reader_decode,
};
