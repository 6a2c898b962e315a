/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/eventfd.h>
#include <sys/stat.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <check.h>
#include <jansson.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#include "common/clock.h"
#include "common/log.h"

#include "collector/enrol_command.h"
#include "collector/enrol_desk.h"
#include "collector/enrol_session.h"
#include "collector/note.h"
#include "collector/pki_sign.h"
#include "collector/session.h"

#include "tests/session_lab.h"

/* VMs that have a token, by script, against the desk and the workers as they are; who signs elsewhere is this program, "sign". */

#define LIFE_MS	3600000u
#define TICKET	42u

static struct agent agent, other;
static char program[512];

/* --- keys --- */

/* Of an exponent that has a signature's check take as long as the signature. */
static EVP_PKEY *
make_odd_rsa(void)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
	EVP_PKEY *key = NULL;
	BIGNUM *e = NULL;

	ck_assert_int_gt(BN_dec2bn(&e, "170141183460469231731687303715884105727"), 0);
	ck_assert_int_eq(EVP_PKEY_keygen_init(ctx), 1);
	ck_assert_int_eq(EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, 2048), 1);
	ck_assert_int_eq(EVP_PKEY_CTX_set1_rsa_keygen_pubexp(ctx, e), 1);
	ck_assert_int_eq(EVP_PKEY_keygen(ctx, &key), 1);
	EVP_PKEY_CTX_free(ctx);
	BN_free(e);
	return key;
}

static EVP_PKEY *
make_key(const char *kind)
{
	EVP_PKEY *key;

	if (strcmp(kind, "RSA e") == 0)
		key = make_odd_rsa();
	else if (strncmp(kind, "RSA", 3) == 0)
		key = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)atoi(kind + 3));
	else
		key = strcmp(kind, "ED25519") == 0 ? EVP_PKEY_Q_keygen(NULL, NULL, kind) : EVP_EC_gen(kind);
	ck_assert_ptr_nonnull(key);
	return key;
}

/* signer: NULL, or who signs it wrongly. */
static size_t
make_csr(EVP_PKEY *key, EVP_PKEY *signer, uint8_t der[MSG_CERTIFICATE_MAX])
{
	X509_REQ *req = X509_REQ_new();
	unsigned char *end = der;
	int len;

	if (signer == NULL)
		signer = key;
	ck_assert_int_eq(X509_REQ_set_pubkey(req, key), 1);
	ck_assert_int_gt(X509_REQ_sign(req, signer, EVP_PKEY_is_a(signer, "ED25519") ? NULL : EVP_sha256()), 0);
	ck_assert_int_le(i2d_X509_REQ(req, NULL), MSG_CERTIFICATE_MAX);
	len = i2d_X509_REQ(req, &end);
	X509_REQ_free(req);
	return (size_t)len;
}

static X509 *
certificate_at(const struct msg_certificate *msg, unsigned i)
{
	const unsigned char *p = msg->certificate[i].der;
	X509 *cert = d2i_X509(NULL, &p, (long)msg->certificate[i].len);

	ck_assert_ptr_nonnull(cert);
	ck_assert_ptr_eq(p, msg->certificate[i].der + msg->certificate[i].len);
	return cert;
}

static void
uri_of(X509 *cert, char uri[IDENTITY_URI_SIZE])
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);

	ck_assert_int_eq(sk_GENERAL_NAME_num(names), 1);
	snprintf(uri, IDENTITY_URI_SIZE, "%s",
	    (const char *)ASN1_STRING_get0_data(sk_GENERAL_NAME_value(names, 0)->d.uniformResourceIdentifier));
	GENERAL_NAMES_free(names);
}

/* Key, certificate and chain in one file, as an agent keeps them. */
static const char *
write_pem(EVP_PKEY *key, const struct msg_certificate *msg)
{
	const char *path = lab_path("good", "enrolled.pem");
	FILE *file = fopen(path, "w");

	ck_assert_ptr_nonnull(file);
	ck_assert_int_eq(fchmod(fileno(file), 0600), 0);
	ck_assert_int_eq(PEM_write_PKCS8PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), 1);
	for (unsigned i = 0; i < msg->count; i++) {
		X509 *cert = certificate_at(msg, i);

		ck_assert_int_eq(PEM_write_X509(file, cert), 1);
		X509_free(cert);
	}
	fclose(file);
	return path;
}

/* --- the desk --- */

static void
setup_certificates(void)
{
	struct pki_made made;
	char error[PKI_ERROR_SIZE];
	time_t now = time(NULL);

	log_init("check", LOG_LEVEL_ERROR);
	lab_open();
	ck_assert_msg(pki_intermediate(lab_path("good", ""), "issuer", PKI_P256, now - 300, now + 86400, &made, error) == 0, "%s", error);
}

static void
setup(void)
{
	session_lab_open();
}

static void
teardown(void)
{
	session_lab_close();
}

/* What the desk answers to what the control socket would ask. */
static json_t *
desk_answer(void)
{
	struct note *note = session_lab_note(NOTE_DESK);
	json_t *json = json_incref(note->json);

	ck_assert_uint_eq(note->token, TICKET);
	note_free(note);
	return json;
}

static void
create_token(uint64_t uses, char text[TOKEN_TEXT_SIZE])
{
	struct token token = { .tenant = "acme", .labels = "role=web", .uses = uses };
	json_t *answer;

	ck_assert_int_eq(desk_create_token(session_lab.workers.desk, TICKET, &token, 3600), 0);
	answer = desk_answer();
	ck_assert_msg(json_is_true(json_object_get(answer, "ok")), "%s", json_string_value(json_object_get(answer, "error")));
	snprintf(text, TOKEN_TEXT_SIZE, "%s", json_string_value(json_object_get(answer, "token")));
	json_decref(answer);
}

static void
set_desk(const char *cert, const char *key, const char *command)
{
	const struct desk_settings settings = { .ca = lab_path("good", "ca.crt"), .cert = cert, .key = key, .command = command,
	    .life_ms = LIFE_MS };
	char error[1024] = "";
	struct desk_signing *signing = desk_signing_new(&settings, error, sizeof(error));

	ck_assert_msg(signing != NULL, "%s", error);
	desk_set(session_lab.workers.desk, signing);
}

/* --- who enrols --- */

static void
open_stranger(struct agent *a)
{
	agent_open_context(a, lab_context_alpn("good", "good", "web1", FRAME_ALPN_ENROLL), 1);
	ck_assert_str_eq(tlsio_alpn(a->end.t), FRAME_ALPN_ENROLL);
}

static void
put_enroll(struct agent *a, const char *token, const char *name, const uint8_t *csr, size_t csr_len)
{
	struct msg_enroll msg = { .software = "lab", .csr = csr, .csr_len = csr_len };

	snprintf(msg.token, sizeof(msg.token), "%s", token);
	snprintf(msg.name, sizeof(msg.name), "%s", name);
	ck_assert_int_eq(msg_put_enroll(&a->out, &msg), 0);
}

static void
take_certificate(struct agent *a, struct msg_certificate *msg)
{
	agent_wait(a, FRAME_CERTIFICATE);
	ck_assert_int_eq(msg_get_certificate(&a->frame, msg), 0);
}

/* Pointers of the answer are good until a's next use. */
static void
enrol(struct agent *a, const char *token, EVP_PKEY *key, struct msg_certificate *msg)
{
	uint8_t csr[MSG_CERTIFICATE_MAX];
	size_t len = make_csr(key, NULL, csr);

	open_stranger(a);
	put_enroll(a, token, "web", csr, len);
	agent_send(a);
	take_certificate(a, msg);
	agent_wait_closed(a);
	agent_close(a);
}

static void
expect_reason(const struct msg_certificate *msg, const char *words)
{
	ck_assert_msg(strstr(msg->reason, words) != NULL, "\"%s\" has no \"%s\"", msg->reason, words);
	ck_assert_uint_eq(msg->count, 0);
}

/* The token is not refused: it is put off. */
static void
expect_later(const char *token, EVP_PKEY *key, const char *words)
{
	uint8_t csr[MSG_CERTIFICATE_MAX];
	size_t len = make_csr(key, NULL, csr);

	open_stranger(&agent);
	put_enroll(&agent, token, "web", csr, len);
	agent_send(&agent);
	agent_wait_error(&agent, MSG_ERR_LIMIT, words);
	agent_close(&agent);
}

/* A session with what enrolment gave. */
static void
open_enrolled(struct agent *a, EVP_PKEY *key, const struct msg_certificate *msg)
{
	const char *pem = write_pem(key, msg);
	char error[TLS_ERROR_SIZE] = "";
	struct tls_context *context = tls_context_load(lab_path("good", "ca.crt"), pem, pem, LAB_ALPN, error);

	ck_assert_msg(context != NULL, "%s", error);
	agent_open_context(a, context, 1);
	agent_hello(a, 7);
	agent_put_interface(a, 7, 0);
	agent_put_block(a, 7, 1);
	agent_send(a);
	agent_wait_ack(a, 1);
}

START_TEST(a_token_becomes_a_vm)
{
	char token[TOKEN_TEXT_SIZE], uri[IDENTITY_URI_SIZE], name[64];
	EVP_PKEY *key = make_key("P-256");
	struct msg_certificate msg;
	X509 *cert;

	create_token(1, token);
	enrol(&agent, token, key, &msg);
	ck_assert_str_eq(msg.reason, "");
	ck_assert_uint_eq(msg.count, 1);
	cert = certificate_at(&msg, 0);
	uri_of(cert, uri);
	ck_assert_int_eq(strncmp(uri, "vmtap://acme/", 13), 0);
	X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, name, sizeof(name));
	ck_assert_str_eq(name, "web");
	ck_assert_int_eq(EVP_PKEY_eq(X509_get0_pubkey(cert), key), 1);
	ck_assert_int_eq(session_lab_number("SELECT count(*) FROM vm WHERE name = 'web' AND labels = 'role=web' AND since_ns IS NULL"
	    " AND not_after_ns > 1e18"), 1);
	open_enrolled(&agent, key, &msg);
	ck_assert_int_eq(session_lab_number("SELECT count(*) FROM vm WHERE name = 'web' AND labels = 'role=web' AND connected"), 1);
	agent_close(&agent);
	X509_free(cert);
	EVP_PKEY_free(key);
}
END_TEST

START_TEST(a_lost_answer_burns_nothing)
{
	struct msg_certificate msg, again;
	EVP_PKEY *key = make_key("ED25519"), *another = make_key("P-384");
	char token[TOKEN_TEXT_SIZE];

	create_token(1, token);
	enrol(&agent, token, key, &msg);
	enrol(&other, token, key, &again);
	ck_assert_str_eq(again.reason, "");
	ck_assert_uint_eq(again.certificate[0].len, msg.certificate[0].len);
	ck_assert_mem_eq(again.certificate[0].der, msg.certificate[0].der, msg.certificate[0].len);
	enrol(&other, token, another, &again);
	expect_reason(&again, "used by another key");
	ck_assert_int_eq(session_lab_number("SELECT count(*) FROM vm"), 1);
	EVP_PKEY_free(key);
	EVP_PKEY_free(another);
}
END_TEST

START_TEST(as_many_vms_as_uses_at_a_time)
{
	static struct agent agents[6];
	EVP_PKEY *keys[6];
	uint8_t csr[MSG_CERTIFICATE_MAX];
	struct msg_certificate msg;
	char token[TOKEN_TEXT_SIZE];
	unsigned good = 0;

	create_token(4, token);
	for (unsigned i = 0; i < 6; i++) {
		keys[i] = make_key("P-256");
		open_stranger(&agents[i]);
		put_enroll(&agents[i], token, "web", csr, make_csr(keys[i], NULL, csr));
	}
	for (unsigned i = 0; i < 6; i++)
		agent_send(&agents[i]);
	for (unsigned i = 0; i < 6; i++) {
		take_certificate(&agents[i], &msg);
		if (msg.count > 0)
			good++;
		else
			expect_reason(&msg, "4 other keys");
		agent_close(&agents[i]);
		EVP_PKEY_free(keys[i]);
	}
	ck_assert_uint_eq(good, 4);
	ck_assert_int_eq(session_lab_number("SELECT count(DISTINCT name) FROM vm"), 4);
	ck_assert_int_eq(session_lab_number("SELECT count(*) FROM vm"), 4);
}
END_TEST

/* What it says differs in nothing from what any other stranger hears. */
START_TEST(a_stranger_is_told_nothing)
{
	static const char *const tokens[] = { "vmtap1-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "hello", "" };
	EVP_PKEY *key = make_key("P-256");
	uint8_t csr[MSG_CERTIFICATE_MAX];
	size_t len = make_csr(key, NULL, csr);

	for (unsigned i = 0; i < 40; i++) {
		open_stranger(&agent);
		put_enroll(&agent, tokens[i % 3], "web", csr, i % 4 == 3 ? 1 : len);
		agent_send(&agent);
		agent_wait_error(&agent, MSG_ERR_TOKEN, "enrolment is refused");
		agent_close(&agent);
	}
	ck_assert_int_eq(session_lab_number("SELECT count(*) FROM vm"), 0);
	EVP_PKEY_free(key);
}
END_TEST

START_TEST(what_is_no_request_uses_nothing)
{
	EVP_PKEY *key = make_key("P-256"), *thief = make_key("P-256"), *weak = make_key("RSA1024");
	uint8_t csr[MSG_CERTIFICATE_MAX];
	struct msg_certificate msg;
	char token[TOKEN_TEXT_SIZE];
	size_t len;

	create_token(1, token);
	for (unsigned i = 0; i < 3; i++) {
		len = i == 0 ? make_csr(key, thief, csr) : i == 1 ? make_csr(key, NULL, csr) - 1 : make_csr(weak, NULL, csr);
		open_stranger(&agent);
		put_enroll(&agent, token, "web", csr, len);
		agent_send(&agent);
		take_certificate(&agent, &msg);
		expect_reason(&msg, i == 0 ? "not signed by its own key" : i == 1 ? "malformed" : "another kind");
		agent_close(&agent);
	}
	enrol(&agent, token, key, &msg);
	ck_assert_uint_eq(msg.count, 1);
	EVP_PKEY_free(key);
	EVP_PKEY_free(thief);
	EVP_PKEY_free(weak);
}
END_TEST

START_TEST(nothing_else_is_said_there)
{
	EVP_PKEY *key = make_key("P-256");
	uint8_t csr[MSG_CERTIFICATE_MAX];
	char token[TOKEN_TEXT_SIZE];

	create_token(1, token);
	for (unsigned i = 0; i < 4; i++) {
		open_stranger(&agent);
		if (i == 0)
			agent_put_hello(&agent, 7, 1);
		else if (i == 1)
			ck_assert_int_eq(buf_put(&agent.out, "GET / HTTP/1.0\r\n\r\n", 18), 0);
		else
			put_enroll(&agent, token, "web", csr, make_csr(key, NULL, csr));
		if (i == 2)
			ck_assert_int_eq(buf_put_u8(&agent.out, 0), 0);	/* behind it */
		else if (i == 3)
			agent.out.data[7]++;				/* a length with a byte that does not come: then the end */
		agent_send(&agent);
		if (i < 3)
			agent_wait_error(&agent, MSG_ERR_PROTOCOL, "");
		agent_close(&agent);
	}
	ck_assert_int_eq(session_lab_number("SELECT count(*) FROM vm"), 0);
	EVP_PKEY_free(key);
}
END_TEST

/* Of one worker, whose sessions have places of their own. */
START_TEST(the_silent_make_way)
{
	static struct agent silent[ENROLS_MAX];
	EVP_PKEY *key = make_key("P-256");
	struct msg_certificate msg;
	char token[TOKEN_TEXT_SIZE];

	create_token(1, token);
	for (unsigned i = 0; i < ENROLS_MAX; i++) {
		session_lab.turn = 0;
		open_stranger(&silent[i]);
	}
	session_lab.turn = 0;
	enrol(&agent, token, key, &msg);
	ck_assert_uint_eq(msg.count, 1);
	agent_wait_closed(&silent[0]);
	ck_assert_uint_eq(silent[1].end.closed, 0);
	for (unsigned i = 0; i < ENROLS_MAX; i++)
		agent_close(&silent[i]);
	EVP_PKEY_free(key);
}
END_TEST

/* Without a certificate there is no session. */
START_TEST(a_session_needs_a_certificate)
{
	const struct lab_peer peer = { .side = TLSIO_CLIENT, .alpn = "\7vmtap/1" };
	struct note *note = note_new(NOTE_CONNECTION);
	int client;

	lab_connect(&client, &note->fd);
	lab_peer_start(&peer, client);
	mailbox_post(session_lab.workers.worker[0].inbox, note);
	lab_peer_join();
	ck_assert_int_eq(session_lab_number("SELECT count(*) FROM vm"), 0);
}
END_TEST

/* That is the collector's trouble, not the token's. */
START_TEST(who_does_not_sign_says_so)
{
	EVP_PKEY *key = make_key("P-256");
	struct msg_certificate msg;
	char token[TOKEN_TEXT_SIZE];

	create_token(1, token);
	set_desk(NULL, NULL, NULL);
	expect_later(token, key, "neither --enroll-key nor --enroll-command");
	set_desk(NULL, NULL, "echo no such card >&2; echo more >&2; exit 3");
	expect_later(token, key, "status 3: no such card");
	set_desk(NULL, NULL, "cat");
	expect_later(token, key, "no certificate in PEM form");
	set_desk(NULL, lab_path("good", "ca.key"), NULL);
	enrol(&agent, token, key, &msg);
	ck_assert_uint_eq(msg.count, 1);
	EVP_PKEY_free(key);
}
END_TEST

#define FLOOD	12u

static void
ask_for(const char *tenant, uint64_t ticket, const uint8_t *csr, size_t csr_len)
{
	const struct msg_renew wanted = { .csr = csr, .csr_len = csr_len };
	struct identity identity = { .role = ROLE_AGENT, .uuid = "11111111-2222-3333-4444-555555555555", .name = "web1" };

	snprintf(identity.tenant, sizeof(identity.tenant), "%s", tenant);
	ck_assert_int_eq(desk_renew(session_lab.workers.desk, session_lab.workers.main, ticket, &identity, &wanted), DESK_QUEUED);
}

/* All signers are one tenant's, and much of it waits: when two of them are free one does what another tenant has asked last. */
START_TEST(a_flood_is_not_before_another_tenant)
{
	EVP_PKEY *key = make_key("P-256");
	uint8_t csr[MSG_CERTIFICATE_MAX];
	size_t len = make_csr(key, NULL, csr);
	char command[512], gate[256];
	uint64_t answered = 0;
	struct note *note;
	int fd;

	snprintf(gate, sizeof(gate), "%s/gate", session_lab.path);
	snprintf(command, sizeof(command), "[ $VMTAP_TENANT = blue ] || read go <%s; exit 1", gate);
	ck_assert_int_eq(mkfifo(gate, 0600), 0);
	ck_assert_int_ne(fd = open(gate, O_RDWR | O_CLOEXEC), -1);
	set_desk(NULL, NULL, command);
	for (unsigned i = 0; i < FLOOD; i++)
		ask_for("acme", TICKET, csr, len);
	ask_for("blue", TICKET + 1, csr, len);
	ck_assert_int_eq((int)write(fd, "\n\n", 2), 2);
	for (; answered != TICKET + 1; note_free(note)) {
		note = session_lab_note(NOTE_CERTIFICATE);
		answered = note->token;
	}
	close(fd);
	EVP_PKEY_free(key);
}
END_TEST

START_TEST(an_issuer_below_the_ca)
{
	EVP_PKEY *key = make_key("P-256");
	struct msg_certificate msg;
	char token[TOKEN_TEXT_SIZE];

	create_token(1, token);
	set_desk(lab_path("good", "issuer.crt"), lab_path("good", "issuer.key"), NULL);
	enrol(&agent, token, key, &msg);
	ck_assert_uint_eq(msg.count, 2);
	open_enrolled(&agent, key, &msg);
	agent_close(&agent);
	EVP_PKEY_free(key);
}
END_TEST

START_TEST(signed_elsewhere)
{
	EVP_PKEY *key = make_key("P-256");
	struct msg_certificate msg;
	char token[TOKEN_TEXT_SIZE], command[1024];

	snprintf(command, sizeof(command), "%s sign %s", program, lab_path("good", ""));
	create_token(1, token);
	set_desk(NULL, NULL, command);
	enrol(&agent, token, key, &msg);
	ck_assert_str_eq(msg.reason, "");
	open_enrolled(&agent, key, &msg);
	agent_close(&agent);
	EVP_PKEY_free(key);
}
END_TEST

START_TEST(bad_keys_are_not_taken)
{
	struct desk_settings settings = { .ca = lab_path("good", "ca.crt"), .key = lab_path("good", "web1.key"), .life_ms = LIFE_MS };
	char error[1024] = "";

	ck_assert_ptr_null(desk_signing_new(&settings, error, sizeof(error)));
	ck_assert_ptr_nonnull(strstr(error, "is not the key of"));
	settings.key = lab_path("good", "no.key");
	ck_assert_ptr_null(desk_signing_new(&settings, error, sizeof(error)));
	ck_assert_ptr_nonnull(strstr(error, "No such file"));
	settings.cert = lab_path("good", "web1.crt");
	settings.key = lab_path("good", "web1.key");
	ck_assert_ptr_null(desk_signing_new(&settings, error, sizeof(error)));
	ck_assert_ptr_nonnull(strstr(error, "may not sign"));
	settings.cert = lab_path("evil", "ca.crt");
	settings.key = lab_path("evil", "ca.key");
	ck_assert_ptr_null(desk_signing_new(&settings, error, sizeof(error)));
	ck_assert_ptr_nonnull(strstr(error, "does not lead to"));
}
END_TEST

/* --- renewed --- */

static void
renew(struct agent *a, EVP_PKEY *key, struct msg_certificate *msg)
{
	uint8_t csr[MSG_CERTIFICATE_MAX];
	const struct msg_renew wanted = { .csr = csr, .csr_len = make_csr(key, NULL, csr) };

	ck_assert_int_eq(msg_put_renew(&a->out, &wanted), 0);
	agent_send(a);
	take_certificate(a, msg);
}

START_TEST(a_session_renews)
{
	EVP_PKEY *key = make_key("P-256");
	struct msg_certificate msg;
	char uri[IDENTITY_URI_SIZE];
	X509 *cert;

	agent_open(&agent, "web1", 1);
	agent_hello(&agent, 7);
	renew(&agent, key, &msg);
	ck_assert_str_eq(msg.reason, "");
	cert = certificate_at(&msg, 0);
	uri_of(cert, uri);
	ck_assert_str_eq(uri, tls_context_uri(agent.tls));
	ck_assert_int_eq(EVP_PKEY_eq(X509_get0_pubkey(cert), key), 1);
	X509_free(cert);
	open_enrolled(&other, key, &msg);		/* the same process, beside its session */
	agent_wait_error(&agent, MSG_ERR_REPLACED, "");
	agent_close(&agent);
	agent_close(&other);
	EVP_PKEY_free(key);
}
END_TEST

START_TEST(renewals_are_not_endless)
{
	EVP_PKEY *key = make_key("P-256");
	struct msg_certificate msg;
	unsigned good = 0;

	agent_open(&agent, "web1", 1);
	agent_hello(&agent, 7);
	for (unsigned i = 0; i < 12; i++) {
		renew(&agent, key, &msg);
		good += msg.count;
		if (msg.count == 0)
			expect_reason(&msg, "too often");
	}
	ck_assert_uint_ge(good, 8);
	ck_assert_uint_lt(good, 12);
	agent_put_interface(&agent, 7, 0);		/* and the session goes on */
	agent_put_block(&agent, 7, 1);
	agent_send(&agent);
	agent_wait_ack(&agent, 1);
	agent_close(&agent);
	EVP_PKEY_free(key);
}
END_TEST

/* --- revoked --- */

static void
revoke_vm(const char *what, const char *tenant, unsigned closed)
{
	unsigned workers = 0, answers = 0;
	uint64_t ended = 0;
	struct note *note;

	ck_assert_int_eq(desk_revoke(session_lab.workers.desk, TICKET, what, tenant), 0);
	while (workers < session_lab.workers.count || answers == 0) {
		while ((note = mailbox_take(session_lab.workers.main)) != NULL) {
			if (note->kind == NOTE_REVOKED) {
				workers++;
				ended += note->version;
			} else if (note->kind == NOTE_DESK) {
				answers++;
				ck_assert(json_is_true(json_object_get(note->json, "ok")));
				ck_assert_str_ne(note->uuid, "");
			}
			note_free(note);
		}
		if (workers < session_lab.workers.count || answers == 0)
			session_lab_run();
	}
	ck_assert_uint_eq(ended, closed);
}

/* The workers are not told. */
static void
revoke_fails(const char *what, const char *tenant, const char *words)
{
	json_t *answer;

	ck_assert_int_eq(desk_revoke(session_lab.workers.desk, TICKET, what, tenant), 0);
	answer = desk_answer();
	ck_assert(json_is_false(json_object_get(answer, "ok")));
	ck_assert_ptr_nonnull(strstr(json_string_value(json_object_get(answer, "error")), words));
	json_decref(answer);
}

START_TEST(a_revoked_vm_is_out_at_once)
{
	static struct agent third;

	agent_open(&agent, "web1", 1);
	agent_hello(&agent, 7);
	agent_put_interface(&agent, 7, 0);
	agent_put_block(&agent, 7, 1);
	agent_send(&agent);
	agent_wait_ack(&agent, 1);			/* so that the catalog has it */
	agent_open(&other, "web1", 2);			/* contends */
	agent_put_hello(&other, 9, 1);
	agent_send(&other);
	agent_wait(&agent, FRAME_PING);
	revoke_fails("web", "blue", "no VM is called");
	revoke_fails("nobody", NULL, "no VM is called");
	revoke_fails("web", NULL, "to revoke web1 (");		/* not for its begin */
	revoke_vm("web1", "acme", 2);
	agent_wait_error(&agent, MSG_ERR_REVOKED, "revoked");
	agent_wait_error(&other, MSG_ERR_REVOKED, "revoked");
	agent_close(&agent);
	agent_close(&other);
	agent_open(&agent, "web1", 3);
	agent_wait_error(&agent, MSG_ERR_REVOKED, "revoked");
	agent_close(&agent);
	revoke_vm("web1", NULL, 0);			/* again: the same */
	agent_open(&third, "web1", 4);
	agent_wait_error(&third, MSG_ERR_REVOKED, "");
	agent_close(&third);
}
END_TEST

START_TEST(an_enrolled_vm_that_never_came)
{
	EVP_PKEY *key = make_key("P-256");
	struct msg_certificate msg, again;
	char token[TOKEN_TEXT_SIZE], error[TLS_ERROR_SIZE];
	const char *pem;

	create_token(1, token);
	enrol(&agent, token, key, &msg);
	pem = write_pem(key, &msg);
	revoke_vm("web", NULL, 0);
	agent_open_context(&other, tls_context_load(lab_path("good", "ca.crt"), pem, pem, LAB_ALPN, error), 1);
	agent_wait_error(&other, MSG_ERR_REVOKED, "");
	agent_close(&other);
	enrol(&agent, token, key, &again);
	expect_reason(&again, "revoked");
	revoke_fails("99999999-2222-3333-4444-555555555555", "acme", "no VM");
	revoke_vm("99999999-2222-3333-4444-555555555555", NULL, 0);	/* of a certificate made elsewhere */
	EVP_PKEY_free(key);
}
END_TEST

/* --- requests and chains --- */

static struct pki_request
request_of(const char *name)
{
	return (struct pki_request){ .identity = { .role = ROLE_AGENT, .tenant = "acme", .uuid = "11111111-2222-3333-4444-555555555555",
	    .name = { name[0], name[1] } }, .not_before = time(NULL) - 300, .not_after = time(NULL) + 3600 };
}

START_TEST(kinds_of_keys)
{
	static const struct { const char *kind; bool good; } kinds[] = { { "P-256", true }, { "P-384", true }, { "ED25519", true },
	    { "RSA2048", true }, { "P-521", false }, { "RSA1024", false }, { "RSA e", false }, { "secp256k1", false } };
	uint8_t der[MSG_CERTIFICATE_MAX];
	char error[PKI_ERROR_SIZE] = "";

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		EVP_PKEY *key = make_key(kinds[i].kind);
		struct pki_csr *csr = pki_csr_new(der, make_csr(key, NULL, der), error);

		ck_assert_msg((csr != NULL) == kinds[i].good, "%s: %s", kinds[i].kind, error);
		pki_csr_free(csr);
		EVP_PKEY_free(key);
	}
}
END_TEST

/* As PEM, what a command would answer. */
static size_t
chain_pem(const struct pki_chain *chain, char *pem, size_t pem_size)
{
	FILE *file = fmemopen(pem, pem_size, "w");
	size_t len;

	for (unsigned i = 0; i < chain->count; i++) {
		const unsigned char *p = chain->der + chain->certificate[i].at;
		X509 *cert = d2i_X509(NULL, &p, (long)chain->certificate[i].len);

		ck_assert_int_eq(PEM_write_X509(file, cert), 1);
		X509_free(cert);
	}
	len = (size_t)ftell(file);
	fclose(file);
	return len;
}

START_TEST(what_comes_back_must_be_what_was_asked)
{
	char error[PKI_ERROR_SIZE] = "", pem[16384], ca[64], cert[64], key_path[64];
	struct pki_request wanted = request_of("ab"), wrong = request_of("ac"), other_tenant = request_of("ab");
	struct pki_issuer *issuer, *elsewhere;
	EVP_PKEY *key = make_key("P-256"), *thief = make_key("P-256");
	struct pki_csr *csr, *stolen;
	uint8_t der[MSG_CERTIFICATE_MAX];
	struct pki_chain chain, taken;
	size_t len;

	snprintf(ca, sizeof(ca), "%s", lab_path("good", "ca.crt"));
	snprintf(cert, sizeof(cert), "%s", lab_path("good", "issuer.crt"));
	snprintf(key_path, sizeof(key_path), "%s", lab_path("good", "issuer.key"));
	snprintf(other_tenant.identity.tenant, sizeof(other_tenant.identity.tenant), "blue");
	ck_assert_ptr_nonnull(csr = pki_csr_new(der, make_csr(key, NULL, der), error));
	ck_assert_ptr_nonnull(stolen = pki_csr_new(der, make_csr(thief, NULL, der), error));
	ck_assert_msg((issuer = pki_issuer_load(ca, cert, key_path, error)) != NULL, "%s", error);
	ck_assert_msg((elsewhere = pki_issuer_load(ca, NULL, NULL, error)) != NULL, "%s", error);
	ck_assert_msg(pki_sign(issuer, &wanted, csr, &chain, error) == 0, "%s", error);
	ck_assert_uint_eq(chain.count, 2);
	ck_assert_int_eq(pki_chain_parse(&taken, chain.der, chain.len, error), 0);
	ck_assert_uint_eq(taken.count, 2);
	ck_assert_int_eq(taken.not_after, chain.not_after);
	pki_chain_clear(&taken);
	len = chain_pem(&chain, pem, sizeof(pem));
	ck_assert_msg(pki_take_signed(elsewhere, &wanted, csr, pem, len, &taken, error) == 0, "%s", error);
	ck_assert_uint_eq(taken.len, chain.len);
	ck_assert_mem_eq(taken.der, chain.der, chain.len);
	pki_chain_clear(&taken);
	ck_assert_int_eq(pki_take_signed(elsewhere, &wanted, stolen, pem, len, &taken, error), -1);
	ck_assert_ptr_nonnull(strstr(error, "not for the key"));
	ck_assert_int_eq(pki_take_signed(elsewhere, &wrong, csr, pem, len, &taken, error), -1);
	ck_assert_ptr_nonnull(strstr(error, "common name"));
	ck_assert_int_eq(pki_take_signed(elsewhere, &other_tenant, csr, pem, len, &taken, error), -1);
	ck_assert_ptr_nonnull(strstr(error, "vmtap://blue/"));
	chain.count = 1;	/* without the issuer it leads nowhere */
	len = chain_pem(&chain, pem, sizeof(pem));
	ck_assert_int_eq(pki_take_signed(elsewhere, &wanted, csr, pem, len, &taken, error), -1);
	ck_assert_ptr_nonnull(strstr(error, "does not lead to the CA"));
	pki_chain_clear(&chain);
	pki_csr_free(csr);
	pki_csr_free(stolen);
	pki_issuer_free(issuer);
	pki_issuer_free(elsewhere);
	EVP_PKEY_free(key);
	EVP_PKEY_free(thief);
}
END_TEST

START_TEST(the_fingerprint)
{
	char text[PKI_FINGERPRINT_SIZE], error[PKI_ERROR_SIZE];

	ck_assert_int_eq(pki_fingerprint(lab_path("good", "ca.crt"), text, error), 0);
	ck_assert_uint_eq(strlen(text), 7 + 64);
	ck_assert_int_eq(strncmp(text, "SHA256:", 7), 0);
	ck_assert_uint_eq(strspn(text + 7, "0123456789abcdef"), 64);
	ck_assert_int_eq(pki_fingerprint(lab_path("good", "ca.key"), text, error), -1);
}
END_TEST

/* --- commands --- */

static int
command(const char *text, unsigned limit_ms, int stop_fd, struct buf *out, char *error, size_t error_size)
{
	static const char *const environment[] = { "VMTAP_NAME=web", NULL };
	const struct enrol_command run = { .command = text, .environment = environment, .input = "request\n", .limit_ms = limit_ms,
	    .stop_fd = stop_fd };

	return enrol_command_run(&run, out, error, error_size);
}

START_TEST(a_command_is_fed_and_heard)
{
	char error[512] = "";
	struct buf out;

	buf_init(&out, 65536);
	ck_assert_msg(command("cat; echo $VMTAP_NAME", 20000, -1, &out, error, sizeof(error)) == 0, "%s", error);
	ck_assert_uint_eq(out.len, 12);
	ck_assert_mem_eq(out.data, "request\nweb\n", 12);
	buf_clear(&out);
	ck_assert_int_eq(command("head -c 40000 /dev/zero", 20000, -1, &out, error, sizeof(error)), 0);
	ck_assert_uint_eq(out.len, 40000);
	buf_clear(&out);
	ck_assert_int_eq(command("true", 20000, -1, &out, error, sizeof(error)), 0);	/* and reads nothing */
	ck_assert_uint_eq(out.len, 0);
	buf_clear(&out);
}
END_TEST

START_TEST(a_command_that_fails)
{
	int stop_fd = eventfd(0, EFD_CLOEXEC);
	char error[512] = "";
	struct buf out;

	buf_init(&out, 65536);
	ck_assert_int_eq(command("printf 'a\\033[31mb\\nc\\n' >&2; exit 7", 20000, stop_fd, &out, error, sizeof(error)), -1);
	ck_assert_str_eq(error, "the command ended with status 7: a\\x1b[31mb");
	ck_assert_int_eq(command("kill -9 $$", 20000, stop_fd, &out, error, sizeof(error)), -1);
	ck_assert_ptr_nonnull(strstr(error, "killed by signal 9"));
	ck_assert_int_eq(command("cat /dev/zero", 20000, stop_fd, &out, error, sizeof(error)), -1);
	ck_assert_ptr_nonnull(strstr(error, "says too much"));
	buf_clear(&out);
	ck_assert_int_eq(command("/no/such", 20000, stop_fd, &out, error, sizeof(error)), -1);
	ck_assert_ptr_nonnull(strstr(error, "status 127"));
	close(stop_fd);
	buf_clear(&out);
}
END_TEST

/* With all that it has started, and whatever it holds open. */
START_TEST(a_command_that_hangs_is_killed)
{
	int stop_fd = eventfd(0, EFD_CLOEXEC);
	uint64_t start_ns = clock_mono_ns();
	char error[512] = "";
	struct buf out;

	buf_init(&out, 65536);
	ck_assert_int_eq(command("trap '' TERM; sleep 100 & sleep 100", 300, stop_fd, &out, error, sizeof(error)), -1);
	ck_assert_ptr_nonnull(strstr(error, "took too long"));
	ck_assert_int_eq(command("sleep 100 & exit 0", 20000, stop_fd, &out, error, sizeof(error)), 0);	/* it has ended */
	ck_assert_int_eq(eventfd_write(stop_fd, 1), 0);
	ck_assert_int_eq(command("sleep 100", 20000, stop_fd, &out, error, sizeof(error)), -1);
	ck_assert_ptr_nonnull(strstr(error, "the collector ends"));
	ck_assert_uint_lt(clock_mono_ns() - start_ns, UINT64_C(15000000000));
	close(stop_fd);
	buf_clear(&out);
}
END_TEST

/* --- */

static void
add_tests(TCase *tc)
{
	tcase_add_test(tc, a_token_becomes_a_vm);
	tcase_add_test(tc, a_lost_answer_burns_nothing);
	tcase_add_test(tc, as_many_vms_as_uses_at_a_time);
	tcase_add_test(tc, a_stranger_is_told_nothing);
	tcase_add_test(tc, what_is_no_request_uses_nothing);
	tcase_add_test(tc, nothing_else_is_said_there);
	tcase_add_test(tc, the_silent_make_way);
	tcase_add_test(tc, a_session_needs_a_certificate);
	tcase_add_test(tc, who_does_not_sign_says_so);
	tcase_add_test(tc, a_flood_is_not_before_another_tenant);
	tcase_add_test(tc, an_issuer_below_the_ca);
	tcase_add_test(tc, signed_elsewhere);
	tcase_add_test(tc, bad_keys_are_not_taken);
	tcase_add_test(tc, a_session_renews);
	tcase_add_test(tc, renewals_are_not_endless);
	tcase_add_test(tc, a_revoked_vm_is_out_at_once);
	tcase_add_test(tc, an_enrolled_vm_that_never_came);
	tcase_add_test(tc, kinds_of_keys);
	tcase_add_test(tc, what_comes_back_must_be_what_was_asked);
	tcase_add_test(tc, the_fingerprint);
	tcase_add_test(tc, a_command_is_fed_and_heard);
	tcase_add_test(tc, a_command_that_fails);
	tcase_add_test(tc, a_command_that_hangs_is_killed);
}

static Suite *
make_suite(void)
{
	Suite *s = suite_create("enrol");
	TCase *tc = tcase_create("desk");

	tcase_add_unchecked_fixture(tc, setup_certificates, lab_close);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	add_tests(tc);
	suite_add_tcase(s, tc);
	return s;
}

/* What an --enroll-command does, with the key in FOLDER. */
static int
sign_elsewhere(const char *folder)
{
	char cert[512], key[512], error[PKI_ERROR_SIZE] = "";
	struct pki_request wanted = { .identity = { .role = ROLE_AGENT }, .not_before = time(NULL) - 300,
	    .not_after = atoll(getenv("VMTAP_NOT_AFTER")) };
	X509_REQ *req = PEM_read_X509_REQ(stdin, NULL, NULL, NULL);
	uint8_t der[MSG_CERTIFICATE_MAX];
	unsigned char *end = der;
	struct pki_issuer *issuer;
	struct pki_chain chain;
	struct pki_csr *csr;
	const unsigned char *p;
	X509 *made;

	snprintf(cert, sizeof(cert), "%s/ca.crt", folder);
	snprintf(key, sizeof(key), "%s/ca.key", folder);
	if (identity_parse(getenv("VMTAP_URI"), getenv("VMTAP_NAME"), &wanted.identity) == -1 || req == NULL ||
	    strcmp(getenv("VMTAP_TENANT"), wanted.identity.tenant) != 0 || strcmp(getenv("VMTAP_UUID"), wanted.identity.uuid) != 0 ||
	    (csr = pki_csr_new(der, (size_t)i2d_X509_REQ(req, &end), error)) == NULL ||
	    (issuer = pki_issuer_load(cert, NULL, key, error)) == NULL || pki_sign(issuer, &wanted, csr, &chain, error) == -1) {
		fprintf(stderr, "%s\n", error);
		return 1;
	}
	p = chain.der;
	made = d2i_X509(NULL, &p, (long)chain.len);
	PEM_write_X509(stdout, made);
	X509_free(made);
	X509_REQ_free(req);
	pki_chain_clear(&chain);
	pki_csr_free(csr);
	pki_issuer_free(issuer);
	return 0;
}

int
main(int argc, char **argv)
{
	ssize_t len = readlink("/proc/self/exe", program, sizeof(program) - 1);
	SRunner *runner;
	int failed;

	if (len == -1)
		return EXIT_FAILURE;
	program[len] = '\0';
	if (argc == 3 && strcmp(argv[1], "sign") == 0)
		return sign_elsewhere(argv[2]);
	signal(SIGPIPE, SIG_IGN);	/* as the collector does */
	runner = srunner_create(make_suite());
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
