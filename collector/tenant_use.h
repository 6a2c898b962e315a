/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_TENANT_USE_H
#define VMTAP_COLLECTOR_TENANT_USE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* What a tenant may take of a collector, 0: no limit; from the policy. */
struct tenant_quota {
	uint64_t	store;		/* bytes of all its files */
	uint64_t	sessions;	/* VMs with a session at a time */
	uint64_t	rate;		/* bits a second that are taken in from all of them */
};

/* And what it takes, in all workers. Zeroed: nothing, without limit. Any thread. */
struct tenant_use {
	_Atomic uint64_t	store, sessions_max, rate;
	_Atomic uint64_t	spent_ns;	/* monotonic: when what was taken in is earned back */
	_Atomic uint64_t	received;	/* bytes */
	atomic_uint		sessions;
	atomic_uint		places;		/* of VMs, quota.h */
	atomic_uint		waiting;	/* connections that have shown who they are, and have no session yet */
};

#define TENANT_BURST_NS		UINT64_C(250000000)	/* so far ahead of its rate a tenant may be */
#define TENANT_ROTATE_MIN	(64u * 1024)

void	 tenant_use_set(struct tenant_use *, const struct tenant_quota *);
bool	 tenant_use_take_session(struct tenant_use *);		/* false: there are as many as may be */
void	 tenant_use_give_session(struct tenant_use *);
void	 tenant_use_receive(struct tenant_use *, uint64_t bytes);
bool	 tenant_use_may_receive(struct tenant_use *);		/* else its sessions are not read for a moment */
/* When a file of it is large enough: its files being written are never removed, and together at most half of what it may store. */
uint64_t tenant_use_rotate_size(const struct tenant_use *, uint64_t rotate_size);

#endif
