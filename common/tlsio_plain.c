/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "common/buf.h"
#include "common/tls.h"
#include "common/tls_internal.h"

#define READ_MAX	(64 * 1024)	/* bytes asked of one recv(2) */

static int
plain_set_up(struct tlsio *t)
{
	(void)t;
	return 0;
}

static void
plain_handshake(struct tlsio *t)
{
	t->peer.not_after = TLS_NOT_AFTER_NEVER;
	tlsio_opened(t);
}

static size_t
send_now(struct tlsio *t, const uint8_t *bytes, size_t len)
{
	ssize_t	 n = send(t->fd, bytes, len, MSG_NOSIGNAL);

	if (n == -1 && errno != EAGAIN && errno != EINTR) {
		t->write_errno = errno;
		return 0;
	}
	if (n == -1)
		n = 0;
	t->bytes_out += (uint64_t)n;
	t->blocked = (size_t)n < len;
	return (size_t)n;
}

/* Corked, the small wait for each other in output; all else goes from where it lies. */
static size_t
plain_send(struct tlsio *t, const uint8_t *bytes, size_t len)
{
	if (t->corked && tlsio_queued(t) + len <= TLSIO_BATCH)
		return tlsio_output_put(t, bytes, len) == 0 ? len : 0;
	tlsio_flush(t);
	return t->blocked || t->write_errno != 0 ? 0 : send_now(t, bytes, len);
}

static enum tlsio_read
read_ended(struct tlsio *t, ssize_t n)
{
	if (n == -1 && (errno == EAGAIN || errno == EINTR))
		return TLSIO_READ_WAIT;
	if (n == -1)
		t->read_errno = errno;
	else
		t->eof = true;
	/* A reset is told once, and may have been to send(2). */
	if (t->read_errno != 0 || t->write_errno != 0)
		tls_why_set(&t->note, "%s", strerror(t->read_errno != 0 ? t->read_errno : t->write_errno));
	else
		tls_why_set(&t->note, "peer closed the connection");
	return TLSIO_READ_END;
}

static size_t
least(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* What the budget leaves has the socket readable still, which wakes us again: never MORE. */
static enum tlsio_read
plain_read_some(struct tlsio *t)
{
	size_t	 size, left = t->options.read_budget;
	ssize_t	 n;

	for (; tlsio_may_read(t) && left > 0; left -= size) {
		size = least(least(left, READ_MAX), t->options.input_max - t->input.len);
		if (buf_reserve(&t->input, size) == -1) {
			tls_why_set(&t->note, "%s", strerror(errno));
			return TLSIO_READ_END;
		}
		if ((n = recv(t->fd, t->input.data + t->input.len, size, 0)) <= 0)
			return read_ended(t, n);
		t->input.len += (size_t)n;
		t->bytes_in += (uint64_t)n;
		if ((size_t)n < size)	/* it is empty now */
			return TLSIO_READ_WAIT;
	}
	return TLSIO_READ_WAIT;
}

static void
plain_goodbye(struct tlsio *t)
{
	(void)t;
}

const struct tlsio_layer tlsio_layer_plain = { plain_set_up, plain_handshake, tlsio_output_put, plain_send, plain_read_some,
	plain_goodbye };
