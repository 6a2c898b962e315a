/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "common/clock.h"
#include "common/daemon.h"
#include "common/filewatch.h"
#include "common/log.h"
#include "common/watchdog.h"
#include "proto/frame.h"

#include "agent/last_counts.h"
#include "agent/spool.h"
#include "agent/supervisor.h"
#include "agent/supervisor_identity.h"

/*
 * The supervisor keeps the rights it was started with and does little: it makes what the roles share, starts them, starts them
 * again when they die, and hands the link role sockets and open files that it may not open itself. It reads no packet and no
 * peer's byte.
 */

#define SPOOL_PULL_SIZE	(4u * 1024 * 1024)	/* of each operator's tap */
#define STOP_LIMIT_MS	2000			/* for both roles together */
#define STOP_LINK_MS	800			/* of this, kept for the link role */

void
supervisor_role_ready(struct supervisor *supervisor)
{
	if (supervisor->in_service || !supervisor->role[ROLE_CAPTURE].ready || !supervisor->role[ROLE_LINK].ready)
		return;
	supervisor->in_service = true;
	log_info("in service");
	if (daemon_notify("READY=1\nSTATUS=in service") == -1)
		log_warn("cannot tell the service manager that the service is ready: %s", strerror(errno));
	if (daemon_ready() == -1)
		log_warn("cannot go to the background wholly: %s", strerror(errno));
}

static void
tell_roles(struct supervisor *supervisor, enum ipc_type type, const int *fds, size_t fd_count)
{
	for (size_t i = 0; i < SUPERVISOR_ROLES; i++)
		if (supervisor->role[i].ipc != NULL && ipc_send(supervisor->role[i].ipc, type, NULL, 0, fds, fd_count) == -1)
			log_warn("%s role: cannot tell it: %s", role_name(supervisor->role[i].role), strerror(errno));
}

static void
deadline_set(struct supervisor *supervisor, uint32_t ms)
{
	const struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000 * 1000) };

	event_add(supervisor->deadline, &tv);
}

static uint32_t
stop_left_ms(const struct supervisor *supervisor, uint32_t keep_ms)
{
	uint64_t now_ns = clock_mono_ns(), left_ms = now_ns < supervisor->stop_ns ? (supervisor->stop_ns - now_ns) / 1000000 : 0;

	return left_ms > keep_ms ? (uint32_t)left_ms - keep_ms : 0;
}

/* The next one to be told, once capture has put its last blocks into the spool; the end once none is left. */
void
supervisor_stop_next(struct supervisor *supervisor)
{
	struct supervisor_role *capture = &supervisor->role[ROLE_CAPTURE], *link = &supervisor->role[ROLE_LINK];
	struct supervisor_role *next = capture->pid > 0 ? capture : link;

	if (next->pid == 0)
		event_base_loopbreak(supervisor->base);
	else if (next->ipc == NULL ||
	    ipc_send_shutdown(next->ipc, stop_left_ms(supervisor, next == capture ? STOP_LINK_MS : 0)) == -1)
		kill(next->pid, SIGKILL);
}

static void
stop_kill(const struct supervisor_role *role)
{
	if (role->pid <= 0)
		return;
	log_warn("%s role: did not end in time: killed", role_name(role->role));
	kill(role->pid, SIGKILL);
}

/* First that of capture alone: link has its own time, whatever became of that role. */
static void
on_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct supervisor *supervisor = arg;
	uint32_t left_ms = stop_left_ms(supervisor, 0);

	(void)fd;
	(void)what;
	stop_kill(&supervisor->role[ROLE_CAPTURE]);
	if (left_ms == 0)
		stop_kill(&supervisor->role[ROLE_LINK]);
	else
		deadline_set(supervisor, left_ms);
}

void
supervisor_stop(struct supervisor *supervisor, int status)
{
	if (supervisor->stopping)
		return;
	supervisor->stopping = true;
	supervisor->status = status;
	daemon_notify("STOPPING=1");
	for (size_t i = 0; i < SUPERVISOR_ROLES; i++)
		event_del(supervisor->role[i].restart);
	supervisor->stop_ns = clock_mono_ns() + STOP_LIMIT_MS * UINT64_C(1000000);
	deadline_set(supervisor, STOP_LIMIT_MS - STOP_LINK_MS);
	supervisor_stop_next(supervisor);
}

static void
on_terminate(evutil_socket_t number, short what, void *arg)
{
	struct supervisor *supervisor = arg;

	(void)what;
	log_info("%s: stopping", number == SIGINT ? "interrupted" : "terminated");
	supervisor_stop(supervisor, 0);
}

static void
on_child(evutil_socket_t number, short what, void *arg)
{
	struct supervisor *supervisor = arg;
	pid_t pid;
	int status;

	(void)number;
	(void)what;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (size_t i = 0; i < SUPERVISOR_ROLES; i++)
			if (supervisor->role[i].pid == pid)
				supervisor_role_exited(&supervisor->role[i], status);
}

static void
on_dump(evutil_socket_t number, short what, void *arg)
{
	(void)number;
	(void)what;
	tell_roles(arg, IPC_DUMP, NULL, 0);
}

static void
on_credentials(void *arg)
{
	struct supervisor *supervisor = arg;

	log_info("the credentials on disk have changed");
	if (!supervisor->stopping)
		supervisor_hand_credentials(supervisor);
}

/* A token has come, say, or cloud-init has found out which instance this is. */
static void
on_enrolment(void *arg)
{
	struct supervisor *supervisor = arg;

	if (!supervisor->stopping)
		supervisor_hand_credentials(supervisor);
}

static void
on_rpcap(void *arg)
{
	struct supervisor *supervisor = arg;

	log_info("the files for RPCAP on disk have changed");
	if (!supervisor->stopping)
		supervisor_rpcap_hand(supervisor);
}

static int
watch(struct supervisor *supervisor, struct filewatch **watch, void (*changed)(void *), const char *const path[], size_t count)
{
	if (*watch == NULL)
		*watch = filewatch_new(supervisor->base, changed, supervisor);
	return *watch != NULL ? filewatch_set(*watch, path, count) : -1;
}

static void
watch_rpcap(struct supervisor *supervisor)
{
	const char *path[RPCAP_FILES], *there[RPCAP_FILES];
	size_t count = 0;

	supervisor_rpcap_paths(supervisor->options, path);
	for (size_t i = 0; i < RPCAP_FILES; i++)
		if (path[i] != NULL)
			there[count++] = path[i];
	if (watch(supervisor, &supervisor->rpcap, on_rpcap, there, agent_options_rpcap(supervisor->options) ? count : 0) == -1)
		log_warn("new files for RPCAP are noticed at SIGHUP only, they cannot be watched: %s", strerror(errno));
}

void
supervisor_watch(struct supervisor *supervisor)
{
	const struct agent_options *options = supervisor->options;
	const char *const credentials[] = { options->ca, options->cert, options->key };
	const char *const enrolment[] = { options->token_file, MACHINE_INSTANCE_RUN, MACHINE_INSTANCE_DATA };

	if (watch(supervisor, &supervisor->credentials, on_credentials, credentials, agent_options_session(options) ? 3 : 0) == -1 ||
	    watch(supervisor, &supervisor->enrolment, on_enrolment, enrolment, options->enroll != NULL ? 3 : 0) == -1)
		log_warn("new credentials are noticed within the hour only, their files cannot be watched: %s", strerror(errno));
	watch_rpcap(supervisor);
}

/* What is wrong is said, and then nothing of it is taken. */
static int
load_again(struct supervisor *supervisor, struct agent_options *fresh)
{
	struct conf_error error;

	if (agent_options_load(fresh, supervisor->argc, supervisor->argv, &error) == -1 ||
	    supervisor_check_options(fresh, &error) != 0) {
		log_error("%s", error.text);
		return -1;
	}
	return supervisor_probe(fresh, true) == 0 ? 0 : -1;
}

static void
take_options(struct supervisor *supervisor, struct agent_options *fresh)
{
	char names[512];
	int fd;

	agent_options_keep(supervisor->options, fresh, names, sizeof(names));
	if (names[0] != '\0')
		log_warn("changed, but needs a restart: %s", names);
	agent_options_free(supervisor->options);
	*supervisor->options = *fresh;
	supervisor_watch(supervisor);
	log_set_level((enum log_level)fresh->log_level);
	if ((fd = supervisor_config_fd(fresh)) == -1) {
		log_error("cannot hand on the configuration: %s", strerror(errno));
		return;
	}
	tell_roles(supervisor, IPC_CONFIG, &fd, 1);
	close(fd);
	supervisor_rpcap_hand(supervisor);
	log_info("configuration read again");
}

/* A service that has not told it is ready yet does so by itself. */
static void
reload_told(const struct supervisor *supervisor, const char *state)
{
	if (supervisor->in_service)
		daemon_notify(state);
}

static void
on_reload(evutil_socket_t number, short what, void *arg)
{
	struct supervisor *supervisor = arg;
	struct agent_options fresh = { 0 };

	(void)number;
	(void)what;
	if (supervisor->stopping)
		return;
	if (supervisor->in_service)
		daemon_notify_reloading();
	if (load_again(supervisor, &fresh) == 0) {
		take_options(supervisor, &fresh);
		reload_told(supervisor, "READY=1\nSTATUS=in service");
		return;
	}
	log_error("the configuration stays as it was");
	agent_options_free(&fresh);
	reload_told(supervisor, "READY=1\nSTATUS=in service; the configuration on disk was refused and is not in force, see the log");
}

static int
make_signals(struct supervisor *supervisor)
{
	static const struct {
		int	number;
		void	(*call)(evutil_socket_t, short, void *);
	} rows[] = {
		{ SIGTERM, on_terminate }, { SIGINT, on_terminate }, { SIGCHLD, on_child }, { SIGHUP, on_reload },
		{ SIGUSR1, on_dump },
	};

	signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		supervisor->signals[i] = evsignal_new(supervisor->base, rows[i].number, rows[i].call, supervisor);
		if (supervisor->signals[i] == NULL || event_add(supervisor->signals[i], NULL) == -1)
			return -1;
	}
	return 0;
}

static int
make_shared(struct supervisor *supervisor)
{
	for (size_t i = 0; i < IPC_TAPS_MAX; i++) {
		supervisor->spool_fd[i] = spool_create("vmtap-spool", i == 0 ? supervisor->options->spool_memory : SPOOL_PULL_SIZE);
		supervisor->wake_fd[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (supervisor->spool_fd[i] == -1 || supervisor->wake_fd[i] == -1)
			return -1;
	}
	supervisor->policy_fd = memfd_create("vmtap-policy", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (supervisor->policy_fd == -1 || ftruncate(supervisor->policy_fd, AGENT_POLICY_SIZE) == -1 ||
	    fcntl(supervisor->policy_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == -1)
		return -1;
	if (supervisor_last_open(supervisor) == -1)
		return -1;
	return (supervisor->counters = spool_attach(supervisor->spool_fd[0], SPOOL_OBSERVER)) != NULL ? 0 : -1;
}

static void
make_listeners(struct supervisor *supervisor)
{
	const struct conf_list *listens = &supervisor->options->listens;
	const struct supervisor_places places = { .list = listens, .option = "listen", .port = FRAME_PORT };
	struct conf_error error;

	for (size_t i = 0; i < listens->count; i++) {
		if ((supervisor->listen_fd[i] = supervisor_listen(&places, i, &error)) == -1)
			fatal("%s", error.text);
		supervisor->listen_count++;
	}
	if (supervisor_rpcap_listen(supervisor, &error) == -1)
		fatal("%s", error.text);
}

static void
make_disk(struct supervisor *supervisor)
{
	const struct agent_options *options = supervisor->options;
	char error[DISK_ERROR_SIZE];

	if (options->spool_disk == 0)
		return;
	if ((supervisor->disk_lock_fd = disk_files_open(options->spool_dir, supervisor->disk_fd, error)) == -1)
		fatal("%s", error);
}

static void
go_to_background(struct supervisor *supervisor)
{
	const struct agent_options *options = supervisor->options;
	char error[DAEMON_ERROR_SIZE];

	if (options->daemon) {
		if (daemon_detach() == -1)
			fatal("cannot go to the background: %s", strerror(errno));
	}
	if (options->pidfile != NULL && (supervisor->pidfile_fd = daemon_pidfile_write(options->pidfile, error)) == -1)
		fatal("%s", error);
	if (options->daemon)
		log_to_syslog();
}

static void
supervisor_clear(struct supervisor *supervisor)
{
	for (size_t i = 0; i < SUPERVISOR_ROLES; i++)
		supervisor_role_clear(&supervisor->role[i]);
	for (size_t i = 0; i < sizeof(supervisor->signals) / sizeof(supervisor->signals[0]); i++)
		if (supervisor->signals[i] != NULL)
			event_free(supervisor->signals[i]);
	if (supervisor->deadline != NULL)
		event_free(supervisor->deadline);
	if (supervisor->watchdog != NULL)
		event_free(supervisor->watchdog);
	filewatch_free(supervisor->credentials);
	filewatch_free(supervisor->enrolment);
	filewatch_free(supervisor->rpcap);
	spool_detach(supervisor->counters);
	if (supervisor->last != NULL)
		munmap(supervisor->last, sizeof(*supervisor->last));
	supervisor_metrics_clear(supervisor);
	if (supervisor->base != NULL)
		event_base_free(supervisor->base);
	daemon_pidfile_remove(supervisor->options->pidfile, supervisor->pidfile_fd);
}

/* A link role that is started again is the same process to a collector. */
static int
make_instance(void)
{
	char text[2 * MSG_ID_SIZE + 1];
	uint8_t id[MSG_ID_SIZE];

	if (getrandom(id, sizeof(id), 0) != (ssize_t)sizeof(id))
		return -1;
	for (size_t i = 0; i < sizeof(id); i++)
		snprintf(text + 2 * i, sizeof(text) - 2 * i, "%02x", id[i]);
	return setenv(AGENT_INSTANCE_ENV, text, 1);
}

/* For this loop alone: roles that end are started again by it, and one that a busy guest leaves no CPU is not at fault. */
static void
watch_loop(struct supervisor *supervisor)
{
	supervisor->watchdog = watchdog_new(supervisor->base);
	if (supervisor->watchdog == NULL && errno != 0)
		log_warn("the service manager's watchdog cannot be told: %s", strerror(errno));
}

static int
supervisor_start(struct supervisor *supervisor)
{
	if (make_instance() == -1 || (supervisor->base = event_base_new()) == NULL ||
	    (supervisor->deadline = evtimer_new(supervisor->base, on_deadline, supervisor)) == NULL)
		return -1;
	return make_signals(supervisor) == 0 && make_shared(supervisor) == 0 && supervisor_roles_start(supervisor) == 0 ? 0 : -1;
}

int
supervisor_run(struct supervisor *supervisor)
{
	int status = EXIT_FAILURE;

	if (supervisor_start(supervisor) == 0) {
		supervisor_watch(supervisor);
		watch_loop(supervisor);
		event_base_dispatch(supervisor->base);
		supervisor_last_keep(supervisor);
		status = supervisor->status;
	} else {
		log_error("cannot start: %s", strerror(errno));
	}
	supervisor_clear(supervisor);
	return status;
}

int
supervisor_main(struct agent_options *options, int argc, char **argv)
{
	struct supervisor supervisor = { .options = options, .argc = argc, .argv = argv, .pidfile_fd = -1,
		.disk_lock_fd = -1 };
	struct conf_error error;
	int status;

	if ((status = supervisor_check_options(options, &error)) != 0)
		conf_usage("vmtap-agent", &error);
	if ((status = supervisor_probe(options, false)) != 0)
		return status;
	make_listeners(&supervisor);
	supervisor_metrics_listen(&supervisor);
	make_disk(&supervisor);
	go_to_background(&supervisor);
	return supervisor_run(&supervisor);
}
