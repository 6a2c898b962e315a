/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_CMD_H
#define VMTAP_COLLECTOR_CMD_H

#include "common/conf.h"

struct sqlite3;

/* The verbs of vmtap(1): argv[0] is the verb; each returns the exit status. */
int	cmd_pki(int argc, char **argv);
int	cmd_pull(int argc, char **argv);
int	cmd_vms(int argc, char **argv);
int	cmd_files(int argc, char **argv);
int	cmd_read(int argc, char **argv);
int	cmd_stats(int argc, char **argv);
int	cmd_policy(int argc, char **argv);
int	cmd_token(int argc, char **argv);
int	cmd_revoke(int argc, char **argv);
int	cmd_cloud_init(int argc, char **argv);

/* What cmd_*.c share. */
#define CMD_STORE	LOCALSTATEDIR "/lib/vmtap"

/* Options of a verb from its table; ends with status 2 and one line if they are bad, with 0 after --help. usage: its operands. */
void	cmd_options(const struct conf_row *, void *options, int argc, char **argv, const char *usage, int *rest);
/* The same for verbs whose first operand, NULL if there is none, may stand before, between or behind the options. */
void	cmd_options_operand(const struct conf_row *, void *options, int argc, char **argv, const char *usage, const char **operand,
	    int *rest);
/* "vmtap VERB: message" on stderr, control bytes escaped; returns 1, the exit status. */
int	cmd_fail(const char *verb, const char *, ...) __attribute__((format(printf, 2, 3)));
void	cmd_bad_usage(const char *verb, const char *, ...) __attribute__((format(printf, 2, 3), noreturn));
/* From now on: one store, tenants that may be read, and no option but those that are harmless, whoever asks (run.h). Both are to live
 * as long as the process. */
struct rights;
void	cmd_restrict(const char *store, const struct rights *);
/* An option that an operator far away may give: it names no file. */
bool	cmd_is_harmless(const struct conf_row *);
/* Whoever read standard output may have had enough; any other failure of it must not look like success. The exit status. */
int	cmd_finish_output(int status);
/* The catalog of a store, read-only, or NULL after saying why. */
struct sqlite3 *cmd_catalog(const char *verb, const char *store);
/* Operands joined by spaces, as tcpdump does with its expression; heap; NULL when there are none. */
char	*cmd_join(int argc, char **argv);

#endif
