/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/wait.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>

#include "common/buf.h"

#include "collector/collector.h"
#include "collector/ctl_internal.h"
#include "collector/quota.h"
#include "collector/run.h"

/*
 * A command of vmtap(1) for an operator: a child of this program (run.h), whose output the client is sent. It is read only while the
 * client takes it, so that who reads slowly slows only the child. A child that has been killed counts until it is reaped.
 */
#define RUN_HELD	(256u * 1024)	/* not taken by the client */
#define RUN_PIECE	(32u * 1024)
#define RUN_FIXED	4		/* program, RUN_WORD, store, tenants */

extern char **environ;

struct run_pipe {
	struct ctl_run	*run;
	int		 fd;		/* -1: it has ended */
	uint8_t		 channel;
	struct event	*event;
};

struct ctl_run {
	TAILQ_ENTRY(ctl_run) entry;
	struct ctl	*ctl;
	struct ctl_client *client;	/* NULL: gone */
	struct ctl_tenant *tenant;
	pid_t		 pid;		/* 0: reaped */
	int		 status;
	struct run_pipe	 pipe[2];
};

static void
pipe_close(struct run_pipe *pipe)
{
	if (pipe->event != NULL)
		event_free(pipe->event);
	pipe->event = NULL;
	if (pipe->fd != -1)
		close(pipe->fd);
	pipe->fd = -1;
}

static void
run_free(struct ctl_run *run)
{
	pipe_close(&run->pipe[0]);
	pipe_close(&run->pipe[1]);
	TAILQ_REMOVE(&run->ctl->runs, run, entry);
	run->ctl->run_count--;
	run->tenant->runs--;
	quota_give_connections(2);
	free(run);
}

static void
send_piece(struct ctl_client *client, uint8_t channel, const void *bytes, size_t len)
{
	struct evbuffer *output = bufferevent_get_output(client->bev);
	const uint8_t head[CTL_RUN_HEADER] = { channel, (uint8_t)(len >> 24), (uint8_t)(len >> 16), (uint8_t)(len >> 8), (uint8_t)len };

	evbuffer_add(output, head, sizeof(head));
	evbuffer_add(output, bytes, len);
}

/* All that it wrote is out, and it has ended. */
static void
run_finish(struct ctl_run *run)
{
	const struct timeval idle = { .tv_sec = CTL_IDLE_S };
	struct ctl_client *client = run->client;
	uint8_t status = WIFEXITED(run->status) ? (uint8_t)WEXITSTATUS(run->status) : (uint8_t)(128 + WTERMSIG(run->status));

	if (run->pid != 0 || run->pipe[0].fd != -1 || run->pipe[1].fd != -1)
		return;
	if (client != NULL) {
		if (WIFSIGNALED(run->status))
			log_warn("a command of %s was ended by signal %d", client->who, WTERMSIG(run->status));
		client->run = NULL;
		ctl_client_set_idle(client, &idle, &idle);
		send_piece(client, CTL_RUN_END, &status, 1);
	}
	run_free(run);
}

static bool
client_is_full(const struct ctl_client *client)
{
	return evbuffer_get_length(bufferevent_get_output(client->bev)) >= RUN_HELD;
}

static void
run_rest(struct ctl_run *run)
{
	for (int i = 0; i < 2; i++)
		if (run->pipe[i].event != NULL)
			event_del(run->pipe[i].event);
}

static void
pipe_readable(evutil_socket_t fd, short what, void *arg)
{
	struct run_pipe *pipe = arg;
	struct ctl_run *run = pipe->run;
	uint8_t bytes[RUN_PIECE];
	ssize_t n = read(fd, bytes, sizeof(bytes));

	(void)what;
	if (n > 0) {
		send_piece(run->client, pipe->channel, bytes, (size_t)n);
		if (client_is_full(run->client))
			run_rest(run);
	} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		pipe_close(pipe);
		run_finish(run);
	}
}

void
ctl_run_continue(struct ctl_run *run)
{
	if (run == NULL || client_is_full(run->client))
		return;
	for (int i = 0; i < 2; i++)
		if (run->pipe[i].event != NULL)
			event_add(run->pipe[i].event, NULL);
}

void
ctl_run_abandon(struct ctl_run *run)
{
	if (run == NULL)
		return;
	run->client->run = NULL;
	run->client = NULL;
	pipe_close(&run->pipe[0]);
	pipe_close(&run->pipe[1]);
	if (run->pid != 0)
		kill(run->pid, SIGKILL);
	run_finish(run);
}

void
ctl_run_reap(struct ctl *ctl)
{
	struct ctl_run *run, *next;

	for (run = TAILQ_FIRST(&ctl->runs); run != NULL; run = next) {
		next = TAILQ_NEXT(run, entry);
		if (run->pid == 0 || waitpid(run->pid, &run->status, WNOHANG) != run->pid)
			continue;
		run->pid = 0;
		run_finish(run);
	}
}

/* The clients are gone, and with them what they ran. */
void
ctl_runs_free(struct ctl *ctl)
{
	struct ctl_run *run;

	while ((run = TAILQ_FIRST(&ctl->runs)) != NULL)
		run_free(run);
}

/* --- start --- */

/* "a,b" or "*": whose the client may read. */
static int
put_tenants(struct buf *text, const struct rights *rights)
{
	int errs = 0;

	if (rights_have(rights, RIGHTS_ALL_TENANTS, RIGHT_READ))
		errs += buf_printf(text, "%s", RIGHTS_ALL_TENANTS);
	else
		for (size_t i = 0; i < rights->count; i++)
			if ((rights->tenant[i].set & RIGHT_READ) != 0)
				errs += buf_printf(text, "%s%s", text->len > 0 ? "," : "", rights->tenant[i].name);
	return errs + buf_put_u8(text, '\0');
}

static int
spawn(struct ctl_run *run, char **argv, const int out[2], const int err[2])
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none, all;
	int rc;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attributes);
	rc = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	rc |= posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
	rc |= posix_spawn_file_actions_adddup2(&actions, err[1], STDERR_FILENO);
	rc |= posix_spawnattr_setsigmask(&attributes, &none);
	rc |= posix_spawnattr_setsigdefault(&attributes, &all);
	rc |= posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	if (rc == 0)
		rc = posix_spawn(&run->pid, run->ctl->run_program, &actions, &attributes, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	errno = rc;
	return rc == 0 ? 0 : -1;
}

static int
pipe_open(struct ctl_run *run, int i, uint8_t channel, int fd)
{
	struct run_pipe *pipe = &run->pipe[i];

	*pipe = (struct run_pipe){ .run = run, .fd = fd, .channel = channel };
	evutil_make_socket_nonblocking(fd);
	pipe->event = event_new(run->ctl->collector->base, fd, EV_READ | EV_PERSIST, pipe_readable, pipe);
	return pipe->event != NULL && event_add(pipe->event, NULL) == 0 ? 0 : -1;
}

/* With the places of its pipes. */
static struct ctl_run *
run_new(struct ctl_client *client)
{
	struct ctl_run *run = calloc(1, sizeof(*run));

	if (run == NULL || !quota_take_connections(2)) {
		free(run);
		errno = ENFILE;
		return NULL;
	}
	run->ctl = client->ctl;
	run->client = client;
	run->tenant = client->tenant;
	run->pipe[0].fd = run->pipe[1].fd = -1;
	TAILQ_INSERT_TAIL(&run->ctl->runs, run, entry);
	run->ctl->run_count++;
	run->tenant->runs++;
	return run;
}

/* 0, or -1 with errno and all taken back. */
static int
run_start(struct ctl_client *client, char **argv)
{
	struct ctl_run *run = run_new(client);
	int out[2] = { -1, -1 }, err[2] = { -1, -1 }, rc = -1;

	if (run == NULL)
		return -1;
	if (pipe2(out, O_CLOEXEC) == 0 && pipe2(err, O_CLOEXEC) == 0 && pipe_open(run, 0, CTL_RUN_OUT, out[0]) == 0 &&
	    pipe_open(run, 1, CTL_RUN_ERR, err[0]) == 0)
		rc = spawn(run, argv, out, err);
	if (out[1] != -1)
		close(out[1]);
	if (err[1] != -1)
		close(err[1]);
	if (rc == 0)
		client->run = run;
	else
		run_free(run);
	return rc;
}

/* --- what is asked --- */

/* Why this may not be run now; NULL: it may. */
static const char *
why_not(const struct ctl_client *client, const json_t *words)
{
	const struct ctl_tenant *tenant = client->tenant;
	const char *verb = json_string_value(json_array_get(words, 0));
	const json_t *word;
	size_t i;

	if (verb == NULL || json_array_size(words) > CTL_RUN_ARGS_MAX)
		return "\"argv\" is missing: a command of vmtap and its arguments, at most 64";
	json_array_foreach(words, i, word)
		if (!json_is_string(word))
			return "\"argv\" is a list of strings";
	if (!run_knows(verb))
		return "this is not run for operators: vms, files, stats and read are";
	if (tenant->runs >= CTL_RUNS_TENANT)
		return "your tenant's operators run as many commands as they may; try again when one has ended";
	if (client->ctl->run_count >= (tenant->runs == 0 ? CTL_RUNS_MAX : CTL_RUNS_SHARED))
		return "too many commands run for operators; try again in a moment";
	return NULL;
}

static void
start(struct ctl_client *client, const json_t *words, char *tenants)
{
	const struct timeval stall = { .tv_sec = CTL_RUN_STALL_S };
	char *argv[RUN_FIXED + CTL_RUN_ARGS_MAX + 1] = { "vmtap", RUN_WORD, client->ctl->collector->options.store, tenants };
	char error[256];

	for (size_t i = 0; i < json_array_size(words); i++)
		argv[RUN_FIXED + i] = (char *)json_string_value(json_array_get(words, i));
	if (run_start(client, argv) == 0) {
		ctl_client_set_idle(client, NULL, &stall);
		ctl_answer(client, json_pack("{s:b}", "ok", 1));
		return;
	}
	snprintf(error, sizeof(error), "cannot be run: %s", strerror(errno));
	log_warn("%s: %s", client->who, error);
	ctl_error(client, error);
}

void
ctl_run(struct ctl_client *client, const json_t *question)
{
	const json_t *words = json_object_get(question, "argv");
	const char *why;
	struct buf tenants;

	if (client->tenant == NULL) {
		ctl_error(client, "run is for operators that connect over TLS; here is the store itself");
		return;
	}
	if ((why = why_not(client, words)) != NULL) {
		ctl_error(client, why);
		return;
	}
	buf_init(&tenants, RIGHTS_TENANTS_MAX * (IDENTITY_NAME_SIZE + 1));
	if (put_tenants(&tenants, &client->rights) == 0)
		start(client, words, (char *)tenants.data);
	else
		ctl_error(client, "out of memory");
	buf_clear(&tenants);
}
