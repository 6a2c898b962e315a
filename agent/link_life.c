/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <netinet/in.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

#include "agent/link_session.h"
#include "common/clock.h"
#include "common/log.h"
#include "proto/msg.h"

#define STATS_KEEPALIVES	10	/* STATS that say nothing new, once in so many */
#define MISSING_MS		250	/* an address is taken off and put on again by who renews its lease */

/* --- silence --- */

/* It is the collector that asks first, after a third: an agent with nothing to do is woken by that PING and by nothing else. */
static uint64_t
ask_after_ns(const struct session *s)
{
	return s->keepalive_ms * LINK_MS / 2;
}

static void
ping(struct session *s)
{
	struct msg_ping message = { .token = ++s->pings, .wall_ns = clock_wall_ns() };

	session_put(s, msg_put_ping(&s->sender.control, &message));
}

static void
schedule(struct session *s, uint64_t now_ns)
{
	link_timer_set(s->timer, keepalive_wait_ns(&s->alive, now_ns));
}

/* Without a pulse: of packets that a filter refuses nothing is sent, but they are counted. */
static void
stats_now_and_then(struct session *s, uint64_t now_ns)
{
	uint64_t since_ns = now_ns - s->stats_ns, keepalive_ns = s->keepalive_ms * LINK_MS;
	struct link_tap *tap = s->tap;

	if (since_ns >= STATS_KEEPALIVES * keepalive_ns || (since_ns >= keepalive_ns && tap != NULL &&
	    stats_refresh(&tap->stats, tap->spool) && stats_changed(&tap->stats, tap->spool)))
		session_stats(s);
}

void
life_heard(struct session *s)
{
	uint64_t now_ns = clock_mono_ns();

	keepalive_heard(&s->alive, now_ns);
	schedule(s, now_ns);
	stats_now_and_then(s, now_ns);
}

void
life_check(struct session *s)
{
	uint64_t now_ns = clock_mono_ns();

	switch (keepalive_check(&s->alive, now_ns)) {
	case KEEPALIVE_ALIVE:
		break;
	case KEEPALIVE_ASK:
		ping(s);
		stats_now_and_then(s, now_ns);
		break;
	case KEEPALIVE_DEAD:
		s->peer_gone = true;
		session_error(s, MSG_ERR_TIMEOUT, "no answer for %llu s",
		    (unsigned long long)((now_ns - s->alive.heard_ns) / (1000 * LINK_MS)));
		return;
	}
	if (s->state == SESSION_LIVE)
		schedule(s, now_ns);
}

/* --- its own address --- */

/* Who waits at [::] sees IPv4 in IPv6's clothes. */
static void
unmap(struct sockaddr_storage *ss)
{
	const struct sockaddr_in6 *v6 = (const void *)ss;
	struct sockaddr_in v4 = { .sin_family = AF_INET };

	if (ss->ss_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr))
		return;
	memcpy(&v4.sin_addr, &v6->sin6_addr.s6_addr[12], 4);
	memset(ss, 0, sizeof(*ss));
	memcpy(ss, &v4, sizeof(v4));
}

static bool
same_address(const struct sockaddr *a, const struct sockaddr_storage *b)
{
	if (a == NULL || a->sa_family != b->ss_family)
		return false;
	if (a->sa_family == AF_INET)
		return memcmp(&((const struct sockaddr_in *)(const void *)a)->sin_addr,
		    &((const struct sockaddr_in *)(const void *)b)->sin_addr, sizeof(struct in_addr)) == 0;
	return memcmp(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr,
	    &((const struct sockaddr_in6 *)(const void *)b)->sin6_addr, sizeof(struct in6_addr)) == 0;
}

static bool
is_ours(const struct ifaddrs *all, const struct sockaddr_storage *address)
{
	const struct ifaddrs *ifa;

	for (ifa = all; ifa != NULL; ifa = ifa->ifa_next)
		if (same_address(ifa->ifa_addr, address))
			return true;
	return false;
}

/* An address that no interface has from the start (127.0.0.2, a routed prefix) is not missed later. */
static void
note_local(struct session *s)
{
	socklen_t len = sizeof(s->local);
	struct ifaddrs *all;

	if (getsockname(tlsio_fd(s->io), (struct sockaddr *)&s->local, &len) == -1 || getifaddrs(&all) == -1) {
		s->local.ss_family = AF_UNSPEC;
		return;
	}
	unmap(&s->local);
	if ((s->local.ss_family != AF_INET && s->local.ss_family != AF_INET6) || !is_ours(all, &s->local))
		s->local.ss_family = AF_UNSPEC;
	freeifaddrs(all);
}

void
life_start(struct session *s)
{
	uint64_t now_ns = clock_mono_ns();

	keepalive_start(&s->alive, s->keepalive_ms * LINK_MS, ask_after_ns(s), now_ns);
	schedule(s, now_ns);
	note_local(s);
}

static void
end_moved(struct session *s)
{
	char host[64] = "?", why[128];

	(void)getnameinfo((const struct sockaddr *)&s->local, sizeof(s->local), host, sizeof(host), NULL, 0, NI_NUMERICHOST);
	snprintf(why, sizeof(why), "this machine does not have the address %s any more", host);
	s->moved = s->peer_gone = true;
	session_bye(s, 1, why);
}

static void
check_address(struct session *s, const struct ifaddrs *all, uint64_t now_ns)
{
	if (is_ours(all, &s->local)) {
		s->missing_ns = 0;
		return;
	}
	if (s->missing_ns == 0)
		s->missing_ns = now_ns;
	if (now_ns - s->missing_ns >= MISSING_MS * LINK_MS)
		end_moved(s);
	else
		netif_watch_later(s->link->watch, MISSING_MS);
}

void
life_check_addresses(struct link *link)
{
	uint64_t now_ns = clock_mono_ns();
	struct ifaddrs *all;
	struct session *s;

	if (TAILQ_EMPTY(&link->sessions) || getifaddrs(&all) == -1)
		return;
	TAILQ_FOREACH(s, &link->sessions, entry)
		if (s->state == SESSION_LIVE && s->local.ss_family != AF_UNSPEC)
			check_address(s, all, now_ns);
	freeifaddrs(all);
}

/* --- certificates --- */

bool
session_certificate_differs(const struct session *s)
{
	const struct tls_context *tls = s->link->tls;

	return tls != NULL && memcmp(s->certificate, tls_context_fingerprint(tls), sizeof(s->certificate)) != 0;
}

bool
session_expired(const struct session *s)
{
	time_t now = time(NULL);

	return now > s->not_after || now > tlsio_peer_not_after(s->io);
}
