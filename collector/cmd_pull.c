/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "common/clock.h"
#include "common/buf.h"
#include "common/tls.h"
#include "proto/codec.h"
#include "proto/frame.h"
#include "proto/identity.h"
#include "proto/pcapng.h"

#include "cmd.h"
#include "dial.h"
#include "pcapng_out.h"

/* vmtap pull: an operator's own session with a listening agent (PROTOCOL, "Pulls"). */

#define PULL_KEEPALIVE_MS	10000
#define PULL_HANDSHAKE_MS	10000
#define PULL_LINGER_MS		2000

struct pull_options {
	char		*ca, *cert, *key, *write, *compress;
	struct conf_list interfaces;
	uint64_t	 count, snaplen;
	int		 direction;
};
static const struct conf_row pull_rows[] = {
	{ .name = "interface", .letter = 'i', .type = CONF_LIST, .argument = "IF", .offset = offsetof(struct pull_options, interfaces),
	  .help = "an interface of the VM, or a pattern such as 'eth*'; repeatable" },
	{ .name = "snaplen", .letter = 's', .type = CONF_UINT, .min = 1, .max = PCAPNG_SNAPLEN, .initial = "262144", .argument = "BYTES",
	  .offset = offsetof(struct pull_options, snaplen), .help = "bytes of each packet" },
	{ .name = "direction", .letter = 'Q', .type = CONF_ENUM, .values = "inout|in|out", .initial = "inout", .argument = "DIR",
	  .offset = offsetof(struct pull_options, direction), .help = "packets of one direction only" },
	{ .name = "write", .letter = 'w', .type = CONF_STRING, .initial = "-", .argument = "FILE",
	  .offset = offsetof(struct pull_options, write), .help = "where to; - is standard output" },
	{ .name = "count", .letter = 'c', .type = CONF_UINT, .min = 1, .max = INT64_MAX, .argument = "N",
	  .offset = offsetof(struct pull_options, count), .help = "stop after N packets" },
	{ .name = "compress", .type = CONF_STRING, .argument = "CODEC[:LEVEL]", .offset = offsetof(struct pull_options, compress),
	  .help = "codec on the way" },
	{ .name = "ca", .type = CONF_STRING, .initial = SYSCONFDIR "/vmtap/ca.crt", .argument = "FILE",
	  .offset = offsetof(struct pull_options, ca), .help = "certificate of the deployment's CA" },
	{ .name = "cert", .type = CONF_STRING, .initial = SYSCONFDIR "/vmtap/operator.crt", .argument = "FILE",
	  .offset = offsetof(struct pull_options, cert), .help = "the operator's certificate" },
	{ .name = "key", .type = CONF_STRING, .initial = SYSCONFDIR "/vmtap/operator.key", .argument = "FILE",
	  .offset = offsetof(struct pull_options, key), .help = "its private key" },
	{ 0 }
};

struct pull {
	struct event_base	*base;
	struct tlsio		*io;
	struct event		*keepalive, *interrupted, *terminated;
	const struct pull_options *options;
	const char		*filter;
	struct pcapng_out	*out;
	uint8_t			*raw;		/* MSG_BLOCK_RAW_MAX */
	uint64_t		 heard_ns;
	uint64_t		 lost_packets;
	bool			 welcomed, ending;
	int			 status;
};

static void
pull_end(struct pull *pull, int status, const char *why)
{
	struct msg_end bye = { .code = 0, .text = "done" };
	struct buf frame;

	if (pull->ending)
		return;
	pull->ending = true;
	pull->status = status;
	if (why != NULL)
		cmd_fail("pull", "%s", why);
	buf_init(&frame, MSG_TEXT_SIZE * 2);
	if (msg_put_bye(&frame, &bye) == 0)
		tlsio_write(pull->io, frame.data, frame.len);
	buf_clear(&frame);
	tlsio_shutdown(pull->io, "done", PULL_LINGER_MS);
}

static void
pull_send(struct pull *pull, struct buf *frame, int errors)
{
	if (errors != 0 || tlsio_write(pull->io, frame->data, frame->len) == -1)
		pull_end(pull, 1, "out of memory");
	buf_clear(frame);
}

static int
fill_policy(const struct pull_options *options, const char *filter, struct msg_policy *policy)
{
	size_t i, len = 0;

	memset(policy, 0, sizeof(*policy));
	policy->version = 1;
	policy->snaplen = (uint32_t)options->snaplen;
	policy->direction = (uint8_t)options->direction;
	for (i = 0; i < options->interfaces.count; i++)
		len += (size_t)snprintf(policy->interfaces + len, sizeof(policy->interfaces) - len, "%s%s", i > 0 ? "," : "",
		    options->interfaces.value[i]) % sizeof(policy->interfaces);
	if (options->compress != NULL)
		snprintf(policy->codec, sizeof(policy->codec), "%s", options->compress);
	if (filter != NULL && strlen(filter) >= sizeof(policy->filter))
		return -1;
	if (filter != NULL)
		strcpy(policy->filter, filter);
	return 0;
}

static int
on_hello(struct pull *pull, const struct frame *frame)
{
	struct msg_welcome welcome = { .version = FRAME_VERSION, .keepalive_ms = PULL_KEEPALIVE_MS };
	struct msg_policy policy;
	struct msg_hello hello;
	struct buf reply;
	int errors;

	if (pull->welcomed || msg_get_hello(frame, &hello) == -1)
		return -1;
	if (hello.version_min > FRAME_VERSION || hello.version_max < FRAME_VERSION) {
		pull_end(pull, 1, "the agent speaks no version of the protocol that this vmtap does");
		return 0;
	}
	pull->welcomed = true;
	welcome.codecs = codec_mask();
	welcome.wall_ns = clock_wall_ns();
	buf_init(&reply, sizeof(welcome) + sizeof(policy) + 1024);
	errors = msg_put_welcome(&reply, &welcome);
	errors += fill_policy(pull->options, pull->filter, &policy);
	errors += msg_put_policy(&reply, &policy);
	pull_send(pull, &reply, errors);
	return 0;
}

static int
on_policy_result(struct pull *pull, const struct frame *frame)
{
	struct msg_policy_result result;
	char why[MSG_TEXT_SIZE + 64];

	if (msg_get_policy_result(frame, &result) == -1)
		return -1;
	if (result.accepted) {
		fprintf(stderr, "vmtap pull: capturing on %s\n", tlsio_peer_common_name(pull->io));
		return 0;
	}
	snprintf(why, sizeof(why), "the agent refuses: %s", result.reason);
	pull_end(pull, 1, why);
	return 0;
}

static int
on_interface(struct pull *pull, const struct frame *frame)
{
	struct msg_interface interface;

	if (msg_get_interface(frame, &interface) == -1)
		return -1;
	if (pcapng_out_knows(pull->out, interface.stream, interface.id))
		return 0;
	if (pcapng_out_interface(pull->out, interface.stream, interface.id, interface.idb, interface.idb_len) == -1)
		pull_end(pull, 1, pcapng_out_error(pull->out));
	return 0;
}

/* Hands the packets of a decoded block on: 1, 0 the count is reached, -1. */
static int
write_packets(struct pull *pull, const struct msg_block *block)
{
	struct pcapng_packet packet;
	struct pcapng_walk walk;
	const uint8_t *one;
	size_t len;
	uint32_t type;
	int rc = 1, more = 1;

	pcapng_walk_init(&walk, pull->raw, block->raw_len);
	while (rc == 1 && (more = pcapng_walk_next(&walk, &type, &packet, &one, &len)) == 1)
		rc = pcapng_out_block(pull->out, block->stream, one, len);
	if (rc == -1 || more == -1)
		return -1;
	return pcapng_out_flush(pull->out) == -1 ? -1 : rc;
}

static int
on_block(struct pull *pull, const struct frame *frame)
{
	const struct codec *codec;
	struct msg_block block;
	struct msg_mark ack;
	struct buf reply;
	int rc;

	if (msg_get_block(frame, &block) == -1 || (codec = codec_by_id(block.codec)) == NULL || block.raw_len > MSG_BLOCK_RAW_MAX ||
	    codec->decode(block.data, block.data_len, pull->raw, block.raw_len) == -1)
		return -1;
	rc = write_packets(pull, &block);
	if (rc == -1)
		pull_end(pull, !pcapng_out_reader_gone(pull->out), pcapng_out_reader_gone(pull->out) ? NULL : pcapng_out_error(pull->out));
	else if (rc == 0)
		pull_end(pull, 0, NULL);
	if (rc != 1)
		return 0;
	memcpy(ack.stream, block.stream, MSG_ID_SIZE);
	ack.number = block.number;
	buf_init(&reply, 256);
	pull_send(pull, &reply, msg_put_ack(&reply, &ack));
	return 0;
}

static int
on_gap(struct pull *pull, const struct frame *frame)
{
	struct msg_mark ack;
	struct msg_gap gap;
	struct buf reply;

	if (msg_get_gap(frame, &gap) == -1)
		return -1;
	pull->lost_packets += gap.packets;
	memcpy(ack.stream, gap.stream, MSG_ID_SIZE);
	ack.number = gap.last;
	buf_init(&reply, 256);
	pull_send(pull, &reply, msg_put_ack(&reply, &ack));
	return 0;
}

static int
on_ping(struct pull *pull, const struct frame *frame)
{
	struct msg_ping ping;
	struct buf reply;

	if (msg_get_ping(frame, &ping) == -1)
		return -1;
	ping.wall_ns = clock_wall_ns();
	buf_init(&reply, 256);
	pull_send(pull, &reply, msg_put_pong(&reply, &ping));
	return 0;
}

static int
on_end(struct pull *pull, const struct frame *frame)
{
	struct msg_end end;
	char why[MSG_TEXT_SIZE + 64];

	if (frame->type == FRAME_ERROR ? msg_get_error(frame, &end) == -1 : msg_get_bye(frame, &end) == -1)
		return -1;
	snprintf(why, sizeof(why), "the agent ends the session: %s", end.text);
	pull_end(pull, 1, why);
	return 0;
}

static int
on_nothing(struct pull *pull, const struct frame *frame)
{
	(void)pull;
	(void)frame;
	return 0;
}

static int (*const handlers[FRAME_TYPE_MAX])(struct pull *, const struct frame *) = {
	[FRAME_HELLO] = on_hello,
	[FRAME_POLICY_RESULT] = on_policy_result,
	[FRAME_INTERFACE] = on_interface,
	[FRAME_BLOCK] = on_block,
	[FRAME_GAP] = on_gap,
	[FRAME_END] = on_nothing,
	[FRAME_STATS] = on_nothing,
	[FRAME_PING] = on_ping,
	[FRAME_PONG] = on_nothing,
	[FRAME_BYE] = on_end,
	[FRAME_ERROR] = on_end,
};

static void
on_readable(struct tlsio *io, void *arg)
{
	struct buf *input = tlsio_input(io);
	struct pull *pull = arg;
	enum frame_error error = FRAME_MORE;
	struct frame frame;
	char why[128];

	pull->heard_ns = clock_mono_ns();
	while (!pull->ending && (error = frame_parse(input->data, input->len, &frame)) == FRAME_OK) {
		if (handlers[frame.type] == NULL || handlers[frame.type](pull, &frame) == -1) {
			snprintf(why, sizeof(why), "malformed or unexpected %s message", frame_type_name(frame.type));
			pull_end(pull, 1, why);
		}
		buf_consume(input, FRAME_HEADER_SIZE + frame.length);
	}
	if (!pull->ending && error != FRAME_OK && error != FRAME_MORE)
		pull_end(pull, 1, frame_error_text(error));
	tlsio_input_taken(io);
}

static void
on_opened(struct tlsio *io, void *arg)
{
	struct identity peer;
	struct pull *pull = arg;

	if (identity_parse(tlsio_peer_uri(io), tlsio_peer_common_name(io), &peer) == -1 || peer.role != ROLE_AGENT)
		pull_end(pull, 1, "the other side's certificate is not an agent's");
}

static void
on_closed(struct tlsio *io, const char *why, void *arg)
{
	struct pull *pull = arg;

	if (!pull->ending)
		pull->status = cmd_fail("pull", "%s: %s", tlsio_peer_address(io), why);
	pull->ending = true;
	event_base_loopbreak(pull->base);
}

static void
on_signal(evutil_socket_t signal_number, short what, void *arg)
{
	(void)signal_number;
	(void)what;
	pull_end(arg, 0, NULL);
}

/* Silence is asked about once, then taken for the end. */
static void
on_keepalive(evutil_socket_t fd, short what, void *arg)
{
	struct pull *pull = arg;
	uint64_t silent_ms = (clock_mono_ns() - pull->heard_ns) / 1000000;
	struct msg_ping ping = { .token = 1, .wall_ns = clock_wall_ns() };
	struct buf frame;

	(void)fd;
	(void)what;
	if (silent_ms > 3 * PULL_KEEPALIVE_MS) {
		pull_end(pull, 1, "the agent is silent");
	} else if (silent_ms >= PULL_KEEPALIVE_MS) {
		buf_init(&frame, 256);
		pull_send(pull, &frame, msg_put_ping(&frame, &ping));
	}
}

static int
watch(struct pull *pull)
{
	struct timeval interval = { .tv_sec = PULL_KEEPALIVE_MS / 1000 };

	pull->keepalive = event_new(pull->base, -1, EV_PERSIST, on_keepalive, pull);
	pull->interrupted = evsignal_new(pull->base, SIGINT, on_signal, pull);
	pull->terminated = evsignal_new(pull->base, SIGTERM, on_signal, pull);
	if (pull->keepalive == NULL || pull->interrupted == NULL || pull->terminated == NULL)
		return -1;
	return event_add(pull->keepalive, &interval) | event_add(pull->interrupted, NULL) | event_add(pull->terminated, NULL);
}

static void
pull_clear(struct pull *pull)
{
	struct event *events[] = { pull->keepalive, pull->interrupted, pull->terminated };
	size_t i;

	for (i = 0; i < sizeof(events) / sizeof(events[0]); i++)
		if (events[i] != NULL)
			event_free(events[i]);
	if (pull->io != NULL)
		tlsio_free(pull->io);
	if (pull->base != NULL)
		event_base_free(pull->base);
	free(pull->raw);
}

static int
connect_and_run(struct pull *pull, struct tls_context *tls, const char *host, uint16_t port)
{
	static const struct tlsio_callbacks callbacks = { .opened = on_opened, .readable = on_readable, .closed = on_closed };
	struct tlsio_options io_options = { .side = TLSIO_CLIENT, .handshake_ms = PULL_HANDSHAKE_MS,
	    .input_max = 2 * MSG_BLOCK_MAX, .read_budget = 2 * MSG_BLOCK_MAX };
	char error[256];
	int fd;

	if ((fd = dial_blocking(host, port, PULL_HANDSHAKE_MS, error, sizeof(error))) == -1)
		return cmd_fail("pull", "%s", error);
	pull->base = event_base_new();
	pull->raw = malloc(MSG_BLOCK_RAW_MAX);
	pull->heard_ns = clock_mono_ns();
	if (pull->base == NULL || pull->raw == NULL || watch(pull) != 0 ||
	    (pull->io = tlsio_new(pull->base, tls, fd, &io_options, &callbacks, pull)) == NULL)
		return cmd_fail("pull", "out of memory");
	event_base_dispatch(pull->base);
	fprintf(stderr, "%llu packets captured, %llu lost on the way\n", (unsigned long long)pcapng_out_packets(pull->out),
	    (unsigned long long)pull->lost_packets);
	return pull->status;
}

static int
pull_host(const struct pull_options *options, const char *host, uint16_t port, const char *filter)
{
	struct pull pull = { .options = options, .filter = filter };
	struct tls_context *tls;
	char error[TLS_ERROR_SIZE];
	int rc;

	if ((tls = tls_context_load(options->ca, options->cert, options->key, FRAME_ALPN, error)) == NULL)
		return cmd_fail("pull", "%s", error);
	if ((pull.out = pcapng_out_open(options->write, NULL, "vmtap pull " PACKAGE_VERSION, error, sizeof(error))) == NULL) {
		tls_context_free(tls);
		return cmd_fail("pull", "%s", error);
	}
	if (options->count != 0)
		pcapng_out_limit(pull.out, options->count);
	rc = connect_and_run(&pull, tls, host, port);
	if (pcapng_out_close(pull.out) == -1 && rc == 0)
		rc = cmd_fail("pull", "could not write all of it");
	pull_clear(&pull);
	tls_context_free(tls);
	return rc;
}

int
cmd_pull(int argc, char **argv)
{
	struct pull_options options = { 0 };
	struct conf_error error;
	const char *where;
	char host[256], *filter;
	uint16_t port;
	int rest, rc;

	cmd_options_operand(pull_rows, &options, argc, argv, "HOST[:PORT] [OPTION...] [FILTER...]", &where, &rest);
	if (where == NULL)
		cmd_bad_usage("pull", "which HOST?");
	if (conf_host_port(where, FRAME_PORT, host, sizeof(host), &port, &error) == -1)
		cmd_bad_usage("pull", "%s", error.text);
	filter = cmd_join(argc - rest, argv + rest);
	rc = pull_host(&options, host, port, filter);
	free(filter);
	conf_free(pull_rows, &options);
	return rc;
}
