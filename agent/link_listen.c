/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdlib.h>

#include "agent/link_accept.h"
#include "agent/link_enroll.h"
#include "agent/link_listen.h"
#include "agent/link_session.h"
#include "common/log.h"

struct listener {
	struct link	*link;
	struct acceptor	*acceptor;
};

/* The capture role must first leave our ports out. */
static bool
may_accept(void *arg)
{
	const struct link *link = ((const struct listener *)arg)->link;

	return !link->stopping && link->tls != NULL && enroll_standing(link) != STANDING_REVOKED &&
	    (link->capture == NULL || link->tap[0].told_any) &&
	    (link->tap[0].answered || link->capture == NULL) && session_count_unsettled(link) < LISTEN_UNSETTLED_MAX;
}

static void
on_came(int fd, const struct sockaddr *address, int len, void *arg)
{
	struct listener *l = arg;

	(void)address;
	(void)len;
	session_new(l->link, fd, TLSIO_SERVER, NULL);
	listener_check(l);
}

void
listener_check(struct listener *l)
{
	if (l != NULL)
		acceptor_check(l->acceptor);
}

struct listener *
listener_new(struct link *link)
{
	static const struct acceptor_callbacks callbacks = { may_accept, on_came };
	struct listener *l;

	if (link->options.listens.count == 0)
		return NULL;
	if ((l = calloc(1, sizeof(*l))) == NULL)
		fatal("out of memory");
	l->link = link;
	l->acceptor = acceptor_new(link, "listen", &link->options.listens, ROLE_FD_LISTEN, &callbacks, l);
	return l;
}

void
listener_free(struct listener *l)
{
	if (l == NULL)
		return;
	acceptor_free(l->acceptor);
	free(l);
}
