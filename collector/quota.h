/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_QUOTA_H
#define VMTAP_COLLECTOR_QUOTA_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * How many VMs and connections the process has descriptors for. A VM with a session needs a socket and up to two files (the one that
 * is written, the one before; stream_file.c sees to that). What is closed holds its descriptor until the next commit, and files may
 * stay open when the session is gone: so the VM keeps its place until they are closed.
 * Connections beyond those of VMs get as far as an ERROR that says why; beyond their margin they are closed at once.
 * Of the places for VMs the last QUOTA_SHARED_PART is for tenants with less than an equal share, and the last QUOTA_FIRST_PART for those
 * that have none yet: none can take what all need. Of a collector with one tenant all is that one's.
 * Until quota_init() there is no limit. Any thread.
 */
#define QUOTA_RESERVE		64u	/* standard streams, listeners, control, pulls, the catalog, retention */
#define QUOTA_RESERVE_WORKER	16u	/* event loop, mailbox, two connections to the catalog, directories of a commit */
#define QUOTA_FILES_PER_VM	2u
#define QUOTA_FILES_CLOSING_MAX	8u	/* closed but in no commit yet; then no new one is begun */
#define QUOTA_PER_VM		(1u + QUOTA_FILES_PER_VM)	/* descriptors */
#define QUOTA_SHORT_NS		UINT64_C(3000000000)	/* each worker looks once a second, so all of them see it */
#define QUOTA_SHARED_PART	4u
#define QUOTA_FIRST_PART	16u
#define QUOTA_WAITING_PART	4u	/* of the connections without a VM's place, for one tenant, when fewer than so many are left */
#define QUOTA_SPARE_MIN		16u	/* connections without a VM's place */

void		quota_init(uint64_t descriptors, unsigned workers);
void		quota_several_tenants(void);	/* more than one is known */
bool		quota_take_connection(void);
void		quota_give_connection(void);
bool		quota_take_connections(unsigned count);	/* all or none; descriptors that count as connections, too */
void		quota_give_connections(unsigned count);
/* mine: how many VMs of the same tenant have a place; counted here. */
bool		quota_take_vm(atomic_uint *mine);
void		quota_give_vm(atomic_uint *mine);
/* A connection that has shown whose it is and has no session yet: may there be one more of the tenant's? Counted in mine. */
bool		quota_take_waiting(atomic_uint *mine);
bool		quota_short(void);		/* a VM has been turned away a moment ago */
unsigned	quota_vms_max(void);
unsigned	quota_vms_taken(void);
uint64_t	quota_descriptors(void);	/* RLIMIT_NOFILE, as given to quota_init() */

#endif
