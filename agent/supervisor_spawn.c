/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/mman.h>
#include <sys/socket.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"

#include "agent/supervisor.h"

#define SPAWN_FDS_MAX	(ROLE_FD_LAST + 1)

int
supervisor_config_fd(const struct agent_options *options)
{
	char *text;
	size_t length;
	int fd;

	if ((text = conf_to_text(agent_rows, options)) == NULL)
		return -1;
	length = strlen(text);
	if ((fd = memfd_create("config", MFD_CLOEXEC | MFD_ALLOW_SEALING)) != -1 &&
	    (write(fd, text, length) != (ssize_t)length ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) == -1)) {
		close(fd);
		fd = -1;
	}
	free(text);
	return fd;
}

/* Only what is on the list is open in the role, each at its number; list[n] is -1 where nothing is. */
static int
spawn_place_fds(int list[SPAWN_FDS_MAX])
{
	int null;

	if ((null = open("/dev/null", O_RDONLY)) == -1 || dup2(null, STDIN_FILENO) == -1)
		return -1;
	/* Out of the way first: one's source may be another's place. */
	for (int n = ROLE_FD_SUPERVISOR; n < SPAWN_FDS_MAX; n++)
		if (list[n] != -1 && (list[n] = fcntl(list[n], F_DUPFD, SPAWN_FDS_MAX)) == -1)
			return -1;
	for (int n = ROLE_FD_SUPERVISOR; n < SPAWN_FDS_MAX; n++) {
		if (list[n] == -1)
			close(n);
		else if (dup2(list[n], n) == -1)
			return -1;
	}
	return close_range(SPAWN_FDS_MAX, ~0u, 0);
}

static void __attribute__((noreturn))
spawn_child(enum role role, int list[SPAWN_FDS_MAX])
{
	char argument[32], *argv[] = { (char *)(uintptr_t)"vmtap-agent", argument, NULL };

	snprintf(argument, sizeof(argument), "--role=%s", role_name(role));
	unsetenv("NOTIFY_SOCKET");
	if (spawn_place_fds(list) == 0)
		execv("/proc/self/exe", argv);
	dprintf(STDERR_FILENO, "vmtap-agent: cannot start the %s role: %s\n", role_name(role), strerror(errno));
	_exit(EXIT_FAILURE);
}

static void
spawn_list_fds(const struct supervisor_role *role, int own, int peer, int config, int list[SPAWN_FDS_MAX])
{
	const struct supervisor *supervisor = role->supervisor;

	for (size_t n = 0; n < SPAWN_FDS_MAX; n++)
		list[n] = -1;
	list[ROLE_FD_SUPERVISOR] = own;
	list[ROLE_FD_PEER] = peer;
	list[ROLE_FD_CONFIG] = config;
	for (size_t i = 0; i < IPC_TAPS_MAX; i++) {
		list[ROLE_FD_SPOOL + i] = supervisor->spool_fd[i];
		list[ROLE_FD_WAKE + i] = supervisor->wake_fd[i];
	}
	for (size_t i = 0; role->role == ROLE_LINK && supervisor->disk_lock_fd != -1 && i < DISK_SEGMENTS; i++)
		list[ROLE_FD_DISK + i] = supervisor->disk_fd[i];
	for (size_t i = 0; role->role == ROLE_LINK && i < supervisor->listen_count; i++)
		list[ROLE_FD_LISTEN + i] = supervisor->listen_fd[i];
	for (size_t i = 0; role->role == ROLE_LINK && i < supervisor->rpcap_count; i++)
		list[ROLE_FD_RPCAP + i] = supervisor->rpcap_fd[i];
	for (size_t i = 0; role->role == ROLE_LINK && i < supervisor->metrics_count; i++)
		list[ROLE_FD_METRICS + i] = supervisor->metrics_fd[i];
	if (role->role == ROLE_LINK)
		list[ROLE_FD_POLICY] = supervisor->policy_fd;
	else
		list[ROLE_FD_LAST] = supervisor->last_fd;
}

int
supervisor_spawn(struct supervisor_role *role, int peer)
{
	int pair[2] = { -1, -1 }, list[SPAWN_FDS_MAX], config, saved;

	role->pid = 0;
	if ((config = supervisor_config_fd(role->supervisor->options)) != -1 &&
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0 &&
	    (role->ipc = ipc_new(role->supervisor->base, pair[0], &supervisor_role_callbacks, role)) != NULL) {
		pair[0] = -1;
		spawn_list_fds(role, pair[1], peer, config, list);
		role->ready = false;
		role->started_ns = clock_mono_ns();
		if ((role->pid = fork()) == 0)
			spawn_child(role->role, list);
	}
	saved = errno;
	for (size_t i = 0; i < 2; i++)
		if (pair[i] != -1)
			close(pair[i]);
	close(peer);
	if (config != -1)
		close(config);
	if (role->pid > 0)
		return 0;
	role->pid = 0;
	ipc_free(role->ipc);
	role->ipc = NULL;
	errno = saved;
	return -1;
}
