/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdlib.h>

#include "common/buf.h"
#include "proto/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* All that a file gives, drained as it comes; a bomb only takes time, so it is left after 8 MiB. */
static void
read_file(const struct codec *codec, bool at_begin, const uint8_t *data, size_t size)
{
	void *reader = codec->reader_new(at_begin);
	struct buf out;
	size_t sum = 0;

	if (reader == NULL)
		abort();
	buf_init(&out, 70000);
	while (sum < 8u << 20 && codec->reader_decode(reader, &data, &size, &out) == 1) {
		if (out.len == 0 || out.len > 70000)
			abort();
		sum += out.len;
		out.len = 0;
	}
	buf_clear(&out);
	codec->reader_free(reader);
}

/* First byte: which codec, and from the begin of a file or of a unit; two more: the length that is announced. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct codec *codec;
	uint8_t *raw;
	size_t raw_len;

	if (size < 3 || (codec = codec_by_id(data[0] & 3)) == NULL)
		return 0;
	raw_len = (size_t)(data[1] | data[2] << 8);
	if ((raw = malloc(raw_len > 0 ? raw_len : 1)) == NULL)
		abort();
	codec->decode(data + 3, size - 3, raw, raw_len);
	free(raw);
	read_file(codec, (data[0] & 4) != 0, data + 3, size - 3);
	return 0;
}
