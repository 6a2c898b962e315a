/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/log.h"

#include "agent/spool.h"
#include "agent/supervisor.h"
#include "agent/supervisor_identity.h"

#define CREDENTIALS_FILES	3

#define BACKOFF_MIN_MS	100u
#define BACKOFF_MAX_MS	10000u
#define BACKOFF_STEADY_NS	UINT64_C(60000000000)	/* of a life after which the next death starts from the least delay */

static struct supervisor_role *
role_other(struct supervisor_role *role)
{
	return &role->supervisor->role[role->role == ROLE_CAPTURE ? ROLE_LINK : ROLE_CAPTURE];
}

static void
role_send_errno(struct supervisor_role *role, enum ipc_type type, int number)
{
	struct buf buf;

	buf_init(&buf, 16);
	if (buf_put_u32(&buf, (uint32_t)number) == -1 || ipc_send(role->ipc, type, buf.data, buf.len, NULL, 0) == -1)
		log_warn("%s role: cannot answer: %s", role_name(role->role), strerror(errno));
	buf_clear(&buf);
}

static void
role_socket_request(struct supervisor_role *role, const struct ipc_message *message)
{
	const uint8_t *wanted = message->payload;
	int fd = -1;

	errno = EINVAL;
	if (message->length == 2 && (wanted[0] == AF_INET || wanted[0] == AF_INET6) &&
	    (wanted[1] == SOCK_STREAM || wanted[1] == SOCK_DGRAM))
		fd = supervisor_socket(wanted[0], wanted[1]);
	if (fd == -1) {
		role_send_errno(role, IPC_SOCKET, errno);
		return;
	}
	if (ipc_send(role->ipc, IPC_SOCKET, NULL, 0, &fd, 1) == -1)
		log_warn("%s role: cannot hand out a socket: %s", role_name(role->role), strerror(errno));
	close(fd);
}

static void
role_send_credentials(struct supervisor_role *role, const char *why, const int *fd, size_t count)
{
	if (ipc_send(role->ipc, IPC_CREDENTIALS, why, strlen(why), fd, count) == -1)
		log_warn("%s role: cannot hand out the credentials: %s", role_name(role->role), strerror(errno));
}

/* Not a path from the role: the three files of the configuration, nothing else. */
static void
role_open_credentials(struct supervisor_role *role)
{
	const struct agent_options *options = role->supervisor->options;
	const char *path[CREDENTIALS_FILES] = { options->ca, options->cert, options->key };
	char why[MSG_TEXT_SIZE] = "";
	int fd[CREDENTIALS_FILES];
	size_t count = 0;

	while (count < CREDENTIALS_FILES && (fd[count] = identity_open(options, path[count])) != -1)
		count++;
	if (count < CREDENTIALS_FILES)
		snprintf(why, sizeof(why), "%s: %s", path[count], strerror(errno));
	role_send_credentials(role, why, fd, count == CREDENTIALS_FILES ? count : 0);
	while (count-- > 0)
		close(fd[count]);
}

/* Whether the credentials are this machine's. */
static bool
role_hand_enrolment(struct supervisor_role *role)
{
	struct ipc_enrolment enrolment;
	struct machine now;
	int fd[2];

	machine_read(&now);
	identity_look(role->supervisor->options, &now, &enrolment, fd);
	if (ipc_send_enrolment(role->ipc, &enrolment, fd) == -1)
		log_warn("%s role: cannot say what there is of enrolment: %s", role_name(role->role), strerror(errno));
	for (size_t i = 0; i < 2; i++)
		if (fd[i] != -1)
			close(fd[i]);
	return !enrolment.cloned;
}

static void
role_hand_credentials(struct supervisor_role *role)
{
	if (role->supervisor->options->enroll == NULL || role_hand_enrolment(role))
		role_open_credentials(role);
	else
		role_send_credentials(role, "", NULL, 0);
}

static void
role_store(struct supervisor_role *role, const struct ipc_message *message)
{
	struct machine now;
	enum ipc_store what;
	const uint8_t *bytes;
	size_t len;
	int error = 0;

	if (ipc_get_store(message, &what, &bytes, &len) == -1) {
		log_warn("%s role: a message of it makes no sense", role_name(role->role));
		return;
	}
	machine_read(&now);
	if (role->supervisor->options->enroll == NULL)
		error = EINVAL;
	else if (identity_store(role->supervisor->options, &now, what, bytes, len) == -1)
		error = errno;
	supervisor_watch(role->supervisor);
	if (ipc_send_stored(role->ipc, what, error) == -1)
		log_warn("%s role: cannot answer: %s", role_name(role->role), strerror(errno));
	if (error == 0 && (what == STORE_ENROLLED || what == STORE_RENEWED))
		role_hand_credentials(role);
}

void
supervisor_hand_credentials(struct supervisor *supervisor)
{
	if (supervisor->role[ROLE_LINK].ipc != NULL)
		role_hand_credentials(&supervisor->role[ROLE_LINK]);
}

static void
role_message(struct ipc *ipc, struct ipc_message *message, void *arg)
{
	struct supervisor_role *role = arg;

	(void)ipc;
	if (message->type == IPC_READY) {
		role->ready = true;
		supervisor_role_ready(role->supervisor);
	} else if (message->type == IPC_SOCKET_REQUEST && role->role == ROLE_LINK) {
		role_socket_request(role, message);
	} else if (message->type == IPC_CREDENTIALS_REQUEST && role->role == ROLE_LINK) {
		role_hand_credentials(role);
	} else if (message->type == IPC_STORE && role->role == ROLE_LINK) {
		role_store(role, message);
	} else {
		log_warn("%s role: sent message %d, which is not its to send", role_name(role->role), (int)message->type);
	}
}

/* Without it the role is of no use, and ends by itself or not. */
static void
role_closed(struct ipc *ipc, void *arg)
{
	struct supervisor_role *role = arg;

	(void)ipc;
	if (role->pid > 0 && !role->supervisor->stopping)
		kill(role->pid, SIGKILL);
}

const struct ipc_callbacks supervisor_role_callbacks = { .message = role_message, .closed = role_closed };

/* A block that a dead link role held would never be free. */
static void
role_forget_holds(const struct supervisor *supervisor)
{
	for (size_t i = 0; i < IPC_TAPS_MAX; i++)
		spool_detach(spool_attach(supervisor->spool_fd[i], SPOOL_CONSUMER));
}

static void
role_restart_later(struct supervisor_role *role)
{
	struct timeval delay;

	if (role->backoff_ms == 0 || clock_mono_ns() - role->started_ns >= BACKOFF_STEADY_NS)
		role->backoff_ms = BACKOFF_MIN_MS;
	else if (role->backoff_ms < BACKOFF_MAX_MS / 2)
		role->backoff_ms *= 2;
	else
		role->backoff_ms = BACKOFF_MAX_MS;
	delay = (struct timeval){ .tv_sec = role->backoff_ms / 1000, .tv_usec = (suseconds_t)(role->backoff_ms % 1000) * 1000 };
	event_add(role->restart, &delay);
}

/* What the link role is to have from its start waits for it in the socket. */
static int
role_spawn(struct supervisor_role *role, int peer)
{
	if (supervisor_spawn(role, peer) == -1)
		return -1;
	if (role->role == ROLE_LINK)
		supervisor_rpcap_hand(role->supervisor);
	return 0;
}

/* The one that lives on gets the other end of a new pair. */
static void
role_restart(evutil_socket_t fd, short what, void *arg)
{
	struct supervisor_role *role = arg, *other = role_other(role);
	int pair[2];

	(void)fd;
	(void)what;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == -1) {
		log_error("%s role: cannot restart it: %s", role_name(role->role), strerror(errno));
		role_restart_later(role);
		return;
	}
	if (role_spawn(role, pair[0]) == -1) {
		log_error("%s role: cannot restart it: %s", role_name(role->role), strerror(errno));
		role_restart_later(role);
	} else {
		log_info("%s role: restarted (pid %ld)", role_name(role->role), (long)role->pid);
		spool_count_add(role->supervisor->counters, COUNTER_ROLE_RESTARTS, STATS_AGENT, 1);
		if (other->ipc != NULL && ipc_send(other->ipc, IPC_PEER, NULL, 0, &pair[1], 1) == -1)
			log_warn("%s role: cannot give it its new peer: %s", role_name(other->role), strerror(errno));
	}
	close(pair[1]);
}

static void
role_log_exit(const struct supervisor_role *role, int wait_status)
{
	const char *name = role_name(role->role);

	if (WIFSIGNALED(wait_status))
		log_error("%s role: ended by signal %d (%s)", name, WTERMSIG(wait_status), strsignal(WTERMSIG(wait_status)));
	else if (WEXITSTATUS(wait_status) != 0 || !role->supervisor->stopping)
		log_error("%s role: ended with status %d", name, WEXITSTATUS(wait_status));
}

void
supervisor_role_exited(struct supervisor_role *role, int wait_status)
{
	struct supervisor *supervisor = role->supervisor;

	role_log_exit(role, wait_status);
	role->pid = 0;
	role->ready = false;
	ipc_free(role->ipc);
	role->ipc = NULL;
	if (role->role == ROLE_LINK)
		role_forget_holds(supervisor);
	if (supervisor->stopping)
		supervisor_stop_next(supervisor);
	else if (!supervisor->in_service)
		supervisor_stop(supervisor, 1);
	else
		role_restart_later(role);
}

static int
role_init(struct supervisor *supervisor, enum role which)
{
	struct supervisor_role *role = &supervisor->role[which];

	role->supervisor = supervisor;
	role->role = which;
	return (role->restart = evtimer_new(supervisor->base, role_restart, role)) != NULL ? 0 : -1;
}

int
supervisor_roles_start(struct supervisor *supervisor)
{
	int pair[2];

	if (role_init(supervisor, ROLE_CAPTURE) == -1 || role_init(supervisor, ROLE_LINK) == -1 ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == -1)
		return -1;
	if (role_spawn(&supervisor->role[ROLE_CAPTURE], pair[0]) == -1) {
		close(pair[1]);
		return -1;
	}
	return role_spawn(&supervisor->role[ROLE_LINK], pair[1]);
}

void
supervisor_role_clear(struct supervisor_role *role)
{
	if (role->pid > 0) {
		kill(role->pid, SIGKILL);
		waitpid(role->pid, NULL, 0);
	}
	ipc_free(role->ipc);
	if (role->restart != NULL)
		event_free(role->restart);
}
