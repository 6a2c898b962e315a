/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/stat.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <check.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "common/buf.h"
#include "common/tls.h"
#include "common/tls_internal.h"

#include "tests/tls_lab.h"

#define BULK		(4u << 20)
#define NO_CA		"was signed by no CA that is trusted here"
#define BY_ITSELF	"was signed by itself, and is not among those trusted here"

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

/* Files that no CA of the lab made. */

static void
add_extension(X509 *cert, int nid, const char *value)
{
	X509_EXTENSION	*extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

	ck_assert_ptr_nonnull(extension);
	ck_assert_int_eq(X509_add_ext(cert, extension, -1), 1);
	X509_EXTENSION_free(extension);
}

static X509 *
self_signed(EVP_PKEY *key, const char *names, const char *usage)
{
	X509		*cert = X509_new();
	X509_NAME	*name = X509_get_subject_name(cert);

	ck_assert_int_eq(X509_set_version(cert, X509_VERSION_3), 1);
	ck_assert_int_eq(ASN1_INTEGER_set(X509_get_serialNumber(cert), 1), 1);
	X509_gmtime_adj(X509_getm_notBefore(cert), -300);
	X509_gmtime_adj(X509_getm_notAfter(cert), 86400);
	ck_assert_int_eq(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const uint8_t *)"localhost", -1, -1, 0), 1);
	ck_assert_int_eq(X509_set_issuer_name(cert, name), 1);
	ck_assert_int_eq(X509_set_pubkey(cert, key), 1);
	if (names != NULL)
		add_extension(cert, NID_subject_alt_name, names);
	if (usage != NULL)
		add_extension(cert, NID_ext_key_usage, usage);
	ck_assert_int_gt(X509_sign(cert, key, EVP_sha256()), 0);
	return cert;
}

static void
make_self_signed(const char *name, const char *names, const char *usage)
{
	EVP_PKEY	*key = EVP_EC_gen("P-256");
	X509		*cert = self_signed(key, names, usage);
	char		 file[64];
	FILE		*out;

	snprintf(file, sizeof(file), "%s.crt", name);
	out = fopen(lab_path("self", file), "w");
	ck_assert_int_eq(PEM_write_X509(out, cert), 1);
	fclose(out);
	snprintf(file, sizeof(file), "%s.key", name);
	out = fopen(lab_path("self", file), "w");
	ck_assert_int_eq(PEM_write_PrivateKey(out, key, NULL, NULL, 0, NULL, NULL), 1);
	fclose(out);
	X509_free(cert);
	EVP_PKEY_free(key);
}

static void
lab_open_foreign(void)
{
	char	 command[512];

	lab_open();
	ck_assert_int_eq(mkdir(lab_path("self", ""), 0700), 0);
	make_self_signed("named", "DNS:localhost,IP:127.0.0.1", NULL);
	make_self_signed("nameless", NULL, NULL);
	make_self_signed("server", "DNS:localhost", "serverAuth");
	snprintf(command, sizeof(command), "cd %s && cat good/ca.crt evil/ca.crt >two.crt && { cat good/ca.crt; "
	    "head -c 300 evil/ca.crt; echo; echo '-----END CERTIFICATE-----'; } >torn.crt && echo nothing >empty.crt",
	    lab_path(".", "."));
	ck_assert_int_eq(system(command), 0);
}

/* Paths in the lab; NULL: no such file. */
static struct tls_context *
foreign(const char *ca, const char *cert, const char *key, enum tlsio_side side, char error[TLS_ERROR_SIZE])
{
	struct tls_files	 files = { .ca_name = ca, .cert_name = cert, .key_name = key };
	struct tls_context	*context;

	files.ca_fd = ca != NULL ? open(lab_path(".", ca), O_RDONLY) : -1;
	files.cert_fd = cert != NULL ? open(lab_path(".", cert), O_RDONLY) : -1;
	files.key_fd = key != NULL ? open(lab_path(".", key), O_RDONLY) : -1;
	context = tls_context_new_foreign(&files, side, error);
	close(files.ca_fd);
	close(files.cert_fd);
	close(files.key_fd);
	return context;
}

static struct tls_context *
good_foreign(const char *ca, const char *cert, const char *key, enum tlsio_side side)
{
	char			 error[TLS_ERROR_SIZE] = "";
	struct tls_context	*context = foreign(ca, cert, key, side, error);

	ck_assert_msg(context != NULL, "%s", error);
	return context;
}

/* The peer is OpenSSL's own, and our side is the other one. */
static void
meet(struct tls_context *context, const struct lab_peer *peer, const char *host, const char *words)
{
	enum tlsio_side		 side = peer->side == TLSIO_CLIENT ? TLSIO_SERVER : TLSIO_CLIENT;
	struct tlsio_options	 options = lab_options(side);
	struct lab_end		 end = { 0 };
	int			 fds[2];

	options.expect_host = host;
	lab_connect(&fds[0], &fds[1]);
	lab_peer_start(peer, fds[!side]);
	end.t = tlsio_new(base, context, fds[side], &options, &lab_callbacks, &end);
	if (words == NULL) {
		lab_run(base, &end.opened);
		ck_assert_str_eq(tlsio_alpn(end.t), "");
		tlsio_shutdown(end.t, "seen enough", 15000);
		lab_run(base, &end.closed);
		ck_assert_str_eq(end.why, "seen enough");
	} else {
		lab_run(base, &end.closed);
		ck_assert_uint_eq(end.opened, 0);
		has_words(end.why, words);
	}
	tlsio_free(end.t);
	lab_peer_join();
}

static const struct {
	const char	*ca;
	struct lab_peer	 peer;
	const char	*words;		/* NULL: it is let in */
} clients[] = {
	{ NULL, { .side = TLSIO_CLIENT }, NULL },
	{ NULL, { TLSIO_CLIENT, .version = TLS1_2_VERSION }, NULL },
	{ NULL, { TLSIO_CLIENT, "evil", "web1", .version = 0 }, NULL },
	{ NULL, { TLSIO_CLIENT, .alpn = "\2h2" }, NULL },
	{ NULL, { TLSIO_CLIENT, .version = TLS1_1_VERSION }, "peer speaks neither TLS 1.2 nor 1.3" },
	{ NULL, { TLSIO_CLIENT, .bytes = "GET / HTTP/1.1\r\n\r\n" }, "peer does not speak TLS (got \"GET / HTTP/1.1\\x0d\\x0a\")" },
	{ "good/ca.crt", { TLSIO_CLIENT, "good", "web1", .version = 0 }, NULL },
	{ "good/ca.crt", { TLSIO_CLIENT, "good", "web1", .version = TLS1_2_VERSION }, NULL },
	{ "two.crt", { TLSIO_CLIENT, "evil", "web1", .version = 0 }, NULL },
	{ "self/named.crt", { TLSIO_CLIENT, "self", "named", .version = 0 }, NULL },
	{ "good/ca.crt", { .side = TLSIO_CLIENT }, "peer showed no certificate" },
	{ "good/ca.crt", { TLSIO_CLIENT, .version = TLS1_2_VERSION }, "peer showed no certificate" },
	{ "good/ca.crt", { TLSIO_CLIENT, "evil", "web1", .version = 0 }, NO_CA },
	{ "good/ca.crt", { TLSIO_CLIENT, "evil", "web1", .version = TLS1_2_VERSION }, NO_CA },
	{ "good/ca.crt", { TLSIO_CLIENT, "good", "old", .version = 0 }, "expired on 20" },
	{ "good/ca.crt", { TLSIO_CLIENT, "self", "named", .version = 0 }, BY_ITSELF },
	{ "self/server.crt", { TLSIO_CLIENT, "self", "server", .version = 0 },
	    "is not acceptable: unsuitable certificate purpose" },
};

START_TEST(client_comes)
{
	struct tls_context	*context = good_foreign(clients[_i].ca, "self/named.crt", "self/named.key", TLSIO_SERVER);

	meet(context, &clients[_i].peer, NULL, clients[_i].words);
	tls_context_free(context);
}
END_TEST

static const struct {
	const char	*ca, *host;
	struct lab_peer	 peer;
	const char	*words;
} servers[] = {
	{ "good/ca.crt", NULL, { TLSIO_SERVER, "good", "col", .version = 0 }, NULL },
	{ "good/ca.crt", "localhost", { TLSIO_SERVER, "good", "col", .version = 0 }, NULL },
	{ "good/ca.crt", "127.0.0.1", { TLSIO_SERVER, "good", "col", .version = TLS1_2_VERSION }, NULL },
	{ "two.crt", "localhost", { TLSIO_SERVER, "evil", "col", .version = 0 }, NULL },
	{ "self/named.crt", "localhost", { TLSIO_SERVER, "self", "named", .version = 0 }, NULL },
	{ "self/named.crt", "127.0.0.1", { TLSIO_SERVER, "self", "named", .version = TLS1_2_VERSION }, NULL },
	{ "good/col.crt", "localhost", { TLSIO_SERVER, "good", "col", .version = 0 }, NULL },
	{ "self/named.crt", "elsewhere", { TLSIO_SERVER, "self", "named", .version = 0 },
	    "is for host(s) localhost, 127.0.0.1, not for elsewhere" },
	{ "self/nameless.crt", "localhost", { TLSIO_SERVER, "self", "nameless", .version = 0 },
	    "names no host, and localhost is expected" },
	{ "good/ca.crt", "localhost", { TLSIO_SERVER, "evil", "col", .version = 0 }, NO_CA },
	{ "good/ca.crt", "localhost", { TLSIO_SERVER, "self", "named", .version = 0 }, BY_ITSELF },
	{ "self/named.crt", "localhost", { TLSIO_SERVER, "self", "server", .version = 0 }, BY_ITSELF },
	{ "good/ca.crt", NULL, { TLSIO_SERVER, "good", "old", .version = 0 }, "expired on 20" },
	{ "good/ca.crt", NULL, { TLSIO_SERVER, "good", "col", .version = TLS1_1_VERSION }, "peer speaks neither TLS 1.2 nor 1.3" },
	{ "good/ca.crt", NULL, { TLSIO_SERVER, .bytes = "SSH-2.0-OpenSSH_9.2\r\n" },
	    "peer does not speak TLS (got \"SSH-2.0-OpenSSH_\")" },
};

START_TEST(server_waits)
{
	struct tls_context	*context = good_foreign(servers[_i].ca, NULL, NULL, TLSIO_CLIENT);

	meet(context, &servers[_i].peer, servers[_i].host, servers[_i].words);
	tls_context_free(context);
}
END_TEST

/* Without a file of our own; the system's is where OpenSSL is told that it is. */
START_TEST(system_cas)
{
	static const struct lab_peer	 peer = { TLSIO_SERVER, "good", "col", .version = 0 };
	struct tls_context		*context;

	ck_assert_int_eq(setenv("SSL_CERT_DIR", "/nonexistent", 1), 0);
	ck_assert_int_eq(setenv("SSL_CERT_FILE", lab_path(_i == 0 ? "good" : "evil", "ca.crt"), 1), 0);
	context = good_foreign(NULL, NULL, NULL, TLSIO_CLIENT);
	meet(context, &peer, "localhost", _i == 0 ? NULL : NO_CA);
	tls_context_free(context);
}
END_TEST

/* Both ends ours. */

static const int	 versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };

static void
open_pair(struct lab_end *client, struct tls_context *ours, struct lab_end *server, struct tls_context *theirs, int version)
{
	int	 fds[2];

	SSL_CTX_set_max_proto_version(ours->ssl_ctx, version);
	lab_connect(&fds[0], &fds[1]);
	lab_end_open(client, base, ours, fds[0], TLSIO_CLIENT);
	lab_end_open(server, base, theirs, fds[1], TLSIO_SERVER);
}

/* A client that lacks the certificate that is demanded of it hears so, in as far as its version of TLS has words for it. */
START_TEST(client_learns_why)
{
	static const char *const words[] = {
	    "peer refused TLS: it knows plain text only, found no TLS parameters in common with ours, or demands a certificate",
	    "peer demands a certificate and got none" };
	struct tls_context	*theirs = good_foreign("good/ca.crt", "good/col.crt", "good/col.key", TLSIO_SERVER);
	struct tls_context	*ours = good_foreign("good/ca.crt", NULL, NULL, TLSIO_CLIENT);
	struct lab_end		 client = { 0 }, server = { 0 };

	open_pair(&client, ours, &server, theirs, versions[_i]);
	lab_run(base, &client.closed);
	lab_run(base, &server.closed);
	ck_assert_str_eq(server.why, "peer showed no certificate");
	ck_assert_str_eq(client.why, words[_i]);
	tlsio_free(client.t);
	tlsio_free(server.t);
	tls_context_free(ours);
	tls_context_free(theirs);
}
END_TEST

struct bulk {
	size_t		 sent, got;
	unsigned	 done;
};

static void
send_bulk(struct lab_end *end)
{
	static uint8_t	 bytes[100000];
	struct bulk	*bulk = end->more;
	size_t		 n, len;

	do {
		len = BULK - bulk->sent < sizeof(bytes) ? BULK - bulk->sent : sizeof(bytes);
		n = tlsio_send(end->t, bytes, len);
		bulk->sent += n;
	} while (n == len && bulk->sent < BULK);
}

static void
take_bulk(struct lab_end *end)
{
	struct bulk	*bulk = end->more;
	struct buf	*input = tlsio_input(end->t);

	bulk->got += input->len;
	bulk->done = bulk->got == BULK;
	buf_consume(input, input->len);
	tlsio_input_taken(end->t);
}

/* TLS 1.2 has no new keys to change to, and must not be harmed by their time having come. */
START_TEST(bulk_goes)
{
	struct tls_context	*theirs = good_foreign("good/ca.crt", "good/col.crt", "good/col.key", TLSIO_SERVER);
	struct tls_context	*ours = good_foreign("good/ca.crt", "good/web1.crt", "good/web1.key", TLSIO_CLIENT);
	struct bulk		 bulk = { 0 };
	struct lab_end		 client = { .on_opened = send_bulk, .on_writable = send_bulk, .more = &bulk };
	struct lab_end		 server = { .on_readable = take_bulk, .more = &bulk };

	ours->key_update_records = theirs->key_update_records = 64;
	open_pair(&client, ours, &server, theirs, versions[_i]);
	lab_run(base, &bulk.done);
	ck_assert_int_eq(SSL_version(server.t->ssl), versions[_i]);
	ck_assert_str_eq(tlsio_peer_common_name(server.t), "web1");
	ck_assert_str_eq(tls_context_common_name(ours), "web1");
	ck_assert_int_gt(tls_context_not_after(theirs), time(NULL));
	tlsio_shutdown(server.t, "told to stop", 15000);
	lab_run(base, &client.closed);
	ck_assert_str_eq(client.why, "peer closed the session");
	tlsio_free(client.t);
	tlsio_free(server.t);
	tls_context_free(ours);
	tls_context_free(theirs);
}
END_TEST

static const struct {
	const char	*ca, *cert, *key;
	enum tlsio_side	 side;
	const char	*words;
} bad_files[] = {
	{ NULL, NULL, NULL, TLSIO_SERVER, "a TLS server needs a certificate and its key" },
	{ NULL, "good/col.crt", NULL, TLSIO_SERVER, "good/col.crt: is of no use without its key" },
	{ NULL, NULL, "good/col.key", TLSIO_CLIENT, "good/col.key: is of no use without its certificate" },
	{ NULL, "good/col.crt", "good/web1.key", TLSIO_SERVER, "good/web1.key: is not the key of good/col.crt" },
	{ NULL, "good/old.crt", "good/old.key", TLSIO_SERVER, "good/old.crt: expired on 20" },
	{ NULL, "empty.crt", "good/col.key", TLSIO_SERVER, "empty.crt: holds no certificate in PEM form" },
	{ "empty.crt", NULL, NULL, TLSIO_CLIENT, "empty.crt: holds no certificate in PEM form" },
	{ "torn.crt", NULL, NULL, TLSIO_CLIENT, "torn.crt: holds a damaged certificate" },
	{ "torn.crt", "good/col.crt", "good/col.key", TLSIO_SERVER, "torn.crt: holds a damaged certificate" },
};

START_TEST(bad_file)
{
	char	 error[TLS_ERROR_SIZE] = "";

	ck_assert_ptr_null(foreign(bad_files[_i].ca, bad_files[_i].cert, bad_files[_i].key, bad_files[_i].side, error));
	has_words(error, bad_files[_i].words);
}
END_TEST

int
main(void)
{
	Suite	*suite = suite_create("tls_foreign");
	TCase	*tc = tcase_create("foreign");
	SRunner	*runner;
	int	 failed;

	tcase_set_timeout(tc, 30);
	tcase_add_unchecked_fixture(tc, lab_open_foreign, lab_close);
	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_loop_test(tc, client_comes, 0, sizeof(clients) / sizeof(clients[0]));
	tcase_add_loop_test(tc, server_waits, 0, sizeof(servers) / sizeof(servers[0]));
	tcase_add_loop_test(tc, system_cas, 0, 2);
	tcase_add_loop_test(tc, client_learns_why, 0, 2);
	tcase_add_loop_test(tc, bulk_goes, 0, 2);
	tcase_add_loop_test(tc, bad_file, 0, sizeof(bad_files) / sizeof(bad_files[0]));
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
