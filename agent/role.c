/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "common/sandbox.h"

#include "agent/agent.h"
#include "agent/disk.h"
#include "agent/role.h"

#define ROLE_NICE		10
#define ROLE_TIMER_SLACK_NS	50000000ul	/* wake-ups may be put together with others' */

static const struct {
	const char	*name;
	enum sandbox_profile profile;
	bool		 net_raw;
} roles[] = {
	[ROLE_CAPTURE] = { "capture", SANDBOX_CAPTURE, true },
	[ROLE_LINK] = { "link", SANDBOX_LINK, false },
};

static enum role own_role;
static bool use_sandbox;

const char *
role_name(enum role role)
{
	return roles[role].name;
}

int
role_by_name(const char *name, enum role *role)
{
	for (unsigned i = 0; i < sizeof(roles) / sizeof(roles[0]); i++)
		if (strcmp(roles[i].name, name) == 0) {
			*role = (enum role)i;
			return 0;
		}
	return -1;
}

/* The guest's own work goes first. Where the system refuses, the role just runs as others do. */
static void
role_step_behind(enum agent_priority priority)
{
	static const int policies[] = { [PRIORITY_IDLE] = SCHED_IDLE, [PRIORITY_LOW] = SCHED_BATCH, [PRIORITY_NORMAL] = SCHED_OTHER };
	const struct sched_param param = { 0 };
	int nice_to = priority == PRIORITY_NORMAL ? 0 : ROLE_NICE, errs = 0;

	errs += sched_setscheduler(0, policies[priority], &param) == -1;
	errs += setpriority(PRIO_PROCESS, 0, nice_to) == -1;
	errs += prctl(PR_SET_TIMERSLACK, ROLE_TIMER_SLACK_NS, 0, 0, 0) == -1;
	if (errs != 0)
		log_debug("the scheduling priority is what it was at the start, at least in part: %m");
}

/* Signals to the whole group (Ctrl-C, a service manager's) are the supervisor's to act on; and nobody outlives it. */
static void
role_follow_supervisor(void)
{
	static const int ignored[] = { SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGPIPE };

	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		signal(ignored[i], SIG_IGN);
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) == -1)
		fatal("cannot follow the supervisor: %m");
}

/* Under the limit, what is written beyond it is an error and no signal. A log that is a file would fall under it too. */
int
role_limit_files(const struct agent_options *options)
{
	const rlim_t size = options->spool_disk > 0 ? options->spool_disk / DISK_SEGMENTS + ROLE_SEGMENT_SPARE : 0;
	const struct rlimit limit = { size, size };
	struct stat st;

	if (fstat(STDERR_FILENO, &st) == 0 && S_ISREG(st.st_mode))
		return 0;
	signal(SIGXFSZ, SIG_IGN);
	return setrlimit(RLIMIT_FSIZE, &limit);
}

void
role_begin(enum role role, struct agent_options *options)
{
	char identity[64], reason[SANDBOX_ERROR_SIZE];
	struct conf_error error;

	snprintf(identity, sizeof(identity), "vmtap-%s", role_name(role));
	prctl(PR_SET_NAME, identity, 0, 0, 0);
	snprintf(identity, sizeof(identity), "vmtap-agent[%s]", role_name(role));
	log_init(identity, LOG_LEVEL_INFO);
	if (fcntl(ROLE_FD_SUPERVISOR, F_GETFD) == -1 || fcntl(ROLE_FD_SPOOL, F_GET_SEALS) == -1)
		fatal("--role is for vmtap-agent's own use");
	if (agent_options_read(options, ROLE_FD_CONFIG, &error) == -1)
		fatal("%s", error.text);
	log_set_level((enum log_level)options->log_level);
	if (options->daemon)
		log_to_syslog();
	own_role = role;
	use_sandbox = !options->no_sandbox;
	if (role_limit_files(options) == -1)
		log_warn("cannot limit the size of files: %m");
	role_step_behind((enum agent_priority)options->priority);
	if (sandbox_drop_user(options->user, roles[role].net_raw, reason, sizeof(reason)) == -1)
		fatal("%s", reason);
	/* A change of user takes it back, so it comes last; a supervisor that ended before has closed its socket. */
	role_follow_supervisor();
}

void
role_sandbox(void)
{
	char reason[SANDBOX_ERROR_SIZE];

	if (use_sandbox && sandbox_seccomp(roles[own_role].profile, reason, sizeof(reason)) == -1)
		fatal("%s (--no-sandbox goes without)", reason);
}
