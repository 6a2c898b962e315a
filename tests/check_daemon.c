/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <check.h>
#include <event2/event.h>

#include "common/daemon.h"
#include "common/watchdog.h"

static char	dir[] = "/tmp/check_daemon.XXXXXX";
static char	path[64];

static void
setup(void)
{
	strcpy(dir + sizeof(dir) - 7, "XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/file", dir);
}

static void
teardown(void)
{
	unlink(path);
	rmdir(dir);
}

static long
pid_in_file(void)
{
	FILE	*file = fopen(path, "r");
	long	 pid = -1;

	ck_assert_ptr_nonnull(file);
	ck_assert_int_eq(fscanf(file, "%ld\n", &pid), 1);
	fclose(file);
	return pid;
}

START_TEST(pidfile_is_held_once)
{
	char	 error[DAEMON_ERROR_SIZE], expected[DAEMON_ERROR_SIZE];
	int	 fd = daemon_pidfile_write(path, error);

	ck_assert_int_ne(fd, -1);
	ck_assert_int_eq(pid_in_file(), getpid());
	ck_assert_int_eq(daemon_pidfile_write(path, error), -1);
	snprintf(expected, sizeof(expected), "%s: already running, with pid %ld", path, (long)getpid());
	ck_assert_str_eq(error, expected);
	ck_assert_int_eq(pid_in_file(), getpid());
	daemon_pidfile_remove(path, fd);
	ck_assert_int_eq(access(path, F_OK), -1);
	daemon_pidfile_remove(path, -1);
}
END_TEST

START_TEST(pidfile_left_behind_is_taken_over)
{
	char	 error[DAEMON_ERROR_SIZE];
	int	 fd = open(path, O_WRONLY | O_CREAT, 0644);

	ck_assert_int_eq(dprintf(fd, "123456789012\n"), 13);
	close(fd);
	fd = daemon_pidfile_write(path, error);
	ck_assert_int_ne(fd, -1);
	ck_assert_int_eq(pid_in_file(), getpid());
	unlink(path);
	ck_assert_int_eq(symlink("/nowhere", path), 0);
	daemon_pidfile_remove(path, fd);	/* no longer ours to remove */
	ck_assert_int_eq(daemon_pidfile_write(path, error), -1);
	ck_assert_ptr_nonnull(strstr(error, "/file: Too many levels of symbolic links"));
}
END_TEST

START_TEST(pidfile_is_no_device)
{
	char		 error[DAEMON_ERROR_SIZE];
	struct stat	 st;

	ck_assert_int_eq(daemon_pidfile_write("/dev/null", error), -1);
	ck_assert_str_eq(error, "/dev/null: not a regular file");
	ck_assert_int_eq(stat("/dev/null", &st), 0);
	ck_assert_int_eq(daemon_pidfile_write("/nowhere/file", error), -1);
	ck_assert_str_eq(error, "/nowhere/file: No such file or directory");
}
END_TEST

/* The command's exit status; its service ends with status, ready or not before. */
static int
detached(int ready, int status)
{
	int	 ended;
	pid_t	 pid = fork();

	if (pid == 0) {
		pid_t	 command = getpid();

		if (daemon_detach() == -1 || getpid() == command || getsid(0) != getpid())
			_exit(99);
		if (ready && daemon_ready() == -1)
			_exit(98);
		_exit(status);
	}
	ck_assert_int_eq(waitpid(pid, &ended, 0), pid);
	ck_assert(WIFEXITED(ended));
	return WEXITSTATUS(ended);
}

START_TEST(command_waits_for_its_service)
{
	ck_assert_int_eq(detached(1, 5), 0);
	ck_assert_int_eq(detached(0, 5), 5);
	ck_assert_int_eq(detached(0, 0), 0);
	ck_assert_int_eq(daemon_ready(), 0);
	ck_assert_int_eq(fcntl(STDOUT_FILENO, F_GETFD), 0);
}
END_TEST

/* The service manager's end. */
static int
manager_at(const char *name)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	socklen_t	 length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name));
	int		 fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);

	memcpy(address.sun_path, name, strlen(name));
	if (*name == '@')
		address.sun_path[0] = '\0';
	ck_assert_int_eq(bind(fd, (const struct sockaddr *)&address, length), 0);
	setenv("NOTIFY_SOCKET", name, 1);
	return fd;
}

static void
notify_at(const char *name)
{
	char		 text[32] = "";
	int		 fd = manager_at(name);

	ck_assert_int_eq(daemon_notify("READY=1"), 0);
	ck_assert_int_eq((int)recv(fd, text, sizeof(text), 0), 7);
	ck_assert_str_eq(text, "READY=1");
	close(fd);
	ck_assert_int_eq(daemon_notify("STOPPING=1"), -1);
	ck_assert_int_eq(errno, ECONNREFUSED);
}

START_TEST(service_manager_is_told)
{
	char	 name[64], far[200];

	unsetenv("NOTIFY_SOCKET");
	ck_assert_int_eq(daemon_notify("READY=1"), 0);
	setenv("NOTIFY_SOCKET", "", 1);
	ck_assert_int_eq(daemon_notify("READY=1"), 0);
	notify_at(path);
	snprintf(name, sizeof(name), "@check_daemon.%ld", (long)getpid());
	notify_at(name);
	setenv("NOTIFY_SOCKET", "vsock:2:1234", 1);
	ck_assert_int_eq(daemon_notify("READY=1"), -1);
	ck_assert_int_eq(errno, EAFNOSUPPORT);
	memset(far, '/', sizeof(far));
	far[sizeof(far) - 1] = '\0';
	setenv("NOTIFY_SOCKET", far, 1);
	ck_assert_int_eq(daemon_notify("READY=1"), -1);
	ck_assert_int_eq(errno, ENAMETOOLONG);
}
END_TEST

START_TEST(reload_is_told_with_its_time)
{
	struct timespec	 before;
	char		 text[64] = "";
	long long	 us;
	int		 fd = manager_at(path);

	clock_gettime(CLOCK_MONOTONIC, &before);
	ck_assert_int_eq(daemon_notify_reloading(), 0);
	ck_assert_int_gt((int)recv(fd, text, sizeof(text) - 1, 0), 0);
	ck_assert_int_eq(sscanf(text, "RELOADING=1\nMONOTONIC_USEC=%lld", &us), 1);
	ck_assert_int_ge(us, before.tv_sec * 1000000LL + before.tv_nsec / 1000);
	ck_assert_int_lt(us, before.tv_sec * 1000000LL + 60000000LL);
	close(fd);
}
END_TEST

static const struct {
	const char	*usec, *pid;	/* pid "own": this process's */
	uint64_t	 ms;
} watchdogs[] = {
	{ NULL, NULL, 0 }, { NULL, "own", 0 }, { "", NULL, 0 }, { "0", NULL, 0 }, { "x", NULL, 0 }, { "-1", NULL, 0 }, { " 5", NULL, 0 },
	{ "120000000s", NULL, 0 }, { "99999999999999999999", NULL, 0 },
	{ "120000000", NULL, 60000 }, { "120000000", "own", 60000 }, { "120000000", "1", 0 }, { "120000000", "", 0 },
	{ "3999", NULL, 1 }, { "4000", NULL, 2 }, { "1", NULL, 1 },
};

static void
set_or_unset(const char *name, const char *value)
{
	if (value == NULL)
		unsetenv(name);
	else
		setenv(name, value, 1);
}

START_TEST(watchdog_is_of_this_process)
{
	const char	*pid = watchdogs[_i].pid;
	char		 own[32];

	snprintf(own, sizeof(own), "%ld", (long)getpid());
	set_or_unset("WATCHDOG_USEC", watchdogs[_i].usec);
	set_or_unset("WATCHDOG_PID", pid != NULL && strcmp(pid, "own") == 0 ? own : pid);
	ck_assert_uint_eq(daemon_watchdog_ms(), watchdogs[_i].ms);
}
END_TEST

struct witness {
	struct event_base *base;
	int		 times;
};

static void
watchdog_seen(evutil_socket_t fd, short what, void *arg)
{
	struct witness	*witness = arg;
	char		 text[32] = "";

	(void)what;
	ck_assert_int_eq((int)recv(fd, text, sizeof(text), 0), 10);
	ck_assert_str_eq(text, "WATCHDOG=1");
	if (++witness->times == 3)
		event_base_loopbreak(witness->base);
}

START_TEST(watchdog_is_told_again_and_again)
{
	struct event_base *base = event_base_new();
	struct witness	 witness = { .base = base };
	struct event	*watchdog, *seen;
	int		 fd = manager_at(path);

	unsetenv("WATCHDOG_PID");
	unsetenv("WATCHDOG_USEC");
	ck_assert_ptr_null(watchdog_new(base));
	ck_assert_int_eq(errno, 0);
	setenv("WATCHDOG_USEC", "20000", 1);
	watchdog = watchdog_new(base);
	ck_assert_ptr_nonnull(watchdog);
	seen = event_new(base, fd, EV_READ | EV_PERSIST, watchdog_seen, &witness);
	event_add(seen, NULL);
	ck_assert_int_eq(event_base_dispatch(base), 0);
	ck_assert_int_eq(witness.times, 3);
	event_free(seen);
	close(fd);
	ck_assert_int_eq(event_base_loop(base, EVLOOP_ONCE), 0);	/* nobody listens: it goes on */
	event_free(watchdog);
	event_base_free(base);
}
END_TEST

int
main(void)
{
	Suite		*suite = suite_create("daemon");
	TCase		*tc = tcase_create("daemon");
	SRunner		*runner = srunner_create(suite);
	int		 failed;

	suite_add_tcase(suite, tc);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, pidfile_is_held_once);
	tcase_add_test(tc, pidfile_left_behind_is_taken_over);
	tcase_add_test(tc, pidfile_is_no_device);
	tcase_add_test(tc, command_waits_for_its_service);
	tcase_add_test(tc, service_manager_is_told);
	tcase_add_test(tc, reload_is_told_with_its_time);
	tcase_add_loop_test(tc, watchdog_is_of_this_process, 0, (int)(sizeof(watchdogs) / sizeof(watchdogs[0])));
	tcase_add_test(tc, watchdog_is_told_again_and_again);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
