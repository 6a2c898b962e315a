/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_AGENT_LINK_RESOLVE_H
#define VMTAP_AGENT_LINK_RESOLVE_H

#include <sys/socket.h>
#include <stddef.h>
#include <stdint.h>

struct event_base;

#define RESOLVE_MAX	16

struct resolve_address {
	struct sockaddr_storage	ss;
	socklen_t		len;
};

/* count 0: error says why. The addresses are valid until the callback returns. */
typedef void	resolve_fn(const struct resolve_address *, size_t count, const char *error, void *arg);

/*
 * Addresses of a host, both families, by /etc/hosts and DNS, read anew each time; numeric ones without asking anybody. The callback
 * may come before resolve_start() returns, which is then NULL. Without threads, so that it can be given up at any time; what other
 * sources nsswitch.conf(5) names is not asked.
 */
struct resolve	*resolve_start(struct event_base *, const char *host, uint16_t port, resolve_fn *, void *arg);
void		 resolve_cancel(struct resolve *);	/* the callback will not come */

#endif
