/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_POLICY_H
#define VMTAP_COLLECTOR_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/msg.h"

/*
 * What agents shall capture. A policy set is made of sections, each a scope with some keys:
 *
 *	[default]  [tenant T]  [label L]  [vm NAME-or-UUID]
 *	interfaces = eth0,eth1*		filter = tcp port 443		snaplen = 128
 *	direction = in|out|inout	compress = zstd:1		rate-limit = 10M	(bits a second)
 *	slice = headers:64		mask = yes|no
 *	labels = web,edge		(vm only)
 *
 * A VM's policy takes each key from the last section that has it: default, its tenant, its labels in the order of the file, itself.
 * What was set by command ("overrides") stands behind the file's section of the same scope.
 */
#define POLICY_SCOPE_SIZE	80	/* "vm web1" */
#define POLICY_TEXT_MAX		(64u * 1024)
#define POLICY_ERROR_SIZE	512

struct policy_set;

/* An empty set with one reference. NULL: ENOMEM. One thread fills it, then it is only read; any may drop a reference. */
struct policy_set	*policy_set_new(void);
struct policy_set	*policy_set_ref(struct policy_set *);
void			 policy_set_unref(struct policy_set *);	/* NULL is fine */

/* All: 0, or -1 with a line for people ("FILE:LINE: what"); the set is then to be thrown away. */
int	policy_set_load_file(struct policy_set *, const char *path, char *error, size_t error_size);
int	policy_set_parse(struct policy_set *, const char *origin, const char *text, char *error, size_t error_size);
/* scope is "default", "tenant T", "label L" or "vm X"; text lines of key = value. */
int	policy_set_override(struct policy_set *, const char *scope, const char *text, char *error, size_t error_size);
/* Is the scope well-formed? 0, or -1 with a line. */
int	policy_check_scope(const char *scope, char *error, size_t error_size);

/* The VM's policy, version 0; false: no section says anything of it. */
bool	policy_set_resolve(const struct policy_set *, const char *tenant, const char *name, const char *uuid, struct msg_policy *);
/* "key = value" lines of what is not as it would be without a policy, heap; "" when nothing is. NULL: ENOMEM. */
char	*policy_to_text(const struct msg_policy *);
/* The lines of an override, heap; NULL: there is none, or ENOMEM. */
char	*policy_set_override_text(const struct policy_set *, const char *scope);
/* Each section: scope as in overrides, its lines, and whether it was set by command. */
typedef void policy_each(const char *scope, const char *text, bool override, void *arg);
void	 policy_set_each(const struct policy_set *, policy_each *, void *arg);

#endif
