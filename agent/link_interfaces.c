/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <string.h>

#include "agent/link_session.h"
#include "agent/rpcap.h"
#include "common/clock.h"
#include "common/log.h"

#define GONE_MIN_MS	200	/* how long an interface stays out at first: the tap must be told without it */
#define GONE_MAX_MS	60000
#define GONE_FORGET_MS	60000	/* open this long: the next time counts as the first */

static struct link_gone *
gone_find(struct link *link, uint8_t tap, uint32_t ifindex)
{
	size_t i;

	for (i = 0; i < LINK_GONE_MAX; i++)
		if (link->gone[i].ifindex == ifindex && (ifindex == 0 || link->gone[i].tap == tap))
			return &link->gone[i];
	return NULL;
}

static bool
gone_old(const struct link_gone *gone, uint64_t now_ns)
{
	return now_ns > gone->until_ns + GONE_FORGET_MS * LINK_MS;
}

/* A down interface needs no retry: rtnetlink says when it is up again. */
static void
gone_review(struct link *link)
{
	uint64_t now_ns = clock_mono_ns(), next_ns = UINT64_MAX;
	struct link_gone *gone;
	struct netif *netif;

	for (gone = link->gone; gone < link->gone + LINK_GONE_MAX; gone++) {
		if (gone->ifindex == 0)
			continue;
		netif = netif_by_index(&link->netifs, gone->ifindex);
		if (netif == NULL || gone_old(gone, now_ns))
			gone->ifindex = 0;
		else if (!netif->up)
			gone->until_ns = now_ns;
		else if (gone->until_ns > now_ns && gone->until_ns < next_ns)
			next_ns = gone->until_ns;
	}
	if (next_ns != UINT64_MAX)
		netif_watch_later(link->watch, (unsigned)((next_ns - now_ns) / LINK_MS) + 1);
}

void
interfaces_forget(struct link *link, uint8_t tap)
{
	for (size_t i = 0; i < LINK_GONE_MAX; i++)
		if (link->gone[i].tap == tap)
			link->gone[i].ifindex = 0;
}

void
interfaces_mark(struct link *link, uint8_t tap)
{
	uint64_t now_ns = clock_mono_ns();
	const struct link_gone *gone;
	struct netif *netif;
	size_t i;

	for (i = 0; i < link->netifs.count; i++) {
		netif = &link->netifs.netif[i];
		gone = gone_find(link, tap, netif->tap.ifindex);
		netif->gone = gone != NULL && gone->until_ns > now_ns;
	}
}

void
interfaces_changed(void *arg)
{
	struct link *link = arg;
	struct netif_table fresh;

	if (netif_scan(&fresh) == -1) {
		log_error("cannot list the network interfaces: %s", strerror(errno));
		netif_watch_later(link->watch, GONE_MAX_MS);
		return;
	}
	netif_carry(&link->netifs, &fresh);
	netif_clear(&link->netifs);
	link->netifs = fresh;
	gone_review(link);
	tap_update_all(link);
	session_addresses_all(link);
	life_check_addresses(link);
}

void
interfaces_gone(struct link *link, const struct ipc_interface_gone *message)
{
	struct link_gone *gone = gone_find(link, message->tap, message->ifindex);
	struct netif *netif = netif_by_index(&link->netifs, message->ifindex);
	uint64_t now_ns = clock_mono_ns();

	rpcap_interface_gone(&link->tap[message->tap], message->reason);
	if (message->ifindex == 0 || (gone == NULL && (gone = gone_find(link, 0, 0)) == NULL)) {
		log_warn("interface number %u is gone: %s", message->ifindex, message->reason);
		rpcap_interface_gone(&link->tap[message->tap], message->reason);
		return;
	}
	if (gone->ifindex == 0 || gone_old(gone, now_ns))
		gone->delay_ms = GONE_MIN_MS / 2;
	gone->delay_ms = gone->delay_ms * 2 < GONE_MAX_MS ? gone->delay_ms * 2 : GONE_MAX_MS;
	gone->tap = message->tap;
	gone->ifindex = message->ifindex;
	gone->until_ns = now_ns + gone->delay_ms * LINK_MS;
	log_warn("%s is not captured any more: %s", netif != NULL ? netif->tap.name : "an interface", message->reason);
	interfaces_changed(link);
}
