/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COMMON_BUF_H
#define VMTAP_COMMON_BUF_H

#include <stddef.h>
#include <stdint.h>

/* A growable byte buffer with a ceiling: what is put beyond max fails with ENOBUFS and puts nothing. */
struct buf {
	uint8_t	*data;
	size_t	 len;
	size_t	 size;		/* room from data on */
	size_t	 max;
	size_t	 head;		/* consumed, but still allocated, before data */
};

void	buf_init(struct buf *, size_t max);
void	buf_clear(struct buf *);			/* frees; the buffer may be used again */
void	buf_wipe(struct buf *);				/* as buf_clear(), of a secret; its room must have been reserved once for all */
int	buf_reserve(struct buf *, size_t more);		/* room for more bytes behind len; -1 ENOBUFS or ENOMEM */
void	buf_consume(struct buf *, size_t n);		/* forget the first n (<= len) bytes; moves nothing */

/* Writers: big-endian unless the name ends in le. 0, or -1 with errno. "errs += buf_put_...", checked once. */
int	buf_put(struct buf *, const void *, size_t);
int	buf_put_u8(struct buf *, uint8_t);
int	buf_put_u16(struct buf *, uint16_t);
int	buf_put_u32(struct buf *, uint32_t);
int	buf_put_u64(struct buf *, uint64_t);
int	buf_put_u16le(struct buf *, uint16_t);
int	buf_put_u32le(struct buf *, uint32_t);
int	buf_put_u64le(struct buf *, uint64_t);
int	buf_put_str(struct buf *, const char *);	/* u16 length, then the bytes without NUL; -1 EMSGSIZE above 65535 */
int	buf_printf(struct buf *, const char *, ...) __attribute__((format(printf, 2, 3)));

/* A bounded read position in bytes somebody else owns. Every reader returns 0, or -1 and leaves the cursor as it was. */
struct cursor {
	const uint8_t	*p;
	size_t		 left;
};

/* Inline, since a collector goes through each packet of all its agents with these: as calls they double what that takes. */
static inline void
cursor_init(struct cursor *c, const void *bytes, size_t n)
{
	*c = (struct cursor){ .p = bytes, .left = n };
}

static inline int
cursor_skip(struct cursor *c, size_t n)
{
	if (n > c->left)
		return -1;
	if (n > 0)
		c->p += n;
	c->left -= n;
	return 0;
}

/* The next n bytes, or NULL. Numbers are then put together in the order that compilers make one load of. */
static inline const uint8_t *
cursor_take(struct cursor *c, size_t n)
{
	const uint8_t	*p = c->p;

	return cursor_skip(c, n) == -1 ? NULL : p;
}

static inline int
cursor_sub(struct cursor *c, size_t n, struct cursor *child)
{
	const uint8_t	*p = c->p;

	if (cursor_skip(c, n) == -1)
		return -1;
	cursor_init(child, p, n);
	return 0;
}

static inline uint32_t
cursor_little32(const uint8_t *p)
{
	return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | (uint32_t)p[0];
}

static inline int
cursor_u16le(struct cursor *c, uint16_t *value)
{
	const uint8_t	*p = cursor_take(c, 2);

	if (p == NULL)
		return -1;
	*value = (uint16_t)(p[1] << 8 | p[0]);
	return 0;
}

static inline int
cursor_u32le(struct cursor *c, uint32_t *value)
{
	const uint8_t	*p = cursor_take(c, 4);

	if (p == NULL)
		return -1;
	*value = cursor_little32(p);
	return 0;
}

int	cursor_u8(struct cursor *, uint8_t *);
int	cursor_u16(struct cursor *, uint16_t *);
int	cursor_u32(struct cursor *, uint32_t *);
int	cursor_u64(struct cursor *, uint64_t *);
int	cursor_u64le(struct cursor *, uint64_t *);
int	cursor_bytes(struct cursor *, void *, size_t);
/* A buf_put_str() string into dst, NUL-terminated; -1 if it does not fit dst_size or holds a NUL. */
int	cursor_str(struct cursor *, char *dst, size_t dst_size);
int	cursor_end(const struct cursor *);		/* 0 when nothing is left, else -1 */

#endif
