/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "proto/slice.h"

#define FLAG_HEADERS	0x1
#define FLAG_MASK	0x2
#define HEADERS		"headers"

int
slice_parse(const char *text, struct slice *slice, char *error, size_t error_size)
{
	const char *number = text + strlen(HEADERS);
	unsigned long payload = 0;
	char *end = NULL;

	if (strcmp(text, "none") == 0) {
		slice->headers = false;
		slice->payload = 0;
		return 0;
	}
	if (strncmp(text, HEADERS, strlen(HEADERS)) != 0 || (*number != '\0' && *number != ':'))
		goto fail;
	if (*number == ':') {
		payload = strtoul(++number, &end, 10);
		if (!isdigit((unsigned char)*number) || *end != '\0' || payload > UINT16_MAX)
			goto fail;
	}
	slice->headers = true;
	slice->payload = (uint16_t)payload;
	return 0;
fail:
	snprintf(error, error_size, "\"%.64s\" is not none, headers, or headers:BYTES with at most 65535 bytes of payload", text);
	return -1;
}

void
slice_to_text(const struct slice *slice, char dst[SLICE_TEXT_SIZE])
{
	if (!slice->headers)
		snprintf(dst, SLICE_TEXT_SIZE, "none");
	else if (slice->payload == 0)
		snprintf(dst, SLICE_TEXT_SIZE, HEADERS);
	else
		snprintf(dst, SLICE_TEXT_SIZE, HEADERS ":%u", (unsigned)slice->payload);
}

bool
slice_cuts(const struct slice *slice)
{
	return slice->headers || slice->mask;
}

int
slice_put(struct buf *b, const struct slice *slice)
{
	int errs;

	errs = buf_put_u8(b, (slice->headers ? FLAG_HEADERS : 0) | (slice->mask ? FLAG_MASK : 0));
	return errs + buf_put_u16(b, slice->payload) == 0 ? 0 : -1;
}

int
slice_get(struct cursor *c, struct slice *slice)
{
	uint8_t flags;

	if (cursor_u8(c, &flags) == -1 || cursor_u16(c, &slice->payload) == -1 || (flags & ~(FLAG_HEADERS | FLAG_MASK)) != 0)
		return -1;
	slice->headers = (flags & FLAG_HEADERS) != 0;
	slice->mask = (flags & FLAG_MASK) != 0;
	return slice_cuts(slice) || slice->payload == 0 ? 0 : -1;
}

struct slice
slice_narrower(const struct slice *a, const struct slice *b)
{
	struct slice both = { .headers = a->headers || b->headers, .mask = a->mask || b->mask };

	if (!slice_cuts(a))
		both.payload = b->payload;
	else if (!slice_cuts(b))
		both.payload = a->payload;
	else
		both.payload = a->payload < b->payload ? a->payload : b->payload;
	return both;
}
