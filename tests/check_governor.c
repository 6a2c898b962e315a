/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "agent/governor.h"

/* A governor and an agent made up: what a packet costs on each rung, and how many come. */

#define LADDER_ALL	0x1fu
#define MS		UINT64_C(1000000)
#define SETTLE_LOOKS	1		/* between orders and their being in force, in looks of half a second */

static struct world {
	struct governor governor;
	struct governor_orders in_force;
	struct governor_sample now;
	double		cpu_ns[4];		/* a packet: all, cheaper codec, stored, sliced */
	double		bytes[4];		/* encoded */
	double		rate;			/* packets a second that the filter passes */
	double		fixed;			/* of a core, whatever comes */
	double		link_rate;		/* bytes a second that the link takes; 0: it is down */
	double		spool, spool_size;
	double		cpu_core;		/* of a core, for us: what is beyond makes the ring drop */
	double		share;			/* in the last look: CPU */
	unsigned	waiting, steps;
} w;

static void
setup(void)
{
	memset(&w, 0, sizeof(w));
	w = (struct world){ .in_force = GOVERNOR_NO_ORDERS, .cpu_ns = { 850, 700, 300, 150 }, .bytes = { 150, 170, 380, 60 },
		.link_rate = 1e9, .spool_size = 16e6, .cpu_core = 1 };
	w.now = (struct governor_sample){ .now_ns = 1000 * MS, .left_out_known = true, .interfaces = 2 };
}

static void
limits(unsigned ladder, uint64_t cpu_percent)
{
	governor_init(&w.governor, &(struct governor_limits){ ladder, cpu_percent });
}

static unsigned
rung_of(const struct governor_orders *orders)
{
	return orders->slice ? 3 : orders->store ? 2 : orders->cheaper ? 1 : 0;
}

/* Half a second of the world. */
static void
live(void)
{
	double seconds = GOVERNOR_LOOK_MS / 1e3, offered = w.rate * seconds, kept, cost = w.cpu_ns[rung_of(&w.in_force)], fill;

	kept = offered * w.in_force.keep / GOVERNOR_KEEP_ALL * (w.now.interfaces - w.in_force.paused) / w.now.interfaces;
	w.now.left_out += (uint64_t)(offered - kept);
	w.now.ring_received += (uint64_t)kept;
	if (kept * cost > w.cpu_core * seconds * 1e9) {
		w.now.ring_dropped += (uint64_t)(kept - w.cpu_core * seconds * 1e9 / cost);
		kept = w.cpu_core * seconds * 1e9 / cost;
	}
	w.now.packets += (uint64_t)kept;
	w.now.cpu_us += (uint64_t)(kept * cost / 1e3 + w.fixed * seconds * 1e6);
	w.share = kept * cost / 1e9 / seconds + w.fixed;
	w.now.encoded += (uint64_t)(kept * w.bytes[rung_of(&w.in_force)]);
	w.spool += kept * w.bytes[rung_of(&w.in_force)];
	fill = w.spool < w.link_rate * seconds ? w.spool : w.link_rate * seconds;
	w.spool = w.spool - fill < w.spool_size ? w.spool - fill : w.spool_size;
	w.now.sent += (uint64_t)fill;
	w.now.spool_percent = (unsigned)(w.spool * 100 / w.spool_size);
	w.now.now_ns += GOVERNOR_LOOK_MS * MS;
	if (w.waiting > 0 && --w.waiting == 0) {
		w.in_force = w.governor.orders;
		governor_applied(&w.governor, &w.now);
	} else if (w.waiting == 0 && governor_look(&w.governor, &w.now)) {
		w.steps++;
		w.waiting = SETTLE_LOOKS;
	}
}

static void
live_seconds(unsigned seconds)
{
	for (unsigned i = 0; i < seconds * 1000 / GOVERNOR_LOOK_MS; i++)
		live();
}

static bool
nothing_ordered(void)
{
	return governor_idle(&w.governor);
}

/* 500,000 packets a second cost from 43 % of a core down to what is asked for, in ten seconds; and stay there. */
START_TEST(limit_holds_from_ten_seconds)
{
	static const uint64_t percents[] = { 2, 5, 10, 25 };
	double limit = (double)percents[_i] / 100, sum;
	unsigned steps;

	limits(LADDER_ALL, percents[_i]);
	w.rate = 500000;
	live_seconds(10);
	steps = w.steps;
	for (unsigned window = 0; window < 60; window++) {
		sum = 0;
		for (unsigned i = 0; i < 10; i++) {
			live();
			sum += w.share;
		}
		ck_assert_msg(sum / 10 <= 1.1 * limit && sum / 10 >= 0.4 * limit, "%.2f %% of %.0f", sum * 10, limit * 100);
	}
	ck_assert_uint_le(w.steps, steps + 12);	/* in five minutes: a step up is tried, at growing distances */
}
END_TEST

START_TEST(nothing_is_done_below_the_limit)
{
	limits(LADDER_ALL, 10);
	w.rate = 100000;
	live_seconds(60);
	ck_assert_uint_eq(w.steps, 0);
	ck_assert(nothing_ordered());
}
END_TEST

START_TEST(no_limit_no_steps)
{
	limits(LADDER_ALL, 0);
	w.rate = 1000000;
	live_seconds(60);
	ck_assert_uint_eq(w.steps, 0);
}
END_TEST

START_TEST(up_again_soon)
{
	limits(LADDER_ALL, 5);
	w.rate = 500000;
	live_seconds(20);
	ck_assert(w.in_force.slice && w.in_force.keep < GOVERNOR_KEEP_ALL);
	w.rate = 1000;
	live_seconds(4);
	ck_assert(nothing_ordered());
	w.rate = 0;
	live_seconds(60);
	ck_assert(nothing_ordered());
}
END_TEST

/* A load that comes and goes every few seconds: after some swings the governor stays down, and comes up once it is gone for good. */
START_TEST(square_wave_makes_no_swings)
{
	unsigned steps, period = (unsigned)_i;

	limits(LADDER_ALL, 5);
	for (unsigned i = 0; i < 300 / period; i++) {
		w.rate = i % 2 == 0 ? 500000 : 5000;
		live_seconds(period);
	}
	steps = w.steps;
	for (unsigned i = 0; i < 600 / period; i++) {
		w.rate = i % 2 == 0 ? 500000 : 5000;
		live_seconds(period);
	}
	ck_assert_msg(w.steps <= steps + 4, "%u steps, then %u more", steps, w.steps - steps);
	w.rate = 5000;
	live_seconds(GOVERNOR_HOLD_MAX_MS / 1000 + 5);
	ck_assert(nothing_ordered());
}
END_TEST

START_TEST(ladder_is_kept_to)
{
	limits(1u << GOVERNOR_SAMPLE, 5);
	w.rate = 500000;
	live_seconds(20);
	ck_assert(!w.in_force.cheaper && !w.in_force.store && !w.in_force.slice && w.in_force.paused == 0);
	ck_assert_uint_lt(w.in_force.keep, GOVERNOR_KEEP_ALL);
	ck_assert_uint_gt(w.in_force.keep, 1);
	setup();
	limits(1u << GOVERNOR_PAUSE, 5);
	w.rate = 500000;
	live_seconds(20);
	ck_assert_uint_eq(w.in_force.keep, GOVERNOR_KEEP_ALL);
	ck_assert_uint_gt(w.in_force.paused, 0);
	setup();
	limits(0, 5);
	w.rate = 500000;
	live_seconds(20);
	ck_assert_uint_eq(w.steps, 0);
}
END_TEST

/* The last resort: even one of 64 parts is too much. */
START_TEST(pauses_at_last)
{
	limits(LADDER_ALL, 1);
	w.cpu_ns[3] = 140000;
	w.rate = 500000;
	live_seconds(20);
	ck_assert_uint_eq(w.in_force.keep, 1);
	ck_assert_uint_gt(w.in_force.paused, 0);
	w.rate = 10;
	live_seconds(3 * GOVERNOR_HOLD_MAX_MS / 1000);
	ck_assert(nothing_ordered());
}
END_TEST

/* A link that takes less than comes: not by compressing less. */
START_TEST(slow_link)
{
	limits(LADDER_ALL, 0);
	w.rate = 200000;
	w.link_rate = 5e6;
	live_seconds(30);
	ck_assert(!w.in_force.cheaper && !w.in_force.store && w.in_force.slice);
	ck_assert_uint_lt(w.in_force.keep, GOVERNOR_KEEP_ALL);
	ck_assert_uint_lt(w.now.spool_percent, 90);
	ck_assert_msg(strstr(w.governor.text, "kB/s") != NULL, "%s", w.governor.text);
	w.link_rate = 1e9;
	live_seconds(400);
	ck_assert(nothing_ordered());
}
END_TEST

/* What a link that is down makes of the spool is no reason to capture less. */
START_TEST(link_down)
{
	limits(LADDER_ALL, 0);
	w.rate = 200000;
	w.link_rate = 0;
	live_seconds(60);
	ck_assert_uint_eq(w.now.spool_percent, 100);
	ck_assert_uint_eq(w.steps, 0);
}
END_TEST

/* Less CPU than it would take: whole flows are left out instead of packets here and there. */
START_TEST(ring_drops_make_it_step_down)
{
	limits(LADDER_ALL, 0);
	w.rate = 500000;
	w.cpu_core = 0.1;
	live_seconds(20);
	ck_assert(!nothing_ordered());
	ck_assert_uint_eq(w.governor.dropping, 0);
}
END_TEST

START_TEST(distress_takes_less)
{
	limits(1u << GOVERNOR_SAMPLE, 10);
	w.rate = 110000;	/* 9.35 % */
	w.now.stalled_us = 1;
	live_seconds(10);
	ck_assert(nothing_ordered());
	for (unsigned i = 0; i < 40; i++) {
		w.now.stalled_us += 400000;
		live();
	}
	ck_assert(!nothing_ordered());
	ck_assert_double_le(w.share, 0.07);
}
END_TEST

/* What the kernel has no room for is not asked for again. */
START_TEST(refused)
{
	limits(LADDER_ALL, 5);
	w.rate = 500000;
	live_seconds(3);
	governor_refused(&w.governor);
	w.in_force = (struct governor_orders)GOVERNOR_NO_ORDERS;
	live_seconds(30);
	ck_assert(!w.in_force.slice && w.in_force.keep == GOVERNOR_KEEP_ALL);
	ck_assert(w.in_force.cheaper && w.in_force.store && w.in_force.paused > 0);
}
END_TEST

START_TEST(ledger_unknown)
{
	limits(LADDER_ALL, 5);
	w.now.left_out_known = false;
	w.rate = 500000;
	live_seconds(20);
	ck_assert_uint_lt(w.in_force.keep, GOVERNOR_KEEP_ALL);
	ck_assert_uint_gt(w.in_force.keep, 1);
	w.rate = 1000;
	live_seconds(10);
	ck_assert(nothing_ordered());
}
END_TEST

static const struct {
	const char	*text;
	int		 result;
	unsigned	 ladder;
} ladders[] = {
	{ "none", 0, 0 }, { "codec", 0, 1u << GOVERNOR_CODEC }, { "codec,store,slice,sample,pause", 0, LADDER_ALL },
	{ "pause,sample", 0, 1u << GOVERNOR_PAUSE | 1u << GOVERNOR_SAMPLE }, { "", -1, 7 }, { "codec,", -1, 7 }, { ",codec", -1, 7 },
	{ "none,codec", -1, 7 }, { "codecs", -1, 7 }, { "code", -1, 7 }, { "codec, store", -1, 7 },
};

START_TEST(ladder_text)
{
	unsigned ladder = 7;
	char error[256] = "";

	ck_assert_int_eq(governor_parse_ladder(ladders[_i].text, &ladder, error, sizeof(error)), ladders[_i].result);
	ck_assert_uint_eq(ladder, ladders[_i].ladder);
	ck_assert_int_eq(error[0] != '\0', ladders[_i].result == -1);
}
END_TEST

/* CPU that was told late: too much for a look, or just much. */
START_TEST(outlier_is_overcome)
{
	limits(LADDER_ALL, 10);
	w.rate = 20000;
	live_seconds(10);
	w.now.cpu_us += _i == 0 ? 2000000 : 900000;
	live();
	live_seconds(240);
	ck_assert(nothing_ordered());
}
END_TEST

/* What a quiet second costs is no measure of a busy one. */
START_TEST(fixed_cost_is_overcome)
{
	limits(LADDER_ALL, 10);
	w.fixed = 0.005;
	w.rate = 250;
	live_seconds(60);
	w.rate = 400000;
	live_seconds(3);
	ck_assert(!nothing_ordered());
	w.rate = 20000;
	live_seconds(240);
	ck_assert(nothing_ordered());
}
END_TEST

/* Capture was not run for a moment: that is no reason to do without for long. */
START_TEST(stall_is_overcome)
{
	limits(LADDER_ALL, 10);
	w.rate = 20000;
	live_seconds(10);
	w.cpu_core = 0.00001;
	live_seconds(2);
	w.cpu_core = 1;
	live_seconds(60);
	ck_assert(nothing_ordered());
}
END_TEST

/* What the filter of a paused interface would refuse is in nobody's way. */
START_TEST(paused_comes_back)
{
	limits(1u << GOVERNOR_PAUSE, 5);
	w.rate = 500000;
	live_seconds(20);
	ck_assert_uint_gt(w.in_force.paused, 0);
	w.rate = 1000;
	for (unsigned i = 0; i < 480; i++) {
		w.now.left_out += w.in_force.paused > 0 ? 500000 : 0;
		live();
	}
	ck_assert(nothing_ordered());
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("governor");
	TCase *t = tcase_create("governor");
	SRunner *runner = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(t, setup, NULL);
	tcase_add_loop_test(t, limit_holds_from_ten_seconds, 0, 4);
	tcase_add_test(t, nothing_is_done_below_the_limit);
	tcase_add_test(t, no_limit_no_steps);
	tcase_add_test(t, up_again_soon);
	tcase_add_loop_test(t, square_wave_makes_no_swings, 2, 11);
	tcase_add_test(t, ladder_is_kept_to);
	tcase_add_test(t, pauses_at_last);
	tcase_add_test(t, slow_link);
	tcase_add_test(t, link_down);
	tcase_add_test(t, ring_drops_make_it_step_down);
	tcase_add_test(t, distress_takes_less);
	tcase_add_test(t, refused);
	tcase_add_loop_test(t, outlier_is_overcome, 0, 2);
	tcase_add_test(t, fixed_cost_is_overcome);
	tcase_add_test(t, stall_is_overcome);
	tcase_add_test(t, paused_comes_back);
	tcase_add_test(t, ledger_unknown);
	tcase_add_loop_test(t, ladder_text, 0, sizeof(ladders) / sizeof(ladders[0]));
	suite_add_tcase(s, t);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
