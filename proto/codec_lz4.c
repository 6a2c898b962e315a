/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <lz4.h>
#include <lz4frame.h>

#include "common/buf.h"
#include "proto/codec.h"

/*
 * lz4: one LZ4 frame per file (LZ4 Frame Format 1.6), whose header is the file's begin and whose EndMark is its end. A unit is
 * one or more data blocks of the frame, each of at most 256 KiB: a word of length, top bit set if what follows is not compressed.
 *
 * Levels are liblz4's: 1 is its usual speed, below 0 each step is faster and compresses less (acceleration 1 - level).
 */
#define LZ4_CHUNK	(256u * 1024)
#define LZ4_STORED	0x80000000u

/* Version 01, independent blocks, no checksums, no size; blocks of at most 256 KiB; second byte of the xxh32 of these two. */
static const uint8_t frame_header[] = {0x04, 0x22, 0x4d, 0x18, 0x60, 0x50, 0xfb};
static const uint8_t end_mark[4];

struct lz4_state {
	int	acceleration;
	void	*table;
};

static void
lz4_state_free(void *arg)
{
	struct lz4_state *state = arg;

	if (state != NULL)
		free(state->table);
	free(state);
}

static int
lz4_state_set_level(void *arg, int level)
{
	struct lz4_state *state = arg;

	state->acceleration = level < 0 ? 1 - level : 1;
	return 0;
}

static void *
lz4_state_new(int level)
{
	struct lz4_state *state = calloc(1, sizeof(*state));

	if (state == NULL)
		return NULL;
	lz4_state_set_level(state, level);
	state->table = malloc((size_t)LZ4_sizeofState());
	if (state->table == NULL) {
		lz4_state_free(state);
		return NULL;
	}
	return state;
}

static size_t
lz4_bound(size_t raw_len)
{
	return raw_len + 4 * (raw_len / LZ4_CHUNK + 1);
}

static void
put_length(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)v;
	p[1] = (uint8_t)(v >> 8);
	p[2] = (uint8_t)(v >> 16);
	p[3] = (uint8_t)(v >> 24);
}

static ssize_t
store_chunk(const uint8_t *raw, size_t n, uint8_t *out, size_t out_size)
{
	if (out_size < 4 + n)
		return -1;
	put_length(out, (uint32_t)n | LZ4_STORED);
	memcpy(out + 4, raw, n);
	return (ssize_t)(4 + n);
}

/* What does not get smaller is stored. */
static ssize_t
encode_chunk(const struct lz4_state *state, const uint8_t *raw, size_t n, uint8_t *out, size_t out_size)
{
	size_t room;
	int len;

	if (out_size < 4)
		return -1;
	room = out_size - 4 < n - 1 ? out_size - 4 : n - 1;
	len = LZ4_compress_fast_extState(state->table, (const char *)raw, (char *)out + 4, (int)n, (int)room, state->acceleration);
	if (len <= 0)
		return store_chunk(raw, n, out, out_size);
	put_length(out, (uint32_t)len);
	return 4 + len;
}

/* state NULL: store. */
static ssize_t
put_chunks(const struct lz4_state *state, const uint8_t *raw, size_t raw_len, uint8_t *out, size_t out_size)
{
	size_t done = 0, n, len = 0;
	ssize_t r;

	for (; done < raw_len; done += n) {
		n = raw_len - done < LZ4_CHUNK ? raw_len - done : LZ4_CHUNK;
		r = state != NULL ? encode_chunk(state, raw + done, n, out + len, out_size - len) :
		    store_chunk(raw + done, n, out + len, out_size - len);
		if (r == -1)
			return -1;
		len += (size_t)r;
	}
	return (ssize_t)len;
}

static ssize_t
lz4_encode(void *state, const uint8_t *raw, size_t raw_len, uint8_t *out, size_t out_size)
{
	return put_chunks(state, raw, raw_len, out, out_size);
}

static ssize_t
lz4_store(const uint8_t *raw, size_t raw_len, uint8_t *out, size_t out_size)
{
	return put_chunks(NULL, raw, raw_len, out, out_size);
}

/* One data block to at most room bytes; how many, or -1. Longer ones than the frame header allows would spoil the file. */
static ssize_t
decode_chunk(struct cursor *c, uint8_t *raw, size_t room)
{
	struct cursor chunk;
	uint32_t word, n;
	int len;

	if (cursor_u32le(c, &word) == -1)
		return -1;
	n = word & ~LZ4_STORED;
	if (n == 0 || n > LZ4_CHUNK || cursor_sub(c, n, &chunk) == -1)
		return -1;
	if (room > LZ4_CHUNK)
		room = LZ4_CHUNK;
	if ((word & LZ4_STORED) != 0)
		return n <= room && cursor_bytes(&chunk, raw, n) == 0 ? (ssize_t)n : -1;
	len = LZ4_decompress_safe((const char *)chunk.p, (char *)raw, (int)n, (int)room);
	return len > 0 ? len : -1;
}

static int
lz4_decode(const uint8_t *in, size_t in_len, uint8_t *raw, size_t raw_len)
{
	struct cursor c;
	size_t done = 0;
	ssize_t n;

	cursor_init(&c, in, in_len);
	while (done < raw_len) {
		if ((n = decode_chunk(&c, raw + done, raw_len - done)) == -1)
			return -1;
		done += (size_t)n;
	}
	return cursor_end(&c);
}

static size_t
put_edge(uint8_t *out, size_t out_size, const uint8_t *edge, size_t len)
{
	if (out_size < len)
		return 0;
	memcpy(out, edge, len);
	return len;
}

static size_t
lz4_file_begin(uint8_t *out, size_t out_size)
{
	return put_edge(out, out_size, frame_header, sizeof(frame_header));
}

static size_t
lz4_file_end(uint8_t *out, size_t out_size)
{
	return put_edge(out, out_size, end_mark, sizeof(end_mark));
}

static void
lz4_reader_free(void *reader)
{
	LZ4F_freeDecompressionContext(reader);
}

/* From the begin of a unit it reads on as if it had seen the header. */
static void *
lz4_reader_new(bool at_file_begin)
{
	LZ4F_dctx *reader;
	size_t in_len = sizeof(frame_header), out_len = 0, r;

	if (LZ4F_isError(LZ4F_createDecompressionContext(&reader, LZ4F_VERSION))) {
		errno = ENOMEM;
		return NULL;
	}
	if (at_file_begin)
		return reader;
	r = LZ4F_decompress(reader, NULL, &out_len, frame_header, &in_len, NULL);
	if (LZ4F_isError(r)) {
		lz4_reader_free(reader);
		errno = ENOMEM;
		return NULL;
	}
	return reader;
}

static int
lz4_reader_decode(void *reader, const uint8_t **in, size_t *in_left, struct buf *out)
{
	size_t in_len, out_len, r;

	do {
		if ((out_len = codec_reader_room(out)) == 0)
			return -1;
		in_len = *in_left;
		r = LZ4F_decompress(reader, out->data + out->len, &out_len, *in, &in_len, NULL);
		if (LZ4F_isError(r)) {
			errno = EBADMSG;
			return -1;
		}
		*in += in_len;
		*in_left -= in_len;
	} while (out_len == 0 && *in_left > 0);
	out->len += out_len;
	return out_len > 0 ? 1 : 0;
}

const struct codec codec_lz4 = {
	.id = CODEC_LZ4,
	.name = "lz4",
	.suffix = ".lz4",
	.level_min = -64,
	.level_max = 1,
	.level_initial = 1,
	.level_quick = -7,
	.bound = lz4_bound,
	.state_new = lz4_state_new,
	.state_free = lz4_state_free,
	.state_set_level = lz4_state_set_level,
	.encode = lz4_encode,
	.store = lz4_store,
	.decode = lz4_decode,
	.file_begin = lz4_file_begin,
	.file_end = lz4_file_end,
	.reader_new = lz4_reader_new,
	.reader_free = lz4_reader_free,
	.reader_decode = lz4_reader_decode,
};
