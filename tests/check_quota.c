/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdlib.h>

#include <check.h>

#include "common/clock.h"

#include "collector/quota.h"
#include "collector/tenant_use.h"

/* What one tenant cannot take from another. */

#define RESERVE		(QUOTA_RESERVE + QUOTA_RESERVE_WORKER)

static struct tenant_use greedy, other, third;

/* So many places for VMs, of one worker, and an eighth of all for other connections. */
static void
places(unsigned vms)
{
	unsigned spare = vms * QUOTA_PER_VM / 7 + 1;

	quota_init(RESERVE + vms * QUOTA_PER_VM + (spare > QUOTA_SPARE_MIN ? spare : QUOTA_SPARE_MIN) + 1, 1);
	ck_assert_uint_ge(quota_vms_max(), vms);
	ck_assert_uint_le(quota_vms_max(), vms + 4);
}

/* Of a collector with one tenant nothing is held back. */
START_TEST(who_is_alone_has_all)
{
	places(160);
	while (quota_take_vm(&greedy.places))
		;
	ck_assert_uint_eq(quota_vms_taken(), quota_vms_max());
	while (quota_take_connection())
		;
	for (unsigned i = 0; i < 200; i++)
		ck_assert(quota_take_waiting(&greedy.waiting));
}
END_TEST

static void
several(void)
{
	quota_several_tenants();
}

static unsigned
take_all(struct tenant_use *use)
{
	unsigned n = 0;

	while (n <= quota_vms_max() && quota_take_vm(&use->places))
		n++;
	ck_assert_uint_eq(n == 0 ? 0 : atomic_load(&use->places), n == 0 ? 0 : n);
	return n;
}

START_TEST(the_last_places_are_for_who_has_none)
{
	unsigned max, n;

	places(160);
	max = quota_vms_max();
	n = take_all(&greedy);
	ck_assert_uint_eq(n, max - max / QUOTA_FIRST_PART);
	ck_assert(quota_take_vm(&other.places));
	ck_assert(quota_take_vm(&third.places));
	ck_assert(!quota_take_vm(&other.places));
	ck_assert(!quota_take_vm(&greedy.places));
	ck_assert(quota_short());
	/* What is given back goes to who has less than a share. */
	for (unsigned i = 0; i < max / 8; i++)
		quota_give_vm(&greedy.places);
	ck_assert(!quota_take_vm(&greedy.places));
	ck_assert(quota_take_vm(&other.places));
}
END_TEST

START_TEST(few_places_are_not_parted)
{
	unsigned max;

	places(8);
	max = quota_vms_max();
	ck_assert_uint_lt(max, QUOTA_FIRST_PART);
	ck_assert_uint_eq(take_all(&greedy), max);
	ck_assert_uint_eq(quota_vms_taken(), max);
	for (unsigned i = 0; i < max; i++)
		quota_give_vm(&greedy.places);
	ck_assert_uint_eq(quota_vms_taken(), 0);
	ck_assert(quota_take_vm(&other.places));
}
END_TEST

START_TEST(connections_that_wait)
{
	unsigned taken = 0;

	places(40);
	for (unsigned i = 0; i < 200; i++)
		ck_assert(quota_take_waiting(&greedy.waiting));		/* there are plenty */
	while (quota_take_connection())
		taken++;
	ck_assert_uint_gt(taken, quota_vms_max());
	ck_assert(!quota_take_waiting(&greedy.waiting));
	ck_assert(quota_take_waiting(&other.waiting));
}
END_TEST

START_TEST(sessions)
{
	const struct tenant_quota quota = { .sessions = 2 }, none = { 0 };

	tenant_use_set(&greedy, &quota);
	ck_assert(tenant_use_take_session(&greedy));
	ck_assert(tenant_use_take_session(&greedy));
	ck_assert(!tenant_use_take_session(&greedy));
	ck_assert(tenant_use_take_session(&other));
	tenant_use_give_session(&greedy);
	ck_assert(tenant_use_take_session(&greedy));
	tenant_use_set(&greedy, &none);
	ck_assert(tenant_use_take_session(&greedy));
}
END_TEST

/* What is beyond the rate is paid for by time, and it is the tenant's own. */
START_TEST(rate)
{
	const struct tenant_quota quota = { .rate = 8000000 }, none = { 0 };	/* a byte in a microsecond */
	uint64_t now;

	tenant_use_set(&greedy, &quota);
	ck_assert(tenant_use_may_receive(&greedy));
	tenant_use_receive(&greedy, 100000);
	ck_assert(tenant_use_may_receive(&greedy));		/* 0.1 s ahead */
	tenant_use_receive(&greedy, 10000000);
	ck_assert(!tenant_use_may_receive(&greedy));
	ck_assert(tenant_use_may_receive(&other));
	now = clock_mono_ns();
	ck_assert_uint_le(greedy.spent_ns - now, UINT64_C(10100000000));
	ck_assert_uint_ge(greedy.spent_ns - now, UINT64_C(9000000000));
	ck_assert_uint_eq(greedy.received, 10100000);
	tenant_use_set(&greedy, &quota);
	ck_assert(!tenant_use_may_receive(&greedy));
	tenant_use_set(&greedy, &none);
	ck_assert(tenant_use_may_receive(&greedy));
	tenant_use_set(&greedy, &quota);	/* what was owed at another rate is owed no more */
	ck_assert(tenant_use_may_receive(&greedy));
}
END_TEST

START_TEST(files_end_sooner)
{
	const struct tenant_quota quota = { .store = 64u << 20 };

	ck_assert_uint_eq(tenant_use_rotate_size(&greedy, 1u << 30), 1u << 30);
	tenant_use_set(&greedy, &quota);
	ck_assert_uint_eq(tenant_use_rotate_size(&greedy, 1u << 30), 32u << 20);
	ck_assert_uint_eq(tenant_use_rotate_size(&greedy, 1u << 20), 1u << 20);
	for (int i = 0; i < 4; i++)
		ck_assert(tenant_use_take_session(&greedy));
	ck_assert_uint_eq(tenant_use_rotate_size(&greedy, 1u << 30), 8u << 20);
	atomic_store(&greedy.sessions, 1000000);
	ck_assert_uint_eq(tenant_use_rotate_size(&greedy, 1u << 30), TENANT_ROTATE_MIN);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("quota");
	TCase *tcase = tcase_create("quota"), *alone = tcase_create("alone");
	SRunner *runner;
	int failed;

	tcase_add_test(alone, who_is_alone_has_all);
	suite_add_tcase(suite, alone);
	tcase_add_checked_fixture(tcase, several, NULL);
	tcase_add_test(tcase, the_last_places_are_for_who_has_none);
	tcase_add_test(tcase, few_places_are_not_parted);
	tcase_add_test(tcase, connections_that_wait);
	tcase_add_test(tcase, sessions);
	tcase_add_test(tcase, rate);
	tcase_add_test(tcase, files_end_sooner);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
