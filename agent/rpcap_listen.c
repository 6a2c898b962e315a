/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>
#include <event2/listener.h>

#include "agent/link.h"
#include "agent/rpcap_server.h"
#include "common/log.h"

#define RETRY_MS	1000	/* after accept(2) failed: no descriptors, no memory */

struct rpcap_listener {
	struct rpcap	*server;
	struct evconnlistener *socket[AGENT_RPCAP_LISTENS_MAX];
	size_t		 count;
	struct event	*retry;
	bool		 failed;	/* until retry */
	bool		 excluded;	/* the capture role has left our ports out */
	bool		 open;
};

/* The capture role must first leave our ports out; one that comes later is told them first, too. */
static bool
may_accept(struct rpcap_listener *l)
{
	const struct rpcap *r = l->server;

	if (tap_all_answered(r->link))
		l->excluded = true;
	return !l->failed && !r->stopping && !r->link->stopping && r->files_known && l->excluded;
}

void
rpcap_listener_check(struct rpcap_listener *l)
{
	bool open;
	size_t i;

	if (l == NULL || (open = may_accept(l)) == l->open)
		return;
	for (i = 0; i < l->count; i++)
		(void)(open ? evconnlistener_enable(l->socket[i]) : evconnlistener_disable(l->socket[i]));
	l->open = open;
}

static struct rpcap_client *
oldest_stranger(const struct rpcap *r, size_t *count)
{
	struct rpcap_client *client, *oldest = NULL;

	*count = 0;
	TAILQ_FOREACH(client, &r->clients, entry) {
		if (client->authenticated || client->call != NULL)
			continue;
		(*count)++;
		if (oldest == NULL || client->since_ns < oldest->since_ns)
			oldest = client;
	}
	return oldest;
}

static void
log_refused(struct rpcap *r, const char *why)
{
	static struct log_limit limit;

	r->refused++;
	log_limited(&limit, 60000, LOG_LEVEL_WARN, "RPCAP: a connection is refused: %s", why);
}

/* There is room for so many whom nobody knows: the oldest one goes, but not for one that may not connect. */
static bool
make_room(struct rpcap *r, const struct sockaddr_storage *address)
{
	size_t count;
	struct rpcap_client *oldest = oldest_stranger(r, &count);

	if (count < RPCAP_STRANGERS_MAX)
		return true;
	if (!rpcap_auth_host(r, address)) {
		log_refused(r, "there are too many, and --rpcap-allow does not have its address");
		return false;
	}
	log_refused(r, "there are too many that have not authenticated; the oldest one has gone");
	rpcap_client_free(oldest);
	return true;
}

/* It has the listening socket's mark. */
static void
on_accept(struct evconnlistener *socket, evutil_socket_t fd, struct sockaddr *address, int len, void *arg)
{
	struct rpcap_listener *l = arg;
	struct sockaddr_storage ss = { 0 };

	(void)socket;
	memcpy(&ss, address, (size_t)len < sizeof(ss) ? (size_t)len : sizeof(ss));
	l->server->accepted++;
	if (make_room(l->server, &ss))
		(void)rpcap_client_new(l->server, fd, NULL);
	else
		close(fd);
}

static void
on_accept_error(struct evconnlistener *socket, void *arg)
{
	static struct log_limit limit;
	struct rpcap_listener *l = arg;

	(void)socket;
	log_limited(&limit, 60000, LOG_LEVEL_ERROR, "cannot accept an RPCAP connection: %s", strerror(errno));
	l->failed = true;
	link_timer_set(l->retry, RETRY_MS * LINK_MS);
	rpcap_listener_check(l);
}

static void
on_retry(evutil_socket_t fd, short what, void *arg)
{
	struct rpcap_listener *l = arg;

	(void)fd;
	(void)what;
	l->failed = false;
	rpcap_listener_check(l);
}

struct rpcap_listener *
rpcap_listener_new(struct rpcap *r)
{
	const struct conf_list *list = &r->link->options.rpcap_listens;
	struct rpcap_listener *l;
	size_t i;

	if (list->count == 0)
		return NULL;
	if ((l = calloc(1, sizeof(*l))) == NULL)
		fatal("out of memory");
	l->server = r;
	l->retry = link_timer_new(r->link, on_retry, l);
	for (i = 0; i < list->count && i < AGENT_RPCAP_LISTENS_MAX; i++) {
		l->socket[i] = evconnlistener_new(r->link->base, on_accept, l,
		    LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_DISABLED, 0, ROLE_FD_RPCAP + (int)i);
		if (l->socket[i] == NULL)
			fatal("cannot use the socket of --rpcap-listen %s: %s", list->value[i], strerror(errno));
		evconnlistener_set_error_cb(l->socket[i], on_accept_error);
		l->count++;
	}
	return l;
}

void
rpcap_listener_free(struct rpcap_listener *l)
{
	size_t i;

	if (l == NULL)
		return;
	for (i = 0; i < l->count; i++)
		evconnlistener_free(l->socket[i]);
	event_free(l->retry);
	free(l);
}
