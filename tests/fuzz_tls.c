/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>

#include "tests/script_lab.h"

int	LLVMFuzzerTestOneInput(const uint8_t *, size_t);

/* The first byte picks the side, the rest comes from the network instead of TLS, in one piece or two. */

struct end {
	struct tlsio	*io;
	unsigned	 closed;
};

static void
opened(struct tlsio *io, void *arg)
{
	(void)io;
	(void)arg;
	script_failed("a handshake without keys", __FILE__, __LINE__);
}

static void
closed(struct tlsio *io, const char *why, void *arg)
{
	struct end *end = arg;

	script_assert(io == end->io && why[0] != '\0');
	end->closed++;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct event_base *base;
	static const struct tlsio_callbacks callbacks = { .opened = opened, .closed = closed };
	struct tls_context *context = script_context(ROLE_COLLECTOR, "", "col");
	struct tlsio_options options = { .handshake_ms = 1000000, .input_max = 65536, .read_budget = 65536 };
	struct end end = { 0 };
	size_t half;
	int fd[2];

	if (size < 2 || size > 65536)
		return 0;
	if (base == NULL)
		base = event_base_new();
	options.side = data[0] & 1 ? TLSIO_CLIENT : TLSIO_SERVER;
	options.expect_host = data[0] & 2 ? "localhost" : NULL;
	half = data[0] & 4 ? size / 2 : size - 1;
	script_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) == 0);
	end.io = tlsio_new(base, context, fd[0], &options, &callbacks, &end);
	script_assert(end.io != NULL);
	script_loop(base, 2);
	(void)!write(fd[1], data + 1, half);
	script_loop(base, 2);
	(void)!send(fd[1], data + 1 + half, size - 1 - half, MSG_NOSIGNAL);
	shutdown(fd[1], SHUT_WR);
	script_loop(base, 4);
	close(fd[1]);
	script_loop(base, 4);
	script_assert(end.closed == 1);
	tlsio_free(end.io);
	return 0;
}
