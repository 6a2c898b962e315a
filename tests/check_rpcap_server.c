/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <crypt.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <check.h>
#include <event2/event.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/tls.h"

#include "tests/rpcap_lab.h"
#include "tests/tls_lab.h"

/* The control side of the RPCAP server, by real sockets: each message, each error, each limit. */

#define WAIT_S		20
#define TEXT		"a text of no use"
#define PASSWORD	"correct horse"

static struct rpcap_lab lab;
static struct agent_options *options;
static int log_fd;

/* --- clients --- */

struct peer {
	int		 fd;
	struct lab_end	 end;		/* over TLS; fd is -1 */
	struct buf	 in;
	bool		 closed;
};

static void
peer_take(struct lab_end *end)
{
	struct peer *peer = end->more;
	struct buf *input = tlsio_input(end->t);

	ck_assert_int_eq(buf_put(&peer->in, input->data, input->len), 0);
	buf_consume(input, input->len);
	tlsio_input_taken(end->t);
}

static void
peer_receive(struct peer *peer)
{
	uint8_t bytes[65536];
	ssize_t n;

	if (peer->fd == -1) {
		peer->closed = peer->end.closed > 0;
		return;
	}
	if ((n = recv(peer->fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
		ck_assert_int_eq(buf_put(&peer->in, bytes, (size_t)n), 0);
	peer->closed = n == 0 || (n == -1 && errno != EAGAIN && errno != EWOULDBLOCK);
}

/* Some time passes. */
static void
turn(struct peer *peer)
{
	struct pollfd poll_fd = { .fd = peer != NULL ? peer->fd : -1, .events = POLLIN };

	rpcap_lab_turn(&lab);
	if (peer == NULL || peer->closed)
		return;
	(void)poll(&poll_fd, 1, 0);
	peer_receive(peer);
}

#define wait_for(peer, what) do {							\
	uint64_t end_ns_ = clock_mono_ns() + WAIT_S * UINT64_C(1000000000);		\
	while (!(what)) {								\
		ck_assert_msg(clock_mono_ns() < end_ns_, "waited in vain: %s", #what);	\
		turn(peer);								\
	}										\
} while (0)

static int
connect_from(const char *address, uint16_t port)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = { htonl(INADDR_LOOPBACK) } };
	struct sockaddr_in from = { .sin_family = AF_INET, .sin_addr = { inet_addr(address) } };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	ck_assert_int_ne(fd, -1);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&from, sizeof(from)), 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	ck_assert_int_eq(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)), 0);
	return fd;
}

static int
connect_to(uint16_t port)
{
	return connect_from("127.0.0.1", port);
}

static void
peer_use(struct peer *peer, int fd)
{
	*peer = (struct peer){ .fd = fd };
	buf_init(&peer->in, 16u << 20);
}

static void
peer_open(struct peer *peer)
{
	peer_use(peer, connect_to(lab.port));
}

static void
peer_open_tls(struct peer *peer, struct tls_context *tls)
{
	int fd = connect_to(lab.port);

	peer_use(peer, -1);
	ck_assert_int_eq(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	peer->end.on_readable = peer_take;
	peer->end.more = peer;
	lab_end_open(&peer->end, lab.link->base, tls, fd, TLSIO_CLIENT);
}

static void
peer_close(struct peer *peer)
{
	if (peer->fd != -1)
		close(peer->fd);
	else
		tlsio_free(peer->end.t);
	peer->fd = -1;
	peer->closed = true;
	peer->end.t = NULL;
	buf_clear(&peer->in);
}

static void
say(struct peer *peer, const void *bytes, size_t len)
{
	if (peer->fd == -1)
		ck_assert_int_eq(tlsio_write(peer->end.t, bytes, len), 0);
	else if (len > 0)
		ck_assert_int_eq(send(peer->fd, bytes, len, MSG_NOSIGNAL), (ssize_t)len);
}

static void
say_buf(struct peer *peer, struct buf *msg)
{
	say(peer, msg->data, msg->len);
	buf_clear(msg);
}

static void
say_header(struct peer *peer, uint8_t version, uint8_t type, uint32_t length)
{
	const struct rpcap_header header = { .version = version, .type = type, .length = length };
	struct buf msg;

	buf_init(&msg, 64);
	ck_assert_int_eq(rpcap_put_header(&msg, &header), 0);
	say_buf(peer, &msg);
}

static void
say_auth(struct peer *peer, const char *user, const char *password)
{
	struct rpcap_auth auth = { .type = RPCAP_AUTH_NULL, .user = user, .password = password };
	struct buf msg;

	if (user != NULL) {
		auth.type = RPCAP_AUTH_PASSWORD;
		auth.user_len = (uint16_t)strlen(user);
		auth.password_len = (uint16_t)strlen(password);
	}
	buf_init(&msg, 4096);
	ck_assert_int_eq(rpcap_put_auth(&msg, &auth), 0);
	say_buf(peer, &msg);
}

static void
say_open(struct peer *peer, const char *source)
{
	struct buf msg;

	buf_init(&msg, 4096);
	ck_assert_int_eq(rpcap_put_open(&msg, 0, source), 0);
	say_buf(peer, &msg);
}

/* --- what they hear --- */

static struct rpcap_header heard;
static uint8_t heard_payload[1u << 20];

static bool
message_there(const struct peer *peer)
{
	if (peer->in.len < RPCAP_HEADER_SIZE)
		return false;
	rpcap_get_header(peer->in.data, &heard);
	ck_assert_uint_le(heard.length, sizeof(heard_payload));
	return peer->in.len >= RPCAP_HEADER_SIZE + heard.length;
}

static struct cursor
hear(struct peer *peer, uint8_t type)
{
	struct cursor c;

	wait_for(peer, message_there(peer) || peer->closed);
	ck_assert_msg(message_there(peer), "closed instead of a message of type %u", type);
	if (heard.length > 0)
		memcpy(heard_payload, peer->in.data + RPCAP_HEADER_SIZE, heard.length);
	buf_consume(&peer->in, RPCAP_HEADER_SIZE + heard.length);
	ck_assert_msg(heard.type == type, "message %u instead of %u: %.*s", heard.type, type,
	    heard.type == RPCAP_ERROR ? (int)heard.length : 0, (const char *)heard_payload);
	cursor_init(&c, heard_payload, heard.length);
	return c;
}

/* Its text is for people: not empty, no control bytes. */
static void
hear_error(struct peer *peer, uint8_t version, enum rpcap_error code)
{
	(void)hear(peer, RPCAP_ERROR);
	ck_assert_uint_eq(heard.version, version);
	ck_assert_msg(heard.value == code, "error %u (%.*s) instead of %u", heard.value, (int)heard.length,
	    (const char *)heard_payload, code);
	ck_assert_uint_gt(heard.length, 4);
	for (uint32_t i = 0; i < heard.length; i++)
		ck_assert_uint_ge(heard_payload[i], ' ');
}

static void
hear_end(struct peer *peer)
{
	wait_for(peer, peer->closed);
	ck_assert_uint_eq(peer->in.len, 0);
	peer_close(peer);
}

static void
enter(struct peer *peer)
{
	peer_open(peer);
	say_auth(peer, NULL, NULL);
	(void)hear(peer, RPCAP_AUTH | RPCAP_REPLY);
}

/* All that was said before has been taken. */
static void
sync_with(struct peer *peer)
{
	say_header(peer, 0, RPCAP_STATS, 0);
	(void)hear(peer, RPCAP_STATS | RPCAP_REPLY);
}

static struct rpcap_client *
client_of(const struct peer *peer)
{
	struct sockaddr_in sin;
	socklen_t len = sizeof(sin);
	struct rpcap_client *client;

	ck_assert_int_eq(getsockname(peer->fd, (struct sockaddr *)&sin, &len), 0);
	TAILQ_FOREACH(client, &lab.server->clients, entry)
		if (((const struct sockaddr_in *)(const void *)&client->address)->sin_port == sin.sin_port)
			return client;
	return NULL;
}

static size_t
count_clients(void)
{
	struct rpcap_client *client;
	size_t count = 0;

	TAILQ_FOREACH(client, &lab.server->clients, entry)
		count++;
	return count;
}

static unsigned
count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned count = 0;

	ck_assert_ptr_nonnull(dir);
	while (readdir(dir) != NULL)
		count++;
	closedir(dir);
	return count;
}

static void
set_host(struct rpcap_client *client, uint32_t host)
{
	((struct sockaddr_in *)(void *)&client->address)->sin_addr.s_addr = htonl(host);
}

static void
ring(struct event *timer)
{
	ck_assert_int_ne(event_pending(timer, EV_TIMEOUT, NULL), 0);
	event_del(timer);
	event_active(timer, EV_TIMEOUT, 0);
}

/* --- the rest of the world --- */

static void
set_list(struct conf_list *list, char **values, size_t count)
{
	*list = (struct conf_list){ .value = values, .origin = values, .count = count };
}

static int
text_file(const char *text)
{
	int fd = memfd_create("text", MFD_CLOEXEC);

	ck_assert_int_ne(fd, -1);
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	return fd;
}

static void
use_passwords(const char *text)
{
	int fd[RPCAP_FILES] = { -1, -1, -1, -1 };
	static char name[] = "passwords";

	fd[RPCAP_FILE_PASSWORDS] = text_file(text);
	options->rpcap_passwords = name;
	rpcap_lab_files(&lab, fd);
	close(fd[RPCAP_FILE_PASSWORDS]);
}

static void
use_password(void)
{
	static struct crypt_data data;
	char text[512];

	snprintf(text, sizeof(text), "# who may\n\nalice:%s\r\nbob:$1$x$y\n", crypt_r(PASSWORD, "$6$rounds=1000$salt$", &data));
	use_passwords(text);
}

/* The server's own certificate is good/col's; with ca those of the clients are asked for. */
static void
use_certificate(const char *ca)
{
	static char cert[128], key[128], root[128];
	int fd[RPCAP_FILES];

	snprintf(cert, sizeof(cert), "%s", lab_path("good", "col.crt"));
	snprintf(key, sizeof(key), "%s", lab_path("good", "col.key"));
	snprintf(root, sizeof(root), "%s", lab_path(ca != NULL ? ca : "good", "ca.crt"));
	options->rpcap_cert = cert;
	options->rpcap_key = key;
	options->rpcap_ca = ca != NULL ? root : NULL;
	fd[RPCAP_FILE_CERT] = open(cert, O_RDONLY | O_CLOEXEC);
	fd[RPCAP_FILE_KEY] = open(key, O_RDONLY | O_CLOEXEC);
	fd[RPCAP_FILE_CA] = ca != NULL ? open(root, O_RDONLY | O_CLOEXEC) : -1;
	fd[RPCAP_FILE_PASSWORDS] = -1;
	rpcap_lab_files(&lab, fd);
	ck_assert_ptr_nonnull(lab.server->tls);
	for (unsigned i = 0; i < RPCAP_FILE_PASSWORDS; i++)
		if (fd[i] != -1)
			close(fd[i]);
}

static struct tls_context *
client_context(const char *name)
{
	struct tls_files files = { .ca_name = "ca", .cert_name = "cert", .key_name = "key", .cert_fd = -1, .key_fd = -1 };
	char error[TLS_ERROR_SIZE] = "", file[32];
	struct tls_context *tls;

	files.ca_fd = open(lab_path("good", "ca.crt"), O_RDONLY | O_CLOEXEC);
	if (name != NULL) {
		snprintf(file, sizeof(file), "%s.crt", name);
		files.cert_fd = open(lab_path("good", file), O_RDONLY | O_CLOEXEC);
		snprintf(file, sizeof(file), "%s.key", name);
		files.key_fd = open(lab_path("good", file), O_RDONLY | O_CLOEXEC);
	}
	tls = tls_context_new_foreign(&files, TLSIO_CLIENT, error);
	ck_assert_msg(tls != NULL, "%s", error);
	close(files.ca_fd);
	if (name != NULL) {
		close(files.cert_fd);
		close(files.key_fd);
	}
	return tls;
}

static bool
logged(const char *text)
{
	static char all[1u << 20];
	ssize_t n = pread(log_fd, all, sizeof(all) - 1, 0);

	ck_assert_int_ge(n, 0);
	all[n] = '\0';
	return strstr(all, text) != NULL;
}

static void
setup(void)
{
	options = &lab.role.link.options;
	options->rpcap_null_auth = true;
	rpcap_lab_open(&lab);
	log_fd = memfd_create("log", MFD_CLOEXEC);
	ck_assert_int_ne(dup2(log_fd, STDERR_FILENO), -1);
	log_init("check", LOG_LEVEL_DEBUG);
}

static void
teardown(void)
{
	rpcap_lab_close(&lab);
}

/* --- authentication --- */

START_TEST(null_authentication)
{
	const uint32_t magic = 0xa1b2c3d4;
	struct peer peer;
	struct cursor c;
	uint8_t bytes[8];

	enter(&peer);
	ck_assert_uint_eq(heard.version, 0);
	ck_assert_uint_eq(heard.value, 0);
	cursor_init(&c, heard_payload, heard.length);
	ck_assert_int_eq(cursor_bytes(&c, bytes, sizeof(bytes)), 0);
	ck_assert_int_eq(cursor_end(&c), 0);
	ck_assert_int_eq(memcmp(bytes, "\0\0\0\0", 4), 0);
	ck_assert_int_eq(memcmp(bytes + 4, &magic, 4), 0);
	peer_close(&peer);
	wait_for(NULL, count_clients() == 0);
}
END_TEST

/* The next attempt on the same connection may be better. */
START_TEST(null_authentication_is_not_permitted)
{
	struct peer peer;

	options->rpcap_null_auth = false;
	use_password();
	peer_open(&peer);
	say_auth(&peer, NULL, NULL);
	hear_error(&peer, 0, RPCAP_ERR_AUTH_FAILED);
	say_auth(&peer, "alice", PASSWORD);
	(void)hear(&peer, RPCAP_AUTH | RPCAP_REPLY);
	ck_assert(logged("user alice"));
	ck_assert(!logged(PASSWORD));
	peer_close(&peer);
}
END_TEST

static const struct {
	const char *user, *password;
} wrong_passwords[] = {
	{ "alice", "" }, { "alice", "wrong" }, { "alice", PASSWORD " " }, { "alice", "correct hors" }, { "", "" }, { "", PASSWORD },
	{ "alic", PASSWORD }, { "alicee", PASSWORD }, { "Alice", PASSWORD }, { "carol", PASSWORD }, { "bob", "" },
	{ "bob", "$1$x$y" },
	{ "# who may", "" }, { "alice:", PASSWORD }, { "al\033[1mice\n", PASSWORD },
};

/* For a long time none of its host is looked at; and nobody's for a short one. */
static void
punish(const struct peer *peer)
{
	struct rpcap_guesser *guesser = &lab.server->guesser[0];

	for (unsigned i = 1; i < RPCAP_GUESSERS_MAX; i++)
		if (lab.server->guesser[i].until_ns > guesser->until_ns)
			guesser = &lab.server->guesser[i];
	ck_assert_uint_ge(guesser->until_ns, lab.server->hash_ns);
	ck_assert_uint_gt(client_of(peer)->guess_ns, guesser->until_ns);
	guesser->until_ns = UINT64_MAX;
	client_of(peer)->guess_ns = UINT64_MAX;
}

START_TEST(wrong_password)
{
	struct peer peer, other;

	use_password();
	peer_open(&peer);
	peer_open(&other);
	say_auth(&peer, wrong_passwords[_i].user, wrong_passwords[_i].password);
	hear_error(&peer, 0, RPCAP_ERR_AUTH_FAILED);
	ck_assert(logged("wrong user or password"));
	ck_assert(!logged("\033"));
	punish(&peer);
	say_auth(&other, "alice", PASSWORD);
	say_auth(&peer, "alice", PASSWORD);
	for (unsigned i = 0; i < 100; i++) {
		turn(&other);
		turn(&peer);
	}
	ck_assert_uint_eq(other.in.len + peer.in.len, 0);
	rpcap_lab_forgive(&lab);
	(void)hear(&other, RPCAP_AUTH | RPCAP_REPLY);
	(void)hear(&peer, RPCAP_AUTH | RPCAP_REPLY);
	peer_close(&peer);
	peer_close(&other);
}
END_TEST

START_TEST(wrong_password_of_another_host)
{
	struct peer peer, other;

	use_password();
	peer_open(&peer);
	say_auth(&peer, "alice", "guess");
	hear_error(&peer, 0, RPCAP_ERR_AUTH_FAILED);
	punish(&peer);
	say_auth(&peer, "alice", PASSWORD);
	peer_use(&other, connect_from("127.0.0.2", lab.port));
	say_auth(&other, "alice", PASSWORD);
	(void)hear(&other, RPCAP_AUTH | RPCAP_REPLY);
	turn(&peer);
	ck_assert_uint_eq(peer.in.len, 0);
	peer_close(&peer);
	peer_close(&other);
}
END_TEST

/* More hosts than there are places for: the one whose time is over first is forgotten, not the newest. */
START_TEST(guessers_of_many_hosts)
{
	struct rpcap_client *client;
	struct peer peer;

	use_password();
	peer_open(&peer);
	wait_for(&peer, client_of(&peer) != NULL);
	client = client_of(&peer);
	for (unsigned i = 1; i <= 2 * RPCAP_GUESSERS_MAX; i++) {
		set_host(client, i);
		rpcap_auth_wrong(client, i * LINK_MS, 0);
	}
	client->guess_ns = lab.server->hash_ns = 0;
	for (unsigned i = 1; i <= 2 * RPCAP_GUESSERS_MAX; i++) {
		set_host(client, i);
		ck_assert_uint_eq(rpcap_auth_wait_ns(client, 0), i > RPCAP_GUESSERS_MAX ? (RPCAP_WRONG_MS + i) * LINK_MS : 0);
	}
	rpcap_auth_wrong(client, 0, 1000 * LINK_MS);
	ck_assert_uint_eq(lab.server->hash_ns, RPCAP_HASH_TIMES * 1000 * LINK_MS);
	peer_close(&peer);
}
END_TEST

START_TEST(guessers_of_a_network)
{
	struct rpcap_client client = { .server = lab.server };
	struct sockaddr_in6 *sin6 = (struct sockaddr_in6 *)(void *)&client.address;

	sin6->sin6_family = AF_INET6;
	ck_assert_int_eq(inet_pton(AF_INET6, "2001:db8::1", &sin6->sin6_addr), 1);
	rpcap_auth_wrong(&client, 0, 0);
	client.guess_ns = lab.server->hash_ns = 0;
	ck_assert_int_eq(inet_pton(AF_INET6, "2001:db8::ffff:0:0:2", &sin6->sin6_addr), 1);
	ck_assert_uint_eq(rpcap_auth_wait_ns(&client, 0), RPCAP_WRONG_MS * LINK_MS);
	ck_assert_int_eq(inet_pton(AF_INET6, "2001:db8:0:1::1", &sin6->sin6_addr), 1);
	ck_assert_uint_eq(rpcap_auth_wait_ns(&client, 0), 0);
}
END_TEST

/* Each has one attempt a turn, however fast they come. */
START_TEST(wrong_passwords_take_turns)
{
	struct peer peer, other;
	uint64_t guess_ns;

	use_password();
	peer_open(&peer);
	peer_open(&other);
	for (unsigned i = 0; i < 50; i++)
		say_auth(&peer, "alice", "guess");
	hear_error(&peer, 0, RPCAP_ERR_AUTH_FAILED);
	say_auth(&other, "alice", PASSWORD);
	wait_for(&other, client_of(&other) != NULL && client_of(&other)->state == CLIENT_AUTH &&
	    tlsio_input(client_of(&other)->control)->len > 0);
	guess_ns = client_of(&peer)->guess_ns;
	client_of(&peer)->guess_ns = UINT64_MAX;
	(void)hear(&other, RPCAP_AUTH | RPCAP_REPLY);
	ck_assert_uint_ge(clock_mono_ns(), guess_ns - RPCAP_HASH_MS * LINK_MS);
	ck_assert_uint_eq(peer.in.len, 0);
	rpcap_lab_forgive(&lab);
	hear_error(&peer, 0, RPCAP_ERR_AUTH_FAILED);
	ck_assert_uint_eq(peer.in.len, 0);
	peer_close(&peer);
	peer_close(&other);
}
END_TEST

START_TEST(nobody_has_a_password)
{
	struct peer peer;

	peer_open(&peer);
	say_auth(&peer, "alice", PASSWORD);
	hear_error(&peer, 0, RPCAP_ERR_AUTH_FAILED);
	peer_close(&peer);
}
END_TEST

START_TEST(malformed_authentication)
{
	static const uint8_t lies[] = { 0, 1, 0, 0, 0, 5, 0, 9, 'a', 'l', 'i', 'c', 'e', 'x' };
	uint8_t bytes[8 + 600] = { 0, 7 };
	struct peer peer;

	use_password();
	peer_open(&peer);
	for (uint32_t len = 0; len < 8; len++) {
		say_header(&peer, 0, RPCAP_AUTH, len);
		say(&peer, lies, len);
		hear_error(&peer, 0, RPCAP_ERR_AUTH);
	}
	for (uint32_t len = 8; len <= sizeof(lies); len++) {
		say_header(&peer, 0, RPCAP_AUTH, len);
		say(&peer, lies, len);
		hear_error(&peer, 0, RPCAP_ERR_AUTH);
	}
	say_header(&peer, 0, RPCAP_AUTH, sizeof(bytes));
	say(&peer, bytes, sizeof(bytes));
	hear_error(&peer, 0, RPCAP_ERR_AUTH_TYPE_NOTSUP);
	bytes[1] = 0;
	say_header(&peer, 0, RPCAP_AUTH, sizeof(bytes));	/* what is behind it is passed over */
	say(&peer, bytes, sizeof(bytes));
	(void)hear(&peer, RPCAP_AUTH | RPCAP_REPLY);
	sync_with(&peer);
	peer_close(&peer);
}
END_TEST

/* Longer than any hash could be of: passed over, and the connection goes on. */
START_TEST(endless_password)
{
	static uint8_t bytes[8 + 65535 + 65535];
	struct peer peer;

	use_password();
	memcpy(bytes, "\0\1\0\0\xff\xff\xff\xff", 8);
	memset(bytes + 8, 'a', sizeof(bytes) - 8);
	peer_open(&peer);
	say_header(&peer, 0, RPCAP_AUTH, sizeof(bytes));
	say(&peer, bytes, sizeof(bytes));
	hear_error(&peer, 0, RPCAP_ERR_AUTH);
	say_auth(&peer, NULL, NULL);
	(void)hear(&peer, RPCAP_AUTH | RPCAP_REPLY);
	peer_close(&peer);
}
END_TEST

static const char *const bad_files[] = {
	"alice", "alice:", ":$6$x", "alice:x", "alice:xJm1cWpQUkO7E", "alice:!$6$x$y", "alice:$6$x$y:0:0", "alice:$6$x y",
	"alice:$6$x$y\nbob",
};

/* One that is wrong changes nothing. */
START_TEST(bad_passwords_file)
{
	struct peer peer;

	use_passwords(bad_files[_i]);
	ck_assert_ptr_null(lab.server->passwords);
	ck_assert(logged("passwords:"));
	use_password();
	use_passwords(bad_files[_i]);
	peer_open(&peer);
	say_auth(&peer, "alice", PASSWORD);
	(void)hear(&peer, RPCAP_AUTH | RPCAP_REPLY);
	peer_close(&peer);
}
END_TEST

/* --- phases --- */

static bool
is_own(unsigned type)
{
	return type == RPCAP_AUTH || type == RPCAP_CLOSE || type == RPCAP_ERROR;
}

static bool
is_request(unsigned type)
{
	return type > 0 && type < RPCAP_PACKET;
}

START_TEST(strangers_may_only_authenticate)
{
	struct peer peer;

	peer_open(&peer);
	for (unsigned type = 0; type < 256; type++) {
		if (is_own(type) || type == 0x16)
			continue;
		say_header(&peer, 0, (uint8_t)type, sizeof(TEXT));
		say(&peer, TEXT, sizeof(TEXT));
		hear_error(&peer, 0, RPCAP_ERR_WRONGMSG);
	}
	say_auth(&peer, NULL, NULL);
	(void)hear(&peer, RPCAP_AUTH | RPCAP_REPLY);
	sync_with(&peer);
	peer_close(&peer);
}
END_TEST

/* By the second message, too; the version is theirs. */
START_TEST(strangers_speak_version_0)
{
	struct peer peer;

	for (unsigned version = 1; version < 256; version++) {
		peer_open(&peer);
		if (version == 0x16)
			say_header(&peer, 0, RPCAP_FINDALLIF, 0);
		say_header(&peer, (uint8_t)version, version % 2 == 0 ? RPCAP_AUTH : RPCAP_FINDALLIF, 8);
		if (version == 0x16)
			hear_error(&peer, 0, RPCAP_ERR_WRONGMSG);
		hear_error(&peer, (uint8_t)version, RPCAP_ERR_WRONGVER);
		hear_end(&peer);
	}
}
END_TEST

START_TEST(clients_speak_version_0)
{
	struct peer peer;

	for (unsigned type = 0; type < 16; type++) {
		enter(&peer);
		say_header(&peer, 1, (uint8_t)type, 0);
		hear_error(&peer, 1, RPCAP_ERR_WRONGVER);
		hear_end(&peer);
	}
}
END_TEST

START_TEST(clients_make_requests)
{
	struct peer peer;

	for (unsigned type = 0; type < 256; type++) {
		if (is_request(type) || (type > RPCAP_AUTH && type < RPCAP_TYPE_MAX))
			continue;
		enter(&peer);
		say_header(&peer, 0, (uint8_t)type, sizeof(TEXT));
		say(&peer, TEXT, sizeof(TEXT));
		hear_error(&peer, 0, RPCAP_ERR_WRONGMSG);
		hear_end(&peer);
	}
}
END_TEST

START_TEST(close_ends_without_an_answer)
{
	struct peer peer;

	peer_open(&peer);
	say_header(&peer, 0, RPCAP_CLOSE, 0);
	hear_end(&peer);
	enter(&peer);
	say_header(&peer, 0, RPCAP_CLOSE, 7);
	hear_end(&peer);
}
END_TEST

/* A stranger's is the end; a client's is said and that is all. */
START_TEST(errors_of_theirs)
{
	static char text[2000];
	struct peer peer;
	struct buf msg;

	memset(text, 'x', sizeof(text));
	enter(&peer);
	buf_init(&msg, 4096);
	ck_assert_int_eq(rpcap_put_error(&msg, 0, RPCAP_ERR_NETW, "no \033[1m idea"), 0);
	say_buf(&peer, &msg);
	say_header(&peer, 0, RPCAP_ERROR, sizeof(text));
	say(&peer, text, sizeof(text));
	say_header(&peer, 0, RPCAP_ERROR, 0);
	sync_with(&peer);
	ck_assert(logged("no \\x1b[1m idea"));
	peer_close(&peer);
	peer_open(&peer);
	say_header(&peer, 0, RPCAP_ERROR, 0);
	hear_end(&peer);
}
END_TEST

/* --- interfaces --- */

static struct rpcap_interface listed_interface;
static struct rpcap_addresses listed_address;

/* Is it in the list? Then with its first address. */
static bool
is_listed(struct peer *peer, const char *name)
{
	struct rpcap_interface interface;
	struct rpcap_addresses addresses;
	struct cursor c;
	bool found = false;

	say_header(peer, 0, RPCAP_FINDALLIF, 0);
	c = hear(peer, RPCAP_FINDALLIF | RPCAP_REPLY);
	ck_assert_uint_gt(heard.value, 0);
	for (unsigned i = 0; i < heard.value; i++) {
		ck_assert_int_eq(rpcap_get_interface(&c, &interface), 0);
		ck_assert_uint_gt(interface.name_len, 0);
		if (interface.name_len == strlen(name) && memcmp(interface.name, name, interface.name_len) == 0) {
			found = true;
			listed_interface = interface;
		}
		for (unsigned k = 0; k < interface.address_count; k++) {
			ck_assert_int_eq(rpcap_get_addresses(&c, &addresses), 0);
			if (found && interface.name == listed_interface.name && k == 0)
				listed_address = addresses;
		}
	}
	ck_assert_int_eq(cursor_end(&c), 0);
	return found;
}

START_TEST(interfaces_are_listed)
{
	struct peer peer;

	enter(&peer);
	ck_assert(is_listed(&peer, "lo"));
	ck_assert_uint_eq(listed_interface.flags, RPCAP_IF_LOOPBACK | RPCAP_IF_UP | RPCAP_IF_RUNNING | RPCAP_IF_NOT_APPLICABLE);
	ck_assert_uint_eq(listed_interface.description_len, 0);
	ck_assert_uint_ge(listed_interface.address_count, 1);
	ck_assert_uint_eq(listed_address.address.family, AF_INET);
	ck_assert_int_eq(memcmp(listed_address.address.address, "\x7f\0\0\1", 4), 0);
	ck_assert_int_eq(memcmp(listed_address.netmask.address, "\xff\0\0\0", 4), 0);
	ck_assert_uint_eq(listed_address.broadcast.family, 0);
	ck_assert_uint_eq(listed_address.destination.family, 0);
	peer_close(&peer);
}
END_TEST

/* The guest's patterns bound what is seen and what can be opened. */
START_TEST(interfaces_by_patterns)
{
	static char lo[] = "l?", none[] = "none*";
	char *patterns[1] = { lo };
	struct peer peer;

	set_list(&options->interfaces, patterns, 1);
	enter(&peer);
	ck_assert(is_listed(&peer, "lo"));
	ck_assert_uint_eq(heard.value, 1);
	patterns[0] = none;
	say_header(&peer, 0, RPCAP_FINDALLIF, 0);
	hear_error(&peer, 0, RPCAP_ERR_NOREMOTEIF);
	say_open(&peer, "lo");
	hear_error(&peer, 0, RPCAP_ERR_OPEN);
	ck_assert_uint_eq(lab.linktypes, 0);
	peer_close(&peer);
}
END_TEST

static const char *const wrong_sources[] = { "", "any", "l", "loo", "rpcap://127.0.0.1/lo", "lo/", "nflog", "file:///etc/passwd",
	"an interface's name that is longer than they are", "l\033[1mo", "*", "l?" };

START_TEST(open_wrong)
{
	struct peer peer;

	enter(&peer);
	say_open(&peer, wrong_sources[_i]);
	hear_error(&peer, 0, RPCAP_ERR_OPEN);
	sync_with(&peer);
	ck_assert_uint_eq(lab.linktypes, 0);
	peer_close(&peer);
}
END_TEST

START_TEST(open_too_long)
{
	static char name[200000];
	struct peer peer;

	memset(name, 'x', sizeof(name));
	enter(&peer);
	say_header(&peer, 0, RPCAP_OPEN, sizeof(name));
	say(&peer, name, sizeof(name));
	hear_error(&peer, 0, RPCAP_ERR_OPEN);
	sync_with(&peer);
	peer_close(&peer);
}
END_TEST

/* The capture role knows the link type; until it says so, nothing else of this client is looked at, but others' are. */
START_TEST(open_is_awaited)
{
	struct rpcap_open_reply reply;
	struct peer peer, other;
	struct cursor c;

	enter(&peer);
	enter(&other);
	lab.capture_mute = true;
	say_open(&peer, "lo");
	say_header(&peer, 0, RPCAP_STATS, 0);
	wait_for(&peer, lab.linktypes == 1);
	ck_assert_str_eq(lab.linktype.name, "lo");
	sync_with(&other);
	turn(&peer);
	ck_assert_uint_eq(peer.in.len, 0);
	rpcap_lab_answer_linktype(&lab, 113, "");
	c = hear(&peer, RPCAP_OPEN | RPCAP_REPLY);
	ck_assert_int_eq(rpcap_get_open_reply(&c, &reply), 0);
	ck_assert_int_eq(cursor_end(&c), 0);
	ck_assert_uint_eq(reply.linktype, 113);
	ck_assert_uint_eq(reply.tzoff, 0);
	(void)hear(&peer, RPCAP_STATS | RPCAP_REPLY);
	ck_assert_str_eq(client_of(&peer)->source, "lo");
	rpcap_lab_answer_linktype(&lab, 113, "");	/* once more: nobody waits for it */
	sync_with(&peer);
	ck_assert_uint_eq(peer.in.len, 0);
	peer_close(&peer);
	peer_close(&other);
}
END_TEST

START_TEST(open_refused_by_capture)
{
	struct peer peer;

	enter(&peer);
	lab.capture_mute = true;
	say_open(&peer, "lo");
	wait_for(&peer, lab.linktypes == 1);
	rpcap_lab_answer_linktype(&lab, -1, "it is not up");
	hear_error(&peer, 0, RPCAP_ERR_OPEN);
	ck_assert_ptr_nonnull(strstr((const char *)heard_payload, "it is not up"));
	ck_assert_str_eq(client_of(&peer)->source, "");
	peer_close(&peer);
}
END_TEST

START_TEST(open_while_capture_restarts)
{
	struct peer peer;

	enter(&peer);
	lab.capture_mute = true;
	say_open(&peer, "lo");
	wait_for(&peer, lab.linktypes == 1);
	rpcap_capture_is_new(lab.server);
	hear_error(&peer, 0, RPCAP_ERR_OPEN);
	sync_with(&peer);
	peer_close(&peer);
}
END_TEST

/* Who waited has gone. */
START_TEST(open_and_away)
{
	struct peer peer, other;

	enter(&other);
	enter(&peer);
	lab.capture_mute = true;
	say_open(&peer, "lo");
	wait_for(&peer, lab.linktypes == 1);
	peer_close(&peer);
	wait_for(NULL, count_clients() == 1);
	rpcap_lab_answer_linktype(&lab, 1, "");
	sync_with(&other);
	peer_close(&other);
}
END_TEST

/* --- captures that are not --- */

static void
say_bytes(struct peer *peer, uint8_t type, const void *bytes, uint32_t len)
{
	say_header(peer, 0, type, len);
	say(peer, bytes, len);
}

START_TEST(requests_without_a_capture)
{
	struct rpcap_stats stats;
	struct peer peer;
	struct cursor c;
	uint8_t bytes[RPCAP_REQUEST_MAX] = { 0 };

	enter(&peer);
	say_bytes(&peer, RPCAP_STARTCAP, bytes, 20);
	hear_error(&peer, 0, RPCAP_ERR_STARTCAPTURE);
	say_bytes(&peer, RPCAP_UPDATEFILTER, bytes, 8);
	hear_error(&peer, 0, RPCAP_ERR_UPDATEFILTER);
	say_bytes(&peer, RPCAP_ENDCAP, bytes, 0);
	hear_error(&peer, 0, RPCAP_ERR_ENDCAPTURE);
	say_bytes(&peer, RPCAP_STATS, bytes, 0);
	c = hear(&peer, RPCAP_STATS | RPCAP_REPLY);
	ck_assert_int_eq(rpcap_get_stats_reply(&c, &stats), 0);
	ck_assert_uint_eq(stats.ifrecv | stats.ifdrop | stats.krnldrop | stats.svrcapt, 0);
	say_open(&peer, "lo");
	(void)hear(&peer, RPCAP_OPEN | RPCAP_REPLY);
	for (uint32_t len = 0; len < 20; len++) {
		say_bytes(&peer, RPCAP_STARTCAP, bytes, len);
		hear_error(&peer, 0, RPCAP_ERR_STARTCAPTURE);
	}
	bytes[13] = 9;		/* a filter's type that is none */
	say_bytes(&peer, RPCAP_STARTCAP, bytes, sizeof(bytes));
	hear_error(&peer, 0, RPCAP_ERR_STARTCAPTURE);
	bytes[13] = 1;
	memset(bytes + 16, 0xff, 4);	/* of 4,294,967,295 instructions */
	say_bytes(&peer, RPCAP_STARTCAP, bytes, sizeof(bytes));
	hear_error(&peer, 0, RPCAP_ERR_STARTCAPTURE);
	sync_with(&peer);
	peer_close(&peer);
}
END_TEST

START_TEST(sampling)
{
	struct rpcap_sampling wish = { .method = RPCAP_SAMPLE_1_EVERY_N, .value = 10 };
	struct peer peer;
	struct buf msg;

	enter(&peer);
	for (wish.method = 0; wish.method < 4; wish.method++) {
		buf_init(&msg, 64);
		ck_assert_int_eq(rpcap_put_sampling(&msg, 0, &wish), 0);
		say_buf(&peer, &msg);
		if (wish.method > RPCAP_SAMPLE_AFTER_N_MS) {
			hear_error(&peer, 0, RPCAP_ERR_SETSAMPLING);
			continue;
		}
		(void)hear(&peer, RPCAP_SETSAMPLING | RPCAP_REPLY);
		ck_assert_uint_eq(heard.length, 0);
		ck_assert_uint_eq(client_of(&peer)->sampling.method, wish.method);
		ck_assert_uint_eq(client_of(&peer)->sampling.value, 10);
	}
	say_bytes(&peer, RPCAP_SETSAMPLING, "\1\0\0\0\0\0\0\0", 8);	/* 1 in 0 */
	hear_error(&peer, 0, RPCAP_ERR_SETSAMPLING);
	for (uint32_t len = 0; len < 8; len++) {
		say_bytes(&peer, RPCAP_SETSAMPLING, "\1\0\0\0\0\0\0\1", len);
		hear_error(&peer, 0, RPCAP_ERR_SETSAMPLING);
	}
	ck_assert_uint_eq(client_of(&peer)->sampling.method, RPCAP_SAMPLE_AFTER_N_MS);
	peer_close(&peer);
}
END_TEST

/* --- lengths, pieces, floods --- */

/* The answer comes before what is of no use, which is not kept. */
START_TEST(payloads_too_long_are_passed_over)
{
	static const uint8_t types[] = { RPCAP_FINDALLIF, RPCAP_STATS, RPCAP_ENDCAP, RPCAP_SETSAMPLING };
	static uint8_t bytes[100000] = { RPCAP_SAMPLE_NONE };
	struct peer peer;

	enter(&peer);
	for (size_t i = 0; i < sizeof(types); i++) {
		say_header(&peer, 0, types[i], 3 * sizeof(bytes));
		say(&peer, bytes, 8);
		(void)hear(&peer, types[i] == RPCAP_ENDCAP ? RPCAP_ERROR : types[i] | RPCAP_REPLY);
		say(&peer, bytes, sizeof(bytes));
		say(&peer, bytes, sizeof(bytes) - 8);
		turn(&peer);
		ck_assert_uint_eq(peer.in.len, 0);
		say(&peer, bytes, sizeof(bytes));
		sync_with(&peer);
	}
	say_header(&peer, 0, RPCAP_FINDALLIF, UINT32_MAX);
	(void)hear(&peer, RPCAP_FINDALLIF | RPCAP_REPLY);
	for (unsigned i = 0; i < 50; i++) {
		say(&peer, bytes, sizeof(bytes));
		turn(&peer);
		ck_assert_uint_le(tlsio_input(client_of(&peer)->control)->size, 256 * 1024);
	}
	wait_for(&peer, client_of(&peer)->skip == UINT32_MAX - 50 * sizeof(bytes));
	peer_close(&peer);
}
END_TEST

static size_t
conversation(uint8_t *bytes, size_t size)
{
	const struct rpcap_auth auth = { .type = RPCAP_AUTH_NULL };
	const struct rpcap_sampling wish = { .method = RPCAP_SAMPLE_NONE };
	struct buf msg;
	size_t len;
	int errs = 0;

	buf_init(&msg, size);
	errs += rpcap_put_auth(&msg, &auth);
	errs += rpcap_put_empty(&msg, 0, RPCAP_FINDALLIF);
	errs += rpcap_put_open(&msg, 0, "lo");
	errs += rpcap_put_sampling(&msg, 0, &wish);
	errs += rpcap_put_empty(&msg, 0, RPCAP_STATS);
	errs += rpcap_put_empty(&msg, 0, RPCAP_ENDCAP);
	errs += rpcap_put_empty(&msg, 0, RPCAP_CLOSE);
	ck_assert_int_eq(errs, 0);
	memcpy(bytes, msg.data, msg.len);
	len = msg.len;
	buf_clear(&msg);
	return len;
}

static void
hear_conversation(struct peer *peer)
{
	static const uint8_t answers[] = { RPCAP_AUTH, RPCAP_FINDALLIF, RPCAP_OPEN, RPCAP_SETSAMPLING, RPCAP_STATS };

	for (size_t i = 0; i < sizeof(answers); i++)
		(void)hear(peer, answers[i] | RPCAP_REPLY);
	hear_error(peer, 0, RPCAP_ERR_ENDCAPTURE);
	hear_end(peer);
}

START_TEST(all_at_once_and_byte_by_byte)
{
	uint8_t bytes[512];
	size_t len = conversation(bytes, sizeof(bytes));
	struct peer peer;

	peer_open(&peer);
	say(&peer, bytes, len);
	hear_conversation(&peer);
	peer_open(&peer);
	for (size_t i = 0; i < len; i++) {
		say(&peer, bytes + i, 1);
		turn(&peer);
	}
	hear_conversation(&peer);
}
END_TEST

/* Whatever it had understood by then, nothing of it stays. */
START_TEST(cut_anywhere)
{
	uint8_t bytes[512];
	size_t len = conversation(bytes, sizeof(bytes));
	struct peer peer;

	for (size_t cut = 0; cut < len; cut++) {
		peer_open(&peer);
		say(&peer, bytes, cut);
		shutdown(peer.fd, SHUT_WR);
		wait_for(&peer, peer.closed);
		peer_close(&peer);
		wait_for(NULL, count_clients() == 0);
	}
}
END_TEST

static bool
hear_whatever(struct peer *peer)
{
	while (message_there(peer))
		buf_consume(&peer->in, RPCAP_HEADER_SIZE + heard.length);
	return peer->closed;
}

START_TEST(each_bit_wrong)
{
	uint8_t bytes[512];
	size_t len = conversation(bytes, sizeof(bytes));
	struct peer peer;

	for (size_t bit = 0; bit < 8 * len; bit++) {
		peer_open(&peer);
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		say(&peer, bytes, len);
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		shutdown(peer.fd, SHUT_WR);
		wait_for(&peer, hear_whatever(&peer));
		if (bit >= 8)		/* a first byte of 0x16 is TLS's, and answered so */
			ck_assert_uint_eq(peer.in.len, 0);
		peer_close(&peer);
		wait_for(NULL, count_clients() == 0);
		rpcap_lab_forgive(&lab);
	}
}
END_TEST

#define FLOOD	20000

START_TEST(flood)
{
	static uint8_t bytes[8 * FLOOD];
	struct peer peer, other;
	size_t sent = 0, answers = 0;
	ssize_t n;

	for (size_t i = 0; i < FLOOD; i++)
		bytes[8 * i + 1] = RPCAP_STATS;
	enter(&peer);
	enter(&other);
	while (answers < FLOOD) {
		n = send(peer.fd, bytes + sent, sizeof(bytes) - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
		sent += n > 0 ? (size_t)n : 0;
		turn(&peer);
		ck_assert(!peer.closed);
		while (message_there(&peer)) {
			ck_assert_uint_eq(heard.type, RPCAP_STATS | RPCAP_REPLY);
			buf_consume(&peer.in, RPCAP_HEADER_SIZE + heard.length);
			answers++;
		}
	}
	sync_with(&peer);
	sync_with(&other);
	peer_close(&peer);
	peer_close(&other);
}
END_TEST

/* Its requests wait with it; what it is owed and what it sent are bounded, and others are served. */
START_TEST(who_does_not_read_waits)
{
	static uint8_t bytes[8 * FLOOD];
	const struct rpcap_client *client;
	struct peer peer, other;
	const int few = 8192;
	size_t idle = 0, sent = 0;
	ssize_t n;

	/* Lists of interfaces are longer, but each waits for whoever changes interfaces just then, anywhere on the machine. */
	for (size_t i = 0; i < FLOOD; i++)
		bytes[8 * i + 1] = RPCAP_STATS;
	enter(&peer);
	enter(&other);
	client = client_of(&peer);
	ck_assert_int_eq(setsockopt(tlsio_fd(client->control), SOL_SOCKET, SO_SNDBUF, &few, sizeof(few)), 0);
	while (idle < 1000 || tlsio_queued(client->control) <= 64 * 1024) {
		n = send(peer.fd, bytes + sent % sizeof(bytes), sizeof(bytes) - sent % sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL);
		idle = n > 0 ? 0 : idle + 1;
		sent += n > 0 ? (size_t)n : 0;
		rpcap_lab_turn(&lab);
		ck_assert_uint_le(tlsio_queued(client->control), 256 * 1024);
		ck_assert_uint_le(tlsio_input(client->control)->len, RPCAP_HEADER_SIZE + RPCAP_REQUEST_MAX);
	}
	ck_assert_int_eq(client->state, CLIENT_READY);
	sync_with(&other);
	for (size_t answers = 0; answers < 100; answers++)
		(void)hear(&peer, RPCAP_STATS | RPCAP_REPLY);
	peer_close(&peer);
	peer_close(&other);
}
END_TEST

/* --- limits --- */

START_TEST(no_authentication_in_time)
{
	struct peer peer;

	peer_open(&peer);
	say_header(&peer, 0, RPCAP_FINDALLIF, 0);
	hear_error(&peer, 0, RPCAP_ERR_WRONGMSG);
	ring(client_of(&peer)->timer);
	hear_error(&peer, 0, RPCAP_ERR_INITTIMEOUT);
	hear_end(&peer);
}
END_TEST

START_TEST(nothing_in_time)
{
	struct peer peer;

	peer_open(&peer);
	wait_for(&peer, client_of(&peer) != NULL);
	ring(client_of(&peer)->timer);
	hear_end(&peer);
}
END_TEST

START_TEST(no_request_in_time)
{
	struct peer peer;

	enter(&peer);
	ring(client_of(&peer)->timer);
	hear_error(&peer, 0, RPCAP_ERR_RUNTIMETIMEOUT);
	hear_end(&peer);
}
END_TEST

/* The oldest goes; who has authenticated stays. */
START_TEST(too_many_strangers)
{
	struct peer peer, strangers[RPCAP_STRANGERS_MAX + 1];
	size_t i;

	enter(&peer);
	for (i = 0; i < RPCAP_STRANGERS_MAX; i++) {
		peer_open(&strangers[i]);
		wait_for(NULL, count_clients() == i + 2);
	}
	peer_open(&strangers[RPCAP_STRANGERS_MAX]);
	hear_end(&strangers[0]);
	sync_with(&peer);
	for (i = 1; i <= RPCAP_STRANGERS_MAX; i++) {
		say_auth(&strangers[i], NULL, NULL);
		(void)hear(&strangers[i], RPCAP_AUTH | RPCAP_REPLY);
	}
	ck_assert_uint_eq(count_clients(), RPCAP_STRANGERS_MAX + 1);
	for (i = 1; i <= RPCAP_STRANGERS_MAX; i++)
		peer_close(&strangers[i]);
	peer_close(&peer);
}
END_TEST

/* One that may not connect does not take the place of one that may. */
START_TEST(too_many_strangers_of_elsewhere)
{
	static char net[] = "127.0.0.0/8", elsewhere[] = "192.0.2.0/24";
	char *list[1] = { net };
	struct peer peer, strangers[RPCAP_STRANGERS_MAX];

	set_list(&options->rpcap_allow, list, 1);
	rpcap_options(lab.server);
	for (size_t i = 0; i < RPCAP_STRANGERS_MAX; i++)
		peer_open(&strangers[i]);
	wait_for(NULL, count_clients() == RPCAP_STRANGERS_MAX);
	list[0] = elsewhere;
	rpcap_options(lab.server);
	peer_open(&peer);
	hear_end(&peer);
	ck_assert_uint_eq(count_clients(), RPCAP_STRANGERS_MAX);
	for (size_t i = 0; i < RPCAP_STRANGERS_MAX; i++)
		peer_close(&strangers[i]);
}
END_TEST

START_TEST(too_many_clients)
{
	struct peer peers[RPCAP_CLIENTS_MAX], peer;

	for (size_t i = 0; i < RPCAP_CLIENTS_MAX; i++)
		enter(&peers[i]);
	peer_open(&peer);
	say_auth(&peer, NULL, NULL);
	hear_error(&peer, 0, RPCAP_ERR_AUTH_FAILED);
	peer_close(&peers[0]);
	wait_for(&peer, count_clients() == RPCAP_CLIENTS_MAX);
	say_auth(&peer, NULL, NULL);
	(void)hear(&peer, RPCAP_AUTH | RPCAP_REPLY);
	for (size_t i = 1; i < RPCAP_CLIENTS_MAX; i++)
		peer_close(&peers[i]);
	peer_close(&peer);
}
END_TEST

#define CONNECTS	1000

START_TEST(a_thousand_in_turn)
{
	struct peer peer;
	unsigned before;

	enter(&peer);
	peer_close(&peer);
	wait_for(NULL, count_clients() == 0);
	before = count_fds();
	for (unsigned i = 0; i < CONNECTS; i++) {
		enter(&peer);
		if (i % 2 == 0) {
			say_header(&peer, 0, RPCAP_CLOSE, 0);
			hear_end(&peer);
		} else
			peer_close(&peer);
	}
	wait_for(NULL, count_clients() == 0);
	ck_assert_uint_eq(count_fds(), before);
	ck_assert_uint_eq(lab.server->accepted, CONNECTS + 1);
}
END_TEST

/* It is tried again, without a busy loop meanwhile. */
START_TEST(no_descriptors_left)
{
	struct rlimit limit, less;
	struct peer peer;
	int lowest;

	peer_open(&peer);
	lowest = dup(peer.fd);
	close(lowest);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	less = (struct rlimit){ .rlim_cur = (rlim_t)lowest, .rlim_max = limit.rlim_max };
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &less), 0);
	wait_for(NULL, logged("cannot accept"));
	ck_assert_uint_eq(count_clients(), 0);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	say_auth(&peer, NULL, NULL);
	(void)hear(&peer, RPCAP_AUTH | RPCAP_REPLY);
	peer_close(&peer);
}
END_TEST

/* --- hosts --- */

START_TEST(hosts)
{
	static char elsewhere[] = "192.0.2.0/24", here[] = "127.0.0.1";
	char *list[2] = { elsewhere, here };
	struct peer peer;

	set_list(&options->rpcap_allow, list, 1);
	rpcap_options(lab.server);
	peer_open(&peer);
	say_auth(&peer, NULL, NULL);
	hear_error(&peer, 0, RPCAP_ERR_HOSTNOAUTH);
	hear_end(&peer);
	set_list(&options->rpcap_allow, list, 2);
	rpcap_options(lab.server);
	enter(&peer);
	peer_close(&peer);
}
END_TEST

static const struct {
	const char	*prefix, *address;
	bool		 has;
} prefixes[] = {
	{ "192.0.2.7", "192.0.2.7", true }, { "192.0.2.7", "192.0.2.6", false }, { "192.0.2.0/24", "192.0.2.255", true },
	{ "192.0.2.0/24", "192.0.3.0", false }, { "192.0.2.9/24", "192.0.2.1", true }, { "10.0.0.0/9", "10.127.0.1", true },
	{ "10.0.0.0/9", "10.128.0.1", false }, { "0.0.0.0/0", "203.0.113.9", true }, { "0.0.0.0/0", "::1", false },
	{ "::/0", "2001:db8::1", true }, { "::/0", "10.0.0.1", false }, { "2001:db8::/33", "2001:db8:7fff::", true },
	{ "2001:db8::/33", "2001:db8:8000::", false }, { "192.0.2.0/24", "::ffff:192.0.2.1", true },
	{ "fe80::1/128", "fe80::1", true },
	{ "fe80::1/128", "fe80::2", false }, { "192.0.2.1/31", "192.0.2.0", true }, { "192.0.2.1/32", "192.0.2.0", false },
};

START_TEST(prefix_matches)
{
	char *list[1] = { (char *)(uintptr_t)prefixes[_i].prefix };
	const struct conf_list all = { .value = list, .origin = list, .count = 1 };
	struct sockaddr_storage ss = { 0 };
	struct sockaddr_in *v4 = (void *)&ss;
	struct sockaddr_in6 *v6 = (void *)&ss;
	struct rpcap_allow allow;
	struct conf_error error;

	ck_assert_int_eq(rpcap_allow_read(&allow, &all, &error), 0);
	if (inet_pton(AF_INET, prefixes[_i].address, &v4->sin_addr) == 1)
		ss.ss_family = AF_INET;
	else {
		ck_assert_int_eq(inet_pton(AF_INET6, prefixes[_i].address, &v6->sin6_addr), 1);
		ss.ss_family = AF_INET6;
	}
	ck_assert_int_eq(rpcap_allow_has(&allow, &ss), prefixes[_i].has);
}
END_TEST

static const char *const bad_prefixes[] = { "", "/", "/8", "localhost", "192.0.2", "192.0.2.0/", "192.0.2.0/33", "192.0.2.0/-1",
	"192.0.2.0/ 8",
	"192.0.2.0/8x", "192.0.2.0/0x8", "2001:db8::/129", "2001:db8::/0000", "192.0.2.0/24/8", "2001:db8::%eth0",
	"1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111" };

START_TEST(bad_prefix)
{
	char *list[2] = { (char *)(uintptr_t)"192.0.2.1", (char *)(uintptr_t)bad_prefixes[_i] };
	char *origin[2] = { (char *)(uintptr_t)CONF_COMMAND_LINE, (char *)(uintptr_t)"agent.conf:7" };
	const struct conf_list all = { .value = list, .origin = origin, .count = 2 };
	struct conf_error error;

	ck_assert_int_eq(rpcap_allow_check(&all, &error), -1);
	ck_assert_ptr_nonnull(strstr(error.text, "agent.conf:7"));
	ck_assert_ptr_nonnull(strstr(error.text, bad_prefixes[_i]));
}
END_TEST

START_TEST(prefixes_without_end)
{
	char *list[RPCAP_ALLOW_MAX + 1];
	struct conf_list all = { .value = list, .origin = list, .count = RPCAP_ALLOW_MAX };
	struct conf_error error;

	for (size_t i = 0; i <= RPCAP_ALLOW_MAX; i++)
		list[i] = (char *)(uintptr_t)"192.0.2.1";
	ck_assert_int_eq(rpcap_allow_check(&all, &error), 0);
	all.count++;
	ck_assert_int_eq(rpcap_allow_check(&all, &error), -1);
}
END_TEST

/* --- TLS and plain text --- */

START_TEST(over_tls)
{
	struct tls_context *tls = client_context(NULL);
	struct peer peer;

	use_certificate(NULL);
	peer_open_tls(&peer, tls);
	wait_for(&peer, peer.end.opened);
	say_auth(&peer, NULL, NULL);
	(void)hear(&peer, RPCAP_AUTH | RPCAP_REPLY);
	ck_assert(is_listed(&peer, "lo"));
	say_header(&peer, 0, RPCAP_CLOSE, 0);
	hear_end(&peer);
	tls_context_free(tls);
}
END_TEST

START_TEST(tls_with_clients_certificates)
{
	struct tls_context *without = client_context(NULL), *with = client_context("web1");
	struct peer peer;

	use_certificate("good");
	peer_open_tls(&peer, without);
	wait_for(&peer, peer.end.closed);
	ck_assert_uint_eq(peer.in.len, 0);
	peer_close(&peer);
	peer_open_tls(&peer, with);
	wait_for(&peer, peer.end.opened);
	say_auth(&peer, NULL, NULL);
	(void)hear(&peer, RPCAP_AUTH | RPCAP_REPLY);
	peer_close(&peer);
	use_certificate("evil");
	peer_open_tls(&peer, with);
	wait_for(&peer, peer.end.closed);
	peer_close(&peer);
	tls_context_free(without);
	tls_context_free(with);
}
END_TEST

/* Over loopback, too; with --rpcap-plain both are served, at the same port. */
START_TEST(tls_is_required)
{
	struct tls_context *tls = client_context(NULL);
	struct peer peer;

	use_certificate(NULL);
	peer_open(&peer);
	say_header(&peer, 3, RPCAP_AUTH, 1000);
	hear_error(&peer, 3, RPCAP_ERR_TLS_REQUIRED);
	hear_end(&peer);
	options->rpcap_plain = true;
	rpcap_options(lab.server);
	ck_assert(logged("--rpcap-plain"));
	enter(&peer);
	peer_close(&peer);
	peer_open_tls(&peer, tls);
	wait_for(&peer, peer.end.opened);
	peer_close(&peer);
	tls_context_free(tls);
}
END_TEST

/* A certificate that cannot be read does not open the door to plain text. */
START_TEST(tls_without_a_certificate)
{
	static char name[] = "not there";
	const int none[RPCAP_FILES] = { -1, -1, -1, -1 };
	struct peer peer;

	options->rpcap_cert = options->rpcap_key = name;
	rpcap_lab_files(&lab, none);
	ck_assert_ptr_null(lab.server->tls);
	peer_open(&peer);
	say_auth(&peer, NULL, NULL);
	hear_error(&peer, 0, RPCAP_ERR_TLS_REQUIRED);
	hear_end(&peer);
}
END_TEST

START_TEST(tls_is_not_served)
{
	static const uint8_t hello[] = { 0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3 };
	static const uint8_t alert[] = { 0x15, 3, 1, 0, 2, 2, 40 };
	struct tls_context *tls = client_context(NULL);
	struct peer peer;

	peer_open(&peer);
	say(&peer, hello, sizeof(hello));
	wait_for(&peer, peer.in.len == sizeof(alert));
	ck_assert_int_eq(memcmp(peer.in.data, alert, sizeof(alert)), 0);
	buf_consume(&peer.in, sizeof(alert));
	hear_end(&peer);
	peer_open_tls(&peer, tls);
	wait_for(&peer, peer.end.closed);
	ck_assert_msg(strstr(peer.end.why, "no TLS parameters in common") != NULL, "%s", peer.end.why);
	peer_close(&peer);
	tls_context_free(tls);
}
END_TEST

/* As if it had come from elsewhere. */
START_TEST(plain_text_stays_at_home)
{
	struct rpcap_client *client;
	struct peer peer;

	peer_open(&peer);
	wait_for(&peer, (client = client_of(&peer)) != NULL);
	ck_assert(rpcap_client_is_local(client));
	((struct sockaddr_in *)(void *)&client->address)->sin_addr.s_addr = htonl(0xc0000201);
	ck_assert(!rpcap_client_is_local(client));
	say_auth(&peer, NULL, NULL);
	hear_error(&peer, 0, RPCAP_ERR_TLS_REQUIRED);
	hear_end(&peer);
	ck_assert(logged("plain text is refused"));
}
END_TEST

/* --- before and after --- */

/* Nobody may come before the capture role leaves the port out. */
START_TEST(nobody_before_the_taps)
{
	struct peer peer;

	rpcap_lab_close(&lab);
	memset(&lab, 0, sizeof(lab));
	options->rpcap_null_auth = lab.capture_mute = true;
	rpcap_lab_open(&lab);
	peer_open(&peer);
	say_auth(&peer, NULL, NULL);
	for (unsigned i = 0; i < 100; i++)
		turn(&peer);
	ck_assert_uint_eq(count_clients(), 0);
	ck_assert_uint_gt(lab.taps, 0);
	lab.capture_mute = false;
	rpcap_lab_answer_taps(&lab);
	(void)hear(&peer, RPCAP_AUTH | RPCAP_REPLY);
	peer_close(&peer);
}
END_TEST

START_TEST(all_are_let_go)
{
	struct peer peer, stranger, silent;

	enter(&peer);
	peer_open(&silent);
	peer_open(&stranger);
	say_header(&stranger, 0, RPCAP_FINDALLIF, 0);
	hear_error(&stranger, 0, RPCAP_ERR_WRONGMSG);
	wait_for(NULL, count_clients() == 3);
	ck_assert(!rpcap_done(lab.server));
	rpcap_stop(lab.server);
	hear_error(&peer, 0, RPCAP_ERR_NETW);
	hear_end(&peer);
	hear_end(&stranger);
	hear_end(&silent);
	wait_for(NULL, rpcap_done(lab.server));
}
END_TEST

START_TEST(the_log_of_all)
{
	struct peer peer;

	enter(&peer);
	say_open(&peer, "lo");
	(void)hear(&peer, RPCAP_OPEN | RPCAP_REPLY);
	rpcap_log(lab.server);
	ck_assert(logged("1 connections accepted"));
	ck_assert(logged(client_of(&peer)->name));
	peer_close(&peer);
}
END_TEST

/* --- sockets of the supervisor's --- */

struct wish {
	struct rpcap_wait wait;
	unsigned	 came;
	int		 fd, error;
};

static void
on_came(int fd, int error, void *arg)
{
	struct wish *wish = arg;

	wish->came++;
	wish->fd = fd;
	wish->error = error;
}

static void
wish_for(struct wish *wish, uint8_t type)
{
	*wish = (struct wish){ .wait = { .family = AF_INET, .type = type, .came = on_came, .arg = wish } };
	rpcap_wait_socket(lab.server, &wish->wait);
}

/* One at a time, each to whom it is for, also when somebody has lost interest. */
START_TEST(sockets_in_order)
{
	struct wish wish[4];
	int type;
	socklen_t len = sizeof(type);

	lab.supervisor_mute = true;
	for (unsigned i = 0; i < 4; i++)
		wish_for(&wish[i], i % 2 == 0 ? SOCK_STREAM : SOCK_DGRAM);
	wait_for(NULL, lab.sockets == 1);
	rpcap_wait_cancel(lab.server, &wish[0].wait);
	rpcap_wait_cancel(lab.server, &wish[0].wait);
	rpcap_lab_answer_socket(&lab, 0);
	wait_for(NULL, lab.sockets == 2);
	ck_assert_uint_eq(lab.socket_type, SOCK_DGRAM);
	rpcap_lab_answer_socket(&lab, 0);
	wait_for(NULL, wish[1].came == 1);
	ck_assert_int_eq(getsockopt(wish[1].fd, SOL_SOCKET, SO_TYPE, &type, &len), 0);
	ck_assert_int_eq(type, SOCK_DGRAM);
	wait_for(NULL, lab.sockets == 3);
	rpcap_lab_answer_socket(&lab, EMFILE);
	wait_for(NULL, wish[2].came == 1);
	ck_assert_int_eq(wish[2].fd, -1);
	ck_assert_int_eq(wish[2].error, EMFILE);
	wait_for(NULL, lab.sockets == 4);
	rpcap_lab_answer_socket(&lab, 0);
	wait_for(NULL, wish[3].came == 1);
	ck_assert_uint_eq(wish[0].came, 0);
	close(wish[1].fd);
	close(wish[3].fd);
}
END_TEST

/* --- active mode --- */

static int
listen_here(uint16_t *port)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof(sin);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	ck_assert_int_eq(listen(fd, 4), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&sin, &len), 0);
	*port = ntohs(sin.sin_port);
	return fd;
}

static bool
call_came(struct peer *peer, int listening)
{
	int fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC);

	if (fd == -1)
		return false;
	peer_use(peer, fd);
	return true;
}

static char call_text[32];
static char *calls[1] = { call_text };

static int
start_calls(uint16_t *port)
{
	int fd = listen_here(port);

	snprintf(call_text, sizeof(call_text), "127.0.0.1:%u", *port);
	set_list(&options->rpcap_connects, calls, 1);
	rpcap_options(lab.server);
	return fd;
}

static bool
is_left_out(uint16_t port)
{
	const struct ipc_tap *tap = &lab.tap[0];

	for (unsigned i = 0; i < tap->own_count; i++)
		if (tap->own[i].port == port && tap->own[i].family == AF_INET)
			return true;
	return false;
}

/* First the capture role leaves the address out; then it is a client like others, but for time limits and --rpcap-allow. */
START_TEST(active_mode)
{
	static char elsewhere[] = "192.0.2.0/24";
	char *list[1] = { elsewhere };
	struct peer peer;
	uint16_t port;
	int fd;

	lab.link->tap[0].wanted = true;
	set_list(&options->rpcap_allow, list, 1);
	lab.capture_mute = true;
	fd = start_calls(&port);
	wait_for(NULL, is_left_out(port));
	ck_assert(!call_came(&peer, fd));
	lab.capture_mute = false;
	rpcap_lab_answer_taps(&lab);
	wait_for(NULL, call_came(&peer, fd));
	wait_for(NULL, count_clients() == 1);
	ck_assert_int_eq(event_pending(TAILQ_FIRST(&lab.server->clients)->timer, EV_TIMEOUT, NULL), 0);
	say_auth(&peer, NULL, NULL);
	(void)hear(&peer, RPCAP_AUTH | RPCAP_REPLY);
	ck_assert_int_eq(event_pending(TAILQ_FIRST(&lab.server->clients)->timer, EV_TIMEOUT, NULL), 0);
	ck_assert(is_listed(&peer, "lo"));
	peer_close(&peer);
	wait_for(NULL, call_came(&peer, fd));	/* it is called again */
	ck_assert(is_left_out(port));
	say_auth(&peer, NULL, NULL);
	(void)hear(&peer, RPCAP_AUTH | RPCAP_REPLY);
	set_list(&options->rpcap_connects, calls, 0);
	rpcap_options(lab.server);
	hear_end(&peer);
	close(fd);
}
END_TEST

/* Nobody is there at first. */
START_TEST(active_mode_goes_on)
{
	struct peer peer;
	uint16_t port;
	int fd = start_calls(&port), again;
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = { htonl(INADDR_LOOPBACK) } };

	close(fd);
	wait_for(NULL, logged("Connection refused"));
	again = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(again, (struct sockaddr *)&sin, sizeof(sin)), 0);
	ck_assert_int_eq(listen(again, 4), 0);
	wait_for(NULL, call_came(&peer, again));
	say_auth(&peer, NULL, NULL);
	(void)hear(&peer, RPCAP_AUTH | RPCAP_REPLY);
	rpcap_stop(lab.server);
	hear_error(&peer, 0, RPCAP_ERR_NETW);
	hear_end(&peer);
	close(again);
}
END_TEST

/* We are the server of TLS all the same. */
START_TEST(active_mode_by_tls)
{
	struct tls_context *tls = client_context(NULL);
	struct peer peer;
	uint16_t port;
	int fd;

	use_certificate(NULL);
	fd = start_calls(&port);
	wait_for(NULL, call_came(&peer, fd));
	ck_assert_int_eq(fcntl(peer.fd, F_SETFL, O_NONBLOCK), 0);
	peer.end.on_readable = peer_take;
	peer.end.more = &peer;
	lab_end_open(&peer.end, lab.link->base, tls, peer.fd, TLSIO_CLIENT);
	peer.fd = -1;
	wait_for(&peer, peer.end.opened);
	say_auth(&peer, NULL, NULL);
	(void)hear(&peer, RPCAP_AUTH | RPCAP_REPLY);
	peer_close(&peer);
	close(fd);
	tls_context_free(tls);
}
END_TEST

#define COUNT(list)	((int)(sizeof(list) / sizeof((list)[0])))

static void
add_messages(TCase *tc)
{
	tcase_add_test(tc, strangers_may_only_authenticate);
	tcase_add_test(tc, strangers_speak_version_0);
	tcase_add_test(tc, clients_speak_version_0);
	tcase_add_test(tc, clients_make_requests);
	tcase_add_test(tc, close_ends_without_an_answer);
	tcase_add_test(tc, errors_of_theirs);
	tcase_add_test(tc, interfaces_are_listed);
	tcase_add_test(tc, interfaces_by_patterns);
	tcase_add_loop_test(tc, open_wrong, 0, COUNT(wrong_sources));
	tcase_add_test(tc, open_too_long);
	tcase_add_test(tc, open_is_awaited);
	tcase_add_test(tc, open_refused_by_capture);
	tcase_add_test(tc, open_while_capture_restarts);
	tcase_add_test(tc, open_and_away);
	tcase_add_test(tc, requests_without_a_capture);
	tcase_add_test(tc, sampling);
}

static void
add_authentication(TCase *tc)
{
	tcase_add_test(tc, null_authentication);
	tcase_add_test(tc, null_authentication_is_not_permitted);
	tcase_add_loop_test(tc, wrong_password, 0, COUNT(wrong_passwords));
	tcase_add_test(tc, wrong_password_of_another_host);
	tcase_add_test(tc, guessers_of_many_hosts);
	tcase_add_test(tc, guessers_of_a_network);
	tcase_add_test(tc, wrong_passwords_take_turns);
	tcase_add_test(tc, nobody_has_a_password);
	tcase_add_test(tc, malformed_authentication);
	tcase_add_test(tc, endless_password);
	tcase_add_loop_test(tc, bad_passwords_file, 0, COUNT(bad_files));
	tcase_add_test(tc, hosts);
	tcase_add_loop_test(tc, prefix_matches, 0, COUNT(prefixes));
	tcase_add_loop_test(tc, bad_prefix, 0, COUNT(bad_prefixes));
	tcase_add_test(tc, prefixes_without_end);
}

static void
add_limits(TCase *tc)
{
	tcase_add_test(tc, payloads_too_long_are_passed_over);
	tcase_add_test(tc, all_at_once_and_byte_by_byte);
	tcase_add_test(tc, cut_anywhere);
	tcase_add_test(tc, each_bit_wrong);
	tcase_add_test(tc, flood);
	tcase_add_test(tc, who_does_not_read_waits);
	tcase_add_test(tc, no_authentication_in_time);
	tcase_add_test(tc, nothing_in_time);
	tcase_add_test(tc, no_request_in_time);
	tcase_add_test(tc, too_many_strangers);
	tcase_add_test(tc, too_many_strangers_of_elsewhere);
	tcase_add_test(tc, too_many_clients);
	tcase_add_test(tc, a_thousand_in_turn);
	tcase_add_test(tc, no_descriptors_left);
}

static void
add_connections(TCase *tc)
{
	tcase_add_unchecked_fixture(tc, lab_open, lab_close);
	tcase_add_test(tc, over_tls);
	tcase_add_test(tc, tls_with_clients_certificates);
	tcase_add_test(tc, tls_is_required);
	tcase_add_test(tc, tls_without_a_certificate);
	tcase_add_test(tc, tls_is_not_served);
	tcase_add_test(tc, plain_text_stays_at_home);
	tcase_add_test(tc, nobody_before_the_taps);
	tcase_add_test(tc, all_are_let_go);
	tcase_add_test(tc, the_log_of_all);
	tcase_add_test(tc, sockets_in_order);
	tcase_add_test(tc, active_mode);
	tcase_add_test(tc, active_mode_goes_on);
	tcase_add_test(tc, active_mode_by_tls);
}

static void
add_case(Suite *suite, const char *name, void (*add)(TCase *))
{
	TCase *tc = tcase_create(name);

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	add(tc);
	suite_add_tcase(suite, tc);
}

int
main(void)
{
	Suite *suite = suite_create("rpcap_server");
	SRunner *runner;
	int failed;

	add_case(suite, "authentication", add_authentication);
	add_case(suite, "messages", add_messages);
	add_case(suite, "limits", add_limits);
	add_case(suite, "connections", add_connections);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
