/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <check.h>
#include <event2/event.h>
#include <event2/listener.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/log.h"
#include "proto/frame.h"
#include "collector/pki_sign.h"

#include "agent/link.h"
#include "agent/link_dial.h"
#include "agent/link_enroll.h"
#include "agent/link_renew.h"
#include "agent/link_session.h"
#include "agent/supervisor_identity.h"

#include "tests/link_lab.h"
#include "tests/tls_lab.h"

/* Enrolment over real TLS: the test is the supervisor, with a real state folder, the capture role, and the collector. */

#define SPOOL_SIZE	(64 * 1024)
#define TOKEN		"vmtap1-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define UUID		"11111111-2222-4333-8444-555555555555"

/* What the collector does with ENROLL. */
enum answer { GRANT, LOSE, LOSE_LATE, MALFORMED, TRAILING, OTHER_KEY, OTHER_CA, OPERATOR, REASON, TOKEN_ERROR, LIMIT_ERROR, NOISE };

static struct link_lab lab;
static struct link *link_role;
static char folder[] = "/tmp/check_enroll.XXXXXX";
static char token_path[64];
static int log_fd;

/* --- the collector --- */

#define CALLS_MAX	16
static struct {
	struct evconnlistener *listener;
	struct tls_context *tls;
	struct tlsio	*io[CALLS_MAX];		/* by call */
	enum answer	 answer;
	const char	*uuid;			/* of the next certificate */
	time_t		 life;
	unsigned	 calls, asked, renewals, sessions, errors;
	uint16_t	 port;
	struct msg_enroll enroll;	/* the last one */
	uint8_t		 key[4][PKI_KEY_HASH_SIZE];	/* of each that asked */
} collector;

static struct pki_csr *
other_csr(void)
{
	char error[PKI_ERROR_SIZE];
	struct tls_key *key = tls_key_new();
	struct pki_csr *csr;
	struct buf der;

	buf_init(&der, MSG_CERTIFICATE_MAX);
	ck_assert_int_eq(tls_key_request(key, &der), 0);
	csr = pki_csr_new(der.data, der.len, error);
	buf_clear(&der);
	tls_key_free(key);
	return csr;
}

static void
sign(struct pki_csr *csr, struct pki_chain *chain)
{
	const char *ca = collector.answer == OTHER_CA ? "evil" : "good";
	char error[PKI_ERROR_SIZE] = "";
	time_t now = time(NULL);
	struct pki_request request = { .identity = { .role = ROLE_AGENT, .tenant = "acme", .name = "web9" },
	    .not_before = now - 7200, .not_after = now + collector.life };
	struct pki_issuer *issuer = pki_issuer_load(lab_path(ca, "ca.crt"), NULL, lab_path(ca, "ca.key"), error);

	ck_assert_msg(issuer != NULL, "%s", error);
	snprintf(request.identity.uuid, sizeof(request.identity.uuid), "%s", collector.uuid);
	if (collector.answer == OPERATOR)
		request.identity = (struct identity){ .role = ROLE_OPERATOR, .tenant = "acme", .name = "web9" };
	ck_assert_msg(pki_sign(issuer, &request, csr, chain, error) == 0, "%s", error);
	pki_issuer_free(issuer);
}

static void
put_granted(struct buf *out, const uint8_t *der, size_t len)
{
	char error[PKI_ERROR_SIZE] = "";
	struct pki_csr *csr = pki_csr_new(der, len, error);
	struct msg_certificate msg = { .count = 1 };
	struct pki_chain chain = { 0 };

	ck_assert_msg(csr != NULL, "%s", error);
	if (collector.asked < 4)
		memcpy(collector.key[collector.asked], pki_csr_key_hash(csr), PKI_KEY_HASH_SIZE);
	collector.asked++;
	if (collector.answer == OTHER_KEY) {
		pki_csr_free(csr);
		csr = other_csr();
	}
	sign(csr, &chain);
	msg.certificate[0].der = chain.der;
	msg.certificate[0].len = chain.certificate[0].len - (collector.answer == MALFORMED);
	ck_assert_int_eq(msg_put_certificate(out, &msg), 0);
	pki_chain_clear(&chain);
	pki_csr_free(csr);
}

static void
put_answer(struct buf *out, const uint8_t *csr, size_t len)
{
	static const struct msg_end token = { .code = MSG_ERR_TOKEN }, limit = { .code = MSG_ERR_LIMIT, .text = "too many at a time" };
	const struct msg_certificate refused = { .reason = "the token was used by another key" };

	put_granted(out, csr, len);
	if (collector.answer == REASON || collector.answer == TOKEN_ERROR || collector.answer == LIMIT_ERROR || collector.answer == NOISE)
		buf_consume(out, out->len);
	if (collector.answer == REASON)
		msg_put_certificate(out, &refused);
	else if (collector.answer == TOKEN_ERROR)
		msg_put_error(out, &token);
	else if (collector.answer == LIMIT_ERROR)
		msg_put_error(out, &limit);
	else if (collector.answer == NOISE)
		buf_put(out, "HTTP/1.0 200 OK\r\n\r\n", 19);
	else if (collector.answer == TRAILING) {
		out->data[7]++;		/* the frame's length says more than is in it */
		buf_put_u8(out, 0);
	}
}

static void
on_enroll(struct tlsio *io, const struct frame *frame)
{
	struct buf out;

	ck_assert_int_eq(msg_get_enroll(frame, &collector.enroll), 0);
	buf_init(&out, 64 * 1024);
	put_answer(&out, collector.enroll.csr, collector.enroll.csr_len);
	if (collector.answer != LOSE)
		tlsio_write(io, out.data, out.len - (collector.answer == LOSE_LATE ? 100 : 0));
	tlsio_shutdown(io, "answered", 1000);
	buf_clear(&out);
}

static void
on_renew(struct tlsio *io, const struct frame *frame)
{
	struct msg_renew renew;
	struct buf out;

	ck_assert_int_eq(msg_get_renew(frame, &renew), 0);
	buf_init(&out, 64 * 1024);
	collector.renewals++;
	put_answer(&out, renew.csr, renew.csr_len);
	if (collector.answer == LOSE)
		tlsio_shutdown(io, "lost", 0);
	else
		tlsio_write(io, out.data, out.len);
	buf_clear(&out);
}

static void
welcome(struct tlsio *io)
{
	const struct msg_welcome msg = { .version = FRAME_VERSION, .codecs = UINT32_MAX, .keepalive_ms = 10000 };
	struct buf out;

	collector.sessions++;
	buf_init(&out, 4096);
	ck_assert_int_eq(msg_put_welcome(&out, &msg), 0);
	tlsio_write(io, out.data, out.len);
	buf_clear(&out);
}

static void
on_readable(struct tlsio *io, void *arg)
{
	struct buf *input = tlsio_input(io);
	struct frame frame;

	(void)arg;
	while (frame_parse(input->data, input->len, &frame) == FRAME_OK) {
		if (frame.type == FRAME_ENROLL)
			on_enroll(io, &frame);
		else if (frame.type == FRAME_HELLO)
			welcome(io);
		else if (frame.type == FRAME_RENEW)
			on_renew(io, &frame);
		else if (frame.type == FRAME_ERROR)
			collector.errors++;
		buf_consume(input, FRAME_HEADER_SIZE + frame.length);
	}
	tlsio_input_taken(io);
}

static void
on_closed(struct tlsio *io, const char *why, void *arg)
{
	struct tlsio **place = arg;

	(void)why;
	tlsio_free(io);
	*place = NULL;
}

static void
on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *address, int len, void *arg)
{
	static const struct tlsio_callbacks callbacks = { NULL, on_readable, NULL, on_closed };
	struct tlsio_options options = lab_options(TLSIO_SERVER);

	(void)listener;
	(void)address;
	(void)len;
	(void)arg;
	ck_assert_uint_lt(collector.calls, CALLS_MAX);
	collector.io[collector.calls] = tlsio_new(link_role->base, collector.tls, fd, &options, &callbacks, &collector.io[collector.calls]);
	collector.calls++;
}

static void
collector_use(const char *ca, const char *name)
{
	tls_context_free(collector.tls);
	collector.tls = lab_context(ca, ca, name);
	ck_assert_int_eq(tls_context_add_alpn(collector.tls, FRAME_ALPN_ENROLL, TLS_ALPN_ANONYMOUS | TLS_ALPN_ROOT), 0);
}

static void
collector_open(void)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof(sin);

	collector.uuid = UUID;
	collector.life = 3600;
	collector_use("good", "col");
	collector.listener = evconnlistener_new_bind(link_role->base, on_accept, NULL, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 8,
	    (struct sockaddr *)&sin, sizeof(sin));
	ck_assert_ptr_nonnull(collector.listener);
	ck_assert_int_eq(getsockname(evconnlistener_get_fd(collector.listener), (struct sockaddr *)&sin, &len), 0);
	collector.port = ntohs(sin.sin_port);
}

/* --- the supervisor --- */

static struct {
	struct ipc	*ipc, *capture;
	struct machine	 now;
	int		 store_error[STORE_MAX];	/* instead of storing */
	unsigned	 stored[STORE_MAX];
	bool		 lost;		/* it stores, but the link role dies before it hears of it */
	bool		 active;	/* of tap 0, as told last */
	unsigned	 taps;
} others;

static void
hand_out(void)
{
	const struct agent_options *o = &link_role->options;
	struct ipc_enrolment enrolment;
	int fd[3];
	size_t count = 0;

	identity_look(o, &others.now, &enrolment, fd);
	ck_assert_int_eq(ipc_send_enrolment(others.ipc, &enrolment, fd), 0);
	close(fd[0]);
	close(fd[1]);
	if (!enrolment.cloned)
		while (count < 3 && (fd[count] = open(count == 0 ? o->ca : o->cert, O_RDONLY | O_CLOEXEC)) != -1)
			count++;
	ck_assert_int_eq(ipc_send(others.ipc, IPC_CREDENTIALS, "none", count == 3 ? 0 : 4, fd, count == 3 ? count : 0), 0);
	while (count-- > 0)
		close(fd[count]);
}

static void
store(const struct ipc_message *message)
{
	enum ipc_store what;
	const uint8_t *bytes;
	size_t len;
	int error;

	ck_assert_int_eq(ipc_get_store(message, &what, &bytes, &len), 0);
	if ((error = others.store_error[what]) == 0) {
		ck_assert_msg(identity_store(&link_role->options, &others.now, what, bytes, len) == 0, "%s", strerror(errno));
		others.stored[what]++;
	}
	if (others.lost)
		return;
	ipc_send_stored(others.ipc, what, error);
	if (error == 0 && (what == STORE_ENROLLED || what == STORE_RENEWED))
		hand_out();
}

static void
on_supervisor(struct ipc *ipc, struct ipc_message *message, void *arg)
{
	int fd;

	(void)arg;
	if (message->type == IPC_SOCKET_REQUEST) {
		fd = socket(message->payload[0], SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		ipc_send(ipc, IPC_SOCKET, NULL, 0, &fd, 1);
		close(fd);
	} else if (message->type == IPC_STORE)
		store(message);
	else if (message->type == IPC_CREDENTIALS_REQUEST)
		hand_out();
}

static void
on_capture(struct ipc *ipc, struct ipc_message *message, void *arg)
{
	static struct ipc_tap tap;
	struct ipc_tap_result result = { .accepted = true };

	(void)arg;
	if (message->type != IPC_TAP)
		return;
	ck_assert_int_eq(ipc_get_tap(message, &tap), 0);
	result.tap = tap.tap;
	result.version = tap.version;
	if (tap.tap == 0) {
		others.active = tap.active;
		others.taps++;
	}
	ipc_send_tap_result(ipc, &result);
}

static void
on_gone(struct ipc *ipc, void *arg)
{
	(void)ipc;
	(void)arg;
}

/* What link.c does with them. */
static void
on_link_message(struct ipc *ipc, struct ipc_message *message, void *arg)
{
	enum ipc_store what;
	int error;

	(void)ipc;
	(void)arg;
	if (message->type == IPC_SOCKET)
		link_socket_came(link_role, message);
	else if (message->type == IPC_ENROLMENT)
		enroll_told(link_role, message);
	else if (message->type == IPC_CREDENTIALS)
		credentials_receive(link_role, message);
	else if (message->type == IPC_STORED && ipc_get_stored(message, &what, &error) == 0)
		enroll_stored(link_role, what, error);
}

static void
on_tap_result(struct ipc *ipc, struct ipc_message *message, void *arg)
{
	struct ipc_tap_result result;

	(void)ipc;
	(void)arg;
	if (message->type == IPC_TAP_RESULT && ipc_get_tap_result(message, &result) == 0)
		tap_result(link_role, &result);
}

static struct ipc *
end_of(int fd, const struct ipc_callbacks *callbacks)
{
	struct ipc *ipc = ipc_new(link_role->base, fcntl(fd, F_DUPFD_CLOEXEC, 0), callbacks, NULL);

	ck_assert_ptr_nonnull(ipc);
	return ipc;
}

/* --- set up --- */

static char *
path_in(const char *name)
{
	char text[128];

	snprintf(text, sizeof(text), "%s/%s", folder, name);
	return strdup(text);
}

static void
put_token(const char *text)
{
	FILE *file = fopen(token_path, "we");

	ck_assert_ptr_nonnull(file);
	ck_assert_int_ge(fprintf(file, "%s\n", text), 0);
	ck_assert_int_eq(fclose(file), 0);
}

static const char *
fingerprint(const char *ca)
{
	static char text[PKI_FINGERPRINT_SIZE];
	char error[PKI_ERROR_SIZE];

	ck_assert_int_eq(pki_fingerprint(lab_path(ca, "ca.crt"), text, error), 0);
	return text;
}

static void
set_options(void)
{
	struct agent_options *o = &link_role->options;
	char text[64];

	snprintf(text, sizeof(text), "127.0.0.1:%u", collector.port);
	o->enroll = strdup(text);
	o->ca_fingerprint = strdup(fingerprint("good"));
	o->state_dir = strdup(folder);
	o->token_file = strdup(token_path);
	o->ca = path_in("ca.crt");
	o->cert = path_in("agent.pem");
	o->key = path_in("agent.pem");
}

static void
setup(void)
{
	static const struct ipc_callbacks supervisor = { on_supervisor, on_gone }, capture = { on_capture, on_gone };
	static const struct ipc_callbacks from_supervisor = { on_link_message, on_gone }, from_capture = { on_tap_result, on_gone };

	lab_open();
	lab.from_supervisor = &from_supervisor;
	lab.from_capture = &from_capture;
	link_lab_open(&lab, SPOOL_SIZE);
	link_role = &lab.link;
	link_role->tls = NULL;
	memset(&link_role->own, 0, sizeof(link_role->own));
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(token_path, sizeof(token_path), "%s/token", folder);
	others.ipc = end_of(lab.supervisor[1], &supervisor);
	others.capture = end_of(lab.capture[1], &capture);
	collector_open();
	set_options();
	log_fd = memfd_create("log", MFD_CLOEXEC);
	ck_assert_int_ne(dup2(log_fd, STDERR_FILENO), -1);
	log_init("check", LOG_LEVEL_INFO);
}

/* As the link role begins. */
static void
begin(void)
{
	link_role->enroll = enroll_new(link_role);
	link_role->renewal = renew_new(link_role);
	credentials_init(link_role);
}

/* As when it was killed; what is on the disk stays. */
static void
end(void)
{
	enroll_free(link_role->enroll);
	link_role->enroll = NULL;
	renew_free(link_role->renewal);
	link_role->renewal = NULL;
	event_free(link_role->renew);
	link_role->credentials_due = false;
	link_role->sockets_due = 0;
	tls_context_free(link_role->tls);
	link_role->tls = NULL;
}

static void
teardown(void)
{
	char command[128];

	if (link_role->enroll != NULL)
		end();
	evconnlistener_free(collector.listener);
	for (unsigned i = 0; i < CALLS_MAX; i++)
		tlsio_free(collector.io[i]);
	tls_context_free(collector.tls);
	ipc_free(others.ipc);
	ipc_free(others.capture);
	link_lab_close(&lab);
	agent_options_free(&link_role->options);
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	ck_assert_int_eq(system(command), 0);
	lab_close();
}

/* --- what the test waits for --- */

static bool
enrolled(void)
{
	return link_role->tls != NULL && enroll_standing(link_role) == STANDING_VALID;
}

static bool
refused(void)
{
	return link_role->enroll->token.refused;
}

static unsigned wanted_calls;

static bool
called(void)
{
	return collector.calls >= wanted_calls;
}

static const char *wanted_line;

static const char *
log_text(void)
{
	static char text[64 * 1024];
	ssize_t n = pread(log_fd, text, sizeof(text) - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

static bool
logged(void)
{
	return strstr(log_text(), wanted_line) != NULL;
}

static void
run_until(bool (*condition)(void))
{
	uint64_t limit_ns = clock_mono_ns() + UINT64_C(20000000000);

	while (!condition()) {
		ck_assert_msg(clock_mono_ns() < limit_ns, "not in time; the log: %s", log_text());
		link_timer_set(link_role->stop_timer, 20 * LINK_MS);	/* so that the loop comes round */
		event_base_loop(link_role->base, EVLOOP_ONCE);
	}
}

static void
wait_line(const char *line)
{
	wanted_line = line;
	run_until(logged);
}

static void
wait_calls(unsigned calls)
{
	wanted_calls = calls;
	run_until(called);
}

static unsigned
count_lines(const char *what)
{
	unsigned count = 0;

	for (const char *at = log_text(); (at = strstr(at, what)) != NULL; at += strlen(what))
		count++;
	return count;
}

static bool
is_there(const char *name)
{
	char *path = path_in(name);
	bool there = access(path, F_OK) == 0;

	free(path);
	return there;
}

static mode_t
mode_of(const char *name)
{
	char *path = path_in(name);
	struct stat st = { 0 };

	stat(path, &st);
	free(path);
	return st.st_mode & 07777;
}

static const char *
content(const char *name)
{
	static char text[16 * 1024];
	char *path = path_in(name);
	FILE *file = fopen(path, "re");
	size_t n = file != NULL ? fread(text, 1, sizeof(text) - 1, file) : 0;

	text[n] = '\0';
	if (file != NULL)
		fclose(file);
	free(path);
	return text;
}

/* --- tests --- */

static void
assert_enrolled(void)
{
	run_until(enrolled);
	ck_assert_str_eq(link_role->own.uuid, UUID);
	ck_assert_str_eq(link_role->own.tenant, "acme");
	ck_assert_str_eq(link_role->own.name, "web9");
	ck_assert(is_there("ca.crt") && is_there("agent.pem") && is_there("machine"));
	ck_assert(!is_there("token") && !is_there("pending.key"));
	ck_assert_uint_eq(mode_of("agent.pem"), 0600);
	ck_assert_uint_eq(mode_of("ca.crt"), 0600);
	ck_assert_str_eq(link_role->enroll->token.text, "");
	ck_assert_ptr_null(strstr(log_text(), TOKEN));
	ck_assert_ptr_null(strstr(log_text(), "PRIVATE"));
	ck_assert_uint_eq(count_lines("enrolled: this is web9"), 1);
}

START_TEST(test_enrols)
{
	put_token(TOKEN);
	begin();
	assert_enrolled();
	ck_assert_str_eq(collector.enroll.token, TOKEN);
	ck_assert_uint_eq(collector.calls, 1);
	ck_assert(others.active);
}
END_TEST

/* cloud-init writes it after the agent started. */
START_TEST(test_token_comes_later)
{
	begin();
	wait_line("not enrolled: nothing is captured until a token is put into");
	ck_assert(!others.active);
	put_token(TOKEN);
	hand_out();
	assert_enrolled();
	run_until(enrolled);
	ck_assert(others.active);
}
END_TEST

static bool
is_active(void)
{
	return others.active;
}

/* The first packet is caught, whoever is away. */
START_TEST(test_captures_at_once)
{
	evconnlistener_disable(collector.listener);
	put_token(TOKEN);
	begin();
	run_until(is_active);
	ck_assert_uint_eq(collector.asked, 0);
}
END_TEST

/* The answer is lost, also in its midst: the same key asks again. */
START_TEST(test_lost_reply)
{
	collector.answer = _i == 0 ? LOSE : LOSE_LATE;
	put_token(TOKEN);
	begin();
	wait_calls(2);
	collector.answer = GRANT;
	assert_enrolled();
	ck_assert_uint_ge(collector.asked, 2);
	ck_assert_mem_eq(collector.key[0], collector.key[1], PKI_KEY_HASH_SIZE);
}
END_TEST

/* It dies after it has asked. */
START_TEST(test_killed_between)
{
	collector.answer = LOSE;
	put_token(TOKEN);
	begin();
	wait_calls(1);
	wait_line("it goes on being tried");
	end();
	ck_assert(is_there("pending.key"));
	ck_assert_uint_eq(mode_of("pending.key"), 0600);
	collector.answer = GRANT;
	begin();
	assert_enrolled();
	ck_assert_mem_eq(collector.key[0], collector.key[1], PKI_KEY_HASH_SIZE);
}
END_TEST

static unsigned wanted_stored;

static bool
certificate_stored(void)
{
	return others.stored[STORE_ENROLLED] == wanted_stored;
}

/* The supervisor has stored all, and nobody heard of it. */
START_TEST(test_killed_at_the_end)
{
	put_token(TOKEN);
	begin();
	while (others.stored[STORE_CA] == 0) {
		link_timer_set(link_role->stop_timer, 20 * LINK_MS);
		event_base_loop(link_role->base, EVLOOP_ONCE);
	}
	others.lost = true;
	wanted_stored = 1;
	run_until(certificate_stored);
	end();
	others.lost = false;
	begin();
	run_until(enrolled);
	ck_assert_uint_eq(collector.asked, 1);
	ck_assert(!is_there("token") && !is_there("pending.key"));
}
END_TEST

/* What a collector may answer that is no certificate for us: nothing of it is kept, and it is said what is wrong, once. */
static const struct {
	enum answer	answer;
	const char	*words;
} bad[] = {
	{ MALFORMED, "damaged" }, { TRAILING, "malformed CERTIFICATE" }, { OTHER_KEY, "another key" },
	{ OTHER_CA, "not acceptable" }, { OPERATOR, "not an agent's" },
	{ LIMIT_ERROR, "too many at a time" }, { NOISE, "makes no sense" }, { LOSE, "peer" },
};

START_TEST(test_bad_answer)
{
	collector.answer = bad[_i].answer;
	put_token(TOKEN);
	begin();
	wait_line(bad[_i].words);
	wait_calls(2);
	wait_line(bad[_i].words);
	ck_assert_uint_eq(count_lines("it goes on being tried"), 1);
	ck_assert(!is_there("ca.crt") && !is_there("agent.pem"));
	ck_assert(is_there("token"));
	ck_assert(others.active);
	collector.answer = GRANT;
	assert_enrolled();
}
END_TEST

/* A refusal waits for another token, and is told once. */
START_TEST(test_refused)
{
	collector.answer = _i == 0 ? REASON : TOKEN_ERROR;
	put_token(TOKEN);
	begin();
	run_until(refused);
	wait_line(_i == 0 ? "enrolment is refused: the token was used by another key" : "does not know the token");
	ck_assert(!enroll_under_way(link_role));
	ck_assert_uint_eq(collector.calls, 1);
	hand_out();		/* the file is the same */
	wait_line("enrolment is refused");
	ck_assert(!enroll_under_way(link_role));
	ck_assert(is_there("token"));
	ck_assert(others.active);
	collector.answer = GRANT;
	put_token("vmtap1-BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB");
	hand_out();
	assert_enrolled();
	ck_assert_str_eq(collector.enroll.token, "vmtap1-BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB");
}
END_TEST

/* Nothing is said to who is not a collector of the deployment. */
START_TEST(test_other_deployment)
{
	collector_use("evil", "col");
	put_token(TOKEN);
	begin();
	wait_line("is of another deployment, or the fingerprint is wrong: its CA is SHA256:");
	wait_line(fingerprint("evil"));
	wait_line(fingerprint("good"));
	wait_calls(2);
	ck_assert_uint_eq(collector.asked, 0);
	ck_assert_uint_eq(count_lines("another deployment"), 1);
	collector_use("good", "col");
	assert_enrolled();
}
END_TEST

START_TEST(test_wrong_fingerprint)
{
	char *right = link_role->options.ca_fingerprint;

	link_role->options.ca_fingerprint = strdup(right);
	link_role->options.ca_fingerprint[10] = right[10] == '0' ? '1' : '0';
	put_token(TOKEN);
	begin();
	wait_line("or the fingerprint is wrong");
	ck_assert_uint_eq(collector.asked, 0);
	free(link_role->options.ca_fingerprint);
	link_role->options.ca_fingerprint = right;
	enroll_options(link_role);
	credentials_request(link_role);
	assert_enrolled();
}
END_TEST

static void
issue_collector(const char *name, time_t not_before, time_t not_after, const char *host)
{
	char *hosts[] = { strdup(host) };
	struct pki_request request = { .hosts = hosts, .host_count = 1, .not_before = not_before, .not_after = not_after,
	    .identity = { .role = ROLE_COLLECTOR } };
	char error[PKI_ERROR_SIZE] = "";
	struct pki_made made;

	snprintf(request.identity.name, sizeof(request.identity.name), "%s", name);
	ck_assert_msg(pki_issue(lab_path("good", ""), &request, &made, error) == 0, "%s", error);
	free(hosts[0]);
}

/* The guest's clock stands years before the certificate's time. */
START_TEST(test_clock)
{
	time_t now = time(NULL);

	issue_collector("late", now + 86400, now + 2 * 86400, "127.0.0.1");
	collector_use("good", "late");
	put_token(TOKEN);
	begin();
	wait_line("is not valid before 20");
	wait_line("and the clock here says 20");
	ck_assert_uint_eq(collector.asked, 0);
	ck_assert(others.active);
	collector_use("good", "col");
	assert_enrolled();
}
END_TEST

START_TEST(test_wrong_host)
{
	issue_collector("elsewhere", time(NULL) - 300, time(NULL) + 86400, "192.0.2.1");
	collector_use("good", "elsewhere");
	put_token(TOKEN);
	begin();
	wait_line("is for host(s) 192.0.2.1, not for 127.0.0.1");
	ck_assert_uint_eq(collector.asked, 0);
}
END_TEST

/* A file system that takes nothing: nothing is asked, and nothing burned. */
START_TEST(test_read_only)
{
	others.store_error[STORE_PENDING] = EROFS;
	put_token(TOKEN);
	begin();
	wait_line("cannot keep a key (Read-only file system), and nothing is asked without");
	ck_assert_uint_eq(collector.calls, 0);
	ck_assert(others.active);
	others.store_error[STORE_PENDING] = 0;
	others.store_error[STORE_ENROLLED] = ENOSPC;
	wait_line("cannot keep the certificate (No space left on device)");
	ck_assert(!is_there("agent.pem") && is_there("token") && is_there("pending.key"));
	others.store_error[STORE_ENROLLED] = 0;
	assert_enrolled();
	ck_assert_mem_eq(collector.key[0], collector.key[1], PKI_KEY_HASH_SIZE);
}
END_TEST

/* --- copies --- */

static void
set_machine(const char *product_uuid, const char *instance_id)
{
	snprintf(others.now.product_uuid, sizeof(others.now.product_uuid), "%s", product_uuid);
	snprintf(others.now.instance_id, sizeof(others.now.instance_id), "%s", instance_id);
}

static void
enrol_original(void)
{
	set_machine("aaaa", "i-1");
	put_token(TOKEN);
	begin();
	assert_enrolled();
	end();
}

START_TEST(test_clone_with_token)
{
	char first[4096];

	enrol_original();
	snprintf(first, sizeof(first), "%s", content("agent.pem"));
	set_machine(_i == 0 ? "bbbb" : "aaaa", _i == 0 ? "i-1" : "i-2");
	put_token("vmtap1-CCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCC");
	collector.answer = LOSE;
	begin();
	wait_line("this machine is a copy of the one that enrolled");
	wait_line("it enrols anew");
	wait_calls(2);
	ck_assert_ptr_null(link_role->tls);
	ck_assert_str_eq(content("agent.pem"), first);	/* until there is another */
	ck_assert(others.active);
	collector.answer = GRANT;
	run_until(enrolled);
	ck_assert_str_ne(content("agent.pem"), first);
	ck_assert_mem_ne(collector.key[0], collector.key[1], PKI_KEY_HASH_SIZE);
	ck_assert_ptr_nonnull(strstr(content("machine"), _i == 0 ? "bbbb" : "i-2"));
}
END_TEST

static bool
is_inactive(void)
{
	return others.taps > 0 && !others.active;
}

START_TEST(test_clone_without_token)
{
	enrol_original();
	set_machine("bbbb", "");
	others.taps = 0;
	begin();
	wait_line("this machine is a copy of the one that enrolled (its product UUID was aaaa and is bbbb), whose certificate is not used: "
	    "nothing is captured until a token is put into");
	run_until(is_inactive);
	ck_assert_ptr_null(link_role->tls);
	ck_assert_uint_eq(count_lines("this machine is a copy"), 1);
}
END_TEST

/* cloud-init finds out late which instance this is. */
START_TEST(test_clone_noticed_late)
{
	enrol_original();
	begin();
	run_until(enrolled);
	run_until(is_active);
	set_machine("aaaa", "i-2");
	hand_out();
	wait_line("cloud-init instance was i-1 and is i-2");
	run_until(is_inactive);
	ck_assert_ptr_null(link_role->tls);
}
END_TEST

/* --- ends --- */

static bool
expired(void)
{
	return enroll_standing(link_role) == STANDING_EXPIRED;
}

START_TEST(test_expired)
{
	enrol_original();
	begin();
	run_until(enrolled);
	link_role->enroll->known = true;
	tls_context_free(link_role->tls);
	link_role->tls = NULL;
	enroll_unusable(link_role, time(NULL) - 5);
	ck_assert(expired());
	enroll_review(link_role);
	wait_line("no session can be opened with it: capturing into the spool goes on");
	ck_assert(enroll_captures(link_role) && !enroll_may_dial(link_role));
	put_token(TOKEN);
	hand_out();
	run_until(enrolled);
}
END_TEST

/* --- renewal --- */

static unsigned wanted_sessions;

static bool
has_sessions(void)
{
	return collector.sessions >= wanted_sessions;
}

/* Enrolled, and in a session with the collector, with a certificate of that life. */
static void
begin_session(time_t life)
{
	struct conf_error error;
	char text[64];

	snprintf(text, sizeof(text), "collector = 127.0.0.1:%u\n", collector.port);
	ck_assert_int_eq(conf_parse_text(agent_rows, &link_role->options, "test", text, &error), 0);
	collector.life = life;
	put_token(TOKEN);
	begin();
	run_until(enrolled);
	wanted_sessions = 1;
	run_until(has_sessions);
}

static const char *first_certificate;

static bool
renewed(void)
{
	return others.stored[STORE_RENEWED] > 0 && strcmp(content("agent.pem"), first_certificate) != 0;
}

/* A second session takes over from the first. */
START_TEST(test_renewed)
{
	begin_session(6);
	first_certificate = strdup(content("agent.pem"));
	collector.life = 3600;
	run_until(renewed);
	wanted_sessions = 2;
	run_until(has_sessions);
	wait_line("another session is opened with the new certificate");
	ck_assert_str_eq(link_role->own.uuid, UUID);
	ck_assert_mem_ne(collector.key[0], collector.key[1], PKI_KEY_HASH_SIZE);
	ck_assert_ptr_null(strstr(log_text(), "PRIVATE"));
	ck_assert_uint_eq(collector.renewals, 1);
	ck_assert_uint_eq(collector.errors, 0);
	free((void *)(uintptr_t)first_certificate);
}
END_TEST

/* Whatever the collector answers, what there is stays in use, and it is asked again. */
static const struct {
	enum answer	answer;
	const char	*uuid, *words;
} bad_renewals[] = {
	{ REASON, UUID, "is not renewed yet: the collector refuses: the token was used by another key" },
	{ MALFORMED, UUID, "is not renewed yet: the certificate is damaged" },
	{ OTHER_KEY, UUID, "is not renewed yet: the certificate is for another key" },
	{ OTHER_CA, UUID, "is not renewed yet: the certificate is not acceptable" },
	{ OPERATOR, UUID, "is not renewed yet: the certificate is another VM's" },
	{ GRANT, "99999999-2222-4333-8444-555555555555", "is not renewed yet: the certificate is another VM's" },
	{ LOSE, UUID, "is not renewed yet: the session ended before the collector's answer" },
	{ TRAILING, UUID, "is not renewed yet: the session ended before the collector's answer" },
};

START_TEST(test_bad_renewal)
{
	begin_session(10);
	first_certificate = strdup(content("agent.pem"));
	collector.life = 3600;
	collector.answer = bad_renewals[_i].answer;
	collector.uuid = bad_renewals[_i].uuid;
	wait_line(bad_renewals[_i].words);
	ck_assert_str_eq(content("agent.pem"), first_certificate);
	collector.answer = GRANT;
	collector.uuid = UUID;
	run_until(renewed);
	ck_assert_str_eq(link_role->own.uuid, UUID);
	free((void *)(uintptr_t)first_certificate);
}
END_TEST

START_TEST(test_renewal_not_kept)
{
	begin_session(10);
	first_certificate = strdup(content("agent.pem"));
	collector.life = 3600;
	others.store_error[STORE_RENEWED] = EROFS;
	wait_line("is not renewed yet: the state folder cannot keep it: Read-only file system");
	ck_assert_str_eq(content("agent.pem"), first_certificate);
	others.store_error[STORE_RENEWED] = 0;
	run_until(renewed);
	free((void *)(uintptr_t)first_certificate);
}
END_TEST

static bool
has_errors(void)
{
	return collector.errors > 0;
}

START_TEST(test_certificate_not_asked_for)
{
	struct msg_certificate refused = { .reason = "no" };
	struct buf out;

	begin_session(3600);
	buf_init(&out, 4096);
	msg_put_certificate(&out, &refused);
	tlsio_write(collector.io[collector.calls - 1], out.data, out.len);
	buf_clear(&out);
	run_until(has_errors);
	wait_line("a certificate that was not asked for");
}
END_TEST

/* Streams go on under another id where their VM has become another one. */
/* Who pulls may not end what the collector gets. */
START_TEST(test_revoked_by_whom)
{
	struct session s = { .link = NULL, .peer_error = MSG_ERR_REVOKED };

	begin_session(3600);
	memcpy(s.certificate, tls_context_fingerprint(link_role->tls), sizeof(s.certificate));
	s.peer.role = ROLE_OPERATOR;
	enroll_session_ended(link_role, &s);
	ck_assert_int_eq(enroll_standing(link_role), STANDING_VALID);
	s.peer.role = ROLE_COLLECTOR;
	enroll_session_ended(link_role, &s);
	ck_assert_int_eq(enroll_standing(link_role), STANDING_REVOKED);
}
END_TEST

START_TEST(test_stream_ids)
{
	const uint8_t id[MSG_ID_SIZE] = "0123456789abcde";
	struct sender sender = { .mask = { 0 } };
	uint8_t told[2][MSG_ID_SIZE], back[MSG_ID_SIZE];

	begin_session(3600);
	for (unsigned i = 0; i < 2; i++) {
		enroll_mask_streams(link_role, sender.mask);
		sender_stream_id(&sender, id, told[i]);
		sender_stream_id(&sender, told[i], back);
		ck_assert_mem_eq(back, id, MSG_ID_SIZE);
		link_role->own.uuid[35] ^= 1;
	}
	ck_assert_mem_ne(told[0], told[1], MSG_ID_SIZE);
	ck_assert_mem_ne(told[0], id, MSG_ID_SIZE);
	ck_assert_uint_eq(sender.mask[0], 0x11);
	ck_assert_uint_eq(sender.mask[4], 0x22);
}
END_TEST

/* --- the suite --- */

static Suite *
enroll_suite(void)
{
	Suite *suite = suite_create("link_enroll");
	TCase *tc = tcase_create("link_enroll");

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, test_enrols);
	tcase_add_test(tc, test_token_comes_later);
	tcase_add_test(tc, test_captures_at_once);
	tcase_add_loop_test(tc, test_lost_reply, 0, 2);
	tcase_add_test(tc, test_killed_between);
	tcase_add_test(tc, test_killed_at_the_end);
	tcase_add_loop_test(tc, test_bad_answer, 0, sizeof(bad) / sizeof(bad[0]));
	tcase_add_loop_test(tc, test_refused, 0, 2);
	tcase_add_test(tc, test_other_deployment);
	tcase_add_test(tc, test_wrong_fingerprint);
	tcase_add_test(tc, test_clock);
	tcase_add_test(tc, test_wrong_host);
	tcase_add_test(tc, test_read_only);
	tcase_add_loop_test(tc, test_clone_with_token, 0, 2);
	tcase_add_test(tc, test_clone_without_token);
	tcase_add_test(tc, test_clone_noticed_late);
	tcase_add_test(tc, test_expired);
	tcase_add_test(tc, test_renewed);
	tcase_add_loop_test(tc, test_bad_renewal, 0, sizeof(bad_renewals) / sizeof(bad_renewals[0]));
	tcase_add_test(tc, test_renewal_not_kept);
	tcase_add_test(tc, test_certificate_not_asked_for);
	tcase_add_test(tc, test_revoked_by_whom);
	tcase_add_test(tc, test_stream_ids);
	suite_add_tcase(suite, tc);
	return suite;
}

int
main(void)
{
	SRunner *runner = srunner_create(enroll_suite());
	int failed;

	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
