/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <string.h>

#include <event2/event.h>

#include "agent/link.h"
#include "agent/link_breaker.h"
#include "agent/link_session.h"
#include "agent/rpcap.h"
#include "agent/spool.h"
#include "common/clock.h"
#include "common/log.h"

/* Each second while something is sent: STATS, counts, the breaker's look (more often in a trial). An idle agent has no pulse. */

#define BEAT_MS		1000
#define NICS_MS		10000	/* a look at all interfaces is dear where there are many */
#define NICS_ASKED_MS	1000	/* likewise, by somebody who waits for it */

static void
on_verdict(enum breaker_verdict verdict, const struct breaker_sample *sample, uint64_t pause_ns, void *arg)
{
	struct link *link = arg;
	const struct netif *netif = netif_by_index(&link->netifs, sample->ifindex);
	const char *name = netif != NULL ? netif->tap.name : "an interface";

	switch (verdict) {
	case BREAKER_LOOP:
		log_warn("%s: paused for %llu min: what is captured there stops and starts with what this agent sends, so it captures "
		    "its own data, probably inside a tunnel that ends in this guest; exclude the tunnel's packets by a filter (such as "
		    "\"not udp port 1194\") or capture another interface", name, (unsigned long long)(pause_ns / (60000 * LINK_MS)));
		break;
	case BREAKER_AGAIN:
		log_info("%s: captured again, to see whether the loop is gone", name);
		break;
	case BREAKER_INNOCENT:
		log_debug("%s: as many bytes captured as sent, but it is no loop", name);
		break;
	case BREAKER_UNCLEAR:
		log_debug("%s: as many bytes captured as sent; could not try whether it is a loop", name);
		break;
	}
	if (verdict == BREAKER_LOOP || verdict == BREAKER_AGAIN)
		tap_update(link, &link->tap[sample->tap]);
}

void
pulse_init(struct link *link)
{
	struct breaker_options options = {
		.flush_ns = link->options.flush_ms * LINK_MS, .seed = link_random(UINT64_MAX), .verdict = on_verdict, .arg = link,
	};

	options.tail_max = link->options.buffer_kib * 1024;
	if (options.tail_max > link->options.spool_memory / 2)
		options.tail_max = link->options.spool_memory / 2;
	if ((link->breaker = breaker_new(&options)) == NULL || (link->rpcap_breaker = breaker_new(&options)) == NULL)
		fatal("out of memory");
	link->pulse_due_ns = UINT64_MAX;
}

static void
pulse_at(struct link *link, uint64_t due_ns)
{
	uint64_t now_ns = clock_mono_ns();

	if (due_ns >= link->pulse_due_ns)
		return;
	link->pulse_due_ns = due_ns;
	link_timer_set(link->pulse, due_ns > now_ns ? due_ns - now_ns : 0);
}

void
pulse_start(struct link *link)
{
	pulse_at(link, clock_mono_ns() + BEAT_MS * LINK_MS);
}

/* The newest interface id of each name is the one being captured. */
static size_t
take_samples(struct link *link, const struct link_tap *tap, struct breaker_sample *sample, size_t max)
{
	const struct stats_interface *interface;
	const struct netif *netif;
	size_t count = 0;
	uint32_t id;

	for (id = 0; id < tap->stats.count && count < max; id++) {
		interface = &tap->stats.interface[id];
		if (!interface->current || (netif = netif_by_name(&link->netifs, interface->name)) == NULL)
			continue;
		sample[count].tap = tap->number;
		sample[count].ifindex = netif->tap.ifindex;
		sample[count++].bytes = spool_count_get(tap->spool, COUNTER_BYTES_ORIGINAL, id);
	}
	return count;
}

static void
beat_breaker(struct link *link, uint64_t now_ns)
{
	struct breaker_sample sample[BREAKER_WATCHES_MAX];
	struct breaker_input in = { .now_ns = now_ns, .sent = link->sent, .sample = sample };
	struct link_tap *tap;

	for (tap = link->tap; tap < link->tap + IPC_TAP_RPCAP; tap++) {
		if (!tap->told.active || !stats_refresh(&tap->stats, tap->spool))
			continue;
		in.count += take_samples(link, tap, sample + in.count, BREAKER_WATCHES_MAX - in.count);
		if (tap->session != NULL)
			in.unsent += session_unsent(tap->session);
	}
	breaker_tick(link->breaker, &in);
	session_hold_all(link, !link->stopping && breaker_holds(link->breaker));
}

/* What an RPCAP client is sent is always as much as was captured, and to hold it for nothing costs packets. But a loop grows until
 * something gives way: a capture that loses none is none. */
static void
beat_rpcap_breaker(struct link *link, uint64_t now_ns)
{
	struct breaker_sample sample[BREAKER_WATCHES_MAX];
	struct breaker_input in = { .now_ns = now_ns, .sample = sample };
	struct link_tap *tap;

	in.sent = link->rpcap_sent += rpcap_count_bytes(link->rpcap);
	in.unsent = rpcap_unsent(link->rpcap);
	for (tap = link->tap + IPC_TAP_RPCAP; tap < link->tap + IPC_TAPS_MAX; tap++)
		if (tap->rpcap != NULL && (rpcap_loses(tap) || breaker_tries(link->rpcap_breaker)))
			in.count += take_samples(link, tap, sample + in.count, BREAKER_WATCHES_MAX - in.count);
	breaker_tick(link->rpcap_breaker, &in);
	rpcap_hold(link->rpcap, !link->stopping && breaker_holds(link->rpcap_breaker));
}

const struct breaker *
pulse_breaker(const struct link *link, uint8_t tap)
{
	return tap < IPC_TAP_RPCAP ? link->breaker : link->rpcap_breaker;
}

static void
beat_nics(struct link_tap *tap, uint64_t now_ns, uint64_t age_ms)
{
	struct netif_table table;

	if (now_ns - tap->stats.nics_ns < age_ms * LINK_MS && tap->stats.nics_ns != 0)
		return;
	tap->stats.nics_ns = now_ns;
	if (netif_scan(&table) == -1)
		return;
	stats_count_nics(&tap->stats, tap->spool, &table);
	netif_clear(&table);
}

void
pulse_count_nics(struct link_tap *tap)
{
	if (stats_refresh(&tap->stats, tap->spool))
		beat_nics(tap, clock_mono_ns(), NICS_ASKED_MS);
}

/* An RPCAP client gets its statistics when it asks for them. */
static void
beat_rpcap(struct link_tap *tap, uint64_t now_ns)
{
	if (stats_refresh(&tap->stats, tap->spool))
		beat_nics(tap, now_ns, NICS_MS);
	rpcap_count(tap);
}

/* Each second. True: the pulse goes on. */
static bool
beat_tap(struct link_tap *tap, uint64_t now_ns)
{
	uint64_t fresh = session_count_bytes(tap->session);

	spool_count_add(tap->spool, COUNTER_BYTES_SENT, STATS_AGENT, fresh);
	if (!stats_refresh(&tap->stats, tap->spool))
		return false;
	beat_nics(tap, now_ns, NICS_MS);
	if (!stats_changed(&tap->stats, tap->spool))
		return false;
	session_stats(tap->session);
	return true;
}

void
pulse_beat(int fd, short what, void *arg)
{
	struct link *link = arg;
	uint64_t now_ns = clock_mono_ns();
	bool more = false, tick = now_ns - link->pulse_beat_ns >= BEAT_MS * LINK_MS * 9 / 10;
	size_t i;

	(void)fd;
	(void)what;
	link->pulse_due_ns = UINT64_MAX;
	for (i = 0; i < IPC_TAPS_MAX; i++)
		if (link->tap[i].session != NULL) {
			if (tick)
				more |= beat_tap(&link->tap[i], now_ns);
			else
				spool_count_add(link->tap[i].spool, COUNTER_BYTES_SENT, STATS_AGENT,
				    session_count_bytes(link->tap[i].session));
		} else if (link->tap[i].rpcap != NULL)
			beat_rpcap(&link->tap[i], now_ns);
	beat_breaker(link, now_ns);
	beat_rpcap_breaker(link, now_ns);
	if (tick)
		link->pulse_beat_ns = now_ns;
	if (more || !tick)
		pulse_at(link, link->pulse_beat_ns + BEAT_MS * LINK_MS);
	pulse_at(link, breaker_due_ns(link->breaker));
	pulse_at(link, breaker_due_ns(link->rpcap_breaker));
}
