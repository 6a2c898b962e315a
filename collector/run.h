/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_RUN_H
#define VMTAP_COLLECTOR_RUN_H

#include <stdbool.h>

/*
 * The collector's own program as a command of vmtap(1), for an operator far away: in a process with nothing of the collector's but
 * its user, that sees one store's rows of some tenants and takes no option that names a file.
 */
#define RUN_WORD	"--run-for-operator"	/* first argument; then STORE, "a,b" or "*", and the command */

bool	run_knows(const char *verb);
int	run_main(int argc, char **argv);	/* argv[0] is RUN_WORD; the exit status */

#endif
