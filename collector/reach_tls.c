/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "common/conf.h"
#include "common/tls.h"
#include "proto/frame.h"
#include "proto/identity.h"

#include "cmd.h"
#include "dial.h"
#include "reach_internal.h"

/* An operator's connection to a collector, for a program that waits for each answer. */

#define HANDSHAKE_MS	10000
#define INPUT_MAX	(512 * 1024)
#define READ_BUDGET	(256 * 1024)

static void
on_opened(struct tlsio *io, void *arg)
{
	struct identity peer;
	struct reach *reach = arg;

	reach->opened = true;
	if (identity_parse(tlsio_peer_uri(io), tlsio_peer_common_name(io), &peer) == 0 && peer.role == ROLE_COLLECTOR)
		return;
	snprintf(reach->why, sizeof(reach->why), "the other side's certificate is not a collector's");
	reach->closed = true;
}

static void
on_readable(struct tlsio *io, void *arg)
{
	struct buf *input = tlsio_input(io);
	struct reach *reach = arg;

	if (buf_put(&reach->in, input->data, input->len) == -1) {
		snprintf(reach->why, sizeof(reach->why), "out of memory");
		reach->closed = true;
	}
	buf_consume(input, input->len);
	tlsio_input_taken(io);
}

static void
on_closed(struct tlsio *io, const char *why, void *arg)
{
	struct reach *reach = arg;

	(void)io;
	snprintf(reach->why, sizeof(reach->why), "%s", why);
	reach->closed = true;
}

static void
on_late(evutil_socket_t fd, short what, void *arg)
{
	struct reach *reach = arg;

	(void)fd;
	(void)what;
	reach->late = true;
}

/* Rounds of the loop until something has come about. */
static int
wait_for(struct reach *reach, const bool *opened, size_t len, unsigned seconds)
{
	const struct timeval limit = { .tv_sec = (time_t)seconds };

	reach->late = false;
	if (seconds > 0)
		event_add(reach->timer, &limit);
	while (!reach->closed && !reach->late && reach->in.len <= len && !(opened != NULL && *opened))
		event_base_loop(reach->base, EVLOOP_ONCE);
	event_del(reach->timer);
	if (reach->late)
		snprintf(reach->why, sizeof(reach->why), "nothing was heard for %u s", seconds);
	return reach->in.len > len || (!reach->late && !reach->closed) ? 0 : -1;
}

static int
start(struct reach *reach, const char *host, int fd)
{
	static const struct tlsio_callbacks callbacks = { .opened = on_opened, .readable = on_readable, .closed = on_closed };
	const struct tlsio_options options = { .side = TLSIO_CLIENT, .expect_host = host, .handshake_ms = HANDSHAKE_MS,
	    .input_max = INPUT_MAX, .read_budget = READ_BUDGET };

	if ((reach->base = event_base_new()) != NULL && (reach->timer = evtimer_new(reach->base, on_late, reach)) != NULL &&
	    (reach->io = tlsio_new(reach->base, reach->tls, fd, &options, &callbacks, reach)) != NULL)
		return 0;
	close(fd);
	snprintf(reach->why, sizeof(reach->why), "out of memory");
	return -1;
}

int
reach_tls_open(struct reach *reach, const struct reach_options *options)
{
	char host[256], error[TLS_ERROR_SIZE];
	struct conf_error conf;
	uint16_t port;
	int fd;

	if (conf_host_port(options->connect, FRAME_PORT, host, sizeof(host), &port, &conf) == -1)
		cmd_bad_usage(reach->verb, "--connect %s", conf.text);
	snprintf(reach->where, sizeof(reach->where), "%s", options->connect);
	if ((reach->tls = tls_context_load(options->ca, options->cert, options->key, FRAME_ALPN_CTL, error)) == NULL ||
	    (fd = dial_blocking(host, port, HANDSHAKE_MS, error, sizeof(error))) == -1)
		return cmd_fail(reach->verb, "%s", error), -1;
	if (start(reach, host, fd) == 0 && wait_for(reach, &reach->opened, SIZE_MAX - 1, 0) == 0)
		return 0;
	return cmd_fail(reach->verb, "%s: %s", reach->where, reach->why), -1;
}

void
reach_tls_close(struct reach *reach)
{
	if (reach->io != NULL)
		tlsio_free(reach->io);
	if (reach->timer != NULL)
		event_free(reach->timer);
	if (reach->base != NULL)
		event_base_free(reach->base);
	tls_context_free(reach->tls);
}

int
reach_tls_send(struct reach *reach, const void *bytes, size_t len)
{
	if (!reach->closed && tlsio_write(reach->io, bytes, len) == 0)
		return 0;
	if (!reach->closed)
		snprintf(reach->why, sizeof(reach->why), "the question is too long");
	return -1;
}

int
reach_tls_more(struct reach *reach, unsigned seconds)
{
	return wait_for(reach, NULL, reach->in.len, seconds);
}
