/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_STORE_BATCH_H
#define VMTAP_COLLECTOR_STORE_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/identity.h"
#include "proto/msg.h"

#include "collector/catalog.h"
#include "collector/store.h"

struct vm;

/*
 * A batch: the rows that one group commit writes. A worker fills it while the one before is being committed, then gives it away; what
 * is written are copies only. Rows of the same object may be in it several times, the last one counts.
 * A collector without memory for a row has no sensible way on: it logs and aborts; agents keep what is not acknowledged.
 */
struct rows {
	void	*row;
	size_t	 count, size;
};

struct vm_row {			/* see CATALOG_SCHEMA */
	char		 uuid[IDENTITY_UUID_SIZE];
	char		 tenant[IDENTITY_NAME_SIZE];
	char		 name[IDENTITY_NAME_SIZE];
	char		 software[MSG_NAME_SIZE], os[MSG_NAME_SIZE], hardware[MSG_NAME_SIZE];
	char		 address[MSG_NAME_SIZE];
	bool		 connected;
	uint64_t	 since_ns, seen_ns;
	int64_t		 clock_offset_ns;
	uint64_t	 policy_version;
	const char	*policy_state;		/* static */
	char		*policy_text;		/* heap; NULL: none */
	char		 policy_reason[MSG_TEXT_SIZE];
	char		 labels[CATALOG_LABELS_SIZE];	/* from the catalog: written by who enrols VMs */
	uint64_t	 not_after_ns;		/* of the certificate that it showed; 0: none yet */
};

struct stream_row {
	struct vm	*owner;			/* for the worker alone, whose VMs outlive its batches */
	uint8_t		id[MSG_ID_SIZE];
	char		vm[IDENTITY_UUID_SIZE];
	uint64_t	started_ns, last_block;
	bool		ended;
	bool		resumed;		/* it was taken for over: what was said to be cut off was not */
	int		cut;			/* enum stream_cut */
	uint64_t	packets, bytes, packets_block, first_ns, last_ns, stats_ns;
	uint8_t		instance[MSG_ID_SIZE];
};

struct interface_row {
	uint8_t		stream[MSG_ID_SIZE];
	uint32_t	id;
	uint16_t	linktype;
	char		name[64];
	char		mac[18];		/* "" unknown */
	char		filter[1024];
	char		network[IDENTITY_NAME_SIZE];
	uint8_t		*idb;			/* heap */
	size_t		idb_len;
};

struct network_row {		/* of an interface that is known */
	uint8_t		stream[MSG_ID_SIZE];
	uint32_t	id;
	char		network[IDENTITY_NAME_SIZE];
};

struct file_row {
	struct store_file file;			/* a copy with what is to be written; the descriptor is its own at the end */
	char		vm[IDENTITY_UUID_SIZE];
	uint8_t		stream[MSG_ID_SIZE];
	bool		live;			/* else this is its end */
	bool		reveal;			/* gets its final name after the commit */
};

struct point_row {
	uint64_t	file, block, offset, first_ns;
};

struct loss_row {
	char		vm[IDENTITY_UUID_SIZE];
	uint8_t		stream[MSG_ID_SIZE];
	const char	*place;			/* static */
	uint64_t	first_block, last_block, packets, bytes, first_ns, last_ns, recorded_ns;
	int		approximate;
	bool		joined;			/* with the last one of the same stream, place and approximate, if there is any */
};

struct stat_row {
	char		vm[IDENTITY_UUID_SIZE];
	uint8_t		stream[MSG_ID_SIZE];
	int64_t		interface;		/* -1: the agent */
	const char	*counter;		/* static */
	uint64_t	value, updated_ns, since_ns, changed_ns;	/* the last two 0: not known */
};

struct event_row {
	char		vm[IDENTITY_UUID_SIZE];
	uint8_t		stream[MSG_ID_SIZE];
	uint64_t	block, at_ns;
	char		*text;			/* heap */
};

struct clock_row {
	char		vm[IDENTITY_UUID_SIZE];
	uint64_t	at_ns, rtt_ns;
	int64_t		offset_ns;
};

struct withheld_row {			/* begins one, or with to_ns ends it */
	char		vm[IDENTITY_UUID_SIZE], peer[IDENTITY_UUID_SIZE];
	char		address[CATALOG_ADDRESS_SIZE];
	char		*own;			/* heap; "" of one that ends */
	char		network[IDENTITY_NAME_SIZE];
	bool		balanced;
	uint64_t	from_ns, to_ns;		/* to_ns 0: still so */
};

struct batch {
	struct rows	vms, streams, interfaces, networks, files, points, losses, stats, events, clocks, withheld;
	uint64_t	dirty_bytes;		/* of files, not known to be durable, and what the rows take */
	uint64_t	file_bytes;		/* the first of the two */
};

struct batch	*batch_new(void);
void		 batch_free(struct batch *);
bool		 batch_empty(const struct batch *);
/* Each: a zeroed row to be filled in; what it holds on the heap is then the row's, and counts as dirty too. */
void			 batch_add_vm(struct batch *, const struct vm_row *);	/* copied whole */
struct stream_row	*batch_add_stream(struct batch *);
struct interface_row	*batch_add_interface(struct batch *, uint8_t *idb, size_t idb_len);
struct network_row	*batch_add_network(struct batch *);
struct file_row		*batch_add_file(struct batch *);
struct point_row	*batch_add_point(struct batch *);
struct loss_row		*batch_add_loss(struct batch *);
struct stat_row		*batch_add_stat(struct batch *);
struct clock_row	*batch_add_clock(struct batch *);
struct withheld_row	*batch_add_withheld(struct batch *, char *own);
struct event_row	*batch_add_event(struct batch *, char *text);

#endif
