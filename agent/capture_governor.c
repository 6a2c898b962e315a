/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "common/clock.h"
#include "common/log.h"
#include "agent/agent.h"
#include "agent/capture_governor.h"
#include "agent/capture_tap.h"
#include "agent/spool.h"

#define FILE_SHOWN	512	/* bytes of it that hold what is looked for */
#define LOG_MS		10000	/* steps are logged no closer; the stream has them all */

/* --- what the guest says of itself --- */

/* The number behind the word, past so many others. 0: not there. */
static uint64_t
file_number(int fd, const char *word, unsigned past)
{
	char text[FILE_SHOWN + 1];
	ssize_t n = fd != -1 ? pread(fd, text, FILE_SHOWN, 0) : -1;
	char *p;

	if (n <= 0)
		return 0;
	text[n] = '\0';
	if ((p = strstr(text, word)) == NULL)
		return 0;
	for (p += strlen(word); past > 0; past--)
		strtoull(p, &p, 10);
	return strtoull(p, NULL, 10);
}

/* /proc/pressure/cpu: "some avg10=0.00 avg60=0.00 avg300=0.00 total=12345", in microseconds. */
static uint64_t
stalled_us(const struct capture_governor *c)
{
	return file_number(c->pressure_fd, "total=", 0);
}

/* /proc/stat: "cpu user nice system idle iowait irq softirq steal ...", in ticks of all CPUs. */
static uint64_t
stolen_us(const struct capture_governor *c)
{
	return file_number(c->stat_fd, "cpu ", 7) * (uint64_t)c->tick_us / (uint64_t)c->cpus;
}

/* A link role that was started again counts from 0. */
static uint64_t
roles_cpu_us(struct capture_governor *c)
{
	uint64_t link_us = spool_count_get(c->totals->spool, COUNTER_CPU_LINK_US, STATS_AGENT);

	if (link_us < c->link_us)
		c->link_before_us += c->link_us;
	c->link_us = link_us;
	return clock_cpu_us() + c->link_before_us + link_us;
}

/* Operators' taps count only what passes their filters. */
static void
look_at_taps(struct capture_governor *c, struct governor_sample *s)
{
	s->left_out_known = capture_tap_ledger(&c->taps->tap[0]) == LEDGER_KERNEL;
	for (const struct capture_tap *tap = c->taps->tap; tap < c->taps->tap + c->taps->count; tap++) {
		s->left_out_known &= tap->number == 0 || !tap->want.active;
		s->disturbed |= tap->stopped || tap->changing;
		s->sent += spool_count_get(tap->stream.spool, COUNTER_BYTES_SENT, STATS_AGENT);
		if (tap->want.active && tap->want.interface_count > s->interfaces)
			s->interfaces = tap->want.interface_count;
	}
}

/* A disk spool begins where the memory is half full: then a link that is slow is its part. */
static void
take_sample(struct capture_governor *c, struct governor_sample *s)
{
	const struct capture_totals *t = c->totals;

	for (size_t i = 0; i < c->taps->count; i++)
		capture_tap_poll(&c->taps->tap[i]);	/* into the totals */
	*s = (struct governor_sample){ .now_ns = clock_mono_ns(), .cpu_us = roles_cpu_us(c), .packets = t->packets,
		.left_out = t->left_out, .encoded = t->encoded, .ring_received = t->ring_received, .ring_dropped = t->ring_dropped,
		.spool_percent = c->spills ? 0 : (unsigned)(spool_used(t->spool) * 100 / spool_size(t->spool)),
		.stalled_us = stalled_us(c), .stolen_us = stolen_us(c) };
	look_at_taps(c, s);
}

/* --- looking --- */

static void
arm_look(struct capture_governor *c)
{
	const struct timeval tv = { .tv_sec = GOVERNOR_LOOK_MS / 1000, .tv_usec = GOVERNOR_LOOK_MS % 1000 * 1000 };

	if (!event_pending(c->look, EV_TIMEOUT, NULL))
		event_add(c->look, &tv);
}

static void
tell_counters(const struct capture_governor *c)
{
	const struct governor_orders *orders = &c->governor.in_force;
	struct spool *spool = c->totals->spool;

	spool_count_set(spool, COUNTER_GOVERNOR_STEPS, STATS_AGENT, c->steps);
	spool_count_set(spool, COUNTER_GOVERNOR_LEVEL, STATS_AGENT, governor_orders_level(orders));
	spool_count_set(spool, COUNTER_KEPT_FLOWS, STATS_AGENT, orders->keep);
}

static void
give_orders(struct capture_governor *c)
{
	static struct log_limit limit;
	char text[GOVERNOR_TEXT_SIZE + 32];

	snprintf(text, sizeof(text), "governor: %s", c->governor.text);
	log_limited(&limit, LOG_MS, LOG_LEVEL_INFO, "%s", text);
	c->steps++;
	c->waiting = (unsigned)c->taps->count;
	c->refused = false;
	for (size_t i = 0; i < c->taps->count; i++)
		capture_tap_govern(&c->taps->tap[i], &c->governor.orders, text);
}

static void
on_look(evutil_socket_t fd, short what, void *arg)
{
	struct capture_governor *c = arg;
	struct governor_sample sample;

	(void)fd;
	(void)what;
	take_sample(c, &sample);
	if (c->waiting == 0 && governor_look(&c->governor, &sample))
		give_orders(c);
	if (c->active || !governor_idle(&c->governor))
		arm_look(c);
	c->active = false;
}

void
capture_governor_active(struct capture_governor *c)
{
	c->active = true;
	arm_look(c);
}

/* An operator's tap that refuses goes on as it is. */
void
capture_governor_answer(struct capture_governor *c, uint8_t tap, bool in_force)
{
	struct governor_sample sample;

	c->refused |= tap == 0 && !in_force;
	if (c->waiting > 0 && --c->waiting > 0)
		return;
	if (c->refused) {
		log_warn("the governor goes without slices and samples from here on");
		governor_refused(&c->governor);
	}
	c->refused = false;
	take_sample(c, &sample);
	governor_applied(&c->governor, &sample);
	tell_counters(c);
}

void
capture_governor_set_options(struct capture_governor *c, const struct agent_options *options)
{
	struct governor_limits limits = { .cpu_percent = options->cpu_limit };
	char error[256];

	if (governor_parse_ladder(options->ladder, &limits.ladder, error, sizeof(error)) == -1)
		log_warn("ladder: %s: the governor does nothing", error);
	governor_set_limits(&c->governor, &limits);
	c->spills = options->spool_disk > 0;
	tell_counters(c);
}

int
capture_governor_init(struct capture_governor *c, struct event_base *base, struct capture_taps *taps,
    const struct capture_totals *totals)
{
	static const struct governor_limits none;

	memset(c, 0, sizeof(*c));
	governor_init(&c->governor, &none);
	c->taps = taps;
	c->totals = totals;
	c->tick_us = 1000000 / sysconf(_SC_CLK_TCK);
	c->cpus = sysconf(_SC_NPROCESSORS_ONLN);
	c->pressure_fd = open("/proc/pressure/cpu", O_RDONLY | O_CLOEXEC);
	c->stat_fd = open("/proc/stat", O_RDONLY | O_CLOEXEC);
	c->look = evtimer_new(base, on_look, c);
	return c->look != NULL ? 0 : -1;
}

void
capture_governor_clear(struct capture_governor *c)
{
	if (c->look != NULL)
		event_free(c->look);
	if (c->pressure_fd != -1)
		close(c->pressure_fd);
	if (c->stat_fd != -1)
		close(c->stat_fd);
}
