/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/tls.h"

#include "collector/collector.h"
#include "collector/ctl_internal.h"
#include "collector/quota.h"

/*
 * Operators: a connection under TLS and a client of the control socket, as two ends of a pump. What either side does not take stays
 * with the other: neither end reads beyond OPERATOR_HELD bytes that the other one has not taken.
 */
#define OPERATOR_HELD		(64u * 1024)
#define OPERATOR_LINGER_MS	2000
#define OPERATOR_ENDS		2u	/* descriptors of the pump, which are not to be used up for agents */
/* One who vanished while nothing is said, as with a reading that follows, is found out by TCP. */
#define OPERATOR_PROBE_AFTER_S	60
#define OPERATOR_PROBE_EACH_S	20
#define OPERATOR_PROBES		3

struct ctl_remote {
	TAILQ_ENTRY(ctl_remote) entry;
	struct ctl	*ctl;
	struct tlsio	*io;
	struct bufferevent *bev;	/* the client's other end */
	bool		 ended;		/* the client has gone; what it said goes out still */
};

void
ctl_operator_free(struct ctl_operator *operator)
{
	if (operator == NULL)
		return;
	if (operator->io != NULL) {
		tlsio_free(operator->io);
		quota_give_connection();
	}
	free(operator);
}

static void
remote_free(struct ctl_remote *remote)
{
	TAILQ_REMOVE(&remote->ctl->remotes, remote, entry);
	bufferevent_free(remote->bev);
	tlsio_free(remote->io);
	quota_give_connections(1 + OPERATOR_ENDS);
	free(remote);
}

/* From the client to the operator. */
static void
remote_send(struct ctl_remote *remote)
{
	struct evbuffer *said = bufferevent_get_input(remote->bev);
	size_t len, taken;

	while ((len = evbuffer_get_contiguous_space(said)) > 0) {
		taken = tlsio_send(remote->io, evbuffer_pullup(said, (ssize_t)len), len);
		evbuffer_drain(said, taken);
		if (taken < len)
			return;
	}
	if (remote->ended)
		tlsio_shutdown(remote->io, "done", OPERATOR_LINGER_MS);
}

static void
remote_said(struct bufferevent *bev, void *arg)
{
	(void)bev;
	remote_send(arg);
}

static void
remote_ended(struct bufferevent *bev, short what, void *arg)
{
	struct ctl_remote *remote = arg;

	(void)bev;
	(void)what;
	remote->ended = true;
	remote_send(remote);
}

static void
remote_writable(struct tlsio *io, void *arg)
{
	(void)io;
	remote_send(arg);
}

/* The client has taken what it was told. */
static void
remote_taken(struct bufferevent *bev, void *arg)
{
	struct ctl_remote *remote = arg;

	(void)bev;
	tlsio_read_start(remote->io);
}

static void
remote_readable(struct tlsio *io, void *arg)
{
	struct ctl_remote *remote = arg;
	struct buf *input = tlsio_input(io);

	if (!remote->ended)
		bufferevent_write(remote->bev, input->data, input->len);
	if (evbuffer_get_length(bufferevent_get_output(remote->bev)) >= OPERATOR_HELD)
		tlsio_read_stop(io);
	buf_consume(input, input->len);
	tlsio_input_taken(io);
}

static void
remote_closed(struct tlsio *io, const char *why, void *arg)
{
	(void)io;
	(void)why;
	remote_free(arg);
}

/* Both take what is theirs: io is the remote's from here on. */
static struct ctl_remote *
remote_new(struct ctl *ctl, struct tlsio *io, int fd)
{
	static const struct tlsio_callbacks callbacks = { .readable = remote_readable, .writable = remote_writable,
	    .closed = remote_closed };
	struct ctl_remote *remote = calloc(1, sizeof(*remote));

	if (remote != NULL)
		remote->bev = bufferevent_socket_new(ctl->collector->base, fd, BEV_OPT_CLOSE_ON_FREE);
	if (remote == NULL || remote->bev == NULL) {
		close(fd);
		free(remote);
		return NULL;
	}
	remote->ctl = ctl;
	remote->io = io;
	TAILQ_INSERT_TAIL(&ctl->remotes, remote, entry);
	bufferevent_setcb(remote->bev, remote_said, remote_taken, remote_ended, remote);
	bufferevent_setwatermark(remote->bev, EV_READ, 0, OPERATOR_HELD);
	bufferevent_enable(remote->bev, EV_READ | EV_WRITE);
	tlsio_set_owner(io, &callbacks, remote);
	return remote;
}

/* --- whose --- */

static bool
tenant_is_idle(const struct ctl_tenant *tenant)
{
	return tenant->clients == 0 && tenant->runs == 0 && tenant->questions.spent_ns <= clock_mono_ns();
}

struct ctl_tenant *
ctl_tenant_get(struct ctl *ctl, const char *name)
{
	struct ctl_tenant *tenant, *next, *found = NULL;

	for (tenant = TAILQ_FIRST(&ctl->tenants); tenant != NULL; tenant = next) {
		next = TAILQ_NEXT(tenant, entry);
		if (strcmp(tenant->name, name) == 0)
			found = tenant;
		else if (tenant_is_idle(tenant)) {
			TAILQ_REMOVE(&ctl->tenants, tenant, entry);
			free(tenant);
		}
	}
	if (found != NULL || (found = calloc(1, sizeof(*found))) == NULL)
		return found;
	snprintf(found->name, sizeof(found->name), "%s", name);
	TAILQ_INSERT_TAIL(&ctl->tenants, found, entry);
	return found;
}

/* Why there is no place; NULL: there is one. */
static const char *
why_no_place(const struct ctl *ctl, const struct ctl_tenant *tenant)
{
	if (tenant->clients >= CTL_OPERATORS_TENANT)
		return "your tenant's operators have as many connections as they may";
	if (ctl->operator_count >= (tenant->clients == 0 ? CTL_OPERATORS_MAX : CTL_OPERATORS_SHARED))
		return "too many operators are connected";
	return NULL;
}

static void
watch_peer(int fd)
{
	int on = 1, after = OPERATOR_PROBE_AFTER_S, each = OPERATOR_PROBE_EACH_S, probes = OPERATOR_PROBES;

	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &after, sizeof(after));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &each, sizeof(each));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
}

/* One that is refused is a client that says why and goes. */
static void
refuse(int fd, const char *why)
{
	char *line = ctl_refusal(why);

	if (line != NULL)
		(void)!send(fd, line, strlen(line), MSG_NOSIGNAL);
	free(line);
	close(fd);
}

static void
become_client(struct ctl *ctl, const struct ctl_operator *operator, int fd)
{
	struct ctl_tenant *tenant = ctl_tenant_get(ctl, operator->identity.tenant);
	const char *why = tenant != NULL ? why_no_place(ctl, tenant) : "out of memory";
	struct ctl_client *client;

	if (why != NULL) {
		refuse(fd, why);
		return;
	}
	if ((client = ctl_client_new(ctl, fd, tenant)) == NULL)
		return;		/* the remote finds that end closed */
	client->rights = operator->rights;
	snprintf(client->who, sizeof(client->who), "operator %s of tenant %s", operator->identity.name, operator->identity.tenant);
}

/* The remote takes the connection, and with it the places of its ends. */
static struct ctl_remote *
operator_open(struct ctl *ctl, struct ctl_operator *operator)
{
	struct ctl_remote *remote;
	int fd[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fd) == -1)
		return NULL;
	if ((remote = remote_new(ctl, operator->io, fd[1])) == NULL) {
		close(fd[0]);
		return NULL;
	}
	operator->io = NULL;
	watch_peer(tlsio_fd(remote->io));
	become_client(ctl, operator, fd[0]);
	return remote;
}

void
ctl_take_operator(struct ctl *ctl, struct ctl_operator *operator)
{
	struct ctl_remote *remote = NULL;

	if (ctl != NULL && quota_take_connections(OPERATOR_ENDS) && (remote = operator_open(ctl, operator)) == NULL)
		quota_give_connections(OPERATOR_ENDS);
	if (remote == NULL)
		log_warn("operator %s of tenant %s: no descriptors, or no memory", operator->identity.name, operator->identity.tenant);
	else if (tlsio_attach(remote->io, ctl->collector->base) == -1)
		remote_free(remote);
	ctl_operator_free(operator);
}

void
ctl_operators_free(struct ctl *ctl)
{
	struct ctl_tenant *tenant;

	while (!TAILQ_EMPTY(&ctl->remotes))
		remote_free(TAILQ_FIRST(&ctl->remotes));
	while ((tenant = TAILQ_FIRST(&ctl->tenants)) != NULL) {
		TAILQ_REMOVE(&ctl->tenants, tenant, entry);
		free(tenant);
	}
}
