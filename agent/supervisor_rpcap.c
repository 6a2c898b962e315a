/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"

#include "agent/supervisor.h"
#include "agent/supervisor_identity.h"

/* What the link role cannot have by itself for its RPCAP clients: sockets that listen, and files that only root may read. */

void
supervisor_rpcap_paths(const struct agent_options *options, const char *path[RPCAP_FILES])
{
	path[RPCAP_FILE_CERT] = options->rpcap_cert;
	path[RPCAP_FILE_KEY] = options->rpcap_key;
	path[RPCAP_FILE_CA] = options->rpcap_ca;
	path[RPCAP_FILE_PASSWORDS] = options->rpcap_passwords;
}

int
supervisor_rpcap_listen(struct supervisor *supervisor, struct conf_error *error)
{
	const struct supervisor_places places = supervisor_rpcap_places(supervisor->options);

	for (size_t i = 0; i < places.list->count; i++) {
		if ((supervisor->rpcap_fd[i] = supervisor_listen(&places, i, error)) == -1)
			return -1;
		supervisor->rpcap_count++;
	}
	return 0;
}

/* Not a path from the role: the files of the configuration, nothing else. */
static size_t
open_files(const struct agent_options *options, uint8_t *bits, int fds[RPCAP_FILES])
{
	const char *path[RPCAP_FILES];
	size_t count = 0;

	supervisor_rpcap_paths(options, path);
	for (size_t i = 0; i < RPCAP_FILES; i++) {
		if (path[i] == NULL)
			continue;
		if ((fds[count] = identity_open(options, path[i])) == -1) {
			log_error("%s: %s: RPCAP goes without it", path[i], strerror(errno));
			continue;
		}
		*bits = (uint8_t)(*bits | 1u << i);
		count++;
	}
	return count;
}

void
supervisor_rpcap_hand(struct supervisor *supervisor)
{
	struct ipc *ipc = supervisor->role[ROLE_LINK].ipc;
	int fds[RPCAP_FILES];
	uint8_t bits = 0;
	size_t count;

	if (ipc == NULL || !agent_options_rpcap(supervisor->options))
		return;
	count = open_files(supervisor->options, &bits, fds);
	if (ipc_send(ipc, IPC_RPCAP_FILES, &bits, 1, fds, count) == -1)
		log_warn("link role: cannot hand out the files for RPCAP: %s", strerror(errno));
	while (count-- > 0)
		close(fds[count]);
}
