/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ZLIB_CONST
#include <zlib.h>

#include "common/buf.h"
#include "proto/codec.h"

/* zlib: a unit is one gzip member (RFC 1952), so a file is what gzip makes of appended pieces. */

#define GZIP_WINDOW	(MAX_WBITS + 16)
#define GZIP_EDGES	18	/* header and trailer */
#define STORED_MAX	65535u	/* bytes of a stored block of deflate */
#define STORED_HEADER	5

static const uint8_t gzip_header[10] = {0x1f, 0x8b, Z_DEFLATED, 0, 0, 0, 0, 0, 0, 255};	/* no flags, no time, unknown system */

static void
zlib_state_free(void *arg)
{
	z_stream *z = arg;

	if (z != NULL)
		deflateEnd(z);
	free(z);
}

static void *
zlib_state_new(int level)
{
	z_stream *z = calloc(1, sizeof(*z));

	if (z == NULL)
		return NULL;
	if (deflateInit2(z, level, Z_DEFLATED, GZIP_WINDOW, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
		free(z);
		errno = ENOMEM;
		return NULL;
	}
	return z;
}

/* Between two members. zlib before 1.2.12 writes a header there, which goes nowhere; and it may have no room for less. */
static int
zlib_state_set_level(void *arg, int level)
{
	uint8_t nowhere[64];
	z_stream *z = arg;
	int result;

	if (deflateReset(z) != Z_OK)
		return -1;
	z->next_out = nowhere;
	z->avail_out = sizeof(nowhere);
	result = deflateParams(z, level, Z_DEFAULT_STRATEGY);
	z->next_out = NULL;
	z->avail_out = 0;
	return result == Z_OK ? 0 : -1;
}

static size_t
zlib_bound(size_t raw_len)
{
	size_t stored = raw_len + STORED_HEADER * (raw_len / STORED_MAX + 1), deflated = compressBound(raw_len);

	return GZIP_EDGES + (stored > deflated ? stored : deflated);
}

static ssize_t
zlib_encode(void *state, const uint8_t *raw, size_t raw_len, uint8_t *out, size_t out_size)
{
	z_stream *z = state;

	if (deflateReset(z) != Z_OK)
		return -1;
	z->next_in = raw;
	z->avail_in = (uInt)raw_len;
	z->next_out = out;
	z->avail_out = (uInt)out_size;
	if (deflate(z, Z_FINISH) != Z_STREAM_END)
		return -1;
	return (ssize_t)(out_size - z->avail_out);
}

static uint8_t *
put_u16le(uint8_t *p, uint32_t v)
{
	*p++ = (uint8_t)v;
	*p++ = (uint8_t)(v >> 8);
	return p;
}

static uint8_t *
put_u32le(uint8_t *p, uint32_t v)
{
	return put_u16le(put_u16le(p, v), v >> 16);
}

/* A stored block (RFC 1951, 3.2.4): last or not, length, its complement. */
static uint8_t *
put_stored(uint8_t *p, const uint8_t *raw, size_t n, bool last)
{
	*p++ = last;
	p = put_u16le(p, (uint32_t)n);
	p = put_u16le(p, ~(uint32_t)n);
	if (n > 0)
		memcpy(p, raw, n);
	return p + n;
}

static ssize_t
zlib_store(const uint8_t *raw, size_t raw_len, uint8_t *out, size_t out_size)
{
	size_t blocks = raw_len == 0 ? 1 : (raw_len + STORED_MAX - 1) / STORED_MAX, done, i, n;
	uint8_t *p = out + sizeof(gzip_header);

	if (out_size < GZIP_EDGES + STORED_HEADER * blocks + raw_len)
		return -1;
	memcpy(out, gzip_header, sizeof(gzip_header));
	for (i = 0, done = 0; i < blocks; i++, done += n) {
		n = raw_len - done < STORED_MAX ? raw_len - done : STORED_MAX;
		p = put_stored(p, raw + done, n, i == blocks - 1);
	}
	p = put_u32le(p, (uint32_t)crc32(0, raw, (uInt)raw_len));
	p = put_u32le(p, (uint32_t)raw_len);
	return p - out;
}

static int
zlib_decode(const uint8_t *in, size_t in_len, uint8_t *raw, size_t raw_len)
{
	z_stream z = {.next_in = in, .avail_in = (uInt)in_len, .next_out = raw, .avail_out = (uInt)raw_len};
	int r;

	if (inflateInit2(&z, GZIP_WINDOW) != Z_OK)
		return -1;
	r = inflate(&z, Z_FINISH);
	inflateEnd(&z);
	return r == Z_STREAM_END && z.avail_in == 0 && z.avail_out == 0 ? 0 : -1;
}

static size_t
zlib_edge(uint8_t *out, size_t out_size)
{
	(void)out;
	(void)out_size;
	return 0;
}

static void
zlib_reader_free(void *arg)
{
	z_stream *z = arg;

	if (z != NULL)
		inflateEnd(z);
	free(z);
}

static void *
zlib_reader_new(bool at_file_begin)
{
	z_stream *z = calloc(1, sizeof(*z));

	(void)at_file_begin;
	if (z == NULL)
		return NULL;
	if (inflateInit2(z, GZIP_WINDOW) != Z_OK) {
		free(z);
		errno = ENOMEM;
		return NULL;
	}
	return z;
}

/* Inflates within one member; the next one is waited for at its end. */
static int
inflate_some(z_stream *z)
{
	switch (inflate(z, Z_NO_FLUSH)) {
	case Z_STREAM_END:
		return inflateReset(z) == Z_OK ? 0 : -1;
	case Z_OK:
	case Z_BUF_ERROR:	/* no progress for want of input */
		return 0;
	case Z_MEM_ERROR:
		errno = ENOMEM;
		return -1;
	default:
		errno = EBADMSG;
		return -1;
	}
}

static int
zlib_reader_decode(void *reader, const uint8_t **in, size_t *in_left, struct buf *out)
{
	z_stream *z = reader;
	size_t room, n;

	do {
		if ((room = codec_reader_room(out)) == 0)
			return -1;
		z->next_in = *in;
		z->avail_in = *in_left < UINT32_MAX ? (uInt)*in_left : UINT32_MAX;
		z->next_out = out->data + out->len;
		z->avail_out = (uInt)room;
		if (inflate_some(z) == -1)
			return -1;
		n = room - z->avail_out;
		*in_left -= (size_t)(z->next_in - *in);
		*in = z->next_in;
	} while (n == 0 && *in_left > 0);
	out->len += n;
	return n > 0 ? 1 : 0;
}

const struct codec codec_zlib = {
	.id = CODEC_ZLIB,
	.name = "zlib",
	.suffix = ".gz",
	.level_min = 1,
	.level_max = 9,
	.level_initial = 1,
	.level_quick = 1,
	.bound = zlib_bound,
	.state_new = zlib_state_new,
	.state_free = zlib_state_free,
	.state_set_level = zlib_state_set_level,
	.encode = zlib_encode,
	.store = zlib_store,
	.decode = zlib_decode,
	.file_begin = zlib_edge,
	.file_end = zlib_edge,
	.reader_new = zlib_reader_new,
	.reader_free = zlib_reader_free,
	.reader_decode = zlib_reader_decode,
};
