/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"

#include "cmd.h"

static const struct command {
	const char	*name;
	int		(*run)(int, char **);
	const char	*help;
} commands[] = {
	{ "pull", cmd_pull, "capture straight from a listening agent" },
	{ "vms", cmd_vms, "list the virtual machines of a store" },
	{ "files", cmd_files, "list the files of a virtual machine" },
	{ "read", cmd_read, "write the packets of a virtual machine, or of all of a tenant, as one pcapng" },
	{ "stats", cmd_stats, "show where the packets of a virtual machine went" },
	{ "policy", cmd_policy, "show, set or clear what agents capture" },
	{ "token", cmd_token, "make, list or revoke the tokens with which agents enrol" },
	{ "revoke", cmd_revoke, "end a virtual machine's certificates, for good" },
	{ "cloud-init", cmd_cloud_init, "print user-data with which new virtual machines enrol" },
	{ "pki", cmd_pki, "make the certificates of a deployment" },
};
#define COMMAND_COUNT	(sizeof(commands) / sizeof(commands[0]))

static void
print_help(void)
{
	size_t i;

	printf("usage: vmtap COMMAND [OPTION...] [OPERAND...]\n\n");
	for (i = 0; i < COMMAND_COUNT; i++)
		printf("  %-10s %s\n", commands[i].name, commands[i].help);
	printf("\n\"vmtap COMMAND --help\" tells more; so does vmtap(1).\n");
}

int
main(int argc, char **argv)
{
	size_t i;

	log_init("vmtap", LOG_LEVEL_WARN);
	signal(SIGPIPE, SIG_IGN);
	if (argc < 2) {
		fprintf(stderr, "vmtap: which command? \"vmtap --help\" lists them\n");
		return 2;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
		print_help();
		return cmd_finish_output(0);
	}
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
		printf("vmtap %s\n", PACKAGE_VERSION);
		return cmd_finish_output(0);
	}
	for (i = 0; i < COMMAND_COUNT; i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			return cmd_finish_output(commands[i].run(argc - 1, argv + 1));
	fprintf(stderr, "vmtap: no command \"%s\"; \"vmtap --help\" lists them\n", argv[1]);
	return 2;
}
