/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "agent/link.h"
#include "agent/link_race.h"
#include "agent/rpcap_data.h"
#include "agent/rpcap_door.h"
#include "agent/rpcap_server.h"
#include "common/tls.h"

#define INPUT_MAX	4096u	/* a client has nothing to say here: it is passed over */
#define DATAGRAMS_MAX	64	/* in one system call */

enum data_kind { DATA_ACCEPTED, DATA_CONNECTED, DATA_DATAGRAMS };

struct rpcap_data {
	struct rpcap_client *client;
	const struct rpcap_data_callbacks *callbacks;
	void		*arg;
	enum data_kind	 kind;
	struct sockaddr_storage to;	/* the client's, unless DATA_ACCEPTED */
	struct sockaddr_storage address;	/* ours */
	bool		 known;		/* address, with its port */
	struct rpcap_wait wait;
	struct rpcap_guest guest;
	int		 fd;		/* until io has it; -1: none */
	struct event	*event;		/* a connection is made, a datagram can be sent */
	struct event	*timer;		/* of the client's coming */
	struct tlsio	*io;
	bool		 open;		/* for datagrams */
	uint64_t	 bytes, lost;	/* of those */
};

/* --- addresses --- */

static in_port_t *
port_of(const struct sockaddr_storage *ss)
{
	return ss->ss_family == AF_INET ? &((struct sockaddr_in *)(uintptr_t)ss)->sin_port :
	    &((struct sockaddr_in6 *)(uintptr_t)ss)->sin6_port;
}

static socklen_t
length_of(const struct sockaddr_storage *ss)
{
	return ss->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}

static void
data_fail(struct rpcap_data *d, const char *why)
{
	d->callbacks->failed(why, d->arg);
}

static void
data_prepared(struct rpcap_data *d)
{
	d->known = true;
	d->callbacks->prepared(d->arg);
}

bool
rpcap_data_endpoint(const struct rpcap_data *d, struct ipc_endpoint *endpoint)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)&d->address;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)&d->address;

	if (!d->known)
		return false;
	memset(endpoint, 0, sizeof(*endpoint));
	endpoint->family = (uint8_t)d->address.ss_family;
	endpoint->udp = d->kind == DATA_DATAGRAMS;
	if (endpoint->family == AF_INET)
		memcpy(endpoint->address, &in->sin_addr, sizeof(in->sin_addr));
	else
		memcpy(endpoint->address, &in6->sin6_addr, sizeof(in6->sin6_addr));
	endpoint->port = ntohs(*port_of(&d->address));
	return true;
}

uint16_t
rpcap_data_port(const struct rpcap_data *d)
{
	struct ipc_endpoint endpoint;

	return d->kind == DATA_ACCEPTED && rpcap_data_endpoint(d, &endpoint) ? endpoint.port : 0;
}

/* --- TCP --- */

static void
on_opened(struct tlsio *io, void *arg)
{
	struct rpcap_data *d = arg;

	(void)io;
	d->callbacks->opened(d->arg);
}

static void
on_readable(struct tlsio *io, void *arg)
{
	(void)arg;
	buf_consume(tlsio_input(io), tlsio_input(io)->len);
	tlsio_input_taken(io);
}

static void
on_writable(struct tlsio *io, void *arg)
{
	struct rpcap_data *d = arg;

	(void)io;
	d->callbacks->writable(d->arg);
}

static void
on_closed(struct tlsio *io, const char *why, void *arg)
{
	(void)io;
	data_fail(arg, why);
}

/* Takes fd. As on the control connection, TLS's server is always us. */
static void
begin_io(struct rpcap_data *d, int fd)
{
	static const struct tlsio_callbacks callbacks = { on_opened, on_readable, on_writable, on_closed };
	static const struct tlsio_options options = {
		.side = TLSIO_SERVER, .handshake_ms = RPCAP_DATA_MS, .input_max = INPUT_MAX, .read_budget = INPUT_MAX,
	};
	struct rpcap *server = d->client->server;

	d->fd = -1;
	if (d->client->tls && server->tls == NULL) {
		close(fd);
		data_fail(d, "TLS cannot be used any more");
		return;
	}
	d->io = tlsio_new(server->link->base, d->client->tls ? server->tls : NULL, fd, &options, &callbacks, d);
	if (d->io != NULL)
		return;
	close(fd);
	data_fail(d, "out of memory");
}

/* --- the client comes to us --- */

static void
on_came(int fd, void *arg)
{
	struct rpcap_data *d = arg;

	event_del(d->timer);
	begin_io(d, fd);
}

static void
on_turn(void *arg)
{
	struct rpcap_data *d = arg;

	d->callbacks->connected(d->arg);
}

static void
on_door_failed(const char *why, void *arg)
{
	data_fail(arg, why);
}

static void
on_late(evutil_socket_t fd, short what, void *arg)
{
	struct rpcap_data *d = arg;

	(void)fd;
	(void)what;
	rpcap_door_leave(&d->guest);
	data_fail(d, "the client made no data connection in time");
}

/* At the address of ours that it has reached already; a port is named only where it comes to us. */
static int
find_local(struct rpcap_data *d)
{
	socklen_t len = sizeof(d->address);

	if (getsockname(tlsio_fd(d->client->control), (struct sockaddr *)&d->address, &len) == -1)
		return -1;
	*port_of(&d->address) = htons(d->kind == DATA_ACCEPTED ? (uint16_t)d->client->server->link->options.rpcap_data_port : 0);
	return 0;
}

static bool
at_open_door(struct rpcap_data *d)
{
	return *port_of(&d->address) != 0 && rpcap_door_join(d->client->server, &d->address, &d->guest);
}

/* --- we go to the client --- */

static void
on_connected(evutil_socket_t fd, short what, void *arg)
{
	struct rpcap_data *d = arg;
	int error = race_connect_error(fd, what);

	if (error != 0)
		data_fail(d, strerror(error));
	else
		d->callbacks->connected(d->arg);
}

static void
make_connection(struct rpcap_data *d)
{
	static const struct timeval limit = { .tv_sec = RPCAP_DATA_MS / 1000 };

	if (connect(d->fd, (const struct sockaddr *)&d->to, length_of(&d->to)) == -1 && errno != EINPROGRESS)
		data_fail(d, strerror(errno));
	else if (d->kind == DATA_DATAGRAMS)
		d->callbacks->connected(d->arg);
	else {
		event_assign(d->event, d->client->server->link->base, d->fd, EV_WRITE, on_connected, d);
		event_add(d->event, &limit);
	}
}

/* --- datagrams --- */

/* At first there always is. */
static void
on_room(evutil_socket_t fd, short what, void *arg)
{
	struct rpcap_data *d = arg;

	(void)fd;
	(void)what;
	if (d->open)
		d->callbacks->writable(d->arg);
	else {
		d->open = true;
		d->callbacks->opened(d->arg);
	}
}

/* One message each. How many there are. */
static unsigned
gather_datagrams(const uint8_t *bytes, size_t len, struct mmsghdr *message, struct iovec *vec)
{
	struct rpcap_header header;
	unsigned count = 0;
	size_t at = 0;

	for (; count < DATAGRAMS_MAX && at < len; count++) {
		rpcap_get_header(bytes + at, &header);
		vec[count].iov_base = (void *)(uintptr_t)(bytes + at);
		vec[count].iov_len = RPCAP_HEADER_SIZE + header.length;
		at += vec[count].iov_len;
		memset(&message[count], 0, sizeof(message[count]));
		message[count].msg_hdr.msg_iov = &vec[count];
		message[count].msg_hdr.msg_iovlen = 1;
	}
	return count;
}

/* How many of them are dealt with: sent, or, the first one, lost. */
static unsigned
send_gathered(struct rpcap_data *d, struct mmsghdr *message, unsigned count)
{
	int n = sendmmsg(d->fd, message, count, MSG_DONTWAIT);

	if (n == -1 && errno == ECONNREFUSED)	/* of one before: nobody is there just now */
		n = sendmmsg(d->fd, message, count, MSG_DONTWAIT);
	if (n > 0)
		return (unsigned)n;
	if (errno == EAGAIN || errno == EINTR) {
		event_add(d->event, NULL);
		return 0;
	}
	d->lost++;
	return 1;
}

static size_t
send_datagrams(struct rpcap_data *d, const uint8_t *bytes, size_t len)
{
	struct mmsghdr message[DATAGRAMS_MAX];
	struct iovec vec[DATAGRAMS_MAX];
	unsigned count, sent, i;
	size_t done = 0;

	while (done < len) {
		count = gather_datagrams(bytes + done, len - done, message, vec);
		sent = send_gathered(d, message, count);
		for (i = 0; i < sent; i++)
			done += vec[i].iov_len;
		if (sent == 0)
			break;
	}
	d->bytes += done;
	return done;
}

/* --- what the owner calls --- */

/* Our port is known before there is a connection: to leave out the client's would hide from all taps whatever else is at a port of its
 * choice. */
static int
bind_local(struct rpcap_data *d, int fd)
{
	socklen_t len = sizeof(d->address);

	if (bind(fd, (const struct sockaddr *)&d->address, length_of(&d->address)) == -1)
		return -1;
	return getsockname(fd, (struct sockaddr *)&d->address, &len);
}

static void
on_socket(int fd, int error, void *arg)
{
	struct rpcap_data *d = arg;

	if (fd == -1) {
		data_fail(d, strerror(error));
		return;
	}
	if (d->kind != DATA_ACCEPTED) {
		d->fd = fd;
		if (bind_local(d, fd) == 0)
			data_prepared(d);
		else
			data_fail(d, strerror(errno));
		return;
	}
	if (at_open_door(d))	/* another one's was, meanwhile */
		close(fd);
	else if (rpcap_door_open(d->client->server, fd, &d->address, &d->guest) == -1) {
		error = errno;
		close(fd);
		data_fail(d, strerror(error));
		return;
	}
	d->address = *rpcap_door_address(&d->guest);
	data_prepared(d);
}

struct rpcap_data *
rpcap_data_new(struct rpcap_client *client, const struct rpcap_startcap *start, const struct rpcap_data_callbacks *callbacks, void *arg)
{
	struct rpcap_data *d = calloc(1, sizeof(*d));

	if (d == NULL)
		return NULL;
	d->client = client;
	d->callbacks = callbacks;
	d->arg = arg;
	d->fd = -1;
	d->kind = start->flags & RPCAP_FLAG_DGRAM ? DATA_DATAGRAMS :
	    start->flags & RPCAP_FLAG_SERVEROPEN || client->call != NULL ? DATA_CONNECTED : DATA_ACCEPTED;
	d->to = client->address;
	*port_of(&d->to) = htons(start->port);
	d->guest = (struct rpcap_guest){ .address = &client->address, .turn = on_turn, .came = on_came,
	    .failed = on_door_failed, .arg = d };
	d->wait = (struct rpcap_wait){ .came = on_socket, .arg = d };
	d->timer = link_timer_new(client->server->link, on_late, d);
	d->event = link_timer_new(client->server->link, on_room, d);
	return d;
}

void
rpcap_data_free(struct rpcap_data *d)
{
	if (d == NULL)
		return;
	rpcap_wait_cancel(d->client->server, &d->wait);
	rpcap_door_leave(&d->guest);
	event_free(d->timer);
	event_free(d->event);
	tlsio_free(d->io);
	if (d->fd != -1)
		close(d->fd);
	free(d);
}

void
rpcap_data_prepare(struct rpcap_data *d)
{
	if (find_local(d) == -1) {
		data_fail(d, strerror(errno));
		return;
	}
	if (d->kind == DATA_ACCEPTED && at_open_door(d)) {
		data_prepared(d);
		return;
	}
	d->wait.family = (uint8_t)d->address.ss_family;
	d->wait.type = d->kind == DATA_DATAGRAMS ? SOCK_DGRAM : SOCK_STREAM;
	rpcap_wait_socket(d->client->server, &d->wait);
}

void
rpcap_data_connect(struct rpcap_data *d)
{
	if (d->kind == DATA_ACCEPTED)
		rpcap_door_wait(&d->guest);
	else
		make_connection(d);
}

void
rpcap_data_open(struct rpcap_data *d)
{
	struct link *link = d->client->server->link;

	if (d->kind == DATA_CONNECTED)
		begin_io(d, d->fd);
	else if (d->kind == DATA_ACCEPTED)
		link_timer_set(d->timer, RPCAP_DATA_MS * LINK_MS);
	else {
		event_assign(d->event, link->base, d->fd, EV_WRITE, on_room, d);
		event_add(d->event, NULL);
	}
}

size_t
rpcap_data_send(struct rpcap_data *d, const uint8_t *bytes, size_t len)
{
	return d->kind == DATA_DATAGRAMS ? send_datagrams(d, bytes, len) : tlsio_send(d->io, bytes, len);
}

void
rpcap_data_cork(struct rpcap_data *d, bool corked)
{
	if (d->io == NULL)
		return;
	if (corked)
		tlsio_cork(d->io);
	else
		tlsio_uncork(d->io);
}

uint64_t
rpcap_data_bytes(const struct rpcap_data *d)
{
	return d->io != NULL ? tlsio_bytes_out(d->io) : d->bytes;
}

uint64_t
rpcap_data_unsent(const struct rpcap_data *d)
{
	int waiting = 0;

	if (d->io == NULL)
		return 0;
	if (ioctl(tlsio_fd(d->io), SIOCOUTQ, &waiting) == -1 || waiting < 0)
		waiting = 0;
	return (uint64_t)waiting + tlsio_queued(d->io);
}

uint64_t
rpcap_data_lost(const struct rpcap_data *d)
{
	return d->lost;
}
