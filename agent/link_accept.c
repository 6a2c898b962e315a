/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>
#include <event2/listener.h>

#include "agent/link.h"
#include "agent/link_accept.h"
#include "common/log.h"

#define RETRY_MS	1000	/* after accept(2) failed */

struct acceptor {
	const char	*option;
	const struct acceptor_callbacks *callbacks;
	void		*arg;
	struct evconnlistener **socket;
	size_t		 count;
	struct event	*retry;
	bool		 failed;	/* until retry */
	bool		 open;
	struct log_limit limit;
};

void
acceptor_check(struct acceptor *a)
{
	bool open = a->callbacks->may(a->arg) && !a->failed;
	size_t i;

	if (open == a->open)
		return;
	for (i = 0; i < a->count; i++)
		(void)(open ? evconnlistener_enable(a->socket[i]) : evconnlistener_disable(a->socket[i]));
	a->open = open;
}

static void
on_accept(struct evconnlistener *socket, evutil_socket_t fd, struct sockaddr *address, int len, void *arg)
{
	struct acceptor *a = arg;

	(void)socket;
	a->callbacks->came(fd, address, len, a->arg);
}

static void
on_accept_error(struct evconnlistener *socket, void *arg)
{
	struct acceptor *a = arg;

	(void)socket;
	log_limited(&a->limit, 60000, LOG_LEVEL_ERROR, "cannot accept a connection of --%s: %s", a->option, strerror(errno));
	a->failed = true;
	link_timer_set(a->retry, RETRY_MS * LINK_MS);
	acceptor_check(a);
}

static void
on_retry(evutil_socket_t fd, short what, void *arg)
{
	struct acceptor *a = arg;

	(void)fd;
	(void)what;
	a->failed = false;
	acceptor_check(a);
}

struct acceptor *
acceptor_new(struct link *link, const char *option, const struct conf_list *list, int first_fd,
    const struct acceptor_callbacks *callbacks, void *arg)
{
	struct acceptor *a = calloc(1, sizeof(*a));
	size_t i;

	if (a == NULL || (a->socket = calloc(list->count, sizeof(*a->socket))) == NULL)
		fatal("out of memory");
	a->option = option;
	a->callbacks = callbacks;
	a->arg = arg;
	a->retry = link_timer_new(link, on_retry, a);
	for (i = 0; i < list->count; i++) {
		a->socket[i] = evconnlistener_new(link->base, on_accept, a,
		    LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_DISABLED, 0, first_fd + (int)i);
		if (a->socket[i] == NULL)
			fatal("cannot use the socket of --%s %s: %s", option, list->value[i], strerror(errno));
		evconnlistener_set_error_cb(a->socket[i], on_accept_error);
		a->count++;
	}
	return a;
}

void
acceptor_free(struct acceptor *a)
{
	size_t i;

	if (a == NULL)
		return;
	for (i = 0; i < a->count; i++)
		evconnlistener_free(a->socket[i]);
	event_free(a->retry);
	free(a->socket);
	free(a);
}
