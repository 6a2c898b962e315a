/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <string.h>

#include "agent/link_session.h"
#include "common/clock.h"
#include "common/deadline.h"
#include "common/log.h"

/* --- the list --- */

static uint16_t
list_find(const struct hints *h, const struct bpf_peer *peer)
{
	uint16_t i;

	for (i = 0; i < h->count; i++)
		if (memcmp(&h->peer[i], peer, sizeof(*peer)) == 0)
			break;
	return i;
}

static void
list_remove(struct hints *h, const struct bpf_peer *peer)
{
	uint16_t i = list_find(h, peer);

	if (i == h->count)
		return;
	h->count--;
	memmove(&h->peer[i], &h->peer[i + 1], (size_t)(h->count - i) * sizeof(h->peer[0]));
}

static void
list_add(struct hints *h, const struct bpf_peer *peer)
{
	if (h->count < MSG_PEERS_MAX && list_find(h, peer) == h->count)
		h->peer[h->count++] = *peer;
}

static void
list_empty(struct hints *h)
{
	h->generation = 0;
	h->balanced = false;
	h->count = 0;
}

/* A replacement is a change, even if it is by the same: whoever sends it knows nothing of what there was. */
static bool
changes_nothing(const struct hints *h, const struct msg_hints *msg)
{
	bool balanced = (msg->flags & HINTS_BALANCED) != 0;

	if (msg->generation == 0)
		return h->generation == 0;
	return msg->base != 0 && msg->generation == msg->base && msg->gone_count == 0 && msg->added_count == 0 &&
	    balanced == h->balanced;
}

enum hints_verdict
hints_change(struct hints *h, const struct msg_hints *msg)
{
	if (msg->base != 0 && (!h->fits || msg->base != h->generation))
		return HINTS_MISFIT;
	h->fits = true;
	if (changes_nothing(h, msg))
		return HINTS_RENEWED;
	if (msg->base == 0 || msg->generation == 0)
		list_empty(h);
	for (uint16_t i = 0; i < msg->gone_count; i++)
		list_remove(h, &msg->gone[i]);
	for (uint16_t i = 0; i < msg->added_count; i++)
		list_add(h, &msg->added[i]);
	h->generation = msg->generation;
	h->balanced = h->generation != 0 && (msg->flags & HINTS_BALANCED) != 0;
	return HINTS_CHANGED;
}

/* --- what the collector is told --- */

static void
report(struct link *link)
{
	struct session *s = link->tap[0].session;
	struct msg_hints_result result = { .generation = link->hints.in_force, .wall_ns = clock_wall_ns() };

	if (s != NULL && s->state == SESSION_LIVE)
		session_put(s, msg_put_hints_result(&s->sender.control, &result));
}

static void
came_into_force(struct link *link)
{
	static struct log_limit limit;
	struct hints *h = &link->hints;

	if (h->in_force_count != link->tap[0].told.peer_count)
		log_limited(&limit, 10000, LOG_LEVEL_INFO, "hints in force: %u peers' packets are withheld, which their agents deliver",
		    link->tap[0].told.peer_count);
	h->in_force_count = link->tap[0].told.peer_count;
}

/* --- the lease --- */

/* The capture role ends it by its own clock, if it has not heard of more by then. */
static void
on_lease_end(void *arg)
{
	struct link *link = arg;
	struct hints *h = &link->hints;

	if (h->generation == 0 || clock_boot_ns() < h->until_ns)
		return;
	list_empty(h);
	h->due = true;
	tap_update(link, &link->tap[0]);
}

static bool
list_is_told(const struct hints *h, const struct ipc_tap *told)
{
	return told->peer_count == h->count && told->balanced == h->balanced &&
	    memcmp(told->peer, h->peer, h->count * sizeof(h->peer[0])) == 0;
}

/* Of the list that capture was told. While another one waits, that one's lease makes it no longer. */
static void
renew_told(struct link *link)
{
	struct ipc_tap *told = &link->tap[0].told;
	const struct hints *h = &link->hints;
	struct ipc_lease lease = { .peers_until_ns = h->until_ns };

	if (link->capture == NULL || !link->tap[0].told_any || told->peer_count == 0 || told->peers_until_ns == h->until_ns ||
	    (h->until_ns > told->peers_until_ns && !list_is_told(h, told)))
		return;
	if (ipc_send_lease(link->capture, &lease) == 0)
		told->peers_until_ns = h->until_ns;
	else
		log_warn("capture role: the lease of peers is not renewed: %s", strerror(errno));
}

void
hints_init(struct link *link)
{
	if ((link->hints.deadline = deadline_new(link->base, on_lease_end, link)) == NULL)
		fatal("no timer: %s", strerror(errno));
}

void
hints_clear(struct link *link)
{
	deadline_free(link->hints.deadline);
}

void
hints_session(struct link *link)
{
	struct hints *h = &link->hints;

	h->fits = h->due = h->told_due = false;
}

void
hints_take(struct link *link, const struct msg_hints *msg)
{
	struct hints *h = &link->hints;
	enum hints_verdict verdict;

	on_lease_end(link);
	if ((verdict = hints_change(h, msg)) == HINTS_MISFIT) {
		report(link);
		return;
	}
	h->until_ns = clock_boot_ns() + msg->lease_ms * LINK_MS;
	deadline_set(h->deadline, h->generation != 0 ? h->until_ns : 0);
	if (verdict == HINTS_CHANGED) {
		h->due = true;
		tap_update(link, &link->tap[0]);
	}
	renew_told(link);
}

/* --- with the tap --- */

/* The guest's veto is in force as a list is of which nothing had room. */
void
hints_build(const struct link *link, struct ipc_tap *tap)
{
	const struct hints *h = &link->hints;

	if (link->options.no_withhold)
		return;
	tap->peer_count = h->count;
	tap->balanced = h->balanced;
	memcpy(tap->peer, h->peer, h->count * sizeof(h->peer[0]));
	tap->peers_until_ns = h->count > 0 ? link->tap[0].told.peers_until_ns : 0;
}

void
hints_told(struct link *link)
{
	struct hints *h = &link->hints;

	link->tap[0].told.peers_until_ns = link->tap[0].told.peer_count > 0 ? h->until_ns : 0;
	h->told = h->generation;
	h->told_due = h->told_due || h->due;
	h->due = false;
}

/* What the kernel does not take, it is not asked for again and again. */
void
hints_answered(struct link *link, bool accepted, bool alone)
{
	struct hints *h = &link->hints;
	bool due = h->told_due;

	h->refused = !accepted;
	h->told_due = false;
	if (accepted) {
		h->in_force = h->told;
		came_into_force(link);
		if (due)
			report(link);
		return;
	}
	h->due = h->due || due;
	if (alone && h->generation != 0) {
		list_empty(h);
		h->due = true;
	}
}

void
hints_nothing_new(struct link *link)
{
	struct hints *h = &link->hints;

	if (!h->due || h->refused)
		return;
	h->told = h->in_force = h->generation;
	h->due = false;
	report(link);
}
