/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/tls.h"
#include "proto/codec.h"
#include "proto/frame.h"
#include "proto/identity.h"
#include "proto/pcapng.h"

#include "cmd.h"
#include "dial.h"
#include "pcapng_out.h"

/* vmtap pull: an operator's own session with a listening agent (PROTOCOL, section 10). */

#define PULL_KEEPALIVE_MS	10000
#define PULL_HANDSHAKE_MS	10000
#define PULL_LINGER_MS		2000
#define PULL_INTERFACES_MAX	(MSG_STREAMS_MAX * MSG_INTERFACES_MAX)	/* that an agent may describe, over all streams */

struct pull_options {
	char		*ca, *cert, *key, *write, *compress, *slice;
	struct conf_list interfaces;
	uint64_t	 count, snaplen;
	int		 direction;
	bool		 mask;
};
static const struct conf_row pull_rows[] = {
	{ .name = "interface", .letter = 'i', .type = CONF_LIST, .argument = "IF", .offset = offsetof(struct pull_options, interfaces),
	  .help = "an interface of the VM, or a pattern such as 'eth*'; repeatable" },
	{ .name = "snaplen", .letter = 's', .type = CONF_UINT, .min = 1, .max = PCAPNG_SNAPLEN, .initial = "262144", .argument = "BYTES",
	  .offset = offsetof(struct pull_options, snaplen), .help = "bytes of each packet" },
	{ .name = "slice", .type = CONF_STRING, .initial = "none", .argument = "none|headers[:BYTES]",
	  .offset = offsetof(struct pull_options, slice), .help = "of each packet its headers, and so many bytes behind them" },
	{ .name = "mask", .type = CONF_FLAG, .offset = offsetof(struct pull_options, mask),
	  .help = "zeroes in place of what is left out, so that lengths stay" },
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
	const struct msg_policy	*policy;
	struct pcapng_out	*out;
	uint8_t			*raw;		/* MSG_BLOCK_RAW_MAX */
	uint64_t		 heard_ns;
	unsigned		 interfaces;	/* described so far */
	uint8_t			 stream[MSG_ID_SIZE];
	uint64_t		 last;		/* block of it, gaps included */
	uint64_t		 lost, dropped;	/* packets: in gaps, by the kernel */
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
on_hello(struct pull *pull, const struct frame *frame)
{
	struct msg_welcome welcome = { .version = FRAME_VERSION, .keepalive_ms = PULL_KEEPALIVE_MS };
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
	buf_init(&reply, sizeof(welcome) + sizeof(*pull->policy) + 1024);
	errors = msg_put_welcome(&reply, &welcome);
	errors += msg_put_policy(&reply, pull->policy);
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
	if (pull->interfaces++ == PULL_INTERFACES_MAX)
		return -1;
	if (pcapng_out_interface(pull->out, interface.stream, interface.id, interface.idb, interface.idb_len) == -1)
		pull_end(pull, 1, pcapng_out_error(pull->out));
	return 0;
}

/* Ends the pull after an error of the output; that its reader has had enough is none. */
static void
end_output(struct pull *pull)
{
	bool gone = pcapng_out_reader_gone(pull->out);

	pull_end(pull, !gone, gone ? NULL : pcapng_out_error(pull->out));
}

/* Hands the packets of a decoded block on. 0, or -1: malformed. */
static int
write_packets(struct pull *pull, const struct msg_block *block)
{
	struct pcapng_packet packet;
	struct pcapng_walk walk;
	const uint8_t *one;
	size_t len;
	uint32_t type;
	int rc = 1, more;

	pcapng_walk_init(&walk, pull->raw, block->raw_len);
	while (rc == 1 && (more = pcapng_walk_next(&walk, &type, &packet, &one, &len)) != 0) {
		if (more == -1)
			return -1;
		if (type == PCAPNG_EPB)
			pull->dropped += packet.dropped;
		rc = pcapng_out_block(pull->out, block->stream, one, len);
	}
	if (rc == -1 || pcapng_out_flush(pull->out) == -1)
		end_output(pull);
	else if (rc == 0)
		pull_end(pull, 0, NULL);
	return 0;
}

/* A stream's blocks and gaps come in order, and none is missing between them. */
static int
take_numbers(struct pull *pull, const uint8_t stream[MSG_ID_SIZE], uint64_t first, uint64_t last)
{
	if (memcmp(pull->stream, stream, MSG_ID_SIZE) != 0)
		pull->last = 0;
	memcpy(pull->stream, stream, MSG_ID_SIZE);
	if (first != pull->last + 1)
		return -1;
	pull->last = last;
	return 0;
}

static void
acknowledge(struct pull *pull)
{
	struct msg_mark ack = { .number = pull->last };
	struct buf frame;

	memcpy(ack.stream, pull->stream, MSG_ID_SIZE);
	buf_init(&frame, 256);
	pull_send(pull, &frame, msg_put_ack(&frame, &ack));
}

static int
on_block(struct pull *pull, const struct frame *frame)
{
	const struct codec *codec;
	struct msg_block block;

	if (msg_get_block(frame, &block) == -1 || take_numbers(pull, block.stream, block.number, block.number) == -1 ||
	    (codec = codec_by_id(block.codec)) == NULL ||
	    codec->decode(block.data, block.data_len, pull->raw, block.raw_len) == -1 || write_packets(pull, &block) == -1)
		return -1;
	if (!pull->ending)
		acknowledge(pull);
	return 0;
}

static int
on_gap(struct pull *pull, const struct frame *frame)
{
	struct msg_gap gap;

	if (msg_get_gap(frame, &gap) == -1 || take_numbers(pull, gap.stream, gap.first, gap.last) == -1)
		return -1;
	pull->lost += gap.packets;
	acknowledge(pull);
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
	[FRAME_ADDRESSES] = on_nothing,
	[FRAME_BLOCK] = on_block,
	[FRAME_GAP] = on_gap,
	[FRAME_END] = on_nothing,
	[FRAME_STATS] = on_nothing,
	[FRAME_PING] = on_ping,
	[FRAME_PONG] = on_nothing,
	[FRAME_BYE] = on_end,
	[FRAME_ERROR] = on_end,
};

/* Before HELLO only an end may come; another HELLO, on_hello() refuses. */
static int
handle(struct pull *pull, const struct frame *frame)
{
	bool first = frame->type == FRAME_HELLO || frame->type == FRAME_ERROR || frame->type == FRAME_BYE;

	if (handlers[frame->type] == NULL || (!pull->welcomed && !first))
		return -1;
	return handlers[frame->type](pull, frame);
}

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
		if (handle(pull, &frame) == -1) {
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
	    (pull->io = tlsio_new(pull->base, tls, fd, &io_options, &callbacks, pull)) == NULL) {
		close(fd);
		return cmd_fail("pull", "out of memory");
	}
	event_base_dispatch(pull->base);
	fprintf(stderr, "%llu packets captured, %llu lost on the way, %llu dropped by kernel\n",
	    (unsigned long long)pcapng_out_packets(pull->out), (unsigned long long)pull->lost, (unsigned long long)pull->dropped);
	return pull->status;
}

static int
pull_host(const struct pull_options *options, const char *host, uint16_t port, const struct msg_policy *policy)
{
	struct pull pull = { .policy = policy };
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
	if (pcapng_out_close(pull.out) == -1 && errno != EPIPE && rc == 0)
		rc = cmd_fail("pull", "cannot write: %s", strerror(errno));
	pull_clear(&pull);
	tls_context_free(tls);
	return rc;
}

/* Ends with status 2 if the agent could not be told so. */
static void
fill_policy(const struct pull_options *options, int argc, char **argv, struct msg_policy *policy)
{
	struct buf interfaces = { .max = sizeof(policy->interfaces) - 1 };
	char *filter = cmd_join(argc, argv), error[256];
	const struct codec *codec;
	int level, errs = 0;

	*policy = (struct msg_policy){ .version = 1, .snaplen = (uint32_t)options->snaplen, .direction = (uint8_t)options->direction };
	for (size_t i = 0; i < options->interfaces.count; i++)
		errs += buf_printf(&interfaces, "%s%s", i > 0 ? "," : "", options->interfaces.value[i]);
	if (errs != 0)
		cmd_bad_usage("pull", "--interface: all together are longer than %zu bytes", sizeof(policy->interfaces) - 1);
	if (interfaces.len > 0)
		memcpy(policy->interfaces, interfaces.data, interfaces.len);
	buf_clear(&interfaces);
	if (options->compress != NULL && codec_parse(options->compress, &codec, &level, error, sizeof(error)) == -1)
		cmd_bad_usage("pull", "--compress %s: %s", options->compress, error);
	policy->slice.mask = options->mask;
	if (slice_parse(options->slice, &policy->slice, error, sizeof(error)) == -1)
		cmd_bad_usage("pull", "--slice: %s", error);
	snprintf(policy->codec, sizeof(policy->codec), "%s", options->compress != NULL ? options->compress : "");
	if (filter != NULL && strlen(filter) >= sizeof(policy->filter))
		cmd_bad_usage("pull", "the filter is longer than %zu bytes", sizeof(policy->filter) - 1);
	snprintf(policy->filter, sizeof(policy->filter), "%s", filter != NULL ? filter : "");
	free(filter);
}

int
cmd_pull(int argc, char **argv)
{
	struct pull_options options = { 0 };
	struct conf_error error;
	struct msg_policy policy;
	const char *where;
	char host[256];
	uint16_t port;
	int rest, rc;

	cmd_options_operand(pull_rows, &options, argc, argv, "HOST[:PORT] [OPTION...] [FILTER...]", &where, &rest);
	if (where == NULL)
		cmd_bad_usage("pull", "which HOST?");
	if (conf_host_port(where, FRAME_PORT, host, sizeof(host), &port, &error) == -1)
		cmd_bad_usage("pull", "%s", error.text);
	fill_policy(&options, argc - rest, argv + rest, &policy);
	rc = pull_host(&options, host, port, &policy);
	conf_free(pull_rows, &options);
	return rc;
}
