/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>
#include <pcap/pcap.h>

#include "common/clock.h"
#include "common/deadline.h"
#include "common/log.h"
#include "proto/codec.h"
#include "agent/agent.h"
#include "agent/capture_tap.h"
#include "agent/spool.h"

#define SETTLE_MARGIN_MS	100	/* beyond the ring's timeout: whatever was in it has come by then */
#define RESUME_BUSY_MS		1
#define RESUME_STREAM_MS	100

static void	tap_advance(struct capture_tap *);

/* In place of a time set before. */
static void
timer_set(struct event *timer, uint64_t ms)
{
	struct timeval tv = { .tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000) };

	event_add(timer, &tv);
}

static void
tap_stop(struct capture_tap *tap, uint64_t retry_ms)
{
	struct capture_ring *r;

	if (!tap->stopped)
		TAILQ_FOREACH(r, &tap->rings, entry)
			event_del(r->readable);
	tap->stopped = true;
	timer_set(tap->resume, retry_ms);
}

/* 0: the block is empty. -1: tap_stop() was called, tap_resume() will try again. */
static int
tap_seal(struct capture_tap *tap)
{
	if (capture_block_seal(&tap->block) == -1) {
		tap_stop(tap, RESUME_BUSY_MS);
		return -1;
	}
	if (capture_block_set_codec(&tap->block, tap->codec, tap->level) == -1)
		log_warn("no memory for codec %s, going on with %s", tap->codec->name, tap->block.codec->name);
	if (tap->block.store != tap->store)
		capture_block_set_store(&tap->block, tap->store);
	return 0;
}

/* A stream's interface ids are used up, or there is no stream yet. */
static int
tap_begin_stream(struct capture_tap *tap)
{
	static struct log_limit limit;
	struct capture_ring *r;

	if (tap_seal(tap) == -1)
		return -1;
	TAILQ_FOREACH(r, &tap->rings, entry)
		capture_ring_leave_row(r);
	if (capture_tap_next_stream(tap) == -1) {
		log_limited(&limit, 60000, LOG_LEVEL_WARN, "no new stream, capture waits: %s", errno == EAGAIN ?
		    "too many older ones are not acknowledged yet" : strerror(errno));
		tap_stop(tap, RESUME_STREAM_MS);
		return -1;
	}
	spool_count_set(tap->stream.spool, COUNTER_LEDGER, STATS_AGENT, capture_tap_ledger(tap));
	return 0;
}

static int
tap_assign_left(struct capture_tap *tap)
{
	struct capture_row *row;
	struct capture_ring *r;

	TAILQ_FOREACH(r, &tap->rings, entry) {
		if ((row = r->row) == NULL && (row = capture_stream_row(&tap->stream, &r->description)) == NULL)
			return -1;
		capture_ring_set_row(r, row);
	}
	return 0;
}

/* Every ring has an interface id, in a stream. */
static int
tap_assign_rows(struct capture_tap *tap)
{
	if (TAILQ_EMPTY(&tap->rings) || (tap->stream.open && tap_assign_left(tap) == 0))
		return 0;
	if (tap_begin_stream(tap) == -1)
		return -1;
	if (tap_assign_left(tap) == 0)
		return 0;
	log_error("no interface ids, capture waits: %s", strerror(errno));
	tap_stop(tap, RESUME_STREAM_MS);
	return -1;
}

static void
tap_resume(evutil_socket_t fd, short what, void *arg)
{
	struct capture_tap *tap = arg;
	struct capture_ring *r;

	(void)fd;
	(void)what;
	if ((tap->block.busy_since_ns != 0 && tap_seal(tap) == -1) || tap_assign_rows(tap) == -1)
		return;
	tap->stopped = false;
	TAILQ_FOREACH(r, &tap->rings, entry)
		event_add(r->readable, NULL);
	tap_advance(tap);
}

static void
tap_schedule_flush(struct capture_tap *tap)
{
	uint64_t flush_ms = tap->want.flush_ms > 0 ? tap->want.flush_ms : tap->options->flush_ms;
	uint64_t now_ns, flush_ns = flush_ms * 1000000u, due_ns = tap->block.begun_ns + flush_ns;

	if (capture_block_empty(&tap->block) || tap->stopped)
		return;
	now_ns = clock_wall_ns();
	if (now_ns >= due_ns || now_ns < tap->block.begun_ns)	/* the clock was stepped back */
		tap_seal(tap);
	else if (!event_pending(tap->flush, EV_TIMEOUT, NULL))
		timer_set(tap->flush, (due_ns - now_ns < flush_ns ? due_ns - now_ns : flush_ns) / 1000000u + 1);
}

static void
tap_flush(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	tap_schedule_flush(arg);
}

/* Ring to block; returns how many packets, -1: stopped. */
static int
tap_drain(struct capture_tap *tap, struct capture_ring *r)
{
	int count = capture_ring_drain(r, CAPTURE_TAP_BUDGET);

	if (count == -1)
		tap_stop(tap, RESUME_BUSY_MS);
	if (r->gone && !r->closing) {
		capture_ring_close_begin(r);
		capture_tap_unwatch(tap, r);
	}
	return count;
}

static void
tap_readable(evutil_socket_t fd, short what, void *arg)
{
	struct capture_ring *r = arg;
	struct capture_tap *tap = r->tap;

	(void)fd;
	(void)what;
	tap_drain(tap, r);
	tap->callbacks->active(tap->arg);
	tap_schedule_flush(tap);
	if (r->unsettled)
		tap_advance(tap);
}

/* Packets that the filter refuses make no ring readable, but they are counted. */
static void
tap_offered(evutil_socket_t fd, short what, void *arg)
{
	struct capture_tap *tap = arg;

	(void)fd;
	(void)what;
	tap->callbacks->active(tap->arg);
}

static int
tap_watch_offered(struct capture_tap *tap, struct capture_ring *r)
{
	if (r->offered != NULL || !capture_ledger_counts(&r->ledger))
		return 0;
	r->offered = event_new(tap->base, r->ledger.fd[PROGRAM_OFFERED], EV_READ, tap_offered, tap);
	return r->offered == NULL ? -1 : event_add(r->offered, NULL);
}

void
capture_tap_add_ring(struct capture_tap *tap, struct capture_ring *r)
{
	r->tap = tap;
	r->block = &tap->block;
	r->sample = &tap->sample;
	r->last = tap->last;
	if ((r->readable = event_new(tap->base, r->fd, EV_READ | EV_PERSIST, tap_readable, r)) == NULL ||
	    (!tap->stopped && event_add(r->readable, NULL) == -1) || tap_watch_offered(tap, r) == -1) {
		log_error("%s: no memory to watch it", r->name);
		capture_ring_free(r);
		return;
	}
	TAILQ_INSERT_TAIL(&tap->rings, r, entry);
}

void
capture_tap_tell_gone(struct capture_tap *tap, uint32_t ifindex, const char *reason)
{
	struct ipc_interface_gone gone = { .tap = tap->number, .ifindex = ifindex };

	snprintf(gone.reason, sizeof(gone.reason), "%s", reason);
	log_info("%s", reason);
	tap->callbacks->gone(&gone, tap->arg);
}

/* The last statistics go into the block; what they say of loss has no packet to stand on any more. */
static void
ring_close(struct capture_tap *tap, struct capture_ring *r)
{
	TAILQ_REMOVE(&tap->rings, r, entry);
	if (r->row != NULL) {
		capture_ring_poll(r);
		capture_block_touch(&tap->block, r->row);
	}
	if (r->gone && !tap->ending)
		capture_tap_tell_gone(tap, r->ifindex, r->reason);
	capture_ring_free(r);
}

/* At the boundary: what comes now is of the program attached last. */
static void
ring_settle(struct capture_tap *tap, struct capture_ring *r)
{
	capture_ring_settle(r);
	if (r->closing) {
		ring_close(tap, r);
		return;
	}
	if (!r->has_next)
		return;
	r->has_next = false;
	r->description = r->next_description;
	if (r->row != NULL) {
		capture_block_touch(&tap->block, r->row);
		r->row->users--;
		r->row = NULL;
	}
}

/* Settles what has come to its boundary; true if something still has not. */
static bool
tap_settle(struct capture_tap *tap)
{
	struct capture_ring *r, *next;
	bool unsettled = false;

	for (r = TAILQ_FIRST(&tap->rings); r != NULL; r = next) {
		next = TAILQ_NEXT(r, entry);
		if (r->unsettled && r->delivered >= r->boundary)
			ring_settle(tap, r);
		else
			unsettled |= r->unsettled;
	}
	return unsettled;
}

static uint64_t
tap_settle_ms(const struct capture_tap *tap)
{
	const struct capture_ring *r;
	uint64_t timeout_ms = 0;

	TAILQ_FOREACH(r, &tap->rings, entry)
		if (r->timeout_ms > timeout_ms)
			timeout_ms = r->timeout_ms;
	return timeout_ms + SETTLE_MARGIN_MS;
}

/* The ring's timeout has passed: a ring that is empty now will not come to its boundary by itself. */
static void
tap_settle_timeout(evutil_socket_t fd, short what, void *arg)
{
	struct capture_tap *tap = arg;
	struct capture_ring *r;
	bool was_closing;

	(void)fd;
	(void)what;
	TAILQ_FOREACH(r, &tap->rings, entry) {
		was_closing = r->closing;
		if (r->unsettled && !tap->stopped && tap_drain(tap, r) == 0 && r->closing == was_closing)
			capture_ring_give_up(r);
	}
	tap_advance(tap);
}

static void
tap_answer(struct capture_tap *tap, const struct capture_tap_change *change, const char *refusal)
{
	static struct log_limit limit;
	struct ipc_tap_result result = { .tap = tap->number, .version = change->want.version, .accepted = refusal == NULL };

	if (refusal != NULL && change->lease)
		log_limited(&limit, 60000, LOG_LEVEL_ERROR, "which peers' packets are left out cannot be changed: %s", refusal);
	else if (refusal != NULL)
		log_warn("%s: %s", change->reload ? "the new settings are not in force" : "refused", refusal);
	if (change->governed)
		tap->callbacks->governed(tap->number, refusal == NULL, tap->arg);
	if (change->reload)
		return;
	snprintf(result.reason, sizeof(result.reason), "%s", refusal != NULL ? refusal : "");
	tap->callbacks->result(&result, tap->arg);
}

/* The packets of before lie in the block that ends here; in the next one, the statistics of all interfaces say where each stood. */
static void
tap_note_orders(struct capture_tap *tap, const char *text)
{
	struct capture_ring *r;

	tap_seal(tap);
	capture_tap_note(tap, text);
	TAILQ_FOREACH(r, &tap->rings, entry)
		if (r->row != NULL)
			capture_block_touch(&tap->block, r->row);
}

static void
tap_pop_change(struct capture_tap *tap, const char *refusal)
{
	struct capture_tap_change *change = STAILQ_FIRST(&tap->queue);

	STAILQ_REMOVE_HEAD(&tap->queue, entry);
	tap->queued--;
	tap->changing = false;
	if (change->governed && refusal == NULL)
		tap_note_orders(tap, change->text);
	tap_answer(tap, change, refusal);
	free(change);
}

/* What guest and policy say comes before what the governor orders: where both have no room in the kernel, its orders go. */
static int
tap_apply_ordered(struct capture_tap *tap, const struct capture_tap_change *change, char error[MSG_TEXT_SIZE])
{
	static const struct governor_orders none = GOVERNOR_NO_ORDERS;
	struct governor_orders orders = tap->orders;
	char why[MSG_TEXT_SIZE];

	if (capture_change_apply(tap, &change->want, change->governed || change->lease, error) == 0)
		return 0;
	if (change->governed || governor_orders_equal(&orders, &none))
		return -1;
	tap->orders = none;
	if (capture_change_apply(tap, &change->want, false, why) == 0) {
		log_info("the governor's orders make room: %s", error);
		tap->callbacks->governed(tap->number, false, tap->arg);
		return 0;
	}
	tap->orders = orders;
	return -1;
}

/* Others hear of it from the end of their stream. */
static void
tap_shut(struct capture_tap *tap, const char *why)
{
	log_error("nothing is captured: the %s does not go together with the new settings: %s",
	    capture_pool_of(tap->number) == POOL_CLIENTS ? "client's filter" : "policy", why);
	tap->shut = true;
	for (size_t i = 0; capture_pool_of(tap->number) == POOL_CLIENTS && i < tap->want.interface_count; i++)
		capture_tap_tell_gone(tap, tap->want.interface[i].ifindex, why);
}

/* What does not go together with the guest's new settings must not keep those before in force: rather nothing is captured. */
static int
tap_apply(struct capture_tap *tap, struct capture_tap_change *change, char error[MSG_TEXT_SIZE])
{
	if (tap->shut && (change->governed || change->lease))
		return 0;	/* for when there is something again that they are of */
	if (tap_apply_ordered(tap, change, error) == 0) {
		ipc_tap_copy(&tap->want, &change->want);
		tap->shut = false;
		return 0;
	}
	if (!change->reload || change->governed || change->lease)
		return -1;
	tap_shut(tap, error);
	change->want.active = false;
	return capture_change_apply(tap, &change->want, false, error);
}

static bool
same_peers(const struct ipc_tap *a, const struct ipc_tap *b)
{
	return a->peer_count == b->peer_count && a->balanced == b->balanced &&
	    memcmp(a->peer, b->peer, a->peer_count * sizeof(a->peer[0])) == 0;
}

/* With orders and lease as they are by now. Refused, those before are, and no peer is left out that may be none any more. */
static int
tap_try_change(struct capture_tap *tap, struct capture_tap_change *change, char error[MSG_TEXT_SIZE])
{
	struct governor_orders orders = tap->orders;
	bool lapsed = tap->lapsed;

	if (change->governed)
		tap->orders = change->orders;
	tap->lapsed = change->want.peer_count > 0 && capture_lease_passed(tap);
	if (tap_apply(tap, change, error) == 0)
		return 0;
	tap->orders = orders;
	tap->lapsed = lapsed;
	if (change->lease)
		capture_lease_again(tap);
	else if (!same_peers(&change->want, &tap->want) || capture_lease_passed(tap))
		capture_lease_end(tap);
	return -1;
}

static void
tap_begin_change(struct capture_tap *tap)
{
	struct capture_tap_change *change = STAILQ_FIRST(&tap->queue);
	struct capture_ring *r;
	char error[MSG_TEXT_SIZE];
	int result;

	if (change->reload)
		ipc_tap_copy(&change->want, &tap->want);
	if (tap->ending)
		change->want.active = false;
	result = tap_try_change(tap, change, error);
	TAILQ_FOREACH(r, &tap->rings, entry)
		if (tap_watch_offered(tap, r) == -1)
			log_warn("%s: no memory to watch what the filter refuses: it is counted late", r->name);
	if (result == -1) {
		tap_pop_change(tap, error);
		return;
	}
	tap->changing = true;
	tap_seal(tap);
}

/* A tap that is off holds no stream: it ends with the last block. */
static int
tap_end_stream(struct capture_tap *tap)
{
	struct msg_stat stat[CAPTURE_STATS_MAX];
	struct msg_stats last;

	if ((tap->want.active && !tap->shut) || !TAILQ_EMPTY(&tap->rings) || !tap->stream.open)
		return 0;
	if (tap_seal(tap) == -1)
		return -1;
	capture_stream_count(&tap->stream);
	capture_stream_stats(&tap->stream, &last, stat);
	tap->callbacks->last(tap->number, &last, tap->arg);	/* before the END, which takes them along */
	capture_stream_end(&tap->stream);
	event_del(tap->flush);
	return 0;
}

bool
capture_tap_over(const struct capture_tap *tap)
{
	return tap->ending && TAILQ_EMPTY(&tap->rings) && STAILQ_EMPTY(&tap->queue) && !tap->stream.open;
}

/* Goes on as far as it can: rings to their boundary, the change under way to its answer, the next one. */
static void
tap_advance(struct capture_tap *tap)
{
	bool unsettled;

	for (;;) {
		unsettled = tap_settle(tap);
		if (!unsettled && capture_tap_counts_again(tap) && tap_begin_stream(tap) == -1)
			return;
		if (tap_assign_rows(tap) == -1)
			return;
		if (unsettled) {
			timer_set(tap->settle, tap_settle_ms(tap));
			return;
		}
		event_del(tap->settle);
		tap_schedule_flush(tap);
		if (tap_end_stream(tap) == -1)
			return;
		if (tap->changing) {
			capture_tap_count(tap);		/* the answer sends whoever hears it to look */
			tap_pop_change(tap, NULL);
		}
		if (STAILQ_EMPTY(&tap->queue))
			break;
		tap_begin_change(tap);
	}
	if (capture_tap_over(tap))
		tap->callbacks->ended(tap->arg);
}

static struct capture_tap_change *
change_new(const struct ipc_tap *want)
{
	struct capture_tap_change *change = calloc(1, sizeof(*change));

	if (change == NULL) {
		log_error("no memory for a change of what is captured");
		return NULL;
	}
	change->reload = want == NULL;
	if (want != NULL)
		ipc_tap_copy(&change->want, want);
	return change;
}

static void
tap_queue(struct capture_tap *tap, struct capture_tap_change *change)
{
	if (change == NULL)
		return;
	STAILQ_INSERT_TAIL(&tap->queue, change, entry);
	tap->queued++;
	if (!tap->changing)
		tap_advance(tap);
}

/* The oldest that waits makes room: what comes after it is the whole state anyway. */
static void
tap_drop_waiting(struct capture_tap *tap, unsigned leave)
{
	struct capture_tap_change *change, *first = STAILQ_FIRST(&tap->queue);

	while (tap->queued > leave) {
		change = tap->changing ? STAILQ_NEXT(first, entry) : first;
		while (change != NULL && change->governed)	/* it has to be answered */
			change = STAILQ_NEXT(change, entry);
		if (change == NULL)
			return;
		STAILQ_REMOVE(&tap->queue, change, capture_tap_change, entry);
		tap->queued--;
		if (!change->reload)
			tap_answer(tap, change, "a later change came before its turn");
		free(change);
	}
}

void
capture_tap_change(struct capture_tap *tap, const struct ipc_tap *want)
{
	if (tap->ending)
		return;
	if (want->peer_count > 0)
		capture_lease_set(tap, want->peers_until_ns);
	tap_drop_waiting(tap, CAPTURE_TAP_QUEUE_MAX - 1);
	tap_queue(tap, change_new(want));
}

/* Whatever waits will be as the lease is then. */
void
capture_tap_refresh(struct capture_tap *tap)
{
	struct capture_tap_change *change;

	if (tap->ending || tap->queued > tap->changing || (change = change_new(NULL)) == NULL)
		return;
	change->lease = true;
	tap_queue(tap, change);
}

void
capture_tap_reload(struct capture_tap *tap)
{
	if (!tap->ending)
		tap_queue(tap, change_new(NULL));
}

void
capture_tap_govern(struct capture_tap *tap, const struct governor_orders *orders, const char *text)
{
	struct capture_tap_change *change = tap->ending ? NULL : change_new(NULL);

	if (change == NULL) {
		tap->callbacks->governed(tap->number, tap->ending, tap->arg);
		return;
	}
	change->governed = true;
	change->orders = *orders;
	snprintf(change->text, sizeof(change->text), "%s", text);
	tap_queue(tap, change);
}

void
capture_tap_publish(struct capture_tap *tap)
{
	if (!tap->stopped)
		tap_seal(tap);
	capture_tap_count(tap);
}

void
capture_tap_end(struct capture_tap *tap)
{
	if (tap->ending)
		return;
	tap->ending = true;
	tap_drop_waiting(tap, tap->changing ? 1 : 0);
	tap_queue(tap, change_new(NULL));
}

void
capture_tap_end_now(struct capture_tap *tap)
{
	struct capture_ring *r;

	while ((r = TAILQ_FIRST(&tap->rings)) != NULL) {
		capture_ring_close_begin(r);
		capture_ring_give_up(r);
		ring_close(tap, r);
	}
	capture_block_seal_now(&tap->block);
	capture_stream_count(&tap->stream);
	capture_stream_end(&tap->stream);
}

void
capture_tap_set_options(struct capture_tap *tap, const struct agent_options *options)
{
	tap->options = options;
}

int
capture_tap_init(struct capture_tap *tap, uint8_t number, struct event_base *base, struct spool *spool, struct capture_totals *totals,
    const struct capture_tap_callbacks *callbacks, void *arg)
{
	memset(tap, 0, sizeof(*tap));
	tap->number = number;
	tap->base = base;
	tap->callbacks = callbacks;
	tap->arg = arg;
	tap->codec = codec_by_id(CODEC_NONE);
	TAILQ_INIT(&tap->rings);
	STAILQ_INIT(&tap->queue);
	tap->orders = (struct governor_orders)GOVERNOR_NO_ORDERS;
	capture_stream_init(&tap->stream, spool);
	tap->flush = evtimer_new(base, tap_flush, tap);
	tap->settle = evtimer_new(base, tap_settle_timeout, tap);
	tap->resume = evtimer_new(base, tap_resume, tap);
	tap->lease = deadline_new(base, capture_lease_on_passed, tap);
	if (capture_block_init(&tap->block, &tap->stream, totals, tap->codec, 0) == -1 || tap->flush == NULL ||
	    tap->settle == NULL || tap->resume == NULL || tap->lease == NULL) {
		capture_tap_clear(tap);
		errno = ENOMEM;
		return -1;
	}
	tap->block.poll = capture_tap_poll;
	tap->block.begin = capture_tap_look;
	tap->block.poll_arg = tap;
	return 0;
}

void
capture_tap_clear(struct capture_tap *tap)
{
	struct capture_tap_change *change;
	struct capture_ring *r;

	while ((r = TAILQ_FIRST(&tap->rings)) != NULL) {
		TAILQ_REMOVE(&tap->rings, r, entry);
		capture_ring_free(r);
	}
	while ((change = STAILQ_FIRST(&tap->queue)) != NULL) {
		STAILQ_REMOVE_HEAD(&tap->queue, entry);
		free(change);
	}
	if (tap->flush != NULL)
		event_free(tap->flush);
	if (tap->settle != NULL)
		event_free(tap->settle);
	if (tap->resume != NULL)
		event_free(tap->resume);
	deadline_free(tap->lease);
	capture_block_clear(&tap->block);
	capture_stream_clear(&tap->stream);
}
