/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>

#include <netinet/in.h>
#include <netinet/tcp.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>
#include <event2/event_struct.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/tls.h"
#include "common/tls_internal.h"

/*
 * A wake-up of any kind ends in service(). Callbacks are made from there alone, never from inside a function that the
 * owner calls; each may free or detach the tlsio, which service() and all below it learn from *gone.
 */

#define NOTSENT_LOWAT	(256 * 1024)		/* the kernel's share, so that small messages do not wait behind megabytes */
#define FAIL_LINGER_MS	1000			/* for the alert that tells the peer why */
#define EXPIRY_CHECK_S	3600			/* wall clocks are set: look again each hour */

#define WAKE_READ	0x1
#define WAKE_WRITE	0x2
#define WAKE_TIMER	0x4

void
tlsio_kick(struct tlsio *t)
{
	static const struct timeval	 now = { 0, 0 };

	event_add(&t->ev_kick, &now);
}

static void
set_deadline(struct tlsio *t, uint64_t ms)
{
	t->deadline_ns = clock_mono_ns() + ms * 1000000;
	t->timer_armed = false;
}

/* Nothing more is told to the owner but closed(), after what is queued or after linger_ms. */
static void
finish(struct tlsio *t, unsigned linger_ms)
{
	t->state = TLSIO_DRAINING;
	t->linger_ms = linger_ms;
	set_deadline(t, linger_ms);
}

/* An alert may be in output: without time to arrive it would be lost to the reset that follows a close(2) with unread input. */
void
tlsio_failed(struct tlsio *t)
{
	finish(t, t->eof || t->read_errno != 0 || t->write_errno != 0 || tlsio_queued(t) == 0 ? 0 : FAIL_LINGER_MS);
}

static void
call(struct tlsio *t, void (*callback)(struct tlsio *, void *))
{
	if (callback != NULL)
		callback(t, t->arg);
}

/* What the peer said before it stopped listening (an alert, perhaps) is still worth reading. */
bool
tlsio_may_read(const struct tlsio *t)
{
	return (!t->read_stopped || t->write_errno != 0) && t->input.len < t->options.input_max;
}

static void
step_read(struct tlsio *t, const bool *gone)
{
	size_t		 before = t->input.len;
	enum tlsio_read	 result = t->layer->read_some(t);

	t->retry_read = result == TLSIO_READ_MORE;
	if (result != TLSIO_READ_END && t->write_errno != 0) {
		tls_why_set(&t->note, "%s", strerror(t->write_errno));
		result = TLSIO_READ_END;
	}
	if (t->input.len > before)
		call(t, t->callbacks.readable);
	if (!*gone && result == TLSIO_READ_END && t->state == TLSIO_OPEN)
		tlsio_failed(t);
}

static void
step_open(struct tlsio *t, unsigned wake, bool was_blocked, const bool *gone)
{
	if (was_blocked && !t->blocked) {
		tlsio_flush(t);
		if (!t->blocked && t->write_errno == 0)
			call(t, t->callbacks.writable);
	}
	if (!*gone && t->state == TLSIO_OPEN && ((wake & WAKE_READ) || t->retry_read || t->write_errno != 0))
		step_read(t, gone);
}

/* Opening. */

static void
set_expiry(struct tlsio *t)
{
	time_t	 left = t->peer.not_after - time(NULL) + 1;

	if (left < 0)
		left = 0;
	set_deadline(t, (uint64_t)(left < EXPIRY_CHECK_S ? left : EXPIRY_CHECK_S) * 1000);
}

void
tlsio_opened(struct tlsio *t)
{
	t->state = TLSIO_OPEN;
	t->retry_read = true;
	set_expiry(t);
	call(t, t->callbacks.opened);
}

static void
format_address(int fd, char dst[TLS_ADDRESS_SIZE])
{
	struct sockaddr_storage	 ss = { 0 };
	const struct sockaddr_in *v4 = (const void *)&ss;
	const struct sockaddr_in6 *v6 = (const void *)&ss;
	socklen_t		 len = sizeof(ss);
	char			 host[INET6_ADDRSTRLEN];

	if (getpeername(fd, (struct sockaddr *)&ss, &len) == -1)
		snprintf(dst, TLS_ADDRESS_SIZE, "unknown peer");
	else if (ss.ss_family == AF_INET && inet_ntop(AF_INET, &v4->sin_addr, host, sizeof(host)) != NULL)
		snprintf(dst, TLS_ADDRESS_SIZE, "%s:%u", host, ntohs(v4->sin_port));
	else if (ss.ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr) &&
	    inet_ntop(AF_INET, &v6->sin6_addr.s6_addr[12], host, sizeof(host)) != NULL)
		snprintf(dst, TLS_ADDRESS_SIZE, "%s:%u", host, ntohs(v6->sin6_port));
	else if (ss.ss_family == AF_INET6 && inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof(host)) != NULL)
		snprintf(dst, TLS_ADDRESS_SIZE, "[%s]:%u", host, ntohs(v6->sin6_port));
	else
		snprintf(dst, TLS_ADDRESS_SIZE, "local peer");
}

static void
step_connect(struct tlsio *t)
{
	int		 error = 0, one = 1, lowat = NOTSENT_LOWAT;
	socklen_t	 len = sizeof(error);

	if (getsockopt(t->fd, SOL_SOCKET, SO_ERROR, &error, &len) == -1)
		error = errno;
	if (error != 0) {
		tls_why_set(&t->note, "cannot connect: %s", strerror(error));
		finish(t, 0);
		return;
	}
	format_address(t->fd, t->note.address);
	(void)setsockopt(t->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	(void)setsockopt(t->fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat, sizeof(lowat));
	t->state = TLSIO_HANDSHAKE;
}

/* Closing. */

static void
close_events(struct tlsio *t)
{
	if (t->base == NULL)
		return;
	event_del(&t->ev_read);
	event_del(&t->ev_write);
	event_del(&t->ev_kick);
	event_del(&t->ev_timer);
	t->base = NULL;
}

static void
close_now(struct tlsio *t)
{
	char	 why[TLS_ERROR_SIZE];

	close_events(t);
	close(t->fd);
	t->fd = -1;
	t->state = TLSIO_CLOSED;
	memcpy(why, t->note.why, sizeof(why));
	if (t->callbacks.closed != NULL)
		t->callbacks.closed(t, why, t->arg);
}

/* Lets the rest of the peer's bytes go by. */
static void
discard_input(struct tlsio *t)
{
	char	 bytes[4096];
	ssize_t	 n;

	for (size_t left = t->options.read_budget; left > 0 && !t->eof; left -= (size_t)n < left ? (size_t)n : left) {
		n = recv(t->fd, bytes, sizeof(bytes), 0);
		if (n == -1 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0)
			t->eof = true;
		else
			t->bytes_in += (uint64_t)n;
	}
}

static void
step_drain(struct tlsio *t)
{
	if (!t->blocked)
		tlsio_flush(t);
	if (tlsio_queued(t) == 0 && !t->write_shut) {
		shutdown(t->fd, SHUT_WR);
		t->write_shut = true;
	}
	discard_input(t);
	if (t->linger_ms == 0 || t->write_errno != 0 || (t->write_shut && t->eof))
		close_now(t);
}

static void
handshake_too_slow(struct tlsio *t)
{
	double	 seconds = t->options.handshake_ms / 1000.0;

	if (t->state == TLSIO_CONNECTING)
		tls_why_set(&t->note, "no connection within %g s", seconds);
	else if (t->note.first_len == 0)
		tls_why_set(&t->note, "peer said nothing within %g s", seconds);
	else
		tls_why_set(&t->note, "no TLS handshake within %g s", seconds);
	finish(t, 0);
}

static void
time_up(struct tlsio *t)
{
	char	 date[16];

	t->timer_armed = false;
	if (clock_mono_ns() < t->deadline_ns)
		return;
	if (t->state == TLSIO_CONNECTING || t->state == TLSIO_HANDSHAKE)
		handshake_too_slow(t);
	else if (t->state == TLSIO_DRAINING)
		t->linger_ms = 0;
	else if (time(NULL) <= t->peer.not_after)
		set_expiry(t);
	else {
		tls_why_set(&t->note, "certificate of %s expired on %s", t->note.address, tls_why_date(t->peer.not_after, date));
		t->layer->goodbye(t);
		finish(t, FAIL_LINGER_MS);
	}
}

/* The loop's side. */

static void
want(struct event *ev, bool wanted)
{
	if (wanted)
		event_add(ev, NULL);
	else
		event_del(ev);
}

static void
arm_timer(struct tlsio *t)
{
	uint64_t	 now = clock_mono_ns(), us = t->deadline_ns > now ? (t->deadline_ns - now) / 1000 + 1 : 0;
	struct timeval	 wait = { .tv_sec = (time_t)(us / 1000000), .tv_usec = (suseconds_t)(us % 1000000) };

	event_add(&t->ev_timer, &wait);
	t->timer_armed = true;
}

/* What is to wake us next. */
static void
arm(struct tlsio *t)
{
	bool	 reads;

	if (t->state == TLSIO_OPEN && !t->blocked)
		tlsio_flush(t);
	reads = t->state == TLSIO_HANDSHAKE || (t->state == TLSIO_OPEN && tlsio_may_read(t)) ||
	    (t->state == TLSIO_DRAINING && !t->eof);
	want(&t->ev_read, reads);
	want(&t->ev_write, t->state == TLSIO_CONNECTING || t->blocked);
	if (t->state == TLSIO_OPEN && ((t->retry_read && reads) || t->write_errno != 0))
		tlsio_kick(t);
	if (!t->timer_armed)
		arm_timer(t);
}

/* What thousands of connections that say nothing would hold. */
static void
release_input(struct tlsio *t)
{
	if (t->input.len == 0)
		buf_clear(&t->input);
}

static void
service(struct tlsio *t, unsigned wake)
{
	bool	 gone = false, was_blocked = t->blocked;

	t->gone = &gone;
	t->drained = false;
	t->wake_bytes = 0;
	if (wake & WAKE_WRITE)
		t->blocked = false;
	if (wake & WAKE_TIMER)
		time_up(t);
	if (t->state == TLSIO_CONNECTING && (wake & WAKE_WRITE))
		step_connect(t);
	if (t->state == TLSIO_HANDSHAKE)
		t->layer->handshake(t);
	else if (t->state == TLSIO_OPEN)
		step_open(t, wake, was_blocked, &gone);
	if (!gone && t->state == TLSIO_DRAINING)
		step_drain(t);
	if (gone)
		return;
	t->gone = NULL;
	release_input(t);
	if (t->state != TLSIO_CLOSED)
		arm(t);
}

static void
on_read(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	service(arg, WAKE_READ);
}

static void
on_write(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	service(arg, WAKE_WRITE);
}

static void
on_kick(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	service(arg, 0);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	service(arg, WAKE_TIMER);
}

static void
assign_events(struct tlsio *t, struct event_base *base)
{
	event_assign(&t->ev_read, base, t->fd, EV_READ | EV_PERSIST, on_read, t);
	event_assign(&t->ev_write, base, t->fd, EV_WRITE | EV_PERSIST, on_write, t);
	event_assign(&t->ev_kick, base, -1, 0, on_kick, t);
	event_assign(&t->ev_timer, base, -1, 0, on_timer, t);
	t->base = base;
}

/* What tlsio_free() and a tlsio_new() that fails have in common. */
static void
release(struct tlsio *t)
{
	SSL_free(t->ssl);
	buf_clear(&t->input);
	buf_clear(&t->output);
	tls_context_free(t->context);
	free(t->expect_host);
	free(t);
}

struct tlsio *
tlsio_new(struct event_base *base, struct tls_context *context, int fd, const struct tlsio_options *options,
    const struct tlsio_callbacks *callbacks, void *arg)
{
	struct tlsio	*t = calloc(1, sizeof(*t));

	if (t == NULL)
		return NULL;
	t->context = context != NULL ? tls_context_ref(context) : NULL;
	t->layer = context != NULL ? &tlsio_layer_tls : &tlsio_layer_plain;
	t->fd = fd;
	t->options = *options;
	if (t->options.read_budget == 0)
		t->options.read_budget = 1;
	buf_init(&t->input, t->options.input_max + TLSIO_RECORD_MAX);
	buf_init(&t->output, TLSIO_OUTPUT_MAX);
	if (t->layer->set_up(t) == -1) {
		release(t);
		errno = ENOMEM;
		return NULL;
	}
	t->options.expect_host = t->expect_host;
	t->callbacks = *callbacks;
	t->arg = arg;
	evutil_make_socket_nonblocking(fd);
	evutil_make_socket_closeonexec(fd);
	set_deadline(t, options->handshake_ms);
	tlsio_attach(t, base);
	return t;
}

void
tlsio_free(struct tlsio *t)
{
	if (t == NULL)
		return;
	tlsio_detach(t);
	if (t->fd != -1)
		close(t->fd);
	release(t);
}

/* From inside a callback this also takes the tlsio away from the service() that made it. */
void
tlsio_detach(struct tlsio *t)
{
	if (t->gone != NULL)
		*t->gone = true;
	t->gone = NULL;
	close_events(t);
}

int
tlsio_attach(struct tlsio *t, struct event_base *base)
{
	if (t->state == TLSIO_CLOSED || t->base != NULL) {
		errno = t->base != NULL ? EBUSY : ENOTCONN;
		return -1;
	}
	assign_events(t, base);
	t->timer_armed = false;
	if (t->state == TLSIO_CONNECTING)
		arm(t);
	else
		tlsio_kick(t);
	return 0;
}

void
tlsio_set_owner(struct tlsio *t, const struct tlsio_callbacks *callbacks, void *arg)
{
	t->callbacks = *callbacks;
	t->arg = arg;
}

struct buf *
tlsio_input(struct tlsio *t)
{
	return &t->input;
}

void
tlsio_input_taken(struct tlsio *t)
{
	if (t->gone == NULL)
		release_input(t);
	if (t->base == NULL || t->gone != NULL || t->state != TLSIO_OPEN || !tlsio_may_read(t))
		return;
	event_add(&t->ev_read, NULL);
	if (t->retry_read)
		tlsio_kick(t);
}

void
tlsio_read_stop(struct tlsio *t)
{
	t->read_stopped = true;
	if (t->base != NULL && t->state == TLSIO_OPEN)
		event_del(&t->ev_read);
}

void
tlsio_read_start(struct tlsio *t)
{
	t->read_stopped = false;
	tlsio_input_taken(t);
}

void
tlsio_shutdown(struct tlsio *t, const char *why, unsigned linger_ms)
{
	if (t->state >= TLSIO_DRAINING)
		return;
	snprintf(t->note.why, sizeof(t->note.why), "%s", why);
	if (t->state == TLSIO_OPEN)
		t->layer->goodbye(t);
	finish(t, t->state == TLSIO_OPEN ? linger_ms : 0);
	if (t->base != NULL && t->gone == NULL)
		tlsio_kick(t);
}

const char *
tlsio_peer_uri(const struct tlsio *t)
{
	return t->peer.uri;
}

time_t
tlsio_peer_not_after(const struct tlsio *t)
{
	return t->peer.not_after;
}

const char *
tlsio_peer_common_name(const struct tlsio *t)
{
	return t->peer.common_name;
}

const char *
tlsio_peer_address(const struct tlsio *t)
{
	return t->note.address;
}

uint64_t
tlsio_bytes_in(const struct tlsio *t)
{
	return t->bytes_in;
}

uint64_t
tlsio_bytes_out(const struct tlsio *t)
{
	return t->bytes_out;
}

int
tlsio_fd(const struct tlsio *t)
{
	return t->fd;
}
