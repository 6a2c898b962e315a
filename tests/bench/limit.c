/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors
 *
 * limit: what building blocks from packets in memory, the codec on them, and pushing the result through TLS to a sink cost, each by itself:
 * CPU nanoseconds a packet. Together with "tcpdump -w /dev/null" that is the least a tap of this shape can cost.
 * usage: limit sink PORT CERT KEY                 takes one TLS connection and throws away what comes
 *        limit push HOST PORT CODEC[:LEVEL] PACKETS imix|BYTES random|CORPUS
 */
#include "config.h"

#include <sys/socket.h>
#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "proto/codec.h"
#include "proto/pcapng.h"

#include "packets.h"

#define BLOCK_SIZE	(256u * 1024)
#define POOL		16384
#define WIRE_BUFFER	(128 * 1024)
#define RATE		200000	/* packets a second, as the timestamps tell it */

struct push {
	const struct codec *codec;
	struct encoder	*encoder;
	struct packets	 packets;
	SSL		*tls;
	BIO		*wire;			/* gathers records, so that the limit is not one of system calls */
	uint8_t		 raw[BLOCK_SIZE];
	uint8_t		*out;
	size_t		 out_size;
	uint64_t	 sent, time_ns, build_ns, codec_ns, tls_ns, raw_bytes, wire_bytes, captured_bytes;
};

static void __attribute__((noreturn))
die(const char *what)
{
	perror(what);
	ERR_print_errors_fp(stderr);
	exit(1);
}

static uint64_t
cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static size_t
build_block(struct push *push, uint64_t packets)
{
	struct pcapng_packet packet = { .interface = 0, .flags = PCAPNG_EPB_IN };
	size_t used = 0, at;

	while (push->sent < packets) {
		at = push->sent % push->packets.count;
		if (used + PCAPNG_EPB_MAX(push->packets.len[at]) > sizeof(push->raw))
			break;
		packets_set_sequence(push->packets.data[at], push->sent);
		packet.data = push->packets.data[at];
		packet.captured_len = packet.original_len = push->packets.len[at];
		push->time_ns += 1000000000u / RATE - 500 + (push->sent * 7919) % 1000;
		packet.time_ns = push->time_ns;
		used += pcapng_write_epb(push->raw + used, &packet);
		push->captured_bytes += packet.captured_len;
		push->sent++;
	}
	return used;
}

static void
push_all(struct push *push, uint64_t packets)
{
	uint64_t t0, t1, t2, t3;
	size_t raw, written;
	ssize_t len;
	bool stored;

	while (push->sent < packets) {
		t0 = cpu_ns();
		raw = build_block(push, packets);
		t1 = cpu_ns();
		if ((len = encoder_block(push->encoder, push->raw, raw, push->out, push->out_size, &stored)) == -1)
			die("encode");
		t2 = cpu_ns();
		if (SSL_write_ex(push->tls, push->out, (size_t)len, &written) != 1 || written != (size_t)len || BIO_flush(push->wire) != 1)
			die("TLS write");
		t3 = cpu_ns();
		push->build_ns += t1 - t0;
		push->codec_ns += t2 - t1;
		push->tls_ns += t3 - t2;
		push->raw_bytes += raw;
		push->wire_bytes += (uint64_t)len + (uint64_t)(len / 16384 + 1) * 22;
	}
}

static struct sockaddr_in
address_of(const char *host, const char *port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)) };

	if (inet_pton(AF_INET, host, &address.sin_addr) != 1)
		die(host);
	return address;
}

static int
push_main(char **argv)
{
	static struct push push;
	struct sockaddr_in address = address_of(argv[2], argv[3]);
	static const uint8_t mac[6] = { 2, 0, 0, 0, 0, 2 };
	char error[256];
	uint64_t packets = strtoull(argv[5], NULL, 10);
	double n = (double)packets;
	int level, fd;

	if (codec_parse(argv[4], &push.codec, &level, error, sizeof(error)) == -1) {
		fprintf(stderr, "limit: %s\n", error);
		return 2;
	}
	push.encoder = encoder_new(push.codec, level);
	push.out_size = push.codec->bound(BLOCK_SIZE);
	push.out = malloc(push.out_size);
	push.time_ns = 1700000000000000000u;
	if (push.encoder == NULL || push.out == NULL || packets_make(&push.packets, POOL, argv[6], argv[7], mac, 1) == -1)
		die("packets");
	push.tls = SSL_new(SSL_CTX_new(TLS_client_method()));
	if ((fd = socket(AF_INET, SOCK_STREAM, 0)) == -1 || connect(fd, (struct sockaddr *)&address, sizeof(address)) == -1 ||
	    (push.wire = BIO_new(BIO_f_buffer())) == NULL || BIO_set_write_buffer_size(push.wire, WIRE_BUFFER) != 1)
		die("connect");
	BIO_push(push.wire, BIO_new_socket(fd, BIO_CLOSE));
	SSL_set_bio(push.tls, push.wire, push.wire);
	if (SSL_connect(push.tls) != 1)
		die("TLS connect");
	push_all(&push, packets);
	SSL_shutdown(push.tls);
	printf("{\"codec\":\"%s\",\"packets\":%" PRIu64 ",\"build_ns\":%.1f,\"codec_ns\":%.1f,\"tls_ns\":%.1f,\"wire_per_captured\":%.4f}\n",
	    argv[4], packets, (double)push.build_ns / n, (double)push.codec_ns / n, (double)push.tls_ns / n,
	    (double)push.wire_bytes / (double)push.captured_bytes);
	return 0;
}

static int
sink_main(char **argv)
{
	struct sockaddr_in address = address_of("0.0.0.0", argv[2]);
	SSL_CTX *context = SSL_CTX_new(TLS_server_method());
	static char waste[1 << 18];
	int fd = -1, one = 1;
	SSL *tls;

	if (SSL_CTX_use_certificate_chain_file(context, argv[3]) != 1 || SSL_CTX_use_PrivateKey_file(context, argv[4], SSL_FILETYPE_PEM) != 1 ||
	    (fd = socket(AF_INET, SOCK_STREAM, 0)) == -1 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == -1 ||
	    bind(fd, (struct sockaddr *)&address, sizeof(address)) == -1 || listen(fd, 1) == -1)
		die("sink");
	if ((fd = accept(fd, NULL, NULL)) == -1)
		die("accept");
	tls = SSL_new(context);
	if (SSL_set_fd(tls, fd) != 1 || SSL_accept(tls) != 1)
		die("TLS accept");
	while (SSL_read(tls, waste, sizeof(waste)) > 0)
		;
	return 0;
}

int
main(int argc, char **argv)
{
	if (argc == 5 && strcmp(argv[1], "sink") == 0)
		return sink_main(argv);
	if (argc == 8 && strcmp(argv[1], "push") == 0)
		return push_main(argv);
	fprintf(stderr, "usage: limit sink PORT CERT KEY | limit push HOST PORT CODEC[:LEVEL] PACKETS imix|BYTES random|CORPUS\n");
	return 2;
}
