/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdio.h>

#include <event2/event.h>

#include "common/log.h"
#include "agent/capture_ring.h"

/* Programs into a ring and into the sockets of its ledger. Those may fail: then only the ring counts. */

static int
place_exchange(struct capture_ring *r, enum capture_program_use place, struct capture_programs *programs, char error[MSG_TEXT_SIZE])
{
	struct capture_program *attached = &r->programs.of[place], *next = &programs->of[place], before = *attached;
	int fd = place == PROGRAM_TAP ? r->fd : r->ledger.fd[place];

	if (fd != -1 && !capture_program_equal(attached, next) && capture_filter_attach(fd, r->name, next, error) == -1)
		return -1;
	*attached = *next;
	*next = before;
	return 0;
}

static void
counting_end(struct capture_ring *r, const char *why)
{
	if (!r->uncounted)
		log_warn("%s; capture goes on, and what the filter refuses there is not counted", why);
	r->uncounted = true;
	if (r->offered != NULL)
		event_free(r->offered);
	r->offered = NULL;
	capture_ledger_close(&r->ledger);
	if (r->row != NULL)
		r->row->uncounted = true;
}

/* What is offered is counted for as long as anything else is. On -1 all is as it was. */
static int
counting_exchange(struct capture_ring *r, struct capture_programs *programs, char error[MSG_TEXT_SIZE])
{
	static const enum capture_program_use begin[] = { PROGRAM_OFFERED, PROGRAM_TAKEN, PROGRAM_OWN, PROGRAM_WITHHELD,
		PROGRAM_SAMPLED };
	static const enum capture_program_use end[] = { PROGRAM_TAKEN, PROGRAM_OWN, PROGRAM_WITHHELD, PROGRAM_SAMPLED,
		PROGRAM_OFFERED };
	const enum capture_program_use *order = r->closing ? end : begin;
	char why[MSG_TEXT_SIZE];
	size_t i;

	for (i = 0; i < LEDGER_PLACES; i++)
		if (place_exchange(r, order[i], programs, error) == -1)
			break;
	if (i == LEDGER_PLACES)
		return 0;
	while (i-- > 0)
		if (place_exchange(r, order[i], programs, why) == -1) {
			counting_end(r, why);
			place_exchange(r, order[i], programs, why);
		}
	return -1;
}

static void
counting_fail(struct capture_ring *r, struct capture_programs *programs, char why[MSG_TEXT_SIZE])
{
	counting_end(r, why);
	counting_exchange(r, programs, why);	/* in the books only: nothing is open */
}

/* Of an RPCAP client's tap nothing but what it loses by sampling: each socket takes a share of every packet's time. */
static bool
may_count(const struct capture_ring *r, enum capture_program_use place)
{
	return r->counting || (r->counting_sampled && place == PROGRAM_SAMPLED);
}

/* The order of capture_ledger.h, behind the ring: each packet meets them before it. On -1 nothing more is open than before. */
static int
counting_open(struct capture_ring *r, const struct capture_programs *programs, char error[MSG_TEXT_SIZE])
{
	bool counted = capture_ledger_counts(&r->ledger);
	static const enum capture_program_use order[] = { PROGRAM_OFFERED, PROGRAM_OWN, PROGRAM_TAKEN, PROGRAM_WITHHELD,
		PROGRAM_SAMPLED };

	for (size_t i = 0; i < LEDGER_PLACES; i++) {
		if (!may_count(r, order[i]) || r->ledger.fd[order[i]] != -1 || !programs->state.in_use[order[i]])
			continue;
		if (capture_ledger_open(&r->ledger, order[i], r->ifindex, r->name, &r->programs.of[order[i]], error) == 0)
			continue;
		if (!counted)
			capture_ledger_close(&r->ledger);
		return -1;
	}
	return 0;
}

static void
counting_works(struct capture_ring *r)
{
	if (r->uncounted)
		log_info("%s: what the filter refuses is counted again", r->name);
	r->uncounted = false;
}

/* Each socket takes a share of every packet's time. */
static void
close_unused(struct capture_ring *r)
{
	for (enum capture_program_use place = PROGRAM_WITHHELD; place < LEDGER_PLACES; place++)
		if (!r->programs.state.in_use[place])
			capture_ledger_close_place(&r->ledger, place);
}

/* Refused by the ring, the programs before are in force everywhere, and open is what was. A socket left open under a program that
 * takes nothing would have all that is captured for refused. */
static int
attach_next(struct capture_ring *r, struct capture_programs *programs, char error[MSG_TEXT_SIZE])
{
	bool counted = capture_ledger_counts(&r->ledger), works, opened[LEDGER_PLACES];
	char why[MSG_TEXT_SIZE];

	for (size_t i = 0; i < LEDGER_PLACES; i++)
		opened[i] = r->ledger.fd[i] != -1;

	works = counting_open(r, programs, why) == 0 && counting_exchange(r, programs, why) == 0;
	if (place_exchange(r, PROGRAM_TAP, programs, error) == 0) {
		if (works)
			counting_works(r);
		else
			counting_fail(r, programs, why);
		return 0;
	}
	if (works && counting_exchange(r, programs, why) == -1)
		counting_fail(r, programs, why);
	if (r->counting && !counted)
		capture_ledger_close(&r->ledger);
	for (unsigned place = PROGRAM_TAKEN; place < LEDGER_PLACES; place++)
		if (!opened[place])
			capture_ledger_close_place(&r->ledger, (enum capture_program_use)place);
	return -1;
}

static int
attach_last(struct capture_ring *r, struct capture_programs *programs, char error[MSG_TEXT_SIZE])
{
	char why[MSG_TEXT_SIZE];

	if (place_exchange(r, PROGRAM_TAP, programs, error) == -1)
		return -1;
	if (counting_exchange(r, programs, why) == -1)
		counting_fail(r, programs, why);
	return 0;
}

int
capture_ring_attach(struct capture_ring *r, struct capture_programs *programs, char error[MSG_TEXT_SIZE])
{
	struct capture_programs_state before = r->programs.state;
	int result;

	capture_ring_poll(r);
	result = r->closing ? attach_last(r, programs, error) : attach_next(r, programs, error);
	capture_ledger_poll_switched(&r->ledger);
	if (result == -1)
		return -1;
	r->programs.state = programs->state;
	programs->state = before;
	if (r->armed)
		capture_ring_set_boundary(r);
	close_unused(r);
	r->armed = true;	/* until now nothing passed, so the boundary stays where it was */
	return 0;
}

void
capture_ring_close_begin(struct capture_ring *r)
{
	struct capture_programs nothing;
	char error[MSG_TEXT_SIZE];

	capture_ring_poll(r);	/* the interface's count, while all that it counts is captured */
	r->closing = true;
	r->has_next = false;
	if (capture_programs_nothing(&nothing) == -1 || capture_ring_attach(r, &nothing, error) == -1)
		capture_ring_set_boundary(r);
	r->unsettled = true;
	capture_programs_clear(&nothing);
}
