/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/link.h"
#include "agent/link_accept.h"
#include "agent/rpcap_server.h"
#include "common/log.h"

struct rpcap_listener {
	struct rpcap	*server;
	struct acceptor	*acceptor;
	bool		 excluded;	/* the capture role has left our ports out */
};

/* The capture role must first leave our ports out; one that comes later is told them first, too. */
static bool
may_accept(void *arg)
{
	struct rpcap_listener *l = arg;
	const struct rpcap *r = l->server;

	if (tap_all_answered(r->link))
		l->excluded = true;
	return !r->stopping && !r->link->stopping && r->files_known && l->excluded;
}

void
rpcap_listener_check(struct rpcap_listener *l)
{
	if (l != NULL)
		acceptor_check(l->acceptor);
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

static void
on_came(int fd, const struct sockaddr *address, int len, void *arg)
{
	struct rpcap_listener *l = arg;
	struct sockaddr_storage ss = { 0 };

	memcpy(&ss, address, (size_t)len < sizeof(ss) ? (size_t)len : sizeof(ss));
	l->server->accepted++;
	if (make_room(l->server, &ss))
		(void)rpcap_client_new(l->server, fd, NULL);
	else
		close(fd);
}

struct rpcap_listener *
rpcap_listener_new(struct rpcap *r)
{
	static const struct acceptor_callbacks callbacks = { may_accept, on_came };
	const struct conf_list *list = &r->link->options.rpcap_listens;
	struct rpcap_listener *l;

	if (list->count == 0)
		return NULL;
	if ((l = calloc(1, sizeof(*l))) == NULL)
		fatal("out of memory");
	l->server = r;
	l->acceptor = acceptor_new(r->link, "rpcap-listen", list, ROLE_FD_RPCAP, &callbacks, l);
	return l;
}

void
rpcap_listener_free(struct rpcap_listener *l)
{
	if (l == NULL)
		return;
	acceptor_free(l->acceptor);
	free(l);
}
