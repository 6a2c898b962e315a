/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <check.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#include "common/buf.h"
#include "common/tls.h"
#include "common/tls_internal.h"

#include "collector/pki.h"

#include "tests/tls_lab.h"

#define BULK	(64 * 1024 * 1024)
#define PIECE	(200 * 1000)		/* not a multiple of anything */
#define MESSAGE	3000
#define KEY_UPDATES	12000

static struct event_base	*base;
static struct tls_context	*col, *web1;

static void
set_up(void)
{
	base = event_base_new();
	col = lab_context("good", "good", "col");
	web1 = lab_context("good", "good", "web1");
}

/* The same without a context. */
static void
set_up_plain(void)
{
	base = event_base_new();
	col = web1 = NULL;
}

static const char *
words_of_end(void)
{
	return col != NULL ? "peer closed the session" : "peer closed the connection";
}

static void
tear_down(void)
{
	tls_context_free(col);
	tls_context_free(web1);
	event_base_free(base);
}

static void
open_pair(struct lab_end *client, struct lab_end *server)
{
	int	 fds[2];

	lab_connect(&fds[0], &fds[1]);
	lab_end_open(client, base, web1, fds[0], TLSIO_CLIENT);
	lab_end_open(server, base, col, fds[1], TLSIO_SERVER);
}

static void
open_both(struct lab_end *client, struct lab_end *server)
{
	open_pair(client, server);
	lab_run(base, &client->opened);
	lab_run(base, &server->opened);
}

static void
free_both(struct lab_end *client, struct lab_end *server)
{
	tlsio_free(client->t);
	tlsio_free(server->t);
}

START_TEST(names)
{
	struct lab_end	 client = { 0 }, server = { 0 };
	char		 address[64];

	ck_assert_str_eq(tls_context_uri(col), "vmtap-collector://col");
	ck_assert_str_eq(tls_context_common_name(web1), "web1");
	open_both(&client, &server);
	ck_assert_str_eq(tlsio_peer_uri(client.t), "vmtap-collector://col");
	ck_assert_str_eq(tlsio_peer_uri(server.t), tls_context_uri(web1));
	ck_assert_int_eq(strncmp(tlsio_peer_uri(server.t), "vmtap://acme/", 13), 0);
	ck_assert_str_eq(tlsio_peer_common_name(server.t), "web1");
	ck_assert_int_gt(tls_context_not_after(web1), time(NULL) + 86400);
	ck_assert_int_eq(strncmp(tlsio_peer_address(client.t), "127.0.0.1:", 10), 0);
	snprintf(address, sizeof(address), "%s", tlsio_peer_address(server.t));
	ck_assert_str_ne(address, tlsio_peer_address(client.t));
	ck_assert_uint_gt(tlsio_bytes_in(server.t), 800);
	ck_assert_int_eq(fcntl(tlsio_fd(server.t), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	free_both(&client, &server);
}
END_TEST

/* One direction of the bulk: bytes that tell their place. */
struct bulk {
	size_t	 taken, checked;
	unsigned done, blocked;
};

static uint8_t
byte_at(size_t place)
{
	return (uint8_t)(place ^ place >> 8 ^ place >> 16 ^ place >> 24);
}

static void
fill(uint8_t *dst, size_t place, size_t len)
{
	for (size_t i = 0; i < len; i++)
		dst[i] = byte_at(place + i);
}

static void
send_bulk(struct lab_end *end)
{
	static uint8_t	 piece[PIECE];
	struct bulk	*bulk = end->more;
	size_t		 len, n;

	do {
		len = BULK - bulk->taken < PIECE ? BULK - bulk->taken : PIECE;
		fill(piece, bulk->taken, len);
		n = tlsio_send(end->t, piece, len);
		ck_assert_uint_le(n, len);
		bulk->taken += n;
	} while (bulk->taken < BULK && n == len);
	if (bulk->taken < BULK) {
		bulk->blocked++;
		ck_assert_int_eq(tlsio_queued(end->t) > 0, col != NULL);
		ck_assert_uint_eq(tlsio_send(end->t, piece, 1), 0);
	}
}

static void
write_bulk(struct lab_end *end)
{
	static uint8_t	 message[MESSAGE];
	struct bulk	*bulk = end->more;
	size_t		 len;

	while (bulk->taken < BULK) {
		len = BULK - bulk->taken < MESSAGE ? BULK - bulk->taken : MESSAGE;
		fill(message, bulk->taken, len);
		if (tlsio_write(end->t, message, len) == -1) {
			ck_assert_int_eq(errno, ENOBUFS);
			ck_assert_uint_gt(tlsio_queued(end->t), 1024 * 1024 - 2 * MESSAGE);
			bulk->blocked++;
			return;
		}
		bulk->taken += len;
	}
}

static void
check_bulk(struct lab_end *end)
{
	struct bulk	*bulk = end->more;
	struct buf	*input = tlsio_input(end->t);
	size_t		 wrong = 0;

	ck_assert_uint_le(input->len, 256 * 1024 + 16384);
	for (size_t i = 0; i < input->len; i++)
		wrong += input->data[i] != byte_at(bulk->checked + i);
	ck_assert_uint_eq(wrong, 0);
	bulk->checked += input->len;
	bulk->done = bulk->checked == BULK;
	buf_consume(input, input->len);
	tlsio_input_taken(end->t);
}

/* Both ways at once, with new keys every 64 records, while each reader stops until its sender is stuck. */
/* What a client of OpenSSL's own is shown that offers the name, and has no certificate. */
struct visitor {
	int		 fd;
	const char	*alpn;		/* length byte first */
	int		 shook;		/* 1: the handshake was good for it */
	int		 shown;		/* certificates */
	uint8_t		 last[TLS_FINGERPRINT_SIZE];	/* the last one's */
};

static void *
visit(void *arg)
{
	struct visitor	*v = arg;
	SSL_CTX		*ctx = SSL_CTX_new(TLS_client_method());
	SSL		*ssl = SSL_new(ctx);
	STACK_OF(X509)	*chain;
	char		 byte;

	SSL_set_alpn_protos(ssl, (const uint8_t *)v->alpn, (unsigned)strlen(v->alpn));
	SSL_set_fd(ssl, v->fd);
	v->shook = SSL_connect(ssl);
	chain = SSL_get_peer_cert_chain(ssl);
	v->shown = sk_X509_num(chain);
	if (v->shown > 0)
		X509_digest(sk_X509_value(chain, v->shown - 1), EVP_sha256(), v->last, NULL);
	SSL_read(ssl, &byte, 1);	/* until the end, which says whether the server was content */
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	close(v->fd);
	return NULL;
}

static void
enrolment_context(uint8_t root[TLS_FINGERPRINT_SIZE])
{
	FILE	*file = fopen(lab_path("good", "ca.crt"), "r");
	X509	*ca = PEM_read_X509(file, NULL, NULL, NULL);

	X509_digest(ca, EVP_sha256(), root, NULL);
	X509_free(ca);
	fclose(file);
	ck_assert_int_eq(tls_context_add_alpn(col, "vmtap-ctl/1", 0), 0);
	ck_assert_int_eq(tls_context_add_alpn(col, "vmtap-enroll/1", TLS_ALPN_ANONYMOUS | TLS_ALPN_ROOT), 0);
}

/* Each name by its own rules, whatever the ones before were. */
START_TEST(several_names)
{
	static const struct {
		const char	*alpn, *name;
		int		 shown;
		bool		 opens;
	} cases[] = { { "\16vmtap-enroll/1", "vmtap-enroll/1", 2, true }, { "\7vmtap/1", "", 1, false },
	    { "\13vmtap-ctl/1", "", 1, false }, { "\7other/1\16vmtap-enroll/1", "vmtap-enroll/1", 2, true },
	    { "\7vmtap/2", "", -1, false } };
	uint8_t			 root[TLS_FINGERPRINT_SIZE];

	enrolment_context(root);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct lab_end	 server = { 0 };
		struct visitor	 v = { .alpn = cases[i].alpn };
		pthread_t	 thread;
		int		 fd;

		lab_connect(&v.fd, &fd);
		ck_assert_int_eq(pthread_create(&thread, NULL, visit, &v), 0);
		lab_end_open(&server, base, col, fd, TLSIO_SERVER);
		lab_run(base, cases[i].opens ? &server.opened : &server.closed);
		ck_assert_uint_eq(server.opened, cases[i].opens);
		if (cases[i].opens) {
			ck_assert_str_eq(tlsio_alpn(server.t), cases[i].name);
			ck_assert_str_eq(tlsio_peer_uri(server.t), "");
			ck_assert_str_eq(tlsio_peer_common_name(server.t), "");
			ck_assert_int_gt(tlsio_peer_not_after(server.t), time(NULL) + 86400);
		}
		tlsio_free(server.t);
		pthread_join(thread, NULL);
		ck_assert_int_eq(v.shown, cases[i].shown);
		if (cases[i].opens)
			ck_assert_mem_eq(v.last, root, sizeof(root));
	}
}
END_TEST

static struct tls_context *
load_chain(const char *pem)
{
	char			 error[TLS_ERROR_SIZE] = "";
	struct tls_context	*context = tls_context_load(lab_path("good", "ca.crt"), pem, pem, LAB_ALPN, error);

	ck_assert_msg(context != NULL, "%s", error);
	return context;
}

/* Of an issuer below the CA: known by the CA alone, if the issuer's certificate is shown with it. */
START_TEST(chain_in_the_file)
{
	struct lab_end		 client = { 0 }, server = { 0 };
	char			 command[1024];
	struct pki_made		 made;
	struct tls_context	*with, *without;
	char			 error[PKI_ERROR_SIZE];
	time_t			 now = time(NULL);
	int			 fds[2];

	ck_assert_msg(pki_intermediate(lab_path("good", ""), "issuer", PKI_P256, now - 300, now + 86400, &made, error) == 0, "%s", error);
	snprintf(command, sizeof(command), "set -e; cd %s; mkdir below; cp issuer.crt below/ca.crt; cp issuer.key below/ca.key",
	    lab_path("good", ""));
	ck_assert_int_eq(system(command), 0);
	lab_issue("good/below", "leaf", now - 300, now + 3600);
	snprintf(command, sizeof(command), "set -e; cd %s/below; umask 77; cat leaf.key leaf.crt > without.pem; cat leaf.key leaf.crt"
	    " ca.crt ../ca.crt > with.pem", lab_path("good", ""));
	ck_assert_int_eq(system(command), 0);
	with = load_chain(lab_path("good", "below/with.pem"));
	without = load_chain(lab_path("good", "below/without.pem"));	/* with a warning */
	lab_connect(&fds[0], &fds[1]);
	lab_end_open(&client, base, with, fds[0], TLSIO_CLIENT);
	lab_end_open(&server, base, col, fds[1], TLSIO_SERVER);
	lab_run(base, &server.opened);
	ck_assert_int_eq(strncmp(tlsio_peer_uri(server.t), "vmtap://acme/", 13), 0);
	free_both(&client, &server);
	memset(&client, 0, sizeof(client));
	memset(&server, 0, sizeof(server));
	lab_connect(&fds[0], &fds[1]);
	lab_end_open(&client, base, without, fds[0], TLSIO_CLIENT);
	lab_end_open(&server, base, col, fds[1], TLSIO_SERVER);
	lab_run(base, &server.closed);
	ck_assert_uint_eq(server.opened, 0);
	free_both(&client, &server);
	tls_context_free(with);
	tls_context_free(without);
}
END_TEST

START_TEST(bulk)
{
	struct bulk	 up = { 0 }, down = { 0 };
	struct lab_end	 client = { .on_writable = send_bulk, .more = &up }, server = { .on_writable = write_bulk, .more = &down };

	if (col != NULL)
		web1->key_update_records = col->key_update_records = 64;
	open_both(&client, &server);
	tlsio_read_stop(server.t);
	tlsio_read_stop(client.t);
	send_bulk(&client);
	write_bulk(&server);
	lab_run(base, &up.blocked);
	lab_run(base, &down.blocked);
	ck_assert_uint_eq(client.readable + server.readable, 0);
	server.more = &up, server.on_readable = check_bulk, server.on_writable = NULL;
	tlsio_read_start(server.t);
	lab_run(base, &up.done);
	server.more = &down, server.on_readable = NULL, server.on_writable = write_bulk;
	client.more = &down, client.on_readable = check_bulk, client.on_writable = NULL;
	tlsio_read_start(client.t);
	lab_run(base, &down.done);
	ck_assert_uint_gt(up.blocked, 1);
	ck_assert_uint_eq(client.closed + server.closed, 0);
	ck_assert_uint_lt(client.t->records, 64);
	ck_assert_uint_lt(server.t->records, 64);
	ck_assert_uint_ge(tlsio_bytes_out(client.t), BULK + (col != NULL));
	ck_assert_uint_eq(tlsio_bytes_out(client.t), tlsio_bytes_in(server.t));
	free_both(&client, &server);
}
END_TEST

static unsigned	 passed;

static void
time_passed(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what, (void)arg;
	passed = 1;
}

static void
take_nothing(struct lab_end *end)
{
	end->got = tlsio_input(end->t)->len;
}

static void
take_all(struct lab_end *end)
{
	struct buf	*input = tlsio_input(end->t);
	unsigned	*all = end->more;

	end->got += input->len;
	*all = end->got == 400;
	buf_consume(input, input->len);
	tlsio_input_taken(end->t);
}

/* A full input stops the reading, without the loop spinning; bytes that lie inside OpenSSL come without any from the socket. An empty
 * one holds no memory. */
START_TEST(full_input_waits)
{
	static uint8_t	 bytes[16384];
	unsigned	 all = 0, turns;
	struct lab_end	 client = { 0 }, server = { .on_readable = take_nothing, .more = &all };
	struct tlsio_options options = lab_options(TLSIO_SERVER);
	struct timeval	 wait = { 0, 50000 };
	int		 fds[2];

	options.input_max = options.read_budget = 100;
	lab_connect(&fds[0], &fds[1]);
	lab_end_open(&client, base, web1, fds[0], TLSIO_CLIENT);
	server.t = tlsio_new(base, col, fds[1], &options, &lab_callbacks, &server);
	lab_run(base, &server.opened);
	for (unsigned i = 0; i < 8; i++)
		ck_assert_int_eq(tlsio_write(client.t, bytes, 50), 0);
	lab_run(base, &server.readable);
	event_base_once(base, -1, EV_TIMEOUT, time_passed, NULL, &wait);
	for (passed = turns = 0; passed == 0; turns++)
		event_base_loop(base, EVLOOP_ONCE);
	ck_assert_uint_le(turns, 20);
	ck_assert_uint_eq(server.got, 100);
	server.on_readable = take_all;
	buf_consume(tlsio_input(server.t), 100);
	tlsio_input_taken(server.t);
	ck_assert_ptr_null(tlsio_input(server.t)->data);
	lab_run(base, &all);
	ck_assert_uint_eq(server.got, 400);
	ck_assert_ptr_null(tlsio_input(server.t)->data);
	free_both(&client, &server);
}
END_TEST

START_TEST(shutdown_delivers_all)
{
	static uint8_t	 bytes[1000000];
	struct lab_end	 client = { 0 }, server = { 0 };

	open_both(&client, &server);
	ck_assert_int_eq(tlsio_write(client.t, bytes, sizeof(bytes)), 0);
	tlsio_shutdown(client.t, "told to stop", 15000);
	ck_assert_uint_eq(client.closed, 0);
	lab_run(base, &server.closed);
	ck_assert_uint_eq(server.got, sizeof(bytes));
	ck_assert_str_eq(server.why, words_of_end());
	lab_run(base, &client.closed);
	ck_assert_str_eq(client.why, "told to stop");
	ck_assert_int_eq(tlsio_write(client.t, "x", 1), -1);
	ck_assert_int_eq(tlsio_fd(client.t), -1);
	free_both(&client, &server);
}
END_TEST

/* What comes in pieces leaves as a whole, but for what fills a batch. */
START_TEST(corked)
{
	static uint8_t	 bytes[PIECE];
	struct lab_end	 client = { 0 }, server = { 0 };
	uint64_t	 before;

	open_both(&client, &server);
	before = tlsio_bytes_out(client.t);
	tlsio_cork(client.t);
	for (int i = 0; i < 3; i++)
		ck_assert_uint_eq(tlsio_send(client.t, bytes, 1000), 1000);
	ck_assert_uint_ge(tlsio_queued(client.t), 3000 + (col != NULL));
	ck_assert_uint_eq(tlsio_bytes_out(client.t), before);
	ck_assert_uint_eq(tlsio_send(client.t, bytes, sizeof(bytes)), sizeof(bytes));
	ck_assert_uint_gt(tlsio_bytes_out(client.t), before + sizeof(bytes) / 2);
	ck_assert_int_eq(tlsio_queued(client.t) > 0, col != NULL);
	tlsio_uncork(client.t);
	ck_assert_uint_eq(tlsio_queued(client.t), 0);
	tlsio_shutdown(client.t, "told to stop", 15000);
	lab_run(base, &server.closed);
	ck_assert_uint_eq(server.got, 3000 + sizeof(bytes));
	free_both(&client, &server);
}
END_TEST

/* The socket is full when the cork comes out: the rest follows by itself. */
START_TEST(corked_until_full)
{
	static uint8_t	 bytes[PIECE];
	struct lab_end	 client = { 0 }, server = { 0 };
	size_t		 taken = 0, n;

	open_both(&client, &server);
	tlsio_read_stop(server.t);
	tlsio_cork(client.t);
	do {
		n = tlsio_send(client.t, bytes, sizeof(bytes));
		taken += n;
	} while (n == sizeof(bytes));
	tlsio_uncork(client.t);
	ck_assert_int_eq(tlsio_queued(client.t) > 0, col != NULL);
	tlsio_read_start(server.t);
	lab_run(base, &client.writable);
	tlsio_shutdown(client.t, "told to stop", 15000);
	lab_run(base, &server.closed);
	ck_assert_uint_eq(server.got, taken);
	free_both(&client, &server);
}
END_TEST

START_TEST(shutdown_gives_up)
{
	static uint8_t	 bytes[PIECE];
	struct lab_end	 client = { 0 }, server = { 0 };

	open_both(&client, &server);
	tlsio_read_stop(server.t);
	while (tlsio_send(client.t, bytes, sizeof(bytes)) == sizeof(bytes))
		continue;
	tlsio_shutdown(client.t, "told to stop", 50);
	lab_run(base, &client.closed);
	ck_assert_str_eq(client.why, "told to stop");
	ck_assert_uint_eq(client.readable + client.writable, 0);
	free_both(&client, &server);
}
END_TEST

START_TEST(shutdown_before_open)
{
	struct lab_end	 client = { 0 }, server = { 0 };

	open_pair(&client, &server);
	tlsio_shutdown(client.t, "changed my mind", 1000);
	lab_run(base, &client.closed);
	ck_assert_str_eq(client.why, "changed my mind");
	ck_assert_uint_eq(client.opened, 0);
	lab_run(base, &server.closed);
	ck_assert_str_eq(server.why, col != NULL ? "peer closed during the handshake" : words_of_end());
	free_both(&client, &server);
}
END_TEST

static void
free_end(struct lab_end *end)
{
	tlsio_free(end->t);
	end->t = NULL;
	end->more = end;
}

static void
send_until_full(struct lab_end *end)
{
	static uint8_t	 bytes[PIECE];

	while (tlsio_send(end->t, bytes, sizeof(bytes)) == sizeof(bytes))
		continue;
}

/* The client frees itself in its opened, readable, writable and closed callback in turn; the server just sees its end. */
START_TEST(freed_in_callback)
{
	struct lab_end	 client = { .on_closed = free_end }, server = { .on_opened = send_until_full, .on_writable = send_until_full };

	if (_i == 0)
		client.on_opened = free_end;
	else if (_i == 1)
		client.on_readable = free_end;
	else if (_i == 2) {
		client.on_opened = send_until_full;
		client.on_writable = free_end;
	}
	open_pair(&client, &server);
	if (_i == 3) {
		lab_run(base, &server.opened);
		tlsio_free(server.t);
		server.t = NULL;
		lab_run(base, &client.closed);
	} else
		lab_run(base, &server.closed);
	ck_assert_ptr_eq(client.more, &client);
	tlsio_free(server.t);
}
END_TEST

/* The second loop of move_between_loops, in its own thread. */
static struct event_base *second;

static void
detach(struct lab_end *end)
{
	tlsio_detach(end->t);
	end->more = end;
}

static void
echo(struct lab_end *end)
{
	struct buf	*input = tlsio_input(end->t);

	end->got += input->len;
	ck_assert_int_eq(tlsio_write(end->t, input->data, input->len), 0);
	buf_consume(input, input->len);
	tlsio_input_taken(end->t);
}

static void *
run_second(void *arg)
{
	struct lab_end	*server = arg;

	second = event_base_new();
	ck_assert_int_eq(tlsio_attach(server->t, second), 0);
	lab_run(second, &server->closed);
	event_base_free(second);
	return NULL;
}

static void
say_hello(struct lab_end *end)
{
	ck_assert_int_eq(tlsio_write(end->t, "hello", 5), 0);
}

/* The hello may be inside OpenSSL by then, the server having opened and left its loop with it. */
START_TEST(move_between_loops)
{
	struct lab_end	 client = { .on_opened = say_hello }, server = { .on_opened = detach, .on_readable = echo };
	pthread_t	 thread;

	open_pair(&client, &server);
	lab_run(base, &server.opened);
	ck_assert_ptr_eq(server.more, &server);
	ck_assert_int_eq(pthread_create(&thread, NULL, run_second, &server), 0);
	lab_run(base, &client.readable);
	ck_assert_uint_eq(client.got, 5);
	tlsio_free(client.t);
	pthread_join(thread, NULL);
	ck_assert_uint_eq(server.got, 5);
	tlsio_free(server.t);
}
END_TEST

START_TEST(context_freed_first)
{
	struct lab_end	 client = { .on_opened = say_hello }, server = { 0 };

	open_pair(&client, &server);
	tls_context_free(col);
	col = NULL;
	lab_run(base, &server.readable);
	free_both(&client, &server);
}
END_TEST

/* Nobody set SIGPIPE aside. */
/* Records without data never end a read by themselves: the budget must, for those who share the loop. */
START_TEST(key_updates_without_end)
{
	struct lab_end	 client = { 0 }, server = { 0 };
	uint64_t	 before;
	size_t		 budget = lab_options(TLSIO_SERVER).read_budget;
	int		 fds[2], room = 4 * 1024 * 1024;

	/* TCP would open its window only bit by bit. */
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	ck_assert_int_eq(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)), 0);
	lab_end_open(&client, base, web1, fds[0], TLSIO_CLIENT);
	lab_end_open(&server, base, col, fds[1], TLSIO_SERVER);
	lab_run(base, &client.opened);
	lab_run(base, &server.opened);
	for (unsigned i = 0; i < KEY_UPDATES; i++) {
		ck_assert_int_eq(SSL_key_update(client.t->ssl, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
		ck_assert_int_eq(SSL_do_handshake(client.t->ssl), 1);
	}
	ck_assert_int_eq(tlsio_write(client.t, "x", 1), 0);
	while (server.got == 0) {
		before = tlsio_bytes_in(server.t);
		ck_assert_int_eq(event_base_loop(base, EVLOOP_ONCE), 0);
		ck_assert_uint_le(tlsio_bytes_in(server.t) - before, 2 * budget);
	}
	ck_assert_uint_gt(tlsio_bytes_in(server.t), 4 * budget);
	free_both(&client, &server);
}
END_TEST

START_TEST(peer_vanishes)
{
	struct lab_end	 client = { .on_writable = send_until_full }, server = { 0 };
	struct linger	 reset = { 1, 0 };

	ck_assert_ptr_eq(signal(SIGPIPE, SIG_DFL), SIG_DFL);
	open_both(&client, &server);
	tlsio_read_stop(server.t);
	send_until_full(&client);
	setsockopt(tlsio_fd(server.t), SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	tlsio_free(server.t);
	lab_run(base, &client.closed);
	ck_assert_msg(strstr(client.why, "reset") != NULL || strstr(client.why, "pipe") != NULL, "%s", client.why);
	tlsio_free(client.t);
}
END_TEST

START_TEST(certificate_runs_out)
{
	struct lab_end		 client = { 0 }, server = { 0 };
	struct tls_context	*brief;
	char			 words[128];
	int			 fds[2];
	time_t			 end = time(NULL) + 3;

	lab_issue("good", "brief", end - 300, end);
	brief = lab_context("good", "good", "brief");
	lab_connect(&fds[0], &fds[1]);
	lab_end_open(&client, base, brief, fds[0], TLSIO_CLIENT);
	lab_end_open(&server, base, col, fds[1], TLSIO_SERVER);
	lab_run(base, &server.opened);
	lab_run(base, &server.closed);
	ck_assert_int_gt(time(NULL), end);
	snprintf(words, sizeof(words), "certificate of %s expired on 20", tlsio_peer_address(server.t));
	ck_assert_msg(strncmp(server.why, words, strlen(words)) == 0, "%s", server.why);
	lab_run(base, &client.closed);
	ck_assert_str_eq(client.why, "peer closed the session");
	tls_context_free(brief);
	free_both(&client, &server);
}
END_TEST

int
main(void)
{
	Suite	*suite = suite_create("tls");
	TCase	*tc = tcase_create("session"), *plain = tcase_create("plain");
	SRunner	*runner;
	int	 failed;

	tcase_set_timeout(tc, 60);
	tcase_add_unchecked_fixture(tc, lab_open, lab_close);
	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, names);
	tcase_add_test(tc, several_names);
	tcase_add_test(tc, chain_in_the_file);
	tcase_add_test(tc, bulk);
	tcase_add_test(tc, full_input_waits);
	tcase_add_test(tc, shutdown_delivers_all);
	tcase_add_test(tc, corked);
	tcase_add_test(tc, corked_until_full);
	tcase_add_test(tc, shutdown_gives_up);
	tcase_add_test(tc, shutdown_before_open);
	tcase_add_loop_test(tc, freed_in_callback, 0, 4);
	tcase_add_test(tc, move_between_loops);
	tcase_add_test(tc, context_freed_first);
	tcase_add_test(tc, key_updates_without_end);
	tcase_add_test(tc, peer_vanishes);
	tcase_add_test(tc, certificate_runs_out);
	suite_add_tcase(suite, tc);
	tcase_set_timeout(plain, 60);
	tcase_add_checked_fixture(plain, set_up_plain, tear_down);
	tcase_add_test(plain, bulk);
	tcase_add_test(plain, full_input_waits);
	tcase_add_test(plain, shutdown_delivers_all);
	tcase_add_test(plain, corked);
	tcase_add_test(plain, corked_until_full);
	tcase_add_test(plain, shutdown_gives_up);
	tcase_add_test(plain, shutdown_before_open);
	tcase_add_loop_test(plain, freed_in_callback, 0, 4);
	tcase_add_test(plain, move_between_loops);
	tcase_add_test(plain, peer_vanishes);
	suite_add_tcase(suite, plain);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
