/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/types.h>
#include <errno.h>
#include <string.h>

#include "proto/rpcap.h"

#define BYTE_ORDER_MAGIC	0xa1b2c3d4u
#define BYTE_ORDER_MAGIC_SWAPPED 0xd4c3b2a1u
#define AUTH_SIZE		8u	/* fixed parts of payloads */
#define AUTH_REPLY_SIZE		8u
#define AUTH_REPLY_OLD_SIZE	2u
#define OPEN_REPLY_SIZE		8u
#define STARTCAP_REPLY_SIZE	8u
#define STATS_SIZE		16u
#define SAMPLING_SIZE		8u

static const char *const type_names[RPCAP_TYPE_MAX][2] = {
	[RPCAP_ERROR] = { "ERROR", NULL },
	[RPCAP_FINDALLIF] = { "FINDALLIF", "FINDALLIF reply" },
	[RPCAP_OPEN] = { "OPEN", "OPEN reply" },
	[RPCAP_STARTCAP] = { "STARTCAP", "STARTCAP reply" },
	[RPCAP_UPDATEFILTER] = { "UPDATEFILTER", "UPDATEFILTER reply" },
	[RPCAP_CLOSE] = { "CLOSE", NULL },
	[RPCAP_PACKET] = { "PACKET", NULL },
	[RPCAP_AUTH] = { "AUTH", "AUTH reply" },
	[RPCAP_STATS] = { "STATS", "STATS reply" },
	[RPCAP_ENDCAP] = { "ENDCAP", "ENDCAP reply" },
	[RPCAP_SETSAMPLING] = { "SETSAMPLING", "SETSAMPLING reply" },
};

const char *
rpcap_type_name(uint8_t type)
{
	uint8_t	request = type & (uint8_t)~RPCAP_REPLY;

	return request < RPCAP_TYPE_MAX ? type_names[request][type != request] : NULL;
}

static const char *const error_names[] = {
	[RPCAP_ERR_NETW] = "NETW",
	[RPCAP_ERR_INITTIMEOUT] = "INITTIMEOUT",
	[RPCAP_ERR_AUTH] = "AUTH",
	[RPCAP_ERR_FINDALLIF] = "FINDALLIF",
	[RPCAP_ERR_NOREMOTEIF] = "NOREMOTEIF",
	[RPCAP_ERR_OPEN] = "OPEN",
	[RPCAP_ERR_UPDATEFILTER] = "UPDATEFILTER",
	[RPCAP_ERR_GETSTATS] = "GETSTATS",
	[RPCAP_ERR_READEX] = "READEX",
	[RPCAP_ERR_HOSTNOAUTH] = "HOSTNOAUTH",
	[RPCAP_ERR_REMOTEACCEPT] = "REMOTEACCEPT",
	[RPCAP_ERR_STARTCAPTURE] = "STARTCAPTURE",
	[RPCAP_ERR_ENDCAPTURE] = "ENDCAPTURE",
	[RPCAP_ERR_RUNTIMETIMEOUT] = "RUNTIMETIMEOUT",
	[RPCAP_ERR_SETSAMPLING] = "SETSAMPLING",
	[RPCAP_ERR_WRONGMSG] = "WRONGMSG",
	[RPCAP_ERR_WRONGVER] = "WRONGVER",
	[RPCAP_ERR_AUTH_FAILED] = "AUTH_FAILED",
	[RPCAP_ERR_TLS_REQUIRED] = "TLS_REQUIRED",
	[RPCAP_ERR_AUTH_TYPE_NOTSUP] = "AUTH_TYPE_NOTSUP",
};

const char *
rpcap_error_name(uint16_t code)
{
	return code < sizeof(error_names) / sizeof(error_names[0]) ? error_names[code] : NULL;
}

void
rpcap_get_header(const uint8_t bytes[RPCAP_HEADER_SIZE], struct rpcap_header *h)
{
	struct cursor	 c;

	cursor_init(&c, bytes, RPCAP_HEADER_SIZE);
	cursor_u8(&c, &h->version);
	cursor_u8(&c, &h->type);
	cursor_u16(&c, &h->value);
	cursor_u32(&c, &h->length);
}

int
rpcap_put_header(struct buf *b, const struct rpcap_header *h)
{
	uint8_t	bytes[RPCAP_HEADER_SIZE] = { h->version, h->type, (uint8_t)(h->value >> 8), (uint8_t)h->value,
		(uint8_t)(h->length >> 24), (uint8_t)(h->length >> 16), (uint8_t)(h->length >> 8), (uint8_t)h->length };

	return buf_put(b, bytes, sizeof(bytes));
}

/* The header, with room for the payload: what is put behind it does not fail then. */
static int
begin(struct buf *b, uint8_t version, uint8_t type, uint16_t value, size_t length)
{
	const struct rpcap_header h = { .version = version, .type = type, .value = value, .length = (uint32_t)length };

	return buf_reserve(b, RPCAP_HEADER_SIZE + length) == -1 ? -1 : rpcap_put_header(b, &h);
}

static int
done(int errs)
{
	return errs == 0 ? 0 : -1;
}

int
rpcap_put_empty(struct buf *b, uint8_t version, uint8_t type)
{
	return begin(b, version, type, 0, 0);
}

/* --- texts --- */

int
rpcap_get_text(struct cursor *c, char *dst, size_t dst_size)
{
	size_t	len = c->left == 0 ? 0 : strnlen((const char *)c->p, c->left);
	size_t	fits = len < dst_size ? len : dst_size - 1;

	if (fits > 0)
		memcpy(dst, c->p, fits);
	dst[fits] = '\0';
	cursor_skip(c, c->left);
	if (fits == len)
		return 0;
	errno = EMSGSIZE;
	return -1;
}

int
rpcap_put_error(struct buf *b, uint8_t version, enum rpcap_error code, const char *text)
{
	size_t	len = strnlen(text, RPCAP_TEXT_SIZE - 1);

	return begin(b, version, RPCAP_ERROR, (uint16_t)code, len) == -1 ? -1 : buf_put(b, text, len);
}

int
rpcap_put_open(struct buf *b, uint8_t version, const char *source)
{
	size_t	len = strlen(source);

	return begin(b, version, RPCAP_OPEN, 0, len) == -1 ? -1 : buf_put(b, source, len);
}

/* --- authentication --- */

int
rpcap_put_auth(struct buf *b, const struct rpcap_auth *a)
{
	uint16_t	user_len = a->type == RPCAP_AUTH_PASSWORD ? a->user_len : 0;
	uint16_t	password_len = a->type == RPCAP_AUTH_PASSWORD ? a->password_len : 0;
	int		errs;

	if (begin(b, 0, RPCAP_AUTH, 0, AUTH_SIZE + (size_t)user_len + password_len) == -1)
		return -1;
	errs = buf_put_u16(b, a->type);
	errs += buf_put_u16(b, 0);
	errs += buf_put_u16(b, user_len);
	errs += buf_put_u16(b, password_len);
	errs += buf_put(b, a->user, user_len);
	errs += buf_put(b, a->password, password_len);
	return done(errs);
}

int
rpcap_get_auth(struct cursor *c, struct rpcap_auth *a)
{
	uint16_t	pad;

	*a = (struct rpcap_auth){ 0 };
	if (cursor_u16(c, &a->type) == -1 || cursor_u16(c, &pad) == -1 || cursor_u16(c, &a->user_len) == -1 ||
	    cursor_u16(c, &a->password_len) == -1)
		return -1;
	if (a->type != RPCAP_AUTH_PASSWORD) {
		a->user_len = a->password_len = 0;
		return 0;
	}
	a->user = (const char *)cursor_take(c, a->user_len);
	a->password = a->user == NULL ? NULL : (const char *)cursor_take(c, a->password_len);
	return a->password == NULL ? -1 : 0;
}

int
rpcap_put_auth_reply(struct buf *b, const struct rpcap_auth_reply *r)
{
	size_t	length = r->order == RPCAP_ORDER_UNKNOWN ? AUTH_REPLY_OLD_SIZE : AUTH_REPLY_SIZE;
	int	errs;

	if (begin(b, 0, RPCAP_AUTH | RPCAP_REPLY, 0, length) == -1)
		return -1;
	errs = buf_put_u8(b, r->version_min);
	errs += buf_put_u8(b, r->version_max);
	if (r->order == RPCAP_ORDER_UNKNOWN)
		return done(errs);
	errs += buf_put_u16(b, 0);
	errs += buf_put_u32(b, r->order == RPCAP_ORDER_BIG ? BYTE_ORDER_MAGIC : BYTE_ORDER_MAGIC_SWAPPED);
	return done(errs);
}

static int
get_order(struct cursor *c, enum rpcap_order *order)
{
	uint32_t	magic;
	uint16_t	pad;

	if (cursor_u16(c, &pad) == -1 || cursor_u32(c, &magic) == -1 ||
	    (magic != BYTE_ORDER_MAGIC && magic != BYTE_ORDER_MAGIC_SWAPPED))
		return -1;
	*order = magic == BYTE_ORDER_MAGIC ? RPCAP_ORDER_BIG : RPCAP_ORDER_LITTLE;
	return 0;
}

int
rpcap_get_auth_reply(struct cursor *c, struct rpcap_auth_reply *r)
{
	*r = (struct rpcap_auth_reply){ .order = RPCAP_ORDER_UNKNOWN };
	if (c->left == 0)
		return 0;
	if (cursor_u8(c, &r->version_min) == -1 || cursor_u8(c, &r->version_max) == -1 || r->version_min > r->version_max)
		return -1;
	return c->left == 0 ? 0 : get_order(c, &r->order);
}

/* --- a capture --- */

int
rpcap_put_open_reply(struct buf *b, uint8_t version, const struct rpcap_open_reply *r)
{
	int	errs;

	if (begin(b, version, RPCAP_OPEN | RPCAP_REPLY, 0, OPEN_REPLY_SIZE) == -1)
		return -1;
	errs = buf_put_u32(b, r->linktype);
	errs += buf_put_u32(b, r->tzoff);
	return done(errs);
}

int
rpcap_get_open_reply(struct cursor *c, struct rpcap_open_reply *r)
{
	return cursor_u32(c, &r->linktype) == -1 || cursor_u32(c, &r->tzoff) == -1 ? -1 : 0;
}

int
rpcap_get_startcap(struct cursor *c, struct rpcap_startcap *s)
{
	return cursor_u32(c, &s->snaplen) == -1 || cursor_u32(c, &s->read_timeout_ms) == -1 || cursor_u16(c, &s->flags) == -1 ||
	    cursor_u16(c, &s->port) == -1 ? -1 : 0;
}

int
rpcap_put_startcap_reply(struct buf *b, uint8_t version, const struct rpcap_startcap_reply *r)
{
	int	errs;

	if (begin(b, version, RPCAP_STARTCAP | RPCAP_REPLY, 0, STARTCAP_REPLY_SIZE) == -1)
		return -1;
	errs = buf_put_u32(b, r->buffer_bytes);
	errs += buf_put_u16(b, r->port);
	errs += buf_put_u16(b, 0);
	return done(errs);
}

int
rpcap_get_startcap_reply(struct cursor *c, struct rpcap_startcap_reply *r)
{
	uint16_t	pad;

	return cursor_u32(c, &r->buffer_bytes) == -1 || cursor_u16(c, &r->port) == -1 || cursor_u16(c, &pad) == -1 ? -1 : 0;
}

int
rpcap_put_stats_reply(struct buf *b, uint8_t version, const struct rpcap_stats *s)
{
	int	errs;

	if (begin(b, version, RPCAP_STATS | RPCAP_REPLY, 0, STATS_SIZE) == -1)
		return -1;
	errs = buf_put_u32(b, s->ifrecv);
	errs += buf_put_u32(b, s->ifdrop);
	errs += buf_put_u32(b, s->krnldrop);
	errs += buf_put_u32(b, s->svrcapt);
	return done(errs);
}

int
rpcap_get_stats_reply(struct cursor *c, struct rpcap_stats *s)
{
	return cursor_u32(c, &s->ifrecv) == -1 || cursor_u32(c, &s->ifdrop) == -1 || cursor_u32(c, &s->krnldrop) == -1 ||
	    cursor_u32(c, &s->svrcapt) == -1 ? -1 : 0;
}

int
rpcap_put_sampling(struct buf *b, uint8_t version, const struct rpcap_sampling *s)
{
	int	errs;

	if (begin(b, version, RPCAP_SETSAMPLING, 0, SAMPLING_SIZE) == -1)
		return -1;
	errs = buf_put_u8(b, s->method);
	errs += buf_put_u8(b, 0);
	errs += buf_put_u16(b, 0);
	errs += buf_put_u32(b, s->value);
	return done(errs);
}

int
rpcap_get_sampling(struct cursor *c, struct rpcap_sampling *s)
{
	return cursor_u8(c, &s->method) == -1 || cursor_skip(c, 3) == -1 || cursor_u32(c, &s->value) == -1 ? -1 : 0;
}

/* --- packets --- */

static void
write_u32(uint8_t *dst, uint32_t value)
{
	dst[0] = (uint8_t)(value >> 24);
	dst[1] = (uint8_t)(value >> 16);
	dst[2] = (uint8_t)(value >> 8);
	dst[3] = (uint8_t)value;
}

void
rpcap_write_packet(uint8_t dst[RPCAP_PACKET_SIZE], uint8_t version, const struct rpcap_packet *p)
{
	dst[0] = version;
	dst[1] = RPCAP_PACKET;
	dst[2] = dst[3] = 0;
	write_u32(dst + 4, RPCAP_PACKET_HEADER_SIZE + p->captured_len);
	write_u32(dst + 8, p->seconds);
	write_u32(dst + 12, p->microseconds);
	write_u32(dst + 16, p->captured_len);
	write_u32(dst + 20, p->original_len);
	write_u32(dst + 24, p->number);
}

int
rpcap_get_packet(struct cursor *c, struct rpcap_packet *p)
{
	if (cursor_u32(c, &p->seconds) == -1 || cursor_u32(c, &p->microseconds) == -1 || cursor_u32(c, &p->captured_len) == -1 ||
	    cursor_u32(c, &p->original_len) == -1 || cursor_u32(c, &p->number) == -1)
		return -1;
	return p->captured_len > c->left ? -1 : 0;
}
