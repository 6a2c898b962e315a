/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include <event2/event.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "common/buf.h"
#include "common/tls.h"
#include "common/tls_internal.h"

/*
 * OpenSSL writes its records into output, which never refuses them, and output goes to the socket in few large send(2)
 * calls: one for each record costs half as much CPU again. So SSL_write() never waits, and only output can.
 */

#define RECORD_MAX	16384			/* plain bytes in a record (RFC 8446, 5.1) */
#define RECORD_OVERHEAD	64			/* header, type and tag, generously */
#define BATCH		(160 * 1024)		/* bytes given to one send(2): a block in two; more gains nothing, and leaves the cache */
#define WRITE_MAX	(1024 * 1024)
#define OUTPUT_MAX	(WRITE_MAX + 2 * BATCH)	/* beyond what may be queued: key updates, alerts */

static BIO_METHOD	*bio_method;
static pthread_once_t	 bio_once = PTHREAD_ONCE_INIT;

/* The two ends that OpenSSL sees. */

static int
bio_write(BIO *bio, const char *bytes, int len)
{
	struct tlsio	*t = BIO_get_data(bio);

	BIO_clear_retry_flags(bio);
	if (t->output_sent > 0 && t->output.max - t->output.len < (size_t)len) {
		buf_consume(&t->output, t->output_sent);
		t->output_sent = 0;
	}
	if (buf_put(&t->output, bytes, (size_t)len) == -1) {
		t->write_errno = errno;
		return -1;
	}
	return len;
}

static void
note_first(struct tls_note *note, const char *bytes, size_t len)
{
	size_t	 room = sizeof(note->first) - note->first_len;

	if (len > room)
		len = room;
	memcpy(note->first + note->first_len, bytes, len);
	note->first_len += len;
}

/*
 * A short read has emptied the socket: asking again in the same wake-up would only cost a system call. The budget is kept here too,
 * since records without data (key updates without end, say) would never let SSL_read() return.
 */
static int
bio_read(BIO *bio, char *bytes, int len)
{
	struct tlsio	*t = BIO_get_data(bio);
	ssize_t		 n;

	BIO_clear_retry_flags(bio);
	n = t->drained ? -1 : recv(t->fd, bytes, (size_t)len, 0);
	if (n > 0) {
		t->wake_bytes += (size_t)n;
		t->drained = n < len || t->wake_bytes >= t->options.read_budget;
		t->bytes_in += (uint64_t)n;
		note_first(&t->note, bytes, (size_t)n);
	} else if (n == 0)
		t->eof = true;
	else if (t->drained || errno == EAGAIN || errno == EINTR)
		BIO_set_retry_read(bio);
	else
		t->read_errno = errno;
	return (int)n;
}

static long
bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
	const struct tlsio	*t = BIO_get_data(bio);

	(void)number, (void)pointer;
	switch (command) {
	case BIO_CTRL_FLUSH:
		return 1;
	case BIO_CTRL_EOF:
		return t->eof;
	default:
		return 0;
	}
}

static void
make_bio_method(void)
{
	BIO_METHOD	*method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "vmtap");

	if (method == NULL)
		return;
	BIO_meth_set_write(method, bio_write);
	BIO_meth_set_read(method, bio_read);
	BIO_meth_set_ctrl(method, bio_ctrl);
	bio_method = method;
}

BIO *
tlsio_bio_new(struct tlsio *t)
{
	BIO	*bio;

	pthread_once(&bio_once, make_bio_method);
	if (bio_method == NULL || (bio = BIO_new(bio_method)) == NULL)
		return NULL;
	buf_init(&t->input, t->options.input_max + RECORD_MAX);
	buf_init(&t->output, OUTPUT_MAX);
	BIO_set_data(bio, t);
	BIO_set_init(bio, 1);
	return bio;
}

/* Sending. */

size_t
tlsio_queued(const struct tlsio *t)
{
	return t->output.len - t->output_sent;
}

static void
output_emptied(struct tlsio *t)
{
	t->output.len = t->output_sent = 0;
	if (t->output.size > 2 * BATCH)
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

static int
encrypt(struct tlsio *t, const uint8_t *bytes, size_t len)
{
	size_t	 written;

	ERR_clear_error();
	if (SSL_write_ex(t->ssl, bytes, len, &written) != 1) {
		tls_why_failed(&t->note, 0, 0, t->write_errno);
		if (t->write_errno == 0)
			t->write_errno = EPROTO;
		return -1;
	}
	if (++t->records >= t->context->key_update_records) {
		SSL_key_update(t->ssl, SSL_KEY_UPDATE_NOT_REQUESTED);
		t->records = 0;
	}
	return 0;
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
	const uint8_t	*p = bytes;
	size_t		 n;

	if (t->state != TLSIO_OPEN || t->write_errno != 0) {
		errno = ENOTCONN;
		return -1;
	}
	if (len > WRITE_MAX || tlsio_queued(t) + len + (len / RECORD_MAX + 1) * RECORD_OVERHEAD > WRITE_MAX) {
		errno = ENOBUFS;
		return -1;
	}
	for (; len > 0; p += n, len -= n) {
		n = len < RECORD_MAX ? len : RECORD_MAX;
		if (encrypt(t, p, n) == -1)
			break;
	}
	if (!t->blocked && tlsio_queued(t) > BATCH)
		tlsio_flush(t);
	wake_for_rest(t);
	return 0;
}

size_t
tlsio_send(struct tlsio *t, const void *bytes, size_t len)
{
	const uint8_t	*p = bytes;
	size_t		 n, taken = 0;

	if (t->state != TLSIO_OPEN)
		return 0;
	while (taken < len && !t->blocked && t->write_errno == 0) {
		n = len - taken < RECORD_MAX ? len - taken : RECORD_MAX;
		if (encrypt(t, p + taken, n) == -1)
			break;
		taken += n;
		if (tlsio_queued(t) + RECORD_MAX + RECORD_OVERHEAD > BATCH)
			tlsio_flush(t);
	}
	if (!t->blocked && !t->corked)
		tlsio_flush(t);
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

/* Reading. */

/* What the peer said before it stopped listening (an alert, perhaps) is still worth reading. */
bool
tlsio_may_read(const struct tlsio *t)
{
	return (!t->read_stopped || t->write_errno != 0) && t->input.len < t->options.input_max;
}

static enum tlsio_read
read_ended(struct tlsio *t)
{
	switch (SSL_get_error(t->ssl, 0)) {
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE:
		return TLSIO_READ_WAIT;
	case SSL_ERROR_ZERO_RETURN:
		tls_why_set(&t->note, "peer closed the session");
		t->eof = true;
		return TLSIO_READ_END;
	default:
		/* A reset is told once, and may have been to send(2). */
		if (t->write_errno != 0 && (t->eof || t->read_errno != 0))
			tls_why_set(&t->note, "%s", strerror(t->write_errno));
		tls_why_failed(&t->note, 0, t->eof, t->read_errno);
		return TLSIO_READ_END;
	}
}

enum tlsio_read
tlsio_read_some(struct tlsio *t)
{
	size_t	 n, left = t->options.read_budget;

	for (; tlsio_may_read(t) && left > 0; left -= n < left ? n : left) {
		if (buf_reserve(&t->input, RECORD_MAX) == -1) {
			tls_why_set(&t->note, "%s", strerror(errno));
			return TLSIO_READ_END;
		}
		ERR_clear_error();
		if (SSL_read_ex(t->ssl, t->input.data + t->input.len, RECORD_MAX, &n) != 1)
			return read_ended(t);
		t->input.len += n;
	}
	return TLSIO_READ_MORE;
}

/* Lets the rest of the peer's bytes go by. */
void
tlsio_discard_input(struct tlsio *t)
{
	char	 bytes[4096];
	ssize_t	 n;

	for (size_t left = t->options.read_budget; left > 0 && !t->eof; left -= (size_t)n < left ? (size_t)n : left) {
		n = recv(t->fd, bytes, sizeof(bytes), 0);
		if (n == -1 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0)
			t->eof = true;
		else
			t->bytes_in += (uint64_t)n;
	}
}
