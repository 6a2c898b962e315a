/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"

#include "agent/agent.h"
#include "agent/role.h"
#include "agent/rpcapd.h"

static void
print_help(void)
{
	printf("Usage: vmtap-agent [OPTION...] [FILTER]\n"
	    "Captures this machine's packets and sends them to a collector.\n\n");
	conf_help(agent_rows, stdout);
}

/* "vmtap-agent --role=capture": started by the supervisor, whose descriptors it has. */
static int
run_role(const char *name)
{
	enum role role;

	if (role_by_name(name, &role) == -1)
		fatal("--role is for vmtap-agent's own use");
	return role == ROLE_CAPTURE ? capture_main() : link_main();
}

static int
run(struct agent_options *options, int argc, char **argv)
{
	if (options->help) {
		print_help();
		return EXIT_SUCCESS;
	}
	if (options->version) {
		printf("vmtap-agent %s\n", PACKAGE_VERSION);
		return EXIT_SUCCESS;
	}
	if (options->list_interfaces)
		return agent_list_interfaces();
	if (options->dump_filter)
		return agent_dump_filter(options);
	return supervisor_main(options, argc, argv);
}

/* As rpcapd is: the command line becomes the agent's. */
static void
be_rpcapd(struct rpcapd *rpcapd, int *argc, char ***argv)
{
	struct conf_error error;

	if (rpcapd_arguments(rpcapd, *argc, *argv, rpcapd_has_ipv6(), &error) == -1)
		conf_usage(RPCAPD_NAME, &error);
	if (rpcapd->help) {
		rpcapd_help(stdout);
		exit(EXIT_SUCCESS);
	}
	*argc = rpcapd->argc;
	*argv = rpcapd->argv;
}

int
main(int argc, char **argv)
{
	struct agent_options options = { 0 };
	struct rpcapd rpcapd = { 0 };
	struct conf_error error;
	int status;

	log_init("vmtap-agent", LOG_LEVEL_INFO);
	if (argc == 2 && strncmp(argv[1], "--role=", 7) == 0)
		return run_role(argv[1] + 7);
	if (rpcapd_called(argv[0]))
		be_rpcapd(&rpcapd, &argc, &argv);
	if (agent_options_load(&options, argc, argv, &error) == -1)
		conf_usage(rpcapd.argc > 0 ? RPCAPD_NAME : "vmtap-agent", &error);
	log_set_level((enum log_level)options.log_level);
	if (rpcapd.save != NULL && rpcapd_save(rpcapd.save, &options) == -1)
		log_warn("-s %s: %s", rpcapd.save, strerror(errno));
	status = run(&options, argc, argv);
	agent_options_free(&options);
	rpcapd_clear(&rpcapd);
	return status;
}
