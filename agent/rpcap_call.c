/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "agent/link.h"
#include "agent/link_backoff.h"
#include "agent/link_dial.h"
#include "agent/link_race.h"
#include "agent/link_resolve.h"
#include "agent/rpcap_server.h"
#include "common/log.h"

/* Active mode: a host of --rpcap-connect is called again and again, and served like one that called us. */

#define FIRST_ROUND	1	/* half a second to a second */

enum call_state {
	CALL_OFF,
	CALL_WAIT,
	CALL_RESOLVE,
	CALL_EXCLUDE,		/* the capture role leaves the addresses out */
	CALL_RACE,
	CALL_CLIENT
};

struct rpcap_call {
	struct rpcap	*server;
	char		*text;		/* of --rpcap-connect */
	enum call_state	 state;
	struct event	*timer;
	unsigned	 rounds;	/* since a client that authenticated */
	char		 said[256];	/* the last failure in the log */
	char		 host[256];
	uint16_t	 port;
	struct resolve	*resolve;
	struct resolve_address address[RESOLVE_MAX];
	size_t		 address_count;
	struct race	*race;
	struct rpcap_wait wait;		/* for the race's socket */
	struct rpcap_client *client;
};

static void
change_state(struct rpcap_call *call, enum call_state state)
{
	race_stop(call->race);
	resolve_cancel(call->resolve);
	call->resolve = NULL;
	event_del(call->timer);
	call->state = state;
}

/* Half of it at least: one that answers and goes away again is not to be hammered. */
static void
wait_for_next(struct rpcap_call *call)
{
	uint64_t most_ms = backoff_next_ms(&call->rounds);

	change_state(call, CALL_WAIT);
	link_timer_set(call->timer, (most_ms / 2 + link_random(most_ms / 2)) * LINK_MS);
}

/* What stays wrong is said once, not at each attempt. */
static void
call_failed(struct rpcap_call *call, const char *why)
{
	if (strcmp(call->said, why) != 0)
		log_warn("RPCAP: %s cannot be reached: %s; it goes on being tried", call->text, why);
	snprintf(call->said, sizeof(call->said), "%s", why);
	wait_for_next(call);
}

/* --- the connection --- */

static void
on_socket(int fd, int error, void *arg)
{
	struct rpcap_call *call = arg;

	race_socket(call->race, fd, error);
}

static int
on_race_ask(uint8_t family, void *arg)
{
	struct rpcap_call *call = arg;

	call->wait = (struct rpcap_wait){ .family = family, .type = SOCK_STREAM, .came = on_socket, .arg = call };
	rpcap_wait_socket(call->server, &call->wait);
	return 0;
}

static void
on_race_failed(const struct resolve_address *address, const char *why, void *arg)
{
	struct rpcap_call *call = arg;

	(void)address;
	log_debug("RPCAP: cannot connect to %s: %s", call->text, why);
	if (strcmp(call->said, why) != 0)
		log_warn("RPCAP: cannot connect to %s: %s; it goes on being tried", call->text, why);
	snprintf(call->said, sizeof(call->said), "%s", why);
}

static void
on_race_won(int fd, const struct resolve_address *address, void *arg)
{
	struct rpcap_call *call = arg;

	(void)address;
	change_state(call, CALL_CLIENT);
	if ((call->client = rpcap_client_new(call->server, fd, call)) == NULL) {
		call_failed(call, "the connection was gone at once");
		return;
	}
	call->said[0] = '\0';
	log_info("RPCAP: connected to %s (%s)", call->text, call->client->name);
}

static void
on_race_lost(void *arg)
{
	wait_for_next(arg);
}

/* --- before it --- */

static void
check_excluded(struct rpcap_call *call)
{
	if (call->state != CALL_EXCLUDE || !tap_all_answered(call->server->link))
		return;
	change_state(call, CALL_RACE);
	race_start(call->race, call->address, call->address_count);
}

static void
on_resolved(const struct resolve_address *address, size_t count, const char *error, void *arg)
{
	struct rpcap_call *call = arg;

	call->resolve = NULL;
	if (count == 0) {
		call_failed(call, error);
		return;
	}
	memcpy(call->address, address, count * sizeof(*address));
	call->address_count = count;
	change_state(call, CALL_EXCLUDE);
	tap_update_all(call->server->link);
	check_excluded(call);
}

static void
call_host(struct rpcap_call *call)
{
	struct resolve *resolve;

	change_state(call, CALL_RESOLVE);
	if ((resolve = resolve_start(call->server->link->base, call->host, call->port, on_resolved, call)) != NULL)
		call->resolve = resolve;
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	call_host(arg);
}

/* A client that asked for the end of it is in no hurry to be called again. */
void
rpcap_call_ended(struct rpcap_call *call, bool authenticated, bool closed_by_peer)
{
	call->client = NULL;
	if (call->state == CALL_OFF)
		return;
	if (authenticated)
		call->rounds = FIRST_ROUND;
	if (closed_by_peer)
		call->rounds = BACKOFF_STEPS;
	wait_for_next(call);
}

/* --- all of them --- */

void
rpcap_calls_answered(struct rpcap *r)
{
	for (size_t i = 0; i < AGENT_RPCAP_CONNECTS_MAX; i++)
		if (r->call[i] != NULL)
			check_excluded(r->call[i]);
}

static int
compare_endpoints(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct ipc_endpoint));
}

/* Sorted: DNS may answer in another order each time, which is no reason to change a filter. */
size_t
rpcap_calls_endpoints(const struct rpcap *r, struct ipc_endpoint *out, size_t max)
{
	const struct rpcap_call *call;
	size_t count = 0, i, k;

	for (i = 0; i < AGENT_RPCAP_CONNECTS_MAX; i++) {
		call = r->call[i];
		for (k = 0; call != NULL && k < call->address_count && count < max; k++)
			dial_endpoint_of(&call->address[k], &out[count++]);
	}
	qsort(out, count, sizeof(*out), compare_endpoints);
	return count;
}

static void
call_free(struct rpcap_call *call)
{
	change_state(call, CALL_OFF);
	if (call->client != NULL) {
		call->client->call = NULL;
		rpcap_client_close(call->client, "it is not configured any more");
	}
	rpcap_wait_cancel(call->server, &call->wait);
	race_free(call->race);
	event_free(call->timer);
	free(call->text);
	free(call);
}

static struct rpcap_call *
call_new(struct rpcap *r, const char *text)
{
	static const struct race_callbacks callbacks = { on_race_ask, on_race_won, on_race_failed, on_race_lost };
	struct rpcap_call *call = calloc(1, sizeof(*call));
	struct conf_error error;

	if (call == NULL || (call->text = strdup(text)) == NULL ||
	    (call->race = race_new(r->link->base, &callbacks, call)) == NULL) {
		log_error("RPCAP: %s is not called: out of memory", text);
		if (call != NULL)
			free(call->text);
		free(call);
		return NULL;
	}
	call->server = r;
	call->rounds = FIRST_ROUND;
	call->timer = link_timer_new(r->link, on_timer, call);
	if (conf_host_port(text, RPCAP_PORT_ACTIVE, call->host, sizeof(call->host), &call->port, &error) == -1) {
		log_error("--rpcap-connect %s", error.text);
		call_free(call);
		return NULL;
	}
	change_state(call, CALL_WAIT);
	link_timer_set(call->timer, 0);
	return call;
}

static bool
is_configured(const struct conf_list *list, const char *text)
{
	for (size_t i = 0; i < list->count; i++)
		if (strcmp(list->value[i], text) == 0)
			return true;
	return false;
}

static void
call_begin(struct rpcap *r, const char *text)
{
	size_t i, place = AGENT_RPCAP_CONNECTS_MAX;

	for (i = 0; i < AGENT_RPCAP_CONNECTS_MAX; i++)
		if (r->call[i] == NULL)
			place = i;
		else if (strcmp(r->call[i]->text, text) == 0)
			return;
	if (place < AGENT_RPCAP_CONNECTS_MAX)
		r->call[place] = call_new(r, text);
}

void
rpcap_calls_start(struct rpcap *r)
{
	const struct conf_list *list = &r->link->options.rpcap_connects;
	size_t i;

	for (i = 0; i < AGENT_RPCAP_CONNECTS_MAX; i++)
		if (r->call[i] != NULL && !is_configured(list, r->call[i]->text)) {
			call_free(r->call[i]);
			r->call[i] = NULL;
		}
	for (i = 0; i < list->count && !r->stopping; i++)
		call_begin(r, list->value[i]);
}

void
rpcap_calls_stop(struct rpcap *r)
{
	for (size_t i = 0; i < AGENT_RPCAP_CONNECTS_MAX; i++)
		if (r->call[i] != NULL) {
			call_free(r->call[i]);
			r->call[i] = NULL;
		}
}
