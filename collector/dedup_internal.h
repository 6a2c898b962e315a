/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_DEDUP_INTERNAL_H
#define VMTAP_COLLECTOR_DEDUP_INTERNAL_H

#include "proto/transit.h"

#include "dedup.h"
#include "dedup_cover.h"
#include "dedup_index.h"
#include "heap.h"

/* Within dedup_*.c: what is held (dedup.c), where it is found (dedup_key.c), and what matches what (dedup_match*.c). */

enum dedup_role { ROLE_NONE, ROLE_SENDER, ROLE_RECEIVER };

/*
 * Chains. FRESH: sender's copies that no receiver had whole so far, SEEN: the others, but for long ranges, which are FRESH always;
 * a receiver looks into the first first, so that it does not walk over all that was matched before. WAIT: receivers' copies that
 * match nothing yet.
 */
enum dedup_chain { CHAIN_FRESH, CHAIN_SEEN, CHAIN_WAIT };

#define DEDUP_LOOK_MAX	256	/* candidates of a chain */
#define DEDUP_PICK_MAX	1024	/* sender's copies that one receiver's may be made of */

struct dedup_source {
	uint32_t	vm, network;
	uint16_t	linktype;
	bool		keep;		/* its receivers' copies, too */
};

/* Of one copy; on the stack it is what a packet that came in is looked up by. */
struct dedup_entry {
	struct heap_item heap;
	struct transit	 transit;	/* points into the block */
	struct cover	 cover;		/* of a sender's copy */
	const struct dedup_source *from;
	uint32_t	 source;
	uint32_t	 span;		/* in units of what is matched: sequence numbers, bytes of UDP, or 1 */
	uint32_t	 node_count;
	enum dedup_role	 role;
	bool		 seen;
	uint64_t	 stamp;		/* of the last attempt that it is part of */
	size_t		 size;		/* bytes in all */
	uint8_t		*block;
	size_t		 block_len;
	struct dedup_node node[];	/* the first: by identity; UDP: the second by flow; data of TCP: by range only */
};

struct dedup_pick {
	struct dedup_entry *entry;
	uint32_t	from, len;
};

struct dedup {
	struct dedup_settings settings;
	struct dedup_stats stats;
	struct dedup_index index;
	struct heap	 heap;
	struct dedup_source **source;
	size_t		 source_count;
	struct removed_row {
		uint64_t *from;		/* by sender's VM */
		size_t	  count;
	}		*removed;	/* by receiver's VM */
	size_t		 removed_count;
	uint64_t	 bytes, block_bytes;
	uint64_t	 last_ns;	/* emitted */
	uint64_t	 attempts;
	size_t		 searched;	/* bytes, in this one */
	struct dedup_pick pick[DEDUP_PICK_MAX];
	size_t		 pick_count;
	struct dedup_receiver *receiver;	/* of what is being emitted */
	size_t		 receiver_size;
};

/* --- dedup_key.c --- */

/* Kinds and lengths decide. */
bool		 dedup_by_range(const struct transit *);	/* data of TCP */
uint32_t	 dedup_span(const struct transit *);
uint32_t	 dedup_node_count(const struct dedup_entry *);	/* by role, transit and span */
uint64_t	 dedup_key_identity(const struct dedup *, const struct dedup_entry *);
uint64_t	 dedup_key_flow(const struct dedup *, const struct dedup_entry *);
uint64_t	 dedup_key_range(const struct dedup *, const struct dedup_entry *, uint32_t seq);
void		 dedup_index_entry(struct dedup *, struct dedup_entry *, enum dedup_chain);
void		 dedup_unindex_entry(struct dedup *, struct dedup_entry *);
/* Calls for each of a chain, up to DEDUP_LOOK_MAX: for (node = look.first; node != NULL; node = dedup_look_next(&look, node)). */
struct dedup_look {
	struct dedup_node *first;
	unsigned	   count;	/* passed so far */
};
struct dedup_look dedup_look(const struct dedup *, uint64_t base, enum dedup_chain);
struct dedup_node *dedup_look_next(struct dedup_look *, struct dedup_node *);

/* --- dedup_match.c --- */

/* Finds sender's copies that cover a receiver's, and marks them. 1: it is covered, *sender_vm is the first one's; 0: it is not; -1:
 * ENOMEM. */
int		 dedup_match(struct dedup *, struct dedup_entry *, uint32_t *sender_vm);
/* May these be copies of one another, of different VMs? Not by payload. */
bool		 dedup_same_flow(const struct dedup_entry *, const struct dedup_entry *);
/* How well the hints agree: more is better. */
unsigned	 dedup_likeness(const struct dedup_entry *, const struct dedup_entry *);

/* Notes a part of a sender's copy for the receiver's that is being matched. */
void		 dedup_pick(struct dedup *, struct dedup_entry *, uint32_t from, uint32_t len);
/* Of a FRESH chain those that stood before a match, but for the last few, count as SEEN: they were lost, and do not have to be
 * walked over until they expire. */
void		 dedup_pass_lost(struct dedup *, uint64_t base, unsigned ahead);

/* --- dedup_match_udp.c --- */

/* Fills dedup->pick with a run of payloads, in order. 1 / 0. */
int		 dedup_match_run(struct dedup *, const struct dedup_entry *);
/* Could a receiver's copy that waits be made complete by this sender's? Cheap; what is not, is asked in full. */
bool		 dedup_may_complete(const struct dedup_entry *sender, const struct dedup_entry *receiver);

#endif
