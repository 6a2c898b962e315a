/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/timerfd.h>
#include <sys/syscall.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include <check.h>
#include <event2/event.h>

#include "common/clock.h"
#include "common/deadline.h"

#define MS	UINT64_C(1000000)

static struct event_base *base;
static unsigned passed;
static bool refuse;	/* as an old kernel does */

int
timerfd_create(int clock, int flags)
{
	if (refuse) {
		errno = EINVAL;
		return -1;
	}
	return (int)syscall(SYS_timerfd_create, clock, flags);
}

static void
on_passed(void *arg)
{
	ck_assert_ptr_eq(arg, &passed);
	passed++;
}

static struct deadline *
setup(int i)
{
	struct deadline *deadline;

	refuse = i == 1;
	passed = 0;
	ck_assert_ptr_nonnull(base = event_base_new());
	ck_assert_ptr_nonnull(deadline = deadline_new(base, on_passed, &passed));
	return deadline;
}

static void
run_until(uint64_t boot_ns)
{
	struct timeval step = { .tv_usec = 5000 };

	do {
		event_base_loopexit(base, &step);
		event_base_dispatch(base);
	} while (clock_boot_ns() < boot_ns);
}

START_TEST(passes_once)
{
	struct deadline *deadline = setup(_i);
	uint64_t until_ns = clock_boot_ns() + 50 * MS;

	deadline_set(deadline, until_ns);
	while (passed == 0) {
		ck_assert_uint_lt(clock_boot_ns(), until_ns + 5000 * MS);
		run_until(0);
	}
	ck_assert_uint_ge(clock_boot_ns(), until_ns);
	run_until(until_ns + 80 * MS);
	ck_assert_uint_eq(passed, 1);
	deadline_free(deadline);
	event_base_free(base);
}
END_TEST

START_TEST(past_is_told_by_the_loop)
{
	struct deadline *deadline = setup(_i);

	deadline_set(deadline, 1);
	ck_assert_uint_eq(passed, 0);
	event_base_loop(base, EVLOOP_ONCE);
	ck_assert_uint_eq(passed, 1);
	deadline_free(deadline);
	event_base_free(base);
}
END_TEST

START_TEST(another_takes_its_place)
{
	struct deadline *deadline = setup(_i);
	uint64_t until_ns = clock_boot_ns() + 30 * MS;

	deadline_set(deadline, 1);
	deadline_set(deadline, until_ns + 60000 * MS);
	run_until(until_ns);
	deadline_set(deadline, until_ns);
	deadline_set(deadline, 0);
	run_until(until_ns + 30 * MS);
	ck_assert_uint_eq(passed, 0);
	deadline_free(deadline);
	deadline_free(NULL);
	event_base_free(base);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("deadline");
	TCase *tc = tcase_create("deadline");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_loop_test(tc, passes_once, 0, 2);
	tcase_add_loop_test(tc, past_is_told_by_the_loop, 0, 2);
	tcase_add_loop_test(tc, another_takes_its_place, 0, 2);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
