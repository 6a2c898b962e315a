/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <sys/stat.h>

#include <netinet/in.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <check.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#include "common/tls.h"

#include "tests/tls_lab.h"

#define ALPN	"\x07vmtap/1"

static struct event_base	*base;

static void
set_up(void)
{
	base = event_base_new();
}

static void
tear_down(void)
{
	event_base_free(base);
}

static void
has_words(const char *why, const char *words)
{
	ck_assert_msg(strstr(why, words) != NULL, "\"%s\" lacks \"%s\"", why, words);
}

/* Our side is the other one; it must never open, and say so in these words. */
static const struct {
	struct lab_peer	 peer;
	const char	*words;
} bad_peers[] = {
	{ { TLSIO_CLIENT, "evil", "web1", .alpn = ALPN }, "certificate of 127.0.0.1:%u was signed by another CA" },
	{ { TLSIO_CLIENT, "good", "old", .alpn = ALPN }, "certificate of 127.0.0.1:%u expired on 20" },
	{ { TLSIO_CLIENT, "good", "young", .alpn = ALPN }, "certificate of 127.0.0.1:%u is not valid before 20" },
	{ { TLSIO_CLIENT, .alpn = ALPN }, "peer showed no certificate" },
	{ { TLSIO_CLIENT, "good", "web1", .version = TLS1_2_VERSION, .alpn = ALPN }, "peer speaks no TLS 1.3" },
	{ { TLSIO_CLIENT, "good", "web1", .version = TLS1_2_VERSION }, "peer speaks no TLS 1.3" },
	{ { TLSIO_CLIENT, "good", "web1", .alpn = "\x02h2\x08http/1.1" }, "peer speaks \"h2, http/1.1\" (ALPN), not \"vmtap/1\"" },
	{ { TLSIO_CLIENT, "good", "web1", .alpn = "\x07vmtap/2" }, "peer speaks \"vmtap/2\" (ALPN), not \"vmtap/1\"" },
	{ { TLSIO_CLIENT, "good", "web1", .alpn = NULL }, "peer names no application protocol (ALPN); \"vmtap/1\" is expected" },
	{ { TLSIO_CLIENT, .bytes = "GET / HTTP/1.1\r\nHost: x\r\n\r\n" }, "peer does not speak TLS (got \"GET / HTTP/1.1\\x0d\\x0a\")" },
	{ { TLSIO_CLIENT, .bytes = "hi", .hang_up = true }, "peer does not speak TLS (got \"hi\")" },
	{ { TLSIO_CLIENT, .bytes = "\x16\x03\x01", .hang_up = true }, "peer closed during the handshake" },
	{ { TLSIO_CLIENT, .bytes = "", .hang_up = true }, "peer closed during the handshake" },
	{ { TLSIO_CLIENT, .bytes = "\x16\x03\x01\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f" }, "TLS handshake failed: " },
	{ { TLSIO_SERVER, "evil", "col", .alpn = ALPN }, "certificate of 127.0.0.1:%u was signed by another CA" },
	{ { TLSIO_SERVER, "good", "old", .alpn = ALPN }, "certificate of 127.0.0.1:%u expired on 20" },
	{ { TLSIO_SERVER, "good", "col", .version = TLS1_2_VERSION, .alpn = ALPN }, "peer speaks no TLS 1.3" },
	{ { TLSIO_SERVER, "good", "col", .alpn = NULL }, "peer answers with no application protocol (ALPN); \"vmtap/1\" is expected" },
	{ { TLSIO_SERVER, "good", "col", .alpn = "\x02h2" }, "TLS handshake failed: " },
	{ { TLSIO_SERVER, .bytes = "SSH-2.0-OpenSSH_9.2\r\n" }, "peer does not speak TLS (got \"SSH-2.0-OpenSSH_\")" },
};

static unsigned
port_of(int fd)
{
	struct sockaddr_in	 sin;
	socklen_t		 len = sizeof(sin);

	ck_assert_int_eq(getpeername(fd, (struct sockaddr *)&sin, &len), 0);
	return ntohs(sin.sin_port);
}

/* What words say, with the peer's port for %u. */
static void
expand(const char *words, unsigned port, char *dst, size_t dst_size)
{
	const char	*at = strstr(words, "%u");

	if (at == NULL)
		snprintf(dst, dst_size, "%s", words);
	else
		snprintf(dst, dst_size, "%.*s%u%s", (int)(at - words), words, port, at + 2);
}

START_TEST(bad_peer)
{
	const struct lab_peer	*peer = &bad_peers[_i].peer;
	enum tlsio_side		 side = peer->side == TLSIO_CLIENT ? TLSIO_SERVER : TLSIO_CLIENT;
	struct tls_context	*context = lab_context("good", "good", side == TLSIO_SERVER ? "col" : "web1");
	struct lab_end		 end = { 0 };
	int			 fds[2];
	char			 words[256];

	lab_connect(&fds[0], &fds[1]);
	expand(bad_peers[_i].words, port_of(fds[side]), words, sizeof(words));
	lab_peer_start(peer, fds[!side]);
	lab_end_open(&end, base, context, fds[side], side);
	lab_run(base, &end.closed);
	ck_assert_uint_eq(end.opened, 0);
	has_words(end.why, words);
	tlsio_free(end.t);
	lab_peer_join();
	tls_context_free(context);
}
END_TEST

/* The certificate's owner learns it from the alert, having opened already, as TLS 1.3 goes. */
static const struct {
	const char	*ca, *name, *server_words, *client_words;
} refused_clients[] = {
	{ "evil", "web1", "was signed by another CA", "peer refused our certificate: it was signed by another CA than the peer trusts" },
	{ "good", "young", "is not valid before", "peer refused our certificate" },
};

START_TEST(client_learns_why)
{
	struct tls_context	*col = lab_context("good", "good", "col");
	struct tls_context	*other = lab_context("good", refused_clients[_i].ca, refused_clients[_i].name);
	struct lab_end		 client = { 0 }, server = { 0 };
	int			 fds[2];

	lab_connect(&fds[0], &fds[1]);
	lab_end_open(&client, base, other, fds[0], TLSIO_CLIENT);
	lab_end_open(&server, base, col, fds[1], TLSIO_SERVER);
	lab_run(base, &client.closed);
	lab_run(base, &server.closed);
	ck_assert_uint_eq(server.opened, 0);
	has_words(server.why, refused_clients[_i].server_words);
	has_words(client.why, refused_clients[_i].client_words);
	tlsio_free(client.t);
	tlsio_free(server.t);
	tls_context_free(col);
	tls_context_free(other);
}
END_TEST

START_TEST(server_learns_why)
{
	struct tls_context	*col = lab_context("good", "good", "col"), *stranger = lab_context("evil", "evil", "web1");
	struct lab_end		 client = { 0 }, server = { 0 };
	int			 fds[2];

	lab_connect(&fds[0], &fds[1]);
	lab_end_open(&client, base, stranger, fds[0], TLSIO_CLIENT);
	lab_end_open(&server, base, col, fds[1], TLSIO_SERVER);
	lab_run(base, &client.closed);
	lab_run(base, &server.closed);
	ck_assert_uint_eq(client.opened + server.opened, 0);
	has_words(client.why, "was signed by another CA");
	has_words(server.why, "peer refused our certificate: it was signed by another CA than the peer trusts");
	tlsio_free(client.t);
	tlsio_free(server.t);
	tls_context_free(col);
	tls_context_free(stranger);
}
END_TEST

static const struct {
	const char	*server, *expected, *words;	/* words NULL: fine */
} hosts[] = {
	{ "col", "localhost", NULL },
	{ "col", "127.0.0.1", NULL },
	{ "col", "LOCALHOST", NULL },
	{ "col", "col", "is for host(s) localhost, 127.0.0.1, not for col" },	/* the common name is no host */
	{ "col", "127.0.0.2", "is for host(s) localhost, 127.0.0.1, not for 127.0.0.2" },
	{ "col", "::1", "is for host(s) localhost, 127.0.0.1, not for ::1" },
	{ "web1", "localhost", "names no host, and localhost is expected" },
};

START_TEST(host)
{
	struct tls_context	*server_context = lab_context("good", "good", hosts[_i].server);
	struct tls_context	*context = lab_context("good", "good", "web1");
	struct tlsio_options	 options = lab_options(TLSIO_CLIENT);
	struct lab_end		 client = { 0 }, server = { 0 };
	int			 fds[2];

	options.expect_host = hosts[_i].expected;
	lab_connect(&fds[0], &fds[1]);
	client.t = tlsio_new(base, context, fds[0], &options, &lab_callbacks, &client);
	lab_end_open(&server, base, server_context, fds[1], TLSIO_SERVER);
	if (hosts[_i].words == NULL) {
		lab_run(base, &client.opened);
		lab_run(base, &server.opened);
	} else {
		lab_run(base, &client.closed);
		has_words(client.why, hosts[_i].words);
		lab_run(base, &server.closed);
		ck_assert_uint_eq(client.opened + server.opened, 0);
	}
	tlsio_free(client.t);
	tlsio_free(server.t);
	tls_context_free(context);
	tls_context_free(server_context);
}
END_TEST

static const char *const slow_words[] = { "peer said nothing within 0.06 s", "no TLS handshake within 0.06 s" };

START_TEST(handshake_too_slow)
{
	struct tls_context	*context = lab_context("good", "good", "col");
	struct tlsio_options	 options = lab_options(TLSIO_SERVER);
	struct lab_end		 end = { 0 };
	int			 fds[2];

	options.handshake_ms = 60;
	lab_connect(&fds[0], &fds[1]);
	if (_i == 1)
		ck_assert_int_eq(write(fds[0], "\x16\x03\x01", 3), 3);
	end.t = tlsio_new(base, context, fds[1], &options, &lab_callbacks, &end);
	lab_run(base, &end.closed);
	has_words(end.why, slow_words[_i]);
	tlsio_free(end.t);
	close(fds[0]);
	tls_context_free(context);
}
END_TEST

/* The port of a listener that is gone. */
START_TEST(nobody_listens)
{
	struct tls_context	*context = lab_context("good", "good", "web1");
	struct sockaddr_in	 sin = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t		 len = sizeof(sin);
	int			 bound = socket(AF_INET, SOCK_STREAM, 0), fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	struct lab_end		 end = { 0 };

	ck_assert_int_eq(bind(bound, (struct sockaddr *)&sin, sizeof(sin)), 0);
	ck_assert_int_eq(getsockname(bound, (struct sockaddr *)&sin, &len), 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&sin, sizeof(sin)), -1);
	lab_end_open(&end, base, context, fd, TLSIO_CLIENT);
	lab_run(base, &end.closed);
	ck_assert_str_eq(end.why, "cannot connect: Connection refused");
	tlsio_free(end.t);
	close(bound);
	tls_context_free(context);
}
END_TEST

/* Files of lab "good" but where they say otherwise. */
static const struct {
	const char	*ca, *cert, *key, *words;
} bad_files[] = {
	{ "good/ca.crt", "good/nosuch.crt", "good/col.key", "nosuch.crt: No such file or directory" },
	{ "good/nosuch.crt", "good/col.crt", "good/col.key", "nosuch.crt: No such file or directory" },
	{ "good/ca.crt", "good/col.key", "good/col.key", "col.key: holds no certificate in PEM form" },
	{ "good/ca.crt", "good/col.crt", "good/col.crt", "col.crt: holds no private key in PEM form" },
	{ "good/ca.crt", "good/col.crt", "good/web1.key", "web1.key: is not the key of" },
	{ "good/ca.crt", "good/old.crt", "good/old.key", "old.crt: expired on 20" },
	{ "good/col.crt", "good/col.crt", "good/col.key", "col.crt: is not the certificate of a CA" },
	{ "two.crt", "good/col.crt", "good/col.key", "two.crt: holds several certificates; one CA alone is trusted" },
	{ "torn.crt", "good/col.crt", "good/col.key", "torn.crt: holds a damaged certificate" },
	{ "big.crt", "good/col.crt", "good/col.key", "big.crt: is larger than 256 KiB" },
	{ "good", "good/col.crt", "good/col.key", "cannot be read: Is a directory" },
	{ "good/ca.crt", "good/col.crt", "locked.key", "locked.key: is encrypted; a key without a passphrase is needed" },
};

static void
make_locked_key(void)
{
	FILE		*in = fopen(lab_path("good", "col.key"), "r"), *out = fopen(lab_path(".", "locked.key"), "w");
	EVP_PKEY	*key = PEM_read_PrivateKey(in, NULL, NULL, NULL);

	ck_assert_int_eq(PEM_write_PKCS8PrivateKey(out, key, EVP_aes_128_cbc(), "x", 1, NULL, NULL), 1);
	EVP_PKEY_free(key);
	fclose(in);
	fclose(out);
}

static void
make_bad_files(void)
{
	char	 command[512];

	snprintf(command, sizeof(command), "cd %s && cat good/ca.crt evil/ca.crt >two.crt && head -c 300 good/ca.crt >torn.crt && "
	    "echo '-----END CERTIFICATE-----' >>torn.crt && head -c 300000 /dev/zero >big.crt", lab_path(".", "."));
	ck_assert_int_eq(system(command), 0);
	make_locked_key();
}

START_TEST(bad_file)
{
	char			 error[TLS_ERROR_SIZE] = "";
	struct tls_context	*context;

	make_bad_files();
	context = tls_context_load(lab_path(".", bad_files[_i].ca), lab_path(".", bad_files[_i].cert),
	    lab_path(".", bad_files[_i].key), LAB_ALPN, error);
	ck_assert_ptr_null(context);
	has_words(error, bad_files[_i].words);
}
END_TEST

int
main(void)
{
	Suite	*suite = suite_create("tls_refused");
	TCase	*tc = tcase_create("refused");
	SRunner	*runner;
	int	 failed;

	tcase_set_timeout(tc, 30);
	tcase_add_unchecked_fixture(tc, lab_open, lab_close);
	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_loop_test(tc, bad_peer, 0, sizeof(bad_peers) / sizeof(bad_peers[0]));
	tcase_add_loop_test(tc, client_learns_why, 0, sizeof(refused_clients) / sizeof(refused_clients[0]));
	tcase_add_test(tc, server_learns_why);
	tcase_add_loop_test(tc, host, 0, sizeof(hosts) / sizeof(hosts[0]));
	tcase_add_loop_test(tc, handshake_too_slow, 0, sizeof(slow_words) / sizeof(slow_words[0]));
	tcase_add_test(tc, nobody_listens);
	tcase_add_loop_test(tc, bad_file, 0, sizeof(bad_files) / sizeof(bad_files[0]));
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
