/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_AGENT_RPCAPD_H
#define VMTAP_AGENT_RPCAPD_H

#include <stdbool.h>
#include <stdio.h>

struct agent_options;
struct conf_error;

/*
 * The agent called as "vmtap-rpcapd": it takes the letters of rpcapd, so that one can stand in for the other in a service's file,
 * and becomes an agent that serves RPCAP and nothing else. Each letter is turned into the long option that the agent has for it.
 */
#define RPCAPD_NAME	"vmtap-rpcapd"

struct rpcapd {
	int		  argc;		/* for agent_options_load(), also again; heap */
	char		**argv;
	const char	 *save;		/* -s FILE, out of the caller's argv; NULL: none */
	bool		  help;
};

bool	rpcapd_called(const char *argv0);
/*
 * Names of hosts and services are looked up, once for all; ipv6: whether this machine has it. 0, or -1 with the error and nothing
 * in *rpcapd. What has no effect here is logged.
 */
int	rpcapd_arguments(struct rpcapd *, int argc, char **argv, bool ipv6, struct conf_error *);
void	rpcapd_clear(struct rpcapd *);
bool	rpcapd_has_ipv6(void);
void	rpcapd_help(FILE *);
/* -s: the options as a file for -f, for its owner alone, in place of what was there. 0, or -1 with errno. */
int	rpcapd_save(const char *path, const struct agent_options *);

#endif
