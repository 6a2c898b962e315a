/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <netinet/in.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "agent/link_dial.h"
#include "agent/link_resolve.h"
#include "agent/link_session.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/log.h"
#include "proto/frame.h"

#define BACKOFF_MIN_MS	500
#define BACKOFF_MAX_MS	60000
#define BACKOFF_STEPS	7		/* doublings until the most */
#define LASTED_MS	60000		/* a session this long was a good one */
#define CLONE_MS	60000		/* another machine has our identity: no hurry */
#define CONNECT_MS	5000

enum dial_state {
	DIAL_OFF,		/* nobody to call, or a collector is here already */
	DIAL_WAIT,		/* between rounds */
	DIAL_CREDENTIALS,	/* the supervisor opens the files */
	DIAL_RESOLVE,
	DIAL_EXCLUDE,		/* the capture role leaves the addresses out */
	DIAL_SOCKET,		/* the supervisor makes a marked socket */
	DIAL_CONNECT,
	DIAL_SESSION
};

struct dial {
	struct link	*link;
	enum dial_state	 state;
	struct event	*timer;
	unsigned	 rounds;		/* since a session that lasted */
	size_t		 collector;		/* which one of the options */
	char		 host[256];
	uint16_t	 port;
	struct resolve	*resolve;
	struct resolve_address address[RESOLVE_MAX];
	size_t		 address_count, address_at;
	bool		 socket_due;		/* asked for and not come */
	int		 fd;
	struct event	*connected;
	struct session	*session;
};

static void next_address(struct dial *);
static void next_collector(struct dial *);

/* What the state before had under way is given up. */
static void
change_state(struct dial *d, enum dial_state state)
{
	if (d->connected != NULL)
		event_free(d->connected);
	d->connected = NULL;
	if (d->fd != -1 && state != DIAL_CONNECT) {
		close(d->fd);
		d->fd = -1;
	}
	resolve_cancel(d->resolve);
	d->resolve = NULL;
	d->session = NULL;
	event_del(d->timer);
	d->state = state;
}

static const char *
address_text(const struct resolve_address *address, char *text, size_t size)
{
	char host[64];

	if (getnameinfo((const struct sockaddr *)&address->ss, address->len, host, sizeof(host), NULL, 0, NI_NUMERICHOST) != 0)
		snprintf(host, sizeof(host), "?");
	snprintf(text, size, "%s", host);
	return text;
}

/* --- rounds --- */

static void
round_wait(struct dial *d, uint64_t at_least_ms)
{
	unsigned step = d->rounds < BACKOFF_STEPS ? d->rounds : BACKOFF_STEPS;
	uint64_t most_ms = (uint64_t)BACKOFF_MIN_MS << step, wait_ms;

	if (most_ms > BACKOFF_MAX_MS)
		most_ms = BACKOFF_MAX_MS;
	wait_ms = at_least_ms + link_random(most_ms);
	d->rounds++;
	change_state(d, DIAL_WAIT);
	link_timer_set(d->timer, wait_ms * LINK_MS);
	log_info("next attempt to reach a collector in %llu.%llu s", (unsigned long long)(wait_ms / 1000),
	    (unsigned long long)(wait_ms % 1000 / 100));
}

static void
round_start(struct dial *d)
{
	struct link *link = d->link;

	if (link->stopping || link->options.collectors.count == 0 || link->tap[0].session != NULL) {
		change_state(d, DIAL_OFF);
		return;
	}
	d->collector = 0;
	change_state(d, DIAL_CREDENTIALS);
	credentials_request(link);
}

static bool
still_configured(const struct dial *d)
{
	const struct conf_list *collectors = &d->link->options.collectors;
	struct conf_error error;
	char host[sizeof(d->host)];
	uint16_t port;
	size_t i;

	for (i = 0; i < collectors->count; i++)
		if (conf_host_port(collectors->value[i], FRAME_PORT, host, sizeof(host), &port, &error) == 0 &&
		    port == d->port && strcmp(host, d->host) == 0)
			return true;
	return false;
}

void
dial_start(struct dial *d)
{
	d->rounds = 0;
	if (d->state != DIAL_SESSION)
		round_start(d);
	else if (!still_configured(d))
		session_bye(d->session, 0, "this collector is not configured any more");
}

void
dial_stop(struct dial *d)
{
	if (d->state != DIAL_SESSION)
		change_state(d, DIAL_OFF);
}

/* --- one collector --- */

static void
on_resolved(const struct resolve_address *address, size_t count, const char *error, void *arg)
{
	struct dial *d = arg;

	d->resolve = NULL;
	if (count == 0) {
		log_warn("collector %s: %s", d->host, error);
		d->collector++;
		next_collector(d);
		return;
	}
	memcpy(d->address, address, count * sizeof(*address));
	d->address_count = count;
	d->address_at = 0;
	change_state(d, DIAL_EXCLUDE);
	tap_update_all(d->link);
	dial_taps_answered(d);
}

static void
next_collector(struct dial *d)
{
	const struct conf_list *collectors = &d->link->options.collectors;
	struct conf_error error;
	struct resolve *resolve;

	if (d->collector >= collectors->count) {
		round_wait(d, 0);
		return;
	}
	if (conf_host_port(collectors->value[d->collector], FRAME_PORT, d->host, sizeof(d->host), &d->port, &error) == -1) {
		log_error("%s: %s", collectors->origin[d->collector], error.text);
		d->collector++;
		next_collector(d);
		return;
	}
	change_state(d, DIAL_RESOLVE);
	if ((resolve = resolve_start(d->link->base, d->host, d->port, on_resolved, d)) != NULL)
		d->resolve = resolve;
}

void
dial_credentials(struct dial *d)
{
	if (d->state != DIAL_CREDENTIALS)
		return;
	if (d->link->tls == NULL)
		round_wait(d, 0);
	else
		next_collector(d);
}

void
dial_taps_answered(struct dial *d)
{
	if (d->state == DIAL_EXCLUDE && tap_all_answered(d->link))
		next_address(d);
}

static void
endpoint_of(const struct resolve_address *address, struct ipc_endpoint *endpoint)
{
	const struct sockaddr_in *v4 = (const void *)&address->ss;
	const struct sockaddr_in6 *v6 = (const void *)&address->ss;

	memset(endpoint, 0, sizeof(*endpoint));
	endpoint->family = (uint8_t)address->ss.ss_family;
	if (address->ss.ss_family == AF_INET) {
		memcpy(endpoint->address, &v4->sin_addr, 4);
		endpoint->port = ntohs(v4->sin_port);
	} else {
		memcpy(endpoint->address, &v6->sin6_addr, 16);
		endpoint->port = ntohs(v6->sin6_port);
	}
}

static int
compare_endpoints(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct ipc_endpoint));
}

/* Sorted: DNS may answer in another order each time, which is no reason to change a filter. */
size_t
dial_endpoints(const struct dial *d, struct ipc_endpoint *out, size_t max)
{
	size_t i;

	for (i = 0; i < d->address_count && i < max; i++)
		endpoint_of(&d->address[i], &out[i]);
	qsort(out, i, sizeof(*out), compare_endpoints);
	return i;
}

/* --- one address --- */

static void
address_failed(struct dial *d, const char *why)
{
	char text[64];

	log_warn("collector %s: cannot connect to %s port %u: %s", d->host, address_text(&d->address[d->address_at], text, sizeof(text)),
	    d->port, why);
	d->address_at++;
	next_address(d);
}

static void
next_address(struct dial *d)
{
	uint8_t family;

	if (d->link->tap[0].session != NULL) {
		change_state(d, DIAL_OFF);
		return;
	}
	if (d->address_at >= d->address_count) {
		d->collector++;
		next_collector(d);
		return;
	}
	change_state(d, DIAL_SOCKET);
	if (d->socket_due)
		return;		/* an earlier one is on its way: dial_socket() asks again if it is of the other family */
	family = (uint8_t)d->address[d->address_at].ss.ss_family;
	d->socket_due = true;
	if (ipc_send(d->link->supervisor, IPC_SOCKET_REQUEST, &family, sizeof(family), NULL, 0) == -1) {
		d->socket_due = false;
		log_error("cannot ask the supervisor for a socket: %s", strerror(errno));
		round_wait(d, 0);
	}
}

static void
dial_session(struct dial *d)
{
	int fd = d->fd;

	d->fd = -1;
	change_state(d, DIAL_SESSION);
	if ((d->session = session_new(d->link, fd, TLSIO_CLIENT, d->host)) == NULL)
		round_wait(d, 0);
}

static void
on_connected(evutil_socket_t fd, short what, void *arg)
{
	struct dial *d = arg;
	int error = 0;
	socklen_t len = sizeof(error);

	if (what & EV_TIMEOUT)
		error = ETIMEDOUT;
	else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == -1)
		error = errno;
	if (error != 0)
		address_failed(d, strerror(error));
	else
		dial_session(d);
}

static void
connect_begin(struct dial *d)
{
	static const struct timeval limit = { .tv_sec = CONNECT_MS / 1000 };
	const struct resolve_address *address = &d->address[d->address_at];

	if (connect(d->fd, (const struct sockaddr *)&address->ss, address->len) == -1 && errno != EINPROGRESS) {
		address_failed(d, strerror(errno));
		return;
	}
	change_state(d, DIAL_CONNECT);
	d->connected = event_new(d->link->base, d->fd, EV_WRITE, on_connected, d);
	if (d->connected == NULL || event_add(d->connected, &limit) == -1)
		address_failed(d, "out of memory");
}

static int
socket_family(int fd)
{
	int family = AF_UNSPEC;
	socklen_t len = sizeof(family);

	getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &len);
	return family;
}

void
dial_socket(struct dial *d, struct ipc_message *message)
{
	struct cursor c;
	uint32_t error = 0;

	d->socket_due = false;
	if (d->state != DIAL_SOCKET)
		return;
	if (message->fd[0] == -1) {
		cursor_init(&c, message->payload, message->length);
		address_failed(d, cursor_u32(&c, &error) == 0 ? strerror((int)error) : "the supervisor gave no socket");
		return;
	}
	if (socket_family(message->fd[0]) != d->address[d->address_at].ss.ss_family) {
		next_address(d);
		return;
	}
	d->fd = message->fd[0];
	message->fd[0] = -1;
	connect_begin(d);
}

/* --- sessions --- */

static void
own_session_closed(struct dial *d, const struct session *s)
{
	char text[64];

	if (s->was_live && clock_mono_ns() - s->live_ns >= LASTED_MS * LINK_MS)
		d->rounds = 0;
	if (s->peer_error == MSG_ERR_CLONE)
		round_wait(d, CLONE_MS);
	else if (s->was_live)
		round_wait(d, 0);
	else {
		if (s->name[0] == '\0')
			log_warn("collector %s: no session with %s port %u: %s", d->host,
			    address_text(&d->address[d->address_at], text, sizeof(text)), d->port, s->why);
		d->address_at++;
		next_address(d);
	}
}

void
dial_session_closed(struct dial *d, const struct session *s)
{
	if (d->link->stopping)
		return;
	if (d->state == DIAL_SESSION && d->session == s)
		own_session_closed(d, s);
	else if (d->state == DIAL_OFF && d->link->tap[0].session == NULL && d->link->options.collectors.count > 0)
		round_wait(d, 0);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	round_start(arg);
}

struct dial *
dial_new(struct link *link)
{
	struct dial *d = calloc(1, sizeof(*d));

	if (d == NULL)
		fatal("out of memory");
	d->link = link;
	d->fd = -1;
	d->timer = link_timer_new(link, on_timer, d);
	return d;
}

void
dial_free(struct dial *d)
{
	if (d == NULL)
		return;
	change_state(d, DIAL_OFF);
	event_free(d->timer);
	free(d);
}
