/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdlib.h>

#include "proto/frame.h"

int	LLVMFuzzerTestOneInput(const uint8_t *, size_t);

/* Frame after frame, as a session reads them; each must lie inside what was given and keep its type's cap. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct frame f;

	while (frame_parse(data, len, &f) == FRAME_OK) {
		if (f.payload != data + FRAME_HEADER_SIZE || f.length > len - FRAME_HEADER_SIZE ||
		    f.length > frame_length_max(f.type))
			abort();
		data += FRAME_HEADER_SIZE + f.length;
		len -= FRAME_HEADER_SIZE + f.length;
	}
	return 0;
}
