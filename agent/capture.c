/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/mman.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "common/clock.h"
#include "common/log.h"
#include "agent/agent.h"
#include "agent/capture_clock.h"
#include "agent/capture_governor.h"
#include "agent/capture_linktype.h"
#include "agent/capture_tap.h"
#include "agent/ipc.h"
#include "agent/last_counts.h"
#include "agent/role.h"
#include "agent/spool.h"

#define TICK_S		1	/* between two looks at the counters while packets come */
#define END_SPARE_MS	150	/* of the time to the end: for a late timer, the last blocks and exit */

/* The capture role: interfaces to blocks in the spools, as the link role wants it and the configuration allows. */
struct capture {
	struct event_base *base;
	struct agent_options *options;
	struct ipc	*supervisor;
	struct ipc	*link;			/* NULL while that role is not there: capture goes on */
	struct spool	*spool[IPC_TAPS_MAX];
	struct capture_totals totals;
	struct capture_taps taps;
	struct event	*tick, *deadline;
	struct capture_clock clock;
	struct capture_governor governor;
	struct capture_linktypes linktypes;
	struct last_counts *last;		/* shared with the supervisor */
	bool		 active;		/* packets came since the last tick */
	bool		 ready;			/* IPC_READY was sent */
	bool		 ending;
};

static void
capture_count(struct capture *c)
{
	for (size_t i = 0; i < c->taps.count; i++)
		capture_tap_count(&c->taps.tap[i]);
	spool_count_set(c->spool[0], COUNTER_CPU_CAPTURE_US, STATS_AGENT, clock_cpu_us());
}

static void
capture_arm_tick(struct capture *c)
{
	const struct timeval tv = { .tv_sec = TICK_S };

	if (event_pending(c->tick, EV_TIMEOUT, NULL))
		return;
	event_add(c->tick, &tv);
	capture_clock_expect(&c->clock, clock_mono_ns() + TICK_S * UINT64_C(1000000000));
}

/* A guest that was frozen from outside may find its wall clock set right, while no clock of its own has counted that time: how old a
 * lease is, nobody knows then. */
static bool
capture_stepped(const struct capture *c, int64_t wall_ahead_before_ns)
{
	return llabs(c->clock.wall_ahead_ns - wall_ahead_before_ns) >= CAPTURE_CLOCK_STEP_MS * INT64_C(1000000);
}

/* What it finds is told in all streams, on the packet that comes next. */
static void
capture_look(void *arg)
{
	struct capture *c = arg;
	int64_t wall_ahead_ns = c->clock.wall_ahead_ns;
	struct capture_clock_now now;
	char text[CAPTURE_CLOCK_TEXT_SIZE];

	if (capture_clock_read(&now) == -1 || !capture_clock_look(&c->clock, &now, text))
		return;
	log_info("%s", text);
	spool_count_add(c->spool[0], COUNTER_CLOCK_STEPS, STATS_AGENT, 1);
	for (size_t i = 0; i < c->taps.count; i++) {
		capture_tap_note(&c->taps.tap[i], text);
		if (capture_stepped(c, wall_ahead_ns))
			capture_lease_end(&c->taps.tap[i]);
	}
}

static void
capture_wait(struct capture *c)
{
	for (size_t i = 0; i < c->taps.count; i++)
		capture_tap_count_and_wait(&c->taps.tap[i]);
	spool_count_set(c->spool[0], COUNTER_CPU_CAPTURE_US, STATS_AGENT, clock_cpu_us());
}

/* Nothing ticks while nothing comes. */
static void
capture_tick(evutil_socket_t fd, short what, void *arg)
{
	struct capture *c = arg;

	(void)fd;
	(void)what;
	capture_look(c);
	capture_clock_expect(&c->clock, 0);
	if (c->active) {
		capture_count(c);
		capture_arm_tick(c);
	} else {
		capture_wait(c);
	}
	c->active = false;
}

static void
capture_tap_active(void *arg)
{
	struct capture *c = arg;

	c->active = true;
	capture_arm_tick(c);
	capture_governor_active(&c->governor);
}

static void
capture_tap_result(const struct ipc_tap_result *result, void *arg)
{
	struct capture *c = arg;

	if (c->link != NULL && ipc_send_tap_result(c->link, result) == -1)
		log_warn("link role: %s", strerror(errno));
	if (result->accepted && !c->ready)
		c->ready = ipc_send(c->supervisor, IPC_READY, NULL, 0, NULL, 0) == 0;
}

static void
capture_tap_last(uint8_t tap, const struct msg_stats *stats, void *arg)
{
	struct capture *c = arg;

	if (c->link != NULL && ipc_send_last_stats(c->link, tap, stats) == -1)
		log_warn("link role: %s", strerror(errno));
}

static void
capture_tap_gone(const struct ipc_interface_gone *gone, void *arg)
{
	struct capture *c = arg;

	if (c->link != NULL && ipc_send_interface_gone(c->link, gone) == -1)
		log_warn("link role: %s", strerror(errno));
}

static void
capture_tap_governed(uint8_t tap, bool in_force, void *arg)
{
	struct capture *c = arg;

	capture_governor_answer(&c->governor, tap, in_force);
}

static void
capture_tap_ended(void *arg)
{
	struct capture *c = arg;

	for (size_t i = 0; i < c->taps.count; i++)
		if (!capture_tap_over(&c->taps.tap[i]))
			return;
	event_base_loopbreak(c->base);
}

static const struct capture_tap_callbacks tap_callbacks = {
	.result = capture_tap_result,
	.gone = capture_tap_gone,
	.active = capture_tap_active,
	.ended = capture_tap_ended,
	.last = capture_tap_last,
	.governed = capture_tap_governed,
	.look = capture_look,
};

static void
capture_end(struct capture *c, uint32_t left_ms)
{
	uint32_t ms = left_ms > END_SPARE_MS ? left_ms - END_SPARE_MS : 0;
	const struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000 * 1000) };

	if (c->ending)
		return;
	c->ending = true;
	event_add(c->deadline, &tv);
	for (size_t i = 0; i < c->taps.count; i++)
		capture_tap_end(&c->taps.tap[i]);
}

static void
capture_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct capture *c = arg;

	(void)fd;
	(void)what;
	log_warn("the rings could not be emptied in time");
	event_base_loopbreak(c->base);
}

/* Up to this one; -1 with errno. Orders of the governor go to all taps, and to those that come later with their first change. */
static int
capture_make_taps(struct capture *c, size_t count)
{
	for (; c->taps.count < count; c->taps.count++) {
		uint8_t i = (uint8_t)c->taps.count;

		if (c->spool[i] == NULL && (c->spool[i] = spool_attach(ROLE_FD_SPOOL + i, SPOOL_PRODUCER)) == NULL)
			return -1;
		spool_set_wake_fd(c->spool[i], ROLE_FD_WAKE + i);
		if (capture_tap_init(&c->taps.tap[i], i, c->base, c->spool[i], &c->totals, &tap_callbacks, c) == -1)
			return -1;
		capture_tap_set_options(&c->taps.tap[i], c->options);
		c->taps.tap[i].orders = c->governor.governor.orders;
	}
	return 0;
}

/* A tap that never captured costs nothing: it is off without being there. */
static void
capture_change(struct capture *c, const struct ipc_tap *want)
{
	struct ipc_tap_result result = { .tap = want->tap, .version = want->version, .accepted = !want->active };

	if (c->ending)
		return;
	if (want->tap < c->taps.count || (want->active && capture_make_taps(c, want->tap + 1u) == 0)) {
		capture_tap_change(&c->taps.tap[want->tap], want);
		return;
	}
	if (want->active)
		snprintf(result.reason, sizeof(result.reason), "tap %u: %s", want->tap, strerror(errno));
	capture_tap_result(&result, c);
}

static void
link_tap(struct capture *c, const struct ipc_message *message)
{
	struct ipc_tap *want;

	if ((want = malloc(sizeof(*want))) == NULL) {
		log_error("no memory for a change of what is captured");
		return;
	}
	if (ipc_get_tap(message, want) == -1)
		log_warn("link role: malformed message");
	else
		capture_change(c, want);
	free(want);
}

static void
link_lease(struct capture *c, const struct ipc_message *message)
{
	struct ipc_lease lease;

	if (ipc_get_lease(message, &lease) == -1)
		log_warn("link role: malformed message");
	else if (lease.tap < c->taps.count)
		capture_lease_renew(&c->taps.tap[lease.tap], lease.peers_until_ns);
}

static void
link_linktype(struct capture *c, const struct ipc_message *message)
{
	struct ipc_tap_interface interface = { 0 };
	struct ipc_linktype linktype;

	if (ipc_get_linktype(message, &linktype) == -1) {
		log_warn("link role: malformed message");
		return;
	}
	interface.ifindex = linktype.ifindex;
	memcpy(interface.name, linktype.name, sizeof(interface.name));
	linktype.reason[0] = '\0';
	linktype.linktype = capture_linktype(&c->linktypes, &interface, linktype.reason);
	if (ipc_send_linktype(c->link, IPC_LINKTYPE, &linktype) == -1)
		log_warn("link role: %s", strerror(errno));
}

static void
link_count(struct capture *c, const struct ipc_message *message)
{
	uint8_t tap;

	if (ipc_get_count(message, &tap) == -1) {
		log_warn("link role: malformed message");
		return;
	}
	if (tap < c->taps.count)
		capture_tap_publish(&c->taps.tap[tap]);
	if (ipc_send_count(c->link, IPC_COUNTED, tap) == -1)
		log_warn("link role: %s", strerror(errno));
}

static void
link_message(struct ipc *ipc, struct ipc_message *message, void *arg)
{
	(void)ipc;
	switch (message->type) {
	case IPC_TAP:
		link_tap(arg, message);
		break;
	case IPC_LEASE:
		link_lease(arg, message);
		break;
	case IPC_LINKTYPE_REQUEST:
		link_linktype(arg, message);
		break;
	case IPC_COUNT_REQUEST:
		link_count(arg, message);
		break;
	default:
		log_warn("link role: unexpected message %d", (int)message->type);
	}
}

static void
link_closed(struct ipc *ipc, void *arg)
{
	struct capture *c = arg;

	ipc_free(ipc);
	c->link = NULL;
}

static const struct ipc_callbacks link_callbacks = { .message = link_message, .closed = link_closed };

static void
capture_set_link(struct capture *c, int fd)
{
	ipc_free(c->link);
	if ((c->link = ipc_new(c->base, fd, &link_callbacks, c)) == NULL) {
		log_error("link role: %s", strerror(errno));
		close(fd);
	}
}

static void
capture_use_options(struct capture *c, struct agent_options *options)
{
	for (size_t i = 0; i < c->taps.count; i++)
		capture_tap_set_options(&c->taps.tap[i], options);
	capture_governor_set_options(&c->governor, options);
	agent_options_free(c->options);
	free(c->options);
	c->options = options;
}

/* New settings are looked at as a whole before the first of them is used. */
static int
capture_check_options(struct capture *c, const struct agent_options *options)
{
	char error[MSG_TEXT_SIZE];

	for (size_t i = 0; i < c->taps.count; i++)
		if (capture_change_check(&c->taps.tap[i], options, error) == -1) {
			log_error("the configuration is not used, the one before stays: %s", error);
			return -1;
		}
	return 0;
}

static void
capture_reload(struct capture *c, int fd)
{
	struct agent_options *options = calloc(1, sizeof(*options));
	struct conf_error error = { "no memory" };

	if (options == NULL || agent_options_read(options, fd, &error) == -1) {
		log_error("configuration: %s", error.text);
		free(options);
		return;
	}
	if (capture_check_options(c, options) == -1) {
		agent_options_free(options);
		free(options);
		return;
	}
	capture_use_options(c, options);
	for (size_t i = 0; i < c->taps.count; i++)
		capture_tap_reload(&c->taps.tap[i]);
}

static void
supervisor_message(struct ipc *ipc, struct ipc_message *message, void *arg)
{
	struct capture *c = arg;
	uint32_t left_ms;

	(void)ipc;
	switch (message->type) {
	case IPC_CONFIG:
		if (message->fd_count == 1)
			capture_reload(c, message->fd[0]);
		break;
	case IPC_PEER:
		if (message->fd_count == 1) {
			capture_set_link(c, message->fd[0]);
			message->fd[0] = -1;
		}
		break;
	case IPC_SHUTDOWN:
		capture_end(c, ipc_get_shutdown(message, &left_ms) == 0 ? left_ms : 0);
		break;
	case IPC_DUMP:
		for (size_t i = 0; i < c->taps.count; i++)
			capture_tap_log(&c->taps.tap[i]);
		break;
	default:
		log_warn("supervisor: unexpected message %d", (int)message->type);
	}
}

static void
supervisor_closed(struct ipc *ipc, void *arg)
{
	struct capture *c = arg;

	ipc_free(ipc);
	c->supervisor = NULL;
	log_error("the supervisor is gone");
	event_base_loopbreak(c->base);
}

static const struct ipc_callbacks supervisor_callbacks = { .message = supervisor_message, .closed = supervisor_closed };

/* Without it nothing is known of the time before, which has to do. */
static void
capture_attach_last(struct capture *c)
{
	void *map = mmap(NULL, sizeof(*c->last), PROT_READ | PROT_WRITE, MAP_SHARED, ROLE_FD_LAST, 0);

	c->last = map != MAP_FAILED ? map : NULL;
}

static void
capture_begin(struct capture *c)
{
	if ((c->base = event_base_new()) == NULL)
		fatal("no event loop: %s", strerror(errno));
	c->tick = evtimer_new(c->base, capture_tick, c);
	c->deadline = evtimer_new(c->base, capture_deadline, c);
	c->supervisor = ipc_new(c->base, ROLE_FD_SUPERVISOR, &supervisor_callbacks, c);
	capture_set_link(c, ROLE_FD_PEER);
	if (c->tick == NULL || c->deadline == NULL || c->supervisor == NULL || c->link == NULL)
		fatal("start: %s", strerror(errno));
	capture_attach_last(c);
	if (capture_governor_init(&c->governor, c->base, &c->taps, &c->totals) == -1 || capture_make_taps(c, 1) == -1)
		fatal("start: %s", strerror(errno));
	c->totals.spool = c->spool[0];
	c->taps.tap[0].last = c->last;
	capture_governor_set_options(&c->governor, c->options);
	capture_look(c);
}

static void
capture_clear(struct capture *c)
{
	for (size_t i = 0; i < c->taps.count; i++) {
		capture_tap_end_now(&c->taps.tap[i]);
		capture_tap_clear(&c->taps.tap[i]);
	}
	capture_governor_clear(&c->governor);
	spool_count_set(c->spool[0], COUNTER_CPU_CAPTURE_US, STATS_AGENT, clock_cpu_us());
	for (size_t i = 0; i < IPC_TAPS_MAX; i++)
		spool_detach(c->spool[i]);
	if (c->last != NULL)
		munmap(c->last, sizeof(*c->last));
	ipc_free(c->link);
	ipc_free(c->supervisor);
	event_free(c->tick);
	event_free(c->deadline);
	event_base_free(c->base);
	agent_options_free(c->options);
	free(c->options);
}

int
capture_main(void)
{
	struct capture *c = calloc(1, sizeof(*c));

	if (c == NULL || (c->options = calloc(1, sizeof(*c->options))) == NULL)
		fatal("start: %s", strerror(errno));
	role_begin(ROLE_CAPTURE, c->options);
	capture_begin(c);
	role_sandbox();
	event_base_dispatch(c->base);
	capture_clear(c);
	free(c);
	return 0;
}
