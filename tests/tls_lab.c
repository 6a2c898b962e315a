/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>

#include <netinet/in.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <check.h>
#include <openssl/ssl.h>

#include "common/buf.h"
#include "collector/pki.h"

#include "tests/tls_lab.h"

#define YEAR	(365 * 86400)
#define RUN_S	20

static char	 dir[] = "/tmp/check_tls.XXXXXX";
static pid_t	 owner;

const char *
lab_path(const char *ca, const char *file)
{
	static char	 path[8][128];
	static unsigned	 at;

	at = (at + 1) % 8;
	snprintf(path[at], sizeof(path[at]), "%s/%s/%s", dir, ca, file);
	return path[at];
}

void
lab_issue(const char *ca, const char *name, time_t not_before, time_t not_after)
{
	char			*hosts[] = { "localhost", "127.0.0.1" };
	bool			 is_collector = strcmp(name, "col") == 0;
	struct pki_request	 request = { .hosts = hosts, .host_count = is_collector ? 2 : 0, .not_before = not_before,
		    .not_after = not_after, .algorithm = is_collector ? PKI_P256 : PKI_ED25519,
		    .identity = { .role = is_collector ? ROLE_COLLECTOR : ROLE_AGENT, .tenant = "acme" } };
	struct pki_made		 made;
	char			 error[PKI_ERROR_SIZE] = "";

	snprintf(request.identity.name, sizeof(request.identity.name), "%s", name);
	ck_assert_msg(pki_issue(lab_path(ca, ""), &request, &made, error) == 0, "%s", error);
}

static void
make_ca(const char *ca)
{
	time_t		 now = time(NULL);
	struct pki_made	 made;
	char		 error[PKI_ERROR_SIZE] = "";

	ck_assert_msg(pki_init(lab_path(ca, ""), PKI_P256, now - YEAR, now + YEAR, &made, error) == 0, "%s", error);
	lab_issue(ca, "col", now - 300, now + YEAR / 2);
	lab_issue(ca, "web1", now - 300, now + YEAR / 2);
	lab_issue(ca, "old", now - 3 * 86400, now - 2 * 86400);
	lab_issue(ca, "young", now + 86400, now + 2 * 86400);
}

void
lab_open(void)
{
	owner = getpid();
	ck_assert_ptr_nonnull(mkdtemp(dir));
	make_ca("good");
	make_ca("evil");
}

void
lab_close(void)
{
	char	 command[128];

	snprintf(command, sizeof(command), "rm -rf %s", dir);
	if (getpid() == owner)
		ck_assert_int_eq(system(command), 0);
}

static const char *
file_of(const char *ca, const char *name, const char *suffix)
{
	char	 file[64];

	snprintf(file, sizeof(file), "%s.%s", name, suffix);
	return lab_path(ca, file);
}

struct tls_context *
lab_context(const char *trusted, const char *ca, const char *name)
{
	return lab_context_alpn(trusted, ca, name, LAB_ALPN);
}

struct tls_context *
lab_context_alpn(const char *trusted, const char *ca, const char *name, const char *alpn)
{
	char			 error[TLS_ERROR_SIZE] = "";
	struct tls_context	*context;

	context = tls_context_load(file_of(trusted, "ca", "crt"), file_of(ca, name, "crt"), file_of(ca, name, "key"), alpn, error);
	ck_assert_msg(context != NULL, "%s", error);
	return context;
}

void
lab_connect(int *client, int *server)
{
	struct sockaddr_in	 sin = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t		 len = sizeof(sin);
	int			 listener = socket(AF_INET, SOCK_STREAM, 0);

	ck_assert_int_eq(bind(listener, (struct sockaddr *)&sin, sizeof(sin)), 0);
	ck_assert_int_eq(listen(listener, 1), 0);
	ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&sin, &len), 0);
	*client = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(connect(*client, (struct sockaddr *)&sin, sizeof(sin)), 0);
	*server = accept(listener, NULL, NULL);
	ck_assert_int_ge(*server, 0);
	close(listener);
}

static void
end_opened(struct tlsio *t, void *arg)
{
	struct lab_end	*end = arg;

	ck_assert_ptr_eq(t, end->t);
	ck_assert_uint_eq(end->opened++, 0);
	ck_assert_uint_eq(end->closed, 0);
	if (end->on_opened != NULL)
		end->on_opened(end);
}

static void
end_readable(struct tlsio *t, void *arg)
{
	struct lab_end	*end = arg;
	struct buf	*input = tlsio_input(t);

	ck_assert_uint_eq(end->opened, 1);
	ck_assert_uint_eq(end->closed, 0);
	end->readable++;
	if (end->on_readable != NULL) {
		end->on_readable(end);
		return;
	}
	end->got += input->len;
	buf_consume(input, input->len);
	tlsio_input_taken(t);
}

static void
end_writable(struct tlsio *t, void *arg)
{
	struct lab_end	*end = arg;

	ck_assert_uint_eq(end->closed, 0);
	ck_assert_uint_eq(tlsio_queued(t), 0);
	end->writable++;
	if (end->on_writable != NULL)
		end->on_writable(end);
}

static void
end_closed(struct tlsio *t, const char *why, void *arg)
{
	struct lab_end	*end = arg;

	ck_assert_ptr_eq(t, end->t);
	ck_assert_uint_eq(end->closed++, 0);
	ck_assert_str_ne(why, "");
	snprintf(end->why, sizeof(end->why), "%s", why);
	if (end->on_closed != NULL)
		end->on_closed(end);
}

const struct tlsio_callbacks lab_callbacks = { end_opened, end_readable, end_writable, end_closed };

struct tlsio_options
lab_options(enum tlsio_side side)
{
	struct tlsio_options	 options = { .side = side, .handshake_ms = 1000 * RUN_S, .input_max = 256 * 1024, .read_budget = 64 * 1024 };

	return options;
}

void
lab_end_open(struct lab_end *end, struct event_base *base, struct tls_context *context, int fd, enum tlsio_side side)
{
	struct tlsio_options	 options = lab_options(side);

	end->t = tlsio_new(base, context, fd, &options, &lab_callbacks, end);
	ck_assert_ptr_nonnull(end->t);
}

static void
too_long(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what, (void)arg;
	ck_abort_msg("what the test waits for did not come");
}

void
lab_run(struct event_base *base, const unsigned *flag)
{
	struct timeval	 limit = { RUN_S, 0 };
	struct event	*timer = evtimer_new(base, too_long, NULL);

	evtimer_add(timer, &limit);
	while (*flag == 0)
		ck_assert_int_eq(event_base_loop(base, EVLOOP_ONCE), 0);
	event_free(timer);
}

/* Peers of other making. */

static struct lab_peer	 peer;
static int		 peer_fd;
static pthread_t	 peer_thread;

static int
peer_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in, unsigned in_len, void *arg)
{
	(void)ssl, (void)in, (void)in_len, (void)arg;
	*out = (const unsigned char *)peer.alpn + 1;
	*out_len = (unsigned char)peer.alpn[0];
	return SSL_TLSEXT_ERR_OK;
}

static SSL_CTX *
peer_context(void)
{
	SSL_CTX	*c = SSL_CTX_new(TLS_method());

	SSL_CTX_set_max_proto_version(c, peer.version != 0 ? peer.version : TLS1_3_VERSION);
	if (peer.version != 0 && peer.version < TLS1_2_VERSION) {
		SSL_CTX_set_min_proto_version(c, peer.version);
		SSL_CTX_set_security_level(c, 0);
	}
	if (peer.name != NULL) {
		SSL_CTX_use_certificate_file(c, file_of(peer.ca, peer.name, "crt"), SSL_FILETYPE_PEM);
		SSL_CTX_use_PrivateKey_file(c, file_of(peer.ca, peer.name, "key"), SSL_FILETYPE_PEM);
	}
	if (peer.alpn != NULL && peer.side == TLSIO_SERVER)
		SSL_CTX_set_alpn_select_cb(c, peer_alpn, NULL);
	else if (peer.alpn != NULL)
		SSL_CTX_set_alpn_protos(c, (const unsigned char *)peer.alpn, (unsigned)strlen(peer.alpn));
	return c;
}

static void
peer_speak_tls(void)
{
	SSL_CTX	*c = peer_context();
	SSL	*ssl = SSL_new(c);
	char	 byte;

	SSL_set_fd(ssl, peer_fd);
	if ((peer.side == TLSIO_SERVER ? SSL_accept(ssl) : SSL_connect(ssl)) == 1)
		while (SSL_read(ssl, &byte, 1) > 0)
			continue;
	SSL_free(ssl);
	SSL_CTX_free(c);
}

static void *
peer_run(void *arg)
{
	char	 byte;

	if (peer.bytes == NULL)
		peer_speak_tls();
	else if (send(peer_fd, peer.bytes, strlen(peer.bytes), MSG_NOSIGNAL) > 0 || peer.bytes[0] == '\0')
		while (!peer.hang_up && read(peer_fd, &byte, 1) > 0)
			continue;
	close(peer_fd);
	return arg;
}

void
lab_peer_start(const struct lab_peer *new_peer, int fd)
{
	peer = *new_peer;
	peer_fd = fd;
	ck_assert_int_eq(pthread_create(&peer_thread, NULL, peer_run, NULL), 0);
}

void
lab_peer_join(void)
{
	ck_assert_int_eq(pthread_join(peer_thread, NULL), 0);
}
