/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <check.h>
#include <stdlib.h>

#include "agent/link_breaker.h"

/*
 * A simulated guest in steps of 10 ms: an application's packets and, where there is a loop, the agent's own bytes are captured,
 * sealed each 256 KiB or 250 ms, compressed, spooled, sent over a link of limited rate. The breaker is ticked as in the link role.
 */
#define MS		UINT64_C(1000000)
#define STEP_NS		(10 * MS)
#define FLUSH_NS	(250 * MS)
#define BLOCK_SIZE	(256.0 * 1024)
#define SPOOL_MAX	(16.0 * 1024 * 1024)
#define NOTSENT_MAX	(256.0 * 1024)
#define MB		1e6
#define BURSTS		32

struct sim {
	struct breaker	*breaker;
	uint64_t	 now_ns, beat_ns, seal_ns;
	double		 (*app)(const struct sim *);	/* bytes a second */
	double		 app_rate;
	double		 ratio;		/* sent per captured byte */
	double		 loop;		/* captured per byte delivered; 0: no loop */
	double		 link_rate;
	double		 queue;		/* bytes that TCP keeps on the way */
	uint64_t	 random;
	bool		 on;		/* bursts */
	uint64_t	 burst_ns;
	uint64_t	 period_ns;
	double		 pending, captured, spool, unsent, sent, lost;
	unsigned	 loops, innocent, unclear, again;
	uint64_t	 pause_ns, held_ns, first_loop_ns;
	bool		 moved;
};

static void
on_verdict(enum breaker_verdict verdict, const struct breaker_sample *sample, uint64_t pause_ns, void *arg)
{
	struct sim *sim = arg;

	ck_assert_uint_eq(sample->ifindex, 2);
	sim->pause_ns = pause_ns;
	if (verdict == BREAKER_LOOP && sim->loops++ == 0)
		sim->first_loop_ns = sim->now_ns;
	sim->innocent += verdict == BREAKER_INNOCENT;
	sim->unclear += verdict == BREAKER_UNCLEAR;
	sim->again += verdict == BREAKER_AGAIN;
}

static double
app_steady(const struct sim *sim)
{
	return sim->app_rate;
}

static double
app_bursts(const struct sim *sim)
{
	return sim->on ? 2 * sim->app_rate : 0;
}

static void
sim_init(struct sim *sim, double (*app)(const struct sim *), double app_rate, uint64_t seed)
{
	struct breaker_options options = { .flush_ns = FLUSH_NS, .tail_max = 8 << 20, .seed = seed, .verdict = on_verdict, .arg = sim };

	*sim = (struct sim){ .app = app, .app_rate = app_rate, .ratio = 1.02, .link_rate = 100 * MB, .random = seed * 7919 + 1,
		.now_ns = 1000 * 1000 * MS };
	ck_assert_ptr_nonnull(sim->breaker = breaker_new(&options));
}

static double
sim_random(struct sim *sim)
{
	sim->random = sim->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (double)(sim->random >> 40) / (double)(1 << 24);
}

/* Lengths of bursts and pauses: fixed where there is a period, else random from 0.1 s to 4 s. */
static void
sim_burst(struct sim *sim)
{
	if (sim->now_ns < sim->burst_ns)
		return;
	sim->on = !sim->on;
	sim->burst_ns = sim->now_ns + (sim->period_ns > 0 ? sim->period_ns / 2 : (uint64_t)(1e8 + 3.9e9 * sim_random(sim)));
}

static void
sim_move(struct sim *sim)
{
	bool paused = breaker_paused(sim->breaker, 0, 2);
	double step = (double)STEP_NS / 1e9, sent, delivered, room = sim->queue + NOTSENT_MAX + sim->link_rate * step - sim->unsent;

	sent = breaker_holds(sim->breaker) ? 0 : sim->spool;
	if (sent > room)
		sent = room;
	sim->moved = sim->moved || sent > 0;
	sim->spool -= sent;
	sim->unsent += sent;
	delivered = sim->unsent < sim->link_rate * step ? sim->unsent : sim->link_rate * step;
	sim->unsent -= delivered;
	sim->sent += delivered;
	if (!paused)
		sim->pending += sim->app(sim) * step + sim->loop * delivered;
}

static void
sim_seal(struct sim *sim)
{
	if (sim->now_ns < sim->seal_ns && sim->pending < BLOCK_SIZE)
		return;
	sim->seal_ns = sim->now_ns + FLUSH_NS;
	sim->captured += sim->pending;
	sim->spool += sim->pending * sim->ratio;
	sim->pending = 0;
	if (sim->spool > SPOOL_MAX) {
		sim->lost += sim->spool - SPOOL_MAX;
		sim->spool = SPOOL_MAX;
	}
}

static void
sim_tick(struct sim *sim)
{
	struct breaker_sample sample = { .tap = 0, .ifindex = 2, .bytes = (uint64_t)sim->captured };
	struct breaker_input in = {
		.now_ns = sim->now_ns, .sent = (uint64_t)sim->sent, .unsent = (uint64_t)sim->unsent, .sample = &sample, .count = 1,
	};

	if (sim->now_ns < breaker_due_ns(sim->breaker) && !(sim->moved && sim->now_ns >= sim->beat_ns))
		return;
	breaker_tick(sim->breaker, &in);
	sim->moved = false;
	sim->beat_ns = sim->now_ns + 1000 * MS;
}

static void
sim_run(struct sim *sim, unsigned seconds)
{
	uint64_t end_ns = sim->now_ns + seconds * 1000 * MS;

	for (; sim->now_ns < end_ns; sim->now_ns += STEP_NS) {
		sim_burst(sim);
		sim_move(sim);
		sim_seal(sim);
		sim_tick(sim);
		sim->held_ns += breaker_holds(sim->breaker) ? STEP_NS : 0;
	}
}

START_TEST(loop_is_paused)
{
	static const double rates[] = { 0.02, 0.1, 0.2, 0.5 };
	struct sim sim;

	sim_init(&sim, app_steady, rates[_i % 4] * MB, (uint64_t)_i + 1);
	sim.loop = 1.05;
	sim.link_rate = _i < 10 ? 5 * MB : 70 * MB;
	sim_run(&sim, 120);
	ck_assert_uint_eq(sim.loops, 1);
	ck_assert(breaker_paused(sim.breaker, 0, 2));
	ck_assert(!breaker_paused(sim.breaker, 1, 2));
	ck_assert_uint_eq(sim.pause_ns, 300 * 1000 * MS);
	breaker_free(sim.breaker);
}
END_TEST

/* A tunnel that queues two seconds, over a slow link. */
START_TEST(slow_loop_is_paused)
{
	struct sim sim;

	sim_init(&sim, app_steady, 0.1 * MB, (uint64_t)_i + 1);
	sim.loop = 1.3;
	sim.link_rate = 0.6 * MB;
	sim.queue = 1.2 * MB;
	sim_run(&sim, 240);
	ck_assert_uint_eq(sim.loops, 1);
	breaker_free(sim.breaker);
}
END_TEST

START_TEST(pause_doubles_while_loop_lasts)
{
	struct sim sim;

	sim_init(&sim, app_steady, 0.1 * MB, 5);
	sim.loop = 1.05;
	sim.link_rate = 20 * MB;
	sim_run(&sim, 900);
	ck_assert_uint_eq(sim.loops, 2);
	ck_assert_uint_eq(sim.again, 1);
	ck_assert_uint_eq(sim.pause_ns, 600 * 1000 * MS);
	sim.loop = 0;
	sim_run(&sim, 900);
	ck_assert_uint_eq(sim.again, 2);
	ck_assert_uint_eq(sim.loops, 2);
	ck_assert(!breaker_paused(sim.breaker, 0, 2));
	breaker_free(sim.breaker);
}
END_TEST

/* What is not compressed is sent as it is captured. Nothing may be lost by the trials, which get fewer. */
START_TEST(uncompressed_traffic_is_innocent)
{
	static const double rates[] = { 0.3, 1, 5, 25, 80 };
	struct sim sim;

	sim_init(&sim, app_steady, rates[_i] * MB, 3);
	sim_run(&sim, 3600);
	ck_assert_uint_eq(sim.loops, 0);
	ck_assert_uint_ge(sim.innocent, 3);
	ck_assert_uint_le(sim.innocent, 9);
	ck_assert_uint_le(sim.held_ns, sim.innocent * 1000 * MS);
	ck_assert(sim.lost == 0);
	breaker_free(sim.breaker);
}
END_TEST

START_TEST(compressed_traffic_is_not_tried)
{
	struct sim sim;

	sim_init(&sim, app_steady, 5 * MB, 3);
	sim.ratio = 0.4;
	sim_run(&sim, 600);
	ck_assert_uint_eq(sim.loops + sim.innocent + sim.unclear, 0);
	ck_assert_uint_eq(sim.held_ns, 0);
	breaker_free(sim.breaker);
}
END_TEST

START_TEST(slow_sender_is_not_tried)
{
	struct sim sim;

	sim_init(&sim, app_steady, 0.2 * MB, 3);
	sim_run(&sim, 600);
	ck_assert_uint_eq(sim.loops + sim.innocent + sim.unclear, 0);
	breaker_free(sim.breaker);
}
END_TEST

START_TEST(bursts_are_innocent)
{
	struct sim sim;

	sim_init(&sim, app_bursts, 3 * MB, (uint64_t)_i + 1);
	sim_run(&sim, 3600);
	ck_assert_uint_eq(sim.loops, 0);
	breaker_free(sim.breaker);
}
END_TEST

START_TEST(periods_are_innocent)
{
	struct sim sim;

	sim_init(&sim, app_bursts, 3 * MB, (uint64_t)_i * 31 + 1);
	sim.period_ns = (uint64_t)(500 + 250 * (_i % 16)) * MS;
	sim_run(&sim, 3600);
	ck_assert_uint_eq(sim.loops, 0);
	breaker_free(sim.breaker);
}
END_TEST

/* The capture role starts again: its counts do, too. */
START_TEST(counts_may_start_again)
{
	struct breaker_sample sample = { .tap = 0, .ifindex = 2, .bytes = 1000000000 };
	struct breaker_input in = { .now_ns = 1, .sample = &sample, .count = 1 };
	struct sim sim;

	sim_init(&sim, app_steady, 0, 1);
	breaker_tick(sim.breaker, &in);
	in.now_ns += 1000 * MS;
	in.sent += 300000;
	sample.bytes = 300000;
	breaker_tick(sim.breaker, &in);
	ck_assert(!breaker_holds(sim.breaker));
	ck_assert_uint_eq(breaker_due_ns(sim.breaker), BREAKER_NEVER);
	breaker_free(sim.breaker);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("breaker");
	TCase *tc = tcase_create("breaker");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, loop_is_paused, 0, 20);
	tcase_add_loop_test(tc, slow_loop_is_paused, 0, 10);
	tcase_add_test(tc, pause_doubles_while_loop_lasts);
	tcase_add_loop_test(tc, uncompressed_traffic_is_innocent, 0, 5);
	tcase_add_test(tc, compressed_traffic_is_not_tried);
	tcase_add_test(tc, slow_sender_is_not_tried);
	tcase_add_loop_test(tc, bursts_are_innocent, 0, BURSTS);
	tcase_add_loop_test(tc, periods_are_innocent, 0, BURSTS);
	tcase_add_test(tc, counts_may_start_again);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
