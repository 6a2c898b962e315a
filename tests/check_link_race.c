/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <check.h>
#include <event2/event.h>

#include "agent/link_race.h"
#include "common/clock.h"

/*
 * On the loopback: an address that answers is a listening socket; one that refuses, a port nobody listens at; a black hole, a
 * listening socket whose queue is full, which then answers no SYN.
 */
#define MS	UINT64_C(1000000)

static struct event_base *base;
static struct race *race;
static unsigned asked, failed, lost, won;
static int won_fd, refuse_errno;
static struct resolve_address won_address, failed_address;
static bool hold;		/* the socket asked for comes later */
static uint8_t held_family;

static int
on_ask(uint8_t family, void *arg)
{
	(void)arg;
	asked++;
	if (refuse_errno != 0) {
		errno = refuse_errno;
		return -1;
	}
	held_family = family;
	return 0;
}

/* As the supervisor: what was asked for is there. */
static void
hand_out(void)
{
	int fd;

	if (held_family == 0 || hold)
		return;
	fd = socket(held_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	held_family = 0;
	race_socket(race, fd, fd == -1 ? errno : 0);
}

static void
on_won(int fd, const struct resolve_address *address, void *arg)
{
	(void)arg;
	won++;
	won_fd = fd;
	won_address = *address;
}

static void
on_failed(const struct resolve_address *address, const char *why, void *arg)
{
	(void)arg;
	ck_assert_uint_gt(strlen(why), 0);
	failed++;
	failed_address = *address;
}

static void
on_lost(void *arg)
{
	(void)arg;
	lost++;
}

static void
setup(void)
{
	static const struct race_callbacks callbacks = { on_ask, on_won, on_failed, on_lost };

	asked = failed = lost = won = 0;
	held_family = 0;
	hold = false;
	refuse_errno = 0;
	won_fd = -1;
	ck_assert_ptr_nonnull(base = event_base_new());
	ck_assert_ptr_nonnull(race = race_new(base, &callbacks, NULL));
}

static void
teardown(void)
{
	if (won_fd != -1)
		close(won_fd);
	race_free(race);
	event_base_free(base);
}

static struct resolve_address
address_at(const char *host, uint16_t port)
{
	struct resolve_address address = { .len = sizeof(struct sockaddr_in) };
	struct sockaddr_in *v4 = (void *)&address.ss;
	struct sockaddr_in6 *v6 = (void *)&address.ss;

	if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(port);
	} else {
		ck_assert_int_eq(inet_pton(AF_INET6, host, &v6->sin6_addr), 1);
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons(port);
		address.len = sizeof(*v6);
	}
	return address;
}

/* A socket bound to a free port there; listening with this backlog, or not at all if that is below 0. */
static int
bind_at(const char *host, int backlog, struct resolve_address *address)
{
	int fd;

	*address = address_at(host, 0);
	ck_assert_int_ne(fd = socket(address->ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0), -1);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address->ss, address->len), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address->ss, &address->len), 0);
	if (backlog >= 0)
		ck_assert_int_eq(listen(fd, backlog), 0);
	return fd;
}

static int
black_hole(const char *host, struct resolve_address *address, int *filler)
{
	int fd = bind_at(host, 0, address);

	ck_assert_int_ne(*filler = socket(address->ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0), -1);
	ck_assert_int_eq(connect(*filler, (struct sockaddr *)&address->ss, address->len), 0);
	return fd;
}

static void
run_until(const unsigned *count, unsigned value)
{
	uint64_t end = clock_mono_ns() + 20000 * MS;

	while (*count < value) {
		ck_assert_uint_lt(clock_mono_ns(), end);
		hand_out();
		if (*count < value)
			event_base_loop(base, EVLOOP_ONCE | (held_family != 0 && !hold ? EVLOOP_NONBLOCK : 0));
	}
}

static bool
same(const struct resolve_address *a, const struct resolve_address *b)
{
	return a->len == b->len && memcmp(&a->ss, &b->ss, a->len) == 0;
}

START_TEST(the_first_that_answers_wins)
{
	struct resolve_address address[2];
	int a = bind_at("127.0.0.1", 4, &address[0]), b = bind_at("127.0.0.1", 4, &address[1]);

	race_start(race, address, 2);
	run_until(&won, 1);
	ck_assert(same(&won_address, &address[0]));
	ck_assert_uint_eq(asked, 1);
	ck_assert_uint_eq(failed + lost, 0);
	close(a);
	close(b);
}
END_TEST

START_TEST(one_that_refuses_costs_no_time)
{
	struct resolve_address address[3];
	int a = bind_at("127.0.0.1", -1, &address[0]), b = bind_at("127.0.0.1", -1, &address[1]);
	int c = bind_at("127.0.0.1", 4, &address[2]);
	uint64_t start = clock_mono_ns();

	race_start(race, address, 3);
	run_until(&won, 1);
	ck_assert(same(&won_address, &address[2]));
	ck_assert_uint_eq(failed, 2);
	ck_assert_uint_lt(clock_mono_ns() - start, 2 * RACE_DELAY_MS * MS);
	close(a);
	close(b);
	close(c);
}
END_TEST

START_TEST(a_black_hole_costs_one_delay)
{
	struct resolve_address address[2];
	int filler, a = black_hole("127.0.0.1", &address[0], &filler), b = bind_at("127.0.0.1", 4, &address[1]);
	uint64_t start = clock_mono_ns(), took;

	race_start(race, address, 2);
	run_until(&won, 1);
	took = clock_mono_ns() - start;
	ck_assert(same(&won_address, &address[1]));
	ck_assert_uint_ge(took, RACE_DELAY_MS * MS);
	ck_assert_uint_lt(took, 1000 * MS);
	ck_assert_uint_eq(failed, 0);
	close(a);
	close(b);
	close(filler);
}
END_TEST

/* One after the other, and each only once: a black hole that was not waited for to the end has its turn again. */
START_TEST(what_is_left_races_again)
{
	struct resolve_address address[3];
	int filler, a = black_hole("127.0.0.1", &address[0], &filler), b = bind_at("127.0.0.1", 4, &address[1]);
	int c = bind_at("127.0.0.1", 4, &address[2]);

	race_start(race, address, 3);
	run_until(&won, 1);
	ck_assert(same(&won_address, &address[1]));
	close(won_fd);
	race_again(race);
	run_until(&won, 2);
	ck_assert(same(&won_address, &address[2]));
	close(won_fd);
	won_fd = -1;
	race_again(race);
	run_until(&lost, 1);
	ck_assert(same(&failed_address, &address[0]));
	ck_assert_uint_eq(failed, 1);
	race_again(race);
	ck_assert_uint_eq(lost, 2);
	close(a);
	close(b);
	close(c);
	close(filler);
}
END_TEST

START_TEST(all_refuse)
{
	struct resolve_address address[2];
	int a = bind_at("127.0.0.1", -1, &address[0]), b = bind_at("127.0.0.1", -1, &address[1]);

	race_start(race, address, 2);
	run_until(&lost, 1);
	ck_assert_uint_eq(failed, 2);
	ck_assert_uint_eq(won, 0);
	race_start(race, address, 0);
	ck_assert_uint_eq(lost, 2);
	close(a);
	close(b);
}
END_TEST

START_TEST(no_socket_is_a_failure)
{
	const struct resolve_address address[2] = { address_at("127.0.0.1", 1), address_at("127.0.0.1", 2) };

	hold = true;
	race_start(race, address, 2);
	race_socket(race, -1, EMFILE);
	ck_assert_uint_eq(failed, 1);
	race_socket(race, -1, EMFILE);
	ck_assert_uint_eq(lost, 1);
	refuse_errno = ENOBUFS;
	race_start(race, address, 2);
	ck_assert_uint_eq(failed, 4);
	ck_assert_uint_eq(lost, 2);
}
END_TEST

/* Asked for by a race that is over: of the wrong family it is asked for again, and nobody waits for it after the end. */
START_TEST(an_earlier_socket_comes_late)
{
	const struct resolve_address six = address_at("::1", 1);
	struct resolve_address four;
	int a = bind_at("127.0.0.1", 4, &four);

	hold = true;
	race_start(race, &six, 1);
	ck_assert_uint_eq(asked, 1);
	race_start(race, &four, 1);
	ck_assert_uint_eq(asked, 1);
	hold = false;
	run_until(&won, 1);
	ck_assert_uint_eq(asked, 2);
	ck_assert(same(&won_address, &four));
	hold = true;
	race_start(race, &six, 1);
	race_stop(race);
	race_socket(race, socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0), 0);
	ck_assert_uint_eq(failed + lost, 0);
	close(a);
}
END_TEST

static const struct {
	const char	*in, *out;
} orders[] = {
	{ "", "" }, { "a", "a" }, { "ab", "ab" }, { "aA", "aA" }, { "abA", "aAb" }, { "abcABC", "aAbBcC" }, { "ABa", "AaB" },
	{ "aABCD", "aABCD" }, { "abcdA", "aAbcd" }, { "AabBc", "AaBbc" },
};

/* Small letters are IPv4, capitals IPv6; the letter is the port. */
START_TEST(families_take_turns)
{
	struct resolve_address address[RESOLVE_MAX];
	char text[RESOLVE_MAX + 1] = "";
	size_t i, count = strlen(orders[_i].in);

	for (i = 0; i < count; i++)
		address[i] = address_at(orders[_i].in[i] >= 'a' ? "127.0.0.1" : "::1", (uint16_t)orders[_i].in[i]);
	race_interleave(address, count);
	for (i = 0; i < count; i++)
		text[i] = (char)ntohs(((const struct sockaddr_in *)(const void *)&address[i].ss)->sin_port);
	ck_assert_str_eq(text, orders[_i].out);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("link_race");
	TCase *tc = tcase_create("link_race");
	SRunner *runner;
	int failures;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, the_first_that_answers_wins);
	tcase_add_test(tc, one_that_refuses_costs_no_time);
	tcase_add_test(tc, a_black_hole_costs_one_delay);
	tcase_add_test(tc, what_is_left_races_again);
	tcase_add_test(tc, all_refuse);
	tcase_add_test(tc, no_socket_is_a_failure);
	tcase_add_test(tc, an_earlier_socket_comes_late);
	tcase_add_loop_test(tc, families_take_turns, 0, (int)(sizeof(orders) / sizeof(orders[0])));
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failures = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
