/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_POLICY_H
#define VMTAP_COLLECTOR_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/msg.h"

#include "collector/tenant_use.h"

/*
 * What agents shall capture. A policy set is made of sections, each a scope with some keys:
 *
 *	[default]  [tenant T]  [label L]  [vm NAME-or-UUID]
 *	interfaces = eth0,eth1*		filter = tcp port 443		snaplen = 128
 *	direction = in|out|inout	compress = zstd:1		rate-limit = 10M	(bits a second)
 *	slice = headers:64		mask = yes|no
 *	dedup = off|tag|withhold	withhold-share = sender|balanced
 *	network = blue			or eth0:blue,vpn*:red,green: of each interface, green being all others'
 *	labels = web,edge		(vm only)
 *	tenant-store = 200G		tenant-sessions = 100		tenant-rate = 200M	(tenant only: what it may take)
 *
 * [label L] is also that of a label with which the VM enrolled: "web", or "role=web" of a name and a value.
 * A VM's policy takes each key from the last section that has it: default, its tenant, its labels in the order of the file, itself.
 * What was set by command ("overrides") stands behind the file's section of the same scope.
 */
#define POLICY_SCOPE_SIZE	144	/* "vm web1", "label role=web" */
#define POLICY_TEXT_MAX		(64u * 1024)
#define POLICY_ERROR_SIZE	512
#define POLICY_NETWORK_SIZE	512

/* What the collector does about packets that two of a tenant's VMs see; of this agents are told whether to send digests. */
enum dedup_mode { DEDUP_OFF, DEDUP_TAG, DEDUP_WITHHOLD };
struct policy_dedup {
	enum dedup_mode	mode;
	bool		mode_set;	/* else it depends on whether the tenant has others */
	bool		balanced;	/* flows are shared between both ends, instead of leaving all to their senders */
	char		network[POLICY_NETWORK_SIZE];	/* "" , NAME or GLOB:NAME,...,NAME; without white space */
};

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

/* labels: with which it enrolled, comma-separated. The VM's policy, version 0, digest as mode says, without secret; false: no section
 * says anything of it. */
bool	policy_set_resolve(const struct policy_set *, const char *tenant, const char *name, const char *uuid, const char *labels,
	    struct msg_policy *, struct policy_dedup *);
/* What the tenant may take: 0 where no section says. */
void	policy_set_quota(const struct policy_set *, const char *tenant, struct tenant_quota *);
/* The lines of an override that are quotas, heap; "" when none are. NULL: ENOMEM. */
char	*policy_set_override_quotas(const struct policy_set *, const char *scope);
/* The name of the network that the interface is in; "" is the tenant's unnamed one. */
void	policy_network(const struct policy_dedup *, const char *ifname, char *name, size_t size);
/* "key = value" lines of what is not as it would be without a policy (and no peers), heap; "" when nothing is. NULL: ENOMEM. */
char	*policy_to_text(const struct msg_policy *, const struct policy_dedup *);
const char *policy_dedup_name(enum dedup_mode);
/* The lines of an override, heap; NULL: there is none, or ENOMEM. */
char	*policy_set_override_text(const struct policy_set *, const char *scope);
/* Each section: scope as in overrides, its lines, and whether it was set by command. */
typedef void policy_each(const char *scope, const char *text, bool override, void *arg);
void	 policy_set_each(const struct policy_set *, policy_each *, void *arg);

#endif
