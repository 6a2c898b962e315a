/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors
 *
 * rpcap_sink: an RPCAP client that counts what it gets and throws it away, as cheaply as can be, so that the server is measured.
 * usage: rpcap_sink [-t CA] HOST PORT INTERFACE      -t: over TLS, the server's certificate being of this CA
 * Null authentication, all packets, whole. "capturing" is printed once packets may come, at SIGUSR1 and at the end, which is SIGINT,
 * a line of counts, the server's too. Exit status 1: the server lied about a length or went away.
 */
#include "config.h"

#include <sys/socket.h>
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/ssl.h>
#include <pcap/bpf.h>

#include "common/buf.h"
#include "proto/rpcap.h"

#define SNAPLEN		262144u
#define ROOM		(1u << 20)

struct wire {
	int	 fd;
	SSL	*tls;		/* NULL: plain */
};

struct sink {
	struct wire	 control, data;
	SSL_CTX		*tls;
	struct sockaddr_in address;
	uint8_t		*room;		/* of the data connection, the first len bytes unread */
	size_t		 len;
	uint64_t	 packets, bytes, cut;
	uint32_t	 number;	/* of the last packet */
};

static volatile sig_atomic_t over, asked;

static void __attribute__((noreturn, format(printf, 1, 2)))
die(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	fputs("rpcap_sink: ", stderr);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(1);
}

static void
on_signal(int signal)
{
	if (signal == SIGUSR1)
		asked = 1;
	else
		over = 1;
}

/* --- bytes --- */

static struct wire
wire_open(const struct sink *sink, uint16_t port)
{
	struct sockaddr_in address = sink->address;
	struct wire wire = { .fd = socket(AF_INET, SOCK_STREAM, 0) };

	address.sin_port = htons(port);
	if (wire.fd == -1 || connect(wire.fd, (struct sockaddr *)&address, sizeof(address)) == -1)
		die("cannot connect to port %u: %s", port, strerror(errno));
	if (sink->tls == NULL)
		return wire;
	if ((wire.tls = SSL_new(sink->tls)) == NULL || SSL_set_fd(wire.tls, wire.fd) != 1 || SSL_connect(wire.tls) != 1)
		die("no TLS with port %u", port);
	return wire;
}

/* 0: nothing just now, or interrupted. */
static size_t
wire_read(const struct wire *wire, uint8_t *bytes, size_t len)
{
	ssize_t n = wire->tls != NULL ? SSL_read(wire->tls, bytes, (int)len) : recv(wire->fd, bytes, len, 0);

	if (n <= 0 && !over && !asked)
		die("the server closed the connection");
	return n > 0 ? (size_t)n : 0;
}

static void
wire_write(const struct wire *wire, const struct buf *buf)
{
	ssize_t n = wire->tls != NULL ? SSL_write(wire->tls, buf->data, (int)buf->len) : send(wire->fd, buf->data, buf->len, MSG_NOSIGNAL);

	if (n != (ssize_t)buf->len)
		die("cannot send a request");
}

/* --- requests --- */

/* The answer's payload, into bytes. */
static size_t
request(const struct sink *sink, struct buf *msg, uint8_t type, uint8_t *bytes, size_t size)
{
	uint8_t head[RPCAP_HEADER_SIZE];
	struct rpcap_header header;
	size_t got;

	wire_write(&sink->control, msg);
	buf_clear(msg);
	for (got = 0; got < sizeof(head);)
		got += wire_read(&sink->control, head + got, sizeof(head) - got);
	rpcap_get_header(head, &header);
	if (header.length > size)
		die("an answer of %" PRIu32 " bytes", header.length);
	for (got = 0; got < header.length;)
		got += wire_read(&sink->control, bytes + got, header.length - got);
	if (header.type == RPCAP_ERROR)
		die("refused: %.*s", (int)got, (const char *)bytes);
	if (header.type != (type | RPCAP_REPLY))
		die("an answer of type %u to a request of type %u", header.type, type);
	return got;
}

static void
start(struct sink *sink, const char *interface)
{
	static const struct bpf_insn all = BPF_STMT(BPF_RET | BPF_K, SNAPLEN);
	const struct rpcap_filter filter = { .insn = &all, .count = 1 };
	const struct rpcap_startcap startcap = { .snaplen = SNAPLEN, .read_timeout_ms = 100 };
	struct rpcap_startcap_reply reply;
	uint8_t bytes[4096];
	struct cursor c;
	struct buf msg;

	buf_init(&msg, 65536);
	rpcap_put_auth(&msg, &(struct rpcap_auth){ .type = RPCAP_AUTH_NULL });
	request(sink, &msg, RPCAP_AUTH, bytes, sizeof(bytes));
	rpcap_put_open(&msg, RPCAP_VERSION, interface);
	request(sink, &msg, RPCAP_OPEN, bytes, sizeof(bytes));
	rpcap_put_startcap(&msg, RPCAP_VERSION, &startcap, &filter);
	cursor_init(&c, bytes, request(sink, &msg, RPCAP_STARTCAP, bytes, sizeof(bytes)));
	if (rpcap_get_startcap_reply(&c, &reply) == -1)
		die("a malformed answer to STARTCAP");
	sink->data = wire_open(sink, reply.port);
}

static void
print_counts(const struct sink *sink)
{
	struct rpcap_stats stats;
	uint8_t bytes[4096];
	struct cursor c;
	struct buf msg;

	over = asked = 0;
	buf_init(&msg, 1024);
	rpcap_put_empty(&msg, RPCAP_VERSION, RPCAP_STATS);
	cursor_init(&c, bytes, request(sink, &msg, RPCAP_STATS, bytes, sizeof(bytes)));
	if (rpcap_get_stats_reply(&c, &stats) == -1)
		die("a malformed answer to STATS");
	printf("packets %" PRIu64 " bytes %" PRIu64 " cut %" PRIu64 " ifrecv %u ifdrop %u krnldrop %u svrcapt %u\n", sink->packets,
	    sink->bytes, sink->cut, stats.ifrecv, stats.ifdrop, stats.krnldrop, stats.svrcapt);
	fflush(stdout);
}

/* --- packets --- */

/* Whole messages; returns how many bytes they take. */
static size_t
take_packets(struct sink *sink)
{
	struct rpcap_header header;
	struct rpcap_packet packet;
	struct cursor c;
	size_t at = 0;

	while (sink->len - at >= RPCAP_HEADER_SIZE) {
		rpcap_get_header(sink->room + at, &header);
		if (header.type != RPCAP_PACKET || header.length > SNAPLEN + RPCAP_PACKET_HEADER_SIZE)
			die("message %u of %" PRIu32 " bytes among the packets", header.type, header.length);
		if (sink->len - at - RPCAP_HEADER_SIZE < header.length)
			break;
		cursor_init(&c, sink->room + at + RPCAP_HEADER_SIZE, header.length);
		if (rpcap_get_packet(&c, &packet) == -1 || packet.captured_len != c.left || packet.number != ++sink->number)
			die("packet %u after %" PRIu64 " is malformed", packet.number, sink->packets);
		sink->packets++;
		sink->bytes += packet.captured_len;
		sink->cut += packet.captured_len < packet.original_len;
		at += RPCAP_HEADER_SIZE + header.length;
	}
	return at;
}

static void
run(struct sink *sink)
{
	size_t used;

	while (!over) {
		sink->len += wire_read(&sink->data, sink->room + sink->len, ROOM - sink->len);
		used = take_packets(sink);
		memmove(sink->room, sink->room + used, sink->len - used);
		sink->len -= used;
		if (asked)
			print_counts(sink);
	}
}

static SSL_CTX *
trust(const char *ca)
{
	SSL_CTX *tls = SSL_CTX_new(TLS_client_method());

	if (tls == NULL || SSL_CTX_load_verify_locations(tls, ca, NULL) != 1)
		die("%s: no certificate", ca);
	SSL_CTX_set_verify(tls, SSL_VERIFY_PEER, NULL);
	return tls;
}

int
main(int argc, char **argv)
{
	static const struct sigaction action = { .sa_handler = on_signal };
	static struct sink sink = { .address.sin_family = AF_INET };
	bool tls = argc == 6 && strcmp(argv[1], "-t") == 0;

	if ((argc != 4 && !tls) || inet_pton(AF_INET, argv[argc - 3], &sink.address.sin_addr) != 1) {
		fputs("usage: rpcap_sink [-t CA] HOST PORT INTERFACE\n", stderr);
		return 2;
	}
	if ((sink.room = malloc(ROOM)) == NULL)
		die("out of memory");
	if (tls)
		sink.tls = trust(argv[2]);
	sink.control = wire_open(&sink, (uint16_t)atoi(argv[argc - 2]));
	start(&sink, argv[argc - 1]);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGUSR1, &action, NULL);
	puts("capturing");
	fflush(stdout);
	run(&sink);
	print_counts(&sink);
	return 0;
}
