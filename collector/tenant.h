/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_TENANT_H
#define VMTAP_COLLECTOR_TENANT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/digest.h"

#include "collector/tenant_use.h"

/* What the VMs of a tenant share, whichever worker they are in: that there are several, and what keys their digests. Any thread. */
struct tenants;

/* With all that the catalog knows. NULL with a line for people. */
struct tenants	*tenants_new(const char *store, char *error, size_t error_size);
void		 tenants_free(struct tenants *);	/* NULL is fine */

/* The VM is there. True: with it the tenant has several for the first time. Without memory it is forgotten. */
bool	tenants_meet(struct tenants *, const char *tenant, const char *uuid);
/* Has the tenant more than one VM, in the catalog or met? */
bool	tenants_has_peers(struct tenants *, const char *tenant);

/* As long as the tenants live. NULL: ENOMEM. */
struct tenant_use *tenants_use(struct tenants *, const char *tenant);
/* Each that is known; what is called may not ask for others. */
void	tenants_each(struct tenants *, void (*each)(const char *name, struct tenant_use *, void *arg), void *arg);

/*
 * The tenant's secret, made when it is first asked for, and then in the catalog before anybody has it. 0, or -1 with a line: it could
 * not be made durable, which is not tried again for TENANT_RETRY_NS ("" then). Waits for a disk.
 */
#define TENANT_RETRY_NS	UINT64_C(5000000000)
int	tenants_secret(struct tenants *, const char *tenant, uint8_t secret[DIGEST_SECRET_SIZE], char *error, size_t error_size);

#endif
