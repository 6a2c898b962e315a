/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <netinet/in.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "agent/link_backoff.h"
#include "agent/link_dial.h"
#include "agent/link_enroll.h"
#include "agent/link_race.h"
#include "agent/link_resolve.h"
#include "agent/link_session.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/log.h"
#include "proto/frame.h"

#define LASTED_MS	60000		/* a session this long was a good one */
#define CLONE_MS	60000		/* another machine has our identity: no hurry */
#define REVOKED_MS	3600000		/* for good, as far as is known */
#define BYE_MIN_MS	500		/* a collector that ends in order comes back, and all its agents do with us */
#define BYE_SPREAD_MS	4500
#define RENEW_RETRY_MS	60000		/* of a session that failed with the new certificate, while the one before goes on */
#define RENEW_SOON_MS	1000		/* the session is not live yet */

enum dial_state {
	DIAL_OFF,		/* nobody to call, or a collector is here already */
	DIAL_WAIT,		/* between rounds */
	DIAL_CREDENTIALS,	/* the supervisor opens the files */
	DIAL_RESOLVE,
	DIAL_EXCLUDE,		/* the capture role leaves the addresses out */
	DIAL_RACE,		/* to the collector's addresses */
	DIAL_SESSION
};

struct dial {
	struct link	*link;
	enum dial_state	 state;
	struct event	*timer;			/* of DIAL_WAIT; of DIAL_SESSION, when its certificate is to be renewed later */
	unsigned	 rounds;		/* since a session that lasted */
	size_t		 collector;		/* which one of the options */
	char		 host[256];
	uint16_t	 port;
	struct resolve	*resolve;
	struct resolve_address address[RESOLVE_MAX];
	size_t		 address_count;
	struct race	*race;
	struct resolve_address winner;		/* the session's address */
	struct session	*session;
	struct session	*previous;		/* live, while one with the new certificate is made beside it */
};

static void next_collector(struct dial *);

/* What the state before had under way is given up. */
static void
change_state(struct dial *d, enum dial_state state)
{
	race_stop(d->race);
	resolve_cancel(d->resolve);
	d->resolve = NULL;
	d->session = NULL;
	event_del(d->timer);
	d->state = state;
}

static const char *
address_text(const struct resolve_address *address, char *text, size_t size)
{
	char host[64];

	if (getnameinfo((const struct sockaddr *)&address->ss, address->len, host, sizeof(host), NULL, 0, NI_NUMERICHOST) != 0)
		snprintf(host, sizeof(host), "?");
	snprintf(text, size, "%s", host);
	return text;
}

/* Somebody else has the collector's place. */
static bool
is_taken(const struct dial *d)
{
	const struct session *s = d->link->tap[0].session;

	return s != NULL && s != d->previous;
}

/* --- rounds --- */

static void
wait_ms(struct dial *d, uint64_t ms)
{
	change_state(d, DIAL_WAIT);
	link_timer_set(d->timer, ms * LINK_MS);
	log_info("next attempt to reach a collector in %llu.%llu s", (unsigned long long)(ms / 1000),
	    (unsigned long long)(ms % 1000 / 100));
}

static void
round_wait(struct dial *d, uint64_t at_least_ms)
{
	wait_ms(d, at_least_ms + link_random(backoff_next_ms(&d->rounds)));
}

static void
round_start(struct dial *d)
{
	struct link *link = d->link;

	if (link->stopping || link->options.collectors.count == 0 || link->tap[0].session != NULL) {
		change_state(d, DIAL_OFF);
		return;
	}
	d->collector = 0;
	change_state(d, DIAL_CREDENTIALS);
	credentials_request(link);
}

static bool
still_configured(const struct dial *d)
{
	const struct conf_list *collectors = &d->link->options.collectors;
	struct conf_error error;
	char host[sizeof(d->host)];
	uint16_t port;
	size_t i;

	for (i = 0; i < collectors->count; i++)
		if (conf_host_port(collectors->value[i], FRAME_PORT, host, sizeof(host), &port, &error) == 0 &&
		    port == d->port && strcmp(host, d->host) == 0)
			return true;
	return false;
}

/* The session before goes on, and another one is tried later. */
static void
renew_later(struct dial *d, uint64_t ms)
{
	struct session *session = d->previous != NULL ? d->previous : d->session;

	change_state(d, DIAL_SESSION);
	d->session = session;
	d->previous = NULL;
	link_timer_set(d->timer, ms * LINK_MS);
}

void
dial_start(struct dial *d)
{
	static const char unwanted[] = "this collector is not configured any more";

	d->rounds = 0;
	/* A session that is being made beside another one becomes what takes over, as it would have. */
	if (d->previous != NULL && d->state != DIAL_SESSION)
		renew_later(d, RENEW_SOON_MS);
	if (d->state != DIAL_SESSION) {
		round_start(d);
	} else if (!still_configured(d)) {
		if (d->previous != NULL)
			session_bye(d->previous, 0, unwanted);
		session_bye(d->session, 0, unwanted);
	}
}

void
dial_hurry(struct dial *d)
{
	if (d->state == DIAL_WAIT)
		round_start(d);
}

void
dial_resume(struct dial *d)
{
	if (d->state == DIAL_OFF)
		round_start(d);
}

void
dial_stop(struct dial *d)
{
	if (d->state != DIAL_SESSION)
		change_state(d, DIAL_OFF);
}

/* --- one collector --- */

/* With the one that has a session already, another one is tried in vain: it would be refused. */
static void
collector_failed(struct dial *d)
{
	if (d->previous != NULL) {
		log_warn("collector %s: the session goes on with the certificate before; the new one is tried again in %d s", d->host,
		    RENEW_RETRY_MS / 1000);
		renew_later(d, RENEW_RETRY_MS);
		return;
	}
	d->collector++;
	next_collector(d);
}

static void
on_resolved(const struct resolve_address *address, size_t count, const char *error, void *arg)
{
	struct dial *d = arg;

	d->resolve = NULL;
	if (count == 0) {
		log_warn("collector %s: %s", d->host, error);
		collector_failed(d);
		return;
	}
	memcpy(d->address, address, count * sizeof(*address));
	d->address_count = count;
	change_state(d, DIAL_EXCLUDE);
	tap_update_all(d->link);
	dial_taps_answered(d);
}

static void
call_host(struct dial *d)
{
	struct resolve *resolve;

	change_state(d, DIAL_RESOLVE);
	if ((resolve = resolve_start(d->link->base, d->host, d->port, on_resolved, d)) != NULL)
		d->resolve = resolve;
}

static void
next_collector(struct dial *d)
{
	const struct conf_list *collectors = &d->link->options.collectors;
	struct conf_error error;

	if (d->collector >= collectors->count) {
		round_wait(d, 0);
		return;
	}
	if (conf_host_port(collectors->value[d->collector], FRAME_PORT, d->host, sizeof(d->host), &d->port, &error) == -1) {
		log_error("%s: %s", collectors->origin[d->collector], error.text);
		collector_failed(d);
		return;
	}
	call_host(d);
}

/* Make before break: the collector ends the session before once it has welcomed the new one. */
static void
renew_check(struct dial *d)
{
	struct session *session = d->session;

	if (session == NULL || d->previous != NULL || !session_certificate_differs(session))
		return;
	if (session->state < SESSION_LIVE) {
		renew_later(d, RENEW_SOON_MS);
		return;
	}
	if (session->state != SESSION_LIVE || !still_configured(d))
		return;
	log_info("%s: another session is opened with the new certificate", session->name);
	d->previous = session;
	call_host(d);
}

void
dial_credentials(struct dial *d)
{
	if (d->state == DIAL_SESSION)
		renew_check(d);
	if (d->state != DIAL_CREDENTIALS)
		return;
	if (!enroll_may_dial(d->link))
		change_state(d, DIAL_OFF);
	else if (d->link->tls == NULL)
		round_wait(d, 0);
	else
		next_collector(d);
}

void
dial_endpoint_of(const struct resolve_address *address, struct ipc_endpoint *endpoint)
{
	const struct sockaddr_in *v4 = (const void *)&address->ss;
	const struct sockaddr_in6 *v6 = (const void *)&address->ss;

	memset(endpoint, 0, sizeof(*endpoint));
	endpoint->family = (uint8_t)address->ss.ss_family;
	if (address->ss.ss_family == AF_INET) {
		memcpy(endpoint->address, &v4->sin_addr, 4);
		endpoint->port = ntohs(v4->sin_port);
	} else {
		memcpy(endpoint->address, &v6->sin6_addr, 16);
		endpoint->port = ntohs(v6->sin6_port);
	}
}

static int
compare_endpoints(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct ipc_endpoint));
}

static bool
address_listed(const struct dial *d, const struct resolve_address *address)
{
	size_t i;

	for (i = 0; i < d->address_count; i++)
		if (d->address[i].len == address->len && memcmp(&d->address[i].ss, &address->ss, address->len) == 0)
			return true;
	return false;
}

/* Sorted: DNS may answer in another order each time, which is no reason to change a filter. */
size_t
dial_endpoints(const struct dial *d, struct ipc_endpoint *out, size_t max)
{
	size_t i;

	for (i = 0; i < d->address_count && i < max; i++)
		dial_endpoint_of(&d->address[i], &out[i]);
	if (d->winner.len > 0 && i < max && !address_listed(d, &d->winner))
		dial_endpoint_of(&d->winner, &out[i++]);
	qsort(out, i, sizeof(*out), compare_endpoints);
	return i;
}

/* --- its addresses --- */

static int
on_race_ask(uint8_t family, void *arg)
{
	struct dial *d = arg;

	return link_ask_socket(d->link, family, SOCK_STREAM, LINK_DIAL);
}

static void
on_race_failed(const struct resolve_address *address, const char *why, void *arg)
{
	const struct dial *d = arg;
	char text[64];

	log_warn("collector %s: cannot connect to %s port %u: %s", d->host, address_text(address, text, sizeof(text)), d->port, why);
}

static void
on_race_won(int fd, const struct resolve_address *address, void *arg)
{
	struct dial *d = arg;

	if (is_taken(d) || d->link->tls == NULL) {
		close(fd);
		change_state(d, DIAL_OFF);
		return;
	}
	d->winner = *address;
	change_state(d, DIAL_SESSION);
	if ((d->session = session_new(d->link, fd, TLSIO_CLIENT, d->host)) == NULL)
		collector_failed(d);
}

static void
on_race_lost(void *arg)
{
	collector_failed(arg);
}

void
dial_taps_answered(struct dial *d)
{
	if (d->state != DIAL_EXCLUDE || !tap_all_answered(d->link))
		return;
	if (is_taken(d)) {
		change_state(d, DIAL_OFF);
		return;
	}
	change_state(d, DIAL_RACE);
	race_start(d->race, d->address, d->address_count);
}

void
dial_socket(struct dial *d, int fd, int error)
{
	race_socket(d->race, fd, error);
}

/* --- sessions --- */

/* Connected, but no session came of it: the addresses that are left may be of a better one. */
static void
session_refused(struct dial *d, const struct session *s)
{
	char text[64];

	if (s->name[0] == '\0')
		log_warn("collector %s: no session with %s port %u: %s", d->host, address_text(&d->winner, text, sizeof(text)), d->port,
		    s->why);
	if (is_taken(d)) {
		change_state(d, DIAL_OFF);
		return;
	}
	if (!still_configured(d)) {
		round_start(d);
		return;
	}
	change_state(d, DIAL_RACE);
	race_again(d->race);
}

static void
live_session_closed(struct dial *d, const struct session *s)
{
	d->previous = NULL;
	if (clock_mono_ns() - s->live_ns >= LASTED_MS * LINK_MS || s->moved)
		d->rounds = 0;
	if (s->peer_error == MSG_ERR_CLONE)
		round_wait(d, CLONE_MS);
	else if (s->peer_error == MSG_ERR_REVOKED)
		round_wait(d, REVOKED_MS);
	else if (s->moved || s->more_streams || session_expired(s))
		round_start(d);
	else if (s->peer_bye)
		wait_ms(d, BYE_MIN_MS + link_random(BYE_SPREAD_MS));
	else
		round_wait(d, 0);
}

static void
own_session_closed(struct dial *d, const struct session *s)
{
	if (s->was_live)
		live_session_closed(d, s);
	else if (s->peer_error == MSG_ERR_CLONE && d->previous == NULL)
		round_wait(d, CLONE_MS);
	else if (s->peer_error == MSG_ERR_REVOKED && d->previous == NULL)
		round_wait(d, REVOKED_MS);
	else
		session_refused(d, s);
}

void
dial_session_closed(struct dial *d, const struct session *s)
{
	if (d->link->stopping)
		return;
	if (s == d->previous) {
		d->previous = NULL;	/* replaced; or it has ended while we called, and we go on calling */
		if (d->state == DIAL_SESSION)
			link_timer_set(d->timer, RENEW_SOON_MS * LINK_MS);	/* the certificate may be newer yet */
	} else if (d->state == DIAL_SESSION && d->session == s)
		own_session_closed(d, s);
	else if (d->state == DIAL_OFF && d->link->tap[0].session == NULL && d->link->options.collectors.count > 0 &&
	    enroll_may_dial(d->link))
		round_wait(d, 0);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct dial *d = arg;

	(void)fd;
	(void)what;
	if (d->state == DIAL_SESSION)
		renew_check(d);
	else
		round_start(d);
}

struct dial *
dial_new(struct link *link)
{
	static const struct race_callbacks callbacks = { on_race_ask, on_race_won, on_race_failed, on_race_lost };
	struct dial *d = calloc(1, sizeof(*d));

	if (d == NULL || (d->race = race_new(link->base, &callbacks, d)) == NULL)
		fatal("out of memory");
	d->link = link;
	d->timer = link_timer_new(link, on_timer, d);
	return d;
}

void
dial_free(struct dial *d)
{
	if (d == NULL)
		return;
	change_state(d, DIAL_OFF);
	race_free(d->race);
	event_free(d->timer);
	free(d);
}
