/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_MERGE_H
#define VMTAP_COLLECTOR_MERGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dedup_stats;
struct pcapng_out;
struct sqlite3;

/*
 * All VMs of a tenant as one stream of packets: out of the store, each VM's in its order, all together by the collector's clock
 * (clock_track.h), each transmission once (dedup.h). Interfaces are called VM/NAME; a sender's copy that others had, too, says so in
 * a comment; times are the collector's. Interface statistics are left out: they count what is not in here.
 * VMs meet only within the same network of the tenant. Each takes some 800 KiB besides what is held for deduplication.
 */
/*
 * Or one VM as a whole: what it captured, in its own times, as it is; and what it left out because peers' agents deliver it
 * (withheld.h), out of what these stored, unless it has a copy of its own. That has the VM's side for a direction and a comment that
 * says who sent it.
 */
struct merge;

struct merge_settings {
	struct sqlite3	*db;			/* outlives the merge, as all of these */
	const char	*store, *tenant;	/* tenant as the catalog has it */
	const char	*vm;			/* UUID; NULL: all of the tenant's */
	struct pcapng_out *out;
	uint64_t	 from_ns, to_ns;	/* by the collector's clock; out has the same window */
	uint64_t	 window_ns, memory_max;	/* of dedup */
	bool		 follow;
	void		(*warning)(const char *, void *arg);
	void		*arg;
};

/* How long what is captured may take to its place in the catalog: an agent's block (250 ms), the way, a commit. */
#define MERGE_DELAY_NS	UINT64_C(1000000000)

/* A tenant by name, or a prefix that fits no other, as the catalog has it, into name of IDENTITY_NAME_SIZE. 0, or -1 with a line. */
int	merge_find_tenant(struct sqlite3 *, const char *text, char *name, char *error, size_t error_size);

struct merge	*merge_new(const struct merge_settings *, char *error, size_t error_size);	/* NULL with a line */
void		 merge_free(struct merge *);
/*
 * Reads on as far as the catalog goes, if it has changed, but so much at most that somebody who interrupts is not kept waiting.
 * With follow, once nothing is left to be read, what is older than now minus the window minus MERGE_DELAY_NS goes out, whatever any
 * VM still has; what comes later goes out at once, out of order.
 * 1: go on; 0: the output has enough; -1: merge_error() or, if that is empty, the output's.
 */
int		 merge_pass(struct merge *, uint64_t now_ns);
bool		 merge_behind(const struct merge *);	/* is there more to read at once? */
int		 merge_finish(struct merge *);	/* what is held goes out; as merge_pass() */
const char	*merge_error(const struct merge *);

const struct dedup_stats *merge_stats(const struct merge *);
/* VMs count from 0; NULL: there are no more. */
const char	*merge_vm_name(const struct merge *, size_t vm);
/* Of one VM: what of this one's was put into it. */
uint64_t	 merge_brought(const struct merge *, size_t vm);
uint64_t	 merge_removed(const struct merge *, size_t sender, size_t receiver);

#endif
