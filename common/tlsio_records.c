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
#include <openssl/x509v3.h>

#include "common/buf.h"
#include "common/tls.h"
#include "common/tls_internal.h"

/*
 * OpenSSL writes its records into output, which never refuses them, and output goes to the socket in few large send(2)
 * calls: one for each record costs half as much CPU again. So SSL_write() never waits, and only output can.
 */

static BIO_METHOD	*bio_method;
static pthread_once_t	 bio_once = PTHREAD_ONCE_INIT;

/* The two ends that OpenSSL sees. */

static int
bio_write(BIO *bio, const char *bytes, int len)
{
	struct tlsio	*t = BIO_get_data(bio);

	BIO_clear_retry_flags(bio);
	return tlsio_output_put(t, (const uint8_t *)bytes, (size_t)len) == 0 ? len : -1;
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

static BIO *
bio_new(struct tlsio *t)
{
	BIO	*bio;

	pthread_once(&bio_once, make_bio_method);
	if (bio_method == NULL || (bio = BIO_new(bio_method)) == NULL)
		return NULL;
	BIO_set_data(bio, t);
	BIO_set_init(bio, 1);
	return bio;
}

static int
set_expected_host(struct tlsio *t, const char *host)
{
	X509_VERIFY_PARAM	*param = SSL_get0_param(t->ssl);

	/* To OpenSSL an empty name means any. */
	if (host[0] == '\0' || (t->expect_host = strdup(host)) == NULL)
		return -1;
	t->note.expect_host = t->expect_host;
	X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
	if (X509_VERIFY_PARAM_set1_ip_asc(param, host) == 1 || X509_VERIFY_PARAM_set1_host(param, host, 0) == 1)
		return 0;
	return -1;
}

static int
tls_set_up(struct tlsio *t)
{
	const char	*host = t->options.expect_host;
	BIO		*bio;
	int		 result;

	if ((t->ssl = SSL_new(t->context->ssl_ctx)) == NULL || (bio = bio_new(t)) == NULL) {
		ERR_clear_error();
		return -1;
	}
	SSL_set_bio(t->ssl, bio, bio);
	SSL_set_app_data(t->ssl, &t->note);
	t->note.context = t->context;
	if (t->options.side == TLSIO_SERVER)
		SSL_set_accept_state(t->ssl);
	else
		SSL_set_connect_state(t->ssl);
	result = host != NULL ? set_expected_host(t, host) : 0;
	ERR_clear_error();
	return result;
}

/* Opening. */

static void
tls_goodbye(struct tlsio *t)
{
	SSL_shutdown(t->ssl);
}

static void
handshake_done(struct tlsio *t)
{
	const X509	*cert = SSL_get0_peer_certificate(t->ssl);

	if (cert != NULL)
		tls_names_read(cert, &t->peer);
	else
		t->peer.not_after = TLS_NOT_AFTER_NEVER;
	if (tls_why_alpn_answer(t->ssl, &t->note) == -1) {
		tls_goodbye(t);
		tlsio_failed(t);
	} else
		tlsio_opened(t);
}

static void
tls_handshake(struct tlsio *t)
{
	int	 result;

	ERR_clear_error();
	result = SSL_do_handshake(t->ssl);
	if (result == 1) {
		handshake_done(t);
		return;
	}
	switch (SSL_get_error(t->ssl, result)) {
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE:
		if (!t->blocked)
			tlsio_flush(t);
		break;
	default:
		tls_why_failed(&t->note, 1, t->eof, t->read_errno);
		tlsio_failed(t);
	}
}

/* Sending. */

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
		if (SSL_version(t->ssl) >= TLS1_3_VERSION)
			SSL_key_update(t->ssl, SSL_KEY_UPDATE_NOT_REQUESTED);
		t->records = 0;
	}
	return 0;
}

/* All of it, since output refuses nothing that tlsio_write() lets through. */
static int
tls_queue(struct tlsio *t, const uint8_t *bytes, size_t len)
{
	size_t	 n;

	for (; len > 0; bytes += n, len -= n) {
		n = len < TLSIO_RECORD_MAX ? len : TLSIO_RECORD_MAX;
		if (encrypt(t, bytes, n) == -1)
			return -1;
	}
	return 0;
}

static size_t
tls_send(struct tlsio *t, const uint8_t *bytes, size_t len)
{
	size_t	 n, taken = 0;

	while (taken < len && !t->blocked && t->write_errno == 0) {
		n = len - taken < TLSIO_RECORD_MAX ? len - taken : TLSIO_RECORD_MAX;
		if (encrypt(t, bytes + taken, n) == -1)
			break;
		taken += n;
		if (tlsio_queued(t) + TLSIO_RECORD_MAX + TLSIO_RECORD_OVERHEAD > TLSIO_BATCH)
			tlsio_flush(t);
	}
	if (!t->blocked && !t->corked)
		tlsio_flush(t);
	return taken;
}

/* Reading. */

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

static enum tlsio_read
tls_read_some(struct tlsio *t)
{
	size_t	 n, left = t->options.read_budget;

	for (; tlsio_may_read(t) && left > 0; left -= n < left ? n : left) {
		if (buf_reserve(&t->input, TLSIO_RECORD_MAX) == -1) {
			tls_why_set(&t->note, "%s", strerror(errno));
			return TLSIO_READ_END;
		}
		ERR_clear_error();
		if (SSL_read_ex(t->ssl, t->input.data + t->input.len, TLSIO_RECORD_MAX, &n) != 1)
			return read_ended(t);
		t->input.len += n;
	}
	return TLSIO_READ_MORE;
}

const struct tlsio_layer tlsio_layer_tls = { tls_set_up, tls_handshake, tls_queue, tls_send, tls_read_some, tls_goodbye };

/* What only TLS knows of a peer. */

const char *
tlsio_alpn(const struct tlsio *t)
{
	const unsigned char	*name;
	unsigned		 len, flags;
	const char		*found;

	if (t->ssl == NULL)
		return "";
	SSL_get0_alpn_selected(t->ssl, &name, &len);
	found = len > 0 ? tls_context_find_alpn(t->context, name, len, &flags) : NULL;
	return found != NULL ? found : "";
}

int
tlsio_peer_uris(const struct tlsio *t, const char *scheme, void (*each)(const char *, void *), void *arg)
{
	const X509	*cert = t->ssl != NULL ? SSL_get0_peer_certificate(t->ssl) : NULL;

	return cert != NULL ? tls_uris_read(cert, scheme, each, arg) : 0;
}
