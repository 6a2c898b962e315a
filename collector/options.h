/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_OPTIONS_H
#define VMTAP_COLLECTOR_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/conf.h"

/* The collector's settings: one table for command line, file, help and man page. */
struct collector_options {
	struct conf_list listens;	/* ADDR[:PORT]; "[::]:8827" unless agents are only pulled */
	struct conf_list pulls;		/* HOST[:PORT], or an RPCAP URL */
	char		*pull_file;
	char		*rpcap_ca, *rpcap_cert, *rpcap_key;	/* of rpcaps://; NULL: the system's CAs; none is shown */
	bool		 rpcap_plain;
	char		*store;
	char		*ca, *cert, *key;
	char		*enroll_key, *enroll_cert, *enroll_command;	/* NULL: none; the CA's */
	uint64_t	 enroll_life_ms;
	uint64_t	 workers;	/* 0: as many as cores, at most 4 */
	uint64_t	 rotate_size, rotate_interval_ms;
	uint64_t	 retain_size, retain_size_vm, retain_age_ms;
	struct conf_list tenants;	/* empty: all */
	char		*policy;
	int		 dedup;		/* enum dedup_mode: of a VM with peers whose policy says nothing of it */
	uint64_t	 keepalive_ms, hint_lease_ms;
	char		*group;
	struct conf_list metrics;	/* ADDR:PORT or PATH */
	char		*ctl;		/* NULL: STORE/ctl.sock */
	bool		 daemon;
	char		*pidfile;
	char		*user;
	int		 log_level;
	char		*config;
	bool		 help, version;
};

extern const struct conf_row collector_rows[];

/* Defaults, file, command line, and what the table cannot say. 0, or -1 with the error; options must be zeroed. */
int	collector_options_load(struct collector_options *, int argc, char **argv, struct conf_error *);
/* After a reload: takes over from fresh what may change in a running collector. */
void	collector_options_take(struct collector_options *, struct collector_options *fresh);
void	collector_options_free(struct collector_options *);

#endif
