/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "agent/link_breaker.h"

#define MS			UINT64_C(1000000)
#define SECOND			(1000 * MS)
#define WINDOW_NS		SECOND
#define WINDOW_STALE_NS		(2 * SECOND)	/* ticks had stopped: nothing was sent */
#define STREAK			3		/* suspicious windows before a trial */
#define DRAIN_MAX_NS		(5 * SECOND)
#define DRAIN_TICK_NS		(20 * MS)
#define TRIAL_TICK_NS		(50 * MS)
#define DELIVERED_MAX		4096		/* bytes in TCP that count as none */
#define TAIL_SLACK		(1024u * 1024)
#define QUIET_PARTS_MAX		4		/* a hold's length is random, too */
#define SPACE_MIN_PARTS		2
#define SPACE_RANDOM_MS		2000
#define INNOCENT_MIN_NS		(60 * SECOND)
#define INNOCENT_MAX_NS		(900 * SECOND)
#define INNOCENT_GROWTH		4		/* so many times the rate found innocent: tried at once, for a loop starts small */
#define PAUSE_MIN_NS		(300 * SECOND)
#define PAUSE_MAX_NS		(4 * 3600 * SECOND)
#define PAUSE_FORGET_NS		(3600 * SECOND)	/* this long without a loop: the next pause is a short one again */

enum breaker_state {
	BREAKER_WATCH,		/* windows of a second */
	BREAKER_DRAIN,		/* held: TCP empties */
	BREAKER_SETTLE,		/* held: ring and open block empty */
	BREAKER_QUIET,		/* held: does it stay silent? */
	BREAKER_RECOVER,	/* does it come back? */
	BREAKER_SPACE		/* a random while before the next trial */
};

struct watch {
	struct breaker_sample is;	/* bytes: as last given */
	uint64_t	total;		/* since first seen */
	uint64_t	mark;		/* total at the begin of the state */
	uint64_t	hold_mark;	/* total at the begin of the hold, then at the end of the drain */
	uint64_t	part_mark;	/* total at the begin of this part of it */
	uint64_t	rate;		/* bytes a second before the trial */
	uint64_t	window_rate[STREAK];
	unsigned	streak, trials;
	bool		used, seen, suspect, paused;
	uint64_t	next_ns;	/* no trial before */
	uint64_t	innocent_ns;	/* how long the last verdict held */
	uint64_t	innocent_rate;	/* the largest rate found innocent */
	uint64_t	resume_ns;	/* end of the pause, then when it ended */
	uint64_t	pause_ns;
};

struct breaker {
	struct breaker_options options;
	enum breaker_state state;
	uint64_t	state_ns;	/* since when */
	uint64_t	end_ns;		/* until when, where the state has an end of its own */
	uint64_t	part_ns;	/* since when, this part of it */
	uint64_t	due_ns;
	uint64_t	sent_mark;
	uint64_t	hold_limit;	/* bytes captured in a hold that no loop explains */
	uint64_t	random;
	struct watch	watch[BREAKER_WATCHES_MAX];
};

struct breaker *
breaker_new(const struct breaker_options *options)
{
	struct breaker *b = calloc(1, sizeof(*b));

	if (b == NULL)
		return NULL;
	b->options = *options;
	b->random = options->seed | 1;
	b->due_ns = BREAKER_NEVER;
	return b;
}

void
breaker_free(struct breaker *b)
{
	free(b);
}

void
breaker_set_flush(struct breaker *b, uint64_t flush_ns)
{
	b->options.flush_ns = flush_ns;
}

/* xorshift64: the distances need only be hard for ordinary traffic to fall in step with. */
static uint64_t
breaker_random(struct breaker *b, uint64_t below)
{
	b->random ^= b->random << 13;
	b->random ^= b->random >> 7;
	b->random ^= b->random << 17;
	return b->random % below;
}

static uint64_t
settle_ns(const struct breaker *b)
{
	return 2 * b->options.flush_ns + 50 * MS;
}

/* One part of what is looked at as a whole: at least two blocks seal in it while packets come. */
static uint64_t
part_length_ns(const struct breaker *b)
{
	return b->options.flush_ns * 5 / 2 + 50 * MS;
}

static uint64_t
rate_of(uint64_t bytes, uint64_t ns)
{
	return ns == 0 ? 0 : (uint64_t)((double)bytes * (double)SECOND / (double)ns);
}

static uint64_t
bytes_in(uint64_t rate, uint64_t ns)
{
	return (uint64_t)((double)rate * (double)ns / (double)SECOND);
}

static bool
watch_is(const struct watch *w, uint8_t tap, uint32_t ifindex)
{
	return w->used && w->is.tap == tap && w->is.ifindex == ifindex;
}

static struct watch *
watch_find(struct breaker *b, const struct breaker_sample *sample)
{
	size_t i;

	for (i = 0; i < BREAKER_WATCHES_MAX; i++)
		if (watch_is(&b->watch[i], sample->tap, sample->ifindex))
			return &b->watch[i];
	return NULL;
}

/* A free place, or that of an interface not seen for now. */
static struct watch *
watch_add(struct breaker *b, const struct breaker_sample *sample)
{
	struct watch *w = NULL;
	size_t i;

	for (i = 0; i < BREAKER_WATCHES_MAX && (w == NULL || w->used); i++)
		if (!b->watch[i].used || (w == NULL && !b->watch[i].seen && !b->watch[i].paused))
			w = &b->watch[i];
	if (w == NULL)
		return NULL;
	memset(w, 0, sizeof(*w));
	w->used = true;
	w->is = *sample;
	w->pause_ns = PAUSE_MIN_NS;
	return w;
}

static void
take_samples(struct breaker *b, const struct breaker_input *in)
{
	const struct breaker_sample *sample;
	struct watch *w;
	size_t i;

	for (i = 0; i < BREAKER_WATCHES_MAX; i++)
		b->watch[i].seen = false;
	for (i = 0; i < in->count; i++) {
		sample = &in->sample[i];
		if ((w = watch_find(b, sample)) == NULL && (w = watch_add(b, sample)) == NULL)
			continue;
		w->seen = true;
		w->total += sample->bytes >= w->is.bytes ? sample->bytes - w->is.bytes : sample->bytes;
		w->is.bytes = sample->bytes;
	}
}

static void
change_state(struct breaker *b, enum breaker_state state, const struct breaker_input *in, uint64_t length_ns)
{
	size_t i;

	b->state = state;
	b->state_ns = in->now_ns;
	b->end_ns = in->now_ns + length_ns;
	b->sent_mark = in->sent;
	for (i = 0; i < BREAKER_WATCHES_MAX; i++)
		b->watch[i].mark = b->watch[i].total;
}

/* --- verdicts --- */

static void
tell(struct breaker *b, enum breaker_verdict verdict, const struct watch *w)
{
	if (b->options.verdict != NULL)
		b->options.verdict(verdict, &w->is, w->pause_ns, b->options.arg);
}

static void
acquit(struct breaker *b, struct watch *w, enum breaker_verdict verdict, uint64_t now_ns)
{
	w->innocent_ns = w->innocent_ns == 0 ? INNOCENT_MIN_NS : w->innocent_ns * 2;
	if (w->innocent_ns > INNOCENT_MAX_NS)
		w->innocent_ns = INNOCENT_MAX_NS;
	w->next_ns = now_ns + w->innocent_ns;
	if (w->innocent_rate < w->rate)
		w->innocent_rate = w->rate;
	w->suspect = false;
	w->trials = w->streak = 0;
	tell(b, verdict, w);
}

static void
convict(struct breaker *b, struct watch *w, uint64_t now_ns)
{
	if (w->resume_ns != 0)
		w->pause_ns = now_ns - w->resume_ns > PAUSE_FORGET_NS ? PAUSE_MIN_NS : w->pause_ns * 2;
	if (w->pause_ns > PAUSE_MAX_NS)
		w->pause_ns = PAUSE_MAX_NS;
	w->paused = true;
	w->resume_ns = now_ns + w->pause_ns;
	w->suspect = false;
	w->innocent_ns = w->innocent_rate = 0;
	w->trials = w->streak = 0;
	tell(b, BREAKER_LOOP, w);
}

static bool
any_suspect(const struct breaker *b)
{
	size_t i;

	for (i = 0; i < BREAKER_WATCHES_MAX; i++)
		if (b->watch[i].suspect)
			return true;
	return false;
}

/* --- the states --- */

/* More than twice of what is sent cannot be mostly what is sent, headers included: ordinary traffic that compresses well. */
static bool
rates_alike(uint64_t rate, uint64_t sent_rate)
{
	return sent_rate >= BREAKER_RATE_MIN && rate >= sent_rate / 10 * 9 && rate <= 2 * sent_rate;
}

static void
window_count(struct watch *w, uint64_t rate, uint64_t sent_rate, bool stale)
{
	memmove(w->window_rate + 1, w->window_rate, (STREAK - 1) * sizeof(w->window_rate[0]));
	w->window_rate[0] = rate;
	if (stale || w->paused || !w->seen || !rates_alike(rate, sent_rate))
		w->streak = 0;
	else
		w->streak++;
}

static void
suspect(struct watch *w, uint64_t now_ns)
{
	uint64_t sum = 0;
	size_t i;

	for (i = 0; i < STREAK; i++)
		sum += w->window_rate[i];
	if (w->streak < STREAK || (now_ns < w->next_ns && sum / STREAK < INNOCENT_GROWTH * w->innocent_rate))
		return;
	w->rate = sum / STREAK;
	w->suspect = true;
	w->trials = 0;
}

static void
part_begin(struct breaker *b, uint64_t now_ns)
{
	struct watch *w;

	b->part_ns = now_ns;
	for (w = b->watch; w < b->watch + BREAKER_WATCHES_MAX; w++)
		w->part_mark = w->total;
}

static void
hold_begin(struct breaker *b, const struct breaker_input *in)
{
	size_t i;

	for (i = 0; i < BREAKER_WATCHES_MAX; i++)
		b->watch[i].hold_mark = b->watch[i].total;
	b->hold_limit = 2 * in->unsent + b->options.tail_max + TAIL_SLACK;
	change_state(b, BREAKER_DRAIN, in, DRAIN_MAX_NS);
}

static void
in_watch(struct breaker *b, const struct breaker_input *in)
{
	uint64_t elapsed_ns = in->now_ns - b->state_ns, sent_rate = rate_of(in->sent - b->sent_mark, elapsed_ns);
	struct watch *w;

	if (elapsed_ns < WINDOW_NS)
		return;
	for (w = b->watch; w < b->watch + BREAKER_WATCHES_MAX; w++) {
		if (!w->used)
			continue;
		window_count(w, rate_of(w->total - w->mark, elapsed_ns), sent_rate, elapsed_ns > WINDOW_STALE_NS);
		suspect(w, in->now_ns);
	}
	if (any_suspect(b))
		hold_begin(b, in);
	else
		change_state(b, BREAKER_WATCH, in, WINDOW_NS);
}

/* What comes in spite of the hold, more than any loop had left on its way. */
static void
acquit_flowing(struct breaker *b, const struct breaker_input *in, bool quiet)
{
	struct watch *w;

	for (w = b->watch; w < b->watch + BREAKER_WATCHES_MAX; w++) {
		if (!w->suspect)
			continue;
		if (w->total - w->hold_mark > b->hold_limit || (quiet && w->total - w->part_mark > bytes_in(w->rate, part_length_ns(b)) / 5))
			acquit(b, w, BREAKER_INNOCENT, in->now_ns);
	}
}

static void
in_drain(struct breaker *b, const struct breaker_input *in)
{
	struct watch *w;

	acquit_flowing(b, in, false);
	if (in->unsent <= DELIVERED_MAX) {
		for (w = b->watch; w < b->watch + BREAKER_WATCHES_MAX; w++)
			w->hold_mark = w->total;
		b->hold_limit = b->options.tail_max + TAIL_SLACK;
		change_state(b, BREAKER_SETTLE, in, settle_ns(b));
	} else if (in->now_ns >= b->end_ns) {
		for (w = b->watch; w < b->watch + BREAKER_WATCHES_MAX; w++)
			if (w->suspect)
				acquit(b, w, BREAKER_UNCLEAR, in->now_ns);
	}
}

static void
in_settle(struct breaker *b, const struct breaker_input *in)
{
	acquit_flowing(b, in, false);
	if (in->now_ns < b->end_ns)
		return;
	part_begin(b, in->now_ns);
	change_state(b, BREAKER_QUIET, in, part_length_ns(b) * (1 + breaker_random(b, QUIET_PARTS_MAX)));
}

static void
in_quiet(struct breaker *b, const struct breaker_input *in)
{
	acquit_flowing(b, in, true);
	if (in->now_ns - b->part_ns >= part_length_ns(b))
		part_begin(b, in->now_ns);
	if (in->now_ns >= b->end_ns)
		change_state(b, BREAKER_RECOVER, in, settle_ns(b) + part_length_ns(b));
}

static void
in_recover(struct breaker *b, const struct breaker_input *in)
{
	struct watch *w;

	if (in->now_ns < b->end_ns)
		return;
	for (w = b->watch; w < b->watch + BREAKER_WATCHES_MAX; w++) {
		if (!w->suspect)
			continue;
		if (w->total - w->mark < bytes_in(w->rate, part_length_ns(b)) / 2)
			acquit(b, w, BREAKER_INNOCENT, in->now_ns);
		else if (++w->trials == BREAKER_TRIALS)
			convict(b, w, in->now_ns);
	}
	part_begin(b, in->now_ns);
	change_state(b, BREAKER_SPACE, in, SPACE_MIN_PARTS * part_length_ns(b) + breaker_random(b, SPACE_RANDOM_MS) * MS);
}

/* A loop is never silent while sending goes on; traffic whose own pauses fell into the holds is, sooner or later. */
static void
acquit_pausing(struct breaker *b, const struct breaker_input *in)
{
	struct watch *w;

	if (in->now_ns - b->part_ns < part_length_ns(b))
		return;
	for (w = b->watch; w < b->watch + BREAKER_WATCHES_MAX; w++)
		if (w->suspect && w->total - w->part_mark < bytes_in(w->rate, in->now_ns - b->part_ns) / 4)
			acquit(b, w, BREAKER_INNOCENT, in->now_ns);
	part_begin(b, in->now_ns);
}

/* The while between trials measures anew what "before" is. */
static void
in_space(struct breaker *b, const struct breaker_input *in)
{
	uint64_t elapsed_ns = in->now_ns - b->state_ns, sent_rate = rate_of(in->sent - b->sent_mark, elapsed_ns);
	struct watch *w;

	acquit_pausing(b, in);
	if (in->now_ns < b->end_ns)
		return;
	for (w = b->watch; w < b->watch + BREAKER_WATCHES_MAX; w++) {
		if (!w->suspect)
			continue;
		w->rate = rate_of(w->total - w->mark, elapsed_ns);
		if (sent_rate < BREAKER_RATE_MIN || w->rate < sent_rate / 4 * 3)
			acquit(b, w, BREAKER_INNOCENT, in->now_ns);
	}
	hold_begin(b, in);
}

static void
end_pauses(struct breaker *b, uint64_t now_ns)
{
	struct watch *w;

	for (w = b->watch; w < b->watch + BREAKER_WATCHES_MAX; w++) {
		if (!w->paused || now_ns < w->resume_ns)
			continue;
		w->paused = false;
		w->resume_ns = now_ns;
		tell(b, BREAKER_AGAIN, w);
	}
}

static uint64_t
next_due(const struct breaker *b, uint64_t now_ns)
{
	uint64_t due_ns = BREAKER_NEVER;
	const struct watch *w;

	for (w = b->watch; w < b->watch + BREAKER_WATCHES_MAX; w++)
		if (w->paused && w->resume_ns < due_ns)
			due_ns = w->resume_ns;
	if (b->state == BREAKER_WATCH)
		return due_ns;
	if (b->state == BREAKER_DRAIN)
		return now_ns + DRAIN_TICK_NS;
	return b->end_ns < now_ns + TRIAL_TICK_NS ? b->end_ns : now_ns + TRIAL_TICK_NS;
}

void
breaker_tick(struct breaker *b, const struct breaker_input *in)
{
	static void (*const in_state[])(struct breaker *, const struct breaker_input *) = {
		[BREAKER_WATCH] = in_watch, [BREAKER_DRAIN] = in_drain, [BREAKER_SETTLE] = in_settle,
		[BREAKER_QUIET] = in_quiet, [BREAKER_RECOVER] = in_recover, [BREAKER_SPACE] = in_space,
	};

	take_samples(b, in);
	end_pauses(b, in->now_ns);
	in_state[b->state](b, in);
	if (b->state != BREAKER_WATCH && !any_suspect(b))
		change_state(b, BREAKER_WATCH, in, WINDOW_NS);
	b->due_ns = next_due(b, in->now_ns);
}

uint64_t
breaker_due_ns(const struct breaker *b)
{
	return b->due_ns;
}

bool
breaker_tries(const struct breaker *b)
{
	return b->state != BREAKER_WATCH;
}

bool
breaker_holds(const struct breaker *b)
{
	return b->state == BREAKER_DRAIN || b->state == BREAKER_SETTLE || b->state == BREAKER_QUIET;
}

bool
breaker_paused(const struct breaker *b, uint8_t tap, uint32_t ifindex)
{
	size_t i;

	for (i = 0; i < BREAKER_WATCHES_MAX; i++)
		if (watch_is(&b->watch[i], tap, ifindex))
			return b->watch[i].paused;
	return false;
}
