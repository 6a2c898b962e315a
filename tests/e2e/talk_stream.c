/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <sys/time.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "tests/e2e/talk.h"

static const char *
tls_error(void)
{
	const char *text = ERR_reason_error_string(ERR_peek_last_error());

	return text != NULL ? text : "TLS failed";
}

SSL_CTX *
stream_tls(const char *ca, const char *cert, const char *key)
{
	SSL_CTX *tls = SSL_CTX_new(TLS_client_method());

	if (tls == NULL || (ca != NULL && SSL_CTX_load_verify_file(tls, ca) != 1) ||
	    (cert != NULL && SSL_CTX_use_certificate_chain_file(tls, cert) != 1) ||
	    (key != NULL && SSL_CTX_use_PrivateKey_file(tls, key, SSL_FILETYPE_PEM) != 1)) {
		fprintf(stderr, "rpcap-talk: %s\n", tls_error());
		exit(2);
	}
	SSL_CTX_set_verify(tls, ca != NULL ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
	return tls;
}

/* As it is now. */
void
stream_set_timeout(const struct talk *t, int fd)
{
	struct timeval timeout = { .tv_sec = t->timeout_ms / 1000, .tv_usec = (suseconds_t)(t->timeout_ms % 1000 * 1000) };

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
}

static void
set_options(const struct talk *t, int fd)
{
	int on = 1;

	stream_set_timeout(t, fd);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

/* The certificate must have the server's address, whoever called. */
static int
handshake(struct talk *t, struct stream *s)
{
	struct sockaddr_storage peer = { 0 };
	socklen_t len = sizeof(peer);
	char host[NI_MAXHOST];

	if (getpeername(s->fd, (struct sockaddr *)&peer, &len) == -1 ||
	    getnameinfo((struct sockaddr *)&peer, len, host, sizeof(host), NULL, 0, NI_NUMERICHOST) != 0)
		return talk_fail(t, "it is gone");
	s->ssl = SSL_new(t->tls);
	if (s->ssl == NULL || SSL_set_fd(s->ssl, s->fd) != 1)
		return talk_fail(t, "out of memory");
	X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(s->ssl), host);
	ERR_clear_error();
	return SSL_connect(s->ssl) == 1 ? 0 : talk_fail(t, "handshake: %s", tls_error());
}

/* With a socket of its family; use: bind(2) or connect(2). */
static int
use_address(struct talk *t, int *fd, const char *host, const char *port, int (*use)(int, const struct sockaddr *, socklen_t))
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV }, *at;
	int error = getaddrinfo(host, port, &hints, &at), on = 1;

	if (error != 0)
		return talk_fail(t, "%s port %s: %s", host, port, gai_strerror(error));
	if (*fd == -1 && (*fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0)) != -1) {
		set_options(t, *fd);
		setsockopt(*fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	}
	error = use(*fd, at->ai_addr, at->ai_addrlen);
	freeaddrinfo(at);
	return error == 0 ? 0 : talk_fail(t, "%s port %s: %s", host, port, strerror(errno));
}

int
stream_connect(struct talk *t, struct stream *s, const char *from, const char *port, bool tls)
{
	stream_close(s);
	if (from != NULL && use_address(t, &s->fd, from, "0", bind) == -1)
		return -1;
	if (use_address(t, &s->fd, t->host, port, connect) == -1)
		return -1;
	return tls ? handshake(t, s) : 0;
}

int
stream_listen(struct talk *t)
{
	if (use_address(t, &t->listener, t->host, t->port, bind) == -1)
		return -1;
	return listen(t->listener, 4) == 0 ? 0 : talk_fail(t, "cannot listen: %s", strerror(errno));
}

int
stream_accept(struct talk *t, struct stream *s, int listener, bool tls)
{
	stream_close(s);
	set_options(t, listener);
	s->fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (s->fd == -1)
		return talk_fail(t, "nobody connects: %s", strerror(errno));
	set_options(t, s->fd);
	return tls ? handshake(t, s) : 0;
}

static void
set_port(struct sockaddr_storage *address, uint16_t port)
{
	if (address->ss_family == AF_INET6)
		((struct sockaddr_in6 *)address)->sin6_port = htons(port);
	else
		((struct sockaddr_in *)address)->sin_port = htons(port);
}

static uint16_t
get_port(const struct sockaddr_storage *address)
{
	return ntohs(address->ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)address)->sin6_port :
	    ((const struct sockaddr_in *)address)->sin_port);
}

int
stream_wait(struct talk *t, int type)
{
	struct sockaddr_storage address = { 0 };
	socklen_t len = sizeof(address);
	int fd;

	if (getsockname(t->s->control.fd, (struct sockaddr *)&address, &len) == -1)
		return talk_fail(t, "no control connection");
	set_port(&address, 0);
	fd = socket(address.ss_family, type | SOCK_CLOEXEC, 0);
	if (fd == -1 || bind(fd, (struct sockaddr *)&address, len) == -1 || (type == SOCK_STREAM && listen(fd, 4) == -1) ||
	    getsockname(fd, (struct sockaddr *)&address, &len) == -1) {
		close(fd);
		return talk_fail(t, "cannot wait for data: %s", strerror(errno));
	}
	set_options(t, fd);
	t->listen_port = get_port(&address);
	return fd;
}

void
stream_close(struct stream *s)
{
	SSL_free(s->ssl);
	if (s->fd != -1)
		close(s->fd);
	*s = (struct stream){ .fd = -1 };
}

static ssize_t
write_some(struct stream *s, const void *bytes, size_t len)
{
	int n;

	if (s->ssl == NULL)
		return send(s->fd, bytes, len, MSG_NOSIGNAL);
	n = SSL_write(s->ssl, bytes, len < 65536 ? (int)len : 65536);
	return n > 0 ? n : -1;
}

int
stream_write(struct talk *t, struct stream *s, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;

	while (len > 0) {
		ssize_t n = write_some(s, p, t->byte_by_byte ? 1 : len);

		if (n == -1)
			return talk_fail(t, "cannot send: %s", strerror(errno));
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

/* 0: closed, however; -1: timeout. */
static ssize_t
read_some(struct stream *s, void *bytes, size_t len)
{
	ssize_t n;

	errno = 0;
	if (s->ssl != NULL) {
		n = SSL_read(s->ssl, bytes, len < 65536 ? (int)len : 65536);
		if (n <= 0 && SSL_get_error(s->ssl, (int)n) == SSL_ERROR_WANT_READ)
			return -1;
		return n > 0 ? n : 0;
	}
	n = recv(s->fd, bytes, len, 0);
	return n == -1 && errno != EAGAIN ? 0 : n;
}

int
stream_read(struct talk *t, struct stream *s, void *bytes, size_t len)
{
	uint8_t *p = bytes;
	size_t got = 0;

	stream_set_timeout(t, s->fd);
	while (got < len) {
		ssize_t n = s->fd == -1 ? 0 : read_some(s, p + got, len - got);

		if (n == -1)
			return talk_fail(t, "%zu of %zu bytes came within %u ms", got, len, t->timeout_ms);
		if (n == 0)
			return talk_fail(t, "closed after %zu of %zu bytes", got, len);
		got += (size_t)n;
	}
	return 0;
}

int
stream_read_end(struct talk *t, struct stream *s)
{
	uint8_t byte;
	ssize_t n;

	stream_set_timeout(t, s->fd);
	n = s->fd == -1 ? 0 : read_some(s, &byte, 1);
	if (n == -1)
		return talk_fail(t, "it is open still after %u ms", t->timeout_ms);
	if (n == 1)
		return talk_fail(t, "something comes: 0x%02x", byte);
	stream_close(s);
	return 0;
}
