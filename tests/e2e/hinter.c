/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/tls.h"
#include "proto/codec.h"
#include "proto/frame.h"
#include "proto/msg.h"

/*
 * A collector that stores nothing, for the end-to-end test of hints: hinter CA CERT KEY PORT LEASE_MS PEER. It has one agent withhold
 * one peer's packets for as long as it runs (stopped, it renews nothing), and prints what it hears of that.
 */

static struct {
	struct event_base *base;
	struct tls_context *tls;
	struct tlsio	*io;		/* of the newest session */
	struct event	*renew;
	struct msg_hints hints;		/* of that session, said last */
	struct buf	 out;
	uint32_t	 lease_ms;
	struct bpf_peer	 peer;
} h;

static void
say(int errors)
{
	if (errors != 0 || tlsio_write(h.io, h.out.data, h.out.len) == -1)
		fatal("cannot send");
	buf_consume(&h.out, h.out.len);
}

/* The whole list, as another generation. */
static void
say_all(void)
{
	h.hints = (struct msg_hints){ .generation = h.hints.generation + 1, .lease_ms = h.lease_ms, .added_count = 1, .added = { h.peer } };
	say(msg_put_hints(&h.out, &h.hints));
	h.hints.base = h.hints.generation;
	h.hints.added_count = 0;
}

static void
on_renew(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	if (h.io != NULL && h.hints.generation != 0)
		say(msg_put_hints(&h.out, &h.hints));
}

static void
on_result(const struct msg_hints_result *result)
{
	printf("result %llu\n", (unsigned long long)result->generation);
	if (result->generation == 0)
		say_all();
}

static void
on_addresses(const struct msg_addresses *msg)
{
	char text[INET6_ADDRSTRLEN];

	printf("interface %u has", msg->id);
	for (uint16_t i = 0; i < msg->count; i++)
		printf(" %s", inet_ntop(msg->address[i].family, msg->address[i].address, text, sizeof(text)));
	printf("\n");
}

static void
on_block(const struct msg_block *block)
{
	struct msg_mark ack = { .number = block->number };

	memcpy(ack.stream, block->stream, MSG_ID_SIZE);
	say(msg_put_ack(&h.out, &ack));
}

static void
on_hello(void)
{
	struct msg_welcome welcome = { .version = FRAME_VERSION, .codecs = codec_mask(), .keepalive_ms = 60000 };

	welcome.wall_ns = clock_wall_ns();
	say(msg_put_welcome(&h.out, &welcome));
	say_all();
}

static void
on_frame(const struct frame *frame)
{
	struct msg_hints_result result;
	struct msg_addresses addresses;
	struct msg_block block;

	if (frame->type == FRAME_HELLO)
		on_hello();
	else if (frame->type == FRAME_HINTS_RESULT && msg_get_hints_result(frame, &result) == 0)
		on_result(&result);
	else if (frame->type == FRAME_ADDRESSES && msg_get_addresses(frame, &addresses) == 0)
		on_addresses(&addresses);
	else if (frame->type == FRAME_BLOCK && msg_get_block(frame, &block) == 0)
		on_block(&block);
	fflush(stdout);
}

static void
on_readable(struct tlsio *io, void *arg)
{
	struct buf *input = tlsio_input(io);
	struct frame frame;

	(void)arg;
	while (io == h.io && frame_parse(input->data, input->len, &frame) == FRAME_OK) {
		on_frame(&frame);
		buf_consume(input, FRAME_HEADER_SIZE + frame.length);
	}
	tlsio_input_taken(io);
}

static void
on_closed(struct tlsio *io, const char *why, void *arg)
{
	(void)arg;
	printf("closed: %s\n", why);
	fflush(stdout);
	if (io == h.io)
		h.io = NULL;
	tlsio_free(io);
}

static void
on_connection(evutil_socket_t fd, short what, void *arg)
{
	static const struct tlsio_callbacks callbacks = { .readable = on_readable, .closed = on_closed };
	const struct tlsio_options options = { .side = TLSIO_SERVER, .handshake_ms = 10000, .input_max = 2 * MSG_BLOCK_MAX,
		.read_budget = MSG_BLOCK_MAX };
	int agent = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)what;
	(void)arg;
	if (agent == -1 || (h.io = tlsio_new(h.base, h.tls, agent, &options, &callbacks, NULL)) == NULL)
		fatal("no connection: %m");
}

static int
listen_at(uint16_t port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;

	if (fd == -1 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == -1 ||
	    bind(fd, (struct sockaddr *)&address, sizeof(address)) == -1 || listen(fd, 8) == -1)
		fatal("cannot listen: %m");
	return fd;
}

int
main(int argc, char **argv)
{
	char error[TLS_ERROR_SIZE];
	struct timeval third;

	log_init("hinter", LOG_LEVEL_INFO);
	if (argc != 7 || inet_pton(AF_INET, argv[6], h.peer.address) != 1)
		fatal("usage: hinter CA CERT KEY PORT LEASE_MS PEER");
	h.peer.family = AF_INET;
	h.lease_ms = (uint32_t)strtoul(argv[5], NULL, 10);
	if ((h.tls = tls_context_load(argv[1], argv[2], argv[3], FRAME_ALPN, error)) == NULL)
		fatal("%s", error);
	h.base = event_base_new();
	buf_init(&h.out, 1024 * 1024);
	h.renew = event_new(h.base, -1, EV_PERSIST, on_renew, NULL);
	third = (struct timeval){ .tv_sec = h.lease_ms / 3000, .tv_usec = (suseconds_t)(h.lease_ms / 3 % 1000 * 1000) };
	event_add(h.renew, &third);
	event_add(event_new(h.base, listen_at((uint16_t)strtoul(argv[4], NULL, 10)), EV_READ | EV_PERSIST, on_connection, NULL), NULL);
	return event_base_dispatch(h.base);
}
