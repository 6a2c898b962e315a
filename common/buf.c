/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"

#define BUF_FIRST_SIZE	64

void
buf_init(struct buf *b, size_t max)
{
	*b = (struct buf){ .max = max };
}

/* Takes consumed room back into use, at the cost of moving what is there. */
static void
move_to_front(struct buf *b)
{
	if (b->head == 0)
		return;
	memmove(b->data - b->head, b->data, b->len);
	b->data -= b->head;
	b->size += b->head;
	b->head = 0;
}

void
buf_clear(struct buf *b)
{
	b->len = 0;
	move_to_front(b);
	free(b->data);
	buf_init(b, b->max);
}

void
buf_wipe(struct buf *b)
{
	move_to_front(b);
	if (b->data != NULL)
		explicit_bzero(b->data, b->size);
	buf_clear(b);
}

/* The allocation that holds need bytes: doubled, so that appending stays linear, but never above the ceiling. */
static size_t
grown_size(const struct buf *b, size_t need)
{
	size_t	size = b->size < BUF_FIRST_SIZE ? BUF_FIRST_SIZE : b->size;

	while (size < need) {
		if (size > b->max / 2)
			return b->max;
		size *= 2;
	}
	return size < b->max ? size : b->max;
}

/* At the front, so that the ceiling holds for the allocation too; moving at most doubles the cost of the copy in realloc(3). */
static int
grow(struct buf *b, size_t need)
{
	uint8_t	*data;
	size_t	 size = grown_size(b, need);

	data = realloc(b->data, size);
	if (data == NULL)
		return -1;
	b->data = data;
	b->size = size;
	return 0;
}

int
buf_reserve(struct buf *b, size_t more)
{
	if (more > b->max - b->len) {
		errno = ENOBUFS;
		return -1;
	}
	if (more <= b->size - b->len)
		return 0;
	move_to_front(b);
	return more <= b->size - b->len ? 0 : grow(b, b->len + more);
}

void
buf_consume(struct buf *b, size_t n)
{
	b->len -= n;
	if (n > 0) {
		b->data += n;
		b->size -= n;
		b->head += n;
	}
	if (b->len == 0)
		move_to_front(b);
}

int
buf_put(struct buf *b, const void *bytes, size_t n)
{
	if (buf_reserve(b, n) == -1)
		return -1;
	if (n > 0)
		memcpy(b->data + b->len, bytes, n);
	b->len += n;
	return 0;
}

static int
put_big(struct buf *b, uint64_t value, unsigned bytes)
{
	uint8_t	 tmp[8];

	for (unsigned i = 0; i < bytes; i++)
		tmp[i] = (uint8_t)(value >> (8 * (bytes - 1 - i)));
	return buf_put(b, tmp, bytes);
}

static int
put_little(struct buf *b, uint64_t value, unsigned bytes)
{
	uint8_t	 tmp[8];

	for (unsigned i = 0; i < bytes; i++)
		tmp[i] = (uint8_t)(value >> (8 * i));
	return buf_put(b, tmp, bytes);
}

int
buf_put_u8(struct buf *b, uint8_t value)
{
	return buf_put(b, &value, 1);
}

int
buf_put_u16(struct buf *b, uint16_t value)
{
	return put_big(b, value, 2);
}

int
buf_put_u32(struct buf *b, uint32_t value)
{
	return put_big(b, value, 4);
}

int
buf_put_u64(struct buf *b, uint64_t value)
{
	return put_big(b, value, 8);
}

int
buf_put_u16le(struct buf *b, uint16_t value)
{
	return put_little(b, value, 2);
}

int
buf_put_u32le(struct buf *b, uint32_t value)
{
	return put_little(b, value, 4);
}

int
buf_put_u64le(struct buf *b, uint64_t value)
{
	return put_little(b, value, 8);
}

int
buf_put_str(struct buf *b, const char *s)
{
	size_t	 n = strlen(s);

	if (n > UINT16_MAX) {
		errno = EMSGSIZE;
		return -1;
	}
	if (buf_reserve(b, 2 + n) == -1)
		return -1;
	return buf_put_u16(b, (uint16_t)n) | buf_put(b, s, n);
}

int
buf_printf(struct buf *b, const char *format, ...)
{
	va_list	 ap;
	char	*text;
	int	 n, result;

	va_start(ap, format);
	n = vasprintf(&text, format, ap);
	va_end(ap);
	if (n == -1)
		return -1;
	result = buf_put(b, text, (size_t)n);
	free(text);
	return result;
}

int
cursor_bytes(struct cursor *c, void *dst, size_t n)
{
	const uint8_t	*p = c->p;

	if (cursor_skip(c, n) == -1)
		return -1;
	if (n > 0)
		memcpy(dst, p, n);
	return 0;
}

static uint16_t
big16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t
big32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | (uint32_t)p[3];
}

int
cursor_u8(struct cursor *c, uint8_t *value)
{
	return cursor_bytes(c, value, 1);
}

int
cursor_u16(struct cursor *c, uint16_t *value)
{
	const uint8_t	*p = cursor_take(c, 2);

	if (p == NULL)
		return -1;
	*value = big16(p);
	return 0;
}

int
cursor_u32(struct cursor *c, uint32_t *value)
{
	const uint8_t	*p = cursor_take(c, 4);

	if (p == NULL)
		return -1;
	*value = big32(p);
	return 0;
}

int
cursor_u64(struct cursor *c, uint64_t *value)
{
	const uint8_t	*p = cursor_take(c, 8);

	if (p == NULL)
		return -1;
	*value = (uint64_t)big32(p) << 32 | big32(p + 4);
	return 0;
}

int
cursor_u64le(struct cursor *c, uint64_t *value)
{
	const uint8_t	*p = cursor_take(c, 8);

	if (p == NULL)
		return -1;
	*value = (uint64_t)cursor_little32(p + 4) << 32 | cursor_little32(p);
	return 0;
}

int
cursor_str(struct cursor *c, char *dst, size_t dst_size)
{
	struct cursor	 at = *c;
	uint16_t	 n;

	if (cursor_u16(&at, &n) == -1 || n > at.left || n >= dst_size)
		return -1;
	if (n > 0 && memchr(at.p, '\0', n) != NULL)
		return -1;
	cursor_bytes(&at, dst, n);
	dst[n] = '\0';
	*c = at;
	return 0;
}

int
cursor_end(const struct cursor *c)
{
	return c->left == 0 ? 0 : -1;
}
