/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/link.h"
#include "agent/link_breaker.h"
#include "agent/link_dial.h"
#include "agent/link_enroll.h"
#include "agent/link_session.h"
#include "agent/rpcap.h"
#include "agent/spool.h"
#include "common/log.h"
#include "proto/frame.h"

#define RETRY_MS	1000	/* of telling capture, where that failed */

/* --- what a tap shall be --- */

static void
own_port(struct ipc_tap *tap, uint16_t port)
{
	size_t i;

	for (i = 0; i < tap->own_count; i++)
		if (tap->own[i].family == 0 && tap->own[i].port == port)
			return;
	if (tap->own_count < IPC_OWN_MAX)
		tap->own[tap->own_count++].port = port;
}

static void
own_add(struct ipc_tap *tap, const struct ipc_endpoint *more, size_t count)
{
	size_t i, k;

	for (i = 0; i < count && tap->own_count < IPC_OWN_MAX; i++) {
		for (k = 0; k < tap->own_count && memcmp(&tap->own[k], &more[i], sizeof(more[i])) != 0; k++)
			continue;
		if (k == tap->own_count)
			tap->own[tap->own_count++] = more[i];
	}
}

static void
own_enroll(const struct link *link, struct ipc_tap *tap)
{
	struct ipc_endpoint called[RESOLVE_MAX];

	own_add(tap, called, enroll_endpoints(link->enroll, called, RESOLVE_MAX));
}

static void
own_rpcap(const struct link *link, struct ipc_tap *tap)
{
	struct ipc_endpoint endpoint[IPC_OWN_MAX];

	own_add(tap, endpoint, rpcap_endpoints(link->rpcap, endpoint, IPC_OWN_MAX));
}

/* The ports we listen on, at any address, and the addresses being called. The capture role adds FRAME_PORT and --exclude-port. */
static void
build_own(const struct link *link, struct ipc_tap *tap)
{
	struct conf_error error;
	char host[256];
	uint16_t port;
	size_t i;

	for (i = 0; i < link->options.listens.count; i++)
		if (conf_host_port(link->options.listens.value[i], FRAME_PORT, host, sizeof(host), &port, &error) == 0)
			own_port(tap, port);
	tap->own_count = (uint16_t)(tap->own_count + dial_endpoints(link->dial, tap->own + tap->own_count,
	    (size_t)(IPC_OWN_MAX - tap->own_count)));
	own_enroll(link, tap);
	own_rpcap(link, tap);
}

static void
build_interfaces(struct link *link, struct link_tap *t, const char *patterns, struct ipc_tap *tap)
{
	static struct log_limit limit;
	size_t left_out, i;

	interfaces_mark(link, t->number);
	tap->interface_count = (uint16_t)netif_pick(&link->netifs, &link->options.interfaces, patterns, tap->interface, &left_out);
	if (left_out > 0)
		log_limited(&limit, 60000, LOG_LEVEL_WARN, "%zu more interfaces match, but %d is the most: they are not captured",
		    left_out, MSG_INTERFACES_MAX);
	for (i = 0; i < tap->interface_count; i++)
		tap->interface[i].paused = breaker_paused(pulse_breaker(link, t->number), t->number, tap->interface[i].ifindex);
	if (tap->interface_count == 0 && !t->said_none && t->number == 0)
		log_warn("nothing is captured: no interface that is %s is up; waiting for one",
		    link->options.interfaces.count > 0 || patterns[0] != '\0' ? "named by configuration and policy" :
		    "on a default route");
	t->said_none = tap->interface_count == 0;
}

static void
build_policy(const struct msg_policy *policy, struct ipc_tap *tap)
{
	strcpy(tap->filter, policy->filter);
	strcpy(tap->codec, policy->codec);
	tap->snaplen = policy->snaplen;
	tap->direction = policy->direction;
	tap->slice = policy->slice;
	tap->digest = policy->digest;
	if (tap->digest)
		memcpy(tap->secret, policy->secret, sizeof(tap->secret));
}

/* By the policy of a collector or an operator, or as an RPCAP client asked. */
static void
build(struct link *link, struct link_tap *t, struct ipc_tap *tap)
{
	const struct msg_policy *policy = t->asked != NULL ? &t->asked->policy : t->has_policy ? &t->policy : NULL;
	const char *patterns = policy != NULL ? policy->interfaces : "";

	tap->tap = t->number;
	tap->version = t->told.version;
	tap->active = t->number == 0 ? t->wanted && enroll_captures(link) : t->session != NULL && policy != NULL;
	if (t->rpcap != NULL) {
		rpcap_build(t, tap);
		patterns = rpcap_interface(t);
	}
	if (!tap->active)
		return;
	if (policy != NULL)
		build_policy(policy, tap);
	if (t->number == 0)
		hints_build(link, tap);
	build_own(link, tap);
	build_interfaces(link, t, patterns, tap);
}

/* --- policies --- */

static bool
tap_unused(const struct link_tap *t)
{
	return t->session == NULL && t->rpcap == NULL;
}

static void
ask_done(struct link *link, struct link_tap *t, struct policy_ask **ask, bool accepted, const char *reason)
{
	struct policy_ask *done = *ask;

	*ask = NULL;
	if (accepted) {
		t->policy = done->policy;
		t->has_policy = true;
		policy_keep(t, &t->policy);
		log_info("policy %llu is in force%s", (unsigned long long)done->policy.version,
		    t->number == 0 ? "" : " for an operator");
		session_limit_all(link);
	} else
		log_warn("policy %llu refused: %s", (unsigned long long)done->policy.version, reason);
	if (done->session != NULL)
		session_policy_result(done->session, done->policy.version, accepted, reason);
	free(done);
}

void
tap_policy(struct link *link, struct link_tap *t, struct session *session, const struct msg_policy *policy)
{
	struct policy_ask *ask = malloc(sizeof(*ask));

	if (ask == NULL) {
		session_policy_result(session, policy->version, false, "out of memory");
		return;
	}
	ask->policy = *policy;
	ask->session = session;
	if (t->waiting != NULL)
		ask_done(link, t, &t->waiting, false, "a newer one came before it could be tried");
	t->waiting = ask;
	tap_update(link, t);
}

static uint64_t
share_of(const struct link *link, uint64_t value)
{
	uint64_t sharers = 0;

	for (size_t i = 0; i < IPC_TAPS_MAX; i++)
		sharers += !tap_unused(&link->tap[i]);
	if (sharers > 1 && value > 0)
		value = value < sharers ? 1 : value / sharers;
	return value;
}

uint64_t
tap_rate_limit(const struct link *link, const struct link_tap *t)
{
	uint64_t limit = share_of(link, link->options.rate_limit), policy = t->has_policy ? t->policy.rate_limit : 0;

	return limit == 0 || (policy != 0 && policy < limit) ? policy : limit;
}

uint64_t
tap_rate_burst(const struct link *link)
{
	return share_of(link, link->options.rate_burst);
}

/* --- telling capture --- */

static void
reset_if_closed(struct link *link, struct link_tap *t)
{
	bool closed = link->capture == NULL || (t->told_any && t->answered && !t->told.active);

	if (!t->reset_due || !closed || !tap_unused(t))
		return;
	spool_reset(t->spool);
	stats_reset(&t->stats);
	t->reset_due = false;
}

static void
tell(struct link *link, struct link_tap *t, const struct ipc_tap *tap)
{
	ipc_tap_copy(&t->told, tap);
	t->told.version++;
	if (t->number == 0)
		hints_told(link);
	t->told_any = true;
	t->answered = false;
	if (ipc_send_tap(link->capture, &t->told) == 0)
		return;
	log_error("cannot tell the capture role what to capture: %s", strerror(errno));
	t->told_any = false;
	netif_watch_later(link->watch, RETRY_MS);
}

void
tap_update(struct link *link, struct link_tap *t)
{
	struct ipc_tap *tap;

	if (link->capture == NULL || (t->told_any && !t->answered) || !enroll_known(link))
		return;
	if ((tap = calloc(1, sizeof(*tap))) == NULL) {
		log_error("cannot say what to capture: out of memory");
		return;
	}
	if (t->asked == NULL) {
		t->asked = t->waiting;
		t->waiting = NULL;
	}
	build(link, t, tap);
	if (!t->told_any || memcmp(tap, &t->told, sizeof(*tap)) != 0)
		tell(link, t, tap);
	else {
		if (t->asked != NULL)
			ask_done(link, t, &t->asked, true, "");
		if (t->number == 0)
			hints_nothing_new(link);
	}
	free(tap);
	reset_if_closed(link, t);
}

void
tap_update_all(struct link *link)
{
	size_t i;

	for (i = 0; i < IPC_TAPS_MAX; i++)
		tap_update(link, &link->tap[i]);
}

void
tap_capture_is_new(struct link *link)
{
	size_t i;

	for (i = 0; i < IPC_TAPS_MAX; i++) {
		link->tap[i].told_any = false;
		reset_if_closed(link, &link->tap[i]);
	}
	tap_update_all(link);
	dial_taps_answered(link->dial);
	enroll_taps_answered(link);
	rpcap_capture_is_new(link->rpcap);
	rpcap_taps_answered(link->rpcap);
}

void
tap_result(struct link *link, const struct ipc_tap_result *result)
{
	struct link_tap *t = &link->tap[result->tap];

	if (!t->told_any || t->answered || result->version != t->told.version)
		return;
	t->answered = true;
	if (t->number == 0)
		hints_answered(link, result->accepted, t->asked == NULL);
	if (t->asked != NULL)
		ask_done(link, t, &t->asked, result->accepted, result->reason);
	else if (!result->accepted && (t->number == 0 || t->session != NULL))
		log_warn("cannot capture as it should be: %s; what was captured before still is", result->reason);
	/* Of a stream that begins or grows with this the receiver hears now, packets or not. */
	if (result->accepted && t->session != NULL)
		session_stats(t->session);
	if (t->rpcap != NULL)
		rpcap_result(t, result->accepted, result->reason);
	reset_if_closed(link, t);
	tap_update(link, t);
	dial_taps_answered(link->dial);
	enroll_taps_answered(link);
	rpcap_taps_answered(link->rpcap);
}

/* Kept as well: a link that is down is told with the stream's END. */
void
tap_last_stats(struct link_tap *t, const struct msg_stats *stats)
{
	backlog_keep_last(&t->backlog, stats);
	if (t->session != NULL)
		session_last_stats(t->session, stats);
	if (t->rpcap != NULL)
		rpcap_last_stats(t, stats);
}

bool
tap_all_answered(const struct link *link)
{
	size_t i;

	for (i = 0; i < IPC_TAPS_MAX && link->capture != NULL; i++)
		if (!link->tap[i].told_any || !link->tap[i].answered)
			return false;
	return true;
}

/* --- whose it is --- */

bool
tap_free(const struct link_tap *t)
{
	return tap_unused(t) && !t->reset_due;
}

void
tap_attach(struct link_tap *t, struct session *session)
{
	t->session = session;
}

void
tap_attach_rpcap(struct link_tap *t, struct rpcap_capture *capture)
{
	t->rpcap = capture;
}

/* A collector's policy outlives its session; an operator's tap ends with it, and an RPCAP client's with the capture. */
void
tap_detach(struct link *link, struct link_tap *t)
{
	t->session = NULL;
	t->rpcap = NULL;
	free(t->waiting);
	t->waiting = NULL;
	if (t->asked != NULL)
		t->asked->session = NULL;
	if (t->number == 0)
		return;
	free(t->asked);
	t->asked = NULL;
	t->has_policy = false;
	t->reset_due = true;
	tap_update(link, t);
}
