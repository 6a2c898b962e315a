/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>

#include <errno.h>
#include <stdbool.h>

#include <event2/event.h>

#include "common/buf.h"
#include "common/tls.h"
#include "common/tls_internal.h"

/* What waits for the socket, in the form in which it goes there. */

int
tlsio_output_put(struct tlsio *t, const uint8_t *bytes, size_t len)
{
	if (t->output_sent > 0 && t->output.max - t->output.len < len) {
		buf_consume(&t->output, t->output_sent);
		t->output_sent = 0;
	}
	if (buf_put(&t->output, bytes, len) == 0)
		return 0;
	t->write_errno = errno;
	return -1;
}

size_t
tlsio_queued(const struct tlsio *t)
{
	return t->output.len - t->output_sent;
}

static void
output_emptied(struct tlsio *t)
{
	t->output.len = t->output_sent = 0;
	if (t->output.size > 2 * TLSIO_BATCH)
		buf_clear(&t->output);
}

void
tlsio_flush(struct tlsio *t)
{
	ssize_t	 n = 0;

	if (tlsio_queued(t) > 0 && t->write_errno == 0) {
		n = send(t->fd, t->output.data + t->output_sent, tlsio_queued(t), MSG_NOSIGNAL);
		if (n == -1 && errno != EAGAIN && errno != EINTR)
			t->write_errno = errno;
	}
	if (n > 0) {
		t->bytes_out += (uint64_t)n;
		t->output_sent += (size_t)n;
	}
	if (t->write_errno != 0 || tlsio_queued(t) == 0)
		output_emptied(t);
	else
		t->blocked = true;
}

/* For what is not on its way yet. Inside service() its end sees to that. */
static void
wake_for_rest(struct tlsio *t)
{
	if (t->base == NULL || t->gone != NULL || t->corked)
		return;
	if (t->blocked)
		event_add(&t->ev_write, NULL);
	else if (tlsio_queued(t) > 0 || t->write_errno != 0)
		tlsio_kick(t);
}

int
tlsio_write(struct tlsio *t, const void *bytes, size_t len)
{
	if (t->state != TLSIO_OPEN || t->write_errno != 0) {
		errno = ENOTCONN;
		return -1;
	}
	if (len > TLSIO_WRITE_MAX ||
	    tlsio_queued(t) + len + (len / TLSIO_RECORD_MAX + 1) * TLSIO_RECORD_OVERHEAD > TLSIO_WRITE_MAX) {
		errno = ENOBUFS;
		return -1;
	}
	(void)t->layer->queue(t, bytes, len);
	if (!t->blocked && tlsio_queued(t) > TLSIO_BATCH)
		tlsio_flush(t);
	wake_for_rest(t);
	return 0;
}

size_t
tlsio_send(struct tlsio *t, const void *bytes, size_t len)
{
	size_t	 taken = 0;

	if (t->state != TLSIO_OPEN)
		return 0;
	if (!t->blocked && t->write_errno == 0)
		taken = t->layer->send(t, bytes, len);
	wake_for_rest(t);
	return taken;
}

void
tlsio_cork(struct tlsio *t)
{
	t->corked = true;
}

void
tlsio_uncork(struct tlsio *t)
{
	t->corked = false;
	if (t->state == TLSIO_OPEN && !t->blocked)
		tlsio_flush(t);
	wake_for_rest(t);
}
