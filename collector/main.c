/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"

#include "collector/collector.h"
#include "collector/run.h"

static int
print_help(void)
{
	printf("Usage: vmtap-collector [OPTION...]\n"
	    "Takes the packets of agents into a store, one directory for each virtual machine.\n\n");
	conf_help(collector_rows, stdout);
	return EXIT_SUCCESS;
}

static int
print_version(void)
{
	printf("vmtap-collector %s\n", PACKAGE_VERSION);
	return EXIT_SUCCESS;
}

int
main(int argc, char **argv)
{
	struct collector_options options = { 0 };
	struct conf_error error;
	int status;

	if (argc > 1 && strcmp(argv[1], RUN_WORD) == 0)
		return run_main(argc - 1, argv + 1);
	log_init("vmtap-collector", LOG_LEVEL_INFO);
	if (collector_options_load(&options, argc, argv, &error) == -1)
		conf_usage("vmtap-collector", &error);
	log_set_level((enum log_level)options.log_level);
	status = options.help ? print_help() : options.version ? print_version() : collector_main(&options, argc, argv);
	collector_options_free(&options);
	return status;
}
