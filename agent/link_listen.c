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

#include "agent/link_enroll.h"
#include "agent/link_listen.h"
#include "agent/link_session.h"
#include "common/log.h"

#define RETRY_MS	1000	/* after accept(2) failed: no descriptors, no memory */

struct listener {
	struct link	*link;
	struct evconnlistener **socket;
	size_t		 count;
	struct event	*retry;
	bool		 failed;	/* until retry */
	bool		 open;
};

/* The capture role must first leave our ports out. */
static bool
may_accept(const struct listener *l)
{
	const struct link *link = l->link;

	return !l->failed && !link->stopping && link->tls != NULL && enroll_standing(link) != STANDING_REVOKED &&
	    (link->capture == NULL || link->tap[0].told_any) &&
	    (link->tap[0].answered || link->capture == NULL) && session_count_unsettled(link) < LISTEN_UNSETTLED_MAX;
}

void
listener_check(struct listener *l)
{
	bool open;
	size_t i;

	if (l == NULL || (open = may_accept(l)) == l->open)
		return;
	for (i = 0; i < l->count; i++)
		(void)(open ? evconnlistener_enable(l->socket[i]) : evconnlistener_disable(l->socket[i]));
	l->open = open;
}

/* It has the listening socket's mark. */
static void
on_accept(struct evconnlistener *socket, evutil_socket_t fd, struct sockaddr *address, int len, void *arg)
{
	struct listener *l = arg;

	(void)socket;
	(void)address;
	(void)len;
	session_new(l->link, fd, TLSIO_SERVER, NULL);
	listener_check(l);
}

static void
on_accept_error(struct evconnlistener *socket, void *arg)
{
	static struct log_limit limit;
	struct listener *l = arg;

	(void)socket;
	log_limited(&limit, 60000, LOG_LEVEL_ERROR, "cannot accept a connection: %s", strerror(errno));
	l->failed = true;
	link_timer_set(l->retry, RETRY_MS * LINK_MS);
	listener_check(l);
}

static void
on_retry(evutil_socket_t fd, short what, void *arg)
{
	struct listener *l = arg;

	(void)fd;
	(void)what;
	l->failed = false;
	listener_check(l);
}

struct listener *
listener_new(struct link *link)
{
	struct listener *l;
	size_t i, count = link->options.listens.count;

	if (count == 0)
		return NULL;
	if ((l = calloc(1, sizeof(*l))) == NULL || (l->socket = calloc(count, sizeof(*l->socket))) == NULL)
		fatal("out of memory");
	l->link = link;
	l->retry = link_timer_new(link, on_retry, l);
	for (i = 0; i < count; i++) {
		l->socket[i] = evconnlistener_new(link->base, on_accept, l,
		    LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_DISABLED, 0, ROLE_FD_LISTEN + (int)i);
		if (l->socket[i] == NULL)
			fatal("cannot use the socket of --listen %s: %s", link->options.listens.value[i], strerror(errno));
		evconnlistener_set_error_cb(l->socket[i], on_accept_error);
		l->count++;
	}
	return l;
}

void
listener_free(struct listener *l)
{
	size_t i;

	if (l == NULL)
		return;
	for (i = 0; i < l->count; i++)
		evconnlistener_free(l->socket[i]);
	event_free(l->retry);
	free(l->socket);
	free(l);
}
