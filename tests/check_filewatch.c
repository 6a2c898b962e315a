/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <check.h>
#include <event2/event.h>

#include "common/clock.h"
#include "common/filewatch.h"

static struct event_base *base;
static struct filewatch *watch;
static unsigned calls;
static char dir[64];
static bool no_instance, no_watch;
static unsigned watches;

int
inotify_init1(int flags)
{
	if (!no_instance)
		return (int)syscall(SYS_inotify_init1, flags);
	errno = EMFILE;
	return -1;
}

int
inotify_add_watch(int fd, const char *name, uint32_t mask)
{
	if (!no_watch) {
		watches++;
		return (int)syscall(SYS_inotify_add_watch, fd, name, mask);
	}
	errno = ENOSPC;
	return -1;
}

static void
changed(void *arg)
{
	(void)arg;
	calls++;
	event_base_loopbreak(base);
}

static const char *
path(const char *name)
{
	static char text[4][192];
	static unsigned turn;
	char *p = text[turn++ % 4];

	snprintf(p, sizeof(text[0]), "%s/%s", dir, name);
	return p;
}

static void
put(const char *name, const char *text)
{
	FILE *file = fopen(path(name), "w");

	ck_assert_ptr_nonnull(file);
	fputs(text, file);
	ck_assert_int_eq(fclose(file), 0);
}

/* The files a and b, in this folder of the test's own. */
static void
watch_in(const char *folder)
{
	char a[160], b[160];
	const char *const paths[] = { a, b };

	snprintf(a, sizeof(a), "%s/%s/a", dir, folder);
	snprintf(b, sizeof(b), "%s/%s/b", dir, folder);
	ck_assert_int_eq(filewatch_set(watch, paths, 2), 0);
}

static void
setup(void)
{
	strcpy(dir, "/tmp/check_filewatch.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	ck_assert_int_eq(mkdir(path("d"), 0700), 0);
	put("d/a", "one");
	put("d/b", "one");
	ck_assert_ptr_nonnull(base = event_base_new());
	ck_assert_ptr_nonnull(watch = filewatch_new(base, changed, NULL));
	watch_in("d");
	calls = 0;
}

static void
teardown(void)
{
	char command[96];

	filewatch_free(watch);
	event_base_free(base);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	ck_assert_int_eq(system(command), 0);
}

static void
on_limit(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	event_base_loopbreak(base);
}

/* Until a call or the limit. */
static void
run(unsigned limit_ms)
{
	const struct timeval tv = { .tv_sec = limit_ms / 1000, .tv_usec = limit_ms % 1000 * 1000 };
	struct event *limit = evtimer_new(base, on_limit, NULL);

	ck_assert(limit != NULL && event_add(limit, &tv) == 0);
	event_base_dispatch(base);
	event_free(limit);
}

static void
expect_call(void)
{
	unsigned before = calls;

	run(20000);
	ck_assert_uint_eq(calls, before + 1);
}

/* Longer than it takes to settle. */
static void
expect_silence(void)
{
	unsigned before = calls;

	run(FILEWATCH_SETTLE_MS + 300);
	ck_assert_uint_eq(calls, before);
}

START_TEST(written_in_place)
{
	put("d/a", "another");
	expect_call();
	put("d/b", "another");
	expect_call();
}
END_TEST

START_TEST(renamed_over)
{
	put("d/new", "two");
	ck_assert_int_eq(rename(path("d/new"), path("d/a")), 0);
	expect_call();
}
END_TEST

START_TEST(several_at_once_are_one)
{
	uint64_t start = clock_mono_ns();

	put("d/a", "another");
	put("d/b", "another");
	ck_assert_int_eq(unlink(path("d/a")), 0);
	put("d/a", "yet another");
	expect_call();
	ck_assert_uint_ge(clock_mono_ns() - start, 900 * UINT64_C(1000000));
	expect_silence();
}
END_TEST

START_TEST(neighbours_do_not_matter)
{
	put("d/c", "other");
	ck_assert_int_eq(rename(path("d/c"), path("d/e")), 0);
	expect_silence();
}
END_TEST

/* As Kubernetes does: a -> ..data/a, ..data -> one, and then ..data turns to two. */
START_TEST(a_link_turned)
{
	ck_assert_int_eq(mkdir(path("k"), 0700) | mkdir(path("k/one"), 0700) | mkdir(path("k/two"), 0700), 0);
	put("k/one/a", "one");
	put("k/two/a", "two");
	ck_assert_int_eq(symlink("one", path("k/..data")) | symlink("..data/a", path("k/a")), 0);
	watch_in("k");
	ck_assert_int_eq(symlink("two", path("k/..new")), 0);
	ck_assert_int_eq(rename(path("k/..new"), path("k/..data")), 0);
	expect_call();
	put("k/two/a", "in place");
	expect_call();
}
END_TEST

/* As certbot does: the link leads into another directory. */
START_TEST(a_link_elsewhere)
{
	ck_assert_int_eq(mkdir(path("l"), 0700), 0);
	ck_assert_int_eq(symlink("../d/a", path("l/a")), 0);
	watch_in("l");
	put("d/a", "another");
	expect_call();
	put("d/n", "n");
	ck_assert_int_eq(symlink("../d/n", path("l/.new")) | rename(path("l/.new"), path("l/a")), 0);
	expect_call();
}
END_TEST

START_TEST(directories_that_come_and_go)
{
	watch_in("x/y");
	ck_assert_int_eq(mkdir(path("x"), 0700) | mkdir(path("x/y"), 0700), 0);
	put("x/y/a", "one");
	expect_call();
	ck_assert_int_eq(rename(path("x"), path("z")), 0);
	expect_call();
	ck_assert_int_eq(mkdir(path("x"), 0700) | mkdir(path("x/y"), 0700), 0);
	expect_silence();
	put("x/y/b", "one");
	expect_call();
}
END_TEST

/* While there is nothing to be had the files are looked at; later they are watched again. */
START_TEST(watched_again)
{
	no_instance = _i == 0;
	no_watch = _i == 1;
	watch_in("d");
	put("d/a", "another");
	expect_call();
	watches = 0;
	no_instance = no_watch = false;
	put("d/b", "another");
	expect_call();
	ck_assert_uint_gt(watches, 0);
	put("d/a", "and one more");
	expect_call();
}
END_TEST

/* The same, where it fails in the midst of things. */
START_TEST(lost_and_watched_again)
{
	no_instance = true;
	put("d/a", "another");
	expect_call();
	put("d/a", "yet another");
	expect_call();
	no_instance = false;
	put("d/b", "another");
	expect_call();
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("filewatch");
	TCase *tc = tcase_create("filewatch");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, written_in_place);
	tcase_add_test(tc, renamed_over);
	tcase_add_test(tc, several_at_once_are_one);
	tcase_add_test(tc, neighbours_do_not_matter);
	tcase_add_test(tc, a_link_turned);
	tcase_add_test(tc, a_link_elsewhere);
	tcase_add_test(tc, directories_that_come_and_go);
	tcase_add_loop_test(tc, watched_again, 0, 2);
	tcase_add_test(tc, lost_and_watched_again);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
