/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <string.h>

#include "common/buf.h"

#include "agent/ipc.h"

/* What the link role and the supervisor say of enrolment. */

static int
send_and_wipe(struct ipc *ipc, enum ipc_type type, struct buf *buf, int errs, const int *fds, size_t fd_count)
{
	int result = errs == 0 ? ipc_send(ipc, type, buf->data, buf->len, fds, fd_count) : -1;
	int saved = errno;

	buf_wipe(buf);
	errno = saved;
	return result;
}

static int
malformed(void)
{
	errno = EBADMSG;
	return -1;
}

int
ipc_send_enrolment(struct ipc *ipc, const struct ipc_enrolment *enrolment, const int *fds)
{
	struct buf buf;
	int errs = 0;

	buf_init(&buf, IPC_SIZE_MAX);
	errs += buf_put_u8(&buf, enrolment->token);
	errs += buf_put_u8(&buf, enrolment->pending);
	errs += buf_put_u8(&buf, enrolment->cloned);
	errs += buf_put_str(&buf, enrolment->why);
	return send_and_wipe(ipc, IPC_ENROLMENT, &buf, errs, fds, (size_t)enrolment->token + enrolment->pending);
}

int
ipc_get_enrolment(const struct ipc_message *message, struct ipc_enrolment *enrolment)
{
	struct cursor c;
	uint8_t token, pending, cloned;

	memset(enrolment, 0, sizeof(*enrolment));
	cursor_init(&c, message->payload, message->length);
	if (message->type != IPC_ENROLMENT || cursor_u8(&c, &token) == -1 || cursor_u8(&c, &pending) == -1 ||
	    cursor_u8(&c, &cloned) == -1 || token > 1 || pending > 1 || cloned > 1 ||
	    cursor_str(&c, enrolment->why, sizeof(enrolment->why)) == -1 || cursor_end(&c) == -1 ||
	    message->fd_count != (size_t)token + pending)
		return malformed();
	enrolment->token = token == 1;
	enrolment->pending = pending == 1;
	enrolment->cloned = cloned == 1;
	return 0;
}

int
ipc_send_store(struct ipc *ipc, enum ipc_store what, const void *bytes, size_t len)
{
	struct buf buf;
	int errs;

	if (len == 0 || len > IPC_STORE_MAX) {
		errno = EMSGSIZE;
		return -1;
	}
	buf_init(&buf, 1 + IPC_STORE_MAX);
	errs = buf_reserve(&buf, 1 + len);	/* at once, so that no copy is left behind unwiped */
	errs += buf_put_u8(&buf, (uint8_t)what);
	errs += buf_put(&buf, bytes, len);
	return send_and_wipe(ipc, IPC_STORE, &buf, errs, NULL, 0);
}

int
ipc_get_store(const struct ipc_message *message, enum ipc_store *what, const uint8_t **bytes, size_t *len)
{
	struct cursor c;
	uint8_t number;

	cursor_init(&c, message->payload, message->length);
	if (message->type != IPC_STORE || cursor_u8(&c, &number) == -1 || number >= STORE_MAX || c.left == 0 || c.left > IPC_STORE_MAX)
		return malformed();
	*what = (enum ipc_store)number;
	*bytes = c.p;
	*len = c.left;
	return 0;
}

int
ipc_send_stored(struct ipc *ipc, enum ipc_store what, int error)
{
	struct buf buf;
	int errs;

	buf_init(&buf, 16);
	errs = buf_put_u8(&buf, (uint8_t)what);
	errs += buf_put_u32(&buf, (uint32_t)error);
	return send_and_wipe(ipc, IPC_STORED, &buf, errs, NULL, 0);
}

int
ipc_get_stored(const struct ipc_message *message, enum ipc_store *what, int *error)
{
	struct cursor c;
	uint8_t number;
	uint32_t code;

	cursor_init(&c, message->payload, message->length);
	if (message->type != IPC_STORED || cursor_u8(&c, &number) == -1 || number >= STORE_MAX || cursor_u32(&c, &code) == -1 ||
	    code > INT32_MAX || cursor_end(&c) == -1)
		return malformed();
	*what = (enum ipc_store)number;
	*error = (int)code;
	return 0;
}
