/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/mman.h>
#include <sys/socket.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>
#include <pcap/bpf.h>

#include "common/tls.h"

#include "tests/rpcap_lab.h"

int	LLVMFuzzerTestOneInput(const uint8_t *, size_t);

/*
 * The input is a script: a few clients say messages, or bytes that are none, to an RPCAP server, in pieces; capture role and
 * supervisor answer late or not at all, time runs out, options change. What the server says has good form; what waits is bounded;
 * at the end nothing is left.
 */
#define PEERS		3
#define OPENS_MAX	8
#define STEPS_MAX	256
#define QUEUED_MAX	(1024u * 1024)
#define STEP_TOGETHER	0x80

struct fuzz;
struct peer {
	struct fuzz	*fuzz;
	int		 fd, data;		/* -1: none */
	struct buf	 out, in;
	uint8_t		 version;
	uint16_t	 port;			/* of the last STARTCAP's reply */
};

struct fuzz {
	struct rpcap_lab lab;
	struct peer	 peer[PEERS];
	unsigned	 opens;
};

/* --- what comes from the server --- */

static void
take_message(struct peer *peer, const struct rpcap_header *header, struct cursor *payload)
{
	struct rpcap_startcap_reply reply;
	uint8_t type = header->type & (uint8_t)~RPCAP_REPLY;

	if (header->type == RPCAP_ERROR) {
		script_assert(rpcap_error_name(header->value) != NULL && header->length < RPCAP_TEXT_SIZE);
		return;
	}
	script_assert((header->type & RPCAP_REPLY) != 0 && type < RPCAP_TYPE_MAX && rpcap_requests[type].take != NULL);
	if (type == RPCAP_STARTCAP && rpcap_get_startcap_reply(payload, &reply) == 0)
		peer->port = reply.port;
}

static void
take_all(struct peer *peer)
{
	struct rpcap_header header;
	struct cursor payload;

	while (peer->in.len >= RPCAP_HEADER_SIZE && peer->in.data[0] != 0x15) {	/* TLS's alert, to what looked like it */
		rpcap_get_header(peer->in.data, &header);
		script_assert(header.length <= RPCAP_INTERFACES_MAX);
		if (peer->in.len < RPCAP_HEADER_SIZE + header.length)
			return;
		cursor_init(&payload, peer->in.data + RPCAP_HEADER_SIZE, header.length);
		take_message(peer, &header, &payload);
		buf_consume(&peer->in, RPCAP_HEADER_SIZE + header.length);
	}
}

static void
listen_to(struct peer *peer)
{
	static uint8_t bytes[65536];
	ssize_t n;

	while (peer->data != -1 && recv(peer->data, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		continue;
	while (peer->fd != -1 && (n = recv(peer->fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
		(void)buf_put(&peer->in, bytes, (size_t)n);
	take_all(peer);
}

static void
check_clients(struct fuzz *fuzz)
{
	const struct rpcap *r = fuzz->lab.server;
	struct rpcap_client *client;
	size_t strangers = 0;

	TAILQ_FOREACH(client, &r->clients, entry) {
		strangers += !client->authenticated && client->call == NULL;
		script_assert(client->authenticated || client->state != CLIENT_READY);
		script_assert(client->capture == NULL || client->authenticated);
		if (client->control == NULL)
			continue;
		script_assert(tlsio_queued(client->control) <= QUEUED_MAX);
		script_assert(tlsio_input(client->control)->len <= RPCAP_HEADER_SIZE + RPCAP_REQUEST_MAX);
	}
	script_assert(strangers <= RPCAP_STRANGERS_MAX);
	script_assert(r->socket_due || r->asked == NULL);
}

static void
run(struct fuzz *fuzz, unsigned times)
{
	script_loop(fuzz->lab.link->base, times);
	for (unsigned i = 0; i < PEERS; i++)
		listen_to(&fuzz->peer[i]);
	check_clients(fuzz);
}

/* --- connections --- */

static int
connect_to(uint16_t port)
{
	const struct linger now = { .l_onoff = 1 };	/* thousands a second would else fill the ports */
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = { htonl(INADDR_LOOPBACK) } };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	script_assert(fd != -1 && setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)) == 0);
	if (connect(fd, (struct sockaddr *)&sin, sizeof(sin)) == 0)
		return fd;
	close(fd);
	return -1;
}

static void
close_fd(int *fd)
{
	if (*fd != -1)
		close(*fd);
	*fd = -1;
}

static void
step_open(struct peer *peer, struct cursor *cursor)
{
	(void)cursor;
	if (peer->fuzz->opens++ >= OPENS_MAX)
		return;
	close_fd(&peer->fd);
	close_fd(&peer->data);
	buf_clear(&peer->in);
	peer->fd = connect_to(peer->fuzz->lab.port);
	run(peer->fuzz, 2);
}

static void
step_close(struct peer *peer, struct cursor *cursor)
{
	if (peer->fd != -1 && script_u8(cursor) & 1)
		shutdown(peer->fd, SHUT_WR);
	else
		close_fd(&peer->fd);
}

static void
step_data(struct peer *peer, struct cursor *cursor)
{
	close_fd(&peer->data);
	if (peer->port != 0 && script_u8(cursor) & 1)
		peer->data = connect_to(peer->port);
}

/* --- messages --- */

static void
step_auth(struct peer *peer, struct cursor *cursor)
{
	static const struct rpcap_auth auths[] = {
		{ .type = RPCAP_AUTH_NULL },
		{ .type = RPCAP_AUTH_PASSWORD, .user = "alice", .user_len = 5, .password = "secret", .password_len = 6 },
		{ .type = RPCAP_AUTH_PASSWORD, .user = "carol", .user_len = 5, .password = "", .password_len = 0 },
	};

	(void)rpcap_put_auth(&peer->out, &auths[script_u8(cursor) % 3]);
}

static void
step_open_interface(struct peer *peer, struct cursor *cursor)
{
	static const char *const names[] = { "lo", "lo", "lo", "any", "rpcap://lo", "" };

	(void)rpcap_put_open(&peer->out, peer->version, names[script_u8(cursor) % 6]);
}

static void
step_empty(struct peer *peer, struct cursor *cursor)
{
	static const uint8_t types[] = { RPCAP_FINDALLIF, RPCAP_STATS, RPCAP_ENDCAP, RPCAP_CLOSE };

	(void)rpcap_put_empty(&peer->out, peer->version, types[script_u8(cursor) % 4]);
}

static struct rpcap_filter
random_filter(struct cursor *cursor, struct bpf_insn insn[8])
{
	struct rpcap_filter filter = { .insn = insn, .count = script_u8(cursor) % 8 };

	for (uint32_t i = 0; i < filter.count; i++)
		insn[i] = (struct bpf_insn){ .code = script_u16(cursor), .jt = script_u8(cursor), .jf = script_u8(cursor),
		    .k = (uint32_t)script_number(cursor) };
	if (filter.count > 0 && script_u8(cursor) & 1)
		insn[filter.count - 1] = (struct bpf_insn){ .code = 0x06, .k = 0xffff };
	return filter;
}

static void
step_startcap(struct peer *peer, struct cursor *cursor)
{
	struct rpcap_startcap startcap = { .snaplen = (uint32_t)script_number(cursor), .flags = script_u8(cursor), .port = 9 };
	struct bpf_insn insn[8];
	struct rpcap_filter filter = random_filter(cursor, insn);

	startcap.read_timeout_ms = (uint32_t)script_number(cursor);
	(void)rpcap_put_startcap(&peer->out, peer->version, &startcap, &filter);
}

static void
step_updatefilter(struct peer *peer, struct cursor *cursor)
{
	struct bpf_insn insn[8];
	struct rpcap_filter filter = random_filter(cursor, insn);

	(void)rpcap_put_updatefilter(&peer->out, peer->version, &filter);
}

static void
step_sampling(struct peer *peer, struct cursor *cursor)
{
	struct rpcap_sampling sampling = { .method = script_u8(cursor) % 4, .value = script_u8(cursor) };

	(void)rpcap_put_sampling(&peer->out, peer->version, &sampling);
}

static void
step_error(struct peer *peer, struct cursor *cursor)
{
	(void)rpcap_put_error(&peer->out, peer->version, script_u8(cursor), "no\x1b[2J");
}

static void
step_header(struct peer *peer, struct cursor *cursor)
{
	struct rpcap_header header = { .version = script_u8(cursor), .type = script_u8(cursor), .value = script_u16(cursor) };

	header.length = (uint32_t)script_number(cursor);
	(void)rpcap_put_header(&peer->out, &header);
}

static void
step_version(struct peer *peer, struct cursor *cursor)
{
	peer->version = script_u8(cursor) & 1;
}

static void
step_raw(struct peer *peer, struct cursor *cursor)
{
	uint8_t bytes[256];

	(void)buf_put(&peer->out, bytes, script_bytes(cursor, bytes, sizeof(bytes)));
}

/* Many bytes of one value: what is passed over, or a flood. */
static void
step_many(struct peer *peer, struct cursor *cursor)
{
	static uint8_t bytes[16384];

	memset(bytes, script_u8(cursor), sizeof(bytes));
	(void)buf_put(&peer->out, bytes, script_u16(cursor) % sizeof(bytes));
}

static void
step_spoil(struct peer *peer, struct cursor *cursor)
{
	script_spoil(cursor, peer->out.data, peer->out.len);
}

/* --- the others --- */

static void
step_mute(struct peer *peer, struct cursor *cursor)
{
	uint8_t what = script_u8(cursor);

	peer->fuzz->lab.capture_mute = what & 1;
	peer->fuzz->lab.supervisor_mute = what & 2;
}

static void
step_answer(struct peer *peer, struct cursor *cursor)
{
	struct rpcap_lab *lab = &peer->fuzz->lab;
	uint8_t what = script_u8(cursor);

	if (what & 1)
		rpcap_lab_answer_taps(lab);
	if (what & 2 && lab->linktypes > 0)
		rpcap_lab_answer_linktype(lab, what & 4 ? -1 : 1, "it is not up");
	if (what & 8 && lab->sockets > 0)
		rpcap_lab_answer_socket(lab, what & 16 ? EMFILE : 0);
	if (what & 32)
		rpcap_capture_is_new(lab->server);
}

static void
step_refused(struct peer *peer, struct cursor *cursor)
{
	struct link *link = peer->fuzz->lab.link;
	struct ipc_tap_result result = { .tap = IPC_TAP_RPCAP + script_u8(cursor) % IPC_RPCAP_MAX, .reason = "no such thing" };

	result.version = link->tap[result.tap].told.version;
	tap_result(link, &result);
}

static void
step_gone(struct peer *peer, struct cursor *cursor)
{
	struct link *link = peer->fuzz->lab.link;
	struct link_tap *tap = &link->tap[IPC_TAP_RPCAP + script_u8(cursor) % IPC_RPCAP_MAX];

	if (tap->rpcap != NULL)
		rpcap_interface_gone(tap, "it is down");
}

static void
step_time(struct peer *peer, struct cursor *cursor)
{
	struct rpcap *r = peer->fuzz->lab.server;
	struct rpcap_client *client = TAILQ_FIRST(&r->clients);
	uint8_t what = script_u8(cursor);

	if (what & 8) {
		rpcap_lab_forgive(&peer->fuzz->lab);
		return;
	}
	for (unsigned n = what & 3; client != NULL && n > 0; n--)
		client = TAILQ_NEXT(client, entry);
	if (client != NULL && event_pending(client->timer, EV_TIMEOUT, NULL)) {
		event_del(client->timer);
		event_active(client->timer, EV_TIMEOUT, 1);
	}
}

static void
step_options(struct peer *peer, struct cursor *cursor)
{
	static char here[] = "127.0.0.0/8", elsewhere[] = "192.0.2.0/24", cert[] = "cert";
	static char *list[1];
	struct rpcap_lab *lab = &peer->fuzz->lab;
	uint8_t what = script_u8(cursor);

	list[0] = what & 1 ? elsewhere : here;
	lab->link->options.rpcap_allow = (struct conf_list){ .value = list, .origin = list, .count = 1 };
	lab->link->options.rpcap_null_auth = !(what & 2);
	lab->link->options.rpcap_plain = what & 4;
	lab->link->options.rpcap_cert = what & 8 ? cert : NULL;
	lab->link->options.rpcap_clients = what & 16 ? 1 : IPC_RPCAP_MAX;
	rpcap_options(lab->server);
	rpcap_hold(lab->server, what & 32);
}

static void
step_stop(struct peer *peer, struct cursor *cursor)
{
	if (script_u8(cursor) == 0)
		rpcap_stop(peer->fuzz->lab.server);
	else
		rpcap_log(peer->fuzz->lab.server);
}

static void (*const steps[32])(struct peer *, struct cursor *) = {
	step_open, step_close, step_data, step_auth, step_open_interface, step_empty, step_startcap, step_updatefilter,
	step_sampling, step_error, step_header, step_version, step_raw, step_many, step_spoil, step_mute,
	step_answer, step_refused, step_gone, step_time, step_options, step_stop, step_auth, step_open_interface,
	step_startcap, step_empty, step_empty, step_updatefilter, step_data, step_answer, step_raw, step_open,
};

/* --- the script --- */

static void
send_out(struct peer *peer)
{
	ssize_t n;

	while (peer->fd != -1 && peer->out.len > 0) {
		if ((n = send(peer->fd, peer->out.data, peer->out.len, MSG_DONTWAIT | MSG_NOSIGNAL)) <= 0)
			break;
		buf_consume(&peer->out, (size_t)n);
	}
	buf_clear(&peer->out);
}

static void
step(struct fuzz *fuzz, struct cursor *cursor)
{
	uint8_t what = script_u8(cursor);
	struct peer *peer = &fuzz->peer[(what >> 5 & 3) % PEERS];

	steps[what & 31](peer, cursor);
	if (what & STEP_TOGETHER)
		return;
	send_out(peer);
	run(fuzz, 4);
}

static void
use_password(struct rpcap_lab *lab)
{
	static const char text[] = "alice:$1$salt$ez2vlPGdaLYkJam5pWs/Y1\n";
	static char name[] = "passwords";
	int fd[RPCAP_FILES] = { -1, -1, -1, -1 };

	lab->link->options.rpcap_passwords = name;
	fd[RPCAP_FILE_PASSWORDS] = memfd_create(name, MFD_CLOEXEC);
	script_assert(write(fd[RPCAP_FILE_PASSWORDS], text, sizeof(text) - 1) == (ssize_t)sizeof(text) - 1);
	rpcap_lab_files(lab, fd);
	script_assert(lab->server->passwords != NULL);
	close(fd[RPCAP_FILE_PASSWORDS]);
}

static void
begin(struct fuzz *fuzz)
{
	fuzz->lab.role.link.options.rpcap_null_auth = true;
	rpcap_lab_open(&fuzz->lab);
	use_password(&fuzz->lab);
	for (unsigned i = 0; i < PEERS; i++) {
		fuzz->peer[i] = (struct peer){ .fuzz = fuzz, .fd = -1, .data = -1 };
		buf_init(&fuzz->peer[i].out, 1024 * 1024);
		buf_init(&fuzz->peer[i].in, 8 * 1024 * 1024);
	}
}

/* Descriptors are handed out from the lowest on. */
static int
next_fd(void)
{
	int fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);

	script_assert(fd != -1);
	close(fd);
	return fd;
}

static void
end(struct fuzz *fuzz)
{
	for (unsigned i = 0; i < PEERS; i++) {
		close_fd(&fuzz->peer[i].fd);
		close_fd(&fuzz->peer[i].data);
		buf_clear(&fuzz->peer[i].out);
		buf_clear(&fuzz->peer[i].in);
	}
	script_loop(fuzz->lab.link->base, 4);
	rpcap_lab_close(&fuzz->lab);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct fuzz fuzz;
	struct cursor cursor;
	int fd;

	script_folder();
	memset(&fuzz, 0, sizeof(fuzz));
	cursor_init(&cursor, data, size);
	fd = next_fd();
	begin(&fuzz);
	for (unsigned i = 0; i < STEPS_MAX && cursor.left > 0; i++)
		step(&fuzz, &cursor);
	end(&fuzz);
	script_assert(next_fd() == fd);
	return 0;
}
