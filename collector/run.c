/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/prctl.h>
#include <sys/resource.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "common/sandbox.h"
#include "proto/rights.h"

#include "collector/cmd.h"
#include "collector/run.h"

#define RUN_NICE	10
#define RUN_MEMORY	(UINT64_C(1) << 30)
#define RUN_FILES	4096		/* read --merged has one of each VM open */

static const struct {
	const char	*name;
	int		(*run)(int, char **);
} commands[] = {
	{ "vms", cmd_vms },
	{ "files", cmd_files },
	{ "read", cmd_read },
	{ "stats", cmd_stats },
};
#define COMMAND_COUNT	(sizeof(commands) / sizeof(commands[0]))

bool
run_knows(const char *verb)
{
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		if (strcmp(commands[i].name, verb) == 0)
			return true;
	return false;
}

static void
set_limit(__rlimit_resource_t what, rlim_t most)
{
	struct rlimit limit;

	if (getrlimit(what, &limit) == -1)
		return;
	if (limit.rlim_max > most)
		limit.rlim_max = most;
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(what, &limit);
}

/* When memory runs out it is this one, not the collector, that is ended. */
static void
go_first(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd == -1)
		return;
	(void)!write(fd, "1000", 4);
	close(fd);
}

/* It reads, and writes to what it was given: no file grows by it, and no name in a filter is asked of the network. Time has no limit,
 * since a reading may follow for days: instead the collector comes first. */
static void
become_small(void)
{
	char error[SANDBOX_ERROR_SIZE];

	(void)close_range(STDERR_FILENO + 1, ~0u, 0);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	(void)!nice(RUN_NICE);
	go_first();
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	set_limit(RLIMIT_CORE, 0);
	set_limit(RLIMIT_FSIZE, 0);
	set_limit(RLIMIT_NOFILE, RUN_FILES);
	if (!SANDBOX_FOR_ASAN)
		set_limit(RLIMIT_DATA, RUN_MEMORY);
	if (sandbox_seccomp(SANDBOX_READ, error, sizeof(error)) == -1)
		log_debug("%s", error);
}

static int
take_tenants(char *list, struct rights *rights)
{
	char *name;

	while ((name = strsep(&list, ",")) != NULL)
		if (name[0] != '\0' && rights_add(rights, name, RIGHT_READ) == -1)
			return -1;
	return 0;
}

int
run_main(int argc, char **argv)
{
	static struct rights rights;

	log_init("vmtap", LOG_LEVEL_WARN);
	if (argc < 4 || take_tenants(argv[2], &rights) == -1) {
		fprintf(stderr, "vmtap: this is for the collector itself\n");
		return 2;
	}
	become_small();
	cmd_restrict(argv[1], &rights);
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		if (strcmp(commands[i].name, argv[3]) == 0)
			return cmd_finish_output(commands[i].run(argc - 3, argv + 3));
	fprintf(stderr, "vmtap: no such command here\n");
	return 2;
}
