/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <string.h>

#include "proto/msg.h"
#include "proto/msg_internal.h"

/* ENROLL, CERTIFICATE and RENEW: how an agent gets its certificate, and the next one. */

static int
put_der(struct buf *b, const uint8_t *der, size_t len)
{
	return len == 0 || len > MSG_CERTIFICATE_MAX ? msg_too_many() : buf_put(b, der, len);
}

/* To the end of the payload. */
static int
get_der(struct cursor *c, const uint8_t **der, size_t *len)
{
	if (c->left == 0 || c->left > MSG_CERTIFICATE_MAX)
		return msg_refuse();
	*der = c->p;
	*len = c->left;
	return 0;
}

int
msg_put_enroll(struct buf *b, const struct msg_enroll *m)
{
	size_t mark;
	int errs;

	if (frame_begin(b, FRAME_ENROLL, &mark) == -1)
		return -1;
	errs = buf_put_str(b, m->token);
	errs += buf_put_str(b, m->name);
	errs += buf_put_str(b, m->software);
	errs += put_der(b, m->csr, m->csr_len);
	return msg_close_frame(b, mark, errs);
}

int
msg_get_enroll(const struct frame *f, struct msg_enroll *m)
{
	struct cursor c;

	if (msg_open_frame(f, FRAME_ENROLL, &c) == -1)
		return -1;
	if (cursor_str(&c, m->token, sizeof(m->token)) == -1 || cursor_str(&c, m->name, sizeof(m->name)) == -1 ||
	    cursor_str(&c, m->software, sizeof(m->software)) == -1)
		return msg_refuse();
	return get_der(&c, &m->csr, &m->csr_len);
}

int
msg_put_renew(struct buf *b, const struct msg_renew *m)
{
	size_t mark;

	if (frame_begin(b, FRAME_RENEW, &mark) == -1)
		return -1;
	return msg_close_frame(b, mark, put_der(b, m->csr, m->csr_len));
}

int
msg_get_renew(const struct frame *f, struct msg_renew *m)
{
	struct cursor c;

	return msg_open_frame(f, FRAME_RENEW, &c) == -1 ? -1 : get_der(&c, &m->csr, &m->csr_len);
}

/* Either a reason or certificates: never both, never neither. */
static int
certificate_is_whole(const struct msg_certificate *m)
{
	return m->count <= MSG_CHAIN_MAX && (m->reason[0] == '\0') == (m->count > 0);
}

int
msg_put_certificate(struct buf *b, const struct msg_certificate *m)
{
	size_t mark;
	int errs;

	if (!certificate_is_whole(m))
		return msg_too_many();
	if (frame_begin(b, FRAME_CERTIFICATE, &mark) == -1)
		return -1;
	errs = buf_put_str(b, m->reason);
	errs += buf_put_u16(b, m->count);
	for (uint16_t i = 0; i < m->count; i++) {
		errs += buf_put_u16(b, (uint16_t)m->certificate[i].len);
		errs += put_der(b, m->certificate[i].der, m->certificate[i].len);
	}
	return msg_close_frame(b, mark, errs);
}

static int
get_chain(struct cursor *c, struct msg_certificate *m)
{
	uint16_t len;

	for (uint16_t i = 0; i < m->count; i++) {
		if (cursor_u16(c, &len) == -1 || len == 0 || len > MSG_CERTIFICATE_MAX || len > c->left)
			return -1;
		m->certificate[i].der = c->p;
		m->certificate[i].len = len;
		if (cursor_skip(c, len) == -1)
			return -1;
	}
	return 0;
}

int
msg_get_certificate(const struct frame *f, struct msg_certificate *m)
{
	struct cursor c;

	if (msg_open_frame(f, FRAME_CERTIFICATE, &c) == -1)
		return -1;
	if (cursor_str(&c, m->reason, sizeof(m->reason)) == -1 || cursor_u16(&c, &m->count) == -1 || !certificate_is_whole(m) ||
	    get_chain(&c, m) == -1 || cursor_end(&c) == -1)
		return msg_refuse();
	return 0;
}
