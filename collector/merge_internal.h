/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_MERGE_INTERNAL_H
#define VMTAP_COLLECTOR_MERGE_INTERNAL_H

#include <pcap/pcap.h>

#include "common/buf.h"
#include "proto/pcapng.h"
#include "proto/identity.h"

#include "clock_track.h"
#include "dedup.h"
#include "heap.h"
#include "merge.h"
#include "store_cursor.h"
#include "withheld.h"

/* Within merge*.c: reading (merge.c), who is who there (merge_vm.c), and what makes one VM whole (merge_whole.c). */

#define MERGE_NAME_SIZE	80	/* "VM/interface" */

struct merge_vm {
	struct heap_item heap;		/* its next packet's time, if there is one */
	char		 uuid[IDENTITY_UUID_SIZE];
	char		 name[IDENTITY_NAME_SIZE + 16];
	uint32_t	 number;
	struct clock_track clock;
	struct store_cursor *cursor;	/* NULL: nothing of it is wanted */
	struct store_item item;		/* the next packet */
	bool		 ready;		/* there is one */
	struct merge_source **source;	/* its own */
	size_t		 source_count, last;	/* the one that was asked for before */
	bool		 own;		/* the one that is read whole */
	const struct withheld_span *span;	/* of one that delivers for it */
	size_t		 span_count;
	uint64_t	 brought;	/* packets of it that came out */
};

/* An interface of a stream. */
struct merge_source {
	uint8_t		 stream[MSG_ID_SIZE];
	uint32_t	 id, number;	/* of the stream; of dedup */
	struct merge_vm	*vm;
	char		 name[MERGE_NAME_SIZE];
	uint32_t	 network;
	uint16_t	 linktype;
	bool		 masked;	/* its packets have zeroes that were not captured */
	struct bpf_program filter[2];	/* of the VM that is read whole, for what leaves it and for what reaches it; no instructions: none */
};

struct merge {
	struct merge_settings settings;
	struct dedup	*dedup;
	struct heap	 heap;		/* of VMs that are ready */
	struct merge_vm	**vm;
	size_t		 vm_count;
	const struct merge_source **source;	/* by dedup's number */
	char		**network;
	uint32_t	 network_count;
	int64_t		 version;	/* of the catalog when it was read */
	struct withheld	 withheld;	/* by the VM that is read whole */
	struct merge_vm	*whole;		/* that VM; NULL: all are merged */
	struct buf	 scratch;
	char		 error[1100];
};

int	merge_fail(struct merge *, const char *what, const char *why);	/* -1 */
/* VMs that are new, and what the clocks of all were. 0 / -1. */
int	merge_list_vms(struct merge *);
void	merge_free_vms(struct merge *);
/* Where a packet of a VM comes from; it is described to dedup and to the output at first. NULL: merge->error, or the output's. */
const struct merge_source *merge_source_of(struct merge *, struct merge_vm *, const uint8_t *stream, uint32_t id);

/* --- merge_whole.c --- */

/* Loads what the VM left out. 0 / -1. */
int	merge_whole_load(struct merge *);
/* Is this one the VM itself, or which of its spans are this one's? */
void	merge_whole_know(struct merge *, struct merge_vm *);
/* A peer's interface as that of the VM, through which the packets would have come. 0 / -1. */
int	merge_whole_describe(struct merge *, struct merge_source *, struct pcapng_interface *);
/* Is the peer's next packet one that the VM left out? -1: error. */
int	merge_whole_wants(struct merge *, struct merge_vm *);
int	merge_whole_emit(struct merge *, const struct dedup_out *);

#endif
