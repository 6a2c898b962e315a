/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/dns.h>
#include <event2/event.h>
#include <event2/util.h>

#include "agent/link_resolve.h"
#include "common/log.h"

#define DNS_TIMEOUT	"3"	/* seconds, twice a server */
#define DNS_ATTEMPTS	"2"

struct resolve {
	struct evdns_base	*dns;
	struct evdns_getaddrinfo_request *request;	/* NULL: answered, or never asked */
	struct event		*done;
	resolve_fn		*callback;
	void			*arg;
	struct resolve_address	 address[RESOLVE_MAX];
	size_t			 count;
	char			 error[128];
};

static size_t
copy_addresses(const struct addrinfo *all, struct resolve_address out[RESOLVE_MAX])
{
	const struct addrinfo *ai;
	size_t count = 0;

	for (ai = all; ai != NULL && count < RESOLVE_MAX; ai = ai->ai_next) {
		if (ai->ai_addrlen > sizeof(out[0].ss) || (ai->ai_family != AF_INET && ai->ai_family != AF_INET6))
			continue;
		memset(&out[count], 0, sizeof(out[0]));
		memcpy(&out[count].ss, ai->ai_addr, ai->ai_addrlen);
		out[count++].len = ai->ai_addrlen;
	}
	return count;
}

/* An address with or without scope, which needs no resolver. */
static bool
resolve_numeric(const char *host, const char *service, resolve_fn *callback, void *arg)
{
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM }, *all;
	struct resolve_address address[RESOLVE_MAX];
	size_t count;

	if (getaddrinfo(host, service, &hints, &all) != 0)
		return false;
	count = copy_addresses(all, address);
	freeaddrinfo(all);
	callback(address, count, "no usable address", arg);
	return true;
}

static void
resolve_free(struct resolve *r)
{
	if (r == NULL)
		return;
	if (r->done != NULL)
		event_free(r->done);
	if (r->dns != NULL)
		evdns_base_free(r->dns, 0);
	free(r);
}

/* on_answer() still comes from evdns, or on_done() is on its way: that frees. */
void
resolve_cancel(struct resolve *r)
{
	if (r == NULL)
		return;
	r->callback = NULL;
	if (r->request != NULL)
		evdns_getaddrinfo_cancel(r->request);
}

/* Out of evdns, which then can be freed: with it go its sockets and timers. */
static void
on_done(evutil_socket_t fd, short what, void *arg)
{
	struct resolve *r = arg;

	(void)fd;
	(void)what;
	if (r->callback != NULL)
		r->callback(r->address, r->count, r->error, r->arg);
	resolve_free(r);
}

static void
on_answer(int result, struct evutil_addrinfo *all, void *arg)
{
	struct resolve *r = arg;

	r->request = NULL;
	if (result == 0)
		r->count = copy_addresses(all, r->address);
	snprintf(r->error, sizeof(r->error), "%s", result != 0 ? evutil_gai_strerror(result) : "no usable address");
	if (all != NULL)
		evutil_freeaddrinfo(all);
	event_active(r->done, EV_TIMEOUT, 0);
}

static void
on_dns_log(int is_warning, const char *message)
{
	(void)is_warning;
	log_debug("DNS: %s", message);
}

static struct evdns_base *
dns_new(struct event_base *base)
{
	struct evdns_base *dns;

	evdns_set_log_fn(on_dns_log);
	if ((dns = evdns_base_new(base, EVDNS_BASE_INITIALIZE_NAMESERVERS)) == NULL)
		return NULL;
	evdns_base_set_option(dns, "timeout:", DNS_TIMEOUT);
	evdns_base_set_option(dns, "attempts:", DNS_ATTEMPTS);
	return dns;
}

struct resolve *
resolve_start(struct event_base *base, const char *host, uint16_t port, resolve_fn *callback, void *arg)
{
	struct evutil_addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = EVUTIL_AI_ADDRCONFIG };
	struct resolve *r;
	char service[8];

	snprintf(service, sizeof(service), "%u", port);
	if (resolve_numeric(host, service, callback, arg))
		return NULL;
	if ((r = calloc(1, sizeof(*r))) == NULL || (r->dns = dns_new(base)) == NULL ||
	    (r->done = event_new(base, -1, 0, on_done, r)) == NULL) {
		resolve_free(r);
		callback(NULL, 0, "no resolver: /etc/resolv.conf cannot be used, or out of memory", arg);
		return NULL;
	}
	r->callback = callback;
	r->arg = arg;
	/* NULL: on_answer() has been called, and on_done() is on its way. */
	r->request = evdns_getaddrinfo(r->dns, host, service, &hints, on_answer, r);
	return r;
}
