/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/daemon.h"

static int	ready_fd = -1;	/* the command that waits reads the other end */

/* Does not return: the command ends as the service does, unless that becomes ready first. */
static void __attribute__((noreturn))
wait_until_ready(int fd, pid_t child)
{
	char	 byte;
	ssize_t	 n;
	int	 status = 0;

	do
		n = read(fd, &byte, 1);
	while (n == -1 && errno == EINTR);
	if (n == 1)
		_exit(EXIT_SUCCESS);
	while (waitpid(child, &status, 0) == -1 && errno == EINTR)
		;
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILURE);
}

int
daemon_detach(void)
{
	int	 fds[2];
	pid_t	 pid;

	if (pipe2(fds, O_CLOEXEC) == -1)
		return -1;
	pid = fork();
	if (pid == -1) {
		close(fds[0]);
		close(fds[1]);
		return -1;
	}
	close(fds[pid == 0 ? 0 : 1]);
	if (pid != 0)
		wait_until_ready(fds[0], pid);
	ready_fd = fds[1];
	return setsid() == -1 ? -1 : 0;
}

int
daemon_ready(void)
{
	int	 null, errs = 0;

	if (ready_fd == -1)
		return 0;
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null == -1)
		return -1;
	for (int fd = 0; fd <= 2; fd++)
		errs += dup2(null, fd) == -1;
	if (null > 2)
		close(null);
	errs += write(ready_fd, "", 1) != 1;
	close(ready_fd);
	ready_fd = -1;
	return errs == 0 ? 0 : -1;
}

/* Whether path still is the file behind fd: whoever ran before may just have removed it. */
static bool
is_file_at(int fd, const char *path)
{
	struct stat	 ours, there;

	return fstat(fd, &ours) == 0 && stat(path, &there) == 0 && ours.st_dev == there.st_dev && ours.st_ino == there.st_ino;
}

/* A device or pipe would neither be emptied nor could it be removed afterwards without harm. */
static bool
is_regular(int fd)
{
	struct stat	 st;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

/* Why flock(2) failed, by its errno. */
static void
say_who_runs(int fd, const char *path, char error[DAEMON_ERROR_SIZE])
{
	char	 text[32];
	ssize_t	 n;
	long	 pid;

	if (errno != EWOULDBLOCK) {
		snprintf(error, DAEMON_ERROR_SIZE, "%s: %s", path, strerror(errno));
		return;
	}
	n = pread(fd, text, sizeof(text) - 1, 0);
	text[n > 0 ? n : 0] = '\0';
	pid = strtol(text, NULL, 10);
	if (pid > 0)
		snprintf(error, DAEMON_ERROR_SIZE, "%s: already running, with pid %ld", path, pid);
	else
		snprintf(error, DAEMON_ERROR_SIZE, "%s: already running", path);
}

/* The file at path, locked; -1 with the error. */
static int
open_locked(const char *path, char error[DAEMON_ERROR_SIZE])
{
	for (;;) {
		int	 fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0644);

		if (fd == -1) {
			snprintf(error, DAEMON_ERROR_SIZE, "%s: %s", path, strerror(errno));
			return -1;
		}
		if (!is_regular(fd)) {
			snprintf(error, DAEMON_ERROR_SIZE, "%s: not a regular file", path);
			close(fd);
			return -1;
		}
		if (flock(fd, LOCK_EX | LOCK_NB) == -1) {
			say_who_runs(fd, path, error);
			close(fd);
			return -1;
		}
		if (is_file_at(fd, path))
			return fd;
		close(fd);
	}
}

int
daemon_pidfile_write(const char *path, char error[DAEMON_ERROR_SIZE])
{
	int	 fd = open_locked(path, error);

	if (fd == -1)
		return -1;
	if (ftruncate(fd, 0) == -1 || dprintf(fd, "%ld\n", (long)getpid()) < 0) {
		snprintf(error, DAEMON_ERROR_SIZE, "%s: %s", path, strerror(errno));
		daemon_pidfile_remove(path, fd);
		return -1;
	}
	return fd;
}

void
daemon_pidfile_remove(const char *path, int fd)
{
	if (fd == -1)
		return;
	if (is_file_at(fd, path))
		unlink(path);
	close(fd);
}

int
daemon_notify(const char *state)
{
	const char	*path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	size_t		 n;
	ssize_t		 sent;
	int		 fd, saved;

	if (path == NULL || *path == '\0')
		return 0;
	n = strlen(path);
	if ((*path != '/' && *path != '@') || n >= sizeof(address.sun_path)) {
		errno = *path != '/' && *path != '@' ? EAFNOSUPPORT : ENAMETOOLONG;
		return -1;
	}
	memcpy(address.sun_path, path, n);
	if (*path == '@')
		address.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd == -1)
		return -1;
	sent = sendto(fd, state, strlen(state), MSG_NOSIGNAL, (const struct sockaddr *)&address,
	    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n));
	saved = errno;
	close(fd);
	errno = saved;
	return sent == -1 ? -1 : 0;
}

int
daemon_notify_reloading(void)
{
	char	 state[64];

	snprintf(state, sizeof(state), "RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long)(clock_mono_ns() / 1000));
	return daemon_notify(state);
}

/* A number of which nothing is left over; 0: none. */
static uint64_t
environment_number(const char *name)
{
	const char	*text = getenv(name);
	char		*end;
	uint64_t	 number;

	if (text == NULL || *text < '0' || *text > '9')
		return 0;
	errno = 0;
	number = strtoull(text, &end, 10);
	return errno == 0 && *end == '\0' ? number : 0;
}

uint64_t
daemon_watchdog_ms(void)
{
	uint64_t	 limit_us = environment_number("WATCHDOG_USEC");

	if (limit_us == 0 || (getenv("WATCHDOG_PID") != NULL && environment_number("WATCHDOG_PID") != (uint64_t)getpid()))
		return 0;
	return limit_us < 2000 ? 1 : limit_us / 2000;
}
