/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <string.h>

#include "common/buf.h"
#include "proto/codec.h"

/* none: a unit is the raw bytes. It has no state; the pointers it hands out only say that there is one. */

static char no_state;

static void *
none_state_new(int level)
{
	(void)level;
	return &no_state;
}

static int
none_state_set_level(void *state, int level)
{
	(void)state;
	(void)level;
	return 0;
}

static void *
none_reader_new(bool at_file_begin)
{
	(void)at_file_begin;
	return &no_state;
}

static void
none_free(void *state)
{
	(void)state;
}

static size_t
none_bound(size_t raw_len)
{
	return raw_len;
}

static ssize_t
none_store(const uint8_t *raw, size_t raw_len, uint8_t *out, size_t out_size)
{
	if (raw_len > out_size)
		return -1;
	if (raw_len > 0)
		memcpy(out, raw, raw_len);
	return (ssize_t)raw_len;
}

static ssize_t
none_encode(void *state, const uint8_t *raw, size_t raw_len, uint8_t *out, size_t out_size)
{
	(void)state;
	return none_store(raw, raw_len, out, out_size);
}

static int
none_decode(const uint8_t *in, size_t in_len, uint8_t *raw, size_t raw_len)
{
	return in_len == raw_len && none_store(in, in_len, raw, raw_len) != -1 ? 0 : -1;
}

static size_t
none_edge(uint8_t *out, size_t out_size)
{
	(void)out;
	(void)out_size;
	return 0;
}

static int
none_reader_decode(void *reader, const uint8_t **in, size_t *in_left, struct buf *out)
{
	size_t n;

	(void)reader;
	if (*in_left == 0)
		return 0;
	if ((n = codec_reader_room(out)) == 0)
		return -1;
	if (n > *in_left)
		n = *in_left;
	buf_put(out, *in, n);
	*in += n;
	*in_left -= n;
	return 1;
}

const struct codec codec_none = {
	.id = CODEC_NONE,
	.name = "none",
	.suffix = "",
	.bound = none_bound,
	.state_new = none_state_new,
	.state_free = none_free,
	.state_set_level = none_state_set_level,
	.encode = none_encode,
	.store = none_store,
	.decode = none_decode,
	.file_begin = none_edge,
	.file_end = none_edge,
	.reader_new = none_reader_new,
	.reader_free = none_free,
	.reader_decode = none_reader_decode,
};
