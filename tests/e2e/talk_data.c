/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/e2e/talk.h"

/* Data connections: however they come about, what is on them. */

#define MESSAGE_MAX	(RPCAP_HEADER_SIZE + RPCAP_PACKET_HEADER_SIZE + RPCAP_CAPTURED_MAX)

static bool
tls_of(const struct session *s)
{
	return s->control.ssl != NULL;
}

int
talk_data_connect(struct talk *t, char *args)
{
	char port[8];

	if (t->s->port == 0)
		return talk_fail(t, "the server did not say a port");
	snprintf(port, sizeof(port), "%u", t->s->port);
	return stream_connect(t, &t->s->data, *args == '\0' ? NULL : args, port, tls_of(t->s));
}

int
talk_data_listen(struct talk *t, char *args)
{
	(void)args;
	t->s->listener = stream_wait(t, SOCK_STREAM);
	return t->s->listener == -1 ? -1 : 0;
}

int
talk_data_accept(struct talk *t, char *args)
{
	(void)args;
	if (stream_accept(t, &t->s->data, t->s->listener, tls_of(t->s)) == -1)
		return -1;
	close(t->s->listener);
	t->s->listener = -1;
	return 0;
}

int
talk_data_udp(struct talk *t, char *args)
{
	(void)args;
	stream_close(&t->s->data);
	t->s->datagrams = true;
	t->s->data.fd = stream_wait(t, SOCK_DGRAM);
	return t->s->data.fd == -1 ? -1 : 0;
}

/* A datagram is a message, no more and no less. */
static int
read_datagram(struct talk *t, uint8_t *message, struct rpcap_header *h)
{
	ssize_t len;

	stream_set_timeout(t, t->s->data.fd);
	len = recv(t->s->data.fd, message, MESSAGE_MAX, 0);
	if (len == -1)
		return talk_fail(t, "no datagram came: %s", strerror(errno));
	if (len < (ssize_t)RPCAP_HEADER_SIZE)
		return talk_fail(t, "a datagram of %zd bytes", len);
	rpcap_get_header(message, h);
	return h->length == (size_t)len - RPCAP_HEADER_SIZE ? 0 : talk_fail(t, "%u bytes in a datagram of %zd", h->length, len);
}

static int
read_message(struct talk *t, uint8_t *message, struct rpcap_header *h)
{
	if (t->s->datagrams)
		return read_datagram(t, message, h);
	if (stream_read(t, &t->s->data, message, RPCAP_HEADER_SIZE) == -1)
		return -1;
	rpcap_get_header(message, h);
	if (h->length > MESSAGE_MAX - RPCAP_HEADER_SIZE)
		return talk_fail(t, "a message of %u bytes", h->length);
	return stream_read(t, &t->s->data, message + RPCAP_HEADER_SIZE, h->length);
}

/* A client's snapshot length of 0 is the server's choice. */
static int
check_packet(struct talk *t, const struct rpcap_packet *p, size_t captured)
{
	uint32_t next = t->s->number + 1;

	if (p->captured_len != captured)
		return talk_fail(t, "packet %u has %zu bytes and says %u", p->number, captured, p->captured_len);
	if (p->captured_len > p->original_len || (t->s->snaplen > 0 && p->captured_len > t->s->snaplen))
		return talk_fail(t, "packet %u: %u bytes of %u, and snaplen is %u", p->number, p->captured_len, p->original_len, t->s->snaplen);
	if (t->s->datagrams ? p->number < next : p->number != next)
		return talk_fail(t, "packet %u, not %u", p->number, next);
	if (p->microseconds > 999999 || p->seconds == 0)
		return talk_fail(t, "packet %u at %u s, %u us", p->number, p->seconds, p->microseconds);
	t->s->number = p->number;
	return 0;
}

static int
read_packet(struct talk *t, struct rpcap_packet *p)
{
	static uint8_t message[MESSAGE_MAX];
	struct rpcap_header h;
	struct cursor c;

	if (read_message(t, message, &h) == -1)
		return -1;
	if (h.version != 0 || h.type != RPCAP_PACKET || h.value != 0)
		return talk_fail(t, "version %u, type %u, value %u, no packet", h.version, h.type, h.value);
	cursor_init(&c, message + RPCAP_HEADER_SIZE, h.length);
	return rpcap_get_packet(&c, p) == -1 ? talk_fail(t, "a packet message of %u bytes", h.length) : check_packet(t, p, c.left);
}

int
talk_data_read(struct talk *t, char *args)
{
	unsigned long n = strtoul(args, &args, 10), captured = strtoul(args, &args, 10), original = strtoul(args, NULL, 10);
	struct rpcap_packet p;

	for (; n > 0; n--) {
		if (read_packet(t, &p) == -1)
			return -1;
		if (captured > 0 && (p.captured_len != captured || p.original_len != original))
			return talk_fail(t, "packet %u: %u bytes of %u", p.number, p.captured_len, p.original_len);
	}
	return 0;
}

/* After the packets that were under way. */
int
talk_data_closed(struct talk *t, char *args)
{
	struct rpcap_packet p;

	(void)args;
	while (read_packet(t, &p) == 0)
		;
	return strncmp(t->reason, "closed after 0 of", 17) == 0 ? stream_read_end(t, &t->s->data) : -1;
}

int
talk_data_close(struct talk *t, char *args)
{
	(void)args;
	stream_close(&t->s->data);
	return 0;
}
