/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/syscall.h>
#include <sys/wait.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/log.h"

#include "collector/enrol_command.h"

#define COMMAND_READ	4096
#define COMMAND_ERROR_MAX	1024	/* bytes of its standard error that are kept */
#define COMMAND_LINE_MAX	200	/* of them in our error */
#define COMMAND_REST	64	/* reads of what is left in the pipes, 64 KiB each at most */

extern char **environ;

struct running {
	const struct enrol_command *command;
	pid_t		 pid;
	int		 pidfd;
	int		 in, out, err;		/* our ends; -1: closed */
	size_t		 written;
	struct buf	*output;
	char		 said[COMMAND_ERROR_MAX + 1];	/* on its standard error */
	size_t		 said_len;
	const char	*failure;		/* why it is to be killed */
};

static void
close_end(int *fd)
{
	if (*fd != -1)
		close(*fd);
	*fd = -1;
}

/* Ours with its on top: both NULL-terminated; the array alone is heap. */
static char **
make_environment(const char *const *own)
{
	size_t base = 0, more = 0, n = 0;
	char **all;

	while (environ[base] != NULL)
		base++;
	while (own[more] != NULL)
		more++;
	if ((all = calloc(base + more + 1, sizeof(*all))) == NULL)
		return NULL;
	for (size_t i = 0; i < more; i++)
		all[n++] = (char *)(uintptr_t)own[i];
	for (size_t i = 0; i < base; i++)
		if (strncmp(environ[i], "VMTAP_", 6) != 0)
			all[n++] = environ[i];
	return all;
}

/* Signals as a program expects them, whatever our threads block, and a process group of its own. */
static int
spawn_attributes(posix_spawnattr_t *attr)
{
	static const int defaults[] = { SIGPIPE, SIGXFSZ, SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGALRM };
	sigset_t none, set;

	sigemptyset(&none);
	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(defaults) / sizeof(defaults[0]); i++)
		sigaddset(&set, defaults[i]);
	if ((errno = posix_spawnattr_setsigmask(attr, &none)) == 0 && (errno = posix_spawnattr_setsigdefault(attr, &set)) == 0 &&
	    (errno = posix_spawnattr_setpgroup(attr, 0)) == 0)
		errno = posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
	return errno == 0 ? 0 : -1;
}

static int
spawn(struct running *run, const int fds[3])
{
	char *argv[] = { (char *)(uintptr_t)"sh", (char *)(uintptr_t)"-c", (char *)(uintptr_t)run->command->command, NULL };
	char **environment = make_environment(run->command->environment);
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	int rc = environment != NULL ? 0 : ENOMEM;

	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attr);
	for (int i = 0; i < 3 && rc == 0; i++)
		rc = posix_spawn_file_actions_adddup2(&actions, fds[i], i);
	if (rc == 0 && spawn_attributes(&attr) == -1)
		rc = errno;
	if (rc == 0)
		rc = posix_spawn(&run->pid, "/bin/sh", &actions, &attr, argv, environment);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	free(environment);
	errno = rc;
	return rc == 0 ? 0 : -1;
}

/* Its ends are closed again, whatever comes of it. */
static int
start(struct running *run)
{
	int in[2] = { -1, -1 }, out[2] = { -1, -1 }, err[2] = { -1, -1 }, rc = -1, saved;

	if (pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0 && pipe2(err, O_CLOEXEC) == 0) {
		const int theirs[3] = { in[0], out[1], err[1] };

		rc = spawn(run, theirs);
	}
	saved = errno;
	close_end(&in[0]);
	close_end(&out[1]);
	close_end(&err[1]);
	run->in = in[1];
	run->out = out[0];
	run->err = err[0];
	if (rc == 0 && (fcntl(run->in, F_SETFL, O_NONBLOCK) == -1 || fcntl(run->out, F_SETFL, O_NONBLOCK) == -1 ||
	    fcntl(run->err, F_SETFL, O_NONBLOCK) == -1 || (run->pidfd = (int)syscall(SYS_pidfd_open, run->pid, 0)) == -1))
		run->failure = "cannot be watched";
	errno = saved;
	return rc;
}

static void
feed(struct running *run)
{
	const char *input = run->command->input;
	size_t left = strlen(input) - run->written;
	ssize_t n = write(run->in, input + run->written, left);

	if (n > 0)
		run->written += (size_t)n;
	if ((n == -1 && errno != EAGAIN && errno != EINTR) || run->written == strlen(input))
		close_end(&run->in);
}

/* What is too much is not read on: whatever it says, it is no certificate. */
static void
take_output(struct running *run)
{
	ssize_t n;

	if (buf_reserve(run->output, COMMAND_READ) == -1) {
		run->failure = "says too much";
		return;
	}
	if ((n = read(run->out, run->output->data + run->output->len, COMMAND_READ)) > 0)
		run->output->len += (size_t)n;
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		close_end(&run->out);
}

static void
take_error(struct running *run)
{
	char bytes[COMMAND_READ];
	ssize_t n = read(run->err, bytes, sizeof(bytes));
	size_t room = COMMAND_ERROR_MAX - run->said_len;

	if (n == 0 || (n == -1 && errno != EAGAIN && errno != EINTR))
		close_end(&run->err);
	if (n <= 0)
		return;
	if ((size_t)n < room)
		room = (size_t)n;
	memcpy(run->said + run->said_len, bytes, room);
	run->said_len += room;
}

/* Its end counts, not that of its output: what it left behind may hold that open. */
static void
wait_for_it(struct running *run)
{
	uint64_t until_ns = clock_mono_ns() + run->command->limit_ms * UINT64_C(1000000), now_ns;
	bool ended = false;

	while (run->failure == NULL && !ended) {
		struct pollfd fds[] = { { run->in, POLLOUT, 0 }, { run->out, POLLIN, 0 }, { run->err, POLLIN, 0 },
		    { run->pidfd, POLLIN, 0 }, { run->command->stop_fd, POLLIN, 0 } };

		if ((now_ns = clock_mono_ns()) >= until_ns) {
			run->failure = "took too long";
			break;
		}
		if (poll(fds, sizeof(fds) / sizeof(fds[0]), (int)((until_ns - now_ns) / 1000000 + 1)) <= 0)
			continue;
		ended = fds[3].revents != 0;
		if (fds[4].revents != 0)
			run->failure = "was stopped: the collector ends";
		if (fds[0].revents != 0)
			feed(run);
		if (fds[1].revents != 0)
			take_output(run);
		if (fds[2].revents != 0)
			take_error(run);
	}
}

/* What was written before it ended is in the pipes. */
static void
take_rest(struct running *run)
{
	struct pollfd fds[2] = { { run->out, POLLIN, 0 }, { run->err, POLLIN, 0 } };

	for (int i = 0; i < COMMAND_REST && run->failure == NULL && poll(fds, 2, 0) > 0; i++) {
		if (fds[0].revents != 0)
			take_output(run);
		if (fds[1].revents != 0)
			take_error(run);
		fds[0].fd = run->out;
		fds[1].fd = run->err;
	}
}

static int
judge(struct running *run, int status, char *error, size_t error_size)
{
	char line[COMMAND_LINE_MAX];

	run->said[run->said_len] = '\0';
	run->said[strcspn(run->said, "\r\n")] = '\0';
	log_escape(line, sizeof(line), run->said);
	if (run->failure != NULL)
		snprintf(error, error_size, "the command %s%s%s", run->failure, line[0] != '\0' ? ": " : "", line);
	else if (WIFSIGNALED(status))
		snprintf(error, error_size, "the command was killed by signal %d%s%s", WTERMSIG(status), line[0] != '\0' ? ": " : "", line);
	else if (WEXITSTATUS(status) != 0)
		snprintf(error, error_size, "the command ended with status %d%s%s", WEXITSTATUS(status), line[0] != '\0' ? ": " : "",
		    line);
	else
		return 0;
	return -1;
}

int
enrol_command_run(const struct enrol_command *command, struct buf *out, char *error, size_t error_size)
{
	struct running run = { .command = command, .pidfd = -1, .in = -1, .out = -1, .err = -1, .output = out };
	int status = 0, rc = -1;

	if (start(&run) == -1)
		snprintf(error, error_size, "the command cannot be started: %s", strerror(errno));
	else {
		wait_for_it(&run);
		kill(-run.pid, SIGKILL);	/* and what it has left running */
		while (waitpid(run.pid, &status, 0) == -1 && errno == EINTR)
			;
		take_rest(&run);
		rc = judge(&run, status, error, error_size);
	}
	close_end(&run.in);
	close_end(&run.out);
	close_end(&run.err);
	close_end(&run.pidfd);
	return rc;
}
